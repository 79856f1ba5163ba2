# SPDX-License-Identifier: MIT
# Everything that boots: the L1 test hypervisors bare and nested, their logs compared; Linux with KVM
# as L1 in four configurations; the host's messages when it cannot start.
# shellcheck disable=SC2086
need_packages $PACKAGES_BOOT || exit 1
. "$ROOT/tests/boot/boots.sh"
. "$ROOT/tests/boot/messages.sh"

# An L1 log must end with its own count, with nothing failed.
log_is_complete() {
    tr -d '\r' <"$1" | tail -n 1 | grep -qE '^[0-9]+ passed, 0 failed$'
}

# compare_l1 NAME MACHINE IMAGE: boots it bare, then nested; every line must agree.
compare_l1() {
    local name=$1 machine=$2 image=$3
    boot_multiboot "$machine" "$BOOT/$name-bare" 240 512 "$image" ""
    boot_nested "$machine" "$BOOT/$name-nested" 400 512 "stats=1" "$image" ""
    tr -d '\r' <"$BOOT/$name-bare/serial.txt" >"$BOOT/$name-bare/log.txt"
    tr -d '\r' <"$BOOT/$name-nested/serial.txt" >"$BOOT/$name-nested/log.txt"
    log_is_complete "$BOOT/$name-bare/serial.txt" || {
        echo "the bare log is incomplete or has failures:"
        grep -E '^not ok' "$BOOT/$name-bare/log.txt" | head -n 20
        tail -n 3 "$BOOT/$name-bare/log.txt"
        return 1
    }
    diff "$BOOT/$name-bare/log.txt" "$BOOT/$name-nested/log.txt" >"$BOOT/$name.diff" || {
        echo "bare (<) and nested (>) logs differ:"
        head -n 40 "$BOOT/$name.diff"
        echo "the host said:"
        tail -n 15 "$BOOT/$name-nested/e9.txt"
        return 1
    }
    echo "$(wc -l <"$BOOT/$name-bare/log.txt") lines agree"
}

# linux_verdict NAME MACHINE TIMEOUT EXTRA: KVM inside the Linux L1 must run its guest to PASS.
linux_verdict() {
    boot_linux_nested "$2" "$BOOT/$1" "$3" "$4"
    tr -d '\r' <"$BOOT/$1/serial.txt" >"$BOOT/$1/log.txt"
    grep -q '^VERDICT: PASS' "$BOOT/$1/log.txt" || {
        tail -n 15 "$BOOT/$1/log.txt"
        echo "the host said:"
        tail -n 25 "$BOOT/$1/e9.txt"
        return 1
    }
}

mkdir -p "$BOOT"
head -c 4096 /dev/zero >"$BOOT/no-kernel.bin"
if check "boot: host and guest images build" build_images; then
    # The long ones first, so that both cores stay busy.
    if check "boot: the Linux L1 builds from Debian's kernel package" build_linux; then
        check_async "boot: Linux KVM as L1, VMX with EPT (Bochs): VERDICT: PASS" \
            linux_verdict linux-vmx-ept bochs-vmx 420 "nvirt.ept=1"
        check_async "boot: Linux KVM as L1, VMX with ept=0 (Bochs): VERDICT: PASS" \
            linux_verdict linux-vmx-shadow bochs-vmx 420 "nvirt.ept=0"
        check_async "boot: Linux KVM as L1, SVM with NPT (QEMU): VERDICT: PASS" \
            linux_verdict linux-svm-npt qemu-svm 240 "nvirt.npt=1"
        check_async "boot: Linux KVM as L1, SVM with npt=0 (QEMU): VERDICT: PASS" \
            linux_verdict linux-svm-shadow qemu-svm 240 "nvirt.npt=0"
    fi
    check_async "boot: VMX test hypervisor, bare and nested logs agree (Bochs)" \
        compare_l1 vmx-bochs bochs-vmx "$L1_VMX"
    check_async "boot: SVM test hypervisor, bare and nested logs agree (QEMU)" \
        compare_l1 svm-qemu qemu-svm "$L1_SVM"
    check_async "boot: SVM test hypervisor, bare and nested logs agree (Bochs)" \
        compare_l1 svm-bochs bochs-svm "$L1_SVM"

    check_async "boot: a CPU without VMX or SVM is refused with a message" \
        env QEMU_CPU=qemu64,-svm bash -c '. tests/lib.sh; . tests/boot/boots.sh; . tests/boot/messages.sh
            host_says no-svm "announces no SVM" qemu-svm 256 "" "$L1_SVM" ""'
    check_async "boot: SVM without nested paging is refused with a message" \
        env QEMU_CPU=max,+svm,-npt bash -c '. tests/lib.sh; . tests/boot/boots.sh; . tests/boot/messages.sh
            host_says no-npt "nested paging" qemu-svm 256 "" "$L1_SVM" ""'
    check_async "boot: no module is refused with a message" \
        host_says no-module "no module" qemu-svm 256 ""
    check_async "boot: a module that is no kernel is refused with a message" \
        host_says bad-module "module 0" qemu-svm 256 "" "$BOOT/no-kernel.bin" ""
    check_async "boot: too little memory is refused with a message" \
        host_says little-memory "too little memory" qemu-svm 24 "" "$L1_SVM" ""
    check_async "boot: several CPUs are refused with a message" \
        host_says two-cpus "CPUs present" qemu-svm-smp2 256 "" "$L1_SVM" ""
    check_wait
fi
