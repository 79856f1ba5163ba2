/* SPDX-License-Identifier: MIT */
/*
 * The machine that L1 sees: memory, a serial port, the interrupt controllers and timers of a PC as far
 * as a small hypervisor uses them.
 */
#ifndef RUN_MACHINE_H
#define RUN_MACHINE_H

#include "nvirt_ioctl.h"
#include "sys.h"

struct machine {
    int vcpu;
    uint8_t *memory;
    uint64_t bytes;
    uint8_t *apic; /* the APIC's page, which nothing is ever written to */
    volatile bool rang; /* the alarm, since it was set */
    bool ended;
    uint32_t status; /* what L1 ended with */
};

extern struct machine machine;

/* image.c: loads a Multiboot 1 image and sets the registers it is entered with. */
void image_load(const char *path, const char *command_line);

/* machine.c: ports */
uint32_t port_in(uint16_t port, uint32_t width);
void port_out(uint16_t port, uint32_t width, uint32_t value);

/* mmio.c: carries out the instruction of an MMIO exit; false: not one it knows. */
bool mmio_emulate(const struct nvirt_run *run);

/* apic.c: the local APIC, and who of both controllers is next */
uint32_t apic_read(uint32_t offset);
void apic_write(uint32_t offset, uint32_t value);
#define APIC_BASE 0xfee00000u
#define APIC_BYTES 0x1000u
/* After each exit: what was handed over and does not wait any more was taken. */
void interrupts_settle(uint32_t state, uint64_t cr8);
/* Before each run: hands over what is next; sets the alarm for the timers. */
bool interrupts_offer(void); /* true: the driver has one */
uint64_t interrupts_deadline(void); /* of the timer that ends first; 0: none runs */

/* pic.c: two 8259 and channel 0 of the 8254 */
uint32_t pic_in(uint16_t port);
void pic_out(uint16_t port, uint8_t value);
/* The vector of the line that is next, or -1. */
int pic_next(void);
void pic_taken(int vector);
void pit_out(uint16_t port, uint8_t value);
/* When the counter ends; 0: it does not run. */
uint64_t pit_deadline(void);
void pit_tick(uint64_t now);

#endif
