# SPDX-License-Identifier: MIT
# Models and interleavings. Flush decisions: docs/tlb.md. NVIRT_MODEL=full has the large universes
# too, which take minutes; else the run is for every change.
MODEL_FLAGS="-O2 -std=c11 -Wall -Wextra -Wconversion -Wshadow -Werror -Iinclude -Isrc
    -DNVIRT_TLB_MAX_CPUS=2u -DNVIRT_TLB_MAX_TAGS=2u -DNVIRT_TLB_MAX_ADDRESSES=2u"
model_run() {
    # shellcheck disable=SC2086
    gcc $MODEL_FLAGS "tests/model/$1.c" src/tlbflush/*.c src/hv_enlight/fifo.c \
        src/hv_enlight/flush_due.c -o "$OUT/$1" &&
        NVIRT_COUNTEREXAMPLES=$OUT/log/counterexamples_$1.txt timeout 900 "$OUT/$1" \
            ${NVIRT_MODEL:+full}
}
check_async "model: VMX flush decisions are sound and minimal" model_run tlb_model
check_async "model: SVM flush decisions are sound and minimal" model_run svm_model
# All histories of a small machine's shadow tables, of four steps (five: NVIRT_MODEL_LENGTH=5, minutes).
mmu_model() {
    local format=$1 words=$2 sources program
    program="$OUT/mmu_model_${format}_${words// /_}"
    sources="src/mmu/*.c src/nested/vm.c tests/unit/fake/mmu_audit.c"
    if [ "$format" = NPT ]; then
        sources="-DMODEL_NPT $sources src/npt/*.c src/paging/paging.c"
    else
        sources="$sources src/ept/*.c"
    fi
    # shellcheck disable=SC2086
    gcc -O2 -g -std=gnu11 -Wall -Wextra -Werror -Iinclude -Isrc -Itests/unit/fake \
        -Wl,--wrap=nvi_mmu_entry_store tests/model/mmu_model.c $sources \
        -o "$program" && timeout 900 "$program" "${NVIRT_MODEL_LENGTH:-4}" $words
}
for format in EPT NPT; do
    check_async "model: shadow tables, $format, host pages of 4 KiB: sound, complete, whole" \
        mmu_model $format small
    check_async "model: shadow tables, $format, one host block of 2 MiB: sound, complete, whole" \
        mmu_model $format big
    check_async "model: shadow tables, $format, each switch recycles the root: sound, complete, whole" \
        mmu_model $format one
    check_async "model: shadow tables, $format, one root direct: sound, complete, whole" \
        mmu_model $format direct
done
# The space of tags and requests of other CPUs, with real threads.
tags_threads() {
    gcc -O1 -g -std=gnu11 -pthread -fsanitize=thread -Wall -Wextra -Werror -Iinclude -Isrc \
        tests/model/tags_threads.c src/tlbflush/*.c -o "$OUT/tags_threads" &&
        timeout 100 "$OUT/tags_threads"
}
check_async "model: tags shared by eight vCPUs, and requests of other CPUs, under ThreadSanitizer" \
    tags_threads
# Every interleaving: of two producers and a consumer of the flush queue; of a processor that changes its L2s
# and one whose L2 asks for a flush.
interleavings() {
    gcc -O2 -std=gnu11 -Wall -Wextra -Werror -Iinclude -Isrc -DNVIRT_HYPERV \
        -DNVI_HV_ATOMICS_MODEL="\"$ROOT/tests/model/interleave_atomics.h\"" \
        "tests/model/$1_model.c" -o "$OUT/$1_model" && timeout 300 "$OUT/$1_model"
}
check_async "model: flush queue: all interleavings of two producers and a consumer, size 2 and 4" \
    interleavings hv_fifo
check_async "model: every mutant of the flush queue is killed" \
    python3 tests/model/interleave_mutants.py hv_fifo "$OUT/hv_fifo_mutants"
check_async "model: direct flush: all interleavings of a caller and a processor that changes its L2s" \
    interleavings hv_direct
check_async "model: every mutant of who runs where is killed" \
    python3 tests/model/interleave_mutants.py hv_direct "$OUT/hv_direct_mutants"
# ... and then real threads.
hv_fifo_threads() {
    gcc -O1 -g -std=gnu11 -pthread -fsanitize=thread -Wall -Wextra -Werror -Iinclude -Isrc \
        tests/model/hv_fifo_threads.c src/hv_enlight/fifo.c -o "$OUT/hv_fifo_threads" &&
        timeout 100 "$OUT/hv_fifo_threads"
}
check_async "model: flush queue: eight producers under ThreadSanitizer" hv_fifo_threads
# Shadow tables with real threads.
mmu_threads() {
    local format=$1 sources
    sources="tests/unit/fake/mmu_audit.c src/mmu/*.c src/nested/vm.c"
    if [ "$format" = NPT ]; then
        sources="-DMODEL_NPT $sources src/npt/*.c src/paging/paging.c"
    else
        sources="$sources src/ept/*.c"
    fi
    # shellcheck disable=SC2086
    gcc -O1 -g -std=gnu11 -pthread -fsanitize=thread -Wall -Wextra -Werror -Iinclude -Isrc \
        -Itests/unit/fake tests/model/mmu_threads.c $sources -o "$OUT/mmu_threads_$format" &&
        timeout 300 "$OUT/mmu_threads_$format"
}
for format in EPT NPT; do
    check_async "model: shadow tables, $format, under ThreadSanitizer: four vCPUs, a host that takes memory away" \
        mmu_threads $format
done
check_wait
for log in "$OUT"/log/model__*_flush_decisions_are_sound_and_minimal.txt; do
    echo "        $(basename "$log" | cut -c8-10): $(grep -E '^states' "$log")"
    grep -E '^[^ ].*: [0-9]+ states|^emissions' "$log" | sed 's/^/            /'
done
for log in "$OUT"/log/counterexamples_*_model.txt; do
    echo "        $(grep -c 'is unsound:' "$log") needed emissions, a history each: ${log#"$ROOT"/}"
done

# Each fault of the list, put into the engine, is found; its history is in the log.
check "model: every mutant of the flush engine is killed" python3 tests/model/mutants.py "$OUT/mutants"
log=$OUT/log/model__every_mutant_of_the_flush_engine_is_killed.txt
echo "        mutants: $(tail -n 1 "$log"); histories in ${log#"$ROOT"/}"
