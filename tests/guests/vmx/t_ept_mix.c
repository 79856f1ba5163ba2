/* SPDX-License-Identifier: MIT */
/*
 * Hierarchies that mix pages of 4 KBytes, 2 MBytes and 1 GByte, and change one for another. After
 * each round of edits and INVEPT every region is read and written, and what L2 sees, what it may
 * write and which accessed and dirty flags L1's entries have is checked; the flags of all entries
 * are also part of a line of the log, so that a nested run must set the same ones as a bare one.
 * Edits that only add are tried without INVEPT. [SDM 3C "EPT Translation Mechanism", "Accessed and
 * Dirty Flags for EPT", "Operations that Invalidate Cached Mappings"]
 */
#include "l2.h"
#include "tests.h"

#define SLOTS 4u
#define ROUNDS 24u
#define SIZE_2M 0x200000ull
#define SIZE_1G 0x40000000ull
/* Guest-physical, where one entry of the third level maps all. */
#define HIGH 0x80000000ull

SNIPPET(x_read, "", "movq (%rdi), %rax", "");
SNIPPET(x_write, "", "movq %rax, 8(%rdi)", "");

/* Memory behind: two blocks of 2 MBytes, each page of which begins with what it is. The image is
 * not that much aligned. */
static uint8_t room[3 * SIZE_2M];
static uint64_t (*memory)[512][512];
/* A table of 4-KByte pages for each slot, shifted by one page, and a table for HIGH that has the
 * two blocks of memory exchanged. */
static uint64_t small[SLOTS][512] __attribute__((aligned(4096)));
static uint64_t middle[512] __attribute__((aligned(4096)));

enum kind { ABSENT, SMALL, LARGE, READ_ONLY_SMALL, READ_ONLY_LARGE, KINDS };

static struct {
    enum kind kind[SLOTS];
    unsigned block[SLOTS];
    unsigned high; /* 0: absent, 1: one page of 1 GByte, 2: middle */
} now;

static uint32_t dice(uint64_t *state, uint32_t sides)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33) % sides;
}

static uint64_t value_of(unsigned block, unsigned page)
{
    return 0x60000 + block * 0x1000 + page;
}

static bool is_writable(unsigned slot)
{
    return now.kind[slot] == SMALL || now.kind[slot] == LARGE;
}

static void put_slot(unsigned slot)
{
    uint64_t rights = is_writable(slot) ? EPT_RWX : EPT_R;
    uint64_t *entry = &l2_ept.data_pd[slot];

    switch (now.kind[slot]) {
    case SMALL:
    case READ_ONLY_SMALL:
        for (unsigned i = 0; i < 512; i++)
            small[slot][i] =
                (uint64_t)memory[now.block[slot]][(i + 1) % 512] | rights | EPT_WB;
        *entry = (uint64_t)small[slot] | EPT_RWX;
        break;
    case LARGE:
    case READ_ONLY_LARGE:
        *entry = (uint64_t)memory[now.block[slot]] | rights | EPT_WB | EPT_LARGE;
        break;
    default:
        *entry = 0;
        break;
    }
}

static void put_high(void)
{
    uint64_t in_middle = (uint64_t)middle | EPT_RWX;

    for (uint64_t i = 0; i < 512; i++)
        middle[i] = i * SIZE_2M | EPT_RWX | EPT_WB | EPT_LARGE;
    for (unsigned i = 0; i < 2; i++)
        middle[(uint64_t)memory[i] / SIZE_2M] =
            (uint64_t)memory[1 - i] | EPT_RWX | EPT_WB | EPT_LARGE;
    l2_ept.pdpt[2] = now.high == 0   ? 0
                     : now.high == 1 ? EPT_RWX | EPT_WB | EPT_LARGE
                                     : in_middle;
}

/* L2's own tables: a slot of 2 MBytes after the other, then both blocks of memory in HIGH. */
static void reset(bool flags)
{
    l2_reset(L2_EPT);
    if (flags)
        vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    memset(&now, 0, sizeof(now));
    memory = (uint64_t (*)[512][512])(((uint64_t)room + SIZE_2M - 1) & ~(SIZE_2M - 1));
    for (unsigned block = 0; block < 2; block++)
        for (unsigned page = 0; page < 512; page++)
            memory[block][page][0] = value_of(block, page);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        l2_paging.data_pd[slot] = (L2_DATA + slot * SIZE_2M) | 0xe7;
        put_slot(slot);
    }
    for (unsigned block = 0; block < 2; block++)
        l2_paging.data_pd[SLOTS + block] = (HIGH + (uint64_t)memory[block]) | 0xe7;
    put_high();
    flush_everything();
}

/* What L2 finds, or ANY where it has an EPT violation. */
static uint64_t look(const char *code, unsigned slot, unsigned page)
{
    l2_start(code);
    l2.g.rdi = L2_DATA + slot * SIZE_2M + page * 4096ull;
    l2.g.rax = 0x77;
    (void)l2_run();
    if (l2.reason == R_VMCALL)
        return l2.g.rax;
    return l2.reason == R_EPT_VIOLATION ? ANY : 0xbad00000u | l2.reason;
}

static uint64_t expected(unsigned slot, unsigned page)
{
    if (slot >= SLOTS)
        return now.high == 0 ? ANY
                             : value_of(now.high == 1 ? slot - SLOTS : 1 - (slot - SLOTS), page);
    if (now.kind[slot] == ABSENT)
        return ANY;
    return now.kind[slot] == SMALL || now.kind[slot] == READ_ONLY_SMALL
               ? value_of(now.block[slot], (page + 1) % 512)
               : value_of(now.block[slot], page);
}

/* A slot's leaf for a page. */
static uint64_t leaf_of(unsigned slot, unsigned page)
{
    return now.kind[slot] == SMALL || now.kind[slot] == READ_ONLY_SMALL ? small[slot][page]
                                                                        : l2_ept.data_pd[slot];
}

static uint64_t digest_of(uint64_t digest, const uint64_t *table, unsigned entries)
{
    for (unsigned i = 0; i < entries; i++)
        digest = (digest ^ (table[i] >> 8 & 3)) * 0x100000001b3ull;
    return digest;
}

/* The flags of every entry that L1 has for these regions. */
static uint64_t all_flags(void)
{
    uint64_t digest = 0xcbf29ce484222325ull;

    for (unsigned slot = 0; slot < SLOTS; slot++)
        digest = digest_of(digest, small[slot], 512);
    digest = digest_of(digest, middle, 512);
    digest = digest_of(digest, l2_ept.data_pd, 8);
    return digest_of(digest, l2_ept.pdpt, 3);
}

/* Every region is looked at: two pages of it read, one of them written. @return what was wrong. */
static unsigned look_around(bool flags)
{
    unsigned wrong = 0;

    for (unsigned slot = 0; slot < SLOTS + 2; slot++) {
        bool writable = slot < SLOTS ? is_writable(slot) : now.high != 0;

        wrong += look(s_x_read, slot, 3) != expected(slot, 3);
        wrong += look(s_x_read, slot, 500) != expected(slot, 500);
        wrong += look(s_x_write, slot, 500) != (writable ? 0x77 : ANY);
        if (!flags || slot >= SLOTS || now.kind[slot] == ABSENT)
            continue;
        wrong += (leaf_of(slot, 3) & EPT_A) == 0;
        wrong += (leaf_of(slot, 500) & EPT_D) != (writable ? EPT_D : 0);
        if (now.kind[slot] == SMALL)
            wrong += (leaf_of(slot, 3) & EPT_D) != 0 || (leaf_of(slot, 4) & EPT_A) != 0;
    }
    return wrong;
}

static void rounds(bool flags)
{
    const char *name = flags ? "flags" : "plain";
    uint64_t state = flags ? 21 : 20;

    reset(flags);
    for (unsigned n = 0; n < ROUNDS; n++) {
        const struct inv_desc one = {vmread(F_EPTP), 0}, none = {0, 0};

        for (unsigned edits = 1 + dice(&state, 3); edits > 0; edits--) {
            unsigned slot = dice(&state, SLOTS);

            now.kind[slot] = (enum kind)dice(&state, KINDS);
            now.block[slot] = dice(&state, 2);
            put_slot(slot);
        }
        if (dice(&state, 3) == 0) {
            now.high = dice(&state, ept_can(EPT_CAP_1G) ? 3 : 1) * (ept_can(EPT_CAP_1G) ? 1 : 2);
            put_high();
        }
        if (dice(&state, 4) == 0)
            (void)invept(2, &none);
        else
            (void)invept(1, &one);
        check_eq(look_around(flags), 0, "%s.%u", name, n);
        if (flags)
            check(true, "%s.%u.all_flags.%lx", name, n, all_flags());
    }
}

/* An entry that was not present may be used at once, whatever size it comes in; one that gains a
 * right at the latest after the violation. [SDM 3C "Guidelines for Use of the INVEPT
 * Instruction"] */
static void additions(void)
{
    static const enum kind kinds[] = {SMALL, LARGE};

    for (unsigned i = 0; i < 2; i++) {
        reset(false);
        check_eq(look(s_x_read, 0, 3), ANY, "addition.%u.absent", i);
        now.kind[0] = i == 0 ? READ_ONLY_SMALL : READ_ONLY_LARGE;
        put_slot(0);
        check_eq(look(s_x_read, 0, 3), expected(0, 3), "addition.%u.readable", i);
        check_eq(look(s_x_write, 0, 3), ANY, "addition.%u.read_only", i);
        now.kind[0] = kinds[i];
        put_slot(0);
        (void)look(s_x_write, 0, 3);
        check_eq(look(s_x_write, 0, 3), 0x77, "addition.%u.writable", i);
    }
    reset(false);
    check_eq(look(s_x_read, SLOTS, 3), ANY, "addition.high.absent");
    now.high = ept_can(EPT_CAP_1G) ? 1 : 2;
    put_high();
    check_eq(look(s_x_read, SLOTS, 3), expected(SLOTS, 3), "addition.high.readable");
}

void test_ept_mix(void)
{
    check_group("ept_mix");
    rounds(false);
    if (ept_can(EPT_CAP_AD))
        rounds(true);
    additions();
}
