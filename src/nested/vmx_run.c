/* SPDX-License-Identifier: MIT */
/*
 * The host's calls around a run: fields, prepare, exit, failed entry, events, CPU changes. Each
 * sets up the call's context, hands on, and reports what went wrong on the way.
 */
#include "nested/vmx_internal.h"

/* A vCPU may be used on one CPU at a time, and on another only after nvirt_vmx_leave_cpu(). */
static enum nvirt_status begin(struct nvirt_vmx_vcpu *v, struct nvirt_port_cpu *cpu)
{
    if (v == NULL || cpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (v->magic != NVI_VMX_MAGIC || (v->home != NULL && v->home != cpu)) {
        return NVIRT_ERR_STATE;
    }
    v->cpu = cpu;
    v->error = NVIRT_OK;
    return NVIRT_OK;
}

/* The call is not refused: from here on VMCSs may become active on this CPU. */
static void bind(struct nvirt_vmx_vcpu *v)
{
    v->home = v->cpu;
}

uint32_t nvirt_vmx_level(const struct nvirt_vmx_vcpu *vcpu)
{
    return vcpu == NULL ? 0 : vcpu->level;
}

const struct nvirt_stats *nvirt_vmx_stats(const struct nvirt_vmx_vcpu *vcpu)
{
    return vcpu == NULL ? NULL : &vcpu->stats;
}

/* ---- fields ---- */

static enum nvirt_status check_field(const struct nvirt_vmx_vcpu *v, uint32_t level,
                                     enum nvirt_vmcs_field field)
{
    if ((uint32_t)field >= NVIRT_VMCS_FIELD_COUNT || level < 1 || level > 2 ||
        !nvi_field_has(&v->exists, (uint32_t)field)) {
        return NVIRT_ERR_RANGE;
    }
    return level == 2 && v->level != 2 ? NVIRT_ERR_STATE : NVIRT_OK;
}

enum nvirt_status nvirt_vmx_read(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                 uint32_t level, enum nvirt_vmcs_field field, uint64_t *value)
{
    enum nvirt_status status = value == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);
    uint64_t found;

    if (status == NVIRT_OK) {
        status = check_field(vcpu, level, field);
    }
    if (status != NVIRT_OK) {
        return status;
    }
    bind(vcpu);
    /* The host sees its own controls, without the windows nvirt adds. */
    found = level == 1 && field == NVIRT_VMCS_PROC_CONTROLS
                ? vcpu->proc01
                : nvi_hw_get(vcpu, level == 2 ? NVI_02 : NVI_01, field);
    if (vcpu->error == NVIRT_OK) {
        *value = found;
    }
    return vcpu->error;
}

static void write_level_1(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind(field);

    if (field == NVIRT_VMCS_PROC_CONTROLS) {
        v->proc01 = nvirt_vmcs_truncate(field, value);
    }
    nvi_hw_set(v, NVI_01, field, value);
    if (v->level == 2 &&
        (kind != NVIRT_VMCS_KIND_GUEST || field == NVIRT_VMCS_GUEST_PREEMPTION_TIMER ||
         field == NVIRT_VMCS_GUEST_PERF_GLOBAL)) {
        v->remerge = true;
    }
}

enum nvirt_status nvirt_vmx_write(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                  uint32_t level, enum nvirt_vmcs_field field, uint64_t value)
{
    enum nvirt_status status = begin(vcpu, cpu);
    enum nvirt_vmcs_kind kind;

    if (status == NVIRT_OK) {
        status = check_field(vcpu, level, field);
    }
    if (status != NVIRT_OK) {
        return status;
    }
    kind = nvirt_vmcs_field_kind(field);
    if (kind == NVIRT_VMCS_KIND_EXIT || (level == 2 && kind != NVIRT_VMCS_KIND_GUEST)) {
        return NVIRT_ERR_RANGE;
    }
    if (level == 1 &&
        (value & ~nvi_vmx_l0_may_control(&vcpu->caps, &vcpu->offer, field)) != 0) {
        return NVIRT_ERR_CAPABILITY;
    }
    bind(vcpu);
    if (level == 1) {
        write_level_1(vcpu, field, value);
    } else {
        nvi_hw_set(vcpu, NVI_02, field, value);
    }
    return vcpu->error;
}

/* ---- before an entry ---- */

static void flush_for_l1(struct nvirt_vmx_vcpu *v)
{
    struct nvirt_flush_set due;

    due.count = 0;
    nvirt_tlb_due_l1(&v->tlb, nvi_vmx_cpu_number(v), false, &due);
    nvi_hw_flush(v, &due);
}

/* The engine of shadow tables may have dropped entries since; the flush engine knows the tag. */
static void flush_for_l2(struct nvirt_vmx_vcpu *v)
{
    struct nvirt_flush_set due;
    enum nvi_mmu_flush flush;
    uint32_t cpu = nvi_vmx_cpu_number(v);

    flush = nvi_mmu_enter(&v->mmu, v->root, cpu);
    v->tlb_entry.cpu = cpu;
    v->tlb_entry.root_changed = flush == NVI_MMU_FLUSH_ROOT;
    due.count = 0;
    nvirt_tlb_vmx_due_l2(&v->tlb, &v->tlb_entry, v->vpid02, &due);
    nvi_hw_flush(v, &due);
    if (flush == NVI_MMU_FLUSH_ALL) {
        due.count = 1;
        due.op[0] = (struct nvirt_flush_op){ .kind = NVIRT_FLUSH_ROOT_ALL };
        nvi_hw_flush(v, &due);
    }
    if (flush != NVI_MMU_FLUSH_NONE && v->error == NVIRT_OK) {
        nvi_mmu_flushed(&v->mmu, v->root, cpu, flush);
    }
}

enum nvirt_status nvirt_vmx_prepare(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                    struct nvirt_vmx_run *run)
{
    enum nvirt_status status = run == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);
    enum nvi_which which;

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->dead) {
        return NVIRT_ERR_STATE;
    }
    bind(vcpu);
    /* First what L0 wants, then the windows that events add to it. */
    if (vcpu->level == 2 && vcpu->remerge) {
        nvi_vmx_remerge(vcpu);
    }
    nvi_vmx_deliver(vcpu);
    if (vcpu->dead) {
        return NVIRT_ERR_STATE;
    }
    which = nvi_vmx_running(vcpu);
    nvi_hw_commit(vcpu, which);
    if (vcpu->error != NVIRT_OK) {
        return vcpu->error;
    }
    if (which == NVI_02) {
        flush_for_l2(vcpu);
    } else {
        flush_for_l1(vcpu);
    }
    if (vcpu->error != NVIRT_OK) {
        return vcpu->error;
    }
    run->launch = !vcpu->hw[which].launched;
    run->level = vcpu->level;
    run->branch_barrier = vcpu->barrier;
    run->set_cr2 = vcpu->set_cr2;
    run->cr2 = vcpu->cr2;
    vcpu->barrier = false;
    vcpu->set_cr2 = false;
    vcpu->prepared = true;
    return NVIRT_OK;
}

/* ---- after it ---- */

enum nvirt_status nvirt_vmx_exit(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                 struct nvirt_gprs *gprs, struct nvirt_vmx_exit *exit)
{
    enum nvirt_status status = gprs == NULL || exit == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    if (!vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    vcpu->prepared = false;
    __builtin_memset(exit, 0, sizeof *exit);
    exit->verdict = NVIRT_VERDICT_DONE;
    exit->level = vcpu->level;
    status = vcpu->level == 2 ? nvi_vmx_exit_l2(vcpu, gprs, exit)
                              : nvi_vmx_exit_l1(vcpu, gprs, exit);
    exit->branch_barrier = vcpu->barrier;
    if (vcpu->dead) {
        exit->verdict = NVIRT_VERDICT_L1_SHUTDOWN;
    }
    return status;
}

/* Hardware's VMfail of vmcs02 becomes the VMfail that L1's own VMLAUNCH would have met. */
static void fail_l1s_entry(struct nvirt_vmx_vcpu *v, uint32_t hw_error)
{
    nvirt_port_trace(v->port, "nvirt: vmcs02 refused, error", hw_error);
    v->stats.entries_refused++;
    nvi_vmx_abandon_l2(v);
    nvi_vmx_fail(v, hw_error);
}

enum nvirt_status nvirt_vmx_entry_failed(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                         enum nvirt_hw outcome, uint32_t *error)
{
    enum nvirt_status status = error == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);
    uint32_t hw_error = 0;

    if (status != NVIRT_OK) {
        return status;
    }
    if (outcome != NVIRT_HW_VMFAIL_INVALID && outcome != NVIRT_HW_VMFAIL_VALID) {
        return NVIRT_ERR_RANGE;
    }
    if (!vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    vcpu->prepared = false;
    if (outcome == NVIRT_HW_VMFAIL_VALID) {
        hw_error = nvi_hw_instruction_error(vcpu);
    }
    *error = hw_error;
    /* Only an entry that L1 asked for can be failed, and only for what vmcs12 says; launch state,
     * MOV-SS blocking and the current VMCS are nvirt's and the host's. */
    if (vcpu->level != 2 || !vcpu->entry_pending ||
        (hw_error != NVIRT_VMX_ERR_ENTRY_CONTROLS && hw_error != NVIRT_VMX_ERR_ENTRY_HOST_STATE)) {
        return NVIRT_ERR_HARDWARE;
    }
    fail_l1s_entry(vcpu, hw_error);
    return vcpu->error;
}

/* ---- events of the host ---- */

/* Exceptions that push an error code; an entry that injected one without, or another with, would be
 * refused [SDM 3C "Checks on VM-Entry Control Fields"]. */
#define HAVE_ERROR_CODES                                                                           \
    (NVIRT_BIT(NVIRT_VECTOR_DF) | NVIRT_BIT(NVIRT_VECTOR_TS) | NVIRT_BIT(NVIRT_VECTOR_NP) |        \
     NVIRT_BIT(NVIRT_VECTOR_SS) | NVIRT_BIT(NVIRT_VECTOR_GP) | NVIRT_BIT(NVIRT_VECTOR_PF) |        \
     NVIRT_BIT(NVIRT_VECTOR_AC))
#define ERROR_CODE_BITS 0x7fffu

static bool exception_is_valid(const struct nvirt_event *event)
{
    if (event->vector >= 32 || event->vector == NVIRT_VECTOR_NMI) {
        return false;
    }
    if (!event->has_error_code) {
        return (HAVE_ERROR_CODES >> event->vector & 1u) == 0;
    }
    return (HAVE_ERROR_CODES >> event->vector & 1u) != 0 &&
           (event->error_code & ~ERROR_CODE_BITS) == 0;
}

static enum nvirt_status check_event(const struct nvirt_event *event)
{
    switch (event->type) {
    case NVIRT_EVENT_INTERRUPT:
        return NVIRT_OK;
    case NVIRT_EVENT_NMI:
        return event->vector == NVIRT_VECTOR_NMI ? NVIRT_OK : NVIRT_ERR_RANGE;
    case NVIRT_EVENT_EXCEPTION:
        return exception_is_valid(event) ? NVIRT_OK : NVIRT_ERR_RANGE;
    default:
        return NVIRT_ERR_RANGE;
    }
}

/* [SDM 3C "Basic VM-Exit Information"], debug exceptions: B3 to B0, BLD, BD, BS, RTM. */
#define DB_QUALIFICATION                                                                           \
    (NVIRT_BITS(3, 0) | NVIRT_BIT(11) | NVIRT_BITS(14, 13) | NVIRT_BIT(16))

static enum nvirt_status queue_exception(struct nvirt_vmx_vcpu *v, const struct nvirt_event *event)
{
    if (v->pending.exception.waiting) {
        return NVIRT_ERR_STATE;
    }
    if (event->vector == NVIRT_VECTOR_PF) {
        nvi_vmx_raise_page_fault(v, event->error_code, event->address);
    } else if (event->has_error_code) {
        nvi_vmx_raise_error(v, event->vector, event->error_code);
    } else {
        nvi_vmx_raise(v, event->vector);
    }
    if (event->vector == NVIRT_VECTOR_DB) {
        v->pending.exception.address = event->address & DB_QUALIFICATION;
    }
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_inject(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                   const struct nvirt_event *event)
{
    enum nvirt_status status = event == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);

    if (status == NVIRT_OK) {
        status = check_event(event);
    }
    if (status != NVIRT_OK) {
        return status;
    }
    bind(vcpu);
    if (event->type == NVIRT_EVENT_EXCEPTION) {
        return queue_exception(vcpu, event);
    }
    if (event->type == NVIRT_EVENT_NMI) {
        vcpu->pending.nmi = true;
        return NVIRT_OK;
    }
    if (vcpu->pending.interrupt) {
        return NVIRT_ERR_STATE;
    }
    vcpu->pending.interrupt = true;
    vcpu->pending.vector = event->vector;
    return NVIRT_OK;
}

/* ---- other CPUs, reset ---- */

enum nvirt_status nvirt_vmx_forget_current(struct nvirt_vmx_vcpu *vcpu)
{
    if (vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (vcpu->magic != NVI_VMX_MAGIC || vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    vcpu->current = NVI_NONE;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_leave_cpu(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = begin(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    nvi_hw_clear(vcpu, NVI_01);
    nvi_hw_clear(vcpu, NVI_02);
    vcpu->prepared = false;
    vcpu->current = NVI_NONE;
    if (vcpu->error == NVIRT_OK) {
        vcpu->home = NULL;
    }
    return vcpu->error;
}

enum nvirt_status nvirt_vmx_msr_bitmap_changed(struct nvirt_vmx_vcpu *vcpu)
{
    if (vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (vcpu->magic != NVI_VMX_MAGIC) {
        return NVIRT_ERR_STATE;
    }
    vcpu->remerge = vcpu->level == 2;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_reset(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = begin(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    bind(vcpu);
    nvi_vmx_abandon_l2(vcpu);
    /* L1's memory may be another's by now, so its current VMCS is not written back: its data is
     * chance then, as after VMXOFF. */
    vcpu->vmx.current = NVI_NO_VMCS;
    vcpu->vmx.launched = false;
    nvi_vmx_unpin_all(vcpu);
    vcpu->vmx.on = false;
    vcpu->dead = false;
    vcpu->prepared = false;
    vcpu->set_cr2 = false;
    __builtin_memset(&vcpu->pending, 0, sizeof vcpu->pending);
    NVI_SET01(vcpu, ENTRY_INTERRUPTION, 0);
    nvirt_tlb_forget(&vcpu->tlb);
    nvirt_tlb_flush_l1(&vcpu->tlb);
    nvi_mmu_drop_all(&vcpu->mmu);
    return vcpu->error;
}

/* ---- looking at L1's memory ---- */

enum nvirt_status nvirt_vmx_l1_read_linear(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                           nvirt_gva from, void *to, size_t bytes)
{
    enum nvirt_status status = to == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);
    struct nvi_paging mode;
    struct nvi_paging_fault fault;
    enum nvi_paging_result result;

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->level == 2) {
        return NVIRT_ERR_STATE;
    }
    if (bytes == 0 || bytes > NVIRT_PAGE_SIZE || !nvi_vmx_is_canonical(vcpu, from.value)) {
        return NVIRT_ERR_RANGE;
    }
    bind(vcpu);
    if (!nvi_vmx_l1_can_access(vcpu, from.value)) {
        return vcpu->error != NVIRT_OK ? vcpu->error : NVIRT_ERR_RANGE;
    }
    nvi_vmx_paging(vcpu, &mode);
    /* A look, not an access of L1's: neither SMAP nor the accessed bits matter. */
    mode.smap = false;
    result = nvi_paging_read(vcpu->vm, &mode, from.value, 0, to, bytes, &fault);
    if (vcpu->error != NVIRT_OK) {
        return vcpu->error;
    }
    return result == NVI_PAGING_OK      ? NVIRT_OK
           : result == NVI_PAGING_RETRY ? NVIRT_ERR_RETRY
                                        : NVIRT_ERR_NO_MAPPING;
}

/* ---- hypercalls ---- */

enum nvirt_status nvirt_vmx_skip(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = begin(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    bind(vcpu);
    nvi_vmx_skip(vcpu);
    return vcpu->error;
}

enum nvirt_status nvirt_vmx_vmcall_refuse(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = begin(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->level != 1 || vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    bind(vcpu);
    nvi_vmx_vmcall_in_root(vcpu);
    return vcpu->error;
}
