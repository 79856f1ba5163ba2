#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Deletes each entry check in turn and demands that a unit test which names it fails.

Every check is one NVIRT_RULE(NAME, condition) in src/. In a copy of the sources the macro is made to
skip the one rule whose number the environment names; the unit tests of the checks are built once
against that copy and then run once per rule. A rule that can be skipped without its own test failing
is a survivor. Ends with a line "N passed, N failed"; exit status 1 when there are survivors."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# For each vendor: the file that defines NVIRT_RULE, the rows, the enum's prefix, the sources of the
# checks and what they need, and the tests (each linked with those sources).
VENDORS = [
    {
        "macro": "src/vmcs/check.h",
        "rules": "src/vmcs/rules.def",
        "sources": ["src/vmcs/check.c", "src/vmcs/check_execution.c",
                    "src/vmcs/check_exit_entry.c", "src/vmcs/check_host.c",
                    "src/vmcs/check_guest_registers.c", "src/vmcs/check_guest_segments.c",
                    "src/vmcs/check_guest_rest.c", "src/vmcs/caps.c", "src/vmcs/field.c"],
        "tests": ["tests/unit/vmcs/test_check_execution.c",
                  "tests/unit/vmcs/test_check_exit_entry.c", "tests/unit/vmcs/test_check_host.c",
                  "tests/unit/vmcs/test_check_guest_registers.c",
                  "tests/unit/vmcs/test_check_guest_segments.c",
                  "tests/unit/vmcs/test_check_guest_rest.c"],
    },
    {
        "macro": "src/vmcb/check.c",
        "rules": "src/vmcb/rules.def",
        "sources": sorted(os.path.relpath(path, ROOT)
                          for path in glob.glob(os.path.join(ROOT, "src/vmcb/*.c"))),
        "tests": ["tests/unit/vmcb/test_check.c"],
    },
]
CONDITION = "if (!(holds)) {"
HOOK = "if (NVI_RULE_##name != nvi_skipped_rule() && !(holds)) {"
HOOK_SOURCE = """#include <stdlib.h>
int nvi_skipped_rule(void);
int nvi_skipped_rule(void)
{
    static int number = -1;
    const char *text = getenv("NVI_SKIPPED_RULE");
    if (number < 0)
        number = text != NULL ? atoi(text) : 0;
    return number;
}
"""
FLAGS = ["-std=gnu11", "-O1", "-w", "-include", "nvi_skipped_rule.h"]


def rule_names(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    return re.findall(r"NVI_\w+_RULE\(\s*(\w+)\s*,", text)


def instrument(copy, path):
    """Makes the macro ask which rule to skip."""
    name = os.path.join(copy, path)
    with open(name, encoding="utf-8") as file:
        text = file.read()
    # The macro's lines end in padding and a backslash.
    pattern = re.escape(CONDITION) + r"( *)\\"
    if len(re.findall(pattern, text)) != 1:
        sys.exit(f"{path}: NVIRT_RULE is not written as expected")
    with open(name, "w", encoding="utf-8") as file:
        file.write(re.sub(pattern, lambda _: HOOK + " \\", text))


def compile_one(copy, source):
    target = os.path.join(copy, source.replace("/", "_") + ".o")
    includes = ["-I" + copy, "-I" + os.path.join(copy, "src"),
                "-I" + os.path.join(ROOT, "include"), "-I" + os.path.join(ROOT, "tests/unit/fake"),
                "-I" + os.path.join(ROOT, os.path.dirname(source))]
    path = os.path.join(copy if source.startswith("src/") else ROOT, source)
    if not os.path.exists(path):
        path = os.path.join(copy, source)
    subprocess.run(["cc", *FLAGS, *includes, "-c", path, "-o", target], check=True)
    return target


def build(copy, vendor, pool):
    """Returns the tests as executables, which differ only by the environment they run in."""
    instrument(copy, vendor["macro"])
    objects = pool.map(lambda s: compile_one(copy, s),
                       vendor["sources"] + ["nvi_skipped_rule.c"] + vendor["tests"])
    objects = list(objects)
    shared, tests = objects[:-len(vendor["tests"])], objects[-len(vendor["tests"]):]

    def link(test):
        subprocess.run(["cc", test, *shared, "-lcmocka", "-o", test + ".run"], check=True)
        return test + ".run"
    return list(pool.map(link, tests))


def test_functions(paths):
    """Text of each test function, by name."""
    bodies = {}
    for path in paths:
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            text = file.read()
        for match in re.finditer(r"^static void (\w+)\(.*?^}", text, flags=re.S | re.M):
            bodies[match.group(1)] = match.group(0)
    return bodies


def failures(program, number):
    """Names of the test functions that fail when rule @number is skipped (0: none is)."""
    environment = dict(os.environ, NVI_SKIPPED_RULE=str(number), CMOCKA_MESSAGE_OUTPUT="stdout")
    result = subprocess.run([program], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    failed = set(re.findall(r"\[  FAILED  \] (?:tests: )?(\w+)", result.stdout))
    return failed, result.returncode


def main():
    passed, survivors = 0, []
    copy = tempfile.mkdtemp(prefix="nvirt-mutate-")
    try:
        shutil.copytree(os.path.join(ROOT, "src"), os.path.join(copy, "src"))
        with open(os.path.join(copy, "nvi_skipped_rule.c"), "w", encoding="utf-8") as file:
            file.write(HOOK_SOURCE)
        with open(os.path.join(copy, "nvi_skipped_rule.h"), "w", encoding="utf-8") as file:
            file.write("int nvi_skipped_rule(void);\n")
        with ThreadPoolExecutor(2) as pool:
            for vendor in VENDORS:
                programs = build(copy, vendor, pool)
                for program in programs:
                    failed, status = failures(program, 0)
                    if failed or status != 0:
                        sys.exit(f"{program}: fails with every rule in place")
                names = rule_names(vendor["rules"])
                bodies = test_functions(vendor["tests"])

                def judge(item):
                    number, name = item
                    failed, broken = set(), False
                    for program in programs:
                        names_of_failed, status = failures(program, number)
                        failed |= names_of_failed
                        broken |= status != 0
                    # The test that fails must be the rule's own: it bears or contains its name.
                    own = any(name.lower() == test or re.search(rf"{name}\b", bodies.get(test, ""))
                              for test in failed)
                    return name, broken and own, failed
                for name, caught, failed in pool.map(judge, enumerate(names, start=1)):
                    if caught:
                        passed += 1
                    else:
                        survivors.append(name)
                        others = ", ".join(sorted(failed)) or "no test"
                        print(f"survivor: {name} can be deleted; failing then: {others}")
    finally:
        shutil.rmtree(copy)
    print(f"{passed} passed, {len(survivors)} failed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
