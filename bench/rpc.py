#!/usr/bin/env python3
"""bench/rpc.py OAR [ROUNDS]: the server's processor time per call over baidu_std and gRPC, beside a bare epoll server's.

One row of 13 floats to fit_a_line, server on the first processor, load on the second. Times are user and system time of the
server's process, divided by the calls that were answered; the ratios are of neighbours within a round, medians over the rounds.
The floor and its load generator are those of ../shared/bench; gRPC's load is h2load (Debian: nghttp2-client).
"""
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "bench"
MODEL = ROOT / "tests" / "data" / "uci_housing"
TICK = 1e-2


def field(number, value):
    return bytes([number << 3 | 2, len(value)]) + value


def grpc_body():
    tensor = field(1, b"x") + field(2, b"FP32") + field(3, b"\x01\x0d")
    message = field(1, b"uci") + field(5, tensor) + field(7, struct.pack("<13f", *[0.1] * 13))
    return b"\0" + struct.pack(">I", len(message)) + message


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processor_time(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def measure(pid, command):
    """Microseconds of the server for one call."""
    before = processor_time(pid)
    out = subprocess.run(["taskset", "-c", "1", *map(str, command)], capture_output=True, text=True, check=True).stdout
    calls = int(re.search(r'"n": (\d+)|(\d+) succeeded', out).group(1) or re.search(r"(\d+) succeeded", out).group(1))
    return (processor_time(pid) - before) / calls * 1e6


def main():
    oar, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        for name in ("floor_echo", "rawload"):
            subprocess.run(["cc", "-O2", "-w", "-o", f"{folder}/{name}", SHARED / f"{name}.c", "-lm"], check=True)
        body = pathlib.Path(folder, "body")
        body.write_bytes(grpc_body())
        port, floor_port = free_port(), free_port()
        server = subprocess.Popen(["taskset", "-c", "0", oar, "serve", "--model", f"uci={MODEL}", "--host", "127.0.0.1", "--port", str(port), "--thread",
                                   "1", "--quiet"], stderr=subprocess.DEVNULL)
        floor = subprocess.Popen(["taskset", "-c", "0", f"{folder}/floor_echo", str(floor_port)])
        time.sleep(1)
        url = f"http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer"

        def raw(at, connections, depth):
            return [f"{folder}/rawload", "-p", at, "-c", connections, "-d", depth, "-t", "1.5"]

        def h2(connections, streams):
            return ["h2load", "-n", "60000", "-c", connections, "-m", streams, "-d", body, "-H", "content-type:application/grpc", "-H", "te:trailers", url]
        groups = [[("floor, 64 connections", floor, raw(floor_port, 64, 1)), ("baidu_std, 64 connections", server, raw(port, 64, 1)),
                   ("gRPC, 64 connections", server, h2(64, 1))],
                  [("floor, 1 connection 64 deep", floor, raw(floor_port, 1, 64)), ("baidu_std, 1 connection 64 deep", server, raw(port, 1, 64)),
                   ("gRPC, 4 connections of 16 streams", server, h2(4, 16))]]
        try:
            for group in groups:
                times = {name: [] for name, *_ in group}
                for _ in range(rounds):
                    for name, process, command in group:
                        times[name].append(measure(process.pid, command))
                base = times[group[0][0]]
                for name, values in times.items():
                    ratio = statistics.median(v / b for v, b in zip(values, base))
                    print(f"| {name} | {statistics.median(values):.2f} us | {ratio:.2f} |")
        finally:
            server.terminate()
            floor.kill()


main()
