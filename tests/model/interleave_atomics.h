/* SPDX-License-Identifier: MIT */
/* Stands in for src/hv_enlight/atomics.h: each access is a step of interleave.h's. */
#ifndef TESTS_MODEL_INTERLEAVE_ATOMICS_H
#define TESTS_MODEL_INTERLEAVE_ATOMICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mc_kind { MC_LOAD, MC_STORE, MC_EXCHANGE, MC_OR, MC_ADD, MC_TAKE_TURN };

uint64_t mc_access(enum mc_kind kind, const void *at, size_t size, uint64_t value,
                   uint64_t expected);
bool mc_take_turn(uint64_t *at, uint64_t *expected, uint64_t value);

#define MC_DO(kind, at, value) ((__typeof__(*(at) + 0))mc_access(kind, at, sizeof(*(at)), value, 0))
#define NVI_LOAD(at, order) MC_DO(MC_LOAD, at, 0)
#define NVI_STORE(at, value, order) ((void)MC_DO(MC_STORE, at, value))
#define NVI_EXCHANGE(at, value, order) MC_DO(MC_EXCHANGE, at, value)
#define NVI_OR(at, value, order) MC_DO(MC_OR, at, value)
#define NVI_ADD(at, value, order) MC_DO(MC_ADD, at, value)
#define NVI_TAKE_TURN(at, expected, value) mc_take_turn(at, expected, value)

#endif
