/* SPDX-License-Identifier: MIT */
/*
 * Whose an event is: what L1 injects into L2, and what L2 brings about, is L2's, and never comes to L1 as an
 * event of its own; an exit tells L1 of it as what was being delivered [SDM 3C "Information for VM Exits That
 * Occur During Event Delivery"].
 */
#include "vmx_world.h"

#define AC NVIRT_BIT(17)
#define AC_WORD 0x80000b11u
#define VECTOR 0xf8u

/* L1, which exits on what @p pin says, enters L2 and injects @p word. */
static void launch_with(struct world *w, uint64_t pin, uint32_t word)
{
    SET1(w, EXCEPTION_BITMAP, AC);
    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= pin;
    w->v->vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT;
    w->v->vmcs12.guest_rflags = 0x202;
    w->v->vmcs12.entry_interruption = word;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* #AC, which the host intercepts and L1 does not, arises while @p word is delivered. */
static void meets_ac(struct world *w, uint32_t word)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXCEPTION_NMI }, { 0x6400, 0 }, { 0x4404, AC_WORD }, { 0x4406, 0 },
        { 0x4408, word }, { 0x440a, 0 }, { 0x440c, 3 }, { 0x4824, 0 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
}

static void ends_with_ac(void **state, uint64_t pin, uint32_t word)
{
    struct world *w = *state;

    launch_with(w, pin, word);
    meets_ac(w, word);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == AC_WORD);
    assert_int_equal(nvirt_vmx_waits(w->v), 0);
}

/* [SDM 3C "External Interrupts"]: exits are for interrupts of the processor's. */
static void an_interrupt_that_l1_injected_is_no_exit(void **state)
{
    ends_with_ac(state, NVIRT_VMX_PIN_EXT_INT, 0x80000000 | VECTOR);
}

static void an_nmi_that_l1_injected_is_no_exit(void **state)
{
    struct world *w = *state;

    ends_with_ac(state, NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS, 0x80000202);
    /* Its delivery had begun. */
    assert_true((HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) != 0);
}

/* An L1 that does not exit on it has given it to L2: there it comes back after the exception. */
static void where_l1_does_not_exit_it_comes_back(void **state)
{
    struct world *w = *state;

    launch_with(w, 0, 0x80000000 | VECTOR);
    meets_ac(w, 0x80000000 | VECTOR);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(HW(w, ENTRY_INTERRUPTION) == AC_WORD);
    assert_int_equal(nvirt_vmx_waits(w->v), NVIRT_WAITS_INTERRUPT);
}

/* So it ends while an interrupt of L1's own waits, for which L2 leaves with @p vectoring to be delivered. */
static void leaves_for_l1s_own(struct world *w, uint32_t word, uint32_t vectoring)
{
    const struct nvirt_event irq = { .type = NVIRT_EVENT_INTERRUPT, .vector = 0x31 };

    launch_with(w, NVIRT_VMX_PIN_EXT_INT, word);
    meets_ac(w, word);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &irq), NVIRT_OK);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0);
    assert_true(w->v->vmcs12.exit_interruption == 0x80000031);
    assert_true(w->v->vmcs12.idt_vectoring == vectoring);
}

/* An interrupt of L1's own waits beside it: L2 leaves for that one, and with its exception. */
static void an_exception_of_l2s_does_not_follow_l2_out(void **state)
{
    leaves_for_l1s_own(*state, 0x80000000 | VECTOR, AC_WORD);
}

/* So it is when one waits that #DF was not combined with: it is gone, and #DF is told. */
static void what_waits_behind_a_double_fault_goes_with_l2(void **state)
{
    leaves_for_l1s_own(*state, 0x80000b08, 0x80000b08);
}

/* [SDM 3C "INIT Signals"]: a fault that nvirt raised for L2 comes before what arrives then. */
static void a_fault_of_l2s_and_an_init(void **state)
{
    const struct nvirt_event init = { .type = NVIRT_EVENT_INIT };
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    vmlaunch(w);
    w->gprs.r[NVIRT_RCX] = NVIRT_MSR_PAT;
    w->gprs.r[NVIRT_RAX] = 2; /* No memory type. */
    w->gprs.r[NVIRT_RDX] = 0;
    exit_with(w, NVIRT_VMX_EXIT_WRMSR, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &init), NVIRT_OK);
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_INIT);
    assert_true(w->v->vmcs12.idt_vectoring == 0x80000b0d);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0);
}

/* [SDM 3C "Information About NMI Unblocking Due to IRET"]: the IRET had unblocked NMIs when it faulted, and
 * its fault is delivered; only one that is executed again is to find them blocked. */
static void a_reinjected_fault_of_an_iret_leaves_nmis_unblocked(void **state)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXCEPTION_NMI }, { 0x6400, 0x1234 }, { 0x4404, 0x80001b0e },
        { 0x4406, 0 }, { 0x4408, 0 }, { 0x440a, 0 }, { 0x440c, 3 }, { 0x4824, 0 },
    };
    struct world *w = *state;

    SET1(w, EXCEPTION_BITMAP, NVIRT_BIT(14));
    launch_l2(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_true((GET2(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) != 0);
    assert_int_equal(nvirt_vmx_reinject(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000b0e);
    assert_true((HW(w, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_interrupt_that_l1_injected_is_no_exit),
        TEST(an_nmi_that_l1_injected_is_no_exit),
        TEST(where_l1_does_not_exit_it_comes_back),
        TEST(an_exception_of_l2s_does_not_follow_l2_out),
        TEST(what_waits_behind_a_double_fault_goes_with_l2),
        TEST(a_fault_of_l2s_and_an_init),
        TEST(a_reinjected_fault_of_an_iret_leaves_nmis_unblocked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
