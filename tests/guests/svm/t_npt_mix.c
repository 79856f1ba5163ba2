/* SPDX-License-Identifier: MIT */
/*
 * Nested tables that mix pages of 4 KiB, 2 MiB and 1 GiB, and change one for another. After each
 * round of edits and a flush (all, one ASID, or an ASID that is new) every region is read and
 * written, and what L2 sees, what it may write and which accessed and dirty flags L1's entries
 * have is checked; the flags of all entries are also part of a line of the log, so that a nested
 * run must set the same ones as a bare one. Edits that only add are tried without a flush. And
 * more nested tables than any cache keeps by default take turns. [APM 2 "Nested Paging", "TLB
 * Control"]
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

#define SLOTS 4u
#define ROUNDS 24u
#define ROOTS 512u
#define SIZE_2M 0x200000ull
/* L2-physical: slots of 2 MiB, and a GiB that one entry of the third level maps. */
#define LOW 0x60000000ull
#define HIGH 0x80000000ull
#define NESTED_ALL (PT_P | PT_W | PT_U)
#define NONE (~0ull)

SNIPPET(g_x_read, "", "mov (%rbx), %rax");
SNIPPET(g_x_write, "", "mov %rax, 8(%rbx)");

/* Two blocks of 2 MiB, each page of which begins with what it is. */
static uint8_t room[3 * SIZE_2M];
static uint64_t (*memory)[512][512];
static _Alignas(4096) uint64_t small[SLOTS][512], middle[512];

enum kind { ABSENT, SMALL, LARGE, READ_ONLY_SMALL, READ_ONLY_LARGE, KINDS };

static struct {
    enum kind kind[SLOTS];
    unsigned int block[SLOTS];
    unsigned int high; /* 0: absent, 1: one page of 1 GiB, 2: middle */
    uint32_t asid;
} now;

static uint32_t dice(uint64_t *state, uint32_t sides)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33) % sides;
}

static bool has_1g(void)
{
    return (rt_cpuid(0x80000001, 0).edx >> 26 & 1) != 0;
}

static uint64_t value_of(unsigned int block, unsigned int page)
{
    return 0x60000 + block * 0x1000 + page;
}

static bool is_writable(unsigned int slot)
{
    return now.kind[slot] == SMALL || now.kind[slot] == LARGE;
}

static bool is_small(unsigned int slot)
{
    return now.kind[slot] == SMALL || now.kind[slot] == READ_ONLY_SMALL;
}

static uint64_t *directory(unsigned int slot)
{
    return pt_entry(l2.npt, LOW + slot * SIZE_2M, 2);
}

static void put_slot(unsigned int slot)
{
    uint64_t rights = is_writable(slot) ? NESTED_ALL : PT_P | PT_U;

    for (unsigned int i = 0; i < 512; i++) {
        small[slot][i] = pa(memory[now.block[slot]][(i + 1) % 512]) | rights;
    }
    if (now.kind[slot] == ABSENT) {
        *directory(slot) = 0;
    } else if (is_small(slot)) {
        *directory(slot) = pa(small[slot]) | NESTED_ALL;
    } else {
        *directory(slot) = pa(memory[now.block[slot]]) | rights | PT_PS;
    }
}

/* The table for HIGH has the two blocks of memory exchanged. */
static void put_high(void)
{
    for (uint64_t i = 0; i < 512; i++) {
        middle[i] = i * SIZE_2M | NESTED_ALL | PT_PS;
    }
    for (unsigned int i = 0; i < 2; i++) {
        middle[pa(memory[i]) / SIZE_2M] = pa(memory[1 - i]) | NESTED_ALL | PT_PS;
    }
    *pt_entry(l2.npt, HIGH, 3) = now.high == 0   ? 0
                                 : now.high == 1 ? NESTED_ALL | PT_PS
                                                 : pa(middle) | NESTED_ALL;
}

static void reset(void)
{
    l2_reset(L2_NPT);
    memset(&now, 0, sizeof now);
    now.asid = 1;
    memory = (uint64_t(*)[512][512])(void *)(uintptr_t)((pa(room) + SIZE_2M - 1) & ~(SIZE_2M - 1));
    for (unsigned int block = 0; block < 2; block++) {
        for (unsigned int page = 0; page < 512; page++) {
            memory[block][page][0] = value_of(block, page);
        }
    }
    for (unsigned int slot = 0; slot < SLOTS; slot++) {
        put_slot(slot);
    }
    put_high();
}

/* What L2 finds, or NONE where it has a nested fault. Slots SLOTS and SLOTS + 1 are in HIGH. */
static uint64_t look(const uint8_t *code, unsigned int slot, unsigned int page)
{
    uint64_t base = slot < SLOTS ? LOW + slot * SIZE_2M : HIGH + pa(memory[slot - SLOTS]);
    uint64_t exit;

    l2.g.rbx = base + page * 4096ull;
    l2.vmcb->rax = 0x77;
    exit = l2_run_at(code);
    if (exit == EXIT_VMMCALL) {
        return l2.vmcb->rax;
    }
    return exit == EXIT_NPF ? NONE : 0xbad00000u | exit;
}

static uint64_t expected(unsigned int slot, unsigned int page)
{
    if (slot >= SLOTS) {
        return now.high == 0
                   ? NONE
                   : value_of(now.high == 1 ? slot - SLOTS : 1 - (slot - SLOTS), page);
    }
    if (now.kind[slot] == ABSENT) {
        return NONE;
    }
    return value_of(now.block[slot], is_small(slot) ? (page + 1) % 512 : page);
}

static uint64_t leaf_of(unsigned int slot, unsigned int page)
{
    return is_small(slot) ? small[slot][page] : *directory(slot);
}

static uint64_t digest_of(uint64_t digest, const uint64_t *table, unsigned int entries)
{
    for (unsigned int i = 0; i < entries; i++) {
        digest = (digest ^ (table[i] >> 5 & 3)) * 0x100000001b3ull;
    }
    return digest;
}

/* The flags of every entry that L1 has for these regions. */
static uint64_t all_flags(void)
{
    uint64_t digest = digest_of(0xcbf29ce484222325ull, middle, 512);

    for (unsigned int slot = 0; slot < SLOTS; slot++) {
        digest = digest_of(digest, small[slot], 512);
        digest = digest_of(digest, directory(slot), 1);
    }
    digest = digest_of(digest, pt_entry(l2.npt, LOW, 3), 1);
    return digest_of(digest, pt_entry(l2.npt, HIGH, 3), 1);
}

/* Every region is looked at: two pages of it read, one of them written. Returns what was wrong. */
static unsigned int look_around(void)
{
    unsigned int wrong = 0;

    for (unsigned int slot = 0; slot < SLOTS + 2; slot++) {
        bool writable = slot < SLOTS ? is_writable(slot) : now.high != 0;

        wrong += look(g_x_read, slot, 3) != expected(slot, 3);
        wrong += look(g_x_read, slot, 500) != expected(slot, 500);
        wrong += look(g_x_write, slot, 500) != (writable ? 0x77 : NONE);
        if (slot >= SLOTS || now.kind[slot] == ABSENT) {
            continue;
        }
        wrong += (leaf_of(slot, 3) & PT_A) == 0;
        wrong += (leaf_of(slot, 500) & PT_D) != (writable ? PT_D : 0);
        if (now.kind[slot] == SMALL) {
            wrong += (leaf_of(slot, 3) & PT_D) != 0 || (leaf_of(slot, 4) & PT_A) != 0;
        }
    }
    return wrong;
}

static void flush(uint64_t *state)
{
    switch (dice(state, 3)) {
    case 0:
        l2.vmcb->tlb_control = 1;
        now.asid = 1;
        break;
    case 1:
        l2.vmcb->tlb_control = cpu_has_flush_by_asid() ? 3 : 1;
        break;
    default:
        /* One that was not used since all were flushed. */
        if (++now.asid == 8) {
            l2.vmcb->tlb_control = 1;
            now.asid = 1;
        }
        break;
    }
    l2.vmcb->asid = now.asid;
}

static void rounds(void)
{
    uint64_t state = 22;

    reset();
    for (unsigned int n = 0; n < ROUNDS; n++) {
        char name[64];

        for (unsigned int edits = 1 + dice(&state, 3); edits > 0; edits--) {
            unsigned int slot = dice(&state, SLOTS);

            now.kind[slot] = (enum kind)dice(&state, KINDS);
            now.block[slot] = dice(&state, 2);
            put_slot(slot);
        }
        if (dice(&state, 3) == 0) {
            now.high = has_1g() ? dice(&state, 3) : dice(&state, 2) * 2;
            put_high();
        }
        flush(&state);
        rt_snprintf(name, sizeof name, "round.%u", n);
        t_eq(name, "wrong", look_around(), 0);
        rt_snprintf(name, sizeof name, "round.%u.all-flags.%lx", n, all_flags());
        t_check(name, NULL, true);
    }
}

/* An entry that was not present may be used at once, whatever size it comes in; one that gains a
 * right at the latest after the fault. [APM 2 "Translation-Lookaside Buffer (TLB)"] */
static void additions(void)
{
    for (unsigned int large = 0; large < 2; large++) {
        const char *name = large != 0 ? "addition.2m" : "addition.4k";

        reset();
        t_eq(name, "absent", look(g_x_read, 0, 3), NONE);
        now.kind[0] = large != 0 ? READ_ONLY_LARGE : READ_ONLY_SMALL;
        put_slot(0);
        t_eq(name, "readable", look(g_x_read, 0, 3), expected(0, 3));
        t_eq(name, "read-only", look(g_x_write, 0, 3), NONE);
        now.kind[0] = large != 0 ? LARGE : SMALL;
        put_slot(0);
        (void)look(g_x_write, 0, 3);
        t_eq(name, "writable", look(g_x_write, 0, 3), 0x77);
    }
    reset();
    t_eq("addition.1g", "absent", look(g_x_read, SLOTS, 3), NONE);
    now.high = has_1g() ? 1 : 2;
    put_high();
    t_eq("addition.1g", "readable", look(g_x_read, SLOTS, 3), expected(SLOTS, 3));
}

/* Each nested table shows its own page at one address, in turn and in any order, under one ASID
 * with a flush at each switch. */
static void many_roots(void)
{
    static _Alignas(4096) uint64_t top[ROOTS][512], third[ROOTS][512], own[ROOTS][512];
    uint64_t state = 23;
    unsigned int wrong = 0;

    reset();
    for (unsigned int i = 0; i < ROOTS; i++) {
        memcpy(third[i], (void *)(uintptr_t)(l2.npt[0] & ~0xfffull), 4096);
        top[i][0] = pa(third[i]) | NESTED_ALL;
        /* Its own directory for LOW has one large page. */
        own[i][(LOW >> 21) & 511] = pa(memory[i & 1]) | NESTED_ALL | PT_PS;
        third[i][LOW >> 30] = pa(own[i]) | NESTED_ALL;
    }
    for (unsigned int n = 0; n < 4 * ROOTS; n++) {
        unsigned int i = n < 2 * ROOTS ? n % ROOTS : dice(&state, ROOTS);

        l2.vmcb->ncr3 = pa(top[i]);
        l2.vmcb->tlb_control = 1;
        wrong += look(g_x_read, 0, i) != value_of(i & 1, i);
    }
    t_eq("many-roots", "each-shows-its-own", wrong, 0);
}

void test_npt_mix(void)
{
    t_group("npt-mix", NULL);
    rounds();
    additions();
    many_roots();
}
