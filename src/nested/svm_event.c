/* SPDX-License-Identifier: MIT */
/*
 * Events: exceptions that nvirt raises, events that the host hands over, and the ones that hardware
 * was delivering when the exit came. An event that L1 intercepts becomes an exit of L2; one that
 * cannot be taken yet waits, and a window or the IRET is intercepted if that tells when it can.
 */
#include "nested/svm_internal.h"

static uint64_t make_event(uint32_t type, uint32_t vector)
{
    return NVIRT_SVM_EVENT_VALID | ((uint64_t)type << NVIRT_SVM_EVENT_TYPE_SHIFT) | vector;
}

static uint64_t make_exception(uint32_t vector, bool has_error, uint32_t error)
{
    uint64_t event = make_event(NVIRT_SVM_EVENT_EXCEPTION, vector);

    if (has_error) {
        event |= NVIRT_SVM_EVENT_EV | ((uint64_t)error << NVIRT_SVM_EVENT_ERROR_SHIFT);
    }
    return event;
}

static bool event_slot_is_free(struct nvirt_svm_vcpu *v)
{
    return (nvi_svm_current(v)->event_inj & NVIRT_SVM_EVENT_VALID) == 0;
}

static bool l1_intercepts(const struct nvirt_svm_vcpu *v, uint32_t code)
{
    return v->level == 2 && nvirt_vmcb_intercepts(&v->vmcb12, code);
}

/* An exit of L2 for an event that no hardware exit brought. */
static void leave_for(struct nvirt_svm_vcpu *v, uint32_t code, uint64_t info1, uint64_t info2)
{
    struct nvi_svm_exit_info info = {code, info1, info2, 0};

    /* What was to be delivered to L2 at this entry was not: L1 is told as of any interrupted
     * delivery, and injects it again. */
    info.int_info = event_slot_is_free(v) ? 0 : v->vmcb02->event_inj;
    nvi_svm_leave(v, &info);
}

static void deliver_exception(struct nvirt_svm_vcpu *v, uint64_t event, uint64_t address)
{
    uint32_t vector = (uint32_t)(event & NVIRT_SVM_EVENT_VECTOR);
    uint32_t code = NVIRT_SVM_EXIT_EXCEPTION + (vector & 31u);

    if (l1_intercepts(v, code)) {
        /* The interception of #PF comes before CR2 is written: the address is in EXITINFO2. */
        leave_for(v, code, event >> NVIRT_SVM_EVENT_ERROR_SHIFT, address);
        return;
    }
    if ((nvi_svm_current(v)->cr0 & NVIRT_CR0_PE) == 0) {
        /* [APM 2 "Real-Mode Interrupt Control Transfers"]: no error code is pushed. An
         * interception reports it all the same: paged real mode has page faults. */
        event &= NVIRT_BITS(31, 0) & ~NVIRT_SVM_EVENT_EV;
    }
    if (vector == NVIRT_VECTOR_PF) {
        nvirt_vmcb_set_cr2(nvi_svm_current(v), address);
    }
    nvirt_vmcb_set_event_inj(nvi_svm_current(v), event);
}

void nvi_svm_raise(struct nvirt_svm_vcpu *v, uint32_t vector, bool has_error, uint32_t error)
{
    deliver_exception(v, make_exception(vector, has_error, error), 0);
}

/* [APM 2 "#DF - Double-Fault Exception"] */
static bool makes_double_fault(uint64_t first)
{
    switch (first & NVIRT_SVM_EVENT_VECTOR) {
    case NVIRT_VECTOR_DE:
    case NVIRT_VECTOR_TS:
    case NVIRT_VECTOR_NP:
    case NVIRT_VECTOR_SS:
    case NVIRT_VECTOR_GP:
    case NVIRT_VECTOR_PF:
        return true;
    default:
        return false;
    }
}

bool nvi_svm_return_gp(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    uint64_t first = nvi_svm_normal_event(vmcb->exit_int_info);
    bool exception = first != 0 && (first & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT ==
                                       NVIRT_SVM_EVENT_EXCEPTION;

    if (exception && (first & NVIRT_SVM_EVENT_VECTOR) == NVIRT_VECTOR_DF) {
        return false;
    }
    if (exception && makes_double_fault(first)) {
        nvi_svm_raise(v, NVIRT_VECTOR_DF, true, 0);
    } else {
        nvi_svm_raise(v, NVIRT_VECTOR_GP, true, (uint32_t)vmcb->exit_info1);
    }
    return true;
}

void nvi_svm_advance(struct nvirt_vmcb *vmcb, uint32_t length)
{
    uint64_t rip = vmcb->rip + length;

    nvirt_vmcb_set_rip(vmcb, nvi_svm_is_long64(vmcb) ? rip : rip & NVIRT_BITS(31, 0));
    nvirt_vmcb_set_int_state(vmcb, vmcb->int_state & ~NVIRT_SVM_INTERRUPT_SHADOW);
    nvirt_vmcb_set_rflags(vmcb, vmcb->rflags & ~NVIRT_RFLAGS_RF);
}

void nvi_svm_retire(struct nvirt_svm_vcpu *v, uint32_t length)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);

    nvi_svm_advance(vmcb, length);
    if ((vmcb->rflags & NVIRT_RFLAGS_TF) != 0) {
        nvirt_vmcb_set_dr6(vmcb, vmcb->dr6 | NVI_DR6_BS);
        nvi_svm_raise(v, NVIRT_VECTOR_DB, false, 0);
    }
}

/* ---- events that wait ---- */

/* A waiting NMI is in the way of nothing else: an NMI handler of L1 that nvirt itself started must
 * have returned. RIP and RSP tell whether the intercepted IRET has been executed since. */
static bool nmi_can_be_taken(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    struct nvi_svm_waiting *w = &v->waiting;

    if (!v->gif || !event_slot_is_free(v) || w->nmi_masked) {
        return false;
    }
    if (w->iret_pending && vmcb->rip == w->iret_rip && vmcb->rsp == w->iret_rsp) {
        return false;
    }
    w->iret_pending = false;
    return true;
}

static void deliver_nmi(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_waiting *w = &v->waiting;

    if (!w->nmi) {
        return;
    }
    if (v->gif && event_slot_is_free(v) && l1_intercepts(v, NVIRT_SVM_EXIT_NMI)) {
        /* The NMI itself stays: L1 takes it when it sets GIF [APM 2 "NMI Intercept"]. */
        leave_for(v, NVIRT_SVM_EXIT_NMI, 0, 0);
        return;
    }
    if (nmi_can_be_taken(v)) {
        nvirt_vmcb_set_event_inj(nvi_svm_current(v),
                                 make_event(NVIRT_SVM_EVENT_NMI, NVIRT_VECTOR_NMI));
        w->nmi = false;
        w->nmi_masked = true;
    }
}

/* Whether an interrupt of L1's CPU is recognised now: by L1's IF where L2 has virtual interrupts of
 * its own, else by the flags of the level that runs. */
static bool interrupt_is_recognised(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);

    if (!v->gif) {
        return false;
    }
    if (v->level == 2 && (v->vmcb12.int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0) {
        return v->l1_if;
    }
    return (vmcb->rflags & NVIRT_RFLAGS_IF) != 0 &&
           (vmcb->int_state & NVIRT_SVM_INTERRUPT_SHADOW) == 0;
}

static void deliver_interrupt(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_waiting *w = &v->waiting;

    if (!w->interrupt || !interrupt_is_recognised(v) || !event_slot_is_free(v)) {
        return;
    }
    if (l1_intercepts(v, NVIRT_SVM_EXIT_INTR)) {
        /* Not acknowledged by the exit: it waits until L1 can take it. */
        leave_for(v, NVIRT_SVM_EXIT_INTR, 0, 0);
        return;
    }
    nvirt_vmcb_set_event_inj(nvi_svm_current(v), make_event(NVIRT_SVM_EVENT_INTR, w->vector));
    w->interrupt = false;
}

void nvi_svm_deliver(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_waiting *w = &v->waiting;

    if (w->exception != 0 && event_slot_is_free(v)) {
        uint64_t event = w->exception;

        w->exception = 0;
        deliver_exception(v, event, w->address);
    }
    deliver_nmi(v);
    deliver_interrupt(v);
    /* An interrupt that L2 may not take because L1 has IF clear can wait for the next exit of L2:
     * only L1 can change that. */
    w->window = v->gif && (w->interrupt || (w->nmi && !w->nmi_masked));
    w->fake_irq = w->window && !(v->level == 2 && v->v_irq);
    /* Watched as soon as an NMI was injected: no later entry tells whether the handler returned. */
    w->iret_watch = w->nmi_masked;
    if (w->iret_watch) {
        nvirt_vmcb_intercept(nvi_svm_current(v), NVIRT_SVM_EXIT_IRET, true);
    }
    w->gp_watch = v->level == 1 && !v->svme &&
                  !nvirt_vmcb_intercepts(v->vmcb01, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP);
    if (w->gp_watch) {
        nvirt_vmcb_intercept(v->vmcb01, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP, true);
    }
}

/* Takes back what nvi_svm_set_interrupts() and nvi_svm_deliver() put into the VMCB for nvirt. */
static void drop_own_intercepts(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    struct nvi_svm_waiting *w = &v->waiting;

    if (w->fake_irq) {
        nvirt_vmcb_set_int_ctl(vmcb, vmcb->int_ctl & ~NVIRT_SVM_V_IRQ);
    }
    if (w->window) {
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_VINTR, false);
    }
    if (w->gp_watch) {
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP, false);
    }
    if (w->iret_watch) {
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_IRET, l1_intercepts(v, NVIRT_SVM_EXIT_IRET));
    }
}

/*
 * Whether the exit interrupted the delivery of L2's own virtual interrupt on a CPU that leaves V_IRQ
 * set then: it is one that also calls the event an exception (nvi_svm_normal_event()). The event
 * is in EXITINTINFO, so V_IRQ must not bring it a second time.
 */
static bool virq_was_taken(const struct nvirt_vmcb *vmcb)
{
    uint64_t event = nvi_svm_normal_event(vmcb->exit_int_info);
    uint64_t vector = (vmcb->int_ctl & NVIRT_SVM_V_INTR_VECTOR) >> NVIRT_SVM_V_INTR_VECTOR_SHIFT;

    return ((event ^ vmcb->exit_int_info) & NVIRT_SVM_EVENT_TYPE) != 0 &&
           event == make_event(NVIRT_SVM_EVENT_INTR, (uint32_t)vector);
}

bool nvi_svm_close_window(struct nvirt_svm_vcpu *v, uint64_t code)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    struct nvi_svm_waiting *w = &v->waiting;
    bool vintr = w->window && code == NVIRT_SVM_EXIT_VINTR;
    bool iret = w->iret_watch && code == NVIRT_SVM_EXIT_IRET;

    drop_own_intercepts(v);
    if (v->level == 2 && !w->fake_irq && v->gif) {
        v->v_irq = (vmcb->int_ctl & NVIRT_SVM_V_IRQ) != 0 && !virq_was_taken(vmcb);
    }
    if (iret) {
        w->nmi_masked = false;
        w->iret_pending = true;
        w->iret_rip = vmcb->rip;
        w->iret_rsp = vmcb->rsp;
    }
    /* What L1 asked for as well is L1's exit all the same. */
    vintr = vintr && (w->fake_irq || !l1_intercepts(v, NVIRT_SVM_EXIT_VINTR));
    iret = iret && !l1_intercepts(v, NVIRT_SVM_EXIT_IRET);
    w->window = false;
    w->fake_irq = false;
    w->iret_watch = false;
    return vintr || iret;
}

/* ---- events whose delivery an exit interrupted ---- */

/* INT n, INT3 and INTO leave RIP at the instruction, which simply runs again. The same events,
 * injected, have no instruction: they must be injected again. */
static bool is_reexecuted(uint64_t event, uint64_t injected)
{
    uint64_t type = (event & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;
    uint64_t vector = event & NVIRT_SVM_EVENT_VECTOR;
    uint64_t same = NVIRT_SVM_EVENT_VALID | NVIRT_SVM_EVENT_TYPE | NVIRT_SVM_EVENT_VECTOR;

    if (((event ^ injected) & same) == 0) {
        return false;
    }
    return type == NVIRT_SVM_EVENT_SOFTWARE ||
           (type == NVIRT_SVM_EVENT_EXCEPTION &&
            (vector == NVIRT_VECTOR_BP || vector == NVIRT_VECTOR_OF));
}

void nvi_svm_requeue(struct nvirt_svm_vcpu *v, uint64_t exit_int_info)
{
    uint64_t event = nvi_svm_normal_event(exit_int_info);

    if (event != 0 && event_slot_is_free(v) && !is_reexecuted(event, v->requeued)) {
        nvirt_vmcb_set_event_inj(nvi_svm_current(v), event);
    }
}

/* ---- the host's call ---- */

static enum nvirt_status queue_exception(struct nvirt_svm_vcpu *v, const struct nvirt_event *event)
{
    if (event->vector > 31 || event->vector == NVIRT_VECTOR_NMI) {
        return NVIRT_ERR_RANGE;
    }
    if (v->waiting.exception != 0) {
        return NVIRT_ERR_STATE;
    }
    v->waiting.exception =
        make_exception(event->vector, event->has_error_code, event->error_code);
    v->waiting.address = event->vector == NVIRT_VECTOR_PF ? event->address : 0;
    return NVIRT_OK;
}

enum nvirt_status nvirt_svm_inject(struct nvirt_svm_vcpu *v, struct nvirt_port_cpu *cpu,
                                   const struct nvirt_event *event)
{
    if (v == NULL || cpu == NULL || event == NULL) {
        return NVIRT_ERR_NULL;
    }
    switch (event->type) {
    case NVIRT_EVENT_NMI:
        v->waiting.nmi = true;
        return NVIRT_OK;
    case NVIRT_EVENT_INTERRUPT:
        if (v->waiting.interrupt) {
            return NVIRT_ERR_STATE;
        }
        v->waiting.interrupt = true;
        v->waiting.vector = event->vector;
        return NVIRT_OK;
    case NVIRT_EVENT_EXCEPTION:
        return queue_exception(v, event);
    }
    return NVIRT_ERR_RANGE;
}
