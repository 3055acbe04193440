"""A custom operator, built against an installed Oar alone, in the server's process and in one of its own."""
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest
import requests

from conftest import BUILD, ROOT, ZOO, run_oar

CNN = ZOO / "imdb_cnn" / "pdmodel26"
TEXT = {"feed": [{"words": [8, 233, 52, 7, 99], "words.lod": [0, 2, 5]}], "fetch": []}

CRASHES = """
#include <oar/oar_op.h>
#include <stdlib.h>
static int run(const oar_op_host *host, void *state, oar_op_call *call, const oar_op_tensor *in, int count)
{
    const float *x = in[0].data;
    if (in[0].shape[0] == 1)
        abort();
    (void)x, (void)count, (void)state;
    return host->give(call, &in[0]);
}
static const char *const none[] = { NULL }, *const out[] = { "x", NULL };
static const int32_t types[] = { OAR_OP_F32 };
static const oar_op op = { OAR_OP_ABI, sizeof(oar_op), "crashes", 1, 1, none, out, types, NULL, run, NULL };
const oar_op *oar_op_entry(void) { return &op; }
"""


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("install")
    run("cmake", "--install", BUILD, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def threshold(prefix, tmp_path_factory):
    folder = tmp_path_factory.mktemp("threshold")
    run("cmake", "-S", ROOT / "examples" / "operator", "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", folder)
    return folder / "threshold.so"


def graph(folder, library, more=""):
    file = folder / "g.yml"
    file.write_text(f"service: g\nnodes:\n  - {{name: cnn, model: {CNN}}}\n"
                    f"  - {{name: decide, op: plugin, library: {library}, inputs: [cnn.prediction]{more}}}\n"
                    "  - {op: response, inputs: [cnn, decide]}\n")
    return file


def ask(server, body=TEXT):
    return requests.post(f"http://{server.address}/g/prediction", json=body, timeout=20)


def children(pid):
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if stat.read_text().rpartition(")")[2].split()[1] == str(pid):
                yield int(stat.parent.name)
        except OSError:  # it has ended just now
            pass


@pytest.mark.parametrize("confine", ["", ", confine: true"])
def test_the_example(serve, tmp_path, threshold, confine):
    with serve("--model", graph(tmp_path, threshold, ", settings: {at: 0.6}" + confine)) as server:
        for _ in range(20):
            answer = ask(server)
            assert answer.status_code == 200, answer.text
            result = answer.json()["result"]
            assert np.array_equal(np.array(result["above"]), (np.array(result["prediction"]) >= 0.6).astype(int))


def test_a_crash_is_confined(serve, tmp_path, prefix):
    source, library = tmp_path / "crashes.c", tmp_path / "crashes.so"
    source.write_text(CRASHES)
    run("cc", "-shared", "-fPIC", f"-I{prefix}/include", source, "-o", library)
    one = {"feed": [{"words": [8], "words.lod": [0, 1]}], "fetch": []}
    with serve("--model", graph(tmp_path, library, ", confine: true")) as server:
        for _ in range(3):
            assert ask(server).status_code == 200
            broken = ask(server, one)
            assert broken.status_code == 500 and "signal 6" in broken.text
            begin = time.monotonic()
            assert ask(server).status_code == 200
            assert time.monotonic() - begin < 1


def test_signals_of_the_server_do_not_end_its_operators_process(serve, tmp_path, threshold):
    """Ctrl-C in a terminal and systemd send them to all processes of the service; what is admitted is answered yet."""
    with serve("--model", graph(tmp_path, threshold, ", settings: {at: 0.6}, confine: true")) as server:
        assert ask(server).status_code == 200
        (child,) = children(server.process.pid)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(child, number)
        assert ask(server).status_code == 200
        os.kill(child, 0)
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{child}"):  # it ends with the server
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_version_that_fails_in_its_first_requests_is_taken_back(serve, tmp_path, prefix):
    source, library = tmp_path / "crashes.c", tmp_path / "crashes.so"
    source.write_text(CRASHES)
    run("cc", "-shared", "-fPIC", f"-I{prefix}/include", source, "-o", library)
    one = {"feed": [{"words": [8], "words.lod": [0, 1]}], "fetch": []}
    file = tmp_path / "g.yml"
    file.write_text(f"service: g\nnodes:\n  - {{name: cnn, model: {CNN}}}\n")
    with serve("--model", file, "--settle-ms", "50") as server:
        assert ask(server, one).status_code == 200
        graph(tmp_path, library, ", confine: true")  # loads well, and fails for texts of one sentence
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and "the one before answered" not in server.errors:
            assert ask(server, one).status_code == 200, server.errors  # the callers see nothing of it
            time.sleep(0.01)
        assert "of its first" in server.errors and "that one serves" in server.errors
        assert "above" not in ask(server).json()["result"]


def test_mistakes_are_named(tmp_path, threshold):
    def refusal(file):
        done = run_oar("serve", "--model", file, "--port", "0")
        assert done.returncode == 1
        return done.stderr
    assert "has no setting 'att'; did you mean 'at'?" in refusal(graph(tmp_path, threshold, ", settings: {att: 1}"))
    assert "'at' is expected to be a number" in refusal(graph(tmp_path, threshold, ", settings: {at: x}"))
    assert "g.yml:4" in refusal(graph(tmp_path, tmp_path / "none.so"))
    empty = tmp_path / "empty.so"
    (tmp_path / "empty.c").write_text("int x;")
    run("cc", "-shared", "-fPIC", tmp_path / "empty.c", "-o", empty)
    assert "exports no oar_op_entry" in refusal(graph(tmp_path, empty))
