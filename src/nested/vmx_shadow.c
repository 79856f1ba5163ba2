/* SPDX-License-Identifier: MIT */
/*
 * The shadow VMCS: where the CPU has VMCS shadowing, L1's VMREADs and VMWRITEs of the fields that an
 * exit handler uses work on it and do not exit. It stands for the current vmcs12 while L1 runs; each
 * active vmcs12 has one of its own, so that an L1 that takes another finds it as it was left.
 *
 * What L1 may write there without an exit counts as lazy (struct nvi_pair): the shadow VMCS has it,
 * and it is fetched when an entry, another access or the end of the VMCS's turn wants it.
 *
 * [SDM 3C "VMCS Shadowing", "VMCS-Shadowing Bitmap Addresses"]
 */
#include "nested/vmx_internal.h"

/* Encodings are looked up by their lower 15 bits. */
#define BITMAP_INDEX NVIRT_BITS(14, 0)

/*
 * Fields whose reads need no look at anything else: an exit tells L1 by the read-only ones, and the
 * others are fetched at each exit.
 */
#define READ_ONLY_FIELDS(X)                                                                        \
    X(GUEST_PHYSICAL)                                                                              \
    X(VM_INSTRUCTION_ERROR)                                                                        \
    X(EXIT_REASON)                                                                                 \
    X(EXIT_INTERRUPTION)                                                                           \
    X(EXIT_INTERRUPTION_ERROR)                                                                     \
    X(IDT_VECTORING)                                                                               \
    X(IDT_VECTORING_ERROR)                                                                         \
    X(EXIT_INSN_LENGTH)                                                                            \
    X(EXIT_INSN_INFO)                                                                              \
    X(EXIT_QUALIFICATION)                                                                          \
    X(GUEST_LINEAR)                                                                                \
    X(GUEST_CS_AR)                                                                                 \
    X(GUEST_SS_AR)                                                                                 \
    X(GUEST_CR0)                                                                                   \
    X(GUEST_CR4)

/* Like NVI_SHADOW_ENTRY_FIELDS(), but an entry reads them only for an event that takes them. */
#define EVENT_FIELDS(X)                                                                            \
    X(ENTRY_ERROR_CODE)                                                                            \
    X(ENTRY_INSN_LENGTH)

/* ---- making it ---- */

bool nvi_shadow_is_usable(const struct nvirt_vmx_caps *cpu)
{
    return (cpu->proc2 >> 32 & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0 &&
           (cpu->misc & NVIRT_VMX_MISC_VMWRITE_ANY) != 0;
}

static void pass(uint8_t *bitmap, uint32_t field)
{
    uint32_t bit = nvi_vmcs_encodings[field] & (uint32_t)BITMAP_INDEX;

    bitmap[bit / 8] = (uint8_t)(bitmap[bit / 8] & ~(1u << (bit % 8)));
}

/* A field that L1 is not offered must fail, and that takes an exit. */
static void add(struct nvirt_vmx_vcpu *v, uint32_t field, bool write)
{
    struct nvi_shadow *shadow = &v->shadow;

    if (!nvi_field_has(&v->offered, field) || !nvi_field_has(&v->exists, field)) {
        return;
    }
    nvi_field_add(&shadow->fields, field);
    pass(nvirt_port_page_pointer(v->port, shadow->read_bitmap), field);
    if (write) {
        nvi_field_add(&v->changes[NVI_SHADOW], field);
        pass(nvirt_port_page_pointer(v->port, shadow->write_bitmap), field);
    }
    /* Where it does exit all the same, the shadow VMCS is to follow. */
    nvi_field_remove(&v->writable, field);
}

static void init_region(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    uint32_t revision = (uint32_t)(v->caps.basic & NVIRT_VMX_BASIC_REVISION) |
                        (uint32_t)NVIRT_VMX_REGION_SHADOW;
    uint8_t *region = nvirt_port_page_pointer(v->port, hw->hpa);

    hw->is_shadow = true;
    __builtin_memset(region, 0, NVIRT_PAGE_SIZE);
    __builtin_memcpy(region, &revision, sizeof revision);
}

void nvi_shadow_init(struct nvirt_vmx_vcpu *v)
{
    struct nvi_shadow *shadow = &v->shadow;

    if (!shadow->usable) {
        return;
    }
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        init_region(v, &v->pair[i].shadow);
    }
    __builtin_memset(nvirt_port_page_pointer(v->port, shadow->read_bitmap), 0xff, NVIRT_PAGE_SIZE);
    __builtin_memset(nvirt_port_page_pointer(v->port, shadow->write_bitmap), 0xff, NVIRT_PAGE_SIZE);
#define X(NAME) add(v, NVIRT_VMCS_##NAME, false);
    READ_ONLY_FIELDS(X)
#undef X
#define X(NAME) add(v, NVIRT_VMCS_##NAME, true);
    EVENT_FIELDS(X)
#undef X
#define X(NAME, member)                                                                            \
    add(v, NVIRT_VMCS_##NAME, true);                                                               \
    nvi_field_add(&shadow->entry, NVIRT_VMCS_##NAME);
    NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
}

/* ---- before L1 runs ---- */

/* Of a field that the image knows. */
static inline void fill_known(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    if (v->now->shadow.image.field[field] != v->vmcs12.field[field]) {
        nvi_hw_set_differing(v, NVI_SHADOW, field, v->vmcs12.field[field]);
    }
}

/* What L1 wrote and nobody has fetched is newer than vmcs12. */
static inline void fill_writable(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    if (!nvi_field_has(&v->now->lazy, (uint32_t)field)) {
        nvi_hw_set(v, NVI_SHADOW, field, v->vmcs12.field[field]);
    }
}

/* An entry has fetched them, and L1 did not run since. */
static inline bool entry_fields_are_known(const struct nvirt_vmx_vcpu *v)
{
    struct nvi_field_set entry = { { 0 } };

#define X(NAME, member) nvi_field_add(&entry, NVIRT_VMCS_##NAME);
    NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
    return nvi_field_has_none(&v->now->shadow.stale, &entry) &&
           nvi_field_has_none(&v->now->lazy, &entry);
}

/* Field by field: most have not changed, which a loop would find out at three times the cost. */
static void fill(struct nvirt_vmx_vcpu *v)
{
#define X(NAME) fill_known(v, NVIRT_VMCS_##NAME); /* Nobody but nvirt writes these. */
    READ_ONLY_FIELDS(X)
#undef X
    if (entry_fields_are_known(v)) {
#define X(NAME, member) fill_known(v, NVIRT_VMCS_##NAME);
        NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
    } else {
#define X(NAME, member) fill_writable(v, NVIRT_VMCS_##NAME);
        NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
    }
#define X(NAME) fill_writable(v, NVIRT_VMCS_##NAME);
    EVENT_FIELDS(X)
#undef X
    nvi_hw_commit(v, NVI_SHADOW);
    v->now->shadow_due = v->error != NVIRT_OK;
}

/* Lets vmcs01 name the shadow VMCS, or none. Of its controls only the host changes any, and says so. */
static void attach(struct nvirt_vmx_vcpu *v, bool use)
{
    struct nvi_shadow *shadow = &v->shadow;

    NVI_SET01(v, PROC2_CONTROLS,
              use ? v->proc2_01 | NVIRT_VMX_PROC2_VMCS_SHADOWING : v->proc2_01);
    if (use) {
        NVI_SET01(v, VMREAD_BITMAP, shadow->read_bitmap.value);
        NVI_SET01(v, VMWRITE_BITMAP, shadow->write_bitmap.value);
    }
    shadow->attached = use;
    shadow->epoch = v->epoch;
}

void nvi_shadow_link(struct nvirt_vmx_vcpu *v)
{
    struct nvi_hw_vmcs *hw = &v->now->shadow;

    NVI_SET01(v, VMCS_LINK, hw->hpa.value);
    /* An entry with it makes it active, as VMPTRLD does; not one that is not ready. */
    hw->active = hw->initialised;
    nvi_hw_distrust(v, NVI_SHADOW);
    nvi_field_add_all(&v->now->lazy, &v->changes[NVI_SHADOW]);
}

void nvi_shadow_prepare(struct nvirt_vmx_vcpu *v)
{
    struct nvi_shadow *shadow = &v->shadow;
    bool use = v->vmx.current != NVI_NO_VMCS;

    if (!shadow->usable) {
        return;
    }
    if (shadow->attached != use || shadow->epoch != v->epoch) {
        attach(v, use);
    }
    if (!use) {
        NVI_SET01(v, VMCS_LINK, v->link01);
        return;
    }
    if (v->now->shadow_due) {
        fill(v);
    }
    nvi_shadow_link(v);
}

/* ---- what an entry looks at ---- */

static inline void collect(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    uint64_t value = v->now->shadow.image.field[field];

    if (nvi_field_has(&v->now->lazy, (uint32_t)field) && v->vmcs12.field[field] != value) {
        v->vmcs12.field[field] = value;
        v->now->changed |= 1u << nvi_vmcs_groups[field];
    }
}

void nvi_shadow_collect(struct nvirt_vmx_vcpu *v)
{
    struct nvi_field_set entry = { { 0 } };

    if (!v->shadow.usable) {
        return;
    }
    nvi_hw_fetch_shadow(v);
#define X(NAME, member)                                                                            \
    collect(v, NVIRT_VMCS_##NAME);                                                                 \
    nvi_field_add(&entry, NVIRT_VMCS_##NAME);
    NVI_SHADOW_ENTRY_FIELDS(X)
#undef X
    nvi_field_remove_all(&v->now->lazy, &entry);
    if ((v->vmcs12.entry_interruption & NVIRT_VMX_INTR_VALID) != 0) {
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_ENTRY_ERROR_CODE);
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_ENTRY_INSN_LENGTH);
    }
}
