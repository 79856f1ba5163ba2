/* SPDX-License-Identifier: MIT */
/* The container of saved state: the layout of <nvirt/state.h>, byte for byte. */
#include "state/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Two rows, written out by hand from the header's table. */
static const uint8_t two_rows[48] = {
    'n', 'v', 's', 't', 1, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0,                      /* header */
    5, 0, 1, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,      /* item 5 */
    0x10, 0x04, 3, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0x80,                     /* L2, 0x410 */
};

static enum nvirt_status open_with(size_t offset, uint8_t value, size_t bytes)
{
    uint8_t copy[sizeof two_rows];
    struct nvi_rows_in in;

    memcpy(copy, two_rows, sizeof copy);
    copy[offset] = value;
    return nvi_rows_open(&in, copy, bytes, NVIRT_STATE_SVM);
}

static void rows_are_written_in_the_documented_layout(void **state)
{
    struct nvi_rows_out out;
    uint8_t buffer[49];

    (void)state;
    /* At an odd address as well. */
    nvi_rows_begin(&out, buffer + 1, sizeof two_rows);
    nvi_rows_put(&out, nvi_row_id(NVIRT_STATE_ITEM, 5), UINT64_C(0x1122334455667788));
    nvi_rows_put(&out, nvi_row_id(NVIRT_STATE_L2, 0x410), UINT64_C(0x8000000000000009));
    assert_int_equal(nvi_rows_end(&out, NVIRT_STATE_SVM), sizeof two_rows);
    assert_memory_equal(buffer + 1, two_rows, sizeof two_rows);
}

static void rows_are_read_from_the_documented_layout(void **state)
{
    struct nvi_rows_in in;
    struct nvi_row row;

    (void)state;
    assert_int_equal(nvi_rows_open(&in, two_rows, sizeof two_rows, NVIRT_STATE_SVM), NVIRT_OK);
    assert_int_equal(in.count, 2);
    row = nvi_rows_get(&in, 1);
    assert_int_equal(nvi_row_class(row.id), NVIRT_STATE_L2);
    assert_int_equal(nvi_row_number(row.id), 0x410);
    assert_true(row.value == UINT64_C(0x8000000000000009));
}

static void a_buffer_too_small_is_not_written_beyond_and_the_size_comes_out(void **state)
{
    struct nvi_rows_out out;
    uint8_t buffer[48];

    (void)state;
    for (size_t bytes = 0; bytes < sizeof buffer; bytes++) {
        memset(buffer, 0xa5, sizeof buffer);
        nvi_rows_begin(&out, buffer, bytes);
        nvi_rows_put(&out, nvi_row_id(NVIRT_STATE_ITEM, 0), 1);
        nvi_rows_put(&out, nvi_row_id(NVIRT_STATE_ITEM, 1), 2);
        assert_int_equal(nvi_rows_end(&out, NVIRT_STATE_VMX), sizeof buffer);
        for (size_t i = bytes; i < sizeof buffer; i++)
            assert_int_equal(buffer[i], 0xa5);
    }
}

static void every_byte_of_the_header_counts(void **state)
{
    (void)state;
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(open_with(i, (uint8_t)(two_rows[i] ^ 0x40), sizeof two_rows),
                         NVIRT_ERR_DATA);
}

static void the_length_is_exact(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof two_rows; bytes++)
        assert_int_equal(open_with(0, 'n', bytes), NVIRT_ERR_DATA);
    assert_int_equal(open_with(8, 1, sizeof two_rows), NVIRT_ERR_DATA);
    assert_int_equal(open_with(8, 1, 32), NVIRT_OK);
    /* A count whose bytes would overflow 32 bits and come out right. */
    assert_int_equal(open_with(11, 0x10, sizeof two_rows), NVIRT_ERR_DATA);
}

static void rows_ascend_and_their_reserved_bytes_are_zero(void **state)
{
    (void)state;
    assert_int_equal(open_with(18, 3, sizeof two_rows), NVIRT_OK);          /* Below 0x30410. */
    assert_int_equal(open_with(18, 4, sizeof two_rows), NVIRT_ERR_DATA);    /* Above. */
    for (size_t i = 20; i < 24; i++)
        assert_int_equal(open_with(i, 1, sizeof two_rows), NVIRT_ERR_DATA);
}

static void a_row_twice_is_refused(void **state)
{
    uint8_t copy[sizeof two_rows];
    struct nvi_rows_in in;

    (void)state;
    memcpy(copy, two_rows, sizeof copy);
    memcpy(copy + 32, copy + 16, 16);
    assert_int_equal(nvi_rows_open(&in, copy, sizeof copy, NVIRT_STATE_SVM), NVIRT_ERR_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_written_in_the_documented_layout),
        cmocka_unit_test(rows_are_read_from_the_documented_layout),
        cmocka_unit_test(a_buffer_too_small_is_not_written_beyond_and_the_size_comes_out),
        cmocka_unit_test(every_byte_of_the_header_counts),
        cmocka_unit_test(the_length_is_exact),
        cmocka_unit_test(rows_ascend_and_their_reserved_bytes_are_zero),
        cmocka_unit_test(a_row_twice_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
