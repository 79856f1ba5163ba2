/* SPDX-License-Identifier: MIT */
/*
 * The SVM backend's own parts: the vCPU that L1 runs on, and the handlers of its exits.
 */
#ifndef HOST_SVM_H
#define HOST_SVM_H

#include <nvirt/vmcb.h>

#include "host.h"
#include "stage2.h"

struct svm_vcpu {
    struct nvirt_gprs gprs;
    uint64_t vmcb01;     /* physical address */
    uint64_t host_state; /* physical address: the host's own VMSAVE state */
    struct bm_stage2 stage2;
    bool has_nrips;
};

extern struct svm_vcpu svm;

static inline struct nvirt_vmcb *svm_vmcb01(void)
{
    return (struct nvirt_vmcb *)svm.vmcb01;
}

/* Length of the intercepted instruction at CS:RIP, 0 when the bytes there are another one. */
uint32_t svm_insn_length(const struct nvirt_vmcb *vmcb);

/* Deals with an exit of L1 (or of L2, when it is the host's); stops the machine when it cannot. */
void svm_handle_exit(struct nvirt_vmcb *vmcb);

/* MSR intercepts the host wants in its permission map. */
void svm_msrpm_fill(uint8_t *msrpm);

/* The state of a processor after INIT, except for what INIT leaves alone. */
void svm_set_init_state(struct nvirt_vmcb *vmcb);

#endif
