// SPDX-License-Identifier: GPL-2.0-or-later
//
// --cloud-init-iso FILE: the image with the seed for cloud-init, of a command that changes a guest.
#pragma once

#include <string>

#include <inspect/cloud_init.h>

#include "cli/customize_options.h"

namespace inspect::cli {

// Nothing of it is there when the command fails: that is, unless keep() was called.
class SeedImage {
  public:
    // Makes it in memory. meta-data, if the seed has none, get the host name that the steps set. Throws
    // Error; kDenied when there is something under that name.
    SeedImage(std::string path, CloudInitSeed seed, const CustomizeSteps& steps);
    ~SeedImage();
    SeedImage(const SeedImage&) = delete;
    SeedImage& operator=(const SeedImage&) = delete;

    void write();
    void keep() { written_ = false; }

  private:
    std::string path_, image_;
    bool written_ = false;
};

}  // namespace inspect::cli
