/* SPDX-License-Identifier: MIT */
/*
 * Rules of the reverse map: it finds each leaf by the L1 page it maps, whatever was added, replaced
 * and removed before, and nothing else.
 */
#include "mmu_world.h"

#include "mmu/mmu_internal.h"

#include <stdlib.h>

#define SIZE_2M UINT64_C(0x200000)
#define SIZE_1G UINT64_C(0x40000000)

static uint32_t drop(struct world *world, uint64_t start, uint64_t bytes)
{
    uint32_t dropped;

    nvi_mmu_lock(&world->mmu);
    dropped = nvi_rmap_drop(&world->mmu, start, bytes);
    nvi_mmu_unlock(&world->mmu);
    return dropped;
}

/* A leaf of L1's table at @p l2gpa (one per table of 512) for @p l1gpa. */
static void leaf_for(struct world *world, struct nvi_mmu_root *root, uint64_t l2gpa, uint64_t l1gpa,
                     uint32_t level)
{
    struct nvi_mmu_leaf leaf = { .entry = (l1gpa + NVIRT_BIT(40)) | RWX | (level > 1 ? LARGE : 0),
                                 .level = level,
                                 .sequence = world->port->sequence,
                                 .l1gpa = nvirt_l1gpa_make(l1gpa) };

    leaf.path.top = 4;
    leaf.path.bottom = level;
    for (uint32_t i = level; i <= 4; i++) {
        leaf.path.word[i] = nvirt_l1gpa_make(i * UINT64_C(0x100000000) + (l2gpa >> (12 + 9 * i) << 12) +
                                             (l2gpa >> (3 + 9 * i) & 511) * 8);
        leaf.path.value[i] = RWX | (i == level ? l1gpa | (level > 1 ? LARGE : 0) : 0x123000);
    }
    assert_int_equal(nvi_mmu_install(&world->mmu, root, nvirt_l2gpa_make(l2gpa), &leaf),
                     NVI_FAULT_INSTALLED);
}

static struct nvi_mmu_root *tables_root(struct world *world, uint64_t table)
{
    const struct nvi_mmu_shape shape = { .link = LINK, .levels = 4, .kind = NVI_SHADOW_TABLE };
    struct nvi_mmu_key key = { .table = table, .role = 4 };
    struct nvi_mmu_root *root = NULL;

    assert_int_equal(nvi_mmu_root_get(&world->mmu, &key, &shape, &root), NVIRT_OK);
    enter(world, root);
    return root;
}

/* One page of L1's mapped at a hundred places and by every root: all of them go, none else. */
static void all_mappings_of_a_page_go(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root[ROOTS];

    for (unsigned r = 0; r < ROOTS; r++) {
        root[r] = tables_root(world, (r + 1) * UINT64_C(0x1000));
        for (unsigned i = 0; i < 100; i++) {
            leaf_for(world, root[r], i * UINT64_C(0x2000), 0x7000, 1);
            leaf_for(world, root[r], i * UINT64_C(0x2000) + 0x1000, 0x8000 + i * UINT64_C(0x1000), 1);
        }
    }
    assert_int_equal(drop(world, 0x7abc, 1), 100 * ROOTS);
    for (unsigned r = 0; r < ROOTS; r++) {
        assert_true(owes(root[r]));
        for (unsigned i = 0; i < 100; i++) {
            expect_absent(world, root[r], i * UINT64_C(0x2000));
            expect_page(world, root[r], i * UINT64_C(0x2000) + 0x1000,
                        NVIRT_BIT(40) + 0x8000 + i * UINT64_C(0x1000));
        }
    }
    assert_int_equal(drop(world, 0x7000, 0x1000), 0);
    (void)audited(world);
}

/* A leaf of any size is found by any page in it, and only by those. */
static void large_leaves_are_found_by_any_page_in_them(void **state)
{
    static const uint64_t size[] = { 0, 0x1000, SIZE_2M, SIZE_1G };
    struct world *world = *state;
    struct nvi_mmu_root *root = tables_root(world, 0x1000);

    for (uint32_t level = 1; level <= 3; level++) {
        uint64_t l1 = 8 * SIZE_1G, offset[3] = { 0, size[level] / 2 & ~UINT64_C(0xfff), 0 };

        offset[2] = size[level] - 0x1000;
        for (unsigned i = 0; i < 3; i++) {
            leaf_for(world, root, SIZE_1G, l1, level);
            assert_int_equal(drop(world, l1 - 0x1000, 0x1000), 0);
            assert_int_equal(drop(world, l1 + size[level], 0x1000), 0);
            assert_int_equal(drop(world, l1 + offset[i], 0x1000), 1);
            leaf_for(world, root, SIZE_1G, l1, level);
            assert_int_equal(drop(world, 0, ~UINT64_C(0)), 1);
        }
    }
    (void)audited(world);
}

/* What a leaf that was replaced mapped before leads to it no more. */
static void a_replaced_leaf_is_found_by_the_new_page_only(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = tables_root(world, 0x1000);

    leaf_for(world, root, 0, 0x5000, 1);
    leaf_for(world, root, 0, 0x6000, 1);
    assert_int_equal(world->mmu.leaf_count, 1);
    assert_int_equal(drop(world, 0x5000, 0x1000), 0);
    leaf_for(world, root, 0, SIZE_2M, 2);
    assert_int_equal(drop(world, 0x6000, 0x1000), 1); /* In the table that is not dissolved yet, */
    expect_page(world, root, 0, SIZE_2M + NVIRT_BIT(40)); /* not in what hardware walks. */
    assert_int_equal(drop(world, SIZE_2M, 0x1000), 1);
    expect_absent(world, root, 0);
    (void)audited(world);
}

/* The lists stay short as leaves get many, and find what they should at every size. */
static void lists_grow_with_the_leaves(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = tables_root(world, 0x1000);
    const unsigned count = 20000;

    for (unsigned i = 0; i < count; i++) {
        leaf_for(world, root, i * UINT64_C(0x1000), i * UINT64_C(0x3000), 1);
        assert_true(world->mmu.head_count >= world->mmu.leaf_count);
    }
    (void)audited(world);
    for (unsigned i = 0; i < count; i += 7)
        assert_int_equal(drop(world, i * UINT64_C(0x3000), 0x2000), 1);
    (void)audited(world);
    assert_int_equal(drop(world, 0, ~UINT64_C(0)), count - (count + 6) / 7);
    assert_int_equal(world->mmu.leaf_count, 0);
}

/* Ranges of every length, whichever way is the shorter: as a plain search over all leaves says. */
static void ranges_agree_with_a_plain_search(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = tables_root(world, 0x1000);
    static uint64_t page[512]; /* What is mapped at each place; 0: nothing. */
    uint64_t random = 3;

    memset(page, 0, sizeof page);
    for (unsigned step = 0; step < 3000; step++) {
        unsigned at;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        at = random >> 40 & 511;
        if (random >> 60 != 0) {
            page[at] = 0x1000 * (1 + (random >> 20 & 1023));
            leaf_for(world, root, at * UINT64_C(0x1000), page[at], 1);
        } else {
            uint64_t start = random >> 20 & 0x1fffff;
            uint64_t bytes = UINT64_C(1) << (random >> 52 & 31);
            uint32_t expected = 0;

            for (unsigned i = 0; i < 512; i++) {
                if (page[i] != 0 && page[i] + 0xfff >= start && page[i] <= start + bytes - 1) {
                    page[i] = 0;
                    expected++;
                }
            }
            assert_int_equal(drop(world, start, bytes), expected);
        }
    }
    (void)audited(world);
}

/* No page for more lists: they get longer, nothing is lost. */
static void no_page_for_more_lists(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = tables_root(world, 0x1000);

    for (unsigned i = 0; i < 1024; i++)
        leaf_for(world, root, i * UINT64_C(0x1000), i * UINT64_C(0x1000), 1);
    for (unsigned i = 1024; i < 1024 + 300; i++) {
        /* A new table takes three pages first. */
        fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, i % 512 == 0 ? 4 : 1);
        leaf_for(world, root, i * UINT64_C(0x1000), i * UINT64_C(0x1000), 1);
        fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 0);
    }
    assert_int_equal(world->mmu.head_count, 1024);
    (void)audited(world);
    for (unsigned i = 0; i < 1024 + 300; i++)
        assert_int_equal(drop(world, i * UINT64_C(0x1000), 0x1000), 1);
}

/*
 * A leaf is found by the L1 address that it was made from until it is dissolved, also when its
 * root's slot went to a table of another format meanwhile: a page of 4 MiB stays two leaves.
 */
static void a_recycled_slot_of_another_shape(void **state)
{
    struct world *world = *state;
    const struct nvi_mmu_shape legacy = { .link = LINK,
                                          .levels = 4,
                                          .kind = NVI_SHADOW_PLAIN,
                                          .words_of_4 = true };
    const struct nvi_mmu_key key = { .table = 0x9000, .role = NVI_ROLE_NPT | 2 };
    const uint64_t base = 0x40000000;
    struct nvi_mmu_leaf leaf = { .entry = NVIRT_BIT(40) | RWX | LARGE,
                                 .level = 2,
                                 .sequence = world->port->sequence,
                                 .l1gpa = nvirt_l1gpa_make(base + SIZE_2M) };
    struct nvi_mmu_root *old = NULL, *other, *fresh;

    assert_int_equal(nvi_mmu_root_get(&world->mmu, &key, &legacy, &old), NVIRT_OK);
    enter(world, old);
    leaf.path.top = leaf.path.bottom = 2;
    leaf.path.word[2] = nvirt_l1gpa_make(0x9000);
    leaf.path.value[2] = base | LARGE | RWX;
    /* The odd half: it maps base + 2 MiB. */
    assert_int_equal(nvi_mmu_install(&world->mmu, old, nvirt_l2gpa_make(SIZE_2M), &leaf),
                     NVI_FAULT_INSTALLED);
    other = tables_root(world, 0x1000);
    leaf_for(world, other, 0x80000000, base, 2);
    (void)tables_root(world, 0x2000);
    (void)tables_root(world, 0x3000);
    fresh = tables_root(world, 0x4000);
    assert_ptr_equal(fresh, old);
    for (unsigned i = 0; i < 6; i++) /* Each dissolves some orphans. */
        leaf_for(world, fresh, i * UINT64_C(0x1000), 0x7000, 1);
    /* The host takes base away: the other root's leaf of it must go. */
    assert_int_equal(drop(world, base, 0x1000), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(all_mappings_of_a_page_go),
        TEST(large_leaves_are_found_by_any_page_in_them),
        TEST(a_replaced_leaf_is_found_by_the_new_page_only),
        TEST(lists_grow_with_the_leaves),
        TEST(ranges_agree_with_a_plain_search),
        TEST(no_page_for_more_lists),
        TEST(a_recycled_slot_of_another_shape),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
