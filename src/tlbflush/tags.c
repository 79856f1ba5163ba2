/* SPDX-License-Identifier: MIT */
/*
 * One space of hardware tags for all vCPUs and VMs of a host: a bit per tag, taken and given back
 * by atomic operations on its word. No order between tags matters, so there is no lock and no list.
 *
 * Taking is an acquire, giving back a release: who takes a tag comes after all that its last owner
 * did with it. What that owner's guests left in TLBs is not looked at here: an engine assumes the
 * worst of each tag that it is given (nvirt_tlb_init()).
 */
#include <nvirt/tlbflush.h>

#define BITS 64u

static uint64_t mask_of(const struct nvirt_tlb_tags *tags, uint32_t word)
{
    uint32_t left = tags->count - word * BITS;

    return left >= BITS ? UINT64_MAX : NVIRT_BIT(left) - 1;
}

enum nvirt_status nvirt_tlb_tags_init(struct nvirt_tlb_tags *tags, uint32_t first, uint32_t count,
                                      uint64_t *words)
{
    if (tags == NULL || words == NULL) {
        return NVIRT_ERR_NULL;
    }
    if (first == 0 || count == 0 || count > UINT32_MAX - first) {
        return NVIRT_ERR_RANGE;
    }
    tags->first = first;
    tags->count = count;
    tags->word = words;
    for (uint32_t i = 0; i < NVIRT_TLB_TAGS_WORDS(count); i++) {
        words[i] = 0;
    }
    return NVIRT_OK;
}

/* A tag of one word of the map; 0 when none is free there. */
static uint32_t take_from(struct nvirt_tlb_tags *tags, uint32_t word)
{
    uint64_t taken = __atomic_load_n(&tags->word[word], __ATOMIC_RELAXED);
    uint64_t mask = mask_of(tags, word);

    while ((taken & mask) != mask) {
        uint32_t bit = (uint32_t)__builtin_ctzll(~taken & mask);

        taken = __atomic_fetch_or(&tags->word[word], NVIRT_BIT(bit), __ATOMIC_ACQUIRE);
        if ((taken >> bit & 1u) == 0) {
            return tags->first + word * BITS + bit;
        }
    }
    return 0;
}

enum nvirt_status nvirt_tlb_tags_take(struct nvirt_tlb_tags *tags, uint32_t *out, uint32_t count)
{
    uint32_t got = 0;

    if (tags == NULL || (out == NULL && count != 0)) {
        return NVIRT_ERR_NULL;
    }
    for (uint32_t word = 0; got < count && word < NVIRT_TLB_TAGS_WORDS(tags->count);) {
        uint32_t tag = take_from(tags, word);

        if (tag == 0) {
            word++;
        } else {
            out[got++] = tag;
        }
    }
    if (got < count) {
        nvirt_tlb_tags_give(tags, out, got);
        return NVIRT_ERR_RANGE;
    }
    return NVIRT_OK;
}

void nvirt_tlb_tags_give(struct nvirt_tlb_tags *tags, const uint32_t *given, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = given[i] - tags->first;

        if (given[i] >= tags->first && at < tags->count) {
            __atomic_fetch_and(&tags->word[at / BITS], ~NVIRT_BIT(at % BITS), __ATOMIC_RELEASE);
        }
    }
}
