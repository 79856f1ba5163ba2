/* SPDX-License-Identifier: MIT */
/*
 * The SVM backend: VMCB, permission maps and nested page tables for L1, and the loop that runs it.
 * Physical interrupts and NMIs are L1's own and are not intercepted while its GIF is set.
 */
#include "svm.h"

#include "power.h"
#include "rt.h"
#include "svm_cpu.h"

#define CR0_PE_ET 0x11u
#define RFLAGS_FIXED 0x2u
#define DR6_RESET 0xffff0ff0u
#define DR7_RESET 0x400u
#define PAT_RESET UINT64_C(0x0007040600070406)
#define ASID_L1 1u

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
    static const uint16_t wanted[] = {
        NVIRT_SVM_EXIT_CPUID,  NVIRT_SVM_EXIT_MSR,    NVIRT_SVM_EXIT_INVD,    NVIRT_SVM_EXIT_INIT,
        NVIRT_SVM_EXIT_SHUTDOWN, NVIRT_SVM_EXIT_VMRUN, NVIRT_SVM_EXIT_VMMCALL,
        NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE, NVIRT_SVM_EXIT_STGI,    NVIRT_SVM_EXIT_CLGI,
        NVIRT_SVM_EXIT_SKINIT, NVIRT_SVM_EXIT_INVLPGA};

    for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        nvirt_vmcb_intercept(vmcb, wanted[i], true);
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
    uint64_t msrpm = need_pages(NVIRT_SVM_MSRPM_BYTES / 4096);

    svm_msrpm_fill((uint8_t *)msrpm);
    set_intercepts(vmcb);
    nvirt_vmcb_set_msrpm_base(vmcb, msrpm);
    nvirt_vmcb_set_iopm_base(vmcb, make_iopm(vmcb));
    nvirt_vmcb_set_asid(vmcb, ASID_L1);
    nvirt_vmcb_set_tlb_control(vmcb, NVIRT_SVM_TLB_ALL);
    nvirt_vmcb_set_np_control(vmcb, NVIRT_SVM_NP_ENABLE);
    nvirt_vmcb_set_n_cr3(vmcb, svm.stage2.root);
    set_loader_state(vmcb, entry);
}

static void svm_init(const struct l1_entry *entry)
{
    bool has_1g = (rt_cpuid(0x80000001u, 0).edx & (1u << 26)) != 0;
    uint64_t host_save = need_pages(1);

    svm.vmcb01 = need_pages(1);
    svm.host_state = need_pages(1);
    svm.has_nrips = (rt_cpuid(0x8000000au, 0).edx & NVIRT_SVM_FEATURE_NRIPS) != 0;
    if (!bm_stage2_init(&svm.stage2, BM_STAGE2_NPT, has_1g, &host.memory, &host.pool))
        log_fatal("the page pool is too small to start L1: give pool=MIB more");
    if (!bm_svm_enable(host_save, svm.host_state))
        log_fatal("the CPU refused to enable SVM");
    init_vmcb01(entry);
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
    const struct exit_record exit = {.level = level,
                                     .reason = reason_of(vmcb->exit_code),
                                     .code = vmcb->exit_code,
                                     .info1 = vmcb->exit_info1,
                                     .info2 = vmcb->exit_info2,
                                     .rip = vmcb->rip};

    report_exit(&exit);
}

static void svm_run(void)
{
    struct nvirt_vmcb *vmcb = svm_vmcb01();

    for (;;) {
        bm_svm_enter(&svm.gprs, svm.vmcb01, svm.vmcb01, false);
        nvirt_vmcb_set_tlb_control(vmcb, NVIRT_SVM_TLB_NOTHING);
        vmcb->event_inj = 0;
        record(vmcb, 1);
        svm_handle_exit(vmcb);
    }
}

/* --- reports ------------------------------------------------------------------------------------ */

static struct segment_view segment_of(const struct nvirt_vmcb_segment *s)
{
    return (struct segment_view){s->selector, s->attrib, s->limit, s->base};
}

static bool svm_view(uint32_t level, struct cpu_view *v)
{
    const struct nvirt_vmcb *vmcb = svm_vmcb01();
    const struct nvirt_vmcb_segment *segments[6] = {&vmcb->es, &vmcb->cs, &vmcb->ss,
                                                    &vmcb->ds, &vmcb->fs, &vmcb->gs};

    if (level != 1)
        return false;
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
    v->tr = segment_of(&vmcb->tr);
    v->ldtr = segment_of(&vmcb->ldtr);
    v->gdtr = segment_of(&vmcb->gdtr);
    v->idtr = segment_of(&vmcb->idtr);
    return true;
}

static void svm_print_exit(void)
{
    const struct nvirt_vmcb *vmcb = svm_vmcb01();

    log_line("exit code %lx info1 %lx info2 %lx int_info %lx", vmcb->exit_code, vmcb->exit_info1,
             vmcb->exit_info2, vmcb->exit_int_info);
    log_line("int_ctl %lx int_state %lx event_inj %lx asid %x ncr3 %lx nrip %lx", vmcb->int_ctl,
             vmcb->int_state, vmcb->event_inj, vmcb->asid, vmcb->n_cr3, vmcb->next_rip);
    bm_svm_load_host_state(svm.host_state);
}

static const struct nvirt_stats *svm_stats(void)
{
    return NULL;
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
