/* SPDX-License-Identifier: MIT */
/*
 * L2 in every processor mode VMRUN can start: real, 16- and 32-bit protected without paging, with
 * two-level and PAE paging, compatibility, CPL 3; the SVM instructions in each; and an L2 that
 * climbs from real to long mode by itself. [APM 2 "VMRUN Instruction"], [APM 2 "Paged Real Mode"].
 */
#include "cpu.h"
#include "l2.h"
#include "paging.h"
#include "subjects.h"
#include "t.h"

/*
 * 16-bit code runs at CS.base = its own address; DS is flat, so that absolute addresses work. The
 * snippet stores, loads, calls on its stack, and leaves by VMMCALL.
 */
#define BODY                                                                                       \
    "mov $l2_page, %edi; mov $0x12345678, %eax; mov %eax, (%edi); xor %ebx, %ebx;"                 \
    "mov (%edi), %ebx;"                                                                            \
    "push %bx; pop %cx; call 2f; jmp 3f; 2: mov $0x77, %dl; ret; 3:"
#define SNIPPET16(name, setup, insn) SNIPPET(name, ".code16\n" setup, insn "\n.code64")
#define SNIPPET32(name, setup, insn) SNIPPET(name, ".code32\n" setup, insn "\n.code64")

SNIPPET16(g_body16, BODY, "cpuid");
SNIPPET32(g_body32,
          "mov $0x12345678, %eax; mov %eax, l2_page; xor %ebx, %ebx; mov l2_page, %ebx;"
          "push %ebx; pop %ecx; call 2f; jmp 3f; 2: mov $0x77, %dl; ret; 3:",
          "cpuid");
SNIPPET32(g_into, "mov $0x7fffffff, %eax; add $1, %eax", "into");
SNIPPET32(g_bound, "movl $1, l2_page; movl $2, l2_page+4; mov $3, %eax", "bound %eax, l2_page");

enum kind { REAL, PAGED_REAL, V86, PROT16, PROT32, LEGACY, PAE, COMPAT, USER64, USER32, LA57 };

struct mode {
    const char *name;
    enum kind kind;
    bool code16;
};

static const struct mode kinds[] = {
    {"real", REAL, true},      {"paged-real", PAGED_REAL, true},
    {"v86", V86, true},        {"prot16", PROT16, true},   {"prot32", PROT32, false},
    {"legacy", LEGACY, false}, {"pae", PAE, false},        {"compat", COMPAT, false},
    {"user64", USER64, false}, {"user32", USER32, false},  {"la57", LA57, false},
};

static void seg(struct vmcb_seg *s, uint16_t selector, uint16_t attrib, uint32_t limit,
                uint64_t base)
{
    *s = (struct vmcb_seg){selector, attrib, limit, base};
}

static void flat(uint16_t cs, uint16_t cs_attrib, uint16_t ds, uint16_t ds_attrib)
{
    seg(&l2.vmcb->cs, cs, cs_attrib, 0xffffffff, 0);
    seg(&l2.vmcb->ds, ds, ds_attrib, 0xffffffff, 0);
    l2.vmcb->es = l2.vmcb->ds;
    l2.vmcb->ss = l2.vmcb->ds;
}

static void sixteen(const uint8_t *code, uint16_t cs_attrib)
{
    uint64_t base = pa(code) & ~15ull;

    seg(&l2.vmcb->cs, SEL_CODE16, cs_attrib, 0xffff, base);
    seg(&l2.vmcb->ds, SEL_DATA16, 0xc93, 0xffffffff, 0);
    l2.vmcb->es = l2.vmcb->ds;
    seg(&l2.vmcb->ss, SEL_DATA16, 0x93, 0xffff, pa(l2_page) + 0x1000);
    l2.vmcb->rsp = 0xff0;
    l2.vmcb->rip = pa(code) - base;
}

/* A fifth level above L2's tables. */
static void five_levels(void)
{
    uint64_t *top = page_get();

    top[0] = pa(l2.cr3) | PT_P | PT_W | PT_U | PT_A;
    l2.vmcb->cr3 = pa(top);
    l2.vmcb->cr4 |= CR4_LA57;
}

/* Turns the long-mode L2 that l2_reset() made into one of another kind, about to run code. */
static void become(enum kind kind, const uint8_t *code)
{
    struct vmcb *v = l2.vmcb;

    v->rip = pa(code);
    if (kind != COMPAT && kind != USER64 && kind != USER32 && kind != LA57) {
        v->efer &= ~(EFER_LME | EFER_LMA);
    }
    switch (kind) {
    case REAL:
        v->cr0 &= ~(CR0_PE | CR0_PG);
        v->cr4 &= ~CR4_PAE;
        seg(&v->idtr, 0, 0, 0x3ff, 0);
        sixteen(code, 0x9b);
        break;
    case PAGED_REAL:
        v->cr0 &= ~CR0_PE;
        v->cr4 = (v->cr4 & ~CR4_PAE) | CR4_PSE;
        v->cr3 = pa(pt_identity_legacy(PT_P | PT_W | PT_U));
        seg(&v->idtr, 0, 0, 0x3ff, 0);
        sixteen(code, 0x9b);
        break;
    case V86:
        v->cr0 &= ~CR0_PG;
        v->cr4 &= ~CR4_PAE;
        v->rflags |= 1ull << 17 | 3u << 12;
        v->cpl = 3;
        sixteen(code, 0xf3);
        v->ss.attrib = v->ds.attrib = v->es.attrib = 0xf3;
        break;
    case PROT16:
        v->cr0 &= ~CR0_PG;
        v->cr4 &= ~CR4_PAE;
        sixteen(code, 0x9b);
        break;
    case PROT32:
        v->cr0 &= ~CR0_PG;
        v->cr4 &= ~CR4_PAE;
        flat(SEL_CODE32, 0xc9b, SEL_DATA, 0xc93);
        break;
    case LEGACY:
        v->cr4 = (v->cr4 & ~CR4_PAE) | CR4_PSE;
        v->cr3 = pa(pt_identity_legacy(PT_P | PT_W | PT_U));
        flat(SEL_CODE32, 0xc9b, SEL_DATA, 0xc93);
        break;
    case PAE:
        v->cr3 = pa(pt_identity_pae(PT_P | PT_W | PT_U));
        flat(SEL_CODE32, 0xc9b, SEL_DATA, 0xc93);
        break;
    case COMPAT:
        flat(SEL_CODE32, 0xc9b, SEL_DATA, 0xc93);
        break;
    case USER64:
        l2_user();
        break;
    case LA57:
        five_levels();
        break;
    case USER32:
        flat(SEL_UCODE32 | 3, 0xcfb, SEL_UDATA | 3, 0xcf3);
        v->cpl = 3;
        break;
    }
}

static const uint8_t *body(const struct mode *m)
{
    return m->code16 ? g_body16 : g_body32;
}

/* user64 cannot run 32-bit code with absolute addresses unchanged: it has its own body. */
SNIPPET(g_body64,
        "mov $0x12345678, %eax; mov %eax, l2_page(%rip); xor %ebx, %ebx; mov l2_page(%rip), %ebx;"
        "push %rbx; pop %rcx; call 2f; jmp 3f; 2: mov $0x77, %dl; ret; 3:",
        "cpuid");

static bool is_64bit(enum kind kind)
{
    return kind == USER64 || kind == LA57;
}

static bool at_cpl3(enum kind kind)
{
    return kind == USER64 || kind == USER32 || kind == V86;
}

static void runs(enum l2_mode mode, const struct mode *m)
{
    const uint8_t *code = is_64bit(m->kind) ? g_body64 : body(m);
    const uint8_t *at = is_64bit(m->kind) ? g_body64_at : m->code16 ? g_body16_at : g_body32_at;
    uint64_t base = m->code16 ? pa(code) & ~15ull : 0;

    l2_reset(mode);
    become(m->kind, code);
    l2_intercept(ICPT_CPUID, true);
    l2.g.rdx = 0;
    t_eq(m->name, "cpuid-exit", l2_run(), EXIT_MISC(ICPT_CPUID));
    t_eq(m->name, "rip", l2.vmcb->rip, pa(at) - base);
    t_eq(m->name, "memory", *(uint32_t *)(void *)l2_page, 0x12345678);
    t_eq(m->name, "rbx", (uint32_t)l2.g.rbx, 0x12345678);
    t_eq(m->name, "stack", l2.g.rcx & 0xffff, 0x5678);
    t_eq(m->name, "call", l2.g.rdx & 0xff, 0x77);
    t_eq(m->name, "cpl", l2.vmcb->cpl, at_cpl3(m->kind) ? 3 : 0);
    if (cpu_has_nrips()) {
        t_eq(m->name, "nrip", l2.vmcb->nrip, pa(at) + 2 - base);
    }
    t_eq(m->name, "goes-on", l2_resume(2), EXIT_VMMCALL);
}

/* Raw bytes, the same in every mode. */
#define RAW(name, bytes) SNIPPET(name, "", ".byte " bytes)
RAW(g_m_vmrun, "0x0f,0x01,0xd8");
RAW(g_m_vmload, "0x0f,0x01,0xda");
RAW(g_m_vmsave, "0x0f,0x01,0xdb");
RAW(g_m_stgi, "0x0f,0x01,0xdc");
RAW(g_m_clgi, "0x0f,0x01,0xdd");
RAW(g_m_invlpga, "0x0f,0x01,0xdf");

static const struct svm_op {
    const char *name;
    const uint8_t *code;
    unsigned int bit;
} svm_ops[] = {
    {"vmrun", g_m_vmrun, ICPT_VMRUN}, {"vmload", g_m_vmload, ICPT_VMLOAD},
    {"vmsave", g_m_vmsave, ICPT_VMSAVE}, {"stgi", g_m_stgi, ICPT_STGI},
    {"clgi", g_m_clgi, ICPT_CLGI}, {"invlpga", g_m_invlpga, ICPT_INVLPGA},
};

/*
 * Real and virtual-8086 mode: #UD. CPL 3: #GP. Else the intercept. Both exceptions come before the
 * intercept.
 */
static uint64_t svm_op_exit(enum kind kind, unsigned int bit)
{
    if (kind == REAL || kind == PAGED_REAL || kind == V86) {
        return EXIT_EXC(VEC_UD);
    }
    return at_cpl3(kind) ? EXIT_EXC(VEC_GP) : EXIT_MISC(bit);
}

static void svm_instructions(enum l2_mode mode, const struct mode *m)
{
    for (unsigned int i = 0; i < sizeof svm_ops / sizeof svm_ops[0]; i++) {
        l2_reset(mode);
        become(m->kind, svm_ops[i].code);
        l2_intercept(svm_ops[i].bit, true);
        l2.vmcb->rax = pa(&vmcb_scratch);
        t_eq(m->name, svm_ops[i].name, l2_run(), svm_op_exit(m->kind, svm_ops[i].bit));
    }
    /* EFER.SVME is never 0 in L2's EFER, so VMMCALL is the intercept in every mode. */
    l2_reset(mode);
    become(m->kind, g_body64_next);
    t_eq(m->name, "vmmcall", l2_run(), EXIT_VMMCALL);
}

static void thirty_two_bit_exceptions(enum l2_mode mode)
{
    if (!t_skip("into")) {
        l2_reset(mode);
        become(PROT32, g_into);
        t_eq("into", "code", l2_run(), EXIT_EXC(VEC_OF));
    }
    l2_reset(mode);
    become(PROT32, g_bound);
    t_eq("bound", "code", l2_run(), EXIT_EXC(VEC_BR));
    t_eq("bound", "rip", l2.vmcb->rip, pa(g_bound_at));
}

/*
 * From real mode to long mode on L2's own feet. ESI: its PML4; EDI: GDT pointer.
 */
SNIPPET16(g_climb,
          "lgdtl (%edi); mov %cr4, %eax; or $0x20, %eax; mov %eax, %cr4;"
          "mov %esi, %eax; mov %eax, %cr3;"
          "mov $0xc0000080, %ecx; rdmsr; or $0x100, %eax; wrmsr;"
          "mov %cr0, %eax; or $0x80000001, %eax; mov %eax, %cr0; ljmpl $8, $g_climb64\n"
          ".code64\ng_climb64: mov $0x10, %eax; mov %eax, %ss; mov %eax, %ds;"
          "movabs $0x1122334455667788, %rax; mov %rax, l2_page(%rip); mov l2_page(%rip), %rbx",
          "nop");
/* And in steps: protected mode, paging on, off again. */
SNIPPET32(g_paging_toggle,
          "mov %esi, %cr3; mov %cr0, %eax; bts $31, %eax; mov %eax, %cr0; mov l2_page, %ebx;"
          "mov %cr0, %eax; btr $31, %eax; mov %eax, %cr0; mov l2_page, %edx",
          "nop");

static struct rt_dtr climb_gdt;

static void climbs(enum l2_mode mode)
{
    l2_reset(mode);
    become(REAL, g_climb);
    climb_gdt = (struct rt_dtr){GDT_LIMIT, pa(gdt_storage)};
    l2.g.rsi = pa(l2.cr3);
    l2.g.rdi = pa(&climb_gdt);
    t_eq("climb", "code", l2_run(), EXIT_VMMCALL);
    t_eq("climb", "rip", l2.vmcb->rip, pa(g_climb_next));
    t_eq("climb", "value", l2.g.rbx, 0x1122334455667788);
    t_eq("climb", "efer", l2.vmcb->efer & (EFER_LME | EFER_LMA), EFER_LME | EFER_LMA);
    t_eq("climb", "cr0", l2.vmcb->cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
}

/* With paging on, l2_page's address shows another page. */
static void put_elsewhere(uint32_t *tables)
{
    uint32_t *leaf = page_get();
    uint32_t *other = page_get();
    uint32_t first = (uint32_t)(pa(l2_page) >> 22) << 22;

    for (uint32_t i = 0; i < 1024; i++) {
        leaf[i] = (first + i * 4096) | 7;
    }
    other[0] = 0x2222;
    *(uint32_t *)(void *)l2_page = 0x1111;
    leaf[(pa(l2_page) >> 12) & 1023] = (uint32_t)pa(other) | 7;
    tables[pa(l2_page) >> 22] = (uint32_t)pa(leaf) | 7;
}

static void toggles_paging(enum l2_mode mode)
{
    uint32_t *tables;

    l2_reset(mode);
    become(PROT32, g_paging_toggle);
    l2.vmcb->cr4 |= CR4_PSE;
    tables = pt_identity_legacy(PT_P | PT_W | PT_U);
    put_elsewhere(tables);
    l2.g.rsi = pa(tables);
    t_eq("toggle", "code", l2_run(), EXIT_VMMCALL);
    t_eq("toggle", "paging-on", (uint32_t)l2.g.rbx, 0x2222);
    t_eq("toggle", "paging-off", (uint32_t)l2.g.rdx, 0x1111);
}

/* Real mode's interrupt table, at 0 of L2's memory; that page is L1's choice. */
/* The table is read before: some emulators lose an INT that a fault below L1 interrupts. */
SNIPPET16(g_real_int, "xor %edi, %edi; mov (%edi), %eax; push %ax; pop %ax", "int $0x21");

static void real_mode_interrupt(void)
{
    uint32_t *ivt;

    l2_reset(L2_NPT);
    become(REAL, g_real_int);
    ivt = page_get();
    ivt[0x21] = 0x0000 | 0x0700 << 16;
    *pt_entry(l2.npt, 0, 1) = pa(ivt) | PT_P | PT_W | PT_U;
    /* The handler at 0700:0000 is the page with the VMMCALL. */
    *pt_entry(l2.npt, 0x7000, 1) = pa(l2_page) | PT_P | PT_W | PT_U;
    l2_page[0] = 0x0f;
    l2_page[1] = 0x01;
    l2_page[2] = 0xd9;
    t_eq("real-int", "code", l2_run(), EXIT_VMMCALL);
    t_eq("real-int", "cs", l2.vmcb->cs.selector, 0x700);
    t_eq("real-int", "cs-base", l2.vmcb->cs.base, 0x7000);
    t_eq("real-int", "rip", l2.vmcb->rip, 0);
    t_eq("real-int", "sp", l2.vmcb->rsp, 0xff0 - 6);
}

void test_modes(void)
{
    static const enum l2_mode modes[] = {L2_NPT, L2_SHADOW};

    for (unsigned int m = 0; m < 2; m++) {
        t_group("mode", l2_mode_name(modes[m]));
        for (unsigned int i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            if (kinds[i].kind == LA57 && !cpu_has_la57()) {
                t_absent(kinds[i].name);
                continue;
            }
            if (t_skip(kinds[i].name)) {
                continue;
            }
            runs(modes[m], &kinds[i]);
            svm_instructions(modes[m], &kinds[i]);
        }
        thirty_two_bit_exceptions(modes[m]);
        climbs(modes[m]);
        toggles_paging(modes[m]);
    }
    t_group("mode", "npt");
    real_mode_interrupt();
}
