/* SPDX-License-Identifier: MIT */
/*
 * An L1 on SVM that knows Hyper-V's interface: what it is offered, and what it does with it. Part of
 * fuzz_svm.c.
 */
#ifndef FUZZ_SVM_HYPERV_H
#define FUZZ_SVM_HYPERV_H

#define OFFERED 128u

#ifdef NVIRT_HYPERV

static struct nvirt_hv_partition partition;
static struct nvirt_hv_vp vp;
static struct nvirt_hv_slot slot[4], slot_l2[4];

/* An L1 that knows Hyper-V's interface, or not. */
static struct nvirt_hv_vp *enlighten(struct fuzz *f)
{
    uint32_t offer = f->offered & NVIRT_HV_OFFER_SVM;

    if ((f->offered & OFFERED) == 0) {
        return NULL;
    }
    if ((offer & NVIRT_HV_OFFER_NESTED_FLUSH) == 0) {
        offer &= ~NVIRT_HV_OFFER_NPT_TLB;
    }
    if ((offer & NVIRT_HV_OFFER_FLUSH) == 0) {
        offer &= ~NVIRT_HV_OFFER_DIRECT_FLUSH;
    }
    REQUIRE(nvirt_hv_partition_init(&partition, f->port, &vp, 1, offer, true) == NVIRT_OK,
            "a partition is made", offer);
    REQUIRE(nvirt_hv_vp_init(&partition, 0, slot, 4) == NVIRT_OK, "a queue", 0);
    REQUIRE(nvirt_hv_vp_init_l2(&partition, 0, slot_l2, 4) == NVIRT_OK, "another", 0);
    return &vp;
}

/* [TLFS "HV_SVM_ENLIGHTENED_VMCB_FIELDS"] */
#define VMCB_ENLIGHTENMENTS 0x3e0u
#define VMCB_CLEAN 0xc0u

/* What a Hyper-V aware L1 does: enlightenments in its VMCBs, clean bits that are true or not, flushes
 * that another of its processors asked for. */
static void hyperv(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t page = a_vmcb12(f);
    uint64_t entry;

    if ((f->offered & OFFERED) == 0) {
        return;
    }
    switch (u8(in) % 5) {
    case 0: /* All of them, and an entry by which they are known. */
        fake_vm_put32(f->port, page + VMCB_ENLIGHTENMENTS, flip(in) ? 7 : (uint32_t)take(in, 1));
        insn(f, NVIRT_SVM_EXIT_VMRUN, page);
        guest_exit(f, NVIRT_SVM_EXIT_VMRUN, 0, 0); /* Always L1's. */
        fake_vm_put32(f->port, page + VMCB_CLEAN, 0xffffffff);
        break;
    case 1:
        fake_vm_put32(f->port, page + VMCB_CLEAN, flip(in) ? 0xffffffff : (uint32_t)take(in, 4));
        break;
    case 2:
        entry = new_value(in, 0x5001, addresses, ADDRESSES);
        (void)nvirt_hv_fifo_put(&vp.fifo, &entry, 1);
        break;
    case 3: nvirt_hv_fifo_put_all(&vp.fifo, flip(in)); break;
    default:
        vp.nested_flush = flip(in) ? NVIRT_HV_NESTED_ALL : NPT12 | 1;
        break;
    }
    if (flip(in)) {
        insn(f, NVIRT_SVM_EXIT_VMRUN, page);
    }
}

#else

static struct nvirt_hv_vp *enlighten(struct fuzz *f)
{
    (void)f;
    return NULL;
}

static void hyperv(struct fuzz *f)
{
    (void)f;
}

#endif

#endif
