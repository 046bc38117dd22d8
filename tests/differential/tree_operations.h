// SPDX-License-Identifier: GPL-2.0-or-later
//
// TreePair: two directories on which the same random operations are done.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace inspect::test {

class TreePair {
  public:
    TreePair(const std::filesystem::path& mounted, const std::filesystem::path& local, uint64_t seed);
    ~TreePair();
    TreePair(const TreePair&) = delete;
    TreePair& operator=(const TreePair&) = delete;

    // One operation on both. What differed, or an empty string.
    std::string step();
    // All names, types, modes, sizes, link counts, targets, attributes and contents.
    std::string compare_all();
    std::string history() const;
    std::string summary() const;  // how often which operation was done

  private:
    // What an operation gave: a return value or -errno, and bytes.
    struct Result {
        int64_t value = 0;
        std::string bytes = {};
        bool operator==(const Result&) const = default;
    };
    using Operation = std::string (TreePair::*)();

    uint64_t random(uint64_t below) { return std::uniform_int_distribution<uint64_t>(0, below - 1)(random_); }
    std::string a_name();
    std::string a_directory();
    uint64_t an_offset() { return random(kMostSize); }
    uint64_t a_length() { return 1 + random(random(4) == 0 ? 200'000 : 9000); }
    std::string noise(uint64_t length);
    // Does it on both sides; `work` is given the directory.
    template <typename Work>
    std::string both(const std::string& what, Work work);
    // The same on an opened file.
    template <typename Work>
    std::string on_file(const std::string& what, const std::string& name, int flags, Work work);
    // The same on what open_file() has opened; does nothing where that is none.
    template <typename Work>
    std::string on_open(const std::string& what, Work work);

    std::string write();
    std::string append();
    std::string rewrite();
    std::string read();
    std::string map_write();
    std::string map_read();
    std::string truncate();
    std::string allocate();
    std::string copy_range();
    std::string seek();
    std::string sync_and_drop();
    std::string rename();
    std::string exchange();
    std::string link();
    std::string symlink();
    std::string make_node();
    std::string unlink();
    std::string make_directory();
    std::string remove_directory();
    std::string change_mode();
    std::string change_time();
    std::string set_attribute();
    std::string remove_attribute();
    std::string list();
    std::string open_file();
    std::string write_open();
    std::string read_open();
    std::string close_file();

    static constexpr uint64_t kMostSize = 400'000;
    std::filesystem::path sides_[2];
    int open_[2] = {-1, -1};
    std::mt19937_64 random_;
    std::deque<std::string> history_;
    std::map<std::string, uint64_t> counts_;
};

}  // namespace inspect::test
