#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes seed inputs for the fuzz targets: make_seeds.py TARGET DIRECTORY.

An input is a byte program: a few bytes that choose the machine and how far L1 is before the program
begins, then steps. The seeds go through all the beginnings and put programs of many lengths behind
each, so that the fuzzer starts everywhere at once. The same seeds come out at every call, and no two
are of one length: libFuzzer takes them by length, and those of the same length in the order the file
system has them, so that only distinct lengths give the same run on every machine.
"""
import pathlib
import random
import sys

# The bytes before the program: for each, the values worth starting from.
HEADERS = {
    # machine and wishes of L0; how far L1 is; what its VMCS for L2 asks for
    "vmx": [(0x01, 0x00, 0x05, 0x0B, 0x11, 0x42, 0x8D), (1, 2, 3), (0, 1, 3, 5, 13, 31, 49, 66, 67,
                                                                127, 144, 151, 255)],
    # the same, and whether L1 may call its MSR bitmap clean
    "evmcs": [(0x01, 0x00, 0x05, 0x0B, 0x11, 0x42, 0x8D), (0, 1), (1, 3), (0, 1, 3, 5, 13, 31, 49,
                                                                     79, 127, 151, 255)],
    # machine and wishes of L0; Hyper-V's interface; how far L1 is; what its VMCB for L2 asks for
    "svm": [(0x00, 0x01, 0x02, 0x07, 0x0A, 0x1C, 0x25), (0x00, 0xBF), (1, 2, 3),
            (0, 1, 3, 7, 9, 15, 21, 63)],
    # vendor and what L1 is offered; processors; whether L1 has its hypercall page
    "hyperv": [tuple(range(0, 128, 3)), (0, 70, 129), (0, 1, 1)],
    # which walker; its mode
    "walk": [(0, 1, 2, 3), tuple(range(0, 256, 9))],
}
SHORTEST, LONGEST = 8, 600  # of the programs
# Inputs that once broke an invariant come first, header and program.
FOUND = {
    # PAE tables whose page directory lies in the page of the PDPTEs: the accessed bit that the walk
    # sets in an entry is a reserved bit of the same entry when the walk has to begin again.
    "walk": [
        "00512113 4521ca68 b413cb14 09b91510 171631bf 0fea0ec2 f0c4a308 5c040000"
        "00010000 00000000 00166f9f 14b9e012 1a123a",
    ],
}


def headers(columns):
    rows = [()]
    for column in columns:
        rows = [row + (value,) for row in rows for value in column]
    return rows


def main():
    target, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    dice = random.Random(target)
    rows = headers(HEADERS[target])
    found = [bytes.fromhex(text) for text in FOUND.get(target, [])]
    taken = {len(data) for data in found}
    for number, data in enumerate(found):
        (directory / f"found-{number:03}").write_bytes(data)
    for number, header in enumerate(rows):
        length = SHORTEST + (LONGEST - SHORTEST) * number // len(rows)
        while len(header) + length in taken:
            length += 1
        taken.add(len(header) + length)
        # Small bytes are as likely as all others together: they are operations and common choices.
        program = bytes(dice.randrange(32) if dice.randrange(2) else dice.randrange(256)
                        for _ in range(length))
        (directory / f"seed-{number:03}").write_bytes(bytes(header) + program)


if __name__ == "__main__":
    main()
