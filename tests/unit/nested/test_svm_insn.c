/* SPDX-License-Identifier: MIT */
/*
 * Lengths of intercepted instructions: by their bytes where the CPU has no NRIPS, fetched through
 * L1's tables or through L2's and NPT12. Bytes that are another instruction by now have no length.
 */
#include "svm_world.h"

struct sample {
    uint64_t code;
    uint8_t bits;
    uint8_t length; /* 0: must be refused */
    uint8_t address_bits;
    uint8_t bytes[16];
};

static const struct sample samples[] = {
    {NVIRT_SVM_EXIT_VMRUN, 64, 3, 64, {0x0f, 0x01, 0xd8}},
    {NVIRT_SVM_EXIT_VMMCALL, 64, 3, 64, {0x0f, 0x01, 0xd9}},
    {NVIRT_SVM_EXIT_VMLOAD, 64, 4, 32, {0x67, 0x0f, 0x01, 0xda}},
    {NVIRT_SVM_EXIT_VMSAVE, 32, 3, 32, {0x0f, 0x01, 0xdb}},
    {NVIRT_SVM_EXIT_VMSAVE, 32, 4, 16, {0x67, 0x0f, 0x01, 0xdb}},
    {NVIRT_SVM_EXIT_STGI, 16, 3, 16, {0x0f, 0x01, 0xdc}},
    {NVIRT_SVM_EXIT_CLGI, 16, 4, 32, {0x67, 0x0f, 0x01, 0xdd}},
    {NVIRT_SVM_EXIT_SKINIT, 64, 3, 64, {0x0f, 0x01, 0xde}},
    {NVIRT_SVM_EXIT_INVLPGA, 64, 5, 64, {0x66, 0x48, 0x0f, 0x01, 0xdf}},
    {NVIRT_SVM_EXIT_CPUID, 64, 2, 64, {0x0f, 0xa2}},
    {NVIRT_SVM_EXIT_HLT, 64, 1, 64, {0xf4}},
    {NVIRT_SVM_EXIT_MSR, 64, 2, 64, {0x0f, 0x30}},
    {NVIRT_SVM_EXIT_MSR, 64, 2, 64, {0x0f, 0x32}},
    {NVIRT_SVM_EXIT_RDTSC, 64, 2, 64, {0x0f, 0x31}},
    {NVIRT_SVM_EXIT_RDTSCP, 64, 3, 64, {0x0f, 0x01, 0xf9}},
    {NVIRT_SVM_EXIT_RDPMC, 64, 2, 64, {0x0f, 0x33}},
    {NVIRT_SVM_EXIT_INVD, 64, 2, 64, {0x0f, 0x08}},
    {NVIRT_SVM_EXIT_WBINVD, 64, 3, 64, {0xf3, 0x0f, 0x09}},
    {NVIRT_SVM_EXIT_PAUSE, 64, 2, 64, {0xf3, 0x90}},
    {NVIRT_SVM_EXIT_MONITOR, 64, 3, 64, {0x0f, 0x01, 0xc8}},
    {NVIRT_SVM_EXIT_MWAIT, 64, 3, 64, {0x0f, 0x01, 0xc9}},
    {NVIRT_SVM_EXIT_XSETBV, 64, 3, 64, {0x0f, 0x01, 0xd1}},
    {NVIRT_SVM_EXIT_RSM, 64, 2, 64, {0x0f, 0xaa}},
    {NVIRT_SVM_EXIT_PUSHF, 64, 1, 64, {0x9c}},
    {NVIRT_SVM_EXIT_POPF, 64, 2, 64, {0x66, 0x9d}},
    {NVIRT_SVM_EXIT_IRET, 64, 2, 64, {0x48, 0xcf}},
    {NVIRT_SVM_EXIT_SWINT, 64, 2, 64, {0xcd, 0x80}},
    {NVIRT_SVM_EXIT_ICEBP, 64, 1, 64, {0xf1}},
    {NVIRT_SVM_EXIT_CR0_READ, 64, 3, 64, {0x0f, 0x20, 0xc0}},
    {NVIRT_SVM_EXIT_CR8_READ, 32, 4, 32, {0xf0, 0x0f, 0x20, 0xc0}},
    {NVIRT_SVM_EXIT_CR8_WRITE, 64, 4, 64, {0x44, 0x0f, 0x22, 0xc0}},
    {NVIRT_SVM_EXIT_CR0_WRITE, 64, 2, 64, {0x0f, 0x06}},
    {NVIRT_SVM_EXIT_CR0_WRITE, 64, 3, 64, {0x0f, 0x01, 0xf0}},
    {NVIRT_SVM_EXIT_CR0_READ, 64, 3, 64, {0x0f, 0x01, 0xe0}},
    {NVIRT_SVM_EXIT_DR0_READ + 7, 64, 3, 64, {0x0f, 0x21, 0xf8}},
    {NVIRT_SVM_EXIT_DR0_WRITE, 64, 3, 64, {0x0f, 0x23, 0xc0}},
    /* memory operands: mod and SIB forms, both address sizes */
    {NVIRT_SVM_EXIT_INVLPG, 64, 3, 64, {0x0f, 0x01, 0x38}},
    {NVIRT_SVM_EXIT_INVLPG, 64, 7, 64, {0x0f, 0x01, 0x3d, 1, 2, 3, 4}},
    {NVIRT_SVM_EXIT_INVLPG, 64, 4, 64, {0x0f, 0x01, 0x3c, 0x24}},
    {NVIRT_SVM_EXIT_INVLPG, 64, 8, 64, {0x0f, 0x01, 0x3c, 0x25, 1, 2, 3, 4}},
    {NVIRT_SVM_EXIT_INVLPG, 64, 4, 64, {0x0f, 0x01, 0x78, 8}},
    {NVIRT_SVM_EXIT_INVLPG, 64, 5, 64, {0x0f, 0x01, 0x7c, 0x24, 8}},
    {NVIRT_SVM_EXIT_INVLPG, 64, 7, 64, {0x0f, 0x01, 0xb8, 1, 2, 3, 4}},
    {NVIRT_SVM_EXIT_INVLPG, 16, 3, 16, {0x0f, 0x01, 0x38}},
    {NVIRT_SVM_EXIT_INVLPG, 16, 5, 16, {0x0f, 0x01, 0x3e, 1, 2}},
    {NVIRT_SVM_EXIT_INVLPG, 16, 4, 16, {0x0f, 0x01, 0x78, 1}},
    {NVIRT_SVM_EXIT_INVLPG, 16, 5, 16, {0x0f, 0x01, 0xb8, 1, 2}},
    {NVIRT_SVM_EXIT_INVPCID, 64, 5, 64, {0x66, 0x0f, 0x38, 0x82, 0x01}},
    {NVIRT_SVM_EXIT_IDTR_WRITE, 64, 3, 64, {0x0f, 0x01, 0x18}},
    {NVIRT_SVM_EXIT_GDTR_READ, 64, 3, 64, {0x0f, 0x01, 0x00}},
    {NVIRT_SVM_EXIT_LDTR_READ, 64, 3, 64, {0x0f, 0x00, 0xc0}},
    {NVIRT_SVM_EXIT_TR_WRITE, 64, 3, 64, {0x0f, 0x00, 0x18}},
    /* as long as an instruction can be */
    {NVIRT_SVM_EXIT_HLT, 64, 15, 64,
     {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0xf4}},
    /* other instructions, and too little of the right one */
    {NVIRT_SVM_EXIT_HLT, 64, 0, 0,
     {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
      0xf4}},
    {NVIRT_SVM_EXIT_VMRUN, 64, 0, 0, {0x0f, 0x01, 0xd9}},
    {NVIRT_SVM_EXIT_CPUID, 64, 0, 0, {0x0f, 0xa3}},
    {NVIRT_SVM_EXIT_CPUID, 64, 0, 0, {0xa2}},
    {NVIRT_SVM_EXIT_CPUID, 32, 0, 0, {0x48, 0x0f, 0xa2}}, /* no REX outside 64-bit mode */
    {NVIRT_SVM_EXIT_CPUID, 64, 0, 0, {0x48, 0x66, 0x0f, 0xa2}}, /* REX not last */
    {NVIRT_SVM_EXIT_INVLPG, 64, 0, 0, {0x0f, 0x01, 0xf8}}, /* SWAPGS */
    {NVIRT_SVM_EXIT_INVLPG, 64, 0, 0, {0x0f, 0x01, 0x30}},
    {NVIRT_SVM_EXIT_IDTR_WRITE, 64, 0, 0, {0x0f, 0x01, 0xd8}},
    {NVIRT_SVM_EXIT_INVPCID, 64, 0, 0, {0x66, 0x0f, 0x38, 0x82, 0xc1}},
    {NVIRT_SVM_EXIT_INVPCID, 64, 0, 0, {0x66, 0x0f, 0x39, 0x82, 0x01}},
    {NVIRT_SVM_EXIT_TR_WRITE, 64, 0, 0, {0x0f, 0x00, 0xc0}},
    {NVIRT_SVM_EXIT_NPF, 64, 0, 0, {0x0f, 0xa2}},
    {NVIRT_SVM_EXIT_INTR, 64, 0, 0, {0xf4}},
};

static void instructions_have_their_lengths(void **state)
{
    struct nvi_svm_insn insn;

    (void)state;
    for (unsigned i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        const struct sample *s = &samples[i];
        bool known = nvi_svm_decode(s->bytes, sizeof s->bytes, s->bits, s->code, &insn);

        if (known != (s->length != 0) ||
            (known && (insn.length != s->length || insn.address_bits != s->address_bits))) {
            fail_msg("sample %u (code 0x%x): length %u, address %u", i, (unsigned)s->code,
                     known ? insn.length : 0u, known ? insn.address_bits : 0u);
        }
    }
}

/* Cut anywhere, no instruction is found and nothing is read beyond. */
static void cut_instructions_are_refused(void **state)
{
    struct nvi_svm_insn insn;

    (void)state;
    for (unsigned i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        const struct sample *s = &samples[i];

        for (uint32_t count = 0; count < s->length; count++) {
            uint8_t *exact = malloc(count != 0 ? count : 1);

            memcpy(exact, s->bytes, count);
            assert_false(nvi_svm_decode(exact, count, s->bits, s->code, &insn));
            free(exact);
        }
    }
}

/* ---- fetch ---- */

static const uint8_t cpuid_bytes[] = {0x0f, 0xa2};

static void expect_length(struct world *w, uint32_t length)
{
    uint32_t found = 0;

    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &found), NVIRT_OK);
    assert_int_equal(found, length);
}

static void code_is_fetched_through_l1s_tables(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, L1_PD + 8, 0x400000 | 0x87); /* linear 2 MiB: physical 4 MiB */
    fake_vm_put(w->port, 0x401234, cpuid_bytes, 2);
    w->vmcb01->rip = 0x201234;
    expect_length(w, 2);
    fake_vm_put64(w->port, L1_PD + 8, 0);
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_NO_MAPPING);
}

/* The page after the instruction is not needed, and not there. */
static void an_instruction_may_end_at_a_hole(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, L1_PD + 8, 0);
    fake_vm_put(w->port, 0x1ffffe, cpuid_bytes, 2);
    w->vmcb01->rip = 0x1ffffe;
    expect_length(w, 2);
    w->vmcb01->rip = 0x1fffff; /* its second byte is not there */
    fake_vm_put(w->port, 0x1fffff, cpuid_bytes, 1);
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_RANGE);
}

static void an_instruction_may_cross_pages(void **state)
{
    struct world *w = *state;

    fake_vm_put64(w->port, L1_PD + 8, 0x600000 | 0x87);
    fake_vm_put(w->port, 0x1fffff, cpuid_bytes, 1);
    fake_vm_put(w->port, 0x600000, cpuid_bytes + 1, 1);
    w->vmcb01->rip = 0x1fffff;
    fake_vm_log_reset(w->port);
    expect_length(w, 2);
    assert_int_equal(fake_vm_reads(w->port, 0x1fffff), 1);
    assert_int_equal(fake_vm_reads(w->port, 0x600000), 1);
}

static void user_code_must_be_a_user_page(void **state)
{
    struct world *w = *state;

    fake_vm_put(w->port, L1_RIP, cpuid_bytes, 2);
    w->vmcb01->cpl = 3;
    expect_length(w, 2);
    fake_vm_put64(w->port, L1_PD, 0x83);
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_NO_MAPPING);
}

static void real_mode_adds_the_segment_base(void **state)
{
    struct world *w = *state;

    w->vmcb01->cr0 = 0;
    w->vmcb01->efer = NVIRT_EFER_SVME;
    w->vmcb01->cs.attrib = 0x9b;
    w->vmcb01->cs.base = 0xf0000;
    w->vmcb01->rip = 0x123;
    fake_vm_put(w->port, 0xf0123, cpuid_bytes, 2);
    expect_length(w, 2);
    w->vmcb01->cs.base = 0xffff0000; /* wraps at 4 GiB */
    w->vmcb01->rip = 0x12345;
    fake_vm_put(w->port, 0x2345, cpuid_bytes, 2);
    expect_length(w, 2);
}

static void legacy_paging(struct world *w, uint64_t cr4, uint64_t cr3)
{
    w->vmcb01->efer = NVIRT_EFER_SVME;
    w->vmcb01->cs.attrib = 0x9b | NVIRT_VMCB_SEG_DB;
    w->vmcb01->cr4 = cr4;
    w->vmcb01->cr3 = cr3;
}

/* An emulator sets the accessed bit of PDPTEs, which the manual reserves: the CPU ran from them. */
static void pae_tables_are_as_the_cpu_took_them(void **state)
{
    struct world *w = *state;

    legacy_paging(w, NVIRT_CR4_PAE, 0x50020);
    fake_vm_put64(w->port, 0x50020, 0x51000 | 1 | 0x20);
    fake_vm_put64(w->port, 0x51000, 0x87);
    fake_vm_put(w->port, L1_RIP, cpuid_bytes, 2);
    expect_length(w, 2);
    fake_vm_put64(w->port, 0x50020, 0);
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_NO_MAPPING);
    w->vmcb01->cr3 = BEYOND_RAM;
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_NO_MAPPING);
}

static void two_level_tables_work(void **state)
{
    struct world *w = *state;

    legacy_paging(w, NVIRT_CR4_PSE, 0x52000);
    fake_vm_put32(w->port, 0x52000, 0x87);
    fake_vm_put(w->port, L1_RIP, cpuid_bytes, 2);
    expect_length(w, 2);
}

static void five_level_tables_work(void **state)
{
    struct world *w = *state;

    w->vmcb01->cr4 |= NVIRT_CR4_LA57;
    w->vmcb01->cr3 = 0x53000;
    fake_vm_put64(w->port, 0x53000, L1_PML4 | 7);
    fake_vm_put(w->port, L1_RIP, cpuid_bytes, 2);
    expect_length(w, 2);
}

/* L2's code lies behind its own tables and behind NPT12. */
static void l2_code_is_fetched_through_npt12(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    fake_vm_put64(w->port, NPT12 + 0x3000 + 9 * 8, 0x155000 | 7); /* L2's page 9 */
    fake_vm_put(w->port, 0x155000, cpuid_bytes, 2);
    enter_l2(w, &vmcb);
    expect_length(w, 2);
    fake_vm_put64(w->port, NPT12 + 0x3000 + 9 * 8, 0);
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_NO_MAPPING);
}

static void l2_pae_tables_lie_behind_npt12(void **state)
{
    struct world *w = *state;
    struct nvirt_vmcb vmcb = nested_vmcb12();

    vmcb.efer = NVIRT_EFER_SVME;
    vmcb.cs.attrib = 0x9b | NVIRT_VMCB_SEG_DB;
    vmcb.cr3 = 0x54000;
    fake_vm_put64(w->port, NPT12 + 0x3000 + 0x54 * 8, 0x156000 | 7);
    fake_vm_put64(w->port, 0x156000, 0x51000 | 1);
    fake_vm_put64(w->port, 0x51000, 0x87);
    fake_vm_put(w->port, L2_RIP, cpuid_bytes, 2);
    enter_l2(w, &vmcb);
    expect_length(w, 2);
    fake_vm_put64(w->port, NPT12 + 0x3000 + 0x54 * 8, 0);
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_CPUID, &(uint32_t){0}),
                     NVIRT_ERR_NO_MAPPING);
}

static void io_exits_tell_their_next_rip(void **state)
{
    struct world *w = *state;
    uint32_t length;

    w->vmcb01->exit_info2 = L1_RIP + 2;
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_IOIO, &length), NVIRT_OK);
    assert_int_equal(length, 2);
    w->vmcb01->exit_info2 = L1_RIP;
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_IOIO, &length), NVIRT_ERR_RANGE);
    w->vmcb01->exit_info2 = L1_RIP + 16;
    assert_int_equal(nvirt_svm_insn_length(w->v, NVIRT_SVM_EXIT_IOIO, &length), NVIRT_ERR_RANGE);
}

static void next_rip_saves_the_fetch(void **state)
{
    struct world *w = *state;

    w->v->cpu.features |= NVIRT_SVM_FEATURE_NRIPS;
    w->vmcb01->next_rip = L1_RIP + 3;
    fake_vm_log_reset(w->port);
    expect_length(w, 3);
    w->vmcb01->next_rip = L1_RIP + 15; /* of any instruction, known here or not */
    expect_length(w, 15);
    assert_int_equal(fake_vm_bytes_read(w->port), 0);
    fake_vm_put(w->port, L1_RIP, cpuid_bytes, 2);
    w->vmcb01->next_rip = 0; /* not stored for this exit */
    expect_length(w, 2);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instructions_have_their_lengths),
        cmocka_unit_test(cut_instructions_are_refused),
        T(code_is_fetched_through_l1s_tables),
        T(an_instruction_may_end_at_a_hole),
        T(an_instruction_may_cross_pages),
        T(user_code_must_be_a_user_page),
        T(real_mode_adds_the_segment_base),
        T(pae_tables_are_as_the_cpu_took_them),
        T(two_level_tables_work),
        T(five_level_tables_work),
        T(l2_code_is_fetched_through_npt12),
        T(l2_pae_tables_lie_behind_npt12),
        T(io_exits_tell_their_next_rip),
        T(next_rip_saves_the_fetch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
