#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs nvirt's tests. Installs what is missing (Debian 12, root).
#
#   tests/run.sh [PART...]     parts: unit model fuzz checks docs linux boot bench; none: all but bench
#
# The last line is `N passed, N failed`; the exit status is 0 when none failed.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit 1

parts=("$@")
[ ${#parts[@]} -eq 0 ] && parts=(unit checks model fuzz docs linux boot)
for part in "${parts[@]}"; do
    if [ ! -f "tests/parts/$part.sh" ]; then
        echo "tests/run.sh: no part '$part' (there are: $(cd tests/parts && echo *.sh | sed 's/\.sh//g'))"
        exit 2
    fi
done

mkdir -p "$OUT"
# shellcheck disable=SC2086
need_packages $PACKAGES_BUILD || exit 1
started=$(date +%s)
for part in "${parts[@]}"; do
    part_started=$(date +%s)
    echo "== $part"
    . "tests/parts/$part.sh"
    echo "== $part took $(($(date +%s) - part_started)) s"
done
echo "== all took $(($(date +%s) - started)) s"
[ ${#FAILED_NAMES[@]} -gt 0 ] && printf 'failed: %s\n' "${FAILED_NAMES[@]}"
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
