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

/* ---- the remembered walk ---- */

#define CODE_PT UINT64_C(0x13000)

static const uint8_t clgi[] = {0x0f, 0x01, 0xdd}, long_clgi[] = {0x66, 0x0f, 0x01, 0xdd};

/* L1's first 2 MiB in 4-KiB pages, so that each of them can be moved alone. */
static void small_pages(struct world *w)
{
    for (uint64_t i = 0; i < 512; i++) {
        fake_vm_put64(w->port, CODE_PT + i * 8, i << 12 | 7);
    }
    fake_vm_put64(w->port, L1_PD, CODE_PT | 7);
}

/* CLGI at L1_RIP, as long as @p length says; twice, so that the second is found by what the first left. */
static void expect_clgi(struct world *w, uint64_t length)
{
    for (unsigned i = 0; i < 2; i++) {
        w->vmcb01->rip = L1_RIP;
        step(w, NVIRT_SVM_EXIT_CLGI, 0, 0);
        assert_int_equal(w->vmcb01->rip, L1_RIP + length);
    }
}

/* The walk is not repeated for an L1 that changes nothing: no call of the port, three bytes of code. */
static void a_steady_l1_is_not_walked_again(void **state)
{
    struct world *w = *state;

    fake_vm_put(w->port, L1_RIP, clgi, sizeof clgi);
    expect_clgi(w, 3);
    fake_vm_log_reset(w->port);
    expect_clgi(w, 3);
    assert_int_equal(fake_vm_bytes_read(w->port), 0);
}

/* L1 needs no flush nor any other word to nvirt to have another instruction at the same address. */
static void a_changed_instruction_is_seen(void **state)
{
    struct world *w = *state;

    fake_vm_put(w->port, L1_RIP, clgi, sizeof clgi);
    expect_clgi(w, 3);
    fake_vm_put(w->port, L1_RIP, long_clgi, sizeof long_clgi);
    expect_clgi(w, 4);
}

static void a_changed_entry_of_any_level_is_seen(void **state)
{
    static const struct {
        uint64_t entry, value, copy_from, copy_to;
    } changes[] = {
        {CODE_PT + 8, 0x20007, 0, 0},
        {L1_PD, 0x21007, CODE_PT, 0x21000},
        {L1_PDPT, 0x22007, L1_PD, 0x22000},
        {L1_PML4, 0x23007, L1_PDPT, 0x23000},
    };
    struct world *w = *state;

    small_pages(w);
    fake_vm_put(w->port, L1_RIP, clgi, sizeof clgi);
    fake_vm_put(w->port, 0x20000, long_clgi, sizeof long_clgi);
    expect_clgi(w, 3);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t before = fake_vm_get64(w->port, changes[i].entry);

        if (i != 0) {
            /* A copy of the table below, whose first entry leads to the other page in the end. */
            for (uint64_t j = 0; j < 512; j++) {
                fake_vm_put64(w->port, changes[i].copy_to + j * 8,
                              fake_vm_get64(w->port, changes[i].copy_from + j * 8));
            }
            fake_vm_put64(w->port, changes[i].copy_to + (i == 1 ? 8 : 0), changes[i - 1].value);
        }
        fake_vm_put64(w->port, changes[i].entry, changes[i].value);
        expect_clgi(w, 4);
        fake_vm_put64(w->port, changes[i].entry, before);
        expect_clgi(w, 3);
    }
}

static void another_mode_is_another_walk(void **state)
{
    struct world *w = *state;

    small_pages(w);
    fake_vm_put(w->port, L1_RIP, clgi, sizeof clgi);
    fake_vm_put(w->port, 0x20000, long_clgi, sizeof long_clgi);
    expect_clgi(w, 3);
    /* CR3: a tree in which the page is the other one. */
    fake_vm_put64(w->port, 0x24000, 0x25007);
    fake_vm_put64(w->port, 0x25000, 0x26007);
    fake_vm_put64(w->port, 0x26000, 0x27007);
    fake_vm_put64(w->port, 0x27008, 0x20007);
    w->vmcb01->cr3 = 0x24000;
    expect_clgi(w, 4);
    w->vmcb01->cr3 = L1_PML4;
    expect_clgi(w, 3);
    /* Paging off: the page is what its number says. */
    fake_vm_put64(w->port, CODE_PT + 8, 0x20007);
    expect_clgi(w, 4);
    w->vmcb01->cr0 = NVIRT_CR0_PE;
    w->vmcb01->efer &= ~NVIRT_EFER_LMA;
    w->vmcb01->cs.attrib = 0x9b | NVIRT_VMCB_SEG_DB;
    expect_clgi(w, 3);
}

/* A page that nvirt gave back may be another one by now. */
static void an_unpinned_page_ends_the_memory(void **state)
{
    struct world *w = *state;

    fake_vm_put(w->port, L1_RIP, clgi, sizeof clgi);
    expect_clgi(w, 3);
    assert_true(w->v->walk.used);
    fake_vm_invalidate(w->port);
    prepare(w);
    assert_false(w->v->walk.used);
    assert_int_equal(w->port->pins, 0);
    hardware_exit(w, NVIRT_SVM_EXIT_CPUID, 0, 0);
    expect_clgi(w, 3);
}

/* The last bytes of a page: the instruction goes on in the next, which is found by itself. */
static void an_instruction_across_pages_is_fetched_from_both(void **state)
{
    struct world *w = *state;
    const uint64_t rip = L1_RIP + 0xffe;

    small_pages(w);
    fake_vm_put64(w->port, CODE_PT + 2 * 8, 0x20007);
    fake_vm_put(w->port, rip, clgi, 2);
    fake_vm_put(w->port, 0x20000, clgi + 2, 1);
    for (unsigned i = 0; i < 3; i++) {
        w->vmcb01->rip = rip;
        step(w, NVIRT_SVM_EXIT_CLGI, 0, 0);
        assert_int_equal(w->vmcb01->rip, rip + 3);
    }
}

/* For a host that emulates an access: as many bytes as there are, at either level. */
static void instruction_bytes_are_given_to_the_host(void **state)
{
    struct world *w = *state;
    uint8_t bytes[NVIRT_SVM_INSN_MAX];
    uint32_t count = 0;

    fake_vm_put(w->port, 0x1ffffe, cpuid_bytes, 2);
    w->vmcb01->rip = 0x1ffffe;
    fake_vm_put64(w->port, L1_PD + 8, 0x600000 | 0x87);
    assert_int_equal(nvirt_svm_insn_bytes(w->v, bytes, &count), NVIRT_OK);
    assert_int_equal(count, NVIRT_SVM_INSN_MAX);
    assert_memory_equal(bytes, cpuid_bytes, 2);
    fake_vm_put64(w->port, L1_PD + 8, 0); /* the next page */
    assert_int_equal(nvirt_svm_insn_bytes(w->v, bytes, &count), NVIRT_OK);
    assert_int_equal(count, 2);
    w->vmcb01->rip = 0x200000;
    assert_int_equal(nvirt_svm_insn_bytes(w->v, bytes, &count), NVIRT_ERR_NO_MAPPING);
    assert_int_equal(count, 2);
    assert_int_equal(nvirt_svm_insn_bytes(NULL, bytes, &count), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_insn_bytes(w->v, NULL, &count), NVIRT_ERR_NULL);
    assert_int_equal(nvirt_svm_insn_bytes(w->v, bytes, NULL), NVIRT_ERR_NULL);
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
        T(instruction_bytes_are_given_to_the_host),
        T(a_steady_l1_is_not_walked_again),
        T(a_changed_instruction_is_seen),
        T(a_changed_entry_of_any_level_is_seen),
        T(another_mode_is_another_walk),
        T(an_unpinned_page_ends_the_memory),
        T(an_instruction_across_pages_is_fetched_from_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
