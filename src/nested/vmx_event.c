/* SPDX-License-Identifier: MIT */
/*
 * Events: exceptions that nvirt raises itself, events that the host hands over, and those whose
 * delivery an exit interrupted. They wait here until the next entry, where each becomes an
 * injection, an exit of L2 to L1, or a window exit that tells when it may be delivered.
 *
 * [SDM 3C "Event Injection", "Event Blocking", "Information for VM Exits That Occur During Event
 * Delivery"]
 */
#include "nested/vmx_internal.h"

#define BLOCKS_INTERRUPTS (NVIRT_VMX_BLOCK_STI | NVIRT_VMX_BLOCK_MOV_SS)
#define BLOCKS_NMI (NVIRT_VMX_BLOCK_MOV_SS | NVIRT_VMX_BLOCK_NMI)
/* What the exit's word and the entry's word for an event have in common. */
#define EVENT_BITS                                                                                 \
    (NVIRT_VMX_INTR_VALID | NVIRT_VMX_INTR_ERROR_CODE | NVIRT_VMX_INTR_TYPE | NVIRT_VMX_INTR_VECTOR)

static uint64_t event_word(uint64_t type, uint8_t vector, bool has_error)
{
    return NVIRT_VMX_INTR_VALID | (type << NVIRT_VMX_INTR_TYPE_SHIFT) | vector |
           (has_error ? NVIRT_VMX_INTR_ERROR_CODE : 0);
}

static uint64_t type_of(uint64_t word)
{
    return (word & NVIRT_VMX_INTR_TYPE) >> NVIRT_VMX_INTR_TYPE_SHIFT;
}

static bool slot_is_free(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET(v, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) == 0;
}

/* ---- raising ---- */

static void raise_full(struct nvirt_vmx_vcpu *v, struct nvi_exception exception)
{
    exception.waiting = true;
    v->pending.exception = exception;
}

void nvi_vmx_raise(struct nvirt_vmx_vcpu *v, uint8_t vector)
{
    raise_full(v, (struct nvi_exception){ .vector = vector });
}

void nvi_vmx_raise_error(struct nvirt_vmx_vcpu *v, uint8_t vector, uint32_t error_code)
{
    raise_full(v, (struct nvi_exception){
                      .vector = vector, .has_error = true, .error_code = error_code });
}

void nvi_vmx_raise_page_fault(struct nvirt_vmx_vcpu *v, uint32_t error_code, uint64_t address)
{
    raise_full(v, (struct nvi_exception){ .vector = NVIRT_VECTOR_PF,
                                          .has_error = true,
                                          .error_code = error_code,
                                          .address = address });
}

/* [SDM 3C "Monitor Trap Flag"]: the exit after an instruction, though hardware did not see it end.
 * L1's is delivered here; for the host's own, hardware is given the pending event. */
static void trap_after_skip(struct nvirt_vmx_vcpu *v)
{
    uint64_t proc01 = v->proc01 & NVIRT_VMX_PROC_MTF;

    if (v->level == 2 && (v->vmcs12.proc_controls & NVIRT_VMX_PROC_MTF) != 0) {
        v->pending.mtf = true;
    } else if (proc01 != 0 && slot_is_free(v)) {
        NVI_SET(v, ENTRY_INTERRUPTION, event_word(NVIRT_VMX_INTR_TYPE_OTHER, 0, false));
    }
}

/*
 * RIP moves on, RF is cleared, the shadow of STI and MOV SS ends, and a single step that is due
 * becomes pending: what the CPU does when an instruction completes.
 */
void nvi_vmx_skip(struct nvirt_vmx_vcpu *v)
{
    uint64_t rip = NVI_GET(v, GUEST_RIP) + NVI_GET(v, EXIT_INSN_LENGTH);
    uint64_t rflags = NVI_GET(v, GUEST_RFLAGS);
    uint64_t blocking = NVI_GET(v, GUEST_INTERRUPTIBILITY);

    /* Only a carry out of 32 bits makes the mode matter. */
    if ((rip >> 32) != 0 && !nvi_vmx_in_64bit_mode(v)) {
        rip &= NVIRT_BITS(31, 0);
    }
    NVI_SET(v, GUEST_RIP, rip);
    if ((rflags & NVIRT_RFLAGS_RF) != 0) {
        NVI_SET(v, GUEST_RFLAGS, rflags & ~NVIRT_RFLAGS_RF);
    }
    if ((blocking & BLOCKS_INTERRUPTS) != 0) {
        NVI_SET(v, GUEST_INTERRUPTIBILITY, blocking & ~BLOCKS_INTERRUPTS);
    }
    /* With BTF set TF traps branches only, and none of these is one. */
    if ((rflags & NVIRT_RFLAGS_TF) != 0 && (NVI_GET(v, GUEST_DEBUGCTL) & NVIRT_BIT(1)) == 0) {
        NVI_SET(v, GUEST_PENDING_DEBUG, NVI_GET(v, GUEST_PENDING_DEBUG) | NVIRT_VMX_PENDING_BS);
    }
    trap_after_skip(v);
}

/* ---- delivery that an exit interrupted ---- */

static bool exit_tells_nmi_unblocking(uint32_t reason, uint64_t qualification,
                                      uint32_t interruption)
{
    switch (reason & NVIRT_VMX_REASON_BASIC) {
    case NVIRT_VMX_EXIT_EXCEPTION_NMI:
        return (interruption & NVIRT_VMX_INTR_NMI_UNBLOCKING) != 0 &&
               (interruption & NVIRT_VMX_INTR_VECTOR) != NVIRT_VECTOR_DF;
    case NVIRT_VMX_EXIT_EPT_VIOLATION:
    case NVIRT_VMX_EXIT_PML_FULL:
    case NVIRT_VMX_EXIT_SPP_EVENT:
        return (qualification & NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING) != 0;
    default:
        return false;
    }
}

void nvi_vmx_redeliver(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification,
                       uint32_t interruption)
{
    uint64_t vectoring = nvi_vmx_vectoring(v, nvi_vmx_running(v), reason);
    uint64_t blocking;

    if ((vectoring & NVIRT_VMX_INTR_VALID) == 0) {
        /* An IRET about to end NMI blocking faulted: it will run again, blocked as before. */
        if (exit_tells_nmi_unblocking(reason, qualification, interruption)) {
            blocking = NVI_GET(v, GUEST_INTERRUPTIBILITY);
            NVI_SET(v, GUEST_INTERRUPTIBILITY, blocking | NVIRT_VMX_BLOCK_NMI);
        }
        return;
    }
    NVI_SET(v, ENTRY_INTERRUPTION, vectoring & EVENT_BITS);
    if ((vectoring & NVIRT_VMX_INTR_ERROR_CODE) != 0) {
        NVI_SET(v, ENTRY_ERROR_CODE, NVI_GET(v, IDT_VECTORING_ERROR));
    }
    if (type_of(vectoring) >= NVIRT_VMX_INTR_TYPE_SOFTWARE_INTERRUPT) {
        NVI_SET(v, ENTRY_INSN_LENGTH, NVI_GET(v, EXIT_INSN_LENGTH));
    }
    if (type_of(vectoring) == NVIRT_VMX_INTR_TYPE_NMI) {
        /* The interrupted delivery had begun to block NMIs; its repetition does so itself. */
        blocking = NVI_GET(v, GUEST_INTERRUPTIBILITY);
        NVI_SET(v, GUEST_INTERRUPTIBILITY, blocking & ~NVIRT_VMX_BLOCK_NMI);
    }
}

/* ---- exceptions that the host intercepts for its own sake ---- */

/*
 * Without another event in the slot the word goes there as it is: its type tells INT1, INT3 and INTO from
 * exceptions. None of these three arises while an event is delivered.
 */
void nvi_vmx_reinject(struct nvirt_vmx_vcpu *v)
{
    uint64_t word = NVI_GET(v, EXIT_INTERRUPTION) & EVENT_BITS;
    uint8_t vector = (uint8_t)(word & NVIRT_VMX_INTR_VECTOR);
    uint64_t address = vector == NVIRT_VECTOR_PF ? NVI_GET(v, EXIT_QUALIFICATION) : 0;
    bool has_error = (word & NVIRT_VMX_INTR_ERROR_CODE) != 0;
    uint32_t error = has_error ? (uint32_t)NVI_GET(v, EXIT_INTERRUPTION_ERROR) : 0;

    if (!slot_is_free(v)) {
        raise_full(v, (struct nvi_exception){ .vector = vector,
                                              .has_error = has_error,
                                              .error_code = error,
                                              .address = address });
        return;
    }
    if ((NVI_GET(v, EXIT_INTERRUPTION) & NVIRT_VMX_INTR_NMI_UNBLOCKING) != 0) {
        /* A fault of an IRET: that one is not executed again before the handler ran, and had unblocked NMIs. */
        NVI_SET(v, GUEST_INTERRUPTIBILITY,
                NVI_GET(v, GUEST_INTERRUPTIBILITY) & ~NVIRT_VMX_BLOCK_NMI);
    }
    NVI_SET(v, ENTRY_INTERRUPTION, word);
    if (has_error) {
        NVI_SET(v, ENTRY_ERROR_CODE, error);
    }
    if (type_of(word) >= NVIRT_VMX_INTR_TYPE_SOFTWARE_INTERRUPT) {
        NVI_SET(v, ENTRY_INSN_LENGTH, NVI_GET(v, EXIT_INSN_LENGTH));
    }
    if (vector == NVIRT_VECTOR_PF) {
        v->set_cr2 = true;
        v->cr2 = address;
    }
}

/* ---- delivery ---- */

static bool is_contributory(uint8_t vector)
{
    return vector == NVIRT_VECTOR_DE || (vector >= NVIRT_VECTOR_TS && vector <= NVIRT_VECTOR_GP) ||
           vector == NVIRT_VECTOR_CP;
}

/* The other class of the table: #VE is in it [SDM 3C "Delivery of Virtualization Exceptions"]. */
static bool is_page_fault(uint8_t vector)
{
    return vector == NVIRT_VECTOR_PF || vector == NVIRT_VECTOR_VE;
}

static void exit_info_for_event(uint32_t reason, uint64_t word, struct nvi_vmx_exit_info *info)
{
    __builtin_memset(info, 0, sizeof *info);
    info->reason = reason;
    info->interruption = (uint32_t)word;
}

/* A triple fault of L2 is an exit to L1, always; one of L1 ends it. */
static void shutdown(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_exit_info info;

    if (v->level != 2) {
        v->dead = true;
        return;
    }
    NVI_SET02(v, ENTRY_INTERRUPTION, 0);
    exit_info_for_event(NVIRT_VMX_EXIT_TRIPLE_FAULT, 0, &info);
    nvi_vmx_leave(v, &info);
}

/* In real-address mode no exception has an error code: an entry that injected one would be refused
 * [SDM 3C "Checks on VM-Entry Control Fields"]. */
static bool pushes_error_codes(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET(v, GUEST_CR0) & NVIRT_CR0_PE) != 0;
}

/* INT3 and INTO: the host hands them over before the instruction is completed. */
static bool is_software(uint8_t vector)
{
    return vector == NVIRT_VECTOR_BP || vector == NVIRT_VECTOR_OF;
}

/* What the exit told that made the host hand the event over. Where none did, as after a restore of a
 * state that says so, the length of the instruction itself: hardware may refuse an entry with 0. */
static uint64_t software_length(struct nvirt_vmx_vcpu *v)
{
    uint64_t length = NVI_GET(v, EXIT_INSN_LENGTH);

    return length != 0 && length <= NVI_VMX_INSN_LENGTH_MAX ? length : 1;
}

static uint64_t exception_word(const struct nvi_exception *exception)
{
    return event_word(is_software(exception->vector) ? NVIRT_VMX_INTR_TYPE_SOFTWARE_EXCEPTION
                                                     : NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION,
                      exception->vector, exception->has_error);
}

/* Exceptions of type fault push RF set; #DB, #DF and #MC do as they please [SDM 3B "Instruction-
 * Breakpoint Exception Condition"]. An exit saves the flags as they would have been pushed [SDM 3C
 * "Saving RIP, RSP, RFLAGS, and SSP"]. */
static void set_pushed_flags(struct nvirt_vmx_vcpu *v, uint8_t vector)
{
    if (!is_software(vector) && vector != NVIRT_VECTOR_DB && vector != NVIRT_VECTOR_DF &&
        vector != NVIRT_VECTOR_MC) {
        NVI_SET(v, GUEST_RFLAGS, NVI_GET(v, GUEST_RFLAGS) | NVIRT_RFLAGS_RF);
    }
}

static void inject_exception(struct nvirt_vmx_vcpu *v, const struct nvi_exception *exception)
{
    NVI_SET(v, ENTRY_INTERRUPTION, exception_word(exception));
    if (exception->has_error) {
        NVI_SET(v, ENTRY_ERROR_CODE, exception->error_code);
    }
    if (is_software(exception->vector)) {
        NVI_SET(v, ENTRY_INSN_LENGTH, software_length(v));
    }
    set_pushed_flags(v, exception->vector);
    if (exception->vector == NVIRT_VECTOR_PF) {
        v->set_cr2 = true;
        v->cr2 = exception->address;
    }
}

/* An event that was to be delivered to L2 when another made it leave: L1 is told which. */
static void take_slot(struct nvirt_vmx_vcpu *v, struct nvi_vmx_exit_info *info)
{
    uint64_t word = NVI_GET02(v, ENTRY_INTERRUPTION);

    if ((word & NVIRT_VMX_INTR_VALID) == 0) {
        return;
    }
    info->idt_vectoring = (uint32_t)(word & EVENT_BITS);
    if ((word & NVIRT_VMX_INTR_ERROR_CODE) != 0) {
        info->idt_vectoring_error = (uint32_t)NVI_GET02(v, ENTRY_ERROR_CODE);
    }
    if (type_of(word) >= NVIRT_VMX_INTR_TYPE_SOFTWARE_INTERRUPT) {
        info->insn_length = (uint32_t)NVI_GET02(v, ENTRY_INSN_LENGTH);
    }
    NVI_SET02(v, ENTRY_INTERRUPTION, 0);
}

static bool l1_wants_exception(const struct nvirt_vmx_vcpu *v, const struct nvi_exception *e)
{
    bool bit = (v->vmcs12.exception_bitmap >> e->vector & 1u) != 0;

    if (e->vector != NVIRT_VECTOR_PF) {
        return bit;
    }
    return ((e->error_code & v->vmcs12.pf_error_mask) == v->vmcs12.pf_error_match) == bit;
}

/* L1 intercepts it: the exit, with the event in whose delivery it arose as IDT-vectoring. */
static void exit_for_exception(struct nvirt_vmx_vcpu *v, const struct nvi_exception *exception)
{
    struct nvi_vmx_exit_info info;

    exit_info_for_event(NVIRT_VMX_EXIT_EXCEPTION_NMI, exception_word(exception), &info);
    if (exception->has_error) {
        info.interruption_error = exception->error_code;
    }
    info.qualification = exception->address;
    take_slot(v, &info);
    if (is_software(exception->vector)) {
        info.insn_length = (uint32_t)software_length(v);
    }
    set_pushed_flags(v, exception->vector);
    nvi_vmx_leave(v, &info);
}

/* [SDM 3A "Interrupt 8: Double Fault Exception (#DF)"]: what two exceptions come to. */
enum outcome { OUTCOME_SECOND, OUTCOME_DOUBLE_FAULT, OUTCOME_SHUTDOWN, OUTCOME_WAIT };

static enum outcome combine(uint64_t word, uint8_t second)
{
    uint8_t first = (uint8_t)(word & NVIRT_VMX_INTR_VECTOR);
    bool serious = is_contributory(second) || is_page_fault(second);

    if (type_of(word) != NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION) {
        return OUTCOME_SECOND;
    }
    if (first == NVIRT_VECTOR_DF) {
        return serious ? OUTCOME_SHUTDOWN : OUTCOME_WAIT;
    }
    if ((is_contributory(first) && is_contributory(second)) ||
        (is_page_fault(first) && serious)) {
        return OUTCOME_DOUBLE_FAULT;
    }
    return OUTCOME_SECOND;
}

/* L2 would leave for it: were it to wait, an event that L1 injected, with a vector of L2's choice, would
 * come back to L1 as one of its own. */
static bool is_exit_of_l2(const struct nvirt_vmx_vcpu *v, uint64_t pin_control)
{
    return v->level == 2 && (v->vmcs12.pin_controls & pin_control) != 0;
}

/* The second exception is delivered first. An interrupt or NMI is no part of the program and comes
 * back later; an exception comes back when its instruction is executed again. Where it cannot come back
 * the delivery has ended as it does on a CPU: an interrupt is gone, and an NMI blocks further ones.
 * @return false when the slot cannot be vacated: an interrupt waits already. */
static bool vacate_slot(struct nvirt_vmx_vcpu *v, uint64_t word)
{
    if (type_of(word) == NVIRT_VMX_INTR_TYPE_EXTERNAL) {
        if (!is_exit_of_l2(v, NVIRT_VMX_PIN_EXT_INT)) {
            if (v->pending.interrupt) {
                return false;
            }
            v->pending.interrupt = true;
            v->pending.vector = (uint8_t)(word & NVIRT_VMX_INTR_VECTOR);
        }
    } else if (type_of(word) == NVIRT_VMX_INTR_TYPE_NMI) {
        if (is_exit_of_l2(v, NVIRT_VMX_PIN_NMI)) {
            NVI_SET(v, GUEST_INTERRUPTIBILITY,
                    NVI_GET(v, GUEST_INTERRUPTIBILITY) | NVIRT_VMX_BLOCK_NMI);
        } else {
            v->pending.nmi = true;
        }
    }
    NVI_SET(v, ENTRY_INTERRUPTION, 0);
    return true;
}

static void deliver_double_fault(struct nvirt_vmx_vcpu *v)
{
    struct nvi_exception fault = { .vector = NVIRT_VECTOR_DF };

    fault.has_error = pushes_error_codes(v);
    NVI_SET(v, ENTRY_INTERRUPTION, 0);
    if (v->level == 2 && l1_wants_exception(v, &fault)) {
        /* No IDT-vectoring: the double fault is the exit's cause itself. */
        exit_for_exception(v, &fault);
    } else {
        inject_exception(v, &fault);
    }
}

void nvi_vmx_deliver_exception(struct nvirt_vmx_vcpu *v)
{
    struct nvi_exception exception = v->pending.exception;
    uint64_t word = NVI_GET(v, ENTRY_INTERRUPTION);
    enum outcome outcome = OUTCOME_SECOND;

    exception.has_error = exception.has_error && pushes_error_codes(v);
    if (v->level == 2 && l1_wants_exception(v, &exception)) {
        /* L1's wish comes before what the two would come to. */
        v->pending.exception.waiting = false;
        exit_for_exception(v, &exception);
        return;
    }
    if ((word & NVIRT_VMX_INTR_VALID) != 0) {
        outcome = combine(word, exception.vector);
        if (outcome == OUTCOME_SECOND && !vacate_slot(v, word)) {
            outcome = OUTCOME_WAIT;
        }
    }
    v->pending.exception.waiting = outcome == OUTCOME_WAIT;
    if (outcome == OUTCOME_SECOND) {
        inject_exception(v, &exception);
    } else if (outcome == OUTCOME_DOUBLE_FAULT) {
        deliver_double_fault(v);
    } else if (outcome == OUTCOME_SHUTDOWN) {
        shutdown(v);
    }
}

void nvi_vmx_leave_for(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification)
{
    struct nvi_vmx_exit_info info;

    exit_info_for_event(reason, 0, &info);
    info.qualification = qualification;
    nvi_vmx_leave(v, &info);
}

/* INIT and the monitor trap: exits of L2 that nothing else goes before. In L1 the trap is void and
 * INIT stays blocked [SDM 3C "Event Blocking", "Monitor Trap Flag"].
 * @return true when L2 was left. */
static bool deliver_init_or_trap(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_exit_info info;
    bool init = v->pending.init;
    bool trap = v->pending.mtf;

    v->pending.mtf = false;
    if (v->level != 2 || (!init && !trap)) {
        return false;
    }
    exit_info_for_event(init ? NVIRT_VMX_EXIT_INIT : NVIRT_VMX_EXIT_MTF, 0, &info);
    take_slot(v, &info);
    v->pending.init = false;
    nvi_vmx_leave(v, &info);
    return true;
}

/* @return true when it waits for a window. */
bool nvi_vmx_deliver_nmi(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_exit_info info;
    uint64_t blocking = NVI_GET(v, GUEST_INTERRUPTIBILITY);

    if (v->level == 2 && (v->vmcs12.pin_controls & NVIRT_VMX_PIN_NMI) != 0) {
        if (nvi_vmx_nmis_are_held(&v->vmcs12)) {
            return false; /* No window opens before L2 is left. */
        }
        exit_info_for_event(NVIRT_VMX_EXIT_EXCEPTION_NMI,
                            event_word(NVIRT_VMX_INTR_TYPE_NMI, NVIRT_VECTOR_NMI, false), &info);
        take_slot(v, &info);
        v->pending.nmi = false;
        nvi_vmx_leave(v, &info);
        return false;
    }
    if ((blocking & BLOCKS_NMI) != 0 || !slot_is_free(v)) {
        return true;
    }
    v->pending.nmi = false;
    NVI_SET(v, ENTRY_INTERRUPTION,
            event_word(NVIRT_VMX_INTR_TYPE_NMI, NVIRT_VECTOR_NMI, false));
    return false;
}

/* @return true when it waits for a window. */
static bool deliver_interrupt(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_exit_info info;

    if (v->level == 2 && (v->vmcs12.pin_controls & NVIRT_VMX_PIN_EXT_INT) != 0) {
        bool acknowledge = (v->vmcs12.exit_controls & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) != 0;

        if (nvi_vmx_is_notification(&v->vmcs12, v->pending.vector) && nvi_vmx_process_posted(v)) {
            v->pending.interrupt = false;
            return false;
        }
        exit_info_for_event(NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT,
                            acknowledge ? event_word(NVIRT_VMX_INTR_TYPE_EXTERNAL,
                                                     v->pending.vector, false)
                                        : 0,
                            &info);
        take_slot(v, &info);
        /* Not acknowledged, it stays with the interrupt controller until L1 opens its window. */
        v->pending.interrupt = !acknowledge;
        nvi_vmx_leave(v, &info);
        return v->pending.interrupt;
    }
    if ((NVI_GET(v, GUEST_RFLAGS) & NVIRT_RFLAGS_IF) == 0 ||
        (NVI_GET(v, GUEST_INTERRUPTIBILITY) & BLOCKS_INTERRUPTS) != 0 || !slot_is_free(v)) {
        return true;
    }
    v->pending.interrupt = false;
    NVI_SET(v, ENTRY_INTERRUPTION,
            event_word(NVIRT_VMX_INTR_TYPE_EXTERNAL, v->pending.vector, false));
    return false;
}

/*
 * L2 must get through its entry, injection included, before an event may take it out again. A
 * preemption timer of 0 brings it back right then. A CPU without the timer leaves the event waiting
 * for L2's next exit.
 */
static void force_exit(struct nvirt_vmx_vcpu *v)
{
    if (v->forced_exit || ((v->caps.pin >> 32) & NVIRT_VMX_PIN_PREEMPTION_TIMER) == 0) {
        return;
    }
    v->forced_exit = true;
    v->timer02 = NVI_GET02(v, GUEST_PREEMPTION_TIMER);
    v->pin02 = NVI_GET02(v, PIN_CONTROLS);
    NVI_SET02(v, PIN_CONTROLS, v->pin02 | NVIRT_VMX_PIN_PREEMPTION_TIMER);
    NVI_SET02(v, GUEST_PREEMPTION_TIMER, 0);
}

void nvi_vmx_forced_exit_done(struct nvirt_vmx_vcpu *v)
{
    if (v->forced_exit) {
        v->forced_exit = false;
        NVI_SET02(v, PIN_CONTROLS, v->pin02);
        NVI_SET02(v, GUEST_PREEMPTION_TIMER, v->timer02);
    }
}

static void set_windows(struct nvirt_vmx_vcpu *v, bool interrupt, bool nmi)
{
    uint64_t proc = v->level == 2 ? v->now->proc02 : v->proc01;

    if (interrupt) {
        proc |= NVIRT_VMX_PROC_INTERRUPT_WINDOW;
    }
    /* NMI-window exiting exists with virtual NMIs only; else the next exit of any kind must do. */
    if (nmi && (NVI_GET(v, PIN_CONTROLS) & NVIRT_VMX_PIN_VIRTUAL_NMIS) != 0) {
        proc |= NVIRT_VMX_PROC_NMI_WINDOW;
    }
    NVI_SET(v, PROC_CONTROLS, proc);
}

static void deliver_nmi_and_interrupt(struct nvirt_vmx_vcpu *v)
{
    bool interrupt_waits;
    bool nmi_waits;

    nmi_waits = v->pending.nmi && nvi_vmx_deliver_nmi(v);
    interrupt_waits = v->pending.interrupt && deliver_interrupt(v);
    set_windows(v, interrupt_waits, nmi_waits);
}

void nvi_vmx_deliver(struct nvirt_vmx_vcpu *v)
{
    uint32_t level = v->level;

    if (nvi_vmx_is_asleep(v)) {
        nvi_vmx_deliver_asleep(v);
        if (nvi_vmx_is_asleep(v)) {
            return;
        }
    }
    if (v->entry_pending) {
        if (v->pending.exception.waiting || v->pending.nmi || v->pending.interrupt ||
            v->pending.init) {
            force_exit(v);
        }
        return;
    }
    if (v->pending.exception.waiting) {
        /* Before what may take L2 out: L1 is told of it then, and does not meet it itself. */
        nvi_vmx_deliver_exception(v);
    }
    if (!deliver_init_or_trap(v)) {
        deliver_nmi_and_interrupt(v);
    }
    if (v->level != level) {
        /* One event took L2 out: what else waits is L1's now, and L1 has nowhere to leave to. */
        deliver_nmi_and_interrupt(v);
    }
}
