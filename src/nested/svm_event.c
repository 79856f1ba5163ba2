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
    /* No instruction was intercepted: what an earlier exit left here is not this one's. */
    nvirt_vmcb_set_next_rip(v->vmcb02, 0);
    nvirt_vmcb_set_insn_count(v->vmcb02, 0);
    __builtin_memset(v->vmcb02->insn_bytes, 0, sizeof v->vmcb02->insn_bytes);
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

static bool is_exception(uint64_t event)
{
    uint64_t type = (event & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;

    return (event & NVIRT_SVM_EVENT_VALID) != 0 && type == NVIRT_SVM_EVENT_EXCEPTION;
}

static bool is_contributory(uint64_t vector)
{
    switch (vector) {
    case NVIRT_VECTOR_DE:
    case NVIRT_VECTOR_TS:
    case NVIRT_VECTOR_NP:
    case NVIRT_VECTOR_SS:
    case NVIRT_VECTOR_GP:
        return true;
    default:
        return false;
    }
}

/* What becomes of @p second, raised while @p first was being delivered; 0: a shutdown.
 * [APM 2 "#DF - Double-Fault Exception"] */
static uint64_t combine(uint64_t first, uint64_t second)
{
    uint64_t before = first & NVIRT_SVM_EVENT_VECTOR;
    uint64_t now = second & NVIRT_SVM_EVENT_VECTOR;
    bool page_fault = now == NVIRT_VECTOR_PF;

    if (!is_exception(first) || !(page_fault || is_contributory(now))) {
        return second;
    }
    if (before == NVIRT_VECTOR_DF) {
        return 0;
    }
    if (before == NVIRT_VECTOR_PF || (is_contributory(before) && !page_fault)) {
        return make_exception(NVIRT_VECTOR_DF, true, 0);
    }
    return second;
}

bool nvi_svm_return_gp(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    uint64_t event = combine(nvi_svm_normal_event(vmcb->exit_int_info),
                             make_exception(NVIRT_VECTOR_GP, true, (uint32_t)vmcb->exit_info1));

    if (event == 0) {
        return false;
    }
    deliver_exception(v, event, 0);
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

/* The IRET that ended an NMI handler was intercepted and has not been executed yet. */
static bool at_iret(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    const struct nvi_svm_waiting *w = &v->waiting;

    return w->iret_pending && vmcb->rip == w->iret_rip && vmcb->rsp == w->iret_rsp;
}

/* A waiting NMI is in the way of nothing else: an NMI handler of L1 that nvirt itself started must
 * have returned. RIP and RSP tell whether the intercepted IRET has been executed since. */
static bool nmi_can_be_taken(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_waiting *w = &v->waiting;

    if (!v->gif || w->nmi_masked) {
        return false;
    }
    if (at_iret(v)) {
        if (!event_slot_is_free(v)) {
            /* Another handler runs first, and its IRET ends the blocking just as well. */
            w->iret_pending = false;
            w->nmi_masked = true;
        }
        return false;
    }
    w->iret_pending = false;
    return event_slot_is_free(v);
}

static void deliver_nmi(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_waiting *w = &v->waiting;

    if (!w->nmi) {
        return;
    }
    /* One that is blocked until an IRET is not recognised, and so intercepts nothing: L2 runs, and its IRET
     * ends the blocking just as well. */
    if (v->gif && event_slot_is_free(v) && l1_intercepts(v, NVIRT_SVM_EXIT_NMI) && !w->nmi_masked &&
        !at_iret(v)) {
        /* The NMI itself stays: L1 takes it when it sets GIF [APM 2 "NMI Intercept"]. */
        w->iret_pending = false;
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

/* L2 has virtual interrupts of its own: L1's IF alone is asked about those of the CPU. */
static bool l1_decides(const struct nvirt_svm_vcpu *v)
{
    return v->level == 2 && (v->vmcb12.int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0;
}

/* Whether an interrupt of L1's CPU is recognised now: by L1's IF where L2 has virtual interrupts of
 * its own, else by the flags of the level that runs. */
static bool interrupt_is_recognised(struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);

    if (!v->gif) {
        return false;
    }
    if (l1_decides(v)) {
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

/* What the exception drives out of EVENTINJ and hardware would not lose. An NMI that L1 injected into L2 is none of
 * L1's CPU: where L1 intercepts those it would come back as an exit, and ends with its delivery instead. */
static void displace_event(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    struct nvi_svm_waiting *w = &v->waiting;

    uint64_t type = (vmcb->event_inj & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;

    if (!event_slot_is_free(v) && type == NVIRT_SVM_EVENT_NMI &&
        !l1_intercepts(v, NVIRT_SVM_EXIT_NMI)) {
        w->nmi = true;
        w->nmi_masked = false;
    }
    nvirt_vmcb_set_event_inj(vmcb, 0);
}

/* An exception of the host's. What waits in EVENTINJ was being delivered when it arose. */
static void deliver_waiting_exception(struct nvirt_svm_vcpu *v)
{
    struct nvi_svm_waiting *w = &v->waiting;
    uint64_t event = w->exception;

    w->exception = 0;
    w->exception_waits = false;
    if (event == 0 || w->exception_level != v->level) {
        /* Its level was left meanwhile: nobody is there to take it. */
        return;
    }
    /* An interception comes before two faults become one [APM 2 "Exception Intercepts"]. */
    if (!event_slot_is_free(v) &&
        !l1_intercepts(v, NVIRT_SVM_EXIT_EXCEPTION + (uint32_t)(event & NVIRT_SVM_EVENT_VECTOR))) {
        event = combine(nvi_svm_current(v)->event_inj, event);
        if (event == 0 && !l1_intercepts(v, NVIRT_SVM_EXIT_SHUTDOWN)) {
            return; /* The double fault is delivered again and meets its shutdown in hardware. */
        }
        displace_event(v);
    }
    if (event == 0) {
        leave_for(v, NVIRT_SVM_EXIT_SHUTDOWN, 0, 0);
    } else {
        deliver_exception(v, event, w->address);
    }
}

void nvi_svm_deliver(struct nvirt_svm_vcpu *v)
{
    deliver_waiting_exception(v);
    deliver_nmi(v);
    deliver_interrupt(v);
}

/* ---- what nvirt watches for itself ---- */

#define OWN_INT_CTL                                                                                \
    (NVIRT_SVM_V_IRQ | NVIRT_SVM_V_INTR_PRIO | NVIRT_SVM_V_IGN_TPR | NVIRT_SVM_V_INTR_VECTOR)
#define WORD_EXCEPTIONS (NVIRT_SVM_EXIT_EXCEPTION / 32u)
#define WORD_OTHERS (NVIRT_SVM_EXIT_VINTR / 32u)

/* Whether to ask for an exit when the level that runs could take an interrupt. Where L1's IF alone
 * decides, L2 cannot change it; an NMI behind an IRET is reached by stepping over that. */
static bool wants_window(const struct nvirt_svm_vcpu *v)
{
    const struct nvi_svm_waiting *w = &v->waiting;

    return v->gif && ((w->interrupt && (!l1_decides(v) || v->l1_if)) ||
                      (w->nmi && !w->nmi_masked && !w->iret_pending));
}

/* L1's own virtual interrupt serves as the window, but not for what L1's IF decides on: L2's task priority
 * may block it. */
static bool needs_irq_of_nvirts(const struct nvirt_svm_vcpu *v)
{
    return !(v->level == 2 && v->v_irq && nvi_svm_takes_virtual_events(v)) ||
           (v->waiting.interrupt && l1_decides(v));
}

/*
 * What L1 intercepts is recognised, and waits only for the event that this entry delivers to L2: its exit comes
 * before the first instruction of the handler. No window shows that, as the handler may run without
 * interrupts for ever, so the host makes an exit. Where interrupts pass through, it could not.
 */
static bool waits_for_delivery(struct nvirt_svm_vcpu *v)
{
    const struct nvi_svm_waiting *w = &v->waiting;

    if (v->pass_through || !v->gif || event_slot_is_free(v)) {
        return false;
    }
    return (w->interrupt && interrupt_is_recognised(v) && l1_intercepts(v, NVIRT_SVM_EXIT_INTR)) ||
           (w->nmi && !w->nmi_masked && !at_iret(v) && l1_intercepts(v, NVIRT_SVM_EXIT_NMI));
}

/* Interrupts may stay masked behind the IRET that ends an NMI handler, so no window shows its end:
 * it is executed alone. All exceptions are intercepted meanwhile, or one of the IRET's would put
 * the trap flag of the step on the guest's stack. */
static void start_step(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    v->own.step = v->waiting.nmi && v->gif && at_iret(v);
    if (v->own.step) {
        v->own.rflags = vmcb->rflags;
        v->own.dr6 = vmcb->dr6;
        nvirt_vmcb_set_rflags(vmcb, vmcb->rflags | NVIRT_RFLAGS_TF);
        nvirt_vmcb_set_intercept_word(vmcb, WORD_EXCEPTIONS, UINT32_MAX);
    }
}

static bool set_interrupts(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    struct nvi_svm_interrupt_in in;

    in.vmcb12 = v->level == 2 ? &v->vmcb12 : NULL;
    in.vmcb01 = v->vmcb01;
    in.pass_through = v->pass_through;
    in.gif = v->gif;
    in.l1_if = v->l1_if;
    in.v_irq = v->v_irq && nvi_svm_takes_virtual_events(v) && !v->own.fake_irq;
    in.v_nmi = v->v_nmi && nvi_svm_takes_virtual_events(v);
    in.window = v->own.window;
    return nvi_svm_set_interrupts(&in, vmcb);
}

/* Hardware runs L1 with SVME set: an L1 that has it clear must not find its SVM instructions. */
static void give_vmload_to_l1(const struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    nvi_svm_give_vmload_to_l1(v->cpu_has_vmload && v->svme, vmcb);
}

/* Turns an intercept of nvirt's own in vmcb01 on or off; one that the host has set stays the host's. */
static void set_own_intercept(struct nvirt_vmcb *vmcb, uint32_t code, bool on, bool *own)
{
    if (on != *own && (*own || !nvirt_vmcb_intercepts(vmcb, code))) {
        nvirt_vmcb_intercept(vmcb, code, on);
        *own = on;
    }
}

/* A breakpoint that L1 meets with GIF 0 is discarded, so it exits then; a write of DR7 exits where the CPU
 * keeps GIF, because nobody tells then when L1 clears it. */
static void watch_breakpoints(struct nvirt_svm_vcpu *v, bool cpu_keeps_gif, struct nvirt_vmcb *vmcb)
{
    set_own_intercept(vmcb, NVI_SVM_EXIT_DR7_WRITE, cpu_keeps_gif, &v->dr7_watch);
    set_own_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB, !cpu_keeps_gif && !v->gif,
                      &v->db_watch);
    v->dr6_before = vmcb->dr6;
}

void nvi_svm_leave_vmcb01(struct nvirt_svm_vcpu *v)
{
    set_own_intercept(v->vmcb01, NVI_SVM_EXIT_DR7_WRITE, false, &v->dr7_watch);
    set_own_intercept(v->vmcb01, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB, false, &v->db_watch);
    v->gif01 = NVI_SVM_GIF_UNKNOWN;
}

NVIRT_COLD static void change_controls_of_l1(struct nvirt_svm_vcpu *v, enum nvi_svm_gif gif,
                                             struct nvirt_vmcb *vmcb)
{
    if (gif == NVI_SVM_GIF_CPUS && nvi_svm_has_breakpoints(vmcb)) {
        v->direct = true;
        gif = v->gif ? NVI_SVM_GIF_SET : NVI_SVM_GIF_CLEAR;
    }
    v->gif01 = gif;
    (void)nvi_svm_set_interrupts_of_l1(v->pass_through, gif, vmcb);
    give_vmload_to_l1(v, vmcb);
    watch_breakpoints(v, gif == NVI_SVM_GIF_CPUS, vmcb);
}

/* STGI and CLGI where nvirt keeps GIF: no more than what follows from the flag. */
static void switch_gif_of_l1(struct nvirt_svm_vcpu *v, enum nvi_svm_gif gif, struct nvirt_vmcb *vmcb)
{
    v->gif01 = gif;
    if (v->pass_through) {
        nvi_svm_switch_gif_of_l1(!v->gif, vmcb);
    }
    set_own_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB, !v->gif, &v->db_watch);
}

static void set_v_gif(struct nvirt_vmcb *vmcb, bool gif)
{
    nvirt_vmcb_set_int_ctl(vmcb,
                           (vmcb->int_ctl & ~NVIRT_SVM_V_GIF) | (gif ? NVIRT_SVM_V_GIF : 0));
}

static bool nvirt_keeps(enum nvi_svm_gif gif)
{
    return gif == NVI_SVM_GIF_CLEAR || gif == NVI_SVM_GIF_SET;
}

NVIRT_NOINLINE static void follow_gif(struct nvirt_svm_vcpu *v, enum nvi_svm_gif gif,
                                      struct nvirt_vmcb *vmcb)
{
    if (nvirt_keeps(gif) && nvirt_keeps(v->gif01)) {
        switch_gif_of_l1(v, gif, vmcb);
    } else {
        change_controls_of_l1(v, gif, vmcb);
    }
}

/* Nobody but nvirt changes these controls in vmcb01, and at level 1, where nothing waits, they follow
 * from who keeps GIF alone. */
static bool set_interrupts_of_l1(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    enum nvi_svm_gif gif = v->gif ? NVI_SVM_GIF_SET : NVI_SVM_GIF_CLEAR;

    if (v->cpu_has_vgif && !v->direct) {
        gif = NVI_SVM_GIF_CPUS;
    }
    if (v->gif01 != gif) {
        follow_gif(v, gif, vmcb);
    }
    if (v->gif01 == NVI_SVM_GIF_CPUS) {
        set_v_gif(vmcb, v->gif);
        return true;
    }
    v->dr6_before = vmcb->dr6;
    return v->gif || !v->pass_through;
}

/* So does one that L2 meets, where L1 let it clear GIF. */
static void watch_breakpoints_of_l2(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    const uint32_t db = NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB;
    bool l0 = nvirt_vmcb_intercepts(v->vmcb01, db) && !v->db_watch;

    nvirt_vmcb_intercept(vmcb, db, !v->gif || l0 || nvirt_vmcb_intercepts(&v->vmcb12, db));
    v->dr6_before = vmcb->dr6;
}

/* All follows from the flags and from the intercepts of vmcb12, which are what they were while events02
 * holds. Hardware changes bits of int_ctl. With GIF 0 each entry comes here: for DR6. */
static bool set_interrupts_of_l2(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    if (v->events02 != v->events) {
        v->events02 = v->gif ? v->events : NVI_SVM_EVENTS_UNKNOWN;
        watch_breakpoints_of_l2(v, vmcb);
        v->host_if02 = set_interrupts(v, vmcb);
        v->int_ctl02 = vmcb->int_ctl & NVI_SVM_INT_CTL_OF_ENTRY;
    } else {
        nvirt_vmcb_set_int_ctl(vmcb, (vmcb->int_ctl & ~NVI_SVM_INT_CTL_OF_ENTRY) | v->int_ctl02);
    }
    return v->host_if02;
}

/* True in nearly every entry: nothing waits, nothing was injected that must be seen to return. */
static bool has_nothing_to_watch(const struct nvirt_svm_vcpu *v)
{
    return v->waiting.any == 0 && (v->svme || v->level == 2);
}

NVIRT_COLD static bool start_watching(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    struct nvi_svm_own *own = &v->own;
    bool vintr = nvirt_vmcb_intercepts(
        v->level == 2 ? &v->vmcb12 : v->vmcb01, NVIRT_SVM_EXIT_VINTR);
    bool iret = nvirt_vmcb_intercepts(vmcb, NVIRT_SVM_EXIT_IRET);
    uint32_t exceptions;
    bool host_if;

    if (v->level == 1) {
        watch_breakpoints(v, false, vmcb);
    } else {
        watch_breakpoints_of_l2(v, vmcb);
    }
    exceptions = vmcb->intercepts[WORD_EXCEPTIONS];
    own->active = true;
    own->int_ctl = vmcb->int_ctl;
    own->window = wants_window(v);
    own->fake_irq = own->window && needs_irq_of_nvirts(v);
    own->exit_soon = waits_for_delivery(v);
    /* Watched as soon as an NMI was injected: no later entry tells whether the handler returned. */
    own->iret_watch = v->waiting.nmi_masked;
    own->gp_watch = v->level == 1 && !v->svme &&
                    !nvirt_vmcb_intercepts(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP);
    host_if = set_interrupts(v, vmcb);
    if (v->level == 1) {
        give_vmload_to_l1(v, vmcb);
    }
    if (own->iret_watch) {
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_IRET, true);
    }
    if (own->gp_watch) {
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP, true);
    }
    start_step(v, vmcb);
    own->exceptions = vmcb->intercepts[WORD_EXCEPTIONS] & ~exceptions;
    own->others = (own->window && !vintr ? 1u << (NVIRT_SVM_EXIT_VINTR % 32u) : 0) |
                  (own->iret_watch && !iret ? 1u << (NVIRT_SVM_EXIT_IRET % 32u) : 0);
    return host_if;
}

bool nvi_svm_watch(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);

    if (!has_nothing_to_watch(v)) {
        v->own.vmcb = vmcb;
        v->gif01 = NVI_SVM_GIF_UNKNOWN;
        v->events02 = NVI_SVM_EVENTS_UNKNOWN;
        return start_watching(v, vmcb);
    }
    if (v->own.active) {
        __builtin_memset(&v->own, 0, sizeof v->own);
    }
    if (v->level == 1) {
        return set_interrupts_of_l1(v, vmcb);
    }
    return set_interrupts_of_l2(v, vmcb);
}

NVIRT_COLD static void take_back(struct nvirt_svm_vcpu *v, struct nvirt_vmcb *vmcb)
{
    const struct nvi_svm_own *own = &v->own;

    if (own->fake_irq) {
        nvirt_vmcb_set_int_ctl(vmcb,
                               (vmcb->int_ctl & ~OWN_INT_CTL) | (own->int_ctl & OWN_INT_CTL));
    }
    /* An IRET that was executed brought a trap flag of the guest's own. */
    if (own->step && at_iret(v)) {
        nvirt_vmcb_set_rflags(vmcb, (vmcb->rflags & ~NVIRT_RFLAGS_TF) |
                                        (own->rflags & NVIRT_RFLAGS_TF));
    }
    nvirt_vmcb_set_intercept_word(vmcb, WORD_EXCEPTIONS,
                                  vmcb->intercepts[WORD_EXCEPTIONS] & ~own->exceptions);
    nvirt_vmcb_set_intercept_word(vmcb, WORD_OTHERS,
                                  vmcb->intercepts[WORD_OTHERS] & ~own->others);
}

void nvi_svm_unwatch(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *vmcb;

    if (!v->own.active) {
        return;
    }
    vmcb = v->own.vmcb;
    v->own.vmcb = NULL;
    if (vmcb != NULL) {
        take_back(v, vmcb);
    }
}

/* Whether an intercept of nvirt's alone led to exit @p code. */
static bool is_own_exit(const struct nvi_svm_own *own, uint64_t code)
{
    uint32_t bit = 1u << (code % 32u);

    return (code / 32u == WORD_EXCEPTIONS && (own->exceptions & bit) != 0) ||
           (code / 32u == WORD_OTHERS && (own->others & bit) != 0);
}

#define DR6_BREAKPOINTS NVIRT_BITS(3, 0)

/* The single step ended by the trap behind the IRET. @return true when nobody else is to see it. */
static bool end_step(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    bool guests = (v->own.rflags & NVIRT_RFLAGS_TF) != 0 ||
                  (vmcb->dr6 & ~v->own.dr6 & DR6_BREAKPOINTS) != 0;

    v->waiting.iret_pending = false;
    if ((v->own.rflags & NVIRT_RFLAGS_TF) == 0) {
        nvirt_vmcb_set_dr6(vmcb, (vmcb->dr6 & ~NVI_DR6_BS) | (v->own.dr6 & NVI_DR6_BS));
    }
    if (guests && is_own_exit(&v->own, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_DB)) {
        nvi_svm_raise(v, NVIRT_VECTOR_DB, false, 0);
        return true;
    }
    return !guests;
}

#define VECTORS_WITH_ERROR                                                                         \
    (NVIRT_BIT(8) | NVIRT_BITS(14, 10) | NVIRT_BIT(17) | NVIRT_BIT(21) | NVIRT_BITS(30, 29))

/* An exit while the IRET was stepped. @return true when nobody else is to see it. */
static bool close_step(struct nvirt_svm_vcpu *v, uint64_t code)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    uint32_t vector = (uint32_t)code % 32u;

    if (code / 32u != WORD_EXCEPTIONS) {
        return false;
    }
    if (vector == NVIRT_VECTOR_DB && ((vmcb->dr6 & NVI_DR6_BS) != 0 || !at_iret(v))) {
        return end_step(v);
    }
    if (!is_own_exit(&v->own, code) || (v->own.gp_watch && vector == NVIRT_VECTOR_GP)) {
        return false;
    }
    deliver_exception(v, make_exception(vector, (VECTORS_WITH_ERROR >> vector & 1u) != 0,
                                        (uint32_t)vmcb->exit_info1),
                      vmcb->exit_info2);
    return true;
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

/* An exit while nvirt watched for something. @return true when nobody else is to see it. */
NVIRT_COLD static bool close_watched(struct nvirt_svm_vcpu *v, uint64_t code)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    const struct nvi_svm_own *own = &v->own;
    struct nvi_svm_waiting *w = &v->waiting;

    if (own->step && close_step(v, code)) {
        return true;
    }
    if (own->iret_watch && code == NVIRT_SVM_EXIT_IRET) {
        w->nmi_masked = false;
        w->iret_pending = true;
        w->iret_rip = vmcb->rip;
        w->iret_rsp = vmcb->rsp;
    }
    /* What L1 or the host asked for as well is theirs all the same; a V_IRQ of nvirt's is not. */
    if (code == NVIRT_SVM_EXIT_VINTR && own->fake_irq) {
        return true;
    }
    return (code == NVIRT_SVM_EXIT_VINTR || code == NVIRT_SVM_EXIT_IRET) && is_own_exit(own, code);
}

bool nvi_svm_close_window(struct nvirt_svm_vcpu *v, uint64_t code)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);

    nvi_svm_unwatch(v);
    if (v->level == 2 && nvi_svm_takes_virtual_events(v)) {
        v->v_nmi = (vmcb->int_ctl & NVIRT_SVM_V_NMI) != 0;
        if (!v->own.fake_irq) {
            v->v_irq = (vmcb->int_ctl & NVIRT_SVM_V_IRQ) != 0 && !virq_was_taken(vmcb);
        }
    }
    return v->own.active && close_watched(v, code);
}

/* ---- breakpoints while GIF is 0 ---- */

#define DR7_TYPE(breakpoint) (NVIRT_BITS(17, 16) << (4u * (breakpoint)))

/* An instruction breakpoint comes before its instruction, which must not meet it again. */
static bool hit_an_instruction(const struct nvirt_vmcb *vmcb)
{
    bool hit = false;

    for (uint32_t i = 0; i < 4; i++) {
        hit = hit || ((vmcb->dr6 >> i & 1u) != 0 && (vmcb->dr7 & DR7_TYPE(i)) == 0);
    }
    return hit;
}

/* What matched DR0 to DR3 did not happen. A step, a task switch and an access to the debug registers
 * did. */
bool nvi_svm_discard_breakpoints(struct nvirt_svm_vcpu *v)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    bool step = (vmcb->rflags & NVIRT_RFLAGS_TF) != 0 && (vmcb->dr6 & NVI_DR6_BS) != 0;
    bool other = (vmcb->dr6 & ~v->dr6_before & (NVI_DR6_BD | NVI_DR6_BT)) != 0;
    bool instruction = hit_an_instruction(vmcb);

    nvirt_vmcb_set_dr6(vmcb, (vmcb->dr6 & ~DR6_BREAKPOINTS) | (v->dr6_before & DR6_BREAKPOINTS));
    if (!step && !other && instruction) {
        nvirt_vmcb_set_rflags(vmcb, vmcb->rflags | NVIRT_RFLAGS_RF);
    }
    return step || other;
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
        if (event == v->requeued) {
            /* The exit wrote next_rip; a software event pushes the one it came with. */
            nvirt_vmcb_set_next_rip(nvi_svm_current(v), v->requeued_next_rip);
        }
    }
}

/* ---- the host's call ---- */

static bool is_exception_vector(uint64_t vector)
{
    return vector <= 31 && vector != NVIRT_VECTOR_NMI;
}

bool nvi_svm_is_waiting_exception(uint64_t event)
{
    uint32_t vector = (uint32_t)(event & NVIRT_SVM_EVENT_VECTOR);
    bool has_error = (event & NVIRT_SVM_EVENT_EV) != 0;
    uint32_t error = (uint32_t)(event >> NVIRT_SVM_EVENT_ERROR_SHIFT);

    return is_exception_vector(vector) && event == make_exception(vector, has_error, error);
}

static enum nvirt_status queue_exception(struct nvirt_svm_vcpu *v, const struct nvirt_event *event)
{
    if (!is_exception_vector(event->vector)) {
        return NVIRT_ERR_RANGE;
    }
    if (v->waiting.exception != 0) {
        return NVIRT_ERR_STATE;
    }
    v->waiting.exception =
        make_exception(event->vector, event->has_error_code, event->error_code);
    v->waiting.exception_waits = true;
    v->waiting.exception_level = v->level;
    v->waiting.address = event->vector == NVIRT_VECTOR_PF ? event->address : 0;
    return NVIRT_OK;
}

uint32_t nvirt_svm_waits(const struct nvirt_svm_vcpu *v)
{
    if (v == NULL) {
        return 0;
    }
    return (v->waiting.interrupt ? NVIRT_WAITS_INTERRUPT : 0) |
           (v->waiting.nmi ? NVIRT_WAITS_NMI : 0);
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
    case NVIRT_EVENT_INIT: /* The host's to carry out. */
    case NVIRT_EVENT_SIPI:
        break;
    }
    return NVIRT_ERR_RANGE;
}
