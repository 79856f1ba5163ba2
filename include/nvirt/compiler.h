/* SPDX-License-Identifier: MIT */
/*
 * The one place where the public headers depend on the compiler: attributes, the freestanding
 * standard headers (or the kernel's replacement for them), and C++ linkage.
 */
#ifndef NVIRT_COMPILER_H
#define NVIRT_COMPILER_H

#ifdef NVIRT_STDINT_SHIM
/* Kernel builds have their own integer types: the build names a header that supplies them. */
#include NVIRT_STDINT_SHIM
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#ifdef __cplusplus
#define NVIRT_BEGIN_DECLS extern "C" {
#define NVIRT_END_DECLS }
#define NVIRT_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define NVIRT_BEGIN_DECLS
#define NVIRT_END_DECLS
#define NVIRT_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/** A result that must be looked at. */
#define NVIRT_NODISCARD __attribute__((warn_unused_result))
#define NVIRT_NORETURN __attribute__((noreturn))
#define NVIRT_PRINTF(format_index, first_argument)                                                 \
    __attribute__((format(printf, format_index, first_argument)))

/** One bit of a 64-bit architectural word. */
#define NVIRT_BIT(n) (UINT64_C(1) << (n))
/** Bits @p high down to @p low of a 64-bit word, both inclusive. */
#define NVIRT_BITS(high, low) ((~UINT64_C(0) >> (63 - (high))) & (~UINT64_C(0) << (low)))

#endif
