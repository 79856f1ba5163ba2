/* SPDX-License-Identifier: MIT */
/*
 * One L2 at a time: l2_reset() writes a complete VMCS for one of several kinds of guest, a test
 * bends fields of it, l2_start() and l2_run() enter it, expect_exit() says what came of it.
 * L2's code is part of this image (SNIPPET below) and is reached through identity maps.
 */
#ifndef L2_H
#define L2_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "insn.h"
#include "vmx.h"

enum l2_mode {
    L2_EPT,    /* long mode, second-stage paging, VPID */
    L2_PLAIN,  /* long mode, its own page tables in L1's memory used by the CPU directly */
    L2_REAL,   /* real mode: EPT and unrestricted guest */
    L2_FLAT32, /* 32-bit protected mode without paging: EPT and unrestricted guest */
    L2_PAE,    /* 32-bit protected mode with PAE paging, EPT */
};

struct l2_gpr {
    uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
};

struct l2 {
    struct l2_gpr g;
    uint64_t host_rflags, host_rsp; /* as found at the first instruction after an exit */
    bool launched;
    enum l2_mode mode;
    uint32_t reason; /* all 32 bits, or L2_NOT_ENTERED | status of insn.h */
};

#define L2_NOT_ENTERED 0x40000000u

extern struct l2 l2;

/* Memory that tests look at and map in different ways. */
#define L2_DATA_PAGES 8u
extern uint8_t l2_data[L2_DATA_PAGES][4096];
/* Where L2 sees those pages, one after the other, linear and (with EPT) guest-physical. */
#define L2_DATA 0x40000000ull
extern uint8_t msr_bitmap[4096], io_bitmap[2][4096];
extern uint64_t vmxon_region[512], vmcs_region[4][512];
extern uint64_t l2_gdt[16], l2_idt[512];

/*
 * L2's tables, rebuilt by each l2_reset(). Each root maps 1 GiB one to one by 2 MiB pages, and
 * the data pages at L2_DATA by 4 KiB pages.
 */
struct tables {
    uint64_t top[512], pdpt[512], low[512], data_pd[512], data_pt[512];
};
extern struct tables l2_ept, l2_paging;

const char *l2_mode_name(enum l2_mode mode);

/* Turns VMX operation on; false when the CPU lacks something every test needs. */
bool vmx_start(void);
/* Revision identifier in the first word of a VMCS region. */
void vmcs_prepare(uint64_t *region);

/* A fresh L2 in vmcs_region[0], which becomes current and clear. */
void l2_reset(enum l2_mode mode);
/* As l2_reset() in another region. */
void l2_reset_in(enum l2_mode mode, uint64_t *region);

/* INVEPT and INVVPID of everything: after each change of tables that L2 has run on. */
void flush_everything(void);

/* Sets RIP to a snippet, RSP to a fresh stack, RFLAGS to 2, not blocked, active, GPRs to zero. */
void l2_start(const char *code);
/* VMLAUNCH or VMRESUME, as fits. Returns l2.reason. */
uint32_t l2_run(void);
/* l2_start() and l2_run(). */
uint32_t l2_go(const char *code);
/* RIP past the instruction that caused the exit, then enters again. */
uint32_t l2_skip_and_run(void);

/* Sets and clears bits of a 32-bit control field. */
void ctl_set(uint32_t field, uint32_t bits);
void ctl_clear(uint32_t field, uint32_t bits);
/* Whether the CPU can set all of @bits there; true for a field that is no such control. */
bool ctl_can(uint32_t field, uint32_t bits);

/* Whether the CPU has what IA32_VMX_EPT_VPID_CAP says with these bits. */
#define EPT_CAP_1G (1ull << 17)
#define EPT_CAP_AD (1ull << 21)
bool ept_can(uint64_t bits);
/* EPTP_AD where the CPU has it, else 0. */
uint64_t eptp_ad(void);

/* IRET ends blocking by NMI, whoever caused it. */
void unblock_nmi(void);

/* RIP of L2 as a linear address (real mode has a CS base). */
uint64_t l2_rip(void);
uint64_t l2_stack_top(void);

#define ANY (~0ull)

/* What an exit must look like; a member that is ANY is not looked at. */
struct expect {
    uint64_t reason, qualification, length, rip;
};

/* One check: the first thing that is not as expected is the detail. */
bool expect_exit(const char *name, const struct expect *e);
bool expect_reason(const char *name, uint32_t reason);

/* The exit that every snippet ends with: VMCALL. */
bool expect_done(const char *name);

/* Vector of the L2 handler that VMCALLed, or -1. Its stack frame begins at l2_frame(). */
int l2_handler_vector(void);
/* Exception frame as L2's handler finds it: [error,] RIP, CS, RFLAGS, RSP, SS. */
const uint64_t *l2_frame(void);

/*
 * A piece of L2 code: s_NAME is its start, i_NAME the instruction under test, e_NAME the one
 * after. `pre` and `post` may be empty; a VMCALL follows.
 */
#define SNIPPET(name, pre, insn, post) SNIPPET_BITS("64", name, pre, insn, post)
#define SNIPPET16(name, pre, insn, post) SNIPPET_BITS("16", name, pre, insn, post)
#define SNIPPET32(name, pre, insn, post) SNIPPET_BITS("32", name, pre, insn, post)
#define SNIPPET_BITS(bits, name, pre, insn, post)                                                  \
    extern const char s_##name[], i_##name[], e_##name[];                                          \
    __asm__(".text\n.code" bits "\n.balign 16\ns_" #name ":\n" pre "\ni_" #name ":\n" insn         \
            "\ne_" #name ":\n" post "\nvmcall\n1: jmp 1b\n.code64\n")

#endif
