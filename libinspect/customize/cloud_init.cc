// SPDX-License-Identifier: LGPL-2.1-or-later
#include <fcntl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include <inspect/cloud_init.h>

#include "base/fd.h"
#include "base/subprocess.h"
#include "base/uuid.h"
#include "customize/host_name.h"
#include "guest/printable.h"

namespace inspect {

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostOfAFile = 1 << 20;
constexpr size_t kMostOfAnImage = 16 << 20;
constexpr std::chrono::minutes kPatience{1};
constexpr const char* kNames[] = {"user-data", "meta-data", "vendor-data", "network-config"};

// A directory that only we can look into, and that goes with the object: user-data may hold passwords.
class ScratchDirectory {
  public:
    ScratchDirectory() {
        const char* parent = ::getenv("TMPDIR");
        path_ = std::string(parent && *parent ? parent : "/tmp") + "/insp-seed-XXXXXX";
        if (!::mkdtemp(path_.data())) throw Error::from_errno("cannot make a temporary directory", errno);
    }
    ~ScratchDirectory() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    ScratchDirectory(const ScratchDirectory&) = delete;
    ScratchDirectory& operator=(const ScratchDirectory&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

// All three understand mkisofs' options.
std::string image_maker() {
    for (const char* name : {"xorrisofs", "genisoimage", "mkisofs"})
        if (!find_program(name).empty()) return name;
    throw Error(
        ErrorKind::kNotFound,
        "cannot make an ISO image: there is no xorrisofs on this host (Debian's package xorriso), nor "
        "genisoimage or mkisofs");
}

}  // namespace

void add_cloud_init_file(CloudInitSeed& seed, const std::string& argument) {
    const size_t colon = argument.rfind(':');
    const std::string name = colon == argument.npos ? "" : argument.substr(colon + 1);
    if (colon == 0 || std::find(std::begin(kNames), std::end(kNames), name) == std::end(kNames))
        throw Error(
            ErrorKind::kUsage,
            "'" + printable(argument) +
                "' is not FILE:NAME, where NAME is user-data, meta-data, vendor-data or network-config");
    if (seed.contains(name)) throw Error(ErrorKind::kUsage, "the seed has two files " + name);
    const std::string path = argument.substr(0, colon);
    const Fd fd = open_file(path, O_RDONLY);
    std::string text(kMostOfAFile + 1, '\0');
    text.resize(read_full(fd.get(), std::as_writable_bytes(std::span(text)), "read the seed"));
    if (text.size() > kMostOfAFile)
        throw Error(ErrorKind::kUnsupported, "'" + path + "' has more than 1 MiB, which no seed needs");
    seed.emplace(name, std::move(text));
}

std::string make_cloud_init_meta_data(const std::string& host_name) {
    std::string text = "instance-id: iid-" + random_uuid() + "\n";
    if (is_host_name(host_name)) text += "local-hostname: \"" + host_name + "\"\n";
    return text;
}

std::string make_cloud_init_iso(CloudInitSeed seed) {
    seed.emplace("meta-data", make_cloud_init_meta_data(""));
    // Without a first line like this cloud-init warns.
    seed.emplace("user-data", "#cloud-config\n");
    const ScratchDirectory directory;
    for (const auto& [name, text] : seed) {
        const Fd file = open_file(directory.path() + "/" + name, O_WRONLY | O_CREAT | O_EXCL);
        write_full(file.get(), std::as_bytes(std::span(text)), "write the seed");
    }
    const std::string maker = image_maker();
    const ProgramResult made = run_program({maker, "-quiet", "-V", "CIDATA", "-J", "-r", directory.path()},
                                           kPatience, kMostOfAnImage);
    if (!WIFEXITED(made.status) || WEXITSTATUS(made.status) != 0 || made.output.empty())
        throw Error(ErrorKind::kInternal, "cannot make an ISO image: " + maker + " " +
                                              Subprocess::describe(made.status) + ": " +
                                              printable(made.errors));
    return made.output;
}

}  // namespace inspect
