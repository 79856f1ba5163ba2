/* SPDX-License-Identifier: MIT */
/*
 * What the files of entry checks share: the macro that makes a rule of the manual one line of code,
 * and the few questions that rules of several sections ask.
 */
#ifndef NVIRT_SRC_VMCS_CHECK_H
#define NVIRT_SRC_VMCS_CHECK_H

#include "vmcs/vmcs_internal.h"

/* One rule: its name in rules.def and the condition that must hold. */
#define NVIRT_RULE(name, holds)                                                                    \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            return NVI_RULE_##name;                                                                \
        }                                                                                          \
    } while (0)

/* The rules of a subsection, in a function of their own. */
#define NVIRT_RULES(subsection)                                                                    \
    do {                                                                                           \
        enum nvi_vmx_rule broken = (subsection);                                                   \
        if (broken != NVI_VMX_RULE_NONE) {                                                         \
            return broken;                                                                         \
        }                                                                                          \
    } while (0)

/* The parts of the checks, one file each; every one returns the first rule that is broken. */
enum nvi_vmx_rule nvi_vmx_rules_execution(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_exit_entry(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_host(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_guest_registers(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_guest_segments(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_guest_tables(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_guest_rest(const struct nvi_vmx_check_in *in);
enum nvi_vmx_rule nvi_vmx_rules_pdptes(const struct nvi_vmx_check_in *in, const uint64_t pdpte[4]);

/** Every bit of @p value may be set and every bit that must be set is (low half of @p capability:
 *  must be 1, high half: may be 1) [SDM 3D "VM-Execution Controls"]. */
static inline bool nvi_vmx_controls_fit(uint64_t value, uint64_t capability)
{
    uint64_t must = capability & NVIRT_BITS(31, 0);

    return (value & must) == must && (value & ~(capability >> 32)) == 0;
}

/** The capability that governs a control word: the TRUE MSR where there is one. */
static inline uint64_t nvi_vmx_governing(const struct nvirt_vmx_caps *caps, uint64_t plain,
                                         uint64_t refined)
{
    return (caps->basic & NVIRT_VMX_BASIC_TRUE) != 0 ? refined : plain;
}

/** No bit at or above the physical-address width. */
static inline bool nvi_vmx_within_width(const struct nvi_vmx_check_in *in, uint64_t address)
{
    return address >> in->offer->cpu.physical_bits == 0;
}

static inline bool nvi_vmx_page_aligned(uint64_t address)
{
    return (address & ~NVIRT_PAGE_MASK) == 0;
}

static inline bool nvi_vmx_is_canonical_in(const struct nvi_vmx_check_in *in, uint64_t address)
{
    return nvi_vmx_canonical(address, in->offer->cpu.linear_bits);
}

/** CR0 or CR4 as VMX operation wants it, but for the bits of @p free. */
static inline bool nvi_vmx_cr_fits(uint64_t value, uint64_t fixed0, uint64_t fixed1, uint64_t free)
{
    return (~value & fixed0 & ~free) == 0 && (value & ~fixed1 & ~free) == 0;
}

static inline bool nvi_vmx_entry_has(const struct nvirt_vmcs *vmcs12, uint64_t control)
{
    return (vmcs12->entry_controls & control) != 0;
}

/** An event is to be injected. */
static inline bool nvi_vmx_event_valid(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->entry_interruption & NVIRT_VMX_INTR_VALID) != 0;
}

static inline uint64_t nvi_vmx_event_type(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->entry_interruption & NVIRT_VMX_INTR_TYPE) >> NVIRT_VMX_INTR_TYPE_SHIFT;
}

static inline uint64_t nvi_vmx_event_vector(const struct nvirt_vmcs *vmcs12)
{
    return vmcs12->entry_interruption & NVIRT_VMX_INTR_VECTOR;
}

/** The event to be injected is of @p type. */
static inline bool nvi_vmx_injects(const struct nvirt_vmcs *vmcs12, uint64_t type)
{
    return nvi_vmx_event_valid(vmcs12) && nvi_vmx_event_type(vmcs12) == type;
}

static inline bool nvi_vmx_guest_v86(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->guest_rflags & NVIRT_RFLAGS_VM) != 0;
}

static inline bool nvi_vmx_guest_ia32e(const struct nvirt_vmcs *vmcs12)
{
    return nvi_vmx_entry_has(vmcs12, NVIRT_VMX_ENTRY_CTL_IA32E);
}

#endif
