/* SPDX-License-Identifier: MIT */
/*
 * Walk of x86 page tables that lie in L1's memory: L1's own (operands and instruction bytes of
 * what nvirt emulates), L1's nested tables (NPT12 has the same formats), and, one step at a time,
 * L2's own tables, whose addresses a caller first puts through EPT12 or NPT12.
 *
 * Every entry is read once; checks, result and the A/D update all come from that one value. A/D
 * bits are set by compare-exchange after the whole translation succeeded; when an entry is no
 * longer what was read, the walk starts over, a bounded number of times. An entry address without
 * memory behind it reads as all ones, as on a bus. Nothing here knows a vendor beyond the few
 * reserved bits in which the manuals differ. Re-entrant; no state outlives a call.
 *
 * [SDM 3A "Paging"] [APM 2 "Page Translation and Protection"]
 */
#ifndef NVI_PAGING_H
#define NVI_PAGING_H

#include <nvirt/port.h>
#include <nvirt/vm.h>

/** Which tables: the value is the number of levels, except that NONE and 2 speak for themselves. */
enum nvi_paging_format {
    NVI_PAGING_NONE = 0,  /**< CR0.PG=0: the address is the physical address, modulo 2^32. */
    NVI_PAGING_32BIT = 2, /**< Legacy two-level, 4-byte entries, 4 MiB pages if pse. */
    NVI_PAGING_PAE = 3,
    NVI_PAGING_4LEVEL = 4,
    NVI_PAGING_5LEVEL = 5
};

/** A paging mode. Zero-initialise; a false flag is a feature that is absent or off. */
struct nvi_paging {
    enum nvi_paging_format format;
    uint8_t physical_bits; /**< 32 to 52: bits above are reserved in entries. */
    bool amd;              /**< AMD's reserved bits: bit 8 of the top-level long-mode entry. */
    bool pse;              /**< CR4.PSE, for 32BIT only: 4 MiB pages. */
    bool pse36;            /**< CPUID PSE-36: bits 39:32 in a 4 MiB entry. */
    bool page_1g;          /**< CPUID 1-GiB pages; without it bit 7 of a PDPTE is reserved. */
    bool nxe;              /**< EFER.NXE. */
    bool wp;               /**< CR0.WP. */
    bool smep;             /**< CR4.SMEP. */
    bool smap;             /**< CR4.SMAP. */
    bool rflags_ac;        /**< RFLAGS.AC: explicit supervisor accesses pass SMAP. */
    bool pke;              /**< CR4.PKE: user pages obey pkru (4LEVEL and 5LEVEL). */
    bool pks;              /**< CR4.PKS: supervisor pages obey pkrs (4LEVEL and 5LEVEL). */
    uint32_t pkru;
    uint32_t pkrs;
    uint64_t cr3;          /**< CR3 (or nCR3) as it is: bits that are no address are ignored here,
                                so a PAE CR3 with low bits set cannot run past its 32-byte table. */
    bool pdptes_given;     /**< PAE: use pdpte[] (the CPU's registers, as VMX keeps them); else read
                                them from memory at each walk, as AMD does under nested paging. */
    uint64_t pdpte[4];
};

/** What is attempted: a set. An absent WRITE and EXECUTE is a data read. */
#define NVI_PAGING_WRITE 1u
#define NVI_PAGING_EXECUTE 2u
#define NVI_PAGING_USER 4u     /**< CPL 3, or any access through NPT. */
#define NVI_PAGING_IMPLICIT 8u /**< Implicit supervisor access (descriptor tables): AC is no use. */
#define NVI_PAGING_SET_AD 16u  /**< Set accessed and dirty bits as hardware would. */

/** Bits of a page-fault error code. */
#define NVI_PF_P 1u
#define NVI_PF_W 2u
#define NVI_PF_U 4u
#define NVI_PF_RSV 8u
#define NVI_PF_ID 16u
#define NVI_PF_PK 32u

enum nvi_paging_result {
    NVI_PAGING_OK = 0,
    NVI_PAGING_FAULT,     /**< Page fault: error_code says why. */
    NVI_PAGING_RETRY,     /**< Another CPU kept changing the tables: ask again later. */
    NVI_PAGING_NO_MEMORY  /**< Translated, but no memory of L1 there (copies only). */
};

/** Result of a walk. On FAULT only error_code is defined; on OK everything but error_code. */
struct nvi_paging_out {
    uint64_t address;      /**< Of the byte asked for, in the space that the tables' entries name:
                                L1-physical for L1's tables, L2-physical for L2's. */
    uint64_t size;         /**< Of the page: 4 KiB, 2 MiB, 4 MiB or 1 GiB; 4 KiB without paging. */
    uint32_t error_code;   /**< #PF error code, NVI_PF_*. */
    bool user;             /**< U/S set in every entry. */
    bool writable;         /**< R/W set in every entry (CR0.WP is the caller's to think of). */
    bool executable;       /**< NX set in no entry. */
    bool dirty;            /**< D of the leaf is set, now. */
    bool global;           /**< G of the leaf. */
    uint8_t pat_index;     /**< PAT:PCD:PWT of the leaf, 0 to 7. */
};

/**
 * Translates @p gva. The caller has checked that it is canonical; bits above the mode's width are
 * ignored (32 bits for NONE, 32BIT and PAE).
 * @param access NVI_PAGING_*.
 * @return NVI_PAGING_OK, NVI_PAGING_FAULT or NVI_PAGING_RETRY.
 */
NVIRT_NODISCARD enum nvi_paging_result nvi_paging_walk(struct nvirt_vm *vm,
                                                       const struct nvi_paging *mode, uint64_t gva,
                                                       uint32_t access, struct nvi_paging_out *out);

struct nvi_paging_steps;

/**
 * The same walk. On NVI_PAGING_OK @p steps has the entries used, by level from top down to level,
 * with the accessed and dirty bits that were set.
 */
NVIRT_NODISCARD enum nvi_paging_result nvi_paging_walk_noted(struct nvirt_vm *vm,
                                                             const struct nvi_paging *mode,
                                                             uint64_t gva, uint32_t access,
                                                             struct nvi_paging_out *out,
                                                             struct nvi_paging_steps *steps);

/* ---- copies through L1's tables ---- */

/** Where a copy stopped: for the #PF that L1 is given. */
struct nvi_paging_fault {
    uint64_t address;    /**< CR2: first byte of the access in the page that faulted. */
    uint32_t error_code;
};

/**
 * Copies @p bytes (1 to 4096) from linear @p gva; each byte of memory is read once. All pages are
 * translated before the first byte is copied. With a 32-bit format addresses wrap at 4 GiB.
 * @return NVI_PAGING_OK; NVI_PAGING_FAULT with *fault; NVI_PAGING_RETRY; NVI_PAGING_NO_MEMORY
 *         (contents of @p to undefined then: a bus gives all ones).
 */
NVIRT_NODISCARD enum nvi_paging_result nvi_paging_read(struct nvirt_vm *vm,
                                                       const struct nvi_paging *mode, uint64_t gva,
                                                       uint32_t access, void *to, size_t bytes,
                                                       struct nvi_paging_fault *fault);

/**
 * Copies @p bytes (1 to 4096) to linear @p gva. All pages are translated for writing before the
 * first byte is written. NVI_PAGING_WRITE is implied.
 * @return as nvi_paging_read(); NVI_PAGING_NO_MEMORY when a page's memory takes no write: the
 *         first page may have been written then.
 */
NVIRT_NODISCARD enum nvi_paging_result nvi_paging_write(struct nvirt_vm *vm,
                                                        const struct nvi_paging *mode, uint64_t gva,
                                                        uint32_t access, const void *from,
                                                        size_t bytes,
                                                        struct nvi_paging_fault *fault);

/* ---- the same walk in steps, for tables that are reached through a second stage ---- */

/** A walk under way. Members are the walker's, except that the caller reads entry_address. */
struct nvi_paging_steps {
    const struct nvi_paging *mode;
    uint64_t gva;
    uint32_t access;
    uint32_t level;          /**< Level of the entry that is needed next; 1 is a PTE. */
    uint32_t top;            /**< Level at which memory is first read. */
    uint64_t entry_address;  /**< Address of that entry, in the space of the tables. */
    uint64_t leaf;           /**< Entry that maps the page, when done. */
    bool user, writable, executable;
    nvirt_l1gpa word[6];     /**< By level: where the entry was read, */
    uint64_t value[6];       /**< and what it was, or is with the bits that commit set. */
    struct nvi_paging_out *out;
};

enum nvi_paging_progress {
    NVI_PAGING_NEXT = 0, /**< Translate entry_address and call nvi_paging_step(). */
    NVI_PAGING_DONE,     /**< *out is complete: call nvi_paging_commit(). */
    NVI_PAGING_FAULTED,  /**< out->error_code is set. */
    NVI_PAGING_CHANGED   /**< From commit: an entry changed meanwhile, begin again. */
};

/** Most times any walk here starts over before it says RETRY. */
#define NVI_PAGING_MAX_RESTARTS 8u

/** Starts a walk in steps. @return NEXT, DONE (no paging) or FAULTED (absent given PDPTE). */
NVIRT_NODISCARD enum nvi_paging_progress nvi_paging_begin(struct nvi_paging_steps *steps,
                                                          const struct nvi_paging *mode,
                                                          uint64_t gva, uint32_t access,
                                                          struct nvi_paging_out *out);

/**
 * Reads the entry, whose address the caller translated to @p entry, and goes on.
 * @return NEXT, DONE or FAULTED.
 */
NVIRT_NODISCARD enum nvi_paging_progress nvi_paging_step(struct nvirt_vm *vm,
                                                         struct nvi_paging_steps *steps,
                                                         nvirt_l1gpa entry);

/**
 * Sets the accessed and dirty bits if the access asks for it. L1 memory that takes no write drops
 * them, as a bus would.
 * @return DONE or CHANGED.
 */
NVIRT_NODISCARD enum nvi_paging_progress nvi_paging_commit(struct nvirt_vm *vm,
                                                           struct nvi_paging_steps *steps);

#endif
