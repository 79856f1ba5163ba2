# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Functions to boot an image on Bochs, for other scripts to source. Everything a run reads and
# writes lies in its own OUTDIR, so several runs may go on at once.

# make_iso OUT.iso KERNEL 'cmdline' [MODULE 'cmdline']...
# A GRUB CD that boots KERNEL by Multiboot 1. GRUB hands command lines on without the file name; a
# Multiboot command line begins with one, so the base name of each file is put in front.
make_iso() {
    local out=$1 kernel=$2 cmdline=${3-} work dir name n=0
    shift 3 || shift $#
    work=$(mktemp -d) || return 1
    dir=$work/tree
    mkdir -p "$dir/boot/grub"
    name=$(basename "$kernel")
    cp "$kernel" "$dir/boot/kernel" || return 1
    {
        echo 'set timeout=0'
        echo 'menuentry "boot" {'
        echo "    multiboot /boot/kernel $name $cmdline"
        while [ $# -gt 0 ]; do
            name=$(basename "$1")
            cp "$1" "$dir/boot/module$n" || return 1
            echo "    module /boot/module$n $name ${2-}"
            n=$((n + 1))
            shift 2 || shift $#
        done
        echo '    boot'
        echo '}'
    } > "$dir/boot/grub/grub.cfg"
    if ! grub-mkrescue -d /usr/lib/grub/i386-pc --locales= --fonts= --themes= \
        --install-modules="multiboot multiboot2 linux normal iso9660 biosdisk part_msdos" \
        -o "$out" "$dir" > "$work/log" 2>&1; then
        cat "$work/log" >&2
        rm -rf "$work"
        return 1
    fi
    rm -rf "$work"
}

# make_linux_iso OUT.iso VMLINUZ INITRD 'cmdline': a GRUB CD that boots Linux.
make_linux_iso() {
    local work
    work=$(mktemp -d) || return 1
    mkdir -p "$work/tree/boot/grub"
    cp "$2" "$work/tree/boot/vmlinuz" && cp "$3" "$work/tree/boot/initrd.gz" || return 1
    printf 'set timeout=0\nlinux /boot/vmlinuz %s\ninitrd /boot/initrd.gz\nboot\n' "$4" \
        > "$work/tree/boot/grub/grub.cfg"
    grub-mkrescue -d /usr/lib/grub/i386-pc --locales= --fonts= --themes= \
        --install-modules="linux normal iso9660 biosdisk part_msdos" \
        -o "$1" "$work/tree" > "$work/log" 2>&1 || {
        cat "$work/log" >&2
        rm -rf "$work"
        return 1
    }
    rm -rf "$work"
}

# bochs_run OUTDIR MODEL TIMEOUT ISO [MEMORY_MB]
# Runs ISO on CPU model MODEL for at most TIMEOUT seconds. COM1 goes to OUTDIR/serial.txt, port
# 0xE9 to OUTDIR/e9.txt, Bochs's own log to OUTDIR/bochs.log. Returns 0 when the guest ended the run
# through port 0x8900, 2 on a triple fault, 124 on the time limit, 1 otherwise. BOCHS_EXTRA may hold
# more lines of configuration, BOCHS_COMMANDS what the debugger is told instead of "c".
bochs_run() {
    local outdir=$1 model=$2 limit=$3 iso=$4 memory=${5:-512} rc
    mkdir -p "$outdir" || return 1
    iso=$(realpath "$iso")
    rm -f "$outdir"/{serial.txt,e9.txt,bochs.log,stdout.txt}
    cat > "$outdir/bochsrc" <<RC
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=1, gameport=0
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=$memory, host=$memory
romimage: file="/usr/share/bochs/BIOS-bochs-latest"
vgaromimage: file="/usr/share/bochs/VGABIOS-lgpl-latest"
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path="$iso", status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$outdir/serial.txt
port_e9_hack: enabled=1
cpu: model=$model, count=1, ips=50000000, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync=none
log: $outdir/bochs.log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
${BOCHS_EXTRA:-}
RC
    printf '%s\n' "${BOCHS_COMMANDS:-c}" > "$outdir/rc"
    bochs_once "$outdir" "$limit"
    rc=$?
    if [ "$rc" -eq "$SEGMENTATION_FAULT" ]; then
        # Seen of Bochs 2.7 before any guest had run. A guest that makes it die does so again.
        echo "bochs: the emulator died of a segmentation fault; run once more"
        bochs_once "$outdir" "$limit"
        rc=$?
    fi
    bochs_extract_e9 "$outdir"
    if grep -q 'Shutdown port: shutdown requested' "$outdir/bochs.log" 2> /dev/null; then
        return 0
    elif grep -q '3rd (' "$outdir/bochs.log" 2> /dev/null; then
        return 2
    elif [ "$rc" -eq 124 ]; then
        return 124
    fi
    return 1
}

# Exit status of a program that died of SIGSEGV.
SEGMENTATION_FAULT=139

# bochs_once OUTDIR TIMEOUT: one run of what bochs_run prepared; the emulator's exit status.
bochs_once() {
    : > "$1/serial.txt"
    (cd "$1" && exec timeout "$2" bochs-bin -q -f bochsrc -rc rc) \
        < /dev/null > "$1/stdout.txt" 2>&1 &
    bochs_wait $! "$1"
}

# bochs_wait PID OUTDIR: waits for the emulator, and ends it early on a triple fault, after which
# Bochs would idle until the time limit.
bochs_wait() {
    while kill -0 "$1" 2> /dev/null; do
        if grep -q '3rd (' "$2/bochs.log" 2> /dev/null; then
            sleep 0.5
            kill "$1" 2> /dev/null
            break
        fi
        sleep 0.2
    done
    wait "$1"
}

# bochs_extract_e9 OUTDIR: port 0xE9 shares Bochs's standard output with its banner; keep what
# stands between the debugger's first prompt and the exit message, without the lines in which the
# debugger notes a CPU shutdown (a triple fault of L2 is one).
bochs_extract_e9() {
    awk '/^Next at t=0/ { seen = 1; next }
         seen == 1 && /^\(0\) \[/ { seen = 2; next }
         seen == 2 && /^=+$/ { held = $0; getline
             if ($0 ~ /^Bochs is exiting/) exit
             print held }
         seen == 2 && /^\([0-9]+\)\.\[[0-9]+\] / { next }
         seen == 2' "$1/stdout.txt" > "$1/e9.txt"
}
