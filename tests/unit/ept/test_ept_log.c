/* SPDX-License-Identifier: MIT */
/*
 * L1's page-modification log [SDM 3C "Page-Modification Logging"]: what the walk of EPT12 writes to
 * it, and what a full one stops.
 */
#include "ept_world.h"

#define L2 UINT64_C(0x3f12345678)
#define LOG UINT64_C(0x30000)
#define NOTHING UINT64_C(0x5555)

static struct nvi_ept_log l1_log;

static int setup_log(void **state)
{
    struct world *world;
    unsigned i;

    if (setup(state) != 0)
        return -1;
    world = *state;
    l1_log = (struct nvi_ept_log){ .address = LOG, .index = 511 };
    world->log = &l1_log;
    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    for (i = 0; i < 513; i++)
        fake_vm_put64(world->port, LOG + i * 8, NOTHING);
    map(world, 1, L2, 0x5000 | RWX | WB);
    run(world);
    return 0;
}

static uint64_t logged(const struct world *world, unsigned index)
{
    return fake_vm_get64(world->port, LOG + index * 8);
}

/* The page of the access goes to the place of the index, and the index down by one: once, when its
 * dirty flag becomes set. */
static void a_page_is_logged_when_it_becomes_dirty(void **state)
{
    struct world *world = *state;

    assert_int_equal(fault(world, 1, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 511);
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 510);
    assert_int_equal(logged(world, 511), L2 & ~UINT64_C(0xfff));
    assert_int_equal(logged(world, 510), NOTHING);
    assert_int_equal(get(world, 1, L2) & (A | D), A | D);
    /* Dirty already: hardware writes from here on, and nothing is to be logged. */
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 510);
}

/* Hardware's leaf of a clean page takes no write, so that none escapes the log; L1 clears the flag
 * and invalidates, and it is so again. */
static void no_write_passes_a_clean_page(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    assert_int_equal(fault(world, 1, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights & NVIRT_ACCESS_WRITE, 0);
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, 7);
    put(world, 1, L2, get(world, 1, L2) & ~D);
    nvi_mmu_invalidate(&world->mmu, EPT12);
    run(world);
    assert_int_not_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(fault(world, 1, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights & NVIRT_ACCESS_WRITE, 0);
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 509);
    assert_int_equal(logged(world, 510), L2 & ~UINT64_C(0xfff));
}

/* With the last place used the index becomes FFFFH; then a flag that is to be set is a full log, and
 * neither flags nor access happen. */
static void a_full_log_stops_the_access_before_any_flag(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    l1_log.index = 0;
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 0xffff);
    assert_int_equal(logged(world, 0), L2 & ~UINT64_C(0xfff));
    put(world, 1, L2 + 0x1000, 0x6000 | RWX | WB);
    assert_int_equal(fault(world, 3, L2 + 0x1000), NVI_FAULT_REFLECT_LOG_FULL);
    assert_int_equal(world->verdict.qualification, 0);
    assert_int_equal(get(world, 1, L2 + 0x1000) & (A | D), 0);
    assert_int_equal(hardware(world, L2 + 0x1000, &page), HW_NOT_PRESENT);
    assert_int_equal(l1_log.index, 0xffff);
    assert_int_equal(logged(world, 512), NOTHING);
    assert_int_equal(world->stats.shadow_reflected, 1);
    /* An accessed flag is a flag. */
    assert_int_equal(fault(world, 1, L2 + 0x1000), NVI_FAULT_REFLECT_LOG_FULL);
    /* Where none is to be set the index is not looked at. */
    put(world, 1, L2 + 0x1000, 0x6000 | RWX | WB | A);
    assert_int_equal(fault(world, 1, L2 + 0x1000), NVI_FAULT_INSTALLED);
    put(world, 1, L2 + 0x1000, 0x6000 | RWX | WB | A | D);
    assert_int_equal(fault(world, 3, L2 + 0x1000), NVI_FAULT_INSTALLED);
    /* L1 made room. */
    put(world, 1, L2 + 0x1000, 0x6000 | RWX | WB);
    l1_log.index = 7;
    assert_int_equal(fault(world, 3, L2 + 0x1000), NVI_FAULT_INSTALLED);
    assert_int_equal(logged(world, 7), (L2 + 0x1000) & ~UINT64_C(0xfff));
}

/* Every index above 511 is that of a full log: L1 writes what it likes, and nothing beyond its page
 * is written. */
static void no_index_leads_out_of_the_page(void **state)
{
    struct world *world = *state;
    uint32_t index;

    for (index = 0; index <= 0xffff; index++) {
        uint64_t before = world->port->writes;

        put(world, 1, L2, 0x5000 | RWX | WB | A);
        l1_log.index = (uint16_t)index;
        assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE),
                         index < 512 ? NVI_EPT_OK : NVI_EPT_LOG_FULL);
        if (index >= 512)
            assert_int_equal(world->port->writes, before);
    }
    assert_int_equal(logged(world, 512), NOTHING);
}

/* The address is that of the 4-KByte page, also where L1's page is a large one, which becomes dirty
 * once. */
static void of_a_large_page_the_part_written_first_is_logged(void **state)
{
    struct world *world = *state;

    map(world, 2, L2, SIZE_2M | RWX | WB);
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(fault(world, 3, L2 ^ 0x1000), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 510);
    assert_int_equal(logged(world, 511), L2 & ~UINT64_C(0xfff));
}

/* Without the flags in the EPTP nothing becomes dirty. */
static void without_dirty_flags_there_is_no_log(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4);
    run(world);
    l1_log.index = 0xffff;
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    l1_log.index = 3;
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 3);
    assert_int_equal(logged(world, 3), NOTHING);
}

/* An access that the entries refuse is a violation or a misconfiguration, however full the log. */
static void violations_and_misconfigurations_come_first(void **state)
{
    struct world *world = *state;

    l1_log.index = 0xffff;
    put(world, 1, L2, 0x5000 | R | WB);
    assert_int_equal(fault(world, 2, L2), NVI_FAULT_REFLECT);
    put(world, 1, L2, 0x5000 | W | WB);
    assert_int_equal(fault(world, 2, L2), NVI_FAULT_REFLECT_MISCONFIG);
    l1_log.index = 5;
    put(world, 1, L2, 0x5000 | R | WB);
    assert_int_equal(fault(world, 2, L2), NVI_FAULT_REFLECT);
    assert_int_equal(l1_log.index, 5);
}

/* Another CPU of L1's changes an entry under the update: the walk begins again, the page is logged
 * once. */
static void an_entry_that_changes_meanwhile_is_logged_once(void **state)
{
    struct world *world = *state;

    fake_vm_race(world->port, slot(world, 1, L2), 8, NVIRT_BIT(60), 2);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_OK);
    assert_int_equal(l1_log.index, 510);
}

/* The host changed the memory while the fault was under way: the page is dirty and logged, and is not
 * logged again when the fault comes back. */
static void a_fault_that_comes_back_logs_nothing_more(void **state)
{
    struct world *world = *state;

    world->port->move_on_translate = 1;
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_RETRY);
    run(world);
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 510);
}

/* No memory behind the log: what is written there is lost, as on a bus. */
static void a_log_without_memory_moves_its_index(void **state)
{
    struct world *world = *state;

    l1_log.address = HOLE;
    assert_int_equal(fault(world, 3, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 510);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_log, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_page_is_logged_when_it_becomes_dirty),
        TEST(no_write_passes_a_clean_page),
        TEST(a_full_log_stops_the_access_before_any_flag),
        TEST(no_index_leads_out_of_the_page),
        TEST(of_a_large_page_the_part_written_first_is_logged),
        TEST(without_dirty_flags_there_is_no_log),
        TEST(violations_and_misconfigurations_come_first),
        TEST(an_entry_that_changes_meanwhile_is_logged_once),
        TEST(a_fault_that_comes_back_logs_nothing_more),
        TEST(a_log_without_memory_moves_its_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
