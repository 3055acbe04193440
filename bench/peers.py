#!/usr/bin/env python3
"""bench/peers.py OAR [--triton VENV] [--mosec VENV] [--mlserver VENV] [--seconds S] [--runs N]: Oar beside servers that others wrote.

Each serves fit_a_line (13 floats in, 1 out) over the Open Inference Protocol, pinned to the first processor; the load comes from `oar bench` and h2load,
pinned to the last one (one call in flight: to the same). VENV: a virtual environment that holds the peer: `pip install nvidia-pytriton` (whose wheel holds
Triton's server; the model is a backend of C, bench/peers/triton_backend.c), `pip install mosec numpy`, `pip install mlserver`. What is not there
is left out. First of each cell: processor time of the server's processes for a call.
"""
import glob
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import serving
from common import MODEL, ROOT, cpu_s, free_port
from serving import CORES, Bench, Load

PEERS = ROOT / "bench" / "peers"


def tree(pid):
    """The process and all that it has started."""
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        for path in glob.glob(f"/proc/{p}/task/*/children"):
            try:
                todo += [int(c) for c in open(path).read().split()]
            except OSError:
                pass
    return out


class Peer(serving.Running):
    """A server of several processes, on the first core."""

    def __init__(self, command, port, ready, **kw):
        self.port = port
        self.process = subprocess.Popen(["taskset", "-c", str(CORES[0]), *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True, **kw)
        for _ in range(300):
            if self.process.poll() is None and ready(port):
                return
            time.sleep(0.1)
        self.__exit__()
        raise SystemExit(f"{command[0]} is not ready")

    def seconds(self):
        total = 0
        for pid in tree(self.process.pid):
            try:
                total += cpu_s(pid)
            except OSError:
                pass
        return total

    def resident(self):
        total = 0
        for pid in tree(self.process.pid):
            try:
                total += sum(int(line.split()[1]) for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith("Pss:"))
            except OSError:
                pass
        return total * 1024 / 1e6

    def __exit__(self, *_):
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, how)
                self.process.wait(10)
                return
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def answers(b):
    """Whether one call is answered, by the command that makes the load."""
    def ready(port):
        done = subprocess.run([b.oar, "call", f"127.0.0.1:{port}", "--protocol", "kserve-http", "--encoding", "json", "--model", "uci", "--in", b.feed(1, 13),
                               "--timeout-ms", "1000"], capture_output=True)
        return done.returncode == 0
    return ready


def start_oar(b, _):
    return b.serve(MODEL)


def start_triton(b, venv):
    found = glob.glob(f"{venv}/lib/python3*/site-packages/pytriton/tritonserver")
    if not found:
        raise FileNotFoundError(f"{venv} holds no Triton")
    home, models, backends = found[0], os.path.join(b.folder, "triton"), os.path.join(b.folder, "backends")
    os.makedirs(os.path.join(models, "uci", "1"), exist_ok=True)
    os.makedirs(os.path.join(backends, "oarpeer"), exist_ok=True)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", os.path.join(backends, "oarpeer", "libtriton_oarpeer.so"), PEERS / "triton_backend.c"], check=True)
    pathlib.Path(models, "uci", "config.pbtxt").write_text(
        'backend: "oarpeer"\nmax_batch_size: 0\ninput { name: "x" data_type: TYPE_FP32 dims: [-1, 13] }\noutput { name: "price" data_type: TYPE_FP32 dims: [-1, 1] }\n'
        "instance_group { kind: KIND_CPU count: 1 }\n")
    port, grpc = free_port(), free_port()
    server = os.path.join(home, "bin", "tritonserver")
    os.chmod(server, 0o755)
    libraries = ":".join([os.path.join(home, "external_libs"), os.path.join(home, "lib"), os.environ.get("LD_LIBRARY_PATH", "")])
    s = Peer([server, "--model-repository", models, "--backend-directory", backends, "--http-port", port, "--grpc-port", grpc, "--allow-metrics", "false",
              "--http-thread-count", "1"], port, answers(b), env={**os.environ, "LD_LIBRARY_PATH": libraries})
    s.grpc_port = grpc
    return s


def start_mosec(b, venv):
    port = free_port()
    return Peer([f"{venv}/bin/python", PEERS / "mosec_server.py", "--address", "127.0.0.1", "--port", port], port, answers(b))


def start_mlserver(b, venv):
    port, grpc, folder = free_port(), free_port(), os.path.join(b.folder, "mlserver")
    os.makedirs(folder, exist_ok=True)
    shutil.copy(PEERS / "mlserver_model.py", folder)
    pathlib.Path(folder, "model-settings.json").write_text(json.dumps({"name": "uci", "implementation": "mlserver_model.FitALine"}))
    pathlib.Path(folder, "settings.json").write_text(json.dumps({"host": "127.0.0.1", "http_port": port, "grpc_port": grpc, "metrics_endpoint": None, "parallel_workers": 0,
                                                                 "debug": False}))
    s = Peer([f"{venv}/bin/mlserver", "start", folder], port, answers(b), cwd=folder, env={**os.environ, "PATH": f"{venv}/bin:{os.environ['PATH']}"})
    s.grpc_port = grpc
    return s


STARTS = {"oar": start_oar, "triton": start_triton, "mosec": start_mosec, "mlserver": start_mlserver}
GRPC = {"oar", "triton", "mlserver"}


def main():
    words = sys.argv[1:]
    if not words:
        sys.exit(__doc__)
    options = dict(zip(words[1::2], words[2::2]))
    seconds, runs = float(options.get("--seconds", 3)), int(options.get("--runs", 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        b = Bench(os.path.abspath(words[0]), folder)
        rows = [("HTTP/1.1, OIP JSON, 64 connections", Load(b, "oar", 64), False, False), ("HTTP/1.1, OIP JSON, 1 call in flight, same", Load(b, "oar"), True, False),
                ("gRPC OIP, 64 connections", Load(b, "h2load", 64), False, True), ("gRPC OIP, 4 connections x 16 streams", Load(b, "h2load", 4, 16), False, True),
                ("gRPC OIP, 1 call in flight, same", Load(b, "h2load"), True, True)]
        names = [n for n in STARTS if n == "oar" or f"--{n}" in options]
        table, resident = {row[0]: {} for row in rows}, {}
        for name in names:
            for _ in range(runs):
                try:
                    started = STARTS[name](b, options.get(f"--{name}"))
                except (FileNotFoundError, SystemExit) as e:
                    print(f"{name}: {e}", file=sys.stderr)
                    break
                with started as s:
                    http = s.port
                    for row, load, same, grpc in rows:
                        if grpc and name not in GRPC:
                            continue
                        s.port = getattr(s, "grpc_port", http) if grpc else http
                        table[row].setdefault(name, []).append(load.run(s, seconds, same))
                    resident[name] = s.resident()
        print("| what | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        for row, cells in table.items():
            def cell(name):
                if name not in cells:
                    return ""
                m = serving.median(cells[name])
                return f"{m['cpu_us']:.1f} us, {m['qps']:.0f}/s, p50 {m['p50_us']:.0f} us, p99 {m['p99_us']:.0f} us"
            print(f"| {row} | " + " | ".join(map(cell, names)) + " |")
        print("| resident memory after it | " + " | ".join(f"{resident[n]:.0f} MB" if n in resident else "" for n in names) + " |")


if __name__ == "__main__":
    main()
