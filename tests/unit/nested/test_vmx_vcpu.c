/* SPDX-License-Identifier: MIT */
/*
 * The host's calls: what they refuse, what they hold, moves between CPUs, hardware that fails, and
 * every cold call of the port failing in turn.
 */
#include "vmx_world.h"

/* ---- VM ---- */

static void vm_init_checks_its_arguments(void **state)
{
    struct world *w = *state;
    struct nvirt_vm vm;
    struct nvirt_vm_config config = { .port = w->port, .page_budget = 16, .physical_bits = 40 };

    assert_int_equal(nvirt_vm_init(NULL, &config), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vm_init(&vm, NULL), NVIRT_ERR_NULL);
    config.page_budget = NVIRT_VM_MIN_PAGES - 1;
    assert_int_equal(nvirt_vm_init(&vm, &config), NVIRT_ERR_RANGE);
    config.page_budget = NVIRT_VM_MAX_PAGES + 1;
    assert_int_equal(nvirt_vm_init(&vm, &config), NVIRT_ERR_RANGE);
    config.page_budget = NVIRT_VM_MIN_PAGES;
    config.physical_bits = 31;
    assert_int_equal(nvirt_vm_init(&vm, &config), NVIRT_ERR_RANGE);
    config.physical_bits = 53;
    assert_int_equal(nvirt_vm_init(&vm, &config), NVIRT_ERR_RANGE);
    config.physical_bits = 52;
    assert_int_equal(nvirt_vm_init(&vm, &config), NVIRT_OK);
    assert_int_equal(nvirt_vm_destroy(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vm_destroy(&vm), NVIRT_OK);
    assert_int_equal(nvirt_vm_destroy(&vm), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vm_destroy(&w->vm), NVIRT_ERR_STATE); /* It has a vCPU. */
}

static void every_status_and_counter_has_a_name(void **state)
{
    (void)state;
    for (int i = NVIRT_OK; i <= NVIRT_ERR_DATA; i++) {
        const char *name = nvirt_status_name((enum nvirt_status)i);

        assert_non_null(name);
        assert_string_not_equal(name, "unknown status");
        for (int j = NVIRT_OK; j < i; j++)
            assert_string_not_equal(name, nvirt_status_name((enum nvirt_status)j));
    }
    assert_string_equal(nvirt_status_name((enum nvirt_status)99), "unknown status");
    assert_string_equal(nvirt_stats_name(0), "exits_l1");
    assert_non_null(nvirt_stats_name(NVIRT_STATS_COUNT - 1));
    assert_null(nvirt_stats_name(NVIRT_STATS_COUNT));
}

/* ---- vCPU ---- */

static enum nvirt_status try_init(struct world *w)
{
    static _Alignas(64) uint8_t memory[NVIRT_VMX_VCPU_SIZE];
    struct nvirt_vmx_vcpu *v = NULL;
    enum nvirt_status status = nvirt_vmx_vcpu_init(memory, sizeof memory, &w->config, &v);

    if (status == NVIRT_OK)
        assert_int_equal(nvirt_vmx_vcpu_destroy(v, NULL), NVIRT_OK);
    else
        assert_null(v);
    return status;
}

/* Memory for as many roots as the host wants, up to a full EPTP list, none of it missing. */
static void a_vcpu_keeps_as_many_roots_as_configured(void **state)
{
    static _Alignas(64) uint8_t memory[NVIRT_VMX_VCPU_BYTES(NVIRT_MAX_ROOTS)];
    struct world *w = *state;
    struct nvirt_vmx_vcpu_config config = w->config;
    struct nvirt_vmx_vcpu *v;
    static const uint32_t wanted[] = { 0, 1, NVIRT_DEFAULT_ROOTS, NVIRT_DEFAULT_ROOTS + 1,
                                       NVIRT_MAX_ROOTS };

    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        config.roots = wanted[i];
        assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_BYTES(wanted[i]) - 1, &config,
                                             &v), NVIRT_ERR_SIZE);
        assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_BYTES(wanted[i]), &config, &v),
                         NVIRT_OK);
        assert_int_equal(v->mmu.capacity, wanted[i] == 0 ? NVIRT_DEFAULT_ROOTS : wanted[i]);
        assert_true((uint8_t *)(v->mmu.roots + v->mmu.capacity) <=
                    memory + NVIRT_VMX_VCPU_BYTES(wanted[i]));
        assert_int_equal(nvirt_vmx_vcpu_destroy(v, NULL), NVIRT_OK);
    }
    config.roots = NVIRT_MAX_ROOTS + 1;
    assert_int_equal(nvirt_vmx_vcpu_init(memory, sizeof memory + NVIRT_ROOT_BYTES, &config, &v),
                     NVIRT_ERR_RANGE);
}

static void vcpu_init_checks_its_arguments(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_vcpu *v;
    const struct nvirt_vmx_vcpu_config good = w->config;
    struct nvirt_vmx_caps caps = w->caps;
    struct nvirt_vm dead = w->vm;
    uint32_t vcpus = w->vm.vcpu_count;

    assert_int_equal(nvirt_vmx_vcpu_init(NULL, 1 << 20, &good, &v), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory, 1 << 20, NULL, &v), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory, 1 << 20, &good, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory + 8, 1 << 20, &good, &v), NVIRT_ERR_ALIGNMENT);
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory, NVIRT_VMX_VCPU_SIZE - 1, &good, &v),
                     NVIRT_ERR_SIZE);
    w->config.vm = NULL;
    assert_int_equal(try_init(w), NVIRT_ERR_NULL);
    w->config = good;
    w->config.vpids = NULL;
    assert_int_equal(try_init(w), NVIRT_ERR_NULL);
    w->config = good;
    w->config.vmcs01.value = 0x123;
    assert_int_equal(try_init(w), NVIRT_ERR_ALIGNMENT);
    w->config = good;
    w->config.index = NVIRT_VM_MAX_VCPUS;
    assert_int_equal(try_init(w), NVIRT_ERR_RANGE);
    w->config = good;
    w->config.roots = NVIRT_DEFAULT_ROOTS + 1;
    assert_int_equal(try_init(w), NVIRT_ERR_SIZE);
    w->config = good;
    w->config.vpid_count = NVIRT_VMX_MAX_VPIDS + 1;
    assert_int_equal(try_init(w), NVIRT_ERR_RANGE);
    w->config = good;
    w->vpids[2] = w->vpids[0];
    assert_int_equal(try_init(w), NVIRT_ERR_RANGE);
    w->vpids[2] = 0;
    assert_int_equal(try_init(w), NVIRT_ERR_RANGE);
    w->vpids[2] = VPID01;
    assert_int_equal(try_init(w), NVIRT_ERR_RANGE);
    w->vpids[2] = 77;
    dead.magic = 0;
    w->config.vm = &dead;
    assert_int_equal(try_init(w), NVIRT_ERR_STATE);
    w->config = good;
    w->config.cpu = &caps;
    caps.proc2 &= ~(NVIRT_VMX_PROC2_EPT << 32);
    assert_int_equal(try_init(w), NVIRT_ERR_CAPABILITY);
    w->config = good;
    w->config.offer = &w->caps; /* More than can be offered. */
    assert_int_equal(try_init(w), NVIRT_ERR_CAPABILITY);
    w->config = good;
    assert_int_equal(try_init(w), NVIRT_OK);
    assert_int_equal(w->vm.vcpu_count, vcpus);
}

static void a_failed_init_holds_nothing(void **state)
{
    struct world *w = *state;
    uint32_t pages = w->port->pool_used;

    for (uint64_t n = 1; n <= 3; n++) {
        fake_vm_fail(w->port, FAKE_CALL_PAGE_ALLOC, n);
        assert_int_equal(try_init(w), NVIRT_ERR_NO_PAGE);
        assert_int_equal(w->port->pool_used, pages);
        assert_int_equal(w->vm.vcpu_count, 1);
    }
    fake_vm_fail(w->port, FAKE_CALL_PAGE_ALLOC, 0);
}

/* What would be lost while L2 runs is refused, so that the host hears of it. */
static void controls_nvirt_cannot_keep_for_l2_are_refused(void **state)
{
    struct world *w = *state;
    const struct {
        enum nvirt_vmcs_field field;
        uint64_t bit;
    } refused[] = {
        { NVIRT_VMCS_PIN_CONTROLS, NVIRT_VMX_PIN_PREEMPTION_TIMER }, /* The offer has it. */
        { NVIRT_VMCS_PROC_CONTROLS, NVIRT_VMX_PROC_TERTIARY },
        { NVIRT_VMCS_PROC2_CONTROLS, NVIRT_VMX_PROC2_PML },
        { NVIRT_VMCS_PROC2_CONTROLS, NVIRT_VMX_PROC2_EPT_VE },
        { NVIRT_VMCS_EXIT_CONTROLS, NVIRT_VMX_EXIT_CTL_LOAD_CET },
        { NVIRT_VMCS_EXIT_CONTROLS, NVIRT_VMX_EXIT_CTL_LOAD_PKRS },
        { NVIRT_VMCS_ENTRY_CONTROLS, NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS },
    };

    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        uint64_t old = get_level(w, 1, refused[i].field);

        assert_int_equal(
            nvirt_vmx_write(w->v, &w->cpu, 1, refused[i].field, old | refused[i].bit),
            NVIRT_ERR_CAPABILITY);
        assert_true(get_level(w, 1, refused[i].field) == old);
    }
}

static void a_refused_call_binds_to_no_cpu(void **state)
{
    struct world *w = *state;
    struct nvirt_port_cpu *other = calloc(1, sizeof *other);
    uint64_t value;

    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_read(w->v, other, 9, NVIRT_VMCS_GUEST_RIP, &value),
                     NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 1, NVIRT_VMCS_GUEST_RIP, &value), NVIRT_OK);
    free(other);
}

/* L1's memory may have been rewritten since: a reset writes nothing there. */
static void a_reset_writes_nothing_to_l1s_memory(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    fake_vm_put64(w->port, VMCS12 + 8, 0x1234);
    fake_vm_put64(w->port, VMCS12 + 0x100, 0x5678);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_true(fake_vm_get64(w->port, VMCS12 + 8) == 0x1234);
    assert_true(fake_vm_get64(w->port, VMCS12 + 0x100) == 0x5678);
}

static void calls_check_their_pointers(void **state)
{
    struct world *w = *state;
    uint64_t value;
    uint32_t error;

    assert_int_equal(nvirt_vmx_read(NULL, &w->cpu, 1, NVIRT_VMCS_GUEST_RIP, &value),
                     NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_read(w->v, NULL, 1, NVIRT_VMCS_GUEST_RIP, &value), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 1, NVIRT_VMCS_GUEST_RIP, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_write(NULL, &w->cpu, 1, NVIRT_VMCS_GUEST_RIP, 0), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_prepare(NULL, &w->cpu, &w->run), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, NULL, &w->exit), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_entry_failed(w->v, &w->cpu, NVIRT_HW_VMFAIL_VALID, NULL),
                     NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_entry_failed(NULL, &w->cpu, NVIRT_HW_VMFAIL_VALID, &error),
                     NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_reset(NULL, &w->cpu), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_forget_current(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_vcpu_destroy(NULL, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_level(NULL), 0);
    assert_null(nvirt_vmx_stats(NULL));
}

static void calls_out_of_order_are_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_vcpu never = { .magic = 0 };
    uint64_t value;

    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_STATE);
    prepare(w);
    assert_int_equal(nvirt_vmx_forget_current(w->v), NVIRT_ERR_STATE);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_read(&never, &w->cpu, 1, NVIRT_VMCS_GUEST_RIP, &value),
                     NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_forget_current(&never), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(&never), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_vcpu_destroy(&never, NULL), NVIRT_ERR_STATE);
}

static void fields_are_checked_for_level_kind_and_existence(void **state)
{
    struct world *w = *state;
    uint64_t value = 5;

    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 0, NVIRT_VMCS_GUEST_RIP, &value),
                     NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 3, NVIRT_VMCS_GUEST_RIP, &value),
                     NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RIP, &value),
                     NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 1, NVIRT_VMCS_FIELD_COUNT, &value),
                     NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 1, NVIRT_VMCS_PROC3_CONTROLS, &value),
                     NVIRT_ERR_RANGE);
    assert_int_equal(value, 5);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 1, NVIRT_VMCS_EXIT_REASON, 0), NVIRT_ERR_RANGE);
    launch_l2(w);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_PIN_CONTROLS, 0),
                     NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_RIP, 0x77), NVIRT_OK);
    assert_int_equal(GET2(w, GUEST_RIP), 0x77);
    /* What is wider than the field is cut, as hardware does. */
    assert_int_equal(nvirt_vmx_write(w->v, &w->cpu, 2, NVIRT_VMCS_GUEST_ES_SELECTOR, 0x12345),
                     NVIRT_OK);
    assert_int_equal(GET2(w, GUEST_ES_SELECTOR), 0x2345);
}

/* A field is read from hardware once after an exit, and not at all while nothing ran. */
static void fields_are_fetched_once_per_exit(void **state)
{
    struct world *w = *state;
    unsigned reads;

    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    reads = w->cpu.count.vmread;
    (void)GET1(w, GUEST_RSP);
    assert_int_equal(w->cpu.count.vmread, reads + 1);
    (void)GET1(w, GUEST_RSP);
    (void)GET1(w, HOST_RIP);
    assert_int_equal(w->cpu.count.vmread, reads + 1);
}

static void unchanged_fields_are_not_written_again(void **state)
{
    struct world *w = *state;
    unsigned writes;

    prepare(w);
    writes = w->cpu.count.vmwrite;
    SET1(w, HOST_RIP, GET1(w, HOST_RIP));
    SET1(w, HOST_CR3, 0x9999000);
    prepare(w);
    assert_int_equal(w->cpu.count.vmwrite, writes + 1);
}

/* ---- entry failures of vmcs01 ---- */

static void an_entry_failure_of_vmcs01_is_the_hosts(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = { { 0x4402, 0x80000021 }, { 0x6400, 0x3 } };

    run_to(w, set, 2);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(w->exit.reason, 0x80000021);
    assert_int_equal(w->exit.qualification, 3);
    prepare(w);
    assert_true(w->run.launch);
}

static void vmcall_of_l1_is_the_hosts_or_refused_as_the_manual_says(void **state)
{
    struct world *w = *state;

    exit_with(w, NVIRT_VMX_EXIT_VMCALL, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(nvirt_vmx_vmcall_refuse(w->v, &w->cpu), NVIRT_OK);
    expect_exception(w, NVIRT_VECTOR_UD, false, 0);
    vmxon(w);
    load_vmcs12(w, VMCS12);
    exit_with(w, NVIRT_VMX_EXIT_VMCALL, 0, 0);
    assert_int_equal(nvirt_vmx_vmcall_refuse(w->v, &w->cpu), NVIRT_OK);
    expect_vmfail(w, NVIRT_VMX_ERR_VMCALL_ROOT);
    prepare(w);
    assert_int_equal(nvirt_vmx_vmcall_refuse(w->v, &w->cpu), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_vmcall_refuse(NULL, &w->cpu), NVIRT_ERR_NULL);
}

/* An L1 that halted executes nothing: an exception would make its next entry fail. */
static void only_a_vmcall_is_refused_as_one(void **state)
{
    struct world *w = *state;

    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    assert_int_equal(nvirt_vmx_vmcall_refuse(w->v, &w->cpu), NVIRT_ERR_STATE);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0);
    w->v->prepared = true;
}

/* ---- CPUs ---- */

static void another_cpu_needs_leave_cpu_first(void **state)
{
    struct world *w = *state;
    struct nvirt_port_cpu *other = malloc(sizeof *other);

    fake_cpu_init(other);
    launch_l2(w);
    prepare(w);
    assert_int_equal(nvirt_vmx_prepare(w->v, other, &w->run), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
    for (size_t i = 0; i < FAKE_CPU_REGIONS; i++)
        assert_false(w->cpu.region[i].active);
    /* The data move with the memory. */
    memcpy(other->region, w->cpu.region, sizeof other->region);
    assert_int_equal(nvirt_vmx_prepare(w->v, other, &w->run), NVIRT_OK);
    assert_true(w->run.launch);   /* VMCLEAR made the launch state clear. */
    assert_true(other->ops >= 1); /* A new CPU: L2's root is flushed there, and all under it. */
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, other), NVIRT_OK);
    memcpy(w->cpu.region, other->region, sizeof other->region);
    w->cpu.current = NULL;
    fake_cpu_log_reset(&w->cpu);
    prepare(w);
    /* What is left there from before may be stale but for the root, which did not change. */
    assert_int_equal(w->cpu.ops, 1);
    assert_int_equal(w->cpu.op[0].kind, FAKE_INVVPID);
    assert_int_equal(w->cpu.op[0].type, 1);
    free(other);
}

/* From any CPU: the vCPU is made to come by, and the flush is due before its level runs again, also
 * where L1's prepare had nothing else to do. */
static void a_requested_flush_is_due_when_its_level_runs(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    prepare(w);
    fake_cpu_log_reset(&w->cpu);
    request_flush(w, 1, NVIRT_TLB_REQUEST_ROOT);
    assert_int_equal(w->port->kicks[w->v->index], 1);
    prepare(w);
    assert_int_equal(w->cpu.ops, 0);
    request_flush(w, 2, NVIRT_TLB_REQUEST_GUEST);
    prepare(w);
    assert_int_equal(w->cpu.ops, 1);
    assert_int_equal(w->cpu.op[0].kind, FAKE_INVVPID);
    exit_with(w, NVIRT_VMX_EXIT_VMCALL, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    prepare(w);
    assert_int_equal(w->cpu.op[1].kind, FAKE_INVEPT);
    for (int i = 0; i < 3; i++) {
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        assert_int_equal(nvirt_vmx_skip(w->v, &w->cpu), NVIRT_OK);
    }
    fake_cpu_log_reset(&w->cpu);
    request_flush(w, 1, NVIRT_TLB_REQUEST_GUEST);
    prepare(w);
    assert_int_equal(w->cpu.ops, 1);
}

static void a_flush_request_is_checked(void **state)
{
    struct world *w = *state;
    const uint32_t beyond = NVIRT_TLB_REQUEST_EVERYTHING + 1;

    assert_int_equal(nvirt_vmx_request_flush(NULL, 1, NVIRT_TLB_REQUEST_ROOT), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_request_flush(w->v, 0, NVIRT_TLB_REQUEST_ROOT), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_request_flush(w->v, 3, NVIRT_TLB_REQUEST_ROOT), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_vmx_request_flush(w->v, 1, (enum nvirt_tlb_request)beyond),
                     NVIRT_ERR_RANGE);
    assert_int_equal(w->port->kicks[w->v->index], 0);
}

/* Another vCPU ran on this CPU: its VMCS is current, ours is loaded again when needed. */
static void a_forgotten_current_vmcs_is_loaded_again(void **state)
{
    struct world *w = *state;
    unsigned loads;

    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    w->cpu.current = NULL;
    loads = w->cpu.count.vmptrld;
    assert_int_equal(nvirt_vmx_forget_current(w->v), NVIRT_OK);
    (void)GET1(w, GUEST_RSP);
    assert_int_equal(w->cpu.count.vmptrld, loads + 1);
    prepare(w);
    assert_true(w->cpu.current->hpa == VMCS01_HPA);
}

/* ---- a CPU without VPIDs ---- */

static void without_vpids_nothing_is_flushed_by_instruction(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    w->caps.proc2 &= ~(NVIRT_VMX_PROC2_VPID << 32);
    w->caps.ept_vpid &= NVIRT_BITS(31, 0);
    assert_int_equal(nvirt_vmx_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    fake_vm_put32(w->port, VMXON_REGION, revision12(w));
    fake_vm_put32(w->port, VMCS12, revision12(w));
    w->config.vpid01 = 0;
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory, NVIRT_VMX_VCPU_SIZE, &w->config, &w->v),
                     NVIRT_OK);
    SET1(w, CR0_MASK, nvirt_vmx_cr0_owned(w->v));
    SET1(w, GUEST_CR0, 0x80010031);
    prepare(w);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->cpu.count.invvpid, 0);
    assert_int_equal(w->v->tlb.tag_count, 0);
}

/* ---- hardware that fails ---- */

static void refused_vmx_instructions_reach_the_host(void **state)
{
    struct world *w = *state;

    w->cpu.fail_vmclear = 1;
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_HARDWARE);
    w->cpu.fail_vmptrld = 1;
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_HARDWARE);
    w->cpu.fail_vmwrite_encoding = 0x681e;
    assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_HARDWARE);
    assert_int_equal(w->cpu.last_failed_encoding, 0x681e);
    assert_true(fake_vm_traced(w->port, "nvirt: VMWRITE refused") > 0);
    w->cpu.fail_vmwrite_encoding = UINT32_MAX;
    prepare(w);
    assert_true(HW(w, GUEST_RIP) == L1_RIP);
}

static void a_refused_vmread_is_no_value(void **state)
{
    struct world *w = *state;
    uint64_t value = 77;

    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    w->cpu.fail_vmread = 1;
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 1, NVIRT_VMCS_GUEST_RSP, &value),
                     NVIRT_ERR_HARDWARE);
    assert_int_equal(value, 77);
    assert_int_equal(nvirt_vmx_read(w->v, &w->cpu, 1, NVIRT_VMCS_GUEST_RSP, &value), NVIRT_OK);
    w->cpu.fail_vmread = 0;
    prepare(w);
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, NULL, 0), NVIRT_HW_OK);
    w->cpu.fail_vmread = 1;
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_HARDWARE);
}

/* ---- port failures ---- */

/* A life of L1 and L2 whatever the port says; nothing is asserted about the outcome of a step. */
static void journey(struct world *w)
{
    static const struct fake_set violation[] = {
        { 0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION },
        { 0x6400, 0x181 },
        { 0x2400, 0x5000 },
        { 0x640a, 0 },
        { 0x4408, 0 },
        { 0x440c, 3 },
        { 0x440e, 0 },
    };
    const uint32_t steps[] = { NVIRT_VMX_EXIT_VMXON, NVIRT_VMX_EXIT_VMCLEAR,
                               NVIRT_VMX_EXIT_VMPTRLD };

    for (size_t i = 0; i < 3; i++) {
        fake_vm_put64(w->port, OPERAND, i == 0 ? VMXON_REGION : VMCS12);
        exit_with(w, steps[i], OPERAND, INFO_PLAIN);
    }
    if (w->v->vmx.current == NVI_NO_VMCS)
        return;
    fill_vmcs12(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.io_bitmap_a = BITMAP_A;
    w->v->vmcs12.io_bitmap_b = BITMAP_B;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    w->v->vmcs12.entry_msr_load_addr = w->v->vmcs12.exit_msr_load_addr = MSR_LIST;
    w->v->vmcs12.entry_msr_load_count = w->v->vmcs12.exit_msr_load_count = 1;
    w->v->vmcs12.exit_msr_store_addr = MSR_LIST + 16;
    w->v->vmcs12.exit_msr_store_count = 1;
    exit_with(w, NVIRT_VMX_EXIT_VMLAUNCH, 0, 0);
    if (nvirt_vmx_level(w->v) == 2)
        run_to(w, violation, sizeof violation / sizeof violation[0]);
    if (nvirt_vmx_level(w->v) == 2)
        exit_with(w, NVIRT_VMX_EXIT_IO, 0x80 << 16, 0);
    if (nvirt_vmx_level(w->v) == 2)
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
}

static void journey_world(struct world *w)
{
    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 1, false);
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_LSTAR);
    fake_vm_put64(w->port, MSR_LIST + 8, 2);
    fake_vm_put64(w->port, MSR_LIST + 16, NVIRT_MSR_LSTAR);
}

/* Design rule: the n-th cold call fails, for every n: each time a status or an architectural
 * outcome for L1, an object that can be reset and used again, and nothing left behind. */
static void every_cold_call_may_fail(void **state)
{
    struct world *w = *state;
    uint32_t idle;
    uint64_t n;

    journey_world(w);
    journey(w);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_IO);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    world_vmcs01(w);
    idle = w->port->pool_used;
    for (n = 1; n < 500; n++) {
        fake_vm_fail(w->port, FAKE_CALL_ANY, n);
        journey(w);
        if (!w->port->failed)
            break;
        fake_vm_fail(w->port, FAKE_CALL_ANY, 0);
        assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
        assert_int_equal(w->port->pins, 0);
        assert_true(w->port->pool_used <= idle + w->vm.page_budget);
        world_vmcs01(w);
    }
    assert_in_range(n, 20, 499);
    fake_vm_fail(w->port, FAKE_CALL_ANY, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(vm_init_checks_its_arguments),
        TEST(every_status_and_counter_has_a_name),
        TEST(vcpu_init_checks_its_arguments),
        TEST(a_vcpu_keeps_as_many_roots_as_configured),
        TEST(a_failed_init_holds_nothing),
        TEST(controls_nvirt_cannot_keep_for_l2_are_refused),
        TEST(a_refused_call_binds_to_no_cpu),
        TEST(a_reset_writes_nothing_to_l1s_memory),
        TEST(calls_check_their_pointers),
        TEST(calls_out_of_order_are_refused),
        TEST(fields_are_checked_for_level_kind_and_existence),
        TEST(fields_are_fetched_once_per_exit),
        TEST(unchanged_fields_are_not_written_again),
        TEST(an_entry_failure_of_vmcs01_is_the_hosts),
        TEST(vmcall_of_l1_is_the_hosts_or_refused_as_the_manual_says),
        TEST(only_a_vmcall_is_refused_as_one),
        TEST(another_cpu_needs_leave_cpu_first),
        TEST(a_forgotten_current_vmcs_is_loaded_again),
        TEST(a_requested_flush_is_due_when_its_level_runs),
        TEST(a_flush_request_is_checked),
        TEST(without_vpids_nothing_is_flushed_by_instruction),
        TEST(refused_vmx_instructions_reach_the_host),
        TEST(a_refused_vmread_is_no_value),
        TEST(every_cold_call_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
