/* SPDX-License-Identifier: MIT */
/*
 * The page-modification log of L1 [SDM 3C "Page-Modification Logging"]: what is logged and when, what
 * a full log does. The tests bend l2_ept.data_pt, which maps L2_DATA.
 */
#include "l2.h"
#include "tests.h"

/* RDI is an address in L2. */
SNIPPET(pml_read, "", "movq (%rdi), %rax", "");
SNIPPET(pml_write, "", "movq %rax, (%rdi)", "");
/* Writes to RBX pages from RDI on. */
SNIPPET(pml_write_many, "1:", "movq %rax, (%rdi)",
        "addq $4096, %rdi\n decq %rbx\n jnz 1b");

#define UNTOUCHED 0x5a5a5a5a5a5a5a5aull

static uint64_t log_page[512] __attribute__((aligned(4096)));

static uint64_t page(unsigned i)
{
    return L2_DATA + i * 4096ull;
}

static void flush_ept(void)
{
    const struct inv_desc d = {vmread(F_EPTP), 0};

    (void)invept(1, &d);
}

/* L2's code, stack and page tables are dirty, its data pages are not. */
static void clean(void)
{
    for (unsigned i = 0; i < L2_DATA_PAGES; i++)
        l2_ept.data_pt[i] &= ~(EPT_A | EPT_D);
    flush_ept();
}

static void run(const char *code, uint64_t address, uint64_t count)
{
    l2_start(code);
    l2.g.rdi = address;
    l2.g.rbx = count;
    (void)l2_run();
}

/* All that L2 needs to begin has been used once, so that only the data pages are clean. */
static void fresh(uint64_t index)
{
    l2_reset(L2_EPT);
    for (unsigned i = 0; i < 512; i++)
        log_page[i] = UNTOUCHED;
    vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    run(s_pml_write_many, page(0), L2_DATA_PAGES);
    clean();
    ctl_set(F_PROC2, PROC2_PML);
    vmwrite(F_PML_ADDR, (uint64_t)log_page);
    vmwrite(F_G_PML_INDEX, index);
}

static void pages_that_become_dirty(void)
{
    fresh(511);
    run(s_pml_read, page(1) + 8, 0);
    (void)expect_done("read");
    check_eq(vmread(F_G_PML_INDEX), 511, "read_index");
    run(s_pml_write, page(1), 0);
    (void)expect_done("write");
    check_eq(vmread(F_G_PML_INDEX), 510, "write_index");
    check_eq(log_page[511], page(1), "write_address");
    check_eq(l2_ept.data_pt[1] & EPT_D, EPT_D, "write_dirty");
    run(s_pml_write, page(1) + 0x200, 0);
    check_eq(vmread(F_G_PML_INDEX), 510, "dirty_already");
    run(s_pml_write_many, page(0), 4);
    (void)expect_done("many");
    check_eq(vmread(F_G_PML_INDEX), 507, "many_index");
    check_eq(log_page[510], page(0), "many_first");
    check_eq(log_page[509], page(2), "many_second");
    check_eq(log_page[508], page(3), "many_third");
    check_eq(log_page[507], UNTOUCHED, "many_no_more");
    /* Clean again, logged again. */
    clean();
    run(s_pml_write, page(1), 0);
    check_eq(vmread(F_G_PML_INDEX), 506, "clean_again_index");
    check_eq(log_page[507], page(1), "clean_again_address");
}

static void a_full_log(void)
{
    fresh(1);
    run(s_pml_write_many, page(0), 4);
    check_eq(l2.reason, R_PML_FULL, "full");
    check_eq(vmread(F_QUALIFICATION), 0, "full_qualification");
    check_eq(vmread(F_G_PML_INDEX), 0xffff, "full_index");
    check_eq(vmread(F_G_RIP), (uint64_t)i_pml_write_many, "full_rip");
    check_eq(l2.g.rdi, page(2), "full_before_the_write");
    check_eq(l2_ept.data_pt[2] & EPT_D, 0, "full_clean");
    check_eq(log_page[1], page(0), "full_first");
    check_eq(log_page[0], page(1), "full_second");
    vmwrite(F_G_PML_INDEX, 511);
    (void)l2_run();
    (void)expect_done("emptied");
    check_eq(vmread(F_G_PML_INDEX), 509, "emptied_index");
    check_eq(log_page[511], page(2), "emptied_address");
}

static void what_is_not_logged(void)
{
    fresh(511);
    ctl_clear(F_PROC2, PROC2_PML);
    run(s_pml_write, page(1), 0);
    (void)expect_done("off");
    check_eq(log_page[511], UNTOUCHED, "off_log");
    fresh(0xffff);
    vmwrite(F_EPTP, vmread(F_EPTP) & ~EPTP_AD);
    run(s_pml_write, page(1), 0);
    (void)expect_done("without_dirty_flags");
}

void test_pml_manual(void)
{
    check_group("pml_manual");
    fresh(511);
    run(s_pml_write, page(1) + 0x128, 0);
    check_eq(log_page[511], page(1), "address_of_a_page");
    /* What is dirty needs no place. */
    fresh(511);
    run(s_pml_write, page(1), 0);
    vmwrite(F_G_PML_INDEX, 512);
    run(s_pml_write, page(1), 0);
    (void)expect_done("full_and_dirty");
    fresh(0xffff);
    l2_ept.data_pt[1] &= ~EPT_W;
    flush_ept();
    run(s_pml_write, page(1), 0);
    check_eq(l2.reason, R_EPT_VIOLATION, "violation_first");
}

void test_pml(void)
{
    if (!ctl_can(F_PROC2, PROC2_PML))
        return;
    check_group("pml");
    pages_that_become_dirty();
    a_full_log();
    what_is_not_logged();
}
