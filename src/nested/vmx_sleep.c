/* SPDX-License-Identifier: MIT */
/*
 * An L2 that L1 entered in shutdown or wait-for-SIPI. A CPU in one of these would take no interrupt
 * of the host's, so it is not put there: the entry has taken place as far as L1 can tell, and
 * hardware is entered when an event has made L2 active, if at all.
 *
 * The activity state stands in the image of vmcs02, as for any L2, and an exit saves it: an event
 * that causes an exit directly wakes the CPU after the exit only [SDM 3C "Architectural State
 * Before a VM Exit"].
 */
#include "nested/vmx_internal.h"

#define FOR_EVER (~UINT64_C(0))

static bool has_timer(const struct nvirt_vmx_vcpu *v)
{
    return (v->vmcs12.pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0;
}

static uint64_t state_of(const struct nvirt_vmx_vcpu *v)
{
    return v->hw[NVI_02]->image.guest_activity;
}

/* L2 goes to L1 without having run. */
static void leave_asleep(struct nvirt_vmx_vcpu *v, uint32_t reason, uint64_t qualification)
{
    nvi_vmx_entry_took_place(v);
    nvi_vmx_leave_for(v, reason, qualification);
}

static bool machine_check_waits(const struct nvirt_vmx_vcpu *v)
{
    return v->pending.exception.waiting && v->pending.exception.vector == NVIRT_VECTOR_MC;
}

/* NMIs and machine checks are what shutdown lets through to L2 itself [SDM 3C "Activity State"]. */
static void end_shutdown_by_event(struct nvirt_vmx_vcpu *v)
{
    if (machine_check_waits(v)) {
        nvi_vmx_deliver_exception(v);
    } else if (v->pending.nmi) {
        (void)nvi_vmx_deliver_nmi(v);
    }
    if (v->level != 2) {
        /* It left for L1, so it was entered; else hardware may still find fault with that. */
        v->vmx.launched = true;
        v->stats.nested_entries++;
    } else if ((NVI_GET02(v, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) != 0) {
        NVI_SET02(v, GUEST_ACTIVITY, NVIRT_VMX_ACTIVITY_ACTIVE);
    }
}

static bool nmi_window_is_open(struct nvirt_vmx_vcpu *v)
{
    return (v->vmcs12.proc_controls & NVIRT_VMX_PROC_NMI_WINDOW) != 0 &&
           (NVI_GET02(v, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_NMI) == 0;
}

/* In the order of "Priority Among Concurrent Events"; the timer goes before an NMI window and that
 * before an NMI ["Other Causes of VM Exits"]. External interrupts are blocked, whatever the controls
 * say, and interrupt windows with them. */
static void deliver_in_shutdown(struct nvirt_vmx_vcpu *v)
{
    if (machine_check_waits(v)) {
        end_shutdown_by_event(v);
    } else if (v->pending.init) {
        v->pending.init = false;
        leave_asleep(v, NVIRT_VMX_EXIT_INIT, 0);
    } else if (has_timer(v) && NVI_GET02(v, GUEST_PREEMPTION_TIMER) == 0) {
        leave_asleep(v, NVIRT_VMX_EXIT_PREEMPTION_TIMER, 0);
    } else if (nmi_window_is_open(v)) {
        leave_asleep(v, NVIRT_VMX_EXIT_NMI_WINDOW, 0);
    } else {
        end_shutdown_by_event(v);
    }
}

void nvi_vmx_deliver_asleep(struct nvirt_vmx_vcpu *v)
{
    v->pending.mtf = false;
    if ((NVI_GET02(v, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) != 0) {
        /* The event that the entry injects is what L2 wakes with [SDM 3C "Activity State"]. */
        NVI_SET02(v, GUEST_ACTIVITY, NVIRT_VMX_ACTIVITY_ACTIVE);
        return;
    }
    /* [SDM 3C "Delivery of Pending Debug Exceptions after VM Entry"]: none pends in these states. */
    NVI_SET02(v, GUEST_PENDING_DEBUG, 0);
    if (state_of(v) == NVIRT_VMX_ACTIVITY_SHUTDOWN) {
        deliver_in_shutdown(v);
    } else if (v->pending.sipi) {
        v->pending.sipi = false;
        leave_asleep(v, NVIRT_VMX_EXIT_SIPI, v->pending.sipi_vector);
    }
}

/* ---- the host's calls ---- */

/* The timer counts down by 1 each time this bit of the TSC changes [SDM 3C "VMX-Preemption Timer"]: how
 * often that was between two values does not depend on where the time between them is divided. */
static uint32_t timer_bit(const struct nvirt_vmx_vcpu *v)
{
    return (uint32_t)(v->offer.misc & NVIRT_VMX_MISC_TIMER_RATE);
}

/* Ticks from @p tsc until the bit has changed @p count times. */
static uint64_t ticks_of(const struct nvirt_vmx_vcpu *v, uint64_t tsc, uint64_t count)
{
    uint32_t bit = timer_bit(v);

    return count == 0 ? 0 : (count << bit) - (tsc & (NVIRT_BIT(bit) - 1));
}

uint64_t nvirt_vmx_sleeps(const struct nvirt_vmx_vcpu *vcpu, uint64_t tsc, uint64_t *ticks)
{
    bool asleep = vcpu != NULL && nvi_vmx_is_asleep(vcpu);
    uint64_t until = FOR_EVER;

    /* While a SIPI is waited for it counts and ends nothing [SDM 3C "VMX-Preemption Timer"]. */
    if (asleep && state_of(vcpu) == NVIRT_VMX_ACTIVITY_SHUTDOWN && has_timer(vcpu)) {
        until = ticks_of(vcpu, tsc, vcpu->hw[NVI_02]->image.guest_preemption_timer);
    }
    if (ticks != NULL) {
        *ticks = until;
    }
    return asleep ? state_of(vcpu) : 0;
}

enum nvirt_status nvirt_vmx_slept(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                  uint64_t since, uint64_t tsc)
{
    enum nvirt_status status = nvi_vmx_look(vcpu, cpu);
    uint64_t passed;
    uint64_t left;

    if (status != NVIRT_OK) {
        return status;
    }
    if (!nvi_vmx_is_asleep(vcpu)) {
        return NVIRT_ERR_STATE;
    }
    if (tsc < since) {
        return NVIRT_ERR_RANGE;
    }
    if (has_timer(vcpu)) {
        passed = (tsc >> timer_bit(vcpu)) - (since >> timer_bit(vcpu));
        left = NVI_GET02(vcpu, GUEST_PREEMPTION_TIMER);
        NVI_SET02(vcpu, GUEST_PREEMPTION_TIMER, passed < left ? left - passed : 0);
    }
    return vcpu->error;
}
