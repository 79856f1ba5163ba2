/* SPDX-License-Identifier: MIT */
/*
 * EPT: L1's tables (EPT12) walked with all rules of what is offered, composed with the host's
 * translation into EPT02. An EPTP of L1's reaches these functions only after its checks
 * [SDM 3C "Checks on VMX Controls"]: walk length 4 or, if offered, 5; type 0 or 6; reserved bits 0.
 *
 * [SDM 3C "The Extended Page Table Mechanism (EPT)"]
 */
#ifndef NVI_EPT_H
#define NVI_EPT_H

#include "mmu/mmu.h"
#include "paging/paging.h"

/** What is offered to L1 and what the CPU has: constant for the life of a vCPU. Then the pages that
 *  stand apart, as they are now; addresses with bit 0 set, 0 for none. */
struct nvi_ept_config {
    uint8_t physical_bits; /**< Of L1: table bits above are reserved. */
    bool execute_only;     /**< Offered to L1, only if the CPU has it. */
    bool page_2m;          /**< Offered to L1. */
    bool page_1g;          /**< Offered to L1. */
    bool cpu_2m;           /**< The CPU has it: usable in EPT02. */
    bool cpu_1g;
    bool cpu_wb;           /**< The CPU takes write-back EPT tables (else uncached). */
    bool shadow_stacks;    /**< L1 has CET: bit 13 of a qualification. */
    bool advanced_info;    /**< Offered to L1, only if the CPU has it: bits 11:9 of a qualification. */
    bool apic_is_l1s;      /**< apic_page is L1's own, pinned; else a page that stands for it. */
    uint64_t apic_page;    /**< hpa that vmcs02 has as its APIC-access address. Which page of L1's that
                                is stands in the root's key. */
    uint64_t host_apic;    /**< hpa of the page that the host manages for L1's own APIC, */
    uint64_t host_apic_at; /**< and where L1 has it, if that is known. */
};

/**
 * A fetch from a user-mode linear address, beside NVIRT_ACCESS_*, which NVIRT_ACCESS_EXECUTE is not
 * where the role has NVI_ROLE_MODE_EXECUTE: then it is one from a supervisor-mode address. A linear
 * address is of user mode when L2's own tables make it one, or L2 does not page
 * [SDM 3C "EPT Translation Mechanism"]. The same bit as in an entry.
 */
#define NVI_EPT_USER_EXECUTE 0x400u

/** Bits of the exit qualification of an EPT violation. */
#define NVI_EPT_QUAL_READ NVIRT_BIT(0)
#define NVI_EPT_QUAL_WRITE NVIRT_BIT(1)
#define NVI_EPT_QUAL_FETCH NVIRT_BIT(2)
#define NVI_EPT_QUAL_RIGHTS_SHIFT 3u
#define NVI_EPT_QUAL_USER_EXECUTABLE NVIRT_BIT(6) /**< With mode-based execute control. */
#define NVI_EPT_QUAL_LINEAR NVIRT_BIT(7) /**< Guest linear address is valid. */
#define NVI_EPT_QUAL_FINAL NVIRT_BIT(8)  /**< For the access itself, not for a table of L2's. */
/** Advanced information: the linear address is of user mode, and what L2's own tables allow. */
#define NVI_EPT_QUAL_ADVANCED NVIRT_BITS(11, 9)
#define NVI_EPT_QUAL_USER NVIRT_BIT(9)
#define NVI_EPT_QUAL_WRITABLE NVIRT_BIT(10)
#define NVI_EPT_QUAL_EXECUTE_DISABLE NVIRT_BIT(11)
#define NVI_EPT_QUAL_NMI_UNBLOCK NVIRT_BIT(12)
#define NVI_EPT_QUAL_SHADOW_STACK NVIRT_BIT(13) /**< The access was to a shadow stack. */

/** Bit of the exit qualification of an SPP-related event: a miss; else a misconfiguration. */
#define NVI_EPT_QUAL_SUBPAGE_MISS NVIRT_BIT(11)

/** Writes that sub-page permissions may allow are those to what a linear address leads to, not those
 *  to the tables that lead there [SDM 3C "Write Accesses That Are Eligible for Sub-Page Write
 *  Permissions"]. @param qualification of an EPT violation. */
static inline bool nvi_ept_may_be_eligible(uint64_t qualification)
{
    const uint64_t final = NVI_EPT_QUAL_LINEAR | NVI_EPT_QUAL_FINAL;

    return (qualification & final) == final;
}

/** Rights of EPT12's entries (struct nvi_ept_out) as a qualification has them: bits 6:3. */
static inline uint64_t nvi_ept_told_rights(uint32_t rights)
{
    const uint32_t all = NVIRT_ACCESS_READ | NVIRT_ACCESS_WRITE | NVIRT_ACCESS_EXECUTE;

    return (uint64_t)(rights & all) << NVI_EPT_QUAL_RIGHTS_SHIFT |
           ((rights & NVI_EPT_USER_EXECUTE) != 0 ? NVI_EPT_QUAL_USER_EXECUTABLE : 0);
}

/** Key of L1's @p eptp12; NVI_ROLE_MODE_EXECUTE, and NVI_ROLE_SUBPAGES with the address of L1's SPPT,
 *  are the caller's to add. */
struct nvi_mmu_key nvi_ept_key(uint64_t eptp12);

/** Key of a direct root; @p apart as in struct nvi_mmu_key. */
struct nvi_mmu_key nvi_ept_direct_key(uint64_t apart);

/** Finds or makes the root; as nvi_mmu_root_get(). */
NVIRT_NODISCARD enum nvirt_status nvi_ept_root(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                                               struct nvi_mmu_root **root);

/** EPTP that hardware runs @p root with: walk length, memory type, A/D exactly as L1's has it. */
uint64_t nvi_ept_eptp02(const struct nvi_ept_config *config, const struct nvi_mmu_root *root);

/**
 * L1's page-modification log. It counts down, and from 0 to FFFFH when its last place was used: any
 * index above 511 is that of a full log [SDM 3C "Page-Modification Logging"].
 */
struct nvi_ept_log {
    uint64_t address; /**< L1-physical, of a page. */
    uint16_t index;   /**< Of the place written next. */
};

/** What a fault came to, besides the verdict. */
struct nvi_ept_verdict {
    uint64_t qualification; /**< REFLECT, REFLECT_SUBPAGE: for L1, bit 12 left 0 (the caller knows
                                 about NMIs). REFLECT_MISCONFIG, REFLECT_LOG_FULL: 0. */
    bool convertible;       /**< REFLECT: as in struct nvi_ept_out. */
    nvirt_l1gpa l1gpa;      /**< HOST: the L1 address behind; also set for INSTALLED. */
};

/**
 * An EPT violation of L2 on @p root: finds out whose it is and fills the root if nobody's.
 * @param qualification of the exit; bits 2:0 say what was tried, 7 and 8 are handed on, and 11:9 and
 *        13 if offered. With mode-based execute control the CPU has bit 9, offered or not.
 * @param log L1's, its index moves on; null: L1 has none.
 * @return any enum nvi_fault. For REFLECT and REFLECT_MISCONFIG the guest-physical and the
 *         guest-linear address that L1 sees are those of the exit.
 */
NVIRT_NODISCARD enum nvi_fault nvi_ept_fault(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                             const struct nvi_ept_config *config,
                                             uint64_t qualification, nvirt_l2gpa l2gpa,
                                             struct nvi_ept_log *log,
                                             struct nvi_ept_verdict *verdict);

/**
 * An SPP-related event of L2 on @p root, which has sub-page permissions: hardware found none, or none
 * that it understands, for a write that is eligible.
 * @param log as for nvi_ept_fault().
 * @return NVI_FAULT_REFLECT_SUBPAGE: so it is in L1's tables; NVI_FAULT_RETRY; NVI_FAULT_NO_PAGE.
 */
NVIRT_NODISCARD enum nvi_fault nvi_ept_subpage_event(struct nvi_mmu *mmu,
                                                     struct nvi_mmu_root *root,
                                                     const struct nvi_ept_config *config,
                                                     nvirt_l2gpa l2gpa, struct nvi_ept_log *log,
                                                     struct nvi_ept_verdict *verdict);

enum nvi_ept_result {
    NVI_EPT_OK = 0,
    NVI_EPT_VIOLATION,
    NVI_EPT_SUBPAGE, /**< A violation unless the write is eligible for sub-page write permissions and
                          those allow it. No flag was set, nothing was logged. */
    NVI_EPT_MISCONFIG,
    NVI_EPT_LOG_FULL, /**< A flag is to be set and L1's log has no place: none was. */
    NVI_EPT_RETRY /**< Entries kept changing under the A/D update. */
};

/** Result of a walk of EPT12. */
struct nvi_ept_out {
    nvirt_l1gpa l1gpa;   /**< OK: of the byte asked for. What is said of OK holds for SUBPAGE. */
    uint64_t size;       /**< OK: of L1's page. */
    uint32_t rights;     /**< OK, VIOLATION: NVIRT_ACCESS_*, with mode-based execute control also
                              NVI_EPT_USER_EXECUTE: AND over the entries used. */
    bool convertible;    /**< VIOLATION, SUBPAGE: the entry that decides has "suppress #VE" clear: the
                              one that is not present, or else the leaf [SDM 3C "Convertible EPT
                              Violations"]. */
    bool subpages;       /**< OK: the page has sub-page permissions, and writes are allowed by nothing
                              else. */
    uint8_t memory_type; /**< OK. */
    bool ignore_pat;     /**< OK. */
    bool dirty;          /**< OK: D of the leaf is set, or A/D are off. */
    struct nvi_mmu_path path; /**< OK: the entries used. */
};

/**
 * Walks EPT12 as hardware would, update of the accessed and dirty flags and of the log included.
 * @param key of L1's EPTP, or direct (identity). @param access as rights of *out.
 * @param log L1's, its index moves on; null: L1 has none.
 */
NVIRT_NODISCARD enum nvi_ept_result nvi_ept_walk(struct nvirt_vm *vm,
                                                 const struct nvi_ept_config *config,
                                                 const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa,
                                                 uint32_t access, struct nvi_ept_log *log,
                                                 struct nvi_ept_out *out);

/**
 * Sets the flags that nvi_ept_walk() left alone when it answered SUBPAGE.
 * @param access what is let through after all. Other parameters as for the walk; *out as it answered.
 * @return NVI_EPT_OK, NVI_EPT_LOG_FULL or NVI_EPT_RETRY.
 */
NVIRT_NODISCARD enum nvi_ept_result nvi_ept_settle(struct nvirt_vm *vm,
                                                   const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa,
                                                   uint32_t access, struct nvi_ept_log *log,
                                                   struct nvi_ept_out *out);

/* ---- sub-page write permissions (ept_subpage.c) ---- */

/** What L1's SPPT says of a write that is eligible. */
enum nvi_subpage {
    NVI_SUBPAGE_ALLOWED = 0,
    NVI_SUBPAGE_DENIED,   /**< An EPT violation. */
    NVI_SUBPAGE_MISS,     /**< The others are SPP-related events. */
    NVI_SUBPAGE_MISCONFIG
};

/**
 * Looks a write of nvirt's own up, on L2's behalf, or one that hardware was not yet to decide.
 * @param bytes of the write, which stays in one page. One that touches two sub-pages needs both.
 */
enum nvi_subpage nvi_ept_subpage(struct nvirt_vm *vm, const struct nvi_ept_config *config,
                                 const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa, uint64_t bytes);

/** Qualification of the SPP-related event that @p subpage is. */
static inline uint64_t nvi_ept_subpage_qualification(enum nvi_subpage subpage)
{
    return subpage == NVI_SUBPAGE_MISS ? NVI_EPT_QUAL_SUBPAGE_MISS : 0;
}

/**
 * Hardware refused a write for the vector it has. Brings that up to date with L1's SPPT.
 * @return true when it was another one, or another table: L2 is to try again.
 */
bool nvi_ept_subpage_renew(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                           const struct nvi_ept_config *config, nvirt_l2gpa l2gpa);

/** Has hardware find what L1's SPPT says of the page, and of the 511 around it.
 *  @return as nvi_ept_subpage_event(). */
NVIRT_NODISCARD enum nvi_fault nvi_ept_subpage_load(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                                    const struct nvi_ept_config *config,
                                                    nvirt_l2gpa l2gpa,
                                                    struct nvi_ept_verdict *verdict);

#endif
