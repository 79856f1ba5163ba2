/* SPDX-License-Identifier: MIT */
/*
 * What a VM exit means: for L1, whether it is nesting's business; for L2, whose it is, and what the
 * part of it that is nvirt's own comes to.
 *
 * [SDM 3C "VM Exits", "VMX Non-Root Operation"]
 */
#include "nested/vmx_evmcs.h"

static uint32_t interruption_of(struct nvirt_vmx_vcpu *v, uint32_t basic)
{
    if (basic != NVIRT_VMX_EXIT_EXCEPTION_NMI && basic != NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT) {
        return 0;
    }
    return (uint32_t)NVI_GET(v, EXIT_INTERRUPTION);
}

/* The exit is the host's. An event whose delivery it interrupted is delivered again, unless the
 * host writes the entry-interruption field. */
static void give_to_host(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_exit *exit, uint32_t reason)
{
    uint32_t basic = reason & (uint32_t)NVIRT_VMX_REASON_BASIC;

    exit->verdict = v->level == 2 ? NVIRT_VERDICT_L2 : NVIRT_VERDICT_L1;
    exit->qualification = nvi_vmx_qualification(v, nvi_vmx_running(v), reason);
    exit->interruption = interruption_of(v, basic);
    if (v->level == 1 && basic == NVIRT_VMX_EXIT_EPT_VIOLATION) {
        exit->l1gpa = nvirt_l1gpa_make(NVI_GET01(v, GUEST_PHYSICAL));
    }
    nvi_vmx_redeliver(v, reason, exit->qualification, exit->interruption);
}

/* ---- L1 ---- */

/* A window that nvirt opened and the host did not ask for. */
static bool is_own_window(struct nvirt_vmx_vcpu *v, uint32_t basic)
{
    uint64_t proc = v->level == 2 ? v->vmcs12.proc_controls : v->proc01;

    if (basic == NVIRT_VMX_EXIT_INTERRUPT_WINDOW) {
        return (proc & NVIRT_VMX_PROC_INTERRUPT_WINDOW) == 0;
    }
    return basic == NVIRT_VMX_EXIT_NMI_WINDOW && (proc & NVIRT_VMX_PROC_NMI_WINDOW) == 0;
}

/* Exits that either level can take and that nvirt carries out in place. */
static bool carried_out(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t basic)
{
    switch (basic) {
    case NVIRT_VMX_EXIT_CR_ACCESS:
        return nvi_vmx_cr_access(v, gprs, NVI_GET(v, EXIT_QUALIFICATION)) == NVI_HANDLED;
    case NVIRT_VMX_EXIT_RDMSR:
        return nvi_vmx_rdmsr(v, gprs) == NVI_HANDLED;
    case NVIRT_VMX_EXIT_WRMSR:
        return nvi_vmx_wrmsr(v, gprs) == NVI_HANDLED;
    case NVIRT_VMX_EXIT_VMREAD:
    case NVIRT_VMX_EXIT_VMWRITE:
        /* Of L2: L1's bitmap lets the field pass. */
        return nvi_vmx_instruction(v, gprs, basic);
    default:
        return is_own_window(v, basic);
    }
}

enum nvirt_status nvi_vmx_exit_l1(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                  struct nvirt_vmx_exit *exit)
{
    uint32_t reason = exit->reason;
    uint32_t basic = reason & (uint32_t)NVIRT_VMX_REASON_BASIC;

    v->stats.exits_l1++;
    if ((reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0) {
        /* Hardware refuses vmcs01: the host's own fields are at fault. */
        exit->verdict = NVIRT_VERDICT_L1;
        exit->qualification = NVI_GET01(v, EXIT_QUALIFICATION);
        return v->error;
    }
    if (basic == NVIRT_VMX_EXIT_TRIPLE_FAULT) {
        v->dead = true;
        exit->verdict = NVIRT_VERDICT_L1_SHUTDOWN;
        return v->error;
    }
    if (basic == NVIRT_VMX_EXIT_INIT && v->vmx.on) {
        /* [SDM 3C "VMX Operation"]: VMX root operation blocks it until L2 runs or VMXOFF. */
        v->pending.init = true;
        nvi_vmx_redeliver(v, reason, 0, 0);
        return v->error;
    }
    if (basic == NVIRT_VMX_EXIT_VMLAUNCH || basic == NVIRT_VMX_EXIT_VMRESUME) {
        nvi_hw_fetch_for_entry(v);
    }
    if (!nvi_vmx_instruction(v, gprs, basic) && !carried_out(v, gprs, basic)) {
        give_to_host(v, exit, reason);
    }
    if (v->pending.init && !v->vmx.on) {
        v->pending.init = false;
        exit->verdict = NVIRT_VERDICT_L1;
        exit->reason = NVIRT_VMX_EXIT_INIT;
    }
    return v->error;
}

/* ---- L2 ---- */

/* "Bus lock detected": about the control of that name, which is L0's alone. */
#define REASON_BUS_LOCK ((uint32_t)NVIRT_BIT(26))

static void leave(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_exit_info *info)
{
    if (!nvi_vmx_leave_plainly(v, info)) {
        nvi_vmx_leave(v, info);
    }
}

static void reflect(struct nvirt_vmx_vcpu *v, uint32_t reason)
{
    struct nvi_vmx_exit_info info;

    nvi_vmx_exit_info(v, reason & ~REASON_BUS_LOCK, &info);
    leave(v, &info);
}

static bool l1_bitmap_says_yes(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_lookup *lookup)
{
    uint8_t byte;

    for (uint32_t i = 0; i < lookup->count; i++) {
        nvi_vmx_l1_read(v, lookup->byte[i], &byte, 1);
        if ((byte & lookup->mask[i]) != 0) {
            return true;
        }
    }
    return false;
}

/* A fault in EPT02: a hole to fill, L1's, or the host's. */
static enum nvirt_status second_stage(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_exit *exit,
                                      uint32_t basic)
{
    nvirt_l1gpa l1gpa;
    enum nvi_fault fault = nvi_vmx_second_stage(v, basic, &l1gpa);

    if (nvi_mmu_is_reflected(fault)) {
        return v->error;
    }
    if (fault == NVI_FAULT_HOST) {
        give_to_host(v, exit, NVIRT_VMX_EXIT_EPT_VIOLATION);
        exit->l1gpa = l1gpa;
        return v->error;
    }
    nvi_vmx_redeliver(v, NVIRT_VMX_EXIT_EPT_VIOLATION, NVI_GET02(v, EXIT_QUALIFICATION), 0);
    return fault == NVI_FAULT_NO_PAGE ? NVIRT_ERR_NO_PAGE : v->error;
}

/* What an exception, an NMI or an interrupt tells. The vector of an interrupt matters to posted ones only. */
static void look_at_event(struct nvirt_vmx_vcpu *v, uint32_t basic, struct nvi_vmx_owner_in *in)
{
    if (basic == NVIRT_VMX_EXIT_EXCEPTION_NMI) {
        in->interruption = (uint32_t)NVI_GET02(v, EXIT_INTERRUPTION);
        in->interruption_error = (uint32_t)NVI_GET02(v, EXIT_INTERRUPTION_ERROR);
    } else if ((v->vmcs12.pin_controls & NVIRT_VMX_PIN_POSTED_INTERRUPTS) != 0) {
        in->interruption = (uint32_t)NVI_GET02(v, EXIT_INTERRUPTION);
    }
}

static bool is_l1s(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, uint32_t basic,
                   enum nvi_vmx_owner *owner)
{
    struct nvi_vmx_lookup lookup;
    struct nvi_vmx_owner_in in;

    __builtin_memset(&in, 0, sizeof in);
    lookup.count = 0;
    in.vmcs12 = &v->vmcs12;
    in.vmcs01 = &v->hw[NVI_01]->image;
    in.reason = basic;
    in.gprs = gprs;
    in.qualification = nvi_vmx_qualification(v, NVI_02, basic);
    if (basic <= NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT) {
        look_at_event(v, basic, &in);
    }
    if (basic == NVIRT_VMX_EXIT_CR_ACCESS) {
        in.rsp = NVI_GET02(v, GUEST_RSP);
        in.in_64bit_mode = nvi_vmx_in_64bit_mode(v);
    }
    if (basic == NVIRT_VMX_EXIT_VMREAD || basic == NVIRT_VMX_EXIT_VMWRITE) {
        in.encoding = nvi_vmx_insn_encoding(v, gprs);
    }
    *owner = nvi_vmx_exit_owner(&in, &lookup);
    return *owner == NVI_VMX_OWNER_L1 ||
           (*owner == NVI_VMX_OWNER_LOOKUP && l1_bitmap_says_yes(v, &lookup));
}

/* Hardware found fault with guest state that passed the checks: L1 is told what hardware told, and
 * everything is as if the check had been nvirt's. */
static void entry_refused(struct nvirt_vmx_vcpu *v, uint32_t basic)
{
    struct nvi_vmx_live live = nvi_vmx_l1_live(v);

    nvirt_port_trace(v->port, "nvirt: vmcs02 refused, exit reason", basic);
    v->now->changed = NVI_ALL_GROUPS;
    nvi_vmx_forced_exit_done(v);
    nvi_vmx_entry_failure(v, basic, NVI_GET02(v, EXIT_QUALIFICATION), &live);
}

/* What is left of the host's timer goes on counting in whichever level runs next. */
static void save_l0_timer(struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs01 = &v->hw[NVI_01]->image;

    if (!v->forced_exit && nvi_vmx_l0_has_timer(v) &&
        (vmcs01->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER) != 0) {
        nvi_field_add(&v->hw[NVI_02]->stale, NVIRT_VMCS_GUEST_PREEMPTION_TIMER);
        NVI_SET01(v, GUEST_PREEMPTION_TIMER, NVI_GET02(v, GUEST_PREEMPTION_TIMER));
    }
}

/* The CPU acknowledged it for L1, whose descriptor may be too busy for it to go unnoticed. */
static void notification(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_exit *exit, uint32_t reason)
{
    if (nvi_vmx_process_posted(v)) {
        give_to_host(v, exit, reason);
    } else {
        reflect(v, reason);
    }
}

enum nvirt_status nvi_vmx_exit_l2(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                  struct nvirt_vmx_exit *exit)
{
    uint32_t reason = exit->reason;
    uint32_t basic = reason & (uint32_t)NVIRT_VMX_REASON_BASIC;
    bool forced = v->forced_exit;
    enum nvi_vmx_owner owner;

    v->stats.exits_l2++;
    if ((reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0) {
        if (!v->entry_pending) {
            /* It has run before: what hardware refuses now is not what L1 wrote. */
            nvirt_port_trace(v->port, "nvirt: vmcs02 refused after it ran, reason", basic);
            return NVIRT_ERR_HARDWARE;
        }
        entry_refused(v, basic);
        return v->error;
    }
    nvi_vmx_entry_took_place(v);
    save_l0_timer(v);
    nvi_vmx_forced_exit_done(v);
    if (forced && basic == NVIRT_VMX_EXIT_PREEMPTION_TIMER) {
        nvi_vmx_redeliver(v, reason, 0, 0);
        return v->error;
    }
    if (basic == NVIRT_VMX_EXIT_VMFUNC && nvi_vmx_vmfunc(v, gprs)) {
        return v->error;
    }
    if (basic == NVIRT_VMX_EXIT_VMCALL && nvi_vmx_direct_vmcall(v, gprs)) {
        return v->error;
    }
    if (is_l1s(v, gprs, basic, &owner)) {
        reflect(v, reason);
    } else if (basic == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION) {
        /* EPT02 is nvirt's own work and never holds such an entry: hardware and nvirt disagree. */
        nvirt_port_trace(v->port, "nvirt: EPT02 misconfigured at", NVI_GET02(v, GUEST_PHYSICAL));
        return NVIRT_ERR_HARDWARE;
    } else if (owner == NVI_VMX_OWNER_TABLES) {
        return second_stage(v, exit, basic);
    } else if (owner == NVI_VMX_OWNER_POSTED) {
        notification(v, exit, reason);
    } else if (!carried_out(v, gprs, basic)) {
        give_to_host(v, exit, reason);
    }
    return v->error;
}
