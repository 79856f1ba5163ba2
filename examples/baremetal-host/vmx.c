/* SPDX-License-Identifier: MIT */
/*
 * The VMX backend: the fields of vmcs01, and the loop that runs whichever level nvirt says is next.
 * External interrupts and NMIs are L1's own: neither exits while L1 runs.
 */
#include "hyperv.h"
#include "vmx.h"

#include <nvirt/x86.h>

#include "rt.h"
#include "vmx_cpu.h"

#define PAT_RESET UINT64_C(0x0007040600070406)
#define VPID_L1 1u
#define VPID_L2_COUNT 8u
#define PAGE_BUDGET_MIN 64u

#define AR_CODE32 (0xbu | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P | NVIRT_VMX_AR_DB | NVIRT_VMX_AR_G)
#define AR_DATA32 (0x3u | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P | NVIRT_VMX_AR_DB | NVIRT_VMX_AR_G)
#define AR_CODE16 (0xbu | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P)
#define AR_DATA16 (0x3u | NVIRT_VMX_AR_S | NVIRT_VMX_AR_P)
#define AR_TSS (0xbu | NVIRT_VMX_AR_P)

struct vmx_vcpu vmx;

uint64_t vmx_get(uint32_t level, enum nvirt_vmcs_field field)
{
    uint64_t value = 0;
    enum nvirt_status status = nvirt_vmx_read(vmx.vcpu, vmx.cpu, level, field, &value);

    if (status != NVIRT_OK)
        log_fatal("VMCS of level %u, field %s: %s", level, nvirt_vmcs_field_name(field),
                  nvirt_status_name(status));
    return value;
}

void vmx_set(uint32_t level, enum nvirt_vmcs_field field, uint64_t value)
{
    enum nvirt_status status = nvirt_vmx_write(vmx.vcpu, vmx.cpu, level, field, value);

    if (status != NVIRT_OK)
        log_fatal("VMCS of level %u, field %s = 0x%lx: %s", level, nvirt_vmcs_field_name(field),
                  value, nvirt_status_name(status));
}

#define SET01(NAME, value) vmx_set(1, NVIRT_VMCS_##NAME, (value))

static uint64_t need_page(void)
{
    uint64_t page;

    if (!bm_pool_alloc(&host.pool, &page))
        log_fatal("the page pool is too small to start L1: give pool=MIB more");
    return page;
}

/* Wanted bits as far as the CPU allows them, and those it insists on. */
static uint64_t controls(uint64_t capability, uint64_t wanted)
{
    return (wanted | (capability & 0xffffffffu)) & (capability >> 32);
}

static void set_controls(void)
{
    const struct nvirt_vmx_caps *caps = &vmx.caps;

    SET01(PIN_CONTROLS, controls(caps->true_pin, 0));
    SET01(PROC_CONTROLS, controls(caps->true_proc,
                                  NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_SECONDARY));
    /* The enables give L1 every instruction that the CPU has. */
    SET01(PROC2_CONTROLS,
          controls(caps->proc2, NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_VPID |
                                    NVIRT_VMX_PROC2_UNRESTRICTED | NVIRT_VMX_PROC2_RDTSCP |
                                    NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_XSAVES |
                                    NVIRT_VMX_PROC2_USER_WAIT));
    SET01(EXIT_CONTROLS,
          controls(caps->true_exit,
                   NVIRT_VMX_EXIT_CTL_HOST_64 | NVIRT_VMX_EXIT_CTL_SAVE_DEBUG |
                       NVIRT_VMX_EXIT_CTL_SAVE_PAT | NVIRT_VMX_EXIT_CTL_LOAD_PAT |
                       NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_LOAD_EFER |
                       (vmx.cet ? NVIRT_VMX_EXIT_CTL_LOAD_CET : 0)));
    SET01(ENTRY_CONTROLS,
          controls(caps->true_entry, NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG |
                                         NVIRT_VMX_ENTRY_CTL_LOAD_PAT |
                                         NVIRT_VMX_ENTRY_CTL_LOAD_EFER |
                                         (vmx.cet ? NVIRT_VMX_ENTRY_CTL_LOAD_CET : 0)));
    SET01(VMCS_LINK, NVIRT_VMX_NO_VMCS_LINK);
    SET01(EPTP, vmx.eptp01);
    if ((vmx_get(1, NVIRT_VMCS_PROC2_CONTROLS) & NVIRT_VMX_PROC2_VPID) != 0)
        SET01(VPID, VPID_L1);
    SET01(CR0_MASK, nvirt_vmx_cr0_owned(vmx.vcpu));
    SET01(CR4_MASK, nvirt_vmx_cr4_owned(vmx.vcpu));
}

static void set_host_state(void)
{
    SET01(HOST_CR0, rt_read_cr0());
    SET01(HOST_CR3, rt_read_cr3());
    SET01(HOST_CR4, rt_read_cr4());
    SET01(HOST_CS_SELECTOR, RT_SEL_CS64);
    SET01(HOST_SS_SELECTOR, RT_SEL_DS);
    SET01(HOST_DS_SELECTOR, RT_SEL_DS);
    SET01(HOST_ES_SELECTOR, RT_SEL_DS);
    SET01(HOST_TR_SELECTOR, RT_SEL_TSS);
    SET01(HOST_TR_BASE, (uint64_t)rt_tss());
    SET01(HOST_GDTR_BASE, rt_sgdt().base);
    SET01(HOST_IDTR_BASE, rt_sidt().base);
    SET01(HOST_PAT, rt_rdmsr(NVIRT_MSR_PAT));
    SET01(HOST_EFER, rt_rdmsr(NVIRT_MSR_EFER));
    SET01(HOST_RIP, bm_vmx_host_rip());
    SET01(HOST_RSP, bm_vmx_host_rsp());
}

static void set_segment(enum nvirt_vmcs_field selector, enum nvirt_vmcs_field base,
                        enum nvirt_vmcs_field limit, enum nvirt_vmcs_field ar,
                        struct segment_view value)
{
    vmx_set(1, selector, value.selector);
    vmx_set(1, base, value.base);
    vmx_set(1, limit, value.limit);
    vmx_set(1, ar, value.attributes);
}

#define SEGMENT(NAME, ...)                                                                         \
    set_segment(NVIRT_VMCS_GUEST_##NAME##_SELECTOR, NVIRT_VMCS_GUEST_##NAME##_BASE,                \
                NVIRT_VMCS_GUEST_##NAME##_LIMIT, NVIRT_VMCS_GUEST_##NAME##_AR,                     \
                (struct segment_view)__VA_ARGS__)

static void set_data_segments(struct segment_view data)
{
    SEGMENT(ES, {data.selector, data.attributes, data.limit, data.base});
    SEGMENT(SS, {data.selector, data.attributes, data.limit, data.base});
    SEGMENT(DS, {data.selector, data.attributes, data.limit, data.base});
    SEGMENT(FS, {data.selector, data.attributes, data.limit, data.base});
    SEGMENT(GS, {data.selector, data.attributes, data.limit, data.base});
}

/* What both ways of starting, as L1's loader promises and after INIT, have in common. `cr0` and
 * CR4 are what L1 shall see; VMX operation adds its fixed bits beneath. */
static void set_common_state(uint64_t cr0)
{
    uint64_t fixed0 = vmx.caps.cr0_fixed0 & ~(NVIRT_CR0_PE | NVIRT_CR0_PG);

    SET01(GUEST_CR0, cr0 | fixed0);
    SET01(CR0_SHADOW, cr0);
    SET01(GUEST_CR3, 0);
    SET01(GUEST_CR4, vmx.caps.cr4_fixed0);
    SET01(CR4_SHADOW, 0);
    SET01(GUEST_EFER, 0);
    SET01(ENTRY_CONTROLS, vmx_get(1, NVIRT_VMCS_ENTRY_CONTROLS) & ~NVIRT_VMX_ENTRY_CTL_IA32E);
    SEGMENT(TR, {0, AR_TSS, 0xffff, 0});
    SEGMENT(LDTR, {0, NVIRT_VMX_AR_UNUSABLE, 0xffff, 0});
    SET01(GUEST_GDTR_BASE, 0);
    SET01(GUEST_GDTR_LIMIT, 0xffff);
    SET01(GUEST_IDTR_BASE, 0);
    SET01(GUEST_IDTR_LIMIT, 0xffff);
    SET01(GUEST_DR7, NVIRT_DR7_DEFAULT);
    SET01(GUEST_DEBUGCTL, 0);
    SET01(GUEST_RFLAGS, NVIRT_RFLAGS_FIXED1);
    SET01(GUEST_RSP, 0);
    SET01(GUEST_ACTIVITY, NVIRT_VMX_ACTIVITY_ACTIVE);
    SET01(GUEST_INTERRUPTIBILITY, 0);
    SET01(GUEST_PENDING_DEBUG, 0);
    if (vmx.cet) {
        SET01(GUEST_S_CET, 0);
        SET01(GUEST_SSP, 0);
        SET01(GUEST_SSP_TABLE, 0);
    }
    memset(&vmx.gprs, 0, sizeof(vmx.gprs));
}

static void set_loader_state(const struct l1_entry *entry)
{
    const struct segment_view data = {entry->data_selector, AR_DATA32, 0xffffffffu, 0};

    set_common_state(NVIRT_CR0_PE | NVIRT_CR0_ET);
    SEGMENT(CS, {entry->code_selector, AR_CODE32, 0xffffffffu, 0});
    set_data_segments(data);
    SET01(GUEST_GDTR_BASE, entry->gdt_base);
    SET01(GUEST_GDTR_LIMIT, entry->gdt_limit);
    SET01(GUEST_PAT, PAT_RESET);
    SET01(GUEST_RIP, entry->eip);
    vmx.gprs.r[NVIRT_RAX] = entry->eax;
    vmx.gprs.r[NVIRT_RBX] = entry->ebx;
    vmx.gprs.r[NVIRT_RSI] = entry->esi;
}

void vmx_set_init_state(void)
{
    const struct segment_view data = {0, AR_DATA16, 0xffff, 0};
    /* CD and NW survive INIT [SDM 3A "Processor State After Reset"]. */
    uint64_t kept = vmx_get(1, NVIRT_VMCS_GUEST_CR0) & (NVIRT_CR0_CD | NVIRT_CR0_NW);

    set_common_state(kept | NVIRT_CR0_ET);
    SEGMENT(CS, {0xf000, AR_CODE16, 0xffff, 0xffff0000u});
    set_data_segments(data);
    SET01(GUEST_SYSENTER_CS, 0);
    SET01(GUEST_SYSENTER_ESP, 0);
    SET01(GUEST_SYSENTER_EIP, 0);
    SET01(GUEST_RIP, 0xfff0);
    vmx.gprs.r[NVIRT_RDX] = rt_cpuid(1, 0).eax;
}

static void init_stage2(void)
{
    bool has_1g = (vmx.caps.ept_vpid & NVIRT_VMX_EPT_CAP_1G) != 0;

    if (!bm_stage2_init(&vmx.stage2, BM_STAGE2_EPT, has_1g, &host.memory, &host.pool))
        log_fatal("the page pool is too small to start L1: give pool=MIB more");
    vmx.eptp01 = vmx.stage2.root | NVIRT_MEMORY_WB | NVIRT_VMX_EPTP_WALK_4;
}

static void trace(const char *text, uint64_t value)
{
    log_trace("%s: 0x%lx", text, value);
}

/* A VMCS region as VMPTRLD wants it: zeroed but for the revision identifier. */
static nvirt_hpa new_vmcs(void)
{
    uint64_t page = need_page();

    *(uint32_t *)page = (uint32_t)(vmx.caps.basic & NVIRT_VMX_BASIC_REVISION);
    return nvirt_hpa_make(page);
}

static void init_vm(void)
{
    uint64_t pages = (host.pool.total - host.pool.used) / 2;
    const struct nvirt_vm_config vm = {
        .port = &vmx.port,
        .page_budget = (uint32_t)(pages < PAGE_BUDGET_MIN ? PAGE_BUDGET_MIN : pages),
        .physical_bits = vmx.caps.cpu.physical_bits};
    enum nvirt_status status = nvirt_vm_init(&vmx.vm, &vm);

    if (status != NVIRT_OK)
        log_fatal("nvirt refused the VM: %s", nvirt_status_name(status));
}

/* Two places, so that a vCPU that is made anew finds nothing of the one before. */
static void need_vcpu_memory(void)
{
    for (unsigned i = 0; i < 2; i++) {
        if (!bm_pool_alloc_run(&host.pool, NVIRT_VMX_VCPU_SIZE / BM_PAGE_SIZE, &vmx.memory[i]))
            log_fatal("the page pool is too small to start L1: give pool=MIB more");
    }
}

void vmx_make_vcpu(void)
{
    static const uint16_t vpids[VPID_L2_COUNT] = {2, 3, 4, 5, 6, 7, 8, 9};
    static unsigned made;
    bool has_vpid = (vmx.caps.proc2 >> 32 & NVIRT_VMX_PROC2_VPID) != 0;
    const struct nvirt_vmx_vcpu_config config = {.vm = &vmx.vm,
                                                 .index = 0,
                                                 .cpu = &vmx.caps,
                                                 .offer = &vmx.offer,
                                                 .vmcs01 = vmx.vmcs01,
                                                 .msr_bitmap = (const uint8_t *)vmx.msr_bitmap,
                                                 .vpid01 = has_vpid ? VPID_L1 : 0,
                                                 .vpids = vpids,
                                                 .vpid_count = has_vpid ? VPID_L2_COUNT : 0,
                                                 .cet = vmx.cet,
                                                 .hyperv = vmx.hyperv};
    enum nvirt_status status = nvirt_vmx_vcpu_init((void *)vmx.memory[made++ % 2],
                                                   NVIRT_VMX_VCPU_SIZE, &config, &vmx.vcpu);

    if (status != NVIRT_OK)
        log_fatal("nvirt refused the vCPU: %s", nvirt_status_name(status));
}

/* CPUID's side of the capabilities [SDM 2A "CPUID"]. */
static void cpu_facts(struct nvirt_vmx_cpu_facts *facts)
{
    uint32_t widths = rt_cpuid(0x80000008u, 0).eax;
    struct rt_cpuid extended = rt_cpuid(0x80000001u, 0);
    struct rt_cpuid structured = {0, 0, 0, 0};

    if (rt_cpuid(0, 0).eax >= 7)
        structured = rt_cpuid(7, 0);
    facts->physical_bits = (uint8_t)widths;
    facts->linear_bits = (uint8_t)(widths >> 8);
    facts->long_mode = (extended.edx & (1u << 29)) != 0;
    facts->rtm = (structured.ebx & (1u << 11)) != 0;
    facts->cr4_valid = ~UINT64_C(0);
    facts->efer_valid = NVIRT_EFER_SCE | NVIRT_EFER_LME | NVIRT_EFER_LMA |
                        ((extended.edx & (1u << 20)) != 0 ? NVIRT_EFER_NXE : 0);
    facts->debugctl_valid = UINT64_C(0xffc3);
    if ((structured.ecx & (1u << 24)) != 0)
        facts->debugctl_valid |= NVIRT_BIT(2); /* bus-lock detection */
    facts->s_cet_valid =
        ((structured.ecx & (1u << 7)) != 0 ? NVIRT_BITS(1, 0) : 0) |
        ((structured.edx & (1u << 20)) != 0 ? NVIRT_BITS(63, 10) | NVIRT_BITS(5, 2) : 0);
}

static void make_offer(void)
{
    if (nvirt_vmx_caps_read(vmx.cpu, &vmx.caps.cpu, &vmx.caps) != NVIRT_OK ||
        nvirt_vmx_caps_offer(&vmx.caps, &vmx.offer) != NVIRT_OK)
        log_fatal("the CPU's VMX capabilities could not be read");
    if (nvirt_vmx_caps_offer_posted(&vmx.offer) != NVIRT_OK)
        log_info("no posted interrupts for L1: the CPU does not deliver virtual ones");
    /* Hosts with guests they do not trust leave it: Intel advises so. This one shows what nvirt can do. */
    if (nvirt_vmx_caps_offer_subpages(&vmx.caps, &vmx.offer) != NVIRT_OK)
        log_info("no sub-page write permissions for L1: the CPU has none");
    if (nvirt_vmx_caps_offer_activity(&vmx.offer) != NVIRT_OK)
        log_fatal("shutdown and wait-for-SIPI could not be offered");
    /* Without, L1 and L2 have CET all the same, in one set with this host, whose CR4.CET stays 0. */
    vmx.cet =
        host.options.cet && nvirt_vmx_caps_offer_cet(&vmx.caps, &vmx.offer) == NVIRT_OK;
}

static void vmx_init(const struct l1_entry *entry)
{
    uint64_t vmxon = need_page();

    vmx.cpu = &vmx.port_cpu;
    vmx.port = (struct nvirt_port_vm){.memory = &host.memory,
                                      .pool = &host.pool,
                                      .rdmsr = vmx_l1_rdmsr,
                                      .wrmsr = vmx_l1_wrmsr,
                                      .trace = trace};
    cpu_facts(&vmx.caps.cpu);
    make_offer();
    if (!host.options.shadow)
        vmx.caps.proc2 &= ~(NVIRT_VMX_PROC2_VMCS_SHADOWING << 32);
    if (!bm_vmx_enable(vmxon))
        log_fatal("the CPU refused VMXON");
    init_stage2();
    vmx.msr_bitmap = need_page();
    vmx_msr_bitmap_fill((uint8_t *)vmx.msr_bitmap);
    vmx.vmcs01 = new_vmcs();
    need_vcpu_memory();
    init_vm();
    vmx.hyperv = hyperv_init(&vmx.port, false);
    vmx_make_vcpu();
    set_controls();
    set_host_state();
    SET01(MSR_BITMAP, vmx.msr_bitmap);
    vmx_io_init();
    set_loader_state(entry);
}

/* --- the loop ----------------------------------------------------------------------------------- */

static uint32_t reason_of(uint32_t reason)
{
    uint32_t basic = reason & 0xffffu;

    return basic < NVIRT_VMX_EXIT_REASON_LIMIT ? basic : REASON_OTHER;
}

static const char *vmx_reason_name(uint32_t reason)
{
    return reason < NVIRT_VMX_EXIT_REASON_LIMIT ? nvirt_vmx_exit_reason_name(reason) : NULL;
}

NVIRT_COLD static _Noreturn void stop_for(const char *format, enum nvirt_status status)
{
    report_stop(format, nvirt_status_name(status));
}

/* The last exits, as nvirt told them: each is told right into its place. */
static struct nvirt_vmx_exit recent[REPORT_RING], *oldest = recent;

static inline struct nvirt_vmx_exit *make_room(void)
{
    struct nvirt_vmx_exit *place = oldest++;

    if (oldest == recent + REPORT_RING)
        oldest = recent;
    return place;
}

static void handle_exit(void)
{
    struct nvirt_vmx_exit *exit = make_room();
    enum nvirt_status status = nvirt_vmx_exit(vmx.vcpu, vmx.cpu, &vmx.gprs, exit);

    if (status != NVIRT_OK)
        stop_for("nvirt could not handle an exit: %s", status);
    report_count(exit->level, reason_of(exit->reason));
    if (exit->verdict != NVIRT_VERDICT_DONE)
        vmx_handle_exit(exit);
    if (host.options.snapshot != 0)
        vmx_snapshot(exit->reason & 0xffffu);
}

NVIRT_COLD static void entry_failed(enum bm_vmx_outcome outcome)
{
    uint32_t error = 0;
    enum nvirt_status status = nvirt_vmx_entry_failed(
        vmx.vcpu, vmx.cpu,
        outcome == BM_VMX_FAIL_VALID ? NVIRT_HW_VMFAIL_VALID : NVIRT_HW_VMFAIL_INVALID, &error);

    if (status != NVIRT_OK)
        report_stop("the CPU refused to enter L1: VM-instruction error %u", error);
}

/* Returns whether an NMI was there. */
NVIRT_COLD static bool inject_nmi(void)
{
    const struct nvirt_event nmi = {.type = NVIRT_EVENT_NMI, .vector = NVIRT_VECTOR_NMI};
    bool waiting = bm_vmx_take_nmi();

    if (waiting && nvirt_vmx_inject(vmx.vcpu, vmx.cpu, &nmi) != NVIRT_OK)
        report_stop("an NMI could not be handed to L1");
    return waiting;
}

/* L2 is in shutdown or wait-for-SIPI. Interrupts are L1's, so they stay in the APIC; an NMI that hits here, or
 * L1's preemption timer, ends the wait. There is no other CPU that could send a SIPI. An NMI that waits
 * already is blocked, and so is the next. */
static void wait_for_event(void)
{
    const bool blocked = (nvirt_vmx_waits(vmx.vcpu) & NVIRT_WAITS_NMI) != 0;
    const uint64_t since = rt_rdtsc();
    uint64_t ticks;
    uint64_t now;

    (void)nvirt_vmx_sleeps(vmx.vcpu, since, &ticks);
    do {
        __asm__ volatile("pause" : : : "memory");
        now = rt_rdtsc();
    } while (now - since < ticks && (!inject_nmi() || blocked));
    if (nvirt_vmx_slept(vmx.vcpu, vmx.cpu, since, now) != NVIRT_OK)
        report_stop("the time that L2 slept could not be told");
}

_Noreturn static void vmx_run(void);

/* Nothing to enter: the loop begins anew when something has come. */
NVIRT_COLD _Noreturn static void not_prepared(enum nvirt_status status)
{
    if (status != NVIRT_ERR_ASLEEP)
        stop_for("nvirt could not prepare an entry: %s", status);
    wait_for_event();
    vmx_run();
}

static inline bool prepare(void)
{
    struct nvirt_vmx_run run;
    enum nvirt_status status = nvirt_vmx_prepare(vmx.vcpu, vmx.cpu, &run);

    if (status != NVIRT_OK)
        not_prepared(status);
    if (run.set_cr2)
        rt_write_cr2(run.cr2);
    return run.launch;
}

bool bm_vmx_exited(void)
{
    handle_exit();
    return prepare();
}

bool bm_vmx_not_entered(enum bm_vmx_outcome outcome)
{
    if (outcome == BM_VMX_NMI)
        (void)inject_nmi();
    else
        entry_failed(outcome);
    return prepare();
}

_Noreturn static void vmx_run(void)
{
    bm_vmx_run(&vmx.gprs, prepare());
}

/* --- reports ------------------------------------------------------------------------------------ */

#define VIEW_SEGMENT(NAME)                                                                         \
    ((struct segment_view){                                                                        \
        .selector = (uint16_t)vmx_get(level, NVIRT_VMCS_GUEST_##NAME##_SELECTOR),                  \
        .attributes = (uint32_t)vmx_get(level, NVIRT_VMCS_GUEST_##NAME##_AR),                      \
        .limit = (uint32_t)vmx_get(level, NVIRT_VMCS_GUEST_##NAME##_LIMIT),                        \
        .base = vmx_get(level, NVIRT_VMCS_GUEST_##NAME##_BASE)})

static bool vmx_view(uint32_t level, struct cpu_view *v)
{
    if (vmx.vcpu == NULL || (level == 2 && nvirt_vmx_level(vmx.vcpu) != 2))
        return false;
    /* General-purpose registers are those of the level that ran last. */
    v->gprs = vmx.gprs;
    v->gprs.r[NVIRT_RSP] = vmx_get(level, NVIRT_VMCS_GUEST_RSP);
    v->rip = vmx_get(level, NVIRT_VMCS_GUEST_RIP);
    v->rflags = vmx_get(level, NVIRT_VMCS_GUEST_RFLAGS);
    v->cr0 = vmx_get(level, NVIRT_VMCS_GUEST_CR0);
    v->cr2 = rt_read_cr2();
    v->cr3 = vmx_get(level, NVIRT_VMCS_GUEST_CR3);
    v->cr4 = vmx_get(level, NVIRT_VMCS_GUEST_CR4);
    v->efer = vmx_get(level, NVIRT_VMCS_GUEST_EFER);
    v->dr6 = rt_read_dr6();
    v->dr7 = vmx_get(level, NVIRT_VMCS_GUEST_DR7);
    v->segment[0] = VIEW_SEGMENT(ES);
    v->segment[1] = VIEW_SEGMENT(CS);
    v->segment[2] = VIEW_SEGMENT(SS);
    v->segment[3] = VIEW_SEGMENT(DS);
    v->segment[4] = VIEW_SEGMENT(FS);
    v->segment[5] = VIEW_SEGMENT(GS);
    v->tr = VIEW_SEGMENT(TR);
    v->ldtr = VIEW_SEGMENT(LDTR);
    v->gdtr = (struct segment_view){
        .limit = (uint32_t)vmx_get(level, NVIRT_VMCS_GUEST_GDTR_LIMIT),
        .base = vmx_get(level, NVIRT_VMCS_GUEST_GDTR_BASE)};
    v->idtr = (struct segment_view){
        .limit = (uint32_t)vmx_get(level, NVIRT_VMCS_GUEST_IDTR_LIMIT),
        .base = vmx_get(level, NVIRT_VMCS_GUEST_IDTR_BASE)};
    return true;
}

static void print_recent(void)
{
    log_line("last exits, oldest first");
    for (uint32_t i = 0; i < REPORT_RING; i++) {
        const struct nvirt_vmx_exit *e = make_room();

        if (e->level != 0)
            log_line("  L%u %-16s reason %x qualification %lx verdict %u", e->level,
                     nvirt_vmx_exit_reason_name(e->reason & 0xffffu), e->reason, e->qualification,
                     (uint32_t)e->verdict);
    }
}

static void vmx_print_exit(void)
{
    uint32_t level = nvirt_vmx_level(vmx.vcpu);

    log_line("exit reason %lx (%s) qualification %lx instruction length %lu info %lx",
             vmx_get(level, NVIRT_VMCS_EXIT_REASON),
             nvirt_vmx_exit_reason_name((uint32_t)vmx_get(level, NVIRT_VMCS_EXIT_REASON) & 0xffffu),
             vmx_get(level, NVIRT_VMCS_EXIT_QUALIFICATION),
             vmx_get(level, NVIRT_VMCS_EXIT_INSN_LENGTH),
             vmx_get(level, NVIRT_VMCS_EXIT_INSN_INFO));
    log_line("interruption %lx error %lx vectoring %lx error %lx linear %lx physical %lx",
             vmx_get(level, NVIRT_VMCS_EXIT_INTERRUPTION),
             vmx_get(level, NVIRT_VMCS_EXIT_INTERRUPTION_ERROR),
             vmx_get(level, NVIRT_VMCS_IDT_VECTORING),
             vmx_get(level, NVIRT_VMCS_IDT_VECTORING_ERROR),
             vmx_get(level, NVIRT_VMCS_GUEST_LINEAR), vmx_get(level, NVIRT_VMCS_GUEST_PHYSICAL));
    log_line("activity %lx interruptibility %lx pending debug %lx entry interruption %lx",
             vmx_get(level, NVIRT_VMCS_GUEST_ACTIVITY),
             vmx_get(level, NVIRT_VMCS_GUEST_INTERRUPTIBILITY),
             vmx_get(level, NVIRT_VMCS_GUEST_PENDING_DEBUG),
             vmx_get(level, NVIRT_VMCS_ENTRY_INTERRUPTION));
    print_recent();
}

static const struct nvirt_stats *vmx_stats(void)
{
    return nvirt_vmx_stats(vmx.vcpu);
}

const struct backend vmx_backend = {
    .name = "Intel VMX",
    .missing = bm_vmx_missing,
    .init = vmx_init,
    .run = vmx_run,
    .reason_name = vmx_reason_name,
    .view = vmx_view,
    .print_exit = vmx_print_exit,
    .stats = vmx_stats,
};
