#!/usr/bin/env python3
"""bench/hold.py OAR [--quick] [ITEM ...]: whether the server holds up, as figures with a pass line each.

    hostile   requests that have crashed other servers: each is answered 4xx, the server lives, memory stays
    loris     slow heads, slow bodies, silent peers and readers that do not read: all are closed in time
    files     out of file descriptors: no processor time, no flood of the log, back at once
    memory    a large body: what it takes at its peak, and what stays a second later
    overload  ten times more callers than can be served: what is served stays served
    drain     SIGTERM under load: nobody who was admitted loses an answer
    floods    HTTP/2: resets, CONTINUATION, SETTINGS, PING, empty DATA, HPACK's references, one-byte windows: memory and others
    gone      peers whose network has gone (a namespace of its own, where root may make one): all are closed in time
    system    each call of the system fails once, at start, under load, at a reload: no crash, and it serves on

Exit status 1 when a pass line is missed. --quick: small numbers, for the tests. Standard library only; `system` wants a C compiler, `gone` root and
iproute2.
"""
import json
import os
import re
import resource
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from common import INFER, MODEL, ROOT, ROW, cpu_s, free_port, memory_bytes, save

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 13], "datatype": "FP32", "data": ROW}]}).encode()


def head(body=b"", path=INFER, extra=b"", length=None):
    n = len(body) if length is None else length
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (path.encode(), n, extra) + body


class Server:
    def __init__(self, oar, *options, files=None):
        self.port = free_port()
        limit = (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))) if files else None
        self.log = open(os.memfd_create("stderr"), "w+")
        self.process = subprocess.Popen([oar, "serve", "--model", f"uci={MODEL}", "--host", "127.0.0.1", "--port", str(self.port), *options],
                                        stderr=self.log, preexec_fn=limit)
        while self.process.poll() is None:
            try:
                if self.ask(b"GET /v2/health/ready HTTP/1.1\r\nConnection: close\r\n\r\n")[0] == 200:
                    return
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"the server ended: {self.text()}")

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def connect(self, timeout=20):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def ask(self, data, timeout=20):
        """(code, answer) of one exchange; the server may answer before it has read everything. Code 0: no answer."""
        with self.connect(timeout) as s:
            s.setblocking(False)
            answer, sent, end = b"", 0, time.monotonic() + timeout
            view = memoryview(data)
            with selectors.DefaultSelector() as poll:
                poll.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
                while time.monotonic() < end:
                    for _, events in poll.select(1):
                        if events & selectors.EVENT_WRITE and sent < len(view):
                            try:
                                sent += s.send(view[sent:sent + (1 << 18)])
                            except OSError:
                                sent = len(view)
                            if sent == len(view):
                                poll.modify(s, selectors.EVENT_READ)
                        if events & selectors.EVENT_READ:
                            try:
                                more = s.recv(1 << 16)
                            except OSError:
                                more = b""
                            answer += more
                            found = re.search(rb"\r\nContent-Length: (\d+)", answer)
                            at = answer.find(b"\r\n\r\n")
                            if not more or (at > 0 and found and len(answer) >= at + 4 + int(found[1])):
                                return (int(answer[9:12]) if answer[:5] == b"HTTP/" else 0), answer
            return 0, answer

    def rss(self):
        return memory_bytes(self.process.pid)

    def peak(self, reset=False):
        if reset:
            open(f"/proc/{self.process.pid}/clear_refs", "w").write("5")
        return memory_bytes(self.process.pid, "VmHWM")

    def cpu_s(self):
        return cpu_s(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


failed = []


def figure(name, text, good):
    print(f"{name:10} {'pass' if good else 'FAIL'}  {text}", flush=True)
    if not good:
        failed.append(f"{name}: {text}")


# ---- hostile ----

def infer_with(**change):
    request = json.loads(BODY)
    request["inputs"][0].update(change.pop("input", {}))
    return head(json.dumps({**request, **change}).encode())


def hostile_cases(quick):
    chunks, names = (50_000, 20_000) if quick else (1_000_000, 1_000_000)
    load = "/v2/repository/models/%s/load"
    yield "chunks of one byte", b"POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" % INFER.encode() + b"1\r\n[\r\n" * chunks + b"0\r\n\r\n"
    yield "depth 250,000", head(b"[" * 250_000)
    yield "depth in the index", head(b"[" * 250_000, "/v2/repository/index")
    yield "depth in data", head(b'{"inputs":[{"name":"x","shape":[1,13],"datatype":"FP32","data":' + b"[" * 250_000)
    yield "depth in parameters", head(b'{"parameters":' + b'{"a":' * 250_000)
    yield "length 99999999999", head(b"x", length=99999999999)
    yield "length beyond 64 bits", b"POST %s HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n" % INFER.encode()
    yield "negative length", b"POST %s HTTP/1.1\r\nContent-Length: -1\r\n\r\n" % INFER.encode()
    yield "header length 99999999999", head(BODY, extra=b"Inference-Header-Content-Length: 99999999999\r\n")
    yield "load of 2 GiB", head(b'{"parameters":{"config":"', load % "uci", length=2 << 30)
    yield "a name of 257", head(json.dumps({"parameters": {"x" * 257: "y"}}).encode(), load % "nope")
    yield "a name of 60,000", b"GET /v2/models/%s HTTP/1.1\r\n\r\n" % (b"x" * 60_000)
    yield "a head without end", b"GET /v2/models/%s" % (b"x" * 100_000)
    yield "200 header lines", b"GET /v2 HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n"
    yield "elements 2^60+2", infer_with(input={"shape": [2**60 + 2, 16]})
    yield "elements 2^63", infer_with(input={"shape": [2**31, 2**32]})
    yield "binary of 2^64-1", infer_with(input={"data": None, "parameters": {"binary_data_size": 2**64 - 1}})
    yield "nine dimensions", infer_with(input={"shape": [1] * 9})
    yield "one output many times", infer_with(outputs=[{"name": "price"}] * names)
    yield "many unknown outputs", infer_with(outputs=[{"name": f"o{i}"} for i in range(names // 10)])
    yield "many inputs", head(json.dumps({"inputs": [{"name": f"i{i}", "shape": [1], "datatype": "FP32", "data": [1]} for i in range(names // 10)]}).encode())
    yield "many parameters", infer_with(parameters={f"p{i}": i for i in range(names // 4)})
    for name in ("..%2f..%2fetc%2fpasswd", "..", ".", "%00", "a%2fb", "%2e%2e", "x%0d%0aX-Evil:1"):
        yield f"load {name}", head(b"", load % name)
        yield f"ask {name}", head(BODY, f"/v2/models/{name}/infer")
    yield "smuggled length", b"POST %s HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % INFER.encode()
    yield "no JSON", head(bytes(range(256)))
    yield "numbers of no type", infer_with(input={"data": [1e999, "NaN", None, {}, [], True] * 2 + [0]})
    yield "a huge number", head(BODY.replace(b"0.0137", b"1" * 100_000))
    yield "gzip that is none", head(b"nothing", extra=b"Content-Encoding: gzip\r\n")


def hostile(oar, quick):
    with Server(oar, "--max-body-size", str(1 << 30)) as s:
        cases, wrong = list(hostile_cases(quick)), []
        for name, data in cases:
            code, _ = s.ask(data)
            if not (400 <= code < 500 or (name.startswith("load ") and code in (400, 404, 503))):
                wrong.append(f"{name}: {code}")
        figure("hostile", f"{len(cases) - len(wrong)} of {len(cases)} answered 4xx{'; not so: ' + ', '.join(wrong) if wrong else ''}", not wrong)
        figure("hostile", "the server answers after them", s.process.poll() is None and s.ask(head(BODY))[0] == 200)
        small = [data for _, data in cases if len(data) < 1 << 20]
        for data in small:  # what each kind leaves behind once is no growth
            s.ask(data)
        time.sleep(1.5)
        before = s.rss()
        for i in range(20 if quick else 100):
            s.ask(small[i % len(small)])
        time.sleep(1.5)
        growth = s.rss() - before
        figure("hostile", f"memory grew by {growth / 2**20:.2f} MiB over {20 if quick else 100} tries (at most 1)", growth <= 1 << 20)


# ---- slow peers ----

def percentile(times, q):
    return sorted(times)[min(len(times) - 1, int(q * len(times)))] if times else 0


def good_traffic(s, seconds):
    times, end = [], time.monotonic() + seconds
    with s.connect() as c:
        while time.monotonic() < end:
            begin = time.perf_counter()
            c.sendall(head(BODY))
            if b" 200 " not in c.recv(65536)[:20]:
                raise SystemExit("a good request was refused")
            times.append(time.perf_counter() - begin)
            time.sleep(0.002)
    return times


def loris(oar, quick):
    count, limit = (400, 2) if quick else (10_000, 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
    count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    with Server(oar, "--request-timeout", str(limit), "--idle-timeout", str(2 * limit), "--write-timeout", str(limit)) as s:
        base = percentile(good_traffic(s, 1), 0.99)
        openings = [b"GET /v2 HTTP/1.1\r\nX: ", b"POST /v2 HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc", b"", b"POST /v2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]
        begin, held = time.monotonic(), []
        for i in range(count):
            c = s.connect()
            c.sendall(openings[i % len(openings)])
            c.setblocking(False)
            held.append(c)
        opened = time.monotonic() - begin
        times, closed, end = [], 0, time.monotonic() + 3 * limit + (30 if quick else 5)
        while held and time.monotonic() < end:
            times += good_traffic(s, 0.2)
            still = []
            for c in held:
                try:
                    gone = c.recv(4096) == b"" or False
                except BlockingIOError:
                    gone = False
                except OSError:
                    gone = True
                (c.close() if gone else still.append(c))
                closed += gone
            held = still
        took = time.monotonic() - begin
        figure("loris", f"{closed} of {count} slow or silent connections closed after {took:.1f} s (they took {opened:.1f} s to open; limit {limit} s)", not held)
        p99 = percentile(times, 0.99)
        figure("loris", f"p99 of good calls {p99 * 1e3:.2f} ms meanwhile, {base * 1e3:.2f} ms before", p99 < max(2 * base, 1 if quick else 0.02))
        for c in held:
            c.close()


# ---- file descriptors ----

def files(oar, quick):
    seconds = 2 if quick else 5
    with Server(oar, files=120) as s:
        with s.connect() as kept:  # one that is served already
            held = [s.connect() for _ in range(200)]
            time.sleep(0.5)
            lines, before = s.text().count("\n"), s.cpu_s()
            time.sleep(seconds)
            share = (s.cpu_s() - before) / seconds
            said = s.text().count("\n") - lines
            kept.sendall(head(BODY))
            alive = b" 200 " in kept.recv(65536)[:20]
            figure("files", f"{100 * share:.1f} % of a processor while out of files (below 5), {said / seconds:.1f} log lines a second (at most 1)", share < 0.05 and said <= seconds)
            figure("files", "a connection from before is served meanwhile", alive)
            for c in held:
                c.close()
            begin = time.monotonic()
            code = s.ask(head(BODY))[0]
            figure("files", f"a new connection is served {1e3 * (time.monotonic() - begin):.0f} ms after (at most 250)", code == 200 and time.monotonic() - begin < (5 if quick else 0.25))


# ---- memory ----

def memory(oar, quick):
    megabytes = 8 if quick else 40
    rows = megabytes * (1 << 20) // 52
    raw = head(bytes(52 * rows), extra=b"Inference-Header-Content-Length: 0\r\n")
    with Server(oar) as s:
        s.ask(head(BODY))
        time.sleep(1.2)
        before = s.rss()
        s.peak(reset=True)
        code, _ = s.ask(raw, 60)
        peak = s.peak() - before
        time.sleep(1.5)
        for _ in range(20 if quick else 0):  # a machine that is busy otherwise takes its time
            if s.rss() - before > 20e6:
                time.sleep(0.5)
        after = s.rss() - before
        figure("memory", f"a body of {len(raw) / 1e6:.0f} MB took {peak / len(raw):.2f} times its size at the peak (at most 1.2, and 4 MB for its answer; answer {code})",
               code == 200 and peak <= (2.5 if quick else 1.2) * len(raw) + 4e6)
        figure("memory", f"{after / 1e6:.1f} MB more than before a second later (at most 20)", after <= 20e6)


# ---- overload and drain ----

def load(oar, s, connections, seconds):
    """What `oar bench` says of the server under so many connections."""
    with tempfile.TemporaryDirectory() as folder:
        path = save(os.path.join(folder, "in.npz"), {"x": ("<f4", (1, 13), struct.pack("<13f", *ROW))})
        done = subprocess.run([oar, "bench", f"127.0.0.1:{s.port}", "--protocol", "http", "--in", path, "--concurrency", str(connections),
                               "--seconds", str(seconds), "--json"], capture_output=True, text=True)
        return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}


def overload(oar, quick):
    """Goodput: what a call costs the server must not rise with the number of those who wait. (Calls a second say the same on
    a machine that does nothing else.)"""
    seconds, many = (1, 160) if quick else (5, 1000)
    with Server(oar) as s:
        cost, rate, errors = {16: [], many: []}, {16: [], many: []}, 0
        for _ in range(1 if quick else 3):
            for callers in cost:
                before = s.cpu_s()
                r = load(oar, s, callers, seconds)
                cost[callers].append((s.cpu_s() - before) / max(r["calls"], 1) * 1e6)
                rate[callers].append(r["qps"])
                errors += r["errors"]
        few, all_ = (sorted(cost[n])[len(cost[n]) // 2] for n in (16, many))
        figure("overload", f"a call costs the server {all_:.1f} us under {many} callers, {few:.1f} us under 16 (at most 1.3 times); "
               f"{max(rate[many]):.0f} and {max(rate[16]):.0f} calls/s at best (at least 95 %), {errors} errors",
               all_ <= 1.3 * few and errors == 0 and (quick or max(rate[many]) >= 0.95 * max(rate[16])))
        begin = time.monotonic()
        code = s.ask(head(BODY))[0]
        figure("overload", f"a call {1e3 * (time.monotonic() - begin):.1f} ms after it (below 1 s)", code == 200 and time.monotonic() - begin < 1)


def drain(oar, quick):
    callers, lost, answered = (8 if quick else 64), [], [0]
    s = Server(oar)
    stop = threading.Event()

    def call():
        try:
            c = s.connect(5)
        except OSError:
            return
        with c:
            while not stop.is_set():
                try:
                    c.sendall(head(BODY))
                except OSError:
                    return
                answer = b""
                try:
                    while b"\r\n\r\n" not in answer:
                        more = c.recv(65536)
                        if not more:
                            break
                        answer += more
                except OSError:
                    pass
                if b" 200 " in answer[:20]:
                    answered[0] += 1
                elif answer:
                    lost.append(answer[:40])
                if b"Connection: close" in answer or not answer:
                    return
    threads = [threading.Thread(target=call) for _ in range(callers)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    begin = time.monotonic()
    status = s.stop()
    took = time.monotonic() - begin
    stop.set()
    for t in threads:
        t.join()
    figure("drain", f"SIGTERM under {callers} callers: exit status {status} after {took:.2f} s, {answered[0]} answered, {len(lost)} refused", status == 0 and not lost and took < (30 if quick else 5))


# ---- HTTP/2 ----

def h2(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2(4)
POST, GET = b"\x83\x86\x84\x01\x01x", b"\x82\x86\x84\x01\x01x"  # HPACK: method, scheme http, path /, authority x


def flood_cases(n):
    """Name, and what is sent, in pieces of about 64 KB."""
    def batches(make, count, size=1000):
        for at in range(0, count, size):
            yield b"".join(make(i) for i in range(at, min(count, at + size)))
    yield "resets", batches(lambda i: h2(1, 4, 2 * i + 1, POST) + h2(3, 0, 2 * i + 1, b"\0\0\0\x08"), n)
    yield "CONTINUATION without end", [h2(1, 0, 1, GET), *batches(lambda i: h2(9, 0, 1, b"\0\x01a\x01b"), n)]
    yield "SETTINGS", batches(lambda i: h2(4), n)
    yield "PING", batches(lambda i: h2(6, 0, 0, b"12345678"), n)
    yield "PRIORITY", batches(lambda i: h2(2, 0, 2 * (i % 1000) + 1, b"\0\0\0\0\x10"), n)
    yield "WINDOW_UPDATE", batches(lambda i: h2(8, 0, 0, b"\0\0\0\x01"), n)
    yield "empty DATA", [h2(1, 4, 1, POST), *batches(lambda i: h2(0, 0, 1), n)]
    big = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000  # one field of 4,000 bytes goes into the table, and is then asked for again and again
    yield "HPACK's references", [h2(1, 4, 1, GET + big), *batches(lambda i: h2(1, 4, 2 * i + 3, GET + b"\xbe" * 16000), min(n // 50, 2000), 4)]
    window = h2(4, 0, 0, struct.pack(">HI", 4, 1))
    yield "one-byte windows", [window, *batches(lambda i: h2(1, 5, 2 * i + 1, GET), 256)]


def flood(s, pieces, seconds):
    """Sends them as long as the server takes them; whether it then said no."""
    sent, end = 0, time.monotonic() + seconds
    with s.connect(5) as c:
        c.settimeout(1)
        try:
            c.sendall(PREFACE)
            for piece in pieces:
                c.sendall(piece)
                sent += len(piece)
                if time.monotonic() > end:
                    break
            while time.monotonic() < end:
                if not c.recv(1 << 16):
                    return True, sent
        except (TimeoutError, socket.timeout):
            return False, sent
        except OSError:
            return True, sent
    return False, sent


def floods(oar, quick):
    n = 20_000 if quick else 100_000
    with Server(oar, "--write-timeout", "3", "--request-timeout", "3") as s:
        base = percentile(good_traffic(s, 1), 0.99)
        before, ended, worst, slowest = s.rss(), [], 0, (0, "")
        for name, pieces in flood_cases(n):
            got, times = [], []
            flooder = threading.Thread(target=lambda: got.append(flood(s, pieces, 5)))
            flooder.start()
            while flooder.is_alive():
                times += good_traffic(s, 0.1)
                worst = max(worst, s.rss() - before)
            ended.append(f"{name}{'' if got[0][0] else ' (not ended)'}")
            slowest = max(slowest, (percentile(times, 0.99), name))
        figure("floods", f"{len(ended)} of {len(ended)} outlived ({n:,} frames each): {', '.join(ended)}", s.ask(head(BODY))[0] == 200)
        figure("floods", f"memory grew by {worst / 1e6:.1f} MB at most meanwhile (at most 16)", worst <= 16e6)
        figure("floods", f"p99 of good calls {slowest[0] * 1e3:.2f} ms under the worst of them ({slowest[1]}), {base * 1e3:.2f} ms before (at most twice, or 5 ms)",
               slowest[0] <= max(2 * base, 1 if quick else 0.005))


# ---- peers whose network has gone ----

def gone(oar, quick):
    count, limit, space = (50 if quick else 1000), 3, f"oar-hold-{os.getpid()}"

    def ip(*words):
        return subprocess.run(["ip", *words], capture_output=True, text=True)
    if os.geteuid() != 0 or not shutil.which("ip") or ip("netns", "add", space).returncode != 0:
        print("gone       skip  a network namespace cannot be made here (root and iproute2 are wanted)")
        return
    near, far, link = "10.231.77.1", "10.231.77.2", f"oh{os.getpid() % 100000}"
    try:
        for words in (["link", "add", link, "type", "veth", "peer", "name", "oarhold", "netns", space], ["addr", "add", f"{near}/30", "dev", link], ["link", "set", link, "up"],
                      ["-n", space, "addr", "add", f"{far}/30", "dev", "oarhold"], ["-n", space, "link", "set", "oarhold", "up"]):
            if (done := ip(*words)).returncode != 0:
                print(f"gone       skip  {done.stderr.strip()}")
                return
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        with Server(oar, "--listen", f"{near}:{free_port()}", "--idle-timeout", str(limit), "--write-timeout", str(limit), "--request-timeout",
                    str(limit)) as s:
            port = int(re.search(rf"{re.escape(near)}:(\d+)", " ".join(s.process.args))[1])
            program = (f"import socket, time, sys\nheld = []\nfor i in range({count}):\n c = socket.create_connection(('{near}', {port}))\n"
                       " c.sendall(b'GET /v2 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' if i % 2 else b'GET /v2 HT')\n if i % 2: c.recv(4096)\n held.append(c)\n"
                       "print('held', flush=True)\ntime.sleep(60)\n")
            peers = subprocess.Popen(["ip", "netns", "exec", space, sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
            held = peers.stdout.readline() == "held\n"
            ip("-n", space, "link", "set", "oarhold", "down")
            begin, left = time.monotonic(), count
            while left > 1 and time.monotonic() - begin < 4 * limit + 5:
                time.sleep(0.1)
                text = s.ask(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")[1].decode()
                left = int(float(re.search(r"^oar_connections (\S+)", text, re.M)[1]))
            took = time.monotonic() - begin
            peers.kill()
            peers.wait()
            figure("gone", f"{count} connections whose network went down are closed {took:.1f} s later (limits {limit} s)", held and left <= 1 and took < 2 * limit + 2)
    finally:
        ip("netns", "del", space)
        ip("link", "del", link)


# ---- the system says no ----

FAULTS = [("open", 24), ("open", 5), ("read", 5), ("read", "short"), ("pread", 5), ("write", 28), ("write", "short"), ("send", 32), ("send", 11), ("send", "short"), ("sendmsg", 32), ("sendmsg", 11),
          ("sendmsg", "short"), ("writev", 32), ("writev", 11), ("writev", "short"), ("mmap", 12),
          ("socket", 24), ("bind", 98), ("listen", 98), ("accept4", 24), ("accept4", 104), ("epoll_ctl", 12), ("setsockopt", 105)]


def one_fault(oar, shim, folder, function, n, what):
    """(verdict, calls made): the server ends with words, or serves on; None: it did neither."""
    counts = os.path.join(folder, "calls")
    if os.path.exists(counts):
        os.unlink(counts)
    port = free_port()
    log = os.memfd_create("stderr")
    p = subprocess.Popen([oar, "serve", "--model", f"uci={MODEL}", "--host", "127.0.0.1", "--port", str(port), "--quiet", "--thread", "2"], stderr=log,
                         env={**os.environ, "LD_PRELOAD": shim, "FAULT": f"{function}:{n}:{what}", "FAULT_FILE": counts})

    def ask(data):
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as c:
                c.sendall(data)
                return c.recv(4096)[9:12]
        except OSError:
            return b""
    good, end = False, time.monotonic() + 10
    while p.poll() is None and time.monotonic() < end and not good:
        good = ask(head(BODY)) == b"200"
        if not good:
            time.sleep(0.01)
    if p.poll() is None:
        for path in ("/v2/repository/models/uci/load", "/metrics", "/v2/models/uci"):  # whatever comes of them
            ask(head(b"", path) if "load" in path else b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
        good = ask(head(BODY)) == b"200" or ask(head(BODY)) == b"200"
        p.terminate()
    try:
        status = p.wait(40)
    except subprocess.TimeoutExpired:
        p.kill()
        status = "hung"
    os.lseek(log, 0, 0)
    text = os.read(log, 4000).decode(errors="replace")
    os.close(log)
    made = int(open(counts).read()) if os.path.exists(counts) else 0
    if status == -6 and not good and function == "epoll_ctl" and n <= 6:  # libuv's own wake-ups, of which it says nothing
        return "libuv", n + 1
    fine = (status == 0 and good) or (status in (1, 2) and "oar" in text) or (status == 127 and "error while loading" in text)
    return (None if fine else f"{function}:{n}:{what}: status {status}, {'answers' if good else 'no answer'}, {text.strip()[-120:]!r}"), made


def system(oar, quick):
    if not shutil.which("cc"):
        print("system     skip  there is no C compiler")
        return
    with tempfile.TemporaryDirectory() as folder:
        shim = os.path.join(folder, "faults.so")
        subprocess.run(["cc", "-O1", "-w", "-shared", "-fPIC", "-o", shim, ROOT / "bench" / "faults.c", "-ldl"], check=True)
        tried, libuv, bad = 0, 0, []
        for function, what in FAULTS[::3] if quick else FAULTS:
            n, made = 1, 1
            while n <= made or n == 1:
                verdict, made = one_fault(oar, shim, folder, function, n, what)
                tried += 1
                libuv += verdict == "libuv"
                bad += [verdict] if verdict and verdict != "libuv" else []
                n += max(1, made // 3) if quick else max(1, made // 60)
                if made == 0:
                    break
        figure("system", f"{tried - len(bad)} of {tried} faults of {len(set(f for f, _ in FAULTS))} functions end the start with words, or the server serves on"
               f"{f' ({libuv} end in libuv, before anything is served)' if libuv else ''}{'; not so: ' + '; '.join(bad[:5]) if bad else ''}", not bad)


ITEMS = {"hostile": hostile, "loris": loris, "files": files, "memory": memory, "overload": overload, "drain": drain, "floods": floods, "gone": gone,
         "system": system}

if __name__ == "__main__":
    words = [a for a in sys.argv[1:] if a != "--quick"]
    if not words or any(w not in ITEMS for w in words[1:]):
        sys.exit(__doc__)
    for item in words[1:] or ITEMS:
        ITEMS[item](os.path.abspath(words[0]), "--quick" in sys.argv)
    sys.exit(1 if failed else 0)
