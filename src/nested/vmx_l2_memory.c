/* SPDX-License-Identifier: MIT */
/*
 * Linear memory of L2, for an instruction of L2's that nvirt carries out: a walk of L2's page tables,
 * each address of which is first put through EPT12, as hardware does it. A page fault is raised in L2; a
 * violation, a misconfiguration, a full log and an access to the APIC-access page are exits to L1.
 *
 * [SDM 3A "Paging"] [SDM 3C "The Extended Page Table Mechanism (EPT)", "Virtualizing APIC Accesses"]
 */
#include "nested/vmx_internal.h"

#define ENTRY_A NVIRT_BIT(5)
#define ENTRY_D NVIRT_BIT(6)
#define PAE_PDPTE 3u

/* Type of an access to the APIC-access page, in the exit qualification. */
#define APIC_TYPE_SHIFT 12u
#define APIC_READ UINT64_C(0)
#define APIC_WRITE UINT64_C(1)
#define APIC_PHYSICAL UINT64_C(15)

/* One page of an access, and the walk to it. */
struct walk {
    struct nvi_paging mode;
    struct nvi_paging_steps steps;
    struct nvi_paging_out out;
    uint64_t linear;
    uint32_t bytes; /* In the page. */
    bool write;
    uint64_t entry[6]; /* By level: L2-physical addresses of the entries used. */
};

/* Where the bytes are: one part, or two when they cross a page. */
struct span {
    uint64_t part[2];
    size_t first; /* Bytes in the first. */
};

static void leave_for_apic(struct nvirt_vmx_vcpu *v, uint64_t type, uint64_t offset)
{
    struct nvi_vmx_exit_info info;

    __builtin_memset(&info, 0, sizeof info);
    info.reason = NVIRT_VMX_EXIT_APIC_ACCESS;
    info.qualification = type << APIC_TYPE_SHIFT | (type == APIC_PHYSICAL ? 0 : offset);
    nvi_vmx_leave(v, &info);
}

static bool is_apic_page(const struct nvirt_vmx_vcpu *v, uint64_t l1gpa)
{
    return (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0 &&
           (l1gpa & NVIRT_PAGE_MASK) == v->vmcs12.apic_access_addr;
}

/* An entry of L2's tables at @p l2gpa. */
static bool reach_entry(struct nvirt_vmx_vcpu *v, const struct walk *walk, uint64_t l2gpa,
                        uint32_t access, nvirt_l1gpa *entry)
{
    const struct nvi_l2_access wanted = { .l2gpa = nvirt_l2gpa_make(l2gpa),
                                          .access = access,
                                          .qualification = NVI_EPT_QUAL_LINEAR,
                                          .linear = walk->linear };

    if (!nvi_vmx_reach(v, &wanted, entry)) {
        return false;
    }
    if (is_apic_page(v, entry->value)) {
        leave_for_apic(v, APIC_PHYSICAL, 0);
        return false;
    }
    return true;
}

/* What the linear address is by L2's tables; without paging all is allowed to all. */
static uint64_t advanced_information(const struct nvirt_vmx_vcpu *v, const struct walk *walk)
{
    if ((v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO) == 0) {
        return 0;
    }
    return (walk->out.user ? NVI_EPT_QUAL_USER : 0) |
           (walk->out.writable ? NVI_EPT_QUAL_WRITABLE : 0) |
           (walk->out.executable ? 0 : NVI_EPT_QUAL_EXECUTE_DISABLE);
}

/* The bytes themselves. */
static bool reach_data(struct nvirt_vmx_vcpu *v, const struct walk *walk, uint64_t *l1gpa)
{
    const struct nvi_l2_access wanted = {
        .l2gpa = nvirt_l2gpa_make(walk->out.address),
        .access = walk->write ? NVIRT_ACCESS_WRITE : NVIRT_ACCESS_READ,
        .bytes = walk->bytes,
        .qualification =
            NVI_EPT_QUAL_LINEAR | NVI_EPT_QUAL_FINAL | advanced_information(v, walk),
        .linear = walk->linear
    };
    nvirt_l1gpa found;

    if (!nvi_vmx_reach(v, &wanted, &found)) {
        return false;
    }
    if (is_apic_page(v, found.value)) {
        leave_for_apic(v, walk->write ? APIC_WRITE : APIC_READ,
                       found.value & (NVIRT_PAGE_SIZE - 1));
        return false;
    }
    *l1gpa = found.value;
    return true;
}

static bool has_ept_flags(const struct nvirt_vmx_vcpu *v)
{
    return (v->root->key.role & NVI_ROLE_AD) != 0;
}

/* Where EPT has accessed and dirty flags, a look at an entry counts as a write to it. */
static uint32_t entry_access(const struct nvirt_vmx_vcpu *v)
{
    return NVIRT_ACCESS_READ | (has_ept_flags(v) ? NVIRT_ACCESS_WRITE : 0u);
}

/* Where it has not, an entry is written when a flag of its own is to be set. */
static bool may_set_flags(struct nvirt_vmx_vcpu *v, const struct walk *walk)
{
    const struct nvi_paging_steps *steps = &walk->steps;
    nvirt_l1gpa entry;

    if (has_ept_flags(v) || walk->mode.format == NVI_PAGING_NONE) {
        return true;
    }
    for (uint32_t level = steps->top; level >= steps->level; level--) {
        bool dirties = walk->write && level == steps->level;
        uint64_t wanted = ENTRY_A | (dirties ? ENTRY_D : 0);
        bool has_flags = walk->mode.format != NVI_PAGING_PAE || level != PAE_PDPTE;

        if (has_flags && (steps->value[level] & wanted) != wanted &&
            !reach_entry(v, walk, walk->entry[level], NVIRT_ACCESS_WRITE, &entry)) {
            return false;
        }
    }
    return true;
}

/* @return false when the instruction ends here. */
static bool walk_tables(struct nvirt_vmx_vcpu *v, struct walk *walk,
                        enum nvi_paging_progress *progress)
{
    uint32_t access = NVI_PAGING_SET_AD | (walk->write ? NVI_PAGING_WRITE : 0u);
    struct nvi_paging_steps *steps = &walk->steps;
    nvirt_l1gpa entry;

    *progress = nvi_paging_begin(steps, &walk->mode, walk->linear, access, &walk->out);
    while (*progress == NVI_PAGING_NEXT) {
        if (!reach_entry(v, walk, steps->entry_address, entry_access(v), &entry)) {
            return false;
        }
        walk->entry[steps->level] = steps->entry_address;
        *progress = nvi_paging_step(v->vm, steps, entry);
    }
    return true;
}

/* One page. The data is reached before the flags are set: what faults leaves no dirty flag behind. */
static bool translate(struct nvirt_vmx_vcpu *v, struct walk *walk, uint64_t *l1gpa)
{
    enum nvi_paging_progress progress;

    for (uint32_t attempt = 0; attempt <= NVI_PAGING_MAX_RESTARTS; attempt++) {
        if (!walk_tables(v, walk, &progress)) {
            return false;
        }
        if (progress == NVI_PAGING_FAULTED) {
            nvi_vmx_raise_page_fault(v, walk->out.error_code, walk->linear);
            return false;
        }
        if (!may_set_flags(v, walk) || !reach_data(v, walk, l1gpa)) {
            return false;
        }
        if (nvi_paging_commit(v->vm, &walk->steps) == NVI_PAGING_DONE) {
            return true;
        }
    }
    /* Another CPU of L1's keeps changing the tables: L2 executes the instruction again. */
    return false;
}

static bool find_span(struct nvirt_vmx_vcpu *v, uint64_t linear, size_t bytes, bool write,
                      struct span *span)
{
    size_t in_page = (size_t)(NVIRT_PAGE_SIZE - (linear & (NVIRT_PAGE_SIZE - 1)));
    struct walk walk;

    __builtin_memset(&walk, 0, sizeof walk);
    nvi_vmx_paging(v, &walk.mode);
    walk.linear = linear;
    walk.write = write;
    span->first = bytes < in_page ? bytes : in_page;
    walk.bytes = (uint32_t)span->first;
    if (!translate(v, &walk, &span->part[0])) {
        return false;
    }
    if (span->first == bytes) {
        return true;
    }
    walk.linear += in_page;
    walk.bytes = (uint32_t)(bytes - span->first);
    if (!nvi_vmx_insn_is_64bit(v)) {
        walk.linear &= NVIRT_BITS(31, 0);
    }
    return translate(v, &walk, &span->part[1]);
}

bool nvi_vmx_l2_read(struct nvirt_vmx_vcpu *v, uint64_t linear, void *to, size_t bytes)
{
    struct span span;

    if (!find_span(v, linear, bytes, false, &span)) {
        return false;
    }
    nvi_vmx_l1_read(v, span.part[0], to, span.first);
    if (span.first != bytes) {
        nvi_vmx_l1_read(v, span.part[1], (uint8_t *)to + span.first, bytes - span.first);
    }
    return true;
}

bool nvi_vmx_l2_write(struct nvirt_vmx_vcpu *v, uint64_t linear, const void *from, size_t bytes)
{
    struct span span;

    if (!find_span(v, linear, bytes, true, &span)) {
        return false;
    }
    nvi_vmx_l1_write(v, span.part[0], from, span.first);
    if (span.first != bytes) {
        nvi_vmx_l1_write(v, span.part[1], (const uint8_t *)from + span.first, bytes - span.first);
    }
    return true;
}
