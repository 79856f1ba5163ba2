/* SPDX-License-Identifier: MIT */
/*
 * CET state: what entries and exits load, save and leave alone, the rules about it, and shadow stacks
 * that run, of L2 and of L1. [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs"],
 * [SDM 3C "Loading Guest RIP, RSP, RFLAGS, and SSP"], [SDM 1 "Shadow Stacks"].
 */
#include "l2.h"
#include "tests.h"

#define SH_STK_EN 1ull
#define WR_SHSTK_EN 2ull
#define ENDBR_EN 4ull
#define SUPPRESS (1ull << 10)
#define TRACKER (1ull << 11)
#define VECTOR_CP 21u
#define CP_NEAR_RET 1u
#define CP_ENDBRANCH 3u
#define WILD (1ull << 47)

/* The fourth data page of L2 is its shadow stack: read-only, dirty, of supervisor mode. */
#define STACK_PAGE 3u
#define STACK (L2_DATA + STACK_PAGE * 4096)
#define STACK_TOP (STACK + 4096 - 64)
#define PTE_SHADOW_STACK (1ull | (1ull << 5) | (1ull << 6))

SNIPPET(cet_rdmsr, "", "rdmsr", "");
SNIPPET(cet_wrmsr, "", "wrmsr", "");
SNIPPET(cet_twice, "", "vmcall", "nop");
SNIPPET(cet_call, "rdsspq %rax\ncall 2f\njmp 3f\n2: rdsspq %rbx\ncpuid", "ret",
        "3: rdsspq %rdx");
SNIPPET(cet_wrong_return, "call 2f\n2: leaq 4f(%rip), %rax\nmovq %rax, (%rsp)", "ret", "4:");
SNIPPET(cet_jump, "leaq 2f(%rip), %rax", "jmp *%rax", "2: nop");
/* Indirect calls to where one may land. STI keeps an interrupt window closed until after the second. */
SNIPPET(cet_land, "leaq 2f(%rip), %rax\ncall *%rax\nsti", "call *%rax", "vmcall\n2: endbr64\nincq %rbx\nret");
/* What L2 finds goes to R8 to R11, what it leaves comes from R12 and R13, one call deeper each time. */
SNIPPET(cet_deeper,
        "1: rdsspq %r8\nmovl $0x6a2, %ecx\nrdmsr\nmovl %eax, %r9d\nmovl $0x6a8, %ecx\nrdmsr\n"
        "movl %eax, %r10d\nxorl %edx, %edx\nmovl %r13d, %eax\nwrmsr\nmovl $0x6a2, %ecx\n"
        "movl %r12d, %eax\nwrmsr",
        "cpuid", "call 1b");

struct msr_entry {
    uint32_t index, reserved;
    uint64_t value;
};
static struct msr_entry list[3] __attribute__((aligned(16)));

static bool has_cet(void)
{
    return ctl_can(F_ENTRY, ENTRY_LOAD_CET) && ctl_can(F_EXIT, EXIT_LOAD_CET);
}

static void set_l1(uint64_t s_cet, uint64_t table)
{
    rt_wrmsr(MSR_S_CET, s_cet);
    rt_wrmsr(MSR_SSP_TABLE, table);
}

/* L1's is 1000H and 2000H, what entries load 3000H and 4000H, what exits load 5000H and 6000H. */
static void reset(enum l2_mode mode, bool entry, bool exit)
{
    l2_reset(mode);
    set_l1(0x1000, 0x2000);
    vmwrite(F_G_S_CET, 0x3000);
    vmwrite(F_G_SSP, 0x7008);
    vmwrite(F_G_SSP_TABLE, 0x4000);
    vmwrite(F_H_S_CET, 0x5000);
    vmwrite(F_H_SSP, 0);
    vmwrite(F_H_SSP_TABLE, 0x6000);
    if (entry)
        ctl_set(F_ENTRY, ENTRY_LOAD_CET);
    if (exit)
        ctl_set(F_EXIT, EXIT_LOAD_CET);
}

static uint64_t l2_msr(uint32_t msr)
{
    l2_start(s_cet_rdmsr);
    l2.g.rcx = msr;
    (void)l2_run();
    return (l2.g.rdx << 32) | (uint32_t)l2.g.rax;
}

static void l2_wrmsr(uint32_t msr, uint64_t value)
{
    l2_start(s_cet_wrmsr);
    l2.g.rcx = msr;
    l2.g.rax = value & 0xffffffffu;
    l2.g.rdx = value >> 32;
    (void)l2_run();
}

/* Each of the two controls off and on: what L2 finds, what the VMCS has then, what L1 finds. */
static void loads_and_saves(enum l2_mode mode)
{
    for (unsigned i = 0; i < 4; i++) {
        bool entry = (i & 1) != 0, exit = (i & 2) != 0;
        uint64_t l2_s_cet = entry ? 0x3000 : 0x1000, l2_table = entry ? 0x4000 : 0x2000;

        reset(mode, entry, exit);
        check_eq(l2_msr(MSR_S_CET), l2_s_cet, "move%u.l2_s_cet", i);
        check_eq(vmread(F_G_S_CET), l2_s_cet, "move%u.saved_s_cet", i);
        check_eq(vmread(F_G_SSP_TABLE), l2_table, "move%u.saved_table", i);
        check_eq(rt_rdmsr(MSR_S_CET), exit ? 0x5000 : l2_s_cet, "move%u.l1_s_cet", i);
        check_eq(rt_rdmsr(MSR_SSP_TABLE), exit ? 0x6000 : l2_table, "move%u.l1_table", i);
        /* L1 writes, L2 writes, and again with an entry that only goes on. */
        set_l1(0x9000, 0xa000);
        l2_wrmsr(MSR_S_CET, 0xffff800000001004ull);
        check_eq(vmread(F_G_S_CET), 0xffff800000001004ull, "move%u.written_s_cet", i);
        check_eq(vmread(F_G_SSP_TABLE), entry ? 0x4000 : 0xa000, "move%u.written_table", i);
        check_eq(rt_rdmsr(MSR_S_CET), exit ? 0x5000 : 0xffff800000001004ull, "move%u.l1_after", i);
        (void)l2_go(s_cet_twice);
        set_l1(0xb000, 0xc000);
        (void)l2_skip_and_run();
        check_eq(vmread(F_G_S_CET), entry ? 0xffff800000001004ull : 0xb000, "move%u.resumed", i);
        check_eq(vmread(F_G_SSP_TABLE), entry ? 0x4000 : 0xc000, "move%u.resumed_table", i);
        set_l1(0, 0);
    }
}

/* SSP is no MSR: it can be seen where the VMCS has it. */
static void ssp_moves(enum l2_mode mode)
{
    reset(mode, true, true);
    vmwrite(F_H_SSP, 0x8010);
    (void)l2_msr(MSR_S_CET);
    check_eq(vmread(F_G_SSP), 0x7008, "ssp.saved");
    ctl_clear(F_ENTRY, ENTRY_LOAD_CET);
    vmwrite(F_G_SSP, 0x123450);
    (void)l2_msr(MSR_S_CET);
    check_eq(vmread(F_G_SSP), 0x8010, "ssp.of_the_exit_before");
    ctl_set(F_ENTRY, ENTRY_LOAD_CET);
    vmwrite(F_G_SSP, 0x9018);
    ctl_clear(F_EXIT, EXIT_LOAD_CET);
    (void)l2_msr(MSR_S_CET);
    ctl_clear(F_ENTRY, ENTRY_LOAD_CET);
    (void)l2_msr(MSR_S_CET);
    check_eq(vmread(F_G_SSP), 0x9018, "ssp.of_l2_before");
    set_l1(0, 0);
}

static void with_shadow_stack(enum l2_mode mode)
{
    reset(mode, true, true);
    l2_paging.data_pt[STACK_PAGE] =
        (l2_paging.data_pt[STACK_PAGE] & ~0xfffull) | PTE_SHADOW_STACK;
    memset(l2_data[STACK_PAGE], 0, 4096);
    flush_everything();
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_CET);
    vmwrite(F_G_CR0, vmread(F_G_CR0) | CR0_WP);
    vmwrite(F_G_S_CET, SH_STK_EN | WR_SHSTK_EN);
    vmwrite(F_G_SSP, STACK_TOP);
}

/* A hypervisor that does not know of CET and enters again and again: what L1 leaves L2 finds, and what L2
 * leaves L1 finds and its VMCS has. L2 runs on its shadow stack, which L1 that has none gave it. */
static void nobody_loads(enum l2_mode mode)
{
    with_shadow_stack(mode);
    ctl_clear(F_EXIT, EXIT_LOAD_CET);
    l2_start(s_cet_deeper);
    for (unsigned i = 0; i < 9; i++) {
        uint64_t of_l1 = SH_STK_EN | 0x1000ull << (i & 3), table_of_l1 = 0x2000 + 16 * i;
        uint64_t of_l2 = SH_STK_EN | WR_SHSTK_EN | 0x10000 * (i + 1), table_of_l2 = 0x40000 + 16 * i;

        if (i == 0)
            of_l1 = SH_STK_EN | WR_SHSTK_EN, table_of_l1 = 0x4000;
        else
            set_l1(of_l1, table_of_l1);
        l2.g.r12 = of_l2;
        l2.g.r13 = table_of_l2;
        if (i == 0)
            (void)l2_run();
        else
            (void)l2_skip_and_run();
        ctl_clear(F_ENTRY, ENTRY_LOAD_CET);
        check_eq(l2.reason, R_CPUID, "nobody%u", i);
        check_eq(l2.g.r8, STACK_TOP - 8 * i, "nobody%u.l2_ssp", i);
        check_eq(l2.g.r9, of_l1, "nobody%u.l2_s_cet", i);
        check_eq(l2.g.r10, table_of_l1, "nobody%u.l2_table", i);
        check_eq(rt_rdmsr(MSR_S_CET), of_l2, "nobody%u.l1_s_cet", i);
        check_eq(rt_rdmsr(MSR_SSP_TABLE), table_of_l2, "nobody%u.l1_table", i);
        if (i % 4 != 3)
            continue;
        check_eq(vmread(F_G_SSP), STACK_TOP - 8 * i, "nobody%u.saved_ssp", i);
        check_eq(vmread(F_G_S_CET), of_l2, "nobody%u.saved_s_cet", i);
        check_eq(vmread(F_G_SSP_TABLE), table_of_l2, "nobody%u.saved_table", i);
    }
    set_l1(0, 0);
}

/* ---- rules ---- */

static void refuses(const char *name, bool host, uint32_t field, uint64_t value)
{
    reset(L2_EPT, true, true);
    vmwrite(field, value);
    l2_start(s_cet_rdmsr);
    l2.g.rcx = MSR_S_CET;
    (void)l2_run();
    if (host)
        check(l2.reason == (L2_NOT_ENTERED | VMX_FAIL_VALID) &&
                  vmread(F_INSN_ERROR) == E_HOST_STATE,
              "rule.%s", name);
    else
        check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "rule.%s", name);
}

static void rules(void)
{
    uint64_t cr0 = rt_read_cr0(), cr4 = rt_read_cr4();

    refuses("host_s_cet_reserved", true, F_H_S_CET, 1ull << 6);
    refuses("host_s_cet_both", true, F_H_S_CET, SUPPRESS | TRACKER);
    refuses("host_s_cet_canonical", true, F_H_S_CET, WILD);
    refuses("host_ssp_aligned", true, F_H_SSP, 0x1002);
    refuses("host_ssp_canonical", true, F_H_SSP, WILD);
    refuses("host_table_canonical", true, F_H_SSP_TABLE, WILD);
    refuses("guest_s_cet_canonical", false, F_G_S_CET, WILD);
    refuses("guest_ssp_aligned", false, F_G_SSP, 0x1001);
    refuses("guest_ssp_width", false, F_G_SSP, 1ull << 62);
    refuses("guest_table_canonical", false, F_G_SSP_TABLE, WILD);
    reset(L2_EPT, true, true);
    vmwrite(F_G_CR4, cr4 | CR4_CET);
    vmwrite(F_G_CR0, cr0 & ~CR0_WP);
    (void)l2_go(s_cet_rdmsr);
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "rule.guest_cet_without_wp");
    reset(L2_EPT, true, true);
    vmwrite(F_H_CR4, cr4 | CR4_CET);
    vmwrite(F_H_CR0, cr0 & ~CR0_WP);
    (void)l2_go(s_cet_rdmsr);
    check(l2.reason == (L2_NOT_ENTERED | VMX_FAIL_VALID) && vmread(F_INSN_ERROR) == E_HOST_STATE,
          "rule.host_cet_without_wp");
    /* Without the controls nobody looks. */
    reset(L2_EPT, false, false);
    vmwrite(F_G_S_CET, WILD);
    vmwrite(F_G_SSP, 3);
    vmwrite(F_H_SSP, 3);
    vmwrite(F_H_S_CET, 1ull << 6);
    check_eq(l2_msr(MSR_S_CET), 0x1000, "rule.not_loaded");
    set_l1(0, 0);
}

/* ---- entries that fail ---- */

#define SSP_OF_L1 0x8010u
#define SSP_OF_HOST_STATE 0xa020u

/* An exit leaves L1 with an SSP of its own; what is entered next fails. */
static void reset_to_fail(bool exit)
{
    reset(L2_EPT, true, true);
    vmwrite(F_H_SSP, SSP_OF_L1);
    (void)l2_msr(MSR_S_CET);
    reset(L2_EPT, true, exit);
    vmwrite(F_H_SSP, SSP_OF_HOST_STATE);
    l2_start(s_cet_rdmsr);
}

/* L1's SSP is what an entry that loads none gives L2, and its exit saves. */
static uint64_t ssp_of_l1(void)
{
    ctl_clear(F_ENTRY, ENTRY_LOAD_CET);
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 0);
    vmwrite(F_G_SSP, 0x123450);
    (void)l2_msr(MSR_S_CET);
    return vmread(F_G_SSP);
}

static void failures(void)
{
    for (unsigned i = 0; i < 2; i++) {
        bool exit = i == 1;

        reset_to_fail(exit);
        vmwrite(F_G_RFLAGS, 0);
        (void)l2_run();
        check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "fail%u.guest", i);
        check_eq(rt_rdmsr(MSR_S_CET), exit ? 0x5000 : 0x1000, "fail%u.guest_s_cet", i);
        check_eq(rt_rdmsr(MSR_SSP_TABLE), exit ? 0x6000 : 0x2000, "fail%u.guest_table", i);
        check_eq(vmread(F_G_S_CET), 0x3000, "fail%u.saves_nothing", i);
        check_eq(vmread(F_G_SSP), 0x7008, "fail%u.saves_no_ssp", i);
        check_eq(ssp_of_l1(), exit ? SSP_OF_HOST_STATE : SSP_OF_L1, "fail%u.guest_ssp", i);
        reset_to_fail(exit);
        list[0] = (struct msr_entry){MSR_FS_BASE, 0, 0};
        vmwrite(F_ENTRY_MSR_LOAD, (uint64_t)list);
        vmwrite(F_ENTRY_MSR_LOAD_COUNT, 1);
        (void)l2_run();
        check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_MSR, "fail%u.list", i);
        check_eq(rt_rdmsr(MSR_S_CET), exit ? 0x5000 : 0x3000, "fail%u.list_s_cet", i);
        check_eq(vmread(F_G_SSP), 0x7008, "fail%u.list_saves_no_ssp", i);
        check_eq(ssp_of_l1(), exit ? SSP_OF_HOST_STATE : 0x7008, "fail%u.list_ssp", i);
        set_l1(0, 0);
    }
}

/* ---- MSR lists, and writes that fault ---- */

static void lists(void)
{
    reset(L2_EPT, true, true);
    list[0] = (struct msr_entry){MSR_S_CET, 0, 0x10024};
    list[1] = (struct msr_entry){MSR_SSP_TABLE, 0, 0x11000};
    list[2] = (struct msr_entry){MSR_S_CET, 0, 0};
    vmwrite(F_ENTRY_MSR_LOAD, (uint64_t)&list[0]);
    vmwrite(F_ENTRY_MSR_LOAD_COUNT, 1);
    vmwrite(F_EXIT_MSR_LOAD, (uint64_t)&list[1]);
    vmwrite(F_EXIT_MSR_LOAD_COUNT, 1);
    vmwrite(F_EXIT_MSR_STORE, (uint64_t)&list[2]);
    vmwrite(F_EXIT_MSR_STORE_COUNT, 1);
    check_eq(l2_msr(MSR_S_CET), 0x10024, "list.entry");
    check_eq(list[2].value, 0x10024, "list.store");
    check_eq(rt_rdmsr(MSR_S_CET), 0x5000, "list.exit_field");
    check_eq(rt_rdmsr(MSR_SSP_TABLE), 0x11000, "list.exit");
    list[0].value = 1ull << 6;
    (void)l2_go(s_cet_rdmsr);
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_MSR, "list.entry_reserved");
    set_l1(0, 0);
}

static void writes_that_fault(void)
{
    static const struct {
        const char *name;
        uint32_t msr;
        uint64_t value;
    } rows[] = {
        {"reserved", MSR_S_CET, 1ull << 6},
        {"both", MSR_S_CET, SUPPRESS | TRACKER},
        {"canonical", MSR_S_CET, WILD},
        {"table_canonical", MSR_SSP_TABLE, WILD},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        reset(L2_EPT, true, true);
        l2_wrmsr(rows[i].msr, rows[i].value);
        check_eq((uint64_t)l2_handler_vector(), 13, "wrmsr.%s", rows[i].name);
        check_eq(vmread(F_G_S_CET), 0x3000, "wrmsr.%s_changes_nothing", rows[i].name);
    }
    set_l1(0, 0);
}

/* ---- shadow stacks that run: L2's ---- */

static uint64_t stack_word(uint64_t address)
{
    return *(const uint64_t *)(l2_data[STACK_PAGE] + (address - STACK));
}

/* A call that leaves L2 for L1 in its middle. */
static void l2_calls(enum l2_mode mode)
{
    with_shadow_stack(mode);
    (void)l2_go(s_cet_call);
    check_eq(l2.reason, R_CPUID, "stack.inside");
    check_eq(l2.g.rax, STACK_TOP, "stack.before");
    check_eq(l2.g.rbx, STACK_TOP - 8, "stack.in_the_callee");
    check_eq(vmread(F_G_SSP), STACK_TOP - 8, "stack.saved");
    check_eq(stack_word(STACK_TOP - 8), *(const uint64_t *)vmread(F_G_RSP), "stack.return_address");
    check_eq(rt_rdmsr(MSR_S_CET), 0x5000, "stack.not_l1s");
    (void)l2_skip_and_run();
    (void)expect_done("stack.returned");
    check_eq(l2.g.rdx, STACK_TOP, "stack.after");
    check_eq(vmread(F_G_SSP), STACK_TOP, "stack.saved_after");
}

/* A return to where no call came from: #CP, delivered and intercepted. */
static void l2_returns_elsewhere(enum l2_mode mode)
{
    with_shadow_stack(mode);
    (void)l2_go(s_cet_wrong_return);
    check_eq((uint64_t)l2_handler_vector(), VECTOR_CP, "cp.vector");
    if (l2_handler_vector() == (int)VECTOR_CP)
        check_eq(l2_frame()[0], CP_NEAR_RET, "cp.error_code");
    with_shadow_stack(mode);
    vmwrite(F_EXCEPTION_BITMAP, 1u << VECTOR_CP);
    (void)l2_go(s_cet_wrong_return);
    check_eq(l2.reason, R_EXCEPTION, "cp.exits");
    check_eq(vmread(F_INTR) & 0x80000fffu, INTR_VALID | INTR_ERROR | INTR_TYPE(T_HARD) | VECTOR_CP,
             "cp.interruption");
    check_eq(vmread(F_INTR_ERROR), CP_NEAR_RET, "cp.interruption_error");
    check_eq(vmread(F_G_RIP), (uint64_t)i_cet_wrong_return, "cp.rip");
}

/* What an entry injects is delivered through the shadow stack that it loaded. */
static void injection(enum l2_mode mode)
{
    with_shadow_stack(mode);
    l2_start(s_cet_call);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_ERROR | INTR_TYPE(T_HARD) | VECTOR_CP);
    vmwrite(F_ENTRY_INTR_ERROR, CP_ENDBRANCH);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), VECTOR_CP, "inject.vector");
    if (l2_handler_vector() == (int)VECTOR_CP)
        check_eq(l2_frame()[0], CP_ENDBRANCH, "inject.error_code");
    check_eq(vmread(F_G_SSP), STACK_TOP - 24, "inject.frame");
    check_eq(stack_word(STACK_TOP - 24), STACK_TOP, "inject.frame_ssp");
    check_eq(stack_word(STACK_TOP - 8), RT_SEL_CS64, "inject.frame_cs");
    with_shadow_stack(mode);
    l2_start(s_cet_call);
    vmwrite(F_G_RFLAGS, 0x202);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_EXTINT) | 0x41);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 0x41, "inject.interrupt");
    check_eq(stack_word(STACK_TOP - 16), (uint64_t)s_cet_call, "inject.interrupt_frame");
}

/* The shadow stack is not there while an event is delivered: the exit tells which, and the delivery
 * succeeds when it has come. */
static void violation_in_delivery(void)
{
    uint64_t leaf;

    with_shadow_stack(L2_EPT);
    leaf = l2_ept.data_pt[STACK_PAGE];
    l2_ept.data_pt[STACK_PAGE] = 0;
    flush_everything();
    l2_start(s_cet_call);
    vmwrite(F_G_RFLAGS, 0x202);
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_EXTINT) | 0x42);
    (void)l2_run();
    check_eq(l2.reason, R_EPT_VIOLATION, "delivery.exits");
    check_eq(vmread(F_GUEST_PHYS) & ~0xfffull, STACK, "delivery.address");
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_EXTINT) | 0x42, "delivery.vectoring");
    check_eq(vmread(F_G_SSP), STACK_TOP, "delivery.ssp");
    l2_ept.data_pt[STACK_PAGE] = leaf;
    flush_everything();
    vmwrite(F_ENTRY_INTR, INTR_VALID | INTR_TYPE(T_EXTINT) | 0x42);
    (void)l2_run();
    check_eq((uint64_t)l2_handler_vector(), 0x42, "delivery.again");
    check_eq(vmread(F_G_SSP), STACK_TOP - 24, "delivery.frame");
}

static void with_tracking(enum l2_mode mode)
{
    reset(mode, true, true);
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_CET);
    vmwrite(F_G_CR0, vmread(F_G_CR0) | CR0_WP);
    vmwrite(F_G_S_CET, ENDBR_EN);
    vmwrite(F_EXCEPTION_BITMAP, 1u << VECTOR_CP);
}

/* Indirect branch tracking of L2. */
static void tracking(enum l2_mode mode)
{
    with_tracking(mode);
    (void)l2_go(s_cet_jump);
    check_eq(l2.reason, R_EXCEPTION, "track.exits");
    check_eq(vmread(F_INTR_ERROR), CP_ENDBRANCH, "track.error_code");
    check_eq(vmread(F_G_RIP), (uint64_t)e_cet_jump, "track.rip");
    check_eq(vmread(F_G_S_CET), ENDBR_EN | TRACKER, "track.still_waits");
}

/* Where an ENDBR64 is the call goes on, also when L2 leaves between the two, or is entered there. */
static void landing(enum l2_mode mode)
{
    with_tracking(mode);
    (void)l2_go(s_cet_land);
    (void)expect_done("land");
    check_eq(l2.g.rbx, 2, "land.both");
    check_eq(vmread(F_G_S_CET), ENDBR_EN, "land.waits_no_more");
    ctl_set(F_PROC, PROC_INT_WINDOW);
    (void)l2_go(s_cet_land);
    check_eq(l2.reason, R_INT_WINDOW, "land.window");
    check_eq(l2.g.rbx, 1, "land.window.between");
    check_eq(vmread(F_G_S_CET), ENDBR_EN | TRACKER, "land.window.waits");
    ctl_clear(F_PROC, PROC_INT_WINDOW);
    (void)l2_run();
    (void)expect_done("land.goes_on");
    check_eq(l2.g.rbx, 2, "land.goes_on.both");
    check_eq(vmread(F_G_S_CET), ENDBR_EN, "land.goes_on.waits_no_more");
    /* What L1 says of it counts. */
    vmwrite(F_G_S_CET, ENDBR_EN | TRACKER);
    (void)l2_go(s_cet_rdmsr);
    check_eq(l2.reason, R_EXCEPTION, "land.entered");
    check_eq(vmread(F_INTR_ERROR), CP_ENDBRANCH, "land.entered.error_code");
    check_eq(vmread(F_G_RIP), (uint64_t)s_cet_rdmsr, "land.entered.rip");
}

/* ---- and L1's, which an exit turns on ---- */

static uint64_t l1_top[512] __attribute__((aligned(4096)));
static uint64_t l1_pdpt[512] __attribute__((aligned(4096)));
static uint64_t l1_pd[512] __attribute__((aligned(4096)));
static uint64_t l1_pt[512] __attribute__((aligned(4096)));
static uint64_t l1_stack[512] __attribute__((aligned(4096)));
uint64_t cet_l1_saw[4];

#define L1_STACK (1ull << 39)
#define L1_STACK_TOP (L1_STACK + 0x800)

extern const char cet_landing[];
/* Runs with a shadow stack: a call, with exits to whoever is below L1 in its middle. Then it turns CET
 * off and goes where exits go without. */
__asm__(".text\n"
        "cet_landing:\n"
        "pushq %rax\npushq %rbx\npushq %rcx\npushq %rdx\n"
        "rdsspq %rax\nmovq %rax, cet_l1_saw(%rip)\n"
        "call 1f\n"
        "jmp 2f\n"
        "1: rdsspq %rax\nmovq %rax, cet_l1_saw+8(%rip)\n"
        "xorl %eax, %eax\nxorl %ecx, %ecx\ncpuid\n"
        "movl $0x4402, %eax\nvmread %rax, %rbx\nmovq %rbx, cet_l1_saw+16(%rip)\n"
        "ret\n"
        "2: rdsspq %rax\nmovq %rax, cet_l1_saw+24(%rip)\n"
        "movq %cr4, %rax\nbtrq $23, %rax\nmovq %rax, %cr4\n"
        "popq %rdx\npopq %rcx\npopq %rbx\npopq %rax\n"
        "jmp l2_exit_landing\n");

static void build_l1_tables(void)
{
    memcpy(l1_top, (const void *)rt_page_root(), 4096);
    l1_top[1] = (uint64_t)l1_pdpt | 3;
    l1_pdpt[0] = (uint64_t)l1_pd | 3;
    l1_pd[0] = (uint64_t)l1_pt | 3;
    l1_pt[0] = (uint64_t)l1_stack | PTE_SHADOW_STACK;
    memset(l1_stack, 0, sizeof(l1_stack));
}

static void l1_calls(enum l2_mode mode)
{
    uint64_t cr3 = rt_read_cr3();

    for (unsigned i = 0; i < 2; i++) {
        build_l1_tables();
        with_shadow_stack(mode);
        vmwrite(F_H_CR3, (uint64_t)l1_top);
        vmwrite(F_H_CR0, rt_read_cr0() | CR0_WP);
        vmwrite(F_H_CR4, rt_read_cr4() | CR4_CET);
        vmwrite(F_H_S_CET, SH_STK_EN);
        vmwrite(F_H_SSP, L1_STACK_TOP);
        vmwrite(F_H_RIP, (uint64_t)cet_landing);
        memset(cet_l1_saw, 0, sizeof(cet_l1_saw));
        (void)l2_go(s_cet_call);
        check_eq(l2.reason, R_CPUID, "l1_stack%u.reason", i);
        check_eq(cet_l1_saw[0], L1_STACK_TOP, "l1_stack%u.before", i);
        check_eq(cet_l1_saw[1], L1_STACK_TOP - 8, "l1_stack%u.in_the_callee", i);
        check_eq(cet_l1_saw[2], R_CPUID, "l1_stack%u.vmread", i);
        check_eq(cet_l1_saw[3], L1_STACK_TOP, "l1_stack%u.after", i);
        check(l1_stack[0x800 / 8 - 1] != 0, "l1_stack%u.return_address", i);
        check_eq(vmread(F_G_SSP), STACK_TOP - 8, "l1_stack%u.l2s", i);
        check_eq(rt_rdmsr(MSR_S_CET), SH_STK_EN, "l1_stack%u.s_cet", i);
        /* The next exit turns it on again. */
        (void)l2_skip_and_run();
        check_eq(l2.reason, R_VMCALL, "l1_stack%u.next_reason", i);
        check_eq(l2.g.rdx, STACK_TOP, "l1_stack%u.l2_after", i);
        check_eq(cet_l1_saw[3], L1_STACK_TOP, "l1_stack%u.after_again", i);
        set_l1(0, 0);
        rt_write_cr3(cr3);
    }
}

void test_cet(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    if (!has_cet())
        return;
    for (unsigned i = 0; i < 2; i++) {
        check_group("cet.%s", l2_mode_name(modes[i]));
        loads_and_saves(modes[i]);
        ssp_moves(modes[i]);
        nobody_loads(modes[i]);
        l2_calls(modes[i]);
        l2_returns_elsewhere(modes[i]);
        injection(modes[i]);
        tracking(modes[i]);
        landing(modes[i]);
        l1_calls(modes[i]);
    }
    check_group("cet");
    rules();
    failures();
    lists();
    writes_that_fault();
    violation_in_delivery();
    set_l1(0, 0);
}
