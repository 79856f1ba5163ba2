/* SPDX-License-Identifier: MIT */
/*
 * Rules of EPT02: EPTP, composed entries, whose a violation is and what L1 sees of it.
 */
#include "ept_world.h"

#define L2 UINT64_C(0x3f12345678)
#define QR NVI_EPT_QUAL_READ
#define QW NVI_EPT_QUAL_WRITE
#define QX NVI_EPT_QUAL_FETCH
#define LINEAR NVI_EPT_QUAL_LINEAR
#define FINAL NVI_EPT_QUAL_FINAL

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

/* Length and A/D are part of the role; the memory type of the EPTP is not, its address is the
 * table. */
static void keys_hold_what_changes_the_meaning(void **state)
{
    struct nvi_mmu_key plain = nvi_ept_key(EPTP_4), ad = nvi_ept_key(EPTP_4 | EPTP_AD);
    struct nvi_mmu_key five = nvi_ept_key(EPTP_5), direct = nvi_ept_direct_key(0);

    (void)state;
    assert_int_equal(plain.table, EPT12);
    assert_int_equal(plain.role, 4);
    assert_int_equal(ad.role, 4 | NVI_ROLE_AD);
    assert_int_equal(five.role, 5);
    assert_int_equal(direct.role, 4 | NVI_ROLE_DIRECT);
    assert_int_equal(nvi_ept_direct_key(0xfee00001).table, 0xfee00001);
    assert_int_equal(nvi_ept_key(EPTP_4 & ~UINT64_C(6)).table, EPT12);
}

/* EPTP02: nvirt's own table, length as L1's, A/D exactly when L1 has it, write-back if it can. */
static void eptp02_mirrors_length_and_ad(void **state)
{
    struct world *world = *state;

    run(world);
    assert_int_equal(nvi_ept_eptp02(&world->config, world->root),
                     world->root->table.value | 6 | 3 << 3);
    world->key = nvi_ept_key(EPTP_5 | EPTP_AD);
    run(world);
    assert_int_equal(nvi_ept_eptp02(&world->config, world->root),
                     world->root->table.value | 6 | 4 << 3 | EPTP_AD);
    world->config.cpu_wb = false;
    assert_int_equal(nvi_ept_eptp02(&world->config, world->root),
                     world->root->table.value | 4 << 3 | EPTP_AD);
    world->key = nvi_ept_direct_key(0);
    run(world);
    assert_int_equal(nvi_ept_eptp02(&world->config, world->root),
                     world->root->table.value | 3 << 3);
}

/* Nobody's fault: the entry that composes both translations is there afterwards. */
static void a_first_touch_is_installed(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    map(world, 1, L2, 0x5000 | RWX | WB);
    run(world);
    assert_int_equal(fault(world, QR | LINEAR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(world->verdict.l1gpa.value, 0x5000 + (L2 & 0xfff));
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.hpa, hpa_of(0x5000 + (L2 & 0xfff)));
    assert_int_equal(page.rights, 7);
    assert_int_equal(page.size, 0x1000);
    assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
    assert_int_equal(world->stats.shadow_faults, 1);
    assert_int_equal(world->stats.shadow_reflected, 0);
}

/* Five levels of L1's are five of the shadow's. */
static void five_levels_are_shadowed_by_five(void **state)
{
    const uint64_t l2gpa = L2 | UINT64_C(0x5000000000000);
    struct world *world = *state;
    struct hw_page page;

    world->key = nvi_ept_key(EPTP_5);
    map(world, 1, l2gpa, 0x5000 | RWX | WB);
    run(world);
    assert_int_equal(fault(world, QR, l2gpa), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, l2gpa, &page), HW_PAGE);
    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
}

/* For every pair of rights that L1 and the host can grant: hardware gets the intersection, and
 * nothing that would be a misconfiguration. */
static void rights_are_intersected(void **state)
{
    static const uint64_t l1[] = { R, R | W, R | X, RWX, X };
    struct world *world = *state;
    uint32_t host, access;
    unsigned i;

    for (i = 0; i < 5; i++) {
        for (host = 0; host < 8; host++) {
            world->port->regions = 2;
            region(world, 0x500000, 0x1000, 0x1000, host, NVIRT_MEMORY_WB);
            for (access = 1; access < 8; access <<= 1) {
                struct hw_page page;
                enum nvi_fault result;
                uint32_t both = (uint32_t)l1[i] & host;

                /* EPT cannot hold writable but unreadable. */
                if ((both & R) == 0)
                    both &= ~(uint32_t)W;
                map(world, 1, L2, 0x500000 | l1[i] | WB);
                nvi_mmu_invalidate_all(&world->mmu);
                run(world);
                result = fault(world, access, L2);
                if ((access & l1[i]) == 0)
                    assert_int_equal(result, NVI_FAULT_REFLECT);
                else if ((access & both) == 0)
                    assert_int_equal(result, NVI_FAULT_HOST);
                else
                    assert_int_equal(result, NVI_FAULT_INSTALLED);
                if (result == NVI_FAULT_INSTALLED) {
                    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
                    assert_int_equal(page.rights, both);
                } else {
                    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
                }
            }
        }
    }
}

/* A host that grants only execute where the CPU has no execute-only entries: the host's fault. */
static void execute_only_of_the_host_needs_the_cpu(void **state)
{
    struct world *world = *state;

    world->config.execute_only = false;
    map(world, 1, L2, 0x500000 | RWX | WB);
    region(world, 0x500000, 0x1000, 0x1000, NVIRT_ACCESS_EXECUTE, NVIRT_MEMORY_WB);
    run(world);
    assert_int_equal(fault(world, QX, L2), NVI_FAULT_HOST);
}

/* A leaf is as big as both sides allow. */
static void the_smaller_size_is_used(void **state)
{
    static const uint64_t size[] = { 0, 0x1000, SIZE_2M, SIZE_1G };
    struct world *world = *state;
    unsigned l1, host;

    for (l1 = 1; l1 <= 3; l1++) {
        for (host = 1; host <= 3; host++) {
            struct hw_page page;

            world->port->regions = 2;
            region(world, SIZE_1G, SIZE_1G, size[host], 7, NVIRT_MEMORY_WB);
            map(world, l1, L2, SIZE_1G | RWX | WB);
            nvi_mmu_invalidate_all(&world->mmu);
            run(world);
            assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
            assert_int_equal(hardware(world, L2, &page), HW_PAGE);
            assert_int_equal(page.size, size[l1 < host ? l1 : host]);
            assert_int_equal(page.hpa, hpa_of(SIZE_1G + (L2 & (size[l1] - 1))));
        }
    }
}

/* Sizes the CPU lacks are not used in EPT02, whatever L1 is offered. */
static void cpu_sizes_limit_the_leaf(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    region(world, SIZE_1G, SIZE_1G, SIZE_1G, 7, NVIRT_MEMORY_WB);
    map(world, 3, L2, SIZE_1G | RWX | WB);
    world->config.cpu_1g = false;
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.size, SIZE_2M);
    world->config.cpu_2m = false;
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.size, 0x1000);
}

/* Types combine by the engine's rule; L1's "ignore PAT" is kept. Ignored bits never pass. */
static void memory_type_and_ignored_bits(void **state)
{
    struct world *world = *state;
    struct hw_page page;
    uint32_t level;
    uint64_t entry;

    region(world, 0x500000, 0x1000, 0x1000, 7, NVIRT_MEMORY_UC);
    map(world, 1, L2, 0x500000 | RWX | WB | IPAT | NVIRT_BITS(63, 52) | NVIRT_BITS(11, 10));
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.type, NVIRT_MEMORY_UC);
    assert_true(page.ignore_pat);
    entry = nvi_mmu_lookup(&world->mmu, world->root, nvirt_l2gpa_make(L2), &level);
    assert_int_equal(entry & (NVIRT_BITS(63, 52) | NVIRT_BITS(11, 10)), 0);
    map(world, 1, L2 + 0x1000, 0x600000 | RWX | (UINT64_C(4) << 3));
    assert_int_equal(fault(world, QR, L2 + 0x1000), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2 + 0x1000, &page), HW_PAGE);
    assert_int_equal(page.type, NVIRT_MEMORY_WT);
    assert_false(page.ignore_pat);
}

/* With A/D a clean page is write-protected in EPT02; its first write faults, sets D in EPT12 and
 * opens it, without a flush. */
static void clean_pages_are_write_protected(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x5000 | RWX | WB);
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, R | X);
    assert_false(page.dirty);
    assert_int_equal(get(world, 1, L2) & (A | D), A);
    assert_int_equal(fault(world, QW, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, RWX);
    assert_int_equal(get(world, 1, L2) & (A | D), A | D);
    assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
    /* Dirty already: a read maps it writable at once. */
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, RWX);
}

/* L1 changed the entry without invalidating and L2 faults on it again: what hardware may still hold
 * of the old one goes, unless the new one only allows more. */
static void a_leaf_that_changed_owes_a_flush(void **state)
{
    static const struct {
        uint64_t before, after;
        enum nvi_mmu_flush flush;
    } row[] = {
        { 0x5000 | R | WB, 0x5000 | R | W | WB, NVI_MMU_FLUSH_NONE },
        { 0x5000 | R | WB, 0x5000 | RWX | WB, NVI_MMU_FLUSH_NONE },
        { 0x5000 | R | X | WB, 0x5000 | R | W | WB, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | R | WB, 0x5000 | R | W | UC, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | R | WB, 0x5000 | R | W | WB | IPAT, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | R | WB | IPAT, 0x5000 | R | W | WB, NVI_MMU_FLUSH_ROOT },
        { 0x5000 | R | WB, 0x6000 | R | W | WB, NVI_MMU_FLUSH_ROOT },
    };
    struct world *world = *state;
    unsigned i;

    for (i = 0; i < sizeof row / sizeof row[0]; i++) {
        nvi_mmu_drop_all(&world->mmu);
        map(world, 1, L2, row[i].before);
        run(world);
        assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
        assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
        map(world, 1, L2, row[i].after);
        assert_int_equal(fault(world, QW, L2), NVI_FAULT_INSTALLED);
        assert_int_equal(run(world), row[i].flush);
    }
}

/* The qualification for L1: access and linear bits from hardware, rights from EPT12, others 0
 * [SDM 3C "Exit Qualification for EPT Violations"]. */
static void a_violation_of_l1_is_reflected_exactly(void **state)
{
    static const uint64_t rights[] = { 0, R, R | W, R | X, X };
    struct world *world = *state;
    unsigned i;
    uint64_t access, linear;

    run(world);
    for (i = 0; i < 5; i++) {
        map(world, 1, L2, 0x5000 | rights[i] | WB);
        for (access = 1; access < 8; access++) {
            if ((access & ~rights[i]) == 0)
                continue;
            for (linear = 0; linear < 4; linear++) {
                uint64_t place = (linear & 1 ? LINEAR : 0) | (linear & 2 ? FINAL : 0);
                uint64_t seen = linear & 1 ? place : 0;

                assert_int_equal(fault(world, access | place | ~UINT64_C(0x187), L2),
                                 NVI_FAULT_REFLECT);
                assert_int_equal(world->verdict.qualification, access | seen | rights[i] << 3);
            }
        }
    }
    assert_int_equal(world->stats.shadow_faults, 0);
}

/* A write that EPT12 refuses although EPT02 would have the page for reads: still L1's. */
static void a_write_to_a_read_only_page_is_reflected(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | R | WB);
    run(world);
    assert_int_equal(fault(world, QR | LINEAR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(fault(world, QW | LINEAR | FINAL, L2), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, QW | LINEAR | FINAL | R << 3);
    assert_int_equal(world->stats.shadow_reflected, 1);
}

static void a_misconfiguration_of_l1_is_reflected(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | W | WB);
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_REFLECT_MISCONFIG);
    assert_int_equal(world->verdict.qualification, 0);
    assert_int_equal(world->stats.shadow_reflected, 1);
}

/* L1 maps L2 to where L1 has nothing: the host's, with the L1 address. */
static void a_hole_in_l1_is_the_hosts(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, HOLE | RWX | WB);
    run(world);
    assert_int_equal(fault(world, QW, L2), NVI_FAULT_HOST);
    assert_int_equal(world->verdict.l1gpa.value, HOLE + (L2 & 0xfff));
}

/* L2 without EPT of L1's: identity, host's types, never a reflection. */
static void direct_roots_map_l1_memory(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    world->key = nvi_ept_direct_key(0);
    region(world, SIZE_1G, SIZE_1G, SIZE_1G, R | X, NVIRT_MEMORY_WT);
    run(world);
    assert_int_equal(fault(world, QR, SIZE_1G + 0x1234567), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, SIZE_1G + 0x1234567, &page), HW_PAGE);
    assert_int_equal(page.hpa, hpa_of(SIZE_1G + 0x1234567));
    assert_int_equal(page.size, SIZE_1G);
    assert_int_equal(page.type, NVIRT_MEMORY_WT);
    assert_int_equal(page.rights, R | X);
    assert_int_equal(fault(world, QW, SIZE_1G), NVI_FAULT_HOST);
    assert_int_equal(fault(world, QR, HOLE), NVI_FAULT_HOST);
    assert_int_equal(world->verdict.l1gpa.value, HOLE);
    assert_int_equal(fault(world, QR, NVIRT_BIT(50)), NVI_FAULT_HOST);
    assert_int_equal(world->verdict.l1gpa.value, NVIRT_BIT(50));
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
}

/* L2's page-table accesses are reads, with A/D reads and writes; a CPU that names no access at all
 * for them is understood so. */
static void an_exit_without_access_bits(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    map(world, 1, L2, 0x5000 | R | WB);
    run(world);
    assert_int_equal(fault(world, LINEAR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    run(world);
    assert_int_equal(fault(world, LINEAR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(fault(world, LINEAR, L2), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, QR | QW | LINEAR | R << 3);
}

/* The host moves the page in the middle of the fault: nothing is installed, all is dropped, and the
 * fault succeeds when it comes again. */
static void a_mapping_that_moves_is_retried(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    map(world, 1, L2, 0x5000 | RWX | WB);
    run(world);
    world->port->move_on_translate = 1;
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_RETRY);
    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    world->port->retries = 1;
    assert_int_equal(fault(world, QW, L2), NVI_FAULT_RETRY);
    assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
}

static void restless_tables_are_a_retry(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x5000 | RWX | WB);
    run(world);
    fake_vm_race(world->port, slot(world, 1, L2), 8, 0x2000, 1000);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_RETRY);
}

/* A 2-MiB page of EPT12 is touched, L1 turns it into a table by a write that no one sees, touches
 * again, the host unmaps: no entry of either meaning is left (CVE-2026-53359, CVE-2026-46113). */
static void a_large_page_that_became_a_table_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    region(world, SIZE_1G, SIZE_1G, SIZE_2M, 7, NVIRT_MEMORY_WB);
    map(world, 2, L2, SIZE_1G | RWX | WB);
    run(world);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    map(world, 1, L2, 0x5000 | R | WB);
    assert_int_equal(fault(world, QR, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.hpa, hpa_of(0x5000 + (L2 & 0xfff)));
    assert_int_equal(hardware(world, L2 + 0x1000, &page), HW_NOT_PRESENT);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    fake_vm_invalidate(world->port);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
    assert_int_equal(hw_table_pages(world->port, world->root->table.value, 4), 1);
}

/* The n-th call of the port fails, for every n: a verdict, no leak, and success the next time. */
static void every_port_failure_is_survived(void **state)
{
    struct world *world = *state;
    uint64_t n;
    bool more = true;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    for (n = 1; more; n++) {
        struct hw_page page;
        enum nvi_fault result;

        map(world, 1, L2, 0x5000 | RWX | WB);
        nvi_mmu_destroy(&world->mmu);
        run(world);
        fake_vm_fail(world->port, FAKE_CALL_ANY, n);
        result = fault(world, QW, L2);
        more = world->port->failed;
        fake_vm_fail(world->port, FAKE_CALL_ANY, 0);
        if (result == NVI_FAULT_INSTALLED)
            assert_int_equal(hardware(world, L2, &page), HW_PAGE);
        else
            assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
        run(world);
        assert_int_equal(fault(world, QW, L2), NVI_FAULT_INSTALLED);
        assert_int_equal(world->root->pages,
                         hw_table_pages(world->port, world->root->table.value, 4));
    }
    /* Four reads, four exchanges, one translation, three tables with a page of notes each, one more
     * for the leaf's, two pages of the reverse map. */
    assert_int_equal(n - 2, 4 + 4 + 1 + 3 * 2 + 1 + 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keys_hold_what_changes_the_meaning),
        TEST(eptp02_mirrors_length_and_ad),
        TEST(a_first_touch_is_installed),
        TEST(five_levels_are_shadowed_by_five),
        TEST(rights_are_intersected),
        TEST(execute_only_of_the_host_needs_the_cpu),
        TEST(the_smaller_size_is_used),
        TEST(cpu_sizes_limit_the_leaf),
        TEST(memory_type_and_ignored_bits),
        TEST(clean_pages_are_write_protected),
        TEST(a_leaf_that_changed_owes_a_flush),
        TEST(a_violation_of_l1_is_reflected_exactly),
        TEST(a_write_to_a_read_only_page_is_reflected),
        TEST(a_misconfiguration_of_l1_is_reflected),
        TEST(a_hole_in_l1_is_the_hosts),
        TEST(direct_roots_map_l1_memory),
        TEST(an_exit_without_access_bits),
        TEST(a_mapping_that_moves_is_retried),
        TEST(restless_tables_are_a_retry),
        TEST(a_large_page_that_became_a_table_leaves_nothing_behind),
        TEST(every_port_failure_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
