// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vmm/software_kvm.h"

#include <gtest/gtest.h>

#include <vector>

namespace inspect {
namespace {

struct Case {
    const char* what;
    std::vector<unsigned char> bytes;
    Lacking kind;
    unsigned length;
};

LackingInstruction decode(const std::vector<unsigned char>& bytes) {
    return decode_lacking(std::as_bytes(std::span(bytes)));
}

const Case kCases[] = {
    {"int3", {0xcc}, Lacking::kBreakpoint, 1},
    {"int3 with more behind it", {0xcc, 0x90, 0x90}, Lacking::kBreakpoint, 1},
    {"fwait", {0x9b}, Lacking::kFwait, 1},
    {"rex fwait", {0x48, 0x9b}, Lacking::kFwait, 2},
    {"ldmxcsr (%rax)", {0x0f, 0xae, 0x10}, Lacking::kLdmxcsr, 3},
    {"ldmxcsr 8(%rsp)", {0x0f, 0xae, 0x54, 0x24, 0x08}, Lacking::kLdmxcsr, 5},
    {"ldmxcsr (%rsp)", {0x0f, 0xae, 0x14, 0x24}, Lacking::kLdmxcsr, 4},
    {"ldmxcsr 0x100(%rsp)", {0x0f, 0xae, 0x94, 0x24, 0, 1, 0, 0}, Lacking::kLdmxcsr, 8},
    {"ldmxcsr 8(%rbp)", {0x0f, 0xae, 0x55, 0x08}, Lacking::kLdmxcsr, 4},
    {"ldmxcsr 0x100(%rbp)", {0x0f, 0xae, 0x95, 0, 1, 0, 0}, Lacking::kLdmxcsr, 7},
    {"ldmxcsr x(%rip)", {0x0f, 0xae, 0x15, 1, 2, 3, 4}, Lacking::kLdmxcsr, 7},
    {"ldmxcsr abs32", {0x0f, 0xae, 0x14, 0x25, 1, 2, 3, 4}, Lacking::kLdmxcsr, 8},
    {"ldmxcsr (%rbp,%rax)", {0x0f, 0xae, 0x54, 0x05, 0x00}, Lacking::kLdmxcsr, 5},
    {"ldmxcsr (%r12)", {0x41, 0x0f, 0xae, 0x14, 0x24}, Lacking::kLdmxcsr, 5},
    {"ldmxcsr (%r13)", {0x41, 0x0f, 0xae, 0x55, 0x00}, Lacking::kLdmxcsr, 5},
    {"ldmxcsr %gs:(%rax)", {0x65, 0x0f, 0xae, 0x10}, Lacking::kLdmxcsr, 4},
    {"ldmxcsr %gs:abs32", {0x65, 0x0f, 0xae, 0x14, 0x25, 1, 2, 3, 4}, Lacking::kLdmxcsr, 9},
    {"addr32 ldmxcsr (%eax)", {0x67, 0x0f, 0xae, 0x10}, Lacking::kLdmxcsr, 4},
    {"fxsave (%rax)", {0x0f, 0xae, 0x00}, Lacking::kNothing, 0},
    {"stmxcsr (%rax)", {0x0f, 0xae, 0x18}, Lacking::kNothing, 0},
    {"wrfsbase %eax", {0xf3, 0x0f, 0xae, 0xd0}, Lacking::kNothing, 0},
    {"0f ae /2 with a register", {0x0f, 0xae, 0xd0}, Lacking::kNothing, 0},
    {"operand-size prefix", {0x66, 0x0f, 0xae, 0x10}, Lacking::kNothing, 0},
    {"rep prefix before a segment", {0xf3, 0x65, 0x0f, 0xae, 0x10}, Lacking::kNothing, 0},
    {"crc32", {0xf2, 0x48, 0x0f, 0x38, 0xf1, 0x06}, Lacking::kNothing, 0},
    {"nop", {0x90}, Lacking::kNothing, 0},
    {"no bytes", {}, Lacking::kNothing, 0},
    {"cut in the opcode", {0x0f}, Lacking::kNothing, 0},
    {"cut before modrm", {0x0f, 0xae}, Lacking::kNothing, 0},
    {"cut before sib", {0x0f, 0xae, 0x14}, Lacking::kNothing, 0},
    {"cut in the displacement", {0x0f, 0xae, 0x95, 0, 1, 0}, Lacking::kNothing, 0},
    {"prefixes without end", std::vector<unsigned char>(15, 0x65), Lacking::kNothing, 0},
    {"longer than an instruction can be",
     {0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x65, 0x0f, 0xae, 0x95, 0, 0, 0, 0},
     Lacking::kNothing,
     0},
};

TEST(SoftwareKvm, DecodesWhatTheEmulatorLacks) {
    for (const Case& c : kCases) {
        const LackingInstruction got = decode(c.bytes);
        EXPECT_EQ(got.kind, c.kind) << c.what;
        EXPECT_EQ(got.length, c.length) << c.what;
    }
}

TEST(SoftwareKvm, NoByteStringReadsBeyondItself) {
    // All strings of a prefix, 0f ae, modrm and sib, at every length: with the sanitizers on this proves the
    // bounds.
    for (unsigned modrm = 0; modrm < 256; ++modrm) {
        for (unsigned sib = 0; sib < 256; ++sib) {
            std::vector<unsigned char> bytes = {
                0x65, 0x0f, 0xae, static_cast<unsigned char>(modrm), static_cast<unsigned char>(sib), 1,
                2,    3,    4};
            const bool ldmxcsr = (modrm >> 3 & 7) == 2 && modrm >> 6 != 3;
            const LackingInstruction whole = decode(bytes);
            ASSERT_EQ(whole.kind == Lacking::kLdmxcsr, ldmxcsr);
            for (size_t size = 0; size < bytes.size(); ++size) {
                const LackingInstruction cut =
                    decode({bytes.begin(), bytes.begin() + static_cast<long>(size)});
                ASSERT_LE(cut.length, size);
                ASSERT_EQ(cut.kind, size >= whole.length ? whole.kind : Lacking::kNothing);
            }
        }
    }
}

}  // namespace
}  // namespace inspect
