/* SPDX-License-Identifier: MIT */
/*
 * What <stdint.h>, <stddef.h> and <stdbool.h> give the library elsewhere, from the kernel's headers.
 */
#ifndef NVL_STDINT_H
#define NVL_STDINT_H

#include <linux/limits.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>

#ifndef UINT64_C
#define UINT64_C(x) x##ULL
#endif
#ifndef UINT32_C
#define UINT32_C(x) x##U
#endif
#ifndef UINT8_MAX
#define UINT8_MAX ((uint8_t)~0U)
#endif
#ifndef UINT16_MAX
#define UINT16_MAX ((uint16_t)~0U)
#endif
#ifndef UINT32_MAX
#define UINT32_MAX ((uint32_t)~0U)
#endif
#ifndef UINT64_MAX
#define UINT64_MAX ((uint64_t)~0ULL)
#endif

#endif
