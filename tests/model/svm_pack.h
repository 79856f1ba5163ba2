/* SPDX-License-Identifier: MIT */
/* States of svm_model.c as bits, and emissions, of which mirror images are one. */
#ifndef NVIRT_TESTS_MODEL_SVM_PACK_H
#define NVIRT_TESTS_MODEL_SVM_PACK_H

/* ---- states: times only matter in their order ---- */

enum { TIME_OLD = 1, TIME_REQUESTED = 2, TIME_VALIDATED = 3, TIME_NOW = 4 };
#define ALL_TREES 0x1fu
#define STALE_HELD 0x20u

/* On one CPU: trees under which the tag holds something, or that all of it must go. */
static uint32_t held_on(const struct machine *m, const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    const struct nvirt_tlb_held *held = &tag->held[cpu];
    bool l1 = tag == &m->tlb.l1;

    if (held->under == 0 || m->domain.all_tags[cpu] > held->time) {
        return 0;
    }
    if (tag->cpu != cpu || tag->flush) {
        return STALE_HELD;
    }
    for (uint32_t i = 0; i < TREES; i++) {
        const struct nvirt_tlb_root *root = l1 ? &m->tlb.root01 : &m->root[i];

        if ((held->under >> i & 1u) != 0 && root->changed > held->time) {
            return STALE_HELD;
        }
    }
    return (uint32_t)held->under & ALL_TREES;
}

static uint32_t order_of(const struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag)
{
    uint32_t order = 0;

    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        order += tlb->tag[i].used && tlb->tag[i].last_use < tag->last_use;
    }
    return order;
}

static void pack_tag(const struct machine *m, const struct nvirt_tlb_tag *tag, uint32_t i,
                     struct packed *out)
{
    uint32_t cpu = tag->cpu == NVIRT_TLB_NO_CPU ? NO_CPU : tag->cpu;
    uint32_t here = held_on(m, tag, 0);
    uint32_t bits = (uint32_t)(tag->used | tag->tag12 << 1 | cpu << 3) |
                    (uint32_t)tag->nested << 14;

    /* Where all must go, or nothing is left, single addresses do not matter. */
    for (uint32_t j = 0; (here & ALL_TREES) != 0 && j < tag->addresses; j++) {
        bits |= tag->address[j] == PAGE_MARKED ? 1u << 5 : 1u << 6;
    }
    /* It may have last run on CPU 1 and be flushed there, or hold what is owed single addresses. */
    if (tag->cpu == 1) {
        bits |= held_on(m, tag, 1) << 8;
        for (uint32_t j = 0; (held_on(m, tag, 1) & ALL_TREES) != 0 && j < tag->addresses; j++) {
            bits |= tag->address[j] == PAGE_MARKED ? 1u << 5 : 1u << 6;
        }
    } else {
        bits |= (held_on(m, tag, 1) != 0 ? STALE_HELD : 0) << 8;
    }
    bits |= (tag->used && tag != &m->tlb.l1 ? order_of(&m->tlb, tag) : 0) << 7;
    out->tag[i] = (uint16_t)bits;
    out->held[i] = (uint8_t)here;
}

static void unpack_held(uint32_t bits, struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    tag->held[cpu].under = (bits & STALE_HELD) != 0 ? 1 : bits & ALL_TREES;
    tag->held[cpu].time = TIME_NOW;
    /* On the CPU where it last ran only an owed flush says so; elsewhere it goes without saying. */
    tag->flush |= tag->cpu == cpu && (bits & STALE_HELD) != 0;
}

static void unpack_tag(const struct packed *in, uint32_t i, struct nvirt_tlb_tag *tag)
{
    uint32_t bits = in->tag[i];

    tag->used = (bits & 1u) != 0;
    tag->tag12 = bits >> 1 & 3u;
    tag->cpu = (bits >> 3 & 3u) == NO_CPU ? NVIRT_TLB_NO_CPU : bits >> 3 & 3u;
    tag->flush = false;
    tag->not_global = false;
    tag->addresses = 0;
    if ((bits >> 5 & 1u) != 0) {
        tag->address[tag->addresses++] = PAGE_MARKED;
    }
    if ((bits >> 6 & 1u) != 0) {
        tag->address[tag->addresses++] = PAGE_OTHER;
    }
    tag->last_use = bits >> 7 & 1u;
    tag->requested = TIME_REQUESTED;
    tag->nested = (bits >> 14 & 1u) != 0;
    unpack_held(in->held[i], tag, 0);
    unpack_held(bits >> 8 & 0x3fu, tag, 1);
}

static uint8_t bits_of(const uint8_t *bit, uint32_t count)
{
    uint8_t bits = 0;

    for (uint32_t i = 0; i < count; i++) {
        bits = (uint8_t)(bits | bit[i] << i);
    }
    return bits;
}

static void set_bits(uint32_t bits, uint8_t *bit, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bit[i] = bits >> i & 1u;
    }
}

/* Whether the ASID of @p tree was not flushed since the tree was validated. */
static bool is_valid(const struct machine *m, uint32_t tree)
{
    uint32_t asid12 = tree <= ROOT_A + 1 ? 1 : 2;
    const struct nvirt_tlb_tag *tag = &m->tlb.tag[0]; /* that it has, or would get */

    for (uint32_t i = 0; i < m->tlb.tag_count; i++) {
        const struct nvirt_tlb_tag *other = &m->tlb.tag[i];

        if (other->used && other->tag12 == asid12) {
            return m->root[tree].validated >= other->requested;
        }
        if (tag->used && (!other->used || other->last_use < tag->last_use)) {
            tag = other;
        }
    }
    return m->root[tree].validated >= tag->requested;
}

/* One bit per place that may hold the mark: those of hardware, and of the virtual TLB those that do
 * not. */
static uint32_t pack_held_marks(const struct machine *m)
{
    uint32_t virt = bits_of(m->virt_linear, OWNERS) |
                    (uint32_t)bits_of(m->virt_nested, OWNERS) << OWNERS;
    uint32_t held = virt ^ 0x3fu;

    for (uint32_t i = 0; i < CPUS; i++) {
        held = held << HW_TAGS | bits_of(m->linear[i], HW_TAGS);
        held = held << HW_TAGS | bits_of(m->nest[i], HW_TAGS);
    }
    return held;
}

static uint32_t pack(const struct machine *m, struct packed *out)
{
    uint32_t running = m->tlb.running == NULL ? 0 : 1 + (uint32_t)(m->tlb.running - m->tlb.tag);
    uint32_t root = m->tlb.running_root == UINT32_MAX ? 7 : m->tlb.running_root;

    pack_tag(m, &m->tlb.l1, 0, out);
    for (uint32_t i = 0; i < m->tlb.tag_count; i++) {
        pack_tag(m, &m->tlb.tag[i], 1 + i, out);
    }
    for (uint32_t i = 0; i < TREES; i++) {
        out->tree[i] = (uint8_t)(m->content[i] | m->stale[i] << 2 | is_valid(m, i) << 3 |
                                 m->changed[i] << 4);
    }
    out->engine = (uint16_t)(running | root << 2);
    out->bits = (uint8_t)(m->guest | m->nested << 1 | m->host << 2 | m->queued << 3);
    out->where = (uint8_t)(m->level | m->owner << 2 | m->hw << 4 | m->current << 6);
    out->pending =
        (uint8_t)(m->pending.open | m->pending.by_control << 1 | m->pending.control << 2);
    return pack_held_marks(m);
}

static void unpack_held_marks(uint32_t held, struct machine *m)
{
    for (uint32_t i = CPUS; i-- > 0;) {
        set_bits(held, m->nest[i], HW_TAGS);
        set_bits(held >> HW_TAGS, m->linear[i], HW_TAGS);
        held >>= 2 * HW_TAGS;
    }
    set_bits(~held, m->virt_linear, OWNERS);
    set_bits(~held >> OWNERS, m->virt_nested, OWNERS);
}

static void unpack(const struct packed *in, uint32_t held, struct machine *m)
{
    uint32_t running = in->engine & 3u;
    uint32_t root = in->engine >> 2 & 7u;

    /* A flush that waits for its entry is newer than all that was cached before. */
    m->tlb.due_time = TIME_NOW + (in->pending >> 1 & 1u);
    m->domain.now = m->tlb.due_time;
    m->domain.root = m->root; /* the machine may be a copy */
    m->tlb.domain = &m->domain;
    m->tlb.clock = TAGS02;
    m->tlb.posted = 0;
    m->tlb.root01.changed = TIME_OLD;
    unpack_tag(in, 0, &m->tlb.l1);
    for (uint32_t i = 0; i < m->tlb.tag_count; i++) {
        unpack_tag(in, 1 + i, &m->tlb.tag[i]);
    }
    for (uint32_t i = 0; i < TREES; i++) {
        m->root[i].changed = TIME_OLD;
        m->root[i].validated = (in->tree[i] >> 3 & 1u) != 0 ? TIME_VALIDATED : TIME_OLD;
        m->content[i] = in->tree[i] & 3u;
        m->stale[i] = in->tree[i] >> 2 & 1u;
        m->changed[i] = in->tree[i] >> 4 & 1u;
    }
    m->tlb.running = running == 0 ? NULL : &m->tlb.tag[running - 1];
    m->tlb.running_root = root == 7 ? UINT32_MAX : root;
    m->guest = in->bits & 1u;
    m->nested = in->bits >> 1 & 1u;
    m->host = in->bits >> 2 & 1u;
    m->queued = in->bits >> 3 & 3u;
    for (uint32_t i = 0; i < CPUS; i++) {
        m->domain.all_tags[i] = 0;
    }
    m->level = in->where & 3u;
    m->owner = in->where >> 2 & 3u;
    m->hw = in->where >> 4 & 3u;
    m->current = in->where >> 6;
    m->pending.open = in->pending & 1u;
    m->pending.by_control = in->pending >> 1 & 1u;
    m->pending.control = in->pending >> 2;
    unpack_held_marks(held, m);
}

/* ---- emissions: the engine's state, the entry, the operation ---- */

/* The engine as it is about to be asked what is due. */
static struct image image_of(const struct machine *m)
{
    struct packed state;
    struct image image;

    memset(&state, 0, sizeof(state));
    memset(&image, 0, sizeof(image));
    pack(m, &state);
    for (uint32_t i = 0; i < HW_TAGS; i++) {
        image.tag[i] = state.tag[i];
        image.held[i] = state.held[i];
    }
    image.engine = state.engine;
    image.entry = (uint32_t)m->level | (m->level == 2 ? tree_now(m) : 0u) << 2;
    image.posted = m->tlb.posted | (uint32_t)m->queued << 16;
    return image;
}

static uint32_t swapped_tree(uint32_t tree, bool roots, bool asids)
{
    if (tree == ROOT_NONE || tree >= TREES) {
        return tree;
    }
    tree -= 1;
    return 1 + (tree ^ (roots ? 1u : 0u) ^ (asids ? 2u : 0u));
}

static uint32_t swapped_trees(uint32_t bits, bool roots, bool asids)
{
    uint32_t out = bits & ~(ALL_TREES & ~1u);

    for (uint32_t tree = 1; tree < TREES; tree++) {
        out |= (bits >> tree & 1u) << swapped_tree(tree, roots, asids);
    }
    return out;
}

static struct image mirrored(const struct image *image, bool roots, bool asids, bool pages)
{
    struct image out = *image;

    for (uint32_t i = 0; i < HW_TAGS; i++) {
        uint32_t tag = image->tag[i];
        uint32_t asid = tag >> 1 & 3u;
        uint32_t marked = tag >> 5 & 1u;
        uint32_t other = tag >> 6 & 1u;

        if (asids && asid != 0) {
            tag = (tag & ~6u) | (3 - asid) << 1;
        }
        if (pages) {
            tag = (tag & ~0x60u) | other << 5 | marked << 6;
        }
        if (i != 0) {
            tag = (tag & 0xffu) | swapped_trees(tag >> 8, roots, asids) << 8;
            out.held[i] = swapped_trees(image->held[i], roots, asids);
        }
        out.tag[i] = tag;
    }
    out.engine = (image->engine & 3u) | swapped_tree(image->engine >> 2, roots, asids) << 2;
    out.entry = (image->entry & 3u) | swapped_tree(image->entry >> 2, roots, asids) << 2;
    if (pages && image->kind == NVIRT_FLUSH_ASID_ADDRESS) {
        out.page = image->page ^ 1u;
    }
    return out;
}

/* No mark goes through B, or A under ASID 2, or lies in the other page: mirror images count as one.
 * */
static uint64_t key_of(const struct image *before, const struct nvirt_flush_op *op)
{
    struct image image = *before;
    uint64_t key = UINT64_MAX;

    image.kind = op->kind;
    image.op_tag = op->tag;
    image.page = op->operand == PAGE_OTHER;
    for (uint32_t i = 0; i < 8; i++) {
        struct image other = mirrored(&image, (i & 1u) != 0, (i & 2u) != 0, (i & 4u) != 0);
        uint64_t hash = hash_of(&other, sizeof(other));

        key = hash < key ? hash : key;
    }
    return key;
}

#endif
