/* SPDX-License-Identifier: MIT */
/* Flush hypercalls of an L2 under an enlightened VMCS [TLFS "Direct Virtual Flush"]. */
#include "evmcs_world.h"

#include "../nested/state_blob.h"

#define PAGE UINT64_C(0x64000)    /* The partition assist page. */
#define INPUT UINT64_C(0x65000)   /* Where L1 has the input of a call, */
#define L2_INPUT UINT64_C(0x8000) /* and where L2 has it. */
#define VM UINT64_C(0xffff888000000001)
#define EVMCS_VP 0x348u
#define EVMCS_VM 0x350u
#define EVMCS_PAGE 0x358u
#define DIRECT_CLEAN (1u << 15)
#define TRAP_AFTER_FLUSH 0x10000031u

#define SPACE 2u
#define LIST 3u
#define FAST NVIRT_BIT(16)
#define REPS(n) ((uint64_t)(n) << 32)
#define ALL_PROCESSORS 1u

/* Two processors: that of the vCPU, and one that others are seen at. */
static struct {
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp[2];
    struct nvirt_hv_slot slot[4][4];
} p;

static void map(struct world *w, uint64_t l2gpa, uint64_t l1gpa)
{
    for (uint64_t i = 0; i < 3; i++)
        fake_vm_put64(w->port, EPT12_TOP + i * 0x1000, (EPT12_TOP + (i + 1) * 0x1000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x3000 + (l2gpa >> 12) * 8, l1gpa == 0 ? 0 : l1gpa | 0x37);
}

static int direct_setup(void **state)
{
    struct world *w;

    assert_int_equal(setup(state), 0);
    w = *state;
    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_hv_partition_init(&p.partition, w->port, p.vp, 2, NVIRT_HV_OFFER_VMX,
                                             false),
                     NVIRT_OK);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(nvirt_hv_vp_init(&p.partition, i, p.slot[i], 4), NVIRT_OK);
        assert_int_equal(nvirt_hv_vp_init_l2(&p.partition, i, p.slot[2 + i], 4), NVIRT_OK);
    }
    p.vp[0].assist_page = ASSIST | 1;
    w->config.hyperv = &p.vp[0];
    world_vcpu(w);
    return 0;
}

/* An enlightened VMCS with EPT and VPID, and all that L1 says of direct flushes. */
static void fill(struct world *w, uint64_t region, uint64_t vpid, uint32_t vp)
{
    const uint64_t proc2 = NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID;

    evmcs_enlighten(w, region);
    evmcs_put(w, region, NVIRT_VMCS_PROC_CONTROLS,
              evmcs_get(w, region, NVIRT_VMCS_PROC_CONTROLS) | NVIRT_VMX_PROC_SECONDARY);
    evmcs_put(w, region, NVIRT_VMCS_PROC2_CONTROLS, proc2);
    evmcs_put(w, region, NVIRT_VMCS_EPTP, EPT12_TOP | 0x1e);
    evmcs_put(w, region, NVIRT_VMCS_VPID, vpid);
    fake_vm_put32(w->port, region + EVMCS_CONTROL, 1);
    fake_vm_put32(w->port, region + EVMCS_VP, vp);
    fake_vm_put64(w->port, region + EVMCS_VM, VM);
    fake_vm_put64(w->port, region + EVMCS_PAGE, PAGE);
    fake_vm_put64(w->port, ASSIST + 32, 1);
}

/* L2 has run, so that there is something to be flushed. */
static void settle(struct world *w)
{
    const struct fake_set set[] = {{0x4402, NVIRT_VMX_EXIT_EPT_VIOLATION}, {0x6400, 0x181},
                                   {0x2400, L2_INPUT}, {0x640a, L2_INPUT}, {0x4408, 0},
                                   {0x440c, INSN_LENGTH}};

    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    w->v->prepared = false;
}

static void ready(struct world *w)
{
    vmxon(w);
    map(w, L2_INPUT, INPUT);
    fill(w, EVMCS, 5, 0);
}

static void launch(struct world *w)
{
    ready(w);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    settle(w);
}

static void l2_call(struct world *w, uint64_t rcx, uint64_t rdx, uint64_t r8)
{
    w->gprs.r[NVIRT_RCX] = rcx;
    w->gprs.r[NVIRT_RDX] = rdx;
    w->gprs.r[NVIRT_R8] = r8;
    w->gprs.r[NVIRT_RAX] = 0xbad;
    exit_with(w, NVIRT_VMX_EXIT_VMCALL, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
}

static void put_space(struct world *w, uint64_t flags, uint64_t mask)
{
    const uint64_t words[] = {0x1234, flags, mask};

    fake_vm_put(w->port, INPUT, words, sizeof words);
}

static void flush_space(struct world *w, uint64_t mask)
{
    put_space(w, 0, mask);
    l2_call(w, SPACE, L2_INPUT, 0);
}

/* The call came to L1 as what it is: a VMCALL of its guest. Nothing else happened. */
static void expect_l1s_vmcall(struct world *w)
{
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_VMCALL);
    assert_int_equal(w->v->vmcs12.guest_rip, L2_RIP);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0xbad);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    assert_int_equal(w->v->stats.direct_flushes, 0);
}

/* ---- a call ---- */

static void a_flush_of_l2_does_not_enter_l1(void **state)
{
    struct world *w = *state;
    uint64_t before;

    launch(w);
    before = w->v->stats.nested_exits;
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP + INSN_LENGTH);
    assert_int_equal(w->v->stats.direct_flushes, 1);
    assert_int_equal(w->v->stats.direct_traps, 0);
    assert_int_equal(w->v->stats.nested_exits, before);
}

/* Before L2 runs again: one VPID, or the pages of a list. */
static void what_was_asked_for_is_flushed_before_l2_runs(void **state)
{
    const uint64_t list[] = {0, 0, 1, 0x5000, 0x6001};
    struct world *w = *state;
    uint64_t tag;
    uint64_t address;

    launch(w);
    flush_space(w, 1);
    tag = w->v->stats.flushes_tag;
    prepare(w);
    assert_int_equal(w->v->stats.flushes_tag, tag + 1);
    w->v->prepared = false;
    fake_vm_put(w->port, INPUT, list, sizeof list);
    address = w->v->stats.flushes_address;
    l2_call(w, LIST | REPS(2), L2_INPUT, 0);
    assert_int_equal(w->gprs.r[NVIRT_RAX], REPS(2));
    prepare(w);
    assert_int_equal(w->v->stats.flushes_address, address + 3);
    assert_int_equal(w->v->stats.flushes_tag, tag + 1);
    w->v->prepared = false;
}

/* L2's address means what L1's tables say, and nothing is read twice. */
static void input_lies_where_ept12_says(void **state)
{
    struct world *w = *state;
    uint64_t where;

    launch(w);
    fake_vm_put64(w->port, L2_INPUT + 8, 0xff); /* Flags that there are not, had L1 no tables. */
    put_space(w, 0, 1);
    fake_vm_log_reset(w->port);
    l2_call(w, SPACE, L2_INPUT, 0);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0);
    assert_int_equal(fake_vm_most_reads(w->port, &where), 1);
}

/* [TLFS "Hypercall Interface"]: who may not read its input has a memory intercept, of L1's. */
static void input_that_l1_does_not_map_is_an_ept_violation(void **state)
{
    struct world *w = *state;

    launch(w);
    map(w, L2_INPUT, 0);
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_EPT_VIOLATION);
    assert_int_equal(w->v->vmcs12.guest_physical, L2_INPUT);
    assert_int_equal(w->v->vmcs12.exit_qualification, NVI_EPT_QUAL_READ);
    assert_int_equal(w->v->vmcs12.guest_rip, L2_RIP);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0xbad);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    /* L1 maps it, and L2 executes the instruction again. */
    map(w, L2_INPUT, INPUT);
    evmcs_resume(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0);
    assert_int_equal(w->v->stats.direct_flushes, 1);
}

/* No physical address of L2's is wider than the CPU's: no table maps it, and none is asked as if the
 * bits beyond were not there. */
static void input_beyond_the_width_of_addresses_is_nowhere(void **state)
{
    struct world *w = *state;

    launch(w);
    put_space(w, 0, 1);
    for (uint64_t bit = NVIRT_BIT(w->v->offer.cpu.physical_bits); bit != 0; bit <<= 1) {
        l2_call(w, SPACE, bit | L2_INPUT, 0);
        assert_int_equal(w->gprs.r[NVIRT_RAX], NVIRT_HV_INVALID_ALIGNMENT);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
    }
    assert_int_equal(w->v->stats.direct_flushes, 0);
}

/* HvCallFlushVirtualAddressSpace in registers: flags in R8, the mask in XMM0. */
static void input_in_xmm_registers_is_asked_of_the_host(void **state)
{
    const uint64_t mask = 1;
    struct world *w = *state;

    launch(w);
    l2_call(w, SPACE | FAST, 0, 0);
    expect_l1s_vmcall(w);
    memcpy(w->port->xmm, &mask, sizeof mask);
    w->port->has_xmm = true;
    evmcs_resume(w);
    l2_call(w, SPACE | FAST, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
    p.vp[0].offer &= ~NVIRT_HV_OFFER_XMM;
    l2_call(w, SPACE | FAST, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

static void a_call_that_is_wrong_is_answered(void **state)
{
    struct world *w = *state;

    launch(w);
    fake_vm_put32(w->port, PAGE, 1);
    put_space(w, 0x100, 1);
    l2_call(w, SPACE, L2_INPUT, 0);
    assert_int_equal(w->gprs.r[NVIRT_RAX], NVIRT_HV_INVALID_PARAMETER);
    l2_call(w, SPACE, L2_INPUT + 4, 0);
    assert_int_equal(w->gprs.r[NVIRT_RAX], NVIRT_HV_INVALID_ALIGNMENT);
    /* There was no flush that L1 would be told of. */
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->v->stats.direct_flushes, 0);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP + 2 * INSN_LENGTH);
}

/* ---- whose it is ---- */

/* [CVE-2026-46076] */
static void other_calls_of_l2_are_l1s(void **state)
{
    struct world *w = *state;

    launch(w);
    l2_call(w, 0x5c, L2_INPUT, 0);
    expect_l1s_vmcall(w);
    evmcs_resume(w);
    l2_call(w, 0xaf, L2_INPUT, 0);
    expect_l1s_vmcall(w);
}

/* How L1 may have said less than all. */
enum lack {
    NO_CONTROL,
    NO_ASSIST_BIT,
    NO_ASSIST_PAGE,
    NO_EPT,
    UNALIGNED_PAGE,
    WIDE_PAGE,
    LACKS
};

static void leave_out(struct world *w, enum lack lack)
{
    switch (lack) {
    case NO_CONTROL:
        fake_vm_put32(w->port, EVMCS + EVMCS_CONTROL, 2);
        break;
    case NO_ASSIST_BIT:
        fake_vm_put64(w->port, ASSIST + 32, 0);
        break;
    case NO_ASSIST_PAGE: /* An ordinary VMCS, then. */
        p.vp[0].assist_page = ASSIST;
        load_vmcs12(w, VMCS12);
        fill_vmcs12(w);
        break;
    case NO_EPT: /* [CVE-2026-46131] */
        evmcs_put(w, EVMCS, NVIRT_VMCS_PROC2_CONTROLS, NVIRT_VMX_PROC2_VPID);
        break;
    case UNALIGNED_PAGE:
        fake_vm_put64(w->port, EVMCS + EVMCS_PAGE, PAGE + 8);
        break;
    case WIDE_PAGE:
    case LACKS:
        fake_vm_put64(w->port, EVMCS + EVMCS_PAGE, UINT64_C(1) << 40);
        break;
    }
}

/* [TLFS "Direct Virtual Flush"], configuration. Without EPT only L1 knows what L2's addresses are. */
static void l1_must_have_said_all_of_it(void **state)
{
    struct world *w = *state;

    vmxon(w);
    map(w, L2_INPUT, INPUT);
    for (enum lack lack = NO_CONTROL; lack < LACKS; lack++) {
        p.vp[0].assist_page = ASSIST | 1;
        fill(w, EVMCS, 5, 0);
        leave_out(w, lack);
        evmcs_launch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        flush_space(w, 1);
        expect_l1s_vmcall(w);
    }
    p.vp[0].assist_page = ASSIST | 1;
    fill(w, EVMCS, 5, 0);
    evmcs_launch(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void nothing_is_done_that_was_not_offered(void **state)
{
    struct world *w = *state;

    p.vp[0].offer &= ~NVIRT_HV_OFFER_DIRECT_FLUSH;
    ready(w);
    evmcs_launch(w);
    flush_space(w, 1);
    expect_l1s_vmcall(w);
}

static void user_mode_of_l2_makes_no_calls_to_nvirt(void **state)
{
    struct world *w = *state;

    ready(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_SS_AR, 0xc0f3);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CS_AR, 0xa0fb);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_SS_SELECTOR, 0x13);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CS_SELECTOR, 0xb);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    flush_space(w, 1);
    expect_l1s_vmcall(w);
}

/* Turned on and off between two entries of one L2. */
static void each_entry_looks_at_what_l1_says(void **state)
{
    struct world *w = *state;

    launch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    fake_vm_put32(w->port, EVMCS + EVMCS_CONTROL, 0);
    evmcs_resume(w);
    flush_space(w, 1);
    expect_l1s_vmcall(w);
    fake_vm_put32(w->port, EVMCS + EVMCS_CONTROL, 1);
    evmcs_resume(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    fake_vm_put64(w->port, ASSIST + 32, 0);
    evmcs_resume(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

/* Linux numbers a VP after its first exit, in a field that it calls clean. */
static void who_l2_is_is_read_whatever_l1_calls_clean(void **state)
{
    struct world *w = *state;

    launch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    fake_vm_put32(w->port, EVMCS + EVMCS_VP, 9);
    evmcs_resume(w);
    assert_int_equal((uint32_t)p.vp[0].direct.who, 9);
    flush_space(w, 1);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    flush_space(w, 1 << 9);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
}

/* ---- trap after flush ---- */

/* [TLFS "Synthetic VM-Exit"]: after the flush, and after the instruction. */
static void l1_is_told_of_a_flush_while_it_locks_the_tlb(void **state)
{
    struct world *w = *state;
    uint64_t where;

    launch(w);
    fake_vm_put32(w->port, PAGE, 1);
    fake_vm_log_reset(w->port);
    flush_space(w, 1);
    assert_int_equal(fake_vm_most_reads(w->port, &where), 1);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_REASON), TRAP_AFTER_FLUSH);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_QUALIFICATION), 0);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_RIP), L2_RIP + INSN_LENGTH);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0);
    assert_int_equal(w->v->stats.direct_traps, 1);
    /* It was done all the same: it waits for L2's next entry. */
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
    fake_vm_put32(w->port, PAGE, 0);
    evmcs_resume(w);
    prepare(w);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    w->v->prepared = false;
}

/* Reads as ones, as memory does that there is not. */
static void an_assist_page_without_memory_is_locked(void **state)
{
    struct world *w = *state;

    ready(w);
    fake_vm_put64(w->port, EVMCS + EVMCS_PAGE, L1_RAM + 0x1000);
    evmcs_launch(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(w->v->vmcs12.exit_reason, TRAP_AFTER_FLUSH);
}

/* ---- who runs where ---- */

/* Another VP of the VM, at the other processor. */
static void a_vp_elsewhere_is_flushed_and_its_processor_kicked(void **state)
{
    const struct nvi_hv_identity who = {.vm = VM, .vp = 1};
    struct world *w = *state;
    uint32_t kicks;

    launch(w);
    nvi_hv_direct_enter(&p.vp[1], &w->v->tlb, &who, 0);
    kicks = w->port->kicks[1];
    flush_space(w, 2);
    assert_int_equal(p.vp[1].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    assert_int_equal(w->port->kicks[1], kicks + 1);
}

/* What comes meanwhile waits for L2; L1 has none of it. */
static void a_flush_from_elsewhere_waits_while_l1_runs(void **state)
{
    struct world *w = *state;
    uint64_t before;

    launch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    nvirt_hv_fifo_put_all(&p.vp[0].direct.fifo, false);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
    before = w->v->stats.flushes_tag;
    evmcs_resume(w);
    prepare(w);
    assert_int_equal(w->v->stats.flushes_tag, before + 1);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    w->v->prepared = false;
}

/* Two VPs that take turns at one processor: each comes back to a tag that is flushed. */
static void vps_that_take_turns_find_their_tags_flushed(void **state)
{
    struct world *w = *state;
    uint64_t before;

    launch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    fill(w, EVMCS_B, 6, 1);
    evmcs_launch(w);
    settle(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    evmcs_enlighten_only(w, EVMCS);
    evmcs_resume(w);
    before = w->v->stats.flushes_tag;
    prepare(w);
    assert_int_equal(w->v->stats.flushes_tag, before + 1);
    assert_int_equal((uint32_t)p.vp[0].direct.who, 0);
    w->v->prepared = false;
}

static void nobody_is_known_after_vmxoff_reset_and_destruction(void **state)
{
    struct world *w = *state;

    launch(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_true((p.vp[0].direct.who & NVIRT_BIT(32)) != 0);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    assert_int_equal(p.vp[0].direct.who & NVIRT_BIT(32), 0);
    launch(w);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(p.vp[0].direct.who & NVIRT_BIT(32), 0);
    assert_false(p.vp[0].direct.active);
    launch(w);
    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(p.vp[0].direct.who & NVIRT_BIT(32), 0);
    world_vcpu(w);
}

static void a_vcpu_without_the_queue_is_refused(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_vcpu_config config = w->config;
    void *memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);
    struct nvirt_vmx_vcpu *vcpu;
    struct nvirt_hv_vp vp = p.vp[0];

    vp.direct.fifo.slot = NULL;
    config.index = 1;
    config.hyperv = &vp;
    assert_int_equal(nvirt_vmx_vcpu_init(memory, NVIRT_VMX_VCPU_SIZE, &config, &vcpu),
                     NVIRT_ERR_CAPABILITY);
    free(memory);
}

/* ---- saved state ---- */

static void an_l2_that_is_moved_stays_who_it_is(void **state)
{
    struct world *w = *state;
    struct blob blob;
    struct blob again;

    launch(w);
    fake_vm_put32(w->port, EVMCS + EVMCS_VP, 3);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, blob.data, sizeof blob.data, &blob.bytes),
                     NVIRT_OK);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, blob.data, blob.bytes), NVIRT_OK);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, again.data, sizeof again.data, &again.bytes),
                     NVIRT_OK);
    assert_int_equal(blob.bytes, again.bytes);
    assert_memory_equal(blob.data, again.data, blob.bytes);
    assert_int_equal((uint32_t)p.vp[0].direct.who, 3);
    flush_space(w, 1 << 3);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
}

static void expect_refused(struct world *w, const struct blob *blob)
{
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, blob->data, blob->bytes), NVIRT_ERR_DATA);
}

static void saved_state_of_nobody_names_nobody(void **state)
{
    struct world *w = *state;
    struct blob good;
    struct blob bad;

    launch(w);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, good.data, sizeof good.data, &good.bytes),
                     NVIRT_OK);
    bad = good;
    set_item(&bad, NVIRT_STATE_VMX_DIRECT, 2);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_VMX_DIRECT, 0);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_VMX_DIRECT_VP, UINT64_C(1) << 32);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_VMX_DIRECT_ASSIST, PAGE + 1);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_VMX_ENLIGHTENMENTS, 0);
    expect_refused(w, &bad);
    p.vp[0].offer &= ~NVIRT_HV_OFFER_DIRECT_FLUSH;
    expect_refused(w, &good);
    p.vp[0].offer |= NVIRT_HV_OFFER_DIRECT_FLUSH;
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, good.data, good.bytes), NVIRT_OK);
}

#define TEST_DIRECT(name) cmocka_unit_test_setup_teardown(name, direct_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_DIRECT(a_flush_of_l2_does_not_enter_l1),
        TEST_DIRECT(what_was_asked_for_is_flushed_before_l2_runs),
        TEST_DIRECT(input_lies_where_ept12_says),
        TEST_DIRECT(input_that_l1_does_not_map_is_an_ept_violation),
        TEST_DIRECT(input_beyond_the_width_of_addresses_is_nowhere),
        TEST_DIRECT(input_in_xmm_registers_is_asked_of_the_host),
        TEST_DIRECT(a_call_that_is_wrong_is_answered),
        TEST_DIRECT(other_calls_of_l2_are_l1s),
        TEST_DIRECT(l1_must_have_said_all_of_it),
        TEST_DIRECT(nothing_is_done_that_was_not_offered),
        TEST_DIRECT(user_mode_of_l2_makes_no_calls_to_nvirt),
        TEST_DIRECT(each_entry_looks_at_what_l1_says),
        TEST_DIRECT(who_l2_is_is_read_whatever_l1_calls_clean),
        TEST_DIRECT(l1_is_told_of_a_flush_while_it_locks_the_tlb),
        TEST_DIRECT(an_assist_page_without_memory_is_locked),
        TEST_DIRECT(a_vp_elsewhere_is_flushed_and_its_processor_kicked),
        TEST_DIRECT(a_flush_from_elsewhere_waits_while_l1_runs),
        TEST_DIRECT(vps_that_take_turns_find_their_tags_flushed),
        TEST_DIRECT(nobody_is_known_after_vmxoff_reset_and_destruction),
        TEST_DIRECT(a_vcpu_without_the_queue_is_refused),
        TEST_DIRECT(an_l2_that_is_moved_stays_who_it_is),
        TEST_DIRECT(saved_state_of_nobody_names_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
