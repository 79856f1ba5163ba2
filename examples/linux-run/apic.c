/* SPDX-License-Identifier: MIT */
/*
 * The local APIC, and the way of an interrupt to the vCPU: one at a time is handed to the driver, and
 * counts as acknowledged when it does not wait there any more.
 * [APM 2 "Advanced Programmable Interrupt Controller"]
 */
#include "machine.h"

enum {
    REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_PPR = 0x0a, REG_EOI = 0x0b,
    REG_SVR = 0x0f, REG_ISR = 0x10, REG_IRR = 0x20, REG_ICR_LOW = 0x30, REG_ICR_HIGH = 0x31,
    REG_LVT_TIMER = 0x32, REG_LVT_LINT0 = 0x35, REG_TIMER_INITIAL = 0x38,
    REG_TIMER_CURRENT = 0x39, REG_TIMER_DIVIDE = 0x3e
};

#define VERSION 0x00050014u
#define MASKED (1u << 16)
#define PERIODIC (1u << 17)
#define SHORTHAND_SELF 1u
#define SVR_ENABLE 0x100u
#define MODE(value) ((value) >> 8 & 7u)
#define MODE_FIXED 0u
#define MODE_NMI 4u
#define MODE_EXTINT 7u
#define TICK_NANOSECONDS 10u /* a bus of 100 MHz, whatever the divider */

static uint32_t reg[64] = {
    [REG_VERSION] = VERSION,      [REG_SVR] = 0xff,      [REG_LVT_TIMER] = MASKED,
    [REG_LVT_LINT0] = MODE_EXTINT << 8,
};
static uint64_t timer_end; /* 0: stopped */
static int handed = -1;                 /* a vector that the driver has */
static bool handed_by_pic;
static bool came_back; /* the driver has one that counts as acknowledged */

/* ---- registers of 256 bits ---- */

static void set_bit(uint32_t first, uint32_t vector)
{
    reg[first + vector / 32] |= 1u << (vector % 32);
}

static void clear_bit(uint32_t first, uint32_t vector)
{
    reg[first + vector / 32] &= ~(1u << (vector % 32));
}

static int highest(uint32_t first)
{
    for (int vector = 255; vector >= 0; vector--) {
        if ((reg[first + (uint32_t)vector / 32] >> (vector % 32) & 1) != 0)
            return vector;
    }
    return -1;
}

static uint32_t priority(void)
{
    int service = highest(REG_ISR);
    uint32_t class = service < 0 ? 0 : (uint32_t)service & 0xf0u;

    return class > (reg[REG_TPR] & 0xf0u) ? class : reg[REG_TPR];
}

/* ---- the timer ---- */

static void start_timer(uint64_t now)
{
    uint64_t length = reg[REG_TIMER_INITIAL];

    timer_end = length == 0 ? 0 : now + length * TICK_NANOSECONDS;
}

static void timer_tick(uint64_t now)
{
    if (timer_end == 0 || now < timer_end)
        return;
    if ((reg[REG_LVT_TIMER] & MASKED) == 0)
        set_bit(REG_IRR, reg[REG_LVT_TIMER] & 0xffu);
    if ((reg[REG_LVT_TIMER] & PERIODIC) != 0)
        start_timer(now);
    else
        timer_end = 0;
}

static uint32_t timer_current(void)
{
    uint64_t now = sys_now();

    return timer_end == 0 || now >= timer_end ? 0 : (uint32_t)((timer_end - now) / TICK_NANOSECONDS);
}

/* ---- what L1 does with it ---- */

static void inject(uint32_t kind, uint32_t vector)
{
    struct nvirt_inject event = {.size = sizeof(event), .kind = kind, .vector = vector};
    long error = sys_ioctl(machine.vcpu, NVIRT_INJECT, &event);

    if (error != 0)
        give_up("an event could not be handed over: error", error);
}

/* There is one CPU: what is not for it goes nowhere. */
static void send(uint32_t low)
{
    bool here = (low >> 18 & 3u) == SHORTHAND_SELF ||
                ((low >> 18 & 3u) == 0 && reg[REG_ICR_HIGH] >> 24 == reg[REG_ID] >> 24);

    if (here && MODE(low) == MODE_FIXED)
        set_bit(REG_IRR, low & 0xffu);
    else if (here && MODE(low) == MODE_NMI)
        inject(NVIRT_INJECT_NMI, 2);
}

static void end_of_interrupt(void)
{
    int vector = highest(REG_ISR);

    if (vector >= 0)
        clear_bit(REG_ISR, (uint32_t)vector);
}

uint32_t apic_read(uint32_t offset)
{
    uint32_t number = offset >> 4;

    if (number >= 64)
        return 0;
    if (number == REG_PPR)
        return priority();
    return number == REG_TIMER_CURRENT ? timer_current() : reg[number];
}

void apic_write(uint32_t offset, uint32_t value)
{
    uint32_t number = offset >> 4;

    switch (number) {
    case REG_EOI:
        end_of_interrupt();
        break;
    case REG_ICR_LOW:
        reg[number] = value & ~(1u << 12);
        send(value);
        break;
    case REG_TIMER_INITIAL:
        reg[number] = value;
        start_timer(sys_now());
        break;
    case REG_TPR:
        reg[number] = value & 0xffu;
        break;
    default:
        if (number == REG_ID || number == REG_SVR || number == REG_ICR_HIGH ||
            (number >= REG_LVT_TIMER && number <= 0x37) || number == REG_TIMER_DIVIDE)
            reg[number] = value;
        break;
    }
}

/* ---- to and from the driver ---- */

void interrupts_settle(uint32_t state, uint64_t cr8)
{
    static uint64_t seen_cr8;

    /* CR8 is the upper half of the task priority. */
    if (cr8 != seen_cr8) {
        seen_cr8 = cr8;
        reg[REG_TPR] = (uint32_t)cr8 << 4;
    }
    /* One that was taken before may come back, when another event cut its delivery short. */
    came_back = handed < 0 && (state & NVIRT_STATE_INTERRUPT_WAITS) != 0;
    if (handed < 0 || (state & NVIRT_STATE_INTERRUPT_WAITS) != 0)
        return;
    if (handed_by_pic) {
        pic_taken(handed);
    } else {
        clear_bit(REG_IRR, (uint32_t)handed);
        set_bit(REG_ISR, (uint32_t)handed);
    }
    handed = -1;
}

uint64_t interrupts_deadline(void)
{
    uint64_t pit = pit_deadline();

    if (timer_end == 0 || (pit != 0 && pit < timer_end))
        return pit;
    return timer_end;
}

static void set_alarm(uint64_t now)
{
    static uint64_t set_for;
    uint64_t deadline = interrupts_deadline();
    uint64_t left = deadline > now ? (deadline - now) / 1000 + 1 : 1;
    const struct {
        uint64_t interval[2], value[2];
    } timer = {{0, 0}, {left / 1000000, left % 1000000}};

    /* One that rang too early, by its own clock, is set again. */
    if ((deadline == set_for && !machine.rang) || deadline == 0)
        return;
    set_for = deadline;
    machine.rang = false;
    sys_call(SYS_SETITIMER, 0, (long)&timer, 0, 0, 0, 0);
}

bool interrupts_offer(void)
{
    uint64_t now = sys_now();
    int vector;

    timer_tick(now);
    pit_tick(now);
    set_alarm(now);
    if (handed >= 0 || came_back)
        return true;
    vector = (reg[REG_SVR] & SVR_ENABLE) != 0 ? highest(REG_IRR) : -1;
    if (vector >= 0 && ((uint32_t)vector & 0xf0u) > (priority() & 0xf0u)) {
        handed_by_pic = false;
    } else {
        bool open = (reg[REG_LVT_LINT0] & MASKED) == 0 && MODE(reg[REG_LVT_LINT0]) == MODE_EXTINT;

        vector = open ? pic_next() : -1;
        handed_by_pic = true;
    }
    if (vector < 0)
        return false;
    handed = vector;
    inject(NVIRT_INJECT_INTERRUPT, (uint32_t)vector);
    return true;
}
