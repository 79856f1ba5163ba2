#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the Linux L1: OUTDIR/vmlinuz, unmodified from Debian's package, and OUTDIR/initrd.gz with
# its KVM modules, busybox and kvm-verdict; and OUTDIR/initrd-linux.gz, which has these two files in it
# for a Linux as guest of the L1. The package is kept in OUTDIR and fetched once.
#
#   build.sh OUTDIR [KERNEL.deb]
#
# CC names the compiler (default gcc).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: build.sh OUTDIR [KERNEL.deb]" >&2
    exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
given=${2:-}
cc=${CC:-gcc}

say() {
    echo "linux-l1: $*" >&2
}

# Everything needed, each with the Debian package that has it.
missing=
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need "$cc" "$cc"
need ld binutils
need objcopy binutils
need cpio cpio
need gzip gzip
need dpkg-deb dpkg
need busybox busybox-static
[ -e /usr/include/linux/kvm.h ] || missing="$missing linux-libc-dev"
find /usr/lib -name libc.a 2>/dev/null | grep -q . || missing="$missing libc6-dev"
if command -v busybox >/dev/null 2>&1 && busybox=$(command -v busybox) &&
    LC_ALL=C ldd "$busybox" 2>&1 | grep -q '=>'; then
    missing="$missing busybox-static"
fi
if [ -n "$missing" ]; then
    say "missing packages:$(printf '%s\n' $missing | sort -u | tr '\n' ' ' | sed 's/^/ /')"
    say "install them with: apt-get install$(printf ' %s' $missing)"
    exit 1
fi

# The meta package names the real one, whose name carries the version.
fetch_package() {
    command -v apt-get >/dev/null 2>&1 || { say "no apt-get: name a KERNEL.deb"; exit 1; }
    depends() {
        apt-cache depends linux-image-cloud-amd64 2>/dev/null |
            sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
    }
    name=$(depends)
    if [ -z "$name" ]; then
        apt-get -q update >&2
        name=$(depends)
    fi
    [ -n "$name" ] || { say "apt knows no linux-image-cloud-amd64"; exit 1; }
    say "fetching $name"
    (cd "$out" && { apt-get -q download "$name" || { apt-get -q update && apt-get -q download "$name"; }; }) >&2
}

package=$given
if [ -z "$package" ]; then
    package=$(find "$out" -maxdepth 1 -name 'linux-image-*-cloud-amd64_*.deb' | sort | tail -n 1)
    if [ -z "$package" ]; then
        fetch_package
        package=$(find "$out" -maxdepth 1 -name 'linux-image-*-cloud-amd64_*.deb' | sort | tail -n 1)
    fi
fi
[ -s "$package" ] || { say "no kernel package"; exit 1; }

work=$out/work
rm -rf "$work"
mkdir -p "$work/kernel" "$work/root/bin" "$work/root/lib" "$work/root/dev" "$work/root/proc" \
    "$work/root/sys"
dpkg-deb -x "$package" "$work/kernel"
set -- "$work"/kernel/boot/vmlinuz-*
[ -s "$1" ] || { say "no kernel in $package"; exit 1; }
install -m 644 "$1" "$out/vmlinuz"

# The guest first, as plain bytes, then the program that carries it.
warnings="-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror"
# shellcheck disable=SC2086 # lists of flags
{
    $cc -std=c11 $warnings -O2 -ffreestanding -fno-pie -mcmodel=small -mno-red-zone \
        -mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
        -c "$here/guest.c" -o "$work/guest.o"
    $cc -c "$here/guest-entry.S" -o "$work/guest-entry.o"
    ld -static -nostdlib -z noexecstack --no-warn-rwx-segments --build-id=none \
        -T "$here/guest.ld" -o "$work/guest.elf" "$work/guest-entry.o" "$work/guest.o"
    objcopy -O binary "$work/guest.elf" "$work/guest.bin"
    $cc -c "$here/guest-image.S" -Wa,-I"$work" -o "$work/guest-image.o"
    $cc -std=c11 $warnings -O2 -static "$here/kvm-verdict.c" "$here/vm.c" "$work/guest-image.o" \
        -o "$work/root/bin/kvm-verdict"
}
$cc -std=gnu11 $warnings -O2 -static "$here/kvm-linux.c" -o "$work/kvm-linux"
strip "$work/root/bin/kvm-verdict" "$work/kvm-linux"

# A module ends with its signature, 12 bytes of which the last 4 are that signature's length, and a
# line of 28. Checking the signature would cost the emulated CPU more than the whole of KVM's
# start; without one the kernel loads the module and notes it as a taint.
without_signature() {
    if [ "$(tail -c 28 "$1")" != "~Module signature appended~" ]; then
        cat "$1"
        return
    fi
    # shellcheck disable=SC2046 # four numbers
    set -- "$1" $(tail -c 32 "$1" | head -c 4 | od -An -tu1)
    head -c "-$((40 + ($2 << 24) + ($3 << 16) + ($4 << 8) + $5))" "$1"
}

install -m 755 "$here/init" "$work/root/init"
install -m 755 "$busybox" "$work/root/bin/busybox"
for applet in cat cut dmesg grep head insmod mount reboot setsid sh tail uname; do
    ln -s busybox "$work/root/bin/$applet"
done
for module in irqbypass kvm kvm-intel kvm-amd; do
    found=$(find "$work/kernel/lib/modules" -name "$module.ko")
    [ -n "$found" ] || { say "no plain $module.ko in $package"; exit 1; }
    without_signature "$found" >"$work/root/lib/$module.ko"
done
# pack FILE: the root as it is now. What is compressed already is not worth another try.
pack() {
    (cd "$work/root" && find . -exec touch -h -d @0 {} + &&
        find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip "$2" >"$1"
}
pack "$out/initrd.gz" -9n
mkdir "$work/root/linux"
cp "$out/vmlinuz" "$out/initrd.gz" "$work/root/linux"
cp "$work/kvm-linux" "$work/root/bin"
pack "$out/initrd-linux.gz" -1n
rm -rf "$work"
say "$out/vmlinuz ($(wc -c <"$out/vmlinuz") bytes), $out/initrd.gz ($(wc -c <"$out/initrd.gz") bytes)"
