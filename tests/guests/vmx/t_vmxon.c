/* SPDX-License-Identifier: MIT */
/*
 * Outside VMX operation every VMX instruction is #UD, VMXON has its own conditions
 * [SDM 3D "VMXON"], and VMXOFF leads back there.
 */
#include "l2.h"
#include "tests.h"

static uint64_t operand;

static unsigned do_vmread(void)
{
    uint64_t v = 0;

    return vmx_read(F_G_RIP, &v);
}

/* Not in VMX operation: #UD comes before any look at the operand or the privilege level. */
static void all_undefined(void)
{
    const struct inv_desc d = {0, 0};

    operand = (uint64_t)vmcs_region[0];
    check_eq(vmclear(&operand), VMX_FAULT(6), "vmclear");
    check_eq(vmptrld(&operand), VMX_FAULT(6), "vmptrld");
    check_eq(vmptrst(&operand), VMX_FAULT(6), "vmptrst");
    check_eq(do_vmread(), VMX_FAULT(6), "vmread");
    check_eq(vmx_write(F_G_RIP, 0), VMX_FAULT(6), "vmwrite");
    check_eq(vmlaunch(), VMX_FAULT(6), "vmlaunch");
    check_eq(vmresume(), VMX_FAULT(6), "vmresume");
    check_eq(vmxoff(), VMX_FAULT(6), "vmxoff");
    check_eq(vmcall(), VMX_FAULT(6), "vmcall");
    check_eq(invept(1, &d), VMX_FAULT(6), "invept");
    check_eq(invvpid(1, &d), VMX_FAULT(6), "invvpid");
    check_eq(vmclear((uint64_t *)0x8000000000000000ull), VMX_FAULT(6), "vmclear_noncanonical");
}

static void user_vmxon(void *arg)
{
    (void)vmxon(arg);
    __asm__ volatile("vmxon (%0)" : : "r"(arg) : "memory", "cc");
}

static void user_vmxoff(void *arg)
{
    (void)arg;
    __asm__ volatile("vmxoff" : : : "memory", "cc");
}

extern const char compat_vmxon[];
__asm__(".text\n.code32\ncompat_vmxon: vmxon (%eax)\nret\n.code64\n");

static void vmxon_conditions(void)
{
    uint64_t cr4 = rt_read_cr4();

    operand = (uint64_t)vmxon_region;
    rt_write_cr4(cr4 & ~CR4_VMXE);
    check_eq(vmxon(&operand), VMX_FAULT(6), "cr4_vmxe_clear");
    check_eq((uint64_t)trap_call_user(user_vmxon, &operand, 0).vector, 6, "cr4_vmxe_clear_user");
    rt_write_cr4(cr4 | CR4_VMXE);
    struct trap t = trap_call_compat(compat_vmxon, (uint32_t)(uint64_t)&operand, false);
    check_eq((uint64_t)t.vector, 6, "compatibility_mode");
    check_eq((uint64_t)trap_call_user(user_vmxon, &operand, 0).vector, 13, "user");
    operand = (uint64_t)vmxon_region + 8;
    check_eq(vmxon(&operand), VMX_FAIL_INVALID, "misaligned");
    operand = (uint64_t)vmxon_region | (1ull << 62);
    check_eq(vmxon(&operand), VMX_FAIL_INVALID, "beyond_physical_width");
    operand = (uint64_t)vmxon_region;
    vmxon_region[0] ^= 1;
    check_eq(vmxon(&operand), VMX_FAIL_INVALID, "wrong_revision");
    vmxon_region[0] ^= 1;
    vmxon_region[0] |= 0x80000000u;
    check_eq(vmxon(&operand), VMX_FAIL_INVALID, "revision_bit_31");
    vmxon_region[0] &= ~0x80000000ull;
    check_eq(vmxon((uint64_t *)0x8000000000000000ull), VMX_FAULT(13), "noncanonical_operand");
    check_eq(vmxon((uint64_t *)0x7000000000ull), VMX_FAULT(14), "unmapped_operand");
    check_eq(rt_fault.cr2, 0x7000000000ull, "unmapped_operand_cr2");
    check_eq(rt_fault.error, 0, "unmapped_operand_error");
}

/* In VMX operation CR0 and CR4 bits that VMX fixes cannot change. */
static void fixed_bits(void)
{
    uint64_t cr0 = rt_read_cr0(), cr4 = rt_read_cr4();
    unsigned failed;

#define TRY_WRITE(reg, value)                                                                      \
    ({                                                                                             \
        failed = 1;                                                                                \
        __asm__ volatile("1: movq %1, %%" #reg "\n"                                                \
                         "xorl %0, %0\n"                                                           \
                         "2:\n" RT_FIXUP("1b", "2b")                                               \
                         : "+r"(failed)                                                            \
                         : "r"((uint64_t)(value))                                                  \
                         : "memory", "cc");                                                        \
        failed != 0 ? rt_fault.vector : 0;                                                         \
    })
    check_eq(TRY_WRITE(cr4, cr4 & ~CR4_VMXE), 13, "cr4_vmxe_fixed");
    check_eq(TRY_WRITE(cr0, cr0 & ~CR0_NE), 13, "cr0_ne_fixed");
    check_eq(TRY_WRITE(cr0, cr0 & ~CR0_PG), 13, "cr0_pg_fixed");
    check_eq(TRY_WRITE(cr0, cr0 | CR0_TS), 0, "cr0_ts_free");
    check_eq(TRY_WRITE(cr0, cr0), 0, "cr0_restored");
    check_eq(TRY_WRITE(cr4, cr4 | CR4_PGE), 0, "cr4_pge_free");
    check_eq(TRY_WRITE(cr4, cr4), 0, "cr4_restored");
    check_eq(rt_read_cr0(), cr0, "cr0_unchanged");
    check_eq(rt_read_cr4(), cr4, "cr4_unchanged");
#undef TRY_WRITE
}

/* The MSRs that announce VMX are read-only, and so is IA32_FEATURE_CONTROL once it is locked. */
static void announcement(void)
{
    uint64_t control = rt_rdmsr(MSR_FEATURE_CONTROL);

    check_eq(control & 5, 5, "locked_and_enabled");
    check(!rt_wrmsr_safe(MSR_FEATURE_CONTROL, control), "feature_control_write_faults");
    for (uint32_t msr = MSR_VMX_BASIC; msr <= MSR_VMX_TRUE_ENTRY; msr++) {
        uint64_t value = 0;

        check(rt_rdmsr_safe(msr, &value), "read_%x", msr);
        check(!rt_wrmsr_safe(msr, value) && rt_fault.vector == 13, "write_%x_faults", msr);
    }
    check_eq(rt_rdmsr(MSR_VMX_BASIC) >> 55 & 1, 1, "true_controls");
    check_eq(rt_rdmsr(MSR_VMX_BASIC) >> 31 & 1, 0, "basic_bit_31");
    check_eq(rt_rdmsr(MSR_VMX_BASIC) >> 50 & 15, 6, "write_back_regions");
    check(((rt_rdmsr(MSR_VMX_BASIC) >> 32) & 0x1fff) <= 4096, "region_size");
}

void test_outside_vmx(void)
{
    check_group("announced");
    announcement();
    check_group("before_vmxon");
    rt_write_cr4(rt_read_cr4() | CR4_VMXE);
    all_undefined();
    check_group("vmxon");
    vmcs_prepare(vmxon_region);
    vmcs_prepare(vmcs_region[0]);
    vmxon_conditions();
    check(vmx_start(), "succeeds");
    check_eq(vmxon(&operand), VMX_FAIL_INVALID, "in_vmx_operation_no_vmcs");
    operand = ~0ull;
    check_eq(vmptrst(&operand), VMX_OK, "vmptrst_at_start");
    check_eq(operand, ~0ull, "no_current_vmcs_at_start");
    fixed_bits();

    check_group("vmxoff");
    check_eq((uint64_t)trap_call_user(user_vmxoff, NULL, 0).vector, 13, "user");
    check_eq(vmxoff(), VMX_OK, "succeeds");
    check_group("after_vmxoff");
    all_undefined();
    rt_write_cr4(rt_read_cr4() & ~CR4_VMXE);
    check_eq(rt_read_cr4() & CR4_VMXE, 0, "cr4_vmxe_free");
    check_group("vmxon_again");
    check(vmx_start(), "succeeds");
}
