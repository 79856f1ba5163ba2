/* SPDX-License-Identifier: MIT */
/*
 * The permission maps of L2. The union of L1's map and L0's could be computed at each VMRUN, from
 * 20 KiB of L1's memory. Instead the maps of L2 begin with everything intercepted; an access that
 * neither level wants is let through when it first comes, looked up again at each VMRUN. The MSRs
 * that guests use all the time are looked at in advance: three words of the map.
 */
#include "nested/svm_internal.h"

#define CHUNK_BYTES 8u

/* Byte offsets in the MSR map of the words looked at in advance. */
static const uint32_t chunks[] = {
    0x058, /* MSRs 160h to 17Fh: SYSENTER */
    0x820, /* C0000080h to C000009Fh: EFER, STAR, LSTAR, CSTAR, SFMASK */
    0x840, /* C0000100h to C000011Fh: FS, GS and KERNEL_GS bases, TSC_AUX */
};

static nvirt_l1gpa map_address(uint64_t base, uint32_t offset)
{
    return nvirt_l1gpa_make((base & NVIRT_PAGE_MASK) + offset);
}

/* Bytes of a map of L1's; without memory there a bus reads ones, which intercept. */
static void read_map(struct nvirt_svm_vcpu *v, uint64_t base, uint32_t offset, uint8_t *to,
                     uint32_t bytes)
{
    v->stats.bytes_read += bytes;
    if (nvirt_port_l1_read(v->vm->port, map_address(base, offset), to, bytes) != NVIRT_OK) {
        __builtin_memset(to, 0xff, bytes);
    }
}

static uint8_t l0_byte(const struct nvirt_svm_vcpu *v, uint32_t offset)
{
    if (!nvirt_vmcb_intercepts(v->vmcb01, NVIRT_SVM_EXIT_MSR)) {
        return 0;
    }
    return v->msrpm01 != NULL ? v->msrpm01[offset] : 0xff;
}

/* The CPU may have kept what the maps said at the last entry. */
static void maps_changed(struct nvirt_svm_vcpu *v)
{
    v->vmcb02->clean &= ~NVIRT_VMCB_CLEAN_IOPM;
}

static void fill_chunk(struct nvirt_svm_vcpu *v, uint32_t offset)
{
    uint8_t l1[CHUNK_BYTES] = {0};

    if (nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_MSR)) {
        read_map(v, v->vmcb12.msrpm_base, offset, l1, CHUNK_BYTES);
    }
    for (uint32_t i = 0; i < CHUNK_BYTES; i++) {
        uint8_t byte = (uint8_t)(l1[i] | l0_byte(v, offset + i));

        if (v->msrpm02[offset + i] != byte) {
            v->msrpm02[offset + i] = byte;
            maps_changed(v);
        }
    }
}

/* Whether L1 or L0 wants what was granted, by their maps as they are now. */
static bool is_wanted(struct nvirt_svm_vcpu *v, const struct nvi_svm_grant *g)
{
    uint32_t code = g->io ? NVIRT_SVM_EXIT_IOIO : NVIRT_SVM_EXIT_MSR;
    const uint8_t *l0 = g->io ? v->iopm01 : v->msrpm01;
    uint8_t bytes[2] = {0, 0};

    if (nvirt_vmcb_intercepts(v->vmcb01, code) &&
        (l0 == NULL || nvi_svm_map_any(l0, g->bit, g->count))) {
        return true;
    }
    if (nvirt_vmcb_intercepts(&v->vmcb12, code)) {
        read_map(v, g->io ? v->vmcb12.iopm_base : v->vmcb12.msrpm_base, g->bit / 8u, bytes,
                 g->bit % 8u + g->count > 8u ? 2 : 1);
    }
    return nvi_svm_map_any(bytes, g->bit % 8u, g->count);
}

/* L1 may have changed its maps, or named others, without a word: each grant is looked up again. */
static void review_grants(struct nvirt_svm_vcpu *v)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < v->grants; i++) {
        const struct nvi_svm_grant g = v->grant[i];

        if (is_wanted(v, &g)) {
            nvi_svm_map_write(g.io ? v->iopm02 : v->msrpm02, g.bit, g.count, true);
            maps_changed(v);
        } else {
            v->grant[kept++] = g;
        }
    }
    v->grants = kept;
}

static void take_all_back(struct nvirt_svm_vcpu *v)
{
    __builtin_memset(v->msrpm02, 0xff, NVIRT_SVM_MSRPM_BYTES);
    __builtin_memset(v->iopm02, 0xff, NVIRT_SVM_IOPM_BYTES);
    maps_changed(v);
    v->grants = 0;
    v->grants_overflow = false;
}

void nvi_svm_maps_reset(struct nvirt_svm_vcpu *v)
{
    if (v->grants_overflow) {
        take_all_back(v);
    }
    review_grants(v);
    for (uint32_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        fill_chunk(v, chunks[i]);
    }
    /* Whatever the host's own map says. */
    nvirt_svm_msrpm_require(v->msrpm02);
}

static void grant(struct nvirt_svm_vcpu *v, bool io, uint32_t bit, uint32_t count)
{
    nvi_svm_map_write(io ? v->iopm02 : v->msrpm02, bit, count, false);
    maps_changed(v);
    if (v->grants == NVI_SVM_GRANTS) {
        v->grants_overflow = true;
        return;
    }
    v->grant[v->grants].io = io;
    v->grant[v->grants].bit = bit;
    v->grant[v->grants].count = (uint8_t)count;
    v->grants++;
}

/* ---- I/O ---- */

static bool l1_wants_port(struct nvirt_svm_vcpu *v, uint32_t bit, uint32_t count)
{
    uint8_t bytes[2];

    if (!nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_IOIO)) {
        return false;
    }
    read_map(v, v->vmcb12.iopm_base, bit / 8u, bytes, sizeof bytes);
    return nvi_svm_map_any(bytes, bit % 8u, count);
}

static bool l0_wants_port(const struct nvirt_svm_vcpu *v, uint32_t bit, uint32_t count)
{
    if (!nvirt_vmcb_intercepts(v->vmcb01, NVIRT_SVM_EXIT_IOIO)) {
        return false;
    }
    return v->iopm01 == NULL || nvi_svm_map_any(v->iopm01, bit, count);
}

enum nvi_svm_action nvi_svm_maps_decide_io(struct nvirt_svm_vcpu *v, uint64_t info1)
{
    uint32_t bit;
    uint32_t count;

    nvi_svm_iopm_position(info1, &bit, &count);
    if (l1_wants_port(v, bit, count)) {
        return NVI_SVM_REFLECT;
    }
    if (l0_wants_port(v, bit, count)) {
        return NVI_SVM_HOST;
    }
    grant(v, true, bit, count);
    return NVI_SVM_RESUME;
}

/* ---- MSRs ---- */

static bool l1_wants_msr(struct nvirt_svm_vcpu *v, uint32_t msr, bool write)
{
    uint32_t bit;
    uint8_t byte;

    if (!nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_MSR)) {
        return false;
    }
    if (!nvi_svm_msrpm_position(msr, &bit)) {
        return true;
    }
    bit += write ? 1u : 0u;
    read_map(v, v->vmcb12.msrpm_base, bit / 8u, &byte, 1);
    return nvi_svm_map_any(&byte, bit % 8u, 1);
}

static bool l0_wants_msr(const struct nvirt_svm_vcpu *v, uint32_t msr, bool write)
{
    if (!nvirt_vmcb_intercepts(v->vmcb01, NVIRT_SVM_EXIT_MSR)) {
        return false;
    }
    return v->msrpm01 == NULL || nvi_svm_msrpm_intercepts(v->msrpm01, msr, write);
}

enum nvi_svm_action nvi_svm_maps_decide_msr(struct nvirt_svm_vcpu *v, uint32_t msr, bool write)
{
    uint32_t bit;

    if (l1_wants_msr(v, msr, write)) {
        return NVI_SVM_REFLECT;
    }
    if (nvi_svm_msr_is_held(v, msr)) {
        return NVI_SVM_INSTRUCTION;
    }
    if (l0_wants_msr(v, msr, write) || !nvi_svm_msrpm_position(msr, &bit)) {
        return NVI_SVM_HOST;
    }
    grant(v, false, bit + (write ? 1u : 0u), 1);
    return NVI_SVM_RESUME;
}
