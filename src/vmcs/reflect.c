/* SPDX-License-Identifier: MIT */
/*
 * Whose an exit of L2 is, from vmcs12 and the exit alone. Most exit reasons have a fixed answer or
 * hang on one control bit: one row each. The rest have a function.
 */
#include "vmcs/merge.h"

#include <nvirt/x86.h>

enum rule_kind {
    UNKNOWN = 0, /* No row: a reason nvirt does not offer. It stays with L0. */
    ALWAYS_L1,
    ALWAYS_L0,
    TABLES,
    PIN,
    PROC,
    PROC2,
    SPECIAL
};

struct rule {
    uint8_t kind;
    uint64_t mask; /* PIN, PROC, PROC2: L1's if any of these control bits is set in vmcs12. */
};

static const struct rule rules[NVIRT_VMX_EXIT_REASON_LIMIT] = {
    [NVIRT_VMX_EXIT_EXCEPTION_NMI] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_TRIPLE_FAULT] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_INIT] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_SIPI] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_IO_SMI] = {ALWAYS_L0, 0},
    [NVIRT_VMX_EXIT_OTHER_SMI] = {ALWAYS_L0, 0},
    [NVIRT_VMX_EXIT_INTERRUPT_WINDOW] = {PROC, NVIRT_VMX_PROC_INTERRUPT_WINDOW},
    [NVIRT_VMX_EXIT_NMI_WINDOW] = {PROC, NVIRT_VMX_PROC_NMI_WINDOW},
    [NVIRT_VMX_EXIT_TASK_SWITCH] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_CPUID] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_GETSEC] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_HLT] = {PROC, NVIRT_VMX_PROC_HLT},
    [NVIRT_VMX_EXIT_INVD] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_INVLPG] = {PROC, NVIRT_VMX_PROC_INVLPG},
    [NVIRT_VMX_EXIT_RDPMC] = {PROC, NVIRT_VMX_PROC_RDPMC},
    [NVIRT_VMX_EXIT_RDTSC] = {PROC, NVIRT_VMX_PROC_RDTSC},
    [NVIRT_VMX_EXIT_RDTSCP] = {PROC, NVIRT_VMX_PROC_RDTSC},
    [NVIRT_VMX_EXIT_VMCALL] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMCLEAR] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMLAUNCH] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMPTRLD] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMPTRST] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMREAD] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMRESUME] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMWRITE] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMXOFF] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMXON] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_INVEPT] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_INVVPID] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_CR_ACCESS] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_MOV_DR] = {PROC, NVIRT_VMX_PROC_MOV_DR},
    [NVIRT_VMX_EXIT_IO] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_RDMSR] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_WRMSR] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_MWAIT] = {PROC, NVIRT_VMX_PROC_MWAIT},
    [NVIRT_VMX_EXIT_MTF] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_MONITOR] = {PROC, NVIRT_VMX_PROC_MONITOR},
    [NVIRT_VMX_EXIT_PAUSE] = {PROC, NVIRT_VMX_PROC_PAUSE},
    [NVIRT_VMX_EXIT_GDTR_IDTR] = {PROC2, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
    [NVIRT_VMX_EXIT_LDTR_TR] = {PROC2, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
    [NVIRT_VMX_EXIT_EPT_VIOLATION] = {TABLES, 0},
    [NVIRT_VMX_EXIT_EPT_MISCONFIGURATION] = {TABLES, 0},
    [NVIRT_VMX_EXIT_PREEMPTION_TIMER] = {PIN, NVIRT_VMX_PIN_PREEMPTION_TIMER},
    [NVIRT_VMX_EXIT_WBINVD] = {PROC2, NVIRT_VMX_PROC2_WBINVD},
    [NVIRT_VMX_EXIT_XSETBV] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_RDRAND] = {PROC2, NVIRT_VMX_PROC2_RDRAND},
    [NVIRT_VMX_EXIT_RDSEED] = {PROC2, NVIRT_VMX_PROC2_RDSEED},
    [NVIRT_VMX_EXIT_INVPCID] = {PROC, NVIRT_VMX_PROC_INVLPG},
};

static enum nvi_vmx_owner l1_if(bool wanted)
{
    return wanted ? NVI_VMX_OWNER_L1 : NVI_VMX_OWNER_L0;
}

/* [SDM 3C "Exception Bitmap"] */
static bool wants_exception(const struct nvirt_vmcs *vmcs, uint32_t vector, uint32_t error)
{
    bool bit = (vmcs->exception_bitmap & NVIRT_BIT(vector & 31u)) != 0;

    if (vector == NVIRT_VECTOR_PF) {
        bool match = (error & vmcs->pf_error_mask) == vmcs->pf_error_match;

        return bit == match;
    }
    return bit;
}

static enum nvi_vmx_owner exception_owner(const struct nvi_vmx_owner_in *in)
{
    uint64_t type = (in->interruption & NVIRT_VMX_INTR_TYPE) >> NVIRT_VMX_INTR_TYPE_SHIFT;

    if (type == NVIRT_VMX_INTR_TYPE_NMI) {
        /* L0 takes the NMIs of the machine if it asked for them; it may hand them on as events. */
        return l1_if((in->vmcs01->pin_controls & NVIRT_VMX_PIN_NMI) == 0);
    }
    return l1_if(wants_exception(in->vmcs12, (uint32_t)(in->interruption & NVIRT_VMX_INTR_VECTOR),
                                 in->interruption_error));
}

/* By the control, or by injection of a pending MTF event. What is neither is L0's single step. */
static bool wants_mtf(const struct nvirt_vmcs *vmcs12)
{
    const uint64_t event = NVIRT_VMX_INTR_VALID | NVIRT_VMX_INTR_TYPE;
    const uint64_t mtf =
        NVIRT_VMX_INTR_VALID | (NVIRT_VMX_INTR_TYPE_OTHER << NVIRT_VMX_INTR_TYPE_SHIFT);

    return (vmcs12->proc_controls & NVIRT_VMX_PROC_MTF) != 0 ||
           (vmcs12->entry_interruption & event) == mtf;
}

static uint64_t cr_operand(const struct nvi_vmx_owner_in *in)
{
    uint64_t number = (in->qualification & NVIRT_VMX_QUAL_CR_GPR) >> NVIRT_VMX_QUAL_CR_GPR_SHIFT;

    return number == NVIRT_RSP ? in->rsp : in->gprs->r[number];
}

static bool is_cr3_target(const struct nvirt_vmcs *vmcs12, uint64_t value)
{
    const uint64_t target[4] = {vmcs12->cr3_target0, vmcs12->cr3_target1, vmcs12->cr3_target2,
                                vmcs12->cr3_target3};

    for (uint32_t i = 0; i < 4 && i < vmcs12->cr3_target_count; i++) {
        if (target[i] == value) {
            return true;
        }
    }
    return false;
}

static bool wants_mov_to_cr(const struct nvi_vmx_owner_in *in, uint64_t number)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    uint64_t value = cr_operand(in);

    switch (number) {
    case 0:
        return ((value ^ vmcs12->cr0_shadow) & vmcs12->cr0_mask) != 0;
    case 3:
        return (vmcs12->proc_controls & NVIRT_VMX_PROC_CR3_LOAD) != 0 &&
               !is_cr3_target(vmcs12, value);
    case 4:
        return ((value ^ vmcs12->cr4_shadow) & vmcs12->cr4_mask) != 0;
    default:
        return (vmcs12->proc_controls & NVIRT_VMX_PROC_CR8_LOAD) != 0;
    }
}

/* LMSW writes PE (never clearing it), MP, EM and TS. */
static bool wants_lmsw(const struct nvi_vmx_owner_in *in)
{
    const struct nvirt_vmcs *vmcs12 = in->vmcs12;
    uint64_t source =
        (in->qualification & NVIRT_VMX_QUAL_CR_LMSW_DATA) >> NVIRT_VMX_QUAL_CR_LMSW_DATA_SHIFT;
    uint64_t changed = (source ^ vmcs12->cr0_shadow) & vmcs12->cr0_mask;

    if ((changed & (NVIRT_CR0_MP | NVIRT_CR0_EM | NVIRT_CR0_TS)) != 0) {
        return true;
    }
    return (changed & NVIRT_CR0_PE) != 0 && (source & NVIRT_CR0_PE) != 0;
}

/* [SDM 3C "Instructions That Cause VM Exits Conditionally"] */
static enum nvi_vmx_owner cr_owner(const struct nvi_vmx_owner_in *in)
{
    uint64_t number = in->qualification & NVIRT_VMX_QUAL_CR_NUMBER;
    uint64_t access =
        (in->qualification & NVIRT_VMX_QUAL_CR_ACCESS) >> NVIRT_VMX_QUAL_CR_ACCESS_SHIFT;

    switch (access) {
    case NVIRT_VMX_QUAL_CR_ACCESS_TO:
        return l1_if(wants_mov_to_cr(in, number));
    case NVIRT_VMX_QUAL_CR_ACCESS_FROM:
        return l1_if((in->vmcs12->proc_controls & (number == 3 ? NVIRT_VMX_PROC_CR3_STORE
                                                               : NVIRT_VMX_PROC_CR8_STORE)) != 0);
    case NVIRT_VMX_QUAL_CR_ACCESS_CLTS:
        return l1_if((in->vmcs12->cr0_mask & in->vmcs12->cr0_shadow & NVIRT_CR0_TS) != 0);
    default:
        return l1_if(wants_lmsw(in));
    }
}

/* The bitmap byte that holds @port; bitmap A has ports 0 to 7FFFH, B the rest. */
static uint64_t io_bitmap_byte(const struct nvirt_vmcs *vmcs12, uint32_t port)
{
    uint64_t page = port < 0x8000 ? vmcs12->io_bitmap_a : vmcs12->io_bitmap_b;

    return (page & NVIRT_PAGE_MASK) + ((port & 0x7FFF) >> 3);
}

/* [SDM 3C "I/O-Bitmap Addresses"]: any bit of the ports accessed; a wrap past FFFFH always exits. */
static enum nvi_vmx_owner io_owner(const struct nvi_vmx_owner_in *in, struct nvi_vmx_lookup *lookup)
{
    uint64_t controls = in->vmcs12->proc_controls;
    uint32_t bytes = (uint32_t)(in->qualification & NVIRT_VMX_QUAL_IO_SIZE) + 1;
    uint32_t port =
        (uint32_t)((in->qualification & NVIRT_VMX_QUAL_IO_PORT) >> NVIRT_VMX_QUAL_IO_PORT_SHIFT);

    if ((controls & NVIRT_VMX_PROC_IO_BITMAPS) == 0) {
        return l1_if((controls & NVIRT_VMX_PROC_UNCONDITIONAL_IO) != 0);
    }
    if (nvi_vmx_l0_wants_no_port(in->vmcs01)) {
        /* Hardware had L1's bitmaps themselves: the exit is the answer. A second look could differ,
         * and leave the host with an exit that nobody asked for. */
        return NVI_VMX_OWNER_L1;
    }
    if (port + bytes > 0x10000) {
        return NVI_VMX_OWNER_L1;
    }
    lookup->count = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        uint64_t byte = io_bitmap_byte(in->vmcs12, port + i);
        uint8_t mask = (uint8_t)(1u << ((port + i) & 7u));

        if (lookup->count == 0 || lookup->byte[lookup->count - 1] != byte) {
            /* Four ports touch two bytes at most. */
            lookup->byte[lookup->count] = byte;
            lookup->mask[lookup->count] = 0;
            lookup->count++;
        }
        lookup->mask[lookup->count - 1] |= mask;
    }
    return NVI_VMX_OWNER_LOOKUP;
}

static enum nvi_vmx_owner msr_owner(const struct nvi_vmx_owner_in *in, bool write,
                                    struct nvi_vmx_lookup *lookup)
{
    uint32_t msr = (uint32_t)in->gprs->r[NVIRT_RCX];
    uint32_t byte;

    if ((in->vmcs12->proc_controls & NVIRT_VMX_PROC_MSR_BITMAPS) == 0) {
        return NVI_VMX_OWNER_L1;
    }
    if (!nvi_vmx_msr_bitmap_bit(msr, &byte, &lookup->mask[0])) {
        return NVI_VMX_OWNER_L1;
    }
    lookup->byte[0] = (in->vmcs12->msr_bitmap & NVIRT_PAGE_MASK) + byte + (write ? 2048u : 0u);
    lookup->count = 1;
    return NVI_VMX_OWNER_LOOKUP;
}

static enum nvi_vmx_owner special_owner(const struct nvi_vmx_owner_in *in,
                                        struct nvi_vmx_lookup *lookup)
{
    switch (in->reason) {
    case NVIRT_VMX_EXIT_EXCEPTION_NMI:
        return exception_owner(in);
    case NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT:
        return l1_if((in->vmcs01->pin_controls & NVIRT_VMX_PIN_EXT_INT) == 0);
    case NVIRT_VMX_EXIT_CR_ACCESS:
        return cr_owner(in);
    case NVIRT_VMX_EXIT_IO:
        return io_owner(in, lookup);
    case NVIRT_VMX_EXIT_MTF:
        return l1_if(wants_mtf(in->vmcs12));
    case NVIRT_VMX_EXIT_RDMSR:
        return msr_owner(in, false, lookup);
    default:
        return msr_owner(in, true, lookup);
    }
}

static uint64_t secondary(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? vmcs12->proc2_controls : 0;
}

enum nvi_vmx_owner nvi_vmx_exit_owner(const struct nvi_vmx_owner_in *in,
                                      struct nvi_vmx_lookup *lookup)
{
    const struct rule *rule;

    if (in->reason >= NVIRT_VMX_EXIT_REASON_LIMIT) {
        return NVI_VMX_OWNER_L0;
    }
    rule = &rules[in->reason];
    switch (rule->kind) {
    case ALWAYS_L1:
        return NVI_VMX_OWNER_L1;
    case TABLES:
        return NVI_VMX_OWNER_TABLES;
    case PIN:
        return l1_if((in->vmcs12->pin_controls & rule->mask) != 0);
    case PROC:
        return l1_if((in->vmcs12->proc_controls & rule->mask) != 0);
    case PROC2:
        return l1_if((secondary(in->vmcs12) & rule->mask) != 0);
    case SPECIAL:
        return special_owner(in, lookup);
    default:
        return NVI_VMX_OWNER_L0;
    }
}

/* ---- MSR bitmaps ---- */

/* MSRs that only hold state of the level that runs, or that L1 and L2 share as one physical set. */
const uint32_t nvi_vmx_passable_msrs[] = {
    NVIRT_MSR_TSC,          NVIRT_MSR_SYSENTER_CS, NVIRT_MSR_SYSENTER_ESP,
    NVIRT_MSR_SYSENTER_EIP, NVIRT_MSR_PAT,         NVIRT_MSR_STAR,
    NVIRT_MSR_LSTAR,        NVIRT_MSR_CSTAR,       NVIRT_MSR_SFMASK,
    NVIRT_MSR_FS_BASE,      NVIRT_MSR_GS_BASE,     NVIRT_MSR_KERNEL_GS_BASE,
    NVIRT_MSR_TSC_AUX,      0,
};

bool nvi_vmx_msr_bitmap_bit(uint32_t msr, uint32_t *byte, uint8_t *mask)
{
    uint32_t low = msr & 0x1FFFu;

    if (msr != low && msr != (0xC0000000u | low)) {
        return false;
    }
    *byte = (msr == low ? 0u : 1024u) + (low >> 3);
    *mask = (uint8_t)(1u << (low & 7u));
    return true;
}

void nvi_vmx_msr_bitmap_set(uint8_t *bitmap02, const uint8_t *l0_bitmap, uint32_t msr,
                            bool l1_read_bit, bool l1_write_bit)
{
    uint32_t byte;
    uint8_t mask;
    bool l0_read;
    bool l0_write;

    if (!nvi_vmx_msr_bitmap_bit(msr, &byte, &mask)) {
        return;
    }
    l0_read = l0_bitmap == NULL || (l0_bitmap[byte] & mask) != 0;
    l0_write = l0_bitmap == NULL || (l0_bitmap[byte + 2048u] & mask) != 0;
    bitmap02[byte] = (uint8_t)(bitmap02[byte] | mask);
    bitmap02[byte + 2048u] = (uint8_t)(bitmap02[byte + 2048u] | mask);
    if (!l0_read && !l1_read_bit) {
        bitmap02[byte] = (uint8_t)(bitmap02[byte] & ~mask);
    }
    if (!l0_write && !l1_write_bit) {
        bitmap02[byte + 2048u] = (uint8_t)(bitmap02[byte + 2048u] & ~mask);
    }
}
