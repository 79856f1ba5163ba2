/* SPDX-License-Identifier: MIT */
/* Hardware of svm_model.c, and what nvirt does around the engine: tables, entries, what the engine
 * is told. */
#ifndef NVIRT_TESTS_MODEL_SVM_NVIRT_H
#define NVIRT_TESTS_MODEL_SVM_NVIRT_H

static struct image image_of(const struct machine *m);
static uint64_t key_of(const struct image *before, const struct nvirt_flush_op *op);

/* ---- the hardware ---- */

static uint32_t hw_index(uint32_t asid02)
{
    return asid02 == ASID01 ? 0 : 1 + asid02 - FIRST_ASID02;
}

static uint32_t asid02_of(const struct machine *m)
{
    return m->level == 1 ? ASID01 : m->tlb.tag[m->hw - 1].tag02;
}

static bool is_marked_page(uint64_t page)
{
    return page == PAGE_MARKED && mark != MARK_A_UNNAMED;
}

static void flush_by_control(struct machine *m)
{
    if (m->pending.control == 1) {
        memset(m->linear[0], 0, HW_TAGS);
        memset(m->nest[0], 0, HW_TAGS);
    } else if (m->pending.control == 3) {
        m->linear[0][m->hw] = 0;
        m->nest[0][m->hw] = 0;
    }
}

/* ---- nvirt, around the engine ---- */

/* The tables that nvirt keeps for root @p root of L1's under ASID @p asid12. */
static uint32_t tree_of(uint32_t root, uint32_t asid12)
{
    return root != ROOT_NONE && asid12 == 2 ? root + 2u : root;
}

static uint32_t tree_now(const struct machine *m)
{
    return tree_of(m->current, m->owner);
}

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
    case MARK_NO_TABLES:
        return (universe->roots >> ROOT_NONE & 1u) != 0;
    case MARK_A_UNNAMED:
        return (universe->roots >> ROOT_A & 1u) != 0 &&
               (universe->pages || universe->host || universe->queue);
    default:
        return (universe->roots >> ROOT_A & 1u) != 0;
    }
}

static bool is_through_a(void)
{
    return mark == MARK_A || mark == MARK_A_UNNAMED;
}

/* The tables that a mark is in: those of ASID 1, of which ASID 2's are the mirror. */
static bool is_marked_tree(uint32_t tree)
{
    return mark == MARK_NO_TABLES ? tree == ROOT_NONE : mark != MARK_L1 && tree == ROOT_A;
}

static struct nvirt_tlb_entry entry_of(const struct machine *m)
{
    struct nvirt_tlb_entry entry = {
        .level = m->level, .cpu = 0, .root = m->level == 2 ? tree_now(m) : 0 };

    return entry;
}

/* The entry that was prepared happens. */
static void run(struct machine *m)
{
    struct nvirt_tlb_entry entry = entry_of(m);
    struct nvirt_flush_op op = { .kind = m->tlb.caps.flush_by_asid ? NVIRT_FLUSH_ASID
                                                                    : NVIRT_FLUSH_ASID_ALL,
                                 .tag = asid02_of(m) };

    if (!m->pending.open) {
        return;
    }
    flush_by_control(m);
    if (m->pending.by_control) {
        nvirt_tlb_done(&m->tlb, 0, &op);
    }
    nvirt_tlb_entered(&m->tlb, &entry);
    m->pending = (struct pending){0};
}

/* Of tables that no mark can be in it only matters that there is something to change. */
static void empty(struct machine *m, uint32_t tree)
{
    m->content[tree] = is_marked_tree(tree) ? CONTENT_NONE : CONTENT_OTHER;
}

/* An ASID carries what was fetched through any table, so changes of all are told at each entry. */
static void tell_changes(struct machine *m)
{
    for (uint32_t i = 0; i < TREES; i++) {
        if (m->changed[i]) {
            m->changed[i] = 0;
            nvirt_tlb_root_changed(&m->tlb, i);
        }
    }
}

static void enter_tables(struct machine *m)
{
    uint32_t tree = tree_now(m);
    bool drop = m->stale[tree] && m->content[tree] != CONTENT_NONE;

    m->stale[tree] = 0;
    if (drop) {
        empty(m, tree);
        m->changed[tree] = 1;
    }
    tell_changes(m);
    if (drop && follows_page() && is_marked_tree(tree)) {
        /* The page is given back. Who walked it may hold the way to it. */
        for (uint32_t hw = 0; hw < CPUS * HW_TAGS; hw++) {
            m->linear[hw / HW_TAGS][hw % HW_TAGS] |= m->nest[hw / HW_TAGS][hw % HW_TAGS];
            m->nest[hw / HW_TAGS][hw % HW_TAGS] = 0;
        }
    }
}

static void carry_out(struct machine *m, const struct image *before,
                      const struct nvirt_flush_op *op)
{
    bool real = emit(op, key_of(before, op));

    if (op->kind == NVIRT_FLUSH_ASID_ADDRESS) {
        m->linear[0][hw_index(op->tag)] &= !real || !is_marked_page(op->operand);
        nvirt_tlb_done(&m->tlb, 0, op);
        return;
    }
    m->pending.by_control = 1;
    m->pending.control = !real ? 0 : op->kind == NVIRT_FLUSH_ASID ? 3 : 1;
}

/* What is due, with what waits in the level's queue. */
static void ask(struct machine *m, const struct nvirt_tlb_entry *entry, struct nvirt_flush_set *due)
{
    static const uint64_t page = PAGE_MARKED;
    uint8_t bit = (uint8_t)(1u << (entry->level - 1));
    struct nvirt_hv_slot slots[2];
    struct nvirt_hv_fifo fifo;

    if (nvirt_hv_fifo_init(&fifo, slots, 2) != NVIRT_OK) {
        abort();
    }
    if ((m->queued & bit) != 0) {
        (void)nvirt_hv_fifo_put(&fifo, &page, 1);
    }
    nvirt_hv_flush_due(&fifo, &m->tlb, entry, 48, due);
    if (!nvirt_hv_fifo_waits(&fifo)) {
        m->queued = (uint8_t)(m->queued & ~bit);
    }
}

static void prepare(struct machine *m)
{
    struct nvirt_tlb_entry entry;
    struct nvirt_flush_set due;
    struct image before;

    m->pending = (struct pending){0}; /* what waited is still due */
    if (m->level == 2) {
        if (m->current != ROOT_NONE && nvirt_tlb_svm_revalidates(&m->tlb, tree_now(m))) {
            m->stale[tree_now(m)] = 1;
        }
        enter_tables(m);
    }
    entry = entry_of(m);
    if (!flush_always && (m->queued >> (m->level - 1) & 1u) == 0 &&
        nvirt_tlb_enter_settled(&m->tlb, &entry)) {
        return;
    }
    m->pending.open = 1;
    before = image_of(m);
    if (flush_always) {
        nvirt_tlb_request(&m->tlb, 1, NVIRT_TLB_REQUEST_EVERYTHING);
    }
    ask(m, &entry, &due);
    for (uint32_t i = 0; i < due.count; i++) {
        carry_out(m, &before, &due.op[i]);
    }
    if (!universe->host) {
        run(m);
    }
}

static bool vmrun(struct machine *m, uint32_t code)
{
    static const uint8_t controls[] = {0, 1, 3, 7};
    uint32_t asid12 = 1 + code / (ROOTS * 4);
    uint32_t root = code / 4 % ROOTS;
    uint8_t control = controls[code % 4];

    if (m->level != 1 || asid12 > universe->asids || (universe->roots >> root & 1u) == 0 ||
        (universe->controls >> code % 4 & 1u) == 0) {
        return false;
    }
    run(m);
    if (control == 1) {
        memset(m->virt_linear, 0, OWNERS);
        memset(m->virt_nested, 0, OWNERS);
    } else if (control != 0) {
        m->virt_linear[asid12] = 0;
        m->virt_nested[asid12] = 0;
    }
    /* The queue is of the L2 that ran last: what waits in it is asked for before another has its
     * place. */
    if ((m->queued & 2u) != 0 && m->tlb.running != NULL && m->tlb.running->tag12 != asid12) {
        nvirt_tlb_request_addresses(&m->tlb, 2, nvirt_gva_make(PAGE_MARKED), 1);
        m->queued = (uint8_t)(m->queued & ~2u);
    }
    m->hw = (uint8_t)hw_index(nvirt_tlb_svm_enter_l2(&m->tlb, asid12, root != ROOT_NONE, control));
    m->level = 2;
    m->owner = (uint8_t)asid12;
    m->current = (uint8_t)root;
    return true;
}

static bool leave(struct machine *m, bool ran)
{
    if (m->level != 2 || (!ran && !universe->host)) {
        return false;
    }
    if (ran) {
        run(m);
    }
    m->level = 1;
    m->owner = 0;
    m->hw = 0;
    m->current = 0;
    return true;
}

static void reset(struct machine *m)
{
    (void)leave(m, false);
    memset(m->virt_linear, 0, OWNERS);
    memset(m->virt_nested, 0, OWNERS);
    memset(m->stale, 1, TREES);
    nvirt_tlb_forget(&m->tlb);
}

#endif
