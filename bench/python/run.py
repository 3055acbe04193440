#!/usr/bin/env python3
"""bench/python/run.py MODEL: what Python costs. MODEL is the fit_a_line folder (one row of 13 numbers to one).

The package must be importable (the wheel installed, or PYTHONPATH at it); with Flask installed WebService is compared with the
same handler on Flask. CPU is user + system time of the calling process, from getrusage, so that other work on the machine
disturbs it little; each figure is the median of five runs. --json prints one object.
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.request

import numpy as np

import oar
from oar import _program, _proto
from paddle_serving_client import Client
from paddle_serving_server.env_check.run import running
from paddle_serving_server.util import free_port

ROW = np.array([[0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]], "float32")
FIGURES = {}


def note(name, value, unit):
    FIGURES[name] = round(value, 3)
    print(f"{name:48} {value:12.2f} {unit}", file=sys.stderr, flush=True)


def cpu_s():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_utime + r.ru_stime


def per_call(call, count):
    """(CPU us, wall us) of one call: medians of five runs."""
    for _ in range(min(count, 200)):
        call()
    runs = []
    for _ in range(5):
        cpu, wall = cpu_s(), time.perf_counter()
        for _ in range(count):
            call()
        runs.append(((cpu_s() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6))
    return tuple(statistics.median(r[i] for r in runs) for i in (0, 1))


def image_model(folder):
    """image [3, 224, 224] -> its mean: the model costs next to nothing, the request is 602 kB."""
    m = _proto.messages("paddle.framework.proto")
    block = (program := m["ProgramDesc"]()).blocks.add(idx=0, parent_idx=-1)
    for name, kind, shape in (("feed", 9, []), ("fetch", 10, []), ("image", 7, [-1, 3, 224, 224]), ("pooled", 7, [-1, 3, 1, 1])):
        v = block.vars.add(name=name, persistable=kind != 7)
        v.type.type = kind
        if kind == 7:
            v.type.lod_tensor.tensor.data_type = 5
            v.type.lod_tensor.tensor.dims.extend(shape)

    def op(kind, source, target, **attrs):
        o = block.ops.add(type=kind)
        o.inputs.add(parameter="X", arguments=[source])
        o.outputs.add(parameter="Out", arguments=[target])
        for name, (number, value) in attrs.items():
            o.attrs.add(name=name, type=number, **value)

    op("feed", "feed", "image", col=(0, {"i": 0}))
    op("pool2d", "image", "pooled", global_pooling=(6, {"b": True}), pooling_type=(2, {"s": "avg"}), ksize=(3, {"ints": [1, 1]}))
    op("fetch", "pooled", "fetch", col=(0, {"i": 0}))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "__model__"), "wb") as f:
        f.write(program.SerializeToString())
    with open(os.path.join(folder, "serving_server_conf.prototxt"), "w") as f:
        f.write('feed_var { name: "image" alias_name: "image" feed_type: 1 shape: 3 shape: 224 shape: 224 }\n'
                'fetch_var { name: "pooled" alias_name: "score" fetch_type: 1 shape: 3 }\n')


def connected(address, config):
    c = Client()
    c.load_client_config(config)
    c.connect([address])
    return c


def bench_in_process(model):
    feed = {"x": ROW}
    run = oar.load(model).run
    note("oar.load().run, fit_a_line: CPU", per_call(lambda: run(feed), 20000)[0], "us")


def bench_client(model, scratch):
    unix = f"unix:{scratch}/oar.sock"
    with oar.serve(model, quiet=True, listen=unix) as server:
        feed = {"x": ROW}
        for where, address in (("", server.address), (", unix socket", unix)):
            c = connected(address, model)
            cpu, wall = per_call(lambda: c.predict(feed=feed, fetch=["price"], batch=True), 4000)
            note(f"Client.predict, fit_a_line{where}: CPU", cpu, "us")
            note(f"Client.predict, fit_a_line{where}: latency", wall, "us")
        c = connected(server.address, model)
        for threads in (1, 2, 4, 8):
            note(f"one Client, {threads} threads: calls a second", shared(c, feed, threads), "/s")
    image = os.path.join(scratch, "image_model")
    image_model(image)
    feed = {"image": np.random.default_rng(0).random((3, 224, 224), "float32")}
    with oar.serve(image, quiet=True, listen=unix) as server:
        for where, address in (("", server.address), (", unix socket", unix)):
            c = connected(address, image)
            assert c.predict(feed=feed, fetch=["score"]) is not None, c.last_error
            cpu, wall = per_call(lambda: c.predict(feed=feed, fetch=["score"]), 300)
            note(f"Client.predict, 3x224x224 image{where}: CPU", cpu, "us")
            note(f"Client.predict, 3x224x224 image{where}: latency", wall, "us")
    note("the same bytes to a process that reads them: CPU", floor_of(feed["image"]), "us")


def floor_of(array):
    """CPU us of one send of these bytes over loopback and of hearing one byte of answer: what no client can be below."""
    listener = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        peer, room, n = listener.accept()[0], bytearray(1 << 20), 0
        while got := peer.recv_into(room):
            n += got
            if n >= array.nbytes:
                peer.sendall(b"x")
                n -= array.nbytes
        os._exit(0)
    with socket.create_connection(listener.getsockname()) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = memoryview(array).cast("B")

        def ask():
            s.sendall(data)
            s.recv(1)
        cpu = per_call(ask, 300)[0]
    os.waitpid(pid, 0)
    return cpu


def shared(client, feed, threads, seconds=1.0):
    stop, counts = threading.Event(), [0] * threads

    def work(i):
        while not stop.is_set():
            client.predict(feed=feed, fetch=["price"], batch=True)
            counts[i] += 1

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    begin = time.perf_counter()
    for w in workers:
        w.start()
    time.sleep(seconds)
    stop.set()
    for w in workers:
        w.join()
    return sum(counts) / (time.perf_counter() - begin)


# ---- WebService against Flask ----

HANDLER = """
import sys
import numpy as np

def preprocess(feed, fetch):
    return {"x": np.array([f["x"] for f in feed], "float32")}, fetch, True
"""
OURS = HANDLER + """
from paddle_serving_server.web_service import WebService

class Uci(WebService):
    def preprocess(self, feed=[], fetch=[]):
        return preprocess(feed, fetch)

service = Uci(name="uci")
service.load_model_config(sys.argv[1])
service.prepare_server(workdir=sys.argv[3] + "/w", port=int(sys.argv[2]), device="cpu")
service.run_rpc_service()
service.run_web_service()
"""
FLASK = HANDLER + """
import logging
from flask import Flask, request
from paddle_serving_client import Client
logging.getLogger("werkzeug").setLevel(logging.ERROR)
client = Client()
client.load_client_config(sys.argv[1])
client.connect([sys.argv[3]])
app = Flask("uci")

@app.route("/uci/prediction", methods=["POST"])
def run():
    feed, fetch, batch = preprocess(request.json["feed"], request.json["fetch"])
    fetch_map = client.predict(feed=feed, fetch=fetch, batch=batch)
    return {"result": {k: v.tolist() for k, v in fetch_map.items()}}

app.run(host="127.0.0.1", port=int(sys.argv[2]), threaded=True)
"""


def ask_raw(connection, request):
    """(status, whether the connection goes on): what a caller in C would spend, so that the services have the processors."""
    connection.sendall(request)
    data = connection.recv(65536)
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = int(next(line[15:] for line in lines if line.startswith(b"content-length:")))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12]), lines[0].startswith(b"http/1.1") and b"connection: close" not in lines


def hammer(port, seconds):
    """Requests a second of one process with one connection that is kept where the service keeps it."""
    body = json.dumps({"feed": [{"x": ROW[0].tolist()}], "fetch": ["price"]}).encode()
    request = (b"POST /uci/prediction HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)) + body
    connection, count = None, 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), 10)
        status, stays = ask_raw(connection, request)
        assert status == 200, status
        count += 1
        if not stays:
            connection.close()
            connection = None
    return count / seconds


def cpu_of_tree(pid):
    """CPU seconds of a process and all that came of it, living ones."""
    ticks, times, parents = os.sysconf("SC_CLK_TCK"), {}, {}
    for p in os.listdir("/proc"):
        if p.isdigit():
            try:
                with open(f"/proc/{p}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            times[int(p)], parents[int(p)] = (int(fields[11]) + int(fields[12])) / ticks, int(fields[1])

    def belongs(p):
        while p in parents and p != pid:
            p = parents[p]
        return p == pid

    return sum(t for p, t in times.items() if belongs(p))


def service_figures(source, arguments, port, scratch, clients=4, seconds=3.0):
    """(requests a second, CPU us of the service a request)"""
    with running(["-c", source, *arguments], [port], scratch) as process:
        hammer(port, 0.3)
        before = cpu_of_tree(process.pid)
        with multiprocessing.get_context("spawn").Pool(clients) as pool:
            rate = sum(pool.starmap(hammer, [(port, seconds)] * clients))
        return rate, (cpu_of_tree(process.pid) - before) / (rate * seconds) * 1e6


def bench_web_service(model, scratch):
    port = free_port(15000)
    ours = service_figures(OURS, [model, str(port), scratch], port, scratch)
    note("WebService: requests a second, 4 callers", ours[0], "/s")
    note("WebService: CPU of the service", ours[1], "us")
    try:
        import flask  # noqa: F401
    except ImportError:
        print("Flask is not installed: no comparison", file=sys.stderr)
        return
    with oar.serve(model, quiet=True) as server:
        port = free_port(16000)
        flask_ = service_figures(FLASK, [model, str(port), server.address], port, scratch)
    note("Flask: requests a second, 4 callers", flask_[0], "/s")
    note("Flask: CPU of the service", flask_[1], "us")
    note("WebService over Flask: throughput", ours[0] / flask_[0], "times")
    note("WebService over Flask: CPU", flask_[1] / ours[1], "times less")


def bench_recovery(model, scratch):
    """From kill -9 of a worker process until its successor is ready."""
    port, took = free_port(17000), []

    def metric(name):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
            return int(reply.read().split(f"\n{name} ".encode())[1].split()[0])

    def workers(service):
        children = {}
        for p in os.listdir("/proc"):
            if p.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{p}/stat") as f:
                    state, parent = f.read().rsplit(")", 1)[1].split()[:2]
                    if state != "Z":
                        children.setdefault(int(parent), []).append(int(p))
        return [w for child in children[service.pid] for w in children.get(child, [])]  # the zygote's

    with running(["-c", OURS, model, str(port), scratch], [port], scratch) as process:
        all_of_them = metric("oar_crew_workers")
        for n in range(1, 8):
            begin = time.perf_counter()
            os.kill(workers(process)[0], signal.SIGKILL)
            while metric("oar_crew_restarts_total") < n or metric("oar_crew_workers") < all_of_them:
                time.sleep(0.0005)
            took.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.05)
        note("a killed worker is back: median", statistics.median(took), "ms")
        note("a killed worker is back: longest of 7", max(took), "ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    model = os.path.abspath(args.model)
    with tempfile.TemporaryDirectory() as scratch:
        bench_in_process(model)
        bench_client(model, scratch)
        bench_web_service(model, scratch)
        bench_recovery(model, scratch)
    if args.json:
        print(json.dumps(FIGURES))


if __name__ == "__main__":
    main()
