/* SPDX-License-Identifier: MIT */
/*
 * Instruction bytes at CS:RIP of the level that runs, for hosts that emulate an access to a device: through
 * the level's paging and, in L2, through EPT12. A look, not a fetch: no right but presence counts, no
 * accessed bit is set but those of EPT12, which the CPU's own fetch has set before.
 */
#include "nested/vmx_internal.h"

/* L2-physical to L1-physical. */
static bool to_l1(struct nvirt_vmx_vcpu *v, uint64_t address, nvirt_l1gpa *l1gpa)
{
    struct nvi_ept_out out;

    if (v->level != 2 || v->root == NULL) {
        *l1gpa = nvirt_l1gpa_make(address);
        return true;
    }
    if (nvi_ept_walk(v->vm, &v->ept, &v->root->key, nvirt_l2gpa_make(address), NVIRT_ACCESS_READ,
                     NULL, &out) != NVI_EPT_OK) {
        return false;
    }
    *l1gpa = out.l1gpa;
    return true;
}

static bool translate(struct nvirt_vmx_vcpu *v, uint64_t linear, nvirt_l1gpa *l1gpa)
{
    struct nvi_paging_steps walk;
    struct nvi_paging_out out;
    struct nvi_paging mode;
    enum nvi_paging_progress progress;

    nvi_vmx_paging(v, &mode);
    mode.smap = mode.pke = mode.pks = false;
    progress = nvi_paging_begin(&walk, &mode, linear, 0, &out);
    while (progress == NVI_PAGING_NEXT) {
        nvirt_l1gpa entry;

        if (!to_l1(v, walk.entry_address, &entry)) {
            return false;
        }
        progress = nvi_paging_step(v->vm, &walk, entry);
    }
    return progress == NVI_PAGING_DONE && to_l1(v, out.address, l1gpa);
}

/* Bytes of one page of the linear address space. */
static bool read_in_page(struct nvirt_vmx_vcpu *v, uint64_t linear, uint8_t *to, uint32_t bytes)
{
    nvirt_l1gpa from;

    if (!translate(v, linear, &from)) {
        return false;
    }
    v->stats.bytes_read += bytes;
    return nvirt_port_l1_read(v->port, from, to, bytes) == NVIRT_OK;
}

static uint64_t linear_rip(struct nvirt_vmx_vcpu *v)
{
    uint64_t rip = NVI_GET(v, GUEST_RIP);

    return nvi_vmx_in_64bit_mode(v) ? rip
                                    : (NVI_GET(v, GUEST_CS_BASE) + rip) & NVIRT_BITS(31, 0);
}

/* The next page is looked at as far as it can be: the instruction may end before it. */
static uint32_t fetch(struct nvirt_vmx_vcpu *v, uint8_t *to)
{
    uint64_t linear = linear_rip(v);
    uint32_t first = (uint32_t)(NVIRT_PAGE_SIZE - (linear & ~NVIRT_PAGE_MASK));

    if (first > NVIRT_VMX_INSN_MAX) {
        first = NVIRT_VMX_INSN_MAX;
    }
    if (!read_in_page(v, linear, to, first)) {
        return 0;
    }
    if (first < NVIRT_VMX_INSN_MAX &&
        read_in_page(v, linear + first, to + first, NVIRT_VMX_INSN_MAX - first)) {
        return NVIRT_VMX_INSN_MAX;
    }
    return first;
}

enum nvirt_status nvirt_vmx_insn_bytes(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                       uint8_t *bytes, uint32_t *count)
{
    enum nvirt_status status =
        bytes == NULL || count == NULL ? NVIRT_ERR_NULL : nvi_vmx_look(vcpu, cpu);
    uint32_t read;

    if (status != NVIRT_OK) {
        return status;
    }
    read = fetch(vcpu, bytes);
    if (vcpu->error != NVIRT_OK) {
        return vcpu->error;
    }
    if (read == 0) {
        return NVIRT_ERR_NO_MAPPING;
    }
    *count = read;
    return NVIRT_OK;
}
