"""The Python package under test: the wheel of this build, unpacked into a folder that is first in sys.path.

Tests of it begin with `from python_site import SITE`; where it was not built (no Python headers) they are skipped."""
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from conftest import BUILD, ROOT

if not (BUILD / "python" / "oar" / "_oar.abi3.so").exists():
    pytest.skip("the Python extension is not built: Python.h is missing", allow_module_level=True)

ENV = {**os.environ, "OAR_BUILD": str(BUILD), "OAR_WHEEL_LEVEL": "1"}


def make_wheel():
    done = subprocess.run([sys.executable, ROOT / "bindings" / "python" / "build_backend.py", BUILD / "dist"], env=ENV,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip())


def unpack(wheel):
    """As an installer does it: the modes of the files count."""
    folder = BUILD / "site"
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(wheel) as z:
        for info in z.infolist():
            os.chmod(z.extract(info, folder), info.external_attr >> 16 & 0o777 or 0o644)
    return folder


WHEEL = make_wheel()
SITE = unpack(WHEEL)
sys.path.insert(0, str(SITE))


def script(source, *arguments, cwd=None, timeout=60, check=True, **env):
    """Runs a script (text, or the name of a module after "-m") with the package in its path; the finished process."""
    command = [sys.executable, *(["-c", source] if source != "-m" else ["-m"]), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, "PYTHONPATH": str(SITE), **env})
    assert not check or done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
