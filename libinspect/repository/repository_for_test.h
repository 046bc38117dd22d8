// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests: a repository in a directory that is gone afterwards, and restic as the judge of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/subprocess.h"
#include "base/temp_dir_for_test.h"
#include "repository/blob_writer.h"
#include "repository/repository.h"

namespace inspect::repository {

inline constexpr const char kTestPassword[] = "correct horse";

class TestRepository {
  public:
    TestRepository() { Repository::create(open_storage(path()), kTestPassword); }

    std::string path() const { return dir_.file("repo"); }
    const TempDir& dir() const { return dir_; }
    std::unique_ptr<Repository> open() const { return Repository::open(open_storage(path()), kTestPassword); }

    // A snapshot whose root directory has one directory, `guest`, with one file of these contents.
    ObjectId save(const std::string& guest, const std::vector<Bytes>& chunks) const {
        const auto repository = open();
        BlobWriter writer(*repository, {});
        TreeNode file{.name = "disk", .type = "file"};
        for (const Bytes& chunk : chunks) {
            file.content.push_back(ObjectId::of(chunk));
            writer.save(BlobType::kData, file.content.back(), chunk);
            file.size += chunk.size();
        }
        const TreeNode directory{
            .name = guest, .type = "dir", .mode = 0700, .subtree = writer.save_tree({file})};
        Snapshot snapshot;
        snapshot.tree = writer.save_tree({directory});
        writer.flush();
        snapshot.time = Timestamp::now();
        snapshot.hostname = "host";
        snapshot.paths = {"/" + guest};
        return repository->write_file(FileKind::kSnapshot, format_snapshot(snapshot));
    }

    // Runs restic on it. nullopt when it isn't installed: skip the test then.
    std::optional<ProgramResult> restic(std::vector<std::string> arguments) const {
        const std::string program = find_program("restic");
        if (program.empty()) return std::nullopt;
        ::setenv("RESTIC_PASSWORD", kTestPassword, 1);
        arguments.insert(arguments.begin(), {program, "--no-cache", "-r", path()});
        return run_program(arguments, std::chrono::seconds(60), 16 << 20);
    }

  private:
    TempDir dir_;
};

}  // namespace inspect::repository
