# SPDX-License-Identifier: MIT
# Documentation: Doxygen without a warning, generated tables up to date, examples that compile.
# shellcheck disable=SC2086
need_packages $PACKAGES_DOCS || exit 1

check "docs: rule table is up to date and every rule is named by a test" \
    python3 docs/spec-coverage.py --check
check "docs: Doxygen without a warning" doxygen docs/Doxyfile

example_compiles() {
    local source=$OUT/example.c
    python3 tests/checks/extract-example.py "$1" >"$source" &&
        gcc -std=c11 -Wall -Wextra -Werror -ffreestanding -Iinclude -fsyntax-only "$source"
}
check "docs: the run loop in nvirt.h compiles" example_compiles include/nvirt/nvirt.h
check "docs: the embedding in README.md compiles" example_compiles README.md

template_compiles() {
    gcc -std=c11 -Wall -Wextra -Wconversion -Wmissing-prototypes -Werror -ffreestanding -Iinclude \
        -c ports/template/port.c -o "$OUT/template.o"
}
check "docs: the template port compiles" template_compiles

no_machine_paths() {
    ! git grep -nIP '(?<![\w$}])/(work|root)/' -- . ':!tests/parts/docs.sh'
}
check "docs: no machine paths in the tree" no_machine_paths
