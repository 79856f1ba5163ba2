/* SPDX-License-Identifier: MIT */
/*
 * The VM-exit instruction-information field of each instruction that has one, for different operand
 * forms, and the exit qualification (the displacement) beside it.
 * [SDM 3C "Information for VM Exits Due to Instruction Execution"].
 */
#include "l2.h"
#include "tests.h"

/* Parts of the field. */
#define SCALE(log2) (log2)
#define REG1(r) ((uint32_t)(r) << 3)
#define A32 (1u << 7)
#define A64 (2u << 7)
#define IS_REG (1u << 10)
#define SEG(s) ((uint32_t)(s) << 15)
#define INDEX(r) ((uint32_t)(r) << 18)
#define NO_INDEX (1u << 22)
#define BASE(r) ((uint32_t)(r) << 23)
#define NO_BASE (1u << 27)
#define REG2(r) ((uint32_t)(r) << 28)
#define IDENT(i) ((uint32_t)(i) << 28)

/* What is defined of a memory operand with an index, without one, and without a base. */
#define M_MEM (A32 | A64 | (4u << 7) | IS_REG | SEG(7) | NO_INDEX | NO_BASE)
#define M_BASE (M_MEM | BASE(15))
#define M_INDEX (M_BASE | SCALE(3) | INDEX(15))
#define M_INDEX_ONLY (M_MEM | SCALE(3) | INDEX(15))
#define M_REG2 REG2(15)
#define M_REG_REG (REG1(15) | IS_REG | REG2(15))
#define M_IDENT2 IDENT(3)

SNIPPET(i_vmptrld_base, "", "vmptrld (%rbx)", "");
SNIPPET(i_vmptrld_r13_disp, "", "vmptrld 0x11223344(%r13)", "");
SNIPPET(i_vmclear_sib, "", "vmclear 0x10(%rsi,%r9,4)", "");
SNIPPET(i_vmclear_index_only, "", "vmclear 0x40000000(,%rax,8)", "");
SNIPPET(i_vmptrst_abs, "", "vmptrst 0x40000040", "");
SNIPPET(i_vmptrst_rip, "", "vmptrst l2_info_cell(%rip)", "");
SNIPPET(i_vmxon_fs, "", "vmxon %fs:8(%rcx)", "");
SNIPPET(i_vmptrld_gs, "", "vmptrld %gs:(%rdx,%rcx,2)", "");
SNIPPET(i_vmptrld_a32, "", "vmptrld -4(%ecx)", "");
SNIPPET(i_vmptrld_rsp, "", "vmptrld 8(%rsp)", "");
SNIPPET(i_vmread_reg, "", "vmread %r11, %r12", "");
SNIPPET(i_vmread_rax_rcx, "", "vmread %rcx, %rax", "");
SNIPPET(i_vmread_mem, "", "vmread %r10, 8(%rdi)", "");
SNIPPET(i_vmwrite_reg, "", "vmwrite %r8, %r15", "");
SNIPPET(i_vmwrite_mem, "", "vmwrite -8(%rdx), %rbp", "");
SNIPPET(i_invept, "", "invept 0x20(%rax), %r14", "");
SNIPPET(i_invvpid, "", "invvpid (%rcx,%rdx), %rsi", "");
SNIPPET(i_invpcid, "", "invpcid 4(%r8), %r9", "");
SNIPPET(i_sgdt, "", "sgdt 8(%rbx)", "");
SNIPPET(i_sidt, "", "sidt (%rbx,%rcx,2)", "");
SNIPPET(i_lgdt, "", "lgdt 16(%rax)", "");
SNIPPET(i_lidt, "", "lidt (%r12)", "");
SNIPPET(i_sldt_mem, "", "sldt (%rdi)", "");
SNIPPET(i_str_reg, "", "str %edx", "");
SNIPPET(i_lldt_reg, "", "lldt %r9w", "");
SNIPPET(i_ltr_mem, "", "ltr 2(%rsi)", "");
SNIPPET(i_rdrand16, "", "rdrand %ax", "");
SNIPPET(i_rdrand32, "", "rdrand %r13d", "");
SNIPPET(i_rdrand64, "", "rdrand %rsi", "");
SNIPPET(i_rdseed32, "", "rdseed %ebx", "");
SNIPPET(i_rdseed64, "", "rdseed %r15", "");

extern uint64_t l2_info_cell;
__asm__(".data\n.balign 8\nl2_info_cell: .quad 0\n.text\n");

#define RIP_RELATIVE (ANY - 1)

struct row {
    const char *name, *start, *end;
    uint32_t reason, info, mask;
    uint64_t qualification;
};

#define X(name, reason, info, mask, qual) {#name, s_i_##name, e_i_##name, reason, info, mask, qual}
#define MEM(base) (A64 | SEG(3) | NO_INDEX | BASE(base))
static const struct row rows[] = {
    X(vmptrld_base, R_VMPTRLD, MEM(3), M_BASE, 0),
    X(vmptrld_r13_disp, R_VMPTRLD, MEM(13), M_BASE, 0x11223344),
    X(vmclear_sib, R_VMCLEAR, SCALE(2) | A64 | SEG(3) | INDEX(9) | BASE(6), M_INDEX, 0x10),
    X(vmclear_index_only, R_VMCLEAR, SCALE(3) | A64 | SEG(3) | INDEX(0) | NO_BASE, M_INDEX_ONLY,
      0x40000000),
    X(vmptrst_abs, R_VMPTRST, A64 | SEG(3) | NO_INDEX | NO_BASE, M_MEM, 0x40000040),
    X(vmptrst_rip, R_VMPTRST, A64 | SEG(3) | NO_INDEX | NO_BASE, M_MEM, RIP_RELATIVE),
    X(vmxon_fs, R_VMXON, A64 | SEG(4) | NO_INDEX | BASE(1), M_BASE, 8),
    X(vmptrld_gs, R_VMPTRLD, SCALE(1) | A64 | SEG(5) | INDEX(1) | BASE(2), M_INDEX, 0),
    X(vmptrld_a32, R_VMPTRLD, A32 | SEG(3) | NO_INDEX | BASE(1), M_BASE, ANY),
    X(vmptrld_rsp, R_VMPTRLD, A64 | SEG(2) | NO_INDEX | BASE(4), M_BASE, 8),
    X(vmread_reg, R_VMREAD, REG1(12) | IS_REG | REG2(11), M_REG_REG, ANY),
    X(vmread_rax_rcx, R_VMREAD, REG1(0) | IS_REG | REG2(1), M_REG_REG, ANY),
    X(vmread_mem, R_VMREAD, MEM(7) | REG2(10), M_BASE | M_REG2, 8),
    X(vmwrite_reg, R_VMWRITE, REG1(8) | IS_REG | REG2(15), M_REG_REG, ANY),
    X(vmwrite_mem, R_VMWRITE, MEM(2) | REG2(5), M_BASE | M_REG2, (uint64_t)-8),
    X(invept, R_INVEPT, MEM(0) | REG2(14), M_BASE | M_REG2, 0x20),
    X(invvpid, R_INVVPID, A64 | SEG(3) | INDEX(2) | BASE(1) | REG2(6), M_INDEX | M_REG2, 0),
    X(invpcid, R_INVPCID, MEM(8) | REG2(9), M_BASE | M_REG2, 4),
    X(sgdt, R_GDTR_IDTR, MEM(3) | IDENT(0), M_BASE | M_IDENT2, 8),
    X(sidt, R_GDTR_IDTR, SCALE(1) | A64 | SEG(3) | INDEX(1) | BASE(3) | IDENT(1),
      M_INDEX | M_IDENT2, 0),
    X(lgdt, R_GDTR_IDTR, MEM(0) | IDENT(2), M_BASE | M_IDENT2, 16),
    X(lidt, R_GDTR_IDTR, MEM(12) | IDENT(3), M_BASE | M_IDENT2, 0),
    X(sldt_mem, R_LDTR_TR, MEM(7) | IDENT(0), M_BASE | M_IDENT2, 0),
    X(str_reg, R_LDTR_TR, REG1(2) | IS_REG | IDENT(1), REG1(15) | IS_REG | M_IDENT2, ANY),
    X(lldt_reg, R_LDTR_TR, REG1(9) | IS_REG | IDENT(2), REG1(15) | IS_REG | M_IDENT2, ANY),
    X(ltr_mem, R_LDTR_TR, MEM(6) | IDENT(3), M_BASE | M_IDENT2, 2),
    X(rdrand16, R_RDRAND, REG1(0), REG1(15) | (2u << 11), 0), /* see differences.md */
    X(rdrand32, R_RDRAND, REG1(13) | (1u << 11), REG1(15) | (3u << 11), 0),
    X(rdrand64, R_RDRAND, REG1(6) | (2u << 11), REG1(15) | (3u << 11), 0),
    X(rdseed32, R_RDSEED, REG1(3) | (1u << 11), REG1(15) | (3u << 11), 0),
    X(rdseed64, R_RDSEED, REG1(15) | (2u << 11), REG1(15) | (3u << 11), 0),
};

/* The secondary control that an exit needs; 0: none. */
static uint32_t control_of(uint32_t reason)
{
    switch (reason) {
    case R_GDTR_IDTR:
    case R_LDTR_TR:
        return PROC2_DESC_TABLE;
    case R_RDRAND:
        return PROC2_RDRAND;
    case R_RDSEED:
        return PROC2_RDSEED;
    case R_INVPCID:
        return PROC2_INVPCID;
    default:
        return 0;
    }
}

static void run_row(const struct row *r)
{
    uint64_t qualification = r->qualification;
    uint32_t proc2 = control_of(r->reason);
    char name[48];

    if (!ctl_can(F_PROC2, proc2))
        return;
    l2_reset(L2_EPT);
    ctl_set(F_PROC, PROC_INVLPG);
    ctl_set(F_PROC2, proc2);
    l2_start(r->start);
    /* Every address a row can form lies in L2's memory. */
    l2.g.rax = l2.g.rbx = l2.g.rcx = l2.g.rdi = l2.g.rsi = l2.g.r8 = l2.g.r12 = L2_DATA + 0x100;
    l2.g.rdx = L2_DATA + 0x100;
    (void)l2_run();
    /* Rows with register operands leave the qualification open, see differences.md. */
    /* RIP-relative: the qualification holds the sum of displacement and next RIP. */
    if (qualification == RIP_RELATIVE)
        qualification = (uint64_t)&l2_info_cell;
    (void)expect_exit(r->name, &(struct expect){r->reason, qualification,
                                                (uint64_t)(r->end - r->start), (uint64_t)r->start});
    rt_snprintf(name, sizeof(name), "%s.fields", r->name);
    check_eq(vmread(F_INSN_INFO) & r->mask, r->info, "%s", name);
}

void test_insn_info(void)
{
    check_group("info");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        run_row(&rows[i]);
}
