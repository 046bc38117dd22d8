// SPDX-License-Identifier: LGPL-2.1-or-later
#include "block/lock.h"

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <memory>

#include "base/fd.h"
#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

struct Holder {
    Holder(const std::string& path, LockMode mode)
        : fd(open_file(path, mode == LockMode::kWrite ? O_RDWR : O_RDONLY)), lock(fd.get(), mode, path) {}
    Fd fd;
    ImageLock lock;
};

TEST(ImageLock, ReadersTogetherWritersAlone) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(4096));
    {
        Holder reader(path, LockMode::kRead), another(path, LockMode::kRead);
        expect_error(ErrorKind::kBusy, "cannot be changed", [&] { Holder(path, LockMode::kWrite); });
        EXPECT_FALSE(reader.lock.try_change(LockMode::kWrite));
        EXPECT_EQ(reader.lock.mode(), LockMode::kRead);
    }
    Holder writer(path, LockMode::kWrite);
    expect_error(ErrorKind::kBusy, "being written", [&] { Holder(path, LockMode::kRead); });
    expect_error(ErrorKind::kBusy, "cannot be changed", [&] { Holder(path, LockMode::kWrite); });
    EXPECT_TRUE(writer.lock.try_change(LockMode::kRead));
    Holder reader(path, LockMode::kRead);
}

TEST(ImageLock, AFailedAttemptLeavesNothingBehind) {
    TempDir dir;
    const std::string path = dir.write("image", Bytes(4096));
    Fd fd = open_file(path, O_RDWR);  // stays open after the lock is refused
    {
        Holder writer(path, LockMode::kWrite);
        expect_error(ErrorKind::kBusy, "", [&] { ImageLock(fd.get(), LockMode::kWrite, path); });
    }
    Holder writer(path, LockMode::kWrite);
}

// QEMU as an independent peer.
class ImageLockAndQemu : public testing::Test {
  protected:
    void SetUp() override {
        if (run("qemu-io --version") != 0) GTEST_SKIP() << "qemu-io (package qemu-utils) is not installed";
    }
    int run(const std::string& command) {
        return ::system((command + " >" + dir_.file("out") + " 2>&1").c_str());
    }
    std::string output() {
        Bytes bytes = read_file(dir_.file("out"));
        return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    TempDir dir_;
    std::string path_ = dir_.write("image", Bytes(65536));
};

TEST_F(ImageLockAndQemu, QemuIsRefusedAsOurModesSay) {
    const std::string write = "qemu-io -f raw -c 'write 0 512' " + path_;
    const std::string read = "qemu-io -r -f raw -c 'read 0 512' " + path_;
    {
        Holder writer(path_, LockMode::kWrite);
        EXPECT_NE(run(write), 0);
        EXPECT_NE(output().find("lock"), std::string::npos) << output();
        // As beside a virtual machine, QEMU's own readers of raw images are content with what they get.
        EXPECT_EQ(run(read), 0) << output();
        // Those of formats with metadata are not.
        EXPECT_NE(run("qemu-io -r -c 'read 0 512' --image-opts "
                      "driver=raw,offset=512,size=1024,file.driver=file,file.filename=" +
                      path_),
                  0);
        EXPECT_NE(output().find("lock"), std::string::npos) << output();
    }
    {
        Holder reader(path_, LockMode::kRead);
        EXPECT_NE(run(write), 0);
        EXPECT_EQ(run(read), 0) << output();
    }
    EXPECT_EQ(run(write), 0) << output();
}

// A qemu-io that has the image open until it is closed.
class OpenInQemu {
  public:
    OpenInQemu(const std::string& flags, const std::string& path, const std::string& ready) {
        pipe_ = ::popen(("qemu-io " + flags + " -f raw " + path + " >" + ready + " 2>&1").c_str(), "w");
        std::fputs("read 0 512\n", pipe_);  // answered once the image is open
        std::fflush(pipe_);
        for (int i = 0; i < 1000; ++i) {
            Bytes out = read_file(ready);
            if (std::string(reinterpret_cast<const char*>(out.data()), out.size()).find("512") !=
                std::string::npos) {
                return;
            }
            ::usleep(10'000);
        }
        ADD_FAILURE() << "qemu-io did not open the image";
    }
    ~OpenInQemu() { ::pclose(pipe_); }

  private:
    FILE* pipe_;
};

TEST_F(ImageLockAndQemu, WeAreRefusedAsItsModesSay) {
    {
        OpenInQemu writer("", path_, dir_.file("ready"));
        expect_error(ErrorKind::kBusy, "being written", [&] { Holder(path_, LockMode::kRead); });
        expect_error(ErrorKind::kBusy, "cannot be changed", [&] { Holder(path_, LockMode::kWrite); });
    }
    std::filesystem::remove(dir_.file("ready"));
    {
        OpenInQemu reader("-r", path_, dir_.file("ready"));
        Holder ours(path_, LockMode::kRead);
        expect_error(ErrorKind::kBusy, "cannot be changed", [&] { Holder(path_, LockMode::kWrite); });
    }
    Holder writer(path_, LockMode::kWrite);
}

}  // namespace
}  // namespace inspect
