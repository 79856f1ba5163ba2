/* SPDX-License-Identifier: MIT */
/*
 * Hypercalls that flush [TLFS "Hypercall Interface"; "Virtual MMU"]. The input is hostile: each
 * part of it is read once, and nothing that it says is an index or a length before it was
 * bounded.
 *
 * Which address space a flush of linear addresses names is not looked at: a TLB is tagged with
 * more than that, and a flush of all address spaces is one of each. Lists longer than the flush
 * engine flushes one by one are not read at all: they become one flush.
 *
 * A call of L2's differs in three things: its processors are those of a VM of L1's, its input lies
 * where L1's nested tables say, and it is L1's unless it flushes linear addresses.
 */
#include "hv_enlight/direct.h"
#include "hv_enlight/hv_internal.h"

#define BANKS 64u
#define BANK_VPS 64u
/* What a caller's registers hold: RDX and R8 alone, or with XMM0 to XMM5. */
#define FAST_BYTES 16u
#define XMM_BLOCK (FAST_BYTES + NVIRT_HV_XMM_BYTES)

#define CONTROL_FAST NVIRT_BIT(16)
#define CONTROL_RESERVED (NVIRT_BITS(31, 27) | NVIRT_BITS(47, 44) | NVIRT_BITS(63, 60))

#define FLUSH_ALL_PROCESSORS UINT64_C(1)
#define FLUSH_ALL_SPACES UINT64_C(2)
#define FLUSH_NOT_GLOBAL UINT64_C(4)

#define SET_SPARSE 0u
#define SET_ALL 1u

/* ---- calls ---- */

/* One row per call. */
struct call_kind {
    uint16_t code;
    bool list;     /* "rep": elements of 8 bytes follow the header */
    bool vp_set;   /* the header ends with a sparse set, of variable size */
    bool nested;   /* second-stage translations, not linear ones */
    uint8_t fixed; /* bytes of the header before its variable part */
    uint32_t offer;
};

static const struct call_kind kinds[] = {
    /* HvCallFlushVirtualAddressSpace, -List, -SpaceEx, -ListEx */
    {0x0002, false, false, false, 24, NVIRT_HV_OFFER_FLUSH},
    {0x0003, true, false, false, 24, NVIRT_HV_OFFER_FLUSH},
    {0x0013, false, true, false, 32, NVIRT_HV_OFFER_FLUSH},
    {0x0014, true, true, false, 32, NVIRT_HV_OFFER_FLUSH},
    /* HvCallFlushGuestPhysicalAddressSpace, -List */
    {0x00af, false, false, true, 16, NVIRT_HV_OFFER_NESTED_FLUSH},
    {0x00b0, true, false, true, 16, NVIRT_HV_OFFER_NESTED_FLUSH},
};

static const struct call_kind *find_kind(uint16_t code, uint32_t offer)
{
    for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (kinds[i].code == code && (offer & kinds[i].offer) != 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

/* A call taken apart. */
struct call {
    const struct call_kind *kind;
    bool fast;
    uint32_t variable;   /* qwords of the header's variable part, up to 1023 */
    uint32_t reps, next; /* elements, and the first that is not done */
    uint64_t input;      /* address of the input, where it is in memory, as the caller has it */
    nvirt_l1gpa place;   /* and as L1 has it */
    uint8_t block[XMM_BLOCK]; /* or the input */
    uint32_t block_bytes;
    bool from_l2;        /* The caller is a processor of VM vm of L1's, not of L1. */
    uint64_t vm;
};

static enum nvirt_hv_status take_apart(uint64_t control, uint32_t offer, struct call *call)
{
    call->kind = find_kind((uint16_t)control, offer);
    call->fast = (control & CONTROL_FAST) != 0;
    call->variable = (uint32_t)(control >> 17 & 0x3ff);
    call->reps = (uint32_t)(control >> 32 & 0xfff);
    call->next = (uint32_t)(control >> 48 & 0xfff);
    if (call->kind == NULL) {
        return NVIRT_HV_INVALID_HYPERCALL_CODE;
    }
    if ((control & CONTROL_RESERVED) != 0 || (!call->kind->vp_set && call->variable != 0) ||
        (!call->kind->list && (call->reps != 0 || call->next != 0)) ||
        (call->kind->list && call->next >= call->reps)) {
        return NVIRT_HV_INVALID_HYPERCALL_INPUT;
    }
    return NVIRT_HV_SUCCESS;
}

static uint32_t header_bytes(const struct call *call)
{
    return call->kind->fixed + call->variable * 8u;
}

static uint32_t input_bytes(const struct call *call)
{
    return header_bytes(call) + call->reps * 8u;
}

/* Where the input lies, before any of it is read. */
static enum nvirt_hv_status check_place(const struct call *call)
{
    uint32_t bytes = input_bytes(call);

    if (call->fast) {
        return bytes <= call->block_bytes ? NVIRT_HV_SUCCESS : NVIRT_HV_INVALID_HYPERCALL_INPUT;
    }
    if ((call->input & 7u) != 0 ||
        (call->input & ~NVIRT_PAGE_MASK) + bytes > NVIRT_PAGE_SIZE) {
        return NVIRT_HV_INVALID_ALIGNMENT;
    }
    return NVIRT_HV_SUCCESS;
}

/* A part of the input; check_place() has found it to lie within. */
static enum nvirt_hv_status read_input(const struct nvirt_hv_partition *partition,
                                       const struct call *call, uint32_t at, void *to,
                                       uint32_t bytes)
{
    if (call->fast) {
        __builtin_memcpy(to, call->block + at, bytes);
        return NVIRT_HV_SUCCESS;
    }
    if (bytes == 0) {
        return NVIRT_HV_SUCCESS;
    }
    return call->place.value != NVI_HV_NO_PLACE &&
                   nvirt_port_l1_read(partition->port, nvirt_l1gpa_make(call->place.value + at), to,
                                      bytes) == NVIRT_OK
               ? NVIRT_HV_SUCCESS
               : NVIRT_HV_INVALID_ALIGNMENT;
}

/* ---- which processors ---- */

struct vp_set {
    bool all;
    uint64_t bank[BANKS];
};

/* A VM of L1's may number its processors as it likes: those beyond the banks are in no set. */
static bool is_in(const struct vp_set *set, uint32_t vp)
{
    return set->all ||
           (vp < BANKS * BANK_VPS &&
            (set->bank[vp / BANK_VPS % BANKS] >> (vp % BANK_VPS) & 1u) != 0);
}

static uint32_t bits_set(uint64_t word)
{
    uint32_t count = 0;

    for (; word != 0; word &= word - 1) {
        count++;
    }
    return count;
}

/* Banks that are not valid have no element; there is one for each that is [TLFS "HV_VP_SET"]. */
static enum nvirt_hv_status read_sparse_set(const struct nvirt_hv_partition *partition,
                                            const struct call *call, uint64_t valid,
                                            struct vp_set *set)
{
    uint64_t content[BANKS];
    uint32_t at = 0;
    enum nvirt_hv_status status;

    if (call->variable != bits_set(valid)) {
        return NVIRT_HV_INVALID_HYPERCALL_INPUT;
    }
    status = read_input(partition, call, call->kind->fixed, content, call->variable * 8u);
    for (uint64_t left = valid; status == NVIRT_HV_SUCCESS && left != 0; left &= left - 1) {
        set->bank[__builtin_ctzll(left)] = content[at++];
    }
    return status;
}

static enum nvirt_hv_status read_set(const struct nvirt_hv_partition *partition,
                                     const struct call *call, const uint64_t *header,
                                     struct vp_set *set)
{
    __builtin_memset(set, 0, sizeof(*set));
    set->all = (header[1] & FLUSH_ALL_PROCESSORS) != 0;
    if (set->all) {
        return NVIRT_HV_SUCCESS; /* What else the header says of them is ignored. */
    }
    if (!call->kind->vp_set) {
        set->bank[0] = header[2];
        return NVIRT_HV_SUCCESS;
    }
    if (header[2] == SET_ALL) {
        set->all = true;
        return NVIRT_HV_SUCCESS;
    }
    return header[2] == SET_SPARSE ? read_sparse_set(partition, call, header[3], set)
                                   : NVIRT_HV_INVALID_PARAMETER;
}

/* ---- flushes of linear addresses ---- */

static bool are_linear_flags_valid(const struct call *call, uint64_t flags)
{
    uint64_t known = FLUSH_ALL_PROCESSORS | FLUSH_ALL_SPACES;

    /* Single pages and "all but global ones" do not go together. */
    return (flags & ~(call->kind->list ? known : known | FLUSH_NOT_GLOBAL)) == 0;
}

/* What is put into each queue: entries, or all. */
struct wanted {
    bool all, not_global;
    uint32_t count;
    uint64_t entry[NVIRT_TLB_MAX_ADDRESSES];
};

static enum nvirt_hv_status read_list(const struct nvirt_hv_partition *partition,
                                      const struct call *call, struct wanted *wanted)
{
    uint64_t pages = 0;
    enum nvirt_hv_status status;

    wanted->count = call->reps - call->next;
    if (wanted->count > NVIRT_TLB_MAX_ADDRESSES) {
        wanted->all = true;
        return NVIRT_HV_SUCCESS;
    }
    status = read_input(partition, call, header_bytes(call) + call->next * 8u, wanted->entry,
                        wanted->count * 8u);
    for (uint32_t i = 0; status == NVIRT_HV_SUCCESS && i < wanted->count; i++) {
        pages += (wanted->entry[i] & ~NVIRT_PAGE_MASK) + 1;
    }
    wanted->all = pages > NVIRT_TLB_MAX_ADDRESSES;
    return status;
}

/* The queue that the call is about at processor @p vp of L1's; null where it is about none. */
static struct nvirt_hv_fifo *queue_of(const struct call *call, const struct vp_set *set,
                                      struct nvirt_hv_vp *vp)
{
    uint32_t number = vp->index;

    if (call->from_l2) {
        return nvi_hv_direct_runs(&vp->direct, call->vm, &number) && is_in(set, number)
                   ? &vp->direct.fifo
                   : NULL;
    }
    return is_in(set, number) && vp->fifo.slot != NULL ? &vp->fifo : NULL;
}

static void put_into(struct nvirt_hv_partition *partition, const struct call *call,
                     const struct vp_set *set, const struct wanted *wanted)
{
    for (uint32_t i = 0; i < partition->vp_count; i++) {
        struct nvirt_hv_fifo *fifo = queue_of(call, set, &partition->vp[i]);

        if (fifo == NULL) {
            continue;
        }
        if (wanted->all) {
            nvirt_hv_fifo_put_all(fifo, wanted->not_global);
        } else {
            (void)nvirt_hv_fifo_put(fifo, wanted->entry, wanted->count);
        }
        nvirt_port_kick(partition->port, i);
    }
}

static enum nvirt_hv_status flush_linear(struct nvirt_hv_partition *partition,
                                         const struct call *call, const uint64_t *header)
{
    struct wanted wanted = { .all = !call->kind->list,
                             .not_global = (header[1] & FLUSH_NOT_GLOBAL) != 0 };
    struct vp_set set;
    enum nvirt_hv_status status;

    if (!are_linear_flags_valid(call, header[1])) {
        return NVIRT_HV_INVALID_PARAMETER;
    }
    status = read_set(partition, call, header, &set);
    if (status == NVIRT_HV_SUCCESS && call->kind->list) {
        status = read_list(partition, call, &wanted);
    }
    if (status == NVIRT_HV_SUCCESS) {
        put_into(partition, call, &set, &wanted);
    }
    return status;
}

/* ---- flushes of the second stage ---- */

/* One table can wait by itself; a second one makes it all. */
static void post_nested(struct nvirt_hv_vp *vp, uint64_t table)
{
    uint64_t wanted = (table & NVIRT_BITS(51, 12)) | 1u;
    uint64_t waits = 0;

    if (__atomic_compare_exchange_n(&vp->nested_flush, &waits, wanted, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED)) {
        return;
    }
    /* The same may wait already. It is announced once more, not just seen: who takes it must
     * come after what this caller's guest stored. */
    if (waits != wanted ||
        !__atomic_compare_exchange_n(&vp->nested_flush, &waits, wanted, false, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED)) {
        __atomic_store_n(&vp->nested_flush, NVIRT_HV_NESTED_ALL, __ATOMIC_SEQ_CST);
    }
}

/* On all processors. The ranges of a list are not told apart: nvirt's tables are compared with
 * L1's where they are used again, and what did not change stays. */
static enum nvirt_hv_status flush_nested(struct nvirt_hv_partition *partition,
                                         const uint64_t *header)
{
    if (header[1] != 0) {
        return NVIRT_HV_INVALID_PARAMETER;
    }
    for (uint32_t i = 0; i < partition->vp_count; i++) {
        post_nested(&partition->vp[i], header[0]);
        nvirt_port_kick(partition->port, i);
    }
    return NVIRT_HV_SUCCESS;
}

/* ---- registers ---- */

static uint64_t pair(const struct nvirt_gprs *gprs, enum nvirt_gpr high, enum nvirt_gpr low)
{
    return gprs->r[high] << 32 | (gprs->r[low] & 0xffffffffu);
}

static uint64_t read_registers(const struct nvirt_hv_partition *partition,
                               const struct nvirt_hv_caller *caller, const struct nvirt_gprs *gprs,
                               struct call *call)
{
    uint64_t block[2];

    block[0] = caller->is_64bit ? gprs->r[NVIRT_RDX] : pair(gprs, NVIRT_RBX, NVIRT_RCX);
    block[1] = caller->is_64bit ? gprs->r[NVIRT_R8] : pair(gprs, NVIRT_RDI, NVIRT_RSI);
    call->input = block[0];
    call->place = nvirt_l1gpa_make(block[0]);
    call->from_l2 = false;
    call->vm = 0;
    __builtin_memcpy(call->block, block, FAST_BYTES);
    call->block_bytes = FAST_BYTES;
    if ((partition->offer & NVIRT_HV_OFFER_XMM) != 0 && caller->xmm != NULL) {
        __builtin_memcpy(call->block + FAST_BYTES, caller->xmm, NVIRT_HV_XMM_BYTES);
        call->block_bytes = XMM_BLOCK;
    }
    return caller->is_64bit ? gprs->r[NVIRT_RCX] : pair(gprs, NVIRT_RDX, NVIRT_RAX);
}

/* A register of 32 bits written by a 32-bit caller's hypercall leaves no upper half. */
static void write_result(const struct nvirt_hv_caller *caller, uint64_t result,
                         struct nvirt_gprs *gprs)
{
    if (caller->is_64bit) {
        gprs->r[NVIRT_RAX] = result;
    } else {
        gprs->r[NVIRT_RAX] = result & 0xffffffffu;
        gprs->r[NVIRT_RDX] = result >> 32;
    }
}

static enum nvirt_hv_status carry_out(struct nvirt_hv_partition *partition, const struct call *call)
{
    uint64_t header[4] = {0, 0, 0, 0};
    enum nvirt_hv_status status = check_place(call);

    if (status == NVIRT_HV_SUCCESS) {
        status = read_input(partition, call, 0, header, call->kind->fixed);
    }
    if (status != NVIRT_HV_SUCCESS) {
        return status;
    }
    return call->kind->nested ? flush_nested(partition, header)
                              : flush_linear(partition, call, header);
}

/* Carries out a call taken apart, or does not, and writes the result. */
static enum nvirt_hv_status finish(struct nvirt_hv_partition *partition,
                                   const struct nvirt_hv_caller *caller, const struct call *call,
                                   enum nvirt_hv_status status, struct nvirt_gprs *gprs)
{
    uint64_t reps = 0;

    if (status == NVIRT_HV_SUCCESS) {
        status = carry_out(partition, call);
        /* All elements or, where something is wrong, none more than were done before. */
        reps = status == NVIRT_HV_SUCCESS ? call->reps : call->next;
    }
    write_result(caller, (uint64_t)status | reps << 32, gprs);
    return status;
}

enum nvirt_hv_outcome nvirt_hv_hypercall(struct nvirt_hv_partition *partition,
                                         const struct nvirt_hv_caller *caller,
                                         struct nvirt_gprs *gprs)
{
    struct call call;
    uint64_t control;
    enum nvirt_hv_status status;

    if (!nvi_hv_is_established(partition) || !caller->protected_mode || caller->cpl != 0) {
        return NVIRT_HV_UD;
    }
    control = read_registers(partition, caller, gprs, &call);
    status = take_apart(control, partition->offer, &call);
    (void)finish(partition, caller, &call, status, gprs);
    return NVIRT_HV_DONE;
}

/* ---- calls of L2 ---- */

enum nvi_hv_direct_kind nvi_hv_direct_look(const struct nvirt_hv_vp *vp,
                                           const struct nvirt_hv_caller *caller,
                                           const struct nvirt_gprs *gprs, nvirt_l2gpa *input)
{
    const struct nvirt_hv_partition *partition = vp->partition;
    struct call call;
    uint64_t control;
    enum nvirt_hv_status status;

    if (!caller->protected_mode || caller->cpl != 0) {
        return NVI_HV_DIRECT_NONE;
    }
    control = read_registers(partition, caller, gprs, &call);
    status = take_apart(control, partition->offer, &call);
    if (call.kind == NULL || call.kind->nested) {
        return NVI_HV_DIRECT_NONE;
    }
    if (status != NVIRT_HV_SUCCESS) {
        return NVI_HV_DIRECT_REGISTERS;
    }
    if (call.fast) {
        return input_bytes(&call) <= FAST_BYTES  ? NVI_HV_DIRECT_REGISTERS
               : input_bytes(&call) <= XMM_BLOCK ? NVI_HV_DIRECT_XMM
                                                 : NVI_HV_DIRECT_REGISTERS;
    }
    *input = nvirt_l2gpa_make(call.input);
    return check_place(&call) == NVIRT_HV_SUCCESS ? NVI_HV_DIRECT_MEMORY : NVI_HV_DIRECT_REGISTERS;
}

enum nvirt_hv_status nvi_hv_direct_call(struct nvirt_hv_vp *vp,
                                        const struct nvirt_hv_caller *caller, nvirt_l1gpa input,
                                        struct nvirt_gprs *gprs)
{
    struct nvirt_hv_partition *partition = vp->partition;
    struct call call;
    uint64_t control = read_registers(partition, caller, gprs, &call);
    enum nvirt_hv_status status = take_apart(control, partition->offer, &call);

    call.place = input;
    call.from_l2 = true;
    call.vm = nvi_hv_direct_vm(&vp->direct);
    /* What the caller's guest stored is visible before it is asked who runs where (direct.c). */
    nvi_hv_direct_begin(&vp->direct);
    return finish(partition, caller, &call, status, gprs);
}
