/* SPDX-License-Identifier: MIT */
/* The capability MSRs read from a CPU that raises #GP for every MSR it does not have. */
#include "vmcs_fixture.h"

#include "fake_cpu.h"

static struct nvirt_port_cpu cpu;

/* Gives the fake CPU those capability MSRs that @p caps say exist. */
static void install(const struct nvirt_vmx_caps *caps)
{
    uint64_t value;

    fake_cpu_init(&cpu);
    for (uint32_t msr = 0x480; msr <= 0x493; msr++) {
        if (nvirt_vmx_caps_msr(caps, msr, &value)) {
            fake_cpu_msr_set(&cpu, msr, value);
        }
    }
}

static void reads_every_msr_that_exists(void **state)
{
    struct nvirt_vmx_caps caps;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    install(&f.cpu);
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_OK);
    assert_memory_equal(&caps, &f.cpu, sizeof caps);
    /* With all that can exist. */
    f.cpu.proc |= NVIRT_VMX_PROC_TERTIARY << 32;
    f.cpu.exit |= NVIRT_VMX_EXIT_CTL_SECONDARY << 32;
    f.cpu.proc3 = 0x12;
    f.cpu.exit2 = 0x3;
    install(&f.cpu);
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_OK);
    assert_memory_equal(&caps, &f.cpu, sizeof caps);
}

static void without_true_msrs_the_plain_ones_count(void **state)
{
    struct nvirt_vmx_caps caps;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.cpu.basic &= ~NVIRT_VMX_BASIC_TRUE;
    install(&f.cpu);
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_OK);
    assert_true(caps.true_pin == f.cpu.pin);
    assert_true(caps.true_proc == f.cpu.proc);
    assert_true(caps.true_exit == f.cpu.exit);
    assert_true(caps.true_entry == f.cpu.entry);
}

static void a_cpu_without_secondary_controls(void **state)
{
    struct nvirt_vmx_caps caps;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    f.cpu.proc &= ~(NVIRT_VMX_PROC_SECONDARY << 32);
    install(&f.cpu);
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_OK);
    assert_int_equal(caps.proc2 | caps.ept_vpid | caps.vmfunc, 0);
}

static void a_cpu_without_vmx_is_refused(void **state)
{
    struct nvirt_vmx_caps caps, before;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    memset(&caps, 0x5A, sizeof caps);
    before = caps;
    fake_cpu_init(&cpu);
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_ERR_CAPABILITY);
    assert_memory_equal(&caps, &before, sizeof caps);
}

static void misuse_is_named_and_changes_nothing(void **state)
{
    const uint8_t bad_widths[][2] = {{31, 48}, {53, 48}, {0, 48}, {40, 47}, {40, 56}, {40, 64}};
    struct nvirt_vmx_caps caps, before;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    install(&f.cpu);
    memset(&caps, 0x5A, sizeof caps);
    before = caps;
    assert_int_equal(nvirt_vmx_caps_read(&cpu, NULL, &caps), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, NULL), NVIRT_ERR_NULL);
    for (size_t i = 0; i < sizeof bad_widths / sizeof bad_widths[0]; i++) {
        f.cpu.cpu.physical_bits = bad_widths[i][0];
        f.cpu.cpu.linear_bits = bad_widths[i][1];
        assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_ERR_RANGE);
    }
    assert_memory_equal(&caps, &before, sizeof caps);
    f.cpu.cpu.physical_bits = 52;
    f.cpu.cpu.linear_bits = 57;
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &f.cpu.cpu, &caps), NVIRT_OK);
}

/* The facts may lie where the answer goes. */
static void facts_may_be_in_place(void **state)
{
    struct nvirt_vmx_caps caps;
    struct fixture f;

    (void)state;
    fixture_init(&f);
    install(&f.cpu);
    memset(&caps, 0, sizeof caps);
    caps.cpu = f.cpu.cpu;
    assert_int_equal(nvirt_vmx_caps_read(&cpu, &caps.cpu, &caps), NVIRT_OK);
    assert_memory_equal(&caps, &f.cpu, sizeof caps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_msr_that_exists),
        cmocka_unit_test(without_true_msrs_the_plain_ones_count),
        cmocka_unit_test(a_cpu_without_secondary_controls),
        cmocka_unit_test(a_cpu_without_vmx_is_refused),
        cmocka_unit_test(misuse_is_named_and_changes_nothing),
        cmocka_unit_test(facts_may_be_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
