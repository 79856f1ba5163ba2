/* SPDX-License-Identifier: MIT */
/*
 * Rules of what an INVEPT of L1's costs and does: nothing that L1 changed before it survives it,
 * what L1 did not change does, and only tables that L2 touches again are looked at.
 *
 * [SDM 3C "Operations that Invalidate Cached Mappings"]
 */
#include "ept_world.h"
#include "mmu_audit.h"

#include "mmu/mmu_internal.h"

#define L2 UINT64_C(0x3f12200000)
#define PAGE UINT64_C(0x1000)

static void invept(struct world *world)
{
    nvi_mmu_invalidate(&world->mmu, EPT12 | 0x1e);
    run(world);
}

static void touch(struct world *world, uint64_t access, uint64_t l2gpa)
{
    assert_int_equal(fault(world, access, l2gpa), NVI_FAULT_INSTALLED);
}

static bool is_mapped(struct world *world, uint64_t l2gpa)
{
    struct hw_page page;

    return hardware(world, l2gpa, &page) == HW_PAGE;
}

static void audit(struct world *world)
{
    struct mmu_audit found;

    mmu_audit(&world->mmu, &found);
}

/* Maps @p count pages from L2 on to consecutive pages at @p l1gpa, and touches them. */
static void map_pages(struct world *world, unsigned count, uint64_t l1gpa)
{
    for (unsigned i = 0; i < count; i++) {
        map(world, 1, L2 + i * PAGE, (l1gpa + i * PAGE) | RWX | WB);
        if (i == 0)
            run(world);
        touch(world, NVI_EPT_QUAL_READ, L2 + i * PAGE);
    }
}

/* Hardware finds nothing after INVEPT; the first fault brings back its whole table, as it was. */
static void what_did_not_change_comes_back_with_one_fault(void **state)
{
    struct world *world = *state;

    map_pages(world, 200, 0x400000);
    invept(world);
    for (unsigned i = 0; i < 200; i++)
        assert_false(is_mapped(world, L2 + i * PAGE));
    touch(world, NVI_EPT_QUAL_READ, L2 + 7 * PAGE);
    for (unsigned i = 0; i < 200; i++) {
        struct hw_page page;

        assert_int_equal(hardware(world, L2 + i * PAGE, &page), HW_PAGE);
        assert_int_equal(page.hpa, 0x400000 + i * PAGE + FAKE_VM_HPA_OFFSET);
    }
    assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
    audit(world);
}

/* Address, rights, memory type, presence: any of them changed in L1's entry, and the old leaf is
 * gone; its neighbours stay. */
static void what_changed_is_gone_and_nothing_else(void **state)
{
    static const uint64_t changed[] = { 0, 0x999000 | RWX | WB, R | WB, RWX | UC, RWX | WB | IPAT,
                                        X | WB };
    struct world *world = *state;
    uint64_t same = 0x400000 | RWX | WB;

    for (unsigned i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        uint64_t entry = changed[i] == 0 ? 0 : changed[i] | (changed[i] < PAGE ? 0x401000 : 0);

        map(world, 1, L2, same);
        map(world, 1, L2 + PAGE, 0x401000 | RWX | WB);
        run(world);
        touch(world, NVI_EPT_QUAL_READ, L2);
        touch(world, NVI_EPT_QUAL_READ, L2 + PAGE);
        put(world, 1, L2 + PAGE, entry);
        invept(world);
        touch(world, NVI_EPT_QUAL_READ, L2);
        assert_true(is_mapped(world, L2));
        assert_false(is_mapped(world, L2 + PAGE));
        audit(world);
        invept(world);
    }
}

/* With A/D flags on: L1 that cleared one wants to see it set again, so the leaf goes. A flag that
 * was set meanwhile (by another CPU of L1's) tells nothing new. */
static void a_cleared_flag_is_a_change_a_set_one_is_not(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x400000 | RWX | WB);
    map(world, 1, L2 + PAGE, 0x401000 | RWX | WB);
    map(world, 1, L2 + 2 * PAGE, 0x402000 | RWX | WB);
    run(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    touch(world, NVI_EPT_QUAL_WRITE, L2 + PAGE);
    touch(world, NVI_EPT_QUAL_READ, L2 + 2 * PAGE);
    assert_int_equal(get(world, 1, L2 + PAGE) & (A | D), A | D);
    put(world, 1, L2 + PAGE, get(world, 1, L2 + PAGE) & ~D);
    put(world, 1, L2 + 2 * PAGE, get(world, 1, L2 + 2 * PAGE) | D);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_false(is_mapped(world, L2 + PAGE));
    assert_true(is_mapped(world, L2 + 2 * PAGE));
    put(world, 1, L2, get(world, 1, L2) & ~A);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2 + 2 * PAGE);
    assert_false(is_mapped(world, L2));
}

/* A cleared flag in an entry that leads to a table is set by the first access through it, wherever
 * that goes, so nothing below has to go. A cleared dirty flag of a split page is not set by
 * reading. */
static void a_cleared_flag_above_is_set_by_the_first_touch(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x400000 | RWX | WB);
    map(world, 1, L2 + PAGE, 0x401000 | RWX | WB);
    map(world, 2, L2 + SIZE_2M, 0x600000 | RWX | WB);
    run(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    touch(world, NVI_EPT_QUAL_READ, L2 + PAGE);
    touch(world, NVI_EPT_QUAL_WRITE, L2 + SIZE_2M);
    touch(world, NVI_EPT_QUAL_WRITE, L2 + SIZE_2M + PAGE);
    for (unsigned level = 4; level > 1; level--)
        put(world, level, L2, get(world, level, L2) & ~A);
    put(world, 2, L2 + SIZE_2M, get(world, 2, L2 + SIZE_2M) & ~D);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    for (unsigned level = 4; level > 1; level--)
        assert_int_equal(get(world, level, L2) & A, A);
    assert_true(is_mapped(world, L2 + PAGE));
    touch(world, NVI_EPT_QUAL_READ, L2 + SIZE_2M);
    assert_int_equal(get(world, 2, L2 + SIZE_2M) & D, 0);
    assert_false(is_mapped(world, L2 + SIZE_2M + PAGE));
}

/* The cost of INVEPT: none itself, and afterwards the tables touched. 40 tables of 10 pages each;
 * one is touched again: its entries are read once and no others. */
static void a_table_not_touched_again_costs_nothing(void **state)
{
    struct world *world = *state;
    uint64_t revalidated;

    /* One table of L1's, linked at forty places. */
    for (unsigned t = 0; t < 40; t++) {
        for (unsigned i = 0; i < 10; i++) {
            map(world, 1, L2 + t * SIZE_2M + i * PAGE, (0x400000 + i * PAGE) | RWX | WB);
            if (t == 0 && i == 0)
                run(world);
            touch(world, NVI_EPT_QUAL_READ, L2 + t * SIZE_2M + i * PAGE);
        }
    }
    fake_vm_log_reset(world->port);
    nvi_mmu_invalidate(&world->mmu, EPT12);
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
    run(world);
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
    revalidated = world->stats.shadow_revalidated;
    touch(world, NVI_EPT_QUAL_READ, L2 + 3 * SIZE_2M);
    /* The walk reads four entries, the comparison ten, one of them the walk's. */
    assert_int_equal(fake_vm_bytes_read(world->port), 8 * (4 + 10 - 1));
    assert_int_equal(world->stats.shadow_revalidated - revalidated, 3);
    assert_true(is_mapped(world, L2 + 3 * SIZE_2M + 9 * PAGE));
    assert_false(is_mapped(world, L2 + 4 * SIZE_2M));
    audit(world);
}

/* The same of everything by INVEPT all-context. */
static void all_context_is_the_same_for_every_root(void **state)
{
    struct world *world = *state;

    map_pages(world, 3, 0x400000);
    put(world, 1, L2 + PAGE, 0);
    nvi_mmu_invalidate_all(&world->mmu);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    assert_false(is_mapped(world, L2));
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_false(is_mapped(world, L2 + PAGE));
    assert_true(is_mapped(world, L2 + 2 * PAGE));
}

/* A 2-MiB page of L1's on 4-KiB pages of the host: all its leaves follow from one entry. While that
 * is as it was they stay, and when it changes they go, all of them. */
static void a_split_page_follows_its_one_entry(void **state)
{
    struct world *world = *state;

    map(world, 2, L2, 0x600000 | RWX | WB);
    run(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    touch(world, NVI_EPT_QUAL_READ, L2 + 5 * PAGE);
    assert_false(is_mapped(world, L2 + 6 * PAGE));
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_true(is_mapped(world, L2 + 5 * PAGE));
    put(world, 2, L2, 0x800000 | RWX | WB | LARGE);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_false(is_mapped(world, L2 + 5 * PAGE));
    audit(world);
}

/* A 1-GiB page in two steps of splitting. */
static void a_gigabyte_splits_twice(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    map(world, 3, L2, SIZE_1G | RWX | WB);
    run(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    touch(world, NVI_EPT_QUAL_READ, L2 + SIZE_2M + PAGE);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    touch(world, NVI_EPT_QUAL_READ, L2 + SIZE_2M);
    assert_int_equal(hardware(world, L2 + SIZE_2M + PAGE, &page), HW_PAGE);
    assert_int_equal(page.hpa, SIZE_1G + ((L2 + SIZE_2M + PAGE) & (SIZE_1G - 1)) +
                                   FAKE_VM_HPA_OFFSET);
    put(world, 3, L2, SIZE_1G | R | WB | LARGE);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_false(is_mapped(world, L2 + SIZE_2M + PAGE));
    audit(world);
}

/* A page of L1's where L1 had a table, and the table again where it had the page, without any
 * invalidation between: what is found under the place is never the other's (CVE-2026-53359: a 2-MiB
 * page's split table taken for L1's own table; CVE-2026-46113: for another L1 address). The host
 * then takes the memory away, and nothing is left of it anywhere. */
static void a_split_is_not_a_table_and_no_other_page(void **state)
{
    struct world *world = *state;
    static const uint64_t base[] = { 0x600000, 0x800000 };

    for (unsigned round = 0; round < 8; round++) {
        struct hw_page page;
        uint64_t l1 = base[round / 2 % 2];

        if (round % 2 == 0) {
            map(world, 2, L2, l1 | RWX | WB);
        } else {
            /* L1's table maps the pages in another order. */
            map(world, 1, L2, (l1 + 5 * PAGE) | RWX | WB);
            map(world, 1, L2 + 5 * PAGE, l1 | RWX | WB);
        }
        run(world);
        touch(world, NVI_EPT_QUAL_READ, L2);
        assert_false(is_mapped(world, L2 + 5 * PAGE));
        touch(world, NVI_EPT_QUAL_READ, L2 + 5 * PAGE);
        assert_int_equal(hardware(world, L2, &page), HW_PAGE);
        assert_int_equal(page.hpa - FAKE_VM_HPA_OFFSET, round % 2 == 0 ? l1 : l1 + 5 * PAGE);
        audit(world);
        if (round % 3 == 2) {
            world->vm.magic = NVI_VM_MAGIC;
            nvi_mmu_attach(&world->mmu, 0);
            assert_int_equal(nvirt_vm_change_begin(&world->vm, nvirt_l1gpa_make(l1), SIZE_2M),
                             NVIRT_OK);
            assert_int_equal(world->mmu.leaf_count, 0);
            assert_false(is_mapped(world, L2));
            assert_false(is_mapped(world, L2 + 5 * PAGE));
            assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
            nvi_mmu_detach(&world->mmu);
        }
    }
}

/* Another table of L1's at the same place, with the same entries in it: still another table. */
static void another_table_of_l1_is_another_shadow(void **state)
{
    struct world *world = *state;
    uint64_t other = EPT12 + 0x80000;

    map_pages(world, 2, 0x400000);
    fake_vm_put64(world->port, other + 8 * (L2 >> 12 & 511), 0x400000 | RWX | WB);
    fake_vm_put64(world->port, other + 8 * (L2 >> 12 & 511) + 8, 0x700000 | RWX | WB);
    put(world, 2, L2, other | RWX);
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_false(is_mapped(world, L2 + PAGE));
    audit(world);
}

/* L1's own hypervisor writes, and nvirt's emulated ones, into EPT12 (VMREAD or VMPTRST with a
 * memory operand there) are edits like any other: not seen before L1 invalidates, always seen after
 * (CVE-2026-23402). An entry in the way is replaced, never kept under another (CVE-2026-23401). */
static void an_edit_that_nobody_told_of_is_seen_after_invept(void **state)
{
    struct world *world = *state;
    struct hw_page page;
    uint64_t entry = 0x9000 | RWX | WB;

    map_pages(world, 1, 0x400000);
    assert_int_equal(nvirt_port_l1_write(world->port, nvirt_l1gpa_make(slot(world, 1, L2)), &entry,
                                         sizeof entry), NVIRT_OK);
    assert_true(is_mapped(world, L2));
    invept(world);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.hpa, 0x9000 + FAKE_VM_HPA_OFFSET);
    entry = 0xa000 | RWX | WB;
    put(world, 1, L2, entry);
    touch(world, NVI_EPT_QUAL_READ, L2);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.hpa, 0xa000 + FAKE_VM_HPA_OFFSET);
    audit(world);
}

/* L1's table lies where L1 has no memory any more: what cannot be compared does not stay. */
static void a_table_that_cannot_be_read_keeps_nothing(void **state)
{
    struct world *world = *state;

    map_pages(world, 3, 0x400000);
    invept(world);
    /* The walk's four reads succeed, the first comparison fails. */
    fake_vm_fail(world->port, FAKE_CALL_READ, 5);
    touch(world, NVI_EPT_QUAL_READ, L2 + 2 * PAGE);
    assert_true(world->port->failed);
    assert_false(is_mapped(world, L2));
    assert_true(is_mapped(world, L2 + PAGE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_did_not_change_comes_back_with_one_fault),
        TEST(what_changed_is_gone_and_nothing_else),
        TEST(a_cleared_flag_is_a_change_a_set_one_is_not),
        TEST(a_cleared_flag_above_is_set_by_the_first_touch),
        TEST(a_table_not_touched_again_costs_nothing),
        TEST(all_context_is_the_same_for_every_root),
        TEST(a_split_page_follows_its_one_entry),
        TEST(a_gigabyte_splits_twice),
        TEST(a_split_is_not_a_table_and_no_other_page),
        TEST(another_table_of_l1_is_another_shadow),
        TEST(an_edit_that_nobody_told_of_is_seen_after_invept),
        TEST(a_table_that_cannot_be_read_keeps_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
