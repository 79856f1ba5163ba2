/* SPDX-License-Identifier: MIT */
/*
 * Saved state of a partition: its MSRs. Flushes that wait are not in it: a vCPU that is made
 * anew flushes whatever it first uses.
 */
#include "hv_enlight/hv_internal.h"
#include "state/rows.h"

enum item { GUEST_OS_ID, HYPERCALL, TSC_INVARIANT, VP_COUNT, ITEMS };

static uint32_t item_id(uint32_t number)
{
    return nvi_row_id(NVIRT_STATE_ITEM, number);
}

enum nvirt_status nvirt_hv_save(const struct nvirt_hv_partition *partition, void *buffer,
                                size_t bytes, size_t *used)
{
    struct nvi_rows_out out;
    size_t needed;

    if (partition == NULL || buffer == NULL || used == NULL) {
        return NVIRT_ERR_NULL;
    }
    nvi_rows_begin(&out, buffer, bytes);
    nvi_rows_put(&out, item_id(GUEST_OS_ID), partition->guest_os_id);
    nvi_rows_put(&out, item_id(HYPERCALL), partition->hypercall);
    nvi_rows_put(&out, item_id(TSC_INVARIANT), partition->tsc_invariant);
    nvi_rows_put(&out, item_id(VP_COUNT), partition->vp_count);
    for (uint32_t i = 0; i < partition->vp_count; i++) {
        nvi_rows_put(&out, item_id(ITEMS + i), partition->vp[i].assist_page);
    }
    needed = nvi_rows_end(&out, NVIRT_STATE_HYPERV);
    *used = needed;
    return needed > bytes ? NVIRT_ERR_SIZE : NVIRT_OK;
}

/* What WRMSR could have led to. */
static bool is_possible(const struct nvirt_hv_partition *partition, const struct nvi_rows_in *in)
{
    uint64_t invariant = nvi_rows_get(in, TSC_INVARIANT).value;
    bool offered = (partition->offer & NVIRT_HV_OFFER_INVARIANT_TSC) != 0;

    return ((nvi_rows_get(in, HYPERCALL).value & NVI_HV_PAGE_ENABLED) == 0 ||
            nvi_rows_get(in, GUEST_OS_ID).value != 0) &&
           invariant <= (offered ? 1u : 0u) &&
           nvi_rows_get(in, VP_COUNT).value == partition->vp_count;
}

enum nvirt_status nvirt_hv_restore(struct nvirt_hv_partition *partition, const void *buffer,
                                   size_t bytes)
{
    struct nvi_rows_in in;

    if (partition == NULL || buffer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (nvi_rows_open(&in, buffer, bytes, NVIRT_STATE_HYPERV) != NVIRT_OK ||
        in.count != ITEMS + partition->vp_count) {
        return NVIRT_ERR_DATA;
    }
    for (uint32_t i = 0; i < in.count; i++) {
        if (nvi_rows_get(&in, i).id != item_id(i)) {
            return NVIRT_ERR_DATA;
        }
    }
    if (!is_possible(partition, &in)) {
        return NVIRT_ERR_DATA;
    }
    partition->guest_os_id = nvi_rows_get(&in, GUEST_OS_ID).value;
    partition->hypercall = nvi_rows_get(&in, HYPERCALL).value;
    partition->tsc_invariant = nvi_rows_get(&in, TSC_INVARIANT).value;
    for (uint32_t i = 0; i < partition->vp_count; i++) {
        partition->vp[i].assist_page = nvi_rows_get(&in, ITEMS + i).value;
    }
    return NVIRT_OK;
}
