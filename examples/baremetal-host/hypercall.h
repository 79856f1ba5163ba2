/* SPDX-License-Identifier: MIT */
/*
 * The host's one hypercall, for L1 at CPL 0: VMCALL or VMMCALL with RAX = HYPERCALL_MAGIC.
 * RBX selects; RAX returns 0, or all ones for an unknown selector; RCX returns the value.
 */
#ifndef HOST_HYPERCALL_H
#define HOST_HYPERCALL_H

#include <nvirt/types.h>

#define HYPERCALL_MAGIC UINT64_C(0x6e766972) /* "nvir" */

#define HYPERCALL_PRINT UINT64_C(0)       /* print the statistics; RCX unchanged */
#define HYPERCALL_EXITS_L1 UINT64_C(1)    /* exits of L1 so far */
#define HYPERCALL_EXITS_L2 UINT64_C(2)    /* exits of L2 so far */
#define HYPERCALL_POOL_USED UINT64_C(3)   /* pages of the host's pool in use */
#define HYPERCALL_NVIRT UINT64_C(0x1000)  /* + n: counter n of struct nvirt_stats */
#define HYPERCALL_L1 UINT64_C(0x2000)     /* + n: exits of L1 with reason n */
#define HYPERCALL_L2 UINT64_C(0x3000)     /* + n: exits of L2 with reason n */

/*
 * Carries the call out. `rax` and `gprs` as the guest had them; the caller has checked RAX and CPL
 * and skips the instruction. Returns the new RAX.
 */
uint64_t hypercall(struct nvirt_gprs *gprs);

#endif
