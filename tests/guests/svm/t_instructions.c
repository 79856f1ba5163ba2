/* SPDX-License-Identifier: MIT */
/*
 * The SVM instructions as L1 executes them: where they are undefined, where they fault, and what
 * VMSAVE and VMLOAD move. [APM 3 "System Instruction Reference"] gives each one's exceptions.
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

/* One callable function and one ring-3 / 32-bit stub per instruction; RAX comes from the caller. */
#define OP(name, insn)                                                                             \
    __asm__(".pushsection .text\n"                                                                 \
            "op_" #name ": mov %rdi, %rax\n mov %rsi, %rcx\n " insn "\n ret\n"                     \
            "stub_" #name ": " insn "\n int $0x80\n"                                               \
            ".popsection\n");                                                                      \
    extern void op_##name(uint64_t rax, uint64_t rcx);                                             \
    extern uint8_t stub_##name[];

OP(vmrun, ".byte 0x0f,0x01,0xd8")
OP(vmmcall, ".byte 0x0f,0x01,0xd9")
OP(vmload, ".byte 0x0f,0x01,0xda")
OP(vmsave, ".byte 0x0f,0x01,0xdb")
OP(stgi, ".byte 0x0f,0x01,0xdc")
OP(clgi, ".byte 0x0f,0x01,0xdd")
OP(skinit, ".byte 0x0f,0x01,0xde")
OP(invlpga, ".byte 0x0f,0x01,0xdf")
OP(vmsave32, ".byte 0x67,0x0f,0x01,0xdb")
OP(vmload32, ".byte 0x67,0x0f,0x01,0xda")
OP(nothing, "nop")

struct op {
    const char *name;
    void (*fn)(uint64_t, uint64_t);
    const uint8_t *stub;
    bool has_address; /* RAX is the physical address of a VMCB */
};

static const struct op ops[] = {
    {"vmrun", op_vmrun, stub_vmrun, true},
    {"vmload", op_vmload, stub_vmload, true},
    {"vmsave", op_vmsave, stub_vmsave, true},
    {"stgi", op_stgi, stub_stgi, false},
    {"clgi", op_clgi, stub_clgi, false},
    {"invlpga", op_invlpga, stub_invlpga, false},
};
#define OPS (sizeof ops / sizeof ops[0])

static void set_svme(bool on)
{
    uint64_t efer = rt_rdmsr(MSR_EFER);

    rt_wrmsr(MSR_EFER, on ? efer | EFER_SVME : efer & ~EFER_SVME);
}

/* Without EFER.SVME all are undefined; STGI is defined all the same where SKINIT exists. */
static void undefined_without_svme(void)
{
    bool has_skinit = ((rt_cpuid(0x80000001, 0).ecx >> 12) & 1) != 0;

    set_svme(false);
    for (unsigned int i = 0; i < OPS; i++) {
        if (has_skinit && ops[i].fn == op_stgi) {
            t_absent("stgi.ud-without-svme");
            continue;
        }
        t_eq(ops[i].name, "ud-without-svme",
             (uint64_t)try_call(ops[i].fn, pa(&vmcb_scratch), 0), VEC_UD);
        t_eq(ops[i].name, "ud-before-gp", (uint64_t)try_call(ops[i].fn, 1, 0), VEC_UD);
        t_eq(ops[i].name, "ud-before-cpl", (uint64_t)try_user(pa(ops[i].stub), 0), VEC_UD);
    }
    t_eq("vmmcall", "ud-without-svme", (uint64_t)try_call(op_vmmcall, 0, 0), VEC_UD);
    if (!has_skinit) {
        t_eq("skinit", "ud-without-svme", (uint64_t)try_call(op_skinit, 0, 0), VEC_UD);
    } else {
        t_absent("skinit.ud-without-svme");
    }
    set_svme(true);
}

static void privileged(void)
{
    t_eq("ring3", "works", (uint64_t)try_user(pa(stub_nothing), 0), VEC_USER_DONE);
    for (unsigned int i = 0; i < OPS; i++) {
        int v = try_user(pa(ops[i].stub), pa(&vmcb_scratch));

        t_check(ops[i].name, "gp-at-cpl3", v == VEC_GP && trap.error == 0);
        t_eq(ops[i].name, "gp-at-cpl3-rip", trap.rip, pa(ops[i].stub));
    }
    t_eq("vmmcall", "ud-in-l1", (uint64_t)try_call(op_vmmcall, 0, 0), VEC_UD);
    t_eq("vmmcall", "ud-at-cpl3", (uint64_t)try_user(pa(stub_vmmcall), 0), VEC_UD);
    if (!t_skip("skinit.svme")) {
        t_eq("skinit", "svme", (uint64_t)try_call(op_skinit, 0, 0), VEC_UD);
    }
}

static void bad_addresses(void)
{
    uint64_t limit = 1ull << cpu_phys_bits();
    const struct {
        const char *name;
        uint64_t address;
    } rows[] = {
        {"gp-plus-1", pa(&vmcb_scratch) + 1},
        {"gp-plus-8", pa(&vmcb_scratch) + 8},
        {"gp-plus-800", pa(&vmcb_scratch) + 0x800},
        {"gp-beyond-maxphyaddr", limit},
        {"gp-bit-51", 1ull << 51},
        {"gp-bit-63", (1ull << 63) | pa(&vmcb_scratch)},
        {"gp-all-ones", ~0xfffull},
    };

    for (unsigned int i = 0; i < OPS; i++) {
        for (unsigned int j = 0; ops[i].has_address && j < sizeof rows / sizeof rows[0]; j++) {
            int v = try_call(ops[i].fn, rows[j].address, 0);

            t_check(ops[i].name, rows[j].name, v == VEC_GP && trap.error == 0);
        }
    }
}

/* In compatibility mode the instructions exist, RAX's upper half is not looked at. */
static void compatibility_mode(void)
{
    t_eq("compat", "works", (uint64_t)try_compat(pa(stub_nothing), 0), VEC_USER_DONE);
    for (unsigned int i = 0; i < OPS; i++) {
        uint64_t rax = ops[i].has_address ? pa(&vmcb_scratch) | 1 : 0;
        uint64_t want = ops[i].has_address ? VEC_GP : VEC_USER_DONE;

        t_eq(ops[i].name, "compat", (uint64_t)try_compat(pa(ops[i].stub), rax), want);
        x_stgi();
    }
    t_eq("vmsave", "compat-ok", (uint64_t)try_compat(pa(stub_vmsave), pa(&vmcb_scratch)),
         VEC_USER_DONE);
    t_eq("vmload", "compat-ok", (uint64_t)try_compat(pa(stub_vmload), pa(&vmcb_scratch)),
         VEC_USER_DONE);
}

struct msr_field {
    const char *name;
    uint32_t msr;
    uint16_t offset;
    uint64_t a, b;
};

#define F(field) offsetof(struct vmcb, field)
static const struct msr_field fields[] = {
    {"fs-base", MSR_FS_BASE, F(fs.base), 0x1111222233334444 & 0x7fffffffffff, 0x10000},
    {"gs-base", MSR_GS_BASE, F(gs.base), 0xffff800012345678, 0x20000},
    {"kernel-gs-base", MSR_KERNEL_GS_BASE, F(kernel_gs_base), 0xffffc00000abcdef, 0x30000},
    {"star", MSR_STAR, F(star), 0x0123456789abcdef, 0x2300080000000000},
    {"lstar", MSR_LSTAR, F(lstar), 0xffffffff81000000, 0x40000},
    {"cstar", MSR_CSTAR, F(cstar), 0xffffffff82000000, 0x50000},
    {"sfmask", MSR_SFMASK, F(sfmask), 0x47700, 0x200},
    {"sysenter-cs", MSR_SYSENTER_CS, F(sysenter_cs), 0x10, 0x20},
    {"sysenter-esp", MSR_SYSENTER_ESP, F(sysenter_esp), 0xffff900000001000, 0x60000},
    {"sysenter-eip", MSR_SYSENTER_EIP, F(sysenter_eip), 0xffff900000002000, 0x70000},
};
#define FIELDS (sizeof fields / sizeof fields[0])

static uint64_t *field_of(struct vmcb *v, const struct msr_field *f)
{
    return (uint64_t *)(void *)((uint8_t *)v + f->offset);
}

/* Bytes of a VMCB that VMSAVE may write: FS, GS, LDTR, TR and the MSRs above. */
static bool vmsave_writes(unsigned int at)
{
    return (at >= 0x440 && at < 0x460) || (at >= 0x470 && at < 0x480) ||
           (at >= 0x490 && at < 0x4a0) || (at >= 0x600 && at < 0x640);
}

static void saves(void)
{
    const uint8_t *bytes = (const uint8_t *)&vmcb_scratch;
    unsigned int changed = 0;

    memset(&vmcb_scratch, 0xa5, sizeof vmcb_scratch);
    for (unsigned int i = 0; i < FIELDS; i++) {
        rt_wrmsr(fields[i].msr, fields[i].a);
    }
    t_eq("vmsave", "returns", (uint64_t)try_call(op_vmsave, pa(&vmcb_scratch), 0),
         (uint64_t)NO_TRAP);
    for (unsigned int i = 0; i < FIELDS; i++) {
        t_eq("vmsave", fields[i].name, *field_of(&vmcb_scratch, &fields[i]), fields[i].a);
    }
    t_eq("vmsave", "tr-selector", vmcb_scratch.tr.selector, SEL_TSS);
    t_eq("vmsave", "tr-limit", vmcb_scratch.tr.limit, 103);
    t_eq("vmsave", "tr-type", vmcb_scratch.tr.attrib & 0x9f, 0x8b);
    t_eq("vmsave", "ldtr-selector", vmcb_scratch.ldtr.selector, 0);
    for (unsigned int i = 0; i < sizeof vmcb_scratch; i++) {
        changed += !vmsave_writes(i) && bytes[i] != 0xa5;
    }
    t_eq("vmsave", "nothing-else", changed, 0);
}

static void loads(void)
{
    x_vmsave(&vmcb_host);
    vmcb_scratch = vmcb_host;
    for (unsigned int i = 0; i < FIELDS; i++) {
        *field_of(&vmcb_scratch, &fields[i]) = fields[i].b;
    }
    vmcb_scratch.ldtr = (struct vmcb_seg){SEL_LDT, 0x82, GDT_LIMIT, pa(gdt_storage)};
    t_eq("vmload", "returns", (uint64_t)try_call(op_vmload, pa(&vmcb_scratch), 0),
         (uint64_t)NO_TRAP);
    for (unsigned int i = 0; i < FIELDS; i++) {
        t_eq("vmload", fields[i].name, rt_rdmsr(fields[i].msr), fields[i].b);
    }
    t_eq("vmload", "ldtr", rt_sldt(), SEL_LDT);
    t_eq("vmload", "tr", rt_str(), SEL_TSS);
    memset(&vmcb_scratch, 0, sizeof vmcb_scratch);
    x_vmsave(&vmcb_scratch);
    t_eq("vmload", "hidden-ldtr-base", vmcb_scratch.ldtr.base, pa(gdt_storage));
    t_eq("vmload", "hidden-ldtr-limit", vmcb_scratch.ldtr.limit, GDT_LIMIT);
    /* Bases are sign-extended from the top implemented address bit (47 or 56), not faulted on. */
    vmcb_scratch.kernel_gs_base = 0x01ff912345678000;
    vmcb_scratch.fs.base = 0x55ff812345678000;
    x_vmload(&vmcb_scratch);
    t_eq("vmload", "canonical-kernel-gs", rt_rdmsr(MSR_KERNEL_GS_BASE), 0xffff912345678000);
    t_eq("vmload", "canonical-fs", rt_rdmsr(MSR_FS_BASE), 0xffff812345678000);
    x_vmload(&vmcb_host);
    t_eq("vmload", "back", rt_rdmsr(MSR_STAR), fields[3].a);
}

/* A 67h prefix makes the address EAX: junk above bit 31 must not matter. */
static void address_size(void)
{
    memset(&vmcb_scratch, 0, sizeof vmcb_scratch);
    t_eq("vmsave", "addr32", (uint64_t)try_call(op_vmsave32, pa(&vmcb_scratch) | 0xabull << 40, 0),
         (uint64_t)NO_TRAP);
    t_eq("vmsave", "addr32-wrote", vmcb_scratch.tr.selector, SEL_TSS);
    t_eq("vmload", "addr32", (uint64_t)try_call(op_vmload32, pa(&vmcb_scratch) | 0xabull << 40, 0),
         (uint64_t)NO_TRAP);
}

static void simple_success(void)
{
    t_eq("clgi", "returns", (uint64_t)try_call(op_clgi, 0, 0), (uint64_t)NO_TRAP);
    t_eq("clgi", "twice", (uint64_t)try_call(op_clgi, 0, 0), (uint64_t)NO_TRAP);
    t_eq("stgi", "returns", (uint64_t)try_call(op_stgi, 0, 0), (uint64_t)NO_TRAP);
    t_eq("stgi", "twice", (uint64_t)try_call(op_stgi, 0, 0), (uint64_t)NO_TRAP);
    t_eq("invlpga", "asid-0", (uint64_t)try_call(op_invlpga, pa(l2_page), 0), (uint64_t)NO_TRAP);
    t_eq("invlpga", "asid-1", (uint64_t)try_call(op_invlpga, pa(l2_page), 1), (uint64_t)NO_TRAP);
    t_eq("invlpga", "any-address", (uint64_t)try_call(op_invlpga, 0x123456789abcdef0, 1),
         (uint64_t)NO_TRAP);
    t_eq("invlpga", "any-asid", (uint64_t)try_call(op_invlpga, pa(l2_page), 0xffffffff),
         (uint64_t)NO_TRAP);
}

void test_instructions(void)
{
    t_group("instructions", NULL);
    undefined_without_svme();
    l2_reset(L2_NPT);
    x_vmsave(&vmcb_scratch);
    privileged();
    bad_addresses();
    compatibility_mode();
    saves();
    loads();
    address_size();
    simple_success();
}
