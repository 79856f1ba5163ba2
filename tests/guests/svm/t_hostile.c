/* SPDX-License-Identifier: MIT */
/*
 * An L1 that sets what it should not: control bits of features nobody announced, clean bits, maps
 * and tables where there is no memory, an L2 that writes its own VMCB. Announced or not, such bits
 * must have no effect; and where the manual leaves the outcome open, L1 must live to tell.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

/* No RAM there on any machine the image runs on: the PCI hole below the APICs. */
#define NO_RAM 0xe8000000ull

SNIPPET(g_h_nop, "", "nop");
SNIPPET(g_h_cpuid, "xor %eax, %eax", "cpuid");
SNIPPET(g_h_vmload, "lea vmcb_scratch(%rip), %rax", "vmload %rax");
SNIPPET(g_h_out, "mov $0x80, %edx", "outb %al, %dx");
SNIPPET(g_h_rdmsr, "mov $0x277, %ecx", "rdmsr");
SNIPPET(g_h_read, "", "mov l2_page(%rip), %rax");
/* RBX: the VMCB. L2 clears its CPUID intercept, changes its ASID and its RIP there. */
SNIPPET(g_h_own_vmcb, "movl $0, 0xc(%rbx); movl $0, 0x58(%rbx); movq $0x1234, 0x578(%rbx);"
                      "xor %eax, %eax",
        "cpuid");

static void vmrun_op(uint64_t rax, uint64_t unused)
{
    (void)unused;
    __asm__ volatile("clgi; vmrun %%rax; stgi" ::"a"(rax) : "rbx", "rcx", "rdx", "rsi", "rdi", "r8",
                     "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

/*
 * Clean bits that lie. A CPU that does not announce them takes the new values; one that does may take
 * either, for each group as a whole, and L1 lives in any case [APM 2 "VMCB Clean Bits"].
 */
static void clean_bits(enum l2_mode mode)
{
    bool cached = cpu_has_clean_bits();
    uint64_t *other;
    uint64_t code;

    l2_reset(mode);
    /* The first run is honest: what an earlier test's L2 had is no state to go on with. */
    t_eq("clean-bits", "first", l2_run_at(g_h_cpuid), EXIT_VMMCALL);
    l2_intercept(ICPT_CPUID, true);
    l2.vmcb->clean = 0xffffffff;
    code = l2_run_at(g_h_cpuid);
    t_check("clean-bits", "intercepts",
            code == EXIT_MISC(ICPT_CPUID) || (cached && code == EXIT_VMMCALL));
    other = pt_identity(PT_P | PT_W | PT_U | PT_A | PT_D);
    *(uint64_t *)(void *)&l2_page[0] = 0x1111;
    *(uint64_t *)(void *)&l2_page[4096] = 0x2222;
    *pt_entry(other, pa(l2_page), 1) = pa(&l2_page[4096]) | PT_P | PT_W | PT_U | PT_A | PT_D;
    if (mode == L2_NPT) {
        l2.vmcb->ncr3 = pa(other);
    } else {
        l2.vmcb->cr3 = pa(other);
    }
    l2.vmcb->clean = 0xffffffff;
    l2.vmcb->tlb_control = 1;
    t_eq("clean-bits", "root", l2_run_at(g_h_read), EXIT_VMMCALL);
    t_check("clean-bits", "root-value",
            l2.vmcb->rax == 0x2222 || (cached && l2.vmcb->rax == 0x1111));
    l2.vmcb->asid = 0;
    l2.vmcb->clean = 0xffffffff;
    code = l2_run_at(g_h_nop);
    t_check("clean-bits", "asid-0", l2_is_invalid(code) || (cached && code == EXIT_VMMCALL));
}

/* Virtual VMLOAD/VMSAVE is announced by no CPU here: an intercept is an intercept. */
static void unannounced(enum l2_mode mode)
{
    l2_reset(mode);
    l2.vmcb->lbr = 2;
    l2_intercept(ICPT_VMLOAD, true);
    t_eq("virtual-vmload", "code", l2_run_at(g_h_vmload), EXIT_MISC(ICPT_VMLOAD));
    l2_reset(mode);
    l2.vmcb->pause_count = 0xffff;
    l2.vmcb->misc[2] = 0xffffffff;
    t_eq("third-word", "code", l2_run_at(g_h_nop), EXIT_VMMCALL);
    l2_reset(mode);
    l2.vmcb->avic_bar = ~0ull;
    l2.vmcb->ghcb = ~0ull;
    memset(l2.vmcb->reserved_0e0, 0xff, sizeof l2.vmcb->reserved_0e0);
    memset(l2.vmcb->reserved_018, 0xff, sizeof l2.vmcb->reserved_018);
    t_eq("reserved-areas", "code", l2_run_at(g_h_nop), EXIT_VMMCALL);
}

/* What L2 writes into its VMCB is neither its control now nor its state after. */
static void own_vmcb(enum l2_mode mode)
{
    l2_reset(mode);
    l2_intercept(ICPT_CPUID, true);
    l2.g.rbx = pa(l2.vmcb);
    t_eq("own-vmcb", "code", l2_run_at(g_h_own_vmcb), EXIT_MISC(ICPT_CPUID));
    t_eq("own-vmcb", "rip", l2.vmcb->rip, pa(g_h_own_vmcb_at));
    t_eq("own-vmcb", "write-stays", l2.vmcb->misc[0] | l2.vmcb->asid, 0);
}

/* One page for everything: VMCB, I/O map, MSR map. */
static void overlapping(enum l2_mode mode)
{
    l2_reset(mode);
    l2.vmcb->iopm_pa = pa(l2.vmcb);
    l2.vmcb->msrpm_pa = pa(l2.vmcb);
    t_eq("overlap", "code", l2_run_at(g_h_nop), EXIT_VMMCALL);
}

/* Open outcomes: read as zeros, as ones, or refused. Only survival is the check. */
static void outside_ram(enum l2_mode mode)
{
    uint64_t code;

    l2_reset(mode);
    l2_intercept(ICPT_IOIO, true);
    l2.vmcb->iopm_pa = NO_RAM;
    code = l2_run_at(g_h_out);
    t_check("outside-ram", "iopm",
            code == EXIT_VMMCALL || code == EXIT_IOIO || l2_is_invalid(code));
    l2_reset(mode);
    l2_intercept(ICPT_MSR, true);
    l2.vmcb->msrpm_pa = NO_RAM;
    code = l2_run_at(g_h_rdmsr);
    t_check("outside-ram", "msrpm",
            code == EXIT_VMMCALL || code == EXIT_MSR || l2_is_invalid(code));
    l2_reset(mode);
    t_eq("outside-ram", "next-run", l2_run_at(g_h_nop), EXIT_VMMCALL);
}

static void vmcb_outside_ram(void)
{
    int v;

    if (t_skip("vmcb-outside-ram")) {
        return;
    }
    l2_reset(L2_NPT);
    v = try_call(vmrun_op, NO_RAM, 0);
    x_stgi();
    t_check("vmcb-outside-ram", "survived", v == NO_TRAP || v == VEC_GP);
    t_eq("vmcb-outside-ram", "next-run", l2_run_at(g_h_nop), EXIT_VMMCALL);
}

/* Nested tables without memory, of junk, or of themselves. */
static void junk_tables(void)
{
    l2_reset(L2_NPT);
    l2.vmcb->ncr3 = NO_RAM;
    t_eq("junk-npt", "no-ram", l2_run_at(g_h_read), EXIT_NPF);
    l2_reset(L2_NPT);
    memset(l2_page, 0xff, sizeof l2_page);
    l2.vmcb->ncr3 = pa(l2_page);
    t_eq("junk-npt", "all-ones", l2_run_at(g_h_read), EXIT_NPF);
    l2_reset(L2_NPT);
    l2.npt[0] = NO_RAM | PT_P | PT_W | PT_U;
    t_eq("junk-npt", "pdpt-no-ram", l2_run_at(g_h_read), EXIT_NPF);
    l2_reset(L2_NPT);
    l2.vmcb->ncr3 = (1ull << cpu_phys_bits()) - 0x1000;
    t_eq("junk-npt", "top-of-space", l2_run_at(g_h_read), EXIT_NPF);
    /* A leaf to where there is no RAM is a device as far as anyone knows: the read completes. */
    l2_reset(L2_NPT);
    *pt_entry(l2.npt, pa(l2_page), 1) = NO_RAM | PT_P | PT_W | PT_U;
    t_eq("junk-npt", "leaf-no-ram", l2_run_at(g_h_read), EXIT_VMMCALL);
    l2_reset(L2_NPT);
    t_eq("junk-npt", "next-run", l2_run_at(g_h_nop), EXIT_VMMCALL);
}

/* A refused VMRUN is an exit like others where GIF is concerned. [APM 2 "#VMEXIT"] */
static void gif_after_refusal(enum l2_mode mode)
{
    uint32_t before = trap.count[VEC_IPI];

    l2_reset(mode);
    l2.vmcb->asid = 0;
    l2.flags = L2_NO_STGI;
    t_check("refused", "code", l2_is_invalid(l2_run_at(g_h_nop)));
    x_sti();
    lapic_self_ipi(VEC_IPI);
    t_eq("refused", "gif-0", trap.count[VEC_IPI] - before, 0);
    x_stgi();
    rt_cli();
    t_eq("refused", "stgi-delivers", trap.count[VEC_IPI] - before, 1);
}

/* Reserved values of TLB_CONTROL, flushing twice, flushing nothing: L2 runs all the same. */
static void tlb_control(enum l2_mode mode)
{
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7"};

    l2_reset(mode);
    for (uint32_t value = 0; value < 8; value++) {
        l2.vmcb->tlb_control = value;
        t_eq("tlb-control", names[value], l2_run_at(g_h_nop), EXIT_VMMCALL);
    }
}

void test_hostile(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("hostile", l2_mode_name(modes[m]));
        clean_bits(modes[m]);
        unannounced(modes[m]);
        own_vmcb(modes[m]);
        overlapping(modes[m]);
        outside_ram(modes[m]);
        gif_after_refusal(modes[m]);
        tlb_control(modes[m]);
    }
    t_group("hostile", NULL);
    vmcb_outside_ram();
    junk_tables();
}
