# SPDX-License-Identifier: MIT
# rt_add_image(NAME [PIE] [BASE 0x100000] SOURCES a.c ... [INCLUDES dir ...] [LIBS lib ...])
# builds NAME.elf, a Multiboot 1 image on the runtime in this folder, with gcc or clang.
set(RT_DIR ${CMAKE_CURRENT_LIST_DIR})
set(RT_COMPILE_OPTIONS
    -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables
    -fvisibility=hidden -fcf-protection=none -O2 -g
    $<$<COMPILE_LANGUAGE:C>:-std=gnu11 -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror>)

function(rt_add_image name)
    cmake_parse_arguments(A "PIE" "BASE" "SOURCES;INCLUDES;LIBS" ${ARGN})
    if(NOT A_BASE)
        set(A_BASE 0x100000)
    endif()
    # Calls of memcpy and its like appear after link-time optimisation has looked for their users.
    set_source_files_properties(${RT_DIR}/rt_lib.c PROPERTIES COMPILE_OPTIONS -fno-lto)
    add_executable(${name} ${A_SOURCES} ${RT_DIR}/boot.S ${RT_DIR}/rt_cpu.c ${RT_DIR}/rt_lib.c)
    set_target_properties(${name} PROPERTIES SUFFIX .elf LINK_DEPENDS ${RT_DIR}/rt.ld
                          POSITION_INDEPENDENT_CODE OFF)
    target_include_directories(${name} PRIVATE ${RT_DIR} ${A_INCLUDES})
    target_compile_definitions(${name} PRIVATE RT_BASE=${A_BASE})
    target_compile_options(${name} PRIVATE ${RT_COMPILE_OPTIONS})
    if(A_PIE)
        target_compile_options(${name} PRIVATE -fpie)
        target_link_options(${name} PRIVATE -static-pie -Wl,--no-dynamic-linker -Wl,-z,text)
    else()
        target_compile_options(${name} PRIVATE -fno-pie)
        target_link_options(${name} PRIVATE -static)
        if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
            target_link_options(${name} PRIVATE -no-pie)
        endif()
    endif()
    target_link_options(${name} PRIVATE -nostdlib -T ${RT_DIR}/rt.ld -Wl,--defsym=RT_BASE=${A_BASE}
                        -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,norelro
                        -Wl,--no-warn-rwx-segments)
    target_link_libraries(${name} PRIVATE ${A_LIBS})
endfunction()
