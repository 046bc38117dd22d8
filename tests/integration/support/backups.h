// SPDX-License-Identifier: GPL-2.0-or-later
//
// For tests of backups: a repository of their own, restic as its judge, and disks to put into it.
#pragma once

#include "support/insp.h"

namespace inspect::test {

class BackupTest : public InspTest {
  protected:
    // Makes the repository.
    void SetUp() override;

    std::string path() const { return scratch() / "repository"; }
    // The environment that names it.
    Options repository() const;
    std::string create(const Args& more) const;
    Outcome restic(Args args) const;
    // Success when restic finds no fault in the repository, or isn't installed.
    ::testing::AssertionResult sound() const;
    // The new image.
    std::string restore(const std::string& snapshot, const Args& more = {}) const;
    // A disk of this size with random data in a quarter of it; the same for the same seed.
    std::string random_disk(const std::string& name, size_t size, unsigned seed) const;
    // Writes over a disk.
    static void change(const std::string& disk, uint64_t offset, const std::string& bytes);
    size_t snapshots(const Options& options) const;
};

}  // namespace inspect::test
