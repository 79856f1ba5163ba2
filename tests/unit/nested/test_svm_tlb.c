/* SPDX-License-Identifier: MIT */
/*
 * Long random histories of a whole vCPU on two CPUs: whatever L1, its L2s and the host do, no VMRUN
 * of hardware may find something stale in its TLB. The fake CPU's TLB looks at each entry
 * (fake_tlb.h); only the flush engine is between it and an abort. [APM 2 "TLB Flush"]
 */
#include "svm_world.h"

#define NPT12_B UINT64_C(0x48000)
#define MOVED UINT64_C(0x8000) /* L1's page that the host moves. */

static uint64_t seed;

static uint32_t chance(uint32_t of)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % of;
}

/* ---- L1 ---- */

static void second_tables(struct world *w)
{
    for (uint64_t level = 0; level < 3; level++)
        fake_vm_put64(w->port, NPT12_B + level * 0x1000, (NPT12_B + (level + 1) * 0x1000) | 7);
    for (uint64_t i = 0; i < 512; i++)
        fake_vm_put64(w->port, NPT12_B + 0x3000 + i * 8, (i << 12) | 7);
}

/* One of L2's pages goes to another page of L1's, loses rights, or goes away. */
static void change_npt12(struct world *w)
{
    static const uint64_t leaf[] = { 0x8000 | 7, 0xa000 | 7, 0x8000 | 5, 0 };
    uint64_t top = chance(2) == 0 ? NPT12 : NPT12_B;

    fake_vm_put64(w->port, top + 0x3000 + (5 + chance(3)) * 8, leaf[chance(4)]);
}

static void invlpga(struct world *w)
{
    w->gprs.r[NVIRT_RCX] = chance(3) == 0 ? chance(7) : w->v->vmcb12.asid;
    w->vmcb01->rax = chance(8) == 0 ? 0 : (5 + chance(3)) << 12;
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_INVLPGA), NVIRT_VERDICT_DONE);
}

/* L2 under one of six ASIDs, on one of two nested tables or none, TLB_CONTROL now and then. */
static struct nvirt_vmcb choose_l2(const struct world *w)
{
    static const uint8_t control[] = { NVIRT_SVM_TLB_ALL, NVIRT_SVM_TLB_ASID, 7 };
    struct nvirt_vmcb vmcb = chance(3) == 0 ? good_vmcb12() : nested_vmcb12();

    vmcb.asid = chance(2) == 0 && w->v->vmcb12.asid != 0 ? w->v->vmcb12.asid : 1 + chance(6);
    vmcb.n_cr3 = chance(2) == 0 ? NPT12 : NPT12_B;
    vmcb.tlb_control = chance(6) == 0 ? control[chance(3)] : NVIRT_SVM_TLB_NOTHING;
    return vmcb;
}

static void l1_vmrun(struct world *w)
{
    struct nvirt_vmcb vmcb = choose_l2(w);

    enter_l2(w, &vmcb);
}

/* nvirt's checks refuse vmcb12, or hardware the VMCB that was made of it. */
static void fail_to_enter(struct world *w)
{
    struct nvirt_vmcb vmcb = choose_l2(w);

    if (chance(2) == 0) {
        vmcb.asid = 0;
        put_vmcb12(w, VMCB12, &vmcb);
        vmrun(w);
    } else {
        enter_l2(w, &vmcb);
        prepare(w);
        hardware_exit(w, NVIRT_SVM_EXIT_INVALID, 0, 0);
    }
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void l1_acts(struct world *w)
{
    w->vmcb01->rip = L1_RIP;
    switch (chance(8)) {
    case 0:
    case 1:
    case 2:
        invlpga(w);
        break;
    case 3:
        fail_to_enter(w);
        break;
    case 4:
        change_npt12(w);
        break;
    default:
        l1_vmrun(w);
        break;
    }
}

/* ---- L2 ---- */

static void l2_acts(struct world *w)
{
    if (chance(6) == 0) {
        step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0); /* intercepted */
        assert_int_equal(nvirt_svm_level(w->v), 1);
    } else { /* to L1, where it maps nothing */
        step(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL, (5 + chance(3)) << 12);
    }
}

/* ---- the host ---- */

static void move_memory(struct world *w)
{
    assert_int_equal(nvirt_vm_change_begin(&w->vm, nvirt_l1gpa_make(MOVED), 4096), NVIRT_OK);
    w->port->region[w->port->regions - 1].hpa ^= 0x10000;
    assert_int_equal(nvirt_vm_change_end(&w->vm), NVIRT_OK);
}

/* An INIT: nested state is left by force, and L1 starts again. */
static void reset(struct world *w)
{
    const struct fake_tlb_lost l1 = { .level = 1 };
    const struct fake_tlb_lost l2 = { .level = 2 };

    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    lose(w, &l1);
    lose(w, &l2);
    l1_registers(w->vmcb01);
    w->v->svme = true;
}

static void host_acts(struct world *w)
{
    switch (chance(16)) {
    case 0:
        reset(w);
        break;
    case 1:
    case 2:
    case 3:
        request_flush(w, 1 + chance(2), (enum nvirt_tlb_request)chance(4));
        break;
    case 4:
    case 5:
    case 6:
        move_memory(w);
        break;
    case 7:
    case 8:
        prepare(w); /* an entry that never comes to be */
        break;
    default:
        w->at = w->at == &w->cpu ? w->second : &w->cpu;
        break;
    }
}

/* ---- histories ---- */

static void walk(struct world *w, uint64_t number, uint32_t tags)
{
    const uint32_t steps = 20000;
    const struct fake_region_l1 moved = { .start = MOVED, .bytes = 4096,
                                          .hpa = MOVED + FAKE_VM_HPA_OFFSET, .block = 4096,
                                          .rights = FAKE_ALL_RIGHTS,
                                          .memory_type = NVIRT_MEMORY_WB };

    seed = number;
    w->v->tlb.tag_count = tags;
    w->second = malloc(sizeof *w->second);
    fake_cpu_init(w->second);
    fake_vm_region(w->port, &moved);
    second_tables(w);
    for (uint32_t tag = 1; tag <= 1 + tags; tag++) {
        fake_tlb_second_hand(&w->cpu.tlb, tag);
        fake_tlb_second_hand(&w->second->tlb, tag);
    }
    for (uint32_t i = 0; i < steps; i++) {
        if (chance(12) == 0)
            host_acts(w);
        else if (nvirt_svm_level(w->v) == 1)
            l1_acts(w);
        else
            l2_acts(w);
    }
    /* What was looked at. */
    assert_true(w->cpu.tlb.checks > steps / 4 && w->second->tlb.checks > steps / 4);
    free(w->second);
    w->second = NULL;
    w->at = &w->cpu;
}

static void no_history_makes_an_entry_find_something_stale(void **state)
{
    walk(*state, 1, 4);
}

static void nor_where_tags_are_recycled(void **state)
{
    walk(*state, 2, 2);
}

static void nor_without_flush_by_asid_and_invlpga(void **state)
{
    struct world *w = *state;

    w->v->tlb.caps.flush_by_asid = w->v->tlb.caps.invlpga = false;
    walk(w, 3, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(no_history_makes_an_entry_find_something_stale),
        T(nor_where_tags_are_recycled),
        T(nor_without_flush_by_asid_and_invlpga),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
