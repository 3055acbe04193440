"""The binary `oar` that the wheel carries, and its console script."""
from __future__ import annotations

import os
import sys


def path() -> str:
    """The binary: what OAR_BIN names, else the wheel's own."""
    return os.environ.get("OAR_BIN") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "oar")


def main() -> None:
    """`oar VERB ...` on the command line."""
    binary = path()
    os.execv(binary, [binary, *sys.argv[1:]])
