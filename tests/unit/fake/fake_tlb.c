/* SPDX-License-Identifier: MIT */
/* See fake_tlb.h. [SDM 3C "Information That May Be Cached"] [APM 2 "TLB Flush"] */
#include "fake_tlb.h"

#include <stdio.h>
#include <stdlib.h>

#define EP4TA NVIRT_BITS(51, 12)

/* Pages of L2 that tests use. */
static const uint64_t probe[] = { 0x1000, 0x2000, 0x5000, 0x6000, 0x7000, 0x200000, 0x40000000 };

static void broken(const char *text, const struct fake_tlb_entry *entry)
{
    fprintf(stderr, "fake TLB: %s: l2gpa %#llx, hpa %#llx, tag %u, root %#llx, tag of L1 %#llx\n",
            text, (unsigned long long)entry->l2gpa, (unsigned long long)entry->page.hpa,
            entry->made.tag, (unsigned long long)entry->made.root,
            (unsigned long long)entry->made.owner);
    abort();
}

void fake_tlb_invept(struct fake_tlb *tlb, bool all, uint64_t eptp)
{
    for (uint32_t i = 0; i < FAKE_TLB_ENTRIES; i++)
        if (all || ((tlb->entry[i].made.root ^ eptp) & EP4TA) == 0)
            tlb->entry[i].used = false;
}

void fake_tlb_flush_tag(struct fake_tlb *tlb, uint32_t tag, bool globals)
{
    for (uint32_t i = 0; i < FAKE_TLB_ENTRIES; i++)
        if (tlb->entry[i].combined && (tag == 0 || tlb->entry[i].made.tag == tag) &&
            (globals || tlb->entry[i].l2gpa != FAKE_TLB_GLOBAL))
            tlb->entry[i].used = false;
}

void fake_tlb_flush_page(struct fake_tlb *tlb, uint32_t tag, uint64_t page)
{
    for (uint32_t i = 0; i < FAKE_TLB_ENTRIES; i++)
        if (tlb->entry[i].combined && tlb->entry[i].made.tag == tag && tlb->entry[i].l2gpa == page)
            tlb->entry[i].used = false;
}

void fake_tlb_second_hand(struct fake_tlb *tlb, uint32_t tag)
{
    tlb->entry[tlb->next++ % FAKE_TLB_ENTRIES] = (struct fake_tlb_entry){
        .used = true, .lost = true, .combined = true, .made = { .tag = tag } };
}

void fake_tlb_lose(struct fake_tlb *tlb, const struct fake_tlb_lost *lost)
{
    for (uint32_t i = 0; i < FAKE_TLB_ENTRIES; i++) {
        struct fake_tlb_entry *entry = &tlb->entry[i];

        if (entry->made.level == lost->level && (entry->combined || !lost->combined) &&
            (!lost->one_owner || entry->made.owner == lost->owner) &&
            (!lost->tagged || !entry->made.without) &&
            (!lost->not_global || entry->l2gpa != FAKE_TLB_GLOBAL) &&
            (!lost->one_page || entry->l2gpa == lost->page))
            entry->lost = true;
    }
}

static bool same_root(const struct fake_tlb_context *a, const struct fake_tlb_context *b)
{
    return ((a->root ^ b->root) & EP4TA) == 0;
}

/* Whether the CPU may use it for what enters. */
static bool is_usable(const struct fake_tlb_entry *entry, const struct fake_tlb_context *now)
{
    if (!entry->used)
        return false;
    if (entry->combined && (now->tag == 0 || entry->made.tag != now->tag))
        return false;
    return now->svm || same_root(&entry->made, now);
}

static bool walk(struct nvirt_port_vm *vm, const struct fake_tlb_context *now, uint64_t l2gpa,
                 struct hw_page *page)
{
    if (now->level != 2)
        return false;
    return (now->svm     ? hw_npt_walk(vm, now->root, l2gpa, page)
            : now->modes ? hw_ept_walk_mode(vm, now->root, l2gpa, page)
                         : hw_ept_walk(vm, now->root, l2gpa, page)) == HW_PAGE;
}

static void check(struct fake_tlb *tlb, struct nvirt_port_vm *vm, struct fake_tlb_entry *entry,
                  const struct fake_tlb_context *now)
{
    struct hw_page page;

    if (entry->lost)
        broken("flushed by L1, its guests or the host", entry);
    if (entry->combined && entry->made.owner != now->owner)
        broken("cached for another tag of L1's", entry);
    if (entry->combined && now->without && entry->made.stay != now->stay)
        broken("VPID 0 outlived a transition", entry);
    /* An ASID may hold what came from other tables than those it runs on now: they still count. */
    if (now->level == 2 &&
        (!walk(vm, now->svm ? &entry->made : now, entry->l2gpa, &page) ||
         page.hpa != entry->page.hpa || (entry->page.rights & ~page.rights) != 0))
        broken("the tables say otherwise now", entry);
    tlb->checks++;
}

static bool is_same(const struct fake_tlb_entry *entry, bool combined,
                    const struct fake_tlb_context *now, uint64_t l2gpa,
                    const struct hw_page *page)
{
    return entry->used && !entry->lost && entry->combined == combined && entry->l2gpa == l2gpa &&
           entry->made.level == now->level && entry->made.tag == now->tag &&
           entry->made.root == now->root && entry->made.owner == now->owner &&
           entry->made.stay == now->stay && entry->page.hpa == page->hpa &&
           entry->page.rights == page->rights;
}

/* Where there is none like it. Free places are taken first, then those of old ones. */
static void add(struct fake_tlb *tlb, bool combined, const struct fake_tlb_context *now,
                uint64_t l2gpa, const struct hw_page *page)
{
    struct fake_tlb_entry *to = NULL;

    for (uint32_t i = 0; i < FAKE_TLB_ENTRIES; i++) {
        if (is_same(&tlb->entry[i], combined, now, l2gpa, page))
            return;
        if (!tlb->entry[i].used)
            to = &tlb->entry[i];
    }
    if (to == NULL)
        to = &tlb->entry[tlb->next++ % FAKE_TLB_ENTRIES];
    *to = (struct fake_tlb_entry){
        .used = true, .combined = combined, .made = *now, .l2gpa = l2gpa, .page = *page };
}

void fake_tlb_enter(struct fake_tlb *tlb, struct nvirt_port_vm *vm,
                    const struct fake_tlb_context *now)
{
    static const struct hw_page nothing;

    for (uint32_t i = 0; i < FAKE_TLB_ENTRIES; i++)
        if (is_usable(&tlb->entry[i], now))
            check(tlb, vm, &tlb->entry[i], now);
    if (now->level == 1)
        add(tlb, true, now, 0, &nothing);
    for (size_t i = 0; i < sizeof probe / sizeof probe[0]; i++) {
        struct hw_page page;

        if (!walk(vm, now, probe[i], &page))
            continue;
        add(tlb, true, now, probe[i], &page);
        if (!now->svm)
            add(tlb, false, now, probe[i], &page);
    }
}
