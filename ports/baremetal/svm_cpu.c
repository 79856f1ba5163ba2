/* SPDX-License-Identifier: MIT */
/*
 * Detection and enabling of SVM (svm_cpu.h). [APM 2 "Enabling SVM"]
 */
#include "svm_cpu.h"

#include <nvirt/vmcb.h>

#include "rt.h"

#define CPUID_EXT_MAX 0x80000000u
#define CPUID_EXT_FEATURES 0x80000001u
#define CPUID_SVM 0x8000000au
#define CPUID_ECX_SVM (1u << 2)

const char *bm_svm_missing(void)
{
    uint64_t vm_cr;

    if (rt_cpuid(CPUID_EXT_MAX, 0).eax < CPUID_SVM ||
        (rt_cpuid(CPUID_EXT_FEATURES, 0).ecx & CPUID_ECX_SVM) == 0)
        return "CPUID announces no SVM";
    if ((rt_cpuid(CPUID_SVM, 0).edx & NVIRT_SVM_FEATURE_NP) == 0)
        return "SVM without nested paging (NPT)";
    /* A CPU without VM_CR (an old emulator) cannot have SVM disabled. */
    if (rt_rdmsr_safe(NVIRT_SVM_MSR_VM_CR, &vm_cr) && (vm_cr & NVIRT_SVM_VM_CR_SVMDIS) != 0)
        return "SVM is switched off by the firmware (VM_CR.SVMDIS)";
    return NULL;
}

bool bm_svm_enable(uint64_t host_save, uint64_t host_state)
{
    uint64_t efer = rt_rdmsr(NVIRT_SVM_MSR_EFER);

    if (!rt_wrmsr_safe(NVIRT_SVM_MSR_EFER, efer | NVIRT_SVM_EFER_SVME) ||
        !rt_wrmsr_safe(NVIRT_SVM_MSR_HSAVE_PA, host_save))
        return false;
    __asm__ volatile("clgi\n\tvmsave %%rax" : : "a"(host_state) : "memory");
    return true;
}

void bm_svm_load_host_state(uint64_t host_state)
{
    __asm__ volatile("vmload %%rax" : : "a"(host_state) : "memory");
}

void bm_svm_take_nmi(uint64_t host_state)
{
    /* The NMI gate switches to a stack of the host's TSS: TR must be the host's for that. */
    bm_svm_load_host_state(host_state);
    __asm__ volatile("stgi\n\tnop\n\tclgi" : : : "memory");
}
