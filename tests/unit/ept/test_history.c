/* SPDX-License-Identifier: MIT */
/*
 * Random histories of {L1 edits its tables one store at a time, L1 invalidates, L2 accesses, L1
 * switches roots, the host moves memory and says where or does not, room runs short}. Hardware here is as lazy as it may be: a
 * TLB that keeps every translation and a paging-structure cache that keeps every table until a
 * flush that names them. After every step:
 *
 *  sound     whatever hardware lets L2 do, EPT12 allowed at some time since L1 last invalidated
 *            that root, and it goes to where the host has that page now;
 *  complete  what EPT12 and the host allow now, L2 can do after a few faults, and what
 *            EPT12 refuses now and hardware refuses is reflected;
 *  safe      no table is walked after it was freed (the fake port aborts), the count of pages is
 *            right, nothing leaks.
 *
 * [SDM 3C "Caching Translation Information"]
 */
#include "ept_world.h"
#include "mmu_audit.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS 3u
#define PAGES 6u
#define TARGETS 4u
#define PAST 64u
#define TLB 64u
#define STEPS 12000u

static const uint64_t l2_page[PAGES] = { 0, 0x1000, 0x1ff000, 0x200000, 0x40000000, 0x7fc0000000 };
/* Where L1 may map them: bases of 2-MiB blocks in L1's memory. */
static const uint64_t target[TARGETS] = { 0x10000000, 0x10200000, 0x20000000, 0x30000000 };

struct past {
    uint64_t l1gpa;
    uint32_t rights;
    uint8_t type;
};

/* All that EPT12 said about one page of one root since it was last invalidated. */
struct history {
    uint32_t count;
    struct past past[PAST];
};

struct tlb_entry {
    bool used;
    uint64_t ep4ta, page, hpa, table;
    uint32_t rights;
    uint8_t type;
};

static struct history history[KEYS][PAGES];
static struct tlb_entry tlb[TLB];
static uint64_t random_state;
static bool with_ad;

static uint32_t dice(uint32_t sides)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 11) % sides;
}

/* ---- L1: its tables lie at fixed places, one page per level and region ---- */

static uint64_t table_of(uint32_t key, unsigned level, uint64_t l2gpa)
{
    uint64_t base = 0x100000 + key * UINT64_C(0x100000);

    if (level == 4)
        return base;
    if (level == 3)
        return base + 0x1000;
    if (level == 2)
        return base + 0x2000 + (l2gpa >> 30) % 16 * 0x1000;
    return base + 0x20000 + (l2gpa >> 21) % 64 * 0x1000;
}

static uint64_t slot_of(uint32_t key, unsigned level, uint64_t l2gpa)
{
    return table_of(key, level, l2gpa) + ((l2gpa >> (12 + 9 * (level - 1))) & 511) * 8;
}

/* What EPT12 says now, by a walk of the test's own. @return rights, 0 when nothing is mapped. */
static uint32_t spec(struct world *world, uint32_t key, uint64_t l2gpa, struct past *now)
{
    uint64_t table = table_of(key, 4, 0), entry;
    unsigned level;

    now->rights = 7;
    for (level = 4;; level--) {
        entry = fake_vm_get64(world->port, table + ((l2gpa >> (12 + 9 * (level - 1))) & 511) * 8);
        now->rights &= (uint32_t)entry & 7;
        if (level == 1 || (entry & LARGE) != 0 || now->rights == 0)
            break;
        table = entry & NVIRT_BITS(51, 12);
    }
    now->l1gpa = (entry & NVIRT_BITS(51, 12)) +
                 (level == 1 ? 0 : l2gpa & (NVIRT_BIT(12 + 9 * (level - 1)) - 1));
    now->type = (uint8_t)(entry >> 3 & 7);
    /* Writes count as allowed only once the page is dirty: whoever writes first must be seen. */
    if (with_ad && (entry & D) == 0)
        return now->rights & ~(uint32_t)W;
    return now->rights;
}

static void note(struct world *world)
{
    uint32_t key, page, i;

    for (key = 0; key < KEYS; key++) {
        for (page = 0; page < PAGES; page++) {
            struct history *h = &history[key][page];
            struct past now;

            now.rights = spec(world, key, l2_page[page], &now);
            for (i = 0; i < h->count; i++) {
                if (memcmp(&h->past[i].l1gpa, &now.l1gpa, sizeof now.l1gpa) == 0 &&
                    h->past[i].rights == now.rights && h->past[i].type == now.type)
                    break;
            }
            if (i == h->count && now.rights != 0) {
                assert_true(h->count < PAST);
                h->past[h->count++] = now;
            }
        }
    }
}

static void forget(uint32_t key)
{
    uint32_t page;

    for (page = 0; page < PAGES; page++)
        history[key][page].count = 0;
}

static void l1_edits(struct world *world)
{
    static const uint64_t rights[] = { 0, R, R | W, RWX, RWX, X };
    uint32_t key = dice(KEYS);
    uint64_t l2gpa = l2_page[dice(PAGES)];
    uint64_t entry = target[dice(TARGETS)] | rights[dice(6)] | (dice(4) == 0 ? UC : WB);

    switch (dice(8)) {
    case 0: /* A 2-MiB page in place of whatever was there, */
        fake_vm_put64(world->port, slot_of(key, 2, l2gpa), entry | LARGE);
        break;
    case 1: /* and the table back again. */
    case 2:
        fake_vm_put64(world->port, slot_of(key, 2, l2gpa),
                      table_of(key, 1, l2gpa) | rights[1 + dice(4)]);
        break;
    default:
        fake_vm_put64(world->port, slot_of(key, 1, l2gpa),
                      entry + dice(3) * UINT64_C(0x1000) + (dice(2) ? A | D : 0));
        break;
    }
    note(world);
}

static void l1_invalidates(struct world *world, uint32_t key)
{
    if (dice(4) != 0) {
        nvi_mmu_invalidate(&world->mmu, table_of(key, 4, 0) | 0x1e);
        forget(key);
    } else {
        nvi_mmu_invalidate_all(&world->mmu);
        for (key = 0; key < KEYS; key++)
            forget(key);
    }
    note(world);
}

/* ---- the host ---- */

static uint64_t host_of(struct world *world, uint64_t l1gpa, uint32_t *rights, uint8_t *type)
{
    struct nvirt_translation t;

    *rights = 0;
    if (nvirt_port_translate(world->port, nvirt_l1gpa_make(l1gpa), 0, &t) != NVIRT_OK)
        return 0;
    *rights = t.rights;
    *type = t.memory_type;
    return t.hpa.value;
}

/* Half of the changes are told with the range they are for, half show in the port's sequence. */
static void host_moves(struct world *world)
{
    uint32_t i = 2 + dice(TARGETS);
    bool told = dice(2) == 0;

    if (told)
        assert_int_equal(nvirt_vm_change_begin(&world->vm,
                                               nvirt_l1gpa_make(world->port->region[i].start),
                                               world->port->region[i].bytes), NVIRT_OK);
    world->port->region[i].hpa = FAKE_VM_HPA_OFFSET + (dice(64) << 21) + NVIRT_BIT(38);
    world->port->region[i].rights = dice(5) == 0 ? NVIRT_ACCESS_READ : 7;
    world->port->region[i].absent = dice(9) == 0;
    if (told)
        assert_int_equal(nvirt_vm_change_end(&world->vm), NVIRT_OK);
    else
        fake_vm_invalidate(world->port);
}

/* ---- hardware ---- */

static void hardware_flush(const struct nvi_mmu_root *root, enum nvi_mmu_flush flush)
{
    uint32_t i;

    for (i = 0; i < TLB; i++) {
        if (flush == NVI_MMU_FLUSH_ALL ||
            (flush == NVI_MMU_FLUSH_ROOT && tlb[i].ep4ta == root->table.value))
            tlb[i].used = false;
    }
}

/* The last table on the way to @p l2gpa, for the paging-structure cache; 0 for a large leaf. */
static uint64_t last_table(struct world *world, uint64_t l2gpa)
{
    uint64_t table = world->root->table.value;
    unsigned level;

    for (level = 4; level > 1; level--) {
        const uint64_t *entries = nvirt_port_page_pointer(world->port, nvirt_hpa_make(table));
        uint64_t entry = entries[(l2gpa >> (12 + 9 * (level - 1))) & 511];

        if ((entry & LARGE) != 0)
            return 0;
        table = entry & NVIRT_BITS(51, 12);
    }
    return table;
}

/* @return true when hardware lets the access through; *hit says how. */
static bool hardware_access(struct world *world, uint64_t page, uint32_t access,
                            struct tlb_entry *hit)
{
    uint64_t ep4ta = world->root->table.value;
    struct hw_page walked;
    struct tlb_entry *entry;
    uint32_t i;

    for (i = 0; i < TLB; i++) {
        if (!tlb[i].used || tlb[i].ep4ta != ep4ta)
            continue;
        if (tlb[i].table != 0 && dice(4) == 0) {
            /* A cached table may be walked any time: it must be one still. */
            (void)nvirt_port_page_pointer(world->port, nvirt_hpa_make(tlb[i].table));
        }
        if (tlb[i].page != page)
            continue;
        if ((tlb[i].rights & access) == access) {
            *hit = tlb[i];
            return true;
        }
        /* A violation drops what was cached for the address. */
        tlb[i].used = false;
    }
    if (hardware(world, page, &walked) != HW_PAGE || (walked.rights & access) != access)
        return false;
    entry = &tlb[dice(TLB)];
    *entry = (struct tlb_entry){ .used = true, .ep4ta = ep4ta, .page = page, .hpa = walked.hpa,
                                 .table = last_table(world, page), .rights = walked.rights,
                                 .type = walked.type };
    *hit = *entry;
    return true;
}

static bool is_sound(struct world *world, uint32_t key, uint32_t page, const struct tlb_entry *hit)
{
    const struct history *h = &history[key][page];
    uint32_t i;

    for (i = 0; i < h->count; i++) {
        uint32_t rights;
        uint8_t type = 0;
        uint64_t hpa = host_of(world, h->past[i].l1gpa, &rights, &type);

        if (rights != 0 && hpa == hit->hpa &&
            (hit->rights & ~(h->past[i].rights & rights)) == 0 &&
            hit->type == nvi_mmu_memory_type(h->past[i].type, type))
            return true;
    }
    return false;
}

static void l2_accesses(struct world *world, uint32_t key)
{
    uint32_t page = dice(PAGES), access = 1u << dice(3), faults;
    struct tlb_entry hit;

    world->key = nvi_ept_key(table_of(key, 4, 0) | 6 | 3 << 3 | (with_ad ? EPTP_AD : 0));
    assert_int_equal(nvi_ept_root(&world->mmu, &world->key, &world->root), NVIRT_OK);
    for (faults = 0; faults < 8; faults++) {
        enum nvi_mmu_flush flush = nvi_mmu_enter(&world->mmu, world->root, 0);
        enum nvi_fault result;
        struct past now;
        uint32_t rights;
        uint8_t type;

        hardware_flush(world->root, flush);
        nvi_mmu_flushed(&world->mmu, world->root, 0, flush);
        if (hardware_access(world, l2_page[page], access, &hit)) {
            assert_true(is_sound(world, key, page, &hit));
            return;
        }
        if (dice(40) == 0)
            world->port->move_on_translate = 1;
        result = fault(world, access, l2_page[page]);
        note(world);
        (void)spec(world, key, l2_page[page], &now);
        (void)host_of(world, now.l1gpa, &rights, &type);
        if (result == NVI_FAULT_REFLECT) {
            assert_int_equal(access & now.rights, 0);
            assert_int_equal(world->verdict.qualification, access | now.rights << 3);
            return;
        }
        assert_int_not_equal(access & now.rights, 0);
        if (result == NVI_FAULT_HOST) {
            /* Execute-only on the host's side of a readable page is the host's loss, too. */
            assert_int_equal(access & rights, 0);
            return;
        }
        assert_true(result == NVI_FAULT_INSTALLED || result == NVI_FAULT_RETRY);
    }
    fail_msg("no progress after %u faults", faults);
}

static void pages_add_up(struct world *world)
{
    struct mmu_audit audit;

    mmu_audit(&world->mmu, &audit);
    assert_int_equal(audit.pages, world->port->pool_used);
    assert_int_equal(audit.pages, world->vm.pages_in_use);
}

static void play(struct world *world, uint64_t seed)
{
    uint32_t step, key = 0, i;

    world->vm.magic = NVI_VM_MAGIC;
    nvi_mmu_attach(&world->mmu, 0);

    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    memset(tlb, 0, sizeof tlb);
    memset(history, 0, sizeof history);
    for (i = 0; i < TARGETS; i++) {
        struct fake_region_l1 block = { .start = target[i], .bytes = SIZE_2M,
                                        .hpa = NVIRT_BIT(38) + i * SIZE_2M, .block = SIZE_2M,
                                        .rights = 7, .memory_type = NVIRT_MEMORY_WB };

        fake_vm_region(world->port, &block);
    }
    for (key = 0; key < KEYS; key++) {
        for (i = 0; i < PAGES; i++) {
            fake_vm_put64(world->port, slot_of(key, 4, l2_page[i]), table_of(key, 3, 0) | RWX);
            fake_vm_put64(world->port, slot_of(key, 3, l2_page[i]),
                          table_of(key, 2, l2_page[i]) | RWX);
        }
    }
    key = 0;
    for (step = 0; step < STEPS; step++) {
        switch (dice(32)) {
        case 0:
            l1_invalidates(world, key);
            break;
        case 1:
            key = dice(KEYS);
            break;
        case 2:
            if (dice(4) == 0)
                host_moves(world);
            break;
        case 3: /* 24 pages hold three roots and one way down, barely. */
            world->vm.page_budget = 24 + dice(40);
            break;
        case 4:
        case 5:
        case 6:
        case 7:
            l1_edits(world);
            /* The history of a root has room for so much: invalidate before it is full. */
            for (i = 0; i < KEYS * PAGES; i++) {
                if (history[i / PAGES][i % PAGES].count > PAST - 8)
                    l1_invalidates(world, i / PAGES);
            }
            break;
        default:
            l2_accesses(world, key);
            break;
        }
        if (step % 16 == 0)
            pages_add_up(world);
    }
}

static void histories_without_ad(void **state)
{
    with_ad = false;
    play(*state, 1);
    assert_true(((struct world *)*state)->stats.shadow_reclaimed > 0);
}

static void histories_with_ad(void **state)
{
    with_ad = true;
    play(*state, 2);
}

/* Fewer slots than roots: recycling goes on all the time. */
static void histories_with_two_slots(void **state)
{
    struct world *world = *state;

    with_ad = true;
    assert_int_equal(nvi_mmu_init(&world->mmu, &world->vm, &world->stats, world->roots, 2),
                     NVIRT_OK);
    play(world, 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(histories_without_ad),
        TEST(histories_with_ad),
        TEST(histories_with_two_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
