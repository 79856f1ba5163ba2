/* SPDX-License-Identifier: MIT */
/*
 * Sub-page write permissions: L1's table of them (SPPT12) walked, and what hardware is given of it
 * (SPPT02). Where the leaf is one that hardware may decide by, it finds a vector for its page in
 * SPPT02, or exits for want of one.
 *
 * A vector says which of the 32 parts of a page may be written: bit 2n for part n. Bits between are
 * reserved, and a vector that has any is told to hardware as one that has a reserved bit and no other,
 * so that none of L1's ever reaches it.
 *
 * [SDM 3C "Sub-Page Write Permissions"]
 */
#include "ept/ept.h"

#define TOP_LEVEL 4u
#define VECTORS 512u
#define SUBPAGE_SHIFT 7u

#define ENTRY_VALID NVIRT_BIT(0)
#define ENTRY_ADDRESS NVIRT_BITS(51, 12)
#define ENTRY_RESERVED (NVIRT_BITS(63, 52) | NVIRT_BITS(11, 1))
#define VECTOR_RESERVED UINT64_C(0xAAAAAAAAAAAAAAAA)
#define VECTOR_BAD NVIRT_BIT(1)

/* What a walk found. */
struct found {
    enum nvi_subpage result; /* MISS, MISCONFIG; ALLOWED: there is a vector that means something. */
    bool has_vector;         /* The walk came to level 1: */
    nvirt_l1gpa table;
    uint64_t vector;
};

/* What hardware is told of a vector of L1's. */
static uint64_t told(uint64_t vector)
{
    return (vector & VECTOR_RESERVED) == 0 ? vector : VECTOR_BAD;
}

static nvirt_l1gpa entry_at(uint64_t table, nvirt_l2gpa l2gpa, uint32_t level)
{
    uint64_t index = l2gpa.value >> (NVIRT_PAGE_SHIFT + 9 * (level - 1)) & (VECTORS - 1);

    return nvirt_l1gpa_make(table + index * sizeof(uint64_t));
}

static uint64_t read_entry(struct nvirt_vm *vm, nvirt_l1gpa address)
{
    uint64_t value = 0;

    /* Nothing answers there: all ones, of which some are reserved at every level. */
    if (nvirt_port_l1_read(vm->port, address, &value, sizeof value) != NVIRT_OK)
        return ~UINT64_C(0);
    return value;
}

/* [SDM 3C "Determining an Access's Sub-Page Write Permission"] */
static struct found walk(struct nvirt_vm *vm, const struct nvi_ept_config *config,
                         const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa)
{
    const uint64_t reserved =
        ENTRY_RESERVED |
        (config->physical_bits < 52 ? NVIRT_BITS(51, config->physical_bits) : 0);
    struct found found = { .result = NVI_SUBPAGE_MISS };
    uint64_t table = key->role & ENTRY_ADDRESS;

    for (uint32_t level = TOP_LEVEL; level > 1; level--) {
        uint64_t entry = read_entry(vm, entry_at(table, l2gpa, level));

        if ((entry & ENTRY_VALID) == 0)
            return found;
        if ((entry & reserved) != 0) {
            found.result = NVI_SUBPAGE_MISCONFIG;
            return found;
        }
        table = entry & ENTRY_ADDRESS;
    }
    found.has_vector = true;
    found.table = nvirt_l1gpa_make(table);
    found.vector = read_entry(vm, entry_at(table, l2gpa, 1));
    found.result = (found.vector & VECTOR_RESERVED) == 0 ? NVI_SUBPAGE_ALLOWED
                                                         : NVI_SUBPAGE_MISCONFIG;
    return found;
}

enum nvi_subpage nvi_ept_subpage(struct nvirt_vm *vm, const struct nvi_ept_config *config,
                                 const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa, uint64_t bytes)
{
    struct found found = walk(vm, config, key, l2gpa);
    uint64_t first = (l2gpa.value & (NVIRT_PAGE_SIZE - 1)) >> SUBPAGE_SHIFT;
    uint64_t last = ((l2gpa.value & (NVIRT_PAGE_SIZE - 1)) + (bytes - 1)) >> SUBPAGE_SHIFT;

    for (uint64_t part = first; found.result == NVI_SUBPAGE_ALLOWED && part <= last; part++) {
        if ((found.vector >> (2 * part) & 1) == 0)
            found.result = NVI_SUBPAGE_DENIED;
    }
    return found.result;
}

bool nvi_ept_subpage_renew(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                           const struct nvi_ept_config *config, nvirt_l2gpa l2gpa)
{
    const uint64_t *vector = nvi_mmu_subpage_vector(mmu, root, l2gpa);
    struct found found;

    /* Without one, hardware would have told so, had it wanted one. */
    if (vector == NULL)
        return false;
    found = walk(mmu->vm, config, &root->key, l2gpa);
    if (!found.has_vector) {
        nvi_mmu_subpage_forget(mmu, root, l2gpa);
        return true;
    }
    if (*vector == told(found.vector))
        return false;
    nvi_mmu_subpage_change(mmu, root, l2gpa, told(found.vector));
    return true;
}

/* All vectors of L1's @p table. */
static enum nvi_fault copy(struct nvi_mmu *mmu, struct nvi_mmu_root *root, nvirt_l2gpa l2gpa,
                           nvirt_l1gpa table)
{
    enum nvi_fault fault;
    nvirt_hpa page;
    uint64_t *vectors = nvi_mmu_subpage_table(mmu, root, l2gpa, &page, &fault);

    if (vectors == NULL)
        return fault;
    for (uint32_t i = 0; i < VECTORS; i++) {
        nvirt_l1gpa place = nvirt_l1gpa_make(table.value + i * sizeof(uint64_t));

        vectors[i] = told(read_entry(mmu->vm, place));
    }
    return nvi_mmu_subpage_link(mmu, root, l2gpa, page);
}

enum nvi_fault nvi_ept_subpage_load(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                    const struct nvi_ept_config *config, nvirt_l2gpa l2gpa,
                                    struct nvi_ept_verdict *verdict)
{
    struct found found = walk(mmu->vm, config, &root->key, l2gpa);

    if (found.result != NVI_SUBPAGE_ALLOWED) {
        mmu->stats->shadow_reflected++;
        verdict->qualification = nvi_ept_subpage_qualification(found.result);
        return NVI_FAULT_REFLECT_SUBPAGE;
    }
    if (nvi_mmu_subpage_vector(mmu, root, l2gpa) == NULL)
        return copy(mmu, root, l2gpa, found.table);
    nvi_mmu_subpage_change(mmu, root, l2gpa, found.vector);
    return NVI_FAULT_RETRY;
}
