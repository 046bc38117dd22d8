// SPDX-License-Identifier: GPL-2.0-or-later
//
// What `cmake --install` gives: programs that find their appliance, and a library that others can build with.
#include "support/insp.h"

namespace inspect::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Install : public ApplianceTest {
  protected:
    // Installs into the scratch folder, as a package's build does; the prefix in it.
    fs::path install() const {
        fs::path root = scratch() / "root";
        Outcome outcome =
            run({"cmake", "--install", INSP_BUILD_DIR, "--strip"}, {.env = {{"DESTDIR", root}}});
        EXPECT_TRUE(outcome.ok()) << outcome.describe();
        for (const char* prefix : {"usr/local", "usr"}) {
            if (fs::exists(root / prefix / "bin/insp")) return root / prefix;
        }
        ADD_FAILURE() << "no bin/insp in " << root;
        return root;
    }
};

// The program of docs and README: ten lines against the public headers.
constexpr const char* kProgram = R"(
#include <inspect/session.h>
#include <cstdio>
int main(int, char* argv[]) try {
    inspect::SessionOptions options;
    options.disks.push_back({.path = argv[1]});
    options.appliance_directory = argv[2];
    inspect::Session session(options);
    session.mount({.device = "/dev/sda"});
    session.read_file("/hello.txt", [](std::span<const std::byte> bytes) { fwrite(bytes.data(), 1, bytes.size(), stdout); });
    return 0;
} catch (const inspect::Error& error) { fprintf(stderr, "%s\n", error.what()); return 1; }
)";

TEST_F(Install, ProductAndLibrary) {
    fs::path prefix = install();
    uint64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(prefix)) {
        if (entry.is_regular_file() && !entry.is_symlink()) bytes += entry.file_size();
    }
    EXPECT_LT(bytes, 60U << 20) << "the installed product is " << (bytes >> 20) << " MiB";
    for (const char* file :
         {"bin/insp", "libexec/libinspect/insp-vmm", "share/libinspect/appliance/vmlinux.zst",
          "share/libinspect/appliance/manifest.json", "include/inspect/session.h", "share/man/man1/insp.1",
          "share/man/man1/insp-cat.1", "share/bash-completion/completions/insp"}) {
        EXPECT_TRUE(fs::exists(prefix / file) || fs::exists(prefix / (std::string(file) + ".gz")))
            << file << " is not installed";
    }

    // The installed insp works from where it lies.
    Outcome cat =
        run({prefix / "bin/insp", "cat", "-a", guest("ext4"), "-m", "/dev/sda", "/hello.txt"}, environment());
    EXPECT_EQ(cat.out, "hello, guest\n") << cat.describe();

    // And so does the library, found by pkg-config...
    fs::path library;
    for (const auto& entry : fs::recursive_directory_iterator(prefix)) {
        if (entry.path().filename() == "libinspect.pc") library = entry.path().parent_path().parent_path();
    }
    ASSERT_FALSE(library.empty()) << "no libinspect.pc";
    Outcome flags = run({"pkg-config", "--cflags", "--libs", "libinspect"},
                        {.env = {{"PKG_CONFIG_PATH", library / "pkgconfig"}}});
    ASSERT_TRUE(flags.ok()) << flags.describe();
    write_host_file(scratch() / "program.cc", kProgram);
    Outcome compiled = run({"sh", "-c",
                            std::string(INSP_CXX_COMPILER) +
                                " -std=c++20 -Wno-missing-field-initializers program.cc -o program " +
                                flags.out.substr(0, flags.out.find('\n'))},
                           {.directory = scratch()});
    ASSERT_TRUE(compiled.ok()) << compiled.describe();
    std::string appliance = prefix / "share/libinspect/appliance";
    // The library looks for insp-vmm where it was configured for; this copy lies elsewhere.
    Options options = environment(
        {.env = {{"LD_LIBRARY_PATH", library}, {"INSP_VMM", prefix / "libexec/libinspect/insp-vmm"}}});
    Outcome ran = run({scratch() / "program", guest("ext4"), appliance}, options);
    EXPECT_EQ(ran.out, "hello, guest\n") << ran.describe();

    // ...and by find_package().
    write_host_file(
        scratch() / "CMakeLists.txt",
        "cmake_minimum_required(VERSION 3.25)\nproject(x CXX)\nfind_package(libinspect 0.1 REQUIRED)\n"
        "add_executable(with_cmake program.cc)\ntarget_link_libraries(with_cmake libinspect::libinspect)\n");
    Outcome configured = run({"cmake", "-S", ".", "-B", "b", "-DCMAKE_PREFIX_PATH=" + prefix.string(),
                              std::string("-DCMAKE_CXX_COMPILER=") + INSP_CXX_COMPILER},
                             {.directory = scratch()});
    ASSERT_TRUE(configured.ok()) << configured.describe();
    Outcome built = run({"cmake", "--build", "b"}, {.directory = scratch()});
    EXPECT_TRUE(built.ok()) << built.describe();
}

}  // namespace
}  // namespace inspect::test
