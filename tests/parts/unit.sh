# SPDX-License-Identifier: MIT
# Unit tests under gcc and clang with ASan and UBSan, then line coverage of src/ (gcc).
# shellcheck disable=SC2086
need_packages $PACKAGES_UNIT || exit 1

# unit_run NAME CMAKE_OPTIONS...: builds and runs every test program; adds up CMocka's own counts.
unit_run() {
    local name=$1 build="$OUT/unit-$1" log passed failed program
    shift
    log=$build.log
    if ! { cmake -S . -B "$build" -G Ninja -DNVIRT_UNIT_TESTS=ON -DCMAKE_BUILD_TYPE=Debug "$@" &&
        cmake --build "$build" -j "$JOBS"; } >"$log" 2>&1; then
        fail "unit $name: build"
        grep -E 'error|Error|FAILED' "$log" | head -n 30
        return 1
    fi
    for program in "$build"/tests/unit/*_test_*; do
        [ -x "$program" ] && [ -f "$program" ] || continue
        timeout 120 "$program" >"$program.txt" 2>&1
        local status=$?
        passed=$(grep -aoE '\[  PASSED  \] [0-9]+' "$program.txt" | grep -oE '[0-9]+$' | tail -n 1)
        failed=$(grep -aoE '\[  FAILED  \] [0-9]+ test' "$program.txt" | grep -oE '[0-9]+' | tail -n 1)
        passed=${passed:-0}
        failed=${failed:-0}
        # A program that ended badly without counting a failure (a sanitizer, a crash) is one.
        [ "$status" -ne 0 ] && [ "$failed" -eq 0 ] && failed=1
        [ "$status" -eq 0 ] && [ "$passed" -eq 0 ] && failed=1
        count "$passed" "$failed" "unit $name: $(basename "$program")"
        if [ "$failed" -gt 0 ]; then
            echo "FAILED  unit $name: $(basename "$program")"
            grep -aE 'FAILED|ERROR|error:|Sanitizer|\.c:[0-9]+' "$program.txt" | head -n 20
        fi
    done
    echo "        unit $name: $(ls "$build"/tests/unit/*_test_*.txt | wc -l) programs"
}

unit_run gcc -DCMAKE_C_COMPILER=gcc
unit_run clang -DCMAKE_C_COMPILER=clang
unit_run coverage -DCMAKE_C_COMPILER=gcc -DNVIRT_SANITIZE=OFF -DNVIRT_COVERAGE=ON

# At least 85 % of the library's lines.
coverage() {
    gcovr --root "$ROOT" --filter "$ROOT/src/" --object-directory "$OUT/unit-coverage" \
        --txt "$OUT/coverage.txt" --html "$OUT/coverage.html" --print-summary --fail-under-line 85 \
        "$OUT/unit-coverage"
}
check "unit coverage of src/ at least 85 %" coverage
grep -E '^lines' "$OUT/log/unit_coverage_of_src__at_least_85__.txt" | sed 's/^/        /'
