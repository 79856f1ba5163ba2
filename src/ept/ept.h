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

/** What is offered to L1 and what the CPU has. Constant for the life of a vCPU. */
struct nvi_ept_config {
    uint8_t physical_bits; /**< Of L1: table bits above are reserved. */
    bool execute_only;     /**< Offered to L1, only if the CPU has it. */
    bool page_2m;          /**< Offered to L1. */
    bool page_1g;          /**< Offered to L1. */
    bool cpu_2m;           /**< The CPU has it: usable in EPT02. */
    bool cpu_1g;
    bool cpu_wb;           /**< The CPU takes write-back EPT tables (else uncached). */
};

/** Bits of the exit qualification of an EPT violation. */
#define NVI_EPT_QUAL_READ NVIRT_BIT(0)
#define NVI_EPT_QUAL_WRITE NVIRT_BIT(1)
#define NVI_EPT_QUAL_FETCH NVIRT_BIT(2)
#define NVI_EPT_QUAL_RIGHTS_SHIFT 3u
#define NVI_EPT_QUAL_LINEAR NVIRT_BIT(7) /**< Guest linear address is valid. */
#define NVI_EPT_QUAL_FINAL NVIRT_BIT(8)  /**< For the access itself, not for a table of L2's. */
#define NVI_EPT_QUAL_NMI_UNBLOCK NVIRT_BIT(12)

/** Key of L1's @p eptp12. */
struct nvi_mmu_key nvi_ept_key(uint64_t eptp12);

/** Key of a direct root; @p apart as in struct nvi_mmu_key. */
struct nvi_mmu_key nvi_ept_direct_key(uint64_t apart);

/** Finds or makes the root; as nvi_mmu_root_get(). */
NVIRT_NODISCARD enum nvirt_status nvi_ept_root(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                                               struct nvi_mmu_root **root);

/** EPTP that hardware runs @p root with: walk length, memory type, A/D exactly as L1's has it. */
uint64_t nvi_ept_eptp02(const struct nvi_ept_config *config, const struct nvi_mmu_root *root);

/** What a fault came to, besides the verdict. */
struct nvi_ept_verdict {
    uint64_t qualification; /**< REFLECT: for L1, bit 12 left 0 (the caller knows about NMIs).
                                 REFLECT_MISCONFIG: 0. */
    nvirt_l1gpa l1gpa;      /**< HOST: the L1 address behind; also set for INSTALLED. */
};

/**
 * An EPT violation of L2 on @p root: finds out whose it is and fills the root if nobody's.
 * @param qualification of the exit; bits 2:0 say what was tried, 7 and 8 are handed on.
 * @return any enum nvi_fault. For REFLECT and REFLECT_MISCONFIG the guest-physical and the
 *         guest-linear address that L1 sees are those of the exit.
 */
NVIRT_NODISCARD enum nvi_fault nvi_ept_fault(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                             const struct nvi_ept_config *config,
                                             uint64_t qualification, nvirt_l2gpa l2gpa,
                                             struct nvi_ept_verdict *verdict);

enum nvi_ept_result {
    NVI_EPT_OK = 0,
    NVI_EPT_VIOLATION,
    NVI_EPT_MISCONFIG,
    NVI_EPT_RETRY /**< Entries kept changing under the A/D update. */
};

/** Result of a walk of EPT12. */
struct nvi_ept_out {
    nvirt_l1gpa l1gpa;   /**< OK: of the byte asked for. */
    uint64_t size;       /**< OK: of L1's page. */
    uint32_t rights;     /**< OK, VIOLATION: NVIRT_ACCESS_*, AND over the entries used. */
    uint8_t memory_type; /**< OK. */
    bool ignore_pat;     /**< OK. */
    bool dirty;          /**< OK: D of the leaf is set, or A/D are off. */
};

/**
 * Walks EPT12 as hardware would, A/D update included.
 * @param key of L1's EPTP, or direct (identity). @param access NVIRT_ACCESS_*.
 */
NVIRT_NODISCARD enum nvi_ept_result nvi_ept_walk(struct nvirt_vm *vm,
                                                 const struct nvi_ept_config *config,
                                                 const struct nvi_mmu_key *key, nvirt_l2gpa l2gpa,
                                                 uint32_t access, struct nvi_ept_out *out);

#endif
