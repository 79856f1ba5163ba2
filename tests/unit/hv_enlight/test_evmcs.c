/* SPDX-License-Identifier: MIT */
/*
 * The enlightened VMCS [TLFS "Enlightened VMCS (Intel)"]: how it becomes current, what an entry
 * reads of it and what not, what an exit writes, and what L1 is offered beside it.
 */
#include "evmcs_world.h"

/* ---- the layout ---- */

/* [TLFS "HV_VMX_ENLIGHTENED_VMCS"], as it stands there: names and order, padded as C does. */
struct layout {
    uint32_t version, abort_indicator;
    uint16_t host_es, host_cs, host_ss, host_ds, host_fs, host_gs, host_tr;
    uint64_t host_pat, host_efer, host_cr0, host_cr3, host_cr4;
    uint64_t host_sysenter_esp, host_sysenter_eip, host_rip;
    uint32_t host_sysenter_cs, pin, exit, proc2;
    uint64_t io_a, io_b, msr_bitmap;
    uint16_t selector[8];
    uint32_t limit[10], ar[8];
    uint64_t base[10], reserved1[3];
    uint64_t store_addr, load_addr, entry_load_addr, target[4];
    uint32_t pfec_mask, pfec_match, targets, store_count, load_count, entry_load_count;
    uint64_t tsc_offset, virtual_apic, link, debugctl, pat, efer, pdpte[4];
    uint64_t pending_debug, sysenter_esp, sysenter_eip;
    uint32_t activity, sysenter_cs;
    uint64_t cr0_mask, cr4_mask, cr0_shadow, cr4_shadow, cr0, cr3, cr4, dr7;
    uint64_t host_fs_base, host_gs_base, host_tr_base, host_gdtr, host_idtr, host_rsp, ept_root;
    uint16_t vpid, reserved2[3];
    uint64_t reserved3[5], fault_gpa;
    uint32_t error, reason, interruption, exception_error, vectoring, vectoring_error, length, info;
    uint64_t qualification, io_ecx, io_esi, io_edi, io_eip, linear, rsp, rflags;
    uint32_t interruptibility, proc, exceptions, entry, entry_info, entry_error, entry_length, tpr;
    uint64_t rip;
    uint32_t clean, reserved4, synthetic, enlightenments, vp_id;
    uint64_t vm_id, partition_assist, reserved5[4], bndcfgs, reserved6[7], xss, encls, reserved7[6];
};

#define AT(member, NAME)                                                                           \
    { offsetof(struct layout, member), NVIRT_VMCS_##NAME, sizeof(((struct layout *)0)->member) }

static const struct {
    size_t offset;
    enum nvirt_vmcs_field field;
    size_t bytes;
} places[] = {
    AT(host_es, HOST_ES_SELECTOR),
    AT(host_tr, HOST_TR_SELECTOR),
    AT(host_pat, HOST_PAT),
    AT(host_cr4, HOST_CR4),
    AT(host_rip, HOST_RIP),
    AT(host_sysenter_cs, HOST_SYSENTER_CS),
    AT(pin, PIN_CONTROLS),
    AT(exit, EXIT_CONTROLS),
    AT(proc2, PROC2_CONTROLS),
    AT(io_a, IO_BITMAP_A),
    AT(msr_bitmap, MSR_BITMAP),
    AT(selector[0], GUEST_ES_SELECTOR),
    AT(selector[7], GUEST_TR_SELECTOR),
    AT(limit[9], GUEST_IDTR_LIMIT),
    AT(ar[0], GUEST_ES_AR),
    AT(base[9], GUEST_IDTR_BASE),
    AT(store_addr, EXIT_MSR_STORE_ADDR),
    AT(target[3], CR3_TARGET3),
    AT(entry_load_count, ENTRY_MSR_LOAD_COUNT),
    AT(tsc_offset, TSC_OFFSET),
    AT(link, VMCS_LINK),
    AT(efer, GUEST_EFER),
    AT(pdpte[3], GUEST_PDPTE3),
    AT(sysenter_eip, GUEST_SYSENTER_EIP),
    AT(activity, GUEST_ACTIVITY),
    AT(sysenter_cs, GUEST_SYSENTER_CS),
    AT(cr0_mask, CR0_MASK),
    AT(dr7, GUEST_DR7),
    AT(host_idtr, HOST_IDTR_BASE),
    AT(host_rsp, HOST_RSP),
    AT(ept_root, EPTP),
    AT(vpid, VPID),
    AT(fault_gpa, GUEST_PHYSICAL),
    AT(error, VM_INSTRUCTION_ERROR),
    AT(reason, EXIT_REASON),
    AT(info, EXIT_INSN_INFO),
    AT(qualification, EXIT_QUALIFICATION),
    AT(io_eip, IO_RIP),
    AT(linear, GUEST_LINEAR),
    AT(rflags, GUEST_RFLAGS),
    AT(interruptibility, GUEST_INTERRUPTIBILITY),
    AT(proc, PROC_CONTROLS),
    AT(exceptions, EXCEPTION_BITMAP),
    AT(entry, ENTRY_CONTROLS),
    AT(entry_length, ENTRY_INSN_LENGTH),
    AT(tpr, TPR_THRESHOLD),
    AT(rip, GUEST_RIP),
    AT(bndcfgs, GUEST_BNDCFGS),
    AT(xss, XSS_EXIT_BITMAP),
    AT(encls, ENCLS_EXIT_BITMAP),
};

/* [TLFS "HV_VMX_ENLIGHTENED_VMCS"] */
static void each_field_is_where_the_tlfs_has_it(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct layout), 1024);
    assert_int_equal(offsetof(struct layout, clean), EVMCS_CLEAN);
    assert_int_equal(offsetof(struct layout, enlightenments), EVMCS_CONTROL);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct evmcs_row *row = evmcs_row(places[i].field);

        assert_non_null(row);
        assert_int_equal(row->offset, places[i].offset);
        assert_int_equal(evmcs_bytes(row->field), places[i].bytes);
    }
}

/* Between the fields there is padding, and what has no encoding; nothing overlaps. */
static void fields_are_in_order_and_do_not_overlap(void **state)
{
    (void)state;
    for (size_t i = 1; i < evmcs_row_count; i++) {
        assert_true(evmcs_rows[i].offset >=
                    evmcs_rows[i - 1].offset + evmcs_bytes(evmcs_rows[i - 1].field));
    }
}

/* ---- which VMCS an entry is about ---- */

/* The VP assist page says so; no VMPTRLD is needed. */
static void it_is_current_because_the_assist_page_says_so(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP);
    assert_int_equal(w->v->stats.enlightened_entries, 1);
}

static void without_the_assist_page_or_its_word_the_ordinary_one_is_meant(void **state)
{
    struct world *w = *state;

    ready_to_launch(w);
    w->v->vmcs12.guest_rip = 0x4440;
    fake_vm_put64(w->port, ASSIST + 48, EVMCS);
    evmcs_launch(w); /* EnlightenVmEntry is 0. */
    assert_int_equal(GET2(w, GUEST_RIP), 0x4440);
    l2_cpuid(w);
    evmcs_enlighten(w, EVMCS);
    q.vp.assist_page = ASSIST; /* Not enabled. */
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(w->v->stats.enlightened_entries, 0);
}

/* An offer that has none: the page says what it likes. */
static void who_is_not_offered_one_has_none(void **state)
{
    struct world *w = *state;

    q.vp.offer &= ~NVIRT_HV_OFFER_EVMCS;
    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    expect_vmfail_invalid(w);
}

/* What VMPTRLD demands of its operand [SDM 3C "VMPTRLD"], and the version. */
static void what_is_no_enlightened_vmcs_is_refused(void **state)
{
    struct world *w = *state;
    const uint64_t bad[] = { EVMCS + 8, UINT64_C(1) << 40, VMXON_REGION, L1_RAM, ~UINT64_C(0) };

    vmxon(w);
    evmcs_fill(w, EVMCS);
    fake_vm_put64(w->port, EVMCS + 8, 1);
    fake_vm_ram(w->port, UINT64_C(1) << 40, 0x1000);
    fake_vm_put64(w->port, UINT64_C(1) << 40, 1);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        evmcs_enlighten(w, bad[i]);
        evmcs_launch(w);
        assert_int_equal(nvirt_vmx_level(w->v), 1);
        expect_vmfail_invalid(w);
    }
    evmcs_enlighten(w, EVMCS);
    fake_vm_put32(w->port, EVMCS, 2);
    evmcs_launch(w);
    expect_vmfail_invalid(w);
    assert_int_equal(w->v->stats.entries_refused, 6);
}

/* Not even with the one that was current before. */
static void a_refused_one_leaves_none_current(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    evmcs_enlighten_only(w, VMXON_REGION);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail_invalid(w);
}

/* [SDM 3C "Checks on Guest Non-Register State"]: the link pointer is not the current VMCS. */
static void it_may_not_be_linked_to_itself(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    fake_vm_put32(w->port, EVMCS, revision12(w));
    evmcs_put(w, EVMCS, NVIRT_VMCS_VMCS_LINK, EVMCS);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_QUALIFICATION),
                     NVIRT_VMX_ENTRY_FAIL_VMCS_LINK);
}

/* Hyper-V writes the identifier of IA32_VMX_BASIC where the version belongs. */
static void hyper_vs_own_version_is_taken(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    fake_vm_put32(w->port, EVMCS, revision12(w));
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* A page that only reads: what an exit saves has nowhere to go. */
static void a_page_that_cannot_be_written_is_refused(void **state)
{
    struct world *w = *state;
    const struct fake_region_l1 rom = { .start = EVMCS,
                                        .bytes = 0x1000,
                                        .hpa = FAKE_VM_HPA_OFFSET + EVMCS,
                                        .block = 0x1000,
                                        .rights = NVIRT_ACCESS_READ,
                                        .memory_type = NVIRT_MEMORY_WB };

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    fake_vm_region(w->port, &rom);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    expect_vmfail_invalid(w);
}

/* [TLFS "Enlightened VMCS (Intel)"]: VMREAD and VMWRITE are not for it. VMPTRST has nothing to
 * store. */
static void vmread_vmwrite_and_vmptrst_know_nothing_of_it(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    (void)READ12(w, GUEST_RIP);
    expect_vmfail_invalid(w);
    WRITE12(w, GUEST_RIP, 0x1234);
    expect_vmfail_invalid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMPTRST, INFO_PLAIN);
    assert_true(fake_vm_get64(w->port, OPERAND) == NVI_NO_VMCS);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP);
}

/* There is no launch state in the layout: what matters is which of the two reads everything. */
static void both_instructions_enter(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    evmcs_l2_cpuid(w);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    evmcs_l2_cpuid(w);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
}

/* [SDM 3C "VMLAUNCH/VMRESUME"]: the error is where L1 looks for it. */
static void a_vmfail_is_told_in_the_page(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PIN_CONTROLS, 0);
    evmcs_launch(w);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_VM_INSTRUCTION_ERROR),
                     NVIRT_VMX_ERR_ENTRY_CONTROLS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PIN_CONTROLS, 0x16);
    SET1(w, GUEST_INTERRUPTIBILITY, NVIRT_VMX_BLOCK_MOV_SS);
    evmcs_launch(w);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_VM_INSTRUCTION_ERROR),
                     NVIRT_VMX_ERR_ENTRY_MOV_SS);
}

/* [SDM 3C "VM-Entry Failures During or After Loading Guest State"]: reason and qualification, no
 * more. */
static void a_failed_entry_is_told_in_the_page(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_RFLAGS, 0);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(GET1(w, GUEST_RIP), L1_EXIT_RIP);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_REASON),
                     NVIRT_VMX_REASON_ENTRY_FAILURE | NVIRT_VMX_EXIT_ENTRY_GUEST_STATE);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_RFLAGS), 0);
}

/* VMCLEAR makes it inactive and leaves the page alone, known to be enlightened or not: where a
 * region has its launch state, an enlightened VMCS has host selectors. */
static void vmclear_leaves_the_page_as_it_is(void **state)
{
    struct world *w = *state;
    uint64_t before = 0;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    for (unsigned i = 0; i < 2; i++) {
        evmcs_launch(w);
        evmcs_l2_cpuid(w);
        before = fake_vm_get64(w->port, EVMCS + 8);
        assert_true(before != 0);
        l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, EVMCS);
        expect_success(w);
        assert_int_equal(w->v->vmx.enlightened == NVI_NO_VMCS, 1);
        assert_true(fake_vm_get64(w->port, EVMCS + 8) == before);
        l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, EVMCS); /* Inactive now. */
        assert_true(fake_vm_get64(w->port, EVMCS + 8) == before);
    }
    /* One that L1 does not use them for is an ordinary region. */
    evmcs_enlighten(w, 0);
    fake_vm_put64(w->port, ASSIST + 40, 0);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, EVMCS);
    assert_true(fake_vm_get64(w->port, EVMCS + 8) != before);
}

/* After VMCLEAR it is not active: the next entry takes it all, whatever is called clean. */
static void vmclear_forgets_what_was_read(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMCLEAR, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CR3, 0x77000);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_CR3), 0x77000);
}

/* Each has its own contents, as regions have. */
static void two_of_them_are_kept_apart(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    evmcs_fill(w, EVMCS_B);
    evmcs_put(w, EVMCS_B, NVIRT_VMCS_GUEST_RIP, 0xb000);
    evmcs_put(w, EVMCS_B, NVIRT_VMCS_GUEST_CR3, 0xb0000);
    evmcs_enlighten_only(w, EVMCS_B);
    evmcs_launch(w);
    assert_int_equal(GET2(w, GUEST_RIP), 0xb000);
    evmcs_l2_cpuid(w);
    evmcs_enlighten_only(w, EVMCS);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP);
    assert_int_equal(GET2(w, GUEST_CR3), 0x50000);
    assert_int_equal(evmcs_get(w, EVMCS_B, NVIRT_VMCS_GUEST_CR3), 0xb0000);
}

/* A fifth has no place: one gives way, and is read whole when it comes again. */
static void more_of_them_than_places_are_read_anew(void **state)
{
    struct world *w = *state;

    vmxon(w);
    for (uint64_t i = 0; i < NVI_VMX_PAIRS + 1; i++) {
        evmcs_enlighten(w, EVMCS + i * 0x1000);
        evmcs_put(w, EVMCS + i * 0x1000, NVIRT_VMCS_GUEST_CR3, 0x50000 + (i << 12));
        evmcs_launch(w);
        evmcs_l2_cpuid(w);
    }
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_enlighten_only(w, EVMCS);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_CR3), 0x50000);
}

/* VMPTRLD of an ordinary one, and entries of both in turn. */
static void ordinary_and_enlightened_ones_take_turns(void **state)
{
    struct world *w = *state;

    launch_l2(w);
    l2_cpuid(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_RIP, 0xe000);
    evmcs_launch(w);
    assert_int_equal(GET2(w, GUEST_RIP), 0xe000);
    evmcs_l2_cpuid(w);
    fake_vm_put64(w->port, ASSIST + 40, 0);
    evmcs_resume(w); /* No VMPTRLD since. */
    expect_vmfail_invalid(w);
    l1_pointer(w, NVIRT_VMX_EXIT_VMPTRLD, VMCS12);
    expect_success(w);
    assert_int_equal(READ12(w, EXIT_REASON), NVIRT_VMX_EXIT_CPUID);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    assert_int_equal(GET2(w, GUEST_RIP), L2_RIP);
}

/* A page has one layout: what was known of it as the other kind is gone. */
static void a_page_of_the_other_kind_is_not_written_back_over_it(void **state)
{
    struct world *w = *state;

    ready_to_launch(w); /* VMCS12 is active. */
    evmcs_enlighten(w, VMCS12);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    evmcs_l2_cpuid(w);
    l1_insn(w, NVIRT_VMX_EXIT_VMXOFF, 0);
    assert_int_equal(evmcs_get(w, VMCS12, NVIRT_VMCS_HOST_RIP), L1_EXIT_RIP);
}

/* ---- clean fields ---- */

/* The clean field of each row [TLFS "HV_VMX_ENLIGHTENED_VMCS", "Physical VMCS Encoding"]: with
 * its bit set a change is not seen, without it is, and a field that has none is always read. */
static void each_field_is_read_unless_it_is_called_clean(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    for (size_t i = 0; i < evmcs_row_count; i++) {
        const struct evmcs_row *row = &evmcs_rows[i];
        uint64_t before;

        if (nvirt_vmcs_field_kind(row->field) == NVIRT_VMCS_KIND_EXIT)
            continue;
        before = evmcs_get(w, EVMCS, row->field);
        evmcs_put(w, EVMCS, row->field, before ^ 0x40);
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
        assert_int_equal(nvi_evmcs_begin(w->v, false), NVI_EVMCS_CURRENT);
        assert_int_equal(w->v->vmcs12.field[row->field],
                         row->clean == 0 ? before ^ 0x40 : before);
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff & ~row->clean);
        assert_int_equal(nvi_evmcs_begin(w->v, false), NVI_EVMCS_CURRENT);
        assert_int_equal(w->v->vmcs12.field[row->field], before ^ 0x40);
        evmcs_put(w, EVMCS, row->field, before);
        assert_int_equal(nvi_evmcs_begin(w->v, false), NVI_EVMCS_CURRENT);
        assert_int_equal(w->v->vmcs12.field[row->field], before);
    }
}

/* Reading is counted, and so is what was left out; fields without a clean bit stay to be read. */
static void what_is_clean_is_not_read_and_counted(void **state)
{
    struct world *w = *state;
    uint64_t read;
    uint64_t all;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0);
    read = w->v->stats.bytes_read;
    evmcs_resume(w);
    all = w->v->stats.bytes_read - read;
    assert_int_equal(w->v->stats.groups_clean, 0);
    evmcs_l2_cpuid(w);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    read = w->v->stats.bytes_read;
    evmcs_resume(w);
    assert_int_equal(w->v->stats.groups_clean, 15);
    assert_true(w->v->stats.bytes_read - read < all / 3);
}

/* VMLAUNCH, and the first entry of all, believe nothing. */
static void vmlaunch_reads_everything(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_int_equal(GET2(w, GUEST_CR3), 0x50000);
    evmcs_l2_cpuid(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_CR3, 0x51000);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_launch(w);
    assert_int_equal(GET2(w, GUEST_CR3), 0x51000);
}

/* What did not change is not looked at by the checks, and not written to hardware. */
static void an_entry_with_nothing_changed_writes_little(void **state)
{
    struct world *w = *state;
    uint64_t before;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    for (unsigned i = 0; i < 3; i++) {
        evmcs_l2_cpuid(w);
        fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
        prepare(w);
        before = w->v->stats.vmwrites;
        exit_with(w, NVIRT_VMX_EXIT_VMRESUME, 0, 0);
        assert_int_equal(w->v->now->changed, 0);
        prepare(w);
    }
    assert_true(w->v->stats.vmwrites - before < 8);
}

/* A lie hurts L1 alone: what stands is what passed the checks, not what is in memory. */
static void a_lie_about_clean_fields_reaches_nothing_unchecked(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    evmcs_l2_cpuid(w);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PIN_CONTROLS, 0xffffffff);
    evmcs_put(w, EVMCS, NVIRT_VMCS_HOST_CR0, 0xffffffff);
    fake_vm_put32(w->port, EVMCS + EVMCS_CLEAN, 0xffff);
    evmcs_resume(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    prepare(w);
    assert_int_equal(w->v->vmcs12.pin_controls, 0x16);
    assert_int_equal(w->v->vmcs12.host_cr0, 0x80010031);
}

/* ---- what an exit writes ---- */

static void an_exit_saves_l2_and_tells_why(void **state)
{
    struct world *w = *state;
    const struct fake_set set[] = {
        { 0x4402, NVIRT_VMX_EXIT_HLT }, { 0x440c, 1 },       { 0x4408, 0 },    { 0x681e, 0x9123 },
        { 0x681c, 0xa123 },             { 0x6820, 0x46 },    { 0x6802, 0x99000 },
        { 0x0802, 0x28 },               { 0x4816, 0xa09b },  { 0x6808, 0x4000 }, { 0x681a, 0x401 },
        { 0x2804, 0x0007040600070401 }, { 0x6824, 0x7777 },
    };

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    run_to(w, set, sizeof set / sizeof set[0]);
    assert_int_equal(nvirt_vmx_level(w->v), 1);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_REASON), NVIRT_VMX_EXIT_HLT);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_INSN_LENGTH), 1);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_RIP), 0x9123);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_RSP), 0xa123);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_RFLAGS), 0x46);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_CR3), 0x99000);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_CS_SELECTOR), 0x28);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_CS_BASE), 0x4000);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_DR7), 0x401);
    assert_true(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_PAT) == 0x0007040600070401);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_SYSENTER_ESP), 0x7777);
    assert_int_equal(GET1(w, GUEST_RIP), L1_EXIT_RIP);
}

/* Host state, controls, the link pointer and the enlightenments are L1's alone. */
static void an_exit_writes_nothing_else(void **state)
{
    struct world *w = *state;
    uint8_t before[4096];
    uint8_t after[4096];

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_launch(w);
    /* L1's memory is L1's: another of its processors may write meanwhile. */
    memset(before, 0x5a, sizeof before);
    assert_int_equal(nvirt_port_l1_write(w->port, nvirt_l1gpa_make(EVMCS), before, sizeof before),
                     NVIRT_OK);
    evmcs_l2_cpuid(w);
    assert_int_equal(nvirt_port_l1_read(w->port, nvirt_l1gpa_make(EVMCS), after, sizeof after),
                     NVIRT_OK);
    for (size_t i = 0; i < evmcs_row_count; i++) {
        const struct evmcs_row *row = &evmcs_rows[i];
        enum nvirt_vmcs_kind kind = nvirt_vmcs_field_kind(row->field);

        if ((kind == NVIRT_VMCS_KIND_GUEST && row->field != NVIRT_VMCS_VMCS_LINK) ||
            kind == NVIRT_VMCS_KIND_EXIT || row->field == NVIRT_VMCS_ENTRY_CONTROLS ||
            row->field == NVIRT_VMCS_ENTRY_INTERRUPTION)
            memcpy(after + row->offset, before + row->offset, evmcs_bytes(row->field));
    }
    assert_memory_equal(before, after, sizeof before);
}

/* [SDM 3C "Recording VM-Exit Information and Updating VM-entry Control Fields"] */
static void an_exit_takes_the_injected_event_back(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_ENTRY_INTERRUPTION, 0x80000020);
    evmcs_put(w, EVMCS, NVIRT_VMCS_GUEST_RFLAGS, 0x202);
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    evmcs_l2_cpuid(w);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_ENTRY_INTERRUPTION) & 0x80000000, 0);
}

/* [SDM 3C "VMX Aborts"]: the indicator is in the second word. */
static void an_abort_is_told_in_the_page(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_EXIT_MSR_LOAD_ADDR, MSR_LIST);
    evmcs_put(w, EVMCS, NVIRT_VMCS_EXIT_MSR_LOAD_COUNT, 1);
    fake_vm_put64(w->port, MSR_LIST, 0xc0000100); /* IA32_FS_BASE is not to be loaded so. */
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1_SHUTDOWN);
    assert_int_equal(fake_vm_get64(w->port, EVMCS) >> 32, NVIRT_VMX_ABORT_LOAD_MSR);
}

/* [SDM 3C "VMX Aborts"]: the exit was recorded and L2's state saved before the MSRs are stored. */
static void an_abort_while_msrs_are_stored_leaves_the_exit_in_the_page(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_EXIT_MSR_STORE_ADDR, MSR_LIST);
    evmcs_put(w, EVMCS, NVIRT_VMCS_EXIT_MSR_STORE_COUNT, 1);
    fake_vm_put64(w->port, MSR_LIST, 0x802); /* An x2APIC MSR is not to be stored so. */
    evmcs_launch(w);
    assert_int_equal(nvirt_vmx_level(w->v), 2);
    exit_with(w, NVIRT_VMX_EXIT_CPUID, 0, 0);
    assert_int_equal(w->exit.verdict, NVIRT_VERDICT_L1_SHUTDOWN);
    assert_int_equal(fake_vm_get64(w->port, EVMCS) >> 32, NVIRT_VMX_ABORT_SAVE_MSR);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_EXIT_REASON), NVIRT_VMX_EXIT_CPUID);
    assert_int_equal(evmcs_get(w, EVMCS, NVIRT_VMCS_GUEST_RIP),
                     w->v->vmcs12.field[NVIRT_VMCS_GUEST_RIP]);
}

/* ---- hostile memory ---- */

/* The page changes behind every read: an entry reads each field once, and checks what it uses. */
static void each_field_is_read_once(void **state)
{
    struct world *w = *state;
    uint64_t before;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    before = w->v->stats.bytes_read;
    evmcs_launch(w);
    before = w->v->stats.bytes_read - before;
    for (size_t i = 0; i < evmcs_row_count; i++) {
        if (nvirt_vmcs_field_kind(evmcs_rows[i].field) != NVIRT_VMCS_KIND_EXIT)
            before -= evmcs_bytes(evmcs_rows[i].field);
    }
    /* Beside them: the assist page's three words, the version, the clean fields, the
     * enlightenments. */
    assert_int_equal(before, 24 + 4 + 4 + 4);
}

/* ---- what L1 is offered beside it ---- */

/* [TLFS "Hypervisor Implementation Considerations"]: no support is announced for a field that an
 * enlightened VMCS has no place for. */
static void what_it_has_no_field_for_is_not_offered(void **state)
{
    struct world *w = *state;
    struct nvirt_vmx_caps *offer = &w->v->offer;

    for (uint32_t i = 0; i < NVIRT_VMCS_FIELD_COUNT; i++) {
        enum nvirt_vmcs_field field = (enum nvirt_vmcs_field)i;
        bool unconditional = field == NVIRT_VMCS_EXECUTIVE_VMCS || field == NVIRT_VMCS_GUEST_SMBASE;

        if (nvirt_vmcs_field_exists(offer, field) && !unconditional)
            assert_non_null(evmcs_row(field));
    }
    assert_true(nvirt_vmcs_field_exists(&w->offer, NVIRT_VMCS_GUEST_PREEMPTION_TIMER));
    assert_false(nvirt_vmcs_field_exists(offer, NVIRT_VMCS_GUEST_PREEMPTION_TIMER));
    assert_int_equal((offer->exit >> 32) & NVIRT_VMX_EXIT_CTL_SAVE_PREEMPTION_TIMER, 0);
    assert_int_equal(offer->vmfunc, 0);
    assert_true(nvirt_vmcs_field_exists(offer, NVIRT_VMCS_EPTP));
    assert_true(nvirt_vmcs_field_exists(offer, NVIRT_VMCS_VPID));
    assert_int_equal(offer->pin >> 32, offer->true_pin >> 32);
    assert_int_equal(offer->proc >> 32, offer->true_proc >> 32);
    assert_int_equal(offer->exit >> 32, offer->true_exit >> 32);
    assert_int_equal(offer->entry >> 32, offer->true_entry >> 32);
}

/* A control that is not offered is refused, in an enlightened VMCS as in any. */
static void a_control_that_is_not_offered_fails_the_entry(void **state)
{
    struct world *w = *state;

    vmxon(w);
    evmcs_enlighten(w, EVMCS);
    evmcs_put(w, EVMCS, NVIRT_VMCS_PIN_CONTROLS, 0x16 | NVIRT_VMX_PIN_PREEMPTION_TIMER);
    evmcs_launch(w);
    expect_vmfail(w, NVIRT_VMX_ERR_ENTRY_CONTROLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_EVMCS(each_field_is_where_the_tlfs_has_it),
        TEST_EVMCS(fields_are_in_order_and_do_not_overlap),
        TEST_EVMCS(it_is_current_because_the_assist_page_says_so),
        TEST_EVMCS(without_the_assist_page_or_its_word_the_ordinary_one_is_meant),
        TEST_EVMCS(who_is_not_offered_one_has_none),
        TEST_EVMCS(what_is_no_enlightened_vmcs_is_refused),
        TEST_EVMCS(a_refused_one_leaves_none_current),
        TEST_EVMCS(it_may_not_be_linked_to_itself),
        TEST_EVMCS(hyper_vs_own_version_is_taken),
        TEST_EVMCS(a_page_that_cannot_be_written_is_refused),
        TEST_EVMCS(vmread_vmwrite_and_vmptrst_know_nothing_of_it),
        TEST_EVMCS(both_instructions_enter),
        TEST_EVMCS(a_vmfail_is_told_in_the_page),
        TEST_EVMCS(a_failed_entry_is_told_in_the_page),
        TEST_EVMCS(vmclear_leaves_the_page_as_it_is),
        TEST_EVMCS(vmclear_forgets_what_was_read),
        TEST_EVMCS(two_of_them_are_kept_apart),
        TEST_EVMCS(more_of_them_than_places_are_read_anew),
        TEST_EVMCS(ordinary_and_enlightened_ones_take_turns),
        TEST_EVMCS(a_page_of_the_other_kind_is_not_written_back_over_it),
        TEST_EVMCS(each_field_is_read_unless_it_is_called_clean),
        TEST_EVMCS(what_is_clean_is_not_read_and_counted),
        TEST_EVMCS(vmlaunch_reads_everything),
        TEST_EVMCS(an_entry_with_nothing_changed_writes_little),
        TEST_EVMCS(a_lie_about_clean_fields_reaches_nothing_unchecked),
        TEST_EVMCS(an_exit_saves_l2_and_tells_why),
        TEST_EVMCS(an_exit_writes_nothing_else),
        TEST_EVMCS(an_exit_takes_the_injected_event_back),
        TEST_EVMCS(an_abort_is_told_in_the_page),
        TEST_EVMCS(an_abort_while_msrs_are_stored_leaves_the_exit_in_the_page),
        TEST_EVMCS(each_field_is_read_once),
        TEST_EVMCS(what_it_has_no_field_for_is_not_offered),
        TEST_EVMCS(a_control_that_is_not_offered_fails_the_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
