/* SPDX-License-Identifier: MIT */
/*
 * The flush-decision engine: tags and what was asked for on them. Every function is a step from one
 * state of struct nvirt_tlb to the next; what has to be done to hardware is decided in entry.c.
 *
 * A request only marks the tag or root it names. The mark turns into an operation when that is
 * about to be used, so a flush of a tag that L1 never runs again costs nothing.
 */
#include "tlbflush/tlb_internal.h"

#define NO_ROOT UINT32_MAX

/* ---- tags ---- */

void nvi_tlb_tag_unknown(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    uint32_t roots = tag == &tlb->l1 ? 1 : tlb->domain->root_count;

    tag->held[cpu].under = roots > NVI_TLB_OTHERS ? UINT64_MAX : NVIRT_BIT(roots) - 1;
    tag->held[cpu].time = nvi_tlb_now(tlb->domain);
    if (tag->cpu == cpu) {
        tag->cpu = NVIRT_TLB_NO_CPU;
    }
}

/* Stands for nothing; wherever it ran, what it left is stale as a whole. */
static void release(struct nvirt_tlb_tag *tag)
{
    tag->used = false;
    tag->tag12 = 0;
    tag->cpu = NVIRT_TLB_NO_CPU;
    nvi_tlb_settle(tag);
}

/* Whoever had this hardware tag before may have left translations under it, on any CPU. */
static void tag_init(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, uint32_t tag02)
{
    __builtin_memset(tag, 0, sizeof(*tag));
    tag->tag02 = tag02;
    release(tag);
    for (uint32_t i = 0; i < NVIRT_TLB_MAX_CPUS; i++) {
        nvi_tlb_tag_unknown(tlb, tag, i);
    }
}

enum nvirt_status nvirt_tlb_init(struct nvirt_tlb *tlb, const struct nvirt_tlb_config *config)
{
    if (tlb == NULL || config == NULL || config->domain == NULL ||
        (config->tags == NULL && config->tag_count != 0)) {
        return NVIRT_ERR_NULL;
    }
    if (config->tag_count > NVIRT_TLB_MAX_TAGS || (config->svm && config->tag_count == 0) ||
        config->max_addresses > NVIRT_TLB_MAX_ADDRESSES) {
        return NVIRT_ERR_RANGE;
    }
    __builtin_memset(tlb, 0, sizeof(*tlb));
    tlb->domain = config->domain;
    tlb->caps = config->caps;
    tlb->svm = config->svm;
    tlb->max_addresses = config->max_addresses;
    tlb->tag_count = config->tag_count;
    tlb->running_root = NO_ROOT;
    tag_init(tlb, &tlb->l1, config->tag01);
    for (uint32_t i = 0; i < config->tag_count; i++) {
        tag_init(tlb, &tlb->tag[i], config->tags[i]);
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
    struct nvirt_tlb_tag *tag = find_tag12(tlb, tag12);

    tlb->running_root = NO_ROOT;
    tlb->running = NULL;
    if (tlb->tag_count == 0) {
        return NULL;
    }
    if (tag == NULL) {
        tag = oldest_tag(tlb);
        release(tag);
        tag->used = true;
        tag->tag12 = tag12;
        /* What L1 had flushed while no tag stood for it was not written down. */
        tag->requested = nvi_tlb_tick(tlb->domain);
    }
    tag->last_use = ++tlb->clock;
    tlb->running = tag;
    return tag;
}

/* ---- what is owed ---- */

static void owe_flush(struct nvirt_tlb_tag *tag)
{
    nvi_tlb_settle(tag);
    tag->flush = true;
}

/* Addresses that are owed may be global ones: those stay owed beside it. */
static void owe_not_global(const struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag)
{
    if (tlb->svm || !tlb->caps.invvpid_not_global) {
        owe_flush(tag);
    } else if (!tag->flush) {
        tag->not_global = true;
    }
}

static void owe_address(const struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag, uint64_t address)
{
    bool possible = tlb->svm ? tlb->caps.invlpga : tlb->caps.invvpid_address;
    uint64_t page = address & NVIRT_PAGE_MASK;

    if (tag->flush) {
        return;
    }
    for (uint32_t i = 0; i < tag->addresses; i++) {
        if (tag->address[i] == page) {
            return;
        }
    }
    if (!possible || tag->addresses == tlb->max_addresses) {
        owe_flush(tag);
        return;
    }
    tag->address[tag->addresses++] = page;
}

/* ---- VMX ---- */

uint32_t nvirt_tlb_vmx_enter_l2(struct nvirt_tlb *tlb, bool vpid12_enabled, uint16_t vpid12)
{
    struct nvirt_tlb_tag *tag = bind_tag(tlb, vpid12_enabled ? vpid12 : NVI_TLB_NO_VPID);

    if (tag == NULL) {
        return 0;
    }
    if (!vpid12_enabled) {
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
            if (tlb->tag[i].used && tlb->tag[i].tag12 != NVI_TLB_NO_VPID) {
                owe_flush(&tlb->tag[i]);
            }
        }
        return;
    }
    tag = find_tag12(tlb, vpid12);
    if (tag == NULL || vpid12 == NVI_TLB_NO_VPID) {
        return; /* No hardware tag stands for it, so nothing can be cached. */
    }
    if (type == 0) {
        owe_address(tlb, tag, address.value);
    } else if (type == 3) {
        owe_not_global(tlb, tag);
    } else {
        owe_flush(tag);
    }
}

void nvirt_tlb_vmx_eptp_switch(struct nvirt_tlb *tlb)
{
    if (tlb->running != NULL && tlb->running->tag12 == NVI_TLB_NO_VPID) {
        owe_flush(tlb->running); /* L1's share of VPID 0 goes when L2 is left. */
    }
}

/* ---- SVM ---- */

/* L1 had the whole ASID flushed, nested translations included. */
static void flush_for_l1(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag)
{
    owe_flush(tag);
    tag->requested = nvi_tlb_tick(tlb->domain);
}

uint32_t nvirt_tlb_svm_enter_l2(struct nvirt_tlb *tlb, uint32_t asid12, bool nested,
                                uint8_t tlb_control)
{
    struct nvirt_tlb_tag *tag = bind_tag(tlb, asid12);

    if (tag == NULL) {
        return 0;
    }
    if (tag->nested != nested) {
        owe_flush(tag);
        tag->nested = nested;
    }
    if (tlb_control == 1) {
        /* The whole TLB of the CPU that L1 believes it has: L1's own entries too. */
        owe_flush(&tlb->l1);
        for (uint32_t i = 0; i < tlb->tag_count; i++) {
            flush_for_l1(tlb, &tlb->tag[i]);
        }
    } else if (tlb_control != 0) {
        /* 3: this guest's; 7: its non-global ones. What 7 does to nested translations is not said,
         * so L1 may count on more than hardware's own 7 does. */
        flush_for_l1(tlb, tag);
    }
    return tag->tag02;
}

void nvirt_tlb_svm_invlpga(struct nvirt_tlb *tlb, uint32_t asid12, nvirt_gva address)
{
    struct nvirt_tlb_tag *tag = asid12 == 0 ? &tlb->l1 : find_tag12(tlb, asid12);

    if (tag != NULL) {
        owe_address(tlb, tag, address.value);
    }
}

/* ---- both ---- */

static void all_roots_changed(struct nvirt_tlb *tlb)
{
    for (uint32_t i = 0; i < tlb->domain->root_count; i++) {
        nvirt_tlb_root_changed(tlb, i);
    }
}

static void root_request(struct nvirt_tlb *tlb, uint32_t level)
{
    if (level == 1) {
        nvi_tlb_mark_changed(tlb->domain, &tlb->root01);
    } else if (tlb->running_root != NO_ROOT) {
        nvirt_tlb_root_changed(tlb, tlb->running_root);
    } else {
        /* L2 has not run since it was entered: its root is not known yet. */
        all_roots_changed(tlb);
    }
}

static void guest_request(struct nvirt_tlb *tlb, struct nvirt_tlb_tag *tag,
                          enum nvirt_tlb_request kind)
{
    if (kind == NVIRT_TLB_REQUEST_NOT_GLOBAL) {
        owe_not_global(tlb, tag);
    } else {
        owe_flush(tag);
    }
}

void nvirt_tlb_request(struct nvirt_tlb *tlb, uint32_t level, enum nvirt_tlb_request kind)
{
    struct nvirt_tlb_tag *tag = level == 1 ? &tlb->l1 : tlb->running;

    if (kind == NVIRT_TLB_REQUEST_EVERYTHING) {
        /* No translation comes from anywhere but a root. */
        root_request(tlb, 1);
        all_roots_changed(tlb);
    } else if (kind == NVIRT_TLB_REQUEST_ROOT) {
        root_request(tlb, level);
    } else if (tag != NULL) {
        guest_request(tlb, tag, kind);
    }
}

void nvirt_tlb_request_tag(struct nvirt_tlb *tlb, uint32_t tag02)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        if (tlb->tag[i].tag02 == tag02) {
            owe_flush(&tlb->tag[i]);
        }
    }
}

void nvirt_tlb_post(struct nvirt_tlb *tlb, uint32_t level, enum nvirt_tlb_request kind)
{
    __atomic_fetch_or(&tlb->posted, nvi_tlb_posted_bit(level, kind), __ATOMIC_RELEASE);
}

static void collect_l2(struct nvirt_tlb *tlb, enum nvirt_tlb_request kind)
{
    if (kind == NVIRT_TLB_REQUEST_ROOT) {
        all_roots_changed(tlb);
        return;
    }
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        guest_request(tlb, &tlb->tag[i], kind);
    }
}

void nvi_tlb_collect(struct nvirt_tlb *tlb)
{
    uint32_t posted;

    if (__atomic_load_n(&tlb->posted, __ATOMIC_RELAXED) == 0) {
        return;
    }
    posted = __atomic_exchange_n(&tlb->posted, 0, __ATOMIC_ACQUIRE);
    for (uint32_t kind = 0; kind <= NVIRT_TLB_REQUEST_EVERYTHING; kind++) {
        bool all = kind == NVIRT_TLB_REQUEST_EVERYTHING;

        if ((posted & nvi_tlb_posted_bit(1, (enum nvirt_tlb_request)kind)) != 0) {
            nvirt_tlb_request(tlb, 1, (enum nvirt_tlb_request)kind);
        }
        if ((posted & nvi_tlb_posted_bit(2, (enum nvirt_tlb_request)kind)) != 0 && all) {
            nvirt_tlb_request(tlb, 2, NVIRT_TLB_REQUEST_EVERYTHING);
        } else if ((posted & nvi_tlb_posted_bit(2, (enum nvirt_tlb_request)kind)) != 0) {
            collect_l2(tlb, (enum nvirt_tlb_request)kind);
        }
    }
}

void nvirt_tlb_request_addresses(struct nvirt_tlb *tlb, uint32_t level, nvirt_gva first,
                                 uint64_t pages)
{
    struct nvirt_tlb_tag *tag = level == 1 ? &tlb->l1 : tlb->running;

    if (tag == NULL) {
        return;
    }
    /* One more than are remembered settles it. */
    for (uint64_t i = 0; i < pages && i <= NVIRT_TLB_MAX_ADDRESSES; i++) {
        owe_address(tlb, tag, first.value + i * NVIRT_PAGE_SIZE);
    }
}

void nvirt_tlb_forget(struct nvirt_tlb *tlb)
{
    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        release(&tlb->tag[i]);
    }
    tlb->running = NULL;
    tlb->running_root = NO_ROOT;
    owe_flush(&tlb->l1);
}
