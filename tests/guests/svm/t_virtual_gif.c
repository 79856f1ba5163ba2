/* SPDX-License-Identifier: MIT */
/*
 * The virtual GIF: STGI and CLGI of L2 act on V_GIF in its VMCB, which holds back virtual interrupts
 * and nothing else. [APM 2 "Virtual GIF (VGIF)"]
 */
#include "cpu.h"
#include "l2.h"
#include "subjects.h"
#include "t.h"

#define VIRQ_VECTOR 0x75
#define VIRQ (VINTR_IRQ | VINTR_PRIO(7) | VINTR_VECTOR(VIRQ_VECTOR) | VINTR_MASKING)

SNIPPET(g_g_nops, "", "nop; nop");
SNIPPET(g_g_stgi, "", "stgi; nop; nop");
SNIPPET(g_g_clgi, "", "clgi; nop; nop");
SNIPPET(g_g_both, "clgi", "stgi; nop; nop");

static bool v_gif(void)
{
    return (l2.vmcb->vintr & VINTR_GIF) != 0;
}

static void begin(enum l2_mode mode, uint64_t vintr)
{
    l2_reset(mode);
    l2_warm();
    l2.vmcb->vintr = vintr | VINTR_GIF_ENABLE;
}

static void instructions(enum l2_mode mode)
{
    begin(mode, 0);
    t_eq("stgi", "code", l2_run_at(g_g_stgi), EXIT_VMMCALL);
    t_check("stgi", "sets", v_gif());
    begin(mode, VINTR_GIF);
    t_eq("clgi", "code", l2_run_at(g_g_clgi), EXIT_VMMCALL);
    t_check("clgi", "clears", !v_gif());
    begin(mode, VINTR_GIF);
    t_eq("kept", "code", l2_run_at(g_g_nops), EXIT_VMMCALL);
    t_check("kept", "set", v_gif());
    begin(mode, 0);
    t_eq("kept", "clear-code", l2_run_at(g_g_nops), EXIT_VMMCALL);
    t_check("kept", "clear", !v_gif());
}

/* An intercept comes first, and changes nothing. */
static void intercepted(enum l2_mode mode)
{
    begin(mode, 0);
    l2_intercept(ICPT_STGI, true);
    t_eq("intercept", "stgi", l2_run_at(g_g_stgi), EXIT_MISC(ICPT_STGI));
    t_check("intercept", "stgi-kept", !v_gif());
    begin(mode, VINTR_GIF);
    l2_intercept(ICPT_CLGI, true);
    t_eq("intercept", "clgi", l2_run_at(g_g_clgi), EXIT_MISC(ICPT_CLGI));
    t_check("intercept", "clgi-kept", v_gif());
}

static void held(enum l2_mode mode)
{
    uint32_t before = trap.count[VIRQ_VECTOR];

    begin(mode, VIRQ);
    l2.vmcb->rflags |= RF_IF;
    t_eq("held", "code", l2_run_at(g_g_nops), EXIT_VMMCALL);
    t_eq("held", "delivered", trap.count[VIRQ_VECTOR] - before, 0);
    t_check("held", "pending", (l2.vmcb->vintr & VINTR_IRQ) != 0);
    t_eq("held", "stgi-code", l2_run_at(g_g_stgi), EXIT_VMMCALL);
    t_eq("held", "stgi-delivered", trap.count[VIRQ_VECTOR] - before, 1);
    t_check("held", "taken", (l2.vmcb->vintr & VINTR_IRQ) == 0);
    before = trap.count[VIRQ_VECTOR];
    begin(mode, VIRQ | VINTR_GIF);
    t_eq("clgi-sti", "code", l2_run_at(g_g_both), EXIT_VMMCALL);
    t_eq("clgi-sti", "if-0", trap.count[VIRQ_VECTOR] - before, 0);
}

/* Physical interrupts are L1's: its own GIF holds them, never L2's. */
static void physical(enum l2_mode mode)
{
    begin(mode, VINTR_MASKING);
    lapic_self_ipi(VEC_IPI);
    l2_intercept(ICPT_INTR, true);
    l2.flags = L2_HOST_IF;
    t_eq("physical", "code", l2_run_at(g_g_nops), EXIT_INTR);
    t_check("physical", "v-gif", !v_gif());
}

void test_virtual_gif(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("virtual-gif", l2_mode_name(modes[m]));
        if (!cpu_has_virtual_gif()) {
            t_absent("feature");
            continue;
        }
        instructions(modes[m]);
        intercepted(modes[m]);
        held(modes[m]);
        physical(modes[m]);
    }
}
