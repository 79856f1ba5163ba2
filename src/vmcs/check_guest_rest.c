/* SPDX-License-Identifier: MIT */
/*
 * Entry checks on the rest of the guest state: descriptor-table registers, RIP and RFLAGS,
 * non-register state, and PDPTEs [SDM 3C "Checks on the Guest State Area"], in manual order.
 */
#include "vmcs/check.h"

#define RFLAGS_RESERVED                                                                            \
    (NVIRT_BITS(63, 22) | NVIRT_BIT(15) | NVIRT_BIT(5) | NVIRT_BIT(3))
#define DEBUGCTL_BTF NVIRT_BIT(1)
#define DEBUGCTL_BUS_LOCK NVIRT_BIT(2)
#define PENDING_RESERVED                                                                           \
    (NVIRT_BITS(63, 17) | NVIRT_BIT(15) | NVIRT_BIT(13) | NVIRT_BITS(10, 4))
/* What may not be pending together with an RTM debug exception. */
#define PENDING_NOT_WITH_RTM                                                                       \
    (NVIRT_BITS(63, 17) | NVIRT_BITS(15, 13) | NVIRT_BITS(11, 0))
#define PDPTE_P NVIRT_BIT(0)
#define PDPTE_RESERVED_LOW (NVIRT_BITS(8, 5) | NVIRT_BITS(2, 1))

/* ---- descriptor tables, RIP, RFLAGS ---- */

enum nvi_vmx_rule nvi_vmx_rules_guest_tables(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;

    NVIRT_RULE(VMX_GUEST_TABLE_BASES, nvi_vmx_is_canonical_in(in, v12->guest_gdtr_base) &&
                                          nvi_vmx_is_canonical_in(in, v12->guest_idtr_base));
    NVIRT_RULE(VMX_GUEST_TABLE_LIMITS,
               ((v12->guest_gdtr_limit | v12->guest_idtr_limit) & NVIRT_BITS(31, 16)) == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule rip_and_rflags(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    bool ia32e = nvi_vmx_guest_ia32e(v12);
    bool wide = ia32e && (v12->guest_cs_ar & NVIRT_VMX_AR_L) != 0;
    /* Unlike for canonical addresses, only the bits above the width count here. */
    uint64_t upper = v12->guest_rip >> in->offer->cpu.linear_bits;

    NVIRT_RULE(VMX_GUEST_RIP_HIGH, wide || v12->guest_rip >> 32 == 0);
    NVIRT_RULE(VMX_GUEST_RIP_WIDTH,
               !wide || upper == 0 || upper == ~UINT64_C(0) >> in->offer->cpu.linear_bits);
    NVIRT_RULE(VMX_GUEST_RFLAGS_RESERVED,
               (v12->guest_rflags & RFLAGS_RESERVED) == 0 &&
                   (v12->guest_rflags & NVIRT_RFLAGS_FIXED1) != 0);
    NVIRT_RULE(VMX_GUEST_RFLAGS_VM, !nvi_vmx_guest_v86(v12) ||
                                        (!ia32e && (v12->guest_cr0 & NVIRT_CR0_PE) != 0));
    NVIRT_RULE(VMX_GUEST_RFLAGS_IF, !nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_EXTERNAL) ||
                                        (v12->guest_rflags & NVIRT_RFLAGS_IF) != 0);
    return NVI_VMX_RULE_NONE;
}

/* SSP is known to hold its rules where nothing of the registers has changed; it may not even be read
 * then. It need not be canonical. */
static enum nvi_vmx_rule shadow_stack(const struct nvi_vmx_check_in *in)
{
    uint64_t ssp = in->vmcs12->guest_ssp;
    uint64_t upper = ssp >> in->offer->cpu.linear_bits;

    if (!nvi_vmx_entry_has(in->vmcs12, NVIRT_VMX_ENTRY_CTL_LOAD_CET) ||
        (in->known & NVI_VMX_KNOWN_REGISTERS) != 0) {
        return NVI_VMX_RULE_NONE;
    }
    NVIRT_RULE(VMX_GUEST_SSP_ALIGNED, (ssp & NVIRT_BITS(1, 0)) == 0);
    NVIRT_RULE(VMX_GUEST_SSP_WIDTH,
               upper == 0 || upper == ~UINT64_C(0) >> in->offer->cpu.linear_bits);
    return NVI_VMX_RULE_NONE;
}

/* ---- activity state ---- */

static bool activity_is_offered(const struct nvi_vmx_check_in *in)
{
    switch (in->vmcs12->guest_activity) {
    case NVIRT_VMX_ACTIVITY_ACTIVE:
        return true;
    case NVIRT_VMX_ACTIVITY_HLT:
        return (in->offer->misc & NVIRT_VMX_MISC_ACTIVITY_HLT) != 0;
    case NVIRT_VMX_ACTIVITY_SHUTDOWN:
        return (in->offer->misc & NVIRT_VMX_MISC_ACTIVITY_SHUTDOWN) != 0;
    case NVIRT_VMX_ACTIVITY_WAIT_SIPI:
        return (in->offer->misc & NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI) != 0;
    default:
        return false;
    }
}

static bool halted_takes_event(const struct nvirt_vmcs *v12)
{
    uint64_t vector = nvi_vmx_event_vector(v12);

    switch (nvi_vmx_event_type(v12)) {
    case NVIRT_VMX_INTR_TYPE_EXTERNAL:
    case NVIRT_VMX_INTR_TYPE_NMI:
        return true;
    case NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION:
        return vector == NVIRT_VECTOR_DB || vector == NVIRT_VECTOR_MC;
    case NVIRT_VMX_INTR_TYPE_OTHER:
        return vector == 0;
    default:
        return false;
    }
}

static bool activity_takes_event(const struct nvirt_vmcs *v12)
{
    if (!nvi_vmx_event_valid(v12)) {
        return true;
    }
    switch (v12->guest_activity) {
    case NVIRT_VMX_ACTIVITY_ACTIVE:
        return true;
    case NVIRT_VMX_ACTIVITY_HLT:
        return halted_takes_event(v12);
    case NVIRT_VMX_ACTIVITY_SHUTDOWN:
        return nvi_vmx_event_type(v12) == NVIRT_VMX_INTR_TYPE_NMI ||
               (nvi_vmx_event_type(v12) == NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION &&
                nvi_vmx_event_vector(v12) == NVIRT_VECTOR_MC);
    default:
        return false;
    }
}

static enum nvi_vmx_rule activity(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;

    NVIRT_RULE(VMX_GUEST_ACTIVITY, activity_is_offered(in));
    NVIRT_RULE(VMX_GUEST_ACTIVITY_HLT_DPL, v12->guest_activity != NVIRT_VMX_ACTIVITY_HLT ||
                                               (v12->guest_ss_ar & NVIRT_VMX_AR_DPL) == 0);
    NVIRT_RULE(VMX_GUEST_ACTIVITY_BLOCKING,
               v12->guest_activity == NVIRT_VMX_ACTIVITY_ACTIVE ||
                   (v12->guest_interruptibility &
                    (NVIRT_VMX_BLOCK_STI | NVIRT_VMX_BLOCK_MOV_SS)) == 0);
    NVIRT_RULE(VMX_GUEST_ACTIVITY_EVENT, activity_takes_event(v12));
    return NVI_VMX_RULE_NONE;
}

/* ---- interruptibility state ---- */

static bool enclave_is_plausible(const struct nvi_vmx_check_in *in)
{
    uint64_t blocking = in->vmcs12->guest_interruptibility;

    return (blocking & NVIRT_VMX_BLOCK_ENCLAVE) == 0 ||
           (in->offer->cpu.sgx && (blocking & NVIRT_VMX_BLOCK_MOV_SS) == 0);
}

/*
 * Whether blocking by STI also keeps an NMI from being injected is the processor's choice: nvirt
 * leaves it to the one that runs L2, whose verdict L1 is given.
 */
static enum nvi_vmx_rule interruptibility(const struct nvi_vmx_check_in *in)
{
    const uint64_t both = NVIRT_VMX_BLOCK_STI | NVIRT_VMX_BLOCK_MOV_SS;
    const struct nvirt_vmcs *v12 = in->vmcs12;
    uint64_t blocking = v12->guest_interruptibility;
    bool nmi = nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_NMI);

    NVIRT_RULE(VMX_GUEST_BLOCKING_RESERVED, (blocking & NVIRT_VMX_BLOCK_RESERVED) == 0);
    NVIRT_RULE(VMX_GUEST_BLOCKING_STI_MOV_SS, (blocking & both) != both);
    NVIRT_RULE(VMX_GUEST_BLOCKING_STI_IF, (blocking & NVIRT_VMX_BLOCK_STI) == 0 ||
                                              (v12->guest_rflags & NVIRT_RFLAGS_IF) != 0);
    NVIRT_RULE(VMX_GUEST_BLOCKING_INTERRUPT,
               !nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_EXTERNAL) || (blocking & both) == 0);
    NVIRT_RULE(VMX_GUEST_BLOCKING_NMI_MOV_SS, !nmi || (blocking & NVIRT_VMX_BLOCK_MOV_SS) == 0);
    NVIRT_RULE(VMX_GUEST_BLOCKING_SMI, (blocking & NVIRT_VMX_BLOCK_SMI) == 0);
    NVIRT_RULE(VMX_GUEST_BLOCKING_NMI,
               !nmi || (v12->pin_controls & NVIRT_VMX_PIN_VIRTUAL_NMIS) == 0 ||
                   (blocking & NVIRT_VMX_BLOCK_NMI) == 0);
    NVIRT_RULE(VMX_GUEST_BLOCKING_ENCLAVE, enclave_is_plausible(in));
    return NVI_VMX_RULE_NONE;
}

/* ---- pending debug exceptions ---- */

static uint64_t pending_reserved(const struct nvi_vmx_check_in *in)
{
    bool bus_lock = (in->offer->cpu.debugctl_valid & DEBUGCTL_BUS_LOCK) != 0;

    return PENDING_RESERVED | (bus_lock ? 0 : NVIRT_VMX_PENDING_BUS_LOCK);
}

/* Where the next instruction boundary delivers nothing, BS must tell what TF already caused. */
static enum nvi_vmx_rule pending_single_step(const struct nvirt_vmcs *v12)
{
    bool held_up = (v12->guest_interruptibility &
                    (NVIRT_VMX_BLOCK_STI | NVIRT_VMX_BLOCK_MOV_SS)) != 0 ||
                   v12->guest_activity == NVIRT_VMX_ACTIVITY_HLT;
    bool steps = (v12->guest_rflags & NVIRT_RFLAGS_TF) != 0 &&
                 (v12->guest_debugctl & DEBUGCTL_BTF) == 0;
    bool bs = (v12->guest_pending_debug & NVIRT_VMX_PENDING_BS) != 0;

    NVIRT_RULE(VMX_GUEST_PENDING_BS_SET, !held_up || !steps || bs);
    NVIRT_RULE(VMX_GUEST_PENDING_BS_CLEAR, !held_up || steps || !bs);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule pending_debug(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    uint64_t pending = v12->guest_pending_debug;

    NVIRT_RULE(VMX_GUEST_PENDING_RESERVED, (pending & pending_reserved(in)) == 0);
    NVIRT_RULES(pending_single_step(v12));
    if ((pending & NVIRT_VMX_PENDING_RTM) != 0) {
        NVIRT_RULE(VMX_GUEST_PENDING_RTM_BITS, (pending & PENDING_NOT_WITH_RTM) == 0 &&
                                                   (pending & NVIRT_VMX_PENDING_ENABLED_BP) != 0);
        NVIRT_RULE(VMX_GUEST_PENDING_RTM_CPU, in->offer->cpu.rtm);
        NVIRT_RULE(VMX_GUEST_PENDING_RTM_MOV_SS,
                   (v12->guest_interruptibility & NVIRT_VMX_BLOCK_MOV_SS) == 0);
    }
    return NVI_VMX_RULE_NONE;
}

/* ---- VMCS link pointer ---- */

static bool link_in_use(const struct nvirt_vmcs *v12)
{
    return v12->vmcs_link != NVIRT_VMX_NO_VMCS_LINK;
}

bool nvi_vmx_link_to_read(const struct nvi_vmx_check_in *in, nvirt_l1gpa *address)
{
    uint64_t link = in->vmcs12->vmcs_link;

    if (!link_in_use(in->vmcs12) || !nvi_vmx_page_aligned(link) ||
        !nvi_vmx_within_width(in, link)) {
        return false;
    }
    *address = nvirt_l1gpa_make(link);
    return true;
}

static enum nvi_vmx_rule link(const struct nvi_vmx_check_in *in)
{
    uint64_t pointer = in->vmcs12->vmcs_link;
    uint32_t ours = (uint32_t)(in->offer->basic & NVIRT_VMX_BASIC_REVISION);
    bool shadowing = (nvi_vmx_proc2(in->vmcs12) & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0;

    NVIRT_RULE(VMX_GUEST_LINK_ALIGNED, nvi_vmx_page_aligned(pointer));
    NVIRT_RULE(VMX_GUEST_LINK_WIDTH, nvi_vmx_within_width(in, pointer));
    NVIRT_RULE(VMX_GUEST_LINK_REVISION, (in->link_revision & NVIRT_VMX_REGION_REVISION) == ours);
    NVIRT_RULE(VMX_GUEST_LINK_SHADOW,
               ((in->link_revision & NVIRT_VMX_REGION_SHADOW) != 0) == shadowing);
    NVIRT_RULE(VMX_GUEST_LINK_CURRENT, pointer != in->current);
    return NVI_VMX_RULE_NONE;
}

enum nvi_vmx_rule nvi_vmx_rules_guest_rest(const struct nvi_vmx_check_in *in)
{
    NVIRT_RULES(rip_and_rflags(in));
    NVIRT_RULES(shadow_stack(in));
    NVIRT_RULES(activity(in));
    NVIRT_RULES(interruptibility(in));
    NVIRT_RULES(pending_debug(in));
    if (link_in_use(in->vmcs12)) {
        NVIRT_RULES(link(in));
    }
    return NVI_VMX_RULE_NONE;
}

/* ---- PDPTEs ---- */

enum nvi_vmx_pdptes nvi_vmx_pdptes_source(const struct nvirt_vmcs *vmcs12)
{
    if ((vmcs12->guest_cr0 & NVIRT_CR0_PG) == 0 || (vmcs12->guest_cr4 & NVIRT_CR4_PAE) == 0 ||
        nvi_vmx_guest_ia32e(vmcs12)) {
        return NVI_VMX_PDPTES_NONE;
    }
    return (nvi_vmx_proc2(vmcs12) & NVIRT_VMX_PROC2_EPT) != 0 ? NVI_VMX_PDPTES_VMCS
                                                              : NVI_VMX_PDPTES_MEMORY;
}

bool nvi_vmx_pdpte_is_valid(uint64_t pdpte, uint32_t physical_bits)
{
    uint64_t reserved = PDPTE_RESERVED_LOW | NVIRT_BITS(63, physical_bits);

    return (pdpte & PDPTE_P) == 0 || (pdpte & reserved) == 0;
}

enum nvi_vmx_rule nvi_vmx_rules_pdptes(const struct nvi_vmx_check_in *in, const uint64_t pdpte[4])
{
    for (uint32_t i = 0; i < 4; i++) {
        NVIRT_RULE(VMX_GUEST_PDPTE,
                   nvi_vmx_pdpte_is_valid(pdpte[i], in->offer->cpu.physical_bits));
    }
    return NVI_VMX_RULE_NONE;
}
