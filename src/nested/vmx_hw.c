/* SPDX-License-Identifier: MIT */
/*
 * The edge: the one file of nested VMX that executes VMX instructions. It knows of each field of
 * vmcs01 and vmcs02 whether image and hardware agree, reads a field when it is first wanted after
 * an exit, and writes before an entry what changed. Any VMCS may be made current at any time to
 * fetch from it, so laziness is never a question of correctness, only of one VMPTRLD more.
 *
 * [SDM 3C "Virtual-Machine Control Structures"]
 */
#include "nested/vmx_internal.h"

/* The table's encodings side by side: looked up for every VMREAD and VMWRITE. */
static const uint16_t encodings[NVIRT_VMCS_FIELD_COUNT] = {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) encoding,
#include <nvirt/vmcs_fields.def>
};

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

/* Fields of vmcs01 that L1's host state replaces: all that an exit loads, and nothing of L0's. */
static bool exit_loads(enum nvirt_vmcs_field field)
{
    const struct nvirt_vmcs_field_info *info = nvirt_vmcs_info(field);

    switch (field) {
    case NVIRT_VMCS_GUEST_DEBUGCTL:
    case NVIRT_VMCS_GUEST_PAT:
    case NVIRT_VMCS_GUEST_EFER:
    case NVIRT_VMCS_GUEST_SYSENTER_CS:
    case NVIRT_VMCS_GUEST_SYSENTER_ESP:
    case NVIRT_VMCS_GUEST_SYSENTER_EIP:
    case NVIRT_VMCS_GUEST_INTERRUPTIBILITY:
    case NVIRT_VMCS_GUEST_ACTIVITY:
    case NVIRT_VMCS_GUEST_PENDING_DEBUG:
    case NVIRT_VMCS_CR0_SHADOW:
    case NVIRT_VMCS_CR4_SHADOW:
    case NVIRT_VMCS_ENTRY_CONTROLS:
        return true;
    case NVIRT_VMCS_GUEST_PDPTE0:
    case NVIRT_VMCS_GUEST_PDPTE1:
    case NVIRT_VMCS_GUEST_PDPTE2:
    case NVIRT_VMCS_GUEST_PDPTE3:
        return false;
    default:
        return info->group == NVIRT_VMCS_GROUP_SEGMENTS ||
               info->group == NVIRT_VMCS_GROUP_REGISTERS;
    }
}

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

        if (!nvirt_vmcs_field_exists(&v->caps, field)) {
            continue;
        }
        nvi_field_add(&v->exists, i);
        if (kind != NVIRT_VMCS_KIND_EXIT && !is_pdpte(field)) {
            nvi_field_add(&v->merged, i);
        }
        if (exit_loads(field)) {
            nvi_field_add(&v->loaded, i);
        }
        if (kind == NVIRT_VMCS_KIND_EXIT || guest) {
            nvi_field_add(&v->changes[NVI_01], i);
        }
        if (kind == NVIRT_VMCS_KIND_EXIT ||
            (guest && (is_shown_to_l1(v, field) || is_pdpte(field)))) {
            nvi_field_add(&v->changes[NVI_02], i);
        }
        if (guest && is_shown_to_l1(v, field)) {
            nvi_field_add(&v->guest, i);
        }
    }
    /* IA-32e-mode guest follows EFER.LMA at each exit. The valid bit of the event to inject changes
     * too, but always to 0: that needs no read. */
    nvi_field_add(&v->changes[NVI_01], NVIRT_VMCS_ENTRY_CONTROLS);
    nvi_field_add(&v->changes[NVI_02], NVIRT_VMCS_ENTRY_CONTROLS);
}

static bool vmclear(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];

    v->stats.vmclears++;
    if (nvirt_port_vmclear(v->cpu, hw->hpa) != NVIRT_HW_OK) {
        failed(v, "nvirt: VMCLEAR refused", hw->hpa.value);
        return false;
    }
    hw->active = false;
    hw->launched = false;
    if (v->current == which) {
        v->current = NVI_NONE;
    }
    return true;
}

/* A region that never was a VMCS holds chance contents: all its fields are to be written. */
static void first_use(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];

    if (hw->initialised || !vmclear(v, which)) {
        return;
    }
    hw->initialised = true;
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (nvi_field_has(&v->exists, i) &&
            nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) != NVIRT_VMCS_KIND_EXIT) {
            nvi_field_add(&hw->dirty, i);
        }
    }
}

static bool switch_current(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];

    if (v->cpu == NULL) {
        failed(v, "nvirt: VMCS wanted without a CPU", hw->hpa.value);
        return false;
    }
    first_use(v, which);
    v->stats.vmptrlds++;
    if (!hw->initialised || nvirt_port_vmptrld(v->cpu, hw->hpa) != NVIRT_HW_OK) {
        failed(v, "nvirt: VMPTRLD refused", hw->hpa.value);
        return false;
    }
    hw->active = true;
    v->current = which;
    return true;
}

static inline bool make_current(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    return v->current == which || switch_current(v, which);
}

static void fetch_one(struct nvirt_vmx_vcpu *v, enum nvi_which which, uint32_t field)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];
    uint32_t encoding = encodings[field];
    uint64_t value = 0;

    if (!make_current(v, which)) {
        return;
    }
    v->stats.vmreads++;
    if (nvirt_port_vmread(v->cpu, encoding, &value) != NVIRT_HW_OK) {
        failed(v, "nvirt: VMREAD refused", encoding);
        return;
    }
    hw->image.field[field] = value;
    nvi_field_remove(&hw->stale, field);
}

uint64_t nvi_hw_get_stale(struct nvirt_vmx_vcpu *v, enum nvi_which which,
                          enum nvirt_vmcs_field field)
{
    fetch_one(v, which, (uint32_t)field);
    return nvi_field_has(&v->hw[which].stale, (uint32_t)field) ? 0
                                                               : v->hw[which].image.field[field];
}

void nvi_hw_set(struct nvirt_vmx_vcpu *v, enum nvi_which which, enum nvirt_vmcs_field field,
                uint64_t value)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];
    uint64_t fitting;

    /* What the image holds fits its field: the most frequent case needs no look at the width. */
    if (!nvi_field_has(&hw->stale, (uint32_t)field) && hw->image.field[field] == value) {
        return;
    }
    fitting = nvirt_vmcs_truncate(field, value);
    if (!nvi_field_has(&hw->stale, (uint32_t)field) && hw->image.field[field] == fitting) {
        return;
    }
    hw->image.field[field] = fitting;
    if (nvi_field_has(&v->exists, (uint32_t)field)) {
        nvi_field_remove(&hw->stale, (uint32_t)field);
        nvi_field_add(&hw->dirty, (uint32_t)field);
    }
}

/* Calls for each member of a set would hide the cost: the words are walked bit by bit here. */
static uint32_t take_lowest(uint64_t *word)
{
    uint32_t bit = (uint32_t)__builtin_ctzll(*word);

    *word &= *word - 1;
    return bit;
}

/* Fields of word @w of a set in which @next and the image disagree. */
static uint64_t differing(const struct nvirt_vmcs *next, const struct nvirt_vmcs *image, uint32_t w)
{
    uint64_t differ = 0;

    for (uint32_t bit = 0; bit < 64u && w * 64u + bit < NVIRT_VMCS_FIELD_COUNT; bit++) {
        differ |= (uint64_t)(next->field[w * 64u + bit] != image->field[w * 64u + bit]) << bit;
    }
    return differ;
}

void nvi_hw_replace(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvirt_vmcs *next,
                    const struct nvi_field_set *set)
{
    const struct nvi_hw_vmcs *hw = &v->hw[which];

    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        uint64_t due = set->word[w] & (hw->stale.word[w] | differing(next, &hw->image, w));

        while (due != 0) {
            uint32_t field = w * 64u + take_lowest(&due);

            nvi_hw_set(v, which, (enum nvirt_vmcs_field)field, next->field[field]);
        }
    }
}

void nvi_hw_fetch(struct nvirt_vmx_vcpu *v, enum nvi_which which, const struct nvi_field_set *set)
{
    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        uint64_t wanted = v->hw[which].stale.word[w] & set->word[w];

        while (wanted != 0 && v->error == NVIRT_OK) {
            fetch_one(v, which, w * 64u + take_lowest(&wanted));
        }
    }
}

void nvi_hw_commit(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];

    if (!make_current(v, which)) {
        return;
    }
    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        uint64_t due = hw->dirty.word[w];

        while (due != 0) {
            uint32_t field = w * 64u + take_lowest(&due);
            uint32_t encoding = encodings[field];

            v->stats.vmwrites++;
            if (nvirt_port_vmwrite(v->cpu, encoding, hw->image.field[field]) != NVIRT_HW_OK) {
                failed(v, "nvirt: VMWRITE refused", encoding);
                return;
            }
            nvi_field_remove(&hw->dirty, field);
        }
    }
}

static void became_stale(struct nvirt_vmx_vcpu *v, enum nvi_which which, bool entry_failed)
{
    struct nvi_hw_vmcs *hw = &v->hw[which];

    if (entry_failed) {
        /* Such an entry saves nothing and reports only why [SDM 3C "VM-Entry Failures During or
         * After Loading Guest State"]. */
        nvi_field_add(&hw->stale, NVIRT_VMCS_EXIT_QUALIFICATION);
        return;
    }
    hw->launched = true;
    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        hw->stale.word[w] |= v->changes[which].word[w];
    }
    nvi_field_remove(&hw->stale, NVIRT_VMCS_EXIT_REASON);
    hw->image.entry_interruption &= ~NVIRT_VMX_INTR_VALID;
}

uint32_t nvi_hw_exit(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    uint32_t reason;

    v->current = which;
    nvi_field_add(&v->hw[which].stale, NVIRT_VMCS_EXIT_REASON);
    reason = (uint32_t)nvi_hw_get(v, which, NVIRT_VMCS_EXIT_REASON);
    became_stale(v, which, (reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0);
    return reason;
}

void nvi_hw_clear(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    if (v->hw[which].active) {
        (void)vmclear(v, which);
    }
}

uint32_t nvi_hw_instruction_error(struct nvirt_vmx_vcpu *v)
{
    enum nvi_which which = nvi_vmx_running(v);

    nvi_field_add(&v->hw[which].stale, NVIRT_VMCS_VM_INSTRUCTION_ERROR);
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

void nvi_hw_flush(struct nvirt_vmx_vcpu *v, const struct nvirt_flush_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        const struct nvirt_flush_op *op = &set->op[i];

        /* VPID 0 has no INVVPID: without VPIDs every entry and exit flushes by itself. */
        if (op->kind <= NVIRT_FLUSH_VPID && op->tag == 0) {
            continue;
        }
        if (flush_one(v, op) != NVIRT_HW_OK) {
            failed(v, "nvirt: INVEPT or INVVPID refused", (uint64_t)op->kind);
        }
    }
}
