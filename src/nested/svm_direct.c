/* SPDX-License-Identifier: MIT */
/*
 * VMMCALL of an L2 whose flush hypercalls L1 leaves to nvirt, by the enlightenments in its VMCB
 * [TLFS "Direct Virtual Flush"]. What is not such a call is what it always is: L1's exit where L1
 * intercepts the instruction, else undefined.
 *
 * Input in memory lies where L1's nested tables say, and the access is L2's: what they do not map is
 * a nested page fault, after which L2 executes the instruction again [TLFS "Hypercall Interface"]. An
 * L1 without nested paging knows alone what L2's physical addresses mean, and what its own tables
 * made of L2's: no call is nvirt's then.
 */
#include "nested/svm_internal.h"

/* [TLFS "HV_VP_ASSIST_PAGE"]: NestedEnlightenmentsControl. */
#define ASSIST_NESTED 32u
#define ASSIST_ENABLED UINT64_C(1)
#define ASSIST_DIRECT_HYPERCALL UINT64_C(1)

/* [TLFS "HV_SVM_ENLIGHTENED_VMCB_FIELDS"]: VpId, VmId, PartitionAssistPage. */
#define AT_VP_ID (NVI_HV_VMCB_FIELDS + 4u)
#define AT_VM_ID (NVI_HV_VMCB_FIELDS + 8u)
#define AT_PARTITION_ASSIST (NVI_HV_VMCB_FIELDS + 16u)

/* "Trap after flush" [TLFS "Synthetic VM-Exit"]. */
#define EXIT_ENLIGHTENMENT UINT64_C(0xf0000000)
#define TRAP_AFTER_FLUSH 1u

static uint64_t word_at(const struct nvirt_vmcb *page, uint32_t offset)
{
    return *(const volatile uint64_t *)((const char *)page + offset);
}

static void l1_read(struct nvirt_svm_vcpu *v, uint64_t from, void *to, size_t bytes)
{
    v->stats.bytes_read += bytes;
    if (nvirt_port_l1_read(v->vm->port, nvirt_l1gpa_make(from), to, bytes) != NVIRT_OK) {
        __builtin_memset(to, 0xff, bytes);
    }
}

static bool is_allowed_by_assist_page(struct nvirt_svm_vcpu *v)
{
    uint64_t page = v->hv->assist_page;
    uint64_t control;

    if ((page & ASSIST_ENABLED) == 0) {
        return false;
    }
    l1_read(v, (page & NVIRT_PAGE_MASK) + ASSIST_NESTED, &control, sizeof control);
    return (control & ASSIST_DIRECT_HYPERCALL) != 0;
}

void nvi_svm_direct_take(struct nvirt_svm_vcpu *v, const struct nvirt_vmcb *page)
{
    struct nvi_hv_identity *who = &v->who;

    v->hv_direct = false;
    if ((v->hv_enlightenments & NVI_HV_VMCB_DIRECT) == 0 || !is_allowed_by_assist_page(v)) {
        return;
    }
    who->vp = *(const volatile uint32_t *)((const char *)page + AT_VP_ID);
    who->vm = word_at(page, AT_VM_ID);
    who->assist_page = word_at(page, AT_PARTITION_ASSIST);
    v->stats.bytes_read += 20;
    v->hv_direct = (who->assist_page & ~NVIRT_PAGE_MASK) == 0 &&
                   (who->assist_page >> v->offer.physical_bits) == 0;
}

void nvi_svm_direct_enter(struct nvirt_svm_vcpu *v)
{
    nvi_hv_direct_enter(v->hv, &v->tlb, nvi_svm_is_direct(v) ? &v->who : NULL, v->asid02);
}

static struct nvirt_hv_caller describe_caller(const struct nvirt_svm_vcpu *v)
{
    const struct nvirt_vmcb *vmcb = v->vmcb02;

    return (struct nvirt_hv_caller){ .vp = v->hv->index,
                                     .cpl = vmcb->cpl,
                                     .protected_mode = (vmcb->cr0 & NVIRT_CR0_PE) != 0 &&
                                                       (vmcb->rflags & NVIRT_RFLAGS_VM) == 0,
                                     .is_64bit = nvi_svm_is_long64(vmcb) };
}

/* @return false when L2 was left for L1, or is to execute again. */
static bool reach(struct nvirt_svm_vcpu *v, nvirt_l2gpa l2gpa, nvirt_l1gpa *l1gpa)
{
    struct nvi_svm_exit_info info = { NVIRT_SVM_EXIT_NPF, 0, l2gpa.value, 0 };
    struct nvi_npt_out walk;

    if (l2gpa.value >> v->offer.physical_bits != 0) {
        *l1gpa = nvirt_l1gpa_make(NVI_HV_NO_PLACE);
        return true;
    }
    switch (nvi_npt_walk(v->vm, &v->npt, &v->key, l2gpa, NVIRT_ACCESS_READ, &walk)) {
    case NVI_PAGING_OK:
        *l1gpa = walk.l1gpa;
        return true;
    case NVI_PAGING_FAULT:
        v->stats.shadow_reflected++;
        info.info1 = walk.error_code | NVI_NPF_FINAL;
        nvi_svm_leave(v, &info);
        return false;
    case NVI_PAGING_RETRY:
    case NVI_PAGING_NO_MEMORY:
    default:
        return false;
    }
}

/* L1 holds the TLB of this VM's processors locked. Where it has no memory it reads ones. */
static bool is_locked(struct nvirt_svm_vcpu *v)
{
    uint32_t lock_count;

    l1_read(v, v->hv->direct.assist_page, &lock_count, sizeof lock_count);
    return lock_count != 0;
}

/* The exit comes behind the instruction. A single step that ends there too is told as the exception
 * whose delivery it interrupted. */
static void trap(struct nvirt_svm_vcpu *v, uint32_t length)
{
    struct nvi_svm_exit_info info = { EXIT_ENLIGHTENMENT, TRAP_AFTER_FLUSH, 0, 0 };

    nvi_svm_advance(v->vmcb02, length);
    if ((v->vmcb02->rflags & NVIRT_RFLAGS_TF) != 0) {
        nvirt_vmcb_set_dr6(v->vmcb02, v->vmcb02->dr6 | NVI_DR6_BS);
        info.int_info = NVIRT_SVM_EVENT_VALID |
                        (uint64_t)NVIRT_SVM_EVENT_EXCEPTION << NVIRT_SVM_EVENT_TYPE_SHIFT |
                        NVIRT_VECTOR_DB;
    }
    v->stats.direct_traps++;
    nvi_svm_leave(v, &info);
}

static void finish(struct nvirt_svm_vcpu *v, enum nvirt_hv_status status, uint32_t length)
{
    if (status == NVIRT_HV_SUCCESS) {
        v->stats.direct_flushes++;
        if (is_locked(v)) {
            trap(v, length);
            return;
        }
    }
    nvi_svm_retire(v, length);
}

/* @return false when the host cannot tell them, or gives L1 none to make calls with. */
static bool read_xmm(const struct nvirt_svm_vcpu *v, uint8_t *xmm)
{
    return (v->hv->offer & NVIRT_HV_OFFER_XMM) != 0 &&
           nvirt_port_xmm(v->vm->port, v->last_cpu, xmm) == NVIRT_OK;
}

bool nvi_svm_direct_vmmcall(struct nvirt_svm_vcpu *v, struct nvirt_gprs *gprs)
{
    uint8_t xmm[NVIRT_HV_XMM_BYTES];
    struct nvirt_hv_caller caller = describe_caller(v);
    struct nvirt_gprs registers = *gprs;
    nvirt_l2gpa where = nvirt_l2gpa_make(0);
    nvirt_l1gpa input = nvirt_l1gpa_make(0);
    enum nvi_hv_direct_kind kind;
    enum nvirt_hv_status status;
    struct nvi_svm_insn insn;

    registers.r[NVIRT_RAX] = v->vmcb02->rax;
    kind = nvi_hv_direct_look(v->hv, &caller, &registers, &where);
    if (kind == NVI_HV_DIRECT_NONE || (kind == NVI_HV_DIRECT_XMM && !read_xmm(v, xmm))) {
        return false;
    }
    caller.xmm = kind == NVI_HV_DIRECT_XMM ? xmm : NULL;
    /* Bytes that are another instruction by now are left to run. */
    if (!nvi_svm_fetch(v, NVIRT_SVM_EXIT_VMMCALL, &insn) ||
        (kind == NVI_HV_DIRECT_MEMORY && !reach(v, where, &input))) {
        return true;
    }
    status = nvi_hv_direct_call(v->hv, &caller, input, &registers);
    nvirt_vmcb_set_rax(v->vmcb02, registers.r[NVIRT_RAX]);
    gprs->r[NVIRT_RDX] = registers.r[NVIRT_RDX];
    finish(v, status, insn.length);
    return true;
}
