#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Puts each fault of mutants.txt into the flush-decision engine and demands that the model checker
finds a history that shows it.

    tests/model/mutants.py DIRECTORY [NAME...]     DIRECTORY: for the built models

A mutant is a change of source text, applied to a copy; the engine itself knows nothing of it. The
text must occur exactly once in its files, so that a list which no longer fits the engine is an
error and not a pass.
Prints the history of each mutant and ends with `N passed, N failed`."""
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADER = "include/nvirt/tlbflush.h"
FILES = ["src/tlbflush/tlbflush.c", "src/tlbflush/entry.c", "src/tlbflush/domain.c",
         "src/hv_enlight/flush_due.c", "src/hv_enlight/fifo.c", HEADER]
# As few as the models look at, so that copying an engine costs little.
SIZES = ["-DNVIRT_TLB_MAX_CPUS=2u", "-DNVIRT_TLB_MAX_TAGS=2u", "-DNVIRT_TLB_MAX_ADDRESSES=2u"]
LIMIT_S = 120


def read_list(path):
    """Blocks of `mutant NAME`, `class TEXT`, `model FILE`, perhaps `universe NAME` where others
    would take long, or `needless NAME` where that universe shows that an operation is not needed
    (else: that something is unsound), and `- old` / `+ new` lines."""
    mutants = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("mutant "):
                mutants.append({"name": line[7:], "old": [], "new": [], "class": "", "universe": [],
                                "needless": False})
            elif line.startswith("class "):
                mutants[-1]["class"] = line[6:]
            elif line.startswith("model "):
                mutants[-1]["model"] = line[6:]
            elif line.startswith("universe "):
                mutants[-1]["universe"] = [line[9:]]
            elif line.startswith("needless "):
                mutants[-1]["universe"] = [line[9:]]
                mutants[-1]["needless"] = True
            elif line.startswith("-"):
                mutants[-1]["old"].append(line[2:])
            elif line.startswith("+"):
                mutants[-1]["new"].append(line[2:])
            elif line and not line.startswith("#"):
                sys.exit(f"{path}: not understood: {line}")
    return mutants


def mutated(sources, mutant):
    """The engine's files, one of them changed."""
    old, new = "\n".join(mutant["old"]), "\n".join(mutant["new"])
    found = [name for name, text in sources.items() for _ in range(text.count(old))]
    if len(found) != 1:
        sys.exit(f"mutant {mutant['name']}: its text occurs {len(found)} times")
    return {name: text.replace(old, new) if name == found[0] else text
            for name, text in sources.items()}


def compile_with(*arguments):
    subprocess.run(["gcc", "-std=c11", *SIZES, *arguments, f"-I{ROOT}/include", f"-I{ROOT}/src"],
                   check=True)


def run_model(program, model, mutant, sources):
    """The output of a model linked with the mutated engine; its last line, when found: `killed`."""
    command = mutant["universe"] if mutant["needless"] else ["kill", *mutant["universe"]]
    compile_with("-O1", *sources, *model, "-o", program)
    try:
        output = subprocess.run([program, *command], stdout=subprocess.PIPE, text=True,
                                timeout=LIMIT_S, check=False).stdout
        if mutant["needless"]:
            found = "ok: sound" in output and "FAILED: minimal" in output
            output = re.sub(r"(?s).*(?=^  not needed)|^FAILED: minimal.*", "", output, flags=re.M)
            output += "killed\n" if found else ""
        return output
    except subprocess.TimeoutExpired:
        return "out of time\n"
    finally:
        os.remove(program)


def copy_of(base, name):
    return os.path.join(base, "nvirt", os.path.basename(name))


def judge(directory, sources, mutant):
    base = os.path.join(directory, mutant["name"])
    changed = mutated(sources, mutant)
    os.makedirs(os.path.join(base, "nvirt"), exist_ok=True)
    for name, text in changed.items():
        with open(copy_of(base, name), "w", encoding="utf-8") as file:
            file.write(text)
    # A model is built once, unless what it includes has changed.
    model = [os.path.join(directory, mutant["model"] + ".o")]
    if changed[HEADER] != sources[HEADER]:
        model = [f"-I{base}", f"{ROOT}/tests/model/{mutant['model']}.c"]
    files = [copy_of(base, name) for name in FILES if name != HEADER]
    output = run_model(os.path.join(base, "model"), model, mutant, files)
    shutil.rmtree(base)
    return output


def main():
    directory = sys.argv[1]
    os.makedirs(directory, exist_ok=True)
    mutants = read_list(os.path.join(ROOT, "tests/model/mutants.txt"))
    wanted = sys.argv[2:]
    if wanted:
        mutants = [m for m in mutants if m["name"] in wanted]
    sources = {}
    for name in FILES:
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            sources[name] = file.read()
    for model in {mutant["model"] for mutant in mutants}:
        compile_with("-O2", "-c", f"{ROOT}/tests/model/{model}.c", "-o",
                     os.path.join(directory, model + ".o"))
    passed = failed = 0
    with ThreadPoolExecutor(2) as pool:
        outputs = pool.map(lambda m: judge(directory, sources, m), mutants)
        for mutant, output in zip(mutants, outputs):
            killed = re.search(r"^killed$", output, flags=re.M) is not None
            print(f"{'ok: killed' if killed else 'FAILED: survives'}: {mutant['name']}"
                  f" ({mutant['class']})")
            for line in output.splitlines():
                if line != "killed":
                    print(f"    {line}")
            passed += killed
            failed += not killed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
