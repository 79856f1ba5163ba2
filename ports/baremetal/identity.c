/* SPDX-License-Identifier: MIT */
/*
 * Extension of the identity map (identity.h). rt's PML4 has one entry, whose PDPT has room for
 * 512 GiB.
 */
#include "identity.h"

#include "rt.h"

#define ENTRY_PRESENT_WRITE UINT64_C(3)
#define ENTRY_LARGE (UINT64_C(1) << 7)
#define ENTRY_ADDRESS UINT64_C(0x000ffffffffff000)
#define GIB (UINT64_C(1) << 30)
#define RT_GIB 4u
#define CPUID_EDX_1G (1u << 26)

static bool fill_directory(struct bm_pool *pool, uint64_t base, uint64_t *entry)
{
    uint64_t page;
    uint64_t *directory;

    if (!bm_pool_alloc(pool, &page))
        return false;
    directory = (uint64_t *)page;
    for (uint64_t i = 0; i < 512; i++)
        directory[i] = (base + (i << 21)) | ENTRY_LARGE | ENTRY_PRESENT_WRITE;
    *entry = page | ENTRY_PRESENT_WRITE;
    return true;
}

uint64_t bm_identity_extend(struct bm_pool *pool, uint64_t top)
{
    const uint64_t *pml4 = (const uint64_t *)rt_page_root();
    uint64_t *pdpt = (uint64_t *)(pml4[0] & ENTRY_ADDRESS);
    bool has_1g = (rt_cpuid(0x80000001u, 0).edx & CPUID_EDX_1G) != 0;
    uint64_t i = RT_GIB;

    for (; i < 512 && i * GIB < top; i++) {
        if (has_1g)
            pdpt[i] = (i * GIB) | ENTRY_LARGE | ENTRY_PRESENT_WRITE;
        else if (!fill_directory(pool, i * GIB, &pdpt[i]))
            break;
    }
    /* Entries went from absent to present only: nothing to flush. */
    return i * GIB;
}
