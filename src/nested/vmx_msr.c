/* SPDX-License-Identifier: MIT */
/*
 * The MSRs that nvirt holds for L1: IA32_FEATURE_CONTROL, as firmware leaves it, and the VMX
 * capability MSRs, which say what is offered. L2 that reaches them sees the same.
 *
 * Also the accesses of L2 that L1 lets through but hardware may not: to MSRs that live in the VMCS
 * while L2 runs, and to others, which are L1's and therefore the port's.
 *
 * [SDM 3D "VMX Capability Reporting Facility"] [SDM 3C "Enabling and Entering VMX Operation"]
 * [SDM 4 "Architectural MSRs"]
 */
#include "nested/vmx_internal.h"

#include "vmcs/tsc.h"

#define LAST_CAPABILITY_MSR ((uint32_t)NVIRT_MSR_VMX_EXIT_CTLS2)
#define BITMAP_WRITE 2048u

bool nvi_vmx_msr_is_mine(uint32_t msr)
{
    return msr == NVIRT_MSR_FEATURE_CONTROL ||
           (msr >= NVIRT_MSR_VMX_BASIC && msr <= LAST_CAPABILITY_MSR);
}

bool nvi_vmx_msr_read(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t *value)
{
    if (msr == NVIRT_MSR_FEATURE_CONTROL) {
        *value = v->vmx.feature_control;
        return true;
    }
    return nvirt_vmx_caps_msr(&v->offer, msr, value);
}

bool nvi_vmx_msr_write(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t value)
{
    const uint64_t writable = NVIRT_FEATURE_CONTROL_LOCK | NVIRT_FEATURE_CONTROL_VMX;

    if (msr != NVIRT_MSR_FEATURE_CONTROL ||
        (v->vmx.feature_control & NVIRT_FEATURE_CONTROL_LOCK) != 0 || (value & ~writable) != 0) {
        return false;
    }
    v->vmx.feature_control = value;
    return true;
}

/* ---- MSRs that are fields of the VMCS while the guest runs ---- */

bool nvi_vmx_msr_field(const struct nvirt_vmx_vcpu *v, uint32_t msr, enum nvirt_vmcs_field *field)
{
    switch (msr) {
    case NVIRT_MSR_SYSENTER_CS:
        *field = NVIRT_VMCS_GUEST_SYSENTER_CS;
        return true;
    case NVIRT_MSR_SYSENTER_ESP:
        *field = NVIRT_VMCS_GUEST_SYSENTER_ESP;
        return true;
    case NVIRT_MSR_SYSENTER_EIP:
        *field = NVIRT_VMCS_GUEST_SYSENTER_EIP;
        return true;
    case NVIRT_MSR_DEBUGCTL:
        *field = NVIRT_VMCS_GUEST_DEBUGCTL;
        return true;
    case NVIRT_MSR_PAT:
        *field = NVIRT_VMCS_GUEST_PAT;
        return true;
    case NVIRT_MSR_EFER:
        *field = NVIRT_VMCS_GUEST_EFER;
        return true;
    case NVIRT_MSR_FS_BASE:
        *field = NVIRT_VMCS_GUEST_FS_BASE;
        return true;
    case NVIRT_MSR_GS_BASE:
        *field = NVIRT_VMCS_GUEST_GS_BASE;
        return true;
    case NVIRT_MSR_S_CET:
        *field = NVIRT_VMCS_GUEST_S_CET;
        return v->cet;
    case NVIRT_MSR_SSP_TABLE:
        *field = NVIRT_VMCS_GUEST_SSP_TABLE;
        return v->cet;
    default:
        return false;
    }
}

static bool efer_is_valid(const struct nvirt_vmx_vcpu *v, uint64_t value, uint64_t old,
                          uint64_t cr0)
{
    if ((value & ~(v->offer.cpu.efer_valid | NVIRT_EFER_LMA)) != 0) {
        return false;
    }
    /* LME cannot change while paging is on. */
    return ((value ^ old) & NVIRT_EFER_LME) == 0 || (cr0 & NVIRT_CR0_PG) == 0;
}

bool nvi_vmx_msr_field_write(const struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t cr0,
                             uint64_t *field, uint64_t value)
{
    switch (msr) {
    case NVIRT_MSR_SYSENTER_CS:
        value &= NVIRT_BITS(31, 0);
        break;
    case NVIRT_MSR_DEBUGCTL:
        if ((value & ~v->offer.cpu.debugctl_valid) != 0) {
            return false;
        }
        break;
    case NVIRT_MSR_PAT:
        if (!nvi_vmx_pat_is_valid(value)) {
            return false;
        }
        break;
    case NVIRT_MSR_EFER:
        if (!efer_is_valid(v, value, *field, cr0)) {
            return false;
        }
        /* LMA is the CPU's to set. */
        value = (value & ~NVIRT_EFER_LMA) | (*field & NVIRT_EFER_LMA);
        break;
    case NVIRT_MSR_S_CET:
        if (!nvi_vmx_s_cet_is_valid(&v->offer.cpu, value)) {
            return false;
        }
        break;
    default: /* Linear addresses. */
        if (!nvi_vmx_is_canonical(v, value)) {
            return false;
        }
        break;
    }
    *field = value;
    return true;
}

/* ---- RDMSR and WRMSR that exit ---- */

/* L2, whom L1 does not stop, reads what L1 would read, but for what it has of its own. */
static bool l2_read(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t *value)
{
    enum nvirt_vmcs_field field;

    if (nvi_vmx_msr_field(v, msr, &field)) {
        *value = nvi_hw_get(v, NVI_02, field);
        return true;
    }
    if (nvirt_port_l1_rdmsr(v->port, v->cpu, msr, value) != NVIRT_OK) {
        return false;
    }
    if (msr == NVIRT_MSR_TSC) {
        const struct nvi_tsc_view view12 = nvi_tsc_view_of(&v->vmcs12);

        *value = nvi_tsc_read(&view12, *value);
    }
    return true;
}

static bool l2_write(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t value)
{
    enum nvirt_vmcs_field field;
    uint64_t content;

    if (!nvi_vmx_msr_field(v, msr, &field)) {
        return nvirt_port_l1_wrmsr(v->port, v->cpu, msr, value) == NVIRT_OK;
    }
    content = nvi_hw_get(v, NVI_02, field);
    if (!nvi_vmx_msr_field_write(v, msr, NVI_GET02(v, GUEST_CR0), &content, value)) {
        return false;
    }
    nvi_hw_set(v, NVI_02, field, content);
    return true;
}

/* RDMSR and WRMSR at CPL above 0 fault before they exit. */
static enum nvi_handled ended(struct nvirt_vmx_vcpu *v, bool done)
{
    if (done) {
        nvi_vmx_skip(v);
    } else {
        nvi_vmx_raise_error(v, NVIRT_VECTOR_GP, 0);
    }
    return NVI_HANDLED;
}

enum nvi_handled nvi_vmx_rdmsr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint32_t msr = (uint32_t)gprs->r[NVIRT_RCX];
    uint64_t value = 0;
    bool done;

    if (nvi_vmx_msr_is_mine(msr)) {
        done = nvi_vmx_msr_read(v, msr, &value);
    } else if (v->level == 2) {
        done = l2_read(v, msr, &value);
    } else {
        return NVI_NOT_MINE;
    }
    if (done) {
        gprs->r[NVIRT_RAX] = value & NVIRT_BITS(31, 0);
        gprs->r[NVIRT_RDX] = value >> 32;
    }
    return ended(v, done);
}

enum nvi_handled nvi_vmx_wrmsr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint32_t msr = (uint32_t)gprs->r[NVIRT_RCX];
    uint64_t value = (gprs->r[NVIRT_RAX] & NVIRT_BITS(31, 0)) | (gprs->r[NVIRT_RDX] << 32);

    if (nvi_vmx_msr_is_mine(msr)) {
        return ended(v, nvi_vmx_msr_write(v, msr, value));
    }
    return v->level == 2 ? ended(v, l2_write(v, msr, value)) : NVI_NOT_MINE;
}

/* ---- the host's bitmap ---- */

void nvirt_vmx_msr_bitmap_require(uint8_t *msr_bitmap)
{
    uint32_t byte;
    uint8_t mask;

    if (msr_bitmap == NULL) {
        return;
    }
    for (uint32_t msr = 0; msr <= LAST_CAPABILITY_MSR; msr++) {
        if (nvi_vmx_msr_is_mine(msr) && nvi_vmx_msr_bitmap_bit(msr, &byte, &mask)) {
            msr_bitmap[byte] |= mask;
            msr_bitmap[byte + BITMAP_WRITE] |= mask;
        }
    }
}
