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
/** Fewest pages of a VM's budget: a few walks, and what is noted of their tables, must fit. */
#define NVIRT_VM_MIN_PAGES 32u
/** Most pages of a VM's budget. */
#define NVIRT_VM_MAX_PAGES (1u << 20)

/** Second-stage roots that one vCPU keeps unless the host says otherwise. */
#define NVIRT_DEFAULT_ROOTS 16u
/** Most roots of one vCPU: a full EPTP list. */
#define NVIRT_MAX_ROOTS 512u
/** Bytes of the vCPU object for each root, when it keeps more than NVIRT_DEFAULT_ROOTS. */
#define NVIRT_ROOT_BYTES 256u
/** Bytes that a vCPU object of @p base bytes needs to keep @p roots roots. */
#define NVIRT_BYTES_WITH_ROOTS(base, roots)                                                        \
    ((base) + ((roots) > NVIRT_DEFAULT_ROOTS ? (size_t)(roots) * NVIRT_ROOT_BYTES : 0u))

/** What the host decides about a VM. */
struct nvirt_vm_config {
    struct nvirt_port_vm *port; /**< The host's own context, handed to every port call. */
    uint32_t page_budget;       /**< Most pages nvirt may hold for this VM's second-stage tables and
                                     what it notes of them (of a table with 512 pages of L1's,
                                     three): NVIRT_VM_MIN_PAGES to NVIRT_VM_MAX_PAGES. As many
                                     as the minimum are each vCPU's own, so that no L2 can starve
                                     another vCPU's; the rest is for all. The one or two pages
                                     of each vCPU object are not counted. */
    uint8_t physical_bits;      /**< Physical-address width that L1 is shown by CPUID, 32 to 52. */
};

struct nvi_mmu;

/** One VM. Initialise with nvirt_vm_init(); the members are nvirt's own. */
struct nvirt_vm {
    struct nvirt_port_vm *port; /**< As configured. */
    uint32_t magic;             /**< Marks an initialised object. */
    uint32_t page_budget;       /**< As configured. */
    uint32_t pages_in_use;      /**< Changed atomically: vCPUs fault in parallel. */
    uint32_t pages_common;      /**< Of them, those beyond the shares of vCPUs; likewise. */
    uint32_t vcpu_count;        /**< Changed atomically. */
    uint32_t engine_count;      /**< vCPUs with a share of the budget; likewise. */
    uint8_t physical_bits;      /**< As configured. */
    uint32_t lock;              /**< Of the members below. */
    uint32_t changing;          /**< Changes of memory begun and not ended. */
    uint64_t changing_first;    /**< First byte of them all; read without the lock. */
    uint64_t changing_last;     /**< Last byte; likewise. */
    uint64_t changes;           /**< Changes ever begun; read without the lock. */
    struct nvi_mmu *engines;    /**< Of the vCPUs. */
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

/**
 * Begins a change of L1's memory by the host: unmapping, moving, taking rights or changing the
 * memory type (giving more rights needs no change to be begun). Until nvirt_vm_change_end() no
 * translation into the range is used, and every second-stage entry of L2s on it is gone, whichever
 * vCPU and root it belongs to. The host
 *
 *   1. calls this;
 *   2. waits until each vCPU that nvirt_port_kick() named during the call has left its guest, if it
 *      was between prepare and exit (a host that keeps a flag for that sets it before prepare, with
 *      a locked instruction). What CPUs cached is flushed before such a vCPU enters again, wherever
 *      that is;
 *   3. changes its own tables and reuses the memory, if it wants to;
 *   4. calls nvirt_vm_change_end().
 *
 * The cost is that of the entries dropped, not of those that there are. A host that write-protects
 * to log what gets dirty does the same and lets nvirt_port_translate() grant reading only: the next
 * write of L2 comes to the port. Changes may overlap in time; then all between the lowest and the
 * highest address counts as changing.
 * nvirt_port_sequence() need not move for a change that is begun and ended here. Pages that are
 * pinned are not released by it: those that nvirt only keeps, no L2 running with them, come back at
 * the next VM entry or VMRUN after nvirt_port_sequence() moved.
 * @param vm the VM.
 * @param start first byte of the range in L1; the whole page counts.
 * @param bytes length of the range, 1 or more; the whole last page counts.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE when the VM is not initialised; NVIRT_ERR_RANGE
 *         when bytes is 0 or the range goes beyond 2^64: nothing has begun then.
 *
 * Concurrency: any CPU, at once with all other calls on the VM's vCPUs, but not from an interrupt
 * or port call that such a call of nvirt was interrupted by or made. It spins for a lock that is
 * held while the port is called for pages (nvirt_port_page_alloc(), nvirt_port_page_free(),
 * nvirt_port_page_pointer(), nvirt_port_kick()): the caller holds no lock that these take.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vm_change_begin(struct nvirt_vm *vm, nvirt_l1gpa start,
                                                        uint64_t bytes);

/**
 * Ends one change: the host's tables are as they will be, and what the port translates from now on
 * holds.
 * @param vm the VM.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_STATE when the VM is not initialised, or no change is
 *         under way.
 *
 * Concurrency: as nvirt_vm_change_begin().
 */
NVIRT_NODISCARD enum nvirt_status nvirt_vm_change_end(struct nvirt_vm *vm);

NVIRT_END_DECLS

#endif
