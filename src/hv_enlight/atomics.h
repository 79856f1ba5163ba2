/* SPDX-License-Identifier: MIT */
/* Every access of the flush queue to shared memory goes through these, so that
 * tests/model/hv_fifo_model.c can put its own in their place and try all interleavings. */
#ifndef NVI_HV_ATOMICS_H
#define NVI_HV_ATOMICS_H

#ifdef NVI_HV_ATOMICS_MODEL
#include NVI_HV_ATOMICS_MODEL
#else
#define NVI_LOAD(pointer, order) __atomic_load_n(pointer, order)
#define NVI_STORE(pointer, value, order) __atomic_store_n(pointer, value, order)
#define NVI_EXCHANGE(pointer, value, order) __atomic_exchange_n(pointer, value, order)
#define NVI_OR(pointer, value, order) __atomic_fetch_or(pointer, value, order)
#define NVI_ADD(pointer, value, order) __atomic_fetch_add(pointer, value, order)
#define NVI_TAKE_TURN(pointer, expected, value)                                                    \
    __atomic_compare_exchange_n(pointer, expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#endif

#endif
