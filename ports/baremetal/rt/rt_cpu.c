/* SPDX-License-Identifier: MIT */
/*
 * Descriptor tables, identity map, exception dispatch and relocation of the bare-metal runtime.
 * Every address is taken from symbols at the moment of use, so the same code serves the image
 * at its link address and, in a PIE, at any other.
 */
#include "rt.h"

#define EFER 0xc0000080u
#define EFER_NXE (1ull << 11)
/* EM, TS and what the firmware may have left of disabled caches. */
#define CR0_CLEARED 0x6000000cull
#define STACK_SIZE 8192u

struct idt_gate {
    uint16_t offset_low, selector, attributes, offset_mid;
    uint32_t offset_high, reserved;
};

struct fixup_row {
    int32_t insn, target;
};

struct rela {
    uint64_t offset, info, addend;
};

/* Hidden, so that a PIE reaches them relative to RIP even before its relocations are applied. */
#pragma GCC visibility push(hidden)
extern char rt_trap_stubs[], rt_stack_top[], rt_boot_tables[];
extern char rt_image_start[], rt_image_end[];
extern const struct fixup_row rt_fixup_start[], rt_fixup_end[];
extern const struct rela rt_rela_start[], rt_rela_end[];
_Noreturn void rt_enter_moved(uint64_t entry, uint64_t stack_top);
void rt_trap(struct rt_trap_frame *frame);
void rt_output_moved(uint64_t delta);
#pragma GCC visibility pop

struct rt_fault rt_fault;
static rt_trap_hook trap_hook;
static void (*moved_entry)(void);

static struct idt_gate idt[256] __attribute__((aligned(16)));
static uint64_t gdt[RT_GDT_ENTRIES] __attribute__((aligned(16)));
static struct rt_tss tss __attribute__((aligned(16)));
/* RSP0, then one stack for each of NMI, #DF and #MC: they may hit while another stack is bad. */
static char trap_stacks[4][STACK_SIZE] __attribute__((aligned(16)));

uint64_t *rt_gdt(void)
{
    return gdt;
}

struct rt_tss *rt_tss(void)
{
    return &tss;
}

uint64_t rt_page_root(void)
{
    return (uint64_t)rt_boot_tables;
}

uint64_t rt_image_begin(void)
{
    return (uint64_t)rt_image_start;
}

uint64_t rt_image_limit(void)
{
    return (uint64_t)rt_image_end;
}

static void build_gdt(void)
{
    uint64_t base = (uint64_t)&tss;

    gdt[RT_SEL_CS64 / 8] = 0x00af9b000000ffffull;
    gdt[RT_SEL_DS / 8] = 0x00cf93000000ffffull;
    gdt[RT_SEL_CS32 / 8] = 0x00cf9b000000ffffull;
    gdt[RT_SEL_DS32 / 8] = 0x00cf93000000ffffull;
    gdt[RT_SEL_USER_CS32 / 8] = 0x00cffb000000ffffull;
    gdt[RT_SEL_USER_DS / 8] = 0x00cff3000000ffffull;
    gdt[RT_SEL_USER_CS64 / 8] = 0x00affb000000ffffull;
    gdt[RT_SEL_CS16 / 8] = 0x00009b000000ffffull;
    gdt[RT_SEL_DS16 / 8] = 0x000093000000ffffull;
    /* A fresh descriptor is "available": LTR refuses the busy one that an earlier load left. */
    gdt[RT_SEL_TSS / 8] = (sizeof(tss) - 1) | ((base & 0xffffffull) << 16) | (0x89ull << 40) |
                          (((base >> 24) & 0xffull) << 56);
    gdt[RT_SEL_TSS / 8 + 1] = base >> 32;
}

static void build_tss(void)
{
    memset(&tss, 0, sizeof(tss));
    tss.rsp[0] = (uint64_t)trap_stacks[0] + STACK_SIZE;
    for (unsigned i = 0; i < 3; i++)
        tss.ist[i] = (uint64_t)trap_stacks[i + 1] + STACK_SIZE;
    tss.iomap_base = sizeof(tss);
}

static void build_idt(void)
{
    for (unsigned v = 0; v < 256; v++) {
        uint64_t stub = (uint64_t)rt_trap_stubs + v * 16u;
        unsigned ist = v == 2 ? 1 : v == 8 ? 2 : v == 18 ? 3 : 0;

        idt[v] = (struct idt_gate){
            .offset_low = (uint16_t)stub,
            .selector = RT_SEL_CS64,
            .attributes = (uint16_t)(0x8e00u | ist),
            .offset_mid = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
        };
    }
}

/* The same layout that boot.S wrote: PML4, PDPT and four page directories, back to back. */
static void build_page_tables(void)
{
    volatile uint64_t *t = (volatile uint64_t *)rt_boot_tables;
    uint64_t base = (uint64_t)rt_boot_tables;

    t[0] = (base + 0x1000) | 3;
    for (uint64_t i = 0; i < 4; i++)
        t[512 + i] = (base + 0x2000 + i * 0x1000) | 3;
    for (uint64_t i = 0; i < 2048; i++)
        t[1024 + i] = (i << 21) | 0x83;
}

static void load_segments(void)
{
    const struct rt_dtr gdtr = {sizeof(gdt) - 1, (uint64_t)gdt};
    const struct rt_dtr idtr = {sizeof(idt) - 1, (uint64_t)idt};

    rt_lgdt(&gdtr);
    __asm__ volatile("pushq %0\n"
                     "leaq 1f(%%rip), %%rax\n"
                     "pushq %%rax\n"
                     "lretq\n"
                     "1:\n"
                     :
                     : "i"(RT_SEL_CS64)
                     : "rax", "memory");
    rt_write_ss(RT_SEL_DS);
    rt_write_ds(RT_SEL_DS);
    rt_write_es(RT_SEL_DS);
    rt_write_fs(0);
    rt_write_gs(0);
    rt_lldt(0);
    rt_ltr(RT_SEL_TSS);
    rt_lidt(&idtr);
}

void rt_cpu_init(void)
{
    build_gdt();
    build_tss();
    build_idt();
    build_page_tables();
    rt_write_cr3(rt_page_root());
    load_segments();
    rt_write_cr0(rt_read_cr0() & ~CR0_CLEARED);
    if ((rt_cpuid(0x80000001u, 0).edx & (1u << 20)) != 0)
        rt_wrmsr(EFER, rt_rdmsr(EFER) | EFER_NXE);
}

rt_trap_hook rt_set_trap_hook(rt_trap_hook hook)
{
    rt_trap_hook before = trap_hook;

    trap_hook = hook;
    return before;
}

static bool apply_fixup(struct rt_trap_frame *f)
{
    for (const struct fixup_row *r = rt_fixup_start; r < rt_fixup_end; r++) {
        uint64_t insn = (uint64_t)&r->insn + (uint64_t)(int64_t)r->insn;

        if (insn != f->rip)
            continue;
        rt_fault.vector = f->vector;
        rt_fault.error = f->error;
        rt_fault.cr2 = rt_read_cr2();
        rt_fault.rip = f->rip;
        rt_fault.count++;
        f->rip = (uint64_t)&r->target + (uint64_t)(int64_t)r->target;
        return true;
    }
    return false;
}

static _Noreturn void report_trap(const struct rt_trap_frame *f)
{
    rt_printf("\nunexpected exception %lu, error 0x%lx, at 0x%lx, cr2 0x%lx\n", f->vector, f->error,
              f->rip, rt_read_cr2());
    rt_printf("cs %lx rflags %lx rsp %lx ss %lx cr0 %lx cr3 %lx cr4 %lx image 0x%lx\n", f->cs,
              f->rflags, f->rsp, f->ss, rt_read_cr0(), rt_read_cr3(), rt_read_cr4(),
              rt_image_begin());
    rt_printf("rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx rbp %lx\n", f->rax, f->rbx, f->rcx,
              f->rdx, f->rsi, f->rdi, f->rbp);
    rt_printf("r8 %lx r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx r14 %lx r15 %lx\n", f->r8, f->r9,
              f->r10, f->r11, f->r12, f->r13, f->r14, f->r15);
    rt_shutdown(1);
}

/* Entered from boot.S for every vector. */
void rt_trap(struct rt_trap_frame *frame)
{
    if (trap_hook != NULL && trap_hook(frame))
        return;
    if (apply_fixup(frame))
        return;
    report_trap(frame);
}

void rt_relocate(uint64_t delta)
{
    /* Type 8 is R_X86_64_RELATIVE, the only one a static PIE without imports contains. */
    for (const struct rela *r = rt_rela_start; r < rt_rela_end; r++) {
        if ((uint32_t)r->info == 8)
            *(uint64_t *)(r->offset + delta) = r->addend + delta;
    }
}

/* First code that runs in the copy: everything it calls is reached relative to RIP. */
static _Noreturn void start_moved(void)
{
    rt_cpu_init();
    moved_entry();
    rt_shutdown(1);
}

_Noreturn void rt_move(uint64_t dst, void (*entry)(void))
{
    uint64_t begin = rt_image_begin();
    uint64_t delta = dst - begin;
    struct rela copy;

    moved_entry = (void (*)(void))((uint64_t)entry + delta);
    if (trap_hook != NULL)
        trap_hook = (rt_trap_hook)((uint64_t)trap_hook + delta);
    rt_output_moved(delta);
    memcpy((void *)dst, (const void *)begin, rt_image_limit() - begin);
    /*
     * Only fields that still hold what the relocation gave them are moved: a pointer variable
     * changed at run time keeps its new value.
     */
    for (const struct rela *r = rt_rela_start; r < rt_rela_end; r++) {
        copy = *r;
        uint64_t *field = (uint64_t *)(copy.offset + delta);

        if ((uint32_t)copy.info == 8 && *field == copy.addend)
            *field = copy.addend + delta;
    }
    rt_enter_moved((uint64_t)start_moved + delta, (uint64_t)rt_stack_top + delta);
}
