/* SPDX-License-Identifier: MIT */
/*
 * Exits that come from outside L2's instruction stream: external interrupts, NMIs, the two windows,
 * the preemption timer and the monitor trap flag. [SDM 3C "Other Causes of VM Exits"].
 */
#include "l2.h"
#include "tests.h"

#define VECTOR 0x61u
#define APIC_EOI 0xb0u
/* L2's last data page is the local APIC: it can send itself what L1 is asked about. */
#define L2_APIC (L2_DATA + 7 * 4096)

SNIPPET(w_nops, "", "nop", "nop");
SNIPPET(w_sti, "", "sti", "nop\nnop");
SNIPPET(w_loop, "1: pause\njmp 1b", "", "");
SNIPPET(w_hlt, "", "hlt", "nop");
SNIPPET(w_ud, "", "ud2", "");
SNIPPET(w_cpuid, "", "cpuid", "");
SNIPPET(w_self_ipi, "movl $0x44061, 0x40007300", "1: pause\njmp 1b", "");
SNIPPET(w_self_nmi, "movl 0x40007020, %eax\nmovl %eax, 0x40007310\nmovl $0x4400, 0x40007300",
        "1: pause\njmp 1b", "");
SNIPPET(w_mov_ss, "movl %ss, %eax\nmovl %eax, %ss", "nop", "nop");
/* The handler is w_iret. */
SNIPPET(w_int50, "", "int $0x50", "");
SNIPPET(w_int50_nmi, "int $0x50\nmovl 0x40007020, %eax\nmovl %eax, 0x40007310",
        "movl $0x4400, 0x40007300", "nop\nnop\nnop\nnop");
SNIPPET(w_iret, "nop", "iretq", "");

static void map_apic(void)
{
    if (l2.mode == L2_PLAIN)
        l2_paging.data_pt[7] = 0xfee00000ull | 0x13;
    else
        l2_ept.data_pt[7] = 0xfee00000ull | EPT_RWX;
    flush_everything();
}

static void open_interrupts(void)
{
    __asm__ volatile("sti\nnop\nnop\ncli" : : : "memory");
}

static void start_if(const char *code)
{
    l2_start(code);
    vmwrite(F_G_RFLAGS, 0x202);
}

static void external_interrupts(enum l2_mode mode)
{
    uint32_t before = trap_irqs[VECTOR];

    l2_reset(mode);
    ctl_set(F_PIN, PIN_EXTINT);
    apic_self_ipi(VECTOR);
    start_if(s_w_nops);
    (void)l2_run();
    (void)expect_exit("extint.pending", &(struct expect){R_EXTINT, 0, ANY, (uint64_t)s_w_nops});
    check_eq(vmread(F_INTR) & INTR_VALID, 0, "extint.no_ack_information");
    check_eq(trap_irqs[VECTOR], before, "extint.not_taken_yet");
    open_interrupts();
    check_eq(trap_irqs[VECTOR], before + 1, "extint.l1_takes_it");

    l2_reset(mode);
    ctl_set(F_PIN, PIN_EXTINT);
    ctl_set(F_EXIT, EXIT_ACK);
    apic_self_ipi(VECTOR);
    start_if(s_w_nops);
    (void)l2_run();
    (void)expect_exit("extint.ack", &(struct expect){R_EXTINT, 0, ANY, (uint64_t)s_w_nops});
    check_eq(vmread(F_INTR), INTR_VALID | VECTOR, "extint.ack_information");
    open_interrupts();
    check_eq(trap_irqs[VECTOR], before + 1, "extint.ack_leaves_nothing");
    check(apic_read(0x100 + (VECTOR / 32) * 16) == 1u << (VECTOR % 32), "extint.ack_in_service");
    apic_write(APIC_EOI, 0);

    l2_reset(mode);
    ctl_set(F_PIN, PIN_EXTINT);
    ctl_set(F_EXIT, EXIT_ACK);
    map_apic();
    start_if(s_w_self_ipi);
    (void)l2_run();
    (void)expect_reason("extint.while_running", R_EXTINT);
    check_eq(vmread(F_INTR), INTR_VALID | VECTOR, "extint.while_running_information");
    apic_write(APIC_EOI, 0);

    l2_reset(mode);
    ctl_set(F_PIN, PIN_EXTINT);
    ctl_set(F_EXIT, EXIT_ACK);
    apic_self_ipi(VECTOR);
    start_if(s_w_nops);
    vmwrite(F_G_ACTIVITY, ACTIVITY_HLT);
    (void)l2_run();
    (void)expect_reason("extint.in_hlt", R_EXTINT);
    apic_write(APIC_EOI, 0);
}

/* With external-interrupt exiting 0 they go through L2's own IDT. */
static void passed_interrupts(enum l2_mode mode)
{
    l2_reset(mode);
    apic_self_ipi(VECTOR);
    start_if(s_w_nops);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), VECTOR, "passed.pending");
    check_eq(l2_frame()[0], (uint64_t)s_w_nops, "passed.pending_rip");
    apic_write(APIC_EOI, 0);
    l2_reset(mode);
    apic_self_ipi(VECTOR);
    (void)l2_go(s_w_nops);
    (void)expect_done("passed.masked");
    (void)l2_go(s_w_sti);
    check_eq((uint64_t)l2_handler_vector(), VECTOR, "passed.after_sti");
    check_eq(l2_frame()[0], (uint64_t)e_w_sti + 1, "passed.after_sti_rip");
    apic_write(APIC_EOI, 0);
    /* An interrupt that L2 left pending is L1's. */
    l2_reset(mode);
    uint32_t before = trap_irqs[VECTOR];
    apic_self_ipi(VECTOR);
    (void)l2_go(s_w_nops);
    open_interrupts();
    check_eq(trap_irqs[VECTOR], before + 1, "passed.left_for_l1");
}

static void interrupt_window(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_set(F_PROC, PROC_INT_WINDOW);
    start_if(s_w_nops);
    (void)l2_run();
    (void)expect_exit("int_window.open",
                      &(struct expect){R_INT_WINDOW, 0, ANY, (uint64_t)s_w_nops});
    (void)l2_go(s_w_nops);
    (void)expect_done("int_window.closed");
    (void)l2_go(s_w_sti);
    (void)expect_exit("int_window.after_sti",
                      &(struct expect){R_INT_WINDOW, 0, ANY, (uint64_t)e_w_sti + 1});
    start_if(s_w_nops);
    vmwrite(F_G_INTERRUPTIBILITY, BLOCK_MOV_SS);
    (void)l2_run();
    (void)expect_exit("int_window.after_mov_ss",
                      &(struct expect){R_INT_WINDOW, 0, ANY, (uint64_t)e_w_nops});
    start_if(s_w_nops);
    vmwrite(F_G_INTERRUPTIBILITY, BLOCK_STI);
    (void)l2_run();
    (void)expect_exit("int_window.after_sti_blocking",
                      &(struct expect){R_INT_WINDOW, 0, ANY, (uint64_t)e_w_nops});
    check_eq(vmread(F_G_INTERRUPTIBILITY), 0, "int_window.blocking_is_over");
    /* An injected interrupt is delivered first; its handler runs with IF = 0. */
    start_if(s_w_nops);
    vmwrite(F_ENTRY_INTR, INTR_VALID | VECTOR);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), VECTOR, "int_window.after_injection");
}

static void nmis(enum l2_mode mode)
{
    uint32_t before = trap_irqs[2];

    l2_reset(mode);
    ctl_set(F_PIN, PIN_NMI);
    map_apic();
    (void)l2_go(s_w_self_nmi);
    (void)expect_reason("nmi.exits", R_EXCEPTION);
    check_eq(vmread(F_INTR), INTR_VALID | INTR_TYPE(T_NMI) | 2, "nmi.information");
    check_eq(trap_irqs[2], before, "nmi.not_delivered");
    /* The exit left NMIs blocked: one more waits for IRET. */
    apic_self_nmi();
    for (unsigned i = 0; i < 64; i++)
        __asm__ volatile("pause");
    check_eq(trap_irqs[2], before, "nmi.blocked_after_exit");
    unblock_nmi();
    __asm__ volatile("nop\nnop");
    check_eq(trap_irqs[2], before + 1, "nmi.delivered_after_iret");

    /* Without NMI exiting it is L2's. */
    l2_reset(mode);
    map_apic();
    (void)l2_go(s_w_self_nmi);
    check_eq((uint64_t)l2_handler_vector(), 2, "nmi.passed");
    check_eq(vmread(F_G_INTERRUPTIBILITY) & BLOCK_NMI, BLOCK_NMI, "nmi.passed_blocks");
    unblock_nmi();
}

static void handle_by_iret(unsigned vector)
{
    uint64_t handler = (uint64_t)s_w_iret;

    l2_idt[2 * vector] = (l2_idt[2 * vector] & 0x0000ffffffff0000ull) | (handler & 0xffffu) |
                         (handler >> 16 & 0xffffu) << 48;
    l2_idt[2 * vector + 1] = handler >> 32;
}

/* [SDM 3C "Changes to Instruction Behavior in VMX Non-Root Operation"]: with "NMI exiting" and without
 * "virtual NMIs" IRET leaves the blocking of NMIs as it is, which is L1's too after the exit. */
static void held_nmis(enum l2_mode mode)
{
    static const char *const names[] = {"blocked", "injected", "both"};

    for (unsigned i = 0; i < 4; i++) {
        uint32_t before = trap_irqs[2];

        l2_reset(mode);
        map_apic();
        handle_by_iret(2);
        handle_by_iret(0x50);
        if (i < 3)
            ctl_set(F_PIN, PIN_NMI);
        l2_start(i < 3 ? s_w_int50_nmi : s_w_int50);
        vmwrite(F_G_INTERRUPTIBILITY, i != 1 ? BLOCK_NMI : 0);
        vmwrite(F_ENTRY_INTR, i % 3 != 0 ? INTR_VALID | INTR_TYPE(T_NMI) | 2 : 0);
        (void)l2_run();
        if (i == 3) {
            (void)expect_done("held.without");
            check_eq(vmread(F_G_INTERRUPTIBILITY), 0, "held.without.unblocked");
            break;
        }
        check_eq(l2.reason, R_VMCALL, "held.%s", names[i]);
        check_eq(vmread(F_G_INTERRUPTIBILITY), BLOCK_NMI, "held.%s.saved", names[i]);
        check_eq(trap_irqs[2], before, "held.%s.blocked_in_l1", names[i]);
        unblock_nmi();
        __asm__ volatile("nop\nnop");
        check_eq(trap_irqs[2], before + 1, "held.%s.delivered_after_iret", names[i]);
    }
}

static void virtual_nmis(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_set(F_PIN, PIN_NMI | PIN_VIRTUAL_NMI);
    l2_start(s_w_nops);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_NMI) | 2);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 2, "virtual_nmi.injected");
    check_eq(vmread(F_G_INTERRUPTIBILITY), BLOCK_NMI, "virtual_nmi.blocks");
    /* The window stays shut until the handler's IRET. */
    ctl_set(F_PROC, PROC_NMI_WINDOW);
    vmwrite(F_G_RIP, vmread(F_G_RIP) + 3);
    (void)l2_run();
    (void)expect_exit("virtual_nmi.window_after_iret",
                      &(struct expect){R_NMI_WINDOW, 0, ANY, (uint64_t)s_w_nops});
    check_eq(vmread(F_G_INTERRUPTIBILITY), 0, "virtual_nmi.unblocked");
    (void)l2_go(s_w_nops);
    (void)expect_exit("virtual_nmi.window_open",
                      &(struct expect){R_NMI_WINDOW, 0, ANY, (uint64_t)s_w_nops});
    ctl_clear(F_PROC, PROC_NMI_WINDOW);
    (void)l2_go(s_w_nops);
    (void)expect_done("virtual_nmi.no_window_control");
    /* A physical NMI exits even while virtual NMIs are blocked. */
    map_apic();
    l2_start(s_w_self_nmi);
    vmwrite(F_G_INTERRUPTIBILITY, BLOCK_NMI);
    (void)l2_run();
    check_eq(vmread(F_INTR), INTR_VALID | INTR_TYPE(T_NMI) | 2, "virtual_nmi.physical_exits");
    check_eq(vmread(F_G_INTERRUPTIBILITY) & BLOCK_NMI, BLOCK_NMI, "virtual_nmi.still_blocked");
    unblock_nmi();
}

/*
 * IRET ends blocking by NMI before its own stack access faults; the exit says so, and L1 has to
 * block NMIs again before it lets L2 retry. [SDM 3C "Resuming Guest Software after Handling an
 * Exception"].
 */
static void iret_fault(enum l2_mode mode)
{
    const uint64_t top = L2_DATA + 2 * 4096 + 0x800;

    l2_reset(mode);
    ctl_set(F_PIN, PIN_NMI | PIN_VIRTUAL_NMI);
    vmwrite(F_EXCEPTION_BITMAP, 1u << 14);
    l2_start(s_w_nops);
    vmwrite(F_G_RSP, top);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_NMI) | 2);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 2, "iret_fault.nmi");
    if (mode == L2_PLAIN)
        l2_paging.data_pt[2] = 0;
    else
        l2_ept.data_pt[2] = 0;
    flush_everything();
    vmwrite(F_G_RIP, vmread(F_G_RIP) + 3);
    (void)l2_run();
    check_eq(l2.reason, mode == L2_PLAIN ? R_EXCEPTION : R_EPT_VIOLATION, "iret_fault.exits");
    if (mode == L2_PLAIN)
        check_eq(vmread(F_INTR) & INTR_NMI_UNBLOCKED, INTR_NMI_UNBLOCKED, "iret_fault.unblocked");
    else
        check_eq(vmread(F_QUALIFICATION) & INTR_NMI_UNBLOCKED, INTR_NMI_UNBLOCKED,
                 "iret_fault.unblocked");
    check_eq(vmread(F_G_INTERRUPTIBILITY) & BLOCK_NMI, 0, "iret_fault.not_blocked");
}

static void preemption_timer(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_set(F_PIN, PIN_PREEMPTION);
    vmwrite(F_PREEMPTION_TIMER, 0);
    (void)l2_go(s_w_nops);
    (void)expect_exit("timer.zero", &(struct expect){R_PREEMPTION, 0, ANY, (uint64_t)s_w_nops});
    vmwrite(F_PREEMPTION_TIMER, 1000);
    (void)l2_go(s_w_loop);
    (void)expect_reason("timer.expires", R_PREEMPTION);
    check_eq(vmread(F_PREEMPTION_TIMER), 1000, "timer.not_saved");
    ctl_set(F_EXIT, EXIT_SAVE_TIMER);
    (void)l2_go(s_w_loop);
    (void)expect_reason("timer.expires_saving", R_PREEMPTION);
    check_eq(vmread(F_PREEMPTION_TIMER), 0, "timer.saved_zero");
    vmwrite(F_PREEMPTION_TIMER, 0xfffffff0);
    (void)l2_go(s_w_nops);
    (void)expect_done("timer.long");
    check(vmread(F_PREEMPTION_TIMER) <= 0xfffffff0 && vmread(F_PREEMPTION_TIMER) > 0xf0000000,
          "timer.saved_rest");
    vmwrite(F_PREEMPTION_TIMER, 2000);
    l2_start(s_w_nops);
    vmwrite(F_G_ACTIVITY, ACTIVITY_HLT);
    (void)l2_run();
    (void)expect_exit("timer.in_hlt", &(struct expect){R_PREEMPTION, 0, ANY, (uint64_t)s_w_nops});
    check_eq(vmread(F_G_ACTIVITY), ACTIVITY_HLT, "timer.in_hlt_activity");
    vmwrite(F_PREEMPTION_TIMER, 2000);
    (void)l2_go(s_w_hlt);
    (void)expect_exit("timer.after_hlt", &(struct expect){R_PREEMPTION, 0, ANY, (uint64_t)e_w_hlt});
    check_eq(vmread(F_G_ACTIVITY), ACTIVITY_HLT, "timer.after_hlt_activity");
}

/* In Bochs 2.7 the control alone never causes an exit (differences.md); the injected event does. */
static void monitor_trap(enum l2_mode mode)
{
    if (!ctl_can(F_PROC, PROC_MTF))
        return;
    l2_reset(mode);
    l2_start(s_w_nops);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_OTHER));
    (void)l2_run();
    (void)expect_exit("mtf.injected", &(struct expect){R_MTF, 0, ANY, (uint64_t)s_w_nops});
    check_eq(vmread(F_ENTRY_INTR) & INTR_VALID, 0, "mtf.injected_valid_cleared");
    (void)l2_run();
    (void)expect_done("mtf.injected_once");
    l2_reset(mode);
    ctl_set(F_PROC, PROC_MTF);
    (void)l2_go(s_w_cpuid);
    (void)expect_exit("mtf.other_exit_wins",
                      &(struct expect){R_CPUID, 0, 2, (uint64_t)i_w_cpuid});
}

static void pending_debug(enum l2_mode mode)
{
    l2_reset(mode);
    vmwrite(F_EXCEPTION_BITMAP, 1u << 1);
    l2_start(s_w_nops);
    vmwrite(F_G_PENDING_DEBUG, 0x1001);
    (void)l2_run();
    (void)expect_exit("pending_debug.exits",
                      &(struct expect){R_EXCEPTION, 1, ANY, (uint64_t)s_w_nops});
    l2_reset(mode);
    l2_start(s_w_nops);
    vmwrite(F_G_PENDING_DEBUG, 0x1002);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 1, "pending_debug.delivered");
    rt_write_dr6(0xffff0ff0);
}

void test_windows(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("async.%s", l2_mode_name(modes[m]));
        external_interrupts(modes[m]);
        passed_interrupts(modes[m]);
        interrupt_window(modes[m]);
        nmis(modes[m]);
        held_nmis(modes[m]);
        virtual_nmis(modes[m]);
        iret_fault(modes[m]);
        preemption_timer(modes[m]);
        monitor_trap(modes[m]);
        pending_debug(modes[m]);
    }
}
