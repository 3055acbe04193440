#!/usr/bin/env python3
"""Records what the framework's own operators answer, for the tests to compare with.

    PYTHON tools/op_recordings/record.py [--out tests/data/ops] [--split] [FAMILY...]

PYTHON is an interpreter with paddlepaddle (2.6 has nearly every old operator; 3 lacks some). A family is a module
beside this one with a function cases() that yields Case objects (frame.py). All cases of a family become one program,
saved with its inputs and outputs as a form of a zoo: OUT/FAMILY/paddle26/. --split makes a model of each case instead,
to see which one fails: tools/zoo_check --zoo OUT reads both.
"""
import argparse
import importlib
import os
import pathlib

os.environ.setdefault("FLAGS_enable_pir_api", "0")  # program descriptions, not PIR

import frame  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("record", "record_pir", "frame"))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=HERE.parents[1] / "tests" / "data" / "ops", type=pathlib.Path)
    p.add_argument("--split", action="store_true", help="one model for each case")
    p.add_argument("family", nargs="*", default=FAMILIES)
    args = p.parse_args()
    for family in args.family or FAMILIES:
        cases = [c for c in importlib.import_module(family).cases() if frame.answered(c)]
        groups = [(f"{family}_{i:03}_{c.type}", [c]) for i, c in enumerate(cases)] if args.split else [(family, cases)]
        for name, group in groups:
            frame.record(group, args.out / name / frame.form())
        print(f"{family}: {len(cases)} cases")


if __name__ == "__main__":
    main()
