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
#define ASSIST UINT64_C(0x66000)
#define LOCKS UINT64_C(0x67000) /* A partition assist page. */

/* What L1 says of direct flushes, rightly or not. */
static void say_who(struct fuzz *f, uint64_t page)
{
    struct input *in = &f->in;

    vp.assist_page = u8(in) % 8 == 0 ? 0 : ASSIST | 1;
    fake_vm_put64(f->port, ASSIST + 32, u8(in) % 8 != 0);
    fake_vm_put32(f->port, page + VMCB_ENLIGHTENMENTS, 7);
    fake_vm_put32(f->port, page + VMCB_ENLIGHTENMENTS + 4,
                  flip(in) ? u8(in) % 4 : (uint32_t)take(in, 4));
    fake_vm_put64(f->port, page + VMCB_ENLIGHTENMENTS + 8, u8(in) % 3);
    fake_vm_put64(f->port, page + VMCB_ENLIGHTENMENTS + 16,
                  flip(in) ? LOCKS : new_value(in, LOCKS, addresses, ADDRESSES));
    fake_vm_put32(f->port, LOCKS, u8(in) % 4 == 0);
}

/* A hypercall of whoever runs, most of them ones that flush. */
static void hypercall(struct fuzz *f)
{
    static const uint16_t codes[] = {2, 3, 0x13, 0x14, 0xaf};
    static const uint8_t vmmcall[] = {0x0f, 0x01, 0xd9};
    struct input *in = &f->in;
    uint64_t control = flip(in) ? codes[choose(in, 5)] : take(in, 8);
    uint64_t words[6];

    for (uint32_t i = 0; i < 6; i++) {
        words[i] = u8(in) % 4 == 0 ? take(in, 8) : u8(in) % 4;
    }
    fake_vm_put(f->port, addresses[choose(in, ADDRESSES)] & ~UINT64_C(0xfff), words,
                sizeof words);
    if (flip(in)) {
        fake_vm_put(f->port, CODE, vmmcall, sizeof vmmcall);
    }
    f->gprs.r[NVIRT_RCX] = control | (uint64_t)(u8(in) % 3) << 32;
    f->gprs.r[NVIRT_RDX] = new_value(in, f->l2gpa, addresses, ADDRESSES);
    f->gprs.r[NVIRT_R8] = u8(in) % 8;
    guest_exit(f, NVIRT_SVM_EXIT_VMMCALL, 0, 0);
}

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
    switch (u8(in) % 9) {
    case 5: say_who(f, page); break;
    case 6:
    case 7: hypercall(f); break;
    case 8:
        entry = new_value(in, 0x5001, addresses, ADDRESSES);
        (void)nvirt_hv_fifo_put(&vp.direct.fifo, &entry, 1);
        break;
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
