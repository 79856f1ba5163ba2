/* SPDX-License-Identifier: MIT */
/*
 * Mode-based execute control [SDM 3C "EPT Translation Mechanism", "EPT Misconfigurations", "Exit
 * Qualification for EPT Violations"]: bit 2 of an entry is about fetches from supervisor-mode linear
 * addresses, bit 10 about those from user-mode ones.
 */
#include "ept_world.h"

#define L2 UINT64_C(0x3f12345678)
#define XU NVIRT_BIT(10)
#define ALL (RWX | XU)
#define QX NVI_EPT_QUAL_FETCH
#define LINEAR NVI_EPT_QUAL_LINEAR
#define FINAL NVI_EPT_QUAL_FINAL
#define USER NVI_EPT_QUAL_USER
#define FETCH (QX | LINEAR | FINAL)

static int setup_modes(void **state)
{
    struct world *world;

    if (setup(state) != 0)
        return -1;
    world = *state;
    world->key.role |= NVI_ROLE_MODE_EXECUTE;
    return 0;
}

/* As map(), with the bit in all links too. */
static void map_all(struct world *world, unsigned level, uint64_t l2gpa, uint64_t leaf)
{
    unsigned i;

    map(world, level, l2gpa, leaf);
    for (i = levels(world); i > level; i--)
        put(world, i, l2gpa, link(world, i) | XU);
}

/* Maps the page anew and invalidates. @return what becomes of the access. */
static enum nvi_fault access_with(struct world *world, uint64_t rights, uint64_t qualification)
{
    map_all(world, 1, L2, 0x500000 | rights | WB);
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    return fault(world, qualification, L2);
}

/* Each mode's fetches go by the bit of that mode, and L1 is told both: bits 5 and 6. */
static void each_mode_has_its_bit(void **state)
{
    static const uint64_t rights[] = { R, R | X, R | XU, R | X | XU, X, XU, X | XU, RWX, ALL };
    struct world *world = *state;
    unsigned i, user;

    for (i = 0; i < sizeof rights / sizeof rights[0]; i++) {
        for (user = 0; user < 2; user++) {
            uint64_t needs = user != 0 ? XU : X;
            enum nvi_fault result = access_with(world, rights[i], FETCH | (user != 0 ? USER : 0));
            struct hw_page page;

            if ((rights[i] & needs) != 0) {
                assert_int_equal(result, NVI_FAULT_INSTALLED);
                assert_int_equal(hardware(world, L2, &page), HW_PAGE);
                assert_int_equal(page.rights, rights[i]);
                continue;
            }
            assert_int_equal(result, NVI_FAULT_REFLECT);
            assert_int_equal(world->verdict.qualification,
                             FETCH | (rights[i] & RWX) << 3 | (rights[i] & XU) >> 4);
            assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
        }
    }
}

/* Without the control bit 10 is ignored: in the walk, in hardware's entries and in what L1 is told. */
static void without_the_control_the_bit_is_ignored(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    world->key.role &= ~NVI_ROLE_MODE_EXECUTE;
    assert_int_equal(access_with(world, R | XU, FETCH | USER), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, FETCH | R << 3);
    assert_int_equal(access_with(world, R | X | XU, FETCH | USER), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(access_with(world, XU, NVI_EPT_QUAL_READ), NVI_FAULT_REFLECT);
}

/* An entry with bit 10 alone is present: its reserved bits count, and without execute-only pages it is
 * a misconfiguration, as every entry that allows a fetch and no read. */
static void the_bit_alone_makes_an_entry_present(void **state)
{
    struct world *world = *state;

    assert_int_equal(access_with(world, XU | NVIRT_BIT(45), FETCH), NVI_FAULT_REFLECT_MISCONFIG);
    assert_int_equal(access_with(world, XU, FETCH), NVI_FAULT_REFLECT);
    world->config.execute_only = false;
    assert_int_equal(access_with(world, XU, FETCH | USER), NVI_FAULT_REFLECT_MISCONFIG);
    assert_int_equal(access_with(world, X | XU, FETCH), NVI_FAULT_REFLECT_MISCONFIG);
    assert_int_equal(access_with(world, R | XU, FETCH | USER), NVI_FAULT_INSTALLED);
    /* Writable but not readable is one in any case. */
    world->config.execute_only = true;
    assert_int_equal(access_with(world, W | XU, FETCH | USER), NVI_FAULT_REFLECT_MISCONFIG);
}

/* The rights are the AND over all levels, bit 10's too. */
static void every_level_counts(void **state)
{
    struct world *world = *state;
    unsigned level;

    for (level = 2; level <= 4; level++) {
        map_all(world, 1, L2, 0x500000 | ALL | WB);
        put(world, level, L2, link(world, level));
        nvi_mmu_invalidate_all(&world->mmu);
        run(world);
        assert_int_equal(fault(world, FETCH | USER, L2), NVI_FAULT_REFLECT);
        assert_int_equal(world->verdict.qualification, FETCH | RWX << 3);
        assert_int_equal(fault(world, FETCH, L2), NVI_FAULT_INSTALLED);
        put(world, level, L2, (link(world, level) & ~X) | XU);
        nvi_mmu_invalidate_all(&world->mmu);
        run(world);
        assert_int_equal(fault(world, FETCH, L2), NVI_FAULT_REFLECT);
        assert_int_equal(world->verdict.qualification,
                         FETCH | (R | W) << 3 | NVI_EPT_QUAL_USER_EXECUTABLE);
        assert_int_equal(fault(world, FETCH | USER, L2), NVI_FAULT_INSTALLED);
    }
}

/* The host's right to execute is one for both modes; without it either fetch is the host's fault. */
static void the_hosts_right_is_for_both_modes(void **state)
{
    static const uint64_t rights[] = { R | X, R | XU, ALL, X, XU, X | XU };
    struct world *world = *state;
    struct fake_region_l1 region = { .start = 0x500000, .bytes = 0x1000, .block = 0x1000,
                                     .hpa = 0x500000 + FAKE_VM_HPA_OFFSET,
                                     .memory_type = NVIRT_MEMORY_WB };
    uint32_t host;
    unsigned i, user;

    for (i = 0; i < sizeof rights / sizeof rights[0]; i++) {
        for (host = 0; host < 8; host++) {
            for (user = 0; user < 2; user++) {
                uint64_t needs = user != 0 ? XU : X;
                uint64_t both = rights[i] & (host | (host >> 2 << 10));
                struct hw_page page;
                enum nvi_fault result;

                if ((both & R) == 0)
                    both &= ~W;
                world->port->regions = 2;
                region.rights = host;
                fake_vm_region(world->port, &region);
                result = access_with(world, rights[i], FETCH | (user != 0 ? USER : 0));
                if ((rights[i] & needs) == 0) {
                    assert_int_equal(result, NVI_FAULT_REFLECT);
                    continue;
                }
                assert_int_equal(result,
                                 (both & needs) != 0 ? NVI_FAULT_INSTALLED : NVI_FAULT_HOST);
                if (result == NVI_FAULT_INSTALLED) {
                    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
                    assert_int_equal(page.rights, both);
                }
            }
        }
    }
}

/* A leaf for user fetches alone is a leaf to the engine: L1's and the host's changes reach it. */
static void a_leaf_of_the_bit_alone_is_kept_and_dropped_like_any(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    world->vm.magic = NVI_VM_MAGIC;
    nvi_mmu_attach(&world->mmu, 0);
    assert_int_equal(access_with(world, XU, FETCH | USER), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, XU);
    /* Nothing changed: it is compared and stays. */
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, FETCH | USER, L2 ^ 0x1000), NVI_FAULT_REFLECT);
    assert_int_equal(fault(world, FETCH | USER, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(nvirt_vm_change_begin(&world->vm, nvirt_l1gpa_make(0x500000), 0x1000),
                     NVIRT_OK);
    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
}

/* The control is part of the role: the same tables have another root with it than without. */
static void the_control_is_part_of_the_identity(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *with;
    struct hw_page page;

    assert_int_equal(access_with(world, R | XU, FETCH | USER), NVI_FAULT_INSTALLED);
    with = world->root;
    world->key.role &= ~NVI_ROLE_MODE_EXECUTE;
    run(world);
    assert_ptr_not_equal(world->root, with);
    assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
    /* L1's invalidation names the table and takes both. */
    nvi_mmu_invalidate(&world->mmu, EPT12);
    assert_true(nvi_mmu_root_is_stale(&world->mmu, with));
    assert_true(nvi_mmu_root_is_stale(&world->mmu, world->root));
}

/* Bits 11:9 are told where they are offered, and of the access itself only: bits 7 and 8 set. */
static void advanced_information_is_handed_on_where_offered(void **state)
{
    const uint64_t advanced = NVI_EPT_QUAL_ADVANCED;
    struct world *world = *state;

    assert_int_equal(access_with(world, R, FETCH | advanced), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, FETCH | R << 3);
    world->config.advanced_info = true;
    assert_int_equal(access_with(world, R, FETCH | advanced), NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, FETCH | R << 3 | advanced);
    assert_int_equal(access_with(world, R, NVI_EPT_QUAL_WRITE | LINEAR | advanced),
                     NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, NVI_EPT_QUAL_WRITE | LINEAR | R << 3);
    assert_int_equal(access_with(world, R, NVI_EPT_QUAL_WRITE | FINAL | advanced),
                     NVI_FAULT_REFLECT);
    assert_int_equal(world->verdict.qualification, NVI_EPT_QUAL_WRITE | R << 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_modes, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_mode_has_its_bit),
        TEST(without_the_control_the_bit_is_ignored),
        TEST(the_bit_alone_makes_an_entry_present),
        TEST(every_level_counts),
        TEST(the_hosts_right_is_for_both_modes),
        TEST(a_leaf_of_the_bit_alone_is_kept_and_dropped_like_any),
        TEST(the_control_is_part_of_the_identity),
        TEST(advanced_information_is_handed_on_where_offered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
