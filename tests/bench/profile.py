#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where the instructions of one L2 -> L1 -> L2 round trip on Bochs go, function by function, and
which VMCS fields the host reads and writes.

    profile.py TRACE HOST_ELF L1_ELF HOST_BASE

TRACE is what Bochs's debugger printed, registers included, between the two marks of a benchmark
image (profile.sh makes it); HOST_BASE is where the host moved itself.
"""
import bisect
import collections
import os
import re
import subprocess
import sys

INSN = re.compile(r"^\(0\)\.\[\d+\] \[0x([0-9a-f]+)\] .*?: (\S+) ?(.*?) *;")
REGISTER = re.compile(r"^(r\w\w?) ?: ([0-9a-f]{8})_([0-9a-f]{8})")
FIELD = re.compile(r"NVIRT_VMCS_FIELD\((\w+), \w+, (0x[0-9A-Fa-f]+)")
FIELDS = os.path.join(os.path.dirname(__file__), "../../include/nvirt/vmcs_fields.def")
LINK_BASE = 0x100000
WIDE = {f"r{n}d": f"r{n}" for n in range(8, 16)}
WIDE.update({f"e{n}": f"r{n}" for n in "ax bx cx dx si di bp sp".split()})


def symbols(elf, offset):
    """Sorted addresses and names of the functions of an image that runs `offset` bytes higher."""
    text = subprocess.run(["nm", "-n", elf], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in text.splitlines()]
    rows = [(int(row[0], 16) + offset, row[2]) for row in rows if len(row) == 3 and row[1] in "tT"]
    return [row[0] for row in rows], [row[1] for row in rows]


class Trace:
    """Counts of one trace: instructions by function, VMREADs and VMWRITEs by field."""

    def __init__(self, host, guest, base):
        self.base = base
        self.tables = {"L0": symbols(host, base - LINK_BASE), "L1/L2": symbols(guest, 0)}
        self.functions = collections.defaultdict(collections.Counter)
        self.fields = collections.defaultdict(collections.Counter)
        self.registers = {}

    def instruction(self, address, name, operands):
        level = "L0" if address >= self.base else "L1/L2"
        starts, names = self.tables[level]
        where = names[max(bisect.bisect_right(starts, address) - 1, 0)]
        self.functions[level, where]["instructions"] += 1
        if name not in ("vmread", "vmwrite"):
            return
        self.functions[level, where][name] += 1
        if level == "L0":
            operand = operands.split(", ")[1 if name == "vmread" else 0].strip()
            self.fields[self.registers.get(WIDE.get(operand, operand), -1)][name] += 1

    def line(self, line):
        match = REGISTER.match(line)
        if match:
            self.registers[match.group(1)] = int(match.group(2) + match.group(3), 16)
            return
        match = INSN.match(line)
        if match:
            self.instruction(int(match.group(1), 16), match.group(2), match.group(3))


def report(trace):
    names = {int(code, 16): name for name, code in FIELD.findall(open(FIELDS).read())}
    print(f"{'instructions':>12} {'vmread':>7} {'vmwrite':>7}")
    for (level, where), row in sorted(trace.functions.items(),
                                      key=lambda item: -item[1]["instructions"]):
        print(f"{row['instructions']:12} {row['vmread']:7} {row['vmwrite']:7}  {level} {where}")
    for level in trace.tables:
        rows = [row for key, row in trace.functions.items() if key[0] == level]
        print(f"{sum(r['instructions'] for r in rows):12} {sum(r['vmread'] for r in rows):7} "
              f"{sum(r['vmwrite'] for r in rows):7}  all of {level}")
    print(f"\n{'vmread':>12} {'vmwrite':>7}  by L0")
    for code, row in sorted(trace.fields.items(),
                            key=lambda item: (-sum(item[1].values()), item[0])):
        print(f"{row['vmread']:12} {row['vmwrite']:7}  {names.get(code, hex(code))}")


def main():
    path, host, guest, base = sys.argv[1:5]
    trace = Trace(host, guest, int(base, 0))
    with open(path, encoding="latin-1") as lines:
        for line in lines:
            trace.line(line)
    report(trace)


if __name__ == "__main__":
    main()
