#!/usr/bin/env python3
"""What is committed names no path of the machine it was made on and no package registry or mirror."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATTERNS = {
    "a path of one machine": re.compile(rb"(?<![\w.])/(?:work|root|home)/\w+|(?<![\w.])/var/tmp/"),
    "a package registry": re.compile(rb"https?://[^\s\"'<>]*(?:registry|mirror|artifactory|nexus|pypi|/simple/|deb\.debian)", re.I),
}
SKIP = {"tools/lint/machine_paths.py"}


def committed():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [name for name in out.stdout.decode().split("\0") if name and name not in SKIP]


def main():
    errors = []
    names = committed()
    for name in names:
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        for what, pattern in PATTERNS.items():
            for match in pattern.finditer(data):
                line = data.count(b"\n", 0, match.start()) + 1
                errors.append(f"{name}:{line}: {what}: {match[0].decode(errors='replace')}")
    print("\n".join(errors) if errors else f"machine paths: {len(names)} files, none")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
