/* SPDX-License-Identifier: MIT */
/*
 * The walk of EPT12: rules of misconfiguration, rights, accessed and dirty flags.
 */
#include "ept/ept.h"

#define ENTRY_R NVIRT_BIT(0)
#define ENTRY_W NVIRT_BIT(1)
#define ENTRY_X NVIRT_BIT(2)
#define ENTRY_RIGHTS (ENTRY_R | ENTRY_W | ENTRY_X)
#define ENTRY_TYPE(entry) ((uint8_t)((entry) >> 3 & 7))
#define ENTRY_IPAT NVIRT_BIT(6)
#define ENTRY_LARGE NVIRT_BIT(7)
#define ENTRY_A NVIRT_BIT(8)
#define ENTRY_D NVIRT_BIT(9)
#define ENTRY_ADDRESS NVIRT_BITS(51, 12)

NVIRT_STATIC_ASSERT(ENTRY_R == NVIRT_ACCESS_READ && ENTRY_W == NVIRT_ACCESS_WRITE &&
                        ENTRY_X == NVIRT_ACCESS_EXECUTE,
                    "rights of an EPT entry are a set of NVIRT_ACCESS_*");

/* One walk: what was read where, for the A/D update. */
struct walk {
    uint32_t top;
    uint32_t level;
    nvirt_l1gpa word[NVI_MMU_MAX_LEVELS + 1];
    uint64_t value[NVI_MMU_MAX_LEVELS + 1];
};

static uint32_t level_shift(uint32_t level)
{
    return NVIRT_PAGE_SHIFT + 9 * (level - 1);
}

static uint64_t read_entry(struct nvirt_vm *vm, nvirt_l1gpa address)
{
    uint64_t value = 0;

    /* Nothing answers there: all ones, which is a misconfiguration at every level. */
    if (nvirt_port_l1_read(vm->port, address, &value, sizeof value) != NVIRT_OK)
        return ~UINT64_C(0);
    return value;
}

static bool may_be_leaf(const struct nvi_ept_config *config, uint32_t level)
{
    return level == 1 || (level == 2 && config->page_2m) || (level == 3 && config->page_1g);
}

/* In the last level bit 7 is ignored: it is a leaf anyway. */
static bool is_leaf(const struct nvi_ept_config *config, uint64_t entry, uint32_t level)
{
    return level == 1 || ((entry & ENTRY_LARGE) != 0 && may_be_leaf(config, level));
}

/*
 * Reserved bits of a present entry [SDM 3C "EPT Misconfigurations"]. Bit 7 above level 1 is
 * reserved where a leaf of that size is not offered; bits 63:52 are ignored everywhere, as no
 * feature that gives them a meaning is offered.
 */
static uint64_t reserved_bits(const struct nvi_ept_config *config, uint64_t entry, uint32_t level)
{
    uint64_t reserved =
        config->physical_bits < 52 ? NVIRT_BITS(51, config->physical_bits) : 0;

    if (level == 1)
        return reserved;
    if (is_leaf(config, entry, level))
        return reserved | NVIRT_BITS(level_shift(level) - 1, 12);
    return reserved | NVIRT_BITS(7, 3);
}

static bool type_is_reserved(uint8_t type)
{
    return type == 2 || type == 3 || type == 7;
}

static bool is_misconfigured(const struct nvi_ept_config *config, uint64_t entry, uint32_t level)
{
    uint64_t rights = entry & ENTRY_RIGHTS;

    if ((rights & ENTRY_W) != 0 && (rights & ENTRY_R) == 0)
        return true;
    if (rights == ENTRY_X && !config->execute_only)
        return true;
    if ((entry & reserved_bits(config, entry, level)) != 0)
        return true;
    return is_leaf(config, entry, level) && type_is_reserved(ENTRY_TYPE(entry));
}

/* Sets A in every entry used and D in the leaf for a write. @return false when one had changed. */
static bool set_accessed_dirty(struct nvirt_vm *vm, const struct walk *walk, uint32_t access,
                               struct nvi_ept_out *out)
{
    uint32_t level;

    for (level = walk->top; level >= walk->level; level--) {
        uint64_t seen = walk->value[level];
        uint64_t found = seen;
        uint64_t wanted = seen | ENTRY_A;

        if (level == walk->level && (access & NVIRT_ACCESS_WRITE) != 0)
            wanted |= ENTRY_D;
        /* Memory that takes no write drops the flags, as a bus would. */
        if (wanted != seen &&
            nvirt_port_l1_compare_exchange(vm->port, walk->word[level], sizeof wanted, &found,
                                           wanted) == NVIRT_OK &&
            found != seen)
            return false;
        out->dirty = (wanted & ENTRY_D) != 0;
    }
    return true;
}

static enum nvi_ept_result finish(struct nvirt_vm *vm, const struct nvi_mmu_key *key,
                                  const struct walk *walk, nvirt_l2gpa l2gpa, uint32_t access,
                                  struct nvi_ept_out *out)
{
    uint64_t leaf = walk->value[walk->level];

    if ((out->rights & access) != access)
        return NVI_EPT_VIOLATION;
    out->size = UINT64_C(1) << level_shift(walk->level);
    out->l1gpa = nvirt_l1gpa_make((leaf & ENTRY_ADDRESS & ~(out->size - 1)) |
                                  (l2gpa.value & (out->size - 1)));
    out->memory_type = ENTRY_TYPE(leaf);
    out->ignore_pat = (leaf & ENTRY_IPAT) != 0;
    out->dirty = true;
    if ((key->role & NVI_ROLE_AD) != 0 && !set_accessed_dirty(vm, walk, access, out))
        return NVI_EPT_RETRY;
    return NVI_EPT_OK;
}

static enum nvi_ept_result walk_once(struct nvirt_vm *vm, const struct nvi_ept_config *config,
                                     const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa,
                                     uint32_t access, struct nvi_ept_out *out)
{
    struct walk walk;
    uint64_t table = key->table & ENTRY_ADDRESS;
    uint32_t level = (uint32_t)(key->role & NVI_ROLE_LEVELS);

    walk.top = level;
    out->rights = (uint32_t)ENTRY_RIGHTS;
    for (;; level--) {
        uint64_t index = l2gpa.value >> level_shift(level) & 0x1ff;
        uint64_t entry;

        walk.word[level] = nvirt_l1gpa_make(table + index * sizeof entry);
        entry = read_entry(vm, walk.word[level]);
        walk.value[level] = entry;
        out->rights &= (uint32_t)(entry & ENTRY_RIGHTS);
        if ((entry & ENTRY_RIGHTS) == 0)
            return NVI_EPT_VIOLATION;
        if (is_misconfigured(config, entry, level))
            return NVI_EPT_MISCONFIG;
        if (is_leaf(config, entry, level))
            break;
        table = entry & ENTRY_ADDRESS;
    }
    walk.level = level;
    return finish(vm, key, &walk, l2gpa, access, out);
}

static enum nvi_ept_result identity(nvirt_l2gpa l2gpa, struct nvi_ept_out *out)
{
    out->l1gpa = nvirt_l1gpa_make(l2gpa.value);
    out->size = NVIRT_BIT(30);
    out->rights = (uint32_t)ENTRY_RIGHTS;
    out->memory_type = NVIRT_MEMORY_WB;
    out->ignore_pat = false;
    out->dirty = true;
    return NVI_EPT_OK;
}

enum nvi_ept_result nvi_ept_walk(struct nvirt_vm *vm, const struct nvi_ept_config *config,
                                 const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa, uint32_t access,
                                 struct nvi_ept_out *out)
{
    uint32_t levels = (uint32_t)(key->role & NVI_ROLE_LEVELS);
    uint32_t attempt;

    /* Addresses that the tables have no index for are mapped by no entry. */
    if (l2gpa.value >> level_shift(levels + 1) != 0) {
        out->rights = 0;
        return NVI_EPT_VIOLATION;
    }
    if ((key->role & NVI_ROLE_DIRECT) != 0)
        return identity(l2gpa, out);
    for (attempt = 0; attempt <= NVI_PAGING_MAX_RESTARTS; attempt++) {
        enum nvi_ept_result result = walk_once(vm, config, key, l2gpa, access, out);

        if (result != NVI_EPT_RETRY)
            return result;
    }
    return NVI_EPT_RETRY;
}
