/* SPDX-License-Identifier: MIT */
/*
 * Operands of VMX instructions: registers, effective addresses with the segmentation rules of the mode,
 * and the access itself through L1's page tables (L2's: vmx_l2_memory.c). What goes wrong is raised in
 * the level that runs with the exception the instruction itself would have met.
 *
 * [SDM 3A "Protection", "Paging"] [SDM 3C "Information for VM Exits Due to Instruction Execution"]
 */
#include "nested/vmx_internal.h"

enum segment { SEGMENT_ES, SEGMENT_CS, SEGMENT_SS, SEGMENT_DS, SEGMENT_FS, SEGMENT_GS };

/* Type field of a code or data segment descriptor. */
#define TYPE_CODE NVIRT_BIT(3)
#define TYPE_EXPAND_DOWN NVIRT_BIT(2)
#define TYPE_WRITABLE NVIRT_BIT(1)
#define TYPE_READABLE NVIRT_BIT(1)

/* PDPTEs are registers as long as PAE paging is used: hardware keeps them in the VMCS. */
static void pdptes_of(struct nvirt_vmx_vcpu *v, struct nvi_paging *mode)
{
    mode->pdptes_given = true;
    mode->pdpte[0] = NVI_GET(v, GUEST_PDPTE0);
    mode->pdpte[1] = NVI_GET(v, GUEST_PDPTE1);
    mode->pdpte[2] = NVI_GET(v, GUEST_PDPTE2);
    mode->pdpte[3] = NVI_GET(v, GUEST_PDPTE3);
}

static enum nvi_paging_format format_of(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    if ((cr0 & NVIRT_CR0_PG) == 0) {
        return NVI_PAGING_NONE;
    }
    if ((efer & NVIRT_EFER_LMA) != 0) {
        return (cr4 & NVIRT_CR4_LA57) != 0 ? NVI_PAGING_5LEVEL : NVI_PAGING_4LEVEL;
    }
    return (cr4 & NVIRT_CR4_PAE) != 0 ? NVI_PAGING_PAE : NVI_PAGING_32BIT;
}

/* [SDM 3A "Protection Keys"]: PKRU for user pages, IA32_PKRS for the others. */
static void protection_keys(struct nvirt_vmx_vcpu *v, uint64_t cr4, struct nvi_paging *mode)
{
    uint64_t pkrs = 0;

    mode->pke = (cr4 & NVIRT_CR4_PKE) != 0;
    mode->pks = (cr4 & NVIRT_CR4_PKS) != 0;
    if (mode->pke) {
        mode->pkru = nvirt_port_l1_pkru(v->port, v->cpu);
    }
    if (mode->pks && nvirt_port_l1_rdmsr(v->port, v->cpu, NVIRT_MSR_PKRS, &pkrs) == NVIRT_OK) {
        mode->pkrs = (uint32_t)pkrs;
    }
}

void nvi_vmx_paging(struct nvirt_vmx_vcpu *v, struct nvi_paging *mode)
{
    uint64_t cr0 = NVI_GET(v, GUEST_CR0);
    uint64_t cr4 = NVI_GET(v, GUEST_CR4);
    uint64_t efer = NVI_GET(v, GUEST_EFER);

    __builtin_memset(mode, 0, sizeof *mode);
    mode->format = format_of(cr0, cr4, efer);
    if (mode->format == NVI_PAGING_NONE) {
        return;
    }
    mode->physical_bits = v->offer.cpu.physical_bits;
    mode->cr3 = NVI_GET(v, GUEST_CR3);
    mode->pse = (cr4 & NVIRT_CR4_PSE) != 0;
    mode->pse36 = true;
    mode->page_1g = true;
    mode->nxe = (efer & NVIRT_EFER_NXE) != 0;
    mode->wp = (cr0 & NVIRT_CR0_WP) != 0;
    mode->smep = (cr4 & NVIRT_CR4_SMEP) != 0;
    mode->smap = (cr4 & NVIRT_CR4_SMAP) != 0;
    mode->rflags_ac = mode->smap && (NVI_GET(v, GUEST_RFLAGS) & NVIRT_RFLAGS_AC) != 0;
    if (mode->format == NVI_PAGING_PAE) {
        pdptes_of(v, mode);
    }
    if ((cr4 & (NVIRT_CR4_PKE | NVIRT_CR4_PKS)) != 0) {
        protection_keys(v, cr4, mode);
    }
}

/* [SDM 3A "Canonical Addressing"]: an access goes by the paging mode, whatever the CPU could do. */
bool nvi_vmx_can_access(struct nvirt_vmx_vcpu *v, uint64_t linear)
{
    uint32_t bits = v->offer.cpu.linear_bits;

    if (bits > 48 && (NVI_GET(v, GUEST_CR4) & NVIRT_CR4_LA57) == 0) {
        bits = 48;
    }
    return nvi_vmx_canonical(linear, bits);
}

bool nvi_vmx_in_64bit_mode(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0 &&
           (NVI_GET(v, GUEST_CS_AR) & NVIRT_VMX_AR_L) != 0;
}

uint32_t nvi_vmx_cpl(struct nvirt_vmx_vcpu *v)
{
    return (uint32_t)((NVI_GET(v, GUEST_SS_AR) & NVIRT_VMX_AR_DPL) >> NVIRT_VMX_AR_DPL_SHIFT);
}

uint64_t nvi_vmx_gpr(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, uint32_t number)
{
    number &= NVIRT_GPR_COUNT - 1u;
    return number == NVIRT_RSP ? NVI_GET(v, GUEST_RSP) : gprs->r[number];
}

void nvi_vmx_gpr_set(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t number,
                     uint64_t value)
{
    number &= NVIRT_GPR_COUNT - 1u;
    if (number == NVIRT_RSP) {
        NVI_SET(v, GUEST_RSP, value);
    } else {
        gprs->r[number] = value;
    }
}

/* Offset in the segment. The displacement of a RIP-relative operand already has RIP in it. */
static uint64_t effective_address(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                                  uint64_t info)
{
    uint64_t offset = NVI_GET(v, EXIT_QUALIFICATION);

    if ((info & NVI_VMX_INFO_NO_BASE) == 0) {
        offset += nvi_vmx_gpr(v, gprs, (uint32_t)(info >> NVI_VMX_INFO_BASE_SHIFT) & 15u);
    }
    if ((info & NVI_VMX_INFO_NO_INDEX) == 0) {
        offset += nvi_vmx_gpr(v, gprs, (uint32_t)(info >> NVI_VMX_INFO_INDEX_SHIFT) & 15u)
                  << (info & NVI_VMX_INFO_SCALE);
    }
    switch ((info >> NVI_VMX_INFO_ADDRESS_SIZE_SHIFT) & 7u) {
    case 0:
        return offset & NVIRT_BITS(15, 0);
    case 1:
        return offset & NVIRT_BITS(31, 0);
    default:
        return offset;
    }
}

static uint64_t segment_field(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field first,
                              enum segment segment)
{
    return nvi_hw_get(v, nvi_vmx_running(v), (enum nvirt_vmcs_field)((uint32_t)first + (uint32_t)segment));
}

NVIRT_STATIC_ASSERT(NVIRT_VMCS_GUEST_GS_AR == NVIRT_VMCS_GUEST_ES_AR + 5 &&
                        NVIRT_VMCS_GUEST_GS_BASE == NVIRT_VMCS_GUEST_ES_BASE + 5 &&
                        NVIRT_VMCS_GUEST_GS_LIMIT == NVIRT_VMCS_GUEST_ES_LIMIT + 5,
                    "segments are indexed in the order of the instruction information");

static void raise_segment(struct nvirt_vmx_vcpu *v, enum segment segment)
{
    nvi_vmx_raise_error(v, segment == SEGMENT_SS ? NVIRT_VECTOR_SS : NVIRT_VECTOR_GP, 0);
}

static bool rights_allow(uint64_t ar, bool write)
{
    if ((ar & NVIRT_VMX_AR_UNUSABLE) != 0) {
        return false;
    }
    if ((ar & TYPE_CODE) != 0) {
        return !write && (ar & TYPE_READABLE) != 0;
    }
    return !write || (ar & TYPE_WRITABLE) != 0;
}

static bool limit_allows(uint64_t ar, uint64_t limit, uint64_t first, uint64_t last)
{
    uint64_t top = (ar & NVIRT_VMX_AR_DB) != 0 ? NVIRT_BITS(31, 0) : NVIRT_BITS(15, 0);

    if ((ar & TYPE_CODE) == 0 && (ar & TYPE_EXPAND_DOWN) != 0) {
        return first > limit && last <= top;
    }
    return last <= limit;
}

static bool linear_64(struct nvirt_vmx_vcpu *v, enum segment segment, uint64_t offset, size_t bytes,
                      uint64_t *linear)
{
    *linear = offset;
    if (segment == SEGMENT_FS || segment == SEGMENT_GS) {
        *linear += segment_field(v, NVIRT_VMCS_GUEST_ES_BASE, segment);
    }
    if (!nvi_vmx_can_access(v, *linear) || !nvi_vmx_can_access(v, *linear + bytes - 1)) {
        raise_segment(v, segment);
        return false;
    }
    return true;
}

static bool linear_32(struct nvirt_vmx_vcpu *v, enum segment segment, uint64_t offset, size_t bytes,
                      bool write, uint64_t *linear)
{
    uint64_t ar = segment_field(v, NVIRT_VMCS_GUEST_ES_AR, segment);
    uint64_t limit = segment_field(v, NVIRT_VMCS_GUEST_ES_LIMIT, segment);

    offset &= NVIRT_BITS(31, 0);
    if (!rights_allow(ar, write) || !limit_allows(ar, limit, offset, offset + bytes - 1)) {
        raise_segment(v, segment);
        return false;
    }
    *linear = (segment_field(v, NVIRT_VMCS_GUEST_ES_BASE, segment) + offset) & NVIRT_BITS(31, 0);
    return true;
}

static bool operand_linear(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, size_t bytes,
                           bool write, uint64_t *linear)
{
    uint64_t info = NVI_GET(v, EXIT_INSN_INFO);
    uint32_t number = (uint32_t)(info >> NVI_VMX_INFO_SEGMENT_SHIFT) & 7u;
    enum segment segment = number > SEGMENT_GS ? SEGMENT_DS : (enum segment)number;
    uint64_t offset = effective_address(v, gprs, info);

    if (nvi_vmx_insn_is_64bit(v)) {
        return linear_64(v, segment, offset, bytes, linear);
    }
    return linear_32(v, segment, offset, bytes, write, linear);
}

/* True when the access was made; a bus without memory behind it is an access too. */
static bool completed(struct nvirt_vmx_vcpu *v, enum nvi_paging_result result,
                      const struct nvi_paging_fault *fault)
{
    if (result == NVI_PAGING_FAULT) {
        nvi_vmx_raise_page_fault(v, fault->error_code, fault->address);
    }
    return result == NVI_PAGING_OK || result == NVI_PAGING_NO_MEMORY;
}

/* ---- the walk that is remembered ---- */

static void remember(struct nvirt_vmx_vcpu *v, const struct nvi_paging *mode, uint64_t linear,
                     const struct nvi_paging_out *out, const struct nvi_paging_steps *steps)
{
    struct nvi_operand_walk *walk = &v->walk;

    walk->size = 0;
    /* A key's rights may change without a trace in what is compared. */
    if (mode->format != NVI_PAGING_4LEVEL || out->size > (UINT64_C(1) << 30) ||
        (out->user ? mode->pke : mode->pks)) {
        return;
    }
    walk->size = out->size;
    walk->page = linear & ~(out->size - 1);
    walk->base = out->address & ~(out->size - 1);
    walk->mode.cr3 = NVI_GET01(v, GUEST_CR3);
    walk->mode.cr4 = NVI_GET01(v, GUEST_CR4);
    walk->mode.efer = NVI_GET01(v, GUEST_EFER);
    walk->mode.rflags_ac = NVI_GET01(v, GUEST_RFLAGS) & NVIRT_RFLAGS_AC;
    walk->entries = 0;
    for (uint32_t level = steps->level; level <= steps->top; level++) {
        walk->entry[walk->entries].address = steps->word[level];
        walk->entry[walk->entries++].value = steps->value[level];
    }
}

bool nvi_vmx_operand_known(struct nvirt_vmx_vcpu *v, uint64_t linear, size_t bytes,
                           const struct nvi_operand_mode *mode, uint64_t *address)
{
    const struct nvi_operand_walk *walk = &v->walk;
    uint64_t offset = linear - walk->page;

    if (offset >= walk->size || bytes > walk->size - offset || walk->mode.cr3 != mode->cr3 ||
        walk->mode.cr4 != mode->cr4 || walk->mode.efer != mode->efer ||
        walk->mode.rflags_ac != mode->rflags_ac) {
        return false;
    }
    for (uint32_t i = 0; i < walk->entries; i++) {
        uint64_t value;

        if (nvirt_port_l1_read(v->port, walk->entry[i].address, &value, sizeof value) != NVIRT_OK ||
            value != walk->entry[i].value) {
            return false;
        }
    }
    *address = walk->base + offset;
    return true;
}

/* An operand within one page, as nearly all are. */
static enum nvi_paging_result read_in_page(struct nvirt_vmx_vcpu *v, const struct nvi_paging *mode,
                                           uint64_t linear, void *to, size_t bytes,
                                           struct nvi_paging_fault *fault)
{
    struct nvi_paging_out out;
    struct nvi_paging_steps steps;
    enum nvi_paging_result result =
        nvi_paging_walk_noted(v->vm, mode, linear, NVI_PAGING_SET_AD, &out, &steps);

    if (result != NVI_PAGING_OK) {
        fault->address = linear;
        fault->error_code = result == NVI_PAGING_FAULT ? out.error_code : 0;
        return result;
    }
    remember(v, mode, linear, &out, &steps);
    return nvirt_port_l1_read(v->port, nvirt_l1gpa_make(out.address), to, bytes) == NVIRT_OK
               ? NVI_PAGING_OK
               : NVI_PAGING_NO_MEMORY;
}

bool nvi_vmx_operand_read(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, void *to,
                          size_t bytes)
{
    struct nvi_paging mode;
    struct nvi_paging_fault fault;
    enum nvi_paging_result result;
    uint64_t linear;

    if (!operand_linear(v, gprs, bytes, false, &linear)) {
        return false;
    }
    if (v->level == 2) {
        return nvi_vmx_l2_read(v, linear, to, bytes);
    }
    nvi_vmx_paging(v, &mode);
    result = (linear & (NVIRT_PAGE_SIZE - 1)) + bytes <= NVIRT_PAGE_SIZE &&
                     mode.format == NVI_PAGING_4LEVEL
                 ? read_in_page(v, &mode, linear, to, bytes, &fault)
                 : nvi_paging_read(v->vm, &mode, linear, NVI_PAGING_SET_AD, to, bytes, &fault);
    if (result == NVI_PAGING_NO_MEMORY) {
        __builtin_memset(to, 0xff, bytes);
    }
    v->stats.bytes_read += bytes;
    return completed(v, result, &fault);
}

bool nvi_vmx_operand_write(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                           const void *from, size_t bytes)
{
    struct nvi_paging mode;
    struct nvi_paging_fault fault;
    uint64_t linear;

    if (!operand_linear(v, gprs, bytes, true, &linear)) {
        return false;
    }
    if (v->level == 2) {
        return nvi_vmx_l2_write(v, linear, from, bytes);
    }
    nvi_vmx_paging(v, &mode);
    v->stats.bytes_written += bytes;
    return completed(v, nvi_paging_write(v->vm, &mode, linear, NVI_PAGING_SET_AD, from, bytes,
                                         &fault), &fault);
}
