/* SPDX-License-Identifier: MIT */
/*
 * snapshot=N: after every N-th exit the vCPU is saved, ended, made anew in other memory and restored.
 * L1 and L2 notice nothing. A host that moves a VM does the same with L1's memory, vmcb01 and the
 * registers that stay where they are here.
 */
#include "svm.h"

/* After a second-stage fault L2 must get on: the entry that was made for it would be gone. */
static bool is_due(uint64_t code)
{
    static uint32_t exits;

    return code != NVIRT_SVM_EXIT_NPF && ++exits % host.options.snapshot == 0;
}

void svm_snapshot(uint64_t code)
{
    static uint8_t state[NVIRT_STATE_MAX_BYTES];
    size_t bytes;

    if (!is_due(code))
        return;
    svm_must(nvirt_svm_save(svm.vcpu, state, sizeof(state), &bytes), "saving the vCPU");
    svm_must(nvirt_svm_vcpu_destroy(svm.vcpu), "ending the vCPU");
    svm_make_vcpu();
    svm_must(nvirt_svm_restore(svm.vcpu, state, bytes), "restoring the vCPU");
}
