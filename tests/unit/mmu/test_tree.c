/* SPDX-License-Identifier: MIT */
/*
 * Rules of one tree: what a leaf does to what is there, what needs a flush, where room comes from.
 */
#include "mmu_world.h"

#include "mmu/mmu_internal.h"

#define L2 UINT64_C(0x7f3045678000)

static uint32_t limbo(struct world *world)
{
    struct mmu_audit audit;

    mmu_audit(&world->mmu, &audit);
    return audit.limbo;
}

/* A leaf of each size is what hardware finds for its whole block, and for nothing else. */
static void leaves_of_each_size(void **state)
{
    static const uint64_t size[] = { 0, 0x1000, 0x200000, 0x40000000 };
    struct world *world = *state;
    uint32_t level;

    for (level = 1; level <= 3; level++) {
        struct nvi_mmu_root *root = root_for(world, level * 0x1000);
        uint64_t base = L2 & ~(size[level] - 1);

        enter(world, root);
        assert_int_equal(install(world, root, L2, (UINT64_C(5) << 30) | RWX | TYPE_WB, level),
                         NVI_FAULT_INSTALLED);
        expect_page(world, root, base, UINT64_C(5) << 30);
        expect_page(world, root, base + size[level] - 1, (UINT64_C(5) << 30) + size[level] - 1);
        expect_absent(world, root, base - 1);
        expect_absent(world, root, base + size[level]);
        assert_int_equal(root->pages, tables(world, root));
        assert_int_equal(root->pages, 5 - level);
        assert_false(owes(root));
    }
    assert_int_equal(world->stats.shadow_faults, 3);
}

/* A five-level tree indexes with bits 56:48 too. */
static void five_levels(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_key key = { .table = 0x1000, .role = 5 };
    struct nvi_mmu_root *root;

    assert_int_equal(get(world, &key, &root), NVIRT_OK);
    enter(world, root);
    assert_int_equal(install(world, root, L2 | UINT64_C(0xa000000000000), 0x5000 | RWX, 1),
                     NVI_FAULT_INSTALLED);
    expect_page(world, root, L2 | UINT64_C(0xa000000000000), 0x5000);
    expect_absent(world, root, L2);
    assert_int_equal(root->pages, 5);
}

/* The engine's own lookup agrees with hardware. */
static void lookup_tells_entry_and_level(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    uint32_t level;

    enter(world, root);
    assert_int_equal(nvi_mmu_lookup(&world->mmu, root, nvirt_l2gpa_make(L2), &level), 0);
    assert_int_equal(level, 4);
    assert_int_equal(install(world, root, L2, 0x40000000 | RWX, 2), NVI_FAULT_INSTALLED);
    assert_int_equal(nvi_mmu_lookup(&world->mmu, root, nvirt_l2gpa_make(L2), &level),
                     0x40000000 | RWX | LARGE);
    assert_int_equal(level, 2);
}

/* A leaf that only gains rights needs no flush: a TLB that still refuses just faults again
 * [SDM 3C "Operations that Invalidate Cached Mappings": an EPT violation invalidates]. */
static void more_rights_need_no_flush(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x5000 | 1 | NVIRT_BIT(63), 1), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, L2, 0x5000 | 1, 1), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, L2, 0x5000 | 3 | NVIRT_BIT(9), 1), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, L2, 0x5000 | 3 | NVIRT_BIT(9), 1), NVI_FAULT_INSTALLED);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_NONE);
}

/* Less rights, another address, another memory type over a present leaf: a flush is owed. */
static void other_changes_need_a_flush(void **state)
{
    static const uint64_t change[] = { 0x5000 | 1 | TYPE_WB, 0x6000 | 3 | TYPE_WB, 0x5000 | 3,
                                       0x5000 | 3 | TYPE_WB | NVIRT_BIT(63),
                                       0x5000 | 5 | TYPE_WB };
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    struct hw_page page;
    unsigned i;

    for (i = 0; i < sizeof change / sizeof change[0]; i++) {
        assert_int_equal(install(world, root, L2, 0x5000 | 3 | TYPE_WB, 1), NVI_FAULT_INSTALLED);
        enter(world, root);
        assert_int_equal(install(world, root, L2, change[i], 1), NVI_FAULT_INSTALLED);
        assert_int_equal(walk(world, root, L2, &page), HW_PAGE);
        assert_int_equal(page.hpa, change[i] & NVIRT_BITS(51, 12));
        assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
        assert_int_equal(enter(world, root), NVI_MMU_FLUSH_NONE);
    }
}

/* A big leaf in the way of a small one becomes a table, whole: no neighbour of the new leaf keeps a
 * translation that was not asked for (CVE-2026-23401's class). */
static void a_big_leaf_gives_way_to_a_table(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x40000000 | RWX, 3), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    expect_page(world, root, L2, 0x9000);
    expect_absent(world, root, L2 + 0x1000);
    expect_absent(world, root, L2 + 0x200000);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
}

/* A table in the way of a big leaf goes, with all below; its pages wait for the flush. */
static void a_table_gives_way_to_a_big_leaf(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    uint32_t pages;
    unsigned i;

    enter(world, root);
    for (i = 0; i < 40; i++)
        assert_int_equal(install(world, root, L2 + i * UINT64_C(0x203000), 0x9000 | RWX, 1),
                         NVI_FAULT_INSTALLED);
    pages = audited(world);
    assert_int_equal(install(world, root, L2, 0x40000000 | RWX, 3), NVI_FAULT_INSTALLED);
    assert_int_equal(tables(world, root), 2);
    /* One of the tables that went is dissolved with each fault; what hardware walked waits. */
    for (i = 0; i < 60; i++)
        assert_int_equal(install(world, root, L2, 0x40000000 | RWX, 3), NVI_FAULT_INSTALLED);
    assert_int_equal(root->pages, 2);
    assert_int_equal(limbo(world), 41);
    assert_true(audited(world) < pages);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(limbo(world), 0);
    expect_page(world, root, L2, 0x40000000 | (L2 & 0x3fffffff));
}

/* The host's mapping moved after the leaf was made: it is not installed, and the rest goes too. */
static void a_leaf_from_an_old_sequence_is_refused(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    struct nvi_mmu_leaf leaf = { .entry = 0x5000 | RWX, .level = 1, .sequence = 2 };

    enter(world, root);
    assert_int_equal(install(world, root, L2 + 0x1000, 0x5000 | RWX, 1), NVI_FAULT_INSTALLED);
    fake_vm_invalidate(world->port);
    assert_int_equal(nvi_mmu_install(&world->mmu, root, nvirt_l2gpa_make(L2), &leaf),
                     NVI_FAULT_RETRY);
    assert_true(nvi_mmu_root_is_stale(&world->mmu, root));
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, root, L2 + 0x1000);
    /* Still the old sequence in the leaf, the tree already at the new one. */
    assert_int_equal(nvi_mmu_install(&world->mmu, root, nvirt_l2gpa_make(L2), &leaf),
                     NVI_FAULT_RETRY);
    expect_absent(world, root, L2);
}

/* While the host is at it nothing is installed. */
static void nothing_is_installed_under_an_odd_sequence(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    unsigned i;

    enter(world, root);
    world->port->sequence = 7;
    for (i = 0; i < 3; i++) {
        assert_int_equal(install(world, root, L2, 0x5000 | RWX, 1), NVI_FAULT_RETRY);
        enter(world, root);
        expect_absent(world, root, L2);
    }
    world->port->sequence = 8;
    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x5000 | RWX, 1), NVI_FAULT_INSTALLED);
}

/* A root L1 invalidated takes no leaf before it was emptied. */
static void a_stale_root_takes_no_leaf(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    nvi_mmu_invalidate(&world->mmu, 0x1000);
    assert_int_equal(install(world, root, L2, 0x5000 | RWX, 1), NVI_FAULT_RETRY);
    expect_absent(world, root, L2);
}

/* The tables of an emptied tree are used for nothing else before the flush. */
static void emptied_tables_wait_for_the_flush(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    unsigned i;

    enter(world, root);
    for (i = 0; i < 300; i++)
        assert_int_equal(install(world, root, i * UINT64_C(0x40000000), 0x9000 | RWX, 2),
                         NVI_FAULT_INSTALLED);
    nvi_mmu_drop_all(&world->mmu);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 0), NVI_MMU_FLUSH_ROOT);
    expect_absent(world, root, 0);
    while (nvi_shadow_reap(&world->mmu))
        ;
    assert_int_equal(limbo(world), 1 + 300);
    nvi_mmu_flushed(&world->mmu, root, 0, NVI_MMU_FLUSH_NONE);
    assert_int_equal(limbo(world), 1 + 300);
    nvi_mmu_flushed(&world->mmu, root, 0, NVI_MMU_FLUSH_ROOT);
    assert_int_equal(limbo(world), 0);
    assert_int_equal(root->pages, 1);
}

/* Dissolved after the flush, they need not wait for another. */
static void tables_dissolved_after_the_flush_do_not_wait(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    nvi_mmu_drop_all(&world->mmu);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    while (nvi_shadow_reap(&world->mmu))
        ;
    assert_int_equal(limbo(world), 0);
    assert_int_equal(root->pages, 1);
    (void)audited(world);
}

/* Short of room: the subtrees used longest ago go first, of any root, and the fault has its page at
 * once: what is noted of a table is free before its flush (CVE-2026-64561: the root in use
 * stays). */
static void reclaim_takes_what_was_used_longest_ago(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *old = root_for(world, 0x1000);
    struct nvi_mmu_root *young = root_for(world, 0x2000);
    struct nvi_mmu_root *mine = root_for(world, 0x3000);

    enter(world, old);
    assert_int_equal(install(world, old, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, young);
    assert_int_equal(install(world, young, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, mine);
    assert_int_equal(install(world, mine, 0, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    world->vm.page_budget = audited(world);
    /* Three tables want six pages; the three of the old tree give three at once, */
    assert_int_equal(install(world, mine, L2, 0xa000 | RWX, 1), NVI_FAULT_INSTALLED);
    expect_absent(world, old, L2);
    /* and part of the next, the oldest first: the whole way to a page begins with the top. */
    expect_absent(world, young, L2);
    expect_page(world, mine, 0, 0x9000);
    expect_page(world, mine, L2, 0xa000);
    assert_true(world->stats.shadow_reclaimed >= 4);
    assert_true(audited(world) <= world->vm.page_budget);
    assert_int_equal(enter(world, mine), NVI_MMU_FLUSH_NONE);
    assert_int_equal(enter(world, old), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(enter(world, young), NVI_MMU_FLUSH_ROOT);
}

/* Within one root too: what the fault needs stays, what was touched last goes last. */
static void reclaim_within_the_faulting_root(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *mine = root_for(world, 0x3000);
    enum nvi_fault result = NVI_FAULT_RETRY;
    unsigned i, kept = 0;

    enter(world, mine);
    for (i = 0; i < 20; i++)
        assert_int_equal(install(world, mine, i * UINT64_C(0x200000), 0x9000 | RWX, 1),
                         NVI_FAULT_INSTALLED);
    world->vm.page_budget = audited(world);
    assert_int_equal(install(world, mine, 0, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    for (i = 0; i < 4 && result != NVI_FAULT_INSTALLED; i++) {
        enter(world, mine);
        result = install(world, mine, L2, 0xa000 | RWX, 1);
    }
    assert_int_equal(result, NVI_FAULT_INSTALLED);
    expect_page(world, mine, L2, 0xa000);
    expect_page(world, mine, 0, 0x9000);
    expect_absent(world, mine, UINT64_C(0x200000));
    for (i = 0; i < 20; i++) {
        struct hw_page page;

        kept += walk(world, mine, i * UINT64_C(0x200000), &page) == HW_PAGE;
    }
    /* Not one more than were needed: three tables want six pages. */
    assert_in_range(kept, 20 - 6, 19);
    assert_int_equal(enter(world, mine), NVI_MMU_FLUSH_ROOT);
    (void)audited(world);
}

/* An L1 that only names many roots must not use up the budget for good: an empty root that is not
 * in use is given up, and the address of a new one is flushed before use. */
static void empty_roots_give_up_their_top_tables(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *mine = NULL;
    enum nvi_fault result = NVI_FAULT_RETRY;
    unsigned i;

    for (i = 1; i <= ROOTS; i++)
        mine = root_for(world, 0x1000 * i);
    /* Room for the reverse map and one way down, once the others' top tables are given up. */
    world->vm.page_budget = world->vm.pages_in_use + 2;
    for (i = 0; i < 2 * ROOTS && result == NVI_FAULT_RETRY; i++) {
        enter(world, mine);
        result = install(world, mine, L2, 0xa000 | RWX, 1);
    }
    assert_int_equal(result, NVI_FAULT_INSTALLED);
    expect_page(world, mine, L2, 0xa000);
    assert_true(audited(world) <= world->vm.page_budget);
    world->vm.page_budget = 100;
    assert_int_equal(enter(world, root_for(world, 0x1000)), NVI_MMU_FLUSH_ROOT);
}

/* A budget that cannot hold one walk says so after a bounded number of faults; nothing leaks. */
static void too_small_a_budget_is_no_page(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *mine = root_for(world, 0x3000);
    enum nvi_fault result = NVI_FAULT_RETRY;
    unsigned faults;

    world->vm.page_budget = world->vm.pages_in_use + 5;
    for (faults = 0; faults < 10 && result == NVI_FAULT_RETRY; faults++) {
        enter(world, mine);
        result = install(world, mine, L2, 0xa000 | RWX, 1);
    }
    assert_int_equal(result, NVI_FAULT_NO_PAGE);
    assert_true(faults <= 3);
    assert_true(audited(world) <= world->vm.page_budget);
    world->vm.page_budget += 10;
    enter(world, mine);
    assert_int_equal(install(world, mine, L2, 0xa000 | RWX, 1), NVI_FAULT_INSTALLED);
}

/* The port refuses the n-th page, for every n: the tree stays whole, and the retry succeeds. */
static void any_refused_page_is_survived(void **state)
{
    struct world *world = *state;
    unsigned n;

    for (n = 1;; n++) {
        struct nvi_mmu_root *root;
        enum nvi_fault result;

        nvi_mmu_destroy(&world->mmu);
        root = root_for(world, 0x1000);
        enter(world, root);
        fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, n);
        result = install(world, root, L2, 0xa000 | RWX, 1);
        (void)audited(world);
        if (!world->port->failed)
            break;
        assert_int_not_equal(result, NVI_FAULT_INSTALLED);
        expect_absent(world, root, L2);
        enter(world, root);
        assert_int_equal(install(world, root, L2, 0xa000 | RWX, 1), NVI_FAULT_INSTALLED);
        expect_page(world, root, L2, 0xa000);
        (void)audited(world);
    }
    fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 0);
    /* Three tables, a page of notes for each, and two for the reverse map. */
    assert_int_equal(n - 1, 8);
}

/* Makes one part of what a shadow table is another, or undoes it. */
static void alter(struct nvi_shadow *shadow, unsigned part)
{
    switch (part) {
    case 0:
        shadow->kind = shadow->kind == NVI_SHADOW_SPLIT ? NVI_SHADOW_TABLE : NVI_SHADOW_SPLIT;
        break;
    case 1:
        shadow->level ^= 3u;
        break;
    case 2:
        shadow->guest ^= 0x200000;
        break;
    case 3:
        shadow->via ^= 0x1000;
        break;
    default:
        shadow->root ^= 3u;
        break;
    }
}

/* The table of the last level for an address. */
static nvi_mmu_id last_table(struct world *world, const struct nvi_mmu_root *root, uint64_t l2gpa)
{
    nvi_mmu_id id = root->top;
    unsigned level;

    for (level = 4; level > 1; level--)
        id = nvi_shadow_child(&world->mmu, nvi_shadow_at(&world->mmu, id),
                              (uint32_t)(l2gpa >> (3 + 9 * level)) & 511);
    return id;
}

/* A shadow table that is not what the place wants, in any one part of what it is, serves there no
 * more: not the kind, level, guest address, entry that leads to it, or root (CVE-2026-53359,
 * CVE-2026-46113). Nothing makes such a table; if something did, it would not be used. */
static void a_table_is_recognised_by_all_that_it_is(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    unsigned part;

    (void)root_for(world, 0x2000);
    for (part = 0; part < 5; part++) {
        uint64_t l2gpa = (part + 1) * UINT64_C(0x40000000);
        nvi_mmu_id before;

        enter(world, root);
        assert_int_equal(install(world, root, l2gpa, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
        before = last_table(world, root, l2gpa);
        alter(nvi_shadow_at(&world->mmu, before), part);
        assert_int_equal(install(world, root, l2gpa + 0x1000, 0xa000 | RWX, 1),
                         NVI_FAULT_INSTALLED);
        alter(nvi_shadow_at(&world->mmu, before), part);
        assert_int_not_equal(last_table(world, root, l2gpa), before);
        expect_absent(world, root, l2gpa);
        expect_page(world, root, l2gpa + 0x1000, 0xa000);
        (void)audited(world);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_table_is_recognised_by_all_that_it_is),
        TEST(leaves_of_each_size),
        TEST(five_levels),
        TEST(lookup_tells_entry_and_level),
        TEST(more_rights_need_no_flush),
        TEST(other_changes_need_a_flush),
        TEST(a_big_leaf_gives_way_to_a_table),
        TEST(a_table_gives_way_to_a_big_leaf),
        TEST(a_leaf_from_an_old_sequence_is_refused),
        TEST(nothing_is_installed_under_an_odd_sequence),
        TEST(a_stale_root_takes_no_leaf),
        TEST(emptied_tables_wait_for_the_flush),
        TEST(tables_dissolved_after_the_flush_do_not_wait),
        TEST(reclaim_takes_what_was_used_longest_ago),
        TEST(reclaim_within_the_faulting_root),
        TEST(empty_roots_give_up_their_top_tables),
        TEST(too_small_a_budget_is_no_page),
        TEST(any_refused_page_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
