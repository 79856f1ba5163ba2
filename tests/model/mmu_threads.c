/* SPDX-License-Identifier: MIT */
/*
 * Real threads on the engines of one VM, to be run under ThreadSanitizer: vCPUs that fault, switch
 * roots, edit L1's tables (which they share), invalidate and run short of pages, while a host
 * unmaps, moves and write-protects L1's memory. Each vCPU has a TLB that keeps what it may until
 * told to flush.
 *
 * Checked at every access of an L2: the page it reaches is L1's now. A page that the host took away
 * is given to nobody before the vCPUs that nvirt_port_kick() named have left their guests; one that
 * is reached after that is a hole. Checked of each vCPU's own root, which nobody else edits: what
 * it took away and invalidated, it cannot reach. At the end: all engines hang together, no page is
 * lost.
 *
 * Built twice: with -DMODEL_NPT, where accessed and dirty flags are set in L1's tables while others
 * edit them, and without for EPT.
 */
#define PORT_PAGES 4096u
#define PORT_L1_PAGES 256u
/* Sometimes the host has its turn at the worst time: when a fault has just asked for what it changes. */
#include <sched.h>
static __thread unsigned translations;
#define PORT_TRANSLATED(vm) (void)(translations++ % 8 == 0 && sched_yield())
#include "mmu_port.h"

#include "../unit/fake/mmu_audit.h"
#ifdef MODEL_NPT
#include "npt/npt.h"
#else
#include "ept/ept.h"
#endif

#include <pthread.h>

#define VCPUS 4u
#define SHARED 3u /* Roots of L1 that all vCPUs run; each has one of its own besides. */
#define ROOTS 4u
#define DATA 128u /* First L1 page that is memory and no table. */
#define DATA_PAGES 64u
#define FRAMES 256u /* Host pages that data may lie in. */
#define CHANGES 300u /* Of the host, at least, in one run. */
#define TLB 32u
#define L2_PAGES 64u

#ifdef MODEL_NPT
#define R (UINT64_C(5) | UINT64_C(1) << 63) /* P U NX */
#define RW (UINT64_C(7) | UINT64_C(1) << 63)
#define RWX UINT64_C(7) /* P W U */
#define WB 0
#define PAT UINT64_C(0x0007040600070406)
#else
#define R UINT64_C(1)
#define RW UINT64_C(3)
#define RWX UINT64_C(7)
#define WB (UINT64_C(6) << 3)
#endif
#define READ 1u /* Rights of an access; 4: fetches. */
#define WRITE 2u
#define LARGE UINT64_C(0x80)

struct tlb_entry {
    bool used;
    uint64_t ep4ta, page, frame;
    uint32_t rights;
};

struct vcpu {
    pthread_t thread;
    unsigned number;
    uint64_t random;
    struct nvi_mmu mmu;
    struct nvi_mmu_root roots[ROOTS];
    struct nvirt_stats stats;
    struct tlb_entry tlb[TLB];
    uint32_t in_guest;  /* Between prepare and exit; written before nvi_mmu_enter(). */
    uint32_t left;      /* How often it left. */
    uint64_t accesses, retries, reflected, refused;
};

static struct nvirt_port_vm port;
static struct nvirt_vm vm;
static struct vcpu vcpus[VCPUS];
/* L1 page + 1 that lies in it; 0: the host has other use for it. */
static uint32_t frame_owner[FRAMES];
static uint32_t stop;
static unsigned steps;

static uint32_t dice(uint64_t *random, uint32_t sides)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (uint32_t)(*random >> 11) % sides;
}

/* ---- L1: root r has its tables in pages 8r to 8r+4: two tables of the last level ---- */

static uint64_t table_of(unsigned root, unsigned level, uint64_t page)
{
    return (root * 8 + (level == 1 ? 3 + page / 32 : 4 - level)) * UINT64_C(4096);
}

static uint64_t l2gpa_of(uint64_t page)
{
    return (page / 32 << 21) + page % 32 * 4096;
}

static void put(uint64_t table, uint64_t index, uint64_t entry)
{
    __atomic_store_n(port_word(&port, table + index * 8), entry, __ATOMIC_RELEASE);
}

static void link_tables(unsigned root)
{
    put(table_of(root, 4, 0), 0, table_of(root, 3, 0) | RWX);
    put(table_of(root, 3, 0), 0, table_of(root, 2, 0) | RWX);
    put(table_of(root, 2, 0), 0, table_of(root, 1, 0) | RWX);
    put(table_of(root, 2, 0), 1, table_of(root, 1, 32) | RWX);
}

static void l1_edits(struct vcpu *v, unsigned root)
{
    static const uint64_t rights[] = { 0, R, RW, RWX };
    uint64_t page = dice(&v->random, L2_PAGES);

    if (dice(&v->random, 8) == 0)
        put(table_of(root, 2, 0), page / 32,
            dice(&v->random, 2) == 0 ? RWX | WB | LARGE : table_of(root, 1, page) | RWX);
    else
        put(table_of(root, 1, page), page % 32,
            (DATA + dice(&v->random, DATA_PAGES)) * UINT64_C(4096) | WB |
                rights[dice(&v->random, 4)]);
}

/* ---- hardware's walk of the shadow tables, from the manuals [SDM 3C "EPT Translation Mechanism",
 * APM 2 "Nested Paging"] ---- */

struct hw_found {
    uint64_t hpa;
    uint32_t rights; /**< AND of all levels; 0: not present. */
};

static uint32_t rights_of(uint64_t entry)
{
#ifdef MODEL_NPT
    /* Every access of the nested walk is a user's. */
    return (entry & 5) == 5 ? READ | ((uint32_t)entry & WRITE) | (entry >> 63 == 0 ? 4u : 0u) : 0;
#else
    return (uint32_t)entry & 7;
#endif
}

static void hw_walk(struct nvirt_port_vm *vm, uint64_t top, uint64_t l2gpa, struct hw_found *found)
{
    uint64_t table = top;

    found->rights = 7;
    found->hpa = 0;
    for (unsigned level = 4;; level--) {
        uint64_t *entries = nvirt_port_page_pointer(vm, nvirt_hpa_make(table));
        uint64_t entry =
            __atomic_load_n(&entries[l2gpa >> (3 + 9 * level) & 511], __ATOMIC_ACQUIRE);

        found->rights &= rights_of(entry);
        if ((entry & 7) == 0) {
            if (entry != 0)
                PORT_DIE("an absent entry holds 0x%llx", (unsigned long long)entry);
            return;
        }
        if (level == 1 || (entry & 0x80) != 0) {
            uint64_t offset = (UINT64_C(1) << (3 + 9 * level)) - 1;

            found->hpa = (entry & UINT64_C(0x000ffffffffff000) & ~offset) | (l2gpa & offset);
            return;
        }
        table = entry & UINT64_C(0x000ffffffffff000);
    }
}

/* ---- a vCPU ---- */

static void flush(struct vcpu *v, const struct nvi_mmu_root *root, enum nvi_mmu_flush kind)
{
    for (unsigned i = 0; i < TLB; i++) {
        if (kind == NVI_MMU_FLUSH_ALL ||
            (kind == NVI_MMU_FLUSH_ROOT && v->tlb[i].ep4ta == root->table.value))
            v->tlb[i].used = false;
    }
}

/* What an L2 reaches has to be L1's now. Tables of L1's are never moved. */
static void check_reached(const struct vcpu *v, uint64_t hpa)
{
    uint64_t frame = (hpa - PORT_MEMORY) / 4096;

    if (frame >= PORT_L1_PAGES + FRAMES)
        PORT_DIE("vCPU %u reaches 0x%llx", v->number, (unsigned long long)hpa);
    if (frame >= PORT_L1_PAGES &&
        __atomic_load_n(&frame_owner[frame - PORT_L1_PAGES], __ATOMIC_SEQ_CST) == 0)
        PORT_DIE("vCPU %u reaches a page that the host took away", v->number);
}

static bool hardware_access(struct vcpu *v, const struct nvi_mmu_root *root, uint64_t page,
                            uint32_t access, uint64_t *hpa)
{
    struct hw_found found;
    struct tlb_entry *entry;

    for (unsigned i = 0; i < TLB; i++) {
        entry = &v->tlb[i];
        if (!entry->used || entry->ep4ta != root->table.value || entry->page != page)
            continue;
        if ((entry->rights & access) == access) {
            *hpa = entry->frame;
            return true;
        }
        entry->used = false;
    }
    hw_walk(&port, root->table.value, l2gpa_of(page), &found);
    if ((found.rights & access) != access)
        return false;
    entry = &v->tlb[dice(&v->random, TLB)];
    *entry = (struct tlb_entry){ .used = true, .ep4ta = root->table.value, .page = page,
                                 .frame = found.hpa, .rights = found.rights };
    *hpa = found.hpa;
    return true;
}

/* One stay in the guest: a few accesses, until one faults or the vCPU is kicked.
 * @return the page that faulted, or L2_PAGES. */
static uint64_t stay(struct vcpu *v, const struct nvi_mmu_root *root, uint32_t kicks,
                     uint64_t first, uint32_t access)
{
    for (unsigned i = 0; i < 6; i++) {
        uint64_t page = i == 0 ? first : dice(&v->random, L2_PAGES), hpa;

        if (__atomic_load_n(&port.kicks[v->number], __ATOMIC_SEQ_CST) != kicks)
            return L2_PAGES;
        if (!hardware_access(v, root, page, access, &hpa))
            return page;
        check_reached(v, hpa);
        v->accesses++;
    }
    return L2_PAGES;
}

/* ---- the two formats ---- */

#ifdef MODEL_NPT
/* Every other root has no-execute enabled; in the others its bit is reserved. */
static enum nvirt_status get_root(struct vcpu *v, unsigned number, struct nvi_mmu_root **root)
{
    const struct nvi_npt_mode mode = { .ncr3 = table_of(number, 4, 0), .cr0 = NVIRT_BIT(31),
                                       .cr4 = NVIRT_BIT(5), .pat = PAT,
                                       .efer = NVIRT_BIT(10) |
                                                (number % 2 == 0 ? NVIRT_BIT(11) : 0) };
    struct nvi_mmu_key key = nvi_npt_key(&mode);

    return nvi_npt_root(&v->mmu, &key, root);
}

static enum nvi_fault fault(struct vcpu *v, struct nvi_mmu_root *root, uint64_t page,
                            uint32_t access)
{
    static const struct nvi_npt_config config = { .physical_bits = 40, .cpu_pat = PAT };
    struct nvi_npt_verdict verdict;
    uint64_t info = NVI_NPF_FINAL | NVI_PF_U | (access == WRITE ? NVI_PF_W : 0);

    return nvi_npt_fault(&v->mmu, root, &config, info, nvirt_l2gpa_make(l2gpa_of(page)), &verdict);
}
#else
/* Every other root has accessed and dirty flags. */
static enum nvirt_status get_root(struct vcpu *v, unsigned number, struct nvi_mmu_root **root)
{
    struct nvi_mmu_key key =
        nvi_ept_key(table_of(number, 4, 0) | 6 | 3 << 3 | (number % 2 == 0 ? 0x40 : 0));

    return nvi_ept_root(&v->mmu, &key, root);
}

static enum nvi_fault fault(struct vcpu *v, struct nvi_mmu_root *root, uint64_t page,
                            uint32_t access)
{
    static const struct nvi_ept_config config = { .physical_bits = 40, .execute_only = true,
                                                  .page_2m = true, .cpu_2m = true,
                                                  .cpu_wb = true };
    struct nvi_ept_verdict verdict;

    return nvi_ept_fault(&v->mmu, root, &config, access, nvirt_l2gpa_make(l2gpa_of(page)), NULL,
                         &verdict);
}
#endif

/* ---- a vCPU's run ---- */

/* L2 runs once on @p root and its fault is handled. @return what came of the fault. */
static enum nvi_fault run_once(struct vcpu *v, unsigned number, uint64_t first, uint32_t access)
{
    struct nvi_mmu_root *root;
    enum nvi_mmu_flush kind;
    enum nvi_fault result;
    uint32_t kicks;
    uint64_t page;

    if (get_root(v, number, &root) != NVIRT_OK) {
        v->refused++;
        return NVI_FAULT_NO_PAGE;
    }
    kicks = __atomic_load_n(&port.kicks[v->number], __ATOMIC_SEQ_CST);
    (void)__atomic_exchange_n(&v->in_guest, 1u, __ATOMIC_SEQ_CST);
    kind = nvi_mmu_enter(&v->mmu, root, 0);
    flush(v, root, kind);
    nvi_mmu_flushed(&v->mmu, root, 0, kind);
    page = stay(v, root, kicks, first, access);
    (void)__atomic_fetch_add(&v->left, 1u, __ATOMIC_SEQ_CST);
    (void)__atomic_exchange_n(&v->in_guest, 0u, __ATOMIC_SEQ_CST);
    if (page == L2_PAGES)
        return NVI_FAULT_INSTALLED;
    result = fault(v, root, page, access);
    v->retries += result == NVI_FAULT_RETRY;
    v->reflected += result == NVI_FAULT_REFLECT;
    v->refused += result == NVI_FAULT_NO_PAGE || result == NVI_FAULT_HOST;
    return result;
}

/* The root that only this vCPU edits: what it revoked and invalidated, it cannot reach. */
static void own_root_holds(struct vcpu *v)
{
    unsigned own = SHARED + v->number;
    uint64_t page = dice(&v->random, L2_PAGES);
    enum nvi_fault result = NVI_FAULT_RETRY;

    link_tables(own);
    put(table_of(own, 1, page), page % 32, (DATA + 1) * UINT64_C(4096) | RWX | WB);
    nvi_mmu_invalidate(&v->mmu, table_of(own, 4, 0));
    for (unsigned i = 0; i < 3; i++)
        (void)run_once(v, own, page, READ);
    put(table_of(own, 1, page), page % 32, 0);
    nvi_mmu_invalidate(&v->mmu, table_of(own, 4, 0));
    for (unsigned i = 0; i < 1000 && result != NVI_FAULT_REFLECT; i++) {
        uint64_t before = v->accesses;

        result = run_once(v, own, page, READ);
        if (result != NVI_FAULT_NO_PAGE && v->accesses != before)
            PORT_DIE("vCPU %u reads a page that it took away", v->number);
    }
}

/*
 * However the threads are scheduled: until the host had its share of turns, and this vCPU its
 * own. One that shares its processor with both threads of the host finds memory on the move in
 * most of its steps; it asks again, as a vCPU does, and takes more steps. A vCPU that never gets
 * anywhere ends the test by its time limit.
 */
static int wants_more(const struct vcpu *v, unsigned step)
{
    return step < steps || nvi_mmu_host_changes(&vm) < CHANGES ||
           v->stats.shadow_faults < steps / 10 || v->accesses < steps / 50;
}

static void *vcpu_main(void *argument)
{
    struct vcpu *v = argument;

    for (unsigned step = 0; wants_more(v, step); step++) {
        unsigned root = dice(&v->random, SHARED);

        /* Fewer processors than threads: the host gets its turn. */
        if (step % 8 == 0)
            sched_yield();
        switch (dice(&v->random, 64)) {
        case 0:
            nvi_mmu_invalidate(&v->mmu, table_of(root, 4, 0));
            break;
        case 1:
            nvi_mmu_invalidate_all(&v->mmu);
            break;
        case 2:
        case 3:
        case 4:
            l1_edits(v, root);
            break;
        case 5:
            own_root_holds(v);
            break;
        default:
            (void)run_once(v, root, dice(&v->random, L2_PAGES),
                           dice(&v->random, 3) == 0 ? WRITE : READ);
            break;
        }
    }
    return NULL;
}

/* ---- the host ---- */

static void wait_for_kicked(const uint32_t before[VCPUS])
{
    for (unsigned i = 0; i < VCPUS; i++) {
        struct vcpu *v = &vcpus[i];
        uint32_t left;

        if (__atomic_load_n(&port.kicks[i], __ATOMIC_SEQ_CST) == before[i])
            continue;
        left = __atomic_load_n(&v->left, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&v->in_guest, __ATOMIC_SEQ_CST) != 0 &&
               __atomic_load_n(&v->left, __ATOMIC_SEQ_CST) == left)
            sched_yield();
    }
}

/* Each of two threads of the host has half of the pages, and of the places for them. */
static void change(uint64_t *random, unsigned half)
{
    uint32_t page = DATA + dice(random, DATA_PAGES / 2) * 2 + half, frame, before[VCPUS];
    uint64_t old = __atomic_load_n(&port.host[page], __ATOMIC_ACQUIRE), now;

    for (unsigned i = 0; i < VCPUS; i++)
        before[i] = __atomic_load_n(&port.kicks[i], __ATOMIC_SEQ_CST);
    if (nvirt_vm_change_begin(&vm, nvirt_l1gpa_make(page * UINT64_C(4096)), 4096) != NVIRT_OK)
        PORT_DIE("a change was refused");
    __atomic_store_n(&port.host[page], 0, __ATOMIC_RELEASE);
    wait_for_kicked(before);
    if (old != 0)
        __atomic_store_n(&frame_owner[((old & ~UINT64_C(0xfff)) - PORT_MEMORY) / 4096 -
                                      PORT_L1_PAGES], 0, __ATOMIC_SEQ_CST);
    do
        frame = dice(random, FRAMES / 2) * 2 + half;
    while (__atomic_load_n(&frame_owner[frame], __ATOMIC_SEQ_CST) != 0);
    now = dice(random, 8) == 0
              ? 0
              : PORT_MAP(PORT_MEMORY + (PORT_L1_PAGES + frame) * UINT64_C(4096),
                         dice(random, 3) == 0 ? 1u : 7u,
                         NVIRT_MEMORY_WB);
    if (now != 0)
        __atomic_store_n(&frame_owner[frame], page + 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&port.host[page], now, __ATOMIC_RELEASE);
    if (nvirt_vm_change_end(&vm) != NVIRT_OK)
        PORT_DIE("the end of a change was refused");
}

static void *host_main(void *argument)
{
    unsigned half = argument == NULL ? 0 : 1;
    uint64_t random = 77 + half;

    while (__atomic_load_n(&stop, __ATOMIC_ACQUIRE) == 0) {
        change(&random, half);
        sched_yield();
    }
    return NULL;
}

static void start(uint32_t budget, uint32_t capacity)
{
    const struct nvirt_vm_config vm_config = { .port = &port, .page_budget = budget,
                                               .physical_bits = 40 };

    port_init(&port);
    memset(frame_owner, 0, sizeof frame_owner);
    if (nvirt_vm_init(&vm, &vm_config) != NVIRT_OK)
        PORT_DIE("no VM");
    for (unsigned root = 0; root < SHARED + VCPUS; root++) {
        link_tables(root);
        for (uint64_t page = 0; page < L2_PAGES; page++)
            put(table_of(root, 1, page), page % 32, (DATA + page) * 4096 | RWX | WB);
    }
    for (uint32_t i = 0; i < DATA_PAGES; i++) {
        frame_owner[i] = DATA + i + 1;
        port.host[DATA + i] = PORT_MAP(PORT_MEMORY + (PORT_L1_PAGES + i) * UINT64_C(4096), RWX,
                                       NVIRT_MEMORY_WB);
    }
    for (unsigned i = 0; i < VCPUS; i++) {
        struct vcpu *v = &vcpus[i];

        memset(v, 0, sizeof *v);
        v->number = i;
        v->random = 1 + i * UINT64_C(0x9e3779b97f4a7c15);
        if (nvi_mmu_init(&v->mmu, &vm, &v->stats, v->roots, capacity) != NVIRT_OK)
            PORT_DIE("no engine");
        nvi_mmu_attach(&v->mmu, i);
    }
}

/* One run with @p budget pages for all and @p capacity roots for each. */
static void play(uint32_t budget, uint32_t capacity)
{
    uint64_t accesses = 0, dropped = 0, compared = 0, reclaimed = 0;
    pthread_t host[2];

    start(budget, capacity);
    stop = 0;
    for (unsigned i = 0; i < VCPUS; i++)
        pthread_create(&vcpus[i].thread, NULL, vcpu_main, &vcpus[i]);
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&host[i], NULL, host_main, i == 0 ? NULL : &vm);
    for (unsigned i = 0; i < VCPUS; i++)
        pthread_join(vcpus[i].thread, NULL);
    __atomic_store_n(&stop, 1u, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(host[i], NULL);
    for (unsigned i = 0; i < VCPUS; i++) {
        struct vcpu *v = &vcpus[i];
        struct mmu_audit audit;

        mmu_audit(&v->mmu, &audit);
        printf("budget %u, vCPU %u: %llu accesses, %llu faults installed, %llu retried, %llu "
               "reflected, %llu refused, %llu dropped by the host, %llu compared, %llu reclaimed\n",
               budget, i, (unsigned long long)v->accesses,
               (unsigned long long)v->stats.shadow_faults, (unsigned long long)v->retries,
               (unsigned long long)v->reflected,
               (unsigned long long)v->refused, (unsigned long long)v->stats.shadow_dropped,
               (unsigned long long)v->stats.shadow_revalidated,
               (unsigned long long)v->stats.shadow_reclaimed);
        accesses += v->accesses;
        dropped += v->stats.shadow_dropped;
        compared += v->stats.shadow_revalidated;
        reclaimed += v->stats.shadow_reclaimed;
        nvi_mmu_destroy(&v->mmu);
    }
    printf("budget %u: %llu changes by the host\n", budget, (unsigned long long)vm.changes);
    if (accesses < steps / 20 || dropped < 20 || compared < 20 || (budget < 200 && reclaimed < 20))
        PORT_DIE("too little happened that could have gone wrong");
    if (port.pages != 0 || vm.pages_in_use != 0)
        PORT_DIE("%u pages are lost", port.pages);
}

int main(int argc, char **argv)
{
    steps = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 5000;
    play(2000, ROOTS);
    play(160, 2);
    puts("ok");
    return 0;
}
