/* SPDX-License-Identifier: MIT */
/*
 * Rules of the page-table walk: each test is named after the rule it proves and fails when the rule
 * is taken out of src/paging/paging.c.
 */
#include "fake_port.h"
#include "paging/paging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* As far as the physical width goes, so that a wrong link leads to zeroes, not to a hole. */
#define RAM_BYTES NVIRT_BIT(40)
#define HOLE UINT64_C(0xf0000000)
#define CR3 UINT64_C(0x10000)
#define P NVIRT_BIT(0)
#define W NVIRT_BIT(1)
#define U NVIRT_BIT(2)
#define A NVIRT_BIT(5)
#define D NVIRT_BIT(6)
#define PS NVIRT_BIT(7)
#define G NVIRT_BIT(8)
#define NX NVIRT_BIT(63)
#define ALL (P | W | U)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_vm vm;
    struct nvi_paging mode;
    struct nvi_paging_out out;
};

static int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof world);
    world.port = fake_vm_new();
    fake_vm_ram(world.port, 0, RAM_BYTES);
    world.vm.port = world.port;
    world.vm.physical_bits = 40;
    world.mode.format = NVI_PAGING_4LEVEL;
    world.mode.physical_bits = 40;
    world.mode.page_1g = true;
    world.mode.nxe = true;
    world.mode.wp = true;
    world.mode.cr3 = CR3;
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    fake_vm_delete(world->port);
    return 0;
}

/* One table per level, the top one at CR3, each below in the next page. */
static uint64_t table_at(const struct world *world, unsigned level)
{
    return (world->mode.cr3 & ~UINT64_C(0xfff)) +
           ((unsigned)world->mode.format - level) * UINT64_C(0x1000);
}

static uint64_t slot(const struct world *world, unsigned level, uint64_t gva)
{
    if (world->mode.format == NVI_PAGING_32BIT)
        return table_at(world, level) + ((gva >> (12 + 10 * (level - 1))) & 0x3ff) * 4;
    if (world->mode.format == NVI_PAGING_PAE && level == 3)
        return (world->mode.cr3 & ~UINT64_C(0x1f)) + ((gva >> 30) & 3) * 8;
    return table_at(world, level) + ((gva >> (12 + 9 * (level - 1))) & 0x1ff) * 8;
}

static void put(struct world *world, unsigned level, uint64_t gva, uint64_t entry)
{
    if (world->mode.format == NVI_PAGING_32BIT)
        fake_vm_put32(world->port, slot(world, level, gva), (uint32_t)entry);
    else
        fake_vm_put64(world->port, slot(world, level, gva), entry);
}

static uint64_t get(struct world *world, unsigned level, uint64_t gva)
{
    if (world->mode.format == NVI_PAGING_32BIT)
        return fake_vm_get32(world->port, slot(world, level, gva));
    return fake_vm_get64(world->port, slot(world, level, gva));
}

/* Links all levels above @p level and puts @p leaf there. */
static void map(struct world *world, unsigned level, uint64_t gva, uint64_t leaf)
{
    unsigned i;

    for (i = (unsigned)world->mode.format; i > level; i--) {
        bool pdpte = world->mode.format == NVI_PAGING_PAE && i == 3;

        put(world, i, gva, table_at(world, i - 1) | (pdpte ? P : ALL));
    }
    put(world, level, gva, leaf);
}

static enum nvi_paging_result walk(struct world *world, uint64_t gva, uint32_t access)
{
    return nvi_paging_walk(&world->vm, &world->mode, gva, access, &world->out);
}

static void expect_fault(struct world *world, uint64_t gva, uint32_t access, uint32_t code)
{
    assert_int_equal(walk(world, gva, access), NVI_PAGING_FAULT);
    assert_int_equal(world->out.error_code, code);
}

static void expect_page(struct world *world, uint64_t gva, uint32_t access, uint64_t address,
                        uint64_t size)
{
    assert_int_equal(walk(world, gva, access), NVI_PAGING_OK);
    assert_int_equal(world->out.address, address);
    assert_int_equal(world->out.size, size);
}

/* Without paging a linear address is a physical one, 32 bits of it [SDM 3A "Paging Modes"]. */
static void without_paging_addresses_are_physical(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_NONE;
    expect_page(world, UINT64_C(0x123456789), NVI_PAGING_WRITE | NVI_PAGING_SET_AD, 0x23456789,
                0x1000);
    assert_true(world->out.user && world->out.writable && world->out.executable);
    assert_int_equal(fake_vm_bytes_read(world->port), 0);
}

/* Each format finds its page at each size it has [SDM 3A "Paging"]. */
static void every_format_and_size_translates(void **state)
{
    static const struct {
        enum nvi_paging_format format;
        unsigned level;
        uint64_t size, gva, base;
    } row[] = {
        { NVI_PAGING_32BIT, 1, 0x1000, 0xc0123456, 0x00345000 },
        { NVI_PAGING_32BIT, 2, 0x400000, 0xc0123456, 0x00800000 },
        { NVI_PAGING_PAE, 1, 0x1000, 0xc0123456, UINT64_C(0x8000345000) },
        { NVI_PAGING_PAE, 2, 0x200000, 0xc0123456, UINT64_C(0x8000600000) },
        { NVI_PAGING_4LEVEL, 1, 0x1000, UINT64_C(0xffff8abcdef12345), UINT64_C(0x8000345000) },
        { NVI_PAGING_4LEVEL, 2, 0x200000, UINT64_C(0x7abcdef12345), UINT64_C(0x8000600000) },
        { NVI_PAGING_4LEVEL, 3, 0x40000000, UINT64_C(0x7abcdef12345), UINT64_C(0x8040000000) },
        { NVI_PAGING_5LEVEL, 1, 0x1000, UINT64_C(0xff8abcdef1234567), UINT64_C(0x345000) },
        { NVI_PAGING_5LEVEL, 3, 0x40000000, UINT64_C(0x00abcdef12345678), UINT64_C(0x40000000) },
    };
    struct world *world = *state;
    size_t i;

    world->mode.pse = true;
    for (i = 0; i < sizeof row / sizeof row[0]; i++) {
        world->mode.format = row[i].format;
        map(world, row[i].level, row[i].gva, row[i].base | ALL | (row[i].level > 1 ? PS : 0));
        expect_page(world, row[i].gva, 0, row[i].base + (row[i].gva & (row[i].size - 1)),
                    row[i].size);
    }
}

/* With 32-bit formats bits 63:32 of a linear address do not take part. */
static void legacy_formats_use_32_address_bits(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_PAE;
    map(world, 1, 0xc0123456, 0x345000 | ALL);
    expect_page(world, UINT64_C(0xfedcba98c0123456), 0, 0x345456, 0x1000);
}

/* A PAE CR3 has its table on 32 bytes; the bits below are no address (CVE-2024-50115). */
static void pae_cr3_low_bits_are_ignored(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_PAE;
    world->mode.cr3 = CR3 + 0xfe0;
    map(world, 1, 0xc0123456, 0x345000 | ALL);
    world->mode.cr3 |= 0x1f;
    expect_page(world, 0xc0123456, 0, 0x345456, 0x1000);
    /* The fourth PDPTE ends with the page: nothing beyond it was read. */
    assert_int_equal(fake_vm_reads(world->port, CR3 + 0x1000 - 1), 1);
    world->mode.cr3 = (CR3 + 0xfe0) | UINT64_C(0xabc00000000);
    expect_page(world, 0xc0123456, 0, 0x345456, 0x1000);
}

/* VMX keeps PDPTEs in registers; memory is not looked at [SDM 3A "PAE Paging"]. */
static void given_pdptes_replace_memory(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_PAE;
    map(world, 1, 0xc0123456, 0x345000 | ALL);
    put(world, 3, 0xc0123456, 0);
    expect_fault(world, 0xc0123456, NVI_PAGING_WRITE, NVI_PF_W);
    world->mode.pdptes_given = true;
    world->mode.pdpte[3] = table_at(world, 2) | P;
    fake_vm_log_reset(world->port);
    expect_page(world, 0xc0123456, NVI_PAGING_SET_AD, 0x345456, 0x1000);
    assert_int_equal(fake_vm_bytes_read(world->port), 16);
    expect_fault(world, 0x80123456, NVI_PAGING_USER, NVI_PF_U);
}

/* A not-present entry ends the walk with P clear, whatever its other bits [SDM 3A "Page-Fault
 * Exceptions"]. */
static void not_present_at_each_level(void **state)
{
    static const enum nvi_paging_format format[] = { NVI_PAGING_32BIT, NVI_PAGING_PAE,
                                                     NVI_PAGING_4LEVEL, NVI_PAGING_5LEVEL };
    struct world *world = *state;
    unsigned i, level;

    for (i = 0; i < 4; i++) {
        world->mode.format = format[i];
        for (level = 1; level <= (unsigned)format[i]; level++) {
            map(world, 1, 0x40201000, 0x345000 | ALL);
            put(world, level, 0x40201000, ~P);
            expect_fault(world, 0x40201000, NVI_PAGING_USER | NVI_PAGING_WRITE,
                         NVI_PF_U | NVI_PF_W);
        }
    }
}

/* Sets one bit at a time in one entry and returns the set of bits that raise RSVD. */
static uint64_t reserved_by_trial(struct world *world, unsigned level, uint64_t entry)
{
    uint64_t reserved = 0;
    unsigned bit;

    for (bit = 1; bit < (world->mode.format == NVI_PAGING_32BIT ? 32 : 64); bit++) {
        if ((entry & NVIRT_BIT(bit)) == 0 && level > 1 && bit == 7)
            continue; /* Makes another kind of entry: tried as such. */
        map(world, 1, 0, 0x345000 | ALL);
        put(world, level, 0, entry | NVIRT_BIT(bit));
        if (walk(world, 0, 0) == NVI_PAGING_FAULT && (world->out.error_code & NVI_PF_RSV) != 0) {
            assert_int_equal(world->out.error_code, NVI_PF_RSV | NVI_PF_P);
            reserved |= NVIRT_BIT(bit);
        }
    }
    return reserved;
}

/* Reserved bits of four- and five-level tables [SDM 3A "4-Level Paging and 5-Level Paging"]. */
static void reserved_bits_of_long_mode(void **state)
{
    struct world *world = *state;
    const uint64_t width = NVIRT_BITS(51, 40);

    world->mode.format = NVI_PAGING_5LEVEL;
    assert_int_equal(reserved_by_trial(world, 1, 0x345000 | ALL), width);
    assert_int_equal(reserved_by_trial(world, 2, table_at(world, 1) | ALL), width);
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), width | NVIRT_BITS(20, 13));
    assert_int_equal(reserved_by_trial(world, 3, table_at(world, 2) | ALL), width);
    assert_int_equal(reserved_by_trial(world, 3, ALL | PS), width | NVIRT_BITS(29, 13));
    assert_int_equal(reserved_by_trial(world, 4, table_at(world, 3) | ALL), width);
    assert_int_equal(reserved_by_trial(world, 5, table_at(world, 4) | ALL), width);
    world->mode.nxe = false;
    assert_int_equal(reserved_by_trial(world, 1, 0x345000 | ALL), width | NX);
    assert_int_equal(reserved_by_trial(world, 4, table_at(world, 3) | ALL), width | NX);
    world->mode.nxe = true;
    world->mode.physical_bits = 52;
    assert_int_equal(reserved_by_trial(world, 1, 0x345000 | ALL), 0);
    /* Bit 7 is reserved in the two top levels, and in a PDPTE without 1-GiB pages. */
    put(world, 4, 0, table_at(world, 3) | ALL | PS);
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
    put(world, 5, 0, table_at(world, 4) | ALL | PS);
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
    map(world, 3, 0, ALL | PS);
    assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
    world->mode.page_1g = false;
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
}

/* AMD also reserves bit 8 of the entries above the PDPTE [APM 2 "Long-Mode Page Translation"]. */
static void amd_reserves_bit_8_at_the_top(void **state)
{
    struct world *world = *state;

    map(world, 1, 0, 0x345000 | ALL);
    put(world, 4, 0, table_at(world, 3) | ALL | G);
    assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
    world->mode.amd = true;
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
}

/* Reserved bits of PAE tables [SDM 3A "PAE Paging"]. */
static void reserved_bits_of_pae(void **state)
{
    struct world *world = *state;
    const uint64_t high = NVIRT_BITS(62, 40);

    world->mode.format = NVI_PAGING_PAE;
    assert_int_equal(reserved_by_trial(world, 1, 0x345000 | ALL), high);
    assert_int_equal(reserved_by_trial(world, 2, table_at(world, 1) | ALL), high);
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), high | NVIRT_BITS(20, 13));
    assert_int_equal(reserved_by_trial(world, 3, table_at(world, 2) | P | NVIRT_BIT(9)),
                     (high | NX | NVIRT_BITS(8, 5) | NVIRT_BITS(2, 1)) & ~PS);
    map(world, 1, 0, 0x345000 | ALL);
    put(world, 3, 0, table_at(world, 2) | P | PS);
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
    world->mode.nxe = false;
    assert_int_equal(reserved_by_trial(world, 1, 0x345000 | ALL), high | NX);
}

/* Reserved bits of 4-MiB entries, with and without PSE-36 [SDM 3A "32-Bit Paging"]. */
static void reserved_bits_of_32bit(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_32BIT;
    world->mode.pse = true;
    assert_int_equal(reserved_by_trial(world, 1, 0x345000 | ALL), 0);
    assert_int_equal(reserved_by_trial(world, 2, table_at(world, 1) | ALL), 0);
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), NVIRT_BITS(21, 13));
    world->mode.pse36 = true;
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), NVIRT_BIT(21));
    world->mode.physical_bits = 36;
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), NVIRT_BITS(21, 17));
    world->mode.physical_bits = 32;
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), NVIRT_BITS(21, 13));
    world->mode.physical_bits = 52;
    assert_int_equal(reserved_by_trial(world, 2, ALL | PS), NVIRT_BIT(21));
}

/* PSE-36: bits 20:13 of a 4-MiB entry are bits 39:32 of the address. */
static void pse36_extends_the_address(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_32BIT;
    world->mode.pse = true;
    world->mode.pse36 = true;
    map(world, 2, 0x400000, 0x00c00000 | (UINT64_C(0xa5) << 13) | ALL | PS);
    expect_page(world, 0x412345, 0, UINT64_C(0xa500c12345), 0x400000);
}

/* Without CR4.PSE bit 7 of a PDE is ignored. */
static void without_pse_a_pde_is_a_table(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_32BIT;
    map(world, 1, 0x400000, 0x345000 | ALL);
    put(world, 2, 0x400000, table_at(world, 1) | ALL | PS);
    expect_page(world, 0x400123, 0, 0x345123, 0x1000);
}

/* An entry of the manual's table of access rights, said sentence by sentence. */
static bool manual_allows(const struct nvi_paging *mode, uint32_t access, bool u, bool w, bool x)
{
    bool write = (access & NVI_PAGING_WRITE) != 0;
    bool fetch = (access & NVI_PAGING_EXECUTE) != 0;

    if ((access & NVI_PAGING_USER) != 0) {
        if (!u) /* No user access to a supervisor address. */
            return false;
        if (fetch)
            return x;
        return write ? w : true;
    }
    if (fetch) {
        if (u && mode->smep)
            return false;
        return x;
    }
    if (u && mode->smap) {
        if ((access & NVI_PAGING_IMPLICIT) != 0)
            return false;
        if (!mode->rflags_ac)
            return false;
    }
    return write && mode->wp ? w : true;
}

/* Rights: every kind of access against every combination of U/S, R/W, NX in the leaf, WP, SMEP,
 * SMAP and AC; the fault has P, W, U and I/D [SDM 3A "Determination of Access Rights"]. */
static void access_rights_follow_the_manual(void **state)
{
    static const uint32_t access[] = {
        0, NVI_PAGING_WRITE, NVI_PAGING_EXECUTE, NVI_PAGING_IMPLICIT,
        NVI_PAGING_IMPLICIT | NVI_PAGING_WRITE, NVI_PAGING_USER,
        NVI_PAGING_USER | NVI_PAGING_WRITE, NVI_PAGING_USER | NVI_PAGING_EXECUTE
    };
    struct world *world = *state;
    unsigned bits, i;

    for (bits = 0; bits < 128; bits++) {
        bool u = bits & 1, w = bits & 2, x = bits & 4;

        world->mode.wp = bits & 8;
        world->mode.smep = bits & 16;
        world->mode.smap = bits & 32;
        world->mode.rflags_ac = bits & 64;
        map(world, 1, 0, 0x345000 | P | (u ? U : 0) | (w ? W : 0) | (x ? 0 : NX));
        for (i = 0; i < sizeof access / sizeof access[0]; i++) {
            bool allowed = manual_allows(&world->mode, access[i], u, w, x);

            if (allowed)
                assert_int_equal(walk(world, 0, access[i]), NVI_PAGING_OK);
            else
                expect_fault(world, 0, access[i],
                             NVI_PF_P | (access[i] & NVI_PAGING_WRITE ? NVI_PF_W : 0) |
                                 (access[i] & NVI_PAGING_USER ? NVI_PF_U : 0) |
                                 (access[i] & NVI_PAGING_EXECUTE ? NVI_PF_ID : 0));
        }
    }
}

/* A right must be granted at every level. */
static void rights_are_the_and_of_all_levels(void **state)
{
    struct world *world = *state;
    unsigned level;

    world->mode.format = NVI_PAGING_5LEVEL;
    for (level = 1; level <= 5; level++) {
        uint64_t entry;

        map(world, 1, 0, 0x345000 | ALL);
        entry = get(world, level, 0);
        put(world, level, 0, entry & ~W);
        expect_fault(world, 0, NVI_PAGING_WRITE, NVI_PF_P | NVI_PF_W);
        put(world, level, 0, entry & ~U);
        expect_fault(world, 0, NVI_PAGING_USER, NVI_PF_P | NVI_PF_U);
        put(world, level, 0, entry | NX);
        expect_fault(world, 0, NVI_PAGING_EXECUTE, NVI_PF_P | NVI_PF_ID);
        put(world, level, 0, (entry | NX) & ~(W | U));
        assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
        assert_false(world->out.user || world->out.writable || world->out.executable);
    }
}

/* PDPTEs of PAE have no rights: their bits 1, 2 and 63 are reserved, not R/W, U/S and XD. */
static void pae_pdptes_grant_everything(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_PAE;
    map(world, 1, 0, 0x345000 | ALL);
    assert_int_equal(walk(world, 0, NVI_PAGING_USER | NVI_PAGING_WRITE), NVI_PAGING_OK);
    assert_true(world->out.user && world->out.writable && world->out.executable);
}

/* I/D is set only where fetches can be refused: NXE with PAE or long tables, or SMEP. */
static void fetch_bit_needs_nxe_or_smep(void **state)
{
    struct world *world = *state;

    expect_fault(world, 0, NVI_PAGING_EXECUTE, NVI_PF_ID);
    world->mode.nxe = false;
    expect_fault(world, 0, NVI_PAGING_EXECUTE, 0);
    world->mode.smep = true;
    expect_fault(world, 0, NVI_PAGING_EXECUTE, NVI_PF_ID);
    world->mode.format = NVI_PAGING_32BIT;
    expect_fault(world, 0, NVI_PAGING_EXECUTE, NVI_PF_ID);
    world->mode.smep = false;
    world->mode.nxe = true;
    expect_fault(world, 0, NVI_PAGING_EXECUTE, 0);
}

/* Protection keys: AD forbids data accesses, WD writes; PKRU for user pages, PKRS for supervisor
 * pages; supervisor writes pass WD without CR0.WP [SDM 3A "Protection Keys"]. */
static void protection_keys_guard_data(void **state)
{
    const uint32_t key = 9;
    struct world *world = *state;

    world->mode.pke = true;
    world->mode.pkru = 1u << (2 * key);
    map(world, 1, 0, 0x345000 | ALL | ((uint64_t)key << 59));
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_PK);
    expect_fault(world, 0, NVI_PAGING_USER, NVI_PF_P | NVI_PF_PK | NVI_PF_U);
    assert_int_equal(walk(world, 0, NVI_PAGING_EXECUTE), NVI_PAGING_OK);
    world->mode.pkru = 2u << (2 * key);
    assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
    expect_fault(world, 0, NVI_PAGING_WRITE, NVI_PF_P | NVI_PF_PK | NVI_PF_W);
    world->mode.wp = false;
    assert_int_equal(walk(world, 0, NVI_PAGING_WRITE), NVI_PAGING_OK);
    expect_fault(world, 0, NVI_PAGING_WRITE | NVI_PAGING_USER,
                 NVI_PF_P | NVI_PF_PK | NVI_PF_W | NVI_PF_U);
    world->mode.pke = false;
    assert_int_equal(walk(world, 0, NVI_PAGING_WRITE | NVI_PAGING_USER), NVI_PAGING_OK);
    /* A supervisor page asks PKRS, and only with CR4.PKS. */
    map(world, 1, 0, 0x345000 | P | W | ((uint64_t)key << 59));
    world->mode.pke = true;
    world->mode.pkru = ~0u;
    assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
    world->mode.pks = true;
    world->mode.pkrs = 1u << (2 * key);
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_PK);
    world->mode.pkrs = 0;
    assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
}

/* Keys exist with four- and five-level tables only: elsewhere bits 62:59 are reserved. */
static void protection_keys_need_long_tables(void **state)
{
    struct world *world = *state;

    world->mode.format = NVI_PAGING_32BIT;
    world->mode.pke = true;
    world->mode.pkru = ~0u;
    map(world, 1, 0, 0x345000 | ALL);
    assert_int_equal(walk(world, 0, NVI_PAGING_USER | NVI_PAGING_WRITE), NVI_PAGING_OK);
}

/* The leaf's PAT, PCD and PWT make an index; PAT is bit 7 or, in a large leaf, bit 12. */
static void pat_index_of_the_leaf(void **state)
{
    struct world *world = *state;

    map(world, 1, 0, 0x345000 | ALL | NVIRT_BIT(7) | NVIRT_BIT(3));
    assert_int_equal(walk(world, 0, 0), NVI_PAGING_OK);
    assert_int_equal(world->out.pat_index, 5);
    map(world, 2, 0, 0x600000 | ALL | PS | NVIRT_BIT(12) | NVIRT_BIT(4) | G);
    expect_page(world, 0x123, 0, 0x600123, 0x200000);
    assert_int_equal(world->out.pat_index, 6);
    assert_true(world->out.global);
}

/* Accessed in every entry used, dirty in the leaf for a write, nothing else, and nothing without
 * being asked [SDM 3A "Accessed and Dirty Flags"]. */
static void accessed_and_dirty_are_set(void **state)
{
    static const enum nvi_paging_format format[] = { NVI_PAGING_32BIT, NVI_PAGING_PAE,
                                                     NVI_PAGING_4LEVEL, NVI_PAGING_5LEVEL };
    struct world *world = *state;
    unsigned i, level;

    for (i = 0; i < 4; i++) {
        uint64_t before[6];

        world->mode.format = format[i];
        map(world, 1, 0, 0x345000 | ALL);
        for (level = 1; level <= (unsigned)format[i]; level++)
            before[level] = get(world, level, 0);
        assert_int_equal(walk(world, 0, NVI_PAGING_WRITE), NVI_PAGING_OK);
        assert_int_equal(get(world, 1, 0), before[1]);
        assert_int_equal(walk(world, 0, NVI_PAGING_SET_AD), NVI_PAGING_OK);
        assert_false(world->out.dirty);
        assert_int_equal(get(world, 1, 0), before[1] | A);
        assert_int_equal(walk(world, 0, NVI_PAGING_SET_AD | NVI_PAGING_WRITE), NVI_PAGING_OK);
        assert_true(world->out.dirty);
        assert_int_equal(get(world, 1, 0), before[1] | A | D);
        for (level = 2; level <= (unsigned)format[i]; level++)
            assert_int_equal(get(world, level, 0),
                             before[level] |
                                 (format[i] == NVI_PAGING_PAE && level == 3 ? 0 : A));
        /* All set: no more writes to L1's memory. */
        fake_vm_log_reset(world->port);
        assert_int_equal(walk(world, 0, NVI_PAGING_SET_AD), NVI_PAGING_OK);
        assert_true(world->out.dirty);
        assert_int_equal(world->port->calls[FAKE_CALL_EXCHANGE], 0);
    }
}

/* A walk that faults sets nothing. */
static void a_fault_sets_no_flags(void **state)
{
    struct world *world = *state;

    map(world, 1, 0, 0x345000 | P | U);
    expect_fault(world, 0, NVI_PAGING_WRITE | NVI_PAGING_SET_AD, NVI_PF_P | NVI_PF_W);
    assert_int_equal(world->port->writes, 0);
}

/* The exchange fails because L1 changed the entry: the walk starts over with the new one. */
static void a_changed_entry_restarts_the_walk(void **state)
{
    struct world *world = *state;

    map(world, 1, 0, 0x345000 | ALL);
    fake_vm_race(world->port, slot(world, 1, 0), 8, 0x1000, 1);
    expect_page(world, 0x10, NVI_PAGING_WRITE | NVI_PAGING_SET_AD, 0x344010, 0x1000);
    assert_int_equal(get(world, 1, 0), 0x344000 | ALL | A | D);
}

/* An L1 that changes it every time cannot hold nvirt in a loop. */
static void restarts_are_bounded(void **state)
{
    struct world *world = *state;

    map(world, 1, 0, 0x345000 | ALL);
    fake_vm_race(world->port, slot(world, 1, 0), 8, 0x1000, 1000);
    assert_int_equal(walk(world, 0, NVI_PAGING_SET_AD), NVI_PAGING_RETRY);
    assert_int_equal(fake_vm_reads(world->port, slot(world, 1, 0)), NVI_PAGING_MAX_RESTARTS + 1);
}

/* Every entry is read once, and what was read is what is used (CVE-2021-29657's class). */
static void each_entry_is_read_once(void **state)
{
    const uint64_t other[] = { 0x999000 | ALL };
    struct world *world = *state;

    map(world, 1, 0, 0x345000 | ALL | A);
    fake_vm_script(world->port, slot(world, 1, 0), 8, other, 1);
    fake_vm_log_reset(world->port);
    expect_page(world, 0x10, NVI_PAGING_USER, 0x345010, 0x1000);
    assert_int_equal(fake_vm_most_reads(world->port, NULL), 1);
    assert_int_equal(fake_vm_bytes_read(world->port), 32);
}

/* A table where no memory is reads as all ones: a reserved bit, or in 32-bit tables a page of
 * ones. */
static void absent_tables_read_as_ones(void **state)
{
    struct world *world = *state;

    fake_vm_hole(world->port, HOLE, 0x10000000);
    world->mode.cr3 = HOLE;
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
    world->mode.physical_bits = 52;
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
    world->mode.format = NVI_PAGING_PAE;
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
    world->mode.format = NVI_PAGING_32BIT;
    expect_page(world, 0x123, NVI_PAGING_USER, UINT64_C(0xfffff123), 0x1000);
    world->mode.pse = true;
    expect_fault(world, 0, 0, NVI_PF_P | NVI_PF_RSV);
}

/* Tables in memory that takes no write: the flags are dropped, the translation holds. */
static void flags_in_read_only_memory_are_dropped(void **state)
{
    struct world *world = *state;
    struct fake_region_l1 rom = { .start = CR3,
                                  .bytes = 0x4000,
                                  .hpa = CR3 + FAKE_VM_HPA_OFFSET,
                                  .block = 0x1000,
                                  .rights = NVIRT_ACCESS_READ,
                                  .memory_type = NVIRT_MEMORY_WB };

    map(world, 1, 0, 0x345000 | ALL);
    fake_vm_region(world->port, &rom);
    expect_page(world, 0x10, NVI_PAGING_WRITE | NVI_PAGING_SET_AD, 0x345010, 0x1000);
    assert_int_equal(get(world, 1, 0), 0x345000 | ALL);
    assert_true(world->out.dirty);
}

/* In steps: entry addresses may lie in another space; the caller says where each entry is. */
static void steps_let_the_caller_translate(void **state)
{
    const uint64_t moved = 0x100000;
    struct world *world = *state;
    struct nvi_paging_steps steps;
    enum nvi_paging_progress progress;
    unsigned level;

    map(world, 1, 0x1000, 0x345000 | ALL);
    for (level = 1; level <= 4; level++) {
        fake_vm_put64(world->port, slot(world, level, 0x1000) + moved, get(world, level, 0x1000));
        put(world, level, 0x1000, 0);
    }
    progress = nvi_paging_begin(&steps, &world->mode, 0x1234, NVI_PAGING_SET_AD, &world->out);
    for (level = 4; level >= 1; level--) {
        assert_int_equal(progress, NVI_PAGING_NEXT);
        assert_int_equal(steps.entry_address, slot(world, level, 0x1000));
        progress = nvi_paging_step(&world->vm, &steps,
                                   nvirt_l1gpa_make(steps.entry_address + moved));
    }
    assert_int_equal(progress, NVI_PAGING_DONE);
    assert_int_equal(nvi_paging_commit(&world->vm, &steps), NVI_PAGING_DONE);
    assert_int_equal(world->out.address, 0x345234);
    assert_int_equal(fake_vm_get64(world->port, slot(world, 1, 0x1000) + moved),
                     0x345000 | ALL | A);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(without_paging_addresses_are_physical),
        TEST(every_format_and_size_translates),
        TEST(legacy_formats_use_32_address_bits),
        TEST(pae_cr3_low_bits_are_ignored),
        TEST(given_pdptes_replace_memory),
        TEST(not_present_at_each_level),
        TEST(reserved_bits_of_long_mode),
        TEST(amd_reserves_bit_8_at_the_top),
        TEST(reserved_bits_of_pae),
        TEST(reserved_bits_of_32bit),
        TEST(pse36_extends_the_address),
        TEST(without_pse_a_pde_is_a_table),
        TEST(access_rights_follow_the_manual),
        TEST(rights_are_the_and_of_all_levels),
        TEST(pae_pdptes_grant_everything),
        TEST(fetch_bit_needs_nxe_or_smep),
        TEST(protection_keys_guard_data),
        TEST(protection_keys_need_long_tables),
        TEST(pat_index_of_the_leaf),
        TEST(accessed_and_dirty_are_set),
        TEST(a_fault_sets_no_flags),
        TEST(a_changed_entry_restarts_the_walk),
        TEST(restarts_are_bounded),
        TEST(each_entry_is_read_once),
        TEST(absent_tables_read_as_ones),
        TEST(flags_in_read_only_memory_are_dropped),
        TEST(steps_let_the_caller_translate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
