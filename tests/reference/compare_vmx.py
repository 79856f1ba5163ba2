#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares nvirt's VMX tables with an independent description of the manual, where one is at hand.

The reference is a folder of YAML files (../shared/reference/intel beside the checkout, or the first
argument) that describes VMCS fields, control bits, exit reasons and error numbers. It lags the manual:
rows that only nvirt has are accepted when listed below with the reason; rows that only the reference
has, or that mean something else, are errors. Without the folder: "skipped", exit status 0. Uses no YAML
library, since only "value", "bit" and "name" lines matter."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What the manual has and the reference of 2026-06 does not.
NEWER_FIELDS = {0x2052: "FRED", 0x2404: "FRED", 0x4024: "instruction timeout",
                **{e: "FRED" for e in range(0x281A, 0x282A, 2)},
                **{e: "FRED" for e in range(0x2C08, 0x2C18, 2)}}
NEWER_BITS = {("BASIC", 56): "any error code", ("BASIC", 58): "FRED", ("EXIT2", 0): "FRED",
              ("EXIT2", 1): "FRED", ("EXIT2", 3): "shadow stacks", ("ENTRY_CTL", 23): "FRED",
              ("PROC2", 21): "PASID translation", ("PROC3", 5): "TDX",
              ("EPT_CAP", 7): "5-level walks", ("MISC", 6): "there one range, bits 8:6",
              ("MISC", 7): "there one range, bits 8:6", ("MISC", 8): "there one range, bits 8:6"}
NEWER_REASONS = {80: "user MSR accesses", 81: "user MSR accesses",
                 84: "MSR accesses with immediate", 85: "MSR accesses with immediate"}

# Words that tell fields apart: these must agree exactly.
TELLING = set("ES CS SS DS FS GS LDTR TR GDTR IDTR CR0 CR3 CR4 RSP RIP RCX RSI RDI ESP EIP HIGH LOW "
              "SELECTOR BASE LIMIT MASK SHADOW STORE LOAD".split())
# Different words for one thing.
SAME = {"SEL": "SELECTOR", "READ": "", "TARGET": "", "INSTR": "INSN", "INSTRUCTION": "INSN",
        "ADDRESS": "ADDR", "RIGHTS": "AR", "INTERRUPTION": "INTR", "INTERRUPT": "INTR",
        "INTERRUPTS": "INTR", "INT": "INTR", "EXTERNAL": "EXT", "PREEMPT": "PREEMPTION",
        "PAGEFAULT": "PF", "PAGE": "", "XCPT": "EXCEPTION", "PHYS": "PHYSICAL", "PTR": "POINTER",
        "LEN": "LENGTH", "VIRT": "VIRTUAL", "TRAP": "MTF", "MSRLIST": "LIST", "PT": "TRACE"}


class Findings:
    """What was compared and what did not fit."""

    def __init__(self):
        self.compared = 0
        self.problems = []

    def expect(self, holds, text):
        self.compared += 1
        if not holds:
            self.problems.append(text)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def words(name):
    """The words of a name, in nvirt's vocabulary; digits at the end of a word stand alone."""
    result = set()
    for word in re.sub(r"([A-Z]{3,})(\d)\b", r"\1_\2", name.upper()).split("_"):
        result.add(SAME.get(word, word))
    return result - {""}


def named_alike(ours, theirs):
    """True when the names share a word, letting singular and plural pass."""
    def stems(name):
        return {word.rstrip("S") for word in words(name)}
    return bool(stems(ours) & set().union(*(stems(name) for name in theirs)))


def reference_rows(text, key):
    """Yields (number, [names]) for each entry that begins with "- key: number"."""
    row = None
    for line in text.split("\n"):
        begin = re.match(rf"\s*- {key}: (0x[0-9A-Fa-f]+|\d+(?:-\d+)?)\s*$", line)
        if begin or re.match(r"\s*- \w+:", line):
            if row:
                yield row
            row = (begin.group(1), []) if begin else None
            continue
        name = re.match(r"\s*(?:short_name|long_name|name|alternative_name): '?(\w+)", line)
        if row and name:
            row[1].append(name.group(1))
    if row:
        yield row


def block(text, name):
    """The lines of the entry called @name, up to the next one at its level."""
    lines = text.split("\n")
    for start, line in enumerate(lines):
        match = re.match(rf"(\s*)(?:- )?name: {name}\s*$", line)
        if not match:
            continue
        level = len(match.group(1)) - (0 if "- name" in line else 2)
        for end in range(start + 1, len(lines)):
            if lines[end].strip() and re.match(r"\s*- ", lines[end]) and \
                    len(lines[end]) - len(lines[end].lstrip()) <= level:
                return "\n".join(lines[start:end])
        return "\n".join(lines[start:])
    return ""


def compare_fields(reference, found):
    ours = {int(e, 16): n for n, e in re.findall(
        r"^NVIRT_VMCS_FIELD\((\w+), \w+, (0x\w+)", read(os.path.join(
            ROOT, "include/nvirt/vmcs_fields.def")), flags=re.M)}
    theirs = {int(n, 16): names for n, names in reference_rows(
        read(os.path.join(reference, "VMX/VMCS.yml")), "value")}
    for encoding, names in sorted(theirs.items()):
        name = ours.get(encoding)
        found.expect(name is not None, f"no field has encoding {encoding:#06x} ({names})")
        if name:
            found.expect(named_alike(name, names), f"{encoding:#06x}: {name} is not {names}")
            telling = words(name) & TELLING
            found.expect(any(telling <= words(n) for n in names),
                         f"{encoding:#06x}: {name} differs from {names}")
    for encoding in sorted(set(ours) - set(theirs)):
        found.expect(encoding in NEWER_FIELDS,
                     f"{ours[encoding]} ({encoding:#06x}) is unknown to the reference")


def masks(header, prefix):
    """Bit number -> names of nvirt's one-bit masks with this prefix."""
    result = {}
    pattern = rf"#define NVIRT_VMX_{prefix}_(\w+) NVIRT_BIT\((\d+)\)"
    for name, bit in re.findall(pattern, header):
        result.setdefault(int(bit), []).append(name)
    return result


def compare_bits(reference, header, found):
    registers = read(os.path.join(reference, "ArchitecturalMsr.yml"))
    for prefix, msr in (("BASIC", "VMX_BASIC"), ("PIN", "VMX_PINBASED_CTLS"),
                        ("PROC", "VMX_PROCBASED_CTLS"), ("PROC2", "VMX_PROCBASED_CTLS2"),
                        ("PROC3", "VMX_PROCBASED_CTLS3"), ("EXIT_CTL", "VMX_EXIT_CTLS"),
                        ("EXIT2", "VMX_EXIT_CTLS2"), ("ENTRY_CTL", "VMX_ENTRY_CTLS"),
                        ("MISC", "VMX_MISC"), ("(?:EPT|VPID)_CAP", "VMX_EPT_VPID_CAP")):
        ours = masks(header, prefix)
        theirs = {int(bit): names for bit, names in reference_rows(block(registers, msr), "bit")
                  if "-" not in bit and "MUST_BE_ZERO" not in names}
        found.expect(len(theirs) > 0 or msr in ("VMX_EXIT_CTLS2",), f"{msr}: no bits in the reference")
        for bit, names in sorted(theirs.items()):
            found.expect(bit in ours, f"{msr}: bit {bit} ({names}) has no name here")
            if bit in ours:
                found.expect(named_alike("_".join(ours[bit]), names),
                             f"{msr}: bit {bit} is {ours[bit]} here and {names} there")
        for bit in sorted(set(ours) - set(theirs)):
            found.expect((prefix.replace("(?:EPT|VPID)", "EPT"), bit) in NEWER_BITS,
                         f"{msr}: bit {bit} ({ours[bit]}) is unknown to the reference")


def compare_numbers(reference, header, found):
    index = read(os.path.join(reference, "VMX/index.yml"))
    reasons = dict((int(n), name) for name, n in
                   re.findall(r"NVIRT_VMX_REASON\((\w+), (\d+)\)", header))
    errors = dict((int(n), name) for name, n in
                  re.findall(r"NVIRT_VMX_ERR_(\w+) = (\d+)", header))
    for group, ours in (("BASIC_EXIT_REASONS", reasons), ("INSTRUCTION_ERROR_NUMBERS", errors)):
        theirs = {int(n, 0): names for n, names in reference_rows(block(index, group), "value")}
        found.expect(len(theirs) > 0, f"{group}: nothing in the reference")
        for number, names in sorted(theirs.items()):
            found.expect(number in ours, f"{group}: {number} ({names}) has no name here")
        for number in sorted(set(ours) - set(theirs)):
            found.expect(ours is reasons and number in NEWER_REASONS,
                         f"{group}: {number} ({ours[number]}) is unknown to the reference")
        if ours is reasons:
            for number in set(ours) & set(theirs):
                found.expect(named_alike(ours[number], theirs[number]),
                             f"{group}: {number} is {ours[number]} here, {theirs[number]} there")


def main():
    reference = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
        ROOT, "..", "shared", "reference", "intel")
    if not os.path.isdir(reference):
        print("reference tables are not at hand: skipped")
        return 0
    header = re.sub(r"\\\n", "\n", read(os.path.join(ROOT, "include/nvirt/vmcs.h")))
    found = Findings()
    compare_fields(reference, found)
    compare_bits(reference, header, found)
    compare_numbers(reference, header, found)
    for problem in found.problems:
        print(problem)
    print(f"{found.compared - len(found.problems)} passed, {len(found.problems)} failed")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
