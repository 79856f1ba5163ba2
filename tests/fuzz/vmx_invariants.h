/* SPDX-License-Identifier: MIT */
/*
 * What must hold of vmcs01 and vmcs02 before every entry, whatever L1 did. Written from the design
 * and the manual, apart from the merge: the lists here are to be thought about twice.
 */
#ifndef FUZZ_VMX_INVARIANTS_H
#define FUZZ_VMX_INVARIANTS_H

#include "vmx_world.h"

#include "input.h"

#define PROC_INTERCEPTS                                                                            \
    (NVIRT_VMX_PROC_HLT | NVIRT_VMX_PROC_INVLPG | NVIRT_VMX_PROC_MWAIT | NVIRT_VMX_PROC_RDPMC |    \
     NVIRT_VMX_PROC_RDTSC | NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE |                   \
     NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE | NVIRT_VMX_PROC_MOV_DR |                  \
     NVIRT_VMX_PROC_MONITOR | NVIRT_VMX_PROC_PAUSE)
#define PROC_WINDOWS (NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_NMI_WINDOW)
#define PROC_ALLOWED                                                                               \
    (PROC_INTERCEPTS | PROC_WINDOWS | NVIRT_VMX_PROC_MTF | NVIRT_VMX_PROC_TSC_OFFSET |             \
     NVIRT_VMX_PROC_SECONDARY | NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_IO_BITMAPS |           \
     NVIRT_VMX_PROC_UNCONDITIONAL_IO | NVIRT_VMX_PROC_TPR_SHADOW)
#define PROC2_INTERCEPTS                                                                           \
    (NVIRT_VMX_PROC2_DESCRIPTOR_TABLE | NVIRT_VMX_PROC2_WBINVD | NVIRT_VMX_PROC2_RDRAND |          \
     NVIRT_VMX_PROC2_RDSEED | NVIRT_VMX_PROC2_PAUSE_LOOP | NVIRT_VMX_PROC2_ENCLS |                 \
     NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG)
#define LEAF_CONTROLS (NVIRT_VMX_PROC2_ENCLS | NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG)
#define PROC2_ALLOWED                                                                              \
    (NVIRT_VMX_PROC2_MODE_EXECUTE | NVIRT_VMX_PROC2_SUBPAGE_WRITE | PROC2_INTERCEPTS | NVIRT_VMX_PROC2_RDTSCP | NVIRT_VMX_PROC2_INVPCID |                         \
     NVIRT_VMX_PROC2_XSAVES | NVIRT_VMX_PROC2_USER_WAIT | NVIRT_VMX_PROC2_APIC_ACCESSES |          \
     NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS |                                     \
     NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS |                                                          \
     NVIRT_VMX_PROC2_TSC_SCALING | NVIRT_VMX_PROC2_VMFUNC | NVIRT_VMX_PROC2_UNRESTRICTED | NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID)
#define PIN_ALLOWED                                                                                \
    (NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS |                      \
     NVIRT_VMX_PIN_PREEMPTION_TIMER)
#define EXIT_HOSTS                                                                                 \
    (NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_LOAD_PAT | NVIRT_VMX_EXIT_CTL_LOAD_EFER |     \
     NVIRT_VMX_EXIT_CTL_LOAD_CET)
#define EXIT_ALLOWED                                                                               \
    (EXIT_HOSTS | NVIRT_VMX_EXIT_CTL_SAVE_DEBUG | NVIRT_VMX_EXIT_CTL_SAVE_PAT |                    \
     NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT |                             \
     NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER)
#define ENTRY_ALLOWED                                                                              \
    (NVIRT_VMX_ENTRY_CTL_IA32E | NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_LOAD_PAT |   \
     NVIRT_VMX_ENTRY_CTL_LOAD_EFER | NVIRT_VMX_ENTRY_CTL_LOAD_CET)

/* All that a region holds, by field. Unwritten fields are 0. */
static inline void hardware_view(struct nvirt_port_cpu *cpu, uint64_t hpa, struct nvirt_vmcs *view)
{
    const struct fake_region *region = fake_cpu_region(cpu, hpa);
    enum nvirt_vmcs_field field;
    bool high;

    memset(view, 0, sizeof *view);
    for (uint32_t i = 0; region != NULL && i < region->fields; i++) {
        if (nvirt_vmcs_lookup(region->field[i].encoding, &field, &high) && !high) {
            view->field[field] = region->field[i].value;
        }
    }
}

static inline uint64_t must_be_1(uint64_t capability)
{
    return capability & 0xffffffff;
}

/* Bits outside @p allowed must be those that the CPU demands; the CPU must have them all. */
static inline void check_word(uint64_t word, uint64_t allowed, uint64_t capability,
                              const char *text)
{
    REQUIRE((word & ~(allowed | must_be_1(capability))) == 0, text, word);
    REQUIRE((word & ~(capability >> 32)) == 0, text, word);
    REQUIRE((~word & must_be_1(capability)) == 0, text, word);
}

static inline uint64_t secondary_of(const struct nvirt_vmcs *v)
{
    return (v->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? v->proc2_controls : 0;
}

static inline bool page_fault_exits(const struct nvirt_vmcs *v, uint32_t error)
{
    bool match = (error & v->pf_error_mask) == v->pf_error_match;

    return match == ((v->exception_bitmap >> 14 & 1u) != 0);
}

static inline bool is_pinned(const struct nvirt_port_vm *vm, uint64_t hpa)
{
    for (uint32_t i = 0; i < FAKE_VM_PINS; i++) {
        if (vm->pin[i].used && vm->pin[i].hpa == hpa) {
            return true;
        }
    }
    return false;
}

/* A page of L1's may serve hardware while it is pinned. Where L1 names an address without memory,
 * reads are all ones there: nvirt's own page of ones stands for it. */
static inline bool serves_as_bitmap(const struct world *w, uint64_t hpa)
{
    const uint64_t *bits;

    if (hpa != w->v->all_ones.value) {
        return is_pinned(w->port, hpa);
    }
    bits = nvirt_port_page_pointer(w->port, w->v->all_ones);
    for (uint32_t i = 0; i < 512; i++) {
        if (bits[i] != ~UINT64_C(0)) {
            return false;
        }
    }
    return true;
}

/* L0's intercepts hold for L2. @p h is vmcs01 as the host wrote it, @p c is vmcs02. */
static inline void check_superset(const struct world *w, const struct nvirt_vmcs *h,
                                  const struct nvirt_vmcs *c)
{
    uint64_t pin = NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI;
    uint64_t cr8 = NVIRT_VMX_PROC_CR8_LOAD | NVIRT_VMX_PROC_CR8_STORE;
    /* Then CR8 of L2 is a byte of the page that L1 gave, or of one of nvirt's. */
    bool shadowed = (c->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0;

    REQUIRE((h->pin_controls & pin & ~c->pin_controls) == 0, "pin intercepts", c->pin_controls);
    REQUIRE((h->proc_controls & PROC_INTERCEPTS & ~(shadowed ? cr8 : 0) & ~c->proc_controls) == 0,
            "intercepts", c->proc_controls);
    REQUIRE((secondary_of(h) & PROC2_INTERCEPTS & ~secondary_of(c)) == 0, "secondary intercepts",
            c->proc2_controls);
    REQUIRE((h->exception_bitmap & ~c->exception_bitmap & ~(UINT64_C(1) << 14)) == 0,
            "exceptions", c->exception_bitmap);
    for (uint32_t error = 0; error < 64; error++) {
        REQUIRE(!page_fault_exits(h, error) || page_fault_exits(c, error), "page faults", error);
    }
    REQUIRE((h->cr0_mask & ~w->caps.cr0_fixed0 & ~c->cr0_mask) == 0, "CR0 mask", c->cr0_mask);
    REQUIRE((h->cr4_mask & ~w->caps.cr4_fixed0 & ~NVIRT_CR4_VMXE & ~c->cr4_mask) == 0, "CR4 mask",
            c->cr4_mask);
    if (shadowed) {
        REQUIRE((w->v->vmcs12.proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0, "TPR shadow", 0);
        REQUIRE(c->virtual_apic_addr == w->v->no_apic.value ||
                    (w->v->now->apic_pin.used && w->v->now->apic_pin.written &&
                     c->virtual_apic_addr == w->v->now->apic_pin.hpa.value),
                "virtual-APIC page", c->virtual_apic_addr);
        REQUIRE(c->tpr_threshold <= 15 ||
                    (secondary_of(c) & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0,
                "TPR threshold", c->tpr_threshold);
    } else if ((h->proc_controls & NVIRT_VMX_PROC_TPR_SHADOW) != 0) {
        REQUIRE((c->proc_controls & cr8) == cr8, "CR8 without TPR shadow", c->proc_controls);
    }
    if ((h->pin_controls & NVIRT_VMX_PIN_EXT_INT) != 0) {
        REQUIRE(((h->exit_controls ^ c->exit_controls) & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) == 0,
                "acknowledging of L0's interrupts", c->exit_controls);
    }
}

/* [SDM 3C "Virtualizing Memory-Mapped APIC Accesses"]: the page is one that L1 gave, pinned, or
 * nvirt's own; where L2 without EPT has a leaf for L1's address, it is on that page and of its size. */
static inline void check_access_page(const struct world *w, const struct nvirt_vmcs *c)
{
    const struct nvirt_vmcs *vmcs12 = &w->v->vmcs12;
    const struct nvi_pin *pin = &w->v->now->access_pin;
    uint32_t level = 0;
    uint64_t entry;

    if ((secondary_of(c) & NVIRT_VMX_PROC2_APIC_ACCESSES) == 0) {
        REQUIRE(c->apic_access_addr == 0, "APIC-access page without control", c->apic_access_addr);
        return;
    }
    REQUIRE((secondary_of(vmcs12) & NVIRT_VMX_PROC2_APIC_ACCESSES) != 0, "APIC accesses", 0);
    REQUIRE(pin->used ? pin->written && c->apic_access_addr == pin->hpa.value &&
                            pin->page == vmcs12->apic_access_addr
                      : c->apic_access_addr == w->v->no_apic.value,
            "APIC-access page", c->apic_access_addr);
    if ((secondary_of(vmcs12) & NVIRT_VMX_PROC2_EPT) == 0) {
        entry = nvi_mmu_lookup(&w->v->mmu, w->v->root,
                               nvirt_l2gpa_make(vmcs12->apic_access_addr), &level);
        REQUIRE(entry == 0 ||
                    (level == 1 && (entry & NVI_MMU_ADDRESS) == c->apic_access_addr),
                "leaf on the APIC-access page", entry);
    }
}

/* A leaf of ENCLS, ENCLV or PCONFIG that L0 wants exits from L2 too. */
static inline void check_leaves(const struct nvirt_vmcs *h, const struct nvirt_vmcs *c)
{
    uint64_t of_l0 = secondary_of(h);

    REQUIRE((of_l0 & NVIRT_VMX_PROC2_ENCLS) == 0 ||
                (h->encls_exit_bitmap & ~c->encls_exit_bitmap) == 0,
            "ENCLS leaves", c->encls_exit_bitmap);
    REQUIRE((of_l0 & NVIRT_VMX_PROC2_ENCLV) == 0 ||
                (h->enclv_exit_bitmap & ~c->enclv_exit_bitmap) == 0,
            "ENCLV leaves", c->enclv_exit_bitmap);
    REQUIRE((of_l0 & NVIRT_VMX_PROC2_PCONFIG) == 0 ||
                (h->pconfig_exit_bitmap & ~c->pconfig_exit_bitmap) == 0,
            "PCONFIG leaves", c->pconfig_exit_bitmap);
}

/* [SDM 3C "Virtualizing MSR-Based APIC Accesses"]: what passes without being virtualized is an access to
 * the APIC of the CPU. */
static inline void check_x2apic(const struct nvirt_vmcs *c, const uint8_t *bits)
{
    uint64_t proc2 = secondary_of(c);
    bool x2apic = (proc2 & NVIRT_VMX_PROC2_X2APIC) != 0;
    bool registers = (proc2 & NVIRT_VMX_PROC2_APIC_REGISTERS) != 0;
    bool interrupts = (proc2 & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0;

    for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
        bool reads = (bits[msr / 8] >> msr % 8 & 1u) == 0;
        bool writes = (bits[2048 + msr / 8] >> msr % 8 & 1u) == 0;

        REQUIRE(!reads || (x2apic && (registers || msr == 0x808)), "read of an x2APIC MSR", msr);
        REQUIRE(!writes || (x2apic && (msr == 0x808 || (interrupts && (msr == 0x80b ||
                                                                       msr == 0x83f)))),
                "write of an x2APIC MSR", msr);
    }
}

static inline void check_bitmaps(const struct world *w, const struct nvirt_vmcs *h,
                                 const struct nvirt_vmcs *c)
{
    bool io12 = (c->proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0;

    if ((h->proc_controls & NVIRT_VMX_PROC_IO_BITMAPS) != 0) {
        REQUIRE(io12 ? c->io_bitmap_a == h->io_bitmap_a && c->io_bitmap_b == h->io_bitmap_b
                     : (c->proc_controls & NVIRT_VMX_PROC_UNCONDITIONAL_IO) != 0,
                "L0's I/O bitmaps", c->proc_controls);
    } else if ((h->proc_controls & NVIRT_VMX_PROC_UNCONDITIONAL_IO) != 0) {
        REQUIRE(!io12 && (c->proc_controls & NVIRT_VMX_PROC_UNCONDITIONAL_IO) != 0,
                "L0 wants every port", c->proc_controls);
    } else if (io12) {
        REQUIRE(serves_as_bitmap(w, c->io_bitmap_a), "I/O bitmap A of L1's is pinned",
                c->io_bitmap_a);
        REQUIRE(serves_as_bitmap(w, c->io_bitmap_b), "I/O bitmap B of L1's is pinned",
                c->io_bitmap_b);
    }
    if ((c->proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) != 0) {
        const uint64_t *bits = nvirt_port_page_pointer(w->port, nvirt_hpa_make(c->msr_bitmap));

        REQUIRE(is_table_page(w->port, c->msr_bitmap), "MSR bitmap of L2", c->msr_bitmap);
        check_x2apic(c, (const uint8_t *)bits);
        for (uint32_t i = 0; i < 512; i++) {
            uint64_t wanted = ~UINT64_C(0);

            if (i / 4 == 0x800 / 8 / 32 || i / 4 == (0x800 / 8 + 2048) / 32) {
                continue; /* check_x2apic() */
            }

            if (w->config.msr_bitmap != NULL) {
                memcpy(&wanted, w->msr_bitmap + i * 8, 8);
            }
            REQUIRE((wanted & ~bits[i]) == 0, "L0's MSR intercepts", i);
        }
    }
}

/* Fields that vmcs02 may have; what is not named is 0, whatever L1 wrote to vmcs12. */
static inline bool may_be_used(enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_VPID:
    case NVIRT_VMCS_IO_BITMAP_A:
    case NVIRT_VMCS_IO_BITMAP_B:
    case NVIRT_VMCS_MSR_BITMAP:
    case NVIRT_VMCS_TSC_OFFSET:
    case NVIRT_VMCS_TSC_MULTIPLIER:
    case NVIRT_VMCS_EPTP:
    case NVIRT_VMCS_PIN_CONTROLS:
    case NVIRT_VMCS_PROC_CONTROLS:
    case NVIRT_VMCS_EXCEPTION_BITMAP:
    case NVIRT_VMCS_PF_ERROR_MASK:
    case NVIRT_VMCS_PF_ERROR_MATCH:
    case NVIRT_VMCS_CR3_TARGET_COUNT:
    case NVIRT_VMCS_EXIT_CONTROLS:
    case NVIRT_VMCS_ENTRY_CONTROLS:
    case NVIRT_VMCS_ENTRY_INTERRUPTION:
    case NVIRT_VMCS_ENTRY_ERROR_CODE:
    case NVIRT_VMCS_ENTRY_INSN_LENGTH:
    case NVIRT_VMCS_PROC2_CONTROLS:
    case NVIRT_VMCS_PLE_GAP:
    case NVIRT_VMCS_PLE_WINDOW:
    case NVIRT_VMCS_ENCLS_EXIT_BITMAP:
    case NVIRT_VMCS_ENCLV_EXIT_BITMAP:
    case NVIRT_VMCS_PCONFIG_EXIT_BITMAP:
    case NVIRT_VMCS_XSS_EXIT_BITMAP:
    case NVIRT_VMCS_CR0_MASK:
    case NVIRT_VMCS_CR4_MASK:
    case NVIRT_VMCS_CR0_SHADOW:
    case NVIRT_VMCS_CR4_SHADOW:
    case NVIRT_VMCS_CR3_TARGET0:
    case NVIRT_VMCS_CR3_TARGET1:
    case NVIRT_VMCS_CR3_TARGET2:
    case NVIRT_VMCS_CR3_TARGET3:
    case NVIRT_VMCS_VIRTUAL_APIC_ADDR:
    case NVIRT_VMCS_APIC_ACCESS_ADDR:
    case NVIRT_VMCS_EOI_EXIT0:
    case NVIRT_VMCS_EOI_EXIT1:
    case NVIRT_VMCS_EOI_EXIT2:
    case NVIRT_VMCS_EOI_EXIT3:
    case NVIRT_VMCS_TPR_THRESHOLD:
    case NVIRT_VMCS_SPP_TABLE: /* check_roots(). */
        return true;
    default:
        return false;
    }
}

/* MSR lists of hardware are L0's own. */
static inline bool is_l0s(enum nvirt_vmcs_field field)
{
    switch (field) {
    case NVIRT_VMCS_EXIT_MSR_STORE_ADDR:
    case NVIRT_VMCS_EXIT_MSR_LOAD_ADDR:
    case NVIRT_VMCS_ENTRY_MSR_LOAD_ADDR:
    case NVIRT_VMCS_EXIT_MSR_STORE_COUNT:
    case NVIRT_VMCS_EXIT_MSR_LOAD_COUNT:
    case NVIRT_VMCS_ENTRY_MSR_LOAD_COUNT:
        return true;
    default:
        return nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_HOST;
    }
}

static inline void check_allowed(const struct world *w, const struct nvirt_vmcs *h,
                                 const struct nvirt_vmcs *c)
{
    check_word(c->pin_controls, PIN_ALLOWED, w->caps.true_pin, "pin controls");
    check_word(c->proc_controls, PROC_ALLOWED, w->caps.true_proc, "processor controls");
    check_word(c->proc2_controls, PROC2_ALLOWED, w->caps.proc2, "secondary controls");
    REQUIRE(c->vmfunc_controls == 0, "VM functions of the CPU's own", c->vmfunc_controls);
    check_word(c->exit_controls, EXIT_ALLOWED, w->caps.true_exit, "exit controls");
    check_word(c->entry_controls, ENTRY_ALLOWED, w->caps.true_entry, "entry controls");
    REQUIRE(((h->exit_controls ^ c->exit_controls) & EXIT_HOSTS) == 0, "the host side of an exit",
            c->exit_controls);
    /* CET state of L1's must not run on in L2 unseen, nor L2's in L1: both VMCSs load it, or none. */
    REQUIRE(((h->entry_controls ^ c->entry_controls) & NVIRT_VMX_ENTRY_CTL_LOAD_CET) == 0,
            "loading of CET state", c->entry_controls);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;

        if (is_l0s(field)) {
            REQUIRE(c->field[i] == h->field[i], nvirt_vmcs_field_name(field), c->field[i]);
        } else if (nvirt_vmcs_field_kind(field) == NVIRT_VMCS_KIND_CONTROL && !may_be_used(field)) {
            REQUIRE(c->field[i] == 0, nvirt_vmcs_field_name(field), c->field[i]);
        }
    }
    REQUIRE(c->vmcs_link == NVIRT_VMX_NO_VMCS_LINK, "VMCS link", c->vmcs_link);
}

/* Hardware must take vmcs02: with the CPU's own capabilities it passes each rule of the manual. */
static inline void check_acceptable(const struct world *w, const struct nvirt_vmcs *c)
{
    struct nvirt_vmx_caps cpu = w->caps;
    struct nvi_vmx_check_out out = { .rule = NVI_VMX_RULE_NONE };
    struct nvi_vmx_check_in in = {
        .vmcs12 = c, .offer = &cpu, .l1_ia32e = true, .current = NVI_NO_VMCS,
        .vtpr = 0xff /* Memory of L1's, which may change it at any time. */ };

    cpu.cpu.physical_bits = 52; /* The fake machine's addresses. */
    if (is_table_page(w->port, c->vmcs_link)) {
        memcpy(&in.link_revision, nvirt_port_page_pointer(w->port, nvirt_hpa_make(c->vmcs_link)),
               sizeof in.link_revision);
    }
    if (!nvi_vmx_check_controls(&in, &out) || !nvi_vmx_check_host(&in, &out) ||
        !nvi_vmx_check_guest(&in, &out)) {
        REQUIRE(false, nvi_vmx_rule_name(out.rule), c->entry_interruption);
    }
}

static inline void check_roots(struct world *w, const struct nvirt_vmcs *h,
                               const struct nvirt_vmcs *c)
{
    bool own_tag = (c->proc2_controls & NVIRT_VMX_PROC2_VPID) != 0;
    bool known = false;
    bool modes = (c->proc2_controls & NVIRT_VMX_PROC2_MODE_EXECUTE) != 0;
    bool subpages = (c->proc2_controls & NVIRT_VMX_PROC2_SUBPAGE_WRITE) != 0;

    REQUIRE(subpages == ((w->v->root->key.role & NVI_ROLE_SUBPAGES) != 0),
            "tables made for sub-page permissions run with them", c->proc2_controls);
    REQUIRE(subpages ? is_table_page(w->port, c->spp_table) &&
                           c->spp_table == w->v->root->subpages.value
                     : c->spp_table == 0,
            "SPPTP", c->spp_table);
    REQUIRE((c->proc2_controls & NVIRT_VMX_PROC2_EPT) != 0, "EPT is on", c->proc2_controls);
    REQUIRE(modes == ((w->v->root->key.role & NVI_ROLE_MODE_EXECUTE) != 0),
            "tables made for mode-based execute control run with it", c->proc2_controls);
    REQUIRE(is_table_page(w->port, c->eptp & 0x000ffffffffff000), "EPTP", c->eptp);
    REQUIRE(((c->eptp ^ h->eptp) & 0x000ffffffffff000) != 0, "EPTP is not EPT01", c->eptp);
    for (uint32_t i = 0; i < w->config.vpid_count; i++) {
        known |= c->vpid == w->vpids[i];
    }
    REQUIRE(own_tag ? known : c->vpid == 0, "VPID from the pool", c->vpid);
    REQUIRE(w->vm.pages_in_use <= w->vm.page_budget, "page budget", w->vm.pages_in_use);
}

/* vmcs01: nothing of L0's changes, whatever L1 does. Windows, IA-32e mode, the event to inject and
 * the CR shadows are L1's state or nvirt's own. */
static inline void check_vmcs01(const struct nvirt_vmcs *h, const struct nvirt_vmcs *image)
{
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        uint64_t differs = image->field[i] ^ h->field[i];
        enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind(field);

        if (kind != NVIRT_VMCS_KIND_CONTROL && kind != NVIRT_VMCS_KIND_HOST) {
            continue;
        }
        switch (field) {
        case NVIRT_VMCS_PROC_CONTROLS:
            differs &= ~PROC_WINDOWS;
            break;
        case NVIRT_VMCS_ENTRY_CONTROLS:
            differs &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
            break;
        case NVIRT_VMCS_PROC2_CONTROLS:
            differs &= ~NVIRT_VMX_PROC2_VMCS_SHADOWING;
            break;
        case NVIRT_VMCS_VMREAD_BITMAP:
        case NVIRT_VMCS_VMWRITE_BITMAP:
            differs = 0;
            break;
        case NVIRT_VMCS_ENTRY_INTERRUPTION:
        case NVIRT_VMCS_ENTRY_ERROR_CODE:
        case NVIRT_VMCS_ENTRY_INSN_LENGTH:
        case NVIRT_VMCS_CR0_SHADOW:
        case NVIRT_VMCS_CR4_SHADOW:
            differs = 0;
            break;
        default:
            break;
        }
        REQUIRE(differs == 0, nvirt_vmcs_field_name(field), image->field[i]);
    }
}

/* [SDM 3C "VMCS Shadowing"]: L1 has a shadow VMCS exactly while it has a current one, and reads there
 * what vmcs12 says, but for what it wrote itself. Nothing of L0's is there. */
static inline void check_shadow(const struct world *w, struct nvirt_port_cpu *cpu,
                                const struct nvirt_vmcs *vmcs01)
{
    const struct nvirt_vmx_vcpu *v = w->v;
    bool used = (vmcs01->proc2_controls & NVIRT_VMX_PROC2_VMCS_SHADOWING) != 0;
    struct nvirt_vmcs shadow;

    REQUIRE(used == (v->shadow.usable && v->vmx.current != NVI_NO_VMCS), "use of the shadow VMCS",
            v->vmx.current);
    REQUIRE(used == (vmcs01->vmcs_link != NVIRT_VMX_NO_VMCS_LINK), "link of the shadow VMCS",
            vmcs01->vmcs_link);
    if (!used) {
        return;
    }
    REQUIRE(is_table_page(w->port, vmcs01->vmread_bitmap) &&
                is_table_page(w->port, vmcs01->vmwrite_bitmap),
            "bitmaps of the shadow VMCS", vmcs01->vmread_bitmap);
    hardware_view(cpu, vmcs01->vmcs_link, &shadow);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        REQUIRE(!nvi_field_has(&v->shadow.fields, i) || nvi_field_has(&v->now->lazy, i) ||
                    shadow.field[i] == v->vmcs12.field[i],
                nvirt_vmcs_field_name((enum nvirt_vmcs_field)i), shadow.field[i]);
    }
}

#endif
