/* SPDX-License-Identifier: MIT */
/* The world of one input: CPU, VM, a vCPU whose host wishes for this or that. */
#include "fuzz_vmx.h"

const uint64_t addresses[ADDRESSES] = {
    VMXON_REGION, VMCS12, VMCS12_B, OPERAND, BITMAP_A, BITMAP_B, MSR_BITMAP12, MSR_LIST,
    EPT12_TOP, EPT12_TOP + 0x1000, EPT12_TOP + 0x2000, EPT12_TOP + 0x3000, EPT12_TOP + 0x4000,
    L1_PML4, L1_PDPT, L1_PD, L1_PT, L1_EXIT_RIP, L2_RIP, RAM_BYTES - 8, READ_ONLY, DEVICE,
    LARGE_BLOCK, LARGE_BLOCK + 0x200000, 0x3ff000, 0x2000000, (UINT64_C(1) << ADDRESS_BITS) - 4096,
    (UINT64_C(1) << ADDRESS_BITS) - 8,
};

const uint32_t msrs[MSRS] = {
    0x3a, 0x10, 0x1b, 0x79, 0x9b, 0x9e, 0x174, 0x175, 0x176, 0x1d9, 0x277, 0x38f, 0x480, 0x481,
    0x485, 0x48b, 0x48c, 0x491, 0x492, 0x6a2, 0x6a4, 0x6a8, 0x802, 0xc0000080, 0xc0000081,
    0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0x12345678,
};

void host_set(struct fuzz *f, enum nvirt_vmcs_field field, uint64_t value)
{
    f->host.field[field] = nvirt_vmcs_truncate(field, value);
    REQUIRE(nvirt_vmx_write(f->w.v, f->cpu, 1, field, value) == NVIRT_OK, "host's write", field);
}

/* L0's own wishes differ from input to input. */
static void configure(struct fuzz *f, uint8_t choice)
{
    const struct nvirt_vmcs *h = &f->host;

    if ((choice & 1u) == 0) {
        host_set(f, NVIRT_VMCS_PROC_CONTROLS, h->proc_controls & ~NVIRT_VMX_PROC_MSR_BITMAPS);
    }
    if ((choice & 2u) != 0) {
        host_set(f, NVIRT_VMCS_PIN_CONTROLS, 0x16);
    }
    if ((choice & 4u) != 0) {
        host_set(f, NVIRT_VMCS_PIN_CONTROLS, h->pin_controls | NVIRT_VMX_PIN_EXT_INT);
        host_set(f, NVIRT_VMCS_EXIT_CONTROLS,
                 h->exit_controls | NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT);
        host_set(f, NVIRT_VMCS_PROC_CONTROLS, h->proc_controls | NVIRT_VMX_PROC_TPR_SHADOW);
        host_set(f, NVIRT_VMCS_VIRTUAL_APIC_ADDR, 0x7d000000);
    }
    if ((choice & 8u) != 0) {
        host_set(f, NVIRT_VMCS_PROC_CONTROLS,
                 h->proc_controls | ((choice & 1u) != 0 ? NVIRT_VMX_PROC_IO_BITMAPS
                                                        : NVIRT_VMX_PROC_UNCONDITIONAL_IO));
        host_set(f, NVIRT_VMCS_IO_BITMAP_A, 0x7c000000);
        host_set(f, NVIRT_VMCS_IO_BITMAP_B, 0x7c001000);
    }
    host_set(f, NVIRT_VMCS_GUEST_TR_LIMIT, 0x67);
}

static void make_vcpu(struct fuzz *f, uint8_t choice)
{
    struct world *w = &f->w;

    w->config.vm = &w->vm;
    w->config.cpu = &w->caps;
    w->config.offer = &w->offer;
    w->config.vmcs01 = nvirt_hpa_make(VMCS01_HPA);
    w->config.msr_bitmap = (choice & 1u) != 0 ? w->msr_bitmap : NULL;
    w->config.vpid01 = VPID01;
    for (uint16_t i = 0; i < 4; i++) {
        w->vpids[i] = (uint16_t)(i + 2);
    }
    w->config.vpids = w->vpids;
    w->config.vpid_count = (choice & 16u) != 0 ? 0 : (choice & 32u) != 0 ? 1 : 4;
#ifdef FUZZ_EVMCS
    w->config.hyperv = evmcs_offer(f);
#endif
    nvirt_vmx_msr_bitmap_require(w->msr_bitmap);
    REQUIRE(nvirt_vmx_vcpu_init(w->memory, NVIRT_VMX_VCPU_SIZE, &w->config, &w->v) == NVIRT_OK,
            "init", choice);
    world_vmcs01(w);
    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        f->host.field[i] = w->v->hw[NVI_01]->image.field[i];
    }
    configure(f, choice);
}

/* A CPU with CET; the host carries its state for L1. */
static void cpu_with_cet(struct nvirt_vmx_caps *caps)
{
    caps->basic |= NVIRT_VMX_BASIC_ANY_ERROR_CODE;
    caps->entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
    caps->true_entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
    caps->exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
    caps->true_exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
    caps->cr4_fixed1 |= NVIRT_CR4_CET;
    caps->cpu.s_cet_valid = ~UINT64_C(0x3c0);
}

void make_world(struct fuzz *f)
{
    struct world *w = &f->w;
    struct nvirt_vm_config config = { .physical_bits = ADDRESS_BITS };
    uint8_t choice = u8(&f->in);

    w->port = fake_vm_new();
    make_memory(w->port);
    for (uint32_t i = 0; i < MSRS; i++) {
        if (i % 3 != 0) {
            fake_vm_msr_set(w->port, msrs[i], i, i % 5 == 0);
        }
    }
    fake_cpu_init(&w->cpu);
    fake_cpu_init(&f->second);
    f->cpu = w->at = &w->cpu;
    config.port = w->port;
    config.page_budget = (choice & 64u) != 0 ? NVIRT_VM_MIN_PAGES : 64;
    REQUIRE(nvirt_vm_init(&w->vm, &config) == NVIRT_OK, "VM", 0);
    world_caps(&w->caps);
    if ((choice & 64u) != 0) {
        w->caps.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32);
    } else {
        w->caps.proc2 |= NVIRT_VMX_PROC2_MODE_EXECUTE << 32;
        w->caps.ept_vpid |= NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO;
    }
    if ((choice & 128u) != 0) {
        w->caps.pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
        w->caps.true_pin &= ~(NVIRT_VMX_PIN_PREEMPTION_TIMER << 32);
    }
    w->config.cet = (choice & 2u) == 0;
    if (w->config.cet) {
        cpu_with_cet(&w->caps);
    }
    REQUIRE(nvirt_vmx_caps_offer(&w->caps, &w->offer) == NVIRT_OK, "offer", 0);
    REQUIRE(nvirt_vmx_caps_offer_subpages(&w->caps, &w->offer) == NVIRT_OK, "offer of sub-pages", 0);
    if (w->config.cet && (choice & 8u) == 0) {
        REQUIRE(nvirt_vmx_caps_offer_cet(&w->caps, &w->offer) == NVIRT_OK, "offer of CET", 0);
    }
    REQUIRE(nvirt_vmx_caps_offer_posted(&w->offer) == NVIRT_OK, "offer of posted interrupts", 0);
    if ((choice & 32u) == 0) {
        w->caps.cpu.perf_global_valid = w->offer.cpu.perf_global_valid = 0xff;
        REQUIRE(nvirt_vmx_caps_offer_msrs(&w->offer, NVIRT_VMX_SWITCH_PERF_GLOBAL |
                                                         NVIRT_VMX_SWITCH_BNDCFGS) == NVIRT_OK,
                "offer of MSRs", 0);
    }
    if ((choice & 16u) == 0) {
        REQUIRE(nvirt_vmx_caps_offer_activity(&w->offer) == NVIRT_OK, "offer of states", 0);
    }
    w->memory = aligned_alloc(NVIRT_VMX_VCPU_ALIGN, NVIRT_VMX_VCPU_SIZE);
    world_l1_tables(w);
    fake_vm_put32(w->port, VMXON_REGION, revision12(w));
    fake_vm_put32(w->port, VMCS12, revision12(w));
    fake_vm_put32(w->port, VMCS12_B, revision12(w));
    make_vcpu(f, choice);
}

void end_world(struct fuzz *f)
{
    struct world *w = &f->w;

    f->cpu->fail_vmptrld = f->cpu->fail_vmclear = f->cpu->fail_vmread = f->cpu->fail_vmwrite = 0;
    REQUIRE(nvirt_vmx_vcpu_destroy(w->v, f->cpu) == NVIRT_OK, "destroy", 0);
    REQUIRE(w->vm.pages_in_use == 0, "pages still counted", w->vm.pages_in_use);
    REQUIRE(nvirt_vm_destroy(&w->vm) == NVIRT_OK, "VM still has vCPUs", 0);
    REQUIRE(f->failing || f->cpu->undefined_reads == 0, "VMREAD of an undefined field",
            f->cpu->undefined_reads);
    fake_vm_delete(w->port); /* Aborts when a page or a pin is left. */
    free(w->memory);
}
