/* SPDX-License-Identifier: MIT */
/*
 * The SVM backend: VMCB, permission maps and nested page tables for L1, and the loop that runs it.
 * nvirt stands before and
 * behind each entry. Physical interrupts and NMIs are L1's own.
 */
#include "svm.h"

#include "hyperv.h"
#include "power.h"
#include "rt.h"
#include "svm_cpu.h"

#include <nvirt/x86.h>

#define CR0_PE_ET 0x11u
#define RFLAGS_FIXED 0x2u
#define DR6_RESET 0xffff0ff0u
#define DR7_RESET 0x400u
#define PAT_RESET UINT64_C(0x0007040600070406)
#define ASID_L1 1u
#define VECTOR_SX 30u

#define SEG_CODE32 (NVIRT_VMCB_SEG_P | NVIRT_VMCB_SEG_S | NVIRT_VMCB_SEG_DB | NVIRT_VMCB_SEG_G | 0xbu)
#define SEG_DATA32 (NVIRT_VMCB_SEG_P | NVIRT_VMCB_SEG_S | NVIRT_VMCB_SEG_DB | NVIRT_VMCB_SEG_G | 0x3u)
#define SEG_CODE16 (NVIRT_VMCB_SEG_P | NVIRT_VMCB_SEG_S | 0xbu)
#define SEG_DATA16 (NVIRT_VMCB_SEG_P | NVIRT_VMCB_SEG_S | 0x3u)
#define SEG_LDT (NVIRT_VMCB_SEG_P | 0x2u)
#define SEG_TSS (NVIRT_VMCB_SEG_P | 0xbu)

#define REASON_NPF 0xa8u
#define REASON_INVALID 0xa9u

struct svm_vcpu svm;

static uint64_t need_pages(uint64_t count)
{
    uint64_t page;

    if (!bm_pool_alloc_run(&host.pool, count, &page))
        log_fatal("the page pool is too small to start L1: give pool=MIB more");
    return page;
}

/* Registers that both ways of starting, as L1's loader promises and after INIT, share. */
static void set_common_state(struct nvirt_vmcb *vmcb)
{
    static const struct nvirt_vmcb_segment none = {0, 0, 0xffff, 0};

    nvirt_vmcb_set_gdtr(vmcb, none);
    nvirt_vmcb_set_idtr(vmcb, none);
    nvirt_vmcb_set_ldtr(vmcb, (struct nvirt_vmcb_segment){0, SEG_LDT, 0xffff, 0});
    nvirt_vmcb_set_tr(vmcb, (struct nvirt_vmcb_segment){0, SEG_TSS, 0xffff, 0});
    nvirt_vmcb_set_cpl(vmcb, 0);
    nvirt_vmcb_set_efer(vmcb, NVIRT_SVM_EFER_SVME);
    nvirt_vmcb_set_cr3(vmcb, 0);
    nvirt_vmcb_set_cr4(vmcb, 0);
    nvirt_vmcb_set_dr6(vmcb, DR6_RESET);
    nvirt_vmcb_set_dr7(vmcb, DR7_RESET);
    nvirt_vmcb_set_rflags(vmcb, RFLAGS_FIXED);
    nvirt_vmcb_set_rsp(vmcb, 0);
    nvirt_vmcb_set_rax(vmcb, 0);
    nvirt_vmcb_set_int_state(vmcb, 0);
    nvirt_vmcb_set_event_inj(vmcb, 0);
    memset(&svm.gprs, 0, sizeof(svm.gprs));
}

static void set_data_segments(struct nvirt_vmcb *vmcb, struct nvirt_vmcb_segment data)
{
    nvirt_vmcb_set_es(vmcb, data);
    nvirt_vmcb_set_ss(vmcb, data);
    nvirt_vmcb_set_ds(vmcb, data);
    nvirt_vmcb_set_fs(vmcb, data);
    nvirt_vmcb_set_gs(vmcb, data);
}

static void set_loader_state(struct nvirt_vmcb *vmcb, const struct l1_entry *entry)
{
    set_common_state(vmcb);
    nvirt_vmcb_set_cs(vmcb, (struct nvirt_vmcb_segment){entry->code_selector, SEG_CODE32,
                                                        0xffffffffu, 0});
    set_data_segments(vmcb, (struct nvirt_vmcb_segment){entry->data_selector, SEG_DATA32,
                                                        0xffffffffu, 0});
    nvirt_vmcb_set_gdtr(vmcb,
                        (struct nvirt_vmcb_segment){0, 0, entry->gdt_limit, entry->gdt_base});
    nvirt_vmcb_set_cr0(vmcb, CR0_PE_ET);
    nvirt_vmcb_set_g_pat(vmcb, PAT_RESET);
    nvirt_vmcb_set_rip(vmcb, entry->eip);
    nvirt_vmcb_set_rax(vmcb, entry->eax);
    svm.gprs.r[NVIRT_RBX] = entry->ebx;
    svm.gprs.r[NVIRT_RSI] = entry->esi;
}

void svm_set_init_state(struct nvirt_vmcb *vmcb)
{
    /* CR0.CD and NW survive INIT, all else is as after reset [APM 2 "Processor Initialization State"]. */
    uint64_t cr0 = (vmcb->cr0 & 0x60000000u) | 0x10u;

    set_common_state(vmcb);
    nvirt_vmcb_set_cs(vmcb, (struct nvirt_vmcb_segment){0xf000, SEG_CODE16, 0xffff, 0xffff0000u});
    set_data_segments(vmcb, (struct nvirt_vmcb_segment){0, SEG_DATA16, 0xffff, 0});
    nvirt_vmcb_set_cr0(vmcb, cr0);
    nvirt_vmcb_set_rip(vmcb, 0xfff0);
    svm.gprs.r[NVIRT_RDX] = rt_cpuid(1, 0).eax;
}

/* What L0 must see; everything else L1 does on its own machine. */
static void set_intercepts(struct nvirt_vmcb *vmcb)
{
    static const uint16_t wanted[] = {NVIRT_SVM_EXIT_CPUID, NVIRT_SVM_EXIT_MSR, NVIRT_SVM_EXIT_INVD,
                                      NVIRT_SVM_EXIT_INIT, NVIRT_SVM_EXIT_SHUTDOWN};

    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        nvirt_vmcb_intercept(vmcb, wanted[i], true);
    nvirt_svm_intercepts_require(vmcb);
}

/* One bit per port. The MSR map of the same form is svm_exits.c's. */
static uint64_t make_iopm(struct nvirt_vmcb *vmcb)
{
    uint64_t page = need_pages(NVIRT_SVM_IOPM_BYTES / 4096);
    uint8_t *iopm = (uint8_t *)page;

    for (uint32_t i = 0; i < POWER_PORTS; i++) {
        uint16_t port = power_ports()[i];

        if (port == 0)
            continue;
        iopm[port / 8] |= (uint8_t)(1u << (port % 8));
        nvirt_vmcb_intercept(vmcb, NVIRT_SVM_EXIT_IOIO, true);
    }
    return page;
}

static void init_vmcb01(const struct l1_entry *entry)
{
    struct nvirt_vmcb *vmcb = svm_vmcb01();

    svm.msrpm = need_pages(NVIRT_SVM_MSRPM_BYTES / 4096);
    svm_msrpm_fill((uint8_t *)svm.msrpm);
    set_intercepts(vmcb);
    svm.iopm = make_iopm(vmcb);
    nvirt_vmcb_set_msrpm_base(vmcb, svm.msrpm);
    nvirt_vmcb_set_iopm_base(vmcb, svm.iopm);
    nvirt_vmcb_set_asid(vmcb, ASID_L1);
    nvirt_vmcb_set_np_control(vmcb, NVIRT_SVM_NP_ENABLE);
    nvirt_vmcb_set_n_cr3(vmcb, svm.stage2.root);
    set_loader_state(vmcb, entry);
}

void svm_must(enum nvirt_status status, const char *what)
{
    if (status != NVIRT_OK)
        report_stop("%s: %s", what, nvirt_status_name(status));
}

static void read_caps(struct nvirt_svm_caps *caps)
{
    const struct rt_cpuid leaf1 = rt_cpuid(1, 0), ext1 = rt_cpuid(0x80000001u, 0);
    const struct rt_cpuid ext8 = rt_cpuid(0x80000008u, 0), ext10 = rt_cpuid(0x8000000au, 0);
    const struct rt_cpuid leaf7 = rt_cpuid(0, 0).eax >= 7 ? rt_cpuid(7, 0) : (struct rt_cpuid){0};
    const struct nvirt_svm_cpuid cpuid = {
        .ecx_1 = leaf1.ecx,
        .edx_1 = leaf1.edx,
        .ebx_7 = leaf7.ebx,
        .ecx_7 = leaf7.ecx,
        .edx_7 = leaf7.edx,
        .ecx_80000001 = ext1.ecx,
        .edx_80000001 = ext1.edx,
        .eax_80000008 = ext8.eax,
        .ebx_80000008 = ext8.ebx,
        .eax_8000000a = ext10.eax,
        .ebx_8000000a = ext10.ebx,
        .edx_8000000a = ext10.edx,
        .eax_80000021 =
            rt_cpuid(0x80000000u, 0).eax >= 0x80000021u ? rt_cpuid(0x80000021u, 0).eax : 0,
    };

    svm_must(nvirt_svm_caps_decode(&cpuid, caps), "the CPU's SVM capabilities");
}

static void trace(const char *text, uint64_t value)
{
    log_trace("nvirt: %s 0x%lx", text, value);
}

void svm_make_vcpu(void)
{
    /* Two places, so that a vCPU that is made anew finds nothing of the one before. */
    static uint8_t memory[2][NVIRT_SVM_VCPU_SIZE] __attribute__((aligned(NVIRT_SVM_VCPU_ALIGN)));
    static unsigned made;

    svm_must(nvirt_svm_vcpu_init(memory[made++ % 2], sizeof(memory[0]), &svm.config, &svm.vcpu),
             "the vCPU object");
}

/* All free ASIDs are L2's. */
static void lend_asids(void)
{
    svm.config.asid01 = ASID_L1;
    svm.config.asids = svm.asids;
    for (uint32_t id = ASID_L1 + 1;
         id < svm.caps.asid_count && svm.config.asid_count < NVIRT_SVM_MAX_ASIDS; id++)
        svm.asids[svm.config.asid_count++] = id;
}

/* A VM object with one vCPU, most of the pool as its budget. */
static void init_nvirt(void)
{
    struct nvirt_vm_config vm = {.port = &svm.port, .page_budget = 0};
    uint64_t spare, maps02;

    read_caps(&svm.caps);
    svm_must(nvirt_svm_caps_offer(&svm.caps, &svm.offer), "what L1 can be offered");
    /* What L1 gives its L2 of it is nvirt's in any case. */
    if (!host.options.vgif)
        svm.caps.features &= ~NVIRT_SVM_FEATURE_VGIF;
    svm.port = (struct nvirt_port_vm){.memory = &host.memory,
                                      .pool = &host.pool,
                                      .rdmsr = svm_read_msr,
                                      .wrmsr = svm_write_msr,
                                      .trace = log_level() >= LOG_TRACE ? trace : NULL};
    maps02 = need_pages(NVIRT_SVM_MAP_PAGES);
    spare = host.pool.total - host.pool.used;
    vm.page_budget = (uint32_t)(spare - spare / 8);
    vm.physical_bits = svm.caps.physical_bits;
    svm_must(nvirt_vm_init(&svm.vm, &vm), "the VM object");
    svm.config = (struct nvirt_svm_vcpu_config){
        .vm = &svm.vm,
        .cpu = &svm.caps,
        .offer = &svm.offer,
        .vmcb01 = nvirt_hpa_make(svm.vmcb01),
        .maps02 = nvirt_hpa_make(maps02),
        .maps02_memory = (uint8_t *)maps02,
        .msrpm01 = (const uint8_t *)svm.msrpm,
        .iopm01 = (const uint8_t *)svm.iopm,
        .host_pat = rt_rdmsr(NVIRT_SVM_MSR_PAT),
        .host_5_level = (rt_read_cr4() & NVIRT_CR4_LA57) != 0,
        .interrupts_pass_through = true,
        .hyperv = hyperv_init(&svm.port, true)};
    lend_asids();
    svm_make_vcpu();
}

/*
 * The two events that reach the host's IDT, both while svm_cpu.c sets GIF for one moment: an NMI,
 * and the #SX into which VM_CR.R_INIT turns an INIT.
 */
static bool trap_hook(struct rt_trap_frame *frame)
{
    if (frame->vector == 2)
        svm.nmi_taken = true;
    return frame->vector == 2 || frame->vector == VECTOR_SX;
}

static void svm_init(const struct l1_entry *entry)
{
    uint32_t features = rt_cpuid(0x8000000au, 0).edx;
    bool has_1g = (rt_cpuid(0x80000001u, 0).edx & (1u << 26)) != 0;
    uint64_t host_save = need_pages(1);
    uint64_t vm_cr;

    svm.vmcb01 = need_pages(1);
    svm.host_state = need_pages(1);
    svm.has_nrips = (features & NVIRT_SVM_FEATURE_NRIPS) != 0;
    svm.has_tsc_ratio = (features & NVIRT_SVM_FEATURE_TSC_RATE) != 0;
    svm.tsc_ratio = NVIRT_SVM_TSC_RATIO_ONE;
    svm.has_decode_assists = (features & NVIRT_SVM_FEATURE_DECODE_ASSISTS) != 0;
    rt_set_trap_hook(trap_hook);
    if (!bm_stage2_init(&svm.stage2, BM_STAGE2_NPT, has_1g, &host.memory, &host.pool))
        log_fatal("the page pool is too small to start L1: give pool=MIB more");
    if (!bm_svm_enable(host_save, svm.host_state))
        log_fatal("the CPU refused to enable SVM");
    if (rt_rdmsr_safe(NVIRT_SVM_MSR_VM_CR, &vm_cr))
        (void)rt_wrmsr_safe(NVIRT_SVM_MSR_VM_CR, vm_cr | NVIRT_SVM_VM_CR_R_INIT);
    init_vmcb01(entry);
    init_nvirt();
}

/* Numbers under which exits are counted: exit codes, as far as they are small. */
static uint32_t reason_of(uint64_t code)
{
    if (code < REASON_NPF)
        return (uint32_t)code;
    if (code == NVIRT_SVM_EXIT_NPF)
        return REASON_NPF;
    if (code == NVIRT_SVM_EXIT_INVALID || code == NVIRT_SVM_EXIT_INVALID_LOW)
        return REASON_INVALID;
    return REASON_OTHER;
}

static const char *svm_reason_name(uint32_t reason)
{
    static const struct {
        uint32_t code;
        char name[20];
    } names[] = {
#define NVIRT_SVM_EXIT(name, code) {(code), #name},
        NVIRT_SVM_EXITS(NVIRT_SVM_EXIT)
#undef NVIRT_SVM_EXIT
    };

    if (reason == REASON_INVALID)
        return "INVALID";
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (reason_of(names[i].code) == reason)
            return names[i].name;
    }
    return NULL;
}

static void record(const struct nvirt_vmcb *vmcb, uint32_t level)
{
    struct exit_record *kept = report_exit(level, reason_of(vmcb->exit_code));

    kept->code = vmcb->exit_code;
    kept->info1 = vmcb->exit_info1;
    kept->info2 = vmcb->exit_info2;
    kept->rip = vmcb->rip;
}

/* L1 gave its guest another pace. */
static void set_tsc_ratio(uint64_t ratio)
{
    svm.tsc_ratio = ratio;
    if (svm.has_tsc_ratio)
        (void)rt_wrmsr_safe(NVIRT_SVM_MSR_TSC_RATIO, ratio);
}

static void svm_run(void)
{
    for (;;) {
        struct nvirt_svm_run run;
        struct svm_exit exit;

        if (svm.init_held)
            svm_take_held_init();
        svm_must(nvirt_svm_prepare(svm.vcpu, &svm.cpu, &run), "prepare");
        if (run.tsc_ratio != svm.tsc_ratio)
            set_tsc_ratio(run.tsc_ratio);
        bm_svm_enter(&svm.gprs, run.vmcb.value, run.state_vmcb.value, run.host_if);
        record((const struct nvirt_vmcb *)run.vmcb.value, run.level);
        svm_must(nvirt_svm_exit(svm.vcpu, &svm.cpu, &svm.gprs, &exit.nvirt), "exit");
        if (exit.nvirt.verdict != NVIRT_VERDICT_DONE) {
            exit.vmcb = nvirt_svm_vmcb(svm.vcpu, exit.nvirt.level);
            svm_handle_exit(&exit);
        }
        if (host.options.snapshot != 0)
            svm_snapshot(exit.nvirt.code);
    }
}

/* --- reports ------------------------------------------------------------------------------------ */

static struct segment_view segment_of(const struct nvirt_vmcb_segment *s)
{
    return (struct segment_view){s->selector, s->attrib, s->limit, s->base};
}

static bool svm_view(uint32_t level, struct cpu_view *v)
{
    const struct nvirt_vmcb *vmcb = nvirt_svm_vmcb(svm.vcpu, level);
    /* What VMLOAD and VMSAVE move is shared by both levels and always in vmcb01. */
    const struct nvirt_vmcb *shared = svm_vmcb01();
    const struct nvirt_vmcb_segment *segments[6];

    if (vmcb == NULL)
        return false;
    segments[0] = &vmcb->es;
    segments[1] = &vmcb->cs;
    segments[2] = &vmcb->ss;
    segments[3] = &vmcb->ds;
    segments[4] = &shared->fs;
    segments[5] = &shared->gs;
    /* Registers outside the VMCB are those of the level that ran last. */
    memset(v, 0, sizeof(*v));
    if (level == nvirt_svm_level(svm.vcpu))
        v->gprs = svm.gprs;
    v->gprs.r[NVIRT_RAX] = vmcb->rax;
    v->gprs.r[NVIRT_RSP] = vmcb->rsp;
    v->rip = vmcb->rip;
    v->rflags = vmcb->rflags;
    v->cr0 = vmcb->cr0;
    v->cr2 = vmcb->cr2;
    v->cr3 = vmcb->cr3;
    v->cr4 = vmcb->cr4;
    v->efer = vmcb->efer;
    v->dr6 = vmcb->dr6;
    v->dr7 = vmcb->dr7;
    for (unsigned i = 0; i < 6; i++)
        v->segment[i] = segment_of(segments[i]);
    v->tr = segment_of(&shared->tr);
    v->ldtr = segment_of(&shared->ldtr);
    v->gdtr = segment_of(&vmcb->gdtr);
    v->idtr = segment_of(&vmcb->idtr);
    return true;
}

static void print_controls(uint32_t level, const struct nvirt_vmcb *vmcb)
{
    log_line("VMCB of L%u", level);
    log_line("  exit code %lx info1 %lx info2 %lx int_info %lx", vmcb->exit_code, vmcb->exit_info1,
             vmcb->exit_info2, vmcb->exit_int_info);
    log_line("  int_ctl %lx int_state %lx event_inj %lx asid %x ncr3 %lx nrip %lx", vmcb->int_ctl,
             vmcb->int_state, vmcb->event_inj, vmcb->asid, vmcb->n_cr3, vmcb->next_rip);
}

static void svm_print_exit(void)
{
    for (uint32_t level = 1; level <= 2; level++) {
        const struct nvirt_vmcb *vmcb = nvirt_svm_vmcb(svm.vcpu, level);

        if (vmcb != NULL)
            print_controls(level, vmcb);
    }
    bm_svm_load_host_state(svm.host_state);
}

static const struct nvirt_stats *svm_stats(void)
{
    return nvirt_svm_stats(svm.vcpu);
}

const struct backend svm_backend = {
    .name = "AMD SVM",
    .missing = bm_svm_missing,
    .init = svm_init,
    .run = svm_run,
    .reason_name = svm_reason_name,
    .view = svm_view,
    .print_exit = svm_print_exit,
    .stats = svm_stats,
};
