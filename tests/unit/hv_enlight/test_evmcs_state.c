/* SPDX-License-Identifier: MIT */
/* Saved state with an enlightened VMCS: a run goes on where it was cut, and no bytes make
 * another. */
#include "evmcs_world.h"

#include "../nested/state_blob.h"

static void save(struct world *w, struct blob *blob)
{
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, blob->data, sizeof blob->data, &blob->bytes),
                     NVIRT_OK);
}

static enum nvirt_status restore(struct world *w, const struct blob *blob)
{
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    return nvirt_vmx_restore(w->v, &w->cpu, blob->data, blob->bytes);
}

static void move(struct world *w)
{
    struct blob before;
    struct blob after;

    save(w, &before);
    assert_int_equal(restore(w, &before), NVIRT_OK);
    save(w, &after);
    assert_int_equal(before.bytes, after.bytes);
    assert_memory_equal(before.data, after.data, before.bytes);
}

static void launch(struct world *w)
{
    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    fake_vm_put32(w->port, EVMCS + EVMCS_CONTROL, 2);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 is active: its exit is told in the page. */
static void l2_goes_on_and_its_exit_is_told_in_the_page(void **state)
{
    struct world *w = *state;

    launch(w);
    prepare(w);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    evmcs_resume(w);
    move(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    evmcs_put(w, EVMCS, NVIRT_VMCS_EXIT_REASON, 0);
    exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_REASON), NVIRT_VMX_EXIT_HLT);
}

/* L1 runs: what it calls clean is what was read before the move. */
static void what_was_read_before_the_move_is_still_known(void **state)
{
    struct world *w = *state;

    launch(w);
    evmcs_l2_cpuid(w);
    move(w);
    assert_int_equal(w->v->now->enlightenments, 2);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CR3, 0x77000);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(GET2(w, GUEST_CR3), 0x50000);
    assert_int_equal(w->v->stats.maps_clean, 0);
}

/* One that is active and not current lies in L1's memory: it is read whole when it comes again. */
static void one_that_is_not_current_is_read_anew(void **state)
{
    struct world *w = *state;

    launch(w);
    evmcs_l2_cpuid(w);
    evmcs_enlighten(w, EVMCS_B);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    move(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CR3, 0x77000);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_enlighten_only(w, EVMCS);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_CR3), 0x77000);
}

static void refused(struct world *w, const struct blob *good, enum nvirt_state_vmx_item item,
                    uint64_t value)
{
    struct blob bad = *good;

    set_item(&bad, item, value);
    assert_int_equal(restore(w, &bad), NVIRT_ERR_DATA);
}

/* [TLFS "Enlightened VMCS (Intel)"], and what VMPTRLD demands of its operand. */
static void what_l1_could_not_have_come_to_is_refused(void **state)
{
    struct world *w = *state;
    struct blob good;

    launch(w);
    evmcs_l2_cpuid(w);
    save(w, &good);
    refused(w, &good, NVIRT_STATE_VMX_CURRENT_VMCS, VMCS12);
    refused(w, &good, NVIRT_STATE_VMX_ENLIGHTENED_VMCS, EVMCS + 8);
    refused(w, &good, NVIRT_STATE_VMX_ENLIGHTENED_VMCS, UINT64_C(1) << 40);
    refused(w, &good, NVIRT_STATE_VMX_ENLIGHTENED_VMCS, VMXON_REGION);
    refused(w, &good, NVIRT_STATE_VMX_ENLIGHTENED_VMCS, NVI_NO_VMCS);
    refused(w, &good, NVIRT_STATE_VMX_ENLIGHTENMENTS, UINT64_C(1) << 32);
    q.vp.offer &= ~NVIRT_HV_OFFER_EVMCS;
    assert_int_equal(restore(w, &good), NVIRT_ERR_DATA);
    q.vp.offer |= NVIRT_HV_OFFER_EVMCS;
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

/* Outside VMX operation there is none. */
static void none_is_current_outside_vmx_operation(void **state)
{
    struct world *w = *state;
    struct blob blob;

    save(w, &blob);
    refused(w, &blob, NVIRT_STATE_VMX_ENLIGHTENED_VMCS, EVMCS);
    refused(w, &blob, NVIRT_STATE_VMX_ENLIGHTENMENTS, 2);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_EVMCS(l2_goes_on_and_its_exit_is_told_in_the_page),
        TEST_EVMCS(what_was_read_before_the_move_is_still_known),
        TEST_EVMCS(one_that_is_not_current_is_read_anew),
        TEST_EVMCS(what_l1_could_not_have_come_to_is_refused),
        TEST_EVMCS(none_is_current_outside_vmx_operation),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
