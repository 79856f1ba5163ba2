/* SPDX-License-Identifier: MIT */
/*
 * The small machine of mmu_model.c: the world that is copied and compared, L1's tables as a walk of
 * the model's own reads them, and hardware, each CPU of which keeps what it may.
 */
#ifndef MMU_MACHINE_H
#define MMU_MACHINE_H

#define PORT_PAGES 96u
#define PORT_L1_PAGES 16u
#define PORT_VCPUS 1u
struct nvirt_port_vm;
static void translated(struct nvirt_port_vm *vm);
#define PORT_TRANSLATED(vm) translated(vm)
#include "mmu_port.h"

#include "../unit/fake/mmu_audit.h"
#include "mmu/mmu_internal.h"
#ifdef MODEL_NPT
#include "npt/npt.h"
#else
#include "ept/ept.h"
#endif

#define PAGES 2u
#define KEYS 2u
#define PAST 24u
#define CPUS 2u
#define TLB 48u
#define LINKS 16u
#define STORES 2048u
#define MAX_LENGTH 12u
#define ADDRESS UINT64_C(0x000ffffffffff000)

/* L1's memory: tables, and the two pages that it maps. A large page at 0 maps each page to the L1
 * page of its own number, so these are the indices of L2's pages too. */
#define TABLE(level) (5 - (level)) /* 1 to 4 */
#define OTHER_TABLE 5u
#define LOG UINT64_C(6)
#define X 8u
#define Y 9u
#define L2GPA(page) ((uint64_t)(X + (page)) << 12)

#ifdef MODEL_NPT
#define ALL UINT64_C(7) /* P W U */
#define READ_ONLY UINT64_C(5)
#define NO_USER UINT64_C(3)
#define WB 0
#define UC UINT64_C(0x18)
#define ACCESSED UINT64_C(0x20)
#define DIRTY UINT64_C(0x40)
#define SUPPRESS_VE 0
#define PAT UINT64_C(0x0007040600070406)
#define TYPE_OF(entry) ((uint8_t)(PAT >> (8 * ((entry) >> 3 & 3)) & 7))
#else
#define ALL UINT64_C(7)
#define READ_ONLY UINT64_C(1)
#define NO_USER UINT64_C(4) /* EPT has no such bit: an execute-only page instead. */
#define WB (UINT64_C(6) << 3)
#define UC 0
#define ACCESSED UINT64_C(0x100)
#define DIRTY UINT64_C(0x200)
#define SUPPRESS_VE (UINT64_C(1) << 63)
#define TYPE_OF(entry) ((uint8_t)((entry) >> 3 & 7))
#endif
#define LARGE UINT64_C(0x80)
/* Fetches from user-mode addresses, as a right; and the bit of an EPT entry that gives it. Without
 * mode-based execute control it goes with the other one. */
#define USER_FETCH 8u
#define USER_BIT UINT64_C(0x400)
#ifdef MODEL_NPT
#define RIGHTS 7u
#define LINK ALL
#else
#define RIGHTS 15u
#define LINK (ALL | USER_BIT)
#endif

/* What L1's tables said of a page at some time. rights 0: nothing. */
struct says {
    uint64_t l1;
    uint32_t rights;
    uint8_t type;
};

struct cached {
    bool used;
    uint32_t cpu;
    uint64_t top, page, hpa;
    uint32_t rights;
    uint8_t type;
};

/* The link to a table of the last level in a paging-structure cache. */
struct cached_link {
    bool used;
    uint32_t cpu;
    uint64_t top, table;
};

struct world {
    struct nvirt_vm vm;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[KEYS];
    struct nvirt_stats stats;
    uint32_t key; /* Which of its roots L1 runs. */
    uint32_t cpu; /* Which the vCPU is on. */
    bool racing;  /* The host moves memory as soon as a fault has translated. */
    uint32_t past_count[KEYS][PAGES];
    struct says past[KEYS][PAGES][PAST];
    struct cached tlb[TLB];
    struct cached_link link[LINKS];
#ifndef MODEL_NPT
    struct nvi_ept_log log;
#endif
    struct nvirt_port_vm port; /* Last: only its pages in use are copied. */
};

static struct world w;
static bool big, one_root, direct;
static const char *history[MAX_LENGTH + 1];
static unsigned depth;
static uint64_t steps_done, faults_done, stores_done;

static void __attribute__((noreturn)) broken(const char *what)
{
    fprintf(stderr, "broken: %s after", what);
    for (unsigned i = 0; i < depth; i++)
        fprintf(stderr, " %s,", history[i]);
    fprintf(stderr, " %s\n", history[depth]);
    abort();
}

static void require(bool holds, const char *what)
{
    if (!holds)
        broken(what);
}

/* ---- L1's tables, by a walk of the model's own ---- */

static uint32_t rights_of(uint64_t entry, bool modes)
{
#ifdef MODEL_NPT
    (void)modes;
    /* Every access of the nested walk is a user's [APM 2 "Nested Paging"]. */
    if ((entry & 5) != 5)
        return 0;
    return 1u | ((uint32_t)entry & 2u) | (entry >> 63 == 0 ? 4u : 0u);
#else
    return ((uint32_t)entry & 7u) |
           ((entry & (modes ? USER_BIT : UINT64_C(4))) != 0 ? USER_FETCH : 0u);
#endif
}

static bool is_direct(uint32_t key)
{
    return direct && key == 1;
}

/* Which of the roots has mode-based execute control. */
static bool has_modes(uint32_t key)
{
#ifdef MODEL_NPT
    (void)key;
    return false;
#else
    return key == 1 && !direct;
#endif
}

static uint64_t word(uint64_t page, uint64_t index)
{
    return w.port.l1[page][index];
}

static void put(uint64_t page, uint64_t index, uint64_t entry)
{
    w.port.l1[page][index] = entry;
}

/* The way through L1's tables to a page: the entries used, as far as they lead. */
struct way {
    uint64_t entry[5];
    unsigned bottom; /* Level of the leaf, or of the entry that is not present. */
    uint32_t rights; /* That all of them give. */
};

static void l1_way(uint32_t key, uint32_t page, struct way *way)
{
    uint64_t table = TABLE(4);
    unsigned level;

    way->rights = RIGHTS;
    for (level = 4; level >= 1; level--) {
        uint64_t entry = word(table, level == 1 ? X + page : 0);

        way->entry[level] = entry;
        way->bottom = level;
        way->rights &= rights_of(entry, has_modes(key));
        if (rights_of(entry, has_modes(key)) == 0 || (level == 2 && (entry & LARGE) != 0))
            break;
        table = (entry & ADDRESS) >> 12;
    }
}

/* With @p flags on, writing counts as allowed once the page is dirty: the first write must be
 * seen. */
static struct says l1_says(uint32_t key, uint32_t page, bool flags)
{
    struct says now = { .rights = RIGHTS, .l1 = L2GPA(page), .type = NVIRT_MEMORY_WB };
    struct way way;
    uint64_t leaf;

    if (is_direct(key))
        return now;
    l1_way(key, page, &way);
    leaf = way.entry[way.bottom];
    if (way.rights == 0)
        return (struct says){ 0 };
    now.rights = way.rights;
    now.l1 = way.bottom == 2 ? L2GPA(page) : leaf & ADDRESS;
    now.type = TYPE_OF(leaf);
    if (flags && (leaf & DIRTY) == 0)
        now.rights &= ~2u;
    return now;
}

/* EPT has accessed and dirty flags with the first root only, NPT always. */
static bool has_flags(uint32_t key)
{
#ifdef MODEL_NPT
    return !is_direct(key);
#else
    return key == 0;
#endif
}

static void note(void)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        for (uint32_t page = 0; page < PAGES; page++) {
            struct says now = l1_says(key, page, has_flags(key));
            uint32_t i = 0, count = w.past_count[key][page];

            while (i < count && memcmp(&w.past[key][page][i], &now, sizeof now) != 0)
                i++;
            if (i == count && now.rights != 0) {
                require(count < PAST, "room for the past");
                w.past[key][page][w.past_count[key][page]++] = now;
            }
        }
    }
}

static void forget(void)
{
    memset(w.past_count, 0, sizeof w.past_count);
    note();
}

/* ---- hardware ---- */

static bool is_large(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & LARGE) != 0;
}

/* What hardware finds from @p table of @p level down. rights 0: nothing. */
static struct cached hw_find(uint32_t key, uint64_t table, unsigned level, uint32_t page,
                             uint64_t *last_table)
{
    struct cached found = { .used = true, .page = page, .rights = RIGHTS };

    for (;; level--) {
        const uint64_t *entries = nvirt_port_page_pointer(&w.port, nvirt_hpa_make(table));
        uint64_t entry = entries[level == 1 ? X + page : 0];

        found.rights &= rights_of(entry, has_modes(key));
        if ((entry & 7) == 0 && (!has_modes(key) || (entry & USER_BIT) == 0)) {
            require((entry & ADDRESS) == 0, "an absent entry holds no address");
            return found;
        }
        if (last_table != NULL)
            *last_table = level == 1 ? table : 0;
        if (is_large(entry, level)) {
            uint64_t offset = level == 1 ? 0 : UINT64_C(0x1fffff);

            found.hpa = (entry & ADDRESS & ~offset) | (L2GPA(page) & offset);
            found.type = TYPE_OF(entry);
            return found;
        }
        table = entry & ADDRESS;
    }
}

static void flush(uint64_t top, enum nvi_mmu_flush kind)
{
    for (unsigned i = 0; i < TLB; i++) {
        if (w.tlb[i].cpu == w.cpu && (kind == NVI_MMU_FLUSH_ALL ||
                                      (kind == NVI_MMU_FLUSH_ROOT && w.tlb[i].top == top)))
            w.tlb[i].used = false;
    }
    for (unsigned i = 0; i < LINKS; i++) {
        if (w.link[i].cpu == w.cpu && (kind == NVI_MMU_FLUSH_ALL ||
                                       (kind == NVI_MMU_FLUSH_ROOT && w.link[i].top == top)))
            w.link[i].used = false;
    }
}

static void cache(const struct cached *found, uint64_t top, uint64_t last_table)
{
    unsigned i, free = TLB;

    for (i = 0; i < TLB; i++) {
        if (w.tlb[i].used && w.tlb[i].cpu == w.cpu && w.tlb[i].top == top &&
            w.tlb[i].page == found->page &&
            w.tlb[i].hpa == found->hpa && w.tlb[i].rights == found->rights &&
            w.tlb[i].type == found->type)
            break;
        if (!w.tlb[i].used)
            free = i;
    }
    if (i == TLB) {
        require(free != TLB, "room in the TLB");
        w.tlb[free] = *found;
        w.tlb[free].top = top;
        w.tlb[free].cpu = w.cpu;
    }
    for (i = 0, free = LINKS; i < LINKS; i++) {
        if (w.link[i].used && w.link[i].cpu == w.cpu && w.link[i].top == top &&
            w.link[i].table == last_table)
            return;
        if (!w.link[i].used)
            free = i;
    }
    if (last_table != 0) {
        require(free != LINKS, "room for links");
        w.link[free] = (struct cached_link){ .used = true, .cpu = w.cpu, .top = top,
                                             .table = last_table };
    }
}

#endif
