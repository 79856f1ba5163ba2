/* SPDX-License-Identifier: MIT */
/*
 * What a host asks for (the level's root, its guest with or without globals, everything, Hyper-V's
 * queue) falls due in the context that it names, on both vendors: whichever level ran when it was
 * raised, and also when the entry fails afterwards, the other level comes first, or L2 is left by
 * force.
 */
#include "../tlbflush/tlb_rig.h"

#include <nvirt/hyperv.h>

#define ROOT 3u
#define EPTP 0x5000u
#define TAG01 1u
#define TAG02 10u
#define PAGE UINT64_C(0x7000)

enum { QUEUE = NVIRT_TLB_REQUEST_EVERYTHING + 1, KINDS };

/* What comes between the request and the entry that it falls due at. */
enum between { NOTHING, FAILED_ENTRIES, THE_OTHER_LEVEL, LEFT_BY_FORCE, BETWEEN };

struct scene {
    bool svm;
    uint32_t level;  /* that the request names */
    uint32_t raised; /* level that ran then */
    uint32_t kind;
    enum between between;
};

struct vcpu {
    struct rig r;
    uint32_t level;
    struct nvirt_hv_fifo fifo[2];
    struct nvirt_hv_slot slot[2][4];
};

/* ---- a vCPU ---- */

static struct nvirt_tlb_entry entry_of(uint32_t level)
{
    return (struct nvirt_tlb_entry){ .level = level, .cpu = 0, .root = level == 2 ? ROOT : 0,
                                     .eptp = EPTP };
}

static void ask(struct vcpu *v)
{
    const struct nvirt_tlb_entry entry = entry_of(v->level);

    nvirt_hv_flush_due(&v->fifo[v->level - 1], &v->r.tlb, &entry, 48, &v->r.due);
}

static void enter_level(struct vcpu *v)
{
    const struct nvirt_tlb_entry entry = entry_of(v->level);

    ask(v);
    for (uint32_t i = 0; i < v->r.due.count; i++) {
        nvirt_tlb_done(&v->r.tlb, 0, &v->r.due.op[i]);
    }
    nvirt_tlb_entered(&v->r.tlb, &entry);
}

/* By VMLAUNCH and an exit, by VMRUN and #VMEXIT, or by force: to the engine it is the same. */
static void go_to(struct vcpu *v, uint32_t level)
{
    if (level == v->level) {
        return;
    }
    v->level = level;
    if (level == 2 && v->r.tlb.svm) {
        (void)nvirt_tlb_svm_enter_l2(&v->r.tlb, 7, true, 0);
    } else if (level == 2) {
        (void)nvirt_tlb_vmx_enter_l2(&v->r.tlb, true, 7);
    } else if (!v->r.tlb.svm) {
        nvirt_tlb_vmx_leave_l2(&v->r.tlb, true);
    }
}

/* Both levels ran and owe nothing. */
static void settle(struct vcpu *v, bool svm)
{
    make(&v->r, &all_caps, svm);
    v->level = 1;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(nvirt_hv_fifo_init(&v->fifo[i], v->slot[i], 4), NVIRT_OK);
    }
    for (uint32_t i = 0; i < 4; i++) {
        enter_level(v);
        go_to(v, 3 - v->level);
    }
    assert_nothing(&v->r);
}

/* ---- the request and what it comes to ---- */

static void raise_request(struct vcpu *v, const struct scene *s)
{
    uint64_t entry = PAGE;

    if (s->kind == QUEUE) {
        assert_true(nvirt_hv_fifo_put(&v->fifo[s->level - 1], &entry, 1));
    } else {
        nvirt_tlb_request(&v->r.tlb, s->level, (enum nvirt_tlb_request)s->kind);
    }
}

static enum nvirt_flush_kind expected(const struct scene *s)
{
    static const enum nvirt_flush_kind vmx[KINDS] = {
        NVIRT_FLUSH_ROOT, NVIRT_FLUSH_VPID, NVIRT_FLUSH_VPID_NOT_GLOBAL, NVIRT_FLUSH_ROOT,
        NVIRT_FLUSH_VPID_ADDRESS };

    if (!s->svm) {
        return vmx[s->kind];
    }
    return s->kind == QUEUE ? NVIRT_FLUSH_ASID_ADDRESS : NVIRT_FLUSH_ASID;
}

static void assert_due(const struct vcpu *v, const struct scene *s)
{
    enum nvirt_flush_kind kind = expected(s);
    const struct nvirt_flush_op *op = &v->r.due.op[0];

    assert_int_equal(v->r.due.count, 1);
    assert_int_equal(op->kind, kind);
    if (kind == NVIRT_FLUSH_ROOT) {
        assert_int_equal(op->root, s->level == 1 ? NVIRT_TLB_ROOT_L1 : ROOT);
    } else {
        assert_int_equal(op->tag, s->level == 1 ? TAG01 : TAG02);
    }
    if (s->kind == QUEUE) {
        assert_int_equal(op->operand, PAGE);
    }
}

/* A request for everything is due at both levels; any other leaves the other level alone. */
static void assert_other_level(struct vcpu *v, const struct scene *s)
{
    if (s->kind == NVIRT_TLB_REQUEST_EVERYTHING) {
        assert_int_equal(v->r.due.count, 1);
    } else {
        assert_nothing(&v->r);
    }
}

static void play_between(struct vcpu *v, const struct scene *s)
{
    switch (s->between) {
    case FAILED_ENTRIES:
        go_to(v, s->level);
        ask(v);
        ask(v);
        assert_due(v, s);
        break;
    case THE_OTHER_LEVEL:
        go_to(v, 3 - s->level);
        enter_level(v);
        assert_other_level(v, s);
        break;
    case LEFT_BY_FORCE:
        go_to(v, 2);
        go_to(v, 1);
        if (s->level == 2) {
            enter_level(v);
            assert_other_level(v, s);
        }
        break;
    default:
        break;
    }
}

static void play(const struct scene *s)
{
    struct vcpu *v = malloc(sizeof(*v));

    settle(v, s->svm);
    go_to(v, s->raised);
    raise_request(v, s);
    play_between(v, s);
    go_to(v, s->level);
    enter_level(v);
    assert_due(v, s);
    enter_level(v);
    assert_nothing(&v->r);
    free(v);
}

static void each_request_falls_due_in_the_context_it_names(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2 * 2 * 2 * KINDS * BETWEEN; i++) {
        const struct scene s = { .svm = (i & 1u) != 0, .level = 1 + (i >> 1 & 1u),
                                 .raised = 1 + (i >> 2 & 1u), .kind = (i >> 3) % KINDS,
                                 .between = (enum between)((i >> 3) / KINDS) };

        play(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_falls_due_in_the_context_it_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
