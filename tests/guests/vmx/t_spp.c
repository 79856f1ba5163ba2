/* SPDX-License-Identifier: MIT */
/*
 * Sub-page write permissions [SDM 3C "Sub-Page Write Permissions"]: which parts of a page may be
 * written, what the table may look like, which writes go by it. The tests bend l2_ept.data_pt, which
 * maps L2_DATA, and a table of permissions for it.
 */
#include "l2.h"
#include "tests.h"

/* RDI is an address in L2. */
SNIPPET(spp_read, "", "movq (%rdi), %rax", "");
SNIPPET(spp_write, "", "movq %rax, (%rdi)", "");
SNIPPET(spp_add, "", "lock addq %rax, (%rdi)", "");
/* A write to each of the 32 parts of a page from RDI on; RDI then tells how far they came. */
SNIPPET(spp_write_all, "movl $32, %ecx\n1:", "movb %al, (%rdi)",
        "addq $128, %rdi\n decl %ecx\n jnz 1b");
/* A breakpoint whose frame goes to RDI. */
SNIPPET(spp_trap, "movq %rdi, %rsp", "int3", "");
/* VMFUNC to entry RCX, then a write of RBX. */
SNIPPET(spp_switch, "xorl %eax, %eax\n vmfunc", "movq %rbx, (%rdi)", "");

#define SUBPAGES (1ull << 61)
#define VALID 1ull
#define MISS (1ull << 11)
#define ALL_PARTS 0x5555555555555555ull
#define PART(n) (1ull << 2 * (n))
#define Q_WRITE_ACCESS (0x182ull | EPT_R << 3) /* refused, of a page that may be read */

/* What L2 writes. */
#define WRITTEN 0x1122334455667788ull

/* The table: its top, and one table of each level below. */
static struct {
    uint64_t top[512], third[512], second[512], vectors[512];
} sppt __attribute__((aligned(4096)));
static uint64_t list[512] __attribute__((aligned(4096)));
static uint64_t other_top[512] __attribute__((aligned(4096)));
static uint64_t area[512] __attribute__((aligned(4096)));
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

static uint64_t *link_of(unsigned level)
{
    switch (level) {
    case 4:
        return &sppt.top[L2_DATA >> 39 & 511];
    case 3:
        return &sppt.third[L2_DATA >> 30 & 511];
    case 2:
        return &sppt.second[L2_DATA >> 21 & 511];
    default:
        return &sppt.vectors[L2_DATA >> 12 & 511];
    }
}

/* Vectors for the data pages, page 0 first. */
static void link_tables(void)
{
    *link_of(4) = (uint64_t)sppt.third | VALID;
    *link_of(3) = (uint64_t)sppt.second | VALID;
    *link_of(2) = (uint64_t)sppt.vectors | VALID;
}

/* Pages 1 to 3 may be read, and written by parts. */
static void fresh(void)
{
    l2_reset(L2_EPT);
    memset(&sppt, 0, sizeof(sppt));
    memset(l2_data, 0, sizeof(l2_data));
    link_tables();
    for (unsigned i = 1; i <= 3; i++)
        l2_ept.data_pt[i] = (l2_ept.data_pt[i] & ~(EPT_W | EPT_X)) | SUBPAGES;
    ctl_set(F_PROC2, PROC2_SUBPAGES);
    vmwrite(F_SPPTP, (uint64_t)sppt.top);
    flush_ept();
}

static void run(const char *code, uint64_t address)
{
    l2_start(code);
    l2.g.rdi = address;
    l2.g.rax = WRITTEN;
    (void)l2_run();
}

static uint64_t word_at(unsigned i, unsigned offset)
{
    uint64_t word;

    memcpy(&word, &l2_data[i][offset], sizeof(word));
    return word;
}

/* A write of eight bytes at @offset of page @i was made. */
static void expect_written(const char *name, unsigned i, unsigned offset)
{
    run(s_spp_write, page(i) + offset);
    (void)expect_done(name);
    check_eq(vmread(F_G_RIP), (uint64_t)e_spp_write, "%s.rip", name);
    check_eq(word_at(i, offset), WRITTEN, "%s.bytes", name);
    memset(&l2_data[i][offset], 0, sizeof(uint64_t));
}

static void expect_addresses(const char *name, uint64_t address)
{
    check_eq(vmread(F_GUEST_PHYS), address, "%s.physical", name);
    check_eq(vmread(F_LINEAR), address, "%s.linear", name);
    check_eq(vmread(F_G_RIP), (uint64_t)i_spp_write, "%s.rip", name);
}

static void expect_violation(const char *name, unsigned i, unsigned offset)
{
    run(s_spp_write, page(i) + offset);
    check_eq(l2.reason, R_EPT_VIOLATION, "%s", name);
    check_eq(vmread(F_QUALIFICATION) & 0x1ff, Q_WRITE_ACCESS, "%s.qualification", name);
    expect_addresses(name, page(i) + offset);
    check_eq(word_at(i, offset), 0, "%s.bytes", name);
}

static void expect_event(const char *name, unsigned i, unsigned offset, uint64_t qualification)
{
    run(s_spp_write, page(i) + offset);
    check_eq(l2.reason, R_SPP, "%s", name);
    check_eq(vmread(F_QUALIFICATION), qualification, "%s.qualification", name);
    expect_addresses(name, page(i) + offset);
    check_eq(word_at(i, offset), 0, "%s.bytes", name);
}

/* Each part is written once, in its first byte, and nothing else of the page. */
static void all_parts(void)
{
    unsigned wrong = 0;

    memset(l2_data[1], 0, sizeof(l2_data[1]));
    sppt.vectors[1] = ALL_PARTS;
    flush_ept();
    run(s_spp_write_all, page(1));
    (void)expect_done("all_parts");
    check_eq(l2.g.rcx, 0, "all_parts.rcx");
    check_eq(l2.g.rdi, page(2), "all_parts.rdi");
    for (unsigned i = 0; i < 4096; i++)
        wrong += l2_data[1][i] != (i % 128 == 0 ? WRITTEN & 0xff : 0);
    check_eq(wrong, 0, "all_parts.bytes");
}

static void parts(void)
{
    fresh();
    for (unsigned part = 0; part < 32; part++) {
        sppt.vectors[1] = ALL_PARTS & ~PART(part);
        flush_ept();
        run(s_spp_write, page(1) + part * 128);
        check_eq(l2.reason, R_EPT_VIOLATION, "part%u_denied", part);
        check_eq(vmread(F_QUALIFICATION) & 0x1ff, Q_WRITE_ACCESS, "part%u_denied.qualification",
                 part);
        check_eq(vmread(F_G_RIP), (uint64_t)i_spp_write, "part%u_denied.rip", part);
        check_eq(word_at(1, part * 128), 0, "part%u_denied.bytes", part);
        sppt.vectors[1] = PART(part);
        flush_ept();
        run(s_spp_write, page(1) + part * 128 + 120);
        check_eq(l2.reason, R_VMCALL, "part%u_allowed", part);
        check_eq(vmread(F_G_RIP), (uint64_t)e_spp_write, "part%u_allowed.rip", part);
        check_eq(word_at(1, part * 128 + 120), WRITTEN, "part%u_allowed.bytes", part);
    }
    all_parts();
    /* Reading needs no vector. */
    *link_of(2) = 0;
    flush_ept();
    run(s_spp_read, page(1));
    (void)expect_done("read");
}

static void pages(void)
{
    fresh();
    sppt.vectors[1] = PART(0);
    sppt.vectors[2] = PART(1);
    expect_written("page1", 1, 0);
    expect_violation("page1.other", 1, 0x80);
    expect_violation("page2", 2, 0x40);
    expect_written("page2.other", 2, 0x80);
    expect_violation("page3", 3, 0xf80);
    /* Without the bit, and with the right to write, the table does not matter. */
    sppt.vectors[4] = 0;
    expect_written("writable", 4, 0x10);
    l2_ept.data_pt[5] |= SUBPAGES;
    flush_ept();
    expect_written("writable_with_the_bit", 5, 0x10);
    sppt.vectors[6] = ALL_PARTS;
    l2_ept.data_pt[6] &= ~EPT_W;
    l2_ept.data_pt[6] &= ~EPT_X;
    flush_ept();
    expect_violation("without_the_bit", 6, 0x10);
    run(s_spp_add, page(1) + 8);
    (void)expect_done("add");
    check_eq(word_at(1, 8), WRITTEN, "add.bytes");
    run(s_spp_add, page(1) + 0x88);
    check_eq(l2.reason, R_EPT_VIOLATION, "add_denied");
    check_eq(word_at(1, 0x88), 0, "add_denied.bytes");
}

static void tables(void)
{
    static const unsigned bits[] = {1, 5, 11, 52, 63};

    for (unsigned level = 2; level <= 4; level++) {
        fresh();
        sppt.vectors[1] = ALL_PARTS;
        *link_of(level) &= ~VALID;
        flush_ept();
        run(s_spp_write, page(1));
        check_eq(l2.reason, R_SPP, "miss%u", level);
        expect_event("miss", 1, 8, MISS);
        /* L1 puts it there, and L2 goes on. */
        link_tables();
        expect_written("found", 1, 8);
        for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
            link_tables();
            *link_of(level) |= 1ull << bits[i];
            flush_ept();
            run(s_spp_write, page(1));
            check_eq(l2.reason, R_SPP, "reserved%u.bit%u", level, bits[i]);
            check_eq(vmread(F_QUALIFICATION), 0, "reserved%u.bit%u.qualification", level, bits[i]);
        }
    }
    fresh();
    sppt.vectors[1] = PART(0);
    vmwrite(F_SPPTP, (uint64_t)other_top);
    flush_ept();
    expect_event("other_table", 1, 0, MISS);
    vmwrite(F_SPPTP, (uint64_t)sppt.top);
    flush_ept();
    expect_written("first_table", 1, 0);
    ctl_clear(F_PROC2, PROC2_SUBPAGES);
    expect_violation("without_the_control", 1, 0);
}

static void rights(void)
{
    /* An entry above may take the right to write: the page is one with sub-page permissions then. */
    fresh();
    sppt.vectors[5] = PART(2);
    l2_ept.data_pt[5] |= SUBPAGES;
    l2_ept.data_pd[0] &= ~EPT_W;
    flush_ept();
    expect_written("link_read_only", 5, 0x100);
    run(s_spp_write, page(5));
    check_eq(l2.reason, R_EPT_VIOLATION, "link_read_only_denied");
    check_eq(word_at(5, 0), 0, "link_read_only_denied.bytes");
}

/* L1 changes what it allows, with the invalidation that is due, or without where a violation is one. */
static void changes(void)
{
    fresh();
    sppt.vectors[1] = PART(0);
    expect_written("first", 1, 0);
    sppt.vectors[1] = PART(1);
    flush_ept();
    expect_violation("narrowed", 1, 0);
    expect_written("moved", 1, 0x80);
    sppt.vectors[1] |= PART(0);
    expect_written("widened", 1, 0);
    *link_of(2) = 0;
    flush_ept();
    expect_event("unlinked", 1, 0, MISS);
    link_tables();
    l2_ept.data_pt[1] &= ~SUBPAGES;
    flush_ept();
    expect_violation("bit_cleared", 1, 0);
    l2_ept.data_pt[1] |= EPT_W;
    flush_ept();
    expect_written("writable", 1, 0);
}

static void events(void)
{
    fresh();
    sppt.vectors[1] = PART(3);
    run(s_spp_trap, page(1) + 0x200);
    check_eq((uint64_t)l2_handler_vector(), 3, "frame");
    run(s_spp_trap, page(1) + 0x180);
    check_eq(l2.reason, R_EPT_VIOLATION, "frame_denied");
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_SOFT_EXC) | 3, "frame_denied.event");
    *link_of(2) = 0;
    flush_ept();
    run(s_spp_trap, page(1) + 0x200);
    check_eq(l2.reason, R_SPP, "frame_miss");
    check_eq(vmread(F_IDTV), INTR_VALID | INTR_TYPE(T_SOFT_EXC) | 3, "frame_miss.event");
}

static void flags(void)
{
    if (!ept_can(EPT_CAP_AD))
        return;
    fresh();
    vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    sppt.vectors[1] = PART(0);
    l2_ept.data_pt[1] &= ~(EPT_A | EPT_D);
    flush_ept();
    run(s_spp_write, page(1) + 0x80);
    check_eq(l2.reason, R_EPT_VIOLATION, "denied");
    check_eq(l2_ept.data_pt[1] & EPT_D, 0, "denied.clean");
    expect_written("allowed", 1, 0);
    check_eq(l2_ept.data_pt[1] & (EPT_A | EPT_D), EPT_A | EPT_D, "allowed.dirty");
    if (!ctl_can(F_PROC2, PROC2_PML))
        return;
    fresh();
    vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    sppt.vectors[1] = sppt.vectors[2] = PART(0);
    run(s_spp_write, page(1));
    l2_ept.data_pt[1] &= ~EPT_D;
    l2_ept.data_pt[2] &= ~EPT_D;
    flush_ept();
    memset(log_page, 0, sizeof(log_page));
    ctl_set(F_PROC2, PROC2_PML);
    vmwrite(F_PML_ADDR, (uint64_t)log_page);
    vmwrite(F_G_PML_INDEX, 511);
    run(s_spp_write, page(1));
    (void)expect_done("logged");
    check_eq(word_at(1, 0), WRITTEN, "logged.bytes");
    check_eq(vmread(F_G_PML_INDEX), 510, "logged.index");
    check_eq(log_page[511], page(1), "logged.address");
    run(s_spp_write, page(2) + 0x800);
    check_eq(l2.reason, R_EPT_VIOLATION, "not_logged");
    check_eq(vmread(F_G_PML_INDEX), 510, "not_logged.index");
    check_eq(word_at(2, 0x800), 0, "not_logged.bytes");
    expect_written("dirty_already", 1, 8);
    check_eq(vmread(F_G_PML_INDEX), 510, "dirty_already.index");
}

static void exceptions(void)
{
    if (!ctl_can(F_PROC2, PROC2_EPT_VE))
        return;
    fresh();
    memset(area, 0, sizeof(area));
    ctl_set(F_PROC2, PROC2_EPT_VE);
    vmwrite(F_VE_INFO, (uint64_t)area);
    sppt.vectors[1] = PART(0);
    expect_written("ve_allowed", 1, 0);
    run(s_spp_write, page(1) + 0x80);
    check_eq((uint64_t)l2_handler_vector(), 20, "ve_denied");
    check_eq(area[3], page(1) + 0x80, "ve_denied.physical");
    area[0] = 0;
    *link_of(3) = 0;
    flush_ept();
    expect_event("ve_miss", 1, 0, MISS);
}

/* Root B has page 4's memory where root A has page 1's, by parts both, and page 2 writable where A denies. */
static struct {
    uint64_t top[512], pdpt[512], data_pd[512], data_pt[512];
} root_b __attribute__((aligned(4096)));

static void build_root_b(void)
{
    memset(&root_b, 0, sizeof(root_b));
    root_b.top[0] = (uint64_t)root_b.pdpt | EPT_RWX;
    root_b.pdpt[0] = l2_ept.pdpt[0];
    root_b.pdpt[1] = (uint64_t)root_b.data_pd | EPT_RWX;
    root_b.data_pd[0] = (uint64_t)root_b.data_pt | EPT_RWX;
    root_b.data_pt[1] = (uint64_t)l2_data[4] | EPT_R | EPT_WB | SUBPAGES;
    root_b.data_pt[2] = (uint64_t)l2_data[2] | EPT_RWX | EPT_WB;
}

/* From where it is L2 goes to root @index and writes at @address: which page has it then, 0 for none. */
static void switch_and_write(unsigned i, unsigned index, uint64_t address, unsigned written)
{
    unsigned offset = address & 0xfff;

    memset(l2_data, 0, sizeof(l2_data));
    l2_start(s_spp_switch);
    l2.g.rdi = address;
    l2.g.rcx = index;
    l2.g.rbx = WRITTEN;
    (void)l2_run();
    check_eq(l2.reason, written != 0 ? R_VMCALL : R_EPT_VIOLATION, "switch%u", i);
    check_eq(vmread(F_G_RIP), (uint64_t)(written != 0 ? e_spp_switch : i_spp_switch),
             "switch%u.rip", i);
    check(vmread(F_EPTP) == list[index], "switch%u.eptp", i);
    for (unsigned p = 1; p <= 4; p++)
        check_eq(word_at(p, offset), p == written ? WRITTEN : 0, "switch%u.page%u", i, p);
}

static void switches(void)
{
    if (!ctl_can(F_PROC2, PROC2_VMFUNC))
        return;
    fresh();
    build_root_b();
    list[0] = vmread(F_EPTP);
    list[1] = (uint64_t)root_b.top | (vmread(F_EPTP) & 0xfff);
    ctl_set(F_PROC2, PROC2_VMFUNC);
    vmwrite(F_VMFUNC_CONTROLS, 1);
    vmwrite(F_EPTP_LIST, (uint64_t)list);
    sppt.vectors[1] = PART(0);
    flush_everything();
    expect_written("switch_before", 1, 0);
    for (unsigned i = 0; i < 12; i += 6) {
        switch_and_write(i, 1, page(1), 4);
        switch_and_write(i + 1, 0, page(1), 1);
        switch_and_write(i + 2, 1, page(1) + 0x80, 0);
        switch_and_write(i + 3, 0, page(2), 0);
        switch_and_write(i + 4, 1, page(2), 2);
        switch_and_write(i + 5, 0, page(1) + 0x80, 0);
    }
}

void test_spp_manual(void)
{
    if (!ctl_can(F_PROC2, PROC2_SUBPAGES))
        return;
    check_group("spp_manual");
    fresh();
    for (unsigned bit = 1; bit < 64; bit += 2) {
        sppt.vectors[1] = PART(0) | 1ull << bit;
        flush_ept();
        run(s_spp_write, page(1));
        check_eq(l2.reason, R_SPP, "vector.bit%u", bit);
        check_eq(vmread(F_QUALIFICATION), 0, "vector.bit%u.qualification", bit);
    }
    expect_event("vector", 1, 0x10, 0);
    sppt.vectors[1] = PART(0);
    expect_written("vector_mended", 1, 0x10);
    /* A page that cannot be read has none. */
    if (ept_can(1)) {
        sppt.vectors[1] = ALL_PARTS;
        l2_ept.data_pt[1] = (l2_ept.data_pt[1] & ~(EPT_R | EPT_W)) | EPT_X;
        flush_ept();
        run(s_spp_write, page(1));
        check_eq(l2.reason, R_EPT_VIOLATION, "execute_only");
    }
}

void test_spp(void)
{
    if (!ctl_can(F_PROC2, PROC2_SUBPAGES))
        return;
    check_group("spp");
    parts();
    pages();
    tables();
    rights();
    changes();
    events();
    flags();
    exceptions();
    switches();
}
