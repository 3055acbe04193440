#!/usr/bin/env python3
"""Doors open one way: a room's files include only the rooms that its line in CMakeLists.txt names.

A room may include itself, the public headers (oar/), and what its `room(NAME DOORS...)` line lists; a
door must be to a room above it in the file, which keeps circles out. cli/ may include every room.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def rooms():
    """Room -> the rooms it may include; complains about a door to a room further down."""
    found, errors = {}, []
    for number, line in enumerate((ROOT / "CMakeLists.txt").read_text().splitlines(), 1):
        match = re.match(r"room\((\w+)\s*(.*)\)", line)
        if not match:
            continue
        doors = [d for d in match[2].split() if re.fullmatch(r"[a-z]+", d)]
        errors += [f"CMakeLists.txt:{number}: {match[1]} opens on {d}, which is not above it" for d in doors if d not in found]
        found[match[1]] = {match[1], *doors}
    return found, errors


def wrong_doors(path, allowed, known):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([\w.-]+)/', line)
        if match and match[1] != "oar" and match[1] not in allowed:
            what = f"may include only {', '.join(sorted(allowed))}" if match[1] in known else "that is no room"
            yield f"{path.relative_to(ROOT)}:{number}: includes {match[1]}/: {what}"


def main():
    known, errors = rooms()
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        room = path.relative_to(ROOT / "src").parts[0]
        if room in known:
            errors += wrong_doors(path, known[room], known)
        else:
            errors.append(f"{path.relative_to(ROOT)}: no room({room} ...) in CMakeLists.txt")
    for path in sorted((ROOT / "cli").rglob("*.[ch]")):
        errors += wrong_doors(path, set(known), known)
    print("\n".join(errors) if errors else f"layers: {len(known)} rooms, no wrong door")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
