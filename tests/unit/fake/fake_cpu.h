/* SPDX-License-Identifier: MIT */
/*
 * A fake CPU behind the hot tier of the port. It keeps what hardware keeps: VMCS regions with their
 * clear/launched and active state, the current-VMCS pointer, the fields of each region, MSRs, and
 * a log of every TLB invalidation. It fails an instruction where the manual says so, and where a
 * test asks for it. The run of a guest is the test's: it says what the exit leaves in the VMCS.
 */
#ifndef FAKE_CPU_H
#define FAKE_CPU_H

#include <nvirt/port_hot.h>

#include "fake_tlb.h"

#define FAKE_CPU_REGIONS 12u
#define FAKE_CPU_FIELDS 256u
#define FAKE_CPU_HINTS 1024u
#define FAKE_CPU_MSRS 96u
#define FAKE_CPU_LOG 64u

struct fake_field {
    uint32_t encoding;
    bool written; /**< Written since the region was fresh: a VMREAD before is a test failure. */
    uint64_t value;
};

struct fake_region {
    bool used;
    bool cleared; /**< VMCLEAR was executed on it at least once. */
    bool active;
    bool launched;
    uint64_t hpa;
    uint32_t fields;
    uint16_t hint[FAKE_CPU_HINTS]; /**< Where a field was found last, by part of its encoding. */
    struct fake_field field[FAKE_CPU_FIELDS];
};

struct fake_msr {
    uint32_t index;
    bool write_faults;
    uint64_t value;
};

enum fake_op_kind { FAKE_INVEPT, FAKE_INVVPID, FAKE_INVLPGA };

struct fake_op {
    enum fake_op_kind kind;
    uint64_t type;
    uint64_t tag; /**< EPTP, VPID or ASID. */
    uint64_t address;
};

struct fake_counts {
    unsigned vmread, vmwrite, vmptrld, vmclear, invept, invvpid, invlpga, rdmsr, wrmsr, runs;
};

struct nvirt_port_cpu {
    struct fake_region region[FAKE_CPU_REGIONS];
    struct fake_region *current;
    uint32_t msrs;
    struct fake_msr msr[FAKE_CPU_MSRS];
    uint32_t ops;
    struct fake_op op[FAKE_CPU_LOG]; /**< The first FAKE_CPU_LOG invalidations. */
    struct fake_counts count;
    struct fake_tlb tlb;
    unsigned undefined_reads; /**< VMREADs of fields never written since the region was cleared. */
    /* What a test makes fail: the n-th from now (1: the next), 0 for none. */
    unsigned fail_vmptrld, fail_vmclear, fail_vmread, fail_vmwrite;
    uint32_t fail_vmwrite_encoding; /**< VMWRITE of this one always fails; UINT32_MAX for none. */
    uint32_t last_failed_encoding;
};

/** One field that an exit leaves behind. */
struct fake_set {
    uint32_t encoding;
    uint64_t value;
};

void fake_cpu_init(struct nvirt_port_cpu *cpu);
/** Adds or changes an MSR. One that was never set raises #GP. */
void fake_cpu_msr_set(struct nvirt_port_cpu *cpu, uint32_t index, uint64_t value);
/** The value of an MSR; fails the test (abort) when it does not exist. */
uint64_t fake_cpu_msr_get(struct nvirt_port_cpu *cpu, uint32_t index);
/** What the region at @p hpa holds for a field; aborts when never written. */
uint64_t fake_cpu_field(struct nvirt_port_cpu *cpu, uint64_t hpa, uint32_t encoding);
bool fake_cpu_field_written(struct nvirt_port_cpu *cpu, uint64_t hpa, uint32_t encoding);
/** The region, null when no VMCS instruction ever named it. */
struct fake_region *fake_cpu_region(struct nvirt_port_cpu *cpu, uint64_t hpa);
/** Sets a field as hardware does, without the checks of VMWRITE. */
void fake_cpu_poke(struct nvirt_port_cpu *cpu, uint64_t hpa, uint32_t encoding, uint64_t value);
/**
 * VMLAUNCH or VMRESUME of the current VMCS, up to and including the exit, which leaves @p set in it
 * (the exit reason among them). Entry-failure reasons (bit 31) leave the launch state alone.
 * @return how the instruction ended; anything but NVIRT_HW_OK means nothing ran.
 */
enum nvirt_hw fake_cpu_run(struct nvirt_port_cpu *cpu, bool launch, const struct fake_set *set,
                           size_t count);
/** Forgets the log and the counts. */
void fake_cpu_log_reset(struct nvirt_port_cpu *cpu);

#endif
