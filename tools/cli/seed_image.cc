// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/seed_image.h"

#include <sys/stat.h>
#include <unistd.h>

#include <inspect/clone.h>

namespace inspect::cli {

SeedImage::SeedImage(std::string path, CloudInitSeed seed, const CustomizeSteps& steps)
    : path_(std::move(path)) {
    seed.emplace("meta-data", make_cloud_init_meta_data(host_name_of(steps).value_or("")));
    image_ = make_cloud_init_iso(std::move(seed));
    struct stat status {};
    if (::lstat(path_.c_str(), &status) == 0)
        throw Error(ErrorKind::kDenied, "'" + path_ + "' is there already");
}

SeedImage::~SeedImage() {
    if (written_) ::unlink(path_.c_str());
}

void SeedImage::write() {
    write_clone_file(path_, image_, false);
    written_ = true;
}

}  // namespace inspect::cli
