/* SPDX-License-Identifier: MIT */
/**
 * @file
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
    NVIRT_VERDICT_L1_SHUTDOWN /**< L1 met a shutdown that nvirt saw: a triple fault, a VMX abort, a
                                   shutdown of L2 that L1 does not intercept. The vCPU is over until
                                   it is reset; on VMX it cannot be prepared before. A SHUTDOWN exit
                                   that L1 itself took on SVM is NVIRT_VERDICT_L1. */
};

/** Event types: the encoding both vendors share for injection [SDM 3C "VM-Entry Controls for Event
 *  Injection"] [APM 2 "Event Injection"]. */
enum nvirt_event_type {
    NVIRT_EVENT_INTERRUPT = 0, /**< External interrupt, acknowledged. */
    NVIRT_EVENT_NMI = 2,       /**< NMI. */
    NVIRT_EVENT_EXCEPTION = 3, /**< Exception that hardware would raise. */
    NVIRT_EVENT_INIT = 8,      /**< INIT, for an L1 in VMX operation; no type of an injection. */
    NVIRT_EVENT_SIPI = 9       /**< Startup IPI, likewise. */
};

/** An event for the vCPU. */
struct nvirt_event {
    enum nvirt_event_type type; /**< What it is. */
    uint8_t vector;             /**< 0 to 255; 0 to 31 but 2 for an exception; 2 for an NMI; 0 for an
                                     INIT. */
    bool has_error_code;        /**< Exceptions only: true for those that push one, #PF included. */
    uint32_t error_code;        /**< What is pushed then; nothing is pushed in real mode. */
    uint64_t address;           /**< #PF: the faulting linear address (CR2). #DB, on VMX: what an exit
                                     to L1 for it has as qualification. Else ignored. */
};

/** @name Events that were handed over and not delivered yet: a set of these bits
 * @{ */
#define NVIRT_WAITS_INTERRUPT 1u
#define NVIRT_WAITS_NMI 2u
/** @} */

NVIRT_END_DECLS

#endif
