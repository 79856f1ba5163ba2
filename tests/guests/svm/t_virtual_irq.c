/* SPDX-License-Identifier: MIT */
/*
 * Virtual interrupts (V_IRQ with its priority and vector), the virtual TPR behind CR8, and the
 * VINTR intercept that tells L1 when L2 could take one. [APM 2 "Virtualizing the TPR"],
 * [APM 2 "Injecting Virtual (INTR) Interrupts"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define VIRQ_VECTOR 0x75
#define VIRQ (VINTR_IRQ | VINTR_PRIO(7) | VINTR_VECTOR(VIRQ_VECTOR) | VINTR_MASKING)

SNIPPET(g_v_nops, "", "nop; nop");
SNIPPET(g_v_sti, "", "sti; nop; nop");
SNIPPET(g_v_cr8, "mov $9, %eax; mov %rax, %cr8", "mov %cr8, %rcx");
SNIPPET(g_v_cr8_lower, "xor %eax, %eax", "mov %rax, %cr8; nop; nop");

struct row {
    const char *name;
    uint64_t vintr;
    bool guest_if, intercept;
    uint64_t exit;
    bool delivered, still_pending;
};

static const struct row rows[] = {
    {"if-1", VIRQ, true, false, EXIT_VMMCALL, true, false},
    {"if-0", VIRQ, false, false, EXIT_VMMCALL, false, true},
    {"no-irq", VIRQ & ~VINTR_IRQ, true, false, EXIT_VMMCALL, false, false},
    {"tpr-below", VIRQ | VINTR_TPR(6), true, false, EXIT_VMMCALL, true, false},
    {"tpr-equal", VIRQ | VINTR_TPR(7), true, false, EXIT_VMMCALL, false, true},
    {"tpr-above", VIRQ | VINTR_TPR(15), true, false, EXIT_VMMCALL, false, true},
    {"ignore-tpr", VIRQ | VINTR_TPR(15) | VINTR_IGN_TPR, true, false, EXIT_VMMCALL, true, false},
    {"no-masking", VIRQ & ~VINTR_MASKING, true, false, EXIT_VMMCALL, true, false},
    {"intercept-if-1", VIRQ, true, true, EXIT_VINTR, false, true},
    {"intercept-if-0", VIRQ, false, true, EXIT_VMMCALL, false, true},
    {"intercept-tpr", VIRQ | VINTR_TPR(8), true, true, EXIT_VMMCALL, false, true},
    {"intercept-no-irq", VIRQ & ~VINTR_IRQ, true, true, EXIT_VMMCALL, false, false},
};

static void virtual_row(enum l2_mode mode, const struct row *r)
{
    uint32_t before = trap.count[VIRQ_VECTOR];

    if (t_skip(r->name)) {
        return;
    }
    l2_reset(mode);
    l2_warm();
    l2.vmcb->vintr = r->vintr;
    l2.vmcb->rflags |= r->guest_if ? RF_IF : 0;
    l2_intercept(ICPT_VINTR, r->intercept);
    t_eq(r->name, "code", l2_run_at(g_v_nops), r->exit);
    t_eq(r->name, "delivered", trap.count[VIRQ_VECTOR] - before, r->delivered);
    t_eq(r->name, "pending", (l2.vmcb->vintr & VINTR_IRQ) != 0, r->still_pending);
    t_eq(r->name, "rest-kept", l2.vmcb->vintr & ~VINTR_IRQ, r->vintr & ~VINTR_IRQ);
    if (r->exit == EXIT_VINTR) {
        t_eq(r->name, "rip", l2.vmcb->rip, pa(g_v_nops));
    }
}

/* The way hypervisors use it: ask for a window, get it when STI's shadow is over. */
static void window(enum l2_mode mode)
{
    uint32_t before = trap.count[VIRQ_VECTOR];

    l2_reset(mode);
    l2_warm();
    l2.vmcb->vintr = VIRQ;
    l2_intercept(ICPT_VINTR, true);
    t_eq("window", "code", l2_run_at(g_v_sti), EXIT_VINTR);
    t_eq("window", "after-shadow", l2.vmcb->rip, pa(g_v_sti_at) + 2);
    t_eq("window", "if", l2.vmcb->rflags & RF_IF, RF_IF);
    l2.vmcb->vintr &= ~VINTR_IRQ;
    l2_intercept(ICPT_VINTR, false);
    l2.vmcb->event_inj = EVT_VALID | EVT_INTR | VIRQ_VECTOR;
    t_eq("window", "injected", l2_run(), EXIT_VMMCALL);
    t_eq("window", "delivered", trap.count[VIRQ_VECTOR] - before, 1);
    before = trap.count[VIRQ_VECTOR];
    l2_reset(mode);
    l2_warm();
    l2.vmcb->vintr = VIRQ;
    t_eq("window", "sti-code", l2_run_at(g_v_sti), EXIT_VMMCALL);
    t_eq("window", "sti-delivered", trap.count[VIRQ_VECTOR] - before, 1);
    t_eq("window", "sti-rip", trap.rip, pa(g_v_sti_at) + 2);
}

/* CR8 is V_TPR with V_INTR_MASKING, and L1's own TPR does not move. */
static void cr8(enum l2_mode mode)
{
    l2_reset(mode);
    l2_warm();
    rt_write_cr8(3);
    l2.vmcb->vintr = VINTR_MASKING;
    t_eq("cr8", "code", l2_run_at(g_v_cr8), EXIT_VMMCALL);
    t_eq("cr8", "read-back", l2.g.rcx, 9);
    t_eq("cr8", "v-tpr", l2.vmcb->vintr & 0xff, 9);
    t_eq("cr8", "l1-kept", rt_read_cr8(), 3);
    /* Without it CR8 is the real one. */
    l2_reset(mode);
    l2_warm();
    t_eq("cr8", "plain-code", l2_run_at(g_v_cr8), EXIT_VMMCALL);
    t_eq("cr8", "plain-l1-changed", rt_read_cr8(), 9);
    rt_write_cr8(0);
}

/* Lowering V_TPR lets a held virtual interrupt through. */
static void cr8_lower(enum l2_mode mode)
{
    uint32_t before = trap.count[VIRQ_VECTOR];

    if (t_skip("cr8-lower")) {
        return;
    }
    l2_reset(mode);
    l2_warm();
    l2.vmcb->vintr = VIRQ | VINTR_TPR(8);
    l2.vmcb->rflags |= RF_IF;
    t_eq("cr8-lower", "code", l2_run_at(g_v_cr8_lower), EXIT_VMMCALL);
    t_eq("cr8-lower", "delivers", trap.count[VIRQ_VECTOR] - before, 1);
    t_eq("cr8-lower", "v-tpr", l2.vmcb->vintr & 0xff, 0);
}

/* A physical interrupt comes before a virtual one. */
static void physical_first(enum l2_mode mode)
{
    uint32_t before = trap.count[VIRQ_VECTOR];

    l2_reset(mode);
    l2_warm();
    lapic_self_ipi(VEC_IPI);
    l2.vmcb->vintr = VIRQ;
    l2.vmcb->rflags |= RF_IF;
    l2_intercept(ICPT_INTR, true);
    l2.flags = L2_HOST_IF;
    t_eq("physical-first", "code", l2_run_at(g_v_nops), EXIT_INTR);
    t_eq("physical-first", "pending", (l2.vmcb->vintr & VINTR_IRQ) != 0, 1);
    t_eq("physical-first", "then", l2_run_at(g_v_nops), EXIT_VMMCALL);
    t_eq("physical-first", "delivered", trap.count[VIRQ_VECTOR] - before, 1);
}

void test_virtual_irq(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("virtual-irq", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            virtual_row(modes[m], &rows[i]);
        }
        window(modes[m]);
        cr8(modes[m]);
        cr8_lower(modes[m]);
        physical_first(modes[m]);
    }
}
