/* SPDX-License-Identifier: MIT */
/*
 * All histories of a small machine, up to a length, of one vCPU's shadow tables:
 *
 *   L1 edits        maps, unmaps, maps elsewhere, takes rights, takes the user bit (NPT), changes
 *                   the memory type, puts a large page for a table, a table for a large page,
 *                   another table
 *   L1 invalidates  one table, or everything
 *   L1 switches     between two roots (EPT: one with accessed and dirty flags and a log of the
 *                   pages that become dirty, which L1 empties, and one with mode-based execute
 *                   control; NPT: no-execute enabled and not)
 *   L2 accesses     reads, writes, fetches two neighbouring pages; EPT: fetches of user mode
 *   the host        unmaps, moves, write-protects and gives back L1's memory, moves it in the
 *                   middle of a fault, runs the vCPU on another CPU; room gets short
 *
 * Hardware is as lazy as it may be: each CPU keeps every translation it ever made, and every link
 * to a table of the last level, until a flush that names them, and uses any of them. After each
 * step:
 *
 *   sound     whatever hardware may let L2 do, L1's tables allowed at some time since L1 last
 *             invalidated, and it goes to where the host has that page now, no freer than it lets;
 *   complete  what L1's tables and the host allow now, L2 can do after a few faults; what L1's
 *             refuse and hardware refuses is L1's fault, with the rights that L1's tables give and,
 *             on EPT, convertible to a virtualization exception when the entry that decides says
 *             so; a page is in the log exactly when its dirty flag became set, and no flag becomes
 *             set while the log is full;
 *   whole     the engine passes its audit; and during the step, at every single store to a table, a
 *             walk of any page, from the top or from a link that a CPU holds, saw what it saw
 *             before the step, or nothing, or what is sound.
 *
 *   mmu_model LENGTH [WORDS]
 *
 *   big     the host has one block of 2 MiB, else pages of 4 KiB
 *   one     the engine has room for one root, so that each switch recycles it; else for both
 *   direct  the second root is direct: L2 without tables of L1's
 *
 * Built twice: with -DMODEL_NPT, and without for EPT. nvi_mmu_entry_store() is wrapped by the
 * linker.
 */
#include "mmu_machine.h"

/* ---- what holds while L2 runs ---- */

static bool is_sound(uint32_t key, const struct cached *found)
{
    for (uint32_t i = 0; i < w.past_count[key][found->page]; i++) {
        const struct says *past = &w.past[key][found->page][i];
        uint64_t host = w.port.host[past->l1 >> 12];

        /* The host's right to execute is one for all fetches. */
        host |= (host & 4) << 1 & (uint64_t)USER_FETCH;
        if ((host & ADDRESS) == found->hpa && (host & 7) != 0 &&
            (found->rights & ~(past->rights & (uint32_t)host)) == 0 &&
            found->type == nvi_mmu_memory_type(past->type,
                                               (uint8_t)(w.port.host[past->l1 >> 12] >> 3 & 7)))
            return true;
    }
    return false;
}

static void check_one(const struct cached *found, const char *what)
{
    if (found->rights != 0)
        require(is_sound(w.key, found), what);
}

/* All that hardware may use with the root that is loaded. */
static void check_sound(uint64_t top)
{
    struct cached found;

    for (uint32_t page = 0; page < PAGES; page++) {
        found = hw_find(w.key, top, 4, page, NULL);
        check_one(&found, "unsound: the tables");
        for (unsigned i = 0; i < LINKS; i++) {
            if (!w.link[i].used || w.link[i].cpu != w.cpu || w.link[i].top != top)
                continue;
            found = hw_find(w.key, w.link[i].table, 1, page, NULL);
            check_one(&found, "unsound: a cached link");
        }
    }
    for (unsigned i = 0; i < TLB; i++) {
        if (w.tlb[i].used && w.tlb[i].cpu == w.cpu && w.tlb[i].top == top)
            check_one(&w.tlb[i], "unsound: a cached translation");
    }
}

/* The root that a link is used under without a flush before; null when there is none. */
static const struct nvi_mmu_root *root_of_link(const struct cached_link *link)
{
    for (uint32_t i = 0; link->used && i < KEYS; i++) {
        const struct nvi_mmu_root *root = &w.roots[i];

        if (root->used && root->table.value == link->top && root->cpu == link->cpu)
            return root;
    }
    return NULL;
}

/* A table that a cache leads to is a table until the flush, whenever hardware walks it. */
static void check_links(void)
{
    for (unsigned i = 0; i < LINKS; i++) {
        if (root_of_link(&w.link[i]) != NULL)
            (void)nvirt_port_page_pointer(&w.port, nvirt_hpa_make(w.link[i].table));
    }
}

/* ---- every store ---- */

struct view {
    struct cached page[KEYS][PAGES];
    struct cached by_link[LINKS][PAGES];
};

static struct view before_step, stores[STORES];
static unsigned store_count;
static bool watching;

void __real_nvi_mmu_entry_store(uint64_t *slot, uint64_t entry);
void __wrap_nvi_mmu_entry_store(uint64_t *slot, uint64_t entry);

/* The key that the root in a slot stands for. */
static uint32_t key_of(uint32_t slot)
{
    uint64_t second = w.roots[slot].key.role & (NVI_ROLE_AD | NVI_ROLE_NXE);

    return second != 0 ? 0 : 1;
}

static void look(struct view *view)
{
    memset(view, 0, sizeof *view);
    for (uint32_t key = 0; key < KEYS; key++) {
        for (uint32_t page = 0; page < PAGES && w.roots[key].used; page++)
            view->page[key][page] =
                hw_find(key_of(key), w.roots[key].table.value, 4, page, NULL);
    }
    for (unsigned i = 0; i < LINKS; i++) {
        const struct nvi_mmu_root *root = root_of_link(&w.link[i]);

        for (uint32_t page = 0; page < PAGES && root != NULL; page++)
            view->by_link[i][page] =
                hw_find(key_of((uint32_t)(root - w.roots)), w.link[i].table, 1, page, NULL);
    }
}

void __wrap_nvi_mmu_entry_store(uint64_t *slot, uint64_t entry)
{
    if (entry == *slot)
        return;
    __real_nvi_mmu_entry_store(slot, entry);
    stores_done++;
    if (watching) {
        require(store_count < STORES, "room for stores");
        look(&stores[store_count++]);
    }
}

static bool same(const struct cached *a, const struct cached *b)
{
    return a->rights == b->rights &&
           (a->rights == 0 || (a->hpa == b->hpa && a->type == b->type));
}

static void watch(void)
{
    look(&before_step);
    store_count = 0;
    watching = true;
}

static void check_seen(uint32_t key, const struct cached *before, const struct cached *now)
{
    require(now->rights == 0 || same(now, before) || is_sound(key, now),
            "a store that shows neither old nor new");
}

static void check_stores(void)
{
    watching = false;
    for (unsigned i = 0; i < store_count; i++) {
        const struct view *view = &stores[i];

        for (uint32_t page = 0; page < PAGES; page++) {
            for (uint32_t key = 0; key < KEYS; key++)
                check_seen(key_of(key), &before_step.page[key][page], &view->page[key][page]);
            for (unsigned l = 0; l < LINKS; l++) {
                const struct nvi_mmu_root *root = root_of_link(&w.link[l]);

                if (root != NULL)
                    check_seen(key_of((uint32_t)(root - w.roots)), &before_step.by_link[l][page],
                               &view->by_link[l][page]);
            }
        }
    }
}

/* ---- the vCPU ---- */

static struct nvi_mmu_root *get_root(void)
{
    struct nvi_mmu_root *root = NULL;
    enum nvirt_status status;
#ifdef MODEL_NPT
    struct nvi_npt_mode mode = { .ncr3 = TABLE(4) << 12, .cr0 = NVIRT_BIT(31), .cr4 = NVIRT_BIT(5),
                                 .efer = NVIRT_BIT(10) | (w.key == 0 ? NVIRT_BIT(11) : 0),
                                 .pat = PAT };
    struct nvi_mmu_key key = is_direct(w.key) ? nvi_npt_direct_key(0) : nvi_npt_key(&mode);

    status = nvi_npt_root(&w.mmu, &key, &root);
#else
    struct nvi_mmu_key key =
        is_direct(w.key) ? nvi_ept_direct_key(0)
                         : nvi_ept_key(TABLE(4) << 12 | 6 | 3 << 3 | (has_flags(w.key) ? 0x40 : 0));

    key.role |= has_modes(w.key) ? NVI_ROLE_MODE_EXECUTE : 0;
    status = nvi_ept_root(&w.mmu, &key, &root);
#endif
    require(status == NVIRT_OK, "a root");
    return root;
}

#ifdef MODEL_NPT
static enum nvi_fault fault(struct nvi_mmu_root *root, uint32_t page, uint32_t access)
{
    static const struct nvi_npt_config config = { .physical_bits = 40, .cpu_pat = PAT };
    struct nvi_npt_verdict verdict;
    uint64_t info = 4 | (access == 2 ? 2 : 0) | (access == 4 ? 16 : 0);

    return nvi_npt_fault(&w.mmu, root, &config, info, nvirt_l2gpa_make(L2GPA(page)), &verdict);
}
#else
/* Some flag that the access sets is not set: A in each entry used, D in the leaf for a write. */
static bool flags_wait(const struct way *way, uint32_t access)
{
    for (unsigned level = 4; level >= way->bottom; level--) {
        if ((way->entry[level] & ACCESSED) == 0)
            return true;
    }
    return access == 2 && (way->entry[way->bottom] & DIRTY) == 0;
}

/* What is in the log is what became dirty, and what is told of a fault of L1's is what its tables
 * say. */
static void check_told(uint32_t page, uint32_t access, enum nvi_fault result,
                       const struct way *before, uint16_t index,
                       const struct nvi_ept_verdict *verdict)
{
    bool allowed = (before->rights & access) == access, full = index > 511;
    uint32_t told = (uint32_t)(verdict->qualification >> 3);
    struct way after = { .bottom = 4 };
    bool dirtied;

    l1_way(w.key, page, &after);
    dirtied = ((after.entry[after.bottom] ^ before->entry[before->bottom]) & DIRTY) != 0;
    require(w.log.index == (uint16_t)(index - (dirtied && has_flags(w.key))), "the log's index");
    if (dirtied)
        require(!full && w.port.l1[LOG][index] == L2GPA(page), "the page in the log");
    require((result == NVI_FAULT_REFLECT_LOG_FULL) ==
                (allowed && full && has_flags(w.key) && flags_wait(before, access)),
            "a full log is in the way of flags, and of nothing else");
    if (result == NVI_FAULT_REFLECT_LOG_FULL)
        require(memcmp(after.entry, before->entry, sizeof after.entry) == 0, "flags of a full log");
    if (result == NVI_FAULT_REFLECT) {
        require(verdict->convertible == ((before->entry[before->bottom] & SUPPRESS_VE) == 0),
                "whether L2 may have the exception");
        require((told & 7) == (before->rights & 7) &&
                    (!has_modes(w.key) || (told & USER_FETCH) == (before->rights & USER_FETCH)),
                "the rights that L1 is told");
    }
}

static enum nvi_fault fault(struct nvi_mmu_root *root, uint32_t page, uint32_t access)
{
    static const struct nvi_ept_config config = { .physical_bits = 40, .execute_only = true,
                                                  .page_2m = true, .cpu_2m = true,
                                                  .cpu_wb = true };
    struct nvi_ept_verdict verdict;
    uint16_t index = w.log.index;
    uint64_t qualification = access == USER_FETCH ? 4u | NVI_EPT_QUAL_USER : access;
    struct way before = { .bottom = 4 };
    enum nvi_fault result;

    l1_way(w.key, page, &before);
    result = nvi_ept_fault(&w.mmu, root, &config, qualification, nvirt_l2gpa_make(L2GPA(page)),
                           has_flags(w.key) ? &w.log : NULL, &verdict);
    if (!is_direct(w.key))
        check_told(page, access, result, &before, index, &verdict);
    return result;
}
#endif

/* @return true when hardware lets the access pass, by its caches or by a walk, which it then keeps.
 * */
static bool hardware_access(uint64_t top, uint32_t page, uint32_t access)
{
    struct cached found;
    uint64_t last_table = 0;

    for (unsigned i = 0; i < TLB; i++) {
        if (!w.tlb[i].used || w.tlb[i].cpu != w.cpu || w.tlb[i].top != top ||
            w.tlb[i].page != page)
            continue;
        if ((w.tlb[i].rights & access) == access)
            return true;
        /* What refuses is dropped with the fault that it causes. */
        w.tlb[i].used = false;
    }
    found = hw_find(w.key, top, 4, page, &last_table);
    if ((found.rights & access) != access)
        return false;
    cache(&found, top, last_table);
    return true;
}

/* On NPT reading goes with every access. */
static uint32_t with_reading(uint32_t access)
{
#ifdef MODEL_NPT
    return access | 1u;
#else
    return access;
#endif
}

static void access_page(uint32_t page, uint32_t access)
{
    struct nvi_mmu_root *root = get_root();
    unsigned faults;

    access = with_reading(access);
    for (faults = 0; faults < 6; faults++) {
        enum nvi_mmu_flush kind = nvi_mmu_enter(&w.mmu, root, w.cpu);
        enum nvi_fault result;
        struct says now;
        uint64_t host;

        flush(root->table.value, kind);
        nvi_mmu_flushed(&w.mmu, root, w.cpu, kind);
        check_sound(root->table.value);
        if (hardware_access(root->table.value, page, access))
            return;
        result = fault(root, page, access & (access == 1u ? ~0u : ~1u));
        faults_done++;
        note(); /* The walk may have set flags. */
        now = l1_says(w.key, page, false);
        host = now.rights != 0 ? w.port.host[now.l1 >> 12] & 7 : 0;
        host |= (host & 4) << 1;
        if ((now.rights & access) != access) {
            require(result == NVI_FAULT_REFLECT, "L1's fault goes to L1");
            return;
        }
        if (result == NVI_FAULT_REFLECT_LOG_FULL)
            return;
        if ((host & access) != access) {
            require(result == NVI_FAULT_HOST, "the host's fault goes to the host");
            return;
        }
        require(result == NVI_FAULT_INSTALLED || result == NVI_FAULT_RETRY, "nobody's fault");
    }
    broken("no progress");
}

/* ---- steps ---- */

static void l1_entry(uint64_t entry)
{
    put(TABLE(1), X, entry);
    note();
}

static void l1_directory(uint64_t entry)
{
    put(TABLE(2), 0, entry);
    note();
}

static void invalidate(bool all)
{
    if (all)
        nvi_mmu_invalidate_all(&w.mmu);
    else
        nvi_mmu_invalidate(&w.mmu, TABLE(4) << 12);
    forget();
}

/* The host's word for L1 page X, or for all of them where it has one block, becomes something else.
 * */
static void host_sets(uint64_t address_bit, uint64_t rights)
{
    uint64_t first = big ? 0 : X, last = big ? PORT_L1_PAGES : X + 1;

    require(nvirt_vm_change_begin(&w.vm, nvirt_l1gpa_make(first << 12), (last - first) << 12) ==
                NVIRT_OK, "a change begins");
    for (uint64_t i = first; i < last; i++) {
        uint64_t hpa = PORT_MEMORY + (i << 12);

        if (address_bit == 0)
            hpa = w.port.host[i] & ADDRESS;
        else if ((w.port.host[i] & address_bit) == 0)
            hpa |= address_bit;
        w.port.host[i] = rights == 0 ? hpa : PORT_MAP(hpa, rights, NVIRT_MEMORY_WB);
    }
    require(nvirt_vm_change_end(&w.vm) == NVIRT_OK, "a change ends");
}

static void translated(struct nvirt_port_vm *vm)
{
    (void)vm;
    if (w.racing) {
        w.racing = false;
        host_sets(UINT64_C(1) << 33, 7);
    }
}

/* What was translated is another's by the time it is to be installed. */
static void access_and_move(uint32_t page, uint32_t access)
{
    w.racing = true;
    access_page(page, access);
    w.racing = false;
}

static void room(void)
{
    /* Two roots, two pages of descriptors, two of the reverse map, and one way down: three tables
     * with their notes. Or plenty again. */
    w.vm.page_budget = w.vm.page_budget == PORT_PAGES ? 2 * 2 + 2 + 2 + 3 * 2 + 1 : PORT_PAGES;
}

/* A step that is MARKS calls nothing that changes tables or looks at them: as the last of a history
 * it would show nothing. */
#define WORKS true
#define MARKS false
#ifdef MODEL_NPT
#define EPT_STEPS(STEP)
#else
#define EPT_STEPS(STEP)                                                                            \
    STEP("for fetches of user mode", MARKS, l1_entry((uint64_t)X << 12 | USER_BIT | WB))           \
    STEP("unmap, suppressing #VE", MARKS, l1_entry(SUPPRESS_VE))                                   \
    STEP("empty the log", MARKS, w.log.index = 1)                                                  \
    STEP("user fetches 0", WORKS, access_page(0, USER_FETCH))
#endif
#define STEPS(STEP)                                                                                \
    STEP("map", MARKS, l1_entry((uint64_t)X << 12 | ALL | WB))                                     \
    STEP("map elsewhere", MARKS, l1_entry((uint64_t)Y << 12 | ALL | WB))                           \
    STEP("read-only", MARKS, l1_entry((uint64_t)X << 12 | READ_ONLY | WB | SUPPRESS_VE))           \
    STEP("no user or execute-only", MARKS, l1_entry((uint64_t)X << 12 | NO_USER | WB))             \
    STEP("uncached", MARKS, l1_entry((uint64_t)X << 12 | ALL | UC))                                \
    STEP("unmap", MARKS, l1_entry(0))                                                              \
    STEP("large page", MARKS, l1_directory(ALL | WB | LARGE))                                      \
    STEP("large read-only page", MARKS, l1_directory(READ_ONLY | WB | LARGE))                      \
    STEP("read-only table", MARKS,                                                                 \
         l1_directory((uint64_t)TABLE(1) << 12 | READ_ONLY | SUPPRESS_VE))                         \
    STEP("table", MARKS, l1_directory((uint64_t)TABLE(1) << 12 | LINK))                            \
    STEP("other table", MARKS, l1_directory((uint64_t)OTHER_TABLE << 12 | LINK))                   \
    STEP("invalidate", MARKS, invalidate(false))                                                   \
    STEP("invalidate all", MARKS, invalidate(true))                                                \
    STEP("switch root", MARKS, w.key ^= 1u)                                                        \
    STEP("another CPU", MARKS, w.cpu ^= 1u)                                                        \
    STEP("room", MARKS, room())                                                                    \
    STEP("read 0", WORKS, access_page(0, 1))                                                       \
    STEP("write 0", WORKS, access_page(0, 2))                                                      \
    STEP("fetch 0", WORKS, access_page(0, 4))                                                      \
    EPT_STEPS(STEP)                                                                                \
    STEP("read 1", WORKS, access_page(1, 1))                                                       \
    STEP("write 1", WORKS, access_page(1, 2))                                                      \
    STEP("write 0 while the host moves", WORKS, access_and_move(0, 2))                             \
    STEP("host unmaps", WORKS, host_sets(0, 0))                                                    \
    STEP("host moves", WORKS, host_sets(UINT64_C(1) << 33, 7))                                     \
    STEP("host write-protects", WORKS, host_sets(0, 5))

#define STEP_NAME(name, works, action) name,
#define STEP_WORKS(name, works, action) works,
static const char *const step_name[] = { STEPS(STEP_NAME) };
static const bool step_works[] = { STEPS(STEP_WORKS) };
#define STEP_COUNT (sizeof step_name / sizeof step_name[0])

static void step(unsigned number)
{
    unsigned i = 0;
    struct mmu_audit audit;

    history[depth] = step_name[number];
    watch();
#define STEP_DO(name, works, action)                                                               \
    if (number == i++)                                                                             \
        action;
    STEPS(STEP_DO)
    check_stores();
    check_links();
    if (w.mmu.capacity != 0)
        mmu_audit(&w.mmu, &audit);
    require(w.vm.pages_in_use <= PORT_PAGES, "the budget");
    steps_done++;
}

/* ---- search ---- */

/* A copy of the world: pages that hold nothing are left out. */
struct copy {
    struct world *head;
    uint64_t (*table)[PORT_WORDS];
};

static struct copy copies[MAX_LENGTH + 1];

#define HEAD_BYTES offsetof(struct world, port)
#define PORT_FIXED offsetof(struct nvirt_port_vm, in_use)

static void save(struct copy *copy)
{
    memcpy(copy->head, &w, HEAD_BYTES);
    memcpy((char *)&copy->head->port + PORT_FIXED, (char *)&w.port + PORT_FIXED,
           sizeof w.port - PORT_FIXED);
    for (unsigned i = 0; i < PORT_PAGES; i++) {
        if (w.port.in_use[i] != 0)
            memcpy(copy->table[i], w.port.table[i], sizeof w.port.table[i]);
    }
}

static void restore(const struct copy *copy)
{
    memcpy(&w, copy->head, HEAD_BYTES);
    memcpy((char *)&w.port + PORT_FIXED, (const char *)&copy->head->port + PORT_FIXED,
           sizeof w.port - PORT_FIXED);
    for (unsigned i = 0; i < PORT_PAGES; i++) {
        if (w.port.in_use[i] != 0)
            memcpy(w.port.table[i], copy->table[i], sizeof w.port.table[i]);
    }
}

static void search(unsigned length)
{
    save(&copies[depth]);
    for (unsigned i = 0; i < STEP_COUNT; i++) {
        if (length == 1 && !step_works[i])
            continue;
        step(i);
        if (length > 1) {
            depth++;
            search(length - 1);
            depth--;
        }
        restore(&copies[depth]);
    }
}

static void start(void)
{
    const struct nvirt_vm_config config = { .port = &w.port, .page_budget = PORT_PAGES,
                                            .physical_bits = 40 };

    memset(&w, 0, sizeof w);
    port_init(&w.port);
    w.port.block = big ? UINT64_C(0x200000) : 4096;
    require(nvirt_vm_init(&w.vm, &config) == NVIRT_OK, "a VM");
    require(nvi_mmu_init(&w.mmu, &w.vm, &w.stats, w.roots, one_root ? 1 : KEYS) ==
                NVIRT_OK, "an engine");
    nvi_mmu_attach(&w.mmu, 0);
    for (unsigned level = 4; level > 1; level--)
        put(TABLE(level), 0, (uint64_t)TABLE(level - 1) << 12 | LINK);
    put(TABLE(1), X, (uint64_t)X << 12 | ALL | WB);
    put(TABLE(1), Y, (uint64_t)Y << 12 | ALL | WB);
    put(OTHER_TABLE, X, (uint64_t)Y << 12 | ALL | WB);
    put(OTHER_TABLE, Y, (uint64_t)X << 12 | ALL | WB);
#ifndef MODEL_NPT
    w.log = (struct nvi_ept_log){ .address = LOG << 12, .index = 1 };
#endif
    note();
}

/* Everything touched under both roots, on one CPU and then on the other, where the vCPU is. */
static void start_touched(void)
{
    start();
    history[0] = "a start with all touched";
    for (unsigned i = 0; i < CPUS * KEYS; i++) {
        w.cpu = i / KEYS;
        w.key = i % KEYS;
        access_page(0, 2);
        access_page(1, 1);
    }
    w.key = 0;
}

/* And then there was no room for a table of the first root's, so that tables of the second went. */
static void start_reclaimed(void)
{
    static const char *const name = "a start with all touched, of which some was reclaimed";

    start_touched();
    history[0] = name;
    w.vm.page_budget = w.vm.pages_in_use;
    l1_directory((uint64_t)OTHER_TABLE << 12 | LINK);
    invalidate(false);
    watch();
    access_page(0, 1);
    check_stores();
}

/* Histories that begin with nothing touched, with everything touched, and, a step shorter, after a
 * reclaim. */
int main(int argc, char **argv)
{
    unsigned length = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;

    for (int i = 2; i < argc; i++) {
        big = big || strcmp(argv[i], "big") == 0;
        one_root = one_root || strcmp(argv[i], "one") == 0;
        direct = direct || strcmp(argv[i], "direct") == 0;
    }
    if (length < 2 || length > MAX_LENGTH - 4)
        return 2;
    for (unsigned i = 0; i <= MAX_LENGTH; i++) {
        copies[i].head = malloc(sizeof *copies[i].head);
        copies[i].table = malloc(PORT_PAGES * sizeof *copies[i].table);
        if (copies[i].head == NULL || copies[i].table == NULL)
            return 2;
    }
    start();
    search(length);
    start_touched();
    depth = 1;
    search(length);
    start_reclaimed();
    search(length - 1);
    printf("length %u: %llu steps, %llu faults, %llu stores: sound, complete, whole\n", length,
           (unsigned long long)steps_done, (unsigned long long)faults_done,
           (unsigned long long)stores_done);
    return 0;
}
