#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts each fault of a list into the code that a model of interleavings runs, and demands that the
model finds it.

    tests/model/interleave_mutants.py NAME DIRECTORY
        NAME: hv_fifo or hv_direct; DIRECTORY: for the built models

Ends with `N passed, N failed`."""
import os
import subprocess
import sys

from mutants import ROOT, mutated, read_list

SOURCES = {"hv_fifo": "src/hv_enlight/fifo.c", "hv_direct": "src/hv_enlight/direct.c"}
MODEL = ["gcc", "-O1", "-std=gnu11", f"-I{ROOT}/include", f"-I{ROOT}/src", "-DNVIRT_HYPERV",
         f'-DNVI_HV_ATOMICS_MODEL="{ROOT}/tests/model/interleave_atomics.h"']


def judge(name, directory, source, mutant):
    base = os.path.join(directory, mutant["name"])
    text = mutated({name: source}, mutant)[name]
    with open(base + ".c", "w", encoding="utf-8") as file:
        file.write(text)
    source = f'-D{name.upper()}_SOURCE="{os.path.abspath(base)}.c"'
    subprocess.run(MODEL + [source, f"{ROOT}/tests/model/{name}_model.c", "-o", base], check=True)
    result = subprocess.run([base, "kill"], stdout=subprocess.PIPE, text=True, timeout=120,
                            check=False)
    return result.returncode != 0, result.stdout


def main():
    name, directory = sys.argv[1:]
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(ROOT, SOURCES[name]), encoding="utf-8") as file:
        source = file.read()
    passed = failed = 0
    for mutant in read_list(os.path.join(ROOT, f"tests/model/{name}_mutants.txt")):
        killed, output = judge(name, directory, source, mutant)
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
