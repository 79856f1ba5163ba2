/* SPDX-License-Identifier: MIT */
/*
 * What L1 is offered: each capability MSR put together from an allow-list of what nvirt carries out
 * whole, and from what the CPU has. A bit that stands in no list reads as absent.
 *
 * [SDM 3D "VMX Capability Reporting Facility"]
 */
#include "vmcs/vmcs_internal.h"

#include <nvirt/vmx.h>

/* The revision follows the table, because the layout of nvirt's VMCS region does. */
#define REVISION (UINT64_C(0x4E561000) | NVIRT_VMCS_FIELD_COUNT)

NVIRT_STATIC_ASSERT((REVISION & ~NVIRT_VMX_BASIC_REVISION) == 0 && NVIRT_VMCS_FIELD_COUNT < 0x1000,
                    "the field count is the lower part of the revision identifier");

#define LOW NVIRT_BITS(31, 0)

/* ---- the allow-lists ---- */

#define PIN_OFFERED                                                                                \
    (NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_NMI | NVIRT_VMX_PIN_VIRTUAL_NMIS |                      \
     NVIRT_VMX_PIN_PREEMPTION_TIMER)

#define PROC_OFFERED                                                                               \
    (NVIRT_VMX_PROC_INTERRUPT_WINDOW | NVIRT_VMX_PROC_TSC_OFFSET | NVIRT_VMX_PROC_HLT |            \
     NVIRT_VMX_PROC_INVLPG | NVIRT_VMX_PROC_MWAIT | NVIRT_VMX_PROC_RDPMC | NVIRT_VMX_PROC_RDTSC |  \
     NVIRT_VMX_PROC_CR3_LOAD | NVIRT_VMX_PROC_CR3_STORE | NVIRT_VMX_PROC_CR8_LOAD |                \
     NVIRT_VMX_PROC_CR8_STORE | NVIRT_VMX_PROC_NMI_WINDOW | NVIRT_VMX_PROC_MOV_DR |                \
     NVIRT_VMX_PROC_UNCONDITIONAL_IO | NVIRT_VMX_PROC_IO_BITMAPS | NVIRT_VMX_PROC_MTF |            \
     NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_MONITOR | NVIRT_VMX_PROC_PAUSE |                  \
     NVIRT_VMX_PROC_TPR_SHADOW | NVIRT_VMX_PROC_SECONDARY)

#define PROC2_OFFERED                                                                              \
    (NVIRT_VMX_PROC2_EPT | NVIRT_VMX_PROC2_DESCRIPTOR_TABLE | NVIRT_VMX_PROC2_RDTSCP |             \
     NVIRT_VMX_PROC2_VPID | NVIRT_VMX_PROC2_WBINVD | NVIRT_VMX_PROC2_UNRESTRICTED |                \
     NVIRT_VMX_PROC2_RDRAND | NVIRT_VMX_PROC2_INVPCID | NVIRT_VMX_PROC2_RDSEED |                 \
     NVIRT_VMX_PROC2_TSC_SCALING | NVIRT_VMX_PROC2_VMFUNC | NVIRT_VMX_PROC2_PAUSE_LOOP |           \
     NVIRT_VMX_PROC2_ENCLS | NVIRT_VMX_PROC2_ENCLV | NVIRT_VMX_PROC2_PCONFIG |                     \
     NVIRT_VMX_PROC2_XSAVES | NVIRT_VMX_PROC2_USER_WAIT | NVIRT_VMX_PROC2_APIC_ACCESSES |            \
     PROC2_VIRTUAL_APIC)
/* Need EPT. */
#define PROC2_WITH_EPT                                                                             \
    (NVIRT_VMX_PROC2_UNRESTRICTED | NVIRT_VMX_PROC2_VMFUNC | NVIRT_VMX_PROC2_MODE_EXECUTE |        \
     NVIRT_VMX_PROC2_EPT_VE)
/* Need a virtual-APIC page, which the TPR shadow has. */
#define PROC2_VIRTUAL_APIC                                                                         \
    (NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS)

#define EXIT_OFFERED                                                                               \
    (NVIRT_VMX_EXIT_CTL_SAVE_DEBUG | NVIRT_VMX_EXIT_CTL_HOST_64 |                                  \
     NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT | NVIRT_VMX_EXIT_CTL_SAVE_PAT |                              \
     NVIRT_VMX_EXIT_CTL_LOAD_PAT | NVIRT_VMX_EXIT_CTL_SAVE_EFER | NVIRT_VMX_EXIT_CTL_LOAD_EFER |   \
     NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER)

#define ENTRY_OFFERED                                                                              \
    (NVIRT_VMX_ENTRY_CTL_LOAD_DEBUG | NVIRT_VMX_ENTRY_CTL_IA32E | NVIRT_VMX_ENTRY_CTL_LOAD_PAT |   \
     NVIRT_VMX_ENTRY_CTL_LOAD_EFER)

/* Properties of EPT that L1's tables may use as far as the CPU has them. */
#define EPT_FROM_CPU                                                                               \
    (NVIRT_VMX_EPT_CAP_EXECUTE_ONLY | NVIRT_VMX_EPT_CAP_WALK_4 | NVIRT_VMX_EPT_CAP_WB |            \
     NVIRT_VMX_EPT_CAP_2M | NVIRT_VMX_EPT_CAP_1G | NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY |              \
     NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO)
/* Works wherever EPT has dirty flags, whether or not the CPU has a log (vmx_tables.c). */
#define PROC2_FROM_NVIRT NVIRT_VMX_PROC2_PML
/* Works wherever there are secondary controls: L2's VMREAD and VMWRITE exit (vmx_insn.c). */
#define PROC2_SHADOWING NVIRT_VMX_PROC2_VMCS_SHADOWING
/* INVEPT and INVVPID of L1 are carried out by nvirt, in all their types. */
#define EPT_FROM_NVIRT                                                                             \
    (NVIRT_VMX_EPT_CAP_INVEPT | NVIRT_VMX_EPT_CAP_INVEPT_SINGLE | NVIRT_VMX_EPT_CAP_INVEPT_ALL)
#define VPID_FROM_NVIRT                                                                            \
    (NVIRT_VMX_VPID_CAP_INVVPID | NVIRT_VMX_VPID_CAP_ADDRESS | NVIRT_VMX_VPID_CAP_SINGLE |         \
     NVIRT_VMX_VPID_CAP_ALL | NVIRT_VMX_VPID_CAP_SINGLE_NON_GLOBAL)

/* Of BASIC: what exits tell, and what events an entry accepts. */
#define BASIC_FROM_CPU (NVIRT_VMX_BASIC_INS_OUTS_INFO | NVIRT_VMX_BASIC_ANY_ERROR_CODE)
/*
 * Of MISC: the rate of the timer L2's hardware uses, and what an entry accepts. The number of
 * CR3 targets and the length of MSR lists stay those that every CPU has had.
 */
#define MISC_FROM_CPU                                                                              \
    (NVIRT_VMX_MISC_TIMER_RATE | NVIRT_VMX_MISC_ACTIVITY_HLT | NVIRT_VMX_MISC_VMWRITE_ANY |        \
     NVIRT_VMX_MISC_ZERO_LENGTH)
#define CR3_TARGETS UINT64_C(4)

/* ---- one control word ---- */

struct word {
    uint64_t plain, refined; /* The pair of capability MSRs. */
};

/*
 * A control may be 1 if both the CPU and the list allow it. Reserved controls of the default1 class
 * must be 1 by the plain MSR; the TRUE one lets those be 0 that are in the list and that the CPU
 * lets be 0 [SDM 3D "Reserved Controls and Default Settings"].
 */
static struct word offer_word(uint64_t cpu_plain, uint64_t cpu_true, uint64_t offered,
                              uint64_t default1)
{
    uint64_t may_be_1 = (cpu_plain >> 32) & (offered | default1);
    uint64_t may_be_0 = default1 & offered & ~cpu_true;
    struct word word;

    word.plain = (may_be_1 << 32) | default1;
    word.refined = (may_be_1 << 32) | (default1 & ~may_be_0);
    return word;
}

/* Controls that make no sense, or break a rule of the entry checks, without another one. */
static void drop_pin_dependents(uint64_t *pin)
{
    if ((*pin & NVIRT_VMX_PIN_NMI) == 0) {
        *pin &= ~NVIRT_VMX_PIN_VIRTUAL_NMIS;
    }
}

static void offer_controls(const struct nvirt_vmx_caps *cpu, struct nvirt_vmx_caps *offer)
{
    uint64_t pin = PIN_OFFERED & (cpu->pin >> 32);
    uint64_t proc = PROC_OFFERED;
    uint64_t exit = EXIT_OFFERED;
    uint64_t entry = ENTRY_OFFERED;
    struct word word;

    drop_pin_dependents(&pin);
    if ((pin & NVIRT_VMX_PIN_VIRTUAL_NMIS) == 0) {
        proc &= ~NVIRT_VMX_PROC_NMI_WINDOW;
    }
    if ((pin & NVIRT_VMX_PIN_PREEMPTION_TIMER) == 0) {
        exit &= ~NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER;
    }
    if (!cpu->cpu.long_mode) {
        exit &= ~NVIRT_VMX_EXIT_CTL_HOST_64;
        entry &= ~NVIRT_VMX_ENTRY_CTL_IA32E;
    }
    word = offer_word(cpu->pin, cpu->true_pin, pin, NVIRT_VMX_PIN_DEFAULT1);
    offer->pin = word.plain;
    offer->true_pin = word.refined;
    if ((offer->proc2 >> 32) == 0) {
        proc &= ~NVIRT_VMX_PROC_SECONDARY;
    }
    word = offer_word(cpu->proc, cpu->true_proc, proc, NVIRT_VMX_PROC_DEFAULT1);
    offer->proc = word.plain;
    offer->true_proc = word.refined;
    word = offer_word(cpu->exit, cpu->true_exit, exit, NVIRT_VMX_EXIT_CTL_DEFAULT1);
    offer->exit = word.plain;
    offer->true_exit = word.refined;
    word = offer_word(cpu->entry, cpu->true_entry, entry, NVIRT_VMX_ENTRY_CTL_DEFAULT1);
    offer->entry = word.plain;
    offer->true_entry = word.refined;
}

static void offer_secondary(const struct nvirt_vmx_caps *cpu, struct nvirt_vmx_caps *offer)
{
    const uint64_t ept_needs = NVIRT_VMX_EPT_CAP_WALK_4 | NVIRT_VMX_EPT_CAP_WB;
    uint64_t proc2 = 0;

    if (((cpu->proc >> 32) & NVIRT_VMX_PROC_SECONDARY) != 0) {
        proc2 = ((PROC2_OFFERED | PROC2_WITH_EPT) & (cpu->proc2 >> 32)) | PROC2_SHADOWING;
    }
    if ((cpu->ept_vpid & ept_needs) != ept_needs) {
        proc2 &= ~NVIRT_VMX_PROC2_EPT;
    }
    if (((cpu->proc >> 32) & NVIRT_VMX_PROC_TPR_SHADOW) == 0) {
        proc2 &= ~PROC2_VIRTUAL_APIC;
    }
    if (((cpu->pin >> 32) & NVIRT_VMX_PIN_EXT_INT) == 0) {
        proc2 &= ~NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS;
    }
    if ((proc2 & NVIRT_VMX_PROC2_EPT) == 0) {
        proc2 &= ~PROC2_WITH_EPT;
    }
    /* The mode of an address that L2 fetched from is in the advanced information and nowhere else. */
    if ((cpu->ept_vpid & NVIRT_VMX_EPT_CAP_ADVANCED_EXIT_INFO) == 0) {
        proc2 &= ~NVIRT_VMX_PROC2_MODE_EXECUTE;
    }
    /* Of nvirt's making: the CPU only has to exit for the instruction. */
    offer->vmfunc = (proc2 & NVIRT_VMX_PROC2_VMFUNC) != 0 ? NVIRT_VMX_VMFUNC_EPTP_SWITCHING : 0;
    offer->proc2 = proc2 << 32;
    offer->ept_vpid = 0;
    if ((proc2 & NVIRT_VMX_PROC2_EPT) != 0) {
        offer->ept_vpid |= (cpu->ept_vpid & EPT_FROM_CPU) | EPT_FROM_NVIRT;
    }
    if ((offer->ept_vpid & NVIRT_VMX_EPT_CAP_ACCESSED_DIRTY) != 0) {
        offer->proc2 |= PROC2_FROM_NVIRT << 32;
    }
    if ((proc2 & NVIRT_VMX_PROC2_VPID) != 0) {
        offer->ept_vpid |= VPID_FROM_NVIRT;
    }
}

static uint64_t offer_misc(const struct nvirt_vmx_caps *cpu, const struct nvirt_vmx_caps *offer)
{
    uint64_t misc = (cpu->misc & MISC_FROM_CPU) | (CR3_TARGETS << NVIRT_VMX_MISC_CR3_TARGETS_SHIFT);

    /* Always so where "unrestricted guest" may be 1: paging of L2 then changes without an exit. */
    if (((offer->proc2 >> 32) & NVIRT_VMX_PROC2_UNRESTRICTED) != 0) {
        misc |= NVIRT_VMX_MISC_SAVES_LMA;
    } else {
        misc |= cpu->misc & NVIRT_VMX_MISC_SAVES_LMA;
    }
    return misc;
}

/* The highest index of any field that exists. */
static uint64_t highest_index(const struct nvirt_vmx_caps *offer)
{
    uint64_t highest = 0;

    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        uint64_t index = nvirt_vmcs_field_encoding(field) & NVIRT_VMX_VMCS_ENUM_INDEX;

        if (nvirt_vmcs_field_exists(offer, field) && index > highest) {
            highest = index;
        }
    }
    return highest;
}

enum nvirt_status nvirt_vmx_caps_offer(const struct nvirt_vmx_caps *cpu,
                                       struct nvirt_vmx_caps *offer)
{
    struct nvirt_vmx_caps made = {0};

    if (cpu == NULL || offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    made.cpu = cpu->cpu;
    made.basic = REVISION | (NVIRT_PAGE_SIZE << NVIRT_VMX_BASIC_SIZE_SHIFT) |
                 ((uint64_t)NVIRT_MEMORY_WB << NVIRT_VMX_BASIC_MEMORY_TYPE_SHIFT) |
                 NVIRT_VMX_BASIC_TRUE | (cpu->basic & BASIC_FROM_CPU);
    offer_secondary(cpu, &made);
    offer_controls(cpu, &made);
    made.misc = offer_misc(cpu, &made);
    made.cr0_fixed0 = cpu->cr0_fixed0;
    made.cr0_fixed1 = cpu->cr0_fixed1;
    made.cr4_fixed0 = cpu->cr4_fixed0;
    /* VMXE is no matter of CPUID bits alone: whoever executes VMX instructions has it. */
    made.cr4_fixed1 = cpu->cr4_fixed1 & (cpu->cpu.cr4_valid | cpu->cr4_fixed0 | NVIRT_CR4_VMXE);
    made.vmcs_enum = highest_index(&made);
    *offer = made;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_caps_offer_posted(struct nvirt_vmx_caps *offer)
{
    const uint64_t posted = NVIRT_VMX_PIN_POSTED_INTERRUPTS << 32;

    if (offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (((offer->proc2 >> 32) & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) == 0 ||
        ((offer->exit >> 32) & NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT) == 0) {
        return NVIRT_ERR_CAPABILITY;
    }
    offer->pin |= posted;
    offer->true_pin |= posted;
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_caps_offer_subpages(const struct nvirt_vmx_caps *cpu,
                                                struct nvirt_vmx_caps *offer)
{
    if (cpu == NULL || offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (((cpu->proc2 >> 32) & NVIRT_VMX_PROC2_SUBPAGE_WRITE) == 0 ||
        ((offer->proc2 >> 32) & NVIRT_VMX_PROC2_EPT) == 0) {
        return NVIRT_ERR_CAPABILITY;
    }
    offer->proc2 |= NVIRT_VMX_PROC2_SUBPAGE_WRITE << 32;
    offer->vmcs_enum = highest_index(offer);
    return NVIRT_OK;
}

/* The controls of one MSR that entries and exits switch. */
struct switched {
    uint32_t msr; /* NVIRT_VMX_SWITCH_*. */
    uint64_t entry;
    uint64_t exit;
};

static const struct switched switched_msrs[] = {
    { NVIRT_VMX_SWITCH_PERF_GLOBAL, NVIRT_VMX_ENTRY_CTL_LOAD_PERF_GLOBAL,
      NVIRT_VMX_EXIT_CTL_LOAD_PERF_GLOBAL | NVIRT_VMX_EXIT_CTL_SAVE_PERF_GLOBAL },
    { NVIRT_VMX_SWITCH_BNDCFGS, NVIRT_VMX_ENTRY_CTL_LOAD_BNDCFGS,
      NVIRT_VMX_EXIT_CTL_CLEAR_BNDCFGS },
    { NVIRT_VMX_SWITCH_PKRS, NVIRT_VMX_ENTRY_CTL_LOAD_PKRS, NVIRT_VMX_EXIT_CTL_LOAD_PKRS },
};
#define SWITCHED_MSRS (sizeof switched_msrs / sizeof switched_msrs[0])

static uint32_t switchable(const struct nvirt_vmx_caps *offer)
{
    return NVIRT_VMX_SWITCH_BNDCFGS |
           (offer->cpu.perf_global_valid != 0 ? NVIRT_VMX_SWITCH_PERF_GLOBAL : 0) |
           ((offer->cr4_fixed1 & NVIRT_CR4_PKS) != 0 ? NVIRT_VMX_SWITCH_PKRS : 0);
}

enum nvirt_status nvirt_vmx_caps_offer_msrs(struct nvirt_vmx_caps *offer, uint32_t msrs)
{
    const uint32_t all =
        NVIRT_VMX_SWITCH_PERF_GLOBAL | NVIRT_VMX_SWITCH_BNDCFGS | NVIRT_VMX_SWITCH_PKRS;

    if (offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if ((msrs & ~all) != 0) {
        return NVIRT_ERR_RANGE;
    }
    if ((msrs & ~switchable(offer)) != 0) {
        return NVIRT_ERR_CAPABILITY;
    }
    for (size_t i = 0; i < SWITCHED_MSRS; i++) {
        const struct switched *row = &switched_msrs[i];

        if ((msrs & row->msr) != 0) {
            offer->entry |= row->entry << 32;
            offer->true_entry |= row->entry << 32;
            offer->exit |= row->exit << 32;
            offer->true_exit |= row->exit << 32;
        }
    }
    offer->vmcs_enum = highest_index(offer);
    return NVIRT_OK;
}

/* Without IA32_VMX_BASIC[56] no entry can deliver #CP as the CPU does, with an error code: it could
 * not be delivered again when an exit had cut its delivery short. */
bool nvi_vmx_can_carry_cet(const struct nvirt_vmx_caps *cpu)
{
    return ((cpu->entry >> 32) & NVIRT_VMX_ENTRY_CTL_LOAD_CET) != 0 &&
           ((cpu->exit >> 32) & NVIRT_VMX_EXIT_CTL_LOAD_CET) != 0 &&
           (cpu->basic & NVIRT_VMX_BASIC_ANY_ERROR_CODE) != 0;
}

enum nvirt_status nvirt_vmx_caps_offer_cet(const struct nvirt_vmx_caps *cpu,
                                           struct nvirt_vmx_caps *offer)
{
    if (cpu == NULL || offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (!nvi_vmx_can_carry_cet(cpu) || offer->cpu.s_cet_valid == 0 ||
        (offer->cr4_fixed1 & NVIRT_CR4_CET) == 0) {
        return NVIRT_ERR_CAPABILITY;
    }
    offer->entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
    offer->true_entry |= NVIRT_VMX_ENTRY_CTL_LOAD_CET << 32;
    offer->exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
    offer->true_exit |= NVIRT_VMX_EXIT_CTL_LOAD_CET << 32;
    offer->vmcs_enum = highest_index(offer);
    return NVIRT_OK;
}

enum nvirt_status nvirt_vmx_caps_offer_activity(struct nvirt_vmx_caps *offer)
{
    if (offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    /* Of nvirt's making (vmx_sleep.c): no CPU is put there. */
    offer->misc |= NVIRT_VMX_MISC_ACTIVITY_SHUTDOWN | NVIRT_VMX_MISC_ACTIVITY_WAIT_SIPI;
    return NVIRT_OK;
}

/* ---- what a host may make of an offer ---- */

/* Allowed-1 bits may go; what must be 1 stays as it is. */
static bool word_is_within(uint64_t limit, uint64_t value)
{
    return (value & LOW) == (limit & LOW) && ((value >> 32) & ~(limit >> 32)) == 0 &&
           ((value & LOW) & ~(value >> 32)) == 0;
}

static bool bits_are_within(uint64_t limit, uint64_t value)
{
    return (value & ~limit) == 0;
}

bool nvi_vmx_offer_is_valid(const struct nvirt_vmx_caps *cpu, const struct nvirt_vmx_caps *offer)
{
    const uint64_t misc_numbers = NVIRT_VMX_MISC_TIMER_RATE | NVIRT_VMX_MISC_CR3_TARGETS;
    struct nvirt_vmx_caps limit;

    if (nvirt_vmx_caps_offer(cpu, &limit) != NVIRT_OK) {
        return false;
    }
    /* It may be that the CPU lacks what this would need. */
    (void)!nvirt_vmx_caps_offer_posted(&limit);
    (void)!nvirt_vmx_caps_offer_subpages(cpu, &limit);
    (void)!nvirt_vmx_caps_offer_activity(&limit);
    (void)!nvirt_vmx_caps_offer_msrs(&limit, switchable(&limit));
    (void)!nvirt_vmx_caps_offer_cet(cpu, &limit);
    return offer->basic == limit.basic && word_is_within(limit.pin, offer->pin) &&
           word_is_within(limit.proc, offer->proc) && word_is_within(limit.exit, offer->exit) &&
           word_is_within(limit.entry, offer->entry) &&
           word_is_within(limit.true_pin, offer->true_pin) &&
           word_is_within(limit.true_proc, offer->true_proc) &&
           word_is_within(limit.true_exit, offer->true_exit) &&
           word_is_within(limit.true_entry, offer->true_entry) &&
           word_is_within(limit.proc2, offer->proc2) && offer->pin >> 32 == offer->true_pin >> 32 &&
           offer->proc >> 32 == offer->true_proc >> 32 &&
           offer->exit >> 32 == offer->true_exit >> 32 &&
           offer->entry >> 32 == offer->true_entry >> 32 &&
           bits_are_within(limit.ept_vpid, offer->ept_vpid) &&
           bits_are_within(limit.misc, offer->misc) &&
           ((offer->misc ^ limit.misc) & misc_numbers) == 0 &&
           offer->cr0_fixed0 == limit.cr0_fixed0 && offer->cr0_fixed1 == limit.cr0_fixed1 &&
           offer->cr4_fixed0 == limit.cr4_fixed0 &&
           bits_are_within(limit.cr4_fixed1, offer->cr4_fixed1) &&
           bits_are_within(limit.vmfunc, offer->vmfunc) &&
           offer->proc3 == 0 && offer->exit2 == 0 &&
           bits_are_within(cpu->cpu.perf_global_valid, offer->cpu.perf_global_valid) &&
           bits_are_within(cpu->cpu.s_cet_valid, offer->cpu.s_cet_valid) &&
           offer->cpu.physical_bits <= cpu->cpu.physical_bits &&
           offer->cpu.linear_bits <= cpu->cpu.linear_bits;
}
