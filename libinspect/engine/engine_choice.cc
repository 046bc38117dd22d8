// SPDX-License-Identifier: LGPL-2.1-or-later
#include "engine/engine_choice.h"

#include <cstdlib>

#include <inspect/error.h>

#include "base/log.h"
#include "engine/host.h"
#include "engine/kvm_engine.h"
#include "engine/qemu_engine.h"

namespace inspect {

EngineKind parse_engine(const std::string& given) {
    std::string name = given;
    std::string where = "the engine";
    if (name.empty()) {
        const char* variable = ::secure_getenv("INSP_ENGINE");
        if (!variable || !*variable) return EngineKind::kAuto;
        name = variable;
        where = "INSP_ENGINE";
    }
    if (name == "auto") return EngineKind::kAuto;
    if (name == "kvm") return EngineKind::kKvm;
    if (name == "qemu") return EngineKind::kQemu;
    throw Error(ErrorKind::kUsage, where + " is 'auto', 'kvm' or 'qemu', not '" + name + "'");
}

EngineChoice choose_engine(EngineKind wanted) {
    if (wanted == EngineKind::kKvm) return {wanted, "kvm, as asked for"};
    if (wanted == EngineKind::kQemu) return {wanted, "qemu, as asked for"};
    try {
        open_kvm();
        // Also where KVM is software: a warm start there takes no longer than QEMU's boot.
        return {EngineKind::kKvm, "kvm, because /dev/kvm works and a snapshot starts faster than QEMU boots"};
    } catch (const Error& error) {
        if (!find_qemu().empty()) return {EngineKind::kQemu, "qemu, because " + error.message()};
        return {EngineKind::kKvm,
                "none: " + error.message() +
                    "; or install Debian's package qemu-system-x86, with which insp does without KVM"};
    }
}

std::unique_ptr<Machine> start_machine(const EngineOptions& options) {
    const EngineChoice choice = choose_engine(options.engine);
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
