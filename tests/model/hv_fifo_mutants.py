#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts each fault of hv_fifo_mutants.txt into the flush queue and demands that its model finds it.

    tests/model/hv_fifo_mutants.py DIRECTORY     DIRECTORY: for the built models

Ends with `N passed, N failed`."""
import os
import subprocess
import sys

from mutants import ROOT, mutated, read_list

SOURCE = "src/hv_enlight/fifo.c"
MODEL = ["gcc", "-O1", "-std=gnu11", f"-I{ROOT}/include", f"-I{ROOT}/src",
         f'-DNVI_HV_ATOMICS_MODEL="{ROOT}/tests/model/hv_fifo_model.h"',
         f"{ROOT}/tests/model/hv_fifo_model.c"]


def judge(directory, source, mutant):
    base = os.path.join(directory, mutant["name"])
    text = mutated({SOURCE: source}, mutant)[SOURCE]
    with open(base + ".c", "w", encoding="utf-8") as file:
        file.write(text)
    source = f'-DHV_FIFO_SOURCE="{os.path.abspath(base)}.c"'
    subprocess.run(MODEL + [source, "-o", base], check=True)
    result = subprocess.run([base, "kill"], stdout=subprocess.PIPE, text=True, timeout=120,
                            check=False)
    return result.returncode != 0, result.stdout


def main():
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(ROOT, SOURCE), encoding="utf-8") as file:
        source = file.read()
    passed = failed = 0
    for mutant in read_list(os.path.join(ROOT, "tests/model/hv_fifo_mutants.txt")):
        killed, output = judge(directory, source, mutant)
        verdict = "ok: killed" if killed else "FAILED: survives"
        print(f"{verdict}: {mutant['name']} ({mutant['class']})")
        for line in output.splitlines():
            if " states: " in line:
                print(f"    {line}")
        passed += killed
        failed += not killed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
