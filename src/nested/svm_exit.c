/* SPDX-License-Identifier: MIT */
/*
 * Exits: whose each is, and what nvirt does about its own.
 */
#include "nested/svm_internal.h"

/* ---- level 1 ---- */

static enum nvirt_verdict exit_of_l1(struct nvirt_svm_vcpu *v, uint64_t code,
                                     struct nvirt_gprs *gprs)
{
    switch (code) {
    case NVIRT_SVM_EXIT_VMRUN:
    case NVIRT_SVM_EXIT_VMLOAD:
    case NVIRT_SVM_EXIT_VMSAVE:
    case NVIRT_SVM_EXIT_STGI:
    case NVIRT_SVM_EXIT_CLGI:
    case NVIRT_SVM_EXIT_SKINIT:
    case NVIRT_SVM_EXIT_INVLPGA:
        return nvi_svm_instruction(v, code, gprs);
    case NVIRT_SVM_EXIT_MSR:
        if (!nvi_svm_msr_is_held(v, (uint32_t)gprs->r[NVIRT_RCX])) {
            return NVIRT_VERDICT_L1;
        }
        nvi_svm_msr(v, gprs, v->vmcb01->exit_info1 != 0);
        return NVIRT_VERDICT_DONE;
    case NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP:
        return v->own.gp_watch ? nvi_svm_watched_gp(v) : NVIRT_VERDICT_L1;
    default:
        return NVIRT_VERDICT_L1;
    }
}

/* ---- level 2 ---- */

/* An exit that hardware took and L1 sees. */
static struct nvi_svm_exit_info hardware_info(const struct nvirt_vmcb *vmcb02)
{
    struct nvi_svm_exit_info info;

    info.code = vmcb02->exit_code;
    info.info1 = vmcb02->exit_info1;
    info.info2 = vmcb02->exit_info2;
    info.int_info = nvi_svm_normal_event(vmcb02->exit_int_info);
    return info;
}

static enum nvirt_status nested_fault(struct nvirt_svm_vcpu *v, struct nvirt_svm_exit *exit)
{
    struct nvi_svm_exit_info info = hardware_info(v->vmcb02);
    struct nvi_npt_verdict found = {0};
    enum nvi_fault fault;

    if ((info.info1 & NVIRT_SVM_NPF_RSV) != 0) {
        /* Hardware walks NPT02 only, where nvirt sets no reserved bit: the host does not run in the
         * paging mode that the tables are made for. Repairing them would go on for ever. */
        exit->verdict = NVIRT_VERDICT_DONE;
        nvirt_port_trace(v->vm->port, "reserved bit in nested tables", info.info2);
        return NVIRT_ERR_HARDWARE;
    }
    fault = nvi_npt_fault(&v->mmu, v->root, &v->npt, info.info1,
                                         nvirt_l2gpa_make(info.info2), &found);

    exit->verdict = NVIRT_VERDICT_DONE;
    if (fault == NVI_FAULT_REFLECT || fault == NVI_FAULT_REFLECT_MISCONFIG) {
        info.info1 = found.info1;
        nvi_svm_leave(v, &info);
        return NVIRT_OK;
    }
    if (fault == NVI_FAULT_HOST) {
        exit->verdict = NVIRT_VERDICT_L2;
        exit->l1gpa = found.l1gpa;
    } else {
        nvi_svm_requeue(v, info.int_info);
    }
    return fault == NVI_FAULT_NO_PAGE ? NVIRT_ERR_NO_PAGE : NVIRT_OK;
}

/* Carries out what was decided. */
static enum nvirt_status act(struct nvirt_svm_vcpu *v, enum nvi_svm_action action,
                             struct nvirt_gprs *gprs, struct nvirt_svm_exit *exit)
{
    struct nvi_svm_exit_info info = hardware_info(v->vmcb02);

    exit->verdict = NVIRT_VERDICT_DONE;
    switch (action) {
    case NVI_SVM_REFLECT:
        nvi_svm_leave(v, &info);
        break;
    case NVI_SVM_NESTED_FAULT:
        return nested_fault(v, exit);
    case NVI_SVM_INSTRUCTION:
        if (info.code == NVIRT_SVM_EXIT_MSR) {
            nvi_svm_msr(v, gprs, info.info1 != 0);
        } else {
            exit->verdict = nvi_svm_instruction(v, info.code, gprs);
        }
        break;
    case NVI_SVM_UNDEFINED:
        nvi_svm_raise(v, NVIRT_VECTOR_UD, false, 0);
        break;
    case NVI_SVM_REFUSED:
        nvi_svm_refused(v);
        break;
    case NVI_SVM_DEAD:
        exit->verdict = NVIRT_VERDICT_L1_SHUTDOWN;
        break;
    case NVI_SVM_RESUME:
        break;
    case NVI_SVM_HOST:
    case NVI_SVM_IO:
    case NVI_SVM_MSR:
        exit->verdict = NVIRT_VERDICT_L2;
        break;
    }
    return NVIRT_OK;
}

static enum nvirt_status exit_of_l2(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs,
                                    struct nvirt_svm_exit *exit)
{
    enum nvi_svm_action action = nvi_svm_reflect(&v->vmcb12, exit->code, v->pass_through);

    if (!v->gif && (exit->code == NVIRT_SVM_EXIT_NMI || exit->code == NVIRT_SVM_EXIT_INIT)) {
        /* L2 cleared GIF: the host takes it off the CPU, and holds it until STGI. */
        action = NVI_SVM_HOST;
    }
    if (action == NVI_SVM_IO) {
        action = nvi_svm_maps_decide_io(v, exit->info1);
    } else if (action == NVI_SVM_MSR) {
        action = nvi_svm_maps_decide_msr(v, (uint32_t)gprs->r[NVIRT_RCX], exit->info1 != 0);
    }
    return act(v, action, gprs, exit);
}

/* ---- the host's call ---- */

/* What the host's exit interrupted is delivered again after it. A task switch is part of the
 * delivery and delivers the event itself. */
static void requeue_for_host(struct nvirt_svm_vcpu *v, const struct nvirt_svm_exit *exit)
{
    bool hosts = exit->verdict == NVIRT_VERDICT_L1 || exit->verdict == NVIRT_VERDICT_L2;

    if (hosts && exit->code != NVIRT_SVM_EXIT_TASK_SWITCH) {
        nvi_svm_requeue(v, exit->int_info);
    }
}

static bool was_refused(uint64_t code)
{
    return code == NVIRT_SVM_EXIT_INVALID || code == NVIRT_SVM_EXIT_INVALID_LOW;
}

static void describe(const struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                     struct nvirt_svm_exit *exit)
{
    exit->verdict = NVIRT_VERDICT_DONE;
    exit->level = v->level;
    exit->code = vmcb->exit_code;
    exit->info1 = vmcb->exit_info1;
    exit->info2 = vmcb->exit_info2;
    /* A guest that was not entered had no delivery to interrupt: what stands there is of an earlier
     * exit. */
    exit->int_info = was_refused(vmcb->exit_code) ? 0 : nvi_svm_normal_event(vmcb->exit_int_info);
    exit->l1gpa = nvirt_l1gpa_make(0);
    exit->branch_barrier = false;
}

/* What an entry used up. A VMRUN that was refused may have flushed nothing. */
static void settle_entry(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    nvirt_vmcb_set_event_inj(vmcb, 0);
    if (was_refused(vmcb->exit_code)) {
        nvi_svm_flushes_owed(v);
        vmcb->clean = 0;
        return;
    }
    nvi_svm_flushes_done(v);
    nvirt_vmcb_set_tlb_control(vmcb, NVIRT_SVM_TLB_NOTHING);
    if (v->level == 2 && (v->cpu.features & NVIRT_SVM_FEATURE_CLEAN) != 0) {
        v->vmcb02->clean = NVIRT_VMCB_CLEAN_ALL;
    }
}

enum nvirt_status nvirt_svm_exit(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu,
                                 struct nvirt_gprs *gprs, struct nvirt_svm_exit *exit)
{
    enum nvirt_status status = NVIRT_OK;
    struct nvirt_vmcb *vmcb;

    if (v == NULL || cpu == NULL || gprs == NULL || exit == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (!v->prepared) {
        return NVIRT_ERR_STATE;
    }
    v->prepared = false;
    vmcb = nvi_svm_current(v);
    describe(v, vmcb, exit);
    settle_entry(v, vmcb);
    if (v->level == 2) {
        v->stats.exits_l2++;
    } else {
        v->stats.exits_l1++;
    }
    if (nvi_svm_close_window(v, exit->code)) {
        return NVIRT_OK;
    }
    if (v->level == 2) {
        status = exit_of_l2(v, gprs, exit);
    } else {
        exit->verdict = exit_of_l1(v, exit->code, gprs);
    }
    requeue_for_host(v, exit);
    exit->branch_barrier = v->barrier;
    v->barrier = false;
    return status;
}
