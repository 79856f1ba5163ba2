/* SPDX-License-Identifier: MIT */
/*
 * The flush-decision engine. Every function is a step from one state of struct nvirt_tlb to the
 * next; what has to be done to the hardware comes out as a set of operations and is done elsewhere.
 *
 * A request only marks the tag it names. The mark turns into an operation when that tag is about to
 * be used, so a flush of a tag that L1 never runs again costs nothing.
 */
#include <nvirt/tlbflush.h>

/* vpid12 of an L2 that runs with "enable VPID" clear. VPID 0 is refused by the entry checks, so it
 * can never be a tag of L1's choosing. */
#define TAG12_NO_VPID 0u

static void tag_reset(struct nvirt_tlb_tag *tag, uint32_t tag02)
{
    tag->tag02 = tag02;
    tag->tag12 = 0;
    tag->used = false;
    /* Whoever had this hardware tag before may have left translations under it. */
    tag->flush = true;
    tag->not_global = false;
    tag->addresses = 0;
    tag->cpu = NVIRT_TLB_NO_CPU;
    tag->root = 0;
    tag->last_use = 0;
}

enum nvirt_status nvirt_tlb_init(struct nvirt_tlb *tlb, const struct nvirt_tlb_caps *caps,
                                 uint32_t tag01, const uint32_t *tags, uint32_t count)
{
    if (tlb == NULL || caps == NULL || (tags == NULL && count != 0)) {
        return NVIRT_ERR_NULL;
    }
    if (count > NVIRT_TLB_MAX_TAGS) {
        return NVIRT_ERR_RANGE;
    }
    tlb->caps = *caps;
    tlb->tag_count = count;
    tlb->clock = 0;
    tag_reset(&tlb->l1, tag01);
    for (uint32_t i = 0; i < count; i++) {
        tag_reset(&tlb->tag[i], tags[i]);
    }
    return NVIRT_OK;
}

static struct nvirt_tlb_tag *find_tag12(struct nvirt_tlb *tlb, uint32_t tag12)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (tlb->tag[i].used && tlb->tag[i].tag12 == tag12) {
            return &tlb->tag[i];
        }
    }
    return NULL;
}

static struct nvirt_tlb_tag *find_tag02(struct nvirt_tlb *tlb, uint32_t tag02)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (tlb->tag[i].tag02 == tag02) {
            return &tlb->tag[i];
        }
    }
    return NULL;
}

/* A tag that stands for nothing, or else the one whose last use is longest ago. */
static struct nvirt_tlb_tag *oldest_tag(struct nvirt_tlb *tlb)
{
    struct nvirt_tlb_tag *oldest = &tlb->tag[0];

    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (!tlb->tag[i].used) {
            return &tlb->tag[i];
        }
        if (tlb->tag[i].last_use < oldest->last_use) {
            oldest = &tlb->tag[i];
        }
    }
    return oldest;
}

static struct nvirt_tlb_tag *bind_tag(struct nvirt_tlb *tlb, uint32_t tag12)
{
    struct nvirt_tlb_tag *tag;

    if (tlb->tag_count == 0) {
        return NULL;
    }
    tag = find_tag12(tlb, tag12);
    if (tag == NULL) {
        tag = oldest_tag(tlb);
        tag_reset(tag, tag->tag02);
        tag->used = true;
        tag->tag12 = tag12;
    }
    tag->last_use = ++tlb->clock;
    return tag;
}

static void owe_flush(struct nvirt_tlb_tag *tag)
{
    tag->flush = true;
    tag->not_global = false;
    tag->addresses = 0;
}

static void owe_not_global(struct nvirt_tlb_tag *tag)
{
    /* Addresses that are owed may be global ones: those stay owed beside it. */
    if (!tag->flush) {
        tag->not_global = true;
    }
}

static void owe_address(struct nvirt_tlb_tag *tag, uint64_t address)
{
    uint64_t page = address & NVIRT_PAGE_MASK;

    if (tag->flush) {
        return;
    }
    for (uint32_t i = 0; i < tag->addresses; i++) {
        if (tag->address[i] == page) {
            return;
        }
    }
    if (tag->addresses == NVIRT_TLB_MAX_ADDRESSES) {
        owe_flush(tag);
        return;
    }
    tag->address[tag->addresses++] = page;
}

static void add_op(struct nvirt_flush_set *set, enum nvirt_flush_kind kind, uint32_t tag,
                   uint64_t operand)
{
    struct nvirt_flush_op *op = &set->op[set->count++];

    op->kind = kind;
    op->tag = tag;
    op->operand = operand;
}

/* MOV CR3, INVLPG and INVPCID of a guest do not exit and act on the CPU that executes them only, so
 * translations that a tag left behind on another CPU may be stale when it comes back. */
static void note_cpu(struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    if (tag->cpu != cpu) {
        owe_flush(tag);
        tag->cpu = cpu;
    }
}

static void settle(struct nvirt_tlb_tag *tag)
{
    tag->flush = false;
    tag->not_global = false;
    tag->addresses = 0;
}

/* [SDM 3C "INVVPID"]: a CPU may lack types; the next larger one serves. */
static void due_vpid(const struct nvirt_tlb_caps *caps, struct nvirt_tlb_tag *tag,
                     struct nvirt_flush_set *due)
{
    bool addresses_only = tag->addresses != 0 && !tag->flush && !tag->not_global;

    if (!tag->flush && !tag->not_global && tag->addresses == 0) {
        return;
    }
    if (addresses_only && caps->invvpid_address) {
        for (uint32_t i = 0; i < tag->addresses; i++) {
            add_op(due, NVIRT_FLUSH_VPID_ADDRESS, tag->tag02, tag->address[i]);
        }
    } else if (!tag->flush && tag->addresses == 0 && caps->invvpid_not_global) {
        add_op(due, NVIRT_FLUSH_VPID_NOT_GLOBAL, tag->tag02, 0);
    } else if (caps->invvpid_single) {
        add_op(due, NVIRT_FLUSH_VPID, tag->tag02, 0);
    } else {
        add_op(due, NVIRT_FLUSH_VPID_ALL, 0, 0);
    }
    settle(tag);
}

/* A flush of everything on @cpu settles what any tag owes there. */
static void settle_all_on(struct nvirt_tlb *tlb, uint32_t cpu)
{
    if (tlb->l1.cpu == cpu) {
        settle(&tlb->l1);
    }
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (tlb->tag[i].cpu == cpu) {
            settle(&tlb->tag[i]);
        }
    }
}

static void due_asid(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, struct nvirt_flush_set *due)
{
    if (tag->flush || tag->not_global) {
        if (tlb->caps.flush_by_asid) {
            add_op(due, NVIRT_FLUSH_ASID, tag->tag02, 0);
            settle(tag);
        } else {
            add_op(due, NVIRT_FLUSH_ASID_ALL, 0, 0);
            settle_all_on(tlb, tag->cpu);
        }
        return;
    }
    for (uint32_t i = 0; i < tag->addresses; i++) {
        add_op(due, NVIRT_FLUSH_ASID_ADDRESS, tag->tag02, tag->address[i]);
    }
    settle(tag);
}

/* ---- VMX ---- */

uint32_t nvirt_tlb_vmx_enter_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_vmx_entry *entry)
{
    struct nvirt_tlb_tag *tag =
        bind_tag(tlb, entry->vpid12_enabled ? entry->vpid12 : TAG12_NO_VPID);

    if (tag == NULL) {
        return 0;
    }
    if (!entry->vpid12_enabled) {
        /* L1 without VPID has its entry flush VPID 0, which L2 shares with L1. L1's own share is
         * flushed when L2 is left: L1 cannot use it in between. */
        owe_flush(tag);
    }
    return tag->tag02;
}

void nvirt_tlb_vmx_leave_l2(struct nvirt_tlb *tlb, bool vpid12_enabled)
{
    if (!vpid12_enabled) {
        owe_flush(&tlb->l1);
    }
}

void nvirt_tlb_vmx_invvpid(struct nvirt_tlb *tlb, uint32_t type, uint16_t vpid12, nvirt_gva address)
{
    struct nvirt_tlb_tag *tag;

    if (type == 2) {
        for (uint32_t i = 0; i < tlb->tag_count; i++) {
            if (tlb->tag[i].used && tlb->tag[i].tag12 != TAG12_NO_VPID) {
                owe_flush(&tlb->tag[i]);
            }
        }
        return;
    }
    tag = find_tag12(tlb, vpid12);
    if (tag == NULL || vpid12 == TAG12_NO_VPID) {
        return; /* No hardware tag stands for it, so nothing can be cached. */
    }
    if (type == 0) {
        owe_address(tag, address.value);
    } else if (type == 3) {
        owe_not_global(tag);
    } else {
        owe_flush(tag);
    }
}

void nvirt_tlb_vmx_due_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_vmx_entry *entry,
                          uint32_t tag02, struct nvirt_flush_set *due)
{
    struct nvirt_tlb_tag *tag = find_tag02(tlb, tag02);

    due->count = 0;
    if (entry->root_changed) {
        if (tlb->caps.invept_single) {
            add_op(due, NVIRT_FLUSH_ROOT, 0, entry->eptp02);
        } else {
            add_op(due, NVIRT_FLUSH_ROOT_ALL, 0, 0);
        }
    }
    if (tag02 != 0 && tag != NULL) {
        note_cpu(tag, entry->cpu);
        due_vpid(&tlb->caps, tag, due);
    }
}

/* ---- SVM ---- */

static void tlb_control(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, uint8_t control)
{
    switch (control) {
    case 0:
        break;
    case 1: /* The whole TLB of the CPU that L1 believes it has: L1's own entries too. */
        owe_flush(&tlb->l1);
        for (uint32_t i = 0; i < tlb->tag_count; i++) {
            owe_flush(&tlb->tag[i]);
            tlb->tag[i].root = 0;
        }
        break;
    default: /* 3: this guest's; 7: its non-global ones, which no smaller operation covers. */
        owe_flush(tag);
        tag->root = 0;
        break;
    }
}

uint32_t nvirt_tlb_svm_enter_l2(struct nvirt_tlb *tlb, const struct nvirt_tlb_svm_entry *entry,
                                bool *revalidate)
{
    struct nvirt_tlb_tag *tag = bind_tag(tlb, entry->asid12);

    *revalidate = entry->root12 != 0;
    if (tag == NULL) {
        return 0;
    }
    tlb_control(tlb, tag, entry->tlb_control);
    *revalidate = entry->root12 != 0 && tag->root != entry->root12;
    if (entry->root12 != tag->root) {
        /* Nested translations carry the ASID and nothing else: those of another root would be used. */
        owe_flush(tag);
    }
    tag->root = entry->root12;
    return tag->tag02;
}

void nvirt_tlb_svm_invlpga(struct nvirt_tlb *tlb, uint32_t asid12, nvirt_gva address)
{
    struct nvirt_tlb_tag *tag = asid12 == 0 ? &tlb->l1 : find_tag12(tlb, asid12);

    if (tag != NULL) {
        owe_address(tag, address.value);
    }
}

void nvirt_tlb_svm_due_l2(struct nvirt_tlb *tlb, uint32_t cpu, uint32_t tag02,
                          struct nvirt_flush_set *due)
{
    struct nvirt_tlb_tag *tag = find_tag02(tlb, tag02);

    due->count = 0;
    if (tag != NULL) {
        note_cpu(tag, cpu);
        due_asid(tlb, tag, due);
    }
}

/* ---- both ---- */

void nvirt_tlb_tables_changed(struct nvirt_tlb *tlb, uint32_t tag02)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (tag02 == 0 || tlb->tag[i].tag02 == tag02) {
            owe_flush(&tlb->tag[i]);
        }
    }
}

void nvirt_tlb_flush_l1(struct nvirt_tlb *tlb)
{
    owe_flush(&tlb->l1);
}

void nvirt_tlb_due_l1(struct nvirt_tlb *tlb, uint32_t cpu, bool svm, struct nvirt_flush_set *due)
{
    due->count = 0;
    if (tlb->l1.tag02 == 0) {
        return; /* L1 runs without a tag: the hardware flushes on every transition. */
    }
    note_cpu(&tlb->l1, cpu);
    if (svm) {
        due_asid(tlb, &tlb->l1, due);
    } else {
        due_vpid(&tlb->caps, &tlb->l1, due);
    }
}

void nvirt_tlb_forget(struct nvirt_tlb *tlb)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        tag_reset(&tlb->tag[i], tlb->tag[i].tag02);
    }
    owe_flush(&tlb->l1);
}
