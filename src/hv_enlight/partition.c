/* SPDX-License-Identifier: MIT */
/*
 * The partition: CPUID leaves and MSRs by which L1 finds Hyper-V's interface and sets it up
 * [TLFS "Feature and Interface Discovery"; "Establishing the Hypercall Interface"; "Virtual
 * Processor Assist Page"]. Nothing is announced that is not there.
 */
#include "hv_enlight/hv_internal.h"

#define LEAF_FIRST UINT32_C(0x40000000)
#define LEAF_LAST UINT32_C(0x400000ff)
#define LEAF_MAX UINT32_C(0x40000006)
#define LEAF_MAX_NESTED UINT32_C(0x4000000a)

#define FEATURE_HYPERCALL_MSRS (1u << 5)
#define FEATURE_VP_INDEX (1u << 6)
#define FEATURE_INVARIANT_TSC (1u << 15)
#define FEATURE_XMM_INPUT (1u << 4) /* of EDX */
#define HINT_REMOTE_FLUSH (1u << 2)
#define HINT_EX_SETS (1u << 11)
#define HINT_EVMCS (1u << 14)
#define NESTED_EVMCS_1 UINT32_C(0x0101) /* Enlightened VMCSs: versions 1 to 1. */
#define NESTED_DIRECT_FLUSH (1u << 17)
#define NESTED_GUEST_FLUSH (1u << 18)
#define NESTED_MSR_BITMAP (1u << 19)
#define NESTED_NPT_TLB (1u << 22)

#define MSR_GUEST_OS_ID UINT32_C(0x40000000)
#define MSR_HYPERCALL UINT32_C(0x40000001)
#define MSR_VP_INDEX UINT32_C(0x40000002)
#define MSR_ASSIST_PAGE UINT32_C(0x40000073)
#define MSR_TSC_INVARIANT UINT32_C(0x40000118)

/* ---- made by the host ---- */

static bool is_offer_valid(uint32_t offer, bool svm)
{
    bool npt_tlb = (offer & NVIRT_HV_OFFER_NPT_TLB) != 0;
    bool msr_bitmap = (offer & NVIRT_HV_OFFER_MSR_BITMAP) != 0;
    bool direct = (offer & NVIRT_HV_OFFER_DIRECT_FLUSH) != 0;

    return (offer & ~(svm ? NVIRT_HV_OFFER_SVM : NVIRT_HV_OFFER_VMX)) == 0 &&
           (!npt_tlb || (offer & NVIRT_HV_OFFER_NESTED_FLUSH) != 0) &&
           (!direct || (offer & NVIRT_HV_OFFER_FLUSH) != 0) &&
           ((!msr_bitmap && !direct) || svm || (offer & NVIRT_HV_OFFER_EVMCS) != 0);
}

enum nvirt_status nvirt_hv_partition_init(struct nvirt_hv_partition *partition,
                                          struct nvirt_port_vm *port, struct nvirt_hv_vp *vps,
                                          uint32_t vp_count, uint32_t offer, bool svm)
{
    if (partition == NULL || vps == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (vp_count == 0 || vp_count > NVIRT_HV_MAX_VPS || !is_offer_valid(offer, svm)) {
        return NVIRT_ERR_RANGE;
    }
    __builtin_memset(partition, 0, sizeof(*partition));
    __builtin_memset(vps, 0, vp_count * sizeof(*vps));
    partition->port = port;
    partition->vp = vps;
    partition->vp_count = vp_count;
    partition->offer = offer;
    partition->svm = svm;
    for (uint32_t i = 0; i < vp_count; i++) {
        vps[i].index = i;
        vps[i].offer = offer;
        vps[i].partition = partition;
    }
    return NVIRT_OK;
}

enum nvirt_status nvirt_hv_vp_init(struct nvirt_hv_partition *partition, uint32_t index,
                                   struct nvirt_hv_slot *slots, uint32_t capacity)
{
    if (partition == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (index >= partition->vp_count) {
        return NVIRT_ERR_RANGE;
    }
    return nvirt_hv_fifo_init(&partition->vp[index].fifo, slots, capacity);
}

enum nvirt_status nvirt_hv_vp_init_l2(struct nvirt_hv_partition *partition, uint32_t index,
                                      struct nvirt_hv_slot *slots, uint32_t capacity)
{
    if (partition == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (index >= partition->vp_count) {
        return NVIRT_ERR_RANGE;
    }
    return nvirt_hv_fifo_init(&partition->vp[index].direct.fifo, slots, capacity);
}

void nvirt_hv_l2_stats(const struct nvirt_hv_vp *vp, struct nvirt_hv_fifo_stats *stats)
{
    nvirt_hv_fifo_stats(&vp->direct.fifo, stats);
}

/* ---- CPUID ---- */

static bool offers(const struct nvirt_hv_partition *partition, uint32_t what)
{
    return (partition->offer & what) != 0;
}

static uint32_t if_offered(const struct nvirt_hv_partition *partition, uint32_t what, uint32_t bits)
{
    return offers(partition, what) ? bits : 0;
}

static uint32_t nested_features(const struct nvirt_hv_partition *partition)
{
    return if_offered(partition, NVIRT_HV_OFFER_DIRECT_FLUSH, NESTED_DIRECT_FLUSH) |
           if_offered(partition, NVIRT_HV_OFFER_NESTED_FLUSH, NESTED_GUEST_FLUSH) |
           if_offered(partition, NVIRT_HV_OFFER_MSR_BITMAP, NESTED_MSR_BITMAP) |
           if_offered(partition, NVIRT_HV_OFFER_EVMCS, NESTED_EVMCS_1) |
           if_offered(partition, NVIRT_HV_OFFER_NPT_TLB, NESTED_NPT_TLB);
}

bool nvirt_hv_cpuid(const struct nvirt_hv_partition *partition, uint32_t leaf,
                    struct nvirt_hv_cpuid *out)
{
    if (leaf < LEAF_FIRST || leaf > LEAF_LAST) {
        return false;
    }
    *out = (struct nvirt_hv_cpuid){ 0, 0, 0, 0 };
    switch (leaf - LEAF_FIRST) {
    case 0: /* "Microsoft Hv": what guests look for */
        out->eax = nested_features(partition) != 0 ? LEAF_MAX_NESTED : LEAF_MAX;
        out->ebx = 0x7263694d;
        out->ecx = 0x666f736f;
        out->edx = 0x76482074;
        break;
    case 1: /* "Hv#1" */
        out->eax = 0x31237648;
        break;
    case 3:
        out->eax = FEATURE_HYPERCALL_MSRS | FEATURE_VP_INDEX |
                   if_offered(partition, NVIRT_HV_OFFER_INVARIANT_TSC, FEATURE_INVARIANT_TSC);
        out->edx = if_offered(partition, NVIRT_HV_OFFER_XMM, FEATURE_XMM_INPUT);
        break;
    case 4:
        out->eax =
            if_offered(partition, NVIRT_HV_OFFER_FLUSH, HINT_REMOTE_FLUSH | HINT_EX_SETS) |
            if_offered(partition, NVIRT_HV_OFFER_EVMCS, HINT_EVMCS);
        out->ebx = UINT32_MAX; /* spinlocks tell the hypervisor nothing */
        break;
    case 5:
        out->eax = partition->vp_count;
        out->ebx = partition->vp_count;
        break;
    case 10:
        out->eax = nested_features(partition);
        break;
    default:
        break;
    }
    return true;
}

/* ---- MSRs ---- */

enum nvirt_status nvirt_hv_rdmsr(const struct nvirt_hv_partition *partition, uint32_t index,
                                 uint32_t msr, uint64_t *value)
{
    if (index >= partition->vp_count) {
        return NVIRT_ERR_RANGE;
    }
    switch (msr) {
    case MSR_GUEST_OS_ID:
        *value = __atomic_load_n(&partition->guest_os_id, __ATOMIC_RELAXED);
        return NVIRT_OK;
    case MSR_HYPERCALL:
        *value = __atomic_load_n(&partition->hypercall, __ATOMIC_RELAXED);
        return NVIRT_OK;
    case MSR_VP_INDEX:
        *value = index;
        return NVIRT_OK;
    case MSR_ASSIST_PAGE:
        *value = partition->vp[index].assist_page;
        return NVIRT_OK;
    case MSR_TSC_INVARIANT:
        if (!offers(partition, NVIRT_HV_OFFER_INVARIANT_TSC)) {
            return NVIRT_ERR_RANGE;
        }
        *value = __atomic_load_n(&partition->tsc_invariant, __ATOMIC_RELAXED);
        return NVIRT_OK;
    default:
        return NVIRT_ERR_RANGE;
    }
}

static enum nvirt_status set_guest_os_id(struct nvirt_hv_partition *partition, uint64_t value)
{
    __atomic_store_n(&partition->guest_os_id, value, __ATOMIC_RELAXED);
    if (value == 0) {
        __atomic_fetch_and(&partition->hypercall, ~NVI_HV_PAGE_ENABLED, __ATOMIC_RELEASE);
    }
    return NVIRT_OK;
}

/* The page is L1's own memory, with two instructions put at its start: a hypercall and a return. */
static enum nvirt_status write_hypercall_page(const struct nvirt_hv_partition *partition,
                                              uint64_t value)
{
    static const uint8_t vmcall[] = {0x0f, 0x01, 0xc1, 0xc3};
    static const uint8_t vmmcall[] = {0x0f, 0x01, 0xd9, 0xc3};
    nvirt_l1gpa page = nvirt_l1gpa_make(value & NVIRT_PAGE_MASK);

    return nvirt_port_l1_write(partition->port, page, partition->svm ? vmmcall : vmcall,
                               sizeof(vmcall)) == NVIRT_OK
               ? NVIRT_OK
               : NVIRT_ERR_RANGE;
}

static enum nvirt_status set_hypercall(struct nvirt_hv_partition *partition, uint64_t value)
{
    if ((__atomic_load_n(&partition->hypercall, __ATOMIC_RELAXED) & NVI_HV_HYPERCALL_LOCKED) != 0) {
        return NVIRT_OK; /* Immutable: the write has no effect. */
    }
    if (__atomic_load_n(&partition->guest_os_id, __ATOMIC_RELAXED) == 0) {
        value &= ~NVI_HV_PAGE_ENABLED; /* Who does not say who it is makes no hypercalls. */
    }
    if ((value & NVI_HV_PAGE_ENABLED) != 0 &&
        write_hypercall_page(partition, value) != NVIRT_OK) {
        return NVIRT_ERR_RANGE;
    }
    __atomic_store_n(&partition->hypercall, value, __ATOMIC_RELEASE);
    return NVIRT_OK;
}

static enum nvirt_status clear_page(const struct nvirt_hv_partition *partition, uint64_t value)
{
    static const uint64_t zeros[32] = {0};
    uint64_t page = value & NVIRT_PAGE_MASK;

    for (uint64_t at = 0; at < NVIRT_PAGE_SIZE; at += sizeof(zeros)) {
        if (nvirt_port_l1_write(partition->port, nvirt_l1gpa_make(page + at), zeros,
                                sizeof(zeros)) != NVIRT_OK) {
            return NVIRT_ERR_RANGE;
        }
    }
    return NVIRT_OK;
}

static enum nvirt_status set_assist_page(struct nvirt_hv_partition *partition,
                                         struct nvirt_hv_vp *vp, uint64_t value)
{
    if ((value & NVI_HV_PAGE_ENABLED) != 0 && clear_page(partition, value) != NVIRT_OK) {
        return NVIRT_ERR_RANGE;
    }
    vp->assist_page = value;
    return NVIRT_OK;
}

enum nvirt_status nvirt_hv_wrmsr(struct nvirt_hv_partition *partition, uint32_t index, uint32_t msr,
                                 uint64_t value)
{
    if (index >= partition->vp_count) {
        return NVIRT_ERR_RANGE;
    }
    switch (msr) {
    case MSR_GUEST_OS_ID:
        return set_guest_os_id(partition, value);
    case MSR_HYPERCALL:
        return set_hypercall(partition, value);
    case MSR_ASSIST_PAGE:
        return set_assist_page(partition, &partition->vp[index], value);
    case MSR_TSC_INVARIANT:
        if (!offers(partition, NVIRT_HV_OFFER_INVARIANT_TSC) || (value & ~UINT64_C(1)) != 0) {
            return NVIRT_ERR_RANGE;
        }
        __atomic_store_n(&partition->tsc_invariant, value, __ATOMIC_RELAXED);
        return NVIRT_OK;
    default:
        return NVIRT_ERR_RANGE; /* HV_X64_MSR_VP_INDEX too: it is read-only. */
    }
}
