/* SPDX-License-Identifier: MIT */
/*
 * The last steps before VMRUN: events that waited, L0's changed controls, tables and tags, flushes,
 * interrupt controls.
 */
#include "nested/svm_internal.h"

/* A CPU is known by its number to the flush engine. One that is come back to gets a new number:
 * that costs a flush that would be due anyway, and needs no list. */
static void note_cpu(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu)
{
    if (v->last_cpu != cpu) {
        v->last_cpu = cpu;
        v->cpu_number++;
        v->vmcb02->clean = 0;
    }
}

static void carry_out(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu,
                      const struct nvirt_flush_set *due, struct nvirt_vmcb *vmcb)
{
    uint8_t control = vmcb->tlb_control;

    for (uint32_t i = 0; i < due->count; i++) {
        const struct nvirt_flush_op *op = &due->op[i];

        switch (op->kind) {
        case NVIRT_FLUSH_ASID:
            control = control == NVIRT_SVM_TLB_ALL ? control : NVIRT_SVM_TLB_ASID;
            v->stats.flushes_tag++;
            break;
        case NVIRT_FLUSH_ASID_ADDRESS:
            nvirt_port_invlpga(cpu, nvirt_gva_make(op->operand), op->tag);
            v->stats.flushes_address++;
            break;
        default:
            control = NVIRT_SVM_TLB_ALL;
            v->stats.flushes_all++;
            break;
        }
    }
    nvirt_vmcb_set_tlb_control(vmcb, control);
}

/* What the flush engine takes as carried out when it hands the operations over is carried out by
 * VMRUN only: INVLPGA alone has acted by then. */
static void open_flushes(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                         enum nvi_mmu_flush tables)
{
    v->flushing.open = true;
    v->flushing.level = v->level;
    v->flushing.control = vmcb->tlb_control;
    v->flushing.tables = tables;
}

void nvi_svm_flushes_done(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_flushing *f = &v->flushing;

    if (f->open && f->level == 2) {
        nvi_mmu_flushed(&v->mmu, v->root, v->cpu_number, f->tables);
    }
    f->open = false;
}

void nvi_svm_flushes_owed(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_flushing *f = &v->flushing;

    if (!f->open) {
        return;
    }
    f->open = false;
    if (f->control != NVIRT_SVM_TLB_NOTHING) {
        bool one = f->level == 2 && f->control != NVIRT_SVM_TLB_ALL;

        /* L1's too: this is rare enough not to tell apart what the flush was for. */
        nvirt_tlb_tables_changed(&v->tlb, one ? v->asid02 : 0);
        nvirt_tlb_flush_l1(&v->tlb);
    }
    /* vmcb01 keeps its TLB_CONTROL, the host's wish may be in it; vmcb02 runs other tags too. */
    if (f->level == 2) {
        nvirt_vmcb_set_tlb_control(v->vmcb02, NVIRT_SVM_TLB_NOTHING);
    }
}

/* ---- level 2 ---- */

static void merge_again(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_merge_in in = nvi_svm_merge_input(v);

    nvi_svm_merge_controls(&in, v->vmcb02);
    nvi_svm_maps_reset(v);
    v->controls_changed = false;
}

/* An ASID tags nested translations too, so tables that changed make every tag stale that runs on
 * them. A tag that ran on them before and on others since owes its flush already; one that ran on
 * tables whose place another root took has a number that no root has: it owes it when bound. */
static void tables_changed(struct nvirt_svm_vcpu *v, enum nvi_mmu_flush flush)
{
    if (flush == NVI_MMU_FLUSH_ALL) {
        nvirt_tlb_tables_changed(&v->tlb, 0);
        return;
    }
    for (uint32_t i = 0; i < v->tlb.tag_count; i++) {
        if (v->tlb.tag[i].root == v->root_number) {
            nvirt_tlb_tables_changed(&v->tlb, v->tlb.tag[i].tag02);
        }
    }
}

static enum nvirt_status prepare_l2(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu)
{
    struct nvirt_flush_set due = {0};
    enum nvi_mmu_flush flush;

    if (v->root == NULL) {
        enum nvirt_status status = nvi_npt_root(&v->mmu, &v->key, &v->root);

        if (status != NVIRT_OK) {
            v->root = NULL;
            return status;
        }
        v->root->serial = v->root_number;
    }
    flush = nvi_mmu_enter(&v->mmu, v->root, v->cpu_number);
    if (flush != NVI_MMU_FLUSH_NONE) {
        tables_changed(v, flush);
    }
    nvirt_vmcb_set_n_cr3(v->vmcb02, v->root->table.value);
    nvirt_tlb_svm_due_l2(&v->tlb, v->cpu_number, v->asid02, &due);
    carry_out(v, cpu, &due, v->vmcb02);
    open_flushes(v, v->vmcb02, flush);
    return NVIRT_OK;
}

/* ---- level 1 ---- */

static void prepare_l1(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu)
{
    struct nvirt_flush_set due = {0};

    nvirt_tlb_due_l1(&v->tlb, v->cpu_number, true, &due);
    carry_out(v, cpu, &due, v->vmcb01);
    open_flushes(v, v->vmcb01, NVI_MMU_FLUSH_NONE);
    /* The host writes vmcb01 too; no cache of it is trusted. */
    v->vmcb01->clean = 0;
}

/* ---- the host's call ---- */

enum nvirt_status nvirt_svm_prepare(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu,
                                    struct nvirt_svm_run *run)
{
    enum nvirt_status status = NVIRT_OK;

    if (v == NULL || cpu == NULL || run == NULL) {
        return NVIRT_ERR_NULL;
    }
    /* What an earlier prepare put in for an entry that did not come. */
    nvi_svm_unwatch(v);
    nvi_svm_flushes_owed(v);
    v->prepared = false;
    note_cpu(v, cpu);
    nvi_svm_unpin_moved(v);
    /* Before the watches: merging writes all intercepts. */
    if (v->level == 2 && v->controls_changed) {
        merge_again(v);
    }
    nvi_svm_deliver(v);
    if (v->level == 2) {
        status = prepare_l2(v, cpu);
    } else {
        prepare_l1(v, cpu);
    }
    run->branch_barrier = v->barrier;
    v->barrier = false;
    if (status != NVIRT_OK) {
        return status;
    }
    run->host_if = nvi_svm_watch(v);
    run->vmcb = v->level == 2 ? v->vmcb02_hpa : v->vmcb01_hpa;
    run->state_vmcb = v->vmcb01_hpa;
    run->level = v->level;
    v->requeued = nvi_svm_current(v)->event_inj;
    v->requeued_next_rip = nvi_svm_current(v)->next_rip;
    v->prepared = true;
    return NVIRT_OK;
}
