/* SPDX-License-Identifier: MIT */
/* What the files of the Hyper-V interface share: numbers of the TLFS. */
#ifndef NVI_HV_INTERNAL_H
#define NVI_HV_INTERNAL_H

#include <nvirt/hyperv.h>

/* Bit 0 of the MSRs that name a page: it is in use. */
#define NVI_HV_PAGE_ENABLED UINT64_C(1)
/* HV_X64_MSR_HYPERCALL can be changed no more. */
#define NVI_HV_HYPERCALL_LOCKED UINT64_C(2)

/* Both must be there before L1 may make a hypercall [TLFS "Establishing the Hypercall
 * Interface"]. */
static inline bool nvi_hv_is_established(const struct nvirt_hv_partition *partition)
{
    return (__atomic_load_n(&partition->hypercall, __ATOMIC_ACQUIRE) & NVI_HV_PAGE_ENABLED) != 0;
}

#endif
