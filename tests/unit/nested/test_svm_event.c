/* SPDX-License-Identifier: MIT */
/*
 * Events that the host hands over: who gets them, when they wait, what opens the wait.
 * [APM 2 "Global Interrupt Flag", "Event Injection"]
 */
#include "svm_world.h"

static const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = 2};
static const struct nvirt_event interrupt = {.type = NVIRT_EVENT_INTERRUPT, .vector = 0x41};
static const struct nvirt_event page_fault = {.type = NVIRT_EVENT_EXCEPTION,
                                              .vector = 14,
                                              .has_error_code = true,
                                              .error_code = 7,
                                              .address = 0xdead000};

#define EVENT_INTERRUPT (NVIRT_SVM_EVENT_VALID | 0x041)
#define EVENT_PF (NVIRT_SVM_EVENT_VALID | 0xb0e | UINT64_C(7) << 32)

static void inject(struct world *w, const struct nvirt_event *event)
{
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, event), NVIRT_OK);
}

static uint64_t code12(struct world *w)
{
    struct nvirt_vmcb vmcb;

    get_vmcb12(w, &vmcb);
    return vmcb.exit_code;
}

static void bad_events_are_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_event event = page_fault;

    event.vector = 32;
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &event), NVIRT_ERR_RANGE);
    event.vector = 2;
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &event), NVIRT_ERR_RANGE);
    event.type = (enum nvirt_event_type)1;
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &event), NVIRT_ERR_RANGE);
}

static void one_of_each_kind_may_wait(void **state)
{
    struct world *w = *state;

    inject(w, &nmi);
    inject(w, &nmi); /* NMIs merge */
    inject(w, &interrupt);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &interrupt), NVIRT_ERR_STATE);
    inject(w, &page_fault);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &page_fault), NVIRT_ERR_STATE);
}

static void exceptions_go_to_the_level_that_runs(void **state)
{
    struct world *w = *state;

    inject(w, &page_fault);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_PF);
    assert_int_equal(w->vmcb01->cr2, 0xdead000);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    w->vmcb01->cr2 = 0;
    enter_plain_l2(w);
    inject(w, &page_fault);
    prepare(w);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_PF);
    assert_int_equal(vmcb02(w)->cr2, 0xdead000);
    assert_int_equal(w->vmcb01->cr2, 0);
}

/* [APM 2 "Real-Mode Interrupt Control Transfers"]: no error code is pushed. */
static void exceptions_in_real_mode_have_no_error_code(void **state)
{
    struct world *w = *state;

    w->vmcb01->cr0 = 0;
    inject(w, &page_fault);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0x30e);
}

/* [APM 2 "Paged Real Mode"]: L1 needs the error code of the page fault it intercepts there. */
static void an_interception_in_paged_real_mode_has_the_error_code(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.cr0 = NVIRT_CR0_PG;
    vmcb.efer = NVIRT_EFER_SVME;
    vmcb.cs.attrib = 0x9b;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_EXCEPTION + 14, true);
    enter_l2(w, &vmcb);
    inject(w, &page_fault);
    prepare(w);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_info1, 7);
}

/* CVE-2020-2732: L1's intercepts are consulted for what L0 raises in L2. */
static void exceptions_that_l1_intercepts_are_l1s(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_EXCEPTION + 14, true);
    enter_l2(w, &vmcb);
    inject(w, &page_fault);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->run.branch_barrier);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_EXCEPTION + 14);
    assert_int_equal(vmcb.exit_info1, 7);
    assert_int_equal(vmcb.exit_info2, 0xdead000);
    assert_int_equal(vmcb.cr2, 0);
}

/* ---- NMI ---- */

static void nmi_waits_for_gif(void **state)
{
    struct world *w = *state;

    execute(w, NVIRT_SVM_EXIT_CLGI);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NMI, 0, 0), NVIRT_VERDICT_L1); /* the host takes it */
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_CR8_READ, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
}

/* [APM 2 "NMI Intercept", "NMI Support"]: one that is blocked until an IRET is not recognised, so it is not
 * intercepted. L2 runs, and its own IRET brings the interception. */
static void a_blocked_nmi_is_not_intercepted(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, true);
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    inject(w, &nmi);
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(vmcb02(w)->event_inj, 0);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_IRET));
    hardware_exit(w, NVIRT_SVM_EXIT_IRET, 0, 0);
    prepare(w);
    assert_int_equal(w->run.level, 2); /* The IRET is still to be executed. */
    vmcb02(w)->rip += 2;
    vmcb02(w)->rsp += 40;
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_NMI);
    assert_true(w->v->waiting.nmi);
}

/* The exit does not use the NMI up: L1 takes it when it sets GIF. */
static void nmi_that_l1_intercepts_is_an_exit_and_stays(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, true);
    enter_l2(w, &vmcb);
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_NMI);
    assert_int_equal(w->vmcb01->event_inj, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
}

static void nmi_that_l1_does_not_intercept_is_l2s(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_NMI);
}

/* [APM 2 "NMI Intercept"]: of NMIs of L1's CPU. One that L1 injected into L2, and that met an exception of the host's
 * in its delivery, is not one of them. */
static void an_nmi_that_l1_injected_is_no_exit(void **state)
{
    const struct nvirt_event ac = { .type = NVIRT_EVENT_EXCEPTION, .vector = NVIRT_VECTOR_AC,
                                    .has_error_code = true };
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, true);
    nvirt_vmcb_set_event_inj(&vmcb, EVENT_NMI);
    enter_l2(w, &vmcb);
    prepare(w);
    w->int_info = EVENT_NMI;
    hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    inject(w, &ac);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(vmcb02(w)->event_inj & NVIRT_SVM_EVENT_VECTOR, NVIRT_VECTOR_AC);
    assert_false(w->v->waiting.nmi);
}

/* Until the first one's IRET a second NMI waits; the IRET itself runs before it comes. */
static void a_second_nmi_waits_for_iret(void **state)
{
    struct world *w = *state;

    inject(w, &nmi);
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_IRET));
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_IRET));
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_IRET, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w); /* at the IRET still */
    assert_int_equal(w->vmcb01->event_inj, 0);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_IRET));
    assert_true((w->vmcb01->rflags & NVIRT_RFLAGS_TF) != 0); /* alone */
    w->vmcb01->rip += 0x100;
    w->vmcb01->rflags &= ~NVIRT_RFLAGS_TF;
    hardware_exit(w, NVIRT_SVM_EXIT_EXCEPTION + 1, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
}

static void an_nmi_after_the_handler_returned_does_not_wait(void **state)
{
    struct world *w = *state;

    inject(w, &nmi);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    step(w, NVIRT_SVM_EXIT_IRET, 0, 0);
    w->vmcb01->rip += 0x100;
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_NMI);
}

static void iret_that_l1_intercepts_is_l1s_too(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_IRET, true);
    enter_l2(w, &vmcb);
    inject(w, &nmi);
    step(w, NVIRT_SVM_EXIT_PAUSE, 0, 0);
    step(w, NVIRT_SVM_EXIT_IRET, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_IRET);
}

/* ---- interrupts of a host that owns them ---- */

static void an_interrupt_is_injected_when_l1_can_take_it(void **state)
{
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_INTERRUPT);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
}

static void else_a_window_is_opened(void **state)
{
    struct world *w = *state;

    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
    assert_int_equal(w->vmcb01->int_ctl & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    hardware_exit(w, NVIRT_SVM_EXIT_VINTR, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(w->vmcb01->int_ctl & NVIRT_SVM_V_IRQ, 0);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_INTERRUPT);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR));
}

static void the_interrupt_shadow_holds(void **state)
{
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    w->vmcb01->int_state = NVIRT_SVM_INTERRUPT_SHADOW;
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    assert_true(w->v->waiting.interrupt);
}

static void gif_holds_interrupts(void **state)
{
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    execute(w, NVIRT_SVM_EXIT_CLGI);
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, 0);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_VINTR)); /* STGI exits anyway */
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_INTERRUPT);
}

static void an_interrupt_for_l1_leaves_l2(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0), NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2); /* the host's own physical interrupt */
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_INTR);
    assert_true(w->v->waiting.interrupt); /* not acknowledged */
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(w->vmcb01->event_inj, EVENT_INTERRUPT);
}

#define EVENT_OF_L1S (NVIRT_SVM_EVENT_VALID | 0x30)

/* [APM 2 "Virtualizing Interrupts", "Event Injection"]: with V_INTR_MASKING L1's IF alone gates interrupts. One that
 * comes with an injection exits when that is delivered, before L2's handler, whatever L2's IF is. */
static void an_interception_follows_the_injection_at_once(void **state)
{
    static const struct {
        const struct nvirt_event *event;
        uint32_t code;
    } of[] = { { &interrupt, NVIRT_SVM_EXIT_INTR }, { &nmi, NVIRT_SVM_EXIT_NMI } };
    struct world *w = *state;

    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    for (unsigned i = 0; i < 2; i++) {
        struct nvirt_vmcb vmcb = good_vmcb12();

        nvirt_vmcb_intercept(&vmcb, of[i].code, true);
        vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING;
        vmcb.event_inj = EVENT_OF_L1S;
        vmcb.rflags &= ~(uint64_t)NVIRT_RFLAGS_IF;
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        prepare(w);
        assert_false(w->run.exit_soon);
        hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        inject(w, of[i].event);
        prepare(w);
        assert_int_equal(w->run.level, 2);
        assert_int_equal(vmcb02(w)->event_inj, EVENT_OF_L1S);
        assert_true(w->run.exit_soon);
        vmcb02(w)->rip = 0x5678; /* L2's handler */
        hardware_exit(w, NVIRT_SVM_EXIT_INTR, 0, 0);
        assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
        prepare(w);
        assert_int_equal(w->run.level, 1);
        assert_false(w->run.exit_soon);
        get_vmcb12(w, &vmcb);
        assert_int_equal(vmcb.exit_code, of[i].code);
        assert_int_equal(vmcb.exit_int_info, 0);
        assert_int_equal(vmcb.rip, 0x5678);
        hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
        execute(w, NVIRT_SVM_EXIT_STGI);
        prepare(w); /* L1 takes it. */
        hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    }
}

/* What L1 does not intercept, what L1's IF holds and what is blocked does not hurry. */
static void what_is_not_intercepted_makes_no_exit(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    vmcb.event_inj = EVENT_OF_L1S;
    inject(w, &interrupt);
    enter_l2(w, &vmcb);
    inject(w, &nmi);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_false(w->run.exit_soon);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb); /* L1 has IF clear. */
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_false(w->run.exit_soon);
}

/* [APM 2 "Virtualizing Interrupts"]: V_TPR gates virtual interrupts, not those that L1's IF decides on. */
static void l1s_virq_is_no_window_where_l1s_if_decides(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();
    const uint64_t mine = NVIRT_SVM_V_IRQ | 0xf | UINT64_C(3) << 16 |
                          UINT64_C(0x55) << NVIRT_SVM_V_INTR_VECTOR_SHIFT;

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING | mine;
    vmcb.event_inj = EVENT_OF_L1S;
    vmcb.rflags |= NVIRT_RFLAGS_IF;
    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    enter_l2(w, &vmcb);
    inject(w, &interrupt);
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VINTR));
    assert_true((vmcb02(w)->int_ctl & NVIRT_SVM_V_IGN_TPR) != 0);
    hardware_exit(w, NVIRT_SVM_EXIT_VINTR, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    prepare(w);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_INTR);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.int_ctl, NVIRT_SVM_V_INTR_MASKING | mine);
}

/* With V_INTR_MASKING L1's IF at VMRUN decides, without it L2's. */
static void masking_decides_whose_if_counts(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    vmcb.rflags |= NVIRT_RFLAGS_IF;
    enter_l2(w, &vmcb);
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(w->run.level, 2); /* L1 has IF clear */
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    vmcb.int_ctl = 0;
    enter_l2(w, &vmcb);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_INTR);
}

static void an_interrupt_l1_does_not_intercept_is_l2s(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_l2(w, &vmcb);
    inject(w, &interrupt);
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VINTR));
    vmcb02(w)->rflags |= NVIRT_RFLAGS_IF;
    hardware_exit(w, NVIRT_SVM_EXIT_VINTR, 0, 0);
    prepare(w);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_INTERRUPT);
}

/* L1's own virtual interrupt serves as the window, and L1 still gets the exit it asked for. */
static void a_window_does_not_swallow_l1s(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_IRQ | UINT64_C(0x55) << NVIRT_SVM_V_INTR_VECTOR_SHIFT;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VINTR, true);
    enter_l2(w, &vmcb);
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_INTR_VECTOR,
                     UINT64_C(0x55) << NVIRT_SVM_V_INTR_VECTOR_SHIFT);
    hardware_exit(w, NVIRT_SVM_EXIT_VINTR, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_VINTR);
    assert_int_equal(vmcb.int_ctl & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
}

static void the_windows_own_irq_is_not_l1s(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_l2(w, &vmcb);
    inject(w, &interrupt);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_IRQ, NVIRT_SVM_V_IRQ);
    hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.int_ctl & NVIRT_SVM_V_IRQ, 0);
}

/* An event of L1's that was not delivered yet comes back as an interrupted one. */
static void an_undelivered_injection_is_told(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.event_inj = NVIRT_SVM_EVENT_VALID | 0x055;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NMI, true);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_EXCEPTION + 14, true);
    enter_l2(w, &vmcb);
    inject(w, &nmi);
    prepare(w); /* L1's event goes first */
    assert_int_equal(vmcb02(w)->event_inj, NVIRT_SVM_EVENT_VALID | 0x055);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x055;
    hardware_exit(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL, 0x5000);
    nvi_svm_raise(w->v, 14, true, 0);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_EXCEPTION + 14);
    assert_int_equal(vmcb.exit_int_info, NVIRT_SVM_EVENT_VALID | 0x055);
}

/* A host with an interrupt controller asks whether what it handed over was acknowledged. */
static void what_waits_is_told(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    assert_int_equal(nvirt_svm_waits(w->v), 0);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    vmcb.int_ctl = NVIRT_SVM_V_INTR_MASKING;
    w->vmcb01->rflags |= NVIRT_RFLAGS_IF;
    enter_l2(w, &vmcb);
    inject(w, &interrupt);
    assert_int_equal(nvirt_svm_waits(w->v), NVIRT_WAITS_INTERRUPT);
    prepare(w);
    assert_int_equal(w->run.level, 1); /* L1 was told, and has yet to take it */
    assert_int_equal(nvirt_svm_waits(w->v), NVIRT_WAITS_INTERRUPT);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    inject(w, &nmi);
    assert_int_equal(nvirt_svm_waits(w->v), NVIRT_WAITS_INTERRUPT | NVIRT_WAITS_NMI);
    execute(w, NVIRT_SVM_EXIT_STGI);
    prepare(w);
    assert_int_equal(nvirt_svm_waits(w->v), NVIRT_WAITS_INTERRUPT);
    assert_int_equal(nvirt_svm_waits(NULL), 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define H(test) cmocka_unit_test_setup_teardown(test, setup_host_owned, teardown)
    const struct CMUnitTest tests[] = {
        T(bad_events_are_refused),
        T(one_of_each_kind_may_wait),
        T(exceptions_go_to_the_level_that_runs),
        T(exceptions_in_real_mode_have_no_error_code),
        T(an_interception_in_paged_real_mode_has_the_error_code),
        T(exceptions_that_l1_intercepts_are_l1s),
        T(nmi_waits_for_gif),
        T(nmi_that_l1_intercepts_is_an_exit_and_stays),
        T(nmi_that_l1_does_not_intercept_is_l2s),
        T(an_nmi_that_l1_injected_is_no_exit),
        T(a_second_nmi_waits_for_iret),
        T(an_nmi_after_the_handler_returned_does_not_wait),
        T(iret_that_l1_intercepts_is_l1s_too),
        H(an_interrupt_is_injected_when_l1_can_take_it),
        H(else_a_window_is_opened),
        H(the_interrupt_shadow_holds),
        H(gif_holds_interrupts),
        H(an_interrupt_for_l1_leaves_l2),
        H(masking_decides_whose_if_counts),
        H(an_interception_follows_the_injection_at_once),
        H(what_is_not_intercepted_makes_no_exit),
        H(l1s_virq_is_no_window_where_l1s_if_decides),
        H(an_interrupt_l1_does_not_intercept_is_l2s),
        H(a_window_does_not_swallow_l1s),
        H(the_windows_own_irq_is_not_l1s),
        T(a_blocked_nmi_is_not_intercepted),
        T(an_undelivered_injection_is_told),
        H(what_waits_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
