/* SPDX-License-Identifier: MIT */
/* What the host does, requests of every kind and Hyper-V's queues among it, and the other vCPU
 * (tlb_model.c). */
#ifndef NVIRT_TESTS_MODEL_TLB_HOST_H
#define NVIRT_TESTS_MODEL_TLB_HOST_H

/* ---- what L0 does ---- */

/* From L2, by the port's range: the entries that hold it are dropped at once; who is in L2 comes
 * by. */
static void take_from_l2(struct machine *m)
{
    uint32_t root = marked_root();

    if (mark != MARK_L1 && !follows_page()) {
        m->host = 0;
        if (m->content[root] != CONTENT_NONE) {
            empty(m, root);
            m->changed[root] = 1;
        }
    }
    if (universe->vcpus > 1 && m->vcpu[1].level == 2 && m->running[m->vcpu[1].cpu] == 1) {
        prepare(m, 1, false);
    }
}

/* The same of a page that only B leads to. */
static bool take_from_b(struct machine *m)
{
    if (m->content[ROOT_B] != CONTENT_NONE) {
        empty(m, ROOT_B);
        m->changed[ROOT_B] = 1;
    }
    return (universe->roots >> ROOT_B & 1u) != 0 && universe->vcpus == 1;
}

/* The host changed its own second stage for L1. */
static void take_from_l1(struct machine *m, bool posted)
{
    if (mark == MARK_L1) {
        m->host = 0;
    }
    if (posted) {
        nvirt_tlb_post(&m->vcpu[0].tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    } else {
        nvirt_tlb_request(&m->vcpu[0].tlb, 1, NVIRT_TLB_REQUEST_ROOT);
    }
}

/* Tables are dropped without a word to the engine but the request. */
static bool take_by_request(struct machine *m, bool everything)
{
    struct vcpu *v = &m->vcpu[0];

    if (follows_page() || universe->vcpus > 1 || (!everything && v->level != 2)) {
        return false;
    }
    if (everything || v->current == marked_root()) {
        m->host = 0;
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        if (everything || i == v->current) {
            empty(m, i);
            m->stale[i] = 0;
            m->changed[i] = 0;
        }
    }
    nvirt_tlb_request(&v->tlb, 2,
                      everything ? NVIRT_TLB_REQUEST_EVERYTHING : NVIRT_TLB_REQUEST_ROOT);
    return true;
}

static void flush_guest(struct machine *m, uint32_t event)
{
    struct vcpu *v = &m->vcpu[0];

    if (event != QUEUE || is_marked_page(PAGE_MARKED)) {
        m->virt_linear[v->owner] &= event == NOT_GLOBAL && mark == MARK_A_GLOBAL;
    }
    if (event == QUEUE) {
        nvirt_tlb_request_addresses(&v->tlb, v->level, nvirt_gva_make(PAGE_MARKED), 1);
    } else if (event == QUEUE_POSTED) {
        nvirt_tlb_post(&v->tlb, v->level, NVIRT_TLB_REQUEST_GUEST);
    } else {
        nvirt_tlb_request(&v->tlb, v->level,
                          event == PAGING ? NVIRT_TLB_REQUEST_GUEST : NVIRT_TLB_REQUEST_NOT_GLOBAL);
    }
}

/* The hypercall that asked for it has returned: the level may not use the page any more. Whoever
 * runs comes by. */
static bool put(struct machine *m, uint32_t level)
{
    struct vcpu *v = &m->vcpu[0];
    uint32_t owner = level == 1 ? 0 : v->tlb.running == NULL ? OWNERS : v->tlb.running->tag12;

    if (!universe->queue || owner == OWNERS) {
        return false;
    }
    /* VPID 0 is L1's and that of an L2 without: what one asked for is not the other's. */
    if (is_marked_page(PAGE_MARKED) && (level == 1) == (mark == MARK_L1)) {
        m->virt_linear[owner] = 0;
    }
    m->queued = (uint8_t)(m->queued | 1u << (level - 1));
    return true;
}

static bool l0_step(struct machine *m, uint32_t event)
{
    if (!(event == RESET || event == VMXOFF ? universe->off : universe->host)) {
        return false;
    }
    switch (event) {
    case HOST:
        take_from_l2(m);
        return true;
    case HOST_B:
        return take_from_b(m);
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
        (void)leave(m, 0);
        forget(m, true);
        return true;
    case VMXOFF:
        /* It need not invalidate anything; that L1 counts on it is the demanding case. */
        if (m->vcpu[0].level == 1) {
            forget(m, false);
        }
        return m->vcpu[0].level == 1;
    default:
        flush_guest(m, event);
        return true;
    }
}

/* ---- the other vCPU ---- */

static bool other_invept(struct machine *m, uint32_t root)
{
    m->stale[root] = m->content[root] != CONTENT_NONE;
    return m->vcpu[1].level == 1 && (universe->roots >> root & 1u) != 0;
}

static bool other_step(struct machine *m, uint32_t event)
{
    struct vcpu *v = &m->vcpu[1];
    bool possible = true;

    if (universe->vcpus < 2) {
        return false;
    }
    switch (event) {
    case OTHER_RUNS:
        possible = m->running[v->cpu] != 1;
        break;
    case OTHER_TOUCHES:
        if (m->running[v->cpu] == 1 && v->level == 2) {
            touch(m, 1);
        }
        return m->running[v->cpu] == 1 && v->level == 2;
    case OTHER_MOVES:
        if (m->running[v->cpu] == 1) {
            m->running[v->cpu] = NOBODY;
        }
        v->cpu ^= 1u;
        break;
    case OTHER_INVEPT_A:
    case OTHER_INVEPT_B:
        possible = other_invept(m, event == OTHER_INVEPT_A ? ROOT_A : ROOT_B);
        break;
    case OTHER_EXIT:
        possible = leave(m, 1);
        break;
    default:
        possible = bind(m, 1, event == OTHER_ENTER_A ? ROOT_A : ROOT_B, 1);
        break;
    }
    if (possible) {
        prepare(m, 1, event >= OTHER_ENTER_A);
    }
    return possible;
}

#endif
