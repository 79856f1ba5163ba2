/* SPDX-License-Identifier: MIT */
/*
 * Plain switches between L1 and L2 (vmx_switch.c): each must come to what the general way comes to, and
 * what is out of the ordinary must take that way. Every scene is played three times from the same beginning:
 * with the short way open, without, and with all forgotten before each of L1's entries.
 */
#include "vmx_ways.h"

/* What hardware finds when L2 leaves, and then when L1 executes VMRESUME. */
struct scene {
    const char *name;
    struct fake_set of_l2[3];
    struct fake_set of_l1;
    bool leaves; /* The short way serves the exit, */
    bool enters; /* and the entry after it. */
    void (*between)(struct world *w); /* What happens while L1 runs, */
    void (*change)(struct world *w);  /* controls of L1's that differ, */
    void (*during)(struct world *w);  /* and what the host does before that exit. */
    enum nvirt_vmcs_field read;       /* L1 reads this after it; the first field: any will do. */
    uint32_t reason;                  /* Of the exit; 0: CPUID. */
    struct fake_set back;             /* What hardware finds when L2 leaves once more. */
};

static void host_writes_a_control(struct world *w)
{
    SET1(w, TSC_OFFSET, 0x1234);
    (void)READ12(w, GUEST_RIP);
}

static void memory_moves(struct world *w)
{
    w->port->sequence += 2;
}

static void l1_injects(struct world *w)
{
    WRITE12(w, ENTRY_INTERRUPTION, 0x80000b0d);
}

static void l1_moves_on(struct world *w)
{
    WRITE12(w, GUEST_RIP, L2_RIP + 2);
    WRITE12(w, GUEST_RFLAGS, 0x246);
}

static void l1_sets_v86(struct world *w)
{
    WRITE12(w, GUEST_RFLAGS, 0x20002);
}

static void l1_changes_its_host_state(struct world *w)
{
    WRITE12(w, HOST_RIP, L1_EXIT_RIP + 0x100);
}

/* Their place in the cache went to other tables, and they came back to it. */
static void tables_are_others(struct world *w)
{
    w->v->now->memo.root->serial++;
}

static void with_functions(struct world *w)
{
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID |
                                   NVIRT_VMX_PROC2_VMFUNC;
    w->v->vmcs12.vpid = 3;
    w->v->vmcs12.eptp = EPT12_TOP | 0x1e;
    w->v->vmcs12.vmfunc_controls = NVIRT_VMX_VMFUNC_EPTP_SWITCHING;
    w->v->vmcs12.eptp_list = EPTP_LIST;
}

static void pat_is_not_saved(struct world *w)
{
    w->v->vmcs12.exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_SAVE_PAT;
}

static void efer_is_not_saved(struct world *w)
{
    w->v->vmcs12.exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_SAVE_EFER;
}

static void l1_opens_a_window(struct world *w)
{
    WRITE12(w, PROC_CONTROLS, READ12(w, PROC_CONTROLS) | NVIRT_VMX_PROC_INTERRUPT_WINDOW);
}

static void l1_changes_efer(struct world *w)
{
    WRITE12(w, GUEST_EFER, 0x501);
}

/* L1's CR4 keeps what the host has there, whatever L1's host state says. */
static void the_host_takes_tsd(struct world *w)
{
    SET1(w, GUEST_CR4, GET1(w, GUEST_CR4) | NVIRT_BIT(2));
    SET1(w, CR4_MASK, GET1(w, CR4_MASK) | NVIRT_BIT(2));
}

static void efer_is_neither_loaded_nor_saved(struct world *w)
{
    efer_is_not_saved(w);
    w->v->vmcs12.entry_controls &= ~(uint64_t)NVIRT_VMX_ENTRY_CTL_LOAD_EFER;
}

static void with_virtual_interrupts(struct world *w)
{
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    w->v->vmcs12.virtual_apic_addr = BITMAP_A;
    w->v->vmcs12.guest_interrupt_status = 0x2131;
}

static void with_virtual_interrupts_and_a_list(struct world *w)
{
    with_virtual_interrupts(w);
    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
    fake_vm_put64(w->port, MSR_LIST, NVIRT_MSR_LSTAR);
    fake_vm_put64(w->port, MSR_LIST + 8, 0);
    w->v->vmcs12.entry_msr_load_addr = MSR_LIST;
    w->v->vmcs12.entry_msr_load_count = 1;
}

#define END { 0, 0 }
static const struct scene scenes[] = {
    { "nothing changed", { END }, END, true, true, .reason = 0 },
    { "L2 moved on", { { 0x681e, 0x9100 }, { RFLAGS, 0x246 }, { 0x681c, 0xb000 } }, END, true,
      true, .reason = 0 },
    { "L1 moved L2 on", { END }, END, true, true, .between = l1_moves_on },
    { "NMIs are blocked in L2", { { BLOCKING, 8 } }, END, false, false, .reason = 0 },
    { "L2 left after STI", { { BLOCKING, 1 }, { RFLAGS, 0x202 } }, END, true, false, .reason = 0 },
    { "L2 left with a debug exception", { { PENDING_DEBUG, 1 } }, END, true, false, .reason = 0 },
    { "CR0 of L2", { { CR0, 0x80010033 } }, END, false, false, .reason = 0 },
    { "CR0.CD of L2", { { CR0, 0xc0010031 } }, END, false, false, .reason = 0 },
    { "CR4 of L2", { { CR4, 0x20a0 } }, END, true, false, .reason = 0 },
    { "EFER of L2", { { EFER, 0x501 } }, END, false, false, .reason = 0 },
    { "L2 in PAE paging", { { EFER, 0 }, { CR4, 0x2020 } }, END, false, false, .reason = 0 },
    { "CPL 3 of L1", { END }, { SS_AR, 0xc0f3 }, true, false, .reason = 0 },
    { "L1 after MOV SS", { END }, { BLOCKING, 2 }, true, false, .reason = 0 },
    { "CR0.CD of L1", { END }, { CR0, 0xc0010031 }, true, false, .reason = 0 },
    { "EFER of L1", { END }, { EFER, 0x501 }, true, false, .reason = 0 },
    { "a control of the host's", { END }, END, true, false, .between = host_writes_a_control },
    { "memory of L1", { END }, END, true, false, .between = memory_moves },
    { "an event of L1's", { END }, END, true, false, .between = l1_injects },
    { "virtual-8086 mode", { END }, END, true, false, .between = l1_sets_v86 },
    { "host state of L1", { END }, END, true, false, .between = l1_changes_its_host_state },
    { "L2's tables", { END }, END, true, false, .between = tables_are_others },
    { "PAT of L2", { { PAT, 0x0606060606060606 } }, END, true, true, .reason = 0 },
    { "PAT of L2, not saved", { { PAT, 0x0606060606060606 } }, END, true, true,
      .change = pat_is_not_saved },
    { "PAT of L2, not saved, read", { { PAT, 0x0606060606060606 } }, END, true, true,
      .change = pat_is_not_saved, .read = NVIRT_VMCS_GUEST_PAT },
    { "EFER is not saved", { END }, END, true, true, .change = efer_is_not_saved },
    { "EFER of L2, not saved", { { EFER, 0x501 } }, END, false, false,
      .change = efer_is_not_saved },
    { "EFER of L2, neither loaded nor saved", { { EFER, 0x501 } }, END, false, false,
      .change = efer_is_neither_loaded_nor_saved },
    { "EFER of L2, from L1 and back", { END }, END, true, false, .between = l1_changes_efer,
      .back = { EFER, 0x500 } },
    { "CR0.TS of L1", { END }, { CR0, 0x80010039 }, true, false, .reason = 0 },
    { "an interrupt window of L1's", { END }, END, true, false, .between = l1_opens_a_window },
    { "a CR4 bit of the host's", { END }, END, false, false,
      .during = the_host_takes_tsd },
    { "a CR4 bit of the host's, HLT", { END }, END, false, false,
      .during = the_host_takes_tsd, .reason = NVIRT_VMX_EXIT_HLT },
    { "VMFUNC", { END }, END, true, false, .change = with_functions,
      .during = l2_changes_its_tables },
    { "virtual interrupts", { { STATUS, 0x5141 } }, END, false, false,
      .change = with_virtual_interrupts },
    { "virtual interrupts by L1", { { STATUS, 0x5141 } }, END, false, false,
      .change = with_virtual_interrupts, .between = l1_raises_an_interrupt,
      .back = { STATUS, 0x6141 } },
    { "virtual interrupts, all else by L1", { { STATUS, 0x5141 } }, END, false, false,
      .change = with_virtual_interrupts, .between = l1_writes_all_else },
    { "virtual interrupts and a list", { { STATUS, 0x5141 } }, END, false, false,
      .change = with_virtual_interrupts_and_a_list },
    { "HLT", { END }, END, true, true, .reason = NVIRT_VMX_EXIT_HLT },
};
#define SCENES (sizeof scenes / sizeof scenes[0])

struct result {
    struct nvirt_vmcs vmcs01, vmcs02, vmcs12, back01;
    struct nvi_pending pending;
    uint32_t level[2];
    uint32_t verdict[2];
    bool barrier;
    bool launched;
    uint64_t read;
    uint64_t entries;
};

/* An L2 that left and was entered again before, so that both memos are there. */
static void begin_with(struct world *w, void (*change)(struct world *w))
{
    fill_vmcs12(w);
    if (change != NULL)
        change(w);
    SET1(w, TSC_OFFSET, 0);
    SET1(w, GUEST_CR0, 0x80010031);
    SET1(w, GUEST_EFER, 0x500);
    SET1(w, GUEST_SS_AR, 0xc093);
    SET1(w, GUEST_INTERRUPTIBILITY, 0);
    SET1(w, GUEST_RFLAGS, 2);
    w->v->vmx.launched = false;
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12_B); /* L1 is steady or not as ever. */
    leave(w, NVIRT_VMX_EXIT_VMLAUNCH, NULL, 0, true);
    for (uint32_t i = 0; i < 2; i++) {
        leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    }
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void begin(struct world *w)
{
    begin_with(w, NULL);
}

static void expect_way(const struct world *w, const struct scene *scene, enum way way, bool expected,
                       const char *what)
{
    if (way == PLAIN && w->v->switched != expected)
        fail_msg("%s: the %s takes the %s way", scene->name, what, expected ? "general" : "short");
}

static void play(struct world *w, const struct scene *scene, enum way way, struct result *r)
{
    memset(r, 0, sizeof *r);
    SET1(w, CR4_MASK, nvirt_vmx_cr4_owned(w->v));
    SET1(w, GUEST_CR4, 0x2020);
    begin_with(w, scene->change);
    r->entries -= w->v->stats.nested_entries;
    if (scene->during != NULL) {
        leave_by(w, NVIRT_VMX_EXIT_WBINVD, NULL, 0, way); /* The host's: L2 has been entered. */
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        scene->during(w);
    }
    leave_by(w, scene->reason != 0 ? scene->reason : NVIRT_VMX_EXIT_CPUID, scene->of_l2, 3, way);
    expect_way(w, scene, way, scene->leaves, "exit");
    r->level[0] = nvirt_vmx_level(w->v);
    r->verdict[0] = (uint32_t)w->exit.verdict;
    r->barrier = w->exit.branch_barrier;
    prepare(w);
    view(w, VMCS01_HPA, &r->vmcs01);
    if (scene->read != 0)
        r->read = vmread12(w, scene->read);
    if (scene->between != NULL)
        scene->between(w);
    leave_by(w, NVIRT_VMX_EXIT_VMRESUME, &scene->of_l1, 1, way);
    expect_way(w, scene, way, scene->enters, "entry");
    r->level[1] = nvirt_vmx_level(w->v);
    r->verdict[1] = (uint32_t)w->exit.verdict;
    r->pending = w->v->pending;
    prepare(w);
    view(w, w->v->hw[NVI_02]->hpa.value, &r->vmcs02);
    /* Back to L1, where the next scene begins. */
    if (nvirt_vmx_level(w->v) == 2)
        leave_by(w, NVIRT_VMX_EXIT_CPUID, &scene->back, 1, way);
    r->entries += w->v->stats.nested_entries;
    prepare(w);
    view(w, VMCS01_HPA, &r->back01);
    nvi_vmcs12_settle(w->v, NULL);
    r->vmcs12 = w->v->vmcs12;
    r->launched = w->v->vmx.launched;
    memset(&w->v->pending, 0, sizeof w->v->pending);
}

static void expect_same(const char *scene, const struct result *a, const struct result *b)
{
    for (uint32_t f = 0; f < NVIRT_VMCS_FIELD_COUNT; f++)
        if (a->vmcs01.field[f] != b->vmcs01.field[f] || a->vmcs02.field[f] != b->vmcs02.field[f] ||
            a->vmcs12.field[f] != b->vmcs12.field[f] || a->back01.field[f] != b->back01.field[f])
            fail_msg("%s: the ways differ in %s", scene,
                     nvirt_vmcs_field_name((enum nvirt_vmcs_field)f));
    if (memcmp(a, b, sizeof *a) != 0)
        fail_msg("%s: the ways differ", scene);
}

static void a_plain_switch_comes_to_what_the_general_way_comes_to(void **state)
{
    struct world *w = *state;
    struct result *by = calloc(WAYS, sizeof *by);

    ready_to_launch(w);
    for (size_t i = 0; i < SCENES; i++) {
        for (enum way way = ANEW; way < WAYS; way++)
            play(w, &scenes[i], way, &by[way]);
        expect_same(scenes[i].name, &by[GENERAL], &by[ANEW]);
        expect_same(scenes[i].name, &by[PLAIN], &by[GENERAL]);
    }
    free(by);
}

/* ---- what asks for work at every switch ---- */

static void one_msr(struct world *w, uint64_t *address, uint64_t *count)
{
    fake_vm_msr_set(w->port, NVIRT_MSR_LSTAR, 0, false);
    fake_vm_put32(w->port, MSR_LIST, NVIRT_MSR_LSTAR);
    fake_vm_put32(w->port, MSR_LIST + 4, 0);
    fake_vm_put64(w->port, MSR_LIST + 8, 0);
    *address = MSR_LIST;
    *count = 1;
}

static void with_timer(struct world *w)
{
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_PREEMPTION_TIMER;
    w->v->vmcs12.guest_preemption_timer = 0xffffffff;
}

static void with_msr_bitmap(struct world *w)
{
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS;
    w->v->vmcs12.msr_bitmap = MSR_BITMAP12;
}

static void with_tpr_shadow(struct world *w)
{
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
    w->v->vmcs12.virtual_apic_addr = BITMAP_A;
}

static void with_encls_bitmap(struct world *w)
{
    w->v->vmcs12.proc_controls |= NVIRT_VMX_PROC_SECONDARY;
    w->v->vmcs12.proc2_controls |= NVIRT_VMX_PROC2_ENCLS;
}

static void without_saving_debug_registers(struct world *w)
{
    w->v->vmcs12.exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_SAVE_DEBUG;
}

static void without_loading_pat(struct world *w)
{
    w->v->vmcs12.exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_LOAD_PAT;
}

static void without_entry_pat(struct world *w)
{
    w->v->vmcs12.entry_controls &= ~(uint64_t)NVIRT_VMX_ENTRY_CTL_LOAD_PAT;
}

static void with_msr_store(struct world *w)
{
    one_msr(w, &w->v->vmcs12.exit_msr_store_addr, &w->v->vmcs12.exit_msr_store_count);
}

static void with_msr_load(struct world *w)
{
    one_msr(w, &w->v->vmcs12.exit_msr_load_addr, &w->v->vmcs12.exit_msr_load_count);
}

static void with_entry_msr_load(struct world *w)
{
    one_msr(w, &w->v->vmcs12.entry_msr_load_addr, &w->v->vmcs12.entry_msr_load_count);
}

static void with_a_link(struct world *w)
{
    w->v->vmcs12.vmcs_link = VMCS12_B;
}

static void in_pae_paging(struct world *w)
{
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.entry_controls &= ~(uint64_t)NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.guest_cs_ar = 0xc09b;
}

static void host_owns_cr0_ts(struct world *w)
{
    SET1(w, CR0_MASK, GET1(w, CR0_MASK) | NVIRT_CR0_TS);
}

static void host_owns_cr4_tsd(struct world *w)
{
    SET1(w, CR4_MASK, GET1(w, CR4_MASK) | NVIRT_BIT(2));
}

static void host_has_the_timer(struct world *w)
{
    w->v->offer.pin &= ~((uint64_t)NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
    SET1(w, PIN_CONTROLS, GET1(w, PIN_CONTROLS) | NVIRT_VMX_PIN_PREEMPTION_TIMER);
    SET1(w, GUEST_PREEMPTION_TIMER, 0xffffffff);
}

static void host_has_the_counters(struct world *w)
{
    w->v->offer.entry &= ~((uint64_t)NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL << 32);
    SET1(w, ENTRY_CONTROLS, GET1(w, ENTRY_CONTROLS) | NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL);
}

static const struct {
    const char *name;
    void (*ask)(struct world *w);
} askers[] = {
    { "preemption timer", with_timer },
    { "TPR shadow", with_tpr_shadow },
    { "ENCLS exiting", with_encls_bitmap },
    { "debug registers are not saved", without_saving_debug_registers },
    { "PAT is not loaded at the exit", without_loading_pat },
    { "PAT is not loaded at the entry", without_entry_pat },
    { "MSR-store list", with_msr_store },
    { "MSR-load list", with_msr_load },
    { "MSR-load list at the entry", with_entry_msr_load },
    { "VMCS link pointer", with_a_link },
    { "PDPTEs", in_pae_paging },
    { "CR0 bit of the host's", host_owns_cr0_ts },
    { "CR4 bit of the host's", host_owns_cr4_tsd },
    { "preemption timer of the host's", host_has_the_timer },
    { "performance counters of the host's", host_has_the_counters },
};

/* [SDM 3C "VM Entries", "VM Exits"]: each of these is work that the short way does not know. */
static void what_asks_for_work_is_never_plain(void **state)
{
    for (size_t i = 0; i < sizeof askers / sizeof askers[0]; i++) {
        struct world *w;

        if (i != 0)
            assert_int_equal(setup(state), 0);
        w = *state;
        ready_to_launch(w);
        fill_vmcs12(w);
        askers[i].ask(w);
        leave(w, NVIRT_VMX_EXIT_VMLAUNCH, NULL, 0, true);
        for (uint32_t n = 0; n < 3; n++) {
            if (nvirt_vmx_level(w->v) != 2)
                fail_msg("%s: L2 is not entered", askers[i].name);
            if (w->v->switched)
                fail_msg("%s: entry %u is plain", askers[i].name, n);
            leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
            if (nvirt_vmx_level(w->v) != 1 || w->v->switched)
                fail_msg("%s: exit %u is plain", askers[i].name, n);
            leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        }
        if (i + 1 != sizeof askers / sizeof askers[0])
            (void)teardown(state);
    }
}

/* Between a plain exit and the prepare the host sees L1 as it is, and may change it. */
static void the_host_finds_l1_at_its_exit_handler(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_true(w->v->switched);
    assert_true(GET1(w, GUEST_RIP) == L1_EXIT_RIP);
    assert_true(GET1(w, GUEST_RSP) == 0x6000);
    SET1(w, GUEST_RSP, 0x6008);
    prepare(w);
    assert_true(HW(w, GUEST_RIP) == L1_EXIT_RIP);
    assert_true(HW(w, GUEST_RSP) == 0x6008);
}

/* An event of the host's that comes then is delivered to L1. */
static void an_event_after_a_plain_exit_is_not_lost(void **state)
{
    const struct nvirt_event nmi = { .type = NVIRT_EVENT_NMI, .vector = 2 };
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_true(w->v->switched);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(HW(w, ENTRY_INTERRUPTION) == 0x80000202);
    assert_true(HW(w, GUEST_RIP) == L1_EXIT_RIP);
}

/* What was plain once is not for ever. */
static void a_control_turned_on_later_ends_plain_switches(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    WRITE12(w, GUEST_PREEMPTION_TIMER, 0xffffffff);
    WRITE12(w, PIN_CONTROLS, 0x16 | NVIRT_VMX_PIN_PREEMPTION_TIMER);
    for (uint32_t i = 0; i < 3; i++) {
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        assert_false(w->v->switched);
        leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
        assert_false(w->v->switched);
    }
}

static void in_32_bit_paging(struct world *w)
{
    w->v->vmcs12.guest_efer = 0;
    w->v->vmcs12.guest_cr4 = 0x2000;
    w->v->vmcs12.entry_controls &= ~(uint64_t)NVIRT_VMX_ENTRY_CTL_IA32E;
    w->v->vmcs12.guest_cs_ar = 0xc09b;
}

/* The rules about segments are others in virtual-8086 mode: who left in it is looked at whole, also
 * when L1 enters it in another mode. */
static void an_l2_that_left_in_virtual_8086_mode_is_checked(void **state)
{
    const struct fake_set v86 = { RFLAGS, 0x20002 };
    struct world *w = *state;

    ready_to_launch(w);
    begin_with(w, in_32_bit_paging);
    assert_true(w->v->switched);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_true(w->v->switched);
    leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    leave(w, NVIRT_VMX_EXIT_CPUID, &v86, 1, true);
    WRITE12(w, GUEST_RFLAGS, 2);
    leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    assert_false(w->v->switched);
}

static void with_nmi_exiting(struct world *w)
{
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI;
}

/* [SDM 3C "Updating Non-Register State"]: such an exit blocks NMIs in L1, and only such a one. */
static void an_nmi_of_l1s_blocks_nmis_there_once(void **state)
{
    const struct nvirt_event nmi = { .type = NVIRT_EVENT_NMI, .vector = 2 };
    struct world *w = *state;

    ready_to_launch(w);
    begin_with(w, with_nmi_exiting);
    leave(w, NVIRT_VMX_EXIT_WBINVD, NULL, 0, true); /* the host's: L2 has been entered */
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(HW(w, GUEST_INTERRUPTIBILITY) == NVIRT_VMX_BLOCK_NMI);
    leave(w, NVIRT_VMX_EXIT_VMRESUME, &(struct fake_set){ BLOCKING, 0 }, 1, true);
    for (uint32_t i = 0; i < 2; i++) {
        leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
        prepare(w);
        assert_true(HW(w, GUEST_INTERRUPTIBILITY) == 0);
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    }
}

/* Nor does it block them in an L1 that enters L2 within its handler: the entry unblocks, and the next exit is
 * none of that kind. */
static void an_entry_ends_the_blocking_of_an_nmi(void **state)
{
    const struct nvirt_event nmi = { .type = NVIRT_EVENT_NMI, .vector = 2 };
    struct world *w = *state;

    ready_to_launch(w);
    begin_with(w, with_nmi_exiting);
    leave(w, NVIRT_VMX_EXIT_WBINVD, NULL, 0, true);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &nmi), NVIRT_OK);
    prepare(w);
    assert_true(HW(w, GUEST_INTERRUPTIBILITY) == NVIRT_VMX_BLOCK_NMI);
    leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    prepare(w);
    assert_true(HW(w, GUEST_INTERRUPTIBILITY) == 0);
}

/* An interrupt that L2 could not take yet is L1's to take when L2 has left. */
static void an_event_that_waits_goes_to_l1(void **state)
{
    const struct nvirt_event interrupt = { .type = NVIRT_EVENT_INTERRUPT, .vector = 0x50 };
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    assert_int_equal(nvirt_vmx_inject(w->v, &w->cpu, &interrupt), NVIRT_OK);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_false(w->v->switched);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true((HW(w, PROC_CONTROLS) & NVIRT_VMX_PROC_INTERRUPT_WINDOW) != 0);
}

/* Reasons are 16 bits wide, a set of them 64: another is not taken for one of those in it. */
static void a_reason_beyond_the_set_is_not_plain(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    leave(w, 64 + NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L2);
}

/* What an exit does not save was L2's own with the rest of what it came to: judged each time. */
static void an_efer_that_is_not_saved_is_judged_each_time(void **state)
{
    const struct fake_set changed = { EFER, 0x501 };
    struct world *w = *state;

    ready_to_launch(w);
    begin_with(w, efer_is_not_saved);
    for (uint32_t i = 0; i < 3; i++) {
        leave(w, NVIRT_VMX_EXIT_CPUID, &changed, 1, true);
        assert_false(w->v->switched);
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        prepare(w);
        assert_true(HW(w, GUEST_EFER) == 0x500);
    }
}

/* The host closes an MSR after a plain entry, and before hardware is entered. */
static void a_bitmap_of_the_hosts_counts_after_a_plain_entry(void **state)
{
    struct world *w = *state;
    const uint8_t *bitmap02 = nvirt_port_page_pointer(w->port, w->v->msr_bitmap02);
    uint8_t *bitmap01 = w->msr_bitmap;

    for (uint64_t i = 0; i < 4096; i += 8)
        fake_vm_put64(w->port, MSR_BITMAP12 + i, 0);
    nvirt_vmx_msr_bitmap_require(bitmap01);
    bitmap01[0x174 / 8] = 0;
    ready_to_launch(w);
    begin_with(w, with_msr_bitmap);
    assert_true(w->v->switched);
    assert_true((bitmap02[0x174 / 8] >> 0x174 % 8 & 1) == 0);
    bitmap01[0x174 / 8] = 0xff;
    assert_int_equal(nvirt_vmx_msr_bitmap_changed(w->v), NVIRT_OK);
    prepare(w);
    assert_true((bitmap02[0x174 / 8] >> 0x174 % 8 & 1) != 0);
}

/* What hardware refuses in the prepare after a plain switch is told, and made up for at the next. */
static void a_refused_write_after_a_plain_switch_is_told(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    for (uint32_t i = 0; i < 2; i++) {
        leave(w, i == 0 ? NVIRT_VMX_EXIT_CPUID : NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        assert_true(w->v->switched);
        if (i == 1)
            NVI_SET02(w->v, GUEST_RSP, 0xd000); /* There is something to write. */
        w->cpu.fail_vmwrite = 1;
        assert_int_equal(nvirt_vmx_prepare(w->v, &w->cpu, &w->run), NVIRT_ERR_HARDWARE);
        assert_false(w->v->prepared);
        prepare(w);
        assert_int_equal(w->run.level, i + 1);
        if (i == 0)
            assert_true(HW(w, GUEST_RIP) == L1_EXIT_RIP);
    }
}

/* A host that steps through L1 is told of each instruction of its: none is completed past that. */
static void an_l1_under_the_hosts_trap_flag_is_not_steady(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    SET1(w, PROC_CONTROLS, GET1(w, PROC_CONTROLS) | NVIRT_VMX_PROC_MTF);
    begin(w);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_true(w->v->switched);
    prepare(w);
    assert_false(w->v->steady);
}

/* A VMREAD of an entry that hardware refuses is told to the host: L2 is not entered by halves. */
static void a_refused_read_is_told(void **state)
{
    static const struct fake_set set[] = { { 0x4402, NVIRT_VMX_EXIT_VMRESUME }, { 0x6400, 0 },
                                           { 0x4408, 0 }, { 0x440c, INSN_LENGTH } };
    struct world *w = *state;

    ready_to_launch(w);
    for (uint32_t n = 1; n <= 5; n++) {
        begin(w);
        leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
        prepare(w);
        assert_true(w->v->steady);
        assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, set, 4), NVIRT_HW_OK);
        w->cpu.fail_vmread = n;
        assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_HARDWARE);
        assert_int_equal(w->cpu.fail_vmread, 0);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        assert_false(w->v->switched);
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    }
}

static void exits_on_nmis(struct world *w)
{
    w->v->vmcs12.pin_controls |= NVIRT_VMX_PIN_NMI;
}

/* [SDM 3C "Changes to Instruction Behavior in VMX Non-Root Operation"]: an IRET of L2's unblocks none of the NMIs
 * that an L1 without "virtual NMIs" blocked; it is vmcs02's blocking that ends. */
static void nmis_that_l1_blocked_are_no_plain_matter(void **state)
{
    const struct fake_set unblocked[] = { { BLOCKING, 0 } };
    struct world *w = *state;

    ready_to_launch(w);
    begin_with(w, exits_on_nmis);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_true(w->v->switched);
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t blocked = i % 2 != 0 ? NVIRT_VMX_BLOCK_NMI : 0;

        WRITE12(w, GUEST_INTERRUPTIBILITY, blocked);
        SET1(w, GUEST_INTERRUPTIBILITY, 0);
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        assert_int_equal(nvirt_vmx_level(w->v), 2);
        leave(w, NVIRT_VMX_EXIT_CPUID, unblocked, 1, true);
        assert_true(i % 2 == 0 || !w->v->switched);
        assert_true(READ12(w, GUEST_INTERRUPTIBILITY) == blocked);
    }
}

/* Memory that the host moves between a plain entry of L1's and the prepare: pages are found where they are. */
static void a_move_before_the_prepare_counts(void **state)
{
    struct world *w = *state;
    uint64_t pins;

    with_io_bitmaps(w);
    vmlaunch(w);
    for (uint32_t i = 0; i < 2; i++) {
        exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
        exit_with(w, NVIRT_VMX_EXIT_VMRESUME, 0, 0);
    }
    assert_true(w->v->switched);
    pins = nvirt_vmx_stats(w->v)->pins;
    w->port->sequence += 2;
    prepare(w);
    assert_true(nvirt_vmx_stats(w->v)->pins == pins + 2);
}

/* The CPU changes between the two: VMLAUNCH there, of either VMCS. */
static void a_moved_vcpu_launches_anew(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    begin(w);
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    prepare(w);
    assert_true(w->run.launch);
    leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_plain_switch_comes_to_what_the_general_way_comes_to),
        TEST(what_asks_for_work_is_never_plain),
        TEST(the_host_finds_l1_at_its_exit_handler),
        TEST(an_event_after_a_plain_exit_is_not_lost),
        TEST(a_moved_vcpu_launches_anew),
        TEST(a_move_before_the_prepare_counts),
        TEST(nmis_that_l1_blocked_are_no_plain_matter),
        TEST(a_control_turned_on_later_ends_plain_switches),
        TEST(an_l2_that_left_in_virtual_8086_mode_is_checked),
        TEST(an_nmi_of_l1s_blocks_nmis_there_once),
        TEST(an_entry_ends_the_blocking_of_an_nmi),
        TEST(an_event_that_waits_goes_to_l1),
        TEST(a_reason_beyond_the_set_is_not_plain),
        TEST(an_efer_that_is_not_saved_is_judged_each_time),
        TEST(a_bitmap_of_the_hosts_counts_after_a_plain_entry),
        TEST(a_refused_write_after_a_plain_switch_is_told),
        TEST(an_l1_under_the_hosts_trap_flag_is_not_steady),
        TEST(a_refused_read_is_told),
        TEST_SHADOWED(a_plain_switch_comes_to_what_the_general_way_comes_to),
        TEST_SHADOWED(the_host_finds_l1_at_its_exit_handler),
        TEST_SHADOWED(an_event_after_a_plain_exit_is_not_lost),
        TEST_SHADOWED(a_moved_vcpu_launches_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
