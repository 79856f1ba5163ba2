/* SPDX-License-Identifier: MIT */
/*
 * CET state: IA32_S_CET, SSP and IA32_INTERRUPT_SSP_TABLE_ADDR. Where L1 has CET, vmcs01 and vmcs02
 * load it at every entry and exit of theirs, which keeps the host's own out of sight, so each level's
 * is in the guest fields of its VMCS. L1 and L2 believe that there is one set, which an entry or exit
 * of L1's changes only where vmcs12 says so: what is not loaded moves from one VMCS to the other.
 *
 * [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs", "Loading Guest RIP, RSP,
 * RFLAGS, and SSP", "Saving Control Registers, Debug Registers, and MSRs", "Saving RIP, RSP, RFLAGS,
 * and SSP", "Loading Host Control Registers, Debug Registers, MSRs", "Loading Host RIP, RSP, RFLAGS,
 * and SSP"]
 */
#include "nested/vmx_internal.h"

static bool entry_loads(const struct nvirt_vmx_vcpu *v)
{
    return (v->vmcs12.entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_CET) != 0;
}

static bool exit_loads(const struct nvirt_vmx_vcpu *v)
{
    return (v->vmcs12.exit_controls & NVIRT_VMX_EXIT_CTL_LOAD_CET) != 0;
}

void nvi_vmx_cet_fetch(struct nvirt_vmx_vcpu *v, enum nvi_which which)
{
#define X(NAME, member, host) (void)nvi_hw_get(v, which, NVIRT_VMCS_##NAME);
    NVI_CET_FIELDS(X)
#undef X
}

void nvi_vmx_cet_fetch_l1(struct nvirt_vmx_vcpu *v)
{
    if (!entry_loads(v)) {
        nvi_vmx_cet_fetch(v, NVI_01);
    }
}

void nvi_vmx_cet_fetch_l2(struct nvirt_vmx_vcpu *v)
{
    if (!exit_loads(v)) {
        nvi_vmx_cet_fetch(v, NVI_02);
    }
}

void nvi_vmx_cet_settle(struct nvirt_vmx_vcpu *v)
{
    if (!entry_loads(v)) {
#define X(NAME, member, host) (void)nvi_vmcs12_get(v, NVIRT_VMCS_##NAME);
        NVI_CET_FIELDS(X)
#undef X
    }
}

/* What vmcs02 has of it since the last exit is vmcs12's, unless L1 wrote the field since. */
static void place_own(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    if (!nvi_field_has(&v->now->lazy, (uint32_t)field)) {
        nvi_hw_set(v, NVI_02, field, v->vmcs12.field[field]);
    }
}

void nvi_vmx_cet_place(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs01 = &v->hw[NVI_01]->image;

    if (entry_loads(v)) {
#define X(NAME, member, host) place_own(v, NVIRT_VMCS_##NAME);
        NVI_CET_FIELDS(X)
#undef X
        return;
    }
#define X(NAME, member, host) nvi_hw_set(v, NVI_02, NVIRT_VMCS_##NAME, vmcs01->member);
    NVI_CET_FIELDS(X)
#undef X
}

bool nvi_vmx_cet_gather(struct nvirt_vmx_vcpu *v)
{
    if (!entry_loads(v)) {
        nvi_vmx_cet_fetch(v, NVI_01);
        nvi_vmx_cet_settle(v);
    }
    return v->error == NVIRT_OK;
}

void nvi_vmx_cet_load_host(struct nvirt_vmx_vcpu *v)
{
#define X(NAME, member, host) nvi_hw_set(v, NVI_01, NVIRT_VMCS_##NAME, v->vmcs12.host);
    NVI_CET_FIELDS(X)
#undef X
}

void nvi_vmx_cet_remember(const struct nvirt_vmcs *image, struct nvi_cet *before)
{
#define X(NAME, member, host) before->member = image->member;
    NVI_CET_FIELDS(X)
#undef X
}

void nvi_vmx_cet_loaded(struct nvirt_vmx_vcpu *v, const struct nvi_cet *before)
{
#define X(NAME, member, host) nvi_hw_changed_from(v, NVI_01, NVIRT_VMCS_##NAME, before->member);
    NVI_CET_FIELDS(X)
#undef X
}
