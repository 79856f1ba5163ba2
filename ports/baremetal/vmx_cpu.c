/* SPDX-License-Identifier: MIT */
/*
 * Detection and enabling of VMX, and NMIs that hit the host (vmx_cpu.h).
 * [SDM 3C "Enabling and Entering VMX Operation"]
 */
#include "vmx_cpu.h"

#include <nvirt/vmcs.h>
#include <nvirt/x86.h>

#include "rt.h"

#define CPUID_1_ECX_VMX (1u << 5)
#define CPUID_1_ECX_XSAVE (1u << 26)

extern const char bm_vmx_window[], bm_vmx_window_end[], bm_vmx_abort[], bm_vmx_exit[];
extern char bm_vmx_top[];

/* Set by the NMI hook, looked at by bm_vmx_run(). */
volatile uint8_t bm_vmx_nmi __attribute__((visibility("hidden")));

static const char *control_missing(void)
{
    uint64_t proc2;
    const uint64_t needed = NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED;

    if ((rt_rdmsr(NVIRT_MSR_VMX_BASIC) & NVIRT_VMX_BASIC_TRUE) == 0)
        return "VMX without the TRUE capability MSRs";
    if (((rt_rdmsr(NVIRT_MSR_VMX_PROCBASED_CTLS) >> 32) & NVIRT_VMX_PROC_SECONDARY) == 0)
        return "VMX without extended page tables (EPT)";
    proc2 = rt_rdmsr(NVIRT_MSR_VMX_PROCBASED_CTLS2) >> 32;
    if ((proc2 & NVIRT_VMX_PROC2_EPT) == 0)
        return "VMX without extended page tables (EPT)";
    /* L1 starts without paging, as boot protocols have it. */
    if ((proc2 & needed) != needed)
        return "VMX without \"unrestricted guest\"";
    return NULL;
}

const char *bm_vmx_missing(void)
{
    uint64_t feature;

    if ((rt_cpuid(1, 0).ecx & CPUID_1_ECX_VMX) == 0)
        return "CPUID announces no VMX";
    if (!rt_rdmsr_safe(NVIRT_MSR_FEATURE_CONTROL, &feature))
        return "VMX without IA32_FEATURE_CONTROL";
    if ((feature & NVIRT_FEATURE_CONTROL_LOCK) != 0 && (feature & NVIRT_FEATURE_CONTROL_VMX) == 0)
        return "VMX is switched off by the firmware (IA32_FEATURE_CONTROL)";
    return control_missing();
}

static bool nmi_hook(struct rt_trap_frame *frame)
{
    if (frame->vector != NVIRT_VECTOR_NMI)
        return false;
    bm_vmx_nmi = 1;
    if (frame->rip >= (uint64_t)bm_vmx_window && frame->rip < (uint64_t)bm_vmx_window_end)
        frame->rip = (uint64_t)bm_vmx_abort;
    return true;
}

bool bm_vmx_take_nmi(void)
{
    bool waiting = bm_vmx_nmi != 0;

    bm_vmx_nmi = 0;
    return waiting;
}

uint64_t bm_vmx_host_rip(void)
{
    return (uint64_t)bm_vmx_exit;
}

uint64_t bm_vmx_host_rsp(void)
{
    return (uint64_t)bm_vmx_top;
}

bool bm_vmx_enable(uint64_t vmxon)
{
    uint64_t feature = rt_rdmsr(NVIRT_MSR_FEATURE_CONTROL);
    uint64_t cr0 = rt_read_cr0();
    uint64_t cr4 = rt_read_cr4() | NVIRT_CR4_VMXE;
    uint8_t failed;

    if ((feature & NVIRT_FEATURE_CONTROL_LOCK) == 0)
        rt_wrmsr(NVIRT_MSR_FEATURE_CONTROL,
                 feature | NVIRT_FEATURE_CONTROL_LOCK | NVIRT_FEATURE_CONTROL_VMX);
    /* XSETBV on behalf of L1 needs it in the host. */
    if ((rt_cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE) != 0)
        cr4 |= NVIRT_CR4_OSXSAVE;
    rt_write_cr0((cr0 | rt_rdmsr(NVIRT_MSR_VMX_CR0_FIXED0)) & rt_rdmsr(NVIRT_MSR_VMX_CR0_FIXED1));
    rt_write_cr4((cr4 | rt_rdmsr(NVIRT_MSR_VMX_CR4_FIXED0)) & rt_rdmsr(NVIRT_MSR_VMX_CR4_FIXED1));
    *(uint32_t *)vmxon =
        (uint32_t)(rt_rdmsr(NVIRT_MSR_VMX_BASIC) & NVIRT_VMX_BASIC_REVISION);
    __asm__ volatile("vmxon %1\n\tsetna %0" : "=qm"(failed) : "m"(vmxon) : "memory", "cc");
    if (failed != 0)
        return false;
    rt_set_trap_hook(nmi_hook);
    return true;
}
