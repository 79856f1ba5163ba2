/* SPDX-License-Identifier: MIT */
/*
 * Whose an exit of L2 is, from vmcs12 and the exit alone. Most exit reasons have a fixed answer or
 * hang on one control bit: one row each. The rest have a function.
 */
#include "vmcs/merge.h"

#include <nvirt/x86.h>

#include "vmcs/vmcs_internal.h"

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
    [NVIRT_VMX_EXIT_VMREAD] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_VMRESUME] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_VMWRITE] = {SPECIAL, 0},
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
    [NVIRT_VMX_EXIT_PAUSE] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_TPR_BELOW_THRESHOLD] = {PROC, NVIRT_VMX_PROC_TPR_SHADOW},
    [NVIRT_VMX_EXIT_APIC_ACCESS] = {PROC2, NVIRT_VMX_PROC2_APIC_ACCESSES},
    [NVIRT_VMX_EXIT_VIRTUALIZED_EOI] = {PROC2, NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS},
    [NVIRT_VMX_EXIT_APIC_WRITE] = {PROC2, NVIRT_VMX_PROC2_APIC_ACCESSES | NVIRT_VMX_PROC2_X2APIC},
    [NVIRT_VMX_EXIT_GDTR_IDTR] = {PROC2, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
    [NVIRT_VMX_EXIT_LDTR_TR] = {PROC2, NVIRT_VMX_PROC2_DESCRIPTOR_TABLE},
    [NVIRT_VMX_EXIT_EPT_VIOLATION] = {TABLES, 0},
    [NVIRT_VMX_EXIT_EPT_MISCONFIGURATION] = {TABLES, 0},
    [NVIRT_VMX_EXIT_SPP_EVENT] = {TABLES, 0},
    [NVIRT_VMX_EXIT_PREEMPTION_TIMER] = {PIN, NVIRT_VMX_PIN_PREEMPTION_TIMER},
    [NVIRT_VMX_EXIT_WBINVD] = {PROC2, NVIRT_VMX_PROC2_WBINVD},
    [NVIRT_VMX_EXIT_XSETBV] = {ALWAYS_L1, 0},
    [NVIRT_VMX_EXIT_RDRAND] = {PROC2, NVIRT_VMX_PROC2_RDRAND},
    /* Those that are not carried out: vmx_vmfunc.c. */
    [NVIRT_VMX_EXIT_VMFUNC] = {PROC2, NVIRT_VMX_PROC2_VMFUNC},
    [NVIRT_VMX_EXIT_RDSEED] = {PROC2, NVIRT_VMX_PROC2_RDSEED},
    [NVIRT_VMX_EXIT_INVPCID] = {PROC, NVIRT_VMX_PROC_INVLPG},
    [NVIRT_VMX_EXIT_ENCLS] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_ENCLV] = {SPECIAL, 0},
    [NVIRT_VMX_EXIT_PCONFIG] = {SPECIAL, 0},
    /* L0 has no XSS-exiting bitmap: nvi_vmx_l0_may_control(). */
    [NVIRT_VMX_EXIT_XSAVES] = {PROC2, NVIRT_VMX_PROC2_XSAVES},
    [NVIRT_VMX_EXIT_XRSTORS] = {PROC2, NVIRT_VMX_PROC2_XSAVES},
    [NVIRT_VMX_EXIT_UMWAIT] = {PROC, NVIRT_VMX_PROC_RDTSC},
    [NVIRT_VMX_EXIT_TPAUSE] = {PROC, NVIRT_VMX_PROC_RDTSC},
};

static uint64_t secondary(const struct nvirt_vmcs *vmcs12)
{
    return (vmcs12->proc_controls & NVIRT_VMX_PROC_SECONDARY) != 0 ? vmcs12->proc2_controls : 0;
}

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
    uint32_t vector = (uint32_t)(in->interruption & NVIRT_VMX_INTR_VECTOR);

    if (vector == NVIRT_VECTOR_MC && (in->vmcs01->exception_bitmap & NVIRT_BIT(NVIRT_VECTOR_MC)) != 0) {
        return NVI_VMX_OWNER_L0; /* The machine's. What L1 is to see of it is the host's to say. */
    }
    if (type == NVIRT_VMX_INTR_TYPE_NMI) {
        /* L0 takes the NMIs of the machine if it asked for them; it may hand them on as events. */
        return l1_if((in->vmcs01->pin_controls & NVIRT_VMX_PIN_NMI) == 0);
    }
    return l1_if(wants_exception(in->vmcs12, vector, in->interruption_error));
}

/* Interrupts that L0 wants are L0's; whether L1 is to have one is the host's to say. The others are L1's:
 * with the vector of its notifications, acknowledged at the exit, they are no exit for it. */
static enum nvi_vmx_owner interrupt_owner(const struct nvi_vmx_owner_in *in)
{
    uint8_t vector = (uint8_t)(in->interruption & NVIRT_VMX_INTR_VECTOR);

    if ((in->vmcs01->pin_controls & NVIRT_VMX_PIN_EXT_INT) != 0) {
        return NVI_VMX_OWNER_L0;
    }
    return (in->interruption & NVIRT_VMX_INTR_VALID) != 0 &&
                   nvi_vmx_is_notification(in->vmcs12, vector)
               ? NVI_VMX_OWNER_POSTED
               : NVI_VMX_OWNER_L1;
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
    uint64_t value = number == NVIRT_RSP ? in->rsp : in->gprs->r[number];

    return in->in_64bit_mode ? value : value & NVIRT_BITS(31, 0);
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
    if (nvi_vmx_x2apic_is_virtual(nvi_vmx_proc2(in->vmcs12), msr, write)) {
        /* It would have passed but for L1's bit. A second look could differ, and the access would go
         * to L1's own APIC. */
        return NVI_VMX_OWNER_L1;
    }
    lookup->byte[0] = (in->vmcs12->msr_bitmap & NVIRT_PAGE_MASK) + byte + (write ? 2048u : 0u);
    lookup->count = 1;
    return NVI_VMX_OWNER_LOOKUP;
}

/* [SDM 3C "Instructions That Cause VM Exits Conditionally"]: a bitmap has a bit for each value of 15
 * bits; what is wider than that always exits. */
static enum nvi_vmx_owner vmcs_access_owner(const struct nvi_vmx_owner_in *in, uint64_t bitmap,
                                            struct nvi_vmx_lookup *lookup)
{
    if ((secondary(in->vmcs12) & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0 || in->encoding >> 15 != 0) {
        return NVI_VMX_OWNER_L1;
    }
    lookup->byte[0] = (bitmap & NVIRT_PAGE_MASK) + (in->encoding >> 3);
    lookup->mask[0] = (uint8_t)(1u << (in->encoding & 7u));
    lookup->count = 1;
    return NVI_VMX_OWNER_LOOKUP;
}

/*
 * PAUSE itself, or a loop of it [SDM 3C "Instructions That Cause VM Exits Conditionally"]. Where L0
 * has every PAUSE exit the CPU looks for no loops, and none is reported.
 */
static enum nvi_vmx_owner pause_owner(const struct nvi_vmx_owner_in *in)
{
    return l1_if((in->vmcs12->proc_controls & NVIRT_VMX_PROC_PAUSE) != 0 ||
                 ((secondary(in->vmcs12) & NVIRT_VMX_PROC2_PAUSE_LOOP) != 0 &&
                  (in->vmcs01->proc_controls & NVIRT_VMX_PROC_PAUSE) == 0));
}

/* A leaf function that EAX names: bit 63 of the bitmap stands for all from 63 on
 * [SDM 3C "ENCLS-Exiting Bitmap", "ENCLV-Exiting Bitmap", "PCONFIG-Exiting Bitmap"]. */
static enum nvi_vmx_owner leaf_owner(const struct nvi_vmx_owner_in *in, uint64_t control,
                                     uint64_t bitmap)
{
    uint32_t leaf = (uint32_t)in->gprs->r[NVIRT_RAX];

    return l1_if((secondary(in->vmcs12) & control) != 0 &&
                 (bitmap >> (leaf < 63 ? leaf : 63) & 1u) != 0);
}

static enum nvi_vmx_owner special_owner(const struct nvi_vmx_owner_in *in,
                                        struct nvi_vmx_lookup *lookup)
{
    switch (in->reason) {
    case NVIRT_VMX_EXIT_EXCEPTION_NMI:
        return exception_owner(in);
    case NVIRT_VMX_EXIT_EXTERNAL_INTERRUPT:
        return interrupt_owner(in);
    case NVIRT_VMX_EXIT_CR_ACCESS:
        return cr_owner(in);
    case NVIRT_VMX_EXIT_IO:
        return io_owner(in, lookup);
    case NVIRT_VMX_EXIT_MTF:
        return l1_if(wants_mtf(in->vmcs12));
    case NVIRT_VMX_EXIT_PAUSE:
        return pause_owner(in);
    case NVIRT_VMX_EXIT_ENCLS:
        return leaf_owner(in, NVIRT_VMX_PROC2_ENCLS, in->vmcs12->encls_exit_bitmap);
    case NVIRT_VMX_EXIT_ENCLV:
        return leaf_owner(in, NVIRT_VMX_PROC2_ENCLV, in->vmcs12->enclv_exit_bitmap);
    case NVIRT_VMX_EXIT_PCONFIG:
        return leaf_owner(in, NVIRT_VMX_PROC2_PCONFIG, in->vmcs12->pconfig_exit_bitmap);
    case NVIRT_VMX_EXIT_VMREAD:
        return vmcs_access_owner(in, in->vmcs12->vmread_bitmap, lookup);
    case NVIRT_VMX_EXIT_VMWRITE:
        return vmcs_access_owner(in, in->vmcs12->vmwrite_bitmap, lookup);
    case NVIRT_VMX_EXIT_RDMSR:
        return msr_owner(in, false, lookup);
    default:
        return msr_owner(in, true, lookup);
    }
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
        return l1_if((nvi_vmx_proc2(in->vmcs12) & rule->mask) != 0);
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

uint32_t nvi_vmx_passable_bytes(struct nvi_vmx_msr_byte bytes[NVI_VMX_MSR_BYTES])
{
    uint32_t count = 0;
    uint32_t offset;
    uint8_t mask;

    for (const uint32_t *msr = nvi_vmx_passable_msrs; *msr != 0; msr++) {
        uint32_t i = 0;

        if (!nvi_vmx_msr_bitmap_bit(*msr, &offset, &mask)) {
            continue;
        }
        while (i < count && bytes[i].offset != offset) {
            i++;
        }
        if (i == NVI_VMX_MSR_BYTES) {
            continue; /* Exits, as if it were not in the list. */
        }
        if (i == count) {
            bytes[count++] = (struct nvi_vmx_msr_byte){ (uint16_t)offset, 0xFF };
        }
        bytes[i].fixed &= (uint8_t)~mask;
    }
    return count;
}

void nvi_vmx_msr_bitmap_merge(const struct nvi_vmx_msr_byte *bytes, uint32_t count,
                              uint8_t *bitmap02, const uint8_t *l0_bitmap,
                              const uint8_t *l1_bitmap)
{
    bool all = l0_bitmap == NULL || l1_bitmap == NULL;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t reads = bytes[i].offset;
        uint32_t fixed = bytes[i].fixed;

        /* The index is as wide as a pointer, and the load no volatile one, so that each byte is one
         * instruction. */
        if (all) {
            bitmap02[reads] = 0xFF;
            bitmap02[reads + 2048u] = 0xFF;
        } else {
            bitmap02[reads] =
                (uint8_t)(fixed | l0_bitmap[reads] |
                          __atomic_load_n(&l1_bitmap[reads], __ATOMIC_RELAXED));
            bitmap02[reads + 2048u] =
                (uint8_t)(fixed | l0_bitmap[reads + 2048u] |
                          __atomic_load_n(&l1_bitmap[reads + 2048u], __ATOMIC_RELAXED));
        }
    }
}

/* ---- x2APIC ---- */

bool nvi_vmx_x2apic_is_virtual(uint64_t proc2, uint32_t msr, bool write)
{
    if ((proc2 & NVIRT_VMX_PROC2_X2APIC) == 0 || msr < NVIRT_MSR_X2APIC_FIRST ||
        msr > NVIRT_MSR_X2APIC_LAST) {
        return false;
    }
    if (msr == NVIRT_MSR_X2APIC_TPR) {
        return true;
    }
    if (!write) {
        return (proc2 & NVIRT_VMX_PROC2_APIC_REGISTERS) != 0;
    }
    return (proc2 & NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS) != 0 &&
           (msr == NVIRT_MSR_X2APIC_EOI || msr == NVIRT_MSR_X2APIC_SELF_IPI);
}

/* The byte of @msr: its bit as L1 has it if hardware virtualizes the access, and the others closed. */
static void open_one(uint64_t proc2, uint32_t msr, bool write, uint8_t *bitmap02,
                     const volatile uint8_t *l1_bitmap)
{
    uint32_t byte = msr / 8 + (write ? 2048u : 0u);
    uint32_t bit = 1u << (msr & 7u);

    if (nvi_vmx_x2apic_is_virtual(proc2, msr, write)) {
        bitmap02[byte] = (uint8_t)(bitmap02[byte] & (~bit | l1_bitmap[byte]));
    }
}

void nvi_vmx_x2apic_bitmap_merge(uint64_t proc2, uint8_t *bitmap02,
                                 const volatile uint8_t *l1_bitmap)
{
    const uint32_t reads = NVI_VMX_X2APIC_BYTE;
    const uint32_t writes = NVI_VMX_X2APIC_BYTE + 2048u;
    const uint64_t all = NVIRT_VMX_PROC2_X2APIC | NVIRT_VMX_PROC2_APIC_REGISTERS;

    __builtin_memset(bitmap02 + reads, 0xff, NVI_VMX_X2APIC_BYTES);
    __builtin_memset(bitmap02 + writes, 0xff, NVI_VMX_X2APIC_BYTES);
    if (l1_bitmap == NULL) {
        return;
    }
    if ((proc2 & all) == all) {
        for (uint32_t i = reads; i < reads + NVI_VMX_X2APIC_BYTES; i++) {
            bitmap02[i] = l1_bitmap[i];
        }
    } else {
        open_one(proc2, NVIRT_MSR_X2APIC_TPR, false, bitmap02, l1_bitmap);
    }
    open_one(proc2, NVIRT_MSR_X2APIC_TPR, true, bitmap02, l1_bitmap);
    open_one(proc2, NVIRT_MSR_X2APIC_EOI, true, bitmap02, l1_bitmap);
    open_one(proc2, NVIRT_MSR_X2APIC_SELF_IPI, true, bitmap02, l1_bitmap);
}
