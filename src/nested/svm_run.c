/* SPDX-License-Identifier: MIT */
/*
 * The two transitions: VMRUN of L1 and #VMEXIT of L2. VMRUN checks everything before it changes
 * anything; from then on nothing can fail. Tables for L2 are found by the next prepare, which the
 * host may repeat.
 */
#include "nested/svm_internal.h"

/* ---- pages of L1 ---- */

void nvi_svm_forget_found(struct nvirt_svm_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_SVM_USES; i++) {
        v->found[i].page = NVI_SVM_NOWHERE;
    }
}

static void unpin(struct nvirt_svm_vcpu *v, struct nvi_svm_pin *pin)
{
    if (pin->used) {
        nvirt_port_unpin(v->vm->port, nvirt_l1gpa_make(pin->page), pin->hpa,
                         pin->writable);
        v->stats.unpins++;
        pin->used = false;
        nvi_svm_forget_found(v);
        v->walk.used = false;
    }
}

void nvi_svm_unpin_all(struct nvirt_svm_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        unpin(v, &v->pin[i]);
    }
}

/* The same page of L1's, wherever it is now. */
NVIRT_COLD static bool pin_anew(struct nvirt_svm_vcpu *v, struct nvi_svm_pin *pin)
{
    uint32_t access = NVIRT_ACCESS_READ | (pin->writable ? NVIRT_ACCESS_WRITE : 0u);
    uint64_t sequence = nvirt_port_sequence(v->vm->port);
    nvirt_hpa hpa;

    if (nvirt_port_pin(v->vm->port, nvirt_l1gpa_make(pin->page), access, &hpa) != NVIRT_OK) {
        return false;
    }
    unpin(v, pin);
    v->stats.pins++;
    pin->used = true;
    pin->hpa = hpa;
    pin->sequence = sequence;
    return true;
}

/*
 * What moved is pinned anew when it is wanted. With L2 active vmcb12 is wanted for sure, for the #VMEXIT, which has
 * no way to fail: it is pinned where L1 has it now, and stays where it was when L1 has it nowhere.
 */
void nvi_svm_unpin_moved(struct nvirt_svm_vcpu *v)
{
    uint64_t now = nvirt_port_sequence(v->vm->port);
    bool all = true;

    if (v->pins_sequence == now) {
        return;
    }
    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        struct nvi_svm_pin *old = &v->pin[i];

        if (!old->used || old->sequence == now) {
            continue;
        }
        if (v->level == 2 && old->page == v->vmcb12_address.value) {
            all = pin_anew(v, old) && all;
        } else {
            unpin(v, old);
        }
    }
    if (all) {
        v->pins_sequence = now;
    }
}

static struct nvi_svm_pin *find_pin(struct nvirt_svm_vcpu *v, uint64_t page, bool writable)
{
    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        if (v->pin[i].page == page && v->pin[i].used && v->pin[i].writable == writable) {
            return &v->pin[i];
        }
    }
    return NULL;
}

static struct nvi_svm_pin *oldest_pin(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_pin *oldest = &v->pin[0];

    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        if (!v->pin[i].used) {
            return &v->pin[i];
        }
        if (v->pin[i].last_use < oldest->last_use) {
            oldest = &v->pin[i];
        }
    }
    return oldest;
}

static struct nvi_svm_pin *make_pin(struct nvirt_svm_vcpu *v, nvirt_l1gpa page, bool writable)
{
    uint32_t access = NVIRT_ACCESS_READ | (writable ? NVIRT_ACCESS_WRITE : 0u);
    /* Read first: a change while the page is being pinned is one after it. */
    uint64_t sequence = nvirt_port_sequence(v->vm->port);
    struct nvi_svm_pin *pin;
    nvirt_hpa hpa;

    if (nvirt_port_pin(v->vm->port, page, access, &hpa) != NVIRT_OK) {
        return NULL;
    }
    pin = oldest_pin(v);
    unpin(v, pin);
    v->stats.pins++;
    pin->used = true;
    pin->writable = writable;
    pin->page = page.value;
    pin->hpa = hpa;
    pin->sequence = sequence;
    return pin;
}

void *nvi_svm_find_page(struct nvirt_svm_vcpu *v, nvirt_l1gpa page, enum nvi_svm_use use)
{
    bool writable = use < NVI_SVM_USE_MAP;
    struct nvi_svm_pin *pin = find_pin(v, page.value, writable);

    if (pin == NULL) {
        pin = make_pin(v, page, writable);
    }
    if (pin == NULL) {
        return NULL;
    }
    pin->last_use = ++v->pin_clock;
    v->found[use].page = page.value;
    v->found[use].pointer = nvirt_port_page_pointer(v->vm->port, pin->hpa);
    return v->found[use].pointer;
}

static struct nvirt_vmcb *vmcb12_page(struct nvirt_svm_vcpu *v)
{
    return nvi_svm_page(v, v->vmcb12_address, NVI_SVM_USE_VMCB);
}

/* ---- VMRUN ---- */

struct nvi_svm_merge_in nvi_svm_merge_input(const struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    struct nvi_svm_merge_in in;

    in.vmcb12 = &v->vmcb12;
    in.vmcb01 = v->vmcb01;
    in.offer = &v->offer;
    in.iopm02 = v->iopm02_hpa;
    in.msrpm02 = v->msrpm02_hpa;
    in.asid02 = v->asid02;
    in.fresh = fresh;
    in.tsc_ratio12 = v->tsc_ratio12;
    in.pass_through = v->pass_through;
    in.dr7_watch = v->dr7_watch;
    in.db_watch = v->db_watch;
    return in;
}

/* Hyper-V's clean bit holds without the CPU's clean bits being offered. */
static void take_enlightenments(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page, bool kept,
                                uint32_t clean)
{
    v->hv_entered = true;
    v->hv_enlightenments = nvi_hv_vmcb_enlightenments(v->hv, page);
    v->hv_maps_clean = kept && (v->hv_enlightenments & NVI_HV_VMCB_MSR_BITMAP) != 0 &&
                       (clean & NVI_HV_VMCB_CLEAN) != 0;
    if (nvi_svm_direct_is_offered(v)) {
        nvi_svm_direct_take(v, page);
    }
}

/* Clean bits are worth something only in the VMCB that this CPU of L1's ran last, without a VMRUN or
 * anything else in between that vmcb02 was used for [APM 2 "VMCB Clean Bits"]. */
static uint32_t fresh_groups(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page, bool kept)
{
    uint32_t clean = *(const volatile uint32_t *)&page->clean;

    v->stats.bytes_read += sizeof clean;
    if (v->hv != NULL) {
        take_enlightenments(v, page, kept, clean);
    }
    if (!kept || (v->offer.features & NVIRT_SVM_FEATURE_CLEAN) == 0) {
        return NVIRT_VMCB_CLEAN_ALL;
    }
    return ~clean & NVIRT_VMCB_CLEAN_ALL;
}

/* Controls that L1 does not call clean may be what they were: nothing follows from them anew. PAT is the
 * exception among them, L2 may have changed it. */
NVIRT_NOINLINE static uint32_t take_groups(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page,
                                           uint32_t fresh, bool kept)
{
    uint32_t unchanged;

    v->stats.bytes_read += nvi_svm_snapshot(page, fresh, &v->vmcb12, &unchanged);
    if (!kept) {
        return fresh;
    }
    if (v->vmcb12.g_pat != v->vmcb02->g_pat) {
        unchanged &= ~NVIRT_VMCB_CLEAN_NP;
    }
    return fresh & ~unchanged;
}

/* @return the groups that were read and may have changed. */
static uint32_t take_snapshot(struct nvirt_svm_vcpu *v, nvirt_l1gpa address)
{
    /* A bus without memory reads ones: no VMCB with these registers passes the checks. */
    static const uint64_t ones = ~UINT64_C(0);
    const struct nvirt_vmcb *page = nvi_svm_page(v, address, NVI_SVM_USE_VMCB);
    bool kept = v->vmcb12_kept && address.value == v->vmcb12_address.value;
    uint32_t fresh;

    if (page == NULL) {
        v->vmcb12.efer = v->vmcb12.cr0 = v->vmcb12.cr4 = ones;
        v->hv_enlightenments = 0;
        v->hv_direct = false;
        v->hv_maps_clean = false;
        fresh = NVIRT_VMCB_CLEAN_ALL;
    } else {
        uint64_t virt_ext = v->vmcb12.virt_ext;

        fresh = fresh_groups(v, page, kept);
        if (fresh == 0) {
            v->stats.bytes_read += nvi_svm_snapshot_uncovered(page, &v->vmcb12);
        } else {
            fresh = take_groups(v, page, fresh, kept);
        }
        if (v->moves_options) {
            v->stats.bytes_read += nvi_svm_snapshot_options(page, &v->offer, &v->vmcb12);
        }
        if ((fresh & NVIRT_VMCB_CLEAN_INTERCEPTS) != 0 || virt_ext != v->vmcb12.virt_ext) {
            /* Of the word that no bit covers follows whether VMLOAD is intercepted. */
            fresh |= NVIRT_VMCB_CLEAN_INTERCEPTS;
            nvi_svm_hide_intercepts(&v->offer, &v->vmcb12);
        }
    }
    v->vmcb12_address = address;
    /* From here to the next entry the snapshot is no longer that of vmcb02. */
    v->vmcb12_kept = false;
    return fresh;
}

/* The nested tables of this L2: L1's own, read in the mode L1 runs in now, or L1's memory as it is. */
static struct nvi_mmu_key nested_key(struct nvirt_svm_vcpu *v)
{
    struct nvi_npt_mode *mode = &v->key_mode;
    struct nvi_mmu_key key;

    if (!v->np12) {
        return nvi_npt_direct_key(0);
    }
    mode->ncr3 = v->vmcb12.n_cr3;
    mode->cr0 = v->vmcb01->cr0;
    mode->cr4 = v->vmcb01->cr4;
    mode->efer = v->vmcb01->efer;
    mode->pat = v->vmcb01->g_pat;
    key = nvi_npt_key(mode);
    /* An ASID tags nested translations too: what one ASID of L1's fetched from these tables, another
     * that was flushed at another time may not have [APM 2 "TLB Flush"]. So each has a tree. */
    key.role |= (uint64_t)v->vmcb12.asid << 32;
    return key;
}

/* Reserved encodings are no reason to refuse VMRUN; what they flush is not said: everything. */
static uint8_t tlb_control12(const struct nvirt_svm_vcpu *v)
{
    uint8_t value = v->vmcb12.tlb_control;
    bool by_asid = (v->offer.features & NVIRT_SVM_FEATURE_FLUSH_BY_ASID) != 0;

    if (value == NVIRT_SVM_TLB_NOTHING ||
        (by_asid && (value == NVIRT_SVM_TLB_ASID || value == NVIRT_SVM_TLB_ASID_NOT_GLOBAL))) {
        return value;
    }
    return NVIRT_SVM_TLB_ALL;
}

static void bind_tag(struct nvirt_svm_vcpu *v)
{
    if (v->vmcb12.tlb_control == NVIRT_SVM_TLB_NOTHING) {
        v->asid02 = nvirt_tlb_svm_enter_again(&v->tlb, v->vmcb12.asid, v->np12);
        if (v->asid02 != 0) {
            return;
        }
    }
    v->asid02 = nvirt_tlb_svm_enter_l2(&v->tlb, v->vmcb12.asid, v->np12, tlb_control12(v));
}

/* A host that owns interrupts gives L1 a virtual TPR, and L2 shares it where L1 gives it none. */
static bool shares_virtual_tpr(const struct nvirt_svm_vcpu *v)
{
    return !v->pass_through && (v->vmcb12.int_ctl & NVIRT_SVM_V_INTR_MASKING) == 0;
}

static void copy_v_tpr(const struct nvirt_vmcb *from, struct nvirt_vmcb *to)
{
    nvirt_vmcb_set_int_ctl(to, (to->int_ctl & ~NVIRT_SVM_V_TPR) |
                                   (from->int_ctl & NVIRT_SVM_V_TPR));
}

NVIRT_NOINLINE static void merge_groups(struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    struct nvi_svm_merge_in in;

    if (v->controls_changed) {
        fresh |= NVIRT_VMCB_CLEAN_INTERCEPTS;
        nvi_svm_maps_l0_changed(v);
        v->controls_changed = false;
        v->hv_maps_clean = false;
    }
    if ((fresh & NVI_SVM_MERGES_CONTROLS) != 0) {
        v->events02 = NVI_SVM_EVENTS_UNKNOWN;
    }
    in = nvi_svm_merge_input(v, fresh);
    nvi_svm_merge(&in, v->vmcb02);
}

static void merge(struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    if (fresh == 0 && v->np12 && !v->controls_changed) {
        nvi_svm_merge_uncovered(&v->vmcb12, &v->offer, v->asid02, v->vmcb02);
    } else {
        merge_groups(v, fresh);
    }
    if (v->moves_options) {
        const struct nvi_svm_merge_in in = nvi_svm_merge_input(v, fresh);

        nvi_svm_merge_option_state(&in, v->vmcb02);
    }
    if (shares_virtual_tpr(v)) {
        copy_v_tpr(v->vmcb01, v->vmcb02);
    }
    nvi_svm_maps_reset(v);
}

/* Nothing changed that the key of the tables is made from: they still stand under its number. */
static bool has_same_tables(const struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    const struct nvi_npt_mode *mode = &v->key_mode;

    return (fresh & (NVIRT_VMCB_CLEAN_NP | NVIRT_VMCB_CLEAN_ASID)) == 0 && v->root != NULL &&
           v->root->used && v->root->serial == v->root_number && v->np12 &&
           mode->cr0 == v->vmcb01->cr0 && mode->cr4 == v->vmcb01->cr4 &&
           mode->efer == v->vmcb01->efer && mode->pat == v->vmcb01->g_pat;
}

/* The tables of the last L2 serve this one too when they have the same key, and still stand for it:
 * another root may have taken their place in the cache meanwhile. */
static void find_tables(struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    struct nvi_mmu_key key;

    if (has_same_tables(v, fresh)) {
        v->stats.root_hits++;
        return;
    }
    key = nested_key(v);
    if (v->root != NULL && nvi_mmu_root_again(&v->mmu, v->root, &key, v->root_number)) {
        return;
    }
    v->key = key;
    v->root_number = nvi_mmu_serial(&v->mmu, &v->key);
    v->root = NULL;
}

/* Where the group is clean, they are as the last #VMEXIT left them. */
static void take_int_ctl(struct nvirt_svm_vcpu *v)
{
    v->masking12 = (v->vmcb12.int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
    v->v_irq = (v->vmcb12.int_ctl & NVIRT_SVM_V_IRQ) != 0;
    v->v_nmi = (v->vmcb12.int_ctl & NVIRT_SVM_V_NMI) != 0 &&
               nvi_svm_vnmi12(&v->vmcb12, &v->offer);
    v->has_vgif = nvi_svm_vgif12(&v->vmcb12, &v->offer);
    v->v_gif = (v->vmcb12.int_ctl & NVIRT_SVM_V_GIF) != 0;
}

void nvi_svm_enter(struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    if ((fresh & NVIRT_VMCB_CLEAN_NP) != 0) {
        v->np12 = nvi_svm_np12(&v->vmcb12, &v->offer);
    }
    if ((fresh & NVIRT_VMCB_CLEAN_TPR) != 0) {
        take_int_ctl(v);
    }
    v->l1_if = (v->vmcb01->rflags & NVIRT_RFLAGS_IF) != 0;
    find_tables(v, fresh);
    bind_tag(v);
    merge(v, fresh);
    v->vmcb12_kept = true;
    v->gif = true;
    v->direct = false;
    v->level = 2;
}

/* VMRUN ends with VMEXIT_INVALID. L1 sees a #VMEXIT, of a guest that never ran. */
NVIRT_COLD static void refuse(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *page = vmcb12_page(v);

    if (page != NULL) {
        nvi_svm_write_refusal(page);
    }
    nvi_svm_load_host(v->vmcb01, true, v->vmcb01);
    v->gif = false;
    v->stats.entries_refused++;
}

/* A #VMEXIT gives back RFLAGS.TF with the rest of L1's state: VMRUN was one step of L1's. */
static void finish_step(struct nvirt_svm_vcpu *v)
{
    if ((v->vmcb01->rflags & NVIRT_RFLAGS_TF) != 0) {
        nvirt_vmcb_set_dr6(v->vmcb01, v->vmcb01->dr6 | NVI_DR6_BS);
        nvi_svm_raise(v, NVIRT_VECTOR_DB, false, 0);
    }
}

NVIRT_NOINLINE static bool passes_rules(struct nvirt_svm_vcpu *v, uint32_t fresh, bool host_paging)
{
    const struct nvi_svm_check_in in = {&v->vmcb12, &v->offer, host_paging, fresh};
    enum nvi_svm_rule rule = nvi_svm_check(&in);

    if (rule != NVI_SVM_RULE_NONE) {
        nvirt_port_trace(v->vm->port, nvi_svm_rule_name(rule), v->vmcb12_address.value);
    }
    return rule == NVI_SVM_RULE_NONE;
}

static bool is_accepted(struct nvirt_svm_vcpu *v, uint32_t fresh)
{
    bool host_paging = (v->vmcb01->cr0 & NVIRT_CR0_PG) != 0;

    return nvi_svm_passes_again(&v->vmcb12, fresh, host_paging) ||
           passes_rules(v, fresh, host_paging);
}

void nvi_svm_vmrun(struct nvirt_svm_vcpu *v, nvirt_l1gpa vmcb12, uint32_t length)
{
    uint32_t fresh;

    if (v->level != 1) {
        /* Not reachable: vmcb12 intercepts VMRUN, a rule says so. */
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
        return;
    }
    fresh = take_snapshot(v, vmcb12);
    nvi_svm_advance(v->vmcb01, length);
    if (!is_accepted(v, fresh)) {
        refuse(v);
        finish_step(v);
        return;
    }
    nvi_svm_enter(v, fresh);
    v->stats.nested_entries++;
}

/* ---- #VMEXIT ---- */

static void back_to_l1(struct nvirt_svm_vcpu *v)
{
    if (v->flushing.open) {
        nvi_svm_flushes_owed(v);
    }
    if (shares_virtual_tpr(v)) {
        copy_v_tpr(v->vmcb02, v->vmcb01);
    }
    nvirt_vmcb_set_event_inj(v->vmcb02, 0);
    v->level = 1;
    v->gif = false;
    v->barrier = true;
}

/* What is pending is as L1 will see it, whatever hardware was given of it. */
static void show_virtual_events(struct nvirt_svm_vcpu *v)
{
    uint64_t int_ctl = v->vmcb02->int_ctl & ~(NVIRT_SVM_V_IRQ | NVIRT_SVM_V_NMI);

    nvirt_vmcb_set_int_ctl(v->vmcb02, int_ctl | (v->v_irq ? NVIRT_SVM_V_IRQ : 0) |
                                          (v->v_nmi ? NVIRT_SVM_V_NMI : 0));
    if (v->has_vgif) {
        v->vmcb12.int_ctl &= ~NVIRT_SVM_V_GIF;
        v->vmcb12.int_ctl |= v->v_gif ? NVIRT_SVM_V_GIF : 0;
    }
}

void nvi_svm_leave(struct nvirt_svm_vcpu *v, const struct nvi_svm_exit_info *info)
{
    struct nvirt_vmcb *page = vmcb12_page(v);

    show_virtual_events(v);
    nvi_svm_save_guest(v->vmcb02, &v->vmcb12);
    if (page != NULL) {
        const struct nvi_svm_write_back_in in = {&v->vmcb12, v->vmcb02, &v->offer, info};

        nvi_svm_write_back(&in, page);
        v->stats.bytes_written += NVI_SVM_SAVED_BYTES;
    }
    nvi_svm_load_host(v->vmcb02, v->np12, v->vmcb01);
    if (v->moves_options) {
        const struct nvi_svm_merge_in in = nvi_svm_merge_input(v, 0);

        nvi_svm_save_option_state(&in, v->vmcb02, v->vmcb01, page);
    }
    back_to_l1(v);
    v->stats.nested_exits++;
    finish_step(v);
}

void nvi_svm_refused(struct nvirt_svm_vcpu *v)
{
    nvirt_port_trace(v->vm->port, "hardware refused vmcb02", v->vmcb12_address.value);
    v->vmcb02->clean = 0;
    v->vmcb12_kept = false;
    v->stats.nested_entries--;
    back_to_l1(v);
    refuse(v);
    finish_step(v);
}

void nvi_svm_abandon(struct nvirt_svm_vcpu *v)
{
    nvi_svm_unwatch(v);
    nvi_svm_flushes_owed(v);
    v->vmcb12_kept = false;
    if (v->level == 2) {
        nvirt_vmcb_set_event_inj(v->vmcb02, 0);
        v->level = 1;
        v->root = NULL;
        v->barrier = true;
    }
}
