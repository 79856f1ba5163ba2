/* SPDX-License-Identifier: MIT */
/*
 * The edge: with the two short ways (vmx_fast.c, vmx_switch.c) the one file of nested VMX that
 * executes VMX instructions. It knows of each field of vmcs01 and vmcs02 whether image and hardware
 * agree, reads a field when it is first wanted after an exit, and writes before an entry what changed. Any VMCS may be made current at any time to
 * fetch from it, so laziness is never a question of correctness, only of one VMPTRLD more.
 *
 * [SDM 3C "Virtual-Machine Control Structures"]
 */
#include "nested/vmx_hot.h"

static void failed(struct nvirt_vmx_vcpu *v, const char *text, uint64_t value)
{
    nvirt_port_trace(v->port, text, value);
    v->error = NVIRT_ERR_HARDWARE;
}

/* Fields that no exit changes although they are guest state: the link pointer is only compared, and
 * SMBASE belongs to the dual-monitor treatment, which is not used. */
static bool survives_exits(enum nvirt_vmcs_field field)
{
    return field == NVIRT_VMCS_VMCS_LINK || field == NVIRT_VMCS_GUEST_SMBASE;
}

static bool is_pdpte(enum nvirt_vmcs_field field)
{
    return field >= NVIRT_VMCS_GUEST_PDPTE0 && field <= NVIRT_VMCS_GUEST_PDPTE3;
}

/* What an exit has to fetch for L1: state it was offered, and what lives on in L1 whatever it was
 * offered. PDPTEs count in one paging mode only and are fetched there. */
static bool is_shown_to_l1(const struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_GUEST_EFER:
    case NVIRT_VMCS_GUEST_PAT:
        return true;
    default:
        return !is_pdpte(field) && nvirt_vmcs_field_exists(&v->offer, field);
    }
}

static void fill_block_sets(struct nvirt_vmx_vcpu *v);

/*
 * An exit changes more of vmcs01 than of vmcs02: state that L1 was not offered is used by no
 * control of vmcs02, so what hardware saves there is of no interest.
 */
void nvi_hw_field_sets(struct nvirt_vmx_vcpu *v)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind(field);
        bool guest = kind == NVIRT_VMCS_KIND_GUEST && !survives_exits(field);

        if (nvirt_vmcs_field_exists(&v->offer, field)) {
            nvi_field_add(&v->offered, i);
            if (kind != NVIRT_VMCS_KIND_EXIT) {
                nvi_field_add(&v->writable, i);
            }
        }
        if (!nvirt_vmcs_field_exists(&v->caps, field)) {
            continue;
        }
        nvi_field_add(&v->exists, i);
        if (kind != NVIRT_VMCS_KIND_EXIT && !is_pdpte(field)) {
            nvi_field_add(&v->merged, i);
            if (kind != NVIRT_VMCS_KIND_GUEST) {
                nvi_field_add(&v->controls, i);
            }
        }
        nvi_field_add(&v->group[nvi_vmcs_groups[i]], i);
        if (nvi_vmx_is_saved_lazily(field)) {
            nvi_field_add(&v->saved, i);
        }
        if (kind == NVIRT_VMCS_KIND_EXIT || guest) {
            nvi_field_add(&v->changes[NVI_01], i);
        }
        if (kind == NVIRT_VMCS_KIND_EXIT ||
            (guest && (is_shown_to_l1(v, field) || is_pdpte(field) ||
                       (v->cet && nvi_vmx_is_cet(field))))) {
            nvi_field_add(&v->changes[NVI_02], i);
        }
        if (guest && is_shown_to_l1(v, field)) {
            nvi_field_add(&v->guest, i);
        }
    }
    fill_block_sets(v);
    /* What may be lazy is shown to L1: saved guest state that its CPU has. */
    nvi_field_keep(&v->saved, &v->guest);
    /* IA-32e-mode guest follows EFER.LMA at each exit. The valid bit of the event to inject changes
     * too, but always to 0: that needs no read. */
    nvi_field_add(&v->changes[NVI_01], NVIRT_VMCS_ENTRY_CONTROLS);
    nvi_field_add(&v->changes[NVI_02], NVIRT_VMCS_ENTRY_CONTROLS);
    v->unread = v->changes[NVI_02];
    nvi_field_remove_all(&v->unread, &v->flow);
    nvi_field_remove(&v->unread, NVIRT_VMCS_ENTRY_CONTROLS);
    nvi_field_remove(&v->unread, NVIRT_VMCS_EXIT_REASON);
    nvi_field_remove(&v->unread, NVIRT_VMCS_EXIT_INSN_LENGTH);
}

static bool vmclear(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    v->stats.vmclears++;
    if (nvirt_port_vmclear(v->cpu, hw->hpa) != NVIRT_HW_OK) {
        failed(v, "nvirt: VMCLEAR refused", hw->hpa.value);
        return false;
    }
    hw->active = false;
    hw->launched = false;
    if (v->current == hw) {
        v->current = NULL;
    }
    return true;
}

/* A region that never was a VMCS holds chance contents: all its fields are to be written. */
static void first_use(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    if (hw->initialised || !vmclear(v, hw)) {
        return;
    }
    hw->initialised = true;
    if (hw->is_shadow) {
        hw->dirty = v->shadow.fields;
        return;
    }
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (nvi_field_has(&v->exists, i) &&
            nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) != NVIRT_VMCS_KIND_EXIT) {
            nvi_field_add(&hw->dirty, i);
        }
    }
}

NVIRT_COLD bool nvi_hw_vmptrld_failed(struct nvirt_vmx_vcpu *v, const struct nvi_hw_vmcs *hw)
{
    failed(v, "nvirt: VMPTRLD refused", hw->hpa.value);
    return false;
}

NVIRT_NOINLINE bool nvi_hw_switch_current(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    if (v->cpu == NULL) {
        failed(v, "nvirt: VMCS wanted without a CPU", hw->hpa.value);
        return false;
    }
    first_use(v, hw);
    v->stats.vmptrlds++;
    if (!hw->initialised || nvirt_port_vmptrld(v->cpu, hw->hpa) != NVIRT_HW_OK) {
        return nvi_hw_vmptrld_failed(v, hw);
    }
    hw->active = true;
    v->current = hw;
    return true;
}

void nvi_hw_read_failed(struct nvirt_vmx_vcpu *v, uint32_t encoding)
{
    failed(v, "nvirt: VMREAD refused", encoding);
}

static inline void fetch_one(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw, uint32_t field)
{
    uint32_t encoding = nvi_vmcs_encodings[field];
    uint64_t value = 0;

    if (!nvi_hw_make_current(v, hw)) {
        return;
    }
    v->stats.vmreads++;
    if (nvirt_port_vmread(v->cpu, encoding, &value) != NVIRT_HW_OK) {
        nvi_hw_read_failed(v, encoding);
        return;
    }
    hw->image.field[field] = value;
    nvi_field_remove(&hw->stale, field);
}

uint64_t nvi_hw_read(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw, uint32_t field)
{
    if (nvi_field_has(&hw->stale, field)) {
        fetch_one(v, hw, field);
    }
    return nvi_field_has(&hw->stale, field) ? 0 : hw->image.field[field];
}

uint64_t nvi_hw_get_stale(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                          enum nvirt_vmcs_field field)
{
    return nvi_hw_read(v, v->hw[which], (uint32_t)field);
}

void nvi_hw_set_differing(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                          enum nvirt_vmcs_field field, uint64_t value)
{
    struct nvi_hw_vmcs *hw = v->hw[which];
    uint64_t fitting = value & nvi_vmcs_masks[field];

    if (!nvi_field_has(&hw->stale, (uint32_t)field) && hw->image.field[field] == fitting) {
        return;
    }
    hw->image.field[field] = fitting;
    if (nvi_field_has(&v->exists, (uint32_t)field)) {
        nvi_field_remove(&hw->stale, (uint32_t)field);
        nvi_field_add(&hw->dirty, (uint32_t)field);
    }
}

void nvi_hw_know(struct nvirt_vmx_vcpu *v, enum nvi_which which, enum nvirt_vmcs_field field,
                 uint64_t value)
{
    v->hw[which]->image.field[field] = nvirt_vmcs_truncate(field, value);
    nvi_field_remove(&v->hw[which]->stale, (uint32_t)field);
}

void nvi_hw_replace(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvirt_vmcs *next,
                    const struct nvi_field_set *set)
{
    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        uint64_t due = set->word[w];

        while (due != 0) {
            uint32_t field = w * 64u + nvi_take_lowest(&due);

            nvi_hw_set(v, which, (enum nvirt_vmcs_field)field, next->field[field]);
        }
    }
}

void nvi_hw_fetch(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvi_field_set *set)
{
    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        uint64_t wanted = v->hw[which]->stale.word[w] & set->word[w];

        while (wanted != 0 && v->error == NVIRT_OK) {
            fetch_one(v, v->hw[which], w * 64u + nvi_take_lowest(&wanted));
        }
    }
}

/* ---- two sets that every nested exit moves: unrolled, which costs a third of a loop ---- */

/* What an exit loads into vmcs01 and nvirt did not look at when L1 left, as a rule. */
static inline bool is_block(enum nvirt_vmcs_field field, enum nvirt_vmcs_group group)
{
    switch (field) {
    case NVIRT_VMCS_GUEST_SS_AR:
    case NVIRT_VMCS_GUEST_INTERRUPTIBILITY:
        return false;
    case NVIRT_VMCS_GUEST_CR3:
    case NVIRT_VMCS_GUEST_CR4:
    case NVIRT_VMCS_GUEST_DR7:
    case NVIRT_VMCS_GUEST_DEBUGCTL:
    case NVIRT_VMCS_GUEST_PAT:
    case NVIRT_VMCS_GUEST_SYSENTER_CS:
    case NVIRT_VMCS_GUEST_SYSENTER_ESP:
    case NVIRT_VMCS_GUEST_SYSENTER_EIP:
        return true;
    default:
        return group == NVIRT_VMCS_GROUP_SEGMENTS || group == NVIRT_VMCS_GROUP_FLOW;
    }
}

static void fill_block_sets(struct nvirt_vmx_vcpu *v)
{
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (nvi_hw_is_flow(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group)) {                                    \
        nvi_field_add(&v->flow, NVIRT_VMCS_##NAME);                                                \
    }                                                                                              \
    if (is_block(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group)) {                                   \
        nvi_field_add(&v->block, NVIRT_VMCS_##NAME);                                               \
    }
#include <nvirt/vmcs_fields.def>
}

/* VMREAD of one field into the image, in a function that ends when it is refused. */
#define FETCH(hw, encoding, member)                                                                \
    do {                                                                                           \
        if (nvirt_port_vmread(v->cpu, encoding, &(hw)->image.member) != NVIRT_HW_OK) {             \
            nvi_hw_read_failed(v, encoding);                                                       \
            return;                                                                                \
        }                                                                                          \
    } while (0)

void nvi_hw_fetch_flow(struct nvirt_vmx_vcpu *v)
{
    struct nvi_hw_vmcs *hw = v->hw[NVI_02];

    if (!nvi_field_has_all(&hw->stale, &v->flow) || v->current != hw) {
        nvi_hw_fetch(v, NVI_02, &v->flow);
        return;
    }
    v->stats.vmreads += NVI_FLOW_FIELDS;
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (nvi_hw_is_flow(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group)) {                                    \
        FETCH(hw, encoding, member);                                                               \
    }
#include <nvirt/vmcs_fields.def>
    nvi_field_remove_all(&hw->stale, &v->flow);
}

void nvi_hw_fetch_for_entry(struct nvirt_vmx_vcpu *v)
{
    struct nvi_hw_vmcs *hw = v->hw[NVI_01];
    struct nvi_field_set read = { { 0 } };

    nvi_field_add(&read, NVIRT_VMCS_GUEST_SS_AR);
    nvi_field_add(&read, NVIRT_VMCS_GUEST_INTERRUPTIBILITY);
    nvi_field_add(&read, NVIRT_VMCS_GUEST_CR0);
    nvi_field_add(&read, NVIRT_VMCS_GUEST_EFER);
    if (!nvi_field_has_all(&hw->stale, &read) || v->current != hw) {
        return;
    }
    v->stats.vmreads += 4;
    FETCH(hw, NVI_ENCODING_GUEST_SS_AR, guest_ss_ar);
    FETCH(hw, NVI_ENCODING_GUEST_INTERRUPTIBILITY, guest_interruptibility);
    FETCH(hw, NVI_ENCODING_GUEST_CR0, guest_cr0);
    FETCH(hw, NVI_ENCODING_GUEST_EFER, guest_efer);
    nvi_field_remove_all(&hw->stale, &read);
}

void nvi_hw_fetch_shadow(struct nvirt_vmx_vcpu *v)
{
    struct nvi_hw_vmcs *hw = v->hw[NVI_SHADOW];
    struct nvi_field_set read = { { 0 } };

#define X(NAME, member) nvi_field_add(&read, NVIRT_VMCS_##NAME);
    NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
    if (!nvi_field_has_all(&hw->stale, &read) || !nvi_hw_make_current(v, hw)) {
        nvi_hw_fetch(v, NVI_SHADOW, &v->shadow.entry);
        return;
    }
    v->stats.vmreads += 6;
#define X(NAME, member) FETCH(hw, NVI_ENCODING_##NAME, member);
    NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
    nvi_field_remove_all(&hw->stale, &read);
}

void nvi_hw_block_changed(struct nvirt_vmx_vcpu *v)
{
    struct nvi_hw_vmcs *hw = v->hw[NVI_01];

    nvi_field_add_all(&hw->dirty, &v->block);
    nvi_field_remove_all(&hw->stale, &v->block);
}

/* ---- writing ---- */

static inline bool write_one(struct nvirt_vmx_vcpu *v, uint32_t encoding, uint64_t value)
{
    if (nvirt_port_vmwrite(v->cpu, encoding, value) != NVIRT_HW_OK) {
        failed(v, "nvirt: VMWRITE refused", encoding);
        return false;
    }
    return true;
}

/* @return false when an instruction was refused: all of it stays dirty. */
static bool write_block(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    v->stats.vmwrites += NVI_BLOCK_FIELDS;
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (is_block(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group) &&                                   \
        !write_one(v, encoding, hw->image.member)) {                                               \
        return false;                                                                              \
    }
#include <nvirt/vmcs_fields.def>
    nvi_field_remove_all(&hw->dirty, &v->block);
    return true;
}

void nvi_hw_block_copy(const struct nvirt_vmcs *image, uint64_t block[NVI_BLOCK_FIELDS])
{
    uint32_t i = 0;

#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (is_block(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group)) {                                   \
        block[i++] = image->member;                                                                \
    }
#include <nvirt/vmcs_fields.def>
}

void nvi_hw_block_restore(struct nvirt_vmx_vcpu *v, const uint64_t block[NVI_BLOCK_FIELDS])
{
    struct nvirt_vmcs *image = &v->hw[NVI_01]->image;
    uint32_t i = 0;

#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (is_block(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group)) {                                   \
        image->member = block[i++];                                                                \
    }
#include <nvirt/vmcs_fields.def>
    nvi_hw_block_changed(v);
}

/* The same, past the image: hardware knows these fields then. */
static bool write_block_due(struct nvirt_vmx_vcpu *v)
{
    const uint64_t *block = v->now->exit_memo.block;

    v->stats.vmwrites += NVI_BLOCK_FIELDS;
    nvi_field_add_all(&v->hw[NVI_01]->stale, &v->block);
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    if (is_block(NVIRT_VMCS_##NAME, NVIRT_VMCS_GROUP_##group) &&                                   \
        !write_one(v, encoding, *block++)) {                                                       \
        return false;                                                                              \
    }
#include <nvirt/vmcs_fields.def>
    v->block_due = false;
    return true;
}

static bool write_word(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw, uint32_t w)
{
    const uint16_t *encodings = &nvi_vmcs_encodings[w * 64u];
    const uint64_t *fields = &hw->image.field[w * 64u];
    uint64_t due = hw->dirty.word[w];

    do {
        uint32_t bit = (uint32_t)__builtin_ctzll(due);

        v->stats.vmwrites++;
        if (!write_one(v, encodings[bit], fields[bit])) {
            hw->dirty.word[w] = due;
            return false;
        }
        due &= due - 1;
    } while (due != 0);
    hw->dirty.word[w] = 0;
    return true;
}

void nvi_hw_commit(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    struct nvi_hw_vmcs *hw = v->hw[which];

    if (!nvi_hw_make_current(v, hw)) {
        return;
    }
    if (which == NVI_01 && v->block_due) {
        if (!write_block_due(v)) {
            return;
        }
    } else if (which == NVI_01 && nvi_field_has_all(&hw->dirty, &v->block) && !write_block(v, hw)) {
        return;
    }
    if ((hw->dirty.word[0] != 0 && !write_word(v, hw, 0)) ||
        (hw->dirty.word[1] != 0 && !write_word(v, hw, 1)) ||
        (hw->dirty.word[2] != 0 && !write_word(v, hw, 2)) ||
        (hw->dirty.word[3] != 0 && !write_word(v, hw, 3))) {
        return; /* Recorded. */
    }
}

/* ---- after a run ---- */

void nvi_hw_distrust(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    nvi_field_add_all(&v->hw[which]->stale, &v->changes[which]);
}

void nvi_hw_exited(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t reason)
{
    struct nvi_hw_vmcs *hw = v->hw[which];

    if ((reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0) {
        /* Such an entry saves nothing and reports only why [SDM 3C "VM-Entry Failures During or
         * After Loading Guest State"]. */
        nvi_field_add(&hw->stale, NVIRT_VMCS_EXIT_QUALIFICATION);
    } else {
        hw->launched = true;
        nvi_hw_distrust(v, which);
        hw->image.entry_interruption &= ~NVIRT_VMX_INTR_VALID;
    }
    hw->image.exit_reason = reason;
    nvi_field_remove(&hw->stale, NVIRT_VMCS_EXIT_REASON);
}

void nvi_hw_follow_lma(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    struct nvi_hw_vmcs *hw = v->hw[which];

    if (nvi_field_has(&hw->stale, NVIRT_VMCS_GUEST_EFER) ||
        !nvi_field_has(&hw->stale, NVIRT_VMCS_ENTRY_CONTROLS)) {
        return;
    }
    hw->image.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    if ((hw->image.guest_efer & NVIRT_EFER_LMA) != 0) {
        hw->image.entry_controls |= NVIRT_VMX_ENTRY_CTL_IA32E;
    }
    nvi_field_remove(&hw->stale, NVIRT_VMCS_ENTRY_CONTROLS);
}

static void clear_active(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    if (hw->active) {
        (void)vmclear(v, hw);
    }
}

void nvi_hw_clear_all(struct nvirt_vmx_vcpu *v)
{
    clear_active(v, &v->hw01);
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        clear_active(v, &v->pair[i].hw);
        clear_active(v, &v->pair[i].shadow);
    }
}

uint32_t nvi_hw_instruction_error(struct nvirt_vmx_vcpu *v)
{
    enum nvi_which which = nvi_vmx_running(v);

    nvi_field_add(&v->hw[which]->stale, NVIRT_VMCS_VM_INSTRUCTION_ERROR);
    return (uint32_t)nvi_hw_get(v, which, NVIRT_VMCS_VM_INSTRUCTION_ERROR);
}

static enum nvirt_hw flush_one(struct nvirt_vmx_vcpu *v, const struct nvirt_flush_op *op)
{
    uint16_t vpid = (uint16_t)op->tag;
    nvirt_gva nowhere = nvirt_gva_make(0);

    switch (op->kind) {
    case NVIRT_FLUSH_VPID_ADDRESS:
        v->stats.flushes_address++;
        return nvirt_port_invvpid(v->cpu, NVIRT_VMX_INVVPID_ADDRESS, vpid,
                                  nvirt_gva_make(op->operand));
    case NVIRT_FLUSH_VPID_NOT_GLOBAL:
        v->stats.flushes_tag++;
        return nvirt_port_invvpid(v->cpu, NVIRT_VMX_INVVPID_SINGLE_NON_GLOBAL, vpid, nowhere);
    case NVIRT_FLUSH_VPID:
        v->stats.flushes_tag++;
        return nvirt_port_invvpid(v->cpu, NVIRT_VMX_INVVPID_SINGLE, vpid, nowhere);
    case NVIRT_FLUSH_VPID_ALL:
        v->stats.flushes_all++;
        return nvirt_port_invvpid(v->cpu, NVIRT_VMX_INVVPID_ALL, 0, nowhere);
    case NVIRT_FLUSH_ROOT:
        v->stats.flushes_root++;
        return nvirt_port_invept(v->cpu, NVIRT_VMX_INVEPT_SINGLE, op->operand);
    case NVIRT_FLUSH_ROOT_ALL:
        v->stats.flushes_all++;
        return nvirt_port_invept(v->cpu, NVIRT_VMX_INVEPT_ALL, 0);
    default:
        return NVIRT_HW_VMFAIL_VALID; /* An operation of the other vendor's. */
    }
}

void nvi_hw_flush(struct nvirt_vmx_vcpu *v, const struct nvirt_flush_set *set, uint32_t cpu)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct nvirt_flush_op *op = &set->op[i];

        if (flush_one(v, op) == NVIRT_HW_OK) {
            nvirt_tlb_done(&v->tlb, cpu, op);
        } else {
            failed(v, "nvirt: INVEPT or INVVPID refused", (uint64_t)op->kind);
        }
    }
}
