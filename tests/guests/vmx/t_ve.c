/* SPDX-License-Identifier: MIT */
/*
 * Virtualization exceptions [SDM 3C "Virtualization Exceptions"]: which violations are convertible,
 * when one becomes an exception of L2, what L2 finds. The tests bend l2_ept.data_pt, which maps
 * L2_DATA.
 */
#include "l2.h"
#include "tests.h"

/* RDI is an address in L2. */
SNIPPET(ve_read, "", "movq (%rdi), %rax", "");
SNIPPET(ve_write, "", "movq %rax, (%rdi)", "");
/* A breakpoint whose frame goes to RDI. */
SNIPPET(ve_trap, "movq %rdi, %rsp", "int3", "");
/* VMFUNC to entry RCX, then a read. */
SNIPPET(ve_switch, "xorl %eax, %eax\n vmfunc", "movq (%rdi), %rax", "");

#define VECTOR_VE 20
#define SUPPRESS (1ull << 63)
#define Q_READ_ACCESS 0x181ull  /* linear address valid, of the access itself, a read */
#define Q_WRITE_ACCESS 0x182ull

static uint64_t area[512] __attribute__((aligned(4096)));
static uint64_t list[512] __attribute__((aligned(4096)));

static uint64_t page(unsigned i)
{
    return L2_DATA + i * 4096ull;
}

static void flush_ept(void)
{
    const struct inv_desc d = {vmread(F_EPTP), 0};

    (void)invept(1, &d);
}

/* Page 1 is not there, page 2 read-only, both convertible. */
static void fresh(void)
{
    l2_reset(L2_EPT);
    memset(area, 0, sizeof(area));
    ctl_set(F_PROC2, PROC2_EPT_VE);
    vmwrite(F_VE_INFO, (uint64_t)area);
    vmwrite(F_EPTP_INDEX, 0x77);
    l2_ept.data_pt[1] = 0;
    l2_ept.data_pt[2] &= ~(EPT_W | EPT_X);
    flush_ept();
}

static void run(const char *code, uint64_t address)
{
    l2_start(code);
    l2.g.rdi = address;
    (void)l2_run();
}

static void expect_ve(const char *name, const char *rip, uint64_t qualification, uint64_t address)
{
    const uint64_t *frame = l2_frame();

    if (!check_eq((uint64_t)l2_handler_vector(), VECTOR_VE, "%s", name))
        return;
    check_eq(frame[0], (uint64_t)rip, "%s.rip", name);
    check_eq(area[0], 0xffffffff00000000ull | R_EPT_VIOLATION, "%s.reason", name);
    check_eq(area[1] & 0x1ff, qualification, "%s.qualification", name);
    check_eq(area[2], address, "%s.linear", name);
    check_eq(area[3], address, "%s.physical", name);
}

static void exceptions(void)
{
    fresh();
    run(s_ve_read, page(1) + 0x10);
    expect_ve("absent", i_ve_read, Q_READ_ACCESS, page(1) + 0x10);
    /* Busy until L2 says otherwise. */
    run(s_ve_read, page(1) + 0x18);
    check_eq(l2.reason, R_EPT_VIOLATION, "busy");
    check_eq(area[3], page(1) + 0x10, "busy.area");
    area[0] &= 0xffffffffull;
    run(s_ve_read, page(1) + 0x18);
    expect_ve("again", i_ve_read, Q_READ_ACCESS, page(1) + 0x18);
    fresh();
    run(s_ve_write, page(2) + 8);
    expect_ve("read_only", i_ve_write, Q_WRITE_ACCESS | EPT_R << 3, page(2) + 8);
    /* The link's bit does not count. */
    fresh();
    l2_ept.data_pd[0] |= SUPPRESS;
    flush_ept();
    run(s_ve_read, page(1));
    expect_ve("suppress_in_link", i_ve_read, Q_READ_ACCESS, page(1));
}

static void exits(void)
{
    fresh();
    l2_ept.data_pt[1] = SUPPRESS;
    flush_ept();
    run(s_ve_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "suppressed");
    check_eq(area[0], 0, "suppressed.area");
    fresh();
    l2_ept.data_pt[2] |= SUPPRESS;
    flush_ept();
    run(s_ve_write, page(2));
    check_eq(l2.reason, R_EPT_VIOLATION, "leaf_suppressed");
    fresh();
    l2_ept.data_pd[0] = SUPPRESS;
    flush_ept();
    run(s_ve_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "table_suppressed");
    fresh();
    l2_ept.data_pt[1] = EPT_W;
    flush_ept();
    run(s_ve_read, page(1));
    check_eq(l2.reason, R_EPT_MISCONFIG, "misconfiguration");
    fresh();
    ctl_clear(F_PROC2, PROC2_EPT_VE);
    run(s_ve_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "without");
    /* While an event is delivered. */
    fresh();
    run(s_ve_trap, page(1) + 0x800);
    check_eq(l2.reason, R_EPT_VIOLATION, "delivery");
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_SOFT_EXC) | 3, "delivery.event");
    /* The exception is L1's if it asks for it. */
    fresh();
    vmwrite(F_EXCEPTION_BITMAP, 1u << VECTOR_VE);
    run(s_ve_read, page(1) + 0x20);
    check_eq(l2.reason, R_EXCEPTION, "intercepted");
    check_eq(vmread(F_INTR), INTR_VALID | INTR_TYPE(T_HARD) | VECTOR_VE, "intercepted.event");
    check_eq(area[3], page(1) + 0x20, "intercepted.area");
}

/* EPTP switching moves the index along. */
static void index_of_the_list(void)
{
    fresh();
    for (unsigned i = 0; i < 512; i++)
        list[i] = vmread(F_EPTP);
    ctl_set(F_PROC2, PROC2_VMFUNC);
    vmwrite(F_VMFUNC_CONTROLS, 1);
    vmwrite(F_EPTP_LIST, (uint64_t)list);
    l2_start(s_ve_switch);
    l2.g.rdi = page(1);
    l2.g.rcx = 0x123;
    (void)l2_run();
    expect_ve("switched", i_ve_switch, Q_READ_ACCESS, page(1));
    check_eq(vmread(F_EPTP_INDEX), 0x123, "switched.index");
    check_eq(area[4] & 0xffff, 0x123, "switched.index_in_area");
}

void test_ve_manual(void)
{
    check_group("ve_manual");
    fresh();
    run(s_ve_read, page(1));
    check_eq((uint64_t)l2_handler_vector(), VECTOR_VE, "exception");
    check_eq(area[4] & 0xffff, 0x77, "index_that_l1_wrote");
}

void test_ve(void)
{
    if (!ctl_can(F_PROC2, PROC2_EPT_VE))
        return;
    check_group("ve");
    exceptions();
    exits();
    index_of_the_list();
}
