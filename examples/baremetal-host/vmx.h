/* SPDX-License-Identifier: MIT */
/*
 * The VMX backend's own parts: the vCPU that L1 runs on, access to the fields of its two levels,
 * and the handlers of the exits that are the host's.
 */
#ifndef HOST_VMX_H
#define HOST_VMX_H

#include <nvirt/vmx.h>

#include "host.h"
#include "nvirt_port.h"
#include "stage2.h"

struct vmx_vcpu {
    struct nvirt_gprs gprs;
    struct nvirt_port_vm port;
    struct nvirt_port_cpu port_cpu;
    struct nvirt_vm vm;
    struct nvirt_vmx_caps caps, offer;
    bool cet; /* vmcs01 has CET state of L1's */
    struct nvirt_vmx_vcpu *vcpu;
    struct nvirt_port_cpu *cpu;
    struct bm_stage2 stage2;
    uint64_t eptp01;
    uint64_t msr_bitmap;
    nvirt_hpa vmcs01;
    uint64_t memory[2]; /* for the vCPU object */
    struct nvirt_hv_vp *hyperv; /* or null */
};

extern struct vmx_vcpu vmx;

/* A field of level 1 or 2; the machine stops when it cannot be had. */
uint64_t vmx_get(uint32_t level, enum nvirt_vmcs_field field);
void vmx_set(uint32_t level, enum nvirt_vmcs_field field, uint64_t value);

/* Makes a vCPU with all of vmcs01's fields 0, in other memory than the one before. */
void vmx_make_vcpu(void);

/* After an exit with basic reason `reason` was dealt with: what snapshot=N asks for. */
NVIRT_NOINLINE void vmx_snapshot(uint32_t reason);

/* L0's MSR bitmap: what nvirt needs and what the host follows (MTRRs). */
void vmx_msr_bitmap_fill(uint8_t *bitmap);

/* RDMSR and WRMSR of L1 at CPL 0, for the MSRs that no VMCS field holds; false for #GP. */
bool vmx_l1_rdmsr(uint32_t msr, uint64_t *value);
bool vmx_l1_wrmsr(uint32_t msr, uint64_t value);

/* The watch on ports for stats=1: set up once; an exit it caused, true when carried out. */
void vmx_io_init(void);
bool vmx_io(const struct nvirt_vmx_exit *exit);

/* The state of a processor after INIT, except for what INIT leaves alone. */
void vmx_set_init_state(void);

/* Deals with an exit that nvirt says is the host's; stops the machine when it cannot. */
NVIRT_NOINLINE void vmx_handle_exit(const struct nvirt_vmx_exit *exit);

#endif
