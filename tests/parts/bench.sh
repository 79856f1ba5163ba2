# SPDX-License-Identifier: MIT
# Costs: the benchmark images on each emulated machine, bare and nested; a table in $OUT/bench.md,
# and the counts that must hold (tests/bench/budgets.txt), which repeat exactly. First the shadow tables
# natively, in $OUT/mmu_bench.md.
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

# The shadow tables by themselves, on this machine's CPU.
bench_mmu() {
    gcc -O2 -std=gnu11 -pthread -Wall -Wextra -Werror -Iinclude -Isrc tests/bench/mmu_bench.c \
        src/mmu/*.c src/ept/*.c src/nested/vm.c -o "$OUT/mmu_bench" &&
        "$OUT/mmu_bench" >"$OUT/mmu_bench.md"
}
check "bench: shadow tables: switches and refaults do not grow with what is mapped" bench_mmu
cat "$OUT/mmu_bench.md"

# Flush decisions by themselves: operations on generated traces, beside KVM's policy, and nanoseconds.
bench_tlb() {
    gcc -O2 -std=gnu11 -Wall -Wextra -Wconversion -Werror -Iinclude -Isrc tests/bench/tlb_bench.c \
        src/tlbflush/*.c -o "$OUT/tlb_bench" && "$OUT/tlb_bench" >"$OUT/tlb_bench.md"
}
check "bench: flush decisions keep the bounds of their traces" bench_tlb
cat "$OUT/tlb_bench.md"

# The flush queue of Hyper-V's hypercalls beside a ring with a mutex.
bench_hv_fifo() {
    gcc -O2 -std=gnu11 -pthread -Wall -Wextra -Werror -Iinclude -Isrc tests/bench/hv_fifo_bench.c \
        src/hv_enlight/fifo.c -o "$OUT/hv_fifo_bench" && "$OUT/hv_fifo_bench" >"$OUT/hv_fifo_bench.md"
}
check "bench: flush queue keeps its counts of instructions" bench_hv_fifo
cat "$OUT/hv_fifo_bench.md"

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
