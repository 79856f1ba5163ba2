/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The VMCS as a plain struct generated from one table of fields, and the names of everything in it:
 * control bits, exit reasons, error numbers, states, capability MSRs. Pure data and pure functions:
 * any CPU may call them at any time, none needs VMX operation or a current VMCS, none fails but as
 * documented. Structures that pointers name must not change during the call.
 *
 * Constants are named by the manual's words; each group names its section. A name that ends in
 * _SHIFT is the lowest bit's number of the mask before it.
 */
#ifndef NVIRT_VMCS_H
#define NVIRT_VMCS_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

/* ---- the fields ---- */

/** One number per field, dense from 0, in the order of vmcs_fields.def. */
enum nvirt_vmcs_field {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) NVIRT_VMCS_##NAME,
#include <nvirt/vmcs_fields.def>
    NVIRT_VMCS_FIELD_COUNT
};

/** C++ knows anonymous members of a struct as an extension only. */
#ifdef __cplusplus
#define NVIRT_VMCS_ANONYMOUS __extension__
#else
#define NVIRT_VMCS_ANONYMOUS
#endif

/**
 * All fields of one VMCS. Each is kept in 64 bits with those above its width zero: the view of
 * vmcs01, the snapshot of vmcs12 and the image of vmcs02 are all of this type.
 */
struct nvirt_vmcs {
    NVIRT_VMCS_ANONYMOUS union {
        NVIRT_VMCS_ANONYMOUS struct {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) uint64_t member;
#include <nvirt/vmcs_fields.def>
        };
        uint64_t field[NVIRT_VMCS_FIELD_COUNT]; /**< The same, by enum nvirt_vmcs_field. */
    };
};

NVIRT_STATIC_ASSERT(sizeof(struct nvirt_vmcs) == NVIRT_VMCS_FIELD_COUNT * sizeof(uint64_t),
                    "the named members and the array must be the same storage");

/** Width of a field, as bits 14:13 of its encoding say it. */
enum nvirt_vmcs_width {
    NVIRT_VMCS_WIDTH_16 = 0,
    NVIRT_VMCS_WIDTH_64 = 1,
    NVIRT_VMCS_WIDTH_32 = 2,
    NVIRT_VMCS_WIDTH_NATURAL = 3 /**< 64 bits on CPUs with Intel 64 architecture. */
};

/** Kind of a field, as bits 11:10 of its encoding say it. */
enum nvirt_vmcs_kind {
    NVIRT_VMCS_KIND_CONTROL = 0, /**< Control. */
    NVIRT_VMCS_KIND_EXIT = 1,    /**< Read-only data. */
    NVIRT_VMCS_KIND_GUEST = 2,   /**< Guest state. */
    NVIRT_VMCS_KIND_HOST = 3     /**< Host state. */
};

/** What must be looked at again when the field changes. */
enum nvirt_vmcs_group {
    NVIRT_VMCS_GROUP_CONTROLS = 0, /**< Control words, masks, shadows, counts. */
    NVIRT_VMCS_GROUP_POINTERS,     /**< Physical addresses. */
    NVIRT_VMCS_GROUP_EVENT,        /**< Event injection. */
    NVIRT_VMCS_GROUP_FLOW,         /**< Guest RIP, RSP, RFLAGS; activity, blocking, pending #DB. */
    NVIRT_VMCS_GROUP_REGISTERS,    /**< Guest control and debug registers, PDPTEs. */
    NVIRT_VMCS_GROUP_SEGMENTS,     /**< Guest segments and descriptor tables. */
    NVIRT_VMCS_GROUP_STATE,        /**< Guest MSRs and other state. */
    NVIRT_VMCS_GROUP_HOST,         /**< Host state. */
    NVIRT_VMCS_GROUP_EXIT,         /**< Read-only data. */
    NVIRT_VMCS_GROUP_COUNT         /**< How many there are. */
};

/** Everything the table says of one field. */
struct nvirt_vmcs_field_info {
    const char *name;  /**< The NAME column. */
    uint16_t encoding; /**< For VMREAD and VMWRITE, full access. */
    uint8_t kind;      /**< enum nvirt_vmcs_kind. */
    uint8_t group;     /**< enum nvirt_vmcs_group. */
    uint8_t gate;      /**< enum nvirt_vmcs_gate. */
};

/**
 * The table's row of a field.
 * @param field any number.
 * @return the row, constant and for ever; one named "?" with encoding 0xFFFF when @p field is none.
 */
const struct nvirt_vmcs_field_info *nvirt_vmcs_info(enum nvirt_vmcs_field field);

/**
 * Name of a field, for messages.
 * @param field any number.
 * @return a constant string, "?" when it is no field; never null.
 */
const char *nvirt_vmcs_field_name(enum nvirt_vmcs_field field);

/**
 * The encoding of a field for VMREAD and VMWRITE, full access [SDM 3D "Field Encoding in VMCS"].
 * @param field any number.
 * @return the encoding; 0xFFFF when it is no field.
 */
uint32_t nvirt_vmcs_field_encoding(enum nvirt_vmcs_field field);

/**
 * The width of a field.
 * @param field below NVIRT_VMCS_FIELD_COUNT; what comes back for others means nothing.
 * @return the width.
 */
enum nvirt_vmcs_width nvirt_vmcs_field_width(enum nvirt_vmcs_field field);

/**
 * The kind of a field.
 * @param field below NVIRT_VMCS_FIELD_COUNT; others count as controls.
 * @return the kind.
 */
enum nvirt_vmcs_kind nvirt_vmcs_field_kind(enum nvirt_vmcs_field field);

/**
 * Fits a value into a field.
 * @param field below NVIRT_VMCS_FIELD_COUNT.
 * @param value any.
 * @return @p value with the bits above the field's width cleared (natural width: 64 bits).
 */
uint64_t nvirt_vmcs_truncate(enum nvirt_vmcs_field field, uint64_t value);

/**
 * Finds the field that VMREAD or VMWRITE names, in constant time and without a guest-controlled
 * index leaving its table [SDM 3C "VMREAD, VMWRITE, and Encodings of VMCS Fields"].
 * @param encoding all 64 bits of the register operand; a caller outside 64-bit mode gives 32.
 * @param field where the field goes.
 * @param high set when the encoding has access type "high": bits 63:32 of a 64-bit field.
 * @return true with *field and *high; false when no field has this encoding (reserved bits set,
 *         high access to a field that is not 64 bits wide, unknown index), with both untouched.
 * Whether the field exists for a given CPU is nvirt_vmcs_field_exists()'s business.
 */
NVIRT_NODISCARD bool nvirt_vmcs_lookup(uint64_t encoding, enum nvirt_vmcs_field *field, bool *high);

/* ---- capability MSRs ---- */

/** One row per VMX capability MSR: (NAME, member of struct nvirt_vmx_caps, address)
 *  [SDM 3D "VMX Capability Reporting Facility"]. */
#define NVIRT_VMX_CAPABILITY_MSRS(NVIRT_VMX_MSR)                                                   \
    NVIRT_VMX_MSR(BASIC, basic, 0x480)                                                             \
    NVIRT_VMX_MSR(PINBASED_CTLS, pin, 0x481)                                                       \
    NVIRT_VMX_MSR(PROCBASED_CTLS, proc, 0x482)                                                     \
    NVIRT_VMX_MSR(EXIT_CTLS, exit, 0x483)                                                          \
    NVIRT_VMX_MSR(ENTRY_CTLS, entry, 0x484)                                                        \
    NVIRT_VMX_MSR(MISC, misc, 0x485)                                                               \
    NVIRT_VMX_MSR(CR0_FIXED0, cr0_fixed0, 0x486)                                                   \
    NVIRT_VMX_MSR(CR0_FIXED1, cr0_fixed1, 0x487)                                                   \
    NVIRT_VMX_MSR(CR4_FIXED0, cr4_fixed0, 0x488)                                                   \
    NVIRT_VMX_MSR(CR4_FIXED1, cr4_fixed1, 0x489)                                                   \
    NVIRT_VMX_MSR(VMCS_ENUM, vmcs_enum, 0x48A)                                                     \
    NVIRT_VMX_MSR(PROCBASED_CTLS2, proc2, 0x48B)                                                   \
    NVIRT_VMX_MSR(EPT_VPID_CAP, ept_vpid, 0x48C)                                                   \
    NVIRT_VMX_MSR(TRUE_PINBASED_CTLS, true_pin, 0x48D)                                             \
    NVIRT_VMX_MSR(TRUE_PROCBASED_CTLS, true_proc, 0x48E)                                           \
    NVIRT_VMX_MSR(TRUE_EXIT_CTLS, true_exit, 0x48F)                                                \
    NVIRT_VMX_MSR(TRUE_ENTRY_CTLS, true_entry, 0x490)                                              \
    NVIRT_VMX_MSR(VMFUNC, vmfunc, 0x491)                                                           \
    NVIRT_VMX_MSR(PROCBASED_CTLS3, proc3, 0x492)                                                   \
    NVIRT_VMX_MSR(EXIT_CTLS2, exit2, 0x493)

/** Numbers of the MSRs that belong to VMX [SDM 4 "Architectural MSRs"]. */
enum nvirt_vmx_msr {
#define NVIRT_VMX_MSR(NAME, member, address) NVIRT_MSR_VMX_##NAME = address,
    NVIRT_VMX_CAPABILITY_MSRS(NVIRT_VMX_MSR)
#undef NVIRT_VMX_MSR
    NVIRT_MSR_FEATURE_CONTROL = 0x3A,
    NVIRT_MSR_SMM_MONITOR_CTL = 0x9B
};

/** @name Bits of IA32_FEATURE_CONTROL [SDM 3C "Enabling and Entering VMX Operation"]
 * @{ */
#define NVIRT_FEATURE_CONTROL_LOCK NVIRT_BIT(0)
#define NVIRT_FEATURE_CONTROL_VMX_IN_SMX NVIRT_BIT(1)
#define NVIRT_FEATURE_CONTROL_VMX NVIRT_BIT(2)
/** @} */

/**
 * What the capability MSRs do not say and the checks must know; from CPUID, as L1 sees it (for an
 * offer) or as the CPU has it (for caps of the CPU itself).
 */
struct nvirt_vmx_cpu_facts {
    uint8_t physical_bits;   /**< Physical-address width, 32 to 52. */
    uint8_t linear_bits;     /**< Linear-address width: 48, or 57 with 5-level paging. */
    bool long_mode;          /**< Intel 64 architecture. */
    bool rtm;                /**< RTM or debugging of it: bit 16 of pending debug exceptions. */
    bool sgx;                /**< SGX: the interruptibility state may tell of an enclave. */
    uint64_t cr4_valid;      /**< Bits of CR4 that CPUID lets L1 set; all ones: any. */
    uint64_t efer_valid;     /**< Bits of IA32_EFER that are not reserved. */
    uint64_t debugctl_valid; /**< Bits of IA32_DEBUGCTL that are not reserved. */
    uint64_t perf_global_valid; /**< The same of IA32_PERF_GLOBAL_CTRL; 0: L1 has no such MSR. */
    uint64_t s_cet_valid; /**< The same of IA32_S_CET: bits 1:0 with CET_SS, bits 63:10 and 5:2 with
                               CET_IBT; 0: L1 has no such MSR. */
};

/** The VMX capabilities of a CPU, or those that L1 is offered: the value of each capability MSR, 0
 *  for one that does not exist (the TRUE ones: as the plain ones). */
struct nvirt_vmx_caps {
#define NVIRT_VMX_MSR(NAME, member, address) uint64_t member;
    NVIRT_VMX_CAPABILITY_MSRS(NVIRT_VMX_MSR)
#undef NVIRT_VMX_MSR
    struct nvirt_vmx_cpu_facts cpu; /**< What CPUID says besides. */
};

/**
 * The value RDMSR of a capability MSR has for whoever has @p caps.
 * @param caps whose capabilities.
 * @param msr number of any MSR.
 * @param value where the value goes.
 * @return true with *value; false when there is no such MSR (RDMSR then is #GP): TRUE_* without
 *         NVIRT_VMX_BASIC_TRUE, the secondary and tertiary ones, EPT_VPID_CAP, VMFUNC and
 *         EXIT_CTLS2 without the control that stands for them, and any MSR that is none of these.
 */
NVIRT_NODISCARD bool nvirt_vmx_caps_msr(const struct nvirt_vmx_caps *caps, uint32_t msr,
                                        uint64_t *value);

/**
 * What gates a field, one row each: the field exists when the control bit of either pair may be 1.
 * (NAME, word, mask, other word, other mask). PIN, PROC, PROC2, PROC3, EXIT, EXIT2, ENTRY and
 * VMFUNC are the control words, TRUE is always so, NONE never, CR3_TARGETS means "at least so
 * many".
 */
#define NVIRT_VMCS_GATES(NVIRT_VMCS_GATE)                                                          \
    NVIRT_VMCS_GATE(ALWAYS, TRUE, 0, NONE, 0)                                                      \
    NVIRT_VMCS_GATE(PREEMPTION, PIN, NVIRT_VMX_PIN_PREEMPTION_TIMER, NONE, 0)                      \
    NVIRT_VMCS_GATE(POSTED, PIN, NVIRT_VMX_PIN_POSTED_INTERRUPTS, NONE, 0)                         \
    NVIRT_VMCS_GATE(TPR_SHADOW, PROC, NVIRT_VMX_PROC_TPR_SHADOW, NONE, 0)                          \
    NVIRT_VMCS_GATE(MSR_BITMAPS, PROC, NVIRT_VMX_PROC_MSR_BITMAPS, NONE, 0)                        \
    NVIRT_VMCS_GATE(PROC2, PROC, NVIRT_VMX_PROC_SECONDARY, NONE, 0)                                \
    NVIRT_VMCS_GATE(PROC3, PROC, NVIRT_VMX_PROC_TERTIARY, NONE, 0)                                 \
    NVIRT_VMCS_GATE(APIC_ACCESSES, PROC2, NVIRT_VMX_PROC2_APIC_ACCESSES, NONE, 0)                  \
    NVIRT_VMCS_GATE(EPT, PROC2, NVIRT_VMX_PROC2_EPT, NONE, 0)                                      \
    NVIRT_VMCS_GATE(VPID, PROC2, NVIRT_VMX_PROC2_VPID, NONE, 0)                                    \
    NVIRT_VMCS_GATE(VID, PROC2, NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS, NONE, 0)                       \
    NVIRT_VMCS_GATE(PLE, PROC2, NVIRT_VMX_PROC2_PAUSE_LOOP, NONE, 0)                               \
    NVIRT_VMCS_GATE(VMFUNC, PROC2, NVIRT_VMX_PROC2_VMFUNC, NONE, 0)                                \
    NVIRT_VMCS_GATE(VMCS_SHADOWING, PROC2, NVIRT_VMX_PROC2_VMCS_SHADOWING, NONE, 0)                \
    NVIRT_VMCS_GATE(ENCLS, PROC2, NVIRT_VMX_PROC2_ENCLS, NONE, 0)                                  \
    NVIRT_VMCS_GATE(PML, PROC2, NVIRT_VMX_PROC2_PML, NONE, 0)                                      \
    NVIRT_VMCS_GATE(EPT_VE, PROC2, NVIRT_VMX_PROC2_EPT_VE, NONE, 0)                                \
    NVIRT_VMCS_GATE(XSAVES, PROC2, NVIRT_VMX_PROC2_XSAVES, NONE, 0)                                \
    NVIRT_VMCS_GATE(PASID, PROC2, NVIRT_VMX_PROC2_PASID, NONE, 0)                                  \
    NVIRT_VMCS_GATE(SPP, PROC2, NVIRT_VMX_PROC2_SUBPAGE_WRITE, NONE, 0)                            \
    NVIRT_VMCS_GATE(TSC_SCALING, PROC2, NVIRT_VMX_PROC2_TSC_SCALING, NONE, 0)                      \
    NVIRT_VMCS_GATE(PCONFIG, PROC2, NVIRT_VMX_PROC2_PCONFIG, NONE, 0)                              \
    NVIRT_VMCS_GATE(ENCLV, PROC2, NVIRT_VMX_PROC2_ENCLV, NONE, 0)                                  \
    NVIRT_VMCS_GATE(TIMEOUT, PROC2, NVIRT_VMX_PROC2_INSTRUCTION_TIMEOUT, NONE, 0)                  \
    NVIRT_VMCS_GATE(HLAT, PROC3, NVIRT_VMX_PROC3_HLAT, NONE, 0)                                    \
    NVIRT_VMCS_GATE(IPI, PROC3, NVIRT_VMX_PROC3_IPI_VIRTUALIZATION, NONE, 0)                       \
    NVIRT_VMCS_GATE(SHARED_EPT, PROC3, NVIRT_VMX_PROC3_SEAM_GPAW, NONE, 0)                         \
    NVIRT_VMCS_GATE(SPEC_CTRL, PROC3, NVIRT_VMX_PROC3_SPEC_CTRL, NONE, 0)                          \
    NVIRT_VMCS_GATE(EXIT2, EXIT, NVIRT_VMX_EXIT_CTL_SECONDARY, NONE, 0)                            \
    NVIRT_VMCS_GATE(EPTP_SWITCHING, VMFUNC, NVIRT_VMX_VMFUNC_EPTP_SWITCHING, NONE, 0)              \
    NVIRT_VMCS_GATE(GUEST_PAT, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_PAT, EXIT,                          \
                    NVIRT_VMX_EXIT_CTL_SAVE_PAT)                                                   \
    NVIRT_VMCS_GATE(GUEST_EFER, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_EFER, EXIT,                        \
                    NVIRT_VMX_EXIT_CTL_SAVE_EFER)                                                  \
    NVIRT_VMCS_GATE(GUEST_PERF_GLOBAL, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL, EXIT,          \
                    NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL)                                           \
    NVIRT_VMCS_GATE(GUEST_BNDCFGS, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS, EXIT,                  \
                    NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS)                                              \
    NVIRT_VMCS_GATE(GUEST_RTIT, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_RTIT, EXIT,                        \
                    NVIRT_VMX_EXIT_CTL_CLEAR_RTIT)                                                 \
    NVIRT_VMCS_GATE(GUEST_LBR, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_LBR, EXIT,                          \
                    NVIRT_VMX_EXIT_CTL_CLEAR_LBR)                                                  \
    NVIRT_VMCS_GATE(GUEST_UINV, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_UINV, EXIT,                        \
                    NVIRT_VMX_EXIT_CTL_CLEAR_UINV)                                                 \
    NVIRT_VMCS_GATE(GUEST_PKRS, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_PKRS, NONE, 0)                     \
    NVIRT_VMCS_GATE(GUEST_CET, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_CET, NONE, 0)                       \
    NVIRT_VMCS_GATE(GUEST_FRED, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_FRED, EXIT2,                       \
                    NVIRT_VMX_EXIT2_SAVE_FRED)                                                     \
    NVIRT_VMCS_GATE(HOST_PAT, EXIT, NVIRT_VMX_EXIT_CTL_LOAD_PAT, NONE, 0)                          \
    NVIRT_VMCS_GATE(HOST_EFER, EXIT, NVIRT_VMX_EXIT_CTL_LOAD_EFER, NONE, 0)                        \
    NVIRT_VMCS_GATE(HOST_PERF_GLOBAL, EXIT, NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL, NONE, 0)          \
    NVIRT_VMCS_GATE(HOST_PKRS, EXIT, NVIRT_VMX_EXIT_CTL_LOAD_PKRS, NONE, 0)                        \
    NVIRT_VMCS_GATE(HOST_CET, EXIT, NVIRT_VMX_EXIT_CTL_LOAD_CET, NONE, 0)                          \
    NVIRT_VMCS_GATE(HOST_FRED, EXIT2, NVIRT_VMX_EXIT2_LOAD_FRED, NONE, 0)                          \
    NVIRT_VMCS_GATE(FRED, ENTRY, NVIRT_VMX_ENTRY_CTL_LOAD_FRED, EXIT2, NVIRT_VMX_EXIT2_LOAD_FRED)  \
    NVIRT_VMCS_GATE(CR3_TARGET0, CR3_TARGETS, 1, NONE, 0)                                          \
    NVIRT_VMCS_GATE(CR3_TARGET1, CR3_TARGETS, 2, NONE, 0)                                          \
    NVIRT_VMCS_GATE(CR3_TARGET2, CR3_TARGETS, 3, NONE, 0)                                          \
    NVIRT_VMCS_GATE(CR3_TARGET3, CR3_TARGETS, 4, NONE, 0)

/** A row of NVIRT_VMCS_GATES. */
enum nvirt_vmcs_gate {
#define NVIRT_VMCS_GATE(NAME, word, mask, other, other_mask) NVIRT_VMCS_GATE_##NAME,
    NVIRT_VMCS_GATES(NVIRT_VMCS_GATE)
#undef NVIRT_VMCS_GATE
    NVIRT_VMCS_GATE_COUNT
};

/**
 * Whether a field exists [SDM 3C "VM-Execution Control Fields"].
 * @param caps of the CPU, or as offered.
 * @param field any number.
 * @return true when @p caps have the capability that @p field depends on; false for a non-field.
 */
bool nvirt_vmcs_field_exists(const struct nvirt_vmx_caps *caps, enum nvirt_vmcs_field field);

/** @name IA32_VMX_BASIC [SDM 3D "Basic VMX Information"]
 * @{ */
#define NVIRT_VMX_BASIC_REVISION NVIRT_BITS(30, 0)
#define NVIRT_VMX_BASIC_SIZE NVIRT_BITS(44, 32)
#define NVIRT_VMX_BASIC_SIZE_SHIFT 32u
#define NVIRT_VMX_BASIC_ADDRESS_32 NVIRT_BIT(48)
#define NVIRT_VMX_BASIC_DUAL_MONITOR NVIRT_BIT(49)
#define NVIRT_VMX_BASIC_MEMORY_TYPE NVIRT_BITS(53, 50)
#define NVIRT_VMX_BASIC_MEMORY_TYPE_SHIFT 50u
#define NVIRT_VMX_BASIC_INS_OUTS_INFO NVIRT_BIT(54)
#define NVIRT_VMX_BASIC_TRUE NVIRT_BIT(55)
/** Hardware exceptions may be injected with or without error code whatever their vector. */
#define NVIRT_VMX_BASIC_ANY_ERROR_CODE NVIRT_BIT(56)
#define NVIRT_VMX_BASIC_NESTED_EXCEPTION NVIRT_BIT(58)
/** @} */

/** @name IA32_VMX_MISC [SDM 3D "Miscellaneous Data"]
 * @{ */
#define NVIRT_VMX_MISC_TIMER_RATE NVIRT_BITS(4, 0)
#define NVIRT_VMX_MISC_SAVES_LMA NVIRT_BIT(5)
#define NVIRT_VMX_MISC_ACTIVITY_HLT NVIRT_BIT(6)
#define NVIRT_VMX_MISC_ACTIVITY_SHUTDOWN NVIRT_BIT(7)
#define NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI NVIRT_BIT(8)
#define NVIRT_VMX_MISC_PROCESSOR_TRACE NVIRT_BIT(14)
#define NVIRT_VMX_MISC_SMBASE_MSR NVIRT_BIT(15)
#define NVIRT_VMX_MISC_CR3_TARGETS NVIRT_BITS(24, 16)
#define NVIRT_VMX_MISC_CR3_TARGETS_SHIFT 16u
#define NVIRT_VMX_MISC_MSR_LIST NVIRT_BITS(27, 25)
#define NVIRT_VMX_MISC_MSR_LIST_SHIFT 25u
#define NVIRT_VMX_MISC_SMM_UNBLOCK NVIRT_BIT(28)
#define NVIRT_VMX_MISC_VMWRITE_ANY NVIRT_BIT(29)
#define NVIRT_VMX_MISC_ZERO_LENGTH NVIRT_BIT(30)
#define NVIRT_VMX_MISC_MSEG NVIRT_BITS(63, 32)
/** @} */

/** @name IA32_VMX_VMCS_ENUM [SDM 3D "VMCS Enumeration"]
 * @{ */
#define NVIRT_VMX_VMCS_ENUM_INDEX NVIRT_BITS(9, 1)
/** @} */

/** @name IA32_VMX_EPT_VPID_CAP [SDM 3D "VPID and EPT Capabilities"]
 * @{ */
#define NVIRT_VMX_EPT_CAP_EXECUTE_ONLY NVIRT_BIT(0)
#define NVIRT_VMX_EPT_CAP_WALK_4 NVIRT_BIT(6)
#define NVIRT_VMX_EPT_CAP_WALK_5 NVIRT_BIT(7)
#define NVIRT_VMX_EPT_CAP_UC NVIRT_BIT(8)
#define NVIRT_VMX_EPT_CAP_WB NVIRT_BIT(14)
#define NVIRT_VMX_EPT_CAP_2M NVIRT_BIT(16)
#define NVIRT_VMX_EPT_CAP_1G NVIRT_BIT(17)
#define NVIRT_VMX_EPT_CAP_INVEPT NVIRT_BIT(20)
#define NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY NVIRT_BIT(21)
#define NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO NVIRT_BIT(22)
#define NVIRT_VMX_EPT_CAP_SHADOW_STACK NVIRT_BIT(23)
#define NVIRT_VMX_EPT_CAP_INVEPT_SINGLE NVIRT_BIT(25)
#define NVIRT_VMX_EPT_CAP_INVEPT_ALL NVIRT_BIT(26)
#define NVIRT_VMX_VPID_CAP_INVVPID NVIRT_BIT(32)
#define NVIRT_VMX_VPID_CAP_ADDRESS NVIRT_BIT(40)
#define NVIRT_VMX_VPID_CAP_SINGLE NVIRT_BIT(41)
#define NVIRT_VMX_VPID_CAP_ALL NVIRT_BIT(42)
#define NVIRT_VMX_VPID_CAP_SINGLE_NON_GLOBAL NVIRT_BIT(43)
#define NVIRT_VMX_EPT_CAP_HLAT_PREFIX NVIRT_BITS(53, 48)
/** @} */

/** @name Types of INVEPT and INVVPID [SDM 3C "INVEPT"; "INVVPID"]
 * @{ */
#define NVIRT_VMX_INVEPT_SINGLE 1u
#define NVIRT_VMX_INVEPT_ALL 2u
#define NVIRT_VMX_INVVPID_ADDRESS 0u
#define NVIRT_VMX_INVVPID_SINGLE 1u
#define NVIRT_VMX_INVVPID_ALL 2u
#define NVIRT_VMX_INVVPID_SINGLE_NON_GLOBAL 3u
/** @} */

/** @name Pin-based controls [SDM 3C "Pin-Based VM-Execution Controls"]
 * @{ */
#define NVIRT_VMX_PIN_EXT_INT NVIRT_BIT(0)
#define NVIRT_VMX_PIN_NMI NVIRT_BIT(3)
#define NVIRT_VMX_PIN_VIRTUAL_NMIS NVIRT_BIT(5)
#define NVIRT_VMX_PIN_PREEMPTION_TIMER NVIRT_BIT(6)
#define NVIRT_VMX_PIN_POSTED_INTERRUPTS NVIRT_BIT(7)
/** Reserved bits that must be 1 where no TRUE MSR says otherwise: "default1" of the word. */
#define NVIRT_VMX_PIN_DEFAULT1 UINT64_C(0x00000016)
/** @} */

/** @name Primary controls [SDM 3C "Processor-Based VM-Execution Controls"]
 * @{ */
#define NVIRT_VMX_PROC_INTERRUPT_WINDOW NVIRT_BIT(2)
#define NVIRT_VMX_PROC_TSC_OFFSET NVIRT_BIT(3)
#define NVIRT_VMX_PROC_HLT NVIRT_BIT(7)
#define NVIRT_VMX_PROC_INVLPG NVIRT_BIT(9)
#define NVIRT_VMX_PROC_MWAIT NVIRT_BIT(10)
#define NVIRT_VMX_PROC_RDPMC NVIRT_BIT(11)
#define NVIRT_VMX_PROC_RDTSC NVIRT_BIT(12)
#define NVIRT_VMX_PROC_CR3_LOAD NVIRT_BIT(15)
#define NVIRT_VMX_PROC_CR3_STORE NVIRT_BIT(16)
#define NVIRT_VMX_PROC_TERTIARY NVIRT_BIT(17)
#define NVIRT_VMX_PROC_CR8_LOAD NVIRT_BIT(19)
#define NVIRT_VMX_PROC_CR8_STORE NVIRT_BIT(20)
#define NVIRT_VMX_PROC_TPR_SHADOW NVIRT_BIT(21)
#define NVIRT_VMX_PROC_NMI_WINDOW NVIRT_BIT(22)
#define NVIRT_VMX_PROC_MOV_DR NVIRT_BIT(23)
#define NVIRT_VMX_PROC_UNCONDITIONAL_IO NVIRT_BIT(24)
#define NVIRT_VMX_PROC_IO_BITMAPS NVIRT_BIT(25)
#define NVIRT_VMX_PROC_MTF NVIRT_BIT(27)
#define NVIRT_VMX_PROC_MSR_BITMAPS NVIRT_BIT(28)
#define NVIRT_VMX_PROC_MONITOR NVIRT_BIT(29)
#define NVIRT_VMX_PROC_PAUSE NVIRT_BIT(30)
#define NVIRT_VMX_PROC_SECONDARY NVIRT_BIT(31)
/** The "default1" class of the word. */
#define NVIRT_VMX_PROC_DEFAULT1 UINT64_C(0x0401E172)
/** @} */

/** @name Secondary controls [SDM 3C "Processor-Based VM-Execution Controls"]
 * @{ */
#define NVIRT_VMX_PROC2_APIC_ACCESSES NVIRT_BIT(0)
#define NVIRT_VMX_PROC2_EPT NVIRT_BIT(1)
#define NVIRT_VMX_PROC2_DESCRIPTOR_TABLE NVIRT_BIT(2)
#define NVIRT_VMX_PROC2_RDTSCP NVIRT_BIT(3)
#define NVIRT_VMX_PROC2_X2APIC NVIRT_BIT(4)
#define NVIRT_VMX_PROC2_VPID NVIRT_BIT(5)
#define NVIRT_VMX_PROC2_WBINVD NVIRT_BIT(6)
#define NVIRT_VMX_PROC2_UNRESTRICTED NVIRT_BIT(7)
#define NVIRT_VMX_PROC2_APIC_REGISTERS NVIRT_BIT(8)
#define NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS NVIRT_BIT(9)
#define NVIRT_VMX_PROC2_PAUSE_LOOP NVIRT_BIT(10)
#define NVIRT_VMX_PROC2_RDRAND NVIRT_BIT(11)
#define NVIRT_VMX_PROC2_INVPCID NVIRT_BIT(12)
#define NVIRT_VMX_PROC2_VMFUNC NVIRT_BIT(13)
#define NVIRT_VMX_PROC2_VMCS_SHADOWING NVIRT_BIT(14)
#define NVIRT_VMX_PROC2_ENCLS NVIRT_BIT(15)
#define NVIRT_VMX_PROC2_RDSEED NVIRT_BIT(16)
#define NVIRT_VMX_PROC2_PML NVIRT_BIT(17)
#define NVIRT_VMX_PROC2_EPT_VE NVIRT_BIT(18)
#define NVIRT_VMX_PROC2_CONCEAL_PT NVIRT_BIT(19)
#define NVIRT_VMX_PROC2_XSAVES NVIRT_BIT(20)
#define NVIRT_VMX_PROC2_PASID NVIRT_BIT(21)
#define NVIRT_VMX_PROC2_MODE_EXECUTE NVIRT_BIT(22)
#define NVIRT_VMX_PROC2_SUBPAGE_WRITE NVIRT_BIT(23)
#define NVIRT_VMX_PROC2_PT_GUEST_PHYSICAL NVIRT_BIT(24)
#define NVIRT_VMX_PROC2_TSC_SCALING NVIRT_BIT(25)
#define NVIRT_VMX_PROC2_USER_WAIT NVIRT_BIT(26)
#define NVIRT_VMX_PROC2_PCONFIG NVIRT_BIT(27)
#define NVIRT_VMX_PROC2_ENCLV NVIRT_BIT(28)
#define NVIRT_VMX_PROC2_BUS_LOCK NVIRT_BIT(30)
#define NVIRT_VMX_PROC2_INSTRUCTION_TIMEOUT NVIRT_BIT(31)
/** @} */

/** @name Tertiary controls, 64 bits [SDM 3C "Processor-Based VM-Execution Controls"]
 * @{ */
#define NVIRT_VMX_PROC3_LOADIWKEY NVIRT_BIT(0)
#define NVIRT_VMX_PROC3_HLAT NVIRT_BIT(1)
#define NVIRT_VMX_PROC3_EPT_PAGING_WRITE NVIRT_BIT(2)
#define NVIRT_VMX_PROC3_GUEST_PAGING_VERIFY NVIRT_BIT(3)
#define NVIRT_VMX_PROC3_IPI_VIRTUALIZATION NVIRT_BIT(4)
#define NVIRT_VMX_PROC3_SEAM_GPAW NVIRT_BIT(5)
#define NVIRT_VMX_PROC3_MSR_LIST NVIRT_BIT(6)
#define NVIRT_VMX_PROC3_SPEC_CTRL NVIRT_BIT(7)
/** @} */

/** @name VM-exit controls [SDM 3C "VM-Exit Controls"]
 * @{ */
#define NVIRT_VMX_EXIT_CTL_SAVE_DEBUG NVIRT_BIT(2)
#define NVIRT_VMX_EXIT_CTL_HOST_64 NVIRT_BIT(9)
#define NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL NVIRT_BIT(12)
#define NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT NVIRT_BIT(15)
#define NVIRT_VMX_EXIT_CTL_SAVE_PAT NVIRT_BIT(18)
#define NVIRT_VMX_EXIT_CTL_LOAD_PAT NVIRT_BIT(19)
#define NVIRT_VMX_EXIT_CTL_SAVE_EFER NVIRT_BIT(20)
#define NVIRT_VMX_EXIT_CTL_LOAD_EFER NVIRT_BIT(21)
#define NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER NVIRT_BIT(22)
#define NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS NVIRT_BIT(23)
#define NVIRT_VMX_EXIT_CTL_CONCEAL_PT NVIRT_BIT(24)
#define NVIRT_VMX_EXIT_CTL_CLEAR_RTIT NVIRT_BIT(25)
#define NVIRT_VMX_EXIT_CTL_CLEAR_LBR NVIRT_BIT(26)
#define NVIRT_VMX_EXIT_CTL_CLEAR_UINV NVIRT_BIT(27)
#define NVIRT_VMX_EXIT_CTL_LOAD_CET NVIRT_BIT(28)
#define NVIRT_VMX_EXIT_CTL_LOAD_PKRS NVIRT_BIT(29)
#define NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL NVIRT_BIT(30)
#define NVIRT_VMX_EXIT_CTL_SECONDARY NVIRT_BIT(31)
/** The "default1" class of the word. */
#define NVIRT_VMX_EXIT_CTL_DEFAULT1 UINT64_C(0x00036DFF)
/** @} */

/** @name Secondary VM-exit controls, 64 bits [SDM 3C "VM-Exit Controls"]
 * @{ */
#define NVIRT_VMX_EXIT2_SAVE_FRED NVIRT_BIT(0)
#define NVIRT_VMX_EXIT2_LOAD_FRED NVIRT_BIT(1)
#define NVIRT_VMX_EXIT2_BUSY_SHADOW_STACK NVIRT_BIT(3)
/** @} */

/** @name VM-entry controls [SDM 3C "VM-Entry Controls"]
 * @{ */
#define NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG NVIRT_BIT(2)
#define NVIRT_VMX_ENTRY_CTL_IA32E NVIRT_BIT(9)
#define NVIRT_VMX_ENTRY_CTL_SMM NVIRT_BIT(10)
#define NVIRT_VMX_ENTRY_CTL_DEACTIVATE_DUAL NVIRT_BIT(11)
#define NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL NVIRT_BIT(13)
#define NVIRT_VMX_ENTRY_CTL_LOAD_PAT NVIRT_BIT(14)
#define NVIRT_VMX_ENTRY_CTL_LOAD_EFER NVIRT_BIT(15)
#define NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS NVIRT_BIT(16)
#define NVIRT_VMX_ENTRY_CTL_CONCEAL_PT NVIRT_BIT(17)
#define NVIRT_VMX_ENTRY_CTL_LOAD_RTIT NVIRT_BIT(18)
#define NVIRT_VMX_ENTRY_CTL_LOAD_UINV NVIRT_BIT(19)
#define NVIRT_VMX_ENTRY_CTL_LOAD_CET NVIRT_BIT(20)
#define NVIRT_VMX_ENTRY_CTL_LOAD_LBR NVIRT_BIT(21)
#define NVIRT_VMX_ENTRY_CTL_LOAD_PKRS NVIRT_BIT(22)
#define NVIRT_VMX_ENTRY_CTL_LOAD_FRED NVIRT_BIT(23)
/** The "default1" class of the word. */
#define NVIRT_VMX_ENTRY_CTL_DEFAULT1 UINT64_C(0x000011FF)
/** @} */

/** @name VM-function controls [SDM 3C "VM-Function Controls"]
 * @{ */
#define NVIRT_VMX_VMFUNC_EPTP_SWITCHING NVIRT_BIT(0)
/** @} */

/** @name Interruption information of entry, exit and IDT vectoring [SDM 3C "Event Injection"]
 * @{ */
#define NVIRT_VMX_INTR_VECTOR NVIRT_BITS(7, 0)
#define NVIRT_VMX_INTR_TYPE NVIRT_BITS(10, 8)
#define NVIRT_VMX_INTR_TYPE_SHIFT 8u
#define NVIRT_VMX_INTR_ERROR_CODE NVIRT_BIT(11)
/** Exit fields: NMI unblocking due to IRET. Undefined in the IDT-vectoring field. */
#define NVIRT_VMX_INTR_NMI_UNBLOCKING NVIRT_BIT(12)
#define NVIRT_VMX_INTR_NESTED NVIRT_BIT(13)
#define NVIRT_VMX_INTR_VALID NVIRT_BIT(31)
#define NVIRT_VMX_INTR_RESERVED NVIRT_BITS(30, 12)
/** @} */

/** @name Interruption types, shifted down [SDM 3C "VM-Entry Controls for Event Injection"]
 * @{ */
#define NVIRT_VMX_INTR_TYPE_EXTERNAL UINT64_C(0)
#define NVIRT_VMX_INTR_TYPE_RESERVED UINT64_C(1)
#define NVIRT_VMX_INTR_TYPE_NMI UINT64_C(2)
#define NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION UINT64_C(3)
#define NVIRT_VMX_INTR_TYPE_SOFTWARE_INTERRUPT UINT64_C(4)
#define NVIRT_VMX_INTR_TYPE_PRIVILEGED_SOFTWARE UINT64_C(5)
#define NVIRT_VMX_INTR_TYPE_SOFTWARE_EXCEPTION UINT64_C(6)
#define NVIRT_VMX_INTR_TYPE_OTHER UINT64_C(7)
/** @} */

/** @name Activity states [SDM 3C "Guest Non-Register State"]
 * @{ */
#define NVIRT_VMX_ACTIVITY_ACTIVE UINT64_C(0)
#define NVIRT_VMX_ACTIVITY_HLT UINT64_C(1)
#define NVIRT_VMX_ACTIVITY_SHUTDOWN UINT64_C(2)
#define NVIRT_VMX_ACTIVITY_WAIT_SIPI UINT64_C(3)
/** @} */

/** @name Interruptibility state [SDM 3C "Guest Non-Register State"]
 * @{ */
#define NVIRT_VMX_BLOCK_STI NVIRT_BIT(0)
#define NVIRT_VMX_BLOCK_MOV_SS NVIRT_BIT(1)
#define NVIRT_VMX_BLOCK_SMI NVIRT_BIT(2)
#define NVIRT_VMX_BLOCK_NMI NVIRT_BIT(3)
#define NVIRT_VMX_BLOCK_ENCLAVE NVIRT_BIT(4)
#define NVIRT_VMX_BLOCK_RESERVED NVIRT_BITS(31, 5)
/** @} */

/** @name Pending debug exceptions [SDM 3C "Guest Non-Register State"]
 * @{ */
#define NVIRT_VMX_PENDING_B0_B3 NVIRT_BITS(3, 0)
#define NVIRT_VMX_PENDING_BUS_LOCK NVIRT_BIT(11)
#define NVIRT_VMX_PENDING_ENABLED_BP NVIRT_BIT(12)
#define NVIRT_VMX_PENDING_BS NVIRT_BIT(14)
#define NVIRT_VMX_PENDING_RTM NVIRT_BIT(16)
/** @} */

/** @name Segment access rights [SDM 3C "Guest Register State"]
 * @{ */
#define NVIRT_VMX_AR_TYPE NVIRT_BITS(3, 0)
#define NVIRT_VMX_AR_S NVIRT_BIT(4)
#define NVIRT_VMX_AR_DPL NVIRT_BITS(6, 5)
#define NVIRT_VMX_AR_DPL_SHIFT 5u
#define NVIRT_VMX_AR_P NVIRT_BIT(7)
#define NVIRT_VMX_AR_RESERVED_LOW NVIRT_BITS(11, 8)
#define NVIRT_VMX_AR_AVL NVIRT_BIT(12)
#define NVIRT_VMX_AR_L NVIRT_BIT(13)
#define NVIRT_VMX_AR_DB NVIRT_BIT(14)
#define NVIRT_VMX_AR_G NVIRT_BIT(15)
#define NVIRT_VMX_AR_UNUSABLE NVIRT_BIT(16)
#define NVIRT_VMX_AR_RESERVED_HIGH NVIRT_BITS(31, 17)
/** @} */

/** @name EPT pointer [SDM 3C "Extended-Page-Table Pointer (EPTP)"]
 * @{ */
#define NVIRT_VMX_EPTP_MEMORY_TYPE NVIRT_BITS(2, 0)
#define NVIRT_VMX_EPTP_WALK NVIRT_BITS(5, 3)
#define NVIRT_VMX_EPTP_WALK_SHIFT 3u
#define NVIRT_VMX_EPTP_WALK_4 (UINT64_C(3) << NVIRT_VMX_EPTP_WALK_SHIFT)
#define NVIRT_VMX_EPTP_WALK_5 (UINT64_C(4) << NVIRT_VMX_EPTP_WALK_SHIFT)
#define NVIRT_VMX_EPTP_ACCESSED_DIRTY NVIRT_BIT(6)
#define NVIRT_VMX_EPTP_SHADOW_STACK NVIRT_BIT(7)
#define NVIRT_VMX_EPTP_RESERVED NVIRT_BITS(11, 8)
/** EP4TA: what tags guest-physical and combined mappings. */
#define NVIRT_VMX_EPTP_EP4TA NVIRT_BITS(51, 12)
/** @} */

/* ---- exit reasons [SDM 3D "VMX Basic Exit Reasons"] ---- */

/** One row each: (NAME, number). */
#define NVIRT_VMX_EXIT_REASONS(NVIRT_VMX_REASON)                                                   \
    NVIRT_VMX_REASON(EXCEPTION_NMI, 0)                                                             \
    NVIRT_VMX_REASON(EXTERNAL_INTERRUPT, 1)                                                        \
    NVIRT_VMX_REASON(TRIPLE_FAULT, 2)                                                              \
    NVIRT_VMX_REASON(INIT, 3)                                                                      \
    NVIRT_VMX_REASON(SIPI, 4)                                                                      \
    NVIRT_VMX_REASON(IO_SMI, 5)                                                                    \
    NVIRT_VMX_REASON(OTHER_SMI, 6)                                                                 \
    NVIRT_VMX_REASON(INTERRUPT_WINDOW, 7)                                                          \
    NVIRT_VMX_REASON(NMI_WINDOW, 8)                                                                \
    NVIRT_VMX_REASON(TASK_SWITCH, 9)                                                               \
    NVIRT_VMX_REASON(CPUID, 10)                                                                    \
    NVIRT_VMX_REASON(GETSEC, 11)                                                                   \
    NVIRT_VMX_REASON(HLT, 12)                                                                      \
    NVIRT_VMX_REASON(INVD, 13)                                                                     \
    NVIRT_VMX_REASON(INVLPG, 14)                                                                   \
    NVIRT_VMX_REASON(RDPMC, 15)                                                                    \
    NVIRT_VMX_REASON(RDTSC, 16)                                                                    \
    NVIRT_VMX_REASON(RSM, 17)                                                                      \
    NVIRT_VMX_REASON(VMCALL, 18)                                                                   \
    NVIRT_VMX_REASON(VMCLEAR, 19)                                                                  \
    NVIRT_VMX_REASON(VMLAUNCH, 20)                                                                 \
    NVIRT_VMX_REASON(VMPTRLD, 21)                                                                  \
    NVIRT_VMX_REASON(VMPTRST, 22)                                                                  \
    NVIRT_VMX_REASON(VMREAD, 23)                                                                   \
    NVIRT_VMX_REASON(VMRESUME, 24)                                                                 \
    NVIRT_VMX_REASON(VMWRITE, 25)                                                                  \
    NVIRT_VMX_REASON(VMXOFF, 26)                                                                   \
    NVIRT_VMX_REASON(VMXON, 27)                                                                    \
    NVIRT_VMX_REASON(CR_ACCESS, 28)                                                                \
    NVIRT_VMX_REASON(MOV_DR, 29)                                                                   \
    NVIRT_VMX_REASON(IO, 30)                                                                       \
    NVIRT_VMX_REASON(RDMSR, 31)                                                                    \
    NVIRT_VMX_REASON(WRMSR, 32)                                                                    \
    NVIRT_VMX_REASON(ENTRY_GUEST_STATE, 33)                                                        \
    NVIRT_VMX_REASON(ENTRY_MSR_LOAD, 34)                                                           \
    NVIRT_VMX_REASON(MWAIT, 36)                                                                    \
    NVIRT_VMX_REASON(MTF, 37)                                                                      \
    NVIRT_VMX_REASON(MONITOR, 39)                                                                  \
    NVIRT_VMX_REASON(PAUSE, 40)                                                                    \
    NVIRT_VMX_REASON(ENTRY_MACHINE_CHECK, 41)                                                      \
    NVIRT_VMX_REASON(TPR_BELOW_THRESHOLD, 43)                                                      \
    NVIRT_VMX_REASON(APIC_ACCESS, 44)                                                              \
    NVIRT_VMX_REASON(VIRTUALIZED_EOI, 45)                                                          \
    NVIRT_VMX_REASON(GDTR_IDTR, 46)                                                                \
    NVIRT_VMX_REASON(LDTR_TR, 47)                                                                  \
    NVIRT_VMX_REASON(EPT_VIOLATION, 48)                                                            \
    NVIRT_VMX_REASON(EPT_MISCONFIGURATION, 49)                                                     \
    NVIRT_VMX_REASON(INVEPT, 50)                                                                   \
    NVIRT_VMX_REASON(RDTSCP, 51)                                                                   \
    NVIRT_VMX_REASON(PREEMPTION_TIMER, 52)                                                         \
    NVIRT_VMX_REASON(INVVPID, 53)                                                                  \
    NVIRT_VMX_REASON(WBINVD, 54)                                                                   \
    NVIRT_VMX_REASON(XSETBV, 55)                                                                   \
    NVIRT_VMX_REASON(APIC_WRITE, 56)                                                               \
    NVIRT_VMX_REASON(RDRAND, 57)                                                                   \
    NVIRT_VMX_REASON(INVPCID, 58)                                                                  \
    NVIRT_VMX_REASON(VMFUNC, 59)                                                                   \
    NVIRT_VMX_REASON(ENCLS, 60)                                                                    \
    NVIRT_VMX_REASON(RDSEED, 61)                                                                   \
    NVIRT_VMX_REASON(PML_FULL, 62)                                                                 \
    NVIRT_VMX_REASON(XSAVES, 63)                                                                   \
    NVIRT_VMX_REASON(XRSTORS, 64)                                                                  \
    NVIRT_VMX_REASON(PCONFIG, 65)                                                                  \
    NVIRT_VMX_REASON(SPP_EVENT, 66)                                                                \
    NVIRT_VMX_REASON(UMWAIT, 67)                                                                   \
    NVIRT_VMX_REASON(TPAUSE, 68)                                                                   \
    NVIRT_VMX_REASON(LOADIWKEY, 69)                                                                \
    NVIRT_VMX_REASON(ENCLV, 70)                                                                    \
    NVIRT_VMX_REASON(ENQCMD, 72)                                                                   \
    NVIRT_VMX_REASON(ENQCMDS, 73)                                                                  \
    NVIRT_VMX_REASON(BUS_LOCK, 74)                                                                 \
    NVIRT_VMX_REASON(INSTRUCTION_TIMEOUT, 75)                                                      \
    NVIRT_VMX_REASON(SEAMCALL, 76)                                                                 \
    NVIRT_VMX_REASON(TDCALL, 77)                                                                   \
    NVIRT_VMX_REASON(RDMSRLIST, 78)                                                                \
    NVIRT_VMX_REASON(WRMSRLIST, 79)                                                                \
    NVIRT_VMX_REASON(URDMSR, 80)                                                                   \
    NVIRT_VMX_REASON(UWRMSR, 81)                                                                   \
    NVIRT_VMX_REASON(RDMSR_IMMEDIATE, 84)                                                          \
    NVIRT_VMX_REASON(WRMSRNS_IMMEDIATE, 85)

/** Basic exit reasons: bits 15:0 of the exit-reason field. */
enum nvirt_vmx_exit_reason {
#define NVIRT_VMX_REASON(NAME, number) NVIRT_VMX_EXIT_##NAME = number,
    NVIRT_VMX_EXIT_REASONS(NVIRT_VMX_REASON)
#undef NVIRT_VMX_REASON
    NVIRT_VMX_EXIT_REASON_LIMIT /**< One past the highest number known. */
};

/**
 * Name of a basic exit reason, for messages.
 * @param basic_reason any number; bits 15:0 of the exit-reason field.
 * @return a constant string, "?" when unknown; never null.
 */
const char *nvirt_vmx_exit_reason_name(uint32_t basic_reason);

/** @name Parts of the exit-reason field [SDM 3C "Basic VM-Exit Information"]
 * @{ */
#define NVIRT_VMX_REASON_BASIC NVIRT_BITS(15, 0)
#define NVIRT_VMX_REASON_ENCLAVE NVIRT_BIT(27)
#define NVIRT_VMX_REASON_PENDING_MTF NVIRT_BIT(28)
#define NVIRT_VMX_REASON_FROM_ROOT NVIRT_BIT(29)
#define NVIRT_VMX_REASON_ENTRY_FAILURE NVIRT_BIT(31)
/** @} */

/** @name Exit qualification: failed VM entries
 * For reason 34 it is the number of the MSR-list entry instead, from 1 [SDM 3C "VM-Entry Failures
 * During or After Loading Guest State"].
 * @{ */
#define NVIRT_VMX_ENTRY_FAIL_DEFAULT UINT64_C(0)
#define NVIRT_VMX_ENTRY_FAIL_PDPTE UINT64_C(2)
#define NVIRT_VMX_ENTRY_FAIL_NMI UINT64_C(3)
#define NVIRT_VMX_ENTRY_FAIL_VMCS_LINK UINT64_C(4)
/** @} */

/** @name Exit qualification: control-register accesses [SDM 3C "Basic VM-Exit Information"]
 * @{ */
#define NVIRT_VMX_QUAL_CR_NUMBER NVIRT_BITS(3, 0)
#define NVIRT_VMX_QUAL_CR_ACCESS NVIRT_BITS(5, 4)
#define NVIRT_VMX_QUAL_CR_ACCESS_SHIFT 4u
#define NVIRT_VMX_QUAL_CR_ACCESS_TO UINT64_C(0)
#define NVIRT_VMX_QUAL_CR_ACCESS_FROM UINT64_C(1)
#define NVIRT_VMX_QUAL_CR_ACCESS_CLTS UINT64_C(2)
#define NVIRT_VMX_QUAL_CR_ACCESS_LMSW UINT64_C(3)
#define NVIRT_VMX_QUAL_CR_LMSW_MEMORY NVIRT_BIT(6)
#define NVIRT_VMX_QUAL_CR_GPR NVIRT_BITS(11, 8)
#define NVIRT_VMX_QUAL_CR_GPR_SHIFT 8u
#define NVIRT_VMX_QUAL_CR_LMSW_DATA NVIRT_BITS(31, 16)
#define NVIRT_VMX_QUAL_CR_LMSW_DATA_SHIFT 16u
/** @} */

/** @name Exit qualification: MOV DR [SDM 3C "Basic VM-Exit Information"]
 * @{ */
#define NVIRT_VMX_QUAL_DR_NUMBER NVIRT_BITS(2, 0)
#define NVIRT_VMX_QUAL_DR_FROM NVIRT_BIT(4)
#define NVIRT_VMX_QUAL_DR_GPR NVIRT_BITS(11, 8)
#define NVIRT_VMX_QUAL_DR_GPR_SHIFT 8u
/** @} */

/** @name Exit qualification: I/O instructions [SDM 3C "Basic VM-Exit Information"]
 * @{ */
/** Bytes of the access minus one: 0, 1 or 3. */
#define NVIRT_VMX_QUAL_IO_SIZE NVIRT_BITS(2, 0)
#define NVIRT_VMX_QUAL_IO_IN NVIRT_BIT(3)
#define NVIRT_VMX_QUAL_IO_STRING NVIRT_BIT(4)
#define NVIRT_VMX_QUAL_IO_REP NVIRT_BIT(5)
#define NVIRT_VMX_QUAL_IO_IMMEDIATE NVIRT_BIT(6)
#define NVIRT_VMX_QUAL_IO_PORT NVIRT_BITS(31, 16)
#define NVIRT_VMX_QUAL_IO_PORT_SHIFT 16u
/** @} */

/** @name Exit qualification: EPT violations [SDM 3C "Basic VM-Exit Information"]
 * @{ */
#define NVIRT_VMX_QUAL_EPT_READ NVIRT_BIT(0)
#define NVIRT_VMX_QUAL_EPT_WRITE NVIRT_BIT(1)
#define NVIRT_VMX_QUAL_EPT_FETCH NVIRT_BIT(2)
#define NVIRT_VMX_QUAL_EPT_ENTRY_READ NVIRT_BIT(3)
#define NVIRT_VMX_QUAL_EPT_ENTRY_WRITE NVIRT_BIT(4)
#define NVIRT_VMX_QUAL_EPT_ENTRY_EXECUTE NVIRT_BIT(5)
#define NVIRT_VMX_QUAL_EPT_ENTRY_EXECUTE_USER NVIRT_BIT(6)
#define NVIRT_VMX_QUAL_EPT_LINEAR_VALID NVIRT_BIT(7)
/** With LINEAR_VALID: the access was to the translation of it, not to a paging structure. */
#define NVIRT_VMX_QUAL_EPT_TRANSLATED NVIRT_BIT(8)
#define NVIRT_VMX_QUAL_EPT_USER_LINEAR NVIRT_BIT(9)
#define NVIRT_VMX_QUAL_EPT_WRITABLE_LINEAR NVIRT_BIT(10)
#define NVIRT_VMX_QUAL_EPT_NO_EXECUTE_LINEAR NVIRT_BIT(11)
#define NVIRT_VMX_QUAL_EPT_NMI_UNBLOCKING NVIRT_BIT(12)
#define NVIRT_VMX_QUAL_EPT_SHADOW_STACK NVIRT_BIT(13)
#define NVIRT_VMX_QUAL_EPT_SUPERVISOR_STACK NVIRT_BIT(14)
#define NVIRT_VMX_QUAL_EPT_PAGING_VERIFICATION NVIRT_BIT(15)
#define NVIRT_VMX_QUAL_EPT_ASYNCHRONOUS NVIRT_BIT(16)
/** @} */

/** VM-instruction error numbers [SDM 3C "VM Instruction Error Numbers"]. */
enum nvirt_vmx_error {
    NVIRT_VMX_ERR_VMCALL_ROOT = 1,
    NVIRT_VMX_ERR_VMCLEAR_ADDRESS = 2,
    NVIRT_VMX_ERR_VMCLEAR_VMXON = 3,
    NVIRT_VMX_ERR_VMLAUNCH_NOT_CLEAR = 4,
    NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED = 5,
    NVIRT_VMX_ERR_VMRESUME_AFTER_VMXOFF = 6,
    NVIRT_VMX_ERR_ENTRY_CONTROLS = 7,
    NVIRT_VMX_ERR_ENTRY_HOST_STATE = 8,
    NVIRT_VMX_ERR_VMPTRLD_ADDRESS = 9,
    NVIRT_VMX_ERR_VMPTRLD_VMXON = 10,
    NVIRT_VMX_ERR_VMPTRLD_REVISION = 11,
    NVIRT_VMX_ERR_FIELD_UNSUPPORTED = 12,
    NVIRT_VMX_ERR_FIELD_READ_ONLY = 13,
    NVIRT_VMX_ERR_VMXON_ROOT = 15,
    NVIRT_VMX_ERR_ENTRY_EXECUTIVE_POINTER = 16,
    NVIRT_VMX_ERR_ENTRY_EXECUTIVE_LAUNCH = 17,
    NVIRT_VMX_ERR_ENTRY_EXECUTIVE_VMXON = 18,
    NVIRT_VMX_ERR_VMCALL_NOT_CLEAR = 19,
    NVIRT_VMX_ERR_VMCALL_EXIT_CONTROLS = 20,
    NVIRT_VMX_ERR_VMCALL_MSEG = 22,
    NVIRT_VMX_ERR_VMXOFF_DUAL_MONITOR = 23,
    NVIRT_VMX_ERR_VMCALL_SMM_FEATURES = 24,
    NVIRT_VMX_ERR_ENTRY_EXECUTIVE_CONTROLS = 25,
    NVIRT_VMX_ERR_ENTRY_MOV_SS = 26,
    NVIRT_VMX_ERR_INVALIDATE_OPERAND = 28
};

/* ---- the region in L1's memory ---- */

/** @name First word of the region: revision identifier, and the mark of a shadow VMCS
 * The VMX-abort indicator follows at offset 4 [SDM 3C "Format of the VMCS Region"].
 * @{ */
#define NVIRT_VMX_REGION_SHADOW NVIRT_BIT(31)
#define NVIRT_VMX_REGION_REVISION NVIRT_BITS(30, 0)
/** @} */

/** The value of VMCS_LINK that names no VMCS. */
#define NVIRT_VMX_NO_VMCS_LINK UINT64_C(0xFFFFFFFFFFFFFFFF)

/** @name VMX-abort indicators [SDM 3C "VMX Aborts"]
 * @{ */
#define NVIRT_VMX_ABORT_SAVE_MSR 1u
#define NVIRT_VMX_ABORT_HOST_PDPTE 2u
#define NVIRT_VMX_ABORT_VMCS_CORRUPT 3u
#define NVIRT_VMX_ABORT_LOAD_MSR 4u
#define NVIRT_VMX_ABORT_MACHINE_CHECK 5u
#define NVIRT_VMX_ABORT_HOST_32_FROM_IA32E 6u
/** @} */

NVIRT_END_DECLS

#endif
