/* SPDX-License-Identifier: MIT */
/*
 * VMFUNC of L2. vmcs02 has the instruction enabled and no function on, so each one exits, and nvirt
 * carries out the one there is: EPTP switching, which finds another second-stage root and no more.
 *
 * [SDM 3C "VM Functions"]
 */
#include "nested/vmx_internal.h"

#define LIST_ENTRIES 512u

/* EPTP switching, in a form that is not an exit by its own rules already. */
static bool is_eptp_switch(const struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    return (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_VMFUNC) != 0 &&
           (v->vmcs12.vmfunc_controls & NVIRT_VMX_VMFUNC_EPTP_SWITCHING) != 0 &&
           (uint32_t)gprs->r[NVIRT_RAX] == 0 && (uint32_t)gprs->r[NVIRT_RCX] < LIST_ENTRIES;
}

/* Without VPID the switch flushes even when it leads to where L2 is. PDPTEs are state of the CPU and
 * stay what they are, and so do all registers. */
static void switch_to(struct nvirt_vmx_vcpu *v, uint64_t eptp, uint64_t index)
{
    uint64_t before = v->vmcs12.eptp;

    /* Not as L1's VMWRITE does: vmcs02 follows here and now, and the rules of the EPTP hold, so the
     * next entry need not look at the controls anew. */
    v->vmcs12.eptp = eptp;
    v->error = nvi_vmx_change_root(v);
    if (v->error != NVIRT_OK) {
        /* The instruction is executed again when the host has found a page. */
        v->vmcs12.eptp = before;
        return;
    }
    /* Where L2's virtualization exceptions tell which of the list it is on. */
    if ((nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_EPT_VE) != 0) {
        v->vmcs12.eptp_index = index;
    }
    nvi_vmx_skip(v);
}

bool nvi_vmx_vmfunc(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t index = (uint32_t)gprs->r[NVIRT_RCX];
    uint64_t eptp;

    if (!is_eptp_switch(v, gprs)) {
        return false;
    }
    nvi_vmx_l1_read(v, v->vmcs12.eptp_list + index * sizeof eptp, &eptp, sizeof eptp);
    if (!nvi_vmx_eptp_is_valid(&v->offer, eptp)) {
        return false;
    }
    switch_to(v, eptp, index);
    return true;
}
