/* SPDX-License-Identifier: MIT */
/*
 * The steady state of L1 (vmx_fast.c): the short way of an exit must come to what the general way
 * comes to, and nothing that happens in between may be lost.
 */
#include "vmx_world.h"

/* One exit of L1 with hardware's state bent in up to two fields. */
struct scene {
    const char *name;
    uint32_t reason;
    uint64_t info;
    uint64_t name_register; /* RCX. */
    uint32_t encoding[2];
    uint64_t value[2];
    bool is_short; /* The short way serves it. */
    uint64_t operand[2]; /* In memory. */
    uint64_t type;       /* RDX. */
};

#define INFO_RAX_RCX (INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX))
#define READ(text, field, encoding, value, is_short)                                               \
    { text, NVIRT_VMX_EXIT_VMREAD, INFO_RAX_RCX, field, { encoding }, { value }, is_short,      \
      { 0x7777, 0 }, 0 }
#define WRITE(text, field, encoding, value, is_short)                                              \
    { text, NVIRT_VMX_EXIT_VMWRITE, INFO_RAX_RCX, field, { encoding }, { value }, is_short,        \
      { 0x7777, 0 }, 0 }

#define RIP 0x681eu
#define RFLAGS 0x6820u
#define BLOCKING 0x4824u
#define SS_AR 0x4818u
#define EFER 0x2806u

static const struct scene scenes[] = {
    READ("VMREAD", RIP, RFLAGS, 0x2, true),
    READ("VMREAD after a failure clears the flags", RIP, RFLAGS, 0x2 | 0x8d5, true),
    READ("VMREAD of a narrow field", 0x4002, RFLAGS, 0x2, true),
    READ("VMREAD of read-only data", 0x4402, RFLAGS, 0x2, true),
    READ("VMREAD of the upper half", 0x2011, RFLAGS, 0x2, false),
    READ("VMREAD of no field", 0x6fff, RFLAGS, 0x2, false),
    READ("VMREAD of a field L1 is not offered", 0x2040, RFLAGS, 0x2, false),
    READ("VMREAD under a name wider than 32 bits", UINT64_C(0x10000681e), RFLAGS, 0x2, false),
    READ("VMREAD with the trap flag", RIP, RFLAGS, 0x102, false),
    READ("VMREAD with the resume flag", RIP, RFLAGS, 0x10002, false),
    READ("VMREAD after STI", RIP, BLOCKING, 1, false),
    READ("VMREAD after MOV SS", RIP, BLOCKING, 2, false),
    READ("VMREAD while NMIs are blocked", RIP, BLOCKING, 8, true),
    READ("VMREAD at CPL 3", RIP, SS_AR, 0xc0f3, false),
    READ("VMREAD outside IA-32e mode", RIP, EFER, 0, false),
    READ("VMREAD across 4 GiB", RIP, RIP, 0xfffffffe, false),
    READ("VMREAD in high memory", RIP, RIP, 0xffffffff81000000, true),
    WRITE("VMWRITE", RIP, RFLAGS, 0x2, true),
    WRITE("VMWRITE of a narrow field", 0x4002, RFLAGS, 0x2, true),
    WRITE("VMWRITE of a 16-bit field", 0x0800, RFLAGS, 0x2, true),
    WRITE("VMWRITE of read-only data", 0x4402, RFLAGS, 0x2, false),
    WRITE("VMWRITE of the upper half", 0x2011, RFLAGS, 0x2, false),
    WRITE("VMWRITE with the trap flag", RIP, RFLAGS, 0x102, false),
    { "VMREAD to memory", NVIRT_VMX_EXIT_VMREAD, INFO_PLAIN | INFO_REG2(NVIRT_RCX), RIP,
      { RFLAGS }, { 2 }, false, { 0x7777, 0 }, 0 },
    { "VMREAD to RSP", NVIRT_VMX_EXIT_VMREAD,
      INFO_REG | INFO_REG1(NVIRT_RSP) | INFO_REG2(NVIRT_RCX), RIP, { RFLAGS }, { 2 }, false, { 0x7777, 0 }, 0 },
    { "VMREAD named by RSP", NVIRT_VMX_EXIT_VMREAD,
      INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RSP), RIP, { 0x681c }, { RIP }, false, { 0, 0 }, 0 },
    { "VMWRITE from memory", NVIRT_VMX_EXIT_VMWRITE, INFO_PLAIN | INFO_REG2(NVIRT_RCX), RIP,
      { RFLAGS }, { 2 }, false, { 0x7777, 0 }, 0 },
#define MEMORY(text, name, info, encoding, value, is_short, first, second, type)                   \
    { text, NVIRT_VMX_EXIT_##name, info, 0, { encoding }, { value }, is_short, { first, second },  \
      type }
#define INFO_TYPE (INFO_PLAIN | INFO_REG2(NVIRT_RDX))
    MEMORY("VMPTRLD of the current VMCS", VMPTRLD, INFO_PLAIN, RFLAGS, 2, true, VMCS12, 0, 0),
    MEMORY("the same by a base register", VMPTRLD,
           (INFO_PLAIN & ~NVIRT_BIT(27)) | ((uint64_t)NVIRT_RBX << 23), RFLAGS, 2, true,
           VMCS12, 0, 0),
    MEMORY("the same at CPL 3", VMPTRLD, INFO_PLAIN, SS_AR, 0xc0f3, false, VMCS12, 0, 0),
    MEMORY("the same with 32-bit addresses", VMPTRLD, INFO_PLAIN ^ (UINT64_C(3) << 7), RFLAGS, 2,
           false, VMCS12, 0, 0),
    MEMORY("the same with a base of GS", VMPTRLD, INFO_PLAIN | (UINT64_C(5) << 15), RFLAGS, 2,
           false, VMCS12, 0, 0),
    MEMORY("the same through other tables", VMPTRLD, INFO_PLAIN, 0x6802, 0x50000, false, VMCS12, 0,
           0),
    MEMORY("the same with SMAP", VMPTRLD, INFO_PLAIN, 0x6804, 0x202020, true, VMCS12, 0, 0),
    MEMORY("VMPTRLD of the VMXON region", VMPTRLD, INFO_PLAIN, RFLAGS, 2, false, VMXON_REGION, 0,
           0),
    MEMORY("VMPTRLD of no region", VMPTRLD, INFO_PLAIN, RFLAGS, 2, false, 0x123, 0, 0),
    MEMORY("INVEPT of one root", INVEPT, INFO_TYPE, RFLAGS, 2, true, EPT12_TOP | 0x1e, 0, 1),
    MEMORY("INVEPT of all", INVEPT, INFO_TYPE, RFLAGS, 2, true, 0, 0, 2),
    MEMORY("INVEPT of a bad pointer", INVEPT, INFO_TYPE, RFLAGS, 2, false, 0x7, 0, 1),
    MEMORY("INVEPT of no type", INVEPT, INFO_TYPE, RFLAGS, 2, false, 0, 0, 3),
    MEMORY("INVVPID of an address", INVVPID, INFO_TYPE, RFLAGS, 2, true, 3, 0x1000, 0),
    MEMORY("INVVPID of one VPID", INVVPID, INFO_TYPE, RFLAGS, 2, true, 3, 0, 1),
    MEMORY("INVVPID of all", INVVPID, INFO_TYPE, RFLAGS, 2, true, 0, 0, 2),
    MEMORY("INVVPID of VPID 0", INVVPID, INFO_TYPE, RFLAGS, 2, false, 0, 0, 1),
    MEMORY("INVVPID of no address", INVVPID, INFO_TYPE, RFLAGS, 2, false, 3, UINT64_C(1) << 60, 0),
    MEMORY("INVVPID with reserved bits", INVVPID, INFO_TYPE, RFLAGS, 2, false, 0x10003, 0, 1),
};
#define SCENES (sizeof scenes / sizeof scenes[0])

/* What an exit came to. */
struct result {
    struct nvirt_vmcs hardware, vmcs12;
    struct nvirt_gprs gprs;
    struct nvi_pending pending;
    struct nvirt_tlb tlb;
    uint64_t operand;
    enum nvirt_status status;
    enum nvirt_verdict verdict;
};

static void fill_view(struct world *w, struct nvirt_vmcs *view)
{
    const struct fake_region *region = fake_cpu_region(&w->cpu, VMCS01_HPA);
    enum nvirt_vmcs_field field;
    bool high;

    memset(view, 0, sizeof *view);
    for (uint32_t i = 0; i < region->fields; i++)
        if (nvirt_vmcs_lookup(region->field[i].encoding, &field, &high))
            view->field[field] = region->field[i].value;
}

static void play(struct world *w, const struct scene *scene, const struct nvirt_tlb *tlb,
                 bool steady, struct result *result)
{
    struct fake_set set[12];
    size_t count = 0;

    fill_vmcs12(w);
    memset(&w->gprs, 0, sizeof w->gprs);
    fake_vm_put64(w->port, OPERAND, scene->operand[0]);
    fake_vm_put64(w->port, OPERAND + 8, scene->operand[1]);
    SET1(w, GUEST_CR3, L1_CR3);
    SET1(w, GUEST_CR4, 0x2020);
    w->v->tlb = *tlb;
    SET1(w, GUEST_RIP, L1_RIP);
    SET1(w, GUEST_RSP, 0x8000);
    SET1(w, GUEST_RFLAGS, 2);
    SET1(w, GUEST_INTERRUPTIBILITY, 0);
    SET1(w, GUEST_PENDING_DEBUG, 0);
    SET1(w, GUEST_SS_AR, 0xc093);
    SET1(w, GUEST_EFER, 0x500);
    SET1(w, ENTRY_INTERRUPTION, 0);
    (void)READ12(w, GUEST_CR0); /* From here on L1 is steady. */
    w->gprs.r[NVIRT_RAX] = UINT64_C(0x1122334455667788);
    w->gprs.r[NVIRT_RCX] = scene->name_register;
    w->gprs.r[NVIRT_RDX] = scene->type;
    set[count++] = (struct fake_set){ 0x4402, scene->reason };
    set[count++] = (struct fake_set){ 0x440e, scene->info };
    set[count++] = (struct fake_set){ 0x440c, INSN_LENGTH };
    set[count++] = (struct fake_set){ 0x6400, OPERAND };
    set[count++] = (struct fake_set){ 0x4408, 0 };
    for (size_t i = 0; i < 2; i++)
        if (scene->encoding[i] != 0)
            set[count++] = (struct fake_set){ scene->encoding[i], scene->value[i] };
    prepare(w);
    assert_true(w->v->steady);
    w->v->steady = steady;
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, set, count), NVIRT_HW_OK);
    result->status = nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit);
    if (steady && w->v->steady != scene->is_short)
        fail_msg("%s: %s way", scene->name, scene->is_short ? "the general" : "the short");
    result->verdict = w->exit.verdict;
    result->pending = w->v->pending;
    result->tlb = w->v->tlb;
    result->gprs = w->gprs;
    result->vmcs12 = w->v->vmcs12;
    result->operand = fake_vm_get64(w->port, OPERAND);
    prepare(w);
    fill_view(w, &result->hardware);
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, NULL, 0), NVIRT_HW_OK);
    w->v->prepared = false;
    nvi_hw_exited(w->v, NVI_01, NVIRT_VMX_EXIT_HLT);
    w->v->steady = false;
    memset(&w->v->pending, 0, sizeof w->v->pending);
}

static void the_short_way_comes_to_what_the_general_way_comes_to(void **state)
{
    struct world *w = *state;
    struct result *shortly = calloc(2, sizeof *shortly);
    struct result *generally = shortly + 1;

    struct nvirt_tlb tlb;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VPID;
    w->v->vmcs12.vpid = 3;
    vmlaunch(w);
    l2_cpuid(w);
    prepare(w);
    w->v->prepared = true;
    tlb = w->v->tlb;
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12); /* The walk that may be remembered. */
    for (size_t i = 0; i < SCENES; i++) {
        play(w, &scenes[i], &tlb, false, generally);
        play(w, &scenes[i], &tlb, true, shortly);
        if (memcmp(shortly, generally, sizeof *shortly) != 0)
            fail_msg("%s: the two ways differ", scenes[i].name);
    }
    free(shortly);
}

/* Tables that changed under the operand: what L1 meets is what they say now. */
static void a_remembered_walk_holds_while_the_tables_do(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    (void)READ12(w, GUEST_CR0);
    for (uint32_t i = 0; i < 3; i++) {
        l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
        expect_success(w);
        (void)READ12(w, GUEST_CR0);
        assert_true(w->v->steady);
    }
    /* The page table maps the operand's page elsewhere. */
    fake_vm_put64(w->port, 0x55000, VMCS12_B);
    fake_vm_put64(w->port, L1_PT + (OPERAND >> 12) * 8, 0x55003);
    exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, OPERAND, INFO_PLAIN);
    assert_true(w->v->vmx.current == VMCS12_B);
    (void)READ12(w, GUEST_CR0);
    /* It maps nothing: #PF. */
    fake_vm_put64(w->port, L1_PT + (OPERAND >> 12) * 8, 0);
    exit_with(w, NVIRT_VMX_EXIT_VMPTRLD, OPERAND, INFO_PLAIN);
    assert_true(w->v->pending.exception.waiting);
    assert_int_equal(w->v->pending.exception.vector, NVIRT_VECTOR_PF);
    prepare(w);
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, NULL, 0), NVIRT_HW_OK);
    w->v->prepared = false;
    nvi_hw_exited(w->v, NVI_01, NVIRT_VMX_EXIT_HLT);
    /* The accessed bit is taken back: it is set again, as each access does. */
    fake_vm_put64(w->port, L1_PT + (OPERAND >> 12) * 8, OPERAND | 3);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    assert_true((fake_vm_get64(w->port, L1_PT + (OPERAND >> 12) * 8) & 0x20) != 0);
    (void)READ12(w, GUEST_CR0);
    fake_vm_put64(w->port, L1_PT + (OPERAND >> 12) * 8, OPERAND | 3);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    assert_true((fake_vm_get64(w->port, L1_PT + (OPERAND >> 12) * 8) & 0x20) != 0);
}

/* An exit of L1 in the steady state costs eight VMREADs (reason, CPL, mode, operands, blocking,
 * flags, RIP, length) and one VMWRITE; a CPUID of L1 only what completing it takes. */
static void a_steady_exit_costs_what_it_looks_at(void **state)
{
    struct world *w = *state;
    struct fake_counts before;

    ready_to_launch(w);
    (void)READ12(w, GUEST_CR0);
    before = w->cpu.count;
    (void)READ12(w, GUEST_CR3);
    assert_int_equal(w->cpu.count.vmread - before.vmread, 8);
    assert_int_equal(w->cpu.count.vmwrite - before.vmwrite, 1);
    before = w->cpu.count;
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1);
    assert_int_equal(nvirt_vmx_skip(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(w->cpu.count.vmread - before.vmread, 5);
    assert_int_equal(w->cpu.count.vmwrite - before.vmwrite, 1);
}

/* Whatever the host does between two runs is seen at the next prepare. */
static void what_comes_between_two_steady_runs_is_not_lost(void **state)
{
    const struct nvirt_event nmi = { .type = NVIRT_EVENT_NMI, .vector = 2 };
    struct world *w = *state;

    ready_to_launch(w);
    (void)READ12(w, GUEST_CR0);
    (void)READ12(w, GUEST_CR0);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000202);
    (void)READ12(w, GUEST_CR0);
    (void)READ12(w, GUEST_CR0);
    SET1(w, TSC_OFFSET, 0x1234);
    prepare(w);
    assert_true(HW(w, TSC_OFFSET) == 0x1234);
    (void)READ12(w, GUEST_CR0);
    /* The CPU's current VMCS may be another by now. */
    assert_int_equal(nvirt_vmx_forget_current(w->v), NVIRT_OK);
    w->cpu.current = NULL;
    prepare(w);
    assert_true(w->cpu.current != NULL && w->cpu.current->hpa == VMCS01_HPA);
}

/* What L1 left in its registers is read anew after a steady exit, not remembered from before. */
static void a_steady_exit_leaves_no_stale_image(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = { { 0x4402, NVIRT_VMX_EXIT_VMREAD }, { 0x440e, INFO_RAX_RCX },
                                    { 0x440c, INSN_LENGTH }, { RIP, 0x5000 }, { 0x681c, 0x5555 },
                                    { 0x6802, 0x6000 } };

    ready_to_launch(w);
    SET1(w, GUEST_RSP, 0x1111);
    SET1(w, GUEST_CR3, L1_CR3);
    (void)READ12(w, GUEST_CR0);
    w->gprs.r[NVIRT_RCX] = RIP;
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_true(w->v->steady);
    assert_true(GET1(w, GUEST_RIP) == 0x5000 + INSN_LENGTH);
    assert_true(GET1(w, GUEST_RSP) == 0x5555);
    assert_true(GET1(w, GUEST_CR3) == 0x6000);
}

static void a_refused_instruction_of_the_short_way_is_reported(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    (void)READ12(w, GUEST_CR0);
    w->cpu.fail_vmwrite_encoding = RIP;
    exit_with(w, NVIRT_VMX_EXIT_VMREAD, 0, INFO_RAX_RCX);
    assert_int_equal(w->status, NVIRT_ERR_HARDWARE);
    assert_false(w->v->steady);
    w->cpu.fail_vmwrite_encoding = UINT32_MAX;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_short_way_comes_to_what_the_general_way_comes_to),
        TEST(a_remembered_walk_holds_while_the_tables_do),
        TEST(a_steady_exit_costs_what_it_looks_at),
        TEST(what_comes_between_two_steady_runs_is_not_lost),
        TEST(a_steady_exit_leaves_no_stale_image),
        TEST(a_refused_instruction_of_the_short_way_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
