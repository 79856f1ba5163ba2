/* SPDX-License-Identifier: MIT */
/*
 * Running code that is expected to fault, at either privilege level and in compatibility mode,
 * and coming back with the exception as a value. One call may be in progress at a time: the trap
 * hook unwinds to the stack pointer that the call saved.
 */
#include "check.h"

#define APIC_BASE 0xfee00000ull
#define APIC_EOI 0xb0u
#define APIC_SPURIOUS 0xf0u
#define APIC_ICR_LOW 0x300u
#define APIC_ICR_HIGH 0x310u
#define ICR_SELF (1u << 18)
#define ICR_NMI (4u << 8)
#define ICR_ASSERT (1u << 14)
#define ICR_BUSY (1u << 12)
#define PTE_USER 4ull

/* trap_asm.S */
uint64_t trap_enter(void (*fn)(void *), void *arg);
uint64_t trap_enter_frame(uint64_t rip, uint64_t cs, uint64_t rflags, uint64_t rsp, uint64_t ss,
                          uint64_t rax);
extern char trap_unwind[], trap_user_start[], trap_user_done[], trap_compat_done[];
extern uint64_t trap_saved_rsp;

volatile uint32_t trap_irqs[256];
static volatile bool armed;
static struct trap last;
static char user_stack[8192] __attribute__((aligned(16)));

static bool hook(struct rt_trap_frame *f)
{
    if (f->vector == 2 || f->vector >= 32) {
        trap_irqs[f->vector]++;
        if (f->vector >= 32 && f->vector < 255)
            apic_write(APIC_EOI, 0);
        return true;
    }
    if (!armed)
        return false;
    armed = false;
    last.vector = (int)f->vector;
    last.error = (uint32_t)f->error;
    last.cr2 = rt_read_cr2();
    last.rip = f->rip;
    if (f->rip == (uint64_t)trap_user_done || f->rip == (uint64_t)trap_compat_done)
        last.vector = TRAP_NONE;
    f->rip = (uint64_t)trap_unwind;
    f->cs = RT_SEL_CS64;
    f->ss = RT_SEL_DS;
    f->rsp = trap_saved_rsp;
    f->rflags = 2;
    return true;
}

void trap_init(void)
{
    uint64_t *t = (uint64_t *)rt_page_root();

    /* One PML4 entry, four of the PDPT, 2048 leaves; the tables lie back to back. */
    t[0] |= PTE_USER;
    for (unsigned i = 0; i < 4; i++)
        t[512 + i] |= PTE_USER;
    for (unsigned i = 0; i < 2048; i++)
        t[1024 + i] |= PTE_USER;
    rt_write_cr3(rt_page_root());
    rt_set_trap_hook(hook);
}

static struct trap finish(uint64_t came_back)
{
    armed = false;
    if (came_back == 0)
        last = (struct trap){.vector = TRAP_NONE};
    return last;
}

struct trap trap_call(void (*fn)(void *), void *arg)
{
    armed = true;
    return finish(trap_enter(fn, arg));
}

struct trap trap_call_user(void (*fn)(void *), void *arg, unsigned iopl)
{
    uint64_t *top = (uint64_t *)(user_stack + sizeof(user_stack) - 32);

    top[0] = (uint64_t)fn;
    top[1] = (uint64_t)arg;
    armed = true;
    return finish(trap_enter_frame((uint64_t)trap_user_start, RT_SEL_USER_CS64,
                                   2u | ((uint64_t)iopl << 12), (uint64_t)top, RT_SEL_USER_DS, 0));
}

struct trap trap_call_compat(const void *code, uint32_t eax, bool user)
{
    uint32_t *top = (uint32_t *)(user_stack + sizeof(user_stack) - 32);
    struct trap t;

    top[0] = (uint32_t)(uint64_t)trap_compat_done;
    armed = true;
    t = finish(trap_enter_frame((uint64_t)code, user ? RT_SEL_USER_CS32 : RT_SEL_CS32, 2,
                                (uint64_t)top, user ? RT_SEL_USER_DS : RT_SEL_DS32, eax));
    rt_write_ds(RT_SEL_DS);
    rt_write_es(RT_SEL_DS);
    return t;
}

uint32_t apic_read(uint32_t reg)
{
    return *(volatile uint32_t *)(APIC_BASE + reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(APIC_BASE + reg) = value;
}

void apic_init(void)
{
    static const uint16_t lvt[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};

    rt_pic_mask_all();
    for (unsigned i = 0; i < sizeof(lvt) / sizeof(lvt[0]); i++)
        apic_write(lvt[i], 0x10000);
    apic_write(0x80, 0);
    apic_write(APIC_SPURIOUS, 0x1ff);
}

static void send(uint32_t command)
{
    while ((apic_read(APIC_ICR_LOW) & ICR_BUSY) != 0)
        ;
    apic_write(APIC_ICR_HIGH, 0);
    apic_write(APIC_ICR_LOW, command);
}

void apic_self_ipi(uint8_t vector)
{
    send(ICR_SELF | ICR_ASSERT | vector);
}

void apic_self_nmi(void)
{
    /* The self shorthand allows fixed delivery only: an NMI names its own APIC ID. */
    while ((apic_read(APIC_ICR_LOW) & ICR_BUSY) != 0)
        ;
    apic_write(APIC_ICR_HIGH, apic_read(0x20) & 0xff000000u);
    apic_write(APIC_ICR_LOW, ICR_NMI | ICR_ASSERT);
}
