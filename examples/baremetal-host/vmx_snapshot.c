/* SPDX-License-Identifier: MIT */
/*
 * snapshot=N: after every N-th exit the vCPU is saved, ended, made anew in other memory and restored.
 * L1 and L2 notice nothing. A host that moves a VM does the same with L1's memory and the
 * registers that stay in the CPU here.
 */
#include "vmx.h"

static uint8_t state[NVIRT_STATE_MAX_BYTES];
static uint64_t vmcs01[NVIRT_VMCS_FIELD_COUNT];
static bool has_field[NVIRT_VMCS_FIELD_COUNT];

static void check(const char *what, enum nvirt_status status)
{
    if (status != NVIRT_OK)
        report_stop("snapshot: nvirt could not %s: %s", what, nvirt_status_name(status));
}

/* All that a host sets; the rest of vmcs01 is what exits tell. */
static void read_vmcs01(void)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        enum nvirt_status status = NVIRT_ERR_RANGE;

        if (nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT)
            status = nvirt_vmx_read(vmx.vcpu, vmx.cpu, 1, field, &vmcs01[i]);
        has_field[i] = status == NVIRT_OK;
        if (status != NVIRT_ERR_RANGE) /* not on this CPU */
            check("read vmcs01", status);
    }
}

static void write_vmcs01(void)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (has_field[i])
            vmx_set(1, (enum nvirt_vmcs_field)i, vmcs01[i]);
    }
}

/* After a second-stage fault L2 must get on: the entry that was made for it would be gone. */
static bool is_due(uint32_t reason)
{
    static uint32_t exits;

    return reason != NVIRT_VMX_EXIT_EPT_VIOLATION && ++exits % host.options.snapshot == 0;
}

void vmx_snapshot(uint32_t reason)
{
    size_t bytes;

    if (!is_due(reason))
        return;
    check("save", nvirt_vmx_save(vmx.vcpu, vmx.cpu, state, sizeof(state), &bytes));
    read_vmcs01();
    check("end the vCPU", nvirt_vmx_vcpu_destroy(vmx.vcpu, vmx.cpu));
    vmx_make_vcpu();
    write_vmcs01();
    check("restore", nvirt_vmx_restore(vmx.vcpu, vmx.cpu, state, bytes));
}
