// SPDX-License-Identifier: LGPL-2.1-or-later
//
// Cloning: from the disks of one guest, those of others. No appliance is started.
//
//     inspect::Cloner cloner({.sources = {{.path = "template.qcow2"}}});
//     std::vector<inspect::CloneTarget> targets;
//     for (const std::string& name : inspect::clone_names("web-%03d", 1, 20))
//         targets.push_back(inspect::clone_target("/srv/vms", name, cloner.formats()));
//     cloner.require_room(targets);
//     for (const inspect::CloneTarget& target : targets) cloner.make(target);
//
// A source is opened read-only and locked, as all images are, for as long as the Cloner lives. A clone
// appears under its name when all of it is complete and durable, or not at all; what a killed process leaves
// is a file NAME.insp-XXXXXXXX that nobody uses.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <inspect/disk.h>
#include <inspect/error.h>

namespace inspect {

enum class CloneMethod {
    kAuto,         // kReflink where the file system can, else kCopy; for a target in /dev kLvmSnapshot
    kReflink,      // the image's file, its blocks shared with the source's until one of them is written
    kOverlay,      // a qcow2 image that stands on the source, which must then never change again
    kCopy,         // all that the image holds; holes and zeros take no space
    kLvmSnapshot,  // a snapshot of a logical volume; one of a thin volume is thin
};

// "auto", "reflink", "overlay", "copy", "lvm-snapshot". Throws Error(kUsage) for another word.
CloneMethod parse_clone_method(std::string_view name);
std::string_view clone_method_name(CloneMethod method) noexcept;

struct CloneOptions {
    std::vector<DiskSpec> sources;  // the disks of one guest; at least one
    CloneMethod method = CloneMethod::kAuto;
    // "raw" or "qcow2"; empty: the source's, or, of another format than these, qcow2.
    std::string format = {};
    // Of an image that stands on others a copy holds all that they have, unless this is set: then it stands
    // on them as well.
    bool keep_chain = false;
    // What is there under a clone's name is replaced.
    bool force = false;
    // Of the clone that is being made, now and then; may throw to end it.
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress = {};
};

// A clone that is to be made: a name, and a path for each of the sources.
struct CloneTarget {
    std::string name;
    std::vector<std::string> paths;
};

struct ClonedDisk {
    std::string source;
    std::string path;
    std::string format;
    CloneMethod method = CloneMethod::kAuto;  // never kAuto
    uint64_t virtual_size = 0;                // bytes
    std::string backing;                      // what it stands on; empty: nothing
};

struct Clone {
    std::string name;
    std::vector<ClonedDisk> disks;
};

// The names that a pattern makes of `count` numbers from `start` on: "web-%03d" has web-001, web-002... %d
// may have a width, with or without a leading 0; %% is a percent sign. Throws Error(kUsage) for another
// conversion, more than one, none when several names are wanted (they would be the same), or a name that is
// no file's name.
std::vector<std::string> clone_names(std::string_view pattern, uint64_t start, uint64_t count);

// Where the disks of a guest named `name` go in `directory`: NAME.img or NAME.qcow2, the further ones
// NAME-2.img... `formats` are those of the disks.
CloneTarget clone_target(const std::string& directory, const std::string& name,
                         const std::vector<std::string>& formats);

// Not thread-safe; several may be at work on the same sources.
class Cloner {
  public:
    // Opens and locks the sources. Throws what Session's constructor does; kUsage for a method and options
    // that don't go together, kUnsupported for a source that the method can't clone.
    explicit Cloner(CloneOptions options);
    ~Cloner();
    Cloner(const Cloner&) = delete;
    Cloner& operator=(const Cloner&) = delete;

    // The clones' formats, in the order of the sources.
    std::vector<std::string> formats() const;

    // Throws Error when these clones can't all be made: kDenied (something of that name is there, or is a
    // source), kUsage (two of one name), kNotFound (no such directory), kNoSpace.
    void require_room(const std::vector<CloneTarget>& targets) const;

    // Makes one. `change` is called with the new disks before they have their names, and may change them;
    // what it throws ends it. Throws Error; then nothing of this clone is there.
    using Change = std::function<void(const std::vector<DiskSpec>& disks)>;
    Clone make(const CloneTarget& target, const Change& change = {});

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// A libvirt domain's XML for a clone of it: its name, a new UUID (and generation id), new MAC addresses of
// the same vendor, the disks' new paths and formats, and none of what belongs to the original alone (its
// NVRAM file, sockets, how its images were chained). `clone` has a disk for each hard disk of the domain.
// Throws Error: kUsage (no domain's XML), kUnsupported (a disk that is no file or block device).
std::string clone_domain_xml(std::string_view xml, const Clone& clone);

// Writes a text, such as that, to a new file: all of it or nothing. What is there is replaced only if
// `replace`. Throws Error; kDenied when something is there.
void write_clone_file(const std::string& path, std::string_view text, bool replace);

}  // namespace inspect
