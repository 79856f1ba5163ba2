/* SPDX-License-Identifier: MIT */
/* Rules of VM-execution control fields [SDM 3C "VM-Execution Control Fields"], each by its name. */
#include "vmcs_fixture.h"

#define SHADOW(v)                                                                                  \
    ((v)->proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW,                   \
     (v)->virtual_apic_addr = 0x7000, (v)->tpr_threshold = 0)
#define VIRTUAL(v, control) (SHADOW(v), (v)->proc2_controls |= (control))
#define POSTED_BIT NVIRT_VMX_PIN_POSTED_INTERRUPTS
#define POSTED(f, v)                                                                               \
    (VIRTUAL(v, NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS), (v)->pin_controls |= POSTED_BIT,              \
     (v)->exit_controls |= NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT, (v)->posted_vector = 0xff,            \
     (v)->posted_descriptor = 0x70c0,                                                              \
     assert_int_equal(nvirt_vmx_caps_offer_posted(&(f)->offer), NVIRT_OK))

static void vmx_ctl_pin_reserved(void **state)
{
    (void)state;
    /* Must be 1. */
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls &= ~NVIRT_BIT(1));
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls &= ~NVIRT_BIT(4));
    /* Not offered. */
    REFUSES(VMX_CTL_PIN_RESERVED, POSTED(f, v); f->offer.true_pin &= ~(POSTED_BIT << 32));
    REFUSES(VMX_CTL_PIN_RESERVED, v->pin_controls |= NVIRT_BIT(31));
    REFUSES(VMX_CTL_PIN_RESERVED, f->offer.true_pin &= ~(NVIRT_VMX_PIN_NMI << 32));
    ACCEPTS(v->pin_controls |= NVIRT_VMX_PIN_NMI);
}

static void vmx_ctl_proc_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls &= ~NVIRT_BIT(1));
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls |= NVIRT_VMX_PROC_TERTIARY);
    REFUSES(VMX_CTL_PROC_RESERVED, v->proc_controls |= NVIRT_BIT(0));
    /* CR3 exiting may be 0 by the TRUE MSR only. */
    REFUSES(VMX_CTL_PROC_RESERVED, f->offer.basic &= ~NVIRT_VMX_BASIC_TRUE);
    ACCEPTS(v->proc_controls |= NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE);
}

static void vmx_ctl_proc2_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PROC2_RESERVED, v->proc2_controls |= NVIRT_VMX_PROC2_BUS_LOCK);
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

#define LOGS(v)                                                                                    \
    ((v)->proc_controls |= NVIRT_VMX_PROC_SECONDARY,                                               \
     (v)->proc2_controls |= NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_PML, (v)->pml_addr = 0x7000)

static void vmx_ctl_pml_ept(void **state)
{
    (void)state;
    ACCEPTS(LOGS(v));
    /* Any index is one; and without A/D in the EPTP there is nothing to log, which is no fault. */
    ACCEPTS(LOGS(v); v->guest_pml_index = 0xFFFF; v->eptp &= ~NVIRT_VMX_EPTP_ACCESSED_DIRTY);
    REFUSES(VMX_CTL_PML_EPT, LOGS(v); v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT);
    REFUSES(VMX_CTL_PROC2_RESERVED, LOGS(v); f->offer.proc2 &= ~(NVIRT_VMX_PROC2_PML << 32));
}

static void vmx_ctl_pml_aligned(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PML_ALIGNED, LOGS(v); v->pml_addr |= 8);
    REFUSES(VMX_CTL_PML_ALIGNED, LOGS(v); v->pml_addr |= 0x800);
    ACCEPTS(LOGS(v); v->pml_addr |= 8; v->proc2_controls &= ~NVIRT_VMX_PROC2_PML);
}

static void vmx_ctl_pml_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_PML_WIDTH, LOGS(v); v->pml_addr |= BEYOND);
    ACCEPTS(LOGS(v); v->pml_addr = BEYOND - 0x1000);
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

static void vmx_ctl_mode_execute_ept(void **state)
{
    (void)state;
#define HAS_MODES(f) ((f)->offer.proc2 |= NVIRT_VMX_PROC2_MODE_EXECUTE << 32)
    REFUSES(VMX_CTL_MODE_EXECUTE_EPT, HAS_MODES(f);
            v->proc2_controls = NVIRT_VMX_PROC2_MODE_EXECUTE);
    REFUSES(VMX_CTL_PROC2_RESERVED, v->proc2_controls |= NVIRT_VMX_PROC2_MODE_EXECUTE);
    ACCEPTS(HAS_MODES(f); v->proc2_controls |= NVIRT_VMX_PROC2_MODE_EXECUTE);
}

#define HAS_SUBPAGES(f) ((f)->offer.proc2 |= NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32)
#define SUBPAGES(f, v)                                                                             \
    (HAS_SUBPAGES(f), (v)->proc_controls |= NVIRT_VMX_PROC_SECONDARY,                              \
     (v)->proc2_controls |= NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_SUBPAGE_WRITE,                   \
     (v)->spp_table = 0x7000)

static void vmx_ctl_subpages_ept(void **state)
{
    (void)state;
    ACCEPTS(SUBPAGES(f, v));
    REFUSES(VMX_CTL_SUBPAGES_EPT, SUBPAGES(f, v); v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT);
    REFUSES(VMX_CTL_PROC2_RESERVED, SUBPAGES(f, v);
            f->offer.proc2 &= ~(NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32));
}

static void vmx_ctl_subpages_aligned(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_SUBPAGES_ALIGNED, SUBPAGES(f, v); v->spp_table |= 1);
    REFUSES(VMX_CTL_SUBPAGES_ALIGNED, SUBPAGES(f, v); v->spp_table |= 0x800);
    ACCEPTS(SUBPAGES(f, v); v->spp_table |= 8;
            v->proc2_controls &= ~NVIRT_VMX_PROC2_SUBPAGE_WRITE);
}

static void vmx_ctl_subpages_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_SUBPAGES_WIDTH, SUBPAGES(f, v); v->spp_table |= BEYOND);
    REFUSES(VMX_CTL_SUBPAGES_WIDTH, SUBPAGES(f, v); v->spp_table |= NVIRT_BIT(63));
    ACCEPTS(SUBPAGES(f, v); v->spp_table = BEYOND - 0x1000);
}

#define TPR(v, threshold)                                                                          \
    ((v)->proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW, (v)->virtual_apic_addr = 0x7000,             \
     (v)->tpr_threshold = (threshold))

#define ACCESS(v, page)                                                                            \
    ((v)->proc_controls |= NVIRT_VMX_PROC_SECONDARY,                                               \
     (v)->proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES, (v)->apic_access_addr = (page))

static void vmx_ctl_virtual_apic_aligned(void **state)
{
    (void)state;
    ACCEPTS(TPR(v, 0));
    REFUSES(VMX_CTL_VIRTUAL_APIC_ALIGNED, TPR(v, 0); v->virtual_apic_addr |= 0x800);
    ACCEPTS(TPR(v, 0); v->virtual_apic_addr |= 0x800;
            v->proc_controls &= ~NVIRT_VMX_PROC_TPR_SHADOW);
}

static void vmx_ctl_virtual_apic_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_VIRTUAL_APIC_WIDTH, TPR(v, 0); v->virtual_apic_addr |= BEYOND);
}

static void vmx_ctl_tpr_threshold_reserved(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_TPR_THRESHOLD_RESERVED, TPR(v, 16); f->in.vtpr = 0xff);
    REFUSES(VMX_CTL_TPR_THRESHOLD_RESERVED, TPR(v, NVIRT_BIT(31)));
    ACCEPTS(TPR(v, 16); v->proc_controls &= ~NVIRT_VMX_PROC_TPR_SHADOW);
}

static void vmx_ctl_tpr_threshold(void **state)
{
    (void)state;
    for (uint32_t threshold = 0; threshold < 16; threshold++) {
        for (uint32_t class = 0; class < 16; class++) {
            if (threshold > class) {
                REFUSES(VMX_CTL_TPR_THRESHOLD, TPR(v, threshold);
                        f->in.vtpr = (uint8_t)(class << 4 | 15));
            } else {
                ACCEPTS(TPR(v, threshold); f->in.vtpr = (uint8_t)(class << 4));
            }
        }
    }
}

/* [SDM 3C "VM Exits Induced by the TPR Threshold"]: there it is an exit after the entry. */
static void vmx_ctl_tpr_threshold_with_apic_accesses(void **state)
{
    (void)state;
    ACCEPTS(ACCESS(v, 0x6000); TPR(v, 15); f->in.vtpr = 0);
    REFUSES(VMX_CTL_TPR_THRESHOLD, ACCESS(v, 0x6000); TPR(v, 15); f->in.vtpr = 0;
            v->proc2_controls &= ~NVIRT_VMX_PROC2_APIC_ACCESSES);
    REFUSES(VMX_CTL_TPR_THRESHOLD, ACCESS(v, 0x6000); TPR(v, 15); f->in.vtpr = 0;
            v->proc_controls &= ~NVIRT_VMX_PROC_SECONDARY);
    REFUSES(VMX_CTL_TPR_THRESHOLD_RESERVED, ACCESS(v, 0x6000); TPR(v, 16));
}

static void vmx_ctl_apic_access_aligned(void **state)
{
    (void)state;
    ACCEPTS(ACCESS(v, 0x6000));
    REFUSES(VMX_CTL_APIC_ACCESS_ALIGNED, ACCESS(v, 0x6800));
    REFUSES(VMX_CTL_APIC_ACCESS_ALIGNED, ACCESS(v, 0x6001));
    /* Nobody looks at it without the control. */
    ACCEPTS(v->apic_access_addr = 0x6001);
}

static void vmx_ctl_apic_access_width(void **state)
{
    (void)state;
    ACCEPTS(ACCESS(v, BEYOND - 0x1000));
    REFUSES(VMX_CTL_APIC_ACCESS_WIDTH, ACCESS(v, BEYOND));
    REFUSES(VMX_CTL_APIC_ACCESS_WIDTH, ACCESS(v, UINT64_C(1) << 63));
    ACCEPTS(ACCESS(v, BEYOND); v->proc_controls &= ~NVIRT_VMX_PROC_SECONDARY);
}

static void vmx_ctl_tpr_threshold_with_virtual_interrupts(void **state)
{
    (void)state;
    ACCEPTS(VIRTUAL(v, NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS); v->tpr_threshold = FLAT;
            f->in.vtpr = 0);
    REFUSES(VMX_CTL_TPR_THRESHOLD_RESERVED, SHADOW(v); v->tpr_threshold = 16; f->in.vtpr = 0xff);
}

static void vmx_ctl_apic_tpr_shadow(void **state)
{
    static const uint64_t controls[] = { NVIRT_VMX_PROC2_X2APIC, NVIRT_VMX_PROC2_APIC_REGISTERS,
                                         NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS };

    (void)state;
    for (size_t i = 0; i < sizeof controls / sizeof controls[0]; i++) {
        ACCEPTS(VIRTUAL(v, controls[i]));
        REFUSES(VMX_CTL_APIC_TPR_SHADOW, VIRTUAL(v, controls[i]);
                v->proc_controls &= ~NVIRT_VMX_PROC_TPR_SHADOW);
        ACCEPTS(VIRTUAL(v, controls[i]); v->proc_controls &= ~(NVIRT_VMX_PROC_TPR_SHADOW |
                                                               NVIRT_VMX_PROC_SECONDARY));
    }
    /* The APIC-access page stands alone. */
    ACCEPTS(ACCESS(v, 0x6000));
}

static void vmx_ctl_x2apic_accesses(void **state)
{
    (void)state;
    ACCEPTS(VIRTUAL(v, NVIRT_VMX_PROC2_X2APIC));
    REFUSES(VMX_CTL_X2APIC_ACCESSES, VIRTUAL(v, NVIRT_VMX_PROC2_X2APIC); ACCESS(v, 0x6000));
    ACCEPTS(VIRTUAL(v, NVIRT_VMX_PROC2_APIC_REGISTERS); ACCESS(v, 0x6000));
}

static void vmx_ctl_virtual_interrupts(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_VIRTUAL_INTERRUPTS, VIRTUAL(v, NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS);
            v->pin_controls &= ~NVIRT_VMX_PIN_EXT_INT);
    ACCEPTS(VIRTUAL(v, NVIRT_VMX_PROC2_X2APIC); v->pin_controls &= ~NVIRT_VMX_PIN_EXT_INT);
}

static void vmx_ctl_posted_delivery(void **state)
{
    (void)state;
    ACCEPTS(POSTED(f, v));
    REFUSES(VMX_CTL_POSTED_DELIVERY, POSTED(f, v);
            v->proc2_controls &= ~NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS);
    REFUSES(VMX_CTL_POSTED_DELIVERY, POSTED(f, v); v->proc_controls &= ~NVIRT_VMX_PROC_SECONDARY);
}

static void vmx_ctl_posted_acknowledge(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_POSTED_ACKNOWLEDGE, POSTED(f, v);
            v->exit_controls &= ~NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
}

static void vmx_ctl_posted_vector(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_POSTED_VECTOR, POSTED(f, v); v->posted_vector = 0x100);
    REFUSES(VMX_CTL_POSTED_VECTOR, POSTED(f, v); v->posted_vector = 0x8000);
    ACCEPTS(POSTED(f, v); v->posted_vector = 0);
    ACCEPTS(v->posted_vector = 0x100);
}

static void vmx_ctl_posted_aligned(void **state)
{
    (void)state;
    for (uint64_t bit = 1; bit < 64; bit <<= 1) {
        REFUSES(VMX_CTL_POSTED_ALIGNED, POSTED(f, v); v->posted_descriptor |= bit);
    }
    ACCEPTS(POSTED(f, v); v->posted_descriptor = 0x40);
    ACCEPTS(v->posted_descriptor = 1);
}

static void vmx_ctl_posted_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_POSTED_WIDTH, POSTED(f, v); v->posted_descriptor |= BEYOND);
    ACCEPTS(POSTED(f, v); v->posted_descriptor = BEYOND - 64);
}

/* The byte is looked at only where a rule is about it and the address is one. */
static void vtpr_is_read_from_the_page_that_vmcs12_names(void **state)
{
    struct fixture f;
    nvirt_l1gpa at;

    (void)state;
    fixture_init(&f);
    TPR(&f.vmcs12, 1);
    assert_true(nvi_vmx_vtpr_to_read(&f.in, &at));
    assert_int_equal(at.value, 0x7080);
    f.vmcs12.tpr_threshold = 0;
    assert_false(nvi_vmx_vtpr_to_read(&f.in, &at));
    TPR(&f.vmcs12, 1);
    ACCESS(&f.vmcs12, 0x6000);
    assert_false(nvi_vmx_vtpr_to_read(&f.in, &at));
    f.vmcs12.proc2_controls &= ~NVIRT_VMX_PROC2_APIC_ACCESSES;
    TPR(&f.vmcs12, 1);
    f.vmcs12.virtual_apic_addr |= 8;
    assert_false(nvi_vmx_vtpr_to_read(&f.in, &at));
    f.vmcs12.virtual_apic_addr = BEYOND;
    assert_false(nvi_vmx_vtpr_to_read(&f.in, &at));
    TPR(&f.vmcs12, 1);
    f.vmcs12.proc_controls &= ~NVIRT_VMX_PROC_TPR_SHADOW;
    assert_false(nvi_vmx_vtpr_to_read(&f.in, &at));
}

#define SWITCHES(v)                                                                                \
    ((v)->proc_controls |= NVIRT_VMX_PROC_SECONDARY,                                               \
     (v)->proc2_controls |= NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VMFUNC,                          \
     (v)->vmfunc_controls = NVIRT_VMX_VMFUNC_EPTP_SWITCHING, (v)->eptp_list = 0x7000)

static void vmx_ctl_vmfunc_reserved(void **state)
{
    (void)state;
    ACCEPTS(SWITCHES(v));
    REFUSES(VMX_CTL_VMFUNC_RESERVED, SWITCHES(v); v->vmfunc_controls |= NVIRT_BIT(1));
    REFUSES(VMX_CTL_VMFUNC_RESERVED, SWITCHES(v); f->offer.vmfunc = 0);
    /* Nobody looks while VM functions are not enabled. */
    ACCEPTS(SWITCHES(v); v->vmfunc_controls = ~UINT64_C(0); v->eptp_list = 1;
            v->proc2_controls &= ~NVIRT_VMX_PROC2_VMFUNC);
}

static void vmx_ctl_eptp_switching_ept(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EPTP_SWITCHING_EPT, SWITCHES(v); v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT);
    ACCEPTS(SWITCHES(v); v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT; v->vmfunc_controls = 0);
}

static void vmx_ctl_eptp_list(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_EPTP_LIST, SWITCHES(v); v->eptp_list |= 8);
    REFUSES(VMX_CTL_EPTP_LIST, SWITCHES(v); v->eptp_list |= BEYOND);
    ACCEPTS(SWITCHES(v); v->eptp_list = 8; v->vmfunc_controls = 0);
}

#define SHADOWS(v)                                                                                 \
    ((v)->proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING, (v)->vmread_bitmap = 0x7000,           \
     (v)->vmwrite_bitmap = 0x8000)

static void vmx_ctl_shadowing_aligned(void **state)
{
    (void)state;
    ACCEPTS(SHADOWS(v));
    REFUSES(VMX_CTL_SHADOWING_ALIGNED, SHADOWS(v); v->vmread_bitmap |= 1);
    REFUSES(VMX_CTL_SHADOWING_ALIGNED, SHADOWS(v); v->vmwrite_bitmap |= 0x800);
    ACCEPTS(SHADOWS(v); v->vmread_bitmap |= 1;
            v->proc2_controls &= ~NVIRT_VMX_PROC2_VMCS_SHADOWING);
    REFUSES(VMX_CTL_PROC2_RESERVED, SHADOWS(v);
            f->offer.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32));
}

static void vmx_ctl_shadowing_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_SHADOWING_WIDTH, SHADOWS(v); v->vmread_bitmap |= BEYOND);
    REFUSES(VMX_CTL_SHADOWING_WIDTH, SHADOWS(v); v->vmwrite_bitmap |= BEYOND);
    ACCEPTS(SHADOWS(v); v->vmread_bitmap = BEYOND - 0x1000);
}

#define CONVERTS(v)                                                                                \
    ((v)->proc_controls |= NVIRT_VMX_PROC_SECONDARY,                                               \
     (v)->proc2_controls |= NVIRT_VMX_PROC2_EPT_VE, (v)->ve_info_addr = 0x7000)

static void vmx_ctl_ve_info_aligned(void **state)
{
    (void)state;
    ACCEPTS(CONVERTS(v));
    REFUSES(VMX_CTL_VE_INFO_ALIGNED, CONVERTS(v); v->ve_info_addr |= 8);
    REFUSES(VMX_CTL_VE_INFO_ALIGNED, CONVERTS(v); v->ve_info_addr |= 0x800);
    ACCEPTS(CONVERTS(v); v->ve_info_addr |= 8; v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT_VE);
    /* Without EPT there are no violations to convert, and no rule is broken. */
    ACCEPTS(CONVERTS(v); v->proc2_controls &= ~NVIRT_VMX_PROC2_EPT);
}

static void vmx_ctl_ve_info_width(void **state)
{
    (void)state;
    REFUSES(VMX_CTL_VE_INFO_WIDTH, CONVERTS(v); v->ve_info_addr |= BEYOND);
    ACCEPTS(CONVERTS(v); v->ve_info_addr = BEYOND - 0x1000);
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
        cmocka_unit_test(vmx_ctl_virtual_apic_aligned),
        cmocka_unit_test(vmx_ctl_virtual_apic_width),
        cmocka_unit_test(vmx_ctl_tpr_threshold_reserved),
        cmocka_unit_test(vmx_ctl_tpr_threshold),
        cmocka_unit_test(vmx_ctl_tpr_threshold_with_apic_accesses),
        cmocka_unit_test(vtpr_is_read_from_the_page_that_vmcs12_names),
        cmocka_unit_test(vmx_ctl_virtual_nmis),
        cmocka_unit_test(vmx_ctl_nmi_window),
        cmocka_unit_test(vmx_ctl_apic_access_aligned),
        cmocka_unit_test(vmx_ctl_apic_access_width),
        cmocka_unit_test(vmx_ctl_tpr_threshold_with_virtual_interrupts),
        cmocka_unit_test(vmx_ctl_apic_tpr_shadow),
        cmocka_unit_test(vmx_ctl_x2apic_accesses),
        cmocka_unit_test(vmx_ctl_virtual_interrupts),
        cmocka_unit_test(vmx_ctl_posted_delivery),
        cmocka_unit_test(vmx_ctl_posted_acknowledge),
        cmocka_unit_test(vmx_ctl_posted_vector),
        cmocka_unit_test(vmx_ctl_posted_aligned),
        cmocka_unit_test(vmx_ctl_posted_width),
        cmocka_unit_test(vmx_ctl_vpid_zero),
        cmocka_unit_test(vmx_ctl_eptp_memory_type),
        cmocka_unit_test(vmx_ctl_eptp_walk),
        cmocka_unit_test(vmx_ctl_eptp_accessed_dirty),
        cmocka_unit_test(vmx_ctl_eptp_reserved),
        cmocka_unit_test(vmx_ctl_eptp_width),
        cmocka_unit_test(vmx_ctl_pml_ept),
        cmocka_unit_test(vmx_ctl_pml_aligned),
        cmocka_unit_test(vmx_ctl_pml_width),
        cmocka_unit_test(vmx_ctl_unrestricted_ept),
        cmocka_unit_test(vmx_ctl_mode_execute_ept),
        cmocka_unit_test(vmx_ctl_subpages_ept),
        cmocka_unit_test(vmx_ctl_subpages_aligned),
        cmocka_unit_test(vmx_ctl_subpages_width),
        cmocka_unit_test(vmx_ctl_vmfunc_reserved),
        cmocka_unit_test(vmx_ctl_eptp_switching_ept),
        cmocka_unit_test(vmx_ctl_eptp_list),
        cmocka_unit_test(vmx_ctl_shadowing_aligned),
        cmocka_unit_test(vmx_ctl_shadowing_width),
        cmocka_unit_test(vmx_ctl_ve_info_aligned),
        cmocka_unit_test(vmx_ctl_ve_info_width),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
