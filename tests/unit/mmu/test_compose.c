/* SPDX-License-Identifier: MIT */
/*
 * Rules of the host's half of an entry: leaf size, rights, memory type.
 */
#include "mmu_world.h"

#define SIZE_1G UINT64_C(0x40000000)
#define SIZE_2M UINT64_C(0x200000)

static struct nvirt_translation translated;
static uint32_t level;
static uint64_t changes;

static enum nvi_fault translate(struct world *world, uint64_t l1gpa, uint64_t size,
                                uint32_t max_level, uint32_t access)
{
    return nvi_mmu_translate(&world->mmu, nvirt_l1gpa_make(l1gpa), size, max_level, access,
                             &translated, &level, &changes);
}

static void region(struct world *world, uint64_t start, uint64_t bytes, uint64_t hpa,
                   uint64_t block)
{
    struct fake_region_l1 r = { .start = start, .bytes = bytes, .hpa = hpa, .block = block,
                                .rights = FAKE_ALL_RIGHTS, .memory_type = NVIRT_MEMORY_WB };

    fake_vm_region(world->port, &r);
}

/* The leaf is as big as L1's page, the host's block and the CPU allow, whichever is smallest. */
static void the_smallest_of_all_sizes(void **state)
{
    static const uint64_t size[] = { 0, 0x1000, SIZE_2M, SIZE_1G };
    struct world *world = *state;
    uint32_t l1, host, cpu;

    for (host = 1; host <= 3; host++) {
        region(world, 0, 4 * SIZE_1G, 8 * SIZE_1G, size[host]);
        for (l1 = 1; l1 <= 3; l1++) {
            for (cpu = 1; cpu <= 3; cpu++) {
                uint32_t least = l1 < host ? l1 : host;

                least = cpu < least ? cpu : least;
                assert_int_equal(translate(world, 0x53456789, size[l1], cpu, NVIRT_ACCESS_READ),
                                 NVI_FAULT_INSTALLED);
                assert_int_equal(level, least);
                assert_int_equal(translated.hpa.value,
                                 (8 * SIZE_1G + 0x53456789) & ~(size[least] - 1));
            }
        }
    }
}

/* A 4-MiB page of legacy tables is at most a 2-MiB leaf. */
static void a_4_mib_page_is_two_leaves(void **state)
{
    struct world *world = *state;

    region(world, 0, 4 * SIZE_1G, 8 * SIZE_1G, SIZE_1G);
    assert_int_equal(translate(world, 0x7ff123, 0x400000, 3, NVIRT_ACCESS_READ),
                     NVI_FAULT_INSTALLED);
    assert_int_equal(level, 2);
    assert_int_equal(translated.hpa.value, 8 * SIZE_1G + 0x600000);
}

/* A port that calls a block aligned which is not gets small leaves, not another guest's memory. */
static void a_misaligned_block_is_not_believed(void **state)
{
    struct world *world = *state;

    region(world, 0, SIZE_1G, 8 * SIZE_1G + 0x5000, SIZE_1G);
    world->port->region[0].lies = true;
    assert_int_equal(translate(world, 0x200000, SIZE_1G, 3, NVIRT_ACCESS_READ),
                     NVI_FAULT_INSTALLED);
    assert_int_equal(level, 1);
    assert_int_equal(translated.hpa.value, 8 * SIZE_1G + 0x205000);
}

/* Nothing there, or not with these rights: the host's business. A mapping on the move: again. */
static void refusals_of_the_port(void **state)
{
    struct fake_region_l1 rom = { .start = SIZE_1G, .bytes = 0x1000, .hpa = 0x5000,
                                  .block = 0x1000, .rights = NVIRT_ACCESS_READ };
    struct world *world = *state;

    fake_vm_region(world->port, &rom);
    assert_int_equal(translate(world, 0, 0x1000, 1, NVIRT_ACCESS_READ), NVI_FAULT_HOST);
    assert_int_equal(translate(world, SIZE_1G, 0x1000, 1, NVIRT_ACCESS_WRITE), NVI_FAULT_HOST);
    assert_int_equal(translate(world, SIZE_1G, 0x1000, 1, NVIRT_ACCESS_READ), NVI_FAULT_INSTALLED);
    /* A port that grants less than it was asked for. */
    world->port->region[0].overrides = true;
    assert_int_equal(translate(world, SIZE_1G, 0x1000, 1, NVIRT_ACCESS_WRITE), NVI_FAULT_HOST);
    world->port->retries = 1;
    assert_int_equal(translate(world, SIZE_1G, 0x1000, 1, NVIRT_ACCESS_READ), NVI_FAULT_RETRY);
}

/* Write-back gives way, equals stay, everything else is uncached; uncached of either side wins. */
static void memory_types_combine(void **state)
{
    static const uint8_t type[] = { NVIRT_MEMORY_UC, NVIRT_MEMORY_WC, NVIRT_MEMORY_WT,
                                    NVIRT_MEMORY_WP, NVIRT_MEMORY_WB };
    unsigned l1, host;

    (void)state;
    for (l1 = 0; l1 < 5; l1++) {
        for (host = 0; host < 5; host++) {
            uint8_t got = nvi_mmu_memory_type(type[l1], type[host]);

            if (type[l1] == NVIRT_MEMORY_UC || type[host] == NVIRT_MEMORY_UC)
                assert_int_equal(got, NVIRT_MEMORY_UC);
            else if (type[l1] == NVIRT_MEMORY_WB)
                assert_int_equal(got, type[host]);
            else if (type[host] == NVIRT_MEMORY_WB)
                assert_int_equal(got, type[l1]);
            else
                assert_int_equal(got, l1 == host ? type[l1] : NVIRT_MEMORY_UC);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_smallest_of_all_sizes),
        TEST(a_4_mib_page_is_two_leaves),
        TEST(a_misaligned_block_is_not_believed),
        TEST(refusals_of_the_port),
        TEST(memory_types_combine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
