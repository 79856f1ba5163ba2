/* SPDX-License-Identifier: MIT */
/*
 * The switches between L1 and L2 as they come most often: L1 enters L2 again and has changed nothing
 * but where it goes on, and L2 leaves for an L1 that finds its host state as the last time. The general
 * way (vmx_enter.c, vmx_leave.c) notes what it came to and what that depended on; where all of this is
 * the same, it would come to the same, and is left out.
 *
 * A switch is plain for one reason: it is known that nothing else has to be done. So the controls
 * under which it may be plain are an allow-list, everything is compared before anything is changed,
 * and what is out of the ordinary goes the general way, which finds all as it was.
 *
 * [SDM 3C "VM Entries", "VM Exits"]
 */
#include "nested/vmx_evmcs.h"
#include "nested/vmx_hot.h"

/* Controls of L1's that ask for no work of nvirt's at an entry or exit. */
#define PLAIN_PIN                                                                                  \
    (NVIRT_VMX_PIN_DEFAULT1 | NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS)
#define NOT_PLAIN_PROC (NVIRT_VMX_PROC_TPR_SHADOW | NVIRT_VMX_PROC_TERTIARY)
#define PLAIN_PROC2                                                                                \
    (NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_UNRESTRICTED |                   \
     NVIRT_VMX_PROC2_DESCRIPTOR_TABLE | NVIRT_VMX_PROC2_RDTSCP | NVIRT_VMX_PROC2_WBINVD |          \
     NVIRT_VMX_PROC2_PAUSE_LOOP | NVIRT_VMX_PROC2_RDRAND | NVIRT_VMX_PROC2_RDSEED |                \
     NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_VMFUNC | NVIRT_VMX_PROC2_XSAVES |                   \
     NVIRT_VMX_PROC2_TSC_SCALING | NVIRT_VMX_PROC2_USER_WAIT)
#define NEEDED_EXIT                                                                                \
    (NVIRT_VMX_EXIT_CTL_SAVE_DEBUG | NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_LOAD_PAT)
#define PLAIN_EXIT                                                                                 \
    (NVIRT_VMX_EXIT_CTL_DEFAULT1 | NEEDED_EXIT | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT |                \
     NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_LOAD_EFER |  \
     NVIRT_VMX_EXIT_CTL_LOAD_CET)
#define NEEDED_ENTRY (NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_LOAD_PAT)
#define PLAIN_ENTRY                                                                                \
    (NVIRT_VMX_ENTRY_CTL_DEFAULT1 | NEEDED_ENTRY | NVIRT_VMX_ENTRY_CTL_IA32E |                     \
     NVIRT_VMX_ENTRY_CTL_LOAD_EFER | NVIRT_VMX_ENTRY_CTL_LOAD_CET)

static bool is_within(uint64_t value, uint64_t needed, uint64_t allowed)
{
    return (value & needed) == needed && (value & ~allowed) == 0;
}

/* Each level has CET state of its own, which an entry finds in vmcs02, or the two have one, which
 * moves: as it is with a hypervisor that knows CET, and with one that does not. */
static bool loads_cet_alike(const struct nvirt_vmcs *vmcs12)
{
    return ((vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_CET) != 0) ==
           ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_CET) != 0);
}

/* Neither L1 nor the host wants anything done between L1 and L2 but the switch. */
static bool has_plain_controls(const struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;

    return is_within(vmcs12->pin_controls, 0, PLAIN_PIN) &&
           (vmcs12->proc_controls & NOT_PLAIN_PROC) == 0 &&
           is_within(nvi_vmx_proc2(vmcs12), 0, PLAIN_PROC2) &&
           is_within(vmcs12->exit_controls, NEEDED_EXIT, PLAIN_EXIT) &&
           is_within(vmcs12->entry_controls, NEEDED_ENTRY, PLAIN_ENTRY) &&
           vmcs12->exit_msr_store_count == 0 && vmcs12->exit_msr_load_count == 0 &&
           vmcs12->entry_msr_load_count == 0 && vmcs12->vmcs_link == NVIRT_VMX_NO_VMCS_LINK &&
           v->host_cr0 == 0 && v->host_cr4 == 0 && !nvi_vmx_l0_has_timer(v) &&
           !nvi_vmx_l0_has_counters(v) && nvi_field_has_all(&v->changes[NVI_02], &v->flow) &&
           !nvi_vmx_switches_msrs(v) && loads_cet_alike(vmcs12) &&
           /* Its next entry may be about another VMCS, which only its memory tells. */
           (!nvi_evmcs_is_offered(v) || v->vmx.enlightened != NVI_NO_VMCS);
}

/* ---- CET state that nobody loads: L1 and L2 have one, which is read where it was left ---- */

static inline struct nvi_field_set cet_fields(void)
{
    struct nvi_field_set set = { { 0 } };

#define X(NAME, member, host) nvi_field_add(&set, NVIRT_VMCS_##NAME);
    NVI_CET_FIELDS(X)
#undef X
    return set;
}

/* Of the VMCS that is current and ran last. @return false when it has to be read the general way. */
static bool read_cet(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    const struct nvi_field_set read = cet_fields();

#define X(NAME, member, host)                                                                      \
    v->stats.vmreads++;                                                                            \
    if (!nvi_hw_peek(v, NVI_ENCODING_##NAME, &hw->image.member)) {                                 \
        return false;                                                                              \
    }
    NVI_CET_FIELDS(X)
#undef X
    nvi_field_remove_all(&hw->stale, &read);
    return true;
}

/* Out of line, all of it, for the sake of the L1 that has no CET. */
NVIRT_NOINLINE static void fetch_cet_of_l1(struct nvirt_vmx_vcpu *v)
{
    if (nvi_vmx_leaves_cet_to_l2(v) && v->current == &v->hw01) {
        (void)read_cet(v, &v->hw01);
    }
}

NVIRT_NOINLINE static bool read_cet_of_l2(struct nvirt_vmx_vcpu *v)
{
    return !nvi_vmx_leaves_cet_to_l2(v) || read_cet(v, &v->now->hw);
}

/* Into vmcs12 at once, as vmcs02 will have another by the next exit, and on to L1. */
NVIRT_NOINLINE static void carry_cet_to_l1(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs02 = &v->now->hw.image;
    const struct nvi_field_set cet = cet_fields();

    if (!nvi_vmx_leaves_cet_to_l2(v)) {
        nvi_vmx_cet_load_host(v);
        return;
    }
#define X(NAME, member, host)                                                                      \
    v->vmcs12.member = vmcs02->member;                                                             \
    nvi_hw_set(v, NVI_01, NVIRT_VMCS_##NAME, vmcs02->member);
    NVI_CET_FIELDS(X)
#undef X
    nvi_field_remove_all(&v->now->lazy, &cet);
}

/* ---- L1 enters L2 ---- */

void nvi_vmx_note_entry(struct nvirt_vmx_vcpu *v)
{
    struct nvi_entry_memo *memo = &v->now->memo;
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    const struct nvirt_vmcs *vmcs01 = &v->hw[NVI_01]->image;
    const struct nvirt_vmcs *vmcs02 = &v->hw[NVI_02]->image;
    bool known = has_plain_controls(v) && v->root != NULL &&
                 nvi_vmx_pdptes_source(vmcs12) == NVI_VMX_PDPTES_NONE;

    memo->known = known && v->vmx.enlightened == NVI_NO_VMCS;
    memo->known_enlightened = known && v->vmx.enlightened != NVI_NO_VMCS;
    if (!known) {
        return;
    }
    memo->epoch = v->epoch;
    memo->cr0 = vmcs12->guest_cr0;
    memo->cr4 = vmcs12->guest_cr4;
    memo->efer = vmcs12->guest_efer;
    memo->entry_controls = vmcs12->entry_controls;
    memo->l1_cr0 = vmcs01->guest_cr0;
    memo->l1_efer = vmcs01->guest_efer;
    memo->placed_cr0 = vmcs02->guest_cr0;
    memo->placed_cr4 = vmcs02->guest_cr4;
    memo->placed_efer = vmcs02->guest_efer;
    memo->placed_cr0_shadow = vmcs02->cr0_shadow;
    memo->placed_cr4_shadow = vmcs02->cr4_shadow;
    memo->root = v->root;
    memo->key = v->root->key;
    memo->serial = v->root->serial;
}

/* What was put together at the last entry would be again, and hardware still has it. */
static inline bool is_as_placed(const struct nvirt_vmx_vcpu *v, const struct nvi_entry_memo *memo)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    const struct nvirt_vmcs *vmcs01 = &v->hw01.image;
    const struct nvirt_vmcs *vmcs02 = &v->now->hw.image;

    return vmcs12->guest_cr0 == memo->cr0 && vmcs12->guest_cr4 == memo->cr4 &&
           vmcs12->guest_efer == memo->efer && vmcs12->entry_controls == memo->entry_controls &&
           vmcs01->guest_cr0 == memo->l1_cr0 && vmcs01->guest_efer == memo->l1_efer &&
           vmcs02->guest_cr0 == memo->placed_cr0 && vmcs02->guest_cr4 == memo->placed_cr4 &&
           vmcs02->guest_efer == memo->placed_efer &&
           vmcs02->cr0_shadow == memo->placed_cr0_shadow &&
           vmcs02->cr4_shadow == memo->placed_cr4_shadow;
}

/* What nvirt looks at when L1 enters L2. */
static inline bool is_l1_known(const struct nvirt_vmx_vcpu *v)
{
    struct nvi_field_set looked_at = { { 0 } };

#define X(NAME) nvi_field_add(&looked_at, NVIRT_VMCS_##NAME);
    X(GUEST_CR0)
    X(GUEST_EFER)
    X(GUEST_SS_AR)
    X(GUEST_INTERRUPTIBILITY)
#undef X
    return nvi_field_has_none(&v->hw01.stale, &looked_at);
}

/* L1 may execute it, and its VMCS is launched [SDM 3C "VMLAUNCH/VMRESUME"]. */
static inline bool may_resume(const struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs01 = &v->hw01.image;

    return v->vmx.launched && !v->vmx.is_shadow && (vmcs01->guest_ss_ar & NVIRT_VMX_AR_DPL) == 0 &&
           (vmcs01->guest_interruptibility & NVIRT_VMX_BLOCK_MOV_SS) == 0;
}

/* Nothing but RIP and the like can have changed, of L1's, the host's or the memory behind either. */
NVIRT_ALWAYS_INLINE static inline bool nothing_else_changed(const struct nvirt_vmx_vcpu *v,
                                                            bool known)
{
    const struct nvi_pair *pair = v->now;

    return known && (pair->changed & ~NVI_GROUP(FLOW)) == 0 && pair->memo.epoch == v->epoch &&
           pair->sequence == nvirt_port_sequence(v->port) && !nvi_vmx_left_in_v86(pair);
}

/* Fields that an entry may have to write, all of them known since the last exit. */
#define PLACED_FIELDS(X)                                                                           \
    X(GUEST_RIP)                                                                                   \
    X(GUEST_RSP)                                                                                   \
    X(GUEST_RFLAGS)                                                                                \
    X(GUEST_INTERRUPTIBILITY)                                                                      \
    X(GUEST_ACTIVITY)                                                                              \
    X(GUEST_PENDING_DEBUG)                                                                         \
    X(ENTRY_INTERRUPTION)                                                                          \
    X(ENTRY_ERROR_CODE)                                                                            \
    X(ENTRY_INSN_LENGTH)

static inline bool is_l2_known(const struct nvirt_vmx_vcpu *v)
{
    struct nvi_field_set looked_at = { { 0 } };

#define X(NAME) nvi_field_add(&looked_at, NVIRT_VMCS_##NAME);
    PLACED_FIELDS(X)
    X(GUEST_CR0)
    X(GUEST_CR4)
    X(GUEST_EFER)
#undef X
    return nvi_field_has_none(&v->now->hw.stale, &looked_at);
}

static inline void place(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    if (v->now->hw.image.field[field] != value) {
        nvi_hw_set_differing(v, NVI_02, field, value);
    }
}

NVIRT_ALWAYS_INLINE static inline void place_flow(struct nvirt_vmx_vcpu *v)
{
#define X(NAME) place(v, NVIRT_VMCS_##NAME, v->vmcs12.field[NVIRT_VMCS_##NAME]);
    PLACED_FIELDS(X)
#undef X
    place(v, NVIRT_VMCS_EPTP, nvi_ept_eptp02(&v->ept, v->root));
    place(v, NVIRT_VMCS_VPID, v->vpid02);
    place(v, NVIRT_VMCS_PROC_CONTROLS, v->now->proc02);
    /* A PAT that an exit does not save is vmcs12's at each entry. */
    if ((v->vmcs12.exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PAT) == 0) {
        NVI_SET02(v, GUEST_PAT, v->vmcs12.guest_pat);
    }
}

/* What L1 changed is in v->vmcs12: whether an entry has nothing to do but to place the flow. */
NVIRT_ALWAYS_INLINE static inline bool is_plain_entry(struct nvirt_vmx_vcpu *v)
{
    const struct nvi_entry_memo *memo = &v->now->memo;

    return v->error == NVIRT_OK && (v->now->changed & ~NVI_GROUP(FLOW)) == 0 && is_l1_known(v) &&
           may_resume(v) && (v->vmcs12.entry_interruption & NVIRT_VMX_INTR_VALID) == 0 &&
           nvi_vmx_flow_is_plain(&v->vmcs12) && is_l2_known(v) && is_as_placed(v, memo) &&
           nvi_mmu_root_again(&v->mmu, memo->root, &memo->key, memo->serial) &&
           (!v->cet || nvi_vmx_cet_gather(v));
}

/* Of L1's, while vmcs01 is current. */
static inline void fetch_l1(struct nvirt_vmx_vcpu *v)
{
    nvi_hw_fetch_for_entry(v);
    if (v->cet) {
        fetch_cet_of_l1(v);
    }
}

NVIRT_ALWAYS_INLINE static inline void enter_plainly(struct nvirt_vmx_vcpu *v)
{
    place_flow(v);
    if (v->cet) {
        nvi_vmx_cet_place(v);
    }
    v->now->changed = 0;
    v->level = 2;
    v->entry_pending = true;
    v->steady = false;
    v->switched = true;
}

bool nvi_vmx_resume_plainly(struct nvirt_vmx_vcpu *v)
{
    if (!nothing_else_changed(v, v->now->memo.known)) {
        return false;
    }
    fetch_l1(v);
    nvi_shadow_collect(v);
    /* What L1 wrote without an exit may be more than that. */
    if (!is_plain_entry(v)) {
        return false;
    }
    v->root = v->now->memo.root;
    nvi_vmx_bind_tag(v);
    if ((v->vmcs12.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) != 0) {
        nvi_vmx_build_msr_bitmap(v);
    }
    enter_plainly(v);
    return true;
}

bool nvi_vmx_resume_enlightened(struct nvirt_vmx_vcpu *v)
{
    enum nvi_evmcs_choice choice;

    /* Of an ordinary VMCS there is none. */
    if (!v->now->memo.known_enlightened) {
        return false;
    }
    fetch_l1(v);
    choice = nvi_evmcs_begin(v, false);
    if (choice != NVI_EVMCS_CURRENT || !nothing_else_changed(v, v->now->memo.known_enlightened) ||
        !is_plain_entry(v)) {
        v->evmcs_begun = (uint8_t)(choice + 1);
        return false;
    }
    v->root = v->now->memo.root;
    nvi_vmx_bind_tag(v);
    nvi_vmx_refresh_msr_bitmap(v);
    enter_plainly(v);
    return true;
}

/* ---- L2 leaves for L1 ---- */

void nvi_vmx_note_exit(struct nvirt_vmx_vcpu *v)
{
    struct nvi_exit_memo *memo = &v->now->exit_memo;
    const struct nvirt_vmcs *vmcs02 = &v->hw[NVI_02]->image;
    const struct nvirt_vmcs *vmcs01 = &v->hw[NVI_01]->image;

    nvi_vmx_forget_exit(v);
    /* An NMI that blocks further ones is not the rule. */
    if (!has_plain_controls(v) || vmcs01->guest_interruptibility != 0) {
        return;
    }
    memo->known = v->vmx.enlightened == NVI_NO_VMCS;
    memo->known_enlightened = v->vmx.enlightened != NVI_NO_VMCS;
    memo->epoch = v->epoch;
    memo->l2_cr0 = vmcs02->guest_cr0;
    memo->l2_efer = vmcs02->guest_efer;
    memo->key = nvi_vmx_key_of_controls(&v->vmcs12);
#define X(NAME) memo->kept.NAME = vmcs01->field[NVIRT_VMCS_##NAME];
    NVI_KEPT_FIELDS(X)
#undef X
    nvi_hw_block_copy(vmcs01, memo->block);
}

/* vmcs01 has what L1 is given at an exit, in the fields that nvirt knows when L1 left. */
static inline bool is_kept(struct nvirt_vmx_vcpu *v, const struct nvi_exit_memo *memo)
{
    const struct nvirt_vmcs *vmcs01 = &v->hw01.image;

    if (!is_l1_known(v)) {
        return false;
    }
    /* "IA-32e mode guest" follows LMA, which is what it was. */
#define X(NAME) &&vmcs01->field[NVIRT_VMCS_##NAME] == memo->kept.NAME
    return vmcs01->entry_interruption == 0 && vmcs01->proc_controls == v->proc01
        NVI_KEPT_FIELDS(X);
#undef X
}

/* What L2 came to is nothing that L1's host state depends on, or that asks for more than saving. */
static inline bool leaves_plainly(const struct nvirt_vmcs *vmcs02, const struct nvirt_vmcs *vmcs12,
                                  const struct nvi_exit_memo *memo)
{
    return vmcs02->guest_cr0 == memo->l2_cr0 && vmcs02->guest_efer == memo->l2_efer &&
           (vmcs02->guest_interruptibility & NVIRT_VMX_BLOCK_NMI) == 0 &&
           /* PDPTEs are saved and judged. */
           ((vmcs02->guest_efer & NVIRT_EFER_LMA) != 0 ||
            (vmcs02->guest_cr4 & NVIRT_CR4_PAE) == 0) &&
           /* An EFER that is not saved is judged again beside what L2 made of the rest. */
           ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_EFER) != 0 ||
            vmcs12->guest_efer == vmcs02->guest_efer);
}

/* What the exit saves and was not fetched lives in vmcs02 from here on. */
static inline void note_lazy(struct nvirt_vmx_vcpu *v)
{
    struct nvi_field_set *lazy = &v->now->lazy;

    nvi_field_keep(lazy, &v->changes[NVI_SHADOW]);
    nvi_field_add_all(lazy, &v->saved);
    if ((v->vmcs12.exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PAT) == 0) {
        nvi_field_remove(lazy, NVIRT_VMCS_GUEST_PAT);
    }
}

/* L2's flow, EFER and "IA-32e mode guest" are in the image of vmcs02. PAE paging of L2 is not plain. */
static inline void save_flow(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs02 = &v->now->hw.image;
    struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    const uint64_t ia32e = NVIRT_VMX_ENTRY_CTL_IA32E;

    /* But for EFER, which is saved under a control. */
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (nvi_hw_is_flow(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group) &&                             \
        NVIRT_VMCS_##NAME != NVIRT_VMCS_GUEST_EFER) {                                              \
        vmcs12->member = vmcs02->member;                                                           \
    }
#include <nvirt/vmcs_fields.def>
    if ((vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_EFER) != 0) {
        vmcs12->guest_efer = vmcs02->guest_efer;
    }
    vmcs12->entry_controls = (vmcs12->entry_controls & ~ia32e) | (vmcs02->entry_controls & ia32e);
    vmcs12->entry_interruption &= ~NVIRT_VMX_INTR_VALID;
}

/* L1's host state is what it was, and is written by the prepare. */
static inline void save_and_leave(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info)
{
    v->stats.nested_exits++;
    save_flow(v);
    nvi_vmx_save_exit_info(info, &v->vmcs12);
    note_lazy(v);
    if (v->cet) {
        carry_cet_to_l1(v);
    }
    v->now->key = nvi_vmx_key_of(&v->vmcs12, v->now->exit_memo.key);
    nvi_vmx_abandon_l2(v);
    v->switched = true;
    v->block_due = true;
}

bool nvi_vmx_leave_plainly(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info)
{
    const struct nvi_exit_memo *memo = &v->now->exit_memo;
    bool enlightened = v->vmx.enlightened != NVI_NO_VMCS;

    if (!(enlightened ? memo->known_enlightened : memo->known) || memo->epoch != v->epoch ||
        !nvi_vmx_nothing_waits(v) ||
        (info->reason & NVIRT_VMX_REASON_BASIC) == NVIRT_VMX_EXIT_EXCEPTION_NMI) {
        return false;
    }
    nvi_hw_fetch_flow(v);
    if (v->cet) {
        nvi_vmx_cet_fetch_l2(v);
    }
    if (v->error != NVIRT_OK || !leaves_plainly(&v->now->hw.image, &v->vmcs12, memo) ||
        !is_kept(v, memo)) {
        return false;
    }
    nvi_hw_follow_lma(v, NVI_02);
    save_and_leave(v, info);
    if (enlightened) {
        nvi_evmcs_store_exit(v);
    }
    return true;
}

/* ---- the same, for an exit of which nothing has been looked at yet ---- */

/* Exits that are always L1's, and tell it no more than the length of the instruction. */
#define REASON(name) NVIRT_BIT(NVIRT_VMX_EXIT_##name)
#define PLAIN_REASONS                                                                              \
    (REASON(CPUID) | REASON(GETSEC) | REASON(INVD) | REASON(VMCALL) | REASON(VMLAUNCH) |           \
     REASON(VMRESUME) | REASON(VMXOFF) | REASON(XSETBV))

/* An exit of the L2 that is active has been noted, and L0 has changed nothing since. */
static inline bool is_exit_known(const struct nvirt_vmx_vcpu *v)
{
    const struct nvi_exit_memo *memo = &v->now->exit_memo;

    return memo->known && memo->epoch == v->epoch;
}

bool nvi_vmx_l2_is_steady(const struct nvirt_vmx_vcpu *v)
{
    /* A forced exit is there only while something waits. */
    return is_exit_known(v) && nvi_vmx_nothing_waits(v);
}

/* The fields of v->flow and the length, which hardware changed, straight into the image. */
static inline bool read_l2(struct nvirt_vmx_vcpu *v, struct nvirt_vmcs *image)
{
    v->stats.vmreads += NVI_FLOW_FIELDS + 1;
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (nvi_hw_is_flow(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group) &&                             \
        !nvi_hw_peek(v, encoding, &image->member)) {                                               \
        return false;                                                                              \
    }
#include <nvirt/vmcs_fields.def>
    return nvi_hw_peek(v, NVI_ENCODING_EXIT_INSN_LENGTH, &image->exit_insn_length);
}

/* What nvi_hw_exited() notes, and what read_l2() does. */
static inline void note_exit_of_l2(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw,
                                   uint32_t reason)
{
    uint64_t ia32e = (hw->image.guest_efer & NVIRT_EFER_LMA) != 0 ? NVIRT_VMX_ENTRY_CTL_IA32E : 0;

    hw->launched = true;
    hw->image.exit_reason = reason;
    hw->image.entry_interruption &= ~NVIRT_VMX_INTR_VALID;
    hw->image.entry_controls = (hw->image.entry_controls & ~NVIRT_VMX_ENTRY_CTL_IA32E) | ia32e;
    hw->stale = v->unread; /* Nothing but what an exit may change ever is. */
}

enum nvi_plain_exit nvi_vmx_exit_plainly(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_exit *exit,
                                         uint32_t reason)
{
    struct nvi_hw_vmcs *hw = &v->now->hw;
    struct nvi_vmx_exit_info info = { .reason = reason };

    if (reason >= 64 || (PLAIN_REASONS >> reason & 1u) == 0 || !read_l2(v, &hw->image)) {
        return NVI_EXIT_UNKNOWN;
    }
    note_exit_of_l2(v, hw, reason);
    if (v->cet && !read_cet_of_l2(v)) {
        return NVI_EXIT_NOTED;
    }
    if (!leaves_plainly(&hw->image, &v->vmcs12, &v->now->exit_memo) ||
        !is_kept(v, &v->now->exit_memo)) {
        return NVI_EXIT_NOTED;
    }
    info.insn_length = (uint32_t)hw->image.exit_insn_length;
    v->stats.exits_l2++;
    if (v->entry_pending) {
        /* The entry took place; what is lazy is said below. */
        v->vmx.launched = true;
        v->stats.nested_entries++;
    }
    save_and_leave(v, &info);
    nvi_vmx_tell(exit, NVIRT_VERDICT_DONE, 2, reason);
    exit->branch_barrier = v->barrier;
    return NVI_EXIT_DONE;
}

/* ---- the prepare that follows a plain switch ---- */

/* Nothing waits and L0 wants nothing else than before: neither events nor windows are looked at. */
enum nvirt_status nvi_vmx_prepare_switched(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_run *run)
{
    bool l2 = v->level == 2;

    v->error = NVIRT_OK; /* Of the last attempt, if hardware refused it. */
    if (v->remerge || v->dead ||
        (l2 ? v->now->sequence != nvirt_port_sequence(v->port) : !nvi_vmx_apic01_is_settled(v))) {
        return nvi_vmx_prepare_any(v, v->home, run);
    }
    if (l2) {
        nvi_hw_commit(v, NVI_02);
        nvi_vmx_flush(v, 2);
    } else {
        nvi_shadow_prepare(v);
        nvi_hw_commit(v, NVI_01);
        nvi_vmx_flush(v, 1);
    }
    if (v->error != NVIRT_OK) {
        return v->error;
    }
    run->launch = !v->hw[l2 ? NVI_02 : NVI_01]->launched;
    run->level = v->level;
    run->branch_barrier = v->barrier;
    run->set_cr2 = false;
    v->barrier = false;
    v->prepared = true;
    v->switched = false;
    if (l2) {
        v->steady_l2 = is_exit_known(v);
    } else if (v->hw01.launched && (v->proc01 & NVIRT_VMX_PROC_MTF) == 0) {
        v->steady = true;
        nvi_hw_distrust(v, NVI_01);
    }
    return NVIRT_OK;
}

/* Anything else of the host's than the prepare finds what the general way would have left. */
void nvi_vmx_switch_settle(struct nvirt_vmx_vcpu *v)
{
    v->switched = false;
    if (v->block_due) {
        v->block_due = false;
        nvi_hw_block_restore(v, v->now->exit_memo.block);
    }
}
