/* SPDX-License-Identifier: MIT */
/**
 * @file
 * Types shared by every module: one C type per address space, the status that host-facing calls
 * return, general-purpose registers, and the counters. Nothing here knows a vendor.
 */
#ifndef NVIRT_TYPES_H
#define NVIRT_TYPES_H

#include <nvirt/compiler.h>

NVIRT_BEGIN_DECLS

/** @name Page of 4 KiB, the unit of all tables and control structures
 * @{ */
#define NVIRT_PAGE_SHIFT 12u
#define NVIRT_PAGE_SIZE UINT64_C(4096)
#define NVIRT_PAGE_MASK (~(NVIRT_PAGE_SIZE - 1))
/** @} */

/** A physical address of the machine: what hardware puts on the bus. */
typedef struct nvirt_hpa {
    uint64_t value; /**< The address. */
} nvirt_hpa;

/** A physical address as L1 sees it: translated to nvirt_hpa by the host's own tables. */
typedef struct nvirt_l1gpa {
    uint64_t value; /**< The address. */
} nvirt_l1gpa;

/** A physical address as L2 sees it: translated to nvirt_l1gpa by EPT12 or NPT12, if L1 uses one,
 *  else the same number. */
typedef struct nvirt_l2gpa {
    uint64_t value; /**< The address. */
} nvirt_l2gpa;

/** A linear address of L1 or L2, after segmentation. */
typedef struct nvirt_gva {
    uint64_t value; /**< The address. */
} nvirt_gva;

/**
 * Makes an address of this space.
 * @param value the number.
 * @return it, as nvirt_hpa.
 */
static inline nvirt_hpa nvirt_hpa_make(uint64_t value)
{
    nvirt_hpa address;

    address.value = value;
    return address;
}

/**
 * Makes an address of this space.
 * @param value the number.
 * @return it, as nvirt_l1gpa.
 */
static inline nvirt_l1gpa nvirt_l1gpa_make(uint64_t value)
{
    nvirt_l1gpa address;

    address.value = value;
    return address;
}

/**
 * Makes an address of this space.
 * @param value the number.
 * @return it, as nvirt_l2gpa.
 */
static inline nvirt_l2gpa nvirt_l2gpa_make(uint64_t value)
{
    nvirt_l2gpa address;

    address.value = value;
    return address;
}

/**
 * Makes an address of this space.
 * @param value the number.
 * @return it, as nvirt_gva.
 */
static inline nvirt_gva nvirt_gva_make(uint64_t value)
{
    nvirt_gva address;

    address.value = value;
    return address;
}

/**
 * What a call made by the host came to. Never used for what L1 sees: an architectural outcome
 * (VMfail, exception, entry failure, #VMEXIT) is data of its own.
 */
enum nvirt_status {
    NVIRT_OK = 0,          /**< Done. */
    NVIRT_ERR_NULL,        /**< A pointer that must not be null is null. */
    NVIRT_ERR_ALIGNMENT,   /**< An object or physical address is not aligned as documented. */
    NVIRT_ERR_SIZE,        /**< The memory given is smaller than the object needs. */
    NVIRT_ERR_RANGE,       /**< A number is outside its documented range. */
    NVIRT_ERR_STATE,       /**< The call does not fit the object's present state. */
    NVIRT_ERR_CAPABILITY,  /**< The CPU, by its capability struct, lacks a necessity. */
    NVIRT_ERR_NO_PAGE,     /**< The port had no page to give, or the VM's page budget is used up. */
    NVIRT_ERR_NO_MAPPING,  /**< The L1 address has no memory behind it. */
    NVIRT_ERR_RETRY,       /**< A mapping is being changed right now: ask again. */
    NVIRT_ERR_HARDWARE,    /**< An instruction failed that must not fail in the documented state. */
    NVIRT_ERR_UNSUPPORTED, /**< The port does not offer this; no call of nvirt answers it. */
    NVIRT_ERR_DATA,        /**< Saved state is damaged, of another version, or breaks a rule. */
    NVIRT_ERR_ASLEEP       /**< Nothing is to be entered: L2 is shut down or waits for a SIPI. */
};

/**
 * The name of a status, for messages.
 * @param status any number.
 * @return a constant string, "unknown status" for a number that is none; never null.
 *
 * Pure: any CPU, at any time.
 */
const char *nvirt_status_name(enum nvirt_status status);

/** Index into nvirt_gprs: the register numbers of ModRM and of the exit qualification. */
enum nvirt_gpr {
    NVIRT_RAX = 0,
    NVIRT_RCX,
    NVIRT_RDX,
    NVIRT_RBX,
    NVIRT_RSP,
    NVIRT_RBP,
    NVIRT_RSI,
    NVIRT_RDI,
    NVIRT_R8,
    NVIRT_R9,
    NVIRT_R10,
    NVIRT_R11,
    NVIRT_R12,
    NVIRT_R13,
    NVIRT_R14,
    NVIRT_R15,
    NVIRT_GPR_COUNT
};

/**
 * The general-purpose registers of the guest that exited, saved by the host's trampoline and
 * loaded by it again before entry. RSP (VMX) and RSP and RAX (SVM) live in the VMCS or VMCB: their
 * slots here are ignored on input and left as they are.
 */
struct nvirt_gprs {
    uint64_t r[NVIRT_GPR_COUNT]; /**< By enum nvirt_gpr. */
};

/**
 * The counters: one row each, NVIRT_COUNTER(name, what it counts).
 * All count since the vCPU was initialised (shadow_pages goes down too), and never wrap in practice
 * (64 bits).
 */
#define NVIRT_COUNTERS(NVIRT_COUNTER)                                                              \
    NVIRT_COUNTER(exits_l1, "exits taken while L1 ran")                                            \
    NVIRT_COUNTER(exits_l2, "exits taken while L2 ran")                                            \
    NVIRT_COUNTER(nested_entries, "entries of L2 that L1 asked for and got")                       \
    NVIRT_COUNTER(nested_exits, "exits of L2 reflected to L1")                                     \
    NVIRT_COUNTER(entries_refused, "entries refused with VMfail, entry failure or VMEXIT_INVALID") \
    NVIRT_COUNTER(instructions, "virtualization instructions of L1 carried out")                   \
    NVIRT_COUNTER(vmreads, "VMREAD instructions executed")                                         \
    NVIRT_COUNTER(vmwrites, "VMWRITE instructions executed")                                       \
    NVIRT_COUNTER(vmptrlds, "VMPTRLD instructions executed")                                       \
    NVIRT_COUNTER(vmclears, "VMCLEAR instructions executed")                                       \
    NVIRT_COUNTER(pins, "pages of L1 pinned")                                                      \
    NVIRT_COUNTER(unpins, "pages of L1 unpinned")                                                  \
    NVIRT_COUNTER(bytes_read, "bytes of L1 memory read")                                           \
    NVIRT_COUNTER(bytes_written, "bytes of L1 memory written")                                     \
    NVIRT_COUNTER(flushes_address, "single linear addresses invalidated")                          \
    NVIRT_COUNTER(flushes_tag, "whole VPIDs or ASIDs flushed")                                     \
    NVIRT_COUNTER(flushes_root, "second-stage roots flushed (INVEPT single-context)")              \
    NVIRT_COUNTER(flushes_all, "flushes of everything")                                            \
    NVIRT_COUNTER(root_hits, "second-stage roots found in the cache")                              \
    NVIRT_COUNTER(root_misses, "second-stage roots created")                                       \
    NVIRT_COUNTER(shadow_faults, "second-stage entries installed on demand")                       \
    NVIRT_COUNTER(shadow_reflected, "second-stage faults that were L1's")                          \
    NVIRT_COUNTER(shadow_pages, "table pages in use now")                                          \
    NVIRT_COUNTER(shadow_reclaimed, "shadow tables given back for lack of budget")                 \
    NVIRT_COUNTER(shadow_revalidated, "shadow tables compared with L1's after an invalidation")    \
    NVIRT_COUNTER(shadow_dropped, "second-stage entries dropped because the host changed memory")  \
    NVIRT_COUNTER(maps_clean, "MSR maps of L1 not read, because it said that they are unchanged")  \
    NVIRT_COUNTER(enlightened_entries, "VMLAUNCH and VMRESUME with an enlightened VMCS")           \
    NVIRT_COUNTER(groups_clean, "groups of its fields not read, because L1 said the same of them") \
    NVIRT_COUNTER(direct_flushes, "flush hypercalls of L2 carried out without L1")                 \
    NVIRT_COUNTER(direct_traps, "of these, told to L1 afterwards because it had locked the TLB")

/** Counters of one vCPU; read them only while no other CPU is inside a call on that vCPU. */
struct nvirt_stats {
#define NVIRT_COUNTER(name, text) uint64_t name;
    NVIRT_COUNTERS(NVIRT_COUNTER)
#undef NVIRT_COUNTER
};

/** Number of counters in struct nvirt_stats. */
#define NVIRT_STATS_COUNT (sizeof(struct nvirt_stats) / sizeof(uint64_t))

/**
 * The name of a counter, for messages.
 * @param index its place in struct nvirt_stats, from 0.
 * @return a constant string; null from NVIRT_STATS_COUNT on.
 *
 * Pure: any CPU, at any time.
 */
const char *nvirt_stats_name(size_t index);

NVIRT_END_DECLS

#endif
