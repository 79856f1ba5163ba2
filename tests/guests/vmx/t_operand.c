/* SPDX-License-Identifier: MIT */
/*
 * Memory and register operands of the VMX instructions in every form: an L0 decodes them from the
 * exit qualification and the instruction information, and each form exercises another field.
 */
#include "l2.h"
#include "tests.h"

static uint64_t cell[64] __attribute__((aligned(64)));

/*
 * Each form executes `insn` on a memory operand whose address, by that form, is the argument in
 * RDI. What stands before sets registers up; RBX, RBP, R12 to R15 are given back.
 */
#define FORM(name, insn, before, operand, after)                                                   \
    extern void form_##name##_##insn(uint64_t *p);                                                 \
    __asm__(".text\nform_" #name "_" #insn ":\n"                                                   \
            "pushq %rbx\npushq %rbp\npushq %r12\npushq %r13\npushq %r15\n" before "\n" #insn       \
            " " operand "\n" after "\npopq %r15\npopq %r13\npopq %r12\npopq %rbp\npopq %rbx\n"     \
            "ret\n")
#define FORMS(name, before, operand, after)                                                        \
    FORM(name, vmptrst, before, operand, after);                                                   \
    FORM(name, vmptrld, before, operand, after);                                                   \
    FORM(name, vmclear, before, operand, after)

FORMS(base, "", "(%rdi)", "");
FORMS(disp8, "leaq -0x18(%rdi), %rax", "0x18(%rax)", "");
FORMS(disp8_negative, "leaq 0x20(%rdi), %rcx", "-0x20(%rcx)", "");
FORMS(disp32, "leaq -0x12345678(%rdi), %rdx", "0x12345678(%rdx)", "");
FORMS(disp32_negative, "leaq 0x7ffffff0(%rdi), %rbx", "-0x7ffffff0(%rbx)", "");
FORMS(index1, "leaq -5(%rdi), %rsi\nmovl $5, %eax", "(%rsi,%rax,1)", "");
FORMS(index2, "leaq -10(%rdi), %rax\nmovl $5, %ecx", "(%rax,%rcx,2)", "");
FORMS(index4, "leaq -0x20(%rdi), %rdx\nmovl $7, %ebx", "4(%rdx,%rbx,4)", "");
FORMS(index8, "leaq 0x38(%rdi), %rbx\nmovq $-8, %rdx", "8(%rbx,%rdx,8)", "");
FORMS(index_only, "movq %rdi, %rax\nshrq $3, %rax", "0(,%rax,8)", "");
FORMS(index_disp, "leaq -0x100(%rdi), %rax\nshrq $2, %rax", "0x100(,%rax,4)", "");
FORMS(rbp, "leaq 8(%rdi), %rbp", "-8(%rbp)", "");
FORMS(rsp, "movq %rsp, %rbx\nmovq %rdi, %rsp", "(%rsp)", "movq %rbx, %rsp");
FORMS(rsp_index, "movq %rsp, %rbx\nleaq -0x30(%rdi), %rsp\nmovl $5, %ebp", "8(%rsp,%rbp,8)",
      "movq %rbx, %rsp");
FORMS(r8, "movq %rdi, %r8", "(%r8)", "");
FORMS(r9_r10, "leaq -16(%rdi), %r9\nmovl $8, %r10d", "(%r9,%r10,2)", "");
FORMS(r12, "movq %rdi, %r12", "(%r12)", "");
FORMS(r13, "movq %rdi, %r13", "(%r13)", "");
FORMS(r15_index_r12, "leaq -0x40(%rdi), %r15\nmovl $8, %r12d", "(%r15,%r12,8)", "");
FORMS(absolute, "movq operand_cell_value(%rip), %rax", "operand_cell", "");
FORMS(rip_relative, "", "operand_cell(%rip)", "");
FORMS(address_size_32, "movl %edi, %eax\nmovabsq $0x7700000000, %rcx\norq %rcx, %rax", "(%eax)",
      "");
FORMS(address_size_32_wraps, "movl %edi, %eax\naddl $0x10, %eax\nmovl $-4, %ecx",
      "(%eax,%ecx,4)", "");
FORMS(ds_ignored, "movq %rdi, %rax", "%ds:(%rax)", "");

extern uint64_t operand_cell;
__asm__(".data\n.balign 8\noperand_cell: .quad 0\noperand_cell_value: .quad 0\n.text\n");

#define FS_BASE 0x2000ull
#define GS_BASE 0xfffffffffffff000ull
FORMS(fs_base, "leaq -0x2000(%rdi), %rax", "%fs:(%rax)", "");
FORMS(gs_base, "leaq 0x1000(%rdi), %rax", "%gs:(%rax)", "");
FORMS(fs_rip, "", "%fs:operand_cell-0x2000(%rip)", "");
FORMS(gs_address_size_32, "leal 0x1000(%edi), %eax", "%gs:(%eax)", "");

struct form {
    const char *name;
    void (*store)(uint64_t *), (*load)(uint64_t *), (*clear)(uint64_t *);
    bool fixed; /* works on operand_cell */
};

#define ROW(name, fixed)                                                                           \
    {#name, form_##name##_vmptrst, form_##name##_vmptrld, form_##name##_vmclear, fixed}
static const struct form forms[] = {
    ROW(base, false), ROW(disp8, false), ROW(disp8_negative, false), ROW(disp32, false),
    ROW(disp32_negative, false), ROW(index1, false), ROW(index2, false), ROW(index4, false),
    ROW(index8, false), ROW(index_only, false), ROW(index_disp, false), ROW(rbp, false),
    ROW(rsp, false), ROW(rsp_index, false), ROW(r8, false), ROW(r9_r10, false), ROW(r12, false),
    ROW(r13, false), ROW(r15_index_r12, false), ROW(absolute, true), ROW(rip_relative, true),
    ROW(address_size_32, false), ROW(address_size_32_wraps, false), ROW(ds_ignored, false),
    ROW(fs_base, false), ROW(gs_base, false), ROW(fs_rip, true), ROW(gs_address_size_32, false),
};

static uint64_t current(void)
{
    uint64_t pa = 0;

    return vmptrst(&pa) == VMX_OK ? pa : 1;
}

static void run(void (*fn)(uint64_t *), uint64_t *p)
{
    struct trap t = trap_call((void (*)(void *))fn, p);

    if (t.vector != TRAP_NONE)
        *p = (uint64_t)t.vector;
}

static void memory_forms(void)
{
    check_group("operand");
    for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const struct form *f = &forms[i];
        uint64_t *p = f->fixed ? &operand_cell : &cell[8];
        uint64_t first = (uint64_t)vmcs_region[0], second = (uint64_t)vmcs_region[1];

        *p = 0x5a5a;
        run(f->store, p);
        check_eq(*p, first, "%s.vmptrst", f->name);
        *p = second;
        run(f->load, p);
        check_eq(current(), second, "%s.vmptrld", f->name);
        *p = second;
        run(f->clear, p);
        check_eq(current(), ~0ull, "%s.vmclear", f->name);
        *p = first;
        run(f->load, p);
    }
}

/* VMREAD to and VMWRITE from each register, and with the field number in each. */
#define REGISTER(reg)                                                                              \
    extern uint64_t reg_read_##reg(uint64_t field), reg_field_##reg(uint64_t field);               \
    extern void reg_write_##reg(uint64_t field, uint64_t value);                                   \
    __asm__(".text\nreg_read_" #reg ":\npushq %rbx\npushq %rbp\npushq %r12\npushq %r13\n"          \
            "pushq %r14\npushq %r15\nmovq %rdi, %rax\ncmpq $0, %rsp\nmovq %rsp, saved_sp(%rip)\n"  \
            "vmread %rax, %" #reg "\nmovq %" #reg ", saved_value(%rip)\n"                          \
            "movq saved_sp(%rip), %rsp\nmovq saved_value(%rip), %rax\npopq %r15\npopq %r14\n"      \
            "popq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n"                                    \
            "reg_field_" #reg ":\npushq %rbx\npushq %rbp\npushq %r12\npushq %r13\n"                \
            "pushq %r14\npushq %r15\nmovq %rsp, saved_sp(%rip)\nmovq %rdi, %" #reg "\n"            \
            "vmread %" #reg ", saved_value(%rip)\nmovq saved_sp(%rip), %rsp\n"                     \
            "movq saved_value(%rip), %rax\npopq %r15\npopq %r14\n"                                 \
            "popq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n"                                    \
            "reg_write_" #reg ":\npushq %rbx\npushq %rbp\npushq %r12\npushq %r13\n"                \
            "pushq %r14\npushq %r15\nmovq %rsp, saved_sp(%rip)\nmovq %rdi, saved_value(%rip)\n"    \
            "movq %rsi, %" #reg "\n"                                                               \
            ".ifc " #reg ",rax\nmovq saved_value(%rip), %rcx\nvmwrite %rax, %rcx\n.else\n"         \
            "movq saved_value(%rip), %rax\nvmwrite %" #reg ", %rax\n.endif\n"                      \
            "movq saved_sp(%rip), %rsp\npopq %r15\npopq %r14\n"                                    \
            "popq %r13\npopq %r12\npopq %rbp\npopq %rbx\nret\n")
__asm__(".data\n.balign 8\nsaved_sp: .quad 0\nsaved_value: .quad 0\n.text\n");
REGISTER(rax);
REGISTER(rcx);
REGISTER(rdx);
REGISTER(rbx);
REGISTER(rsp);
REGISTER(rbp);
REGISTER(rsi);
REGISTER(rdi);
REGISTER(r8);
REGISTER(r9);
REGISTER(r10);
REGISTER(r11);
REGISTER(r12);
REGISTER(r13);
REGISTER(r14);
REGISTER(r15);

#define REG_ROW(reg) {#reg, reg_read_##reg, reg_field_##reg, reg_write_##reg}
static const struct {
    const char *name;
    uint64_t (*read)(uint64_t);
    uint64_t (*field)(uint64_t);
    void (*write)(uint64_t, uint64_t);
} registers[] = {
    REG_ROW(rax), REG_ROW(rcx), REG_ROW(rdx), REG_ROW(rbx), REG_ROW(rsp), REG_ROW(rbp),
    REG_ROW(rsi), REG_ROW(rdi), REG_ROW(r8),  REG_ROW(r9),  REG_ROW(r10), REG_ROW(r11),
    REG_ROW(r12), REG_ROW(r13), REG_ROW(r14), REG_ROW(r15),
};

static void register_forms(void)
{
    check_group("register");
    for (uint64_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++) {
        uint64_t value = 0x1000100010001000ull * (i + 1);

        registers[i].write(F_G_SYSENTER_ESP, value);
        check_eq(vmread(F_G_SYSENTER_ESP), value, "%s.vmwrite", registers[i].name);
        check_eq(registers[i].read(F_G_SYSENTER_ESP), value, "%s.vmread", registers[i].name);
        check_eq(registers[i].field(F_G_SYSENTER_ESP), value, "%s.field", registers[i].name);
    }
}

static unsigned read_to_memory(uint64_t field, uint64_t *p)
{
    uint64_t flags = VMX_NO_FLAGS;

    __asm__ volatile(VMX_ASM("vmread %[f], 8(%[p])")
                     : [flags] "+r"(flags)
                     : [f] "r"(field), [p] "r"(p)
                     : "memory", "cc");
    return vmx_status(flags);
}

static unsigned write_from_memory(uint64_t field, const uint64_t *p)
{
    uint64_t flags = VMX_NO_FLAGS;

    __asm__ volatile(VMX_ASM("vmwrite 8(%[p]), %[f]")
                     : [flags] "+r"(flags)
                     : [f] "r"(field), [p] "r"(p)
                     : "memory", "cc");
    return vmx_status(flags);
}

/* In 64-bit mode memory operands of VMREAD and VMWRITE are 64 bits wide for every field. */
static void field_in_memory(void)
{
    static const struct {
        const char *name;
        uint16_t field;
        uint64_t mask;
    } rows[] = {
        {"16", F_G_ES_SEL, 0xffff},
        {"32", F_G_ES_LIMIT, 0xffffffff},
        {"64", F_TSC_OFFSET, ~0ull},
        {"natural", F_G_SYSENTER_EIP, ~0ull},
        {"high", F_TSC_OFFSET + 1, 0xffffffff},
    };

    check_group("memory_field");
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        cell[0] = cell[2] = 0x1111111111111111ull;
        cell[1] = 0xf7f6f5f4f3f2f1f0ull;
        check_eq(write_from_memory(rows[i].field, cell), VMX_OK, "%s.vmwrite", rows[i].name);
        check_eq(vmread(rows[i].field), 0xf7f6f5f4f3f2f1f0ull & rows[i].mask, "%s.value",
                 rows[i].name);
        cell[1] = ~0ull;
        check_eq(read_to_memory(rows[i].field, cell), VMX_OK, "%s.vmread", rows[i].name);
        check_eq(cell[1], 0xf7f6f5f4f3f2f1f0ull & rows[i].mask, "%s.stored", rows[i].name);
        check(cell[0] == 0x1111111111111111ull && cell[2] == 0x1111111111111111ull,
              "%s.neighbours", rows[i].name);
    }
}

/* An operand across two pages is one access: both halves are used. */
static void page_crossing(void)
{
    uint64_t *p = (uint64_t *)(l2_data[1] - 4);

    check_group("page_crossing");
    memset(l2_data[0], 0, 8192);
    check_eq(vmptrst(p), VMX_OK, "vmptrst");
    check_eq(*p, (uint64_t)vmcs_region[0], "vmptrst_value");
    *p = (uint64_t)vmcs_region[1];
    check_eq(vmptrld(p), VMX_OK, "vmptrld");
    check_eq(current(), (uint64_t)vmcs_region[1], "vmptrld_value");
    *p = (uint64_t)vmcs_region[0];
    check_eq(vmptrld(p), VMX_OK, "vmptrld_back");
}

void test_operands(void)
{
    uint64_t fs = rt_rdmsr(MSR_FS_BASE), gs = rt_rdmsr(MSR_GS_BASE);
    uint64_t pa = (uint64_t)vmcs_region[1];

    vmcs_prepare(vmcs_region[1]);
    (void)vmclear(&pa);
    l2_reset(L2_EPT);
    rt_wrmsr(MSR_FS_BASE, FS_BASE);
    rt_wrmsr(MSR_GS_BASE, GS_BASE);
    memory_forms();
    rt_wrmsr(MSR_FS_BASE, fs);
    rt_wrmsr(MSR_GS_BASE, gs);
    register_forms();
    field_in_memory();
    page_crossing();
}
