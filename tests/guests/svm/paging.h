/* SPDX-License-Identifier: MIT */
/*
 * Page tables of the SVM test hypervisor: for itself, for an L2 with its own CR3, and nested ones.
 * All are identity maps of the first 4 GiB whose single entries a test then bends.
 */
#ifndef SVM_TEST_PAGING_H
#define SVM_TEST_PAGING_H

#include <stdint.h>

/* A zeroed page; pages taken after pages_mark() come back with pages_release(). */
void *page_get(void);
unsigned int pages_mark(void);
void pages_release(unsigned int mark);

/* Long-mode identity map of 4 GiB in 2 MiB pages, each level's entries with these flags. */
uint64_t *pt_identity(uint64_t flags);

/* The entry for an address at a level (1 = 4 KiB); large pages above it are split. */
uint64_t *pt_entry(uint64_t *root, uint64_t addr, unsigned int level);

/* 32-bit identity map (two levels, 4 MiB pages) and PAE identity map (2 MiB pages). */
uint32_t *pt_identity_legacy(uint32_t flags);
uint64_t *pt_identity_pae(uint64_t flags);

static inline uint64_t pa(const volatile void *p)
{
    return (uint64_t)(uintptr_t)p;
}

#endif
