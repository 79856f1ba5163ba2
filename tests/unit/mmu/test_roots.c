/* SPDX-License-Identifier: MIT */
/*
 * Rules of the root cache: identity, reuse, invalidation by L1 and by the host, flush before entry.
 */
#include "mmu_world.h"

#include "mmu/mmu_internal.h"

#define L2 UINT64_C(0x12345678000)

static void init_checks_its_arguments(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root roots[1];
    struct nvi_mmu mmu;

    assert_int_equal(nvi_mmu_init(NULL, &world->vm, &world->stats, roots, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvi_mmu_init(&mmu, NULL, &world->stats, roots, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvi_mmu_init(&mmu, &world->vm, NULL, roots, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvi_mmu_init(&mmu, &world->vm, &world->stats, NULL, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvi_mmu_init(&mmu, &world->vm, &world->stats, roots, 0), NVIRT_ERR_RANGE);
    assert_int_equal(nvi_mmu_init(&mmu, &world->vm, &world->stats, roots, NVI_MMU_MAX_ROOTS + 1),
                     NVIRT_ERR_RANGE);
}

/* The same key finds the same root, with what it holds, and costs no flush. */
static void a_revisit_finds_the_root_as_it_was(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, root_for(world, 0x2000));
    assert_ptr_equal(root_for(world, 0x1000), root);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_NONE);
    expect_page(world, root, L2, 0x9000);
    assert_int_equal(world->stats.root_hits, 1);
    assert_int_equal(world->stats.root_misses, 2);
}

/* A root is found by its whole key: another table, role or PAT is another root (CVE-2026-53359,
 * CVE-2026-46113: a reuse that matched in part only). */
static void identity_is_the_whole_key(void **state)
{
    static const struct nvi_mmu_key key[] = {
        { .table = 0x1000, .pat = 6, .role = 4 },
        { .table = 0x1020, .pat = 6, .role = 4 },
        { .table = 0x1000, .pat = 7, .role = 4 },
        { .table = 0x1000, .pat = 6, .role = 4 | NVI_ROLE_AD },
    };
    struct world *world = *state;
    struct nvi_mmu_root *root[4];
    unsigned i, j;

    for (i = 0; i < 4; i++) {
        assert_int_equal(nvi_mmu_root_get(&world->mmu, &key[i], 4, LINK, &root[i]), NVIRT_OK);
        for (j = 0; j < i; j++) {
            assert_ptr_not_equal(root[i], root[j]);
            assert_int_not_equal(root[i]->table.value, root[j]->table.value);
        }
    }
    assert_int_equal(world->stats.root_misses, 4);
}

/* All slots taken: the least recently used is emptied and gets the new key. Hardware may hold its
 * old entries under the same top table, so it is flushed before use. */
static void the_oldest_root_is_recycled_empty_and_flushed(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *oldest, *root;
    unsigned i;

    for (i = 0; i < ROOTS; i++) {
        root = root_for(world, 0x1000 * (i + 1));
        enter(world, root);
        assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    }
    oldest = root_for(world, 0x2000);
    (void)root_for(world, 0x4000);
    (void)root_for(world, 0x1000);
    /* 0x3000 is the oldest now. */
    root = root_for(world, 0x9000);
    assert_int_equal(root->key.table, 0x9000);
    expect_absent(world, root, L2);
    assert_int_equal(world->stats.shadow_reclaimed, 3);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(root->pages, 1);
    assert_ptr_equal(root_for(world, 0x2000), oldest);
    expect_page(world, oldest, L2, 0x9000);
    (void)root_for(world, 0x1000);
    (void)root_for(world, 0x4000);
    assert_int_equal(world->stats.root_misses, ROOTS + 1);
    /* The pages of the recycled root went back with its flush. */
    assert_int_equal(world->port->pool_used, 3 * 4 + 1);
}

/* Entering an unused slot costs a page; without one an old root is recycled, without that: none. */
static void no_page_for_a_root(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_key key = { .table = 0x1000, .role = 4 };
    struct nvi_mmu_root *root;

    fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(nvi_mmu_root_get(&world->mmu, &key, 4, LINK, &root), NVIRT_ERR_NO_PAGE);
    assert_int_equal(world->stats.root_misses, 0);
    assert_int_equal(nvi_mmu_root_get(&world->mmu, &key, 4, LINK, &root), NVIRT_OK);
    key.table = 0x2000;
    fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(nvi_mmu_root_get(&world->mmu, &key, 4, LINK, &root), NVIRT_OK);
    assert_int_equal(root->key.table, 0x2000);
    assert_int_equal(world->port->pool_used, 1);
}

/* INVEPT single-context names a table address: all roles of it go stale, nothing else. */
static void invalidation_of_one_table(void **state)
{
    struct nvi_mmu_key ad = { .table = 0x1000, .role = 4 | NVI_ROLE_AD };
    struct world *world = *state;
    struct nvi_mmu_root *hit = root_for(world, 0x1000);
    struct nvi_mmu_root *other = root_for(world, 0x2000);
    struct nvi_mmu_root *hit_ad;

    assert_int_equal(nvi_mmu_root_get(&world->mmu, &ad, 4, LINK, &hit_ad), NVIRT_OK);
    enter(world, hit);
    assert_int_equal(install(world, hit, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, hit_ad);
    assert_int_equal(install(world, hit_ad, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, other);
    assert_int_equal(install(world, other, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    nvi_mmu_invalidate(&world->mmu, 0x105e); /* Low bits of an EPTP are no address. */
    assert_int_equal(enter(world, other), NVI_MMU_FLUSH_NONE);
    expect_page(world, other, L2, 0x9000);
    assert_int_equal(enter(world, hit), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, hit, L2);
    assert_int_equal(enter(world, hit_ad), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, hit_ad, L2);
}

/* INVEPT all-context empties what has tables of L1's behind it; direct roots have none. */
static void invalidation_of_all_spares_direct_roots(void **state)
{
    struct nvi_mmu_key direct = { .role = 4 | NVI_ROLE_DIRECT };
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0);
    struct nvi_mmu_root *plain;

    assert_int_equal(nvi_mmu_root_get(&world->mmu, &direct, 4, LINK, &plain), NVIRT_OK);
    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, plain);
    assert_int_equal(install(world, plain, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    nvi_mmu_invalidate_all(&world->mmu);
    nvi_mmu_invalidate(&world->mmu, 0);
    assert_int_equal(enter(world, plain), NVI_MMU_FLUSH_NONE);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, root, L2);
    expect_page(world, plain, L2, 0x9000);
    nvi_mmu_drop_all(&world->mmu);
    assert_int_equal(enter(world, plain), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, plain, L2);
}

/* Nothing was cached from an empty tree, so emptying it owes no flush. */
static void invalidating_an_empty_root_is_free(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    nvi_mmu_invalidate(&world->mmu, 0x1000);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_NONE);
}

/* A root on a CPU it did not last run on: that CPU's copies are old. A new one is flushed too, for
 * its page may have been a root of another vCPU there. */
static void another_cpu_needs_a_flush(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 0), NVI_MMU_FLUSH_ROOT);
    /* Not done yet, so still owed. */
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 0), NVI_MMU_FLUSH_ROOT);
    nvi_mmu_flushed(&world->mmu, root, 0, NVI_MMU_FLUSH_ROOT);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 0), NVI_MMU_FLUSH_NONE);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 1), NVI_MMU_FLUSH_ROOT);
    nvi_mmu_flushed(&world->mmu, root, 1, NVI_MMU_FLUSH_ROOT);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 1), NVI_MMU_FLUSH_NONE);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 0), NVI_MMU_FLUSH_ROOT);
}

/* The host unmapped or moved memory: no tree keeps an entry, direct or not, used now or later. */
static void a_moved_sequence_drops_every_tree(void **state)
{
    struct nvi_mmu_key direct = { .role = 4 | NVI_ROLE_DIRECT };
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    struct nvi_mmu_root *plain;

    assert_int_equal(nvi_mmu_root_get(&world->mmu, &direct, 4, LINK, &plain), NVIRT_OK);
    enter(world, plain);
    assert_int_equal(install(world, plain, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    fake_vm_invalidate(world->port);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, root, L2);
    assert_ptr_equal(root_for(world, 0x1000), root);
    assert_int_equal(enter(world, plain), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, plain, L2);
}

/* In the middle of a change: the trees are dropped at its begin and once more at its end. */
static void a_change_under_way_drops_at_both_ends(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    world->port->sequence = 3;
    assert_false(nvi_mmu_current(&world->mmu));
    enter(world, root);
    expect_absent(world, root, L2);
    assert_false(nvi_mmu_current(&world->mmu));
    world->port->sequence = 4;
    assert_false(nvi_mmu_current(&world->mmu));
    assert_true(root->stale);
    assert_true(nvi_mmu_current(&world->mmu));
}

/* A vCPU that goes away gives back all: top tables, trees, and what waits in limbo. */
static void destroy_gives_everything_back(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, L2, 0x40000000 | RWX, 3), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, 0, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    nvi_mmu_destroy(&world->mmu);
    assert_int_equal(world->port->pool_used, 0);
    assert_int_equal(world->vm.pages_in_use, 0);
    nvi_mmu_destroy(&world->mmu);
}

/* A full EPTP list's worth of roots, found again without a flush. */
static void five_hundred_and_twelve_roots(void **state)
{
    static struct nvi_mmu_root many[NVI_MMU_MAX_ROOTS];
    struct world *world = *state;
    struct nvi_mmu mmu;
    unsigned round, i;

    assert_int_equal(nvi_mmu_init(&mmu, &world->vm, &world->stats, many, NVI_MMU_MAX_ROOTS),
                     NVIRT_OK);
    for (round = 0; round < 2; round++) {
        for (i = 0; i < NVI_MMU_MAX_ROOTS; i++) {
            struct nvi_mmu_key key = { .table = 0x1000 * (i + UINT64_C(1)), .role = 4 };
            struct nvi_mmu_root *root;
            enum nvi_mmu_flush flush;

            assert_int_equal(nvi_mmu_root_get(&mmu, &key, 4, LINK, &root), NVIRT_OK);
            flush = nvi_mmu_enter(&mmu, root, 0);
            assert_int_equal(flush, round == 0 ? NVI_MMU_FLUSH_ROOT : NVI_MMU_FLUSH_NONE);
            nvi_mmu_flushed(&mmu, root, 0, flush);
        }
    }
    assert_int_equal(world->stats.root_hits, NVI_MMU_MAX_ROOTS);
    assert_int_equal(world->stats.root_misses, NVI_MMU_MAX_ROOTS);
    nvi_mmu_destroy(&mmu);
}

/* What a root that was given up left behind goes back too (teardown counts). */
static void destroying_frees_what_a_released_root_left(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    assert_int_equal(install(world, root, 0x5000, 0x7007, 1), NVI_FAULT_INSTALLED);
    nvi_mmu_root_release(&world->mmu, root);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(destroying_frees_what_a_released_root_left),
        TEST(init_checks_its_arguments),
        TEST(a_revisit_finds_the_root_as_it_was),
        TEST(identity_is_the_whole_key),
        TEST(the_oldest_root_is_recycled_empty_and_flushed),
        TEST(no_page_for_a_root),
        TEST(invalidation_of_one_table),
        TEST(invalidation_of_all_spares_direct_roots),
        TEST(invalidating_an_empty_root_is_free),
        TEST(another_cpu_needs_a_flush),
        TEST(a_moved_sequence_drops_every_tree),
        TEST(a_change_under_way_drops_at_both_ends),
        TEST(destroy_gives_everything_back),
        TEST(five_hundred_and_twelve_roots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
