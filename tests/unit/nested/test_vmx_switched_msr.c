/* SPDX-License-Identifier: MIT */
/*
 * MSRs outside the VMCS that entries load and exits save, load and clear: IA32_PERF_GLOBAL_CTRL,
 * IA32_BNDCFGS and IA32_PKRS, through the port.
 */
#include "vmx_world.h"

#define PERF NVIRT_MSR_PERF_GLOBAL_CTRL
#define BNDCFGS NVIRT_MSR_BNDCFGS
#define PKRS NVIRT_MSR_PKRS

static void msr_set(struct world *w, uint32_t msr, uint64_t value)
{
    fake_vm_msr_set(w->port, msr, value, false);
}

static uint64_t msr_get(struct world *w, uint32_t msr)
{
    return fake_vm_msr_get(w->port, msr);
}

/* As made by a host whose L1 has the three MSRs. */
static int setup_offered(void **state)
{
    int status = setup(state);
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    w->caps.cpu.perf_global_valid = w->offer.cpu.perf_global_valid = 0xff;
    w->caps.cr4_fixed1 |= NVIRT_CR4_PKS;
    w->offer.cr4_fixed1 |= NVIRT_CR4_PKS;
    assert_int_equal(nvirt_vmx_caps_offer_msrs(&w->offer, 7), NVIRT_OK);
    world_vcpu(w);
    msr_set(w, PERF, 0x11);
    msr_set(w, BNDCFGS, 0x1001);
    msr_set(w, PKRS, 0x21);
    return status;
}

#define OFFERED(name)                                                                              \
    { #name, name, setup_offered, teardown, NULL }

#define LOADS                                                                                      \
    (NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS |                     \
     NVIRT_VMX_ENTRY_CTL_LOAD_PKRS)
#define EXIT_LOADS                                                                                 \
    (NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS |                      \
     NVIRT_VMX_EXIT_CTL_LOAD_PKRS)
#define ALL_EXIT (EXIT_LOADS | NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL)

static void ready(struct world *w)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    ready_to_launch(w);
    c->guest_perf_global = 0x12;
    c->guest_bndcfgs = 0x2001;
    c->guest_pkrs = 0x22;
    c->host_perf_global = 0x13;
    c->host_pkrs = 0x23;
}

static void assert_msrs(struct world *w, uint64_t perf, uint64_t bndcfgs, uint64_t pkrs)
{
    assert_int_equal(msr_get(w, PERF), perf);
    assert_int_equal(msr_get(w, BNDCFGS), bndcfgs);
    assert_int_equal(msr_get(w, PKRS), pkrs);
}

/* [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs"]: each by its own control.
 * None of vmcs02 is about them. */
static void an_entry_loads_each_by_its_control(void **state)
{
    static const uint64_t control[] = { NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL,
                                        NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS,
                                        NVIRT_VMX_ENTRY_CTL_LOAD_PKRS };
    struct world *w = *state;

    ready(w);
    for (uint32_t i = 0; i < 3; i++) {
        w->v->vmcs12.guest_perf_global = 0x12;
        w->v->vmcs12.guest_bndcfgs = 0x2001;
        w->v->vmcs12.guest_pkrs = 0x22;
        w->v->vmcs12.entry_controls &= ~LOADS;
        w->v->vmcs12.entry_controls |= control[i];
        msr_set(w, PERF, 0x11);
        msr_set(w, BNDCFGS, 0x1001);
        msr_set(w, PKRS, 0x21);
        if (i == 0)
            vmlaunch(w);
        else
            vmresume(w);
        assert_msrs(w, i == 0 ? 0x12 : 0x11, i == 1 ? 0x2001 : 0x1001, i == 2 ? 0x22 : 0x21);
        prepare(w);
        assert_int_equal(HW(w, ENTRY_CONTROLS) & LOADS, 0);
        assert_int_equal(HW(w, EXIT_CONTROLS) & EXIT_LOADS, 0);
        w->v->prepared = true;
        l2_cpuid(w);
    }
}

/* An entry after which only RIP changed loads them again: L1 may have written the MSRs itself. */
static void every_entry_loads(void **state)
{
    struct world *w = *state;

    ready(w);
    w->v->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL;
    vmlaunch(w);
    for (uint32_t i = 0; i < 4; i++) {
        l2_cpuid(w);
        msr_set(w, PERF, 0x41);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        assert_int_equal(msr_get(w, PERF), 0x12);
    }
}

/* [SDM 3C "Saving Control Registers, Debug Registers, and MSRs"]: IA32_BNDCFGS and IA32_PKRS always
 * by a CPU that has their controls; IA32_PERF_GLOBAL_CTRL under a control. */
static void an_exit_saves_what_l2_leaves(void **state)
{
    struct world *w = *state;

    ready(w);
    vmlaunch(w);
    for (uint32_t i = 0; i < 3; i++) {
        msr_set(w, PERF, 0x31 + i);
        msr_set(w, BNDCFGS, 0x3001 + i);
        msr_set(w, PKRS, 0x33 + i);
        w->v->vmcs12.exit_controls |= i == 2 ? NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL : 0;
        l2_cpuid(w);
        assert_true(READ12(w, GUEST_BNDCFGS) == 0x3001 + i);
        assert_true(READ12(w, GUEST_PKRS) == 0x33 + i);
        assert_true(READ12(w, GUEST_PERF_GLOBAL) == (i == 2 ? 0x33 : 0x12));
        /* Without controls L1 has what L2 left. */
        assert_msrs(w, 0x31 + i, 0x3001 + i, 0x33 + i);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
    }
}

/* [SDM 3C "Loading Host Control Registers, Debug Registers, MSRs"]: loaded, and IA32_BNDCFGS
 * cleared, after what L2 left is saved. */
static void an_exit_loads_l1s_values(void **state)
{
    static const uint64_t control[] = { NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL,
                                        NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS,
                                        NVIRT_VMX_EXIT_CTL_LOAD_PKRS };
    struct world *w = *state;

    ready(w);
    vmlaunch(w);
    for (uint32_t i = 0; i < 3; i++) {
        w->v->vmcs12.exit_controls &= ~EXIT_LOADS;
        w->v->vmcs12.exit_controls |= control[i];
        msr_set(w, PERF, 0x31);
        msr_set(w, BNDCFGS, 0x3001);
        msr_set(w, PKRS, 0x33);
        l2_cpuid(w);
        assert_msrs(w, i == 0 ? 0x13 : 0x31, i == 1 ? 0 : 0x3001, i == 2 ? 0x23 : 0x33);
        assert_true(READ12(w, GUEST_BNDCFGS) == 0x3001);
        assert_true(READ12(w, GUEST_PKRS) == 0x33);
        vmresume(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
    }
}

/* An entry that fails has loaded no guest state if a check fails, and has if the MSR list does; it
 * saves nothing, and loads host state [SDM 3C "VM-Entry Failures During or After Loading
 * Guest State"]. */
static void a_failed_entry_loads_l1s_values(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs *c;

    ready(w);
    c = &w->v->vmcs12;
    c->entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
    c->exit_controls |= NVIRT_VMX_EXIT_CTL_LOAD_PKRS | NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL;
    c->guest_rflags = 0; /* Bit 1 is 1. */
    vmlaunch(w);
    assert_true(w->v->vmcs12.exit_reason == 0x80000021);
    assert_msrs(w, 0x11, 0x1001, 0x23);
    c->guest_rflags = 2;
    c->entry_msr_load_count = 1;
    c->entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_FS_BASE);
    vmlaunch(w);
    assert_true(w->v->vmcs12.exit_reason == 0x80000022);
    assert_msrs(w, 0x12, 0x1001, 0x23);
    assert_true(w->v->vmcs12.guest_perf_global == 0x12);
    assert_true(w->v->vmcs12.guest_pkrs == 0x22);
}

/* The lists come after the controls: an entry of theirs wins. */
static void the_msr_lists_come_after(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs *c;

    ready(w);
    c = &w->v->vmcs12;
    c->entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
    c->exit_controls |= NVIRT_VMX_EXIT_CTL_LOAD_PKRS;
    c->entry_msr_load_count = c->exit_msr_load_count = 1;
    c->entry_msr_load_addr = MSR_LIST;
    c->exit_msr_load_addr = MSR_LIST + 16;
    fake_vm_put64(w->port, MSR_LIST, PKRS);
    fake_vm_put64(w->port, MSR_LIST + 8, 0x51);
    fake_vm_put64(w->port, MSR_LIST + 16, PKRS);
    fake_vm_put64(w->port, MSR_LIST + 24, 0x52);
    vmlaunch(w);
    assert_int_equal(msr_get(w, PKRS), 0x51);
    l2_cpuid(w);
    assert_int_equal(msr_get(w, PKRS), 0x52);
    assert_true(READ12(w, GUEST_PKRS) == 0x51);
}

/* A port that has no such MSR is told of, and nothing else happens. */
static void a_port_that_refuses_is_told_of(void **state)
{
    struct world *w = *state;

    ready(w);
    fake_vm_msr_set(w->port, PKRS, 0x21, true);
    w->v->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(fake_vm_traced(w->port, "nvirt: the port refuses an offered MSR"), 1);
}

/* What the host leaves of an offer of all three. */
static void narrow(struct world *w, uint64_t entry, uint64_t exit)
{
    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    w->offer.entry &= ~((LOADS & ~entry) << 32);
    w->offer.true_entry &= ~((LOADS & ~entry) << 32);
    w->offer.exit &= ~((ALL_EXIT & ~exit) << 32);
    w->offer.true_exit &= ~((ALL_EXIT & ~exit) << 32);
    world_vcpu(w);
}

/* [SDM 3C "Saving Control Registers, Debug Registers, and MSRs"]: each of these offers has exits save,
 * or load, one MSR. IA32_PERF_GLOBAL_CTRL is saved by its own control, without that of entries;
 * IA32_BNDCFGS if there is either of its controls; IA32_PKRS if there is that of entries. */
static const struct {
    const char *name;
    uint64_t entry, exit;   /* Offered. */
    uint64_t uses;          /* Exit controls of L1's. */
    uint64_t saved[3];      /* vmcs12 after the exit: 0x31, 0x3001, 0x33 are L2's. */
    uint64_t left[3];       /* The MSRs after it. */
} offers[] = {
    { "save IA32_PERF_GLOBAL_CTRL", 0, NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL,
      NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL, { 0x31, 0x2001, 0x22 }, { 0x31, 0x3001, 0x33 } },
    { "save IA32_PERF_GLOBAL_CTRL, unused", NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL,
      NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL, 0, { 0x12, 0x2001, 0x22 }, { 0x31, 0x3001, 0x33 } },
    { "load IA32_PERF_GLOBAL_CTRL", 0, NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL,
      NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL, { 0x12, 0x2001, 0x22 }, { 0x13, 0x3001, 0x33 } },
    { "clear IA32_BNDCFGS", 0, NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS, NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS,
      { 0x12, 0x3001, 0x22 }, { 0x31, 0, 0x33 } },
    { "clear IA32_BNDCFGS, unused", 0, NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS, 0,
      { 0x12, 0x3001, 0x22 }, { 0x31, 0x3001, 0x33 } },
    { "load IA32_BNDCFGS", NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS, 0, 0, { 0x12, 0x3001, 0x22 },
      { 0x31, 0x3001, 0x33 } },
    { "load IA32_PKRS at exits", 0, NVIRT_VMX_EXIT_CTL_LOAD_PKRS, NVIRT_VMX_EXIT_CTL_LOAD_PKRS,
      { 0x12, 0x2001, 0x22 }, { 0x31, 0x3001, 0x23 } },
    { "load IA32_PKRS at entries", NVIRT_VMX_ENTRY_CTL_LOAD_PKRS, 0, 0, { 0x12, 0x2001, 0x33 },
      { 0x31, 0x3001, 0x33 } },
};

static void an_exit_saves_by_what_is_offered(void **state)
{
    for (size_t i = 0; i < sizeof offers / sizeof offers[0]; i++) {
        struct world *w;
        const struct nvirt_vmcs *c;

        if (i != 0)
            assert_int_equal(setup_offered(state), 0);
        w = *state;
        narrow(w, offers[i].entry, offers[i].exit);
        ready(w);
        c = &w->v->vmcs12;
        w->v->vmcs12.exit_controls |= offers[i].uses;
        vmlaunch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        msr_set(w, PERF, 0x31);
        msr_set(w, BNDCFGS, 0x3001);
        msr_set(w, PKRS, 0x33);
        l2_cpuid(w);
        if (c->guest_perf_global != offers[i].saved[0] ||
            c->guest_bndcfgs != offers[i].saved[1] || c->guest_pkrs != offers[i].saved[2])
            fail_msg("%s: saved 0x%llx 0x%llx 0x%llx", offers[i].name,
                     (unsigned long long)c->guest_perf_global, (unsigned long long)c->guest_bndcfgs,
                     (unsigned long long)c->guest_pkrs);
        if (msr_get(w, PERF) != offers[i].left[0] || msr_get(w, BNDCFGS) != offers[i].left[1] ||
            msr_get(w, PKRS) != offers[i].left[2])
            fail_msg("%s: L1 has 0x%llx 0x%llx 0x%llx", offers[i].name,
                     (unsigned long long)msr_get(w, PERF), (unsigned long long)msr_get(w, BNDCFGS),
                     (unsigned long long)msr_get(w, PKRS));
        if (i + 1 != sizeof offers / sizeof offers[0])
            (void)teardown(state);
    }
}

/* The control of entries alone. */
static void an_entry_loads_what_no_exit_switches(void **state)
{
    struct world *w = *state;

    narrow(w, NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL, 0);
    ready(w);
    w->v->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL;
    vmlaunch(w);
    assert_msrs(w, 0x12, 0x1001, 0x21);
    l2_cpuid(w);
    assert_msrs(w, 0x12, 0x1001, 0x21);
}

/* Where the host does not offer them the controls are reserved, and exits save nothing. */
static void unoffered_they_are_left_alone(void **state)
{
    struct world *w = *state;

    msr_set(w, PKRS, 0x21);
    launch_l2(w);
    l2_cpuid(w);
    assert_true(w->v->vmcs12.guest_pkrs == 0);
    w->v->vmcs12.entry_controls |= NVIRT_VMX_ENTRY_CTL_LOAD_PKRS;
    vmresume(w);
    expect_vmfail(w, 7);
    assert_int_equal(msr_get(w, PKRS), 0x21);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFERED(an_entry_loads_each_by_its_control),
        OFFERED(every_entry_loads),
        OFFERED(an_exit_saves_what_l2_leaves),
        OFFERED(an_exit_saves_by_what_is_offered),
        OFFERED(an_entry_loads_what_no_exit_switches),
        OFFERED(an_exit_loads_l1s_values),
        OFFERED(a_failed_entry_loads_l1s_values),
        OFFERED(the_msr_lists_come_after),
        OFFERED(a_port_that_refuses_is_told_of),
        TEST(unoffered_they_are_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
