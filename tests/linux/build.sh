#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds what the driver's tests boot: OUTDIR/vmlinuz, Debian's, and OUTDIR/initrd.gz with busybox,
# nvirt.ko for that kernel, KVM's modules (as the other owner of the hardware), linux-run and the test
# program, and L1 images.
#
#   build.sh OUTDIR KERNEL.deb L1-IMAGE...
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$1
package=$2
shift 2
cc=${CC:-gcc}
work=$out/work

rm -rf "$work"
mkdir -p "$work/kernel" "$work/tree/bin" "$work/tree/lib" "$work/tree/dev" "$work/tree/proc" \
    "$work/tree/sys" "$work/tree/l1"
dpkg-deb -x "$package" "$work/kernel"
version=$(basename "$work"/kernel/lib/modules/*)
install -m 644 "$work/kernel/boot/vmlinuz-$version" "$out/vmlinuz"

# W=1: the kernel's further warnings; C=2: sparse. Both are errors here.
make -C "$root/ports/linux" KDIR="/usr/src/linux-headers-$version" BUILD="$out/module" W=1 C=2 \
    >"$out/module.log" 2>&1 || { cat "$out/module.log"; exit 1; }
if grep -E 'warning:|error:' "$out/module.log"; then
    echo "the module does not build without warnings"
    exit 1
fi

# A kernel that it is not for is told so.
if make -C "$root/ports/linux" KDIR="/usr/src/linux-headers-$version" BUILD="$out/module-rt" CONFIG_PREEMPT_RT=y \
    >"$out/module-rt.log" 2>&1 || ! grep -q 'nvirt is not for kernels with PREEMPT_RT' "$out/module-rt.log"; then
    cat "$out/module-rt.log"
    echo "the module builds for PREEMPT_RT"
    exit 1
fi

warnings="-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror"
# shellcheck disable=SC2086 # lists of flags
{
    $cc -std=gnu11 -D_GNU_SOURCE $warnings -O2 -static -pthread -I"$root/ports/linux" \
        -I"$root/include" "$here/driver-test.c" "$here/driver-cpu.c" "$here/driver-machine.c" "$here/driver-memory.c" "$here/driver-host.c" \
        -o "$work/tree/bin/driver-test"
    if [ -d "$root/examples/linux-run" ]; then
        make -C "$root/examples/linux-run" -s BUILD="$work/tree/bin/linux-run"
        make -C "$root/examples/linux-run" -s BUILD="$work/tree/bin/linux-shake" \
            EXTRA="$here/shake.c -Wl,--wrap=interrupts_offer,--wrap=sys_now"
    fi
}
strip "$work"/tree/bin/*

strip -g -o "$work/tree/lib/nvirt.ko" "$out/module/nvirt.ko"
for module in irqbypass kvm kvm-intel kvm-amd zsmalloc lzo-rle zram; do
    strip -g -o "$work/tree/lib/$module.ko" "$(find "$work/kernel/lib/modules" -name "$module.ko")"
done
for image in "$@"; do
    strip -g -o "$work/tree/l1/$(basename "$image")" "$image"
done
# A file system that keeps track of its dirty pages, for memory of a guest's out of a file.
mke2fs -qF -t ext4 -b 4096 -O ^has_journal "$work/tree/ext4" 4M
install -m 755 "$here/init" "$work/tree/init"
install -m 755 "$(command -v busybox)" "$work/tree/bin/busybox"
for applet in awk cat cmp cut dmesg echo grep head insmod kill ls mkswap mount rm rmmod sed seq sh \
    sleep swapon sync tail truncate umount taskset tr usleep; do
    ln -s busybox "$work/tree/bin/$applet"
done
(cd "$work/tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -n >"$out/initrd.gz"
rm -rf "$work"
