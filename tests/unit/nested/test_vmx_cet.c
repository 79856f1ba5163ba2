/* SPDX-License-Identifier: MIT */
/*
 * CET state of L1 and L2: IA32_S_CET, SSP and IA32_INTERRUPT_SSP_TABLE_ADDR in the guest fields of
 * vmcs01 and vmcs02, moved at each nested transition as vmcs12 says.
 */
#include "vmx_ways.h"

#include "nested/vmx_evmcs.h"

#define ENTRY_CET NVIRT_VMX_ENTRY_CTL_LOAD_CET
#define EXIT_CET NVIRT_VMX_EXIT_CTL_LOAD_CET
#define S_CET 0x6828u
#define SSP 0x682au
#define TABLE 0x682cu

struct cet {
    uint64_t s_cet, ssp, table;
};

static const struct cet of_l1 = { 0x1, 0x5008, 0x6000 };
static const struct cet of_vmcs12 = { 0x4, 0x7010, 0x8000 };
static const struct cet of_l2 = { 0x804, 0x9018, 0xa000 };
static const struct cet of_vmcs12s_host = { 0x3, 0xb020, 0xc000 };
static const struct cet of_the_host = { 0x5, 0xd028, 0xe000 };

/* ---- a CPU with CET, and an L1 that has it ---- */

static void cpu_with_cet(struct nvirt_vmx_caps *caps)
{
    caps->basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
    caps->entry |= ENTRY_CET << 32;
    caps->true_entry |= ENTRY_CET << 32;
    caps->exit |= EXIT_CET << 32;
    caps->true_exit |= EXIT_CET << 32;
    caps->cr4_fixed1 |= NVIRT_CR4_CET;
    caps->cpu.s_cet_valid = NVIRT_BITS(63, 10) | NVIRT_BITS(5, 0);
}

static void write1(struct world *w, const struct cet *cet)
{
    SET1(w, GUEST_S_CET, cet->s_cet);
    SET1(w, GUEST_SSP, cet->ssp);
    SET1(w, GUEST_SSP_TABLE, cet->table);
}

static int setup_cet(void **state, bool offered)
{
    int status = setup(state);
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    cpu_with_cet(&w->caps);
    assert_int_equal(nvirt_vmx_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    if (offered)
        assert_int_equal(nvirt_vmx_caps_offer_cet(&w->caps, &w->offer), NVIRT_OK);
    fake_vm_put32(w->port, VMXON_REGION, revision12(w));
    fake_vm_put32(w->port, VMCS12, revision12(w));
    fake_vm_put32(w->port, VMCS12_B, revision12(w));
    w->config.cet = true;
    world_vcpu(w);
    write1(w, &of_l1);
    SET1(w, HOST_S_CET, of_the_host.s_cet);
    SET1(w, HOST_SSP, of_the_host.ssp);
    SET1(w, HOST_SSP_TABLE, of_the_host.table);
    return status;
}

static int setup_offered(void **state)
{
    return setup_cet(state, true);
}

/* L1 has CET, but no switches of it. */
static int setup_shared(void **state)
{
    return setup_cet(state, false);
}

#define OFFERED(name)                                                                              \
    { #name, name, setup_offered, teardown, NULL }
#define SHARED(name)                                                                               \
    { #name, name, setup_shared, teardown, NULL }

/* ---- steps ---- */

/* L1 writes to vmcs12 with VMWRITE. */
static void write12(struct world *w, const struct cet *cet)
{
    WRITE12(w, GUEST_S_CET, cet->s_cet);
    WRITE12(w, GUEST_SSP, cet->ssp);
    WRITE12(w, GUEST_SSP_TABLE, cet->table);
}

static void ready_with(struct world *w, uint64_t entry, uint64_t exit)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    ready_to_launch(w);
    c->guest_s_cet = of_vmcs12.s_cet;
    c->guest_ssp = of_vmcs12.ssp;
    c->guest_ssp_table = of_vmcs12.table;
    c->host_s_cet = of_vmcs12s_host.s_cet;
    c->host_ssp = of_vmcs12s_host.ssp;
    c->host_ssp_table = of_vmcs12s_host.table;
    c->entry_controls |= entry;
    c->exit_controls |= exit;
}

/* The level that runs leaves for CPUID, its CET state being @p cet by then. */
static void runs_to_cpuid(struct world *w, const struct cet *cet)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x6400, 0 }, { 0x4404, 0 }, { 0x4408, 0 },
        { 0x440c, INSN_LENGTH }, { S_CET, cet->s_cet }, { SSP, cet->ssp }, { TABLE, cet->table },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
}

/* VMRESUME without a hint to nvirt that anything has changed. */
static void resume(struct world *w)
{
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* What hardware has for the level that is about to run. */
static void assert_runs_with(struct world *w, uint32_t level, const struct cet *cet)
{
    prepare(w);
    assert_int_equal(nvirt_vmx_level(w->v), level);
    assert_true(HW(w, GUEST_S_CET) == cet->s_cet);
    assert_true(HW(w, GUEST_SSP) == cet->ssp);
    assert_true(HW(w, GUEST_SSP_TABLE) == cet->table);
    /* And the host gets its own back. */
    assert_true((HW(w, ENTRY_CONTROLS) & ENTRY_CET) != 0);
    assert_true((HW(w, EXIT_CONTROLS) & EXIT_CET) != 0);
    assert_true(HW(w, HOST_S_CET) == of_the_host.s_cet);
    assert_true(HW(w, HOST_SSP) == of_the_host.ssp);
    assert_true(HW(w, HOST_SSP_TABLE) == of_the_host.table);
}

static void assert_read12(struct world *w, const struct cet *cet)
{
    assert_true(READ12(w, GUEST_S_CET) == cet->s_cet);
    assert_true(READ12(w, GUEST_SSP) == cet->ssp);
    assert_true(READ12(w, GUEST_SSP_TABLE) == cet->table);
}

/* ---- entries ---- */

/* [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs"; "Loading Guest RIP, RSP,
 * RFLAGS, and SSP"] */
static void an_entry_loads_what_vmcs12_has(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    vmlaunch(w);
    assert_runs_with(w, 2, &of_vmcs12);
}

static void without_the_control_l2_begins_with_l1s(void **state)
{
    struct world *w = *state;

    ready_with(w, 0, 0);
    vmlaunch(w);
    assert_runs_with(w, 2, &of_l1);
}

/* Both again at entries after which L1 changed nothing of its VMCS, or a part of it. */
static void later_entries_do_the_same(void **state)
{
    const struct cet l1_later = { 0x2, 0x5020, 0x6100 };
    const struct cet written = { 0x404, 0x7100, 0x8100 };
    struct world *w = *state;

    /* Loaded: what the exit saved, until L1 writes something else. */
    ready_with(w, ENTRY_CET, EXIT_CET);
    vmlaunch(w);
    runs_to_cpuid(w, &of_l2);
    runs_to_cpuid(w, &l1_later);
    resume(w);
    assert_runs_with(w, 2, &of_l2);
    runs_to_cpuid(w, &of_l2);
    write12(w, &written);
    resume(w);
    assert_runs_with(w, 2, &written);
    runs_to_cpuid(w, &of_l2);
    WRITE12(w, GUEST_SSP, written.ssp);
    resume(w);
    assert_runs_with(w, 2, &(struct cet){ of_l2.s_cet, written.ssp, of_l2.table });
    /* Not loaded: what L1 came to. */
    runs_to_cpuid(w, &of_l2);
    WRITE12(w, ENTRY_CONTROLS, READ12(w, ENTRY_CONTROLS) & ~ENTRY_CET);
    for (uint32_t i = 0; i < 2; i++) {
        const struct cet now = { 0x2, 0x5100 + 8 * i, 0x6200 };

        runs_to_cpuid(w, &now);
        resume(w);
        assert_runs_with(w, 2, &now);
        runs_to_cpuid(w, &of_l2);
        /* What the exit saved is not lost on the entry. */
        if (i == 1)
            assert_read12(w, &of_l2);
    }
}

/* [SDM 3C "Checks on Guest RIP, RFLAGS, and SSP"]: L1 changes its mind about the control. */
static void the_control_turned_on_later_is_checked(void **state)
{
    struct world *w = *state;

    ready_with(w, 0, EXIT_CET);
    w->v->vmcs12.guest_ssp = 3;
    vmlaunch(w);
    runs_to_cpuid(w, &of_l2);
    WRITE12(w, ENTRY_CONTROLS, READ12(w, ENTRY_CONTROLS) | ENTRY_CET);
    resume(w);
    assert_runs_with(w, 2, &of_l2);
    runs_to_cpuid(w, &of_l2);
    WRITE12(w, GUEST_SSP, 0x7002);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == 0x80000021);
    assert_true(READ12(w, GUEST_SSP) == 0x7002);
    assert_runs_with(w, 1, &of_vmcs12s_host);
}

/* ---- exits ---- */

/* [SDM 3C "Saving Control Registers, Debug Registers, and MSRs"; "Saving RIP, RSP, RFLAGS, and
 * SSP"]: by every exit of a CPU that has the VM-entry control. */
static void an_exit_always_saves_what_l2_leaves(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i < 4; i++) {
        ready_with(w, (i & 1) != 0 ? ENTRY_CET : 0, (i & 2) != 0 ? EXIT_CET : 0);
        vmlaunch(w);
        runs_to_cpuid(w, &of_l2);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        assert_read12(w, &of_l2);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    }
}

/* [SDM 3C "Loading Host Control Registers, Debug Registers, MSRs"; "Loading Host RIP, RSP, RFLAGS,
 * and SSP"] */
static void an_exit_loads_l1s_host_state(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, EXIT_CET);
    vmlaunch(w);
    for (uint32_t i = 0; i < 3; i++) {
        runs_to_cpuid(w, &of_l2);
        assert_runs_with(w, 1, &of_vmcs12s_host);
        runs_to_cpuid(w, &of_l1);
        resume(w);
    }
}

static void without_the_control_l1_goes_on_with_l2s(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    vmlaunch(w);
    for (uint32_t i = 0; i < 3; i++) {
        const struct cet now = { 0x804, 0x9000 + 8 * i, 0xa000 };

        runs_to_cpuid(w, &now);
        assert_runs_with(w, 1, &now);
        resume(w);
    }
}

/* ---- the short ways of vmx_switch.c ---- */

/* The level that runs leaves for @p reason, its CET state being @p cet by then. */
static void switches(struct world *w, uint32_t reason, const struct cet *cet, bool plain)
{
    const struct fake_set of_cet[] = { { S_CET, cet->s_cet }, { SSP, cet->ssp },
                                       { TABLE, cet->table } };

    leave(w, reason, of_cet, 3, plain);
}

/* A hypervisor that loads the state both ways, and one that does not know it and loads it neither way,
 * switch the short way; each entry and exit of theirs moves what it moves the general way. */
static void an_l1_that_loads_alike_switches_the_short_way(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i < 8; i++) {
        bool plain = (i & 1) != 0;
        bool entry = (i & 2) != 0;
        bool exit = (i & 4) != 0;

        ready_with(w, entry ? ENTRY_CET : 0, exit ? EXIT_CET : 0);
        leave(w, NVIRT_VMX_EXIT_VMLAUNCH, NULL, 0, plain);
        for (uint32_t n = 0; n < 5; n++) {
            const struct cet l2 = { 0x804, 0x9000 + 8 * n, 0xa000 + 8 * n };
            const struct cet l1 = { n < 4 ? 0x3 : 0x1, 0x5000 + 8 * n, n < 3 ? 0x6000 : 0x6100 };

            switches(w, NVIRT_VMX_EXIT_CPUID, &l2, plain);
            assert_true(w->v->switched == (plain && entry == exit && n > 0));
            if (n == 3)
                assert_read12(w, &l2);
            assert_runs_with(w, 1, exit ? &of_vmcs12s_host : &l2);
            switches(w, NVIRT_VMX_EXIT_VMRESUME, &l1, plain);
            assert_true(w->v->switched == (plain && entry == exit));
            assert_runs_with(w, 2, entry ? &l2 : &l1);
        }
        switches(w, NVIRT_VMX_EXIT_HLT, &of_l2, plain); /* The short way, for an exit that was looked at. */
        assert_true(w->v->switched == (plain && entry == exit));
        assert_read12(w, &of_l2);
        assert_runs_with(w, 1, exit ? &of_vmcs12s_host : &of_l2);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    }
}

/* A VMREAD that hardware refuses on the short way, of an exit or of an entry, is for the general one. */
static void what_is_refused_is_read_again(void **state)
{
    struct world *w = *state;

    for (uint32_t n = 0; n < 6; n++) {
        uint32_t at_exit = n < 3 ? 14 + n : 0; /* After the reason, 11 of the flow, and the length. */
        uint32_t at_entry = n < 3 ? 0 : 6 + n - 3; /* After the reason and four of L1's. */

        ready_with(w, 0, 0);
        leave(w, NVIRT_VMX_EXIT_VMLAUNCH, NULL, 0, true);
        for (uint32_t i = 0; i < 3; i++) {
            const struct cet l2 = { 0x400 << i, 0x9000 + 8 * i, 0xa000 + 8 * i };
            const struct cet l1 = { i + 1, 0x5000 + 8 * i, 0x6000 + 8 * i };

            prepare(w);
            w->cpu.fail_vmread = i == 2 ? at_exit : 0;
            switches(w, NVIRT_VMX_EXIT_CPUID, &l2, true);
            assert_int_equal(w->cpu.fail_vmread, 0);
            assert_runs_with(w, 1, &l2);
            w->cpu.fail_vmread = i == 2 ? at_entry : 0;
            switches(w, NVIRT_VMX_EXIT_VMRESUME, &l1, true);
            assert_int_equal(w->cpu.fail_vmread, 0);
            assert_runs_with(w, 2, &l1);
        }
        runs_to_cpuid(w, &of_l2);
        assert_read12(w, &of_l2);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    }
}

/* ---- entries that fail ---- */

/* [SDM 3C "VM-Entry Failures During or After Loading Guest State"]: a check fails before L2's is
 * loaded, and the host state is loaded. */
static void a_failed_check_leaves_l1s_or_loads_host_state(void **state)
{
    const struct cet l1_by_then = { 0x2, 0x5048, 0x6800 };
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    w->v->vmcs12.guest_rflags = 0; /* Bit 1 is 1. */
    runs_to_cpuid(w, &l1_by_then);
    vmlaunch(w);
    assert_true(READ12(w, EXIT_REASON) == 0x80000021);
    assert_runs_with(w, 1, &l1_by_then);
    w->v->vmcs12.exit_controls |= EXIT_CET;
    vmlaunch(w);
    assert_runs_with(w, 1, &of_vmcs12s_host);
    /* It saves nothing. */
    assert_read12(w, &of_vmcs12);
}

/* A list comes after the guest state: what no host field replaces stays L2's. */
static void a_failed_list_leaves_l2s_or_loads_host_state(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    w->v->vmcs12.entry_msr_load_count = 1;
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_FS_BASE);
    vmlaunch(w);
    assert_true(READ12(w, EXIT_REASON) == 0x80000022);
    assert_runs_with(w, 1, &of_vmcs12);
    write1(w, &of_l1);
    w->v->vmcs12.entry_controls &= ~ENTRY_CET;
    vmlaunch(w);
    assert_runs_with(w, 1, &of_l1);
    w->v->vmcs12.exit_controls |= EXIT_CET;
    vmlaunch(w);
    assert_runs_with(w, 1, &of_vmcs12s_host);
}

/* Hardware refuses vmcs02: no guest state of L2's was loaded. */
static void an_entry_that_hardware_refuses_leaves_l1s(void **state)
{
    const struct fake_set failure[] = { { 0x4402, 0x80000021 }, { 0x6400, 0 } };
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    vmlaunch(w);
    run_to(w, failure, 2);
    assert_int_equal(w->status, NVIRT_OK);
    assert_true(READ12(w, EXIT_REASON) == 0x80000021);
    assert_runs_with(w, 1, &of_l1);
    assert_read12(w, &of_vmcs12);
    /* What an exit saved and nobody has looked at since is in vmcs12 all the same. */
    w->v->vmcs12.entry_controls &= ~ENTRY_CET;
    vmlaunch(w);
    runs_to_cpuid(w, &of_l2);
    runs_to_cpuid(w, &of_l1);
    resume(w);
    run_to(w, failure, 2);
    assert_true(READ12(w, EXIT_REASON) == 0x80000021);
    assert_read12(w, &of_l2);
}

/* ---- MSR lists, RDMSR and WRMSR ---- */

/* [SDM 3C "Loading MSRs"; "Saving MSRs"]: after the fields, as WRMSR would. */
static void the_msr_lists_come_after(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcs *c;

    ready_with(w, ENTRY_CET, EXIT_CET);
    c = &w->v->vmcs12;
    c->entry_msr_load_count = c->exit_msr_load_count = c->exit_msr_store_count = 1;
    c->entry_msr_load_addr = MSR_LIST;
    c->exit_msr_load_addr = MSR_LIST + 16;
    c->exit_msr_store_addr = MSR_LIST + 32;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_S_CET);
    fake_vm_put64(w->port, MSR_LIST + 8, 0x24);
    fake_vm_put64(w->port, MSR_LIST + 16, NVIRT_MSR_SSP_TABLE);
    fake_vm_put64(w->port, MSR_LIST + 24, 0xf000);
    fake_vm_put64(w->port, MSR_LIST + 32, NVIRT_MSR_S_CET);
    vmlaunch(w);
    assert_runs_with(w, 2, &(struct cet){ 0x24, of_vmcs12.ssp, of_vmcs12.table });
    runs_to_cpuid(w, &of_l2);
    assert_true(fake_vm_get64(w->port, MSR_LIST + 40) == of_l2.s_cet);
    assert_runs_with(w, 1,
                     &(struct cet){ of_vmcs12s_host.s_cet, of_vmcs12s_host.ssp, 0xf000 });
}

static void l2_accesses(struct world *w, uint32_t reason, uint32_t msr, uint64_t value)
{
    w->gprs.r[NVIRT_RCX] = msr;
    w->gprs.r[NVIRT_RAX] = (uint32_t)value;
    w->gprs.r[NVIRT_RDX] = value >> 32;
    exit_with(w, reason, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* [SDM 4 "Architectural MSRs"]: L2, whom L1 lets pass, finds and changes its own. */
static void l2_reads_and_writes_its_own_msrs(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    vmlaunch(w);
    l2_accesses(w, NVIRT_VMX_EXIT_RDMSR, NVIRT_MSR_S_CET, 0);
    assert_true(w->gprs.r[NVIRT_RAX] == of_vmcs12.s_cet);
    l2_accesses(w, NVIRT_VMX_EXIT_WRMSR, NVIRT_MSR_S_CET, UINT64_C(0xffff800000001025));
    l2_accesses(w, NVIRT_VMX_EXIT_WRMSR, NVIRT_MSR_SSP_TABLE, UINT64_C(0xffff800000002000));
    assert_runs_with(w, 2, &(struct cet){ UINT64_C(0xffff800000001025), of_vmcs12.ssp,
                                          UINT64_C(0xffff800000002000) });
    l2_accesses(w, NVIRT_VMX_EXIT_RDMSR, NVIRT_MSR_SSP_TABLE, 0);
    assert_true(w->gprs.r[NVIRT_RDX] == 0xffff8000 && w->gprs.r[NVIRT_RAX] == 0x2000);
}

static void a_write_that_is_not_possible_is_gp(void **state)
{
    static const struct {
        uint32_t msr;
        uint64_t value;
    } rows[] = {
        { NVIRT_MSR_S_CET, NVIRT_BIT(6) },  { NVIRT_MSR_S_CET, NVIRT_BIT(9) },
        { NVIRT_MSR_S_CET, 0xc04 },         { NVIRT_MSR_S_CET, NVIRT_BIT(47) },
        { NVIRT_MSR_SSP_TABLE, NVIRT_BIT(47) },
    };
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    vmlaunch(w);
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        l2_accesses(w, NVIRT_VMX_EXIT_WRMSR, rows[i].msr, rows[i].value);
        expect_exception(w, NVIRT_VECTOR_GP, true, 0);
        assert_true(HW(w, GUEST_S_CET) == of_vmcs12.s_cet);
        assert_true(HW(w, GUEST_SSP_TABLE) == of_vmcs12.table);
    }
}

/* ---- an L1 that is not offered the switches ---- */

static void unoffered_they_are_reserved(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, 0);
    vmlaunch(w);
    expect_vmfail(w, 7);
    w->v->vmcs12.entry_controls &= ~ENTRY_CET;
    w->v->vmcs12.exit_controls |= EXIT_CET;
    vmlaunch(w);
    expect_vmfail(w, 7);
    w->gprs.r[NVIRT_RCX] = SSP;
    l1_insn(w, NVIRT_VMX_EXIT_VMREAD, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX));
    expect_vmfail(w, 12);
    assert_runs_with(w, 1, &of_l1);
}

/* One set, which L1 and L2 share as they would on such a CPU. */
static void unoffered_l1_and_l2_share_one_set(void **state)
{
    struct world *w = *state;

    ready_with(w, 0, 0);
    vmlaunch(w);
    for (uint32_t i = 0; i < 3; i++) {
        const struct cet l2 = { 0x804, 0x9000 + 8 * i, 0xa000 };
        const struct cet l1 = { 0x3, 0x5000 + 8 * i, 0x6000 };

        runs_to_cpuid(w, &l2);
        assert_runs_with(w, 1, &l2);
        runs_to_cpuid(w, &l1);
        resume(w);
        assert_runs_with(w, 2, &l1);
    }
}

static void unoffered_the_msr_is_stored_from_l2s(void **state)
{
    struct world *w = *state;

    ready_with(w, 0, 0);
    w->v->vmcs12.exit_msr_store_count = 1;
    w->v->vmcs12.exit_msr_store_addr = MSR_LIST;
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_SSP_TABLE);
    vmlaunch(w);
    runs_to_cpuid(w, &of_l2);
    assert_true(fake_vm_get64(w->port, MSR_LIST + 8) == of_l2.table);
}

/* ---- saved state ---- */

static void restored_elsewhere(struct world *w)
{
    static uint8_t bytes[NVIRT_STATE_MAX_BYTES];
    struct nvirt_vmcs vmcs01;
    size_t used;

    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, bytes, sizeof bytes, &used), NVIRT_OK);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) == NVIRT_VMCS_KIND_GUEST
            && nvirt_vmcs_field_exists(&w->caps, (enum nvirt_vmcs_field)i))
            vmcs01.field[i] = get_level(w, 1, (enum nvirt_vmcs_field)i);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    write1(w, &of_the_host);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) == NVIRT_VMCS_KIND_GUEST
            && nvirt_vmcs_field_exists(&w->caps, (enum nvirt_vmcs_field)i))
            set01(w, (enum nvirt_vmcs_field)i, vmcs01.field[i]);
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, bytes, used), NVIRT_OK);
}

static void saved_state_has_l1s_and_l2s(void **state)
{
    const struct fake_set host_exit[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXCEPTION_NMI }, { 0x6400, 0 }, { 0x4404, 0x80000202 },
        { 0x4406, 0 }, { 0x4408, 0 }, { 0x440c, 3 }, { S_CET, of_l2.s_cet }, { SSP, of_l2.ssp },
        { TABLE, of_l2.table },
    };
    struct world *w = *state;

    ready_with(w, 0, 0);
    vmlaunch(w);
    run_to(w, host_exit, sizeof host_exit / sizeof host_exit[0]);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    restored_elsewhere(w);
    assert_runs_with(w, 2, &of_l2);
    assert_true(GET1(w, GUEST_SSP) == of_l1.ssp);
    w->v->prepared = true;
    runs_to_cpuid(w, &of_l2);
    assert_runs_with(w, 1, &of_l2);
}

/* Saved bytes are no more trusted than L1's: the SSP that L2 would go on with fails an entry. */
static void a_state_that_no_l2_can_have_is_refused(void **state)
{
    const struct fake_set bad_exit[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXCEPTION_NMI }, { 0x6400, 0 }, { 0x4404, 0x80000202 },
        { 0x4406, 0 }, { 0x4408, 0 }, { 0x440c, 3 }, { SSP, 0x9002 },
    };
    static uint8_t bytes[NVIRT_STATE_MAX_BYTES];
    struct world *w = *state;
    size_t used;

    ready_with(w, 0, 0);
    vmlaunch(w);
    run_to(w, bad_exit, sizeof bad_exit / sizeof bad_exit[0]);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, bytes, sizeof bytes, &used), NVIRT_OK);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, bytes, used), NVIRT_ERR_DATA);
}

/* ---- what the host says and does ---- */

/* vmcs01 has the controls, or it has not. */
static void vmcs01_must_switch_it(void **state)
{
    struct world *w = *state;
    uint64_t entry = GET1(w, ENTRY_CONTROLS);
    uint64_t exit = GET1(w, EXIT_CONTROLS);

    assert_int_equal(nvirt_vmx_write(w->v, w->at, 1, NVIRT_VMCS_ENTRY_CONTROLS, entry & ~ENTRY_CET),
                     NVIRT_ERR_CAPABILITY);
    assert_int_equal(nvirt_vmx_write(w->v, w->at, 1, NVIRT_VMCS_EXIT_CONTROLS, exit & ~EXIT_CET),
                     NVIRT_ERR_CAPABILITY);
    assert_true(GET1(w, ENTRY_CONTROLS) == entry && GET1(w, EXIT_CONTROLS) == exit);
}

static void vmcs01_of_an_l1_without_cet_does_not_switch_it(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_write(w->v, w->at, 1, NVIRT_VMCS_ENTRY_CONTROLS,
                                     GET1(w, ENTRY_CONTROLS) | ENTRY_CET),
                     NVIRT_ERR_CAPABILITY);
    assert_int_equal(nvirt_vmx_write(w->v, w->at, 1, NVIRT_VMCS_EXIT_CONTROLS,
                                     GET1(w, EXIT_CONTROLS) | EXIT_CET),
                     NVIRT_ERR_CAPABILITY);
}

static void the_config_and_the_offer_agree(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_vcpu_config config = w->config;
    struct nvirt_vmx_caps lacking = w->caps;
    struct nvirt_vmx_caps plain;
    struct nvirt_vmx_vcpu *v;
    void *memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);

    config.cet = false;
    assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_SIZE, &config, &v),
                     NVIRT_ERR_CAPABILITY);
    config.cet = true;
    lacking.exit &= ~(EXIT_CET << 32);
    assert_int_equal(nvirt_vmx_caps_offer(&lacking, &plain), NVIRT_OK);
    config.cpu = &lacking;
    config.offer = &plain;
    assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_SIZE, &config, &v),
                     NVIRT_ERR_CAPABILITY);
    free(memory);
}

/* An enlightened VMCS has no place for the fields. */
static void an_enlightened_vmcs_does_without(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_caps offer = w->offer;

    nvi_evmcs_narrow(&offer);
    assert_true(((offer.entry | offer.true_entry) >> 32 & ENTRY_CET) == 0);
    assert_true(((offer.exit | offer.true_exit) >> 32 & EXIT_CET) == 0);
}

/* #CP has an error code [SDM 3A "Interrupt 21: Control Protection Exception (#CP)"], and is
 * contributory [SDM 3A "Interrupt 8: Double Fault Exception (#DF)"]. */
static void a_control_protection_exception_is_handed_over(void **state)
{
    const struct nvirt_event cp = { .type = NVIRT_EVENT_EXCEPTION, .vector = NVIRT_VECTOR_CP,
                                    .has_error_code = true, .error_code = 3 };
    const struct fake_set in_delivery[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXCEPTION_NMI }, { 0x6400, 0 }, { 0x4404, 0x80000202 },
        { 0x4406, 0 }, { 0x4408, 0x80000b15 }, { 0x440a, 2 }, { 0x440c, 3 },
    };
    struct nvirt_event without = cp;
    struct world *w = *state;

    without.has_error_code = false;
    assert_int_equal(nvirt_vmx_inject(w->v, w->at, &without), NVIRT_ERR_RANGE);
    launch_l2(w);
    /* Cut short by an exit of the host's, it is delivered again. */
    run_to(w, in_delivery, sizeof in_delivery / sizeof in_delivery[0]);
    expect_exception(w, NVIRT_VECTOR_CP, true, 2);
    w->v->prepared = false;
    /* A second one makes it a double fault. */
    assert_int_equal(nvirt_vmx_inject(w->v, w->at, &cp), NVIRT_OK);
    expect_exception(w, NVIRT_VECTOR_DF, true, 0);
}

static void a_cpu_that_cannot_inject_it_is_not_asked_to(void **state)
{
    const struct nvirt_event cp = { .type = NVIRT_EVENT_EXCEPTION, .vector = NVIRT_VECTOR_CP,
                                    .has_error_code = true };
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_inject(w->v, w->at, &cp), NVIRT_ERR_RANGE);
}

/* Qualification that L1 is told when hardware tells nvirt of an access to a shadow stack. */
static uint64_t told_of_violation(struct world *w)
{
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e;
    vmlaunch(w);
    l2_violation(w, 0x123000, 0x182 | NVIRT_VMX_QUAL_EPT_SHADOW_STACK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    return READ12(w, EXIT_QUALIFICATION);
}

/* [SDM 3C "Basic VM-Exit Information"]: bit 13 of an EPT violation's qualification. */
static void a_violation_of_a_shadow_stack_is_told(void **state)
{
    struct world *w = *state;

    ready_with(w, ENTRY_CET, EXIT_CET);
    assert_true(told_of_violation(w) == (0x182 | NVIRT_VMX_QUAL_EPT_SHADOW_STACK));
}

/* The bit is one of those that no CPU without CET sets. */
static void an_l1_without_cet_is_not_told_of_shadow_stacks(void **state)
{
    struct world *w = *state;

    ready_with(w, 0, 0);
    assert_true(told_of_violation(w) == 0x182);
}

/* ---- what it costs ---- */

static uint64_t reads_and_writes(const struct world *w)
{
    const struct nvirt_stats *stats = nvirt_vmx_stats(w->v);

    return stats->vmreads + stats->vmwrites;
}

/* VMREADs and VMWRITEs of a round trip, in the long run; L1 leaves with @p l1 and L2 with @p l2. */
static uint64_t round_trip(struct world *w, uint64_t entry, uint64_t exit, const struct cet *l1,
                           const struct cet *l2)
{
    uint64_t cost = 0;

    ready_with(w, entry, exit);
    vmlaunch(w);
    for (uint32_t n = 0; n < 4; n++) {
        uint64_t before = reads_and_writes(w);

        runs_to_cpuid(w, l2);
        runs_to_cpuid(w, l1);
        resume(w);
        cost = reads_and_writes(w) - before;
    }
    runs_to_cpuid(w, l2);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    return cost;
}

/* Where vmcs12 loads it both ways, L1's three are written, and that is all; where it loads it neither
 * way, both levels' are read, and written as far as they differ. */
static void a_round_trip_costs_what_has_to_move(void **state)
{
    struct world *w = *state;
    struct world *plain;
    void *other;
    uint64_t without;

    assert_int_equal(setup(&other), 0);
    plain = other;
    without = round_trip(plain, 0, 0, &of_l1, &of_l2);
    assert_int_equal(teardown(&other), 0);
    assert_int_equal(round_trip(w, ENTRY_CET, EXIT_CET, &of_l1, &of_l2), without + 3);
    assert_int_equal(round_trip(w, 0, 0, &of_l1, &of_l1), without + 6);
    assert_int_equal(round_trip(w, 0, 0, &of_l1, &of_l2), without + 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OFFERED(an_entry_loads_what_vmcs12_has),
        OFFERED(without_the_control_l2_begins_with_l1s),
        OFFERED(later_entries_do_the_same),
        OFFERED(the_control_turned_on_later_is_checked),
        OFFERED(an_exit_always_saves_what_l2_leaves),
        OFFERED(an_exit_loads_l1s_host_state),
        OFFERED(without_the_control_l1_goes_on_with_l2s),
        OFFERED(an_l1_that_loads_alike_switches_the_short_way),
        OFFERED(what_is_refused_is_read_again),
        OFFERED(a_failed_check_leaves_l1s_or_loads_host_state),
        OFFERED(a_failed_list_leaves_l2s_or_loads_host_state),
        OFFERED(an_entry_that_hardware_refuses_leaves_l1s),
        OFFERED(the_msr_lists_come_after),
        OFFERED(l2_reads_and_writes_its_own_msrs),
        OFFERED(a_write_that_is_not_possible_is_gp),
        SHARED(unoffered_they_are_reserved),
        SHARED(unoffered_l1_and_l2_share_one_set),
        SHARED(unoffered_the_msr_is_stored_from_l2s),
        OFFERED(saved_state_has_l1s_and_l2s),
        { "saved_state_has_l1s_and_l2s, unoffered", saved_state_has_l1s_and_l2s, setup_shared,
          teardown, NULL },
        OFFERED(a_state_that_no_l2_can_have_is_refused),
        OFFERED(vmcs01_must_switch_it),
        TEST(vmcs01_of_an_l1_without_cet_does_not_switch_it),
        OFFERED(the_config_and_the_offer_agree),
        OFFERED(an_enlightened_vmcs_does_without),
        OFFERED(a_control_protection_exception_is_handed_over),
        TEST(a_cpu_that_cannot_inject_it_is_not_asked_to),
        OFFERED(a_violation_of_a_shadow_stack_is_told),
        TEST(an_l1_without_cet_is_not_told_of_shadow_stacks),
        OFFERED(a_round_trip_costs_what_has_to_move),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
