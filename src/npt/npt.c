/* SPDX-License-Identifier: MIT */
/*
 * NPT02: its roots, its entries, and what a nested page fault of L2 on it means.
 */
#include "npt/npt.h"

#define ENTRY_P NVIRT_BIT(0)
#define ENTRY_W NVIRT_BIT(1)
#define ENTRY_U NVIRT_BIT(2)
#define ENTRY_PWT NVIRT_BIT(3)
#define ENTRY_PCD NVIRT_BIT(4)
#define ENTRY_A NVIRT_BIT(5)
#define ENTRY_D NVIRT_BIT(6)
#define ENTRY_PAT_4K NVIRT_BIT(7)
#define ENTRY_PAT_LARGE NVIRT_BIT(12)
#define ENTRY_NX NVIRT_BIT(63)

/* PAT encodings beyond enum nvirt_memory_type. */
#define PAT_UC_MINUS 7u
#define PAT_ENTRIES 8u
#define NPT02_LEVELS 4u

/* Index in @p pat of a type; PAT_ENTRIES when it has none. */
static uint32_t pat_find(uint64_t pat, uint8_t type)
{
    uint32_t i = 0;

    while (i < PAT_ENTRIES && (pat >> (8 * i) & 7) != type)
        i++;
    return i;
}

bool nvi_npt_pat_is_usable(uint64_t cpu_pat)
{
    return pat_find(cpu_pat, NVIRT_MEMORY_WB) < PAT_ENTRIES &&
           (pat_find(cpu_pat, NVIRT_MEMORY_UC) < PAT_ENTRIES ||
            pat_find(cpu_pat, PAT_UC_MINUS) < PAT_ENTRIES);
}

/* Index in the CPU's PAT for @p type, or for a stricter one when the CPU's PAT has it not. */
static uint32_t pat_index(uint64_t cpu_pat, uint8_t type)
{
    uint32_t index = pat_find(cpu_pat, type);

    if (index == PAT_ENTRIES)
        index = pat_find(cpu_pat, NVIRT_MEMORY_UC);
    if (index == PAT_ENTRIES)
        index = pat_find(cpu_pat, PAT_UC_MINUS);
    return index & (PAT_ENTRIES - 1);
}

static uint64_t pat_bits(uint32_t index, uint32_t level)
{
    uint64_t bits = 0;

    if ((index & 1) != 0)
        bits |= ENTRY_PWT;
    if ((index & 2) != 0)
        bits |= ENTRY_PCD;
    if ((index & 4) != 0)
        bits |= level == 1 ? ENTRY_PAT_4K : ENTRY_PAT_LARGE;
    return bits;
}

/* What the top table is, four levels high, above tables of L1's with as many or fewer. */
static uint8_t top_kind(const struct nvi_mmu_key *key)
{
    if ((key->role & NVI_ROLE_DIRECT) != 0)
        return NVI_SHADOW_SPLIT;
    return (key->role & NVI_ROLE_LEVELS) >= NPT02_LEVELS ? NVI_SHADOW_TABLE : NVI_SHADOW_PLAIN;
}

enum nvirt_status nvi_npt_root(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                               struct nvi_mmu_root **root)
{
    /* Links allow all: the leaf alone decides. A spares hardware the locked update. */
    struct nvi_mmu_shape shape = { .link = ENTRY_P | ENTRY_W | ENTRY_U | ENTRY_A,
                                   .soft = ENTRY_A | ENTRY_D,
                                   .levels = NPT02_LEVELS };

    shape.kind = top_kind(key);
    shape.words_of_4 = (key->role & NVI_ROLE_LEVELS) == NVI_PAGING_32BIT;
    return nvi_mmu_root_get(mmu, key, &shape, root);
}

static uint32_t attempted(uint64_t info1)
{
    uint32_t access = NVIRT_ACCESS_READ;

    if ((info1 & NVI_PF_W) != 0)
        access |= NVIRT_ACCESS_WRITE;
    if ((info1 & NVI_PF_ID) != 0)
        access |= NVIRT_ACCESS_EXECUTE;
    return access;
}

static uint64_t leaf_entry(const struct nvi_npt_config *config, const struct nvi_npt_out *walk,
                           const struct nvirt_translation *host, uint32_t rights, uint32_t level)
{
    uint8_t type = nvi_mmu_memory_type(walk->memory_type, host->memory_type);
    uint64_t entry = host->hpa.value | ENTRY_P | ENTRY_U | ENTRY_A;

    if ((rights & NVIRT_ACCESS_WRITE) != 0)
        entry |= ENTRY_W | ENTRY_D;
    if ((rights & NVIRT_ACCESS_EXECUTE) == 0)
        entry |= ENTRY_NX;
    if (level > 1)
        entry |= NVI_MMU_LARGE;
    return entry | pat_bits(pat_index(config->cpu_pat, type), level);
}

static enum nvi_fault fill(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                           const struct nvi_npt_config *config, nvirt_l2gpa l2gpa, uint32_t access,
                           const struct nvi_npt_out *walk)
{
    struct nvi_mmu_leaf leaf = { .path = walk->path,
                                 .l1gpa = walk->l1gpa,
                                 .grants = NVI_MMU_PRESENT | ENTRY_A | ENTRY_D,
                                 .denies = ENTRY_NX };
    struct nvirt_translation host;
    uint32_t rights;
    enum nvi_fault result = nvi_mmu_translate(mmu, walk->l1gpa, walk->size,
                                              config->cpu_1g ? 3 : 2, access, &host, &leaf.level,
                                              &leaf.changes);

    if (result != NVI_FAULT_INSTALLED)
        return result;
    /* Clean pages stay write-protected: the write that dirties them has to fault. What is attempted
     * is granted by both sides here, reading always with it, as every present entry can be read. */
    rights = walk->rights & host.rights;
    if (!walk->dirty)
        rights &= ~NVIRT_ACCESS_WRITE;
    leaf.sequence = host.sequence;
    leaf.entry = leaf_entry(config, walk, &host, rights, leaf.level);
    return nvi_mmu_install(mmu, root, l2gpa, &leaf);
}

enum nvi_fault nvi_npt_fault(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                             const struct nvi_npt_config *config, uint64_t info1,
                             nvirt_l2gpa l2gpa, struct nvi_npt_verdict *verdict)
{
    uint32_t access = attempted(info1);
    struct nvi_npt_out walk;

    verdict->info1 = 0;
    verdict->l1gpa = nvirt_l1gpa_make(0);
    switch (nvi_npt_walk(mmu->vm, config, &root->key, l2gpa, access, &walk)) {
    case NVI_PAGING_OK:
        verdict->l1gpa = walk.l1gpa;
        return fill(mmu, root, config, l2gpa, access, &walk);
    case NVI_PAGING_FAULT:
        /* L1 without nested paging knows no such fault: the host deals with it. */
        verdict->l1gpa = nvirt_l1gpa_make(l2gpa.value);
        if ((root->key.role & NVI_ROLE_DIRECT) != 0)
            return NVI_FAULT_HOST;
        mmu->stats->shadow_reflected++;
        verdict->info1 = walk.error_code | (info1 & (NVI_NPF_FINAL | NVI_NPF_TABLE));
        return NVI_FAULT_REFLECT;
    case NVI_PAGING_RETRY:
    case NVI_PAGING_NO_MEMORY:
        break;
    }
    return NVI_FAULT_RETRY;
}
