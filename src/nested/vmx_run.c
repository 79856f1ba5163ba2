/* SPDX-License-Identifier: MIT */
/*
 * The host's calls around a run: fields, prepare, exit, failed entry, events, CPU changes. Each
 * sets up the call's context, hands on, and reports what went wrong on the way.
 */
#include "nested/vmx_hot.h"

/* Calls but those around a run may leave something to do for the next prepare. */
static enum nvirt_status begin(struct nvirt_vmx_vcpu *v, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = nvi_vmx_begin(v, cpu);

    if (status == NVIRT_OK) {
        v->steady = false;
        v->steady_l2 = false;
        if (v->switched) {
            nvi_vmx_switch_settle(v);
        }
    }
    return status;
}

/* The call is not refused: from here on VMCSs may become active on this CPU. */
static void bind(struct nvirt_vmx_vcpu *v)
{
    v->home = v->cpu;
}

/* For a look at the level that ran, between an exit and the next prepare. */
enum nvirt_status nvi_vmx_look(struct nvirt_vmx_vcpu *v, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = begin(v, cpu);

    if (status == NVIRT_OK && v->prepared) {
        return NVIRT_ERR_STATE;
    }
    if (status == NVIRT_OK) {
        bind(v);
    }
    return status;
}

enum nvirt_status nvirt_vmx_request_flush(struct nvirt_vmx_vcpu *vcpu, uint32_t level,
                                          enum nvirt_tlb_request kind)
{
    if (vcpu == NULL) {
        return NVIRT_ERR_NULL;
    }
    return nvi_vm_request_flush(vcpu->vm, vcpu->index, &vcpu->tlb, level, kind);
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

/* The host sees its own controls, without the windows and the shadow VMCS that nvirt adds. */
static uint64_t read_level_1(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_PROC_CONTROLS:
        return v->proc01;
    case NVIRT_VMCS_PROC2_CONTROLS:
        return v->proc2_01;
    case NVIRT_VMCS_VMCS_LINK:
        return v->link01;
    default:
        return nvi_hw_get(v, NVI_01, field);
    }
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
    found = level == 1 ? read_level_1(vcpu, field) : nvi_hw_get(vcpu, NVI_02, field);
    if (vcpu->error == NVIRT_OK) {
        *value = found;
    }
    return vcpu->error;
}

/* Some page is the host's for L1's APIC from here on: L2 may have no leaf on it. */
static bool takes_a_page_for_l1s_apic(const struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field,
                                      uint64_t value)
{
    uint64_t before = v->hw[NVI_01]->image.field[field];

    return (field == NVIRT_VMCS_APIC_ACCESS_ADDR && value != before) ||
           (field == NVIRT_VMCS_PROC2_CONTROLS &&
            (value & ~before & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0);
}

static void write_level_1(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind(field);

    if (field == NVIRT_VMCS_PROC_CONTROLS) {
        v->proc01 = nvirt_vmcs_truncate(field, value);
    } else if (field == NVIRT_VMCS_PROC2_CONTROLS) {
        v->proc2_01 = nvirt_vmcs_truncate(field, value);
    } else if (field == NVIRT_VMCS_VMCS_LINK) {
        v->link01 = value;
    }
    if (takes_a_page_for_l1s_apic(v, field, value)) {
        nvi_mmu_drop_all(&v->mmu);
    }
    nvi_hw_set(v, NVI_01, field, value);
    if (kind != NVIRT_VMCS_KIND_GUEST) {
        v->epoch++;
    }
    if (v->level == 2 &&
        (kind != NVIRT_VMCS_KIND_GUEST || field == NVIRT_VMCS_GUEST_PREEMPTION_TIMER ||
         field == NVIRT_VMCS_GUEST_PERF_GLOBAL)) {
        v->remerge = true;
    }
}

/* "Load CET state" is there exactly where L1 has CET. */
static bool may_control(const struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    uint64_t cet = v->cet ? nvi_vmx_cet_control(field) : 0;

    return (value & ~(nvi_vmx_l0_may_control(&v->caps, &v->offer, field) | cet)) == 0 &&
           (value & cet) == cet;
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
    if (level == 1 && field == NVIRT_VMCS_APIC_ACCESS_ADDR && vcpu->mmu.watch.page != 0) {
        return NVIRT_ERR_STATE;
    }
    kind = nvirt_vmcs_field_kind(field);
    if (kind == NVIRT_VMCS_KIND_EXIT || (level == 2 && kind != NVIRT_VMCS_KIND_GUEST)) {
        return NVIRT_ERR_RANGE;
    }
    if (level == 1 && !may_control(vcpu, field, value)) {
        return NVIRT_ERR_CAPABILITY;
    }
    bind(vcpu);
    if (level == 1) {
        write_level_1(vcpu, field, value);
    } else {
        if (vcpu->entry_pending) {
            /* Should the entry fail, vmcs12's value is still the one of before. */
            (void)nvi_vmcs12_get(vcpu, field);
        }
        nvi_hw_set(vcpu, NVI_02, field, value);
    }
    return vcpu->error;
}

/* ---- before an entry ---- */

NVIRT_NOINLINE void nvi_vmx_flush_due(struct nvirt_vmx_vcpu *v, uint32_t level, uint32_t cpu,
                                      uint32_t root)
{
    struct nvirt_tlb_entry entry = { .level = level, .cpu = cpu, .root = root };
    struct nvirt_flush_set due;

    entry.eptp = level == 2 ? nvi_ept_eptp02(&v->ept, v->root) : NVI_GET01(v, EPTP);
    nvi_hv_due(v->hv, &v->tlb, &entry, &due);
    nvi_hw_flush(v, &due, cpu);
    if (v->error == NVIRT_OK) {
        nvirt_tlb_entered(&v->tlb, &entry);
    }
}

/* An L1 whose prepare leaves nothing to do stays as it is until something happens (vmx_fast.c). */
static bool becomes_steady(const struct nvirt_vmx_vcpu *v)
{
    const struct nvi_hw_vmcs *hw = v->hw[NVI_01];

    return v->level == 1 && hw->launched && nvi_vmx_nothing_waits(v) &&
           (hw->image.entry_interruption & NVIRT_VMX_INTR_VALID) == 0 &&
           (v->proc01 & NVIRT_VMX_PROC_MTF) == 0 && nvi_vmcs12_region(v) != NVI_NO_VMCS;
}

static void hand_over(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_run *run)
{
    run->launch = !v->hw[nvi_vmx_running(v)]->launched;
    run->level = v->level;
    run->branch_barrier = v->barrier;
    run->set_cr2 = v->set_cr2;
    run->cr2 = v->cr2;
    v->barrier = false;
    v->set_cr2 = false;
    v->prepared = true;
    v->switched = false;
    v->steady = becomes_steady(v);
    v->steady_l2 = v->level == 2 && nvi_vmx_l2_is_steady(v);
    if (v->steady) {
        nvi_hw_distrust(v, NVI_01);
    }
}

enum nvirt_status nvi_vmx_prepare_any(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                      struct nvirt_vmx_run *run)
{
    enum nvirt_status status = run == NULL ? NVIRT_ERR_NULL : nvi_vmx_begin(vcpu, cpu);
    enum nvi_which which;

    if (status != NVIRT_OK) {
        return status;
    }
    vcpu->steady = false;
    vcpu->steady_l2 = false;
    if (vcpu->dead) {
        return NVIRT_ERR_STATE;
    }
    bind(vcpu);
    if (vcpu->level == 2) {
        nvi_vmx_follow_moves(vcpu);
    }
    if (!vcpu->switched || vcpu->remerge) {
        /* First what L0 wants, then the windows that events add to it. */
        if (vcpu->level == 2 && vcpu->remerge) {
            nvi_vmx_remerge(vcpu);
        }
        nvi_vmx_deliver(vcpu);
        if (vcpu->dead) {
            return NVIRT_ERR_STATE;
        }
        if (nvi_vmx_is_asleep(vcpu)) {
            return vcpu->error != NVIRT_OK ? vcpu->error : NVIRT_ERR_ASLEEP;
        }
    }
    which = nvi_vmx_running(vcpu);
    if (which == NVI_01) {
        status = nvi_vmx_apic01_is_settled(vcpu) ? NVIRT_OK : nvi_vmx_apic01_reload(vcpu);
        if (status != NVIRT_OK) {
            return vcpu->error != NVIRT_OK ? vcpu->error : status;
        }
        nvi_shadow_prepare(vcpu);
    }
    nvi_hw_commit(vcpu, which);
    if (vcpu->error != NVIRT_OK) {
        return vcpu->error;
    }
    nvi_vmx_flush(vcpu, which == NVI_02 ? 2 : 1);
    if (vcpu->error == NVIRT_OK) {
        hand_over(vcpu, run);
    }
    return vcpu->error;
}

/* ---- after it ---- */

enum nvirt_status nvi_vmx_exit_noted(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                     struct nvirt_vmx_exit *exit, uint32_t reason)
{
    enum nvirt_status status;

    nvi_vmx_tell(exit, NVIRT_VERDICT_DONE, v->level, reason);
    status = v->level == 2 ? nvi_vmx_exit_l2(v, gprs, exit) : nvi_vmx_exit_l1(v, gprs, exit);
    exit->branch_barrier = v->barrier;
    if (v->dead) {
        exit->verdict = NVIRT_VERDICT_L1_SHUTDOWN;
    }
    return status;
}

enum nvirt_status nvi_vmx_exit_any(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                   struct nvirt_vmx_exit *exit, uint32_t reason)
{
    bool steady = v->steady;
    enum nvirt_status status;

    v->steady = false;
    if (steady && reason == NVIRT_VMX_EXIT_VMRESUME && nvi_vmx_resume_enlightened(v)) {
        nvi_vmx_tell(exit, NVIRT_VERDICT_DONE, 1, reason);
        v->stats.exits_l1++;
        v->stats.instructions++;
        return NVIRT_OK;
    }
    nvi_hw_exited(v, nvi_vmx_running(v), reason);
    status = nvi_vmx_exit_noted(v, gprs, exit, reason);
    v->evmcs_begun = 0;
    return status;
}

/* Hardware's VMfail of vmcs02 becomes the VMfail that L1's own VMLAUNCH would have met. */
static void fail_l1s_entry(struct nvirt_vmx_vcpu *v, uint32_t hw_error)
{
    nvirt_port_trace(v->port, "nvirt: vmcs02 refused, error", hw_error);
    v->stats.entries_refused++;
    v->now->changed = NVI_ALL_GROUPS;
    nvi_vmx_abandon_l2(v);
    nvi_vmx_fail(v, hw_error);
}

/* L1 lowered VTPR in memory under an L2 that runs. A CPU would look at it with L2's next change of
 * CR8 only; vmcs02, which is entered more often, does without a threshold from here on. */
static bool threshold_was_overtaken(struct nvirt_vmx_vcpu *v, uint32_t hw_error)
{
    if (v->level != 2 || v->entry_pending || hw_error != NVIRT_VMX_ERR_ENTRY_CONTROLS ||
        !nvi_vmx_reads_vtpr(&v->vmcs12) || NVI_GET02(v, TPR_THRESHOLD) == 0) {
        return false;
    }
    NVI_SET02(v, TPR_THRESHOLD, 0);
    /* L1's next entry has its threshold again. */
    v->now->changed |= NVI_GROUP(CONTROLS);
    return true;
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
    if (threshold_was_overtaken(vcpu, hw_error)) {
        return vcpu->error;
    }
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

/* #CP can be injected with its error code, which it always has, where entries look at no vector. */
static uint64_t have_error_codes(const struct nvirt_vmx_vcpu *v)
{
    return HAVE_ERROR_CODES | ((v->caps.basic & NVIRT_VMX_BASIC_ANY_ERROR_CODE) != 0
                                   ? NVIRT_BIT(NVIRT_VECTOR_CP)
                                   : 0);
}

bool nvi_vmx_exception_is_valid(const struct nvirt_vmx_vcpu *v, const struct nvirt_event *event)
{
    const uint64_t with_code = have_error_codes(v);

    if (event->vector >= 32 || event->vector == NVIRT_VECTOR_NMI) {
        return false;
    }
    if (!event->has_error_code) {
        return (with_code >> event->vector & 1u) == 0;
    }
    return (with_code >> event->vector & 1u) != 0 &&
           (event->error_code & ~ERROR_CODE_BITS) == 0;
}

static enum nvirt_status check_event(const struct nvirt_vmx_vcpu *v,
                                     const struct nvirt_event *event)
{
    switch (event->type) {
    case NVIRT_EVENT_INTERRUPT:
        return NVIRT_OK;
    case NVIRT_EVENT_NMI:
        return event->vector == NVIRT_VECTOR_NMI ? NVIRT_OK : NVIRT_ERR_RANGE;
    case NVIRT_EVENT_EXCEPTION:
        return nvi_vmx_exception_is_valid(v, event) ? NVIRT_OK : NVIRT_ERR_RANGE;
    case NVIRT_EVENT_INIT:
        return event->vector == 0 ? NVIRT_OK : NVIRT_ERR_RANGE;
    case NVIRT_EVENT_SIPI:
        return NVIRT_OK;
    default:
        return NVIRT_ERR_RANGE;
    }
}

/* [SDM 3C "Basic VM-Exit Information"], debug exceptions: B3 to B0, BLD, BD, BS, RTM. */
#define DB_QUALIFICATION                                                                           \
    (NVIRT_BITS(3, 0) | NVIRT_BIT(11) | NVIRT_BITS(14, 13) | NVIRT_BIT(16))

uint64_t nvi_vmx_exception_address(const struct nvirt_event *event)
{
    switch (event->vector) {
    case NVIRT_VECTOR_PF:
        return event->address;
    case NVIRT_VECTOR_DB:
        return event->address & DB_QUALIFICATION;
    default:
        return 0;
    }
}

static enum nvirt_status queue_exception(struct nvirt_vmx_vcpu *v, const struct nvirt_event *event)
{
    if (v->pending.exception.waiting) {
        return NVIRT_ERR_STATE;
    }
    if (event->vector == NVIRT_VECTOR_PF) {
        nvi_vmx_raise_page_fault(v, event->error_code, nvi_vmx_exception_address(event));
    } else if (event->has_error_code) {
        nvi_vmx_raise_error(v, event->vector, event->error_code);
    } else {
        nvi_vmx_raise(v, event->vector);
    }
    v->pending.exception.address = nvi_vmx_exception_address(event);
    return NVIRT_OK;
}

/* [SDM 3C "VMX Operation", "Activity State"]: root operation blocks an INIT; a SIPI that nobody waits for
 * is discarded. */
static enum nvirt_status queue_startup(struct nvirt_vmx_vcpu *v, const struct nvirt_event *event)
{
    if (!v->vmx.on) {
        return NVIRT_ERR_STATE;
    }
    if (event->type == NVIRT_EVENT_INIT) {
        v->pending.init = true;
    } else if (nvi_vmx_is_asleep(v) && !v->pending.sipi &&
               v->hw[NVI_02]->image.guest_activity == NVIRT_VMX_ACTIVITY_WAIT_SIPI) {
        v->pending.sipi = true;
        v->pending.sipi_vector = event->vector;
    }
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_inject(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                   const struct nvirt_event *event)
{
    enum nvirt_status status = event == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);

    if (status == NVIRT_OK) {
        status = check_event(vcpu, event);
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
    if (event->type != NVIRT_EVENT_INTERRUPT) {
        return queue_startup(vcpu, event);
    }
    if (vcpu->pending.interrupt) {
        return NVIRT_ERR_STATE;
    }
    vcpu->pending.interrupt = true;
    vcpu->pending.vector = event->vector;
    return NVIRT_OK;
}

bool nvirt_vmx_notified(struct nvirt_vmx_vcpu *vcpu)
{
    bool notified = vcpu != NULL && vcpu->magic == NVI_VMX_MAGIC && vcpu->notified;

    if (notified) {
        vcpu->notified = false;
    }
    return notified;
}

enum nvirt_status nvirt_vmx_reinject(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = nvi_vmx_look(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->pending.exception.waiting ||
        (NVI_GET(vcpu, EXIT_REASON) & NVIRT_BITS(31, 0)) != NVIRT_VMX_EXIT_EXCEPTION_NMI ||
        (NVI_GET(vcpu, EXIT_INTERRUPTION) & NVIRT_VMX_INTR_VECTOR) == NVIRT_VECTOR_NMI) {
        return vcpu->error != NVIRT_OK ? vcpu->error : NVIRT_ERR_STATE;
    }
    nvi_vmx_reinject(vcpu);
    return vcpu->error;
}

uint32_t nvirt_vmx_waits(const struct nvirt_vmx_vcpu *vcpu)
{
    if (vcpu == NULL) {
        return 0;
    }
    return (vcpu->pending.interrupt ? NVIRT_WAITS_INTERRUPT : 0) |
           (vcpu->pending.nmi ? NVIRT_WAITS_NMI : 0);
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
    vcpu->current = NULL;
    vcpu->steady = false;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_leave_cpu(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    enum nvirt_status status = begin(vcpu, cpu);

    if (status != NVIRT_OK) {
        return status;
    }
    /* Without a CPU nothing could be fetched. */
    nvi_vmcs12_settle_all(vcpu);
    nvi_hw_clear_all(vcpu);
    vcpu->prepared = false;
    vcpu->current = NULL;
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
    vcpu->bitmap_of = NULL;
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
    /* L1's memory may be another's by now, so its active VMCSs are not written back: their data is
     * chance then, as after VMXOFF. */
    nvi_vmcs12_drop_all(vcpu);
    nvi_vmx_unpin_all(vcpu);
    vcpu->vmx.on = false;
    vcpu->dead = false;
    vcpu->prepared = false;
    vcpu->set_cr2 = false;
    vcpu->notified = false;
    __builtin_memset(&vcpu->pending, 0, sizeof vcpu->pending);
    NVI_SET01(vcpu, ENTRY_INTERRUPTION, 0);
    nvirt_tlb_forget(&vcpu->tlb);
    nvi_hv_forget_l2(vcpu->hv, &vcpu->tlb);
    nvi_mmu_drop_all(&vcpu->mmu);
    return vcpu->error;
}

/* ---- saved state ---- */

enum nvirt_status nvirt_vmx_save(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                 void *buffer, size_t bytes, size_t *used)
{
    enum nvirt_status status =
        buffer == NULL || used == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);
    struct nvi_rows_out out;
    size_t needed;

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->prepared) {
        return NVIRT_ERR_STATE;
    }
    bind(vcpu);
    nvi_vmcs12_store_others(vcpu);
    nvi_rows_begin(&out, buffer, bytes);
    nvi_vmx_state_save(vcpu, &out);
    needed = nvi_rows_end(&out, NVIRT_STATE_VMX);
    if (vcpu->error == NVIRT_OK) {
        *used = needed;
    }
    return vcpu->error == NVIRT_OK && needed > bytes ? NVIRT_ERR_SIZE : vcpu->error;
}

enum nvirt_status nvirt_vmx_restore(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                    const void *buffer, size_t bytes)
{
    enum nvirt_status status = buffer == NULL ? NVIRT_ERR_NULL : begin(vcpu, cpu);
    struct nvi_rows_in in;

    if (status != NVIRT_OK) {
        return status;
    }
    if (vcpu->prepared || vcpu->vmx.on) {
        return NVIRT_ERR_STATE;
    }
    status = nvi_rows_open(&in, buffer, bytes, NVIRT_STATE_VMX);
    if (status != NVIRT_OK) {
        return status;
    }
    bind(vcpu);
    return nvi_vmx_state_restore(vcpu, &in);
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
    if (!nvi_vmx_can_access(vcpu, from.value)) {
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

enum nvirt_status nvi_vmx_skip_any(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
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
    if ((NVI_GET01(vcpu, EXIT_REASON) & NVIRT_BITS(31, 0)) != NVIRT_VMX_EXIT_VMCALL) {
        return vcpu->error != NVIRT_OK ? vcpu->error : NVIRT_ERR_STATE;
    }
    nvi_vmx_vmcall_in_root(vcpu);
    return vcpu->error;
}
