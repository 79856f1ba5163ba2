/* SPDX-License-Identifier: MIT */
/**
 * @file
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

/** @name C++
 * NVIRT_BEGIN_DECLS and NVIRT_END_DECLS give declarations C linkage; NVIRT_STATIC_ASSERT(condition,
 * text) fails to compile with text when condition is false.
 * @{ */
#ifdef __cplusplus
#define NVIRT_BEGIN_DECLS extern "C" {
#define NVIRT_END_DECLS }
#define NVIRT_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define NVIRT_BEGIN_DECLS
#define NVIRT_END_DECLS
#define NVIRT_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif
/** @} */

/** A result that must be looked at. */
#define NVIRT_NODISCARD __attribute__((warn_unused_result))
/** A function that does not return. */
#define NVIRT_NORETURN __attribute__((noreturn))
/** A function that becomes part of each caller, whatever its size: where an argument is a constant. */
#define NVIRT_ALWAYS_INLINE __attribute__((__always_inline__))
/** A function that stays out of line, so that the short path of its caller saves no registers for it. */
#define NVIRT_NOINLINE __attribute__((__noinline__))
/** The same, of a function that is rarely called. */
#define NVIRT_COLD __attribute__((__noinline__, __cold__))
/** A function that takes a printf() format: numbers of that argument and of the first formatted. */
#define NVIRT_PRINTF(format_index, first_argument)                                                 \
    __attribute__((format(printf, format_index, first_argument)))

/** One bit of a 64-bit architectural word. */
#define NVIRT_BIT(n) (UINT64_C(1) << (n))
/** Bits @p high down to @p low of a 64-bit word, both inclusive. */
#define NVIRT_BITS(high, low) ((~UINT64_C(0) >> (63 - (high))) & (~UINT64_C(0) << (low)))

#endif
