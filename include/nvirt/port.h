/* SPDX-License-Identifier: MIT */
/*
 * The port: what the host supplies to nvirt, as plain functions found at link time.
 *
 * Two opaque structs carry the host's context: struct nvirt_port_vm, one per VM, given to every
 * cold function, and struct nvirt_port_cpu, one per physical CPU, given to every hot one. nvirt
 * never looks inside. A missing function is a link error.
 *
 * The hot tier (nine wrappers of one instruction each) is in <nvirt/port_hot.h>.
 *
 * Every function here may be called by any CPU that is inside a call of nvirt, by several at once
 * for the same VM. None may call back into nvirt for the same vCPU. None may block for an
 * invalidation that waits for the calling vCPU: say NVIRT_ERR_RETRY instead.
 */
#ifndef NVIRT_PORT_H
#define NVIRT_PORT_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

struct nvirt_port_vm;
struct nvirt_port_cpu;

/** Rights and access kinds: a set of these bits. */
#define NVIRT_ACCESS_READ 1u
#define NVIRT_ACCESS_WRITE 2u
#define NVIRT_ACCESS_EXECUTE 4u

/** Memory types by their architectural encoding [SDM 3A "Memory Types"]. */
enum nvirt_memory_type {
    NVIRT_MEMORY_UC = 0,
    NVIRT_MEMORY_WC = 1,
    NVIRT_MEMORY_WT = 4,
    NVIRT_MEMORY_WP = 5,
    NVIRT_MEMORY_WB = 6
};

/* ---- pages of the host, for nvirt's tables and control structures ---- */

/**
 * Gives one page of 4096 bytes, aligned, that nvirt owns until nvirt_port_page_free().
 * Its contents are undefined. nvirt asks for one page at a time and counts them against the VM's
 * budget before it asks.
 * @return NVIRT_OK, or NVIRT_ERR_NO_PAGE with *page untouched.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_page_alloc(struct nvirt_port_vm *vm, nvirt_hpa *page);

/** Takes back a page that nvirt_port_page_alloc() gave. No CPU's TLB can reach it any more. */
void nvirt_port_page_free(struct nvirt_port_vm *vm, nvirt_hpa page);

/**
 * A pointer to a page that nvirt owns or has pinned; valid until it is freed or unpinned.
 * Never null for such a page.
 */
void *nvirt_port_page_pointer(struct nvirt_port_vm *vm, nvirt_hpa page);

/* ---- memory of L1 ---- */

/** What the host's own second-stage tables say of one L1 address. */
struct nvirt_translation {
    nvirt_hpa hpa;          /**< Physical address of the byte asked for. */
    uint64_t size;          /**< Bytes of the naturally aligned block around it that is contiguous and
                                 alike in both address spaces: 4 KiB, 2 MiB or 1 GiB. */
    uint32_t rights;        /**< NVIRT_ACCESS_* that the host grants. */
    uint8_t memory_type;    /**< enum nvirt_memory_type that the host wants for it. */
    uint64_t sequence;      /**< Value of nvirt_port_sequence() under which all this holds. */
};

/**
 * Translates an L1 physical address for use in tables that hardware walks for L2.
 * @param access what L2 wants to do; a host that maps on demand makes at least that possible.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when L1 has nothing there (or not with these rights);
 *         NVIRT_ERR_RETRY while the host is changing the mapping. *out is written on NVIRT_OK only.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_translate(struct nvirt_port_vm *vm, nvirt_l1gpa address,
                                                       uint32_t access,
                                                       struct nvirt_translation *out);

/**
 * The VM's invalidation sequence: changes whenever any translation given before may have ceased to
 * hold, and is odd while such a change is in progress.
 */
uint64_t nvirt_port_sequence(struct nvirt_port_vm *vm);

/**
 * Keeps one page of L1 in place, so that hardware may be given its physical address.
 * @param page 4 KiB aligned.
 * @param access NVIRT_ACCESS_READ, or with NVIRT_ACCESS_WRITE when hardware may write it.
 * @return NVIRT_OK with *hpa; NVIRT_ERR_NO_MAPPING when L1 has no such memory.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_pin(struct nvirt_port_vm *vm, nvirt_l1gpa page,
                                                 uint32_t access, nvirt_hpa *hpa);

/** Ends a pin. @p written tells whether hardware may have written the page while it lasted. */
void nvirt_port_unpin(struct nvirt_port_vm *vm, nvirt_l1gpa page, nvirt_hpa hpa, bool written);

/**
 * Copies bytes out of L1's memory, each byte read exactly once. May span pages.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when any byte has no memory behind it (nvirt then does
 *         what a bus without memory does: reads as all ones); the contents of @p to are then
 *         undefined. Aligned 8-byte and 4-byte reads are single accesses.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_read(struct nvirt_port_vm *vm, nvirt_l1gpa from,
                                                     void *to, size_t bytes);

/**
 * Copies bytes into L1's memory. May span pages. Aligned 8-byte and 4-byte writes are single
 * accesses. Marks the memory dirty for a host that logs.
 * @return NVIRT_OK; NVIRT_ERR_NO_MAPPING when any byte has no writable memory behind it: then
 *         nothing was written.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_write(struct nvirt_port_vm *vm, nvirt_l1gpa to,
                                                      const void *from, size_t bytes);

/**
 * Atomic compare-exchange of an aligned word of L1's memory (accessed and dirty bits).
 * @param bytes 4 or 8.
 * @param expected in: the value the word must have; out: the value it had.
 * @return NVIRT_OK whether or not the exchange took place (compare *expected);
 *         NVIRT_ERR_NO_MAPPING when the word is not writable memory of L1.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_compare_exchange(struct nvirt_port_vm *vm,
                                                                 nvirt_l1gpa word, size_t bytes,
                                                                 uint64_t *expected,
                                                                 uint64_t desired);

/* ---- MSRs of L1 that nvirt does not hold itself (VM-entry and VM-exit MSR lists) ---- */

/**
 * What RDMSR of L1 at CPL 0 would give for @p msr.
 * @return NVIRT_OK; NVIRT_ERR_RANGE when it would raise #GP.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_rdmsr(struct nvirt_port_vm *vm,
                                                      struct nvirt_port_cpu *cpu, uint32_t msr,
                                                      uint64_t *value);

/**
 * Does what WRMSR of L1 at CPL 0 would do for @p msr.
 * @return NVIRT_OK; NVIRT_ERR_RANGE when it would raise #GP, nothing is changed then.
 */
NVIRT_NODISCARD enum nvirt_status nvirt_port_l1_wrmsr(struct nvirt_port_vm *vm,
                                                      struct nvirt_port_cpu *cpu, uint32_t msr,
                                                      uint64_t value);

/* ---- other CPUs, messages ---- */

/**
 * Makes the CPU that runs vCPU @p vcpu_index leave its guest soon and come back through the
 * prepare call, where pending flushes are carried out. Does not wait. Harmless when none runs it.
 */
void nvirt_port_kick(struct nvirt_port_vm *vm, uint32_t vcpu_index);

/** One line for the host's trace: a rule that failed, a transition. @p text is a constant string. */
void nvirt_port_trace(struct nvirt_port_vm *vm, const char *text, uint64_t value);

/** A broken invariant of nvirt itself. Not reachable by anything that L1 or L2 does. */
NVIRT_NORETURN void nvirt_port_panic(const char *text);

NVIRT_END_DECLS

#endif
