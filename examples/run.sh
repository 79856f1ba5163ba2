#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shows nvirt at work on emulated machines. Installs what is missing (Debian 12, root); everything
# it makes lies under out/.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../tests/lib.sh"
cd "$ROOT" || exit 1

usage() {
    cat <<'TEXT'
examples/run.sh                       the demonstration: on an Intel and on an AMD machine a small
                                      hypervisor runs on nvirt, has a guest say hello, and measures
examples/run.sh linux                 unmodified Linux as L1, whose KVM runs a guest: VMX with EPT
                                      and with ept=0, SVM with NPT and with npt=0
examples/run.sh boot IMAGE [ARGS...]  your own L1: a Multiboot 1 kernel or a Linux bzImage; ARGS are
                                      its command line
  --vendor vmx|svm     the machine's CPU: Intel on Bochs (default) or AMD on QEMU
  --initrd FILE        initrd of a bzImage
  --module "FILE ARGS" a further module for a Multiboot kernel; may be given again
  --memory MIB         memory of the machine (512; Bochs has 2048 at most)
  --timeout SECONDS    when to stop it (600)
  --host "OPTIONS"     options of nvirt-host.elf ("log=info stats=1")
  --bare               without nvirt, directly on the emulated CPU, to compare
  --                   everything after it belongs to ARGS

L1's serial port is shown as it writes; its input is not connected. What the host says goes to
e9.txt in the directory named at the end.
NVIRT_OUT=DIR in the environment puts everything there instead of out/.
TEXT
}

die() {
    echo "run.sh: $*" >&2
    exit 1
}

step() {
    echo "== $*"
}

# Ends what this script started, children first.
kill_tree() {
    local child
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        kill_tree "$child"
    done
    kill "$1" 2>/dev/null
}
interrupted() {
    local job
    trap - INT TERM
    for job in $(jobs -p); do
        kill_tree "$job"
    done
    exit 130
}
trap interrupted INT TERM

install_packages() {
    # shellcheck disable=SC2086
    need_packages $PACKAGES_BUILD $PACKAGES_BOOT ||
        die "packages could not be installed: this needs root, Debian 12 and its package mirrors"
}

build_host() {
    step "building nvirt, the example host and the L1 images"
    build_images >"$OUT/images.log" 2>&1 || {
        grep -E 'error|FAILED' "$OUT/images.log" | head -n 20
        die "the build failed; all of it is in $OUT/images.log"
    }
}

# live FILE FILTER COMMAND...: runs COMMAND and shows FILE through FILTER while it grows.
live() {
    local file=$1 filter=$2 running shown status
    shift 2
    mkdir -p "$(dirname "$file")"
    rm -f "$file"
    "$@" >"$OUT/live.log" 2>&1 &
    running=$!
    # Bochs creates its file anew, which tail reports; a file that ends early is no news either.
    tail -n +1 -F -s 0.2 --pid="$running" "$file" 2>/dev/null | "$filter" &
    shown=$!
    wait "$running"
    status=$?
    wait "$shown"
    return "$status"
}

raw() {
    cat
}

# --- The demonstration --------------------------------------------------------------------------

show_bench() {
    sed -un -e 's/\r//' -e 's/^L[12] says: /    &/p' \
        -e 's/^BENCH \([a-z0-9_]*\) \([0-9.]*\) ticks$/    measured \1: \2 ticks/p'
}

# value MACHINE bare|nested NAME UNIT
value() {
    python3 "$ROOT/tests/bench/table.py" get "$(bench_log "$1" "$2")" "$3" "$4"
}

said() {
    sed -n "s/^$3 says: //p" "$(bench_log "$1" "$2")" | head -n 1
}

host_instructions() {
    local bare nested
    bare=$(value "$1" bare "$2" ticks)
    nested=$(value "$1" nested "$2" ticks)
    echo "${nested//,/} ${bare//,/}" | awk '{ printf "%.0f", $1 - $2 }'
}

row() {
    printf '  %-34s %-26s %-26s\n' "$@"
}

# value_row TITLE bare|nested NAME UNIT
value_row() {
    row "$1" "$(value bochs-vmx "$2" "$3" "$4")" "$(value qemu-svm "$2" "$3" "$4")"
}

flushes_row() {
    local machine kind sum
    local -a cells=()
    for machine in bochs-vmx qemu-svm; do
        sum=""
        for kind in address tag root all; do
            sum+="${sum:+ / }$(value "$machine" nested "$2" "flushes_$kind")"
        done
        cells+=("$sum")
    done
    row "$1" "${cells[@]}"
}

summary() {
    echo
    echo "Who ran on whom"
    local machine
    for machine in bochs-vmx qemu-svm; do
        echo "  $(bench_title "$machine")"
        echo "    L0  $(grep -m 1 -o 'nvirt-host: .*' "$BOOT/bench-$machine-nested/e9.txt")"
        echo "    L1  $(said "$machine" nested L1)"
        echo "    L2  $(said "$machine" nested L2)"
    done
    echo
    row "" "Intel VMX (Bochs)" "AMD SVM (QEMU)"
    echo "  The whole run"
    value_row "  entries of L2" nested total nested_entries
    value_row "  nested exits (L2 -> L1)" nested total nested_exits
    value_row "  all exits of L2" nested total exits_l2
    value_row "  all exits of L1" nested total exits_l1
    value_row "  second-stage entries installed" nested total shadow_faults
    flushes_row "  flushes: address/tag/root/all" total
    echo "  One round trip L2 -> L1 -> L2 on CPUID"
    value_row "  instructions, bare CPU" bare roundtrip_cpuid ticks
    value_row "  instructions, on nvirt" nested roundtrip_cpuid ticks
    row "  of these in the host" "$(host_instructions bochs-vmx roundtrip_cpuid)" \
        "$(host_instructions qemu-svm roundtrip_cpuid)"
    row "  in the host, the switches alone" "$(host_instructions bochs-vmx roundtrip_switch_only)" \
        "$(host_instructions qemu-svm roundtrip_switch_only)"
    value_row "  exits of L1 (its own work)" nested roundtrip_cpuid exits_l1
    value_row "  VMREADs in the host" nested roundtrip_cpuid vmreads
    value_row "  VMWRITEs in the host" nested roundtrip_cpuid vmwrites
    value_row "  pages pinned" nested roundtrip_cpuid pins
    flushes_row "  flushes: address/tag/root/all" roundtrip_cpuid
    echo
    echo "  L1 on VMX does 8 VMREADs and 3 VMWRITEs a round trip, each an exit of its own; on SVM"
    echo "  CLGI and STGI, exits where the CPU has no virtual GIF. More costs: $OUT/bench.md; logs: $BOOT/bench-*/"
}

demo_failed() {
    echo
    tail -n 15 "$OUT/live.log"
    die "$1 did not reach its end; its logs are in $2"
}

demo() {
    local machine kind
    install_packages
    build_host
    for machine in bochs-vmx qemu-svm; do
        for kind in bare nested; do
            case $kind in
            bare) step "$(bench_title "$machine"): L1 on the bare emulated CPU, for comparison" ;;
            nested) step "$(bench_title "$machine"): the same L1 on nvirt" ;;
            esac
            live "$BOOT/bench-$machine-$kind/serial.txt" show_bench "bench_$kind" "$machine" ||
                demo_failed "L1 ($kind)" "$BOOT/bench-$machine-$kind"
        done
    done
    bench_table bochs-vmx qemu-svm
    summary
}

# --- Linux --------------------------------------------------------------------------------------

show_linux() {
    sed -un -e 's/\r//' -e '/^\[/!s/^/    /p'
}

# statistic DIR NAME: a counter from what the host printed at the end, or "-".
statistic() {
    awk -v name="$2" '$2 == name { value = $3 } END { print value == "" ? "-" : value }' "$1/e9.txt"
}

LINUX_ROWS=()
LINUX_FAILED=0
linux_one() {
    local title=$1 machine=$2 name=$3 extra=$4 dir=$BOOT/run-linux-$3 started verdict trip flushes
    step "$title"
    started=$(date +%s)
    live "$dir/serial.txt" show_linux boot_linux_nested "$machine" "$dir" 400 "$extra"
    tr -d '\r' <"$dir/serial.txt" >"$dir/log.txt"
    verdict=$(sed -n 's/^VERDICT: //p' "$dir/log.txt" | tail -n 1)
    if [ "$verdict" != PASS ]; then
        LINUX_FAILED=$((LINUX_FAILED + 1))
        echo "    the host said last:"
        tail -n 15 "$dir/e9.txt" | sed 's/^/    | /'
    fi
    trip=$(sed -n 's/^L2 CPUID round trip: \([0-9]*\).*/\1/p' "$dir/log.txt" | tail -n 1)
    flushes=$(for kind in address tag root all; do
        statistic "$dir" "flushes_$kind"
    done | paste -sd /)
    LINUX_ROWS+=("$(printf '  %-26s %-22s %10s %12s %16s %6s' "$title" "${verdict:-none in time}" \
        "${trip:--}" "$(statistic "$dir" nested_exits)" "$flushes" "$(($(date +%s) - started))")")
}

run_linux() {
    install_packages
    mkdir -p "$BOOT"
    build_host
    step "building the Linux L1: Debian's kernel, its KVM modules, busybox, a /dev/kvm program"
    build_linux >"$OUT/linux.log" 2>&1 || {
        tail -n 20 "$OUT/linux.log"
        die "the Linux L1 could not be built; see $OUT/linux.log"
    }
    linux_one "Intel VMX, EPT (Bochs)" bochs-vmx vmx-ept nvirt.ept=1
    linux_one "Intel VMX, ept=0 (Bochs)" bochs-vmx vmx-shadow nvirt.ept=0
    linux_one "AMD SVM, NPT (QEMU)" qemu-svm svm-npt nvirt.npt=1
    linux_one "AMD SVM, npt=0 (QEMU)" qemu-svm svm-shadow nvirt.npt=0
    echo
    echo "L0 nvirt-host.elf, L1 Linux $(linux_version) with KVM, L2 kvm-verdict's guest"
    printf '  %-26s %-22s %10s %12s %16s %6s\n' "" "verdict of L1" "L2 CPUID" "nested exits" \
        "flushes a/t/r/all" "s"
    printf '%s\n' "${LINUX_ROWS[@]}"
    echo "  L2 CPUID: ticks of one CPUID in L2, handled by KVM. Flushes: address, tag, root, all."
    echo "  Logs: $BOOT/run-linux-*/"
    [ "$LINUX_FAILED" -eq 0 ] || die "$LINUX_FAILED of 4 did not pass"
}

linux_version() {
    sed -n 's/^L1-LINUX: \([^,]*\),.*/\1/p' "$BOOT"/run-linux-*/log.txt | head -n 1
}

# --- An L1 of the user's ------------------------------------------------------------------------

# image_kind FILE: prints multiboot or bzimage.
image_kind() {
    python3 - "$1" <<'PYTHON'
import struct, sys
with open(sys.argv[1], "rb") as image:
    head = image.read(8192)
if head[0x202:0x206] == b"HdrS":
    print("bzimage")
elif any(word == 0x1badb002 for (word,) in struct.iter_unpack("<I", head[:len(head) & ~3])):
    print("multiboot")
elif head[:2] == b"\x1f\x8b":
    print("gzip")
PYTHON
}

parse_boot() {
    image="" vendor=vmx initrd="" memory=512 limit=600 options="log=info stats=1" bare=no
    arguments=() modules=()
    local plain=no
    while [ $# -gt 0 ]; do
        case $plain$1 in
        no--) plain=yes ;;
        no--bare) bare=yes ;;
        no--vendor | no--initrd | no--module | no--memory | no--timeout | no--host)
            [ $# -ge 2 ] || die "$1 wants a value"
            case $1 in
            --vendor) vendor=$2 ;;
            --initrd) initrd=$2 ;;
            --module) modules+=("$2") ;;
            --memory) memory=$2 ;;
            --timeout) limit=$2 ;;
            --host) options=$2 ;;
            esac
            shift
            ;;
        no--*) [ -z "$image" ] || die "no option $1 (after -- it would be an argument of L1)"
            die "no option $1; examples/run.sh --help lists them" ;;
        *) if [ -z "$image" ]; then image=$1; else arguments+=("$1"); fi ;;
        esac
        shift
    done
}

check_boot() {
    local number file
    [ -n "$image" ] || die "boot wants an image; examples/run.sh --help"
    case $vendor in
    vmx) machine=bochs-vmx ;;
    svm) machine=qemu-svm ;;
    *) die "--vendor is vmx or svm, not '$vendor'" ;;
    esac
    for number in "$memory" "$limit"; do
        [[ $number =~ ^[1-9][0-9]{0,5}$ ]] || die "'$number' is no number of MiB or seconds"
    done
    [ "$vendor" = svm ] || [ "$memory" -le 2048 ] || die "Bochs has 2048 MiB at most"
    for file in "$image" ${initrd:+"$initrd"} ${modules[@]+"${modules[@]%% *}"}; do
        [ -f "$file" ] && [ -r "$file" ] || die "no file $file"
    done
}

check_kind() {
    kind=$(image_kind "$image")
    case $kind in
    multiboot) [ -z "$initrd" ] || die "--initrd is for a bzImage; use --module" ;;
    bzimage) [ ${#modules[@]} -eq 0 ] || die "a bzImage has no modules; use --initrd" ;;
    gzip) die "$image is compressed: unpack it with gunzip first" ;;
    *) die "$image is neither a Multiboot 1 kernel nor a Linux bzImage" ;;
    esac
    [ "$kind" = multiboot ] || [ "$bare" = no ] ||
        die "--bare boots Multiboot kernels; for Linux see examples/linux-l1/run-native.sh"
}

boot_image() {
    local dir=$BOOT/run-boot module status words="${arguments[*]-}"
    local -a files=("$image" "$words")
    [ -n "$initrd" ] && files+=("$initrd" "")
    for module in ${modules[@]+"${modules[@]}"}; do
        words=${module#"${module%% *}"}
        files+=("${module%% *}" "${words# }")
    done
    if [ "$bare" = yes ]; then
        live "$dir/serial.txt" raw boot_multiboot "$machine" "$dir" "$limit" "$memory" "${files[@]}"
    else
        live "$dir/serial.txt" raw boot_nested "$machine" "$dir" "$limit" "$memory" "$options" \
            "${files[@]}"
    fi
    status=$?
    echo
    if [ "$status" -eq 124 ]; then
        step "stopped after $limit seconds (--timeout)"
    elif [ "$status" -eq 0 ]; then
        step "L1 ended the machine"
    elif [ "$machine" = qemu-svm ] && [ $((status & 1)) -eq 1 ] && [ "$status" -lt 124 ]; then
        step "L1 ended the machine with code $(((status - 1) / 2))"
    else
        step "the machine stopped (status $status)"
        tail -n 3 "$dir/bochs.log" "$dir/qemu.txt" 2>/dev/null
    fi
    if [ "$bare" = no ]; then
        echo "the host said (all of it is in $dir/e9.txt):"
        sed 's/^/  | /' "$dir/e9.txt" | tail -n 60
    fi
    return "$status"
}

run_boot() {
    parse_boot "$@"
    check_boot
    install_packages
    check_kind
    [ "$bare" = yes ] || build_host
    step "$image on $([ "$bare" = yes ] && echo 'the bare CPU' || echo nvirt), $vendor, $memory MiB"
    boot_image
}

# --- The command line ----------------------------------------------------------------------------

case ${1-demo} in
-h | --help | help)
    usage
    exit 0
    ;;
esac
mkdir -p "$OUT" || exit 1
. "$ROOT/tests/boot/boots.sh"
. "$ROOT/tests/bench/bench.sh"
command=${1-demo}
[ $# -gt 0 ] && shift
case $command in
demo | linux)
    [ $# -eq 0 ] || die "'$command' takes no more words; examples/run.sh --help"
    if [ "$command" = demo ]; then demo; else run_linux; fi
    ;;
boot) run_boot "$@" ;;
*)
    usage >&2
    exit 2
    ;;
esac
