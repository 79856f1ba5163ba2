/* SPDX-License-Identifier: MIT */
/*
 * The VMCS region in L1's memory. Software may not rely on its layout, so nvirt keeps one of its
 * own: the two architectural words, the launch state, then all fields in table order. The region is
 * read once when it becomes active; VMREAD and VMWRITE of L1 work on that snapshot, and it is
 * written back when it ceases to be. What L1 writes into the bytes meanwhile has no effect, and
 * several may be active at a time, as the manual allows [SDM 3C "Software Use of Virtual-Machine
 * Control Structures"].
 */
#include "nested/vmx_evmcs.h"

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

/* ---- fields that are elsewhere ---- */

/* What L1 wrote without an exit is new to nvirt; what vmcs02 has was L2's, and is no change. */
static void fetch(struct nvirt_vmx_vcpu *v, struct nvi_pair *pair, struct nvirt_vmcs *vmcs12,
                  uint32_t field)
{
    uint64_t value;

    if (!nvi_field_has(&v->changes[NVI_SHADOW], field)) {
        vmcs12->field[field] = nvi_hw_read(v, &pair->hw, field);
        return;
    }
    value = nvi_hw_read(v, &pair->shadow, field);
    if (vmcs12->field[field] != value) {
        vmcs12->field[field] = value;
        pair->changed |= 1u << nvi_vmcs_groups[field];
    }
}

static void settle(struct nvirt_vmx_vcpu *v, struct nvi_pair *pair, struct nvirt_vmcs *vmcs12,
                   const struct nvi_field_set *set)
{
    for (uint32_t w = 0; w < NVI_FIELD_WORDS; w++) {
        uint64_t due = set == NULL ? pair->lazy.word[w] : pair->lazy.word[w] & set->word[w];

        pair->lazy.word[w] &= ~due;
        while (due != 0) {
            fetch(v, pair, vmcs12, w * 64u + nvi_take_lowest(&due));
        }
    }
}

void nvi_vmcs12_settle(struct nvirt_vmx_vcpu *v, const struct nvi_field_set *set)
{
    settle(v, v->now, &v->vmcs12, set);
}

uint64_t nvi_vmcs12_get(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    if (nvi_field_has(&v->now->lazy, (uint32_t)field)) {
        fetch(v, v->now, &v->vmcs12, (uint32_t)field);
        nvi_field_remove(&v->now->lazy, (uint32_t)field);
    }
    return v->vmcs12.field[field];
}

void nvi_vmcs12_set(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    if (!nvi_field_has(&v->now->lazy, (uint32_t)field) && v->vmcs12.field[field] == value) {
        return;
    }
    nvi_field_remove(&v->now->lazy, (uint32_t)field);
    v->vmcs12.field[field] = value;
    v->now->changed |= 1u << nvi_vmcs_groups[field];
    v->now->shadow_due = true;
}

/* ---- active regions ---- */

static struct nvi_pair *find_pair(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        if (v->pair[i].region == region) {
            return &v->pair[i];
        }
    }
    return NULL;
}

/* A free one, or else the one whose last use is longest ago. */
static struct nvi_pair *oldest_pair(struct nvirt_vmx_vcpu *v)
{
    struct nvi_pair *oldest = &v->pair[0];

    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        if (v->pair[i].region == NVI_NO_VMCS) {
            return &v->pair[i];
        }
        if (v->pair[i].last_use < oldest->last_use) {
            oldest = &v->pair[i];
        }
    }
    return oldest;
}

static void write_back(struct nvirt_vmx_vcpu *v, const struct nvi_pair *pair,
                       const struct nvirt_vmcs *vmcs12, bool is_launched)
{
    uint32_t launch = is_launched ? LAUNCHED : 0;

    nvi_vmx_l1_write(v, pair->region + REGION_LAUNCH, &launch, sizeof launch);
    nvi_vmx_l1_write(v, pair->region + REGION_FIELDS, vmcs12, sizeof *vmcs12);
}

/* Ends a pair: what vmcs02 and the shadow VMCS hold is no longer about any vmcs12. Its pins stay for the
 * next one. */
static void free_pair(struct nvi_pair *pair)
{
    pair->region = NVI_NO_VMCS;
    pair->is_enlightened = false;
    pair->changed = NVI_ALL_GROUPS;
    pair->shadow_due = true;
    __builtin_memset(&pair->lazy, 0, sizeof pair->lazy);
}

/* For a pair that is not the current vmcs12's. L1 has all of an enlightened VMCS. */
static void evict(struct nvirt_vmx_vcpu *v, struct nvi_pair *pair, bool is_launched)
{
    if (!pair->is_enlightened) {
        settle(v, pair, &pair->vmcs12, NULL);
        write_back(v, pair, &pair->vmcs12, is_launched);
    }
    free_pair(pair);
}

static void make_now(struct nvirt_vmx_vcpu *v, struct nvi_pair *pair)
{
    pair->last_use = ++v->clock;
    v->now = pair;
    v->hw[NVI_02] = &pair->hw;
    v->hw[NVI_SHADOW] = &pair->shadow;
    v->bitmap_of = NULL;
}

static void leave_none_current(struct nvirt_vmx_vcpu *v)
{
    v->vmx.current = NVI_NO_VMCS;
    v->vmx.enlightened = NVI_NO_VMCS;
    v->vmx.launched = false;
    v->vmx.is_shadow = false;
}

static bool is_any_current(const struct nvirt_vmx_vcpu *v)
{
    return nvi_vmcs12_region(v) != NVI_NO_VMCS;
}

/* No longer current, but active. */
void nvi_vmcs12_park(struct nvirt_vmx_vcpu *v)
{
    if (is_any_current(v)) {
        v->now->vmcs12 = v->vmcs12;
        v->now->launched = v->vmx.launched;
        leave_none_current(v);
    }
}

static void read_region(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    uint32_t launch;

    nvi_vmx_l1_read(v, region + REGION_LAUNCH, &launch, sizeof launch);
    nvi_vmx_l1_read(v, region + REGION_FIELDS, &v->vmcs12, sizeof v->vmcs12);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        v->vmcs12.field[i] &= nvi_vmcs_masks[i];
    }
    v->vmx.launched = launch == LAUNCHED;
}

static void set_current(struct nvirt_vmx_vcpu *v, const struct nvi_pair *pair)
{
    const struct nvi_field_set none = { { 0 } };

    v->vmx.current = pair->is_enlightened ? NVI_NO_VMCS : pair->region;
    v->vmx.enlightened = pair->is_enlightened ? pair->region : NVI_NO_VMCS;
    v->vmread_set = pair->is_enlightened ? none : v->offered;
    v->vmwrite_set = pair->is_enlightened ? none : v->writable;
}

void nvi_vmcs12_adopt(struct nvirt_vmx_vcpu *v, uint64_t region, bool is_enlightened)
{
    struct nvi_pair *pair = oldest_pair(v);

    if (pair->region != NVI_NO_VMCS) {
        evict(v, pair, pair->launched);
    }
    free_pair(pair);
    pair->region = region;
    pair->is_enlightened = is_enlightened;
    make_now(v, pair);
    set_current(v, pair);
}

/* Makes an active region current again. @return false when it is not active as one of that kind;
 * then it is not active at all: a page has one layout. */
static bool load_active(struct nvirt_vmx_vcpu *v, uint64_t region, bool is_enlightened)
{
    struct nvi_pair *pair = find_pair(v, region);

    nvi_vmcs12_park(v);
    if (pair == NULL) {
        return false;
    }
    if (pair->is_enlightened != is_enlightened) {
        free_pair(pair);
        return false;
    }
    make_now(v, pair);
    v->vmcs12 = pair->vmcs12;
    v->vmx.launched = pair->launched;
    set_current(v, pair);
    return true;
}

bool nvi_vmcs12_is_ready(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    const struct nvi_pair *pair = find_pair(v, region);

    return region != NVI_NO_VMCS && pair != NULL && !pair->is_enlightened &&
           v->vmx.current != NVI_NO_VMCS && !(v->shadow.usable && pair->shadow_due);
}

void nvi_vmcs12_load(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    if (!load_active(v, region, false)) {
        nvi_vmcs12_adopt(v, region, false);
        read_region(v, region);
    }
}

void nvi_vmcs12_load_enlightened(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    if (!load_active(v, region, true)) {
        nvi_vmcs12_adopt(v, region, true);
        __builtin_memset(&v->vmcs12, 0, sizeof v->vmcs12);
        v->vmx.launched = false;
    }
}

void nvi_vmcs12_clear(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    struct nvi_pair *pair = find_pair(v, region);
    uint32_t launch = 0;

    if (pair == NULL) {
        /* An enlightened VMCS has a field there. */
        if (!nvi_evmcs_is_enabled(v)) {
            nvi_vmx_l1_write(v, region + REGION_LAUNCH, &launch, sizeof launch);
        }
        return;
    }
    if (region == nvi_vmcs12_region(v)) {
        nvi_vmcs12_park(v);
    }
    evict(v, pair, false);
}

void nvi_vmcs12_store_all(struct nvirt_vmx_vcpu *v)
{
    nvi_vmcs12_park(v);
    nvi_vmcs12_store_others(v);
}

void nvi_vmcs12_store_others(struct nvirt_vmx_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        struct nvi_pair *pair = &v->pair[i];

        if (pair->region == NVI_NO_VMCS) {
            continue;
        }
        if (is_any_current(v) && pair == v->now) {
            nvi_vmcs12_settle(v, NULL);
        } else {
            evict(v, pair, pair->launched);
        }
    }
}

void nvi_vmcs12_settle_all(struct nvirt_vmx_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        struct nvi_pair *pair = &v->pair[i];
        bool current = is_any_current(v) && pair == v->now;

        settle(v, pair, current ? &v->vmcs12 : &pair->vmcs12, NULL);
    }
}

void nvi_vmcs12_drop_all(struct nvirt_vmx_vcpu *v)
{
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        free_pair(&v->pair[i]);
    }
    leave_none_current(v);
}

void nvi_vmx_forget_caches(struct nvirt_vmx_vcpu *v)
{
    nvi_vmcs12_store_others(v);
    v->now->changed = NVI_ALL_GROUPS;
    v->now->shadow_due = true;
}

void nvi_vmcs12_abort(struct nvirt_vmx_vcpu *v, uint32_t indicator)
{
    /* An enlightened VMCS has it in the same place. */
    if (is_any_current(v)) {
        nvi_vmx_l1_write(v, nvi_vmcs12_region(v) + REGION_ABORT, &indicator, sizeof indicator);
    }
}

/* ---- the VMCS linked to the current one ---- */

/*
 * The VMCS that shadows for L2 is rarely active: L1 fills it and clears it before it enters L2. Then
 * the region in memory is all there is of it, and each access reads or writes its one field
 * there. An L1 that may use enlightened VMCSs is offered none of this.
 */
static uint64_t place_of(const struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    return v->vmcs12.vmcs_link + REGION_FIELDS + (uint64_t)field * sizeof(uint64_t);
}

NVIRT_STATIC_ASSERT(sizeof(struct nvirt_vmcs) == NVIRT_VMCS_FIELD_COUNT * sizeof(uint64_t),
                    "a region holds the fields as an array");

uint64_t nvi_vmcs12_linked_get(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    struct nvi_pair *pair = find_pair(v, v->vmcs12.vmcs_link);
    uint64_t value;

    if (pair != NULL) {
        settle(v, pair, &pair->vmcs12, NULL);
        return pair->vmcs12.field[field];
    }
    nvi_vmx_l1_read(v, place_of(v, field), &value, sizeof value);
    return nvirt_vmcs_truncate(field, value);
}

void nvi_vmcs12_linked_set(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    struct nvi_pair *pair = find_pair(v, v->vmcs12.vmcs_link);

    if (pair == NULL) {
        nvi_vmx_l1_write(v, place_of(v, field), &value, sizeof value);
        return;
    }
    settle(v, pair, &pair->vmcs12, NULL);
    pair->vmcs12.field[field] = value;
    pair->changed |= 1u << nvi_vmcs_groups[field];
    pair->shadow_due = true;
}
