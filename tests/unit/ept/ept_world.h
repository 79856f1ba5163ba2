/* SPDX-License-Identifier: MIT */
/*
 * The world of EPT's tests: a fake host, a VM, one vCPU's engine, and an L1 that builds EPT12.
 */
#ifndef EPT_WORLD_H
#define EPT_WORLD_H

#include "ept/ept.h"
#include "fake_port.h"
#include "hw_tables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROOTS 4u
/* EPT12: level n in its own page below this one, the top one at it. */
#define EPT12 UINT64_C(0x10000)
#define EPTP_4 (EPT12 | 6 | (3 << 3))
#define EPTP_5 (EPT12 | 6 | (4 << 3))
#define EPTP_AD NVIRT_BIT(6)
/* L1 has memory as far as its physical width goes, except here. */
#define HOLE (NVIRT_BIT(39) + NVIRT_BIT(30))
#define R UINT64_C(1)
#define W UINT64_C(2)
#define X UINT64_C(4)
#define RWX UINT64_C(7)
#define WB (UINT64_C(6) << 3)
#define UC UINT64_C(0)
#define IPAT NVIRT_BIT(6)
#define LARGE NVIRT_BIT(7)
#define A NVIRT_BIT(8)
#define D NVIRT_BIT(9)
#define SIZE_2M UINT64_C(0x200000)
#define SIZE_1G UINT64_C(0x40000000)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_vm vm;
    struct nvirt_stats stats;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[ROOTS];
    struct nvi_ept_config config;
    struct nvi_mmu_key key;
    struct nvi_mmu_root *root;
    struct nvi_ept_verdict verdict;
    struct nvi_ept_log *log; /* L1's, if it has one. */
    struct nvi_ept_out out;
};

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
    world.config = (struct nvi_ept_config){ .physical_bits = 40,
                                            .execute_only = true,
                                            .page_2m = true,
                                            .page_1g = true,
                                            .cpu_2m = true,
                                            .cpu_1g = true,
                                            .cpu_wb = true };
    world.key = nvi_ept_key(EPTP_4);
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
    return world->key.table + (levels(world) - level) * UINT64_C(0x1000) +
           ((l2gpa >> (12 + 9 * (level - 1))) & 0x1ff) * 8;
}

static inline void put(struct world *world, unsigned level, uint64_t l2gpa, uint64_t entry)
{
    fake_vm_put64(world->port, slot(world, level, l2gpa), entry);
}

static inline uint64_t get(struct world *world, unsigned level, uint64_t l2gpa)
{
    return fake_vm_get64(world->port, slot(world, level, l2gpa));
}

static inline uint64_t link(const struct world *world, unsigned level)
{
    return (slot(world, level - 1, 0) & ~UINT64_C(0xfff)) | RWX;
}

/* EPT12 maps @p l2gpa at @p level with the entry @p leaf; above it everything is allowed. */
static inline void map(struct world *world, unsigned level, uint64_t l2gpa, uint64_t leaf)
{
    unsigned i;

    for (i = levels(world); i > level; i--)
        put(world, i, l2gpa, link(world, i));
    put(world, level, l2gpa, leaf | (level > 1 ? LARGE : 0));
}

/* Does what an entry does: the root for the key, emptied if stale, flushed as asked. */
static inline enum nvi_mmu_flush run(struct world *world)
{
    enum nvi_mmu_flush flush;

    assert_int_equal(nvi_ept_root(&world->mmu, &world->key, &world->root), NVIRT_OK);
    flush = nvi_mmu_enter(&world->mmu, world->root, 0);
    nvi_mmu_flushed(&world->mmu, world->root, 0, flush);
    return flush;
}

static inline enum nvi_fault fault(struct world *world, uint64_t qualification, uint64_t l2gpa)
{
    return nvi_ept_fault(&world->mmu, world->root, &world->config, qualification,
                         nvirt_l2gpa_make(l2gpa), world->log, &world->verdict);
}

/* What hardware finds in EPT02. */
static inline enum hw_result hardware(struct world *world, uint64_t l2gpa, struct hw_page *page)
{
    if ((world->key.role & NVI_ROLE_MODE_EXECUTE) != 0)
        return hw_ept_walk_mode(world->port, nvi_ept_eptp02(&world->config, world->root), l2gpa,
                                page);
    return hw_ept_walk(world->port, nvi_ept_eptp02(&world->config, world->root), l2gpa, page);
}

static inline enum nvi_ept_result walk(struct world *world, uint64_t l2gpa, uint32_t access)
{
    return nvi_ept_walk(&world->vm, &world->config, &world->key, nvirt_l2gpa_make(l2gpa), access,
                        world->log, &world->out);
}

#endif
