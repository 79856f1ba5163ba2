/* SPDX-License-Identifier: MIT */
/*
 * Measuring: time-stamp ticks, which both emulators make equal to retired instructions, and the
 * counters of nvirt where it is below. Results leave as "BENCH name value unit" on COM1, each for
 * one repetition; a counter that did not move is left out.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <nvirt/types.h>

#include "rt.h"

/* The host's hypercall (examples/baremetal-host/README.md); each vendor's image defines it. */
uint64_t bench_hypercall(uint64_t selector, uint64_t *value);

/*
 * Finds out whether nvirt is below, takes what the counters themselves cost, says who runs where.
 * The other two are what rt_main() was given.
 */
void bench_init(const char *image, uint32_t magic, uint32_t mbi);

/* The word "profile" on the command line: marks one round trip for profile.sh, then stops. */
bool bench_profile(void);
/* The same with the name of a scene, for those that are not the first to be measured. */
bool bench_profiles(const char *scene);

/* Where Bochs's debugger stops (magic_break), and nothing otherwise. */
static inline void bench_mark(void)
{
    __asm__ volatile("xchgw %%bx, %%bx" : : : "memory");
}

/* What lies between the two calls happened `count` times. */
void bench_begin(void);
void bench_end(const char *name, uint64_t count);

/* Prints every counter as it is now, named "total", then the last line, and ends the run. */
_Noreturn void bench_finish(void);

/*
 * Bochs's RDTSC may be up to a trace of 32 instructions stale, unless it begins a trace: hence the
 * jump.
 */
static inline uint64_t bench_ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("jmp 1f\n1: rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* How often each thing is repeated, after BENCH_WARM times that nobody measures. */
#define BENCH_COUNT 1000u
#define BENCH_WARM 100u

/* --- What L2 does (l2_code.c): ordinary code of this image that L2 reaches one to one --------- */

/* Loops for ever, one CPUID or one hypercall each time round. */
void l2_loop_cpuid(void);
void l2_loop_call(void);
/* Says something through port L2_PORT, byte by byte, then halts by l2_stop(). */
void l2_hello(void);
/* Reads a byte at l2_touch.begin and on at each `step`, `count` times, then stops. */
void l2_touch_pages(void);
struct l2_touch {
    uint64_t begin, step, count;
};
extern volatile struct l2_touch l2_touch;

/* VMCALL or VMMCALL, whichever the CPU has; L1 does not enter L2 again after it. */
void l2_stop(void);

/* The port that L1 carries to COM1 for L2. */
#define L2_PORT 0x3f8u

/* One byte that L2 wrote there. */
void bench_l2_char(char c);
/* What L1 answers to a CPUID of L2: registers as L2 sets them, replaced by the answer. */
void bench_l2_cpuid(uint64_t *rax, uint64_t *rbx, uint64_t *rcx, uint64_t *rdx);

/* Memory for L2 to touch, guest-physical as in L1: 4 KiB pages, then 2 MiB pages. */
#define TOUCH_SMALL 0x2000000u
#define TOUCH_LARGE 0x4000000u
#define TOUCH_SMALL_COUNT 512u
#define TOUCH_LARGE_COUNT 64u

#endif
