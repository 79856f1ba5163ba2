/* SPDX-License-Identifier: MIT */
/*
 * The rows of vmcb_fields.def: together they cover the page without gap or overlap, and each setter
 * clears the clean bit of its field and no other. [APM 2 "VMCB State Caching"]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <nvirt/vmcb.h>

static void rows_cover_the_page(void **state)
{
    size_t at = 0;

    (void)state;
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean, moves, text)                            \
    assert_int_equal(at, offset);                                                                  \
    at += (bytes);
#define NVIRT_VMCB_SEGMENT(name, offset, clean, moves, text)                                       \
    assert_int_equal(at, offset);                                                                  \
    at += 16;
#define NVIRT_VMCB_ARRAY(type, name, count, offset, bytes, clean, moves, text)                     \
    assert_int_equal(at, offset);                                                                  \
    at += (bytes);
#define NVIRT_VMCB_RESERVED(name, offset, bytes)                                                   \
    assert_int_equal(at, offset);                                                                  \
    at += (bytes);
#include <nvirt/vmcb_fields.def>
    assert_int_equal(at, 4096);
}

static void setters_clear_their_clean_bit_when_the_value_changes(void **state)
{
    static struct nvirt_vmcb vmcb;
    const struct nvirt_vmcb_segment segment = {1, 2, 3, 4};

    (void)state;
#define NVIRT_VMCB_FIELD(type, name, offset, bytes, clean_group, moves, text)                      \
    if ((offset) != offsetof(struct nvirt_vmcb, clean)) {                                          \
        vmcb.clean = NVIRT_VMCB_CLEAN_ALL;                                                         \
        nvirt_vmcb_set_##name(&vmcb, vmcb.name);                                                   \
        assert_int_equal(vmcb.clean, NVIRT_VMCB_CLEAN_ALL);                                        \
        nvirt_vmcb_set_##name(&vmcb, (type)(vmcb.name + 1));                                       \
        assert_int_equal(vmcb.clean, NVIRT_VMCB_CLEAN_ALL & ~NVIRT_VMCB_CLEAN_##clean_group);      \
        assert_int_equal(vmcb.name, 1);                                                            \
    }
#define NVIRT_VMCB_SEGMENT(name, offset, clean_group, moves, text)                                 \
    vmcb.clean = NVIRT_VMCB_CLEAN_ALL;                                                             \
    nvirt_vmcb_set_##name(&vmcb, vmcb.name);                                                       \
    assert_int_equal(vmcb.clean, NVIRT_VMCB_CLEAN_ALL);                                            \
    nvirt_vmcb_set_##name(&vmcb, segment);                                                         \
    assert_int_equal(vmcb.clean, NVIRT_VMCB_CLEAN_ALL & ~NVIRT_VMCB_CLEAN_##clean_group);          \
    assert_int_equal(vmcb.name.base, 4);
#include <nvirt/vmcb_fields.def>
}

static void intercepts_are_numbered_as_exit_codes(void **state)
{
    static struct nvirt_vmcb vmcb;

    (void)state;
    vmcb.clean = NVIRT_VMCB_CLEAN_ALL;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_CR8_WRITE, true);
    assert_int_equal(vmcb.intercepts[0], 1u << 24);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_EXCEPTION + 14, true);
    assert_int_equal(vmcb.intercepts[2], 1u << 14);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMRUN, true);
    assert_int_equal(vmcb.intercepts[4], 1);
    assert_true(nvirt_vmcb_intercepts(&vmcb, NVIRT_SVM_EXIT_VMRUN));
    assert_int_equal(vmcb.clean, NVIRT_VMCB_CLEAN_ALL & ~NVIRT_VMCB_CLEAN_INTERCEPTS);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_VMRUN, false);
    assert_int_equal(vmcb.intercepts[4], 0);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_NPF, true);
    assert_false(nvirt_vmcb_intercepts(&vmcb, NVIRT_SVM_EXIT_NPF));
    nvirt_vmcb_set_intercept_word(&vmcb, 6, ~0u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_cover_the_page),
        cmocka_unit_test(setters_clear_their_clean_bit_when_the_value_changes),
        cmocka_unit_test(intercepts_are_numbered_as_exit_codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
