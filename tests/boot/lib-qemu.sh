# SPDX-License-Identifier: MIT
# Running an image on QEMU's emulated AMD CPU. To be sourced by bash; see qemu_run.

# qemu_run OUTDIR TIMEOUT KERNEL CMDLINE MODULES [MEMORY_MB]
#
# Boots KERNEL (Multiboot image or bzImage) with CMDLINE for at most TIMEOUT seconds. MODULES is
# what -initrd takes: comma-separated files, each with its own arguments after a space ("" for
# none). COM1 goes to OUTDIR/serial.txt, port 0xE9 to OUTDIR/e9.txt, QEMU's own words to
# OUTDIR/qemu.txt, its exit status to OUTDIR/status.txt.
#
# Returns 0 if the guest ended the run itself with code 0 (isa-debug-exit turns code n into exit
# status 2n+1), else that status; 124 is a time-out. Instructions are counted (-icount), so that a
# TSC tick is one retired instruction and a run repeats exactly.
# More arguments for QEMU may be given in the array QEMU_EXTRA.
#
# Without CMPXCHG16B, which QEMU 7.2 gets wrong: its helper is called before it is stored which operation
# the flags are still owed by, so any value may come out of it as EFLAGS, and be saved by an interrupt
# or a #VMEXIT right behind. Linux does without.
qemu_run() {
    local out=$1 limit=$2 kernel=$3 cmdline=$4 modules=$5 memory=${6:-512} status=0
    local -a args=(
        -nodefaults -machine q35,accel=tcg -cpu "${QEMU_CPU:-max,+svm,+npt,-cx16}" -m "$memory" -smp 1
        -display none -vga none -no-reboot
        -icount shift=0,sleep=off
        -serial "file:$out/serial.txt" -debugcon "file:$out/e9.txt"
        -device isa-debug-exit,iobase=0xf4,iosize=0x4
        -kernel "$kernel" -append "$cmdline"
    )

    mkdir -p "$out" || return 2
    rm -f "$out/serial.txt" "$out/e9.txt" "$out/qemu.txt" "$out/status.txt"
    [ -n "$modules" ] && args+=(-initrd "$modules")
    timeout -k 5 "$limit" qemu-system-x86_64 "${args[@]}" ${QEMU_EXTRA[@]+"${QEMU_EXTRA[@]}"} \
        >"$out/qemu.txt" 2>&1 </dev/null || status=$?
    echo "$status" >"$out/status.txt"
    [ "$status" = 1 ] && status=0
    return "$status"
}
