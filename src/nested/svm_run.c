/* SPDX-License-Identifier: MIT */
/*
 * The two transitions: VMRUN of L1 and #VMEXIT of L2. VMRUN checks everything before it changes
 * anything; from then on nothing can fail. Tables for L2 are found by the next prepare, which the
 * host may repeat.
 */
#include "nested/svm_internal.h"

/* ---- pages of L1 ---- */

static void unpin(struct nvirt_svm_vcpu *v, struct nvi_svm_pin *pin)
{
    if (pin->used) {
        nvirt_port_unpin(v->vm->port, nvirt_l1gpa_make(pin->page), pin->hpa, true);
        v->stats.unpins++;
        pin->used = false;
    }
}

void nvi_svm_unpin_all(struct nvirt_svm_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        unpin(v, &v->pin[i]);
    }
}

void nvi_svm_unpin_moved(struct nvirt_svm_vcpu *v)
{
    uint64_t now = nvirt_port_sequence(v->vm->port);

    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        struct nvi_svm_pin *pin = &v->pin[i];

        if (pin->sequence != now && (v->level != 2 || pin->page != v->vmcb12_address.value)) {
            unpin(v, pin);
        }
    }
}

static struct nvi_svm_pin *find_pin(struct nvirt_svm_vcpu *v, uint64_t page)
{
    for (uint32_t i = 0; i < NVI_SVM_PINS; i++) {
        if (v->pin[i].used && v->pin[i].page == page) {
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

struct nvirt_vmcb *nvi_svm_page(struct nvirt_svm_vcpu *v, nvirt_l1gpa page)
{
    struct nvi_svm_pin *pin = find_pin(v, page.value);
    nvirt_hpa hpa;

    if (pin == NULL) {
        if (nvirt_port_pin(v->vm->port, page, NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE, &hpa) !=
            NVIRT_OK) {
            return NULL;
        }
        pin = oldest_pin(v);
        unpin(v, pin);
        v->stats.pins++;
        pin->used = true;
        pin->page = page.value;
        pin->hpa = hpa;
        pin->sequence = nvirt_port_sequence(v->vm->port);
    }
    pin->last_use = ++v->pin_clock;
    return nvirt_port_page_pointer(v->vm->port, pin->hpa);
}

/* ---- VMRUN ---- */

struct nvi_svm_merge_in nvi_svm_merge_input(const struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_merge_in in;

    in.vmcb12 = &v->vmcb12;
    in.vmcb01 = v->vmcb01;
    in.offer = &v->offer;
    in.iopm02 = v->iopm02_hpa;
    in.msrpm02 = v->msrpm02_hpa;
    in.asid02 = v->asid02;
    in.pass_through = v->pass_through;
    return in;
}

static void take_snapshot(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page)
{
    if (page == NULL) {
        /* A bus without memory reads ones: no VMCB with these registers passes the checks. */
        static const uint64_t ones = ~UINT64_C(0);

        v->vmcb12.efer = v->vmcb12.cr0 = v->vmcb12.cr4 = ones;
        return;
    }
    nvi_svm_snapshot(page, &v->vmcb12);
    v->stats.bytes_read += NVI_SVM_SNAPSHOT_BYTES;
}

/* The nested tables of this L2: L1's own, read in the mode L1 runs in now, or L1's memory as it is. */
static struct nvi_mmu_key nested_key(const struct nvirt_svm_vcpu *v)
{
    struct nvi_npt_mode mode;
    struct nvi_mmu_key key;

    if (!v->np12) {
        return nvi_npt_direct_key(0);
    }
    mode.ncr3 = v->vmcb12.n_cr3;
    mode.cr0 = v->vmcb01->cr0;
    mode.cr4 = v->vmcb01->cr4;
    mode.efer = v->vmcb01->efer;
    mode.pat = v->vmcb01->g_pat;
    key = nvi_npt_key(&mode);
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
    struct nvirt_tlb_svm_entry entry;
    bool revalidate = false;

    entry.cpu = v->cpu_number;
    entry.asid12 = v->vmcb12.asid;
    entry.root12 = v->root_number;
    entry.tlb_control = tlb_control12(v);
    v->asid02 = nvirt_tlb_svm_enter_l2(&v->tlb, &entry, &revalidate);
    if (revalidate && v->np12) {
        nvi_mmu_invalidate(&v->mmu, v->key.table);
    }
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

static void enter(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_merge_in in;

    v->np12 = nvi_svm_np12(&v->vmcb12, &v->offer);
    v->l1_if = (v->vmcb01->rflags & NVIRT_RFLAGS_IF) != 0;
    v->v_irq = (v->vmcb12.int_ctl & NVIRT_SVM_V_IRQ) != 0;
    v->key = nested_key(v);
    v->root_number = nvi_mmu_serial(&v->mmu, &v->key);
    v->root = NULL;
    bind_tag(v);
    in = nvi_svm_merge_input(v);
    nvi_svm_merge(&in, v->vmcb02);
    if (shares_virtual_tpr(v)) {
        copy_v_tpr(v->vmcb01, v->vmcb02);
    }
    nvi_svm_maps_reset(v);
    v->controls_changed = false;
    v->gif = true;
    v->level = 2;
    v->stats.nested_entries++;
}

/* VMRUN ends with VMEXIT_INVALID. L1 sees a #VMEXIT, of a guest that never ran. */
static void refuse(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *page = nvi_svm_page(v, v->vmcb12_address);

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

void nvi_svm_vmrun(struct nvirt_svm_vcpu *v, nvirt_l1gpa vmcb12, uint32_t length)
{
    struct nvi_svm_check_in in;
    enum nvi_svm_rule rule;

    if (v->level != 1) {
        /* Not reachable: vmcb12 intercepts VMRUN, a rule says so. */
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
        return;
    }
    v->vmcb12_address = vmcb12;
    take_snapshot(v, nvi_svm_page(v, vmcb12));
    in.vmcb12 = &v->vmcb12;
    in.offer = &v->offer;
    in.host_paging = (v->vmcb01->cr0 & NVIRT_CR0_PG) != 0;
    rule = nvi_svm_check(&in);
    nvi_svm_advance(v->vmcb01, length);
    if (rule != NVI_SVM_RULE_NONE) {
        nvirt_port_trace(v->vm->port, nvi_svm_rule_name(rule), vmcb12.value);
        refuse(v);
        finish_step(v);
        return;
    }
    enter(v);
}

/* ---- #VMEXIT ---- */

static void back_to_l1(struct nvirt_svm_vcpu *v)
{
    nvi_svm_flushes_owed(v);
    if (shares_virtual_tpr(v)) {
        copy_v_tpr(v->vmcb02, v->vmcb01);
    }
    nvirt_vmcb_set_event_inj(v->vmcb02, 0);
    v->level = 1;
    v->gif = false;
    v->root = NULL;
    v->barrier = true;
}

void nvi_svm_leave(struct nvirt_svm_vcpu *v, const struct nvi_svm_exit_info *info)
{
    struct nvirt_vmcb *page = nvi_svm_page(v, v->vmcb12_address);
    uint64_t int_ctl = v->vmcb02->int_ctl & ~NVIRT_SVM_V_IRQ;

    nvirt_vmcb_set_int_ctl(v->vmcb02, int_ctl | (v->v_irq ? NVIRT_SVM_V_IRQ : 0));
    nvi_svm_save_guest(v->vmcb02, &v->offer, info, &v->vmcb12);
    if (page != NULL) {
        nvi_svm_write_back(&v->vmcb12, &v->offer, page);
        v->stats.bytes_written += NVI_SVM_SAVED_BYTES;
    }
    nvi_svm_load_host(v->vmcb02, v->np12, v->vmcb01);
    back_to_l1(v);
    v->stats.nested_exits++;
    finish_step(v);
}

void nvi_svm_refused(struct nvirt_svm_vcpu *v)
{
    nvirt_port_trace(v->vm->port, "hardware refused vmcb02", v->vmcb12_address.value);
    v->vmcb02->clean = 0;
    v->stats.nested_entries--;
    back_to_l1(v);
    refuse(v);
    finish_step(v);
}

void nvi_svm_abandon(struct nvirt_svm_vcpu *v)
{
    nvi_svm_unwatch(v);
    nvi_svm_flushes_owed(v);
    if (v->level == 2) {
        nvirt_vmcb_set_event_inj(v->vmcb02, 0);
        v->level = 1;
        v->root = NULL;
        v->barrier = true;
    }
}
