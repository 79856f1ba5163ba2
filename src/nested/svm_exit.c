/* SPDX-License-Identifier: MIT */
/*
 * Exits: whose each is, and what nvirt does about its own.
 */
#include "nested/svm_internal.h"

/* ---- level 1 ---- */

/* A physical interrupt or NMI that is L1's met an L1 whose GIF the CPU keeps. It still waits in the
 * CPU. With GIF 1 it is let through at the next entry. With GIF 0 an interrupt stays where it is, and the
 * host takes an NMI off the CPU: STGI exits then. */
static enum nvirt_verdict physical_event_of_l1(struct nvirt_svm_vcpu *v, uint64_t code)
{
    if (!v->pass_through || v->gif01 != NVI_SVM_GIF_CPUS ||
        (code == NVIRT_SVM_EXIT_NMI && !v->gif)) {
        return NVIRT_VERDICT_L1;
    }
    v->direct = true;
    return NVIRT_VERDICT_DONE;
}

/* Exits of L1 that are not its SVM instructions. */
NVIRT_NOINLINE static enum nvirt_verdict other_exit_of_l1(struct nvirt_svm_vcpu *v, uint64_t code,
                                                          struct nvirt_gprs *gprs)
{
    switch (code) {
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
    case NVI_SVM_EXIT_DR7_WRITE:
        /* It is executed again, and nvirt keeps GIF. */
        v->direct = true;
        return v->dr7_watch ? NVIRT_VERDICT_DONE : NVIRT_VERDICT_L1;
    case NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB:
        if (!v->db_watch) {
            return NVIRT_VERDICT_L1;
        }
        if (nvi_svm_discard_breakpoints(v)) {
            nvi_svm_raise(v, NVIRT_VECTOR_DB, false, 0);
        }
        return NVIRT_VERDICT_DONE;
    case NVIRT_SVM_EXIT_INTR:
    case NVIRT_SVM_EXIT_NMI:
        return physical_event_of_l1(v, code);
    default:
        return NVIRT_VERDICT_L1;
    }
}

static enum nvirt_verdict exit_of_l1(struct nvirt_svm_vcpu *v, uint64_t code,
                                     struct nvirt_gprs *gprs)
{
    /* VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT: VMMCALL is the host's. */
    if (code >= NVIRT_SVM_EXIT_VMRUN && code <= NVIRT_SVM_EXIT_SKINIT &&
        code != NVIRT_SVM_EXIT_VMMCALL) {
        return nvi_svm_instruction(v, code, gprs);
    }
    return other_exit_of_l1(v, code, gprs);
}

/* ---- level 2 ---- */

/* An exit that hardware took and L1 sees. */
static struct nvi_svm_exit_info hardware_info(const struct nvirt_svm_exit *exit)
{
    struct nvi_svm_exit_info info = {exit->code, exit->info1, exit->info2, exit->int_info};

    return info;
}

static void reflect(struct nvirt_svm_vcpu *v, const struct nvirt_svm_exit *exit)
{
    const struct nvi_svm_exit_info info = hardware_info(exit);

    nvi_svm_leave(v, &info);
}

NVIRT_NOINLINE static enum nvirt_status nested_fault(struct nvirt_svm_vcpu *v,
                                                     struct nvi_svm_exit_info info,
                                                     struct nvirt_svm_exit *exit)
{
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

/* Carries out what was decided, where that is not simply L1's exit. */
NVIRT_NOINLINE static enum nvirt_status act(struct nvirt_svm_vcpu *v, enum nvi_svm_action action,
                             struct nvirt_gprs *gprs, struct nvirt_svm_exit *exit)
{
    exit->verdict = NVIRT_VERDICT_DONE;
    switch (action) {
    case NVI_SVM_REFLECT:
        reflect(v, exit);
        break;
    case NVI_SVM_NESTED_FAULT:
        return nested_fault(v, hardware_info(exit), exit);
    case NVI_SVM_INSTRUCTION:
        if (exit->code == NVIRT_SVM_EXIT_MSR) {
            nvi_svm_msr(v, gprs, exit->info1 != 0);
        } else {
            exit->verdict = nvi_svm_instruction(v, exit->code, gprs);
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

/* L2 met #DB with GIF 0. What is left of it is whose it always is. */
NVIRT_COLD static enum nvi_svm_action debug_exception_of_l2(struct nvirt_svm_vcpu *v,
                                                            enum nvi_svm_action action)
{
    const uint32_t db = NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB;
    bool l0 = nvirt_vmcb_intercepts(v->vmcb01, db) && !v->db_watch;

    if (!nvi_svm_discard_breakpoints(v)) {
        return NVI_SVM_RESUME;
    }
    if (action == NVI_SVM_HOST && !l0) {
        nvi_svm_raise(v, NVIRT_VECTOR_DB, false, 0);
        return NVI_SVM_RESUME;
    }
    return action;
}

/* Outside long mode VMLOAD and VMSAVE exit though nobody intercepts them and L1 turned their
 * virtualization on [APM 2 "VMSAVE and VMLOAD Virtualization"]. The address is L2-physical, so L1 is told, as
 * that CPU would tell it: carried out here it would be taken for one of L1's. */
static bool is_virtual_vmload(const struct nvirt_svm_vcpu *v, uint64_t code)
{
    return (code == NVIRT_SVM_EXIT_VMLOAD || code == NVIRT_SVM_EXIT_VMSAVE) &&
           (v->vmcb02->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) != 0;
}

#define CR_FROM_REGISTER NVIRT_BIT(63) /* EXITINFO1 tells which: bits 3:0 [APM 2 "Decode Assists"]. */
#define CR0_NOT_SELECTIVE (NVIRT_CR0_TS | NVIRT_CR0_MP)

static uint64_t register_of_l2(const struct nvirt_svm_vcpu *v, const struct nvirt_gprs *gprs,
                               uint32_t number)
{
    if (number == NVIRT_RAX) {
        return v->vmcb02->rax;
    }
    return number == NVIRT_RSP ? v->vmcb02->rsp : gprs->r[number];
}

/*
 * L0 intercepts all writes of CR0 and L1 those that change more than TS and MP: hardware tells of the former only.
 * A write that is not known to change no more is L1's: LMSW, whatever it writes, and without
 * decode assists all.
 */
static bool is_selective_write(const struct nvirt_svm_vcpu *v, const struct nvirt_gprs *gprs,
                               const struct nvirt_svm_exit *exit)
{
    uint64_t written;

    if (exit->code != NVIRT_SVM_EXIT_CR0_WRITE ||
        !nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_CR0_SEL_WRITE)) {
        return false;
    }
    if ((v->cpu.features & NVIRT_SVM_FEATURE_DECODE_ASSISTS) == 0 ||
        (exit->info1 & CR_FROM_REGISTER) == 0) {
        return true;
    }
    written = register_of_l2(v, gprs, (uint32_t)exit->info1 & 15u);
    return ((written ^ v->vmcb02->cr0) & ~(uint64_t)CR0_NOT_SELECTIVE) != 0;
}

/* @p action is not simply that the exit is L1's. */
NVIRT_NOINLINE static enum nvirt_status other_exit_of_l2(struct nvirt_svm_vcpu *v,
                                                         enum nvi_svm_action action,
                                                         struct nvirt_gprs *gprs,
                                                         struct nvirt_svm_exit *exit)
{
    if (!v->gif && (exit->code == NVIRT_SVM_EXIT_NMI || exit->code == NVIRT_SVM_EXIT_INIT)) {
        /* L2 cleared GIF: the host takes it off the CPU, and holds it until STGI. */
        action = NVI_SVM_HOST;
    }
    if (!v->gif && exit->code == NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB) {
        action = debug_exception_of_l2(v, action);
    }
    if (action == NVI_SVM_HOST && is_selective_write(v, gprs, exit)) {
        exit->code = NVIRT_SVM_EXIT_CR0_SEL_WRITE;
        action = NVI_SVM_REFLECT;
    }
    if (action == NVI_SVM_INSTRUCTION && is_virtual_vmload(v, exit->code)) {
        action = NVI_SVM_REFLECT;
    }
    if (action == NVI_SVM_IO) {
        action = nvi_svm_maps_decide_io(v, exit->info1);
    } else if (action == NVI_SVM_MSR) {
        action = nvi_svm_maps_decide_msr(v, (uint32_t)gprs->r[NVIRT_RCX], exit->info1 != 0);
    }
    return act(v, action, gprs, exit);
}

static enum nvirt_status exit_of_l2(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs,
                                    struct nvirt_svm_exit *exit)
{
    enum nvi_svm_action action =
        nvi_svm_reflect(v->vmcb01, &v->vmcb12, exit->code, v->pass_through);

    if (exit->code == NVIRT_SVM_EXIT_VMMCALL && nvi_hv_direct_is_active(v->hv) &&
        nvi_svm_direct_vmmcall(v, gprs)) {
        return NVIRT_OK;
    }
    if (action != NVI_SVM_REFLECT || !v->gif) {
        return other_exit_of_l2(v, action, gprs, exit);
    }
    reflect(v, exit);
    return NVIRT_OK;
}

/* ---- the host's call ---- */

/* What the host's exit interrupted is delivered again after it. A task switch is part of the
 * delivery and delivers the event itself. */
NVIRT_COLD static void requeue_for_host(struct nvirt_svm_vcpu *v,
                                        const struct nvirt_svm_exit *exit)
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
}

/* What an entry used up. A VMRUN that was refused may have flushed nothing. */
NVIRT_COLD static void count_bus_locks(struct nvirt_svm_vcpu *v)
{
    const struct nvi_svm_merge_in in = nvi_svm_merge_input(v, 0);

    nvi_svm_count_bus_locks(&in, v->bus_locks, v->vmcb02, &v->vmcb12, v->vmcb01);
}

static void settle_entry(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    nvirt_vmcb_set_event_inj(vmcb, 0);
    if (was_refused(vmcb->exit_code)) {
        nvi_svm_flushes_owed(v);
        vmcb->clean = 0;
        v->gif01 = NVI_SVM_GIF_UNKNOWN;
        return;
    }
    if (v->flushing.open) {
        nvi_svm_flushes_done(v);
    }
    nvirt_vmcb_set_tlb_control(vmcb, NVIRT_SVM_TLB_NOTHING);
    if (v->level == 2) {
        if ((v->cpu.features & NVIRT_SVM_FEATURE_CLEAN) != 0) {
            v->vmcb02->clean = NVIRT_VMCB_CLEAN_ALL;
        }
        if ((v->cpu.features & NVIRT_SVM_FEATURE_BUS_LOCK) != 0) {
            count_bus_locks(v);
        }
    } else if (v->gif01 == NVI_SVM_GIF_CPUS) {
        v->gif = (vmcb->int_ctl & NVIRT_SVM_V_GIF) != 0;
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
        exit->branch_barrier = false;
        return NVIRT_OK;
    }
    if (v->level == 2) {
        status = exit_of_l2(v, gprs, exit);
    } else {
        exit->verdict = exit_of_l1(v, exit->code, gprs);
    }
    if (exit->int_info != 0) {
        requeue_for_host(v, exit);
    }
    exit->branch_barrier = v->barrier;
    v->barrier = false;
    return status;
}
