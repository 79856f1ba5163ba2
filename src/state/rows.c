/* SPDX-License-Identifier: MIT */
/* The container of saved state. Bytes are put together one by one: the layout is the same on every
 * compiler, and the buffer needs no alignment. */
#include "state/rows.h"

#define HEADER_BYTES 16u
#define ROW_BYTES 16u
#define OFFSET_MAGIC 0u
#define OFFSET_VERSION 4u
#define OFFSET_VENDOR 6u
#define OFFSET_COUNT 8u
#define OFFSET_ZERO 12u
#define ROW_OFFSET_ZERO 4u
#define ROW_OFFSET_VALUE 8u

static void store(uint8_t *to, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(value >> 8u * i);
    }
}

static uint64_t load(const uint8_t *from, uint32_t bytes)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes; i++) {
        value |= (uint64_t)from[i] << 8u * i;
    }
    return value;
}

static size_t size_of(uint32_t count)
{
    return HEADER_BYTES + (size_t)count * ROW_BYTES;
}

/* ---- writing ---- */

void nvi_rows_begin(struct nvi_rows_out *out, void *buffer, size_t bytes)
{
    out->buffer = buffer;
    out->bytes = bytes;
    out->count = 0;
}

void nvi_rows_put(struct nvi_rows_out *out, uint32_t id, uint64_t value)
{
    size_t start = size_of(out->count);
    uint8_t *row;

    out->count++;
    if (start + ROW_BYTES > out->bytes) {
        return;
    }
    row = out->buffer + start;
    store(row, id, 4);
    store(row + ROW_OFFSET_ZERO, 0, 4);
    store(row + ROW_OFFSET_VALUE, value, 8);
}

size_t nvi_rows_end(struct nvi_rows_out *out, enum nvirt_state_vendor vendor)
{
    if (size_of(out->count) <= out->bytes) {
        store(out->buffer + OFFSET_MAGIC, NVIRT_STATE_MAGIC, 4);
        store(out->buffer + OFFSET_VERSION, NVIRT_STATE_VERSION, 2);
        store(out->buffer + OFFSET_VENDOR, (uint64_t)vendor, 2);
        store(out->buffer + OFFSET_COUNT, out->count, 4);
        store(out->buffer + OFFSET_ZERO, 0, 4);
    }
    return size_of(out->count);
}

/* ---- reading ---- */

static bool header_is_valid(const uint8_t *header, enum nvirt_state_vendor vendor)
{
    return load(header + OFFSET_MAGIC, 4) == NVIRT_STATE_MAGIC &&
           load(header + OFFSET_VERSION, 2) == NVIRT_STATE_VERSION &&
           load(header + OFFSET_VENDOR, 2) == (uint64_t)vendor &&
           load(header + OFFSET_ZERO, 4) == 0;
}

static bool rows_are_valid(const struct nvi_rows_in *in)
{
    uint32_t last = 0;

    for (uint32_t i = 0; i < in->count; i++) {
        uint32_t id = nvi_rows_get(in, i).id;

        /* Class 0 does not exist, so the first identifier is above 0 as well. */
        if (id <= last || load(in->buffer + size_of(i) + ROW_OFFSET_ZERO, 4) != 0) {
            return false;
        }
        last = id;
    }
    return true;
}

enum nvirt_status nvi_rows_open(struct nvi_rows_in *in, const void *buffer, size_t bytes,
                                enum nvirt_state_vendor vendor)
{
    in->buffer = buffer;
    if (bytes < HEADER_BYTES || bytes > NVIRT_STATE_MAX_BYTES ||
        !header_is_valid(in->buffer, vendor)) {
        return NVIRT_ERR_DATA;
    }
    in->count = (uint32_t)load(in->buffer + OFFSET_COUNT, 4);
    return bytes == size_of(in->count) && rows_are_valid(in) ? NVIRT_OK : NVIRT_ERR_DATA;
}

struct nvi_row nvi_rows_get(const struct nvi_rows_in *in, uint32_t index)
{
    const uint8_t *row = in->buffer + size_of(index);
    struct nvi_row out;

    out.id = (uint32_t)load(row, 4);
    out.value = load(row + ROW_OFFSET_VALUE, 8);
    return out;
}

/* ---- items ---- */

bool nvi_rows_items(const struct nvi_rows_in *in, uint32_t count, uint64_t *value)
{
    if (in->count < count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct nvi_row row = nvi_rows_get(in, i);

        if (row.id != nvi_row_id(NVIRT_STATE_ITEM, i)) {
            return false;
        }
        value[i] = row.value;
    }
    return true;
}

bool nvi_rows_flags_valid(const uint64_t *value, const uint8_t *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (value[flags[i]] > 1) {
            return false;
        }
    }
    return true;
}
