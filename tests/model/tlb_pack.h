/* SPDX-License-Identifier: MIT */
/* States of tlb_model.c as bits, and emissions, of which mirror images are one. */
#ifndef NVIRT_TESTS_MODEL_TLB_PACK_H
#define NVIRT_TESTS_MODEL_TLB_PACK_H

/* ---- states: times only matter in their order ---- */

enum { TIME_STALE = 1, TIME_CHANGED = 2, TIME_FLUSHED = 3, TIME_NOW = 4 };

static bool stale_on(const struct nvirt_tlb_root *root, uint32_t cpu)
{
    return root->flushed[cpu] != NVI_TLB_EMPTY && root->flushed[cpu] < root->changed;
}

static uint32_t pack_root(const struct nvirt_tlb_root *root)
{
    uint32_t bits = 0;

    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        bits |= (root->flushed[cpu] == NVI_TLB_EMPTY ? 2u : stale_on(root, cpu)) << (2 * cpu);
    }
    return bits;
}

static void unpack_root(uint32_t bits, struct nvirt_tlb_root *root)
{
    root->changed = TIME_CHANGED;
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        uint32_t state = bits >> (2 * cpu) & 3u;

        root->flushed[cpu] = state == 2 ? NVI_TLB_EMPTY : state == 1 ? TIME_STALE : TIME_FLUSHED;
    }
}

/* Under a root that was flushed since, or will be before its next use, nothing is held. */
static uint32_t pack_held(const struct machine *m, const struct nvirt_tlb *tlb,
                          const struct nvirt_tlb_tag *tag, uint32_t cpu)
{
    const struct nvirt_tlb_held *held = &tag->held[cpu];
    uint32_t bits = 0;

    for (uint32_t i = 0; i < ROOTS; i++) {
        const struct nvirt_tlb_root *root = tag == &tlb->l1 ? &tlb->root01 : &m->root[i];

        if ((held->under >> i & 1u) != 0 && m->domain.all_tags[cpu] <= held->time &&
            root->flushed[cpu] <= held->time && !stale_on(root, cpu)) {
            bits |= 1u << i;
        }
    }
    return bits;
}

static uint32_t order_of(const struct nvirt_tlb *tlb, const struct nvirt_tlb_tag *tag)
{
    uint32_t order = 0;

    for (uint32_t i = 0; i < tlb->tag_count; i++) {
        order += tlb->tag[i].used && tlb->tag[i].last_use < tag->last_use;
    }
    return order;
}

static uint16_t pack_tag(const struct machine *m, const struct nvirt_tlb *tlb,
                         const struct nvirt_tlb_tag *tag)
{
    uint32_t cpu = tag->cpu == NVIRT_TLB_NO_CPU ? NO_CPU : tag->cpu;
    uint32_t bits = tag->used | tag->tag12 << 1 | (uint32_t)tag->flush << 3 |
                    (uint32_t)tag->not_global << 4 | cpu << 7;

    for (uint32_t i = 0; i < tag->addresses; i++) {
        bits |= tag->address[i] == PAGE_MARKED ? 1u << 5 : 1u << 6;
    }
    bits |= (tag->used && tag != &tlb->l1 ? order_of(tlb, tag) : 0) << 9;
    return (uint16_t)(bits | pack_held(m, tlb, tag, 0) << 10 | pack_held(m, tlb, tag, 1) << 13);
}

static void unpack_tag(uint32_t bits, struct nvirt_tlb_tag *tag)
{
    tag->used = (bits & 1u) != 0;
    tag->tag12 = bits >> 1 & 3u;
    tag->flush = (bits >> 3 & 1u) != 0;
    tag->not_global = (bits >> 4 & 1u) != 0;
    tag->addresses = 0;
    if ((bits >> 5 & 1u) != 0) {
        tag->address[tag->addresses++] = PAGE_MARKED;
    }
    if ((bits >> 6 & 1u) != 0) {
        tag->address[tag->addresses++] = PAGE_OTHER;
    }
    tag->cpu = (bits >> 7 & 3u) == NO_CPU ? NVIRT_TLB_NO_CPU : bits >> 7 & 3u;
    tag->last_use = bits >> 9 & 1u;
    tag->held[0] = (struct nvirt_tlb_held){ bits >> 10 & 7u, TIME_NOW };
    tag->held[1] = (struct nvirt_tlb_held){ bits >> 13 & 7u, TIME_NOW };
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

/* What the engine knows beside its tags. */
static uint16_t pack_engine(const struct nvirt_tlb *tlb)
{
    uint32_t running = tlb->running == NULL ? 0 : 1 + (uint32_t)(tlb->running - tlb->tag);
    uint32_t root = tlb->running_root == UINT32_MAX ? 3 : tlb->running_root;

    return (uint16_t)(pack_root(&tlb->root01) | running << 4 | root << 6);
}

static void unpack_engine(uint32_t bits, struct nvirt_tlb *tlb)
{
    uint32_t running = bits >> 4 & 3u;
    uint32_t root = bits >> 6 & 3u;

    unpack_root(bits, &tlb->root01);
    tlb->running = running == 0 ? NULL : &tlb->tag[running - 1];
    tlb->running_root = root == 3 ? UINT32_MAX : root;
    tlb->clock = TAGS02;
    tlb->posted = 0;
}

/* What the other vCPU's engine knows of its own tags makes a difference to these alone: they are
 * never the marked ones, and single-context operations on them take nothing else. So it is not told
 * apart, and the other vCPU goes on from there with tags that hold nothing. */
static bool is_told_apart(uint32_t number)
{
    return number == 0 || other_in_full || universe->coarse;
}

static void pack_vcpu(const struct machine *m, uint32_t number, struct packed *out)
{
    const struct vcpu *v = &m->vcpu[number];

    out->where[number] =
        (uint8_t)((v->level - 1) | v->owner << 1 | v->hw << 3 | v->current << 5);
    if (!is_told_apart(number)) {
        out->engine[number] = (uint16_t)(pack_root(&v->tlb.root01) | 1u << 4 | 3u << 6);
        return;
    }
    out->tag[number][0] = pack_tag(m, &v->tlb, &v->tlb.l1);
    for (uint32_t i = 0; i < v->tlb.tag_count; i++) {
        out->tag[number][1 + i] = pack_tag(m, &v->tlb, &v->tlb.tag[i]);
    }
    out->engine[number] = pack_engine(&v->tlb);
}

/* One bit per place that may hold the mark: those of hardware, and of the virtual TLB those that do
 * not. */
static uint32_t pack_held_marks(const struct machine *m)
{
    uint32_t virt = bits_of(m->virt_linear, OWNERS) | (uint32_t)m->virt_nested << OWNERS;
    uint32_t held = virt ^ 0xfu;

    for (uint32_t i = 0; i < CPUS; i++) {
        uint32_t phys = bits_of(m->linear[i], HW_TAGS) | (uint32_t)m->nest[i] << HW_TAGS |
                        (uint32_t)m->freed[i] << (HW_TAGS + 1);

        held = held << (HW_TAGS + 2) | phys;
    }
    return held;
}

static uint32_t pack(const struct machine *m, struct packed *out)
{
    for (uint32_t v = 0; v < universe->vcpus; v++) {
        pack_vcpu(m, v, out);
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        out->root[i] = (uint8_t)(pack_root(&m->root[i]) | m->content[i] << 4 | m->stale[i] << 6 |
                                 m->changed[i] << 7);
    }
    out->tree = (uint8_t)(m->running[0] | m->running[1] << 2 | m->vcpu[1].cpu << 4);
    out->bits = (uint8_t)(m->guest | m->nested << 1 | m->host << 2 | m->queued << 3 |
                          m->pcid << 5);
    return pack_held_marks(m);
}

static void unpack_vcpu(const struct packed *in, uint32_t number, struct machine *m)
{
    struct vcpu *v = &m->vcpu[number];
    uint32_t where = in->where[number];

    unpack_tag(in->tag[number][0], &v->tlb.l1);
    for (uint32_t i = 0; i < v->tlb.tag_count; i++) {
        unpack_tag(in->tag[number][1 + i], &v->tlb.tag[i]);
    }
    unpack_engine(in->engine[number], &v->tlb);
    v->level = (uint8_t)((where & 1u) + 1);
    v->owner = where >> 1 & 3u;
    v->hw = where >> 3 & 3u;
    v->current = where >> 5 & 3u;
}

static void unpack_held_marks(uint32_t held, struct machine *m)
{
    for (uint32_t i = CPUS; i-- > 0; held >>= HW_TAGS + 2) {
        set_bits(held, m->linear[i], HW_TAGS);
        m->nest[i] = held >> HW_TAGS & 1u;
        m->freed[i] = held >> (HW_TAGS + 1) & 1u;
    }
    set_bits(~held, m->virt_linear, OWNERS);
    m->virt_nested = ~held >> OWNERS & 1u;
}

static void unpack(const struct packed *in, uint32_t held, struct machine *m)
{
    m->domain.now = TIME_NOW;
    m->domain.root = m->root; /* the machine may be a copy */
    for (uint32_t v = 0; v < universe->vcpus; v++) {
        m->vcpu[v].tlb.domain = &m->domain;
        unpack_vcpu(in, v, m);
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        unpack_root(in->root[i], &m->root[i]);
        m->content[i] = in->root[i] >> 4 & 3u;
        m->stale[i] = in->root[i] >> 6 & 1u;
        m->changed[i] = in->root[i] >> 7 & 1u;
    }
    for (uint32_t i = 0; i < CPUS; i++) {
        m->domain.flush[i] = TIME_NOW;
        m->domain.all_tags[i] = 0;
    }
    m->running[0] = in->tree & 3u;
    m->running[1] = in->tree >> 2 & 3u;
    m->vcpu[1].cpu = in->tree >> 4 & 1u;
    m->guest = in->bits & 1u;
    m->nested = in->bits >> 1 & 1u;
    m->host = in->bits >> 2 & 1u;
    m->queued = in->bits >> 3 & 3u;
    m->pcid = in->bits >> 5 & 1u;
    unpack_held_marks(held, m);
}

/* ---- emissions: the engine's state, the entry, the operation ---- */

static uint32_t swapped_root(uint32_t root)
{
    return root == ROOT_A || root == ROOT_B ? ROOT_A + ROOT_B - root : root;
}

static uint32_t swapped_bits(uint32_t bits, uint32_t low)
{
    uint32_t a = bits >> low & 1u;
    uint32_t b = bits >> (low + 1) & 1u;

    return (bits & ~(3u << low)) | a << (low + 1) | b << low;
}

static struct image mirrored(const struct image *image, bool roots, bool pages)
{
    struct image out = *image;

    for (uint32_t i = 0; i < HW_TAGS; i++) {
        uint32_t tag = image->tag[i];

        if (roots && i != 0) { /* L1's tag is under one root only */
            tag = swapped_bits(swapped_bits(tag, 10 + ROOT_A), 13 + ROOT_A);
        }
        out.tag[i] = pages ? swapped_bits(tag, 5) : tag;
    }
    if (roots) {
        out.root[ROOT_A] = image->root[ROOT_B];
        out.root[ROOT_B] = image->root[ROOT_A];
        out.engine = (image->engine & 0x3fu) | swapped_root(image->engine >> 6) << 6;
        out.entry = (image->entry & 1u) | swapped_root(image->entry >> 1) << 1;
        out.op_root = swapped_root(image->op_root);
    }
    if (pages && image->kind == NVIRT_FLUSH_VPID_ADDRESS) {
        out.page = image->page ^ 1u;
    }
    return out;
}

/* The engine as it is about to be asked what is due. */
static struct image image_of(const struct machine *m)
{
    const struct vcpu *v = &m->vcpu[0];
    struct packed state;
    struct image image;

    memset(&state, 0, sizeof(state));
    memset(&image, 0, sizeof(image));
    pack(m, &state);
    for (uint32_t i = 0; i < HW_TAGS; i++) {
        image.tag[i] = state.tag[0][i];
    }
    for (uint32_t i = 0; i < ROOTS; i++) {
        image.root[i] = pack_root(&m->root[i]);
    }
    image.engine = state.engine[0];
    image.entry = (uint32_t)(v->level - 1) | (uint32_t)v->current << 1;
    image.posted = v->tlb.posted | (uint32_t)m->queued << 16;
    return image;
}

/* No mark goes through B or lies in the other page: with both exchanged it is the same. */
static uint64_t key_of(const struct image *before, const struct nvirt_flush_op *op)
{
    struct image image = *before;
    uint64_t key = UINT64_MAX;

    image.kind = op->kind;
    image.op_tag = op->tag;
    image.op_root = op->root;
    image.page = op->operand == PAGE_OTHER;
    for (uint32_t i = 0; i < 4; i++) {
        struct image other = mirrored(&image, (i & 1u) != 0, (i & 2u) != 0);
        uint64_t hash = hash_of(&other, sizeof(other));

        key = hash < key ? hash : key;
    }
    return key;
}

#endif
