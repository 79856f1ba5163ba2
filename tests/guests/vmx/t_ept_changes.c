/* SPDX-License-Identifier: MIT */
/*
 * L1 edits EPT again and again among pages that it leaves alone, and switches among more roots than any
 * cache keeps by default. What L2 sees after INVEPT is what the tables say, page by page, whatever
 * was there before. [SDM 3C "The Extended Page Table Mechanism (EPT)", "Operations that Invalidate
 * Cached Mappings"]
 */
#include "l2.h"
#include "tests.h"

#define ROOTS 20u
#define EDITS 40u
#define SIZE_2M 0x200000ull

SNIPPET(e_read, "", "movq (%rdi), %rax", "");
SNIPPET(e_write, "", "movq %rax, (%rdi)", "");

/* What a page of L2 shows: a value, or that it is not there. */
static uint64_t look(const char *code, uint64_t address)
{
    l2_start(code);
    l2.g.rdi = address;
    (void)l2_run();
    if (l2.reason == R_VMCALL)
        return l2.g.rax;
    return l2.reason == R_EPT_VIOLATION ? 0xdead : 0xbad00000u | l2.reason;
}

static void fill_pages(void)
{
    for (unsigned i = 0; i < L2_DATA_PAGES; i++) {
        memset(l2_data[i], 0, 4096);
        *(uint64_t *)l2_data[i] = 0x1000 + i;
    }
}

static uint32_t dice(uint64_t *state, uint32_t sides)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33) % sides;
}

/* What the tables say of the first word of a page. */
static uint64_t expected(unsigned i)
{
    uint64_t entry = l2_ept.data_pt[i];

    if ((l2_ept.pdpt[1] & EPT_R) == 0)
        return 0xdead;
    if ((l2_ept.data_pd[0] & EPT_LARGE) != 0)
        return *(volatile uint64_t *)((l2_ept.data_pd[0] & ~(SIZE_2M - 1) & ~(0xfffull << 52)) +
                                      i * 4096ull);
    return (entry & EPT_R) == 0 ? 0xdead : *(volatile uint64_t *)(entry & 0x000ffffffffff000ull);
}

static void edit(uint64_t *state)
{
    unsigned i = dice(state, L2_DATA_PAGES);
    uint64_t target = (uint64_t)l2_data[dice(state, L2_DATA_PAGES)];

    switch (dice(state, 8)) {
    case 0:
        l2_ept.data_pt[i] = 0;
        break;
    case 1:
        l2_ept.data_pt[i] = target | EPT_R | EPT_WB;
        break;
    case 2: /* One page of 2 MiB instead of the table, and back. */
        l2_ept.data_pd[0] = ((uint64_t)l2_data[0] & ~(SIZE_2M - 1)) | EPT_RWX | EPT_WB | EPT_LARGE;
        break;
    case 3:
        l2_ept.data_pd[0] = (uint64_t)l2_ept.data_pt | EPT_RWX;
        break;
    case 4:
        l2_ept.pdpt[1] = dice(state, 2) == 0 ? 0 : (uint64_t)l2_ept.data_pd | EPT_RWX;
        break;
    default:
        l2_ept.data_pt[i] = target | EPT_RWX | EPT_WB;
        break;
    }
}

/* One to three edits, INVEPT of one context or of all, then every page is looked at. */
static void edits(bool flags)
{
    uint64_t state = flags ? 5 : 4;

    if (flags && !ept_can(EPT_CAP_AD))
        return;
    l2_reset(L2_EPT);
    fill_pages();
    if (flags)
        vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    for (unsigned n = 0; n < EDITS; n++) {
        const struct inv_desc one = {vmread(F_EPTP), 0}, none = {0, 0};
        unsigned wrong = 0;

        for (unsigned more = dice(&state, 3) + 1; more > 0; more--)
            edit(&state);
        if (dice(&state, 4) == 0)
            (void)invept(2, &none);
        else
            (void)invept(1, &one);
        for (unsigned i = 0; i < L2_DATA_PAGES; i++)
            wrong += look(s_e_read, L2_DATA + i * 4096ull) != expected(i);
        check_eq(wrong, 0, "edits.%s.%u", flags ? "flags" : "plain", n);
    }
}

/* Without INVEPT an entry that gains something is seen at the latest after the violation that it
 * caused; one that was never present may be used at once. */
static void additions(void)
{
    l2_reset(L2_EPT);
    fill_pages();
    for (unsigned i = 0; i < L2_DATA_PAGES; i++) {
        l2_ept.data_pt[i] = 0;
        (void)invept(1, &(struct inv_desc){vmread(F_EPTP), 0});
        check_eq(look(s_e_read, L2_DATA + i * 4096ull), 0xdead, "addition.absent.%u", i);
        l2_ept.data_pt[i] = (uint64_t)l2_data[i] | EPT_R | EPT_WB;
        check_eq(look(s_e_read, L2_DATA + i * 4096ull), 0x1000 + i, "addition.readable.%u", i);
        check_eq(look(s_e_write, L2_DATA + i * 4096ull), 0xdead, "addition.not_writable.%u", i);
        l2_ept.data_pt[i] |= EPT_W;
        check(look(s_e_write, L2_DATA + i * 4096ull) != 0xdead, "addition.writable.%u", i);
    }
}

/* Twenty views of one page: each EPTP shows its own, in any order, as often as it is come back to. */
static void many_roots(void)
{
    static struct {
        uint64_t top[512], pdpt[512], pd[512], pt[512];
    } root[ROOTS] __attribute__((aligned(4096)));
    uint64_t state = 6;
    unsigned wrong = 0;

    l2_reset(L2_EPT);
    fill_pages();
    for (unsigned i = 0; i < ROOTS; i++) {
        memcpy(root[i].pdpt, l2_ept.pdpt, 4096);
        root[i].top[0] = (uint64_t)root[i].pdpt | EPT_RWX;
        root[i].pdpt[1] = (uint64_t)root[i].pd | EPT_RWX;
        root[i].pd[0] = (uint64_t)root[i].pt | EPT_RWX;
        root[i].pt[0] = (uint64_t)l2_data[i % L2_DATA_PAGES] | EPT_RWX | EPT_WB;
        root[i].pt[1] = (uint64_t)l2_data[i / L2_DATA_PAGES] | EPT_RWX | EPT_WB;
    }
    for (unsigned n = 0; n < 5 * ROOTS; n++) {
        unsigned i = n < 2 * ROOTS ? n % ROOTS : dice(&state, ROOTS);

        vmwrite(F_EPTP, (uint64_t)root[i].top | EPTP_WALK4 | EPTP_WB |
                            (n % 3 == 0 ? eptp_ad() : 0));
        wrong += look(s_e_read, L2_DATA) != 0x1000 + i % L2_DATA_PAGES;
        wrong += look(s_e_read, L2_DATA + 4096) != 0x1000 + i / L2_DATA_PAGES;
    }
    check_eq(wrong, 0, "many_roots.each_shows_its_own");
    /* One of them changes: that one and no other, with the flags and without. */
    root[3].pt[0] = (uint64_t)l2_data[7] | EPT_RWX | EPT_WB;
    (void)invept(1, &(struct inv_desc){(uint64_t)root[3].top | EPTP_WALK4 | EPTP_WB, 0});
    wrong = 0;
    for (unsigned n = 0; n < 2 * ROOTS; n++) {
        unsigned i = n % ROOTS, shows = i == 3 ? 7 : i % L2_DATA_PAGES;

        vmwrite(F_EPTP, (uint64_t)root[i].top | EPTP_WALK4 | EPTP_WB | (n < ROOTS ? eptp_ad() : 0));
        wrong += look(s_e_read, L2_DATA) != 0x1000 + shows;
    }
    check_eq(wrong, 0, "many_roots.one_changes");
}

void test_ept_changes(void)
{
    check_group("ept_changes");
    edits(false);
    edits(true);
    additions();
    many_roots();
}
