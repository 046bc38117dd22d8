// SPDX-License-Identifier: LGPL-2.1-or-later
#include <sys/stat.h>

#include <random>

#include <inspect/image.h>

#include "base/temp_dir_for_test.h"
#include "block/raw.h"

namespace inspect {
namespace {

TEST(CopyImage, KeepsBytesAndHoles) {
    TempDir dir;
    std::mt19937_64 random(5);
    const std::string from = dir.sparse("from", (64 << 20) + 700);
    {
        RawDevice device(open_file(from, O_RDWR), false, from);
        device.write(5 << 20, random_bytes(random, 3 << 20));
        device.write(64 << 20, random_bytes(random, 700));
    }
    const std::string to = dir.file("to");
    copy_image_file(from, to);
    EXPECT_EQ(read_file(to), read_file(from));
    struct stat status;
    ASSERT_EQ(::stat(to.c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 8 << 20);
    expect_error(ErrorKind::kInternal, "cannot make", [&] { copy_image_file(from, to); });
    expect_error(ErrorKind::kNotFound, "missing",
                 [&] { copy_image_file(dir.file("missing"), dir.file("x")); });
}

}  // namespace
}  // namespace inspect
