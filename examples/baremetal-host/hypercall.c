/* SPDX-License-Identifier: MIT */
/*
 * Statistics on demand (hypercall.h).
 */
#include "hypercall.h"

#include "host.h"

static bool counter(uint64_t selector, uint64_t *value)
{
    const struct nvirt_stats *stats = host.backend->stats();
    uint64_t index = selector & 0xfff;

    switch (selector & ~UINT64_C(0xfff)) {
    case HYPERCALL_NVIRT:
        if (stats == NULL || index >= NVIRT_STATS_COUNT)
            return false;
        *value = ((const uint64_t *)stats)[index];
        return true;
    case HYPERCALL_L1:
    case HYPERCALL_L2:
        if (index >= REASON_COUNT)
            return false;
        *value = report_exit_count((selector >> 12) == 2 ? 1 : 2, (uint32_t)index);
        return true;
    default:
        return false;
    }
}

uint64_t hypercall(struct nvirt_gprs *gprs)
{
    uint64_t value = 0;

    switch (gprs->r[NVIRT_RBX]) {
    case HYPERCALL_PRINT:
        report_statistics();
        return 0;
    case HYPERCALL_EXITS_L1:
    case HYPERCALL_EXITS_L2:
        value = report_exit_total((uint32_t)gprs->r[NVIRT_RBX]);
        break;
    case HYPERCALL_POOL_USED:
        value = host.pool.used;
        break;
    default:
        if (!counter(gprs->r[NVIRT_RBX], &value))
            return ~UINT64_C(0);
        break;
    }
    gprs->r[NVIRT_RCX] = value;
    return 0;
}
