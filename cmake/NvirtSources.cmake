# SPDX-License-Identifier: MIT
# The one list of the library's sources. A folder belongs to one vendor or to both; in src/nested
# the file's prefix says which. Other builds (unit tests, kernel module) take the list from here.
set(NVIRT_ROOT ${CMAKE_CURRENT_LIST_DIR}/..)
file(GLOB NVIRT_SOURCES_COMMON CONFIGURE_DEPENDS ${NVIRT_ROOT}/src/mmu/*.c
     ${NVIRT_ROOT}/src/paging/*.c ${NVIRT_ROOT}/src/tlbflush/*.c ${NVIRT_ROOT}/src/nested/*.c)
list(FILTER NVIRT_SOURCES_COMMON EXCLUDE REGEX "/nested/(vmx|svm)_[^/]*$")
file(GLOB NVIRT_SOURCES_VMX CONFIGURE_DEPENDS ${NVIRT_ROOT}/src/vmcs/*.c ${NVIRT_ROOT}/src/ept/*.c
     ${NVIRT_ROOT}/src/nested/vmx_*.c)
file(GLOB NVIRT_SOURCES_SVM CONFIGURE_DEPENDS ${NVIRT_ROOT}/src/vmcb/*.c ${NVIRT_ROOT}/src/npt/*.c
     ${NVIRT_ROOT}/src/nested/svm_*.c)
set(NVIRT_SOURCES ${NVIRT_SOURCES_COMMON})
if(NVIRT_VMX)
    list(APPEND NVIRT_SOURCES ${NVIRT_SOURCES_VMX})
endif()
if(NVIRT_SVM)
    list(APPEND NVIRT_SOURCES ${NVIRT_SOURCES_SVM})
endif()
if(NOT NVIRT_VMX AND NOT NVIRT_SVM)
    message(FATAL_ERROR "nvirt needs NVIRT_VMX or NVIRT_SVM")
endif()
