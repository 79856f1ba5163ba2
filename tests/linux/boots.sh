# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Booting Debian's kernel with the driver. To be sourced after tests/boot/boots.sh.
LINUX_TEST=$OUT/linux-test

kernel_package() {
    find "$LINUX_L1" -maxdepth 1 -name 'linux-image-*-cloud-amd64_*.deb' 2>/dev/null | sort | tail -n 1
}

build_driver() {
    [ -n "$(kernel_package)" ] || build_linux || return 1
    mkdir -p "$LINUX_TEST"
    "$ROOT/tests/linux/build.sh" "$LINUX_TEST" "$(kernel_package)" "$L1_SVM" "$L1_VMX"
}

# driver_subjects NAME TIMEOUT CPUS SUBJECTS [MEMORY_MB]: the machine's own count must say that nothing
# failed.
driver_subjects() {
    local out=$BOOT/$1 subject words=""
    for subject in $4; do
        words+=" nvirt.test=$subject"
    done
    mkdir -p "$out"
    rm -f "$out/serial.txt"
    timeout -k 5 "$2" qemu-system-x86_64 -nodefaults -machine q35 -accel "tcg${QEMU_THREADS:+,thread=$QEMU_THREADS}" \
        -cpu max,+svm,+npt,-cx16 -m "${5:-512}" -smp "$3" -display none -vga none -no-reboot \
        -serial "file:$out/serial.txt" -kernel "$LINUX_TEST/vmlinuz" \
        -initrd "$LINUX_TEST/initrd.gz" -append "console=ttyS0 quiet no5lvl no_timer_check panic=-1$words" \
        >"$out/qemu.txt" 2>&1 </dev/null
    went_well "$out/serial.txt"
}

# in_turn COMMAND...: the CPUs that QEMU emulates run in turn, on one thread (docs/linux.md).
in_turn() {
    QEMU_THREADS=single "$@"
}

# Its own count says that nothing failed, and nothing bad comes after that.
went_well() {
    if tr -d '\r' <"$1" | grep -qE '^[1-9][0-9]* passed, 0 failed$' &&
        ! grep -E 'Oops|BUG:|WARNING:|not ok reboot' "$1"; then
        return 0
    fi
    tail -n 60 "$1"
    return 1
}

# Bochs lays out AVX-512's and PKU's state so that the kernel would give XSAVE up. Its XSAVES and XSAVEC put AVX state 160
# bytes too low, over their own header, where the x87 is in its initial state: a process loses its registers then, and
# the kernel warns of that. Its CPUID says a TSC of some GHz, which the kernel believes: a second of its clock would be
# some 10^9 instructions, where the devices go by 50 million.
BOCHS_WORDS="$(cat "$ROOT/examples/linux-l1/cmdline"),pku,avx512f,xsaves,xsavec no5lvl tsc_early_khz=50000"

# driver_on_bochs NAME TIMEOUT SUBJECTS [CPUS] [WORDS]: the same on Bochs, an Intel CPU.
driver_on_bochs() {
    local out=$BOOT/$1 subject words=""
    for subject in $3; do
        words+=" nvirt.test=$subject"
    done
    mkdir -p "$out"
    make_linux_iso "$out/boot.iso" "$LINUX_TEST/vmlinuz" "$LINUX_TEST/initrd.gz" \
        "$BOCHS_WORDS$words ${5:-}" || return 1
    BOCHS_EXTRA="cpu: count=${4:-1}" bochs_run "$out" tigerlake "$2" "$out/boot.iso" 512
    rm -f "$out/boot.iso"
    went_well "$out/serial.txt"
}

# The part of a machine's serial output that is L1's log.
l1_log() {
    tr -d '\r' <"$1" | awk '/== l1 begins/ { p = 1; next } /== l1 ends/ { p = 0 } p'
}

# same_log DRIVER-LOG HOST-SERIAL: line for line, to the count at its end.
same_log() {
    local driver=$1 host=${1%.txt}-host.txt
    tr -d '\r' <"$2" >"$host"
    tail -n 1 "$driver" | grep -qE '^[1-9][0-9]+ passed, [0-9]+ failed$' || {
        echo "the log has no end"
        tail -n 5 "$driver"
        return 1
    }
    diff "$host" "$driver" >"$driver.diff" || {
        echo "the bare-metal host's (<) and the driver's (>) logs differ:"
        head -n 40 "$driver.diff"
        return 1
    }
    echo "$(wc -l <"$driver") lines agree"
}

# shaken_agrees NAME TIMEOUT: the test hypervisor's log under the driver, whose host owns the interrupts and moves L1's
# memory about, and under the bare-metal host, whose L1 has the machine's, are the same.
shaken_agrees() {
    local out=$BOOT/$1
    driver_subjects "$1" "$2" 2 shaken || return 1
    boot_nested qemu-svm "$out-host" "$2" 512 "" "$L1_SVM" ""
    l1_log "$out/serial.txt" >"$out/log.txt"
    same_log "$out/log.txt" "$out-host/serial.txt"
}

# vmx_agrees NAME TIMEOUT SUBJECTS: the same on VMX, after other subjects in the same machine, as Bochs takes
# its time to boot a kernel. The driver shows L1 no CET.
vmx_agrees() {
    local out=$BOOT/$1
    driver_on_bochs "$1" "$2" "$3 l1" || return 1
    boot_nested bochs-vmx "$out-host" "$2" 512 "cet=0" "$L1_VMX" "-cet"
    l1_log "$out/serial.txt" >"$out/log.txt"
    same_log "$out/log.txt" "$out-host/serial.txt"
}
