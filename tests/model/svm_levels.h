/* SPDX-License-Identifier: MIT */
/* What L1 and L2 do that nobody sees (svm_model.c). */
#ifndef NVIRT_TESTS_MODEL_SVM_LEVELS_H
#define NVIRT_TESTS_MODEL_SVM_LEVELS_H

/* ---- what the levels do ---- */

/* What the level that runs has before it now is the marked translation. */
static uint8_t marked_now(const struct machine *m)
{
    switch (mark) {
    case MARK_L1:
        return m->level == 1;
    case MARK_A:
    case MARK_A_UNNAMED:
        return m->level == 2 && m->current == ROOT_A && m->nested && m->owner == 1;
    case MARK_NO_TABLES:
        return m->level == 2 && m->current == ROOT_NONE;
    default:
        return 0;
    }
}

/* The virtual CPU may fetch ahead: it may hold all that was ever before it. */
static void fetch_ahead(struct machine *m)
{
    uint8_t *linear = &m->virt_linear[m->owner];

    *linear |= m->guest & marked_now(m);
    if (m->level == 2 && m->current != ROOT_NONE) {
        m->virt_nested[m->owner] |= marked_now(m);
        *linear |= m->guest & m->virt_nested[m->owner];
    }
}

/* An access: hardware caches what it finds. */
static void touch(struct machine *m)
{
    uint32_t tree = tree_now(m);
    uint8_t *linear = &m->linear[0][m->hw];
    uint8_t *nest = &m->nest[0][m->hw];

    if (m->level == 1) {
        *linear |= m->guest & marked_now(m) & m->host;
        return;
    }
    if (m->content[tree] == CONTENT_NONE) {
        m->content[tree] = marked_now(m) && m->host ? CONTENT_MARKED : CONTENT_OTHER;
    }
    if (follows_page()) {
        *nest |= is_marked_tree(tree);
        return;
    }
    *nest |= m->content[tree] == CONTENT_MARKED;
    *linear |= m->guest & *nest;
}

static bool invlpga(struct machine *m, uint32_t asid12, uint64_t page)
{
    if (m->level != 1 || asid12 > universe->asids || !universe->pages) {
        return false;
    }
    run(m);
    if (is_marked_page(page)) {
        m->virt_linear[asid12] = 0;
    }
    nvirt_tlb_svm_invlpga(&m->tlb, asid12, nvirt_gva_make(page));
    return true;
}

/* Events without a hardware entry. */
static bool quiet_step(struct machine *m, uint32_t event)
{
    switch (event) {
    case TOUCH:
        run(m);
        touch(m);
        return true;
    case GUEST:
        run(m);
        m->guest ^= 1u;
        return !follows_page();
    case NESTED:
        m->nested ^= 1u;
        return is_through_a();
    default: /* INVLPG need not drop nested translations. */
        run(m);
        m->virt_linear[m->owner] = 0;
        if (!follows_page()) {
            m->linear[0][m->hw] = 0;
        }
        return !follows_page();
    }
}

#endif
