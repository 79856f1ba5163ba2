/* SPDX-License-Identifier: MIT */
/*
 * The instructions that maintain VMCSs, in VMX root operation: what they do, and each VMfail with
 * its number. [SDM 3D "VMX Instruction Reference"], [SDM 3D "VM Instruction Error Numbers"].
 */
#include "l2.h"
#include "tests.h"

static uint64_t operand;
static const uint64_t none = ~0ull;

static unsigned clear_of(uint64_t pa)
{
    operand = pa;
    return vmclear(&operand);
}

static unsigned load_of(uint64_t pa)
{
    operand = pa;
    return vmptrld(&operand);
}

static uint64_t current(void)
{
    uint64_t pa = 0;

    return vmptrst(&pa) == VMX_OK ? pa : 1;
}

/* VMfailValid: the flags, and the number in the current VMCS. */
static void fails_with(unsigned status, uint32_t error, const char *name)
{
    uint64_t found = 0;

    if (status != VMX_FAIL_VALID)
        check_eq(status, VMX_FAIL_VALID, "%s", name);
    else if (vmx_read(F_INSN_ERROR, &found) != VMX_OK)
        check(false, "%s", name);
    else
        check_eq(found, error, "%s", name);
}

/* With no current VMCS every failure is VMfailInvalid. */
static void without_current(void)
{
    uint64_t value = 0;
    const struct inv_desc d = {0, 0};

    check_group("no_current");
    vmcs_prepare(vmcs_region[0]);
    check_eq(clear_of((uint64_t)vmcs_region[0]), VMX_OK, "vmclear");
    check_eq(current(), none, "vmptrst");
    check_eq(vmx_read(F_G_RIP, &value), VMX_FAIL_INVALID, "vmread");
    check_eq(vmx_write(F_G_RIP, 0), VMX_FAIL_INVALID, "vmwrite");
    check_eq(vmx_write(F_INSN_ERROR, 0), VMX_FAIL_INVALID, "vmwrite_read_only");
    check_eq(vmx_read(0x6cf0, &value), VMX_FAIL_INVALID, "vmread_unsupported");
    check_eq(vmlaunch(), VMX_FAIL_INVALID, "vmlaunch");
    check_eq(vmresume(), VMX_FAIL_INVALID, "vmresume");
    check_eq(vmcall(), VMX_FAIL_INVALID, "vmcall");
    check_eq(invept(99, &d), VMX_FAIL_INVALID, "invept_type");
    check_eq(invvpid(99, &d), VMX_FAIL_INVALID, "invvpid_type");
    check_eq(clear_of((uint64_t)vmcs_region[0] + 1), VMX_FAIL_INVALID, "vmclear_misaligned");
    check_eq(clear_of((uint64_t)vmxon_region), VMX_FAIL_INVALID, "vmclear_vmxon_pointer");
    check_eq(load_of((uint64_t)vmcs_region[0] + 16), VMX_FAIL_INVALID, "vmptrld_misaligned");
    check_eq(load_of((uint64_t)vmxon_region), VMX_FAIL_INVALID, "vmptrld_vmxon_pointer");
    operand = (uint64_t)vmxon_region;
    check_eq(vmxon(&operand), VMX_FAIL_INVALID, "vmxon");
    check_eq(current(), none, "still_none");
}

static void vmptrld_rules(void)
{
    check_group("vmptrld");
    check_eq(load_of((uint64_t)vmcs_region[0]), VMX_OK, "succeeds");
    check_eq(current(), (uint64_t)vmcs_region[0], "is_current");
    fails_with(load_of((uint64_t)vmcs_region[0] + 0x10), E_VMPTRLD_ADDR, "misaligned");
    fails_with(load_of((uint64_t)vmcs_region[1] | (1ull << 61)), E_VMPTRLD_ADDR, "physical_width");
    fails_with(load_of(1ull << 63), E_VMPTRLD_ADDR, "bit_63");
    fails_with(load_of((uint64_t)vmxon_region), E_VMPTRLD_VMXON, "vmxon_pointer");
    vmcs_prepare(vmcs_region[1]);
    vmcs_region[1][0] ^= 1;
    fails_with(load_of((uint64_t)vmcs_region[1]), E_VMPTRLD_REVISION, "wrong_revision");
    vmcs_region[1][0] ^= 1;
    vmcs_region[1][0] |= 1ull << 31;
    /* A CPU with VMCS shadowing takes it as a shadow VMCS. */
    if ((rt_rdmsr(MSR_VMX_PROC2) >> 32 & PROC2_SHADOW_VMCS) == 0)
        fails_with(load_of((uint64_t)vmcs_region[1]), E_VMPTRLD_REVISION, "shadow_indicator");
    else
        check_eq(load_of((uint64_t)vmcs_region[1]), VMX_OK, "shadow_indicator");
    (void)load_of((uint64_t)vmcs_region[0]);
    vmcs_prepare(vmcs_region[1]);
    check_eq(current(), (uint64_t)vmcs_region[0], "failures_keep_current");
    check_eq(load_of((uint64_t)vmcs_region[0]), VMX_OK, "current_again");
    vmwrite(F_G_RIP, 0x1234);
    check_eq(load_of((uint64_t)vmcs_region[1]), VMX_OK, "other");
    check_eq(current(), (uint64_t)vmcs_region[1], "other_is_current");
    vmwrite(F_G_RIP, 0x5678);
    check_eq(load_of((uint64_t)vmcs_region[0]), VMX_OK, "back");
    check_eq(vmread(F_G_RIP), 0x1234, "keeps_fields");
    (void)load_of((uint64_t)vmcs_region[1]);
    check_eq(vmread(F_G_RIP), 0x5678, "keeps_fields_of_other");
    (void)load_of((uint64_t)vmcs_region[0]);
    check_eq(vmptrld((uint64_t *)0x4000000000000000ull), VMX_FAULT(13), "noncanonical_operand");
    check_eq(vmptrld((uint64_t *)0x7000000008ull), VMX_FAULT(14), "unmapped_operand");
    check_eq(rt_fault.cr2, 0x7000000008ull, "unmapped_operand_cr2");
    check_eq(rt_fault.error, 0, "unmapped_operand_error");
}

static void vmclear_rules(void)
{
    check_group("vmclear");
    fails_with(clear_of((uint64_t)vmcs_region[1] + 0x800), E_VMCLEAR_ADDR, "misaligned");
    fails_with(clear_of((uint64_t)vmcs_region[1] | (1ull << 60)), E_VMCLEAR_ADDR, "physical_width");
    fails_with(clear_of((uint64_t)vmxon_region), E_VMCLEAR_VMXON, "vmxon_pointer");
    check_eq(current(), (uint64_t)vmcs_region[0], "failures_keep_current");
    check_eq(clear_of((uint64_t)vmcs_region[1]), VMX_OK, "other");
    check_eq(current(), (uint64_t)vmcs_region[0], "other_keeps_current");
    vmwrite(F_G_RSP, 0x4321);
    check_eq(clear_of((uint64_t)vmcs_region[0]), VMX_OK, "current");
    check_eq(current(), none, "current_is_gone");
    check_eq(load_of((uint64_t)vmcs_region[0]), VMX_OK, "loads_again");
    check_eq(vmread(F_G_RSP), 0x4321, "writes_back");
    /* VMCLEAR does not look at the revision identifier. */
    vmcs_region[2][0] = 0x7fffffff;
    check_eq(clear_of((uint64_t)vmcs_region[2]), VMX_OK, "any_revision");
    check_eq(vmclear((uint64_t *)0x7000000010ull), VMX_FAULT(14), "unmapped_operand");
}

static void vmptrst_rules(void)
{
    check_group("vmptrst");
    check_eq(vmptrst((uint64_t *)0x7000000018ull), VMX_FAULT(14), "unmapped_operand");
    check_eq(rt_fault.error, 2, "unmapped_operand_error");
    check_eq(rt_fault.cr2, 0x7000000018ull, "unmapped_operand_cr2");
    check_eq(vmptrst((uint64_t *)0x8000000000000000ull), VMX_FAULT(13), "noncanonical_operand");
    check_eq(current(), (uint64_t)vmcs_region[0], "faults_change_nothing");
}

/* Width of each kind of field, access type, and encodings without a field. */
static void vmread_vmwrite_rules(void)
{
    static const uint64_t bad[] = {0x6cf0, 0x0fff0, 0x4830, 0x0801, 0x4001, 0x6801, 0x8000, 0x10000,
                                   0x100000000ull | F_G_RIP, 1ull << 63, 0xffffffff};
    uint64_t value;

    check_group("vmwrite");
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char name[32];

        rt_snprintf(name, sizeof(name), "unsupported_%lx", bad[i]);
        fails_with(vmx_write(bad[i], 0), E_UNSUPPORTED_FIELD, name);
        value = 0x77;
        rt_snprintf(name, sizeof(name), "vmread_unsupported_%lx", bad[i]);
        fails_with(vmx_read(bad[i], &value), E_UNSUPPORTED_FIELD, name);
        check_eq(value, 0x77, "%s_keeps_destination", name);
    }
    check_eq(vmx_write(F_G_ES_SEL, ~0ull), VMX_OK, "width_16");
    check_eq(vmread(F_G_ES_SEL), 0xffff, "width_16_value");
    check_eq(vmx_write(F_G_ES_LIMIT, ~0ull), VMX_OK, "width_32");
    check_eq(vmread(F_G_ES_LIMIT), 0xffffffff, "width_32_value");
    check_eq(vmx_write(F_TSC_OFFSET, 0x1122334455667788ull), VMX_OK, "width_64");
    check_eq(vmread(F_TSC_OFFSET), 0x1122334455667788ull, "width_64_value");
    check_eq(vmread(F_TSC_OFFSET + 1), 0x11223344, "high_half");
    check_eq(vmx_write(F_TSC_OFFSET + 1, 0xffffffffaabbccddull), VMX_OK, "high_half_write");
    check_eq(vmread(F_TSC_OFFSET), 0xaabbccdd55667788ull, "high_half_write_value");
    check_eq(vmx_write(F_TSC_OFFSET, 1), VMX_OK, "full_after_high");
    check_eq(vmread(F_TSC_OFFSET), 1, "full_clears_high");
    check_eq(vmx_write(F_G_RSP, 0xfedcba9876543210ull), VMX_OK, "natural");
    check_eq(vmread(F_G_RSP), 0xfedcba9876543210ull, "natural_value");
    check_eq(vmread(F_G_RIP), 0x1234, "neighbour_unchanged");
}

/* Writable exactly when IA32_VMX_MISC bit 29 says that any field may be written. */
static void read_only_fields(void)
{
    static const uint16_t fields[] = {F_INSN_ERROR, F_REASON, F_QUALIFICATION, F_GUEST_PHYS,
                                      F_INSN_LEN, F_LINEAR, F_IDTV, F_IO_RIP};
    bool writable = (rt_rdmsr(0x485) & (1u << 29)) != 0;

    for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        unsigned status = vmx_write(fields[i], 5);
        uint64_t error = vmread(F_INSN_ERROR);

        if (writable)
            check(status == VMX_OK, "read_only_%x", fields[i]);
        else
            check(status == VMX_FAIL_VALID && error == E_READ_ONLY_FIELD, "read_only_%x",
                  fields[i]);
    }
}

static void memory_operand_faults(void)
{
    uint64_t flags = VMX_NO_FLAGS;

    check_group("vmread_memory");
    __asm__ volatile(VMX_ASM("vmread %[f], (%[p])")
                     : [flags] "+r"(flags)
                     : [f] "r"((uint64_t)F_G_RIP), [p] "r"(0x7000000100ull)
                     : "memory", "cc");
    check_eq(vmx_status(flags), VMX_FAULT(14), "unmapped");
    check_eq(rt_fault.error, 2, "unmapped_error");
    check_eq(rt_fault.cr2, 0x7000000100ull, "unmapped_cr2");
    flags = VMX_NO_FLAGS;
    /* The field is checked before the destination is written ([SDM 3D "VMREAD"]). */
    __asm__ volatile(VMX_ASM("vmread %[f], (%[p])")
                     : [flags] "+r"(flags)
                     : [f] "r"(0x6cf0ull), [p] "r"(0x7000000100ull)
                     : "memory", "cc");
    fails_with(vmx_status(flags), E_UNSUPPORTED_FIELD, "unsupported_before_destination");
    check_group("vmwrite_memory");
    flags = VMX_NO_FLAGS;
    __asm__ volatile(VMX_ASM("vmwrite (%[p]), %[f]")
                     : [flags] "+r"(flags)
                     : [f] "r"((uint64_t)F_G_RIP), [p] "r"(0x7000000108ull)
                     : "memory", "cc");
    check_eq(vmx_status(flags), VMX_FAULT(14), "unmapped");
    check_eq(rt_fault.error, 0, "unmapped_error");
    check_eq(rt_fault.cr2, 0x7000000108ull, "unmapped_cr2");
}

/* Every instruction at CPL 3 in VMX operation: #GP(0). In compatibility mode: #UD. */
#define USER_INSN(name, insn)                                                                      \
    static void user_##name(void *arg)                                                             \
    {                                                                                              \
        __asm__ volatile(insn : : "r"(arg), "r"((uint64_t)1) : "memory", "cc");                    \
    }
USER_INSN(vmclear, "vmclear (%0)")
USER_INSN(vmptrld, "vmptrld (%0)")
USER_INSN(vmptrst, "vmptrst (%0)")
USER_INSN(vmread, "vmread %1, %0")
USER_INSN(vmwrite, "vmwrite %1, %0")
USER_INSN(vmlaunch, "vmlaunch # %0 %1")
USER_INSN(vmresume, "vmresume # %0 %1")
USER_INSN(vmcall, "vmcall # %0 %1")
USER_INSN(vmxoff, "vmxoff # %0 %1")
USER_INSN(vmxon, "vmxon (%0)")
USER_INSN(invept, "invept (%0), %1")
USER_INSN(invvpid, "invvpid (%0), %1")

extern const char compat_vmclear[], compat_vmptrld[], compat_vmread[], compat_vmlaunch[],
    compat_invept[], compat_vmxoff[];
__asm__(".text\n.code32\n"
        "compat_vmclear: vmclear (%eax)\nret\n"
        "compat_vmptrld: vmptrld (%eax)\nret\n"
        "compat_vmread: vmread %eax, %ebx\nret\n"
        "compat_vmlaunch: vmlaunch\nret\n"
        "compat_invept: invept (%eax), %ebx\nret\n"
        "compat_vmxoff: vmxoff\nret\n"
        ".code64\n");

static void privilege(void)
{
    static const struct {
        const char *name;
        void (*fn)(void *);
    } user[] = {
        {"vmclear", user_vmclear},   {"vmptrld", user_vmptrld},   {"vmptrst", user_vmptrst},
        {"vmread", user_vmread},     {"vmwrite", user_vmwrite},   {"vmlaunch", user_vmlaunch},
        {"vmresume", user_vmresume}, {"vmcall", user_vmcall},     {"vmxoff", user_vmxoff},
        {"vmxon", user_vmxon},       {"invept", user_invept},     {"invvpid", user_invvpid},
    };
    static const struct {
        const char *name, *code;
    } compat[] = {
        {"vmclear", compat_vmclear},   {"vmptrld", compat_vmptrld}, {"vmread", compat_vmread},
        {"vmlaunch", compat_vmlaunch}, {"invept", compat_invept},   {"vmxoff", compat_vmxoff},
    };

    check_group("user");
    for (unsigned i = 0; i < sizeof(user) / sizeof(user[0]); i++) {
        struct trap t = trap_call_user(user[i].fn, &operand, 0);

        check(t.vector == 13 && t.error == 0, "%s", user[i].name);
    }
    check_group("compatibility_mode");
    for (unsigned i = 0; i < sizeof(compat) / sizeof(compat[0]); i++) {
        struct trap t = trap_call_compat(compat[i].code, (uint32_t)(uint64_t)&operand, false);

        check_eq((uint64_t)t.vector, 6, "%s", compat[i].name);
    }
    check_eq(current(), (uint64_t)vmcs_region[0], "nothing_changed");
}

static void launch_state(void)
{
    check_group("launch_state");
    fails_with(vmresume(), E_RESUME_NOT_LAUNCHED, "vmresume_clear");
    operand = (uint64_t)vmxon_region;
    fails_with(vmxon(&operand), E_VMXON_IN_ROOT, "vmxon_in_root");
}

static unsigned launch_after_mov_ss(bool resume)
{
    uint64_t flags = VMX_NO_FLAGS;
    uint32_t ss = RT_SEL_DS;

    if (resume)
        __asm__ volatile(VMX_ASM("movl %[ss], %%ss\nvmresume") : [flags] "+r"(flags)
                         : [ss] "r"(ss) : "memory", "cc");
    else
        __asm__ volatile(VMX_ASM("movl %[ss], %%ss\nvmlaunch") : [flags] "+r"(flags)
                         : [ss] "r"(ss) : "memory", "cc");
    return vmx_status(flags);
}

/*
 * Blocking by MOV SS fails an entry with a current VMCS, before its controls are looked at; the
 * launch state is looked at first only in one order that the manual leaves open, so the VMCS is in
 * the right state for each.
 */
static void mov_ss_blocking(void)
{
    check_group("mov_ss");
    fails_with(launch_after_mov_ss(false), E_MOV_SS, "vmlaunch");
}

static void inv_rules(void)
{
    const uint64_t eptp = (uint64_t)l2_ept.top | EPTP_WALK4 | EPTP_WB;
    struct inv_desc d = {eptp, 0};

    check_group("invept");
    check_eq(invept(1, &d), VMX_OK, "single_context");
    check_eq(invept(2, &d), VMX_OK, "all_context");
    fails_with(invept(0, &d), E_INV_OPERAND, "type_0");
    fails_with(invept(3, &d), E_INV_OPERAND, "type_3");
    d.low = eptp | 0xf80;
    fails_with(invept(1, &d), E_INV_OPERAND, "eptp_reserved_low");
    d.low = eptp | (1ull << 62);
    fails_with(invept(1, &d), E_INV_OPERAND, "eptp_physical_width");
    d.low = (eptp & ~7ull) | 2;
    fails_with(invept(1, &d), E_INV_OPERAND, "eptp_memory_type");
    d.low = (eptp & ~0x38ull) | (2ull << 3);
    fails_with(invept(1, &d), E_INV_OPERAND, "eptp_walk_length");
    check_eq(invept(2, &d), VMX_OK, "all_context_ignores_eptp");
    check_eq(invept(1, (struct inv_desc *)0x7000000200ull), VMX_FAULT(14), "unmapped");
    check_eq(rt_fault.error, 0, "unmapped_error");
    check_eq(rt_fault.cr2, 0x7000000200ull, "unmapped_cr2");

    check_group("invvpid");
    d = (struct inv_desc){1, 0x1000};
    check_eq(invvpid(0, &d), VMX_OK, "individual_address");
    check_eq(invvpid(1, &d), VMX_OK, "single_context");
    check_eq(invvpid(2, &d), VMX_OK, "all_context");
    check_eq(invvpid(3, &d), VMX_OK, "retaining_globals");
    fails_with(invvpid(4, &d), E_INV_OPERAND, "type_4");
    d.low = 0;
    fails_with(invvpid(0, &d), E_INV_OPERAND, "individual_vpid_0");
    fails_with(invvpid(1, &d), E_INV_OPERAND, "single_vpid_0");
    fails_with(invvpid(3, &d), E_INV_OPERAND, "retaining_vpid_0");
    check_eq(invvpid(2, &d), VMX_OK, "all_context_vpid_0");
    d.low = 0x10001;
    fails_with(invvpid(0, &d), E_INV_OPERAND, "individual_reserved");
    fails_with(invvpid(1, &d), E_INV_OPERAND, "single_reserved");
    fails_with(invvpid(3, &d), E_INV_OPERAND, "retaining_reserved");
    d = (struct inv_desc){1, 0x8000000000000000ull};
    fails_with(invvpid(0, &d), E_INV_OPERAND, "noncanonical_address");
    check_eq(invvpid(1, &d), VMX_OK, "single_ignores_address");
    check_eq(invvpid(1, (struct inv_desc *)0x7000000300ull), VMX_FAULT(14), "unmapped");
    check_eq(rt_fault.cr2, 0x7000000300ull, "unmapped_cr2");
}

void test_instructions(void)
{
    without_current();
    vmptrld_rules();
    vmclear_rules();
    vmptrst_rules();
    vmread_vmwrite_rules();
    read_only_fields();
    memory_operand_faults();
    privilege();
    launch_state();
    mov_ss_blocking();
    inv_rules();
}
