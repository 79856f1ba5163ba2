/* SPDX-License-Identifier: MIT */
/*
 * Looks at everything an engine of shadow tables holds and says whether it hangs together:
 *
 *  - hardware's link leads to the child that the shadow tree has there, and only to tables of the
 *    root's present generation;
 *  - every child knows its parent and belongs to its root; every table is in the order of last use
 *    once, but for top tables and heads of orphaned subtrees;
 *  - every leaf is in the list of the reverse map that belongs to what it maps, once, and nothing
 *    else is in any list;
 *  - an absent entry holds no address;
 *  - the pages held are those counted.
 *
 * Aborts with a message where not.
 */
#ifndef MMU_AUDIT_H
#define MMU_AUDIT_H

#include "mmu/mmu.h"

/** What was found. */
struct mmu_audit {
    uint32_t tables;   /**< Shadow tables in trees. */
    uint32_t orphans;  /**< Shadow tables taken out, not dissolved yet. */
    uint32_t linked;   /**< Tables that hardware can reach from the roots in use. */
    uint32_t leaves;
    uint32_t pages;    /**< All, limbo included. */
    uint32_t limbo;    /**< Pages in limbo. */
};

void mmu_audit(struct nvi_mmu *mmu, struct mmu_audit *found);

#endif
