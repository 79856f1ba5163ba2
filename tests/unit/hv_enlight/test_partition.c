/* SPDX-License-Identifier: MIT */
/* How L1 finds Hyper-V's interface and sets it up: CPUID leaves and MSRs; saved state. */
#include "hv_world.h"

#define OFFER (NVIRT_HV_OFFER_VMX)

static void test_init_refuses_what_is_out_of_range(void **state)
{
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp[2];
    struct nvirt_hv_slot slot[4];

    (void)state;
    assert_int_equal(nvirt_hv_partition_init(NULL, NULL, vp, 2, 0, false), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_partition_init(&partition, NULL, NULL, 2, 0, false), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_partition_init(&partition, NULL, vp, 0, 0, false), NVIRT_ERR_RANGE);
    assert_int_equal(
        nvirt_hv_partition_init(&partition, NULL, vp, NVIRT_HV_MAX_VPS + 1, 0, false),
        NVIRT_ERR_RANGE);
    assert_int_equal(
        nvirt_hv_partition_init(&partition, NULL, vp, 2, NVIRT_HV_OFFER_ALL + 1, false),
        NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_partition_init(&partition, NULL, vp, 2, 0, false), NVIRT_OK);
    assert_int_equal(nvirt_hv_vp_init(NULL, 0, slot, 4), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_vp_init(&partition, 2, slot, 4), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_vp_init(&partition, 1, slot, 3), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_vp_init(&partition, 1, slot, 4), NVIRT_OK);
}

/* [TLFS "Feature and Interface Discovery"] */
static void test_cpuid_tells_whose_interface_it_is(void **state)
{
    struct hv_world *w = *state;
    struct nvirt_hv_cpuid r;

    assert_false(nvirt_hv_cpuid(&w->partition, 0x3fffffff, &r));
    assert_false(nvirt_hv_cpuid(&w->partition, 0x40000100, &r));
    assert_true(nvirt_hv_cpuid(&w->partition, 0x40000000, &r));
    assert_memory_equal(&r.ebx, "Micr", 4);
    assert_memory_equal(&r.ecx, "osof", 4);
    assert_memory_equal(&r.edx, "t Hv", 4);
    assert_int_equal(r.eax, 0x4000000a);
    assert_true(nvirt_hv_cpuid(&w->partition, 0x40000001, &r));
    assert_memory_equal(&r.eax, "Hv#1", 4);
    assert_true(nvirt_hv_cpuid(&w->partition, 0x40000005, &r));
    assert_int_equal(r.eax, VPS);
    assert_true(nvirt_hv_cpuid(&w->partition, 0x400000ff, &r));
    assert_int_equal(r.eax | r.ebx | r.ecx | r.edx, 0);
}

static void test_cpuid_announces_what_is_offered_and_no_more(void **state)
{
    struct hv_world *w = *state;
    struct nvirt_hv_cpuid r;

    for (uint32_t offer = 0; offer <= NVIRT_HV_OFFER_ALL; offer++) {
        uint32_t features = (1u << 5) | (1u << 6);
        uint32_t nested = 0;
        uint32_t hints = 0;

        nested |= (offer & NVIRT_HV_OFFER_DIRECT_FLUSH) != 0 ? 1u << 17 : 0;
        nested |= (offer & NVIRT_HV_OFFER_NESTED_FLUSH) != 0 ? 1u << 18 : 0;
        nested |= (offer & NVIRT_HV_OFFER_MSR_BITMAP) != 0 ? 1u << 19 : 0;
        nested |= (offer & NVIRT_HV_OFFER_NPT_TLB) != 0 ? 1u << 22 : 0;
        nested |= (offer & NVIRT_HV_OFFER_EVMCS) != 0 ? 0x101 : 0; /* Versions 1 to 1. */
        w->partition.offer = offer;
        assert_true(nvirt_hv_cpuid(&w->partition, 0x40000000, &r));
        assert_int_equal(r.eax, nested != 0 ? 0x4000000a : 0x40000006);
        assert_true(nvirt_hv_cpuid(&w->partition, 0x40000003, &r));
        features |= (offer & NVIRT_HV_OFFER_INVARIANT_TSC) != 0 ? 1u << 15 : 0;
        assert_int_equal(r.eax, features);
        assert_int_equal(r.edx, (offer & NVIRT_HV_OFFER_XMM) != 0 ? 1u << 4 : 0);
        assert_true(nvirt_hv_cpuid(&w->partition, 0x40000004, &r));
        hints |= (offer & NVIRT_HV_OFFER_FLUSH) != 0 ? (1u << 2) | (1u << 11) : 0;
        hints |= (offer & NVIRT_HV_OFFER_EVMCS) != 0 ? 1u << 14 : 0;
        assert_int_equal(r.eax, hints);
        assert_true(nvirt_hv_cpuid(&w->partition, 0x4000000a, &r));
        assert_int_equal(r.eax, nested);
    }
}

/* Some are of one vendor's CPUs only; without hypercalls nothing would flush enlightened nested
 * tables, or be done for an L2, and on Intel's CPUs only an enlightened VMCS has a place to say that
 * the MSR bitmap is clean, or who an L2 is. */
static void test_offers_that_do_not_fit_are_refused(void **state)
{
    struct hv_world *w = *state;

    for (uint32_t offer = 0; offer <= NVIRT_HV_OFFER_ALL; offer++) {
        bool fits = (offer & NVIRT_HV_OFFER_NPT_TLB) == 0 ||
                    (offer & NVIRT_HV_OFFER_NESTED_FLUSH) != 0;

        fits = fits && (offer & NVIRT_HV_OFFER_EVMCS) == 0 &&
               ((offer & NVIRT_HV_OFFER_DIRECT_FLUSH) == 0 || (offer & NVIRT_HV_OFFER_FLUSH) != 0);
        assert_int_equal(nvirt_hv_partition_init(&w->partition, w->port, w->vp, 1, offer, true),
                         fits ? NVIRT_OK : NVIRT_ERR_RANGE);
        fits = (offer & NVIRT_HV_OFFER_NPT_TLB) == 0 &&
               ((offer & NVIRT_HV_OFFER_MSR_BITMAP) == 0 || (offer & NVIRT_HV_OFFER_EVMCS) != 0) &&
               ((offer & NVIRT_HV_OFFER_DIRECT_FLUSH) == 0 ||
                ((offer & NVIRT_HV_OFFER_EVMCS) != 0 && (offer & NVIRT_HV_OFFER_FLUSH) != 0));
        assert_int_equal(nvirt_hv_partition_init(&w->partition, w->port, w->vp, 1, offer, false),
                         fits ? NVIRT_OK : NVIRT_ERR_RANGE);
    }
}

static void test_msrs_that_are_not_there_raise_gp(void **state)
{
    struct hv_world *w = *state;
    uint64_t value;

    assert_int_equal(nvirt_hv_rdmsr(&w->partition, 0, 0x40000003, &value), NVIRT_ERR_RANGE);
    assert_int_equal(wrmsr(w, 0x40000003, 1), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_rdmsr(&w->partition, VPS, MSR_VP_INDEX, &value), NVIRT_ERR_RANGE);
    assert_int_equal(nvirt_hv_wrmsr(&w->partition, VPS, MSR_ASSIST_PAGE, 0), NVIRT_ERR_RANGE);
    w->partition.offer = 0;
    assert_int_equal(nvirt_hv_rdmsr(&w->partition, 0, MSR_TSC_INVARIANT, &value), NVIRT_ERR_RANGE);
    assert_int_equal(wrmsr(w, MSR_TSC_INVARIANT, 1), NVIRT_ERR_RANGE);
}

static void test_vp_index_is_the_processors_own_and_read_only(void **state)
{
    struct hv_world *w = *state;

    assert_int_equal(rdmsr(w, 0, MSR_VP_INDEX), 0);
    assert_int_equal(rdmsr(w, 77, MSR_VP_INDEX), 77);
    assert_int_equal(wrmsr(w, MSR_VP_INDEX, 1), NVIRT_ERR_RANGE);
}

/* [TLFS "Establishing the Hypercall Interface"] */
static void test_hypercall_page_needs_a_guest_identity(void **state)
{
    struct hv_world *w = *state;

    assert_int_equal(wrmsr(w, MSR_HYPERCALL, 0x5000 | 1), NVIRT_OK);
    assert_int_equal(rdmsr(w, 0, MSR_HYPERCALL), 0x5000);
    assert_int_equal(fake_vm_get32(w->port, 0x5000), 0);
    establish(w);
    assert_int_equal(rdmsr(w, 9, MSR_HYPERCALL), 0x5000 | 1);
    assert_int_equal(wrmsr(w, MSR_GUEST_OS_ID, 0), NVIRT_OK);
    assert_int_equal(rdmsr(w, 0, MSR_HYPERCALL), 0x5000);
}

static void test_hypercall_page_holds_the_vendors_instruction(void **state)
{
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(fake_vm_get32(w->port, 0x5000), 0xc3c1010fu); /* VMCALL, RET */
    w->partition.svm = true;
    establish(w);
    assert_int_equal(fake_vm_get32(w->port, 0x5000), 0xc3d9010fu); /* VMMCALL, RET */
}

static void test_hypercall_page_without_memory_raises_gp(void **state)
{
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(wrmsr(w, MSR_HYPERCALL, RAM | 1), NVIRT_ERR_RANGE);
    assert_int_equal(rdmsr(w, 0, MSR_HYPERCALL), 0x5000 | 1);
}

static void test_locked_hypercall_page_stays(void **state)
{
    struct hv_world *w = *state;

    establish(w);
    assert_int_equal(wrmsr(w, MSR_HYPERCALL, 0x6000 | 3), NVIRT_OK);
    assert_int_equal(wrmsr(w, MSR_HYPERCALL, 0x7000 | 1), NVIRT_OK);
    assert_int_equal(rdmsr(w, 0, MSR_HYPERCALL), 0x6000 | 3);
}

/* [TLFS "Virtual Processor Assist Page"] */
static void test_assist_page_is_cleared_when_it_is_enabled(void **state)
{
    struct hv_world *w = *state;

    fake_vm_put64(w->port, 0x8000, 1);
    fake_vm_put64(w->port, 0x8ff8, 1);
    fake_vm_put64(w->port, 0x9000, 1);
    assert_int_equal(wrmsr(w, MSR_ASSIST_PAGE, 0x8000), NVIRT_OK);
    assert_int_equal(fake_vm_get64(w->port, 0x8000), 1);
    assert_int_equal(wrmsr(w, MSR_ASSIST_PAGE, 0x8000 | 1), NVIRT_OK);
    assert_int_equal(fake_vm_get64(w->port, 0x8000), 0);
    assert_int_equal(fake_vm_get64(w->port, 0x8ff8), 0);
    assert_int_equal(fake_vm_get64(w->port, 0x9000), 1);
    assert_int_equal(rdmsr(w, 0, MSR_ASSIST_PAGE), 0x8000 | 1);
    assert_int_equal(rdmsr(w, 1, MSR_ASSIST_PAGE), 0);
    assert_int_equal(wrmsr(w, MSR_ASSIST_PAGE, RAM | 1), NVIRT_ERR_RANGE);
    assert_int_equal(rdmsr(w, 0, MSR_ASSIST_PAGE), 0x8000 | 1);
}

static void test_reserved_bits_of_the_tsc_control_raise_gp(void **state)
{
    struct hv_world *w = *state;

    assert_int_equal(wrmsr(w, MSR_TSC_INVARIANT, 2), NVIRT_ERR_RANGE);
    assert_int_equal(wrmsr(w, MSR_TSC_INVARIANT, 1), NVIRT_OK);
    assert_int_equal(rdmsr(w, 3, MSR_TSC_INVARIANT), 1);
}

/* ---- saved state ---- */

static uint8_t saved[NVIRT_HV_STATE_BYTES(VPS)];

static void save(struct hv_world *w)
{
    size_t used;

    establish(w);
    assert_int_equal(wrmsr(w, MSR_TSC_INVARIANT, 1), NVIRT_OK);
    assert_int_equal(nvirt_hv_wrmsr(&w->partition, VPS - 1, MSR_ASSIST_PAGE, 0x8001), NVIRT_OK);
    assert_int_equal(nvirt_hv_save(&w->partition, saved, sizeof(saved) - 1, &used), NVIRT_ERR_SIZE);
    assert_int_equal(used, sizeof(saved));
    assert_int_equal(nvirt_hv_save(&w->partition, saved, sizeof(saved), &used), NVIRT_OK);
    assert_int_equal(used, sizeof(saved));
}

static void make_again(struct hv_world *w, uint32_t vps, uint32_t offer)
{
    assert_int_equal(nvirt_hv_partition_init(&w->partition, w->port, w->vp, vps, offer, false),
                     NVIRT_OK);
}

static void test_saved_state_comes_back(void **state)
{
    struct hv_world *w = *state;

    save(w);
    make_again(w, VPS, OFFER);
    assert_int_equal(nvirt_hv_restore(&w->partition, saved, sizeof(saved)), NVIRT_OK);
    assert_int_equal(rdmsr(w, 0, MSR_GUEST_OS_ID), UINT64_C(0x8100000000000001));
    assert_int_equal(rdmsr(w, 0, MSR_HYPERCALL), 0x5001);
    assert_int_equal(rdmsr(w, 0, MSR_TSC_INVARIANT), 1);
    assert_int_equal(rdmsr(w, VPS - 1, MSR_ASSIST_PAGE), 0x8001);
    assert_int_equal(rdmsr(w, 0, MSR_ASSIST_PAGE), 0);
}

static void refuse(struct hv_world *w, size_t bytes)
{
    assert_int_equal(nvirt_hv_restore(&w->partition, saved, bytes), NVIRT_ERR_DATA);
    assert_int_equal(w->partition.guest_os_id, 0);
}

static void test_saved_state_that_cannot_be_is_refused(void **state)
{
    struct hv_world *w = *state;
    uint64_t zero = 0;

    assert_int_equal(nvirt_hv_restore(NULL, saved, sizeof(saved)), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_hv_restore(&w->partition, NULL, 0), NVIRT_ERR_NULL);
    save(w);
    make_again(w, VPS - 1, OFFER); /* another number of processors */
    refuse(w, sizeof(saved));
    make_again(w, VPS, NVIRT_HV_OFFER_FLUSH); /* an MSR that is not offered */
    refuse(w, sizeof(saved));
    make_again(w, VPS, OFFER);
    refuse(w, sizeof(saved) - 16);
    saved[16] ^= 4; /* the first row is another */
    refuse(w, sizeof(saved));
    saved[16] ^= 4;
    memcpy(saved + 16 + 8, &zero, 8); /* a hypercall page of nobody's */
    refuse(w, sizeof(saved));
}

#define TEST_HV(name) cmocka_unit_test_setup_teardown(name, hv_setup, hv_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_refuses_what_is_out_of_range),
        TEST_HV(test_cpuid_tells_whose_interface_it_is),
        TEST_HV(test_cpuid_announces_what_is_offered_and_no_more),
        TEST_HV(test_offers_that_do_not_fit_are_refused),
        TEST_HV(test_msrs_that_are_not_there_raise_gp),
        TEST_HV(test_vp_index_is_the_processors_own_and_read_only),
        TEST_HV(test_hypercall_page_needs_a_guest_identity),
        TEST_HV(test_hypercall_page_holds_the_vendors_instruction),
        TEST_HV(test_hypercall_page_without_memory_raises_gp),
        TEST_HV(test_locked_hypercall_page_stays),
        TEST_HV(test_assist_page_is_cleared_when_it_is_enabled),
        TEST_HV(test_reserved_bits_of_the_tsc_control_raise_gp),
        TEST_HV(test_saved_state_comes_back),
        TEST_HV(test_saved_state_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
