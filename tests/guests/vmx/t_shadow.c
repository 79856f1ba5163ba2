/* SPDX-License-Identifier: MIT */
/*
 * VMCS shadowing [SDM 3C "VMCS Shadowing", "VMCS Types: Ordinary and Shadow"] [SDM 3D "VMREAD",
 * "VMWRITE"]: shadow VMCSs, the link pointer, and what VMREAD and VMWRITE of L2 do without an exit.
 */
#include "entry_row.h"
#include "tests.h"

/* RDX names the field, the flags after the instruction are in RBX. */
#define KEEP_FLAGS "pushfq\n popq %rbx"
#define ALL_FLAGS "pushfq\n orq $0x8d5, (%rsp)\n popfq"
SNIPPET(shadow_read, ALL_FLAGS, "vmread %rdx, %rax", KEEP_FLAGS);
SNIPPET(shadow_write, ALL_FLAGS, "vmwrite %rax, %rdx", KEEP_FLAGS);
SNIPPET(shadow_read_memory, ALL_FLAGS, "vmread %rdx, (%rdi)", KEEP_FLAGS);
SNIPPET(shadow_write_memory, ALL_FLAGS, "vmwrite (%rdi), %rdx", KEEP_FLAGS);

#define STATUS 0x8d5u
#define CF 0x01u
#define ZF 0x40u
#define VALUE 0x123456789abcdef0ull
#define QUAL_LINK 4u

static uint8_t bitmaps[2][4096] __attribute__((aligned(4096)));
#define READS bitmaps[0]
#define WRITES bitmaps[1]

static uint64_t *const shadow = vmcs_region[2];

static void load(const uint64_t *region)
{
    uint64_t pointer = (uint64_t)region;

    (void)vmptrld(&pointer);
}

static void clear(const uint64_t *region)
{
    uint64_t pointer = (uint64_t)region;

    (void)vmclear(&pointer);
}

static void mark_shadow(void)
{
    vmcs_prepare(shadow);
    shadow[0] |= 1ull << 31;
    clear(shadow);
}

static void write_shadow(uint32_t field, uint64_t value)
{
    load(shadow);
    vmwrite(field, value);
    clear(shadow);
    load(vmcs_region[0]);
}

static uint64_t read_shadow(uint32_t field)
{
    uint64_t value;

    load(shadow);
    value = vmread(field);
    clear(shadow);
    load(vmcs_region[0]);
    return value;
}

static void intercept(uint8_t *bitmap, uint32_t field)
{
    bitmap[field / 8] |= (uint8_t)(1u << field % 8);
}

/* No bit of a bitmap is set, and a shadow VMCS is linked. */
static void fresh(enum l2_mode mode)
{
    l2_reset(mode);
    mark_shadow();
    for (unsigned i = 0; i < sizeof READS; i++)
        READS[i] = WRITES[i] = 0;
    ctl_set(F_PROC, PROC_SECONDARY);
    ctl_set(F_PROC2, PROC2_SHADOW_VMCS);
    vmwrite(F_VMREAD_BITMAP, (uint64_t)READS);
    vmwrite(F_VMWRITE_BITMAP, (uint64_t)WRITES);
    vmwrite(F_G_LINK, (uint64_t)shadow);
}

static void run(const char *code, uint64_t field, uint64_t rax, uint64_t rdi)
{
    l2_start(code);
    l2.g.rdx = field;
    l2.g.rax = rax;
    l2.g.rdi = rdi;
    (void)l2_run();
}

static void ended(const char *name, uint64_t flags)
{
    if (expect_done(name))
        check_eq(l2.g.rbx & STATUS, flags, name);
}

static void in_root_operation(void)
{
    fresh(L2_EPT);
    load(shadow);
    vmwrite(F_G_RIP, 0x1234);
    check_eq(vmread(F_G_RIP), 0x1234, "current_has_fields");
    clear(shadow);
    load(vmcs_region[0]);
}

static void the_link(void)
{
    fresh(L2_EPT);
    vmcs_prepare(shadow);
    (void)l2_go(s_shadow_read);
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "ordinary_link");
    check_eq(vmread(F_QUALIFICATION), QUAL_LINK, "ordinary_link_qualification");
    fresh(L2_EPT);
    ctl_clear(F_PROC2, PROC2_SHADOW_VMCS);
    (void)l2_go(s_shadow_read);
    check_eq(l2.reason, R_ENTRY_FAILURE | R_BAD_GUEST, "shadow_link_without_control");
    fresh(L2_EPT);
    vmwrite(F_G_LINK, ~0ull);
    run(s_shadow_read, F_G_RSP, 0x77, 0);
    ended("no_link_read", CF);
    check_eq(l2.g.rax, 0x77, "no_link_read_value");
    run(s_shadow_write, F_G_RSP, 0, 0);
    ended("no_link_write", CF);
}

static void registers(void)
{
    fresh(L2_EPT);
    write_shadow(F_G_RSP, VALUE);
    run(s_shadow_read, F_G_RSP, 0, 0);
    ended("read", 0);
    check_eq(l2.g.rax, VALUE, "read_value");
    run(s_shadow_write, F_G_CS_SEL, 0x54321, 0);
    ended("write", 0);
    check_eq(read_shadow(F_G_CS_SEL), 0x4321, "write_value");
    check_eq(read_shadow(F_G_RSP), VALUE, "write_nothing_else");
    write_shadow(F_EPTP, VALUE);
    run(s_shadow_read, F_EPTP | 1, 0, 0);
    check_eq(l2.g.rax, VALUE >> 32, "high_read");
    run(s_shadow_write, F_EPTP | 1, 0x77, 0);
    check_eq(read_shadow(F_EPTP), 0x779abcdef0ull, "high_write");
    run(s_shadow_read, 0x6820 | 0x3c0, 0x77, 0);
    ended("unknown_field", ZF);
    check_eq(vmread(F_INSN_ERROR), E_UNSUPPORTED_FIELD, "unknown_field_error");
    check_eq(l2.g.rax, 0x77, "unknown_field_value");
}

static void bitmaps_decide(void)
{
    fresh(L2_EPT);
    intercept(READS, F_G_RSP);
    intercept(WRITES, F_G_RIP);
    run(s_shadow_read, F_G_RSP, 0, 0);
    expect_reason("read_exits", R_VMREAD);
    check_eq(vmread(F_G_RIP), (uint64_t)i_shadow_read, "read_exits_rip");
    run(s_shadow_write, F_G_RSP, 0, 0);
    ended("write_of_it_passes", 0);
    run(s_shadow_write, F_G_RIP, 0, 0);
    expect_reason("write_exits", R_VMWRITE);
    run(s_shadow_read, F_G_RIP, 0, 0);
    ended("read_of_it_passes", 0);
    run(s_shadow_read, F_G_RIP | 1u << 15, 0, 0);
    expect_reason("bit_15_exits", R_VMREAD);
    run(s_shadow_write, F_G_RSP | 1ull << 32, 0, 0);
    expect_reason("bit_32_exits", R_VMWRITE);
    fresh(L2_EPT);
    ctl_clear(F_PROC2, PROC2_SHADOW_VMCS);
    vmwrite(F_G_LINK, ~0ull);
    run(s_shadow_read, F_G_RIP, 0, 0);
    expect_reason("without_control", R_VMREAD);
}

static void memory_in(enum l2_mode mode, const char *read, const char *write)
{
    uint64_t *place = (uint64_t *)(l2_data[1] + 0x120);

    fresh(mode);
    write_shadow(F_G_RSP, VALUE);
    *place = 0;
    run(s_shadow_read_memory, F_G_RSP, 0, L2_DATA + 0x1120);
    ended(read, 0);
    check_eq(*place, VALUE, read);
    *place = 0x5555;
    run(s_shadow_write_memory, F_G_RSP, 0, L2_DATA + 0x1120);
    ended(write, 0);
    check_eq(read_shadow(F_G_RSP), 0x5555, write);
}

static void memory(void)
{
    memory_in(L2_EPT, "ept_read", "ept_write");
    memory_in(L2_PLAIN, "plain_read", "plain_write");
    fresh(L2_EPT);
    write_shadow(F_G_RSP, VALUE);
    run(s_shadow_read_memory, F_G_RSP, 0, L2_DATA + 0x1ffc);
    ended("across_pages", 0);
    check_eq(*(uint32_t *)(l2_data[1] + 0xffc), VALUE & 0xffffffff, "across_pages_low");
    check_eq(*(uint32_t *)l2_data[2], VALUE >> 32, "across_pages_high");
}

static void memory_faults(void)
{
    fresh(L2_EPT);
    l2_ept.data_pt[1] &= ~EPT_W;
    flush_everything();
    run(s_shadow_read_memory, F_G_RSP, 0, L2_DATA + 0x1120);
    expect_reason("violation", R_EPT_VIOLATION);
    check_eq(vmread(F_QUALIFICATION), 2 | 5 << 3 | 0x180, "violation_qualification");
    check_eq(vmread(F_LINEAR), L2_DATA + 0x1120, "violation_linear");
    check_eq(vmread(F_G_RIP), (uint64_t)i_shadow_read_memory, "violation_rip");
    fresh(L2_EPT);
    l2_paging.data_pt[1] &= ~1ull;
    flush_everything();
    run(s_shadow_write_memory, F_G_RSP, 0, L2_DATA + 0x1120);
    check_eq((uint64_t)l2_handler_vector(), 14, "page_fault");
    check_eq(l2_frame()[0], 0, "page_fault_error");
    check_eq(l2_frame()[1], (uint64_t)i_shadow_write_memory, "page_fault_rip");
    fresh(L2_EPT);
    vmwrite(F_EXCEPTION_BITMAP, 1u << 14);
    l2_paging.data_pt[1] &= ~1ull;
    flush_everything();
    run(s_shadow_read_memory, F_G_RSP, 0, L2_DATA + 0x1120);
    expect_reason("page_fault_exit", R_EXCEPTION);
    check_eq(vmread(F_QUALIFICATION), L2_DATA + 0x1120, "page_fault_exit_address");
    check_eq(vmread(F_INTR_ERROR), 2, "page_fault_exit_error");
}

/* [SDM 3C "VM-Execution Control Fields"] */
static const struct entry_row bitmap_rows[] = {
    {"bitmap_aligned", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_SHADOW_VMCS), TO(F_VMREAD_BITMAP, 0x1001)}},
    {"bitmap_width", BAD_CONTROLS, L2_EPT,
     {SET(F_PROC2, PROC2_SHADOW_VMCS), TO(F_VMWRITE_BITMAP, WIDE)}},
    {"bitmap_unused", ENTERS, L2_EPT, {TO(F_VMREAD_BITMAP, WIDE | 1)}},
};

/* [SDM 3D "VMLAUNCH/VMRESUME"] */
void test_shadow_manual(void)
{
    check_group("shadow_manual");
    fresh(L2_EPT);
    load(shadow);
    check_eq(vmlaunch(), VMX_FAIL_INVALID, "vmlaunch");
    check_eq(vmresume(), VMX_FAIL_INVALID, "vmresume");
    clear(shadow);
    load(vmcs_region[0]);
}

void test_shadow(void)
{
    if ((rt_rdmsr(MSR_VMX_PROC2) >> 32 & PROC2_SHADOW_VMCS) == 0)
        return;
    check_group("shadow");
    in_root_operation();
    the_link();
    registers();
    bitmaps_decide();
    memory();
    memory_faults();
    entry_rows(bitmap_rows, sizeof(bitmap_rows) / sizeof(bitmap_rows[0]));
}
