// SPDX-License-Identifier: GPL-2.0-or-later
//
// A private directory for the time of an edit.
#pragma once

#include <string>

namespace inspect::cli {

// Made in $TMPDIR or /tmp with mode 0700; removed with the files in it when the object goes.
class TempDirectory {
  public:
    TempDirectory();
    ~TempDirectory();
    TempDirectory(const TempDirectory&) = delete;
    TempDirectory& operator=(const TempDirectory&) = delete;

    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace inspect::cli
