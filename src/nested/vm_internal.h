/* SPDX-License-Identifier: MIT */
/*
 * What the vCPU objects of both vendors need of the VM object.
 */
#ifndef NVI_NESTED_VM_INTERNAL_H
#define NVI_NESTED_VM_INTERNAL_H

#include <nvirt/vm.h>

/** Counts one vCPU more. @return NVIRT_OK; NVIRT_ERR_STATE (not initialised); NVIRT_ERR_RANGE
 * (full). */
NVIRT_NODISCARD enum nvirt_status nvi_vm_add_vcpu(struct nvirt_vm *vm);

/** Counts one vCPU less. */
void nvi_vm_remove_vcpu(struct nvirt_vm *vm);

#endif
