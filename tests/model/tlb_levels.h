/* SPDX-License-Identifier: MIT */
/* What L1 and L2 do that nobody sees, and moves to another CPU (tlb_model.c). */
#ifndef NVIRT_TESTS_MODEL_TLB_LEVELS_H
#define NVIRT_TESTS_MODEL_TLB_LEVELS_H

/* ---- moves ---- */

static void swap_bytes(uint8_t *a, uint8_t *b)
{
    uint8_t kept = *a;

    *a = *b;
    *b = kept;
}

static void swap_times(uint64_t time[CPUS])
{
    uint64_t kept = time[0];

    time[0] = time[1];
    time[1] = kept;
}

static void swap_tag(struct nvirt_tlb_tag *tag)
{
    struct nvirt_tlb_held kept = tag->held[0];

    tag->held[0] = tag->held[1];
    tag->held[1] = kept;
    if (tag->cpu != NVIRT_TLB_NO_CPU) {
        tag->cpu ^= 1u;
    }
}

static void swap_cpus(struct machine *m)
{
    for (uint32_t v = 0; v < VCPUS; v++) {
        struct nvirt_tlb *tlb = &m->vcpu[v].tlb;

        swap_tag(&tlb->l1);
        swap_times(tlb->root01.flushed);
        for (uint32_t i = 0; i < tlb->tag_count; i++) {
            swap_tag(&tlb->tag[i]);
        }
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        swap_times(m->root[i].flushed);
    }
    swap_times(m->domain.flush);
    swap_times(m->domain.all_tags);
    for (uint32_t i = 0; i < HW_TAGS; i++) {
        swap_bytes(&m->linear[0][i], &m->linear[1][i]);
    }
    swap_bytes(&m->nest[0], &m->nest[1]);
    swap_bytes(&m->freed[0], &m->freed[1]);
    swap_bytes(&m->running[0], &m->running[1]);
    m->vcpu[1].cpu ^= 1u;
}

static void move_cpu(struct machine *m)
{
    if (m->running[0] == 0) {
        m->running[0] = NOBODY;
    }
    swap_cpus(m);
}

/* ---- what the levels do ---- */

/* Linear addresses are those of the mark: its PCID is in use, or it is global and they do not
 * matter. */
static bool is_marked_space(const struct machine *m)
{
    return m->pcid == 0 || mark == MARK_A_GLOBAL;
}

/* What the level that runs has before it now is the marked translation. */
static uint8_t marked_now(const struct machine *m)
{
    const struct vcpu *v = &m->vcpu[0];

    switch (mark) {
    case MARK_L1:
        return v->level == 1;
    case MARK_A:
    case MARK_A_GLOBAL:
    case MARK_A_UNNAMED:
        return v->level == 2 && v->current == ROOT_A && m->nested;
    case MARK_NO_EPT:
        return v->level == 2 && v->current == ROOT_NONE;
    default:
        return 0;
    }
}

/* The virtual CPU may hold all that was ever before it. */
static void fetch_ahead(struct machine *m)
{
    const struct vcpu *v = &m->vcpu[0];
    uint8_t through_a = v->level == 2 && v->current == ROOT_A;

    m->virt_nested |= through_a && marked_now(m);
    if (is_marked_space(m)) {
        m->virt_linear[v->owner] |= m->guest & (marked_now(m) | (through_a & m->virt_nested));
    }
}

/* What nvirt puts into its tables on the first access is L1's and the host's of now. */
static void fill(struct machine *m, uint32_t root)
{
    bool marked = root == ROOT_A ? m->nested && is_through_a() : mark == MARK_NO_EPT;

    if (m->content[root] == CONTENT_NONE) {
        m->content[root] =
            marked && root == marked_root() && m->host ? CONTENT_MARKED : CONTENT_OTHER;
    }
}

static void touch(struct machine *m, uint32_t number)
{
    const struct vcpu *v = &m->vcpu[number];

    if (v->level == 1) {
        m->linear[v->cpu][v->hw] |= is_marked_space(m) & m->guest & marked_now(m) & m->host;
        return;
    }
    fill(m, v->current);
    if (v->current != marked_root()) {
        return;
    }
    if (follows_page()) {
        m->nest[v->cpu] = 1;
        return;
    }
    m->nest[v->cpu] |= m->content[v->current] == CONTENT_MARKED;
    if (number == 0) {
        m->linear[v->cpu][v->hw] |= is_marked_space(m) & m->guest & m->nest[v->cpu];
    }
}

/* Of the linear address that the mark has, or of all: for the current VPID, under all EPTs; not
 * guest-physical ones. Of another PCID only what is global goes [SDM 3A "Operations that Invalidate
 * TLBs and Paging-Structure Caches"]. */
static bool level_flushes(struct machine *m, bool globals)
{
    const struct vcpu *v = &m->vcpu[0];

    if (follows_page()) {
        return false;
    }
    if (is_marked_space(m) && (globals || mark != MARK_A_GLOBAL)) {
        m->virt_linear[v->owner] = 0;
        m->linear[0][v->hw] = 0;
    }
    return true;
}

/* Events without a hardware entry. */
static bool quiet_step(struct machine *m, uint32_t event)
{
    if (event != NESTED && m->running[0] != 0) {
        return false;
    }
    switch (event) {
    case TOUCH:
        touch(m, 0);
        return true;
    case GUEST:
        m->guest ^= 1u;
        return !follows_page();
    case NESTED:
        m->nested ^= 1u;
        return is_through_a();
    case OTHER_PCID:
        m->pcid ^= 1u;
        return universe->pcid && !follows_page();
    case MOV_CR3:
        return universe->pcid && level_flushes(m, false);
    default:
        return level_flushes(m, true);
    }
}

#endif
