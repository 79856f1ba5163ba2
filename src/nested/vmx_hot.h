/* SPDX-License-Identifier: MIT */
/*
 * Inline parts of what vmx_hw.c does, for the four files that execute VMX instructions: it, vmx_fast.c,
 * vmx_switch.c and vmx_evmcs.c.
 */
#ifndef NVI_NESTED_VMX_HOT_H
#define NVI_NESTED_VMX_HOT_H

#include "nested/vmx_internal.h"

/** The general way of nvi_hw_make_current(): a VMCS that never was current, or none can be. */
NVIRT_NOINLINE bool nvi_hw_switch_current(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw);

/** Records a VMPTRLD that hardware refused. @return false. */
NVIRT_COLD bool nvi_hw_vmptrld_failed(struct nvirt_vmx_vcpu *v, const struct nvi_hw_vmcs *hw);

/** @return false when the instruction was refused, which is recorded. */
static inline bool nvi_hw_make_current(struct nvirt_vmx_vcpu *v, struct nvi_hw_vmcs *hw)
{
    if (v->current == hw) {
        return true;
    }
    if (!hw->active || v->cpu == NULL) {
        return nvi_hw_switch_current(v, hw);
    }
    v->stats.vmptrlds++;
    if (nvirt_port_vmptrld(v->cpu, hw->hpa) != NVIRT_HW_OK) {
        return nvi_hw_vmptrld_failed(v, hw);
    }
    v->current = hw;
    return true;
}

/** VMREAD of the current VMCS, past everything. */
static inline bool nvi_hw_peek(const struct nvirt_vmx_vcpu *v, uint32_t encoding, uint64_t *value)
{
    return nvirt_port_vmread(v->cpu, encoding, value) == NVIRT_HW_OK;
}

/** The way of nvi_vmx_flush() when something is due. */
NVIRT_NOINLINE void nvi_vmx_flush_due(struct nvirt_vmx_vcpu *v, uint32_t level, uint32_t cpu,
                                      uint32_t root);

/** Right before an entry of @p level: the flush engine knows what must go before, and on VMX that is
 *  done at once. */
NVIRT_ALWAYS_INLINE static inline void nvi_vmx_flush(struct nvirt_vmx_vcpu *v, uint32_t level)
{
    struct nvirt_tlb_entry entry = { .level = level };

    entry.cpu = nvi_vm_cpu_number(&v->tlb, v->cpu, &v->cpu_number);
    if (level == 2) {
        nvi_hv_take_nested(v->hv, &v->mmu);
        entry.root = nvi_vm_enter_root(&v->mmu, v->root, &v->tlb);
    }
    if (nvi_hv_waits(v->hv, level) || !nvirt_tlb_enter_settled(&v->tlb, &entry)) {
        nvi_vmx_flush_due(v, level, entry.cpu, entry.root);
    }
}

/** What an exit to L1 looks at (v->flow). */
static inline bool nvi_hw_is_flow(enum nvirt_vmcs_field field, enum nvirt_vmcs_group group)
{
    return group == NVIRT_VMCS_GROUP_FLOW || field == NVIRT_VMCS_GUEST_CR0 ||
           field == NVIRT_VMCS_GUEST_CR4 || field == NVIRT_VMCS_GUEST_EFER ||
           field == NVIRT_VMCS_GUEST_CS_AR || field == NVIRT_VMCS_GUEST_SS_AR;
}

#define NVI_FLOW_FIELDS 11u

#endif
