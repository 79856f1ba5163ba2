/* SPDX-License-Identifier: MIT */
/*
 * Model checker of the VMX flush decisions: every history of a small machine.
 *
 * The machine: L1 with two VPIDs for its L2s and the choice of none, one or two hardware tags for
 * them, two CPUs, two pages and a third that no flush names, two PCIDs, in some universes a second
 * vCPU that shares the roots. An L2 runs on one of two EPTs of L1's (A, B) or without. Two TLBs are
 * kept side by side. The virtual one is that of the CPU L1 believes it has; the physical one loses
 * only what is flushed and what the guest's own MOV CR3 and INVLPG take away. Linear mappings carry
 * VPID and PCID, guest-physical ones the EPT (EP4TA), combined ones all three
 * [SDM 3C "Information That May Be Cached"]; in hardware L1 and L2 always run on second-stage
 * tables, so what is linear to L1 is combined there.
 *
 * One *marked* translation is followed: one of L1's own page, of L2's page through A (global or
 * not), of L2's page without EPT, what an earlier owner left there, or the way through a table page
 * of nvirt's, which must not be walked once the page was given back. A set of holders is one bit
 * each; unsound is that hardware may supply the mark to a level whose virtual TLB may not hold it.
 * The virtual CPU may fetch ahead, so it holds all that was ever before it. At the start each
 * hardware tag is full of marks of an earlier owner. What is sound for each mark is sound for all
 * translations; what holds for A holds for B, for one page as for the other, for one vCPU as for
 * the other.
 *
 * CPU 0 is always the one that the vCPU under test is on: a move exchanges the two.
 */
#include <nvirt/hyperv.h>

#include "tlbflush/tlb_internal.h"
#include "tlb_machine.h"
#include "explore.h"
#include "tlb_nvirt.h"
#include "tlb_levels.h"
#include "tlb_host.h"

/* ---- steps ---- */

static bool vpid_step(struct machine *m, uint32_t event)
{
    if (event == ALL) {
        return invvpid(m, 2, 0, PAGE_MARKED);
    } else if (event <= ADDRESS_2) {
        return invvpid(m, 0, event - ADDRESS_1 + 1, PAGE_MARKED);
    } else if (event <= OTHER_2) {
        return invvpid(m, 0, event - OTHER_1 + 1, PAGE_OTHER);
    } else if (event <= SINGLE_2) {
        return invvpid(m, 1, event - SINGLE_1 + 1, PAGE_MARKED);
    }
    return invvpid(m, 3, event - NOT_GLOBAL_1 + 1, PAGE_MARKED);
}

/* Events of the vCPU under test that end in an entry. */
static bool loud_step(struct machine *m, uint32_t event)
{
    if (event == EXIT) {
        return leave(m, 0);
    } else if (event == MIGRATE) {
        move_cpu(m);
        return true;
    } else if (event <= INVEPT_ALL) {
        return invept(m, event);
    } else if (event <= SWITCH_B) {
        return switch_root(m, event == SWITCH_A ? ROOT_A : ROOT_B);
    } else if (event <= QUEUE_POSTED) {
        return l0_step(m, event);
    } else if (event <= NOT_GLOBAL_2) {
        return vpid_step(m, event);
    } else if (event <= PUT_L2) {
        return put(m, event == PUT_L1 ? 1 : 2);
    } else if (event == RUNS) {
        return m->running[0] != 0;
    } else if (event < ENTER_FIRST) {
        return universe->off && bind(m, 0, ROOT_A, event - FAIL_FIRST) && leave(m, 0);
    }
    return bind(m, 0, (event - ENTER_FIRST) / OWNERS, (event - ENTER_FIRST) % OWNERS);
}

static bool step(struct machine *m, uint32_t event)
{
    bool possible;

    if (event <= INVLPG) {
        possible = quiet_step(m, event);
    } else if (event >= OTHER_RUNS && event < RUNS) {
        possible = other_step(m, event);
    } else {
        possible = loud_step(m, event);
        if (possible) {
            prepare(m, 0, event >= ENTER_FIRST || event == SWITCH_A || event == SWITCH_B);
        }
    }
    if (possible) {
        fetch_ahead(m);
    }
    return possible;
}

static bool is_sound(const struct machine *m)
{
    const struct vcpu *v = &m->vcpu[0];
    uint8_t supplied = m->linear[0][v->hw];

    if (!is_marked_space(m)) {
        return true;
    }
    if (m->running[0] != 0) {
        return true;
    }
    if (follows_page()) {
        return v->level == 1 || v->current != ROOT_A || m->freed[0] == 0;
    }
    if (v->level == 1) {
        return mark != MARK_L1 || (supplied & ~(m->virt_linear[0] & m->host) & 1u) == 0;
    }
    if (v->current != marked_root()) {
        return true;
    }
    supplied |= m->guest & m->nest[0];
    return (supplied & ~(m->virt_linear[v->owner] & m->host) & 1u) == 0;
}

#include "tlb_pack.h"

/* ---- the start ---- */

static void start_engine(struct machine *m, uint32_t number)
{
    static const uint32_t tags[VCPUS][TAGS02] = {{FIRST_TAG02, FIRST_TAG02 + 1},
                                                 {FIRST_TAG02, FIRST_TAG02 + 1}};
    bool fine = !universe->coarse;
    struct nvirt_tlb_config config = {
        .domain = &m->domain,
        .caps = { .invvpid_address = fine, .invvpid_single = fine, .invvpid_not_global = fine,
                  .invept_single = fine },
        .tag01 = TAG01, .tags = tags[number], .tag_count = universe->tags,
        .max_addresses = NVIRT_TLB_MAX_ADDRESSES };

    if (nvirt_tlb_init(&m->vcpu[number].tlb, &config) != NVIRT_OK) {
        abort();
    }
    m->vcpu[number].level = 1;
}

static void start(struct machine *m)
{
    memset(m, 0, sizeof(*m));
    nvirt_tlb_domain_init(&m->domain, m->root, ROOTS, false);
    for (uint32_t v = 0; v < VCPUS; v++) {
        start_engine(m, v);
    }
    m->host = 1;
    for (uint32_t i = 0; i < CPUS; i++) {
        memset(m->linear[i], !follows_page(), HW_TAGS);
        m->nest[i] = mark != MARK_L1 && !follows_page();
        m->freed[i] = follows_page();
        m->running[i] = NOBODY;
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        empty(m, i);
    }
    m->vcpu[1].cpu = 1;
    prepare(m, 0, false);
    if (universe->vcpus > 1) {
        prepare(m, 1, false);
    }
    fetch_ahead(m);
}

#include "runs.h"

/* What the other vCPU knows of its own tags is left out of states (is_told_apart()): as many
 * emissions, all needed, as when it is not. */
static void check_other_vcpu(void)
{
    const struct universe *two = &universes[0];
    uint32_t emissions;
    bool same;

    while (two->vcpus < 2) {
        two++;
    }
    same = run_universe(two, true);
    emissions = key_count;
    other_in_full = true;
    same = same && run_universe(two, true) && report_emissions(false) == 0;
    other_in_full = false;
    result(same && key_count == emissions,
           "as many emissions, all needed, when all of the other vCPU counts too", two->name);
}

static void check_search(void)
{
    check_covering();
    check_other_vcpu();
    check_flush_always();
}
