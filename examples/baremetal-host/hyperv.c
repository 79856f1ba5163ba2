/* SPDX-License-Identifier: MIT */
/*
 * Hyper-V's interface for L1 (hyperv.h): nvirt has all of it, this only says where.
 */
#include "hyperv.h"

#include "host.h"
#include "rt.h"

#define LEAF_FEATURES 1u
#define FEATURE_HYPERVISOR (1u << 31) /* of ECX: leaves from 40000000h on mean something */
#define MSR_FIRST 0x40000000u
#define MSR_LAST 0x400001ffu

static struct {
    bool on;
    struct nvirt_hv_partition partition;
    struct nvirt_hv_vp vp;
    struct nvirt_hv_slot slots[NVIRT_HV_FIFO_DEFAULT];
    struct nvirt_hv_slot slots_l2[NVIRT_HV_FIFO_DEFAULT];
    uint64_t calls, refused;
    uint8_t xmm[NVIRT_HV_XMM_BYTES];
} hyperv;

struct nvirt_hv_vp *hyperv_init(struct nvirt_port_vm *port, bool svm)
{
    uint32_t offer = svm ? NVIRT_HV_OFFER_SVM : NVIRT_HV_OFFER_VMX;

    if (!host.options.hyperv)
        return NULL;
    if (nvirt_hv_partition_init(&hyperv.partition, port, &hyperv.vp, 1, offer, svm) != NVIRT_OK ||
        nvirt_hv_vp_init(&hyperv.partition, 0, hyperv.slots, NVIRT_HV_FIFO_DEFAULT) != NVIRT_OK ||
        nvirt_hv_vp_init_l2(&hyperv.partition, 0, hyperv.slots_l2, NVIRT_HV_FIFO_DEFAULT) !=
            NVIRT_OK)
        log_fatal("Hyper-V's interface could not be made");
    hyperv.on = true;
    return &hyperv.vp;
}

void hyperv_cpuid(uint32_t leaf, struct nvirt_hv_cpuid *r)
{
    if (!hyperv.on)
        return;
    if (leaf == LEAF_FEATURES)
        r->ecx |= FEATURE_HYPERVISOR;
    (void)nvirt_hv_cpuid(&hyperv.partition, leaf, r);
}

bool hyperv_msr(uint32_t msr, bool write, uint64_t *value, bool *ok)
{
    if (!hyperv.on || msr < MSR_FIRST || msr > MSR_LAST)
        return false;
    *ok = (write ? nvirt_hv_wrmsr(&hyperv.partition, 0, msr, *value)
                 : nvirt_hv_rdmsr(&hyperv.partition, 0, msr, value)) == NVIRT_OK;
    return true;
}

bool hyperv_call(const struct nvirt_hv_caller *caller, struct nvirt_gprs *gprs)
{
    struct nvirt_hv_caller with_xmm = *caller;

    if (!hyperv.on)
        return false;
    if (nvirt_port_xmm(hyperv.partition.port, NULL, hyperv.xmm) == NVIRT_OK)
        with_xmm.xmm = hyperv.xmm;
    if (nvirt_hv_hypercall(&hyperv.partition, &with_xmm, gprs) != NVIRT_HV_DONE) {
        hyperv.refused++;
        return false;
    }
    hyperv.calls++;
    return true;
}

void hyperv_print(void)
{
    struct nvirt_hv_fifo_stats stats;

    if (!hyperv.on)
        return;
    nvirt_hv_fifo_stats(&hyperv.vp.fifo, &stats);
    log_line("Hyper-V: %lu hypercalls, %lu refused; flushes of L1: %lu queued, %lu drained, %lu "
             "covered, %lu overflowed",
             hyperv.calls, hyperv.refused, stats.queued, stats.drained, stats.purged,
             stats.overflowed);
    nvirt_hv_l2_stats(&hyperv.vp, &stats);
    log_line("Hyper-V: flushes of L2: %lu queued, %lu drained, %lu covered, %lu overflowed",
             stats.queued, stats.drained, stats.purged, stats.overflowed);
}
