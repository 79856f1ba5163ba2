/* SPDX-License-Identifier: MIT */
/*
 * Reads the capability MSRs of the CPU: the one function of this module that goes through the port.
 */
#include <nvirt/port_hot.h>
#include <nvirt/vmx.h>

/* The MSRs in the order of their addresses; each is read only if those before say it exists. */
static const uint32_t addresses[] = {
#define NVIRT_VMX_MSR(NAME, member, address) address,
    NVIRT_VMX_CAPABILITY_MSRS(NVIRT_VMX_MSR)
#undef NVIRT_VMX_MSR
};

static uint64_t *member_of(struct nvirt_vmx_caps *caps, uint32_t msr)
{
    switch (msr) {
#define NVIRT_VMX_MSR(NAME, member, address)                                                       \
    case address:                                                                                  \
        return &caps->member;
        NVIRT_VMX_CAPABILITY_MSRS(NVIRT_VMX_MSR)
#undef NVIRT_VMX_MSR
    default:
        return NULL;
    }
}

static bool facts_are_sane(const struct nvirt_vmx_cpu_facts *facts)
{
    return facts->physical_bits >= 32 && facts->physical_bits <= 52 &&
           (facts->linear_bits == 48 || facts->linear_bits == 57);
}

enum nvirt_status nvirt_vmx_caps_read(struct nvirt_port_cpu *cpu,
                                      const struct nvirt_vmx_cpu_facts *facts,
                                      struct nvirt_vmx_caps *caps)
{
    struct nvirt_vmx_caps found = {0};
    uint64_t value;

    if (facts == NULL || caps == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (!facts_are_sane(facts)) {
        return NVIRT_ERR_RANGE;
    }
    found.cpu = *facts;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        uint32_t msr = addresses[i];

        /* With what is known so far: MSRs that gate others have lower addresses. */
        if (!nvirt_vmx_caps_msr(&found, msr, &value)) {
            continue;
        }
        if (nvirt_port_rdmsr(cpu, msr, &value) != NVIRT_HW_OK) {
            return NVIRT_ERR_CAPABILITY;
        }
        *member_of(&found, msr) = value;
    }
    if ((found.basic & NVIRT_VMX_BASIC_TRUE) == 0) {
        /* The TRUE MSRs of such a CPU would say what the plain ones do. */
        found.true_pin = found.pin;
        found.true_proc = found.proc;
        found.true_exit = found.exit;
        found.true_entry = found.entry;
    }
    *caps = found;
    return NVIRT_OK;
}
