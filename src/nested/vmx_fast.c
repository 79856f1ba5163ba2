/* SPDX-License-Identifier: MIT */
/*
 * The calls around a run, as they come most often: L1 runs, nothing waits, nothing is owed, and L1
 * leaves for VMREAD, VMWRITE or an instruction of the host's. Such a vCPU is *steady*: hardware
 * holds all that vmcs01 says, and all that an exit may change counts as stale already. So these
 * calls work on hardware past the image, and leave nothing untrue and nothing to do. Everything is
 * read before anything is changed; what is out of the ordinary goes the general way (vmx_run.c),
 * which finds all as it was.
 *
 * [SDM 3C "VMREAD", "VMWRITE"]
 */
#include "nested/vmx_hot.h"

#define BLOCKS_INTERRUPTS (NVIRT_VMX_BLOCK_STI | NVIRT_VMX_BLOCK_MOV_SS)

/* A steady vCPU was prepared on this CPU and is bound to it, which no other object is. */
static inline bool is_steady(const struct nvirt_vmx_vcpu *v, const struct nvirt_port_cpu *cpu)
{
    return v != NULL && v->steady && v->home == cpu;
}

/* ---- completing an instruction ---- */

struct completion {
    uint64_t rip; /* Of the next instruction. */
    uint64_t rflags;
};

/* Nothing but RIP and flags changes when the instruction completes: no shadow of STI or MOV SS ends
 * and nothing single-steps. A carry out of 32 bits would make the mode matter. */
static inline bool completes_plainly(const struct nvirt_vmx_vcpu *v, struct completion *c)
{
    uint64_t blocking;
    uint64_t length;
    uint64_t rip;

    if (!nvi_hw_peek(v, NVI_ENCODING_GUEST_INTERRUPTIBILITY, &blocking) ||
        !nvi_hw_peek(v, NVI_ENCODING_GUEST_RFLAGS, &c->rflags) ||
        !nvi_hw_peek(v, NVI_ENCODING_GUEST_RIP, &rip) ||
        !nvi_hw_peek(v, NVI_ENCODING_EXIT_INSN_LENGTH, &length)) {
        return false;
    }
    c->rip = rip + length;
    return ((blocking & BLOCKS_INTERRUPTS) | (c->rflags & (NVIRT_RFLAGS_TF | NVIRT_RFLAGS_RF)) |
            (c->rip ^ rip) >> 32) == 0;
}

#define COMPLETION_READS 4u

NVIRT_COLD static enum nvirt_status write_failed(struct nvirt_vmx_vcpu *v, uint32_t encoding)
{
    nvirt_port_trace(v->port, "nvirt: VMWRITE refused", encoding);
    v->steady = false;
    return NVIRT_ERR_HARDWARE;
}

static inline enum nvirt_status move_on(struct nvirt_vmx_vcpu *v, const struct completion *c)
{
    v->stats.vmwrites++;
    if (nvirt_port_vmwrite(v->cpu, NVI_ENCODING_GUEST_RIP, c->rip) != NVIRT_HW_OK) {
        return write_failed(v, NVI_ENCODING_GUEST_RIP);
    }
    return NVIRT_OK;
}

/* The exit was an instruction of L1's that nvirt has carried out: VMsucceed. */
static inline enum nvirt_status succeed(struct nvirt_vmx_vcpu *v, const struct completion *c,
                                        struct nvirt_vmx_exit *exit, uint32_t reason)
{
    uint64_t rflags = c->rflags & ~NVI_VMX_STATUS_FLAGS;

    nvi_vmx_tell(exit, NVIRT_VERDICT_DONE, 1, reason);
    v->stats.exits_l1++;
    v->stats.instructions++;
    if (rflags != c->rflags) {
        v->stats.vmwrites++;
        if (nvirt_port_vmwrite(v->cpu, NVI_ENCODING_GUEST_RFLAGS, rflags) != NVIRT_HW_OK) {
            return write_failed(v, NVI_ENCODING_GUEST_RFLAGS);
        }
    }
    return move_on(v, c);
}

enum nvirt_status nvirt_vmx_skip(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu)
{
    struct completion c;

    if (!is_steady(vcpu, cpu) || vcpu->prepared) {
        return nvi_vmx_skip_any(vcpu, cpu);
    }
    vcpu->stats.vmreads += COMPLETION_READS;
    return completes_plainly(vcpu, &c) ? move_on(vcpu, &c) : nvi_vmx_skip_any(vcpu, cpu);
}

/* ---- VMREAD and VMWRITE ---- */

/* What a VMX instruction of L1's is about. */
struct operation {
    uint64_t info;
    struct nvi_operand_mode mode;
    uint64_t operand[2]; /* In memory. */
    struct completion end;
};

/*
 * 64-bit mode at CPL 0: LMA says so, because in compatibility mode there would have been #UD and no
 * exit.
 */
static inline bool look_at_instruction(struct nvirt_vmx_vcpu *v, struct operation *o)
{
    uint64_t ss_ar;

    v->stats.vmreads += 4 + COMPLETION_READS; /* With the reason. */
    return nvi_hw_peek(v, NVI_ENCODING_GUEST_SS_AR, &ss_ar) &&
           nvi_hw_peek(v, NVI_ENCODING_GUEST_EFER, &o->mode.efer) &&
           nvi_hw_peek(v, NVI_ENCODING_EXIT_INSN_INFO, &o->info) && completes_plainly(v, &o->end) &&
           (ss_ar & NVIRT_VMX_AR_DPL) == 0 && (o->mode.efer & NVIRT_EFER_LMA) != 0;
}

/*
 * The form that compilers make of them: register operands, neither of them RSP. The field is one of
 * @p set and does not have to be fetched first.
 */
static inline bool find_operands(const struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                                 uint64_t info, const struct nvi_field_set *set, uint32_t *field,
                                 uint32_t *operand)
{
    uint32_t name = nvi_vmx_info_register2(info);
    uint32_t found;

    *operand = nvi_vmx_info_register1(info);
    if ((info & NVI_VMX_INFO_REGISTER_OPERAND) == 0 || name == NVIRT_RSP ||
        *operand == NVIRT_RSP) {
        return false;
    }
    found = nvi_vmcs_find_full(gprs->r[name]);
    *field = found - 1u;
    return found != 0 && ((set->word[*field / 64u] & ~v->now->lazy.word[*field / 64u]) >>
                              (*field % 64u) & 1u) != 0;
}

static inline enum nvirt_status vmread(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                       struct nvirt_vmx_exit *exit)
{
    struct operation o;
    uint32_t field;
    uint32_t operand;

    if (!look_at_instruction(v, &o) ||
        !find_operands(v, gprs, o.info, &v->vmread_set, &field, &operand)) {
        return nvi_vmx_exit_any(v, gprs, exit, NVIRT_VMX_EXIT_VMREAD);
    }
    gprs->r[operand] = v->vmcs12.field[field];
    return succeed(v, &o.end, exit, NVIRT_VMX_EXIT_VMREAD);
}

static inline enum nvirt_status vmwrite(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                        struct nvirt_vmx_exit *exit)
{
    struct operation o;
    uint32_t field;
    uint32_t operand;
    uint64_t value;

    if (!look_at_instruction(v, &o) ||
        !find_operands(v, gprs, o.info, &v->vmwrite_set, &field, &operand)) {
        return nvi_vmx_exit_any(v, gprs, exit, NVIRT_VMX_EXIT_VMWRITE);
    }
    value = gprs->r[operand] & nvi_vmcs_masks[field];
    if (v->vmcs12.field[field] != value) {
        v->vmcs12.field[field] = value;
        v->now->changed |= 1u << nvi_vmcs_groups[field];
    }
    return succeed(v, &o.end, exit, NVIRT_VMX_EXIT_VMWRITE);
}

/* ---- instructions with an operand in memory ---- */

static inline bool register_of(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                               uint32_t number, uint64_t *value)
{
    if (number != NVIRT_RSP) {
        *value = gprs->r[number];
        return true;
    }
    v->stats.vmreads++;
    return nvi_hw_peek(v, NVI_ENCODING_GUEST_RSP, value);
}

/* The linear address of the operand: 64-bit addresses, no base of FS or GS. */
static inline bool linear_of(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs, uint64_t info,
                             uint64_t *linear)
{
    uint64_t part;

    v->stats.vmreads++;
    if ((info >> NVI_VMX_INFO_ADDRESS_SIZE_SHIFT & 7u) != 2 ||
        (info >> NVI_VMX_INFO_SEGMENT_SHIFT & 7u) > 3 ||
        !nvi_hw_peek(v, NVI_ENCODING_EXIT_QUALIFICATION, linear)) {
        return false;
    }
    if ((info & NVI_VMX_INFO_NO_BASE) == 0) {
        if (!register_of(v, gprs, (uint32_t)(info >> NVI_VMX_INFO_BASE_SHIFT) & 15u, &part)) {
            return false;
        }
        *linear += part;
    }
    if ((info & NVI_VMX_INFO_NO_INDEX) == 0) {
        *linear += gprs->r[(info >> NVI_VMX_INFO_INDEX_SHIFT) & 15u]
                   << (info & NVI_VMX_INFO_SCALE);
    }
    return true;
}

/*
 * Reads the operand where the walk that led to the last one leads to it too; that address was
 * canonical, and what it depends on is compared.
 */
static inline bool look_at_operand(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                                   size_t bytes, struct operation *o)
{
    uint64_t linear;
    uint64_t address;

    if (!look_at_instruction(v, o)) {
        return false;
    }
    v->stats.vmreads += 2;
    o->mode.rflags_ac = o->end.rflags & NVIRT_RFLAGS_AC;
    if (!nvi_hw_peek(v, NVI_ENCODING_GUEST_CR3, &o->mode.cr3) ||
        !nvi_hw_peek(v, NVI_ENCODING_GUEST_CR4, &o->mode.cr4) || !linear_of(v, gprs, o->info, &linear) ||
        !nvi_vmx_operand_known(v, linear, bytes, &o->mode, &address)) {
        return false;
    }
    /* Word by word, as the entries were: a port reads a word without ado. */
    for (uint32_t i = 0; i < bytes / 8; i++) {
        if (nvirt_port_l1_read(v->port, nvirt_l1gpa_make(address + 8 * i), &o->operand[i], 8) !=
            NVIRT_OK) {
            return false;
        }
    }
    v->stats.bytes_read += bytes;
    return true;
}

/* Another VMCS that is active: all of it is here, and its shadow VMCS has what L1 reads there.
 * @return false where it is not, and when hardware refused to have vmcs01 name that: recorded. */
NVIRT_NOINLINE static bool turn_to(struct nvirt_vmx_vcpu *v, uint64_t region)
{
    if (!nvi_vmcs12_is_ready(v, region) ||
        nvi_vmcs12_revision(v, region) != (v->offer.basic & NVIRT_VMX_BASIC_REVISION)) {
        return false;
    }
    nvi_vmcs12_load(v, region);
    v->error = NVIRT_OK;
    if (v->shadow.usable) {
        nvi_shadow_link(v);
        nvi_hw_commit(v, NVI_01);
    }
    return v->error == NVIRT_OK;
}

/* VMPTRLD of the VMCS that is current already, or of one that was. */
static inline bool vmptrld(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                           struct operation *o)
{
    if (!look_at_operand(v, gprs, 8, o)) {
        return false;
    }
    if (o->operand[0] != v->vmx.current) {
        return turn_to(v, o->operand[0]);
    }
    return !v->vmx.is_shadow &&
           nvi_vmcs12_revision(v, o->operand[0]) == (v->offer.basic & NVIRT_VMX_BASIC_REVISION);
}

/* INVEPT or INVVPID. What they invalidate is L2's, and falls due when L2 is entered. */
static inline bool invalidate(struct nvirt_vmx_vcpu *v, const struct nvirt_gprs *gprs,
                              uint32_t reason, struct operation *o)
{
    uint32_t number;
    uint64_t type;

    if (!look_at_operand(v, gprs, 16, o)) {
        return false;
    }
    number = nvi_vmx_info_register2(o->info);
    type = gprs->r[number];
    if (number == NVIRT_RSP) {
        return false;
    }
    if (reason == NVIRT_VMX_EXIT_INVEPT) {
        return (v->offer.ept_vpid & NVIRT_VMX_EPT_CAP_INVEPT) != 0 &&
               nvi_vmx_invept_is_offered(v, type) && nvi_vmx_invept_with(v, type, o->operand);
    }
    return (v->offer.ept_vpid & NVIRT_VMX_VPID_CAP_INVVPID) != 0 &&
           nvi_vmx_invvpid_is_offered(v, type) && nvi_vmx_invvpid_with(v, type, o->operand);
}

/* Instructions of L1 that are rarer, and all other exits. */
NVIRT_NOINLINE static enum nvirt_status other_steady(struct nvirt_vmx_vcpu *v,
                                                     struct nvirt_gprs *gprs,
                                                     struct nvirt_vmx_exit *exit, uint32_t reason)
{
    struct operation o;
    bool done = false;

    if (reason == NVIRT_VMX_EXIT_VMRESUME && nvi_vmx_resume_plainly(v)) {
        nvi_vmx_tell(exit, NVIRT_VERDICT_DONE, 1, reason);
        v->stats.vmreads++;
        v->stats.exits_l1++;
        v->stats.instructions++;
        return NVIRT_OK;
    }
    switch (reason) {
    case NVIRT_VMX_EXIT_VMPTRLD:
        done = vmptrld(v, gprs, &o);
        break;
    case NVIRT_VMX_EXIT_INVEPT:
    case NVIRT_VMX_EXIT_INVVPID:
        done = invalidate(v, gprs, reason, &o);
        break;
    default:
        v->stats.vmreads++;
        break;
    }
    return done ? succeed(v, &o.end, exit, reason) : nvi_vmx_exit_any(v, gprs, exit, reason);
}

/* ---- the run ---- */

/* A steady L1 left for @p reason. Ifs in the order of how often, where a switch would be a table. */
static inline enum nvirt_status exit_steady(struct nvirt_vmx_vcpu *v, struct nvirt_gprs *gprs,
                                            struct nvirt_vmx_exit *exit, uint32_t reason)
{
    if (reason == NVIRT_VMX_EXIT_VMREAD) {
        return vmread(v, gprs, exit);
    }
    if (reason == NVIRT_VMX_EXIT_VMWRITE) {
        return vmwrite(v, gprs, exit);
    }
    if (reason == NVIRT_VMX_EXIT_CPUID) {
        /* The host's, with nothing to tell. */
        nvi_vmx_tell(exit, NVIRT_VERDICT_L1, 1, reason);
        v->stats.vmreads++;
        v->stats.exits_l1++;
        return NVIRT_OK;
    }
    return other_steady(v, gprs, exit, reason);
}

NVIRT_COLD static enum nvirt_status exit_unknown(struct nvirt_vmx_vcpu *v, struct nvirt_vmx_exit *exit)
{
    nvi_vmx_tell(exit, NVIRT_VERDICT_DONE, v->level, 0);
    v->steady = false;
    nvi_hw_distrust(v, nvi_vmx_running(v));
    nvi_hw_read_failed(v, NVI_ENCODING_EXIT_REASON);
    return NVIRT_ERR_HARDWARE;
}

/* Of a vCPU that is not steady. */
NVIRT_NOINLINE static enum nvirt_status exit_unsteady(struct nvirt_vmx_vcpu *v,
                                                      struct nvirt_port_cpu *cpu,
                                                      struct nvirt_gprs *gprs,
                                                      struct nvirt_vmx_exit *exit)
{
    enum nvirt_status status = nvi_vmx_begin(v, cpu);
    bool plain;
    uint64_t reason;

    if (status != NVIRT_OK) {
        return status;
    }
    if (!v->prepared) {
        return NVIRT_ERR_STATE;
    }
    plain = v->steady_l2;
    v->prepared = false;
    v->steady_l2 = false;
    if (!plain) {
        v->current = v->hw[nvi_vmx_running(v)];
    }
    v->stats.vmreads++;
    if (!nvi_hw_peek(v, NVI_ENCODING_EXIT_REASON, &reason)) {
        return exit_unknown(v, exit);
    }
    switch (plain ? nvi_vmx_exit_plainly(v, exit, (uint32_t)reason) : NVI_EXIT_UNKNOWN) {
    case NVI_EXIT_DONE:
        return NVIRT_OK;
    case NVI_EXIT_NOTED:
        return nvi_vmx_exit_noted(v, gprs, exit, (uint32_t)reason);
    case NVI_EXIT_UNKNOWN:
    default:
        return nvi_vmx_exit_any(v, gprs, exit, (uint32_t)reason);
    }
}

enum nvirt_status nvirt_vmx_exit(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                 struct nvirt_gprs *gprs, struct nvirt_vmx_exit *exit)
{
    uint64_t reason;

    if (gprs == NULL || exit == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (!is_steady(vcpu, cpu) || !vcpu->prepared) {
        return exit_unsteady(vcpu, cpu, gprs, exit);
    }
    vcpu->prepared = false;
    return nvi_hw_peek(vcpu, NVI_ENCODING_EXIT_REASON, &reason)
               ? exit_steady(vcpu, gprs, exit, (uint32_t)reason)
               : exit_unknown(vcpu, exit);
}

enum nvirt_status nvirt_vmx_prepare(struct nvirt_vmx_vcpu *vcpu, struct nvirt_port_cpu *cpu,
                                    struct nvirt_vmx_run *run)
{
    if (run == NULL || !is_steady(vcpu, cpu) || nvirt_tlb_is_asked(&vcpu->tlb) ||
        nvi_hv_waits(vcpu->hv, 1)) {
        return run != NULL && vcpu != NULL && vcpu->switched && vcpu->home == cpu
                   ? nvi_vmx_prepare_switched(vcpu, run)
                   : nvi_vmx_prepare_any(vcpu, cpu, run);
    }
    run->launch = false;
    run->level = 1;
    run->branch_barrier = false;
    run->set_cr2 = false;
    vcpu->prepared = true;
    return NVIRT_OK;
}
