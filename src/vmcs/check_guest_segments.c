/* SPDX-License-Identifier: MIT */
/*
 * Entry checks on guest segment registers [SDM 3C "Checks on Guest Segment Registers"], in manual
 * order: selectors, bases, limits, access rights; then TR and LDTR. CS is checked whether or not it
 * is marked unusable, the other registers only while usable.
 */
#include "vmcs/check.h"

#define SELECTOR_RPL NVIRT_BITS(1, 0)
#define SELECTOR_TI NVIRT_BIT(2)
#define V86_AR UINT64_C(0xF3)
#define V86_LIMIT UINT64_C(0xFFFF)

#define TYPE_ACCESSED 1u
#define TYPE_READABLE 2u /* Of code; of data the same bit means writable. */
#define TYPE_CODE 8u
#define TYPE_CONFORMING 12u /* And above. */
#define TYPE_DATA_RW_ACCESSED 3u
#define TYPE_DATA_DOWN_RW_ACCESSED 7u
#define TYPE_LDT 2u
#define TYPE_TSS16_BUSY 3u
#define TYPE_TSS_BUSY 11u

struct segment {
    uint64_t selector, base, limit, ar;
};

#define SEGMENT(v12, name)                                                                         \
    ((struct segment){(v12)->guest_##name##_selector, (v12)->guest_##name##_base,                  \
                      (v12)->guest_##name##_limit, (v12)->guest_##name##_ar})

/* Code and data segments, CS first; DATA_FIRST and up are those with the same rules. */
enum {
    CS = 0,
    SS,
    DS,
    ES,
    FS,
    GS,
    SEGMENTS,
    DATA_FIRST = DS
};

static void segments_of(const struct nvirt_vmcs *v12, struct segment out[SEGMENTS])
{
    out[CS] = SEGMENT(v12, cs);
    out[SS] = SEGMENT(v12, ss);
    out[DS] = SEGMENT(v12, ds);
    out[ES] = SEGMENT(v12, es);
    out[FS] = SEGMENT(v12, fs);
    out[GS] = SEGMENT(v12, gs);
}

static bool is_usable(const struct segment *s)
{
    return (s->ar & NVIRT_VMX_AR_UNUSABLE) == 0;
}

static uint32_t type_of(const struct segment *s)
{
    return (uint32_t)(s->ar & NVIRT_VMX_AR_TYPE);
}

static uint64_t dpl_of(const struct segment *s)
{
    return (s->ar & NVIRT_VMX_AR_DPL) >> NVIRT_VMX_AR_DPL_SHIFT;
}

static uint64_t rpl_of(const struct segment *s)
{
    return s->selector & SELECTOR_RPL;
}

static bool is_present(const struct segment *s)
{
    return (s->ar & NVIRT_VMX_AR_P) != 0;
}

static bool is_system(const struct segment *s)
{
    return (s->ar & NVIRT_VMX_AR_S) == 0;
}

/* A limit that is no multiple of 4 KiB minus 1 has byte granularity. */
static bool g_clear_if_needed(const struct segment *s)
{
    return (s->limit & 0xFFF) == 0xFFF || (s->ar & NVIRT_VMX_AR_G) == 0;
}

/* A limit of more than 20 bits has page granularity. */
static bool g_set_if_needed(const struct segment *s)
{
    return (s->limit & NVIRT_BITS(31, 20)) == 0 || (s->ar & NVIRT_VMX_AR_G) != 0;
}

/* ---- selectors, bases, limits ---- */

static enum nvi_vmx_rule selectors(const struct nvi_vmx_check_in *in,
                                   const struct segment s[SEGMENTS])
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    const struct segment ldtr = SEGMENT(v12, ldtr);

    NVIRT_RULE(VMX_GUEST_TR_TI, (v12->guest_tr_selector & SELECTOR_TI) == 0);
    NVIRT_RULE(VMX_GUEST_LDTR_TI, !is_usable(&ldtr) || (ldtr.selector & SELECTOR_TI) == 0);
    NVIRT_RULE(VMX_GUEST_SS_RPL, nvi_vmx_guest_v86(v12) || nvi_vmx_unrestricted(v12) ||
                                     rpl_of(&s[SS]) == rpl_of(&s[CS]));
    return NVI_VMX_RULE_NONE;
}

static bool bases_are_canonical(const struct nvi_vmx_check_in *in,
                                const struct segment s[SEGMENTS])
{
    const struct segment ldtr = SEGMENT(in->vmcs12, ldtr);

    return nvi_vmx_is_canonical_in(in, in->vmcs12->guest_tr_base) &&
           nvi_vmx_is_canonical_in(in, s[FS].base) && nvi_vmx_is_canonical_in(in, s[GS].base) &&
           (!is_usable(&ldtr) || nvi_vmx_is_canonical_in(in, ldtr.base));
}

static enum nvi_vmx_rule bases(const struct nvi_vmx_check_in *in,
                               const struct segment s[SEGMENTS])
{
    if (nvi_vmx_guest_v86(in->vmcs12)) {
        for (uint32_t i = 0; i < SEGMENTS; i++) {
            NVIRT_RULE(VMX_GUEST_V86_BASE, s[i].base == s[i].selector << 4);
        }
    }
    NVIRT_RULE(VMX_GUEST_BASE_CANONICAL, bases_are_canonical(in, s));
    for (uint32_t i = CS; i <= ES; i++) {
        NVIRT_RULE(VMX_GUEST_BASE_HIGH, (i != CS && !is_usable(&s[i])) || s[i].base >> 32 == 0);
    }
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule v86_segments(const struct segment s[SEGMENTS])
{
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        NVIRT_RULE(VMX_GUEST_V86_LIMIT, s[i].limit == V86_LIMIT);
    }
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        NVIRT_RULE(VMX_GUEST_V86_AR, s[i].ar == V86_AR);
    }
    return NVI_VMX_RULE_NONE;
}

/* ---- access rights outside virtual-8086 mode ---- */

static bool cs_type_is_valid(const struct nvirt_vmcs *v12, const struct segment *cs)
{
    uint32_t type = type_of(cs);

    if (type == TYPE_DATA_RW_ACCESSED) {
        return nvi_vmx_unrestricted(v12);
    }
    return (type & TYPE_CODE) != 0 && (type & TYPE_ACCESSED) != 0;
}

static enum nvi_vmx_rule types(const struct nvirt_vmcs *v12, const struct segment s[SEGMENTS])
{
    NVIRT_RULE(VMX_GUEST_CS_TYPE, cs_type_is_valid(v12, &s[CS]));
    NVIRT_RULE(VMX_GUEST_SS_TYPE, !is_usable(&s[SS]) || type_of(&s[SS]) == TYPE_DATA_RW_ACCESSED ||
                                      type_of(&s[SS]) == TYPE_DATA_DOWN_RW_ACCESSED);
    for (uint32_t i = DATA_FIRST; i < SEGMENTS; i++) {
        uint32_t type = type_of(&s[i]);

        if (!is_usable(&s[i])) {
            continue;
        }
        NVIRT_RULE(VMX_GUEST_DATA_ACCESSED, (type & TYPE_ACCESSED) != 0);
        NVIRT_RULE(VMX_GUEST_DATA_READABLE,
                   (type & TYPE_CODE) == 0 || (type & TYPE_READABLE) != 0);
    }
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule cs_and_ss_dpl(const struct nvirt_vmcs *v12,
                                       const struct segment s[SEGMENTS])
{
    uint32_t type = type_of(&s[CS]);
    bool data = type == TYPE_DATA_RW_ACCESSED;
    bool conforming = type >= TYPE_CONFORMING;
    bool real = (v12->guest_cr0 & NVIRT_CR0_PE) == 0;

    NVIRT_RULE(VMX_GUEST_CS_DPL_DATA, !data || dpl_of(&s[CS]) == 0);
    NVIRT_RULE(VMX_GUEST_CS_DPL_EQUAL,
               data || conforming || dpl_of(&s[CS]) == dpl_of(&s[SS]));
    NVIRT_RULE(VMX_GUEST_CS_DPL_CONFORMING, !conforming || dpl_of(&s[CS]) <= dpl_of(&s[SS]));
    NVIRT_RULE(VMX_GUEST_SS_DPL_RPL,
               nvi_vmx_unrestricted(v12) || dpl_of(&s[SS]) == rpl_of(&s[SS]));
    NVIRT_RULE(VMX_GUEST_SS_DPL_ZERO, (!data && !real) || dpl_of(&s[SS]) == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule data_dpl(const struct nvirt_vmcs *v12, const struct segment s[SEGMENTS])
{
    if (nvi_vmx_unrestricted(v12)) {
        return NVI_VMX_RULE_NONE;
    }
    for (uint32_t i = DATA_FIRST; i < SEGMENTS; i++) {
        NVIRT_RULE(VMX_GUEST_DATA_DPL, !is_usable(&s[i]) || type_of(&s[i]) >= TYPE_CONFORMING ||
                                           dpl_of(&s[i]) >= rpl_of(&s[i]));
    }
    return NVI_VMX_RULE_NONE;
}

/* The bits that mean the same in CS and in every usable register. */
static enum nvi_vmx_rule common_bits(const struct segment *s)
{
    NVIRT_RULE(VMX_GUEST_SEGMENT_S, !is_system(s));
    NVIRT_RULE(VMX_GUEST_SEGMENT_P, is_present(s));
    NVIRT_RULE(VMX_GUEST_SEGMENT_RESERVED_LOW, (s->ar & NVIRT_VMX_AR_RESERVED_LOW) == 0);
    NVIRT_RULE(VMX_GUEST_SEGMENT_G_CLEAR, g_clear_if_needed(s));
    NVIRT_RULE(VMX_GUEST_SEGMENT_G_SET, g_set_if_needed(s));
    NVIRT_RULE(VMX_GUEST_SEGMENT_RESERVED_HIGH, (s->ar & NVIRT_VMX_AR_RESERVED_HIGH) == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule access_rights(const struct nvirt_vmcs *v12,
                                       const struct segment s[SEGMENTS])
{
    bool wide = nvi_vmx_guest_ia32e(v12) && (s[CS].ar & NVIRT_VMX_AR_L) != 0;

    NVIRT_RULES(types(v12, s));
    NVIRT_RULES(cs_and_ss_dpl(v12, s));
    NVIRT_RULES(data_dpl(v12, s));
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        if (i == CS || is_usable(&s[i])) {
            NVIRT_RULES(common_bits(&s[i]));
        }
    }
    NVIRT_RULE(VMX_GUEST_CS_DB, !wide || (s[CS].ar & NVIRT_VMX_AR_DB) == 0);
    return NVI_VMX_RULE_NONE;
}

/* ---- TR and LDTR ---- */

static enum nvi_vmx_rule tr(const struct nvirt_vmcs *v12)
{
    const struct segment s = SEGMENT(v12, tr);
    bool ia32e = nvi_vmx_guest_ia32e(v12);

    NVIRT_RULE(VMX_GUEST_TR_TYPE,
               type_of(&s) == TYPE_TSS_BUSY || (!ia32e && type_of(&s) == TYPE_TSS16_BUSY));
    NVIRT_RULE(VMX_GUEST_TR_S, is_system(&s));
    NVIRT_RULE(VMX_GUEST_TR_P, is_present(&s));
    NVIRT_RULE(VMX_GUEST_TR_RESERVED_LOW, (s.ar & NVIRT_VMX_AR_RESERVED_LOW) == 0);
    NVIRT_RULE(VMX_GUEST_TR_G_CLEAR, g_clear_if_needed(&s));
    NVIRT_RULE(VMX_GUEST_TR_G_SET, g_set_if_needed(&s));
    NVIRT_RULE(VMX_GUEST_TR_USABLE, is_usable(&s));
    NVIRT_RULE(VMX_GUEST_TR_RESERVED_HIGH, (s.ar & NVIRT_VMX_AR_RESERVED_HIGH) == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule ldtr(const struct nvirt_vmcs *v12)
{
    const struct segment s = SEGMENT(v12, ldtr);

    if (!is_usable(&s)) {
        return NVI_VMX_RULE_NONE;
    }
    NVIRT_RULE(VMX_GUEST_LDTR_TYPE, type_of(&s) == TYPE_LDT);
    NVIRT_RULE(VMX_GUEST_LDTR_S, is_system(&s));
    NVIRT_RULE(VMX_GUEST_LDTR_P, is_present(&s));
    NVIRT_RULE(VMX_GUEST_LDTR_RESERVED_LOW, (s.ar & NVIRT_VMX_AR_RESERVED_LOW) == 0);
    NVIRT_RULE(VMX_GUEST_LDTR_G_CLEAR, g_clear_if_needed(&s));
    NVIRT_RULE(VMX_GUEST_LDTR_G_SET, g_set_if_needed(&s));
    NVIRT_RULE(VMX_GUEST_LDTR_RESERVED_HIGH, (s.ar & NVIRT_VMX_AR_RESERVED_HIGH) == 0);
    return NVI_VMX_RULE_NONE;
}

enum nvi_vmx_rule nvi_vmx_rules_guest_segments(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    struct segment s[SEGMENTS];

    segments_of(v12, s);
    NVIRT_RULES(selectors(in, s));
    NVIRT_RULES(bases(in, s));
    NVIRT_RULES(nvi_vmx_guest_v86(v12) ? v86_segments(s) : access_rights(v12, s));
    NVIRT_RULES(tr(v12));
    NVIRT_RULES(ldtr(v12));
    return NVI_VMX_RULE_NONE;
}
