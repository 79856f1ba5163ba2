/* SPDX-License-Identifier: MIT */
/*
 * INVEPT and INVVPID of L1: operand rules here; what they mean for the hardware's TLB is recorded
 * with the shadow-table and flush engines and falls due at the next entry of L2.
 *
 * [SDM 3C "INVEPT", "INVVPID"]
 */
#include "nested/vmx_internal.h"

/* Type operand: a register, as wide as the mode. */
static uint64_t type_operand(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t info = NVI_GET01(v, EXIT_INSN_INFO);
    uint64_t type = nvi_vmx_gpr(v, gprs, nvi_vmx_info_register2(info));

    return nvi_vmx_insn_is_64bit(v) ? type : type & NVIRT_BITS(31, 0);
}

bool nvi_vmx_invept_is_offered(const struct nvirt_vmx_vcpu *v, uint64_t type)
{
    return (type == NVIRT_VMX_INVEPT_SINGLE &&
            (v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT_SINGLE) != 0) ||
           (type == NVIRT_VMX_INVEPT_ALL &&
            (v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT_ALL) != 0);
}

bool nvi_vmx_invept_with(struct nvirt_vmx_vcpu *v, uint64_t type, const uint64_t descriptor[2])
{
    if (type == NVIRT_VMX_INVEPT_ALL) {
        nvi_mmu_invalidate_all(&v->mmu);
        return true;
    }
    /* What is valid never changes, and most often it is the one of last time. */
    if (descriptor[0] != v->eptp_valid) {
        if (!nvi_vmx_eptp_is_valid(&v->offer, descriptor[0])) {
            return false;
        }
        v->eptp_valid = descriptor[0];
    }
    nvi_mmu_invalidate(&v->mmu, descriptor[0] & NVIRT_VMX_EPTP_EP4TA);
    return true;
}

void nvi_vmx_invept(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint64_t type = type_operand(v, gprs);
    uint64_t descriptor[2];

    if (!nvi_vmx_invept_is_offered(v, type)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    if (!nvi_vmx_operand_read(v, gprs, descriptor, sizeof descriptor)) {
        return;
    }
    if (!nvi_vmx_invept_with(v, type, descriptor)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    nvi_vmx_succeed(v);
}

/* Capability bit of each INVVPID type. */
bool nvi_vmx_invvpid_is_offered(const struct nvirt_vmx_vcpu *v, uint64_t type)
{
    switch (type) {
    case NVIRT_VMX_INVVPID_ADDRESS:
        return (v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_ADDRESS) != 0;
    case NVIRT_VMX_INVVPID_SINGLE:
        return (v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_SINGLE) != 0;
    case NVIRT_VMX_INVVPID_ALL:
        return (v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_ALL) != 0;
    case NVIRT_VMX_INVVPID_SINGLE_NON_GLOBAL:
        return (v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_SINGLE_NON_GLOBAL) != 0;
    default:
        return false;
    }
}

/* Reserved bits, VPID 0 where one VPID is named, and an address that no TLB can hold. */
static bool invvpid_descriptor_is_valid(const struct nvirt_vmx_vcpu *v, uint64_t type,
                                        const uint64_t descriptor[2])
{
    if ((descriptor[0] >> 16) != 0) {
        return false;
    }
    if (type != NVIRT_VMX_INVVPID_ALL && descriptor[0] == 0) {
        return false;
    }
    return type != NVIRT_VMX_INVVPID_ADDRESS || nvi_vmx_is_canonical(v, descriptor[1]);
}

bool nvi_vmx_invvpid_with(struct nvirt_vmx_vcpu *v, uint64_t type, const uint64_t descriptor[2])
{
    if (!invvpid_descriptor_is_valid(v, type, descriptor)) {
        return false;
    }
    nvirt_tlb_vmx_invvpid(&v->tlb, (uint32_t)type, (uint16_t)descriptor[0],
                          nvirt_gva_make(descriptor[1]));
    return true;
}

void nvi_vmx_invvpid(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint64_t type = type_operand(v, gprs);
    uint64_t descriptor[2];

    if (!nvi_vmx_invvpid_is_offered(v, type)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    if (!nvi_vmx_operand_read(v, gprs, descriptor, sizeof descriptor)) {
        return;
    }
    if (!nvi_vmx_invvpid_with(v, type, descriptor)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    nvi_vmx_succeed(v);
}
