/* SPDX-License-Identifier: MIT */
/*
 * The entry checks as the rest of nvirt calls them: the rules of each area, and what L1 is to see
 * when one is broken [SDM 3C "VM Entries"].
 */
#include "vmcs/check.h"

const char *nvi_vmx_rule_name(enum nvi_vmx_rule rule)
{
    static const char *const names[NVI_VMX_RULE_COUNT] = {
        "",
#define NVI_VMX_RULE(name, manual, section, text) #name,
#include "vmcs/rules.def"
#undef NVI_VMX_RULE
    };

    return (uint32_t)rule < NVI_VMX_RULE_COUNT ? names[rule] : "";
}

static bool vmfail(enum nvi_vmx_rule rule, uint32_t error, struct nvi_vmx_check_out *out)
{
    *out = (struct nvi_vmx_check_out){.rule = rule};
    if (rule == NVI_VMX_RULE_NONE) {
        return true;
    }
    out->vm_error = error;
    return false;
}

/* Only two causes have a qualification of their own among those tested here. */
static uint64_t qualification_of(enum nvi_vmx_rule rule)
{
    if (rule >= NVI_RULE_VMX_GUEST_LINK_ALIGNED && rule <= NVI_RULE_VMX_GUEST_LINK_CURRENT) {
        return NVIRT_VMX_ENTRY_FAIL_VMCS_LINK;
    }
    return rule == NVI_RULE_VMX_GUEST_PDPTE ? NVIRT_VMX_ENTRY_FAIL_PDPTE
                                            : NVIRT_VMX_ENTRY_FAIL_DEFAULT;
}

static bool entry_failure(enum nvi_vmx_rule rule, struct nvi_vmx_check_out *out)
{
    *out = (struct nvi_vmx_check_out){.rule = rule};
    if (rule == NVI_VMX_RULE_NONE) {
        return true;
    }
    out->exit_reason = NVIRT_VMX_EXIT_ENTRY_GUEST_STATE;
    out->qualification = qualification_of(rule);
    return false;
}

bool nvi_vmx_check_controls(const struct nvi_vmx_check_in *in, struct nvi_vmx_check_out *out)
{
    enum nvi_vmx_rule rule = NVI_VMX_RULE_NONE;

    if ((in->known & NVI_VMX_KNOWN_CONTROLS) == 0) {
        rule = nvi_vmx_rules_execution(in);
        if (rule == NVI_VMX_RULE_NONE) {
            rule = nvi_vmx_rules_exit_entry(in);
        }
    }
    return vmfail(rule, NVIRT_VMX_ERR_ENTRY_CONTROLS, out);
}

bool nvi_vmx_check_host(const struct nvi_vmx_check_in *in, struct nvi_vmx_check_out *out)
{
    bool known = (in->known & NVI_VMX_KNOWN_HOST) != 0;

    return vmfail(known ? NVI_VMX_RULE_NONE : nvi_vmx_rules_host(in),
                  NVIRT_VMX_ERR_ENTRY_HOST_STATE, out);
}

static enum nvi_vmx_rule segments_and_tables(const struct nvi_vmx_check_in *in)
{
    enum nvi_vmx_rule rule = nvi_vmx_rules_guest_segments(in);

    return rule == NVI_VMX_RULE_NONE ? nvi_vmx_rules_guest_tables(in) : rule;
}

bool nvi_vmx_check_guest(const struct nvi_vmx_check_in *in, struct nvi_vmx_check_out *out)
{
    enum nvi_vmx_rule rule = NVI_VMX_RULE_NONE;

    if ((in->known & NVI_VMX_KNOWN_REGISTERS) == 0) {
        rule = nvi_vmx_rules_guest_registers(in);
    }
    if (rule == NVI_VMX_RULE_NONE && (in->known & NVI_VMX_KNOWN_SEGMENTS) == 0) {
        rule = segments_and_tables(in);
    }
    if (rule == NVI_VMX_RULE_NONE && (in->known & NVI_VMX_KNOWN_FLOW) == 0) {
        rule = nvi_vmx_rules_guest_rest(in);
    }
    return entry_failure(rule, out);
}

bool nvi_vmx_check_pdptes(const struct nvi_vmx_check_in *in, const uint64_t pdpte[4],
                          struct nvi_vmx_check_out *out)
{
    return entry_failure(nvi_vmx_rules_pdptes(in, pdpte), out);
}

bool nvi_vmx_canonical(uint64_t address, uint32_t linear_bits)
{
    uint64_t upper = address >> (linear_bits - 1);

    return upper == 0 || upper == ~UINT64_C(0) >> (linear_bits - 1);
}

bool nvi_vmx_s_cet_is_valid(const struct nvirt_vmx_cpu_facts *facts, uint64_t value)
{
    return (value & ~facts->s_cet_valid) == 0 && nvi_vmx_s_cet_tracks(value) &&
           nvi_vmx_canonical(value, facts->linear_bits);
}

bool nvi_vmx_pat_is_valid(uint64_t pat)
{
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t type = (pat >> (8 * i)) & 0xff;

        /* [SDM 3A "IA32_PAT MSR"]: 0 UC, 1 WC, 4 WT, 5 WP, 6 WB, 7 UC-. */
        if (type > 7 || type == 2 || type == 3) {
            return false;
        }
    }
    return true;
}
