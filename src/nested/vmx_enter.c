/* SPDX-License-Identifier: MIT */
/*
 * VMLAUNCH and VMRESUME of L1: from vmcs12 to a vmcs02 that is ready to run. Everything that can
 * fail comes first; the first failing step decides what L1 sees, and vmcs01 is untouched until
 * then.
 *
 * [SDM 3C "VM Entries"]
 */
#include "nested/vmx_internal.h"


/* ---- pages that vmcs12 names ---- */

static void unpin(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin)
{
    if (pin->used) {
        nvirt_port_unpin(v->port, nvirt_l1gpa_make(pin->page), pin->hpa, false);
        v->stats.unpins++;
        pin->used = false;
    }
}

/* Keeps the page, or the pin of last time if it is the same one. L2 is not running here, so an old
 * pin may go at once. */
static bool pin_page(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page)
{
    if (pin->used && pin->page == page) {
        return true;
    }
    unpin(v, pin);
    if (nvirt_port_pin(v->port, nvirt_l1gpa_make(page), NVIRT_ACCESS_READ, &pin->hpa) !=
        NVIRT_OK) {
        return false;
    }
    v->stats.pins++;
    pin->page = page;
    pin->used = true;
    return true;
}

void nvi_vmx_unpin_all(struct nvirt_vmx_vcpu *v)
{
    unpin(v, &v->io_pin[0]);
    unpin(v, &v->io_pin[1]);
}

/* Where no memory is behind the page, reads are all ones: a page of nvirt's own stands for it. */
static uint64_t io_bitmap(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page)
{
    return pin_page(v, pin, page) ? pin->hpa.value : v->all_ones.value;
}

/* L1's I/O bitmaps serve hardware as they are when L0 wants no port. */
static void pin_io_bitmaps(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    if ((v->vmcs12.proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) == 0 ||
        !nvi_vmx_l0_wants_no_port(&v->hw[NVI_01].image)) {
        return;
    }
    in->io_bitmaps_to_hardware = true;
    in->io_bitmap_a = io_bitmap(v, &v->io_pin[0], v->vmcs12.io_bitmap_a);
    in->io_bitmap_b = io_bitmap(v, &v->io_pin[1], v->vmcs12.io_bitmap_b);
}

/* One byte of L1's bitmap, read once however many MSRs share it. */
struct bitmap_byte {
    uint32_t offset;
    uint8_t value;
};

static bool bitmap_bit(struct nvirt_vmx_vcpu *v, struct bitmap_byte *last, uint32_t offset,
                       uint8_t mask)
{
    if (last->offset != offset) {
        nvi_vmx_l1_read(v, v->vmcs12.msr_bitmap + offset, &last->value, 1);
        last->offset = offset;
    }
    return (last->value & mask) != 0;
}

/* vmcs02's bitmap intercepts every MSR but the few that may pass when neither level wants them. */
static void build_msr_bitmap(struct nvirt_vmx_vcpu *v)
{
    uint8_t *bitmap02 = nvirt_port_page_pointer(v->port, v->msr_bitmap02);
    struct bitmap_byte read_byte = { UINT32_MAX, 0 };
    struct bitmap_byte write_byte = { UINT32_MAX, 0 };
    uint32_t offset;
    uint8_t mask;

    for (const uint32_t *msr = nvi_vmx_passable_msrs; *msr != 0; msr++) {
        if (nvi_vmx_msr_bitmap_bit(*msr, &offset, &mask)) {
            bool reads = bitmap_bit(v, &read_byte, offset, mask);
            bool writes = bitmap_bit(v, &write_byte, offset + 2048u, mask);

            nvi_vmx_msr_bitmap_set(bitmap02, v->msr_bitmap01, *msr, reads, writes);
        }
    }
}

static void merge_msr_bitmap(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    if ((v->vmcs12.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) == 0) {
        return;
    }
    build_msr_bitmap(v);
    in->msr_bitmap_to_hardware = true;
    in->msr_bitmap = v->msr_bitmap02.value;
}

/* ---- second stage and tag ---- */

/* L2 without EPT12 has a root of its own: L1's (EPT01) would let flushes of one hit the other. */
static enum nvirt_status get_root(struct nvirt_vmx_vcpu *v)
{
    struct nvi_mmu_key key = (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_EPT) != 0
                                 ? nvi_ept_key(v->vmcs12.eptp)
                                 : nvi_ept_direct_key(0);

    return nvi_ept_root(&v->mmu, &key, &v->root);
}

static void bind_tag(struct nvirt_vmx_vcpu *v)
{
    v->tlb_entry.cpu = nvi_vmx_cpu_number(v);
    v->tlb_entry.vpid12_enabled = (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_VPID) != 0;
    v->tlb_entry.vpid12 = (uint16_t)v->vmcs12.vpid;
    v->tlb_entry.eptp02 = nvi_ept_eptp02(&v->ept, v->root);
    v->tlb_entry.root_changed = false;
    v->vpid02 = nvirt_tlb_vmx_enter_l2(&v->tlb, &v->tlb_entry);
}

/* ---- the entry ---- */

static void fetch_unless(struct nvirt_vmx_vcpu *v, uint64_t control, enum nvirt_vmcs_field field)
{
    if ((v->vmcs12.entry_controls & control) == 0) {
        (void)nvi_hw_get(v, NVI_01, field);
    }
}

/* What of L1's live state the checks and the merge look at: what vmcs12 loads they do not. */
static void fetch_l1_state(struct nvirt_vmx_vcpu *v)
{
    (void)NVI_GET01(v, GUEST_CR0);
    (void)NVI_GET01(v, GUEST_CR4);
    (void)NVI_GET01(v, GUEST_EFER);
    fetch_unless(v, NVIRT_VMX_ENTRY_CTL_LOAD_PAT, NVIRT_VMCS_GUEST_PAT);
    fetch_unless(v, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG, NVIRT_VMCS_GUEST_DR7);
    fetch_unless(v, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG, NVIRT_VMCS_GUEST_DEBUGCTL);
    if (nvi_vmx_l0_has_timer(v)) {
        (void)NVI_GET01(v, GUEST_PREEMPTION_TIMER);
    }
    if (nvi_vmx_l0_has_counters(v)) {
        (void)NVI_GET01(v, GUEST_PERF_GLOBAL);
    }
}

struct nvi_vmx_live nvi_vmx_l1_live(struct nvirt_vmx_vcpu *v)
{
    (void)NVI_GET01(v, GUEST_CR0);
    (void)NVI_GET01(v, GUEST_EFER);
    (void)NVI_GET01(v, GUEST_PAT);
    (void)NVI_GET01(v, GUEST_INTERRUPTIBILITY);
    return nvi_vmx_live_at_entry_failure(&v->hw[NVI_01].image);
}

/* The entry ends at a rule: VMfail, or an entry failure with L1's host state. */
static void refuse(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_check_out *out)
{
    struct nvi_vmx_live live;

    nvirt_port_trace(v->port, nvi_vmx_rule_name(out->rule), out->vm_error);
    if (out->vm_error != 0) {
        v->stats.entries_refused++;
        nvi_vmx_fail(v, out->vm_error);
        return;
    }
    live = nvi_vmx_l1_live(v);
    nvi_vmx_entry_failure(v, out->exit_reason, out->qualification, &live);
}

static void refuse_msr_load(struct nvirt_vmx_vcpu *v, uint32_t number)
{
    /* The guest state was loaded by then: what no host field replaces stays L2's. */
    struct nvi_vmx_live live = nvi_vmx_l1_live(v);

    live.efer = v->next.guest_efer;
    live.pat = v->next.guest_pat;
    nvi_vmx_entry_failure(v, NVIRT_VMX_EXIT_ENTRY_MSR_LOAD, number, &live);
}

/* PDPTEs of a PAE L2 come from vmcs12 with EPT, else from memory. */
static bool pdptes_are_valid(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_check_in *check,
                             struct nvi_vmx_merge_in *merge, struct nvi_vmx_check_out *out)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;

    switch (nvi_vmx_pdptes_source(vmcs12)) {
    case NVI_VMX_PDPTES_NONE:
        return true;
    case NVI_VMX_PDPTES_VMCS:
        return nvi_vmx_check_pdptes(check, &vmcs12->field[NVIRT_VMCS_GUEST_PDPTE0], out);
    case NVI_VMX_PDPTES_MEMORY:
    default:
        (void)nvi_vmx_pdptes_read(v, vmcs12->guest_cr3, merge->pdpte);
        merge->pdptes_loaded = true;
        return nvi_vmx_check_pdptes(check, merge->pdpte, out);
    }
}

NVIRT_STATIC_ASSERT(NVIRT_VMCS_GUEST_PDPTE3 == NVIRT_VMCS_GUEST_PDPTE0 + 3,
                    "the PDPTE fields are looked at as an array");

/* Controls and host state first, then guest state: the first rule that fails decides. */
static bool passes_checks(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *merge,
                          struct nvi_vmx_check_out *out)
{
    struct nvi_vmx_check_in in;
    nvirt_l1gpa link;

    __builtin_memset(&in, 0, sizeof in);
    in.vmcs12 = &v->vmcs12;
    in.offer = &v->offer;
    in.l1_ia32e = (NVI_GET01(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0;
    in.current = v->vmx.current;
    if (!nvi_vmx_check_controls(&in, out) || !nvi_vmx_check_host(&in, out)) {
        return false;
    }
    if (nvi_vmx_link_to_read(&in, &link)) {
        in.link_revision = nvi_vmcs12_revision(v, link.value);
    }
    return nvi_vmx_check_guest(&in, out) && pdptes_are_valid(v, &in, merge, out);
}

static void merge_inputs(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    in->vmcs12 = &v->vmcs12;
    in->vmcs01 = &v->hw[NVI_01].image;
    in->cpu = &v->caps;
    in->eptp02 = v->tlb_entry.eptp02;
    in->vpid02 = v->vpid02;
    pin_io_bitmaps(v, in);
    merge_msr_bitmap(v, in);
}

static void become_level_2(struct nvirt_vmx_vcpu *v, bool launch)
{
    nvi_hw_replace(v, NVI_02, &v->next, &v->merged);
    /* PDPTEs mean something with PAE paging only; hardware then saved them, else their contents are
     * chance and not worth four VMWRITEs. */
    if (nvi_vmx_pdptes_source(&v->next) != NVI_VMX_PDPTES_NONE) {
        NVI_SET02(v, GUEST_PDPTE0, v->next.guest_pdpte0);
        NVI_SET02(v, GUEST_PDPTE1, v->next.guest_pdpte1);
        NVI_SET02(v, GUEST_PDPTE2, v->next.guest_pdpte2);
        NVI_SET02(v, GUEST_PDPTE3, v->next.guest_pdpte3);
    }
    v->host_cr0 = nvi_vmx_host_cr0(v);
    v->host_cr4 = nvi_vmx_host_cr4(v);
    v->proc02 = v->next.proc_controls;
    v->level = 2;
    v->entry_pending = true;
    v->entry_launch = launch;
    v->remerge = false;
    v->forced_exit = false;
}

void nvi_vmx_enter(struct nvirt_vmx_vcpu *v, bool launch)
{
    struct nvi_vmx_merge_in in;
    struct nvi_vmx_check_out out;
    enum nvirt_status status;
    uint32_t failed;

    __builtin_memset(&in, 0, sizeof in);
    __builtin_memset(&out, 0, sizeof out);
    fetch_l1_state(v);
    if (!passes_checks(v, &in, &out)) {
        refuse(v, &out);
        return;
    }
    status = get_root(v);
    if (status != NVIRT_OK) {
        /* L1 has not moved: it executes the instruction again when the host has found a page. */
        v->error = status;
        return;
    }
    bind_tag(v);
    merge_inputs(v, &in);
    nvi_vmx_merge(&in, &v->next);
    failed = nvi_vmx_msr_list_load(v, v->vmcs12.entry_msr_load_addr,
                                   v->vmcs12.entry_msr_load_count, &v->next);
    if (failed != 0) {
        refuse_msr_load(v, failed);
        return;
    }
    become_level_2(v, launch);
}

/* ---- while L2 is active ---- */

/* What L2 has changed itself since its entry is not put together anew. */
static bool survives_remerge(enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_ENTRY_INTERRUPTION:
    case NVIRT_VMCS_ENTRY_ERROR_CODE:
    case NVIRT_VMCS_ENTRY_INSN_LENGTH:
    case NVIRT_VMCS_ENTRY_CONTROLS:
    case NVIRT_VMCS_CR0_SHADOW:
    case NVIRT_VMCS_CR4_SHADOW:
        return true;
    default:
        return nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_GUEST;
    }
}

/* Bits that the host took since the merge get its value and read as before; those that it gave back
 * become real. */
static void remerge_cr(struct nvirt_vmx_vcpu *v, uint64_t cr0, uint64_t cr4)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    uint64_t host0 = nvi_vmx_host_cr0(v);
    uint64_t host4 = nvi_vmx_host_cr4(v);
    uint64_t taken0 = host0 & ~v->host_cr0;
    uint64_t taken4 = host4 & ~v->host_cr4;
    uint64_t real0 = (cr0 & ~host0) | (NVI_GET02(v, GUEST_CR0) & host0 & ~taken0);
    uint64_t real4 = (cr4 & ~host4) | (NVI_GET02(v, GUEST_CR4) & host4 & ~taken4);

    NVI_SET02(v, GUEST_CR0, real0 | (NVI_GET01(v, GUEST_CR0) & taken0));
    NVI_SET02(v, GUEST_CR4, real4 | (NVI_GET01(v, GUEST_CR4) & taken4));
    NVI_SET02(v, CR0_SHADOW, (vmcs12->cr0_shadow & vmcs12->cr0_mask) | (cr0 & ~vmcs12->cr0_mask));
    NVI_SET02(v, CR4_SHADOW, (vmcs12->cr4_shadow & vmcs12->cr4_mask) | (cr4 & ~vmcs12->cr4_mask));
    v->host_cr0 = host0;
    v->host_cr4 = host4;
}

void nvi_vmx_remerge(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_merge_in in;
    struct nvi_hw_vmcs *hw = &v->hw[NVI_02];
    uint64_t cr0 = nvi_vmx_cr0_of_l2(v);
    uint64_t cr4 = nvi_vmx_cr4_of_l2(v);

    nvi_vmx_forced_exit_done(v);
    __builtin_memset(&in, 0, sizeof in);
    merge_inputs(v, &in);
    v->next = hw->image;
    nvi_vmx_merge_controls(&in, &v->next);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        if (!survives_remerge(field) && nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT) {
            nvi_hw_set(v, NVI_02, field, v->next.field[i]);
        }
    }
    remerge_cr(v, cr0, cr4);
    if (nvi_vmx_l0_has_timer(v)) {
        NVI_SET02(v, GUEST_PREEMPTION_TIMER, NVI_GET01(v, GUEST_PREEMPTION_TIMER));
    }
    if (nvi_vmx_l0_has_counters(v)) {
        NVI_SET02(v, GUEST_PERF_GLOBAL, NVI_GET01(v, GUEST_PERF_GLOBAL));
    }
    v->proc02 = v->next.proc_controls;
    v->remerge = false;
}
