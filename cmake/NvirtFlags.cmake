# SPDX-License-Identifier: MIT
set(NVIRT_WARNING_FLAGS -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wundef -Werror)
# What the library may not use when it runs inside a hypervisor: floating point and vector registers,
# the red zone, a stack protector's thread-local canary, hosted headers.
set(NVIRT_FREESTANDING_FLAGS -ffreestanding -mno-sse -mno-mmx -mno-red-zone -mgeneral-regs-only
    -fno-stack-protector -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections)
