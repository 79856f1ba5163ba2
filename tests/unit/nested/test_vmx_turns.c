/* SPDX-License-Identifier: MIT */
/*
 * An L1 that runs two L2s in turn: it makes the VMCS of the other current, enters it, and takes its exit.
 * What nvirt found out of the one is kept while the other runs; what the two share, or what changes
 * meanwhile, must be looked at all the same. Every scene is played three times from the same beginning, with
 * the short ways open, without, and with all forgotten before each of L1's instructions.
 */
#include "vmx_ways.h"

#define TURNS 6u
/* The turn before which something happens, where it does: A's, with two of each seen and two to come. */
#define EVENT 2u
#define MSR_BITMAP12_B UINT64_C(0x37000)
#define APIC_PAGE UINT64_C(0x39000)

static const uint64_t region_of[] = { VMCS12, VMCS12_B };

struct scene {
    const char *name;
    void (*both)(struct nvirt_vmcs *c);  /* Of both vmcs12s. */
    void (*second)(struct nvirt_vmcs *c); /* Of B's, which differs in this. */
    /* L1 has made the VMCS of the turn EVENT current, and not entered it yet. */
    void (*event)(struct world *w);
    void (*within)(struct world *w); /* And what L2 does in that turn before it leaves for L1. */
    struct fake_set of_l2_before; /* What hardware finds when that L2 leaves in its turn before, */
    struct fake_set of_l1; /* when L1 executes that VMRESUME, */
    struct fake_set of_l2; /* and when that L2 leaves. */
    uint32_t general;      /* Entries and exits that are not plain. */
};

#define ENTRY(turn) (1u << (turn))
#define EXIT(turn) (0x100u << (turn))
#define VMPTRLD(turn) (0x10000u << (turn))
#define EVERY_ENTRY 0x3fu
#define EVERY_EXIT 0x3f00u
/* Operands are found by another walk then. */
#define EVERY_VMPTRLD 0x3f0000u
#define EXITS_OF_B (EXIT(1) | EXIT(3) | EXIT(5))
#define ENTRIES_OF_B (ENTRY(1) | ENTRY(3) | ENTRY(5))

/* ---- what is the same of both ---- */

static void with_ept_and_vpid(struct nvirt_vmcs *c)
{
    c->proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TSC_OFFSET |
                        NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_IO_BITMAPS;
    c->proc2_controls |= NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID;
    c->vpid = 3;
    c->eptp = EPT12_TOP | 0x1e;
    c->msr_bitmap = MSR_BITMAP12;
    c->io_bitmap_a = BITMAP_A;
    c->io_bitmap_b = BITMAP_B;
    c->tsc_offset = 0x1000;
}

static void with_functions(struct nvirt_vmcs *c)
{
    with_ept_and_vpid(c);
    c->proc2_controls |= NVIRT_VMX_PROC2_VMFUNC;
    c->vmfunc_controls = NVIRT_VMX_VMFUNC_EPTP_SWITCHING;
    c->eptp_list = EPTP_LIST;
}

static void with_virtual_interrupts(struct nvirt_vmcs *c)
{
    c->proc_controls |= NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_TPR_SHADOW;
    c->pin_controls |= NVIRT_VMX_PIN_EXT_INT;
    c->proc2_controls |= NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    c->virtual_apic_addr = APIC_PAGE;
    c->guest_interrupt_status = 0x2131;
}

static void pat_is_not_saved(struct nvirt_vmcs *c)
{
    c->exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_SAVE_PAT;
}

/* ---- what B's has otherwise ---- */

#define DIFFERS(what, member, value)                                                               \
    static void what(struct nvirt_vmcs *c)                                                         \
    {                                                                                              \
        c->member = (value);                                                                       \
    }
DIFFERS(other_handler, host_rip, L1_EXIT_RIP + 0x100)
DIFFERS(other_stack, host_rsp, 0x6800)
DIFFERS(other_host_cr0, host_cr0, 0x80050031)
DIFFERS(other_host_cr3, host_cr3, L1_CR3 | 0x8)
DIFFERS(other_host_cr4, host_cr4, 0x20a0)
DIFFERS(other_host_efer, host_efer, 0xd01)
DIFFERS(other_host_pat, host_pat, 0x0606060606060606)
DIFFERS(other_host_cs, host_cs_selector, 0x20)
DIFFERS(other_host_ss, host_ss_selector, 0x28)
DIFFERS(no_host_ss, host_ss_selector, 0)
DIFFERS(other_host_fs, host_fs_base, 0x123000)
DIFFERS(other_host_gs, host_gs_base, 0x124000)
DIFFERS(other_host_tr, host_tr_base, 0x125000)
DIFFERS(other_host_gdtr, host_gdtr_base, 0x126000)
DIFFERS(other_host_idtr, host_idtr_base, 0x127000)
DIFFERS(other_host_sysenter_cs, host_sysenter_cs, 0x30)
DIFFERS(other_host_sysenter_esp, host_sysenter_esp, 0x128000)
DIFFERS(other_host_sysenter_eip, host_sysenter_eip, 0x129000)
DIFFERS(other_cr0, guest_cr0, 0x80050033)
DIFFERS(other_cr3, guest_cr3, 0x51000)
DIFFERS(other_cr4, guest_cr4, 0x20a0)
DIFFERS(other_efer, guest_efer, 0xd01)
DIFFERS(other_pat, guest_pat, 0x0606060606060606)
DIFFERS(other_dr7, guest_dr7, 0x401)
DIFFERS(other_debugctl, guest_debugctl, 2)
DIFFERS(other_flow, guest_rsp, 0xb000)
DIFFERS(other_rflags, guest_rflags, 0x246)
DIFFERS(halted, guest_activity, NVIRT_VMX_ACTIVITY_HLT)
DIFFERS(other_cr0_mask, cr0_mask, NVIRT_CR0_TS)
DIFFERS(other_cr0_shadow, cr0_shadow, NVIRT_CR0_TS)
DIFFERS(other_cr4_mask, cr4_mask, NVIRT_CR4_PAE)
DIFFERS(other_exceptions, exception_bitmap, 0x4000)
DIFFERS(other_tsc_offset, tsc_offset, 0x2000)
DIFFERS(other_vpid, vpid, 4)
DIFFERS(other_tables, eptp, EPT12_B | 0x1e)
DIFFERS(other_status, guest_interrupt_status, 0x4151)
DIFFERS(other_msr_bitmap, msr_bitmap, MSR_BITMAP12_B)
DIFFERS(other_ports, io_bitmap_a, MSR_BITMAP12_B)
#undef DIFFERS

static void without_vpid(struct nvirt_vmcs *c)
{
    c->proc2_controls &= ~(uint64_t)NVIRT_VMX_PROC2_VPID;
}

static void without_ept(struct nvirt_vmcs *c)
{
    c->proc2_controls &= ~(uint64_t)NVIRT_VMX_PROC2_EPT;
}

static void without_msr_bitmap(struct nvirt_vmcs *c)
{
    c->proc_controls &= ~(uint64_t)NVIRT_VMX_PROC_MSR_BITMAPS;
}

static void with_tpr_shadow(struct nvirt_vmcs *c)
{
    c->proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
    c->virtual_apic_addr = BITMAP_A;
}

static void efer_is_not_loaded(struct nvirt_vmcs *c)
{
    c->exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_LOAD_EFER;
}

static void debug_registers_are_not_saved(struct nvirt_vmcs *c)
{
    c->exit_controls &= ~(uint64_t)NVIRT_VMX_EXIT_CTL_SAVE_DEBUG;
}

/* ---- what happens ---- */

static void vmptrld_by(struct world *w, uint64_t region, enum way way);

static void the_host_writes_a_control(struct world *w)
{
    SET1(w, TSC_OFFSET, 0x1234);
}

static void the_host_writes_its_state(struct world *w)
{
    SET1(w, HOST_FS_BASE, 0x777000);
}

static void memory_moves(struct world *w)
{
    w->port->sequence += 2;
}

static void the_current_vmcs_is_forgotten(struct world *w)
{
    w->v->prepared = false;
    assert_int_equal(nvirt_vmx_forget_current(w->v), NVIRT_OK);
}

static void the_vcpu_leaves_the_cpu(struct world *w)
{
    assert_int_equal(nvirt_vmx_leave_cpu(w->v, &w->cpu), NVIRT_OK);
}

/* L1 changes the VMCS of the other L2, whose turn is next, and comes back. */
#define OF_OTHER(what, NAME, value)                                                                \
    static void what(struct world *w)                                                              \
    {                                                                                              \
        vmptrld_by(w, VMCS12_B, PLAIN);                                                        \
        WRITE12(w, NAME, (value));                                                                 \
        vmptrld_by(w, VMCS12, PLAIN);                                                          \
    }
OF_OTHER(the_others_handler_changes, HOST_RIP, L1_EXIT_RIP + 0x200)
OF_OTHER(the_others_mask_changes, CR0_MASK, NVIRT_CR0_TS)
OF_OTHER(the_others_rip_changes, GUEST_RIP, L2_RIP + 0x30)
OF_OTHER(the_others_segments_change, GUEST_FS_BASE, 0x5000)
OF_OTHER(the_other_gets_an_event, ENTRY_INTERRUPTION, 0x80000b0d)
OF_OTHER(the_others_status_changes, GUEST_INTERRUPT_STATUS, 0x7171)
#undef OF_OTHER

static void this_handler_changes(struct world *w)
{
    WRITE12(w, HOST_RIP, L1_EXIT_RIP + 0x200);
}

static void the_others_tables_are_replaced(struct world *w)
{
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++)
        if (w->v->pair[i].region == VMCS12_B)
            w->v->pair[i].memo.root->serial++;
}

/* All MSRs of the list may pass, in the bitmaps of both levels. */
static void msrs_are_let_through(struct world *w)
{
    for (uint64_t i = 0; i < 4096; i += 8)
        fake_vm_put64(w->port, MSR_BITMAP12 + i, 0);
}

static void the_other_is_cleared_and_launched(struct world *w)
{
    struct nvirt_vmcs filled = w->v->vmcs12;

    load_vmcs12(w, VMCS12_B);
    fill_vmcs12(w);
    filled = w->v->vmcs12;
    filled.host_rip = L1_EXIT_RIP + 0x300;
    w->v->vmcs12 = filled;
    leave(w, NVIRT_VMX_EXIT_VMLAUNCH, NULL, 0, true);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    vmptrld_by(w, VMCS12, PLAIN);
}

static void tables_are_invalidated(struct world *w)
{
    w->gprs.r[NVIRT_RAX] = 2;
    fake_vm_put64(w->port, OPERAND, 0);
    fake_vm_put64(w->port, OPERAND + 8, 0);
    l1_insn(w, NVIRT_VMX_EXIT_INVEPT, INFO_PLAIN | INFO_REG2(NVIRT_RAX));
}

static const struct scene scenes[] = {
    { .name = "nothing differs" },
    { .name = "two with tables and tags", .both = with_ept_and_vpid },
    /* Host state: in the block that each exit writes, */
    { .name = "RIP of L1", .second = other_handler },
    { .name = "RSP of L1", .second = other_stack },
    { .name = "CR3 of L1", .second = other_host_cr3, .general = EVERY_VMPTRLD },
    { .name = "PAT of L1", .second = other_host_pat },
    { .name = "CS of L1", .second = other_host_cs },
    { .name = "SS of L1", .second = other_host_ss },
    { .name = "FS of L1", .second = other_host_fs },
    { .name = "GS of L1", .second = other_host_gs },
    { .name = "TR of L1", .second = other_host_tr },
    { .name = "GDTR of L1", .second = other_host_gdtr },
    { .name = "IDTR of L1", .second = other_host_idtr },
    { .name = "SYSENTER CS of L1", .second = other_host_sysenter_cs },
    { .name = "SYSENTER ESP of L1", .second = other_host_sysenter_esp },
    { .name = "SYSENTER EIP of L1", .second = other_host_sysenter_eip },
    /* or among what vmcs01 has as a rule, and then has not. */
    { .name = "CR0 of L1", .second = other_host_cr0, .general = EVERY_EXIT },
    { .name = "EFER of L1", .second = other_host_efer,
      .general = EVERY_EXIT | EVERY_VMPTRLD },
    { .name = "CR4 of L1", .second = other_host_cr4,
      .general = EVERY_EXIT | EVERY_VMPTRLD },
    { .name = "SS of L1, null", .second = no_host_ss, .general = EVERY_EXIT },
    /* L2's state. */
    { .name = "CR0", .second = other_cr0 },
    { .name = "CR3", .second = other_cr3 },
    { .name = "CR4", .second = other_cr4 },
    { .name = "EFER", .second = other_efer },
    { .name = "PAT", .second = other_pat },
    { .name = "PAT, not saved", .both = pat_is_not_saved, .second = other_pat },
    { .name = "DR7", .second = other_dr7 },
    { .name = "DEBUGCTL", .second = other_debugctl },
    { .name = "RSP", .second = other_flow },
    { .name = "RFLAGS", .second = other_rflags },
    { .name = "HLT", .second = halted, .general = ENTRIES_OF_B },
    /* Controls, all else shared. */
    { .name = "CR0 mask", .second = other_cr0_mask },
    { .name = "CR0 shadow", .both = other_cr0_mask, .second = other_cr0_shadow },
    { .name = "CR4 mask", .second = other_cr4_mask },
    { .name = "exception bitmap", .second = other_exceptions },
    { .name = "TSC offset", .both = with_ept_and_vpid, .second = other_tsc_offset },
    { .name = "VPID", .both = with_ept_and_vpid, .second = other_vpid },
    { .name = "no VPID", .both = with_ept_and_vpid, .second = without_vpid },
    { .name = "EPTP", .both = with_ept_and_vpid, .second = other_tables },
    { .name = "no EPT", .both = with_ept_and_vpid, .second = without_ept },
    { .name = "MSR bitmap", .both = with_ept_and_vpid, .second = other_msr_bitmap },
    { .name = "no MSR bitmap", .both = with_ept_and_vpid, .second = without_msr_bitmap },
    { .name = "I/O bitmap", .both = with_ept_and_vpid, .second = other_ports },
    { .name = "EFER of L1 is not loaded", .second = efer_is_not_loaded },
    { .name = "TPR shadow", .second = with_tpr_shadow, .general = EXITS_OF_B | ENTRIES_OF_B },
    { .name = "debug registers are not saved", .second = debug_registers_are_not_saved,
      .general = EXITS_OF_B | ENTRIES_OF_B },
    /* What ends what is known: of the one that is entered next, and of the other. */
    { .name = "a control of the host's", .event = the_host_writes_a_control,
      .general = ENTRY(2) | ENTRY(3) | EXIT(2) | EXIT(3) },
    { .name = "the host's state", .event = the_host_writes_its_state,
      .general = ENTRY(2) | ENTRY(3) | EXIT(2) | EXIT(3) },
    { .name = "memory of L1", .both = with_ept_and_vpid, .event = memory_moves,
      .general = ENTRY(2) | ENTRY(3) | EXIT(2) | EXIT(3) },
    { .name = "the host used VMCSs", .event = the_current_vmcs_is_forgotten },
    { .name = "another CPU", .event = the_vcpu_leaves_the_cpu, .general = ENTRY(2) },
    { .name = "RIP of L1 in this VMCS", .event = this_handler_changes,
      .general = ENTRY(2) | EXIT(2) },
    { .name = "RIP of L1 in the other VMCS", .event = the_others_handler_changes,
      .general = ENTRY(3) | EXIT(3) },
    { .name = "CR0 mask in the other VMCS", .event = the_others_mask_changes,
      .general = ENTRY(3) | EXIT(3) },
    { .name = "RIP in the other VMCS", .event = the_others_rip_changes },
    { .name = "FS in the other VMCS", .event = the_others_segments_change, .general = ENTRY(3) },
    { .name = "an event in the other VMCS", .event = the_other_gets_an_event, .general = ENTRY(3) },
    { .name = "the other's tables", .both = with_ept_and_vpid, .second = other_tables,
      .event = the_others_tables_are_replaced, .general = ENTRY(3) },
    { .name = "contents of the MSR bitmap", .both = with_ept_and_vpid,
      .event = msrs_are_let_through },
    { .name = "the other is another one", .event = the_other_is_cleared_and_launched },
    { .name = "INVEPT", .both = with_ept_and_vpid, .event = tables_are_invalidated },
    { .name = "CR0.CD of L1", .of_l1 = { CR0, 0xc0010031 },
      .general = ENTRY(2) | EXIT(2) | ENTRY(3) | EXIT(3) | ENTRY(4) | ENTRY(5) },
    { .name = "EFER of L1 changes", .of_l1 = { EFER, 0x501 },
      .general = ENTRY(2) | EXIT(2) | ENTRY(4) },
    /* Of the exception that it raised there is a trace in vmcs01. */
    { .name = "CPL 3 of L1", .of_l1 = { SS_AR, 0xc0f3 },
      .general = ENTRY(2) | VMPTRLD(3) | EXIT(3) },
    { .name = "CR0.CD of L2 changes", .of_l2 = { CR0, 0xc0010031 },
      .general = EXIT(2) | ENTRY(3) | EXIT(3) | ENTRY(4) | ENTRY(5) },
    { .name = "NMIs are blocked in L2", .of_l2 = { BLOCKING, 8 },
      .general = EXIT(2) | EXIT(3) | ENTRY(4) | EXIT(4) | EXIT(5) },
    { .name = "VMFUNC", .both = with_functions, .within = l2_changes_its_tables, .general = ENTRY(4) },
    { .name = "VMFUNC to the other's tables", .both = with_functions, .second = other_tables,
      .within = l2_changes_its_tables, .general = ENTRY(4) },
    /* Never plain, but looked at in parts. */
    { .name = "virtual interrupts", .both = with_virtual_interrupts, .second = other_status,
      .general = EVERY_ENTRY | EVERY_EXIT },
    { .name = "virtual interrupts of L2 change", .both = with_virtual_interrupts,
      .of_l2 = { STATUS, 0x5141 }, .general = EVERY_ENTRY | EVERY_EXIT },
    { .name = "virtual interrupts by L1", .both = with_virtual_interrupts,
      .event = l1_raises_an_interrupt, .general = EVERY_ENTRY | EVERY_EXIT },
    { .name = "virtual interrupts, all else by L1", .both = with_virtual_interrupts,
      .of_l2_before = { STATUS, 0x5141 }, .event = l1_writes_all_else,
      .general = EVERY_ENTRY | EVERY_EXIT },
    { .name = "virtual interrupts by L1, for the other", .both = with_virtual_interrupts,
      .event = the_others_status_changes, .of_l2 = { STATUS, 0x5141 },
      .general = EVERY_ENTRY | EVERY_EXIT },
    { .name = "an event is pending in L2", .of_l2 = { PENDING_DEBUG, 1 }, .general = ENTRY(4) },
};
#define SCENES (sizeof scenes / sizeof scenes[0])

/* What a turn came to: what hardware is given for L2 and then for L1, and what L1 sees. */
struct turn {
    struct nvirt_vmcs vmcs02, vmcs01;
    uint8_t msr_bitmap[4096];
    uint64_t rip, rflags, reason;
    uint32_t level;
};

struct result {
    struct turn turn[TURNS];
    struct nvirt_vmcs vmcs12[2];
    uint32_t general; /* Which entries and exits were not plain. */
};

static void vmptrld_by(struct world *w, uint64_t region, enum way way)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_VMPTRLD }, { 0x6400, OPERAND }, { 0x440c, INSN_LENGTH },
        { 0x440e, INFO_PLAIN }, { 0x4408, 0 },
    };

    fake_vm_put64(w->port, OPERAND, region);
    if (way == ANEW) {
        w->v->steady = false;
        nvi_vmx_forget_caches(w->v);
    }
    prepare(w);
    if (way != PLAIN)
        w->v->steady = false;
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, set, 5), NVIRT_HW_OK);
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_OK);
    assert_true(w->v->vmx.current == region);
}

static void launch_one(struct world *w, const struct scene *scene, uint32_t i)
{
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, region_of[i]);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, region_of[i]);
    fill_vmcs12(w);
    w->v->vmcs12.guest_rip = L2_RIP + 0x1000 * i;
    if (scene->both != NULL)
        scene->both(&w->v->vmcs12);
    if (scene->second != NULL && i == 1)
        scene->second(&w->v->vmcs12);
    leave(w, NVIRT_VMX_EXIT_VMLAUNCH, NULL, 0, true);
    if (nvirt_vmx_level(w->v) != 2)
        fail_msg("%s: L2 is not entered", scene->name);
    leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
}

static void begin(struct world *w, const struct scene *scene)
{
    for (uint64_t i = 0; i < 4096; i += 8) {
        fake_vm_put64(w->port, MSR_BITMAP12 + i, UINT64_MAX);
        fake_vm_put64(w->port, MSR_BITMAP12_B + i, 0);
    }
    SET1(w, TSC_OFFSET, 0);
    SET1(w, HOST_FS_BASE, 0);
    SET1(w, GUEST_CR0, 0x80010031);
    SET1(w, GUEST_EFER, 0x500);
    SET1(w, GUEST_SS_AR, 0xc093);
    SET1(w, GUEST_INTERRUPTIBILITY, 0);
    SET1(w, GUEST_RFLAGS, 2);
    launch_one(w, scene, 0);
    launch_one(w, scene, 1);
    for (uint32_t i = 0; i < 2 * TURNS; i++) {
        vmptrld_by(w, region_of[i % 2], PLAIN);
        leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
        leave(w, NVIRT_VMX_EXIT_CPUID, NULL, 0, true);
    }
}

static void take_turn(struct world *w, const struct scene *scene, uint32_t i, enum way way,
                      struct result *r)
{
    struct turn *turn = &r->turn[i];
    bool now = i == EVENT;

    vmptrld_by(w, region_of[i % 2], way);
    r->general |= w->v->steady ? 0 : VMPTRLD(i);
    turn->rip = READ12(w, GUEST_RIP);
    turn->rflags = READ12(w, GUEST_RFLAGS);
    turn->reason = READ12(w, EXIT_REASON);
    if (now && scene->event != NULL)
        scene->event(w);
    leave_by(w, NVIRT_VMX_EXIT_VMRESUME, &scene->of_l1, now ? 1 : 0, way);
    r->general |= w->v->switched ? 0 : ENTRY(i);
    turn->level = nvirt_vmx_level(w->v);
    prepare(w);
    view(w, w->v->now->hw.hpa.value, &turn->vmcs02);
    memcpy(turn->msr_bitmap, nvirt_port_page_pointer(w->port, w->v->msr_bitmap02), 4096);
    if (turn->level == 2) {
        if (now && scene->within != NULL)
            scene->within(w);
        leave_by(w, NVIRT_VMX_EXIT_CPUID, now ? &scene->of_l2 : &scene->of_l2_before,
                 now || i + 2 == EVENT ? 1 : 0, way);
        r->general |= w->v->switched ? 0 : EXIT(i);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
    } else {
        /* What was raised is delivered; CPL 0 again. */
        assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch,
                                      (const struct fake_set[]){ { 0x4402, 12 }, { SS_AR, 0xc093 } },
                                      2),
                         NVIRT_HW_OK);
        assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_OK);
    }
    prepare(w);
    view(w, VMCS01_HPA, &turn->vmcs01);
}

static void play(struct world *w, const struct scene *scene, enum way way, struct result *r)
{
    memset(r, 0, sizeof *r);
    begin(w, scene);
    for (uint32_t i = 0; i < TURNS; i++)
        take_turn(w, scene, i, way, r);
    for (uint32_t i = 0; i < 2; i++) {
        vmptrld_by(w, region_of[i], way);
        w->v->steady = false;
        nvi_vmcs12_settle(w->v, NULL);
        r->vmcs12[i] = w->v->vmcs12;
    }
}

static void compare(const char *scene, const char *what, uint32_t turn, const struct nvirt_vmcs *a,
                    const struct nvirt_vmcs *b)
{
    for (uint32_t f = 0; f < NVIRT_VMCS_FIELD_COUNT; f++)
        if (a->field[f] != b->field[f])
            fail_msg("%s: %s of turn %u: %s is 0x%llx, not 0x%llx", scene, what, turn,
                     nvirt_vmcs_field_name((enum nvirt_vmcs_field)f),
                     (unsigned long long)a->field[f], (unsigned long long)b->field[f]);
}

static void expect_same(const char *scene, const struct result *a, const struct result *b)
{
    for (uint32_t t = 0; t < TURNS; t++) {
        compare(scene, "vmcs02", t, &a->turn[t].vmcs02, &b->turn[t].vmcs02);
        compare(scene, "vmcs01", t, &a->turn[t].vmcs01, &b->turn[t].vmcs01);
        if (memcmp(&a->turn[t], &b->turn[t], sizeof a->turn[t]) != 0)
            fail_msg("%s: turn %u differs", scene, t);
    }
    compare(scene, "vmcs12", 0, &a->vmcs12[0], &b->vmcs12[0]);
    compare(scene, "vmcs12", 1, &a->vmcs12[1], &b->vmcs12[1]);
}

static void a_turn_comes_to_what_the_general_way_comes_to(void **state)
{
    struct world *w = *state;
    struct result *by = calloc(WAYS, sizeof *by);

    vmxon(w);
    for (size_t i = 0; i < SCENES; i++) {
        for (enum way way = ANEW; way < WAYS; way++)
            play(w, &scenes[i], way, &by[way]);
        expect_same(scenes[i].name, &by[GENERAL], &by[ANEW]);
        expect_same(scenes[i].name, &by[PLAIN], &by[GENERAL]);
        if (by[PLAIN].general != scenes[i].general)
            fail_msg("%s: the general way is taken by 0x%x, not by 0x%x", scenes[i].name,
                     by[PLAIN].general, scenes[i].general);
    }
    free(by);
}

/* ---- VMPTRLD of a VMCS that is active ---- */

static const struct scene nothing_differs = { .name = "nothing differs" };

/* VMPTRLD of @p region, from L1 that is steady, B's VMCS being current. */
static void vmptrld(struct world *w, uint64_t region)
{
    prepare(w);
    assert_true(w->v->steady && w->v->vmx.current == VMCS12_B);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, region);
}

/* [SDM 3C "VMPTRLD"]: bits 30:0 of the region's first word are looked at each time. */
static void an_active_region_of_another_revision_is_refused(void **state)
{
    struct world *w = *state;

    vmxon(w);
    begin(w, &nothing_differs);
    fake_vm_put32(w->port, VMCS12, revision12(w) + 1);
    vmptrld(w, VMCS12);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_REVISION);
    assert_true(w->v->vmx.current == VMCS12_B);
}

/* Bit 31 says that it is a shadow VMCS now, with which no VM entry is made [SDM 3C "VMLAUNCH/VMRESUME"]. */
static void an_active_region_that_became_a_shadow_is_one(void **state)
{
    struct world *w = *state;

    vmxon(w);
    begin(w, &nothing_differs);
    fake_vm_put32(w->port, VMCS12, revision12(w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    vmptrld(w, VMCS12);
    expect_success(w);
    assert_true(w->v->vmx.current == VMCS12);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    expect_vmfail_invalid(w);
    /* And the other one is none. */
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12_B);
    expect_success(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

static void a_region_that_is_not_active_is_read(void **state)
{
    struct world *w = *state;

    vmxon(w);
    begin(w, &nothing_differs);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
    vmptrld(w, VMCS12);
    expect_success(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMRESUME, 0);
    expect_vmfail(w, NVIRT_VMX_ERR_VMRESUME_NOT_LAUNCHED);
    l1_insn(w, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* Places of pairs that are free bear the pointer that means none. */
static void no_vmcs_is_never_at_hand(void **state)
{
    struct world *w = *state;

    vmxon(w);
    begin(w, &nothing_differs);
    assert_true(nvi_vmcs12_is_ready(w->v, VMCS12));
    assert_false(nvi_vmcs12_is_ready(w->v, NVI_NO_VMCS));
    vmptrld(w, NVI_NO_VMCS);
    expect_vmfail(w, NVIRT_VMX_ERR_VMPTRLD_ADDRESS);
    /* Where none is current vmcs01 names no shadow VMCS, and has to. */
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, VMCS12_B);
    assert_false(nvi_vmcs12_is_ready(w->v, VMCS12));
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
}

/* L1 may read and write in the shadow VMCS of the one what it cannot in that of the other. */
static void each_has_a_shadow_vmcs_of_its_own(void **state)
{
    struct world *w = *state;
    uint64_t first;

    vmxon(w);
    begin(w, &nothing_differs);
    prepare(w);
    first = HW(w, VMCS_LINK);
    WRITE12(w, GUEST_RIP, 0xb000);
    vmptrld_by(w, VMCS12, PLAIN);
    prepare(w);
    assert_true(w->v->steady);
    assert_true(HW(w, VMCS_LINK) != first);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
    WRITE12(w, GUEST_RIP, 0xa000);
    vmptrld_by(w, VMCS12_B, PLAIN);
    prepare(w);
    assert_true(HW(w, VMCS_LINK) == first);
    assert_true(READ12(w, GUEST_RIP) == 0xb000);
    vmptrld_by(w, VMCS12, PLAIN);
    assert_true(READ12(w, GUEST_RIP) == 0xa000);
    leave(w, NVIRT_VMX_EXIT_VMRESUME, NULL, 0, true);
    prepare(w);
    assert_true(HW(w, GUEST_RIP) == 0xa000);
}

/* One whose vmcs12 changed while it was not current is given that first. */
static void a_shadow_vmcs_that_is_behind_is_filled_first(void **state)
{
    struct world *w = *state;

    vmxon(w);
    begin(w, &nothing_differs);
    /* As L2 does by a VMWRITE on the VMCS that L1 linked for it. */
    w->v->vmcs12.vmcs_link = VMCS12;
    nvi_vmcs12_linked_set(w->v, NVIRT_VMCS_GUEST_RIP, 0xc000);
    w->v->vmcs12.vmcs_link = NVIRT_VMX_NO_VMCS_LINK;
    w->v->steady = false;
    (void)READ12(w, HOST_RIP);
    prepare(w);
    assert_true(w->v->steady);
    vmptrld_by(w, VMCS12, PLAIN);
    assert_true(READ12(w, GUEST_RIP) == 0xc000);
}

/* Hardware refuses to have vmcs01 name the other one: the host is told, and it is named before L1 runs. */
static void a_refused_link_is_written_again(void **state)
{
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_VMPTRLD }, { 0x6400, OPERAND }, { 0x440c, INSN_LENGTH },
        { 0x440e, INFO_PLAIN }, { 0x4408, 0 },
    };
    struct world *w = *state;
    uint64_t other;

    vmxon(w);
    begin(w, &nothing_differs);
    prepare(w);
    other = HW(w, VMCS_LINK);
    fake_vm_put64(w->port, OPERAND, VMCS12);
    assert_true(w->v->steady);
    assert_int_equal(fake_cpu_run(&w->cpu, w->run.launch, set, 5), NVIRT_HW_OK);
    w->cpu.fail_vmwrite = 1;
    assert_int_equal(nvirt_vmx_exit(w->v, &w->cpu, &w->gprs, &w->exit), NVIRT_ERR_HARDWARE);
    prepare(w);
    assert_true(HW(w, VMCS_LINK) != other);
    assert_true(READ12(w, GUEST_RIP) == L2_RIP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_turn_comes_to_what_the_general_way_comes_to),
        TEST(an_active_region_of_another_revision_is_refused),
        TEST(an_active_region_that_became_a_shadow_is_one),
        TEST(a_region_that_is_not_active_is_read),
        TEST(no_vmcs_is_never_at_hand),
        TEST_SHADOWED(a_turn_comes_to_what_the_general_way_comes_to),
        TEST_SHADOWED(an_active_region_of_another_revision_is_refused),
        TEST_SHADOWED(an_active_region_that_became_a_shadow_is_one),
        TEST_SHADOWED(no_vmcs_is_never_at_hand),
        TEST_SHADOWED(each_has_a_shadow_vmcs_of_its_own),
        TEST_SHADOWED(a_shadow_vmcs_that_is_behind_is_filled_first),
        TEST_SHADOWED(a_refused_link_is_written_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
