// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/new_host_file.h"

#include "base/temp_dir_for_test.h"

namespace inspect {
namespace {

size_t files_in(const TempDir& dir) {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir.path()),
                                             std::filesystem::directory_iterator()));
}

TEST(NewHostFile, IsThereWholeOrNotAtAll) {
    TempDir dir;
    const std::string target = dir.file("image");
    {
        NewHostFile file(target);
        write_full(file.open().get(), std::as_bytes(std::span("bytes")), "write");
        EXPECT_FALSE(std::filesystem::exists(target));
        EXPECT_TRUE(std::filesystem::exists(file.path()));
    }
    EXPECT_EQ(files_in(dir), 0U);
    {
        NewHostFile file(target);
        file.publish();
        EXPECT_TRUE(std::filesystem::exists(target));
    }
    EXPECT_TRUE(std::filesystem::exists(target));
    EXPECT_EQ(files_in(dir), 1U);
}

TEST(NewHostFile, ReplacesNothingUnlessToldTo) {
    TempDir dir;
    const std::string target = dir.write("image", Bytes(5));
    {
        NewHostFile file(target);
        expect_error(ErrorKind::kDenied, "is there already", [&] { file.publish(); });
    }
    EXPECT_EQ(std::filesystem::file_size(target), 5U);
    NewHostFile file(target);
    file.publish(true);
    EXPECT_EQ(std::filesystem::file_size(target), 0U);
    EXPECT_EQ(files_in(dir), 1U);
    file.retract();
    EXPECT_EQ(files_in(dir), 0U);
}

TEST(NewHostFile, SaysWhatItCouldNotMake) {
    TempDir dir;
    expect_error(ErrorKind::kNotFound, "missing/image", [&] { NewHostFile(dir.file("missing/image")); });
}

}  // namespace
}  // namespace inspect
