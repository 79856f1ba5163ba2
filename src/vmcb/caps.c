/* SPDX-License-Identifier: MIT */
/*
 * What a CPU with SVM can do, from its CPUID leaves, and what of it L1 is offered: by allow-list,
 * so that a feature of the future stays hidden until nvirt knows it.
 */
#include "vmcb/vmcb_core.h"

#include <nvirt/svm.h>

/* A register bit that exists when a CPUID bit is set. */
struct gate {
    uint8_t leaf;
    uint8_t cpuid_bit;
    uint8_t register_bit;
};

enum leaf {
    LEAF_1_ECX,
    LEAF_1_EDX,
    LEAF_7_EBX,
    LEAF_7_ECX,
    LEAF_80000001_ECX,
    LEAF_80000001_EDX,
    LEAF_80000008_EBX,
    LEAF_80000021_EAX
};

/* [APM 2 "CR4 Register"] */
static const struct gate cr4_gates[] = {
    {LEAF_1_EDX, 1, 0},   /* VME */
    {LEAF_1_EDX, 1, 1},   /* PVI */
    {LEAF_1_EDX, 4, 2},   /* TSD */
    {LEAF_1_EDX, 2, 3},   /* DE */
    {LEAF_1_EDX, 3, 4},   /* PSE */
    {LEAF_1_EDX, 6, 5},   /* PAE */
    {LEAF_1_EDX, 7, 6},   /* MCE */
    {LEAF_1_EDX, 13, 7},  /* PGE */
    {LEAF_1_EDX, 24, 9},  /* OSFXSR */
    {LEAF_1_EDX, 25, 10}, /* OSXMMEXCPT */
    {LEAF_7_ECX, 2, 11},  /* UMIP */
    {LEAF_7_ECX, 16, 12}, /* LA57 */
    {LEAF_7_EBX, 0, 16},  /* FSGSBASE */
    {LEAF_1_ECX, 17, 17}, /* PCIDE */
    {LEAF_1_ECX, 26, 18}, /* OSXSAVE */
    {LEAF_7_EBX, 7, 20},  /* SMEP */
    {LEAF_7_EBX, 20, 21}, /* SMAP */
    {LEAF_7_ECX, 3, 22},  /* PKE */
    {LEAF_7_ECX, 7, 23},  /* CET */
};
#define CR4_PCE NVIRT_BIT(8)

/* [APM 2 "Extended Feature Enable Register (EFER)"]. LMSLE is left out: new CPUs have no segment
 * limits in long mode, and no software depends on them. */
static const struct gate efer_gates[] = {
    {LEAF_80000001_EDX, 11, 0},  /* SCE */
    {LEAF_80000001_EDX, 29, 8},  /* LME */
    {LEAF_80000001_EDX, 29, 10}, /* LMA */
    {LEAF_80000001_EDX, 20, 11}, /* NXE */
    {LEAF_80000001_ECX, 2, 12},  /* SVME */
    {LEAF_80000001_EDX, 25, 14}, /* FFXSR */
    {LEAF_80000001_ECX, 17, 15}, /* TCE */
    {LEAF_80000008_EBX, 8, 17},  /* MCOMMIT */
    {LEAF_80000008_EBX, 13, 18}, /* INTWB */
    {LEAF_80000021_EAX, 7, 20},  /* UAIE */
    {LEAF_80000021_EAX, 8, 21},  /* AIBRSE */
};

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

static uint32_t leaf_value(const struct nvirt_svm_cpuid *cpuid, uint8_t leaf)
{
    switch ((enum leaf)leaf) {
    case LEAF_1_ECX:
        return cpuid->ecx_1;
    case LEAF_1_EDX:
        return cpuid->edx_1;
    case LEAF_7_EBX:
        return cpuid->ebx_7;
    case LEAF_7_ECX:
        return cpuid->ecx_7;
    case LEAF_80000001_ECX:
        return cpuid->ecx_80000001;
    case LEAF_80000001_EDX:
        return cpuid->edx_80000001;
    case LEAF_80000008_EBX:
        return cpuid->ebx_80000008;
    case LEAF_80000021_EAX:
        return cpuid->eax_80000021;
    }
    return 0;
}

static uint64_t open_gates(const struct nvirt_svm_cpuid *cpuid, const struct gate *gates,
                           uint32_t count)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (((leaf_value(cpuid, gates[i].leaf) >> gates[i].cpuid_bit) & 1u) != 0) {
            value |= NVIRT_BIT(gates[i].register_bit);
        }
    }
    return value;
}

enum nvirt_status nvirt_svm_caps_decode(const struct nvirt_svm_cpuid *cpuid,
                                        struct nvirt_svm_caps *caps)
{
    uint32_t bits;

    if (cpuid == NULL || caps == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (((cpuid->ecx_80000001 >> 2) & 1u) == 0) {
        return NVIRT_ERR_CAPABILITY;
    }
    caps->efer_valid = open_gates(cpuid, efer_gates, COUNT(efer_gates));
    caps->cr4_valid = open_gates(cpuid, cr4_gates, COUNT(cr4_gates)) | CR4_PCE;
    caps->long_mode = (caps->efer_valid & NVIRT_SVM_EFER_LME) != 0;
    caps->nx = (caps->efer_valid & NVIRT_SVM_EFER_NXE) != 0;
    caps->pse36 = ((cpuid->edx_1 >> 17) & 1u) != 0;
    caps->invlpga_exact = false;
    caps->pages_1g = ((cpuid->edx_80000001 >> 26) & 1u) != 0;
    /* A leaf that makes no sense must not turn into a shift beyond the word. */
    bits = cpuid->eax_80000008 & 0xffu;
    caps->physical_bits = (uint8_t)(bits < 32 || bits > 52 ? 36u : bits);
    caps->linear_bits = (caps->cr4_valid & NVIRT_CR4_LA57) != 0 ? 57u : 48u;
    caps->revision = (uint8_t)(cpuid->eax_8000000a & 0xffu);
    caps->asid_count = cpuid->ebx_8000000a;
    caps->features = cpuid->edx_8000000a;
    return NVIRT_OK;
}

/* What nvirt does for L1 in software or hands through unchanged, where the CPU has it. */
#define FEATURES_PASSED                                                                            \
    (NVIRT_SVM_FEATURE_NP | NVIRT_SVM_FEATURE_SVM_LOCK | NVIRT_SVM_FEATURE_NRIPS |                 \
     NVIRT_SVM_FEATURE_DECODE_ASSISTS | NVIRT_SVM_FEATURE_ADDRESS_CHECK | NVIRT_SVM_FEATURE_LBR |  \
     NVIRT_SVM_FEATURE_PAUSE_FILTER | NVIRT_SVM_FEATURE_PAUSE_THRESHOLD |                          \
     NVIRT_SVM_FEATURE_VIRTUAL_VMLOAD | NVIRT_SVM_FEATURE_SPEC_CTRL | NVIRT_SVM_FEATURE_BUS_LOCK |  \
     NVIRT_SVM_FEATURE_VGIF | NVIRT_SVM_FEATURE_VNMI | NVIRT_SVM_FEATURE_TSC_RATE)

enum nvirt_status nvirt_svm_caps_offer(const struct nvirt_svm_caps *cpu,
                                       struct nvirt_svm_caps *offer)
{
    if (cpu == NULL || offer == NULL) {
        return NVIRT_ERR_NULL;
    }
    if ((cpu->features & NVIRT_SVM_FEATURE_NP) == 0 || !cpu->nx) {
        return NVIRT_ERR_CAPABILITY;
    }
    *offer = *cpu;
    /* The flush engine keeps L1's ASIDs apart whatever the CPU can flush, and clean bits save reads
     * and checks of nvirt's whatever the CPU does with those of vmcb02. */
    offer->features = (cpu->features & FEATURES_PASSED) | NVIRT_SVM_FEATURE_FLUSH_BY_ASID |
                      NVIRT_SVM_FEATURE_CLEAN;
    /* Shadow stacks of L2 would need state that no transition moves yet. */
    offer->cr4_valid &= ~NVIRT_CR4_CET;
    return NVIRT_OK;
}

void nvirt_svm_msrpm_require(uint8_t *msrpm)
{
    static const uint32_t held[] = {NVIRT_SVM_MSR_EFER, NVIRT_SVM_MSR_VM_CR,
                                    NVIRT_SVM_MSR_HSAVE_PA, NVIRT_SVM_MSR_KEY,
                                    NVIRT_SVM_MSR_TSC_RATIO};
    uint32_t bit;

    for (uint32_t i = 0; i < COUNT(held); i++) {
        if (msrpm != NULL && nvi_svm_msrpm_position(held[i], &bit)) {
            nvi_svm_map_write(msrpm, bit, 2, true);
        }
    }
}

void nvirt_svm_intercepts_require(struct nvirt_vmcb *vmcb01)
{
    static const uint16_t needed[] = {
        NVIRT_SVM_EXIT_VMRUN, NVIRT_SVM_EXIT_VMMCALL, NVIRT_SVM_EXIT_VMLOAD,
        NVIRT_SVM_EXIT_VMSAVE, NVIRT_SVM_EXIT_STGI, NVIRT_SVM_EXIT_CLGI, NVIRT_SVM_EXIT_SKINIT,
        NVIRT_SVM_EXIT_INVLPGA, NVIRT_SVM_EXIT_MSR, NVIRT_SVM_EXIT_SHUTDOWN,
    };

    for (uint32_t i = 0; vmcb01 != NULL && i < COUNT(needed); i++) {
        nvirt_vmcb_intercept(vmcb01, needed[i], true);
    }
}
