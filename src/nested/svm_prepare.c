/* SPDX-License-Identifier: MIT */
/*
 * The last steps before VMRUN: events that waited, L0's changed controls, tables and tags, flushes,
 * interrupt controls.
 */
#include "nested/svm_internal.h"
#include "vmcb/tsc.h"

/* On another CPU hardware has nothing of vmcb02. */
static void note_cpu(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu)
{
    if (v->last_cpu != cpu) {
        v->last_cpu = cpu;
        v->cpu_number = nvirt_tlb_cpu(&v->tlb, cpu);
        v->vmcb02->clean = 0;
    }
}

/* ---- flushes ---- */

/* INVLPGA acts at once, TLB_CONTROL when VMRUN does. Of the latter an entry needs one at most. */
NVIRT_COLD static void carry_out(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu,
                                 const struct nvirt_flush_op *op, struct nvirt_vmcb *vmcb)
{
    if (op->kind == NVIRT_FLUSH_ASID_ADDRESS) {
        nvirt_port_invlpga(cpu, nvirt_gva_make(op->operand), op->tag);
        v->stats.flushes_address++;
        nvirt_tlb_done(&v->tlb, v->flushing.entry.cpu, op);
        return;
    }
    if (op->kind == NVIRT_FLUSH_ASID && vmcb->tlb_control != NVIRT_SVM_TLB_ALL) {
        nvirt_vmcb_set_tlb_control(vmcb, NVIRT_SVM_TLB_ASID);
        v->stats.flushes_tag++;
    } else {
        nvirt_vmcb_set_tlb_control(vmcb, NVIRT_SVM_TLB_ALL);
        v->stats.flushes_all++;
    }
    v->flushing.by_control = true;
    v->flushing.op = *op;
}

NVIRT_COLD static void ask(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu, uint32_t root)
{
    const struct nvirt_tlb_entry entry = { .level = v->level, .cpu = v->cpu_number, .root = root };
    struct nvirt_flush_set due;

    v->flushing.open = true;
    v->flushing.by_control = false;
    v->flushing.entry = entry;
    nvi_hv_due(v->hv, &v->tlb, &entry, &due);
    for (uint32_t i = 0; i < due.count; i++) {
        carry_out(v, cpu, &due.op[i], nvi_svm_current(v));
    }
}

/* The entry of @p level, a constant of the caller's, is made if it needs no flush; nothing waits in
 * Hyper-V's queue. */
static inline bool enter_settled(struct nvirt_svm_vcpu *v, uint32_t level, uint32_t root)
{
    const struct nvirt_tlb_entry entry = { .level = level, .cpu = v->cpu_number, .root = root };

    return nvirt_tlb_enter_settled(&v->tlb, &entry);
}

void nvi_svm_flushes_done(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_flushing *f = &v->flushing;

    if (f->open && f->by_control) {
        nvirt_tlb_done(&v->tlb, f->entry.cpu, &f->op);
    }
    if (f->open) {
        nvirt_tlb_entered(&v->tlb, &f->entry);
    }
    f->open = false;
}

/* The flush engine was not told that it was done, so it is still due. */
void nvi_svm_flushes_owed(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_flushing *f = &v->flushing;

    /* vmcb01 keeps its TLB_CONTROL, the host's wish may be in it; vmcb02 runs other tags too. */
    if (f->open && f->entry.level == 2) {
        nvirt_vmcb_set_tlb_control(v->vmcb02, NVIRT_SVM_TLB_NOTHING);
    }
    f->open = false;
}

/* ---- level 2 ---- */

static void merge_again(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_merge_in in = nvi_svm_merge_input(v, 0);

    nvi_svm_merge_controls(&in, v->vmcb02);
    v->events02 = NVI_SVM_EVENTS_UNKNOWN;
    nvi_svm_maps_l0_changed(v);
    v->hv_maps_clean = false;
    nvi_svm_maps_reset(v);
    v->controls_changed = false;
}

/* Marks the tables behind @p root stale where L1 may count on that. With Hyper-V's enlightened
 * NPT a flush of an ASID does not reach nested translations: L1 makes a hypercall. */
static void revalidate(struct nvirt_svm_vcpu *v)
{
    uint32_t number = (uint32_t)(v->root - v->mmu.roots);

    if (v->np12 && (v->hv_enlightenments & NVI_HV_VMCB_NPT_TLB) == 0 &&
        nvirt_tlb_svm_revalidates(&v->tlb, number)) {
        v->root->stale = true;
    }
}

NVIRT_COLD static enum nvirt_status find_root(struct nvirt_svm_vcpu *v)
{
    enum nvirt_status status = nvi_npt_root(&v->mmu, &v->key, &v->root);

    if (status != NVIRT_OK) {
        v->root = NULL;
        return status;
    }
    v->root->serial = v->root_number;
    return NVIRT_OK;
}

/* All that enter_l2() looks at is as it was when this root was last entered. @p sequence: the port's. */
static bool is_settled(const struct nvirt_svm_vcpu *v, uint64_t sequence)
{
    const struct nvi_mmu_root *root = v->root;

    return root != NULL && nvi_mmu_is_settled(&v->mmu, root, sequence, 0) &&
           !nvi_vm_must_tell(&v->mmu, &v->told) && v->vmcb02->n_cr3 == root->table.value &&
           (v->cpu.features & NVIRT_SVM_FEATURE_BUS_LOCK) == 0;
}

NVIRT_NOINLINE static enum nvirt_status enter_l2(struct nvirt_svm_vcpu *v,
                                                 struct nvirt_port_cpu *cpu)
{
    uint32_t number;

    if (v->root == NULL) {
        enum nvirt_status status = find_root(v);

        if (status != NVIRT_OK) {
            return status;
        }
    }
    revalidate(v);
    number = nvi_vm_enter_root(&v->mmu, v->root, &v->tlb);
    if (nvi_vm_must_tell(&v->mmu, &v->told)) {
        nvi_vm_tell_changes(&v->mmu, &v->told, &v->tlb);
    }
    if ((v->cpu.features & NVIRT_SVM_FEATURE_BUS_LOCK) != 0) {
        const struct nvi_svm_merge_in in = nvi_svm_merge_input(v, 0);

        nvi_svm_merge_bus_locks(&in, v->vmcb02);
        v->bus_locks = v->vmcb02->bus_lock_count;
    }
    nvirt_vmcb_set_n_cr3(v->vmcb02, v->root->table.value);
    if (nvi_hv_waits(v->hv, 2) || !enter_settled(v, 2, number)) {
        ask(v, cpu, number);
    }
    return NVIRT_OK;
}

/* @return true when no flush waits in the queue of this L2. */
NVIRT_NOINLINE static bool take_hyperv(struct nvirt_svm_vcpu *v)
{
    nvi_hv_take_nested(v->hv, &v->mmu);
    if (v->hv_entered && nvi_svm_direct_is_offered(v)) {
        nvi_svm_direct_enter(v);
    }
    v->hv_entered = false;
    return !nvi_hv_waits(v->hv, 2);
}

static enum nvirt_status prepare_l2(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu, bool quiet)
{
    if (v->hv != NULL && !take_hyperv(v)) {
        quiet = false;
    }
    if (quiet && is_settled(v, v->pins_sequence)) {
        revalidate(v);
        if (!v->root->stale && enter_settled(v, 2, (uint32_t)(v->root - v->mmu.roots))) {
            return NVIRT_OK;
        }
    }
    return enter_l2(v, cpu);
}

/* ---- level 1 ---- */

static void prepare_l1(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu)
{
    if (nvi_hv_waits(v->hv, 1) || !enter_settled(v, 1, 0)) {
        ask(v, cpu, 0);
    }
    /* The host writes vmcb01 too; no cache of it is trusted. */
    v->vmcb01->clean = 0;
}

/* ---- the host's call ---- */

/* True for nearly every entry: the CPU is that of the last one, nothing waits, and the host
 * moved no memory and changed no control meanwhile. */
static bool is_quiet(const struct nvirt_svm_vcpu *v, const struct nvirt_port_cpu *cpu)
{
    return v->last_cpu == cpu && !v->prepared && !v->controls_changed && v->waiting.any == 0 &&
           v->pins_sequence == nvirt_port_sequence(v->vm->port);
}

NVIRT_COLD static void catch_up(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu)
{
    if (v->prepared) {
        /* What an earlier prepare put in for an entry that did not come. */
        nvi_svm_unwatch(v);
        nvi_svm_flushes_owed(v);
        v->prepared = false;
    }
    note_cpu(v, cpu);
    nvi_svm_unpin_moved(v);
    /* Before the watches: merging writes all intercepts. */
    if (v->level == 2 && v->controls_changed) {
        merge_again(v);
    }
    nvi_svm_deliver(v);
}

/* For an exit that interrupts its delivery. */
static inline void note_event(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb)
{
    if ((vmcb->event_inj | v->requeued) != 0) {
        v->requeued = vmcb->event_inj;
        v->requeued_next_rip = vmcb->next_rip;
    }
}

enum nvirt_status nvirt_svm_prepare(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu,
                                    struct nvirt_svm_run *run)
{
    enum nvirt_status status = NVIRT_OK;
    bool quiet;

    if (v == NULL || cpu == NULL || run == NULL) {
        return NVIRT_ERR_NULL;
    }
    quiet = is_quiet(v, cpu);
    if (!quiet) {
        catch_up(v, cpu);
    }
    if (v->level == 2) {
        status = prepare_l2(v, cpu, quiet);
    } else {
        prepare_l1(v, cpu);
    }
    run->branch_barrier = v->barrier;
    v->barrier = false;
    if (status != NVIRT_OK) {
        return status;
    }
    run->host_if = nvi_svm_watch(v);
    run->exit_soon = v->own.exit_soon;
    run->vmcb = v->level == 2 ? v->vmcb02_hpa : v->vmcb01_hpa;
    run->state_vmcb = v->vmcb01_hpa;
    run->level = v->level;
    run->tsc_ratio = v->tsc_ratio01;
    if (v->level == 2 && v->tsc_ratio12 != NVIRT_SVM_TSC_RATIO_ONE) {
        run->tsc_ratio = nvi_svm_tsc_ratio(v->tsc_ratio01, v->tsc_ratio12);
    }
    note_event(v, nvi_svm_current(v));
    v->prepared = true;
    return NVIRT_OK;
}
