/* SPDX-License-Identifier: MIT */
/*
 * One row per instruction that can leave L2: with its control set the exit has the right reason,
 * qualification, length and RIP, and L2 goes on after it; with the control clear (where that is a
 * choice and the instruction is harmless) L2 does not exit at all.
 * [SDM 3C "Instructions That Cause VM Exits"], [SDM 3C "Exit Qualification"].
 */
#include "l2.h"
#include "tests.h"

SNIPPET(none, "", "", "");
SNIPPET(cpuid, "movl $0, %eax", "cpuid", "");
SNIPPET(hlt, "", "hlt", "");
SNIPPET(invd, "", "invd", "");
SNIPPET(invlpg, "movl $0x40001000, %ebx", "invlpg (%rbx)", "");
SNIPPET(invlpg_disp, "movl $0x40001000, %ebx", "invlpg 0x234(%rbx)", "");
SNIPPET(rdpmc, "xorl %ecx, %ecx", "rdpmc", "");
SNIPPET(rdtsc, "", "rdtsc", "");
SNIPPET(rdtscp, "", "rdtscp", "");
SNIPPET(vmcall, "", "vmcall", "");
SNIPPET(vmclear, "movl $0x40000000, %eax", "vmclear 8(%rax)", "");
SNIPPET(vmlaunch, "", "vmlaunch", "");
SNIPPET(vmptrld, "movl $0x40000000, %eax", "vmptrld -8(%rax)", "");
SNIPPET(vmptrst, "movl $0x40000000, %eax", "vmptrst (%rax)", "");
SNIPPET(vmread, "", "vmread %rax, %rbx", "");
SNIPPET(vmread_mem, "movl $0x40000000, %ecx", "vmread %rdx, 0x10(%rcx)", "");
SNIPPET(vmresume, "", "vmresume", "");
SNIPPET(vmwrite, "", "vmwrite %r9, %r10", "");
SNIPPET(vmxoff, "", "vmxoff", "");
SNIPPET(vmxon, "movl $0x40000000, %eax", "vmxon 0x20(%rax)", "");
SNIPPET(invept, "movl $0x40000000, %eax", "invept 0x30(%rax), %rdx", "");
SNIPPET(invvpid, "movl $0x40000000, %eax", "invvpid 0x40(%rax), %r11", "");
SNIPPET(invpcid, "movl $0x40000000, %eax\nmovl $2, %ecx", "invpcid 0x50(%rax), %rcx", "");
SNIPPET(rdmsr_low, "movl $0x10, %ecx", "rdmsr", "");
SNIPPET(mwait, "xorl %eax, %eax\nxorl %ecx, %ecx", "mwait", "");
SNIPPET(monitor, "movl $0x40000000, %eax\nxorl %ecx, %ecx\nxorl %edx, %edx", "monitor", "");
SNIPPET(pause, "", "pause", "");
SNIPPET(wbinvd, "", "wbinvd", "");
SNIPPET(xsetbv, "xorl %ecx, %ecx\nmovl $1, %eax\nxorl %edx, %edx", "xsetbv", "");
SNIPPET(rdrand, "", "rdrand %rbx", "");
SNIPPET(rdseed, "", "rdseed %r12", "");
SNIPPET(sgdt, "movl $0x40000000, %eax", "sgdt (%rax)", "");
SNIPPET(sidt, "movl $0x40000000, %eax", "sidt 8(%rax)", "");
SNIPPET(lidt, "movl $0x40000000, %eax", "lidt 16(%rax)", "");
SNIPPET(lgdt, "movl $0x40000000, %eax", "lgdt (%rax)", "");
SNIPPET(sldt, "", "sldt %eax", "");
SNIPPET(str, "", "str %edx", "");
SNIPPET(lldt, "xorl %eax, %eax", "lldt %ax", "");
SNIPPET(ltr, "movl $0x40, %eax", "ltr %ax", "");
SNIPPET(mov_to_dr7, "movl $0x400, %eax", "movq %rax, %dr7", "");
SNIPPET(mov_from_dr6, "", "movq %dr6, %r14", "");
SNIPPET(mov_to_cr3, "movq %cr3, %rax", "movq %rax, %cr3", "");
SNIPPET(mov_from_cr3, "", "movq %cr3, %r13", "");
SNIPPET(mov_to_cr8, "xorl %eax, %eax", "movq %rax, %cr8", "");
SNIPPET(mov_from_cr8, "", "movq %cr8, %rbp", "");
SNIPPET(out_imm, "xorl %eax, %eax", "outb %al, $0x80", "");

/* Where the control of a row is. */
enum where { ALWAYS, PROC, PROC2 };

#define OFF_RUNS 1u /* with the control clear L2 runs to its end */

struct row {
    const char *name, *start, *insn, *end;
    enum where where;
    uint32_t control;
    uint32_t reason;
    uint64_t qualification;
    unsigned flags;
};

#define X(name, where, control, reason, qualification, flags)                                      \
    {#name, s_##name, i_##name, e_##name, where, control, reason, qualification, flags}

static const struct row rows[] = {
    X(cpuid, ALWAYS, 0, R_CPUID, 0, 0),
    X(hlt, PROC, PROC_HLT, R_HLT, 0, 0),
    X(invd, ALWAYS, 0, R_INVD, 0, 0),
    X(invlpg, PROC, PROC_INVLPG, R_INVLPG, 0x40001000, OFF_RUNS),
    X(invlpg_disp, PROC, PROC_INVLPG, R_INVLPG, 0x40001234, OFF_RUNS),
    X(rdpmc, PROC, PROC_RDPMC, R_RDPMC, 0, 0),
    X(rdtsc, PROC, PROC_RDTSC, R_RDTSC, 0, OFF_RUNS),
    X(rdtscp, PROC, PROC_RDTSC, R_RDTSCP, 0, OFF_RUNS),
    X(vmcall, ALWAYS, 0, R_VMCALL, 0, 0),
    X(vmclear, ALWAYS, 0, R_VMCLEAR, 8, 0),
    X(vmlaunch, ALWAYS, 0, R_VMLAUNCH, 0, 0),
    X(vmptrld, ALWAYS, 0, R_VMPTRLD, (uint64_t)-8, 0),
    X(vmptrst, ALWAYS, 0, R_VMPTRST, 0, 0),
    X(vmread, ALWAYS, 0, R_VMREAD, ANY, 0), /* register operands: see differences.md */
    X(vmread_mem, ALWAYS, 0, R_VMREAD, 0x10, 0),
    X(vmresume, ALWAYS, 0, R_VMRESUME, 0, 0),
    X(vmwrite, ALWAYS, 0, R_VMWRITE, ANY, 0),
    X(vmxoff, ALWAYS, 0, R_VMXOFF, 0, 0),
    X(vmxon, ALWAYS, 0, R_VMXON, 0x20, 0),
    X(invept, ALWAYS, 0, R_INVEPT, 0x30, 0),
    X(invvpid, ALWAYS, 0, R_INVVPID, 0x40, 0),
    X(invpcid, PROC, PROC_INVLPG, R_INVPCID, 0x50, OFF_RUNS),
    X(mwait, PROC, PROC_MWAIT, R_MWAIT, ANY, 0),
    X(monitor, PROC, PROC_MONITOR, R_MONITOR, 0, OFF_RUNS),
    X(pause, PROC, PROC_PAUSE, R_PAUSE, 0, OFF_RUNS),
    X(wbinvd, PROC2, PROC2_WBINVD, R_WBINVD, 0, OFF_RUNS),
    X(rdrand, PROC2, PROC2_RDRAND, R_RDRAND, 0, OFF_RUNS),
    X(rdseed, PROC2, PROC2_RDSEED, R_RDSEED, 0, OFF_RUNS),
    X(sgdt, PROC2, PROC2_DESC_TABLE, R_GDTR_IDTR, 0, OFF_RUNS),
    X(sidt, PROC2, PROC2_DESC_TABLE, R_GDTR_IDTR, 8, OFF_RUNS),
    X(lidt, PROC2, PROC2_DESC_TABLE, R_GDTR_IDTR, 16, OFF_RUNS),
    X(lgdt, PROC2, PROC2_DESC_TABLE, R_GDTR_IDTR, 0, OFF_RUNS),
    X(sldt, PROC2, PROC2_DESC_TABLE, R_LDTR_TR, ANY, OFF_RUNS),
    X(str, PROC2, PROC2_DESC_TABLE, R_LDTR_TR, ANY, OFF_RUNS),
    X(lldt, PROC2, PROC2_DESC_TABLE, R_LDTR_TR, ANY, OFF_RUNS),
    X(ltr, PROC2, PROC2_DESC_TABLE, R_LDTR_TR, ANY, 0),
    X(mov_to_dr7, PROC, PROC_MOV_DR, R_MOV_DR, 7, OFF_RUNS),
    X(mov_from_dr6, PROC, PROC_MOV_DR, R_MOV_DR, 6 | 0x10 | (14 << 8), OFF_RUNS),
    X(mov_to_cr3, PROC, PROC_CR3_LOAD, R_CR, 3, OFF_RUNS),
    X(mov_from_cr3, PROC, PROC_CR3_STORE, R_CR, 3 | 0x10 | (13 << 8), OFF_RUNS),
    X(mov_to_cr8, PROC, PROC_CR8_LOAD, R_CR, 8, OFF_RUNS),
    X(mov_from_cr8, PROC, PROC_CR8_STORE, R_CR, 8 | 0x10 | (5 << 8), OFF_RUNS),
    X(out_imm, PROC, PROC_IO, R_IO, (0x80u << 16) | 0x40, OFF_RUNS),
};

static void set_control(const struct row *r, bool on)
{
    uint32_t field = r->where == PROC ? F_PROC : F_PROC2;

    if (r->where == ALWAYS)
        return;
    if (on)
        ctl_set(field, r->control);
    else
        ctl_clear(field, r->control);
}

/* Operands of LGDT and LIDT, at the start of L2's data. */
static void descriptor_operands(void)
{
    const struct rt_dtr gdtr = {sizeof(l2_gdt) - 1, (uint64_t)l2_gdt};
    const struct rt_dtr idtr = {sizeof(l2_idt) - 1, (uint64_t)l2_idt};

    memcpy(&l2_data[0][0], &gdtr, sizeof(gdtr));
    memcpy(&l2_data[0][16], &idtr, sizeof(idtr));
}

static void run_row(const struct row *r, enum l2_mode mode)
{
    struct expect e = {r->reason, r->qualification, (uint64_t)(r->end - r->insn),
                       (uint64_t)r->insn};
    char name[32];

    if (r->reason == R_INVPCID && !ctl_can(F_PROC2, PROC2_INVPCID))
        return;
    if (r->where != ALWAYS && !ctl_can(r->where == PROC ? F_PROC : F_PROC2, r->control))
        return;
    l2_reset(mode);
    descriptor_operands();
    set_control(r, true);
    (void)l2_go(r->start);
    if (!expect_exit(r->name, &e))
        return;
    (void)l2_skip_and_run();
    rt_snprintf(name, sizeof(name), "%s.goes_on", r->name);
    (void)expect_exit(name, &(struct expect){R_VMCALL, 0, 3, (uint64_t)r->end});
    if ((r->flags & OFF_RUNS) != 0) {
        l2_reset(mode);
        descriptor_operands();
        set_control(r, false);
        (void)l2_go(r->start);
        rt_snprintf(name, sizeof(name), "%s.control_clear", r->name);
        (void)expect_exit(name, &(struct expect){R_VMCALL, 0, 3, (uint64_t)r->end});
    }
}

/* XSETBV exits always, once CR4.OSXSAVE lets it execute. */
static void xsetbv(enum l2_mode mode)
{
    if ((rt_cpuid(1, 0).ecx & (1u << 26)) == 0)
        return;
    l2_reset(mode);
    (void)l2_go(s_xsetbv);
    check_eq((uint64_t)l2_handler_vector(), 6, "xsetbv_without_osxsave");
    l2_reset(mode);
    vmwrite(F_G_CR4, vmread(F_G_CR4) | CR4_OSXSAVE);
    (void)l2_go(s_xsetbv);
    (void)expect_exit("xsetbv", &(struct expect){R_XSETBV, 0, 3, (uint64_t)i_xsetbv});
}

/* Instructions that a control lets exist at all: #UD while it is clear. */
static void enabled_by_control(enum l2_mode mode)
{
    l2_reset(mode);
    ctl_clear(F_PROC2, PROC2_RDTSCP);
    (void)l2_go(s_rdtscp);
    check_eq((uint64_t)l2_handler_vector(), 6, "rdtscp_disabled");
    l2_reset(mode);
    ctl_set(F_PROC, PROC_RDTSC);
    ctl_clear(F_PROC2, PROC2_RDTSCP);
    (void)l2_go(s_rdtscp);
    check_eq((uint64_t)l2_handler_vector(), 6, "rdtscp_disabled_before_exiting");
    l2_reset(mode);
    ctl_clear(F_PROC2, PROC2_INVPCID);
    (void)l2_go(s_invpcid);
    check_eq((uint64_t)l2_handler_vector(), 6, "invpcid_disabled");
}

SNIPPET(gprs, "", "notq %rax\nnotq %rcx\nnotq %rdx\nnotq %rbx\nnotq %rbp\nnotq %rsi\nnotq %rdi\n"
        "notq %r8\nnotq %r9\nnotq %r10\nnotq %r11\nnotq %r12\nnotq %r13\nnotq %r14\nnotq %r15", "");

static void general_registers(enum l2_mode mode)
{
    uint64_t *g = &l2.g.rax;
    bool ok = true;

    l2_reset(mode);
    l2_start(s_gprs);
    for (uint64_t i = 0; i < 15; i++)
        g[i] = 0x0123456789abcdefull * (i + 1);
    (void)l2_run();
    for (uint64_t i = 0; i < 15; i++)
        ok = ok && g[i] == ~(0x0123456789abcdefull * (i + 1));
    check(ok && l2.reason == R_VMCALL, "general_registers");
}

SNIPPET(flags, "pushq $0xcd7\npopfq", "nop", "");

static void saved_state(enum l2_mode mode)
{
    l2_reset(mode);
    (void)l2_go(s_flags);
    check_eq(vmread(F_G_RFLAGS), 0xcd7, "rflags_saved");
    check_eq(vmread(F_G_RSP), l2_stack_top(), "rsp_saved");
    check_eq(vmread(F_G_RIP), (uint64_t)e_flags, "rip_saved");
    check_eq(vmread(F_G_ACTIVITY), 0, "activity_saved");
    check_eq(vmread(F_G_INTERRUPTIBILITY), 0, "interruptibility_saved");
    check_eq(vmread(F_INTR) & INTR_VALID, 0, "no_interruption_information");
    check_eq(vmread(F_IDTV) & INTR_VALID, 0, "no_idt_vectoring_information");
}

SNIPPET(tsc, "rdtsc\nshlq $32, %rdx\norq %rdx, %rax\nmovq %rax, %r8", "rdtscp",
        "shlq $32, %rdx\norq %rdx, %rax\nmovq %rax, %r9");

static void tsc_offset(enum l2_mode mode)
{
    const uint64_t offset = 1ull << 44, slack = 1ull << 36;
    uint64_t before;

    l2_reset(mode);
    ctl_set(F_PROC, PROC_TSC_OFFSET);
    vmwrite(F_TSC_OFFSET, offset);
    before = rt_rdtsc();
    (void)l2_go(s_tsc);
    check(l2.g.r8 - before - offset < slack, "tsc_offset.rdtsc");
    check(l2.g.r9 - before - offset < slack, "tsc_offset.rdtscp");
    l2_reset(mode);
    vmwrite(F_TSC_OFFSET, offset);
    before = rt_rdtsc();
    (void)l2_go(s_tsc);
    check(l2.g.r8 - before < slack, "tsc_offset.unused");
}

/* L2 reads between what L1 reads before and after, both as the multiplier and the offset make them. */
static void tsc_is_within(uint64_t before, uint64_t after, const char *name)
{
    check(l2.g.r8 >= before && l2.g.r8 <= after, "tsc_scaling.%s.rdtsc", name);
    check(l2.g.r9 >= before && l2.g.r9 <= after, "tsc_scaling.%s.rdtscp", name);
}

static void tsc_scaling(enum l2_mode mode)
{
    const uint64_t offset = 1ull << 60;
    const unsigned factor = 14; /* As a power of two: far beyond what the run takes. */
    uint64_t before;

    if (!ctl_can(F_PROC2, PROC2_TSC_SCALING))
        return;
    l2_reset(mode);
    ctl_set(F_PROC, PROC_TSC_OFFSET | PROC_SECONDARY);
    ctl_set(F_PROC2, PROC2_TSC_SCALING);
    vmwrite(F_TSC_MULTIPLIER, 1ull << (48 + factor));
    vmwrite(F_TSC_OFFSET, offset);
    before = rt_rdtsc();
    (void)l2_go(s_tsc);
    tsc_is_within((before << factor) + offset, (rt_rdtsc() << factor) + offset, "both");
    vmwrite(F_TSC_OFFSET, 0);
    vmwrite(F_TSC_MULTIPLIER, 3ull << (47 + factor));
    before = rt_rdtsc();
    (void)l2_go(s_tsc);
    tsc_is_within((before << factor) / 2 * 3, (rt_rdtsc() << factor) / 2 * 3, "fraction");
    /* Without offsetting there is no scaling. */
    l2_reset(mode);
    ctl_set(F_PROC, PROC_SECONDARY);
    ctl_set(F_PROC2, PROC2_TSC_SCALING);
    vmwrite(F_TSC_MULTIPLIER, 1ull << (48 + factor));
    before = rt_rdtsc();
    (void)l2_go(s_tsc);
    tsc_is_within(before, rt_rdtsc(), "without_offset");
}

void test_exits(void)
{
    static const enum l2_mode modes[] = {L2_EPT, L2_PLAIN};

    for (unsigned m = 0; m < 2; m++) {
        check_group("%s", l2_mode_name(modes[m]));
        l2_reset(modes[m]);
        (void)l2_go(s_none);
        if (!expect_exit("first_entry", &(struct expect){R_VMCALL, 0, 3, (uint64_t)s_none}))
            check_eq(vmread(F_INSN_ERROR), 0, "first_entry_error");
        general_registers(modes[m]);
        saved_state(modes[m]);
        for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            run_row(&rows[i], modes[m]);
        xsetbv(modes[m]);
        enabled_by_control(modes[m]);
        tsc_offset(modes[m]);
        tsc_scaling(modes[m]);
    }
}
