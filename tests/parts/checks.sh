# SPDX-License-Identifier: MIT
# What holds for the whole tree without running it: headers, symbols, flags, the rules' own tests.
# shellcheck disable=SC2086
need_packages $PACKAGES_UNIT || exit 1

header_alone() {
    local header=$1
    printf '#include <nvirt/%s>\n' "$header" >"$OUT/alone.c"
    gcc -std=c11 -Wall -Wextra -Wpedantic -Wno-pedantic -Wconversion -Wshadow -Werror -ffreestanding \
        -Iinclude -fsyntax-only "$OUT/alone.c" &&
        clang -std=c11 -Wall -Wextra -Wconversion -Wshadow -Werror -ffreestanding -Iinclude \
            -fsyntax-only "$OUT/alone.c" &&
        g++ -std=c++17 -x c++ -Wall -Wextra -Werror -Iinclude -fsyntax-only "$OUT/alone.c"
}
for header in include/nvirt/*.h; do
    check "header $(basename "$header") compiles alone as C11 and C++17" \
        header_alone "$(basename "$header")"
done

library_build() {
    local name=$1
    shift
    cmake -S . -B "$OUT/lib-$name" -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" &&
        cmake --build "$OUT/lib-$name" -j "$JOBS"
}
for compiler in gcc clang; do
    check "library builds freestanding with $compiler" \
        library_build $compiler -DCMAKE_C_COMPILER=$compiler
done
check "library builds with VMX only" library_build vmx -DNVIRT_SVM=OFF
check "library builds with SVM only" library_build svm -DNVIRT_VMX=OFF
check "library builds without Hyper-V" library_build nohyperv -DNVIRT_HYPERV=OFF

# Hardware's TLB is flushed where operations of the flush engine are carried out; a port's own headers
# have the instructions. Nobody flushes in passing.
flushes_come_from_the_engine() {
    local stray flush places
    flush='nvirt_port_(invept|invvpid|invlpga)\(|"(invept|invvpid|invlpga)|set_tlb_control\(.*TLB_A'
    places='^src/nested/(vmx_hw|svm_prepare)\.c:|^ports/[a-z]+/([a-z_]*hot\.h|port\.c):'
    stray=$(grep -rnE --include='*.[chS]' "$flush" src ports examples | grep -vE "$places")
    [ -z "$stray" ] || { echo "flushes: $stray"; return 1; }
}
check "every flush of hardware's TLB comes from the flush engine" flushes_come_from_the_engine

undefined_symbols() {
    local library=$1 stray
    # Symbols the library itself defines in another of its files are not undefined in the whole.
    ld -r --whole-archive -o "$library.whole.o" "$library" || return 1
    stray=$(nm -u "$library.whole.o" | awk '{print $2}' |
        grep -vE '^(memcpy|memmove|memset|memcmp|nvirt_port_[a-z0-9_]+)$')
    [ -z "$stray" ] || { echo "undefined: $stray"; return 1; }
}
no_writable_data() {
    # Constant tables of pointers lie in .data.rel.ro: written by a dynamic loader only.
    local writable
    writable=$(objdump -h "$1" | awk '$2 ~ /^\.(data|bss|tdata|tbss)/ && $2 !~ /^\.data\.rel\.ro/ &&
        $3 !~ /^0+$/ {print $2, $3}')
    [ -z "$writable" ] || { echo "writable: $writable"; return 1; }
}
prefixed_symbols() {
    local stray
    stray=$(nm -g --defined-only "$1" 2>/dev/null | awk 'NF == 3 {print $3}' | grep -vE '^(nvirt|nvi)_')
    [ -z "$stray" ] || { echo "outside the prefixes: $stray"; return 1; }
}
for compiler in gcc clang; do
    library=$OUT/lib-$compiler/libnvirt.a
    check "$compiler: undefined symbols are mem* and nvirt_port_* only" undefined_symbols "$library"
    check "$compiler: no writable global data" no_writable_data "$library"
    check "$compiler: every symbol is prefixed nvirt_ or nvi_" prefixed_symbols "$library"
done

# The flags Linux 6.1 compiles a module's C files with on x86-64, minus include paths.
kernel_flags() {
    local source
    for source in src/*/*.c; do
        gcc -std=gnu11 -nostdinc -isystem "$(gcc -print-file-name=include)" -Iinclude -Isrc \
            -fshort-wchar -funsigned-char -fno-common -fno-PIE -fno-strict-aliasing -mno-sse \
            -mno-mmx -mno-sse2 -mno-3dnow -mno-avx -fcf-protection=none -m64 -falign-jumps=1 \
            -falign-loops=1 -mno-80387 -mno-fp-ret-in-387 -mpreferred-stack-boundary=3 \
            -mskip-rax-setup -mno-red-zone -mcmodel=kernel -mindirect-branch=thunk-extern \
            -mindirect-branch-register -fno-jump-tables -fno-delete-null-pointer-checks -O2 \
            -fno-stack-protector -fomit-frame-pointer -ftrivial-auto-var-init=zero -fno-stack-clash-protection \
            -Wall -Wundef -Werror=strict-prototypes -Wframe-larger-than=2048 -Werror \
            -Wvla -Wno-pointer-sign -DMODULE -D__KERNEL__ -DNVIRT_HYPERV \
            '-Dnoinline=__attribute__((__noinline__))' '-Dinline=inline __attribute__((__unused__))' \
            -ffreestanding -c "$source" -o /dev/null || return 1
    done
}
check "library compiles with Linux kernel flags" kernel_flags

if [ -f tests/checks/mutate-rules.py ]; then
    check "deleting any one entry check makes a test fail" python3 tests/checks/mutate-rules.py
fi
check "the model of shadow tables misses no defence that is deleted" \
    python3 tests/checks/mutate-mmu.py
if [ -f tests/reference/compare_vmx.py ]; then
    check "VMCS encodings and control bits agree with the reference tables" \
        python3 tests/reference/compare_vmx.py
fi
