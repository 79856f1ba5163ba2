/* SPDX-License-Identifier: MIT */
/* Rules of VM-execution control fields [SDM 3C "VM-Execution Control Fields"], each by its name. */
#include "vmcs_fixture.h"

static void vmx_ctl_pin_reserved(void **state)
{
    (void)state;
    /* Must be 1. */
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls &= ~NVIRT_BIT(1));
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls &= ~NVIRT_BIT(4));
    /* Not offered. */
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls |= NVIRT_VMX_PIN_POSTED_INTERRUPTS);
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls |= NVIRT_BIT(31));
    REFUSES(VMX_CTL_PIN_RESERVED, f->offer.true_pin &= ~(NVIRT_VMX_PIN_NMI << 32));
    ACCEPTS(v->pin_controls |= NVIRT_VMX_PIN_NMI);
}

static void vmx_ctl_proc_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls &= ~NVIRT_BIT(1));
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW);
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls |= NVIRT_VMX_PROC_TERTIARY);
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls |= NVIRT_BIT(0));
    /* CR3 exiting may be 0 by the TRUE MSR only. */
    REFUSES(VMX_CTL_PROC_RESERVED, f->offer.basic &= ~NVIRT_VMX_BASIC_TRUE);
    ACCEPTS(v->proc_controls |= NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE);
}

static void vmx_ctl_proc2_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PROC2_RESERVED, v->proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING);
    REFUSES(VMX_CTL_PROC2_RESERVED, v->proc2_controls |= NVIRT_BIT(31));
    /* Not looked at while secondary controls are not activated. */
    ACCEPTS(v->proc_controls &= ~NVIRT_VMX_PROC_SECONDARY; v->proc2_controls = FLAT);
    ACCEPTS(v->proc2_controls |= NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_RDTSCP);
}

static void vmx_ctl_cr3_target_count(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_CR3_TARGET_COUNT, v->cr3_target_count = 5);
    REFUSES(VMX_CTL_CR3_TARGET_COUNT, v->cr3_target_count = FLAT);
    ACCEPTS(v->cr3_target_count = 0);
    ACCEPTS(v->cr3_target_count = 4);
}

static void vmx_ctl_io_bitmap_aligned(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_IO_BITMAP_ALIGNED, v->io_bitmap_a |= 1);
    REFUSES(VMX_CTL_IO_BITMAP_ALIGNED, v->io_bitmap_a |= 0x800);
    REFUSES(VMX_CTL_IO_BITMAP_ALIGNED, v->io_bitmap_b |= 1);
    REFUSES(VMX_CTL_IO_BITMAP_ALIGNED, v->io_bitmap_b |= 0x800);
    ACCEPTS(v->proc_controls &= ~NVIRT_VMX_PROC_IO_BITMAPS; v->io_bitmap_a = 1; v->io_bitmap_b = 1);
}

static void vmx_ctl_io_bitmap_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_IO_BITMAP_WIDTH, v->io_bitmap_a |= BEYOND);
    REFUSES(VMX_CTL_IO_BITMAP_WIDTH, v->io_bitmap_b |= BEYOND);
    REFUSES(VMX_CTL_IO_BITMAP_WIDTH, v->io_bitmap_b |= NVIRT_BIT(63));
    ACCEPTS(v->io_bitmap_a = BEYOND - 0x1000; v->io_bitmap_b = BEYOND - 0x2000);
    ACCEPTS(v->proc_controls &= ~NVIRT_VMX_PROC_IO_BITMAPS; v->io_bitmap_a = BEYOND);
}

static void vmx_ctl_msr_bitmap_aligned(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_MSR_BITMAP_ALIGNED, v->msr_bitmap |= 1);
    REFUSES(VMX_CTL_MSR_BITMAP_ALIGNED, v->msr_bitmap |= 0x800);
    ACCEPTS(v->proc_controls &= ~NVIRT_VMX_PROC_MSR_BITMAPS; v->msr_bitmap = 1);
}

static void vmx_ctl_msr_bitmap_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_MSR_BITMAP_WIDTH, v->msr_bitmap |= BEYOND);
    REFUSES(VMX_CTL_MSR_BITMAP_WIDTH, v->msr_bitmap |= NVIRT_BIT(63));
    ACCEPTS(v->msr_bitmap = BEYOND - 0x1000);
    ACCEPTS(v->proc_controls &= ~NVIRT_VMX_PROC_MSR_BITMAPS; v->msr_bitmap = BEYOND);
}

static void vmx_ctl_virtual_nmis(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_VIRTUAL_NMIS, v->pin_controls &= ~NVIRT_VMX_PIN_NMI);
    ACCEPTS(v->pin_controls &= ~(NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS);
            v->proc_controls &= ~NVIRT_VMX_PROC_NMI_WINDOW);
}

static void vmx_ctl_nmi_window(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_NMI_WINDOW, v->pin_controls &= ~NVIRT_VMX_PIN_VIRTUAL_NMIS);
    ACCEPTS(v->pin_controls &= ~NVIRT_VMX_PIN_VIRTUAL_NMIS;
            v->proc_controls &= ~NVIRT_VMX_PROC_NMI_WINDOW);
}

static void vmx_ctl_vpid_zero(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_VPID_ZERO, v->vpid = 0);
    ACCEPTS(v->vpid = 0xFFFF);
    ACCEPTS(v->vpid = 0; v->proc2_controls &= ~NVIRT_VMX_PROC2_VPID);
}

static void vmx_ctl_eptp_memory_type(void **state)
{
    (void)state;
    /* UC exists in the architecture, but is not offered. */
    for (uint64_t type = 0; type < 8; type++) {
        if (type != 6) {
            REFUSES(VMX_CTL_EPTP_MEMORY_TYPE, v->eptp = (v->eptp & ~UINT64_C(7)) | type);
        }
    }
    REFUSES(VMX_CTL_EPTP_MEMORY_TYPE, f->offer.ept_vpid &= ~NVIRT_VMX_EPT_CAP_WB);
    ACCEPTS(v->eptp &= ~UINT64_C(7); f->offer.ept_vpid |= NVIRT_VMX_EPT_CAP_UC);
    ACCEPTS(v->eptp = 7; v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT);
}

static void vmx_ctl_eptp_walk(void **state)
{
    (void)state;
    for (uint64_t walk = 0; walk < 8; walk++) {
        if (walk != 3) {
            REFUSES(VMX_CTL_EPTP_WALK, v->eptp = (v->eptp & ~NVIRT_VMX_EPTP_WALK) | walk << 3);
        }
    }
    REFUSES(VMX_CTL_EPTP_WALK, f->offer.ept_vpid &= ~NVIRT_VMX_EPT_CAP_WALK_4);
    ACCEPTS(v->eptp = (v->eptp & ~NVIRT_VMX_EPTP_WALK) | NVIRT_VMX_EPTP_WALK_5;
            f->offer.ept_vpid |= NVIRT_VMX_EPT_CAP_WALK_5);
}

static void vmx_ctl_eptp_accessed_dirty(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EPTP_ACCESSED_DIRTY, v->eptp |= NVIRT_VMX_EPTP_ACCESSED_DIRTY;
            f->offer.ept_vpid &= ~NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY);
    ACCEPTS(v->eptp |= NVIRT_VMX_EPTP_ACCESSED_DIRTY);
}

static void vmx_ctl_eptp_reserved(void **state)
{
    (void)state;
    for (uint32_t bit = 7; bit < 12; bit++) {
        REFUSES(VMX_CTL_EPTP_RESERVED, v->eptp |= NVIRT_BIT(bit));
    }
}

static void vmx_ctl_eptp_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EPTP_WIDTH, v->eptp |= BEYOND);
    REFUSES(VMX_CTL_EPTP_WIDTH, v->eptp |= NVIRT_BIT(63));
    ACCEPTS(v->eptp |= BEYOND - 0x1000);
}

static void vmx_ctl_unrestricted_ept(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_UNRESTRICTED_EPT, v->proc2_controls = NVIRT_VMX_PROC2_UNRESTRICTED);
    ACCEPTS(fixture_unrestricted(f));
    /* Without activation of secondary controls neither is on. */
    ACCEPTS(v->proc2_controls = NVIRT_VMX_PROC2_UNRESTRICTED;
            v->proc_controls &= ~NVIRT_VMX_PROC_SECONDARY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmx_ctl_pin_reserved),
        cmocka_unit_test(vmx_ctl_proc_reserved),
        cmocka_unit_test(vmx_ctl_proc2_reserved),
        cmocka_unit_test(vmx_ctl_cr3_target_count),
        cmocka_unit_test(vmx_ctl_io_bitmap_aligned),
        cmocka_unit_test(vmx_ctl_io_bitmap_width),
        cmocka_unit_test(vmx_ctl_msr_bitmap_aligned),
        cmocka_unit_test(vmx_ctl_msr_bitmap_width),
        cmocka_unit_test(vmx_ctl_virtual_nmis),
        cmocka_unit_test(vmx_ctl_nmi_window),
        cmocka_unit_test(vmx_ctl_vpid_zero),
        cmocka_unit_test(vmx_ctl_eptp_memory_type),
        cmocka_unit_test(vmx_ctl_eptp_walk),
        cmocka_unit_test(vmx_ctl_eptp_accessed_dirty),
        cmocka_unit_test(vmx_ctl_eptp_reserved),
        cmocka_unit_test(vmx_ctl_eptp_width),
        cmocka_unit_test(vmx_ctl_unrestricted_ept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
