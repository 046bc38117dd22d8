// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Cloner: all disks of a guest, in one step for each clone.
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include <inspect/clone.h>

#include "base/host_paths.h"
#include "clone/clone_source.h"

namespace inspect {

namespace {

// What was made of a clone, until it is complete.
struct Parts {
    std::vector<NewHostFile> files;
    std::vector<NewSnapshot> volumes;
    bool complete = false;

    ~Parts() {
        if (complete) return;
        for (NewHostFile& file : files) file.retract();
        for (NewSnapshot& volume : volumes) volume.retract();
    }
};

}  // namespace

struct Cloner::Impl {
    CloneOptions options;
    std::vector<CloneSource> sources;

    void require_free(const std::string& path) const {
        struct stat status {};
        if (::lstat(path.c_str(), &status) != 0) {
            if (errno == ENOENT) return;
            throw Error::from_errno("cannot make '" + path + "'", errno);
        }
        for (const CloneSource& source : sources)
            if (source.is_at(path))
                throw Error(ErrorKind::kDenied, "'" + path + "' is what is to be cloned, or a part of it");
        if (!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode))
            throw Error(ErrorKind::kDenied,
                        "'" + path + "' is there already, and is no file that could be replaced");
        if (path.starts_with("/dev/"))
            throw Error(ErrorKind::kDenied, "'" + path +
                                                "' is there already, and volumes are not replaced; remove it "
                                                "first (lvremove), or choose another name");
        if (!options.force)
            throw Error(ErrorKind::kDenied, "'" + path + "' is there already; --force replaces it");
    }
};

Cloner::Cloner(CloneOptions options) : impl_(std::make_unique<Impl>()) {
    impl_->options = std::move(options);
    const CloneOptions& wanted = impl_->options;
    if (wanted.sources.empty()) throw Error(ErrorKind::kUsage, "there is no disk to be cloned");
    if (wanted.keep_chain && wanted.method == CloneMethod::kOverlay)
        throw Error(ErrorKind::kUsage, "an overlay keeps the chain anyway, by standing on the source");
    for (const DiskSpec& spec : wanted.sources) impl_->sources.emplace_back(spec, wanted);
}

Cloner::~Cloner() = default;

std::vector<std::string> Cloner::formats() const {
    std::vector<std::string> result;
    for (const CloneSource& source : impl_->sources) result.push_back(source.format());
    return result;
}

void Cloner::require_room(const std::vector<CloneTarget>& targets) const {
    std::set<std::string> paths;
    std::map<dev_t, uint64_t> needed;  // by file system
    std::map<dev_t, std::string> where;
    std::map<std::pair<size_t, std::string>, uint64_t> known;
    for (const CloneTarget& target : targets) {
        if (target.paths.size() != impl_->sources.size())
            throw Error(ErrorKind::kUsage, "a clone has as many disks as what it is made of");
        for (size_t i = 0; i < target.paths.size(); ++i) {
            const std::string& path = target.paths[i];
            if (!paths.insert(path).second)
                throw Error(ErrorKind::kUsage, "two disks would be called '" + path + "'");
            impl_->require_free(path);
            const std::string directory = directory_of(path);
            CloneSource& source = impl_->sources[i];
            if (impl_->options.method == CloneMethod::kLvmSnapshot || path.starts_with("/dev/")) continue;
            struct stat status {};
            if (::stat(directory.c_str(), &status) != 0)
                throw Error::from_errno("cannot make '" + path + "'", errno);
            // All clones in one directory are made in the same way.
            const auto [entry, fresh] = known.try_emplace({i, directory}, 0);
            if (fresh) entry->second = source.room_for(source.method_for(path));
            needed[status.st_dev] += entry->second;
            where[status.st_dev] = directory;
        }
    }
    for (const auto& [device, bytes] : needed) {
        struct statvfs room {};
        if (::statvfs(where[device].c_str(), &room) != 0) continue;
        const uint64_t available = uint64_t{room.f_bavail} * room.f_frsize;
        if (bytes > available)
            throw Error(ErrorKind::kNoSpace, "there is too little room in '" + where[device] +
                                                 "': " + std::to_string(bytes >> 20) + " MiB are needed, " +
                                                 std::to_string(available >> 20) + " MiB are free");
    }
}

Clone Cloner::make(const CloneTarget& target, const Change& change) {
    if (target.paths.size() != impl_->sources.size())
        throw Error(ErrorKind::kUsage, "a clone has as many disks as what it is made of");
    Clone clone{target.name, {}};
    Parts parts;
    std::vector<DiskSpec> disks;
    std::vector<CloneMethod> methods;
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < target.paths.size(); ++i) {
        impl_->require_free(target.paths[i]);
        methods.push_back(impl_->sources[i].method_for(target.paths[i]));
        if (methods[i] == CloneMethod::kCopy) total += impl_->sources[i].room_for(methods[i]);
    }
    const CopyProgress progress = [&](uint64_t bytes) {
        done += bytes;
        if (impl_->options.on_progress) impl_->options.on_progress(std::min(done, total), total);
    };
    for (size_t i = 0; i < target.paths.size(); ++i) {
        CloneSource& source = impl_->sources[i];
        DiskSpec spec{.path = {}, .sector_size = impl_->options.sources[i].sector_size};
        if (methods[i] == CloneMethod::kLvmSnapshot) {
            parts.volumes.push_back(source.snapshot(target.paths[i]));
            clone.disks.push_back(source.describe(parts.volumes.back()));
            spec.path = parts.volumes.back().path();
        } else {
            parts.files.emplace_back(target.paths[i], source.mode());
            clone.disks.push_back(source.fill(parts.files.back(), methods[i], progress));
            spec.path = parts.files.back().path();
        }
        spec.format = clone.disks[i].format;
        disks.push_back(std::move(spec));
    }
    if (change) change(disks);
    for (NewSnapshot& volume : parts.volumes) volume.publish();
    for (NewHostFile& file : parts.files) file.publish(impl_->options.force);
    parts.complete = true;
    return clone;
}

}  // namespace inspect
