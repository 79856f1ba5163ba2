/* SPDX-License-Identifier: MIT */
/*
 * The processor as the SVM test hypervisor drives it: instruction wrappers, its own descriptor
 * tables and trap recorder, and calls into ring 3 and compatibility mode that come back with the
 * vector that ended them.
 */
#ifndef SVM_TEST_CPU_H
#define SVM_TEST_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rt.h"

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_UCODE32 0x20
#define SEL_UDATA 0x28
#define SEL_UCODE64 0x30
#define SEL_TSS 0x38
#define SEL_CODE16 0x48
#define SEL_DATA16 0x50
#define SEL_TSS32_A 0x58
#define SEL_TSS32_B 0x60
#define SEL_LDT 0x68 /* 16 bytes in long mode */
#define SEL_ABSENT 0x78

#define VEC_USER_DONE 0x80 /* how ring 3 and 32-bit code say "no exception" */
#define VEC_IPI 0x61
#define VEC_TIMER 0x62
#define VEC_PIT 0x70
#define VEC_SPURIOUS 0xff

/* What try_call and friends return when nothing was raised. */
#define NO_TRAP (-1)

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* The last trap that went through the common handler, and how often each vector did. */
struct trap_log {
    uint64_t vector, error, rip, cs, rflags, rsp, cr2;
    uint32_t count[256];
    uint64_t skip; /* bytes added to RIP on the way back, for faults with a known length */
    bool resume;   /* exceptions outside try_call return instead of being fatal */
    bool in_l2;    /* set around VMRUN: the handler is L2's, and a surprise ends it by VMMCALL */
};

extern struct trap_log trap;

void cpu_init(void);
bool cpu_is_qemu(void);
bool cpu_is_bochs(void);
unsigned int cpu_phys_bits(void);
bool cpu_has_la57(void);

/* Calls fn(a, b); NO_TRAP, or the vector of the exception that cut it short. */
int try_call(void (*fn)(uint64_t, uint64_t), uint64_t a, uint64_t b);
/* Jumps to code at CPL 3 (64-bit) with rax, or to 32-bit code at CPL 0. */
int try_user(uint64_t rip, uint64_t rax);
int try_compat(uint64_t rip, uint64_t rax);
/* The current try_call frame: saved and restored around an L2, which nests its own. */
extern uint64_t try_top;

/* The entry code of vector n is at trap_stubs + 16 * n. */
extern uint8_t trap_stubs[];
extern uint8_t gdt_storage[];
extern uint8_t idt_storage[];
#define GDT_LIMIT 0x7f
#define IDT_LIMIT 0xfff

void lapic_init(void);
void lapic_eoi(void);
void lapic_self_ipi(uint8_t vector);
void lapic_self_nmi(void);
void lapic_timer(uint32_t ticks);
void lapic_timer_stop(void);
bool lapic_irr(uint8_t vector);
void pit_one_shot(uint16_t ticks);
void pic_mask_all(void);

static inline void x_sti(void)
{
    __asm__ volatile("sti; nop" ::: "memory");
}

static inline void x_clgi(void)
{
    __asm__ volatile("clgi" ::: "memory");
}

static inline void x_stgi(void)
{
    __asm__ volatile("stgi; nop" ::: "memory");
}

static inline void x_vmsave(const void *p)
{
    __asm__ volatile("vmsave %%rax" ::"a"(p) : "memory");
}

static inline void x_vmload(const void *p)
{
    __asm__ volatile("vmload %%rax" ::"a"(p) : "memory");
}

#endif
