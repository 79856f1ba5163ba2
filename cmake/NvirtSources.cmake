# SPDX-License-Identifier: MIT
# The one list of the library's sources. A folder belongs to one vendor or to both; in src/nested
# the file's prefix says which. Other builds (unit tests, kernel module) take the list from here.
set(NVIRT_ROOT ${CMAKE_CURRENT_LIST_DIR}/..)
# A script (ports/linux/sources.cmake) has no build that could be configured again.
set(NVIRT_WATCH CONFIGURE_DEPENDS)
if(CMAKE_SCRIPT_MODE_FILE)
    set(NVIRT_WATCH)
endif()
file(GLOB NVIRT_SOURCES_COMMON ${NVIRT_WATCH} ${NVIRT_ROOT}/src/mmu/*.c
     ${NVIRT_ROOT}/src/paging/*.c ${NVIRT_ROOT}/src/state/*.c ${NVIRT_ROOT}/src/tlbflush/*.c
     ${NVIRT_ROOT}/src/nested/*.c)
list(FILTER NVIRT_SOURCES_COMMON EXCLUDE REGEX "/nested/(vmx|svm)_[^/]*$")
file(GLOB NVIRT_SOURCES_VMX ${NVIRT_WATCH} ${NVIRT_ROOT}/src/vmcs/*.c ${NVIRT_ROOT}/src/ept/*.c
     ${NVIRT_ROOT}/src/nested/vmx_*.c)
file(GLOB NVIRT_SOURCES_SVM ${NVIRT_WATCH} ${NVIRT_ROOT}/src/vmcb/*.c ${NVIRT_ROOT}/src/npt/*.c
     ${NVIRT_ROOT}/src/nested/svm_*.c)
file(GLOB NVIRT_SOURCES_HYPERV ${NVIRT_WATCH} ${NVIRT_ROOT}/src/hv_enlight/*.c)
if(NOT NVIRT_HYPERV)
    list(FILTER NVIRT_SOURCES_VMX EXCLUDE REGEX "/nested/vmx_(evmcs|direct)[.]c$")
    list(FILTER NVIRT_SOURCES_SVM EXCLUDE REGEX "/nested/svm_direct[.]c$")
endif()
set(NVIRT_SOURCES ${NVIRT_SOURCES_COMMON})
if(NVIRT_VMX)
    list(APPEND NVIRT_SOURCES ${NVIRT_SOURCES_VMX})
endif()
if(NVIRT_SVM)
    list(APPEND NVIRT_SOURCES ${NVIRT_SOURCES_SVM})
endif()
if(NVIRT_HYPERV)
    list(APPEND NVIRT_SOURCES ${NVIRT_SOURCES_HYPERV})
endif()
if(NOT NVIRT_VMX AND NOT NVIRT_SVM)
    message(FATAL_ERROR "nvirt needs NVIRT_VMX or NVIRT_SVM")
endif()
