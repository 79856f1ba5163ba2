/* SPDX-License-Identifier: MIT */
/**
 * @file
 * The VM object: what all vCPUs of one VM share. It lies in the host's memory; its members are
 * nvirt's. Vendor-neutral.
 */
#ifndef NVIRT_VM_H
#define NVIRT_VM_H

#include <nvirt/port.h>

NVIRT_BEGIN_DECLS

/** Most vCPUs of one VM. */
#define NVIRT_VM_MAX_VCPUS 256u
/** Fewest table pages of a VM's budget: a few walks must fit. */
#define NVIRT_VM_MIN_PAGES 16u
/** Most table pages of a VM's budget. */
#define NVIRT_VM_MAX_PAGES (1u << 20)

/** What the host decides about a VM. */
struct nvirt_vm_config {
    struct nvirt_port_vm *port; /**< The host's own context, handed to every port call. */
    uint32_t page_budget;       /**< Most pages nvirt may hold for this VM's second-stage tables:
                                     NVIRT_VM_MIN_PAGES to NVIRT_VM_MAX_PAGES. The one or two pages
                                     of each vCPU object are not counted. */
    uint8_t physical_bits;      /**< Physical-address width that L1 is shown by CPUID, 32 to 52. */
};

/** One VM. Initialise with nvirt_vm_init(); the members are nvirt's own. */
struct nvirt_vm {
    struct nvirt_port_vm *port; /**< As configured. */
    uint32_t magic;             /**< Marks an initialised object. */
    uint32_t page_budget;       /**< As configured. */
    uint32_t pages_in_use;      /**< Changed atomically: vCPUs fault in parallel. */
    uint32_t vcpu_count;        /**< Changed atomically. */
    uint8_t physical_bits;      /**< As configured. */
};

/**
 * Makes a VM object.
 * @param vm memory of the host's, at least sizeof *vm bytes; must outlive every vCPU made for it.
 * @param config read during the call only.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE when page_budget or physical_bits is outside
 *         the documented range. On failure *vm is untouched.
 *
 * Concurrency: no other call on this object may be under way. Any CPU, VMX operation or not.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vm_init(struct nvirt_vm *vm,
                                                const struct nvirt_vm_config *config);

/**
 * Ends a VM object. It holds no page by itself; its memory is the host's again.
 * @param vm the object, whose vCPUs have all been destroyed.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE when it was not initialised, or still has
 *         vCPUs: nothing has changed then.
 *
 * Concurrency: no other call on this object may be under way. Any CPU.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vm_destroy(struct nvirt_vm *vm);

NVIRT_END_DECLS

#endif
