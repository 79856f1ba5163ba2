#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads the BENCH lines of benchmark images.

    table.py table NAME=BARE,NESTED ...    a Markdown table for each machine
    table.py get LOG NAME UNIT             one value
    table.py budget LOG BUDGETS MACHINE    checks a nested log against the file of budgets
"""
import collections
import sys

COUNTERS = [
    ("exits of L1", ("exits_l1",)),
    ("exits of L2", ("exits_l2",)),
    ("VMREAD", ("vmreads",)),
    ("VMWRITE", ("vmwrites",)),
    ("VMPTRLD", ("vmptrlds",)),
    ("pins", ("pins",)),
    ("bytes read", ("bytes_read",)),
    ("written", ("bytes_written",)),
    ("flushes: address", ("flushes_address",)),
    ("tag", ("flushes_tag",)),
    ("root", ("flushes_root",)),
    ("all", ("flushes_all",)),
    ("shadow faults", ("shadow_faults",)),
]


def read(path):
    """{name: {unit: value}} in the order of the log; an incomplete log is an error."""
    rows = collections.OrderedDict()
    complete = False
    with open(path, encoding="latin-1") as log:
        for line in log:
            words = line.split()
            if len(words) != 4 or words[0] != "BENCH":
                continue
            complete = complete or words[1] == "end"
            if words[1] != "end":
                rows.setdefault(words[1], {})[words[3]] = float(words[2])
    if not complete:
        sys.exit(f"{path}: the benchmark did not reach its end")
    return rows


def number(value):
    if value == 0:
        return "0"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def print_table(name, bare, nested):
    print(f"## {name}\n")
    titles = ["", "bare", "nested", "in the host"] + [title for title, _ in COUNTERS]
    print("| " + " | ".join(titles) + " |")
    print("|---" + "|--:" * (len(titles) - 1) + "|")
    for what, units in nested.items():
        if "ticks" not in units:
            continue
        ticks, own = units["ticks"], bare.get(what, {}).get("ticks", 0)
        cells = [what, number(own), number(ticks), number(ticks - own)]
        cells += [number(sum(units.get(u, 0) for u in keys)) for _, keys in COUNTERS]
        print("| " + " | ".join(cells) + " |")
    print()


def table(arguments):
    for argument in arguments:
        name, logs = argument.split("=", 1)
        bare, nested = logs.split(",")
        print_table(name, read(bare), read(nested))


def budget(log, path, machine):
    """Each line of the file: MACHINES NAME UNIT LIMIT; the value may not be above the limit."""
    rows = read(log)
    failed = checked = 0
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split("#")[0].split()
            if not words or machine not in words[0].split(","):
                continue
            _, name, unit, limit = words
            if name not in rows:
                print(f"not ok {name}: not measured")
                failed += 1
                continue
            value = rows[name].get(unit, 0)
            good = value <= float(limit)
            print(f"{'ok' if good else 'not ok'} {name} {unit}: {value:g} (budget {limit})")
            failed += not good
            checked += 1
    print(f"{checked - failed} passed, {failed} failed")
    return 1 if failed or not checked else 0


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "table":
        table(arguments)
    elif command == "get":
        print(number(read(arguments[0]).get(arguments[1], {}).get(arguments[2], 0)))
    elif command == "budget":
        sys.exit(budget(*arguments))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
