/* SPDX-License-Identifier: MIT */
/*
 * L2 in shutdown, and what ends it, as far as one CPU can have it happen: the preemption timer and the
 * NMI window.
 */
#include "l2.h"
#include "tests.h"

#define MISC_SHUTDOWN (1ull << 7)

SNIPPET(y_nops, "", "nop", "nop");

static bool run_in_shutdown(void)
{
    l2_start(s_y_nops);
    vmwrite(F_G_ACTIVITY, ACTIVITY_SHUTDOWN);
    return l2_run();
}

static void timer(void)
{
    l2_reset(L2_EPT);
    if (!ctl_can(F_PIN, PIN_PREEMPTION))
        return;
    ctl_set(F_PIN, PIN_PREEMPTION);
    ctl_set(F_EXIT, EXIT_SAVE_TIMER);
    vmwrite(F_PREEMPTION_TIMER, 0);
    (void)run_in_shutdown();
    (void)expect_exit("timer_0", &(struct expect){R_PREEMPTION, 0, ANY, (uint64_t)s_y_nops});
    check_eq(vmread(F_G_ACTIVITY), ACTIVITY_SHUTDOWN, "timer_0.activity");
    vmwrite(F_PREEMPTION_TIMER, 2000);
    (void)run_in_shutdown();
    (void)expect_exit("timer", &(struct expect){R_PREEMPTION, 0, ANY, (uint64_t)s_y_nops});
    check_eq(vmread(F_G_ACTIVITY), ACTIVITY_SHUTDOWN, "timer.activity");
    check_eq(vmread(F_PREEMPTION_TIMER), 0, "timer.saved");
    /* What L1 makes active again runs. */
    vmwrite(F_G_ACTIVITY, ACTIVITY_ACTIVE);
    vmwrite(F_PREEMPTION_TIMER, 0xfffffff0);
    (void)l2_run();
    (void)expect_done("timer.afterwards");
}

static void nmi_window(void)
{
    l2_reset(L2_EPT);
    if (!ctl_can(F_PIN, PIN_NMI | PIN_VIRTUAL_NMI) || !ctl_can(F_PROC, PROC_NMI_WINDOW))
        return;
    ctl_set(F_PIN, PIN_NMI | PIN_VIRTUAL_NMI);
    ctl_set(F_PROC, PROC_NMI_WINDOW);
    (void)run_in_shutdown();
    (void)expect_exit("nmi_window", &(struct expect){R_NMI_WINDOW, 0, ANY, (uint64_t)s_y_nops});
}

/* An injected event makes L2 active: it goes through its handler and on. */
static void injection(void)
{
    l2_reset(L2_EPT);
    l2_start(s_y_nops);
    vmwrite(F_G_ACTIVITY, ACTIVITY_SHUTDOWN);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_NMI) | 2);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 2, "injected_nmi");
    check_eq(vmread(F_G_ACTIVITY), ACTIVITY_ACTIVE, "injected_nmi.activity");
}

void test_activity(void)
{
    check_group("activity");
    if ((rt_rdmsr(0x485) & MISC_SHUTDOWN) == 0)
        return;
    timer();
    nmi_window();
    injection();
}
