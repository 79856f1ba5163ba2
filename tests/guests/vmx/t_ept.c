/* SPDX-License-Identifier: MIT */
/*
 * EPT as L1 uses it: violations and what they say, misconfigurations, page sizes, accessed and
 * dirty flags, and when a change takes effect. [SDM 3C "The Extended Page Table Mechanism (EPT)"].
 * The tests bend l2_ept.data_pt, which maps L2_DATA.
 */
#include "l2.h"
#include "tests.h"

/* RDI is an address in L2. */
SNIPPET(p_read, "", "movq (%rdi), %rax", "");
SNIPPET(p_write, "", "movq %rax, (%rdi)", "");
SNIPPET(p_rmw, "", "lock addq $1, (%rdi)", "");
SNIPPET(p_fetch, "", "jmpq *%rdi", "");
SNIPPET(p_push, "movq %rdi, %rsp", "pushq %rax", "");
SNIPPET(p_read2, "movq (%rdi), %rax\nmovq %rsi, (%rbx)\ninvlpg (%rdi)", "movq (%rdi), %rcx", "");
SNIPPET(p_read_twice, "", "movq (%rdi), %rax", "movq (%rsi), %rcx");
SNIPPET(p_cr3, "movq (%rdi), %rax\nmovq %rsi, (%rbx)\nmovq %cr3, %rdx\nmovq %rdx, %cr3",
        "movq (%rdi), %rcx", "");

#define Q_READ 1u
#define Q_WRITE 2u
#define Q_FETCH 4u
#define Q_R (1u << 3)
#define Q_W (1u << 4)
#define Q_X (1u << 5)
#define Q_LINEAR (1u << 7)
#define Q_FINAL (1u << 8)
#define Q_MASK 0x1bfu

static uint64_t page(unsigned i)
{
    return L2_DATA + i * 4096ull;
}

static uint64_t host_page(unsigned i)
{
    return (uint64_t)l2_data[i];
}

static void fill_pages(void)
{
    for (unsigned i = 0; i < L2_DATA_PAGES; i++) {
        memset(l2_data[i], 0, 4096);
        *(uint64_t *)l2_data[i] = 0x1000 + i;
        /* VMCALL: what a fetch from the page runs into. */
        memcpy(&l2_data[i][0x800], "\x0f\x01\xc1", 3);
    }
}

static void fresh(void)
{
    l2_reset(L2_EPT);
    fill_pages();
}

static void touch(const char *code, uint64_t address)
{
    l2_start(code);
    l2.g.rdi = address;
    (void)l2_run();
}

/* The EPT context that INVEPT names. */
static void flush_ept(void)
{
    const struct inv_desc d = {vmread(F_EPTP), 0};

    (void)invept(1, &d);
}

static bool expect_violation(const char *name, uint32_t qualification, uint32_t mask, uint64_t gpa,
                             uint64_t linear, const char *rip)
{
    if (l2.reason != R_EPT_VIOLATION)
        return check_eq(l2.reason, R_EPT_VIOLATION, "%s", name);
    if ((vmread(F_QUALIFICATION) & mask) != qualification)
        return check_eq(vmread(F_QUALIFICATION) & mask, qualification, "%s (qualification)", name);
    if (vmread(F_GUEST_PHYS) != gpa)
        return check_eq(vmread(F_GUEST_PHYS), gpa, "%s (guest-physical)", name);
    if (vmread(F_LINEAR) != linear)
        return check_eq(vmread(F_LINEAR), linear, "%s (linear)", name);
    if (rip != NULL && vmread(F_G_RIP) != (uint64_t)rip)
        return check_eq(vmread(F_G_RIP), (uint64_t)rip, "%s (rip)", name);
    return check(true, "%s", name);
}

/* Every access against every set of rights that is not a misconfiguration. */
static void rights(void)
{
    static const struct {
        const char *name;
        uint64_t bits;
    } r[] = {{"none", 0}, {"r", EPT_R}, {"rw", EPT_R | EPT_W}, {"x", EPT_X}, {"rx", EPT_R | EPT_X},
             {"rwx", EPT_RWX}};
    static const struct {
        const char *name, *code, *insn;
        uint64_t needs;
        uint32_t offset;
    } a[] = {{"read", s_p_read, i_p_read, EPT_R, 0x10},
             {"write", s_p_write, i_p_write, EPT_W, 0x18},
             {"rmw", s_p_rmw, i_p_rmw, EPT_R | EPT_W, 0x20},
             {"push", s_p_push, i_p_push, EPT_W, 0x28},
             {"fetch", s_p_fetch, NULL, EPT_X, 0x800}};

    for (unsigned i = 0; i < sizeof(r) / sizeof(r[0]); i++) {
        for (unsigned j = 0; j < sizeof(a) / sizeof(a[0]); j++) {
            uint64_t at = page(1) + a[j].offset;
            bool push = a[j].code == s_p_push, fetch = a[j].code == s_p_fetch;
            uint32_t q = Q_LINEAR | Q_FINAL | (uint32_t)(r[i].bits << 3);
            char name[32];

            fresh();
            l2_ept.data_pt[1] = host_page(1) | EPT_WB | r[i].bits;
            if (r[i].bits == 0)
                l2_ept.data_pt[1] = 0;
            touch(a[j].code, at);
            rt_snprintf(name, sizeof(name), "rights.%s.%s", r[i].name, a[j].name);
            if ((r[i].bits & a[j].needs) == a[j].needs) {
                (void)expect_done(name);
                continue;
            }
            /* A read-modify-write may report the read beside the write. */
            q |= fetch ? Q_FETCH : (a[j].needs & EPT_W) ? Q_WRITE : Q_READ;
            (void)expect_violation(name, q, (a[j].needs & EPT_W) ? Q_MASK & ~Q_READ : Q_MASK,
                                   push ? at - 8 : at, push ? at - 8 : at,
                                   fetch ? (const char *)at : a[j].insn);
        }
    }
}

/* Rights are the intersection over all levels; any level may end the walk. */
static void levels(void)
{
    static const struct {
        const char *name;
        uint64_t *entry;
    } level[] = {{"pml4e", &l2_ept.top[0]}, {"pdpte", &l2_ept.pdpt[1]}, {"pde", &l2_ept.data_pd[0]},
                 {"pte", &l2_ept.data_pt[2]}};

    for (unsigned i = 1; i < 4; i++) {
        fresh();
        *level[i].entry &= ~EPT_W;
        touch(s_p_write, page(2) + 8);
        check_eq(l2.reason, R_EPT_VIOLATION, "levels.write_protected.%s", level[i].name);
        check_eq(vmread(F_QUALIFICATION) & Q_MASK,
                 Q_WRITE | Q_R | Q_X | Q_LINEAR | Q_FINAL, "levels.rights.%s", level[i].name);
        touch(s_p_read, page(2));
        (void)expect_done("levels.still_readable");
        fresh();
        *level[i].entry = 0;
        touch(s_p_read, page(2) + 16);
        (void)expect_violation("levels.absent", Q_READ | Q_LINEAR | Q_FINAL, Q_MASK, page(2) + 16,
                               page(2) + 16, i_p_read);
    }
    /* Beyond what the tables map at the top: L2's tables lead to a high guest-physical address. */
    fresh();
    l2_paging.data_pt[3] = 0x8000000000ull | 7;
    touch(s_p_read, page(3) + 0x123);
    (void)expect_violation("levels.high_address", Q_READ | Q_LINEAR | Q_FINAL, Q_MASK,
                           0x8000000123ull, page(3) + 0x123, i_p_read);
    fresh();
    l2_ept.top[0] &= ~EPT_X;
    touch(s_p_read, page(2));
    check_eq(l2.reason, R_EPT_VIOLATION, "levels.pml4e_not_executable");
    check_eq(vmread(F_QUALIFICATION) & (Q_FETCH | Q_R | Q_W | Q_X), Q_FETCH | Q_R | Q_W,
             "levels.pml4e_not_executable_rights");
}

/* L2's own page table lies in a page that EPT does not give: not the final access. */
static void walk_of_l2_tables(void)
{
    uint64_t entry = page(4) + 5 * 8;

    fresh();
    memcpy(l2_data[4], l2_paging.data_pt, 4096);
    l2_paging.data_pd[0] = page(4) | 7;
    touch(s_p_read, page(5));
    (void)expect_done("walk.table_in_data_page");
    check_eq(l2.g.rax, 0x1005, "walk.value");
    l2_ept.data_pt[4] = 0;
    flush_ept();
    touch(s_p_read, page(5) + 8);
    (void)expect_violation("walk.table_absent", Q_LINEAR, Q_LINEAR | Q_FINAL | Q_R | Q_W | Q_X,
                           entry, page(5) + 8, i_p_read);
    l2_ept.data_pt[4] = host_page(4) | EPT_WB | EPT_X;
    touch(s_p_read, page(5) + 8);
    (void)expect_violation("walk.table_not_readable", Q_READ | Q_LINEAR | Q_X, Q_MASK & ~Q_WRITE,
                           entry, page(5) + 8, i_p_read);
    /* A fault of L2's own tables is L2's, whatever EPT says about the page. */
    fresh();
    l2_paging.data_pt[5] = 0;
    l2_ept.data_pt[5] = 0;
    touch(s_p_read, page(5));
    check_eq((uint64_t)l2_handler_vector(), 14, "walk.own_fault_first");
    check_eq(rt_read_cr2(), page(5), "walk.own_fault_cr2");
}

static void misconfigurations(void)
{
    static const struct {
        const char *name;
        unsigned level; /* 0 is the PML4 entry */
        uint64_t clear, set;
    } m[] = {
        {"pte.w", 3, EPT_RWX, EPT_W},
        {"pte.wx", 3, EPT_RWX, EPT_W | EPT_X},
        {"pte.memory_type_2", 3, 0x38, 2 << 3},
        {"pte.memory_type_3", 3, 0x38, 3 << 3},
        {"pte.memory_type_7", 3, 0x38, 7 << 3},
        {"pte.physical_width", 3, 0, 1ull << 51},
        {"pde.w", 2, EPT_RWX, EPT_W},
        {"pde.bit_3", 2, 0, 1 << 3},
        {"pde.bit_6", 2, 0, 1 << 6},
        {"pde.physical_width", 2, 0, 1ull << 50},
        {"pdpte.wx", 1, EPT_RWX, EPT_W | EPT_X},
        {"pdpte.bit_4", 1, 0, 1 << 4},
        {"large_pde.bit_20", 2, 0, EPT_LARGE | (1 << 20)},
        {"large_pde.memory_type", 2, 0x38, EPT_LARGE | (5ull << 3) | (2ull << 3)},
        {"large_pdpte.bit_29", 1, 0, EPT_LARGE | (1 << 29)},
    };

    for (unsigned i = 0; i < sizeof(m) / sizeof(m[0]); i++) {
        uint64_t *entry[] = {&l2_ept.top[0], &l2_ept.pdpt[1], &l2_ept.data_pd[0],
                             &l2_ept.data_pt[1]};

        fresh();
        *entry[m[i].level] = (*entry[m[i].level] & ~m[i].clear) | m[i].set;
        touch(s_p_read, page(1) + 0x40);
        check_eq(l2.reason, R_EPT_MISCONFIG, "misconfiguration.%s", m[i].name);
        check_eq(vmread(F_GUEST_PHYS), page(1) + 0x40, "misconfiguration.%s.address", m[i].name);
        check_eq(vmread(F_G_RIP), (uint64_t)i_p_read, "misconfiguration.%s.rip", m[i].name);
    }
    /* Bits that are ignored are not misconfigurations. */
    fresh();
    l2_ept.data_pt[1] |= (1ull << 11) | (0x3ffull << 52) | (1ull << 6);
    l2_ept.data_pd[0] |= (1ull << 11) | (0x3ffull << 52);
    touch(s_p_read, page(1));
    (void)expect_done("misconfiguration.ignored_bits");
    /* An entry that is not present is not looked at further. */
    fresh();
    l2_ept.data_pt[1] = 0x7ffffffff8ull & ~7ull;
    touch(s_p_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "misconfiguration.absent_with_bits");
}

static void page_of_1g(void)
{
    fresh();
    l2_ept.pdpt[1] = EPT_RWX | EPT_WB | EPT_LARGE;
    l2_paging.data_pd[0] = L2_DATA | 0x87;
    touch(s_p_read, L2_DATA + 0x1000);
    (void)expect_done("size.1g");
    check_eq(l2.g.rax, *(volatile uint64_t *)0x1000ull, "size.1g.value");
}

static void page_sizes(void)
{
    fresh();
    l2_ept.data_pd[0] = (host_page(0) & ~0x1fffffull) | EPT_RWX | EPT_WB | EPT_LARGE;
    touch(s_p_read, L2_DATA + 0x1000);
    (void)expect_done("size.2m");
    check_eq(l2.g.rax, *(uint64_t *)((host_page(0) & ~0x1fffffull) + 0x1000), "size.2m.value");
    if (ept_can(EPT_CAP_1G))
        page_of_1g();
    /* A large page may be read-only like any other. */
    fresh();
    l2_ept.data_pd[0] = (host_page(0) & ~0x1fffffull) | EPT_R | EPT_WB | EPT_LARGE;
    touch(s_p_write, L2_DATA + 0x1000);
    (void)expect_violation("size.2m.read_only", Q_WRITE | Q_R | Q_LINEAR | Q_FINAL,
                           Q_MASK & ~Q_READ, L2_DATA + 0x1000, L2_DATA + 0x1000, i_p_write);
    for (uint64_t type = 0; type < 7; type++) {
        if (type == 2 || type == 3)
            continue;
        fresh();
        l2_ept.data_pt[1] = host_page(1) | EPT_RWX | (type << 3);
        touch(s_p_read, page(1));
        check(l2.reason == R_VMCALL && l2.g.rax == 0x1001, "memory_type.%lu", type);
    }
}

static void accessed_dirty(void)
{
    const uint64_t ad = EPT_A | EPT_D;

    fresh();
    touch(s_p_write, page(1) + 8);
    check_eq(l2_ept.data_pt[1] & ad, 0, "ad.off_leaf");
    check_eq(l2_ept.top[0] & ad, 0, "ad.off_top");
    if (!ept_can(EPT_CAP_AD))
        return;
    fresh();
    vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    touch(s_p_read, page(1));
    (void)expect_done("ad.read");
    check_eq(l2_ept.data_pt[1] & ad, EPT_A, "ad.read_leaf");
    check_eq(l2_ept.data_pd[0] & ad, EPT_A, "ad.read_pde");
    check_eq(l2_ept.pdpt[1] & ad, EPT_A, "ad.read_pdpte");
    check_eq(l2_ept.top[0] & ad, EPT_A, "ad.read_top");
    check_eq(l2_ept.data_pt[2] & ad, 0, "ad.other_page");
    touch(s_p_write, page(1) + 8);
    (void)expect_done("ad.write");
    check_eq(l2_ept.data_pt[1] & ad, ad, "ad.write_leaf");
    /* L2's paging structures are written as far as EPT is concerned. */
    fresh();
    vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    memcpy(l2_data[4], l2_paging.data_pt, 4096);
    l2_paging.data_pd[0] = page(4) | 7;
    touch(s_p_read, page(1));
    check_eq(l2_ept.data_pt[4] & ad, ad, "ad.table_of_l2_is_dirty");
    /* Cleared flags come back after INVEPT. */
    l2_ept.data_pt[1] &= ~ad;
    flush_ept();
    touch(s_p_write, page(1) + 8);
    check_eq(l2_ept.data_pt[1] & ad, ad, "ad.set_again");
    fresh();
    vmwrite(F_EPTP, vmread(F_EPTP) | EPTP_AD);
    l2_ept.data_pt[1] &= ~EPT_W;
    touch(s_p_write, page(1) + 8);
    check_eq(l2.reason, R_EPT_VIOLATION, "ad.violation");
    check_eq(l2_ept.data_pt[1] & EPT_D, 0, "ad.violation_leaves_clean");
}

static uint64_t value_after(const char *code, uint64_t address)
{
    touch(code, address);
    return l2.reason == R_VMCALL ? l2.g.rax : ANY;
}

/* Changes that need no invalidation, and those that INVEPT makes visible. */
static void changes(void)
{
    const struct inv_desc none = {0, 0};

    fresh();
    l2_ept.data_pt[1] = 0;
    touch(s_p_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "change.absent");
    l2_ept.data_pt[1] = host_page(1) | EPT_RWX | EPT_WB;
    (void)l2_run();
    (void)expect_done("change.present_after_violation");
    check_eq(l2.g.rax, 0x1001, "change.present_after_violation_value");
    l2_ept.data_pt[2] &= ~EPT_W;
    flush_ept();
    touch(s_p_write, page(2) + 8);
    check_eq(l2.reason, R_EPT_VIOLATION, "change.read_only");
    l2_ept.data_pt[2] |= EPT_W;
    (void)l2_run();
    (void)expect_done("change.writable_after_violation");

    fresh();
    check_eq(value_after(s_p_read, page(1)), 0x1001, "change.before_remap");
    l2_ept.data_pt[1] = host_page(6) | EPT_RWX | EPT_WB;
    flush_ept();
    check_eq(value_after(s_p_read, page(1)), 0x1006, "change.remap_invept_single");
    l2_ept.data_pt[1] = host_page(5) | EPT_RWX | EPT_WB;
    (void)invept(2, &none);
    check_eq(value_after(s_p_read, page(1)), 0x1005, "change.remap_invept_all");
    l2_ept.data_pt[1] = 0;
    flush_ept();
    touch(s_p_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "change.revoked");
    fresh();
    touch(s_p_write, page(1) + 8);
    l2_ept.data_pt[1] &= ~EPT_W;
    flush_ept();
    touch(s_p_write, page(1) + 8);
    check_eq(l2.reason, R_EPT_VIOLATION, "change.write_revoked");
    fresh();
    touch(s_p_read, page(1));
    l2_ept.pdpt[1] = 0;
    flush_ept();
    touch(s_p_read, page(1));
    check_eq(l2.reason, R_EPT_VIOLATION, "change.upper_level_revoked");
    l2_ept.pdpt[1] = (uint64_t)l2_ept.data_pd | EPT_RWX;
    (void)l2_run();
    (void)expect_done("change.upper_level_back");
}

/* A second root: another EPTP takes effect at the entry, and the first one keeps its content. */
static void two_roots(void)
{
    static struct tables other __attribute__((aligned(4096)));
    uint64_t first, second;

    fresh();
    memcpy(&other, &l2_ept, sizeof(other));
    other.top[0] = (uint64_t)other.pdpt | EPT_RWX;
    other.pdpt[1] = (uint64_t)other.data_pd | EPT_RWX;
    other.data_pd[0] = (uint64_t)other.data_pt | EPT_RWX;
    other.data_pt[1] = host_page(6) | EPT_RWX | EPT_WB;
    first = vmread(F_EPTP);
    second = (uint64_t)other.top | EPTP_WALK4 | EPTP_WB;
    for (unsigned i = 0; i < 3; i++) {
        vmwrite(F_EPTP, first);
        check_eq(value_after(s_p_read, page(1)), 0x1001, "roots.first.%u", i);
        vmwrite(F_EPTP, second);
        check_eq(value_after(s_p_read, page(1)), 0x1006, "roots.second.%u", i);
    }
    /* INVEPT of one root leaves the other as it is, and stale entries of neither leak. */
    other.data_pt[1] = host_page(5) | EPT_RWX | EPT_WB;
    (void)invept(1, &(struct inv_desc){second, 0});
    vmwrite(F_EPTP, first);
    check_eq(value_after(s_p_read, page(1)), 0x1001, "roots.first_after_invept");
    vmwrite(F_EPTP, second);
    check_eq(value_after(s_p_read, page(1)), 0x1005, "roots.second_after_invept");
}

/* L2 changes its own tables: INVLPG and MOV CR3 in L2, INVVPID in L1. */
static void l2_own_tables(enum l2_mode mode)
{
    uint64_t third = mode == L2_PLAIN ? host_page(3) : page(3);
    uint64_t fourth = mode == L2_PLAIN ? host_page(4) : page(4);
    const char *code[] = {s_p_read2, s_p_cr3};
    static const char *const name[] = {"invlpg", "mov_cr3"};

    for (unsigned i = 0; i < 2; i++) {
        l2_reset(mode);
        fill_pages();
        l2_start(code[i]);
        l2.g.rdi = page(1);
        l2.g.rsi = third | 7;
        l2.g.rbx = (uint64_t)&l2_paging.data_pt[1];
        (void)l2_run();
        (void)expect_done(name[i]);
        check(l2.g.rax == 0x1001 && l2.g.rcx == 0x1003, "%s.values", name[i]);
    }
    l2_paging.data_pt[1] = fourth | 7;
    (void)invvpid(1, &(struct inv_desc){1, 0});
    check_eq(value_after(s_p_read, page(1)), 0x1004, "invvpid_single");
    l2_paging.data_pt[1] = third | 7;
    (void)invvpid(0, &(struct inv_desc){1, page(1)});
    check_eq(value_after(s_p_read, page(1)), 0x1003, "invvpid_address");
    l2_paging.data_pt[1] = fourth | 7;
    (void)invvpid(3, &(struct inv_desc){1, 0});
    check_eq(value_after(s_p_read, page(1)), 0x1004, "invvpid_retaining_globals");
    l2_paging.data_pt[1] = third | 7;
    (void)invvpid(2, &(struct inv_desc){0, 0});
    check_eq(value_after(s_p_read, page(1)), 0x1003, "invvpid_all");
    l2_paging.data_pt[1] = 0;
    (void)invvpid(2, &(struct inv_desc){0, 0});
    touch(s_p_read, page(1));
    check_eq((uint64_t)l2_handler_vector(), 14, "own_page_fault");
    check_eq(l2_frame()[0], 0, "own_page_fault_error");
    check_eq(rt_read_cr2(), page(1), "own_page_fault_cr2");
    check_eq(l2_paging.data_pt[3] & 0x60, 0, "own_accessed_clear");
    touch(s_p_write, page(3) + 8);
    check_eq(l2_paging.data_pt[3] & 0x60, 0x60, "own_accessed_dirty");
    touch(s_p_read, page(5));
    check_eq(l2_paging.data_pt[5] & 0x60, 0x20, "own_accessed");
}

void test_ept(void)
{
    check_group("ept");
    rights();
    levels();
    walk_of_l2_tables();
    misconfigurations();
    page_sizes();
    accessed_dirty();
    changes();
    two_roots();
    check_group("tables.ept");
    l2_own_tables(L2_EPT);
    check_group("tables.plain");
    l2_own_tables(L2_PLAIN);
}
