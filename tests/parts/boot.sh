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

# compare_l1 NAME MACHINE IMAGE [HOST_OPTIONS [WORDS]]: boots it bare, then nested; every line must agree.
compare_l1() {
    local name=$1 machine=$2 image=$3 options=${4:-} words=${5:-}
    boot_multiboot "$machine" "$BOOT/$name-bare" 240 512 "$image" "$words"
    boot_nested "$machine" "$BOOT/$name-nested" 400 512 "stats=1 $options" "$image" "$words"
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

# nested_l1 NAME MACHINE IMAGE WORDS: subjects that a bare run cannot have; nothing may fail.
nested_l1() {
    boot_nested "$2" "$BOOT/$1" 100 512 "stats=1" "$3" "$4"
    log_is_complete "$BOOT/$1/serial.txt" || {
        tr -d '\r' <"$BOOT/$1/serial.txt" | grep -E '^not ok' | head -n 20
        tail -n 3 "$BOOT/$1/serial.txt"
        echo "the host said:"
        tail -n 15 "$BOOT/$1/e9.txt"
        return 1
    }
}

# linux_verdict NAME MACHINE TIMEOUT EXTRA [HOST_OPTIONS]: KVM inside the Linux L1 must run its guest to PASS.
linux_verdict() {
    boot_linux_nested "$2" "$BOOT/$1" "$3" "$4" "${5:-}"
    tr -d '\r' <"$BOOT/$1/serial.txt" >"$BOOT/$1/log.txt"
    grep -q '^VERDICT: PASS' "$BOOT/$1/log.txt" || {
        tail -n 15 "$BOOT/$1/log.txt"
        echo "the host said:"
        tail -n 25 "$BOOT/$1/e9.txt"
        return 1
    }
}

# linux_hyperv NAME MACHINE TIMEOUT EXTRA PATTERN...: with hyperv=1 each pattern is in L1's log (what it found
# and uses) or in the host's (a counter that is not 0).
linux_hyperv() {
    local name=$1 machine=$2 limit=$3 extra=$4 pattern
    shift 4
    linux_verdict "$name" "$machine" "$limit" "$extra loglevel=7" "hyperv=1" || return 1
    for pattern in "$@"; do
        grep -aqE "$pattern" "$BOOT/$name/log.txt" "$BOOT/$name/e9.txt" || {
            echo "not found: $pattern"
            grep -ai 'hyper' "$BOOT/$name/log.txt" "$BOOT/$name/e9.txt"
            return 1
        }
    done
}

mkdir -p "$BOOT"
head -c 4096 /dev/zero >"$BOOT/no-kernel.bin"
if check "boot: host and guest images build" build_images; then
    # The long ones first, so that both cores stay busy.
    if check "boot: the Linux L1 builds from Debian's kernel package" build_linux; then
        check_async "boot: KVM in KVM: Linux L1 runs Linux that runs a guest, VMX with EPT (Bochs)" \
            linux_verdict linux-vmx-linux bochs-vmx 900 "nvirt.ept=1 nvirt.linux"
        check_async "boot: Linux KVM as L1, VMX with EPT (Bochs): VERDICT: PASS" \
            linux_verdict linux-vmx-ept bochs-vmx 420 "nvirt.ept=1"
        check_async "boot: Linux KVM as L1, VMX with ept=0 (Bochs): VERDICT: PASS" \
            linux_verdict linux-vmx-shadow bochs-vmx 420 "nvirt.ept=0"
        check_async "boot: Linux KVM as L1, VMX, saved and restored at every 11th exit (Bochs)" \
            linux_verdict linux-vmx-snapshot bochs-vmx 420 "nvirt.ept=1 nvirt.enable_apicv=0" "snapshot=11"
        check_async "boot: KVM in KVM: Linux L1 runs Linux that runs a guest, SVM with NPT (QEMU)" \
            linux_verdict linux-svm-linux-npt qemu-svm 420 "nvirt.npt=1 nvirt.linux"
        check_async "boot: KVM in KVM: Linux L1 runs Linux that runs a guest, SVM with npt=0 (QEMU)" \
            linux_verdict linux-svm-linux-shadow qemu-svm 420 "nvirt.npt=0 nvirt.linux"
        check_async "boot: Linux KVM as L1, SVM with NPT (QEMU): VERDICT: PASS" \
            linux_verdict linux-svm-npt qemu-svm 240 "nvirt.npt=1"
        check_async "boot: Linux KVM as L1, SVM with npt=0 (QEMU): VERDICT: PASS" \
            linux_verdict linux-svm-shadow qemu-svm 240 "nvirt.npt=0"
        check_async "boot: Linux KVM as L1, SVM, saved and restored at every 11th exit (QEMU)" \
            linux_verdict linux-svm-snapshot qemu-svm 240 "nvirt.npt=1" "snapshot=11"
        check_async "boot: Linux KVM as L1 finds and uses Hyper-V's enlightenments, SVM (QEMU)" \
            linux_hyperv linux-svm-hyperv qemu-svm 240 "nvirt.npt=1" \
            "Hypervisor detected: Microsoft Hyper-V" "Hyper-V: Nested features: 0x4e0000" \
            "Hyper-V enlightened NPT TLB flush enabled" "maps_clean +[1-9][0-9]{3}" \
            "Hyper-V Direct TLB Flush enabled" "direct_flushes +8 " "flushes of L2: 4 queued, 4 drained" \
            "Hyper-V: [1-9][0-9]* hypercalls, 0 refused"
        check_async "boot: Linux KVM as L1 finds and uses Hyper-V's enlightenments, VMX (Bochs)" \
            linux_hyperv linux-vmx-hyperv bochs-vmx 420 "nvirt.ept=1" \
            "Hypervisor detected: Microsoft Hyper-V" "Hyper-V: Nested features: 0xe0101" "direct_flushes +8 " "flushes of L2: 4 queued, 4 drained" \
            "using Hyper-V Enlightened VMCS" "enlightened_entries +[1-9][0-9]{3}" \
            "groups_clean +[1-9][0-9]{4}" "maps_clean +[1-9][0-9]{3}" \
            "Hyper-V: [1-9][0-9]* hypercalls, 0 refused"
    fi
    check_async "boot: VMX test hypervisor, bare and nested logs agree (Bochs)" \
        compare_l1 vmx-bochs bochs-vmx "$L1_VMX"
    check_async "boot: VMX test hypervisor, saved and restored at every 7th exit (Bochs)" \
        compare_l1 vmx-bochs-snapshot bochs-vmx "$L1_VMX" "snapshot=7" "-delivery"
    # The commonest switches are carried out on a short way, which an L1 offered CET that does not use it lacks.
    check_async "boot: VMX test hypervisor, without CET, bare and nested logs agree (Bochs)" \
        compare_l1 vmx-bochs-no-cet bochs-vmx "$L1_VMX" "cet=0" "-cet"
    # VMCS shadowing is nvirt's own work, so L1 has it there and the CPU has not.
    check_async "boot: VMX test hypervisor, an older CPU, bare and nested logs agree (Bochs)" \
        compare_l1 vmx-bochs-old bochs-vmx-old "$L1_VMX" "" "-shadow"
    check_async "boot: VMX test hypervisor, what the emulator lacks or breaks, nested (Bochs)" \
        nested_l1 vmx-manual bochs-vmx "$L1_VMX" "posted manual"
    check_async "boot: SVM test hypervisor, bare and nested logs agree (QEMU)" \
        compare_l1 svm-qemu qemu-svm "$L1_SVM"
    check_async "boot: SVM test hypervisor, bare and nested logs agree (Bochs)" \
        compare_l1 svm-bochs bochs-svm "$L1_SVM"

    check_async "boot: SVM test hypervisor, STGI and CLGI exit (QEMU)" \
        compare_l1 svm-qemu-no-vgif qemu-svm "$L1_SVM" "vgif=0"
    check_async "boot: SVM test hypervisor, saved and restored at every 7th exit (QEMU)" \
        compare_l1 svm-qemu-snapshot qemu-svm "$L1_SVM" "snapshot=7"

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
