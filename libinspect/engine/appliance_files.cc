// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/appliance_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <vector>

#include <inspect/error.h>

#include "base/host_paths.h"

namespace inspect {

namespace {

// The prefix of the running program ("/usr" for /usr/bin/insp); empty when the system doesn't tell.
std::string program_prefix() {
    char path[4096];
    ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
    if (n <= 0 || n >= static_cast<ssize_t>(sizeof path)) return {};
    std::string text(path, static_cast<size_t>(n));
    for (int up = 0; up < 2; ++up) {
        size_t slash = text.rfind('/');
        if (slash == std::string::npos) return {};
        text.resize(slash);
    }
    return text;
}

std::string list(const std::vector<std::string>& places) {
    std::string text;
    for (const std::string& place : places) text += (text.empty() ? "'" : ", '") + place + "'";
    return text;
}

Fd open_part(const std::string& directory, const char* name) {
    std::string path = directory + "/" + name;
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
        throw Error::from_errno(
            "the appliance's file '" + path +
                "' cannot be opened; reinstall libinspect, or name the appliance's directory in "
                "INSP_APPLIANCE",
            errno);
    }
    struct stat st;
    if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        throw Error(ErrorKind::kCorrupt, "the appliance's file '" + path + "' is empty or no regular file");
    return fd;
}

}  // namespace

std::string file_identity(int fd) {
    struct stat st;
    if (::fstat(fd, &st) != 0) throw Error::from_errno("fstat", errno);
    return std::to_string(st.st_size) + " " + std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino) +
           " " + std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
}

std::string find_appliance_directory(const std::string& given) {
    if (!given.empty()) return given;
    if (const std::string named = environment("INSP_APPLIANCE"); !named.empty()) return named;
    std::vector<std::string> places;
    if (std::string prefix = program_prefix(); !prefix.empty())
        places.push_back(prefix + "/share/libinspect/appliance");
    places.push_back(INSP_DATADIR "/appliance");
    for (const std::string& place : places)
        if (::access((place + "/vmlinux.zst").c_str(), F_OK) == 0) return place;
    throw Error(ErrorKind::kNotFound, "the appliance (vmlinux.zst, initrd, root.erofs) is in none of " +
                                          list(places) + "; name its directory in INSP_APPLIANCE");
}

ApplianceFiles open_appliance(const std::string& given_directory) {
    ApplianceFiles files;
    files.directory = find_appliance_directory(given_directory);
    files.kernel = open_part(files.directory, "vmlinux.zst");
    files.initrd = open_part(files.directory, "initrd");
    files.root = open_part(files.directory, "root.erofs");
    for (const Fd* fd : {&files.kernel, &files.initrd, &files.root}) {
        struct stat st;
        if (::fstat(fd->get(), &st) == 0) files.size_bytes += static_cast<uint64_t>(st.st_size);
        files.identity += file_identity(fd->get()) + "\n";
    }
    return files;
}

std::string find_vmm_program() {
    if (const std::string named = environment("INSP_VMM"); !named.empty()) return named;
    std::vector<std::string> places;
    if (std::string prefix = program_prefix(); !prefix.empty())
        places.push_back(prefix + "/libexec/libinspect/insp-vmm");
    places.push_back(INSP_LIBEXECDIR "/insp-vmm");
    for (const std::string& place : places)
        if (::access(place.c_str(), X_OK) == 0) return place;
    throw Error(ErrorKind::kNotFound, "the program insp-vmm is in none of " + list(places) +
                                          "; reinstall libinspect, or name the program in INSP_VMM");
}

}  // namespace inspect
