"""What the end-to-end tests share: the binary under test, a server for the time of a test, recorded cases.

The binary is taken from the folder in OAR_BUILD, by default build/. Recorded models come from
tests/data/zoo; OAR_ZOO may name a larger collection of the same layout.
"""
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("OAR_BUILD", ROOT / "build")).resolve()
OAR = BUILD / "oar"
ZOO = pathlib.Path(os.environ.get("OAR_ZOO", ROOT / "tests" / "data" / "zoo")).resolve()
DEMO = ROOT / "examples" / "models" / "diabetes"
TOLERANCE = 1e-5  # of the largest magnitude of an output


def run_oar(*arguments, timeout=60, **kw):
    """The finished process of one command; tests look at its returncode, stdout and stderr."""
    return subprocess.run([OAR, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **kw)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`oar serve` on a free port of 127.0.0.1; `errors` holds what it wrote once it has ended."""

    def __init__(self, *arguments, port=None):
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [OAR, "serve", "--host", "127.0.0.1", "--port", str(self.port), *map(str, arguments)]
        self.log = os.memfd_create("stderr")
        fcntl.fcntl(self.log, fcntl.F_SETFL, os.O_APPEND)  # the server's writes and our reads share one place in it
        self.process = subprocess.Popen(command, stderr=self.log)

    def wait_ready(self, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}: {self.errors}"
            try:
                urllib.request.urlopen(f"http://{self.address}/v2/health/ready", timeout=1).close()
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        raise AssertionError(f"not ready after {seconds} s: {self.errors}")

    @property
    def errors(self):
        return os.pread(self.log, os.fstat(self.log).st_size, 0).decode(errors="replace")

    def stop(self, seconds=20):
        """SIGTERM, as an operator would; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()

    def __enter__(self):
        try:
            return self.wait_ready()
        except BaseException:
            self.process.kill()
            raise

    def __exit__(self, kind, *_):
        status = self.stop()
        if kind is None:
            assert status == 0, f"the server ended with {status}: {self.errors}"


@pytest.fixture
def serve():
    """`with serve("--model", DIR) as server:`; leaving the block checks that the server ended well."""
    return Server


@pytest.fixture
def url(server):
    """Where the module's own `server` is asked over HTTP."""
    return f"http://{server.address}"


def models(zoo=ZOO):
    """Every folder of the zoo that holds a model and its cases, as 'model/form'."""
    return sorted(str(meta.parent.relative_to(zoo)) for meta in zoo.glob("*/*/meta.json"))


def cases(folder):
    """(input file, output file) of each recorded case."""
    return [(path, path.with_name(path.name.replace(".in.", ".out."))) for path in sorted(folder.glob("case_*.in.npz"))]


def assert_close(got, want, tolerance=TOLERANCE):
    """Within the tolerance of the largest magnitude; whole numbers are equal."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if want.dtype.kind != "f":
        assert np.array_equal(got, want)
        return
    assert np.array_equal(np.isfinite(got), np.isfinite(want))
    finite = np.isfinite(want)
    largest = np.abs(want[finite]).max(initial=0.0)
    worst = np.abs(got[finite] - want[finite]).max(initial=0.0)
    assert worst <= tolerance * max(largest, 1e-30), f"off by {worst}, the largest is {largest}"
