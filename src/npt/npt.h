/* SPDX-License-Identifier: MIT */
/*
 * NPT: L1's nested tables (NPT12) in whatever paging mode L1 itself runs, composed with the host's
 * translation into NPT02, which is always four-level long mode. Every nested access is a user
 * access. NPT02 uses the no-execute bit: the host runs with EFER.NXE set.
 *
 * NPT02 covers 48 bits of L2-physical addresses. 32-bit and PAE tables of L1's cover 32: what lies
 * above is not present for L2.
 *
 * [APM 2 "Nested Paging"]
 */
#ifndef NVI_NPT_H
#define NVI_NPT_H

#include "mmu/mmu.h"
#include "paging/paging.h"

/** Facts about the CPU and the host. Constant for the life of a vCPU. */
struct nvi_npt_config {
    uint8_t physical_bits; /**< Of L1. */
    bool page_1g;          /**< Offered to L1 by CPUID. */
    bool pse36;            /**< Offered to L1 by CPUID. */
    bool cpu_1g;           /**< The CPU has it: usable in NPT02. */
    uint64_t cpu_pat;      /**< PAT in force in hardware while L2 runs: the host's. */
};

/** L1's host state at its VMRUN, which decides how its nested tables are read. */
struct nvi_npt_mode {
    uint64_t ncr3;  /**< As vmcb12 has it. */
    uint64_t cr0;   /**< L1's: PG. */
    uint64_t cr4;   /**< L1's: PAE, PSE, LA57. */
    uint64_t efer;  /**< L1's: LMA, NXE. */
    uint64_t pat;   /**< L1's. */
};

/** Bits of EXITINFO1 of a nested page fault, above the error code NVI_PF_*. */
#define NVI_NPF_FINAL NVIRT_BIT(32) /**< For the final translation. */
#define NVI_NPF_TABLE NVIRT_BIT(33) /**< For a table of L2's. */

/** True when nvirt can express memory types with @p cpu_pat: it names WB and an uncached type. */
bool nvi_npt_pat_is_usable(uint64_t cpu_pat);

/** Key of L1's nested tables. L1 has paging on (VMRUN with CR0.PG clear is the caller's check). */
struct nvi_mmu_key nvi_npt_key(const struct nvi_npt_mode *mode);

/** Key of a direct root (L1 does not use nested paging); @p apart as in struct nvi_mmu_key. */
struct nvi_mmu_key nvi_npt_direct_key(uint64_t apart);

/** Finds or makes the root; as nvi_mmu_root_get(). Its nCR3 for vmcb02 is root->table. */
NVIRT_NODISCARD enum nvirt_status nvi_npt_root(struct nvi_mmu *mmu, const struct nvi_mmu_key *key,
                                               struct nvi_mmu_root **root);

/** What a fault came to, besides the verdict. */
struct nvi_npt_verdict {
    uint64_t info1;    /**< REFLECT: EXITINFO1 for L1. */
    nvirt_l1gpa l1gpa; /**< HOST: the L1 address behind; also set for INSTALLED. */
};

/**
 * A nested page fault of L2 on @p root: finds out whose it is and fills the root if nobody's.
 * @param info1 EXITINFO1 of the exit; @param l2gpa its EXITINFO2, which L1 sees too.
 * @return any enum nvi_fault but REFLECT_MISCONFIG.
 */
NVIRT_NODISCARD enum nvi_fault nvi_npt_fault(struct nvi_mmu *mmu, struct nvi_mmu_root *root,
                                             const struct nvi_npt_config *config, uint64_t info1,
                                             nvirt_l2gpa l2gpa, struct nvi_npt_verdict *verdict);

/** How a walk ended: as a walk of paging, of which this is one. */
struct nvi_npt_out {
    nvirt_l1gpa l1gpa;   /**< OK: of the byte asked for. */
    uint64_t size;       /**< OK: of L1's page: 4 KiB, 2 MiB, 4 MiB or 1 GiB. */
    uint32_t rights;     /**< OK: NVIRT_ACCESS_*. */
    uint8_t memory_type; /**< OK: PAT type L1 gives it, 7 being UC-. */
    bool dirty;          /**< OK. */
    uint32_t error_code; /**< FAULT: NVI_PF_*. */
    struct nvi_mmu_path path; /**< OK: the entries used. */
};

/**
 * Walks NPT12 as hardware would, A/D update included.
 * @param key of L1's tables, or direct (identity). @param access NVIRT_ACCESS_*.
 */
NVIRT_NODISCARD enum nvi_paging_result nvi_npt_walk(struct nvirt_vm *vm,
                                                    const struct nvi_npt_config *config,
                                                    const struct nvi_mmu_key *key,
                                                    nvirt_l2gpa l2gpa, uint32_t access,
                                                    struct nvi_npt_out *out);

/** How a translation of an L2 linear address ended. */
enum nvi_npt_linear {
    NVI_NPT_LINEAR_OK = 0,
    NVI_NPT_LINEAR_PAGE_FAULT, /**< L2's own tables: error_code. */
    NVI_NPT_LINEAR_NPF,        /**< NPT12 refused at l2gpa: error_code with bit 32 or 33. */
    NVI_NPT_LINEAR_RETRY
};

struct nvi_npt_linear_out {
    nvirt_l1gpa l1gpa;   /**< OK: of the byte, good to the end of its 4-KiB page. */
    nvirt_l2gpa l2gpa;   /**< OK, NPF: L2-physical address that was translated last. */
    uint64_t error_code; /**< PAGE_FAULT, NPF. */
};

/**
 * Translates a linear address of L2 through L2's tables, each reached through NPT12.
 * @param mode L2's paging; @param access NVI_PAGING_*.
 */
NVIRT_NODISCARD enum nvi_npt_linear nvi_npt_l2_linear(struct nvirt_vm *vm,
                                                      const struct nvi_npt_config *config,
                                                      const struct nvi_mmu_key *key,
                                                      const struct nvi_paging *mode, uint64_t gva,
                                                      uint32_t access,
                                                      struct nvi_npt_linear_out *out);

#endif
