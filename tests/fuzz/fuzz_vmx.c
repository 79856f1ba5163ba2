/* SPDX-License-Identifier: MIT */
/*
 * A whole nested-VMX vCPU on the fake CPU. The input is a byte program of what L1, L2, the CPU and
 * the host do: VMX instructions with any operands, stores to whatever L1 controls, exits with any
 * fields, host calls in any order, failing pages and instructions. Before every entry the rules of
 * vmx_invariants.h must hold, no call may cost more than a bound, and at the end nothing is held.
 *
 * What the fake CPU leaves behind is what a CPU could leave: guest state that an entry would
 * accept, events that can be injected again. Everything L1 writes is arbitrary.
 */
#include "lazy_tlb.h"
#include "vmx_invariants.h"

#define EP4TA NVIRT_VMX_EPTP_EP4TA
#define RFLAGS_FREE UINT64_C(0x257fd5) /* All but VM and the reserved bits. */
#define EPT_TABLES 5u

static const uint64_t addresses[] = {
    VMXON_REGION, VMCS12, VMCS12_B, OPERAND, BITMAP_A, BITMAP_B, MSR_BITMAP12, MSR_LIST,
    EPT12_TOP, EPT12_TOP + 0x1000, EPT12_TOP + 0x2000, EPT12_TOP + 0x3000, EPT12_TOP + 0x4000,
    L1_PML4, L1_PDPT, L1_PD, L1_PT, L1_EXIT_RIP, L2_RIP, RAM_BYTES - 8, READ_ONLY, DEVICE,
    LARGE_BLOCK, LARGE_BLOCK + 0x200000, 0x3ff000, 0x2000000, (UINT64_C(1) << ADDRESS_BITS) - 4096,
    (UINT64_C(1) << ADDRESS_BITS) - 8,
};
#define ADDRESSES ((uint32_t)(sizeof addresses / sizeof addresses[0]))

static const uint32_t msrs[] = {
    0x3a, 0x10, 0x1b, 0x79, 0x9b, 0x9e, 0x174, 0x175, 0x176, 0x1d9, 0x277, 0x38f, 0x480, 0x481,
    0x485, 0x48b, 0x48c, 0x491, 0x492, 0x802, 0xc0000080, 0xc0000081, 0xc0000100, 0xc0000101,
    0xc0000102, 0xc0000103, 0x12345678,
};

struct fuzz {
    struct world w;
    struct nvirt_port_cpu second; /* Where the vCPU may move; */
    struct nvirt_port_cpu *cpu;   /* where it is: w.cpu or second. */
    struct lazy_tlb tlb[2];       /* Of the two CPUs. */
    struct nvirt_vmcs host;       /* vmcs01 as the host wrote it. */
    struct input in;
    uint64_t l2gpa;               /* Last fault of L2. */
    uint64_t mode;                /* The guest changes to this mode before its next exit; 0: not. */
    uint64_t rflags;              /* Bits of RFLAGS that it flips. */
    uint64_t blocking;
    uint64_t activity;
    uint32_t exits;               /* That told the length of an instruction. */
    bool failing;                 /* An instruction of the CPU was made to fail. */
    bool starved;                 /* Pages or translations were made to fail. */
    bool over;
};

static struct fuzz fuzz;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return setenv("CMOCKA_TEST_ABORT", "1", 1); /* The world's own asserts abort. */
}

/* ---- the world ---- */

static void host_set(struct fuzz *f, enum nvirt_vmcs_field field, uint64_t value)
{
    f->host.field[field] = nvirt_vmcs_truncate(field, value);
    REQUIRE(nvirt_vmx_write(f->w.v, f->cpu, 1, field, value) == NVIRT_OK, "host's write", field);
}

/* L0's own wishes differ from input to input. */
static void configure(struct fuzz *f, uint8_t choice)
{
    const struct nvirt_vmcs *h = &f->host;

    if ((choice & 1u) == 0) {
        host_set(f, NVIRT_VMCS_PROC_CONTROLS, h->proc_controls & ~NVIRT_VMX_PROC_MSR_BITMAPS);
    }
    if ((choice & 2u) != 0) {
        host_set(f, NVIRT_VMCS_PIN_CONTROLS, 0x16);
    }
    if ((choice & 4u) != 0) {
        host_set(f, NVIRT_VMCS_PIN_CONTROLS, h->pin_controls | NVIRT_VMX_PIN_EXT_INT);
        host_set(f, NVIRT_VMCS_EXIT_CONTROLS,
                 h->exit_controls | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
        host_set(f, NVIRT_VMCS_PROC_CONTROLS, h->proc_controls | NVIRT_VMX_PROC_TPR_SHADOW);
        host_set(f, NVIRT_VMCS_VIRTUAL_APIC_ADDR, 0x7d000000);
    }
    if ((choice & 8u) != 0) {
        host_set(f, NVIRT_VMCS_PROC_CONTROLS,
                 h->proc_controls | ((choice & 1u) != 0 ? NVIRT_VMX_PROC_IO_BITMAPS
                                                        : NVIRT_VMX_PROC_UNCONDITIONAL_IO));
        host_set(f, NVIRT_VMCS_IO_BITMAP_A, 0x7c000000);
        host_set(f, NVIRT_VMCS_IO_BITMAP_B, 0x7c001000);
    }
    host_set(f, NVIRT_VMCS_GUEST_TR_LIMIT, 0x67);
}

static void make_vcpu(struct fuzz *f, uint8_t choice)
{
    struct world *w = &f->w;

    w->config.vm = &w->vm;
    w->config.cpu = &w->caps;
    w->config.offer = &w->offer;
    w->config.vmcs01 = nvirt_hpa_make(VMCS01_HPA);
    w->config.msr_bitmap = (choice & 1u) != 0 ? w->msr_bitmap : NULL;
    w->config.vpid01 = VPID01;
    for (uint16_t i = 0; i < 4; i++) {
        w->vpids[i] = (uint16_t)(i + 2);
    }
    w->config.vpids = w->vpids;
    w->config.vpid_count = (choice & 16u) != 0 ? 0 : (choice & 32u) != 0 ? 1 : 4;
    nvirt_vmx_msr_bitmap_require(w->msr_bitmap);
    REQUIRE(nvirt_vmx_vcpu_init(w->memory, NVIRT_VMX_VCPU_SIZE, &w->config, &w->v) == NVIRT_OK,
            "init", choice);
    world_vmcs01(w);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        f->host.field[i] = w->v->hw[NVI_01].image.field[i];
    }
    configure(f, choice);
}

static void make_world(struct fuzz *f)
{
    struct world *w = &f->w;
    struct nvirt_vm_config config = { .physical_bits = ADDRESS_BITS };
    uint8_t choice = u8(&f->in);

    w->port = fake_vm_new();
    make_memory(w->port);
    for (uint32_t i = 0; i < sizeof msrs / sizeof msrs[0]; i++) {
        if (i % 3 != 0) {
            fake_vm_msr_set(w->port, msrs[i], i, i % 5 == 0);
        }
    }
    fake_cpu_init(&w->cpu);
    fake_cpu_init(&f->second);
    f->cpu = &w->cpu;
    config.port = w->port;
    config.page_budget = (choice & 64u) != 0 ? NVIRT_VM_MIN_PAGES : 64;
    REQUIRE(nvirt_vm_init(&w->vm, &config) == NVIRT_OK, "VM", 0);
    world_caps(&w->caps);
    if ((choice & 128u) != 0) {
        w->caps.pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
        w->caps.true_pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
    }
    REQUIRE(nvirt_vmx_caps_offer(&w->caps, &w->offer) == NVIRT_OK, "offer", 0);
    w->memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);
    world_l1_tables(w);
    fake_vm_put32(w->port, VMXON_REGION, revision12(w));
    fake_vm_put32(w->port, VMCS12, revision12(w));
    fake_vm_put32(w->port, VMCS12_B, revision12(w));
    make_vcpu(f, choice);
}

static void end_world(struct fuzz *f)
{
    struct world *w = &f->w;

    f->cpu->fail_vmptrld = f->cpu->fail_vmclear = f->cpu->fail_vmread = f->cpu->fail_vmwrite = 0;
    REQUIRE(nvirt_vmx_vcpu_destroy(w->v, f->cpu) == NVIRT_OK, "destroy", 0);
    REQUIRE(w->vm.pages_in_use == 0, "pages still counted", w->vm.pages_in_use);
    REQUIRE(nvirt_vm_destroy(&w->vm) == NVIRT_OK, "VM still has vCPUs", 0);
    REQUIRE(f->failing || f->cpu->undefined_reads == 0, "VMREAD of an undefined field",
            f->cpu->undefined_reads);
    fake_vm_delete(w->port); /* Aborts when a page or a pin is left. */
    free(w->memory);
}

/* ---- one entry and exit ---- */

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
static void note_flushes(struct fuzz *f)
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
    struct hw_page page;

    lazy_check(tlb(f), eptp & EP4TA, tables, f->w.port);
    for (uint32_t i = 0; i < sizeof l2gpa / sizeof l2gpa[0]; i++) {
        enum hw_result found = hw_ept_walk(f->w.port, eptp, l2gpa[i], &page);

        REQUIRE(found != HW_RESERVED, "EPT02 is misconfigured", l2gpa[i]);
        if (found == HW_PAGE) {
            lazy_add(tlb(f), eptp & EP4TA, tables, &page);
        }
    }
    lazy_check(tlb(f), eptp & EP4TA, tables, f->w.port);
}

static void check_entry(struct fuzz *f)
{
    struct world *w = &f->w;
    struct nvirt_vmcs hardware;
    const struct nvi_mmu_key *key;

    note_flushes(f);
    hardware_view(f->cpu, f->cpu->current->hpa, &hardware);
    check_vmcs01(&f->host, &w->v->hw[NVI_01].image);
    check_acceptable(w, &hardware);
    if (w->run.level == 1) {
        REQUIRE(f->cpu->current->hpa == VMCS01_HPA, "level 1 runs vmcs01", f->cpu->current->hpa);
        check_vmcs01(&f->host, &hardware);
        return;
    }
    REQUIRE(f->cpu->current->hpa != VMCS01_HPA, "level 2 runs vmcs02", 2);
    check_allowed(w, &f->host, &hardware);
    check_superset(w, &f->host, &hardware);
    check_bitmaps(w, &f->host, &hardware);
    check_roots(w, &f->host, &hardware);
    key = &w->v->root->key;
    check_second_stage(f, hardware.eptp, (key->table ^ key->role << 52) | 1);
}

/* @return false when nothing runs. */
static bool enter(struct fuzz *f)
{
    struct world *w = &f->w;
    uint64_t before = work(f);
    enum nvirt_status status = nvirt_vmx_prepare(w->v, f->cpu, &w->run);

    REQUIRE(work(f) - before <= MAX_WORK, "work of prepare", work(f) - before);
    if (status == NVIRT_ERR_STATE) {
        REQUIRE(nvirt_vmx_reset(w->v, f->cpu) == NVIRT_OK || f->failing, "reset", status);
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
static void guest_exit(struct fuzz *f, uint64_t reason, uint64_t qualification, uint64_t info,
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
        f->exits++;
    }
    leave_with(&l, NVIRT_VMCS_EXIT_REASON, reason);
    leave_with(&l, NVIRT_VMCS_EXIT_QUALIFICATION, qualification);
    REQUIRE(fake_cpu_run(f->cpu, w->run.launch, l.set, l.count) == NVIRT_HW_OK, "launch state",
            w->run.launch);
    /* Refused after it has run: no fault of L1's. */
    hosts_fault = (reason & NVIRT_VMX_REASON_ENTRY_FAILURE) != 0 && w->run.level == 2 &&
                  !w->v->entry_pending;
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
}

/* VMLAUNCH or VMRESUME ends with VMfail. */
static void refuse_entry(struct fuzz *f, bool invalid, uint32_t number)
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
    status = nvirt_vmx_entry_failed(w->v, f->cpu,
                                    invalid ? NVIRT_HW_VMFAIL_INVALID : NVIRT_HW_VMFAIL_VALID,
                                    &error);
    REQUIRE(f->failing || status == (pending ? NVIRT_OK : NVIRT_ERR_HARDWARE), "entry_failed",
            status);
    f->over = status != NVIRT_OK;
}

/* ---- what L1 does ---- */

static void insn(struct fuzz *f, uint32_t reason, uint64_t pointer)
{
    fake_vm_put64(f->w.port, OPERAND, pointer);
    guest_exit(f, reason, OPERAND, INFO_PLAIN, 0);
}

static struct nvirt_vmcs *vmcs12(struct fuzz *f)
{
    bool current = f->w.v->level == 1 && f->w.v->vmx.current != NVI_NO_VMCS;

    return current ? &f->w.v->vmcs12 : NULL;
}

/* A vmcs12 with which an entry succeeds, if L1 has one current. */
static void fill(struct fuzz *f, uint8_t what)
{
    struct nvirt_vmcs *c = vmcs12(f);

    if (c == NULL) {
        return;
    }
    fill_vmcs12(&f->w);
    if ((what & 1u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_EPT;
        c->eptp = EPT12_TOP | 6 | (3 << 3) | ((what & 2u) != 0 ? 0x40 : 0);
    }
    if ((what & 4u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_VPID;
        c->vpid = 1 + what / 64u;
    }
    if ((what & 8u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_IO_BITMAPS;
        c->msr_bitmap = MSR_BITMAP12;
        c->io_bitmap_a = BITMAP_A;
        c->io_bitmap_b = BITMAP_B;
    }
    if ((what & 16u) != 0) {
        c->entry_msr_load_addr = c->exit_msr_store_addr = c->exit_msr_load_addr = MSR_LIST;
        c->entry_msr_load_count = c->exit_msr_store_count = c->exit_msr_load_count = what / 32u;
    }
    if ((what & 33u) == 33u) {
        c->proc2_controls |= NVIRT_VMX_PROC2_UNRESTRICTED;
    }
}

/* EPT12 leads to a leaf, both of which the input may spoil. */
static void map(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t l2gpa = addresses[choose(in, ADDRESSES)];
    uint32_t level = 1 + choose(in, 3);
    uint64_t leaf = (addresses[choose(in, ADDRESSES)] & ~UINT64_C(0xfff)) | 7 | (6 << 3);

    if (level > 1) {
        leaf = (leaf & ~((UINT64_C(1) << (3 + 9 * level)) - 1)) | 0xb7;
    }
    for (uint32_t i = 4; i > level; i--) {
        fake_vm_put64(f->w.port,
                      EPT12_TOP + (4 - i) * 0x1000 + (l2gpa >> (3 + 9 * i) & 511) * 8,
                      (EPT12_TOP + (5 - i) * 0x1000) | 7);
    }
    if (flip(in)) {
        leaf = new_value(in, leaf, addresses, ADDRESSES);
    }
    fake_vm_put64(f->w.port,
                  EPT12_TOP + (4 - level) * 0x1000 + (l2gpa >> (3 + 9 * level) & 511) * 8, leaf);
    f->l2gpa = l2gpa;
}

static void store(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = (addresses[choose(in, ADDRESSES)] + take(in, 2) % 4096) &
                  ((UINT64_C(1) << ADDRESS_BITS) - 8);

    fake_vm_put64(f->w.port, at,
                  new_value(in, fake_vm_get64(f->w.port, at), addresses, ADDRESSES));
}

static void msr_list(struct fuzz *f)
{
    uint64_t at = MSR_LIST + choose(&f->in, 8) * 16;
    uint64_t msr = msrs[choose(&f->in, sizeof msrs / sizeof msrs[0])];

    fake_vm_put64(f->w.port, at, msr);
    fake_vm_put64(f->w.port, at + 8, new_value(&f->in, 0x500, addresses, ADDRESSES));
}

static void vmwrite(struct fuzz *f)
{
    struct input *in = &f->in;
    enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)choose(in, NVIRT_VMCS_FIELD_COUNT);

    f->w.gprs.r[NVIRT_RCX] = nvirt_vmcs_field_encoding(field);
    f->w.gprs.r[NVIRT_RAX] =
        new_value(in, f->w.v->vmcs12.field[field], addresses, ADDRESSES);
    guest_exit(f, NVIRT_VMX_EXIT_VMWRITE, 0, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX),
               0);
}

static void any_insn(struct fuzz *f)
{
    static const uint8_t reasons[] = {
        NVIRT_VMX_EXIT_VMXON,   NVIRT_VMX_EXIT_VMXOFF,  NVIRT_VMX_EXIT_VMCLEAR,
        NVIRT_VMX_EXIT_VMPTRLD, NVIRT_VMX_EXIT_VMPTRST, NVIRT_VMX_EXIT_VMREAD,
        NVIRT_VMX_EXIT_VMWRITE, NVIRT_VMX_EXIT_INVEPT,  NVIRT_VMX_EXIT_INVVPID,
        NVIRT_VMX_EXIT_VMCALL,  NVIRT_VMX_EXIT_VMLAUNCH, NVIRT_VMX_EXIT_VMRESUME,
        NVIRT_VMX_EXIT_VMFUNC,
    };
    struct input *in = &f->in;
    uint64_t qualification = new_value(in, OPERAND, addresses, ADDRESSES);
    uint32_t reason = reasons[choose(in, sizeof reasons)];

    guest_exit(f, reason, qualification, flip(in) ? INFO_PLAIN : take(in, 4), 0);
}

/* ---- what L2 does ---- */

static void any_exit(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t reason = u8(in) % 82u;
    uint64_t qualification = new_value(in, 0, addresses, ADDRESSES);
    uint64_t interruption = 0;

    if (reason <= 1) {
        interruption = take(in, 4) | 0x80000000;
    }
    guest_exit(f, reason, qualification, take(in, 4), interruption);
}

static void second_stage_fault(struct fuzz *f)
{
    struct input *in = &f->in;

    if (flip(in)) {
        f->l2gpa = new_value(in, f->l2gpa, addresses, ADDRESSES) &
                   ((UINT64_C(1) << 48) - 1);
    }
    guest_exit(f, NVIRT_VMX_EXIT_EPT_VIOLATION, take(in, 2), 0, 0);
}

static void msr_access(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t value = new_value(in, 0x500, addresses, ADDRESSES);

    f->w.gprs.r[NVIRT_RCX] = msrs[choose(in, sizeof msrs / sizeof msrs[0])];
    f->w.gprs.r[NVIRT_RAX] = value & 0xffffffff;
    f->w.gprs.r[NVIRT_RDX] = value >> 32;
    guest_exit(f, flip(in) ? NVIRT_VMX_EXIT_RDMSR : NVIRT_VMX_EXIT_WRMSR, 0, 1, 0);
}

/* ---- what the host does ---- */

static void inject(struct fuzz *f)
{
    static const uint8_t vectors[] = { 0, 1, 3, 4, 6, 8, 10, 11, 12, 13, 14, 17, 18 };
    struct nvirt_event event = { .type = NVIRT_EVENT_INTERRUPT, .vector = 0x20 };
    uint64_t activity = 0;

    (void)!nvirt_vmx_read(f->w.v, f->cpu, nvirt_vmx_level(f->w.v), NVIRT_VMCS_GUEST_ACTIVITY,
                          &activity);
    switch (u8(&f->in) % 3) {
    case 0:
        event.vector = u8(&f->in);
        break;
    case 1:
        event.type = NVIRT_EVENT_NMI;
        event.vector = 2;
        break;
    default:
        event.type = NVIRT_EVENT_EXCEPTION;
        event.vector = vectors[choose(&f->in, sizeof vectors)];
        event.has_error_code = event.vector == 8 || event.vector == 17 ||
                               (event.vector >= 10 && event.vector <= 14);
        break;
    }
    /* Exceptions are for guests that execute instructions. */
    if (event.type != NVIRT_EVENT_EXCEPTION ||
        (activity == NVIRT_VMX_ACTIVITY_ACTIVE && f->exits != 0)) {
        (void)!nvirt_vmx_inject(f->w.v, f->cpu, &event);
    }
}

/* L0 changes its own controls, also while L2 is active. */
static void host_control(struct fuzz *f)
{
    static const uint64_t bits[] = {
        NVIRT_VMX_PROC_HLT, NVIRT_VMX_PROC_RDTSC, NVIRT_VMX_PROC_PAUSE, NVIRT_VMX_PROC_MOV_DR,
        NVIRT_VMX_PROC_CR3_LOAD, NVIRT_VMX_PROC_TSC_OFFSET, NVIRT_VMX_PROC_INTERRUPT_WINDOW,
    };
    struct nvirt_vmcs *h = &f->host;

    switch (u8(&f->in) % 6) {
    case 0:
        host_set(f, NVIRT_VMCS_PROC_CONTROLS,
                 h->proc_controls ^ bits[choose(&f->in, sizeof bits / sizeof bits[0])]);
        break;
    case 1:
        host_set(f, NVIRT_VMCS_EXCEPTION_BITMAP, h->exception_bitmap ^ 1u << u8(&f->in) % 32);
        break;
    case 2:
        host_set(f, NVIRT_VMCS_HOST_RSP, take(&f->in, 4));
        break;
    case 3:
        host_set(f, NVIRT_VMCS_PROC2_CONTROLS, h->proc2_controls ^ NVIRT_VMX_PROC2_WBINVD);
        break;
    case 4:
        host_set(f, NVIRT_VMCS_PF_ERROR_MATCH, u8(&f->in));
        break;
    default:
        f->w.msr_bitmap[take(&f->in, 2) % 4096] |= u8(&f->in);
        REQUIRE(nvirt_vmx_msr_bitmap_changed(f->w.v) == NVIRT_OK, "MSR bitmap", 0);
        break;
    }
}

/* The vCPU moves: its VMCSs, in memory now, are found by the other CPU. */
static void move_cpu(struct fuzz *f)
{
    struct world *w = &f->w;
    struct nvirt_port_cpu *other = f->cpu == &w->cpu ? &f->second : &w->cpu;
    enum nvirt_status status = nvirt_vmx_leave_cpu(w->v, f->cpu);

    if (status != NVIRT_OK) {
        REQUIRE(f->failing, "leave_cpu", status);
        f->over = true;
        return;
    }
    for (uint32_t i = 0; i < FAKE_CPU_REGIONS; i++) {
        REQUIRE(!f->cpu->region[i].active, "a VMCS stays active", f->cpu->region[i].hpa);
    }
    note_flushes(f);
    f->cpu->current = NULL;
    *other = *f->cpu;
    f->cpu = other;
}

static void host_call(struct fuzz *f)
{
    struct world *w = &f->w;
    uint8_t bytes[64];

    switch (u8(&f->in) % 6) {
    case 0:
        REQUIRE(nvirt_vmx_reset(w->v, f->cpu) == NVIRT_OK || f->failing, "reset", 0);
        REQUIRE(nvirt_vmx_level(w->v) == 1, "level after reset", 2);
        break;
    case 1:
        move_cpu(f);
        break;
    case 2:
        if (nvirt_vmx_forget_current(w->v) == NVIRT_OK) {
            f->cpu->current = NULL;
        }
        break;
    case 3:
        (void)!nvirt_vmx_vmcall_refuse(w->v, f->cpu);
        break;
    case 4:
        (void)!nvirt_vmx_l1_read_linear(w->v, f->cpu,
                                        nvirt_gva_make(new_value(&f->in, 0, addresses, ADDRESSES)),
                                        bytes, 1 + u8(&f->in) % sizeof bytes);
        break;
    default:
        host_moves(w->port, &f->in);
        break;
    }
}

/* An instruction of the CPU fails although it must not. */
static void cpu_failure(struct fuzz *f)
{
    unsigned n = 1u + u8(&f->in) % 32u;

    f->failing = true;
    switch (u8(&f->in) % 4) {
    case 0:
        f->cpu->fail_vmptrld = n;
        break;
    case 1:
        f->cpu->fail_vmclear = n;
        break;
    case 2:
        f->cpu->fail_vmread = n;
        break;
    default:
        f->cpu->fail_vmwrite = n;
        break;
    }
}

static void guest_state(struct fuzz *f)
{
    struct input *in = &f->in;

    switch (u8(in) % 4) {
    case 0:
        f->mode = 1 + u8(in) % 8u;
        break;
    case 1:
        f->rflags = take(in, 3) & RFLAGS_FREE;
        break;
    case 2:
        f->blocking = u8(in);
        f->activity = u8(in) % 2u;
        break;
    default:
        f->w.gprs.r[u8(in) % NVIRT_GPR_COUNT] = new_value(in, 0, addresses, ADDRESSES);
        break;
    }
}

/* ---- the program ---- */

/* L1 as far as the input wants it before its program begins. */
static void prologue(struct fuzz *f)
{
    uint8_t how_far = u8(&f->in) % 4;
    uint8_t what = u8(&f->in);

    if (how_far >= 1) {
        insn(f, NVIRT_VMX_EXIT_VMXON, VMXON_REGION);
    }
    if (how_far >= 2) {
        insn(f, NVIRT_VMX_EXIT_VMCLEAR, VMCS12);
        insn(f, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
        fill(f, what);
    }
    if (how_far >= 3) {
        insn(f, NVIRT_VMX_EXIT_VMLAUNCH, 0);
    }
}

static void step(struct fuzz *f)
{
    struct input *in = &f->in;
    uint8_t op = u8(in) % 24;

    SAY("step %u\n", op);
    switch (op) {
    case 0: insn(f, NVIRT_VMX_EXIT_VMXON, addresses[choose(in, ADDRESSES)]); break;
    case 1: insn(f, NVIRT_VMX_EXIT_VMCLEAR, addresses[choose(in, ADDRESSES)]); break;
    case 2: insn(f, NVIRT_VMX_EXIT_VMPTRLD, addresses[choose(in, ADDRESSES)]); break;
    case 3: fill(f, u8(in)); break;
    case 4: insn(f, NVIRT_VMX_EXIT_VMLAUNCH, 0); break;
    case 5: insn(f, NVIRT_VMX_EXIT_VMRESUME, 0); break;
    case 6: any_insn(f); break;
    case 7:
    case 8: vmwrite(f); break;
    case 9: map(f); break;
    case 10: store(f); break;
    case 11: msr_list(f); break;
    case 12: any_exit(f); break;
    case 13: second_stage_fault(f); break;
    case 14: msr_access(f); break;
    case 15: guest_exit(f, NVIRT_VMX_EXIT_CR_ACCESS, take(in, 4), 1, 0); break;
    case 16: guest_exit(f, NVIRT_VMX_EXIT_CPUID, 0, 1, 0); break;
    case 17: guest_state(f); break;
    case 18: inject(f); break;
    case 19: host_control(f); break;
    case 20: host_call(f); break;
    case 21:
        f->starved = true;
        disturb(f->w.port, in, addresses, ADDRESSES);
        break;
    case 22:
        if (u8(in) % 8 == 0) {
            cpu_failure(f);
        }
        break;
    default:
        if (flip(in)) {
            refuse_entry(f, flip(in), u8(in));
        } else {
            guest_exit(f, 0x80000000 | (33 + u8(in) % 9), u8(in), 0, 0);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = &fuzz;

    memset(f, 0, sizeof *f);
    f->in = (struct input){ data, data + size };
    make_world(f);
    prologue(f);
    for (uint32_t i = 0; i < MAX_STEPS && f->in.at != f->in.end && !f->over; i++) {
        step(f);
    }
    end_world(f);
    return 0;
}
