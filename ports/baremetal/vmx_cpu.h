/* SPDX-License-Identifier: MIT */
/*
 * VMX on one physical CPU: is it there, turn it on, enter the current VMCS. Interrupts stay off in
 * root operation. An NMI that hits there is kept for L1: bm_vmx_run() looks for one right before each
 * entry, and one that comes after the look sends the CPU back before the entry.
 */
#ifndef BM_VMX_CPU_H
#define BM_VMX_CPU_H

#include <nvirt/port_hot.h>

/* Null when this CPU can run guests as this port wants to; otherwise what is missing. */
const char *bm_vmx_missing(void);

/*
 * Enters VMX operation with the zeroed page `vmxon`, and installs the NMI hook. False when the CPU
 * refused.
 */
bool bm_vmx_enable(uint64_t vmxon);

/* What an entry came to that was none. */
enum bm_vmx_outcome {
    BM_VMX_FAIL_INVALID = 1, /* VMfailInvalid */
    BM_VMX_FAIL_VALID = 2,   /* VMfailValid */
    BM_VMX_NMI = 3           /* not entered: an NMI is waiting, bm_vmx_take_nmi() */
};

/*
 * VMLAUNCH or VMRESUME of the current VMCS, whose HOST_RIP and HOST_RSP are the two below, again and
 * again: before each next entry one of the two below is called, on a stack of the port's own.
 * The guest's registers but RSP come from and go to `gprs`; CR2 is left alone.
 */
_Noreturn void bm_vmx_run(struct nvirt_gprs *gprs, bool launch);
uint64_t bm_vmx_host_rip(void);
uint64_t bm_vmx_host_rsp(void);

/*
 * The user's part of the loop: deals with the exit, or with an entry that was none, and makes the VMCS
 * current that is to run next. Return whether that is to be launched rather than resumed.
 */
bool bm_vmx_exited(void);
bool bm_vmx_not_entered(enum bm_vmx_outcome outcome);

/* True once for each time NMIs hit the host (several at once count as one, as in the CPU). */
bool bm_vmx_take_nmi(void);

#endif
