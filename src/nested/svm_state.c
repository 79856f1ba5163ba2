/* SPDX-License-Identifier: MIT */
/*
 * Saved state of nested SVM: what <nvirt/state.h> lays down, from the vCPU and back. A restore
 * trusts nothing. vmcb12 with L2's present registers in it passes the checks of VMRUN and is entered
 * as by VMRUN; then the registers are in vmcb02 exactly as they were saved, or it is refused.
 */
#include "nested/svm_internal.h"

#include "state/rows.h"
#include "vmcb/tsc.h"

#define INTERRUPT_WAITS NVIRT_BIT(8)
#define VECTOR NVIRT_BITS(7, 0)
#define CHUNK 8u

/** Values of the item rows. */
struct items {
    uint64_t value[NVIRT_STATE_SVM_ITEM_COUNT];
};

#define ITEM(items, NAME) ((items)->value[NVIRT_STATE_SVM_##NAME])

/* ---- which fields ---- */

/* The MOVES column of the table. */
enum moves {
    MOVES_CONTROL,
    MOVES_UPDATED,
    MOVES_EXIT,
    MOVES_STATE,
    MOVES_LOAD,
    MOVES_OPTION,
    MOVES_NEVER
};

/** A field of the VMCB; one row for each eight bytes of it. */
struct slot {
    uint16_t offset;
    uint16_t bytes;
    enum moves moves;
};

static const struct slot slots[] = {
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text)                            \
    { offset, bytes, MOVES_##moves },
#define NVIRT_VMCB_SEGMENT(name, offset, clean, moves, text) { offset, 16, MOVES_##moves },
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, clean, moves, text)                     \
    { offset, bytes, MOVES_##moves },
#include <nvirt/vmcb_fields.def>
};

#define SLOTS (sizeof slots / sizeof slots[0])

#define IS(slot, name) ((slot)->offset == offsetof(struct nvirt_vmcb, name))

/* What VMRUN reads of vmcb12: the return address of a software interrupt is among it. */
static bool is_control12(const struct slot *slot)
{
    return slot->moves == MOVES_CONTROL || slot->moves == MOVES_UPDATED ||
           slot->moves == MOVES_STATE || slot->moves == MOVES_OPTION || IS(slot, next_rip);
}

/* L2's present state: its registers, and the event that it is to get. */
static bool is_l2(const struct slot *slot)
{
    return slot->moves == MOVES_STATE || slot->moves == MOVES_OPTION || IS(slot, int_ctl) ||
           IS(slot, int_state) || IS(slot, event_inj) || IS(slot, next_rip);
}

static bool is_of_class(const struct slot *slot, uint32_t kind)
{
    return (kind == NVIRT_STATE_CONTROL12 && is_control12(slot)) ||
           (kind == NVIRT_STATE_L2 && is_l2(slot));
}

static uint32_t chunk_bytes(const struct slot *slot, uint32_t at)
{
    return slot->bytes - at < CHUNK ? slot->bytes - at : CHUNK;
}

static uint64_t read_chunk(const struct nvirt_vmcb *vmcb, const struct slot *slot, uint32_t at)
{
    uint64_t value = 0;

    __builtin_memcpy(&value, (const uint8_t *)vmcb + slot->offset + at, chunk_bytes(slot, at));
    return value;
}

/* What hardware reads as the return address of an event that it injects; after an exit without one
 * it tells of the instruction that exited, which the host is through with. */
static bool next_rip_counts(const struct nvirt_svm_vcpu *v)
{
    return (v->vmcb02->event_inj & NVIRT_SVM_EVENT_VALID) != 0 &&
           (v->offer.features & NVIRT_SVM_FEATURE_NRIPS) != 0;
}

/* Bits of an optional register of L2's that may be set, by what is in force in vmcb02. */
static uint64_t option_bits(const struct nvirt_svm_vcpu *v, const struct slot *slot)
{
    if (IS(slot, spec_ctrl)) {
        return (v->cpu.features & NVIRT_SVM_FEATURE_SPEC_CTRL) != 0 ? NVIRT_SVM_SPEC_CTRL_VALID : 0;
    }
    if ((v->vmcb02->virt_ext & NVIRT_SVM_LBR_ENABLE) == 0) {
        return 0;
    }
    return IS(slot, dbgctl) ? NVIRT_SVM_DEBUGCTL_VALID : ~UINT64_C(0);
}

/* Of some fields vmcb02 has more than L2's. */
static uint64_t l2_value(const struct nvirt_svm_vcpu *v, const struct slot *slot, uint32_t at)
{
    uint64_t value = read_chunk(v->vmcb02, slot, at);

    if (IS(slot, int_ctl)) {
        return value & nvi_svm_int_ctl_of_l2(&v->vmcb12, &v->offer);
    }
    if (IS(slot, int_state)) {
        return value & NVIRT_SVM_INTERRUPT_SHADOW;
    }
    if (IS(slot, event_inj)) {
        return (value & NVIRT_SVM_EVENT_VALID) != 0 ? value : 0;
    }
    if (IS(slot, next_rip)) {
        return next_rip_counts(v) ? value : 0;
    }
    return slot->moves == MOVES_OPTION ? value & option_bits(v, slot) : value;
}

/* ---- saving ---- */

static void put_item(struct nvi_rows_out *out, enum nvirt_state_svm_item item, uint64_t value)
{
    nvi_rows_put(out, nvi_row_id(NVIRT_STATE_ITEM, (uint32_t)item), value);
}

static void save_events(const struct nvirt_svm_vcpu *v, struct nvi_rows_out *out)
{
    const struct nvi_svm_waiting *w = &v->waiting;
    bool exception = w->exception != 0;

    put_item(out, NVIRT_STATE_SVM_NMI, w->nmi);
    put_item(out, NVIRT_STATE_SVM_NMI_MASKED, w->nmi_masked);
    put_item(out, NVIRT_STATE_SVM_IRET_PENDING, w->iret_pending);
    put_item(out, NVIRT_STATE_SVM_IRET_RIP, w->iret_pending ? w->iret_rip : 0);
    put_item(out, NVIRT_STATE_SVM_IRET_RSP, w->iret_pending ? w->iret_rsp : 0);
    put_item(out, NVIRT_STATE_SVM_INTERRUPT, w->interrupt ? INTERRUPT_WAITS | w->vector : 0);
    put_item(out, NVIRT_STATE_SVM_EXCEPTION, w->exception);
    put_item(out, NVIRT_STATE_SVM_EXCEPTION_LEVEL, exception ? w->exception_level : 0);
    put_item(out, NVIRT_STATE_SVM_EXCEPTION_ADDRESS, exception ? w->address : 0);
}

/* Of an L2 that is active, and whose flushes are nvirt's: any other is asked for it at its VMRUN. */
static void save_who(const struct nvirt_svm_vcpu *v, struct nvi_rows_out *out)
{
    bool direct = v->level == 2 && nvi_svm_is_direct(v);

    put_item(out, NVIRT_STATE_SVM_DIRECT, direct);
    put_item(out, NVIRT_STATE_SVM_DIRECT_VM, direct ? v->who.vm : 0);
    put_item(out, NVIRT_STATE_SVM_DIRECT_VP, direct ? v->who.vp : 0);
    put_item(out, NVIRT_STATE_SVM_DIRECT_ASSIST, direct ? v->who.assist_page : 0);
}

static void save_items(const struct nvirt_svm_vcpu *v, struct nvi_rows_out *out)
{
    bool active = v->level == 2;

    put_item(out, NVIRT_STATE_SVM_LEVEL, v->level);
    put_item(out, NVIRT_STATE_SVM_SVME, v->svme);
    put_item(out, NVIRT_STATE_SVM_GIF, v->gif);
    put_item(out, NVIRT_STATE_SVM_VM_CR, v->vm_cr);
    put_item(out, NVIRT_STATE_SVM_HSAVE_PA, v->hsave_pa);
    put_item(out, NVIRT_STATE_SVM_SVM_KEY, v->svm_key);
    put_item(out, NVIRT_STATE_SVM_VMCB12, active ? v->vmcb12_address.value : 0);
    put_item(out, NVIRT_STATE_SVM_V_IRQ, active && v->v_irq);
    put_item(out, NVIRT_STATE_SVM_V_NMI, active && v->v_nmi);
    put_item(out, NVIRT_STATE_SVM_V_GIF, active && v->has_vgif && v->v_gif);
    put_item(out, NVIRT_STATE_SVM_TSC_RATIO, v->tsc_ratio12);
    put_item(out, NVIRT_STATE_SVM_BARRIER, v->barrier);
    save_events(v, out);
    save_who(v, out);
}

static void save_fields(const struct nvirt_svm_vcpu *v, struct nvi_rows_out *out,
                        enum nvirt_state_class kind)
{
    for (size_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &slots[i];

        for (uint32_t at = 0; at < slot->bytes && is_of_class(slot, kind); at += CHUNK) {
            uint64_t value = kind == NVIRT_STATE_L2 ? l2_value(v, slot, at)
                                                    : read_chunk(&v->vmcb12, slot, at);

            if (value != 0) {
                nvi_rows_put(out, nvi_row_id(kind, slot->offset + at), value);
            }
        }
    }
}

enum nvirt_status nvirt_svm_save(struct nvirt_svm_vcpu *v, void *buffer, size_t bytes, size_t *used)
{
    struct nvi_rows_out out;

    if (v == NULL || buffer == NULL || used == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (v->prepared) {
        return NVIRT_ERR_STATE;
    }
    nvi_svm_leave_vmcb01(v);
    nvi_rows_begin(&out, buffer, bytes);
    save_items(v, &out);
    if (v->level == 2) {
        save_fields(v, &out, NVIRT_STATE_CONTROL12);
        save_fields(v, &out, NVIRT_STATE_L2);
    }
    *used = nvi_rows_end(&out, NVIRT_STATE_SVM);
    return *used > bytes ? NVIRT_ERR_SIZE : NVIRT_OK;
}

/* ---- restoring: the items ---- */

static bool flags_are_valid(const struct items *items)
{
    static const uint8_t flags[] = { NVIRT_STATE_SVM_SVME,        NVIRT_STATE_SVM_GIF,
                                     NVIRT_STATE_SVM_V_IRQ,       NVIRT_STATE_SVM_BARRIER,
                                     NVIRT_STATE_SVM_V_NMI,       NVIRT_STATE_SVM_V_GIF,
                                     NVIRT_STATE_SVM_NMI,         NVIRT_STATE_SVM_NMI_MASKED,
                                     NVIRT_STATE_SVM_IRET_PENDING, NVIRT_STATE_SVM_DIRECT };

    return nvi_rows_flags_valid(items->value, flags, sizeof flags);
}

static bool is_page_of_l1(const struct nvirt_svm_vcpu *v, uint64_t address)
{
    return (address & ~NVIRT_PAGE_MASK) == 0 && (address >> v->offer.physical_bits) == 0;
}

/* [APM 2 "SVM Related MSRs"]: what WRMSR would take. Without SVM there is no GIF to clear. */
static bool registers_are_valid(const struct nvirt_svm_vcpu *v, const struct items *items)
{
    uint64_t vm_cr = ITEM(items, VM_CR);
    bool lock = (v->offer.features & NVIRT_SVM_FEATURE_SVM_LOCK) != 0;

    if ((vm_cr & ~NVI_SVM_VM_CR_WRITABLE) != 0 || !is_page_of_l1(v, ITEM(items, HSAVE_PA)) ||
        (ITEM(items, SVM_KEY) != 0 && !lock)) {
        return false;
    }
    if (ITEM(items, TSC_RATIO) > NVI_SVM_TSC_RATIO_MAX ||
        (ITEM(items, TSC_RATIO) != NVIRT_SVM_TSC_RATIO_ONE &&
         (v->offer.features & NVIRT_SVM_FEATURE_TSC_RATE) == 0)) {
        return false;
    }
    return ITEM(items, SVME) != 0 ? (vm_cr & NVIRT_SVM_VM_CR_SVMDIS) == 0 : ITEM(items, GIF) != 0;
}

static bool level_is_valid(const struct nvirt_svm_vcpu *v, const struct items *items)
{
    if (ITEM(items, LEVEL) == 1) {
        return ITEM(items, VMCB12) == 0 && ITEM(items, V_IRQ) == 0 && ITEM(items, V_NMI) == 0 &&
               ITEM(items, V_GIF) == 0;
    }
    return ITEM(items, LEVEL) == 2 && ITEM(items, SVME) != 0 &&
           is_page_of_l1(v, ITEM(items, VMCB12));
}

/* [TLFS "Direct Virtual Flush"] */
static bool direct_is_valid(const struct nvirt_svm_vcpu *v, const struct items *items)
{
    if (ITEM(items, DIRECT) == 0) {
        return ITEM(items, DIRECT_VM) == 0 && ITEM(items, DIRECT_VP) == 0 &&
               ITEM(items, DIRECT_ASSIST) == 0;
    }
    return nvi_svm_direct_is_offered(v) && ITEM(items, LEVEL) == 2 &&
           ITEM(items, DIRECT_VP) <= UINT32_MAX && is_page_of_l1(v, ITEM(items, DIRECT_ASSIST));
}

static bool interrupt_is_valid(uint64_t word)
{
    return word == 0 || (word & ~VECTOR) == INTERRUPT_WAITS;
}

static bool exception_is_valid(const struct items *items)
{
    uint64_t word = ITEM(items, EXCEPTION);
    uint64_t level = ITEM(items, EXCEPTION_LEVEL);
    uint64_t address = ITEM(items, EXCEPTION_ADDRESS);

    if (word == 0) {
        return level == 0 && address == 0;
    }
    return nvi_svm_is_waiting_exception(word) && (level == 1 || level == 2) &&
           (address == 0 || (word & VECTOR) == NVIRT_VECTOR_PF);
}

static bool events_are_valid(const struct items *items)
{
    bool iret = ITEM(items, IRET_PENDING) != 0;

    return interrupt_is_valid(ITEM(items, INTERRUPT)) && exception_is_valid(items) &&
           (iret || (ITEM(items, IRET_RIP) == 0 && ITEM(items, IRET_RSP) == 0));
}

static bool items_are_valid(const struct nvirt_svm_vcpu *v, const struct items *items)
{
    return flags_are_valid(items) && registers_are_valid(v, items) && level_is_valid(v, items) &&
           direct_is_valid(v, items) && events_are_valid(items);
}

/* ---- restoring: the fields ---- */

/* The field that a row is of; null when there is none of its class that begins its eight bytes
 * there, or the value does not fit. */
static const struct slot *slot_of(struct nvi_row row)
{
    uint32_t offset = nvi_row_number(row.id);

    for (size_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &slots[i];
        uint32_t at = offset - slot->offset;
        uint32_t bytes;

        if (offset < slot->offset || at >= slot->bytes) {
            continue;
        }
        bytes = chunk_bytes(slot, at);
        return at % CHUNK == 0 && is_of_class(slot, nvi_row_class(row.id)) &&
                       (bytes == CHUNK || row.value >> (8 * bytes) == 0)
                   ? slot
                   : NULL;
    }
    return NULL;
}

static bool fields_are_valid(const struct items *items, const struct nvi_rows_in *in)
{
    for (uint32_t i = NVIRT_STATE_SVM_ITEM_COUNT; i < in->count; i++) {
        if (ITEM(items, LEVEL) != 2 || slot_of(nvi_rows_get(in, i)) == NULL) {
            return false;
        }
    }
    return true;
}

/* Makes the fields of one class in @p to what their rows say; a row that was left out is a 0. */
static void apply(const struct nvi_rows_in *in, enum nvirt_state_class kind, struct nvirt_vmcb *to)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (is_of_class(&slots[i], kind)) {
            __builtin_memset((uint8_t *)to + slots[i].offset, 0, slots[i].bytes);
        }
    }
    for (uint32_t i = NVIRT_STATE_SVM_ITEM_COUNT; i < in->count; i++) {
        struct nvi_row row = nvi_rows_get(in, i);
        uint32_t offset = nvi_row_number(row.id);

        if (nvi_row_class(row.id) == (uint32_t)kind) {
            const struct slot *slot = slot_of(row);

            __builtin_memcpy((uint8_t *)to + offset, &row.value,
                             chunk_bytes(slot, offset - slot->offset));
        }
    }
}

static bool rule_holds(const struct nvirt_svm_vcpu *v, const struct nvi_svm_check_in *in)
{
    enum nvi_svm_rule rule = nvi_svm_check(in);

    if (rule != NVI_SVM_RULE_NONE) {
        nvirt_port_trace(v->vm->port, nvi_svm_rule_name(rule), 0);
    }
    return rule == NVI_SVM_RULE_NONE;
}

#define REGISTER_GROUPS                                                                            \
    (NVIRT_VMCB_CLEAN_CRX | NVIRT_VMCB_CLEAN_DRX | NVIRT_VMCB_CLEAN_SEG | NVIRT_VMCB_CLEAN_NP)

/* L2 itself may have set what its CPU lets it set of CR4, and its PAT is loaded with nested tables of
 * L1's and without. */
static bool registers_are_l2s(struct nvirt_svm_vcpu *v)
{
    uint64_t np_control = v->vmcb12.np_control;
    uint64_t n_cr3 = v->vmcb12.n_cr3;
    struct nvirt_svm_caps caps = v->offer;
    const struct nvi_svm_check_in in = {&v->vmcb12, &caps, true, REGISTER_GROUPS};
    bool valid;

    caps.cr4_valid = v->cpu.cr4_valid;
    caps.features |= NVIRT_SVM_FEATURE_NP;
    v->vmcb12.np_control |= NVIRT_SVM_NP_ENABLE;
    v->vmcb12.n_cr3 = 0;
    valid = rule_holds(v, &in);
    v->vmcb12.np_control = np_control;
    v->vmcb12.n_cr3 = n_cr3;
    return valid;
}

static bool controls_are_l1s(const struct nvirt_svm_vcpu *v)
{
    const struct nvi_svm_check_in in = {
        &v->vmcb12, &v->offer, (v->vmcb01->cr0 & NVIRT_CR0_PG) != 0,
        NVIRT_VMCB_CLEAN_INTERCEPTS | NVIRT_VMCB_CLEAN_IOPM | NVIRT_VMCB_CLEAN_ASID |
            NVIRT_VMCB_CLEAN_NP};

    return rule_holds(v, &in);
}

static bool chunk_passes(const struct nvirt_svm_vcpu *v, const struct slot *slot, uint32_t at)
{
    uint64_t value = read_chunk(&v->vmcb12, slot, at);

    if (IS(slot, next_rip) && (v->offer.features & NVIRT_SVM_FEATURE_NRIPS) == 0) {
        return value == 0; /* The merge takes RIP. */
    }
    return slot->moves == MOVES_OPTION ? (value & ~option_bits(v, slot)) == 0
                                       : value == read_chunk(v->vmcb02, slot, at);
}

/* Whether the merge passes every bit of L2's. It leaves in vmcb02 what nobody uses. */
static bool merge_passes_all(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_merge_in in = nvi_svm_merge_input(v, NVIRT_VMCB_CLEAN_ALL);
    bool np12 = nvi_svm_np12(&v->vmcb12, &v->offer);

    v->vmcb12_kept = false;
    /* These the merge leaves to the entry. */
    nvirt_vmcb_set_int_ctl(v->vmcb02, v->vmcb02->int_ctl & ~NVI_SVM_INT_CTL_OF_ENTRY);
    nvi_svm_merge(&in, v->vmcb02);
    for (size_t i = 0; i < SLOTS; i++) {
        const struct slot *slot = &slots[i];

        if (!is_l2(slot) || (IS(slot, g_pat) && !np12)) {
            continue;
        }
        for (uint32_t at = 0; at < slot->bytes; at += CHUNK) {
            if (!chunk_passes(v, slot, at)) {
                return false;
            }
        }
    }
    return true;
}

/* ---- restoring: all of it ---- */

/* What nvirt and hardware remember belongs to memory that may be another's now. */
static void forget_caches(struct nvirt_svm_vcpu *v)
{
    nvi_svm_unpin_all(v);
    nvi_mmu_drop_all(&v->mmu);
    nvirt_tlb_forget(&v->tlb);
    nvi_hv_forget_l2(v->hv, &v->tlb);
    v->root = NULL;
    v->vmcb12_kept = false;
    nvi_svm_leave_vmcb01(v);
    v->events02 = NVI_SVM_EVENTS_UNKNOWN;
}

static void copy_options(const struct nvirt_vmcb *from, struct nvirt_vmcb *to)
{
    nvirt_vmcb_set_dbgctl(to, from->dbgctl);
    nvirt_vmcb_set_br_from(to, from->br_from);
    nvirt_vmcb_set_br_to(to, from->br_to);
    nvirt_vmcb_set_last_excp_from(to, from->last_excp_from);
    nvirt_vmcb_set_last_excp_to(to, from->last_excp_to);
    nvirt_vmcb_set_spec_ctrl(to, from->spec_ctrl);
}

static void restore_l2(struct nvirt_svm_vcpu *v, const struct nvi_rows_in *in)
{
    nvi_svm_enter(v, NVIRT_VMCB_CLEAN_ALL);
    /* What L1 shares with L2 is L2's at present: task priority, PAT, optional registers. */
    nvirt_vmcb_set_int_ctl(v->vmcb02, v->vmcb12.int_ctl);
    nvirt_vmcb_set_g_pat(v->vmcb02, v->vmcb12.g_pat);
    copy_options(&v->vmcb12, v->vmcb02);
    /* From here on vmcb12 is L1's again. */
    apply(in, NVIRT_STATE_CONTROL12, &v->vmcb12);
    v->has_vgif = nvi_svm_vgif12(&v->vmcb12, &v->offer);
    v->masking12 = (v->vmcb12.int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
}

static void restore_events(struct nvirt_svm_vcpu *v, const struct items *items)
{
    struct nvi_svm_waiting *w = &v->waiting;

    __builtin_memset(w, 0, sizeof *w);
    w->nmi = ITEM(items, NMI) != 0;
    w->nmi_masked = ITEM(items, NMI_MASKED) != 0;
    w->iret_pending = ITEM(items, IRET_PENDING) != 0;
    w->iret_rip = ITEM(items, IRET_RIP);
    w->iret_rsp = ITEM(items, IRET_RSP);
    w->interrupt = ITEM(items, INTERRUPT) != 0;
    w->vector = (uint8_t)(ITEM(items, INTERRUPT) & VECTOR);
    w->exception = ITEM(items, EXCEPTION);
    w->exception_waits = w->exception != 0;
    w->exception_level = (uint32_t)ITEM(items, EXCEPTION_LEVEL);
    w->address = ITEM(items, EXCEPTION_ADDRESS);
}

static void restore_registers(struct nvirt_svm_vcpu *v, const struct items *items)
{
    v->svme = ITEM(items, SVME) != 0;
    v->gif = ITEM(items, GIF) != 0;
    v->vm_cr = ITEM(items, VM_CR);
    v->hsave_pa = ITEM(items, HSAVE_PA);
    v->svm_key = ITEM(items, SVM_KEY);
    v->v_irq = ITEM(items, V_IRQ) != 0;
    v->v_nmi = ITEM(items, V_NMI) != 0;
    v->v_gif = ITEM(items, V_GIF) != 0;
    v->barrier = ITEM(items, BARRIER) != 0;
}

/* L1 has SVM off: what v->vmcb12 holds is of no account. */
static bool l2_is_valid(struct nvirt_svm_vcpu *v, const struct items *items,
                        const struct nvi_rows_in *in)
{
    apply(in, NVIRT_STATE_CONTROL12, &v->vmcb12);
    /* This rule is about L1's int_ctl, which the rows of L2 are about to replace. */
    if (nvi_svm_vnmi12(&v->vmcb12, &v->offer) &&
        !nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_NMI)) {
        return false;
    }
    if ((ITEM(items, V_NMI) != 0 && !nvi_svm_vnmi12(&v->vmcb12, &v->offer)) ||
        (ITEM(items, V_GIF) != 0 && !nvi_svm_vgif12(&v->vmcb12, &v->offer))) {
        return false;
    }
    apply(in, NVIRT_STATE_L2, &v->vmcb12);
    return controls_are_l1s(v) && registers_are_l2s(v) && merge_passes_all(v);
}

enum nvirt_status nvirt_svm_restore(struct nvirt_svm_vcpu *v, const void *buffer, size_t bytes)
{
    struct nvi_rows_in in;
    struct items items;
    enum nvirt_status status;

    if (v == NULL || buffer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (v->prepared || v->svme) {
        return NVIRT_ERR_STATE;
    }
    status = nvi_rows_open(&in, buffer, bytes, NVIRT_STATE_SVM);
    if (status != NVIRT_OK) {
        return status;
    }
    if (!nvi_rows_items(&in, NVIRT_STATE_SVM_ITEM_COUNT, items.value) ||
        !items_are_valid(v, &items) || !fields_are_valid(&items, &in) ||
        (ITEM(&items, LEVEL) == 2 && !l2_is_valid(v, &items, &in))) {
        return NVIRT_ERR_DATA;
    }
    forget_caches(v);
    v->tsc_ratio12 = ITEM(&items, TSC_RATIO);
    v->vmcb12_address = nvirt_l1gpa_make(ITEM(&items, VMCB12));
    v->hv_direct = ITEM(&items, DIRECT) != 0;
    v->hv_entered = true;
    v->who.vm = ITEM(&items, DIRECT_VM);
    v->who.vp = (uint32_t)ITEM(&items, DIRECT_VP);
    v->who.assist_page = ITEM(&items, DIRECT_ASSIST);
    if (ITEM(&items, LEVEL) == 2) {
        restore_l2(v, &in);
    }
    restore_registers(v, &items);
    restore_events(v, &items);
    return NVIRT_OK;
}
