/* SPDX-License-Identifier: MIT */
/* One entry, looked at before it is made, and the exit that the fake CPU makes of it. */
#include "fuzz_vmx.h"

static uint64_t work(const struct fuzz *f)
{
    const struct fake_counts *c = &f->cpu->count;

    return f->w.port->calls[FAKE_CALL_ANY] + c->vmread + c->vmwrite + c->vmptrld + c->vmclear +
           c->invept + c->invvpid + c->rdmsr + c->wrmsr;
}

static struct lazy_tlb *tlb(struct fuzz *f)
{
    return &f->tlb[f->cpu != &f->w.cpu];
}

/* What the CPU was told to forget. INVVPID leaves guest-physical translations alone. */
void note_flushes(struct fuzz *f)
{
    struct nvirt_port_cpu *cpu = f->cpu;

    for (uint32_t i = 0; i < cpu->ops && i < FAKE_CPU_LOG; i++) {
        if (cpu->op[i].kind == FAKE_INVEPT && cpu->op[i].type == NVIRT_VMX_INVEPT_SINGLE) {
            lazy_flush(tlb(f), cpu->op[i].tag & EP4TA);
        } else if (cpu->op[i].kind == FAKE_INVEPT) {
            lazy_flush_all(tlb(f));
        }
    }
    REQUIRE(cpu->ops <= FAKE_CPU_LOG, "flushes at one entry", cpu->ops);
    cpu->ops = 0;
}

/* What L2 can reach, and what the CPU remembers of that. */
static void check_second_stage(struct fuzz *f, uint64_t eptp, uint64_t tables)
{
    const uint64_t l2gpa[] = { f->l2gpa, 0, READ_ONLY, LARGE_BLOCK };
    bool modes = (f->w.v->root->key.role & NVI_ROLE_MODE_EXECUTE) != 0;
    struct hw_page page;

    lazy_check(tlb(f), eptp & EP4TA, tables, f->w.port);
    for (uint32_t i = 0; i < sizeof l2gpa / sizeof l2gpa[0]; i++) {
        enum hw_result found = modes ? hw_ept_walk_mode(f->w.port, eptp, l2gpa[i], &page)
                                     : hw_ept_walk(f->w.port, eptp, l2gpa[i], &page);

        REQUIRE(found != HW_RESERVED, "EPT02 is misconfigured", l2gpa[i]);
        if ((page.rights & HW_USER_EXECUTE) != 0) {
            /* To the host a fetch is a fetch. */
            page.rights ^= HW_USER_EXECUTE;
            page.rights |= NVIRT_ACCESS_EXECUTE;
        }
        if (found == HW_PAGE && page.subpages) {
            REQUIRE((f->w.v->root->key.role & NVI_ROLE_SUBPAGES) != 0, "sub-page permissions",
                    l2gpa[i]);
            /* Some of it hardware may write. */
            page.rights |= NVIRT_ACCESS_WRITE;
        }
        if (found == HW_PAGE) {
            lazy_add(tlb(f), eptp & EP4TA, tables, &page);
        }
    }
    lazy_check(tlb(f), eptp & EP4TA, tables, f->w.port);
}

/* A VMCS as it will run: what the image knows, and else what hardware has. */
static void present(struct fuzz *f, enum nvi_which which, struct nvirt_vmcs *view)
{
    const struct nvi_hw_vmcs *hw = f->w.v->hw[which];

    hardware_view(f->cpu, hw->hpa.value, view);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (!nvi_field_has(&hw->stale, i)) {
            view->field[i] = hw->image.field[i];
        }
    }
}

/* Fields of vmcs02 that are not vmcs12's to say, or of no use. */
static bool is_beside_the_merge(const struct world *w, enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_GUEST_PREEMPTION_TIMER:
        return (w->v->vmcs12.pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) == 0;
    case NVIRT_VMCS_MSR_BITMAP:
    case NVIRT_VMCS_IO_BITMAP_A:
    case NVIRT_VMCS_IO_BITMAP_B:
    case NVIRT_VMCS_VIRTUAL_APIC_ADDR: /* check_superset() judges it, */
    case NVIRT_VMCS_APIC_ACCESS_ADDR:  /* and check_access_page(). */
        return true;
    case NVIRT_VMCS_TPR_THRESHOLD:
        /* 0 since L1 overtook it. */
        return w->v->hw[NVI_02]->image.tpr_threshold == 0;
    default:
        return !nvi_field_has(&w->v->merged, (uint32_t)field);
    }
}

/* However little an entry looked at, vmcs02 is what the whole merge makes of vmcs12 and vmcs01. What
 * a list of MSRs loads comes on top of that. */
static void check_merge(struct fuzz *f)
{
    struct nvirt_vmx_vcpu *v = f->w.v;
    struct nvirt_vmcs vmcs12 = v->vmcs12;
    struct nvirt_vmcs vmcs01;
    struct nvirt_vmcs vmcs02;
    struct nvirt_vmcs whole;
    struct nvi_vmx_merge_in in = { .vmcs12 = &vmcs12, .vmcs01 = &vmcs01, .cpu = &v->caps };

    if (v->level != 2 || !v->entry_pending || vmcs12.entry_msr_load_count != 0) {
        return;
    }
    present(f, NVI_01, &vmcs01);
    present(f, NVI_02, &vmcs02);
    in.eptp02 = vmcs02.eptp;
    in.sppt02 = vmcs02.spp_table;
    in.vpid02 = (uint32_t)vmcs02.vpid;
    in.msr_bitmap_to_hardware = (vmcs12.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) != 0;
    in.io_bitmaps_to_hardware = (vmcs12.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0 &&
                                nvi_vmx_l0_wants_no_port(&vmcs01);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        if (nvi_field_has(&v->now->lazy, i)) {
            vmcs12.field[i] = vmcs02.field[i];
        }
    }
    nvi_vmx_merge(&in, &whole);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        REQUIRE(is_beside_the_merge(&f->w, field) || whole.field[i] == vmcs02.field[i],
                nvirt_vmcs_field_name(field), vmcs02.field[i]);
    }
}

static void check_entry(struct fuzz *f)
{
    struct world *w = &f->w;
    struct nvirt_vmcs hardware;
    const struct nvi_mmu_key *key;
    uint32_t level = 0;

    note_flushes(f);
    if (w->v->mmu.watch.page != 0) {
        /* What nvirt keeps; where it is known, L2 has no leaf on it. */
        f->host.apic_access_addr = w->v->hw[NVI_01]->image.apic_access_addr;
        REQUIRE(w->run.level != 2 || (w->v->root->key.role & NVI_ROLE_DIRECT) == 0 ||
                    nvi_mmu_lookup(&w->v->mmu, w->v->root,
                                   nvirt_l2gpa_make(w->v->mmu.watch.page & NVI_MMU_ADDRESS),
                                   &level) == 0,
                "leaf on the page of L1's APIC", w->v->mmu.watch.page);
    }
    hardware_view(f->cpu, f->cpu->current->hpa, &hardware);
    check_vmcs01(&f->host, &w->v->hw[NVI_01]->image);
    check_acceptable(w, &hardware);
    REQUIRE(hardware.guest_activity <= NVIRT_VMX_ACTIVITY_HLT, "activity of a CPU",
            hardware.guest_activity);
    if (w->run.level == 1) {
        REQUIRE(f->cpu->current->hpa == VMCS01_HPA, "level 1 runs vmcs01", f->cpu->current->hpa);
        check_vmcs01(&f->host, &hardware);
        check_shadow(w, f->cpu, &hardware);
        return;
    }
    REQUIRE(f->cpu->current->hpa != VMCS01_HPA, "level 2 runs vmcs02", 2);
    check_allowed(w, &f->host, &hardware);
    check_superset(w, &f->host, &hardware);
    check_access_page(w, &hardware);
    check_leaves(&f->host, &hardware);
    check_bitmaps(w, &f->host, &hardware);
    check_roots(w, &f->host, &hardware);
    key = &w->v->root->key;
    check_second_stage(f, hardware.eptp, (key->table ^ key->pat << 8 ^ key->role << 52) | 1);
}

/* Only an L2 of an offer with the states sleeps; after some time the event comes that ends them all. */
static void wake(struct fuzz *f)
{
    struct nvirt_event event = { .type = NVIRT_EVENT_SIPI, .vector = 0x10 };
    struct world *w = &f->w;
    uint64_t ticks = 0;
    uint64_t activity = nvirt_vmx_sleeps(w->v, 0, &ticks);

    REQUIRE(nvirt_vmx_level(w->v) == 2 && !w->v->prepared, "asleep", activity);
    REQUIRE(activity == NVIRT_VMX_ACTIVITY_SHUTDOWN || activity == NVIRT_VMX_ACTIVITY_WAIT_SIPI,
            "a state to sleep in", activity);
    REQUIRE((w->v->offer.misc & NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI) != 0, "asleep unoffered", 0);
    REQUIRE(nvirt_vmx_slept(w->v, f->cpu, 0, u8(&f->in) * UINT64_C(1000)) == NVIRT_OK, "slept", 0);
    if (activity == NVIRT_VMX_ACTIVITY_SHUTDOWN) {
        event.type = NVIRT_EVENT_INIT;
        event.vector = 0;
    }
    if (u8(&f->in) % 4u != 0) {
        REQUIRE(nvirt_vmx_inject(w->v, f->cpu, &event) == NVIRT_OK, "what wakes", activity);
    }
}

/* @return false when nothing runs. */
bool enter(struct fuzz *f)
{
    struct world *w = &f->w;
    uint64_t before = work(f);
    enum nvirt_status status = nvirt_vmx_prepare(w->v, f->cpu, &w->run);

    REQUIRE(work(f) - before <= MAX_WORK, "work of prepare", work(f) - before);
    if (status == NVIRT_ERR_STATE) {
        REQUIRE(nvirt_vmx_reset(w->v, f->cpu) == NVIRT_OK || f->failing, "reset", status);
        return false;
    }
    if (status == NVIRT_ERR_RETRY || status == NVIRT_ERR_NO_MAPPING) {
        REQUIRE(w->v->mmu.watch.page != 0 && nvirt_vmx_level(w->v) == 1, "page of L1's APIC",
                status);
        REQUIRE(!w->v->prepared, "prepared without the page", status);
        return false;
    }
    if (status == NVIRT_ERR_ASLEEP) {
        wake(f);
        return false;
    }
    if (status != NVIRT_OK) {
        REQUIRE(f->failing, "prepare", status);
        f->over = true;
        return false;
    }
    check_entry(f);
    return true;
}

struct leaving {
    struct fake_set set[48];
    size_t count;
};

static void leave_with(struct leaving *l, enum nvirt_vmcs_field field, uint64_t value)
{
    l->set[l->count].encoding = nvirt_vmcs_field_encoding(field);
    l->set[l->count++].value = value;
}

static void leave_segments(struct leaving *l, uint64_t cs_ar, uint64_t ar, uint64_t limit)
{
    for (uint32_t i = 0; i < 6; i++) {
        leave_with(l, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_AR + i), i == 1 ? cs_ar : ar);
        leave_with(l, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_LIMIT + i), limit);
        leave_with(l, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_SELECTOR + i),
                   (ar >> 5 & 3) | (i == 1 ? 8 : 0x10));
        leave_with(l, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_ES_BASE + i),
                   limit == 0xffff ? ((ar >> 5 & 3) | (i == 1 ? 8 : 0x10)) << 4 : 0);
    }
}

/* The guest went to another mode since the entry. */
static void leave_in_mode(struct fuzz *f, struct leaving *l, struct nvirt_vmcs *now)
{
    static const struct {
        uint64_t cr0, cr4, efer, cs, ar, limit, vm;
    } modes[] = {
        { 0x80010031, 0x2020, 0x500, 0xa09b, 0xc093, 0xffffffff, 0 },  /* 64-bit */
        { 0x80010031, 0x2020, 0x500, 0xa0fb, 0xc0f3, 0xffffffff, 0 },  /* the same, CPL 3 */
        { 0x80010031, 0x2020, 0x500, 0xc09b, 0xc093, 0xffffffff, 0 },  /* compatibility */
        { 0x80010031, 0x2020, 0x000, 0xc09b, 0xc093, 0xffffffff, 0 },  /* PAE */
        { 0x80010031, 0x2010, 0x000, 0xc09b, 0xc093, 0xffffffff, 0 },  /* 32-bit paging */
        { 0x00000031, 0x2000, 0x000, 0xc09b, 0xc093, 0xffffffff, 0 },  /* no paging */
        { 0x80010031, 0x2000, 0x000, 0x00f3, 0x00f3, 0xffff, 0x20000 }, /* virtual-8086 */
        { 0x00000030, 0x2000, 0x000, 0x0093, 0x0093, 0xffff, 0 },      /* real */
    };
    uint64_t m = (f->mode - 1) % 8;

    if (m >= 5 && m != 6 && (now->proc2_controls & NVIRT_VMX_PROC2_UNRESTRICTED) == 0) {
        return;
    }
    now->guest_cr0 = modes[m].cr0;
    now->guest_efer = modes[m].efer;
    now->guest_rflags = (now->guest_rflags & ~UINT64_C(0x20000)) | modes[m].vm;
    now->guest_ss_ar = modes[m].ar;
    leave_with(l, NVIRT_VMCS_GUEST_CR0, modes[m].cr0);
    leave_with(l, NVIRT_VMCS_GUEST_CR4, modes[m].cr4);
    leave_with(l, NVIRT_VMCS_GUEST_EFER, modes[m].efer);
    leave_with(l, NVIRT_VMCS_GUEST_RIP, 0x1000);
    for (uint32_t i = 0; i < 4; i++) {
        leave_with(l, (enum nvirt_vmcs_field)(NVIRT_VMCS_GUEST_PDPTE0 + i), 0);
    }
    leave_segments(l, modes[m].cs, modes[m].ar, modes[m].limit);
}

/* What an entry could inject: an event whose delivery the exit interrupted. */
static uint64_t interrupted_event(struct fuzz *f, const struct nvirt_vmcs *now)
{
    static const uint8_t vector[] = { 0, 1, 3, 4, 6, 8, 10, 12, 13, 14, 17, 18 };
    uint8_t how = u8(&f->in);
    uint64_t v = vector[how / 16 % sizeof vector];
    bool error = v == 8 || (v >= 10 && v <= 14) || v == 17;

    switch (how % 16) {
    case 1:
        return 0x80000000 | 0x20 | (how >> 4);
    case 2:
        return 0x80000202;
    case 3:
        return 0x80000400 | how;
    case 4:
        return 0x80000600 | (how >= 128 ? 3u : 4u);
    case 5:
    case 6:
        return 0x80000300 | v | (error && (now->guest_cr0 & 1) != 0 ? 0x800u : 0u);
    default:
        return 0;
    }
}

/* Exits that a guest can take while it is halted: no instruction causes them. */
static bool comes_from_outside(uint64_t reason)
{
    return reason == NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT || reason == NVIRT_VMX_EXIT_INIT ||
           reason == NVIRT_VMX_EXIT_INTERRUPT_WINDOW || reason == NVIRT_VMX_EXIT_NMI_WINDOW ||
           reason == NVIRT_VMX_EXIT_PREEMPTION_TIMER;
}

/* Instructions whose privilege is checked before they can exit
 * [SDM 3C "Relative Priority of Faults and VM Exits"]. */
static bool is_privileged(uint64_t reason)
{
    return reason == NVIRT_VMX_EXIT_CR_ACCESS || reason == NVIRT_VMX_EXIT_RDMSR ||
           reason == NVIRT_VMX_EXIT_WRMSR;
}

/* Flags, blocking and activity, as a guest may have them together. */
static void leave_state(struct fuzz *f, struct leaving *l, const struct nvirt_vmcs *now,
                        uint64_t reason, uint64_t event)
{
    uint64_t rflags = now->guest_rflags ^ f->rflags;
    uint64_t type = (event & 0x80000000) != 0 ? event >> 8 & 7 : 1;
    uint64_t blocking = f->blocking & 0xb;
    bool halted = f->activity == 1 && type == 1 && (now->guest_ss_ar & 0x60) == 0 &&
                  comes_from_outside(reason);
    bool step;

    if (type == 0) {
        rflags |= NVIRT_RFLAGS_IF;
        blocking &= ~UINT64_C(3);
    } else if (type == 2) {
        blocking = 8;
    } else if (type != 1) {
        blocking &= 8;
    }
    if ((blocking & 3) == 3 || (rflags & NVIRT_RFLAGS_IF) == 0) {
        blocking &= ~UINT64_C(1);
    }
    if (halted) {
        blocking &= 8;
    }
    step = (rflags & NVIRT_RFLAGS_TF) != 0 && (now->guest_debugctl & 2) == 0;
    leave_with(l, NVIRT_VMCS_GUEST_RFLAGS, rflags);
    leave_with(l, NVIRT_VMCS_GUEST_INTERRUPTIBILITY, blocking);
    leave_with(l, NVIRT_VMCS_GUEST_ACTIVITY, halted ? 1 : 0);
    leave_with(l, NVIRT_VMCS_GUEST_PENDING_DEBUG,
               step && ((blocking & 3) != 0 || halted) ? NVIRT_VMX_PENDING_BS : 0);
    f->rflags = f->blocking = f->activity = 0;
}

/* An exit of whatever level runs. */
void guest_exit(struct fuzz *f, uint64_t reason, uint64_t qualification, uint64_t info,
                       uint64_t interruption)
{
    struct world *w = &f->w;
    struct leaving l = { .count = 0 };
    struct nvirt_vmcs now;
    uint64_t event, before;
    uint32_t traces;
    bool hosts_fault;

    if (f->over || !enter(f)) {
        return;
    }
    SAY("exit of level %u: reason %llu qualification %llx info %llx\n", w->run.level,
        (unsigned long long)reason, (unsigned long long)qualification, (unsigned long long)info);
    if ((reason & NVIRT_VMX_REASON_ENTRY_FAILURE) == 0) {
        hardware_view(f->cpu, f->cpu->current->hpa, &now);
        if (f->mode != 0) {
            leave_in_mode(f, &l, &now);
            f->mode = 0;
        }
        if (reason == NVIRT_VMX_EXIT_EPT_MISCONFIGURATION && w->run.level == 2) {
            /* EPT02 has none: check_second_stage() looks. */
            reason = NVIRT_VMX_EXIT_EPT_VIOLATION;
        }
        if (reason == NVIRT_VMX_EXIT_SPP_EVENT &&
            (w->run.level == 1 || (secondary_of(&now) & NVIRT_VMX_PROC2_SUBPAGE_WRITE) == 0)) {
            reason = NVIRT_VMX_EXIT_EPT_VIOLATION;
        }
        if (is_privileged(reason) && (now.guest_ss_ar & 0x60) != 0) {
            reason = NVIRT_VMX_EXIT_CPUID;
        }
        event = interrupted_event(f, &now);
        leave_with(&l, NVIRT_VMCS_EXIT_INTERRUPTION, interruption);
        leave_with(&l, NVIRT_VMCS_EXIT_INTERRUPTION_ERROR, interruption >> 32);
        leave_with(&l, NVIRT_VMCS_IDT_VECTORING, event);
        leave_with(&l, NVIRT_VMCS_IDT_VECTORING_ERROR, 0);
        leave_with(&l, NVIRT_VMCS_EXIT_INSN_LENGTH, 1 + info % 15);
        leave_with(&l, NVIRT_VMCS_EXIT_INSN_INFO, info);
        leave_with(&l, NVIRT_VMCS_GUEST_PHYSICAL, f->l2gpa);
        leave_with(&l, NVIRT_VMCS_GUEST_LINEAR, f->l2gpa);
        leave_with(&l, NVIRT_VMCS_ENTRY_CONTROLS,
                   (now.entry_controls & ~NVIRT_VMX_ENTRY_CTL_IA32E) |
                       ((now.guest_efer & NVIRT_EFER_LMA) != 0 ? NVIRT_VMX_ENTRY_CTL_IA32E : 0));
        leave_state(f, &l, &now, reason, event);
        if ((secondary_of(&now) & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0 &&
            w->run.level == 2) {
            leave_with(&l, NVIRT_VMCS_GUEST_INTERRUPT_STATUS, take(&f->in, 2));
        }
        f->exits++;
    }
    leave_with(&l, NVIRT_VMCS_EXIT_REASON, reason);
    leave_with(&l, NVIRT_VMCS_EXIT_QUALIFICATION, qualification);
    REQUIRE(fake_cpu_run(f->cpu, w->run.launch, l.set, l.count) == NVIRT_HW_OK, "launch state",
            w->run.launch);
    /* Refused after it has run: no fault of L1's. */
    hosts_fault = (reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0 && w->run.level == 2 &&
                  !w->v->entry_pending;
#ifdef FUZZ_EVMCS
    evmcs_before_exit(f);
#endif
    before = work(f);
    traces = w->port->traces;
    w->status = nvirt_vmx_exit(w->v, f->cpu, &w->gprs, &w->exit);
    say_trace(w->port, traces);
    SAY("  status %d verdict %d level %u\n", (int)w->status, (int)w->exit.verdict,
        nvirt_vmx_level(w->v));
    REQUIRE(work(f) - before <= MAX_WORK, "work of exit", work(f) - before);
    REQUIRE(w->status == NVIRT_OK || w->status == NVIRT_ERR_NO_PAGE ||
                (w->status == NVIRT_ERR_HARDWARE && (f->failing || hosts_fault)),
            "exit", w->status);
    REQUIRE(w->status != NVIRT_ERR_NO_PAGE || f->starved || w->vm.page_budget < 64, "no page",
            w->vm.pages_in_use);
    f->over = w->status == NVIRT_ERR_HARDWARE;
    if (w->run.level == 1 && w->status == NVIRT_OK) {
        check_merge(f);
    }
#ifdef FUZZ_EVMCS
    evmcs_after_exit(f);
#endif
}

#define TPR_THRESHOLD_OF(w) ((w)->v->hw[NVI_02]->image.tpr_threshold)

/* VMLAUNCH or VMRESUME ends with VMfail. */
void refuse_entry(struct fuzz *f, bool invalid, uint32_t number)
{
    struct world *w = &f->w;
    enum nvirt_status status;
    uint32_t error;
    bool pending;

    if (f->over || !enter(f)) {
        return;
    }
    /* Other numbers say nothing of vmcs12. */
    pending = w->run.level == 2 && w->v->entry_pending && !invalid &&
              (number == NVIRT_VMX_ERR_ENTRY_CONTROLS || number == NVIRT_VMX_ERR_ENTRY_HOST_STATE);
    fake_cpu_poke(f->cpu, f->cpu->current->hpa, 0x4400, number);
    /* Or of the virtual-APIC page. */
    pending = pending || (w->run.level == 2 && !w->v->entry_pending && !invalid &&
                          number == NVIRT_VMX_ERR_ENTRY_CONTROLS &&
                          nvi_vmx_reads_vtpr(&w->v->vmcs12) && TPR_THRESHOLD_OF(w) != 0);
    status = nvirt_vmx_entry_failed(w->v, f->cpu,
                                    invalid ? NVIRT_HW_VMFAIL_INVALID : NVIRT_HW_VMFAIL_VALID,
                                    &error);
    REQUIRE(f->failing || status == (pending ? NVIRT_OK : NVIRT_ERR_HARDWARE), "entry_failed",
            status);
    f->over = status != NVIRT_OK;
}
