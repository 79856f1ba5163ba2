/* SPDX-License-Identifier: MIT */
/* Flush hypercalls of an L2 by the enlightenments of its VMCB [TLFS "Direct Virtual Flush"]. */
#include "../nested/svm_world.h"

#include "../nested/state_blob.h"

#define ASSIST UINT64_C(0x60000)
#define PAGE UINT64_C(0x64000)    /* The partition assist page. */
#define INPUT UINT64_C(0x65000)   /* Where L1 has the input of a call, */
#define L2_INPUT UINT64_C(0x8000) /* and where L2 has it. */
#define VM UINT64_C(0xffff888000000001)
#define FIELDS 0x3e0u
#define HERE NVIRT_BIT(32)
#define EXIT_ENL UINT64_C(0xf0000000)

#define SPACE 2u
#define LIST 3u
#define FAST NVIRT_BIT(16)
#define REPS(n) ((uint64_t)(n) << 32)

/* Two processors: that of the vCPU, and one that others are seen at. */
static struct {
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp[2];
    struct nvirt_hv_slot slot[4][4];
} p;

static void map(struct world *w, uint64_t l1gpa)
{
    fake_vm_put64(w->port, NPT12 + 0x3000 + (L2_INPUT >> 12) * 8, l1gpa == 0 ? 0 : l1gpa | 7);
}

static int direct_setup(void **state)
{
    struct world *w;

    assert_int_equal(setup(state), 0);
    w = *state;
    assert_int_equal(nvirt_hv_partition_init(&p.partition, w->port, p.vp, 2, NVIRT_HV_OFFER_SVM,
                                             true),
                     NVIRT_OK);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(nvirt_hv_vp_init(&p.partition, i, p.slot[i], 4), NVIRT_OK);
        assert_int_equal(nvirt_hv_vp_init_l2(&p.partition, i, p.slot[2 + i], 4), NVIRT_OK);
    }
    p.vp[0].assist_page = ASSIST | 1;
    w->v->hv = &p.vp[0];
    fake_vm_put64(w->port, ASSIST + 32, 1);
    map(w, INPUT);
    return 0;
}

/* One with nested paging, and all that L1 says of direct flushes. */
static struct nvirt_vmcb direct_vmcb12(uint32_t asid, uint32_t vp)
{
    struct nvirt_vmcb vmcb = nested_vmcb12();
    const uint64_t words[3] = {1 | (uint64_t)vp << 32, VM, PAGE};

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMMCALL, true);
    vmcb.asid = asid;
    memcpy((uint8_t *)&vmcb + FIELDS, words, sizeof words);
    return vmcb;
}

static void put_field(struct nvirt_vmcb *vmcb, uint32_t offset, uint64_t value)
{
    memcpy((uint8_t *)vmcb + FIELDS + offset, &value, 8);
}

static void enter(struct world *w, const struct nvirt_vmcb *vmcb)
{
    w->vmcb01->rip = L1_RIP;
    enter_l2(w, vmcb);
}

/* L2 has run, so that there is something to be flushed. */
static void run_once(struct world *w)
{
    prepare(w);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_NPF, NVIRT_BIT(32) | 4, L2_INPUT), NVIRT_OK);
    assert_int_equal(nvirt_svm_level(w->v), 2);
}

static void launch(struct world *w)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);

    enter(w, &vmcb);
    run_once(w);
}

static void l2_call(struct world *w, uint64_t rcx, uint64_t rdx)
{
    w->gprs.r[NVIRT_RCX] = rcx;
    w->gprs.r[NVIRT_RDX] = rdx;
    vmcb02(w)->rip = L2_RIP;
    vmcb02(w)->rax = 0xbad;
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_VMMCALL), NVIRT_VERDICT_DONE);
}

static void put_space(struct world *w, uint64_t flags, uint64_t mask)
{
    const uint64_t words[] = {0x1234, flags, mask};

    fake_vm_put(w->port, INPUT, words, sizeof words);
}

static void flush_space(struct world *w, uint64_t mask)
{
    put_space(w, 0, mask);
    l2_call(w, SPACE, L2_INPUT);
}

static struct nvirt_vmcb told(struct world *w)
{
    struct nvirt_vmcb vmcb;

    get_vmcb12(w, &vmcb);
    return vmcb;
}

static void expect_l1s_vmmcall(struct world *w)
{
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(told(w).exit_code, NVIRT_SVM_EXIT_VMMCALL);
    assert_int_equal(told(w).rip, L2_RIP);
    assert_int_equal(told(w).rax, 0xbad);
    assert_int_equal(w->v->stats.direct_flushes, 0);
}

/* ---- a call ---- */

static void a_flush_of_l2_does_not_enter_l1(void **state)
{
    struct world *w = *state;

    launch(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->rax, 0);
    assert_int_equal(vmcb02(w)->rip, L2_RIP + 3);
    assert_int_equal(w->v->stats.direct_flushes, 1);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_OK);
}

/* [APM 3 "VMMCALL"]: undefined where L1 does not intercept it; these are not. */
static void it_is_done_whether_or_not_l1_intercepts_vmmcall(void **state)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);
    struct world *w = *state;

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMMCALL, false);
    enter(w, &vmcb);
    flush_space(w, 1);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->rax, 0);
    /* [CVE-2026-46076] Another code is as undefined as ever. */
    l2_call(w, 0x5c, L2_INPUT);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    prepare(w);
    assert_int_equal(vmcb02(w)->event_inj, EVENT_UD);
    assert_int_equal(w->v->stats.direct_flushes, 1);
    w->v->prepared = false;
}

static void other_calls_of_l2_are_l1s(void **state)
{
    struct world *w = *state;

    launch(w);
    l2_call(w, 0x5c, L2_INPUT);
    expect_l1s_vmmcall(w);
}

static void input_lies_where_l1s_tables_say(void **state)
{
    struct world *w = *state;

    launch(w);
    fake_vm_put64(w->port, L2_INPUT + 8, 0xff); /* Flags that there are not, had L1 no tables. */
    put_space(w, 0, 1);
    fake_vm_log_reset(w->port);
    l2_call(w, SPACE, L2_INPUT);
    assert_int_equal(vmcb02(w)->rax, 0);
    for (uint64_t i = 0; i < 24; i++)
        assert_int_equal(fake_vm_reads(w->port, INPUT + i), 1);
    assert_int_equal(fake_vm_reads(w->port, L2_INPUT), 0);
}

/* [TLFS "Hypercall Interface"]: who may not read its input has a memory intercept, which is L1's. */
static void input_that_l1_does_not_map_is_a_nested_page_fault(void **state)
{
    struct world *w = *state;

    launch(w);
    map(w, 0);
    flush_space(w, 1);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(told(w).exit_code, NVIRT_SVM_EXIT_NPF);
    assert_int_equal(told(w).exit_info1, NVIRT_BIT(32) | 4);
    assert_int_equal(told(w).exit_info2, L2_INPUT);
    assert_int_equal(told(w).rip, L2_RIP);
    assert_int_equal(told(w).rax, 0xbad);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    map(w, INPUT);
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    flush_space(w, 1);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->rax, 0);
}

/* No physical address of L2's is wider than the CPU's: no table maps it, and none is asked as if the
 * bits beyond were not there. */
static void input_beyond_the_width_of_addresses_is_nowhere(void **state)
{
    struct world *w = *state;

    launch(w);
    put_space(w, 0, 1);
    for (uint64_t bit = NVIRT_BIT(w->v->offer.physical_bits); bit != 0; bit <<= 1) {
        l2_call(w, SPACE, bit | L2_INPUT);
        assert_int_equal(vmcb02(w)->rax, NVIRT_HV_INVALID_ALIGNMENT);
        assert_int_equal(nvirt_svm_level(w->v), 2);
    }
    assert_int_equal(w->v->stats.direct_flushes, 0);
}

/* HvCallFlushVirtualAddressSpace in registers: flags in R8, the mask in XMM0. */
static void input_in_xmm_registers_is_asked_of_the_host(void **state)
{
    const uint64_t mask = 1;
    struct world *w = *state;

    launch(w);
    w->gprs.r[NVIRT_R8] = 0;
    l2_call(w, SPACE | FAST, 0);
    expect_l1s_vmmcall(w);
    memcpy(w->port->xmm, &mask, sizeof mask);
    w->port->has_xmm = true;
    w->vmcb01->rip = L1_RIP;
    vmrun(w);
    l2_call(w, SPACE | FAST, 0);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->rax, 0);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
    p.vp[0].offer &= ~NVIRT_HV_OFFER_XMM;
    l2_call(w, SPACE | FAST, 0);
    assert_int_equal(nvirt_svm_level(w->v), 1);
}

static void a_call_that_is_wrong_is_answered(void **state)
{
    struct world *w = *state;

    launch(w);
    fake_vm_put32(w->port, PAGE, 1);
    put_space(w, 0x100, 1);
    l2_call(w, SPACE, L2_INPUT);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->rax, NVIRT_HV_INVALID_PARAMETER);
    assert_int_equal(w->v->stats.direct_flushes, 0);
    assert_int_equal(vmcb02(w)->rip, L2_RIP + 3);
}

/* A caller of 32 bits has its result in two registers. */
static void registers_of_a_32_bit_caller_are_pairs(void **state)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);
    struct world *w = *state;

    vmcb.cs.attrib = 0x49b; /* Compatibility mode: the code segment is one of 32 bits. */
    enter(w, &vmcb);
    put_space(w, 0x100, 1);
    w->gprs.r[NVIRT_RBX] = 0;
    w->gprs.r[NVIRT_RCX] = L2_INPUT;
    w->gprs.r[NVIRT_RDX] = 0;
    vmcb02(w)->rax = SPACE;
    assert_int_equal(execute(w, NVIRT_SVM_EXIT_VMMCALL), NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(vmcb02(w)->rax, NVIRT_HV_INVALID_PARAMETER);
    assert_int_equal(w->gprs.r[NVIRT_RDX], 0);
}

/* ---- whose it is ---- */

enum lack { NO_CONTROL, NO_ASSIST_BIT, NO_ASSIST_PAGE, NO_NPT, UNALIGNED_PAGE, WIDE_PAGE, LACKS };

/* [TLFS "Direct Virtual Flush"], configuration; [CVE-2026-46131]. */
static void l1_must_have_said_all_of_it(void **state)
{
    struct world *w = *state;

    for (enum lack lack = NO_CONTROL; lack <= LACKS; lack++) {
        struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);

        p.vp[0].assist_page = lack == NO_ASSIST_PAGE ? ASSIST : ASSIST | 1;
        fake_vm_put64(w->port, ASSIST + 32, lack == NO_ASSIST_BIT ? 0 : 1);
        if (lack == NO_CONTROL)
            put_field(&vmcb, 0, 6);
        if (lack == NO_NPT)
            vmcb.np_control = 0;
        if (lack == UNALIGNED_PAGE)
            put_field(&vmcb, 16, PAGE + 8);
        if (lack == WIDE_PAGE)
            put_field(&vmcb, 16, UINT64_C(1) << 40);
        enter(w, &vmcb);
        flush_space(w, 1);
        if (lack != LACKS)
            expect_l1s_vmmcall(w);
    }
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(w->v->stats.direct_flushes, 1);
}

static void nothing_is_done_that_was_not_offered(void **state)
{
    struct world *w = *state;

    p.vp[0].offer &= ~NVIRT_HV_OFFER_DIRECT_FLUSH;
    launch(w);
    flush_space(w, 1);
    expect_l1s_vmmcall(w);
}

static void user_mode_of_l2_makes_no_calls_to_nvirt(void **state)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);
    struct world *w = *state;

    vmcb.cpl = 3;
    enter(w, &vmcb);
    flush_space(w, 1);
    expect_l1s_vmmcall(w);
}

/* ---- trap after flush ---- */

/* [TLFS "Synthetic VM-Exit"]: after the flush, and after the instruction. */
static void l1_is_told_of_a_flush_while_it_locks_the_tlb(void **state)
{
    struct world *w = *state;

    launch(w);
    fake_vm_put32(w->port, PAGE, 1);
    fake_vm_log_reset(w->port);
    flush_space(w, 1);
    assert_int_equal(fake_vm_reads(w->port, PAGE), 1);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(told(w).exit_code, EXIT_ENL);
    assert_int_equal(told(w).exit_info1, 1);
    assert_int_equal(told(w).exit_info2, 0);
    assert_int_equal(told(w).exit_int_info, 0);
    assert_int_equal(told(w).rip, L2_RIP + 3);
    assert_int_equal(told(w).rax, 0);
    assert_int_equal(w->v->stats.direct_traps, 1);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
}

/* There is no field for a #DB that is pending: it is one whose delivery the exit interrupted. */
static void a_single_step_that_ends_there_is_told_with_it(void **state)
{
    struct world *w = *state;

    launch(w);
    vmcb02(w)->rflags |= NVIRT_RFLAGS_TF;
    fake_vm_put32(w->port, PAGE, 1);
    flush_space(w, 1);
    assert_int_equal(told(w).exit_code, EXIT_ENL);
    assert_int_equal(told(w).exit_int_info, EVENT_DB);
    assert_true((told(w).dr6 & NVI_DR6_BS) != 0);
}

/* Reads as ones, as memory does that there is not. */
static void an_assist_page_without_memory_is_locked(void **state)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);
    struct world *w = *state;

    put_field(&vmcb, 16, BEYOND_RAM);
    enter(w, &vmcb);
    flush_space(w, 1);
    assert_int_equal(nvirt_svm_level(w->v), 1);
    assert_int_equal(told(w).exit_code, EXIT_ENL);
}

/* ---- who runs where ---- */

static void a_vp_elsewhere_is_flushed_and_its_processor_kicked(void **state)
{
    const struct nvi_hv_identity who = {.vm = VM, .vp = 1};
    struct world *w = *state;

    launch(w);
    nvi_hv_direct_enter(&p.vp[1], &w->v->tlb, &who, 0);
    flush_space(w, 2);
    assert_int_equal(p.vp[1].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    assert_int_equal(w->port->kicks[1], 1);
}

static void who_l2_is_is_read_at_each_vmrun(void **state)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 9);
    struct world *w = *state;

    launch(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    vmcb.clean = 0xffffffff;
    enter(w, &vmcb);
    flush_space(w, 1);
    assert_int_equal((uint32_t)p.vp[0].direct.who, 9);
    assert_int_equal(p.vp[0].direct.fifo.waits, 0);
    flush_space(w, 1 << 9);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
}

/* Two VPs that take turns at one processor: each comes back to an ASID that is flushed. */
static void vps_that_take_turns_find_their_asids_flushed(void **state)
{
    struct nvirt_vmcb other = direct_vmcb12(2, 1);
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 0);
    struct world *w = *state;

    launch(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    enter(w, &other);
    run_once(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    enter(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_ASID);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_VMRUN, 0, 0), NVIRT_OK);
    /* The one that stays needs none. */
    enter(w, &vmcb);
    prepare(w);
    assert_int_equal(vmcb02(w)->tlb_control, NVIRT_SVM_TLB_NOTHING);
    w->v->prepared = false;
}

static void nobody_is_known_without_svm_and_after_reset_and_destruction(void **state)
{
    struct world *w = *state;

    launch(w);
    step(w, NVIRT_SVM_EXIT_VMRUN, 0, 0);
    assert_true((p.vp[0].direct.who & HERE) != 0);
    vmcb02(w)->rip = L1_RIP;
    w->vmcb01->rax = w->vmcb01->efer & ~NVIRT_SVM_EFER_SVME;
    w->gprs.r[NVIRT_RDX] = 0;
    w->vmcb01->rip = L1_RIP;
    assert_int_equal(msr_access(w, 0xc0000080, true), NVIRT_VERDICT_DONE);
    assert_false(w->v->svme);
    assert_int_equal(p.vp[0].direct.who & HERE, 0);
    w->v->svme = true;
    launch(w);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(p.vp[0].direct.who & HERE, 0);
    assert_false(p.vp[0].direct.active);
    w->v->svme = true;
    launch(w);
    assert_int_equal(nvirt_svm_vcpu_destroy(w->v), NVIRT_OK);
    assert_int_equal(p.vp[0].direct.who & HERE, 0);
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE, &w->config, &w->v),
                     NVIRT_OK);
}

static void a_vcpu_without_the_queue_is_refused(void **state)
{
    struct world *w = *state;
    void *memory = aligned_alloc(NVIRT_SVM_VCPU_ALIGN, NVIRT_SVM_VCPU_SIZE);
    struct nvirt_hv_vp vp = p.vp[0];
    struct nvirt_svm_vcpu *vcpu;

    vp.direct.fifo.slot = NULL;
    w->config.hyperv = &vp;
    assert_int_equal(nvirt_svm_vcpu_init(memory, NVIRT_SVM_VCPU_SIZE, &w->config, &vcpu),
                     NVIRT_ERR_CAPABILITY);
    free(memory);
}

/* ---- saved state ---- */

static void an_l2_that_is_moved_stays_who_it_is(void **state)
{
    struct nvirt_vmcb vmcb = direct_vmcb12(1, 3);
    struct world *w = *state;
    struct blob blob;
    struct blob again;

    enter(w, &vmcb);
    assert_int_equal(nvirt_svm_save(w->v, blob.data, sizeof blob.data, &blob.bytes), NVIRT_OK);
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(nvirt_svm_restore(w->v, blob.data, blob.bytes), NVIRT_OK);
    assert_int_equal(nvirt_svm_save(w->v, again.data, sizeof again.data, &again.bytes), NVIRT_OK);
    assert_int_equal(blob.bytes, again.bytes);
    assert_memory_equal(blob.data, again.data, blob.bytes);
    flush_space(w, 1 << 3);
    assert_int_equal((uint32_t)p.vp[0].direct.who, 3);
    assert_int_equal(nvirt_svm_level(w->v), 2);
    assert_int_equal(p.vp[0].direct.fifo.waits, NVIRT_HV_WAITS_ALL);
}

static void expect_refused(struct world *w, const struct blob *blob)
{
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
    assert_int_equal(nvirt_svm_restore(w->v, blob->data, blob->bytes), NVIRT_ERR_DATA);
}

static void saved_state_of_nobody_names_nobody(void **state)
{
    struct world *w = *state;
    struct blob good;
    struct blob bad;

    launch(w);
    assert_int_equal(nvirt_svm_save(w->v, good.data, sizeof good.data, &good.bytes), NVIRT_OK);
    bad = good;
    set_item(&bad, NVIRT_STATE_SVM_DIRECT, 2);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_SVM_DIRECT, 0);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_SVM_DIRECT_VP, UINT64_C(1) << 32);
    expect_refused(w, &bad);
    bad = good;
    set_item(&bad, NVIRT_STATE_SVM_DIRECT_ASSIST, PAGE + 1);
    expect_refused(w, &bad);
    p.vp[0].offer &= ~NVIRT_HV_OFFER_DIRECT_FLUSH;
    expect_refused(w, &good);
    p.vp[0].offer |= NVIRT_HV_OFFER_DIRECT_FLUSH;
    assert_int_equal(nvirt_svm_restore(w->v, good.data, good.bytes), NVIRT_OK);
}

#define TEST_DIRECT(name) cmocka_unit_test_setup_teardown(name, direct_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_DIRECT(a_flush_of_l2_does_not_enter_l1),
        TEST_DIRECT(it_is_done_whether_or_not_l1_intercepts_vmmcall),
        TEST_DIRECT(other_calls_of_l2_are_l1s),
        TEST_DIRECT(input_lies_where_l1s_tables_say),
        TEST_DIRECT(input_that_l1_does_not_map_is_a_nested_page_fault),
        TEST_DIRECT(input_beyond_the_width_of_addresses_is_nowhere),
        TEST_DIRECT(input_in_xmm_registers_is_asked_of_the_host),
        TEST_DIRECT(a_call_that_is_wrong_is_answered),
        TEST_DIRECT(registers_of_a_32_bit_caller_are_pairs),
        TEST_DIRECT(l1_must_have_said_all_of_it),
        TEST_DIRECT(nothing_is_done_that_was_not_offered),
        TEST_DIRECT(user_mode_of_l2_makes_no_calls_to_nvirt),
        TEST_DIRECT(l1_is_told_of_a_flush_while_it_locks_the_tlb),
        TEST_DIRECT(a_single_step_that_ends_there_is_told_with_it),
        TEST_DIRECT(an_assist_page_without_memory_is_locked),
        TEST_DIRECT(a_vp_elsewhere_is_flushed_and_its_processor_kicked),
        TEST_DIRECT(who_l2_is_is_read_at_each_vmrun),
        TEST_DIRECT(vps_that_take_turns_find_their_asids_flushed),
        TEST_DIRECT(nobody_is_known_without_svm_and_after_reset_and_destruction),
        TEST_DIRECT(a_vcpu_without_the_queue_is_refused),
        TEST_DIRECT(an_l2_that_is_moved_stays_who_it_is),
        TEST_DIRECT(saved_state_of_nobody_names_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
