# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Running the benchmark images. To be sourced after tests/boot/boots.sh.

BENCH_MACHINES="bochs-vmx bochs-vmx-shadow bochs-vmx-cet bochs-vmx-evmcs qemu-svm bochs-svm"

bench_image() {
    case $1 in
    *-vmx | *-vmx-*) echo "$IMAGES/tests/bench/bench-vmx.elf" ;;
    *) echo "$IMAGES/tests/bench/bench-svm.elf" ;;
    esac
}

# bench_host MACHINE: options of the host beyond those of every machine. Without VMCS shadowing the cost
# of each exit of L1 shows. The benchmark knows nothing of CET: its L1 is one that has not got it, or, on
# *-cet, one that does not use what it has.
bench_host() {
    case $1 in
    *-vmx) echo "log=info cet=0 shadow=0" ;;
    *-evmcs) echo "log=info cet=0 hyperv=1" ;;
    *-vmx-shadow) echo "log=info cet=0" ;;
    *-vmx-cet) echo "log=info cet=1" ;;
    *) echo "log=info" ;;
    esac
}

# The emulated machine behind the name.
bench_machine() {
    local machine=${1%-shadow}
    machine=${machine%-cet}
    echo "${machine%-evmcs}"
}

# bench_log MACHINE bare|nested: what L1 printed.
bench_log() {
    echo "$BOOT/bench-$1-$2/log.txt"
}

# bench_finish MACHINE bare|nested: keeps the log; fails when it stops before its end.
bench_finish() {
    local dir=$BOOT/bench-$1-$2
    tr -d '\r' <"$dir/serial.txt" >"$dir/log.txt"
    grep -q '^BENCH end' "$dir/log.txt" || {
        tail -n 5 "$dir/log.txt"
        [ "$2" = nested ] && tail -n 20 "$dir/e9.txt"
        return 1
    }
}

bench_bare() {
    boot_multiboot "$(bench_machine "$1")" "$BOOT/bench-$1-bare" 120 512 "$(bench_image "$1")" ""
    bench_finish "$1" bare
}

bench_nested() {
    boot_nested "$(bench_machine "$1")" "$BOOT/bench-$1-nested" 180 512 "$(bench_host "$1")" \
        "$(bench_image "$1")" ""
    bench_finish "$1" nested
}

bench_run() {
    bench_bare "$1" && bench_nested "$1"
}

bench_title() {
    case $1 in
    bochs-vmx) echo "Intel VMX on Bochs, without VMCS shadowing" ;;
    bochs-vmx-shadow) echo "Intel VMX on Bochs, with VMCS shadowing" ;;
    bochs-vmx-cet) echo "Intel VMX on Bochs, the same with CET that L1 has and does not use" ;;
    bochs-vmx-evmcs) echo "Intel VMX on Bochs, with an enlightened VMCS; bare: with an ordinary one" ;;
    bochs-svm) echo "AMD SVM on Bochs" ;;
    qemu-svm) echo "AMD SVM on QEMU" ;;
    esac
}

# bench_table MACHINE...: writes $OUT/bench.md from the logs that are there.
bench_table() {
    local machine
    local -a sources=()
    for machine in "$@"; do
        sources+=("$(bench_title "$machine")=$(bench_log "$machine" bare),$(
            bench_log "$machine" nested)")
    done
    {
        echo "# What nesting costs"
        echo
        echo "Per repetition. Ticks of the time-stamp counter are retired instructions on both"
        echo "emulators; nested less bare is what the host executed. The other columns are nvirt's"
        echo "own counters."
        echo
        python3 "$ROOT/tests/bench/table.py" table "${sources[@]}"
    } >"$OUT/bench.md"
}
