/* SPDX-License-Identifier: MIT */
/*
 * VMCALL of an L2 whose flush hypercalls L1 leaves to nvirt, by its enlightened VMCS
 * [TLFS "Direct Virtual Flush"]. What is not such a call is L1's, as every VMCALL of L2 is.
 *
 * Input in memory lies where EPT12 says, and the access is L2's: what L1 does not map is an EPT
 * violation, after which L2 executes the instruction again [TLFS "Hypercall Interface"]. An L1
 * without EPT knows alone what L2's physical addresses mean, and what its own tables made of L2's:
 * all calls are L1's then.
 */
#include "nested/vmx_evmcs.h"

/* "Trap after flush" [TLFS "Synthetic VM-Exit"]. */
#define EXIT_TRAP_AFTER_FLUSH UINT32_C(0x10000031)

static bool has_ept12(const struct nvirt_vmx_vcpu *v)
{
    return (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_EPT) != 0;
}

/* L1 has said all of it: in its VP assist page, in the VMCS, and where the assist page is. */
static bool is_wanted(const struct nvirt_vmx_vcpu *v)
{
    const struct nvi_pair *pair = v->now;
    uint64_t page = pair->who.assist_page;

    return v->vmx.enlightened != NVI_NO_VMCS && v->evmcs_direct &&
           (pair->enlightenments & NVI_EVMCS_CONTROL_DIRECT) != 0 && has_ept12(v) &&
           (page & ~NVIRT_PAGE_MASK) == 0 && nvi_vmx_l1_address_fits(v, page);
}

void nvi_vmx_direct_enter(struct nvirt_vmx_vcpu *v)
{
    nvi_hv_direct_enter(v->hv, &v->tlb, is_wanted(v) ? &v->now->who : NULL, v->vpid02);
}

static void describe_caller(struct nvirt_vmx_vcpu *v, struct nvirt_hv_caller *caller)
{
    caller->vp = v->hv->index;
    caller->cpl = (uint8_t)nvi_vmx_cpl(v);
    caller->protected_mode = (NVI_GET02(v, GUEST_CR0) & NVIRT_CR0_PE) != 0 &&
                             (NVI_GET02(v, GUEST_RFLAGS) & NVIRT_RFLAGS_VM) == 0;
    caller->is_64bit = nvi_vmx_in_64bit_mode(v);
    caller->xmm = NULL;
}

/* L1 holds the TLB of this VM's processors locked: it is told that there was a flush. Where it has
 * no memory it reads ones. */
static void trap_if_locked(struct nvirt_vmx_vcpu *v)
{
    uint32_t lock_count;

    nvi_vmx_l1_read(v, v->hv->direct.assist_page, &lock_count, sizeof lock_count);
    if (lock_count != 0) {
        v->stats.direct_traps++;
        nvi_vmx_leave_for(v, EXIT_TRAP_AFTER_FLUSH, 0);
    }
}

/* @return false when the host cannot tell them, or gives L1 none to make calls with. */
static bool read_xmm(const struct nvirt_vmx_vcpu *v, uint8_t *xmm)
{
    return (v->hv->offer & NVIRT_HV_OFFER_XMM) != 0 &&
           nvirt_port_xmm(v->port, v->cpu, xmm) == NVIRT_OK;
}

bool nvi_vmx_direct_vmcall(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint8_t xmm[NVIRT_HV_XMM_BYTES];
    struct nvi_l2_access access = { .access = NVIRT_ACCESS_READ };
    nvirt_l1gpa input = nvirt_l1gpa_make(0);
    struct nvirt_hv_caller caller;

    if (!nvi_hv_direct_is_active(v->hv)) {
        return false;
    }
    describe_caller(v, &caller);
    switch (nvi_hv_direct_look(v->hv, &caller, gprs, &access.l2gpa)) {
    case NVI_HV_DIRECT_REGISTERS:
        break;
    case NVI_HV_DIRECT_MEMORY:
        if (!nvi_vmx_l1_address_fits(v, access.l2gpa.value)) {
            input = nvirt_l1gpa_make(NVI_HV_NO_PLACE);
        } else if (!nvi_vmx_reach(v, &access, &input)) {
            return true;
        }
        break;
    case NVI_HV_DIRECT_XMM:
        if (!read_xmm(v, xmm)) {
            return false;
        }
        caller.xmm = xmm;
        break;
    case NVI_HV_DIRECT_NONE:
    default:
        return false;
    }
    if (nvi_hv_direct_call(v->hv, &caller, input, gprs) == NVIRT_HV_SUCCESS) {
        v->stats.direct_flushes++;
        nvi_vmx_skip(v);
        trap_if_locked(v);
    } else {
        nvi_vmx_skip(v);
    }
    return true;
}
