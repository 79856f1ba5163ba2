// SPDX-License-Identifier: MIT
/*
 * State of the CPU that L1 and L2 share and neither VMCB nor VMCS holds: extended state, XCR0, IA32_XSS, DR0
 * to DR3, TSC_AUX.
 * The kernel's own (and, with kernel_fpu_begin(), the process's) is put back after each exit.
 */
#include <linux/cpufeature.h>
#include <linux/gfp.h>
#include <linux/hw_breakpoint.h>

#include <asm/debugreg.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/msr.h>
#include <asm/pkru.h>

#include "nvl.h"

#define XCR0_OFFERED 0xe7ULL /* x87, SSE, AVX, AVX-512 */
#define XCR0_X87 1ULL
#define XCR0_SSE 2ULL
#define XCR0_AVX 4ULL
#define XCR0_AVX512 0xe0ULL
#define MXCSR_RESET 0x1f80u
#define MXCSR_OFFSET 24u
#define LEAF_XSAVE 0xdu
#define XSAVES 8u

/* IA32_XSS of the kernel; guests have 0, so that XRSTORS of theirs loads no supervisor state. */
static u64 host_xss;

void nvl_fpu_setup(void)
{
	struct nvl_cpuid features;

	cpuid_count(LEAF_XSAVE, 1, &features.eax, &features.ebx, &features.ecx, &features.edx);
	if ((features.eax & XSAVES) == 0 || rdmsrq_safe(MSR_IA32_XSS, &host_xss))
		host_xss = 0;
}

/* Bytes of all that this kernel has enabled in XCR0. */
static u32 area_bytes(void)
{
	return cpuid_ebx(LEAF_XSAVE);
}

int nvl_fpu_init(struct nvl_vcpu *vcpu)
{
	vcpu->fpu = (void *)__get_free_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO,
					     get_order(area_bytes()));
	if (!vcpu->fpu)
		return -ENOMEM;
	*(u32 *)(vcpu->fpu + MXCSR_OFFSET) = MXCSR_RESET;
	vcpu->xcr0 = XCR0_X87;
	return 0;
}

void nvl_fpu_exit(struct nvl_vcpu *vcpu)
{
	if (vcpu->fpu)
		free_pages((unsigned long)vcpu->fpu, get_order(area_bytes()));
}

u64 nvl_fpu_offered(void)
{
	return xgetbv(XCR_XFEATURE_ENABLED_MASK) & XCR0_OFFERED;
}

bool nvl_fpu_set_xcr0(struct nvl_vcpu *vcpu, u32 index, u64 value)
{
	if (index != 0 || (value & ~nvl_fpu_offered()) || !(value & XCR0_X87))
		return false;
	if ((value & XCR0_AVX) && !(value & XCR0_SSE))
		return false;
	if ((value & XCR0_AVX512) &&
	    ((value & XCR0_AVX512) != XCR0_AVX512 || !(value & XCR0_AVX)))
		return false;
	vcpu->xcr0 = value;
	return true;
}

/* Under the kernel's XCR0, so that parts the guest has switched off are kept as well. */
void nvl_fpu_load(struct nvl_vcpu *vcpu)
{
	kernel_fpu_begin();
	vcpu->host_pkru = cpu_feature_enabled(X86_FEATURE_OSPKE) ? rdpkru() : 0;
	asm volatile("xrstor64 (%0)" : : "r"(vcpu->fpu), "a"(~0u), "d"(~0u) : "memory");
}

void nvl_fpu_save(struct nvl_vcpu *vcpu)
{
	asm volatile("xsave64 (%0)" : : "r"(vcpu->fpu), "a"(~0u), "d"(~0u) : "memory");
	if (cpu_feature_enabled(X86_FEATURE_OSPKE))
		wrpkru(vcpu->host_pkru);
	kernel_fpu_end();
}

/* The last steps, interrupts off. */
void nvl_fpu_enter(struct nvl_vcpu *vcpu)
{
	vcpu->host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	if (vcpu->host_xcr0 != vcpu->xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
	if (host_xss)
		wrmsrq(MSR_IA32_XSS, 0);
	if (boot_cpu_has(X86_FEATURE_RDTSCP)) {
		rdmsrq(MSR_TSC_AUX, vcpu->host_tsc_aux);
		wrmsrq(MSR_TSC_AUX, vcpu->tsc_aux);
	}
	/* The kernel's breakpoints do not watch addresses of the guest's. */
	if (hw_breakpoint_active())
		set_debugreg(0UL, 7);
	set_debugreg(vcpu->dr[0], 0);
	set_debugreg(vcpu->dr[1], 1);
	set_debugreg(vcpu->dr[2], 2);
	set_debugreg(vcpu->dr[3], 3);
}

/* DR7 of the kernel is off after an exit: breakpoints of its own come back with it. */
void nvl_fpu_leave(struct nvl_vcpu *vcpu)
{
	get_debugreg(*(unsigned long *)&vcpu->dr[0], 0);
	get_debugreg(*(unsigned long *)&vcpu->dr[1], 1);
	get_debugreg(*(unsigned long *)&vcpu->dr[2], 2);
	get_debugreg(*(unsigned long *)&vcpu->dr[3], 3);
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
	if (boot_cpu_has(X86_FEATURE_RDTSCP))
		wrmsrq(MSR_TSC_AUX, vcpu->host_tsc_aux);
	if (host_xss)
		wrmsrq(MSR_IA32_XSS, host_xss);
	if (vcpu->host_xcr0 != vcpu->xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->host_xcr0);
}
