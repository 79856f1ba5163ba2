/* SPDX-License-Identifier: MIT */
/*
 * Identity page tables out of a fixed pool: everything lies in the image, so that physical
 * addresses are the ones the linker gave and no memory map is needed.
 */
#include "paging.h"

#include "svm.h"
#include "t.h"

#define POOL_PAGES 512
#define ADDR_MASK 0x000ffffffffff000ull
#define GIB 0x40000000ull

static _Alignas(4096) uint8_t pool[POOL_PAGES][4096];
static unsigned int pool_used;

void *page_get(void)
{
    uint64_t *page;

    if (pool_used == POOL_PAGES) {
        t_fatal("out of pages", pool_used, 0, 0);
    }
    page = (uint64_t *)(void *)pool[pool_used++];
    for (unsigned int i = 0; i < 512; i++) {
        page[i] = 0;
    }
    return page;
}

unsigned int pages_mark(void)
{
    return pool_used;
}

void pages_release(unsigned int mark)
{
    pool_used = mark;
}

/* The local APIC's 2 MiB is uncached, as a real hypervisor would have it. */
static uint64_t memory_flags(uint64_t addr)
{
    return addr >= 0xfee00000u && addr < 0xff000000u ? PT_PCD | PT_PWT : 0;
}

uint64_t *pt_identity(uint64_t flags)
{
    uint64_t *top = page_get();
    uint64_t *pdpt = page_get();

    top[0] = pa(pdpt) | flags;
    for (unsigned int i = 0; i < 4; i++) {
        uint64_t *pd = page_get();

        pdpt[i] = pa(pd) | flags;
        for (unsigned int j = 0; j < 512; j++) {
            uint64_t addr = i * GIB + j * 0x200000ull;

            pd[j] = addr | flags | PT_PS | memory_flags(addr);
        }
    }
    return top;
}

static void split(uint64_t *entry, unsigned int level)
{
    uint64_t step = 1ull << (12 + 9 * (level - 2));
    uint64_t keep = *entry & ~ADDR_MASK & ~(level == 2 ? PT_PS : 0);
    uint64_t base = *entry & ADDR_MASK & ~(step * 512 - 1);
    uint64_t *table = page_get();

    for (unsigned int i = 0; i < 512; i++) {
        table[i] = (base + i * step) | keep;
    }
    *entry = pa(table) | (*entry & (PT_P | PT_W | PT_U));
}

uint64_t *pt_entry(uint64_t *root, uint64_t addr, unsigned int level)
{
    uint64_t *table = root;

    for (unsigned int l = 4;; l--) {
        uint64_t *entry = &table[(addr >> (12 + 9 * (l - 1))) & 511];

        if (l == level) {
            return entry;
        }
        if (*entry & PT_PS) {
            split(entry, l);
        }
        table = (uint64_t *)(uintptr_t)(*entry & ADDR_MASK);
    }
}

uint32_t *pt_identity_legacy(uint32_t flags)
{
    uint32_t *pd = page_get();

    for (uint32_t i = 0; i < 1024; i++) {
        pd[i] = (i << 22) | flags | (uint32_t)PT_PS;
    }
    return pd;
}

uint64_t *pt_identity_pae(uint64_t flags)
{
    uint64_t *pdpt = page_get();

    for (unsigned int i = 0; i < 4; i++) {
        uint64_t *pd = page_get();

        pdpt[i] = pa(pd) | PT_P;
        for (unsigned int j = 0; j < 512; j++) {
            pd[j] = (i * GIB + j * 0x200000ull) | flags | PT_PS;
        }
    }
    return pdpt;
}
