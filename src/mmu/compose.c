/* SPDX-License-Identifier: MIT */
/*
 * The host's half of a composed entry: where an L1 page really is, how big a leaf may be, and what
 * memory type results.
 */
#include "mmu/mmu.h"

#define SIZE_2M NVIRT_BIT(21)
#define SIZE_1G NVIRT_BIT(30)

/*
 * True when a leaf of @p size fits L1's page, the host's block, and both addresses. The port
 * promises alignment; a leaf that trusted a broken promise would map another guest's memory.
 */
static bool leaf_fits(uint64_t size, uint64_t l1_size, const struct nvirt_translation *host,
                      nvirt_l1gpa l1gpa)
{
    return l1_size >= size && host->size >= size &&
           ((host->hpa.value ^ l1gpa.value) & (size - 1)) == 0;
}

enum nvi_fault nvi_mmu_translate(struct nvi_mmu *mmu, nvirt_l1gpa l1gpa, uint64_t size,
                                 uint32_t max_level, uint32_t access,
                                 struct nvirt_translation *out, uint32_t *level, uint64_t *changes)
{
    uint64_t leaf = NVIRT_PAGE_SIZE;
    enum nvirt_status status;

    /* The count first: whatever begins after it is noticed at the installation. */
    *changes = nvi_mmu_host_changes(mmu->vm);
    if (nvi_mmu_host_changing(mmu->vm, l1gpa))
        return NVI_FAULT_RETRY;
    status = nvirt_port_translate(mmu->vm->port, l1gpa, access, out);
    if (status == NVIRT_ERR_RETRY)
        return NVI_FAULT_RETRY;
    if (status != NVIRT_OK || (out->rights & access) != access)
        return NVI_FAULT_HOST;
    *level = 1;
    if (max_level >= 2 && leaf_fits(SIZE_2M, size, out, l1gpa)) {
        *level = 2;
        leaf = SIZE_2M;
    }
    if (max_level >= 3 && leaf_fits(SIZE_1G, size, out, l1gpa)) {
        *level = 3;
        leaf = SIZE_1G;
    }
    out->hpa = nvirt_hpa_make(out->hpa.value & ~(leaf - 1) & NVI_MMU_ADDRESS);
    return NVI_FAULT_INSTALLED;
}

uint8_t nvi_mmu_memory_type(uint8_t l1, uint8_t host)
{
    if (l1 == host || host == NVIRT_MEMORY_WB)
        return l1;
    return l1 == NVIRT_MEMORY_WB ? host : (uint8_t)NVIRT_MEMORY_UC;
}
