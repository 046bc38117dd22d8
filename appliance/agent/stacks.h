// SPDX-License-Identifier: GPL-2.0-or-later
//
// Stacks: puts together what lies on several devices or behind a key: md arrays, LUKS and BitLocker, LVM, in
// whatever order they stand on one another. docs/stacks.md says how and why.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "disks.h"
#include "encrypted.h"
#include "lvm.h"
#include "programs.h"

namespace inspect::agent {

// Not thread-safe.
class Stacks {
  public:
    Stacks(Disks& disks, Programs& programs) : disks_(disks), programs_(programs) {}

    // Takes the keys out of the request. `may_rename`: what is written is thrown away in the end, so a second
    // volume group of one name may get another.
    void prepare(proto::Wake& request, bool may_rename);
    // Round after round until nothing new appears. True: there are new volumes. What can't be put together is
    // a warning.
    bool assemble();
    // Takes everything apart, so that all of it is on the disks: when nothing is mounted and Disks has let
    // go of the devices. Throws Failure.
    void dismantle();
    // After a program had its way with the disks: takes everything apart, whatever the program has put
    // together itself, and forgets what was seen, before Disks::forget(). What is in use stays.
    void forget() noexcept;

    // What went wrong since the last call.
    std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }
    // The encrypted devices that no key was given for.
    const std::set<std::string>& locked() const { return locked_; }
    // What the appliance would need to unlock one that it couldn't for lack of memory; 0: there is none.
    uint64_t needed_memory() const { return needed_memory_; }
    void describe(proto::FilesystemList& list) const;

  private:
    std::vector<Volume*> members();
    bool start_arrays(const std::vector<Volume*>& members);
    bool unlock(const std::vector<Volume*>& members);
    bool activate(const std::vector<Volume*>& members);
    bool add_logical_volumes(const LvmReport& report);
    std::vector<std::string> physical_nodes();
    void tell_groups_apart();
    // False: it can't, and is to be left out.
    bool give_other_name(const Volume& volume, const PhysicalVolume& physical, std::set<std::string>& names);
    bool has_enough_memory(const Volume& volume);
    void warn(const Volume& volume, const std::string& text);

    Disks& disks_;
    Programs& programs_;
    Keys keys_;
    bool may_rename_ = false;
    bool allow_discards_ = false;      // of encrypted volumes
    std::set<const Volume*> seen_;     // members that were dealt with
    std::set<std::string> locked_;     // devices
    std::vector<std::string> arrays_;  // nodes of what was started, the first first
    bool device_mapper_ = false;       // was used
    std::vector<Volume*> physical_;    // physical volumes that LVM was shown
    LvmReport lvm_;                    // its last report
    uint64_t needed_memory_ = 0;
    std::vector<std::string> warnings_;
};

}  // namespace inspect::agent
