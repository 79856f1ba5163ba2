/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the VMX architecture as the test hypervisor uses them, typed from the manual:
 * [SDM 3D "Field Encoding in VMCS"], [SDM 3C "Virtual Machine Control Structures"],
 * [SDM 3D "VMX Basic Exit Reasons"].
 */
#ifndef VMX_H
#define VMX_H

/* --- MSRs ----------------------------------------------------------------------------------- */
#define MSR_APIC_BASE 0x1bu
#define MSR_FEATURE_CONTROL 0x3au
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_DEBUGCTL 0x1d9u
#define MSR_PAT 0x277u
#define MSR_VMX_BASIC 0x480u
#define MSR_VMX_CR0_FIXED0 0x486u
#define MSR_VMX_CR0_FIXED1 0x487u
#define MSR_VMX_CR4_FIXED0 0x488u
#define MSR_VMX_CR4_FIXED1 0x489u
#define MSR_VMX_PROC2 0x48bu
#define MSR_VMX_VMFUNC 0x491u
#define MSR_VMX_EPT_VPID_CAP 0x48cu
#define MSR_VMX_TRUE_PIN 0x48du
#define MSR_VMX_TRUE_PROC 0x48eu
#define MSR_VMX_TRUE_EXIT 0x48fu
#define MSR_VMX_TRUE_ENTRY 0x490u
#define MSR_S_CET 0x6a2u
#define MSR_SSP_TABLE 0x6a8u
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)
#define CR4_TSD (1ull << 2)
#define CR4_DE (1ull << 3)
#define CR4_PAE (1ull << 5)
#define CR4_PGE (1ull << 7)
#define CR4_PCE (1ull << 8)
#define CR4_VMXE (1ull << 13)
#define CR4_PCIDE (1ull << 17)
#define CR4_OSXSAVE (1ull << 18)
#define CR4_CET (1ull << 23)

/* --- VMCS fields ------------------------------------------------------------------------------ */
#define F_VPID 0x0000u
#define F_POSTED_VECTOR 0x0002u
#define F_G_ES_SEL 0x0800u
#define F_G_CS_SEL 0x0802u
#define F_G_SS_SEL 0x0804u
#define F_G_DS_SEL 0x0806u
#define F_G_FS_SEL 0x0808u
#define F_G_GS_SEL 0x080au
#define F_G_LDTR_SEL 0x080cu
#define F_G_TR_SEL 0x080eu
#define F_G_INTR_STATUS 0x0810u
#define F_H_ES_SEL 0x0c00u
#define F_H_CS_SEL 0x0c02u
#define F_H_SS_SEL 0x0c04u
#define F_H_DS_SEL 0x0c06u
#define F_H_FS_SEL 0x0c08u
#define F_H_GS_SEL 0x0c0au
#define F_H_TR_SEL 0x0c0cu
#define F_IO_BITMAP_A 0x2000u
#define F_IO_BITMAP_B 0x2002u
#define F_MSR_BITMAP 0x2004u
#define F_EXIT_MSR_STORE 0x2006u
#define F_EXIT_MSR_LOAD 0x2008u
#define F_ENTRY_MSR_LOAD 0x200au
#define F_TSC_OFFSET 0x2010u
#define F_XSS_BITMAP 0x202cu
#define F_SPPTP 0x2030u
#define F_TSC_MULTIPLIER 0x2032u
#define F_PML_ADDR 0x200eu
#define F_VE_INFO 0x202au
#define F_EPTP_INDEX 0x0004u
#define F_G_PML_INDEX 0x0812u
#define F_VIRTUAL_APIC 0x2012u
#define F_APIC_ACCESS 0x2014u
#define F_POSTED_DESCRIPTOR 0x2016u
#define F_VMFUNC_CONTROLS 0x2018u
#define F_EPTP 0x201au
#define F_EOI_EXIT0 0x201cu
#define F_EPTP_LIST 0x2024u
#define F_VMREAD_BITMAP 0x2026u
#define F_VMWRITE_BITMAP 0x2028u
#define F_GUEST_PHYS 0x2400u
#define F_G_LINK 0x2800u
#define F_G_DEBUGCTL 0x2802u
#define F_G_PAT 0x2804u
#define F_G_EFER 0x2806u
#define F_G_PDPTE0 0x280au
#define F_H_PAT 0x2c00u
#define F_H_EFER 0x2c02u
#define F_PIN 0x4000u
#define F_PROC 0x4002u
#define F_EXCEPTION_BITMAP 0x4004u
#define F_PF_MASK 0x4006u
#define F_PF_MATCH 0x4008u
#define F_CR3_TARGET_COUNT 0x400au
#define F_EXIT 0x400cu
#define F_EXIT_MSR_STORE_COUNT 0x400eu
#define F_EXIT_MSR_LOAD_COUNT 0x4010u
#define F_ENTRY 0x4012u
#define F_ENTRY_MSR_LOAD_COUNT 0x4014u
#define F_ENTRY_INTR 0x4016u
#define F_ENTRY_INTR_ERROR 0x4018u
#define F_ENTRY_INSN_LEN 0x401au
#define F_TPR_THRESHOLD 0x401cu
#define F_PLE_GAP 0x4020u
#define F_PLE_WINDOW 0x4022u
#define F_PROC2 0x401eu
#define F_INSN_ERROR 0x4400u
#define F_REASON 0x4402u
#define F_INTR 0x4404u
#define F_INTR_ERROR 0x4406u
#define F_IDTV 0x4408u
#define F_IDTV_ERROR 0x440au
#define F_INSN_LEN 0x440cu
#define F_INSN_INFO 0x440eu
#define F_G_ES_LIMIT 0x4800u
#define F_G_CS_LIMIT 0x4802u
#define F_G_SS_LIMIT 0x4804u
#define F_G_DS_LIMIT 0x4806u
#define F_G_FS_LIMIT 0x4808u
#define F_G_GS_LIMIT 0x480au
#define F_G_LDTR_LIMIT 0x480cu
#define F_G_TR_LIMIT 0x480eu
#define F_G_GDTR_LIMIT 0x4810u
#define F_G_IDTR_LIMIT 0x4812u
#define F_G_ES_AR 0x4814u
#define F_G_CS_AR 0x4816u
#define F_G_SS_AR 0x4818u
#define F_G_DS_AR 0x481au
#define F_G_FS_AR 0x481cu
#define F_G_GS_AR 0x481eu
#define F_G_LDTR_AR 0x4820u
#define F_G_TR_AR 0x4822u
#define F_G_INTERRUPTIBILITY 0x4824u
#define F_G_ACTIVITY 0x4826u
#define F_G_SYSENTER_CS 0x482au
#define F_PREEMPTION_TIMER 0x482eu
#define F_H_SYSENTER_CS 0x4c00u
#define F_CR0_MASK 0x6000u
#define F_CR4_MASK 0x6002u
#define F_CR0_SHADOW 0x6004u
#define F_CR4_SHADOW 0x6006u
#define F_CR3_TARGET0 0x6008u
#define F_QUALIFICATION 0x6400u
#define F_IO_RCX 0x6402u
#define F_IO_RSI 0x6404u
#define F_IO_RDI 0x6406u
#define F_IO_RIP 0x6408u
#define F_LINEAR 0x640au
#define F_G_CR0 0x6800u
#define F_G_CR3 0x6802u
#define F_G_CR4 0x6804u
#define F_G_ES_BASE 0x6806u
#define F_G_CS_BASE 0x6808u
#define F_G_SS_BASE 0x680au
#define F_G_DS_BASE 0x680cu
#define F_G_FS_BASE 0x680eu
#define F_G_GS_BASE 0x6810u
#define F_G_LDTR_BASE 0x6812u
#define F_G_TR_BASE 0x6814u
#define F_G_GDTR_BASE 0x6816u
#define F_G_IDTR_BASE 0x6818u
#define F_G_DR7 0x681au
#define F_G_RSP 0x681cu
#define F_G_RIP 0x681eu
#define F_G_RFLAGS 0x6820u
#define F_G_PENDING_DEBUG 0x6822u
#define F_G_SYSENTER_ESP 0x6824u
#define F_G_SYSENTER_EIP 0x6826u
#define F_G_S_CET 0x6828u
#define F_G_SSP 0x682au
#define F_G_SSP_TABLE 0x682cu
#define F_H_CR0 0x6c00u
#define F_H_CR3 0x6c02u
#define F_H_CR4 0x6c04u
#define F_H_FS_BASE 0x6c06u
#define F_H_GS_BASE 0x6c08u
#define F_H_TR_BASE 0x6c0au
#define F_H_GDTR_BASE 0x6c0cu
#define F_H_IDTR_BASE 0x6c0eu
#define F_H_SYSENTER_ESP 0x6c10u
#define F_H_SYSENTER_EIP 0x6c12u
#define F_H_RSP 0x6c14u
#define F_H_RIP 0x6c16u
#define F_H_S_CET 0x6c18u
#define F_H_SSP 0x6c1au
#define F_H_SSP_TABLE 0x6c1cu

/* --- Controls --------------------------------------------------------------------------------- */
#define PIN_EXTINT (1u << 0)
#define PIN_NMI (1u << 3)
#define PIN_VIRTUAL_NMI (1u << 5)
#define PIN_PREEMPTION (1u << 6)
#define PIN_POSTED (1u << 7)

#define PROC_INT_WINDOW (1u << 2)
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_HLT (1u << 7)
#define PROC_INVLPG (1u << 9)
#define PROC_MWAIT (1u << 10)
#define PROC_RDPMC (1u << 11)
#define PROC_RDTSC (1u << 12)
#define PROC_CR3_LOAD (1u << 15)
#define PROC_CR3_STORE (1u << 16)
#define PROC_CR8_LOAD (1u << 19)
#define PROC_CR8_STORE (1u << 20)
#define PROC_TPR_SHADOW (1u << 21)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_MOV_DR (1u << 23)
#define PROC_IO (1u << 24)
#define PROC_IO_BITMAPS (1u << 25)
#define PROC_MTF (1u << 27)
#define PROC_MSR_BITMAPS (1u << 28)
#define PROC_MONITOR (1u << 29)
#define PROC_PAUSE (1u << 30)
#define PROC_SECONDARY (1u << 31)

#define PROC2_APIC_ACCESSES (1u << 0)
#define PROC2_EPT (1u << 1)
#define PROC2_DESC_TABLE (1u << 2)
#define PROC2_RDTSCP (1u << 3)
#define PROC2_X2APIC (1u << 4)
#define PROC2_VPID (1u << 5)
#define PROC2_WBINVD (1u << 6)
#define PROC2_UNRESTRICTED (1u << 7)
#define PROC2_APIC_REGISTERS (1u << 8)
#define PROC2_VIRTUAL_INTERRUPTS (1u << 9)
#define PROC2_PAUSE_LOOP (1u << 10)
#define PROC2_RDRAND (1u << 11)
#define PROC2_INVPCID (1u << 12)
#define PROC2_SHADOW_VMCS (1u << 14)
#define PROC2_VMFUNC (1u << 13)
#define PROC2_RDSEED (1u << 16)
#define PROC2_XSAVES (1u << 20)
#define PROC2_PML (1u << 17)
#define PROC2_EPT_VE (1u << 18)
#define PROC2_SUBPAGES (1u << 23)
#define PROC2_TSC_SCALING (1u << 25)

#define EXIT_SAVE_DEBUG (1u << 2)
#define EXIT_HOST64 (1u << 9)
#define EXIT_ACK (1u << 15)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)
#define EXIT_SAVE_TIMER (1u << 22)
#define EXIT_LOAD_CET (1u << 28)

#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_IA32E (1u << 9)
#define ENTRY_SMM (1u << 10)
#define ENTRY_DUAL_MONITOR (1u << 11)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)
#define ENTRY_LOAD_CET (1u << 20)

/* --- Exit reasons ----------------------------------------------------------------------------- */
#define R_EXCEPTION 0u
#define R_EXTINT 1u
#define R_TRIPLE_FAULT 2u
#define R_INT_WINDOW 7u
#define R_NMI_WINDOW 8u
#define R_TASK_SWITCH 9u
#define R_CPUID 10u
#define R_HLT 12u
#define R_INVD 13u
#define R_INVLPG 14u
#define R_RDPMC 15u
#define R_RDTSC 16u
#define R_VMCALL 18u
#define R_VMCLEAR 19u
#define R_VMLAUNCH 20u
#define R_VMPTRLD 21u
#define R_VMPTRST 22u
#define R_VMREAD 23u
#define R_VMRESUME 24u
#define R_VMWRITE 25u
#define R_VMXOFF 26u
#define R_VMXON 27u
#define R_CR 28u
#define R_MOV_DR 29u
#define R_IO 30u
#define R_RDMSR 31u
#define R_WRMSR 32u
#define R_BAD_GUEST 33u
#define R_BAD_MSR 34u
#define R_MWAIT 36u
#define R_MTF 37u
#define R_MONITOR 39u
#define R_PAUSE 40u
#define R_TPR_BELOW_THRESHOLD 43u
#define R_APIC_ACCESS 44u
#define R_VIRTUALIZED_EOI 45u
#define R_GDTR_IDTR 46u
#define R_LDTR_TR 47u
#define R_EPT_VIOLATION 48u
#define R_EPT_MISCONFIG 49u
#define R_PML_FULL 62u
#define R_SPP 66u
#define R_INVEPT 50u
#define R_RDTSCP 51u
#define R_PREEMPTION 52u
#define R_INVVPID 53u
#define R_WBINVD 54u
#define R_XSETBV 55u
#define R_APIC_WRITE 56u
#define R_RDRAND 57u
#define R_INVPCID 58u
#define R_VMFUNC 59u
#define R_RDSEED 61u
#define R_XSAVES 63u
#define R_XRSTORS 64u
#define R_ENTRY_FAILURE (1u << 31)

/* --- VM-instruction errors -------------------------------------------------------------------- */
#define E_VMCALL_ROOT 1u
#define E_VMCLEAR_ADDR 2u
#define E_VMCLEAR_VMXON 3u
#define E_LAUNCH_NOT_CLEAR 4u
#define E_RESUME_NOT_LAUNCHED 5u
#define E_CONTROLS 7u
#define E_HOST_STATE 8u
#define E_VMPTRLD_ADDR 9u
#define E_VMPTRLD_VMXON 10u
#define E_VMPTRLD_REVISION 11u
#define E_UNSUPPORTED_FIELD 12u
#define E_READ_ONLY_FIELD 13u
#define E_VMXON_IN_ROOT 15u
#define E_MOV_SS 26u
#define E_INV_OPERAND 28u

/* --- Interruption information ----------------------------------------------------------------- */
#define INTR_VALID (1u << 31)
#define INTR_ERROR (1u << 11)
#define INTR_NMI_UNBLOCKED (1u << 12)
#define INTR_TYPE(t) ((uint32_t)(t) << 8)
#define T_EXTINT 0u
#define T_NMI 2u
#define T_HARD 3u
#define T_SOFTINT 4u
#define T_PRIV_SOFT 5u
#define T_SOFT_EXC 6u
#define T_OTHER 7u

#define BLOCK_STI 1u
#define BLOCK_MOV_SS 2u
#define BLOCK_SMI 4u
#define BLOCK_NMI 8u

#define ACTIVITY_ACTIVE 0u
#define ACTIVITY_HLT 1u
#define ACTIVITY_SHUTDOWN 2u

/* --- EPT -------------------------------------------------------------------------------------- */
#define EPT_R 1ull
#define EPT_W 2ull
#define EPT_X 4ull
#define EPT_RWX 7ull
#define EPT_WB (6ull << 3)
#define EPT_LARGE (1ull << 7)
#define EPT_A (1ull << 8)
#define EPT_D (1ull << 9)
#define EPTP_WALK4 (3ull << 3)
#define EPTP_WB 6ull
#define EPTP_AD (1ull << 6)

#endif
