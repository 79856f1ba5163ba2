#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Deletes each condition of the short ways of nested VMX in turn and demands that a test fails.

A term of a && becomes true, a term of a || false, an `if` that has neither never happens, and a row
of a list of fields is left out. In a copy of the sources each of these asks the environment whether
it is the one to be deleted; the unit tests are built once against that copy and then run once per
condition. One that can be deleted without a test failing is a survivor, unless REASONS below says
why. Ends with a line "N passed, N failed"; exit status 1 when there are survivors of which nothing
is said, or a reason for a condition that does not survive. It takes some minutes.

    mutate-switch.py [-l] [TEXT...]

With -l it lists the conditions, and the test that fails for each. With TEXT only conditions are
deleted whose name contains one of the texts."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Which functions: a file, and their names, or None for all.
PLACES = [
    ("src/nested/vmx_switch.c", None),
    ("src/nested/vmx_fast.c", ["turn_to", "vmptrld"]),
    ("src/nested/vmx_vmcs12.c", ["nvi_vmcs12_is_ready"]),
]

# Lists of fields, as X-macro rows: where they are used, and how a row is left out.
ROWS = [
    ("is_l1_known", "nvi_field_add(&looked_at, NVIRT_VMCS_##NAME);"),
    ("is_l2_known", "nvi_field_add(&looked_at, NVIRT_VMCS_##NAME);"),
    ("place_flow", "place(v, NVIRT_VMCS_##NAME, v->vmcs12.field[NVIRT_VMCS_##NAME]);"),
]

# Conditions that can be deleted without a test that fails, by the reason why. Most are doubles:
# what they exclude is excluded elsewhere, in another file as a rule, and they keep it excluded when
# that changes.
REASONS = [
    ("holds on every CPU: no field of the flow has a gate", [
        "has_plain_controls: nvi_field_has_all(&v->changes[NVI_02], &v->flow)"]),
    ("each entry has a root by then", [
        "nvi_vmx_note_entry: v->root != NULL"]),
    ("none is current then, and so none launched", [
        "nvi_vmx_resume_enlightened: choice != NVI_EVMCS_CURRENT"]),
    ("only costs: what is read then is not used, or is at hand already", [
        "is_plain_entry: !v->cet",
        "nvi_vmx_exit_plainly: v->cet"]),
    ("L1 has just left: its VMCS is current", [
        "fetch_cet_of_l1: v->current == &v->hw01"]),
    ("only costs: what is noted then is not looked at", [
        "nvi_vmx_note_entry: !known"]),
    ("vmcs12 has it from vmcs02 by the exit, or VMWRITE marked its group: the row of the one "
     "excludes what that of the other does", [
        "is_as_placed: vmcs12->guest_cr4 == memo->cr4",
        "is_as_placed: vmcs12->guest_efer == memo->efer",
        "is_as_placed: vmcs12->entry_controls == memo->entry_controls",
        "is_as_placed: vmcs02->guest_cr0 == memo->placed_cr0",
        "is_as_placed: vmcs02->guest_cr4 == memo->placed_cr4"]),
    ("a function of masks, which VMWRITE marks, and of CR0 and CR4, which are compared", [
        "is_as_placed: vmcs02->cr0_shadow == memo->placed_cr0_shadow",
        "is_as_placed: vmcs02->cr4_shadow == memo->placed_cr4_shadow",
        "is_kept: the row of CR0_SHADOW"]),
    ("follows LMA, and EFER is compared", [
        "is_kept: the row of ENTRY_CONTROLS"]),
    ("all of L1's were fetched by the entry, all of L2's by the exit, or a VMREAD failed: v->error "
     "says so too, and the two exclude the same", [
        "is_l1_known: the row of GUEST_CR0",
        "is_l1_known: the row of GUEST_EFER",
        "is_l1_known: the row of GUEST_SS_AR",
        "is_l1_known: the row of GUEST_INTERRUPTIBILITY",
        "is_l2_known: the row of GUEST_RIP",
        "is_l2_known: the row of GUEST_RSP",
        "is_l2_known: the row of GUEST_RFLAGS",
        "is_l2_known: the row of GUEST_INTERRUPTIBILITY",
        "is_l2_known: the row of GUEST_ACTIVITY",
        "is_l2_known: the row of GUEST_PENDING_DEBUG",
        "is_l2_known: the row of ENTRY_INTERRUPTION",
        "is_l2_known: the row of ENTRY_ERROR_CODE",
        "is_l2_known: the row of ENTRY_INSN_LENGTH",
        "is_l2_known: the row of GUEST_CR0",
        "is_l2_known: the row of GUEST_CR4",
        "is_l2_known: the row of GUEST_EFER",
        "is_plain_entry: v->error == NVIRT_OK",
        "is_plain_entry: is_l1_known(v)",
        "is_plain_entry: is_l2_known(v)",
        "is_kept: !is_l1_known(v)",
        "nvi_vmx_leave_plainly: v->error != NVIRT_OK"]),
    ("a VMCS that is not launched has all its groups marked, and where none is current none is "
     "chosen", [
        "may_resume: v->vmx.launched"]),
    ("nothing is injected, so they mean nothing; equal to what the merge makes of them, which the "
     "fuzzer compares", [
        "place_flow: the row of ENTRY_INTERRUPTION",
        "place_flow: the row of ENTRY_ERROR_CODE",
        "place_flow: the row of ENTRY_INSN_LENGTH"]),
    ("an exit clears the valid bit: L1 set it since, and its group is marked", [
        "is_plain_entry: (v->vmcs12.entry_interruption & NVIRT_VMX_INTR_VALID) == 0"]),
    ("only costs: EFER is what it was at the exit noted, and that one saved it", [
        "leaves_plainly: (vmcs12->exit_controls & NVIRT_VMX_EXIT_CTL_SAVE_EFER) != 0"]),
    ("an EFER that is not saved is vmcs12's, or the exit is not plain", [
        "save_flow: NVIRT_VMCS_##NAME != NVIRT_VMCS_GUEST_EFER"]),
    ("an NMI leaves L2 by nvi_vmx_leave() itself; other exceptions would come to the same", [
        "nvi_vmx_leave_plainly: (info->reason & NVIRT_VMX_REASON_BASIC) == "
        "NVIRT_VMX_EXIT_EXCEPTION_NMI"]),
    ("no plain switch leaves a vCPU dead, and none is made by one that is", [
        "nvi_vmx_prepare_switched: v->dead"]),
]
SURVIVORS = {name: reason for reason, names in REASONS for name in names}

TESTS = ["nested/test_vmx_turns", "nested/test_vmx_switch", "hv_enlight/test_evmcs_switch",
         "nested/test_vmx_dirty", "nested/test_vmx_fast", "nested/test_vmx_transition",
         "nested/test_vmx_shadow", "nested/test_vmx_tlb", "nested/test_vmx_event",
         "nested/test_vmx_linked", "nested/test_vmx_switched_msr", "nested/test_vmx_cet",
         "nested/test_vmx_bitmaps", "nested/test_vmx_entry_failure",
         "nested/test_vmx_apic01", "nested/test_vmx_vcpu", "nested/test_vmx_state",
         "nested/test_vmx_cr_msr", "nested/test_vmx_second_stage", "hv_enlight/test_evmcs",
         "hv_enlight/test_nested_vmx"]
MODULES = ["nested", "vmcs", "mmu", "ept", "paging", "tlbflush", "state", "hv_enlight"]
FLAGS = ["-std=gnu11", "-O1", "-w", "-DNVIRT_HYPERV", "-include", "nvi_deleted.h"]
HOOK = """#ifndef NVI_DELETED_H
#define NVI_DELETED_H
#include <stdbool.h>
bool nvi_deleted(int number);
#endif
"""
HOOK_SOURCE = """#include <stdlib.h>
bool nvi_deleted(int number)
{
    static int deleted = -1;
    if (deleted < 0)
        deleted = getenv("NVI_DELETED") != NULL ? atoi(getenv("NVI_DELETED")) : 0;
    return number == deleted;
}
"""


# ---- conditions of an expression

def closing(text, at):
    """Where the parenthesis that opens at @at closes."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    raise ValueError(text[at:at + 60])


def split(text, operator):
    """The parts of @text between operators outside of parentheses."""
    parts, begin, i = [], 0, 0
    while i < len(text):
        if text[i] in "([{":
            i = closing(text, i)
        elif text.startswith(operator, i):
            parts.append(text[begin:i])
            i += len(operator) - 1
            begin = i + 1
        i += 1
    return parts + [text[begin:]]


class Conditions:
    """Numbers conditions and rewrites them."""

    def __init__(self):
        self.names = [None]

    def add(self, function, text):
        name = function + ": " + " ".join(text.replace("\\\n", " ").split())
        same = sum(other == name or (other or "").startswith(name + " #") for other in self.names)
        self.names.append(name if same == 0 else f"{name} #{same + 1}")
        return len(self.names) - 1

    def term(self, function, text, neutral):
        number = self.add(function, text)
        inner = self.rewrite(function, text)
        space = text[:len(text) - len(text.lstrip())]
        if neutral == "true":
            return f"{space}(nvi_deleted({number}) || ({inner.strip()}))"
        return f"{space}(!nvi_deleted({number}) && ({inner.strip()}))"

    def rewrite(self, function, text):
        for operator, neutral in (("||", "false"), ("&&", "true")):
            parts = split(text, operator)
            if len(parts) > 1:
                # What a macro begins with && has nothing before it.
                return operator.join(part if part.strip() == "" else
                                     self.term(function, part, neutral) for part in parts)
        stripped = text.strip()
        for prefix in ("(", "!("):
            if stripped.startswith(prefix):
                begin = len(prefix) - 1
                if closing(stripped, begin) == len(stripped) - 1:
                    return (" " + prefix + self.rewrite(function, stripped[begin + 1:-1]) + ")")
        return text

    def condition(self, function, text):
        """What stands after `if`."""
        if len(split(text, "||")) > 1:
            return self.rewrite(function, text)
        return self.term(function, text, "false")

    def body(self, function, text):
        """A function's body: its `if`s, what it returns, and what it calculates."""
        out, i = "", 0
        for_if = re.compile(r"\bif \(")
        value = re.compile(r"\breturn\b|[^=!<>]=(?= )")
        while i < len(text):
            found = for_if.search(text, i)
            other = value.search(text, i)
            if found and (not other or found.start() < other.start()):
                begin = found.end() - 1
                end = closing(text, begin)
                out += text[i:begin + 1] + self.condition(function, text[begin + 1:end]) + ")"
                i = end + 1
            elif other:
                end = text.index(";", other.end())
                expression = text[other.end():end]
                out += text[i:other.end()] + self.value(function, expression)
                i = end
            else:
                out += text[i:]
                break
        return out

    def value(self, function, text):
        if "\n#" in text:
            lines = text.split("\n")
            return "\n".join(line if line.startswith("#") else self.rewrite(function, line)
                             for line in lines)
        if len(split(text, "?")) > 1 or not re.search(r"&&|\|\|", text):
            return text
        return self.rewrite(function, text)


FUNCTION = re.compile(r"^(?:[A-Za-z_][\w \n*]*?)\b(\w+)\(([^;{}]*?)\)\n\{\n(.*?)^\}\n", re.S | re.M)


def strip_comments(text):
    return re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)


def rows_of(text, name):
    found = re.search(r"#define " + name + r"\(X\)(.*?)\n\n", text, re.S)
    return re.findall(r"X\((\w+)", found.group(1)) if found else []


def instrument(copy, conditions):
    headers = open(os.path.join(copy, "src/nested/vmx_vcpu.h"), encoding="utf-8").read()
    for path, names in PLACES:
        name = os.path.join(copy, path)
        with open(name, encoding="utf-8") as file:
            text = strip_comments(file.read())

        def one(match):
            function = match.group(1)
            if names is not None and function not in names:
                return match.group(0)
            start = match.start(3) - match.start(0)
            return (match.group(0)[:start] +
                    conditions.body(function, rows(text, headers, function, match.group(3),
                                                   conditions)) + "}\n")
        text = FUNCTION.sub(one, text)
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)


def rows(text, headers, function, body, conditions):
    """Each row of a list of fields asks whether it is left out."""
    for where, use in ROWS:
        if where != function or use not in body:
            continue
        fields = []
        for listed in re.findall(r"^ *([A-Z_]+)\(X\)|^ *X\((\w+)\)", body, re.M):
            fields += rows_of(text, listed[0]) + rows_of(headers, listed[0]) if listed[0] else [
                listed[1]]
        first = len(conditions.names)
        for field in fields:
            conditions.add(function, "the row of " + field)
        numbers = "".join(f" + (NVIRT_VMCS_##NAME == NVIRT_VMCS_{field} ? {first + i} : 0)"
                          for i, field in enumerate(fields))
        body = body.replace(use, f"while (!nvi_deleted(0{numbers})) {{ {use} break; }}")
    if function == "is_kept":
        # The rows are terms of the expression.
        fields = rows_of(headers, "NVI_KEPT_FIELDS")
        first = len(conditions.names)
        for field in fields:
            conditions.add(function, "the row of " + field)
        numbers = "".join(f" + (NVIRT_VMCS_##NAME == NVIRT_VMCS_{field} ? {first + i} : 0)"
                          for i, field in enumerate(fields))
        body = body.replace("&&vmcs01->field[NVIRT_VMCS_##NAME] == memo->kept.NAME",
                            f"&&(nvi_deleted(0{numbers}) || "
                            "vmcs01->field[NVIRT_VMCS_##NAME] == memo->kept.NAME)")
    return body


# ---- building and running

def compile_one(copy, source):
    target = os.path.join(copy, source.replace("/", "_") + ".o")
    path = os.path.join(copy if source.startswith("src/") or "/" not in source else ROOT, source)
    includes = [copy, os.path.join(copy, "src"), os.path.join(ROOT, "include"),
                os.path.join(ROOT, "tests/unit/fake"),
                os.path.join(ROOT, os.path.dirname(source))]
    subprocess.run(["cc", *FLAGS, *("-I" + i for i in includes), "-c", path, "-o", target],
                   check=True)
    return target


def build(copy, pool):
    shared = ["nvi_deleted.c"] + sorted(
        os.path.relpath(path, copy) for module in MODULES
        for path in glob.glob(os.path.join(copy, "src", module, "*.c"))
        if not os.path.basename(path).startswith("svm_"))
    shared += sorted(os.path.relpath(path, ROOT)
                     for path in glob.glob(os.path.join(ROOT, "tests/unit/fake/*.c")))
    tests = [f"tests/unit/{test}.c" for test in TESTS]
    objects = list(pool.map(lambda source: compile_one(copy, source), shared + tests))
    library = os.path.join(copy, "library.a")
    subprocess.run(["ar", "rcs", library, *objects[:len(shared)]], check=True)

    def link(test):
        subprocess.run(["cc", test, library, "-lcmocka", "-o", test + ".run"], check=True)
        return test + ".run"
    return list(pool.map(link, objects[len(shared):]))


def failing(programs, number):
    """The first test function that fails when condition @number is deleted, or None."""
    environment = dict(os.environ, NVI_DELETED=str(number), CMOCKA_MESSAGE_OUTPUT="stdout")
    for program in programs:
        try:
            result = subprocess.run([program], env=environment, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, timeout=60, check=False)
        except subprocess.TimeoutExpired:
            return os.path.basename(program) + " does not end"
        if result.returncode != 0:
            found = re.search(rb"\[  FAILED  \] (\w+)", result.stdout)
            return found.group(1).decode() if found else os.path.basename(program)
    return None


def main():
    listing = "-l" in sys.argv[1:]
    wanted = [argument for argument in sys.argv[1:] if argument != "-l"]
    conditions = Conditions()
    passed, failed = 0, 0
    copy = tempfile.mkdtemp(prefix="nvirt-mutate-")
    try:
        shutil.copytree(os.path.join(ROOT, "src"), os.path.join(copy, "src"))
        with open(os.path.join(copy, "nvi_deleted.h"), "w", encoding="utf-8") as file:
            file.write(HOOK)
        with open(os.path.join(copy, "nvi_deleted.c"), "w", encoding="utf-8") as file:
            file.write(HOOK_SOURCE)
        instrument(copy, conditions)
        with ThreadPoolExecutor(2) as pool:
            programs = build(copy, pool)
            broken = failing(programs, 0)
            if broken:
                sys.exit(f"{broken} fails with every condition in place")
            numbers = [number for number, name in enumerate(conditions.names)
                       if number and (not wanted or any(text in name for text in wanted))]
            verdicts = list(pool.map(lambda number: failing(programs, number), numbers))
    finally:
        shutil.rmtree(copy)
    for number, test in zip(numbers, verdicts):
        name = conditions.names[number]
        if listing:
            print(f"{name}\n    {test or 'survives: ' + SURVIVORS.get(name, '?')}")
        if (test is None) == (name in SURVIVORS):
            passed += 1
        else:
            failed += 1
            print(f"survivor: {name}" if test is None else
                  f"killed by {test}, although a reason says it survives: {name}")
    for name in set(SURVIVORS) - set(conditions.names[1:]):
        failed += 1
        print(f"no such condition: {name}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
