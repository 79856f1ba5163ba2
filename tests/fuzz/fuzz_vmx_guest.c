/* SPDX-License-Identifier: MIT */
/* What L1 and L2 do: instructions, stores into what L1 controls, exits of L2. */
#include "fuzz_vmx.h"

/* ---- what L1 does ---- */

void insn(struct fuzz *f, uint32_t reason, uint64_t pointer)
{
    fake_vm_put64(f->w.port, OPERAND, pointer);
    guest_exit(f, reason, OPERAND, INFO_PLAIN, 0);
}

static struct nvirt_vmcs *vmcs12(struct fuzz *f)
{
    bool current = f->w.v->level == 1 && f->w.v->vmx.current != NVI_NO_VMCS;

    return current ? &f->w.v->vmcs12 : NULL;
}

/* What makes it more than plain. */
static void fill_more(struct fuzz *f, uint8_t what, struct nvirt_vmcs *c)
{
    if ((what & 1u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_EPT;
        c->eptp = EPT12_TOP | 6 | (3 << 3) | ((what & 2u) != 0 ? 0x40 : 0);
    }
    if ((what & 4u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_VPID;
        c->vpid = 1 + what / 64u;
    }
    if ((what & 8u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_MSR_BITMAPS | NVIRT_VMX_PROC_IO_BITMAPS;
        c->msr_bitmap = MSR_BITMAP12;
        c->io_bitmap_a = BITMAP_A;
        c->io_bitmap_b = BITMAP_B;
    }
    if ((what & 16u) != 0) {
        c->entry_msr_load_addr = c->exit_msr_store_addr = c->exit_msr_load_addr = MSR_LIST;
        c->entry_msr_load_count = c->exit_msr_store_count = c->exit_msr_load_count = what / 32u;
    }
    if ((what & 128u) != 0) {
        c->proc_controls |= NVIRT_VMX_PROC_TPR_SHADOW;
        c->virtual_apic_addr = (what & 2u) != 0 ? BITMAP_A : DEVICE;
        c->tpr_threshold = what / 4u % 16u;
    }
    if ((what & 144u) == 144u) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_APIC_ACCESSES;
        c->apic_access_addr = (what & 2u) != 0 ? DEVICE : (what & 4u) != 0 ? LARGE_BLOCK : BITMAP_A;
    }
    if ((what & 160u) == 160u) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_APIC_REGISTERS | NVIRT_VMX_PROC2_VIRTUAL_INTERRUPTS |
                             ((what & 16u) != 0 ? 0 : NVIRT_VMX_PROC2_X2APIC);
        c->pin_controls |= NVIRT_VMX_PIN_EXT_INT | NVIRT_VMX_PIN_POSTED_INTERRUPTS;
        c->exit_controls |= NVIRT_VMX_EXIT_CTL_ACK_INTERRUPT;
        c->posted_vector = NOTIFICATION;
        c->posted_descriptor = (what & 2u) != 0 ? BITMAP_B : READ_ONLY;
        c->guest_interrupt_status = what * 0x101u;
    }
    if ((what & 65u) == 65u) {
        c->proc2_controls |= NVIRT_VMX_PROC2_VMFUNC;
        c->vmfunc_controls = NVIRT_VMX_VMFUNC_EPTP_SWITCHING;
        c->eptp_list = MSR_LIST;
        fake_vm_put64(f->w.port, MSR_LIST + 8, (EPT12_TOP + 0x1000) | 6 | (3 << 3));
    }
    if ((what & 9u) == 9u) {
        c->proc2_controls |= NVIRT_VMX_PROC2_SUBPAGE_WRITE;
        c->spp_table = SPPT12;
        for (uint64_t level = 4; level > 1; level--) {
            fake_vm_put64(f->w.port,
                          SPPT12 + (4 - level) * 0x1000 +
                              (f->l2gpa >> (3 + 9 * level) & 511) * 8,
                          (SPPT12 + (5 - level) * 0x1000) | 1);
        }
        fake_vm_put64(f->w.port, SPPT12 + 0x3000 + (f->l2gpa >> 12 & 511) * 8,
                      what * UINT64_C(0x0101010101010101) & UINT64_C(0x5555555555555557));
    }
    if ((what & 33u) == 33u) {
        c->proc2_controls |= NVIRT_VMX_PROC2_UNRESTRICTED;
    }
    if ((what & 66u) == 66u) {
        c->proc_controls |= NVIRT_VMX_PROC_SECONDARY;
        c->proc2_controls |= NVIRT_VMX_PROC2_VMCS_SHADOWING;
        c->vmread_bitmap = BITMAP_A;
        c->vmwrite_bitmap = BITMAP_B;
        c->vmcs_link = VMCS12_B;
        c->guest_cr3 = L1_PML4;
        fake_vm_put32(f->w.port, VMCS12_B, revision12(&f->w) | (uint32_t)NVIRT_VMX_REGION_SHADOW);
    }
    if ((what & 36u) == 36u) {
        c->proc2_controls |= LEAF_CONTROLS | NVIRT_VMX_PROC2_PAUSE_LOOP | NVIRT_VMX_PROC2_XSAVES |
                             NVIRT_VMX_PROC2_USER_WAIT;
        c->encls_exit_bitmap = c->enclv_exit_bitmap = c->pconfig_exit_bitmap = what;
        c->xss_exit_bitmap = c->ple_window = what;
    }
}

/* A vmcs12 with which an entry succeeds, if L1 has one current. */
void fill(struct fuzz *f, uint8_t what)
{
    struct nvirt_vmcs *c = vmcs12(f);

    if (c != NULL) {
        fill_vmcs12(&f->w);
        fill_more(f, what, c);
    }
}

void fill_image(struct fuzz *f, uint8_t what, struct nvirt_vmcs *image)
{
    struct nvirt_vmx_vcpu *v = f->w.v;
    struct nvirt_vmcs before = v->vmcs12;
    struct nvi_field_set lazy = v->now->lazy;
    uint32_t changed = v->now->changed;

    fill_vmcs12(&f->w);
    *image = v->vmcs12;
    v->vmcs12 = before;
    v->now->lazy = lazy;
    v->now->changed = changed;
    fill_more(f, what, image);
}

/* EPT12 leads to a leaf, both of which the input may spoil. */
void map(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t l2gpa = addresses[choose(in, ADDRESSES)];
    uint32_t what = choose(in, 4);
    uint32_t level = 1 + what % 3;
    uint64_t leaf = (addresses[choose(in, ADDRESSES)] & ~UINT64_C(0xfff)) | 7 | (6 << 3);

    if (what == 3) {
        leaf ^= 2 | NVIRT_BIT(61); /* With sub-page permissions. */
    }
    if (level > 1) {
        leaf = (leaf & ~((UINT64_C(1) << (3 + 9 * level)) - 1)) | 0xb7;
    }
    for (uint32_t i = 4; i > level; i--) {
        fake_vm_put64(f->w.port,
                      EPT12_TOP + (4 - i) * 0x1000 + (l2gpa >> (3 + 9 * i) & 511) * 8,
                      (EPT12_TOP + (5 - i) * 0x1000) | 7);
    }
    if (flip(in)) {
        leaf = new_value(in, leaf, addresses, ADDRESSES);
    }
    fake_vm_put64(f->w.port,
                  EPT12_TOP + (4 - level) * 0x1000 + (l2gpa >> (3 + 9 * level) & 511) * 8, leaf);
    f->l2gpa = l2gpa;
}

void store(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = (addresses[choose(in, ADDRESSES)] + take(in, 2) % 4096) &
                  ((UINT64_C(1) << ADDRESS_BITS) - 8);

    fake_vm_put64(f->w.port, at,
                  new_value(in, fake_vm_get64(f->w.port, at), addresses, ADDRESSES));
}

void msr_list(struct fuzz *f)
{
    uint64_t at = MSR_LIST + choose(&f->in, 8) * 16;
    uint64_t msr = msrs[choose(&f->in, MSRS)];

    fake_vm_put64(f->w.port, at, msr);
    fake_vm_put64(f->w.port, at + 8, new_value(&f->in, 0x500, addresses, ADDRESSES));
}

/* VMWRITE of L1 that does not exit: it goes to the shadow VMCS. */
static bool write_shadow(struct fuzz *f, enum nvirt_vmcs_field field, uint64_t value)
{
    struct world *w = &f->w;
    uint32_t encoding = nvirt_vmcs_field_encoding(field);
    struct nvirt_vmcs vmcs01;
    const uint8_t *bitmap;

    if (f->over || nvirt_vmx_level(w->v) != 1 || w->v->vmx.current == NVI_NO_VMCS || !enter(f)) {
        return false;
    }
    hardware_view(f->cpu, f->cpu->current->hpa, &vmcs01);
    if (w->run.level != 1 ||
        (vmcs01.proc2_controls & NVIRT_VMX_PROC2_VMCS_SHADOWING) == 0) {
        return false;
    }
    bitmap = nvirt_port_page_pointer(w->port, nvirt_hpa_make(vmcs01.vmwrite_bitmap));
    if ((bitmap[encoding / 8] >> encoding % 8 & 1u) != 0) {
        return false;
    }
    SAY("  shadow VMCS: field %x = %llx\n", encoding, (unsigned long long)value);
    fake_cpu_poke(f->cpu, vmcs01.vmcs_link, encoding, value);
    return true;
}

void vmwrite(struct fuzz *f)
{
    struct input *in = &f->in;
    enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)choose(in, NVIRT_VMCS_FIELD_COUNT);

    uint64_t value = new_value(in, f->w.v->vmcs12.field[field], addresses, ADDRESSES);

    if (write_shadow(f, field, value)) {
        return;
    }
    f->w.gprs.r[NVIRT_RCX] = nvirt_vmcs_field_encoding(field);
    f->w.gprs.r[NVIRT_RAX] = value;
    guest_exit(f, NVIRT_VMX_EXIT_VMWRITE, 0, INFO_REG | INFO_REG1(NVIRT_RAX) | INFO_REG2(NVIRT_RCX),
               0);
}

void any_insn(struct fuzz *f)
{
    static const uint8_t reasons[] = {
        NVIRT_VMX_EXIT_VMXON,   NVIRT_VMX_EXIT_VMXOFF,  NVIRT_VMX_EXIT_VMCLEAR,
        NVIRT_VMX_EXIT_VMPTRLD, NVIRT_VMX_EXIT_VMPTRST, NVIRT_VMX_EXIT_VMREAD,
        NVIRT_VMX_EXIT_VMWRITE, NVIRT_VMX_EXIT_INVEPT,  NVIRT_VMX_EXIT_INVVPID,
        NVIRT_VMX_EXIT_VMCALL,  NVIRT_VMX_EXIT_VMLAUNCH, NVIRT_VMX_EXIT_VMRESUME,
        NVIRT_VMX_EXIT_VMFUNC,
    };
    struct input *in = &f->in;
    uint64_t qualification = new_value(in, OPERAND, addresses, ADDRESSES);
    uint32_t reason = reasons[choose(in, sizeof reasons)];

    guest_exit(f, reason, qualification, flip(in) ? INFO_PLAIN : take(in, 4), 0);
}

/* ---- what L2 does ---- */

/* VMREAD or VMWRITE of a field, by whoever runs: of L2 it is on the VMCS that is linked. */
void vmcs_access(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t field = choose(in, NVIRT_VMCS_FIELD_COUNT);
    uint64_t encoding = nvirt_vmcs_field_encoding((enum nvirt_vmcs_field)field);
    uint64_t operand = INFO_REG | INFO_REG1(NVIRT_RAX);

    if (flip(in)) {
        operand = INFO_PLAIN;
    }
    f->w.gprs.r[NVIRT_RCX] = flip(in) ? encoding : new_value(in, encoding, addresses, ADDRESSES);
    guest_exit(f, flip(in) ? NVIRT_VMX_EXIT_VMREAD : NVIRT_VMX_EXIT_VMWRITE,
               addresses[choose(in, ADDRESSES)] + u8(in) * 16u, operand | INFO_REG2(NVIRT_RCX), 0);
}

void any_exit(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t reason = u8(in) % 82u;
    uint64_t qualification = new_value(in, 0, addresses, ADDRESSES);
    uint64_t interruption = 0;

    if (reason <= 1) {
        interruption = take(in, 4) | 0x80000000;
    }
    guest_exit(f, reason, qualification, take(in, 4), interruption);
}

void second_stage_fault(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t qualification;

    if (flip(in)) {
        f->l2gpa = new_value(in, f->l2gpa, addresses, ADDRESSES) &
                   ((UINT64_C(1) << 48) - 1);
    }
    qualification = take(in, 2);
    guest_exit(f,
               (qualification & 0x8000) != 0 ? NVIRT_VMX_EXIT_SPP_EVENT
                                             : NVIRT_VMX_EXIT_EPT_VIOLATION,
               qualification & 0x7fff, 0, 0);
}

void vmfunc(struct fuzz *f)
{
    f->w.gprs.r[NVIRT_RAX] = u8(&f->in) / 64u;
    f->w.gprs.r[NVIRT_RCX] = choose(&f->in, 4) == 0 ? take(&f->in, 2) : choose(&f->in, 2);
    guest_exit(f, f->w.v->level == 2 ? NVIRT_VMX_EXIT_VMFUNC : NVIRT_VMX_EXIT_CPUID, 0, 0, 0);
}

void msr_access(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t value = new_value(in, 0x500, addresses, ADDRESSES);

    f->w.gprs.r[NVIRT_RCX] = msrs[choose(in, MSRS)];
    f->w.gprs.r[NVIRT_RAX] = value & 0xffffffff;
    f->w.gprs.r[NVIRT_RDX] = value >> 32;
    guest_exit(f, flip(in) ? NVIRT_VMX_EXIT_RDMSR : NVIRT_VMX_EXIT_WRMSR, 0, 1, 0);
}
