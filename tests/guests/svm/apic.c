/* SPDX-License-Identifier: MIT */
/*
 * Interrupt sources of the SVM test hypervisor: the local APIC (self-IPIs are the exact tool, the
 * timer the realistic one) and the PIT behind the PIC.
 */
#include "cpu.h"
#include "svm.h"

#define LAPIC_ID 0x20
#define LAPIC_TPR 0x80
#define LAPIC_EOI 0xb0
#define LAPIC_SVR 0xf0
#define LAPIC_IRR 0x200
#define LAPIC_ICR_LO 0x300
#define LAPIC_ICR_HI 0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_LVT_LINT0 0x350
#define LAPIC_TIMER_INIT 0x380
#define LAPIC_TIMER_DIV 0x3e0

static volatile uint32_t *lapic_reg(uint32_t reg)
{
    return (volatile uint32_t *)(uintptr_t)(0xfee00000u + reg);
}

void lapic_init(void)
{
    rt_wrmsr(MSR_APIC_BASE, rt_rdmsr(MSR_APIC_BASE) | (1u << 11));
    *lapic_reg(LAPIC_SVR) = 0x100 | VEC_SPURIOUS;
    *lapic_reg(LAPIC_TPR) = 0;
    *lapic_reg(LAPIC_LVT_TIMER) = 1u << 16;
    *lapic_reg(LAPIC_LVT_LINT0) = 0x700; /* ExtINT: the PIC's vectors come through */
    *lapic_reg(LAPIC_TIMER_DIV) = 0xb;   /* divide by one */
}

void lapic_eoi(void)
{
    *lapic_reg(LAPIC_EOI) = 0;
}

void lapic_self_ipi(uint8_t vector)
{
    *lapic_reg(LAPIC_ICR_LO) = (1u << 18) | vector;
}

/* The self shorthand knows only fixed interrupts: an NMI goes to our own number. */
void lapic_self_nmi(void)
{
    *lapic_reg(LAPIC_ICR_HI) = *lapic_reg(LAPIC_ID) & 0xff000000u;
    *lapic_reg(LAPIC_ICR_LO) = 4u << 8;
}

void lapic_timer(uint32_t ticks)
{
    *lapic_reg(LAPIC_LVT_TIMER) = VEC_TIMER;
    *lapic_reg(LAPIC_TIMER_INIT) = ticks;
}

void lapic_timer_stop(void)
{
    *lapic_reg(LAPIC_TIMER_INIT) = 0;
    *lapic_reg(LAPIC_LVT_TIMER) = 1u << 16;
}

bool lapic_irr(uint8_t vector)
{
    return (*lapic_reg(LAPIC_IRR + 0x10u * (vector / 32)) >> (vector % 32)) & 1;
}

void pic_mask_all(void)
{
    static const uint8_t init[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, VEC_PIT},
                                      {0xa1, VEC_PIT + 8}, {0x21, 4}, {0xa1, 2},
                                      {0x21, 1}, {0xa1, 1}, {0x21, 0xff}, {0xa1, 0xff}};

    for (unsigned int i = 0; i < sizeof init / sizeof init[0]; i++) {
        rt_outb(init[i][0], init[i][1]);
    }
}

/* Counter 0, mode 0 (interrupt on terminal count), with only its line open in the PIC. */
void pit_one_shot(uint16_t ticks)
{
    rt_outb(0x43, 0x30);
    rt_outb(0x21, 0xfe);
    rt_outb(0x40, (uint8_t)ticks);
    rt_outb(0x40, (uint8_t)(ticks >> 8));
}
