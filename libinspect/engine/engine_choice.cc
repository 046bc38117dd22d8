// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/engine_choice.h"

#include <inspect/error.h>

#include "base/host_paths.h"
#include "base/log.h"
#include "engine/cache.h"
#include "engine/host.h"
#include "engine/kvm_engine.h"
#include "engine/qemu_arguments.h"
#include "engine/qemu_engine.h"
#include "engine/vmm_process.h"

namespace inspect {

namespace {

constexpr char kInstallQemu[] = "; or install Debian's package qemu-system-x86, with which no KVM is needed";

}  // namespace

EngineKind parse_engine(const std::string& given) {
    std::string name = given;
    std::string where = "the engine";
    if (name.empty()) {
        name = environment("INSP_ENGINE");
        if (name.empty()) return EngineKind::kAuto;
        where = "INSP_ENGINE";
    }
    if (name == "auto") return EngineKind::kAuto;
    if (name == "kvm") return EngineKind::kKvm;
    if (name == "qemu") return EngineKind::kQemu;
    throw Error(ErrorKind::kUsage, where + " is 'auto', 'kvm' or 'qemu', not '" + name + "'");
}

size_t max_disks(EngineKind engine) noexcept {
    return engine == EngineKind::kQemu ? kMaxQemuDisks : kMaxDiskSlots;
}

EngineChoice choose_engine(const EngineOptions& options) {
    const EngineKind wanted = options.engine;
    if (wanted == EngineKind::kKvm) return {wanted, "kvm, as asked for"};
    if (wanted == EngineKind::kQemu) return {wanted, "qemu, as asked for"};
    const bool has_qemu = !find_qemu().empty();
    try {
        const Fd kvm = open_kvm();
        const auto cache = open_cache(options.cache_directory);
        if (!is_software_kvm(kvm.get(), cache ? &*cache : nullptr))
            return {EngineKind::kKvm, "kvm, because /dev/kvm works, on hardware virtualization"};
        // There every instruction of the guest's kernel is a trap; QEMU translates it once.
        if (has_qemu && options.disks.size() <= kMaxQemuDisks) {
            return {EngineKind::kQemu,
                    "qemu, because this host's KVM emulates the guest's kernel mode, which takes longer"};
        }
        return {EngineKind::kKvm,
                has_qemu ? "kvm, because qemu takes no more than " + std::to_string(kMaxQemuDisks) + " disks"
                         : "kvm, because QEMU, which would be faster than this host's KVM, isn't installed"};
    } catch (const Error& error) {
        if (has_qemu) return {EngineKind::kQemu, "qemu, because " + error.message()};
        return {EngineKind::kKvm, "none: " + error.message() + kInstallQemu};
    }
}

bool make_snapshot(const EngineOptions& options) {
    return choose_engine(options).kind == EngineKind::kQemu ? make_qemu_snapshot(options)
                                                            : make_kvm_snapshot(options);
}

std::string snapshot_key(const EngineOptions& options) {
    return choose_engine(options).kind == EngineKind::kQemu ? qemu_snapshot_key(options)
                                                            : kvm_snapshot_key(options);
}

std::unique_ptr<Machine> start_machine(const EngineOptions& options) {
    const EngineChoice choice = choose_engine(options);
    log(LogLevel::kVerbose, "the engine is " + choice.reason);
    if (choice.kind == EngineKind::kQemu) return start_qemu_machine(options);
    try {
        return start_kvm_machine(options);
    } catch (const Error& error) {
        const bool no_kvm = error.kind() == ErrorKind::kNotFound || error.kind() == ErrorKind::kDenied;
        if (options.engine != EngineKind::kAuto || !no_kvm || !find_qemu().empty()) throw;
        throw Error(error.kind(), error.message() +
                                      "; or install Debian's package qemu-system-x86, with which "
                                      "no KVM is needed");
    }
}

}  // namespace inspect
