# SPDX-License-Identifier: MIT
# The fuzz targets of tests/fuzz. By default each runs a fixed number of inputs from a fixed seed, so that
# a change is judged by the same inputs wherever it is tested. With NVIRT_FUZZ_SECONDS=N they search for N
# seconds each, from another seed every time and from what earlier searches kept. A crash keeps its input
# in out/fuzz/NAME/crash and prints it as a hexdump, to be run again with
#   out/fuzz/build/tests/fuzz/fuzz_NAME FILE      (NVIRT_FUZZ_VERBOSE=1 tells each step)
# shellcheck disable=SC2086
need_packages $PACKAGES_UNIT || exit 1
FUZZ=$OUT/fuzz
FUZZ_SECONDS=${NVIRT_FUZZ_SECONDS:-}
# What libFuzzer learns from compared values includes addresses: the same run needs the same addresses.
FIXED_ADDRESSES=""
if setarch -R true 2>/dev/null; then
    FIXED_ADDRESSES="setarch -R"
fi
FUZZ_TARGETS="vmx:6000 svm:10000 walk:25000 hyperv:35000 evmcs:6000" # NAME:INPUTS, some 20 seconds each

fuzz_build() {
    cmake -S . -B "$FUZZ/build" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug \
        -DNVIRT_FUZZ=ON && cmake --build "$FUZZ/build" -j "$JOBS"
}

# fuzz_run NAME INPUTS: the seeds come first, then mutations until the inputs or the seconds are used up.
fuzz_run() {
    local name=$1 dir=$FUZZ/$1 status limit=600
    local -a how=(-seed=1 "-runs=$2" -reload=0)
    rm -rf "$dir/seeds" "$dir/crash"
    if [ -n "$FUZZ_SECONDS" ]; then
        how=("-seed=$((RANDOM * 32768 + RANDOM + 1))" "-max_total_time=$FUZZ_SECONDS")
        limit=$((FUZZ_SECONDS + 120))
    else
        rm -rf "$dir/corpus"
    fi
    mkdir -p "$dir/seeds" "$dir/corpus" "$dir/crash"
    python3 tests/fuzz/make_seeds.py "$name" "$dir/seeds" || return 1
    # The fuzzer ends by itself; timeout is for one that does not.
    timeout "$limit" $FIXED_ADDRESSES "$FUZZ/build/tests/fuzz/fuzz_$name" "${how[@]}" -len_control=0 \
        -max_len=1024 -timeout=10 -rss_limit_mb=2048 \
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
    for target in $FUZZ_TARGETS; do
        amount=${FUZZ_SECONDS:+$FUZZ_SECONDS s}
        amount=${amount:-${target#*:} inputs}
        check_async "fuzz: ${target%:*} for $amount" \
            fuzz_run "${target%:*}" "${target#*:}"
    done
    check_wait
    for target in $FUZZ_TARGETS; do
        echo "        ${target%:*}: $(sed -n 's/stat::number_of_executed_units: *//p' \
            "$FUZZ/${target%:*}/log.txt") executions"
    done
fi
