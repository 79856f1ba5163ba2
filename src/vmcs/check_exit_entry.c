/* SPDX-License-Identifier: MIT */
/*
 * Entry checks on VM-exit and VM-entry control fields [SDM 3C "VM-Exit Control Fields",
 * "VM-Entry Control Fields", under "Checks on VMX Controls"], in manual order.
 */
#include "vmcs/check.h"

#define MSR_ENTRY_BYTES 16u
/* Exceptions that need an error code where IA32_VMX_BASIC[56] does not leave it open. #CP, which came
 * later, is not among them: such a CPU delivers it without. */
#define VECTORS_WITH_ERROR_CODE                                                                    \
    (NVIRT_BIT(NVIRT_VECTOR_DF) | NVIRT_BIT(NVIRT_VECTOR_TS) | NVIRT_BIT(NVIRT_VECTOR_NP) |        \
     NVIRT_BIT(NVIRT_VECTOR_SS) | NVIRT_BIT(NVIRT_VECTOR_GP) | NVIRT_BIT(NVIRT_VECTOR_PF) |        \
     NVIRT_BIT(NVIRT_VECTOR_AC))

/* ---- MSR lists: three rules each, once per list ---- */

static bool list_aligned(uint64_t count, uint64_t address)
{
    return count == 0 || (address & (MSR_ENTRY_BYTES - 1)) == 0;
}

static bool list_begins_in(const struct nvi_vmx_check_in *in, uint64_t count, uint64_t address)
{
    return count == 0 || nvi_vmx_within_width(in, address);
}

/* Counts are 32 bits wide and the address is within 52 bits here: no overflow. */
static bool list_ends_in(const struct nvi_vmx_check_in *in, uint64_t count, uint64_t address)
{
    return count == 0 || nvi_vmx_within_width(in, address + count * MSR_ENTRY_BYTES - 1);
}

static enum nvi_vmx_rule exit_controls(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    const struct nvirt_vmx_caps *offer = in->offer;
    uint64_t capability = nvi_vmx_governing(offer, offer->exit, offer->true_exit);
    uint64_t stores = v12->exit_msr_store_count;
    uint64_t loads = v12->exit_msr_load_count;

    NVIRT_RULE(VMX_CTL_EXIT_RESERVED, nvi_vmx_controls_fit(v12->exit_controls, capability));
    NVIRT_RULE(VMX_CTL_SAVE_TIMER,
               (v12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER) == 0 ||
                   (v12->pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0);
    NVIRT_RULE(VMX_CTL_EXIT_STORE_ALIGNED, list_aligned(stores, v12->exit_msr_store_addr));
    NVIRT_RULE(VMX_CTL_EXIT_STORE_WIDTH, list_begins_in(in, stores, v12->exit_msr_store_addr));
    NVIRT_RULE(VMX_CTL_EXIT_STORE_END, list_ends_in(in, stores, v12->exit_msr_store_addr));
    NVIRT_RULE(VMX_CTL_EXIT_LOAD_ALIGNED, list_aligned(loads, v12->exit_msr_load_addr));
    NVIRT_RULE(VMX_CTL_EXIT_LOAD_WIDTH, list_begins_in(in, loads, v12->exit_msr_load_addr));
    NVIRT_RULE(VMX_CTL_EXIT_LOAD_END, list_ends_in(in, loads, v12->exit_msr_load_addr));
    return NVI_VMX_RULE_NONE;
}

/* ---- the event to inject ---- */

static bool type_is_offered(const struct nvi_vmx_check_in *in)
{
    switch (nvi_vmx_event_type(in->vmcs12)) {
    case NVIRT_VMX_INTR_TYPE_RESERVED:
        return false;
    case NVIRT_VMX_INTR_TYPE_OTHER:
        return ((in->offer->proc >> 32) & NVIRT_VMX_PROC_MTF) != 0;
    default:
        return true;
    }
}

/* Whether an error code is possible at all. Real mode, which has none, is for an unrestricted guest
 * only: without that CR0.PE is no part of this rule. */
static bool may_push_error_code(const struct nvi_vmx_check_in *in)
{
    return nvi_vmx_injects(in->vmcs12, NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION) &&
           (!nvi_vmx_unrestricted(in->vmcs12) || (in->vmcs12->guest_cr0 & NVIRT_CR0_PE) != 0);
}

static bool vector_has_error_code(const struct nvi_vmx_check_in *in)
{
    return (VECTORS_WITH_ERROR_CODE & NVIRT_BIT(nvi_vmx_event_vector(in->vmcs12) & 31u)) != 0;
}

/* The CPU leaves it to whoever injects a hardware exception. */
static bool any_error_code(const struct nvi_vmx_check_in *in)
{
    return (in->offer->basic & NVIRT_VMX_BASIC_ANY_ERROR_CODE) != 0;
}

static bool is_software_event(const struct nvirt_vmcs *v12)
{
    return nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_SOFTWARE_INTERRUPT) ||
           nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_PRIVILEGED_SOFTWARE) ||
           nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_SOFTWARE_EXCEPTION);
}

static enum nvi_vmx_rule event_vector(const struct nvirt_vmcs *v12)
{
    uint64_t vector = nvi_vmx_event_vector(v12);

    NVIRT_RULE(VMX_CTL_EVENT_NMI_VECTOR,
               !nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_NMI) || vector == NVIRT_VECTOR_NMI);
    NVIRT_RULE(VMX_CTL_EVENT_EXCEPTION_VECTOR,
               !nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_HARDWARE_EXCEPTION) || vector <= 31);
    NVIRT_RULE(VMX_CTL_EVENT_OTHER_VECTOR,
               !nvi_vmx_injects(v12, NVIRT_VMX_INTR_TYPE_OTHER) || vector == 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule event(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    bool has_code = (v12->entry_interruption & NVIRT_VMX_INTR_ERROR_CODE) != 0;
    bool software = is_software_event(v12);

    NVIRT_RULE(VMX_CTL_EVENT_TYPE, type_is_offered(in));
    NVIRT_RULES(event_vector(v12));
    NVIRT_RULE(VMX_CTL_EVENT_ERROR_CODE_ABSENT, has_code || any_error_code(in) ||
                                                    !may_push_error_code(in) ||
                                                    !vector_has_error_code(in));
    NVIRT_RULE(VMX_CTL_EVENT_ERROR_CODE_PRESENT,
               !has_code || (may_push_error_code(in) &&
                             (any_error_code(in) || vector_has_error_code(in))));
    NVIRT_RULE(VMX_CTL_EVENT_RESERVED, (v12->entry_interruption & NVIRT_VMX_INTR_RESERVED) == 0);
    NVIRT_RULE(VMX_CTL_EVENT_ERROR_CODE_HIGH,
               !has_code || (v12->entry_error_code & NVIRT_BITS(31, 16)) == 0);
    NVIRT_RULE(VMX_CTL_EVENT_LENGTH, !software || v12->entry_insn_length <= NVI_VMX_INSN_LENGTH_MAX);
    NVIRT_RULE(VMX_CTL_EVENT_LENGTH_ZERO,
               !software || v12->entry_insn_length != 0 ||
                   (in->offer->misc & NVIRT_VMX_MISC_ZERO_LENGTH) != 0);
    return NVI_VMX_RULE_NONE;
}

static enum nvi_vmx_rule entry_controls(const struct nvi_vmx_check_in *in)
{
    const struct nvirt_vmcs *v12 = in->vmcs12;
    const struct nvirt_vmx_caps *offer = in->offer;
    uint64_t capability = nvi_vmx_governing(offer, offer->entry, offer->true_entry);
    uint64_t loads = v12->entry_msr_load_count;

    NVIRT_RULE(VMX_CTL_ENTRY_RESERVED, nvi_vmx_controls_fit(v12->entry_controls, capability));
    if (nvi_vmx_event_valid(v12)) {
        NVIRT_RULES(event(in));
    }
    NVIRT_RULE(VMX_CTL_ENTRY_LOAD_ALIGNED, list_aligned(loads, v12->entry_msr_load_addr));
    NVIRT_RULE(VMX_CTL_ENTRY_LOAD_WIDTH, list_begins_in(in, loads, v12->entry_msr_load_addr));
    NVIRT_RULE(VMX_CTL_ENTRY_LOAD_END, list_ends_in(in, loads, v12->entry_msr_load_addr));
    return NVI_VMX_RULE_NONE;
}

enum nvi_vmx_rule nvi_vmx_rules_exit_entry(const struct nvi_vmx_check_in *in)
{
    NVIRT_RULES(exit_controls(in));
    NVIRT_RULES(entry_controls(in));
    return NVI_VMX_RULE_NONE;
}
