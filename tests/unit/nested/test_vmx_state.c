/* SPDX-License-Identifier: MIT */
/*
 * Saved state of nested VMX: a run goes on after a restore as it would have without, wherever it
 * was cut; and no bytes make a vCPU that L1 could not have come to.
 */
#include "vmx_world.h"

#include "state_blob.h"

#include <stdio.h>

static void save(struct world *w, struct blob *blob)
{
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, blob->data, sizeof blob->data, &blob->bytes),
                     NVIRT_OK);
}

static enum nvirt_status restore(struct world *w, const struct blob *blob)
{
    return nvirt_vmx_restore(w->v, &w->cpu, blob->data, blob->bytes);
}

static void reset(struct world *w)
{
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
}

/* ---- what a host moves besides ---- */

static bool host_moves(const struct world *w, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_CR0_SHADOW:
    case NVIRT_VMCS_CR4_SHADOW:
    case NVIRT_VMCS_ENTRY_CONTROLS:
    case NVIRT_VMCS_ENTRY_INTERRUPTION:
    case NVIRT_VMCS_ENTRY_ERROR_CODE:
    case NVIRT_VMCS_ENTRY_INSN_LENGTH:
        return true;
    default:
        return nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_GUEST
               && nvirt_vmcs_field_exists(&w->caps, field);
    }
}

static void read_vmcs01(struct world *w, struct nvirt_vmcs *to)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (host_moves(w, (enum nvirt_vmcs_field)i))
            to->field[i] = get_level(w, 1, (enum nvirt_vmcs_field)i);
}

static void write_vmcs01(struct world *w, const struct nvirt_vmcs *from)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (host_moves(w, (enum nvirt_vmcs_field)i))
            set01(w, (enum nvirt_vmcs_field)i, from->field[i]);
}

/* The vCPU ends, another begins in other memory, with vmcs01 set up anew. */
static void new_vcpu(struct world *w)
{
    assert_int_equal(nvirt_vmx_vcpu_destroy(w->v, &w->cpu), NVIRT_OK);
    free(w->memory);
    w->memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);
    memset(w->memory, 0x5a, NVIRT_VMX_VCPU_SIZE);
    w->config.vmcs01 = nvirt_hpa_make(w->config.vmcs01.value + NVIRT_PAGE_SIZE);
    assert_int_equal(nvirt_vmx_vcpu_init(w->memory, NVIRT_VMX_VCPU_SIZE, &w->config, &w->v),
                     NVIRT_OK);
    world_vmcs01(w);
}

enum how { NOT_AT_ALL, IN_PLACE, ELSEWHERE };

static void move(struct world *w, enum how how)
{
    struct nvirt_vmcs vmcs01;
    struct blob before;
    struct blob after;

    if (how == NOT_AT_ALL)
        return;
    save(w, &before);
    read_vmcs01(w, &vmcs01);
    if (how == IN_PLACE)
        reset(w);
    else
        new_vcpu(w);
    write_vmcs01(w, &vmcs01);
    assert_int_equal(restore(w, &before), NVIRT_OK);
    /* What was restored saves as the same bytes. */
    save(w, &after);
    assert_int_equal(before.bytes, after.bytes);
    assert_memory_equal(before.data, after.data, before.bytes);
}

/* ---- a run with everything in it that can be in flight ---- */

static void inject(struct world *w, enum nvirt_event_type type, uint8_t vector, uint32_t error)
{
    struct nvirt_event event = {
        .type = type, .vector = vector, .error_code = error, .has_error_code = error != 0,
        .address = vector == NVIRT_VECTOR_PF ? 0x123456 : 0,
    };

    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &event), NVIRT_OK);
}

static void step_vmclear(struct world *w) { l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12); }
static void step_vmptrld(struct world *w) { l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12); }

static void step_fill(struct world *w)
{
    /* In between runs, as if by VMWRITEs. */
    fill_vmcs12(w);
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    w->v->vmcs12.cr0_mask = NVIRT_CR0_TS;
    w->v->vmcs12.cr0_shadow = NVIRT_CR0_TS;
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VPID;
    w->v->vmcs12.vpid = 3;
    w->v->vmcs12.exception_bitmap = NVIRT_BIT(NVIRT_VECTOR_GP);
    w->v->vmcs12.entry_interruption = 0x80000b0e;
    w->v->vmcs12.entry_error_code = 2;
}

static void step_vmlaunch(struct world *w) { vmlaunch(w); }
static void step_vmresume(struct world *w) { vmresume(w); }

/* An NMI of the host's in the middle of a delivery: the event is to be delivered again. */
static void step_host_exit_in_delivery(struct world *w)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_EXCEPTION_NMI }, { 0x6400, 0 }, { 0x4404, 0x80000202 },
        { 0x4406, 0 },
        { 0x4408, 0x80000b0e },            { 0x440a, 6 }, { 0x440c, 3 },
        { 0x681e, 0x9123 },                { 0x681c, 0xa100 },
        { 0x6802, 0x51000 },               { 0x2806, 0x500 },
    };

    run_to(w, set, sizeof set / sizeof set[0]);
}

static void step_l2_pagefault_waits(struct world *w) { inject(w, NVIRT_EVENT_EXCEPTION, 14, 4); }
static void step_interrupt_waits(struct world *w) { inject(w, NVIRT_EVENT_INTERRUPT, 0x41, 0); }
static void step_nmi_waits(struct world *w) { inject(w, NVIRT_EVENT_NMI, 2, 0); }
static void step_breakpoint_waits(struct world *w) { inject(w, NVIRT_EVENT_EXCEPTION, 3, 0); }

static void step_external_interrupt(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT, 0, 0);
}

/* L2 changes CR0.MP, which nobody intercepts, and TS, which L1 owns. */
static void step_mov_to_cr0(struct world *w)
{
    w->gprs.r[NVIRT_RAX] = 0x80010033 | NVIRT_CR0_TS;
    exit_with(w, NVIRT_VMX_EXIT_CR_ACCESS, 0, 0);
}

static void step_l2_hlt(struct world *w) { exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0); }
static void step_l2_cpuid(struct world *w) { exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0); }
static void step_l1_hlt(struct world *w) { exit_with(w, NVIRT_VMX_EXIT_HLT, 0, 0); }
static void step_vmread(struct world *w) { (void)READ12(w, GUEST_RIP); }
static void step_vmwrite(struct world *w) { WRITE12(w, GUEST_RSP, 0xb000); }

static void step_vmptrst(struct world *w)
{
    l1_insn(w, NVIRT_VMX_EXIT_VMPTRST, INFO_PLAIN);
    w->gprs.r[NVIRT_RBX] = fake_vm_get64(w->port, OPERAND);
}

static void step_other_vmcs(struct world *w)
{
    load_vmcs12(w, VMCS12_B);
}

static void step_vmxoff(struct world *w) { exit_with(w, NVIRT_VMX_EXIT_VMXOFF, 0, 0); }

/* An interrupt of L1's is open again, so that what waits for L1 is delivered. */
static void step_l1_sti(struct world *w)
{
    SET1(w, GUEST_RFLAGS, GET1(w, GUEST_RFLAGS) | NVIRT_RFLAGS_IF);
}

static void step_init(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_INIT, 0, 0);
}

static void (*const steps[])(struct world *) = {
    step_l1_hlt,
    vmxon,
    step_vmclear,
    step_vmptrst,
    step_vmptrld,
    step_vmread,
    step_fill,
    step_vmwrite,
    step_vmlaunch,
    step_interrupt_waits, /* Behind an entry that has not taken place. */
    step_host_exit_in_delivery,
    step_external_interrupt,
    step_vmread,
    step_l1_sti,
    step_vmread,
    step_vmresume,
    step_l2_cpuid,
    step_vmresume,
    step_mov_to_cr0,
    step_l2_pagefault_waits,
    step_l2_hlt,
    step_vmread,
    step_breakpoint_waits,
    step_l1_hlt,
    step_init,
    step_interrupt_waits,
    step_nmi_waits,
    step_l1_hlt,
    step_l1_sti,
    step_l1_hlt,
    step_vmresume,
    step_l2_cpuid,
    step_other_vmcs,
    step_vmptrst,
    step_vmptrld,
    step_vmread,
    step_vmresume,
    step_host_exit_in_delivery, /* INIT, which waited in L1, takes L2 out. */
    step_vmread,
    step_init,
    step_vmxoff,
    step_l1_hlt,
};

#define STEPS (sizeof steps / sizeof steps[0])

/* ---- what is seen of a run ---- */

struct seen {
    uint64_t field[NVIRT_VMCS_FIELD_COUNT];
    uint64_t more[32];
};

/* Host-physical addresses and tags are made anew, and what hardware ignores is chance. */
static bool is_compared(const struct world *w, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_EPTP:
    case NVIRT_VMCS_VPID:
    case NVIRT_VMCS_MSR_BITMAP:
    case NVIRT_VMCS_GUEST_PDPTE0:
    case NVIRT_VMCS_GUEST_PDPTE1:
    case NVIRT_VMCS_GUEST_PDPTE2:
    case NVIRT_VMCS_GUEST_PDPTE3:
        return false;
    default:
        return nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT
               && nvirt_vmcs_field_exists(&w->caps, field);
    }
}

static void look(struct world *w, struct seen *seen)
{
    memset(seen, 0, sizeof *seen);
    prepare(w);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (is_compared(w, (enum nvirt_vmcs_field)i))
            seen->field[i] = hw_field(w, (enum nvirt_vmcs_field)i);
    memcpy(seen->more, w->gprs.r, sizeof w->gprs.r);
    seen->more[16] = w->run.level;
    seen->more[17] = w->run.branch_barrier;
    seen->more[18] = w->run.set_cr2;
    seen->more[19] = w->run.set_cr2 ? w->run.cr2 : 0;
    seen->more[20] = w->exit.reason;
    seen->more[21] = w->exit.verdict;
    seen->more[22] = w->exit.level;
    seen->more[23] = (uint64_t)w->status;
    w->v->prepared = false;
}

/* The script, with a move of kind @p how after step @p cut. */
static void play(struct world *w, size_t cut, enum how how, struct seen *seen)
{
    for (size_t i = 0; i < STEPS; i++) {
        steps[i](w);
        w->v->prepared = false;
        if (i == cut)
            move(w, how);
        look(w, &seen[i]);
    }
}

static void compare(const struct seen *expected, const struct seen *found, size_t cut)
{
    for (size_t i = 0; i < STEPS; i++) {
        for (uint32_t f = 0; f < NVIRT_VMCS_FIELD_COUNT; f++)
            if (expected[i].field[f] != found[i].field[f])
                fail_msg("cut after step %zu: step %zu has %s %llx instead of %llx", cut, i,
                         nvirt_vmcs_field_name((enum nvirt_vmcs_field)f),
                         (unsigned long long)found[i].field[f],
                         (unsigned long long)expected[i].field[f]);
        for (uint32_t m = 0; m < 32; m++)
            if (expected[i].more[m] != found[i].more[m])
                fail_msg("cut after step %zu: step %zu differs in %u", cut, i, m);
    }
}

/* One run that nobody cuts, then one for every step and kind of move. */
static void a_run_cut_at_any_step_by_save_and_restore_goes_on_as_without(void **state)
{
    struct seen *expected = calloc(STEPS, sizeof *expected);
    struct seen *found = calloc(STEPS, sizeof *found);

    (void)state;
    for (size_t cut = 0; cut <= STEPS; cut++) {
        for (int how = IN_PLACE; how <= ELSEWHERE; how++) {
            void *world;

            setup(&world);
            play(world, cut == 0 ? STEPS : cut - 1, (enum how)how, cut == 0 ? expected : found);
            teardown(&world);
            if (cut != 0)
                compare(expected, found, cut - 1);
        }
    }
    free(expected);
    free(found);
}

/* The script is what it claims to be: it reaches the states that are worth cutting in. */
static void the_script_passes_through_every_kind_of_state(void **state)
{
    struct world *w = *state;
    struct seen seen;
    bool pending = false;
    bool level2 = false;
    bool waiting[3] = { false, false, false };
    bool redelivery = false;

    for (size_t i = 0; i < STEPS; i++) {
        steps[i](w);
        w->v->prepared = false;
        pending = pending || (w->v->entry_pending && w->v->pending.interrupt);
        level2 = level2 || (w->v->level == 2 && !w->v->entry_pending);
        waiting[0] = waiting[0] || w->v->pending.exception.waiting;
        waiting[1] = waiting[1] || w->v->pending.nmi;
        waiting[2] = waiting[2] || w->v->pending.interrupt;
        redelivery = redelivery
                     || (w->v->level == 2 && !w->v->entry_pending
                         && (w->v->hw[NVI_02]->image.entry_interruption & NVIRT_BIT(31)) != 0);
        look(w, &seen);
    }
    assert_true(pending);
    assert_true(level2);
    assert_true(redelivery);
    assert_true(waiting[0] && waiting[1] && waiting[2]);
    assert_false(w->v->vmx.on);
    assert_int_equal(w->v->vmcs12.exit_reason, NVIRT_VMX_EXIT_INIT);
}

static void launch_pae_l2(struct world *w)
{
    ready_to_launch(w);
    w->v->vmcs12.entry_controls &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr4 |= NVIRT_CR4_PAE;
    w->v->vmcs12.guest_cs_ar = 0xc09b;
    fake_vm_put64(w->port, 0x50000, 0x60001);
    vmlaunch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* PAE without EPT12: the PDPTEs that the CPU loaded are state, whatever memory holds by now. */
static void pdptes_of_an_l2_with_pae_are_saved_and_not_read_again(void **state)
{
    struct world *w = *state;
    struct blob blob;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_WBINVD }, { 0x440c, 2 },       { 0x4408, 0 },
        { 0x280a, 0x61001 },               { 0x280c, 0x62001 }, { 0x280e, 0 },
        { 0x2810, 0x63001 },
    };

    launch_pae_l2(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    save(w, &blob);
    fake_vm_put64(w->port, 0x50000, ~UINT64_C(0));
    reset(w);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, GUEST_PDPTE0) == 0x61001);
    assert_true(HW(w, GUEST_PDPTE3) == 0x63001);
}

/* ---- misuse ---- */

static void save_tells_the_size_it_needs_and_max_bytes_suffice(void **state)
{
    struct world *w = *state;
    struct blob blob;
    size_t used = 0;
    uint8_t small[64];

    launch_l2(w);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, small, sizeof small, &used), NVIRT_ERR_SIZE);
    save(w, &blob);
    assert_int_equal(used, blob.bytes);
    /* With every field of both classes set it would still fit. */
    assert_true(HEADER
                    + ROW
                          * (NVIRT_STATE_VMX_ITEM_COUNT + 2u * (size_t)NVIRT_VMCS_FIELD_COUNT)
                <= NVIRT_STATE_MAX_BYTES);
}

static void save_and_restore_name_what_the_host_got_wrong(void **state)
{
    struct world *w = *state;
    struct blob blob;
    size_t used;

    save(w, &blob);
    assert_int_equal(nvirt_vmx_save(NULL, &w->cpu, &blob, 1, &used), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_save(w->v, NULL, &blob, 1, &used), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, NULL, 1, &used), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, &blob, 1, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_restore(NULL, &w->cpu, &blob, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_restore(w->v, NULL, &blob, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_vmx_restore(w->v, &w->cpu, NULL, 1), NVIRT_ERR_NULL);
    prepare(w);
    assert_int_equal(nvirt_vmx_save(w->v, &w->cpu, blob.data, sizeof blob.data, &used),
                     NVIRT_ERR_STATE);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_STATE);
    vmxon(w);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_STATE);
}

static void no_page_for_l2_leaves_l1_as_it_was_and_restoring_works_later(void **state)
{
    struct world *w = *state;
    struct blob blob;
    struct blob fresh;
    struct blob after;

    save(w, &fresh);
    launch_l2(w);
    save(w, &blob);
    new_vcpu(w);
    fake_vm_fail(w->port, FAKE_CALL_PAGE_ALLOC, 1);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_NO_PAGE);
    save(w, &after);
    assert_int_equal(after.bytes, fresh.bytes);
    assert_memory_equal(after.data, fresh.data, fresh.bytes);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* ---- bad data ---- */

/* A vCPU that was refused is as fresh as before. */
static void expect_refused(struct world *w, const struct blob *blob, const struct blob *fresh)
{
    struct blob after;

    assert_int_equal(restore(w, blob), NVIRT_ERR_DATA);
    save(w, &after);
    assert_int_equal(after.bytes, fresh->bytes);
    assert_memory_equal(after.data, fresh->data, fresh->bytes);
}

#define ITEM(NAME) NVIRT_STATE_VMX_##NAME

struct bad_item {
    enum nvirt_state_vmx_item item;
    uint64_t value;
};

static void items_that_l1_cannot_have_come_to_are_refused(void **state)
{
    static const struct bad_item bad[] = {
        { NVIRT_STATE_VMX_LEVEL, 0 },
        { NVIRT_STATE_VMX_LEVEL, 3 },
        { NVIRT_STATE_VMX_LEVEL, 1 }, /* With rows of L2. */
        { NVIRT_STATE_VMX_VMX_ON, 2 },
        { NVIRT_STATE_VMX_VMX_ON, 0 },
        { NVIRT_STATE_VMX_VMXON_POINTER, VMXON_REGION + 8 },
        { NVIRT_STATE_VMX_VMXON_POINTER, UINT64_C(1) << 40 },
        { NVIRT_STATE_VMX_VMXON_POINTER, VMCS12 },
        { NVIRT_STATE_VMX_CURRENT_VMCS, VMCS12 + 1 },
        { NVIRT_STATE_VMX_CURRENT_VMCS, UINT64_C(1) << 40 },
        { NVIRT_STATE_VMX_CURRENT_VMCS, ~UINT64_C(0) },
        { NVIRT_STATE_VMX_LAUNCHED, 2 },
        { NVIRT_STATE_VMX_FEATURE_CONTROL, 1 },
        { NVIRT_STATE_VMX_FEATURE_CONTROL, 7 },
        { NVIRT_STATE_VMX_ENTRY_PENDING, 0 }, /* L2 has run, but was not launched. */
        { NVIRT_STATE_VMX_ENTRY_PENDING, 2 },
        { NVIRT_STATE_VMX_SHUTDOWN, 1 },
        { NVIRT_STATE_VMX_BARRIER, 2 },
        { NVIRT_STATE_VMX_L1_INSN_LENGTH, 16 },
        { NVIRT_STATE_VMX_L2_INSN_LENGTH, 16 },
        { NVIRT_STATE_VMX_NMI, 2 },
        { NVIRT_STATE_VMX_INIT, 2 },
        { NVIRT_STATE_VMX_MONITOR_TRAP, 2 },
        { NVIRT_STATE_VMX_INTERRUPT, 0x31 },
        { NVIRT_STATE_VMX_INTERRUPT, 0x331 },
        { NVIRT_STATE_VMX_SIPI, 0x31 },
        { NVIRT_STATE_VMX_SIPI, 0x331 },
        { NVIRT_STATE_VMX_EXCEPTION, 6 },
        { NVIRT_STATE_VMX_EXCEPTION, 0x102 },                   /* An NMI is none. */
        { NVIRT_STATE_VMX_EXCEPTION, 0x10d },                   /* #GP has an error code. */
        { NVIRT_STATE_VMX_EXCEPTION, 0x306 },                   /* #UD has none. */
        { NVIRT_STATE_VMX_EXCEPTION, 0x506 },
        { NVIRT_STATE_VMX_EXCEPTION, UINT64_C(0x100000106) },   /* A code that is not there. */
        { NVIRT_STATE_VMX_EXCEPTION, UINT64_C(0x80000000030d) },
        { NVIRT_STATE_VMX_EXCEPTION_ADDRESS, 1 },
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob good;

    launch_l2(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct blob blob = good;

        set_item(&blob, bad[i].item, bad[i].value);
        expect_refused(w, &blob, &fresh);
    }
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

/* From a state that has no field rows, so that the item itself is what decides. */
static void items_that_do_not_fit_each_other_are_refused(void **state)
{
    static const struct {
        size_t count;
        struct bad_item item[5];
    } bad[] = {
        { 1, { { ITEM(FEATURE_CONTROL), 8 } } },
        { 1, { { ITEM(VMXON_POINTER), VMXON_REGION } } },
        { 1, { { ITEM(CURRENT_VMCS), VMCS12 } } },
        { 1, { { ITEM(LAUNCHED), 1 } } },
        { 1, { { ITEM(SHADOW_VMCS), 1 } } },
        { 1, { { ITEM(ENTRY_PENDING), 1 } } },
        { 1, { { ITEM(L2_INSN_LENGTH), 1 } } },
        { 2, { { ITEM(EXCEPTION), 0x106 }, { ITEM(EXCEPTION_ADDRESS), 1 } } },
        { 5,
          { { ITEM(LEVEL), 3 },
            { ITEM(VMX_ON), 1 },
            { ITEM(VMXON_POINTER), VMXON_REGION },
            { ITEM(CURRENT_VMCS), VMCS12 },
            { ITEM(LAUNCHED), 1 } } },
        { 4,
          { { ITEM(LEVEL), 2 },
            { ITEM(VMX_ON), 1 },
            { ITEM(VMXON_POINTER), VMXON_REGION },
            { ITEM(ENTRY_PENDING), 1 } } },
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob blob;

    save(w, &fresh);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        blob = fresh;
        for (size_t n = 0; n < bad[i].count; n++)
            set_item(&blob, bad[i].item[n].item, bad[i].item[n].value);
        expect_refused(w, &blob, &fresh);
    }
    /* A lone item that fits is taken: the base was not refused for its own sake. */
    blob = fresh;
    set_item(&blob, NVIRT_STATE_VMX_NMI, 1);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    assert_true(w->v->pending.nmi);
}

static void a_damaged_container_is_refused(void **state)
{
    struct world *w = *state;
    struct blob fresh;
    struct blob good;

    launch_l2(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t bytes = 0; bytes < good.bytes; bytes++) {
        struct blob blob = good;

        blob.bytes = bytes;
        expect_refused(w, &blob, &fresh);
    }
    good.bytes += ROW; /* More than the header counts. */
    expect_refused(w, &good, &fresh);
}

static uint64_t random_bits(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 29;
}

/* What is accepted is a state: it saves as the bytes it came from, hardware takes it, and what the
 * host owns in vmcs02 is the host's. */
static void expect_safe(struct world *w, const struct blob *blob)
{
    struct blob after;

    save(w, &after);
    assert_int_equal(after.bytes, blob->bytes);
    assert_memory_equal(after.data, blob->data, blob->bytes);
    if (nvirt_vmx_prepare(w->v, &w->cpu, &w->run) == NVIRT_OK) {
        assert_true(HW(w, HOST_RIP) == UINT64_C(0xffff800000001000));
        assert_true(HW(w, HOST_CR3) == 0x1234000);
        assert_true((HW(w, PROC2_CONTROLS) & NVIRT_VMX_PROC2_EPT) != 0);
        assert_true((HW(w, PIN_CONTROLS) & NVIRT_VMX_PIN_NMI) != 0);
        assert_true(HW(w, VMCS_LINK) == ~UINT64_C(0));
    }
}

static void every_single_bit_flipped_is_refused_or_a_state(void **state)
{
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    unsigned accepted = 0;

    launch_l2(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t bit = 0; bit < good.bytes * 8; bit++) {
        struct blob blob = good;

        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (restore(w, &blob) == NVIRT_OK) {
            uint64_t value;

            accepted++;
            /* A row of 0 is not written again. */
            memcpy(&value, row_value(&blob, (bit / 8 - HEADER) / ROW), sizeof value);
            if (value != 0)
                expect_safe(w, &blob);
            w->v->prepared = false;
            reset(w);
            save(w, &fresh);
        } else {
            expect_refused(w, &blob, &fresh);
        }
    }
    /* Among them the registers of L2, in which nearly every bit is free. */
    assert_true(accepted > 1000);
}

static void random_rows_are_refused_or_a_state(void **state)
{
    struct world *w = *state;
    struct blob good;
    uint64_t seed = 1;

    launch_l2(w);
    save(w, &good);
    reset(w);
    for (int round = 0; round < 3000; round++) {
        struct blob blob = good;
        size_t rows = (good.bytes - HEADER) / ROW;

        for (uint64_t n = random_bits(&seed) % 4; n < 4; n++) {
            uint64_t value = random_bits(&seed) << 32 ^ random_bits(&seed);

            value >>= random_bits(&seed) % 64;
            memcpy(row_value(&blob, random_bits(&seed) % rows), &value, sizeof value);
        }
        if (restore(w, &blob) == NVIRT_OK) {
            if (nvirt_vmx_prepare(w->v, &w->cpu, &w->run) == NVIRT_OK)
                assert_true(HW(w, HOST_CR3) == 0x1234000);
            w->v->prepared = false;
            reset(w);
        }
    }
}

/* A row may name a field that the CPU has and this state has not. */
static void rows_that_do_not_belong_are_refused(void **state)
{
    static const uint32_t ids[] = {
        NVIRT_STATE_ITEM << 16 | NVIRT_STATE_VMX_ITEM_COUNT, /* An item of a later version. */
        NVIRT_STATE_CONTROL12 << 16 | 0x2001,                /* The high half of a field. */
        NVIRT_STATE_CONTROL12 << 16 | 0x7ffe,                /* No field. */
        NVIRT_STATE_L2 << 16 | 0x6c00,                       /* Host state is none of L2's. */
        NVIRT_STATE_L2 << 16 | 0x201a,                       /* Nor is EPTP. */
        NVIRT_STATE_L2 << 16 | 0x2800,                       /* Nor the link pointer. */
        4u << 16,                                            /* No class. */
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    launch_l2(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        with_row(NVIRT_STATE_VMX, &good, ids[i], 1, &blob);
        expect_refused(w, &blob, &fresh);
    }
    /* Without L2 there is no state of it, without a current VMCS no field of that. */
    with_row(NVIRT_STATE_VMX, &fresh, nvi_row_id(NVIRT_STATE_L2, 0x681e), 1, &blob);
    expect_refused(w, &blob, &fresh);
    with_row(NVIRT_STATE_VMX, &fresh, nvi_row_id(NVIRT_STATE_CONTROL12, 0x681e), 1, &blob);
    expect_refused(w, &blob, &fresh);
}

/* No entry takes place with a shadow VMCS, nor with a link that no rule would let pass: what L2's VMREAD
 * and VMWRITE go by. Such a VMCS is there where VMCS shadowing is, and for L1 that runs. */
static void a_link_and_a_type_that_no_entry_takes_are_refused(void **state)
{
    static const uint64_t links[] = { 1, VMCS12_B | 0x800, VMCS12, UINT64_C(1) << 45, 0x7ff0fff };
    const uint32_t link = nvi_row_id(NVIRT_STATE_CONTROL12, 0x2800);
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    launch_l2(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        with_row(NVIRT_STATE_VMX, &good, link, links[i], &blob);
        expect_refused(w, &blob, &fresh);
    }
    blob = good;
    set_item(&blob, NVIRT_STATE_VMX_SHADOW_VMCS, 1);
    expect_refused(w, &blob, &fresh);
    with_row(NVIRT_STATE_VMX, &good, link, VMCS12_B, &blob);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    reset(w);
    ready_to_launch(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    set_item(&good, NVIRT_STATE_VMX_SHADOW_VMCS, 1);
    w->v->offer.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32);
    expect_refused(w, &good, &fresh);
    w->v->offer.proc2 |= NVIRT_VMX_PROC2_VMCS_SHADOWING << 32;
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

struct bad_register {
    uint32_t encoding;
    uint64_t value;
};

static void expect_registers_refused(struct world *w, const struct bad_register *bad, size_t count)
{
    struct blob fresh;
    struct blob good;
    struct blob blob;

    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t i = 0; i < count; i++) {
        with_row(NVIRT_STATE_VMX, &good, nvi_row_id(NVIRT_STATE_L2, bad[i].encoding), bad[i].value,
                 &blob);
        expect_refused(w, &blob, &fresh);
    }
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

/* L2's own registers are checked as for an entry, those included that vmcs12 does not load. */
static void registers_of_l2_that_no_cpu_has_are_refused(void **state)
{
    static const struct bad_register bad[] = {
        { 0x6800, 0x80010030 },         /* CR0: PG without PE. */
        { 0x6804, 0 },                  /* CR4: VMXE is fixed. */
        { 0x2806, 0x100 },              /* EFER: PG with LME, not LMA. */
        { 0x2804, 0x0707070707070702 }, /* PAT: no such type; vmcs12 does not load it. */
        { 0x681a, UINT64_C(1) << 32 },  /* DR7. */
        { 0x6820, 0 },                  /* RFLAGS bit 1. */
        { 0x681e, UINT64_C(1) << 48 },  /* RIP beyond the linear addresses. */
        { 0x4816, 0x10000 },            /* CS unusable. */
        { 0x4826, 4 },                  /* Activity state. */
        { 0x4824, 3 },                  /* Blocking by STI and MOV SS. */
        { 0x4016, 0x80000b03 },         /* #BP with an error code. */
    };

    launch_l2(*state);
    expect_registers_refused(*state, bad, sizeof bad / sizeof bad[0]);
}

static void pdptes_with_reserved_bits_are_refused(void **state)
{
    static const struct bad_register bad[] = {
        { 0x280a, 0x60001 | NVIRT_BIT(1) },
        { 0x2810, 0x60001 | NVIRT_BIT(40) },
    };

    launch_pae_l2(*state);
    expect_registers_refused(*state, bad, sizeof bad / sizeof bad[0]);
}

/* The host state counts as valid under the mode of L1 it was restored with, not that of another VMCS before. */
static void the_mode_that_host_state_was_judged_under_is_l1s(void **state)
{
    struct nvirt_vmcs vmcs01;
    struct blob blob;
    struct world *w = *state;

    launch_l2(w);
    exit_with(w, NVIRT_VMX_EXIT_OTHER_SMI, 0, 0);
    save(w, &blob);
    read_vmcs01(w, &vmcs01);
    for (uint32_t i = 0; i < 2; i++) {
        reset(w);
        for (uint32_t n = 0; n < NVI_VMX_PAIRS; n++)
            w->v->pair[n].l1_ia32e = i == 0;
        vmcs01.guest_efer = i != 0 ? 0x500 : 0;
        write_vmcs01(w, &vmcs01);
        assert_int_equal(restore(w, &blob), i != 0 ? NVIRT_OK : NVIRT_ERR_DATA);
    }
    assert_true(w->v->now->l1_ia32e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_cut_at_any_step_by_save_and_restore_goes_on_as_without),
        TEST(the_script_passes_through_every_kind_of_state),
        TEST(pdptes_of_an_l2_with_pae_are_saved_and_not_read_again),
        TEST(save_tells_the_size_it_needs_and_max_bytes_suffice),
        TEST(save_and_restore_name_what_the_host_got_wrong),
        TEST(no_page_for_l2_leaves_l1_as_it_was_and_restoring_works_later),
        TEST(items_that_l1_cannot_have_come_to_are_refused),
        TEST(items_that_do_not_fit_each_other_are_refused),
        TEST(a_damaged_container_is_refused),
        TEST(every_single_bit_flipped_is_refused_or_a_state),
        TEST(random_rows_are_refused_or_a_state),
        TEST(rows_that_do_not_belong_are_refused),
        TEST(a_link_and_a_type_that_no_entry_takes_are_refused),
        TEST(registers_of_l2_that_no_cpu_has_are_refused),
        TEST(pdptes_with_reserved_bits_are_refused),
        TEST(the_mode_that_host_state_was_judged_under_is_l1s),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
