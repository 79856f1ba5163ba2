/* SPDX-License-Identifier: MIT */
/*
 * The VMX instructions as functions that return how they ended. Every wrapper sets all six
 * arithmetic flags first, because each VMX instruction that completes must clear those it does
 * not use ([SDM 3D "Conventions"]).
 */
#ifndef INSN_H
#define INSN_H

#include <stdint.h>

#include "rt.h"

#define VMX_OK 0u
#define VMX_FAIL_INVALID 1u /* CF */
#define VMX_FAIL_VALID 2u   /* ZF */
#define VMX_ODD 0x80u       /* some other combination of flags */
#define VMX_FAULT(vector) (0x100u | (vector))

#define VMX_NO_FLAGS (~0ull)

/* RFLAGS after the instruction, or VMX_NO_FLAGS when it faulted. */
static inline unsigned vmx_status(uint64_t flags)
{
    if (flags == VMX_NO_FLAGS)
        return VMX_FAULT((unsigned)rt_fault.vector);
    switch (flags & 0x8d5u) {
    case 0:
        return VMX_OK;
    case 0x01:
        return VMX_FAIL_INVALID;
    case 0x40:
        return VMX_FAIL_VALID;
    default:
        return VMX_ODD;
    }
}

#define VMX_ASM(insn)                                                                              \
    "pushfq\n"                                                                                     \
    "orq $0x8d5, (%%rsp)\n"                                                                        \
    "popfq\n"                                                                                      \
    "1: " insn "\n"                                                                                \
    "pushfq\n"                                                                                     \
    "popq %[flags]\n"                                                                              \
    "2:\n" RT_FIXUP("1b", "2b")

#define VMX_PTR_INSN(name)                                                                         \
    static inline unsigned name(const volatile uint64_t *pa)                                       \
    {                                                                                              \
        uint64_t flags = VMX_NO_FLAGS;                                                             \
        __asm__ volatile(VMX_ASM(#name " (%[p])")                                                  \
                         : [flags] "+r"(flags)                                                     \
                         : [p] "r"(pa)                                                             \
                         : "memory", "cc");                                                        \
        return vmx_status(flags);                                                                  \
    }
VMX_PTR_INSN(vmxon)
VMX_PTR_INSN(vmclear)
VMX_PTR_INSN(vmptrld)
VMX_PTR_INSN(vmptrst)
#undef VMX_PTR_INSN

#define VMX_PLAIN_INSN(name)                                                                       \
    static inline unsigned name(void)                                                              \
    {                                                                                              \
        uint64_t flags = VMX_NO_FLAGS;                                                             \
        __asm__ volatile(VMX_ASM(#name) : [flags] "+r"(flags) : : "memory", "cc");                 \
        return vmx_status(flags);                                                                  \
    }
VMX_PLAIN_INSN(vmxoff)
VMX_PLAIN_INSN(vmcall)
/* Only for entries that must fail: an entry that succeeds would not come back here. */
VMX_PLAIN_INSN(vmlaunch)
VMX_PLAIN_INSN(vmresume)
#undef VMX_PLAIN_INSN

static inline unsigned vmx_read(uint64_t field, uint64_t *value)
{
    uint64_t flags = VMX_NO_FLAGS, v = *value;

    __asm__ volatile(VMX_ASM("vmread %[f], %[v]")
                     : [flags] "+r"(flags), [v] "+r"(v)
                     : [f] "r"(field)
                     : "memory", "cc");
    *value = v;
    return vmx_status(flags);
}

static inline unsigned vmx_write(uint64_t field, uint64_t value)
{
    uint64_t flags = VMX_NO_FLAGS;

    __asm__ volatile(VMX_ASM("vmwrite %[v], %[f]")
                     : [flags] "+r"(flags)
                     : [f] "r"(field), [v] "r"(value)
                     : "memory", "cc");
    return vmx_status(flags);
}

/* The 128-bit operand of INVEPT and INVVPID. */
struct inv_desc {
    uint64_t low, high;
};

#define VMX_INV_INSN(name)                                                                         \
    static inline unsigned name(uint64_t type, const struct inv_desc *d)                           \
    {                                                                                              \
        uint64_t flags = VMX_NO_FLAGS;                                                             \
        __asm__ volatile(VMX_ASM(#name " (%[d]), %[t]")                                            \
                         : [flags] "+r"(flags)                                                     \
                         : [d] "r"(d), [t] "r"(type)                                               \
                         : "memory", "cc");                                                        \
        return vmx_status(flags);                                                                  \
    }
VMX_INV_INSN(invept)
VMX_INV_INSN(invvpid)
#undef VMX_INV_INSN

/* Reads a field that exists; an impossible value marks a failure. */
static inline uint64_t vmread(uint64_t field)
{
    uint64_t v = 0;

    return vmx_read(field, &v) == VMX_OK ? v : 0xbadbadbadbadbad0ull;
}

static inline void vmwrite(uint64_t field, uint64_t value)
{
    (void)vmx_write(field, value);
}

#endif
