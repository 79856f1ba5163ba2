/* SPDX-License-Identifier: MIT */
/*
 * How a test guest reports: one line on COM1 per check, "ok NAME" or "not ok NAME: detail", and
 * nothing that differs between two runs that behave alike, so that the log of a bare run and the
 * log of a nested run can be compared line by line. Names must not depend on addresses,
 * capabilities or time.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "rt.h"

/* Every following name is printed as "group.name"; an empty string ends the group. */
void check_group(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One check. Returns `ok`, so that a caller can leave out checks that make no sense after it. */
bool check(bool ok, const char *name, ...) __attribute__((format(printf, 2, 3)));

/* A check that two values agree; a failure shows both in hexadecimal. */
bool check_eq(uint64_t got, uint64_t want, const char *name, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints "N passed, N failed" and ends the machine (code 0 when none failed). */
_Noreturn void check_done(void);

/* --- Running code that may fault ------------------------------------------------------------- */

#define TRAP_NONE (-1)

/* What ended a piece of code: a vector, or TRAP_NONE when it returned. */
struct trap {
    int vector;
    uint32_t error;
    uint64_t cr2, rip;
};

/*
 * Installs the trap hook that the functions below need and makes the identity map accessible to
 * CPL 3. Vectors 32..255 and NMI only count in trap_irqs[] and return, when none of these
 * functions wants them; the local APIC gets its EOI for 32..254.
 */
void trap_init(void);
extern volatile uint32_t trap_irqs[256];

/* Calls fn(arg) at CPL 0. The state fn leaves in memory stays as it was at the fault. */
struct trap trap_call(void (*fn)(void *), void *arg);

/* The same in 64-bit mode at CPL 3 with the given IOPL; fn must not need CPL 0. */
struct trap trap_call_user(void (*fn)(void *), void *arg, unsigned iopl);

/*
 * Calls 32-bit code in compatibility mode at CPL 0 (user: CPL 3). It ends with a near RET; EAX on
 * entry is `eax`, EBX, ESI, EDI, EBP may be changed.
 */
struct trap trap_call_compat(const void *code, uint32_t eax, bool user);

/* Local APIC registers, memory mapped (xAPIC). */
uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
/* Software-enables the local APIC with all local sources masked. */
void apic_init(void);
/* Sends this CPU an interrupt: a fixed one with `vector`, or an NMI. */
void apic_self_ipi(uint8_t vector);
void apic_self_nmi(void);

#endif
