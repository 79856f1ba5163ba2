/* SPDX-License-Identifier: MIT */
/*
 * Rules of L2's linear addresses under EPT12: both stages, each where it belongs.
 */
#include "ept_world.h"

/* L2's tables in L2-physical memory, which EPT12 puts elsewhere in L1's. */
#define L2_CR3 UINT64_C(0x100000)
#define SHIFTED UINT64_C(0x40000000)
#define GVA UINT64_C(0x7f12345678)
#define PG_A NVIRT_BIT(5)
#define PG_D NVIRT_BIT(6)

static struct nvi_paging mode;
static struct nvi_ept_linear_out out;

static uint64_t l2_slot(unsigned level)
{
    return L2_CR3 + (4 - level) * UINT64_C(0x1000) + ((GVA >> (12 + 9 * (level - 1))) & 0x1ff) * 8;
}

/* EPT12 maps L2's first GiB, page by page where needed, to SHIFTED; L2 maps GVA to 0x345000. */
static int linear_setup(void **state)
{
    struct world *world;
    unsigned level;

    setup(state);
    world = *state;
    mode = (struct nvi_paging){ .format = NVI_PAGING_4LEVEL, .physical_bits = 40, .nxe = true,
                                .wp = true, .cr3 = L2_CR3 };
    map(world, 2, 0, SHIFTED | RWX | WB);
    map(world, 1, 0x345000, 0x5000 | RWX | WB);
    /* The 2-MiB region of both is the same one: split it. */
    for (level = 1; level <= 4; level++) {
        map(world, 1, l2_slot(level), (SHIFTED + (l2_slot(level) & ~UINT64_C(0xfff))) | RWX | WB);
        fake_vm_put64(world->port, SHIFTED + l2_slot(level),
                      (level > 1 ? L2_CR3 + (5 - level) * UINT64_C(0x1000) : 0x345000) | 7);
    }
    return 0;
}

static enum nvi_ept_linear linear(struct world *world, uint32_t access)
{
    return nvi_ept_l2_linear(&world->vm, &world->config, &world->key, &mode, GVA, access, &out);
}

static void both_stages_translate(void **state)
{
    struct world *world = *state;

    assert_int_equal(linear(world, NVI_PAGING_EXECUTE), NVI_EPT_LINEAR_OK);
    assert_int_equal(out.l2gpa.value, 0x345000 + (GVA & 0xfff));
    assert_int_equal(out.l1gpa.value, 0x5000 + (GVA & 0xfff));
    assert_int_equal(world->port->writes, 0);
}

static void without_paging_only_ept_translates(void **state)
{
    struct world *world = *state;

    mode.format = NVI_PAGING_NONE;
    map(world, 1, GVA & 0xffffffff, 0x6000 | RWX | WB);
    assert_int_equal(linear(world, 0), NVI_EPT_LINEAR_OK);
    assert_int_equal(out.l1gpa.value, 0x6000 + (GVA & 0xfff));
}

static void l2s_own_tables_give_its_page_faults(void **state)
{
    struct world *world = *state;

    fake_vm_put64(world->port, SHIFTED + l2_slot(1), 0x345000 | 1);
    assert_int_equal(linear(world, NVI_PAGING_WRITE | NVI_PAGING_USER),
                     NVI_EPT_LINEAR_PAGE_FAULT);
    assert_int_equal(out.error_code, NVI_PF_P | NVI_PF_W | NVI_PF_U);
}

/* EPT12 refuses a table or the page: the L2-physical address tells which. */
static void ept_refusals_name_the_address(void **state)
{
    struct world *world = *state;

    map(world, 1, 0x345000, 0x5000 | R | WB);
    assert_int_equal(linear(world, NVI_PAGING_EXECUTE), NVI_EPT_LINEAR_EPT);
    assert_int_equal(out.l2gpa.value, 0x345000 + (GVA & 0xfff));
    assert_int_equal(linear(world, NVI_PAGING_WRITE), NVI_EPT_LINEAR_EPT);
    assert_int_equal(linear(world, 0), NVI_EPT_LINEAR_OK);
    map(world, 1, l2_slot(2), W | WB);
    assert_int_equal(linear(world, 0), NVI_EPT_LINEAR_EPT);
    assert_int_equal(out.l2gpa.value, l2_slot(2));
}

/* With A/D in EPT12, or when L2's own flags are to be set, L2's tables must be writable for it. */
static void table_accesses_may_be_writes(void **state)
{
    struct world *world = *state;

    map(world, 1, l2_slot(2), (SHIFTED + (l2_slot(2) & ~UINT64_C(0xfff))) | R | WB);
    assert_int_equal(linear(world, 0), NVI_EPT_LINEAR_OK);
    assert_int_equal(linear(world, NVI_PAGING_SET_AD), NVI_EPT_LINEAR_EPT);
    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    assert_int_equal(linear(world, 0), NVI_EPT_LINEAR_EPT);
    assert_int_equal(out.l2gpa.value, l2_slot(2));
}

static void l2s_flags_are_set_when_asked(void **state)
{
    struct world *world = *state;

    assert_int_equal(linear(world, NVI_PAGING_WRITE | NVI_PAGING_SET_AD), NVI_EPT_LINEAR_OK);
    assert_int_equal(fake_vm_get64(world->port, SHIFTED + l2_slot(1)), 0x345000 | 7 | PG_A | PG_D);
    fake_vm_put64(world->port, SHIFTED + l2_slot(1), 0x345000 | 7);
    fake_vm_race(world->port, SHIFTED + l2_slot(1), 8, NVIRT_BIT(9), 1);
    assert_int_equal(linear(world, NVI_PAGING_SET_AD), NVI_EPT_LINEAR_OK);
    assert_int_equal(fake_vm_get64(world->port, SHIFTED + l2_slot(1)),
                     0x345000 | 7 | PG_A | NVIRT_BIT(9));
}

/* Tables of either stage that never hold still end in a retry. */
static void restless_tables_are_a_retry(void **state)
{
    struct world *world = *state;

    fake_vm_race(world->port, SHIFTED + l2_slot(1), 8, NVIRT_BIT(9), 1000);
    assert_int_equal(linear(world, NVI_PAGING_SET_AD), NVI_EPT_LINEAR_RETRY);
    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    fake_vm_race(world->port, slot(world, 1, l2_slot(3)), 8, NVIRT_BIT(10), 1000);
    assert_int_equal(linear(world, 0), NVI_EPT_LINEAR_RETRY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, linear_setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(both_stages_translate),
        TEST(without_paging_only_ept_translates),
        TEST(l2s_own_tables_give_its_page_faults),
        TEST(ept_refusals_name_the_address),
        TEST(table_accesses_may_be_writes),
        TEST(l2s_flags_are_set_when_asked),
        TEST(restless_tables_are_a_retry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
