#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the C code blocks of a header's comments (@code{.c} ... @endcode) or of a Markdown file
(```c ... ```), so that CI can compile what the documentation shows."""
import re
import sys


def blocks(text, markdown):
    if markdown:
        return re.findall(r"^```c\n(.*?)^```", text, re.S | re.M)
    found = re.findall(r"@code\{\.c\}\n(.*?)@endcode", text, re.S)
    return [re.sub(r"(?m)^ \* ?", "", block) for block in found]


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        found = blocks(file.read(), path.endswith(".md"))
    if not found:
        sys.exit(f"{path}: no C example found")
    print("\n".join(found))


main()
