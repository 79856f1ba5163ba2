/* SPDX-License-Identifier: MIT */
/*
 * The world of NPT's tests: a fake host, a VM, one vCPU's engine, and an L1 that builds NPT12 in
 * any of its paging modes.
 */
#ifndef NPT_WORLD_H
#define NPT_WORLD_H

#include "fake_port.h"
#include "hw_tables.h"
#include "npt/npt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROOTS 4u
#define NCR3 UINT64_C(0x10000)
#define P UINT64_C(1)
#define W UINT64_C(2)
#define U UINT64_C(4)
#define PWT UINT64_C(8)
#define PCD UINT64_C(16)
#define A UINT64_C(32)
#define D UINT64_C(64)
#define LARGE UINT64_C(128)
#define NX NVIRT_BIT(63)
#define ALL (P | W | U)
#define SIZE_2M UINT64_C(0x200000)
#define SIZE_4M UINT64_C(0x400000)
#define SIZE_1G UINT64_C(0x40000000)
/* L1 has memory as far as its physical width goes, except here. */
#define HOLE (NVIRT_BIT(39) + NVIRT_BIT(30))

#define CR0_PG NVIRT_BIT(31)
#define CR4_PSE NVIRT_BIT(4)
#define CR4_PAE NVIRT_BIT(5)
#define CR4_LA57 NVIRT_BIT(12)
#define EFER_LMA NVIRT_BIT(10)
#define EFER_NXE NVIRT_BIT(11)
/* The PAT after reset: WB WT UC- UC twice. */
#define PAT_RESET UINT64_C(0x0007040600070406)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_vm vm;
    struct nvirt_stats stats;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[ROOTS];
    struct nvi_npt_config config;
    struct nvi_npt_mode mode;
    struct nvi_mmu_key key;
    struct nvi_mmu_root *root;
    struct nvi_npt_verdict verdict;
    struct nvi_npt_out out;
};

/* L1's mode by number of levels, as its control registers say it. */
static inline void set_mode(struct world *world, unsigned levels)
{
    world->mode.cr0 = CR0_PG;
    world->mode.cr4 = CR4_PSE | (levels > 2 ? CR4_PAE : 0) | (levels == 5 ? CR4_LA57 : 0);
    world->mode.efer = EFER_NXE | (levels > 3 ? EFER_LMA : 0);
    world->key = nvi_npt_key(&world->mode);
}

static inline int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof world);
    world.port = fake_vm_new();
    fake_vm_ram(world.port, 0, NVIRT_BIT(40));
    fake_vm_hole(world.port, HOLE, 0x1000000);
    world.vm.port = world.port;
    world.vm.page_budget = 1000;
    world.vm.physical_bits = 40;
    assert_int_equal(nvi_mmu_init(&world.mmu, &world.vm, &world.stats, world.roots, ROOTS),
                     NVIRT_OK);
    world.config = (struct nvi_npt_config){ .physical_bits = 40,
                                            .page_1g = true,
                                            .pse36 = true,
                                            .cpu_1g = true,
                                            .cpu_pat = PAT_RESET };
    world.mode.ncr3 = NCR3;
    world.mode.pat = PAT_RESET;
    set_mode(&world, 4);
    *state = &world;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *world = *state;

    nvi_mmu_destroy(&world->mmu);
    assert_int_equal(world->vm.pages_in_use, 0);
    fake_vm_delete(world->port);
    return 0;
}

static inline unsigned levels(const struct world *world)
{
    return (unsigned)(world->key.role & NVI_ROLE_LEVELS);
}

static inline uint64_t slot(const struct world *world, unsigned level, uint64_t l2gpa)
{
    uint64_t table = (world->key.table & ~UINT64_C(0xfff)) +
                     (levels(world) - level) * UINT64_C(0x1000);

    if (levels(world) == 2)
        return table + ((l2gpa >> (12 + 10 * (level - 1))) & 0x3ff) * 4;
    if (levels(world) == 3 && level == 3)
        return world->key.table + ((l2gpa >> 30) & 3) * 8;
    return table + ((l2gpa >> (12 + 9 * (level - 1))) & 0x1ff) * 8;
}

static inline void put(struct world *world, unsigned level, uint64_t l2gpa, uint64_t entry)
{
    if (levels(world) == 2)
        fake_vm_put32(world->port, slot(world, level, l2gpa), (uint32_t)entry);
    else
        fake_vm_put64(world->port, slot(world, level, l2gpa), entry);
}

static inline uint64_t get(struct world *world, unsigned level, uint64_t l2gpa)
{
    if (levels(world) == 2)
        return fake_vm_get32(world->port, slot(world, level, l2gpa));
    return fake_vm_get64(world->port, slot(world, level, l2gpa));
}

/* NPT12 maps @p l2gpa at @p level with @p leaf; above it everything is allowed. */
static inline void map(struct world *world, unsigned level, uint64_t l2gpa, uint64_t leaf)
{
    unsigned i;

    for (i = levels(world); i > level; i--) {
        uint64_t rights = levels(world) == 3 && i == 3 ? P : ALL;

        put(world, i, l2gpa,
            (world->key.table & ~UINT64_C(0xfff)) +
                (levels(world) - (i - 1)) * UINT64_C(0x1000) + rights);
    }
    put(world, level, l2gpa, leaf | (level > 1 ? LARGE : 0));
}

/* Does what an entry does: the root for the key, emptied if stale, flushed as asked. */
static inline enum nvi_mmu_flush run(struct world *world)
{
    enum nvi_mmu_flush flush;

    assert_int_equal(nvi_npt_root(&world->mmu, &world->key, &world->root), NVIRT_OK);
    flush = nvi_mmu_enter(&world->mmu, world->root, 0);
    nvi_mmu_flushed(&world->mmu, world->root, 0, flush);
    return flush;
}

static inline enum nvi_fault fault(struct world *world, uint64_t info1, uint64_t l2gpa)
{
    return nvi_npt_fault(&world->mmu, world->root, &world->config, info1, nvirt_l2gpa_make(l2gpa),
                         &world->verdict);
}

/* What hardware finds in NPT02. */
static inline enum hw_result hardware(struct world *world, uint64_t l2gpa, struct hw_page *page)
{
    return hw_npt_walk(world->port, world->root->table.value, l2gpa, page);
}

static inline enum nvi_paging_result walk(struct world *world, uint64_t l2gpa, uint32_t access)
{
    return nvi_npt_walk(&world->vm, &world->config, &world->key, nvirt_l2gpa_make(l2gpa), access,
                        &world->out);
}

#endif
