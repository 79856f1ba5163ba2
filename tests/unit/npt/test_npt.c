/* SPDX-License-Identifier: MIT */
/*
 * Rules of NPT02: composed entries, whose a nested page fault is and what L1 sees of it.
 */
#include "npt_world.h"

#define L2 UINT64_C(0xd2345678)
#define FINAL NVI_NPF_FINAL
#define TABLE NVI_NPF_TABLE

static void region(struct world *world, uint64_t start, uint64_t bytes, uint64_t block,
                   uint32_t rights, uint8_t type)
{
    struct fake_region_l1 r = { .start = start, .bytes = bytes, .hpa = start + FAKE_VM_HPA_OFFSET,
                                .block = block, .rights = rights, .memory_type = type };

    fake_vm_region(world->port, &r);
}

static uint64_t hpa_of(uint64_t l1gpa)
{
    return l1gpa + FAKE_VM_HPA_OFFSET;
}

static uint8_t cpu_type(const struct world *world, const struct hw_page *page)
{
    return (uint8_t)(world->config.cpu_pat >> (8 * page->type) & 7);
}

static void a_first_touch_is_installed(void **state)
{
    static const unsigned format[] = { 2, 3, 4, 5 };
    struct world *world = *state;
    unsigned i;

    for (i = 0; i < 4; i++) {
        struct hw_page page;

        set_mode(world, format[i]);
        map(world, 1, L2, 0x5000 | ALL | D);
        run(world);
        assert_int_equal(fault(world, NVI_PF_U | FINAL, L2), NVI_FAULT_INSTALLED);
        assert_int_equal(world->verdict.l1gpa.value, 0x5000 + (L2 & 0xfff));
        assert_int_equal(hardware(world, L2, &page), HW_PAGE);
        assert_int_equal(page.hpa, hpa_of(0x5000 + (L2 & 0xfff)));
        assert_int_equal(page.rights, 7);
        assert_int_equal(cpu_type(world, &page), NVIRT_MEMORY_WB);
        assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
    }
}

/* Clean pages fault on the first write, which sets D in NPT12 and needs no flush. */
static void clean_pages_are_write_protected(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    map(world, 1, L2, 0x5000 | ALL);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, NVIRT_ACCESS_READ | NVIRT_ACCESS_EXECUTE);
    assert_int_equal(fault(world, NVI_PF_U | NVI_PF_P | NVI_PF_W | FINAL, L2),
                     NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, 7);
    assert_true(page.dirty);
    assert_int_equal(get(world, 1, L2) & (A | D), A | D);
    assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
}

/* L1 changed the entry without invalidating and L2 faults on it again: what hardware may still hold
 * of the old one goes, unless the new one only allows more. */
static void a_leaf_that_changed_owes_a_flush(void **state)
{
    static const struct {
        uint64_t before, after;
        enum nvi_mmu_flush flush;
    } row[] = {
        { 0x5000 | ALL, 0x5000 | ALL, NVI_MMU_FLUSH_NONE },
        { 0x5000 | ALL | NX, 0x5000 | ALL, NVI_MMU_FLUSH_NONE },
        { 0x5000 | ALL, 0x5000 | ALL | NX, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | ALL, 0x5000 | ALL | PCD, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | ALL | PWT, 0x5000 | ALL, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | ALL, 0x6000 | ALL, NVI_MMU_FLUSH_ROOT },
    };
    struct world *world = *state;
    unsigned i;

    for (i = 0; i < sizeof row / sizeof row[0]; i++) {
        nvi_mmu_drop_all(&world->mmu);
        map(world, 1, L2, row[i].before);
        run(world);
        assert_int_equal(fault(world, NVI_PF_U | FINAL, L2), NVI_FAULT_INSTALLED);
        assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
        map(world, 1, L2, row[i].after);
        assert_int_equal(fault(world, NVI_PF_U | NVI_PF_P | NVI_PF_W | FINAL, L2),
                         NVI_FAULT_INSTALLED);
        assert_int_equal(run(world), row[i].flush);
    }
}

/* Rights of both sides intersect, for every pair. */
static void rights_are_intersected(void **state)
{
    struct world *world = *state;
    uint32_t l1, host, access;

    for (l1 = 0; l1 < 4; l1++) {
        uint64_t leaf = 0x500000 | P | U | D | (l1 & 1 ? W : 0) | (l1 & 2 ? 0 : NX);
        uint32_t l1_rights = NVIRT_ACCESS_READ | (l1 & 1 ? NVIRT_ACCESS_WRITE : 0) |
                             (l1 & 2 ? NVIRT_ACCESS_EXECUTE : 0);

        for (host = 0; host < 8; host++) {
            world->port->regions = 2;
            region(world, 0x500000, 0x1000, 0x1000, host, NVIRT_MEMORY_WB);
            for (access = 1; access < 8; access += 2) {
                struct hw_page page;
                enum nvi_fault result;

                if ((access & 6) == 6)
                    continue; /* No access is both. */
                map(world, 1, L2, leaf);
                nvi_mmu_invalidate_all(&world->mmu);
                run(world);
                result = fault(world,
                               NVI_PF_U | FINAL | (access & 2 ? NVI_PF_W : 0) |
                                   (access & 4 ? NVI_PF_ID : 0),
                               L2);
                if ((access & l1_rights) != access)
                    assert_int_equal(result, NVI_FAULT_REFLECT);
                else if ((access & host) != access)
                    assert_int_equal(result, NVI_FAULT_HOST);
                else
                    assert_int_equal(result, NVI_FAULT_INSTALLED);
                if (result == NVI_FAULT_INSTALLED) {
                    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
                    assert_int_equal(page.rights, l1_rights & host);
                } else {
                    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
                }
            }
        }
    }
}

/* The error code for L1: P, W, U, RSV and I/D from its own tables, bits 33:32 from hardware
 * [APM 2 "Nested versus Guest Page Faults, Fault Ordering"]. */
static void a_fault_of_l1_is_reflected_exactly(void **state)
{
    struct world *world = *state;

    run(world);
    assert_int_equal(fault(world, NVI_PF_U | FINAL, L2), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.info1, NVI_PF_U | FINAL);
    map(world, 1, L2, 0x5000 | P | U);
    assert_int_equal(fault(world, NVI_PF_U | NVI_PF_W | TABLE, L2), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.info1, NVI_PF_P | NVI_PF_U | NVI_PF_W | TABLE);
    map(world, 1, L2, 0x5000 | ALL | NX);
    /* Hardware saw no entry (P clear); L1's has one that forbids it. */
    assert_int_equal(fault(world, NVI_PF_U | NVI_PF_ID | FINAL | NVIRT_BIT(37), L2),
                     NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.info1, NVI_PF_P | NVI_PF_U | NVI_PF_ID | FINAL);
    map(world, 1, L2, 0x5000 | ALL | NVIRT_BIT(45));
    assert_int_equal(fault(world, NVI_PF_U | FINAL, L2), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.info1, NVI_PF_P | NVI_PF_U | NVI_PF_RSV | FINAL);
    assert_int_equal(world->stats.shadow_reflected, 4);
    assert_int_equal(world->stats.shadow_faults, 0);
}

/* Nested tables of a 4-GiB format: an address above is L1's fault, P clear. */
static void addresses_beyond_l1s_tables_are_reflected(void **state)
{
    struct world *world = *state;

    set_mode(world, 3);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U | NVI_PF_W | FINAL, NVIRT_BIT(32)), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.info1, NVI_PF_U | NVI_PF_W | FINAL);
}

static void the_smaller_size_is_used(void **state)
{
    static const uint64_t size[] = { 0, 0x1000, SIZE_2M, SIZE_1G };
    struct world *world = *state;
    unsigned l1, host;
    struct hw_page page;

    for (l1 = 1; l1 <= 3; l1++) {
        for (host = 1; host <= 3; host++) {
            world->port->regions = 2;
            region(world, SIZE_1G, SIZE_1G, size[host], 7, NVIRT_MEMORY_WB);
            map(world, l1, L2, SIZE_1G | ALL);
            nvi_mmu_invalidate_all(&world->mmu);
            run(world);
            assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
            assert_int_equal(hardware(world, L2, &page), HW_PAGE);
            assert_int_equal(page.size, size[l1 < host ? l1 : host]);
            assert_int_equal(page.hpa, hpa_of(SIZE_1G + (L2 & (size[l1] - 1))));
        }
    }
    world->config.cpu_1g = false;
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.size, SIZE_2M);
    /* A 4-MiB page of 32-bit tables is two leaves. */
    set_mode(world, 2);
    map(world, 2, L2, SIZE_1G | ALL);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.size, SIZE_2M);
    assert_int_equal(page.hpa, hpa_of(SIZE_1G + (L2 & (SIZE_4M - 1))));
    assert_int_equal(hardware(world, L2 ^ SIZE_2M, &page), HW_NOT_PRESENT);
}

/* Each type of L1's with each of the host's, through a PAT that differs from L1's: uncached of the
 * host wins, and the index that hardware gets names the composed type. */
static void memory_types_are_translated_between_pats(void **state)
{
    static const uint8_t l1[] = { 0, 1, 4, 5, 6, 7 };
    static const uint8_t host[] = { NVIRT_MEMORY_UC, NVIRT_MEMORY_WC, NVIRT_MEMORY_WT,
                                    NVIRT_MEMORY_WP, NVIRT_MEMORY_WB };
    struct world *world = *state;
    unsigned i, j, level;

    world->config.cpu_pat = UINT64_C(0x0000050100070406);
    for (level = 1; level <= 2; level++) {
        for (i = 0; i < 6; i++) {
            for (j = 0; j < 5; j++) {
                struct hw_page page;
                uint8_t expected;

                world->mode.pat = (uint64_t)l1[i] << 40;
                world->key = nvi_npt_key(&world->mode);
                world->port->regions = 2;
                region(world, SIZE_1G, SIZE_1G, SIZE_1G, 7, host[j]);
                map(world, level, L2,
                    SIZE_1G | ALL | PWT | (level == 1 ? LARGE : NVIRT_BIT(12)));
                run(world);
                assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
                assert_int_equal(hardware(world, L2, &page), HW_PAGE);
                if (host[j] == NVIRT_MEMORY_WB)
                    expected = l1[i];
                else if (l1[i] == NVIRT_MEMORY_WB || l1[i] == host[j])
                    expected = host[j];
                else
                    expected = NVIRT_MEMORY_UC;
                assert_int_equal(cpu_type(world, &page), expected);
                nvi_mmu_invalidate_all(&world->mmu);
            }
        }
    }
}

/* A type that the CPU's PAT does not have becomes an uncached one, never a cached one. */
static void types_the_cpu_pat_lacks_become_uncached(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    world->mode.pat = 1; /* WC at index 0 */
    world->key = nvi_npt_key(&world->mode);
    map(world, 1, L2, 0x5000 | ALL);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(cpu_type(world, &page), NVIRT_MEMORY_UC);
    world->config.cpu_pat = UINT64_C(0x0606060606060706);
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(cpu_type(world, &page), 7);
}

static void a_usable_pat_has_wb_and_uncached(void **state)
{
    (void)state;
    assert_true(nvi_npt_pat_is_usable(PAT_RESET));
    assert_true(nvi_npt_pat_is_usable(UINT64_C(0x0606060606060706)));
    assert_true(nvi_npt_pat_is_usable(UINT64_C(0x0006060606060606)));
    assert_false(nvi_npt_pat_is_usable(UINT64_C(0x0606060606060606)));
    assert_false(nvi_npt_pat_is_usable(0));
}

/* L1's PAT is part of the role: with another PAT the same tables are another root. */
static void another_pat_of_l1_is_another_root(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *first;

    run(world);
    first = world->root;
    world->mode.pat ^= 1;
    world->key = nvi_npt_key(&world->mode);
    run(world);
    assert_ptr_not_equal(world->root, first);
}

static void a_hole_in_l1_is_the_hosts(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, HOLE | ALL);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U | NVI_PF_W | FINAL, L2), NVI_FAULT_HOST);
    assert_int_equal(world->verdict.l1gpa.value, HOLE + (L2 & 0xfff));
}

static void direct_roots_map_l1_memory(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    world->key = nvi_npt_direct_key(0);
    region(world, SIZE_1G, SIZE_1G, SIZE_1G, NVIRT_ACCESS_READ, NVIRT_MEMORY_UC);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U, SIZE_1G + 0x1234567), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, SIZE_1G + 0x1234567, &page), HW_PAGE);
    assert_int_equal(page.size, SIZE_1G);
    assert_int_equal(page.rights, NVIRT_ACCESS_READ);
    assert_int_equal(cpu_type(world, &page), NVIRT_MEMORY_UC);
    assert_int_equal(fault(world, NVI_PF_U | NVI_PF_W, SIZE_1G), NVI_FAULT_HOST);
    assert_int_equal(fault(world, NVI_PF_U, NVIRT_BIT(50)), NVI_FAULT_HOST);
    assert_int_equal(world->verdict.l1gpa.value, NVIRT_BIT(50));
    assert_int_equal(world->stats.shadow_reflected, 0);
}

static void what_moves_is_retried(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    map(world, 1, L2, 0x5000 | ALL);
    run(world);
    world->port->move_on_translate = 1;
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_RETRY);
    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
    run(world);
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_INSTALLED);
    map(world, 1, L2, 0x5000 | ALL);
    fake_vm_race(world->port, slot(world, 1, L2), 8, 0x2000, 1000);
    assert_int_equal(fault(world, NVI_PF_U, L2), NVI_FAULT_RETRY);
}

/* The n-th call of the port fails, for every n: a verdict, no leak, and success the next time. */
static void every_port_failure_is_survived(void **state)
{
    struct world *world = *state;
    uint64_t n;
    bool more = true;

    for (n = 1; more; n++) {
        map(world, 1, L2, 0x5000 | ALL);
        nvi_mmu_destroy(&world->mmu);
        run(world);
        fake_vm_fail(world->port, FAKE_CALL_ANY, n);
        (void)fault(world, NVI_PF_U | NVI_PF_W, L2);
        more = world->port->failed;
        fake_vm_fail(world->port, FAKE_CALL_ANY, 0);
        run(world);
        assert_int_equal(fault(world, NVI_PF_U | NVI_PF_W, L2), NVI_FAULT_INSTALLED);
        assert_int_equal(world->root->pages,
                         hw_table_pages(world->port, world->root->table.value, 4));
    }
    /* As many as on EPT. */
    assert_int_equal(n - 2, 18);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_first_touch_is_installed),
        TEST(clean_pages_are_write_protected),
        TEST(a_leaf_that_changed_owes_a_flush),
        TEST(rights_are_intersected),
        TEST(a_fault_of_l1_is_reflected_exactly),
        TEST(addresses_beyond_l1s_tables_are_reflected),
        TEST(the_smaller_size_is_used),
        TEST(memory_types_are_translated_between_pats),
        TEST(types_the_cpu_pat_lacks_become_uncached),
        TEST(a_usable_pat_has_wb_and_uncached),
        TEST(another_pat_of_l1_is_another_root),
        TEST(a_hole_in_l1_is_the_hosts),
        TEST(direct_roots_map_l1_memory),
        TEST(what_moves_is_retried),
        TEST(every_port_failure_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
