/* SPDX-License-Identifier: MIT */
/*
 * Round trips with an enlightened VMCS that are plain (vmx_switch.c), and the enlightened MSR bitmap: what
 * may be left out at an entry on L1's word, and what ends that.
 * [TLFS "Enlightened VMCS (Intel)", "Enlightened MSR Bitmap"]
 */
#include "evmcs_world.h"

/* ---- round trips that are plain (vmx_switch.c) ---- */

/* L1 and L2 take turns until both switches are plain; L1 runs next. */
static void settle_into_turns(struct world *w)
{
    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    for (unsigned i = 0; i < 3; i++) {
        evmcs_l2_cpuid(w);
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
        if (i < 2)
            evmcs_resume(w);
    }
    assert_true(w->v->switched);
}

static void a_round_trip_with_nothing_changed_is_plain(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_RIP, 0x9111);
    prepare(w);
    assert_true(w->v->steady);
    evmcs_resume(w);
    assert_true(w->v->switched);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(HW(w, GUEST_RIP), 0x9111);
}

/* A steady L1's VMREAD is answered from vmcs12: of an enlightened VMCS, never. */
static void a_steady_l1_still_has_no_vmread(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    prepare(w);
    assert_true(w->v->steady);
    assert_int_equal(READ12(w, GUEST_RIP), 0xbad);
    expect_vmfail_invalid(w);
    prepare(w);
    WRITE12(w, GUEST_RIP, 0x1234);
    expect_vmfail_invalid(w);
    assert_int_equal(w->v->vmcs12.guest_rip, L2_RIP);
}

/* Whatever L1 changed goes the general way, and by then it has been read: not a second time. */
static void a_change_is_read_once_and_taken_over(void **state)
{
    struct world *w = *state;
    uint64_t before;

    settle_into_turns(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CR3, 0x51000);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff & ~EVMCS_CRDR);
    prepare(w);
    before = w->v->stats.bytes_read;
    evmcs_resume(w);
    assert_false(w->v->switched);
    assert_int_equal(GET2(w, GUEST_CR3), 0x51000);
    before = w->v->stats.bytes_read - before;
    for (size_t i = 0; i < evmcs_row_count; i++) {
        const struct evmcs_row *row = &evmcs_rows[i];

        if (nvirt_vmcs_field_kind(row->field) != NVIRT_VMCS_KIND_EXIT &&
            (row->clean == EVMCS_NONE || row->clean == EVMCS_CRDR))
            before -= evmcs_bytes(row->field);
    }
    assert_int_equal(before, 24 + 4 + 4);
}

/* Behind L1's address is another page now, as when the host's process punched the memory: an entry reads and
 * an exit writes what L1 sees, also when the move came while L2 was active. */
static void a_page_that_moved_is_used_where_it_is_now(void **state)
{
    struct world *w = *state;
    const struct nvi_pin *pin = &w->v->pair[0].evmcs_pin;
    struct fake_region_l1 region = {
        .start = EVMCS, .bytes = NVIRT_PAGE_SIZE, .hpa = FAKE_VM_HPA_OFFSET * 2, .block = NVIRT_PAGE_SIZE,
        .rights = FAKE_ALL_RIGHTS, .memory_type = NVIRT_MEMORY_WB,
    };

    settle_into_turns(w);
    assert_ptr_equal(pin, &w->v->now->evmcs_pin);
    fake_vm_region(w->port, &region);
    fake_vm_invalidate(w->port);
    prepare(w);
    evmcs_resume(w);
    assert_true(pin->used);
    assert_int_equal(pin->hpa.value, region.hpa);
    region.hpa = FAKE_VM_HPA_OFFSET * 3;
    fake_vm_region(w->port, &region);
    fake_vm_invalidate(w->port);
    prepare(w);
    evmcs_l2_cpuid(w);
    assert_true(pin->used);
    assert_int_equal(pin->hpa.value, region.hpa);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_REASON), NVIRT_VMX_EXIT_CPUID);
}

/* Which VMCS is meant is asked each time. */
static void another_one_is_entered_as_soon_as_it_is_named(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    evmcs_fill(w, EVMCS_B);
    evmcs_put(w, EVMCS_B, NVIRT_VMCS_GUEST_RIP, 0xb000);
    evmcs_enlighten_only(w, EVMCS_B);
    prepare(w);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_RIP), 0xb000);
    evmcs_l2_cpuid(w);
    fake_vm_put64(w->port, ASSIST + 40, 0);
    prepare(w);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail_invalid(w);
}

static void turn_to(struct world *w, uint64_t region, bool plain)
{
    evmcs_enlighten_only(w, region);
    prepare(w);
    evmcs_resume(w);
    assert_true(!plain || w->v->switched);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    evmcs_l2_cpuid(w);
    assert_true(!plain || w->v->switched);
    fake_vm_put32(w->port, region + EVMCS_CLEAN, 0xffff);
}

/* What was found out of each is kept while the other one runs. */
static void two_in_turn_are_as_plain_as_one(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    evmcs_enlighten(w, EVMCS_B);
    evmcs_put(w, EVMCS_B, NVIRT_VMCS_GUEST_RIP, 0xb000);
    evmcs_put(w, EVMCS_B, NVIRT_VMCS_HOST_RIP, L1_EXIT_RIP + 0x100);
    for (unsigned i = 0; i < 6; i++) {
        turn_to(w, EVMCS_B, i > 1);
        assert_int_equal(GET1(w, GUEST_RIP), L1_EXIT_RIP + 0x100);
        turn_to(w, EVMCS, i > 1);
        assert_int_equal(GET1(w, GUEST_RIP), L1_EXIT_RIP);
    }
}

/* What was plain once is not for ever: a TPR shadow asks for work at each entry. */
static void a_control_set_later_ends_plain_entries(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_VIRTUAL_APIC_ADDR, BITMAP_A);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PROC_CONTROLS,
              evmcs_get(w, EVMCS, NVIRT_VMCS_PROC_CONTROLS) | NVIRT_VMX_PROC_TPR_SHADOW);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0);
    for (unsigned i = 0; i < 3; i++) {
        prepare(w);
        evmcs_resume(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        assert_false(w->v->switched);
        evmcs_l2_cpuid(w);
        assert_false(w->v->switched);
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    }
}

/* Where L1 may use one, its VMRESUME of an ordinary VMCS is about that only if no other is named: its memory is
 * looked at each time. */
static void one_that_is_named_beside_an_ordinary_one_is_entered(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    for (unsigned i = 0; i < 3; i++) {
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        prepare(w);
        evmcs_resume(w);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        assert_false(w->v->switched);
    }
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    evmcs_fill(w, EVMCS_B);
    evmcs_put(w, EVMCS_B, NVIRT_VMCS_GUEST_RIP, 0xb000);
    evmcs_enlighten_only(w, EVMCS_B);
    prepare(w);
    assert_true(w->v->steady);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_RIP), 0xb000);
}

/* A page has one layout: what is active as an enlightened VMCS is read anew as an ordinary one. */
static void an_enlightened_one_is_not_at_hand_for_vmptrld(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    load_vmcs12(w, VMCS12);
    load_vmcs12(w, VMCS12_B);
    assert_true(nvi_vmcs12_is_ready(w->v, VMCS12));
    assert_false(nvi_vmcs12_is_ready(w->v, EVMCS));
}

/* What is known is known of one VMCS: L0 changed its wishes since the other one was entered. */
static void another_one_is_looked_at_for_itself(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    evmcs_enlighten(w, EVMCS_B);
    for (unsigned i = 0; i < 2; i++) {
        evmcs_resume(w);
        evmcs_l2_cpuid(w);
        fake_vm_put32(w->port, EVMCS_B + EVMCS_CLEAN, 0xffff);
    }
    SET1(w, EXCEPTION_BITMAP, NVIRT_BIT(NVIRT_VECTOR_AC));
    evmcs_enlighten_only(w, EVMCS);
    for (unsigned i = 0; i < 3; i++) {
        evmcs_resume(w);
        evmcs_l2_cpuid(w);
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    }
    evmcs_enlighten_only(w, EVMCS_B);
    prepare(w);
    assert_true(w->v->steady);
    evmcs_resume(w);
    prepare(w);
    assert_int_equal(HW(w, EXCEPTION_BITMAP), NVIRT_BIT(NVIRT_VECTOR_AC));
}

/* A VMRESUME that faults is over: the next one reads again. */
static void what_a_fault_ended_is_read_again(void **state)
{
    struct world *w = *state;

    settle_into_turns(w);
    SET1(w, GUEST_SS_AR, 0xc0f3);
    prepare(w);
    evmcs_resume(w);
    expect_exception(w, NVIRT_VECTOR_GP, true, 0);
    SET1(w, GUEST_SS_AR, 0xc093);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_RIP, 0x9222);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_RIP), 0x9222);
}

/* ---- the MSR bitmap ---- */

#define STAR_BYTE 0x410u
#define STAR_BIT 2u

static bool star_exits(struct world *w)
{
    const uint8_t *bitmap = nvirt_port_page_pointer(w->port, w->v->msr_bitmap02);

    return (bitmap[STAR_BYTE] & STAR_BIT) != 0;
}

static void with_msr_bitmap(struct world *w, uint32_t enlightenments)
{
    memset(w->msr_bitmap, 0, sizeof w->msr_bitmap);
    nvirt_vmx_msr_bitmap_require(w->msr_bitmap);
    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PROC_CONTROLS,
              evmcs_get(w, EVMCS, NVIRT_VMCS_PROC_CONTROLS) | NVIRT_VMX_PROC_MSR_BITMAPS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_MSR_BITMAP, MSR_BITMAP12);
    fake_vm_put32(w->port, EVMCS + EVMCS_CONTROL, enlightenments);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_false(star_exits(w));
    evmcs_l2_cpuid(w);
}

static void resume_with_changed_bitmap(struct world *w, uint32_t clean)
{
    uint64_t byte = MSR_BITMAP12 + STAR_BYTE;

    fake_vm_put32(w->port, byte & ~UINT64_C(3), 0xffffffff);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, clean);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* [TLFS "Enlightened MSR Bitmap"] */
static void a_bitmap_that_is_called_clean_is_not_read(void **state)
{
    struct world *w = *state;

    with_msr_bitmap(w, 2);
    resume_with_changed_bitmap(w, 0xffff);
    assert_false(star_exits(w));
    assert_int_equal(w->v->stats.maps_clean, 1);
    evmcs_l2_cpuid(w);
    resume_with_changed_bitmap(w, 0xffff & ~2u);
    assert_true(star_exits(w));
    assert_int_equal(w->v->stats.maps_clean, 1);
}

/* The bit of the field alone says nothing of the bytes behind it. */
static void without_the_enlightenment_the_bitmap_is_always_read(void **state)
{
    struct world *w = *state;

    with_msr_bitmap(w, 0);
    resume_with_changed_bitmap(w, 0xffff);
    assert_true(star_exits(w));
    evmcs_l2_cpuid(w);
    fake_vm_put32(w->port, EVMCS + EVMCS_CONTROL, 2);
    q.vp.offer &= ~NVIRT_HV_OFFER_MSR_BITMAP;
    resume_with_changed_bitmap(w, 0x7fff);
    assert_int_equal(w->v->stats.maps_clean, 0);
}

/* What L0 wants is not L1's to call clean, nor what was made for another of its VMCSs. */
static void a_bitmap_is_read_when_something_else_changed(void **state)
{
    struct world *w = *state;

    with_msr_bitmap(w, 2);
    w->msr_bitmap[STAR_BYTE] |= STAR_BIT;
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(w->v), NVIRT_OK);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_true(star_exits(w));
    evmcs_l2_cpuid(w);
    w->msr_bitmap[STAR_BYTE] = 0;
    evmcs_fill(w, EVMCS_B);
    evmcs_enlighten_only(w, EVMCS_B);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    evmcs_enlighten_only(w, EVMCS);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_int_equal(w->v->stats.maps_clean, 0);
    assert_false(star_exits(w));
}

/* At a plain entry, too. */
static void a_plain_entry_merges_a_bitmap_that_is_not_called_clean(void **state)
{
    struct world *w = *state;

    with_msr_bitmap(w, 2);
    for (unsigned i = 0; i < 2; i++) {
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
        prepare(w);
        evmcs_resume(w);
        evmcs_l2_cpuid(w);
    }
    prepare(w);
    resume_with_changed_bitmap(w, 0xffff & ~EVMCS_MSR_BITMAP);
    assert_true(w->v->switched);
    assert_true(star_exits(w));
}

/* What may pass for an L2 that has virtual x2APIC mode may not for one that has not. */
static void a_bitmap_is_read_when_controls_changed(void **state)
{
    struct world *w = *state;
    const uint64_t proc = NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;

    with_msr_bitmap(w, 2);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PROC_CONTROLS,
              evmcs_get(w, EVMCS, NVIRT_VMCS_PROC_CONTROLS) | proc);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PROC2_CONTROLS, NVIRT_VMX_PROC2_X2APIC);
    evmcs_put(w, EVMCS, NVIRT_VMCS_VIRTUAL_APIC_ADDR, BITMAP_A);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, EVMCS_MSR_BITMAP);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_true(w->v->x2apic_open);
    assert_int_equal(w->v->stats.maps_clean, 0);
    evmcs_l2_cpuid(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PROC2_CONTROLS, 0);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_false(w->v->x2apic_open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_EVMCS(a_round_trip_with_nothing_changed_is_plain),
        TEST_EVMCS(a_steady_l1_still_has_no_vmread),
        TEST_EVMCS(a_change_is_read_once_and_taken_over),
        TEST_EVMCS(a_page_that_moved_is_used_where_it_is_now),
        TEST_EVMCS(another_one_is_entered_as_soon_as_it_is_named),
        TEST_EVMCS(two_in_turn_are_as_plain_as_one),
        TEST_EVMCS(a_control_set_later_ends_plain_entries),
        TEST_EVMCS(one_that_is_named_beside_an_ordinary_one_is_entered),
        TEST_EVMCS(an_enlightened_one_is_not_at_hand_for_vmptrld),
        TEST_EVMCS(another_one_is_looked_at_for_itself),
        TEST_EVMCS(what_a_fault_ended_is_read_again),
        TEST_EVMCS(a_plain_entry_merges_a_bitmap_that_is_not_called_clean),
        TEST_EVMCS(a_bitmap_that_is_called_clean_is_not_read),
        TEST_EVMCS(without_the_enlightenment_the_bitmap_is_always_read),
        TEST_EVMCS(a_bitmap_is_read_when_something_else_changed),
        TEST_EVMCS(a_bitmap_is_read_when_controls_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
