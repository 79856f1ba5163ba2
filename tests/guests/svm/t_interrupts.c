/* SPDX-License-Identifier: MIT */
/*
 * Physical interrupts and NMIs while L2 runs, and while GIF is 0: [APM 2 "Global Interrupt Flag"],
 * [APM 2 "Interrupt and Local APIC Support"]. The source is a self-IPI where the moment matters,
 * and the APIC timer and the PIT where the path does.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define VEC_INJECTED 0x73
/* Long enough for L2 to get where it waits, whatever an entry costs below L1. */
#define TIMER_TICKS 1000000

SNIPPET(g_nops, "", "nop; nop");
SNIPPET(g_spin, "", "1: pause; jmp 1b");
/* EOI first, should an earlier interrupt of L2 be in service. */
SNIPPET(g_ipi, "mov $0xfee00000, %eax; movl $0x40061, 0x300(%rax)", "nop; nop; nop");
SNIPPET(g_cli_ipi, "cli; mov $0xfee00000, %eax; movl $0x40061, 0x300(%rax)", "nop; nop; nop");
SNIPPET(g_sti_cpuid, "sti", "cpuid");
SNIPPET(g_sti_window, "sti", "nop; nop; nop");
SNIPPET(g_hlt_wait, "sti", "hlt; nop");
SNIPPET(g_pushf_if, "", "pushfq; pop %rax");

struct row {
    const char *name;
    bool masking, host_if, guest_if, intercept;
    uint64_t exit;
    uint32_t l1_count, l2_count; /* how often L1's and L2's handler runs */
};

/*
 * An interrupt is pending before VMRUN. Which IF gates it: the host's with V_INTR_MASKING, else
 * L2's. What happens then: an exit if intercepted, else L2's own IDT.
 */
static const struct row rows[] = {
    {"masking-hostif-guestif", true, true, true, true, EXIT_INTR, 1, 0},
    {"masking-hostif", true, true, false, true, EXIT_INTR, 1, 0},
    {"masking-guestif", true, false, true, true, EXIT_VMMCALL, 0, 0},
    {"masking-neither", true, false, false, true, EXIT_VMMCALL, 0, 0},
    {"plain-guestif", false, false, true, true, EXIT_INTR, 0, 0},
    {"plain-hostif-guestif", false, true, true, true, EXIT_INTR, 1, 0},
    {"plain-hostif", false, true, false, true, EXIT_VMMCALL, 1, 0},
    {"plain-neither", false, false, false, true, EXIT_VMMCALL, 0, 0},
    {"own-guestif", false, false, true, false, EXIT_VMMCALL, 0, 1},
    {"own-masking-hostif", true, true, false, false, EXIT_VMMCALL, 0, 1},
    {"own-masking-guestif", true, false, true, false, EXIT_VMMCALL, 0, 0},
    {"own-neither", false, false, false, false, EXIT_VMMCALL, 0, 0},
};

/* Takes what is still pending, so that the next check starts clean; how many there were. */
static uint32_t drain(uint8_t vector)
{
    uint32_t before = trap.count[vector];

    x_stgi();
    x_sti();
    rt_cli();
    return trap.count[vector] - before;
}

static void pending_row(enum l2_mode mode, const struct row *r)
{
    uint32_t before, in_l2;

    l2_reset(mode);
    l2_warm();
    drain(VEC_IPI);
    before = trap.count[VEC_IPI];
    lapic_self_ipi(VEC_IPI);
    l2_intercept(ICPT_INTR, r->intercept);
    l2.vmcb->vintr = r->masking ? VINTR_MASKING : 0;
    l2.vmcb->rflags |= r->guest_if ? RF_IF : 0;
    l2.flags = L2_NO_STGI | (r->host_if ? L2_HOST_IF : 0);
    t_eq(r->name, "code", l2_run_at(g_nops), r->exit);
    in_l2 = trap.count[VEC_IPI] - before;
    t_eq(r->name, "l2-handler", in_l2, r->l2_count);
    if (r->exit == EXIT_INTR) {
        t_eq(r->name, "rip", l2.vmcb->rip, pa(g_nops));
        t_eq(r->name, "no-event", l2.vmcb->exit_int & EVT_VALID, 0);
    }
    before = trap.count[VEC_IPI];
    x_stgi();
    rt_cli();
    t_eq(r->name, "l1-after-stgi", trap.count[VEC_IPI] - before, r->l1_count);
    t_eq(r->name, "none-lost", in_l2 + r->l1_count + drain(VEC_IPI), 1);
}

static void gif_holds(void)
{
    uint32_t before = trap.count[VEC_IPI];

    x_clgi();
    x_sti();
    lapic_self_ipi(VEC_IPI);
    t_eq("gif", "held", trap.count[VEC_IPI], before);
    t_check("gif", "pending", lapic_irr(VEC_IPI));
    x_stgi();
    t_eq("gif", "delivered", trap.count[VEC_IPI], before + 1);
    rt_cli();
    before = trap.count[VEC_NMI];
    x_clgi();
    lapic_self_nmi();
    t_eq("gif", "nmi-held", trap.count[VEC_NMI], before);
    x_stgi();
    t_eq("gif", "nmi-delivered", trap.count[VEC_NMI], before + 1);
    /* STGI with IF 0 delivers nothing maskable. */
    before = trap.count[VEC_IPI];
    x_clgi();
    lapic_self_ipi(VEC_IPI);
    x_stgi();
    t_eq("gif", "if-0-held", trap.count[VEC_IPI], before);
    t_eq("gif", "if-1-delivered", drain(VEC_IPI), 1);
}

/* Interrupts that L2 brings about itself, in the middle of its run. */
static void raised_by_l2(enum l2_mode mode)
{
    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_INTR, true);
    l2.vmcb->vintr = VINTR_MASKING;
    l2.flags = L2_HOST_IF;
    t_eq("self", "masking-cli", l2_run_at(g_cli_ipi), EXIT_INTR);
    t_eq("self", "masking-cli-if", l2.vmcb->rflags & RF_IF, 0);
    t_eq("self", "masking-goes-on", l2_run(), EXIT_VMMCALL);
    l2.vmcb->vintr = 0;
    l2.flags = 0;
    l2.vmcb->rflags |= RF_IF;
    t_eq("self", "plain-cli", l2_run_at(g_cli_ipi), EXIT_VMMCALL);
    t_eq("self", "plain-sti", l2_run_at(g_sti_window), EXIT_INTR);
    t_eq("self", "plain-sti-if", l2.vmcb->rflags & RF_IF, RF_IF);
    t_eq("self", "drained", drain(VEC_IPI), 1);
}

/* STI shadow: saved in the VMCB, honoured from there. [APM 2 "Interrupt Shadows"] */
static void shadow(enum l2_mode mode)
{
    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_CPUID, true);
    t_eq("sti-shadow", "exit", l2_run_at(g_sti_cpuid), EXIT_MISC(ICPT_CPUID));
    t_eq("sti-shadow", "saved", l2.vmcb->int_state & 1, 1);
    l2.vmcb->int_state = 0;
    t_eq("sti-shadow", "again", l2_run_at(g_sti_cpuid_at), EXIT_MISC(ICPT_CPUID));
    t_eq("sti-shadow", "not-saved", l2.vmcb->int_state & 1, 0);
    lapic_self_ipi(VEC_IPI);
    l2_intercept(ICPT_INTR, true);
    l2.vmcb->rflags |= RF_IF;
    l2.vmcb->int_state = 1;
    t_eq("sti-shadow", "intr", l2_run_at(g_nops), EXIT_INTR);
    t_eq("sti-shadow", "one-instruction-later", l2.vmcb->rip, pa(g_nops) + 1);
    t_eq("sti-shadow", "gone", l2.vmcb->int_state & 1, 0);
    drain(VEC_IPI);
}

static void nmi(enum l2_mode mode)
{
    uint32_t before;

    l2_reset(mode);
    l2_warm();
    x_clgi();
    before = trap.count[VEC_NMI];
    lapic_self_nmi();
    l2_intercept(ICPT_NMI, true);
    l2.flags = L2_NO_STGI;
    t_eq("nmi", "intercepted", l2_run_at(g_nops), EXIT_NMI);
    t_eq("nmi", "rip", l2.vmcb->rip, pa(g_nops));
    t_eq("nmi", "held-by-gif", trap.count[VEC_NMI] - before, 0);
    x_stgi();
    t_eq("nmi", "taken-by-l1", trap.count[VEC_NMI] - before, 1);
    l2_reset(mode);
    l2_warm();
    x_clgi();
    before = trap.count[VEC_NMI];
    lapic_self_nmi();
    l2.flags = L2_NO_STGI;
    t_eq("nmi", "not-intercepted", l2_run_at(g_nops), EXIT_VMMCALL);
    t_eq("nmi", "taken-by-l2", trap.count[VEC_NMI] - before, 1);
    x_stgi();
    t_eq("nmi", "once", trap.count[VEC_NMI] - before, 1);
}

static void timers(enum l2_mode mode)
{
    uint32_t before = trap.count[VEC_TIMER];

    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_INTR, true);
    l2.vmcb->vintr = VINTR_MASKING;
    l2.flags = L2_HOST_IF;
    l2.vmcb->rflags |= RF_IF;
    lapic_timer(TIMER_TICKS);
    t_eq("timer", "spinning", l2_run_at(g_spin), EXIT_INTR);
    t_eq("timer", "taken-by-l1", trap.count[VEC_TIMER] - before, 1);
    lapic_timer_stop();
    /* The same without an intercept: L2's handler takes it and L2 waits for nothing else. */
    l2_reset(mode);
    l2_warm();
    l2.vmcb->rflags |= RF_IF;
    l2_intercept(ICPT_PAUSE, true);
    before = trap.count[VEC_TIMER];
    lapic_timer(TIMER_TICKS);
    for (unsigned int i = 0; i < 100000 && trap.count[VEC_TIMER] == before; i++) {
        if (l2_run_at(g_spin) != EXIT_MISC(ICPT_PAUSE)) {
            break;
        }
    }
    t_eq("timer", "taken-by-l2", trap.count[VEC_TIMER] - before, 1);
    lapic_timer_stop();
    before = trap.count[VEC_PIT];
    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_INTR, true);
    l2.vmcb->vintr = VINTR_MASKING;
    l2.flags = L2_HOST_IF;
    l2.vmcb->rflags |= RF_IF;
    pit_one_shot(1000);
    t_eq("pit", "spinning", l2_run_at(g_spin), EXIT_INTR);
    t_eq("pit", "taken-by-l1", trap.count[VEC_PIT] - before, 1);
    pic_mask_all();
}

static void halted(enum l2_mode mode)
{
    if (t_skip("hlt")) {
        return;
    }
    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_INTR, true);
    l2.vmcb->vintr = VINTR_MASKING;
    l2.flags = L2_HOST_IF;
    lapic_timer(TIMER_TICKS);
    t_eq("hlt", "woken", l2_run_at(g_hlt_wait), EXIT_INTR);
    t_eq("hlt", "rip-after", l2.vmcb->rip, pa(g_hlt_wait_at) + 1);
    lapic_timer_stop();
    drain(VEC_TIMER);
}

/* A second interrupt of the same class does not come before EOI, at either level. */
static void l2_own_ipi(enum l2_mode mode)
{
    uint32_t before = trap.count[VEC_IPI];

    l2_reset(mode);
    l2_warm();
    l2.vmcb->rflags |= RF_IF;
    t_eq("own-ipi", "code", l2_run_at(g_ipi), EXIT_VMMCALL);
    t_eq("own-ipi", "handled", trap.count[VEC_IPI] - before, 1);
    t_eq("own-ipi", "again", l2_run_at(g_ipi), EXIT_VMMCALL);
    t_eq("own-ipi", "handled-again", trap.count[VEC_IPI] - before, 2);
}

/*
 * An injected event goes first, a pending physical interrupt after it: at once, at the handler's
 * first instruction, where the host's IF gates it, else when the handler has returned.
 */
static void behind_injection(enum l2_mode mode)
{
    uint32_t before = trap.count[VEC_INJECTED];

    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_INTR, true);
    l2.vmcb->rflags |= RF_IF;
    l2.vmcb->event_inj = EVT_VALID | EVT_INTR | VEC_INJECTED;
    lapic_self_ipi(VEC_IPI);
    t_eq("behind-injection", "code", l2_run_at(g_nops), EXIT_INTR);
    t_eq("behind-injection", "handler-first", trap.count[VEC_INJECTED] - before, 1);
    t_eq("behind-injection", "rip", l2.vmcb->rip, pa(g_nops));
    t_eq("behind-injection", "no-event", l2.vmcb->exit_int & EVT_VALID, 0);
    t_eq("behind-injection", "pending", drain(VEC_IPI), 1);
    if (t_skip("behind-injection.masking")) {
        return;
    }
    before = trap.count[VEC_INJECTED];
    l2_reset(mode);
    l2_warm();
    l2_intercept(ICPT_INTR, true);
    l2.flags = L2_HOST_IF;
    l2.vmcb->vintr = VINTR_MASKING;
    l2.vmcb->event_inj = EVT_VALID | EVT_INTR | VEC_INJECTED;
    lapic_self_ipi(VEC_IPI);
    t_eq("behind-injection", "masking-code", l2_run_at(g_nops), EXIT_INTR);
    t_eq("behind-injection", "masking-at-handler", l2.vmcb->rip,
         pa(trap_stubs) + 16u * VEC_INJECTED);
    t_eq("behind-injection", "masking-consumed", l2.vmcb->event_inj & EVT_VALID, 0);
    t_eq("behind-injection", "masking-no-event", l2.vmcb->exit_int & EVT_VALID, 0);
    t_eq("behind-injection", "masking-goes-on", l2_run(), EXIT_VMMCALL);
    t_eq("behind-injection", "masking-once", trap.count[VEC_INJECTED] - before, 1);
}

/* With V_INTR_MASKING L2 sees its own IF. */
static void virtual_if(enum l2_mode mode)
{
    l2_reset(mode);
    l2_warm();
    l2.vmcb->vintr = VINTR_MASKING;
    l2.flags = L2_HOST_IF;
    t_eq("virtual-if", "code", l2_run_at(g_pushf_if), EXIT_VMMCALL);
    t_eq("virtual-if", "reads-0", l2.vmcb->rax & RF_IF, 0);
    l2.vmcb->rflags |= RF_IF;
    l2.flags = 0;
    t_eq("virtual-if", "code-1", l2_run_at(g_pushf_if), EXIT_VMMCALL);
    t_eq("virtual-if", "reads-1", l2.vmcb->rax & RF_IF, RF_IF);
}

void test_interrupts(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    t_group("interrupt", NULL);
    l2_reset(L2_NPT);
    gif_holds();
    for (unsigned int m = 0; m < 2; m++) {
        t_group("interrupt", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            pending_row(modes[m], &rows[i]);
        }
        raised_by_l2(modes[m]);
        shadow(modes[m]);
        nmi(modes[m]);
        timers(modes[m]);
        halted(modes[m]);
        l2_own_ipi(modes[m]);
        virtual_if(modes[m]);
        behind_injection(modes[m]);
    }
}
