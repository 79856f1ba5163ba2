/* SPDX-License-Identifier: MIT */
/*
 * Hyper-V's interface for L1, with hyperv=1: one virtual processor.
 */
#ifndef HOST_HYPERV_H
#define HOST_HYPERV_H

#include <nvirt/hyperv.h>

/* Makes the partition, if it is wanted. The processor that L1's vCPU is, or null. */
struct nvirt_hv_vp *hyperv_init(struct nvirt_port_vm *port, bool svm);

/* CPUID of L1 or L2's L1: *r is what the CPU gives, and then what L1 sees. */
void hyperv_cpuid(uint32_t leaf, struct nvirt_hv_cpuid *r);

/* MSRs of L1. True when the MSR is Hyper-V's; *ok tells whether the access is possible. */
bool hyperv_msr(uint32_t msr, bool write, uint64_t *value, bool *ok);

/* A hypercall of L1 that is not the host's own. True when it was carried out. */
bool hyperv_call(const struct nvirt_hv_caller *caller, struct nvirt_gprs *gprs);

/* What was done, for a report. */
void hyperv_print(void);

#endif
