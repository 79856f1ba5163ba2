# SPDX-License-Identifier: MIT
# The library's sources as Kbuild wants them: cmake -DOUTPUT=FILE -P sources.cmake
set(NVIRT_VMX ON)
set(NVIRT_SVM ON)
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/NvirtSources.cmake)
set(objects)
foreach(source ${NVIRT_SOURCES})
    file(RELATIVE_PATH name ${NVIRT_ROOT} ${source})
    string(REGEX REPLACE "\\.c$" ".o" name ${name})
    string(APPEND objects " \\\n    ${name}")
endforeach()
file(WRITE ${OUTPUT} "nvirt-library :=${objects}\n")
