// SPDX-License-Identifier: GPL-2.0-or-later
//
// A fuzz target without libFuzzer: runs it once on each file that is named, or is in a directory that is
// named, and on no bytes at all.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

int inputs = 0;

bool replay(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    if (!file) {
        std::cerr << path << " cannot be read\n";
        return false;
    }
    std::cout << path.string() << std::endl;  // so that it is the last line when this one crashes
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    ++inputs;
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    namespace fs = std::filesystem;
    if (LLVMFuzzerInitialize) LLVMFuzzerInitialize(&argc, &argv);
    const uint8_t none = 0;
    LLVMFuzzerTestOneInput(&none, 0);
    for (int i = 1; i < argc; ++i) {
        if (!fs::is_directory(argv[i])) {
            if (!replay(argv[i])) return 1;
            continue;
        }
        for (const auto& entry : fs::recursive_directory_iterator(argv[i]))
            if (entry.is_regular_file() && !replay(entry.path())) return 1;
    }
    std::cout << inputs << " inputs\n";
    return argc > 1 && inputs == 0 ? 1 : 0;
}
