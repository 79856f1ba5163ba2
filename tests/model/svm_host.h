/* SPDX-License-Identifier: MIT */
/* What the host does, requests of every kind and Hyper-V's queues among it (svm_model.c). */
#ifndef NVIRT_TESTS_MODEL_SVM_HOST_H
#define NVIRT_TESTS_MODEL_SVM_HOST_H

/* ---- what L0 does: before or after the entry that was prepared ---- */

static bool take_by_request(struct machine *m, bool everything)
{
    if (follows_page() || (!everything && m->level != 2)) {
        return false;
    }
    if (everything || is_marked_tree(tree_now(m))) {
        m->host = 0;
    }
    for (uint32_t i = 0; i < TREES; i++) {
        if (everything || i == tree_now(m)) {
            empty(m, i);
            m->stale[i] = 0;
            m->changed[i] = 0;
        }
    }
    nvirt_tlb_request(&m->tlb, 2,
                      everything ? NVIRT_TLB_REQUEST_EVERYTHING : NVIRT_TLB_REQUEST_ROOT);
    return true;
}

/* By the port's range: the entries that hold it are dropped at once. */
static void take_from_l2(struct machine *m)
{
    if (mark == MARK_L1 || follows_page()) {
        return;
    }
    m->host = 0;
    for (uint32_t i = 0; i < TREES; i++) {
        if (is_marked_tree(i) && m->content[i] != CONTENT_NONE) {
            empty(m, i);
            m->changed[i] = 1;
        }
    }
}

/* The same of a page that only those tables lead to; no mark can be in them. */
static bool take_from_other(struct machine *m)
{
    m->changed[tree_of(ROOT_A, 2)] = 1;
    return universe->asids > 1 && (universe->roots >> ROOT_A & 1u) != 0;
}

static void take_from_l1(struct machine *m, bool posted)
{
    if (mark == MARK_L1) {
        m->host = 0;
    }
    if (posted) {
        nvirt_tlb_post(&m->tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    } else {
        nvirt_tlb_request(&m->tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    }
}

static void flush_guest(struct machine *m, uint32_t event)
{
    if (event != QUEUE || is_marked_page(PAGE_MARKED)) {
        m->virt_linear[m->owner] = 0;
    }
    if (event == QUEUE) {
        nvirt_tlb_request_addresses(&m->tlb, m->level, nvirt_gva_make(PAGE_MARKED), 1);
    } else if (event == QUEUE_POSTED) {
        nvirt_tlb_post(&m->tlb, m->level, NVIRT_TLB_REQUEST_GUEST);
    } else {
        nvirt_tlb_request(&m->tlb, m->level, NVIRT_TLB_REQUEST_GUEST);
    }
}

/* The hypercall that asked for it has returned: the level may not use the page any more. Whoever
 * runs comes by. */
static bool put(struct machine *m, uint32_t level)
{
    uint32_t owner = level == 1 ? 0 : m->tlb.running == NULL ? OWNERS : m->tlb.running->tag12;

    if (!universe->queue || owner == OWNERS) {
        return false;
    }
    run(m);
    if (is_marked_page(PAGE_MARKED)) {
        m->virt_linear[owner] = 0;
    }
    m->queued = (uint8_t)(m->queued | 1u << (level - 1));
    return true;
}

static bool l0_step(struct machine *m, uint32_t event)
{
    if (!universe->host) {
        return false;
    }
    switch (event) {
    case HOST:
        take_from_l2(m);
        return true;
    case HOST_OTHER:
        return take_from_other(m);
    case HOST_L1:
    case HOST_L1_POSTED:
        take_from_l1(m, event == HOST_L1_POSTED);
        return true;
    case HOST_L2:
    case HOST_ALL:
        return take_by_request(m, event == HOST_ALL);
    case HOST_BACK:
        m->host ^= 1u;
        return m->host == 1;
    case RESET:
        reset(m);
        return true;
    default:
        run(m); /* the guest asked for it */
        flush_guest(m, event);
        return true;
    }
}

#endif
