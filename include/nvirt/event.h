/* SPDX-License-Identifier: MIT */
/*
 * Exit verdicts and injectable events: the vocabulary both vendors' exit calls share.
 */
#ifndef NVIRT_EVENT_H
#define NVIRT_EVENT_H

#include <nvirt/types.h>

NVIRT_BEGIN_DECLS

/** Whose business an exit is. */
enum nvirt_verdict {
    NVIRT_VERDICT_DONE = 0, /**< nvirt dealt with it: prepare and enter again. */
    NVIRT_VERDICT_L1,       /**< An exit of L1 that nesting has no part in: the host's. */
    NVIRT_VERDICT_L2,       /**< An exit of L2 that L1 did not ask for and the host must handle, for
                                 the level that runs (an interrupt of the host's, an MSR or CPUID
                                 the host intercepts). */
    NVIRT_VERDICT_L1_SHUTDOWN /**< L1 met a shutdown or VMX abort: the vCPU is over until reset. */
};

/** Event types: the encoding both vendors share for injection [SDM 3C "VM-Entry Controls for Event Injection"]. */
enum nvirt_event_type {
    NVIRT_EVENT_INTERRUPT = 0,
    NVIRT_EVENT_NMI = 2,
    NVIRT_EVENT_EXCEPTION = 3
};

/** An event for the vCPU. */
struct nvirt_event {
    enum nvirt_event_type type;
    uint8_t vector;         /**< 2 for an NMI. */
    bool has_error_code;    /**< Exceptions only. */
    uint32_t error_code;
    uint64_t address;       /**< #PF only: the faulting linear address (CR2). */
};

NVIRT_END_DECLS

#endif
