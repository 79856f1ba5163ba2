/* SPDX-License-Identifier: MIT */
/*
 * The VMX instructions of L1, each in the order of checks that its page in the manual gives:
 * invalid opcode by mode, privilege, VMfail, operand, effect. Faults leave everything as it was.
 *
 * VMREAD and VMWRITE are L2's too, where L1 shadows a VMCS for it and its bitmaps let the field pass:
 * the same instructions, on the VMCS that the link pointer of vmcs12 names. Hardware has them exit
 * always, so that L2 gets at no VMCS of nvirt's.
 *
 * [SDM 3C "VMX Instruction Reference", "VMCS Shadowing"]
 */
#include "nested/vmx_evmcs.h"

/* ---- how an instruction ends [SDM 3C "Conventions"] ---- */

static void finish(struct nvirt_vmx_vcpu *v, uint64_t flags)
{
    uint64_t rflags = NVI_GET(v, GUEST_RFLAGS);

    NVI_SET(v, GUEST_RFLAGS, (rflags & ~NVI_VMX_STATUS_FLAGS) | flags);
    nvi_vmx_skip(v);
}

void nvi_vmx_succeed(struct nvirt_vmx_vcpu *v)
{
    finish(v, 0);
}

void nvi_vmx_fail_invalid(struct nvirt_vmx_vcpu *v)
{
    finish(v, NVIRT_RFLAGS_CF);
}

void nvi_vmx_fail(struct nvirt_vmx_vcpu *v, uint32_t error)
{
    if (nvi_vmcs12_region(v) == NVI_NO_VMCS) {
        nvi_vmx_fail_invalid(v);
        return;
    }
    v->vmcs12.vm_instruction_error = error;
    v->now->shadow_due = true;
    if (v->vmx.enlightened != NVI_NO_VMCS) {
        nvi_evmcs_store_error(v);
    }
    finish(v, NVIRT_RFLAGS_ZF);
}

/* ---- rules common to them ---- */

/*
 * Real mode, virtual-8086 mode and compatibility mode have no VMX instructions, but nothing looks
 * at the mode here: on each instruction's page the CPU tests CR0.PE, RFLAGS.VM and compatibility mode
 * before it asks whether it is in VMX non-root operation, and #UD goes before the VM exit. The exit
 * itself proves the mode [SDM 3C "VMX Instruction Reference", "Relative Priority of Faults and VM
 * Exits"]. An L1 that meets no #UD where one is due runs on a CPU, or emulator, that breaks this.
 * CPL comes after the exit.
 */

/* The two that a CPU may have or not. */
static bool exists(const struct nvirt_vmx_vcpu *v, uint32_t reason)
{
    switch (reason) {
    case NVIRT_VMX_EXIT_INVEPT:
        return (v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT) != 0;
    case NVIRT_VMX_EXIT_INVVPID:
        return (v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_INVVPID) != 0;
    default:
        return true;
    }
}

/* What every instruction but VMXON begins with. @return false when a fault was raised. */
static bool may_execute(struct nvirt_vmx_vcpu *v, uint32_t reason)
{
    if (!v->vmx.on || !exists(v, reason)) {
        nvi_vmx_raise(v, NVIRT_VECTOR_UD);
        return false;
    }
    if (nvi_vmx_cpl(v) != 0) {
        nvi_vmx_raise_error(v, NVIRT_VECTOR_GP, 0);
        return false;
    }
    return true;
}

static bool region_is_valid(const struct nvirt_vmx_vcpu *v, uint64_t region)
{
    return (region & ~NVIRT_PAGE_MASK) == 0 && nvi_vmx_l1_address_fits(v, region);
}

/* Bit 31 marks a shadow VMCS: no identifier of a VMXON region's. */
static bool revision_is_ours(const struct nvirt_vmx_vcpu *v, uint32_t revision)
{
    return revision == (v->offer.basic & NVIRT_VMX_BASIC_REVISION);
}

static bool offers_shadowing(const struct nvirt_vmx_vcpu *v)
{
    return (v->offer.proc2 >> 32 & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0;
}

/* ---- entering and leaving VMX operation ---- */

/* CR0 and CR4 as L1 sees them: what it wrote, where nvirt or the host holds the bit. */
static bool control_registers_allow_vmxon(struct nvirt_vmx_vcpu *v)
{
    uint64_t mask0 = NVI_GET01(v, CR0_MASK);
    uint64_t mask4 = NVI_GET01(v, CR4_MASK);
    uint64_t cr0 = (NVI_GET01(v, GUEST_CR0) & ~mask0) | (NVI_GET01(v, CR0_SHADOW) & mask0);
    uint64_t cr4 = (NVI_GET01(v, GUEST_CR4) & ~mask4) | (NVI_GET01(v, CR4_SHADOW) & mask4);

    return (cr0 & v->offer.cr0_fixed0) == v->offer.cr0_fixed0 &&
           (cr0 & ~v->offer.cr0_fixed1) == 0 &&
           (cr4 & v->offer.cr4_fixed0) == v->offer.cr4_fixed0 &&
           (cr4 & ~v->offer.cr4_fixed1) == 0;
}

static bool vmxe_is_set(struct nvirt_vmx_vcpu *v)
{
    uint64_t cr4 = (NVI_GET01(v, CR4_MASK) & NVIRT_CR4_VMXE) != 0 ? NVI_GET01(v, CR4_SHADOW)
                                                                 : NVI_GET01(v, GUEST_CR4);

    return (cr4 & NVIRT_CR4_VMXE) != 0;
}

static void enter_operation(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t region;

    if (!nvi_vmx_operand_read(v, gprs, &region, sizeof region)) {
        return;
    }
    if (!region_is_valid(v, region) || !revision_is_ours(v, nvi_vmcs12_revision(v, region))) {
        nvi_vmx_fail_invalid(v);
        return;
    }
    v->vmx.on = true;
    v->vmx.region = region;
    v->vmx.current = NVI_NO_VMCS;
    v->vmx.enlightened = NVI_NO_VMCS;
    v->vmx.launched = false;
    v->vmx.is_shadow = false;
    nvi_vmx_succeed(v);
}

/* [SDM 3C "VMXON"]. A20M does not exist here. */
static void vmxon(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    const uint64_t enabled = NVIRT_FEATURE_CONTROL_LOCK | NVIRT_FEATURE_CONTROL_VMX;

    if (!vmxe_is_set(v)) {
        nvi_vmx_raise(v, NVIRT_VECTOR_UD);
        return;
    }
    if (nvi_vmx_cpl(v) != 0) {
        nvi_vmx_raise_error(v, NVIRT_VECTOR_GP, 0);
        return;
    }
    if (v->vmx.on) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMXON_ROOT);
        return;
    }
    if (!control_registers_allow_vmxon(v) || (v->vmx.feature_control & enabled) != enabled) {
        nvi_vmx_raise_error(v, NVIRT_VECTOR_GP, 0);
        return;
    }
    enter_operation(v, gprs);
}

static void vmxoff(struct nvirt_vmx_vcpu *v)
{
    /* The manual leaves the data of active VMCSs to chance here; nvirt writes them back. */
    nvi_vmcs12_store_all(v);
    nvi_vmx_unpin_all(v);
    v->vmx.on = false;
    nvirt_tlb_forget(&v->tlb);
    nvi_hv_forget_l2(v->hv, &v->tlb);
    nvi_mmu_invalidate_all(&v->mmu);
    nvi_vmx_succeed(v);
}

/* ---- pointers ---- */

static void vmclear(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t region;

    if (!nvi_vmx_operand_read(v, gprs, &region, sizeof region)) {
        return;
    }
    if (!region_is_valid(v, region)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMCLEAR_ADDRESS);
        return;
    }
    if (region == v->vmx.region) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMCLEAR_VMXON);
        return;
    }
    nvi_vmcs12_clear(v, region);
    nvi_vmx_succeed(v);
}

static void vmptrld(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t region;
    uint32_t revision;
    bool is_shadow;

    if (!nvi_vmx_operand_read(v, gprs, &region, sizeof region)) {
        return;
    }
    if (!region_is_valid(v, region)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMPTRLD_ADDRESS);
        return;
    }
    if (region == v->vmx.region) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMPTRLD_VMXON);
        return;
    }
    revision = nvi_vmcs12_revision(v, region);
    is_shadow = (revision & NVIRT_VMX_REGION_SHADOW) != 0;
    if (!revision_is_ours(v, revision & (uint32_t)NVIRT_VMX_REGION_REVISION) ||
        (is_shadow && !offers_shadowing(v))) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMPTRLD_REVISION);
        return;
    }
    if (region != v->vmx.current) {
        nvi_vmcs12_load(v, region);
    }
    v->vmx.is_shadow = is_shadow;
    nvi_vmx_succeed(v);
}

static void vmptrst(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    if (nvi_vmx_operand_write(v, gprs, &v->vmx.current, sizeof v->vmx.current)) {
        nvi_vmx_succeed(v);
    }
}

/* ---- fields ---- */

uint64_t nvi_vmx_insn_encoding(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs)
{
    uint64_t encoding = nvi_vmx_gpr(v, gprs, nvi_vmx_info_register2(NVI_GET(v, EXIT_INSN_INFO)));

    return nvi_vmx_insn_is_64bit(v) ? encoding : encoding & NVIRT_BITS(31, 0);
}

/* The field a register names. @return false when there is none for L1. */
static bool field_of(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                     enum nvirt_vmcs_field *field, bool *high)
{
    return nvirt_vmcs_lookup(nvi_vmx_insn_encoding(v, gprs), field, high) &&
           nvirt_vmcs_field_exists(&v->offer, *field);
}

/* The VMCS that VMREAD and VMWRITE are about: the current one of L1's, or for L2 the one that is
 * linked to it. An enlightened one has neither [TLFS "Enlightened VMCS (Intel)"]. */
static bool has_vmcs(const struct nvirt_vmx_vcpu *v)
{
    return v->level == 2 ? v->vmcs12.vmcs_link != NVIRT_VMX_NO_VMCS_LINK
                         : v->vmx.current != NVI_NO_VMCS;
}

static uint64_t get_field(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field)
{
    return v->level == 2 ? nvi_vmcs12_linked_get(v, field) : nvi_vmcs12_get(v, field);
}

static void set_field(struct nvirt_vmx_vcpu *v, enum nvirt_vmcs_field field, uint64_t value)
{
    if (v->level == 2) {
        nvi_vmcs12_linked_set(v, field, value);
    } else {
        nvi_vmcs12_set(v, field, value);
    }
}

static void vmread(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint64_t info = NVI_GET(v, EXIT_INSN_INFO);
    bool mode64 = nvi_vmx_insn_is_64bit(v);
    enum nvirt_vmcs_field field;
    bool high;
    uint64_t value;

    if (!has_vmcs(v)) {
        nvi_vmx_fail_invalid(v);
        return;
    }
    if (!field_of(v, gprs, &field, &high)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_FIELD_UNSUPPORTED);
        return;
    }
    value = get_field(v, field) >> (high ? 32u : 0u);
    if (!mode64) {
        value &= NVIRT_BITS(31, 0);
    }
    if ((info & NVI_VMX_INFO_REGISTER_OPERAND) != 0) {
        nvi_vmx_gpr_set(v, gprs, nvi_vmx_info_register1(info), value);
    } else if (!nvi_vmx_operand_write(v, gprs, &value, mode64 ? 8 : 4)) {
        return;
    }
    nvi_vmx_succeed(v);
}

static uint64_t with_high_half(uint64_t field, uint64_t value)
{
    return (field & NVIRT_BITS(31, 0)) | (value << 32);
}

static void vmwrite(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs)
{
    uint64_t info = NVI_GET(v, EXIT_INSN_INFO);
    bool mode64 = nvi_vmx_insn_is_64bit(v);
    enum nvirt_vmcs_field field;
    bool high;
    uint64_t value = 0;

    if (!has_vmcs(v)) {
        nvi_vmx_fail_invalid(v);
        return;
    }
    if ((info & NVI_VMX_INFO_REGISTER_OPERAND) != 0) {
        value = nvi_vmx_gpr(v, gprs, nvi_vmx_info_register1(info));
        value &= mode64 ? ~UINT64_C(0) : NVIRT_BITS(31, 0);
    } else if (!nvi_vmx_operand_read(v, gprs, &value, mode64 ? 8 : 4)) {
        return;
    }
    if (!field_of(v, gprs, &field, &high)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_FIELD_UNSUPPORTED);
        return;
    }
    if (nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_EXIT &&
        (v->offer.misc & NVIRT_VMX_MISC_VMWRITE_ANY) == 0) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_FIELD_READ_ONLY);
        return;
    }
    value = high ? with_high_half(get_field(v, field), value) : value;
    set_field(v, field, nvirt_vmcs_truncate(field, value));
    nvi_vmx_succeed(v);
}

/* ---- entering L2 ---- */

static uint32_t entry_error(struct nvirt_vmx_vcpu *v, bool launch)
{
    if ((NVI_GET01(v, GUEST_INTERRUPTIBILITY) & NVIRT_VMX_BLOCK_MOV_SS) != 0) {
        return NVIRT_VMX_ERR_ENTRY_MOV_SS;
    }
    if (v->vmx.enlightened != NVI_NO_VMCS) {
        return 0; /* It has no launch state. */
    }
    if (launch && v->vmx.launched) {
        return NVIRT_VMX_ERR_VMLAUNCH_NOT_CLEAR;
    }
    return launch || v->vmx.launched ? 0 : NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED;
}

static void refuse_invalid(struct nvirt_vmx_vcpu *v)
{
    v->stats.entries_refused++;
    nvi_vmx_fail_invalid(v);
}

static void vmlaunch_or_vmresume(struct nvirt_vmx_vcpu *v, bool launch)
{
    uint32_t error;

    if (nvi_evmcs_is_offered(v) && nvi_evmcs_begin(v, launch) == NVI_EVMCS_REFUSED) {
        refuse_invalid(v);
        return;
    }
    if (nvi_vmcs12_region(v) == NVI_NO_VMCS || v->vmx.is_shadow) {
        refuse_invalid(v);
        return;
    }
    error = entry_error(v, launch);
    if (error != 0) {
        v->stats.entries_refused++;
        nvi_vmx_fail(v, error);
        return;
    }
    nvi_vmx_enter(v);
}

/* ---- dispatch ---- */

static void execute(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t reason)
{
    switch (reason) {
    case NVIRT_VMX_EXIT_VMXOFF:
        vmxoff(v);
        break;
    case NVIRT_VMX_EXIT_VMCLEAR:
        vmclear(v, gprs);
        break;
    case NVIRT_VMX_EXIT_VMPTRLD:
        vmptrld(v, gprs);
        break;
    case NVIRT_VMX_EXIT_VMPTRST:
        vmptrst(v, gprs);
        break;
    case NVIRT_VMX_EXIT_VMREAD:
        vmread(v, gprs);
        break;
    case NVIRT_VMX_EXIT_VMWRITE:
        vmwrite(v, gprs);
        break;
    case NVIRT_VMX_EXIT_VMLAUNCH:
    case NVIRT_VMX_EXIT_VMRESUME:
        vmlaunch_or_vmresume(v, reason == NVIRT_VMX_EXIT_VMLAUNCH);
        break;
    case NVIRT_VMX_EXIT_INVEPT:
        nvi_vmx_invept(v, gprs);
        break;
    default:
        nvi_vmx_invvpid(v, gprs);
        break;
    }
}

void nvi_vmx_vmcall_in_root(struct nvirt_vmx_vcpu *v)
{
    if (may_execute(v, NVIRT_VMX_EXIT_VMCALL)) {
        nvi_vmx_fail(v, NVIRT_VMX_ERR_VMCALL_ROOT);
    }
}

bool nvi_vmx_instruction(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs, uint32_t reason)
{
    switch (reason) {
    case NVIRT_VMX_EXIT_VMXON:
        vmxon(v, gprs);
        break;
    case NVIRT_VMX_EXIT_VMXOFF:
    case NVIRT_VMX_EXIT_VMCLEAR:
    case NVIRT_VMX_EXIT_VMPTRLD:
    case NVIRT_VMX_EXIT_VMPTRST:
    case NVIRT_VMX_EXIT_VMREAD:
    case NVIRT_VMX_EXIT_VMWRITE:
    case NVIRT_VMX_EXIT_VMLAUNCH:
    case NVIRT_VMX_EXIT_VMRESUME:
    case NVIRT_VMX_EXIT_INVEPT:
    case NVIRT_VMX_EXIT_INVVPID:
        if (may_execute(v, reason)) {
            execute(v, gprs, reason);
        }
        break;
    case NVIRT_VMX_EXIT_VMFUNC:
        /* Leaf functions belong to L2, and L1 is in root operation or outside VMX. */
        nvi_vmx_raise(v, NVIRT_VECTOR_UD);
        break;
    default:
        return false;
    }
    v->stats.instructions++;
    return true;
}
