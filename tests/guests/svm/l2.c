/* SPDX-License-Identifier: MIT */
/*
 * Builds and runs L2s. The starting point is the state L1 itself runs in, so that L2 code can be
 * ordinary functions of this image; everything that could surprise is intercepted at first
 * (all exceptions, shutdown, VMMCALL) and a test opens what it wants to see pass.
 */
#include "l2.h"

#include "cpu.h"
#include "paging.h"
#include "t.h"

struct l2 l2;
_Alignas(4096) struct vmcb vmcb_a, vmcb_b, vmcb_host, vmcb_scratch;
_Alignas(4096) uint8_t iopm[3 * 4096];
_Alignas(4096) uint8_t msrpm[2 * 4096];
_Alignas(4096) uint8_t l2_page[2 * 4096];
static _Alignas(4096) uint8_t hsave[4096];

__asm__(".pushsection .bss\n.balign 4096\n.skip 16384\n.globl l2_stack_top\nl2_stack_top:\n"
        ".skip 4096\n.popsection\n");

static unsigned int pool_base;
static bool pool_base_known;

const char *l2_mode_name(enum l2_mode mode)
{
    return mode == L2_NPT ? "npt" : "shadow";
}

static uint32_t svm_features(void)
{
    return rt_cpuid(0x8000000a, 0).edx;
}

bool cpu_has_npt(void)
{
    return svm_features() & 1;
}

bool cpu_has_nrips(void)
{
    return (svm_features() >> 3) & 1;
}

bool cpu_has_flush_by_asid(void)
{
    return (svm_features() >> 6) & 1;
}

bool cpu_has_clean_bits(void)
{
    return (svm_features() >> 5) & 1;
}

bool cpu_has_virtual_gif(void)
{
    return (svm_features() >> 16) & 1;
}

static void set_seg(struct vmcb_seg *s, uint16_t selector, uint16_t attrib, uint32_t limit)
{
    s->selector = selector;
    s->attrib = attrib;
    s->limit = limit;
    s->base = 0;
}

static void set_long_mode(struct vmcb *v)
{
    set_seg(&v->cs, SEL_CODE64, 0xa9b, 0xffffffff);
    set_seg(&v->ss, SEL_DATA, 0xc93, 0xffffffff);
    v->ds = v->ss;
    v->es = v->ss;
    set_seg(&v->gdtr, 0, 0, GDT_LIMIT);
    v->gdtr.base = pa(gdt_storage);
    set_seg(&v->idtr, 0, 0, IDT_LIMIT);
    v->idtr.base = pa(idt_storage);
    v->efer = rt_rdmsr(MSR_EFER);
    v->cr0 = rt_read_cr0();
    v->cr4 = rt_read_cr4();
    v->cr3 = pa(l2.cr3);
    v->dr6 = 0xffff0ff0;
    v->dr7 = 0x400;
    v->rflags = RF_FIXED;
    v->rsp = AT(l2_stack_top) - 8;
    v->g_pat = rt_rdmsr(MSR_PAT);
}

void l2_init_vmcb(struct vmcb *v, enum l2_mode mode)
{
    memset(v, 0, sizeof *v);
    x_vmsave(v);
    set_long_mode(v);
    v->exceptions = ~(1u << VEC_NMI);
    v->misc[0] = 1u << ICPT_SHUTDOWN;
    v->misc[1] = (1u << (ICPT_VMRUN - 32)) | (1u << (ICPT_VMMCALL - 32));
    v->iopm_pa = pa(iopm);
    v->msrpm_pa = pa(msrpm);
    v->asid = 1;
    v->tlb_control = 1;
    if (mode == L2_NPT) {
        v->np_enable = 1;
        v->ncr3 = pa(l2.npt);
    }
}

void l2_reset(enum l2_mode mode)
{
    if (!pool_base_known) {
        pool_base = pages_mark();
        pool_base_known = true;
    }
    pages_release(pool_base);
    memset(&l2, 0, sizeof l2);
    memset(iopm, 0, sizeof iopm);
    memset(msrpm, 0, sizeof msrpm);
    memset(l2_page, 0, sizeof l2_page);
    rt_wrmsr(MSR_EFER, rt_rdmsr(MSR_EFER) | EFER_SVME);
    rt_wrmsr(MSR_VM_HSAVE_PA, pa(hsave));
    l2.mode = mode;
    l2.vmcb = &vmcb_a;
    l2.cr3 = pt_identity(PT_P | PT_W | PT_U | PT_A | PT_D);
    if (mode == L2_NPT) {
        l2.npt = pt_identity(PT_P | PT_W | PT_U);
    }
    l2_init_vmcb(l2.vmcb, mode);
}

SNIPPET(g_warm,
        "lea idt_storage(%rip), %rax; mov (%rax), %rcx; mov 0xfff(%rax), %cl;"
        "mov gdt_storage+8(%rip), %rcx; push %rax; pop %rax",
        "nop");

void l2_warm(void)
{
    struct vmcb keep = *l2.vmcb;
    struct l2_gpr gprs = l2.g;
    uint32_t flags = l2.flags;

    l2.vmcb->rflags = RF_FIXED;
    l2.vmcb->event_inj = 0;
    l2.vmcb->vintr = 0;
    l2.vmcb->misc[0] = 1u << ICPT_SHUTDOWN;
    l2.flags = 0;
    (void)l2_run_at(g_warm);
    *l2.vmcb = keep;
    l2.vmcb->tlb_control = 0;
    l2.g = gprs;
    l2.flags = flags;
}

void l2_user(void)
{
    set_seg(&l2.vmcb->cs, SEL_UCODE64 | 3, 0xafb, 0xffffffff);
    set_seg(&l2.vmcb->ss, SEL_UDATA | 3, 0xcf3, 0xffffffff);
    l2.vmcb->cpl = 3;
}

void l2_intercept(unsigned int bit, bool on)
{
    uint32_t mask = 1u << (bit % 32);

    if (on) {
        l2.vmcb->misc[bit / 32] |= mask;
    } else {
        l2.vmcb->misc[bit / 32] &= ~mask;
    }
}

/* An exit in the middle of L2's own try_call leaves that frame behind: L1's comes back. */
uint64_t l2_run(void)
{
    uint64_t outer = try_top;

    try_top = 0;
    trap.in_l2 = true;
    l2_switch(l2.vmcb, &l2.g, l2.flags, &vmcb_host);
    trap.in_l2 = false;
    trap.resume = false;
    try_top = outer;
    l2.vmcb->tlb_control = 0;
    return l2.vmcb->exit_code;
}

uint64_t l2_run_at(const void *code)
{
    l2.vmcb->rip = AT(code);
    return l2_run();
}

uint64_t l2_resume(unsigned int len)
{
    l2.vmcb->rip += len;
    return l2_run();
}

/* [APM 2 "VMRUN Instruction"] says -1; QEMU stores only its low 32 bits. */
bool l2_is_invalid(uint64_t exit_code)
{
    return exit_code == EXIT_INVALID || exit_code == 0xffffffffu;
}
