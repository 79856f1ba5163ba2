# SPDX-License-Identifier: MIT
# Costs: the benchmark images on each emulated machine, bare and nested; a table in $OUT/bench.md,
# and the counts that must hold (tests/bench/budgets.txt), which repeat exactly.
# shellcheck disable=SC2086
need_packages $PACKAGES_BOOT || exit 1
. "$ROOT/tests/boot/boots.sh"
. "$ROOT/tests/bench/bench.sh"

# Each budget is a test of its own; those that are exceeded are shown.
bench_budget() {
    local log=$OUT/log/bench_budget_$1.txt good bad
    python3 "$ROOT/tests/bench/table.py" budget "$(bench_log "$1" nested)" \
        "$ROOT/tests/bench/budgets.txt" "$1" >"$log" 2>&1
    good=$(grep -c '^ok ' "$log")
    bad=$(grep -c '^not ok ' "$log")
    # No result at all is a failure too.
    [ $((good + bad)) -gt 0 ] || { bad=1; cat "$log"; }
    count "$good" "$bad" "bench: budgets of $1"
    sed -n "s/^not ok/FAILED  bench: $1:/p" "$log"
    echo "        $1: $good budgets kept, $bad exceeded (tests/bench/budgets.txt)"
}

mkdir -p "$BOOT"
if check "bench: host and benchmark images build" build_images; then
    for machine in $BENCH_MACHINES; do
        check_async "bench: $machine, bare and nested, runs to its end" bench_run "$machine"
    done
    check_wait
    for machine in $BENCH_MACHINES; do
        bench_budget "$machine"
    done
    check "bench: the table is written" bench_table $BENCH_MACHINES && cat "$OUT/bench.md"
fi
