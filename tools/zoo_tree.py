#!/usr/bin/env python3
"""Copies models out of the zoo, with the links between a model's forms made real links again.

    tools/zoo_tree.py ZOO DEST MODEL/FORM...        e.g. fit_a_line/pdmodel26; MODEL alone takes every
                                                    ProgramDesc form (all but pir*)

A copy of the zoo that went through a store without links holds, in the place of each, a small file
with the link's target (`../legacy_combined/__model__`); those become links too. A link to a form
that is not taken becomes the file itself.
"""
import os
import shutil
import sys


def link_target(path):
    """The relative path that `path` links to, really or as a placeholder, or None for a plain file."""
    if os.path.islink(path):
        return os.readlink(path)
    if os.path.getsize(path) > 200:
        return None
    with open(path, "rb") as f:
        head = f.read()
    text = head.decode("ascii", "replace")
    there = os.path.join(os.path.dirname(path), text)
    return text if text and "\n" not in text and os.path.isfile(there) else None


def real_path(path):
    target = link_target(path)
    return path if target is None else real_path(os.path.join(os.path.dirname(path), target))


def forms(zoo, wanted):
    for name in wanted:
        if "/" in name:
            yield name
            continue
        for form in sorted(os.listdir(os.path.join(zoo, name))):
            if not form.startswith("pir"):
                yield f"{name}/{form}"


def copy_form(zoo, dest, form, taken):
    os.makedirs(os.path.join(dest, form), exist_ok=True)
    for name in sorted(os.listdir(os.path.join(zoo, form))):
        source, to = os.path.join(zoo, form, name), os.path.join(dest, form, name)
        if os.path.lexists(to):
            os.unlink(to)
        target = link_target(source)
        if target is not None and os.path.normpath(f"{form}/{os.path.dirname(target)}") in taken:
            os.symlink(target, to)
        else:
            shutil.copyfile(real_path(source), to)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    zoo, dest = sys.argv[1:3]
    taken = list(forms(zoo, sys.argv[3:]))
    for form in taken:
        copy_form(zoo, dest, form, taken)
    print(f"{len(taken)} models copied to {dest}")


if __name__ == "__main__":
    main()
