/* SPDX-License-Identifier: MIT */
/*
 * MSRs outside the VMCS that VM entries and exits may switch: IA32_PERF_GLOBAL_CTRL, IA32_BNDCFGS
 * and IA32_PKRS. L1 and L2 share them as they do all such MSRs, so a transition does what L1's own
 * WRMSR and RDMSR would: through the port, which knows where they live. No control of vmcs02 is
 * about them.
 *
 * [SDM 3C "Loading Guest Control Registers, Debug Registers, and MSRs", "Saving Control Registers,
 * Debug Registers, and MSRs", "Loading Host Control Registers, Debug Registers, MSRs"]
 */
#include "nested/vmx_internal.h"

#define CLEARED NVIRT_VMCS_FIELD_COUNT

struct switched {
    uint32_t msr;
    uint64_t entry_load;
    uint64_t exit_load;
    uint64_t exit_save;   /* Control of exits that save it; 0: every exit does, of a CPU that has */
    uint64_t saved_entry; /* one of these controls of entries */
    uint64_t saved_exit;  /* or exits. */
    enum nvirt_vmcs_field guest;
    uint32_t host; /* A field, or CLEARED: exits load 0. */
};

static const struct switched table[] = {
    { NVIRT_MSR_PERF_GLOBAL_CTRL, NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL,
      NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL, NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL, 0, 0,
      NVIRT_VMCS_GUEST_PERF_GLOBAL, NVIRT_VMCS_HOST_PERF_GLOBAL },
    { NVIRT_MSR_BNDCFGS, NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS, NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS, 0,
      NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS, NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS,
      NVIRT_VMCS_GUEST_BNDCFGS, CLEARED },
    { NVIRT_MSR_PKRS, NVIRT_VMX_ENTRY_CTL_LOAD_PKRS, NVIRT_VMX_EXIT_CTL_LOAD_PKRS, 0,
      NVIRT_VMX_ENTRY_CTL_LOAD_PKRS, 0, NVIRT_VMCS_GUEST_PKRS, NVIRT_VMCS_HOST_PKRS },
};
#define ROWS (sizeof table / sizeof table[0])

/* IA32_PERF_GLOBAL_CTRL by its own control, whatever others L1 has; IA32_BNDCFGS where L1 has either of
 * its two, IA32_PKRS where it has that of entries. */
static bool is_saved(const struct nvirt_vmx_vcpu *v, const struct switched *row)
{
    return row->exit_save != 0 ? (v->vmcs12.exit_controls & row->exit_save) != 0
                               : ((v->offer.entry >> 32 & row->saved_entry) |
                                  (v->offer.exit >> 32 & row->saved_exit)) != 0;
}

/* The value passed the checks: a port that refuses it breaks the host's word on the MSR. */
static void load(struct nvirt_vmx_vcpu *v, uint32_t msr, uint64_t value)
{
    if (nvirt_port_l1_wrmsr(v->port, v->cpu, msr, value) != NVIRT_OK) {
        nvirt_port_trace(v->port, "nvirt: the port refuses an offered MSR", msr);
    }
}

void nvi_vmx_switched_load_guest(struct nvirt_vmx_vcpu *v)
{
    for (size_t i = 0; i < ROWS; i++) {
        if ((v->vmcs12.entry_controls & table[i].entry_load) != 0) {
            load(v, table[i].msr, v->vmcs12.field[table[i].guest]);
        }
    }
}

void nvi_vmx_switched_save(struct nvirt_vmx_vcpu *v)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct switched *row = &table[i];
        uint64_t value;

        if (is_saved(v, row) &&
            nvirt_port_l1_rdmsr(v->port, v->cpu, row->msr, &value) == NVIRT_OK) {
            v->vmcs12.field[row->guest] = value;
        }
    }
}

void nvi_vmx_switched_load_host(struct nvirt_vmx_vcpu *v)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct switched *row = &table[i];

        if ((v->vmcs12.exit_controls & row->exit_load) != 0) {
            load(v, row->msr, row->host == CLEARED ? 0 : v->vmcs12.field[row->host]);
        }
    }
}
