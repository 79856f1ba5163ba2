/* SPDX-License-Identifier: MIT */
/* Saved state as tests handle it: kept, spoiled, row by row. */
#ifndef STATE_BLOB_H
#define STATE_BLOB_H

#include "state/rows.h"

/* Bytes of the container [include/nvirt/state.h]. */
#define HEADER 16u
#define ROW 16u

struct blob {
    size_t bytes;
    uint8_t data[NVIRT_STATE_MAX_BYTES];
};

static inline uint8_t *row_value(struct blob *blob, size_t row)
{
    return blob->data + HEADER + row * ROW + 8;
}

/* The items come first, in their order. */
static inline void set_item(struct blob *blob, size_t item, uint64_t value)
{
    memcpy(row_value(blob, item), &value, sizeof value);
}

/* @p from with row @p id set to @p value, added in its place if there is none. */
static inline void with_row(enum nvirt_state_vendor vendor, const struct blob *from, uint32_t id,
                            uint64_t value, struct blob *to)
{
    struct nvi_rows_in in;
    struct nvi_rows_out out;
    bool put = false;

    assert_int_equal(nvi_rows_open(&in, from->data, from->bytes, vendor), NVIRT_OK);
    nvi_rows_begin(&out, to->data, sizeof to->data);
    for (uint32_t i = 0; i < in.count; i++) {
        struct nvi_row row = nvi_rows_get(&in, i);

        if (!put && row.id >= id) {
            nvi_rows_put(&out, id, value);
            put = true;
        }
        if (row.id != id)
            nvi_rows_put(&out, row.id, row.value);
    }
    if (!put)
        nvi_rows_put(&out, id, value);
    to->bytes = nvi_rows_end(&out, vendor);
}

#endif
