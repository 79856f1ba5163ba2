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
        assert_int_equal(get(world, &key[i], &root[i]), NVIRT_OK);
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
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(tables(world, root), 1);
    assert_ptr_equal(root_for(world, 0x2000), oldest);
    expect_page(world, oldest, L2, 0x9000);
    (void)root_for(world, 0x1000);
    (void)root_for(world, 0x4000);
    assert_int_equal(world->stats.root_misses, ROOTS + 1);
    /* What the recycled root held goes back table by table. */
    while (nvi_shadow_reap(&world->mmu))
        ;
    assert_int_equal(root_for(world, 0x9000)->pages, 1);
    (void)audited(world);
}

/* A recycled root that held nothing since its last flush is known to be clean: its new key costs no
 * flush. One that held something since, gone by now or not, owes one; so does a page that is new. */
static void a_clean_root_is_recycled_without_a_flush(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *clean = NULL, *root;
    unsigned i;

    for (i = 0; i < ROOTS; i++) {
        root = root_for(world, 0x1000 * (i + 1));
        assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
        clean = i == 0 ? root : clean;
    }
    root = root_for(world, 0x9000);
    assert_ptr_equal(root, clean);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_NONE);
    /* With a leaf, and with one that the host took meanwhile. */
    for (i = 0; i < 2; i++) {
        assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
        if (i == 1) {
            assert_int_equal(nvirt_vm_change_begin(&world->vm, nvirt_l1gpa_make(L2), 1), NVIRT_OK);
            assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
        }
        for (unsigned other = 1; other < ROOTS; other++)
            (void)root_for(world, 0x1000 * (other + 1));
        assert_ptr_equal(root_for(world, 0xa000 + 0x1000 * i), root);
        assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
        expect_absent(world, root, L2);
    }
}

/* An unused slot costs pages; without them an old root is recycled, without that: none. */
static void no_page_for_a_root(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_key key = { .table = 0x1000, .role = 4 };
    struct nvi_mmu_root *root;

    fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(get(world, &key, &root), NVIRT_ERR_NO_PAGE);
    assert_int_equal(world->stats.root_misses, 0);
    assert_int_equal(get(world, &key, &root), NVIRT_OK);
    key.table = 0x2000;
    fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(get(world, &key, &root), NVIRT_OK);
    assert_int_equal(root->key.table, 0x2000);
    assert_int_equal(world->stats.root_misses, 2);
    assert_int_equal(root->pages, 1);
}

/* INVEPT single-context names a table address: all roles of it go stale, nothing else. */
static void invalidation_of_one_table(void **state)
{
    struct nvi_mmu_key ad = { .table = 0x1000, .role = 4 | NVI_ROLE_AD };
    struct world *world = *state;
    struct nvi_mmu_root *hit = root_for(world, 0x1000);
    struct nvi_mmu_root *other = root_for(world, 0x2000);
    struct nvi_mmu_root *hit_ad;

    assert_int_equal(get(world, &ad, &hit_ad), NVIRT_OK);
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

    assert_int_equal(get(world, &direct, &plain), NVIRT_OK);
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

    assert_int_equal(get(world, &direct, &plain), NVIRT_OK);
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
    assert_true(nvi_mmu_root_is_stale(&world->mmu, root));
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
    const struct nvi_mmu_shape shape = { .link = LINK, .levels = 4, .kind = NVI_SHADOW_SPLIT };
    struct world *world = *state;
    struct nvi_mmu mmu;
    unsigned round, i;

    world->vm.page_budget = 2000;
    assert_int_equal(nvi_mmu_init(&mmu, &world->vm, &world->stats, many, NVI_MMU_MAX_ROOTS),
                     NVIRT_OK);
    for (round = 0; round < 2; round++) {
        for (i = 0; i < NVI_MMU_MAX_ROOTS; i++) {
            struct nvi_mmu_key key = { .table = 0x1000 * (i + UINT64_C(1)), .role = 4 };
            struct nvi_mmu_root *root;
            enum nvi_mmu_flush flush;

            assert_int_equal(nvi_mmu_root_get(&mmu, &key, &shape, &root), NVIRT_OK);
            flush = nvi_mmu_enter(&mmu, root, 0);
            assert_int_equal(flush, round == 0 ? NVI_MMU_FLUSH_ROOT : NVI_MMU_FLUSH_NONE);
            nvi_mmu_flushed(&mmu, root, 0, flush);
        }
    }
    assert_int_equal(world->stats.root_hits, NVI_MMU_MAX_ROOTS);
    assert_int_equal(world->stats.root_misses, NVI_MMU_MAX_ROOTS);
    nvi_mmu_destroy(&mmu);
}

/* The cache finds what a list searched from end to end would find, whatever was found, recycled and
 * given up before, and recycles the one whose last use is longest ago. */
static void the_cache_agrees_with_a_plain_list(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_key list[ROOTS]; /* Newest first. */
    uint64_t random = 7;
    unsigned count = 0, step, i;

    for (step = 0; step < 20000; step++) {
        struct nvi_mmu_key key = { .role = 4 };
        struct nvi_mmu_root *root;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        key.table = (random >> 33) % 3 * 0x1000;
        key.pat = (random >> 43) % 2;
        key.role |= (random >> 53) % 2 << 32;
        for (i = 0; i < count && memcmp(&list[i], &key, sizeof key) != 0; i++)
            ;
        world->stats.root_hits = 0;
        assert_int_equal(get(world, &key, &root), NVIRT_OK);
        assert_memory_equal(&root->key, &key, sizeof key);
        assert_int_equal(world->stats.root_hits, i < count);
        if (i == count)
            count = count < ROOTS ? count + 1 : ROOTS;
        for (i = i < count ? i : count - 1; i > 0; i--)
            list[i] = list[i - 1];
        list[0] = key;
        if (step % 64 == 0) {
            root = nvi_mmu_root_idle(&world->mmu, NULL);
            assert_memory_equal(&root->key, &list[--count], sizeof key);
            nvi_mmu_root_release(&world->mmu, root);
            nvi_mmu_flushed(&world->mmu, root, 0, NVI_MMU_FLUSH_ALL);
        }
    }
}

/* Keys that differ in one part are two roots, also where they share a list of the cache: each part
 * is tried with so many values that many of them do. */
static void keys_of_one_list_are_told_apart(void **state)
{
    struct world *world = *state;
    uint64_t random = 11;
    unsigned part, i;

    for (part = 0; part < 3; part++) {
        for (i = 0; i < 6000; i++) {
            struct nvi_mmu_key key = { .table = 0x1000, .role = 4 };
            struct nvi_mmu_root *root;
            uint64_t value;

            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            value = random >> 33;
            key.table ^= part == 0 ? value << 12 & NVI_MMU_ADDRESS : 0;
            key.pat = part == 1 ? value : 0;
            key.role |= part == 2 ? value << 16 : 0;
            assert_int_equal(get(world, &key, &root), NVIRT_OK);
            assert_memory_equal(&root->key, &key, sizeof key);
        }
    }
}

/* Invalidating is a mark: it costs the same whatever the roots hold, and reads no memory of
 * L1's. */
static void invalidation_touches_no_table(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    fake_vm_log_reset(world->port);
    nvi_mmu_invalidate(&world->mmu, 0x1000);
    nvi_mmu_invalidate_all(&world->mmu);
    nvi_mmu_drop_all(&world->mmu);
    expect_page(world, root, L2, 0x9000);
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
    assert_true(nvi_mmu_root_is_stale(&world->mmu, root));
}

/* What a root that was given up left behind goes back too (teardown counts). */
static void destroying_frees_what_a_released_root_left(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    assert_int_equal(install(world, root, 0x5000, 0x7007, 1), NVI_FAULT_INSTALLED);
    enter(world, root);
    nvi_mmu_drop_all(&world->mmu);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 0), NVI_MMU_FLUSH_ROOT);
    while (nvi_shadow_reap(&world->mmu))
        ;
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
        TEST(a_clean_root_is_recycled_without_a_flush),
        TEST(keys_of_one_list_are_told_apart),
        TEST(no_page_for_a_root),
        TEST(invalidation_of_one_table),
        TEST(invalidation_of_all_spares_direct_roots),
        TEST(invalidating_an_empty_root_is_free),
        TEST(another_cpu_needs_a_flush),
        TEST(a_moved_sequence_drops_every_tree),
        TEST(a_change_under_way_drops_at_both_ends),
        TEST(destroy_gives_everything_back),
        TEST(five_hundred_and_twelve_roots),
        TEST(the_cache_agrees_with_a_plain_list),
        TEST(invalidation_touches_no_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
