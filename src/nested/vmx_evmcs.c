/* SPDX-License-Identifier: MIT */
/*
 * The enlightened VMCS, version 1 [TLFS "Enlightened VMCS (Intel)"]. L1 writes the fields into a
 * page of its memory and names the page in its VP assist page; there is no VMPTRLD, VMREAD or
 * VMWRITE. An entry takes over what L1 has changed, and an exit writes what it saves.
 *
 * To the rest of nvirt it is one more vmcs12: while it is active, its contents are in the pair,
 * as with a region that VMPTRLD made current, and v->vmcs12 is all that checks and merge look at.
 * L1 can write to the page at any time, so an entry reads each field once. What L1 says is clean
 * is not read again: where that is a lie, the value of before stands, which was L1's own.
 *
 * The layout has no launch state. VMLAUNCH takes everything over anew, and so does the first
 * entry since the page became active; otherwise the two instructions are alike.
 */
#include "nested/vmx_evmcs.h"
#include "nested/vmx_hot.h"

/* [TLFS "HV_VP_ASSIST_PAGE"]: NestedEnlightenmentsControl, EnlightenVmEntry, CurrentNestedVmcs. */
#define ASSIST_NESTED 32u
#define ASSIST_ENLIGHTEN 40u
#define ASSIST_ENABLED UINT64_C(1)
#define ASSIST_DIRECT_HYPERCALL UINT64_C(1) /* NestedEnlightenmentsControl.Features */

struct assist {
    uint64_t control;
    uint8_t enlighten;
    uint8_t reserved[7];
    uint64_t vmcs;
};

NVIRT_STATIC_ASSERT(sizeof(struct assist) == 24 &&
                        offsetof(struct assist, enlighten) == ASSIST_ENLIGHTEN - ASSIST_NESTED,
                    "as the TLFS has it");

/* [TLFS "HV_VMX_ENLIGHTENED_VMCS"]: what has no encoding. */
#define VERSION 1u
#define AT_CLEAN 0x338u
#define AT_CONTROL 0x344u
#define CONTROL_MSR_BITMAP (1u << 1)
#define AT_VP_ID 0x348u
#define AT_VM_ID 0x350u
#define AT_PARTITION_ASSIST 0x358u

/** The clean fields: (NAME, bit). */
#define CLEAN_GROUPS(X)                                                                            \
    X(IO_BITMAP, 0)                                                                                \
    X(MSR_BITMAP, 1)                                                                               \
    X(CONTROL_GRP2, 2)                                                                             \
    X(CONTROL_GRP1, 3)                                                                             \
    X(CONTROL_PROC, 4)                                                                             \
    X(CONTROL_EVENT, 5)                                                                            \
    X(CONTROL_ENTRY, 6)                                                                            \
    X(CONTROL_EXCPN, 7)                                                                            \
    X(CRDR, 8)                                                                                     \
    X(CONTROL_XLAT, 9)                                                                             \
    X(GUEST_BASIC, 10)                                                                             \
    X(GUEST_GRP1, 11)                                                                              \
    X(GUEST_GRP2, 12)                                                                              \
    X(HOST_POINTER, 13)                                                                            \
    X(HOST_GRP1, 14)

/* The enlightenments' own fields. */
#define CLEAN_CONTROL (1u << 15)
/* A bit that L1 does not have: such fields are read at each entry. */
#define CLEAN_NONE (1u << 16)

enum clean {
#define X(NAME, bit) CLEAN_##NAME = 1u << (bit),
    CLEAN_GROUPS(X)
#undef X
};

/* Parts of an encoding [SDM 3C "VMREAD, VMWRITE, and Encodings of VMCS Fields"]. */
#define KIND_OF(NAME) (((uint32_t)NVI_ENCODING_##NAME >> 10) & 3u)
#define WIDTH_OF(NAME) (((uint32_t)NVI_ENCODING_##NAME >> 13) & 3u)
#define BYTES_OF(NAME)                                                                             \
    (WIDTH_OF(NAME) == NVIRT_VMCS_WIDTH_16 ? 2u : WIDTH_OF(NAME) == NVIRT_VMCS_WIDTH_32 ? 4u : 8u)

#define NVI_EVMCS_FIELD(NAME, offset, clean)                                                       \
    NVIRT_STATIC_ASSERT((offset) % BYTES_OF(NAME) == 0 && (offset) < AT_CLEAN + 0x98u,             \
                        "row " #NAME " is aligned to its width and lies in the structure");
#include "nested/vmx_evmcs.def"

/* ---- the page ---- */

/* Where L1 has it now: the host may have moved it since it was pinned. */
static volatile uint8_t *page_of(struct nvirt_vmx_vcpu *v)
{
    struct nvi_pin *pin = &v->now->evmcs_pin;
    uint64_t now = nvirt_port_sequence(v->port);

    if (v->now->evmcs_sequence != now) {
        nvi_vmx_unpin(v, pin);
        v->now->evmcs_sequence = now;
    }
    pin->written = true;
    return nvi_vmx_pin_page(v, pin, v->vmx.enlightened)
               ? nvirt_port_page_pointer(v->port, pin->hpa)
               : NULL;
}

static inline uint64_t peek(const volatile uint8_t *page, uint32_t offset, uint32_t bytes)
{
    switch (bytes) {
    case 2:
        return *(const volatile uint16_t *)(page + offset);
    case 4:
        return *(const volatile uint32_t *)(page + offset);
    default:
        return *(const volatile uint64_t *)(page + offset);
    }
}

static inline void poke(volatile uint8_t *page, uint32_t offset, uint32_t bytes, uint64_t value)
{
    switch (bytes) {
    case 2:
        *(volatile uint16_t *)(page + offset) = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)(page + offset) = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)(page + offset) = value;
        break;
    }
}

/* ---- which VMCS an entry is about ---- */

static bool read_assist(struct nvirt_vmx_vcpu *v, struct assist *assist)
{
    uint64_t page = v->hv->assist_page;

    if (!nvi_evmcs_is_offered(v) || (page & ASSIST_ENABLED) == 0) {
        return false;
    }
    nvi_vmx_l1_read(v, (page & NVIRT_PAGE_MASK) + ASSIST_NESTED, assist, sizeof *assist);
    return true;
}

bool nvi_evmcs_is_enabled(struct nvirt_vmx_vcpu *v)
{
    struct assist assist;

    return nvi_evmcs_is_offered(v) && read_assist(v, &assist) && assist.enlighten != 0;
}

/* What VMPTRLD demands of its operand; of the version, that it is ours, or what Hyper-V as L1
 * writes there, which is the identifier that IA32_VMX_BASIC has. */
static bool is_enlightened_vmcs(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    uint32_t version;

    if ((region & ~NVIRT_PAGE_MASK) != 0 || !nvi_vmx_l1_address_fits(v, region) ||
        region == v->vmx.region) {
        return false;
    }
    version = nvi_vmcs12_revision(v, region);
    return version == VERSION || version == (v->offer.basic & NVIRT_VMX_BASIC_REVISION);
}

static enum nvi_evmcs_choice choose(struct nvirt_vmx_vcpu *v)
{
    struct assist assist;

    v->bitmap_clean = false;
    v->evmcs_direct = false;
    if (!read_assist(v, &assist) || assist.enlighten == 0) {
        if (v->vmx.enlightened != NVI_NO_VMCS) {
            nvi_vmcs12_park(v);
        }
        return NVI_EVMCS_NONE;
    }
    if (!is_enlightened_vmcs(v, assist.vmcs)) {
        nvi_vmcs12_park(v);
        return NVI_EVMCS_REFUSED;
    }
    if (assist.vmcs != v->vmx.enlightened) {
        nvi_vmcs12_load_enlightened(v, assist.vmcs);
    }
    v->evmcs_direct =
        nvi_vmx_direct_is_offered(v) && (assist.control & ASSIST_DIRECT_HYPERCALL) != 0;
    return NVI_EVMCS_CURRENT;
}

/* ---- what an entry reads ---- */

NVIRT_NOINLINE static void change(struct nvirt_vmx_vcpu *v, uint32_t field, uint64_t value)
{
    v->vmcs12.field[field] = value;
    v->now->changed |= 1u << nvi_vmcs_groups[field];
}

static inline void take(struct nvirt_vmx_vcpu *v, uint32_t field, uint64_t value)
{
    if (v->vmcs12.field[field] != value) {
        change(v, field, value);
    }
}

/* Rows of one clean field that L1 writes: with @p group constant only they are left. */
NVIRT_ALWAYS_INLINE static inline void take_group(struct nvirt_vmx_vcpu *v,
                                                  const volatile uint8_t *page,
                                                  uint32_t group)
{
#define NVI_EVMCS_FIELD(NAME, offset, clean)                                                       \
    if (CLEAN_##clean == group && KIND_OF(NAME) != NVIRT_VMCS_KIND_EXIT) {                         \
        take(v, NVIRT_VMCS_##NAME, peek(page, (offset), BYTES_OF(NAME)));                          \
        v->stats.bytes_read += BYTES_OF(NAME);                                                     \
    }
#include "nested/vmx_evmcs.def"
}

static void take_unclean(struct nvirt_vmx_vcpu *v, const volatile uint8_t *page, uint32_t clean)
{
#define X(NAME, bit)                                                                               \
    if ((clean & CLEAN_##NAME) == 0) {                                                             \
        take_group(v, page, CLEAN_##NAME);                                                         \
    } else {                                                                                       \
        v->stats.groups_clean++;                                                                   \
    }
    CLEAN_GROUPS(X)
#undef X
    take_group(v, page, CLEAN_NONE);
}

/*
 * Whether msr_bitmap02 is what the merge would make of L1's bitmap again [TLFS "Enlightened MSR
 * Bitmap"]: it was made for this VMCS, and nothing else that it depends on has changed.
 */
static bool is_bitmap_clean(const struct nvirt_vmx_vcpu *v, uint32_t clean)
{
    const struct nvi_pair *pair = v->now;

    return (v->hv->offer & NVIRT_HV_OFFER_MSR_BITMAP) != 0 &&
           (pair->enlightenments & CONTROL_MSR_BITMAP) != 0 &&
           (clean & CLEAN_MSR_BITMAP) != 0 && v->bitmap_of == pair &&
           (pair->changed & (NVI_GROUP(CONTROLS) | NVI_GROUP(POINTERS))) == 0;
}

/*
 * The enlightenments' own fields. An L1 that leaves flushes to nvirt has them read at each entry,
 * whatever it calls clean: Linux numbers its VPs in a field that it has called clean just before.
 */
static void take_enlightenments(struct nvirt_vmx_vcpu *v, const volatile uint8_t *page,
                                uint32_t clean)
{
    struct nvi_pair *pair = v->now;

    if (!v->evmcs_direct && (clean & CLEAN_CONTROL) != 0) {
        return;
    }
    pair->enlightenments = (uint32_t)peek(page, AT_CONTROL, 4);
    v->stats.bytes_read += 4;
    if (v->evmcs_direct) {
        pair->who.vp = (uint32_t)peek(page, AT_VP_ID, 4);
        pair->who.vm = peek(page, AT_VM_ID, 8);
        pair->who.assist_page = peek(page, AT_PARTITION_ASSIST, 8);
        v->stats.bytes_read += 20;
    }
}

/* @return false when there is no memory: nothing was read. */
static bool load(struct nvirt_vmx_vcpu *v, bool launch)
{
    const volatile uint8_t *page = page_of(v);
    uint32_t clean;

    if (page == NULL) {
        return false;
    }
    clean = launch || !v->vmx.launched ? 0 : (uint32_t)peek(page, AT_CLEAN, 4);
    v->stats.bytes_read += 4;
    take_unclean(v, page, clean);
    take_enlightenments(v, page, clean);
    v->bitmap_clean = is_bitmap_clean(v, clean);
    v->stats.enlightened_entries++;
    return true;
}

enum nvi_evmcs_choice nvi_evmcs_begin(struct nvirt_vmx_vcpu *v, bool launch)
{
    enum nvi_evmcs_choice choice;

    if (v->evmcs_begun != 0) {
        choice = (enum nvi_evmcs_choice)(v->evmcs_begun - 1);
        v->evmcs_begun = 0;
        return choice;
    }
    choice = choose(v);
    if (choice == NVI_EVMCS_CURRENT && !load(v, launch)) {
        choice = NVI_EVMCS_REFUSED;
    }
    return choice;
}

/* ---- what an exit writes ---- */

/* L2's state, what is told of the exit, and of the controls those two that an exit changes
 * [SDM 3C "Recording VM-Exit Information and Updating VM-entry Control Fields"]. The link pointer
 * is part of L2's state by its encoding alone. */
#define IS_SAVED(NAME)                                                                             \
    ((KIND_OF(NAME) == NVIRT_VMCS_KIND_GUEST && NVIRT_VMCS_##NAME != NVIRT_VMCS_VMCS_LINK) ||      \
     KIND_OF(NAME) == NVIRT_VMCS_KIND_EXIT || NVIRT_VMCS_##NAME == NVIRT_VMCS_ENTRY_CONTROLS ||    \
     NVIRT_VMCS_##NAME == NVIRT_VMCS_ENTRY_INTERRUPTION)

#define NVI_EVMCS_FIELD(NAME, offset, clean) +(IS_SAVED(NAME) ? BYTES_OF(NAME) : 0)
enum { SAVED_BYTES = 0
#include "nested/vmx_evmcs.def"
};

/*
 * What the exit saved and nobody looked at since. As a rule that is most of L2's state: field by
 * field and straight on, where nvi_vmcs12_settle() would take five times as long. It is left what
 * is out of the ordinary.
 */
static void fetch_saved(struct nvirt_vmx_vcpu *v)
{
    struct nvi_hw_vmcs *hw = &v->now->hw;
    struct nvi_field_set due = v->now->lazy;

    nvi_field_keep(&due, &hw->stale);
    if (!nvi_hw_make_current(v, hw)) {
        return;
    }
#define NVI_EVMCS_FIELD(NAME, offset, clean)                                                       \
    if (KIND_OF(NAME) == NVIRT_VMCS_KIND_GUEST && nvi_field_has(&due, NVIRT_VMCS_##NAME)) {        \
        v->stats.vmreads++;                                                                        \
        if (!nvi_hw_peek(v, NVI_ENCODING_##NAME, &hw->image.field[NVIRT_VMCS_##NAME])) {           \
            return;                                                                                \
        }                                                                                          \
        v->vmcs12.field[NVIRT_VMCS_##NAME] = hw->image.field[NVIRT_VMCS_##NAME];                   \
    }
#include "nested/vmx_evmcs.def"
    nvi_field_remove_all(&v->now->lazy, &due);
    nvi_field_remove_all(&hw->stale, &due);
}

void nvi_evmcs_store_exit(struct nvirt_vmx_vcpu *v)
{
    volatile uint8_t *page = page_of(v);

    /* L1 reads without an exit: nothing may be elsewhere. */
    fetch_saved(v);
    nvi_vmcs12_settle(v, NULL);
    if (page == NULL) {
        return;
    }
#define NVI_EVMCS_FIELD(NAME, offset, clean)                                                       \
    if (IS_SAVED(NAME)) {                                                                          \
        poke(page, (offset), BYTES_OF(NAME), v->vmcs12.field[NVIRT_VMCS_##NAME]);                  \
    }
#include "nested/vmx_evmcs.def"
    v->stats.bytes_written += SAVED_BYTES;
}

void nvi_evmcs_store_entry_failure(struct nvirt_vmx_vcpu *v)
{
    volatile uint8_t *page = page_of(v);

    if (page == NULL) {
        return;
    }
#define NVI_EVMCS_FIELD(NAME, offset, clean)                                                       \
    if (KIND_OF(NAME) == NVIRT_VMCS_KIND_EXIT) {                                                   \
        poke(page, (offset), BYTES_OF(NAME), v->vmcs12.field[NVIRT_VMCS_##NAME]);                  \
        v->stats.bytes_written += BYTES_OF(NAME);                                                  \
    }
#include "nested/vmx_evmcs.def"
}

void nvi_evmcs_store_error(struct nvirt_vmx_vcpu *v)
{
    volatile uint8_t *page = page_of(v);

    if (page == NULL) {
        return;
    }
#define NVI_EVMCS_FIELD(NAME, offset, clean)                                                       \
    if (NVIRT_VMCS_##NAME == NVIRT_VMCS_VM_INSTRUCTION_ERROR) {                                    \
        poke(page, (offset), BYTES_OF(NAME), v->vmcs12.vm_instruction_error);                      \
        v->stats.bytes_written += BYTES_OF(NAME);                                                  \
    }
#include "nested/vmx_evmcs.def"
}

/* ---- what L1 is offered beside it ---- */

void nvi_evmcs_narrow(struct nvirt_vmx_caps *offer)
{
    bool has[NVIRT_VMCS_FIELD_COUNT] = {false};

#define NVI_EVMCS_FIELD(NAME, offset, clean) has[NVIRT_VMCS_##NAME] = true;
#include "nested/vmx_evmcs.def"
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (!has[i]) {
            nvi_vmcs_withdraw(offer, (enum nvirt_vmcs_field)i);
        }
    }
}
