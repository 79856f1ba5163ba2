#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes docs/spec-coverage.md: from the rule tables (src/*/rules.def) every rule of the manuals that
nvirt checks by name, the section it comes from, and the test that proves it; from docs/spec-vmx.txt and
docs/spec-svm.txt every rule of the chapters on VMX and on SVM with its code and its tests; from the table
of src/vmcs/reflect.c whose each exit is. With --check, only compares: exit status 1 when the file is out
of date, a rule has no test, or names code or a test that is not there."""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUTPUT = os.path.join(ROOT, "docs", "spec-coverage.md")


def rows(path):
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    pattern = r'NV\w*RULE\w*\(\s*(\w+)\s*,((?:\s*"(?:[^"\\]|\\.)*"\s*,?|\s*\w+\s*,)+)\s*\)'
    for match in re.finditer(pattern, text):
        arguments = re.findall(r'((?:"(?:[^"\\]|\\.)*"\s*)+)', match.group(2))
        strings = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', part)) for part in arguments]
        yield match.group(1), strings


def tests_text():
    text = ""
    for path in glob.glob(os.path.join(ROOT, "tests", "unit", "**", "*.[ch]"), recursive=True):
        with open(path, encoding="utf-8") as file:
            text += file.read()
    return text


def read(*parts):
    with open(os.path.join(ROOT, *parts), encoding="utf-8") as file:
        return file.read()


class Chapters:
    """The rows of a docs/spec-*.txt, and what is wrong with them."""

    def __init__(self, text, guest, unit_tests):
        self.lines, self.broken, self.count, self.excused = [], [], 0, 0
        self.unit_tests = unit_tests
        self.guests = "".join(open(path, encoding="utf-8").read() for path in
                              glob.glob(os.path.join(ROOT, "tests", "guests", guest, "*.c")))
        self.boots = read("tests", "parts", "boot.sh")
        for line in read("docs", text).splitlines():
            if line.startswith("== "):
                self.lines += ["", f"### {line[3:]}"]
            elif line.startswith("= "):
                self.lines += ["", f"#### {line[2:]}", "", "| rule | code | tests |", "|---|---|---|"]
            elif line and not line.startswith("#"):
                self.rule(*[part.strip() for part in line.split(" | ")])

    def rule(self, text, code, tests):
        self.count += 1
        if code == "-":
            self.excused += 1
            self.lines.append(f"| {text} | none | {tests} |")
            return
        places = [place.split() for place in code.split(", ")]
        for file, function in places:
            if not re.search(rf"\b{function}\(", read("src", file)):
                self.broken.append(f"{function} in src/{file}")
        self.broken += [test for test in tests.split() if not self.has_test(test)]
        shown = "<br>".join(f"`{function}` in {file}" for file, function in places)
        self.lines.append(f"| {text} | {shown} | {' '.join(f'`{t}`' for t in tests.split())} |")

    def has_test(self, test):
        kind, _, name = test.rpartition(":")
        if kind == "guest":
            return re.search(rf't_group\("{name}|check_group\("{name}|{{"{name}", test_', self.guests)
        if kind == "boot":
            return f"linux-{name}" in self.boots
        return f"static void {name}(" in self.unit_tests


OWNERS = {"ALWAYS_L1": "L1", "ALWAYS_L0": "L0",
          "TABLES": "L1 where its EPT refuses the access, else L0"}
SPECIAL = {
    "EXCEPTION_NMI": "L1 by its exception bitmap and page-fault match; an NMI that L0 takes is L0's",
    "EXTERNAL_INTERRUPT": "L0 where L0 takes interrupts, else L1",
    "VMREAD": "L1 but for a field that its VMREAD bitmap lets pass, which nvirt reads",
    "VMWRITE": "L1 but for a field that its VMWRITE bitmap lets pass, which nvirt writes",
    "CR_ACCESS": "L1 by masks and read shadows, CR3 targets, CR3 and CR8 controls, else L0",
    "IO": "L1 by its I/O bitmaps or unconditional I/O exiting, else L0",
    "RDMSR": "L1 without MSR bitmaps, outside their ranges, or by the bit, else nvirt or L0",
    "WRMSR": "L1 without MSR bitmaps, outside their ranges, or by the bit, else nvirt or L0",
    "MTF": "L1 with PROC_MTF or an injected event of that kind, else L0",
    "PAUSE": "L1 with PROC_PAUSE, or with PROC2_PAUSE_LOOP where L0 has no PAUSE exiting, else L0",
    "ENCLS": "L1 with PROC2_ENCLS by the bit of the leaf, else L0",
    "ENCLV": "L1 with PROC2_ENCLV by the bit of the leaf, else L0",
    "PCONFIG": "L1 with PROC2_PCONFIG by the bit of the leaf, else L0",
    "ENTRY_GUEST_STATE": "no exit: an entry that failed, told to L1 as hardware tells it",
    "ENTRY_MSR_LOAD": "no exit: an entry that failed, by nvirt's look at the list",
    "ENTRY_MACHINE_CHECK": "no exit: an entry that failed, told to L1 as hardware tells it",
    "EPT_VIOLATION": "L1 where its EPT refuses the access, with PML_FULL where its log is full; L0 where L0 has "
                     "no memory; else filled in",
    "BUS_LOCK": "L0, whose control it is", "INSTRUCTION_TIMEOUT": "L0, whose control it is",
    "PML_FULL": "made by nvirt for L1; hardware has no log while L2 runs",
}
UNKNOWN = "L0: nothing that could cause it is offered"


def exit_table():
    """One row per number that has a name, whose the exit is, and under which controls of vmcs12."""
    header, code = read("include", "nvirt", "vmcs.h"), read("src", "vmcs", "reflect.c")
    rows_of = {name: (kind, mask) for name, kind, mask in
               re.findall(r"\[NVIRT_VMX_EXIT_(\w+)\]\s*=\s*\{(\w+),\s*([^}]+?)\s*\}", code)}
    table = ["", "## Whose each exit of L2 is", "",
             "From `rules[]` in `src/vmcs/reflect.c`, looked at after what comes first: exits that nvirt makes",
             "for itself, VMFUNC that is carried out. An exit that is L1's has the qualification, the",
             "instruction information, the length and the events that the manual defines for the reason",
             "(`src/nested/vmx_leave.c`), and 0 where it defines none. Numbers without a row, to FFFFH, are",
             "L0's as well (`test_every_exit_reason_has_an_owner`).", "",
             "| reason | name | whose |", "|---|---|---|"]
    for name, number in re.findall(r"NVIRT_VMX_REASON\((\w+), (\d+)\)", header):
        kind, mask = rows_of.pop(name, ("UNKNOWN", "0"))
        owner = SPECIAL.get(name) or OWNERS.get(kind) or (UNKNOWN if kind == "UNKNOWN" else
                                     "L1 with " + " or ".join(re.findall(r"NVIRT_VMX_(\w+)", mask)) + ", else L0")
        if kind == "SPECIAL" and name not in SPECIAL:
            sys.exit(f"say here whose an exit for {name} is")
        table.append(f"| {number} | {name} | {owner} |")
    if rows_of:
        sys.exit("reflect.c has rows of reasons that vmcs.h has not: " + " ".join(rows_of))
    return table


def main():
    proofs = tests_text()
    vmx = Chapters("spec-vmx.txt", "vmx", proofs)
    svm = Chapters("spec-svm.txt", "svm", proofs)
    lines = [
        "# Rules of the manuals",
        "",
        "Generated by `docs/spec-coverage.py` from the rule tables in `src/*/rules.def`. Each rule is a",
        "named check in the code, appears under this name in the trace, and has a unit test that fails",
        "when the check is deleted (`tests/checks/mutate-rules.py`).",
    ]
    missing = []
    for path in sorted(glob.glob(os.path.join(ROOT, "src", "*", "rules.def"))):
        found = list(rows(path))
        lines += ["", f"## {os.path.relpath(path, ROOT)} ({len(found)} rules)", "",
                  "| rule | manual | what must hold |", "|---|---|---|"]
        for name, strings in found:
            section = ", ".join(f'"{s}"' if i else s for i, s in enumerate(strings[:-1])) \
                if len(strings) > 2 else f'"{strings[0]}"'
            lines.append(f"| `{name}` | {section} | {strings[-1]} |".replace('\\"', '"'))
            if name not in proofs:
                missing.append(name)
    lines += exit_table()
    lines += ["", f"## The chapters on VMX of SDM 3C and 3D ({vmx.count} rules)", "",
              "From `docs/spec-vmx.txt`. Tests are functions in `tests/unit`; `guest:` groups of checks of the L1",
              "test hypervisor, bare and nested on Bochs, with the differences of the emulator in",
              f"`tests/guests/vmx/differences.md`. {vmx.excused} rules need no code of nvirt's, for the reason given."]
    lines += vmx.lines
    lines += ["", f"## The chapter \"Secure Virtual Machine\" of APM 2 ({svm.count} rules)", "",
              "From `docs/spec-svm.txt`. Tests are functions in `tests/unit`; `guest:` checks of the L1 test",
              "hypervisor, bare and nested on QEMU and Bochs, with the differences of the emulators in",
              "`tests/guests/svm/differences.md`; `boot:` Linux as L1. Rules without one of the two last are",
              "of features that neither emulator has, or of decisions that no guest can see."]
    lines += svm.lines
    missing += vmx.broken + svm.broken
    text = "\n".join(lines) + "\n"
    if "--check" in sys.argv:
        with open(OUTPUT, encoding="utf-8") as file:
            if file.read() != text:
                sys.exit("docs/spec-coverage.md is out of date: run docs/spec-coverage.py")
        if missing:
            sys.exit("without code or test: " + ", ".join(missing))
        print(f"{sum(1 for line in lines if line.startswith('| `'))} named rules, {vmx.count} of the VMX "
              f"chapters and {svm.count} of the SVM chapter, each with a test or a reason")
        return
    with open(OUTPUT, "w", encoding="utf-8") as file:
        file.write(text)


main()
