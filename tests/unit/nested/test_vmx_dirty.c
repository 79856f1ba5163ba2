/* SPDX-License-Identifier: MIT */
/*
 * What an entry leaves out must be what would change nothing. Every change that can be between two
 * VMRESUMEs is made once before an entry that goes by what nvirt remembers, and once before one that
 * has forgotten all (nvi_vmx_forget_caches()): hardware must be given the same, or L1 be told the
 * same.
 */
#include "vmx_world.h"

#define HOST_STATE_PAT UINT64_C(0x0007040600070406)

/* What a VMRESUME came to. */
struct outcome {
    uint32_t level;
    struct nvirt_vmcs hardware; /* Of the level that runs next. */
    struct nvirt_vmcs vmcs12;
    uint8_t msr_bitmap[4096];
};

static void view(struct world *w, struct nvirt_vmcs *view)
{
    const struct fake_region *region = w->cpu.current;
    enum nvirt_vmcs_field field;
    bool high;

    memset(view, 0, sizeof *view);
    for (uint32_t i = 0; i < region->fields; i++)
        if (nvirt_vmcs_lookup(region->field[i].encoding, &field, &high))
            view->field[field] = region->field[i].value;
}

/* Exit-information fields tell of the way here; an injection that was delivered is over. */
static void drop_history(struct nvirt_vmcs *c)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (nvirt_vmcs_field_kind((enum nvirt_vmcs_field)i) == NVIRT_VMCS_KIND_EXIT)
            c->field[i] = 0;
}

/* L2 leaves with its state as it is in hardware. */
static void leave_l2(struct world *w)
{
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(w->status, NVIRT_OK);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

static void resume(struct world *w, bool forgetful, struct outcome *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    if (forgetful) {
        w->v->steady = false; /* As every call of the host's begins. */
        nvi_vmx_forget_caches(w->v);
    }
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    outcome->level = nvirt_vmx_level(w->v);
    prepare(w);
    view(w, &outcome->hardware);
    outcome->vmcs12 = w->v->vmcs12;
    drop_history(&outcome->hardware);
    memcpy(outcome->msr_bitmap, nvirt_port_page_pointer(w->port, w->v->msr_bitmap02), 4096);
    w->v->prepared = true;
    if (outcome->level == 2) {
        leave_l2(w);
    } else {
        assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, NULL, 0), NVIRT_HW_OK);
        w->v->prepared = false;
        nvi_hw_exited(w->v, NVI_01, NVIRT_VMX_EXIT_HLT);
    }
}

/* Without its control nobody looks at the timer's field. */
static bool is_looked_at(const struct nvirt_vmcs *vmcs02, uint32_t field)
{
    return field != NVIRT_VMCS_GUEST_PREEMPTION_TIMER ||
           (vmcs02->pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0;
}

static void expect_same(const struct outcome *a, const struct outcome *b, const char *what)
{
    if (a->level != b->level)
        fail_msg("%s: level %u, and %u after forgetting", what, a->level, b->level);
    if (a->level == 1) {
        if (a->hardware.guest_rflags != b->hardware.guest_rflags ||
            a->vmcs12.exit_reason != b->vmcs12.exit_reason ||
            a->vmcs12.exit_qualification != b->vmcs12.exit_qualification ||
            a->vmcs12.vm_instruction_error != b->vmcs12.vm_instruction_error)
            fail_msg("%s: L1 is told otherwise", what);
        return;
    }
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++)
        if (a->hardware.field[i] != b->hardware.field[i] && is_looked_at(&a->hardware, i))
            fail_msg("%s: %s is 0x%llx, and 0x%llx after forgetting", what,
                     nvirt_vmcs_field_name((enum nvirt_vmcs_field)i),
                     (unsigned long long)a->hardware.field[i],
                     (unsigned long long)b->hardware.field[i]);
    if (memcmp(a->msr_bitmap, b->msr_bitmap, sizeof a->msr_bitmap) != 0)
        fail_msg("%s: other MSRs pass", what);
}

/* An L1 with all that an entry can take from elsewhere: EPT, VPID, bitmaps, a timer. */
static void begin(struct world *w, bool ept)
{
    struct nvirt_vmcs *c = &w->v->vmcs12;

    ready_to_launch(w);
    c->proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_MSR_BITMAPS |
                        NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_TSC_OFFSET;
    c->proc2_controls |= NVIRT_VMX_PROC2_VPID | (ept ? NVIRT_VMX_PROC2_EPT : 0);
    c->pin_controls |= NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS;
    if (w->with_timer)
        c->pin_controls |= NVIRT_VMX_PIN_PREEMPTION_TIMER;
    c->vpid = 3;
    c->eptp = EPT12_TOP | 0x1e;
    c->msr_bitmap = MSR_BITMAP12;
    c->io_bitmap_a = BITMAP_A;
    c->io_bitmap_b = BITMAP_B;
    c->tsc_offset = 0x1000;
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    leave_l2(w);
}

/* VMWRITE, two VMRESUMEs, and the old value again. */
static void try_value(struct world *w, enum nvirt_vmcs_field field, uint64_t value)
{
    static struct outcome remembering, forgetful;
    uint64_t old = vmread12(w, field);

    vmwrite12(w, field, value);
    resume(w, false, &remembering);
    vmwrite12(w, field, old);
    vmwrite12(w, field, value);
    resume(w, true, &forgetful);
    expect_same(&remembering, &forgetful, nvirt_vmcs_field_name(field));
    vmwrite12(w, field, old);
    resume(w, false, &remembering);
    resume(w, true, &forgetful);
    expect_same(&remembering, &forgetful, nvirt_vmcs_field_name(field));
    if (remembering.level != 2)
        fail_msg("%s: put back, and the entry fails", nvirt_vmcs_field_name(field));
}

/* Lists of the exit are no matter of the entry, and long ones end L1 with a VMX abort. */
static bool is_written(struct world *w, enum nvirt_vmcs_field field)
{
    if (field == NVIRT_VMCS_EXIT_MSR_STORE_COUNT || field == NVIRT_VMCS_EXIT_MSR_LOAD_COUNT)
        return false;
    return nvi_field_has(&w->v->writable, (uint32_t)field) &&
           nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT;
}

static void change_every_field(struct world *w)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        uint64_t old;

        if (!is_written(w, field))
            continue;
        old = vmread12(w, field);
        for (uint32_t bit = 0; bit < 64; bit++)
            if (nvirt_vmcs_truncate(field, UINT64_C(1) << bit) != 0)
                try_value(w, field, old ^ UINT64_C(1) << bit);
        try_value(w, field, 0);
    }
}

/* Each bit of each field that L1 can write takes effect at the next entry, alone. */
static void each_bit_of_vmcs12_takes_effect(void **state)
{
    struct world *w = *state;

    begin(w, true);
    change_every_field(w);
}

static void each_bit_takes_effect_without_ept(void **state)
{
    struct world *w = *state;

    begin(w, false);
    change_every_field(w);
}

/* The same while an event waits to be injected: rules about it look at L2's state. */
static void each_bit_takes_effect_beside_an_event(void **state)
{
    struct world *w = *state;
    static struct outcome remembering, forgetful;

    begin(w, true);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        uint64_t old;

        if (!is_written(w, field) || nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_GUEST)
            continue;
        old = vmread12(w, field);
        for (uint32_t bit = 0; bit < 32; bit++) {
            uint64_t value = nvirt_vmcs_truncate(field, old ^ UINT64_C(1) << bit);

            for (uint32_t twice = 0; twice < 2; twice++) {
                vmwrite12(w, field, value);
                WRITE12(w, ENTRY_INTERRUPTION, 0x80000b0d);
                resume(w, twice != 0, twice != 0 ? &forgetful : &remembering);
                WRITE12(w, ENTRY_INTERRUPTION, 0);
                vmwrite12(w, field, old);
            }
            expect_same(&remembering, &forgetful, nvirt_vmcs_field_name(field));
        }
    }
}

/* ---- what comes from elsewhere ---- */

static void l0_exits_on_hlt(struct world *w, bool on)
{
    uint64_t controls = GET1(w, PROC_CONTROLS);

    SET1(w, PROC_CONTROLS,
         on ? controls | NVIRT_VMX_PROC_RDTSC : controls & ~NVIRT_VMX_PROC_RDTSC);
}

static void l0_wants_ports(struct world *w, bool on)
{
    uint64_t controls = GET1(w, PROC_CONTROLS);

    SET1(w, PROC_CONTROLS, on ? controls | NVIRT_VMX_PROC_UNCONDITIONAL_IO
                              : controls & ~NVIRT_VMX_PROC_UNCONDITIONAL_IO);
}

static void l0_host_state(struct world *w, bool on)
{
    SET1(w, HOST_RSP, on ? 0x4444 : 0x5555);
}

static void l0_exception(struct world *w, bool on)
{
    SET1(w, EXCEPTION_BITMAP, on ? NVIRT_BIT(NVIRT_VECTOR_DB) : 0);
}

static void l0_owns_cr4(struct world *w, bool on)
{
    SET1(w, CR4_MASK, nvirt_vmx_cr4_owned(w->v) | (on ? NVIRT_CR4_TSD : 0));
}

static void l0_bitmap(struct world *w, bool on)
{
    w->msr_bitmap[0x10 / 8] = on ? 1 : 0;
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(w->v), NVIRT_OK);
}

static void l1_bitmap(struct world *w, bool on)
{
    fake_vm_put64(w->port, MSR_BITMAP12 + 0x170 / 8, on ? 0x70 : 0);
}

static void l1_cr0(struct world *w, bool on)
{
    uint64_t cr0 = GET1(w, GUEST_CR0) & ~NVIRT_CR0_CD;

    SET1(w, GUEST_CR0, on ? cr0 | NVIRT_CR0_CD : cr0);
}

static void l1_debug(struct world *w, bool on)
{
    SET1(w, GUEST_DR7, on ? 0x401 : 0x400);
    SET1(w, GUEST_DEBUGCTL, on ? 1 : 0);
}

static void l1_pat(struct world *w, bool on)
{
    SET1(w, GUEST_PAT, on ? 0x0606060606060606 : HOST_STATE_PAT);
}

static void l1_efer(struct world *w, bool on)
{
    SET1(w, GUEST_EFER, on ? 0x501 : 0x500);
}

static void memory_moves(struct world *w, bool on)
{
    (void)on;
    w->port->sequence += 2;
}

static const struct {
    const char *name;
    void (*change)(struct world *w, bool on);
} others[] = {
    { "an intercept of L0's", l0_exits_on_hlt }, { "ports of L0's", l0_wants_ports },
    { "L0's host state", l0_host_state },        { "an exception of L0's", l0_exception },
    { "a CR4 bit of L0's", l0_owns_cr4 },        { "L0's MSR bitmap", l0_bitmap },
    { "L1's MSR bitmap", l1_bitmap },            { "CR0 of L1", l1_cr0 },
    { "debug registers of L1", l1_debug },       { "PAT of L1", l1_pat },
    { "EFER of L1", l1_efer },                   { "memory of L1", memory_moves },
};

/* Controls by which vmcs12 takes over L1's state or not, and saves L2's or not. */
static void with_controls(struct world *w, uint32_t choice)
{
    static const uint64_t entry[] = { NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG, NVIRT_VMX_ENTRY_CTL_LOAD_PAT,
                                      NVIRT_VMX_ENTRY_CTL_LOAD_EFER };
    static const uint64_t exit[] = { NVIRT_VMX_EXIT_CTL_SAVE_DEBUG, NVIRT_VMX_EXIT_CTL_SAVE_PAT,
                                     NVIRT_VMX_EXIT_CTL_SAVE_EFER };
    uint64_t entries = READ12(w, ENTRY_CONTROLS);
    uint64_t exits = READ12(w, EXIT_CONTROLS);

    for (uint32_t i = 0; i < 3; i++) {
        entries = (choice >> i & 1) != 0 ? entries | entry[i] : entries & ~entry[i];
        exits = (choice >> (i + 3) & 1) != 0 ? exits | exit[i] : exits & ~exit[i];
    }
    WRITE12(w, ENTRY_CONTROLS, entries);
    WRITE12(w, EXIT_CONTROLS, exits);
}

static void what_comes_from_l0_and_l1_takes_effect(void **state)
{
    static struct outcome remembering, forgetful;
    struct world *w = *state;

    begin(w, true);
    for (uint32_t choice = 0; choice < 64; choice++) {
        with_controls(w, choice);
        resume(w, false, &remembering);
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            for (uint32_t on = 2; on-- > 0;) {
                others[i].change(w, on != 0);
                resume(w, false, &remembering);
                others[i].change(w, on != 0);
                resume(w, true, &forgetful);
                expect_same(&remembering, &forgetful, others[i].name);
                assert_int_equal(remembering.level, 2);
            }
        }
    }
}

/* ---- what L2 does ---- */

/* L2 changes its own state, by whatever fields: L1 reads the new values, whenever it asks, and an
 * entry that it does not touch gives them back. */
static void what_l2_leaves_behind_is_what_l1_reads(void **state)
{
    static const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x6400, 0 }, { 0x4408, 0 }, { 0x440c, 2 },
        { 0x0800, 0x23 },   { 0x080e, 0x48 },   { 0x4800, 0x11111 },  { 0x4814, 0xf3 },
        { 0x6806, 0x22222 }, { 0x6816, 0x33333 }, { 0x4810, 0x444 },  { 0x482a, 0x55 },
        { 0x6824, 0x66666 }, { 0x6826, 0x77777 }, { 0x6802, 0x88000 }, { 0x681a, 0x401 },
        { 0x2802, 1 },      { 0x2804, 0x0606060606060606 }, { 0x681e, 0x9999 },
        { 0x681c, 0xaaaa }, { 0x6820, 0x246 },  { 0x4824, 8 },        { 0x482e, 0x777 },
    };
    struct world *w = *state;
    struct fake_counts before;

    begin(w, true);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    before = w->cpu.count;
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    /* Segments and MSRs are not among what such an exit looks at. */
    assert_true(w->cpu.count.vmread - before.vmread < 20);
    for (size_t round = 0; round < 3; round++) {
        assert_true(READ12(w, GUEST_ES_SELECTOR) == 0x23);
        assert_true(READ12(w, GUEST_TR_SELECTOR) == 0x48);
        assert_true(READ12(w, GUEST_ES_LIMIT) == 0x11111);
        assert_true(READ12(w, GUEST_ES_AR) == 0xf3);
        assert_true(READ12(w, GUEST_ES_BASE) == 0x22222);
        assert_true(READ12(w, GUEST_GDTR_BASE) == 0x33333);
        assert_true(READ12(w, GUEST_GDTR_LIMIT) == 0x444);
        assert_true(READ12(w, GUEST_SYSENTER_CS) == 0x55);
        assert_true(READ12(w, GUEST_SYSENTER_ESP) == 0x66666);
        assert_true(READ12(w, GUEST_SYSENTER_EIP) == 0x77777);
        assert_true(READ12(w, GUEST_CR3) == 0x88000);
        assert_true(READ12(w, GUEST_DR7) == 0x401);
        assert_true(READ12(w, GUEST_DEBUGCTL) == 1);
        assert_true(READ12(w, GUEST_PAT) == 0x0606060606060606);
        assert_true(READ12(w, GUEST_RIP) == 0x9999);
        assert_true(READ12(w, GUEST_INTERRUPTIBILITY) == 8);
        /* Not saved without its control. */
        assert_true(READ12(w, GUEST_PREEMPTION_TIMER) == 0);
        l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        leave_l2(w);
    }
}

/* VMCLEAR writes all of it into the region, whoever was asked for what before; and the vCPU may move
 * or end at any time. */
static void what_l2_leaves_behind_reaches_the_region(void **state)
{
    struct world *w = *state;
    uint64_t at = VMCS12 + 16 + 8 * NVIRT_VMCS_GUEST_FS_BASE;

    begin(w, true);
    fake_cpu_poke(&w->cpu, w->v->hw[NVI_02]->hpa.value, 0x680e, 0x1234);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    assert_true(fake_vm_get64(w->port, at) == 0x1234);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    assert_true(READ12(w, GUEST_FS_BASE) == 0x1234);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    leave_l2(w);
    fake_cpu_poke(&w->cpu, w->v->hw[NVI_02]->hpa.value, 0x680e, 0x5678);
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    assert_true(fake_vm_get64(w->port, at) == 0x5678);
}

/* ---- several VMCSs of L1 ---- */

#define REGION(i) (UINT64_C(0x60000) + 0x1000u * (uint64_t)(i))
#define REGIONS (NVI_VMX_PAIRS + 2u)

static void launch_region(struct world *w, uint32_t i)
{
    fake_vm_put32(w->port, REGION(i), revision12(w));
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, REGION(i));
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, REGION(i));
    fill_vmcs12(w);
    WRITE12(w, GUEST_CR3, 0x100000 + 0x1000 * i);
    WRITE12(w, GUEST_GS_BASE, 0x1000 + i);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    leave_l2(w);
}

/* L1 takes turns among as many VMCSs as have a vmcs02: a turn writes what differs from the last turn
 * of that VMCS, reads nothing of L1's region but the revision, and pins nothing. With more of them
 * each still runs as itself. */
static void l1_takes_turns_among_its_vmcss(void **state)
{
    struct world *w = *state;

    vmxon(w);
    for (uint32_t count = 2; count <= REGIONS; count++) {
        for (uint32_t i = 0; i < count; i++)
            launch_region(w, i);
        for (uint32_t turn = 0; turn < 3 * count; turn++) {
            uint32_t i = turn % count;
            uint64_t written, read;
            unsigned pins, vmwrites;

            written = w->v->stats.bytes_written;
            l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, REGION(i));
            read = w->v->stats.bytes_read;
            pins = (unsigned)w->v->stats.pins;
            vmwrites = w->cpu.count.vmwrite;
            l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
            assert_int_equal(nvirt_vmx_level(w->v), 2);
            prepare(w);
            assert_true(HW(w, GUEST_CR3) == 0x100000 + 0x1000 * i);
            assert_true(HW(w, GUEST_GS_BASE) == 0x1000 + i);
            if (turn >= count && count <= NVI_VMX_PAIRS) {
                assert_true(w->v->stats.bytes_written == written);
                assert_true(w->v->stats.bytes_read == read);
                assert_int_equal(w->v->stats.pins, pins);
                assert_true(w->cpu.count.vmwrite - vmwrites < 10);
            }
            w->v->prepared = true;
            leave_l2(w);
            assert_true(READ12(w, GUEST_CR3) == 0x100000 + 0x1000 * i);
        }
    }
}

/* What L1 wrote to one of them while it was current holds when it is current again. */
static void a_vmcs_that_is_not_current_keeps_its_contents(void **state)
{
    struct world *w = *state;

    vmxon(w);
    launch_region(w, 0);
    WRITE12(w, GUEST_FS_BASE, 0xabc);
    WRITE12(w, TSC_OFFSET, 0x777);
    launch_region(w, 1);
    for (uint32_t i = 2; i < REGIONS; i++) {
        l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, REGION(0));
        assert_true(READ12(w, GUEST_FS_BASE) == 0xabc);
        assert_true(READ12(w, TSC_OFFSET) == 0x777);
        assert_true(READ12(w, GUEST_GS_BASE) == 0x1000);
        assert_true(w->v->vmx.launched);
        launch_region(w, i);
    }
    /* Overwritten by L1 in memory, it goes on as it was; after VMCLEAR memory counts. */
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, REGION(0));
    assert_true(fake_vm_get64(w->port, REGION(0) + 16 + 8 * NVIRT_VMCS_TSC_OFFSET) == 0x777);
    fake_vm_put64(w->port, REGION(0) + 16 + 8 * NVIRT_VMCS_TSC_OFFSET, 0x888);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, REGION(0));
    assert_false(w->v->vmx.launched);
    assert_true(READ12(w, TSC_OFFSET) == 0x888);
}

/* VMXOFF and the end of the vCPU write all of them back; a reset none. */
static void active_vmcss_are_written_back_in_time(void **state)
{
    struct world *w = *state;
    uint64_t field = 16 + 8 * NVIRT_VMCS_GUEST_GS_BASE;

    vmxon(w);
    launch_region(w, 0);
    launch_region(w, 1);
    assert_true(fake_vm_get64(w->port, REGION(0) + field) == 0);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    assert_true(fake_vm_get64(w->port, REGION(0) + field) == 0x1000);
    assert_true(fake_vm_get64(w->port, REGION(1) + field) == 0x1001);
    vmxon(w);
    launch_region(w, 0);
    WRITE12(w, GUEST_GS_BASE, 0x4444);
    launch_region(w, 1);
    WRITE12(w, GUEST_GS_BASE, 0x5555);
    assert_int_equal(nvirt_vmx_reset(w->v, &w->cpu), NVIRT_OK);
    assert_true(fake_vm_get64(w->port, REGION(0) + field) == 0x1000);
    assert_true(fake_vm_get64(w->port, REGION(1) + field) == 0x1001);
}

/* An entry that hardware refuses leaves vmcs12 as it was, what vmcs02 had for it included. */
static void a_refused_entry_loses_nothing_that_vmcs02_had(void **state)
{
    static const struct fake_set refused[] = { { 0x4402, 0x80000021 }, { 0x6400, 0 } };
    struct world *w = *state;

    begin(w, true);
    fake_cpu_poke(&w->cpu, w->v->hw[NVI_02]->hpa.value, 0x680e, 0x1234);
    WRITE12(w, GUEST_RIP, 0x4321);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    run_to(w, refused, 2);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true(READ12(w, EXIT_REASON) == 0x80000021);
    assert_true(READ12(w, GUEST_FS_BASE) == 0x1234);
    assert_true(READ12(w, GUEST_RIP) == 0x4321);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_true(HW(w, GUEST_FS_BASE) == 0x1234);
    w->v->prepared = false;
}

/* Nothing changed: the round trip reads what an exit always looks at, and writes L1's state. */
static void an_unchanged_round_trip_costs_its_minimum(void **state)
{
    struct world *w = *state;
    struct nvirt_stats before;

    begin(w, true);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    leave_l2(w);
    (void)READ12(w, GUEST_RIP);
    before = w->v->stats;
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    leave_l2(w);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->v->stats.vmreads - before.vmreads <= 20);
    assert_in_range(w->v->stats.vmwrites - before.vmwrites, 1, 52);
    assert_int_equal(w->v->stats.vmptrlds - before.vmptrlds, 2);
    assert_int_equal(w->v->stats.pins - before.pins, 0);
    assert_int_equal(w->v->stats.bytes_read - before.bytes_read, 10); /* L1's MSR bitmap. */
    assert_int_equal(w->v->stats.flushes_tag - before.flushes_tag, 0);
    assert_int_equal(w->v->stats.flushes_root - before.flushes_root, 0);
    w->v->prepared = false;
}

/*
 * An exit without "save IA32_EFER" leaves the guest EFER field as it was: beside what L2 made of
 * itself it may be state that no entry accepts [SDM 3C "Checks on Guest Control Registers, Debug
 * Registers, and MSRs"].
 */
static void what_an_exit_did_not_save_is_judged_beside_the_rest(void **state)
{
    static const struct fake_set long_mode[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x6400, 0 },      { 0x4408, 0 },
        { 0x440c, 2 },                    { 0x2806, 0x500 },  { 0x6804, 0x2020 },
    };
    struct world *w = *state;

    begin(w, true);
    WRITE12(w, EXIT_CONTROLS, READ12(w, EXIT_CONTROLS) & ~NVIRT_VMX_EXIT_CTL_SAVE_EFER);
    WRITE12(w, ENTRY_CONTROLS, READ12(w, ENTRY_CONTROLS) & ~NVIRT_VMX_ENTRY_CTL_IA32E);
    WRITE12(w, GUEST_EFER, 0);
    WRITE12(w, GUEST_CR4, 0x2000);
    WRITE12(w, GUEST_CS_AR, 0xc09b);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    run_to(w, long_mode, sizeof long_mode / sizeof long_mode[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_true((READ12(w, ENTRY_CONTROLS) & NVIRT_VMX_ENTRY_CTL_IA32E) != 0);
    assert_int_equal(READ12(w, GUEST_EFER), 0);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), 0x80000021);
}

/*
 * The same of IA32_DEBUGCTL: single stepping that BTF held back at the exit is due where the field
 * has no BTF [SDM 3C "Checks on Guest Non-Register State"].
 */
static void a_debugctl_that_an_exit_did_not_save_is_judged_too(void **state)
{
    static const struct fake_set stepping[] = {
        { 0x4402, NVIRT_VMX_EXIT_CPUID }, { 0x6400, 0 },      { 0x4408, 0 }, { 0x440c, 2 },
        { 0x2802, 2 },                    { 0x6820, 0x302 },  { 0x4824, 1 }, { 0x6822, 0 },
    };
    struct world *w = *state;

    begin(w, true);
    WRITE12(w, EXIT_CONTROLS, READ12(w, EXIT_CONTROLS) & ~NVIRT_VMX_EXIT_CTL_SAVE_DEBUG);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    run_to(w, stepping, sizeof stepping / sizeof stepping[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(READ12(w, EXIT_REASON), 0x80000021);
}

/* A control of entries that L0 turns on under an L2 that runs counts at once, and later on. "IA-32e mode
 * guest" is L2's by then. */
static void an_entry_control_of_l0s_counts_while_l2_runs(void **state)
{
    const uint64_t counters = NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL;
    const struct fake_set left_long_mode[] = {
        { 0x4402, NVIRT_VMX_EXIT_OTHER_SMI }, { 0x4408, 0 }, { 0x440c, INSN_LENGTH }, { 0x2806, 0x100 },
        { 0x6800, 0x10031 }, { 0x4012, 0x11fb | NVIRT_VMX_ENTRY_CTL_LOAD_EFER } };
    struct world *w = *state;

    w->v->offer.entry &= ~(counters << 32);
    begin(w, true);
    SET1(w, GUEST_RIP, L1_RIP);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    run_to(w, left_long_mode, sizeof left_long_mode / sizeof left_long_mode[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    SET1(w, ENTRY_CONTROLS, GET1(w, ENTRY_CONTROLS) | counters);
    SET1(w, GUEST_PERF_GLOBAL, 3);
    prepare(w);
    assert_true((HW(w, ENTRY_CONTROLS) & counters) != 0);
    assert_true((HW(w, ENTRY_CONTROLS) & NVIRT_VMX_ENTRY_CTL_IA32E) == 0);
    assert_true(HW(w, GUEST_PERF_GLOBAL) == 3);
}

/* The timer has its work at each entry: no switch is plain (vmx_switch.c) with it. */
static int setup_timer(void **state)
{
    int result = setup(state);

    ((struct world *)*state)->with_timer = true;
    return result;
}

#define TEST_TIMER(test) cmocka_unit_test_setup_teardown(test, setup_timer, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_TIMER(each_bit_of_vmcs12_takes_effect),
        TEST_TIMER(what_comes_from_l0_and_l1_takes_effect),
        TEST(each_bit_of_vmcs12_takes_effect),
        TEST(each_bit_takes_effect_without_ept),
        TEST(each_bit_takes_effect_beside_an_event),
        TEST(what_comes_from_l0_and_l1_takes_effect),
        TEST(what_an_exit_did_not_save_is_judged_beside_the_rest),
        TEST(a_debugctl_that_an_exit_did_not_save_is_judged_too),
        TEST(an_entry_control_of_l0s_counts_while_l2_runs),
        TEST(what_l2_leaves_behind_is_what_l1_reads),
        TEST(what_l2_leaves_behind_reaches_the_region),
        TEST(l1_takes_turns_among_its_vmcss),
        TEST(a_vmcs_that_is_not_current_keeps_its_contents),
        TEST(active_vmcss_are_written_back_in_time),
        TEST(a_refused_entry_loses_nothing_that_vmcs02_had),
        TEST(an_unchanged_round_trip_costs_its_minimum),
        TEST_SHADOWED(each_bit_of_vmcs12_takes_effect),
        TEST_SHADOWED(each_bit_takes_effect_without_ept),
        TEST_SHADOWED(each_bit_takes_effect_beside_an_event),
        TEST_SHADOWED(what_comes_from_l0_and_l1_takes_effect),
        TEST_SHADOWED(what_l2_leaves_behind_is_what_l1_reads),
        TEST_SHADOWED(what_l2_leaves_behind_reaches_the_region),
        TEST_SHADOWED(l1_takes_turns_among_its_vmcss),
        TEST_SHADOWED(a_vmcs_that_is_not_current_keeps_its_contents),
        TEST_SHADOWED(active_vmcss_are_written_back_in_time),
        TEST_SHADOWED(a_refused_entry_loses_nothing_that_vmcs02_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
