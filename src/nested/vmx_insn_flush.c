/* SPDX-License-Identifier: MIT */
/*
 * INVEPT and INVVPID of L1: operand rules here; what they mean for the hardware's TLB is recorded
 * with the shadow-table and flush engines and falls due at the next entry of L2.
 *
 * [SDM 3C "INVEPT", "INVVPID"]
 */
#include "nested/vmx_internal.h"

#define INFO_REGISTER2_SHIFT 28u

/* Type operand: a register, as wide as the mode. */
static uint64_t type_operand(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t info = NVI_GET01(v, EXIT_INSN_INFO);
    uint64_t type = nvi_vmx_gpr(v, gprs, (uint32_t)(info >> INFO_REGISTER2_SHIFT) & 15u);

    return nvi_vmx_insn_is_64bit(v) ? type : type & NVIRT_BITS(31, 0);
}

/* [SDM 3C "VM-Execution Control Fields"], the rules of the EPTP: an entry with it must be
 * possible. */
static bool eptp_is_valid(const struct nvirt_vmx_vcpu *v, uint64_t eptp)
{
    uint64_t caps = v->offer.ept_vpid;
    uint64_t walk = eptp & NVIRT_VMX_EPTP_WALK;
    uint64_t type = eptp & NVIRT_VMX_EPTP_MEMORY_TYPE;
    bool walk_fits =
        (walk == NVIRT_VMX_EPTP_WALK_4 && (caps & NVIRT_VMX_EPT_CAP_WALK_4) != 0) ||
        (walk == NVIRT_VMX_EPTP_WALK_5 && (caps & NVIRT_VMX_EPT_CAP_WALK_5) != 0);
    bool type_fits = (type == NVIRT_MEMORY_UC && (caps & NVIRT_VMX_EPT_CAP_UC) != 0) ||
                     (type == NVIRT_MEMORY_WB && (caps & NVIRT_VMX_EPT_CAP_WB) != 0);

    if ((eptp & NVIRT_VMX_EPTP_ACCESSED_DIRTY) != 0 &&
        (caps & NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY) == 0) {
        return false;
    }
    if ((eptp & NVIRT_VMX_EPTP_SHADOW_STACK) != 0 &&
        (caps & NVIRT_VMX_EPT_CAP_SHADOW_STACK) == 0) {
        return false;
    }
    return walk_fits && type_fits && (eptp & NVIRT_VMX_EPTP_RESERVED) == 0 &&
           (eptp >> v->offer.cpu.physical_bits) == 0;
}

static bool invept_type_is_offered(const struct nvirt_vmx_vcpu *v, uint64_t type)
{
    return (type == NVIRT_VMX_INVEPT_SINGLE &&
            (v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT_SINGLE) != 0) ||
           (type == NVIRT_VMX_INVEPT_ALL &&
            (v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT_ALL) != 0);
}

void nvi_vmx_invept(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint64_t type = type_operand(v, gprs);
    uint64_t descriptor[2];

    if ((v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT) == 0) {
        nvi_vmx_raise(v, NVIRT_VECTOR_UD);
        return;
    }
    if (!invept_type_is_offered(v, type)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    if (!nvi_vmx_operand_read(v, gprs, descriptor, sizeof descriptor)) {
        return;
    }
    if (type == NVIRT_VMX_INVEPT_ALL) {
        nvi_mmu_invalidate_all(&v->mmu);
    } else if (eptp_is_valid(v, descriptor[0])) {
        nvi_mmu_invalidate(&v->mmu, descriptor[0] & NVIRT_VMX_EPTP_EP4TA);
    } else {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    nvi_vmx_succeed(v);
}

/* Capability bit of each INVVPID type. */
static bool invvpid_type_is_offered(const struct nvirt_vmx_vcpu *v, uint64_t type)
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

void nvi_vmx_invvpid(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint64_t type = type_operand(v, gprs);
    uint64_t descriptor[2];

    if ((v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_INVVPID) == 0) {
        nvi_vmx_raise(v, NVIRT_VECTOR_UD);
        return;
    }
    if (!invvpid_type_is_offered(v, type)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    if (!nvi_vmx_operand_read(v, gprs, descriptor, sizeof descriptor)) {
        return;
    }
    if (!invvpid_descriptor_is_valid(v, type, descriptor)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_INVALIDATE_OPERAND);
        return;
    }
    nvirt_tlb_vmx_invvpid(&v->tlb, (uint32_t)type, (uint16_t)descriptor[0],
                          nvirt_gva_make(descriptor[1]));
    nvi_vmx_succeed(v);
}
