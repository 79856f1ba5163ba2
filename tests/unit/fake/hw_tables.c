/* SPDX-License-Identifier: MIT */
/*
 * Hardware's view of EPT and NPT tables; hw_tables.h has the contract.
 */
#include "hw_tables.h"

#include <stdio.h>
#include <stdlib.h>

#define ADDRESS UINT64_C(0x000ffffffffff000)

static uint64_t entry_at(struct nvirt_port_vm *vm, uint64_t table, uint64_t address, unsigned level)
{
    const uint64_t *entries = nvirt_port_page_pointer(vm, nvirt_hpa_make(table));

    return entries[(address >> (3 + 9 * level)) & 511];
}

static void check_absent(uint64_t entry)
{
    if ((entry & ADDRESS) != 0) {
        fprintf(stderr, "absent entry with an address: 0x%llx\n", (unsigned long long)entry);
        abort();
    }
}

static bool ept_is_misconfigured(uint64_t entry, unsigned level, bool leaf)
{
    uint64_t type = (entry >> 3) & 7;

    if ((entry & 3) == 2)
        return true;
    if (leaf)
        return type == 2 || type == 3 || type == 7 ||
               (level == 2 && (entry & UINT64_C(0x1ff000)) != 0) ||
               (level == 3 && (entry & UINT64_C(0x3ffff000)) != 0);
    return (entry & (level > 3 ? 0xf8u : 0x78u)) != 0;
}

static void check_user_bit(uint64_t entry, uint32_t meant)
{
    if ((entry & 7) != 0 && (entry & HW_USER_EXECUTE & ~(uint64_t)meant) != 0) {
        fprintf(stderr, "user-execute without the control: 0x%llx\n", (unsigned long long)entry);
        abort();
    }
}

static enum hw_result ept_walk(struct nvirt_port_vm *vm, uint64_t eptp, uint64_t l2gpa,
                               uint32_t meant, struct hw_page *page)
{
    unsigned level = (unsigned)((eptp >> 3) & 7) + 1;
    uint64_t table = eptp & ADDRESS;
    uint64_t entry;

    page->rights = meant;
    for (;; level--) {
        bool leaf;

        entry = entry_at(vm, table, l2gpa, level);
        check_user_bit(entry, meant);
        page->rights &= (uint32_t)entry;
        if ((entry & meant) == 0) {
            check_absent(entry);
            return HW_NOT_PRESENT;
        }
        leaf = level == 1 || (level <= 3 && (entry & 0x80) != 0);
        if (ept_is_misconfigured(entry, level, leaf))
            return HW_RESERVED;
        if (leaf)
            break;
        table = entry & ADDRESS;
    }
    page->size = UINT64_C(1) << (3 + 9 * level);
    page->hpa = (entry & ADDRESS & ~(page->size - 1)) | (l2gpa & (page->size - 1));
    page->type = (uint8_t)((entry >> 3) & 7);
    page->ignore_pat = (entry & 0x40) != 0;
    page->dirty = (entry & 0x200) != 0;
    page->subpages = level == 1 && (entry >> 61 & 1) != 0 && (page->rights & 3) == 1;
    return HW_PAGE;
}

enum hw_subpage hw_subpage_walk(struct nvirt_port_vm *vm, uint64_t sppt, uint64_t l2gpa,
                                uint64_t *vector)
{
    uint64_t table = sppt;
    unsigned level;

    *vector = 0;
    for (level = 4; level > 1; level--) {
        uint64_t entry = entry_at(vm, table, l2gpa, level);

        if ((entry & 1) == 0) {
            check_absent(entry);
            return HW_SUBPAGE_MISS;
        }
        if ((entry & ~(ADDRESS | 1)) != 0)
            return HW_SUBPAGE_MISCONFIG;
        table = entry & ADDRESS;
    }
    *vector = entry_at(vm, table, l2gpa, 1);
    if ((*vector & UINT64_C(0xaaaaaaaaaaaaaaaa)) != 0)
        return HW_SUBPAGE_MISCONFIG;
    return (*vector >> (l2gpa >> 7 & 31) * 2 & 1) != 0 ? HW_SUBPAGE_ALLOWED : HW_SUBPAGE_DENIED;
}

enum hw_result hw_ept_walk(struct nvirt_port_vm *vm, uint64_t eptp, uint64_t l2gpa,
                           struct hw_page *page)
{
    return ept_walk(vm, eptp, l2gpa, 7, page);
}

enum hw_result hw_ept_walk_mode(struct nvirt_port_vm *vm, uint64_t eptp, uint64_t l2gpa,
                                struct hw_page *page)
{
    return ept_walk(vm, eptp, l2gpa, 7 | HW_USER_EXECUTE, page);
}

enum hw_result hw_npt_walk(struct nvirt_port_vm *vm, uint64_t ncr3, uint64_t l2gpa,
                           struct hw_page *page)
{
    uint64_t table = ncr3 & ADDRESS;
    uint64_t entry, reserved;
    unsigned level = 4;
    bool leaf;

    page->rights = 7;
    for (;; level--) {
        entry = entry_at(vm, table, l2gpa, level);
        if ((entry & 1) == 0) {
            check_absent(entry);
            return HW_NOT_PRESENT;
        }
        leaf = level == 1 || (level <= 3 && (entry & 0x80) != 0);
        reserved = 0;
        if (level == 4)
            reserved = 0x180;
        else if (leaf && level > 1)
            reserved = level == 2 ? UINT64_C(0x1fe000) : UINT64_C(0x3fffe000);
        if ((entry & reserved) != 0)
            return HW_RESERVED;
        if ((entry & 2) == 0)
            page->rights &= ~NVIRT_ACCESS_WRITE;
        if ((entry & 4) == 0) /* Nested accesses are users': a supervisor page allows none. */
            page->rights = 0;
        if ((entry >> 63) != 0)
            page->rights &= ~NVIRT_ACCESS_EXECUTE;
        if (leaf)
            break;
        table = entry & ADDRESS;
    }
    page->size = UINT64_C(1) << (3 + 9 * level);
    page->hpa = (entry & ADDRESS & ~(page->size - 1)) | (l2gpa & (page->size - 1));
    page->type = (uint8_t)((entry >> 3) & 3);
    if ((entry & (level == 1 ? 0x80 : 0x1000)) != 0)
        page->type |= 4;
    page->ignore_pat = false;
    page->dirty = (entry & 0x40) != 0;
    return HW_PAGE;
}

uint32_t hw_table_pages(struct nvirt_port_vm *vm, uint64_t root, unsigned levels)
{
    const uint64_t *entries = nvirt_port_page_pointer(vm, nvirt_hpa_make(root & ADDRESS));
    uint32_t pages = 1;
    unsigned i;

    for (i = 0; i < 512 && levels > 1; i++) {
        if ((entries[i] & 7) != 0 && ((entries[i] & 0x80) == 0))
            pages += hw_table_pages(vm, entries[i], levels - 1);
    }
    return pages;
}
