/* SPDX-License-Identifier: MIT */
/*
 * Two 8259 in a cascade, as far as initialisation, masks and specific order go, and channel 0 of the
 * 8254 as a one-shot timer on line 0.
 */
#include "machine.h"

#define PIT_HERTZ UINT64_C(1193182)
#define SECOND UINT64_C(1000000000)
#define CASCADE 2u

struct chip {
    uint8_t base, mask, request, service;
    uint8_t step; /* of the initialisation; 0: over */
    bool read_service;
};

static struct chip chips[2] = {{.mask = 0xff}, {.mask = 0xff}};

static struct chip *chip_of(uint16_t port)
{
    return &chips[port >> 7 & 1];
}

uint32_t pic_in(uint16_t port)
{
    const struct chip *c = chip_of(port);

    if ((port & 1) != 0)
        return c->mask;
    return c->read_service ? c->service : c->request;
}

static void command(struct chip *c, uint8_t value)
{
    if ((value & 0x10) != 0) {
        *c = (struct chip){.step = 1};
    } else if ((value & 0x08) != 0) {
        if ((value & 2) != 0)
            c->read_service = (value & 1) != 0;
    } else if ((value & 0x20) != 0) {
        c->service &= (uint8_t)(c->service - 1); /* the highest is the lowest bit */
    }
}

void pic_out(uint16_t port, uint8_t value)
{
    struct chip *c = chip_of(port);

    if ((port & 1) == 0) {
        command(c, value);
    } else if (c->step == 1) {
        c->base = value & 0xf8;
        c->step = 2;
    } else if (c->step == 2) {
        c->step = 3; /* the wiring is what it is */
    } else if (c->step == 3) {
        c->step = 0;
    } else {
        c->mask = value;
    }
}

/* The line of a chip that is next, or 8. */
static uint32_t line_of(const struct chip *c)
{
    for (uint32_t line = 0; line < 8; line++) {
        uint32_t bit = 1u << line;

        if ((c->service & bit) != 0)
            break;
        if ((c->request & bit & ~c->mask) != 0)
            return line;
    }
    return 8;
}

int pic_next(void)
{
    uint32_t line = line_of(&chips[0]);

    return line < 8 && line != CASCADE ? chips[0].base + (int)line : -1;
}

void pic_taken(int vector)
{
    uint8_t bit = (uint8_t)(1u << (vector & 7));

    chips[0].request &= (uint8_t)~bit;
    chips[0].service |= bit;
}

/* ---- the timer ---- */

static uint64_t deadline;
static uint16_t count;
static bool high_next;

void pit_out(uint16_t port, uint8_t value)
{
    if (port == 0x43) {
        if (value >> 6 == 0) {
            deadline = 0;
            high_next = false;
            chips[0].request &= 0xfe; /* the output goes low */
        }
    } else if (port == 0x40) {
        if (high_next) {
            count = (uint16_t)((count & 0xff) | value << 8);
            deadline = sys_now() + (count == 0 ? 0x10000 : count) * SECOND / PIT_HERTZ + 1;
        } else {
            count = value;
        }
        high_next = !high_next;
    }
}

uint64_t pit_deadline(void)
{
    return deadline;
}

void pit_tick(uint64_t now)
{
    if (deadline != 0 && now >= deadline) {
        deadline = 0;
        chips[0].request |= 1;
    }
}
