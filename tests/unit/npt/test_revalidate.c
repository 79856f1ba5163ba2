/* SPDX-License-Identifier: MIT */
/*
 * Rules of comparing NPT02 with NPT12 in each of L1's paging modes: an entry of ours belongs to the
 * right entry of L1's, also where entries have 4 bytes, tables 1024 of them, and pages 4 MiB.
 */
#include "mmu_audit.h"
#include "npt_world.h"

#include "mmu/mmu_internal.h"

#define PAGE UINT64_C(0x1000)
/* Low enough for 32-bit tables, in the second half of a table of theirs. */
#define L2 UINT64_C(0x5f3fc000)

static void flush(struct world *world)
{
    nvi_mmu_invalidate(&world->mmu, world->key.table);
    run(world);
}

static void touch(struct world *world, uint64_t l2gpa)
{
    assert_int_equal(fault(world, NVI_PF_U, l2gpa), NVI_FAULT_INSTALLED);
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

/* Three neighbours; the one in the middle changes. */
static void entries_of_every_width_are_told_apart(void **state)
{
    static const unsigned mode[] = { 2, 3, 4, 5 };
    struct world *world = *state;

    for (unsigned m = 0; m < 4; m++) {
        for (unsigned i = 0; i < 3; i++) {
            set_mode(world, mode[m]);
            map(world, 1, L2 + i * PAGE, (0x400000 + i * PAGE) | ALL);
            run(world);
            touch(world, L2 + i * PAGE);
        }
        put(world, 1, L2 + PAGE, 0x9000 | ALL);
        flush(world);
        assert_false(is_mapped(world, L2));
        touch(world, L2);
        assert_false(is_mapped(world, L2 + PAGE));
        assert_true(is_mapped(world, L2 + 2 * PAGE));
        audit(world);
        nvi_mmu_destroy(&world->mmu);
    }
}

/* Large pages of every mode on large pages of the host, each beside another one; 4 MiB are two. */
static void large_entries_are_told_apart(void **state)
{
    static const struct {
        unsigned levels, level;
        uint64_t size;
    } mode[] = { { 2, 2, SIZE_4M }, { 3, 2, SIZE_2M }, { 4, 2, SIZE_2M }, { 4, 3, SIZE_1G } };
    struct fake_region_l1 big = { .bytes = NVIRT_BIT(39), .hpa = NVIRT_BIT(42), .block = SIZE_1G,
                                  .rights = FAKE_ALL_RIGHTS, .memory_type = NVIRT_MEMORY_WB };
    struct world *world = *state;

    fake_vm_region(world->port, &big);
    for (unsigned m = 0; m < 4; m++) {
        uint64_t size = mode[m].size, base = L2 & ~(2 * size - 1);
        struct hw_page page;

        set_mode(world, mode[m].levels);
        map(world, mode[m].level, base, (6 * size) | ALL);
        map(world, mode[m].level, base + size, (9 * size) | ALL);
        run(world);
        touch(world, base);
        touch(world, base + size / 2);
        touch(world, base + size);
        touch(world, base + size + size / 2);
        put(world, mode[m].level, base, (11 * size) | ALL | LARGE);
        flush(world);
        touch(world, base + size);
        assert_false(is_mapped(world, base));
        assert_false(is_mapped(world, base + size / 2));
        assert_int_equal(hardware(world, base + size + size / 2, &page), HW_PAGE);
        assert_int_equal(page.hpa, NVIRT_BIT(42) + 9 * size + size / 2);
        audit(world);
        nvi_mmu_destroy(&world->mmu);
    }
}

/* 4-MiB pages beyond 4 GiB: the reverse map knows where they are [APM 2 "Legacy-Paging"]. */
static void the_reverse_map_finds_pages_of_pse36(void **state)
{
    struct fake_region_l1 big = { .bytes = NVIRT_BIT(39), .hpa = NVIRT_BIT(42), .block = SIZE_1G,
                                  .rights = FAKE_ALL_RIGHTS, .memory_type = NVIRT_MEMORY_WB };
    struct world *world = *state;
    uint64_t l1 = UINT64_C(0x5a00c00000), base = L2 & ~(SIZE_4M - 1);

    fake_vm_region(world->port, &big);
    set_mode(world, 2);
    map(world, 2, base, (l1 & 0xffc00000) | (l1 >> 32 & 0xff) << 13 | ALL);
    run(world);
    touch(world, base);
    touch(world, base + SIZE_2M);
    nvi_mmu_lock(&world->mmu);
    assert_int_equal(nvi_rmap_drop(&world->mmu, l1 + SIZE_4M, SIZE_4M), 0);
    assert_int_equal(nvi_rmap_drop(&world->mmu, l1 & 0xffffffff, SIZE_4M), 0);
    assert_int_equal(nvi_rmap_drop(&world->mmu, l1 + SIZE_2M, PAGE), 1);
    nvi_mmu_unlock(&world->mmu);
    assert_true(is_mapped(world, base));
    assert_false(is_mapped(world, base + SIZE_2M));
    audit(world);
}

/* Accessed and dirty bits are always on in NPT: cleared ones make the leaf go. */
static void cleared_flags_are_changes(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x400000 | ALL);
    map(world, 1, L2 + PAGE, 0x401000 | ALL);
    run(world);
    touch(world, L2);
    touch(world, L2 + PAGE);
    put(world, 1, L2 + PAGE, get(world, 1, L2 + PAGE) & ~A);
    put(world, 1, L2, get(world, 1, L2) | D);
    flush(world);
    touch(world, L2);
    assert_true(is_mapped(world, L2));
    assert_false(is_mapped(world, L2 + PAGE));
}

/* PAE tables with another PDPTE, 4-level tables with another PML4E: what hung there is another. */
static void entries_above_are_compared(void **state)
{
    static const unsigned mode[] = { 2, 3, 4, 5 };
    struct world *world = *state;

    for (unsigned m = 0; m < 4; m++) {
        for (unsigned level = 2; level <= mode[m]; level++) {
            set_mode(world, mode[m]);
            map(world, 1, L2, 0x400000 | ALL);
            map(world, 1, L2 + PAGE, 0x401000 | ALL);
            run(world);
            touch(world, L2);
            touch(world, L2 + PAGE);
            /* The table there with the entry of the first page only. */
            for (unsigned i = level - 1; i >= 1; i--) {
                uint64_t page = 0x80000 + i * PAGE;
                uint64_t at = (slot(world, i, L2) & 0xfff) + page;
                uint64_t value = i == 1 ? 0x400000 | ALL : (page - PAGE) | ALL;

                fake_vm_put64(world->port, page + (slot(world, i, L2 + PAGE) & 0xfff), 0);
                if (mode[m] == 2)
                    fake_vm_put32(world->port, at, (uint32_t)value);
                else
                    fake_vm_put64(world->port, at, value);
            }
            put(world, level, L2, (0x80000 + (level - 1) * PAGE) |
                                      (mode[m] == 3 && level == 3 ? P : ALL));
            flush(world);
            touch(world, L2);
            assert_false(is_mapped(world, L2 + PAGE));
            audit(world);
            nvi_mmu_destroy(&world->mmu);
        }
    }
}

/* [APM 2 "Nested Paging", "TLB Control"] The rights of all levels are intersected: what L1 takes from an
 * entry of any level it has taken, after its flush, from every page below, also from those that no
 * fault asked for since. A PML5E is above all that hardware's four levels are made from. */
static void rights_taken_at_any_level_are_gone_after_a_flush(void **state)
{
    static const uint64_t with[] = { ALL & ~W, ALL | NX, ALL };
    static const unsigned mode[] = { 4, 5 };
    struct world *world = *state;

    for (unsigned m = 0; m < 2; m++) {
        for (unsigned level = 2; level <= mode[m]; level++) {
            struct hw_page page;
            uint64_t table;

            set_mode(world, mode[m]);
            map(world, 1, L2, 0x400000 | ALL | D | A);
            map(world, 1, L2 + PAGE, 0x401000 | ALL | D | A);
            table = get(world, level, L2) & ~(uint64_t)ALL;
            for (unsigned i = 0; i < 3; i++) {
                run(world);
                touch(world, L2 + PAGE);
                put(world, level, L2, table | with[i]);
                flush(world);
                touch(world, L2);
                assert_false(is_mapped(world, L2 + PAGE));
                audit(world);
                touch(world, L2 + PAGE);
                assert_int_equal(hardware(world, L2 + PAGE, &page), HW_PAGE);
                assert_int_equal(page.rights & NVIRT_ACCESS_WRITE,
                                 i == 0 ? 0 : NVIRT_ACCESS_WRITE);
                assert_int_equal(page.rights & NVIRT_ACCESS_EXECUTE,
                                 i == 1 ? 0 : NVIRT_ACCESS_EXECUTE);
            }
            nvi_mmu_destroy(&world->mmu);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(entries_of_every_width_are_told_apart),
        TEST(large_entries_are_told_apart),
        TEST(the_reverse_map_finds_pages_of_pse36),
        TEST(cleared_flags_are_changes),
        TEST(entries_above_are_compared),
        TEST(rights_taken_at_any_level_are_gone_after_a_flush),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
