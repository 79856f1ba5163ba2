/* SPDX-License-Identifier: MIT */
/*
 * Writes to CR0 and CR4 that exit because nvirt or the host owns bits of them: the whole
 * instruction as the CPU would carry it out, for whichever level runs. What L1 reads back is what
 * it wrote; what hardware holds are the bits VMX operation demands, and those the host keeps for
 * itself.
 *
 * [SDM 3A "Control Registers", "MOV - Move to/from Control Registers"]
 * [SDM 3C "Restrictions on VMX Operation", "Changes to Instruction Behavior in VMX Non-Root
 * Operation"]
 */
#include "nested/vmx_internal.h"

/* Bits of CR0 that exist; writes to the others of the low half are ignored. */
#define CR0_DEFINED                                                                                \
    (NVIRT_CR0_PE | NVIRT_CR0_MP | NVIRT_CR0_EM | NVIRT_CR0_TS | NVIRT_CR0_ET | NVIRT_CR0_NE |     \
     NVIRT_CR0_WP | NVIRT_CR0_AM | NVIRT_CR0_NW | NVIRT_CR0_CD | NVIRT_CR0_PG)
#define LMSW_BITS (NVIRT_CR0_PE | NVIRT_CR0_MP | NVIRT_CR0_EM | NVIRT_CR0_TS)
/* 16-bit TSS, available or busy. */
#define AR_TYPE_16BIT_TSS_BUSY 3u

/* The value the level that runs believes to be in the register. */
static uint64_t seen(uint64_t real, uint64_t shadow, uint64_t mask)
{
    return (real & ~mask) | (shadow & mask);
}

uint64_t nvi_vmx_host_cr0(struct nvirt_vmx_vcpu *v)
{
    return NVI_GET01(v, CR0_MASK) & ~nvirt_vmx_cr0_owned(v);
}

uint64_t nvi_vmx_host_cr4(struct nvirt_vmx_vcpu *v)
{
    return NVI_GET01(v, CR4_MASK) & ~nvirt_vmx_cr4_owned(v);
}

/* A bit of the host's is what L2 wrote, which the shadow has, or what L1 entered L2 with if L1 owns
 * the bit too. */
static uint64_t of_l2(uint64_t real, uint64_t shadow, uint64_t before, uint64_t host,
                      uint64_t mask12)
{
    return (real & ~host) | (shadow & host & ~mask12) | (before & host & mask12);
}

uint64_t nvi_vmx_cr0_of_l2(struct nvirt_vmx_vcpu *v)
{
    if (v->host_cr0 == 0) {
        return NVI_GET02(v, GUEST_CR0);
    }
    return of_l2(NVI_GET02(v, GUEST_CR0), NVI_GET02(v, CR0_SHADOW),
                 nvi_vmx_cr0_before_l2(&v->vmcs12, &v->hw[NVI_01]->image), v->host_cr0,
                 v->vmcs12.cr0_mask);
}

uint64_t nvi_vmx_cr4_of_l2(struct nvirt_vmx_vcpu *v)
{
    if (v->host_cr4 == 0) {
        return NVI_GET02(v, GUEST_CR4);
    }
    return of_l2(NVI_GET02(v, GUEST_CR4), NVI_GET02(v, CR4_SHADOW), v->vmcs12.guest_cr4,
                 v->host_cr4, v->vmcs12.cr4_mask);
}

/* The value in force for the level that runs. Bits that L1 owns in L2 are L1's value, not what L2
 * reads: rules of the register go by the former. */
static uint64_t seen_cr0(struct nvirt_vmx_vcpu *v)
{
    return v->level == 2 ? nvi_vmx_cr0_of_l2(v)
                         : seen(NVI_GET01(v, GUEST_CR0), NVI_GET01(v, CR0_SHADOW),
                                NVI_GET01(v, CR0_MASK));
}

static uint64_t seen_cr4(struct nvirt_vmx_vcpu *v)
{
    return v->level == 2 ? nvi_vmx_cr4_of_l2(v)
                         : seen(NVI_GET01(v, GUEST_CR4), NVI_GET01(v, CR4_SHADOW),
                                NVI_GET01(v, CR4_MASK));
}

/* A write of L2's that L1 lets pass leaves the bits that L1 owns as they are. */
static uint64_t without_l1s_bits(const struct nvirt_vmx_vcpu *v, uint64_t value, uint64_t old,
                                 uint64_t mask12)
{
    return v->level == 2 ? (value & ~mask12) | (old & mask12) : value;
}

/* What the level that runs reads back. */
static uint64_t new_shadow(const struct nvirt_vmx_vcpu *v, uint64_t value, uint64_t shadow12,
                           uint64_t mask12)
{
    return v->level == 2 ? (value & ~mask12) | (shadow12 & mask12) : value;
}

/* [SDM 3C "Restrictions on VMX Operation"]: while in VMX operation the fixed bits cannot change;
 * an unrestricted L2 may have PE and PG as it likes. */
static bool cr0_fits_vmx(const struct nvirt_vmx_vcpu *v, uint64_t cr0)
{
    uint64_t fixed0 = v->offer.cr0_fixed0;

    if (!v->vmx.on) {
        return true;
    }
    if (v->level == 2 && nvi_vmx_unrestricted(&v->vmcs12)) {
        fixed0 &= ~(NVIRT_CR0_PE | NVIRT_CR0_PG);
    }
    return (cr0 & fixed0) == fixed0 && (cr0 & ~v->offer.cr0_fixed1) == 0;
}

/* Bits of CR4 that the level that runs may set. */
static uint64_t cr4_valid(const struct nvirt_vmx_vcpu *v)
{
    return v->offer.cpu.cr4_valid & v->offer.cr4_fixed1;
}

static bool cr4_fits_vmx(const struct nvirt_vmx_vcpu *v, uint64_t cr4)
{
    return !v->vmx.on || (cr4 & v->offer.cr4_fixed0) == v->offer.cr4_fixed0;
}

bool nvi_vmx_pdptes_read(struct nvirt_vmx_vcpu *v, uint64_t cr3, uint64_t pdpte[4])
{
    /* Bits 4:0 of a PAE CR3 are no part of the address. */
    nvi_vmx_l1_read(v, cr3 & NVIRT_BITS(31, 5), pdpte, 4 * sizeof pdpte[0]);
    for (uint32_t i = 0; i < 4; i++) {
        if (!nvi_vmx_pdpte_is_valid(pdpte[i], v->offer.cpu.physical_bits)) {
            return false;
        }
    }
    return true;
}

static bool uses_pae(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    return (cr0 & NVIRT_CR0_PG) != 0 && (cr4 & NVIRT_CR4_PAE) != 0 &&
           (efer & NVIRT_EFER_LMA) == 0;
}

/* L2's CR3 is an L2-physical address: through EPT12, if L1 uses one. */
static enum nvi_cr_load pdptes_of_running(struct nvirt_vmx_vcpu *v, uint64_t pdpte[4])
{
    uint64_t cr3 = NVI_GET(v, GUEST_CR3) & NVIRT_BITS(31, 5);

    if (v->level == 2) {
        nvirt_l1gpa l1gpa;
        enum nvi_cr_load found = nvi_vmx_pdptes_address(v, nvirt_l2gpa_make(cr3), &l1gpa);

        if (found != NVI_CR_LOADED) {
            return found;
        }
        cr3 = l1gpa.value;
    }
    return nvi_vmx_pdptes_read(v, cr3, pdpte) ? NVI_CR_LOADED : NVI_CR_FAULT;
}

/* Loads the PDPTE registers if the new mode uses them. */
static enum nvi_cr_load reload_pdptes(struct nvirt_vmx_vcpu *v, uint64_t cr0, uint64_t cr4,
                                      uint64_t efer)
{
    uint64_t pdpte[4];
    enum nvi_cr_load found;

    if (!uses_pae(cr0, cr4, efer)) {
        return NVI_CR_LOADED;
    }
    found = pdptes_of_running(v, pdpte);
    if (found != NVI_CR_LOADED) {
        return found;
    }
    NVI_SET(v, GUEST_PDPTE0, pdpte[0]);
    NVI_SET(v, GUEST_PDPTE1, pdpte[1]);
    NVI_SET(v, GUEST_PDPTE2, pdpte[2]);
    NVI_SET(v, GUEST_PDPTE3, pdpte[3]);
    return NVI_CR_LOADED;
}

static bool tss_is_16bit(struct nvirt_vmx_vcpu *v)
{
    return (NVI_GET(v, GUEST_TR_AR) & NVIRT_VMX_AR_TYPE) == AR_TYPE_16BIT_TSS_BUSY;
}

/* Rules that come before any change; efer is the one that will be in force. */
static bool cr0_is_allowed(struct nvirt_vmx_vcpu *v, uint64_t old, uint64_t cr0, uint64_t efer)
{
    uint64_t cr4 = seen_cr4(v);
    bool paging_starts = (cr0 & NVIRT_CR0_PG) != 0 && (old & NVIRT_CR0_PG) == 0;
    bool paging_ends = (cr0 & NVIRT_CR0_PG) == 0 && (old & NVIRT_CR0_PG) != 0;

    if ((cr0 & NVIRT_CR0_PG) != 0 && (cr0 & NVIRT_CR0_PE) == 0) {
        return false;
    }
    if ((cr0 & NVIRT_CR0_NW) != 0 && (cr0 & NVIRT_CR0_CD) == 0) {
        return false;
    }
    if ((cr0 & NVIRT_CR0_WP) == 0 && (cr4 & NVIRT_CR4_CET) != 0) {
        return false;
    }
    if (paging_starts && (efer & NVIRT_EFER_LME) != 0 &&
        ((cr4 & NVIRT_CR4_PAE) == 0 || (NVI_GET(v, GUEST_CS_AR) & NVIRT_VMX_AR_L) != 0 ||
         tss_is_16bit(v))) {
        return false;
    }
    if (paging_ends && (nvi_vmx_in_64bit_mode(v) || (cr4 & NVIRT_CR4_PCIDE) != 0)) {
        return false;
    }
    return cr0_fits_vmx(v, cr0);
}

/* Long mode starts and ends with paging while LME is set [SDM 3A "Initializing IA-32e Mode"]. */
static void set_long_mode(struct nvirt_vmx_vcpu *v, uint64_t efer)
{
    uint64_t entry = NVI_GET(v, ENTRY_CONTROLS);

    NVI_SET(v, GUEST_EFER, efer);
    NVI_SET(v, ENTRY_CONTROLS, (efer & NVIRT_EFER_LMA) != 0 ? entry | NVIRT_VMX_ENTRY_CTL_IA32E
                                                           : entry & ~NVIRT_VMX_ENTRY_CTL_IA32E);
}

static void flush_running(struct nvirt_vmx_vcpu *v)
{
    nvirt_tlb_request(&v->tlb, v->level, NVIRT_TLB_REQUEST_GUEST);
}

/* What hardware gets: the host's bits as they are, the fixed ones as they must be. */
static uint64_t real_cr(uint64_t value, uint64_t old_real, uint64_t host_mask, uint64_t fixed0)
{
    return (value & ~host_mask) | (old_real & host_mask) | fixed0;
}

static void store_cr0(struct nvirt_vmx_vcpu *v, uint64_t cr0)
{
    /* PE and PG are L1's own: L1 runs unrestricted. */
    uint64_t fixed0 = v->caps.cr0_fixed0 & ~(NVIRT_CR0_PE | NVIRT_CR0_PG);
    uint64_t host = v->level == 2 ? v->host_cr0 : nvi_vmx_host_cr0(v);

    NVI_SET(v, GUEST_CR0, real_cr(cr0, NVI_GET(v, GUEST_CR0), host, fixed0));
    NVI_SET(v, CR0_SHADOW, new_shadow(v, cr0, v->vmcs12.cr0_shadow, v->vmcs12.cr0_mask));
}

static void store_cr4(struct nvirt_vmx_vcpu *v, uint64_t cr4)
{
    uint64_t host = v->level == 2 ? v->host_cr4 : nvi_vmx_host_cr4(v);

    NVI_SET(v, GUEST_CR4,
            real_cr(cr4, NVI_GET(v, GUEST_CR4), host, v->caps.cr4_fixed0 | NVIRT_CR4_VMXE));
    NVI_SET(v, CR4_SHADOW, new_shadow(v, cr4, v->vmcs12.cr4_shadow, v->vmcs12.cr4_mask));
}

/* Unless it is loaded, nothing is changed. */
static enum nvi_cr_load write_cr0(struct nvirt_vmx_vcpu *v, uint64_t value)
{
    uint64_t old = seen_cr0(v);
    uint64_t efer = NVI_GET(v, GUEST_EFER);
    uint64_t cr0 = without_l1s_bits(v, (value & CR0_DEFINED) | NVIRT_CR0_ET, old,
                                    v->vmcs12.cr0_mask);
    uint64_t new_efer = efer;
    enum nvi_cr_load load = NVI_CR_LOADED;

    if ((value >> 32) != 0 || !cr0_is_allowed(v, old, cr0, efer)) {
        return NVI_CR_FAULT;
    }
    if ((efer & NVIRT_EFER_LME) != 0) {
        new_efer = (cr0 & NVIRT_CR0_PG) != 0 ? efer | NVIRT_EFER_LMA : efer & ~NVIRT_EFER_LMA;
    }
    if (((old ^ cr0) & (NVIRT_CR0_CD | NVIRT_CR0_NW | NVIRT_CR0_PG)) != 0) {
        load = reload_pdptes(v, cr0, seen_cr4(v), new_efer);
    }
    if (load != NVI_CR_LOADED) {
        return load;
    }
    if (new_efer != efer) {
        set_long_mode(v, new_efer);
    }
    if ((old & NVIRT_CR0_PG) != 0 && (cr0 & NVIRT_CR0_PG) == 0) {
        flush_running(v);
    }
    store_cr0(v, cr0);
    return NVI_CR_LOADED;
}

static bool cr4_is_allowed(struct nvirt_vmx_vcpu *v, uint64_t old, uint64_t cr4)
{
    bool long_mode = (NVI_GET(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0;
    bool pcid_starts = (cr4 & NVIRT_CR4_PCIDE) != 0 && (old & NVIRT_CR4_PCIDE) == 0;

    if ((cr4 & ~cr4_valid(v)) != 0 || !cr4_fits_vmx(v, cr4)) {
        return false;
    }
    if (long_mode && ((cr4 & NVIRT_CR4_PAE) == 0 || ((cr4 ^ old) & NVIRT_CR4_LA57) != 0)) {
        return false;
    }
    if (pcid_starts && (!long_mode || (NVI_GET(v, GUEST_CR3) & NVIRT_BITS(11, 0)) != 0)) {
        return false;
    }
    return (cr4 & NVIRT_CR4_CET) == 0 || (seen_cr0(v) & NVIRT_CR0_WP) != 0;
}

/* [SDM 3A "Operations that Invalidate TLBs and Paging-Structure Caches"], MOV to CR4. */
static bool cr4_change_flushes(uint64_t old, uint64_t cr4)
{
    uint64_t changed = old ^ cr4;

    return (changed & (NVIRT_CR4_PGE | NVIRT_CR4_PAE)) != 0 ||
           ((changed & NVIRT_CR4_PCIDE) != 0 && (cr4 & NVIRT_CR4_PCIDE) == 0) ||
           ((changed & NVIRT_CR4_SMEP) != 0 && (cr4 & NVIRT_CR4_SMEP) != 0);
}

/* Unless it is loaded, nothing is changed. */
static enum nvi_cr_load write_cr4(struct nvirt_vmx_vcpu *v, uint64_t value)
{
    const uint64_t loads_pdptes =
        NVIRT_CR4_PAE | NVIRT_CR4_PGE | NVIRT_CR4_PSE | NVIRT_CR4_SMEP;
    uint64_t old = seen_cr4(v);
    uint64_t cr4 = without_l1s_bits(v, value, old, v->vmcs12.cr4_mask);
    enum nvi_cr_load load = NVI_CR_LOADED;

    if (!cr4_is_allowed(v, old, cr4)) {
        return NVI_CR_FAULT;
    }
    if (((old ^ cr4) & loads_pdptes) != 0) {
        load = reload_pdptes(v, seen_cr0(v), cr4, NVI_GET(v, GUEST_EFER));
    }
    if (load != NVI_CR_LOADED) {
        return load;
    }
    if (cr4_change_flushes(old, cr4)) {
        flush_running(v);
    }
    store_cr4(v, cr4);
    return NVI_CR_LOADED;
}

/* LMSW can set PE but not clear it. */
static enum nvi_cr_load write_msw(struct nvirt_vmx_vcpu *v, uint64_t source)
{
    uint64_t old = seen_cr0(v);
    uint64_t cr0 = (old & ~LMSW_BITS) | (source & LMSW_BITS) | (old & NVIRT_CR0_PE);

    return write_cr0(v, cr0);
}

static enum nvi_cr_load write_from_gpr(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                       uint64_t number, uint32_t gpr)
{
    uint64_t value = nvi_vmx_gpr(v, gprs, gpr);

    if (!nvi_vmx_in_64bit_mode(v)) {
        value &= NVIRT_BITS(31, 0);
    }
    return number == 0 ? write_cr0(v, value) : write_cr4(v, value);
}

enum nvi_handled nvi_vmx_cr_access(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                   uint64_t qualification)
{
    uint64_t number = qualification & NVIRT_VMX_QUAL_CR_NUMBER;
    uint32_t gpr = (uint32_t)((qualification & NVIRT_VMX_QUAL_CR_GPR) >>
                              NVIRT_VMX_QUAL_CR_GPR_SHIFT);
    enum nvi_cr_load done;

    switch ((qualification & NVIRT_VMX_QUAL_CR_ACCESS) >> NVIRT_VMX_QUAL_CR_ACCESS_SHIFT) {
    case NVIRT_VMX_QUAL_CR_ACCESS_TO:
        if (number != 0 && number != 4) {
            return NVI_NOT_MINE;
        }
        done = write_from_gpr(v, gprs, number, gpr);
        break;
    case NVIRT_VMX_QUAL_CR_ACCESS_CLTS:
        done = write_cr0(v, seen_cr0(v) & ~NVIRT_CR0_TS);
        break;
    case NVIRT_VMX_QUAL_CR_ACCESS_LMSW:
        done = write_msw(v, (qualification & NVIRT_VMX_QUAL_CR_LMSW_DATA) >>
                                NVIRT_VMX_QUAL_CR_LMSW_DATA_SHIFT);
        break;
    default:
        return NVI_NOT_MINE;
    }
    if (done == NVI_CR_LOADED) {
        nvi_vmx_skip(v);
    } else if (done == NVI_CR_FAULT) {
        nvi_vmx_raise_error(v, NVIRT_VECTOR_GP, 0);
    }
    return NVI_HANDLED;
}

uint64_t nvirt_vmx_cr0_owned(const struct nvirt_vmx_vcpu *vcpu)
{
    return vcpu == NULL ? 0 : vcpu->caps.cr0_fixed0 | (NVIRT_BITS(31, 0) & ~vcpu->caps.cr0_fixed1);
}

uint64_t nvirt_vmx_cr4_owned(const struct nvirt_vmx_vcpu *vcpu)
{
    if (vcpu == NULL) {
        return 0;
    }
    /* Bits that the CPU has and L1 is not offered must fault as if they were reserved. */
    return vcpu->caps.cr4_fixed0 | NVIRT_CR4_VMXE | (vcpu->caps.cr4_fixed1 & ~cr4_valid(vcpu));
}
