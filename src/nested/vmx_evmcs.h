/* SPDX-License-Identifier: MIT */
/*
 * The enlightened VMCS: a VMCS of L1's that lies open in its memory, in a layout that Hyper-V's
 * interface lays down, and that is current because L1 says so in its VP assist page. In a build
 * without that interface there is none.
 */
#ifndef NVI_NESTED_VMX_EVMCS_H
#define NVI_NESTED_VMX_EVMCS_H

#include "nested/vmx_internal.h"

/** What VMLAUNCH and VMRESUME of L1 are about. */
enum nvi_evmcs_choice {
    NVI_EVMCS_NONE,    /**< The VMCS that VMPTRLD made current. */
    NVI_EVMCS_CURRENT, /**< An enlightened one, which is current now. */
    NVI_EVMCS_REFUSED  /**< One that L1 names and that is none; none is current now. */
};

/** Of the enlightenments control: flush hypercalls of L2 are nvirt's. */
#define NVI_EVMCS_CONTROL_DIRECT (1u << 0)

#ifdef NVIRT_HYPERV

/** Whether L1 may use enlightened VMCSs. */
static inline bool nvi_evmcs_is_offered(const struct nvirt_vmx_vcpu *v)
{
    return v->hv != NULL && (v->hv->offer & NVIRT_HV_OFFER_EVMCS) != 0;
}

/** Whether L1 may leave flush hypercalls of its L2s to nvirt. */
static inline bool nvi_vmx_direct_is_offered(const struct nvirt_vmx_vcpu *v)
{
    return v->hv != NULL && (v->hv->offer & NVIRT_HV_OFFER_DIRECT_FLUSH) != 0;
}

/** L1 enters an L2 whose tag is bound: says who it is, where it is such a one. */
void nvi_vmx_direct_enter(struct nvirt_vmx_vcpu *v);
/** VMCALL of L2. @return false when it is L1's: nothing has happened then. */
bool nvi_vmx_direct_vmcall(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs);
/** Whether L1 has said that it uses them: what it names to VMCLEAR is taken for one. */
bool nvi_evmcs_is_enabled(struct nvirt_vmx_vcpu *v);
/**
 * Looks at the VP assist page, and if the entry is about an enlightened VMCS, reads into
 * v->vmcs12 what L1 has changed there, each byte once: a second call for the same instruction
 * reads nothing.
 * @param launch everything is read, whatever L1 says of it.
 */
enum nvi_evmcs_choice nvi_evmcs_begin(struct nvirt_vmx_vcpu *v, bool launch);
/** Writes what an exit of L2 saves. */
void nvi_evmcs_store_exit(struct nvirt_vmx_vcpu *v);
/** Writes what a failed entry tells. */
NVIRT_COLD void nvi_evmcs_store_entry_failure(struct nvirt_vmx_vcpu *v);
/** Writes the VM-instruction error. */
NVIRT_COLD void nvi_evmcs_store_error(struct nvirt_vmx_vcpu *v);
/** Takes away what needs fields that an enlightened VMCS has no place for. */
NVIRT_COLD void nvi_evmcs_narrow(struct nvirt_vmx_caps *offer);

#else

static inline bool nvi_vmx_direct_is_offered(const struct nvirt_vmx_vcpu *v)
{
    (void)v;
    return false;
}

static inline void nvi_vmx_direct_enter(struct nvirt_vmx_vcpu *v)
{
    (void)v;
}

static inline bool nvi_vmx_direct_vmcall(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    (void)v;
    (void)gprs;
    return false;
}

static inline bool nvi_evmcs_is_offered(const struct nvirt_vmx_vcpu *v)
{
    (void)v;
    return false;
}

static inline bool nvi_evmcs_is_enabled(struct nvirt_vmx_vcpu *v)
{
    (void)v;
    return false;
}

static inline enum nvi_evmcs_choice nvi_evmcs_begin(struct nvirt_vmx_vcpu *v, bool launch)
{
    (void)v;
    (void)launch;
    return NVI_EVMCS_NONE;
}

static inline void nvi_evmcs_store_exit(struct nvirt_vmx_vcpu *v)
{
    (void)v;
}

static inline void nvi_evmcs_store_entry_failure(struct nvirt_vmx_vcpu *v)
{
    (void)v;
}

static inline void nvi_evmcs_store_error(struct nvirt_vmx_vcpu *v)
{
    (void)v;
}

static inline void nvi_evmcs_narrow(struct nvirt_vmx_caps *offer)
{
    (void)offer;
}

#endif

#endif
