/* SPDX-License-Identifier: MIT */
/*
 * Instruction bytes at CS:RIP of the level that runs, where the CPU does not report the next RIP.
 *
 * An L1 whose every entry of L2 goes through the same three instructions would have its page tables
 * walked each time. The last walk is remembered, its tables stay pinned, and what it read is compared
 * with what stands there now.
 */
#include "nested/svm_internal.h"

uint32_t nvi_svm_code_bits(const struct nvirt_vmcb *vmcb)
{
    if (nvi_svm_is_long64(vmcb)) {
        return 64;
    }
    return (vmcb->cs.attrib & NVIRT_VMCB_SEG_DB) != 0 ? 32 : 16;
}

static uint64_t linear_rip(const struct nvirt_vmcb *vmcb)
{
    return nvi_svm_is_long64(vmcb) ? vmcb->rip : (vmcb->cs.base + vmcb->rip) & NVIRT_BITS(31, 0);
}

static enum nvi_paging_format paging_format(const struct nvirt_vmcb *vmcb)
{
    if ((vmcb->cr0 & NVIRT_CR0_PG) == 0) {
        return NVI_PAGING_NONE;
    }
    if ((vmcb->efer & NVIRT_SVM_EFER_LMA) != 0) {
        return (vmcb->cr4 & NVIRT_CR4_LA57) != 0 ? NVI_PAGING_5LEVEL : NVI_PAGING_4LEVEL;
    }
    return (vmcb->cr4 & NVIRT_CR4_PAE) != 0 ? NVI_PAGING_PAE : NVI_PAGING_32BIT;
}

/* Instruction fetches look at neither SMAP nor protection keys. */
static struct nvi_paging fetch_mode(const struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb)
{
    struct nvi_paging mode = {0};

    mode.format = paging_format(vmcb);
    mode.physical_bits = v->offer.physical_bits;
    mode.amd = true;
    mode.pse = (vmcb->cr4 & NVIRT_CR4_PSE) != 0;
    mode.pse36 = v->offer.pse36;
    mode.page_1g = v->offer.pages_1g;
    mode.nxe = (vmcb->efer & NVIRT_SVM_EFER_NXE) != 0;
    mode.wp = (vmcb->cr0 & NVIRT_CR0_WP) != 0;
    mode.smep = (vmcb->cr4 & NVIRT_CR4_SMEP) != 0;
    mode.cr3 = vmcb->cr3;
    return mode;
}

/* The CPU executed from these tables and found their PDPTEs good. They are handed to the walk as
 * accepted, because CPUs differ in what they accept: one emulator sets the accessed bit there, where
 * the manual has a reserved bit. */
static bool load_pdptes(struct nvirt_svm_vcpu *v, struct nvi_paging *mode)
{
    uint64_t table = mode->cr3 & NVIRT_BITS(31, 5);
    struct nvi_npt_out out;

    if (mode->format != NVI_PAGING_PAE) {
        return true;
    }
    if (v->level == 2) {
        if (nvi_npt_walk(v->vm, &v->npt, &v->key, nvirt_l2gpa_make(table), NVIRT_ACCESS_READ,
                         &out) != NVI_PAGING_OK) {
            return false;
        }
        table = out.l1gpa.value;
    }
    mode->pdptes_given = true;
    return nvirt_port_l1_read(v->vm->port, nvirt_l1gpa_make(table), mode->pdpte,
                              sizeof mode->pdpte) == NVIRT_OK;
}

/* ---- the walk of L1's tables, remembered ---- */

/* Where an entry lies in a page that stays pinned; null when it cannot. */
static const volatile uint64_t *pinned_entry(struct nvirt_svm_vcpu *v, nvirt_l1gpa entry)
{
    const uint8_t *page = nvi_svm_find_page(v, nvirt_l1gpa_make(entry.value & NVIRT_PAGE_MASK),
                                            NVI_SVM_USE_TABLE);

    if (page == NULL) {
        return NULL;
    }
    page += entry.value & ~NVIRT_PAGE_MASK;
    return (const volatile uint64_t *)(const void *)page;
}

/* Long mode only: entries of other formats have other sizes, and PDPTEs a life of their own. */
static void remember(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                     const struct nvi_paging_steps *walk)
{
    struct nvi_svm_walk *w = &v->walk;
    bool pinned = true;

    w->count = 0;
    if (walk->mode->format < NVI_PAGING_4LEVEL) {
        return;
    }
    w->used = true;
    for (uint32_t level = walk->top; level >= walk->level; level--) {
        w->entry[w->count] = pinned_entry(v, walk->word[level]);
        w->value[w->count] = walk->value[level];
        pinned = pinned && w->entry[w->count] != NULL;
        w->count++;
    }
    /* Those that there are not are what they are. */
    for (uint32_t i = w->count; i < NVI_SVM_WALK_ENTRIES; i++) {
        w->entry[i] = &w->value[i];
    }
    w->cr0 = vmcb->cr0;
    w->cr3 = vmcb->cr3;
    w->cr4 = vmcb->cr4;
    w->efer = vmcb->efer;
    w->user = vmcb->cpl == 3;
    w->mask = ~(walk->out->size - 1);
    w->linear = walk->gva & w->mask;
    w->base = nvirt_l1gpa_make(walk->out->address & w->mask);
    /* A page that came to be pinned may have pushed out another: unpinning forgets the walk. */
    w->used = w->used && pinned;
}

/*
 * A walk in the same mode that meets the same entries ends the same way. So L1 may change its tables
 * as it likes, and tell nobody: they are compared, not trusted.
 */
static bool still_holds(const struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                        uint64_t linear)
{
    const struct nvi_svm_walk *w = &v->walk;
    uint64_t differs;

    if (!w->used || w->user != (vmcb->cpl == 3)) {
        return false;
    }
    differs = ((linear & w->mask) ^ w->linear) | (w->cr3 ^ vmcb->cr3) | (w->cr0 ^ vmcb->cr0) |
              (w->cr4 ^ vmcb->cr4) | (w->efer ^ vmcb->efer);
    for (uint32_t i = 0; i < NVI_SVM_WALK_ENTRIES; i++) {
        differs |= *w->entry[i] ^ w->value[i];
    }
    return differs == 0;
}

static bool walk_of_l1(struct nvirt_svm_vcpu *v, const struct nvi_paging *mode, uint64_t linear,
                       uint32_t access, nvirt_l1gpa *address)
{
    struct nvi_paging_steps walk;
    struct nvi_paging_out out;
    enum nvi_paging_progress progress = nvi_paging_begin(&walk, mode, linear, access, &out);

    while (progress == NVI_PAGING_NEXT) {
        progress = nvi_paging_step(v->vm, &walk, nvirt_l1gpa_make(walk.entry_address));
    }
    if (progress != NVI_PAGING_DONE) {
        return false;
    }
    remember(v, v->vmcb01, &walk);
    *address = nvirt_l1gpa_make(out.address);
    return true;
}

/* The page of the code at @p linear, by the remembered walk; null when that does not hold. */
static const volatile uint8_t *code_page(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                                         uint64_t linear)
{
    uint64_t address;

    if (v->level != 1 || !still_holds(v, vmcb, linear)) {
        return NULL;
    }
    v->stats.bytes_read += v->walk.count * sizeof v->walk.value[0];
    address = v->walk.base.value + (linear & ~v->walk.mask);
    return nvi_svm_page(v, nvirt_l1gpa_make(address & NVIRT_PAGE_MASK), NVI_SVM_USE_CODE);
}

#define OPCODE_BYTES 3u
#define WORD_BYTES 4u /* They are read as one. */

bool nvi_svm_is_bare(struct nvirt_svm_vcpu *v, uint8_t last)
{
    const struct nvirt_vmcb *vmcb = v->vmcb01;
    uint64_t linear = linear_rip(vmcb);
    uint64_t offset = linear & ~NVIRT_PAGE_MASK;
    const volatile uint8_t *page;
    uint32_t word;

    if (offset > NVIRT_PAGE_SIZE - WORD_BYTES) {
        return false;
    }
    page = code_page(v, vmcb, linear);
    if (page == NULL) {
        return false;
    }
    v->stats.bytes_read += WORD_BYTES;
    __builtin_memcpy(&word, (const uint8_t *)(uintptr_t)(page + offset), WORD_BYTES);
    return (word & NVIRT_BITS(OPCODE_BYTES * 8 - 1, 0)) == (0x010fu | (uint32_t)last << 16);
}

/* ---- the bytes ---- */

/* Copies within one page of the linear address space. */
static bool fetch_in_page(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb, uint64_t linear,
                          uint8_t *to, uint32_t bytes)
{
    const volatile uint8_t *page = code_page(v, vmcb, linear);
    struct nvi_paging mode = fetch_mode(v, vmcb);
    uint32_t access = NVI_PAGING_EXECUTE | (vmcb->cpl == 3 ? NVI_PAGING_USER : 0u);
    struct nvi_npt_linear_out out;
    nvirt_l1gpa address;

    if (page != NULL) {
        for (uint32_t i = 0; i < bytes; i++) {
            to[i] = page[(linear & ~NVIRT_PAGE_MASK) + i];
        }
        v->stats.bytes_read += bytes;
        return true;
    }
    if (!load_pdptes(v, &mode)) {
        return false;
    }
    v->stats.bytes_read += bytes;
    if (v->level == 1) {
        return walk_of_l1(v, &mode, linear, access, &address) &&
               nvirt_port_l1_read(v->vm->port, address, to, bytes) == NVIRT_OK;
    }
    return nvi_npt_l2_linear(v->vm, &v->npt, &v->key, &mode, linear, access, &out) ==
               NVI_NPT_LINEAR_OK &&
           nvirt_port_l1_read(v->vm->port, out.l1gpa, to, bytes) == NVIRT_OK;
}

/* Up to 15 bytes at CS:RIP. The next page is looked at only as far as it can be read: the
 * instruction may end before it. */
uint32_t nvi_svm_fetch_bytes(struct nvirt_svm_vcpu *v, uint8_t *to)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);
    uint64_t linear = linear_rip(vmcb);
    uint32_t first = (uint32_t)(NVIRT_PAGE_SIZE - (linear & ~NVIRT_PAGE_MASK));

    if (first > NVI_SVM_INSN_MAX) {
        first = NVI_SVM_INSN_MAX;
    }
    if (!fetch_in_page(v, vmcb, linear, to, first)) {
        return 0;
    }
    if (first < NVI_SVM_INSN_MAX &&
        fetch_in_page(v, vmcb, linear + first, to + first, NVI_SVM_INSN_MAX - first)) {
        return NVI_SVM_INSN_MAX;
    }
    return first;
}
