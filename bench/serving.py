#!/usr/bin/env python3
"""bench/serving.py OAR [--seconds S] [--runs N] [--json]: what serving costs over HTTP/1.1, beside a bare epoll server.

Served is fit_a_line (13 floats in, 1 out). Load comes from `oar bench`, pinned to another processor than the server
("two") or, for one call in flight, to the same one ("same": waking an idle processor of a virtual machine costs 10 to 20 us). The first
figure of each row is the one that other processes disturb least: user + system time of the server's process over the run,
divided by its calls. The floor is floor_echo.c of the yardsticks beside the project (../shared/bench), which answers a
constant without reading; without it the rows stand alone. Medians of several runs, server and floor in turn. Needs a C
compiler for the floor, and Python's standard library.
"""
import json
import os
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests" / "data" / "zoo" / "fit_a_line" / "pdmodel26"
FLOOR = ROOT.parent / "shared" / "bench" / "floor_echo.c"
CORES = sorted(os.sched_getaffinity(0))
ROW = [0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]
TICK = os.sysconf("SC_CLK_TCK")

# name, protocol, encoding, connections, rows of 13 floats, load on the server's core
ROWS = [
    ("OIP JSON, 64 connections", "kserve-http", "json", 64, 1, False),
    ("OIP binary, 64 connections", "kserve-http", "proto", 64, 1, False),
    ("TensorFlow Serving JSON, 64 connections", "tfs", "proto", 64, 1, False),
    ("Paddle JSON, 64 connections", "http", "json", 64, 1, False),
    ("Paddle protobuf, 64 connections", "http", "proto", 64, 1, False),
    ("OIP JSON, 1 call in flight, same", "kserve-http", "json", 1, 1, True),
    ("OIP binary, 0.6 MB, 1 in flight", "kserve-http", "proto", 1, 11580, False),
    ("OIP JSON, 150,540 floats, 1 in flight", "kserve-http", "json", 1, 11580, False),
    ("OIP binary, 40 MB, 1 in flight", "kserve-http", "proto", 1, 806597, False),
]


def npz(path, rows):
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 13), }}".encode()
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("x.npy", b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + shape.ljust(117) + b"\n" + struct.pack("<13f", *ROW) * rows)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Running:
    """A server on the first core."""

    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(["taskset", "-c", str(CORES[0]), *map(str, command)], stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"{command[0]} does not listen")

    def seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())[1]) / 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def run(oar, server, row, feeds, seconds):
    name, protocol, encoding, connections, rows, same = row
    core = CORES[0] if same else CORES[-1]
    before = server.seconds()
    done = subprocess.run(["taskset", "-c", str(core), oar, "bench", f"127.0.0.1:{server.port}", "--protocol", protocol, "--encoding", encoding,
                           "--model", "uci", "--in", feeds[rows], "--concurrency", str(connections), "--seconds", str(seconds), "--warm-up", "0", "--json"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    r = json.loads(done.stdout)
    return {"cpu_us": (server.seconds() - before) * 1e6 / max(r["calls"], 1), "qps": r["qps"], "p50_us": r["p50_ms"] * 1e3, "p99_us": r["p99_ms"] * 1e3}


def median(runs):
    return {k: statistics.median(r[k] for r in runs) for k in runs[0]}


def main():
    words = sys.argv[1:]
    if not words:
        sys.exit(__doc__)
    words_of_options = [w for w in words[1:] if w != "--json"]
    oar, options = os.path.abspath(words[0]), dict(zip(words_of_options[::2], words_of_options[1::2]))
    seconds, runs = float(options.get("--seconds", 2)), int(options.get("--runs", 3))
    out = []
    with tempfile.TemporaryDirectory() as folder:
        feeds = {rows: os.path.join(folder, f"{rows}.npz") for rows in {r[4] for r in ROWS}}
        for rows, path in feeds.items():
            npz(path, rows)
        floor = os.path.join(folder, "floor") if FLOOR.exists() else None
        if floor:
            subprocess.run(["cc", "-O2", "-o", floor, FLOOR], check=True)
        print(f"{'':40}{'CPU us/call':>12}{'calls/s':>10}{'p50 us':>9}{'p99 us':>10}   floor: CPU us/call, calls/s")
        for row in ROWS:
            ours, base = [], []
            for _ in range(runs):
                port = free_port()
                with Running([oar, "serve", "--model", f"uci={MODEL}", "--host", "127.0.0.1", "--port", port, "--thread", "1", "--quiet"], port) as s:
                    ours.append(run(oar, s, row, feeds, seconds))
                    resident = s.resident()
                if floor and row[4] == 1:
                    port = free_port()
                    with Running([floor, port], port) as s:
                        base.append(run(oar, s, row, feeds, seconds))
            m = median(ours)
            tail = f"   {median(base)['cpu_us']:.1f}, {median(base)['qps']:.0f}" if base else ""
            print(f"{row[0]:40}{m['cpu_us']:12.1f}{m['qps']:10.0f}{m['p50_us']:9.0f}{m['p99_us']:10.0f}{tail}", flush=True)
            out.append({"name": row[0], **m, "floor": median(base) if base else None, "resident_mb": resident})
    print(f"resident after the first row's load: {out[0]['resident_mb']:.1f} MB")
    if "--json" in words:
        print(json.dumps(out))


if __name__ == "__main__":
    main()
