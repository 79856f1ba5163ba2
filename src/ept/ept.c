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
#define LEAF_SUBPAGES NVIRT_BIT(61)
#define RIGHTS_ALL (NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE)
#define FETCHES (NVIRT_ACCESS_EXECUTE | NVI_EPT_USER_EXECUTE)

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
    /* All rights in links: the leaf alone decides. A in links spares hardware the locked update;
     * without A/D in the EPTP the bit is ignored. */
    struct nvi_mmu_shape shape = { .link = RIGHTS_ALL | ENTRY_A,
                                   .levels = (uint8_t)(key->role & NVI_ROLE_LEVELS) };

    shape.kind = (key->role & NVI_ROLE_DIRECT) != 0 ? NVI_SHADOW_SPLIT : NVI_SHADOW_TABLE;
    if ((key->role & NVI_ROLE_AD) != 0)
        shape.soft = ENTRY_A | ENTRY_D;
    if ((key->role & NVI_ROLE_MODE_EXECUTE) != 0)
        shape.link |= NVI_EPT_USER_EXECUTE;
    shape.subpages = (key->role & NVI_ROLE_SUBPAGES) != 0;
    return nvi_mmu_root_get(mmu, key, &shape, root);
}

uint64_t nvi_ept_eptp02(const struct nvi_ept_config *config, const struct nvi_mmu_root *root)
{
    uint64_t eptp = root->table.value | (uint64_t)(root->shape.levels - 1u) << EPTP_LEVELS_SHIFT;

    if (config->cpu_wb)
        eptp |= EPTP_WB;
    if ((root->key.role & NVI_ROLE_AD) != 0)
        eptp |= EPTP_AD;
    return eptp;
}

static bool is_mode_based(const struct nvi_mmu_root *root)
{
    return (root->key.role & NVI_ROLE_MODE_EXECUTE) != 0;
}

/*
 * What L2 attempted. Accesses to L2's page tables under A/D count as writes besides reads
 * [SDM 3C "Accessed and Dirty Flags for EPT"]; a CPU model that then reports neither is believed
 * to have meant that.
 */
static uint32_t attempted(const struct nvi_mmu_root *root, uint64_t *qualification)
{
    uint32_t access;

    if ((*qualification & RIGHTS_ALL) == 0) {
        *qualification |= NVI_EPT_QUAL_READ;
        if ((root->key.role & NVI_ROLE_AD) != 0 && (*qualification & NVI_EPT_QUAL_LINEAR) != 0 &&
            (*qualification & NVI_EPT_QUAL_FINAL) == 0)
            *qualification |= NVI_EPT_QUAL_WRITE;
    }
    access = (uint32_t)(*qualification & RIGHTS_ALL);
    if (is_mode_based(root) && (access & NVIRT_ACCESS_EXECUTE) != 0 &&
        (*qualification & NVI_EPT_QUAL_USER) != 0)
        access ^= FETCHES;
    return access;
}

/*
 * Qualification for L1: what was tried and which address it was for come from hardware, the rights
 * from EPT12; bits of features not offered stay 0.
 */
static uint64_t reflected(const struct nvi_ept_config *config, uint64_t qualification,
                          uint32_t rights)
{
    const uint64_t final = NVI_EPT_QUAL_LINEAR | NVI_EPT_QUAL_FINAL;
    uint64_t kept = qualification & (RIGHTS_ALL | NVI_EPT_QUAL_LINEAR);

    if ((kept & NVI_EPT_QUAL_LINEAR) != 0)
        kept |= qualification & NVI_EPT_QUAL_FINAL;
    if (config->advanced_info && (kept & final) == final)
        kept |= qualification & NVI_EPT_QUAL_ADVANCED;
    if (config->shadow_stacks)
        kept |= qualification & NVI_EPT_QUAL_SHADOW_STACK;
    return kept | nvi_ept_told_rights(rights);
}

/*
 * Rights that hardware may be given: those both sides grant. No write before L1's dirty flag is
 * set, and no combination that EPT02 could not hold, whatever the host granted. The host's right to
 * execute is one for both modes.
 */
static uint32_t composed_rights(const struct nvi_ept_config *config, const struct nvi_ept_out *walk,
                                uint32_t host)
{
    uint32_t rights =
        walk->rights & (host | ((host & NVIRT_ACCESS_EXECUTE) != 0 ? NVI_EPT_USER_EXECUTE : 0u));

    if (!walk->dirty)
        rights &= ~NVIRT_ACCESS_WRITE;
    if ((rights & NVIRT_ACCESS_READ) == 0)
        rights &= config->execute_only ? FETCHES : 0u;
    return rights;
}

/* The APIC-access page that L1 gave the L2s of this root, bit 0 set; 0 when it gave none. */
static uint64_t apic_page_of(const struct nvi_mmu_root *root)
{
    return (root->key.role & NVI_ROLE_DIRECT) != 0 ? root->key.table : root->key.pat;
}

/* Both lie in one page of @level. */
static bool same_page(uint64_t a, uint64_t b, uint32_t level)
{
    return (a ^ b) >> (12 + 9 * (level - 1)) == 0;
}

/* The highest level, up to @level, at which a page around @l1gpa does not hold @apart, if there is one:
 * level 1 always will do. */
static uint32_t level_beside(uint64_t l1gpa, uint64_t apart, uint32_t level)
{
    while (apart != 0 && level > 1 && same_page(l1gpa, apart, level))
        level--;
    return level;
}

/* L1 gave an address without memory. L2 never gets to what is there, so any page will do. */
static enum nvi_fault stand_in(struct nvi_mmu *mmu, nvirt_l1gpa l1gpa,
                               struct nvirt_translation *host, struct nvi_mmu_leaf *leaf)
{
    leaf->changes = nvi_mmu_host_changes(mmu->vm);
    if (nvi_mmu_host_changing(mmu->vm, l1gpa))
        return NVI_FAULT_RETRY;
    leaf->level = 1;
    host->rights = RIGHTS_ALL;
    host->memory_type = NVIRT_MEMORY_WB;
    host->sequence = nvirt_port_sequence(mmu->vm->port);
    return NVI_FAULT_INSTALLED;
}

/*
 * Where the memory of a leaf really is. L1's APIC-access page gets a leaf of its own, because the
 * control is sure to apply to 4-KByte pages only [SDM 3C "Issues Pertaining to Page Size and TLB
 * Management"], and leads to what vmcs02 has as APIC-access address. The page that the host manages
 * for L1's own APIC is L1's: to L2 it is an address without memory, which the host emulates.
 */
static enum nvi_fault translate(struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                                const struct nvi_ept_config *config, uint32_t access,
                                const struct nvi_ept_out *walk, struct nvirt_translation *host,
                                struct nvi_mmu_leaf *leaf)
{
    uint32_t max_level = config->cpu_1g ? 3 : config->cpu_2m ? 2 : 1;
    uint64_t apic = apic_page_of(root);
    bool is_apic = apic != 0 && same_page(walk->l1gpa.value, apic, 1);
    enum nvi_fault result;

    if (config->host_apic_at != 0 && same_page(walk->l1gpa.value, config->host_apic_at, 1))
        return NVI_FAULT_HOST;
    max_level = level_beside(walk->l1gpa.value, apic, max_level);
    max_level = level_beside(walk->l1gpa.value, config->host_apic_at, max_level);
    if (is_apic && !config->apic_is_l1s) {
        result = stand_in(mmu, walk->l1gpa, host, leaf);
    } else {
        result = nvi_mmu_translate(mmu, walk->l1gpa, walk->size, max_level, access, host,
                                   &leaf->level, &leaf->changes);
        while (result == NVI_FAULT_INSTALLED && config->host_apic != 0 &&
               same_page(host->hpa.value, config->host_apic, leaf->level)) {
            if (leaf->level == 1)
                return NVI_FAULT_HOST;
            result = nvi_mmu_translate(mmu, walk->l1gpa, walk->size, leaf->level - 1, access, host,
                                       &leaf->level, &leaf->changes);
        }
    }
    if (is_apic)
        host->hpa = nvirt_hpa_make(config->apic_page & NVI_MMU_ADDRESS);
    return result;
}

/* Hardware may go by sub-page permissions where L1's page has them and nothing else, of L1's or the
 * host's, keeps a write from it. */
static bool may_decide(const struct nvi_ept_out *walk, uint32_t rights, uint32_t host)
{
    return walk->subpages && walk->dirty && (rights & NVIRT_ACCESS_READ) != 0 &&
           (host & NVIRT_ACCESS_WRITE) != 0;
}

static enum nvi_fault fill(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                           const struct nvi_ept_config *config, nvirt_l2gpa l2gpa, uint32_t access,
                           const struct nvi_ept_out *walk)
{
    struct nvi_mmu_leaf leaf = { .path = walk->path,
                                 .l1gpa = walk->l1gpa,
                                 .grants = RIGHTS_ALL | FETCHES | ENTRY_A | ENTRY_D };
    struct nvirt_translation host;
    uint32_t of_host = (access & RIGHTS_ALL) |
                       ((access & NVI_EPT_USER_EXECUTE) != 0 ? NVIRT_ACCESS_EXECUTE : 0u);
    enum nvi_fault result = translate(mmu, root, config, of_host, walk, &host, &leaf);
    uint32_t rights;
    bool by_subpages;

    if (result != NVI_FAULT_INSTALLED)
        return result;
    rights = composed_rights(config, walk, host.rights);
    by_subpages = may_decide(walk, rights, host.rights);
    if (((rights | (by_subpages ? NVIRT_ACCESS_WRITE : 0u)) & access) != access)
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
    /* No grant: a violation by what a TLB has from before would be taken for hardware's decision. */
    if (by_subpages)
        leaf.entry |= LEAF_SUBPAGES | ENTRY_D;
    return nvi_mmu_install(mmu, root, l2gpa, &leaf);
}

/* ---- what a fault comes to ---- */

static enum nvi_fault violation(struct nvi_mmu *mmu, const struct nvi_ept_config *config,
                                uint64_t qualification, const struct nvi_ept_out *walk,
                                struct nvi_ept_verdict *verdict)
{
    mmu->stats->shadow_reflected++;
    verdict->qualification = reflected(config, qualification, walk->rights);
    verdict->convertible = walk->convertible;
    return NVI_FAULT_REFLECT;
}

static enum nvi_fault misconfiguration(struct nvi_mmu *mmu)
{
    mmu->stats->shadow_reflected++;
    return NVI_FAULT_REFLECT_MISCONFIG;
}

static enum nvi_fault log_full(struct nvi_mmu *mmu)
{
    mmu->stats->shadow_reflected++;
    return NVI_FAULT_REFLECT_LOG_FULL;
}

/* True when hardware goes by sub-page permissions at the address. */
static bool hardware_decides(struct nvi_mmu *mmu, const struct nvi_mmu_root *root,
                             nvirt_l2gpa l2gpa)
{
    uint32_t level;

    return (nvi_mmu_lookup(mmu, root, l2gpa, &level) & LEAF_SUBPAGES) != 0;
}

/* A write that L1's tables refuse, to a page that has sub-page permissions. */
struct subpage_write {
    struct nvi_mmu *mmu;
    struct nvi_mmu_root *root;
    const struct nvi_ept_config *config;
    uint64_t qualification; /* Of the violation. */
    nvirt_l2gpa l2gpa;
    uint32_t access;
    struct nvi_ept_log *log;
    struct nvi_ept_out *walk;
    struct nvi_ept_verdict *verdict;
};

/* Sets the flags that @p access sets, and puts the leaf in. */
static enum nvi_fault settle_and_fill(const struct subpage_write *w, uint32_t access)
{
    enum nvi_ept_result result =
        nvi_ept_settle(w->mmu->vm, &w->root->key, w->l2gpa, access, w->log, w->walk);

    if (result == NVI_EPT_LOG_FULL)
        return log_full(w->mmu);
    if (result != NVI_EPT_OK)
        return NVI_FAULT_RETRY;
    return fill(w->mmu, w->root, w->config, w->l2gpa, access, w->walk);
}

/*
 * Hardware cannot decide: L1's page is to become dirty by the write, or the host has to grant it. A
 * write that goes on into the next sub-page is judged by its first byte here, and by hardware when
 * it is tried again; at worst a page is dirty early.
 */
static enum nvi_fault decide(const struct subpage_write *w)
{
    enum nvi_subpage subpage =
        nvi_ept_subpage(w->mmu->vm, w->config, &w->root->key, w->l2gpa, 1);

    switch (subpage) {
    case NVI_SUBPAGE_ALLOWED:
        return settle_and_fill(w, w->access);
    case NVI_SUBPAGE_DENIED:
        return violation(w->mmu, w->config, w->qualification, w->walk, w->verdict);
    default:
        w->mmu->stats->shadow_reflected++;
        w->verdict->qualification = nvi_ept_subpage_qualification(subpage);
        return NVI_FAULT_REFLECT_SUBPAGE;
    }
}

/*
 * Which write is eligible, and which sub-pages it touches, is hardware's to say, wherever it can be
 * brought to say it: a violation in spite of an up-to-date vector is L1's.
 */
static enum nvi_fault subpage_write(const struct subpage_write *w)
{
    enum nvi_fault fault;

    if (!nvi_ept_may_be_eligible(w->qualification))
        return violation(w->mmu, w->config, w->qualification, w->walk, w->verdict);
    if (hardware_decides(w->mmu, w->root, w->l2gpa)) {
        if (nvi_ept_subpage_renew(w->mmu, w->root, w->config, w->l2gpa))
            return NVI_FAULT_RETRY;
        return violation(w->mmu, w->config, w->qualification, w->walk, w->verdict);
    }
    if (!w->walk->dirty)
        return decide(w);
    fault = settle_and_fill(w, NVIRT_ACCESS_READ);
    if (fault != NVI_FAULT_INSTALLED || hardware_decides(w->mmu, w->root, w->l2gpa))
        return fault;
    return decide(w);
}

enum nvi_fault nvi_ept_fault(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                             const struct nvi_ept_config *config, uint64_t qualification,
                             nvirt_l2gpa l2gpa, struct nvi_ept_log *log,
                             struct nvi_ept_verdict *verdict)
{
    uint32_t access = attempted(root, &qualification);
    struct nvi_ept_out walk;

    verdict->qualification = 0;
    verdict->convertible = false;
    verdict->l1gpa = nvirt_l1gpa_make(0);
    switch (nvi_ept_walk(mmu->vm, config, &root->key, l2gpa, access, log, &walk)) {
    case NVI_EPT_OK:
        verdict->l1gpa = walk.l1gpa;
        return fill(mmu, root, config, l2gpa, access, &walk);
    case NVI_EPT_VIOLATION:
        /* L1 without EPT knows no violation: an address beyond a direct root is the host's. */
        verdict->l1gpa = nvirt_l1gpa_make(l2gpa.value);
        if ((root->key.role & NVI_ROLE_DIRECT) != 0)
            return NVI_FAULT_HOST;
        return violation(mmu, config, qualification, &walk, verdict);
    case NVI_EPT_SUBPAGE: {
        const struct subpage_write write = { mmu,    root, config, qualification, l2gpa,
                                             access, log,  &walk,  verdict };

        verdict->l1gpa = walk.l1gpa;
        return subpage_write(&write);
    }
    case NVI_EPT_MISCONFIG:
        return misconfiguration(mmu);
    case NVI_EPT_LOG_FULL:
        return log_full(mmu);
    case NVI_EPT_RETRY:
        break;
    }
    return NVI_FAULT_RETRY;
}

enum nvi_fault nvi_ept_subpage_event(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                     const struct nvi_ept_config *config, nvirt_l2gpa l2gpa,
                                     struct nvi_ept_log *log, struct nvi_ept_verdict *verdict)
{
    struct nvi_ept_out walk;

    verdict->qualification = 0;
    verdict->convertible = false;
    verdict->l1gpa = nvirt_l1gpa_make(0);
    if (nvi_ept_walk(mmu->vm, config, &root->key, l2gpa, NVIRT_ACCESS_READ, log, &walk) !=
            NVI_EPT_OK ||
        !walk.subpages) {
        /* L1's page is another now: hardware looks again, and tells more. */
        nvi_mmu_forget(mmu, root, l2gpa);
        return NVI_FAULT_RETRY;
    }
    return nvi_ept_subpage_load(mmu, root, config, l2gpa, verdict);
}
