// SPDX-License-Identifier: MIT
/*
 * CPUID as L1 sees it: what the CPU has, by allow-list. A feature is listed when its state is swapped
 * (fpu.c), lies in the VMCB, or is none. [APM 3 "CPUID"]
 */
#include <asm/processor.h>

#include "nvl.h"

#define BIT_OSXSAVE (1u << 27)
#define BIT_APIC (1u << 9)
#define BIT_LA57 (1u << 16)
#define LAST_BASIC 0xdu
#define LAST_EXTENDED 0x8000000au
#define LEAF_SVM 0x8000000au

/*
 * Leaf 1 ECX: SSE3 PCLMUL MONITOR SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND
 * and the bit that says hypervisor. EDX: all but machine check, ACPI, thermal monitoring, DS and SS.
 */
#define ALLOW_1_ECX 0xf6d8320bu
#define ALLOW_1_EDX 0x078bfb7fu
/* On VMX also: VMX and PCID; MCE, which the host keeps on; INVPCID. */
#define ALLOW_1_ECX_VMX 0x00020020u
#define ALLOW_1_EDX_VMX 0x00000080u
#define ALLOW_7_EBX_VMX 0x00000400u
/* Leaf 7 EBX: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS AVX512F AVX512DQ RDSEED ADX SMAP AVX512IFMA
 * CLFLUSHOPT CLWB AVX512CD SHA AVX512BW AVX512VL. ECX: AVX512 extensions, UMIP, GFNI, VAES,
 * VPCLMULQDQ, LA57. */
#define ALLOW_7_EBX 0xf1bf03a9u
#define ALLOW_7_ECX 0x00015f46u
/* What of these needs AVX registers, and AVX-512's. */
#define LEAF_1_ECX_AVX 0x30001000u /* FMA AVX F16C */
#define LEAF_7_EBX_AVX 0x00000020u
#define LEAF_7_ECX_AVX 0x00000600u /* VAES VPCLMULQDQ */
#define LEAF_7_EBX_AVX512 0xd0230000u
#define LEAF_7_ECX_AVX512 0x00005842u
#define XCR0_AVX 4u
#define XCR0_AVX512 0xe0u
/* ECX: LAHF SVM CR8 ABM SSE4A misaligned SSE, PREFETCHW. EDX: what leaf 1 has, and SYSCALL NX MMXEXT
 * FXSR 1G RDTSCP LM 3DNow. */
#define ALLOW_81_ECX 0x000001f5u
#define ALLOW_81_EDX 0xefd3fb7fu
#define ALLOW_88_EBX 0x00000001u /* CLZERO */

/* What is allowed on VMX beside. */
static u32 on_vmx(u32 mask)
{
	return nvl_vendor == NVL_VMX ? mask : 0;
}

static void hardware(u32 leaf, u32 subleaf, struct nvl_cpuid *out)
{
	cpuid_count(leaf, subleaf, &out->eax, &out->ebx, &out->ecx, &out->edx);
}

u8 nvl_physical_bits(void)
{
	u32 bits = cpuid_eax(0x80000008) & 0xff;

	return clamp(bits, 32u, 52u);
}

/* Bytes of the standard form for what `mask` enables. [APM 3 "CPUID"] */
static u32 xsave_bytes(u64 mask)
{
	u32 bytes = 512 + 64, i;

	for (i = 2; i < 63; i++) {
		struct nvl_cpuid part;

		if (!(mask >> i & 1))
			continue;
		hardware(0xd, i, &part);
		bytes = max(bytes, part.ebx + part.eax);
	}
	return bytes;
}

/* The same of the compacted form, in which parts of 64 bytes' alignment say so. */
static u32 compacted_bytes(u64 mask)
{
	u32 bytes = 512 + 64, i;

	for (i = 2; i < 63; i++) {
		struct nvl_cpuid part;

		if (!(mask >> i & 1))
			continue;
		hardware(0xd, i, &part);
		bytes = (part.ecx & 2 ? ALIGN(bytes, 64) : bytes) + part.eax;
	}
	return bytes;
}

static void xsave_leaf(const struct nvl_vcpu *vcpu, u32 subleaf, struct nvl_cpuid *out)
{
	u64 offered = nvl_fpu_offered();

	if (subleaf == 0) {
		*out = (struct nvl_cpuid){(u32)offered, xsave_bytes(vcpu->xcr0),
					  xsave_bytes(offered), (u32)(offered >> 32)};
	} else if (subleaf == 1) {
		/* XSAVES without supervisor state; SVM's has no enable of its own and is not shown. */
		*out = (struct nvl_cpuid){out->eax & (7u | on_vmx(8u)), 0, 0, 0};
		if (out->eax & 8u)
			out->ebx = compacted_bytes(vcpu->xcr0);
	} else if (subleaf >= 63 || !(offered >> subleaf & 1)) {
		*out = (struct nvl_cpuid){};
	}
}

/* Of features whose registers the kernel has not enabled nothing is shown. */
static void without_state(u32 leaf, struct nvl_cpuid *out)
{
	u64 offered = nvl_fpu_offered();

	if (leaf == 1 && !(offered & XCR0_AVX)) {
		out->ecx &= ~LEAF_1_ECX_AVX;
	} else if (leaf == 7) {
		if (!(offered & XCR0_AVX)) {
			out->ebx &= ~LEAF_7_EBX_AVX;
			out->ecx &= ~LEAF_7_ECX_AVX;
		}
		if ((offered & XCR0_AVX512) != XCR0_AVX512) {
			out->ebx &= ~LEAF_7_EBX_AVX512;
			out->ecx &= ~LEAF_7_ECX_AVX512;
		}
	}
}

static void basic(const struct nvl_vcpu *vcpu, u32 leaf, u32 subleaf, bool osxsave,
		  struct nvl_cpuid *out)
{
	switch (leaf) {
	case 0:
		out->eax = min(out->eax, LAST_BASIC);
		break;
	case 1:
		out->ebx = (out->ebx & 0xffffu) | (1u << 16) | (vcpu->index << 24);
		out->ecx = (out->ecx & (ALLOW_1_ECX | on_vmx(ALLOW_1_ECX_VMX))) |
			   (osxsave ? BIT_OSXSAVE : 0);
		out->edx = (out->edx & (ALLOW_1_EDX | on_vmx(ALLOW_1_EDX_VMX))) | BIT_APIC;
		break;
	case 2:
	case 4:
		break;
	case 7:
		*out = subleaf == 0 ? (struct nvl_cpuid){0, out->ebx & (ALLOW_7_EBX | on_vmx(ALLOW_7_EBX_VMX)),
							 out->ecx & ALLOW_7_ECX & ~on_vmx(BIT_LA57), 0}
				    : (struct nvl_cpuid){};
		break;
	case 0xd:
		xsave_leaf(vcpu, subleaf, out);
		break;
	default:
		*out = (struct nvl_cpuid){};
		break;
	}
}

static void extended(const struct nvl_vcpu *vcpu, u32 leaf, struct nvl_cpuid *out)
{
	switch (leaf) {
	case 0x80000000u:
		out->eax = min(out->eax, LAST_EXTENDED);
		break;
	case 0x80000001u:
		out->ecx &= ALLOW_81_ECX;
		out->edx &= ALLOW_81_EDX;
		break;
	case 0x80000002u ... 0x80000006u:
		break;
	case 0x80000007u:
		*out = (struct nvl_cpuid){0, 0, 0, out->edx & (1u << 8)}; /* invariant TSC */
		break;
	case 0x80000008u:
		*out = (struct nvl_cpuid){out->eax & 0xffffu, out->ebx & ALLOW_88_EBX, 0, 0};
		break;
	case LEAF_SVM:
		*out = (struct nvl_cpuid){};
		if (nvl_vendor == NVL_SVM)
			nvl_svm_cpuid(out);
		break;
	default:
		*out = (struct nvl_cpuid){};
		break;
	}
}

void nvl_cpuid(const struct nvl_vcpu *vcpu, u32 leaf, u32 subleaf, bool osxsave,
	       struct nvl_cpuid *out)
{
	hardware(leaf, subleaf, out);
	if (leaf < 0x40000000u) {
		without_state(leaf, out);
		basic(vcpu, leaf, subleaf, osxsave, out);
	} else {
		extended(vcpu, leaf, out);
	}
}
