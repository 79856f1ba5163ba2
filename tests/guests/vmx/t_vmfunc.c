/* SPDX-License-Identifier: MIT */
/*
 * VM functions: EPTP switching over a full list, each entry a hierarchy of its own with another page
 * at L2_DATA, and the forms of VMFUNC that exit or fault. [SDM 3C "VM Functions"].
 */
#include "l2.h"
#include "tests.h"

#define ENTRIES 512u

/* Hierarchy i leads to pages[i] at L2_DATA and to L2's code everywhere. */
static struct {
    uint64_t top[512], pdpt[512], data_pd[512], data_pt[512];
} hierarchy[ENTRIES] __attribute__((aligned(4096)));
static uint64_t pages[ENTRIES][512] __attribute__((aligned(4096)));
static uint64_t list[ENTRIES] __attribute__((aligned(4096)));

/* RDI is L2_DATA. VMFUNC takes its operands in EAX and ECX. */
SNIPPET(vmfunc, "", "vmfunc", "movq (%rdi), %rdx");
/* R8 from 0 to R10: page R8 must hold RSI + R8; R9 collects what differs, RBX counts the reads. */
SNIPPET(round_robin,
        "1: xorl %eax, %eax\n movl %r8d, %ecx", "vmfunc",
        "movq (%rdi), %rdx\n subq %rsi, %rdx\n subq %r8, %rdx\n orq %rdx, %r9\n incq %rbx\n"
        "incq %r8\n cmpq %r10, %r8\n jb 1b");
/* Writes R8 to the page behind the entry, and reads it again after going away and coming back. */
SNIPPET(write_and_return, "", "vmfunc",
        "movq %r8, 8(%rdi)\n movl $1, %ecx\n vmfunc\n movq 8(%rdi), %r9\n xorl %ecx, %ecx\n"
        "vmfunc\n movq 8(%rdi), %r10");
/* Reads the page into R8 and exits, again and again; before that, VMFUNC to entry R10 if R9 asks for it. */
SNIPPET(read_and_leave,
        "1: testq %r9, %r9\n jz 2f\n xorl %r9d, %r9d\n xorl %eax, %eax\n movl %r10d, %ecx\n vmfunc\n"
        "2: movq (%rdi), %r8",
        "cpuid", "jmp 1b");

#define PAGE_VALUE 0x50000ull

static void build(void)
{
    for (uint64_t i = 0; i < ENTRIES; i++) {
        memset(&hierarchy[i], 0, sizeof(hierarchy[i]));
        hierarchy[i].top[0] = (uint64_t)hierarchy[i].pdpt | EPT_RWX;
        hierarchy[i].pdpt[0] = (uint64_t)l2_ept.low | EPT_RWX;
        hierarchy[i].pdpt[1] = (uint64_t)hierarchy[i].data_pd | EPT_RWX;
        hierarchy[i].data_pd[0] = (uint64_t)hierarchy[i].data_pt | EPT_RWX;
        hierarchy[i].data_pt[0] = (uint64_t)pages[i] | EPT_RWX | EPT_WB;
        memset(pages[i], 0, sizeof(pages[i]));
        pages[i][0] = PAGE_VALUE + i;
        list[i] = (uint64_t)hierarchy[i].top | EPTP_WALK4 | EPTP_WB;
    }
}

/* L2 on entry 0 of a list that works. */
static void reset(void)
{
    l2_reset(L2_EPT);
    build();
    ctl_set(F_PROC2, PROC2_VMFUNC);
    vmwrite(F_VMFUNC_CONTROLS, 1);
    vmwrite(F_EPTP_LIST, (uint64_t)list);
    vmwrite(F_EPTP, list[0]);
    flush_everything();
}

static void run(const char *code, uint64_t function, uint64_t index)
{
    l2_start(code);
    l2.g.rax = function;
    l2.g.rcx = index;
    l2.g.rdi = L2_DATA;
    (void)l2_run();
}

static void expect_switch(const char *name, uint64_t index)
{
    if (!expect_done(name))
        return;
    check_eq(l2.g.rdx, PAGE_VALUE + index, "%s.memory", name);
    check(vmread(F_EPTP) == list[index], "%s.eptp", name);
}

static void switching(void)
{
    reset();
    run(s_vmfunc, 0, 0);
    expect_switch("same", 0);
    run(s_vmfunc, 0, 1);
    expect_switch("next", 1);
    run(s_vmfunc, 0, 511);
    expect_switch("last", 511);
    run(s_vmfunc, 1ull << 32, 5ull << 32 | 2);
    expect_switch("upper_halves", 2);
    /* The list is read at each switch. */
    list[2] = list[7];
    run(s_vmfunc, 0, 2);
    if (expect_done("list_changed"))
        check_eq(l2.g.rdx, PAGE_VALUE + 7, "list_changed.memory");
    /* Entered again, L2 is where the last switch left it. */
    run(s_vmfunc, 0, 9);
    l2_start(s_vmfunc);
    l2.g.rcx = 9;
    l2.g.rdi = L2_DATA;
    (void)l2_run();
    expect_switch("entered_again", 9);
}

/* The entries that follow a switch, also where the ones before it were alike and went on as they were:
 * what nvirt knows of those is of another root. L1 looks at the EPTP just before the next switch only. */
static void later_entries(void)
{
    uint64_t index = 0;

    reset();
    l2_start(s_read_and_leave);
    l2.g.rdi = L2_DATA;
    (void)l2_run();
    for (unsigned i = 0; i < 20; i++) {
        check_eq(l2.reason, R_CPUID, "later%u", i);
        check_eq(l2.g.r8, PAGE_VALUE + index, "later%u.memory", i);
        if (i % 5 == 4) {
            check(vmread(F_EPTP) == list[index], "later%u.eptp", i);
            index = i % 10 == 4 ? i : 0;
            l2.g.r9 = 1;
            l2.g.r10 = index;
        }
        (void)l2_skip_and_run();
    }
}

static void registers_and_flags(void)
{
    reset();
    l2_start(s_vmfunc);
    l2.g.rcx = 3;
    l2.g.rdi = L2_DATA;
    l2.g.rbx = 0x1122334455667788ull;
    vmwrite(F_G_RFLAGS, 0x8d7); /* OF, SF, ZF, AF, PF, CF */
    (void)l2_run();
    expect_switch("registers", 3);
    check_eq(l2.g.rax, 0, "registers.rax");
    check_eq(l2.g.rcx, 3, "registers.rcx");
    check_eq(l2.g.rbx, 0x1122334455667788ull, "registers.rbx");
    check_eq(vmread(F_G_RFLAGS), 0x8d7, "registers.rflags");
}

static void full_list(void)
{
    reset();
    for (unsigned round = 0; round < 3; round++) {
        l2_start(s_round_robin);
        l2.g.rdi = L2_DATA;
        l2.g.rsi = PAGE_VALUE;
        l2.g.r10 = ENTRIES;
        (void)l2_run();
        if (!expect_done("round_robin"))
            return;
        check_eq(l2.g.r9, 0, "round_robin.%u.memory", round);
        check_eq(l2.g.rbx, ENTRIES, "round_robin.%u.switches", round);
    }
    l2_start(s_write_and_return);
    l2.g.rdi = L2_DATA;
    l2.g.r8 = 0xabcdef;
    (void)l2_run();
    expect_done("write");
    check_eq(l2.g.r9, 0, "write.elsewhere");
    check_eq(l2.g.r10, 0xabcdef, "write.back");
    check_eq(pages[0][1], 0xabcdef, "write.in_memory");
}

static void expect_vmfunc_exit(const char *name)
{
    expect_exit(name, &(struct expect){R_VMFUNC, 0, 3, (uint64_t)i_vmfunc});
    check(vmread(F_EPTP) == list[0], "%s.eptp", name);
}

static void exits(void)
{
    static const struct {
        const char *name;
        uint64_t eptp;
    } bad[] = {
        {"reserved", EPTP_WALK4 | EPTP_WB | 1 << 8},
        {"walk", EPTP_WB},
        {"memory_type", EPTP_WALK4 | 1},
        {"width", EPTP_WALK4 | EPTP_WB | 1ull << 60},
    };

    reset();
    run(s_vmfunc, 0, 512);
    expect_vmfunc_exit("index_512");
    run(s_vmfunc, 0, 0xffffffff);
    expect_vmfunc_exit("index_max");
    run(s_vmfunc, 1, 0);
    expect_vmfunc_exit("function_1");
    run(s_vmfunc, 63, 0);
    expect_vmfunc_exit("function_63");
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        list[1] = (uint64_t)hierarchy[1].top | bad[i].eptp;
        run(s_vmfunc, 0, 1);
        expect_vmfunc_exit(bad[i].name);
    }
    reset();
    vmwrite(F_VMFUNC_CONTROLS, 0);
    run(s_vmfunc, 0, 1);
    expect_vmfunc_exit("not_on");
}

static void faults(void)
{
    reset();
    run(s_vmfunc, 64, 0);
    check_eq((uint64_t)l2_handler_vector(), 6, "function_64");
    reset();
    ctl_clear(F_PROC2, PROC2_VMFUNC);
    run(s_vmfunc, 0, 1);
    check_eq((uint64_t)l2_handler_vector(), 6, "not_enabled");
}

/* Without VPID the combined mappings of VPID 0 go with each switch; with one, each EPTP has its own. */
static void tags(void)
{
    reset();
    ctl_clear(F_PROC2, PROC2_VPID);
    for (unsigned round = 0; round < 2; round++) {
        l2_start(s_round_robin);
        l2.g.rdi = L2_DATA;
        l2.g.rsi = PAGE_VALUE;
        l2.g.r10 = 20;
        (void)l2_run();
        expect_done("without_vpid");
        check_eq(l2.g.r9, 0, "without_vpid.%u.memory", round);
    }
    /* A change in a hierarchy that L2 is not on, and INVEPT of that. */
    reset();
    run(s_vmfunc, 0, 1);
    run(s_vmfunc, 0, 0);
    hierarchy[1].data_pt[0] = (uint64_t)pages[8] | EPT_RWX | EPT_WB;
    (void)invept(1, &(const struct inv_desc){list[1], 0});
    run(s_vmfunc, 0, 1);
    if (expect_done("invept_elsewhere"))
        check_eq(l2.g.rdx, PAGE_VALUE + 8, "invept_elsewhere.memory");
}

void test_vmfunc(void)
{
    if (!ctl_can(F_PROC2, PROC2_VMFUNC))
        return;
    check_eq(rt_rdmsr(MSR_VMX_VMFUNC), 1, "vmfunc.functions");
    check_group("vmfunc");
    switching();
    later_entries();
    registers_and_flags();
    full_list();
    exits();
    faults();
    tags();
}
