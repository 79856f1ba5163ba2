/* SPDX-License-Identifier: MIT */
/*
 * The consistency checks of VMRUN, one named rule per condition of the manual. A rule that is
 * broken ends the check: L1 sees only VMEXIT_INVALID, the name goes to the trace.
 */
#include "vmcb/vmcb_core.h"

/* One rule: its name in rules.def and the condition that must hold. */
#define NVIRT_RULE(name, holds)                                                                    \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            return NVI_RULE_##name;                                                                \
        }                                                                                          \
    } while (0)

/* True when no byte of [base, base + bytes) is at or above 2^physical_bits. The low bits of a map's
 * base are ignored by hardware. */
static bool map_is_in_range(uint64_t base, uint64_t bytes, uint32_t physical_bits)
{
    uint64_t limit = UINT64_C(1) << physical_bits;
    uint64_t first = base & NVIRT_PAGE_MASK;

    return first < limit && bytes <= limit - first;
}

static bool address_is_in_range(uint64_t value, uint32_t physical_bits)
{
    return (value >> physical_bits) == 0;
}

/* [APM 2 "Page-Attribute Table MSR"]: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-. */
static bool pat_is_valid(uint64_t pat)
{
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t type = (pat >> (i * 8)) & 0xff;

        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}

static bool event_is_valid(const struct nvirt_vmcb *vmcb12)
{
    return (vmcb12->event_inj & NVIRT_SVM_EVENT_VALID) != 0;
}

static uint32_t event_type(const struct nvirt_vmcb *vmcb12)
{
    return (uint32_t)((vmcb12->event_inj & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT);
}

static bool event_type_exists(uint32_t type)
{
    return type == NVIRT_SVM_EVENT_INTR || type == NVIRT_SVM_EVENT_NMI ||
           type == NVIRT_SVM_EVENT_EXCEPTION || type == NVIRT_SVM_EVENT_SOFTWARE;
}

/* A rule about one group of fields holds as long as none of them changed. */
#define GROUP_RULE(group, name, holds)                                                             \
    NVIRT_RULE(name, (in->fresh & NVIRT_VMCB_CLEAN_##group) == 0 || (holds))

static enum nvi_svm_rule check_registers(const struct nvi_svm_check_in *in)
{
    const struct nvirt_vmcb *v = in->vmcb12;

    GROUP_RULE(CRX, SVM_EFER_SVME, (v->efer & NVIRT_SVM_EFER_SVME) != 0);
    GROUP_RULE(CRX, SVM_CR0_CD_NW, (v->cr0 & NVIRT_CR0_NW) == 0 || (v->cr0 & NVIRT_CR0_CD) != 0);
    GROUP_RULE(CRX, SVM_CR0_HIGH, (v->cr0 >> 32) == 0);
    GROUP_RULE(CRX, SVM_CR3_RESERVED, address_is_in_range(v->cr3, in->offer->physical_bits));
    GROUP_RULE(CRX, SVM_CR4_RESERVED, (v->cr4 & ~in->offer->cr4_valid) == 0);
    GROUP_RULE(DRX, SVM_DR6_HIGH, (v->dr6 >> 32) == 0);
    GROUP_RULE(DRX, SVM_DR7_HIGH, (v->dr7 >> 32) == 0);
    return NVI_SVM_RULE_NONE;
}

static enum nvi_svm_rule check_mode(const struct nvi_svm_check_in *in)
{
    const struct nvirt_vmcb *v = in->vmcb12;
    bool enters_long = (v->efer & NVIRT_SVM_EFER_LME) != 0 && (v->cr0 & NVIRT_CR0_PG) != 0;
    bool cs_l_and_d =
        (v->cs.attrib & (NVIRT_VMCB_SEG_L | NVIRT_VMCB_SEG_DB)) ==
        (NVIRT_VMCB_SEG_L | NVIRT_VMCB_SEG_DB);

    GROUP_RULE(CRX, SVM_EFER_LONG_MODE,
               in->offer->long_mode ||
                   (v->efer & (NVIRT_SVM_EFER_LME | NVIRT_SVM_EFER_LMA)) == 0);
    GROUP_RULE(CRX, SVM_EFER_RESERVED, (v->efer & ~in->offer->efer_valid) == 0);
    GROUP_RULE(CRX, SVM_LONG_MODE_PAE, !enters_long || (v->cr4 & NVIRT_CR4_PAE) != 0);
    GROUP_RULE(CRX, SVM_LONG_MODE_PE, !enters_long || (v->cr0 & NVIRT_CR0_PE) != 0);
    NVIRT_RULE(SVM_LONG_MODE_CS, !enters_long || !cs_l_and_d);
    return NVI_SVM_RULE_NONE;
}

static enum nvi_svm_rule check_controls(const struct nvi_svm_check_in *in)
{
    const struct nvirt_vmcb *v = in->vmcb12;
    uint32_t bits = in->offer->physical_bits;

    GROUP_RULE(INTERCEPTS, SVM_VMRUN_INTERCEPT, nvirt_vmcb_intercepts(v, NVIRT_SVM_EXIT_VMRUN));
    NVIRT_RULE(SVM_VNMI_INTERCEPT, !nvi_svm_vnmi12(v, in->offer) ||
                                       nvirt_vmcb_intercepts(v, NVIRT_SVM_EXIT_NMI));
    GROUP_RULE(IOPM, SVM_MSRPM_RANGE,
               map_is_in_range(v->msrpm_base, NVIRT_SVM_MSRPM_BYTES, bits));
    GROUP_RULE(IOPM, SVM_IOPM_RANGE, map_is_in_range(v->iopm_base, NVIRT_SVM_IOPM_BYTES, bits));
    return NVI_SVM_RULE_NONE;
}

static enum nvi_svm_rule check_event(const struct nvi_svm_check_in *in)
{
    const struct nvirt_vmcb *v = in->vmcb12;
    uint32_t vector = (uint32_t)(v->event_inj & NVIRT_SVM_EVENT_VECTOR);
    bool exception = event_type(v) == NVIRT_SVM_EVENT_EXCEPTION;

    if (event_is_valid(v)) {
        NVIRT_RULE(SVM_EVENT_TYPE, event_type_exists(event_type(v)));
        NVIRT_RULE(SVM_EVENT_VECTOR, !exception || (vector < 32 && vector != NVIRT_VECTOR_NMI));
    }
    GROUP_RULE(ASID, SVM_ASID_ZERO, v->asid != 0);
    return NVI_SVM_RULE_NONE;
}

static enum nvi_svm_rule check_nested_paging(const struct nvi_svm_check_in *in)
{
    const struct nvirt_vmcb *v = in->vmcb12;

    if (nvi_svm_np12(v, in->offer)) {
        NVIRT_RULE(SVM_NP_HOST_PAGING, in->host_paging);
        GROUP_RULE(NP, SVM_NP_CR3, address_is_in_range(v->n_cr3, in->offer->physical_bits));
        GROUP_RULE(NP, SVM_NP_PAT, pat_is_valid(v->g_pat));
    }
    return NVI_SVM_RULE_NONE;
}

/* Rules that compare control registers with each other and with CS. */
#define MODE_GROUPS (NVIRT_VMCB_CLEAN_CRX | NVIRT_VMCB_CLEAN_SEG)
#define REGISTER_GROUPS (NVIRT_VMCB_CLEAN_CRX | NVIRT_VMCB_CLEAN_DRX)
#define CONTROL_GROUPS                                                                             \
    (NVIRT_VMCB_CLEAN_INTERCEPTS | NVIRT_VMCB_CLEAN_TPR | NVIRT_VMCB_CLEAN_IOPM)

enum nvi_svm_rule nvi_svm_check(const struct nvi_svm_check_in *in)
{
    enum nvi_svm_rule rule = NVI_SVM_RULE_NONE;

    if ((in->fresh & REGISTER_GROUPS) != 0) {
        rule = check_registers(in);
    }
    if (rule == NVI_SVM_RULE_NONE && (in->fresh & MODE_GROUPS) != 0) {
        rule = check_mode(in);
    }
    if (rule == NVI_SVM_RULE_NONE && (in->fresh & CONTROL_GROUPS) != 0) {
        rule = check_controls(in);
    }
    if (rule == NVI_SVM_RULE_NONE) {
        rule = check_event(in);
    }
    if (rule == NVI_SVM_RULE_NONE) {
        rule = check_nested_paging(in);
    }
    return rule;
}

const char *nvi_svm_rule_name(enum nvi_svm_rule rule)
{
    switch (rule) {
#define NVI_SVM_RULE(name, manual, section, text)                                                  \
    case NVI_RULE_##name:                                                                          \
        return #name;
#include "vmcb/rules.def"
#undef NVI_SVM_RULE
    case NVI_SVM_RULE_NONE:
    case NVI_SVM_RULE_COUNT:
        break;
    }
    return "";
}
