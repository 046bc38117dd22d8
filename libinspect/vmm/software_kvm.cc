// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/software_kvm.h"

#include <linux/kvm.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "vmm/kvm_call.h"
#include "vmm/layout.h"

namespace inspect {

namespace {

constexpr size_t kMaxInstruction = 15;
constexpr uint8_t kBreakpointVector = 3;

// The bytes at RIP, as many as can be read, up to the longest instruction; they may be in two pages.
std::vector<std::byte> instruction_bytes(Vcpu& vcpu, const GuestMemory& memory, uint64_t rip) {
    std::vector<std::byte> bytes;
    while (bytes.size() < kMaxInstruction) {
        kvm_translation translation = {};
        translation.linear_address = rip + bytes.size();
        INSP_KVM(vcpu.fd(), KVM_TRANSLATE, &translation);
        if (!translation.valid) break;
        const uint64_t in_page = kPageSize - translation.linear_address % kPageSize;
        const uint64_t wanted = std::min<uint64_t>(in_page, kMaxInstruction - bytes.size());
        auto part = memory.at(translation.physical_address, wanted);
        if (!part) break;
        bytes.insert(bytes.end(), part->begin(), part->end());
    }
    return bytes;
}

void inject_breakpoint(Vcpu& vcpu) {
    kvm_vcpu_events events;
    INSP_KVM(vcpu.fd(), KVM_GET_VCPU_EVENTS, &events);
    events.exception.injected = 1;
    events.exception.pending = 0;
    events.exception.nr = kBreakpointVector;
    events.exception.has_error_code = 0;
    events.flags = 0;
    INSP_KVM(vcpu.fd(), KVM_SET_VCPU_EVENTS, &events);
}

std::string describe(uint64_t rip, std::span<const std::byte> bytes) {
    char text[80];
    int at = std::snprintf(text, sizeof text, "at RIP %llx, bytes", static_cast<unsigned long long>(rip));
    std::string result(text, static_cast<size_t>(at));
    for (std::byte b : bytes) {
        std::snprintf(text, sizeof text, " %02x", std::to_integer<unsigned>(b));
        result += text;
    }
    if (bytes.empty()) result += " unreadable";
    return result;
}

}  // namespace

LackingInstruction decode_lacking(std::span<const std::byte> bytes) noexcept {
    constexpr LackingInstruction kNothing{Lacking::kNothing, 0};
    bytes = bytes.first(std::min(bytes.size(), kMaxInstruction));
    size_t at = 0;
    auto next = [&]() -> int { return at < bytes.size() ? std::to_integer<int>(bytes[at++]) : -1; };

    bool operand_prefix = false, rex = false;
    int opcode = next();
    for (;; opcode = next()) {
        switch (opcode) {
            case 0x26:
            case 0x2e:
            case 0x36:
            case 0x3e:
            case 0x64:
            case 0x65:
            case 0x67:  // segment, address size
                rex = false;
                continue;
            case 0x66:
            case 0xf2:
            case 0xf3:
                operand_prefix = true;
                rex = false;
                continue;
            default:
                break;
        }
        if (opcode >= 0x40 && opcode <= 0x4f && !rex) {
            rex = true;
            continue;
        }
        break;
    }
    if (opcode == 0xcc) return {Lacking::kBreakpoint, static_cast<unsigned>(at)};
    if (opcode == 0x9b) return {Lacking::kFwait, static_cast<unsigned>(at)};
    // 0F AE /2 with a memory operand and none of the prefixes that would make it another instruction.
    if (opcode != 0x0f || operand_prefix || next() != 0xae) return kNothing;
    const int modrm = next();
    if (modrm < 0 || (modrm >> 3 & 7) != 2) return kNothing;
    const int mod = modrm >> 6, rm = modrm & 7;
    if (mod == 3) return kNothing;
    size_t displacement = mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0;
    if (rm == 4) {  // a SIB byte follows; without a base it has a 32-bit displacement
        const int sib = next();
        if (sib < 0) return kNothing;
        if (mod == 0 && (sib & 7) == 5) displacement = 4;
    }
    at += displacement;
    if (at > bytes.size()) return kNothing;
    return {Lacking::kLdmxcsr, static_cast<unsigned>(at)};
}

std::string complete_instruction(Vcpu& vcpu, const GuestMemory& memory) {
    kvm_regs regs = vcpu.regs();
    const auto bytes = instruction_bytes(vcpu, memory, regs.rip);
    const LackingInstruction instruction = decode_lacking(bytes);
    if (instruction.kind == Lacking::kNothing)
        return "the guest's kernel used an instruction that this host's KVM cannot emulate, " +
               describe(regs.rip, bytes);
    regs.rip += instruction.length;
    vcpu.set_regs(regs);
    if (instruction.kind == Lacking::kBreakpoint) inject_breakpoint(vcpu);
    return {};
}

std::string describe_instruction(Vcpu& vcpu, const GuestMemory& memory) {
    const uint64_t rip = vcpu.regs().rip;
    return describe(rip, instruction_bytes(vcpu, memory, rip));
}

}  // namespace inspect
