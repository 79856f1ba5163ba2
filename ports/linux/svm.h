/* SPDX-License-Identifier: MIT */
/*
 * Between svm.c (the vCPU and its entries) and svm_exits.c (exits that are the host's).
 */
#ifndef NVL_SVM_H
#define NVL_SVM_H

#include "nvl.h"

int nvl_svm_handle(struct nvl_vcpu *vcpu, const struct nvl_exit *exit, struct nvirt_run *run);
/* Takes the program's answer to an IN. */
int nvl_svm_complete_in(struct nvl_vcpu *vcpu, u32 data);
/* Calls of nvirt about the running level, preemption off around them. */
int nvl_svm_insn_bytes(struct nvl_vcpu *vcpu, u8 *bytes, u32 *count);
struct nvirt_vmcb *nvl_svm_vmcb(struct nvl_vcpu *vcpu);

extern bool nvl_svm_has_nrips;
extern u8 *nvl_svm_msrpm, *nvl_svm_iopm;

#endif
