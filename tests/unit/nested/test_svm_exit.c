/* SPDX-License-Identifier: MIT */
/*
 * Exits of L2: L1's, the host's, nvirt's; permission maps; nested page faults.
 */
#include "svm_world.h"

static void enter_nested_l2(struct world *w)
{
    struct nvirt_vmcb vmcb = nested_vmcb12();

    enter_l2(w, &vmcb);
}

/* After an exit to L1: runs @p vmcb from the same VMRUN again. */
static void enter_again(struct world *w, const struct nvirt_vmcb *vmcb)
{
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, vmcb);
}

static uint64_t code12(struct world *w)
{
    struct nvirt_vmcb vmcb;

    get_vmcb12(w, &vmcb);
    return vmcb.exit_code;
}

static void what_l1_did_not_ask_for_is_the_hosts(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_CPUID, 1, 2), NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.level, 2);
    assert_int_equal(w->exit.code, NVIRT_SVM_EXIT_CPUID);
    assert_int_equal(w->exit.info1, 1);
    assert_int_equal(w->exit.info2, 2);
    assert_false(w->exit.branch_barrier);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(step(w, 0x12345678, 0, 0), NVIRT_VERDICT_L2);
}

static void exits_of_l1_are_the_hosts(void **state)
{
    struct world *w = *state;

    assert_int_equal(step(w, NVIRT_SVM_EXIT_CPUID, 0, 0), NVIRT_VERDICT_L1);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_SHUTDOWN, 0, 0), NVIRT_VERDICT_L1);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_INVALID, 0, 0), NVIRT_VERDICT_L1);
    assert_int_equal(w->exit.level, 1);
}

static void vmmcall_of_l2_is_undefined(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_plain_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_VMMCALL, 0, 0), NVIRT_VERDICT_DONE);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_UD);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_UD, true);
    enter_again(w, &vmcb);
    step(w, NVIRT_SVM_EXIT_VMMCALL, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_UD);
}

/* CVE-2022-3344: a triple fault of L2 that L1 does not intercept takes L1 down, not the host. */
static void shutdown_of_l2_ends_l1(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_SHUTDOWN, true);
    enter_l2(w, &vmcb);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_SHUTDOWN, 0, 0), NVIRT_VERDICT_DONE);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_SHUTDOWN);
    vmcb = good_vmcb12();
    enter_again(w, &vmcb);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_SHUTDOWN, 0, 0), NVIRT_VERDICT_L1_SHUTDOWN);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

/* CVE-2026-74516: the host adds an intercept while L2 runs. */
static void a_new_intercept_of_l0_holds_for_both_levels(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    nvirt_vmcb_intercept(nvirt_svm_vmcb(w->v, 1), NVIRT_SVM_EXIT_RDTSC, true);
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    prepare(w);
    assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_RDTSC));
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_RDTSC));
}

/* ---- permission maps ---- */

#define IO_IN1(port) ((uint64_t)(port) << 16 | 1 << 4 | 1)
#define IO_IN4(port) ((uint64_t)(port) << 16 | 1 << 6 | 1)

static bool port_passes(struct world *w, uint32_t port)
{
    return !nvi_svm_map_any(w->v->iopm02, port, 1);
}

static bool msr_passes(struct world *w, uint32_t msr, bool write)
{
    return !nvi_svm_msrpm_intercepts(w->v->msrpm02, msr, write);
}

static void a_port_nobody_wants_is_let_through(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    assert_false(port_passes(w, 0x3f8));
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x3f8), 0), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_true(port_passes(w, 0x3f8));
    assert_false(port_passes(w, 0x3f9));
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN4(0xffff), 0), NVIRT_VERDICT_DONE);
    assert_true(port_passes(w, 0x10002));
}

static void a_port_of_l1s_is_reflected(void **state)
{
    struct world *w = *state;

    fake_vm_put(w->port, IOPM12 + 0x3fb / 8, &(uint8_t){1u << (0x3fb % 8)}, 1);
    enter_plain_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN4(0x3f8), 7), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_IOIO);
    assert_false(port_passes(w, 0x3f8));
}

static void a_port_of_l0s_is_the_hosts(void **state)
{
    struct world *w = *state;

    w->iopm01[0x604 / 8] = 1u << (0x604 % 8);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_IOIO, true);
    enter_plain_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x604), 0), NVIRT_VERDICT_L2);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x605), 0), NVIRT_VERDICT_DONE);
    w->v->iopm01 = NULL;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x606), 0), NVIRT_VERDICT_L2);
}

static void an_l1_without_io_intercept_wants_no_port(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    fake_vm_put(w->port, IOPM12 + 0x80 / 8, &(uint8_t){0xff}, 1);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_IOIO, false);
    enter_l2(w, &vmcb);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x80), 0), NVIRT_VERDICT_DONE);
    assert_true(port_passes(w, 0x80));
}

/* What was let through for one run of L2 is looked up again for the next: L1 may rewrite its maps
 * between two VMRUNs without a word. */
static void grants_are_looked_up_at_each_vmrun(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x80), 0);
    w->gprs.r[NVIRT_RCX] = 0x1b;
    step(w, NVIRT_SVM_EXIT_MSR, 0, 0);
    assert_true(port_passes(w, 0x80));
    assert_true(msr_passes(w, 0x1b, false));
    assert_false(msr_passes(w, 0x1b, true));
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    enter_again(w, &vmcb);
    assert_true(port_passes(w, 0x80));
    assert_true(msr_passes(w, 0x1b, false));
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    fake_vm_put(w->port, IOPM12 + 0x80 / 8, &(uint8_t){1}, 1);
    fake_vm_put(w->port, MSRPM12 + 0x1b / 4, &(uint8_t){0x40}, 1);
    enter_again(w, &vmcb);
    assert_false(port_passes(w, 0x80));
    assert_false(msr_passes(w, 0x1b, false));
}

static void many_grants_are_taken_back_too(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    enter_plain_l2(w);
    for (uint32_t port = 0; port < NVI_SVM_GRANTS + 10; port++) {
        step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(port), 0);
        assert_true(port_passes(w, port));
    }
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    enter_again(w, &vmcb);
    for (uint32_t port = 0; port < NVI_SVM_GRANTS + 10; port++) {
        assert_false(port_passes(w, port));
    }
}

/* CVE-2025-40026: L1 changes its map while the host handles the exit. The decision was made. */
static void l1s_map_is_read_once_per_exit(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    fake_vm_log_reset(w->port);
    step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x3f8), 0);
    assert_int_equal(fake_vm_reads(w->port, IOPM12 + 0x3f8 / 8), 1);
    w->gprs.r[NVIRT_RCX] = 0x1b;
    step(w, NVIRT_SVM_EXIT_MSR, 1, 0);
    assert_int_equal(fake_vm_reads(w->port, MSRPM12 + 0x1b * 2 / 8), 1);
}

static void msrs_are_decided_like_ports(void **state)
{
    struct world *w = *state;
    uint32_t bit = 0;

    assert_true(nvi_svm_msrpm_position(0x277, &bit));
    fake_vm_put(w->port, MSRPM12 + (bit + 1) / 8, &(uint8_t){(uint8_t)(1u << ((bit + 1) % 8))}, 1);
    assert_true(nvi_svm_msrpm_position(0x1b, &bit));
    nvi_svm_map_write(w->msrpm01, bit, 2, true);
    enter_plain_l2(w);
    w->gprs.r[NVIRT_RCX] = 0x277;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_MSR, 0, 0), NVIRT_VERDICT_DONE);
    assert_true(msr_passes(w, 0x277, false));
    w->gprs.r[NVIRT_RCX] = 0x1b;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_MSR, 0, 0), NVIRT_VERDICT_L2);
    w->gprs.r[NVIRT_RCX] = 0x277;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_MSR, 1, 0), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(code12(w), NVIRT_SVM_EXIT_MSR);
}

static void msrs_outside_the_map_are_intercepted(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    w->gprs.r[NVIRT_RCX] = 0x40000000;
    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_MSR, 0, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_MSR, false);
    enter_again(w, &vmcb);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_MSR, 0, 0), NVIRT_VERDICT_L2);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_MSR, false);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_MSR, 0, 0), NVIRT_VERDICT_L2);
}

/* The usual MSRs pass from the start when both maps allow it; EFER never does. */
static void usual_msrs_pass_at_once(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    assert_true(msr_passes(w, NVIRT_MSR_FS_BASE, true));
    assert_true(msr_passes(w, NVIRT_MSR_KERNEL_GS_BASE, true));
    assert_true(msr_passes(w, NVIRT_MSR_STAR, false));
    assert_true(msr_passes(w, NVIRT_MSR_SYSENTER_EIP, true));
    assert_false(msr_passes(w, NVIRT_MSR_EFER, false));
    assert_false(msr_passes(w, NVIRT_MSR_EFER, true));
    assert_false(msr_passes(w, NVIRT_SVM_MSR_VM_CR, false));
}

static void usual_msrs_of_either_level_do_not_pass(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();
    uint32_t bit;

    assert_true(nvi_svm_msrpm_position(NVIRT_MSR_STAR, &bit));
    fake_vm_put(w->port, MSRPM12 + bit / 8, &(uint8_t){(uint8_t)(3u << (bit % 8))}, 1);
    assert_true(nvi_svm_msrpm_position(NVIRT_MSR_FS_BASE, &bit));
    nvi_svm_map_write(w->msrpm01, bit, 2, true);
    enter_plain_l2(w);
    assert_false(msr_passes(w, NVIRT_MSR_STAR, false));
    assert_false(msr_passes(w, NVIRT_MSR_FS_BASE, true));
    assert_true(msr_passes(w, NVIRT_MSR_GS_BASE, true));
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    w->v->msrpm01 = NULL; /* L0 wants all */
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    enter_again(w, &vmcb);
    assert_false(msr_passes(w, NVIRT_MSR_GS_BASE, true));
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_MSR, false); /* L0 wants none */
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    enter_again(w, &vmcb);
    assert_true(msr_passes(w, NVIRT_MSR_GS_BASE, true));
    assert_false(msr_passes(w, NVIRT_MSR_EFER, true));
}

/* Without memory a bus reads ones, and ones intercept. */
static void maps_without_memory_intercept(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    vmcb.msrpm_base = vmcb.iopm_base = BEYOND_RAM;
    enter_l2(w, &vmcb);
    assert_false(msr_passes(w, NVIRT_MSR_STAR, true));
    step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x80), 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void changed_maps_of_l0_are_seen(void **state)
{
    struct world *w = *state;
    uint32_t bit;

    enter_plain_l2(w);
    step(w, NVIRT_SVM_EXIT_IOIO, IO_IN1(0x80), 0);
    assert_true(nvi_svm_msrpm_position(NVIRT_MSR_STAR, &bit));
    nvi_svm_map_write(w->msrpm01, bit, 2, true);
    nvi_svm_map_write(w->iopm01, 0x80, 1, true);
    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_IOIO, true);
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    prepare(w);
    assert_false(port_passes(w, 0x80));
    assert_false(msr_passes(w, NVIRT_MSR_STAR, true));
}

/* ---- nested page faults ---- */

#define NPF_READ (NVIRT_SVM_NPF_US | NVIRT_SVM_NPF_FINAL)

static void a_first_touch_is_filled(void **state)
{
    struct world *w = *state;

    enter_nested_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5123), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(w->v->stats.shadow_faults, 1);
}

static void l2_without_nested_paging_sees_l1s_memory(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ | NVIRT_SVM_NPF_RW, 0x5123),
                     NVIRT_VERDICT_DONE);
    assert_int_equal(w->v->stats.shadow_faults, 1);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, BEYOND_RAM), NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.l1gpa.value, BEYOND_RAM);
}

static void a_fault_of_l1s_tables_is_reflected(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb;

    fake_vm_put64(w->port, NPT12 + 0x3000 + 5 * 8, 0x5000 | 5); /* not writable */
    enter_nested_l2(w);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x330; /* an interrupt, misreported */
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ | NVIRT_SVM_NPF_RW, 0x5123),
                     NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    get_vmcb12(w, &vmcb);
    assert_int_equal(vmcb.exit_code, NVIRT_SVM_EXIT_NPF);
    assert_int_equal(vmcb.exit_info1, NPF_READ | NVIRT_SVM_NPF_RW | NVIRT_SVM_NPF_P);
    assert_int_equal(vmcb.exit_info2, 0x5123);
    assert_int_equal(vmcb.exit_int_info, NVIRT_SVM_EVENT_VALID | 0x030);
}

static void memory_l1_does_not_have_is_the_hosts(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, NPT12 + 0x3000 + 5 * 8, BEYOND_RAM | 7);
    enter_nested_l2(w);
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5123), NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.l1gpa.value, BEYOND_RAM + 0x123);
}

/* An event whose delivery met the fault is delivered again. */
static void interrupted_events_are_delivered_again(void **state)
{
    static const struct {
        uint64_t reported, again;
    } rows[] = {
        {0x030, 0x030},           {0x330, 0x030}, {0x202, 0x202}, {0x30d | 1u << 11, 0xb0d},
        {0x480, 0} /* INT n runs again */, {0x303, 0} /* INT3 */, {0x304, 0} /* INTO */,
    };
    struct world *w = *state;

    enter_nested_l2(w);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        w->int_info = NVIRT_SVM_EVENT_VALID | rows[i].reported;
        step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5000);
        assert_int_equal(vmcb02(w)->event_inj,
                         rows[i].again != 0 ? NVIRT_SVM_EVENT_VALID | rows[i].again : 0);
        vmcb02(w)->event_inj = 0;
    }
}

/* #BP that L1 injected has no INT3 to run again. */
static void injected_breakpoints_are_injected_again(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    vmcb.event_inj = NVIRT_SVM_EVENT_VALID | 0x303;
    enter_l2(w, &vmcb);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x303;
    step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5000);
    assert_int_equal(vmcb02(w)->event_inj, NVIRT_SVM_EVENT_VALID | 0x303);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x303;
    step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x6000);
    assert_int_equal(vmcb02(w)->event_inj, NVIRT_SVM_EVENT_VALID | 0x303);
    step(w, NVIRT_SVM_EXIT_PAUSE, 0, 0); /* delivered */
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x303;
    step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x7000);
    assert_int_equal(vmcb02(w)->event_inj, 0);
}

/* The emulator that misreports the event also leaves V_IRQ set: it must not come twice. */
static void a_virtual_interrupt_comes_once(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_IRQ | UINT64_C(0x30) << NVIRT_SVM_V_INTR_VECTOR_SHIFT;
    enter_l2(w, &vmcb);
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x330;
    step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5000);
    assert_int_equal(vmcb02(w)->event_inj, NVIRT_SVM_EVENT_VALID | 0x030);
    prepare(w);
    assert_int_equal(vmcb02(w)->int_ctl & NVIRT_SVM_V_IRQ, 0);
}

static void l1s_own_fault_requeues_its_event(void **state)
{
    struct world *w = *state;

    w->int_info = NVIRT_SVM_EVENT_VALID | 0x030;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5000), NVIRT_VERDICT_L1);
    assert_int_equal(w->vmcb01->event_inj, NVIRT_SVM_EVENT_VALID | 0x030);
}

static void no_page_for_a_fault_is_told(void **state)
{
    struct world *w = *state;

    enter_nested_l2(w);
    prepare(w);
    w->port->pool_limit = w->port->pool_used;
    w->int_info = NVIRT_SVM_EVENT_VALID | 0x030;
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5000), NVIRT_ERR_NO_PAGE);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->event_inj, NVIRT_SVM_EVENT_VALID | 0x030);
    w->port->pool_limit = FAKE_VM_POOL_PAGES;
    assert_int_equal(step(w, NVIRT_SVM_EXIT_NPF, NPF_READ, 0x5000), NVIRT_VERDICT_DONE);
}

/* L2's EFER goes through nvirt when L1 lets L2 write it. */
static void efer_of_l2_is_nvirts_when_l1_allows(void **state)
{
    struct world *w = *state;

    enter_plain_l2(w);
    assert_int_equal(msr_access(w, NVIRT_MSR_EFER, false), NVIRT_VERDICT_DONE);
    assert_int_equal(vmcb02(w)->rip, L2_RIP + 2);
}

/* [APM 2 "Intercepting CR0 Writes", "Decode Assists"]: hardware under both intercepts tells of L0's only. A write that
 * changes TS and MP alone is the host's, any other L1's, and so is one that is not told apart. */
static void a_selective_write_of_cr0_is_l1s_though_l0_intercepts_all(void **state)
{
    static const struct {
        uint64_t change;
        uint64_t info1;
        bool assists;
        bool l1s;
    } cases[] = {
        { NVIRT_CR0_TS | NVIRT_CR0_MP, NVIRT_BIT(63) | NVIRT_RCX, true, false },
        { NVIRT_BIT(5), NVIRT_BIT(63) | NVIRT_RCX, true, true },
        { NVIRT_CR0_TS, NVIRT_BIT(63) | NVIRT_RAX, true, false },
        { NVIRT_BIT(16), NVIRT_BIT(63) | NVIRT_RAX, true, true },
        { NVIRT_BIT(16), NVIRT_BIT(63) | NVIRT_RSP, true, true },
        { 0, 0, true, true },
        { 0, 0, false, true },
    };
    struct world *w = *state;

    nvirt_vmcb_intercept(w->vmcb01, NVIRT_SVM_EXIT_CR0_WRITE, true);
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nvirt_vmcb vmcb = good_vmcb12();
        uint32_t number = (uint32_t)cases[i].info1 & 15;

        nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_CR0_SEL_WRITE, true);
        w->v->cpu.features &= ~NVIRT_SVM_FEATURE_DECODE_ASSISTS;
        w->v->cpu.features |= cases[i].assists ? NVIRT_SVM_FEATURE_DECODE_ASSISTS : 0;
        w->vmcb01->rip = L1_RIP;
        enter_l2(w, &vmcb);
        vmcb02(w)->rax = vmcb02(w)->rsp = w->gprs.r[NVIRT_RCX] = vmcb.cr0;
        *(number == NVIRT_RAX   ? &vmcb02(w)->rax
          : number == NVIRT_RSP ? &vmcb02(w)->rsp
                                : &w->gprs.r[number]) ^= cases[i].change;
        assert_int_equal(step(w, NVIRT_SVM_EXIT_CR0_WRITE, cases[i].info1, 0),
                         cases[i].l1s ? NVIRT_VERDICT_DONE : NVIRT_VERDICT_L2);
        assert_int_equal(nvirt_svm_level(w->v), cases[i].l1s ? 1 : 2);
        if (cases[i].l1s)
            assert_int_equal(code12(w), NVIRT_SVM_EXIT_CR0_SEL_WRITE);
        else
            step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    }
}

/* [APM 2 "#MC - Machine-Check Exception"; "Exception Intercepts"]: an error of the machine's is the host's
 * where the host intercepts it. What L1 is to have of it is injected, and then L1's intercept counts. */
static void a_machine_check_is_the_hosts_where_it_intercepts_it(void **state)
{
    const uint32_t mc = NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_MC;
    const struct nvirt_event event = {.type = NVIRT_EVENT_EXCEPTION, .vector = NVIRT_VECTOR_MC};
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, mc, true);
    enter_l2(w, &vmcb);
    assert_int_equal(step(w, mc, 0, 0), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    nvirt_vmcb_intercept(w->vmcb01, mc, true);
    assert_int_equal(nvirt_svm_vmcb01_changed(w->v), NVIRT_OK);
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, &vmcb);
    assert_int_equal(step(w, mc, 0, 0), NVIRT_VERDICT_L2);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &event), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(code12(w), mc);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_l1_did_not_ask_for_is_the_hosts),
        T(exits_of_l1_are_the_hosts),
        T(vmmcall_of_l2_is_undefined),
        T(shutdown_of_l2_ends_l1),
        T(a_new_intercept_of_l0_holds_for_both_levels),
        T(a_port_nobody_wants_is_let_through),
        T(a_port_of_l1s_is_reflected),
        T(a_port_of_l0s_is_the_hosts),
        T(an_l1_without_io_intercept_wants_no_port),
        T(grants_are_looked_up_at_each_vmrun),
        T(many_grants_are_taken_back_too),
        T(l1s_map_is_read_once_per_exit),
        T(msrs_are_decided_like_ports),
        T(msrs_outside_the_map_are_intercepted),
        T(usual_msrs_pass_at_once),
        T(usual_msrs_of_either_level_do_not_pass),
        T(maps_without_memory_intercept),
        T(changed_maps_of_l0_are_seen),
        T(a_first_touch_is_filled),
        T(l2_without_nested_paging_sees_l1s_memory),
        T(a_fault_of_l1s_tables_is_reflected),
        T(memory_l1_does_not_have_is_the_hosts),
        T(interrupted_events_are_delivered_again),
        T(injected_breakpoints_are_injected_again),
        T(a_virtual_interrupt_comes_once),
        T(l1s_own_fault_requeues_its_event),
        T(no_page_for_a_fault_is_told),
        T(a_selective_write_of_cr0_is_l1s_though_l0_intercepts_all),
        T(a_machine_check_is_the_hosts_where_it_intercepts_it),
        T(efer_of_l2_is_nvirts_when_l1_allows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
