/* SPDX-License-Identifier: MIT */
/*
 * Events: what the host injects, what nvirt raises, what an exit interrupted; into which level they
 * go, and when they wait.
 */
#include "vmx_world.h"

#define NMI_WORD 0x80000202u
#define INTERRUPT_WORD(vector) (0x80000000u | (vector))

static enum nvirt_status inject(struct world *w, enum nvirt_event_type type, uint8_t vector)
{
    struct nvirt_event event = { .type = type, .vector = vector };

    return nvirt_vmx_inject(w->v, &w->cpu, &event);
}

/* ---- into L1 ---- */

static void an_interrupt_is_injected_when_l1_may_take_it(void **state)
{
    struct world *w = *state;

    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_IF);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x31), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == INTERRUPT_WORD(0x31));
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) == 0);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    prepare(w);
    assert_true((HW(w, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) == 0);
}

static void an_interrupt_waits_for_its_window(void **state)
{
    struct world *w = *state;
    const struct fake_set window[] = {
        { 0x4402, NVIRT_VMX_EXIT_INTERRUPT_WINDOW },
        { 0x4408, 0 },
        { 0x4824, 0 },
        { 0x6820, 2 | NVIRT_RFLAGS_IF },
    };

    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x31), NVIRT_OK);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x32), NVIRT_ERR_STATE);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
    assert_true((GET1(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) == 0);
    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_IF);
    SET1(w, GUEST_INTERRUPTIBILITY, NVIRT_VMX_BLOCK_STI);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
    run_to(w, window, 4);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == INTERRUPT_WORD(0x31));
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) == 0);
}

static void a_window_the_host_asked_for_is_the_hosts(void **state)
{
    struct world *w = *state;

    SET1(w, PROC_CONTROLS, w->v->proc01 | NVIRT_VMX_PROC_INTERRUPT_WINDOW);
    exit_with(w, NVIRT_VMX_EXIT_INTERRUPT_WINDOW, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
}

static void an_nmi_waits_while_nmis_are_blocked(void **state)
{
    struct world *w = *state;

    SET1(w, GUEST_INTERRUPTIBILITY, NVIRT_VMX_BLOCK_NMI);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK); /* They merge. */
    prepare(w);
    assert_true((HW(w, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) == 0);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_NMI_WINDOW) != 0);
    exit_with(w, NVIRT_VMX_EXIT_NMI_WINDOW, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    SET1(w, GUEST_INTERRUPTIBILITY, 0);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == NMI_WORD);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_NMI_WINDOW) == 0);
}

static void an_nmi_goes_before_an_interrupt(void **state)
{
    struct world *w = *state;

    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_IF);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x31), NVIRT_OK);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == NMI_WORD);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
}

/* A fault pushes RF set; CR2 is the host's to load. */
static void a_page_fault_sets_rf_and_asks_for_cr2(void **state)
{
    struct world *w = *state;
    struct nvirt_event event = { .type = NVIRT_EVENT_EXCEPTION,
                                 .vector = 14,
                                 .has_error_code = true,
                                 .error_code = 6,
                                 .address = 0x123456 };

    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_OK);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_ERR_STATE);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0e);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 6);
    assert_true((HW(w, GUEST_RFLAGS) & NVIRT_RFLAGS_RF) != 0);
    assert_true(w->run.set_cr2);
    assert_true(w->run.cr2 == 0x123456);
    prepare(w);
    assert_false(w->run.set_cr2);
}

static void breakpoints_are_software_exceptions_with_their_length(void **state)
{
    struct world *w = *state;

    exit_with(w, NVIRT_VMX_EXIT_EXCEPTION_NMI, 0, 0);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 3), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000603);
    assert_true(HW(w, ENTRY_INSN_LENGTH) == INSN_LENGTH);
    assert_true((HW(w, GUEST_RFLAGS) & NVIRT_RFLAGS_RF) == 0);
}

/* As exit_with(), but for the length of the instruction. */
static void exit_telling(struct world *w, uint32_t reason, uint64_t length)
{
    const struct fake_set set[] = {
        { 0x4402, reason }, { 0x6400, 0 }, { 0x4404, 0 },      { 0x4406, 0 },
        { 0x4408, 0 },      { 0x440a, 0 }, { 0x440c, length }, { 0x440e, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
}

/* [SDM 3C "Checks on VM-Entry Control Fields"]: not 0 where the CPU takes no 0, and at most 15. None was
 * told where no exit was for it; INT3 and INTO have one byte. */
static void a_breakpoint_without_a_length_has_that_of_the_instruction(void **state)
{
    static const uint64_t told[] = { 0, 16, 0xffffffff };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        exit_telling(w, NVIRT_VMX_EXIT_EXCEPTION_NMI, told[i]);
        assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 3 + i % 2), NVIRT_OK);
        prepare(w);
        assert_true(HW(w, ENTRY_INSN_LENGTH) == 1);
    }
}

static void bad_events_are_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_event event = { .type = NVIRT_EVENT_EXCEPTION, .has_error_code = true };

    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 3), NVIRT_ERR_RANGE);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 32), NVIRT_ERR_RANGE);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 2), NVIRT_ERR_RANGE);
    assert_int_equal(inject(w, (enum nvirt_event_type)7, 2), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, NULL), NVIRT_ERR_NULL);
    /* What VM entry would refuse: error codes where none belong, none where one does, too wide. */
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 13), NVIRT_ERR_RANGE);
    event.vector = 6;
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_ERR_RANGE);
    event.vector = 13;
    event.error_code = 0x8000;
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_ERR_RANGE);
}

/* ---- deliveries that an exit interrupted ---- */

static void interrupted(struct world *w, uint32_t reason, uint64_t qualification,
                        uint32_t vectoring, uint64_t blocking)
{
    const struct fake_set set[] = {
        { 0x4402, reason },   { 0x6400, qualification },
        { 0x4404, 0 },        { 0x4408, vectoring },
        { 0x440a, 0x55 },     { 0x440c, 2 },
        { 0x4824, blocking }, { 0x2400, L1_RAM + 0x1000 },
        { 0x640a, 0 },        { 0x440e, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
}

static void an_interrupted_exception_is_delivered_again_with_its_error_code(void **state)
{
    struct world *w = *state;

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, 0x80000b0d, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0d);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 0x55);
}

static void an_interrupted_software_interrupt_keeps_its_length(void **state)
{
    struct world *w = *state;

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, 0x80000480, 0);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000480);
    assert_true(HW(w, ENTRY_INSN_LENGTH) == 2);
}

/* Its delivery had begun to block NMIs; injection needs them open and blocks them itself. */
static void an_interrupted_nmi_is_delivered_again_unblocked(void **state)
{
    struct world *w = *state;

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, NMI_WORD, NVIRT_VMX_BLOCK_NMI);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == NMI_WORD);
    assert_true(HW(w, GUEST_INTERRUPTIBILITY) == 0);
}

static void an_iret_that_faulted_blocks_nmis_again(void **state)
{
    struct world *w = *state;

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING, 0, 0);
    prepare(w);
    assert_true(HW(w, GUEST_INTERRUPTIBILITY) == NVIRT_VMX_BLOCK_NMI);
}

static void undefined_bits_of_the_vectoring_word_are_not_injected(void **state)
{
    struct world *w = *state;

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, 0x80000b0d | 0x1000, 0);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0d);
}

static void two_contributory_exceptions_are_a_double_fault(void **state)
{
    struct world *w = *state;
    struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true };

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, 0x80000b0b, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b08);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 0);
}

static void an_exception_during_a_double_fault_shuts_l1_down(void **state)
{
    struct world *w = *state;
    struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true };

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, 0x80000b08, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_STATE);
}

/* The exception, met in the interrupt's delivery, goes first; the interrupt comes back later. */
static void an_exception_goes_before_the_interrupt_it_arose_in(void **state)
{
    struct world *w = *state;

    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, INTERRUPT_WORD(0x40), 0);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 6), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000306);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_IF);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == INTERRUPT_WORD(0x40));
}

/* ---- while L2 is active ---- */

static void launch_with_pin(struct world *w, uint64_t pin, uint64_t exit_controls)
{
    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= pin;
    w->v->vmcs12.exit_controls |= exit_controls;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 has run once: its entry is behind it. */
static void settle_l2(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void an_interrupt_l1_exits_on_takes_l2_out_acknowledged(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, NVIRT_VMX_PIN_EXT_INT, NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x44), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->run.branch_barrier);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT);
    assert_true(w->v->vmcs12.exit_interruption == INTERRUPT_WORD(0x44));
    assert_false(w->v->pending.interrupt);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) == 0);
}

/* Not acknowledged at the exit, the interrupt waits until L1 opens its window. */
static void an_interrupt_not_acknowledged_stays_pending_for_l1(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, NVIRT_VMX_PIN_EXT_INT, 0);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x44), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_interruption == 0);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_IF);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == INTERRUPT_WORD(0x44));
}

static void an_interrupt_l1_does_not_exit_on_goes_into_l2(void **state)
{
    struct world *w = *state;
    uint64_t rflags = 2 | NVIRT_RFLAGS_IF;

    launch_with_pin(w, 0, 0);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x44), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
    exit_with(w, NVIRT_VMX_EXIT_INTERRUPT_WINDOW, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RFLAGS, rflags), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == INTERRUPT_WORD(0x44));
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) == 0);
}

static void an_nmi_l1_exits_on_takes_l2_out_and_blocks_nmis(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, NVIRT_VMX_PIN_NMI, 0);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_EXCEPTION_NMI);
    assert_true(w->v->vmcs12.exit_interruption == NMI_WORD);
    assert_true((HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) != 0);
}

/* [SDM 3C "Changes to Instruction Behavior in VMX Non-Root Operation"]: with "NMI exiting" and without
 * "virtual NMIs" an IRET of L2's unblocks none; the blocking is L1's when L2 has left. Of the CPU's own NMIs
 * none is blocked meanwhile, and no window is waited for that would never close. */
static void nmis_that_l1s_entry_blocks_stay_blocked(void **state)
{
    const struct fake_set after_iret[] = {
        { 0x4402, NVIRT_VMX_EXIT_OTHER_SMI }, { 0x6400, 0 }, { 0x4404, 0 }, { 0x4406, 0 },
        { 0x4408, 0 }, { 0x440a, 0 }, { 0x440c, INSN_LENGTH }, { 0x440e, 0 }, { 0x4824, 0 },
    };
    struct world *w = *state;

    for (uint32_t i = 0; i < 3; i++) { /* Blocked, injected, both. */
        ready_to_launch(w);
        SET1(w, GUEST_INTERRUPTIBILITY, 0);
        w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI;
        w->v->vmcs12.guest_interruptibility = i != 1 ? NVIRT_VMX_BLOCK_NMI : 0;
        w->v->vmcs12.entry_interruption = i != 0 ? NMI_WORD : 0;
        vmlaunch(w);
        prepare(w);
        assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_VIRTUAL_NMIS) != 0);
        assert_true(i == 0 || (HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) == 0);
        run_to(w, after_iret, sizeof after_iret / sizeof after_iret[0]);
        assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
        prepare(w);
        assert_int_equal(w->run.level, 2);
        assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_NMI_WINDOW) == 0);
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        assert_true(READ12(w, GUEST_INTERRUPTIBILITY) == NVIRT_VMX_BLOCK_NMI);
        prepare(w);
        assert_true((HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) != 0);
        assert_int_equal(nvirt_vmx_waits(w->v), NVIRT_WAITS_NMI);
        exit_with(w, NVIRT_VMX_EXIT_VMXOFF, 0, 0);
        memset(&w->v->pending, 0, sizeof w->v->pending);
    }
}

static void an_nmi_l1_does_not_exit_on_goes_into_l2(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, 0, 0);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == NMI_WORD);
}

/* A control that L0 changes at the same moment does not cost the event its window. */
static void a_window_survives_a_change_of_l0s_controls(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, 0, 0);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x44), NVIRT_OK);
    SET1(w, PROC_CONTROLS, w->v->proc01 | NVIRT_VMX_PROC_RDTSC);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_RDTSC) != 0);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
}

/* In real-address mode no exception has an error code. */
static void in_real_mode_error_codes_are_left_out(void **state)
{
    struct world *w = *state;
    struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true };

    SET1(w, GUEST_CR0, 0x30);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x8000030d);
    interrupted(w, NVIRT_VMX_EXIT_EPT_VIOLATION, 0, 0x8000030b, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000308);
}

/* Two events: the NMI takes L2 out, the interrupt is then L1's. */
static void after_one_event_took_l2_out_the_other_waits_for_l1(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, NVIRT_VMX_PIN_NMI, 0);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x50), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
}

/* The injection L1 ordered with its VMLAUNCH happens first; then the event takes L2 out. */
static void an_event_before_l2_ran_lets_the_entry_happen_first(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    w->v->vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT;
    w->v->vmcs12.guest_rflags = 2 | NVIRT_RFLAGS_IF;
    w->v->vmcs12.entry_interruption = INTERRUPT_WORD(0x66);
    vmlaunch(w);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x44), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == INTERRUPT_WORD(0x66));
    assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0);
    assert_true(HW(w, GUEST_PREEMPTION_TIMER) == 0);
    exit_with(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_interruption == INTERRUPT_WORD(0x44));
    assert_true((w->v->vmcs12.idt_vectoring & NVIRT_VMX_INTR_VALID) == 0);
    assert_true((w->v->vmcs12.pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) == 0);
    assert_true(w->v->vmx.launched);
}

/* An event that was to be delivered again when another takes L2 out: L1 is told which it was. */
static void a_delivery_still_owed_is_reported_as_idt_vectoring(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, NVIRT_VMX_PIN_EXT_INT, NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
    interrupted(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0x80000b0d, 0);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x44), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.idt_vectoring == 0x80000b0d);
    assert_true(w->v->vmcs12.idt_vectoring_error == 0x55);
    assert_true((HW(w, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) == 0);
}

static void a_delivery_interrupted_by_a_reflected_exit_is_l1s_to_repeat(void **state)
{
    struct world *w = *state;

    launch_with_pin(w, 0, 0);
    interrupted(w, NVIRT_VMX_EXIT_TASK_SWITCH, 0, 0x80000480, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.idt_vectoring == 0x80000480);
    assert_true(w->v->vmcs12.exit_insn_length == 2);
    prepare(w);
    assert_true((HW(w, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) == 0);
}

/* An exception nvirt raises in L2 obeys L1's exception bitmap. */
static void an_exception_l1_intercepts_takes_l2_out(void **state)
{
    struct world *w = *state;
    struct nvirt_event pf = { .type = NVIRT_EVENT_EXCEPTION,
                              .vector = 14,
                              .has_error_code = true,
                              .error_code = 4,
                              .address = 0xabcd };

    ready_to_launch(w);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(14);
    w->v->vmcs12.pf_error_mask = 4;
    w->v->vmcs12.pf_error_match = 4;
    vmlaunch(w);
    settle_l2(w);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &pf), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_EXCEPTION_NMI);
    assert_true(w->v->vmcs12.exit_interruption == 0x80000b0e);
    assert_true(w->v->vmcs12.exit_interruption_error == 4);
    assert_true(w->v->vmcs12.exit_qualification == 0xabcd);
    assert_false(w->run.set_cr2);
    w->v->vmcs12.pf_error_match = 0; /* Now the error code does not match: L2's own. */
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    settle_l2(w);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &pf), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0e);
    assert_true(w->run.set_cr2);
}

static void a_shutdown_of_l2_is_a_triple_fault_exit(void **state)
{
    struct world *w = *state;
    struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true };

    launch_with_pin(w, 0, 0);
    interrupted(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0x80000b08, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_TRIPLE_FAULT);
}

/* L1's exception bitmap is asked before two exceptions combine; the first is the IDT-vectoring. */
static void an_intercepted_second_exception_exits_with_the_first_as_idt_vectoring(void **state)
{
    struct world *w = *state;
    struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true };

    launch_with_pin(w, 0, 0);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(13);
    interrupted(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0x80000b0b, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_interruption == 0x80000b0d);
    assert_true(w->v->vmcs12.idt_vectoring == 0x80000b0b);
    assert_true(w->v->vmcs12.idt_vectoring_error == 0x55);
}

static void an_intercepted_double_fault_of_two_exceptions_exits_without_idt_vectoring(void **state)
{
    struct world *w = *state;
    struct nvirt_event gp = { .type = NVIRT_EVENT_EXCEPTION, .vector = 13, .has_error_code = true };

    launch_with_pin(w, 0, 0);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(8);
    interrupted(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0x80000b0b, 0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &gp), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_interruption == 0x80000b08);
    assert_true(w->v->vmcs12.idt_vectoring == 0);
}

/* [SDM 3C "Saving RIP, RSP, RFLAGS, and SSP"], and types and lengths as hardware has them. */
static void exits_for_raised_exceptions_are_as_hardwares(void **state)
{
    struct world *w = *state;
    struct nvirt_event db = { .type = NVIRT_EVENT_EXCEPTION, .vector = 1, .address = 0x4001 };

    launch_with_pin(w, 0, 0);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(6) | NVIRT_BIT(3) | NVIRT_BIT(1);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 6), NVIRT_OK);
    prepare(w);
    assert_true((w->v->vmcs12.guest_rflags & NVIRT_RFLAGS_RF) != 0);
    vmresume(w);
    settle_l2(w);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 3), NVIRT_OK);
    prepare(w);
    assert_true(w->v->vmcs12.exit_interruption == 0x80000603);
    assert_true(w->v->vmcs12.exit_insn_length == INSN_LENGTH);
    vmresume(w);
    exit_telling(w, NVIRT_VMX_EXIT_OTHER_SMI, 0);
    assert_int_equal(inject(w, NVIRT_EVENT_EXCEPTION, 3), NVIRT_OK);
    prepare(w);
    assert_true(w->v->vmcs12.exit_interruption == 0x80000603);
    assert_true(w->v->vmcs12.exit_insn_length == 1);
    vmresume(w);
    settle_l2(w);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &db), NVIRT_OK);
    prepare(w);
    assert_true(w->v->vmcs12.exit_qualification == 0x4001);
}

/* [SDM 3C "Monitor Trap Flag"]: also after an instruction that the host completed. */
static void a_monitor_trap_follows_an_instruction_the_host_completed(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MTF;
    vmlaunch(w);
    settle_l2(w);
    assert_int_equal(nvirt_vmx_skip(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_MTF);
    assert_true(w->v->vmcs12.guest_rip == L2_RIP + INSN_LENGTH);
}

static void a_monitor_trap_of_the_hosts_own_is_given_to_hardware(void **state)
{
    struct world *w = *state;

    SET1(w, PROC_CONTROLS, w->v->proc01 | NVIRT_VMX_PROC_MTF);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_vmx_skip(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000700);
    assert_int_equal(nvirt_vmx_skip(w->v, &w->cpu), NVIRT_ERR_STATE);
    w->v->prepared = true;
}

static void skip_ends_rf_shadows_and_sets_the_single_step(void **state)
{
    struct world *w = *state;

    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_RF | NVIRT_RFLAGS_TF);
    SET1(w, GUEST_INTERRUPTIBILITY, NVIRT_VMX_BLOCK_STI);
    assert_int_equal(nvirt_vmx_skip(w->v, &w->cpu), NVIRT_OK);
    assert_true(GET1(w, GUEST_RIP) == L1_RIP + INSN_LENGTH);
    assert_true(GET1(w, GUEST_RFLAGS) == (2 | NVIRT_RFLAGS_TF));
    assert_true(GET1(w, GUEST_INTERRUPTIBILITY) == 0);
    assert_true((GET1(w, GUEST_PENDING_DEBUG) & NVIRT_VMX_PENDING_BS) != 0);
    assert_int_equal(nvirt_vmx_skip(NULL, &w->cpu), NVIRT_ERR_NULL);
}

/* [SDM 3C "VMX Operation"]: INIT is blocked in VMX root operation; L2 is left for it at once. */
static void an_init_in_root_operation_waits_and_takes_l2_out(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    exit_with(w, NVIRT_VMX_EXIT_INIT, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, 0, 0);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_INIT);
    w->v->prepared = true;
}

static void an_init_in_root_operation_reaches_the_host_after_vmxoff(void **state)
{
    struct world *w = *state;

    vmxon(w);
    exit_with(w, NVIRT_VMX_EXIT_INIT, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    exit_with(w, NVIRT_VMX_EXIT_VMXOFF, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(w->exit.reason, NVIRT_VMX_EXIT_INIT);
    exit_with(w, NVIRT_VMX_EXIT_INIT, 0, 0); /* Outside VMX operation: at once. */
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
}

/* ---- exceptions that the host intercepts, and what waits ---- */

#define DB_OF_INT1 (0x80000000u | (5u << 8) | 1u)

static void exit_for(struct world *w, uint32_t word, uint32_t error, uint64_t qualification,
                     uint32_t vectoring)
{
    const struct fake_set set[] = {
        { 0x4402, 0 },         { 0x4404, word }, { 0x4406, error }, { 0x6400, qualification },
        { 0x4408, vectoring }, { 0x440a, 0 },    { 0x440c, 1 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
}

/* The host intercepts #DB. L2 executes INT1: the exit is the host's, and so is its type and length. */
static void a_reinjected_int1_stays_an_int1(void **state)
{
    struct world *w = *state;

    SET1(w, EXCEPTION_BITMAP, NVIRT_BIT(1));
    launch_l2(w);
    exit_for(w, DB_OF_INT1, 0, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == DB_OF_INT1);
    assert_true(HW(w, ENTRY_INSN_LENGTH) == 1);
}

static void a_reinjected_exception_has_its_error_code(void **state)
{
    struct world *w = *state;

    exit_for(w, 0x80000b11, 0, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b11);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 0);
}

static void a_reinjected_page_fault_asks_for_cr2(void **state)
{
    struct world *w = *state;

    exit_for(w, 0x80000b0e, 6, 0x123456, 0);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0e);
    assert_true(HW(w, ENTRY_ERROR_CODE) == 6);
    assert_true(w->run.set_cr2);
    assert_true(w->run.cr2 == 0x123456);
}

/* #GP while #GP is delivered: a double fault, as if nobody had intercepted the second. */
static void a_reinjected_exception_counts_what_it_arose_in(void **state)
{
    struct world *w = *state;

    exit_for(w, 0x80000b0d, 0, 0, 0x80000b0d);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b08);
}

static void only_an_exception_can_be_reinjected(void **state)
{
    struct world *w = *state;

    exit_for(w, NMI_WORD, 0, 0, 0);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_ERR_STATE);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_ERR_STATE);
    prepare(w);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_reinject(NULL, &w->cpu), NVIRT_ERR_NULL);
}

/* A host with an interrupt controller must know when its vector was taken. */
static void what_waits_is_told_until_it_is_delivered(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_waits(NULL), 0);
    assert_int_equal(nvirt_vmx_waits(w->v), 0);
    assert_int_equal(inject(w, NVIRT_EVENT_INTERRUPT, 0x31), NVIRT_OK);
    assert_int_equal(inject(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_int_equal(nvirt_vmx_waits(w->v), NVIRT_WAITS_INTERRUPT | NVIRT_WAITS_NMI);
    prepare(w); /* RFLAGS.IF is 0: the NMI alone goes in. */
    assert_int_equal(nvirt_vmx_waits(w->v), NVIRT_WAITS_INTERRUPT);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    SET1(w, GUEST_RFLAGS, 2 | NVIRT_RFLAGS_IF);
    SET1(w, GUEST_INTERRUPTIBILITY, 0);
    prepare(w);
    assert_int_equal(nvirt_vmx_waits(w->v), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_interrupt_is_injected_when_l1_may_take_it),
        TEST(an_interrupt_waits_for_its_window),
        TEST(a_window_the_host_asked_for_is_the_hosts),
        TEST(an_nmi_waits_while_nmis_are_blocked),
        TEST(an_nmi_goes_before_an_interrupt),
        TEST(a_page_fault_sets_rf_and_asks_for_cr2),
        TEST(breakpoints_are_software_exceptions_with_their_length),
        TEST(a_breakpoint_without_a_length_has_that_of_the_instruction),
        TEST(bad_events_are_refused),
        TEST(an_interrupted_exception_is_delivered_again_with_its_error_code),
        TEST(an_interrupted_software_interrupt_keeps_its_length),
        TEST(an_interrupted_nmi_is_delivered_again_unblocked),
        TEST(an_iret_that_faulted_blocks_nmis_again),
        TEST(undefined_bits_of_the_vectoring_word_are_not_injected),
        TEST(two_contributory_exceptions_are_a_double_fault),
        TEST(an_exception_during_a_double_fault_shuts_l1_down),
        TEST(an_exception_goes_before_the_interrupt_it_arose_in),
        TEST(an_interrupt_l1_exits_on_takes_l2_out_acknowledged),
        TEST(an_interrupt_not_acknowledged_stays_pending_for_l1),
        TEST(an_interrupt_l1_does_not_exit_on_goes_into_l2),
        TEST(an_nmi_l1_exits_on_takes_l2_out_and_blocks_nmis),
        TEST(nmis_that_l1s_entry_blocks_stay_blocked),
        TEST(an_nmi_l1_does_not_exit_on_goes_into_l2),
        TEST(a_window_survives_a_change_of_l0s_controls),
        TEST(in_real_mode_error_codes_are_left_out),
        TEST(after_one_event_took_l2_out_the_other_waits_for_l1),
        TEST(an_event_before_l2_ran_lets_the_entry_happen_first),
        TEST(a_delivery_still_owed_is_reported_as_idt_vectoring),
        TEST(a_delivery_interrupted_by_a_reflected_exit_is_l1s_to_repeat),
        TEST(an_exception_l1_intercepts_takes_l2_out),
        TEST(a_shutdown_of_l2_is_a_triple_fault_exit),
        TEST(an_intercepted_second_exception_exits_with_the_first_as_idt_vectoring),
        TEST(an_intercepted_double_fault_of_two_exceptions_exits_without_idt_vectoring),
        TEST(exits_for_raised_exceptions_are_as_hardwares),
        TEST(a_monitor_trap_follows_an_instruction_the_host_completed),
        TEST(a_monitor_trap_of_the_hosts_own_is_given_to_hardware),
        TEST(skip_ends_rf_shadows_and_sets_the_single_step),
        TEST(an_init_in_root_operation_waits_and_takes_l2_out),
        TEST(an_init_in_root_operation_reaches_the_host_after_vmxoff),
        TEST(a_reinjected_int1_stays_an_int1),
        TEST(a_reinjected_exception_has_its_error_code),
        TEST(a_reinjected_page_fault_asks_for_cr2),
        TEST(a_reinjected_exception_counts_what_it_arose_in),
        TEST(only_an_exception_can_be_reinjected),
        TEST(what_waits_is_told_until_it_is_delivered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
