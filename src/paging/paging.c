/* SPDX-License-Identifier: MIT */
/*
 * The walk itself: one entry per step, everything decided from the value that was read. The plain
 * walk of tables in L1's space is the stepped one with each address taken as it is.
 */
#include "paging/paging.h"

#define ENTRY_P NVIRT_BIT(0)
#define ENTRY_W NVIRT_BIT(1)
#define ENTRY_U NVIRT_BIT(2)
#define ENTRY_A NVIRT_BIT(5)
#define ENTRY_D NVIRT_BIT(6)
#define ENTRY_PS NVIRT_BIT(7)
#define ENTRY_G NVIRT_BIT(8)
#define ENTRY_NX NVIRT_BIT(63)
#define ENTRY_ADDRESS NVIRT_BITS(51, 12)

/* Levels at which tables have names. */
#define LEVEL_PTE 1u
#define LEVEL_PDE 2u
#define LEVEL_PDPTE 3u

static bool is_long(const struct nvi_paging *mode)
{
    return mode->format >= NVI_PAGING_4LEVEL;
}

/* PDPTEs of PAE are a kind of their own: no rights, no accessed bit, other reserved bits. */
static bool is_pae_pdpte(const struct nvi_paging *mode, uint32_t level)
{
    return mode->format == NVI_PAGING_PAE && level == LEVEL_PDPTE;
}

static uint32_t level_shift(const struct nvi_paging *mode, uint32_t level)
{
    uint32_t bits = mode->format == NVI_PAGING_32BIT ? 10 : 9;

    return NVIRT_PAGE_SHIFT + bits * (level - 1);
}

static size_t entry_bytes(const struct nvi_paging *mode)
{
    return mode->format == NVI_PAGING_32BIT ? 4 : 8;
}

/* Address of the entry of @p level for @p gva in the table at @p table. */
static uint64_t entry_address(const struct nvi_paging *mode, uint64_t table, uint32_t level,
                              uint64_t gva)
{
    uint64_t mask = mode->format == NVI_PAGING_32BIT ? 0x3ff : 0x1ff;

    /* Four PDPTEs, not 512: the address has 32 bits with PAE. */
    return table + ((gva >> level_shift(mode, level)) & mask) * entry_bytes(mode);
}

static uint64_t top_table(const struct nvi_paging *mode)
{
    if (mode->format == NVI_PAGING_32BIT)
        return mode->cr3 & NVIRT_BITS(31, 12);
    if (mode->format == NVI_PAGING_PAE)
        return mode->cr3 & NVIRT_BITS(31, 5);
    return mode->cr3 & ENTRY_ADDRESS;
}

/* Address bits beyond the physical width, as far as entries have address bits at all. */
static uint64_t beyond_width(const struct nvi_paging *mode)
{
    return mode->physical_bits < 52 ? NVIRT_BITS(51, mode->physical_bits) : 0;
}

static bool maps_page(const struct nvi_paging *mode, uint32_t level, uint64_t entry)
{
    if (level == LEVEL_PTE)
        return true;
    if ((entry & ENTRY_PS) == 0)
        return false;
    if (level == LEVEL_PDE)
        return mode->format != NVI_PAGING_32BIT || mode->pse;
    return level == LEVEL_PDPTE && is_long(mode) && mode->page_1g;
}

/*
 * 4-MiB entries hold bits 39:32 of the address in bits 20:13; those beyond the physical width, and
 * bit 21, are reserved [SDM 3A "32-Bit Paging"].
 */
static uint64_t reserved_32bit(const struct nvi_paging *mode, uint32_t level, bool page)
{
    uint32_t width = mode->physical_bits < 40 ? mode->physical_bits : 40;

    if (level != LEVEL_PDE || !page)
        return 0;
    return mode->pse36 ? NVIRT_BITS(21, width - 19) : NVIRT_BITS(21, 13);
}

static uint64_t reserved_pae(const struct nvi_paging *mode, uint32_t level, bool page)
{
    uint64_t reserved = beyond_width(mode) | NVIRT_BITS(62, 52);

    if (level == LEVEL_PDPTE)
        return reserved | ENTRY_NX | NVIRT_BITS(8, 5) | NVIRT_BITS(2, 1);
    if (!mode->nxe)
        reserved |= ENTRY_NX;
    if (level == LEVEL_PDE && page)
        reserved |= NVIRT_BITS(20, 13);
    return reserved;
}

static uint64_t reserved_long(const struct nvi_paging *mode, uint32_t level, bool page)
{
    uint64_t reserved = beyond_width(mode);

    if (!mode->nxe)
        reserved |= ENTRY_NX;
    if (level > LEVEL_PDPTE)
        reserved |= ENTRY_PS | (mode->amd ? ENTRY_G : 0);
    else if (level == LEVEL_PDPTE)
        reserved |= page ? NVIRT_BITS(29, 13) : ENTRY_PS;
    else if (level == LEVEL_PDE && page)
        reserved |= NVIRT_BITS(20, 13);
    return reserved;
}

static uint64_t reserved_bits(const struct nvi_paging *mode, uint32_t level, bool page)
{
    if (mode->format == NVI_PAGING_32BIT)
        return reserved_32bit(mode, level, page);
    if (mode->format == NVI_PAGING_PAE)
        return reserved_pae(mode, level, page);
    return reserved_long(mode, level, page);
}

static enum nvi_paging_progress fault(struct nvi_paging_steps *steps, uint32_t why)
{
    const struct nvi_paging *mode = steps->mode;
    uint32_t code = why;

    if ((steps->access & NVI_PAGING_WRITE) != 0)
        code |= NVI_PF_W;
    if ((steps->access & NVI_PAGING_USER) != 0)
        code |= NVI_PF_U;
    /* Fetches are told apart only where the CPU can refuse them for being fetches. */
    if ((steps->access & NVI_PAGING_EXECUTE) != 0 &&
        (mode->smep || (mode->nxe && mode->format != NVI_PAGING_32BIT)))
        code |= NVI_PF_ID;
    steps->out->error_code = code;
    return NVI_PAGING_FAULTED;
}

/* Supervisor accesses to user pages: SMEP for fetches, SMAP for data. */
static bool supervisor_may_touch_user(const struct nvi_paging_steps *steps)
{
    const struct nvi_paging *mode = steps->mode;

    if ((steps->access & NVI_PAGING_EXECUTE) != 0)
        return !mode->smep;
    if (!mode->smap)
        return true;
    return mode->rflags_ac && (steps->access & NVI_PAGING_IMPLICIT) == 0;
}

static bool rights_allow(const struct nvi_paging_steps *steps)
{
    bool user = (steps->access & NVI_PAGING_USER) != 0;

    if (user && !steps->user)
        return false;
    if (!user && steps->user && !supervisor_may_touch_user(steps))
        return false;
    if ((steps->access & NVI_PAGING_EXECUTE) != 0)
        return steps->executable;
    if ((steps->access & NVI_PAGING_WRITE) != 0)
        return steps->writable || (!user && !steps->mode->wp);
    return true;
}

/* Protection keys guard data accesses only [SDM 3A "Protection Keys"]. */
static bool key_allows(const struct nvi_paging_steps *steps)
{
    const struct nvi_paging *mode = steps->mode;
    uint32_t key = (uint32_t)(steps->leaf >> 59) & 0xf;
    uint32_t rights = (steps->user ? mode->pkru : mode->pkrs) >> (2 * key) & 3;
    bool user = (steps->access & NVI_PAGING_USER) != 0;

    if (!is_long(mode) || (steps->access & NVI_PAGING_EXECUTE) != 0 ||
        !(steps->user ? mode->pke : mode->pks))
        return true;
    if ((rights & 1) != 0)
        return false;
    return (steps->access & NVI_PAGING_WRITE) == 0 || (rights & 2) == 0 || (!user && !mode->wp);
}

static uint64_t page_base(const struct nvi_paging_steps *steps, uint64_t size)
{
    uint64_t leaf = steps->leaf;

    if (steps->mode->format != NVI_PAGING_32BIT)
        return leaf & ENTRY_ADDRESS & ~(size - 1);
    leaf &= UINT64_C(0xffffffff);
    if (steps->level == LEVEL_PTE)
        return leaf & NVIRT_BITS(31, 12);
    /* Without PSE-36 the bits were reserved, so they are 0 here. */
    return (leaf & NVIRT_BITS(31, 22)) | ((leaf & NVIRT_BITS(20, 13)) << 19);
}

static enum nvi_paging_progress finish(struct nvi_paging_steps *steps)
{
    struct nvi_paging_out *out = steps->out;
    uint64_t size = UINT64_C(1) << level_shift(steps->mode, steps->level);
    uint64_t pat_bit = steps->level == LEVEL_PTE ? NVIRT_BIT(7) : NVIRT_BIT(12);

    if (!rights_allow(steps))
        return fault(steps, NVI_PF_P);
    if (!key_allows(steps))
        return fault(steps, NVI_PF_P | NVI_PF_PK);
    out->address = page_base(steps, size) | (steps->gva & (size - 1));
    out->size = size;
    out->error_code = 0;
    out->user = steps->user;
    out->writable = steps->writable;
    out->executable = steps->executable;
    out->dirty = (steps->leaf & ENTRY_D) != 0;
    out->global = (steps->leaf & ENTRY_G) != 0;
    out->pat_index = (uint8_t)(((steps->leaf >> 3) & 3) | ((steps->leaf & pat_bit) != 0 ? 4 : 0));
    return NVI_PAGING_DONE;
}

static enum nvi_paging_progress finish_unpaged(struct nvi_paging_steps *steps)
{
    struct nvi_paging_out *out = steps->out;

    out->address = steps->gva;
    out->size = NVIRT_PAGE_SIZE;
    out->error_code = 0;
    out->user = true;
    out->writable = true;
    out->executable = true;
    out->dirty = true;
    out->global = false;
    out->pat_index = 0;
    return NVI_PAGING_DONE;
}

enum nvi_paging_progress nvi_paging_begin(struct nvi_paging_steps *steps,
                                          const struct nvi_paging *mode, uint64_t gva,
                                          uint32_t access, struct nvi_paging_out *out)
{
    uint64_t table = top_table(mode);

    steps->mode = mode;
    steps->gva = is_long(mode) ? gva : gva & UINT64_C(0xffffffff);
    steps->access = access;
    steps->out = out;
    steps->user = true;
    steps->writable = true;
    steps->executable = true;
    steps->leaf = 0;
    steps->level = (uint32_t)mode->format;
    steps->top = steps->level;
    if (mode->format == NVI_PAGING_NONE)
        return finish_unpaged(steps);
    if (mode->format == NVI_PAGING_PAE && mode->pdptes_given) {
        /* Checked for reserved bits when the CPU loaded it. */
        uint64_t pdpte = mode->pdpte[(steps->gva >> 30) & 3];

        if ((pdpte & ENTRY_P) == 0)
            return fault(steps, 0);
        table = pdpte & ENTRY_ADDRESS;
        steps->level = LEVEL_PDE;
        steps->top = LEVEL_PDE;
    }
    steps->entry_address = entry_address(mode, table, steps->level, steps->gva);
    return NVI_PAGING_NEXT;
}

static uint64_t read_entry(struct nvirt_vm *vm, const struct nvi_paging *mode, nvirt_l1gpa entry)
{
    uint64_t value = 0;
    size_t bytes = entry_bytes(mode);

    if (nvirt_port_l1_read(vm->port, entry, &value, bytes) != NVIRT_OK)
        return bytes == 4 ? UINT64_C(0xffffffff) : ~UINT64_C(0);
    return value;
}

enum nvi_paging_progress nvi_paging_step(struct nvirt_vm *vm, struct nvi_paging_steps *steps,
                                         nvirt_l1gpa entry)
{
    const struct nvi_paging *mode = steps->mode;
    uint32_t level = steps->level;
    uint64_t value = read_entry(vm, mode, entry);
    bool page = maps_page(mode, level, value);

    steps->word[level] = entry;
    steps->value[level] = value;
    if ((value & ENTRY_P) == 0)
        return fault(steps, 0);
    if ((value & reserved_bits(mode, level, page)) != 0)
        return fault(steps, NVI_PF_P | NVI_PF_RSV);
    if (!is_pae_pdpte(mode, level)) {
        steps->user = steps->user && (value & ENTRY_U) != 0;
        steps->writable = steps->writable && (value & ENTRY_W) != 0;
        steps->executable = steps->executable && (value & ENTRY_NX) == 0;
    }
    if (page) {
        steps->leaf = value;
        return finish(steps);
    }
    steps->level = level - 1;
    steps->entry_address = entry_address(mode, value & ENTRY_ADDRESS, level - 1, steps->gva);
    return NVI_PAGING_NEXT;
}

enum nvi_paging_progress nvi_paging_commit(struct nvirt_vm *vm, struct nvi_paging_steps *steps)
{
    const struct nvi_paging *mode = steps->mode;
    uint32_t level;

    if ((steps->access & NVI_PAGING_SET_AD) == 0 || mode->format == NVI_PAGING_NONE)
        return NVI_PAGING_DONE;
    for (level = steps->top; level >= steps->level; level--) {
        uint64_t seen = steps->value[level];
        uint64_t wanted = seen | ENTRY_A;

        if (is_pae_pdpte(mode, level))
            continue;
        if (level == steps->level && (steps->access & NVI_PAGING_WRITE) != 0)
            wanted |= ENTRY_D;
        if (wanted != seen) {
            uint64_t found = seen;

            /* Memory that takes no write drops the bits; the CPU's TLB would go on as if set. */
            if (nvirt_port_l1_compare_exchange(vm->port, steps->word[level], entry_bytes(mode),
                                               &found, wanted) == NVIRT_OK) {
                if (found != seen)
                    return NVI_PAGING_CHANGED;
                steps->value[level] = wanted;
            }
        }
        steps->out->dirty = (wanted & ENTRY_D) != 0;
    }
    return NVI_PAGING_DONE;
}

static enum nvi_paging_progress walk_once(struct nvirt_vm *vm, struct nvi_paging_steps *steps,
                                          const struct nvi_paging *mode, uint64_t gva,
                                          uint32_t access, struct nvi_paging_out *out)
{
    enum nvi_paging_progress progress = nvi_paging_begin(steps, mode, gva, access, out);

    while (progress == NVI_PAGING_NEXT)
        progress = nvi_paging_step(vm, steps, nvirt_l1gpa_make(steps->entry_address));
    return progress == NVI_PAGING_DONE ? nvi_paging_commit(vm, steps) : progress;
}

enum nvi_paging_result nvi_paging_walk_noted(struct nvirt_vm *vm, const struct nvi_paging *mode,
                                             uint64_t gva, uint32_t access,
                                             struct nvi_paging_out *out,
                                             struct nvi_paging_steps *steps)
{
    uint32_t attempt;

    for (attempt = 0; attempt <= NVI_PAGING_MAX_RESTARTS; attempt++) {
        enum nvi_paging_progress progress = walk_once(vm, steps, mode, gva, access, out);

        if (progress == NVI_PAGING_DONE)
            return NVI_PAGING_OK;
        if (progress == NVI_PAGING_FAULTED)
            return NVI_PAGING_FAULT;
    }
    return NVI_PAGING_RETRY;
}

enum nvi_paging_result nvi_paging_walk(struct nvirt_vm *vm, const struct nvi_paging *mode,
                                       uint64_t gva, uint32_t access, struct nvi_paging_out *out)
{
    struct nvi_paging_steps steps;

    return nvi_paging_walk_noted(vm, mode, gva, access, out, &steps);
}
