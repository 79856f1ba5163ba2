/* SPDX-License-Identifier: MIT */
/*
 * What the files of the nested-VMX fuzz target share: the world of one input, and one section of
 * prototypes per file.
 */
#ifndef FUZZ_VMX_H
#define FUZZ_VMX_H

#include "lazy_tlb.h"
#include "vmx_invariants.h"

#define EP4TA NVIRT_VMX_EPTP_EP4TA
#define SPPT12 UINT64_C(0x50000) /* L1's table of sub-page permissions, four pages. */
#define RFLAGS_FREE UINT64_C(0x257fd5) /* All but VM and the reserved bits. */
#define EPT_TABLES 5u
#define NOTIFICATION 0x40u /* Vector of L1's posted interrupts. */

/** Addresses and MSRs that L1 uses by preference. */
extern const uint64_t addresses[];
#define ADDRESSES 28u
extern const uint32_t msrs[];
#define MSRS 30u

struct fuzz {
    struct world w;
    struct nvirt_port_cpu second; /* Where the vCPU may move; */
    struct nvirt_port_cpu *cpu;   /* where it is: w.cpu or second. */
    struct lazy_tlb tlb[2];       /* Of the two CPUs. */
    struct nvirt_vmcs host;       /* vmcs01 as the host wrote it. */
    struct input in;
    uint64_t l2gpa;               /* Last fault of L2. */
    uint64_t mode;                /* The guest changes to this mode before its next exit; 0: not. */
    uint64_t rflags;              /* Bits of RFLAGS that it flips. */
    uint64_t blocking;
    uint64_t activity;
    uint32_t exits;               /* That told the length of an instruction. */
    bool failing;                 /* An instruction of the CPU was made to fail. */
    bool starved;                 /* Pages or translations were made to fail. */
    bool changing;                /* The host has begun a change of memory. */
    bool over;
};

/* ---- fuzz_vmx_world.c: what there is before the program begins ---- */

void host_set(struct fuzz *f, enum nvirt_vmcs_field field, uint64_t value);
void make_world(struct fuzz *f);
void end_world(struct fuzz *f);

/* ---- fuzz_vmx_run.c: one entry and exit, and what must hold at each ---- */

void note_flushes(struct fuzz *f);
bool enter(struct fuzz *f);
void guest_exit(struct fuzz *f, uint64_t reason, uint64_t qualification, uint64_t info,
                uint64_t interruption);
void refuse_entry(struct fuzz *f, bool invalid, uint32_t number);

/* ---- fuzz_vmx_guest.c: what L1 and L2 do ---- */

void insn(struct fuzz *f, uint32_t reason, uint64_t pointer);
void fill(struct fuzz *f, uint8_t what);
/** The same in @p image, whatever is current. */
void fill_image(struct fuzz *f, uint8_t what, struct nvirt_vmcs *image);
void map(struct fuzz *f);
void store(struct fuzz *f);
void msr_list(struct fuzz *f);
void vmwrite(struct fuzz *f);
void any_insn(struct fuzz *f);
void vmcs_access(struct fuzz *f);
void any_exit(struct fuzz *f);
void second_stage_fault(struct fuzz *f);
void vmfunc(struct fuzz *f);
void msr_access(struct fuzz *f);

/* ---- fuzz_vmx_evmcs.c: an L1 that uses enlightened VMCSs ---- */

#ifdef FUZZ_EVMCS
struct nvirt_hv_vp *evmcs_offer(struct fuzz *f);
void evmcs_prologue(struct fuzz *f, uint8_t what);
void evmcs_step(struct fuzz *f);
void evmcs_before_exit(struct fuzz *f);
void evmcs_after_exit(struct fuzz *f);
#endif

/* ---- fuzz_vmx_host.c: what the host does ---- */

void inject(struct fuzz *f);
void host_control(struct fuzz *f);
void host_call(struct fuzz *f);
void cpu_failure(struct fuzz *f);
void guest_state(struct fuzz *f);

#endif
