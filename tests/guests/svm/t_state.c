/* SPDX-License-Identifier: MIT */
/*
 * What one VMRUN and #VMEXIT move: L2's state into the VMCB and nothing else there, L1's state back
 * and nothing else of the CPU. [APM 2 "Saving Host State"], [APM 2 "#VMEXIT"]. VMLOAD and VMSAVE
 * are left out of the world switch here (L2_NO_LOAD), so that what they would hide is seen.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

/* L2 changes all it has. RBX: another CR3. R8, R9: operands for LGDT, LIDT. */
SNIPPET(g_change_all,
        "mov %rbx, %cr3; lgdt (%r8); lidt (%r9); mov $0x28, %eax; mov %eax, %ds; mov %eax, %es\n"
        "mov $0xc0000102, %ecx; mov $0x1000, %eax; mov $0x12, %edx; wrmsr\n"
        "mov $0xc0000081, %ecx; mov $0x2000, %eax; mov $0x34, %edx; wrmsr\n"
        "mov $0xc0000100, %ecx; mov $0x3000, %eax; mov $0x56, %edx; wrmsr\n"
        "mov $0x174, %ecx; mov $0x4000, %eax; xor %edx, %edx; wrmsr\n"
        "mov $0xc0000080, %ecx; rdmsr; and $~1, %eax; wrmsr\n"
        "mov %cr4, %rax; or $4, %eax; mov %rax, %cr4\n"
        "mov $0x7777, %eax; mov %rax, %cr2\n"
        "mov $0xffff0ff1, %eax; mov %rax, %dr6; mov $0x700, %eax; mov %rax, %dr7\n"
        "mov %cr0, %rax; or $8, %eax; mov %rax, %cr0\n"
        "sub $0x40, %rsp; pushq $0xcd7; popfq; movabs $0x1122334455667788, %rax",
        "vmmcall");

static uint64_t gif_ipis;

struct before {
    uint64_t cr0, cr3, cr4, efer;
    struct rt_dtr gdt, idt;
    uint16_t ds, es;
    struct vmcb vmcb;
};
static struct before before;
static struct rt_dtr l2_gdt, l2_idt;

/* Fields that VMLOAD would load: with L2_NO_LOAD nobody may read or write them. */
static void fill_unused(struct vmcb *v)
{
    memset(&v->fs, 0x5a, 2 * sizeof v->fs);
    memset(&v->ldtr, 0x5a, sizeof v->ldtr);
    memset(&v->tr, 0x5a, sizeof v->tr);
    memset(&v->star, 0x5a, offsetof(struct vmcb, cr2) - offsetof(struct vmcb, star));
    v->rax = 0x4242;
}

static void run_it(enum l2_mode mode)
{
    uint64_t *other;

    l2_reset(mode);
    other = pt_identity(PT_P | PT_W | PT_U);
    l2_gdt = (struct rt_dtr){GDT_LIMIT - 16, pa(gdt_storage)};
    l2_idt = (struct rt_dtr){IDT_LIMIT - 16, pa(idt_storage)};
    l2.g.rbx = pa(other);
    l2.g.r8 = pa(&l2_gdt);
    l2.g.r9 = pa(&l2_idt);
    l2.g.r15 = 0xf15;
    fill_unused(l2.vmcb);
    rt_wrmsr(MSR_KERNEL_GS_BASE, 0xaaaa000);
    rt_wrmsr(MSR_LSTAR, 0xbbbb000);
    rt_write_dr0(0x123456780);
    rt_write_dr7(0x401);
    rt_write_cr2(0x9999);
    before.cr0 = rt_read_cr0();
    before.cr3 = rt_read_cr3();
    before.cr4 = rt_read_cr4();
    before.efer = rt_rdmsr(MSR_EFER);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(SEL_DATA));
    before.ds = rt_read_ds();
    before.es = rt_read_es();
    before.gdt = rt_sgdt();
    before.idt = rt_sidt();
    before.vmcb = *l2.vmcb;
    l2.flags = L2_NO_LOAD | L2_NO_STGI;
    t_eq("exit", "code", l2_run_at(g_change_all), EXIT_VMMCALL);
}

/* GIF is 0 after the exit: an interrupt for L1 waits although IF is 1, and comes with STGI. */
static void gif_is_clear(void)
{
    gif_ipis = trap.count[VEC_IPI];
    x_sti();
    lapic_self_ipi(VEC_IPI);
    t_eq("host", "gif-0", trap.count[VEC_IPI], gif_ipis);
    x_stgi();
    rt_cli();
    t_eq("host", "gif-1-delivers", trap.count[VEC_IPI], gif_ipis + 1);
}

static void host_restored(void)
{
    t_eq("host", "cr0", rt_read_cr0(), before.cr0);
    t_eq("host", "cr3", rt_read_cr3(), before.cr3);
    t_eq("host", "cr4", rt_read_cr4(), before.cr4);
    t_eq("host", "efer", rt_rdmsr(MSR_EFER), before.efer);
    t_check("host", "gdtr",
            rt_sgdt().limit == before.gdt.limit && rt_sgdt().base == before.gdt.base);
    t_check("host", "idtr",
            rt_sidt().limit == before.idt.limit && rt_sidt().base == before.idt.base);
    t_eq("host", "cs", rt_read_cs(), SEL_CODE64);
    t_eq("host", "ss", rt_read_ss(), SEL_DATA);
    t_eq("host", "ds", rt_read_ds(), before.ds);
    t_eq("host", "es", rt_read_es(), before.es);
    t_eq("host", "rax", l2.g.host_rax, pa(l2.vmcb));
    /* TEST in l2_switch left ZF and PF; L2's own flags (CF, DF ...) must not be here. */
    t_eq("host", "rflags", l2.g.host_rflags & 0xcd5, 0x44);
    t_eq("host", "dr7", rt_read_dr7(), 0x400);
}

/* What #VMEXIT does not touch stays as L2 left it. */
static void left_alone(void)
{
    t_eq("kept", "kernel-gs-base", rt_rdmsr(MSR_KERNEL_GS_BASE), 0x1200001000);
    t_eq("kept", "star", rt_rdmsr(MSR_STAR), 0x3400002000);
    t_eq("kept", "fs-base", rt_rdmsr(MSR_FS_BASE), 0x5600003000);
    t_eq("kept", "sysenter-cs", rt_rdmsr(MSR_SYSENTER_CS), 0x4000);
    t_eq("kept", "lstar", rt_rdmsr(MSR_LSTAR), 0xbbbb000);
    t_eq("kept", "tr", rt_str(), SEL_TSS);
    t_eq("kept", "ldtr", rt_sldt(), 0);
    t_eq("kept", "dr0", rt_read_dr0(), 0x123456780);
    t_eq("kept", "cr2", rt_read_cr2(), 0x7777);
    t_eq("kept", "r15", l2.g.r15, 0xf15);
}

static void guest_saved(void)
{
    const struct vmcb *v = l2.vmcb;

    t_eq("saved", "rip", v->rip, pa(g_change_all_at));
    t_eq("saved", "rsp", v->rsp, before.vmcb.rsp - 0x40);
    t_eq("saved", "rax", v->rax, 0x1122334455667788);
    t_eq("saved", "rflags", v->rflags, 0xcd7);
    t_eq("saved", "cr0", v->cr0, before.vmcb.cr0 | CR0_TS);
    t_eq("saved", "cr2", v->cr2, 0x7777);
    t_eq("saved", "cr3", v->cr3, l2.g.rbx);
    t_eq("saved", "cr4", v->cr4, before.vmcb.cr4 | CR4_TSD);
    t_eq("saved", "efer", v->efer, before.vmcb.efer & ~EFER_SCE);
    t_eq("saved", "dr6", v->dr6, 0xffff0ff1);
    t_eq("saved", "dr7", v->dr7, 0x700);
    t_eq("saved", "cpl", v->cpl, 0);
    t_eq("saved", "cs-selector", v->cs.selector, SEL_CODE64);
    t_eq("saved", "cs-long", v->cs.attrib & 0x6fb, 0x29b & 0x6fb);
    t_eq("saved", "ds-selector", v->ds.selector, SEL_UDATA);
    t_eq("saved", "ds-attributes", v->ds.attrib, 0xcf3);
    t_eq("saved", "ds-limit", v->ds.limit, 0xffffffff);
    t_eq("saved", "es-selector", v->es.selector, SEL_UDATA);
    t_eq("saved", "ss-selector", v->ss.selector, SEL_DATA);
    t_eq("saved", "gdtr-limit", v->gdtr.limit, GDT_LIMIT - 16);
    t_eq("saved", "gdtr-base", v->gdtr.base, pa(gdt_storage));
    t_eq("saved", "idtr-limit", v->idtr.limit, IDT_LIMIT - 16);
    t_eq("saved", "exit-int-info", v->exit_int & EVT_VALID, 0);
    t_eq("saved", "int-state", v->int_state & 1, 0);
}

/* Bytes #VMEXIT may write: exit information, interrupt state and the state VMRUN loads. */
static bool exit_writes(unsigned int at)
{
    static const uint16_t ranges[][2] = {
        {0x05c, 0x060}, {0x060, 0x090}, {0x0a8, 0x0b0}, {0x0c8, 0x0e0}, {0x400, 0x440},
        {0x460, 0x470}, {0x480, 0x490}, {0x4cb, 0x4cc}, {0x4d0, 0x4d8}, {0x548, 0x580},
        {0x5d8, 0x600}, {0x640, 0x648}, {0x668, 0x670},
    };

    for (unsigned int i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (at >= ranges[i][0] && at < ranges[i][1]) {
            return true;
        }
    }
    return false;
}

static void rest_untouched(void)
{
    const uint8_t *now = (const uint8_t *)l2.vmcb;
    const uint8_t *then = (const uint8_t *)&before.vmcb;
    unsigned int control = 0, state = 0;

    for (unsigned int i = 0; i < sizeof(struct vmcb); i++) {
        bool changed = !exit_writes(i) && now[i] != then[i];

        control += changed && i < 0x400;
        state += changed && i >= 0x400;
    }
    t_eq("untouched", "control-area", control, 0);
    t_eq("untouched", "save-area", state, 0);
    t_eq("untouched", "intercepts", l2.vmcb->exceptions, before.vmcb.exceptions);
}

static void moves(enum l2_mode mode)
{
    static _Alignas(4096) struct vmcb mine;

    x_vmsave(&mine);
    run_it(mode);
    gif_is_clear();
    host_restored();
    left_alone();
    guest_saved();
    rest_untouched();
    x_vmload(&mine);
    rt_write_dr7(0x400);
}

/* EFLAGS.IF of L1 survives: it was 1 at VMRUN, so it is 1 after. */
static void host_if(enum l2_mode mode)
{
    l2_reset(mode);
    l2.flags = L2_HOST_IF;
    t_eq("host-if", "code", l2_run_at(g_change_all_at), EXIT_VMMCALL);
    t_eq("host-if", "kept", l2.g.host_rflags & RF_IF, RF_IF);
    l2.vmcb->rflags |= RF_IF;
    l2.flags = 0;
    t_eq("host-if", "code-0", l2_run_at(g_change_all_at), EXIT_VMMCALL);
    t_eq("host-if", "kept-0", l2.g.host_rflags & RF_IF, 0);
}

SNIPPET(g_regs, "add $1, %rbx; add $2, %rcx; add $3, %rdx; add $4, %rsi; add $5, %rdi;"
                "add $6, %rbp; add $7, %r8; add $8, %r9; add $9, %r10; add $10, %r11;"
                "add $11, %r12; add $12, %r13; add $13, %r14; add $14, %r15; add $15, %rax", "nop");

/* The registers VMRUN does not switch pass both ways; RAX and RSP come from the VMCB. */
static void general_registers(enum l2_mode mode)
{
    uint64_t *g = &l2.g.rbx;
    unsigned int wrong = 0;

    l2_reset(mode);
    for (unsigned int i = 0; i < 14; i++) {
        g[i] = 0x1000000000000000ull * (i + 1);
    }
    l2.vmcb->rax = 0x77;
    t_eq("gpr", "code", l2_run_at(g_regs), EXIT_VMMCALL);
    for (unsigned int i = 0; i < 14; i++) {
        wrong += g[i] != 0x1000000000000000ull * (i + 1) + i + 1;
    }
    t_eq("gpr", "values", wrong, 0);
    t_eq("gpr", "rax", l2.vmcb->rax, 0x77 + 15);
}

SNIPPET(g_loop, "xor %edi, %edi", "1: cpuid; inc %edi; sub $1, %r8; jnz 1b");

/* A thousand exits in a row, each answered by L1. */
static void round_trips(enum l2_mode mode)
{
    unsigned int exits = 0, wrong = 0;
    uint64_t code;

    l2_reset(mode);
    l2_intercept(ICPT_CPUID, true);
    l2.g.r8 = 1000;
    code = l2_run_at(g_loop);
    while (code == EXIT_MISC(ICPT_CPUID) && exits < 2000) {
        wrong += l2.g.rdi != exits || l2.g.r8 != 1000 - exits;
        l2.vmcb->rax = exits;
        exits++;
        code = l2_resume(2);
    }
    t_eq("round-trips", "code", code, EXIT_VMMCALL);
    t_eq("round-trips", "exits", exits, 1000);
    t_eq("round-trips", "registers", wrong, 0);
    t_eq("round-trips", "last-rax", l2.vmcb->rax, 999);
}

SNIPPET(g_tsc, "", "rdtsc");

static void tsc_offset(enum l2_mode mode)
{
    static const uint64_t offsets[] = {0, 1ull << 40, (uint64_t) - (1ll << 40)};
    static const char *const names[] = {"zero", "plus", "minus"};

    for (unsigned int i = 0; i < 3; i++) {
        uint64_t first, last, seen;
        char name[24];

        rt_snprintf(name, sizeof name, "tsc-offset-%s", names[i]);
        l2_reset(mode);
        l2.vmcb->tsc_offset = offsets[i];
        first = rt_rdtsc();
        t_eq(name, "code", l2_run_at(g_tsc), EXIT_VMMCALL);
        last = rt_rdtsc();
        seen = ((l2.g.rdx << 32) | (uint32_t)l2.vmcb->rax) - offsets[i];
        t_check(name, "added", seen >= first && seen <= last);
        t_check(name, "host-unchanged", last - first < 1ull << 32);
    }
}

SNIPPET(g_pat_read, "mov $0x277, %ecx", "rdmsr");
SNIPPET(g_pat_write, "mov $0x277, %ecx; mov $0x00070106, %eax; mov $0x00070406, %edx", "wrmsr");

/* With nested paging L2 has a PAT of its own in the VMCB. [APM 2 "Nested Paging and PAT"] */
static void guest_pat(void)
{
    uint64_t host_pat = rt_rdmsr(MSR_PAT);

    l2_reset(L2_NPT);
    l2.vmcb->g_pat = 0x0606060606060606;
    t_eq("pat", "code", l2_run_at(g_pat_read), EXIT_VMMCALL);
    t_eq("pat", "l2-low", l2.vmcb->rax & 0xffffffff, 0x06060606);
    t_eq("pat", "l2-high", l2.g.rdx, 0x06060606);
    t_eq("pat", "host-kept", rt_rdmsr(MSR_PAT), host_pat);
    t_eq("pat", "write", l2_run_at(g_pat_write), EXIT_VMMCALL);
    t_eq("pat", "saved", l2.vmcb->g_pat, 0x0007040600070106);
    t_eq("pat", "host-kept-after-write", rt_rdmsr(MSR_PAT), host_pat);
    rt_wrmsr(MSR_PAT, host_pat);
}

/* The decoder's cache of L1's VMLOAD state: what L2 VMSAVEs is L2's, not L1's. */
SNIPPET(g_l2_vmsave, "mov $0xc0000102, %ecx; mov $0x5000, %eax; xor %edx, %edx; wrmsr;"
                  "lea vmcb_scratch(%rip), %rax", "vmsave %rax");
SNIPPET(g_l2_vmload, "lea vmcb_scratch(%rip), %rax", "vmload %rax; mov $0xc0000102, %ecx; rdmsr");

static void l2_vmload_vmsave(enum l2_mode mode)
{
    if (t_skip("l2-vmsave")) {
        return;
    }
    l2_reset(mode);
    memset(&vmcb_scratch, 0, sizeof vmcb_scratch);
    rt_wrmsr(MSR_KERNEL_GS_BASE, 0xaaaa000);
    t_eq("l2-vmsave", "code", l2_run_at(g_l2_vmsave), EXIT_VMMCALL);
    t_eq("l2-vmsave", "value", vmcb_scratch.kernel_gs_base, 0x5000);
    t_eq("l2-vmsave", "tr", vmcb_scratch.tr.selector, SEL_TSS);
    t_eq("l2-vmsave", "host-kept", rt_rdmsr(MSR_KERNEL_GS_BASE), 0xaaaa000);
    vmcb_scratch.kernel_gs_base = 0x6000;
    t_eq("l2-vmload", "code", l2_run_at(g_l2_vmload), EXIT_VMMCALL);
    t_eq("l2-vmload", "value", l2.vmcb->rax, 0x6000);
    t_eq("l2-vmload", "saved", l2.vmcb->kernel_gs_base, 0x6000);
    t_eq("l2-vmload", "host-kept", rt_rdmsr(MSR_KERNEL_GS_BASE), 0xaaaa000);
}

void test_state(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("state", l2_mode_name(modes[m]));
        moves(modes[m]);
        host_if(modes[m]);
        general_registers(modes[m]);
        round_trips(modes[m]);
        tsc_offset(modes[m]);
        l2_vmload_vmsave(modes[m]);
    }
    t_group("state", "npt");
    guest_pat();
}
