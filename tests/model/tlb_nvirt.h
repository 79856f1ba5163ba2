/* SPDX-License-Identifier: MIT */
/* Hardware of tlb_model.c, and what nvirt does around the engine: tables, entries, what the engine
 * is told. */
#ifndef NVIRT_TESTS_MODEL_TLB_NVIRT_H
#define NVIRT_TESTS_MODEL_TLB_NVIRT_H

static bool follows_page(void)
{
    return mark == MARK_FREED;
}

/* Marks that no level comes near, and those that no event tells from another, say nothing new. */
static bool mark_counts(void)
{
    switch (mark) {
    case MARK_L1:
        return true;
    case MARK_NO_EPT:
    case MARK_EARLIER:
        return (universe->roots >> ROOT_NONE & 1u) != 0;
    case MARK_A_GLOBAL:
    case MARK_A_UNNAMED:
        return (universe->roots >> ROOT_A & 1u) != 0 &&
               (universe->invvpid || universe->host || universe->queue);
    default:
        return (universe->roots >> ROOT_A & 1u) != 0;
    }
}

static bool is_through_a(void)
{
    return mark == MARK_A || mark == MARK_A_GLOBAL || mark == MARK_A_UNNAMED;
}

/* Two pages that addresses name are not all there are. */
static bool is_marked_page(uint64_t page)
{
    return page == PAGE_MARKED && mark != MARK_A_UNNAMED;
}

/* ---- the hardware ---- */

static uint32_t hw_index(uint32_t tag02)
{
    return tag02 == TAG01 ? 0 : 1 + tag02 - FIRST_TAG02;
}

/* The root that the mark is in. L1's own is behind EPT01, which is the host's. */
static uint32_t marked_root(void)
{
    if (mark == MARK_L1) {
        return NVIRT_TLB_ROOT_L1;
    }
    return mark == MARK_NO_EPT || mark == MARK_EARLIER ? ROOT_NONE : ROOT_A;
}

/* INVEPT: everything of a root on this CPU, under each tag. */
static void drop_root(struct machine *m, uint32_t cpu)
{
    m->nest[cpu] = 0;
    m->freed[cpu] = 0;
    memset(m->linear[cpu], 0, HW_TAGS);
}

/* The other vCPU's tags never hold the mark: its operations on them do nothing here. */
static void carry_out_one(struct machine *m, uint32_t v, const struct nvirt_flush_op *op)
{
    uint32_t cpu = m->vcpu[v].cpu;

    switch (op->kind) {
    case NVIRT_FLUSH_VPID_ADDRESS:
        m->linear[cpu][hw_index(op->tag)] &= v != 0 || !is_marked_page(op->operand);
        break;
    case NVIRT_FLUSH_VPID:
        m->linear[cpu][hw_index(op->tag)] &= v != 0;
        break;
    case NVIRT_FLUSH_VPID_NOT_GLOBAL:
        m->linear[cpu][hw_index(op->tag)] &= v != 0 || mark == MARK_A_GLOBAL;
        break;
    case NVIRT_FLUSH_VPID_ALL:
        memset(m->linear[cpu], 0, HW_TAGS);
        break;
    case NVIRT_FLUSH_ROOT:
        /* EPT01 is the same for both vCPUs. */
        if (op->root == marked_root()) {
            drop_root(m, cpu);
        }
        break;
    default:
        drop_root(m, cpu);
        break;
    }
}

/* ---- nvirt, around the engine ---- */

static void prepare(struct machine *m, uint32_t number, bool transition);

/* Pages wait in limbo until no CPU is in L2 that has not come by since. */
static void kick_other(struct machine *m, const struct vcpu *v)
{
    uint32_t other = v == &m->vcpu[0];

    if (other < universe->vcpus && m->vcpu[other].cpu != v->cpu &&
        m->running[m->vcpu[other].cpu] == other) {
        prepare(m, other, false);
    }
}

/* Of tables that no mark can be in it only matters that there is something to change. */
static void empty(struct machine *m, uint32_t root)
{
    m->content[root] = root == marked_root() ? CONTENT_NONE : CONTENT_OTHER;
}

/* The tables that L2 is about to run on: emptied if invalidated. Shared ones are also compared with
 * L1's, as another vCPU may have filled them before this one ever used them. */
static void enter_tables(struct machine *m, struct vcpu *v, bool transition)
{
    uint32_t root = v->current;
    bool lags = root == ROOT_A && m->content[root] != (m->nested ? CONTENT_MARKED : CONTENT_OTHER);
    bool drop = m->stale[root] || (universe->vcpus > 1 && transition && lags);

    m->stale[root] = 0;
    drop = drop && m->content[root] != CONTENT_NONE;
    if (drop) {
        empty(m, root);
    }
    if (drop || m->changed[root]) {
        m->changed[root] = 0;
        nvirt_tlb_root_changed(&v->tlb, root);
    }
    if (drop && follows_page() && root == ROOT_A) {
        kick_other(m, v);
        /* The page is given back. Who walked it and does not flush holds the way to it. */
        for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
            m->freed[cpu] |= m->nest[cpu];
            m->nest[cpu] = 0;
        }
    }
}

static struct image image_of(const struct machine *m);
static uint64_t key_of(const struct image *before, const struct nvirt_flush_op *op);

/* What is due, with what waits in the level's queue. */
static void ask(struct machine *m, uint32_t number, const struct nvirt_tlb_entry *entry,
                struct nvirt_flush_set *due)
{
    static const uint64_t page = PAGE_MARKED;
    uint8_t bit = (uint8_t)(1u << (entry->level - 1));
    struct nvirt_hv_slot slots[2];
    struct nvirt_hv_fifo fifo;

    if (nvirt_hv_fifo_init(&fifo, slots, 2) != NVIRT_OK) {
        abort();
    }
    if (number == 0 && (m->queued & bit) != 0) {
        (void)nvirt_hv_fifo_put(&fifo, &page, 1);
    }
    nvirt_hv_flush_due(&fifo, &m->vcpu[number].tlb, entry, 48, due);
    if (number == 0 && !nvirt_hv_fifo_waits(&fifo)) {
        m->queued = (uint8_t)(m->queued & ~bit);
    }
}

static void prepare(struct machine *m, uint32_t number, bool transition)
{
    struct vcpu *v = &m->vcpu[number];
    struct nvirt_tlb_entry entry = {
        .level = v->level, .cpu = v->cpu, .root = v->current, .eptp = v->current };
    struct nvirt_flush_set due;
    struct image before;

    if (v->level == 2) {
        enter_tables(m, v, transition);
    }
    m->running[v->cpu] = (uint8_t)number;
    if (!flush_always && (m->queued >> (v->level - 1) & 1u) == 0 &&
        nvirt_tlb_enter_settled(&v->tlb, &entry)) {
        return;
    }
    before = image_of(m);
    if (flush_always) {
        nvirt_tlb_request(&v->tlb, 1, NVIRT_TLB_REQUEST_EVERYTHING);
    }
    ask(m, number, &entry, &due);
    for (uint32_t i = 0; i < due.count; i++) {
        if (number != 0 || emit(&due.op[i], key_of(&before, &due.op[i]))) {
            carry_out_one(m, number, &due.op[i]);
        }
        nvirt_tlb_done(&v->tlb, v->cpu, &due.op[i]);
    }
    nvirt_tlb_entered(&v->tlb, &entry);
}

/* Without VPID each transition flushes VPID 0. */
static void transition(struct machine *m)
{
    if (m->vcpu[0].owner == 0) {
        m->virt_linear[0] = 0;
    }
}

static void back_to_l1(struct vcpu *v)
{
    v->level = 1;
    v->owner = 0;
    v->hw = 0;
    v->current = 0;
}

static bool bind(struct machine *m, uint32_t number, uint32_t root, uint32_t vpid)
{
    struct vcpu *v = &m->vcpu[number];

    if (v->level != 1 || (universe->roots >> root & 1u) == 0 || vpid > universe->vpids ||
        (vpid == 0 && !universe->no_vpid)) {
        return false;
    }
    /* The queue is of the L2 that ran last: what waits in it is asked for before another has its
     * place. */
    if (number == 0 && (m->queued & 2u) != 0 && v->tlb.running != NULL &&
        v->tlb.running->tag12 != vpid) {
        nvirt_tlb_request_addresses(&v->tlb, 2, nvirt_gva_make(PAGE_MARKED), 1);
        m->queued = (uint8_t)(m->queued & ~2u);
    }
    v->level = 2;
    v->owner = (uint8_t)vpid;
    v->current = (uint8_t)root;
    if (number == 0) {
        transition(m);
    }
    v->hw = (uint8_t)hw_index(nvirt_tlb_vmx_enter_l2(&v->tlb, vpid != 0, (uint16_t)vpid));
    return true;
}

static bool leave(struct machine *m, uint32_t number)
{
    struct vcpu *v = &m->vcpu[number];

    if (v->level != 2) {
        return false;
    }
    if (number == 0) {
        transition(m);
    }
    nvirt_tlb_vmx_leave_l2(&v->tlb, v->owner != 0);
    back_to_l1(v);
    return true;
}

static bool switch_root(struct machine *m, uint32_t root)
{
    struct vcpu *v = &m->vcpu[0];

    if (v->level != 2 || v->current == ROOT_NONE || v->current == root ||
        (universe->roots >> root & 1u) == 0) {
        return false;
    }
    v->current = (uint8_t)root;
    if (v->owner == 0) {
        m->virt_linear[0] = 0;
    }
    nvirt_tlb_vmx_eptp_switch(&v->tlb);
    return true;
}

static void stale_roots(struct machine *m, bool all)
{
    for (uint32_t i = all ? ROOT_NONE : ROOT_A; i < ROOTS; i++) {
        m->stale[i] = m->content[i] != CONTENT_NONE;
    }
}

static void forget(struct machine *m, bool all)
{
    memset(m->virt_linear, 0, OWNERS);
    m->virt_nested = 0;
    nvirt_tlb_forget(&m->vcpu[0].tlb);
    stale_roots(m, all);
}

static bool invept(struct machine *m, uint32_t event)
{
    if (m->vcpu[0].level != 1) {
        return false;
    }
    if (event != INVEPT_B) {
        m->virt_nested = 0;
        if (is_through_a()) {
            memset(m->virt_linear, 0, OWNERS);
        }
    }
    if (event == INVEPT_ALL) {
        stale_roots(m, false);
    } else {
        uint32_t root = event == INVEPT_A ? ROOT_A : ROOT_B;

        m->stale[root] = m->content[root] != CONTENT_NONE;
    }
    return event != INVEPT_B || (universe->roots >> ROOT_B & 1u) != 0;
}

static bool invvpid(struct machine *m, uint32_t type, uint32_t vpid, uint64_t page)
{
    if (m->vcpu[0].level != 1 || !universe->invvpid || vpid > universe->vpids ||
        (page != PAGE_MARKED && !universe->pages)) {
        return false;
    }
    if (type == 2) {
        m->virt_linear[1] = 0;
        m->virt_linear[2] = 0;
    } else if (type != 0 || is_marked_page(page)) {
        m->virt_linear[vpid] &= type == 3 && mark == MARK_A_GLOBAL;
    }
    nvirt_tlb_vmx_invvpid(&m->vcpu[0].tlb, type, (uint16_t)vpid, nvirt_gva_make(page));
    return true;
}

#endif
