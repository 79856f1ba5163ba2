/* SPDX-License-Identifier: MIT */
/*
 * Rows of the entry-check tables: a VMCS that would enter is bent in one or two fields, and the
 * entry has to fail in one particular way, or to work all the same.
 */
#ifndef ENTRY_ROW_H
#define ENTRY_ROW_H

#include "l2.h"

enum outcome {
    ENTERS,       /* L2 runs to its VMCALL */
    BAD_CONTROLS, /* VMfailValid(7) */
    BAD_HOST,     /* VMfailValid(8) */
    BAD_GUEST,    /* exit 33 with bit 31, qualification 0 */
};

struct bend {
    uint32_t field;
    uint64_t clear, set;
};

struct entry_row {
    const char *name;
    enum outcome outcome;
    enum l2_mode mode;
    struct bend bend[3];
};

/* Runs the rows; one check each. */
void entry_rows(const struct entry_row *rows, unsigned count);

/* Fields of struct bend, for readable tables. */
#define SET(f, bits) {f, 0, bits}
#define CLEAR(f, bits) {f, bits, 0}
#define TO(f, value) {f, ~0ull, value}
#define CHANGE(f, clear, set) {f, clear, set}

#define WIDE (1ull << 60)                   /* beyond any physical address width */
#define NONCANONICAL 0x8000000000000000ull

#endif
