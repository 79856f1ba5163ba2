/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Hyper-V enlightenments, by Microsoft's Hypervisor Top-Level Functional Specification (TLFS): what
 * lets a guest that knows Hyper-V (Windows, Linux) run faster as L1 and as L2. Each part stands by
 * itself; a host that wants none builds with NVIRT_HYPERV=OFF. docs/hyperv.md tells how they belong
 * together.
 *
 * The flush queue: a guest asks by one hypercall for a flush of linear addresses on many of its
 * virtual processors. The CPU that takes the hypercall leaves the request in the queue of each
 * target, kicks those that run, and is done; each target takes out what waits for it when it next
 * enters. There is one queue per vCPU for L1, and one for the L2s whose flushes L1 leaves to nvirt.
 */
#ifndef NVIRT_HYPERV_H
#define NVIRT_HYPERV_H

#include <nvirt/port.h>
#include <nvirt/tlbflush.h>

NVIRT_BEGIN_DECLS

/* ---- the flush queue ---- */

/** Entries of a queue, where a host has no reason for another number. */
#define NVIRT_HV_FIFO_DEFAULT 16u
/** Most entries of a queue. */
#define NVIRT_HV_FIFO_MAX 4096u

/** @name What waits in a queue: a set of these bits
 * @{ */
#define NVIRT_HV_WAITS_ENTRIES 1u    /**< Single entries. */
#define NVIRT_HV_WAITS_NOT_GLOBAL 2u /**< All linear translations but global ones. */
#define NVIRT_HV_WAITS_ALL 4u        /**< All linear translations. */
/** @} */

/** One place of a queue. Members are nvirt's. */
struct nvirt_hv_slot {
    uint64_t turn;  /**< Whose turn it is with this place; atomic. */
    uint64_t entry; /**< As the guest gave it. */
};

/**
 * A flush queue: any number of CPUs put in, one at a time takes out. Lock-free and bounded:
 * nobody waits for anybody, and what finds no room becomes "all". Members are nvirt's.
 */
struct nvirt_hv_fifo {
    struct nvirt_hv_slot *slot; /**< The caller's memory. */
    uint64_t mask;              /**< Capacity less one. */
    uint64_t tail;              /**< Position the next entry takes; atomic. */
    uint64_t overflows;         /**< Requests that found no room; atomic. */
    uint32_t waits;             /**< NVIRT_HV_WAITS_*; atomic. */
    uint8_t apart[64];          /**< What the consumer writes is not beside what producers write. */
    uint64_t head;              /**< First position not taken out. */
    uint64_t drained;           /**< Entries that became requests. */
    uint64_t purged;            /**< Entries that a larger flush covered. */
};

/** Counts of a queue since it was made. */
struct nvirt_hv_fifo_stats {
    uint64_t queued;     /**< Entries put in. */
    uint64_t drained;    /**< Entries that became requests to the flush engine. */
    uint64_t purged;     /**< Entries that a larger flush covered. */
    uint64_t overflowed; /**< Requests that found no room and became "all". */
};

/**
 * Makes an empty queue.
 * @param fifo memory of the caller's.
 * @param slots @p capacity of them, memory of the caller's, to live as long.
 * @param capacity entries, a power of two from 2 to NVIRT_HV_FIFO_MAX.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_RANGE (capacity): nothing is written then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_fifo_init(struct nvirt_hv_fifo *fifo,
                                                     struct nvirt_hv_slot *slots,
                                                     uint32_t capacity);

/**
 * Puts entries in: each names a page by bits 63:12 and by bits 11:0 how many follow it [TLFS
 * "HvCallFlushVirtualAddressList"]. If they do not all find room, all linear translations are
 * flushed.
 *
 * What the caller stored before this call (the guest's page tables, through its own hypercall's
 * exit) is seen by what the consumer runs after it took the entries out. A caller that
 * afterwards sees that the target is not in its guest need not kick it, provided that the target
 * says so by a locked instruction before it looks at the queue, as nvirt_vm_change_begin() wants
 * it too.
 * @param fifo the queue.
 * @param entries @p count of them, in the order they came.
 * @param count any number; 0 does nothing.
 * @return true: they are in the queue; false: they became "all".
 *
 * Any CPU at any time, also at once. Does not wait.
 */
bool nvirt_hv_fifo_put(struct nvirt_hv_fifo *fifo, const uint64_t *entries, uint32_t count);

/**
 * Asks for a flush of all linear translations, or all but the global ones, with the guarantees of
 * nvirt_hv_fifo_put().
 * @param fifo the queue.
 * @param not_global global ones may stay.
 *
 * Any CPU at any time, also at once. Does not wait.
 */
void nvirt_hv_fifo_put_all(struct nvirt_hv_fifo *fifo, bool not_global);

/**
 * Whether anything waits: what an entry looks at before it takes its short path.
 * @param fifo the queue.
 * @return true when so.
 */
static inline bool nvirt_hv_fifo_waits(const struct nvirt_hv_fifo *fifo)
{
    return __atomic_load_n(&fifo->waits, __ATOMIC_RELAXED) != 0;
}

/**
 * Takes out what was put in by every call that has returned (and perhaps more).
 * @param fifo the queue.
 * @param entries where up to @p room entries go, in the order of the queue.
 * @param room how many fit; if more wait, NVIRT_HV_WAITS_ALL stands for them.
 * @param count how many were written there; 0 with NVIRT_HV_WAITS_ALL, which covers them.
 * @return NVIRT_HV_WAITS_*; 0: nothing was asked for.
 *
 * One CPU at a time.
 */
uint32_t nvirt_hv_fifo_take(struct nvirt_hv_fifo *fifo, uint64_t *entries, uint32_t room,
                            uint32_t *count);

/**
 * Takes out and drops what waits: a flush that is about to be carried out covers it. To be called
 * before that flush, not after it: what comes in between is then flushed once more, not lost.
 * @param fifo the queue.
 *
 * One CPU at a time.
 */
void nvirt_hv_fifo_purge(struct nvirt_hv_fifo *fifo);

/**
 * The counts. Approximate while other CPUs put in.
 * @param fifo the queue.
 * @param stats where they go.
 */
void nvirt_hv_fifo_stats(const struct nvirt_hv_fifo *fifo, struct nvirt_hv_fifo_stats *stats);

/**
 * nvirt_tlb_due() for a level with a queue. What waits becomes requests to the engine, unless
 * the flushes that are due anyway cover it: then it is dropped. On SVM each flush of an ASID
 * does that; on VMX one of the tag, and one of the root only where the tag holds nothing under
 * other roots [SDM 3C "Operations that Invalidate Cached Mappings"] [APM 2 "TLB Flush"].
 * @param fifo the queue of the level and of what runs at it.
 * @param tlb the engine.
 * @param entry the entry.
 * @param linear_bits width of linear addresses that the CPU takes as canonical now, 48 or 57: pages
 *        beyond it are not flushed one by one (INVVPID would refuse them), those that no width
 *        knows are ignored [TLFS "HvCallFlushVirtualAddressList"].
 * @param due what must be carried out before the entry.
 */
void nvirt_hv_flush_due(struct nvirt_hv_fifo *fifo, struct nvirt_tlb *tlb,
                        const struct nvirt_tlb_entry *entry, uint32_t linear_bits,
                        struct nvirt_flush_set *due);

/* ---- what L1 is offered ---- */

/** @name What a host offers: a set of these bits
 * @{ */
#define NVIRT_HV_OFFER_FLUSH 1u         /**< HvCallFlushVirtualAddressSpace, -List, -Ex of both. */
#define NVIRT_HV_OFFER_XMM 2u           /**< Hypercall input in XMM0 to XMM5. */
#define NVIRT_HV_OFFER_INVARIANT_TSC 4u /**< The TSC runs at one rate and stays so. */
#define NVIRT_HV_OFFER_NESTED_FLUSH 8u  /**< HvCallFlushGuestPhysicalAddressSpace and -List. */
#define NVIRT_HV_OFFER_MSR_BITMAP 16u   /**< L1 says in vmcb12, or its enlightened VMCS, when its
                                             MSR map changed; on VMX with EVMCS. */
#define NVIRT_HV_OFFER_NPT_TLB 32u      /**< SVM, with NESTED_FLUSH: what is cached of L1's nested
                                             tables is flushed by hypercalls only. */
#define NVIRT_HV_OFFER_EVMCS 64u        /**< VMX: enlightened VMCSs, version 1. What a VMCS has that
                                             they have no field for is not offered to L1 then. */
#define NVIRT_HV_OFFER_DIRECT_FLUSH 128u /**< With FLUSH, on VMX with EVMCS: flush hypercalls of L2
                                              are carried out without L1, where L1 wants it so. */
/** @} */
/** Every bit of an offer. */
#define NVIRT_HV_OFFER_ALL 255u
/** Those that there are on AMD's CPUs. */
#define NVIRT_HV_OFFER_SVM (NVIRT_HV_OFFER_ALL & ~NVIRT_HV_OFFER_EVMCS)
/** Those that there are on Intel's CPUs. */
#define NVIRT_HV_OFFER_VMX (NVIRT_HV_OFFER_ALL & ~NVIRT_HV_OFFER_NPT_TLB)
/** Most virtual processors of one partition: 64 banks of 64. */
#define NVIRT_HV_MAX_VPS 4096u

struct nvirt_hv_partition;

/** L2s of one processor of L1's whose flushes L1 leaves to nvirt. Members are nvirt's. */
struct nvirt_hv_direct {
    struct nvirt_hv_fifo fifo; /**< Flushes that wait, of what has run under @c tag. */
    uint64_t who;              /**< Which VP of L1's ran last: its number, and whether that is to be
                                    believed; atomic. */
    uint64_t vm;               /**< Of which VM of L1's; atomic. */
    uint32_t tag;              /**< The hardware tag it ran under. */
    bool active;               /**< L2, while it is active, is one of those. */
    uint64_t assist_page;      /**< Its partition assist page. */
    uint64_t calls;            /**< Hypercalls of L2 carried out; atomic. */
};

/** One virtual processor of L1, as Hyper-V's interface knows it. Members are nvirt's. */
struct nvirt_hv_vp {
    struct nvirt_hv_fifo fifo; /**< Flushes of L1 that wait. */
    struct nvirt_hv_direct direct; /**< Flushes of its L2. */
    struct nvirt_hv_partition *partition; /**< Whose it is. */
    uint64_t nested_flush;     /**< Second-stage flushes that wait: 0, one table, or all; atomic. */
    uint64_t assist_page;      /**< HV_X64_MSR_VP_ASSIST_PAGE. */
    uint32_t index;            /**< Its number in the partition. */
    uint32_t offer;            /**< As the partition's. */
};

/** A virtual machine, L1 with all its processors, as Hyper-V's interface knows it. Members are
 * nvirt's. */
struct nvirt_hv_partition {
    struct nvirt_port_vm *port; /**< The VM. */
    struct nvirt_hv_vp *vp;     /**< The caller's memory: vp_count of them. */
    uint32_t vp_count;          /**< Virtual processors. */
    uint32_t offer;             /**< NVIRT_HV_OFFER_*. */
    bool svm;                   /**< Hypercalls are VMMCALL, not VMCALL. */
    uint64_t guest_os_id;       /**< HV_X64_MSR_GUEST_OS_ID; atomic. */
    uint64_t hypercall;         /**< HV_X64_MSR_HYPERCALL; atomic. */
    uint64_t tsc_invariant;     /**< HV_X64_MSR_TSC_INVARIANT_CONTROL; atomic. */
};

/**
 * Makes a partition, with processors that have no queue yet.
 * @param partition memory of the caller's, to outlive the vCPUs it serves.
 * @param port the VM; handed to the port as it is.
 * @param vps @p vp_count of them, memory of the caller's, to live as long.
 * @param vp_count 1 to NVIRT_HV_MAX_VPS; a VP's index is that of its vCPU.
 * @param offer NVIRT_HV_OFFER_*.
 * @param svm whether L1 is on AMD's CPUs.
 * @return NVIRT_OK; NVIRT_ERR_NULL (partition or vps); NVIRT_ERR_RANGE (vp_count; an offer that
 *         there is not, or not for this vendor, or NPT_TLB without NESTED_FLUSH, DIRECT_FLUSH
 *         without FLUSH, or on VMX MSR_BITMAP or DIRECT_FLUSH without EVMCS).
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_partition_init(struct nvirt_hv_partition *partition,
                                                          struct nvirt_port_vm *port,
                                                          struct nvirt_hv_vp *vps,
                                                          uint32_t vp_count, uint32_t offer,
                                                          bool svm);

/**
 * Gives a processor its queue. To be called for each before L1 runs.
 * @param partition the partition.
 * @param index the processor.
 * @param slots @p capacity of them, memory of the caller's, to live as long as the partition.
 * @param capacity as for nvirt_hv_fifo_init().
 * @return as nvirt_hv_fifo_init(), and NVIRT_ERR_RANGE for an index that there is not.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_vp_init(struct nvirt_hv_partition *partition,
                                                   uint32_t index, struct nvirt_hv_slot *slots,
                                                   uint32_t capacity);

/**
 * Gives a processor the queue for its L2s, which it needs where DIRECT_FLUSH is offered. To be
 * called for each before L1 runs.
 * @param partition the partition.
 * @param index the processor.
 * @param slots @p capacity of them, memory of the caller's, to live as long as the partition; not
 *        those of nvirt_hv_vp_init().
 * @param capacity as for nvirt_hv_fifo_init().
 * @return as nvirt_hv_vp_init().
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_vp_init_l2(struct nvirt_hv_partition *partition,
                                                      uint32_t index, struct nvirt_hv_slot *slots,
                                                      uint32_t capacity);

/**
 * Counts of the queue for the L2s of a processor, as nvirt_hv_fifo_stats().
 * @param vp the processor.
 * @param stats where they go.
 */
void nvirt_hv_l2_stats(const struct nvirt_hv_vp *vp, struct nvirt_hv_fifo_stats *stats);

/** What CPUID gives. */
struct nvirt_hv_cpuid {
    uint32_t eax; /**< EAX. */
    uint32_t ebx; /**< EBX. */
    uint32_t ecx; /**< ECX. */
    uint32_t edx; /**< EDX. */
};

/**
 * CPUID of L1 for the hypervisor's leaves, 40000000h on [TLFS "Feature and Interface
 * Discovery"]. The host itself sets "hypervisor present", bit 31 of ECX of leaf 1.
 * @param partition the partition.
 * @param leaf EAX of L1.
 * @param out what it gives; written when true is returned.
 * @return true for a leaf of 40000000h to 400000FFh (those that there are not give zeros).
 *
 * Any CPU at any time.
 */
bool nvirt_hv_cpuid(const struct nvirt_hv_partition *partition, uint32_t leaf,
                    struct nvirt_hv_cpuid *out);

/**
 * RDMSR of L1, of the MSRs from 40000000h to 400001FFh.
 * @param partition the partition.
 * @param index the processor that executes it.
 * @param msr the MSR.
 * @param value what it holds.
 * @return NVIRT_OK; NVIRT_ERR_RANGE: #GP, also for what is not offered.
 *
 * Any CPU; one at a time for one processor.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_rdmsr(const struct nvirt_hv_partition *partition,
                                                 uint32_t index, uint32_t msr, uint64_t *value);

/**
 * WRMSR of L1, of the same. Enabling the hypercall page writes the instructions of a hypercall
 * into the page that L1 names; enabling the VP assist page clears that page.
 * @param partition the partition.
 * @param index the processor that executes it.
 * @param msr the MSR.
 * @param value what L1 writes.
 * @return NVIRT_OK; NVIRT_ERR_RANGE: #GP (no such MSR, read-only, reserved bits, a page without
 *         memory):
 *         nothing has changed then.
 *
 * Any CPU; one at a time for one processor.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_wrmsr(struct nvirt_hv_partition *partition,
                                                 uint32_t index, uint32_t msr, uint64_t value);

/* ---- hypercalls ---- */

/** Status of a hypercall, the low 16 bits of its result [TLFS "Hypercall Status Codes"]. */
enum nvirt_hv_status {
    NVIRT_HV_SUCCESS = 0,                 /**< Done. */
    NVIRT_HV_INVALID_HYPERCALL_CODE = 2,  /**< No such call is offered. */
    NVIRT_HV_INVALID_HYPERCALL_INPUT = 3, /**< Rep count, rep start, reserved bits, sizes. */
    NVIRT_HV_INVALID_ALIGNMENT = 4,       /**< Input not aligned, across pages, or not in memory. */
    NVIRT_HV_INVALID_PARAMETER = 5        /**< A flag or format that there is not. */
};

/** Bytes of hypercall input in XMM0 to XMM5. */
#define NVIRT_HV_XMM_BYTES NVIRT_XMM_BYTES

/** Who makes a hypercall, and how its CPU runs. */
struct nvirt_hv_caller {
    uint32_t vp;        /**< Its processor. */
    uint8_t cpl;        /**< Current privilege level. */
    bool protected_mode; /**< CR0.PE, and not virtual-8086 mode. */
    bool is_64bit;      /**< EFER.LMA and CS.L: registers are taken whole. */
    const uint8_t *xmm; /**< NVIRT_HV_XMM_BYTES, XMM0 first; null: XMM input is not possible. */
};

/** What a hypercall came to. */
enum nvirt_hv_outcome {
    NVIRT_HV_DONE = 0, /**< The result is in the registers: go on behind the instruction. */
    NVIRT_HV_UD        /**< #UD: no hypercall may be made like this. Nothing was done. */
};

/**
 * A hypercall of L1: VMCALL on Intel's, VMMCALL on AMD's CPUs. The flushes it asks for wait in
 * the processors' queues, and nvirt_port_kick() was called for each when this returns. They are
 * done when each of these has left its guest, if it was in it: a host that runs several at once
 * waits for that before it lets the caller go on [TLFS "Virtual MMU"].
 * @param partition the partition.
 * @param caller who makes it.
 * @param gprs its registers, RAX among them; the result is written there [TLFS "Hypercall
 *         Interface"].
 * @return what to do with the instruction.
 *
 * Any CPU; L1's processors at once. Does not wait.
 */
enum nvirt_hv_outcome nvirt_hv_hypercall(struct nvirt_hv_partition *partition,
                                         const struct nvirt_hv_caller *caller,
                                         struct nvirt_gprs *gprs);

/** nvirt_hv_take_nested_flush(): every table. */
#define NVIRT_HV_NESTED_ALL UINT64_MAX

/**
 * Takes out the second-stage flush that waits for a processor. nvirt's vCPUs that were given one
 * do this by themselves.
 * @param vp the processor.
 * @return 0: none; NVIRT_HV_NESTED_ALL; else the address of the table, bits 51:12 of EPTP or
 *         nCR3.
 *
 * On the processor's own CPU.
 */
static inline uint64_t nvirt_hv_take_nested_flush(struct nvirt_hv_vp *vp)
{
    uint64_t waits = 0;

    if (__atomic_load_n(&vp->nested_flush, __ATOMIC_RELAXED) != 0) {
        waits = __atomic_exchange_n(&vp->nested_flush, 0, __ATOMIC_SEQ_CST);
    }
    /* Bit 0 says that one waits; the table at address 0 has no other name than "every". */
    return waits == 1 || waits == NVIRT_HV_NESTED_ALL ? NVIRT_HV_NESTED_ALL : waits & ~UINT64_C(1);
}

/* ---- saved state ---- */

/** Bytes of the saved state of a partition with @p vps processors. */
#define NVIRT_HV_STATE_BYTES(vps) (16u + 16u * (4u + (size_t)(vps)))

/**
 * Writes the partition's state (<nvirt/state.h>): its MSRs. A vCPU made for a restored partition
 * flushes what it first uses, so flushes that wait are not in it.
 * @param partition the partition, none of whose processors runs.
 * @param buffer where it goes.
 * @param bytes how many there are: NVIRT_HV_STATE_BYTES(processors).
 * @param used how many were needed.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_SIZE: the contents are of no use then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_save(const struct nvirt_hv_partition *partition,
                                                void *buffer, size_t bytes, size_t *used);

/**
 * Takes over saved state. L1's memory, with the pages that the MSRs name, is the host's to
 * restore.
 * @param partition a partition with the same offer and as many processors, none of which has
 *         run.
 * @param buffer the state.
 * @param bytes how many.
 * @return NVIRT_OK; NVIRT_ERR_NULL; NVIRT_ERR_DATA: not such state, or one that L1 could not
 *         have come
 *         to; nothing has changed then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_hv_restore(struct nvirt_hv_partition *partition,
                                                   const void *buffer, size_t bytes);

NVIRT_END_DECLS

#endif
