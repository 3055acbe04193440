"""HTTP/1.1 to its edges: codings, options, deadlines, limits and timeouts, and the logs that tell of it."""
import gzip
import http.server
import json
import re
import socket
import subprocess
import threading
import time
import zlib

import pytest
import requests

from conftest import ROOT, Server
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
INFER = "/v2/models/uci/infer"
ROWS = 100
BODY = json.dumps({"inputs": [{"name": "x", "shape": [ROWS, 13], "datatype": "FP32", "data": ROW * ROWS}]}).encode()


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", "--cors-origin", "*") as s:
        yield s


def zstd(data, *arguments):
    return subprocess.run(["zstd", "-c", "-q", *arguments], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("name,pack,unpack", [
    ("gzip", gzip.compress, gzip.decompress), ("deflate", zlib.compress, zlib.decompress), ("zstd", zstd, lambda b: zstd(b, "-d")),
])
def test_codings_both_ways(url, name, pack, unpack):
    r = requests.post(url + INFER, pack(BODY), headers={"Content-Encoding": name, "Accept-Encoding": name}, stream=True)
    assert r.status_code == 200 and r.headers["Content-Encoding"] == name
    assert json.loads(unpack(r.raw.read(decode_content=False)))["outputs"][0]["data"] == pytest.approx([PRICE] * ROWS, abs=1e-5)
    r = requests.post(url + INFER, pack(BODY)[:-5], headers={"Content-Encoding": name})
    assert r.status_code == 400 and "error" in r.json()


def test_bombs_are_bounded():
    with Server("--model", f"uci={MODEL}", "--max-body-size", "1000000") as s:
        for name, bomb in (("gzip", gzip.compress(bytes(20 << 20), 1)), ("zstd", zstd(bytes(20 << 20)))):
            r = requests.post(f"http://{s.address}{INFER}", bomb, headers={"Content-Encoding": name, "Connection": "close"})
            assert r.status_code == 413 and "inflate to more than" in r.json()["error"]


def test_unknown_coding_says_which_are_known(url):
    r = requests.post(url + INFER, BODY, headers={"Content-Encoding": "br"})
    assert r.status_code == 415 and r.headers["Accept-Encoding"] == "gzip, deflate, zstd"


def test_options_and_cors(url):
    r = requests.options(url + INFER, headers={"Origin": "http://a", "Access-Control-Request-Method": "POST"})
    assert r.status_code == 204 and "POST" in r.headers["Access-Control-Allow-Methods"] and "Content-Length" not in r.headers
    assert r.headers["Access-Control-Allow-Origin"] == "*" and r.headers["Allow"] == "POST, OPTIONS"
    assert requests.options(url + "/v2").headers["Allow"] == "GET, HEAD, OPTIONS"
    assert requests.options(url + "/nothing/here/at/all").status_code == 404
    assert requests.post(url + INFER, BODY).headers["Access-Control-Allow-Origin"] == "*"
    assert requests.head(url + "/v2").headers["Content-Length"] != "0" and requests.head(url + "/v2").content == b""


def test_deadlines(url):
    assert requests.post(url + INFER, BODY, headers={"X-Request-Timeout-Ms": "5000"}).status_code == 200
    r = requests.post(url + INFER, BODY, headers={"X-Request-Timeout-Ms": "0"})
    assert r.status_code == 504 and "time ran out" in r.json()["error"]


def test_request_ids_and_stage_times(url):
    r = requests.post(url + INFER, BODY, headers={"X-Request-Id": "mine-1", "X-Want-Timing": "1"})
    assert r.headers["X-Request-Id"] == "mine-1"
    assert re.fullmatch(r"parse;dur=[\d.]+, queue;dur=[\d.]+, batch;dur=[\d.]+, compute;dur=[\d.]+, encode;dur=[\d.]+", r.headers["Server-Timing"])
    assert requests.get(url + "/v2", headers={"X-Request-Id": "mine-2"}).headers["X-Request-Id"] == "mine-2"
    assert "X-Request-Id" not in requests.get(url + "/v2", headers={"X-Request-Id": 'a"b'}).headers


def lines(path):
    return path.read_text().splitlines()


def test_access_log_for_people_and_machines(tmp_path):
    for form in ("text", "json"):
        log = tmp_path / form
        with Server("--model", f"uci={MODEL}", "--access-log", log, "--log-format", form) as s:
            with requests.Session() as c:
                c.headers["Connection"] = "close"  # else the answer in r keeps it open, and the server waits for its end
                c.post(f"http://{s.address}{INFER}", BODY, headers={"X-Request-Id": "people-1"})
                r = c.post(f"http://{s.address}{INFER}", b"{")
                assert r.headers["X-Request-Id"]
                c.get(f"http://{s.address}/v2/models/nope")
        text = lines(log)
        good, bad = (next(line for line in text if i in line) for i in ("people-1", r.headers["X-Request-Id"]))
        if form == "json":
            good, bad = json.loads(good), json.loads(bad)
            assert (good["code"], good["model"], good["version"], good["rows"], good["target"]) == (200, "uci", 1, ROWS, INFER)
            assert good["total_us"] >= good["compute_us"] and bad["code"] == 400 and all(json.loads(line) for line in text)
        else:
            assert re.search(rf'127.0.0.1:\d+ HTTP/1.1 "POST {INFER}" 200 ok oip uci/1 parse=\d+us .* in={len(BODY)} ', good) and " 400 " in bad
        assert "18.9" not in log.read_text() and "0.0137" not in log.read_text()


def test_the_servers_log_names_the_request_that_failed():
    for form in ("text", "json"):
        with Server("--model", f"uci={MODEL}", "--log-level", "debug", "--log-format", form) as s:
            requests.post(f"http://{s.address}{INFER}", b"{", headers={"X-Request-Id": "who-7"})
            requests.post(f"http://{s.address}/v2/logging", json={"log_verbose_level": 0})
            requests.post(f"http://{s.address}{INFER}", b"{", headers={"X-Request-Id": "who-8"})
        line = next(line for line in s.errors.splitlines() if "who-7" in line)
        assert "request who-7 to 'uci'" in (json.loads(line)["message"] if form == "json" else line) and "who-8" not in s.errors


def test_access_log_has_calls_of_every_protocol(tmp_path):
    grpcclient = pytest.importorskip("tritonclient.grpc")
    from conftest import run_oar
    np = pytest.importorskip("numpy")
    np.savez(tmp_path / "in.npz", x=np.array([ROW], "f4"))
    log = tmp_path / "log"
    with Server("--model", f"uci={MODEL}", "--access-log", log, "--log-format", "json") as s:
        assert run_oar("call", s.address, "--in", tmp_path / "in.npz").returncode == 0
        with grpcclient.InferenceServerClient(s.address) as c:
            x = grpcclient.InferInput("x", [1, 13], "FP32")
            x.set_data_from_numpy(np.array([ROW], "f4"))
            c.infer("uci", [x], headers={"x-request-id": "from-grpc"})
    text = [json.loads(line) for line in lines(log)]
    rpc = next(line for line in text if line["protocol"] == "baidu_std")
    grpc = next(line for line in text if line["request_id"] == "from-grpc")
    assert rpc["target"].endswith("GeneralModelService/inference") and rpc["model"] == "uci" and rpc["result"] == "ok"
    assert grpc["target"] == "/inference.GRPCInferenceService/ModelInfer" and grpc["protocol"] == "HTTP/2"


def test_access_log_is_sampled_but_for_failures(tmp_path):
    log = tmp_path / "log"
    with Server("--model", f"uci={MODEL}", "--access-log", log, "--access-sample", "10") as s:
        with requests.Session() as c:
            for _ in range(40):
                c.post(f"http://{s.address}{INFER}", BODY)
            for _ in range(5):
                c.post(f"http://{s.address}{INFER}", b"{")
    assert sum(" 200 ok oip" in line for line in lines(log)) in (3, 4, 5) and sum(" 400 " in line for line in lines(log)) == 5


TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_traces_go_to_a_file_and_to_a_collector(tmp_path):
    got = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass
    collector = http.server.HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    out = tmp_path / "spans"
    with Server("--model", f"uci={MODEL}", "--trace-file", out, "--trace-rate", "0",
                "--trace-endpoint", f"http://127.0.0.1:{collector.server_port}/v1/traces") as s, requests.Session() as c:
        c.headers["Connection"] = "close"
        r = c.post(f"http://{s.address}{INFER}", BODY, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
        assert re.fullmatch(f"00-{TRACE}-[0-9a-f]{{16}}-01", r.headers["traceresponse"])
        c.post(f"http://{s.address}{INFER}", BODY, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"})
        c.post(f"http://{s.address}{INFER}", BODY)
    collector.shutdown()
    for batch in (json.loads(out.read_text()), got[0][1]):
        spans = batch["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert len(spans) == 1 and spans[0]["traceId"] == TRACE and spans[0]["parentSpanId"] == "b7ad6b7169203331"
        assert spans[0]["name"] == f"POST {INFER}" and int(spans[0]["endTimeUnixNano"]) >= int(spans[0]["startTimeUnixNano"])
    assert got[0][0] == "/v1/traces"


def connect(s):
    return socket.create_connection(("127.0.0.1", s.port), 10)


def ends_within(c, seconds):
    c.settimeout(seconds)
    try:
        while c.recv(65536):
            pass
        return True
    except (ConnectionResetError, BrokenPipeError):
        return True
    except socket.timeout:
        return False


def test_slow_and_silent_peers_are_closed():
    with Server("--model", f"uci={MODEL}", "--request-timeout", "1", "--idle-timeout", "2") as s:
        silent, slow, body, idle = (connect(s) for _ in range(4))
        slow.sendall(b"GET /v2 HTTP/1.1\r\nA: ")
        body.sendall(b"POST /v2 HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc")
        idle.sendall(b"GET /v2/health/live HTTP/1.1\r\n\r\n")
        assert b" 200 " in idle.recv(1000)
        for c in (silent, slow, body):
            assert ends_within(c, 20)
        assert ends_within(idle, 20)


def test_who_does_not_read_is_dropped():
    with Server("--model", f"uci={MODEL}", "--write-timeout", "1") as s:
        c = connect(s)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = b"GET /metrics HTTP/1.1\r\n\r\n" * 2000
        c.settimeout(1)
        try:
            c.sendall(ask)
        except socket.timeout:
            pass
        deadline = time.monotonic() + 20  # one connection is left: that of the question itself
        while time.monotonic() < deadline:
            text = requests.get(f"http://{s.address}/metrics").text
            if float(re.search(r"^oar_connections (\S+)", text, re.M)[1]) <= 1:
                return
            time.sleep(0.2)
        raise AssertionError("still there")


def test_limits_on_connections_heads_and_bodies():
    with Server("--model", f"uci={MODEL}", "--max-connections", "8", "--max-header-size", "1000", "--max-bytes-in-flight", "20000") as s:
        url = f"http://{s.address}"
        assert requests.get(url + "/v2", headers={"A": "x" * 1000}).status_code == 431
        assert requests.get(url + "/v2", headers={"A": "x" * 500}).status_code == 200
        r = requests.post(url + INFER, b"x" * 20001)
        assert r.status_code == 503 and r.headers["Retry-After"] == "1" and "--max-bytes-in-flight" in r.json()["error"]
        assert requests.post(url + INFER, iter([b"x" * 15000, b"x" * 15000])).status_code == 503
        for _ in range(5):  # what was counted is given back
            assert requests.post(url + INFER, BODY + b" " * (15000 - len(BODY))).status_code == 200
        held = [connect(s) for _ in range(30)]
        assert sum(ends_within(c, 0.5) for c in held) >= 20
        for c in held:
            c.close()
        for _ in range(50):  # until the server has seen that they went
            try:
                assert requests.get(url + "/v2").status_code == 200
                return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise AssertionError("nobody is served any more")


def test_prometheus_has_a_port_of_its_own():
    from conftest import free_port
    port = free_port()
    with Server("--model", f"uci={MODEL}", "--prometheus_port", port):
        assert "oar_build_info" in requests.get(f"http://127.0.0.1:{port}/metrics").text



def test_httpx_keeps_its_connections(url):
    httpx = pytest.importorskip("httpx")
    with httpx.Client() as c:
        for _ in range(20):
            assert c.post(url + INFER, content=BODY).status_code == 200


def test_overload_is_answered_at_once():
    rows = 20_000
    large = json.dumps({"inputs": [{"name": "x", "shape": [rows, 13], "datatype": "FP32", "data": ROW * rows}]}).encode()
    with Server("--model", f"uci={MODEL}", "--thread", "1", "--queue-size", "1") as s:
        answers = []

        def ask():
            r = requests.post(f"http://{s.address}{INFER}", large, headers={"Connection": "close"}, timeout=60)
            answers.append((r.status_code, r.headers.get("Retry-After"), "queue" in r.text[:200]))
        threads = [threading.Thread(target=ask) for _ in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert set(answers) <= {(200, None, False), (503, "1", True)} and (200, None, False) in answers
        assert requests.post(f"http://{s.address}{INFER}", BODY).status_code == 200
