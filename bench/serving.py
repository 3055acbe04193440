#!/usr/bin/env python3
"""bench/serving.py OAR [--seconds S] [--runs N] [--only WORD] [--json FILE]: what serving costs over each protocol, beside a bare epoll server.

A Markdown table, one row for each of the figures that the project has set itself. Served is fit_a_line (13 floats in, 1 out); rows of large
bodies are asked twice: of fit_a_line with as many rows, and of a model that takes any floats and answers with the first of them, so that nothing
but the framework's share is left. The server is pinned to the first processor and the load to the last; in rows marked "same" both are on the first, since
waking an idle processor of a virtual machine costs 10 to 20 us. The first figure is the one that other processes disturb least: user and system time of
the server's process over the run, divided by the calls. Medians of several runs, server and floor in turn.

The floor (floor_echo.c) and the load generator for baidu_std (rawload.c) are those of ../shared/bench; HTTP's load comes from `oar bench`, gRPC's from
h2load (Debian: nghttp2-client). JSON's speed comes from bench_json where it is built beside OAR (`cmake --build build --target bench_json`).
Besides these a C compiler and Python's standard library are needed.
"""
import json
import os
import pathlib
import re
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from common import INFER, MODEL, ROOT, ROW, cpu_s, field, free_port, memory_bytes, save, varint

SHARED = ROOT.parent / "shared" / "bench"
CORES = sorted(os.sched_getaffinity(0))
IMAGE, LARGE = 150528, 10485760  # floats: 224 x 224 x 3; 40 MB


class Load:
    """One way to ask: a command that prints its calls and percentiles."""

    def __init__(self, bench, kind, connections=1, depth=1, floats=13, rows=1, protocol="kserve-http", encoding="json"):
        self.bench, self.kind, self.connections, self.depth = bench, kind, connections, depth
        self.floats, self.rows, self.protocol, self.encoding = floats, rows, protocol, encoding

    def command(self, port, seconds):
        b = self.bench
        if self.kind == "raw":
            return [b.rawload, "-p", port, "-c", self.connections, "-d", self.depth, "-t", seconds, "-n", self.floats, "-b", self.rows]
        if self.kind == "oar":
            return [b.oar, "bench", f"127.0.0.1:{port}", "--protocol", self.protocol, "--encoding", self.encoding, "--model", "uci", "--in",
                    b.feed(self.rows, self.floats), "--concurrency", self.connections, "--seconds", seconds, "--warm-up", "0.3", "--json"]
        return ["h2load", "-D", max(1, int(seconds)), "-c", self.connections, "-m", self.depth, "-d", b.grpc_body(self.rows, self.floats), f"--log-file={b.log}",
                "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer"]

    def run(self, server, seconds, same):
        if self.kind == "h2load" and os.path.exists(self.bench.log):
            os.unlink(self.bench.log)
        before = server.seconds()
        done = subprocess.run(["taskset", "-c", str(CORES[0] if same else CORES[-1]), *map(str, self.command(server.port, seconds))], capture_output=True, text=True)
        spent = server.seconds() - before
        if done.returncode != 0:
            raise SystemExit(f"{self.kind}: {done.stdout[-500:]}{done.stderr[-500:]}")
        calls, qps, p50, p99 = self.read(done.stdout)
        return {"cpu_us": spent * 1e6 / max(calls, 1), "qps": qps, "p50_us": p50, "p99_us": p99}

    def read(self, text):
        if self.kind == "raw":
            r = json.loads(text)
            # 0.5 s are before those that count, and cost as much.
            return r["n"] + r["qps"] * 0.5, r["qps"], r["p50_us"], r["p99_us"]
        if self.kind == "oar":
            r = json.loads(text)
            return r["calls"] + r["qps"] * 0.3, r["qps"], r["p50_ms"] * 1e3, r["p99_ms"] * 1e3
        good, failed = int(re.search(r"(\d+) succeeded", text)[1]), int(re.search(r"(\d+) failed", text)[1])
        if good == 0 or failed:
            raise SystemExit(text)
        times = sorted(int(line.rsplit("\t", 1)[1]) for line in open(self.bench.log))
        return good, float(re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", text)[1]), times[len(times) // 2], times[len(times) * 99 // 100]


class Running:
    """A server on the first core."""

    def __init__(self, command, port, files=None):
        self.port = port
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        self.process = subprocess.Popen(["taskset", "-c", str(CORES[0]), *map(str, command)], stderr=subprocess.DEVNULL, preexec_fn=limit)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                time.sleep(0.1)
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"{command[0]} does not listen")

    def seconds(self):
        return cpu_s(self.process.pid)

    def resident(self):
        return memory_bytes(self.process.pid) / 1e6

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def first_model():
    """ONNX: price = x[:, :1], of any number of floats."""
    def constant(name, value):
        return field(5, field(1, 1) + field(2, 7) + field(8, name) + field(9, struct.pack("<q", value)))

    def port(number, name, columns):
        shape = field(1, field(2, "n")) + field(1, columns)
        return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, shape))))
    node = b"".join(field(1, name) for name in ("x", "from", "to", "axis")) + field(2, "price") + field(4, "Slice")
    graph = field(1, node) + field(2, "first") + constant("from", 0) + constant("to", 1) + constant("axis", 1) + port(11, "x", field(2, "m")) + port(12, "price", field(1, 1))
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


class Bench:
    def __init__(self, oar, folder):
        self.oar, self.folder = oar, folder
        self.log, self.floor, self.rawload = (os.path.join(folder, name) for name in ("log", "floor_echo", "rawload"))
        self.first = os.path.join(folder, "first.onnx")
        pathlib.Path(self.first).write_bytes(first_model())
        for path in (self.floor, self.rawload):
            subprocess.run(["cc", "-O2", "-w", "-o", path, SHARED / f"{os.path.basename(path)}.c", "-lm"], check=True)

    def data(self, floats):
        return struct.pack(f"<{len(ROW)}f", *ROW) * (floats // 13) + struct.pack(f"<{floats % 13}f", *ROW[:floats % 13])

    def feed(self, rows, floats):
        path = os.path.join(self.folder, f"{rows}x{floats // rows}.npz")
        if not os.path.exists(path):
            save(path, {"x": ("<f4", (rows, floats // rows), self.data(floats))})
        return path

    def grpc_body(self, rows, floats):
        path = os.path.join(self.folder, f"{rows}x{floats // rows}.grpc")
        if not os.path.exists(path):
            shape = varint(rows) + varint(floats // rows)
            message = field(1, "uci") + field(5, field(1, "x") + field(2, "FP32") + field(3, shape)) + field(7, self.data(floats))
            pathlib.Path(path).write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
        return path

    def serve(self, model=MODEL, files=None, *more):
        port = free_port()
        return Running([self.oar, "serve", "--model", f"uci={model}", "--host", "127.0.0.1", "--port", port, "--thread", "1", "--quiet", *more], port, files)

    def serve_floor(self):
        port = free_port()
        return Running([self.floor, port], port)


def rows_of(b):
    """name, load, whether the floor can answer it, load on the server's core, model, what is wanted"""
    def raw(*a, **k):
        return Load(b, "raw", *a, **k)
    whole = {"floats": 11580 * 13, "rows": 11580}
    return [
        ("baidu_std, 64 connections, one call each", raw(64), True, False, MODEL, "150 k/s, 6.8 us, p99 0.9 ms"),
        ("baidu_std, 1 connection, 64 deep", raw(1, 64), True, False, MODEL, "550 k/s, 1.6 us"),
        ("baidu_std, 1 call in flight, same", raw(), True, True, MODEL, "p50 17.5 us, p99 25"),
        ("HTTP/1.1, OIP JSON, 64 connections", Load(b, "oar", 64), True, False, MODEL, "110 k/s, 8.5 us, p99 2 ms"),
        ("HTTP/1.1, OIP binary, 64 connections", Load(b, "oar", 64, encoding="proto"), True, False, MODEL, ""),
        ("HTTP/1.1, TensorFlow Serving JSON, 64 connections", Load(b, "oar", 64, protocol="tfs"), True, False, MODEL, ""),
        ("HTTP/1.1, Paddle JSON, 64 connections", Load(b, "oar", 64, protocol="http"), True, False, MODEL, ""),
        ("HTTP/1.1, OIP JSON, 1 call in flight, same", Load(b, "oar"), True, True, MODEL, "p50 19 us"),
        ("gRPC OIP, 64 connections", Load(b, "h2load", 64), False, False, MODEL, "110 k/s, 9 us"),
        ("gRPC OIP, 4 connections x 16 streams", Load(b, "h2load", 4, 16), False, False, MODEL, "180 k/s, 5.5 us"),
        ("gRPC OIP, 1 call in flight, same", Load(b, "h2load"), False, True, MODEL, "p50 25 us"),
        ("0.6 MB over baidu_std, 1 in flight, first float back", raw(floats=IMAGE), True, False, b.first, "p50 105 us"),
        ("0.6 MB over baidu_std, 11,580 rows of fit_a_line", raw(**whole), True, False, MODEL, ""),
        ("0.6 MB over HTTP, OIP binary, first float back", Load(b, "oar", floats=IMAGE, encoding="proto"), True, False, b.first, ""),
        ("0.6 MB over gRPC OIP, first float back", Load(b, "h2load", floats=IMAGE), False, False, b.first, ""),
        ("40 MB over baidu_std, first float back", raw(floats=LARGE), True, False, b.first, "p50 10.5 ms"),
        ("40 MB over HTTP, OIP binary, first float back", Load(b, "oar", floats=LARGE, encoding="proto"), True, False, b.first, ""),
        ("40 MB over baidu_std, 806,597 rows of fit_a_line", raw(floats=806597 * 13, rows=806597), True, False, MODEL, ""),
    ]


def median(runs):
    return {k: statistics.median(r[k] for r in runs) for k in runs[0]}


def text_of(m):
    if m is None:
        return " | | | "
    return f"{m['cpu_us']:.2f} | {m['qps']:.0f} | {m['p50_us']:.1f} | {m['p99_us']:.1f}" if m["cpu_us"] < 100 else \
        f"{m['cpu_us']:.0f} | {m['qps']:.0f} | {m['p50_us']:.0f} | {m['p99_us']:.0f}"


def calls(b, words, seconds, runs):
    out = []
    print("| what | CPU us a call | calls/s | p50 us | p99 us | floor: CPU us | calls/s | p50 us | p99 us | p50 to the floor's | wanted |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, load, has_floor, same, model, wanted in rows_of(b):
        if words and not all(w.lower() in name.lower() for w in words):
            continue
        ours, base = [], []
        for _ in range(runs):
            with b.serve(model) as s:
                ours.append(load.run(s, seconds, same))
            if has_floor:
                with b.serve_floor() as s:
                    base.append(load.run(s, seconds, same))
        m, f = median(ours), median(base) if base else None
        ratio = f"{statistics.median(o['p50_us'] / x['p50_us'] for o, x in zip(ours, base)):.2f}" if base else ""
        print(f"| {name} | {text_of(m)} | {text_of(f)} | {ratio} | {wanted} |", flush=True)
        out.append({"name": name, "oar": m, "floor": f, "wanted": wanted})
    return out


# ---- memory ----

def memory_after_load(b, seconds):
    """After the load of 64 connections over three protocols; then around one call of 40 MB."""
    with b.serve(MODEL) as s:
        idle = s.resident()
        for load in (Load(b, "raw", 64), Load(b, "oar", 64), Load(b, "h2load", 64)):
            load.run(s, seconds, False)
        loaded = s.resident()
        time.sleep(1.5)
        before = s.resident()
        Load(b, "raw", floats=806597 * 13, rows=806597).run(s, 0.3, False)
        time.sleep(1)
        after = s.resident()
    print(f"| resident memory, idle; after the load | {idle:.1f} MB; {loaded:.1f} MB | 10 MB |")
    print(f"| resident memory a second after calls of 40 MB | {after - before:+.1f} MB | at most 20 MB more |", flush=True)
    return {"idle_mb": idle, "loaded_mb": loaded, "after_40_mb": after - before}


def idle_connections(b, count=10_000):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 13], "datatype": "FP32", "data": ROW}]}).encode()
    request = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (INFER.encode(), len(body)) + body
    with b.serve(MODEL, count + 1000) as s:
        before, held = s.resident(), []
        for _ in range(count):
            c = socket.create_connection(("127.0.0.1", s.port), 20)
            c.sendall(request)
            if b" 200 " not in c.recv(4096):
                raise SystemExit("a call failed")
            held.append(c)
        time.sleep(2)
        after = s.resident()
        for c in held:
            c.close()
    print(f"| {count:,} connections that have asked once and are idle | {after:.1f} MB in all, {(after - before) * 1e3 / count:.2f} KB each | under 60 MB |", flush=True)
    return {"connections": count, "resident_mb": after}


def growth(b, seconds):
    """Over many small requests behind a warm-up; what a thousand million would add, if it went on like this."""
    load = Load(b, "raw", 4, 64)
    with b.serve(MODEL) as s:
        load.run(s, min(3, seconds), False)
        before = s.resident()
        r = load.run(s, seconds, False)
        grown = s.resident() - before
    asked = r["qps"] * (seconds + 0.5)
    print(f"| memory that {asked / 1e6:.1f} million small requests added | {grown * 1e3:.0f} KB, so {max(grown, 0) / asked * 1e9:.2f} MB for 10^9 | under 1 MB |", flush=True)
    return {"requests": asked, "grown_mb": grown}


def json_speed(b):
    path = os.path.join(os.path.dirname(b.oar), "bench_json")
    if not os.path.exists(path):
        print("| JSON of 150,528 floats | bench_json is not built | 400 MB/s |")
        return None
    r = json.loads(subprocess.run(["taskset", "-c", str(CORES[0]), path], capture_output=True, text=True, check=True).stdout)
    print(f"| JSON of 150,528 floats: parsed; written | {r['parse_mb_s']} MB/s; {r['write_mb_s']} MB/s | 400 MB/s each |", flush=True)
    return r


def main():
    words = sys.argv[1:]
    if not words or not SHARED.exists():
        sys.exit(__doc__)
    oar, options = os.path.abspath(words[0]), dict(zip(words[1::2], words[2::2]))
    seconds, runs, only = float(options.get("--seconds", 2)), int(options.get("--runs", 3)), options.get("--only", "").split()
    with tempfile.TemporaryDirectory() as folder:
        b = Bench(oar, folder)
        out = {"calls": calls(b, [w for w in only if w != "memory"], seconds, runs) if only != ["memory"] else []}
        if not only or only == ["memory"]:
            print("\n| what | measured | wanted |\n|---|---|---|")
            out["memory"] = memory_after_load(b, seconds)
            out["idle"] = idle_connections(b)
            out["growth"] = growth(b, max(10 * seconds, 5))
            out["json"] = json_speed(b)
    if "--json" in options:
        pathlib.Path(options["--json"]).write_text(json.dumps(out))


if __name__ == "__main__":
    main()
