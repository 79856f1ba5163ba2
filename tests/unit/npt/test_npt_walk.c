/* SPDX-License-Identifier: MIT */
/*
 * Rules of the walk of NPT12, beyond those of any walk of page tables.
 */
#include "npt_world.h"

#define L2 UINT64_C(0xd2345678)
#define READ NVIRT_ACCESS_READ
#define WRITE NVIRT_ACCESS_WRITE
#define EXECUTE NVIRT_ACCESS_EXECUTE

/* L1's own mode gives the format: CR4.PAE, EFER.LMA, CR4.LA57 [APM 2 "Nested Paging"]. */
static void the_key_holds_l1s_paging_mode(void **state)
{
    struct world *world = *state;

    world->mode.ncr3 = UINT64_C(0xabcdef123fff);
    world->mode.efer = EFER_NXE;
    world->mode.cr4 = 0;
    world->key = nvi_npt_key(&world->mode);
    assert_int_equal(world->key.role, NVI_ROLE_NPT | 2);
    assert_int_equal(world->key.table, UINT64_C(0xef123000));
    world->mode.cr4 = CR4_PSE | CR4_LA57;
    world->key = nvi_npt_key(&world->mode);
    assert_int_equal(world->key.role, NVI_ROLE_NPT | NVI_ROLE_PSE | 2);
    world->mode.cr4 = CR4_PAE | CR4_PSE;
    world->key = nvi_npt_key(&world->mode);
    assert_int_equal(world->key.role, NVI_ROLE_NPT | NVI_ROLE_NXE | 3);
    assert_int_equal(world->key.table, UINT64_C(0xef123fe0));
    world->mode.efer = EFER_LMA;
    world->key = nvi_npt_key(&world->mode);
    assert_int_equal(world->key.role, NVI_ROLE_NPT | 4);
    assert_int_equal(world->key.table, UINT64_C(0xabcdef123000));
    world->mode.cr4 |= CR4_LA57;
    world->key = nvi_npt_key(&world->mode);
    assert_int_equal(world->key.role, NVI_ROLE_NPT | 5);
    assert_int_equal(world->key.pat, PAT_RESET);
    world->key = nvi_npt_direct_key(3);
    assert_int_equal(world->key.role, NVI_ROLE_NPT | NVI_ROLE_DIRECT | 4);
    assert_int_equal(world->key.table, 3);
}

/* Every mode of L1, each page size it has. */
static void every_mode_and_size_translates(void **state)
{
    static const struct {
        unsigned levels, level;
        uint64_t size;
    } row[] = { { 2, 1, 0x1000 }, { 2, 2, SIZE_4M }, { 3, 1, 0x1000 }, { 3, 2, SIZE_2M },
                { 4, 1, 0x1000 }, { 4, 2, SIZE_2M }, { 4, 3, SIZE_1G }, { 5, 1, 0x1000 },
                { 5, 2, SIZE_2M }, { 5, 3, SIZE_1G } };
    struct world *world = *state;
    unsigned i;

    for (i = 0; i < sizeof row / sizeof row[0]; i++) {
        set_mode(world, row[i].levels);
        map(world, row[i].level, L2, SIZE_1G | ALL);
        assert_int_equal(walk(world, L2, READ | WRITE | EXECUTE), NVI_PAGING_OK);
        assert_int_equal(world->out.l1gpa.value, SIZE_1G + (L2 & (row[i].size - 1)));
        assert_int_equal(world->out.size, row[i].size);
        assert_int_equal(world->out.rights, READ | WRITE | EXECUTE);
        assert_true(world->out.dirty);
    }
}

/* Nested accesses are user accesses: a supervisor page anywhere refuses even reads; a page that is
 * not writable refuses writes whatever CR0.WP [APM 2 "Nested Page Tables"]. */
static void every_access_is_a_users(void **state)
{
    struct world *world = *state;
    unsigned level;

    for (level = 1; level <= 4; level++) {
        map(world, 1, L2, 0x5000 | ALL);
        put(world, level, L2, get(world, level, L2) & ~U);
        assert_int_equal(walk(world, L2, READ), NVI_PAGING_FAULT);
        assert_int_equal(world->out.error_code, NVI_PF_P | NVI_PF_U);
        map(world, 1, L2, 0x5000 | ALL);
        put(world, level, L2, get(world, level, L2) & ~W);
        assert_int_equal(walk(world, L2, READ | WRITE), NVI_PAGING_FAULT);
        assert_int_equal(world->out.error_code, NVI_PF_P | NVI_PF_U | NVI_PF_W);
        assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
        assert_int_equal(world->out.rights, READ | EXECUTE);
    }
}

/* No-execute counts only with L1's EFER.NXE; without it the bit is reserved. */
static void no_execute_needs_nxe_of_l1(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | ALL | NX);
    assert_int_equal(walk(world, L2, READ | EXECUTE), NVI_PAGING_FAULT);
    assert_int_equal(world->out.error_code, NVI_PF_P | NVI_PF_U | NVI_PF_ID);
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
    assert_int_equal(world->out.rights, READ | WRITE);
    world->mode.efer &= ~EFER_NXE;
    world->key = nvi_npt_key(&world->mode);
    assert_int_equal(walk(world, L2, READ | EXECUTE), NVI_PAGING_FAULT);
    assert_int_equal(world->out.error_code, NVI_PF_P | NVI_PF_U | NVI_PF_RSV);
}

/* 32-bit and PAE tables translate 4 GiB, long ones 48 bits: above, nothing is present. */
static void addresses_beyond_the_tables_are_not_present(void **state)
{
    static const unsigned format[] = { 2, 3, 4, 5 };
    struct world *world = *state;
    unsigned i;

    for (i = 0; i < 4; i++) {
        uint64_t end = NVIRT_BIT(format[i] > 3 ? 48 : 32);

        set_mode(world, format[i]);
        map(world, 1, 0, 0x5000 | ALL);
        assert_int_equal(walk(world, 0, READ), NVI_PAGING_OK);
        assert_int_equal(walk(world, end, READ), NVI_PAGING_FAULT);
        assert_int_equal(world->out.error_code, NVI_PF_U);
        assert_int_equal(walk(world, end, READ | WRITE), NVI_PAGING_FAULT);
        assert_int_equal(world->out.error_code, NVI_PF_U | NVI_PF_W);
        assert_int_equal(walk(world, end, READ | EXECUTE), NVI_PAGING_FAULT);
        assert_int_equal(world->out.error_code, NVI_PF_U | (format[i] > 2 ? NVI_PF_ID : 0));
    }
}

/* A PAE nCR3 points to 32 bytes; its low bits are no address and the table does not run out of its
 * page (CVE-2024-50115). PDPTEs come from memory at every walk. */
static void pae_tables_are_read_from_memory(void **state)
{
    struct world *world = *state;

    world->mode.ncr3 = NCR3 + 0xfff;
    set_mode(world, 3);
    map(world, 1, L2, 0x5000 | ALL);
    assert_int_equal(slot(world, 3, L2), NCR3 + 0xff8);
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
    put(world, 3, L2, 0);
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_FAULT);
    assert_int_equal(world->out.error_code, NVI_PF_U);
}

/* AMD's reserved bit 8 at the top, 1-GiB pages as offered. */
static void reserved_bits_are_amds(void **state)
{
    struct world *world = *state;

    map(world, 3, L2, SIZE_1G | ALL);
    world->config.page_1g = false;
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_FAULT);
    assert_int_equal(world->out.error_code, NVI_PF_P | NVI_PF_U | NVI_PF_RSV);
    map(world, 1, L2, 0x5000 | ALL);
    put(world, 4, L2, get(world, 4, L2) | NVIRT_BIT(8));
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_FAULT);
    assert_int_equal(world->out.error_code, NVI_PF_P | NVI_PF_U | NVI_PF_RSV);
}

/* 4-MiB pages need CR4.PSE of L1, their bits 39:32 the CPU's PSE-36. */
static void legacy_large_pages_need_pse(void **state)
{
    struct world *world = *state;

    set_mode(world, 2);
    map(world, 2, L2, 0x800000 | ALL | NVIRT_BIT(13));
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
    assert_int_equal(world->out.l1gpa.value, NVIRT_BIT(32) + 0x800000 + (L2 & (SIZE_4M - 1)));
    world->config.pse36 = false;
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_FAULT);
    world->mode.cr4 = 0;
    world->key = nvi_npt_key(&world->mode);
    fake_vm_put32(world->port, 0x802000 + ((L2 >> 12) & 0x3ff) * 4, 0x9000 | ALL);
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
    assert_int_equal(world->out.l1gpa.value, 0x9000 + (L2 & 0xfff));
}

/* Accessed and dirty bits of NPT12 are always kept. */
static void accessed_and_dirty_bits_are_set(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | ALL);
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
    assert_false(world->out.dirty);
    assert_int_equal(get(world, 1, L2), 0x5000 | ALL | A);
    assert_int_equal(walk(world, L2, READ | WRITE), NVI_PAGING_OK);
    assert_true(world->out.dirty);
    assert_int_equal(get(world, 1, L2), 0x5000 | ALL | A | D);
    assert_int_equal(get(world, 4, L2) & (A | D), A);
}

/* The leaf's PAT, PCD and PWT index L1's PAT. */
static void memory_types_come_from_l1s_pat(void **state)
{
    struct world *world = *state;
    unsigned i;

    world->mode.pat = UINT64_C(0x0604050107000604);
    world->key = nvi_npt_key(&world->mode);
    for (i = 0; i < 8; i++) {
        map(world, 1, L2, 0x5000 | ALL | (i & 1 ? PWT : 0) | (i & 2 ? PCD : 0) |
                              (i & 4 ? LARGE : 0));
        assert_int_equal(walk(world, L2, READ), NVI_PAGING_OK);
        assert_int_equal(world->out.memory_type, world->mode.pat >> (8 * i) & 7);
    }
}

static void direct_is_identity(void **state)
{
    struct world *world = *state;

    world->key = nvi_npt_direct_key(0);
    assert_int_equal(walk(world, L2, READ | WRITE), NVI_PAGING_OK);
    assert_int_equal(world->out.l1gpa.value, L2);
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
}

static void restless_tables_are_a_retry(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | ALL);
    fake_vm_race(world->port, slot(world, 1, L2), 8, 0x2000, 1000);
    assert_int_equal(walk(world, L2, READ), NVI_PAGING_RETRY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_key_holds_l1s_paging_mode),
        TEST(every_mode_and_size_translates),
        TEST(every_access_is_a_users),
        TEST(no_execute_needs_nxe_of_l1),
        TEST(addresses_beyond_the_tables_are_not_present),
        TEST(pae_tables_are_read_from_memory),
        TEST(reserved_bits_are_amds),
        TEST(legacy_large_pages_need_pse),
        TEST(accessed_and_dirty_bits_are_set),
        TEST(memory_types_come_from_l1s_pat),
        TEST(direct_is_identity),
        TEST(restless_tables_are_a_retry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
