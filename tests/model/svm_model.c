/* SPDX-License-Identifier: MIT */
/*
 * Model checker of the SVM flush decisions: every history of a small machine.
 *
 * The machine: L1 and its L2s with two ASIDs, one or two hardware ASIDs for them, two CPUs, two
 * pages. An L2 runs on one of two nested tables of L1's (A, B) or on none (L1's memory as it is).
 * The virtual TLB is that of the CPU L1 believes it has and loses what the architecture takes away;
 * the physical one loses only what is flushed and what the guest's own INVLPG takes away. Both tag
 * everything with the ASID alone, nested translations too [APM 2 "TLB Flush"]. nvirt's tables for
 * L2 are a cache in between: hardware walks what is in them, whatever L1's tables say by now. There
 * is a tree of them per nested table and ASID (nested_key() of src/nested/svm_run.c).
 *
 * One *marked* translation is followed: one of L1's own page, of L2's page through A, of L2's page
 * without nested tables, or the way through a table page of nvirt's, which must not be walked once
 * the page was given back. Versions of tables are "the marked one" and "another", so that a set of
 * holders is one bit each: unsound is that hardware may supply the mark to a level whose virtual
 * TLB may not hold it. What is sound for each mark is sound for all translations. At the start each
 * hardware ASID is full of marks that an earlier owner left, on both CPUs.
 *
 * As in src/nested/svm_prepare.c, TLB_CONTROL waits in the VMCB until the entry really happens,
 * which in one universe it need not. CPU 0 is always the one the vCPU is on: a move exchanges the
 * two.
 */
#include <nvirt/hyperv.h>

#include "tlbflush/tlb_internal.h"
#include "svm_machine.h"
#include "explore.h"
#include "svm_nvirt.h"
#include "svm_levels.h"
#include "svm_host.h"

static void swap_tag(struct nvirt_tlb_tag *tag)
{
    struct nvirt_tlb_held kept = tag->held[0];

    tag->held[0] = tag->held[1];
    tag->held[1] = kept;
    if (tag->cpu != NVIRT_TLB_NO_CPU) {
        tag->cpu ^= 1u;
    }
}

static void swap_rows(uint8_t row[CPUS][HW_TAGS])
{
    uint8_t kept[HW_TAGS];

    memcpy(kept, row[0], HW_TAGS);
    memcpy(row[0], row[1], HW_TAGS);
    memcpy(row[1], kept, HW_TAGS);
}

static void move_cpu(struct machine *m)
{
    uint64_t all = m->domain.all_tags[0];

    swap_rows(m->linear);
    swap_rows(m->nest);
    swap_tag(&m->tlb.l1);
    for (uint32_t i = 0; i < m->tlb.tag_count; i++) {
        swap_tag(&m->tlb.tag[i]);
    }
    m->domain.all_tags[0] = m->domain.all_tags[1];
    m->domain.all_tags[1] = all;
}

static bool loud_step(struct machine *m, uint32_t event)
{
    switch (event) {
    case EXIT:
    case EXIT_HOST:
        return leave(m, event == EXIT);
    case MIGRATE:
        move_cpu(m);
        return true;
    case INVLPGA_0:
    case INVLPGA_1:
    case INVLPGA_2:
        return invlpga(m, event - INVLPGA_0, PAGE_MARKED);
    case OTHER_0:
    case OTHER_1:
    case OTHER_2:
        return invlpga(m, event - OTHER_0, PAGE_OTHER);
    case PUT_L1:
    case PUT_L2:
        return put(m, event == PUT_L1 ? 1 : 2);
    default:
        return event < VMRUN_FIRST ? l0_step(m, event) : vmrun(m, event - VMRUN_FIRST);
    }
}

static bool step(struct machine *m, uint32_t event)
{
    bool quiet = event <= INVLPG;
    bool possible = quiet ? quiet_step(m, event) : loud_step(m, event);

    if (possible && !quiet) {
        prepare(m);
    }
    if (possible) {
        fetch_ahead(m);
    }
    return possible;
}

/* Seen from the moment the entry that was prepared happens. */
static bool is_sound(const struct machine *m)
{
    bool flushed = m->pending.control != 0; /* 1 or 3: the tag that enters either way */
    uint8_t linear = flushed ? 0 : m->linear[0][m->hw];
    uint8_t nest = flushed ? 0 : m->nest[0][m->hw];
    uint8_t supplied = linear | (m->guest & nest);
    uint8_t allowed = m->virt_linear[m->owner];

    if (follows_page()) {
        return linear == 0;
    }
    if (m->level == 2 && m->current != ROOT_NONE) {
        allowed |= m->guest & m->virt_nested[m->owner];
    }
    return (supplied & ~(allowed & m->host) & 1u) == 0;
}

#include "svm_pack.h"

/* ---- the start ---- */

static void start(struct machine *m)
{
    static const uint32_t tags[] = {FIRST_ASID02, FIRST_ASID02 + 1};
    struct nvirt_tlb_config config = {
        .domain = &m->domain, .svm = true,
        .caps = { .flush_by_asid = !universe->coarse, .invlpga = !universe->coarse },
        .tag01 = ASID01, .tags = tags, .tag_count = universe->tags,
        .max_addresses = NVIRT_TLB_MAX_ADDRESSES };

    memset(m, 0, sizeof(*m));
    nvirt_tlb_domain_init(&m->domain, m->root, TREES, false);
    if (nvirt_tlb_init(&m->tlb, &config) != NVIRT_OK) {
        abort();
    }
    m->level = 1;
    m->host = 1;
    for (uint32_t i = 0; i < TREES; i++) {
        empty(m, i);
    }
    memset(m->linear, 1, sizeof(m->linear));
    memset(m->nest, is_through_a() || mark == MARK_NO_TABLES, sizeof(m->nest));
    prepare(m);
    fetch_ahead(m);
}

#include "runs.h"

static void check_search(void)
{
    check_covering();
    check_flush_always();
}
