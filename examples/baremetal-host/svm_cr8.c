/* SPDX-License-Identifier: MIT */
/*
 * MOV to and from CR8 while L1's GIF is 0. V_INTR_MASKING, which keeps physical interrupts away
 * then, would send the instruction to a private TPR; L1 owns the physical one. So it is
 * intercepted and carried out here. CPUs without decode assists do not tell the register: it is read
 * from the instruction, through L1's page tables.
 */
#include "rt.h"
#include "svm.h"

#define CR0_PG (UINT64_C(1) << 31)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_LA57 (UINT64_C(1) << 12)
#define ENTRY_PRESENT 1u
#define ENTRY_LARGE 0x80u
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)
#define INFO_REGISTER 15u
#define INSN_MAX 15u
#define CR8_VALID UINT64_C(15)

static bool is_64bit(const struct nvirt_vmcb *vmcb)
{
    return (vmcb->efer & NVIRT_SVM_EFER_LMA) != 0 && (vmcb->cs.attrib & NVIRT_VMCB_SEG_L) != 0;
}

/* The page-table walk of an instruction fetch, permissions aside: the CPU has just fetched there. */
static bool walk(const struct nvirt_vmcb *vmcb, uint64_t linear, uint64_t *physical)
{
    bool lma = (vmcb->efer & NVIRT_SVM_EFER_LMA) != 0;
    bool wide = lma || (vmcb->cr4 & CR4_PAE) != 0;
    uint32_t bits = wide ? 9 : 10, entry_size = wide ? 8 : 4;
    uint32_t top = lma ? ((vmcb->cr4 & CR4_LA57) != 0 ? 5 : 4) : wide ? 3 : 2;
    /* A PAE CR3 is 32 bits wide and points to four entries, 32-byte aligned. */
    uint64_t table = vmcb->cr3 & (wide && !lma ? UINT64_C(0xffffffe0) : ENTRY_ADDRESS);

    *physical = linear;
    for (uint32_t level = (vmcb->cr0 & CR0_PG) != 0 ? top : 0; level > 0; level--) {
        uint32_t shift = 12 + bits * (level - 1);
        uint64_t page_mask = (UINT64_C(1) << shift) - 1;
        uint64_t at = table + ((linear >> shift) & ((1u << bits) - 1)) * entry_size;
        uint64_t entry = 0;

        if (!bm_is_accessible(&host.memory, at, entry_size))
            return false;
        memcpy(&entry, (const void *)at, entry_size);
        if ((entry & ENTRY_PRESENT) == 0)
            return false;
        table = entry & ENTRY_ADDRESS;
        *physical = (table & ~page_mask) | (linear & page_mask);
        if (level > 1 && (entry & ENTRY_LARGE) != 0 && (wide || (vmcb->cr4 & CR4_PSE) != 0))
            break;
    }
    return true;
}

static bool fetch(const struct nvirt_vmcb *vmcb, uint32_t offset, uint8_t *byte)
{
    uint64_t linear = vmcb->rip + offset + (is_64bit(vmcb) ? 0 : vmcb->cs.base);
    uint64_t physical;

    if (!is_64bit(vmcb))
        linear &= 0xffffffffu;
    if (!walk(vmcb, linear, &physical) || !bm_is_readable(&host.memory, physical, 1))
        return false;
    *byte = *(const volatile uint8_t *)physical;
    return true;
}

static bool is_legacy_prefix(uint8_t b)
{
    return b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || (b >= 0x64 && b <= 0x67) ||
           b == 0xf0 || b == 0xf2 || b == 0xf3;
}

/*
 * Finds the general register: 0F 20 /r or 0F 22 /r with REX.R and reg 0, or with a LOCK prefix,
 * which names CR8 as well [APM 3 "MOV CRn"].
 */
static bool decode(const struct nvirt_vmcb *vmcb, uint32_t *reg)
{
    uint8_t opcode = vmcb->exit_code == NVIRT_SVM_EXIT_CR8_WRITE ? 0x22 : 0x20;
    uint8_t byte = 0, rex = 0, second, modrm;
    uint32_t at = 0;

    while (at < INSN_MAX && fetch(vmcb, at++, &byte)) {
        if (is_64bit(vmcb) && (byte & 0xf0) == 0x40)
            rex = byte;
        else if (is_legacy_prefix(byte))
            rex = 0; /* a REX counts only right before the opcode */
        else
            break;
    }
    if (byte != 0x0f || !fetch(vmcb, at, &second) || second != opcode ||
        !fetch(vmcb, at + 1, &modrm))
        return false;
    *reg = (modrm & 7u) | ((uint32_t)(rex & 1u) << 3);
    return true;
}

bool svm_move_cr8(struct nvirt_vmcb *vmcb, bool *legal)
{
    bool write = vmcb->exit_code == NVIRT_SVM_EXIT_CR8_WRITE;
    uint32_t reg = (uint32_t)vmcb->exit_info1 & INFO_REGISTER;
    uint64_t value;

    *legal = true;
    if (!svm.has_decode_assists && !decode(vmcb, &reg))
        return false;
    if (!write) {
        value = rt_read_cr8();
        if (reg == NVIRT_RAX)
            nvirt_vmcb_set_rax(vmcb, value);
        else if (reg == NVIRT_RSP)
            nvirt_vmcb_set_rsp(vmcb, value);
        else
            svm.gprs.r[reg] = value;
        return true;
    }
    value = reg == NVIRT_RAX ? vmcb->rax : reg == NVIRT_RSP ? vmcb->rsp : svm.gprs.r[reg];
    if (!is_64bit(vmcb))
        value &= 0xffffffffu;
    if ((value & ~CR8_VALID) != 0)
        *legal = false;
    else
        rt_write_cr8(value);
    return true;
}
