/* SPDX-License-Identifier: MIT */
/* Positions in the permission maps [APM 2 "IOIO Intercepts", "MSR Intercepts"]. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <nvirt/svm.h>

#include "vmcb/vmcb_core.h"

static uint8_t msrpm[NVIRT_SVM_MSRPM_BYTES];

static void expect_position(uint32_t msr, uint32_t byte, uint32_t shift)
{
    uint32_t bit = 0;

    assert_true(nvi_svm_msrpm_position(msr, &bit));
    assert_int_equal(bit, byte * 8 + shift);
}

static void the_three_ranges_have_two_bits_each(void **state)
{
    (void)state;
    expect_position(0, 0, 0);
    expect_position(0x174, 0x5d, 0);
    expect_position(0x1fff, 0x7ff, 6);
    expect_position(0xc0000000, 0x800, 0);
    expect_position(0xc0000080, 0x820, 0);
    expect_position(0xc0001fff, 0xfff, 6);
    expect_position(0xc0010000, 0x1000, 0);
    expect_position(0xc0010114, 0x1045, 0);
    expect_position(0xc0011fff, 0x17ff, 6);
}

static void other_msrs_have_no_position_and_are_intercepted(void **state)
{
    static const uint32_t outside[] = {0x2000, 0xbfffffff, 0xc0002000, 0xc000ffff, 0xc0012000,
                                       0x40000000, 0xffffffff};
    uint32_t bit;

    (void)state;
    memset(msrpm, 0, sizeof msrpm);
    for (unsigned i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        assert_false(nvi_svm_msrpm_position(outside[i], &bit));
        assert_true(nvi_svm_msrpm_intercepts(msrpm, outside[i], false));
    }
}

static void read_and_write_bits_are_apart(void **state)
{
    (void)state;
    memset(msrpm, 0, sizeof msrpm);
    msrpm[0x820] = 2;
    assert_false(nvi_svm_msrpm_intercepts(msrpm, 0xc0000080, false));
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0000080, true));
    assert_false(nvi_svm_msrpm_intercepts(msrpm, 0xc0000081, true));
}

static void required_msrs_are_intercepted_and_no_others(void **state)
{
    unsigned bits = 0;

    (void)state;
    memset(msrpm, 0, sizeof msrpm);
    nvirt_svm_msrpm_require(msrpm);
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0000080, false));
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0000080, true));
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0010114, true));
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0010117, false));
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0010118, true));
    assert_true(nvi_svm_msrpm_intercepts(msrpm, 0xc0000104, true));
    for (unsigned i = 0; i < sizeof msrpm * 8; i++) {
        bits += (msrpm[i / 8] >> (i % 8)) & 1u;
    }
    assert_int_equal(bits, 10);
    nvirt_svm_msrpm_require(NULL);
}

/* An access of n bytes is decided by n bits, past port FFFFh by the bits behind the 64 Ki. */
static void io_access_has_as_many_bits_as_bytes(void **state)
{
    uint32_t bit, count;

    (void)state;
    nvi_svm_iopm_position(UINT64_C(0x3f8) << 16 | 1 << 4, &bit, &count);
    assert_int_equal(bit, 0x3f8);
    assert_int_equal(count, 1);
    nvi_svm_iopm_position(UINT64_C(0x80) << 16 | 1 << 5, &bit, &count);
    assert_int_equal(count, 2);
    nvi_svm_iopm_position(UINT64_C(0xffff) << 16 | 1 << 6, &bit, &count);
    assert_int_equal(bit, 0xffff);
    assert_int_equal(count, 4);
    assert_true((bit + count - 1) / 8 < NVIRT_SVM_IOPM_BYTES);
    nvi_svm_iopm_position(~UINT64_C(0), &bit, &count);
    assert_int_equal(bit, 0xffff);
    assert_int_equal(count, 4);
}

static void bits_are_written_and_found(void **state)
{
    uint8_t map[4] = {0};

    (void)state;
    nvi_svm_map_write(map, 6, 4, true);
    assert_int_equal(map[0], 0xc0);
    assert_int_equal(map[1], 0x03);
    assert_true(nvi_svm_map_any(map, 9, 1));
    assert_false(nvi_svm_map_any(map, 10, 8));
    assert_true(nvi_svm_map_any(map, 3, 4));
    assert_false(nvi_svm_map_any(map, 3, 3));
    nvi_svm_map_write(map, 7, 2, false);
    assert_int_equal(map[0], 0x40);
    assert_int_equal(map[1], 0x02);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_three_ranges_have_two_bits_each),
        cmocka_unit_test(other_msrs_have_no_position_and_are_intercepted),
        cmocka_unit_test(read_and_write_bits_are_apart),
        cmocka_unit_test(required_msrs_are_intercepted_and_no_others),
        cmocka_unit_test(io_access_has_as_many_bits_as_bytes),
        cmocka_unit_test(bits_are_written_and_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
