/* SPDX-License-Identifier: MIT */
/* Capabilities from CPUID, and what L1 is offered of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <nvirt/svm.h>

#include "vmcb/vmcb_core.h"

static struct nvirt_svm_cpuid cpuid;
static struct nvirt_svm_caps caps, offer;

static int setup(void **state)
{
    (void)state;
    memset(&cpuid, 0, sizeof cpuid);
    cpuid.ecx_80000001 = 1u << 2;
    cpuid.edx_80000001 = 1u << 29 | 1u << 20 | 1u << 11;
    cpuid.eax_80000008 = 40;
    cpuid.edx_8000000a = NVIRT_SVM_FEATURE_NP;
    cpuid.ebx_8000000a = 16;
    cpuid.eax_8000000a = 1;
    return 0;
}

static void decode(void)
{
    assert_int_equal(nvirt_svm_caps_decode(&cpuid, &caps), NVIRT_OK);
}

static void decode_checks_its_arguments(void **state)
{
    (void)state;
    assert_int_equal(nvirt_svm_caps_decode(NULL, &caps), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_caps_decode(&cpuid, NULL), NVIRT_ERR_NULL);
    cpuid.ecx_80000001 = 0;
    assert_int_equal(nvirt_svm_caps_decode(&cpuid, &caps), NVIRT_ERR_CAPABILITY);
}

static void numbers_are_taken_over(void **state)
{
    (void)state;
    decode();
    assert_int_equal(caps.asid_count, 16);
    assert_int_equal(caps.revision, 1);
    assert_int_equal(caps.physical_bits, 40);
    assert_int_equal(caps.linear_bits, 48);
    assert_true(caps.long_mode);
    assert_true(caps.nx);
    assert_false(caps.pages_1g);
    assert_false(caps.pse36);
}

static void nonsense_widths_do_not_become_shifts(void **state)
{
    static const uint8_t widths[] = {0, 31, 53, 64, 255};

    (void)state;
    for (unsigned i = 0; i < sizeof widths; i++) {
        cpuid.eax_80000008 = widths[i];
        decode();
        assert_int_equal(caps.physical_bits, 36);
    }
    cpuid.eax_80000008 = 52;
    decode();
    assert_int_equal(caps.physical_bits, 52);
}

static void register_bits_follow_cpuid(void **state)
{
    (void)state;
    decode();
    assert_int_equal(caps.efer_valid, NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA |
                                          NVIRT_EFER_NXE | NVIRT_EFER_SVME);
    assert_int_equal(caps.cr4_valid, NVIRT_CR4_PCE);
    memset(&cpuid, 0xff, sizeof cpuid);
    decode();
    assert_int_equal(caps.efer_valid, 0x36dd01);
    assert_int_equal(caps.cr4_valid, 0xf71fff);
    assert_int_equal(caps.linear_bits, 57);
}

static void each_cpuid_bit_opens_its_register_bit(void **state)
{
    (void)state;
    cpuid.edx_1 = 1u << 6;
    decode();
    assert_int_equal(caps.cr4_valid, NVIRT_CR4_PCE | NVIRT_CR4_PAE);
    cpuid.edx_1 = 0;
    cpuid.ecx_1 = 1u << 17;
    decode();
    assert_int_equal(caps.cr4_valid, NVIRT_CR4_PCE | NVIRT_CR4_PCIDE);
    cpuid.ecx_1 = 0;
    cpuid.ebx_7 = 1u << 7;
    decode();
    assert_int_equal(caps.cr4_valid, NVIRT_CR4_PCE | NVIRT_CR4_SMEP);
    cpuid.ebx_7 = 0;
    cpuid.ecx_7 = 1u << 2;
    decode();
    assert_int_equal(caps.cr4_valid, NVIRT_CR4_PCE | NVIRT_CR4_UMIP);
    cpuid.ebx_80000008 = 1u << 8;
    decode();
    assert_true((caps.efer_valid & NVIRT_SVM_EFER_MCOMMIT) != 0);
    cpuid.eax_80000021 = 1u << 8;
    decode();
    assert_true((caps.efer_valid & NVIRT_SVM_EFER_AIBRSE) != 0);
}

static void the_offer_is_an_allow_list(void **state)
{
    (void)state;
    memset(&cpuid, 0xff, sizeof cpuid);
    decode();
    assert_int_equal(nvirt_svm_caps_offer(&caps, &offer), NVIRT_OK);
    assert_int_equal(offer.features,
                     NVIRT_SVM_FEATURE_NP | NVIRT_SVM_FEATURE_SVM_LOCK | NVIRT_SVM_FEATURE_NRIPS |
                         NVIRT_SVM_FEATURE_DECODE_ASSISTS | NVIRT_SVM_FEATURE_ADDRESS_CHECK |
                         NVIRT_SVM_FEATURE_FLUSH_BY_ASID | NVIRT_SVM_FEATURE_CLEAN |
                         NVIRT_SVM_FEATURE_LBR | NVIRT_SVM_FEATURE_PAUSE_FILTER |
                         NVIRT_SVM_FEATURE_PAUSE_THRESHOLD | NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD |
                         NVIRT_SVM_FEATURE_SPEC_CTRL | NVIRT_SVM_FEATURE_BUS_LOCK |
                         NVIRT_SVM_FEATURE_VGIF | NVIRT_SVM_FEATURE_VNMI |
                         NVIRT_SVM_FEATURE_TSC_RATE);
    assert_int_equal(offer.cr4_valid & NVIRT_CR4_CET, 0);
}

static void flush_by_asid_and_clean_bits_are_offered_without_the_cpus(void **state)
{
    (void)state;
    decode();
    assert_int_equal(nvirt_svm_caps_offer(&caps, &offer), NVIRT_OK);
    assert_int_equal(offer.features, NVIRT_SVM_FEATURE_NP | NVIRT_SVM_FEATURE_FLUSH_BY_ASID |
                                         NVIRT_SVM_FEATURE_CLEAN);
}

static void an_offer_needs_nested_paging_and_no_execute(void **state)
{
    (void)state;
    decode();
    assert_int_equal(nvirt_svm_caps_offer(NULL, &offer), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_caps_offer(&caps, NULL), NVIRT_ERR_NULL);
    caps.nx = false;
    assert_int_equal(nvirt_svm_caps_offer(&caps, &offer), NVIRT_ERR_CAPABILITY);
    caps.nx = true;
    caps.features = 0;
    assert_int_equal(nvirt_svm_caps_offer(&caps, &offer), NVIRT_ERR_CAPABILITY);
}

static void required_intercepts_are_svms(void **state)
{
    static struct nvirt_vmcb vmcb;

    (void)state;
    nvirt_svm_intercepts_require(NULL);
    nvirt_svm_intercepts_require(&vmcb);
    for (uint32_t code = NVIRT_SVM_EXIT_VMRUN; code <= NVIRT_SVM_EXIT_SKINIT; code++) {
        assert_true(nvirt_vmcb_intercepts(&vmcb, code));
    }
    assert_true(nvirt_vmcb_intercepts(&vmcb, NVIRT_SVM_EXIT_INVLPGA));
    assert_true(nvirt_vmcb_intercepts(&vmcb, NVIRT_SVM_EXIT_MSR));
    assert_true(nvirt_vmcb_intercepts(&vmcb, NVIRT_SVM_EXIT_SHUTDOWN));
    assert_false(nvirt_vmcb_intercepts(&vmcb, NVIRT_SVM_EXIT_CPUID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(decode_checks_its_arguments, setup),
        cmocka_unit_test_setup(numbers_are_taken_over, setup),
        cmocka_unit_test_setup(nonsense_widths_do_not_become_shifts, setup),
        cmocka_unit_test_setup(register_bits_follow_cpuid, setup),
        cmocka_unit_test_setup(each_cpuid_bit_opens_its_register_bit, setup),
        cmocka_unit_test_setup(the_offer_is_an_allow_list, setup),
        cmocka_unit_test_setup(flush_by_asid_and_clean_bits_are_offered_without_the_cpus, setup),
        cmocka_unit_test_setup(an_offer_needs_nested_paging_and_no_execute, setup),
        cmocka_unit_test_setup(required_intercepts_are_svms, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
