# SPDX-License-Identifier: MIT
# Costs: the benchmark images on each emulated machine, bare and nested; a table in $OUT/bench.md, and
# the counts that must hold (tests/bench/budgets.txt), which repeat exactly.
# shellcheck disable=SC2086
need_packages $PACKAGES_BOOT || exit 1
. "$ROOT/tests/boot/boots.sh"
. "$ROOT/tests/bench/bench.sh"

bench_budget() {
    python3 "$ROOT/tests/bench/table.py" budget "$(bench_log "$1" nested)" \
        "$ROOT/tests/bench/budgets.txt" "$1"
}

mkdir -p "$BOOT"
if check "bench: host and benchmark images build" build_images; then
    for machine in $BENCH_MACHINES; do
        check_async "bench: $machine, bare and nested, runs to its end" bench_run "$machine"
    done
    check_wait
    for machine in $BENCH_MACHINES; do
        [ -s "$(bench_log "$machine" nested)" ] &&
            check "bench: $machine keeps within tests/bench/budgets.txt" bench_budget "$machine"
    done
    check "bench: the table is written" bench_table $BENCH_MACHINES && cat "$OUT/bench.md"
fi
