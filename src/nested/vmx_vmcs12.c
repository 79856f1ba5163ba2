/* SPDX-License-Identifier: MIT */
/*
 * The VMCS region in L1's memory. Software may not rely on its layout, so nvirt keeps one of its
 * own: the two architectural words, the launch state, then all fields in table order. The region is
 * read once when it is made current; VMREAD and VMWRITE of L1 work on that snapshot, and it is
 * written back when another takes its place. What L1 writes into the bytes meanwhile has no effect,
 * as the manual allows [SDM 3C "Software Use of Virtual-Machine Control Structures"].
 */
#include "nested/vmx_internal.h"

#define REGION_ABORT 4u
#define REGION_LAUNCH 8u
#define REGION_FIELDS 16u
/* Any value would do for "launched": one that stray memory is unlikely to hold. */
#define LAUNCHED UINT32_C(0x6c61756e)

NVIRT_STATIC_ASSERT(REGION_FIELDS + sizeof(struct nvirt_vmcs) <= NVIRT_PAGE_SIZE,
                    "vmcs12 must fit into the region that IA32_VMX_BASIC announces");

void nvi_vmx_l1_read(struct nvirt_vmx_vcpu *v, uint64_t from, void *to, size_t bytes)
{
    v->stats.bytes_read += bytes;
    if (nvirt_port_l1_read(v->port, nvirt_l1gpa_make(from), to, bytes) != NVIRT_OK) {
        __builtin_memset(to, 0xff, bytes);
    }
}

void nvi_vmx_l1_write(struct nvirt_vmx_vcpu *v, uint64_t to, const void *from, size_t bytes)
{
    if (nvirt_port_l1_write(v->port, nvirt_l1gpa_make(to), from, bytes) == NVIRT_OK) {
        v->stats.bytes_written += bytes;
    }
}

bool nvi_vmx_l1_address_fits(const struct nvirt_vmx_vcpu *v, uint64_t address)
{
    uint32_t bits = (v->offer.basic & NVIRT_VMX_BASIC_ADDRESS_32) != 0 ? 32u
                                                                       : v->offer.cpu.physical_bits;

    return (address >> bits) == 0;
}

uint32_t nvi_vmcs12_revision(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    uint32_t revision;

    nvi_vmx_l1_read(v, region, &revision, sizeof revision);
    return revision;
}

void nvi_vmcs12_load(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    uint32_t launch;

    nvi_vmx_l1_read(v, region + REGION_LAUNCH, &launch, sizeof launch);
    nvi_vmx_l1_read(v, region + REGION_FIELDS, &v->vmcs12, sizeof v->vmcs12);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        v->vmcs12.field[i] = nvirt_vmcs_truncate((enum nvirt_vmcs_field)i, v->vmcs12.field[i]);
    }
    v->vmx.launched = launch == LAUNCHED;
    v->vmx.current = region;
}

void nvi_vmcs12_store(struct nvirt_vmx_vcpu *v)
{
    uint32_t launch = v->vmx.launched ? LAUNCHED : 0;

    if (v->vmx.current == NVI_NO_VMCS) {
        return;
    }
    nvi_vmx_l1_write(v, v->vmx.current + REGION_LAUNCH, &launch, sizeof launch);
    nvi_vmx_l1_write(v, v->vmx.current + REGION_FIELDS, &v->vmcs12, sizeof v->vmcs12);
    v->vmx.current = NVI_NO_VMCS;
    v->vmx.launched = false;
}

void nvi_vmcs12_clear(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    uint32_t launch = 0;

    nvi_vmx_l1_write(v, region + REGION_LAUNCH, &launch, sizeof launch);
}

void nvi_vmcs12_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator)
{
    if (v->vmx.current != NVI_NO_VMCS) {
        nvi_vmx_l1_write(v, v->vmx.current + REGION_ABORT, &indicator, sizeof indicator);
    }
}
