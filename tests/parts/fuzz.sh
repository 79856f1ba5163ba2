# SPDX-License-Identifier: MIT
# The fuzz targets of tests/fuzz, each for NVIRT_FUZZ_SECONDS (20) seconds from the same seeds. A
# crash keeps its input in out/fuzz/NAME/crash and prints it as a hexdump, to be run again with
#   out/fuzz/build/tests/fuzz/fuzz_NAME FILE      (NVIRT_FUZZ_VERBOSE=1 tells each step)
# shellcheck disable=SC2086
need_packages $PACKAGES_UNIT || exit 1
FUZZ=$OUT/fuzz
FUZZ_SECONDS=${NVIRT_FUZZ_SECONDS:-20}

fuzz_build() {
    cmake -S . -B "$FUZZ/build" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug \
        -DNVIRT_FUZZ=ON && cmake --build "$FUZZ/build" -j "$JOBS"
}

# fuzz_run NAME: seeds and what earlier runs found come first, then mutations until the time is up.
fuzz_run() {
    local name=$1 dir=$FUZZ/$1 status
    rm -rf "$dir/seeds" "$dir/crash"
    mkdir -p "$dir/seeds" "$dir/corpus" "$dir/crash"
    python3 tests/fuzz/make_seeds.py "$name" "$dir/seeds" || return 1
    # The fuzzer ends by itself; timeout is for one that does not.
    timeout $((FUZZ_SECONDS + 120)) "$FUZZ/build/tests/fuzz/fuzz_$name" -seed=1 -len_control=0 \
        -max_len=1024 -timeout=10 -rss_limit_mb=2048 -max_total_time="$FUZZ_SECONDS" \
        -print_final_stats=1 -artifact_prefix="$dir/crash/" "$dir/corpus" "$dir/seeds" \
        >"$dir/log.txt" 2>&1
    status=$?
    if [ $status -ne 0 ]; then
        grep -aE 'broken:|fake (port|CPU):|runtime error|ERROR:|#[0-9]+ .*/(src|tests)/.*\.[ch]' \
            "$dir/log.txt" | grep -v fuzzer:: | head -n 25
        for input in "$dir"/crash/*; do
            [ -f "$input" ] && echo "$input:" && od -A x -t x1 "$input" | head -n 80
        done
        return 1
    fi
    grep -aE 'stat::number_of_executed_units|cov: .*corp: ' "$dir/log.txt" | tail -n 2
}

if check "fuzz: targets build with clang" fuzz_build; then
    for target in vmx svm walk; do
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
            wait -n
        done
        check_async "fuzz: $target for $FUZZ_SECONDS s" fuzz_run "$target"
    done
    check_wait
    for target in vmx svm walk; do
        echo "        $target: $(sed -n 's/stat::number_of_executed_units: *//p' \
            "$FUZZ/$target/log.txt") executions"
    done
fi
