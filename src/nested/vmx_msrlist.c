/* SPDX-License-Identifier: MIT */
/*
 * The MSR lists of vmcs12, carried out in software: hardware's own lists are L0's. Each entry of
 * L1's is read once. An MSR that lives in a VMCS field goes there; all others are L1's, which is to
 * say the port's.
 *
 * [SDM 3C "Loading MSRs", "Saving MSRs"]
 */
#include "nested/vmx_internal.h"

#define MSR_UCODE_WRITE 0x79u
#define MSR_SMBASE 0x9Eu
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST 0x8FFu

struct entry {
    uint32_t msr;
    uint32_t reserved;
    uint64_t value;
};
NVIRT_STATIC_ASSERT(sizeof(struct entry) == 16, "an MSR-list entry has 16 bytes");

/* The longest list the CPU recommends. Longer ones may do anything; here they fail at the first
 * entry too many, so no list of L1's keeps the host busy for long. */
static uint32_t longest_list(const struct nvirt_vmx_vcpu *v)
{
    uint32_t n = (uint32_t)((v->offer.misc & NVIRT_VMX_MISC_MSR_LIST) >>
                            NVIRT_VMX_MISC_MSR_LIST_SHIFT);

    return 512u * (n + 1u);
}

static bool is_x2apic(uint32_t msr)
{
    return msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST;
}

static bool may_be_loaded(const struct entry *entry)
{
    return entry->reserved == 0 && entry->msr != NVIRT_MSR_FS_BASE &&
           entry->msr != NVIRT_MSR_GS_BASE && entry->msr != NVIRT_MSR_SMM_MONITOR_CTL &&
           entry->msr != MSR_UCODE_WRITE && !is_x2apic(entry->msr);
}

static bool load_one(struct nvirt_vmx_vcpu *v, const struct entry *entry, struct nvirt_vmcs *image)
{
    enum nvirt_vmcs_field field;

    if (!may_be_loaded(entry)) {
        return false;
    }
    if (nvi_vmx_msr_is_mine(entry->msr)) {
        return nvi_vmx_msr_write(v, entry->msr, entry->value);
    }
    if (nvi_vmx_msr_field(v, entry->msr, &field)) {
        return nvi_vmx_msr_field_write(v, entry->msr, image->guest_cr0, &image->field[field],
                                       entry->value);
    }
    return nvirt_port_l1_wrmsr(v->port, v->cpu, entry->msr, entry->value) == NVIRT_OK;
}

uint32_t nvi_vmx_msr_list_load(struct nvirt_vmx_vcpu *v, uint64_t list, uint64_t count,
                               struct nvirt_vmcs *image)
{
    struct entry entry;

    for (uint32_t i = 0; i < count; i++) {
        if (i == longest_list(v)) {
            return i + 1;
        }
        nvi_vmx_l1_read(v, list + i * sizeof entry, &entry, sizeof entry);
        if (!load_one(v, &entry, image)) {
            return i + 1;
        }
    }
    return 0;
}

static bool read_one(struct nvirt_vmx_vcpu *v, uint32_t msr, const struct nvirt_vmcs *image,
                     uint64_t *value)
{
    enum nvirt_vmcs_field field;

    if (nvi_vmx_msr_is_mine(msr)) {
        return nvi_vmx_msr_read(v, msr, value);
    }
    if (nvi_vmx_msr_field(v, msr, &field)) {
        *value = image->field[field];
        return true;
    }
    return nvirt_port_l1_rdmsr(v->port, v->cpu, msr, value) == NVIRT_OK;
}

uint32_t nvi_vmx_msr_list_store(struct nvirt_vmx_vcpu *v, uint64_t list, uint64_t count,
                                const struct nvirt_vmcs *image)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t address = list + i * sizeof(struct entry);
        uint32_t head[2];
        uint64_t value;

        if (i == longest_list(v)) {
            return i + 1;
        }
        nvi_vmx_l1_read(v, address, head, sizeof head);
        if (head[1] != 0 || head[0] == MSR_SMBASE || is_x2apic(head[0]) ||
            !read_one(v, head[0], image, &value)) {
            return i + 1;
        }
        nvi_vmx_l1_write(v, address + sizeof head, &value, sizeof value);
    }
    return 0;
}
