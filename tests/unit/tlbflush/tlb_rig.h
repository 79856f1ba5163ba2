/* SPDX-License-Identifier: MIT */
/* An engine with two tags and three roots, and entries made with it. */
#ifndef TESTS_UNIT_TLB_RIG_H
#define TESTS_UNIT_TLB_RIG_H

#include <nvirt/tlbflush.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RIG_ROOTS 70u /* more than are told apart; most tests have 16 */

static const struct nvirt_tlb_caps all_caps = {true, true, true, true, true, true};
static const uint32_t two_tags[] = {10, 11};

struct rig {
    struct nvirt_tlb_root root[RIG_ROOTS];
    struct nvirt_tlb_domain domain;
    struct nvirt_tlb tlb;
    struct nvirt_flush_set due; /* of the last entry */
};

static inline void make(struct rig *r, const struct nvirt_tlb_caps *caps, bool svm)
{
    const struct nvirt_tlb_config config = {.domain = &r->domain,
                                            .caps = *caps,
                                            .svm = svm,
                                            .tag01 = 1,
                                            .tags = two_tags,
                                            .tag_count = 2,
                                            .max_addresses = 4};

    memset(r, 0, sizeof(*r));
    nvirt_tlb_domain_init(&r->domain, r->root, 16, false);
    assert_int_equal(nvirt_tlb_init(&r->tlb, &config), NVIRT_OK);
}

/* An entry with everything due carried out. */
static inline void enter(struct rig *r, uint32_t level, uint32_t cpu, uint32_t root)
{
    const struct nvirt_tlb_entry entry = {
        .level = level, .cpu = cpu, .root = root, .eptp = 0x5000 + root * 0x1000};

    nvirt_tlb_due(&r->tlb, &entry, &r->due);
    for (uint32_t i = 0; i < r->due.count; i++) {
        nvirt_tlb_done(&r->tlb, cpu, &r->due.op[i]);
    }
    nvirt_tlb_entered(&r->tlb, &entry);
}

static inline uint32_t vmx_visit(struct rig *r, uint16_t vpid12, uint32_t cpu, uint32_t root)
{
    uint32_t tag = nvirt_tlb_vmx_enter_l2(&r->tlb, vpid12 != 0, vpid12);

    enter(r, 2, cpu, root);
    return tag;
}

static inline void vmx_l1(struct rig *r, bool vpid12_enabled, uint32_t cpu)
{
    nvirt_tlb_vmx_leave_l2(&r->tlb, vpid12_enabled);
    enter(r, 1, cpu, 0);
}

static inline void assert_one(const struct rig *r, enum nvirt_flush_kind kind, uint32_t tag)
{
    assert_int_equal(r->due.count, 1);
    assert_int_equal(r->due.op[0].kind, kind);
    assert_int_equal(r->due.op[0].tag, tag);
}

static inline void assert_root(const struct rig *r, uint32_t root, uint64_t eptp)
{
    assert_one(r, NVIRT_FLUSH_ROOT, 0);
    assert_int_equal(r->due.op[0].root, root);
    assert_int_equal(r->due.op[0].operand, eptp);
}

static inline void assert_nothing(const struct rig *r)
{
    assert_int_equal(r->due.count, 0);
}

#endif
