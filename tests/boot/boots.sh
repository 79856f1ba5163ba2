# SPDX-License-Identifier: MIT
# Booting images on the three emulated machines, bare or under the example host. To be sourced after
# tests/lib.sh. A machine is one of:
#   bochs-vmx   Bochs, Intel (model tigerlake)
#   bochs-vmx-old  Bochs, an Intel CPU of 2010: EPT, VPID and unrestricted guest, nothing of later
#   bochs-svm   Bochs, AMD (model ryzen)
#   qemu-svm    QEMU TCG, AMD
#   qemu-svm-smp2  the same with two CPUs
# shellcheck source=/dev/null
. "$ROOT/tests/boot/lib-bochs.sh"
. "$ROOT/tests/boot/lib-qemu.sh"

IMAGES=$OUT/images
BOOT=$OUT/boot
HOST_ELF=$IMAGES/examples/baremetal-host/nvirt-host.elf
L1_VMX=$IMAGES/tests/guests/l1-vmx.elf
L1_SVM=$IMAGES/tests/guests/l1-svm.elf
LINUX_L1=$OUT/linux-l1

build_images() {
    cmake -S "$ROOT" -B "$IMAGES" -G Ninja -DNVIRT_BAREMETAL=ON -DCMAKE_BUILD_TYPE=Release \
        -DNVIRT_PORT_HOT_HEADER="$ROOT/ports/baremetal/nvirt_hot.h" &&
        cmake --build "$IMAGES" -j "$JOBS"
}

build_linux() {
    "$ROOT/examples/linux-l1/build.sh" "$LINUX_L1"
}

# The CPU model of a Bochs machine.
bochs_model() {
    case $1 in
    bochs-vmx) echo tigerlake ;;
    bochs-vmx-old) echo corei5_arrandale_m520 ;;
    bochs-svm) echo ryzen ;;
    *) return 1 ;;
    esac
}

# QEMU splits -initrd at single commas: double those inside an argument.
qemu_escape() {
    printf '%s' "${1//,/,,}"
}

# boot_multiboot MACHINE OUTDIR TIMEOUT MEMORY_MB KERNEL CMDLINE [MODULE CMDLINE]...
# Serial output goes to OUTDIR/serial.txt, port 0xE9 to OUTDIR/e9.txt. Command lines are without the
# program's name: the loaders put it in front.
boot_multiboot() {
    local machine=$1 outdir=$2 limit=$3 memory=$4 kernel=$5 cmdline=$6 modules=""
    shift 6
    rm -rf "$outdir"
    mkdir -p "$outdir"
    if [ "${machine#qemu-svm}" != "$machine" ]; then
        local -a QEMU_EXTRA=()
        [ "$machine" = qemu-svm-smp2 ] && QEMU_EXTRA=(-smp 2)
        while [ $# -gt 0 ]; do
            modules+="${modules:+,}$(qemu_escape "$1")${2:+ $(qemu_escape "$2")}"
            shift 2
        done
        qemu_run "$outdir" "$limit" "$kernel" "$cmdline" "$modules" "$memory"
    else
        make_iso "$outdir/boot.iso" "$kernel" "$cmdline" "$@" || return 1
        bochs_run "$outdir" "$(bochs_model "$machine")" "$limit" "$outdir/boot.iso" "$memory"
    fi
    local status=$?
    rm -f "$outdir/boot.iso"
    return "$status"
}

# boot_nested MACHINE OUTDIR TIMEOUT MEMORY_MB HOST_OPTIONS MODULE CMDLINE [MODULE CMDLINE]...
boot_nested() {
    local machine=$1 outdir=$2 limit=$3 memory=$4 options=$5
    shift 5
    boot_multiboot "$machine" "$outdir" "$limit" "$memory" "$HOST_ELF" "$options" "$@"
}

# The kernel command line that every run of the Linux L1 uses.
LINUX_CMDLINE=$(cat "$ROOT/examples/linux-l1/cmdline")

# boot_linux_nested MACHINE OUTDIR TIMEOUT EXTRA_CMDLINE [HOST_OPTIONS]
# With nvirt.linux among the extra words the guest of its KVM is Linux, too, which takes more memory.
boot_linux_nested() {
    local memory=512 initrd=$LINUX_L1/initrd.gz
    case " $4 " in *" nvirt.linux "*) memory=1024 initrd=$LINUX_L1/initrd-linux.gz ;; esac
    boot_nested "$1" "$2" "$3" "$memory" "stats=1 ${5:-}" \
        "$LINUX_L1/vmlinuz" "$LINUX_CMDLINE $4" "$initrd" ""
}
