/* SPDX-License-Identifier: MIT */
/*
 * The walk of EPT12: rules of misconfiguration, rights, accessed and dirty flags, and the log of pages
 * whose dirty flag becomes set.
 */
#include "ept/ept.h"

#define ENTRY_R NVIRT_BIT(0)
#define ENTRY_W NVIRT_BIT(1)
#define ENTRY_X NVIRT_BIT(2)
#define ENTRY_RIGHTS (ENTRY_R | ENTRY_W | ENTRY_X)
#define ENTRY_TYPE(entry) ((uint8_t)((entry) >> 3 & 7))
#define ENTRY_IPAT NVIRT_BIT(6)
#define ENTRY_LARGE NVIRT_BIT(7)
#define ENTRY_XU NVIRT_BIT(10) /* With mode-based execute control; ENTRY_X is the supervisor's then. */
#define ENTRY_A NVIRT_BIT(8)
#define ENTRY_D NVIRT_BIT(9)
#define ENTRY_SUBPAGES NVIRT_BIT(61) /* Of a leaf of 4 KiB, with sub-page write permissions. */
#define ENTRY_SUPPRESS_VE NVIRT_BIT(63)
#define ENTRY_ADDRESS NVIRT_BITS(51, 12)

/* Of a page-modification log. */
#define LOG_PLACES 512u

NVIRT_STATIC_ASSERT(ENTRY_R == NVIRT_ACCESS_READ && ENTRY_W == NVIRT_ACCESS_WRITE &&
                        ENTRY_X == NVIRT_ACCESS_EXECUTE && ENTRY_XU == NVI_EPT_USER_EXECUTE,
                    "rights of an EPT entry are a set of NVIRT_ACCESS_*");

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
 * reserved where a leaf of that size is not offered; bits 63:52 are never.
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

/* @p rights those bits of the entry that are rights in this role. */
static bool is_misconfigured(const struct nvi_ept_config *config, uint64_t entry, uint64_t rights,
                             uint32_t level)
{
    if ((rights & ENTRY_W) != 0 && (rights & ENTRY_R) == 0)
        return true;
    if ((rights & ENTRY_R) == 0 && !config->execute_only)
        return true;
    if ((entry & reserved_bits(config, entry, level)) != 0)
        return true;
    return is_leaf(config, entry, level) && type_is_reserved(ENTRY_TYPE(entry));
}

/* What is asked of L1's tables. */
struct ask {
    struct nvirt_vm *vm;
    const struct nvi_ept_config *config;
    const struct nvi_mmu_key *key;
    struct nvi_ept_log *log;
    nvirt_l2gpa l2gpa;
    uint32_t access;
};

/* An entry with the flags that the access sets: A in every one used, D in the leaf for a write. */
static uint64_t with_flags(const struct ask *ask, const struct nvi_mmu_path *path, uint32_t level)
{
    uint64_t entry = path->value[level] | ENTRY_A;

    if (level == path->bottom && (ask->access & NVIRT_ACCESS_WRITE) != 0)
        entry |= ENTRY_D;
    return entry;
}

/* The page is dirty now. A place of the log without memory behind it loses what is written there, as
 * on a bus. */
static void write_log(const struct ask *ask)
{
    uint64_t page = ask->l2gpa.value & NVIRT_PAGE_MASK;
    nvirt_l1gpa place =
        nvirt_l1gpa_make(ask->log->address + ask->log->index * (uint64_t)sizeof page);

    enum nvirt_status written = nvirt_port_l1_write(ask->vm->port, place, &page, sizeof page);

    (void)written;
    ask->log->index--;
}

/* @return false when an entry had changed. The leaf comes last: what is logged has happened. */
static bool set_accessed_dirty(const struct ask *ask, struct nvi_ept_out *out)
{
    struct nvi_mmu_path *path = &out->path;
    uint32_t level;

    for (level = path->top; level >= path->bottom; level--) {
        uint64_t seen = path->value[level];
        uint64_t found = seen;
        uint64_t wanted = with_flags(ask, path, level);

        /* Memory that takes no write drops the flags, as a bus would. */
        if (wanted != seen &&
            nvirt_port_l1_compare_exchange(ask->vm->port, path->word[level], sizeof wanted, &found,
                                           wanted) == NVIRT_OK) {
            if (found != seen)
                return false;
            path->value[level] = wanted;
        }
        out->dirty = (wanted & ENTRY_D) != 0;
        if (ask->log != NULL && level == path->bottom && (wanted & ~seen & ENTRY_D) != 0)
            write_log(ask);
    }
    return true;
}

/* [SDM 3C "Page-Modification Logging"]: the index is looked at before any flag is set, accessed or
 * dirty. */
static bool log_is_in_the_way(const struct ask *ask, const struct nvi_mmu_path *path)
{
    uint32_t level;

    if (ask->log == NULL || ask->log->index < LOG_PLACES)
        return false;
    for (level = path->top; level >= path->bottom; level--) {
        if (with_flags(ask, path, level) != path->value[level])
            return true;
    }
    return false;
}

static enum nvi_ept_result settle(const struct ask *ask, struct nvi_ept_out *out)
{
    if ((ask->key->role & NVI_ROLE_AD) == 0)
        return NVI_EPT_OK;
    if (log_is_in_the_way(ask, &out->path))
        return NVI_EPT_LOG_FULL;
    return set_accessed_dirty(ask, out) ? NVI_EPT_OK : NVI_EPT_RETRY;
}

/* [SDM 3C "Write Accesses That Are Eligible for Sub-Page Write Permissions"]: a page of 4 KiB that could
 * be read and not be written without them. */
static bool has_subpages(const struct ask *ask, const struct nvi_ept_out *out)
{
    return (ask->key->role & NVI_ROLE_SUBPAGES) != 0 && out->path.bottom == 1 &&
           (out->path.value[1] & ENTRY_SUBPAGES) != 0 &&
           (out->rights & (ENTRY_R | ENTRY_W)) == ENTRY_R;
}

static enum nvi_ept_result finish(const struct ask *ask, struct nvi_ept_out *out)
{
    nvirt_l2gpa l2gpa = ask->l2gpa;
    uint64_t leaf = out->path.value[out->path.bottom];
    uint32_t refused = ask->access & ~out->rights;

    out->convertible = (leaf & ENTRY_SUPPRESS_VE) == 0;
    out->subpages = has_subpages(ask, out);
    if (refused != 0 && !(out->subpages && refused == ENTRY_W))
        return NVI_EPT_VIOLATION;
    out->size = UINT64_C(1) << level_shift(out->path.bottom);
    out->l1gpa = nvirt_l1gpa_make((leaf & ENTRY_ADDRESS & ~(out->size - 1)) |
                                  (l2gpa.value & (out->size - 1)));
    out->memory_type = ENTRY_TYPE(leaf);
    out->ignore_pat = (leaf & ENTRY_IPAT) != 0;
    out->dirty = (ask->key->role & NVI_ROLE_AD) == 0 || (leaf & ENTRY_D) != 0;
    return refused != 0 ? NVI_EPT_SUBPAGE : settle(ask, out);
}

static enum nvi_ept_result walk_once(const struct ask *ask, struct nvi_ept_out *out)
{
    struct nvi_mmu_path *path = &out->path;
    uint64_t table = ask->key->table & ENTRY_ADDRESS;
    uint32_t level = (uint32_t)(ask->key->role & NVI_ROLE_LEVELS);
    uint64_t meant = ENTRY_RIGHTS;

    if ((ask->key->role & NVI_ROLE_MODE_EXECUTE) != 0)
        meant |= ENTRY_XU;
    path->top = level;
    out->rights = (uint32_t)meant;
    for (;; level--) {
        uint64_t index = ask->l2gpa.value >> level_shift(level) & 0x1ff;
        uint64_t entry;

        path->word[level] = nvirt_l1gpa_make(table + index * sizeof entry);
        entry = read_entry(ask->vm, path->word[level]);
        path->value[level] = entry;
        out->rights &= (uint32_t)(entry & meant);
        if ((entry & meant) == 0) {
            out->convertible = (entry & ENTRY_SUPPRESS_VE) == 0;
            return NVI_EPT_VIOLATION;
        }
        if (is_misconfigured(ask->config, entry, entry & meant, level))
            return NVI_EPT_MISCONFIG;
        if (is_leaf(ask->config, entry, level))
            break;
        table = entry & ENTRY_ADDRESS;
    }
    path->bottom = level;
    return finish(ask, out);
}

static enum nvi_ept_result identity(nvirt_l2gpa l2gpa, struct nvi_ept_out *out)
{
    out->l1gpa = nvirt_l1gpa_make(l2gpa.value);
    out->size = NVIRT_BIT(30);
    out->rights = (uint32_t)ENTRY_RIGHTS;
    out->memory_type = NVIRT_MEMORY_WB;
    out->ignore_pat = false;
    out->subpages = false;
    out->dirty = true;
    out->path.top = 0;
    out->path.bottom = 0;
    return NVI_EPT_OK;
}

enum nvi_ept_result nvi_ept_walk(struct nvirt_vm *vm, const struct nvi_ept_config *config,
                                 const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa, uint32_t access,
                                 struct nvi_ept_log *log, struct nvi_ept_out *out)
{
    const struct ask ask = { .vm = vm,
                             .config = config,
                             .key = key,
                             .log = log,
                             .l2gpa = l2gpa,
                             .access = access };
    uint32_t levels = (uint32_t)(key->role & NVI_ROLE_LEVELS);
    uint32_t attempt;

    /* Addresses that the tables have no index for are mapped by no entry. */
    if (l2gpa.value >> level_shift(levels + 1) != 0) {
        out->rights = 0;
        out->convertible = false;
        return NVI_EPT_VIOLATION;
    }
    if ((key->role & NVI_ROLE_DIRECT) != 0)
        return identity(l2gpa, out);
    for (attempt = 0; attempt <= NVI_PAGING_MAX_RESTARTS; attempt++) {
        enum nvi_ept_result result = walk_once(&ask, out);

        if (result != NVI_EPT_RETRY)
            return result;
    }
    return NVI_EPT_RETRY;
}

enum nvi_ept_result nvi_ept_settle(struct nvirt_vm *vm, const struct nvi_mmu_key *key,
                                   nvirt_l2gpa l2gpa, uint32_t access, struct nvi_ept_log *log,
                                   struct nvi_ept_out *out)
{
    const struct ask ask = { .vm = vm, .key = key, .log = log, .l2gpa = l2gpa, .access = access };

    return settle(&ask, out);
}
