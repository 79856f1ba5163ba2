/* SPDX-License-Identifier: MIT */
/*
 * VMLAUNCH and VMRESUME of L1: from vmcs12 to a vmcs02 that is ready to run. Everything that can
 * fail comes first; the first failing step decides what L1 sees, and vmcs01 is untouched until
 * then.
 *
 * [SDM 3C "VM Entries"]
 */
#include "nested/vmx_evmcs.h"

/* ---- pages that vmcs12 names ---- */

void nvi_vmx_unpin(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin)
{
    if (pin->used) {
        nvirt_port_unpin(v->port, nvirt_l1gpa_make(pin->page), pin->hpa, pin->written);
        v->stats.unpins++;
        pin->used = false;
    }
}

/* hpa of the page that the host manages for L1's own APIC, bit 0 set; 0 when there is none. */
static uint64_t hosts_apic(const struct nvirt_vmx_vcpu *v)
{
    const struct nvirt_vmcs *vmcs01 = &v->hw[NVI_01]->image;
    bool used = (nvi_vmx_proc2(vmcs01) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0;

    return used ? vmcs01->apic_access_addr | 1u : 0;
}

/* Keeps the page, or the pin of last time if it is the same one. L2 is not running here, so an old
 * pin may go at once. */
static bool pin_page(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page)
{
    uint32_t access = NVIRT_ACCESS_READ | (pin->written ? NVIRT_ACCESS_WRITE : 0u);

    if (pin->used && pin->page == page) {
        return true;
    }
    nvi_vmx_unpin(v, pin);
    if ((page | 1u) == v->mmu.watch.page) {
        return false;
    }
    if (nvirt_port_pin(v->port, nvirt_l1gpa_make(page), access, &pin->hpa) != NVIRT_OK) {
        return false;
    }
    v->stats.pins++;
    pin->page = page;
    pin->used = true;
    if ((pin->hpa.value | 1u) == hosts_apic(v)) {
        /* No memory that L1 could give away. */
        nvi_vmx_unpin(v, pin);
        return false;
    }
    return true;
}

bool nvi_vmx_pin_page(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page)
{
    return pin_page(v, pin, page);
}

#define EVERY_PAGE UINT64_MAX

static void unpin_if(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page)
{
    if (page == EVERY_PAGE || pin->page == page) {
        nvi_vmx_unpin(v, pin);
    }
}

/* The pages that hardware uses while L2 runs on this vmcs02. */
static void unpin_of_vmcs02(struct nvirt_vmx_vcpu *v, struct nvi_pair *pair, uint64_t page)
{
    unpin_if(v, &pair->io_pin[0], page);
    unpin_if(v, &pair->io_pin[1], page);
    unpin_if(v, &pair->msr_pin, page);
    unpin_if(v, &pair->apic_pin, page);
    unpin_if(v, &pair->access_pin, page);
    unpin_if(v, &pair->posted_pin, page);
}

void nvi_vmx_unpin_page(struct nvirt_vmx_vcpu *v, uint64_t page)
{
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        unpin_of_vmcs02(v, &v->pair[i], page);
        unpin_if(v, &v->pair[i].evmcs_pin, page);
    }
}

/*
 * Memory of L1 moved since some vmcs02 was put together: the host has its pages back, because no L2 runs right
 * now, and the vmcs02 that is entered next is put together anew, with the pages pinned where L1 has them by then.
 * A move in the middle of that is one after it.
 */
void nvi_vmx_follow_moves(struct nvirt_vmx_vcpu *v)
{
    uint64_t now = nvirt_port_sequence(v->port);

    if (v->now->sequence == now) {
        return;
    }
    for (uint32_t i = 0; i < NVI_VMX_PAIRS; i++) {
        if (v->pair[i].sequence != now) {
            unpin_of_vmcs02(v, &v->pair[i], EVERY_PAGE);
        }
    }
    v->now->sequence = now;
    v->now->changed |= NVI_GROUP(CONTROLS);
    v->remerge = v->remerge || v->level == 2;
}

void nvi_vmx_unpin_all(struct nvirt_vmx_vcpu *v)
{
    nvi_vmx_unpin_page(v, EVERY_PAGE);
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
        !nvi_vmx_l0_wants_no_port(&v->hw[NVI_01]->image)) {
        return;
    }
    in->io_bitmaps_to_hardware = true;
    in->io_bitmap_a = io_bitmap(v, &v->now->io_pin[0], v->vmcs12.io_bitmap_a);
    in->io_bitmap_b = io_bitmap(v, &v->now->io_pin[1], v->vmcs12.io_bitmap_b);
}

/* A page of L1's for its L2's APIC, which may be written. */
static uint64_t apic_page(struct nvirt_vmx_vcpu *v, struct nvi_pin *pin, uint64_t page)
{
    pin->written = true;
    return pin_page(v, pin, page) ? pin->hpa.value : v->no_apic.value;
}

static void pin_apic_pages(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;

    if ((vmcs12->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0) {
        in->virtual_apic = apic_page(v, &v->now->apic_pin, vmcs12->virtual_apic_addr);
    }
    if ((nvi_vmx_proc2(vmcs12) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0) {
        in->apic_access = apic_page(v, &v->now->access_pin, vmcs12->apic_access_addr);
    }
}

static void pin_posted_descriptor(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    struct nvi_pin *pin = &v->now->posted_pin;
    uint64_t descriptor = v->vmcs12.posted_descriptor;

    if (!nvi_vmx_hardware_may_post(&v->caps, &v->vmcs12, &v->hw[NVI_01]->image)) {
        return;
    }
    pin->written = true;
    if (pin_page(v, pin, descriptor & NVIRT_PAGE_MASK)) {
        in->posted_descriptor = pin->hpa.value | (descriptor & ~NVIRT_PAGE_MASK);
    }
}

void nvi_vmx_tell_apic_pages(struct nvirt_vmx_vcpu *v)
{
    v->ept.apic_is_l1s = v->now->access_pin.used;
    v->ept.apic_page = v->hw[NVI_02]->image.apic_access_addr | 1u;
    v->ept.host_apic = hosts_apic(v);
    v->ept.host_apic_at = v->mmu.watch.page;
}

/* One bitmap serves all of L1's VMCSs: what one that virtualizes x2APIC mode opened is closed for one
 * that does not, under which the access would be to the APIC of the CPU. */
NVIRT_NOINLINE static void build_x2apic_bitmap(struct nvirt_vmx_vcpu *v, uint8_t *bitmap02,
                                const volatile uint8_t *bitmap12)
{
    uint64_t proc2 = nvi_vmx_proc2(&v->vmcs12);

    nvi_vmx_x2apic_bitmap_merge(proc2, bitmap02, bitmap12);
    v->x2apic_open = (proc2 & NVIRT_VMX_PROC2_X2APIC) != 0;
}

/* Both levels' bitmaps may have changed since the last entry, and nobody tells of L1's. */
void nvi_vmx_build_msr_bitmap(struct nvirt_vmx_vcpu *v)
{
    bool exists = pin_page(v, &v->now->msr_pin, v->vmcs12.msr_bitmap);
    uint8_t *bitmap02 = nvirt_port_page_pointer(v->port, v->msr_bitmap02);
    const uint8_t *bitmap12 =
        exists ? nvirt_port_page_pointer(v->port, v->now->msr_pin.hpa) : NULL;

    nvi_vmx_msr_bitmap_merge(v->msr_byte, v->msr_bytes, bitmap02, v->msr_bitmap01, bitmap12);
    if (v->x2apic_open || (v->vmcs12.proc2_controls & NVIRT_VMX_PROC2_X2APIC) != 0) {
        build_x2apic_bitmap(v, bitmap02, bitmap12);
    }
    v->stats.bytes_read += exists && v->msr_bitmap01 != NULL ? 2u * v->msr_bytes : 0;
}

bool nvi_vmx_refresh_msr_bitmap(struct nvirt_vmx_vcpu *v)
{
    if ((v->vmcs12.proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) == 0) {
        return false;
    }
    if (v->bitmap_clean) {
        v->bitmap_clean = false;
        v->stats.maps_clean++;
    } else {
        nvi_vmx_build_msr_bitmap(v);
        v->bitmap_of = v->now;
    }
    return true;
}

static void merge_msr_bitmap(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    if (!nvi_vmx_refresh_msr_bitmap(v)) {
        return;
    }
    in->msr_bitmap_to_hardware = true;
    in->msr_bitmap = v->msr_bitmap02.value;
}

/* ---- second stage and tag ---- */

/*
 * L2 without EPT12 has a root of its own: L1's (EPT01) would let flushes of one hit the other.
 *
 * With "virtualize APIC accesses" the root is one for that APIC-access address. What hardware holds of a
 * root never is from before the control was set or the address changed, then, and L1, which owes an
 * invalidation for that where it has EPT and cannot make one where it has not, may do as it likes
 * [SDM 3C "Issues Pertaining to Page Size and TLB Management"].
 */
static enum nvirt_status get_root(struct nvirt_vmx_vcpu *v)
{
    uint64_t proc2 = nvi_vmx_proc2(&v->vmcs12);
    uint64_t apic =
        (proc2 & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0 ? v->vmcs12.apic_access_addr | 1u : 0;
    struct nvi_mmu_key key = nvi_ept_direct_key(apic);

    if ((proc2 & NVIRT_VMX_PROC2_EPT) != 0) {
        key = nvi_ept_key(v->vmcs12.eptp);
        key.pat = apic;
        if ((proc2 & NVIRT_VMX_PROC2_MODE_EXECUTE) != 0) {
            key.role |= NVI_ROLE_MODE_EXECUTE;
        }
        if ((proc2 & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0) {
            key.role |= NVI_ROLE_SUBPAGES | v->vmcs12.spp_table;
        }
    }
    return nvi_ept_root(&v->mmu, &key, &v->root);
}

void nvi_vmx_bind_tag(struct nvirt_vmx_vcpu *v)
{
    v->vpid12_enabled = (nvi_vmx_proc2(&v->vmcs12) & NVIRT_VMX_PROC2_VPID) != 0;
    v->vpid02 = nvirt_tlb_vmx_enter_l2(&v->tlb, v->vpid12_enabled, (uint16_t)v->vmcs12.vpid);
    if (nvi_vmx_direct_is_offered(v) && (v->evmcs_direct || nvi_hv_direct_is_told(v->hv))) {
        nvi_vmx_direct_enter(v);
    }
}

/* Each root has its own table of sub-page permissions, if any. */
static void place_sppt(struct nvirt_vmx_vcpu *v)
{
    if (v->root->subpages.value != 0) {
        NVI_SET02(v, SPP_TABLE, v->root->subpages.value);
    }
}

enum nvirt_status nvi_vmx_change_root(struct nvirt_vmx_vcpu *v)
{
    struct nvi_mmu_root *before = v->root;
    enum nvirt_status status = get_root(v);

    if (status != NVIRT_OK) {
        v->root = before;
        return status;
    }
    nvirt_tlb_vmx_eptp_switch(&v->tlb);
    /* The root of the last entry is not that of the next one. */
    v->now->memo.known = false;
    v->now->memo.known_enlightened = false;
    NVI_SET02(v, EPTP, nvi_ept_eptp02(&v->ept, v->root));
    place_sppt(v);
    return NVIRT_OK;
}

/* ---- what has changed since the last entry ---- */

uint64_t nvi_vmx_key_of_controls(const struct nvirt_vmcs *vmcs12)
{
    const uint64_t proc2 = NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED;

    return ((nvi_vmx_proc2(vmcs12) & proc2) << 32) |
           ((vmcs12->pin_controls & NVIRT_VMX_PIN_VIRTUAL_NMIS) << 40);
}

static uint64_t key_of(const struct nvirt_vmcs *vmcs12)
{
    return nvi_vmx_key_of(vmcs12, nvi_vmx_key_of_controls(vmcs12));
}

NVIRT_STATIC_ASSERT(((NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_UNRESTRICTED) << 32 &
                     NVIRT_VMX_PIN_VIRTUAL_NMIS << 40) == 0 &&
                        (NVIRT_VMX_PIN_VIRTUAL_NMIS << 40 & NVIRT_CR0_PE << NVI_VMX_KEY_PE_SHIFT) == 0 &&
                        NVIRT_RFLAGS_VM << NVI_VMX_KEY_VM_SHIFT == NVIRT_BIT(49),
                    "the parts of the key lie apart");

void nvi_vmx_note_exit_key(struct nvirt_vmx_vcpu *v)
{
    v->now->key = key_of(&v->vmcs12);
}

/*
 * The groups that this entry has to look at: those that L1 wrote to, those whose rules depend on
 * something that changed, and the controls when L0's changed (or the memory behind L1's pages: they are marked).
 */
static uint32_t groups_due(struct nvirt_vmx_vcpu *v)
{
    const struct nvi_pair *pair = v->now;
    uint32_t due = pair->changed;

    if (pair->epoch != v->epoch) {
        due |= NVI_GROUP(CONTROLS);
    }
    /* A list may load any of L2's MSRs: all of its state is put together in one place then. */
    if (pair->key != key_of(&v->vmcs12) || v->vmcs12.entry_msr_load_count != 0) {
        due |= NVI_GUEST_GROUPS;
    }
    /* With TF the pending debug exceptions are judged by IA32_DEBUGCTL. */
    if ((due & NVI_GROUP(FLOW)) != 0 && (v->vmcs12.guest_rflags & NVIRT_RFLAGS_TF) != 0) {
        due |= NVI_GROUP(STATE);
    }
    return due;
}

/* The parts of the checks that would only find again what they found. */
static uint32_t parts_known(const struct nvirt_vmx_vcpu *v, uint32_t due, bool l1_ia32e)
{
    const uint32_t controls = NVI_GROUP(CONTROLS) | NVI_GROUP(POINTERS) | NVI_GROUP(EVENT);
    const uint32_t registers = NVI_GROUP(REGISTERS) | NVI_GROUP(STATE);
    /* The rules about an event look at L2's state, and those about that at the event. */
    bool event = (v->vmcs12.entry_interruption & NVIRT_VMX_INTR_VALID) != 0;
    bool link = v->vmcs12.vmcs_link != NVIRT_VMX_NO_VMCS_LINK;
    uint32_t known = 0;

    if ((due & controls) == 0 && !event && !nvi_vmx_reads_vtpr(&v->vmcs12)) {
        known |= NVI_VMX_KNOWN_CONTROLS;
    }
    if ((due & (NVI_GROUP(HOST) | NVI_GROUP(CONTROLS))) == 0 && v->now->l1_ia32e == l1_ia32e) {
        known |= NVI_VMX_KNOWN_HOST;
    }
    if ((due & registers) == 0) {
        known |= NVI_VMX_KNOWN_REGISTERS;
    }
    if ((due & NVI_GROUP(SEGMENTS)) == 0) {
        known |= NVI_VMX_KNOWN_SEGMENTS;
    }
    if ((due & (NVI_GUEST_GROUPS | NVI_GROUP(POINTERS))) == 0 && !event && !link) {
        known |= NVI_VMX_KNOWN_FLOW;
    }
    return known;
}

/* With all of L2's state to be placed the whole of vmcs02 is put together. */
static bool is_whole(uint32_t due)
{
    return (due & NVI_GUEST_GROUPS) == NVI_GUEST_GROUPS;
}

/* vmcs12 is to be complete in the groups that are looked at, and in what this entry or its exit
 * replaces in vmcs02 without saving it. */
static void settle_due(struct nvirt_vmx_vcpu *v, uint32_t due)
{
    const struct nvirt_vmcs *vmcs12 = &v->vmcs12;
    const uint64_t debug = NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG;

    if ((due & (NVI_GROUP(REGISTERS) | NVI_GROUP(STATE))) != 0) {
        nvi_vmcs12_settle(v, &v->group[NVIRT_VMCS_GROUP_REGISTERS]);
        nvi_vmcs12_settle(v, &v->group[NVIRT_VMCS_GROUP_STATE]);
    }
    if ((due & NVI_GROUP(SEGMENTS)) != 0) {
        nvi_vmcs12_settle(v, &v->group[NVIRT_VMCS_GROUP_SEGMENTS]);
    }
    if ((vmcs12->entry_controls & debug) == 0 ||
        (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_DEBUG) == 0) {
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_GUEST_DR7);
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_GUEST_DEBUGCTL);
    }
    if ((vmcs12->entry_controls & NVIRT_VMX_ENTRY_CTL_LOAD_PAT) == 0 ||
        (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_PAT) == 0) {
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_GUEST_PAT);
    }
    if (v->cet) {
        nvi_vmx_cet_settle(v);
    }
    if (nvi_vmx_pdptes_source(vmcs12) == NVI_VMX_PDPTES_MEMORY) {
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_GUEST_CR3);
    }
    if (is_whole(due)) {
        (void)nvi_vmcs12_get(v, NVIRT_VMCS_GUEST_INTERRUPT_STATUS);
    }
}

/* ---- the entry ---- */

static void fetch_unless(struct nvirt_vmx_vcpu *v, uint64_t control, enum nvirt_vmcs_field field)
{
    if ((v->vmcs12.entry_controls & control) == 0) {
        (void)nvi_hw_get(v, NVI_01, field);
    }
}

void nvi_vmx_fetch_l1_state(struct nvirt_vmx_vcpu *v)
{
    uint64_t cr4_mask = v->hw[NVI_01]->image.cr4_mask;

    (void)NVI_GET01(v, GUEST_CR0);
    (void)NVI_GET01(v, GUEST_EFER);
    /* Of CR4 only the host's own bits go on in L2. */
    if ((cr4_mask & ~(v->caps.cr4_fixed0 | NVIRT_CR4_VMXE)) != 0) {
        (void)NVI_GET01(v, GUEST_CR4);
    }
    fetch_unless(v, NVIRT_VMX_ENTRY_CTL_LOAD_PAT, NVIRT_VMCS_GUEST_PAT);
    fetch_unless(v, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG, NVIRT_VMCS_GUEST_DR7);
    fetch_unless(v, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG, NVIRT_VMCS_GUEST_DEBUGCTL);
    if (v->cet) {
        nvi_vmx_cet_fetch_l1(v);
    }
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
    if (v->cet) {
        nvi_vmx_cet_fetch(v, NVI_01);
    }
    return nvi_vmx_live_at_entry_failure(&v->hw[NVI_01]->image);
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
    nvi_vmx_cet_remember(&v->next, &live.cet);
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
static bool passes_checks(struct nvirt_vmx_vcpu *v, uint32_t due, struct nvi_vmx_merge_in *merge,
                          struct nvi_vmx_check_out *out)
{
    struct nvi_vmx_check_in in = { .vmcs12 = &v->vmcs12,
                                   .offer = &v->offer,
                                   .l1_ia32e = (NVI_GET01(v, GUEST_EFER) & NVIRT_EFER_LMA) != 0,
                                   .current = nvi_vmcs12_region(v) };
    nvirt_l1gpa link;
    nvirt_l1gpa vtpr;

    in.known = parts_known(v, due, in.l1_ia32e);
    if (in.known == NVI_VMX_KNOWN_ALL &&
        nvi_vmx_pdptes_source(in.vmcs12) == NVI_VMX_PDPTES_NONE) {
        return true;
    }
    if (nvi_vmx_vtpr_to_read(&in, &vtpr)) {
        nvi_vmx_l1_read(v, vtpr.value, &in.vtpr, sizeof in.vtpr);
    }
    if (!nvi_vmx_check_controls(&in, out) || !nvi_vmx_check_host(&in, out)) {
        return false;
    }
    if (nvi_vmx_link_to_read(&in, &link)) {
        in.link_revision = nvi_vmcs12_revision(v, link.value);
    }
    v->now->l1_ia32e = in.l1_ia32e;
    return nvi_vmx_check_guest(&in, out) && pdptes_are_valid(v, &in, merge, out);
}

/* What both merges take besides vmcs12. */
static void merge_sources(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    in->vmcs12 = &v->vmcs12;
    in->vmcs01 = &v->hw[NVI_01]->image;
    in->cpu = &v->caps;
    in->eptp02 = nvi_ept_eptp02(&v->ept, v->root);
    in->sppt02 = v->root->subpages.value;
    in->vpid02 = v->vpid02;
}

static void merge_inputs(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    merge_sources(v, in);
    pin_io_bitmaps(v, in);
    pin_apic_pages(v, in);
    pin_posted_descriptor(v, in);
    merge_msr_bitmap(v, in);
}

enum nvirt_status nvi_vmx_build_vmcs02(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    enum nvirt_status status = get_root(v);

    if (status != NVIRT_OK) {
        return status;
    }
    nvi_vmx_bind_tag(v);
    merge_inputs(v, in);
    nvi_vmx_merge(in, &v->next);
    v->now->proc02 = v->next.proc_controls;
    return NVIRT_OK;
}

/* PDPTEs mean something with PAE paging only; hardware then saved them, else their contents are
 * chance and not worth four VMWRITEs. */
static void place_pdptes(struct nvirt_vmx_vcpu *v, const uint64_t pdpte[4])
{
    NVI_SET02(v, GUEST_PDPTE0, pdpte[0]);
    NVI_SET02(v, GUEST_PDPTE1, pdpte[1]);
    NVI_SET02(v, GUEST_PDPTE2, pdpte[2]);
    NVI_SET02(v, GUEST_PDPTE3, pdpte[3]);
}

/* A bus without memory reads ones and forgets what is written: the page that stands for it begins as
 * ones each time. */
static void renew_no_apic(struct nvirt_vmx_vcpu *v)
{
    const uint64_t other_registers =
        NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    uint8_t *page = nvirt_port_page_pointer(v->port, v->no_apic);

    if ((nvi_vmx_proc2(&v->vmcs12) & other_registers) != 0) {
        __builtin_memset(page, 0xff, NVIRT_PAGE_SIZE);
    } else {
        __builtin_memset(page + NVI_VMX_VTPR, 0xff, sizeof(uint32_t));
    }
}

/* vmcs02 stands for vmcs12 as it is now. */
static void begin_level_2(struct nvirt_vmx_vcpu *v)
{
    struct nvi_pair *pair = v->now;

    if ((v->vmcs12.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0 && !pair->apic_pin.used) {
        renew_no_apic(v);
    }
    pair->changed = 0;
    pair->epoch = v->epoch;
    if (v->host_epoch != v->epoch) {
        v->host_cr0 = nvi_vmx_host_cr0(v);
        v->host_cr4 = nvi_vmx_host_cr4(v);
        v->host_epoch = v->epoch;
    }
    v->level = 2;
    v->entry_pending = true;
    v->remerge = false;
    v->forced_exit = false;
    nvi_vmx_note_entry(v);
}

void nvi_vmx_become_level_2(struct nvirt_vmx_vcpu *v)
{
    nvi_vmx_forget_exit(v);
    nvi_hw_replace(v, NVI_02, &v->next, &v->merged);
    if (nvi_vmx_pdptes_source(&v->next) != NVI_VMX_PDPTES_NONE) {
        place_pdptes(v, &v->next.field[NVIRT_VMCS_GUEST_PDPTE0]);
    }
    begin_level_2(v);
}

/* ---- an entry that finds most of vmcs02 as it should be ---- */

static void place_controls(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    pin_io_bitmaps(v, in);
    pin_apic_pages(v, in);
    pin_posted_descriptor(v, in);
    __builtin_memset(&v->next, 0, sizeof v->next);
    nvi_vmx_merge_controls(in, &v->next);
    nvi_hw_replace(v, NVI_02, &v->next, &v->controls);
    v->now->proc02 = v->next.proc_controls;
}

/* DR7, IA32_DEBUGCTL and IA32_PAT: vmcs12's, which vmcs02 may have already, or else L1's. */
static void place_unless_lazy(struct nvirt_vmx_vcpu *v, bool loads, enum nvirt_vmcs_field field)
{
    if (!loads) {
        nvi_hw_set(v, NVI_02, field, nvi_hw_get(v, NVI_01, field));
    } else if (!nvi_field_has(&v->now->lazy, (uint32_t)field)) {
        nvi_hw_set(v, NVI_02, field, v->vmcs12.field[field]);
    }
}

static void place_inherited(struct nvirt_vmx_vcpu *v)
{
    uint64_t controls = v->vmcs12.entry_controls;
    bool debug = (controls & NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG) != 0;

    place_unless_lazy(v, debug, NVIRT_VMCS_GUEST_DR7);
    place_unless_lazy(v, debug, NVIRT_VMCS_GUEST_DEBUGCTL);
    place_unless_lazy(v, (controls & NVIRT_VMX_ENTRY_CTL_LOAD_PAT) != 0, NVIRT_VMCS_GUEST_PAT);
    if (v->cet) {
        nvi_vmx_cet_place(v);
    }
    if (nvi_vmx_l0_has_timer(v)) {
        NVI_SET02(v, GUEST_PREEMPTION_TIMER, NVI_GET01(v, GUEST_PREEMPTION_TIMER));
    } else if ((v->vmcs12.pin_controls & NVIRT_VMX_PIN_PREEMPTION_TIMER) != 0) {
        NVI_SET02(v, GUEST_PREEMPTION_TIMER, v->vmcs12.guest_preemption_timer);
    }
    if (nvi_vmx_l0_has_counters(v)) {
        NVI_SET02(v, GUEST_PERF_GLOBAL, NVI_GET01(v, GUEST_PERF_GLOBAL));
    }
}

static void place_flow(struct nvirt_vmx_vcpu *v, const struct nvi_vmx_merge_in *in)
{
    const struct nvirt_vmcs *next = &v->next;

    nvi_vmx_merge_flow(in, &v->next);
    NVI_SET02(v, GUEST_RIP, next->guest_rip);
    NVI_SET02(v, GUEST_RSP, next->guest_rsp);
    NVI_SET02(v, GUEST_RFLAGS, next->guest_rflags);
    NVI_SET02(v, GUEST_INTERRUPTIBILITY, next->guest_interruptibility);
    NVI_SET02(v, GUEST_ACTIVITY, next->guest_activity);
    NVI_SET02(v, GUEST_PENDING_DEBUG, next->guest_pending_debug);
    NVI_SET02(v, GUEST_CR0, next->guest_cr0);
    NVI_SET02(v, GUEST_CR4, next->guest_cr4);
    NVI_SET02(v, GUEST_EFER, next->guest_efer);
    NVI_SET02(v, CR0_SHADOW, next->cr0_shadow);
    NVI_SET02(v, CR4_SHADOW, next->cr4_shadow);
    NVI_SET02(v, ENTRY_INTERRUPTION, next->entry_interruption);
    NVI_SET02(v, ENTRY_ERROR_CODE, next->entry_error_code);
    NVI_SET02(v, ENTRY_INSN_LENGTH, next->entry_insn_length);
}

/* No field of these two groups means anything else in vmcs02 than in vmcs12, but for those that are
 * placed elsewhere. */
static void place_rest(struct nvirt_vmx_vcpu *v, uint32_t due)
{
    if ((due & NVI_GROUP(SEGMENTS)) != 0) {
        nvi_hw_replace(v, NVI_02, &v->vmcs12, &v->group[NVIRT_VMCS_GROUP_SEGMENTS]);
    }
    if ((due & (NVI_GROUP(REGISTERS) | NVI_GROUP(STATE))) != 0) {
        NVI_SET02(v, GUEST_CR3, v->vmcs12.guest_cr3);
        NVI_SET02(v, GUEST_SYSENTER_CS, v->vmcs12.guest_sysenter_cs);
        NVI_SET02(v, GUEST_SYSENTER_ESP, v->vmcs12.guest_sysenter_esp);
        NVI_SET02(v, GUEST_SYSENTER_EIP, v->vmcs12.guest_sysenter_eip);
    }
}

static enum nvirt_status enter_in_parts(struct nvirt_vmx_vcpu *v, uint32_t due,
                                        struct nvi_vmx_merge_in *in)
{
    enum nvirt_status status = get_root(v);

    if (status != NVIRT_OK) {
        return status;
    }
    nvi_vmx_bind_tag(v);
    merge_sources(v, in);
    merge_msr_bitmap(v, in);
    if ((due & (NVI_GROUP(CONTROLS) | NVI_GROUP(POINTERS))) != 0) {
        place_controls(v, in);
    }
    NVI_SET02(v, EPTP, in->eptp02);
    place_sppt(v);
    NVI_SET02(v, VPID, in->vpid02);
    NVI_SET02(v, PROC_CONTROLS, v->now->proc02);
    place_rest(v, due);
    if ((due & NVI_GROUP(EVENT)) != 0) {
        place_unless_lazy(v, true, NVIRT_VMCS_GUEST_INTERRUPT_STATUS);
    }
    place_inherited(v);
    place_flow(v, in);
    if (in->pdptes_loaded) {
        place_pdptes(v, in->pdpte);
    } else if (nvi_vmx_pdptes_source(&v->vmcs12) == NVI_VMX_PDPTES_VMCS) {
        place_pdptes(v, &v->vmcs12.field[NVIRT_VMCS_GUEST_PDPTE0]);
    }
    if (nvi_vmx_switches_msrs(v)) {
        nvi_vmx_switched_load_guest(v);
    }
    begin_level_2(v);
    return NVIRT_OK;
}

static enum nvirt_status enter_whole(struct nvirt_vmx_vcpu *v, struct nvi_vmx_merge_in *in)
{
    enum nvirt_status status = nvi_vmx_build_vmcs02(v, in);
    uint32_t failed;

    if (status != NVIRT_OK) {
        return status;
    }
    if (nvi_vmx_switches_msrs(v)) {
        nvi_vmx_switched_load_guest(v);
    }
    failed = nvi_vmx_msr_list_load(v, v->vmcs12.entry_msr_load_addr,
                                   v->vmcs12.entry_msr_load_count, &v->next);
    if (failed != 0) {
        refuse_msr_load(v, failed);
        return NVIRT_OK;
    }
    nvi_vmx_become_level_2(v);
    return NVIRT_OK;
}

void nvi_vmx_enter(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_merge_in in;
    struct nvi_vmx_check_out out;
    enum nvirt_status status;
    uint32_t due;

    __builtin_memset(&in, 0, sizeof in);
    nvi_vmx_fetch_l1_state(v);
    nvi_shadow_collect(v);
    nvi_vmx_follow_moves(v);
    due = groups_due(v);
    settle_due(v, due);
    if (v->error != NVIRT_OK) {
        return;
    }
    if (!passes_checks(v, due, &in, &out)) {
        refuse(v, &out);
        return;
    }
    /* A plain exit saves vmcs02's blocking of NMIs as it is. */
    if ((due & (NVI_GROUP(HOST) | NVI_GROUP(CONTROLS))) != 0 || nvi_vmx_nmis_are_held(&v->vmcs12)) {
        nvi_vmx_forget_exit(v);
    }
    status = is_whole(due) ? enter_whole(v, &in) : enter_in_parts(v, due, &in);
    if (status != NVIRT_OK) {
        /* L1 has not moved: it executes the instruction again when the host has found a page. */
        v->error = status;
    }
}

/* ---- while L2 is active ---- */

/* What L2 has changed itself since its entry is not put together anew. */
static bool survives_remerge(enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_ENTRY_INTERRUPTION:
    case NVIRT_VMCS_ENTRY_ERROR_CODE:
    case NVIRT_VMCS_ENTRY_INSN_LENGTH:
    case NVIRT_VMCS_CR0_SHADOW:
    case NVIRT_VMCS_CR4_SHADOW:
        return true;
    default:
        return nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_GUEST;
    }
}

void nvi_vmx_place_cr(struct nvirt_vmx_vcpu *v, uint64_t cr0, uint64_t cr4)
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
    v->host_epoch = v->epoch;
}

void nvi_vmx_remerge(struct nvirt_vmx_vcpu *v)
{
    struct nvi_vmx_merge_in in;
    struct nvi_hw_vmcs *hw = v->hw[NVI_02];
    uint64_t cr0 = nvi_vmx_cr0_of_l2(v);
    uint64_t cr4 = nvi_vmx_cr4_of_l2(v);

    nvi_vmx_forced_exit_done(v);
    __builtin_memset(&in, 0, sizeof in);
    merge_inputs(v, &in);
    v->next = hw->image;
    nvi_vmx_merge_controls(&in, &v->next);
    v->next.entry_controls = (v->next.entry_controls & ~(uint64_t)NVIRT_VMX_ENTRY_CTL_IA32E) |
                             (NVI_GET02(v, ENTRY_CONTROLS) & NVIRT_VMX_ENTRY_CTL_IA32E);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        if (!survives_remerge(field) && nvirt_vmcs_field_kind(field) != NVIRT_VMCS_KIND_EXIT) {
            nvi_hw_set(v, NVI_02, field, v->next.field[i]);
        }
    }
    nvi_vmx_place_cr(v, cr0, cr4);
    if (nvi_vmx_l0_has_timer(v)) {
        NVI_SET02(v, GUEST_PREEMPTION_TIMER, NVI_GET01(v, GUEST_PREEMPTION_TIMER));
    }
    if (nvi_vmx_l0_has_counters(v)) {
        NVI_SET02(v, GUEST_PERF_GLOBAL, NVI_GET01(v, GUEST_PERF_GLOBAL));
    }
    v->now->proc02 = v->next.proc_controls;
    v->now->epoch = v->epoch;
    v->remerge = false;
}
