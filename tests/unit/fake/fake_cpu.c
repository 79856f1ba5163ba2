/* SPDX-License-Identifier: MIT */
/*
 * The fake CPU: see fake_cpu.h. Rules from [SDM 3C "VMX Instruction Reference"]: what the launch
 * state and the current pointer must be, and which error each failure has.
 */
#include "fake_cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD_INSTRUCTION_ERROR 0x4400u
#define FIELD_EXIT_REASON 0x4402u
#define FIELD_ENTRY_INTERRUPTION 0x4016u

static void broken(const char *text, uint64_t value)
{
    fprintf(stderr, "fake CPU: %s (%#llx)\n", text, (unsigned long long)value);
    abort();
}

void fake_cpu_init(struct nvirt_port_cpu *cpu)
{
    memset(cpu, 0, sizeof *cpu);
    cpu->fail_vmwrite_encoding = UINT32_MAX;
}

void fake_cpu_log_reset(struct nvirt_port_cpu *cpu)
{
    cpu->ops = 0;
    memset(&cpu->count, 0, sizeof cpu->count);
}

struct fake_region *fake_cpu_region(struct nvirt_port_cpu *cpu, uint64_t hpa)
{
    for (size_t i = 0; i < FAKE_CPU_REGIONS; i++)
        if (cpu->region[i].used && cpu->region[i].hpa == hpa)
            return &cpu->region[i];
    return NULL;
}

static struct fake_region *region_make(struct nvirt_port_cpu *cpu, uint64_t hpa)
{
    struct fake_region *region = fake_cpu_region(cpu, hpa);

    for (size_t i = 0; region == NULL && i < FAKE_CPU_REGIONS; i++) {
        if (!cpu->region[i].used) {
            region = &cpu->region[i];
            memset(region, 0, sizeof *region);
            region->used = true;
            region->hpa = hpa;
        }
    }
    if (region == NULL)
        broken("too many VMCS regions", hpa);
    return region;
}

static struct fake_field *field_find(struct fake_region *region, uint32_t encoding, bool make)
{
    /* Width, kind and six bits of the index: no two fields in use share a hint. */
    uint16_t *hint = &region->hint[((encoding >> 13 & 3u) << 8 | (encoding >> 10 & 3u) << 6 |
                                    (encoding >> 1 & 63u)) % FAKE_CPU_HINTS];

    if (*hint < region->fields && region->field[*hint].encoding == encoding)
        return &region->field[*hint];
    for (uint32_t i = 0; i < region->fields; i++) {
        if (region->field[i].encoding == encoding) {
            *hint = (uint16_t)i;
            return &region->field[i];
        }
    }
    if (!make)
        return NULL;
    if (region->fields == FAKE_CPU_FIELDS)
        broken("too many fields", encoding);
    region->field[region->fields] = (struct fake_field){ .encoding = encoding };
    return &region->field[region->fields++];
}

static uint64_t truncated(uint32_t encoding, uint64_t value)
{
    switch ((encoding >> 13) & 3u) {
    case 0:
        return value & 0xffff;
    case 2:
        return value & 0xffffffff;
    default:
        return value;
    }
}

static void field_store(struct fake_region *region, uint32_t encoding, uint64_t value)
{
    struct fake_field *field = field_find(region, encoding, true);

    field->value = truncated(encoding, value);
    field->written = true;
}

/* A component number that no CPU has: reserved bits, or beyond the last index in use. */
static bool encoding_is_supported(uint32_t encoding)
{
    static const uint8_t last[4][4] = {
        { 4, 0, 10, 6 }, { 41, 2, 20, 11 }, { 18, 7, 23, 0 }, { 7, 5, 22, 14 }
    };
    unsigned width = (encoding >> 13) & 3u;
    unsigned type = (encoding >> 10) & 3u;

    if ((encoding & ~0x6fffu) != 0 || (width == 0 && type == 1))
        return false;
    if ((encoding & 1u) != 0 && width != 1)
        return false;
    return ((encoding >> 1) & 0x1ffu) <= last[width][type];
}

static enum nvirt_hw vmfail(struct nvirt_port_cpu *cpu, uint32_t error)
{
    if (cpu->current == NULL)
        return NVIRT_HW_VMFAIL_INVALID;
    field_store(cpu->current, FIELD_INSTRUCTION_ERROR, error);
    return NVIRT_HW_VMFAIL_VALID;
}

/* True when the test asked for the failure of this very instruction. */
static bool due(unsigned *countdown)
{
    return *countdown != 0 && --*countdown == 0;
}

enum nvirt_hw nvirt_port_vmread(struct nvirt_port_cpu *cpu, uint32_t encoding, uint64_t *value)
{
    struct fake_field *field;

    cpu->count.vmread++;
    if (cpu->current == NULL)
        return NVIRT_HW_VMFAIL_INVALID;
    if (due(&cpu->fail_vmread) || !encoding_is_supported(encoding))
        return vmfail(cpu, 12);
    field = field_find(cpu->current, encoding, false);
    if (field == NULL || !field->written) {
        cpu->undefined_reads++;
        *value = truncated(encoding, UINT64_C(0xdeaddeaddeaddead));
        return NVIRT_HW_OK;
    }
    *value = field->value;
    return NVIRT_HW_OK;
}

enum nvirt_hw nvirt_port_vmwrite(struct nvirt_port_cpu *cpu, uint32_t encoding, uint64_t value)
{
    cpu->count.vmwrite++;
    if (cpu->current == NULL)
        return NVIRT_HW_VMFAIL_INVALID;
    if (due(&cpu->fail_vmwrite) || encoding == cpu->fail_vmwrite_encoding
        || !encoding_is_supported(encoding)) {
        cpu->last_failed_encoding = encoding;
        return vmfail(cpu, 12);
    }
    field_store(cpu->current, encoding, value);
    return NVIRT_HW_OK;
}

enum nvirt_hw nvirt_port_vmptrld(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    struct fake_region *region;

    cpu->count.vmptrld++;
    if (due(&cpu->fail_vmptrld) || (vmcs.value & 0xfff) != 0)
        return vmfail(cpu, 9);
    region = fake_cpu_region(cpu, vmcs.value);
    /* The manual leaves VMPTRLD without an earlier VMCLEAR undefined: never allowed here. */
    if (region == NULL || !region->cleared)
        broken("VMPTRLD of a region that was never VMCLEARed", vmcs.value);
    region->active = true;
    cpu->current = region;
    return NVIRT_HW_OK;
}

enum nvirt_hw nvirt_port_vmclear(struct nvirt_port_cpu *cpu, nvirt_hpa vmcs)
{
    struct fake_region *region;

    cpu->count.vmclear++;
    if (due(&cpu->fail_vmclear) || (vmcs.value & 0xfff) != 0)
        return vmfail(cpu, 2);
    region = region_make(cpu, vmcs.value);
    region->cleared = true;
    region->active = false;
    region->launched = false;
    if (cpu->current == region)
        cpu->current = NULL;
    return NVIRT_HW_OK;
}

static void op_log(struct nvirt_port_cpu *cpu, struct fake_op op)
{
    if (cpu->ops < FAKE_CPU_LOG)
        cpu->op[cpu->ops] = op;
    cpu->ops++;
}

enum nvirt_hw nvirt_port_invept(struct nvirt_port_cpu *cpu, uint64_t type, uint64_t eptp)
{
    cpu->count.invept++;
    if (type != 1 && type != 2)
        return vmfail(cpu, 28);
    op_log(cpu, (struct fake_op){ FAKE_INVEPT, type, eptp, 0 });
    fake_tlb_invept(&cpu->tlb, type == 2, eptp);
    return NVIRT_HW_OK;
}

enum nvirt_hw nvirt_port_invvpid(struct nvirt_port_cpu *cpu, uint64_t type, uint16_t vpid,
                                 nvirt_gva address)
{
    cpu->count.invvpid++;
    if (type > 3 || (vpid == 0 && type != 2))
        return vmfail(cpu, 28);
    op_log(cpu, (struct fake_op){ FAKE_INVVPID, type, vpid, address.value });
    if (type == 0)
        fake_tlb_flush_page(&cpu->tlb, vpid, address.value);
    else
        fake_tlb_flush_tag(&cpu->tlb, type == 2 ? 0 : vpid, type != 3);
    return NVIRT_HW_OK;
}

void nvirt_port_invlpga(struct nvirt_port_cpu *cpu, nvirt_gva address, uint32_t asid)
{
    cpu->count.invlpga++;
    op_log(cpu, (struct fake_op){ FAKE_INVLPGA, 0, asid, address.value });
    fake_tlb_flush_page(&cpu->tlb, asid, address.value);
}

static struct fake_msr *msr_find(struct nvirt_port_cpu *cpu, uint32_t index)
{
    for (uint32_t i = 0; i < cpu->msrs; i++)
        if (cpu->msr[i].index == index)
            return &cpu->msr[i];
    return NULL;
}

void fake_cpu_msr_set(struct nvirt_port_cpu *cpu, uint32_t index, uint64_t value)
{
    struct fake_msr *msr = msr_find(cpu, index);

    if (msr == NULL) {
        if (cpu->msrs == FAKE_CPU_MSRS)
            broken("too many MSRs", index);
        msr = &cpu->msr[cpu->msrs++];
        *msr = (struct fake_msr){ .index = index };
    }
    msr->value = value;
}

uint64_t fake_cpu_msr_get(struct nvirt_port_cpu *cpu, uint32_t index)
{
    struct fake_msr *msr = msr_find(cpu, index);

    if (msr == NULL)
        broken("no such MSR", index);
    return msr->value;
}

enum nvirt_hw nvirt_port_rdmsr(struct nvirt_port_cpu *cpu, uint32_t index, uint64_t *value)
{
    struct fake_msr *msr = msr_find(cpu, index);

    cpu->count.rdmsr++;
    if (msr == NULL)
        return NVIRT_HW_GP;
    *value = msr->value;
    return NVIRT_HW_OK;
}

enum nvirt_hw nvirt_port_wrmsr(struct nvirt_port_cpu *cpu, uint32_t index, uint64_t value)
{
    struct fake_msr *msr = msr_find(cpu, index);

    cpu->count.wrmsr++;
    if (msr == NULL || msr->write_faults)
        return NVIRT_HW_GP;
    msr->value = value;
    return NVIRT_HW_OK;
}

uint64_t fake_cpu_field(struct nvirt_port_cpu *cpu, uint64_t hpa, uint32_t encoding)
{
    struct fake_region *region = fake_cpu_region(cpu, hpa);
    struct fake_field *field = region != NULL ? field_find(region, encoding, false) : NULL;

    if (field == NULL || !field->written)
        broken("field never written", encoding);
    return field->value;
}

bool fake_cpu_field_written(struct nvirt_port_cpu *cpu, uint64_t hpa, uint32_t encoding)
{
    struct fake_region *region = fake_cpu_region(cpu, hpa);
    struct fake_field *field = region != NULL ? field_find(region, encoding, false) : NULL;

    return field != NULL && field->written;
}

void fake_cpu_poke(struct nvirt_port_cpu *cpu, uint64_t hpa, uint32_t encoding, uint64_t value)
{
    struct fake_region *region = fake_cpu_region(cpu, hpa);

    if (region == NULL)
        broken("no such VMCS", hpa);
    field_store(region, encoding, value);
}

enum nvirt_hw fake_cpu_run(struct nvirt_port_cpu *cpu, bool launch, const struct fake_set *set,
                           size_t count)
{
    struct fake_region *region = cpu->current;
    struct fake_field *injected;
    uint32_t reason = 0;

    if (region == NULL)
        return NVIRT_HW_VMFAIL_INVALID;
    if (launch && region->launched)
        return vmfail(cpu, 4);
    if (!launch && !region->launched)
        return vmfail(cpu, 5);
    cpu->count.runs++;
    for (size_t i = 0; i < count; i++) {
        field_store(region, set[i].encoding, set[i].value);
        if (set[i].encoding == FIELD_EXIT_REASON)
            reason = (uint32_t)set[i].value;
    }
    if ((reason & 0x80000000u) == 0) {
        region->launched = true;
        injected = field_find(region, FIELD_ENTRY_INTERRUPTION, true);
        injected->value &= ~UINT64_C(0x80000000);
    }
    return NVIRT_HW_OK;
}
