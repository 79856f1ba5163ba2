/* SPDX-License-Identifier: MIT */
/*
 * Rules of table pages: budget, limbo.
 */
#include "mmu_world.h"

#include "mmu/mmu_internal.h"

/* The port's page has any contents; a table page starts empty. */
static void a_new_page_is_empty(void **state)
{
    struct world *world = *state;
    nvirt_hpa page;
    const uint64_t *table;
    unsigned i;

    assert_int_equal(nvi_mmu_page_alloc(&world->mmu, &page), NVIRT_OK);
    table = nvi_mmu_table(&world->mmu, page);
    for (i = 0; i < 512; i++)
        assert_int_equal(table[i], 0);
    assert_int_equal(world->vm.pages_in_use, 1);
    assert_int_equal(world->stats.shadow_pages, 1);
    nvi_mmu_page_free(&world->mmu, page);
    assert_int_equal(world->vm.pages_in_use, 0);
}

/* The budget counts the pages of all vCPUs; at its end the port is not even asked. */
static void the_budget_is_the_vms(void **state)
{
    struct world *world = *state;
    nvirt_hpa page;

    world->vm.page_budget = 10;
    world->vm.pages_in_use = 9;
    assert_int_equal(nvi_mmu_page_alloc(&world->mmu, &page), NVIRT_OK);
    assert_int_equal(world->vm.pages_in_use, 10);
    fake_vm_log_reset(world->port);
    assert_int_equal(nvi_mmu_page_alloc(&world->mmu, &page), NVIRT_ERR_NO_PAGE);
    assert_int_equal(world->port->calls[FAKE_CALL_PAGE_ALLOC], 0);
    nvi_mmu_page_free(&world->mmu, page);
    world->vm.pages_in_use = 0;
}

/* However much one vCPU takes, every other still gets its share; what is beyond the shares goes to
 * whoever comes first. */
static void a_share_is_left_to_every_vcpu(void **state)
{
    static struct nvi_mmu_root roots[2][ROOTS];
    static struct nvi_mmu engine[2];
    struct world *world = *state;
    struct nvirt_stats stats[2];
    uint32_t got[2] = { 0, 0 };
    nvirt_hpa page[2][200];

    world->vm.page_budget = 2 * NVIRT_VM_MIN_PAGES + 10;
    memset(stats, 0, sizeof stats);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(nvi_mmu_init(&engine[i], &world->vm, &stats[i], roots[i], ROOTS), NVIRT_OK);
        nvi_mmu_attach(&engine[i], i);
    }
    for (unsigned i = 0; i < 2; i++) {
        while (nvi_mmu_page_alloc(&engine[i], &page[i][got[i]]) == NVIRT_OK)
            got[i]++;
    }
    assert_int_equal(got[0], NVIRT_VM_MIN_PAGES + 10);
    assert_int_equal(got[1], NVIRT_VM_MIN_PAGES);
    /* What one gives back of the common pages the other may have, of its share it may not. */
    nvi_mmu_page_free(&engine[0], page[0][--got[0]]);
    assert_int_equal(nvi_mmu_page_alloc(&engine[1], &page[1][got[1]++]), NVIRT_OK);
    while (got[0] > 0)
        nvi_mmu_page_free(&engine[0], page[0][--got[0]]);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(nvi_mmu_page_alloc(&engine[1], &page[1][got[1]++]), NVIRT_OK);
    assert_int_equal(nvi_mmu_page_alloc(&engine[1], &page[1][got[1]]), NVIRT_ERR_NO_PAGE);
    while (got[1] > 0)
        nvi_mmu_page_free(&engine[1], page[1][--got[1]]);
    assert_int_equal(world->vm.pages_common, 0);
    assert_int_equal(world->vm.pages_in_use, 0);
    for (unsigned i = 0; i < 2; i++)
        nvi_mmu_destroy(&engine[i]);
}

/* A page the port does not give is not counted. */
static void a_refused_page_costs_no_budget(void **state)
{
    struct world *world = *state;
    nvirt_hpa page;

    fake_vm_fail(world->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(nvi_mmu_page_alloc(&world->mmu, &page), NVIRT_ERR_NO_PAGE);
    assert_int_equal(world->vm.pages_in_use, 0);
    assert_int_equal(world->stats.shadow_pages, 0);
}

/* Pages in limbo chain through absent entries that hold no address, and all come back. */
static void limbo_keeps_pages_without_showing_addresses(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root root = { .cpu = 0 };
    nvirt_hpa page[5];
    unsigned i, j;

    for (i = 0; i < 5; i++) {
        assert_int_equal(nvi_mmu_page_alloc(&world->mmu, &page[i]), NVIRT_OK);
        nvi_mmu_limbo_push(&world->mmu, &root, page[i]);
    }
    for (i = 0; i < 5; i++) {
        const uint64_t *table = nvi_mmu_table(&world->mmu, page[i]);

        for (j = 0; j < 512; j++)
            assert_int_equal(table[j] & NVIRT_BITS(51, 0), 0);
    }
    assert_int_equal(world->port->pool_used, 5);
    nvi_mmu_limbo_free(&world->mmu, &root);
    assert_int_equal(world->port->pool_used, 0);
    assert_int_equal(root.limbo.value, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_new_page_is_empty),
        TEST(the_budget_is_the_vms),
        TEST(a_share_is_left_to_every_vcpu),
        TEST(a_refused_page_costs_no_budget),
        TEST(limbo_keeps_pages_without_showing_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
