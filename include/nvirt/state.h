/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Saved nested state: the bytes that nvirt_vmx_save() and nvirt_svm_save() write and the restore
 * calls read, for snapshots and for moving a VM to another machine.
 *
 * What is in them is what the CPU that L1 believes to own would hold beyond L1's registers: whether
 * L1 is in VMX operation, the current VMCS with its launch state, GIF and the VMRUN that is under
 * way, the registers of an L2 that is active, and the events that nvirt has accepted and not
 * delivered yet. The host saves the rest itself, as it would without nesting: L1's memory, the
 * general-purpose and extended registers, CR2 and the debug registers of the level that runs, and
 * of vmcs01 or vmcb01 the guest state, the CR0 and CR4 read shadows and the event to be injected.
 * Second-stage tables, tags and pins are made anew after a restore.
 *
 * The layout, version 1, all numbers little-endian:
 *
 *     offset  bytes  contents
 *          0      4  NVIRT_STATE_MAGIC
 *          4      2  NVIRT_STATE_VERSION
 *          6      2  enum nvirt_state_vendor
 *          8      4  number of rows
 *         12      4  0
 *         16     16  first row: 4 bytes identifier, 4 bytes 0, 8 bytes value
 *         32     16  second row, and so on
 *
 * The identifier's high half is an enum nvirt_state_class, its low half a number of that class.
 * Rows are in ascending order of the identifier, none twice. A row of the item class is always
 * there; a field row that is left out stands for 0. Restoring refuses what it does not know: rows
 * are added with a new version only.
 *
 * The bytes are no secret and no proof: a restore checks each value as if L1 had written it.
 */
#ifndef NVIRT_STATE_H
#define NVIRT_STATE_H

#include <nvirt/compiler.h>

NVIRT_BEGIN_DECLS

/** First four bytes: "nvst". */
#define NVIRT_STATE_MAGIC 0x7473766eu
/** Version that is written, and the only one that is read. */
#define NVIRT_STATE_VERSION 1u
/** Bytes that hold any saved state of this version. */
#define NVIRT_STATE_MAX_BYTES 8192u

/** Whose virtualization the state is about. */
enum nvirt_state_vendor {
    NVIRT_STATE_VMX = 1,   /**< nvirt_vmx_save(). */
    NVIRT_STATE_SVM = 2,   /**< nvirt_svm_save(). */
    NVIRT_STATE_HYPERV = 3 /**< nvirt_hv_save(). */
};

/** What the low half of an identifier numbers. */
enum nvirt_state_class {
    NVIRT_STATE_ITEM = 1,      /**< enum nvirt_state_vmx_item or enum nvirt_state_svm_item. */
    NVIRT_STATE_CONTROL12 = 2, /**< A field of vmcs12, by its encoding, or the eight bytes of vmcb12
                                    at this offset. */
    NVIRT_STATE_L2 = 3         /**< The same of the state that L2 is in; while L2 is active. */
};

/** Items of VMX: (NAME, what the value is). Flags are 0 or 1. */
#define NVIRT_STATE_VMX_ITEMS(NVIRT_STATE_ITEM_ROW)                                                \
    NVIRT_STATE_ITEM_ROW(LEVEL, "1: L1 runs; 2: L2 is active")                                     \
    NVIRT_STATE_ITEM_ROW(VMX_ON, "flag: L1 is in VMX operation")                                   \
    NVIRT_STATE_ITEM_ROW(VMXON_POINTER, "l1gpa of the VMXON region; 0 outside VMX operation")      \
    NVIRT_STATE_ITEM_ROW(CURRENT_VMCS, "l1gpa of the current VMCS; all ones: none")                \
    NVIRT_STATE_ITEM_ROW(LAUNCHED, "flag: launch state of the current VMCS")                       \
    NVIRT_STATE_ITEM_ROW(FEATURE_CONTROL, "IA32_FEATURE_CONTROL of L1")                            \
    NVIRT_STATE_ITEM_ROW(ENTRY_PENDING, "flag: VMLAUNCH or VMRESUME done, L2 has not run yet")     \
    NVIRT_STATE_ITEM_ROW(SHUTDOWN, "flag: L1 is shut down until reset")                            \
    NVIRT_STATE_ITEM_ROW(BARRIER, "flag: a branch barrier is due")                                 \
    NVIRT_STATE_ITEM_ROW(L1_INSN_LENGTH, "VM-exit instruction length of L1's last exit, 0 to 15")   \
    NVIRT_STATE_ITEM_ROW(L2_INSN_LENGTH, "the same of L2's; 0 while L2 is not active")             \
    NVIRT_STATE_ITEM_ROW(NMI, "flag: an NMI waits")                                                \
    NVIRT_STATE_ITEM_ROW(INIT, "flag: an INIT waits")                                              \
    NVIRT_STATE_ITEM_ROW(MONITOR_TRAP, "flag: L1's monitor trap flag exit waits")                  \
    NVIRT_STATE_ITEM_ROW(INTERRUPT, "an interrupt waits: bit 8, vector in bits 7:0")               \
    NVIRT_STATE_ITEM_ROW(EXCEPTION, "an exception waits: error code in bits 63:32, bit 9: it has " \
                                    "one, bit 8: one waits, vector in bits 7:0")                   \
    NVIRT_STATE_ITEM_ROW(EXCEPTION_ADDRESS, "its exit qualification")                              \
    NVIRT_STATE_ITEM_ROW(NOTIFIED, "flag: the host owes the EOI of a notification")                     \
    NVIRT_STATE_ITEM_ROW(SHADOW_VMCS, "flag: the current VMCS is a shadow VMCS")                   \
    NVIRT_STATE_ITEM_ROW(ENLIGHTENED_VMCS, "l1gpa of the enlightened VMCS that is current "        \
                                           "instead; all ones: none")                              \
    NVIRT_STATE_ITEM_ROW(ENLIGHTENMENTS, "its enlightenments control; 0 without")                  \
    NVIRT_STATE_ITEM_ROW(SIPI, "a SIPI waits for an L2 that waits for it: bit 8, vector in bits 7:0") \
    NVIRT_STATE_ITEM_ROW(DIRECT, "flag: flush hypercalls of the active L2 are nvirt's")            \
    NVIRT_STATE_ITEM_ROW(DIRECT_VM, "VmId of it; 0 without")                                       \
    NVIRT_STATE_ITEM_ROW(DIRECT_VP, "VpId of it; 0 without")                                       \
    NVIRT_STATE_ITEM_ROW(DIRECT_ASSIST, "l1gpa of its partition assist page; 0 without")

/** Items of SVM: (NAME, what the value is). Flags are 0 or 1. */
#define NVIRT_STATE_SVM_ITEMS(NVIRT_STATE_ITEM_ROW)                                                \
    NVIRT_STATE_ITEM_ROW(LEVEL, "1: L1 runs; 2: L2 is active")                                     \
    NVIRT_STATE_ITEM_ROW(SVME, "flag: EFER.SVME as L1 set it")                                     \
    NVIRT_STATE_ITEM_ROW(GIF, "flag: the global interrupt flag")                                   \
    NVIRT_STATE_ITEM_ROW(VM_CR, "VM_CR of L1")                                                     \
    NVIRT_STATE_ITEM_ROW(HSAVE_PA, "VM_HSAVE_PA of L1")                                            \
    NVIRT_STATE_ITEM_ROW(SVM_KEY, "SVM_KEY of L1")                                                 \
    NVIRT_STATE_ITEM_ROW(VMCB12, "l1gpa of the VMCB that L2 runs on; 0 while L2 is not active")    \
    NVIRT_STATE_ITEM_ROW(V_IRQ, "flag: L1's virtual interrupt is pending in L2")                   \
    NVIRT_STATE_ITEM_ROW(V_NMI, "flag: L1's virtual NMI is pending in L2")                         \
    NVIRT_STATE_ITEM_ROW(V_GIF, "flag: the virtual GIF of L2; 0 where it has none")                \
    NVIRT_STATE_ITEM_ROW(TSC_RATIO, "TSC_RATIO of L1")                                             \
    NVIRT_STATE_ITEM_ROW(BARRIER, "flag: a branch barrier is due")                                 \
    NVIRT_STATE_ITEM_ROW(NMI, "flag: an NMI waits")                                                \
    NVIRT_STATE_ITEM_ROW(NMI_MASKED, "flag: the IRET of an injected NMI is waited for")            \
    NVIRT_STATE_ITEM_ROW(IRET_PENDING, "flag: that IRET was intercepted and has yet to run")       \
    NVIRT_STATE_ITEM_ROW(IRET_RIP, "RIP of that IRET; 0 without")                                  \
    NVIRT_STATE_ITEM_ROW(IRET_RSP, "RSP at that IRET; 0 without")                                  \
    NVIRT_STATE_ITEM_ROW(INTERRUPT, "an interrupt waits: bit 8, vector in bits 7:0")               \
    NVIRT_STATE_ITEM_ROW(EXCEPTION, "an exception waits: as EVENTINJ; 0: none")                    \
    NVIRT_STATE_ITEM_ROW(EXCEPTION_LEVEL, "the level it was raised at; 0: none")                   \
    NVIRT_STATE_ITEM_ROW(EXCEPTION_ADDRESS, "its CR2")                                             \
    NVIRT_STATE_ITEM_ROW(DIRECT, "flag: flush hypercalls of the active L2 are nvirt's")            \
    NVIRT_STATE_ITEM_ROW(DIRECT_VM, "VmId of it; 0 without")                                       \
    NVIRT_STATE_ITEM_ROW(DIRECT_VP, "VpId of it; 0 without")                                       \
    NVIRT_STATE_ITEM_ROW(DIRECT_ASSIST, "l1gpa of its partition assist page; 0 without")

/** Numbers of NVIRT_STATE_ITEM rows of VMX. */
enum nvirt_state_vmx_item {
#define NVIRT_STATE_ITEM_ROW(NAME, text) NVIRT_STATE_VMX_##NAME,
    NVIRT_STATE_VMX_ITEMS(NVIRT_STATE_ITEM_ROW)
#undef NVIRT_STATE_ITEM_ROW
    NVIRT_STATE_VMX_ITEM_COUNT /**< How many there are. */
};

/** Numbers of NVIRT_STATE_ITEM rows of SVM. */
enum nvirt_state_svm_item {
#define NVIRT_STATE_ITEM_ROW(NAME, text) NVIRT_STATE_SVM_##NAME,
    NVIRT_STATE_SVM_ITEMS(NVIRT_STATE_ITEM_ROW)
#undef NVIRT_STATE_ITEM_ROW
    NVIRT_STATE_SVM_ITEM_COUNT /**< How many there are. */
};

NVIRT_END_DECLS

#endif
