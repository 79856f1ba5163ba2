/* SPDX-License-Identifier: MIT */
/*
 * Where the CPU does not report the next RIP, the length of an intercepted instruction is found from
 * its bytes. Only the instructions that an intercept names are known: whatever else stands there was
 * put there after the exit, and is left to run.
 */
#include "nested/svm_internal.h"

/* What follows the opcode. */
enum form {
    FORM_NONE,    /* nothing */
    FORM_FIXED,   /* one byte, exactly `extra` */
    FORM_MODRM,   /* ModRM with reg field `extra`, memory or register */
    FORM_MEMORY,  /* ModRM with reg field `extra`, memory only */
    FORM_ANY_REG, /* ModRM naming two registers, whatever its mod field */
    FORM_ANY_MEM, /* ModRM, any reg field, memory only */
    FORM_IMM8     /* one byte of any value */
};

enum map { MAP_1 = 0, MAP_0F, MAP_0F38 };

struct pattern {
    uint16_t first, last; /* exit codes */
    uint8_t map;
    uint8_t opcode;
    uint8_t form;
    uint8_t extra;
};

#define ONE(code) NVIRT_SVM_EXIT_##code, NVIRT_SVM_EXIT_##code

/* [APM 3 "Opcode and Operand Encodings"] */
static const struct pattern patterns[] = {
    {ONE(VMRUN), MAP_0F, 0x01, FORM_FIXED, 0xd8},
    {ONE(VMMCALL), MAP_0F, 0x01, FORM_FIXED, 0xd9},
    {ONE(VMLOAD), MAP_0F, 0x01, FORM_FIXED, 0xda},
    {ONE(VMSAVE), MAP_0F, 0x01, FORM_FIXED, 0xdb},
    {ONE(STGI), MAP_0F, 0x01, FORM_FIXED, 0xdc},
    {ONE(CLGI), MAP_0F, 0x01, FORM_FIXED, 0xdd},
    {ONE(SKINIT), MAP_0F, 0x01, FORM_FIXED, 0xde},
    {ONE(INVLPGA), MAP_0F, 0x01, FORM_FIXED, 0xdf},
    {ONE(CPUID), MAP_0F, 0xa2, FORM_NONE, 0},
    {ONE(HLT), MAP_1, 0xf4, FORM_NONE, 0},
    {ONE(MSR), MAP_0F, 0x30, FORM_NONE, 0},
    {ONE(MSR), MAP_0F, 0x32, FORM_NONE, 0},
    {ONE(RDTSC), MAP_0F, 0x31, FORM_NONE, 0},
    {ONE(RDTSCP), MAP_0F, 0x01, FORM_FIXED, 0xf9},
    {ONE(RDPMC), MAP_0F, 0x33, FORM_NONE, 0},
    {ONE(RDPRU), MAP_0F, 0x01, FORM_FIXED, 0xfd},
    {ONE(INVD), MAP_0F, 0x08, FORM_NONE, 0},
    {ONE(WBINVD), MAP_0F, 0x09, FORM_NONE, 0},
    {ONE(PAUSE), MAP_1, 0x90, FORM_NONE, 0},
    {ONE(MONITOR), MAP_0F, 0x01, FORM_FIXED, 0xc8},
    {ONE(MWAIT), MAP_0F, 0x01, FORM_FIXED, 0xc9},
    {ONE(MWAIT_ARMED), MAP_0F, 0x01, FORM_FIXED, 0xc9},
    {ONE(XSETBV), MAP_0F, 0x01, FORM_FIXED, 0xd1},
    {ONE(RSM), MAP_0F, 0xaa, FORM_NONE, 0},
    {ONE(PUSHF), MAP_1, 0x9c, FORM_NONE, 0},
    {ONE(POPF), MAP_1, 0x9d, FORM_NONE, 0},
    {ONE(IRET), MAP_1, 0xcf, FORM_NONE, 0},
    {ONE(SWINT), MAP_1, 0xcd, FORM_IMM8, 0},
    {ONE(ICEBP), MAP_1, 0xf1, FORM_NONE, 0},
    {ONE(INVLPG), MAP_0F, 0x01, FORM_MEMORY, 7},
    {ONE(INVPCID), MAP_0F38, 0x82, FORM_ANY_MEM, 0},
    {ONE(MCOMMIT), MAP_0F, 0x01, FORM_FIXED, 0xfa},
    {ONE(INVLPGB), MAP_0F, 0x01, FORM_FIXED, 0xfe},
    {ONE(INVLPGB_ILLEGAL), MAP_0F, 0x01, FORM_FIXED, 0xfe},
    {ONE(TLBSYNC), MAP_0F, 0x01, FORM_FIXED, 0xff},
    {ONE(IDTR_READ), MAP_0F, 0x01, FORM_MEMORY, 1},
    {ONE(GDTR_READ), MAP_0F, 0x01, FORM_MEMORY, 0},
    {ONE(IDTR_WRITE), MAP_0F, 0x01, FORM_MEMORY, 3},
    {ONE(GDTR_WRITE), MAP_0F, 0x01, FORM_MEMORY, 2},
    {ONE(LDTR_READ), MAP_0F, 0x00, FORM_MODRM, 0},
    {ONE(TR_READ), MAP_0F, 0x00, FORM_MODRM, 1},
    {ONE(LDTR_WRITE), MAP_0F, 0x00, FORM_MODRM, 2},
    {ONE(TR_WRITE), MAP_0F, 0x00, FORM_MODRM, 3},
    {ONE(CR0_READ), MAP_0F, 0x01, FORM_MODRM, 4}, /* SMSW */
    {NVIRT_SVM_EXIT_CR0_READ, NVIRT_SVM_EXIT_CR0_READ + 15, MAP_0F, 0x20, FORM_ANY_REG, 0},
    {ONE(CR0_WRITE), MAP_0F, 0x06, FORM_NONE, 0}, /* CLTS */
    {ONE(CR0_WRITE), MAP_0F, 0x01, FORM_MODRM, 6}, /* LMSW */
    {NVIRT_SVM_EXIT_CR0_WRITE, NVIRT_SVM_EXIT_CR0_WRITE + 15, MAP_0F, 0x22, FORM_ANY_REG, 0},
    {ONE(CR0_SEL_WRITE), MAP_0F, 0x22, FORM_ANY_REG, 0},
    {ONE(CR0_SEL_WRITE), MAP_0F, 0x01, FORM_MODRM, 6},
    {NVIRT_SVM_EXIT_DR0_READ, NVIRT_SVM_EXIT_DR0_READ + 15, MAP_0F, 0x21, FORM_ANY_REG, 0},
    {NVIRT_SVM_EXIT_DR0_WRITE, NVIRT_SVM_EXIT_DR0_WRITE + 15, MAP_0F, 0x23, FORM_ANY_REG, 0},
};

/* The bytes, and how far they are read. Reading past the end gives 0 and spoils the result. */
struct cursor {
    const uint8_t *bytes;
    uint32_t count;
    uint32_t at;
    bool spoiled;
};

static uint8_t next(struct cursor *c)
{
    if (c->at >= c->count) {
        c->spoiled = true;
        return 0;
    }
    return c->bytes[c->at++];
}

static uint8_t peek(const struct cursor *c)
{
    return c->at < c->count ? c->bytes[c->at] : 0;
}

static void skip(struct cursor *c, uint32_t count)
{
    c->at += count;
    if (c->at > c->count) {
        c->spoiled = true;
    }
}

static bool is_legacy_prefix(uint8_t byte)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

/* Prefixes, the address size they leave, and a REX byte, which must stand right before the opcode. */
static uint8_t take_prefixes(struct cursor *c, uint32_t bits)
{
    bool address_size = false;

    while (is_legacy_prefix(peek(c))) {
        address_size |= next(c) == 0x67;
    }
    if (bits == 64 && (peek(c) & 0xf0u) == 0x40u) {
        (void)next(c);
    }
    if (bits == 64) {
        return address_size ? 32 : 64;
    }
    return (bits == 32) != address_size ? 32 : 16;
}

/* Displacement and SIB byte that follow a ModRM byte with a memory operand. */
static void skip_memory_operand(struct cursor *c, uint8_t modrm, uint8_t address_bits)
{
    uint8_t mod = (uint8_t)(modrm >> 6);
    uint8_t rm = modrm & 7u;

    if (address_bits == 16) {
        skip(c, mod == 1 ? 1 : (mod == 2 || rm == 6) ? 2 : 0);
        return;
    }
    if (rm == 4) {
        uint8_t sib = next(c);

        if (mod == 0 && (sib & 7u) == 5) {
            skip(c, 4);
        }
    } else if (mod == 0 && rm == 5) {
        skip(c, 4);
    }
    skip(c, mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

static bool take_modrm(struct cursor *c, const struct pattern *p, uint8_t address_bits)
{
    uint8_t modrm = next(c);
    bool memory = (modrm >> 6) != 3;
    bool memory_only = p->form == FORM_MEMORY || p->form == FORM_ANY_MEM;
    bool reg_matters = p->form == FORM_MEMORY || p->form == FORM_MODRM;

    if (reg_matters && ((modrm >> 3) & 7u) != p->extra) {
        return false;
    }
    if (memory) {
        skip_memory_operand(c, modrm, address_bits);
    }
    return memory || !memory_only;
}

static bool take_operands(struct cursor *c, const struct pattern *p, uint8_t address_bits)
{
    switch ((enum form)p->form) {
    case FORM_NONE:
        return true;
    case FORM_FIXED:
        return next(c) == p->extra;
    case FORM_MODRM:
    case FORM_MEMORY:
    case FORM_ANY_MEM:
        return take_modrm(c, p, address_bits);
    case FORM_ANY_REG:
    case FORM_IMM8:
        (void)next(c);
        return true;
    }
    return false;
}

static bool take_opcode(struct cursor *c, const struct pattern *p)
{
    if (p->map != MAP_1 && next(c) != 0x0f) {
        return false;
    }
    if (p->map == MAP_0F38 && next(c) != 0x38) {
        return false;
    }
    return next(c) == p->opcode;
}

bool nvi_svm_decode(const uint8_t *bytes, uint32_t count, uint32_t bits, uint64_t code,
                    struct nvi_svm_insn *insn)
{
    struct cursor start = {bytes, count < NVI_SVM_INSN_MAX ? count : NVI_SVM_INSN_MAX, 0, false};
    uint8_t address_bits = take_prefixes(&start, bits);

    for (uint32_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const struct pattern *p = &patterns[i];
        struct cursor c = start;

        if (code >= p->first && code <= p->last && take_opcode(&c, p) &&
            take_operands(&c, p, address_bits) && !c.spoiled) {
            insn->length = (uint8_t)c.at;
            insn->address_bits = address_bits;
            return true;
        }
    }
    return false;
}

/* Three bytes are the opcode of every SVM instruction: no room for a prefix, none to look for. */
static bool by_next_rip(const struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                        struct nvi_svm_insn *insn)
{
    uint64_t length = vmcb->next_rip - vmcb->rip;

    if ((v->cpu.features & NVIRT_SVM_FEATURE_NRIPS) == 0 || length == 0 || length > 3) {
        return false;
    }
    insn->length = (uint8_t)length;
    insn->address_bits = (uint8_t)nvi_svm_code_bits(vmcb);
    return true;
}

NVIRT_NOINLINE static bool by_bytes(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb,
                                    uint64_t code, struct nvi_svm_insn *insn)
{
    uint8_t bytes[NVI_SVM_INSN_MAX];
    uint32_t count = nvi_svm_fetch_bytes(v, bytes);

    return count != 0 && nvi_svm_decode(bytes, count, nvi_svm_code_bits(vmcb), code, insn);
}

/* The opcodes of the SVM instructions differ in the last byte, as their exit codes do. */
static bool by_opcode(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *vmcb, uint64_t code,
                      struct nvi_svm_insn *insn)
{
    if (code < NVIRT_SVM_EXIT_VMRUN || code > NVIRT_SVM_EXIT_SKINIT ||
        !nvi_svm_is_bare(v, (uint8_t)(0xd8u + (code - NVIRT_SVM_EXIT_VMRUN)))) {
        return false;
    }
    insn->length = 3;
    insn->address_bits = (uint8_t)nvi_svm_code_bits(vmcb);
    return true;
}

bool nvi_svm_fetch(struct nvirt_svm_vcpu *v, uint64_t code, struct nvi_svm_insn *insn)
{
    const struct nvirt_vmcb *vmcb = nvi_svm_current(v);

    return by_next_rip(v, vmcb, insn) || by_opcode(v, vmcb, code, insn) ||
           by_bytes(v, vmcb, code, insn);
}

bool nvi_svm_is_svm_instruction(struct nvirt_svm_vcpu *v)
{
    static const uint16_t codes[] = {
        NVIRT_SVM_EXIT_VMRUN, NVIRT_SVM_EXIT_VMLOAD, NVIRT_SVM_EXIT_VMSAVE, NVIRT_SVM_EXIT_STGI,
        NVIRT_SVM_EXIT_CLGI,  NVIRT_SVM_EXIT_SKINIT, NVIRT_SVM_EXIT_INVLPGA,
    };
    uint32_t bits = nvi_svm_code_bits(nvi_svm_current(v));
    uint8_t bytes[NVI_SVM_INSN_MAX];
    uint32_t count = nvi_svm_fetch_bytes(v, bytes);
    struct nvi_svm_insn insn;

    for (uint32_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (nvi_svm_decode(bytes, count, bits, codes[i], &insn)) {
            return true;
        }
    }
    return false;
}

static bool length_to(const struct nvirt_vmcb *vmcb, uint64_t next_rip, uint32_t *length)
{
    uint64_t bytes = next_rip - vmcb->rip;

    if (bytes == 0 || bytes > NVI_SVM_INSN_MAX) {
        return false;
    }
    *length = (uint32_t)bytes;
    return true;
}

enum nvirt_status nvirt_svm_insn_length(struct nvirt_svm_vcpu *v, uint64_t exit_code,
                                        uint32_t *length)
{
    const struct nvirt_vmcb *vmcb;
    struct nvi_svm_insn insn;
    uint8_t bytes[NVI_SVM_INSN_MAX];
    uint32_t count;

    if (v == NULL || length == NULL) {
        return NVIRT_ERR_NULL;
    }
    vmcb = nvi_svm_current(v);
    if (exit_code == NVIRT_SVM_EXIT_IOIO) {
        return length_to(vmcb, vmcb->exit_info2, length) ? NVIRT_OK : NVIRT_ERR_RANGE;
    }
    if ((v->cpu.features & NVIRT_SVM_FEATURE_NRIPS) != 0 &&
        length_to(vmcb, vmcb->next_rip, length)) {
        return NVIRT_OK;
    }
    count = nvi_svm_fetch_bytes(v, bytes);
    if (count == 0) {
        return NVIRT_ERR_NO_MAPPING;
    }
    if (!nvi_svm_decode(bytes, count, nvi_svm_code_bits(vmcb), exit_code, &insn)) {
        return NVIRT_ERR_RANGE;
    }
    *length = insn.length;
    return NVIRT_OK;
}

enum nvirt_status nvirt_svm_insn_bytes(struct nvirt_svm_vcpu *v, uint8_t *bytes, uint32_t *count)
{
    uint32_t got;

    if (v == NULL || bytes == NULL || count == NULL) {
        return NVIRT_ERR_NULL;
    }
    got = nvi_svm_fetch_bytes(v, bytes);
    if (got == 0) {
        return NVIRT_ERR_NO_MAPPING;
    }
    *count = got;
    return NVIRT_OK;
}
