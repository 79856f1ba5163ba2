/* SPDX-License-Identifier: MIT */
/* Rules of the rest of the guest state: descriptor tables, RIP, RFLAGS, non-register state and
 * PDPTEs [SDM 3C "Checks on the Guest State Area"], each by its name. */
#include "vmcs_fixture.h"

enum { EXTERNAL = 0, NMI = 2, EXCEPTION = 3, SOFTWARE = 4, OTHER = 7 };

#define STI NVIRT_VMX_BLOCK_STI
#define MOV_SS NVIRT_VMX_BLOCK_MOV_SS
#define DEBUGCTL_BTF NVIRT_BIT(1)

static void vmx_guest_table_bases(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TABLE_BASES, v->guest_gdtr_base = NOT_CANONICAL);
    REFUSES(VMX_GUEST_TABLE_BASES, v->guest_idtr_base = NOT_CANONICAL);
    ACCEPTS(v->guest_gdtr_base = NVIRT_BITS(63, 47); v->guest_idtr_base = NOT_CANONICAL - 1);
}

static void vmx_guest_table_limits(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_TABLE_LIMITS, v->guest_gdtr_limit = 0x10000);
    REFUSES(VMX_GUEST_TABLE_LIMITS, v->guest_idtr_limit = 0x10000);
    REFUSES(VMX_GUEST_TABLE_LIMITS, v->guest_idtr_limit = FLAT);
    ACCEPTS(v->guest_gdtr_limit = 0; v->guest_idtr_limit = 0);
}

static void vmx_guest_rip_high(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_RIP_HIGH, fixture_guest_32(f); v->guest_rip = NVIRT_BIT(32));
    /* Compatibility mode. */
    REFUSES(VMX_GUEST_RIP_HIGH, v->guest_cs_ar = CODE32; v->guest_rip = NVIRT_BIT(32));
    /* L without IA-32e mode is no 64-bit code. */
    REFUSES(VMX_GUEST_RIP_HIGH, fixture_guest_32(f); v->guest_cs_ar |= NVIRT_VMX_AR_L;
            v->guest_rip = NVIRT_BIT(63));
    ACCEPTS(fixture_guest_32(f); v->guest_rip = FLAT);
    ACCEPTS(v->guest_rip = NVIRT_BIT(32));
}

static void vmx_guest_rip_width(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_RIP_WIDTH, v->guest_rip = NVIRT_BIT(48));
    REFUSES(VMX_GUEST_RIP_WIDTH, v->guest_rip = NVIRT_BIT(63));
    REFUSES(VMX_GUEST_RIP_WIDTH, v->guest_rip = NVIRT_BITS(62, 48));
    /* Not canonical, but the bits above the width are alike: the guest faults on its own. */
    ACCEPTS(v->guest_rip = NVIRT_BIT(47));
    ACCEPTS(v->guest_rip = NVIRT_BITS(63, 48));
    ACCEPTS(v->guest_rip = NVIRT_BIT(48); f->offer.cpu.linear_bits = 57);
}

static void vmx_guest_ssp_aligned(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SSP_ALIGNED, fixture_cet(f); v->guest_ssp = 0x1001);
    REFUSES(VMX_GUEST_SSP_ALIGNED, fixture_cet(f); v->guest_ssp = 0x1002);
    ACCEPTS(fixture_cet(f); v->guest_ssp = 0x1004);
    ACCEPTS(v->guest_ssp = 3);
    /* Of a field that has not been read since it was found valid nothing is asked. */
    ACCEPTS(fixture_cet(f); f->in.known = NVI_VMX_KNOWN_REGISTERS; v->guest_ssp = 3);
}

static void vmx_guest_ssp_width(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_SSP_WIDTH, fixture_cet(f); v->guest_ssp = NVIRT_BIT(48));
    REFUSES(VMX_GUEST_SSP_WIDTH, fixture_cet(f); v->guest_ssp = NVIRT_BITS(62, 48));
    /* Not canonical, and above 4 GByte in 32-bit mode: neither matters. */
    ACCEPTS(fixture_cet(f); v->guest_ssp = NVIRT_BIT(47));
    ACCEPTS(fixture_cet(f); v->guest_ssp = NVIRT_BITS(63, 48));
    ACCEPTS(fixture_cet(f); fixture_guest_32(f); v->guest_ssp = NVIRT_BIT(32));
    ACCEPTS(fixture_cet(f); f->offer.cpu.linear_bits = 57; v->guest_ssp = NVIRT_BIT(48));
    ACCEPTS(v->guest_ssp = NVIRT_BIT(48));
}

static void vmx_guest_rflags_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_RFLAGS_RESERVED, v->guest_rflags &= ~NVIRT_BIT(1));
    REFUSES(VMX_GUEST_RFLAGS_RESERVED, v->guest_rflags |= NVIRT_BIT(3));
    REFUSES(VMX_GUEST_RFLAGS_RESERVED, v->guest_rflags |= NVIRT_BIT(5));
    REFUSES(VMX_GUEST_RFLAGS_RESERVED, v->guest_rflags |= NVIRT_BIT(15));
    for (uint32_t bit = 22; bit < 64; bit++) {
        REFUSES(VMX_GUEST_RFLAGS_RESERVED, v->guest_rflags |= NVIRT_BIT(bit));
    }
    ACCEPTS(v->guest_rflags = UINT64_C(0x3D7FD7));
}

static void vmx_guest_rflags_vm(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_RFLAGS_VM, fixture_guest_v86(f); v->guest_cr4 |= NVIRT_CR4_PAE;
            v->entry_controls |= NVIRT_VMX_ENTRY_CTL_IA32E;
            v->guest_efer |= NVIRT_EFER_LMA | NVIRT_EFER_LME);
    REFUSES(VMX_GUEST_RFLAGS_VM, fixture_guest_v86(f); fixture_unrestricted(f);
            v->guest_cr0 &= ~(NVIRT_CR0_PE | NVIRT_CR0_PG));
    ACCEPTS(fixture_guest_v86(f));
}

static void vmx_guest_rflags_if(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_RFLAGS_IF, inject(v, EXTERNAL, 0x30));
    ACCEPTS(inject(v, EXTERNAL, 0x30); v->guest_rflags |= NVIRT_RFLAGS_IF);
    ACCEPTS(inject(v, NMI, 2));
    ACCEPTS(inject(v, EXTERNAL, 0x30); v->entry_interruption &= ~NVIRT_VMX_INTR_VALID);
}

static void vmx_guest_activity(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_ACTIVITY, v->guest_activity = 2);
    REFUSES(VMX_GUEST_ACTIVITY, v->guest_activity = 3);
    REFUSES(VMX_GUEST_ACTIVITY, v->guest_activity = 4);
    REFUSES(VMX_GUEST_ACTIVITY, v->guest_activity = FLAT);
    REFUSES(VMX_GUEST_ACTIVITY, v->guest_activity = 1;
            f->offer.misc &= ~NVIRT_VMX_MISC_ACTIVITY_HLT);
    ACCEPTS(v->guest_activity = 1);
    ACCEPTS(v->guest_activity = 2; f->offer.misc |= NVIRT_VMX_MISC_ACTIVITY_SHUTDOWN);
    ACCEPTS(v->guest_activity = 3; f->offer.misc |= NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI);
}

static void vmx_guest_activity_hlt_dpl(void **state)
{
    (void)state;
#define USER(name)                                                                                 \
    v->guest_##name##_selector |= 3;                                                               \
    v->guest_##name##_ar |= NVIRT_VMX_AR_DPL;
    REFUSES(VMX_GUEST_ACTIVITY_HLT_DPL, FOR_EACH_SEGMENT(USER) v->guest_activity = 1);
    ACCEPTS(FOR_EACH_SEGMENT(USER) v->guest_activity = 0);
#undef USER
}

static void vmx_guest_activity_blocking(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_ACTIVITY_BLOCKING, v->guest_activity = 1;
            v->guest_interruptibility = MOV_SS);
    REFUSES(VMX_GUEST_ACTIVITY_BLOCKING, v->guest_activity = 1; v->guest_interruptibility = STI;
            v->guest_rflags |= NVIRT_RFLAGS_IF);
    ACCEPTS(v->guest_activity = 1; v->guest_interruptibility = NVIRT_VMX_BLOCK_NMI);
    ACCEPTS(v->guest_interruptibility = MOV_SS);
}

static void in_state(struct fixture *f, uint64_t activity, uint64_t type, uint64_t vector)
{
    f->offer.misc |= NVIRT_VMX_MISC_ACTIVITY_SHUTDOWN | NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI;
    f->vmcs12.guest_activity = activity;
    f->vmcs12.guest_rflags |= NVIRT_RFLAGS_IF;
    f->vmcs12.entry_insn_length = 1;
    inject(&f->vmcs12, type, vector);
}

static void vmx_guest_activity_event(void **state)
{
    (void)state;
    /* Halted: interrupts, NMIs, #DB, #MC, and the event that pends an MTF exit. */
    ACCEPTS(in_state(f, 1, EXTERNAL, 0x30));
    ACCEPTS(in_state(f, 1, NMI, 2));
    ACCEPTS(in_state(f, 1, EXCEPTION, 1));
    ACCEPTS(in_state(f, 1, EXCEPTION, 18));
    ACCEPTS(in_state(f, 1, OTHER, 0));
    REFUSES(VMX_GUEST_ACTIVITY_EVENT, in_state(f, 1, EXCEPTION, 6));
    REFUSES(VMX_GUEST_ACTIVITY_EVENT, in_state(f, 1, EXCEPTION, 0));
    for (uint64_t type = SOFTWARE; type < OTHER; type++) {
        REFUSES(VMX_GUEST_ACTIVITY_EVENT, in_state(f, 1, type, 1));
    }
    /* Shutdown: NMIs and #MC. */
    ACCEPTS(in_state(f, 2, NMI, 2));
    ACCEPTS(in_state(f, 2, EXCEPTION, 18));
    REFUSES(VMX_GUEST_ACTIVITY_EVENT, in_state(f, 2, EXCEPTION, 1));
    REFUSES(VMX_GUEST_ACTIVITY_EVENT, in_state(f, 2, EXTERNAL, 18));
    /* Wait-for-SIPI: none. */
    REFUSES(VMX_GUEST_ACTIVITY_EVENT, in_state(f, 3, NMI, 2));
    /* Active: all. */
    ACCEPTS(in_state(f, 0, EXCEPTION, 6));
    ACCEPTS(in_state(f, 1, EXCEPTION, 6); v->entry_interruption = 0);
}

static void vmx_guest_blocking_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 5; bit < 32; bit++) {
        REFUSES(VMX_GUEST_BLOCKING_RESERVED, v->guest_interruptibility = NVIRT_BIT(bit));
    }
}

static void vmx_guest_blocking_sti_mov_ss(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_STI_MOV_SS, v->guest_interruptibility = STI | MOV_SS;
            v->guest_rflags |= NVIRT_RFLAGS_IF);
    ACCEPTS(v->guest_interruptibility = MOV_SS; v->guest_rflags |= NVIRT_RFLAGS_IF);
}

static void vmx_guest_blocking_sti_if(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_STI_IF, v->guest_interruptibility = STI);
    ACCEPTS(v->guest_interruptibility = STI; v->guest_rflags |= NVIRT_RFLAGS_IF);
    ACCEPTS(v->guest_interruptibility = MOV_SS);
}

static void vmx_guest_blocking_interrupt(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_INTERRUPT, in_state(f, 0, EXTERNAL, 0x30);
            v->guest_interruptibility = STI);
    REFUSES(VMX_GUEST_BLOCKING_INTERRUPT, in_state(f, 0, EXTERNAL, 0x30);
            v->guest_interruptibility = MOV_SS);
    ACCEPTS(in_state(f, 0, EXTERNAL, 0x30); v->guest_interruptibility = NVIRT_VMX_BLOCK_NMI);
    ACCEPTS(in_state(f, 0, EXCEPTION, 6); v->guest_interruptibility = MOV_SS);
}

static void vmx_guest_blocking_nmi_mov_ss(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_NMI_MOV_SS, in_state(f, 0, NMI, 2);
            v->guest_interruptibility = MOV_SS);
    /* With blocking by STI processors differ: the one that runs L2 decides. */
    ACCEPTS(in_state(f, 0, NMI, 2); v->guest_interruptibility = STI);
}

static void vmx_guest_blocking_smi(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_SMI, v->guest_interruptibility = NVIRT_VMX_BLOCK_SMI);
}

static void vmx_guest_blocking_nmi(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_NMI, in_state(f, 0, NMI, 2);
            v->guest_interruptibility = NVIRT_VMX_BLOCK_NMI);
    ACCEPTS(in_state(f, 0, NMI, 2); v->guest_interruptibility = NVIRT_VMX_BLOCK_NMI;
            v->pin_controls &= ~NVIRT_VMX_PIN_VIRTUAL_NMIS;
            v->proc_controls &= ~NVIRT_VMX_PROC_NMI_WINDOW);
    ACCEPTS(v->guest_interruptibility = NVIRT_VMX_BLOCK_NMI);
}

static void vmx_guest_blocking_enclave(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_BLOCKING_ENCLAVE, f->offer.cpu.sgx = false;
            v->guest_interruptibility = NVIRT_VMX_BLOCK_ENCLAVE);
    REFUSES(VMX_GUEST_BLOCKING_ENCLAVE,
            v->guest_interruptibility = NVIRT_VMX_BLOCK_ENCLAVE | MOV_SS);
    ACCEPTS(v->guest_interruptibility = NVIRT_VMX_BLOCK_ENCLAVE);
}

static void vmx_guest_pending_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 4; bit < 64; bit++) {
        if (bit != 12 && bit != 14 && bit != 16) {
            REFUSES(VMX_GUEST_PENDING_RESERVED, v->guest_pending_debug = NVIRT_BIT(bit));
        }
    }
    ACCEPTS(v->guest_pending_debug = UINT64_C(0x500F));
    /* Bus locks are pending only where they are detected. */
    ACCEPTS(v->guest_pending_debug = NVIRT_VMX_PENDING_BUS_LOCK;
            f->offer.cpu.debugctl_valid |= NVIRT_BIT(2));
}

static void vmx_guest_pending_bs_set(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PENDING_BS_SET, v->guest_rflags |= NVIRT_RFLAGS_TF;
            v->guest_interruptibility = MOV_SS);
    REFUSES(VMX_GUEST_PENDING_BS_SET, v->guest_rflags |= NVIRT_RFLAGS_TF | NVIRT_RFLAGS_IF;
            v->guest_interruptibility = STI);
    REFUSES(VMX_GUEST_PENDING_BS_SET, v->guest_rflags |= NVIRT_RFLAGS_TF; v->guest_activity = 1);
    ACCEPTS(v->guest_rflags |= NVIRT_RFLAGS_TF; v->guest_interruptibility = MOV_SS;
            v->guest_pending_debug = NVIRT_VMX_PENDING_BS);
    ACCEPTS(v->guest_rflags |= NVIRT_RFLAGS_TF);
}

static void vmx_guest_pending_bs_clear(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PENDING_BS_CLEAR, v->guest_interruptibility = MOV_SS;
            v->guest_pending_debug = NVIRT_VMX_PENDING_BS);
    REFUSES(VMX_GUEST_PENDING_BS_CLEAR, v->guest_rflags |= NVIRT_RFLAGS_TF;
            v->guest_debugctl = DEBUGCTL_BTF; v->guest_interruptibility = MOV_SS;
            v->guest_pending_debug = NVIRT_VMX_PENDING_BS);
    REFUSES(VMX_GUEST_PENDING_BS_CLEAR, v->guest_activity = 1;
            v->guest_pending_debug = NVIRT_VMX_PENDING_BS);
    ACCEPTS(v->guest_pending_debug = NVIRT_VMX_PENDING_BS);
    ACCEPTS(v->guest_rflags |= NVIRT_RFLAGS_TF; v->guest_debugctl = DEBUGCTL_BTF;
            v->guest_interruptibility = MOV_SS);
}

#define RTM (NVIRT_VMX_PENDING_RTM | NVIRT_VMX_PENDING_ENABLED_BP)

static void vmx_guest_pending_rtm_bits(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PENDING_RTM_BITS, v->guest_pending_debug = NVIRT_VMX_PENDING_RTM);
    REFUSES(VMX_GUEST_PENDING_RTM_BITS, v->guest_pending_debug = RTM | 1);
    REFUSES(VMX_GUEST_PENDING_RTM_BITS, v->guest_pending_debug = RTM | NVIRT_VMX_PENDING_BS);
    ACCEPTS(v->guest_pending_debug = RTM);
}

static void vmx_guest_pending_rtm_cpu(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PENDING_RTM_CPU, v->guest_pending_debug = RTM; f->offer.cpu.rtm = false);
}

static void vmx_guest_pending_rtm_mov_ss(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_PENDING_RTM_MOV_SS, v->guest_pending_debug = RTM;
            v->guest_interruptibility = MOV_SS);
    ACCEPTS(v->guest_pending_debug = RTM; v->guest_interruptibility = STI;
            v->guest_rflags |= NVIRT_RFLAGS_IF);
}

static void vmx_guest_link_aligned(void **state)
{
    nvirt_l1gpa address;
    struct fixture base;

    (void)state;
    REFUSES(VMX_GUEST_LINK_ALIGNED, v->vmcs_link = LINK | 1);
    REFUSES(VMX_GUEST_LINK_ALIGNED, v->vmcs_link = LINK | 0x800);
    ACCEPTS(v->vmcs_link = LINK);
    /* What is not aligned is not read either. */
    fixture_init(&base);
    base.vmcs12.vmcs_link = LINK | 1;
    assert_false(nvi_vmx_link_to_read(&base.in, &address));
    base.vmcs12.vmcs_link = LINK;
    assert_true(nvi_vmx_link_to_read(&base.in, &address));
    assert_int_equal(address.value, LINK);
}

static void vmx_guest_link_width(void **state)
{
    nvirt_l1gpa address;
    struct fixture base;

    (void)state;
    REFUSES(VMX_GUEST_LINK_WIDTH, v->vmcs_link = BEYOND);
    REFUSES(VMX_GUEST_LINK_WIDTH, v->vmcs_link = NVIRT_BITS(63, 12));
    ACCEPTS(v->vmcs_link = BEYOND - 0x1000);
    fixture_init(&base);
    base.vmcs12.vmcs_link = BEYOND;
    assert_false(nvi_vmx_link_to_read(&base.in, &address));
    base.vmcs12.vmcs_link = NVIRT_VMX_NO_VMCS_LINK;
    assert_false(nvi_vmx_link_to_read(&base.in, &address));
}

static void vmx_guest_link_revision(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_LINK_REVISION, v->vmcs_link = LINK; f->in.link_revision ^= 1);
    REFUSES(VMX_GUEST_LINK_REVISION, v->vmcs_link = LINK; f->in.link_revision ^= 0x40000000);
    ACCEPTS(f->in.link_revision = 0);
}

static void vmx_guest_link_shadow(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_LINK_SHADOW, v->vmcs_link = LINK; f->in.link_revision |= 0x80000000);
    /* The other way round, on a CPU that offers shadowing. */
    REFUSES(VMX_GUEST_LINK_SHADOW, v->vmcs_link = LINK;
            f->offer.proc2 |= NVIRT_VMX_PROC2_VMCS_SHADOWING << 32;
            v->proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING);
    ACCEPTS(v->vmcs_link = LINK; f->in.link_revision |= 0x80000000;
            f->offer.proc2 |= NVIRT_VMX_PROC2_VMCS_SHADOWING << 32;
            v->proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING);
}

static void vmx_guest_link_current(void **state)
{
    (void)state;
    REFUSES(VMX_GUEST_LINK_CURRENT, v->vmcs_link = CURRENT);
}

static void vmx_guest_pdpte(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        REFUSES(VMX_GUEST_PDPTE, fixture_guest_pae(f); f->pdpte[i] = 1 | NVIRT_BIT(1));
        REFUSES(VMX_GUEST_PDPTE, fixture_guest_pae(f); f->pdpte[i] = 1 | NVIRT_BIT(2));
        REFUSES(VMX_GUEST_PDPTE, fixture_guest_pae(f); f->pdpte[i] = 1 | NVIRT_BIT(5));
        REFUSES(VMX_GUEST_PDPTE, fixture_guest_pae(f); f->pdpte[i] = 1 | NVIRT_BIT(8));
        REFUSES(VMX_GUEST_PDPTE, fixture_guest_pae(f); f->pdpte[i] = 1 | BEYOND);
        REFUSES(VMX_GUEST_PDPTE, fixture_guest_pae(f); f->pdpte[i] = 1 | NVIRT_BIT(63));
        ACCEPTS(fixture_guest_pae(f); f->pdpte[i] = ~UINT64_C(1));
        ACCEPTS(fixture_guest_pae(f); f->pdpte[i] = (BEYOND - 0x1000) | 0xE19);
        ACCEPTS(f->pdpte[i] = ~UINT64_C(0));
    }
}

static void pdptes_come_from_where_paging_says(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    assert_int_equal(nvi_vmx_pdptes_source(&f.vmcs12), NVI_VMX_PDPTES_NONE);
    fixture_guest_32(&f);
    assert_int_equal(nvi_vmx_pdptes_source(&f.vmcs12), NVI_VMX_PDPTES_NONE);
    f.vmcs12.guest_cr4 |= NVIRT_CR4_PAE;
    assert_int_equal(nvi_vmx_pdptes_source(&f.vmcs12), NVI_VMX_PDPTES_VMCS);
    f.vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_EPT;
    assert_int_equal(nvi_vmx_pdptes_source(&f.vmcs12), NVI_VMX_PDPTES_MEMORY);
    f.vmcs12.guest_cr0 &= ~NVIRT_CR0_PG;
    assert_int_equal(nvi_vmx_pdptes_source(&f.vmcs12), NVI_VMX_PDPTES_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_guest_table_bases),
        cmocka_unit_test(vmx_guest_table_limits),
        cmocka_unit_test(vmx_guest_rip_high),
        cmocka_unit_test(vmx_guest_rip_width),
        cmocka_unit_test(vmx_guest_ssp_aligned),
        cmocka_unit_test(vmx_guest_ssp_width),
        cmocka_unit_test(vmx_guest_rflags_reserved),
        cmocka_unit_test(vmx_guest_rflags_vm),
        cmocka_unit_test(vmx_guest_rflags_if),
        cmocka_unit_test(vmx_guest_activity),
        cmocka_unit_test(vmx_guest_activity_hlt_dpl),
        cmocka_unit_test(vmx_guest_activity_blocking),
        cmocka_unit_test(vmx_guest_activity_event),
        cmocka_unit_test(vmx_guest_blocking_reserved),
        cmocka_unit_test(vmx_guest_blocking_sti_mov_ss),
        cmocka_unit_test(vmx_guest_blocking_sti_if),
        cmocka_unit_test(vmx_guest_blocking_interrupt),
        cmocka_unit_test(vmx_guest_blocking_nmi_mov_ss),
        cmocka_unit_test(vmx_guest_blocking_smi),
        cmocka_unit_test(vmx_guest_blocking_nmi),
        cmocka_unit_test(vmx_guest_blocking_enclave),
        cmocka_unit_test(vmx_guest_pending_reserved),
        cmocka_unit_test(vmx_guest_pending_bs_set),
        cmocka_unit_test(vmx_guest_pending_bs_clear),
        cmocka_unit_test(vmx_guest_pending_rtm_bits),
        cmocka_unit_test(vmx_guest_pending_rtm_cpu),
        cmocka_unit_test(vmx_guest_pending_rtm_mov_ss),
        cmocka_unit_test(vmx_guest_link_aligned),
        cmocka_unit_test(vmx_guest_link_width),
        cmocka_unit_test(vmx_guest_link_revision),
        cmocka_unit_test(vmx_guest_link_shadow),
        cmocka_unit_test(vmx_guest_link_current),
        cmocka_unit_test(vmx_guest_pdpte),
        cmocka_unit_test(pdptes_come_from_where_paging_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
