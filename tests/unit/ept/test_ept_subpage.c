/* SPDX-License-Identifier: MIT */
/*
 * Sub-page write permissions [SDM 3C "Sub-Page Write Permissions"]: a page of 4 KiB whose EPT entry
 * has bit 61, and which could be read and not be written otherwise, may be written in those of its 32
 * parts that a vector in L1's own table allows.
 */
#include "ept_world.h"
#include "mmu_audit.h"

#define L2 UINT64_C(0x3f12345000)
#define FRAME UINT64_C(0x500000)
#define SPPT12 UINT64_C(0x40000) /* Level n in its own page below this one, the top one at it. */
#define SUBPAGES NVIRT_BIT(61)
#define VALID UINT64_C(1)
#define ALL_PARTS UINT64_C(0x5555555555555555)
#define QR NVI_EPT_QUAL_READ
#define QW NVI_EPT_QUAL_WRITE
#define FINAL (NVI_EPT_QUAL_LINEAR | NVI_EPT_QUAL_FINAL)
#define WRITE (QW | FINAL)
#define REFUSED (WRITE | R << 3) /* What L1 is told of a write that its tables refuse. */
#define MISS NVIRT_BIT(11)
#define PART(n) (UINT64_C(1) << 2 * (n))

static struct nvi_ept_log l1_log;

static uint64_t sppt_slot(unsigned level, uint64_t l2gpa)
{
    return SPPT12 + (4 - level) * UINT64_C(0x1000) + (l2gpa >> (12 + 9 * (level - 1)) & 511) * 8;
}

static void put_sppt(struct world *world, unsigned level, uint64_t l2gpa, uint64_t entry)
{
    fake_vm_put64(world->port, sppt_slot(level, l2gpa), entry);
}

/* L1's SPPT has @p vector for the page. */
static void allow(struct world *world, uint64_t l2gpa, uint64_t vector)
{
    for (unsigned level = 4; level > 1; level--)
        put_sppt(world, level, l2gpa, (sppt_slot(level - 1, 0) & ~UINT64_C(0xfff)) | VALID);
    put_sppt(world, 1, l2gpa, vector);
}

static int setup_subpages(void **state)
{
    struct world *world;

    if (setup(state) != 0)
        return -1;
    world = *state;
    world->key.role |= NVI_ROLE_SUBPAGES | SPPT12;
    map(world, 1, L2, FRAME | R | X | WB | SUBPAGES);
    run(world);
    return 0;
}

static void use_flags(struct world *world)
{
    world->key = nvi_ept_key(EPTP_4 | EPTP_AD);
    world->key.role |= NVI_ROLE_SUBPAGES | SPPT12;
    l1_log = (struct nvi_ept_log){ .address = 0x60000, .index = 511 };
    world->log = &l1_log;
    run(world);
}

static int teardown_subpages(void **state)
{
    struct world *world = *state;
    struct mmu_audit audit;

    mmu_audit(&world->mmu, &audit);
    assert_int_equal(audit.pages, world->port->pool_used);
    return teardown(state);
}

static enum nvi_fault event(struct world *world, uint64_t l2gpa)
{
    return nvi_ept_subpage_event(&world->mmu, world->root, &world->config,
                                 nvirt_l2gpa_make(l2gpa), world->log, &world->verdict);
}

static enum hw_subpage hardware_vector(struct world *world, uint64_t l2gpa, uint64_t *vector)
{
    return hw_subpage_walk(world->port, world->root->subpages.value, l2gpa, vector);
}

/* True when hardware's leaf has it look for a vector. */
static bool hardware_decides(struct world *world, uint64_t l2gpa)
{
    struct hw_page page;

    return hardware(world, l2gpa, &page) == HW_PAGE && page.subpages;
}

/* L2 writes: exits as hardware has them, until the write is made (INSTALLED) or anybody's. */
static enum nvi_fault write_at(struct world *world, uint64_t l2gpa)
{
    for (unsigned exits = 0; exits < 8; exits++) {
        enum hw_result found;
        enum nvi_fault result;
        struct hw_page page;
        uint64_t vector;

        run(world);
        found = hardware(world, l2gpa, &page);
        if (found == HW_PAGE && (page.rights & W) != 0)
            return NVI_FAULT_INSTALLED;
        if (found == HW_PAGE && page.subpages) {
            enum hw_subpage subpage = hardware_vector(world, l2gpa, &vector);

            if (subpage == HW_SUBPAGE_ALLOWED)
                return NVI_FAULT_INSTALLED;
            result = subpage == HW_SUBPAGE_DENIED ? fault(world, WRITE, l2gpa)
                                                  : event(world, l2gpa);
        } else {
            result = fault(world, WRITE, l2gpa);
        }
        if (result != NVI_FAULT_INSTALLED && result != NVI_FAULT_RETRY)
            return result;
    }
    fail_msg("the write comes to no end");
    return NVI_FAULT_RETRY;
}

static void expect_violation(struct world *world, uint64_t l2gpa)
{
    assert_int_equal(write_at(world, l2gpa), NVI_FAULT_REFLECT);
    assert_true(world->verdict.qualification == REFUSED);
}

/* ---- the vector ---- */

/* Bit 2n is about the n-th 128 bytes, and about nothing else. */
static void each_part_has_its_bit(void **state)
{
    struct world *world = *state;

    for (unsigned part = 0; part < 32; part++) {
        allow(world, L2, PART(part));
        nvi_mmu_invalidate_all(&world->mmu);
        for (unsigned other = 0; other < 32; other++) {
            uint64_t at = L2 + other * 128 + (other * 37 & 127);

            assert_int_equal(write_at(world, at),
                             other == part ? NVI_FAULT_INSTALLED : NVI_FAULT_REFLECT);
        }
    }
}

/* Hardware's entry allows no write by itself, and reads and fetches as L1's. */
static void hardware_goes_by_the_vector_alone(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    allow(world, L2, ALL_PARTS);
    assert_int_equal(write_at(world, L2 + 0xf80), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, R | X);
    assert_true(page.subpages);
    assert_true(page.dirty);
}

/* What L1 says of the pages around comes along: no exit is spent on each of 512. */
static void a_table_of_vectors_comes_whole(void **state)
{
    struct world *world = *state;
    uint64_t base = L2 & ~(SIZE_2M - 1);
    uint64_t vector;

    for (unsigned i = 0; i < 512; i++)
        put_sppt(world, 1, base + i * 0x1000, (i * UINT64_C(0x9e3779b97f4a7c15)) & ALL_PARTS);
    allow(world, L2, ALL_PARTS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    for (unsigned i = 0; i < 512; i++) {
        (void)hardware_vector(world, base + i * 0x1000, &vector);
        assert_true(vector == fake_vm_get64(world->port, sppt_slot(1, base + i * 0x1000)));
    }
    assert_int_equal(hardware_vector(world, base + SIZE_2M, &vector), HW_SUBPAGE_MISS);
    assert_int_equal(hardware_vector(world, base - 1, &vector), HW_SUBPAGE_MISS);
}

/* A write of nvirt's own that touches two parts needs both. */
static void a_write_needs_all_parts_it_touches(void **state)
{
    static const struct { unsigned offset, bytes; enum nvi_subpage result; } writes[] = {
        { 0x80, 1, NVI_SUBPAGE_ALLOWED }, { 0x80, 128, NVI_SUBPAGE_ALLOWED },
        { 0xff, 1, NVI_SUBPAGE_ALLOWED }, { 0x7f, 1, NVI_SUBPAGE_DENIED },
        { 0x7f, 2, NVI_SUBPAGE_DENIED },  { 0xff, 2, NVI_SUBPAGE_DENIED },
        { 0xf80, 128, NVI_SUBPAGE_ALLOWED }, { 0xf00, 256, NVI_SUBPAGE_DENIED },
        { 0, 4096, NVI_SUBPAGE_DENIED },
    };
    struct world *world = *state;

    allow(world, L2, PART(1) | PART(31));
    for (unsigned i = 0; i < sizeof writes / sizeof writes[0]; i++)
        assert_int_equal(nvi_ept_subpage(&world->vm, &world->config, &world->key,
                                         nvirt_l2gpa_make(L2 + writes[i].offset), writes[i].bytes),
                         writes[i].result);
}

/* ---- SPP-related events ---- */

/* An entry above level 1 without its valid bit: an SPP miss. The rest of the entry is ignored. */
static void a_missing_table_is_a_miss(void **state)
{
    struct world *world = *state;

    for (unsigned level = 2; level <= 4; level++) {
        for (unsigned i = 0; i < 2; i++) {
            allow(world, L2, ALL_PARTS);
            put_sppt(world, level, L2, i != 0 ? ~VALID : 0);
            nvi_mmu_invalidate_all(&world->mmu);
            assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
            assert_true(world->verdict.qualification == MISS);
        }
    }
    /* L1 puts the table there, and needs no invalidation for it. */
    allow(world, L2, ALL_PARTS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
}

/* A valid one with a bit among 11:1 or 63:52, or beyond the physical-address width: an SPP
 * misconfiguration. */
static void reserved_bits_of_entries_are_misconfigurations(void **state)
{
    struct world *world = *state;

    for (unsigned level = 2; level <= 4; level++) {
        for (unsigned bit = 1; bit < 64; bit++) {
            bool reserved = bit < 12 || bit >= world->config.physical_bits;

            allow(world, L2, ALL_PARTS);
            put_sppt(world, level, L2,
                     fake_vm_get64(world->port, sppt_slot(level, L2)) | NVIRT_BIT(bit));
            nvi_mmu_invalidate_all(&world->mmu);
            if (!reserved)
                continue;
            assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
            assert_true(world->verdict.qualification == 0);
        }
    }
    /* The width is what counts, not whether there is memory. */
    allow(world, L2, ALL_PARTS);
    put_sppt(world, 2, L2, NVIRT_BIT(39) | VALID);
    fake_vm_put64(world->port, NVIRT_BIT(39) + (L2 >> 12 & 511) * 8, ALL_PARTS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    world->config.physical_bits = 39;
    nvi_mmu_invalidate_all(&world->mmu);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
}

/* So is a vector with a bit at an odd place, also where the bit before it allows the write; and none
 * of L1's reserved bits reaches hardware. */
static void reserved_bits_of_vectors_are_misconfigurations(void **state)
{
    struct world *world = *state;
    uint64_t vector;

    for (unsigned bit = 1; bit < 64; bit += 2) {
        allow(world, L2, ALL_PARTS | NVIRT_BIT(bit));
        allow(world, L2 ^ 0x1000, ALL_PARTS);
        nvi_mmu_invalidate_all(&world->mmu);
        assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
        assert_true(world->verdict.qualification == 0);
        /* Of a table that comes along for another page. */
        put(world, 1, L2 ^ 0x1000, FRAME | R | WB | SUBPAGES);
        assert_int_equal(write_at(world, L2 ^ 0x1000), NVI_FAULT_INSTALLED);
        assert_int_equal(hardware_vector(world, L2, &vector), HW_SUBPAGE_MISCONFIG);
        assert_true(vector == 2);
        assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
        assert_true(world->verdict.qualification == 0);
    }
    /* L1 mends it, without an invalidation. */
    put_sppt(world, 1, L2, PART(3));
    assert_int_equal(write_at(world, L2 + 3 * 128), NVI_FAULT_INSTALLED);
}

/* Where no memory is all bits read as ones. */
static void a_table_without_memory_is_misconfigured(void **state)
{
    struct world *world = *state;

    for (unsigned level = 2; level <= 4; level++) {
        allow(world, L2, ALL_PARTS);
        put_sppt(world, level, L2, HOLE | VALID);
        nvi_mmu_invalidate_all(&world->mmu);
        assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
        assert_true(world->verdict.qualification == 0);
    }
    world->key.role = (world->key.role & ~NVI_MMU_ADDRESS) | HOLE;
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    assert_true(world->verdict.qualification == 0);
}

/* An L1 may have its tables anywhere, at address 0 too. */
static void tables_may_lie_at_address_0(void **state)
{
    struct world *world = *state;

    allow(world, L2, 0);
    put_sppt(world, 2, L2, VALID);
    fake_vm_put64(world->port, (L2 >> 12 & 511) * 8, PART(0) | 2);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    fake_vm_put64(world->port, (L2 >> 12 & 511) * 8, PART(0));
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    fake_vm_put64(world->port, (L2 >> 12 & 511) * 8, PART(1) | 2);
    nvi_mmu_invalidate_all(&world->mmu);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
}

/* L1's page is another by now, which hardware does not know: it is to look again, and tell more. */
static void an_event_of_a_page_that_changed_is_looked_at_again(void **state)
{
    static const uint64_t now[] = { FRAME | RWX | WB, FRAME | R | WB, 0, FRAME | W,
                                    FRAME | X | WB };
    struct world *world = *state;
    struct hw_page page;

    for (unsigned i = 0; i < sizeof now / sizeof now[0]; i++) {
        map(world, 1, L2, FRAME | R | X | WB | SUBPAGES);
        nvi_mmu_invalidate_all(&world->mmu);
        run(world);
        assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
        assert_true(hardware_decides(world, L2));
        put(world, 1, L2, now[i]);
        assert_int_equal(event(world, L2), NVI_FAULT_RETRY);
        assert_int_equal(hardware(world, L2, &page), HW_NOT_PRESENT);
        assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    }
    /* No leaf at all: the host was quicker. */
    assert_int_equal(event(world, L2), NVI_FAULT_RETRY);
}

/* ---- which writes are eligible ---- */

/* Writes to L2's own tables are not, nor those without a linear address, whatever the vector says. */
static void only_what_a_linear_address_leads_to_is_eligible(void **state)
{
    static const uint64_t others[] = { 0, NVI_EPT_QUAL_LINEAR };
    struct world *world = *state;

    allow(world, L2, ALL_PARTS);
    for (unsigned i = 0; i < 2; i++) {
        run(world);
        assert_int_equal(fault(world, QW | others[i], L2), NVI_FAULT_REFLECT);
        assert_true(world->verdict.qualification == (QW | others[i] | (R | X) << 3));
        assert_false(hardware_decides(world, L2));
    }
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(fault(world, QW | others[i], L2), NVI_FAULT_REFLECT);
}

/* One that hardware refuses although it has the vector that L1 has is not eligible by hardware's rules,
 * or touches a part that is not allowed: L1's violation, not a fault for ever. */
static void hardware_has_the_last_word(void **state)
{
    struct world *world = *state;

    allow(world, L2, PART(0));
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(fault(world, WRITE, L2), NVI_FAULT_REFLECT);
    assert_true(world->verdict.qualification == (WRITE | (R | X) << 3));
    /* Nor is one eligible that hardware did not come to ask for a vector for. */
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_true(hardware_decides(world, L2));
    assert_int_equal(fault(world, WRITE, L2), NVI_FAULT_REFLECT);
}

/* Where the entries allow writes the bit is ignored, and so it is where they allow no read, in a larger
 * page, and without the control. */
static void bit_61_counts_in_unwritable_readable_small_pages_only(void **state)
{
    struct world *world = *state;
    struct hw_page page;

    allow(world, L2, 0);
    put(world, 1, L2, FRAME | RWX | WB | SUBPAGES);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    assert_int_equal(hardware(world, L2, &page), HW_PAGE);
    assert_int_equal(page.rights, RWX);
    allow(world, L2, ALL_PARTS);
    put(world, 1, L2, FRAME | X | WB | SUBPAGES);
    nvi_mmu_invalidate_all(&world->mmu);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT);
    assert_true(world->verdict.qualification == (WRITE | X << 3));
    /* What is left of an earlier walk does not matter. */
    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_SUBPAGE);
    map(world, 2, L2, SIZE_2M | R | WB | SUBPAGES);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_VIOLATION);
    nvi_mmu_invalidate_all(&world->mmu);
    run(world);
    expect_violation(world, L2);
    assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_false(hardware_decides(world, L2));
    map(world, 1, L2, FRAME | R | WB | SUBPAGES);
    world->key.role &= ~(NVI_ROLE_SUBPAGES | NVI_MMU_ADDRESS);
    expect_violation(world, L2);
    assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_false(hardware_decides(world, L2));
    assert_true(world->root->subpages.value == 0);
}

/* They are about writes, and about an access that is refused for anything else they say nothing. */
static void only_a_write_is_looked_up(void **state)
{
    struct world *world = *state;

    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE), NVI_EPT_SUBPAGE);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE), NVI_EPT_SUBPAGE);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_EXECUTE), NVI_EPT_VIOLATION);
    assert_int_equal(walk(world, L2, NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE),
                     NVI_EPT_VIOLATION);
}

/* The rights that count are those of all levels together. */
static void an_entry_above_may_forbid_the_write(void **state)
{
    struct world *world = *state;

    for (unsigned level = 2; level <= 4; level++) {
        map(world, 1, L2, FRAME | RWX | WB | SUBPAGES);
        put(world, level, L2, link(world, level) & ~W);
        allow(world, L2, PART(2));
        nvi_mmu_invalidate_all(&world->mmu);
        assert_int_equal(write_at(world, L2 + 2 * 128), NVI_FAULT_INSTALLED);
        assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT);
        put(world, level, L2, link(world, level) & ~(R | W));
        nvi_mmu_invalidate_all(&world->mmu);
        assert_int_equal(write_at(world, L2 + 2 * 128), NVI_FAULT_REFLECT);
    }
}

/* ---- what L1 changes ---- */

/* A refused write makes hardware look anew, so L1 may allow more without an invalidation. */
static void more_is_allowed_at_the_next_violation(void **state)
{
    struct world *world = *state;

    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    allow(world, L2, PART(0));
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    expect_violation(world, L2 + 128);
    put_sppt(world, 1, L2, PART(0) | PART(1));
    assert_int_equal(fault(world, WRITE, L2 + 128), NVI_FAULT_RETRY);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_INSTALLED);
    /* The table is gone: hardware is to find that out, if the write is eligible. */
    put_sppt(world, 2, L2, 0);
    assert_int_equal(fault(world, WRITE, L2 + 256), NVI_FAULT_RETRY);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(fault(world, WRITE, L2 + 256), NVI_FAULT_REFLECT);
    assert_int_equal(write_at(world, L2 + 256), NVI_FAULT_REFLECT_SUBPAGE);
    assert_true(world->verdict.qualification == MISS);
}

/* INVEPT, single-context or all-context: no vector from before is used any more, and a flush is due. */
static void an_invalidation_takes_all_vectors(void **state)
{
    struct world *world = *state;
    uint64_t vector;

    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    for (unsigned all = 0; all < 2; all++) {
        allow(world, L2, PART(0));
        assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
        put_sppt(world, 1, L2, PART(1));
        /* Until then hardware may use what it has. */
        assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
        if (all != 0)
            nvi_mmu_invalidate_all(&world->mmu);
        else
            nvi_mmu_invalidate(&world->mmu, EPT12);
        assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
        assert_int_equal(hardware_vector(world, L2, &vector), HW_SUBPAGE_MISS);
        expect_violation(world, L2);
        assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_INSTALLED);
    }
}

/* Its pages are the port's again after the flush, and not before. */
static void what_goes_waits_for_the_flush(void **state)
{
    struct world *world = *state;
    uint32_t used;

    allow(world, L2, ALL_PARTS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    used = world->port->pool_used;
    nvi_mmu_invalidate(&world->mmu, EPT12);
    assert_int_equal(nvi_mmu_enter(&world->mmu, world->root, 0), NVI_MMU_FLUSH_ROOT);
    assert_int_equal(world->root->subpage_tables, 0);
    assert_int_equal(world->port->pool_used, used);
    nvi_mmu_flushed(&world->mmu, world->root, 0, NVI_MMU_FLUSH_ROOT);
    assert_int_equal(world->port->pool_used, used - 3);
}

/* Each of L1's tables has vectors of its own, with any of L1's EPTPs. */
static void each_sppt_and_each_eptp_has_its_own(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *first = world->root;
    uint64_t vector;

    allow(world, L2, ALL_PARTS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    world->key.role = (world->key.role & ~NVI_MMU_ADDRESS) | 0x70000;
    run(world);
    assert_true(world->root != first);
    assert_int_equal(hardware_vector(world, L2, &vector), HW_SUBPAGE_MISS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    world->key.role = (world->key.role & ~NVI_MMU_ADDRESS) | SPPT12;
    world->key.table = 0x80000;
    map(world, 1, L2, FRAME | R | WB | SUBPAGES);
    run(world);
    assert_true(world->root != first);
    assert_int_equal(hardware_vector(world, L2, &vector), HW_SUBPAGE_MISS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    /* And the first is as it was. */
    world->key.table = EPT12;
    assert_int_equal(run(world), NVI_MMU_FLUSH_NONE);
    assert_true(world->root == first);
    assert_int_equal(hardware_vector(world, L2, &vector), HW_SUBPAGE_ALLOWED);
}

/* ---- dirty flags and the log ---- */

/* Hardware does not decide before L1's dirty flag is set; a write that the vector allows sets it and is
 * logged, and no other does. */
static void the_first_write_makes_the_page_dirty(void **state)
{
    struct world *world = *state;

    use_flags(world);
    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_false(hardware_decides(world, L2));
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    assert_true(world->verdict.qualification == MISS);
    allow(world, L2, PART(1) | 2);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    assert_true(world->verdict.qualification == 0);
    allow(world, L2, PART(1));
    expect_violation(world, L2);
    assert_int_equal(get(world, 1, L2) & (A | D), A);
    assert_int_equal(l1_log.index, 511);
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_INSTALLED);
    assert_int_equal(get(world, 1, L2) & (A | D), A | D);
    assert_int_equal(l1_log.index, 510);
    assert_true(fake_vm_get64(world->port, 0x60000 + 511 * 8) == L2);
    assert_true(hardware_decides(world, L2));
    /* Dirty already. */
    assert_int_equal(write_at(world, L2 + 129), NVI_FAULT_INSTALLED);
    assert_int_equal(l1_log.index, 510);
    /* L1 makes it clean. */
    put(world, 1, L2, get(world, 1, L2) & ~D);
    nvi_mmu_invalidate(&world->mmu, EPT12);
    run(world);
    assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
    assert_false(hardware_decides(world, L2));
}

/* A violation or an event sets no flag, whatever the log. */
static void a_refused_write_sets_no_flag(void **state)
{
    struct world *world = *state;

    use_flags(world);
    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    l1_log.index = 0xffff;
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    allow(world, L2, PART(1));
    expect_violation(world, L2);
    assert_int_equal(get(world, 1, L2) & (A | D), 0);
    assert_int_equal(get(world, 4, L2) & A, 0);
    /* One that is allowed finds the log full before any flag. */
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_REFLECT_LOG_FULL);
    assert_int_equal(get(world, 1, L2) & (A | D), 0);
    assert_int_equal(get(world, 4, L2) & A, 0);
}

/* With a dirty page whose accessed flags are clear the log counts as well. */
static void an_accessed_flag_to_be_set_finds_the_log_full(void **state)
{
    struct world *world = *state;

    use_flags(world);
    put(world, 1, L2, FRAME | R | WB | SUBPAGES | D);
    l1_log.index = 0xffff;
    allow(world, L2, PART(1));
    assert_int_equal(fault(world, WRITE, L2 + 128), NVI_FAULT_REFLECT_LOG_FULL);
    l1_log.index = 3;
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_INSTALLED);
    assert_int_equal(get(world, 1, L2) & (A | D), A | D);
    assert_int_equal(l1_log.index, 3);
}

/* A leaf that hardware had before, and decided nothing by, is flushed: what a TLB keeps of it for
 * another linear address would look like a decision. */
static void hardware_begins_to_decide_after_a_flush(void **state)
{
    struct world *world = *state;

    use_flags(world);
    allow(world, L2, PART(1));
    assert_int_equal(fault(world, QR | FINAL, L2), NVI_FAULT_INSTALLED);
    run(world);
    assert_int_equal(fault(world, WRITE, L2 + 128), NVI_FAULT_INSTALLED);
    assert_int_equal(run(world), NVI_MMU_FLUSH_ROOT);
    assert_true(hardware_decides(world, L2));
}

/* ---- the host ---- */

static void host_grants(struct world *world, uint32_t rights)
{
    struct fake_region_l1 region = { .start = FRAME, .bytes = 0x1000, .block = 0x1000,
                                     .hpa = FRAME + FAKE_VM_HPA_OFFSET, .rights = rights,
                                     .memory_type = NVIRT_MEMORY_WB };

    world->port->regions = 2;
    fake_vm_region(world->port, &region);
}

/* What the host does not let be written hardware does not decide about; an allowed write is the host's
 * fault, and what L1 refuses is L1's. */
static void the_host_has_to_grant_the_write(void **state)
{
    struct world *world = *state;

    put(world, 1, L2, FRAME | R | WB | SUBPAGES);
    host_grants(world, NVIRT_ACCESS_READ);
    assert_int_equal(write_at(world, L2), NVI_FAULT_REFLECT_SUBPAGE);
    allow(world, L2, PART(1));
    expect_violation(world, L2);
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_HOST);
    assert_true(world->verdict.l1gpa.value == FRAME + 128);
    assert_false(hardware_decides(world, L2));
    host_grants(world, NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE);
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_INSTALLED);
    /* It watches the page again. */
    host_grants(world, NVIRT_ACCESS_READ);
    world->vm.magic = NVI_VM_MAGIC;
    nvi_mmu_attach(&world->mmu, 0);
    assert_int_equal(nvirt_vm_change_begin(&world->vm, nvirt_l1gpa_make(FRAME), 0x1000), NVIRT_OK);
    assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    assert_false(hardware_decides(world, L2));
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_HOST);
}

/* The host moved memory meanwhile: as for any other fault. */
static void a_move_meanwhile_is_a_retry(void **state)
{
    struct world *world = *state;

    allow(world, L2, PART(1));
    world->port->move_on_translate = 1;
    assert_int_equal(fault(world, WRITE, L2 + 128), NVI_FAULT_RETRY);
    assert_int_equal(write_at(world, L2 + 128), NVI_FAULT_INSTALLED);
}

/* ---- room ---- */

/* Many pages far apart in a small budget: tables of vectors go and come, and everything adds up. */
static void room_is_found(void **state)
{
    struct world *world = *state;
    struct mmu_audit audit;

    nvi_mmu_invalidate_all(&world->mmu);
    world->vm.page_budget = 32;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 60; i++) {
            uint64_t at = i * (UINT64_C(1) << 30) + i * SIZE_2M;

            map(world, 1, at, FRAME | R | WB | SUBPAGES);
            allow(world, at, PART(i & 31));
            assert_int_equal(write_at(world, at + (i & 31) * 128), NVI_FAULT_INSTALLED);
            mmu_audit(&world->mmu, &audit);
            assert_int_equal(audit.pages, world->port->pool_used);
            assert_true(audit.pages <= 32);
        }
    }
}

/* It never becomes bigger than an invalidation can take away at once. */
static void the_table_stays_small(void **state)
{
    struct world *world = *state;

    world->vm.page_budget = 5000;
    for (unsigned i = 0; i < 400; i++) {
        uint64_t at = i * SIZE_2M;

        uint32_t before = world->root->subpage_tables;

        map(world, 1, at, FRAME | R | WB | SUBPAGES);
        allow(world, at, PART(0));
        run(world);
        assert_int_equal(fault(world, WRITE, at), NVI_FAULT_INSTALLED);
        assert_int_equal(event(world, at), NVI_FAULT_RETRY);
        assert_true(world->root->subpage_tables <= 128);
        assert_int_equal(run(world), world->root->subpage_tables < before ? NVI_MMU_FLUSH_ROOT
                                                                          : NVI_MMU_FLUSH_NONE);
        assert_int_equal(write_at(world, at), NVI_FAULT_INSTALLED);
    }
}

/* The last page is found where nothing is left but vectors on the same way, and a root: the way is
 * begun anew. */
static void a_way_may_go_while_room_is_made_for_it(void **state)
{
    struct world *world = *state;
    nvirt_l2gpa far = nvirt_l2gpa_make(NVIRT_BIT(40));
    struct mmu_audit audit;
    enum nvi_fault result;
    uint64_t *vectors;
    nvirt_hpa page;

    world->key = nvi_ept_key(EPTP_4 + 0x100000);
    run(world);
    world->key.role |= NVI_ROLE_SUBPAGES | SPPT12;
    run(world);
    vectors = nvi_mmu_subpage_table(&world->mmu, world->root, nvirt_l2gpa_make(L2), &page, &result);
    assert_non_null(vectors);
    assert_int_equal(nvi_mmu_subpage_link(&world->mmu, world->root, nvirt_l2gpa_make(L2), page),
                     NVI_FAULT_RETRY);
    vectors = nvi_mmu_subpage_table(&world->mmu, world->root, far, &page, &result);
    assert_non_null(vectors);
    world->port->pool_limit = world->port->pool_used + 1;
    assert_int_equal(nvi_mmu_subpage_link(&world->mmu, world->root, far, page), NVI_FAULT_RETRY);
    assert_null(nvi_mmu_subpage_vector(&world->mmu, world->root, far));
    mmu_audit(&world->mmu, &audit);
    assert_int_equal(world->root->subpage_tables, 0);
}

/* Without a page for it there is no root, and the one that is used is left as it is. */
static void without_a_page_there_is_no_root(void **state)
{
    struct world *world = *state;
    struct nvi_mmu_root *root = world->root;
    struct nvi_mmu_key other = world->key;
    struct nvi_mmu_key key = world->key;
    uint64_t serial = nvi_mmu_serial(&world->mmu, &key);

    root->serial = serial;
    other.table = 0x90000;
    world->port->pool_limit = world->port->pool_used;
    assert_int_equal(nvi_ept_root(&world->mmu, &other, &world->root), NVIRT_ERR_NO_PAGE);
    assert_true(nvi_mmu_root_again(&world->mmu, root, &key, serial));
    world->port->pool_limit = world->port->pool_used + 1;
    assert_int_equal(nvi_ept_root(&world->mmu, &other, &world->root), NVIRT_OK);
}

/* A root that is given up gives its vectors up. */
static void a_recycled_root_has_none(void **state)
{
    struct world *world = *state;
    struct mmu_audit audit;
    uint64_t vector;

    allow(world, L2, ALL_PARTS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
    for (unsigned i = 1; i <= ROOTS; i++) {
        world->key = nvi_ept_key(EPTP_4 + i * 0x100000);
        run(world);
        assert_true(world->root->subpages.value == 0);
        mmu_audit(&world->mmu, &audit);
    }
    world->key = nvi_ept_key(EPTP_4);
    world->key.role |= NVI_ROLE_SUBPAGES | SPPT12;
    run(world);
    assert_int_equal(hardware_vector(world, L2, &vector), HW_SUBPAGE_MISS);
    assert_int_equal(write_at(world, L2), NVI_FAULT_INSTALLED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_subpages, teardown_subpages)
    const struct CMUnitTest tests[] = {
        TEST(each_part_has_its_bit),
        TEST(hardware_goes_by_the_vector_alone),
        TEST(a_table_of_vectors_comes_whole),
        TEST(a_write_needs_all_parts_it_touches),
        TEST(a_missing_table_is_a_miss),
        TEST(reserved_bits_of_entries_are_misconfigurations),
        TEST(reserved_bits_of_vectors_are_misconfigurations),
        TEST(a_table_without_memory_is_misconfigured),
        TEST(tables_may_lie_at_address_0),
        TEST(an_event_of_a_page_that_changed_is_looked_at_again),
        TEST(only_what_a_linear_address_leads_to_is_eligible),
        TEST(hardware_has_the_last_word),
        TEST(bit_61_counts_in_unwritable_readable_small_pages_only),
        TEST(only_a_write_is_looked_up),
        TEST(an_entry_above_may_forbid_the_write),
        TEST(more_is_allowed_at_the_next_violation),
        TEST(an_invalidation_takes_all_vectors),
        TEST(what_goes_waits_for_the_flush),
        TEST(each_sppt_and_each_eptp_has_its_own),
        TEST(the_first_write_makes_the_page_dirty),
        TEST(a_refused_write_sets_no_flag),
        TEST(an_accessed_flag_to_be_set_finds_the_log_full),
        TEST(hardware_begins_to_decide_after_a_flush),
        TEST(the_host_has_to_grant_the_write),
        TEST(a_move_meanwhile_is_a_retry),
        TEST(room_is_found),
        TEST(the_table_stays_small),
        TEST(a_way_may_go_while_room_is_made_for_it),
        TEST(without_a_page_there_is_no_root),
        TEST(a_recycled_root_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
