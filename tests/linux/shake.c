/* SPDX-License-Identifier: MIT */
/*
 * linux-run whose memory does not stay where it is: built with this file, it takes pages of L1's from one place to
 * another between the rounds of the vCPU, with L2 in the middle of its work as often as not. The linker puts the
 * __wrap_ functions in the place of those that are called before each round, and for the time.
 */
#include "machine.h"

enum { SYS_MREMAP = 25, SYS_MADVISE = 28 };

#define PAGE 4096u
#define EVERY 16u /* rounds */
#define SLOWER 16u
#define CHUNK (UINT64_C(64) * PAGE)
#define DONTNEED 4
#define PAGEOUT 21
#define MAYMOVE_FIXED 3
#define PROT_READ_WRITE 3
#define MAP_PRIVATE_ANONYMOUS 0x22

bool __real_interrupts_offer(void);
bool __wrap_interrupts_offer(void);
uint64_t __real_sys_now(void);
uint64_t __wrap_sys_now(void);

static uint8_t copy[PAGE];
static uint8_t *scratch;
static uint64_t rounds;

static void must_do(long result)
{
    if (result < 0)
        give_up("memory could not be moved: error", result);
}

/* The page is given back, and a new one has what it had. */
static void punch(uint8_t *page)
{
    memcpy(copy, page, PAGE);
    must_do(sys_call(SYS_MADVISE, (long)page, PAGE, DONTNEED, 0, 0, 0));
    memcpy(page, copy, PAGE);
}

/* Away and back: other page tables, the same contents. */
static void remap(uint8_t *from, uint64_t bytes)
{
    must_do(sys_call(SYS_MREMAP, (long)from, (long)bytes, (long)bytes, MAYMOVE_FIXED, (long)scratch, 0));
    must_do(sys_call(SYS_MREMAP, (long)scratch, (long)bytes, (long)bytes, MAYMOVE_FIXED, (long)from, 0));
}

static void shake(uint64_t round)
{
    /* Most of what L1 uses lies in the first MiBs: the images, their tables, L2's memory. */
    uint64_t at = round * 7919 * PAGE % (UINT64_C(16) << 20);
    uint8_t *page = machine.memory + at, *chunk = machine.memory + at / CHUNK * CHUNK;

    switch (round % 4) {
    case 0:
        for (uint32_t i = 0; i < 8; i++)
            punch(chunk + i * 8 * PAGE);
        break;
    case 1:
        remap(chunk, CHUNK);
        break;
    case 2:
        must_do(sys_call(SYS_MADVISE, (long)chunk, (long)CHUNK, PAGEOUT, 0, 0, 0));
        punch(page);
        break;
    default:
        punch(machine.apic);
        remap(machine.apic, PAGE);
        break;
    }
}

/* L1's timers run slower, as all else does: what a test has ready before its timer rings, it has here. */
uint64_t __wrap_sys_now(void)
{
    return __real_sys_now() / SLOWER;
}

bool __wrap_interrupts_offer(void)
{
    if (scratch == NULL) {
        long area = sys_call(SYS_MMAP, 0, (long)CHUNK, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);

        must_do(area);
        scratch = (uint8_t *)area;
    }
    if (++rounds % EVERY == 0)
        shake(rounds / EVERY);
    return __real_interrupts_offer();
}
