/* SPDX-License-Identifier: MIT */
/*
 * Rules of L2's linear addresses under NPT12: both stages, each where it belongs.
 */
#include "npt_world.h"

#define L2_CR3 UINT64_C(0x100000)
#define SHIFTED UINT64_C(0x40000000)
#define GVA UINT64_C(0x12345678)
#define PTE (L2_CR3 + 0x1000 + ((GVA >> 12) & 0x3ff) * 4)
#define PDE (L2_CR3 + (GVA >> 22) * 4)

static struct nvi_paging mode;
static struct nvi_npt_linear_out out;

/* L2 has 32-bit tables; NPT12 maps each of its table pages to SHIFTED and its page to 0x5000. */
static int linear_setup(void **state)
{
    struct world *world;

    setup(state);
    world = *state;
    mode = (struct nvi_paging){ .format = NVI_PAGING_32BIT, .physical_bits = 40, .wp = true,
                                .amd = true, .cr3 = L2_CR3 };
    map(world, 1, L2_CR3, (SHIFTED + L2_CR3) | ALL);
    map(world, 1, L2_CR3 + 0x1000, (SHIFTED + L2_CR3 + 0x1000) | ALL);
    map(world, 1, 0x345000, 0x5000 | ALL);
    fake_vm_put32(world->port, SHIFTED + PDE, (uint32_t)(L2_CR3 + 0x1000) | 7);
    fake_vm_put32(world->port, SHIFTED + PTE, 0x345000 | 7);
    return 0;
}

static enum nvi_npt_linear linear(struct world *world, uint32_t access)
{
    return nvi_npt_l2_linear(&world->vm, &world->config, &world->key, &mode, GVA, access, &out);
}

static void both_stages_translate(void **state)
{
    struct world *world = *state;

    assert_int_equal(linear(world, NVI_PAGING_EXECUTE), NVI_NPT_LINEAR_OK);
    assert_int_equal(out.l2gpa.value, 0x345678);
    assert_int_equal(out.l1gpa.value, 0x5678);
    assert_int_equal(fake_vm_get32(world->port, SHIFTED + PTE), 0x345000 | 7);
}

static void l2s_own_tables_give_its_page_faults(void **state)
{
    struct world *world = *state;

    fake_vm_put32(world->port, SHIFTED + PTE, 0);
    assert_int_equal(linear(world, NVI_PAGING_WRITE), NVI_NPT_LINEAR_PAGE_FAULT);
    assert_int_equal(out.error_code, NVI_PF_W);
}

/* NPT12 refuses L2's page: bit 32; a table of L2's, which counts as a user write: bit 33. */
static void npt_refusals_say_which_kind(void **state)
{
    struct world *world = *state;

    map(world, 1, 0x345000, 0x5000 | P | U | NX);
    assert_int_equal(linear(world, NVI_PAGING_EXECUTE), NVI_NPT_LINEAR_NPF);
    assert_int_equal(out.error_code, NVI_NPF_FINAL | NVI_PF_P | NVI_PF_U | NVI_PF_ID);
    assert_int_equal(out.l2gpa.value, 0x345678);
    assert_int_equal(linear(world, NVI_PAGING_WRITE), NVI_NPT_LINEAR_NPF);
    assert_int_equal(out.error_code, NVI_NPF_FINAL | NVI_PF_P | NVI_PF_U | NVI_PF_W);
    map(world, 1, L2_CR3 + 0x1000, (SHIFTED + L2_CR3 + 0x1000) | P | U);
    assert_int_equal(linear(world, 0), NVI_NPT_LINEAR_NPF);
    assert_int_equal(out.error_code, NVI_NPF_TABLE | NVI_PF_P | NVI_PF_U | NVI_PF_W);
    assert_int_equal(out.l2gpa.value, PTE);
}

static void l2s_flags_are_set_when_asked(void **state)
{
    struct world *world = *state;

    fake_vm_race(world->port, SHIFTED + PTE, 4, NVIRT_BIT(9), 1);
    assert_int_equal(linear(world, NVI_PAGING_WRITE | NVI_PAGING_SET_AD), NVI_NPT_LINEAR_OK);
    assert_int_equal(fake_vm_get32(world->port, SHIFTED + PTE),
                     0x345000 | 7 | A | D | NVIRT_BIT(9));
}

static void restless_tables_are_a_retry(void **state)
{
    struct world *world = *state;

    fake_vm_race(world->port, SHIFTED + PTE, 4, NVIRT_BIT(9), 1000);
    assert_int_equal(linear(world, NVI_PAGING_SET_AD), NVI_NPT_LINEAR_RETRY);
    map(world, 1, 0x345000, 0x5000 | ALL);
    fake_vm_race(world->port, slot(world, 1, 0x345000), 8, NVIRT_BIT(9), 1000);
    assert_int_equal(linear(world, 0), NVI_NPT_LINEAR_RETRY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, linear_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(both_stages_translate),
        TEST(l2s_own_tables_give_its_page_faults),
        TEST(npt_refusals_say_which_kind),
        TEST(l2s_flags_are_set_when_asked),
        TEST(restless_tables_are_a_retry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
