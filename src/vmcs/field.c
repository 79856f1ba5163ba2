/* SPDX-License-Identifier: MIT */
/*
 * Questions about single fields of the VMCS, answered from the one table of rows: encodings to
 * fields and back, widths, names, and which capability a field depends on.
 */
#include "vmcs/vmcs_internal.h"

/* Parts of an encoding [SDM 3C "VMREAD, VMWRITE, and Encodings of VMCS Fields"]. */
#define ENCODING_HIGH NVIRT_BIT(0)
#define ENCODING_INDEX(encoding) (((encoding) >> 1) & 0x1ffu)
#define ENCODING_KIND(encoding) (((encoding) >> 10) & 3u)
#define ENCODING_WIDTH(encoding) (((encoding) >> 13) & 3u)
#define ENCODING_RESERVED (NVIRT_BITS(63, 15) | NVIRT_BIT(12))

#define COLUMNS (1u << NVI_VMCS_COLUMN_BITS)

static const struct nvirt_vmcs_field_info rows[NVIRT_VMCS_FIELD_COUNT + 1] = {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    {#NAME, encoding, NVIRT_VMCS_KIND_##kind, NVIRT_VMCS_GROUP_##group, NVIRT_VMCS_GATE_##gate},
#include <nvirt/vmcs_fields.def>
    {"?", 0xFFFF, 0, 0, 0}};

const uint16_t nvi_vmcs_encodings[NVIRT_VMCS_FIELD_COUNT] = {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) encoding,
#include <nvirt/vmcs_fields.def>
};

#define WIDTH_MASK(encoding)                                                                       \
    (ENCODING_WIDTH(encoding) == NVIRT_VMCS_WIDTH_16   ? NVIRT_BITS(15, 0)                          \
     : ENCODING_WIDTH(encoding) == NVIRT_VMCS_WIDTH_32 ? NVIRT_BITS(31, 0)                          \
                                                       : ~UINT64_C(0))

const uint64_t nvi_vmcs_masks[NVIRT_VMCS_FIELD_COUNT] = {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) WIDTH_MASK(encoding),
#include <nvirt/vmcs_fields.def>
};

const uint8_t nvi_vmcs_groups[NVIRT_VMCS_FIELD_COUNT] = {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate) NVIRT_VMCS_GROUP_##group,
#include <nvirt/vmcs_fields.def>
};

const uint8_t nvi_vmcs_fields_by_slot[NVI_VMCS_SLOTS] = {
#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    [NVI_VMCS_SLOT(encoding)] = NVIRT_VMCS_##NAME + 1,
#include <nvirt/vmcs_fields.def>
};

#define NVIRT_VMCS_FIELD(NAME, member, encoding, kind, group, gate)                                \
    NVIRT_STATIC_ASSERT(ENCODING_KIND(encoding) == NVIRT_VMCS_KIND_##kind &&                       \
                            ENCODING_INDEX(encoding) < COLUMNS &&                                  \
                            ((encoding) & (ENCODING_RESERVED | ENCODING_HIGH)) == 0,               \
                        "row " #NAME " disagrees with its encoding");
#include <nvirt/vmcs_fields.def>

NVIRT_STATIC_ASSERT(NVIRT_VMCS_FIELD_COUNT < 256, "nvi_vmcs_fields_by_slot holds bytes");

const struct nvirt_vmcs_field_info *nvirt_vmcs_info(enum nvirt_vmcs_field field)
{
    return &rows[(uint32_t)field < NVIRT_VMCS_FIELD_COUNT ? (uint32_t)field
                                                          : NVIRT_VMCS_FIELD_COUNT];
}

const char *nvirt_vmcs_field_name(enum nvirt_vmcs_field field)
{
    return nvirt_vmcs_info(field)->name;
}

uint32_t nvirt_vmcs_field_encoding(enum nvirt_vmcs_field field)
{
    return nvirt_vmcs_info(field)->encoding;
}

enum nvirt_vmcs_width nvirt_vmcs_field_width(enum nvirt_vmcs_field field)
{
    return (enum nvirt_vmcs_width)ENCODING_WIDTH(nvirt_vmcs_field_encoding(field));
}

enum nvirt_vmcs_kind nvirt_vmcs_field_kind(enum nvirt_vmcs_field field)
{
    return (enum nvirt_vmcs_kind)nvirt_vmcs_info(field)->kind;
}

uint64_t nvirt_vmcs_truncate(enum nvirt_vmcs_field field, uint64_t value)
{
    return (uint32_t)field < NVIRT_VMCS_FIELD_COUNT ? value & nvi_vmcs_masks[field] : value;
}

bool nvirt_vmcs_lookup(uint64_t encoding, enum nvirt_vmcs_field *field, bool *high)
{
    bool wants_high = (encoding & ENCODING_HIGH) != 0;
    uint32_t slot = NVI_VMCS_SLOT(encoding);
    uint32_t found;

    if ((encoding & ENCODING_RESERVED) != 0 || ENCODING_INDEX(encoding) >= COLUMNS) {
        return false;
    }
    if (wants_high && ENCODING_WIDTH(encoding) != NVIRT_VMCS_WIDTH_64) {
        return false;
    }
    /* The slot has each part masked, so the index stays inside the table whatever is guessed above. */
    found = nvi_vmcs_fields_by_slot[slot];
    if (found == 0) {
        return false;
    }
    *field = (enum nvirt_vmcs_field)(found - 1);
    *high = wants_high;
    return true;
}

/* ---- which fields exist ---- */

enum gate_word {
    WORD_NONE = 0,
    WORD_TRUE,
    WORD_PIN,
    WORD_PROC,
    WORD_PROC2,
    WORD_PROC3,
    WORD_EXIT,
    WORD_EXIT2,
    WORD_ENTRY,
    WORD_VMFUNC,
    WORD_CR3_TARGETS
};

struct gate {
    uint8_t word, other;
    uint64_t mask, other_mask;
};

static const struct gate gates[NVIRT_VMCS_GATE_COUNT] = {
#define NVIRT_VMCS_GATE(NAME, word, mask, other, other_mask)                                       \
    {WORD_##word, WORD_##other, mask, other_mask},
    NVIRT_VMCS_GATES(NVIRT_VMCS_GATE)
#undef NVIRT_VMCS_GATE
};

/* True when the capabilities allow @p mask, one bit of control word @p word, to be 1. */
static bool is_allowed(const struct nvirt_vmx_caps *caps, uint32_t word, uint64_t mask)
{
    switch (word) {
    case WORD_TRUE:
        return true;
    case WORD_PIN:
        return ((caps->pin >> 32) & mask) != 0;
    case WORD_PROC:
        return ((caps->proc >> 32) & mask) != 0;
    case WORD_PROC2:
        return is_allowed(caps, WORD_PROC, NVIRT_VMX_PROC_SECONDARY) &&
               ((caps->proc2 >> 32) & mask) != 0;
    case WORD_PROC3:
        return is_allowed(caps, WORD_PROC, NVIRT_VMX_PROC_TERTIARY) && (caps->proc3 & mask) != 0;
    case WORD_EXIT:
        return ((caps->exit >> 32) & mask) != 0;
    case WORD_EXIT2:
        return is_allowed(caps, WORD_EXIT, NVIRT_VMX_EXIT_CTL_SECONDARY) &&
               (caps->exit2 & mask) != 0;
    case WORD_ENTRY:
        return ((caps->entry >> 32) & mask) != 0;
    case WORD_VMFUNC:
        return is_allowed(caps, WORD_PROC2, NVIRT_VMX_PROC2_VMFUNC) && (caps->vmfunc & mask) != 0;
    case WORD_CR3_TARGETS:
        return (caps->misc & NVIRT_VMX_MISC_CR3_TARGETS) >> NVIRT_VMX_MISC_CR3_TARGETS_SHIFT >=
               mask;
    default:
        return false;
    }
}

bool nvirt_vmcs_field_exists(const struct nvirt_vmx_caps *caps, enum nvirt_vmcs_field field)
{
    const struct gate *gate;

    if ((uint32_t)field >= NVIRT_VMCS_FIELD_COUNT) {
        return false;
    }
    gate = &gates[rows[field].gate];
    return is_allowed(caps, gate->word, gate->mask) ||
           is_allowed(caps, gate->other, gate->other_mask);
}

/* The control words of capability MSRs that have two, and those that have one. */
static void forbid(struct nvirt_vmx_caps *caps, uint32_t word, uint64_t mask)
{
    switch (word) {
    case WORD_PIN:
        caps->pin &= ~(mask << 32);
        caps->true_pin &= ~(mask << 32);
        break;
    case WORD_PROC:
        caps->proc &= ~(mask << 32);
        caps->true_proc &= ~(mask << 32);
        break;
    case WORD_PROC2:
        caps->proc2 &= ~(mask << 32);
        break;
    case WORD_PROC3:
        caps->proc3 &= ~mask;
        break;
    case WORD_EXIT:
        caps->exit &= ~(mask << 32);
        caps->true_exit &= ~(mask << 32);
        break;
    case WORD_EXIT2:
        caps->exit2 &= ~mask;
        break;
    case WORD_ENTRY:
        caps->entry &= ~(mask << 32);
        caps->true_entry &= ~(mask << 32);
        break;
    case WORD_VMFUNC:
        caps->vmfunc &= ~mask;
        break;
    default:
        break;
    }
}

void nvi_vmcs_withdraw(struct nvirt_vmx_caps *caps, enum nvirt_vmcs_field field)
{
    const struct gate *gate = &gates[rows[field].gate];

    forbid(caps, gate->word, gate->mask);
    forbid(caps, gate->other, gate->other_mask);
    if (((caps->pin >> 32) & NVIRT_VMX_PIN_PREEMPTION_TIMER) == 0) {
        forbid(caps, WORD_EXIT, NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER);
    }
}

bool nvirt_vmx_caps_msr(const struct nvirt_vmx_caps *caps, uint32_t msr, uint64_t *value)
{
    bool exists = true;

    switch (msr) {
    case NVIRT_MSR_VMX_TRUE_PINBASED_CTLS:
    case NVIRT_MSR_VMX_TRUE_PROCBASED_CTLS:
    case NVIRT_MSR_VMX_TRUE_EXIT_CTLS:
    case NVIRT_MSR_VMX_TRUE_ENTRY_CTLS:
        exists = (caps->basic & NVIRT_VMX_BASIC_TRUE) != 0;
        break;
    case NVIRT_MSR_VMX_PROCBASED_CTLS2:
        exists = is_allowed(caps, WORD_PROC, NVIRT_VMX_PROC_SECONDARY);
        break;
    case NVIRT_MSR_VMX_EPT_VPID_CAP:
        exists = is_allowed(caps, WORD_PROC2, NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID);
        break;
    case NVIRT_MSR_VMX_VMFUNC:
        exists = is_allowed(caps, WORD_PROC2, NVIRT_VMX_PROC2_VMFUNC);
        break;
    case NVIRT_MSR_VMX_PROCBASED_CTLS3:
        exists = is_allowed(caps, WORD_PROC, NVIRT_VMX_PROC_TERTIARY);
        break;
    case NVIRT_MSR_VMX_EXIT_CTLS2:
        exists = is_allowed(caps, WORD_EXIT, NVIRT_VMX_EXIT_CTL_SECONDARY);
        break;
    default:
        break;
    }
    if (!exists) {
        return false;
    }
    switch (msr) {
#define NVIRT_VMX_MSR(NAME, member, address)                                                       \
    case NVIRT_MSR_VMX_##NAME:                                                                     \
        *value = caps->member;                                                                     \
        return true;
        NVIRT_VMX_CAPABILITY_MSRS(NVIRT_VMX_MSR)
#undef NVIRT_VMX_MSR
    default:
        return false;
    }
}

const char *nvirt_vmx_exit_reason_name(uint32_t basic_reason)
{
    static const char *const names[NVIRT_VMX_EXIT_REASON_LIMIT] = {
#define NVIRT_VMX_REASON(NAME, number) [number] = #NAME,
        NVIRT_VMX_EXIT_REASONS(NVIRT_VMX_REASON)
#undef NVIRT_VMX_REASON
    };

    if (basic_reason >= NVIRT_VMX_EXIT_REASON_LIMIT || names[basic_reason] == NULL) {
        return "?";
    }
    return names[basic_reason];
}
