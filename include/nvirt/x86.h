/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Bits of control registers, RFLAGS and EFER, exception vectors, and MSR numbers that both vendors
 * share [SDM 3A "Control Registers"; SDM 4 "Architectural MSRs"].
 */
#ifndef NVIRT_X86_H
#define NVIRT_X86_H

#include <nvirt/compiler.h>

/** @name Bits of CR0 [SDM 3A "Control Registers"]
 * @{ */
#define NVIRT_CR0_PE NVIRT_BIT(0)
#define NVIRT_CR0_MP NVIRT_BIT(1)
#define NVIRT_CR0_EM NVIRT_BIT(2)
#define NVIRT_CR0_TS NVIRT_BIT(3)
#define NVIRT_CR0_ET NVIRT_BIT(4)
#define NVIRT_CR0_NE NVIRT_BIT(5)
#define NVIRT_CR0_WP NVIRT_BIT(16)
#define NVIRT_CR0_AM NVIRT_BIT(18)
#define NVIRT_CR0_NW NVIRT_BIT(29)
#define NVIRT_CR0_CD NVIRT_BIT(30)
#define NVIRT_CR0_PG NVIRT_BIT(31)
/** @} */

/** @name Bits of CR4 [SDM 3A "Control Registers"]
 * @{ */
#define NVIRT_CR4_VME NVIRT_BIT(0)
#define NVIRT_CR4_PVI NVIRT_BIT(1)
#define NVIRT_CR4_TSD NVIRT_BIT(2)
#define NVIRT_CR4_DE NVIRT_BIT(3)
#define NVIRT_CR4_PSE NVIRT_BIT(4)
#define NVIRT_CR4_PAE NVIRT_BIT(5)
#define NVIRT_CR4_MCE NVIRT_BIT(6)
#define NVIRT_CR4_PGE NVIRT_BIT(7)
#define NVIRT_CR4_PCE NVIRT_BIT(8)
#define NVIRT_CR4_OSFXSR NVIRT_BIT(9)
#define NVIRT_CR4_OSXMMEXCPT NVIRT_BIT(10)
#define NVIRT_CR4_UMIP NVIRT_BIT(11)
#define NVIRT_CR4_LA57 NVIRT_BIT(12)
#define NVIRT_CR4_VMXE NVIRT_BIT(13)
#define NVIRT_CR4_SMXE NVIRT_BIT(14)
#define NVIRT_CR4_FSGSBASE NVIRT_BIT(16)
#define NVIRT_CR4_PCIDE NVIRT_BIT(17)
#define NVIRT_CR4_OSXSAVE NVIRT_BIT(18)
#define NVIRT_CR4_SMEP NVIRT_BIT(20)
#define NVIRT_CR4_SMAP NVIRT_BIT(21)
#define NVIRT_CR4_PKE NVIRT_BIT(22)
#define NVIRT_CR4_CET NVIRT_BIT(23)
#define NVIRT_CR4_PKS NVIRT_BIT(24)
/** @} */

/** @name Bits of RFLAGS [SDM 3A "System Flags and Fields in the EFLAGS Register"]
 * @{ */
#define NVIRT_RFLAGS_CF NVIRT_BIT(0)
#define NVIRT_RFLAGS_FIXED1 NVIRT_BIT(1)
#define NVIRT_RFLAGS_PF NVIRT_BIT(2)
#define NVIRT_RFLAGS_AF NVIRT_BIT(4)
#define NVIRT_RFLAGS_ZF NVIRT_BIT(6)
#define NVIRT_RFLAGS_SF NVIRT_BIT(7)
#define NVIRT_RFLAGS_TF NVIRT_BIT(8)
#define NVIRT_RFLAGS_IF NVIRT_BIT(9)
#define NVIRT_RFLAGS_OF NVIRT_BIT(11)
#define NVIRT_RFLAGS_RF NVIRT_BIT(16)
#define NVIRT_RFLAGS_VM NVIRT_BIT(17)
#define NVIRT_RFLAGS_AC NVIRT_BIT(18)
#define NVIRT_RFLAGS_VIF NVIRT_BIT(19)
#define NVIRT_RFLAGS_VIP NVIRT_BIT(20)
/** @} */

/** @name Bits of EFER [SDM 3A "Extended Feature Enable Register"]
 * @{ */
#define NVIRT_EFER_SCE NVIRT_BIT(0)
#define NVIRT_EFER_LME NVIRT_BIT(8)
#define NVIRT_EFER_LMA NVIRT_BIT(10)
#define NVIRT_EFER_NXE NVIRT_BIT(11)
#define NVIRT_EFER_SVME NVIRT_BIT(12)
#define NVIRT_EFER_LMSLE NVIRT_BIT(13)
#define NVIRT_EFER_FFXSR NVIRT_BIT(14)
#define NVIRT_EFER_TCE NVIRT_BIT(15)
/** @} */

/** DR7 after reset, all breakpoints off [SDM 3A "Debug Registers"]. */
#define NVIRT_DR7_DEFAULT UINT64_C(0x400)

/** @name Vectors of exceptions [SDM 3A "Exception and Interrupt Vectors"]
 * @{ */
#define NVIRT_VECTOR_DE 0u
#define NVIRT_VECTOR_DB 1u
#define NVIRT_VECTOR_NMI 2u
#define NVIRT_VECTOR_BP 3u
#define NVIRT_VECTOR_OF 4u
#define NVIRT_VECTOR_BR 5u
#define NVIRT_VECTOR_UD 6u
#define NVIRT_VECTOR_NM 7u
#define NVIRT_VECTOR_DF 8u
#define NVIRT_VECTOR_TS 10u
#define NVIRT_VECTOR_NP 11u
#define NVIRT_VECTOR_SS 12u
#define NVIRT_VECTOR_GP 13u
#define NVIRT_VECTOR_PF 14u
#define NVIRT_VECTOR_MF 16u
#define NVIRT_VECTOR_AC 17u
#define NVIRT_VECTOR_MC 18u
#define NVIRT_VECTOR_VE 20u
/** @} */

/** @name MSR numbers [SDM 4 "Architectural MSRs"]
 * @{ */
#define NVIRT_MSR_TSC 0x10u
#define NVIRT_MSR_SYSENTER_CS 0x174u
#define NVIRT_MSR_SYSENTER_ESP 0x175u
#define NVIRT_MSR_SYSENTER_EIP 0x176u
#define NVIRT_MSR_DEBUGCTL 0x1D9u
#define NVIRT_MSR_PAT 0x277u
#define NVIRT_MSR_PERF_GLOBAL_CTRL 0x38Fu
#define NVIRT_MSR_PKRS 0x6E1u
#define NVIRT_MSR_BNDCFGS 0xD90u
#define NVIRT_MSR_X2APIC_FIRST 0x800u
#define NVIRT_MSR_X2APIC_TPR 0x808u
#define NVIRT_MSR_X2APIC_EOI 0x80Bu
#define NVIRT_MSR_X2APIC_SELF_IPI 0x83Fu
#define NVIRT_MSR_X2APIC_LAST 0x8FFu
#define NVIRT_MSR_EFER 0xC0000080u
#define NVIRT_MSR_STAR 0xC0000081u
#define NVIRT_MSR_LSTAR 0xC0000082u
#define NVIRT_MSR_CSTAR 0xC0000083u
#define NVIRT_MSR_SFMASK 0xC0000084u
#define NVIRT_MSR_FS_BASE 0xC0000100u
#define NVIRT_MSR_GS_BASE 0xC0000101u
#define NVIRT_MSR_KERNEL_GS_BASE 0xC0000102u
#define NVIRT_MSR_TSC_AUX 0xC0000103u
/** @} */

#endif
