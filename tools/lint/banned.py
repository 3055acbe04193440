#!/usr/bin/env python3
"""Calls that the house does without, and a report of the longest functions.

Memory comes from base/mem.h and base/arena.h, strings and numbers from base/str.h and base/parse.h;
only src/base may call what they are made of. No input may end the process, so nothing aborts.
The twenty longest functions are printed to be looked at; they do not fail the check.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BANNED = ("malloc calloc realloc reallocarray free strdup strndup strcpy strcat strncpy strncat sprintf vsprintf gets "
          "atoi atol atoll atof strtok strtok_r abort alloca").split()
# A member called `free` is not the function: no dot or arrow before the name.
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def code_of(path):
    """The file without comments and literals, its lines in place."""
    return NOISE.sub(lambda m: "\n" * m[0].count("\n"), path.read_text(errors="replace"))


def calls(path, code):
    for number, line in enumerate(code.splitlines(), 1):
        for match in CALL.finditer(line):
            yield f"{path.relative_to(ROOT)}:{number}: {match[1]}() is for src/base alone"


def functions(path):
    """(lines, place, name) of each function, by the house's format: braces of a body stand in column 0."""
    head, start = "", 0
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if line == "{":
            name = re.search(r"(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$", head)
            start = number if name else 0
        elif line == "}" and start:
            yield number - start + 1, f"{path.relative_to(ROOT)}:{start}", name[1]
            start = 0
        if line[:1] not in (" ", "\t", "", "}", "{", "#"):
            head = line
        elif not start:
            head += " " + line.strip()


def main():
    files = sorted(p for folder in ("src", "cli") for p in (ROOT / folder).rglob("*.[ch]"))
    errors = [e for p in files if "src/base/" not in p.as_posix() for e in calls(p, code_of(p))]
    lengths = sorted((f for p in files if p.suffix == ".c" for f in functions(p)), reverse=True)
    if lengths:
        middle = lengths[len(lengths) // 2][0]
        print(f"functions: {len(lengths)}, median {middle} lines; the longest:")
        for length, place, name in lengths[:20]:
            print(f"  {length:4} {name}  {place}")
    print("\n".join(errors) if errors else f"banned: {len(files)} files, no banned call")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
