/* SPDX-License-Identifier: MIT */
/*
 * The container of saved state: rows of an identifier and a value, whatever they mean. Pure: on the
 * caller's bytes only, which nobody else changes during a call.
 */
#ifndef NVI_STATE_ROWS_H
#define NVI_STATE_ROWS_H

#include <nvirt/state.h>
#include <nvirt/types.h>

/** An identifier as a row has it. */
static inline uint32_t nvi_row_id(enum nvirt_state_class kind, uint32_t number)
{
    return (uint32_t)kind << 16 | number;
}

/** Class of an identifier; what comes back may be no class. */
static inline uint32_t nvi_row_class(uint32_t id)
{
    return id >> 16;
}

/** Its number within the class. */
static inline uint32_t nvi_row_number(uint32_t id)
{
    return id & 0xffffu;
}

/** Rows being written. Counts on when the buffer is full, so that the size needed comes out. */
struct nvi_rows_out {
    uint8_t *buffer;
    size_t bytes;
    uint32_t count;
};

void nvi_rows_begin(struct nvi_rows_out *out, void *buffer, size_t bytes);
/** Appends a row; identifiers come in ascending order. */
void nvi_rows_put(struct nvi_rows_out *out, uint32_t id, uint64_t value);
/** Writes the header. @return the bytes all of it takes: more than there were when it did not fit. */
size_t nvi_rows_end(struct nvi_rows_out *out, enum nvirt_state_vendor vendor);

/** Rows being read. */
struct nvi_rows_in {
    const uint8_t *buffer;
    uint32_t count;
};

struct nvi_row {
    uint32_t id;
    uint64_t value;
};

/**
 * Looks whether the bytes are saved state of @p vendor: header, exact length, ascending rows.
 * @return NVIRT_OK, after which nvi_rows_get() may be called; else NVIRT_ERR_DATA.
 */
NVIRT_NODISCARD enum nvirt_status nvi_rows_open(struct nvi_rows_in *in, const void *buffer,
                                                size_t bytes, enum nvirt_state_vendor vendor);
/** Row @p index, below in->count. */
struct nvi_row nvi_rows_get(const struct nvi_rows_in *in, uint32_t index);

/**
 * The item rows: all of them are there, and so the first rows of all.
 * @param value where they go, by number; meaningful on true.
 * @return false when they are not these.
 */
bool nvi_rows_items(const struct nvi_rows_in *in, uint32_t count, uint64_t *value);

/** Whether each of the @p count items named in @p flags is 0 or 1. */
bool nvi_rows_flags_valid(const uint64_t *value, const uint8_t *flags, size_t count);

#endif
