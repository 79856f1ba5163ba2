/* SPDX-License-Identifier: MIT */
/*
 * The world of the engine's tests: a fake host, a VM, one vCPU's engine with some roots, and leaves
 * in EPT's format (the engine does not care which).
 */
#ifndef MMU_WORLD_H
#define MMU_WORLD_H

#include "fake_port.h"
#include "hw_tables.h"
#include "mmu_audit.h"
#include "mmu/mmu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROOTS 4u
#define RWX UINT64_C(7)
#define LINK (RWX | NVIRT_BIT(8))
#define TYPE_WB (UINT64_C(6) << 3)
#define LARGE NVIRT_BIT(7)

struct world {
    struct nvirt_port_vm *port;
    struct nvirt_vm vm;
    struct nvirt_stats stats;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[ROOTS];
};

static inline int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof world);
    world.port = fake_vm_new();
    world.vm.port = world.port;
    world.vm.page_budget = 1000;
    world.vm.physical_bits = 46;
    world.vm.magic = NVI_VM_MAGIC;
    assert_int_equal(nvi_mmu_init(&world.mmu, &world.vm, &world.stats, world.roots, ROOTS),
                     NVIRT_OK);
    *state = &world;
    return 0;
}

/* All hangs together; and everything went back: no page is left anywhere. */
static inline int teardown(void **state)
{
    struct world *world = *state;
    struct mmu_audit audit;

    mmu_audit(&world->mmu, &audit);

    nvi_mmu_destroy(&world->mmu);
    assert_int_equal(world->vm.pages_in_use, 0);
    assert_int_equal(world->stats.shadow_pages, 0);
    fake_vm_delete(world->port);
    return 0;
}

/* A tree over L1's memory as it is: nothing of L1's is to be compared. */
static inline enum nvirt_status get(struct world *world, const struct nvi_mmu_key *key,
                                    struct nvi_mmu_root **root)
{
    const struct nvi_mmu_shape shape = { .link = LINK,
                                         .levels = (uint8_t)(key->role & NVI_ROLE_LEVELS),
                                         .kind = NVI_SHADOW_SPLIT };

    return nvi_mmu_root_get(&world->mmu, key, &shape, root);
}

static inline struct nvi_mmu_root *root_for(struct world *world, uint64_t table)
{
    struct nvi_mmu_key key = { .table = table, .role = 4 };
    struct nvi_mmu_root *root = NULL;

    assert_int_equal(get(world, &key, &root), NVIRT_OK);
    return root;
}

/* Tables that hardware reaches from @p root. */
static inline uint32_t tables(struct world *world, const struct nvi_mmu_root *root)
{
    return hw_table_pages(world->port, root->table.value, root->shape.levels);
}

/* All pages held, after an audit of what they hold. */
static inline uint32_t audited(struct world *world)
{
    struct mmu_audit audit;

    mmu_audit(&world->mmu, &audit);
    assert_int_equal(audit.pages, world->port->pool_used);
    assert_int_equal(audit.pages, world->vm.pages_in_use);
    return audit.pages;
}

/* Debt of a flush. */
static inline bool owes(const struct nvi_mmu_root *root)
{
    return root->changes != root->flushed;
}

/* Enters and does the flush that is asked for. */
static inline enum nvi_mmu_flush enter(struct world *world, struct nvi_mmu_root *root)
{
    enum nvi_mmu_flush flush = nvi_mmu_enter(&world->mmu, root, 0);

    nvi_mmu_flushed(&world->mmu, root, 0, flush);
    return flush;
}

static inline enum nvi_fault install(struct world *world, struct nvi_mmu_root *root, uint64_t l2gpa,
                                     uint64_t entry, uint32_t level)
{
    struct nvi_mmu_leaf leaf = { .entry = entry | (level > 1 ? LARGE : 0),
                                 .level = level,
                                 .l1gpa = nvirt_l1gpa_make(l2gpa),
                                 .changes = nvi_mmu_host_changes(&world->vm),
                                 .sequence = world->port->sequence,
                                 .grants = RWX | NVIRT_BIT(8) | NVIRT_BIT(9),
                                 .denies = NVIRT_BIT(63) };

    return nvi_mmu_install(&world->mmu, root, nvirt_l2gpa_make(l2gpa), &leaf);
}

/* What hardware finds with @p root; HW_PAGE or not present. */
static inline enum hw_result walk(struct world *world, const struct nvi_mmu_root *root,
                                  uint64_t l2gpa, struct hw_page *page)
{
    return hw_ept_walk(world->port, root->table.value | (uint64_t)(root->shape.levels - 1u) << 3, l2gpa,
                       page);
}

static inline void expect_page(struct world *world, const struct nvi_mmu_root *root, uint64_t l2gpa,
                               uint64_t hpa)
{
    struct hw_page page;

    assert_int_equal(walk(world, root, l2gpa, &page), HW_PAGE);
    assert_int_equal(page.hpa, hpa);
}

static inline void expect_absent(struct world *world, const struct nvi_mmu_root *root,
                                 uint64_t l2gpa)
{
    struct hw_page page;

    assert_int_equal(walk(world, root, l2gpa, &page), HW_NOT_PRESENT);
}

#endif
