/* SPDX-License-Identifier: MIT */
/*
 * Rules of the walk of EPT12.
 */
#include "ept_world.h"

#define L2 UINT64_C(0x3f12345678)

/* Each size at four and five levels; 5 levels index with bits 56:48 as well. */
static void every_size_and_length_translates(void **state)
{
    static const uint64_t size[] = { 0, 0x1000, SIZE_2M, SIZE_1G };
    struct world *world = *state;
    unsigned length, level;

    for (length = 4; length <= 5; length++) {
        uint64_t l2gpa = length == 4 ? L2 : L2 | UINT64_C(0xa000000000000);

        world->key = nvi_ept_key(length == 4 ? EPTP_4 : EPTP_5);
        for (level = 1; level <= 3; level++) {
            map(world, level, l2gpa, (UINT64_C(7) << 30) | RWX | WB | IPAT);
            assert_int_equal(walk(world, l2gpa, NVIRT_ACCESS_WRITE), NVI_EPT_OK);
            assert_int_equal(world->out.l1gpa.value,
                             (UINT64_C(7) << 30) + (l2gpa & (size[level] - 1)));
            assert_int_equal(world->out.size, size[level]);
            assert_int_equal(world->out.memory_type, NVIRT_MEMORY_WB);
            assert_true(world->out.ignore_pat && world->out.dirty);
            assert_int_equal(world->out.rights, 7);
        }
    }
}

/* Addresses beyond what the walk length translates are mapped by nothing. */
static void addresses_beyond_the_walk_are_violations(void **state)
{
    struct world *world = *state;

    map(world, 1, 0, 0x5000 | RWX | WB);
    assert_int_equal(walk(world, 0, 1), NVI_EPT_OK);
    assert_int_equal(walk(world, NVIRT_BIT(48), 1), NVI_EPT_VIOLATION);
    assert_int_equal(world->out.rights, 0);
    world->key = nvi_ept_key(EPTP_5);
    assert_int_equal(walk(world, NVIRT_BIT(57), 1), NVI_EPT_VIOLATION);
}

/* Whatever the EPTP's walk length says, the walk stays within its five levels (CVE-2017-12188). */
static void no_walk_length_leaves_the_tables(void **state)
{
    struct world *world = *state;
    uint64_t length;

    for (length = 0; length < 8; length++) {
        world->key = nvi_ept_key(EPT12 | 6 | (length << 3));
        assert_int_equal(levels(world), length == 4 ? 5 : 4);
        assert_int_equal(walk(world, L2, 1), NVI_EPT_VIOLATION);
    }
}

/* An entry with bits 2:0 clear is not present, whatever else it holds; the walk ends there. */
static void not_present_at_each_level(void **state)
{
    struct world *world = *state;
    unsigned level;

    world->key = nvi_ept_key(EPTP_5);
    for (level = 1; level <= 5; level++) {
        map(world, 1, L2, 0x5000 | RWX | WB);
        put(world, level, L2, ~RWX);
        assert_int_equal(walk(world, L2, NVIRT_ACCESS_READ), NVI_EPT_VIOLATION);
        assert_int_equal(world->out.rights, 0);
    }
}

/* The rights of a translation are the AND over its entries; each access needs its own bit. */
static void rights_are_the_and_of_all_levels(void **state)
{
    static const uint64_t set[] = { R, R | W, R | X, RWX, X };
    struct world *world = *state;
    unsigned level, i;
    uint32_t access;

    for (level = 1; level <= 4; level++) {
        for (i = 0; i < 5; i++) {
            map(world, 1, L2, 0x5000 | RWX | WB);
            put(world, level, L2, (get(world, level, L2) & ~RWX) | set[i]);
            for (access = 1; access < 8; access++) {
                bool allowed = (access & ~set[i]) == 0;

                assert_int_equal(walk(world, L2, access),
                                 allowed ? NVI_EPT_OK : NVI_EPT_VIOLATION);
                assert_int_equal(world->out.rights, set[i]);
            }
        }
    }
}

/* Write without read is a misconfiguration in any entry; execute alone where not offered
 * [SDM 3C "EPT Misconfigurations"]. */
static void impossible_rights_are_misconfigurations(void **state)
{
    struct world *world = *state;
    unsigned level;

    for (level = 1; level <= 4; level++) {
        map(world, 1, L2, 0x5000 | RWX | WB);
        put(world, level, L2, (get(world, level, L2) & ~RWX) | W);
        assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
        put(world, level, L2, (get(world, level, L2) & ~RWX) | W | X);
        assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
        put(world, level, L2, (get(world, level, L2) & ~RWX) | X);
        assert_int_equal(walk(world, L2, 4), NVI_EPT_OK);
        world->config.execute_only = false;
        assert_int_equal(walk(world, L2, 4), NVI_EPT_MISCONFIG);
        world->config.execute_only = true;
    }
}

/* Sets one bit at a time and returns the set of those that make a misconfiguration. */
static uint64_t reserved_by_trial(struct world *world, unsigned level, uint64_t entry)
{
    uint64_t reserved = 0;
    unsigned bit;

    for (bit = 3; bit < 64; bit++) {
        if ((entry & NVIRT_BIT(bit)) != 0)
            continue;
        map(world, 1, L2, 0x5000 | RWX | WB);
        put(world, level, L2, entry | NVIRT_BIT(bit));
        if (walk(world, L2, 1) == NVI_EPT_MISCONFIG)
            reserved |= NVIRT_BIT(bit);
    }
    return reserved;
}

/* Reserved bits by level and width; bits 63:52 mean nothing without their features
 * [SDM 3C "EPT Misconfigurations"]. */
static void reserved_bits_by_level(void **state)
{
    struct world *world = *state;
    const uint64_t width = NVIRT_BITS(51, 40);

    world->key = nvi_ept_key(EPTP_5);
    /* Bit 3 on top of write-back makes the reserved memory type 7. */
    assert_int_equal(reserved_by_trial(world, 1, 0x5000 | RWX | WB), width | NVIRT_BIT(3));
    assert_int_equal(reserved_by_trial(world, 2, RWX | LARGE | WB),
                     width | NVIRT_BITS(20, 12) | NVIRT_BIT(3));
    assert_int_equal(reserved_by_trial(world, 3, RWX | LARGE | WB),
                     width | NVIRT_BITS(29, 12) | NVIRT_BIT(3));
    assert_int_equal(reserved_by_trial(world, 4, link(world, 4)), width | NVIRT_BITS(7, 3));
    assert_int_equal(reserved_by_trial(world, 5, link(world, 5)), width | NVIRT_BITS(7, 3));
    /* Bit 7 turns these two into leaves, with their address bits as reserved ones. */
    assert_int_equal(reserved_by_trial(world, 2, link(world, 2)), width | NVIRT_BITS(7, 3));
    assert_int_equal(reserved_by_trial(world, 3, link(world, 3)), width | NVIRT_BITS(7, 3));
    world->config.physical_bits = 52;
    assert_int_equal(reserved_by_trial(world, 2, RWX | LARGE | WB),
                     NVIRT_BITS(20, 12) | NVIRT_BIT(3));
}

/* Bit 7 of a PDE or PDPTE is reserved where that page size is not offered. */
static void page_sizes_not_offered_are_misconfigurations(void **state)
{
    struct world *world = *state;

    map(world, 2, L2, RWX | WB);
    assert_int_equal(walk(world, L2, 1), NVI_EPT_OK);
    world->config.page_2m = false;
    assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
    map(world, 3, L2, RWX | WB);
    assert_int_equal(walk(world, L2, 1), NVI_EPT_OK);
    world->config.page_1g = false;
    assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
}

/* Memory types 2, 3 and 7 are reserved in leaves of every size. */
static void reserved_memory_types_are_misconfigurations(void **state)
{
    struct world *world = *state;
    unsigned level, type;

    for (level = 1; level <= 3; level++) {
        for (type = 0; type < 8; type++) {
            map(world, level, L2, RWX | (uint64_t)type << 3);
            if (type == 2 || type == 3 || type == 7) {
                assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
            } else {
                assert_int_equal(walk(world, L2, 1), NVI_EPT_OK);
                assert_int_equal(world->out.memory_type, type);
            }
        }
    }
}

/* A misconfigured entry is one even when the access would not have been allowed. */
static void misconfiguration_comes_before_violation(void **state)
{
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | R | (UINT64_C(2) << 3));
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_MISCONFIG);
}

/* A table where no memory is reads as all ones: misconfigured at every level and width. */
static void absent_tables_are_misconfigurations(void **state)
{
    struct world *world = *state;
    unsigned level;

    for (level = 1; level <= 4; level++) {
        map(world, 1, L2, 0x5000 | RWX | WB);
        if (level == 4)
            world->key.table = HOLE;
        else
            put(world, level + 1, L2, HOLE | RWX);
        world->config.physical_bits = 40;
        assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
        world->config.physical_bits = 52;
        assert_int_equal(walk(world, L2, 1), NVI_EPT_MISCONFIG);
    }
}

/* [SDM 3C "Convertible EPT Violations"]: bit 63 of the entry that is not present, or of the leaf whose
 * address was found; never of a link. */
static void the_entry_that_decides_says_whether_a_violation_is_convertible(void **state)
{
    static const uint64_t suppress[] = { 0, NVIRT_BIT(63) };
    struct world *world = *state;
    unsigned level, deciding, links;

    for (deciding = 0; deciding < 2; deciding++) {
        for (links = 0; links < 2; links++) {
            for (level = 1; level <= 4; level++) {
                map(world, level, L2, 0);
                for (unsigned i = level + 1; i <= 4; i++)
                    put(world, i, L2, link(world, i) | suppress[links]);
                put(world, level, L2, suppress[deciding]);
                assert_int_equal(walk(world, L2, NVIRT_ACCESS_READ), NVI_EPT_VIOLATION);
                assert_int_equal(world->out.convertible, deciding == 0);
            }
            for (level = 1; level <= 3; level++) {
                map(world, level, L2, SIZE_1G | R | WB | suppress[deciding]);
                for (unsigned i = level + 1; i <= 4; i++)
                    put(world, i, L2, link(world, i) | suppress[links]);
                assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_VIOLATION);
                assert_int_equal(world->out.convertible, deciding == 0);
                /* Of a link that takes the right away it is still the leaf's bit. */
                map(world, level, L2, SIZE_1G | RWX | WB | suppress[deciding]);
                put(world, 4, L2, (link(world, 4) & ~W) | suppress[links]);
                assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_VIOLATION);
                assert_int_equal(world->out.convertible, deciding == 0);
            }
        }
    }
    /* An address that no entry is for. */
    assert_int_equal(walk(world, NVIRT_BIT(48), NVIRT_ACCESS_READ), NVI_EPT_VIOLATION);
    assert_false(world->out.convertible);
}

/* A/D on: accessed in every entry used, dirty in the leaf on a write; off: nothing is touched
 * [SDM 3C "Accessed and Dirty Flags for EPT"]. */
static void accessed_and_dirty_flags(void **state)
{
    struct world *world = *state;
    unsigned level;

    map(world, 1, L2, 0x5000 | RWX | WB);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_OK);
    assert_int_equal(world->port->writes, 0);
    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_EXECUTE), NVI_EPT_OK);
    assert_false(world->out.dirty);
    assert_int_equal(get(world, 1, L2), 0x5000 | RWX | WB | A);
    for (level = 2; level <= 4; level++)
        assert_int_equal(get(world, level, L2), link(world, level) | A);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_OK);
    assert_true(world->out.dirty);
    assert_int_equal(get(world, 1, L2), 0x5000 | RWX | WB | A | D);
    assert_int_equal(get(world, 2, L2), link(world, 2) | A);
    fake_vm_log_reset(world->port);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_OK);
    assert_int_equal(world->port->calls[FAKE_CALL_EXCHANGE], 0);
}

static void a_refused_access_sets_no_flags(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x5000 | R | WB);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_VIOLATION);
    assert_int_equal(world->port->writes, 0);
}

/* The entry changed between read and exchange: the walk starts over; bounded. */
static void a_changed_entry_restarts_the_walk(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x5000 | RWX | WB);
    fake_vm_race(world->port, slot(world, 1, L2), 8, 0x2000, 1);
    assert_int_equal(walk(world, L2, 1), NVI_EPT_OK);
    assert_int_equal(world->out.l1gpa.value, 0x7000 + (L2 & 0xfff));
    map(world, 1, L2, 0x5000 | RWX | WB);
    fake_vm_race(world->port, slot(world, 1, L2), 8, 0x2000, 1000);
    fake_vm_log_reset(world->port);
    assert_int_equal(walk(world, L2, 1), NVI_EPT_RETRY);
    assert_int_equal(fake_vm_reads(world->port, slot(world, 1, L2)), NVI_PAGING_MAX_RESTARTS + 1);
}

/* Tables in memory that takes no write: the flags are dropped, the translation holds. */
static void flags_in_read_only_memory_are_dropped(void **state)
{
    struct fake_region_l1 rom = { .start = EPT12, .bytes = 0x5000, .hpa = EPT12, .block = 0x1000,
                                  .rights = NVIRT_ACCESS_READ, .memory_type = NVIRT_MEMORY_WB };
    struct world *world = *state;

    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    map(world, 1, L2, 0x5000 | RWX | WB);
    fake_vm_region(world->port, &rom);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_OK);
    assert_true(world->out.dirty);
    assert_int_equal(get(world, 1, L2), 0x5000 | RWX | WB);
}

/* Each entry is read once, and checked and used from that one value. */
static void each_entry_is_read_once(void **state)
{
    const uint64_t evil[] = { UINT64_C(0x999000) | RWX | WB };
    struct world *world = *state;

    map(world, 1, L2, 0x5000 | R | WB);
    fake_vm_script(world->port, slot(world, 1, L2), 8, evil, 1);
    fake_vm_log_reset(world->port);
    assert_int_equal(walk(world, L2, 1), NVI_EPT_OK);
    assert_int_equal(world->out.l1gpa.value, 0x5000 + (L2 & 0xfff));
    assert_int_equal(world->out.rights, R);
    assert_int_equal(fake_vm_most_reads(world->port, NULL), 1);
    assert_int_equal(fake_vm_bytes_read(world->port), 32);
}

/* A direct root: L2-physical is L1-physical, nothing is read. */
static void direct_is_identity(void **state)
{
    struct world *world = *state;

    world->key = nvi_ept_direct_key(0);
    assert_int_equal(walk(world, L2, 7), NVI_EPT_OK);
    assert_int_equal(world->out.l1gpa.value, L2);
    assert_int_equal(world->out.rights, 7);
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
    assert_int_equal(walk(world, NVIRT_BIT(48), 1), NVI_EPT_VIOLATION);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_size_and_length_translates),
        TEST(addresses_beyond_the_walk_are_violations),
        TEST(no_walk_length_leaves_the_tables),
        TEST(not_present_at_each_level),
        TEST(rights_are_the_and_of_all_levels),
        TEST(impossible_rights_are_misconfigurations),
        TEST(reserved_bits_by_level),
        TEST(page_sizes_not_offered_are_misconfigurations),
        TEST(reserved_memory_types_are_misconfigurations),
        TEST(misconfiguration_comes_before_violation),
        TEST(absent_tables_are_misconfigurations),
        TEST(the_entry_that_decides_says_whether_a_violation_is_convertible),
        TEST(accessed_and_dirty_flags),
        TEST(a_refused_access_sets_no_flags),
        TEST(a_changed_entry_restarts_the_walk),
        TEST(flags_in_read_only_memory_are_dropped),
        TEST(each_entry_is_read_once),
        TEST(direct_is_identity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
