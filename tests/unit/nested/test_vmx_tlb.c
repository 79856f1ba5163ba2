/* SPDX-License-Identifier: MIT */
/*
 * Long random histories of a whole vCPU on two CPUs: whatever L1, its L2s and the host do, no entry
 * of hardware may find something stale in its TLB. The fake CPU's TLB looks at each entry
 * (fake_tlb.h); only the flush engine is between it and an abort. [SDM 3C "Information That May Be
 * Cached", "Operations that Invalidate Cached Mappings"]
 */
#include "vmx_world.h"

#define EPT12_A EPT12_TOP
#define EPT12_B (EPT12_TOP + 0x4000)
#define EPTP_LIST UINT64_C(0x37000)
#define MOVED UINT64_C(0x8000) /* L1's page that the host moves. */

static uint64_t seed;

static uint32_t chance(uint32_t of)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33) % of;
}

/* ---- L1 ---- */

static void make_ept12(struct world *w, uint64_t top)
{
    for (uint64_t level = 0; level < 3; level++)
        fake_vm_put64(w->port, top + level * 0x1000, (top + (level + 1) * 0x1000) | 7);
}

/* One of L2's pages goes to another page of L1's, loses rights, or goes away. */
static void change_ept12(struct world *w)
{
    static const uint64_t leaf[] = { 0x8000 | 0x37, 0x9000 | 0x37, 0x8000 | 0x35, 0 };
    uint64_t top = chance(2) == 0 ? EPT12_A : EPT12_B;

    fake_vm_put64(w->port, top + 0x3000 + (5 + chance(3)) * 8, leaf[chance(4)]);
}

static void invvpid(struct world *w)
{
    uint64_t vpid = w->v->vmcs12.vpid; /* That of the L2 that ran last, or is to run, most often. */

    fake_vm_put64(w->port, OPERAND, vpid == 0 || chance(3) == 0 ? 1 + chance(6) : vpid);
    fake_vm_put64(w->port, OPERAND + 8, (5 + chance(3)) << 12);
    w->gprs.r[NVIRT_RCX] = chance(4);
    l1_insn(w, NVIRT_VMX_EXIT_INVVPID, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    expect_success(w);
}

static void invept(struct world *w)
{
    fake_vm_put64(w->port, OPERAND, (chance(2) == 0 ? EPT12_A : EPT12_B) | 0x1e);
    fake_vm_put64(w->port, OPERAND + 8, 0);
    w->gprs.r[NVIRT_RCX] = 1 + chance(2);
    l1_insn(w, NVIRT_VMX_EXIT_INVEPT, INFO_PLAIN | INFO_REG2(NVIRT_RCX));
    expect_success(w);
}

/* L2 under one of six VPIDs or none, on one of two EPTs or none. */
static void choose_l2(struct world *w)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;
    uint32_t vpid = chance(7);
    uint32_t ept = chance(3);

    c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    c->proc2_controls = (vpid != 0 ? NVIRT_VMX_PROC2_VPID : 0) |
                        (ept != 0 ? NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VMFUNC : 0);
    c->vpid = (uint16_t)vpid;
    c->eptp = (ept == 2 ? EPT12_B : EPT12_A) | 0x1e;
    c->vmfunc_controls = ept != 0 ? NVIRT_VMX_VMFUNC_EPTP_SWITCHING : 0;
    c->eptp_list = EPTP_LIST;
}

static void enter_l2(struct world *w)
{
    if (chance(2) == 0)
        choose_l2(w);
    if (w->v->vmx.launched)
        vmresume(w);
    else
        vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* The checks refuse what L1 wants to load, or hardware does. */
static void fail_to_enter(struct world *w)
{
    const struct fake_set refused[] = { { 0x4402, 0x80000021 }, { 0x6400, 0 } };

    choose_l2(w);
    w->v->vmcs12.guest_rflags = chance(2) == 0 ? 0 : 2;
    l1_insn(w, w->v->vmx.launched ? NVIRT_VMX_EXIT_VMRESUME : NVIRT_VMX_EXIT_VMLAUNCH, 0);
    w->v->vmcs12.guest_rflags = 2;
    changed12(w);
    if (nvirt_vmx_level(w->v) == 2)
        run_to(w, refused, 2);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

static void l1_acts(struct world *w)
{
    switch (chance(8)) {
    case 0:
    case 1:
    case 2:
        invvpid(w);
        break;
    case 3:
        invept(w);
        break;
    case 4:
        fail_to_enter(w);
        break;
    case 5:
        change_ept12(w);
        break;
    default:
        enter_l2(w);
        break;
    }
}

/* ---- L2 ---- */

/* To another EPT or the same; #UD where L2 has none. Without VPID it flushes VPID 0
 * [SDM 3C "EPTP Switching"]. */
static void vmfunc(struct world *w)
{
    w->gprs.r[NVIRT_RAX] = 0;
    w->gprs.r[NVIRT_RCX] = chance(2);
    exit_with(w, NVIRT_VMX_EXIT_VMFUNC, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    w->stay += w->v->vmcs12.vmfunc_controls != 0 && !w->v->vpid12_enabled;
}

static void l2_acts(struct world *w)
{
    switch (chance(6)) {
    case 0:
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        break;
    case 1:
        vmfunc(w);
        break;
    default:
        l2_violation(w, (5 + chance(3)) << 12, 0x181); /* to L1, where it maps nothing */
        break;
    }
    assert_int_equal(w->status, NVIRT_OK);
}

/* ---- the host ---- */

static void move_vcpu(struct world *w)
{
    struct nvirt_port_cpu *to = w->at == &w->cpu ? w->second : &w->cpu;

    assert_int_equal(nvirt_vmx_leave_cpu(w->v, w->at), NVIRT_OK);
    memcpy(to->region, w->at->region, sizeof to->region); /* The data move with the memory. */
    to->current = NULL;
    w->at = to;
}

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
    const struct fake_tlb_lost l2 = { .level = 2, .combined = true };

    assert_int_equal(nvirt_vmx_reset(w->v, w->at), NVIRT_OK);
    lose(w, &l1);
    lose(w, &l2);
    world_vmcs01(w);
    ready_to_launch(w);
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
    default:
        move_vcpu(w);
        break;
    }
}

/* ---- histories ---- */

static void start(struct world *w, uint32_t tags)
{
    const struct fake_region_l1 moved = { .start = MOVED, .bytes = 4096,
                                          .hpa = MOVED + FAKE_VM_HPA_OFFSET, .block = 4096,
                                          .rights = FAKE_ALL_RIGHTS,
                                          .memory_type = NVIRT_MEMORY_WB };

    w->v->tlb.tag_count = tags; /* Fewer than L1 has VPIDs. */
    w->second = malloc(sizeof *w->second);
    fake_cpu_init(w->second);
    fake_vm_region(w->port, &moved);
    make_ept12(w, EPT12_A);
    make_ept12(w, EPT12_B);
    fake_vm_put64(w->port, EPTP_LIST, EPT12_A | 0x1e);
    fake_vm_put64(w->port, EPTP_LIST + 8, EPT12_B | 0x1e);
    ready_to_launch(w);
}

static void walk(struct world *w, uint64_t number, uint32_t steps)
{
    seed = number;
    for (uint32_t i = 0; i < steps; i++) {
        if (chance(12) == 0)
            host_acts(w);
        else if (nvirt_vmx_level(w->v) == 1)
            l1_acts(w);
        else
            l2_acts(w);
    }
    /* What was looked at. */
    assert_true(w->cpu.tlb.checks > steps && w->second->tlb.checks > steps);
    if (w->at == w->second)
        move_vcpu(w);
    free(w->second);
    w->second = NULL;
}

static void no_history_makes_an_entry_find_something_stale(void **state)
{
    struct world *w = *state;

    start(w, 4);
    walk(w, 1, 20000);
}

static void nor_where_tags_are_recycled(void **state)
{
    struct world *w = *state;

    start(w, 2);
    walk(w, 2, 20000);
}

static void nor_where_the_cpu_has_all_context_operations_only(void **state)
{
    struct world *w = *state;

    w->v->tlb.caps.invvpid_address = w->v->tlb.caps.invvpid_not_global = false;
    w->v->tlb.caps.invvpid_single = w->v->tlb.caps.invept_single = false;
    start(w, 2);
    walk(w, 3, 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_history_makes_an_entry_find_something_stale),
        TEST(nor_where_tags_are_recycled),
        TEST(nor_where_the_cpu_has_all_context_operations_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
