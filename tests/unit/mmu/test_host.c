/* SPDX-License-Identifier: MIT */
/*
 * Rules of a change of L1's memory by the host (nvirt_vm_change_begin() to nvirt_vm_change_end()).
 */
#include "mmu_world.h"

#include "mmu/mmu_internal.h"

#define L2 UINT64_C(0x40000000)

static enum nvirt_status begin(struct world *world, uint64_t start, uint64_t bytes)
{
    return nvirt_vm_change_begin(&world->vm, nvirt_l1gpa_make(start), bytes);
}

static enum nvi_fault translate(struct world *world, uint64_t l1gpa, struct nvi_mmu_leaf *leaf)
{
    struct nvirt_translation host;
    enum nvi_fault result =
        nvi_mmu_translate(&world->mmu, nvirt_l1gpa_make(l1gpa), 0x1000, 1, NVIRT_ACCESS_READ, &host,
                          &leaf->level, &leaf->changes);

    leaf->entry = host.hpa.value | RWX;
    leaf->sequence = host.sequence;
    leaf->l1gpa = nvirt_l1gpa_make(l1gpa);
    return result;
}

static void arguments_are_checked(void **state)
{
    struct world *world = *state;
    struct nvirt_vm unborn = { .magic = 0 };

    assert_int_equal(nvirt_vm_change_begin(NULL, nvirt_l1gpa_make(0), 1), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vm_change_begin(&unborn, nvirt_l1gpa_make(0), 1), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vm_change_end(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vm_change_end(&unborn), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_ERR_STATE);
    assert_int_equal(begin(world, 0x1000, 0), NVIRT_ERR_RANGE);
    assert_int_equal(begin(world, ~UINT64_C(0), 2), NVIRT_ERR_RANGE);
    assert_int_equal(world->vm.changes, 0);
    assert_int_equal(begin(world, ~UINT64_C(0), 1), NVIRT_OK);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_ERR_STATE);
}

/* Exactly the leaves on the memory go, each owes a flush on the next entry of its root, and the
 * port is told which vCPU to get out of its guest; a vCPU that has none of it is left alone. */
static void only_what_is_concerned_goes(void **state)
{
    static struct nvi_mmu_root roots[ROOTS];
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    struct nvi_mmu other;

    nvi_mmu_attach(&world->mmu, 3);
    assert_int_equal(nvi_mmu_init(&other, &world->vm, &world->stats, roots, ROOTS), NVIRT_OK);
    nvi_mmu_attach(&other, 5);
    enter(world, root);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(install(world, root, L2 + i * 0x1000, 0x9000 | RWX, 1),
                         NVI_FAULT_INSTALLED);
    assert_int_equal(begin(world, L2 + 0x2fff, 2), NVIRT_OK);
    for (unsigned i = 0; i < 8; i++) {
        if (i == 2 || i == 3)
            expect_absent(world, root, L2 + i * 0x1000);
        else
            expect_page(world, root, L2 + i * 0x1000, 0x9000);
    }
    assert_int_equal(world->stats.shadow_dropped, 2);
    assert_int_equal(world->port->kicks[3], 1);
    assert_int_equal(world->port->kicks[5], 0);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(begin(world, L2 + 0x2000, 0x1000), NVIRT_OK);
    assert_int_equal(world->port->kicks[3], 1);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_NONE);
    nvi_mmu_destroy(&other);
}

/* A leaf that an earlier change dropped may still be cached by a vCPU that has not left L2 since:
 * who begins another change of the same memory has to wait for that vCPU as well. */
static void a_second_change_waits_for_the_same_vcpu(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    nvi_mmu_attach(&world->mmu, 1);
    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    enter(world, root);
    assert_int_equal(begin(world, L2, 0x1000), NVIRT_OK);
    assert_int_equal(begin(world, L2, 0x1000), NVIRT_OK);
    assert_int_equal(world->port->kicks[1], 2);
    assert_int_equal(enter(world, root), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(begin(world, L2, 0x1000), NVIRT_OK);
    assert_int_equal(world->port->kicks[1], 2);
}

/* While it lasts no translation into the range is used; elsewhere faults go on. */
static void faults_in_the_range_wait_for_the_end(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_leaf leaf;

    memset(&leaf, 0, sizeof leaf);
    fake_vm_ram(world->port, 0, NVIRT_BIT(32));
    assert_int_equal(begin(world, 0x5000, 0x2000), NVIRT_OK);
    assert_int_equal(translate(world, 0x4fff, &leaf), NVI_FAULT_INSTALLED);
    assert_int_equal(translate(world, 0x5000, &leaf), NVI_FAULT_RETRY);
    assert_int_equal(translate(world, 0x6fff, &leaf), NVI_FAULT_RETRY);
    assert_int_equal(translate(world, 0x7000, &leaf), NVI_FAULT_INSTALLED);
    /* A second one: all between counts until both have ended. */
    assert_int_equal(begin(world, 0x9000, 0x1000), NVIRT_OK);
    assert_int_equal(translate(world, 0x7000, &leaf), NVI_FAULT_RETRY);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    assert_int_equal(translate(world, 0x5000, &leaf), NVI_FAULT_RETRY);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    assert_int_equal(translate(world, 0x5000, &leaf), NVI_FAULT_INSTALLED);
    assert_int_equal(translate(world, 0x9000, &leaf), NVI_FAULT_INSTALLED);
}

/* Translated before, installed after: refused, whether the change is still under way or over. */
static void a_fault_that_raced_is_retried(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);
    struct nvi_mmu_leaf leaf;

    memset(&leaf, 0, sizeof leaf);
    fake_vm_ram(world->port, 0, NVIRT_BIT(32));
    nvi_mmu_attach(&world->mmu, 0);
    enter(world, root);
    for (unsigned over = 0; over < 2; over++) {
        assert_int_equal(translate(world, L2, &leaf), NVI_FAULT_INSTALLED);
        assert_int_equal(begin(world, L2, 0x1000), NVIRT_OK);
        if (over != 0)
            assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
        assert_int_equal(nvi_mmu_install(&world->mmu, root, nvirt_l2gpa_make(L2), &leaf),
                         NVI_FAULT_RETRY);
        expect_absent(world, root, L2);
        if (over == 0)
            assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    }
    assert_int_equal(translate(world, L2, &leaf), NVI_FAULT_INSTALLED);
    assert_int_equal(nvi_mmu_install(&world->mmu, root, nvirt_l2gpa_make(L2), &leaf),
                     NVI_FAULT_INSTALLED);
}

/* Leaves that hardware cannot reach now (L1 invalidated, the tables wait to be compared) go too:
 * they must not come back with the next comparison. */
static void tables_that_wait_to_be_compared_are_not_forgotten(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    nvi_mmu_attach(&world->mmu, 0);
    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    assert_int_equal(install(world, root, L2 + 0x1000, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    nvi_mmu_invalidate(&world->mmu, 0x1000);
    enter(world, root);
    assert_int_equal(begin(world, L2, 0x1000), NVIRT_OK);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    assert_int_equal(install(world, root, L2 + 0x2000, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    expect_absent(world, root, L2);
    expect_page(world, root, L2 + 0x1000, 0x9000);
}

/* A flush that was asked for before the change does not count for it. */
static void a_change_between_entry_and_flush_is_owed(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = root_for(world, 0x1000);

    nvi_mmu_attach(&world->mmu, 0);
    enter(world, root);
    assert_int_equal(install(world, root, L2, 0x9000 | RWX, 1), NVI_FAULT_INSTALLED);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 1), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(begin(world, L2, 0x1000), NVIRT_OK);
    nvi_mmu_flushed(&world->mmu, root, 1, NVI_MMU_FLUSH_ROOT);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 1), NVI_MMU_FLUSH_ROOT);
    nvi_mmu_flushed(&world->mmu, root, 1, NVI_MMU_FLUSH_ROOT);
    assert_int_equal(nvi_mmu_enter(&world->mmu, root, 1), NVI_MMU_FLUSH_NONE);
}

/* An engine that went away is not looked at. */
static void a_destroyed_engine_is_forgotten(void **state)
{
    static struct nvi_mmu_root roots[3][ROOTS];
    struct world *world = *state;
    struct nvi_mmu engine[3];

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(nvi_mmu_init(&engine[i], &world->vm, &world->stats, roots[i], ROOTS),
                         NVIRT_OK);
        nvi_mmu_attach(&engine[i], i);
    }
    nvi_mmu_destroy(&engine[1]);
    assert_ptr_equal(world->vm.engines, &engine[2]);
    assert_ptr_equal(engine[2].next, &engine[0]);
    nvi_mmu_destroy(&engine[2]);
    nvi_mmu_destroy(&engine[2]);
    assert_ptr_equal(world->vm.engines, &engine[0]);
    nvi_mmu_destroy(&engine[0]);
    assert_null(world->vm.engines);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(arguments_are_checked),
        TEST(only_what_is_concerned_goes),
        TEST(a_second_change_waits_for_the_same_vcpu),
        TEST(faults_in_the_range_wait_for_the_end),
        TEST(a_fault_that_raced_is_retried),
        TEST(tables_that_wait_to_be_compared_are_not_forgotten),
        TEST(a_change_between_entry_and_flush_is_owed),
        TEST(a_destroyed_engine_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
