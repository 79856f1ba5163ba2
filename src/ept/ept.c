/* SPDX-License-Identifier: MIT */
/*
 * EPT02: its roots, its EPTP, and what a violation of L2 on it means.
 */
#include "ept/ept.h"

/* Bits of an EPTP and of EPT02's entries. */
#define EPTP_WB UINT64_C(6)
#define EPTP_LEVELS_SHIFT 3u
#define EPTP_AD NVIRT_BIT(6)
#define LEAF_TYPE_SHIFT 3u
#define LEAF_IPAT NVIRT_BIT(6)
#define ENTRY_A NVIRT_BIT(8)
#define ENTRY_D NVIRT_BIT(9)
#define RIGHTS_ALL (NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE)

struct nvi_mmu_key nvi_ept_key(uint64_t eptp12)
{
    struct nvi_mmu_key key = { .table = eptp12 & NVI_MMU_ADDRESS };

    /* The check of the EPTP left walk lengths 3 and 4 (levels less one); all else reads as four
     * levels, so that no value can index a walk out of bounds. */
    key.role = (eptp12 >> EPTP_LEVELS_SHIFT & 7) == 4 ? 5 : 4;
    if ((eptp12 & EPTP_AD) != 0)
        key.role |= NVI_ROLE_AD;
    return key;
}

struct nvi_mmu_key nvi_ept_direct_key(uint64_t apart)
{
    struct nvi_mmu_key key = { .table = apart, .role = NVI_ROLE_DIRECT | 4 };

    return key;
}

enum nvirt_status nvi_ept_root(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                               struct nvi_mmu_root **root)
{
    uint8_t levels = (uint8_t)(key->role & NVI_ROLE_LEVELS);

    /* All rights in links: the leaf alone decides. A in links spares hardware the locked update;
     * without A/D in the EPTP the bit is ignored. */
    return nvi_mmu_root_get(mmu, key, levels, RIGHTS_ALL | ENTRY_A, root);
}

uint64_t nvi_ept_eptp02(const struct nvi_ept_config *config, const struct nvi_mmu_root *root)
{
    uint64_t eptp = root->table.value | (uint64_t)(root->levels - 1u) << EPTP_LEVELS_SHIFT;

    if (config->cpu_wb)
        eptp |= EPTP_WB;
    if ((root->key.role & NVI_ROLE_AD) != 0)
        eptp |= EPTP_AD;
    return eptp;
}

/*
 * What L2 attempted. Accesses to L2's page tables under A/D count as writes besides reads
 * [SDM 3C "Accessed and Dirty Flags for EPT"]; a CPU model that then reports neither is believed
 * to have meant that.
 */
static uint32_t attempted(const struct nvi_mmu_root *root, uint64_t *qualification)
{
    if ((*qualification & RIGHTS_ALL) == 0) {
        *qualification |= NVI_EPT_QUAL_READ;
        if ((root->key.role & NVI_ROLE_AD) != 0 && (*qualification & NVI_EPT_QUAL_LINEAR) != 0 &&
            (*qualification & NVI_EPT_QUAL_FINAL) == 0)
            *qualification |= NVI_EPT_QUAL_WRITE;
    }
    return (uint32_t)(*qualification & RIGHTS_ALL);
}

/*
 * Qualification for L1: what was tried and which address it was for come from hardware, the rights
 * from EPT12; bits of features not offered stay 0.
 */
static uint64_t reflected(uint64_t qualification, uint32_t rights)
{
    uint64_t kept = qualification & (RIGHTS_ALL | NVI_EPT_QUAL_LINEAR);

    if ((kept & NVI_EPT_QUAL_LINEAR) != 0)
        kept |= qualification & NVI_EPT_QUAL_FINAL;
    return kept | (uint64_t)rights << NVI_EPT_QUAL_RIGHTS_SHIFT;
}

/*
 * Rights that hardware may be given: those both sides grant. No write before L1's dirty flag is
 * set, and no combination that EPT02 could not hold, whatever the host granted.
 */
static uint32_t composed_rights(const struct nvi_ept_config *config, const struct nvi_ept_out *walk,
                                uint32_t host)
{
    uint32_t rights = walk->rights & host;

    if (!walk->dirty)
        rights &= ~NVIRT_ACCESS_WRITE;
    if ((rights & NVIRT_ACCESS_READ) == 0)
        rights &= config->execute_only ? NVIRT_ACCESS_EXECUTE : 0u;
    return rights;
}

static enum nvi_fault fill(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                           const struct nvi_ept_config *config, nvirt_l2gpa l2gpa, uint32_t access,
                           const struct nvi_ept_out *walk)
{
    uint32_t max_level = config->cpu_1g ? 3 : config->cpu_2m ? 2 : 1;
    struct nvi_mmu_leaf leaf = { .grants = RIGHTS_ALL | ENTRY_A | ENTRY_D };
    struct nvirt_translation host;
    enum nvi_fault result =
        nvi_mmu_translate(mmu, walk->l1gpa, walk->size, max_level, access, &host, &leaf.level);
    uint32_t rights;

    if (result != NVI_FAULT_INSTALLED)
        return result;
    rights = composed_rights(config, walk, host.rights);
    if ((rights & access) != access)
        return NVI_FAULT_HOST;
    leaf.sequence = host.sequence;
    leaf.entry = host.hpa.value | rights;
    leaf.entry |= (uint64_t)nvi_mmu_memory_type(walk->memory_type, host.memory_type)
                  << LEAF_TYPE_SHIFT;
    if (walk->ignore_pat)
        leaf.entry |= LEAF_IPAT;
    if (leaf.level > 1)
        leaf.entry |= NVI_MMU_LARGE;
    /* L1 keeps the real flags; these spare hardware the update. Ignored without A/D. */
    leaf.entry |= ENTRY_A;
    if ((rights & NVIRT_ACCESS_WRITE) != 0)
        leaf.entry |= ENTRY_D;
    return nvi_mmu_install(mmu, root, l2gpa, &leaf);
}

enum nvi_fault nvi_ept_fault(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                             const struct nvi_ept_config *config, uint64_t qualification,
                             nvirt_l2gpa l2gpa, struct nvi_ept_verdict *verdict)
{
    uint32_t access = attempted(root, &qualification);
    struct nvi_ept_out walk;

    verdict->qualification = 0;
    verdict->l1gpa = nvirt_l1gpa_make(0);
    switch (nvi_ept_walk(mmu->vm, config, &root->key, l2gpa, access, &walk)) {
    case NVI_EPT_OK:
        verdict->l1gpa = walk.l1gpa;
        return fill(mmu, root, config, l2gpa, access, &walk);
    case NVI_EPT_VIOLATION:
        /* L1 without EPT knows no violation: an address beyond a direct root is the host's. */
        verdict->l1gpa = nvirt_l1gpa_make(l2gpa.value);
        if ((root->key.role & NVI_ROLE_DIRECT) != 0)
            return NVI_FAULT_HOST;
        mmu->stats->shadow_reflected++;
        verdict->qualification = reflected(qualification, walk.rights);
        return NVI_FAULT_REFLECT;
    case NVI_EPT_MISCONFIG:
        mmu->stats->shadow_reflected++;
        return NVI_FAULT_REFLECT_MISCONFIG;
    case NVI_EPT_RETRY:
        break;
    }
    return NVI_FAULT_RETRY;
}
