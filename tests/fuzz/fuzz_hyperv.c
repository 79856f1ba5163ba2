/* SPDX-License-Identifier: MIT */
/*
 * Hyper-V's interface under a hostile L1: hypercalls with input in memory and in registers, of L1 and
 * of L2s that it calls what it likes, sets of processors of every shape, MSRs, saved state, and what
 * comes out of the queues at entries.
 *
 * Each hypercall is also carried out by a second reading of the TLFS, written down here on its own: status,
 * reps, and what each processor is asked to flush must agree. Input is read once, no more than a page
 * of it; what is refused changes nothing; an address that reaches a flush instruction is canonical.
 */
#include "input.h"

#include "hv_enlight/direct.h"

#include <nvirt/hyperv.h>

#define MOST_VPS 140u
#define RAM UINT64_C(0x40000)
#define HOLE UINT64_C(0x20000)
#define SLOTS 8u
#define SAVED_BYTES NVIRT_HV_STATE_BYTES(MOST_VPS)
#define LINEAR_BITS 48u

struct fuzz {
    struct input in;
    struct nvirt_port_vm *port;
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp[MOST_VPS];
    struct nvirt_hv_slot slot[MOST_VPS][SLOTS], slot_l2[MOST_VPS][SLOTS];
    /* What L1 said of the L2 that each processor entered last; not here: it said nothing. */
    struct nvi_hv_identity who[MOST_VPS];
    bool here[MOST_VPS];
    bool from_l2; /* the call under way is one of processor 0's L2 */
    struct nvirt_hv_vp beyond; /* must stay as it is */
    uint32_t vps;
    uint8_t xmm[NVIRT_HV_XMM_BYTES];
    struct nvirt_gprs gprs;
    uint8_t saved[SAVED_BYTES];
    size_t saved_bytes;
    struct nvirt_tlb_root root[4];
    struct nvirt_tlb_domain domain;
    struct nvirt_tlb tlb;
};

static struct fuzz fuzz;

static const uint64_t addresses[] = {0x10000, 0x11000, 0x11ff0, 0x11fe8, HOLE, HOLE - 0x40, 0x12000};
#define ADDRESSES (sizeof(addresses) / sizeof(addresses[0]))

static void make_engine(struct fuzz *f, bool svm)
{
    static const uint32_t tags[] = {10, 11};
    const struct nvirt_tlb_config config = {.domain = &f->domain,
                                            .caps = {true, true, true, true, true, true},
                                            .svm = svm,
                                            .tag01 = 1,
                                            .tags = tags,
                                            .tag_count = 2,
                                            .max_addresses = NVIRT_TLB_DEFAULT_ADDRESSES};

    nvirt_tlb_domain_init(&f->domain, f->root, 4, false);
    REQUIRE(nvirt_tlb_init(&f->tlb, &config) == NVIRT_OK, "an engine is made", 0);
}

static void make_partition(struct fuzz *f, bool svm, uint32_t offer)
{
    REQUIRE(nvirt_hv_partition_init(&f->partition, f->port, f->vp, f->vps, offer, svm) == NVIRT_OK,
            "a partition is made", offer);
    for (uint32_t i = 0; i < f->vps; i++) {
        REQUIRE(nvirt_hv_vp_init(&f->partition, i, f->slot[i], SLOTS) == NVIRT_OK,
                "a processor has a queue", i);
        REQUIRE(nvirt_hv_vp_init_l2(&f->partition, i, f->slot_l2[i], SLOTS) == NVIRT_OK,
                "and another", i);
    }
}

static void make_world(struct fuzz *f)
{
    uint8_t kind = u8(&f->in);
    bool svm = (kind & 1u) != 0;
    uint32_t offer = (kind >> 1) & NVIRT_HV_OFFER_ALL;

    offer &= svm ? NVIRT_HV_OFFER_SVM : NVIRT_HV_OFFER_VMX;
    if ((offer & NVIRT_HV_OFFER_NESTED_FLUSH) == 0) {
        offer &= ~NVIRT_HV_OFFER_NPT_TLB;
    }
    if (!svm && (offer & NVIRT_HV_OFFER_EVMCS) == 0) {
        offer &= ~NVIRT_HV_OFFER_MSR_BITMAP;
    }
    if ((svm || (offer & NVIRT_HV_OFFER_EVMCS) != 0) && (offer & NVIRT_HV_OFFER_FLUSH) != 0) {
        offer |= NVIRT_HV_OFFER_DIRECT_FLUSH;
    }
    f->vps = 1 + u8(&f->in) % MOST_VPS;
    f->port = fake_vm_new();
    fake_vm_ram(f->port, 0, RAM);
    fake_vm_hole(f->port, HOLE, 0x1000);
    memset(&f->beyond, 0xa5, sizeof f->beyond);
    make_partition(f, svm, offer);
    make_engine(f, svm);
    if (flip(&f->in)) { /* L1 has set the interface up */
        (void)nvirt_hv_wrmsr(&f->partition, 0, 0x40000000, 1);
        (void)nvirt_hv_wrmsr(&f->partition, 0, 0x40000001, 0x5001);
    }
}

/* ---- the second reading ---- */

enum verdict { NOTHING, ENTRIES, EVERYTHING, NOT_GLOBAL };

struct reading {
    uint32_t status;
    uint32_t reps;
    bool nested;
    uint64_t table;
    enum verdict verdict;
    bool named[MOST_VPS];
    uint32_t count;
    uint64_t entry[4096 / 8];
};

/* Whose number a set would have to have for processor @p vp; all ones: nobody's. */
static uint64_t number_of(const struct fuzz *f, uint32_t vp)
{
    if (!f->from_l2) {
        return vp;
    }
    return f->here[vp] && f->who[vp].vm == f->who[0].vm ? f->who[vp].vp : ~UINT64_C(0);
}

/* Element @p bank / 64 of those that there are, one per bit of @p valid. */
static bool is_in_banks(uint64_t number, uint64_t valid, const uint64_t *element, uint32_t elements)
{
    uint64_t bank = number / 64;
    uint32_t before = 0;

    if (number >= 4096 || (valid >> bank & 1) == 0) {
        return false;
    }
    for (uint64_t i = 0; i < bank; i++) {
        before += valid >> i & 1;
    }
    return before < elements && (element[before] >> (number % 64) & 1) != 0;
}

static void read_linear(const struct fuzz *f, const uint64_t *word, uint32_t words, uint16_t code,
                        uint32_t variable, uint32_t start, uint32_t reps, struct reading *r)
{
    bool ex = code == 0x13 || code == 0x14, list = code == 0x03 || code == 0x14;
    uint64_t flags = word[1], pages = 0;
    uint32_t first = ex ? 4 + variable : 3;

    if ((flags & ~(list ? UINT64_C(3) : UINT64_C(7))) != 0) {
        r->status = NVIRT_HV_INVALID_PARAMETER;
        return;
    }
    for (uint32_t vp = 0; vp < f->vps; vp++) {
        uint64_t number = number_of(f, vp);

        if ((flags & 1) != 0 || (ex && word[2] == 1)) {
            r->named[vp] = number != ~UINT64_C(0);
        } else if (!ex) {
            r->named[vp] = number < 64 && (word[2] >> number & 1) != 0;
        } else {
            r->named[vp] = is_in_banks(number, word[3], word + 4, variable);
        }
    }
    if (ex && (flags & 1) == 0 && word[2] != 1) {
        uint32_t banks = 0;

        if (word[2] != 0) {
            r->status = NVIRT_HV_INVALID_PARAMETER;
            return;
        }
        for (uint32_t bank = 0; bank < 64; bank++) {
            banks += word[3] >> bank & 1;
        }
        if (banks != variable) {
            r->status = NVIRT_HV_INVALID_HYPERCALL_INPUT;
            return;
        }
    }
    r->verdict = list ? ENTRIES : (flags & 4) != 0 ? NOT_GLOBAL : EVERYTHING;
    for (uint32_t i = start; list && i < reps; i++) {
        REQUIRE(first + i < words, "the second reading stays in its input", first + i);
        r->entry[r->count++] = word[first + i];
        pages += (word[first + i] & 0xfff) + 1;
    }
    if (pages > NVIRT_TLB_MAX_ADDRESSES) {
        r->verdict = EVERYTHING;
    }
}

/* @p word: the input, @p words of it there are; 0 where it cannot be read. */
static void read_again(const struct fuzz *f, uint64_t control, const uint64_t *word, uint32_t words,
                       uint32_t place, struct reading *r)
{
    uint16_t code = (uint16_t)control;
    uint32_t variable = control >> 17 & 0x3ff, reps = control >> 32 & 0xfff;
    uint32_t start = control >> 48 & 0xfff, fixed;
    bool linear = code == 2 || code == 3 || code == 0x13 || code == 0x14;
    bool list = code == 3 || code == 0x14 || code == 0xb0;
    bool ex = code == 0x13 || code == 0x14;

    memset(r, 0, sizeof *r);
    r->nested = code == 0xaf || code == 0xb0;
    if (!(linear && (f->partition.offer & NVIRT_HV_OFFER_FLUSH) != 0) &&
        !(r->nested && (f->partition.offer & NVIRT_HV_OFFER_NESTED_FLUSH) != 0)) {
        r->nested = false;
        r->status = NVIRT_HV_INVALID_HYPERCALL_CODE;
        return;
    }
    if ((control & UINT64_C(0xf000f000f8000000)) != 0 || (variable != 0 && !ex) ||
        (!list && (reps | start) != 0) || (list && start >= reps)) {
        r->status = NVIRT_HV_INVALID_HYPERCALL_INPUT;
        return;
    }
    r->reps = start;
    fixed = r->nested ? 2 : ex ? 4 : 3;
    if (fixed + variable + reps > words) {
        r->status = place;
        return;
    }
    if (r->nested) {
        r->status = word[1] != 0 ? NVIRT_HV_INVALID_PARAMETER : NVIRT_HV_SUCCESS;
        r->table = word[0] & UINT64_C(0x000ffffffffff000);
    } else {
        read_linear(f, word, words, code, variable, start, reps, r);
    }
    if (r->status == NVIRT_HV_SUCCESS) {
        r->reps = reps;
    }
}

/* ---- what came of it ---- */

static void check_queue(struct fuzz *f, uint32_t vp, const struct reading *r)
{
    bool named = r->status == NVIRT_HV_SUCCESS && !r->nested && r->named[vp];
    struct nvirt_hv_vp *processor = &f->vp[vp];
    uint64_t entries[SLOTS];
    uint32_t count;
    uint32_t waits = nvirt_hv_fifo_take(f->from_l2 ? &processor->direct.fifo : &processor->fifo,
                                        entries, SLOTS, &count);

    REQUIRE(!nvirt_hv_fifo_waits(&processor->fifo) && !nvirt_hv_fifo_waits(&processor->direct.fifo),
            "nothing waits for the other level", vp);
    if (!named || (r->verdict == ENTRIES && r->count == 0)) {
        REQUIRE(waits == 0, "who was not named is asked for nothing", vp);
    } else if (r->verdict == NOT_GLOBAL) {
        REQUIRE(waits == NVIRT_HV_WAITS_NOT_GLOBAL, "all but global", waits);
    } else if (r->verdict == EVERYTHING || r->count > SLOTS) {
        REQUIRE(waits == NVIRT_HV_WAITS_ALL, "all", waits);
    } else {
        REQUIRE(waits == NVIRT_HV_WAITS_ENTRIES && count == r->count, "entries", count);
        REQUIRE(memcmp(entries, r->entry, count * 8) == 0, "the entries that L1 gave", vp);
    }
}

static void check_nested(struct fuzz *f, uint32_t vp, const struct reading *r)
{
    uint64_t waits = nvirt_hv_take_nested_flush(&f->vp[vp]);

    if (r->status != NVIRT_HV_SUCCESS || !r->nested) {
        REQUIRE(waits == 0, "no second-stage flush", waits);
    } else {
        REQUIRE(waits == (r->table == 0 ? NVIRT_HV_NESTED_ALL : r->table), "the table", waits);
    }
}

static void check_result(struct fuzz *f, const struct nvirt_hv_caller *caller,
                         const struct reading *r)
{
    uint64_t result = caller->is_64bit ? f->gprs.r[NVIRT_RAX]
                                       : f->gprs.r[NVIRT_RDX] << 32 | f->gprs.r[NVIRT_RAX];

    REQUIRE((uint16_t)result == r->status, "the status", result << 32 | r->status);
    REQUIRE((uint32_t)(result >> 32) == r->reps,
            "the elements done", result);
    for (uint32_t i = 0; i < f->vps; i++) {
        check_queue(f, i, r);
        check_nested(f, i, r);
    }
}

/* ---- steps ---- */

static uint64_t some_control(struct fuzz *f)
{
    static const uint16_t codes[] = {2, 3, 0x13, 0x14, 0xaf, 0xb0};
    uint64_t control = flip(&f->in) || flip(&f->in) ? codes[choose(&f->in, 6)] : take(&f->in, 2);

    if (flip(&f->in)) {
        control |= (uint64_t)(u8(&f->in) % 8) << 17; /* banks */
    }
    if (flip(&f->in)) {
        control |= (uint64_t)(u8(&f->in) % 24) << 32; /* reps */
    }
    if (u8(&f->in) % 4 == 0) {
        control |= (uint64_t)(u8(&f->in) % 24) << 48; /* start */
    }
    return u8(&f->in) % 8 == 0 ? control ^ take(&f->in, 8) : control;
}

static void some_words(struct fuzz *f, uint64_t *word, uint32_t words)
{
    for (uint32_t i = 0; i < words; i++) {
        switch (u8(&f->in) % 6) {
        case 0: word[i] = take(&f->in, 8); break;
        case 1: word[i] = UINT64_C(1) << (u8(&f->in) % 64); break;
        case 2: word[i] = ~UINT64_C(0) << (u8(&f->in) % 64); break;
        case 3: word[i] = (uint64_t)u8(&f->in) << 12; break;
        default: word[i] = u8(&f->in) % 4; break;
        }
    }
}

static struct nvirt_hv_caller some_caller(struct fuzz *f)
{
    struct nvirt_hv_caller caller = {.vp = 0, .protected_mode = true, .is_64bit = true, .xmm = f->xmm};

    if (u8(&f->in) % 8 == 0) {
        caller.cpl = u8(&f->in) & 3;
        caller.protected_mode = flip(&f->in);
        caller.is_64bit = flip(&f->in);
        caller.xmm = flip(&f->in) ? f->xmm : NULL;
    }
    return caller;
}

static void put_control(struct fuzz *f, const struct nvirt_hv_caller *caller, uint64_t control,
                        uint64_t input, uint64_t second)
{
    if (caller->is_64bit) {
        f->gprs.r[NVIRT_RCX] = control;
        f->gprs.r[NVIRT_RDX] = input;
        f->gprs.r[NVIRT_R8] = second;
        return;
    }
    f->gprs.r[NVIRT_RAX] = (uint32_t)control;
    f->gprs.r[NVIRT_RDX] = control >> 32;
    f->gprs.r[NVIRT_RCX] = (uint32_t)input;
    f->gprs.r[NVIRT_RBX] = input >> 32;
    f->gprs.r[NVIRT_RSI] = (uint32_t)second;
    f->gprs.r[NVIRT_RDI] = second >> 32;
}

/* The same as a call of an L2's: of all that are none of L2's to make nothing happens. */
static void make_call_of_l2(struct fuzz *f, const struct nvirt_hv_caller *caller, uint16_t code,
                            const struct reading *r)
{
    bool possible = caller->cpl == 0 && caller->protected_mode &&
                    r->status != NVIRT_HV_INVALID_HYPERCALL_CODE && code != 0xaf && code != 0xb0;
    const struct nvirt_gprs before = f->gprs;
    nvirt_l2gpa input = nvirt_l2gpa_make(0);
    enum nvi_hv_direct_kind kind = nvi_hv_direct_look(&f->vp[0], caller, &f->gprs, &input);
    enum nvirt_hv_status status;

    REQUIRE(memcmp(&before, &f->gprs, sizeof before) == 0, "a look changes no register", 0);
    REQUIRE((kind != NVI_HV_DIRECT_NONE) == possible, "which calls of L2 are nvirt's", code);
    if (!possible) {
        return;
    }
    fake_vm_log_reset(f->port);
    status = nvi_hv_direct_call(&f->vp[0], caller, nvirt_l1gpa_make(input.value), &f->gprs);
    REQUIRE(status == r->status, "the status", status);
    REQUIRE(fake_vm_most_reads(f->port, NULL) <= 1, "input is read once", 0);
    check_result(f, caller, r);
}

static void make_call(struct fuzz *f, const struct nvirt_hv_caller *caller, uint16_t code,
                      const struct reading *r)
{
    bool possible = (f->partition.hypercall & 1) != 0 && caller->cpl == 0 && caller->protected_mode;
    const struct nvirt_gprs before = f->gprs;
    enum nvirt_hv_outcome outcome;

    if (f->from_l2) {
        make_call_of_l2(f, caller, code, r);
        return;
    }
    fake_vm_log_reset(f->port);
    outcome = nvirt_hv_hypercall(&f->partition, caller, &f->gprs);
    REQUIRE(outcome == (possible ? NVIRT_HV_DONE : NVIRT_HV_UD), "who may make hypercalls", outcome);
    REQUIRE(fake_vm_most_reads(f->port, NULL) <= 1, "input is read once", 0);
    REQUIRE(f->port->calls[FAKE_CALL_READ] <= 3, "input is read in three parts", 0);
    if (outcome == NVIRT_HV_UD) {
        REQUIRE(memcmp(&before, &f->gprs, sizeof before) == 0, "#UD changes no register", 0);
        return;
    }
    check_result(f, caller, r);
}

static void call_in_memory(struct fuzz *f)
{
    struct nvirt_hv_caller caller = some_caller(f);
    uint64_t control = some_control(f) & ~NVIRT_BIT(16);
    uint64_t input = addresses[choose(&f->in, ADDRESSES)];
    uint64_t word[512];
    uint32_t there = (uint32_t)((0x1000 - (input & 0xfff)) / 8);
    struct reading r;

    some_words(f, word, 4 + u8(&f->in) % 28);
    if (u8(&f->in) % 8 == 0) {
        input = take(&f->in, 8);
    } else if (input != HOLE) {
        fake_vm_put(f->port, input, word, (there < 32 ? there : 32) * 8);
    }
    if ((input & 7) == 0 && input < RAM - 0x1000 && (input & ~UINT64_C(0xfff)) != HOLE) {
        there = (uint32_t)((0x1000 - (input & 0xfff)) / 8);
        fake_vm_get(f->port, input, word, there * 8);
    } else {
        there = 0;
    }
    put_control(f, &caller, control, input, take(&f->in, 1));
    read_again(f, control, word, there, NVIRT_HV_INVALID_ALIGNMENT, &r);
    make_call(f, &caller, (uint16_t)control, &r);
}

static void call_in_registers(struct fuzz *f)
{
    struct nvirt_hv_caller caller = some_caller(f);
    uint64_t control = some_control(f) | NVIRT_BIT(16);
    uint64_t word[14];
    bool xmm = caller.xmm != NULL && (f->partition.offer & NVIRT_HV_OFFER_XMM) != 0;
    struct reading r;

    some_words(f, word, 14);
    memcpy(f->xmm, word + 2, sizeof f->xmm);
    put_control(f, &caller, control, word[0], word[1]);
    read_again(f, control, word, xmm ? 14 : 2, NVIRT_HV_INVALID_HYPERCALL_INPUT, &r);
    make_call(f, &caller, (uint16_t)control, &r);
}

/* L1 enters an L2 somewhere, and says of it who it is, or nothing. */
static void enter_l2(struct fuzz *f)
{
    uint32_t vp = u8(&f->in) % f->vps;
    uint32_t tag = 10 + u8(&f->in) % 2;
    struct nvi_hv_identity who = {.vm = u8(&f->in) % 3, .assist_page = 0x5000};

    if ((f->partition.offer & NVIRT_HV_OFFER_DIRECT_FLUSH) == 0) {
        return;
    }
    who.vp = flip(&f->in) ? u8(&f->in) : (uint32_t)take(&f->in, 4);
    if (u8(&f->in) % 8 == 0) {
        f->here[vp] = f->here[vp] && f->vp[vp].direct.tag != tag;
        nvi_hv_direct_enter(&f->vp[vp], &f->tlb, NULL, tag);
        return;
    }
    nvi_hv_direct_enter(&f->vp[vp], &f->tlb, &who, tag);
    f->who[vp] = who;
    f->here[vp] = true;
}

/* Processor 0 runs one that L1 lets make calls. */
static void call_from_l2(struct fuzz *f)
{
    if (!f->here[0] || !f->vp[0].direct.active) {
        enter_l2(f);
        return;
    }
    f->from_l2 = true;
    if (flip(&f->in)) {
        call_in_memory(f);
    } else {
        call_in_registers(f);
    }
    f->from_l2 = false;
}

static void access_msr(struct fuzz *f)
{
    static const uint32_t msrs[] = {0x40000000, 0x40000001, 0x40000002, 0x40000073, 0x40000118};
    uint32_t msr = u8(&f->in) % 8 == 0 ? 0x40000000 + u8(&f->in) : msrs[choose(&f->in, 5)];
    uint32_t vp = u8(&f->in);
    uint64_t value = flip(&f->in) ? addresses[choose(&f->in, ADDRESSES)] | (u8(&f->in) & 3)
                                  : take(&f->in, 8);
    uint64_t before = 0, after = 0;
    bool there = nvirt_hv_rdmsr(&f->partition, vp, msr, &before) == NVIRT_OK;

    REQUIRE(!there || vp < f->vps, "no such processor", vp);
    if (nvirt_hv_wrmsr(&f->partition, vp, msr, value) == NVIRT_OK) {
        REQUIRE(there, "what can be written can be read", msr);
    } else if (there) {
        REQUIRE(nvirt_hv_rdmsr(&f->partition, vp, msr, &after) == NVIRT_OK && after == before,
                "#GP changes nothing", msr);
    }
    REQUIRE((f->partition.hypercall & 1) == 0 || f->partition.guest_os_id != 0,
            "a hypercall page of nobody's", f->partition.hypercall);
}

/* Whether every flush instruction is given what it takes, and nothing that was asked for is left out. */
static void enter(struct fuzz *f)
{
    const struct nvirt_tlb_entry entry = {.level = 1, .cpu = 0, .eptp = 0x5000};
    uint64_t list[6];
    uint32_t count = 1 + choose(&f->in, 6);
    struct nvirt_flush_set due;
    struct nvirt_hv_vp *vp = &f->vp[0];
    bool flushed = false;

    some_words(f, list, count);
    (void)nvirt_hv_fifo_put(&vp->fifo, list, count);
    nvirt_hv_flush_due(&vp->fifo, &f->tlb, &entry, LINEAR_BITS, &due);
    REQUIRE(!nvirt_hv_fifo_waits(&vp->fifo), "an entry takes out what waits", 0);
    for (uint32_t i = 0; i < due.count; i++) {
        const struct nvirt_flush_op *op = &due.op[i];
        int64_t top = (int64_t)op->operand >> (LINEAR_BITS - 1);

        if (op->kind == NVIRT_FLUSH_VPID_ADDRESS || op->kind == NVIRT_FLUSH_ASID_ADDRESS) {
            REQUIRE(top == 0 || top == -1, "an address that is not canonical", op->operand);
        } else {
            flushed = true;
        }
        nvirt_tlb_done(&f->tlb, 0, op);
    }
    for (uint32_t i = 0; i < count && !flushed && !due.covers_guest; i++) {
        int64_t top = (int64_t)list[i] >> (LINEAR_BITS - 1);
        bool found = top != 0 && top != -1;

        for (uint32_t j = 0; j < due.count; j++) {
            found |= due.op[j].operand == (list[i] & ~UINT64_C(0xfff));
        }
        REQUIRE(found, "an address is left out", list[i]);
    }
    nvirt_tlb_entered(&f->tlb, &entry);
}

static void save(struct fuzz *f)
{
    REQUIRE(nvirt_hv_save(&f->partition, f->saved, sizeof f->saved, &f->saved_bytes) == NVIRT_OK,
            "state is saved", 0);
    REQUIRE(f->saved_bytes == NVIRT_HV_STATE_BYTES(f->vps), "its size", f->saved_bytes);
}

/* Accepted means that it saves again as the same bytes. */
static void restore(struct fuzz *f)
{
    uint8_t again[SAVED_BYTES];
    size_t used;

    if (f->saved_bytes == 0) {
        return;
    }
    for (uint32_t i = u8(&f->in) % 4; i > 0; i--) {
        f->saved[take(&f->in, 2) % f->saved_bytes] ^= (uint8_t)(1u << (u8(&f->in) % 8));
    }
    if (nvirt_hv_restore(&f->partition, f->saved, f->saved_bytes) == NVIRT_OK) {
        REQUIRE(nvirt_hv_save(&f->partition, again, sizeof again, &used) == NVIRT_OK &&
                    used == f->saved_bytes && memcmp(again, f->saved, used) == 0,
                "it saves as the same", used);
    }
    save(f);
}

static void ask_cpuid(struct fuzz *f)
{
    uint32_t leaf = 0x40000000 + u8(&f->in) * 2;
    struct nvirt_hv_cpuid r;

    REQUIRE(nvirt_hv_cpuid(&f->partition, leaf, &r) == (leaf <= 0x400000ff), "hypervisor leaves", leaf);
}

static void step(struct fuzz *f)
{
    uint8_t op = u8(&f->in) % 24;

    SAY("step %u\n", op);
    switch (op) {
    case 0: access_msr(f); break;
    case 1: save(f); break;
    case 2: restore(f); break;
    case 3: ask_cpuid(f); break;
    case 4:
    case 5: enter(f); break;
    case 6:
    case 7:
    case 8:
    case 9: call_in_registers(f); break;
    case 16:
    case 17:
    case 18: enter_l2(f); break;
    case 19:
    case 20:
    case 21:
    case 22: call_from_l2(f); break;
    default: call_in_memory(f); break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = &fuzz;
    struct nvirt_hv_vp beyond;

    memset(f, 0, sizeof *f);
    f->in = (struct input){ data, data + size };
    make_world(f);
    beyond = f->beyond;
    for (uint32_t i = 0; i < MAX_STEPS && f->in.at != f->in.end; i++) {
        step(f);
    }
    REQUIRE(memcmp(&beyond, &f->beyond, sizeof beyond) == 0, "memory behind the processors", 0);
    fake_vm_delete(f->port);
    return 0;
}
