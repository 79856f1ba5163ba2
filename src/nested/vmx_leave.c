/* SPDX-License-Identifier: MIT */
/*
 * L2 is left for L1: what the exit saves into vmcs12, L1's host state into vmcs01, the MSR lists,
 * and the ways in which that itself can go wrong.
 *
 * [SDM 3C "VM Exits", "VM-Entry Failures During or After Loading Guest State", "VMX Aborts"]
 */
#include "nested/vmx_evmcs.h"

/* ---- what the exit tells ---- */

/* Reasons as bits of a word; those from 64 on are looked at whatever they have. */
#define REASON(name) NVIRT_BIT(NVIRT_VMX_EXIT_##name)
/* [SDM 3C "Basic VM-Exit Information"]: the qualification is 0. */
#define WITHOUT_QUALIFICATION                                                                      \
    (REASON(EXTERNAL_INTERRUPT) | REASON(TRIPLE_FAULT) | REASON(INTERRUPT_WINDOW) |                \
     REASON(NMI_WINDOW) | REASON(CPUID) | REASON(GETSEC) | REASON(HLT) | REASON(INVD) |            \
     REASON(RDPMC) | REASON(RDTSC) | REASON(VMCALL) | REASON(VMLAUNCH) | REASON(VMRESUME) |        \
     REASON(VMXOFF) | REASON(RDMSR) | REASON(WRMSR) | REASON(PAUSE) | REASON(RDTSCP) |             \
     REASON(PREEMPTION_TIMER) | REASON(WBINVD) | REASON(XSETBV) | REASON(RDRAND) |                 \
     REASON(RDSEED) | REASON(ENCLS) | REASON(XSAVES))
/* Instructions, which are past every delivery [SDM 3C "Information for VM Exits That Occur During
 * Event Delivery"]: 10 to 32 and some more. */
#define INSTRUCTIONS                                                                               \
    (NVIRT_BITS(32, 10) | REASON(MWAIT) | REASON(MONITOR) | REASON(PAUSE) | REASON(GDTR_IDTR) |    \
     REASON(LDTR_TR) | REASON(INVEPT) | REASON(RDTSCP) | REASON(INVVPID) | REASON(WBINVD) |        \
     REASON(XSETBV) | REASON(RDRAND) | REASON(INVPCID) | REASON(VMFUNC) | REASON(RDSEED) |         \
     REASON(ENCLS) | REASON(XSAVES))

static bool is_among(uint32_t reason, uint64_t reasons)
{
    uint32_t basic = reason & (uint32_t)NVIRT_VMX_REASON_BASIC;

    return basic < 64 && (reasons >> basic & 1u) != 0;
}

uint64_t nvi_vmx_qualification(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason)
{
    return is_among(reason, WITHOUT_QUALIFICATION)
               ? 0
               : nvi_hw_get(v, which, NVIRT_VMCS_EXIT_QUALIFICATION);
}

uint32_t nvi_vmx_vectoring(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason)
{
    return is_among(reason, INSTRUCTIONS)
               ? 0
               : (uint32_t)nvi_hw_get(v, which, NVIRT_VMCS_IDT_VECTORING);
}

static bool has_insn_info(uint32_t basic)
{
    switch (basic) {
    case NVIRT_VMX_EXIT_IO:
    case NVIRT_VMX_EXIT_VMCLEAR:
    case NVIRT_VMX_EXIT_VMPTRLD:
    case NVIRT_VMX_EXIT_VMPTRST:
    case NVIRT_VMX_EXIT_VMREAD:
    case NVIRT_VMX_EXIT_VMWRITE:
    case NVIRT_VMX_EXIT_VMXON:
    case NVIRT_VMX_EXIT_GDTR_IDTR:
    case NVIRT_VMX_EXIT_LDTR_TR:
    case NVIRT_VMX_EXIT_INVEPT:
    case NVIRT_VMX_EXIT_INVVPID:
    case NVIRT_VMX_EXIT_INVPCID:
    case NVIRT_VMX_EXIT_RDRAND:
    case NVIRT_VMX_EXIT_RDSEED:
    case NVIRT_VMX_EXIT_XSAVES:
    case NVIRT_VMX_EXIT_XRSTORS:
    case NVIRT_VMX_EXIT_UMWAIT:
    case NVIRT_VMX_EXIT_TPAUSE:
    case NVIRT_VMX_EXIT_LOADIWKEY:
        return true;
    default:
        return false;
    }
}

static bool has_physical_address(uint32_t basic)
{
    return basic == NVIRT_VMX_EXIT_EPT_VIOLATION ||
           basic == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION || basic == NVIRT_VMX_EXIT_SPP_EVENT;
}

static bool has_linear_address(uint32_t basic)
{
    return basic == NVIRT_VMX_EXIT_IO || basic == NVIRT_VMX_EXIT_CR_ACCESS ||
           has_physical_address(basic);
}

static bool has_event(uint32_t basic)
{
    return basic == NVIRT_VMX_EXIT_EXCEPTION_NMI || basic == NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT;
}

static uint32_t error_code_of(struct nvirt_vmx_vcpu *v, uint32_t event, enum nvirt_vmcs_field field)
{
    const uint64_t both = NVIRT_VMX_INTR_VALID | NVIRT_VMX_INTR_ERROR_CODE;

    return (event & both) == both ? (uint32_t)nvi_hw_get(v, NVI_02, field) : 0;
}

/* Fields that the reason leaves undefined read as 0 to L1 and cost no VMREAD. */
void nvi_vmx_exit_info(struct nvirt_vmx_vcpu *v, uint32_t reason, struct nvi_vmx_exit_info *info)
{
    uint32_t basic = reason & (uint32_t)NVIRT_VMX_REASON_BASIC;

    __builtin_memset(info, 0, sizeof *info);
    info->reason = reason;
    info->qualification = nvi_vmx_qualification(v, NVI_02, reason);
    if (has_event(basic)) {
        info->interruption = (uint32_t)NVI_GET02(v, EXIT_INTERRUPTION);
        info->interruption_error =
            error_code_of(v, info->interruption, NVIRT_VMCS_EXIT_INTERRUPTION_ERROR);
    }
    info->idt_vectoring = nvi_vmx_vectoring(v, NVI_02, reason);
    info->idt_vectoring_error =
        error_code_of(v, info->idt_vectoring, NVIRT_VMCS_IDT_VECTORING_ERROR);
    info->insn_length = (uint32_t)NVI_GET02(v, EXIT_INSN_LENGTH);
    if (has_insn_info(basic)) {
        info->insn_info = (uint32_t)NVI_GET02(v, EXIT_INSN_INFO);
    }
    if (has_linear_address(basic)) {
        info->guest_linear = NVI_GET02(v, GUEST_LINEAR);
    }
    if (has_physical_address(basic)) {
        info->guest_physical = NVI_GET02(v, GUEST_PHYSICAL);
    }
}

/* ---- leaving ---- */

/* Level 1 from here on; what belonged to this residence of L2 is settled. */
static void become_level_1(struct nvirt_vmx_vcpu *v)
{
    if (v->level == 2) {
        nvirt_tlb_vmx_leave_l2(&v->tlb, v->vpid12_enabled);
        v->barrier = true;
    }
    v->level = 1;
    v->pending.exception.waiting = false; /* What still waits was L2's. */
    v->now->shadow_due = true;
    v->entry_pending = false;
    v->forced_exit = false;
    v->remerge = false;
    v->root = NULL;
}

void nvi_vmx_abandon_l2(struct nvirt_vmx_vcpu *v)
{
    become_level_1(v);
}

void nvi_vmx_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator)
{
    nvirt_port_trace(v->port, "nvirt: VMX abort", indicator);
    nvi_vmcs12_abort(v, indicator);
    become_level_1(v);
    v->dead = true;
}

/* CR bits that the host keeps for itself in L1 survive the exit in hardware; L1 sees its own. */
static void keep_host_bits(struct nvirt_vmx_vcpu *v, uint64_t old0, uint64_t old4)
{
    struct nvirt_vmcs *next = &v->hw[NVI_01]->image;
    uint64_t host0 = next->cr0_mask & ~nvirt_vmx_cr0_owned(v);
    uint64_t host4 = next->cr4_mask & ~nvirt_vmx_cr4_owned(v);

    next->guest_cr0 = (next->guest_cr0 & ~host0) | (old0 & host0);
    next->guest_cr4 = (next->guest_cr4 & ~host4) | (old4 & host4);
}

/* @return false when L1's host PDPTEs are not usable: a VMX abort. */
static bool load_host_pdptes(struct nvirt_vmx_vcpu *v, const struct nvirt_vmcs *next)
{
    uint64_t pdpte[4];

    if ((next->cr4_shadow & NVIRT_CR4_PAE) == 0 || (next->guest_efer & NVIRT_EFER_LMA) != 0) {
        return true;
    }
    if (!nvi_vmx_pdptes_read(v, next->guest_cr3, pdpte)) {
        return false;
    }
    NVI_SET01(v, GUEST_PDPTE0, pdpte[0]);
    NVI_SET01(v, GUEST_PDPTE1, pdpte[1]);
    NVI_SET01(v, GUEST_PDPTE2, pdpte[2]);
    NVI_SET01(v, GUEST_PDPTE3, pdpte[3]);
    return true;
}

static inline void remember_kept(const struct nvirt_vmcs *image, struct nvi_kept *before)
{
#define X(NAME) before->NAME = image->field[NVIRT_VMCS_##NAME];
    NVI_KEPT_FIELDS(X)
#undef X
}

static inline void note_kept(struct nvirt_vmx_vcpu *v, const struct nvi_kept *before)
{
#define X(NAME) nvi_hw_changed_from(v, NVI_01, NVIRT_VMCS_##NAME, before->NAME);
    NVI_KEPT_FIELDS(X)
#undef X
}

/*
 * L1 continues at its exit handler, or meets a VMX abort. What is loaded goes into the image of
 * vmcs01 itself; hardware is given a block that it does not have as a rule, and of the fields above
 * those that it does not have.
 */
static void load_l1(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_live *live)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    struct nvirt_vmcs *image = &v->hw[NVI_01]->image;
    struct nvi_kept before;
    struct nvi_cet cet;
    uint64_t cr4;
    bool loaded;

    (void)NVI_GET01(v, GUEST_CR0);
    if ((image->cr4_mask & ~nvirt_vmx_cr4_owned(v)) != 0) {
        (void)NVI_GET01(v, GUEST_CR4);
    }
    nvi_hw_follow_lma(v, NVI_01);
    remember_kept(image, &before);
    nvi_vmx_cet_remember(image, &cet);
    cr4 = image->guest_cr4;
    nvi_vmx_load_host_state(vmcs12, live, &v->caps, image);
    keep_host_bits(v, before.GUEST_CR0, cr4);
    if (nvi_vmx_switches_msrs(v)) {
        nvi_vmx_switched_load_host(v);
    }
    loaded = vmcs12->exit_msr_load_count == 0 ||
             nvi_vmx_msr_list_load(v, vmcs12->exit_msr_load_addr, vmcs12->exit_msr_load_count,
                                   image) == 0;
    nvi_hw_block_changed(v);
    note_kept(v, &before);
    if (v->cet) {
        nvi_vmx_cet_loaded(v, &cet);
    }
    if (!load_host_pdptes(v, image)) {
        nvi_vmx_abort(v, NVIRT_VMX_ABORT_HOST_PDPTE);
        return;
    }
    if (!loaded) {
        nvi_vmx_abort(v, NVIRT_VMX_ABORT_LOAD_MSR);
        return;
    }
    /* An injection meant for L1 before its VMLAUNCH cannot be left over; none is inherited. */
    NVI_SET01(v, ENTRY_INTERRUPTION, 0);
    become_level_1(v);
}

static void fetch_controlled(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;

    if ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER) != 0) {
        (void)NVI_GET02(v, GUEST_PREEMPTION_TIMER);
    }
    if ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_PAT) == 0) {
        (void)NVI_GET02(v, GUEST_PAT);
    }
    if (v->cet) {
        nvi_vmx_cet_fetch_l2(v);
    }
    if ((NVI_GET02(v, GUEST_CR4) & NVIRT_CR4_PAE) != 0 &&
        (NVI_GET02(v, GUEST_EFER) & NVIRT_EFER_LMA) == 0) {
        (void)NVI_GET02(v, GUEST_PDPTE0);
        (void)NVI_GET02(v, GUEST_PDPTE1);
        (void)NVI_GET02(v, GUEST_PDPTE2);
        (void)NVI_GET02(v, GUEST_PDPTE3);
    }
}

/* A list that stores MSRs may name any that vmcs02 holds: everything is wanted then. */
static bool stores_msrs(const struct nvirt_vmx_vcpu *v)
{
    return v->vmcs12.exit_msr_store_count != 0;
}

static void fetch_l2_state(struct nvirt_vmx_vcpu *v)
{
    nvi_hw_fetch_flow(v);
    nvi_hw_follow_lma(v, NVI_02);
    fetch_controlled(v);
    if (stores_msrs(v)) {
        nvi_hw_fetch(v, NVI_02, &v->guest);
    }
}

/*
 * What an exit does not save is at the next entry what it was at the last one, beside what L2 made
 * of the rest: no CPU has accepted the two together yet.
 */
static void note_what_is_not_saved(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    uint64_t controls = vmcs12->exit_controls;

    if ((controls & NVIRT_VMX_EXIT_CTL_SAVE_DEBUG) == 0) {
        v->now->changed |= NVI_GROUP(STATE) | NVI_GROUP(FLOW);
    }
    if ((controls & NVIRT_VMX_EXIT_CTL_SAVE_EFER) == 0 &&
        (vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_EFER) != 0 &&
        vmcs12->guest_efer != NVI_GET02(v, GUEST_EFER)) {
        v->now->changed |= NVI_GROUP(REGISTERS) | NVI_GROUP(STATE);
    }
}

/* What the exit saves and is not fetched lives in vmcs02 from here on. */
static void save_l2_state(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs02 = &v->hw[NVI_02]->image;
    struct nvi_field_set *lazy = &v->now->lazy;
    uint64_t controls = v->vmcs12.exit_controls;

    note_what_is_not_saved(v);
    if (stores_msrs(v)) {
        nvi_vmx_save_guest_state(vmcs02, &v->vmcs12);
        return;
    }
    nvi_vmx_save_flow(vmcs02, &v->vmcs12);
    /* What L1 wrote to the shadow VMCS and no entry wanted is still there. */
    nvi_field_keep(lazy, &v->changes[NVI_SHADOW]);
    nvi_field_add_all(lazy, &v->saved);
    if ((controls & NVIRT_VMX_EXIT_CTL_SAVE_DEBUG) == 0) {
        nvi_field_remove(lazy, NVIRT_VMCS_GUEST_DR7);
        nvi_field_remove(lazy, NVIRT_VMCS_GUEST_DEBUGCTL);
    }
    if ((controls & NVIRT_VMX_EXIT_CTL_SAVE_PAT) == 0) {
        nvi_field_remove(lazy, NVIRT_VMCS_GUEST_PAT);
    }
}

void nvi_vmx_leave(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info)
{
    const struct nvirt_vmcs *vmcs02 = &v->hw[NVI_02]->image;
    struct nvi_vmx_live live;
    uint64_t cr0;
    uint64_t cr4;
    bool stored;

    nvi_vmx_forced_exit_done(v);
    fetch_l2_state(v);
    if (v->error != NVIRT_OK) {
        return;
    }
    v->stats.nested_exits++;
    cr0 = nvi_vmx_cr0_of_l2(v);
    cr4 = nvi_vmx_cr4_of_l2(v);
    save_l2_state(v);
    if (nvi_vmx_switches_msrs(v)) {
        nvi_vmx_switched_save(v);
    }
    v->vmcs12.guest_cr0 = cr0;
    v->vmcs12.guest_cr4 = cr4;
    nvi_vmx_save_exit_info(info, &v->vmcs12);
    nvi_vmx_note_exit_key(v);
    stored = !stores_msrs(v) ||
             nvi_vmx_msr_list_store(v, v->vmcs12.exit_msr_store_addr,
                                    v->vmcs12.exit_msr_store_count, vmcs02) == 0;
    if (v->vmx.enlightened != NVI_NO_VMCS) {
        nvi_evmcs_store_exit(v);
    }
    if (!stored) {
        nvi_vmx_abort(v, NVIRT_VMX_ABORT_SAVE_MSR);
        return;
    }
    live = nvi_vmx_live_at_exit(vmcs02, &v->vmcs12, info);
    live.cr0 = cr0;
    load_l1(v, &live);
    if (v->error == NVIRT_OK && !v->dead) {
        nvi_vmx_note_exit(v);
    }
}

void nvi_vmx_entry_failure(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification,
                           const struct nvi_vmx_live *live)
{
    v->stats.entries_refused++;
    if (v->level == 1) {
        /* Found before level 2 was reached: without VPID the transitions flush VPID 0 all the same
         * [SDM 3C "Operations that Invalidate Cached Mappings"]. */
        nvirt_tlb_vmx_leave_l2(&v->tlb,
                               (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_VPID) != 0);
    }
    nvi_vmx_save_entry_failure(reason, qualification, &v->vmcs12);
    if (v->vmx.enlightened != NVI_NO_VMCS) {
        nvi_evmcs_store_entry_failure(v);
    }
    load_l1(v, live);
}
