#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Deletes each defence of the shadow tables in turn: the model of short histories, or the unit test that
the defence is proved by, must object.

  mutate-mmu.py [NUMBER...]    without numbers: all
"""
import concurrent.futures
import glob
import importlib.util
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = ["gcc", "-O1", "-std=gnu11", "-w", "-Iinclude", "-Isrc", "-Itests/unit/fake"]
MMU = sorted(glob.glob(os.path.join(ROOT, "src/mmu/*.c")))
EPT = sorted(glob.glob(os.path.join(ROOT, "src/ept/*.c")))
NPT = sorted(glob.glob(os.path.join(ROOT, "src/npt/*.c")))
BOTH = [os.path.join(ROOT, "src/paging/paging.c"), os.path.join(ROOT, "src/nested/vm.c")]
MODEL = os.path.join(ROOT, "tests/model/mmu_model.c")
AUDIT = os.path.join(ROOT, "tests/unit/fake/mmu_audit.c")
FAKES = [os.path.join(ROOT, "tests/unit/fake", name)
         for name in ("fake_port.c", "hw_tables.c", "mmu_audit.c")]
WRAP = "-Wl,--wrap=nvi_mmu_entry_store"


def mutants():
    """The rows of mutants_mmu.py beside this file."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mutants_mmu.py")
    spec = importlib.util.spec_from_file_location("mutants_mmu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MUTANTS


MUTANTS = mutants()


def compile_to(folder, source, extra=(), name=None):
    """@return the object file of @p source."""
    where = os.path.relpath(source, ROOT) if name is None else name
    target = os.path.join(folder, where.replace("/", "_") + "".join(extra) + ".o")
    subprocess.run([*FLAGS, "-I" + os.path.dirname(source), *extra, "-c", source, "-o", target],
                   cwd=ROOT, check=True)
    return target


class Objects:
    """Everything without a defence deleted, compiled once."""

    def __init__(self, folder, tests, pool):
        sources = MMU + EPT + NPT + BOTH + sorted(set(FAKES + [AUDIT])) + tests
        made = pool.map(lambda source: compile_to(folder, source), sources)
        npt = pool.submit(compile_to, folder, MODEL, ("-DMODEL_NPT",))
        self.of = dict(zip(sources, made))
        self.of["npt"] = npt.result()
        self.of["ept"] = compile_to(folder, MODEL)

    def program(self, parts, instead, target, more=()):
        """Links @p parts, one source's object replaced."""
        objects = [instead.get(part, self.of[part]) for part in parts]
        subprocess.run(["gcc", *objects, *more, "-o", target], check=True)


def test_of(name):
    """Source of the unit test that a row calls ept/history."""
    folder, test = name.split("/")
    return os.path.join(ROOT, "tests/unit", folder, f"test_{test}.c")


def objects_to(objects, proof, instead, folder):
    """True when the proof, with one object replaced, does not pass. proof: "ept 3 small" is a run of the
    model, "ept/history" a unit test."""
    words = proof.split()
    program = os.path.join(folder, "program")
    if len(words) > 1:
        formats = {"ept": EPT, "npt": NPT}[words[0]]
        objects.program([words[0], AUDIT, *MMU, *formats, *BOTH], instead, program, [WRAP])
    else:
        objects.program([test_of(proof), *FAKES, *MMU, *EPT, *NPT, *BOTH], instead, program,
                        ["-lcmocka"])
    try:
        return subprocess.run([program, *words[1:]], capture_output=True, timeout=60,
                              check=False).returncode != 0
    except subprocess.TimeoutExpired:
        return True


def is_noticed(objects, number):
    """True when what proves the defence fails without it."""
    file, old, new, _, proof = MUTANTS[number]
    source = os.path.join(ROOT, "src", file)
    text = open(source, encoding="utf-8").read()
    if text.count(old) != 1:
        raise SystemExit(f"mutant {number}: its text is {text.count(old)} times in {file}")
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "mutant.c")
        with open(copy, "w", encoding="utf-8") as out:
            out.write(text.replace(old, new))
        instead = {source: compile_to(folder, copy, name="mutant")}
        return objects_to(objects, proof, instead, folder)


def main():
    numbers = [int(a) for a in sys.argv[1:]] or range(len(MUTANTS))
    tests = sorted({test_of(MUTANTS[n][4]) for n in numbers if " " not in MUTANTS[n][4]})
    missed = 0
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        objects = Objects(folder, tests, pool)
        noticed = pool.map(lambda number: is_noticed(objects, number), numbers)
        for number, seen in zip(numbers, noticed):
            print(f"{'noticed' if seen else 'MISSED '} {number:2} without {MUTANTS[number][3]}"
                  f" ({MUTANTS[number][4]})")
            missed += not seen
    print(f"{len(numbers) - missed} noticed, {missed} missed")
    return missed != 0


if __name__ == "__main__":
    sys.exit(main())
