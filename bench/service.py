#!/usr/bin/env python3
"""The service's promises, each a command that ends with 0 when its line holds:

    bench/service.py reload [--times 100]      new versions under load: no failed request, p99 against before
    bench/service.py kill [--times 200]        kill -9 at seeded moments of load and copy: the next start serves a whole version
    bench/service.py memory [--times 10000]    loads and unloads: resident memory comes back
    bench/service.py crosscheck [--times 1000000]   unique questions under batching, cache, reload, vanishing callers
    bench/service.py overload [--seconds 60]   calls at ten times the rate that can be served
    bench/service.py trace [--times 8]         what tracing live requests costs
    bench/service.py batching [--model DIR]    64 callers, unequal lengths: batching on against off
    bench/service.py overlap                   examples/graphs/blend.yml: two branches against one
    bench/service.py images --model DIR        16 callers in batches against the engine's own best

Needs `cmake --build build --target oar bench_crosscheck`. Python's standard library only.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import common
from common import ROOT

BUILD = ROOT / "build"
OAR = BUILD / "oar"
ZOO = ROOT / "tests" / "data" / "zoo"
HOUSES = ZOO / "fit_a_line" / "pdmodel26"


def pinned(processor):
    """What a child does first: it keeps to one processor; None: to any."""
    return None if processor is None else lambda: os.sched_setaffinity(0, {processor})


class Server:
    def __init__(self, *words, processor=None):
        self.port = common.free_port()
        self.at = f"127.0.0.1:{self.port}"
        self.started = time.monotonic()
        self.process = subprocess.Popen([OAR, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--quiet",
                                         "--log-level", "error", *map(str, words)], preexec_fn=pinned(processor))

    def post(self, path, body=None, method="POST"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
        answer = c.getresponse()
        data = answer.read()
        c.close()
        return answer.status, data

    def wait(self, seconds=20):
        while time.monotonic() - self.started < seconds:
            assert self.process.poll() is None, "the server ended"
            try:
                if self.post("/v2/health/ready", method="GET")[0] == 200:
                    return time.monotonic() - self.started
            except OSError:
                time.sleep(0.002)
        raise AssertionError("not ready")

    def cpu_s(self):
        """Processor time so far."""
        return common.cpu_s(self.process.pid)

    def rss(self):
        return common.memory_bytes(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def files(folder):
    return [p for p in folder.iterdir() if not p.name.startswith(("case_", "meta"))]


def put(source, target):
    part = target.parent / f".{target.name}.part"
    part.mkdir(parents=True)
    for path in files(source):
        shutil.copy(path, part / path.name)
    part.rename(target)


def load(server, source, seconds, concurrency=4, rate=0, inputs=(), processor=None):
    """oar bench: on a recorded case of the model, or on files of arrays that calls take turns through."""
    inputs = list(inputs) or [sorted(source.glob("case_*.in.npz"))[0]]
    command = [OAR, "bench", server.at, "--protocol", "brpc", "--in", inputs[0], "--concurrency", concurrency,
               "--seconds", seconds, "--warm-up", "0.5", "--rate", rate, "--json"]
    if inputs[1:]:
        command += ["--mix", ",".join(map(str, inputs[1:]))]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            preexec_fn=pinned(processor))


def save(path, **arrays):
    """An .npz of whole numbers: name=(shape, list)."""
    return common.save(path, {name.replace("__", "."): ("<i8", shape, struct.pack(f"<{len(values)}q", *values))
                              for name, (shape, values) in arrays.items()})


def texts(work, lengths, seed=1):
    rng = random.Random(seed)
    return [save(work / f"text{i}.npz", words=((n, 1), [rng.randrange(1, 500) for _ in range(n)]), words__lod=((2,), [0, n]))
            for i, n in enumerate(lengths)]


def ready_versions(server, name):
    rows = json.loads(server.post("/v2/repository/index")[1])
    return [int(r["version"]) for r in rows if r["name"] == name and r["state"] == "READY"]


def reload(args, work):
    source = ROOT / args.model if args.model else ZOO / "lenet_digits" / "pdmodel26"
    put(source, work / "m" / "1")
    server = Server("--model-repository", work, "--settle-ms", "1")
    server.wait()
    most = json.loads(load(server, source, 3).communicate()[0])["qps"]
    rate = {"concurrency": 16, "rate": most * args.share}
    before = json.loads(load(server, source, max(5, 300 / rate["rate"]), **rate).communicate()[0])
    done = 1

    def replace_versions():
        nonlocal done
        while done < args.times + 1:
            put(source, work / "m" / str(done + 1))
            while done + 1 not in ready_versions(server, "m"):
                time.sleep(0.02)
            done += 1
            if done > 3:
                shutil.rmtree(work / "m" / str(done - 2))

    reloader, parts = threading.Thread(target=replace_versions), []
    begin = time.monotonic()
    reloader.start()
    while reloader.is_alive():
        parts.append(json.loads(load(server, source, max(5, 300 / rate["rate"]), **rate).communicate()[0]))
    seconds = time.monotonic() - begin
    server.stop()
    p99, errors = statistics.median(p["p99_ms"] for p in parts), sum(p["errors"] for p in parts)
    ratio = p99 / before["p99_ms"]
    return {"reloads": args.times, "seconds_a_reload": round(seconds / args.times, 3), "calls_a_second": round(rate["rate"], 1),
            "calls": sum(p["calls"] for p in parts), "errors": errors, "p99_before_ms": before["p99_ms"], "p99_during_ms": round(p99, 3),
            "p99_ratio": round(ratio, 3)}, errors == 0 and ratio <= 1.2


def kill(args, work):
    """A copier writes versions file by file, slowly, as people do; the server is killed at a seeded moment of it."""
    rng = random.Random(args.seed)
    put(HOUSES, work / "m" / "1")
    next_version, slowest, bad = 2, 0.0, 0
    for _ in range(args.times):
        server = Server("--model-repository", work, "--settle-ms", "5")
        slowest = max(slowest, server.wait())
        served = ready_versions(server, "m")
        code, answer = server.post("/m/prediction", {"feed": [{"x": [0.1] * 13}], "fetch": []})
        whole = [p for p in (work / "m").iterdir() if p.name.isdigit() and len(files(p)) == len(files(HOUSES))]
        bad += code != 200 or len(served) != 1 or not (work / "m" / str(served[0])) in whole
        stop = threading.Event()

        def copy(version):
            target = work / "m" / str(version)
            target.mkdir()
            for path in files(HOUSES):
                data = path.read_bytes()
                with open(target / path.name, "wb") as out:
                    for at in range(0, len(data), 512):
                        if stop.is_set():
                            return
                        out.write(data[at:at + 512])
                        out.flush()
                        if rng.random() < 0.3:
                            time.sleep(0.001)

        copier = threading.Thread(target=copy, args=(next_version,))
        copier.start()
        time.sleep(rng.random() * 0.08)
        server.process.kill()
        server.process.wait()
        stop.set()
        copier.join()
        if len(list((work / "m").iterdir())) > 12:  # the oldest of the whole ones and all that is cut short
            for path in sorted((p for p in (work / "m").iterdir()), key=lambda p: int(p.name))[1:-2]:
                shutil.rmtree(path)
        next_version += 1
    return {"kills": args.times, "seed": args.seed, "bad_starts": bad, "slowest_start_s": round(slowest, 3)}, bad == 0 and slowest < 1


def memory(args, work):
    put(ZOO / "lenet_digits" / "pdmodel26", work / "m" / "1")
    server = Server("--model-repository", work, "--model-control", "explicit", "--load-model", "m")
    server.wait()
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def change(what):
        c.request("POST", f"/v2/repository/models/m/{what}", "{}")
        answer = c.getresponse()
        answer.read()
        assert answer.status == 200

    for _ in range(200):  # what the allocators keep for good
        change("unload"), change("load")
    first = server.rss()
    for i in range(args.times):
        change("unload"), change("load")
    time.sleep(0.5)
    last = server.rss()
    server.stop()
    growth = last / first - 1
    return {"loads": args.times, "rss_first": first, "rss_last": last, "growth_percent": round(100 * growth, 2)}, growth <= 0.01


def crosscheck(args, work):
    put(HOUSES, work / "flat")
    (work / "flat" / "fluid_time_file").touch()
    server = Server("--model", f"m={work / 'flat'}", "--runtime-thread-num", "2", "--batch-infer-size", "16",
                    "--batch-delay-us", "100", "--request-cache-size", 1 << 20, "--settle-ms", "1")
    server.wait()
    stop, reloads, vanished = threading.Event(), [0], [0]

    def touch():
        while not stop.wait(0.2):
            (work / "flat" / "fluid_time_file").touch()
            reloads[0] += 1

    def vanish():
        """Callers that ask and are gone before the answer."""
        body = json.dumps({"feed": [{"x": [0.5] * 13}], "fetch": []}).encode()
        head = b"POST /m/prediction HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        while not stop.wait(0.002):
            try:
                with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
                    s.sendall(head + body)
                    vanished[0] += 1
            except OSError:
                pass

    helpers = [threading.Thread(target=f) for f in (touch, vanish)]
    for t in helpers:
        t.start()
    run = subprocess.run([BUILD / "bench_crosscheck", server.at, HOUSES, str(args.times), "16"], capture_output=True, text=True)
    stop.set()
    for t in helpers:
        t.join()
    server.stop()
    sys.stderr.write(run.stderr)
    out = json.loads(run.stdout)
    return {**out, "reloads": reloads[0], "vanished": vanished[0]}, run.returncode == 0


QUEUE_MS = 100


def overload(args, work):
    """Calls at ten times the rate that keeps the server busy, whether it answers or not (each timed from when it was due), of a
    text that takes some milliseconds. Server and caller have a processor each, so that what the caller's own work costs is not
    taken from the server. The queue holds 64 and a call waits in it for 100 ms at most."""
    source = ZOO / "imdb_lstm" / "pdmodel26"
    inputs = texts(work, [6000] * 2)
    server = Server("--model", f"m={source}", "--thread", "1", "--runtime-thread-num", "1", "--batch-infer-size", "1",
                    "--batch-queue-size", "64", "--batch-queue-timeout-us", QUEUE_MS * 1000, processor=0)
    server.wait()
    alone = json.loads(load(server, source, 3, 1, inputs=inputs, processor=1).communicate()[0])
    calm = json.loads(load(server, source, 5, 8, inputs=inputs, processor=1).communicate()[0])
    flood = json.loads(load(server, source, args.seconds, 256, rate=10 * calm["qps"], inputs=inputs, processor=1).communicate()[0])
    begin = time.monotonic()
    code, _ = server.post("/m/prediction", {"feed": [{"words": [1, 2, 3], "words.lod": [0, 3]}], "fetch": []})
    recovery = time.monotonic() - begin
    server.stop()
    good = flood["calls"] / flood["seconds"]
    most = QUEUE_MS + 2 * alone["p99_ms"]
    return {"capacity_qps": calm["qps"], "offered_qps": round(10 * calm["qps"], 1), "goodput_qps": round(good, 1),
            "goodput_ratio": round(good / calm["qps"], 3), "refused": flood["errors"], "never_made": flood.get("late", 0),
            "p50_ms": flood["p50_ms"], "p99_ms": flood["p99_ms"], "p99_most_ms": round(most, 1), "alone_p99_ms": alone["p99_ms"],
            "recovery_s": round(recovery, 3)}, (good >= 0.95 * calm["qps"] and flood["p99_ms"] <= most and code == 200 and
                                                recovery < 1)


def answered(server):
    text = server.post("/metrics", method="GET")[1].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.split("\n") if line.startswith("nv_inference_request_success"))


def cpu_us_a_call(server, seconds):
    """Processor time of the server for one of the calls that it answers meanwhile."""
    calls, cpu = answered(server), server.cpu_s()
    time.sleep(seconds)
    return 1e6 * (server.cpu_s() - cpu) / (answered(server) - calls)


def trace(args, work):
    """What tracing live requests costs: while 8 callers keep the server busy from another processor, pairs of a second without and
    one with somebody looking; the median of the pairs' ratios, so that what changes more slowly than they do counts little."""
    out, worst = {}, 0
    for name in ("fit_a_line", "lenet_digits", "imdb_lstm"):
        source = ZOO / name / "pdmodel26"
        server = Server("--model", f"m={source}", "--thread", "1", processor=0)
        server.wait()
        callers = load(server, source, 600, 8, processor=1)
        time.sleep(1)
        pairs = []
        for _ in range(args.times):
            off = cpu_us_a_call(server, 1.2)
            looking = threading.Thread(target=server.post, args=("/debug/trace?seconds=2", None, "GET"))
            looking.start()
            time.sleep(0.1)
            pairs.append((off, cpu_us_a_call(server, 1.2)))
            looking.join()
        callers.kill()
        callers.wait()
        server.stop()
        more = statistics.median(on / off for off, on in pairs) - 1
        worst = max(worst, more)
        out[name] = {"off_us": round(statistics.median(p[0] for p in pairs), 2), "more_percent": round(100 * more, 1)}
    return out, worst < 0.05


def batching(args, work):
    """64 callers, texts of 5 to 400 words: batching on against off. --model names another model with recorded cases that are
    of unequal length already, for example bert_mini."""
    source = pathlib.Path(args.model) if args.model else ZOO / "imdb_lstm" / "pdmodel26"
    rng = random.Random(7)
    if args.model:
        inputs = [save(work / f"ids{i}.npz", input_ids=((1, n), [rng.randrange(1, 100) for _ in range(n)]),
                       token_type_ids=((1, n), [0] * n)) for i, n in enumerate(rng.randint(5, 60) for _ in range(32))]
        put(source, work / "m")
        (work / "m" / "oar.yml").write_text("pad: [{input: input_ids}, {input: token_type_ids}]\n"
                                            "trim: [{output: sequence_output, like: input_ids}]\n")
        model = f"m={work / 'm'}"
    else:
        inputs, model = texts(work, [rng.randint(5, 400) for _ in range(32)]), f"m={source}"
    ways = {"off": (), "on": ("--runtime-thread-num", "2", "--batch-infer-size", str(args.rows or 8))}
    runs = {name: [] for name in ways}
    for _ in range(args.times):
        for name, words in ways.items():
            server = Server("--model", model, *words)
            server.wait()
            load(server, source, 1, 64, inputs=inputs).communicate()  # plans, and what batching learns
            before = server.cpu_s()
            run = json.loads(load(server, source, 3, 64, inputs=inputs).communicate()[0])
            runs[name].append({**run, "cpu_us": 1e6 * (server.cpu_s() - before) / (run["calls"] * 3.5 / 3)})
            server.stop()
    figures = {name: {k: round(statistics.median(r[k] for r in rows), 2) for k in ("qps", "p50_ms", "p99_ms", "cpu_us")}
               for name, rows in runs.items()}
    ratio = figures["on"]["qps"] / figures["off"]["qps"]
    cpu = figures["off"]["cpu_us"] / figures["on"]["cpu_us"]  # which other processes disturb less
    return {**figures, "ratio": round(ratio, 2), "cpu_ratio": round(cpu, 2)}, ratio >= 3 and figures["on"]["p50_ms"] <= figures["off"]["p50_ms"]


def overlap(args, work):
    """The design document's example (examples/graphs/blend.yml: two models on one input, their scores weighed) against each of
    its models asked alone, one caller, a text of 20,000 words."""
    inputs = texts(work, [20000])
    graph = ROOT / "examples" / "graphs" / "blend.yml"
    server = Server("--model", graph, "--model", f"cnn={ZOO / 'imdb_cnn' / 'pdmodel26'}", "--model", f"bow={ZOO / 'imdb_bow' / 'pdmodel26'}")
    server.wait()
    took = {}
    for name in ("cnn", "bow", "blend") * 3:
        command = [OAR, "bench", server.at, "--protocol", "kserve-http", "--model", name, "--in", inputs[0], "--seconds", "2", "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        took.setdefault(name, []).append(json.loads(done.stdout)["p50_ms"])
    server.stop()
    ms = {n: statistics.median(t) for n, t in took.items()}
    ratio = ms["blend"] / max(ms["cnn"], ms["bow"])
    return {**{f"{n}_ms": round(v, 3) for n, v in ms.items()}, "of_the_slower": round(ratio, 3),
            "of_both": round(ms["blend"] / (ms["cnn"] + ms["bow"]), 3)}, ratio <= 1.15


def images(args, work):
    """16 callers of an image model (--model) in batches, against what the engine does at best with batches of its own."""
    source = pathlib.Path(args.model)
    case = sorted(source.glob("case_*.in.npz"))[0]
    best, at = 0, 0
    for rows in (1, 2, 4, 8):
        feed = repeat(case, rows, work)
        runs = [subprocess.Popen([OAR, "bench", source, "--in", feed, "--seconds", "5", "--json"],
                                 stdout=subprocess.PIPE, text=True, preexec_fn=pinned(p)) for p in (0, 1)]
        rate = sum(1000 * rows / json.loads(r.communicate()[0])["median_ms"] for r in runs)
        best, at = max((best, at), (rate, rows))
    server = Server("--model", f"m={source}", "--runtime-thread-num", "2", "--batch-infer-size", str(args.rows or at))
    server.wait()
    run = json.loads(load(server, source, 12, 16, inputs=[repeat(case, 1, work)]).communicate()[0])
    server.stop()
    return {"engine_best_a_second": round(best, 2), "its_rows": at, "served_a_second": run["qps"], "ratio": round(run["qps"] / best, 3),
            "p50_ms": run["p50_ms"]}, run["qps"] >= 0.95 * best


def repeat(case, rows, work):
    """The first row of each array of a recorded case, so many times."""
    path = work / f"rows{rows}.npz"
    with zipfile.ZipFile(case) as z, zipfile.ZipFile(path, "w") as out:
        for name in z.namelist():
            data = z.read(name)
            n = 10 + struct.unpack_from("<H", data, 8)[0]
            head = data[10:n].decode()
            dims = [int(d) for d in head.split("(", 1)[1].split(")", 1)[0].split(",") if d.strip()]
            row = (len(data) - n) // dims[0]
            shape = ", ".join(map(str, [rows, *dims[1:]]))
            head = head.split("(", 1)[0] + f"({shape},)" + head.split(")", 1)[1].rstrip("\n ") + " "
            head = head.ljust(n - 11) + "\n"
            out.writestr(name, data[:8] + struct.pack("<H", len(head)) + head.encode() + data[n:n + row] * rows)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["reload", "kill", "memory", "crosscheck", "overload", "trace", "batching", "overlap", "images"])
    parser.add_argument("--times", type=int)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="reload, batching, images: a directory of a model with recorded cases")
    parser.add_argument("--share", type=float, default=0.4, help="reload: the load, of what the server does at most")
    parser.add_argument("--rows", type=int, help="batching, images: the most in one batch")
    args = parser.parse_args()
    args.times = args.times or {"reload": 100, "kill": 200, "memory": 10000, "crosscheck": 1000000, "trace": 8, "batching": 3}.get(args.what, 0)
    with tempfile.TemporaryDirectory() as work:
        figures, fine = globals()[args.what](args, pathlib.Path(work))
    print(json.dumps({"what": args.what, **figures, "holds": fine}))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
