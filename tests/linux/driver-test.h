/* SPDX-License-Identifier: MIT */
/*
 * What the files of driver-test share: machines of the driver's, and the subjects.
 */
#ifndef DRIVER_TEST_H
#define DRIVER_TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "nvirt_ioctl.h"

#define PAGE 4096u
#define MIB (UINT64_C(1) << 20)
#define APIC_BASE 0xfee00000u

extern int failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: %s (errno %d)\n", __LINE__, #condition, errno);                       \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

struct machine {
    int device, vm, vcpu;
    uint8_t *memory;
    uint64_t bytes;
    uint8_t *apic; /* behind 0xfee00000, or null */
};

/* ---- driver-machine.c ---- */

/* To the next exit, past the kernel's own reasons to come out. */
int run_on(int vcpu, struct nvirt_run *run);
int create_vm(int device);
int set_memory(int vm, uint32_t slot, uint32_t flags, uint64_t address, void *user, uint64_t bytes);
int create_vcpu(int vm, uint32_t index);
uint8_t *anonymous(size_t bytes);
/* A machine in real mode whose first instruction is at 0xffff0: `code` is there. */
struct machine make_machine(const uint8_t *code, size_t bytes);
struct machine make_machine_with(const uint8_t *code, size_t bytes, bool apic);
void end_machine(struct machine *m);

bool has_svm(void);
/* L1 goes on at `rip` in protected mode, with what its vendor's instructions want. */
void start_in_protected_mode(const struct machine *m, uint32_t rip);
/* The next exit is an OUT to this port. */
void expect_out(const struct machine *m, uint16_t port);

/* ---- subjects: driver-cpu.c ---- */

int subject_first(void);
int subject_gs(void);

/* ---- subjects: driver-host.c ---- */

int subject_file(const char *name);
int subject_hostage(void);
int subject_tags(void);
int subject_locked(void);

/* ---- subjects: driver-memory.c ---- */

int subject_memory(int rounds);
int subject_pressure(int rounds);
int subject_slots(int rounds);
int subject_wander(void);
int subject_apic(int rounds);
int subject_two(int moves);
int subject_squeeze(pid_t victim);

#endif
