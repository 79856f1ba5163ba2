/* SPDX-License-Identifier: MIT */
/*
 * SVM on one physical CPU: is it there, turn it on, run a VMCB. After bm_svm_enable() the host stays
 * inside CLGI for ever; only VMRUN sets GIF. So no interrupt and no NMI ever reaches the host's
 * own IDT, except where bm_svm_take_nmi() lets one in.
 */
#ifndef BM_SVM_CPU_H
#define BM_SVM_CPU_H

#include <nvirt/types.h>

/* Null when this CPU can run guests under nested paging; otherwise what is missing. */
const char *bm_svm_missing(void);

/*
 * Sets EFER.SVME and VM_HSAVE_PA, saves the host's VMSAVE state in `host_state`, clears GIF.
 * Both are physical addresses of zeroed pages. False when the CPU refused.
 */
bool bm_svm_enable(uint64_t host_save, uint64_t host_state);

/*
 * VMLOAD of `state`, VMRUN of `run` with RFLAGS.IF = host_if, VMSAVE to `state`; the registers of
 * the guest except RAX and RSP, which the VMCB holds, come from and go to `gprs`.
 * [APM 2 "VMRUN Instruction"]
 */
static inline void bm_svm_enter(struct nvirt_gprs *gprs, uint64_t run, uint64_t state, bool host_if)
{
    uint64_t interrupts = host_if;

    __asm__ volatile("call bm_svm_switch"
                     : "+D"(gprs), "+S"(run), "+d"(state), "+c"(interrupts)
                     :
                     : "rax", "rbx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "memory", "cc");
}

/* Gives FS, GS, TR, LDTR and the SYSCALL MSRs their values of bm_svm_enable() back. */
void bm_svm_load_host_state(uint64_t host_state);

/*
 * An intercepted NMI stays pending in the CPU [APM 2 "NMI Intercept"]: sets GIF for one moment, so
 * that the host's own handler takes it.
 */
void bm_svm_take_nmi(uint64_t host_state);

#endif
