/* SPDX-License-Identifier: MIT */
/*
 * The permission maps of L2. The union of L1's map and L0's could be computed at each VMRUN, from
 * 20 KiB of L1's memory. Instead the maps of L2 begin with everything intercepted; an access that
 * neither level wants is let through when it first comes, looked up again at each VMRUN. The MSRs
 * that guests use all the time are looked at in advance: three words of the map.
 */
#include "nested/svm_internal.h"

/* Byte offsets in the MSR map of the words looked at in advance, none across two pages. */
static const uint32_t chunks[NVI_SVM_CHUNKS] = {
    0x058, /* MSRs 160h to 17Fh: SYSENTER */
    0x820, /* C0000080h to C000009Fh: EFER, STAR, LSTAR, CSTAR, SFMASK */
    0x840, /* C0000100h to C000011Fh: FS, GS and KERNEL_GS bases, TSC_AUX */
};

/* Bytes of a map of L1's; without memory there a bus reads ones, which intercept. */
static void read_map(struct nvirt_svm_vcpu *v, uint64_t base, uint32_t offset, uint8_t *to,
                     uint32_t bytes)
{
    nvirt_l1gpa from = nvirt_l1gpa_make((base & NVIRT_PAGE_MASK) + offset);

    v->stats.bytes_read += bytes;
    if (nvirt_port_l1_read(v->vm->port, from, to, bytes) != NVIRT_OK) {
        __builtin_memset(to, 0xff, bytes);
    }
}

/* One byte of a map of L1's, through a pin that stays: grants are looked at again at every
 * VMRUN. */
static uint8_t map_byte(struct nvirt_svm_vcpu *v, uint64_t base, uint32_t offset)
{
    uint64_t address = (base & NVIRT_PAGE_MASK) + offset;
    const volatile uint8_t *page = nvi_svm_page(v, nvirt_l1gpa_make(address & NVIRT_PAGE_MASK),
                                                NVI_SVM_USE_MAP);

    v->stats.bytes_read++;
    return page != NULL ? page[address & ~NVIRT_PAGE_MASK] : 0xff;
}

/* The CPU may have kept what the maps said at the last entry. */
static void maps_changed(struct nvirt_svm_vcpu *v)
{
    v->vmcb02->clean &= ~NVIRT_VMCB_CLEAN_IOPM;
}

/* ---- the words looked at in advance ---- */

/* MSRs that nvirt keeps for L1, or L0 for itself, whatever the host's own map says. */
static bool is_required(uint32_t msr)
{
    return msr == NVIRT_SVM_MSR_EFER || msr == NVIRT_SVM_MSR_VM_CR ||
           msr == NVIRT_SVM_MSR_HSAVE_PA || msr == NVIRT_SVM_MSR_KEY ||
           msr == NVIRT_SVM_MSR_TSC_RATIO;
}

static uint64_t wanted_by_l0(const struct nvirt_svm_vcpu *v, uint32_t offset)
{
    static const uint32_t held[] = {NVIRT_SVM_MSR_EFER, NVIRT_SVM_MSR_TSC_RATIO};
    uint64_t word = ~UINT64_C(0);
    uint32_t bit;

    if (!nvirt_vmcb_intercepts(v->vmcb01, NVIRT_SVM_EXIT_MSR)) {
        word = 0;
    } else if (v->msrpm01 != NULL) {
        __builtin_memcpy(&word, v->msrpm01 + offset, sizeof word);
    }
    for (uint32_t i = 0; i < sizeof held / sizeof held[0]; i++) {
        if (nvi_svm_msrpm_position(held[i], &bit) && bit / 64u * 8u == offset) {
            word |= UINT64_C(3) << (bit % 64u);
        }
    }
    return word;
}

void nvi_svm_maps_l0_changed(struct nvirt_svm_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_SVM_CHUNKS; i++) {
        v->chunk01[i] = wanted_by_l0(v, chunks[i]);
    }
}

/* L1 may change its map between two entries with no more than a store, so it is looked at each
 * time: the clean bit covers the addresses of the maps only [APM 2 "VMCB Clean Field"]. */
static void fill_chunks(struct nvirt_svm_vcpu *v)
{
    const volatile uint8_t *map = NULL;
    uint64_t without = 0;

    if (nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_MSR)) {
        map = nvi_svm_page(v, nvirt_l1gpa_make(v->vmcb12.msrpm_base & NVIRT_PAGE_MASK),
                           NVI_SVM_USE_MAP);
        without = ~UINT64_C(0);
        v->stats.bytes_read += sizeof v->chunk01;
    }
    for (uint32_t i = 0; i < NVI_SVM_CHUNKS; i++) {
        uint64_t *word = (uint64_t *)(void *)(v->msrpm02 + chunks[i]);
        uint64_t l1 = map != NULL ? *(const volatile uint64_t *)(map + chunks[i]) : without;

        if (*word != (l1 | v->chunk01[i])) {
            *word = l1 | v->chunk01[i];
            maps_changed(v);
        }
    }
}

/* ---- grants ---- */

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
        uint64_t base = g->io ? v->vmcb12.iopm_base : v->vmcb12.msrpm_base;

        bytes[0] = map_byte(v, base, g->bit / 8u);
        if (g->bit % 8u + g->count > 8u) {
            bytes[1] = map_byte(v, base, g->bit / 8u + 1u);
        }
    }
    return nvi_svm_map_any(bytes, g->bit % 8u, g->count);
}

NVIRT_COLD static void take_all_back(struct nvirt_svm_vcpu *v)
{
    __builtin_memset(v->msrpm02, 0xff, NVIRT_SVM_MSRPM_BYTES);
    __builtin_memset(v->iopm02, 0xff, NVIRT_SVM_IOPM_BYTES);
    maps_changed(v);
    v->grants = 0;
    v->hv_maps_clean = false;
}

/* L1 may have changed its maps, or named others, without a word: each grant is looked up again.
 * With Hyper-V's enlightened MSR bitmap it says when it has. */
static void review_grants(struct nvirt_svm_vcpu *v)
{
    uint32_t kept = 0;

    if (v->grants == NVI_SVM_GRANTS_LOST) {
        take_all_back(v);
    }
    for (uint32_t i = 0; i < v->grants; i++) {
        const struct nvi_svm_grant g = v->grant[i];
        bool unchanged = v->hv_maps_clean && !g.io;

        if (!unchanged && is_wanted(v, &g)) {
            nvi_svm_map_write(g.io ? v->iopm02 : v->msrpm02, g.bit, g.count, true);
            maps_changed(v);
        } else {
            v->grant[kept++] = g;
        }
    }
    v->grants = kept;
}

/* Which map counts, and whether any does: what L1 says of a map's contents says nothing of
 * these. */
static uint64_t map_source(const struct nvirt_svm_vcpu *v)
{
    bool counts = nvirt_vmcb_intercepts(&v->vmcb12, NVIRT_SVM_EXIT_MSR);

    return (v->vmcb12.msrpm_base & NVIRT_PAGE_MASK) | (counts ? 1u : 0u);
}

/* hv_maps_clean, of an L1 that knows the enlightenment. */
static void look_at_source(struct nvirt_svm_vcpu *v)
{
    uint64_t source = map_source(v);

    v->hv_maps_clean = v->hv_maps_clean && source == v->hv_maps_source;
    v->hv_maps_source = source;
}

/* What only some VMRUNs need. @return true when the words looked at in advance are as they were. */
NVIRT_NOINLINE static bool review(struct nvirt_svm_vcpu *v)
{
    if (v->hv != NULL) {
        look_at_source(v);
    }
    review_grants(v);
    v->stats.maps_clean += v->hv_maps_clean;
    return v->hv_maps_clean;
}

void nvi_svm_maps_reset(struct nvirt_svm_vcpu *v)
{
    bool plain = v->hv == NULL && v->grants == 0;

    if (plain || !review(v)) {
        fill_chunks(v);
    }
}

static void grant(struct nvirt_svm_vcpu *v, bool io, uint32_t bit, uint32_t count)
{
    nvi_svm_map_write(io ? v->iopm02 : v->msrpm02, bit, count, false);
    maps_changed(v);
    if (v->grants >= NVI_SVM_GRANTS) {
        v->grants = NVI_SVM_GRANTS_LOST;
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
    if (is_required(msr) || l0_wants_msr(v, msr, write) || !nvi_svm_msrpm_position(msr, &bit)) {
        return NVI_SVM_HOST;
    }
    grant(v, false, bit + (write ? 1u : 0u), 1);
    return NVI_SVM_RESUME;
}
