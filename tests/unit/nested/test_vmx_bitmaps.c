/* SPDX-License-Identifier: MIT */
/*
 * I/O and MSR bitmaps of L1: what hardware is given, what is pinned, whose the exits are.
 */
#include "vmx_world.h"

static void io_bitmaps_are_pinned_and_kept_until_vmxoff(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    vmlaunch(w);
    prepare(w);
    assert_int_equal(w->port->pins, 2);
    assert_true(HW(w, IO_BITMAP_A) == FAKE_VM_HPA_OFFSET + BITMAP_A);
    assert_true(HW(w, IO_BITMAP_B) == FAKE_VM_HPA_OFFSET + BITMAP_B);
    for (int i = 0; i < 5; i++) {
        l2_cpuid(w);
        vmresume(w);
    }
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, 2);
    l2_cpuid(w);
    w->v->vmcs12.io_bitmap_b = BITMAP_A;
    vmresume(w);
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, 3);
    assert_int_equal(w->port->pins, 2);
    l2_cpuid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    assert_int_equal(w->port->pins, 0);
}

/* Pins are kept only as long as the memory stays: when the port's sequence moved, the host has the
 * pages back at the next VM entry, those of VMCSs that L1 does not enter too, and hardware is given
 * the pages where they are by then. */
static void pins_are_given_back_when_memory_moved(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    vmlaunch(w);
    prepare(w);
    w->v->prepared = true;
    l2_cpuid(w);
    for (uint32_t i = 0; i < w->port->regions; i++)
        w->port->region[i].hpa += FAKE_VM_HPA_OFFSET;
    fake_vm_invalidate(w->port);
    assert_int_equal(nvirt_vmx_stats(w->v)->unpins, 0);
    vmresume(w);
    prepare(w);
    assert_int_equal(nvirt_vmx_stats(w->v)->unpins, 2);
    assert_int_equal(w->port->pins, 2);
    assert_true(HW(w, IO_BITMAP_A) == 2 * FAKE_VM_HPA_OFFSET + BITMAP_A);
    assert_true(HW(w, IO_BITMAP_B) == 2 * FAKE_VM_HPA_OFFSET + BITMAP_B);
    w->v->prepared = true;
    l2_cpuid(w);
    vmresume(w);
    assert_int_equal(nvirt_vmx_stats(w->v)->pins, 4);
}

/* The host puts another page behind an address of L1's, as when its process punched the memory. */
static void move_page(struct world *w, uint64_t l1gpa, uint64_t hpa)
{
    const struct fake_region_l1 region = {
        .start = l1gpa, .bytes = NVIRT_PAGE_SIZE, .hpa = hpa, .block = NVIRT_PAGE_SIZE,
        .rights = FAKE_ALL_RIGHTS, .memory_type = NVIRT_MEMORY_WB,
    };

    fake_vm_region(w->port, &region);
    fake_vm_invalidate(w->port);
}

/*
 * A physical address is given to hardware for what is behind L1's address now, not for what was: after a move
 * at the next entry, whether L1 runs meanwhile or L2 is active all the time. [SDM 3C "I/O-Bitmap Addresses"]
 */
static void a_bitmap_that_moved_is_pinned_where_it_is_now(void **state)
{
    struct world *w = *state;
    const uint64_t first = FAKE_VM_HPA_OFFSET * 2, second = FAKE_VM_HPA_OFFSET * 3;

    with_io_bitmaps(w);
    vmlaunch(w);
    prepare(w);
    l2_cpuid(w);
    move_page(w, BITMAP_A, first);
    vmresume(w);
    prepare(w);
    assert_true(HW(w, IO_BITMAP_A) == first);
    assert_true(HW(w, IO_BITMAP_B) == FAKE_VM_HPA_OFFSET + BITMAP_B);
    move_page(w, BITMAP_A, second);
    prepare(w); /* The entry was given up, for the host's change. */
    assert_true(HW(w, IO_BITMAP_A) == second);
    assert_true(HW(w, IO_BITMAP_B) == FAKE_VM_HPA_OFFSET + BITMAP_B);
    assert_int_equal(w->port->pins, 2);
}

static void an_io_bitmap_without_memory_is_all_ones_in_hardware(void **state)
{
    struct world *w = *state;
    const uint8_t *ones = nvirt_port_page_pointer(w->port, w->v->all_ones);

    with_io_bitmaps(w);
    w->v->vmcs12.io_bitmap_b = L1_RAM + 0x1000;
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_UNCONDITIONAL_IO) == 0);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_IO_BITMAPS) != 0);
    assert_true(HW(w, IO_BITMAP_A) == FAKE_VM_HPA_OFFSET + BITMAP_A);
    assert_true(HW(w, IO_BITMAP_B) == w->v->all_ones.value);
    for (uint32_t i = 0; i < NVIRT_PAGE_SIZE; i++)
        assert_int_equal(ones[i], 0xff);
    w->v->prepared = true;
    exit_with(w, NVIRT_VMX_EXIT_IO, UINT64_C(0x80000000) | (0x9000u << 16), 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(w->v->vmcs12.exit_reason == NVIRT_VMX_EXIT_IO);
}

/* Hardware looked at L1's bitmap: the exit is L1's though L1 has cleared the bit meanwhile. */
static void a_port_exit_nobody_else_asked_for_is_l1s_without_a_second_read(void **state)
{
    struct world *w = *state;

    with_io_bitmaps(w);
    fake_vm_put64(w->port, BITMAP_A + 0x10, 1); /* Port 0x80. */
    vmlaunch(w);
    fake_vm_put64(w->port, BITMAP_A + 0x10, 0);
    exit_with(w, NVIRT_VMX_EXIT_IO, 0x80u << 16, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_DONE);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

/* A port that L1's bitmap lets pass is the host's when the host looks at ports too. */
static void a_port_l1_lets_pass_is_the_hosts(void **state)
{
    struct world *w = *state;

    SET1(w, PROC_CONTROLS, w->v->proc01 | NVIRT_VMX_PROC_UNCONDITIONAL_IO);
    with_io_bitmaps(w);
    fake_vm_put64(w->port, BITMAP_A + 0x10, 1); /* Port 0x80. */
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_IO, 0x81u << 16, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_IO, 0x80u << 16, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

static bool bit_of(const uint8_t *bitmap, uint32_t msr, bool write)
{
    uint32_t byte = 0;
    uint8_t mask = 0;

    assert_true(nvi_vmx_msr_bitmap_bit(msr, &byte, &mask));
    return (bitmap[byte + (write ? 2048u : 0u)] & mask) != 0;
}

/* vmcs02's bitmap: an MSR passes only when L0 and L1 both let it pass, and it is on the list. */
static void the_msr_bitmap_is_the_union_of_both_levels(void **state)
{
    struct world *w = *state;
    const uint8_t *merged = nvirt_port_page_pointer(w->port, w->v->msr_bitmap02);
    uint32_t byte = 0;
    uint8_t mask = 0;

    ready_to_launch(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
    assert_true(nvi_vmx_msr_bitmap_bit(NVIRT_MSR_LSTAR, &byte, &mask));
    fake_vm_put(w->port, MSR_BITMAP12 + byte + 2048, &mask, 1); /* L1 wants writes of LSTAR. */
    assert_true(nvi_vmx_msr_bitmap_bit(NVIRT_MSR_PAT, &byte, &mask));
    w->msr_bitmap[byte] |= mask; /* L0 wants reads of PAT. */
    vmlaunch(w);
    prepare(w);
    assert_true(HW(w, MSR_BITMAP) == w->v->msr_bitmap02.value);
    assert_false(bit_of(merged, NVIRT_MSR_STAR, false));
    assert_false(bit_of(merged, NVIRT_MSR_STAR, true));
    assert_false(bit_of(merged, NVIRT_MSR_LSTAR, false));
    assert_true(bit_of(merged, NVIRT_MSR_LSTAR, true));
    assert_true(bit_of(merged, NVIRT_MSR_PAT, false));
    assert_false(bit_of(merged, NVIRT_MSR_PAT, true));
    assert_true(bit_of(merged, NVIRT_MSR_EFER, true));
    assert_true(bit_of(merged, 0x1b, false));
    /* L0 changes its mind while L2 runs (CVE-2026-74516). */
    assert_true(nvi_vmx_msr_bitmap_bit(NVIRT_MSR_STAR, &byte, &mask));
    w->msr_bitmap[byte] |= mask;
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(w->v), NVIRT_OK);
    prepare(w);
    assert_true(bit_of(merged, NVIRT_MSR_STAR, false));
    assert_true(HW(w, GUEST_RIP) == L2_RIP);
    w->v->prepared = true;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(io_bitmaps_are_pinned_and_kept_until_vmxoff),
        TEST(pins_are_given_back_when_memory_moved),
        TEST(an_io_bitmap_without_memory_is_all_ones_in_hardware),
        TEST(a_bitmap_that_moved_is_pinned_where_it_is_now),
        TEST(a_port_exit_nobody_else_asked_for_is_l1s_without_a_second_read),
        TEST(a_port_l1_lets_pass_is_the_hosts),
        TEST(the_msr_bitmap_is_the_union_of_both_levels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
