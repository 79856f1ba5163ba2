/* SPDX-License-Identifier: MIT */
/*
 * A host built without Hyper-V's interface (hyperv.h): there is none to offer.
 */
#include "hyperv.h"

#include "host.h"

struct nvirt_hv_vp *hyperv_init(struct nvirt_port_vm *port, bool svm)
{
    (void)port;
    (void)svm;
    if (host.options.hyperv)
        log_fatal("hyperv=1: this host was built without NVIRT_HYPERV");
    return NULL;
}

void hyperv_cpuid(uint32_t leaf, struct nvirt_hv_cpuid *r)
{
    (void)leaf;
    (void)r;
}

bool hyperv_msr(uint32_t msr, bool write, uint64_t *value, bool *ok)
{
    (void)msr;
    (void)write;
    (void)value;
    (void)ok;
    return false;
}

bool hyperv_call(const struct nvirt_hv_caller *caller, struct nvirt_gprs *gprs)
{
    (void)caller;
    (void)gprs;
    return false;
}

void hyperv_print(void)
{
}
