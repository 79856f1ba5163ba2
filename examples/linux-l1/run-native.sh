#!/bin/sh
# SPDX-License-Identifier: MIT
# Boots the Linux L1 that build.sh made on a bare emulated CPU, with no hypervisor below it: the
# baseline for the same run under nvirt.
#
#   run-native.sh OUTDIR qemu|bochs [WORD...]     WORDs go to the kernel, e.g. nvirt.npt=0
#
# MEM is the machine's memory in MiB (default 256), LIMIT the time limit in seconds (default 300).
# Prints L1's console; succeeds when it holds VERDICT: PASS.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 2 ]; then
    echo "usage: run-native.sh OUTDIR qemu|bochs [WORD...]" >&2
    exit 2
fi
out=$(cd "$1" && pwd)
emulator=$2
shift 2
mem=${MEM:-256}
limit=${LIMIT:-300}
words="$(cat "$here/cmdline") $*"
run=$(mktemp -d "$out/native-$emulator.XXXXXX")
trap 'rm -rf "$run"' EXIT

run_qemu() {
    timeout "$limit" qemu-system-x86_64 -nodefaults -machine q35,accel=tcg -cpu max,+svm,+npt,-cx16 \
        -m "$mem" -display none -vga none -serial "file:$run/serial.txt" -no-reboot \
        -device isa-debug-exit,iobase=0xf4,iosize=0x4 -icount shift=0,sleep=off \
        -kernel "$out/vmlinuz" -initrd "$out/initrd.gz" -append "$words" </dev/null >&2 || :
}

run_bochs() {
    mkdir -p "$run/cd/boot/grub"
    ln "$out/vmlinuz" "$run/cd/boot/vmlinuz"
    ln "$out/initrd.gz" "$run/cd/boot/initrd.gz"
    printf 'set timeout=0\nlinux /boot/vmlinuz %s\ninitrd /boot/initrd.gz\nboot\n' "$words" \
        >"$run/cd/boot/grub/grub.cfg"
    grub-mkrescue -d /usr/lib/grub/i386-pc --locales= --fonts= --themes= \
        --install-modules="linux normal iso9660 biosdisk part_msdos" \
        -o "$run/boot.iso" "$run/cd" >"$run/mkrescue.log" 2>&1 || {
        cat "$run/mkrescue.log" >&2
        exit 1
    }
    sed -e "s/@MEM@/$mem/g" >"$run/bochsrc" <<'CONFIG'
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=1, gameport=0
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=@MEM@, host=@MEM@
romimage: file="/usr/share/bochs/BIOS-bochs-latest"
vgaromimage: file="/usr/share/bochs/VGABIOS-lgpl-latest"
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="boot.iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
port_e9_hack: enabled=1
cpu: model=tigerlake, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync=none
log: bochs.log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
CONFIG
    echo c >"$run/rc"
    (cd "$run" && timeout "$limit" bochs-bin -q -f bochsrc -rc rc </dev/null >console.txt 2>&1) || :
    echo "bochs: $(tail -n 1 "$run/bochs.log" | sed 's/^0*\([0-9]*\).*/\1/') instructions" >&2
}

started=$(date +%s)
case $emulator in
qemu) run_qemu ;;
bochs) run_bochs ;;
*)
    echo "run-native.sh: no emulator $emulator" >&2
    exit 2
    ;;
esac
cat "$run/serial.txt"
echo "$emulator $*: $(($(date +%s) - started)) s" >&2
grep -q '^VERDICT: PASS' "$run/serial.txt"
