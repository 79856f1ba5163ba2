/* SPDX-License-Identifier: MIT */
/*
 * Decisions at an entry: what the CPU may hold that the level about to run must not use.
 *
 * VMX: L1 and L2 both run on second-stage tables, so that hardware tags what it caches with the
 * root alone (guest-physical mappings) or with VPID and root (combined ones). INVEPT of a root
 * takes both, INVVPID all combined ones of a tag [SDM 3C "Information That May Be Cached"]. What a
 * tag holds under a root that must be flushed anyway before its next use needs no INVVPID.
 *
 * SVM: all carries the ASID, nested translations too [APM 2 "TLB Flush"]: tables that changed make
 * every ASID stale that ran on them.
 */
#include "tlbflush/tlb_internal.h"

/* ---- what a CPU may hold ---- */

static struct nvirt_tlb_root *root_at(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag,
                                      uint32_t number)
{
    return tag == &tlb->l1 ? &tlb->root01 : &tlb->domain->root[number];
}

static uint64_t changed_at(const struct nvirt_tlb_root *root)
{
    return __atomic_load_n(&root->changed, __ATOMIC_ACQUIRE);
}

static bool root_is_stale(const struct nvirt_tlb_root *root, uint32_t cpu)
{
    uint64_t flushed = cpu == NVIRT_TLB_NO_CPU ? 0 : root->flushed[cpu];

    return cpu == NVIRT_TLB_NO_CPU || (flushed != NVI_TLB_EMPTY && flushed < changed_at(root));
}

static uint64_t bit_of_root(uint32_t number)
{
    return NVIRT_BIT(number < NVI_TLB_OTHERS ? number : NVI_TLB_OTHERS);
}

/* Without what was flushed on @p cpu since the tag last ran there. */
static uint64_t not_flushed(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    const struct nvirt_tlb_held *held = &tag->held[cpu];
    uint64_t under = held->under;

    if (tlb->domain->all_tags[cpu] > held->time) {
        return 0;
    }
    if (tlb->svm || tlb->domain->flush[cpu] <= held->time) {
        return under;
    }
    for (uint64_t left = under & ~NVIRT_BIT(NVI_TLB_OTHERS); left != 0; left &= left - 1) {
        uint32_t number = (uint32_t)__builtin_ctzll(left);

        if (root_at(tlb, tag, number)->flushed[cpu] > held->time) {
            under &= ~NVIRT_BIT(number);
        }
    }
    return under;
}

/* Some root of those that share a bit is neither stale nor was flushed since the tag ran. */
static bool others_usable(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    for (uint32_t i = NVI_TLB_OTHERS; i < tlb->domain->root_count; i++) {
        const struct nvirt_tlb_root *root = &tlb->domain->root[i];

        if (root->flushed[cpu] <= tag->held[cpu].time && !root_is_stale(root, cpu)) {
            return true;
        }
    }
    return false;
}

/* The roots (bits) through which @p cpu may hold translations of @p tag that can be used without a
 * flush of the root: on VMX a stale root is flushed before its next use. */
static uint64_t usable(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    uint64_t under;

    if (cpu == NVIRT_TLB_NO_CPU) {
        return UINT64_MAX;
    }
    under = not_flushed(tlb, tag, cpu);
    if (!tlb->svm && (under >> NVI_TLB_OTHERS) != 0 && !others_usable(tlb, tag, cpu)) {
        under &= ~NVIRT_BIT(NVI_TLB_OTHERS);
    }
    for (uint64_t left = under & ~NVIRT_BIT(NVI_TLB_OTHERS); !tlb->svm && left != 0;
         left &= left - 1) {
        uint32_t number = (uint32_t)__builtin_ctzll(left);

        if (root_is_stale(root_at(tlb, tag, number), cpu)) {
            under &= ~NVIRT_BIT(number);
        }
    }
    return under;
}

/* SVM: tables changed through which @p cpu may hold translations of @p tag. */
static bool tables_changed(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    const struct nvirt_tlb_held *held = &tag->held[cpu];
    uint64_t left = held->under & ~NVIRT_BIT(NVI_TLB_OTHERS);

    if (tag != &tlb->l1 && (held->under >> NVI_TLB_OTHERS) != 0) {
        for (uint32_t i = NVI_TLB_OTHERS; i < tlb->domain->root_count; i++) {
            if (changed_at(&tlb->domain->root[i]) > held->time) {
                return true;
            }
        }
    }
    for (; left != 0; left &= left - 1) {
        if (changed_at(root_at(tlb, tag, (uint32_t)__builtin_ctzll(left))) > held->time) {
            return true;
        }
    }
    return false;
}

/* ---- due ---- */

static void add_op(struct nvirt_flush_set *set, enum nvirt_flush_kind kind, uint32_t tag,
                   uint32_t root, uint64_t operand)
{
    set->op[set->count++] =
        (struct nvirt_flush_op){ .kind = kind, .tag = tag, .root = root, .operand = operand };
}

static void add_addresses(const struct nvirt_tlb_tag *tag, enum nvirt_flush_kind kind,
                          struct nvirt_flush_set *due)
{
    for (uint32_t i = 0; i < tag->addresses; i++) {
        add_op(due, kind, tag->tag02, 0, tag->address[i]);
    }
}

/* MOV CR3, INVLPG and INVPCID of a guest do not exit and act on the CPU that executes them only:
 * what a tag left behind on another CPU may be stale when it comes back. */
static bool whole_is_owed(const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    return tag->flush || tag->cpu != cpu || cpu == NVIRT_TLB_NO_CPU;
}

static void due_vpid(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag,
                     const struct nvirt_tlb_entry *entry, bool root_goes,
                     struct nvirt_flush_set *due)
{
    bool whole = whole_is_owed(tag, entry->cpu);
    uint64_t under;

    if (!whole && !tag->not_global && tag->addresses == 0 && !root_goes) {
        return;
    }
    under = usable(tlb, tag, entry->cpu);
    if (under == 0) {
        due->covers_guest = true;
        return;
    }
    if (whole) {
        add_op(due, tlb->caps.invvpid_single ? NVIRT_FLUSH_VPID : NVIRT_FLUSH_VPID_ALL,
               tlb->caps.invvpid_single ? tag->tag02 : 0, 0, 0);
        due->covers_guest = true;
        return;
    }
    if (tag->not_global) {
        add_op(due, NVIRT_FLUSH_VPID_NOT_GLOBAL, tag->tag02, 0, 0);
    }
    add_addresses(tag, NVIRT_FLUSH_VPID_ADDRESS, due);
}

static void due_vmx(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag,
                    const struct nvirt_tlb_root *root, const struct nvirt_tlb_entry *entry,
                    struct nvirt_flush_set *due)
{
    bool root_goes = root_is_stale(root, entry->cpu);

    if (root_goes && tlb->caps.invept_single) {
        add_op(due, NVIRT_FLUSH_ROOT, 0, entry->level == 1 ? NVIRT_TLB_ROOT_L1 : entry->root,
               entry->eptp);
    } else if (root_goes) {
        /* Every root goes, and with it all that any tag holds. */
        add_op(due, NVIRT_FLUSH_ROOT_ALL, 0, 0, 0);
        due->covers_guest = true;
        return;
    }
    if (tag == NULL || tag->tag02 == 0) {
        due->covers_guest = true; /* Without a VPID hardware flushes at each transition. */
        return;
    }
    due_vpid(tlb, tag, entry, root_goes, due);
}

static void due_svm(struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag, uint32_t cpu,
                    struct nvirt_flush_set *due)
{
    bool whole = whole_is_owed(tag, cpu) || tables_changed(tlb, tag, cpu);

    if (!whole && tag->addresses == 0) {
        return;
    }
    if (usable(tlb, tag, cpu) == 0) {
        due->covers_guest = true;
    } else if (whole) {
        add_op(due, tlb->caps.flush_by_asid ? NVIRT_FLUSH_ASID : NVIRT_FLUSH_ASID_ALL,
               tlb->caps.flush_by_asid ? tag->tag02 : 0, 0, 0);
        due->covers_guest = true;
    } else {
        add_addresses(tag, NVIRT_FLUSH_ASID_ADDRESS, due);
    }
}

void nvirt_tlb_due(struct nvirt_tlb *tlb, const struct nvirt_tlb_entry *entry,
                   struct nvirt_flush_set *due)
{
    struct nvirt_tlb_tag *tag = entry->level == 1 ? &tlb->l1 : tlb->running;
    /* Before anything is looked at: a change that is not seen has a later number. */
    uint64_t time;

    nvi_tlb_collect(tlb);
    time = nvi_tlb_now(tlb->domain);
    due->count = 0;
    due->covers_guest = false;
    if (tlb->svm && tag != NULL) {
        due_svm(tlb, tag, entry->cpu, due);
    } else if (!tlb->svm) {
        due_vmx(tlb, tag, entry->level == 1 ? &tlb->root01 : &tlb->domain->root[entry->root], entry,
                due);
    }
    /* A flush has a number of its own: what was cached before is older. */
    tlb->due_time = due->count != 0 ? nvi_tlb_tick(tlb->domain) : time;
}

/* ---- done ---- */

static struct nvirt_tlb_tag *find_tag02(struct nvirt_tlb *tlb, uint32_t tag02)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (tlb->tag[i].tag02 == tag02) {
            return &tlb->tag[i];
        }
    }
    return &tlb->l1;
}

static void address_done(struct nvirt_tlb_tag *tag, uint64_t address)
{
    for (uint32_t i = 0; i < tag->addresses; i++) {
        if (tag->address[i] == address) {
            tag->address[i] = tag->address[--tag->addresses];
            return;
        }
    }
}

/* INVEPT all-context: nothing is left, whatever changes before it is used again. */
static void all_roots_done(struct nvirt_tlb *tlb, uint32_t cpu)
{
    tlb->root01.flushed[cpu] = NVI_TLB_EMPTY;
    for (uint32_t i = 0; i < tlb->domain->root_count; i++) {
        tlb->domain->root[i].flushed[cpu] = NVI_TLB_EMPTY;
    }
}

void nvirt_tlb_done(struct nvirt_tlb *tlb, uint32_t cpu, const struct nvirt_flush_op *op)
{
    struct nvirt_tlb_domain *domain = tlb->domain;
    struct nvirt_tlb_tag *tag = find_tag02(tlb, op->tag);

    if (cpu == NVIRT_TLB_NO_CPU) {
        return;
    }
    switch (op->kind) {
    case NVIRT_FLUSH_VPID_ADDRESS:
    case NVIRT_FLUSH_ASID_ADDRESS:
        address_done(tag, op->operand);
        return;
    case NVIRT_FLUSH_VPID_NOT_GLOBAL:
        tag->not_global = false;
        return;
    case NVIRT_FLUSH_VPID:
    case NVIRT_FLUSH_ASID:
        tag->held[cpu].under = 0;
        return;
    case NVIRT_FLUSH_ROOT:
        if (op->root == NVIRT_TLB_ROOT_L1) {
            tlb->root01.flushed[cpu] = tlb->due_time;
        } else {
            domain->root[op->root].flushed[cpu] = tlb->due_time;
        }
        domain->flush[cpu] = tlb->due_time;
        return;
    case NVIRT_FLUSH_ROOT_ALL:
        all_roots_done(tlb, cpu);
        break;
    default:
        break;
    }
    domain->flush[cpu] = tlb->due_time;
    domain->all_tags[cpu] = tlb->due_time;
}

/* ---- entered ---- */

void nvi_tlb_settle(struct nvirt_tlb_tag *tag)
{
    tag->flush = false;
    tag->not_global = false;
    tag->addresses = 0;
}

/* From here on the CPU may cache through @p number under @p tag. Unless nothing is left of the tag
 * there, what it owed was carried out. */
static void tag_entered(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, uint32_t number,
                        uint32_t cpu)
{
    if (cpu != NVIRT_TLB_NO_CPU) {
        struct nvirt_tlb_held *held = &tag->held[cpu];

        held->under = not_flushed(tlb, tag, cpu) | bit_of_root(number);
        held->time = tlb->due_time;
    }
    tag->cpu = cpu;
    nvi_tlb_settle(tag);
}

void nvirt_tlb_entered(struct nvirt_tlb *tlb, const struct nvirt_tlb_entry *entry)
{
    struct nvirt_tlb_tag *tag = entry->level == 1 ? &tlb->l1 : tlb->running;
    struct nvirt_tlb_root *root =
        entry->level == 1 ? &tlb->root01 : &tlb->domain->root[entry->root];

    if (tag != NULL) {
        tag_entered(tlb, tag, entry->level == 1 ? 0 : entry->root, entry->cpu);
    }
    if (!tlb->svm && entry->cpu != NVIRT_TLB_NO_CPU && root->flushed[entry->cpu] == NVI_TLB_EMPTY) {
        root->flushed[entry->cpu] = tlb->due_time;
    }
    if (entry->level == 2) {
        tlb->running_root = entry->root;
    }
}
