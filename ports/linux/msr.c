// SPDX-License-Identifier: MIT
/*
 * MSRs of L1 that neither nvirt nor a VMCB holds, by allow-list: any other is #GP, for L1 as for an L2
 * that L1 lets through.
 */
#include <asm/msr-index.h>
#include <asm/msr.h>

#include "nvl.h"

#define APIC_BASE_RESET 0xfee00000ULL
#define APIC_BASE_BSP (1ULL << 8)
#define APIC_BASE_ENABLE (1ULL << 11)
#define MTRR_CAPABILITIES 0x508ULL /* eight variable ranges, the fixed ones, write combining */
#define MISC_ENABLE_FAST_STRING 1ULL
#define MICROCODE 0x1000065ULL

void nvl_msr_init(struct nvl_vcpu *vcpu)
{
	vcpu->apic_base = APIC_BASE_RESET | APIC_BASE_ENABLE |
			  (vcpu->index == 0 ? APIC_BASE_BSP : 0);
}

/* The guest's MTRRs are kept and read back. Its memory is the process's, which is write-back. */
static u64 *mtrr(struct nvl_vcpu *vcpu, u32 msr)
{
	switch (msr) {
	case 0x200 ... 0x20f:
		return &vcpu->mtrr[msr - 0x200];
	case MSR_MTRRfix64K_00000:
		return &vcpu->mtrr[16];
	case MSR_MTRRfix16K_80000:
	case MSR_MTRRfix16K_A0000:
		return &vcpu->mtrr[17 + (msr - MSR_MTRRfix16K_80000)];
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		return &vcpu->mtrr[19 + (msr - MSR_MTRRfix4K_C0000)];
	case MSR_MTRRdefType:
		return &vcpu->mtrr[27];
	default:
		return NULL;
	}
}

/* Those of VMX that are swapped around a run. L1 writes them without an exit; this is for MSR lists and for
 * L2s whose writes exit: what hardware would refuse must not come to be loaded. */
static bool swapped_is_valid(u32 msr, u64 value)
{
	switch (msr) {
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_KERNEL_GS_BASE:
		return (u64)((s64)(value << 16) >> 16) == value;
	case MSR_SYSCALL_MASK:
		return value >> 32 == 0;
	default:
		return true;
	}
}

static u64 *swapped(struct nvl_vcpu *vcpu, u32 msr)
{
	return nvl_vendor == NVL_VMX ? nvl_vmx_msr(vcpu, msr) : NULL;
}

bool nvl_msr_read(struct nvl_vcpu *vcpu, u32 msr, u64 *value)
{
	const u64 *slot = mtrr(vcpu, msr);

	if (!slot)
		slot = swapped(vcpu, msr);
	if (slot) {
		*value = *slot;
		return true;
	}
	switch (msr) {
	case MSR_IA32_TSC:
		*value = rdtsc();
		return true;
	case MSR_IA32_APICBASE:
		*value = vcpu->apic_base;
		return true;
	case MSR_TSC_AUX:
		*value = vcpu->tsc_aux;
		return true;
	case MSR_MTRRcap:
		*value = MTRR_CAPABILITIES;
		return true;
	case MSR_IA32_MISC_ENABLE:
		*value = MISC_ENABLE_FAST_STRING;
		return true;
	case MSR_IA32_UCODE_REV:
		*value = MICROCODE;
		return true;
	case MSR_IA32_XSS:
	case MSR_IA32_PLATFORM_ID:
	case MSR_IA32_MCG_CAP:
	case MSR_IA32_MCG_STATUS:
	case MSR_IA32_DEBUGCTLMSR:
	case MSR_AMD64_SYSCFG:
	case MSR_AMD64_NB_CFG:
	case MSR_K7_HWCR:
	case MSR_K8_TOP_MEM1:
	case MSR_K8_TOP_MEM2:
	case 0: /* machine-check address and type of old */
	case 1:
		*value = 0;
		return true;
	default:
		return false;
	}
}

bool nvl_msr_write(struct nvl_vcpu *vcpu, u32 msr, u64 value)
{
	u64 *slot = mtrr(vcpu, msr);

	if (slot) {
		*slot = value;
		return true;
	}
	slot = swapped(vcpu, msr);
	if (slot) {
		if (!swapped_is_valid(msr, value))
			return false;
		*slot = value;
		return true;
	}
	switch (msr) {
	case MSR_IA32_APICBASE:
		/* Neither moved nor switched off or to x2APIC: the program's APIC is where it is. */
		return value == vcpu->apic_base;
	case MSR_TSC_AUX:
		if (value >> 32)
			return false;
		vcpu->tsc_aux = value;
		return true;
	case MSR_IA32_XSS:
	case MSR_IA32_UCODE_REV:
	case MSR_IA32_MCG_STATUS:
	case MSR_IA32_DEBUGCTLMSR:
	case MSR_AMD64_NB_CFG:
		return value == 0;
	default:
		return false;
	}
}
