/* SPDX-License-Identifier: MIT */
/*
 * L2s that L1 enters in shutdown or wait-for-SIPI: hardware is not entered for them, and the events
 * that end these states are those of the manual.
 *
 * [SDM 3C "Guest Non-Register State", "Activity State", "VMX-Preemption Timer"]
 */
#include "vmx_world.h"

#include "state_blob.h"

static int setup_offered(void **state)
{
    int status = setup(state);
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_caps_offer_activity(&w->offer), NVIRT_OK);
    world_vcpu(w);
    return status;
}

#define OFFERED(name)                                                                              \
    { #name, name, setup_offered, teardown, NULL }

static enum nvirt_status try_prepare(struct world *w)
{
    return nvirt_vmx_prepare(w->v, &w->cpu, &w->run);
}

/* L1 enters L2 in that state; the host is told to enter nothing. */
static void fall_asleep(struct world *w, uint64_t activity)
{
    w->v->vmcs12.guest_activity = activity;
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(nvirt_vmx_sleeps(w->v, 0, NULL), activity);
}

static enum nvirt_status hand_over(struct world *w, uint32_t type, uint8_t vector)
{
    struct nvirt_event event = { .type = (enum nvirt_event_type)type, .vector = vector };

    return nvirt_vmx_inject(w->v, &w->cpu, &event);
}

/* L1 runs, and finds @p reason and the state that L2 was in. */
static void assert_left_for(struct world *w, uint32_t reason, uint64_t activity)
{
    assert_int_equal(try_prepare(w), NVIRT_OK);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->vmcs12.exit_reason == reason);
    assert_true(w->v->vmcs12.guest_activity == activity);
    assert_true(w->v->vmx.launched);
    assert_true(HW(w, GUEST_RIP) == L1_EXIT_RIP);
    assert_int_equal(nvirt_vmx_sleeps(w->v, 0, NULL), 0);
}

#define SHUTDOWN NVIRT_VMX_ACTIVITY_SHUTDOWN
#define WAIT_SIPI NVIRT_VMX_ACTIVITY_WAIT_SIPI

/* The host says whether it knows how to wait; the CPU is not asked. */
static void the_host_offers_the_states(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_caps offer = w->offer;

    assert_int_equal(nvirt_vmx_caps_offer_activity(NULL), NVIRT_ERR_NULL);
    assert_int_equal(offer.misc >> 7 & 3, 0);
    w->caps.misc &= ~(UINT64_C(3) << 7);
    assert_int_equal(nvirt_vmx_caps_offer_activity(&offer), NVIRT_OK);
    assert_int_equal(offer.misc >> 7 & 3, 3);
    assert_true(nvi_vmx_offer_is_valid(&w->caps, &offer));
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0, 1), NVIRT_ERR_STATE);
    assert_int_equal(nvirt_vmx_slept(NULL, &w->cpu, 0, 1), NVIRT_ERR_NULL);
}

/* Nobody enters hardware. An L2 that runs does not sleep, and L1 does not. */
static void hardware_is_not_entered(void **state)
{
    struct world *w = *state;
    uint64_t ticks = 0;

    assert_int_equal(nvirt_vmx_sleeps(NULL, 0, &ticks), 0);
    assert_true(ticks == ~UINT64_C(0));
    assert_int_equal(nvirt_vmx_sleeps(w->v, 0, NULL), 0);
    ready_to_launch(w);
    fall_asleep(w, WAIT_SIPI);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_STATE);
}

/* A SIPI is the exit of an L2 that waits for it, its vector the qualification. */
static void a_sipi_ends_the_wait_for_it(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    fall_asleep(w, WAIT_SIPI);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 0x9a), NVIRT_OK);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 0x11), NVIRT_OK); /* The first one counts. */
    assert_left_for(w, NVIRT_VMX_EXIT_SIPI, WAIT_SIPI);
    assert_true(w->v->vmcs12.exit_qualification == 0x9a);
    assert_true(w->v->vmcs12.idt_vectoring == 0);
    /* It is used up, one in root operation is lost, and the next L2 waits for its own. */
    w->v->prepared = false;
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 0x12), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_OK);
    w->v->vmx.launched = false;
    fall_asleep(w, WAIT_SIPI);
}

/* The wait for a SIPI blocks external interrupts, NMIs and INITs. They are L1's afterwards, but for
 * the INIT, which VMX root operation blocks. */
static void the_wait_for_a_sipi_blocks_all_else(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI;
    fall_asleep(w, WAIT_SIPI);
    assert_int_equal(hand_over(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INTERRUPT, 0x40), NVIRT_OK);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INIT, 0), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(nvirt_vmx_sleeps(w->v, 0, NULL), WAIT_SIPI);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_SIPI, WAIT_SIPI);
    assert_true(HW(w, ENTRY_INTERRUPTION) == (0x80000000u | 2u << 8 | 2));
    assert_true(w->v->pending.init);
    w->v->prepared = true;
}

/* A SIPI for an L2 that does not wait for one is lost, also if it waits later. */
static void a_sipi_that_nobody_waits_for_is_lost(void **state)
{
    struct world *w = *state;

    vmxon(w);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_OK);
    exit_with(w, NVIRT_VMX_EXIT_VMXOFF, 0, 0);
    ready_to_launch(w);
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INIT, 0), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_INIT, SHUTDOWN);
    assert_false(w->v->pending.init);
    w->v->prepared = true;
    w->v->vmx.launched = false;
    fall_asleep(w, WAIT_SIPI);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
}

/* Outside VMX operation both are the host's own to carry out. */
static void init_and_sipi_are_the_hosts_outside_vmx_operation(void **state)
{
    struct world *w = *state;

    assert_int_equal(hand_over(w, NVIRT_EVENT_INIT, 0), NVIRT_ERR_STATE);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_ERR_STATE);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INIT, 1), NVIRT_ERR_RANGE);
    assert_int_equal(hand_over(w, 7, 1), NVIRT_ERR_RANGE);
    assert_int_equal(hand_over(w, 10, 1), NVIRT_ERR_RANGE);
}

/* An INIT that the host hands over is blocked in root operation and takes out the L2 that runs. */
static void an_init_handed_over_takes_l2_out(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INIT, 0), NVIRT_OK);
    exit_with(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, 0, 0); /* The entry comes first. */
    assert_left_for(w, NVIRT_VMX_EXIT_INIT, NVIRT_VMX_ACTIVITY_ACTIVE);
    w->v->prepared = true;
}

/* Shutdown blocks external interrupts, even those that L1 wants to exit. */
static void shutdown_blocks_interrupts(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_INTERRUPT_WINDOW;
    w->v->vmcs12.guest_rflags |= NVIRT_RFLAGS_IF;
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INTERRUPT, 0x40), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(nvirt_vmx_waits(w->v), NVIRT_WAITS_INTERRUPT);
}

/* An NMI ends shutdown: the exit of an L1 that wants it, with shutdown as the state saved; */
static void an_nmi_in_shutdown_exits(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI;
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_EXCEPTION_NMI, SHUTDOWN);
    assert_true(w->v->vmcs12.exit_interruption == (0x80000000u | 2u << 8 | 2));
    w->v->prepared = true;
}

/* or L2's own, who is active then. Its hardware entry is still L1's VMLAUNCH. */
static void an_nmi_in_shutdown_wakes_l2(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls &= ~(NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS);
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_OK);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, GUEST_ACTIVITY) == NVIRT_VMX_ACTIVITY_ACTIVE);
    assert_true(HW(w, ENTRY_INTERRUPTION) == (0x80000000u | 2u << 8 | 2));
    assert_true(w->v->entry_pending);
    assert_false(w->v->vmx.launched);
    w->v->prepared = true;
}

/* An NMI that L2 has blocked does not wake it. */
static void a_blocked_nmi_does_not_wake(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls &= ~(NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS);
    w->v->vmcs12.guest_interruptibility = NVIRT_VMX_BLOCK_NMI;
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(nvirt_vmx_waits(w->v), NVIRT_WAITS_NMI);
}

/* A machine check ends shutdown and no other exception arises in it. */
static void only_a_machine_check_ends_shutdown(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(18) | NVIRT_BIT(1);
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_EXCEPTION, 1), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    w->v->pending.exception.waiting = false;
    assert_int_equal(hand_over(w, NVIRT_EVENT_EXCEPTION, 18), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_EXCEPTION_NMI, SHUTDOWN);
    w->v->prepared = true;
}

/* An entry that injects leaves L2 active, and takes place before an INIT that waited for L2. */
static void an_entry_that_injects_wakes(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    exit_with(w, NVIRT_VMX_EXIT_INIT, 0, 0);
    w->v->vmcs12.guest_activity = SHUTDOWN;
    w->v->vmcs12.entry_interruption = 0x80000000u | 2u << 8 | 2;
    vmlaunch(w);
    assert_int_equal(try_prepare(w), NVIRT_OK);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, GUEST_ACTIVITY) == NVIRT_VMX_ACTIVITY_ACTIVE);
    w->v->prepared = true;
}

/* An NMI window wakes from shutdown where NMIs are not blocked, not from the wait for a SIPI. */
static void an_nmi_window_ends_shutdown(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS;
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_NMI_WINDOW;
    w->v->vmcs12.guest_activity = SHUTDOWN;
    vmlaunch(w);
    assert_left_for(w, NVIRT_VMX_EXIT_NMI_WINDOW, SHUTDOWN);
    w->v->prepared = true;
    w->v->vmx.launched = false;
    fall_asleep(w, WAIT_SIPI);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_SIPI, WAIT_SIPI);
    w->v->prepared = true;
    w->v->vmx.launched = false;
    w->v->vmcs12.guest_interruptibility = NVIRT_VMX_BLOCK_NMI;
    fall_asleep(w, SHUTDOWN);
}

/* [SDM 3C "Other Causes of VM Exits"]: the window goes before the NMI that it waits for. */
static void an_nmi_window_goes_before_an_nmi(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS;
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_NMI_WINDOW;
    w->v->vmcs12.guest_activity = SHUTDOWN;
    vmlaunch(w);
    assert_int_equal(hand_over(w, NVIRT_EVENT_NMI, 2), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_NMI_WINDOW, SHUTDOWN);
    w->v->prepared = true;
}

/* [SDM 3A "Priority Among Concurrent Events"]: machine checks come first of all. */
static void a_machine_check_goes_before_an_init(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(18);
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INIT, 0), NVIRT_OK);
    assert_int_equal(hand_over(w, NVIRT_EVENT_EXCEPTION, 18), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_EXCEPTION_NMI, SHUTDOWN);
    w->v->prepared = true;
}

/* [SDM 3C "Delivery of Pending Debug Exceptions after VM Entry"]: an entry that ends in one of the two
 * states without an event leaves none pending. */
static void no_debug_exception_pends_asleep(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.guest_pending_debug = NVIRT_BIT(12) | 1;
    fall_asleep(w, WAIT_SIPI);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_SIPI, WAIT_SIPI);
    assert_int_equal(w->v->vmcs12.guest_pending_debug, 0);
    w->v->prepared = true;
}

/* ---- the preemption timer: the world's TSC rate is 5 ---- */

static void ready_with_timer(struct world *w, uint32_t value)
{
    ready_to_launch(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_PREEMPTION_TIMER;
    w->v->vmcs12.exit_controls |= NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
    w->v->vmcs12.guest_preemption_timer = value;
}

/* In shutdown it counts and ends the state; what is left is saved by any exit. */
static void the_timer_ends_shutdown(void **state)
{
    struct world *w = *state;
    uint64_t ticks;

    ready_with_timer(w, 100);
    fall_asleep(w, SHUTDOWN);
    (void)nvirt_vmx_sleeps(w->v, 0, &ticks);
    assert_int_equal(ticks, 100 << 5);
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0, 40 << 5), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    (void)nvirt_vmx_sleeps(w->v, 0, &ticks);
    assert_int_equal(ticks, 60 << 5);
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0, 1000 << 5), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, SHUTDOWN);
    assert_true(w->v->vmcs12.guest_preemption_timer == 0);
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0, 1), NVIRT_ERR_STATE);
    w->v->prepared = true;
}

/* [SDM 3C "VMX-Preemption Timer"]: it counts down by 1 each time bit 5 of the TSC changes. Between two
 * values that is the same number however the time between them is told. */
static void the_timer_counts_changes_of_its_bit(void **state)
{
    static const struct {
        uint64_t since, tsc, count;
    } parts[] = {
        { 0x1000, 0x101f, 0 }, { 0x101f, 0x1020, 1 }, { 0x1020, 0x103f, 0 }, { 0x103f, 0x107f, 2 },
        { 0x107f, 0x107f, 0 }, { 0x107f, 0x10a0, 2 },
    };
    struct world *w = *state;
    uint64_t left = 100;
    uint64_t ticks;

    ready_with_timer(w, 100);
    fall_asleep(w, SHUTDOWN);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, parts[i].since, parts[i].tsc), NVIRT_OK);
        left -= parts[i].count;
        (void)nvirt_vmx_sleeps(w->v, parts[i].tsc, &ticks);
        assert_int_equal(ticks, (left << 5) - parts[i].tsc % 32);
    }
    assert_int_equal(left, 95);
    /* A host whose counter went backwards is told, and nothing is counted. */
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0x10a0, 0x109f), NVIRT_ERR_RANGE);
    (void)nvirt_vmx_sleeps(w->v, 0x10a0, &ticks);
    assert_int_equal(ticks, 95 << 5);
    /* One tick before the end it sleeps on. */
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0x10a0, 0x10a0 + ticks - 1), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0x10a0 + ticks - 1, 0x10a0 + ticks), NVIRT_OK);
    (void)nvirt_vmx_sleeps(w->v, 0x10a0 + ticks + 1, &ticks);
    assert_int_equal(ticks, 0);
    assert_left_for(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, SHUTDOWN);
    w->v->prepared = true;
}

/* In the wait for a SIPI it counts and ends nothing. */
static void the_timer_does_not_end_the_wait_for_a_sipi(void **state)
{
    struct world *w = *state;
    uint64_t ticks = 0;

    ready_with_timer(w, 100);
    fall_asleep(w, WAIT_SIPI);
    (void)nvirt_vmx_sleeps(w->v, 0, &ticks);
    assert_true(ticks == ~UINT64_C(0));
    assert_int_equal(nvirt_vmx_slept(w->v, &w->cpu, 0, 1000 << 5), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 8), NVIRT_OK);
    assert_left_for(w, NVIRT_VMX_EXIT_SIPI, WAIT_SIPI);
    assert_true(w->v->vmcs12.guest_preemption_timer == 0);
    w->v->prepared = true;
}

/* An interrupt that waits meanwhile does not touch L1's timer. */
static void what_is_blocked_leaves_the_timer_alone(void **state)
{
    struct world *w = *state;
    uint64_t ticks;

    ready_with_timer(w, 100);
    fall_asleep(w, SHUTDOWN);
    assert_int_equal(hand_over(w, NVIRT_EVENT_INTERRUPT, 0x40), NVIRT_OK);
    assert_int_equal(try_prepare(w), NVIRT_ERR_ASLEEP);
    (void)nvirt_vmx_sleeps(w->v, 0, &ticks);
    assert_int_equal(ticks, 100 << 5);
}

/* ---- saved state ---- */

static void save(struct world *w, struct blob *blob)
{
    assert_int_equal(
        nvirt_vmx_save(w->v, &w->cpu, blob->data, sizeof blob->data, &blob->bytes), NVIRT_OK);
}

static enum nvirt_status restore(struct world *w, const struct blob *blob)
{
    return nvirt_vmx_restore(w->v, &w->cpu, blob->data, blob->bytes);
}

/* It sleeps on where it is restored, the SIPI that came included; where the host does not offer the
 * states it is refused. */
static void a_sleeping_l2_is_saved_and_restored(void **state)
{
    struct world *w = *state;
    struct blob blob;

    ready_to_launch(w);
    fall_asleep(w, WAIT_SIPI);
    assert_int_equal(hand_over(w, NVIRT_EVENT_SIPI, 0x21), NVIRT_OK);
    save(w, &blob);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_sleeps(w->v, 0, NULL), 0);
    w->v->offer.misc &= ~NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI;
    assert_int_equal(restore(w, &blob), NVIRT_ERR_DATA);
    w->v->offer.misc |= NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI;
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    assert_int_equal(nvirt_vmx_sleeps(w->v, 0, NULL), WAIT_SIPI);
    assert_left_for(w, NVIRT_VMX_EXIT_SIPI, WAIT_SIPI);
    assert_true(w->v->vmcs12.exit_qualification == 0x21);
    w->v->prepared = true;
}

/* A SIPI waits for nobody else: data that says so is refused. */
static void a_saved_sipi_is_for_an_l2_that_waits(void **state)
{
    struct world *w = *state;
    struct blob blob;

    launch_l2(w);
    save(w, &blob);
    set_item(&blob, NVIRT_STATE_VMX_SIPI, 0x121);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_DATA);
    save(w, &blob); /* L1 outside VMX operation. */
    set_item(&blob, NVIRT_STATE_VMX_SIPI, 0x121);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_host_offers_the_states),
        OFFERED(hardware_is_not_entered),
        OFFERED(a_sipi_ends_the_wait_for_it),
        OFFERED(the_wait_for_a_sipi_blocks_all_else),
        OFFERED(a_sipi_that_nobody_waits_for_is_lost),
        OFFERED(init_and_sipi_are_the_hosts_outside_vmx_operation),
        OFFERED(an_init_handed_over_takes_l2_out),
        OFFERED(shutdown_blocks_interrupts),
        OFFERED(an_nmi_in_shutdown_exits),
        OFFERED(an_nmi_in_shutdown_wakes_l2),
        OFFERED(a_blocked_nmi_does_not_wake),
        OFFERED(only_a_machine_check_ends_shutdown),
        OFFERED(an_entry_that_injects_wakes),
        OFFERED(an_nmi_window_ends_shutdown),
        OFFERED(an_nmi_window_goes_before_an_nmi),
        OFFERED(a_machine_check_goes_before_an_init),
        OFFERED(no_debug_exception_pends_asleep),
        OFFERED(the_timer_ends_shutdown),
        OFFERED(the_timer_counts_changes_of_its_bit),
        OFFERED(the_timer_does_not_end_the_wait_for_a_sipi),
        OFFERED(what_is_blocked_leaves_the_timer_alone),
        OFFERED(a_sleeping_l2_is_saved_and_restored),
        OFFERED(a_saved_sipi_is_for_an_l2_that_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
