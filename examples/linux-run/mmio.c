/* SPDX-License-Identifier: MIT */
/*
 * Accesses to the local APIC and to addresses without anything behind: the instruction's bytes come
 * with the exit. MOV in its memory forms and MOVZX: what compilers make of volatile words.
 * [APM 3 "Instruction Encoding"]
 */
#include "machine.h"

#define REX_W 8u
#define REX_R 4u

struct insn {
    uint32_t length;
    uint32_t opcode; /* two-byte ones with 0x0f00 */
    uint32_t rex;
    uint32_t width; /* of the operand in memory */
    uint32_t reg;
    uint64_t immediate;
    bool address_16;
};

static uint32_t load(uint64_t address, uint32_t width)
{
    if (address >= APIC_BASE && address < APIC_BASE + APIC_BYTES)
        return apic_read((uint32_t)(address - APIC_BASE)) >> (address % 4 * 8);
    return width == 4 ? 0xffffffffu : (1u << (width * 8)) - 1;
}

static void store(uint64_t address, uint32_t width, uint64_t value)
{
    if (width == 4 && address >= APIC_BASE && address < APIC_BASE + APIC_BYTES)
        apic_write((uint32_t)(address - APIC_BASE), (uint32_t)value);
}

/* ---- decoding ---- */

/* Bytes of ModRM, SIB and displacement. [APM 3 "ModRM and SIB Bytes"] */
static uint32_t operand_bytes(const uint8_t *at, bool address_16)
{
    uint32_t mod = at[0] >> 6, rm = at[0] & 7u;

    if (mod == 3)
        return 0;
    if (address_16)
        return 1 + (mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0);
    if (rm != 4)
        return 1 + (mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0);
    return 2 + (mod == 1 ? 1 : mod == 2 || (at[1] & 7u) == 5 ? 4 : 0);
}

static uint32_t immediate_bytes(const struct insn *i)
{
    return i->opcode == 0xc6 ? 1 : i->opcode == 0xc7 ? (i->width == 2 ? 2 : 4) : 0;
}

static bool decode(const uint8_t *bytes, uint32_t count, uint32_t bits, struct insn *i)
{
    uint32_t at = 0, operand, immediate;
    bool small = bits == 16;

    *i = (struct insn){.address_16 = bits == 16};
    for (; at < count; at++) {
        uint8_t b = bytes[at];

        if (b == 0x66)
            small = !small;
        else if (b == 0x67)
            i->address_16 = bits == 32 ? true : bits == 16 ? false : i->address_16;
        else if (bits == 64 && (b & 0xf0) == 0x40)
            i->rex = b;
        else if (!(b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x64 || b == 0x65))
            break;
    }
    if (at + 2 >= count)
        return false;
    i->opcode = bytes[at++];
    if ((i->opcode & 0xfc) == 0xa0) {
        /* Of the accumulator, with the address in full. */
        i->width = (i->opcode & 1) == 0 ? 1 : (i->rex & REX_W) != 0 ? 8 : small ? 2 : 4;
        i->length = at + (bits == 64 ? 8 : i->address_16 ? 2 : 4);
        i->opcode = i->opcode < 0xa2 ? 0x8b : 0x89;
        return i->length <= count;
    }
    if (i->opcode == 0x0f)
        i->opcode = 0x0f00u | bytes[at++];
    i->width = (i->rex & REX_W) != 0 ? 8 : small ? 2 : 4;
    if (i->opcode == 0x88 || i->opcode == 0x8a || i->opcode == 0xc6 || i->opcode == 0x0fb6)
        i->width = 1;
    else if (i->opcode == 0x0fb7)
        i->width = 2;
    i->reg = (bytes[at] >> 3 & 7u) | ((i->rex & REX_R) != 0 ? 8u : 0);
    operand = operand_bytes(bytes + at, i->address_16);
    immediate = immediate_bytes(i);
    i->length = at + operand + immediate;
    if (operand == 0 || i->length > count)
        return false;
    for (uint32_t n = 0; n < immediate; n++)
        i->immediate |= (uint64_t)bytes[at + operand + n] << (n * 8);
    return true;
}

/* ---- carrying out ---- */

static uint64_t merge(uint64_t old, uint64_t value, uint32_t width)
{
    uint64_t mask = width >= 4 ? ~UINT64_C(0) : (UINT64_C(1) << (width * 8)) - 1;

    return (old & ~mask) | (value & mask);
}

static bool execute(const struct insn *i, uint64_t address, struct nvirt_regs *r)
{
    /* AH to BH, without a REX prefix, do not occur with devices. */
    if (i->width == 1 && i->rex == 0 && i->reg >= 4 && (i->opcode == 0x88 || i->opcode == 0x8a))
        return false;
    switch (i->opcode) {
    case 0x88:
    case 0x89:
        store(address, i->width, r->gpr[i->reg]);
        return true;
    case 0xc6:
    case 0xc7:
        store(address, i->width, i->immediate);
        return true;
    case 0x8a:
    case 0x8b: {
        uint64_t value = load(address, i->width == 8 ? 4 : i->width);

        if (i->width == 8)
            value |= (uint64_t)load(address + 4, 4) << 32;
        r->gpr[i->reg] = merge(r->gpr[i->reg], value, i->width);
        return true;
    }
    case 0x0fb6:
    case 0x0fb7:
        r->gpr[i->reg] = load(address, i->width) & (i->width == 1 ? 0xffu : 0xffffu);
        return true;
    default:
        return false;
    }
}

static uint32_t code_bits(void)
{
    struct nvirt_sregs s = {.size = sizeof(s)};

    if (sys_ioctl(machine.vcpu, NVIRT_GET_SREGS, &s) != 0)
        give_up("no registers", 0);
    if ((s.efer & 0x400) != 0 && (s.cs.attributes & 0x200) != 0)
        return 64;
    return (s.cs.attributes & 0x400) != 0 ? 32 : 16;
}

bool mmio_emulate(const struct nvirt_run *run)
{
    struct nvirt_regs r = {.size = sizeof(r)};
    struct insn i;

    if ((run->mmio.flags & NVIRT_MMIO_FETCH) != 0 ||
        !decode(run->mmio.insn, run->mmio.insn_bytes, code_bits(), &i) ||
        sys_ioctl(machine.vcpu, NVIRT_GET_REGS, &r) != 0 ||
        !execute(&i, run->mmio.address, &r)) {
        for (uint32_t n = 0; n < run->mmio.insn_bytes; n++)
            say_number("byte", run->mmio.insn[n]);
        return false;
    }
    r.rip += i.length;
    r.rflags &= ~UINT64_C(0x10000);
    return sys_ioctl(machine.vcpu, NVIRT_SET_REGS, &r) == 0;
}
