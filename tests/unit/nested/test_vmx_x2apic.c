/* SPDX-License-Identifier: MIT */
/* MSRs of the x2APIC in L2: which of them hardware virtualizes, and who has the others [SDM 3C
 * "Virtualizing MSR-Based APIC Accesses"]. */
#include "vmx_world.h"

#define APIC_PAGE UINT64_C(0x38000)
#define TPR 0x808u
#define EOI 0x80bu
#define SELF_IPI 0x83fu
#define LVT_TIMER 0x832u

static void ready_with_x2apic(struct world *w, uint64_t more)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    ready_to_launch(w);
    memset(w->msr_bitmap, 0xff, sizeof w->msr_bitmap);
    c->proc_controls |=
        NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW | NVIRT_VMX_PROC_MSR_BITMAPS;
    c->pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    c->virtual_apic_addr = APIC_PAGE;
    c->msr_bitmap = MSR_BITMAP12;
    c->proc2_controls |= NVIRT_VMX_PROC2_X2APIC | more;
}

static void launch_with_x2apic(struct world *w, uint64_t more)
{
    ready_with_x2apic(w, more);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* In the bitmap that hardware has for the level that runs. */
static bool intercepts(struct world *w, uint32_t msr, bool write)
{
    const uint8_t *bitmap;

    prepare(w);
    w->v->prepared = false;
    bitmap = nvirt_port_page_pointer(w->port, nvirt_hpa_make(HW(w, MSR_BITMAP)));
    return (bitmap[msr / 8 + (write ? 2048u : 0u)] >> (msr & 7u) & 1u) != 0;
}

static void enter_again(struct world *w)
{
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void the_tpr_passes_and_nothing_else(void **state)
{
    struct world *w = *state;

    launch_with_x2apic(w, 0);
    assert_false(intercepts(w, TPR, false));
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_X2APIC) != 0);
    assert_false(intercepts(w, TPR, true));
    for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
        if (msr != TPR) {
            assert_true(intercepts(w, msr, false));
            assert_true(intercepts(w, msr, true));
        }
    }
}

static void with_virtual_registers_all_reads_pass(void **state)
{
    struct world *w = *state;

    launch_with_x2apic(w, NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS);
    for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
        assert_false(intercepts(w, msr, false));
        assert_int_equal(intercepts(w, msr, true),
                         msr != TPR && msr != EOI && msr != SELF_IPI);
    }
}

/* L1 may rewrite its bitmap between entries without a word. */
static void l1s_intercepts_hold_from_the_next_entry_on(void **state)
{
    struct world *w = *state;

    launch_with_x2apic(w, NVIRT_VMX_PROC2_APIC_REGISTERS);
    assert_false(intercepts(w, TPR, true));
    l2_cpuid(w);
    fake_vm_put32(w->port, MSR_BITMAP12 + 2048 + 0x100, 0x100);
    fake_vm_put32(w->port, MSR_BITMAP12 + 0x104, 0x40000); /* LVT timer: 0x832. */
    enter_again(w);
    assert_true(intercepts(w, TPR, true));
    assert_false(intercepts(w, TPR, false));
    assert_true(intercepts(w, LVT_TIMER, false));
}

/* One bitmap serves all VMCSs of L1's. Where hardware does not virtualize, an MSR that passed would be
 * the APIC of the CPU itself. */
static void another_vmcs_of_l1s_finds_all_of_them_closed(void **state)
{
    struct world *w = *state;

    launch_with_x2apic(w, NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS);
    assert_false(intercepts(w, TPR, false));
    l2_cpuid(w);
    load_vmcs12(w, VMCS12_B);
    fill_vmcs12(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    vmlaunch(w);
    for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
        assert_true(intercepts(w, msr, false));
        assert_true(intercepts(w, msr, true));
    }
    /* And open again for the first. */
    l2_cpuid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    enter_again(w);
    assert_false(intercepts(w, TPR, false));
    assert_false(intercepts(w, EOI, true));
}

/* L1 takes the control back: VMWRITE of the secondary controls, or of the primary ones that activate
 * them. */
static void without_the_control_they_are_closed_again(void **state)
{
    struct world *w = *state;

    for (unsigned primary = 0; primary < 2; primary++) {
        launch_with_x2apic(w, NVIRT_VMX_PROC2_APIC_REGISTERS);
        assert_false(intercepts(w, TPR, false));
        l2_cpuid(w);
        SET1(w, GUEST_RIP, L1_RIP);
        if (primary != 0) {
            WRITE12(w, PROC_CONTROLS, w->v->vmcs12.proc_controls & ~NVIRT_VMX_PROC_SECONDARY);
        } else {
            WRITE12(w, PROC2_CONTROLS, 0);
        }
        enter_again(w);
        assert_true(intercepts(w, TPR, false));
        assert_true(intercepts(w, TPR, true));
        assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_X2APIC) == 0);
        l2_cpuid(w);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
        SET1(w, GUEST_RIP, L1_RIP);
    }
}

static void without_memory_behind_l1s_bitmap_none_passes(void **state)
{
    struct world *w = *state;

    ready_with_x2apic(w, NVIRT_VMX_PROC2_APIC_REGISTERS);
    w->v->vmcs12.msr_bitmap = L1_RAM;
    vmlaunch(w);
    assert_true(intercepts(w, TPR, false));
    assert_true(intercepts(w, TPR, true));
}

/* What hardware does not virtualize and L1 lets pass is, to L2, the APIC that L1 has. */
static void a_register_that_is_not_virtualized_is_that_of_l1(void **state)
{
    struct world *w = *state;

    launch_with_x2apic(w, 0);
    fake_vm_msr_set(w->port, LVT_TIMER, 0x10020, false);
    w->gprs.r[NVIRT_RCX] = LVT_TIMER;
    exit_with(w, NVIRT_VMX_EXIT_RDMSR, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->gprs.r[NVIRT_RAX], 0x10020);
}

/* L1 cleared its bit after the exit was made: the TPR that L2 reads is never that of L1. */
static void a_bit_cleared_meanwhile_does_not_lead_to_l1s_apic(void **state)
{
    struct world *w = *state;

    ready_with_x2apic(w, 0);
    fake_vm_put32(w->port, MSR_BITMAP12 + 0x100, 0x100);
    vmlaunch(w);
    assert_true(intercepts(w, TPR, false));
    fake_vm_put32(w->port, MSR_BITMAP12 + 0x100, 0);
    fake_vm_msr_set(w->port, TPR, 0x70, false);
    w->gprs.r[NVIRT_RCX] = TPR;
    exit_with(w, NVIRT_VMX_EXIT_RDMSR, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_RDMSR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_tpr_passes_and_nothing_else),
        TEST(with_virtual_registers_all_reads_pass),
        TEST(l1s_intercepts_hold_from_the_next_entry_on),
        TEST(another_vmcs_of_l1s_finds_all_of_them_closed),
        TEST(without_the_control_they_are_closed_again),
        TEST(without_memory_behind_l1s_bitmap_none_passes),
        TEST(a_register_that_is_not_virtualized_is_that_of_l1),
        TEST(a_bit_cleared_meanwhile_does_not_lead_to_l1s_apic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
