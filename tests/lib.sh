# SPDX-License-Identifier: MIT
# Shared by tests/run.sh, tests/parts/* and examples/run.sh: where things are, installing what is
# missing, and counting results. To be sourced by bash.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=${NVIRT_OUT:-$ROOT/out}
JOBS=${NVIRT_JOBS:-$(nproc)}
PASSED=0
FAILED=0
FAILED_NAMES=()

# Packages of Debian 12, by the part that needs them.
PACKAGES_BUILD="gcc g++ make cmake ninja-build binutils python3"
PACKAGES_UNIT="clang libclang-rt-14-dev libcmocka-dev gcovr"
PACKAGES_DOCS="doxygen git"
PACKAGES_BOOT="qemu-system-x86 bochs bochs-term bochsbios vgabios grub-common grub-pc-bin xorriso
    mtools busybox-static cpio gzip libc6-dev"
PACKAGES_LINUX="linux-headers-cloud-amd64 linux-libc-dev sparse kmod e2fsprogs"

# need_packages PACKAGE...: installs those that are missing (needs root).
need_packages() {
    local missing=()
    local package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing: ${missing[*]}"
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]}" >/dev/null
}

pass() {
    PASSED=$((PASSED + 1))
    echo "ok      $1"
}

fail() {
    FAILED=$((FAILED + 1))
    FAILED_NAMES+=("$1")
    echo "FAILED  $1${2:+: $2}"
}

# count PASSED FAILED NAME: takes over the counts of a test program that has its own.
count() {
    PASSED=$((PASSED + $1))
    FAILED=$((FAILED + $2))
    if [ "$2" -gt 0 ]; then
        FAILED_NAMES+=("$3 ($2)")
    fi
}

# check NAME COMMAND...: one result; the command's output is kept and shown when it fails.
check() {
    local name=$1 log
    shift
    log=$OUT/log/$(printf '%s' "$name" | tr -c 'A-Za-z0-9._-' '_').txt
    mkdir -p "$OUT/log"
    if "$@" >"$log" 2>&1; then
        pass "$name"
    else
        fail "$name" "see below"
        tail -n 40 "$log" | sed 's/^/        | /'
        return 1
    fi
}

# check_async NAME COMMAND...: as check, but at most JOBS of them run at once; the results appear, in
# the order of the calls, at check_wait.
ASYNC_NAMES=()
check_async() {
    local name=$1 log
    shift
    log=$OUT/log/$(printf '%s' "$name" | tr -c 'A-Za-z0-9._-' '_')
    mkdir -p "$OUT/log"
    rm -f "$log.status"
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
        wait -n
    done
    ("$@" >"$log.txt" 2>&1; echo $? >"$log.status") &
    ASYNC_NAMES+=("$name")
}

check_wait() {
    local name log
    wait
    for name in ${ASYNC_NAMES[@]+"${ASYNC_NAMES[@]}"}; do
        log=$OUT/log/$(printf '%s' "$name" | tr -c 'A-Za-z0-9._-' '_')
        if [ "$(cat "$log.status" 2>/dev/null)" = 0 ]; then
            pass "$name"
        else
            fail "$name" "see below"
            tail -n 60 "$log.txt" | sed 's/^/        | /'
        fi
    done
    ASYNC_NAMES=()
}
