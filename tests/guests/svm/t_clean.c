/* SPDX-License-Identifier: MIT */
/*
 * Clean bits used as the manual has it: a group whose bit is clear is read anew, all others being
 * called clean; what no bit covers is read always; and what L2 changed itself is what it goes on with.
 * A CPU that ignores the bits does the same. [APM 2 "VMCB Clean Bits"], [APM 2 "VMCB Clean Field"]
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define ALL_CLEAN 0xffffffffu
#define CLEAN_I (1u << 0)
#define CLEAN_IOPM (1u << 1)
#define CLEAN_ASID (1u << 2)
#define CLEAN_TPR (1u << 3)
#define CLEAN_NP (1u << 4)
#define CLEAN_CRX (1u << 5)
#define CLEAN_DRX (1u << 6)
#define CLEAN_DT (1u << 7)
#define CLEAN_SEG (1u << 8)
#define CLEAN_CR2 (1u << 9)

static uint8_t other_iopm[3 * 4096] __attribute__((aligned(4096)));
static uint8_t other_msrpm[2 * 4096] __attribute__((aligned(4096)));

SNIPPET(g_c_nop, "", "nop");
SNIPPET(g_c_cpuid, "xor %eax, %eax", "cpuid");
SNIPPET(g_c_out, "mov $0x80, %edx", "outb %al, %dx");
SNIPPET(g_c_rdmsr, "mov $0x277, %ecx", "rdmsr");
SNIPPET(g_c_cr8, "", "mov %cr8, %rax");
SNIPPET(g_c_read, "", "mov l2_page(%rip), %rax");
SNIPPET(g_c_cr0, "", "mov %cr0, %rax");
SNIPPET(g_c_dr7, "", "mov %dr7, %rax");
SNIPPET(g_c_sgdt, "sub $16, %rsp; sgdt (%rsp); movzwl (%rsp), %eax; add $16, %rsp", "nop");
SNIPPET(g_c_ds, "", "mov %ds, %eax");
SNIPPET(g_c_set_ds, "xor %eax, %eax", "mov %eax, %ds");
SNIPPET(g_c_cr2, "", "mov %cr2, %rax");
SNIPPET(g_c_flags, "pushfq", "pop %rax");
SNIPPET(g_c_rsp, "", "mov %rsp, %rax");

/* An L2 that ran once, so that there is something to be kept; everything of it called clean but @bits. */
static void begin(enum l2_mode mode, uint32_t bits)
{
    l2_reset(mode);
    (void)l2_run_at(g_c_nop);
    l2.vmcb->clean = ALL_CLEAN & ~bits;
}

static uint64_t *moved_page(uint64_t rights)
{
    uint64_t *tables = pt_identity(rights);

    *(uint64_t *)(void *)&l2_page[0] = 0x1111;
    *(uint64_t *)(void *)&l2_page[4096] = 0x2222;
    *pt_entry(tables, pa(l2_page), 1) = pa(&l2_page[4096]) | rights;
    return tables;
}

static void control_groups(enum l2_mode mode)
{
    begin(mode, CLEAN_I);
    l2_intercept(ICPT_CPUID, true);
    t_eq("intercepts", "set", l2_run_at(g_c_cpuid), EXIT_MISC(ICPT_CPUID));
    l2.vmcb->clean = ALL_CLEAN;
    t_eq("intercepts", "kept", l2_run_at(g_c_cpuid), EXIT_MISC(ICPT_CPUID));
    l2.vmcb->clean = ALL_CLEAN & ~CLEAN_I;
    l2_intercept(ICPT_CPUID, false);
    t_eq("intercepts", "cleared", l2_run_at(g_c_cpuid), EXIT_VMMCALL);

    begin(mode, CLEAN_I | CLEAN_IOPM);
    l2_intercept(ICPT_IOIO, true);
    l2_intercept(ICPT_MSR, true);
    l2.vmcb->iopm_pa = pa(other_iopm);
    l2.vmcb->msrpm_pa = pa(other_msrpm);
    other_iopm[0x80 / 8] = 1;
    memset(other_msrpm, 0xff, sizeof other_msrpm);
    t_eq("maps", "io", l2_run_at(g_c_out), EXIT_IOIO);
    l2.vmcb->clean = ALL_CLEAN;
    t_eq("maps", "msr", l2_run_at(g_c_rdmsr), EXIT_MSR);
    /* The bit covers the addresses; what is in the maps counts at each access. */
    other_iopm[0x80 / 8] = 0;
    memset(other_msrpm, 0, sizeof other_msrpm);
    l2.vmcb->clean = ALL_CLEAN;
    t_eq("maps", "io-content", l2_run_at(g_c_out), EXIT_VMMCALL);
    l2.vmcb->clean = ALL_CLEAN;
    t_eq("maps", "msr-content", l2_run_at(g_c_rdmsr), EXIT_VMMCALL);
    other_iopm[0x80 / 8] = 1;
    memset(other_msrpm, 0xff, sizeof other_msrpm);
    l2.vmcb->clean = ALL_CLEAN;
    t_eq("maps", "io-again", l2_run_at(g_c_out), EXIT_IOIO);
    l2.vmcb->clean = ALL_CLEAN;
    t_eq("maps", "msr-again", l2_run_at(g_c_rdmsr), EXIT_MSR);

    begin(mode, CLEAN_ASID);
    l2.vmcb->asid = 0;
    t_check("asid", "zero", l2_is_invalid(l2_run_at(g_c_nop)));
    l2.vmcb->asid = 2;
    l2.vmcb->clean = 0;
    t_eq("asid", "after-refusal", l2_run_at(g_c_nop), EXIT_VMMCALL);

    begin(mode, CLEAN_TPR);
    l2.vmcb->vintr = VINTR_MASKING | VINTR_TPR(5);
    t_eq("tpr", "code", l2_run_at(g_c_cr8), EXIT_VMMCALL);
    t_eq("tpr", "value", l2.vmcb->rax, 5);
    l2.vmcb->clean = ALL_CLEAN;
    (void)l2_run_at(g_c_cr8);
    t_eq("tpr", "kept", l2.vmcb->rax, 5);
}

static void tables(enum l2_mode mode)
{
    begin(mode, mode == L2_NPT ? CLEAN_NP : CLEAN_CRX);
    if (mode == L2_NPT) {
        l2.vmcb->ncr3 = pa(moved_page(PT_P | PT_W | PT_U));
    } else {
        l2.vmcb->cr3 = pa(moved_page(PT_P | PT_W | PT_U | PT_A | PT_D));
    }
    l2.vmcb->tlb_control = 1;
    t_eq("tables", "code", l2_run_at(g_c_read), EXIT_VMMCALL);
    t_eq("tables", "value", l2.vmcb->rax, 0x2222);
    l2.vmcb->clean = ALL_CLEAN;
    (void)l2_run_at(g_c_read);
    t_eq("tables", "kept", l2.vmcb->rax, 0x2222);
}

static void state_groups(enum l2_mode mode)
{
    begin(mode, CLEAN_CRX);
    l2.vmcb->cr0 ^= CR0_NE;
    (void)l2_run_at(g_c_cr0);
    t_eq("cr0", "value", (l2.vmcb->rax ^ rt_read_cr0()) & CR0_NE, CR0_NE);
    begin(mode, CLEAN_DRX);
    l2.vmcb->dr7 = 0x700;
    (void)l2_run_at(g_c_dr7);
    t_eq("dr7", "value", l2.vmcb->rax, 0x700);
    begin(mode, CLEAN_DT);
    l2.vmcb->gdtr.limit++;
    (void)l2_run_at(g_c_sgdt);
    t_eq("gdtr", "limit", l2.vmcb->rax, l2.vmcb->gdtr.limit & 0xffff);
    begin(mode, CLEAN_SEG);
    l2.vmcb->ds.selector = 0x1230;
    (void)l2_run_at(g_c_ds);
    t_eq("ds", "selector", l2.vmcb->rax, 0x1230);
    begin(mode, CLEAN_CR2);
    l2.vmcb->cr2 = 0x12345000;
    (void)l2_run_at(g_c_cr2);
    t_eq("cr2", "value", l2.vmcb->rax, 0x12345000);
}

/* [APM 2 "VMCB Clean Field"]: no bit covers these. */
static void uncovered(enum l2_mode mode)
{
    begin(mode, 0);
    l2.vmcb->rflags = RF_FIXED | RF_CF;
    (void)l2_run_at(g_c_flags);
    t_eq("uncovered", "rflags", l2.vmcb->rax & RF_CF, RF_CF);
    l2.vmcb->clean = ALL_CLEAN;
    l2.vmcb->rsp -= 64;
    (void)l2_run_at(g_c_rsp);
    t_eq("uncovered", "rsp", l2.vmcb->rax, AT(l2_stack_top) - 8 - 64);
    l2.vmcb->clean = ALL_CLEAN;
    l2.vmcb->event_inj = EVT_VALID | EVT_EXC | VEC_UD;
    l2.vmcb->exceptions = ~(1u << VEC_NMI);
    t_eq("uncovered", "bad-event-type", l2_run_at(g_c_nop), EXIT_VMMCALL);
    t_eq("uncovered", "event", trap.vector, VEC_UD);
    l2.vmcb->clean = ALL_CLEAN;
    l2.vmcb->event_inj = EVT_VALID | EVT_EXC | VEC_NMI;
    t_check("uncovered", "event-checked", l2_is_invalid(l2_run_at(g_c_nop)));
}

static void own_changes(enum l2_mode mode)
{
    begin(mode, 0);
    t_eq("own", "code", l2_run_at(g_c_set_ds), EXIT_VMMCALL);
    t_eq("own", "saved", l2.vmcb->ds.selector, 0);
    l2.vmcb->clean = ALL_CLEAN;
    l2.vmcb->rax = 0x5555;
    (void)l2_run_at(g_c_ds);
    t_eq("own", "kept", l2.vmcb->rax, 0);
}

/* Another VMCB ran in between: each goes on with its own. */
static void two_vmcbs(enum l2_mode mode)
{
    begin(mode, CLEAN_SEG);
    l2.vmcb->ds.selector = 0x4560;
    (void)l2_run_at(g_c_ds);
    l2_init_vmcb(&vmcb_b, mode);
    l2.vmcb = &vmcb_b;
    l2.vmcb->ds.selector = 0x7890;
    (void)l2_run_at(g_c_ds);
    t_eq("two", "second", l2.vmcb->rax, 0x7890);
    l2.vmcb = &vmcb_a;
    l2.vmcb->clean = ALL_CLEAN;
    (void)l2_run_at(g_c_ds);
    t_eq("two", "first-again", l2.vmcb->rax, 0x4560);
    l2.vmcb = &vmcb_b;
    l2.vmcb->clean = ALL_CLEAN;
    (void)l2_run_at(g_c_ds);
    t_eq("two", "second-again", l2.vmcb->rax, 0x7890);
}

void test_clean(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("clean", l2_mode_name(modes[m]));
        control_groups(modes[m]);
        tables(modes[m]);
        state_groups(modes[m]);
        uncovered(modes[m]);
        own_changes(modes[m]);
        two_vmcbs(modes[m]);
    }
}
