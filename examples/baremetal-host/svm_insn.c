/* SPDX-License-Identifier: MIT */
/*
 * Length of an intercepted instruction on CPUs that do not tell (no NRIPS).
 */
#include "rt.h"
#include "svm.h"

#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_LA57 (UINT64_C(1) << 12)
#define ADDRESS UINT64_C(0x000ffffffffff000)

static bool walk(const struct nvirt_vmcb *vmcb, uint64_t linear, uint64_t *physical)
{
    bool wide = (vmcb->efer & NVIRT_SVM_EFER_LMA) != 0 || (vmcb->cr4 & CR4_PAE) != 0;
    uint32_t bits = wide ? 9 : 10, entry_size = wide ? 8 : 4;
    uint32_t level = (vmcb->efer & NVIRT_SVM_EFER_LMA) == 0 ? (wide ? 3 : 2)
                     : (vmcb->cr4 & CR4_LA57) != 0          ? 5
                                                            : 4;
    uint64_t table = vmcb->cr3 & (wide && level == 3 ? ~UINT64_C(31) & 0xffffffffu : ADDRESS);

    if ((vmcb->cr0 & CR0_PG) == 0) {
        *physical = linear;
        return true;
    }
    for (; level > 0; level--) {
        uint32_t shift = 12 + bits * (level - 1);
        uint64_t at = table + ((linear >> shift) & ((1u << bits) - 1)) * entry_size;
        uint64_t entry = 0;

        if (!bm_is_accessible(&host.memory, at, entry_size))
            return false;
        memcpy(&entry, (const void *)at, entry_size);
        if ((entry & 1) == 0)
            return false;
        table = entry & ADDRESS;
        if (level > 1 && (entry & 0x80) != 0 && (wide || (vmcb->cr4 & CR4_PSE) != 0)) {
            uint64_t mask = (UINT64_C(1) << shift) - 1;

            *physical = (table & ~mask) | (linear & mask);
            return true;
        }
    }
    *physical = table | (linear & 0xfff);
    return true;
}

static bool fetch(const struct nvirt_vmcb *vmcb, uint32_t offset, uint8_t *byte)
{
    bool is64 = (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0;
    uint64_t linear = (is64 ? 0 : vmcb->cs.base) + vmcb->rip + offset;
    uint64_t physical;

    if (!is64)
        linear &= 0xffffffffu;
    if (!walk(vmcb, linear, &physical) || !bm_is_accessible(&host.memory, physical, 1))
        return false;
    *byte = *(const volatile uint8_t *)physical;
    return true;
}

static bool is_prefix(uint8_t b, bool is64)
{
    return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) ||
           b == 0xf0 || b == 0xf2 || b == 0xf3 || (is64 && (b & 0xf0) == 0x40);
}

/* The bytes after 0F of each instruction this host intercepts. */
static uint32_t opcode_bytes(uint64_t code, uint8_t opcode[2])
{
    opcode[0] = 0x01;
    switch (code) {
    case NVIRT_SVM_EXIT_CPUID:
        opcode[0] = 0xa2;
        return 1;
    case NVIRT_SVM_EXIT_INVD:
        opcode[0] = 0x08;
        return 1;
    case NVIRT_SVM_EXIT_MSR:
        opcode[0] = 0x32;
        return 1;
    case NVIRT_SVM_EXIT_VMMCALL:
        opcode[1] = 0xd9;
        return 2;
    default:
        return 0;
    }
}

uint32_t svm_insn_length(const struct nvirt_vmcb *vmcb)
{
    bool is64 = (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0;
    uint8_t opcode[2], byte;
    uint32_t bytes = opcode_bytes(vmcb->exit_code, opcode);
    uint32_t at = 0;

    if (vmcb->exit_code == NVIRT_SVM_EXIT_MSR && vmcb->exit_info1 == 1)
        opcode[0] = 0x30;
    do {
        if (at == 13 || !fetch(vmcb, at++, &byte))
            return 0;
    } while (is_prefix(byte, is64));
    if (byte != 0x0f || bytes == 0)
        return 0;
    for (uint32_t i = 0; i < bytes; i++) {
        if (!fetch(vmcb, at++, &byte) || byte != opcode[i])
            return 0;
    }
    return at;
}
