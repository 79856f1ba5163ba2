/* SPDX-License-Identifier: MIT */
/* Instruction bytes for hosts that emulate accesses to devices: whose tables they come through. */
#include "vmx_world.h"

#define CODE UINT64_C(0x60000)

static uint8_t bytes[NVIRT_VMX_INSN_MAX];
static uint32_t count;

static enum nvirt_status fetch(struct world *w)
{
    memset(bytes, 0, sizeof bytes);
    count = 99;
    return nvirt_vmx_insn_bytes(w->v, &w->cpu, bytes, &count);
}

/* Each byte tells its address. */
static void put_code(struct world *w, uint64_t l1gpa, uint8_t first)
{
    for (uint32_t i = 0; i < NVIRT_VMX_INSN_MAX; i++) {
        uint8_t byte = (uint8_t)(first + i);

        fake_vm_put(w->port, l1gpa + i, &byte, 1);
    }
}

static void expect_bytes(uint32_t wanted, uint8_t first)
{
    assert_int_equal(count, wanted);
    for (uint32_t i = 0; i < wanted; i++)
        assert_int_equal(bytes[i], first + i);
}

/* Through L1's tables, with no accessed bit set: it is the host that looks. */
static void of_l1_they_come_through_its_paging(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, L1_PT + 0x25 * 8, CODE | 3);
    put_code(w, CODE + 0x10, 0x40);
    SET1(w, GUEST_RIP, 0x25010);
    assert_int_equal(fetch(w), NVIRT_OK);
    expect_bytes(NVIRT_VMX_INSN_MAX, 0x40);
    assert_true(fake_vm_get64(w->port, L1_PT + 0x25 * 8) == (CODE | 3));
}

/* An instruction may end before the next page, so that its absence is no error. */
static void the_next_page_counts_as_far_as_it_is_there(void **state)
{
    struct world *w = *state;

    put_code(w, 0x25ffb, 0x10);
    SET1(w, GUEST_RIP, 0x25ffb);
    assert_int_equal(fetch(w), NVIRT_OK);
    expect_bytes(NVIRT_VMX_INSN_MAX, 0x10);
    fake_vm_put64(w->port, L1_PT + 0x26 * 8, 0);
    assert_int_equal(fetch(w), NVIRT_OK);
    expect_bytes(5, 0x10);
    fake_vm_put64(w->port, L1_PT + 0x25 * 8, 0);
    assert_int_equal(fetch(w), NVIRT_ERR_NO_MAPPING);
    assert_int_equal(count, 99);
}

/* Outside 64-bit mode CS has a base, and the sum wraps at 4 GiB. */
static void outside_64_bit_mode_the_code_segment_has_a_base(void **state)
{
    struct world *w = *state;

    put_code(w, 0x25010, 0x40);
    SET1(w, GUEST_CS_AR, 0xc09b);
    SET1(w, GUEST_CS_BASE, 0xfffff000);
    SET1(w, GUEST_RIP, 0x26010);
    assert_int_equal(fetch(w), NVIRT_OK);
    expect_bytes(NVIRT_VMX_INSN_MAX, 0x40);
}

/* L2's CR3, tables and code are L2-physical: L2 page n is L1 page n + 10H in EPT12. */
static void put_l2(struct world *w)
{
    const uint64_t shift = 0x10000;

    fake_vm_put64(w->port, EPT12_TOP, (EPT12_TOP + 0x1000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x1000, (EPT12_TOP + 0x2000) | 7);
    fake_vm_put64(w->port, EPT12_TOP + 0x2000, (EPT12_TOP + 0x3000) | 7);
    for (uint64_t i = 0; i < 512; i++)
        fake_vm_put64(w->port, EPT12_TOP + 0x3000 + i * 8, ((i << 12) + shift) | 0x37);
    /* Four tables from L2's 70000H on, and its page 9 is its page 75H. */
    fake_vm_put64(w->port, 0x70000 + shift, 0x71003);
    fake_vm_put64(w->port, 0x71000 + shift, 0x72003);
    fake_vm_put64(w->port, 0x72000 + shift, 0x73003);
    fake_vm_put64(w->port, 0x73000 + shift + 9 * 8, 0x75003);
    put_code(w, 0x75000 + shift, 0x80);
}

static void of_l2_they_come_through_its_paging_and_ept12(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    put_l2(w);
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e;
    w->v->vmcs12.guest_cr3 = 0x70000;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(fetch(w), NVIRT_OK);
    expect_bytes(NVIRT_VMX_INSN_MAX, 0x80);
    /* A table of L2's that EPT12 does not map. */
    fake_vm_put64(w->port, EPT12_TOP + 0x3000 + 0x73 * 8, 0);
    assert_int_equal(fetch(w), NVIRT_ERR_NO_MAPPING);
}

static void of_an_l2_without_ept_addresses_are_l1s(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.guest_cr3 = L1_PML4;
    put_code(w, L2_RIP, 0x20);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(fetch(w), NVIRT_OK);
    expect_bytes(NVIRT_VMX_INSN_MAX, 0x20);
}

static void they_are_refused_between_prepare_and_exit(void **state)
{
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_insn_bytes(w->v, &w->cpu, NULL, &count), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_insn_bytes(w->v, &w->cpu, bytes, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_insn_bytes(NULL, &w->cpu, bytes, &count), NVIRT_ERR_NULL);
    prepare(w);
    assert_int_equal(fetch(w), NVIRT_ERR_STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(of_l1_they_come_through_its_paging),
        TEST(the_next_page_counts_as_far_as_it_is_there),
        TEST(outside_64_bit_mode_the_code_segment_has_a_base),
        TEST(of_l2_they_come_through_its_paging_and_ept12),
        TEST(of_an_l2_without_ept_addresses_are_l1s),
        TEST(they_are_refused_between_prepare_and_exit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
