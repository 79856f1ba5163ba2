/* SPDX-License-Identifier: MIT */
/*
 * Saved state of nested VMX: what <nvirt/state.h> lays down, from the vCPU and back. A restore
 * trusts nothing. vmcs12 with L2's present registers in it passes the checks of a VM entry, and
 * vmcs02 is put together from it as for one; then those registers take their places as they are.
 */
#include "nested/vmx_evmcs.h"

#define INTERRUPT_WAITS NVIRT_BIT(8)
#define EXCEPTION_WAITS NVIRT_BIT(8)
#define EXCEPTION_HAS_ERROR NVIRT_BIT(9)
#define EXCEPTION_ERROR_SHIFT 32u
#define VECTOR NVIRT_BITS(7, 0)

/** Values of the item rows. */
struct items {
    uint64_t value[NVIRT_STATE_VMX_ITEM_COUNT];
};

#define ITEM(items, NAME) ((items)->value[NVIRT_STATE_VMX_##NAME])

/* ---- which fields ---- */

/* The event that vmcs02 injects at the next entry. */
static bool is_event_field(enum nvirt_vmcs_field field)
{
    return field == NVIRT_VMCS_ENTRY_INTERRUPTION || field == NVIRT_VMCS_ENTRY_ERROR_CODE ||
           field == NVIRT_VMCS_ENTRY_INSN_LENGTH;
}

static bool is_pdpte_field(enum nvirt_vmcs_field field)
{
    return field >= NVIRT_VMCS_GUEST_PDPTE0 && field <= NVIRT_VMCS_GUEST_PDPTE3;
}

/* L2's present state: its registers, and the event that it is to get. */
static bool is_l2_field(const struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    return nvi_field_has(&v->guest, (uint32_t)field) || is_pdpte_field(field) ||
           is_event_field(field) || (v->cet && nvi_vmx_is_cet(field));
}

/* Both levels share these when L0 uses them: the host has them in vmcs01. */
static bool is_l0s(const struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    return (field == NVIRT_VMCS_GUEST_PREEMPTION_TIMER && nvi_vmx_l0_has_timer(v)) ||
           (field == NVIRT_VMCS_GUEST_PERF_GLOBAL && nvi_vmx_l0_has_counters(v));
}

/* ---- saving ---- */

static void put_item(struct nvi_rows_out *out, enum nvirt_state_vmx_item item, uint64_t value)
{
    nvi_rows_put(out, nvi_row_id(NVIRT_STATE_ITEM, (uint32_t)item), value);
}

static void put_field(struct nvi_rows_out *out, enum nvirt_state_class kind,
                      enum nvirt_vmcs_field field, uint64_t value)
{
    if (value != 0) {
        nvi_rows_put(out, nvi_row_id(kind, nvirt_vmcs_field_encoding(field)), value);
    }
}

/* After some exits the field is undefined, and nobody will ask for it. */
static uint64_t insn_length(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
    uint64_t length = nvi_hw_get(v, which, NVIRT_VMCS_EXIT_INSN_LENGTH);

    return length <= NVI_VMX_INSN_LENGTH_MAX ? length : 0;
}

static uint64_t interrupt_word(const struct nvi_pending *pending)
{
    return pending->interrupt ? INTERRUPT_WAITS | pending->vector : 0;
}

static uint64_t exception_word(const struct nvi_exception *exception)
{
    if (!exception->waiting) {
        return 0;
    }
    return EXCEPTION_WAITS | exception->vector |
           (exception->has_error ? EXCEPTION_HAS_ERROR : 0) |
           (uint64_t)exception->error_code << EXCEPTION_ERROR_SHIFT;
}

/* Of an L2 that is active, and whose flushes are nvirt's: any other is asked for it when it is
 * entered. */
static void save_who(struct nvirt_vmx_vcpu *v, struct nvi_rows_out *out)
{
    bool direct = v->level == 2 && nvi_vmx_direct_is_offered(v) && v->hv->direct.active;

    put_item(out, NVIRT_STATE_VMX_DIRECT, direct);
    put_item(out, NVIRT_STATE_VMX_DIRECT_VM, direct ? v->now->who.vm : 0);
    put_item(out, NVIRT_STATE_VMX_DIRECT_VP, direct ? v->now->who.vp : 0);
    put_item(out, NVIRT_STATE_VMX_DIRECT_ASSIST, direct ? v->now->who.assist_page : 0);
}

static void save_items(struct nvirt_vmx_vcpu *v, struct nvi_rows_out *out)
{
    const struct nvi_pending *pending = &v->pending;

    put_item(out, NVIRT_STATE_VMX_LEVEL, v->level);
    put_item(out, NVIRT_STATE_VMX_VMX_ON, v->vmx.on);
    put_item(out, NVIRT_STATE_VMX_VMXON_POINTER, v->vmx.on ? v->vmx.region : 0);
    put_item(out, NVIRT_STATE_VMX_CURRENT_VMCS, v->vmx.current);
    put_item(out, NVIRT_STATE_VMX_LAUNCHED, v->vmx.launched);
    put_item(out, NVIRT_STATE_VMX_FEATURE_CONTROL, v->vmx.feature_control);
    put_item(out, NVIRT_STATE_VMX_ENTRY_PENDING, v->entry_pending);
    put_item(out, NVIRT_STATE_VMX_SHUTDOWN, v->dead);
    put_item(out, NVIRT_STATE_VMX_BARRIER, v->barrier);
    put_item(out, NVIRT_STATE_VMX_L1_INSN_LENGTH, insn_length(v, NVI_01));
    put_item(out, NVIRT_STATE_VMX_L2_INSN_LENGTH, v->level == 2 ? insn_length(v, NVI_02) : 0);
    put_item(out, NVIRT_STATE_VMX_NMI, pending->nmi);
    put_item(out, NVIRT_STATE_VMX_INIT, pending->init);
    put_item(out, NVIRT_STATE_VMX_MONITOR_TRAP, pending->mtf);
    put_item(out, NVIRT_STATE_VMX_INTERRUPT, interrupt_word(pending));
    put_item(out, NVIRT_STATE_VMX_EXCEPTION, exception_word(&pending->exception));
    put_item(out, NVIRT_STATE_VMX_EXCEPTION_ADDRESS,
             pending->exception.waiting ? pending->exception.address : 0);
    put_item(out, NVIRT_STATE_VMX_NOTIFIED, v->notified);
    put_item(out, NVIRT_STATE_VMX_SHADOW_VMCS, v->vmx.is_shadow);
    put_item(out, NVIRT_STATE_VMX_ENLIGHTENED_VMCS, v->vmx.enlightened);
    put_item(out, NVIRT_STATE_VMX_ENLIGHTENMENTS,
             v->vmx.enlightened != NVI_NO_VMCS ? v->now->enlightenments : 0);
    put_item(out, NVIRT_STATE_VMX_SIPI,
             pending->sipi ? INTERRUPT_WAITS | pending->sipi_vector : 0);
    save_who(v, out);
}

static void save_vmcs12(const struct nvirt_vmx_vcpu *v, struct nvi_rows_out *out)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        put_field(out, NVIRT_STATE_CONTROL12, (enum nvirt_vmcs_field)i, v->vmcs12.field[i]);
    }
}

static uint64_t l2_value(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_GUEST_CR0:
        return nvi_vmx_cr0_of_l2(v);
    case NVIRT_VMCS_GUEST_CR4:
        return nvi_vmx_cr4_of_l2(v);
    default:
        return nvi_hw_get(v, NVI_02, field);
    }
}

static bool uses_pdptes(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET02(v, GUEST_CR0) & NVIRT_CR0_PG) != 0 &&
           (NVI_GET02(v, GUEST_CR4) & NVIRT_CR4_PAE) != 0 &&
           (NVI_GET02(v, GUEST_EFER) & NVIRT_EFER_LMA) == 0;
}

static void save_l2(struct nvirt_vmx_vcpu *v, struct nvi_rows_out *out)
{
    bool pdptes = uses_pdptes(v);

    nvi_vmx_forced_exit_done(v);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        if (is_l2_field(v, field) && !is_l0s(v, field) && (pdptes || !is_pdpte_field(field))) {
            put_field(out, NVIRT_STATE_L2, field, l2_value(v, field));
        }
    }
}

void nvi_vmx_state_save(struct nvirt_vmx_vcpu *v, struct nvi_rows_out *out)
{
    save_items(v, out);
    if (nvi_vmcs12_region(v) != NVI_NO_VMCS) {
        save_vmcs12(v, out);
    }
    if (v->level == 2) {
        save_l2(v, out);
    }
}

/* ---- restoring: the items ---- */

static bool flags_are_valid(const struct items *items)
{
    static const uint8_t flags[] = { NVIRT_STATE_VMX_VMX_ON,        NVIRT_STATE_VMX_LAUNCHED,
                                     NVIRT_STATE_VMX_ENTRY_PENDING, NVIRT_STATE_VMX_SHUTDOWN,
                                     NVIRT_STATE_VMX_BARRIER,       NVIRT_STATE_VMX_NMI,
                                     NVIRT_STATE_VMX_INIT,          NVIRT_STATE_VMX_MONITOR_TRAP,
                                     NVIRT_STATE_VMX_NOTIFIED,      NVIRT_STATE_VMX_DIRECT,
                                     NVIRT_STATE_VMX_SHADOW_VMCS };

    return nvi_rows_flags_valid(items->value, flags, sizeof flags);
}

/* What VMXON and VMPTRLD demand of their operands. */
static bool pointer_is_valid(const struct nvirt_vmx_vcpu *v, uint64_t pointer)
{
    return (pointer & ~NVIRT_PAGE_MASK) == 0 && nvi_vmx_l1_address_fits(v, pointer);
}

/* [SDM 3C "VMXON", "VMPTRLD"]: what L1 can have come to. */
static bool operation_is_valid(const struct nvirt_vmx_vcpu *v, const struct items *items)
{
    const uint64_t enabled = NVIRT_FEATURE_CONTROL_LOCK | NVIRT_FEATURE_CONTROL_VMX;
    uint64_t control = ITEM(items, FEATURE_CONTROL);
    uint64_t region = ITEM(items, VMXON_POINTER);
    uint64_t current = ITEM(items, CURRENT_VMCS);

    if ((control & ~enabled) != 0) {
        return false;
    }
    if (ITEM(items, VMX_ON) == 0) {
        return region == 0 && current == NVI_NO_VMCS;
    }
    return control == enabled && pointer_is_valid(v, region) &&
           (current == NVI_NO_VMCS || (pointer_is_valid(v, current) && current != region));
}

static bool has_current(const struct items *items)
{
    return ITEM(items, CURRENT_VMCS) != NVI_NO_VMCS || ITEM(items, ENLIGHTENED_VMCS) != NVI_NO_VMCS;
}

/* [TLFS "Enlightened VMCS (Intel)"]: one is current, or the other. */
static bool enlightened_is_valid(const struct nvirt_vmx_vcpu *v, const struct items *items)
{
    uint64_t region = ITEM(items, ENLIGHTENED_VMCS);

    if (region == NVI_NO_VMCS) {
        return ITEM(items, ENLIGHTENMENTS) == 0;
    }
    return nvi_evmcs_is_offered(v) && ITEM(items, VMX_ON) != 0 && pointer_is_valid(v, region) &&
           region != ITEM(items, VMXON_POINTER) && ITEM(items, CURRENT_VMCS) == NVI_NO_VMCS &&
           ITEM(items, ENLIGHTENMENTS) <= UINT32_MAX;
}

/* [TLFS "Direct Virtual Flush"]: an L2 that is active under an enlightened VMCS. */
static bool direct_is_valid(const struct nvirt_vmx_vcpu *v, const struct items *items)
{
    if (ITEM(items, DIRECT) == 0) {
        return ITEM(items, DIRECT_VM) == 0 && ITEM(items, DIRECT_VP) == 0 &&
               ITEM(items, DIRECT_ASSIST) == 0;
    }
    return nvi_vmx_direct_is_offered(v) && ITEM(items, LEVEL) == 2 &&
           ITEM(items, ENLIGHTENED_VMCS) != NVI_NO_VMCS &&
           (ITEM(items, ENLIGHTENMENTS) & NVI_EVMCS_CONTROL_DIRECT) != 0 &&
           ITEM(items, DIRECT_VP) <= UINT32_MAX && pointer_is_valid(v, ITEM(items, DIRECT_ASSIST));
}

/* [SDM 3C "VMPTRLD", "VMLAUNCH/VMRESUME"]: no entry takes place with it. */
static bool shadow_is_valid(const struct nvirt_vmx_vcpu *v, const struct items *items)
{
    return ITEM(items, SHADOW_VMCS) == 0 ||
           (ITEM(items, CURRENT_VMCS) != NVI_NO_VMCS && ITEM(items, LEVEL) == 1 &&
            (v->offer.proc2 >> 32 & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0);
}

static bool level_is_valid(const struct items *items)
{
    if (ITEM(items, LAUNCHED) != 0 && !has_current(items)) {
        return false;
    }
    if (ITEM(items, LEVEL) == 1) {
        return ITEM(items, ENTRY_PENDING) == 0 && ITEM(items, L2_INSN_LENGTH) == 0;
    }
    /* An L2 that has run was launched. */
    return ITEM(items, LEVEL) == 2 && has_current(items) && ITEM(items, SHUTDOWN) == 0 &&
           (ITEM(items, LAUNCHED) != 0 || ITEM(items, ENTRY_PENDING) != 0);
}

static bool interrupt_is_valid(uint64_t word)
{
    return word == 0 || (word & ~VECTOR) == INTERRUPT_WAITS;
}

static struct nvirt_event exception_of(const struct items *items)
{
    uint64_t word = ITEM(items, EXCEPTION);
    struct nvirt_event event;

    __builtin_memset(&event, 0, sizeof event);
    event.type = NVIRT_EVENT_EXCEPTION;
    event.vector = (uint8_t)(word & VECTOR);
    event.has_error_code = (word & EXCEPTION_HAS_ERROR) != 0;
    event.error_code = (uint32_t)(word >> EXCEPTION_ERROR_SHIFT);
    event.address = ITEM(items, EXCEPTION_ADDRESS);
    return event;
}

static bool exception_is_valid(const struct nvirt_vmx_vcpu *v, const struct items *items)
{
    uint64_t word = ITEM(items, EXCEPTION);
    struct nvirt_event event = exception_of(items);

    if (word == 0) {
        return event.address == 0;
    }
    return (word & NVIRT_BITS(31, 8) & ~EXCEPTION_HAS_ERROR) == EXCEPTION_WAITS &&
           (event.has_error_code || event.error_code == 0) &&
           nvi_vmx_exception_is_valid(v, &event) &&
           event.address == nvi_vmx_exception_address(&event);
}

static bool items_are_valid(const struct nvirt_vmx_vcpu *v, const struct items *items)
{
    return flags_are_valid(items) && operation_is_valid(v, items) && level_is_valid(items) &&
           shadow_is_valid(v, items) && enlightened_is_valid(v, items) &&
           direct_is_valid(v, items) &&
           ITEM(items, L1_INSN_LENGTH) <= NVI_VMX_INSN_LENGTH_MAX &&
           ITEM(items, L2_INSN_LENGTH) <= NVI_VMX_INSN_LENGTH_MAX &&
           interrupt_is_valid(ITEM(items, INTERRUPT)) && exception_is_valid(v, items) &&
           interrupt_is_valid(ITEM(items, SIPI)) &&
           (ITEM(items, SIPI) == 0 || ITEM(items, LEVEL) == 2);
}

/* ---- restoring: the fields ---- */

/* @return false for a row that names no field or does not fit into it. */
static bool read_field(struct nvi_row row, enum nvirt_vmcs_field *field)
{
    bool high;

    return nvirt_vmcs_lookup(nvi_row_number(row.id), field, &high) && !high &&
           nvirt_vmcs_truncate(*field, row.value) == row.value;
}

static bool field_row_is_valid(const struct nvirt_vmx_vcpu *v, const struct items *items,
                               struct nvi_row row)
{
    enum nvirt_vmcs_field field;

    if (!read_field(row, &field)) {
        return false;
    }
    switch (nvi_row_class(row.id)) {
    case NVIRT_STATE_CONTROL12:
        return has_current(items);
    case NVIRT_STATE_L2:
        return ITEM(items, LEVEL) == 2 && is_l2_field(v, field) && !is_l0s(v, field);
    default:
        return false;
    }
}

static bool fields_are_valid(const struct nvirt_vmx_vcpu *v, const struct items *items,
                             const struct nvi_rows_in *in)
{
    for (uint32_t i = NVIRT_STATE_VMX_ITEM_COUNT; i < in->count; i++) {
        if (!field_row_is_valid(v, items, nvi_rows_get(in, i))) {
            return false;
        }
    }
    return true;
}

/* Puts the rows of one class into @p to. */
static void apply(const struct nvi_rows_in *in, enum nvirt_state_class kind, struct nvirt_vmcs *to)
{
    for (uint32_t i = NVIRT_STATE_VMX_ITEM_COUNT; i < in->count; i++) {
        struct nvi_row row = nvi_rows_get(in, i);
        enum nvirt_vmcs_field field;

        if (nvi_row_class(row.id) == (uint32_t)kind && read_field(row, &field)) {
            to->field[field] = row.value;
        }
    }
}

static void read_vmcs12(struct nvirt_vmx_vcpu *v, const struct nvi_rows_in *in)
{
    __builtin_memset(&v->vmcs12, 0, sizeof v->vmcs12);
    apply(in, NVIRT_STATE_CONTROL12, &v->vmcs12);
}

/* L2's present state over @p image: a row that was left out is a 0. */
static void overlay_l2(const struct nvirt_vmx_vcpu *v, const struct nvi_rows_in *in,
                       struct nvirt_vmcs *image)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        if (is_l2_field(v, field) && !is_l0s(v, field)) {
            image->field[i] = 0;
        }
    }
    apply(in, NVIRT_STATE_L2, image);
}

/* ---- restoring: L2 ---- */

/* vmcs12 as L1 would have to write it for L2 to begin where it is now. */
static void vmcs12_of_present(struct nvirt_vmx_vcpu *v, const struct nvi_rows_in *in)
{
    struct nvirt_vmcs *vmcs12 = &v->vmcs12;

    overlay_l2(v, in, vmcs12);
    vmcs12->entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    if ((vmcs12->guest_efer & NVIRT_EFER_LMA) != 0) {
        vmcs12->entry_controls |= NVIRT_VMX_ENTRY_CTL_IA32E;
    }
    vmcs12->vmcs_link = ~UINT64_C(0);
}

/* Registers that vmcs02 loads at each entry are checked although vmcs12 may not load them. */
static bool guest_is_valid(const struct nvirt_vmx_vcpu *v, struct nvi_vmx_check_in *in,
                           struct nvirt_vmcs *vmcs12, struct nvi_vmx_check_out *out)
{
    uint64_t controls = vmcs12->entry_controls;
    bool valid;

    vmcs12->entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_LOAD_PAT |
                              NVIRT_VMX_ENTRY_CTL_LOAD_EFER |
                              (v->cet ? NVIRT_VMX_ENTRY_CTL_LOAD_CET : 0);
    valid = nvi_vmx_check_guest(in, out);
    vmcs12->entry_controls = controls;
    return valid;
}

/* The rules of a VM entry [SDM 3C "VM Entries"]; the PDPTEs are those that the CPU had loaded. */
static bool l2_is_valid(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *merge)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    const uint64_t *pdpte = &vmcs12->field[NVIRT_VMCS_GUEST_PDPTE0];
    struct nvi_vmx_check_in in;
    struct nvi_vmx_check_out out;

    __builtin_memset(&in, 0, sizeof in);
    __builtin_memset(&out, 0, sizeof out);
    in.vmcs12 = vmcs12;
    in.offer = &v->offer;
    in.l1_ia32e = (NVI_GET01(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0;
    in.current = nvi_vmcs12_region(v);
    /* L2 may have lowered its TPR since: where it stands is no rule for one that runs. */
    in.vtpr = 0xff;
    if (!nvi_vmx_check_controls(&in, &out) || !nvi_vmx_check_host(&in, &out) ||
        !guest_is_valid(v, &in, &v->vmcs12, &out)) {
        nvirt_port_trace(v->port, nvi_vmx_rule_name(out.rule), 0);
        return false;
    }
    v->now->l1_ia32e = in.l1_ia32e;
    if (nvi_vmx_pdptes_source(vmcs12) == NVI_VMX_PDPTES_NONE) {
        return true;
    }
    merge->pdptes_loaded = nvi_vmx_pdptes_source(vmcs12) == NVI_VMX_PDPTES_MEMORY;
    __builtin_memcpy(merge->pdpte, pdpte, sizeof merge->pdpte);
    return nvi_vmx_check_pdptes(&in, pdpte, &out);
}

/* The entry that L2 came by found it so; what the region has become since is no rule. */
static bool link_is_valid(const struct nvirt_vmx_vcpu *v)
{
    uint64_t link = v->vmcs12.vmcs_link;

    return link == NVIRT_VMX_NO_VMCS_LINK ||
           (pointer_is_valid(v, link) && link != nvi_vmcs12_region(v));
}

/* What nvirt and hardware remember belongs to memory that may be another's now. */
static void forget_caches(struct nvirt_vmx_vcpu *v)
{
    nvi_vmx_unpin_all(v);
    nvirt_tlb_forget(&v->tlb);
    nvi_hv_forget_l2(v->hv, &v->tlb);
    nvi_mmu_drop_all(&v->mmu);
}

static enum nvirt_status restore_l2(struct nvirt_vmx_vcpu *v, const struct items *items,
                                    const struct nvi_rows_in *in)
{
    struct nvi_vmx_merge_in merge;
    enum nvirt_status status;
    uint64_t cr0;
    uint64_t cr4;

    __builtin_memset(&merge, 0, sizeof merge);
    if (!link_is_valid(v)) {
        return NVIRT_ERR_DATA;
    }
    vmcs12_of_present(v, in);
    nvi_vmx_fetch_l1_state(v);
    if (v->error != NVIRT_OK) {
        return v->error;
    }
    /* A SIPI that no L2 waits for is lost when it comes. */
    if (!l2_is_valid(v, &merge) ||
        (ITEM(items, SIPI) != 0 && v->vmcs12.guest_activity != NVIRT_VMX_ACTIVITY_WAIT_SIPI)) {
        return NVIRT_ERR_DATA;
    }
    forget_caches(v);
    status = nvi_vmx_build_vmcs02(v, &merge);
    if (status != NVIRT_OK) {
        return status;
    }
    cr0 = v->vmcs12.guest_cr0;
    cr4 = v->vmcs12.guest_cr4;
    overlay_l2(v, in, &v->next);
    /* From here on vmcs12 is L1's again: what it owns of CR0 and CR4 reads as it said. */
    read_vmcs12(v, in);
    nvi_vmx_become_level_2(v);
    v->host_cr0 = 0;
    v->host_cr4 = 0;
    nvi_vmx_place_cr(v, cr0, cr4);
    return NVIRT_OK;
}

/* ---- restoring: all of it ---- */

static void restore_pending(struct nvirt_vmx_vcpu *v, const struct items *items)
{
    struct nvirt_event event = exception_of(items);
    struct nvi_pending *pending = &v->pending;

    __builtin_memset(pending, 0, sizeof *pending);
    pending->nmi = ITEM(items, NMI) != 0;
    pending->init = ITEM(items, INIT) != 0;
    pending->sipi = ITEM(items, SIPI) != 0;
    pending->sipi_vector = (uint8_t)(ITEM(items, SIPI) & VECTOR);
    pending->mtf = ITEM(items, MONITOR_TRAP) != 0;
    pending->interrupt = ITEM(items, INTERRUPT) != 0;
    pending->vector = (uint8_t)(ITEM(items, INTERRUPT) & VECTOR);
    pending->exception.waiting = ITEM(items, EXCEPTION) != 0;
    pending->exception.has_error = event.has_error_code;
    pending->exception.vector = event.vector;
    pending->exception.error_code = event.error_code;
    pending->exception.address = event.address;
}

static void restore_operation(struct nvirt_vmx_vcpu *v, const struct items *items)
{
    v->vmx.on = ITEM(items, VMX_ON) != 0;
    v->vmx.region = ITEM(items, VMXON_POINTER);
    v->vmx.launched = ITEM(items, LAUNCHED) != 0;
    v->vmx.is_shadow = ITEM(items, SHADOW_VMCS) != 0;
    v->vmx.feature_control = ITEM(items, FEATURE_CONTROL);
    v->entry_pending = ITEM(items, ENTRY_PENDING) != 0;
    v->dead = ITEM(items, SHUTDOWN) != 0;
    v->barrier = ITEM(items, BARRIER) != 0;
    v->notified = ITEM(items, NOTIFIED) != 0;
    nvi_hw_know(v, NVI_01, NVIRT_VMCS_EXIT_INSN_LENGTH, ITEM(items, L1_INSN_LENGTH));
    nvi_hw_know(v, NVI_02, NVIRT_VMCS_EXIT_INSN_LENGTH, ITEM(items, L2_INSN_LENGTH));
}

enum nvirt_status nvi_vmx_state_restore(struct nvirt_vmx_vcpu *v, const struct nvi_rows_in *in)
{
    struct items items;
    enum nvirt_status status;

    if (!nvi_rows_items(in, NVIRT_STATE_VMX_ITEM_COUNT, items.value) ||
        !items_are_valid(v, &items) || !fields_are_valid(v, &items, in)) {
        return NVIRT_ERR_DATA;
    }
    /* L1 is outside VMX operation: what v->vmcs12 holds is of no account until it is current. */
    read_vmcs12(v, in);
    if (ITEM(&items, CURRENT_VMCS) != NVI_NO_VMCS) {
        nvi_vmcs12_adopt(v, ITEM(&items, CURRENT_VMCS), false);
    } else if (ITEM(&items, ENLIGHTENED_VMCS) != NVI_NO_VMCS) {
        nvi_vmcs12_adopt(v, ITEM(&items, ENLIGHTENED_VMCS), true);
        v->now->enlightenments = (uint32_t)ITEM(&items, ENLIGHTENMENTS);
        v->now->who.vm = ITEM(&items, DIRECT_VM);
        v->now->who.vp = (uint32_t)ITEM(&items, DIRECT_VP);
        v->now->who.assist_page = ITEM(&items, DIRECT_ASSIST);
        v->evmcs_direct = ITEM(&items, DIRECT) != 0;
    }
    if (ITEM(&items, LEVEL) == 2) {
        status = restore_l2(v, &items, in);
        if (status != NVIRT_OK) {
            nvi_vmcs12_drop_all(v);
            return status;
        }
    } else {
        forget_caches(v);
    }
    restore_operation(v, &items);
    restore_pending(v, &items);
    return NVIRT_OK;
}
