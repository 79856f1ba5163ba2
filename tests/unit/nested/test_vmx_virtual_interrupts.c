/* SPDX-License-Identifier: MIT */
/* Virtual interrupts of L2: the guest interrupt status on its way between vmcs12 and hardware, exits of
 * EOI and of register writes, and posted interrupts that nvirt processes [SDM 3C "Virtual-Interrupt
 * Delivery", "EOI Virtualization", "Posted-Interrupt Processing"]. */
#include "vmx_world.h"

#define APIC_PAGE UINT64_C(0x38000)
#define VIRR(vector) (APIC_PAGE + 0x200 + (vector) / 32u * 0x10)
#define DESCRIPTOR UINT64_C(0x39040)
#define NOTIFICATION 0xf2u
#define STATUS 0x0810u

static void ready_with_interrupts(struct world *w)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    ready_to_launch(w);
    c->proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;
    c->pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    c->virtual_apic_addr = APIC_PAGE;
    c->proc2_controls |= NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    c->eoi_exit1 = 0x10;
    c->guest_interrupt_status = 0x2131;
}

static void enter_again(struct world *w)
{
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* L2 leaves with another status than it came with. */
static void leave_with(struct world *w, uint64_t status)
{
    prepare(w);
    w->v->prepared = false;
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, STATUS, status);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

static void status_and_eoi_bitmap_reach_hardware(void **state)
{
    struct world *w = *state;

    ready_with_interrupts(w);
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0);
    assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_EXT_INT) != 0);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2131);
    assert_int_equal(HW(w, EOI_EXIT1), 0x10);
    assert_int_equal(HW(w, EOI_EXIT0) | HW(w, EOI_EXIT2) | HW(w, EOI_EXIT3), 0);
    w->v->prepared = false;
}

/* L1 sees what hardware made of it, and what L1 writes is what L2 has from the next entry on. */
static void the_status_is_l2s_until_l1_writes_it(void **state)
{
    struct world *w = *state;

    ready_with_interrupts(w);
    vmlaunch(w);
    leave_with(w, 0x4100);
    enter_again(w);
    assert_int_equal(GET2(w, GUEST_INTERRUPT_STATUS), 0x4100);
    leave_with(w, 0x5141);
    assert_int_equal(READ12(w, GUEST_INTERRUPT_STATUS), 0x5141);
    enter_again(w);
    assert_int_equal(GET2(w, GUEST_INTERRUPT_STATUS), 0x5141);
    leave_with(w, 0x5100);
    WRITE12(w, GUEST_INTERRUPT_STATUS, 0x5161);
    enter_again(w);
    prepare(w);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x5161);
    w->v->prepared = false;
    /* The same value as long ago counts as well. */
    leave_with(w, 0x6100);
    WRITE12(w, GUEST_INTERRUPT_STATUS, 0x5161);
    enter_again(w);
    prepare(w);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x5161);
    w->v->prepared = false;
}

/* Raising one is what L1 does most: neither L2's state nor its controls are looked at for it. */
static void a_write_of_the_status_costs_one_field(void **state)
{
    struct world *w = *state;
    uint64_t plain, with;

    ready_with_interrupts(w);
    vmlaunch(w);
    for (unsigned i = 0; i < 2; i++) {
        leave_with(w, 0x4100);
        enter_again(w);
        prepare(w);
        w->v->prepared = false;
    }
    leave_with(w, 0x4100);
    SET1(w, GUEST_RIP, L1_RIP);
    plain = nvirt_vmx_stats(w->v)->vmreads + nvirt_vmx_stats(w->v)->vmwrites;
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    prepare(w);
    plain = nvirt_vmx_stats(w->v)->vmreads + nvirt_vmx_stats(w->v)->vmwrites - plain;
    w->v->prepared = false;
    leave_with(w, 0x4100);
    WRITE12(w, GUEST_INTERRUPT_STATUS, 0x4151);
    SET1(w, GUEST_RIP, L1_RIP);
    with = nvirt_vmx_stats(w->v)->vmreads + nvirt_vmx_stats(w->v)->vmwrites;
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    prepare(w);
    with = nvirt_vmx_stats(w->v)->vmreads + nvirt_vmx_stats(w->v)->vmwrites - with;
    w->v->prepared = false;
    assert_true(with <= plain + 1);
}

static void eoi_and_register_writes_exit_to_l1(void **state)
{
    struct world *w = *state;

    ready_with_interrupts(w);
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
    w->v->vmcs12.apic_access_addr = 0x3a000;
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_VIRTUALIZED_EOI, 0x44, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_VIRTUALIZED_EOI);
    assert_int_equal(READ12(w, EXIT_QUALIFICATION), 0x44);
    enter_again(w);
    exit_with(w, NVIRT_VMX_EXIT_APIC_WRITE, 0x300, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_APIC_WRITE);
    assert_int_equal(READ12(w, EXIT_QUALIFICATION), 0x300);
}

/* A bus without memory reads ones, in each register. */
static void a_page_without_memory_reads_ones_everywhere(void **state)
{
    struct world *w = *state;
    uint8_t *page;

    ready_with_interrupts(w);
    w->v->vmcs12.virtual_apic_addr = L1_RAM;
    vmlaunch(w);
    page = nvirt_port_page_pointer(w->port, w->v->no_apic);
    page[0x310] = 0; /* L2 wrote the register. */
    l2_cpuid(w);
    SET1(w, GUEST_RIP, L1_RIP);
    vmresume(w);
    assert_int_equal(page[0x310], 0xff);
}

/* ---- posted interrupts ---- */

static int setup_posted(void **state)
{
    int status = setup(state);
    struct world *w = *state;

    /* As made by a host that offers them. */
    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    assert_int_equal(nvirt_vmx_caps_offer_posted(&w->offer), NVIRT_OK);
    world_vcpu(w);
    return status;
}

static int setup_posted_by_hardware(void **state)
{
    int status = setup(state);
    struct world *w = *state;

    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    w->caps.pin |= NVIRT_VMX_PIN_POSTED_INTERRUPTS << 32;
    w->caps.true_pin |= NVIRT_VMX_PIN_POSTED_INTERRUPTS << 32;
    assert_int_equal(nvirt_vmx_caps_offer_posted(&w->offer), NVIRT_OK);
    world_vcpu(w);
    return status;
}

#define POSTED(name)                                                                               \
    { #name, name, setup_posted, teardown, NULL }
#define POSTED_BY_HARDWARE(name)                                                                   \
    { #name, name, setup_posted_by_hardware, teardown, NULL }

static void ready_to_post(struct world *w)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    ready_with_interrupts(w);
    c->pin_controls |= NVIRT_VMX_PIN_POSTED_INTERRUPTS;
    c->exit_controls |= NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT;
    c->posted_vector = NOTIFICATION;
    c->posted_descriptor = DESCRIPTOR;
}

/* L2 runs, and has run. */
static void launch_with_posting(struct world *w)
{
    ready_to_post(w);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_WBINVD, 0, 0); /* The host's. */
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void post(struct world *w, uint32_t vector)
{
    uint64_t word = DESCRIPTOR + vector / 64u * 8;

    fake_vm_put64(w->port, word, fake_vm_get64(w->port, word) | UINT64_C(1) << vector % 64u);
    fake_vm_put64(w->port, DESCRIPTOR + 32, fake_vm_get64(w->port, DESCRIPTOR + 32) | 1);
}

static void inject_interrupt(struct world *w, uint8_t vector)
{
    struct nvirt_event event = { .type = NVIRT_EVENT_INTERRUPT, .vector = vector };

    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_OK);
}

/* The steps of the manual: outstanding notification cleared, requests into VIRR and out of the
 * descriptor, RVI at the highest, no exit; acknowledgement and EOI are the host's. */
static void a_notification_makes_posted_requests_virtual_interrupts(void **state)
{
    struct world *w = *state;

    launch_with_posting(w);
    fake_vm_put64(w->port, DESCRIPTOR + 32, 0xabcd00f20002);
    fake_vm_put32(w->port, VIRR(0x44), 0x1);
    post(w, 0x31);
    post(w, 0x44);
    post(w, 0x5f);
    post(w, 0xef);
    inject_interrupt(w, NOTIFICATION);
    assert_false(nvirt_vmx_notified(w->v));
    prepare(w);
    assert_int_equal(w->run.level, 2);
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(fake_vm_get64(w->port, DESCRIPTOR + i * 8) == 0);
    }
    assert_true(fake_vm_get64(w->port, DESCRIPTOR + 32) == 0xabcd00f20002);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0x31)), 1u << 0x11);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0x44)), 1u << 31 | 1u << 4 | 1);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0xef)), 1u << 15);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x21ef);
    assert_true((HW(w, ENTRY_INTERRUPTION) & NVIRT_VMX_INTR_VALID) == 0);
    assert_true(nvirt_vmx_notified(w->v));
    assert_false(nvirt_vmx_notified(w->v));
    w->v->prepared = false;
}

static void rvi_never_falls(void **state)
{
    struct world *w = *state;

    launch_with_posting(w);
    fake_cpu_poke(&w->cpu, w->cpu.current->hpa, STATUS, 0x2180);
    post(w, 0x41);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2180);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0x41)), 2);
    w->v->prepared = false;
}

static void another_vector_is_an_exit(void **state)
{
    struct world *w = *state;

    launch_with_posting(w);
    post(w, 0x41);
    inject_interrupt(w, NOTIFICATION + 1);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT);
    assert_true(w->v->vmcs12.exit_interruption == (0x80000000u | (NOTIFICATION + 1)));
    assert_false(nvirt_vmx_notified(w->v));
    assert_true(fake_vm_get64(w->port, DESCRIPTOR + 8) == 2);
    w->v->prepared = false;
}

/* While L1 runs it is an interrupt like any other. */
static void in_l1_it_is_an_interrupt(void **state)
{
    struct world *w = *state;

    launch_with_posting(w);
    l2_cpuid(w);
    post(w, 0x41);
    SET1(w, GUEST_RFLAGS, 0x202);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(HW(w, ENTRY_INTERRUPTION) == (0x80000000u | NOTIFICATION));
    assert_false(nvirt_vmx_notified(w->v));
    w->v->prepared = false;
}

static void without_the_control_it_is_an_exit(void **state)
{
    struct world *w = *state;

    ready_to_post(w);
    w->v->vmcs12.pin_controls &= ~NVIRT_VMX_PIN_POSTED_INTERRUPTS;
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_WBINVD, 0, 0);
    post(w, 0x41);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(fake_vm_get64(w->port, DESCRIPTOR + 8) == 2);
    w->v->prepared = false;
}

/* The entry comes first: should it fail, the requests are still where L1 put them. */
static void an_entry_under_way_comes_before_the_processing(void **state)
{
    struct world *w = *state;

    ready_to_post(w);
    vmlaunch(w);
    post(w, 0x41);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_true(fake_vm_get64(w->port, DESCRIPTOR + 8) == 2);
    assert_false(nvirt_vmx_notified(w->v));
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2131);
    w->v->prepared = false;
    exit_with(w, NVIRT_VMX_EXIT_PREEMPTION_TIMER, 0, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(fake_vm_get64(w->port, DESCRIPTOR + 8) == 0);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2141);
    assert_true(nvirt_vmx_notified(w->v));
    w->v->prepared = false;
}

/* Where the host passes interrupts through, the CPU acknowledged the notification at the exit. */
static void a_notification_that_exited_is_no_exit_for_l1(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT },
        { 0x4404, 0x80000000 | NOTIFICATION },
        { 0x4408, 0 },
    };

    launch_with_posting(w);
    post(w, 0x41);
    run_to(w, set, 3);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.interruption, 0x80000000 | NOTIFICATION);
    assert_true(nvirt_vmx_notified(w->v));
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2141);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0x41)), 2);
    w->v->prepared = false;
}

static void where_interrupts_are_the_hosts_the_vector_is_too(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT },
        { 0x4404, 0x80000000 | NOTIFICATION },
        { 0x4408, 0 },
    };

    SET1(w, PIN_CONTROLS, GET1(w, PIN_CONTROLS) | NVIRT_VMX_PIN_EXT_INT);
    SET1(w, EXIT_CONTROLS, GET1(w, EXIT_CONTROLS) | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
    launch_with_posting(w);
    post(w, 0x41);
    run_to(w, set, 3);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
    assert_int_equal(w->exit.interruption, 0x80000000 | NOTIFICATION);
    assert_true(fake_vm_get64(w->port, DESCRIPTOR + 8) == 2);
    assert_false(nvirt_vmx_notified(w->v));
}

/* Another CPU of L1's changes a word each time it is looked at: no loop without end, nothing is lost,
 * and L1 is told by an interrupt that it finds the rest where it was. */
static void a_descriptor_that_never_rests_ends_in_an_exit(void **state)
{
    struct world *w = *state;

    launch_with_posting(w);
    post(w, 0x41);
    post(w, 0x81);
    fake_vm_race(w->port, DESCRIPTOR + 8, 8, UINT64_C(1) << 40, 1000);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT);
    assert_true(w->v->vmcs12.exit_interruption == (0x80000000u | NOTIFICATION));
    assert_false(nvirt_vmx_notified(w->v));
    assert_true((fake_vm_get64(w->port, DESCRIPTOR + 8) & 2) != 0);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0x81)), 2);
    w->v->prepared = false;
    assert_int_equal(READ12(w, GUEST_INTERRUPT_STATUS), 0x2181);
}

static void a_word_that_changes_once_is_taken_as_it_is_then(void **state)
{
    struct world *w = *state;

    launch_with_posting(w);
    post(w, 0x41);
    fake_vm_race(w->port, DESCRIPTOR + 8, 8, 4, 1);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(fake_vm_get32(w->port, VIRR(0x41)), 6);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2142);
    w->v->prepared = false;
}

/* Where no memory is, nothing is posted. */
static void a_descriptor_without_memory_posts_nothing(void **state)
{
    struct world *w = *state;

    ready_to_post(w);
    w->v->vmcs12.posted_descriptor = L1_RAM + 0x40;
    vmlaunch(w);
    exit_with(w, NVIRT_VMX_EXIT_WBINVD, 0, 0);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2131);
    assert_true(nvirt_vmx_notified(w->v));
    w->v->prepared = false;
}

/* The EOI that is owed is part of the state, and a reset forgets it. */
static void what_the_host_owes_is_saved(void **state)
{
    static uint8_t saved[NVIRT_STATE_MAX_BYTES];
    struct world *w = *state;
    size_t bytes;

    launch_with_posting(w);
    post(w, 0x41);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    w->v->prepared = false;
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, saved, sizeof saved, &bytes), NVIRT_OK);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_false(nvirt_vmx_notified(w->v));
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, saved, bytes), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2141);
    assert_true(nvirt_vmx_notified(w->v));
    w->v->prepared = false;
}

/* ---- by hardware ---- */

/* Vectors are L1's on a host that passes interrupts through: L1's descriptor serves hardware, pinned. */
static void hardware_has_l1s_descriptor_where_vectors_are_l1s(void **state)
{
    struct world *w = *state;

    ready_to_post(w);
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_POSTED_INTERRUPTS) != 0);
    assert_true(HW(w, POSTED_DESCRIPTOR) == FAKE_VM_HPA_OFFSET + DESCRIPTOR);
    assert_int_equal(HW(w, POSTED_VECTOR), NOTIFICATION);
    assert_true((HW(w, EXIT_CONTROLS) & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) != 0);
    assert_int_equal(w->port->pins, 2);
    w->v->prepared = false;
}

/* Else a vector of L0's with the same number would be lost to it. */
static void hardware_does_not_post_where_vectors_are_the_hosts(void **state)
{
    struct world *w = *state;

    SET1(w, PIN_CONTROLS, GET1(w, PIN_CONTROLS) | NVIRT_VMX_PIN_EXT_INT);
    SET1(w, EXIT_CONTROLS, GET1(w, EXIT_CONTROLS) | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
    launch_with_posting(w);
    prepare(w);
    assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_POSTED_INTERRUPTS) == 0);
    assert_int_equal(HW(w, POSTED_DESCRIPTOR), 0);
    w->v->prepared = false;
    post(w, 0x41);
    inject_interrupt(w, NOTIFICATION);
    prepare(w);
    assert_int_equal(HW(w, GUEST_INTERRUPT_STATUS), 0x2141);
    w->v->prepared = false;
}

static void a_descriptor_without_memory_is_none_for_hardware(void **state)
{
    struct world *w = *state;

    ready_to_post(w);
    w->v->vmcs12.posted_descriptor = L1_RAM + 0x40;
    vmlaunch(w);
    prepare(w);
    assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_POSTED_INTERRUPTS) == 0);
    w->v->prepared = false;
}

/* [SDM 3C "Guest Interrupt Status"]: the same where L1 wrote to all of L2's state but this, and where its
 * entries have a list: vmcs02 is put together as a whole then. */
static void the_status_survives_a_whole_entry(void **state)
{
    const struct fake_set left[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x6400, 0 }, { 0x4408, 0 }, { 0x440c, INSN_LENGTH },
        { 0x0810, 0x5141 },
    };
    struct world *w = *state;

    for (uint32_t i = 0; i < 2; i++) {
        ready_with_interrupts(w);
        w->v->vmcs12.entry_msr_load_count = i;
        w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
        fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
        fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_LSTAR);
        vmlaunch(w);
        run_to(w, left, sizeof left / sizeof left[0]);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        if (i == 0) {
            WRITE12(w, GUEST_RIP, L2_RIP + 8);
            WRITE12(w, GUEST_CR3, 0x51000);
            WRITE12(w, GUEST_GS_BASE, 0x1000);
            WRITE12(w, GUEST_SYSENTER_CS, 0x10);
        }
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        prepare(w);
        assert_true(HW(w, GUEST_INTERRUPT_STATUS) == 0x5141);
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(status_and_eoi_bitmap_reach_hardware),
        TEST(the_status_survives_a_whole_entry),
        TEST(the_status_is_l2s_until_l1_writes_it),
        TEST(a_write_of_the_status_costs_one_field),
        TEST(eoi_and_register_writes_exit_to_l1),
        TEST(a_page_without_memory_reads_ones_everywhere),
        POSTED(a_notification_makes_posted_requests_virtual_interrupts),
        POSTED(rvi_never_falls),
        POSTED(another_vector_is_an_exit),
        POSTED(in_l1_it_is_an_interrupt),
        POSTED(without_the_control_it_is_an_exit),
        POSTED(an_entry_under_way_comes_before_the_processing),
        POSTED(a_notification_that_exited_is_no_exit_for_l1),
        POSTED(where_interrupts_are_the_hosts_the_vector_is_too),
        POSTED(a_descriptor_that_never_rests_ends_in_an_exit),
        POSTED(a_word_that_changes_once_is_taken_as_it_is_then),
        POSTED(a_descriptor_without_memory_posts_nothing),
        POSTED(what_the_host_owes_is_saved),
        POSTED_BY_HARDWARE(hardware_has_l1s_descriptor_where_vectors_are_l1s),
        POSTED_BY_HARDWARE(hardware_does_not_post_where_vectors_are_the_hosts),
        POSTED_BY_HARDWARE(a_descriptor_without_memory_is_none_for_hardware),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
