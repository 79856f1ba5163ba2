/* SPDX-License-Identifier: MIT */
/*
 * The SVM test hypervisor's own processor set-up: page tables that user code may use, descriptor
 * tables, the trap recorder, and which emulator (or real CPU) it runs on.
 */
#include "cpu.h"

#include "paging.h"
#include "svm.h"
#include "t.h"

extern uint8_t try_resume[];
extern int try_user_asm(uint64_t rip, uint64_t rax);
extern int try_compat_asm(uint64_t rip, uint64_t rax);
void trap_dispatch(struct trap_frame *f);

struct trap_log trap;
uint64_t try_top;

_Alignas(16) uint8_t gdt_storage[GDT_LIMIT + 1];
_Alignas(16) uint8_t idt_storage[IDT_LIMIT + 1];
static _Alignas(16) uint8_t tss64[104];
static _Alignas(16) uint8_t trap_stack[16384];
static uint64_t *l1_tables;

static void gdt_set(unsigned int selector, uint64_t value)
{
    *(uint64_t *)(void *)&gdt_storage[selector] = value;
}

static void gdt_set_system(unsigned int selector, uint64_t base, uint32_t limit, uint8_t type)
{
    gdt_set(selector, (limit & 0xffff) | ((base & 0xffffff) << 16) | ((uint64_t)type << 40) |
                          ((base & 0xff000000) << 32));
    if (selector != SEL_TSS32_A && selector != SEL_TSS32_B) {
        gdt_set(selector + 8, base >> 32);
    }
}

static void build_gdt(void)
{
    gdt_set(SEL_CODE64, 0x00af9b000000ffff);
    gdt_set(SEL_DATA, 0x00cf93000000ffff);
    gdt_set(SEL_CODE32, 0x00cf9b000000ffff);
    gdt_set(SEL_UCODE32, 0x00cffb000000ffff);
    gdt_set(SEL_UDATA, 0x00cff3000000ffff);
    gdt_set(SEL_UCODE64, 0x00affb000000ffff);
    gdt_set(SEL_CODE16, 0x00009b000000ffff);
    gdt_set(SEL_DATA16, 0x000093000000ffff);
    gdt_set_system(SEL_TSS, (uint64_t)(uintptr_t)tss64, sizeof tss64 - 1, 0x89);
    gdt_set_system(SEL_LDT, (uint64_t)(uintptr_t)gdt_storage, GDT_LIMIT, 0x82);
    gdt_set(SEL_ABSENT, 0x00cf13000000ffff);
    *(uint64_t *)(void *)&tss64[4] = (uint64_t)(uintptr_t)&trap_stack[sizeof trap_stack];
    *(uint16_t *)(void *)&tss64[102] = sizeof tss64; /* no I/O permission bitmap */
}

static void build_idt(void)
{
    for (unsigned int v = 0; v < 256; v++) {
        uint64_t at = (uint64_t)(uintptr_t)(trap_stubs + 16 * v);
        uint64_t dpl = v == VEC_BP || v == VEC_OF || v == VEC_USER_DONE ? 3 : 0;
        uint64_t *gate = (uint64_t *)(void *)&idt_storage[16 * v];

        gate[0] = (at & 0xffff) | ((uint64_t)SEL_CODE64 << 16) | (0x8eull << 40) | (dpl << 45) |
                  ((at & 0xffff0000) << 32);
        gate[1] = at >> 32;
    }
}

static void load_tables(void)
{
    struct rt_dtr gdt = {GDT_LIMIT, (uint64_t)(uintptr_t)gdt_storage};
    struct rt_dtr idt = {IDT_LIMIT, (uint64_t)(uintptr_t)idt_storage};

    __asm__ volatile("lgdt %0\n"
                     "lidt %1\n"
                     "push %2\n"
                     "lea 1f(%%rip), %%rax\n"
                     "push %%rax\n"
                     "lretq\n"
                     "1: mov %3, %%ds\n"
                     "mov %3, %%es\n"
                     "mov %3, %%ss\n"
                     "mov %4, %%fs\n"
                     "mov %4, %%gs\n"
                     "lldt %w4\n"
                     "ltr %w5\n" ::"m"(gdt),
                     "m"(idt), "i"(SEL_CODE64), "r"(SEL_DATA), "r"(0), "r"(SEL_TSS)
                     : "rax", "memory");
}

void cpu_init(void)
{
    rt_cli();
    build_gdt();
    build_idt();
    load_tables();
    rt_wrmsr(MSR_EFER, rt_rdmsr(MSR_EFER) | EFER_NX | EFER_SCE);
    l1_tables = pt_identity(PT_P | PT_W | PT_U);
    rt_write_cr3((uint64_t)(uintptr_t)l1_tables);
    rt_write_cr0((rt_read_cr0() | CR0_WP | CR0_NE | CR0_MP) &
                 ~(CR0_CD | CR0_NW | CR0_TS | CR0_EM));
    rt_write_cr4(rt_read_cr4() | CR4_PGE | CR4_DE);
    pic_mask_all();
    lapic_init();
}

static void leave_try(struct trap_frame *f)
{
    f->rax = f->vector;
    f->rip = (uint64_t)(uintptr_t)try_resume;
    f->rsp = try_top;
    f->cs = SEL_CODE64;
    f->ss = SEL_DATA;
    f->rflags = RF_FIXED;
}

void trap_dispatch(struct trap_frame *f)
{
    trap.vector = f->vector;
    trap.error = f->error;
    trap.rip = f->rip;
    trap.cs = f->cs;
    trap.rflags = f->rflags;
    trap.rsp = f->rsp;
    trap.cr2 = rt_read_cr2();
    trap.count[f->vector & 0xff]++;
    if (f->vector == VEC_NMI || (f->vector >= 32 && f->vector != VEC_USER_DONE)) {
        if (f->vector == VEC_IPI || f->vector == VEC_TIMER) {
            lapic_eoi();
        } else if (f->vector == VEC_PIT) {
            rt_outb(0x20, 0x20);
        }
        return;
    }
    if (trap.resume) {
        f->rip += trap.skip;
        return;
    }
    if (try_top != 0) {
        leave_try(f);
        return;
    }
    if (trap.in_l2) {
        for (;;) {
            __asm__ volatile("vmmcall");
        }
    }
    t_fatal("unexpected exception", f->vector, f->error, f->rip);
}

int try_user(uint64_t rip, uint64_t rax)
{
    return try_user_asm(rip, rax);
}

int try_compat(uint64_t rip, uint64_t rax)
{
    return try_compat_asm(rip, rax);
}

static bool brand_starts(const char *with)
{
    struct rt_cpuid r = rt_cpuid(0x80000002, 0);
    const char *brand = (const char *)&r;

    for (unsigned int i = 0; with[i] != '\0'; i++) {
        if (brand[i] != with[i]) {
            return false;
        }
    }
    return true;
}

bool cpu_is_qemu(void)
{
    return brand_starts("QEMU");
}

/* Bochs's model=ryzen calls itself what the real part does; no test is meant for that part. */
bool cpu_is_bochs(void)
{
    return brand_starts("AMD Ryzen 7 1700");
}

unsigned int cpu_phys_bits(void)
{
    return rt_cpuid(0x80000008, 0).eax & 0xff;
}

bool cpu_has_la57(void)
{
    return rt_cpuid(0, 0).eax >= 7 && ((rt_cpuid(7, 0).ecx >> 16) & 1) != 0;
}
