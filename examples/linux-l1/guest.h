/* SPDX-License-Identifier: MIT */
/*
 * What the /dev/kvm program and the guest it runs have agreed on: where things lie in the guest's
 * physical memory, which I/O port means what, and the page through which the guest reports. Both
 * sides compute every expected value from the functions here, so that neither only trusts the
 * other.
 */
#ifndef LINUX_L1_GUEST_H
#define LINUX_L1_GUEST_H

/* Guest-physical layout. The program builds everything below IMAGE_GPA. */
#define GDT_GPA 0x1000
#define TSS_GPA 0x1100
#define PML4_A_GPA 0x2000
#define PDPT_A_GPA 0x3000
#define PD_LOW_GPA 0x4000
#define PD_HIGH_GPA 0x5000
#define PD_WIN_A_GPA 0x6000
#define PT_WIN_A_GPA 0x7000
#define PML4_B_GPA 0x8000
#define PDPT_B_GPA 0x9000
#define PD_WIN_B_GPA 0xa000
#define PT_WIN_B_GPA 0xb000
#define IMAGE_GPA 0x10000
#define IMAGE_MAX 0x50000
#define IMAGE_ENTRY (IMAGE_GPA + 0x1000)
#define REAL_SELECTOR (IMAGE_GPA >> 4)
#define STACK_GPA 0x78000
#define PEER_STACK_GPA 0x7c000
#define MAILBOX_GPA 0x80000
#define WIN_PAGE_A_GPA 0x90000
#define WIN_PAGE_B_GPA 0x91000
#define WIN_PAGE_C_GPA 0x92000

/* Two regions of first touches: one the program backs with small pages, one with large pages. */
#define SMALL_GPA 0x400000
#define SMALL_SIZE 0x400000
#define LARGE_GPA 0x800000
#define LARGE_SIZE 0x400000
#define RAM_SIZE 0xc00000

/* Memory slots of their own: one whose dirty pages are logged, one the guest may only read. */
#define LOGGED_GPA 0xc00000
#define LOGGED_SIZE 0x80000
#define READONLY_GPA 0xd00000
#define READONLY_SIZE 0x10000

/* No memory here: an access leaves to the program. */
#define MMIO_GPA 0xd0000000

/* A window that the two sets of page tables map differently; its first pages are 4 KiB entries. */
#define WINDOW_GVA 0x40000000
#define WINDOW_LAZY_GVA 0x40002000
#define WINDOW_READONLY_GVA 0x40003000
#define WINDOW_NX_GVA 0x40004000

#define GPA_PAGE 0x1000
#define GPA_LARGE_PAGE 0x200000

/* Selectors of the GDT at GDT_GPA. */
#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_TSS 0x20

/* Ports. */
#define PORT_SEQUENCE 0x510
#define PORT_VALUE 0x514
#define PORT_STRING 0x518
#define PORT_STEP 0x520
#define PORT_ACTION 0x524
#define PORT_PEER 0x528
#define PORT_COST 0x52c
#define PORT_REAL 0x530

#define SEQUENCE_LENGTH 256
#define STRING_LENGTH 64
#define PEER_ROUNDS 32
#define TIMER_TICKS 8
#define COST_LOOP 1000
#define COST_BATCHES 5
#define LOGGED_STRIDE 3

/* What the real-mode guest writes to PORT_REAL as it moves through the modes. */
#define REAL_STARTED 0x10
#define REAL_CPUID 0x11
#define REAL_INTERRUPT 0x12
#define REAL_PROTECTED 0x13
#define REAL_LONG 0x14
#define REAL_VALUE_GPA 0x7f000
#define REAL_VALUE_UNPAGED 0x2468ace0
#define REAL_VALUE_PAGED 0x13579bdf

/* The CPUID leaf the program defines: a signature no processor and no hypervisor has. */
#define CPUID_LEAF 0x40000000
#define CPUID_LEAF_EBX 0x7269766e /* "nvir" */
#define CPUID_LEAF_ECX 0x67324c74 /* "tL2g" */
#define CPUID_LEAF_EDX 0x74736575 /* "uest" */

#define VECTOR_TIMER 0x40
#define VECTOR_SELF 0x41
#define VECTOR_PIC 0x50
#define PIC_LINE 5

#ifndef __ASSEMBLER__

#include <stdint.h>

/* What the first vCPU's RDI says it shall run, what the second one's does. */
enum guest_program {
    PROGRAM_STEPS,
    PROGRAM_PEER,
    PROGRAM_COST,
};

/* One row per step of the guest, in order: name, and what a passing line says. */
#define GUEST_STEPS(X)                                                                             \
    X(CPUID, "cpuid", "vendor and the leaf KVM was given")                                         \
    X(PORTS, "port I/O", "counted OUTs of 3 widths, INs, string OUT")                              \
    X(SMALL, "memory, 4 KiB pages", "first touches of 4 MiB, both sides agree")                    \
    X(LARGE, "memory, 2 MiB pages", "first touches of 4 MiB, both sides agree")                    \
    X(UNMAP, "memory taken away", "zeroes after the host dropped touched pages")                   \
    X(DIRTY, "dirty log", "exactly the written pages")                                             \
    X(MMIO, "mmio", "no memory there, and writes to read-only memory")                             \
    X(PAGING, "own page tables", "remapping, INVLPG, two address spaces")                          \
    X(FAULTS, "exceptions", "#PF on demand, write, fetch; #GP; #UD; #BP; #DE")                     \
    X(MSR, "msr", "kept values, unknown MSR faults, TSC moves on")                                 \
    X(HYPERCALL, "hypercall", "answered, unknown number refused")                                  \
    X(REGISTERS, "registers", "general and XMM registers survive exits")                           \
    X(TIMER, "timer interrupt", "LAPIC ticks counted between HLTs")                                \
    X(INTERRUPTS, "interrupts", "self IPI, line held off by IF=0, NMI")                            \
    X(PEER, "second vCPU", "takes turns, with its own page tables")

#define GUEST_STEP_ENUM(id, name, text) STEP_##id,
enum guest_step {
    GUEST_STEPS(GUEST_STEP_ENUM)
    STEP_COUNT
};

/* What the guest asks of the program in the middle of a step. */
enum guest_action {
    ACTION_UNMAP,
    ACTION_LOG_START,
    ACTION_LOG_CHECK,
    ACTION_RAISE_LINE,
    ACTION_LOWER_LINE,
    ACTION_NMI,
    ACTION_PEER,
};

/* The report page. Written by the guest unless said otherwise. */
struct guest_mailbox {
    uint32_t is_amd;      /* written by the program: VMMCALL instead of VMCALL */
    uint32_t have_tsc_deadline; /* written by the program */
    uint32_t has_direct_flush;  /* written by the program: KVM leaves Hyper-V's flushes to L0 */
    uint32_t step;
    uint32_t failed_line; /* line of guest.c whose check failed, 0 if none */
    uint64_t seen[2];     /* what that check saw, and what it wanted */
    uint32_t vendor[3];
    uint32_t ticks;
    uint32_t nmis;
    uint32_t peer_turns;
    uint32_t unexpected_vector;
    uint64_t unexpected_rip;
};

/* What IN number `n` of the port step returns. */
static inline uint32_t guest_in_value(uint32_t n)
{
    return 0x9e3779b9u * (n + 1u);
}

/* What the guest writes to the page at `gpa`, and, in another word, what the program put there. */
static inline uint64_t guest_pattern(uint64_t gpa)
{
    return (gpa ^ 0x5a5a5a5a00000000u) * 0x9e3779b97f4a7c15u;
}

static inline uint64_t host_pattern(uint64_t gpa)
{
    return ~guest_pattern(gpa) ^ (gpa << 7);
}

#endif
#endif
