#!/usr/bin/env python3
"""The service's promises, each a command that ends with 0 when its line holds:

    bench/service.py reload [--times 100]      new versions under load: no failed request, p99 against before
    bench/service.py kill [--times 200]        kill -9 at seeded moments of load and copy: the next start serves a whole version
    bench/service.py memory [--times 10000]    loads and unloads: resident memory comes back
    bench/service.py crosscheck [--times 1000000]   unique questions under batching, cache, reload, vanishing callers
    bench/service.py overload [--seconds 60]   ten times as many callers as are served

Needs `cmake --build build --target oar bench_crosscheck`. Python's standard library only.
"""
import argparse
import http.client
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
OAR = BUILD / "oar"
ZOO = ROOT / "tests" / "data" / "zoo"
HOUSES = ZOO / "fit_a_line" / "pdmodel26"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, *words):
        self.port = free_port()
        self.at = f"127.0.0.1:{self.port}"
        self.started = time.monotonic()
        self.process = subprocess.Popen([OAR, "serve", "--host", "127.0.0.1", "--port", str(self.port), "--quiet",
                                         "--log-level", "error", *map(str, words)])

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

    def rss(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024

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


def load(server, source, seconds, concurrency=4):
    case = sorted(source.glob("case_*.in.npz"))[0]
    command = [OAR, "bench", server.at, "--protocol", "brpc", "--in", case, "--concurrency", str(concurrency),
               "--seconds", str(seconds), "--warm-up", "0.2", "--json"]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)


def ready_versions(server, name):
    rows = json.loads(server.post("/v2/repository/index")[1])
    return [int(r["version"]) for r in rows if r["name"] == name and r["state"] == "READY"]


def reload(args, work):
    source = ROOT / args.model if args.model else ZOO / "lenet_digits" / "pdmodel26"
    put(source, work / "m" / "1")
    server = Server("--model-repository", work, "--settle-ms", "1")
    server.wait()
    before = json.loads(load(server, source, 5).communicate()[0])
    during = load(server, source, max(10, args.times * 0.3))
    for version in range(2, args.times + 2):
        put(source, work / "m" / str(version))
        while version not in ready_versions(server, "m"):
            time.sleep(0.002)
        if version > 3:
            shutil.rmtree(work / "m" / str(version - 2))
    in_time = during.poll() is None
    during = json.loads(during.communicate()[0])
    server.stop()
    ratio = during["p99_ms"] / before["p99_ms"]
    return {"reloads": args.times, "calls": during["calls"], "errors": during["errors"], "p99_before_ms": before["p99_ms"],
            "p99_during_ms": during["p99_ms"], "p99_ratio": round(ratio, 3)}, during["errors"] == 0 and in_time


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


def overload(args, work):
    """Callers that do not wait for their turn: ten times as many as keep it busy, against a queue of 64."""
    source = ZOO / "imdb_lstm" / "pdmodel26"
    words = ("--model", f"m={source}", "--runtime-thread-num", "2", "--batch-infer-size", "8", "--batch-queue-size", "64")
    server = Server(*words)
    server.wait()
    calm = json.loads(load(server, source, 5, 8).communicate()[0])
    flood = json.loads(load(server, source, args.seconds, 160).communicate()[0])
    begin = time.monotonic()
    code, _ = server.post("/m/prediction", {"feed": [{"words": [1, 2, 3], "words.lod": [0, 3]}], "fetch": []})
    recovery = time.monotonic() - begin
    server.stop()
    seconds = flood["seconds"]
    good = flood["calls"] / seconds
    return {"capacity_qps": calm["qps"], "goodput_qps": round(good, 1), "goodput_ratio": round(good / calm["qps"], 3),
            "refused": flood["errors"], "p99_ms": flood["p99_ms"], "calm_p99_ms": calm["p99_ms"],
            "recovery_s": round(recovery, 3)}, good >= 0.95 * calm["qps"] and code == 200 and recovery < 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["reload", "kill", "memory", "crosscheck", "overload"])
    parser.add_argument("--times", type=int)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", help="reload: a directory of a model with recorded cases")
    args = parser.parse_args()
    args.times = args.times or {"reload": 100, "kill": 200, "memory": 10000, "crosscheck": 1000000}.get(args.what, 0)
    with tempfile.TemporaryDirectory() as work:
        figures, fine = globals()[args.what](args, pathlib.Path(work))
    print(json.dumps({"what": args.what, **figures, "holds": fine}))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
