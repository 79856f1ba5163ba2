/* SPDX-License-Identifier: MIT */
/*
 * Rules of copies through L1's tables.
 */
#include "fake_port.h"
#include "paging/paging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PT UINT64_C(0x12000)
#define ALL UINT64_C(7)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_vm vm;
    struct nvi_paging mode;
    struct nvi_paging_fault fault;
};

/* 32-bit tables: linear pages 0, 1 and the last are at 0x300000, 0x500000, 0x700000. */
static int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof world);
    world.port = fake_vm_new();
    fake_vm_ram(world.port, 0, 0x1000000);
    world.vm.port = world.port;
    world.mode.format = NVI_PAGING_32BIT;
    world.mode.physical_bits = 40;
    world.mode.wp = true;
    world.mode.cr3 = 0x10000;
    fake_vm_put32(world.port, 0x10000, PT | ALL);
    fake_vm_put32(world.port, 0x10ffc, 0x13000 | ALL);
    fake_vm_put32(world.port, PT, 0x300000 | ALL);
    fake_vm_put32(world.port, PT + 4, 0x500000 | ALL);
    fake_vm_put32(world.port, 0x13ffc, 0x700000 | ALL);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    fake_vm_delete(world->port);
    return 0;
}

static void a_copy_follows_each_page(void **state)
{
    struct world *world = *state;
    uint8_t bytes[8];

    fake_vm_put(world->port, 0x300ffd, "abc", 3);
    fake_vm_put(world->port, 0x500000, "defgh", 5);
    assert_int_equal(nvi_paging_read(&world->vm, &world->mode, 0xffd, 0, bytes, 8, &world->fault),
                     NVI_PAGING_OK);
    assert_memory_equal(bytes, "abcdefgh", 8);
    assert_int_equal(fake_vm_reads(world->port, 0x300fff), 1);
    assert_int_equal(nvi_paging_write(&world->vm, &world->mode, 0xffe, 0, "ABCD", 4,
                                      &world->fault),
                     NVI_PAGING_OK);
    fake_vm_get(world->port, 0x300ffd, bytes, 3);
    assert_memory_equal(bytes, "aAB", 3);
    fake_vm_get(world->port, 0x500000, bytes, 3);
    assert_memory_equal(bytes, "CDf", 3);
}

/* A whole page from the middle of one: the most a copy may be. */
static void a_copy_of_4096_bytes(void **state)
{
    struct world *world = *state;
    uint8_t bytes[4096];

    memset(bytes, 0x77, sizeof bytes);
    assert_int_equal(nvi_paging_write(&world->vm, &world->mode, 0x800, 0, bytes, sizeof bytes,
                                      &world->fault),
                     NVI_PAGING_OK);
    assert_int_equal(fake_vm_get32(world->port, 0x500000 + 0x7fc), 0x77777777);
    assert_int_equal(fake_vm_get32(world->port, 0x500000 + 0x800), 0);
}

/* With 32-bit addresses the byte after 0xffffffff is byte 0. */
static void legacy_addresses_wrap_at_4_gib(void **state)
{
    struct world *world = *state;
    uint8_t bytes[4];

    fake_vm_put(world->port, 0x700ffe, "xy", 2);
    fake_vm_put(world->port, 0x300000, "zw", 2);
    assert_int_equal(nvi_paging_read(&world->vm, &world->mode, 0xfffffffe, 0, bytes, 4,
                                     &world->fault),
                     NVI_PAGING_OK);
    assert_memory_equal(bytes, "xyzw", 4);
}

/* CR2 names the first byte that faulted; a write that faults on its second page wrote nothing. */
static void a_fault_on_the_second_page_leaves_no_trace(void **state)
{
    struct world *world = *state;
    uint8_t bytes[8] = { 0 };

    fake_vm_put32(world->port, PT + 4, 0x500000 | 5);
    assert_int_equal(nvi_paging_write(&world->vm, &world->mode, 0xffc, NVI_PAGING_USER, "ABCDEFGH",
                                      8, &world->fault),
                     NVI_PAGING_FAULT);
    assert_int_equal(world->fault.address, 0x1000);
    assert_int_equal(world->fault.error_code, NVI_PF_P | NVI_PF_W | NVI_PF_U);
    assert_int_equal(fake_vm_get32(world->port, 0x300ffc), 0);
    fake_vm_put32(world->port, PT, 0);
    assert_int_equal(nvi_paging_read(&world->vm, &world->mode, 0xffc, 0, bytes, 8, &world->fault),
                     NVI_PAGING_FAULT);
    assert_int_equal(world->fault.address, 0xffc);
    assert_int_equal(world->fault.error_code, 0);
}

/* A page that is mapped to where no memory is. */
static void no_memory_behind_a_page(void **state)
{
    struct world *world = *state;
    uint32_t word = 0;

    fake_vm_put32(world->port, PT, 0x40000000 | ALL);
    assert_int_equal(nvi_paging_read(&world->vm, &world->mode, 0, 0, &word, 4, &world->fault),
                     NVI_PAGING_NO_MEMORY);
    assert_int_equal(nvi_paging_write(&world->vm, &world->mode, 0, 0, &word, 4, &world->fault),
                     NVI_PAGING_NO_MEMORY);
}

/* Tables that never hold still. */
static void a_restless_table_is_a_retry(void **state)
{
    struct world *world = *state;
    uint32_t word = 0;

    fake_vm_race(world->port, PT, 4, 0x1000, 1000);
    assert_int_equal(nvi_paging_read(&world->vm, &world->mode, 0, NVI_PAGING_SET_AD, &word, 4,
                                     &world->fault),
                     NVI_PAGING_RETRY);
}

/* With long-mode tables an address is used as it is. */
static void long_mode_addresses_do_not_wrap(void **state)
{
    struct world *world = *state;
    uint8_t bytes[2];

    world->mode.format = NVI_PAGING_4LEVEL;
    world->mode.cr3 = 0x20000;
    fake_vm_put64(world->port, 0x20000, 0x21000 | ALL);
    fake_vm_put64(world->port, 0x21000 + 3 * 8, 0x22000 | ALL);
    fake_vm_put64(world->port, 0x21000 + 4 * 8, 0x23000 | ALL);
    fake_vm_put64(world->port, 0x22000 + 511 * 8, 0x800000 | ALL | NVIRT_BIT(7));
    fake_vm_put64(world->port, 0x23000, 0xa00000 | ALL | NVIRT_BIT(7));
    fake_vm_put(world->port, 0x9fffff, "p", 1);
    fake_vm_put(world->port, 0xa00000, "q", 1);
    assert_int_equal(nvi_paging_read(&world->vm, &world->mode, 0xffffffff, 0, bytes, 2,
                                     &world->fault),
                     NVI_PAGING_OK);
    assert_memory_equal(bytes, "pq", 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_copy_follows_each_page),
        TEST(a_copy_of_4096_bytes),
        TEST(legacy_addresses_wrap_at_4_gib),
        TEST(a_fault_on_the_second_page_leaves_no_trace),
        TEST(no_memory_behind_a_page),
        TEST(a_restless_table_is_a_retry),
        TEST(long_mode_addresses_do_not_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
