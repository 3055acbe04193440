"""bench/hold.py with small numbers: every pass line is met."""
import subprocess
import sys

import pytest

from conftest import OAR, ROOT


@pytest.mark.parametrize("item", ["hostile", "loris", "files", "memory", "drain", "floods", "gone", "system"])
def test_holds_up(item):
    done = subprocess.run([sys.executable, ROOT / "bench" / "hold.py", OAR, "--quick", item], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
