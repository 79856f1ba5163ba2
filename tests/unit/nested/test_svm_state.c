/* SPDX-License-Identifier: MIT */
/*
 * Saved state of nested SVM: a run goes on after a restore as it would have without, wherever it
 * was cut; and no bytes make a vCPU that L1 could not have come to.
 */
#include "svm_world.h"

#include "hw_tables.h"
#include "state_blob.h"

#define ITEM(NAME) NVIRT_STATE_SVM_##NAME

static void save(struct world *w, struct blob *blob)
{
    assert_int_equal(nvirt_svm_save(w->v, blob->data, sizeof blob->data, &blob->bytes), NVIRT_OK);
}

static enum nvirt_status restore(struct world *w, const struct blob *blob)
{
    return nvirt_svm_restore(w->v, blob->data, blob->bytes);
}

static void reset(struct world *w)
{
    assert_int_equal(nvirt_svm_reset(w->v), NVIRT_OK);
}

static void expect_same(const struct blob *a, const struct blob *b)
{
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->data, b->data, a->bytes);
}

/* The vCPU ends, another begins in other memory. */
static void new_vcpu(struct world *w)
{
    assert_int_equal(nvirt_svm_vcpu_destroy(w->v), NVIRT_OK);
    free(w->memory);
    w->memory = aligned_alloc(NVIRT_SVM_VCPU_ALIGN, NVIRT_SVM_VCPU_SIZE);
    memset(w->memory, 0x5a, NVIRT_SVM_VCPU_SIZE);
    memset(w->maps02, 0x5a, sizeof w->maps02);
    assert_int_equal(nvirt_svm_vcpu_init(w->memory, NVIRT_SVM_VCPU_SIZE, &w->config, &w->v),
                     NVIRT_OK);
}

enum how { NOT_AT_ALL, IN_PLACE, ELSEWHERE };

static void move(struct world *w, enum how how)
{
    struct nvirt_vmcb vmcb01;
    struct blob before;
    struct blob after;

    if (how == NOT_AT_ALL)
        return;
    save(w, &before);
    vmcb01 = *w->vmcb01;
    if (how == IN_PLACE)
        reset(w);
    else
        new_vcpu(w);
    *w->vmcb01 = vmcb01;
    assert_int_equal(restore(w, &before), NVIRT_OK);
    /* What was restored saves as the same bytes. */
    save(w, &after);
    expect_same(&before, &after);
}

/* ---- a run with everything in it that can be in flight ---- */

static void inject(struct world *w, enum nvirt_event_type type, uint8_t vector, uint32_t error)
{
    struct nvirt_event event = {
        .type = type, .vector = vector, .error_code = error, .has_error_code = error != 0,
        .address = vector == NVIRT_VECTOR_PF ? 0x123456 : 0,
    };

    assert_int_equal(nvirt_svm_inject(w->v, &w->cpu, &event), NVIRT_OK);
}

static void step_interrupt_waits(struct world *w) { inject(w, NVIRT_EVENT_INTERRUPT, 0x41, 0); }
static void step_nmi_waits(struct world *w) { inject(w, NVIRT_EVENT_NMI, 2, 0); }
static void step_fault_waits(struct world *w) { inject(w, NVIRT_EVENT_EXCEPTION, 14, 4); }
static void step_clgi(struct world *w) { (void)execute(w, NVIRT_SVM_EXIT_CLGI); }
static void step_stgi(struct world *w) { (void)execute(w, NVIRT_SVM_EXIT_STGI); }

static void write_msr(struct world *w, uint32_t msr, uint64_t value)
{
    w->vmcb01->rax = value & 0xffffffff;
    w->gprs.r[NVIRT_RDX] = value >> 32;
    (void)msr_access(w, msr, true);
}

static void step_hsave(struct world *w) { write_msr(w, NVIRT_SVM_MSR_HSAVE_PA, 0x77000); }
static void step_vm_cr(struct world *w) { write_msr(w, NVIRT_SVM_MSR_VM_CR, 2); }

static void step_read_hsave(struct world *w)
{
    (void)msr_access(w, NVIRT_SVM_MSR_HSAVE_PA, false);
}

/* An L2 with tables of L1's, a virtual interrupt, its own masking and an event to begin with. */
static void step_vmrun(struct world *w)
{
    struct nvirt_vmcb vmcb = nested_vmcb12();

    vmcb.int_ctl = NVIRT_SVM_V_IRQ | NVIRT_SVM_V_INTR_MASKING | 5 | (UINT64_C(0x33) << 32);
    vmcb.event_inj = EVENT_GP | (UINT64_C(0x18) << 32);
    vmcb.tsc_offset = 12345;
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_HLT, true);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_INTR, true);
    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_CPUID, true);
    put_vmcb12(w, VMCB12, &vmcb);
    vmrun(w);
}

/* Without tables and virtual interrupts of its own: PAT and TPR are shared with L1. */
static void step_vmrun_sharing(struct world *w)
{
    struct nvirt_vmcb vmcb = good_vmcb12();

    nvirt_vmcb_intercept(&vmcb, NVIRT_SVM_EXIT_HLT, true);
    put_vmcb12(w, VMCB12, &vmcb);
    vmrun(w);
}

/* A host's exit of L2's in the middle of a delivery, with registers as L2 changed them. */
static void step_host_exit_in_delivery(struct world *w)
{
    struct nvirt_vmcb *vmcb = nvi_svm_current(w->v);

    w->int_info = EVENT_GP | (UINT64_C(0x20) << 32);
    prepare(w);
    vmcb->rip += 7;
    vmcb->rsp = 0xa000;
    vmcb->cr2 = 0x5678;
    vmcb->dr6 |= 1;
    vmcb->g_pat = UINT64_C(0x0007010600070406);
    vmcb->cs.limit = 0xfffff;
    vmcb->int_ctl = (vmcb->int_ctl & ~NVIRT_SVM_V_TPR) | 9;
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_SMI, 0, 0), NVIRT_OK);
}

static void step_host_exit(struct world *w) { (void)step(w, NVIRT_SVM_EXIT_SMI, 0, 0); }
static void step_hlt(struct world *w) { (void)step(w, NVIRT_SVM_EXIT_HLT, 0, 0); }

/* The handler of an injected NMI reaches its IRET. */
static void step_iret(struct world *w) { (void)step(w, NVIRT_SVM_EXIT_IRET, 0, 0); }

/* L1 lets interrupts in. */
static void step_sti(struct world *w) { w->vmcb01->rflags |= NVIRT_RFLAGS_IF; }
static void step_cli(struct world *w) { w->vmcb01->rflags &= ~NVIRT_RFLAGS_IF; }

static void (*const steps[])(struct world *) = {
    step_host_exit,
    step_hsave,
    step_vm_cr,
    step_clgi,
    step_interrupt_waits,
    step_nmi_waits,
    step_vmrun,                 /* GIF set: both are L2's or L1's now. */
    step_host_exit_in_delivery,
    step_host_exit,
    step_fault_waits,
    step_host_exit,
    step_hlt,
    step_read_hsave,
    step_stgi,
    step_nmi_waits,
    step_host_exit,
    step_nmi_waits,             /* While the handler of the first runs. */
    step_iret,
    step_sti,
    step_interrupt_waits,
    step_host_exit,
    step_cli,
    step_vmrun_sharing,
    step_host_exit_in_delivery,
    step_fault_waits,
    step_host_exit,
    step_hlt,
    step_vmrun,
    step_hlt,
    step_stgi,
    step_read_hsave,
};

#define STEPS (sizeof steps / sizeof steps[0])

/* ---- what is seen of a run ---- */

struct seen {
    struct nvirt_vmcb vmcb;
    uint64_t more[32];
};

static bool injects_software_event(const struct nvirt_vmcb *vmcb)
{
    uint64_t type = (vmcb->event_inj & NVIRT_SVM_EVENT_TYPE) >> NVIRT_SVM_EVENT_TYPE_SHIFT;
    uint64_t vector = vmcb->event_inj & NVIRT_SVM_EVENT_VECTOR;

    return (vmcb->event_inj & NVIRT_SVM_EVENT_VALID) != 0 &&
           (type == NVIRT_SVM_EVENT_SOFTWARE ||
            (type == NVIRT_SVM_EVENT_EXCEPTION &&
             (vector == NVIRT_VECTOR_BP || vector == NVIRT_VECTOR_OF)));
}

/* What the next entry loads: the guest runs until an exit of the host's. Host-physical addresses and
 * tags are made anew, and so is what hardware may keep. */
static void look(struct world *w, struct seen *seen)
{
    struct nvirt_vmcb *vmcb;

    memset(seen, 0, sizeof *seen);
    prepare(w);
    vmcb = nvi_svm_current(w->v);
    seen->vmcb = *vmcb;
    seen->vmcb.iopm_base = seen->vmcb.msrpm_base = seen->vmcb.n_cr3 = 0;
    seen->vmcb.asid = seen->vmcb.tlb_control = seen->vmcb.clean = 0;
    /* What the last exit told, and what follows from an instruction being intercepted. */
    seen->vmcb.exit_code = seen->vmcb.exit_info1 = seen->vmcb.exit_info2 = 0;
    seen->vmcb.exit_int_info = 0;
    if (!injects_software_event(vmcb))
        seen->vmcb.next_rip = 0; /* nothing else reads it */
    memcpy(seen->more, w->gprs.r, sizeof w->gprs.r);
    seen->more[16] = w->run.level;
    seen->more[17] = w->run.branch_barrier;
    seen->more[18] = w->run.host_if;
    seen->more[19] = w->exit.code;
    seen->more[20] = (uint64_t)w->exit.verdict;
    seen->more[21] = w->exit.level;
    seen->more[22] = nvirt_svm_gif(w->v);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_SMI, 0, 0), NVIRT_OK);
}

static void play(struct world *w, size_t cut, enum how how, struct seen *seen)
{
    for (size_t i = 0; i < STEPS; i++) {
        steps[i](w);
        if (i == cut)
            move(w, how);
        look(w, &seen[i]);
    }
}

static void compare(const struct seen *expected, const struct seen *found, size_t cut)
{
    for (size_t i = 0; i < STEPS; i++) {
        const uint8_t *a = (const uint8_t *)&expected[i];
        const uint8_t *b = (const uint8_t *)&found[i];

        for (size_t at = 0; at < sizeof *expected; at++)
            if (a[at] != b[at])
                fail_msg("cut after step %zu: step %zu differs at 0x%zx: %x, not %x", cut, i, at,
                         b[at], a[at]);
    }
}

static void cut_everywhere(int (*begin)(void **state))
{
    struct seen *expected = calloc(STEPS, sizeof *expected);
    struct seen *found = calloc(STEPS, sizeof *found);

    for (size_t cut = 0; cut <= STEPS; cut++) {
        for (int how = IN_PLACE; how <= ELSEWHERE; how++) {
            void *world;

            begin(&world);
            play(world, cut == 0 ? STEPS : cut - 1, (enum how)how, cut == 0 ? expected : found);
            teardown(&world);
            if (cut != 0)
                compare(expected, found, cut - 1);
        }
    }
    free(expected);
    free(found);
}

static void a_run_cut_at_any_step_goes_on_as_without_interrupts_passed_through(void **state)
{
    (void)state;
    cut_everywhere(setup);
}

static void a_run_cut_at_any_step_goes_on_as_without_interrupts_of_the_host(void **state)
{
    (void)state;
    cut_everywhere(setup_host_owned);
}

/* The script is what it claims to be: it reaches the states that are worth cutting in. */
static void the_script_passes_through_every_kind_of_state(void **state)
{
    struct world *w = *state;
    struct seen seen;
    bool level2[2] = { false, false };
    bool found[8] = { false };

    for (size_t i = 0; i < STEPS; i++) {
        const struct nvi_svm_waiting *waiting = &w->v->waiting;

        steps[i](w);
        if (w->v->level == 2) {
            level2[w->v->np12] = true;
            found[0] |= w->v->v_irq;
            found[1] |= (w->v->vmcb02->event_inj & NVIRT_SVM_EVENT_VALID) != 0;
            found[2] |= waiting->exception != 0;
        }
        found[3] |= waiting->nmi;
        found[4] |= waiting->nmi_masked;
        found[5] |= waiting->iret_pending;
        found[6] |= waiting->interrupt;
        found[7] |= !w->v->gif;
        look(w, &seen);
    }
    assert_true(level2[0] && level2[1]);
    for (unsigned i = 0; i < 8; i++)
        if (!found[i])
            fail_msg("kind %u was not met", i);
}

static void turn_svm_off(struct world *w)
{
    write_msr(w, NVIRT_SVM_MSR_EFER, w->vmcb01->efer & ~NVIRT_SVM_EFER_SVME);
    assert_false(w->v->svme);
}

/* A vCPU that L1 itself took out of SVM has tables and tags of an L2 yet. They are of the memory that
 * was there before. */
static void a_restore_trusts_no_table_and_no_tag_of_the_time_before(void **state)
{
    struct world *w = *state;
    struct blob blob;
    struct nvirt_vmcb vmcb01;
    struct hw_page page;

    step_vmrun(w);
    save(w, &blob);
    vmcb01 = *w->vmcb01;
    (void)step(w, NVIRT_SVM_EXIT_NPF, NVIRT_SVM_NPF_FINAL | 4, 0x3000);
    prepare(w);
    assert_int_equal(hw_npt_walk(w->port, vmcb02(w)->n_cr3, 0x3000, &page), HW_PAGE);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_HLT, 0, 0), NVIRT_OK);
    turn_svm_off(w);
    *w->vmcb01 = vmcb01;
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 2);
    assert_int_equal(hw_npt_walk(w->port, vmcb02(w)->n_cr3, 0x3000, &page), HW_NOT_PRESENT);
    assert_true(vmcb02(w)->tlb_control != NVIRT_SVM_TLB_NOTHING);
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_HLT, 0, 0), NVIRT_OK);
    prepare(w);
    assert_int_equal(w->run.level, 1);
    assert_true(w->vmcb01->tlb_control != NVIRT_SVM_TLB_NOTHING);
}

/* What nvirt put into vmcb01 for GIF clear goes with GIF, though the host wrote vmcb01 meanwhile. */
static void interrupt_controls_of_vmcb01_are_set_anew(void **state)
{
    struct world *w = *state;
    struct blob blob;
    struct nvirt_vmcb vmcb01;

    step_clgi(w);
    step_host_exit(w);
    assert_true(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_NMI) != 0);
    step_stgi(w);
    save(w, &blob);
    vmcb01 = *w->vmcb01;
    step_host_exit(w);
    turn_svm_off(w);
    *w->vmcb01 = vmcb01;
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    prepare(w);
    assert_false(nvirt_vmcb_intercepts(w->vmcb01, NVIRT_SVM_EXIT_NMI) != 0);
}

/* ---- misuse ---- */

static void save_tells_the_size_it_needs_and_max_bytes_suffice(void **state)
{
    struct world *w = *state;
    struct blob blob;
    size_t used = 0;

    step_vmrun(w);
    assert_int_equal(nvirt_svm_save(w->v, blob.data, 64, &used), NVIRT_ERR_SIZE);
    /* With every byte of the VMCB set. */
    memset(&w->v->vmcb12, 0xff, sizeof w->v->vmcb12);
    memset(w->v->vmcb02, 0xff, sizeof *w->v->vmcb02);
    save(w, &blob);
    assert_true(blob.bytes > used && blob.bytes <= NVIRT_STATE_MAX_BYTES);
}

static void save_and_restore_name_what_the_host_got_wrong(void **state)
{
    struct world *w = *state;
    struct blob blob;
    size_t used;

    save(w, &blob);
    assert_int_equal(nvirt_svm_save(NULL, &blob, 1, &used), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_save(w->v, NULL, 1, &used), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_save(w->v, &blob, 1, NULL), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_restore(NULL, &blob, 1), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_restore(w->v, NULL, 1), NVIRT_ERR_NULL);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_STATE); /* SVME is on. */
    reset(w);
    prepare(w);
    assert_int_equal(nvirt_svm_save(w->v, blob.data, sizeof blob.data, &used), NVIRT_ERR_STATE);
    assert_int_equal(restore(w, &blob), NVIRT_ERR_STATE);
}

/* ---- bad data ---- */

/* A vCPU that was refused is as fresh as before. */
static void expect_refused(struct world *w, const struct blob *blob, const struct blob *fresh)
{
    struct blob after;

    assert_int_equal(restore(w, blob), NVIRT_ERR_DATA);
    save(w, &after);
    expect_same(&after, fresh);
}

static void saved_l2(struct world *w, struct blob *good, struct blob *fresh)
{
    step_vmrun(w);
    save(w, good);
    reset(w);
    save(w, fresh);
}

struct bad_item {
    enum nvirt_state_svm_item item;
    uint64_t value;
};

static void items_that_l1_cannot_have_come_to_are_refused(void **state)
{
    static const struct bad_item bad[] = {
        { ITEM(LEVEL), 0 },
        { ITEM(LEVEL), 3 },
        { ITEM(LEVEL), 1 }, /* With an address of vmcb12, and rows. */
        { ITEM(SVME), 0 },
        { ITEM(SVME), 2 },
        { ITEM(GIF), 2 },
        { ITEM(VM_CR), 0x20 },
        { ITEM(VM_CR), NVIRT_SVM_VM_CR_SVMDIS },
        { ITEM(HSAVE_PA), 8 },
        { ITEM(HSAVE_PA), UINT64_C(1) << 40 },
        { ITEM(SVM_KEY), 1 }, /* There is no SVM-Lock. */
        { ITEM(VMCB12), VMCB12 + 8 },
        { ITEM(VMCB12), UINT64_C(1) << 40 },
        { ITEM(V_IRQ), 2 },
        { ITEM(BARRIER), 2 },
        { ITEM(NMI), 2 },
        { ITEM(NMI_MASKED), 2 },
        { ITEM(IRET_PENDING), 2 },
        { ITEM(IRET_RIP), 1 },
        { ITEM(IRET_RSP), 1 },
        { ITEM(INTERRUPT), 0x41 },
        { ITEM(INTERRUPT), 0x341 },
        { ITEM(EXCEPTION), 0x80000306 }, /* Without a level. */
        { ITEM(EXCEPTION_LEVEL), 1 },
        { ITEM(EXCEPTION_ADDRESS), 1 },
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob good;

    saved_l2(w, &good, &fresh);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct blob blob = good;

        set_item(&blob, bad[i].item, bad[i].value);
        expect_refused(w, &blob, &fresh);
    }
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

/* From a state without L2, so that the item itself is what decides. */
static void items_that_do_not_fit_each_other_are_refused(void **state)
{
    static const struct {
        size_t count;
        struct bad_item item[3];
    } bad[] = {
        { 1, { { ITEM(GIF), 0 } } }, /* There is none without SVM. */
        { 1, { { ITEM(LEVEL), 3 } } },
        { 1, { { ITEM(VMCB12), VMCB12 } } },
        { 1, { { ITEM(V_IRQ), 1 } } },
        { 2, { { ITEM(SVME), 1 }, { ITEM(VM_CR), NVIRT_SVM_VM_CR_SVMDIS } } },
        { 2, { { ITEM(EXCEPTION), 0x80000306 }, { ITEM(EXCEPTION_LEVEL), 3 } } },
        { 2, { { ITEM(EXCEPTION), 0x80000302 }, { ITEM(EXCEPTION_LEVEL), 1 } } },
        { 2, { { ITEM(EXCEPTION), 0x80000006 }, { ITEM(EXCEPTION_LEVEL), 1 } } },
        { 2, { { ITEM(EXCEPTION), 0x80000320 }, { ITEM(EXCEPTION_LEVEL), 1 } } },
        { 2, { { ITEM(EXCEPTION), UINT64_C(0x180000306) }, { ITEM(EXCEPTION_LEVEL), 1 } } },
        { 3,
          { { ITEM(EXCEPTION), 0x80000306 },
            { ITEM(EXCEPTION_LEVEL), 1 },
            { ITEM(EXCEPTION_ADDRESS), 1 } } },
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob blob;

    reset(w);
    save(w, &fresh);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        blob = fresh;
        for (size_t n = 0; n < bad[i].count; n++)
            set_item(&blob, bad[i].item[n].item, bad[i].item[n].value);
        expect_refused(w, &blob, &fresh);
    }
    /* Some that do fit: the base was not refused for its own sake. */
    blob = fresh;
    set_item(&blob, ITEM(SVME), 1);
    set_item(&blob, ITEM(GIF), 0);
    set_item(&blob, ITEM(EXCEPTION), 0x8000030e);
    set_item(&blob, ITEM(EXCEPTION_LEVEL), 1);
    set_item(&blob, ITEM(EXCEPTION_ADDRESS), 0x123);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
    assert_false(nvirt_svm_gif(w->v));
}

static void a_damaged_container_is_refused(void **state)
{
    struct world *w = *state;
    struct blob fresh;
    struct blob good;

    saved_l2(w, &good, &fresh);
    for (size_t bytes = 0; bytes < good.bytes; bytes++) {
        struct blob blob = good;

        blob.bytes = bytes;
        expect_refused(w, &blob, &fresh);
    }
}

static void rows_that_do_not_belong_are_refused(void **state)
{
    static const uint32_t ids[] = {
        NVIRT_STATE_ITEM << 16 | NVIRT_STATE_SVM_ITEM_COUNT, /* An item of a later version. */
        NVIRT_STATE_CONTROL12 << 16 | 0x004,                 /* Within eight bytes. */
        NVIRT_STATE_CONTROL12 << 16 | 0x018,                 /* Reserved. */
        NVIRT_STATE_CONTROL12 << 16 | 0x070,                 /* EXITCODE: VMRUN does not read it. */
        NVIRT_STATE_CONTROL12 << 16 | 0x600,                 /* STAR: VMLOAD's. */
        NVIRT_STATE_CONTROL12 << 16 | 0x1000,                /* Beyond the page. */
        NVIRT_STATE_L2 << 16 | 0x000,                        /* Intercepts are no state of L2's. */
        NVIRT_STATE_L2 << 16 | 0x0b0,                        /* Nor is nCR3. */
        4u << 16,                                            /* No class. */
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    saved_l2(w, &good, &fresh);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        with_row(NVIRT_STATE_SVM, &good, ids[i], 1, &blob);
        expect_refused(w, &blob, &fresh);
    }
    /* CPL has one byte. */
    with_row(NVIRT_STATE_SVM, &good, nvi_row_id(NVIRT_STATE_L2, 0x4cb), 0x100, &blob);
    expect_refused(w, &blob, &fresh);
    /* There is no L2. */
    with_row(NVIRT_STATE_SVM, &fresh, nvi_row_id(NVIRT_STATE_L2, 0x578), 1, &blob);
    expect_refused(w, &blob, &fresh);
}

struct bad_field {
    enum nvirt_state_class kind;
    uint32_t offset;
    uint64_t value;
};

/* The checks of VMRUN, on L1's controls and on L2's present registers; and every bit of these that
 * the merge would not pass. */
static void fields_that_vmrun_would_not_take_are_refused(void **state)
{
    static const struct bad_field bad[] = {
        { NVIRT_STATE_CONTROL12, 0x010, 0 },                      /* VMRUN is not intercepted. */
        { NVIRT_STATE_CONTROL12, 0x058, 0 },                      /* ASID 0. */
        { NVIRT_STATE_CONTROL12, 0x0b0, UINT64_C(1) << 40 },      /* nCR3. */
        { NVIRT_STATE_CONTROL12, 0x040, UINT64_C(0xffffffffff) }, /* The I/O map's end. */
        { NVIRT_STATE_L2, 0x4d0, 0xd00 },                         /* EFER without SVME. */
        { NVIRT_STATE_L2, 0x4d0, 0x1100 },                        /* LME and PG without LMA. */
        { NVIRT_STATE_L2, 0x548, 0 },                             /* CR4: long mode without PAE. */
        { NVIRT_STATE_L2, 0x548, UINT64_C(1) << 40 },
        { NVIRT_STATE_L2, 0x558, UINT64_C(1) << 40 },
        { NVIRT_STATE_L2, 0x558, 0x80000041 },                    /* CR0 bit 6. */
        { NVIRT_STATE_L2, 0x560, UINT64_C(1) << 32 },             /* DR7. */
        { NVIRT_STATE_L2, 0x568, UINT64_C(1) << 32 },             /* DR6. */
        { NVIRT_STATE_L2, 0x570, 0 },                             /* RFLAGS bit 1. */
        { NVIRT_STATE_L2, 0x4cb, 4 },                             /* CPL. */
        { NVIRT_STATE_L2, 0x668, 2 },                             /* PAT: no such type. */
        { NVIRT_STATE_L2, 0x060, NVIRT_SVM_V_INTR_MASKING },
        { NVIRT_STATE_L2, 0x060, UINT64_C(1) << 31 },             /* AVIC. */
        { NVIRT_STATE_L2, 0x068, 2 },
        { NVIRT_STATE_L2, 0x0a8, 0x80000102 },                    /* No such type of event. */
        { NVIRT_STATE_L2, 0x0a8, 0x302 },                         /* An event that is not valid. */
    };
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    saved_l2(w, &good, &fresh);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        with_row(NVIRT_STATE_SVM, &good, nvi_row_id(bad[i].kind, bad[i].offset), bad[i].value,
                 &blob);
        if (restore(w, &blob) != NVIRT_ERR_DATA)
            fail_msg("row %zu was taken", i);
        expect_refused(w, &blob, &fresh);
    }
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

static int setup_with_virtual_nmis(void **state)
{
    struct world *w = world_new(true);

    w->caps.features |= NVIRT_SVM_FEATURE_VNMI;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    world_start(w);
    *state = w;
    return 0;
}

/* [APM 2 "NMI Virtualization"]: V_NMI_ENABLE without the interception of NMIs is VMEXIT_INVALID. It is L1's
 * bit, which L2's own int_ctl does not have. */
static void virtual_nmis_without_the_intercept_are_refused(void **state)
{
    const uint32_t int_ctl = nvi_row_id(NVIRT_STATE_CONTROL12, 0x060);
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    saved_l2(w, &good, &fresh);
    assert_false(nvirt_vmcb_intercepts(&w->v->vmcb12, NVIRT_SVM_EXIT_NMI));
    with_row(NVIRT_STATE_SVM, &good, int_ctl, NVIRT_SVM_V_INTR_MASKING | NVIRT_SVM_V_NMI_ENABLE, &blob);
    expect_refused(w, &blob, &fresh);
    with_row(NVIRT_STATE_SVM, &good, int_ctl, NVIRT_SVM_V_INTR_MASKING, &blob);
    assert_int_equal(restore(w, &blob), NVIRT_OK);
}

/* Also where vmcb12 has no nested paging, and VMRUN would not look at PAT. */
static void a_pat_that_no_cpu_has_is_refused_without_nested_paging(void **state)
{
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    step_vmrun_sharing(w);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    with_row(NVIRT_STATE_SVM, &good, nvi_row_id(NVIRT_STATE_L2, 0x668), 2, &blob);
    expect_refused(w, &blob, &fresh);
    assert_int_equal(restore(w, &good), NVIRT_OK);
}

static int setup_with_options(void **state)
{
    struct world *w = world_new(true);

    w->caps.features |= NVIRT_SVM_FEATURE_LBR | NVIRT_SVM_FEATURE_SPEC_CTRL;
    assert_int_equal(nvirt_svm_caps_offer(&w->caps, &w->offer), NVIRT_OK);
    world_start(w);
    *state = w;
    return 0;
}

/* Last branches and SPEC_CTRL are L2's registers where they are in force, and nothing where not. */
static void optional_registers_of_l2_are_saved_where_they_are_in_force(void **state)
{
    static const struct bad_field bad[] = {
        { NVIRT_STATE_L2, 0x670, NVIRT_BIT(6) },  /* DEBUGCTL. */
        { NVIRT_STATE_L2, 0x6e0, NVIRT_BIT(3) },  /* SPEC_CTRL. */
    };
    struct world *w = *state;
    struct nvirt_vmcb vmcb = good_vmcb12();
    struct blob fresh;
    struct blob good;
    struct blob blob;

    vmcb.virt_ext = NVIRT_SVM_LBR_ENABLE;
    enter_l2(w, &vmcb);
    prepare(w);
    vmcb02(w)->dbgctl = 1;
    vmcb02(w)->br_from = 0x1111;
    vmcb02(w)->br_to = 0x2222;
    vmcb02(w)->last_excp_from = 0x3333;
    vmcb02(w)->last_excp_to = 0x4444;
    vmcb02(w)->spec_ctrl = 4;
    assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_SMI, 0, 0), NVIRT_OK);
    save(w, &good);
    reset(w);
    save(w, &fresh);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        with_row(NVIRT_STATE_SVM, &good, nvi_row_id(bad[i].kind, bad[i].offset), bad[i].value,
                 &blob);
        expect_refused(w, &blob, &fresh);
    }
    assert_int_equal(restore(w, &good), NVIRT_OK);
    prepare(w);
    assert_int_equal(vmcb02(w)->dbgctl, 1);
    assert_int_equal(vmcb02(w)->br_from, 0x1111);
    assert_int_equal(vmcb02(w)->br_to, 0x2222);
    assert_int_equal(vmcb02(w)->last_excp_from, 0x3333);
    assert_int_equal(vmcb02(w)->last_excp_to, 0x4444);
    assert_int_equal(vmcb02(w)->spec_ctrl, 4);
}

static void optional_registers_that_are_not_in_force_are_refused(void **state)
{
    static const uint32_t offsets[] = { 0x670, 0x678, 0x680, 0x688, 0x690, 0x6e0 };
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    struct blob blob;

    saved_l2(w, &good, &fresh);
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        with_row(NVIRT_STATE_SVM, &good, nvi_row_id(NVIRT_STATE_L2, offsets[i]), 1, &blob);
        expect_refused(w, &blob, &fresh);
    }
}

/* What is accepted saves as the bytes it came from, and the host's own is in vmcb02. */
static void expect_safe(struct world *w, const struct blob *blob)
{
    struct blob after;

    save(w, &after);
    expect_same(&after, blob);
    if (w->v->level == 2) {
        prepare(w);
        assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_VMRUN) != 0);
        assert_true(nvirt_vmcb_intercepts(vmcb02(w), NVIRT_SVM_EXIT_MSR) != 0);
        assert_true(vmcb02(w)->iopm_base == w->v->iopm02_hpa.value);
        assert_int_equal(vmcb02(w)->np_control, NVIRT_SVM_NP_ENABLE);
        assert_true(vmcb02(w)->asid >= 2 && vmcb02(w)->asid <= 5);
        assert_int_equal(vmcb02(w)->virt_ext, 0);
        assert_int_equal(hardware_exit(w, NVIRT_SVM_EXIT_SMI, 0, 0), NVIRT_OK);
    }
}

static void every_single_bit_flipped_is_refused_or_a_state(void **state)
{
    struct world *w = *state;
    struct blob fresh;
    struct blob good;
    unsigned accepted = 0;

    saved_l2(w, &good, &fresh);
    for (size_t bit = 0; bit < good.bytes * 8; bit++) {
        struct blob blob = good;
        uint64_t value = 1;

        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (restore(w, &blob) != NVIRT_OK) {
            expect_refused(w, &blob, &fresh);
            continue;
        }
        accepted++;
        /* A row of 0 is not written again. */
        if (bit / 8 >= HEADER + NVIRT_STATE_SVM_ITEM_COUNT * ROW)
            memcpy(&value, row_value(&blob, (bit / 8 - HEADER) / ROW), sizeof value);
        if (value != 0)
            expect_safe(w, &blob);
        reset(w);
        save(w, &fresh);
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_cut_at_any_step_goes_on_as_without_interrupts_passed_through),
        cmocka_unit_test(a_run_cut_at_any_step_goes_on_as_without_interrupts_of_the_host),
        cmocka_unit_test_setup_teardown(the_script_passes_through_every_kind_of_state, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_restore_trusts_no_table_and_no_tag_of_the_time_before,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(interrupt_controls_of_vmcb01_are_set_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(save_tells_the_size_it_needs_and_max_bytes_suffice, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(save_and_restore_name_what_the_host_got_wrong, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(items_that_l1_cannot_have_come_to_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(items_that_do_not_fit_each_other_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_damaged_container_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_that_do_not_belong_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(fields_that_vmrun_would_not_take_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(virtual_nmis_without_the_intercept_are_refused,
                                        setup_with_virtual_nmis, teardown),
        cmocka_unit_test_setup_teardown(a_pat_that_no_cpu_has_is_refused_without_nested_paging,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            optional_registers_of_l2_are_saved_where_they_are_in_force, setup_with_options,
            teardown),
        cmocka_unit_test_setup_teardown(optional_registers_that_are_not_in_force_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_single_bit_flipped_is_refused_or_a_state, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
