/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The VMCB as a plain struct with hardware's layout, and the numbers of AMD SVM: exit codes (which
 * are the intercept bits too), virtual-interrupt and event-injection words, TLB_CONTROL, MSRs, and
 * what a CPU can do. Generated from the rows of vmcb_fields.def.
 *
 * Change fields through nvirt_vmcb_set_*(): they clear the clean bit that covers the field, and do
 * nothing when the value stays [APM 2 "VMCB State Caching"].
 *
 * Everything here is data and pure functions on the caller's memory: any CPU may call them at any
 * time on a VMCB that no CPU is running and nobody else changes. Pointers to a VMCB must not be
 * null. A name that ends in _SHIFT is the lowest bit's number of the mask before it.
 */
#ifndef NVIRT_VMCB_H
#define NVIRT_VMCB_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

/** A segment register in the VMCB. The attributes are bits 55:52 and 47:40 of the descriptor,
 *  packed. */
struct nvirt_vmcb_segment {
    uint16_t selector; /**< Visible part. */
    uint16_t attrib;   /**< NVIRT_VMCB_SEG_*. */
    uint32_t limit;    /**< In bytes, expanded. */
    uint64_t base;     /**< Linear address. */
};

/** @name Attribute bits of a segment in the VMCB [APM 2 "Segment State in the VMCB"]
 * @{ */
#define NVIRT_VMCB_SEG_TYPE 0x000fu
#define NVIRT_VMCB_SEG_S 0x0010u
#define NVIRT_VMCB_SEG_DPL 0x0060u
#define NVIRT_VMCB_SEG_DPL_SHIFT 5u
#define NVIRT_VMCB_SEG_P 0x0080u
#define NVIRT_VMCB_SEG_AVL 0x0100u
#define NVIRT_VMCB_SEG_L 0x0200u
#define NVIRT_VMCB_SEG_DB 0x0400u
#define NVIRT_VMCB_SEG_G 0x0800u
/** @} */

/** The VMCB: one page, control area and state save area [APM 2 "Layout of VMCB"]. */
struct nvirt_vmcb {
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text) type name;
#define NVIRT_VMCB_SEGMENT(name, offset, clean, moves, text) struct nvirt_vmcb_segment name;
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, clean, moves, text) type name[count];
#define NVIRT_VMCB_RESERVED(name, offset, bytes) uint8_t name[bytes];
#include <nvirt/vmcb_fields.def>
};

#define NVIRT_VMCB_LAYOUT(name, offset, bytes)                                                     \
    NVIRT_STATIC_ASSERT(offsetof(struct nvirt_vmcb, name) == (offset), "offset of " #name);        \
    NVIRT_STATIC_ASSERT(sizeof(((struct nvirt_vmcb *)0)->name) == (bytes), "size of " #name);
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text)                            \
    NVIRT_VMCB_LAYOUT(name, offset, bytes)
#define NVIRT_VMCB_SEGMENT(name, offset, clean, moves, text) NVIRT_VMCB_LAYOUT(name, offset, 16)
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, clean, moves, text)                     \
    NVIRT_VMCB_LAYOUT(name, offset, bytes)
#define NVIRT_VMCB_RESERVED(name, offset, bytes) NVIRT_VMCB_LAYOUT(name, offset, bytes)
#include <nvirt/vmcb_fields.def>
#undef NVIRT_VMCB_LAYOUT
NVIRT_STATIC_ASSERT(sizeof(struct nvirt_vmcb) == 4096, "a VMCB is one page");

/** @name Clean bits [APM 2 "VMCB Clean Field"]
 * @{ */
#define NVIRT_VMCB_CLEAN_NEVER 0u
#define NVIRT_VMCB_CLEAN_INTERCEPTS (1u << 0)
#define NVIRT_VMCB_CLEAN_IOPM (1u << 1)
#define NVIRT_VMCB_CLEAN_ASID (1u << 2)
#define NVIRT_VMCB_CLEAN_TPR (1u << 3)
#define NVIRT_VMCB_CLEAN_NP (1u << 4)
#define NVIRT_VMCB_CLEAN_CRX (1u << 5)
#define NVIRT_VMCB_CLEAN_DRX (1u << 6)
#define NVIRT_VMCB_CLEAN_DT (1u << 7)
#define NVIRT_VMCB_CLEAN_SEG (1u << 8)
#define NVIRT_VMCB_CLEAN_CR2 (1u << 9)
#define NVIRT_VMCB_CLEAN_LBR (1u << 10)
#define NVIRT_VMCB_CLEAN_AVIC (1u << 11)
#define NVIRT_VMCB_CLEAN_CET (1u << 12)
/** All groups; what may be set once the CPU has run this VMCB and nothing was changed. */
#define NVIRT_VMCB_CLEAN_ALL 0x1fffu
/** @} */

/* ---- accessors ---- */

#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean_group, moves, text)                      \
    static inline void nvirt_vmcb_set_##name(struct nvirt_vmcb *vmcb, type value)                  \
    {                                                                                              \
        if (vmcb->name != value) {                                                                 \
            vmcb->name = value;                                                                    \
            vmcb->clean &= ~(uint32_t)NVIRT_VMCB_CLEAN_##clean_group;                              \
        }                                                                                          \
    }
#define NVIRT_VMCB_SEGMENT(name, offset, clean_group, moves, text)                                 \
    static inline void nvirt_vmcb_set_##name(struct nvirt_vmcb *vmcb,                              \
                                             struct nvirt_vmcb_segment value)                      \
    {                                                                                              \
        if (vmcb->name.selector != value.selector || vmcb->name.attrib != value.attrib ||          \
            vmcb->name.limit != value.limit || vmcb->name.base != value.base) {                    \
            vmcb->name = value;                                                                    \
            vmcb->clean &= ~(uint32_t)NVIRT_VMCB_CLEAN_##clean_group;                              \
        }                                                                                          \
    }
#include <nvirt/vmcb_fields.def>

/* nvirt_vmcb_set_NAME(vmcb, value), one per field: see the head of this file. */

/** Words of intercept bits. */
#define NVIRT_VMCB_INTERCEPT_WORDS 6u
/** Intercept bits there are; each is the exit code that it causes. */
#define NVIRT_VMCB_INTERCEPT_COUNT (NVIRT_VMCB_INTERCEPT_WORDS * 32u)

/**
 * Whether an exit is intercepted.
 * @param vmcb the VMCB.
 * @param code an exit code; one from NVIRT_VMCB_INTERCEPT_COUNT on is never intercepted.
 * @return true when its bit is set.
 */
static inline bool nvirt_vmcb_intercepts(const struct nvirt_vmcb *vmcb, uint32_t code)
{
    return code < NVIRT_VMCB_INTERCEPT_COUNT &&
           ((vmcb->intercepts[code / 32u] >> (code % 32u)) & 1u) != 0;
}

/**
 * Replaces one word of intercept bits.
 * @param vmcb the VMCB.
 * @param word below NVIRT_VMCB_INTERCEPT_WORDS; another does nothing.
 * @param value exit codes 32 * word and up, lowest bit first.
 */
static inline void nvirt_vmcb_set_intercept_word(struct nvirt_vmcb *vmcb, uint32_t word,
                                                 uint32_t value)
{
    if (word < NVIRT_VMCB_INTERCEPT_WORDS && vmcb->intercepts[word] != value) {
        vmcb->intercepts[word] = value;
        vmcb->clean &= ~NVIRT_VMCB_CLEAN_INTERCEPTS;
    }
}

/**
 * Turns the interception of an exit on or off.
 * @param vmcb the VMCB.
 * @param code an exit code below NVIRT_VMCB_INTERCEPT_COUNT; another does nothing.
 * @param on true to intercept.
 */
static inline void nvirt_vmcb_intercept(struct nvirt_vmcb *vmcb, uint32_t code, bool on)
{
    uint32_t word = code / 32u;
    uint32_t bit = 1u << (code % 32u);

    if (word < NVIRT_VMCB_INTERCEPT_WORDS) {
        uint32_t now = vmcb->intercepts[word];

        nvirt_vmcb_set_intercept_word(vmcb, word, on ? (now | bit) : (now & ~bit));
    }
}

/* ---- exit codes ---- */

/**
 * NVIRT_SVM_EXIT(name, code): every exit code of [APM 2 "SVM Intercept Exit Codes"]. Codes below
 * 0xc0 are intercept bits of the VMCB at the same number; CR and DR codes are bases: the register's
 * number is added.
 */
#define NVIRT_SVM_EXITS(NVIRT_SVM_EXIT)                                                            \
    NVIRT_SVM_EXIT(CR0_READ, 0x000)                                                                \
    NVIRT_SVM_EXIT(CR3_READ, 0x003)                                                                \
    NVIRT_SVM_EXIT(CR4_READ, 0x004)                                                                \
    NVIRT_SVM_EXIT(CR8_READ, 0x008)                                                                \
    NVIRT_SVM_EXIT(CR0_WRITE, 0x010)                                                               \
    NVIRT_SVM_EXIT(CR3_WRITE, 0x013)                                                               \
    NVIRT_SVM_EXIT(CR4_WRITE, 0x014)                                                               \
    NVIRT_SVM_EXIT(CR8_WRITE, 0x018)                                                               \
    NVIRT_SVM_EXIT(DR0_READ, 0x020)                                                                \
    NVIRT_SVM_EXIT(DR0_WRITE, 0x030)                                                               \
    NVIRT_SVM_EXIT(EXCEPTION, 0x040)                                                               \
    NVIRT_SVM_EXIT(INTR, 0x060)                                                                    \
    NVIRT_SVM_EXIT(NMI, 0x061)                                                                     \
    NVIRT_SVM_EXIT(SMI, 0x062)                                                                     \
    NVIRT_SVM_EXIT(INIT, 0x063)                                                                    \
    NVIRT_SVM_EXIT(VINTR, 0x064)                                                                   \
    NVIRT_SVM_EXIT(CR0_SEL_WRITE, 0x065)                                                           \
    NVIRT_SVM_EXIT(IDTR_READ, 0x066)                                                               \
    NVIRT_SVM_EXIT(GDTR_READ, 0x067)                                                               \
    NVIRT_SVM_EXIT(LDTR_READ, 0x068)                                                               \
    NVIRT_SVM_EXIT(TR_READ, 0x069)                                                                 \
    NVIRT_SVM_EXIT(IDTR_WRITE, 0x06a)                                                              \
    NVIRT_SVM_EXIT(GDTR_WRITE, 0x06b)                                                              \
    NVIRT_SVM_EXIT(LDTR_WRITE, 0x06c)                                                              \
    NVIRT_SVM_EXIT(TR_WRITE, 0x06d)                                                                \
    NVIRT_SVM_EXIT(RDTSC, 0x06e)                                                                   \
    NVIRT_SVM_EXIT(RDPMC, 0x06f)                                                                   \
    NVIRT_SVM_EXIT(PUSHF, 0x070)                                                                   \
    NVIRT_SVM_EXIT(POPF, 0x071)                                                                    \
    NVIRT_SVM_EXIT(CPUID, 0x072)                                                                   \
    NVIRT_SVM_EXIT(RSM, 0x073)                                                                     \
    NVIRT_SVM_EXIT(IRET, 0x074)                                                                    \
    NVIRT_SVM_EXIT(SWINT, 0x075)                                                                   \
    NVIRT_SVM_EXIT(INVD, 0x076)                                                                    \
    NVIRT_SVM_EXIT(PAUSE, 0x077)                                                                   \
    NVIRT_SVM_EXIT(HLT, 0x078)                                                                     \
    NVIRT_SVM_EXIT(INVLPG, 0x079)                                                                  \
    NVIRT_SVM_EXIT(INVLPGA, 0x07a)                                                                 \
    NVIRT_SVM_EXIT(IOIO, 0x07b)                                                                    \
    NVIRT_SVM_EXIT(MSR, 0x07c)                                                                     \
    NVIRT_SVM_EXIT(TASK_SWITCH, 0x07d)                                                             \
    NVIRT_SVM_EXIT(FERR_FREEZE, 0x07e)                                                             \
    NVIRT_SVM_EXIT(SHUTDOWN, 0x07f)                                                                \
    NVIRT_SVM_EXIT(VMRUN, 0x080)                                                                   \
    NVIRT_SVM_EXIT(VMMCALL, 0x081)                                                                 \
    NVIRT_SVM_EXIT(VMLOAD, 0x082)                                                                  \
    NVIRT_SVM_EXIT(VMSAVE, 0x083)                                                                  \
    NVIRT_SVM_EXIT(STGI, 0x084)                                                                    \
    NVIRT_SVM_EXIT(CLGI, 0x085)                                                                    \
    NVIRT_SVM_EXIT(SKINIT, 0x086)                                                                  \
    NVIRT_SVM_EXIT(RDTSCP, 0x087)                                                                  \
    NVIRT_SVM_EXIT(ICEBP, 0x088)                                                                   \
    NVIRT_SVM_EXIT(WBINVD, 0x089)                                                                  \
    NVIRT_SVM_EXIT(MONITOR, 0x08a)                                                                 \
    NVIRT_SVM_EXIT(MWAIT, 0x08b)                                                                   \
    NVIRT_SVM_EXIT(MWAIT_ARMED, 0x08c)                                                             \
    NVIRT_SVM_EXIT(XSETBV, 0x08d)                                                                  \
    NVIRT_SVM_EXIT(RDPRU, 0x08e)                                                                   \
    NVIRT_SVM_EXIT(EFER_WRITE_TRAP, 0x08f)                                                         \
    NVIRT_SVM_EXIT(CR0_WRITE_TRAP, 0x090)                                                          \
    NVIRT_SVM_EXIT(INVLPGB, 0x0a0)                                                                 \
    NVIRT_SVM_EXIT(INVLPGB_ILLEGAL, 0x0a1)                                                         \
    NVIRT_SVM_EXIT(INVPCID, 0x0a2)                                                                 \
    NVIRT_SVM_EXIT(MCOMMIT, 0x0a3)                                                                 \
    NVIRT_SVM_EXIT(TLBSYNC, 0x0a4)                                                                 \
    NVIRT_SVM_EXIT(BUS_LOCK, 0x0a5)                                                                \
    NVIRT_SVM_EXIT(IDLE_HLT, 0x0a6)                                                                \
    NVIRT_SVM_EXIT(NPF, 0x400)                                                                     \
    NVIRT_SVM_EXIT(AVIC_INCOMPLETE_IPI, 0x401)                                                     \
    NVIRT_SVM_EXIT(AVIC_NOACCEL, 0x402)                                                            \
    NVIRT_SVM_EXIT(VMGEXIT, 0x403)

/** Exit codes, by the rows of NVIRT_SVM_EXITS. */
enum nvirt_svm_exit_code {
#define NVIRT_SVM_EXIT(name, code) NVIRT_SVM_EXIT_##name = (code),
    NVIRT_SVM_EXITS(NVIRT_SVM_EXIT)
#undef NVIRT_SVM_EXIT
    NVIRT_SVM_EXIT_INTERCEPTS_END = 0x0c0
};

/** VMEXIT_INVALID: the guest state or controls were refused. 64 bits, so not in the enum. */
#define NVIRT_SVM_EXIT_INVALID (~UINT64_C(0))
/** Some CPUs and emulators write only the low half of EXITCODE. */
#define NVIRT_SVM_EXIT_INVALID_LOW UINT64_C(0xffffffff)
/** VMEXIT_BUSY: the VMSA was in use by another CPU. */
#define NVIRT_SVM_EXIT_BUSY (~UINT64_C(1))

/** @name EXITINFO1 of a nested page fault [APM 2 "Nested versus Guest Page Faults, Fault Ordering"]
 * @{ */
#define NVIRT_SVM_NPF_P NVIRT_BIT(0)
#define NVIRT_SVM_NPF_RW NVIRT_BIT(1)
#define NVIRT_SVM_NPF_US NVIRT_BIT(2)
#define NVIRT_SVM_NPF_RSV NVIRT_BIT(3)
#define NVIRT_SVM_NPF_ID NVIRT_BIT(4)
#define NVIRT_SVM_NPF_SS NVIRT_BIT(6)
#define NVIRT_SVM_NPF_FINAL NVIRT_BIT(32) /**< While translating the guest's final address. */
#define NVIRT_SVM_NPF_TABLE NVIRT_BIT(33) /**< While walking the guest's page tables. */
/** @} */

/** @name int_ctl [APM 2 "Virtualizing the Local APIC"; "Layout of VMCB"]
 * @{ */
#define NVIRT_SVM_V_TPR NVIRT_BITS(7, 0)
#define NVIRT_SVM_V_IRQ NVIRT_BIT(8)
#define NVIRT_SVM_V_GIF NVIRT_BIT(9)
#define NVIRT_SVM_V_NMI NVIRT_BIT(11)
#define NVIRT_SVM_V_NMI_MASK NVIRT_BIT(12)
#define NVIRT_SVM_V_INTR_PRIO NVIRT_BITS(19, 16)
#define NVIRT_SVM_V_INTR_PRIO_SHIFT 16u
#define NVIRT_SVM_V_IGN_TPR NVIRT_BIT(20)
#define NVIRT_SVM_V_INTR_MASKING NVIRT_BIT(24)
#define NVIRT_SVM_V_GIF_ENABLE NVIRT_BIT(25)
#define NVIRT_SVM_V_NMI_ENABLE NVIRT_BIT(26)
#define NVIRT_SVM_X2AVIC_ENABLE NVIRT_BIT(30)
#define NVIRT_SVM_AVIC_ENABLE NVIRT_BIT(31)
#define NVIRT_SVM_V_INTR_VECTOR NVIRT_BITS(39, 32)
#define NVIRT_SVM_V_INTR_VECTOR_SHIFT 32u
/** @} */

/** @name int_state [APM 2 "Interrupt Shadows"]
 * @{ */
#define NVIRT_SVM_INTERRUPT_SHADOW NVIRT_BIT(0)
#define NVIRT_SVM_GUEST_INTERRUPT_MASK NVIRT_BIT(1)
/** @} */

/** @name EVENTINJ and EXITINTINFO [APM 2 "Event Injection"]
 * @{ */
#define NVIRT_SVM_EVENT_VECTOR NVIRT_BITS(7, 0)
#define NVIRT_SVM_EVENT_TYPE NVIRT_BITS(10, 8)
#define NVIRT_SVM_EVENT_TYPE_SHIFT 8u
#define NVIRT_SVM_EVENT_EV NVIRT_BIT(11)
#define NVIRT_SVM_EVENT_RESERVED NVIRT_BITS(30, 12)
#define NVIRT_SVM_EVENT_VALID NVIRT_BIT(31)
#define NVIRT_SVM_EVENT_ERROR_SHIFT 32u
/** @} */

/** Types of events in EVENTINJ and EXITINTINFO [APM 2 "Event Injection"]. */
enum nvirt_svm_event_type {
    NVIRT_SVM_EVENT_INTR = 0,      /**< External or virtual interrupt. */
    NVIRT_SVM_EVENT_NMI = 2,       /**< NMI. */
    NVIRT_SVM_EVENT_EXCEPTION = 3, /**< Fault or trap. */
    NVIRT_SVM_EVENT_SOFTWARE = 4   /**< INTn instruction. */
};

/** @name TLB_CONTROL [APM 2 "TLB Flush"]
 * @{ */
#define NVIRT_SVM_TLB_NOTHING 0u
#define NVIRT_SVM_TLB_ALL 1u
#define NVIRT_SVM_TLB_ASID 3u
#define NVIRT_SVM_TLB_ASID_NOT_GLOBAL 7u
/** @} */

/** @name np_control [APM 2 "Layout of VMCB"]
 * @{ */
#define NVIRT_SVM_NP_ENABLE NVIRT_BIT(0)
#define NVIRT_SVM_SEV_ENABLE NVIRT_BIT(1)
#define NVIRT_SVM_SEV_ES_ENABLE NVIRT_BIT(2)
#define NVIRT_SVM_GMET_ENABLE NVIRT_BIT(3)
#define NVIRT_SVM_SSS_CHECK_ENABLE NVIRT_BIT(4)
#define NVIRT_SVM_VTE_ENABLE NVIRT_BIT(5)
#define NVIRT_SVM_RO_GPT_ENABLE NVIRT_BIT(6)
#define NVIRT_SVM_INVLPGB_ENABLE NVIRT_BIT(7)
/** @} */

/** @name virt_ext [APM 2 "Layout of VMCB"]
 * @{ */
#define NVIRT_SVM_LBR_ENABLE NVIRT_BIT(0)
#define NVIRT_SVM_VIRTUAL_VMLOAD NVIRT_BIT(1)
/** @} */

/** The TSC ratio that changes nothing: 1.0 with 32 binary places. */
#define NVIRT_SVM_TSC_RATIO_ONE (UINT64_C(1) << 32)
/** Bits of DEBUGCTL that exist [APM 2 "Debug-Control MSR (DebugCtl)"]. */
#define NVIRT_SVM_DEBUGCTL_VALID NVIRT_BITS(5, 0)
/** Bits of SPEC_CTRL that exist: IBRS, STIBP, SSBD, PSFD [APM 2 "SPEC_CTRL Virtualization"]. */
#define NVIRT_SVM_SPEC_CTRL_VALID (NVIRT_BITS(2, 0) | NVIRT_BIT(7))

/* ---- permission maps ---- */

/** Bytes of the MSR permission map that hardware reads. */
#define NVIRT_SVM_MSRPM_BYTES 8192u
/** Bytes of the I/O permission map: 64 Kbit, and three more bits for accesses that wrap. */
#define NVIRT_SVM_IOPM_BYTES 12288u

/** @name MSRs [APM 2 "SVM Related MSRs"]
 * @{ */
#define NVIRT_SVM_MSR_PAT 0x277u
#define NVIRT_SVM_MSR_EFER 0xc0000080u
#define NVIRT_SVM_MSR_STAR 0xc0000081u
#define NVIRT_SVM_MSR_LSTAR 0xc0000082u
#define NVIRT_SVM_MSR_CSTAR 0xc0000083u
#define NVIRT_SVM_MSR_SFMASK 0xc0000084u
#define NVIRT_SVM_MSR_TSC_RATIO 0xc0000104u
#define NVIRT_SVM_MSR_FS_BASE 0xc0000100u
#define NVIRT_SVM_MSR_GS_BASE 0xc0000101u
#define NVIRT_SVM_MSR_KERNEL_GS_BASE 0xc0000102u
#define NVIRT_SVM_MSR_VM_CR 0xc0010114u
#define NVIRT_SVM_MSR_IGNNE 0xc0010115u
#define NVIRT_SVM_MSR_SMM_CTL 0xc0010116u
#define NVIRT_SVM_MSR_HSAVE_PA 0xc0010117u
#define NVIRT_SVM_MSR_KEY 0xc0010118u
/** @} */

/** @name Bits of EFER [APM 2 "Extended Feature Enable Register (EFER)"]
 * @{ */
#define NVIRT_SVM_EFER_SCE NVIRT_BIT(0)
#define NVIRT_SVM_EFER_LME NVIRT_BIT(8)
#define NVIRT_SVM_EFER_LMA NVIRT_BIT(10)
#define NVIRT_SVM_EFER_NXE NVIRT_BIT(11)
#define NVIRT_SVM_EFER_SVME NVIRT_BIT(12)
#define NVIRT_SVM_EFER_LMSLE NVIRT_BIT(13)
#define NVIRT_SVM_EFER_FFXSR NVIRT_BIT(14)
#define NVIRT_SVM_EFER_TCE NVIRT_BIT(15)
#define NVIRT_SVM_EFER_MCOMMIT NVIRT_BIT(17)
#define NVIRT_SVM_EFER_INTWB NVIRT_BIT(18)
#define NVIRT_SVM_EFER_UAIE NVIRT_BIT(20)
#define NVIRT_SVM_EFER_AIBRSE NVIRT_BIT(21)
/** @} */

/** @name Bits of VM_CR [APM 2 "SVM Related MSRs"]
 * @{ */
#define NVIRT_SVM_VM_CR_DPD NVIRT_BIT(0)
#define NVIRT_SVM_VM_CR_R_INIT NVIRT_BIT(1)
#define NVIRT_SVM_VM_CR_DIS_A20M NVIRT_BIT(2)
#define NVIRT_SVM_VM_CR_LOCK NVIRT_BIT(3)
#define NVIRT_SVM_VM_CR_SVMDIS NVIRT_BIT(4)
/** @} */

/** @name CPUID 8000_000A EDX [APM 2 "Determining Support for SVM"]
 * @{ */
#define NVIRT_SVM_FEATURE_NP (1u << 0)
#define NVIRT_SVM_FEATURE_LBR (1u << 1)
#define NVIRT_SVM_FEATURE_SVM_LOCK (1u << 2)
#define NVIRT_SVM_FEATURE_NRIPS (1u << 3)
#define NVIRT_SVM_FEATURE_TSC_RATE (1u << 4)
#define NVIRT_SVM_FEATURE_CLEAN (1u << 5)
#define NVIRT_SVM_FEATURE_FLUSH_BY_ASID (1u << 6)
#define NVIRT_SVM_FEATURE_DECODE_ASSISTS (1u << 7)
#define NVIRT_SVM_FEATURE_PAUSE_FILTER (1u << 10)
#define NVIRT_SVM_FEATURE_PAUSE_THRESHOLD (1u << 12)
#define NVIRT_SVM_FEATURE_AVIC (1u << 13)
#define NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD (1u << 15)
#define NVIRT_SVM_FEATURE_VGIF (1u << 16)
#define NVIRT_SVM_FEATURE_GMET (1u << 17)
#define NVIRT_SVM_FEATURE_SPEC_CTRL (1u << 20)
#define NVIRT_SVM_FEATURE_VNMI (1u << 25)
#define NVIRT_SVM_FEATURE_ADDRESS_CHECK (1u << 28)
#define NVIRT_SVM_FEATURE_BUS_LOCK (1u << 29)
/** @} */

/** What a CPU can do, or what L1 is shown; from CPUID (nvirt_svm_caps_decode()). */
struct nvirt_svm_caps {
    uint32_t asid_count;   /**< Number of ASIDs, ASID 0 included: CPUID 8000_000A EBX. */
    uint32_t features;     /**< NVIRT_SVM_FEATURE_*: CPUID 8000_000A EDX. */
    uint8_t revision;      /**< CPUID 8000_000A EAX 7:0. */
    uint8_t physical_bits; /**< CPUID 8000_0008 EAX 7:0; 36 where that is not 32 to 52. */
    uint8_t linear_bits;   /**< 48 or 57. */
    bool pages_1g;         /**< 1 GiB pages. */
    bool long_mode;        /**< EFER.LME exists. */
    bool nx;               /**< No-execute pages, EFER.NXE exists. */
    bool pse36;            /**< 40-bit addresses in 4 MiB pages. */
    bool invlpga_exact;    /**< INVLPGA of one address can be relied on. CPUID does not tell, and
                                some CPUs have errata there: false unless the host knows better; the
                                whole ASID is flushed instead. Not looked at in an offer. */
    uint64_t efer_valid;   /**< EFER bits that may be 1. */
    uint64_t cr4_valid;    /**< CR4 bits that may be 1. */
};

/** The CPUID leaves that describe SVM and the registers that VMRUN checks. */
struct nvirt_svm_cpuid {
    uint32_t ecx_1,        /**< Leaf 1 ECX. */
        edx_1;             /**< Leaf 1 EDX. */
    uint32_t ebx_7,        /**< Leaf 7, subleaf 0, EBX; 0 without that leaf. */
        ecx_7,             /**< Its ECX. */
        edx_7;             /**< Its EDX. */
    uint32_t ecx_80000001, /**< Leaf 8000_0001 ECX. */
        edx_80000001;      /**< Leaf 8000_0001 EDX. */
    uint32_t eax_80000008, /**< Leaf 8000_0008 EAX. */
        ebx_80000008;      /**< Leaf 8000_0008 EBX. */
    uint32_t eax_8000000a, /**< Leaf 8000_000A EAX. */
        ebx_8000000a,      /**< Leaf 8000_000A EBX. */
        edx_8000000a;      /**< Leaf 8000_000A EDX. */
    uint32_t eax_80000021; /**< Leaf 8000_0021 EAX; 0 without that leaf. */
};

/**
 * Turns CPUID leaves into a capability struct. For the CPU: leaves as the host reads them; what L1
 * is offered is made from it by nvirt_svm_caps_offer().
 * @param cpuid the leaves, a register that the CPU does not have as 0.
 * @param caps the result; written on NVIRT_OK only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_CAPABILITY when the CPU announces no SVM.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_svm_caps_decode(const struct nvirt_svm_cpuid *cpuid,
                                                        struct nvirt_svm_caps *caps);

NVIRT_END_DECLS

#endif
