/* SPDX-License-Identifier: MIT */
/*
 * The SVM backend's own parts: the vCPU that L1 runs on, and the handlers of its exits.
 */
#ifndef HOST_SVM_H
#define HOST_SVM_H

#include <nvirt/svm.h>

#include "host.h"
#include "nvirt_port.h"
#include "stage2.h"

struct svm_vcpu {
    struct nvirt_gprs gprs;
    uint64_t vmcb01;     /* physical address */
    uint64_t host_state; /* physical address: the host's own VMSAVE state */
    uint64_t msrpm, iopm;
    struct bm_stage2 stage2;
    bool has_nrips, has_decode_assists, has_tsc_ratio;
    uint64_t tsc_ratio;  /* in the MSR now */
    bool nmi_taken; /* the host's handler took an NMI that is L1's */
    bool init_held; /* an INIT waits for L1's GIF */
    struct nvirt_port_vm port;
    struct nvirt_port_cpu cpu;
    struct nvirt_vm vm;
    struct nvirt_svm_caps caps, offer;
    uint32_t asids[NVIRT_SVM_MAX_ASIDS]; /* for L2 */
    struct nvirt_svm_vcpu_config config;
    struct nvirt_svm_vcpu *vcpu;
};

extern struct svm_vcpu svm;

static inline struct nvirt_vmcb *svm_vmcb01(void)
{
    return (struct nvirt_vmcb *)svm.vmcb01;
}

/* An exit that nvirt left to the host, with the VMCB of the level it came from. */
struct svm_exit {
    struct nvirt_svm_exit nvirt;
    struct nvirt_vmcb *vmcb;
};

/* Makes a vCPU, in other memory than the one before. */
void svm_make_vcpu(void);

/* After an exit was dealt with: what snapshot=N asks for. */
void svm_snapshot(uint64_t code);

/* Deals with an exit that is the host's; stops the machine when it cannot. */
void svm_handle_exit(const struct svm_exit *exit);

/* Stops the machine unless a call of nvirt succeeded. */
void svm_must(enum nvirt_status status, const char *what);

/* What L1's RDMSR and WRMSR do at CPL 0, as far as the host and not nvirt holds the MSR. */
bool svm_read_msr(uint32_t msr, uint64_t *value);
bool svm_write_msr(uint32_t msr, uint64_t value);

/*
 * MOV to or from CR8, which L1 may execute while its GIF is 0: V_INTR_MASKING would give it a
 * private TPR. Returns false when the instruction could not be decoded.
 */
bool svm_move_cr8(struct nvirt_vmcb *vmcb, bool *legal);

/* MSR intercepts the host wants in its permission map. */
void svm_msrpm_fill(uint8_t *msrpm);

/* Resets L1 if an INIT came while its GIF was clear and it is set now. */
void svm_take_held_init(void);

/* The state of a processor after INIT, except for what INIT leaves alone. */
void svm_set_init_state(struct nvirt_vmcb *vmcb);

#endif
