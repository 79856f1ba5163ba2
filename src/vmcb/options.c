/* SPDX-License-Identifier: MIT */
/*
 * Features that a CPU may have and L1 may turn on for its guest: the PAUSE filter, the bus-lock
 * threshold, last-branch recording, VMLOAD and VMSAVE without an exit, and a SPEC_CTRL of the guest's
 * own. Where L1 does not use one, L2 is under what L0 has set for L1.
 */
#include "vmcb/vmcb_core.h"

static bool offered(const struct nvi_svm_merge_in *in, uint32_t feature)
{
    return (in->offer->features & feature) != 0;
}

/* ---- PAUSE filter [APM 2 "Pause Intercept Filtering"] ---- */

/* The CPU counts for one of them. Where L1 intercepts PAUSE the exit is L1's, so its counter is meant;
 * one that L1 was not offered counts nothing. */
static void merge_pause_filter(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    const struct nvirt_vmcb *from = in->vmcb01;
    bool count = true, threshold = true;

    if (nvirt_vmcb_intercepts(in->vmcb12, NVIRT_SVM_EXIT_PAUSE)) {
        from = in->vmcb12;
        count = offered(in, NVIRT_SVM_FEATURE_PAUSE_FILTER);
        threshold = count && offered(in, NVIRT_SVM_FEATURE_PAUSE_THRESHOLD);
    }
    nvirt_vmcb_set_pause_count(vmcb02, count ? from->pause_count : 0);
    nvirt_vmcb_set_pause_threshold(vmcb02, threshold ? from->pause_threshold : 0);
}

/* ---- VMLOAD and VMSAVE of L2 [APM 2 "VMSAVE and VMLOAD Virtualization"] ---- */

/* Their address is translated by the nested tables, so L1 must have given L2 some: without nested
 * paging of L1's it would be taken for one of L1's. */
static bool has_virtual_vmload(const struct nvi_svm_merge_in *in)
{
    return offered(in, NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD) &&
           nvi_svm_np12(in->vmcb12, in->offer) &&
           (in->vmcb12->virt_ext & NVIRT_SVM_VIRTUAL_VMLOAD) != 0;
}

static void release(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02, uint32_t code)
{
    nvirt_vmcb_intercept(vmcb02, code, nvirt_vmcb_intercepts(in->vmcb12, code));
}

/* ---- last branches [APM 2 "Last Branch Record Virtualization"] ---- */

static bool has_lbr12(const struct nvi_svm_merge_in *in)
{
    return offered(in, NVIRT_SVM_FEATURE_LBR) &&
           (in->vmcb12->virt_ext & NVIRT_SVM_LBR_ENABLE) != 0;
}

static void copy_lbr(const struct nvirt_vmcb *from, struct nvirt_vmcb *to)
{
    nvirt_vmcb_set_dbgctl(to, from->dbgctl & NVIRT_SVM_DEBUGCTL_VALID);
    nvirt_vmcb_set_br_from(to, from->br_from);
    nvirt_vmcb_set_br_to(to, from->br_to);
    nvirt_vmcb_set_last_excp_from(to, from->last_excp_from);
    nvirt_vmcb_set_last_excp_to(to, from->last_excp_to);
}

void nvi_svm_merge_option_controls(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    uint64_t virt_ext = in->vmcb01->virt_ext & NVIRT_SVM_LBR_ENABLE;

    merge_pause_filter(in, vmcb02);
    if (has_lbr12(in)) {
        virt_ext |= NVIRT_SVM_LBR_ENABLE;
    }
    if (has_virtual_vmload(in)) {
        virt_ext |= NVIRT_SVM_VIRTUAL_VMLOAD;
        release(in, vmcb02, NVIRT_SVM_EXIT_VMLOAD);
        release(in, vmcb02, NVIRT_SVM_EXIT_VMSAVE);
    }
    nvirt_vmcb_set_virt_ext(vmcb02, virt_ext);
}

void nvi_svm_merge_option_state(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    if (has_lbr12(in)) {
        copy_lbr(in->vmcb12, vmcb02);
    } else if ((in->vmcb01->virt_ext & NVIRT_SVM_LBR_ENABLE) != 0) {
        copy_lbr(in->vmcb01, vmcb02);
    }
    /* A CPU that keeps SPEC_CTRL in the VMCB would give L2 none at all. */
    if (offered(in, NVIRT_SVM_FEATURE_SPEC_CTRL)) {
        nvirt_vmcb_set_spec_ctrl(vmcb02, in->vmcb12->spec_ctrl & NVIRT_SVM_SPEC_CTRL_VALID);
    } else {
        nvirt_vmcb_set_spec_ctrl(vmcb02, in->vmcb01->spec_ctrl);
    }
}

void nvi_svm_save_option_state(const struct nvi_svm_merge_in *in, const struct nvirt_vmcb *vmcb02,
                               struct nvirt_vmcb *vmcb01, struct nvirt_vmcb *page)
{
    struct nvirt_vmcb *lbr = has_lbr12(in) ? page : vmcb01;
    struct nvirt_vmcb *spec = offered(in, NVIRT_SVM_FEATURE_SPEC_CTRL) ? page : vmcb01;

    if (lbr != NULL && (vmcb02->virt_ext & NVIRT_SVM_LBR_ENABLE) != 0) {
        copy_lbr(vmcb02, lbr);
    }
    if (spec != NULL) {
        nvirt_vmcb_set_spec_ctrl(spec, vmcb02->spec_ctrl);
    }
    if (page != NULL && offered(in, NVIRT_SVM_FEATURE_BUS_LOCK)) {
        page->bus_lock_count = in->vmcb12->bus_lock_count;
    }
}

/* ---- bus locks [APM 2 "Bus Lock Threshold"] ---- */

static bool counts_for_l1(const struct nvi_svm_merge_in *in)
{
    return offered(in, NVIRT_SVM_FEATURE_BUS_LOCK) &&
           nvirt_vmcb_intercepts(in->vmcb12, NVIRT_SVM_EXIT_BUS_LOCK);
}

/* One counter for two: it runs out when the smaller of what they allow does. */
void nvi_svm_merge_bus_locks(const struct nvi_svm_merge_in *in, struct nvirt_vmcb *vmcb02)
{
    uint16_t allowed = in->vmcb01->bus_lock_count;

    if (counts_for_l1(in) &&
        (!nvirt_vmcb_intercepts(in->vmcb01, NVIRT_SVM_EXIT_BUS_LOCK) ||
         in->vmcb12->bus_lock_count < allowed)) {
        allowed = in->vmcb12->bus_lock_count;
    }
    nvirt_vmcb_set_bus_lock_count(vmcb02, allowed);
}

static uint16_t less(uint16_t count, uint16_t used)
{
    return (uint16_t)(count > used ? count - used : 0);
}

void nvi_svm_count_bus_locks(const struct nvi_svm_merge_in *in, uint16_t allowed,
                             const struct nvirt_vmcb *vmcb02, struct nvirt_vmcb *vmcb12,
                             struct nvirt_vmcb *vmcb01)
{
    uint16_t used = less(allowed, vmcb02->bus_lock_count);

    if (counts_for_l1(in)) {
        vmcb12->bus_lock_count = less(vmcb12->bus_lock_count, used);
    }
    if (nvirt_vmcb_intercepts(vmcb01, NVIRT_SVM_EXIT_BUS_LOCK)) {
        nvirt_vmcb_set_bus_lock_count(vmcb01, less(vmcb01->bus_lock_count, used));
    }
}
