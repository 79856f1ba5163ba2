/* SPDX-License-Identifier: MIT */
/* Whose an exit of L2 is. CVE-2014-3645, CVE-2014-3646: every code has an answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "vmcb/vmcb_core.h"

/* Of a host that asks for nothing. */
static const struct nvirt_vmcb no_vmcb01;

static struct nvirt_vmcb vmcb12;

static int setup(void **state)
{
    (void)state;
    memset(&vmcb12, 0, sizeof vmcb12);
    return 0;
}

static enum nvi_svm_action decide(uint64_t code)
{
    return nvi_svm_reflect(&no_vmcb01, &vmcb12, code, true);
}

static void what_l1_intercepts_is_l1s(void **state)
{
    (void)state;
    memset(vmcb12.intercepts, 0xff, sizeof vmcb12.intercepts);
    for (uint64_t code = 0; code < 0xc0; code++) {
        enum nvi_svm_action action = decide(code);

        if (code == NVIRT_SVM_EXIT_IOIO) {
            assert_int_equal(action, NVI_SVM_IO);
        } else if (code == NVIRT_SVM_EXIT_MSR) {
            assert_int_equal(action, NVI_SVM_MSR);
        } else {
            assert_int_equal(action, NVI_SVM_REFLECT);
        }
    }
}

static void each_intercept_is_looked_at_by_itself(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < 0xc0; bit++) {
        setup(NULL);
        nvirt_vmcb_intercept(&vmcb12, bit, true);
        for (uint32_t code = 0; code < 0xc0; code++) {
            if (code != bit) {
                assert_int_not_equal(decide(code), NVI_SVM_REFLECT);
            }
        }
    }
}

static void svm_instructions_l1_allows_are_done_for_l2(void **state)
{
    (void)state;
    assert_int_equal(decide(NVIRT_SVM_EXIT_VMLOAD), NVI_SVM_INSTRUCTION);
    assert_int_equal(decide(NVIRT_SVM_EXIT_VMSAVE), NVI_SVM_INSTRUCTION);
    assert_int_equal(decide(NVIRT_SVM_EXIT_STGI), NVI_SVM_INSTRUCTION);
    assert_int_equal(decide(NVIRT_SVM_EXIT_CLGI), NVI_SVM_INSTRUCTION);
    assert_int_equal(decide(NVIRT_SVM_EXIT_INVLPGA), NVI_SVM_INSTRUCTION);
}

/* CVE-2026-46076: a VMMCALL of L2 that L1 does not take is #UD, never a call to L0. */
static void vmmcall_of_l2_is_undefined_unless_l1_takes_it(void **state)
{
    (void)state;
    assert_int_equal(decide(NVIRT_SVM_EXIT_VMMCALL), NVI_SVM_UNDEFINED);
    assert_int_equal(decide(NVIRT_SVM_EXIT_SKINIT), NVI_SVM_UNDEFINED);
    assert_int_equal(decide(NVIRT_SVM_EXIT_VMRUN), NVI_SVM_UNDEFINED);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_VMMCALL, true);
    assert_int_equal(decide(NVIRT_SVM_EXIT_VMMCALL), NVI_SVM_REFLECT);
}

/* CVE-2022-3344, and Xen's SHUTDOWN that reset the host: L1 alone is gone. */
static void shutdown_that_l1_does_not_take_ends_l1(void **state)
{
    (void)state;
    assert_int_equal(decide(NVIRT_SVM_EXIT_SHUTDOWN), NVI_SVM_DEAD);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_SHUTDOWN, true);
    assert_int_equal(decide(NVIRT_SVM_EXIT_SHUTDOWN), NVI_SVM_REFLECT);
}

static void physical_events_are_the_hosts_unless_passed_through(void **state)
{
    (void)state;
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_intercept(&vmcb12, NVIRT_SVM_EXIT_NMI, true);
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_INTR, false), NVI_SVM_HOST);
    assert_int_equal(nvi_svm_reflect(&no_vmcb01, &vmcb12, NVIRT_SVM_EXIT_NMI, false), NVI_SVM_HOST);
    assert_int_equal(decide(NVIRT_SVM_EXIT_INTR), NVI_SVM_REFLECT);
    assert_int_equal(decide(NVIRT_SVM_EXIT_NMI), NVI_SVM_REFLECT);
    setup(NULL);
    assert_int_equal(decide(NVIRT_SVM_EXIT_INTR), NVI_SVM_HOST);
    assert_int_equal(decide(NVIRT_SVM_EXIT_INIT), NVI_SVM_HOST);
    assert_int_equal(decide(NVIRT_SVM_EXIT_SMI), NVI_SVM_HOST);
}

/* [APM 2 "Exception Intercepts"]: L0's intercept of #MC goes before L1's; of no other exception. */
static void a_machine_check_is_the_hosts_where_vmcb01_intercepts_it(void **state)
{
    const uint64_t mc = NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_MC;
    const uint64_t gp = NVIRT_SVM_EXIT_EXCEPTION + NVIRT_VECTOR_GP;
    struct nvirt_vmcb vmcb01 = { 0 };

    (void)state;
    nvirt_vmcb_intercept(&vmcb12, mc, true);
    nvirt_vmcb_intercept(&vmcb12, gp, true);
    nvirt_vmcb_intercept(&vmcb01, gp, true);
    assert_int_equal(nvi_svm_reflect(&vmcb01, &vmcb12, mc, true), NVI_SVM_REFLECT);
    nvirt_vmcb_intercept(&vmcb01, mc, true);
    assert_int_equal(nvi_svm_reflect(&vmcb01, &vmcb12, mc, true), NVI_SVM_HOST);
    assert_int_equal(nvi_svm_reflect(&vmcb01, &vmcb12, gp, true), NVI_SVM_REFLECT);
}

static void what_l1_does_not_intercept_is_the_hosts(void **state)
{
    (void)state;
    assert_int_equal(decide(NVIRT_SVM_EXIT_CPUID), NVI_SVM_HOST);
    assert_int_equal(decide(NVIRT_SVM_EXIT_EXCEPTION + 14), NVI_SVM_HOST);
    assert_int_equal(decide(NVIRT_SVM_EXIT_CR0_WRITE), NVI_SVM_HOST);
}

static void nested_faults_are_decided_by_the_tables(void **state)
{
    (void)state;
    assert_int_equal(decide(NVIRT_SVM_EXIT_NPF), NVI_SVM_NESTED_FAULT);
}

/* An emulator stores 32 bits of it only. */
static void refusals_are_known_in_both_widths(void **state)
{
    (void)state;
    assert_int_equal(decide(NVIRT_SVM_EXIT_INVALID), NVI_SVM_REFUSED);
    assert_int_equal(decide(NVIRT_SVM_EXIT_INVALID_LOW), NVI_SVM_REFUSED);
}

static void codes_nobody_knows_are_the_hosts(void **state)
{
    static const uint64_t codes[] = {0xc0,  0x3ff, NVIRT_SVM_EXIT_AVIC_INCOMPLETE_IPI,
                                     NVIRT_SVM_EXIT_AVIC_NOACCEL, NVIRT_SVM_EXIT_VMGEXIT, 0x404,
                                     0x10000000, NVIRT_SVM_EXIT_BUSY, UINT64_C(0x100000072)};

    (void)state;
    memset(vmcb12.intercepts, 0xff, sizeof vmcb12.intercepts);
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        assert_int_equal(decide(codes[i]), NVI_SVM_HOST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_l1_intercepts_is_l1s, setup),
        cmocka_unit_test_setup(each_intercept_is_looked_at_by_itself, setup),
        cmocka_unit_test_setup(svm_instructions_l1_allows_are_done_for_l2, setup),
        cmocka_unit_test_setup(vmmcall_of_l2_is_undefined_unless_l1_takes_it, setup),
        cmocka_unit_test_setup(shutdown_that_l1_does_not_take_ends_l1, setup),
        cmocka_unit_test_setup(physical_events_are_the_hosts_unless_passed_through, setup),
        cmocka_unit_test_setup(a_machine_check_is_the_hosts_where_vmcb01_intercepts_it, setup),
        cmocka_unit_test_setup(what_l1_does_not_intercept_is_the_hosts, setup),
        cmocka_unit_test_setup(nested_faults_are_decided_by_the_tables, setup),
        cmocka_unit_test_setup(refusals_are_known_in_both_widths, setup),
        cmocka_unit_test_setup(codes_nobody_knows_are_the_hosts, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
