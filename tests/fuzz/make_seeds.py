#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes seed inputs for the fuzz targets: make_seeds.py TARGET DIRECTORY.

An input is a byte program: a few bytes that choose the machine and how far L1 is before the program
begins, then steps. The seeds go through all the beginnings and put programs of many lengths behind
each, so that the fuzzer starts everywhere at once. The same seeds come out at every call.
"""
import pathlib
import random
import sys

# The bytes before the program: for each, the values worth starting from.
HEADERS = {
    # machine and wishes of L0; how far L1 is; what its VMCS for L2 asks for
    "vmx": [(0x01, 0x00, 0x05, 0x0B, 0x11, 0x42, 0x8D), (1, 2, 3), (0, 1, 3, 5, 13, 31, 49, 127)],
    # machine and wishes of L0; how far L1 is; what its VMCB for L2 asks for
    "svm": [(0x00, 0x01, 0x02, 0x07, 0x0A, 0x1C, 0x25), (1, 2, 3), (0, 1, 3, 7, 9, 15, 21, 63)],
    # which walker; its mode
    "walk": [(0, 1, 2, 3), tuple(range(0, 256, 9))],
}
LENGTHS = (8, 40, 150, 600)


def headers(columns):
    rows = [()]
    for column in columns:
        rows = [row + (value,) for row in rows for value in column]
    return rows


def main():
    target, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    dice = random.Random(target)
    for number, header in enumerate(headers(HEADERS[target])):
        length = LENGTHS[number % len(LENGTHS)]
        # Small bytes are as likely as all others together: they are operations and common choices.
        program = bytes(dice.randrange(32) if dice.randrange(2) else dice.randrange(256)
                        for _ in range(length))
        (directory / f"seed-{number:03}").write_bytes(bytes(header) + program)


if __name__ == "__main__":
    main()
