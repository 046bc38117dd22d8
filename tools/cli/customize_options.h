// SPDX-License-Identifier: GPL-2.0-or-later
//
// The options of customize, as `insp customize` has them, and `insp sysprep` and `insp clone` too: one table
// for all three, and what was given of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <inspect/cloud_init.h>
#include <inspect/customize.h>
#include <inspect/session.h>

#include "cli/context.h"

namespace inspect::cli {

// The library's operations, and what is about all of them. option_groups() offers it to commands that have
// kCustomizeOptions among their shared ones.
std::span<const Option> customize_options();

// The operations that were given, in their order; those of a file where the file was.
struct CustomizeSteps {
    std::vector<CustomizeStep> steps;
    bool plain_passwords = false;  // a file may have them
};

// `seed`: takes what --cloud-init gives, which then is no step; null: it is one. An option whose value may be
// missing, and is, gives a step without an argument. Throws UsageError, and what reading a file throws.
CustomizeSteps customize_steps(const Arguments& arguments, CloudInitSeed* seed);

// What --hostname says, wherever it stands; the last one counts.
std::optional<std::string> host_name_of(const CustomizeSteps& steps);

using Passwords = std::vector<std::pair<std::string, std::string>>;  // user, password
// As the member "passwords" of the object that is open.
void passwords_json(JsonWriter& json, const Passwords& passwords);

// The steps, checked and with all read that they need of the host, and how they tell the user what they do:
// on stderr, unless --quiet.
class CustomizeWork {
  public:
    // Throws UsageError, and what Customization's constructor throws. `context` must outlive it.
    CustomizeWork(Context& context, const CustomizeSteps& steps);
    CustomizeWork(const CustomizeWork&) = delete;
    CustomizeWork& operator=(const CustomizeWork&) = delete;

    // For the next guest: its host name (if that is set at all), and what stands before the messages about
    // it. Throws UsageError for what is no host name.
    void begin_guest(const std::string& name, const std::optional<std::string>& host_name);

    // What the steps need of the session: memory, and the images of --attach behind the guest's.
    void adjust(SessionOptions& options) const;
    bool attaches() const { return !attached_.empty(); }

    // A sentence for each step.
    std::vector<std::string> steps() const { return customization_->steps(); }
    void apply(Session& session) { customization_->apply(session); }

    // The random passwords of the guest that was changed last, once: when they are true.
    Passwords take_passwords() { return std::exchange(passwords_, {}); }

  private:
    std::string prefix_;
    Passwords passwords_;
    bool wants_memory_;
    std::vector<DiskSpec> attached_;
    std::optional<Customization> customization_;
};

}  // namespace inspect::cli
