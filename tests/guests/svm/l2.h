/* SPDX-License-Identifier: MIT */
/*
 * One L2 at a time: l2_reset() builds it from L1's present state in one of several modes, a test
 * bends it, l2_run() enters it. L2's code is part of this image (asm snippets and C functions),
 * reached through identity maps.
 */
#ifndef SVM_TEST_L2_H
#define SVM_TEST_L2_H

#include <stdbool.h>
#include <stdint.h>

#include "svm.h"

/* Flags of l2_switch(); the assembly in entry.c tests the same bits. */
#define L2_NO_LOAD 1u /* leave out VMSAVE/VMLOAD around VMRUN */
#define L2_NO_STGI 2u /* come back with GIF still 0 */
#define L2_HOST_IF 4u /* host RFLAGS.IF is 1 at VMRUN */

struct l2_gpr {
    uint64_t rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t host_rax, host_rflags; /* as found right after VMRUN */
};

enum l2_mode {
    L2_NPT,    /* long mode, nested paging */
    L2_SHADOW, /* long mode, its own page tables used by the CPU directly */
};

struct l2 {
    struct vmcb *vmcb;
    struct l2_gpr g;
    uint32_t flags;
    enum l2_mode mode;
    uint64_t *cr3; /* L2's page tables */
    uint64_t *npt; /* nested tables (L2_NPT only) */
};

extern struct l2 l2;
extern struct vmcb vmcb_a, vmcb_b, vmcb_host, vmcb_scratch;
extern uint8_t iopm[3 * 4096];
extern uint8_t msrpm[2 * 4096];
extern uint8_t l2_stack_top[];
extern uint8_t l2_vmrun_at[];
/* Two pages for L2 data, 4 KiB aligned, that tests may map away. */
extern uint8_t l2_page[2 * 4096];

const char *l2_mode_name(enum l2_mode mode);

/* A fresh L2; its tables and the pages of the last one are gone. */
void l2_reset(enum l2_mode mode);
void l2_init_vmcb(struct vmcb *v, enum l2_mode mode);

/* Puts the L2 at CPL 3 (64-bit code, flat stack). */
void l2_user(void);

/*
 * Lets L2 touch what the delivery of an event needs (IDT, GDT, stack) and comes back. A level
 * below L1 may map those pages only then, and some emulators lose an event that such a fault
 * interrupts; tests of something else begin with this.
 */
void l2_warm(void);

/* Bits of the intercept words, by the numbers in svm.h. */
void l2_intercept(unsigned int bit, bool on);

/* Enters L2; the low exit code comes back, or EXIT_INVALID in either width. */
uint64_t l2_run(void);
uint64_t l2_run_at(const void *code);
/* Goes on after the exiting instruction, which is len bytes long. */
uint64_t l2_resume(unsigned int len);

bool l2_is_invalid(uint64_t exit_code);
bool cpu_has_nrips(void);
bool cpu_has_npt(void);
bool cpu_has_flush_by_asid(void);
bool cpu_has_clean_bits(void);
bool cpu_has_virtual_gif(void);

void l2_switch(struct vmcb *v, struct l2_gpr *g, uint32_t flags, struct vmcb *host);

/*
 * A snippet of L2 (or L1) code: setup, then one instruction of interest between two labels, then
 * VMMCALL, so that an intercept that does not fire is seen as that exit at name##_next.
 */
#define SNIPPET(name, setup, insn)                                                                 \
    __asm__(".pushsection .text\n.balign 16\n.globl " #name "\n" #name ":\n" setup "\n"            \
            ".globl " #name "_at\n" #name "_at: " insn "\n"                                        \
            ".globl " #name "_next\n" #name "_next: vmmcall\n ud2\n.popsection\n");    \
    extern uint8_t name[], name##_at[], name##_next[]

#define AT(p) ((uint64_t)(uintptr_t)(p))

#endif
