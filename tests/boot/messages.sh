# SPDX-License-Identifier: MIT
# What the host says when it cannot start. To be sourced after tests/boot/boots.sh.

# host_says NAME TEXT MACHINE MEMORY OPTIONS [MODULE CMDLINE]...: its message when it cannot start.
host_says() {
    local name=$1 text=$2 machine=$3 memory=$4 options=$5
    shift 5
    boot_nested "$machine" "$BOOT/$name" 30 "$memory" "$options" "$@"
    grep -q "$text" "$BOOT/$name/e9.txt" || {
        echo "expected: $text"
        cat "$BOOT/$name/e9.txt" "$BOOT/$name/qemu.txt" 2>/dev/null
        return 1
    }
}
