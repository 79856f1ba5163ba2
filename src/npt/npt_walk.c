/* SPDX-License-Identifier: MIT */
/*
 * The walk of NPT12: a walk of page tables in L1's own mode in which every access is a user's.
 */
#include "npt/npt.h"

#define CR4_PSE NVIRT_BIT(4)
#define CR4_PAE NVIRT_BIT(5)
#define CR4_LA57 NVIRT_BIT(12)
#define EFER_LMA NVIRT_BIT(10)
#define EFER_NXE NVIRT_BIT(11)

/* Formats by number of levels, as in enum nvi_paging_format. */
static uint64_t levels_of(const struct nvi_npt_mode *mode)
{
    if ((mode->efer & EFER_LMA) != 0)
        return (mode->cr4 & CR4_LA57) != 0 ? NVI_PAGING_5LEVEL : NVI_PAGING_4LEVEL;
    return (mode->cr4 & CR4_PAE) != 0 ? NVI_PAGING_PAE : NVI_PAGING_32BIT;
}

/* Only what changes the meaning of entries in this format goes into the key. */
struct nvi_mmu_key nvi_npt_key(const struct nvi_npt_mode *mode)
{
    uint64_t levels = levels_of(mode);
    struct nvi_mmu_key key = { .pat = mode->pat, .role = NVI_ROLE_NPT | levels };

    switch (levels) {
    case NVI_PAGING_32BIT:
        key.table = mode->ncr3 & NVIRT_BITS(31, 12);
        if ((mode->cr4 & CR4_PSE) != 0)
            key.role |= NVI_ROLE_PSE;
        break;
    case NVI_PAGING_PAE:
        key.table = mode->ncr3 & NVIRT_BITS(31, 5);
        break;
    default:
        key.table = mode->ncr3 & NVI_MMU_ADDRESS;
        break;
    }
    if (levels != NVI_PAGING_32BIT && (mode->efer & EFER_NXE) != 0)
        key.role |= NVI_ROLE_NXE;
    return key;
}

struct nvi_mmu_key nvi_npt_direct_key(uint64_t apart)
{
    struct nvi_mmu_key key = { .table = apart,
                               .role = NVI_ROLE_NPT | NVI_ROLE_DIRECT | NVI_PAGING_4LEVEL };

    return key;
}

static struct nvi_paging paging_mode(const struct nvi_npt_config *config,
                                     const struct nvi_mmu_key *key)
{
    struct nvi_paging mode = { .physical_bits = config->physical_bits,
                               .amd = true,
                               .pse36 = config->pse36,
                               .page_1g = config->page_1g,
                               .cr3 = key->table };

    mode.pse = (key->role & NVI_ROLE_PSE) != 0;
    mode.nxe = (key->role & NVI_ROLE_NXE) != 0;
    switch (key->role & NVI_ROLE_LEVELS) {
    case NVI_PAGING_32BIT:
        mode.format = NVI_PAGING_32BIT;
        break;
    case NVI_PAGING_PAE:
        mode.format = NVI_PAGING_PAE;
        break;
    case NVI_PAGING_5LEVEL:
        mode.format = NVI_PAGING_5LEVEL;
        break;
    default:
        mode.format = NVI_PAGING_4LEVEL;
        break;
    }
    return mode;
}

/* Bits of L2-physical address that the tables translate; the tree of NPT02 stops at 48. */
static uint32_t address_bits(const struct nvi_paging *mode)
{
    return mode->format >= NVI_PAGING_4LEVEL ? 48 : 32;
}

static uint32_t paging_access(uint32_t access)
{
    uint32_t paging = NVI_PAGING_USER | NVI_PAGING_SET_AD;

    if ((access & NVIRT_ACCESS_WRITE) != 0)
        paging |= NVI_PAGING_WRITE;
    if ((access & NVIRT_ACCESS_EXECUTE) != 0)
        paging |= NVI_PAGING_EXECUTE;
    return paging;
}

static enum nvi_paging_result not_present(const struct nvi_paging *mode, uint32_t access,
                                          struct nvi_npt_out *out)
{
    out->error_code = NVI_PF_U;
    if ((access & NVIRT_ACCESS_WRITE) != 0)
        out->error_code |= NVI_PF_W;
    if ((access & NVIRT_ACCESS_EXECUTE) != 0 && mode->nxe)
        out->error_code |= NVI_PF_ID;
    return NVI_PAGING_FAULT;
}

static enum nvi_paging_result identity(nvirt_l2gpa l2gpa, struct nvi_npt_out *out)
{
    out->l1gpa = nvirt_l1gpa_make(l2gpa.value);
    out->size = NVIRT_BIT(30);
    out->rights = NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE;
    out->memory_type = NVIRT_MEMORY_WB;
    out->dirty = true;
    out->error_code = 0;
    out->path.top = 0;
    out->path.bottom = 0;
    return NVI_PAGING_OK;
}

static void note_path(const struct nvi_paging_steps *steps, struct nvi_mmu_path *path)
{
    uint32_t level;

    path->top = steps->top;
    path->bottom = steps->level;
    for (level = path->bottom; level <= path->top; level++) {
        path->word[level] = steps->word[level];
        path->value[level] = steps->value[level];
    }
}

enum nvi_paging_result nvi_npt_walk(struct nvirt_vm *vm, const struct nvi_npt_config *config,
                                    const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa,
                                    uint32_t access, struct nvi_npt_out *out)
{
    struct nvi_paging mode = paging_mode(config, key);
    struct nvi_paging_steps steps;
    struct nvi_paging_out page;
    enum nvi_paging_result result;

    if (l2gpa.value >> address_bits(&mode) != 0)
        return not_present(&mode, access, out);
    if ((key->role & NVI_ROLE_DIRECT) != 0)
        return identity(l2gpa, out);
    result = nvi_paging_walk_noted(vm, &mode, l2gpa.value, paging_access(access), &page, &steps);
    if (result != NVI_PAGING_OK) {
        out->error_code = result == NVI_PAGING_FAULT ? page.error_code : 0;
        return result;
    }
    note_path(&steps, &out->path);
    out->l1gpa = nvirt_l1gpa_make(page.address);
    out->size = page.size;
    out->rights = NVIRT_ACCESS_READ;
    if (page.writable)
        out->rights |= NVIRT_ACCESS_WRITE;
    if (page.executable)
        out->rights |= NVIRT_ACCESS_EXECUTE;
    out->memory_type = (uint8_t)(key->pat >> (8 * page.pat_index) & 7);
    out->dirty = page.dirty;
    out->error_code = 0;
    return NVI_PAGING_OK;
}
