/* SPDX-License-Identifier: MIT */
/*
 * Whose an exit of L2 is: decided by vmcb12's intercepts, which are exactly what L1 asked for.
 */
#include "vmcb/vmcb_core.h"

/* Exits that L1 did not ask for and that are not simply the host's. */
static enum nvi_svm_action unwanted(uint64_t code)
{
    switch (code) {
    case NVIRT_SVM_EXIT_VMLOAD:
    case NVIRT_SVM_EXIT_VMSAVE:
    case NVIRT_SVM_EXIT_STGI:
    case NVIRT_SVM_EXIT_CLGI:
    case NVIRT_SVM_EXIT_INVLPGA:
        return NVI_SVM_INSTRUCTION;
    case NVIRT_SVM_EXIT_VMRUN:
        /* VMRUN is always intercepted by vmcb12, the checks saw to it. */
    case NVIRT_SVM_EXIT_VMMCALL:
        /* [APM 3 "VMMCALL"]: undefined unless intercepted. Never a hypercall to L0. */
    case NVIRT_SVM_EXIT_SKINIT:
        return NVI_SVM_UNDEFINED;
    case NVIRT_SVM_EXIT_SHUTDOWN:
        return NVI_SVM_DEAD;
    default:
        return NVI_SVM_HOST;
    }
}

/* Events of the machine's that the host keeps for itself: what L1 is to have of them is injected. */
static bool is_kept_by_host(const struct nvirt_vmcb *vmcb01, uint64_t code, bool pass_through)
{
    const uint32_t mc = NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_MC;

    if (code == NVIRT_SVM_EXIT_INTR || code == NVIRT_SVM_EXIT_NMI) {
        return !pass_through;
    }
    return code == mc && nvirt_vmcb_intercepts(vmcb01, mc);
}

enum nvi_svm_action nvi_svm_reflect(const struct nvirt_vmcb *vmcb01,
                                    const struct nvirt_vmcb *vmcb12, uint64_t code,
                                    bool pass_through)
{
    if (code == NVIRT_SVM_EXIT_INVALID || code == NVIRT_SVM_EXIT_INVALID_LOW) {
        return NVI_SVM_REFUSED;
    }
    if (code == NVIRT_SVM_EXIT_NPF) {
        return NVI_SVM_NESTED_FAULT;
    }
    if (code >= NVIRT_SVM_EXIT_INTERCEPTS_END) {
        /* AVIC and VMGEXIT are never enabled; codes of the future are not L1's to see. */
        return NVI_SVM_HOST;
    }
    if (is_kept_by_host(vmcb01, code, pass_through)) {
        return NVI_SVM_HOST;
    }
    if (code == NVIRT_SVM_EXIT_IOIO) {
        return NVI_SVM_IO;
    }
    if (code == NVIRT_SVM_EXIT_MSR) {
        return NVI_SVM_MSR;
    }
    if (code == NVIRT_SVM_EXIT_BUS_LOCK && vmcb12->bus_lock_count != 0) {
        /* The counter that ran out is L0's. */
        return NVI_SVM_HOST;
    }
    if (nvirt_vmcb_intercepts(vmcb12, (uint32_t)code)) {
        return NVI_SVM_REFLECT;
    }
    return unwanted(code);
}
