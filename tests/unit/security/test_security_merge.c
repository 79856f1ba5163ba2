/* SPDX-License-Identifier: MIT */
/*
 * The property on which a nested hypervisor's isolation rests: what runs L2 intercepts at least
 * what runs L1 and what L1 asked for together. Over random controls of both levels, both vendors.
 */
#include "vmcb/vmcb_core.h"
#include "vmcs/merge.h"

#include <nvirt/x86.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 4000u

/* 64-bit linear congruential steps: the same inputs in every run. */
static uint64_t random64(uint64_t *seed)
{
    uint64_t high;

    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    high = *seed >> 32;
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return high << 32 | *seed >> 32;
}

/* Few bits, many, or as they come: each mask must be met with and without its neighbours. */
static uint64_t random_word(uint64_t *seed)
{
    uint64_t word = random64(seed);

    switch (random64(seed) % 4u) {
    case 0:
        return word & random64(seed) & random64(seed);
    case 1:
        return word | random64(seed) | random64(seed);
    case 2:
        return 0;
    default:
        return word;
    }
}

static void random_words(uint64_t *seed, uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        words[i] = random_word(seed);
}

/* ---- VMX ---- */

struct rig {
    struct nvirt_vmcs vmcs12, vmcs01, vmcs02;
    struct nvirt_vmx_caps cpu;
    struct nvi_vmx_merge_in in;
};

static void vmx_setup(struct rig *r, uint64_t *seed)
{
    memset(r, 0, sizeof *r);
    random_words(seed, r->vmcs12.field, NVIRT_VMCS_FIELD_COUNT);
    random_words(seed, r->vmcs01.field, NVIRT_VMCS_FIELD_COUNT);
    r->cpu.basic = NVIRT_VMX_BASIC_TRUE;
    r->cpu.true_pin = UINT64_C(0xff) << 32 | NVIRT_VMX_PIN_DEFAULT1;
    r->cpu.true_proc = UINT64_C(0xffffffff) << 32 | UINT64_C(0x04006172);
    r->cpu.true_exit = UINT64_C(0xffffffff) << 32 | UINT64_C(0x00036dfb);
    r->cpu.true_entry = UINT64_C(0xffff) << 32 | UINT64_C(0x000011fb);
    r->cpu.cr0_fixed0 = NVIRT_CR0_PE | NVIRT_CR0_NE | NVIRT_CR0_PG;
    r->cpu.cr4_fixed0 = NVIRT_CR4_VMXE;
    r->in.vmcs12 = &r->vmcs12;
    r->in.vmcs01 = &r->vmcs01;
    r->in.cpu = &r->cpu;
    r->in.eptp02 = UINT64_C(0x701e);
    r->in.msr_bitmap_to_hardware = (r->vmcs12.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) != 0;
    r->in.msr_bitmap = UINT64_C(0x8000);
    r->in.io_bitmaps_to_hardware =
        (r->vmcs12.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0 &&
        nvi_vmx_l0_wants_no_port(&r->vmcs01);
    r->in.io_bitmap_a = UINT64_C(0x9000);
    r->in.io_bitmap_b = UINT64_C(0xa000);
    r->in.virtual_apic = UINT64_C(0xb000);
    nvi_vmx_merge(&r->in, &r->vmcs02);
}

static uint64_t secondary(const struct nvirt_vmcs *vmcs)
{
    return (vmcs->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? vmcs->proc2_controls : 0;
}

static void expect_within(uint64_t wanted, uint64_t got)
{
    assert_true((wanted & ~got) == 0);
}

static void controls_hold_both(const struct rig *r)
{
    const uint64_t exits =
        NVIRT_VMX_PROC_HLT | NVIRT_VMX_PROC_INVLPG | NVIRT_VMX_PROC_MWAIT | NVIRT_VMX_PROC_RDPMC |
        NVIRT_VMX_PROC_RDTSC | NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE |
        NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE | NVIRT_VMX_PROC_MOV_DR |
        NVIRT_VMX_PROC_MONITOR | NVIRT_VMX_PROC_PAUSE;
    const uint64_t cr8 = NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE;
    const uint64_t exits2 = NVIRT_VMX_PROC2_DESCRIPTOR_TABLE | NVIRT_VMX_PROC2_WBINVD |
                            NVIRT_VMX_PROC2_RDRAND | NVIRT_VMX_PROC2_RDSEED |
                            NVIRT_VMX_PROC2_PAUSE_LOOP | NVIRT_VMX_PROC2_ENCLS |
                            NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG;
    const uint64_t pins = NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI;

    /* CR8 under a TPR shadow of L1's is no register of L0's or L1's. */
    const uint64_t of_l1 =
        (r->vmcs12.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0 ? cr8 : 0;

    expect_within(r->vmcs12.proc_controls & exits, r->vmcs02.proc_controls);
    expect_within(r->vmcs01.proc_controls & exits & ~of_l1, r->vmcs02.proc_controls);
    expect_within((secondary(&r->vmcs12) | secondary(&r->vmcs01)) & exits2,
                  secondary(&r->vmcs02));
    expect_within((r->vmcs12.pin_controls | r->vmcs01.pin_controls) & pins,
                  r->vmcs02.pin_controls);
    expect_within(r->vmcs12.cr0_mask, r->vmcs02.cr0_mask);
    expect_within(r->vmcs01.cr0_mask & ~r->cpu.cr0_fixed0, r->vmcs02.cr0_mask);
    expect_within(r->vmcs12.cr4_mask, r->vmcs02.cr4_mask);
    expect_within(r->vmcs01.cr4_mask & ~r->cpu.cr4_fixed0, r->vmcs02.cr4_mask);
}

/* An MSR or port that a level may want never passes by a map that is not the merge of both. */
static void maps_hold_both(const struct rig *r)
{
    const uint64_t io = NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_UNCONDITIONAL_IO;
    uint64_t proc02 = r->vmcs02.proc_controls;

    if ((proc02 & NVIRT_VMX_PROC_MSR_BITMAPS) != 0) {
        assert_true(r->in.msr_bitmap_to_hardware);
        assert_int_equal(r->vmcs02.msr_bitmap, r->in.msr_bitmap);
    }
    if (((r->vmcs12.proc_controls | r->vmcs01.proc_controls) & io) != 0)
        assert_true((proc02 & io) != 0);
    if ((proc02 & NVIRT_VMX_PROC_IO_BITMAPS) == 0)
        return;
    if (r->in.io_bitmaps_to_hardware) {
        assert_int_equal(r->vmcs02.io_bitmap_a, r->in.io_bitmap_a);
        assert_int_equal(r->vmcs02.io_bitmap_b, r->in.io_bitmap_b);
    } else {
        assert_true((r->vmcs12.proc_controls & io) == 0 ||
                    (proc02 & NVIRT_VMX_PROC_UNCONDITIONAL_IO) != 0);
        assert_int_equal(r->vmcs02.io_bitmap_a, r->vmcs01.io_bitmap_a);
    }
}

/* What hardware does on an exception [SDM 3C "Exception Bitmap"]. */
static bool exits_on(const struct nvirt_vmcs *vmcs, uint32_t vector, uint32_t error)
{
    bool bit = (vmcs->exception_bitmap >> vector & 1) != 0;

    if (vector != NVIRT_VECTOR_PF)
        return bit;
    return ((error & (uint32_t)vmcs->pf_error_mask) == (uint32_t)vmcs->pf_error_match) == bit;
}

static void exceptions_hold_both(struct rig *r, uint64_t *seed)
{
    for (uint32_t vector = 0; vector < 32; vector++) {
        for (uint32_t i = 0; i < (vector == NVIRT_VECTOR_PF ? 64u : 1u); i++) {
            uint32_t error = i < 32 ? i : (uint32_t)random64(seed);

            if (exits_on(&r->vmcs12, vector, error) || exits_on(&r->vmcs01, vector, error))
                assert_true(exits_on(&r->vmcs02, vector, error));
        }
    }
}

static void vmcs02_intercepts_what_either_level_does(void **state)
{
    uint64_t seed = 42;
    static struct rig r;

    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        vmx_setup(&r, &seed);
        controls_hold_both(&r);
        maps_hold_both(&r);
        exceptions_hold_both(&r, &seed);
        /* The same after L0 changed its mind while L2 runs. */
        random_words(&seed, r.vmcs01.field, NVIRT_VMCS_FIELD_COUNT);
        r.in.io_bitmaps_to_hardware = (r.vmcs12.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0 &&
                                      nvi_vmx_l0_wants_no_port(&r.vmcs01);
        memset(&r.vmcs02, 0, sizeof r.vmcs02);
        nvi_vmx_merge_controls(&r.in, &r.vmcs02);
        controls_hold_both(&r);
        maps_hold_both(&r);
        exceptions_hold_both(&r, &seed);
    }
}

/* CR8 of L2 never reaches the physical TPR where L0 keeps L1's in memory (CVE-2017-12154): it exits, or
 * is a byte of the page that L1 gave. No APIC page is in vmcs02 but L1's own for L2, and only where L1
 * asks for it (CVE-2019-3887). */
static void no_apic_but_l1s_own_is_open_to_l2(void **state)
{
    const uint64_t cr8 = NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE;
    const uint64_t apic = NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_X2APIC |
                          NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    uint64_t seed = 43;
    static struct rig r;

    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        vmx_setup(&r, &seed);
        if ((r.vmcs12.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0) {
            assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0);
            assert_true(r.vmcs02.virtual_apic_addr == r.in.virtual_apic);
        } else {
            assert_true((r.vmcs02.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) == 0);
            assert_int_equal(r.vmcs02.virtual_apic_addr, 0);
            if ((r.vmcs01.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0)
                assert_true((r.vmcs02.proc_controls & cr8) == cr8);
        }
        assert_int_equal(secondary(&r.vmcs02) & apic, secondary(&r.vmcs12) & apic);
        assert_true((r.vmcs02.pin_controls & NVIRT_VMX_PIN_POSTED_INTERRUPTS) == 0);
        assert_true(r.vmcs02.apic_access_addr ==
                    ((secondary(&r.vmcs12) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0 ? r.in.apic_access
                                                                                 : 0));
        assert_int_equal(r.vmcs02.posted_descriptor, 0);
    }
}

/* Of all MSRs only those of the fixed list can pass, and only where both levels agree. */
static void msr_bitmap02_intercepts_what_either_level_does(void **state)
{
    uint64_t seed = 44;
    struct nvi_vmx_msr_byte bytes[NVI_VMX_MSR_BYTES];
    uint8_t l0[4096], l1[4096], l2[4096];

    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        random_words(&seed, (uint64_t *)(void *)l0, sizeof l0 / 8);
        random_words(&seed, (uint64_t *)(void *)l1, sizeof l1 / 8);
        memset(l2, 0xff, sizeof l2);
        nvi_vmx_msr_bitmap_merge(bytes, nvi_vmx_passable_bytes(bytes), l2, i % 8u == 7 ? NULL : l0,
                                 l1);
        for (uint32_t byte = 0; byte < sizeof l2; byte++)
            assert_int_equal((l0[byte] | l1[byte]) & ~l2[byte], 0);
        if (i % 8u == 7)
            for (uint32_t byte = 0; byte < sizeof l2; byte++)
                assert_int_equal(l2[byte], 0xff);
    }
}

/* ---- SVM ---- */

static bool is_of_interrupts(uint32_t code)
{
    return code == NVIRT_SVM_EXIT_INTR || code == NVIRT_SVM_EXIT_NMI ||
           code == NVIRT_SVM_EXIT_VINTR || code == NVIRT_SVM_EXIT_CR8_READ ||
           code == NVIRT_SVM_EXIT_CR8_WRITE;
}

/* Bits that the manual has defined as intercepts, but for the write traps of encrypted guests. */
static bool is_defined(uint32_t code)
{
    return code < NVIRT_SVM_EXIT_EFER_WRITE_TRAP ||
           (code >= NVIRT_SVM_EXIT_INVLPGB && code <= NVIRT_SVM_EXIT_TLBSYNC);
}

static const uint32_t always[] = {
    NVIRT_SVM_EXIT_VMRUN, NVIRT_SVM_EXIT_VMMCALL, NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE,
    NVIRT_SVM_EXIT_STGI,  NVIRT_SVM_EXIT_CLGI,    NVIRT_SVM_EXIT_SKINIT, NVIRT_SVM_EXIT_INVLPGA,
    NVIRT_SVM_EXIT_IOIO,  NVIRT_SVM_EXIT_MSR,     NVIRT_SVM_EXIT_SHUTDOWN,
};

struct svm_rig {
    struct nvirt_vmcb vmcb12, vmcb01, vmcb02;
    struct nvirt_svm_caps offer;
    struct nvi_svm_merge_in in;
    struct nvi_svm_interrupt_in interrupts;
};

static void svm_setup(struct svm_rig *r, uint64_t *seed)
{
    memset(r, 0, sizeof *r);
    random_words(seed, (uint64_t *)(void *)&r->vmcb12, sizeof r->vmcb12 / 8);
    random_words(seed, (uint64_t *)(void *)&r->vmcb01, sizeof r->vmcb01 / 8);
    r->offer.features = NVIRT_SVM_FEATURE_NP;
    r->in = (struct nvi_svm_merge_in){.vmcb12 = &r->vmcb12, .vmcb01 = &r->vmcb01,
                                      .offer = &r->offer, .iopm02 = nvirt_hpa_make(0x10000),
                                      .msrpm02 = nvirt_hpa_make(0x20000), .asid02 = 5,
                                      .fresh = NVIRT_VMCB_CLEAN_ALL,
                                      .tsc_ratio12 = NVIRT_SVM_TSC_RATIO_ONE,
                                      .pass_through = random64(seed) % 2u != 0};
    r->interrupts = (struct nvi_svm_interrupt_in){.vmcb12 = &r->vmcb12, .vmcb01 = &r->vmcb01,
                                                  .pass_through = r->in.pass_through,
                                                  .gif = random64(seed) % 2u != 0,
                                                  .l1_if = random64(seed) % 2u != 0,
                                                  .v_irq = random64(seed) % 2u != 0,
                                                  .window = random64(seed) % 2u != 0};
    nvi_svm_merge(&r->in, &r->vmcb02);
    (void)nvi_svm_set_interrupts(&r->interrupts, &r->vmcb02);
}

/* Of MWAIT's two L1's choice stands alone, where it has one: either keeps L2 from waiting. */
static bool is_of_mwait(uint32_t code)
{
    return code == NVIRT_SVM_EXIT_MWAIT || code == NVIRT_SVM_EXIT_MWAIT_ARMED;
}

static bool intercepts_mwait(const struct nvirt_vmcb *vmcb)
{
    return nvirt_vmcb_intercepts(vmcb, NVIRT_SVM_EXIT_MWAIT) ||
           nvirt_vmcb_intercepts(vmcb, NVIRT_SVM_EXIT_MWAIT_ARMED);
}

static void vmcb02_intercepts_what_either_level_does(void **state)
{
    uint64_t seed = 45;
    static struct svm_rig r;

    (void)state;
    for (unsigned i = 0; i < ROUNDS; i++) {
        svm_setup(&r, &seed);
        for (uint32_t code = 0; code <= NVIRT_SVM_EXIT_TLBSYNC; code++) {
            bool l1 = is_defined(code) && nvirt_vmcb_intercepts(&r.vmcb12, code);
            bool l0 = !is_of_interrupts(code) && !is_of_mwait(code) &&
                      nvirt_vmcb_intercepts(&r.vmcb01, code);

            if (l1 || l0)
                assert_true(nvirt_vmcb_intercepts(&r.vmcb02, code));
        }
        assert_true(intercepts_mwait(&r.vmcb02) ||
                    !(intercepts_mwait(&r.vmcb01) || intercepts_mwait(&r.vmcb12)));
        for (size_t k = 0; k < sizeof always / sizeof always[0]; k++)
            assert_true(nvirt_vmcb_intercepts(&r.vmcb02, always[k]));
        if (!r.in.pass_through) {
            assert_true(nvirt_vmcb_intercepts(&r.vmcb02, NVIRT_SVM_EXIT_INTR));
            assert_true(nvirt_vmcb_intercepts(&r.vmcb02, NVIRT_SVM_EXIT_NMI));
            assert_true((r.vmcb02.int_ctl & NVIRT_SVM_V_INTR_MASKING) != 0);
        } else if (!r.interrupts.gif) {
            assert_true(nvirt_vmcb_intercepts(&r.vmcb02, NVIRT_SVM_EXIT_NMI));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vmcs02_intercepts_what_either_level_does),
        cmocka_unit_test(no_apic_but_l1s_own_is_open_to_l2),
        cmocka_unit_test(msr_bitmap02_intercepts_what_either_level_does),
        cmocka_unit_test(vmcb02_intercepts_what_either_level_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
