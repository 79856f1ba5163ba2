/* SPDX-License-Identifier: MIT */
/*
 * Walks of tables that L1 wrote: its own page tables, EPT12 and NPT12, tables of L2 behind them,
 * and the second-stage faults that turn them into shadow tables. Tables have any content, point
 * anywhere (at each other, at themselves, outside L1's memory), and on request change while they
 * are read.
 *
 * Rules, for any content: work is bounded; what is found lies within L1's physical width and keeps
 * the offset; only accessed and dirty bits of L1's memory change, and only when asked for; as long
 * as nobody else writes, a walk done twice has the same answer, and what a fault installed is what
 * the walk of L1's tables found, at the place where the host has it. Where L1 has a log of the
 * pages that become dirty, it names just those, and no flag is set while it is full. Where a page has
 * sub-page permissions, hardware gets the vectors of L1's table, without its reserved bits.
 */
#include "ept/ept.h"
#include "hw_tables.h"
#include "mmu_audit.h"
#include "input.h"
#include "npt/npt.h"

#include <nvirt/x86.h>

#define TABLES UINT64_C(0x10000)
#define TABLE_PAGES 10u
#define SPPT12 (TABLES + 0x7000)
#define LOG_PAGE (RAM_BYTES - 3 * 4096)
#define ROOTS 4u
/* A walk: 8 restarts, 5 levels, a read and an exchange each, and room for the shadow tables. */
#define WALK_WORK 1024u
#define WIDE_PAT UINT64_C(0x0007040600070406)

static const uint64_t addresses[] = {
    TABLES, TABLES + 0x1000, TABLES + 0x2000, TABLES + 0x3000, TABLES + 0x4000, TABLES + 0x5000,
    TABLES + 0x6000, TABLES + 0x7000, TABLES + 0x8000, TABLES + 0x9000, 0, 0x200000, 0x400000,
    0x40000000, RAM_BYTES - 4096, READ_ONLY, DEVICE, LARGE_BLOCK, LARGE_BLOCK + 0x200000, 0x3ff000,
    0x2000000, (UINT64_C(1) << ADDRESS_BITS) - 4096,
};
#define ADDRESSES ((uint32_t)(sizeof addresses / sizeof addresses[0]))

/* What is looked up. */
static const uint64_t linear[] = {
    0, 0x1000, 0x1ff000, 0x200000, 0x3ff000, 0x400000, 0x40000000, 0xfffff000, 0x8000000000,
    0x7fffffffe000, 0xffff800000000000, 0xffffffffffe00000, 0xfffffffffffff000, READ_ONLY, DEVICE,
    LARGE_BLOCK,
};
#define LINEAR ((uint32_t)(sizeof linear / sizeof linear[0]))

enum kind { PAGING, EPT, NPT, KINDS };

struct fuzz {
    struct nvirt_port_vm *port;
    struct nvirt_vm vm;
    struct nvirt_stats stats;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[ROOTS];
    struct nvi_mmu_root *root;
    struct nvi_mmu_key key;
    struct nvi_ept_config ept;
    struct nvi_npt_config npt;
    struct nvi_paging paging;
    struct nvi_ept_log log; /* With an address: L1 has one. */
    enum kind kind;
    struct input in;
    bool disturbed; /* Somebody else writes L1's memory, or calls fail. */
};

static struct fuzz fuzz;
static uint8_t before[TABLE_PAGES * 4096], after[TABLE_PAGES * 4096];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the world ---- */

static void make_paging(struct nvi_paging *p, uint8_t mode, uint8_t flags)
{
    static const enum nvi_paging_format formats[] = { NVI_PAGING_4LEVEL, NVI_PAGING_PAE,
                                                      NVI_PAGING_32BIT, NVI_PAGING_5LEVEL,
                                                      NVI_PAGING_NONE };

    p->format = formats[mode % 5];
    p->physical_bits = ADDRESS_BITS;
    p->amd = (flags & 1u) != 0;
    p->pse = p->pse36 = (flags & 2u) != 0;
    p->page_1g = (flags & 4u) != 0;
    p->nxe = (flags & 8u) != 0;
    p->wp = (flags & 16u) != 0;
    p->smep = (flags & 32u) != 0;
    p->smap = (flags & 64u) != 0;
    p->pke = p->pks = (flags & 128u) != 0;
    p->pkru = p->pkrs = 0x55555554;
    p->cr3 = TABLES;
}

static void make_key(struct fuzz *f, uint8_t mode)
{
    struct nvi_npt_mode npt = { .ncr3 = TABLES, .cr0 = NVIRT_CR0_PG, .pat = WIDE_PAT };

    if ((mode & 0xe0u) == 0xe0u) {
        f->key = f->kind == EPT ? nvi_ept_direct_key(0) : nvi_npt_direct_key(0);
        return;
    }
    if (f->kind == EPT) {
        f->key = nvi_ept_key(TABLES | 6 | ((mode & 1u) != 0 ? 4 << 3 : 3 << 3) |
                             ((mode & 2u) != 0 ? 0x40 : 0));
        f->key.role |= (mode & 4u) != 0 ? NVI_ROLE_MODE_EXECUTE : 0;
        f->key.role |= (mode & 128u) != 0 ? NVI_ROLE_SUBPAGES | SPPT12 : 0;
        return;
    }
    npt.cr4 = (mode & 3u) == 3 ? NVIRT_CR4_PSE
              : (mode & 3u) == 2 ? NVIRT_CR4_PAE | NVIRT_CR4_LA57
                                 : NVIRT_CR4_PAE;
    npt.efer = ((mode & 3u) == 0 || (mode & 3u) == 2 ? NVIRT_EFER_LMA : 0) |
               ((mode & 4u) != 0 ? NVIRT_EFER_NXE : 0);
    f->key = nvi_npt_key(&npt);
}

static void make_world(struct fuzz *f)
{
    uint8_t mode;

    f->kind = (enum kind)(u8(&f->in) % KINDS);
    mode = u8(&f->in);
    f->port = fake_vm_new();
    make_memory(f->port);
    f->vm.port = f->port;
    f->vm.page_budget = (mode & 8u) != 0 ? NVIRT_VM_MIN_PAGES : 200;
    f->vm.physical_bits = ADDRESS_BITS;
    f->vm.magic = NVI_VM_MAGIC;
    REQUIRE(nvi_mmu_init(&f->mmu, &f->vm, &f->stats, f->roots, ROOTS) == NVIRT_OK, "mmu", 0);
    nvi_mmu_attach(&f->mmu, 0);
    f->ept = (struct nvi_ept_config){ .physical_bits = ADDRESS_BITS,
                                      .execute_only = (mode & 16u) != 0,
                                      .page_2m = true,
                                      .page_1g = (mode & 32u) != 0,
                                      .cpu_2m = true,
                                      .cpu_1g = (mode & 64u) != 0,
                                      .cpu_wb = true };
    f->npt = (struct nvi_npt_config){ .physical_bits = ADDRESS_BITS,
                                      .page_1g = (mode & 16u) != 0,
                                      .pse36 = (mode & 32u) != 0,
                                      .cpu_1g = (mode & 64u) != 0,
                                      .cpu_pat = WIDE_PAT };
    make_paging(&f->paging, mode, u8(&f->in));
    make_key(f, mode);
}

static void end_world(struct fuzz *f)
{
    struct mmu_audit audit;

    mmu_audit(&f->mmu, &audit);
    nvi_mmu_destroy(&f->mmu);
    REQUIRE(f->vm.pages_in_use == 0, "pages still counted", f->vm.pages_in_use);
    fake_vm_delete(f->port);
}

/* ---- L1's memory ---- */

static void look(struct fuzz *f, uint8_t *at)
{
    memset(at, 0, TABLE_PAGES * 4096);
    for (uint32_t i = 0; i < f->port->l1_pages; i++) {
        uint64_t page = f->port->l1_page[i].number - TABLES / 4096;

        if (page < TABLE_PAGES) {
            memcpy(at + page * 4096, f->port->l1_page[i].data, 4096);
        }
    }
}

/* Only bits of @p allowed were set since `before`; none were cleared. */
static void check_memory(struct fuzz *f, uint64_t allowed)
{
    if (f->disturbed) {
        return;
    }
    look(f, after);
    if (memcmp(before, after, sizeof after) == 0) {
        return;
    }
    for (size_t i = 0; i < sizeof after; i += 4) {
        uint32_t was, is;

        memcpy(&was, before + i, 4);
        memcpy(&is, after + i, 4);
        REQUIRE((was & ~is) == 0 && (is & ~was & ~allowed) == 0, "L1's tables changed", i);
    }
}

static uint64_t bounded(struct fuzz *f, uint64_t start, uint64_t limit)
{
    uint64_t spent = f->port->calls[FAKE_CALL_ANY] - start;

    REQUIRE(spent <= limit, "work", spent);
    return spent;
}

/*
 * What a walk of L1's paging may set. Without a translation it can be accessed bits only: where one
 * entry serves two levels the walk meets its own write, begins again, and may fault then, as hardware
 * may that sets the bits while it goes down.
 */
static uint64_t paging_bits(uint32_t access, enum nvi_paging_result result)
{
    if ((access & NVI_PAGING_SET_AD) == 0) {
        return 0;
    }
    return result == NVI_PAGING_OK ? 0x60 : 0x20;
}

/* ---- what is done with them ---- */

/* Adds what only a write can: an address to look up, an access. */
static uint64_t where(struct fuzz *f)
{
    uint64_t at = linear[choose(&f->in, LINEAR)];

    return (u8(&f->in) & 7u) == 0 ? new_value(&f->in, at, addresses, ADDRESSES)
                                  : at + take(&f->in, 2) % 4096;
}

static void check_translation(const struct fuzz *f, uint64_t from, uint64_t to, uint64_t size)
{
    REQUIRE(size == 0x1000 || size == 0x200000 || size == 0x400000 || size == 0x40000000,
            "size of a page", size);
    REQUIRE(((from ^ to) & (size - 1)) == 0, "offset in the page", to);
    REQUIRE(to >> f->vm.physical_bits == 0, "beyond the physical width", to);
}

/*
 * The last walk set bits, and PDPTEs are read from memory: in them accessed is a reserved bit, so that
 * tables which are their own PDPTEs translate no more once a walk has used them.
 */
static bool reserved_once_set(const struct fuzz *f)
{
    return f->paging.format == NVI_PAGING_PAE && !f->paging.pdptes_given &&
           memcmp(before, after, sizeof after) != 0;
}

static void walk_paging(struct fuzz *f)
{
    struct nvi_paging_out out, again;
    uint64_t gva = where(f);
    uint32_t access = u8(&f->in) & 31u;
    uint64_t start = f->port->calls[FAKE_CALL_ANY];
    enum nvi_paging_result result;

    memset(&out, 0, sizeof out);
    memset(&again, 0, sizeof again);
    look(f, before);
    result = nvi_paging_walk(&f->vm, &f->paging, gva, access, &out);
    bounded(f, start, WALK_WORK);
    check_memory(f, paging_bits(access, result));
    REQUIRE(result != NVI_PAGING_RETRY || f->disturbed, "retry though nobody writes", gva);
    if (result == NVI_PAGING_OK && f->paging.format != NVI_PAGING_NONE) {
        check_translation(f, gva, out.address, out.size);
    }
    if (result == NVI_PAGING_FAULT) {
        REQUIRE((out.error_code & ~0x3fu) == 0, "error code", out.error_code);
        REQUIRE(((out.error_code & NVI_PF_W) != 0) == ((access & NVI_PAGING_WRITE) != 0),
                "W of the error code", out.error_code);
        REQUIRE(((out.error_code & NVI_PF_U) != 0) == ((access & NVI_PAGING_USER) != 0),
                "U of the error code", out.error_code);
        REQUIRE((out.error_code & (NVI_PF_RSV | NVI_PF_PK)) == 0 ||
                    (out.error_code & NVI_PF_P) != 0,
                "P of the error code", out.error_code);
    }
    if (!f->disturbed && !reserved_once_set(f)) {
        REQUIRE(nvi_paging_walk(&f->vm, &f->paging, gva, access, &again) == result,
                "another result the second time", result);
        REQUIRE(result == NVI_PAGING_FAULT ? again.error_code == out.error_code
                                           : again.address == out.address,
                "another answer the second time", again.address);
    }
}

static void copy(struct fuzz *f)
{
    static uint8_t bytes[4096];
    struct nvi_paging_fault fault;
    uint64_t gva = where(f);
    uint32_t access = u8(&f->in) & 31u;
    size_t size = 1 + take(&f->in, 2) % sizeof bytes;
    uint64_t start = f->port->calls[FAKE_CALL_ANY];
    enum nvi_paging_result result;

    if (flip(&f->in)) {
        result = nvi_paging_read(&f->vm, &f->paging, gva, access, bytes, size, &fault);
    } else {
        memset(bytes, u8(&f->in), size);
        result = nvi_paging_write(&f->vm, &f->paging, gva, access, bytes, size, &fault);
    }
    bounded(f, start, 2 * WALK_WORK);
    if (result == NVI_PAGING_FAULT && f->paging.format >= NVI_PAGING_4LEVEL) {
        REQUIRE(fault.address - gva < size, "address of a fault", fault.address);
    }
}

/* The shadow tables after a fault that installed an entry. */
static void check_installed(struct fuzz *f, uint64_t l2gpa, uint64_t l1gpa, uint32_t rights,
                            enum hw_result found, const struct hw_page *page)
{
    struct nvirt_translation host;
    uint32_t of_host = page->rights & 7u;

    if (found == HW_NOT_PRESENT) {
        return; /* The root was emptied meanwhile. */
    }
    /* The host's right to execute is one for both modes. */
    of_host |= (page->rights & HW_USER_EXECUTE) != 0 ? NVIRT_ACCESS_EXECUTE : 0u;
    REQUIRE(found == HW_PAGE, "an entry that hardware refuses", l2gpa);
    REQUIRE(is_backed(f->port, page->hpa, of_host), "L2 reaches what is not L1's", page->hpa);
    if (f->disturbed) {
        return;
    }
    REQUIRE(nvirt_port_translate(f->port, nvirt_l1gpa_make(l1gpa), 0, &host) == NVIRT_OK,
            "installed without host memory", l1gpa);
    REQUIRE(page->hpa == host.hpa.value, "installed at another place", page->hpa);
    REQUIRE((page->rights & ~rights) == 0 && (of_host & ~host.rights) == 0,
            "more rights than both give", page->rights);
}

static void run_root(struct fuzz *f, uint32_t cpu)
{
    enum nvirt_status status = f->kind == EPT ? nvi_ept_root(&f->mmu, &f->key, &f->root)
                                              : nvi_npt_root(&f->mmu, &f->key, &f->root);

    if (status != NVIRT_OK) {
        REQUIRE(status == NVIRT_ERR_NO_PAGE && f->disturbed, "root", status);
        f->root = NULL;
        return;
    }
    nvi_mmu_flushed(&f->mmu, f->root, cpu, nvi_mmu_enter(&f->mmu, f->root, cpu));
    REQUIRE(f->vm.pages_in_use <= f->vm.page_budget, "page budget", f->vm.pages_in_use);
}

/* A word of L1's memory, ones where there is none. */
static uint64_t word_at(const struct fuzz *f, uint64_t at)
{
    for (uint32_t i = f->port->regions; i-- > 0;) {
        const struct fake_region_l1 *region = &f->port->region[i];

        if (at - region->start < region->bytes) {
            return region->absent || region->device || (region->rights & 1u) == 0
                       ? UINT64_MAX
                       : fake_vm_get64(f->port, at);
        }
    }
    return UINT64_MAX;
}

/* The walk of EPT12 again, from the manual [SDM 3C "EPT Translation Mechanism", "EPT
 * Misconfigurations"], apart from the library. */
static enum nvi_ept_result reference_ept(const struct fuzz *f, uint64_t l2gpa, uint32_t access,
                                         uint64_t *l1gpa)
{
    uint32_t level = (uint32_t)(f->key.role & NVI_ROLE_LEVELS);
    uint64_t table = f->key.table & 0x000ffffffffff000;
    uint64_t meant = (f->key.role & NVI_ROLE_MODE_EXECUTE) != 0 ? 0x407 : 7;
    uint64_t rights = meant, entry, type, offset;
    bool leaf;

    if (l2gpa >> (12 + 9 * level) != 0) {
        return NVI_EPT_VIOLATION;
    }
    for (;; level--) {
        entry = word_at(f, table + (l2gpa >> (3 + 9 * level) & 511) * 8);
        offset = (UINT64_C(1) << (3 + 9 * level)) - 1;
        type = entry >> 3 & 7;
        rights &= entry;
        if ((entry & meant) == 0) {
            return NVI_EPT_VIOLATION;
        }
        leaf = level == 1 || ((entry & 0x80) != 0 && level <= (f->ept.page_1g ? 3u : 2u));
        if ((entry & 3) == 2 || ((entry & 1) == 0 && !f->ept.execute_only) ||
            (entry & 0x000fffffffffffff) >> f->ept.physical_bits != 0 ||
            (leaf ? type == 2 || type == 3 || type == 7 || (entry & offset & 0x3ffff000) != 0
                  : (entry & 0xf8) != 0)) {
            return NVI_EPT_MISCONFIG;
        }
        if (leaf) {
            break;
        }
        table = entry & 0x000ffffffffff000;
    }
    *l1gpa = (entry & 0x000ffffffffff000 & ~offset) | (l2gpa & offset);
    if ((rights & access) == access) {
        return NVI_EPT_OK;
    }
    return (f->key.role & NVI_ROLE_SUBPAGES) != 0 && level == 1 && (entry >> 61 & 1) != 0 &&
                   (rights & 3) == 1 && (access & ~rights) == 2
               ? NVI_EPT_SUBPAGE
               : NVI_EPT_VIOLATION;
}

/* The same of a table of sub-page permissions [SDM 3C "Determining an Access's Sub-Page Write
 * Permission"]. */
static enum nvi_subpage reference_subpage(const struct fuzz *f, uint64_t l2gpa, uint64_t *vector)
{
    uint64_t table = SPPT12, entry;

    *vector = 0;
    for (uint32_t level = 4; level > 1; level--) {
        entry = word_at(f, table + (l2gpa >> (3 + 9 * level) & 511) * 8);
        if ((entry & 1) == 0) {
            return NVI_SUBPAGE_MISS;
        }
        if ((entry & 0xfff0000000000ffe) != 0 ||
            (entry & 0x000fffffffffffff) >> f->ept.physical_bits != 0) {
            return NVI_SUBPAGE_MISCONFIG;
        }
        table = entry & 0x000ffffffffff000;
    }
    *vector = word_at(f, table + (l2gpa >> 12 & 511) * 8);
    if ((*vector & 0xaaaaaaaaaaaaaaaa) != 0) {
        return NVI_SUBPAGE_MISCONFIG;
    }
    return (*vector >> (l2gpa >> 7 & 31) * 2 & 1) != 0 ? NVI_SUBPAGE_ALLOWED : NVI_SUBPAGE_DENIED;
}

/* A write that only sub-page permissions may allow came to @p fault. */
static void check_subpage(struct fuzz *f, uint64_t l2gpa, uint64_t qualification,
                          enum nvi_fault fault, const struct nvi_ept_verdict *verdict, bool decides)
{
    uint64_t vector;
    enum nvi_subpage subpage = reference_subpage(f, l2gpa, &vector);

    if ((qualification & 0x180) != 0x180) {
        REQUIRE(fault == NVI_FAULT_REFLECT, "no write that is eligible", fault);
    } else if (fault == NVI_FAULT_REFLECT) {
        REQUIRE(decides || subpage == NVI_SUBPAGE_DENIED, "an allowed write refused", vector);
    } else if (fault == NVI_FAULT_REFLECT_SUBPAGE) {
        REQUIRE(subpage == NVI_SUBPAGE_MISS || subpage == NVI_SUBPAGE_MISCONFIG,
                "an event where a vector is", vector);
        REQUIRE(verdict->qualification == (subpage == NVI_SUBPAGE_MISS ? 0x800 : 0),
                "which event", verdict->qualification);
    }
}

/* Hardware looks for a vector: what it finds, and what becomes of it if that is none. */
static void look_for_vector(struct fuzz *f, uint64_t l2gpa)
{
    struct nvi_ept_verdict verdict;
    uint64_t start = f->port->calls[FAKE_CALL_ANY];
    uint64_t vector, l1s;
    enum nvi_subpage subpage;
    enum nvi_fault fault;

    if (hw_subpage_walk(f->port, f->root->subpages.value, l2gpa, &vector) <= HW_SUBPAGE_DENIED) {
        return;
    }
    fault = nvi_ept_subpage_event(&f->mmu, f->root, &f->ept, nvirt_l2gpa_make(l2gpa),
                                  f->log.address != 0 ? &f->log : NULL, &verdict);
    bounded(f, start, 2 * WALK_WORK);
    REQUIRE(fault == NVI_FAULT_RETRY || fault == NVI_FAULT_REFLECT_SUBPAGE ||
                (fault == NVI_FAULT_NO_PAGE && f->disturbed),
            "an event", fault);
    (void)hw_subpage_walk(f->port, f->root->subpages.value, l2gpa, &vector);
    subpage = reference_subpage(f, l2gpa, &l1s);
    if (f->disturbed) {
        return;
    }
    if (fault == NVI_FAULT_REFLECT_SUBPAGE) {
        REQUIRE(verdict.qualification == (subpage == NVI_SUBPAGE_MISS ? 0x800 : 0) &&
                    subpage > NVI_SUBPAGE_DENIED,
                "another event", verdict.qualification);
    } else if (nvi_mmu_subpage_vector(&f->mmu, f->root, nvirt_l2gpa_make(l2gpa)) != NULL) {
        REQUIRE(vector == l1s || (subpage == NVI_SUBPAGE_MISCONFIG && vector == 2),
                "another vector", vector);
    }
}

/* Dirty flags that `after` has and `before` has not. */
static uint32_t became_dirty(void)
{
    uint32_t count = 0;

    for (size_t i = 0; i < sizeof after; i += 8) {
        uint64_t was, is;

        memcpy(&was, before + i, 8);
        memcpy(&is, after + i, 8);
        count += (is & ~was & 0x200) != 0;
    }
    return count;
}

/* The host lets L1's tables be written: where it does not, flags are dropped as on a bus. */
static bool tables_take_writes(const struct fuzz *f)
{
    for (uint32_t i = f->port->regions; i-- > 0;) {
        const struct fake_region_l1 *region = &f->port->region[i];

        if (TABLES - region->start < region->bytes) {
            return !region->absent && !region->device && (region->rights & 2u) != 0;
        }
    }
    return false;
}

/* After a fault that found the log at @p index [SDM 3C "Page-Modification Logging"]. */
static void check_log(struct fuzz *f, uint64_t l2gpa, uint16_t index, enum nvi_fault fault)
{
    uint16_t used = (uint16_t)(index - f->log.index);

    REQUIRE(used <= 1 && (used == 0 || index < 512), "the index of a log", f->log.index);
    REQUIRE(fault != NVI_FAULT_REFLECT_LOG_FULL || (index >= 512 && used == 0), "a full log",
            index);
    if (f->disturbed || !tables_take_writes(f)) {
        return;
    }
    look(f, after);
    REQUIRE(became_dirty() == used, "dirty pages and the log disagree", used);
    REQUIRE(fault != NVI_FAULT_REFLECT_LOG_FULL || memcmp(before, after, sizeof after) == 0,
            "flags set though the log is full", index);
    if (used == 1 && f->log.address == LOG_PAGE) {
        REQUIRE(fake_vm_get64(f->port, LOG_PAGE + index * 8u) == (l2gpa & ~UINT64_C(0xfff)),
                "another page in the log", fake_vm_get64(f->port, LOG_PAGE + index * 8u));
    }
}

/* L1 empties its log, gives it another place, or has none. */
static void other_log(struct fuzz *f)
{
    static const uint64_t places[] = { LOG_PAGE, LOG_PAGE, READ_ONLY, DEVICE, 0 };

    f->log.address = places[choose(&f->in, sizeof places / sizeof places[0])];
    f->log.index = (uint16_t)(flip(&f->in) ? u8(&f->in) % 4 : take(&f->in, 2));
}

static void fault_ept(struct fuzz *f)
{
    bool logs = f->log.address != 0 && (f->key.role & NVI_ROLE_AD) != 0;
    uint16_t index = f->log.index;
    uint64_t l2gpa = where(f) & ((UINT64_C(1) << 52) - 1);
    uint64_t tried = 1u + u8(&f->in) % 7u;
    uint32_t access = (uint32_t)tried & 7u;
    uint64_t more = (uint64_t)(u8(&f->in) & 7u) << 7;
    struct nvi_ept_verdict verdict;
    struct nvi_ept_out out;
    struct hw_page page;
    enum nvi_ept_result walked;
    enum nvi_fault fault;
    uint64_t start, l1gpa = 0;
    uint32_t level;
    bool decided;

    run_root(f, 0);
    if (f->root == NULL) {
        return;
    }
    decided = (nvi_mmu_lookup(&f->mmu, f->root, nvirt_l2gpa_make(l2gpa), &level) >> 61 & 1) != 0;
    memset(&verdict, 0, sizeof verdict);
    look(f, before);
    start = f->port->calls[FAKE_CALL_ANY];
    if ((f->key.role & NVI_ROLE_MODE_EXECUTE) != 0 && (more & NVI_EPT_QUAL_USER) != 0 &&
        (access & NVIRT_ACCESS_EXECUTE) != 0) {
        access ^= NVIRT_ACCESS_EXECUTE | NVI_EPT_USER_EXECUTE;
    }
    fault = nvi_ept_fault(&f->mmu, f->root, &f->ept, tried | more,
                          nvirt_l2gpa_make(l2gpa), logs ? &f->log : NULL, &verdict);
    bounded(f, start, WALK_WORK);
    REQUIRE(logs || fault != NVI_FAULT_REFLECT_LOG_FULL, "no log is full", fault);
    if (logs) {
        check_log(f, l2gpa, index, fault);
    }
    check_memory(f, (f->key.role & NVI_ROLE_AD) != 0 ? 0x300 : 0);
    walked = nvi_ept_walk(&f->vm, &f->ept, &f->key, nvirt_l2gpa_make(l2gpa), access, NULL, &out);
    if (!f->disturbed && (f->key.role & NVI_ROLE_DIRECT) == 0) {
        REQUIRE(walked == reference_ept(f, l2gpa, access, &l1gpa), "another walk", walked);
        REQUIRE(walked != NVI_EPT_OK || out.l1gpa.value == l1gpa, "another place", l1gpa);
        REQUIRE(walked == NVI_EPT_SUBPAGE ||
                    (walked == NVI_EPT_VIOLATION) == (fault == NVI_FAULT_REFLECT),
                "violation", fault);
        if (walked == NVI_EPT_SUBPAGE) {
            check_subpage(f, l2gpa, more, fault, &verdict, decided);
        }
        REQUIRE((walked == NVI_EPT_MISCONFIG) == (fault == NVI_FAULT_REFLECT_MISCONFIG),
                "misconfiguration", fault);
    }
    if (fault == NVI_FAULT_REFLECT) {
        REQUIRE((verdict.qualification & 7) == tried, "the access of a violation",
                verdict.qualification);
    }
    if (walked == NVI_EPT_OK && (f->key.role & NVI_ROLE_DIRECT) == 0) {
        check_translation(f, l2gpa, out.l1gpa.value, out.size);
    }
    if (fault == NVI_FAULT_INSTALLED && walked == NVI_EPT_OK) {
        uint64_t eptp = nvi_ept_eptp02(&f->ept, f->root);
        enum hw_result found = (f->key.role & NVI_ROLE_MODE_EXECUTE) != 0
                                   ? hw_ept_walk_mode(f->port, eptp, l2gpa, &page)
                                   : hw_ept_walk(f->port, eptp, l2gpa, &page);

        check_installed(f, l2gpa, out.l1gpa.value, out.rights, found, &page);
    }
    if ((nvi_mmu_lookup(&f->mmu, f->root, nvirt_l2gpa_make(l2gpa), &level) >> 61 & 1) != 0) {
        REQUIRE((f->key.role & NVI_ROLE_SUBPAGES) != 0, "bit 61", level);
        REQUIRE(is_backed(f->port,
                          nvi_mmu_lookup(&f->mmu, f->root, nvirt_l2gpa_make(l2gpa), &level) &
                              0x000ffffffffff000,
                          3),
                "hardware may write what the host does not grant", l2gpa);
        look_for_vector(f, l2gpa);
    }
}

static void fault_npt(struct fuzz *f)
{
    uint64_t l2gpa = where(f) & ((UINT64_C(1) << 52) - 1);
    uint64_t info1 = u8(&f->in) & 0x1fu;
    uint32_t access = NVIRT_ACCESS_READ | ((info1 & 2) != 0 ? NVIRT_ACCESS_WRITE : 0) |
                      ((info1 & 16) != 0 ? NVIRT_ACCESS_EXECUTE : 0);
    struct nvi_npt_verdict verdict;
    struct nvi_npt_out out;
    struct hw_page page;
    enum nvi_paging_result walked;
    enum nvi_fault fault;
    uint64_t start;

    run_root(f, 0);
    if (f->root == NULL) {
        return;
    }
    memset(&verdict, 0, sizeof verdict);
    look(f, before);
    start = f->port->calls[FAKE_CALL_ANY];
    fault = nvi_npt_fault(&f->mmu, f->root, &f->npt, info1 | NVI_NPF_FINAL,
                          nvirt_l2gpa_make(l2gpa), &verdict);
    bounded(f, start, WALK_WORK);
    check_memory(f, 0x60);
    REQUIRE(fault != NVI_FAULT_REFLECT_MISCONFIG, "a misconfiguration of NPT", fault);
    walked = nvi_npt_walk(&f->vm, &f->npt, &f->key, nvirt_l2gpa_make(l2gpa), access, &out);
    if (walked == NVI_PAGING_OK && (f->key.role & NVI_ROLE_DIRECT) == 0) {
        check_translation(f, l2gpa, out.l1gpa.value, out.size);
    }
    if (!f->disturbed && (f->key.role & NVI_ROLE_DIRECT) == 0) {
        REQUIRE((walked == NVI_PAGING_FAULT) == (fault == NVI_FAULT_REFLECT), "nested fault",
                fault);
    }
    if (fault == NVI_FAULT_INSTALLED && walked == NVI_PAGING_OK) {
        enum hw_result found = hw_npt_walk(f->port, f->root->table.value, l2gpa, &page);

        check_installed(f, l2gpa, out.l1gpa.value, out.rights, found, &page);
    }
}

/* Tables of L2's that are reached through L1's. */
static void walk_both(struct fuzz *f)
{
    uint64_t gva = where(f);
    uint32_t access = u8(&f->in) & 15u;
    uint64_t start = f->port->calls[FAKE_CALL_ANY];

    if (f->kind != EPT) {
        struct nvi_npt_linear_out out;

        if (nvi_npt_l2_linear(&f->vm, &f->npt, &f->key, &f->paging, gva, access, &out) ==
            NVI_NPT_LINEAR_OK) {
            REQUIRE(((out.l1gpa.value ^ gva) & 0xfff) == 0, "offset in the page", out.l1gpa.value);
        }
    }
    bounded(f, start, 16 * WALK_WORK);
}

/* The host moves one of its regions and says which. */
static void host_moves_and_tells(struct fuzz *f)
{
    struct fake_region_l1 *region = &f->port->region[choose(&f->in, f->port->regions)];

    REQUIRE(nvirt_vm_change_begin(&f->vm, nvirt_l1gpa_make(region->start), region->bytes) == NVIRT_OK,
            "a change begins", region->start);
    region->hpa ^= UINT64_C(0x1000000000);
    REQUIRE(nvirt_vm_change_end(&f->vm) == NVIRT_OK, "a change ends", region->start);
}

static void invalidate(struct fuzz *f)
{
    switch (u8(&f->in) % 5) {
    case 0:
        nvi_mmu_invalidate(&f->mmu, f->key.table);
        break;
    case 1:
        nvi_mmu_invalidate_all(&f->mmu);
        break;
    case 2:
        nvi_mmu_drop_all(&f->mmu);
        break;
    case 3:
        host_moves_and_tells(f);
        break;
    default:
        host_moves(f->port, &f->in);
        break;
    }
}

/* ---- L1 writes its tables ---- */

/* Any word of them. Shadow tables may lag until L1 invalidates, so it does. */
static void store(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = TABLES + choose(in, TABLE_PAGES) * 4096u;
    uint64_t entry = addresses[choose(in, ADDRESSES)] | u8(in);

    switch (u8(in) % 4) {
    case 0:
        at += choose(in, 512) * 8u;
        break;
    case 1:
        at += (linear[choose(in, LINEAR)] >> (12 + 9 * choose(in, 5)) & 511) * 8;
        break;
    case 2:
        at += (linear[choose(in, LINEAR)] >> (choose(in, 2) != 0 ? 22 : 12) & 1023) * 4;
        fake_vm_put32(f->port, at, (uint32_t)entry);
        entry = fake_vm_get64(f->port, at & ~UINT64_C(7));
        at &= ~UINT64_C(7);
        break;
    default:
        at += u8(in) * 8u;
        break;
    }
    if (flip(in)) {
        entry = new_value(in, entry, addresses, ADDRESSES);
    }
    fake_vm_put64(f->port, at, entry);
    nvi_mmu_invalidate(&f->mmu, f->key.table);
}

static uint32_t top_level(const struct fuzz *f)
{
    bool five = f->kind == PAGING ? f->paging.format == NVI_PAGING_5LEVEL
                                  : (f->key.role & NVI_ROLE_LEVELS) == 5;

    return five ? 5 : 4;
}

/* Where chain() has the entry of @p level for @p at. */
static uint64_t slot(const struct fuzz *f, uint64_t at, uint32_t level)
{
    return TABLES + (top_level(f) - level) * 4096u + (at >> (3 + 9 * level) & 511) * 8;
}

/* A vector for the page, that may have a reserved bit, and the tables that lead there. */
static void chain_of_subpages(struct fuzz *f, uint64_t at, uint8_t vector)
{
    static const uint64_t below[] = { SPPT12 - 0x1000, SPPT12 + 0x2000, SPPT12 + 0x1000, SPPT12 };

    for (uint32_t level = 4; level > 1; level--) {
        fake_vm_put64(f->port, below[level - 1] + (at >> (3 + 9 * level) & 511) * 8,
                      below[level - 2] | 1);
    }
    fake_vm_put64(f->port, below[0] + (at >> 12 & 511) * 8,
                  vector * UINT64_C(0x0101010101010101) & UINT64_C(0x5555555555555557));
}

/* A chain from the top table down, so that deep levels are reached. One right may be missing in
 * each entry. */
static void chain(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = linear[choose(in, LINEAR)];
    uint32_t level = 1 + choose(in, 3);
    uint8_t more = u8(in);
    uint64_t flags = 7u | (more & 0xe0u) | (level > 1 ? 0x80u : 0u) |
                     (f->kind == EPT ? 6u << 3 : 0u);

    if (f->kind == EPT && level == 1 && (more & 1u) != 0) {
        flags ^= 2u | UINT64_C(1) << 61;
        chain_of_subpages(f, at, more);
    }

    for (uint32_t i = top_level(f); i > level; i--) {
        uint8_t missing = u8(in) % 16u;

        fake_vm_put64(f->port, slot(f, at, i),
                      (TABLES + (top_level(f) - i + 1) * 4096u) |
                          (7u & ~(missing < 3 ? 1u << missing : 0u)));
    }
    fake_vm_put64(f->port, slot(f, at, level),
                  (addresses[choose(in, ADDRESSES)] &
                   ~((UINT64_C(1) << (level == 1 ? 12 : 3 + 9 * level)) - 1)) |
                      flags);
    nvi_mmu_invalidate(&f->mmu, f->key.table);
}

/* Another CPU of L1's writes an entry again and again while it is walked. */
static void race(struct fuzz *f)
{
    struct input *in = &f->in;
    uint64_t at = slot(f, linear[choose(in, LINEAR)], 1 + choose(in, top_level(f)));

    if (f->port->scripts < FAKE_VM_SCRIPTS) {
        f->disturbed = true;
        fake_vm_race(f->port, at, 8, UINT64_C(1) << (u8(in) & 63u), 1 + u8(in) * 16u);
    }
}

/* L1 names another top table. A direct root of EPT has none: its key would name an APIC-access page. */
static void other_tables(struct fuzz *f)
{
    uint64_t table = addresses[choose(&f->in, ADDRESSES)];

    if (f->kind != EPT || (f->key.role & NVI_ROLE_DIRECT) == 0) {
        f->key.table = table;
    }
}

static void step(struct fuzz *f)
{
    uint8_t op = u8(&f->in) % 16;

    SAY("step %u\n", op);
    switch (op) {
    case 0:
    case 1:
    case 2: store(f); break;
    case 3:
    case 4: chain(f); break;
    case 5: f->paging.cr3 = new_value(&f->in, f->paging.cr3, addresses, ADDRESSES); break;
    case 6: invalidate(f); break;
    case 7:
        if (flip(&f->in)) {
            race(f);
        } else {
            f->disturbed = true;
            disturb(f->port, &f->in, addresses, TABLE_PAGES);
        }
        break;
    case 8: copy(f); break;
    case 9: walk_paging(f); break;
    case 10:
        if (f->kind != PAGING) {
            walk_both(f);
        }
        break;
    case 11:
        if (f->kind == EPT && flip(&f->in)) {
            other_log(f);
        } else {
            other_tables(f);
        }
        break;
    default:
        if (f->kind == PAGING) {
            walk_paging(f);
        } else if (f->kind == EPT) {
            fault_ept(f);
        } else {
            fault_npt(f);
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = &fuzz;

    memset(f, 0, sizeof *f);
    f->in = (struct input){ data, data + size };
    make_world(f);
    for (uint32_t i = 0; i < MAX_STEPS && f->in.at != f->in.end; i++) {
        step(f);
    }
    end_world(f);
    return 0;
}
