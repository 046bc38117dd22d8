// SPDX-License-Identifier: LGPL-2.1-or-later
//
// For tests: a directory that is gone afterwards, files in it, and random bytes.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <inspect/error.h>

namespace inspect {

using Bytes = std::vector<std::byte>;

class TempDir {
  public:
    TempDir() {
        std::string name = (std::filesystem::temp_directory_path() / "insp-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        path_ = name;
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const { return path_ + "/" + name; }

    std::string write(const std::string& name, const Bytes& bytes) const {
        std::ofstream out(file(name), std::ios::binary | std::ios::trunc);
        out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        return file(name);
    }
    // A file that is one hole.
    std::string sparse(const std::string& name, uint64_t size) const {
        write(name, {});
        std::filesystem::resize_file(file(name), size);
        return file(name);
    }

  private:
    std::string path_;
};

inline Bytes read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    if (!in) return {};
    Bytes bytes(static_cast<size_t>(in.tellg()));
    in.seekg(0);
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

inline Bytes random_bytes(std::mt19937_64& random, size_t size) {
    Bytes bytes(size);
    for (size_t at = 0; at < size; at += 8) {
        const uint64_t word = random();
        std::memcpy(bytes.data() + at, &word, std::min<size_t>(8, size - at));
    }
    return bytes;
}

// Expects that `call` throws an Error of this kind whose message has `text` in it.
template <typename Call>
void expect_error(ErrorKind kind, const std::string& text, Call call) {
    try {
        call();
        ADD_FAILURE() << "no error, where one with '" << text << "' was expected";
    } catch (const Error& error) {
        EXPECT_EQ(error_kind_name(error.kind()), error_kind_name(kind)) << error.message();
        EXPECT_NE(error.message().find(text), std::string::npos) << error.message();
    }
}

}  // namespace inspect
