#!/usr/bin/env python3
"""bench/run.py OAR [--json]: the figures of docs/BENCHMARKS.md, measured here and now.

Served is fit_a_line from tests/data/zoo. Start and round trip are timed by bench/probe.c with one
baidu_std frame on one connection; the floor is bench/echo.c, which sends the same bytes back. The
server under test and the echo are pinned to one processor, the probe to another. Each figure is the
median of several runs. Needs a C compiler, binutils' strip, and Python's standard library.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from common import ROOT, field, free_port, memory_bytes

MODEL = ROOT / "tests" / "data" / "zoo" / "fit_a_line" / "pdmodel26"
STARTS, RUNS, ROUNDS = 21, 5, 20000
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, PROBE_CORE = CORES[0], CORES[-1]


def fit_a_line_frame():
    """One row of 13 features to GeneralModelService.inference."""
    tensor = (field(2, struct.pack("<13f", *(0.01 * i for i in range(13)))) + field(10, 1) + field(11, bytes([1, 13])) +
              field(13, b"x") + field(14, b"x"))
    payload = field(1, tensor) + field(2, b"price")
    call = field(1, b"baidu.paddle_serving.predictor.general_model.GeneralModelService") + field(2, b"inference")
    meta = field(1, call) + field(4, 1)
    return b"PRPC" + struct.pack(">II", len(meta) + len(payload), len(meta)) + meta + payload


def pinned(core):
    return lambda: os.sched_setaffinity(0, {core})


def serve_command(oar, port):
    return [oar, "serve", "--model", str(MODEL), "--host", "127.0.0.1", "--port", str(port), "--thread", "1"]


class Server:
    """A process that listens on a port, pinned, for the time of a with block."""

    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(command, preexec_fn=pinned(SERVER_CORE), stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"bench: nothing listens on port {self.port}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


def build(folder, name):
    program = folder / name
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o", program, ROOT / "bench" / f"{name}.c"], check=True)
    return str(program)


def probe(program, *arguments):
    command = [program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=pinned(PROBE_CORE)).stdout


def start_ms(program, frame, oar):
    """The probe may use every processor here: the server that it starts inherits what it may use."""
    times = []
    for _ in range(STARTS):
        port = free_port()
        command = [program, "start", frame, str(port), *serve_command(oar, port)]
        times.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return statistics.median(times)


def round_trips(program, echo, frame, oar):
    """Per run (echo's median, oar's median, their ratio, oar's p99); the run with the median ratio is told."""
    runs = []
    for _ in range(RUNS):
        ports = free_port(), free_port()
        with Server([echo, str(ports[0])], ports[0]), Server(serve_command(oar, ports[1]), ports[1]):
            lines = [list(map(float, line.split())) for line in probe(program, "rtt", frame, ROUNDS, *ports).splitlines()]
        runs.append((lines[1][0] / lines[0][0], lines[0][0], lines[1][0], lines[1][1]))
    return sorted(runs)[RUNS // 2]


def idle_memory_mb(oar):
    port = free_port()
    with Server(serve_command(oar, port), port) as server:
        time.sleep(0.5)
        return {key: memory_bytes(server.process.pid, key) / 2**20 for key in ("VmRSS", "RssAnon")}


def stripped_mb(folder, oar):
    copy = shutil.copy(oar, folder / "stripped")
    subprocess.run(["strip", copy], check=True)
    return os.path.getsize(copy) / 1e6


def measure(oar):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        frame = folder / "frame"
        frame.write_bytes(fit_a_line_frame())
        program, echo = build(folder, "probe"), build(folder, "echo")
        ratio, floor_us, oar_us, p99_us = round_trips(program, echo, frame, oar)
        memory = idle_memory_mb(oar)
        return [
            ("start to first answer, fit_a_line", start_ms(program, frame, oar), "ms", 20),
            ("resident memory, idle with fit_a_line", memory["VmRSS"], "MB", 15),
            ("of it not backed by files", memory["RssAnon"], "MB", None),
            ("stripped binary", stripped_mb(folder, oar), "MB", 2),
            ("round trip of a bare epoll echo, median", floor_us, "us", None),
            ("round trip of fit_a_line, baidu_std, median", oar_us, "us", None),
            ("the same, 99th percentile", p99_us, "us", None),
            ("ratio of the medians", ratio, "", 1.5),
        ]


def main():
    arguments = [a for a in sys.argv[1:] if a != "--json"]
    oar = str(pathlib.Path(arguments[0] if arguments else ROOT / "build" / "oar").resolve())
    figures = measure(oar)
    if "--json" in sys.argv:
        print(json.dumps([dict(zip(("figure", "value", "unit", "limit"), f)) for f in figures], indent=2))
    else:
        print("| figure | measured | limit |\n|---|---|---|")
        for what, value, unit, limit in figures:
            print(f"| {what} | {value:.2f} {unit} | {f'{limit} {unit}' if limit else ''} |")
    return 1 if any(limit and value > limit for _, value, _, limit in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
