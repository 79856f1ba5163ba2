#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Where one nested round trip spends its instructions: boots a benchmark image under the example
# host on Bochs, traces from one exit of L2 to the next, prints instructions, VMREADs and VMWRITEs
# by function, then the fields of the VMCS by use.
#
#   tests/bench/profile.sh [vmx|vmx-shadow|vmx-evmcs|svm] [SCENE]
#
# SCENE: none for one L2; for vmx and vmx-shadow also two_l2, where L1 makes the other VMCS current first.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
. "$ROOT/tests/boot/boots.sh"
. "$ROOT/tests/bench/bench.sh"
vendor=${1:-vmx}
scene=${2:-}
case $vendor in
vmx | vmx-shadow | vmx-evmcs) machine=bochs-vmx ;;
svm) machine=bochs-svm ;;
*)
    echo "usage: profile.sh [vmx|vmx-shadow|vmx-evmcs|svm] [SCENE]" >&2
    exit 2
    ;;
esac
case $vendor/$scene in
*/ | vmx/two_l2 | vmx-shadow/two_l2) ;;
*)
    echo "profile.sh: $vendor has no scene '$scene'" >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2086
need_packages $PACKAGES_BUILD $PACKAGES_BOOT || exit 1

mkdir -p "$OUT"
image=$(bench_image "bochs-$vendor")
build_images >"$OUT/images.log" 2>&1 || { tail -n 20 "$OUT/images.log"; exit 1; }
dir=$BOOT/profile-$vendor
make_iso "$OUT/profile.iso" "$HOST_ELF" "$(bench_host "bochs-$vendor")" "$image" "profile $scene" ||
    exit 1
# The debugger stops at each mark; what it prints between the two is the trace.
BOCHS_EXTRA="magic_break: enabled=1"
BOCHS_COMMANDS=$'c\ntrace on\ntrace-reg on\nc\nq'
bochs_run "$dir" "$(bochs_model "$machine")" 120 "$OUT/profile.iso" 512
rm -f "$OUT/profile.iso"
base=$(sed -n 's/.*host at \(0x[0-9a-f]*\)\.\..*/\1/p' "$dir/stdout.txt" | head -n 1)
[ -n "$base" ] || { echo "profile.sh: the host did not start; see $dir"; exit 1; }
python3 "$ROOT/tests/bench/profile.py" "$dir/stdout.txt" "$HOST_ELF" "$image" "$base"
rm -f "$dir/stdout.txt"
