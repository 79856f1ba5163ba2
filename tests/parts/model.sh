# SPDX-License-Identifier: MIT
# Model checking of flush decisions: with one hardware tag for L2 (recycled all the time) and two.
# VMX with two tags has more states than the time of a test run: the nearest to the start are taken.
model_run() {
    gcc -O3 -std=c11 -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude -DMODEL_TAGS="$2" \
        -DMODEL_MAX_STATES="$3" "tests/model/$1.c" src/tlbflush/tlbflush.c -o "$OUT/$1_$2" &&
        timeout 300 "$OUT/$1_$2"
}
for model in "tlb_model VMX 1 800000" "tlb_model VMX 2 100000" "svm_model SVM 1 800000" \
    "svm_model SVM 2 800000"; do
    # shellcheck disable=SC2086
    set -- $model
    check_async "model: $2 flush decisions, $3 L2 tags: sound, minimal where decided, faults found" \
        model_run "$1" "$3" "$4"
done
check_wait
for log in "$OUT"/log/model__*_flush_decisions__*.txt; do
    echo "        $(basename "$log" | sed 's/^model__\(...\)_.*__\([12]\)_L2.*/\1, \2 L2 tags/'):" \
        "$(grep -E '^states' "$log"); $(grep -cE '^(ok|FAILED)' "$log") results"
    grep -E '^(emissions|undecided)' "$log" | sed 's/^/            /'
done
