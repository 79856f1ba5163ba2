/* SPDX-License-Identifier: MIT */
/*
 * The virtual machine control block and the numbers of AMD SVM, as the L1 test hypervisor sees
 * them. Typed from [APM 2 "Layout of VMCB"] and [APM 2 "SVM Intercept Exit Codes"]; the tests do
 * not share the library's tables on purpose, so that a mistake there cannot hide here.
 */
#ifndef SVM_TEST_SVM_H
#define SVM_TEST_SVM_H

#include <stddef.h>
#include <stdint.h>

struct vmcb_seg {
    uint16_t selector;
    uint16_t attrib;
    uint32_t limit;
    uint64_t base;
};

struct vmcb {
    /* control area */
    uint16_t cr_read, cr_write;
    uint16_t dr_read, dr_write;
    uint32_t exceptions;
    uint32_t misc[3];
    uint8_t reserved_018[0x24];
    uint16_t pause_threshold, pause_count;
    uint64_t iopm_pa;
    uint64_t msrpm_pa;
    uint64_t tsc_offset;
    uint32_t asid;
    uint32_t tlb_control;
    uint64_t vintr;
    uint64_t int_state;
    uint64_t exit_code;
    uint64_t info1;
    uint64_t info2;
    uint64_t exit_int;
    uint64_t np_enable;
    uint64_t avic_bar;
    uint64_t ghcb;
    uint64_t event_inj;
    uint64_t ncr3;
    uint64_t lbr;
    uint64_t clean;
    uint64_t nrip;
    uint8_t insn_bytes[16];
    uint8_t reserved_0e0[0x320];
    /* state save area */
    struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved_4a0[0x2b];
    uint8_t cpl;
    uint32_t reserved_4cc;
    uint64_t efer;
    uint8_t reserved_4d8[0x70];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_580[0x58];
    uint64_t rsp;
    uint64_t s_cet, ssp, isst;
    uint64_t rax, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    uint8_t reserved_648[0x20];
    uint64_t g_pat, dbgctl, br_from, br_to, last_excp_from, last_excp_to;
    uint8_t reserved_698[0x968];
};

_Static_assert(offsetof(struct vmcb, pause_threshold) == 0x3c, "pause filter");
_Static_assert(offsetof(struct vmcb, exit_code) == 0x70, "exit code");
_Static_assert(offsetof(struct vmcb, event_inj) == 0xa8, "event injection");
_Static_assert(offsetof(struct vmcb, nrip) == 0xc8, "next rip");
_Static_assert(offsetof(struct vmcb, es) == 0x400, "state save area");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "cpl");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "efer");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "cr4");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "rsp");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "rax");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "cr2");
_Static_assert(offsetof(struct vmcb, g_pat) == 0x668, "g_pat");
_Static_assert(sizeof(struct vmcb) == 0x1000, "vmcb");

/* Intercept bits: 0-31 are in misc[0] (offset 00Ch), 32-63 in misc[1] (offset 010h). */
enum {
    ICPT_INTR = 0, ICPT_NMI, ICPT_SMI, ICPT_INIT, ICPT_VINTR, ICPT_CR0_SEL, ICPT_SIDT, ICPT_SGDT,
    ICPT_SLDT, ICPT_STR, ICPT_LIDT, ICPT_LGDT, ICPT_LLDT, ICPT_LTR, ICPT_RDTSC, ICPT_RDPMC,
    ICPT_PUSHF, ICPT_POPF, ICPT_CPUID, ICPT_RSM, ICPT_IRET, ICPT_INTN, ICPT_INVD, ICPT_PAUSE,
    ICPT_HLT, ICPT_INVLPG, ICPT_INVLPGA, ICPT_IOIO, ICPT_MSR, ICPT_TASK, ICPT_FERR, ICPT_SHUTDOWN,
    ICPT_VMRUN, ICPT_VMMCALL, ICPT_VMLOAD, ICPT_VMSAVE, ICPT_STGI, ICPT_CLGI, ICPT_SKINIT,
    ICPT_RDTSCP, ICPT_ICEBP, ICPT_WBINVD, ICPT_MONITOR, ICPT_MWAIT, ICPT_MWAIT_ARMED, ICPT_XSETBV
};

#define EXIT_CR_READ(n) (0x00u + (n))
#define EXIT_CR_WRITE(n) (0x10u + (n))
#define EXIT_DR_READ(n) (0x20u + (n))
#define EXIT_DR_WRITE(n) (0x30u + (n))
#define EXIT_EXC(n) (0x40u + (n))
#define EXIT_MISC(bit) (0x60u + (uint32_t)(bit))
#define EXIT_INTR EXIT_MISC(ICPT_INTR)
#define EXIT_NMI EXIT_MISC(ICPT_NMI)
#define EXIT_VINTR EXIT_MISC(ICPT_VINTR)
#define EXIT_IOIO EXIT_MISC(ICPT_IOIO)
#define EXIT_MSR EXIT_MISC(ICPT_MSR)
#define EXIT_TASK EXIT_MISC(ICPT_TASK)
#define EXIT_SHUTDOWN EXIT_MISC(ICPT_SHUTDOWN)
#define EXIT_VMMCALL 0x81u
#define EXIT_NPF 0x400u
#define EXIT_INVALID (~(uint64_t)0)

/* vintr (offset 060h) */
#define VINTR_TPR(n) ((uint64_t)(n))
#define VINTR_IRQ (1ull << 8)
#define VINTR_PRIO(n) ((uint64_t)(n) << 16)
#define VINTR_IGN_TPR (1ull << 20)
#define VINTR_MASKING (1ull << 24)
#define VINTR_GIF (1ull << 9)
#define VINTR_GIF_ENABLE (1ull << 25)
#define VINTR_VECTOR(n) ((uint64_t)(n) << 32)

/* EVENTINJ and EXITINTINFO */
#define EVT_INTR (0ull << 8)
#define EVT_NMI (2ull << 8)
#define EVT_EXC (3ull << 8)
#define EVT_SOFT (4ull << 8)
#define EVT_TYPE_MASK (7ull << 8)
#define EVT_EV (1ull << 11)
#define EVT_VALID (1ull << 31)
#define EVT_ERR(e) ((uint64_t)(e) << 32)

#define MSR_APIC_BASE 0x1bu
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_PAT 0x277u
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u

#define EFER_SCE (1ull << 0)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define EFER_NX (1ull << 11)
#define EFER_SVME (1ull << 12)

#define CR0_PE (1ull << 0)
#define CR0_MP (1ull << 1)
#define CR0_EM (1ull << 2)
#define CR0_TS (1ull << 3)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_WP (1ull << 16)
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
#define CR0_PG (1ull << 31)
#define CR4_TSD (1ull << 2)
#define CR4_DE (1ull << 3)
#define CR4_PSE (1ull << 4)
#define CR4_PAE (1ull << 5)
#define CR4_PGE (1ull << 7)
#define CR4_LA57 (1ull << 12)

#define RF_FIXED (1ull << 1)
#define RF_CF (1ull << 0)
#define RF_TF (1ull << 8)
#define RF_IF (1ull << 9)
#define RF_DF (1ull << 10)

#define VEC_DE 0
#define VEC_DB 1
#define VEC_NMI 2
#define VEC_BP 3
#define VEC_OF 4
#define VEC_BR 5
#define VEC_UD 6
#define VEC_NM 7
#define VEC_DF 8
#define VEC_TS 10
#define VEC_NP 11
#define VEC_SS 12
#define VEC_GP 13
#define VEC_PF 14
#define VEC_MF 16
#define VEC_AC 17

/* Page table entry bits, the same for L1's tables, L2's and nested ones. */
#define PT_P (1ull << 0)
#define PT_W (1ull << 1)
#define PT_U (1ull << 2)
#define PT_PWT (1ull << 3)
#define PT_PCD (1ull << 4)
#define PT_A (1ull << 5)
#define PT_D (1ull << 6)
#define PT_PS (1ull << 7)
#define PT_NX (1ull << 63)

/* Nested page fault error code (EXITINFO1). */
#define NPF_P (1ull << 0)
#define NPF_W (1ull << 1)
#define NPF_U (1ull << 2)
#define NPF_RSV (1ull << 3)
#define NPF_ID (1ull << 4)
#define NPF_FINAL (1ull << 32)
#define NPF_WALK (1ull << 33)

#endif
