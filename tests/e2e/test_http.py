"""HTTP against the running server, by requests, curl and bare sockets."""
import gzip
import json
import socket
import subprocess

import numpy as np
import pytest
import requests

from conftest import ROOT, ZOO, Server
from wire import PB, ROW, SERVICE, uci_request

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
BODY = {"tensor": [{"float_data": ROW, "elem_type": 1, "name": "x", "alias_name": "x", "shape": [1, 13]}], "fetch_var_names": ["price"], "log_id": 0}
PATHS = ["/GeneralModelService/inference", f"/{SERVICE}/inference", "/GeneralModelService/debug"]


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", "--name", "house") as s:
        yield s


def price_of(reply):
    return reply["outputs"][0]["tensor"][0]["float_data"]


def still_serves(url):
    assert price_of(requests.post(url + PATHS[0], json=BODY).json()) == pytest.approx([PRICE], abs=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_json(url, path):
    r = requests.post(url + path, json=BODY)
    assert r.status_code == 200 and r.headers["Content-Type"] == "application/json"
    tensor = r.json()["outputs"][0]["tensor"][0]
    assert tensor["float_data"] == [18.901151657104492]  # as the original prints a float
    assert (tensor["elem_type"], tensor["shape"], tensor["name"], tensor["alias_name"]) == (1, [1, 1], "fc_0.tmp_1", "price")
    assert r.json()["outputs"][0]["engine_name"] == "GeneralInferOp_0" and len(r.json()["profile_time"]) == 2
    assert "err_no" not in r.json() and "log_id" not in r.json()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["application/proto", "application/x-protobuf"])
def test_protobuf(url, path, kind):
    r = requests.post(url + path, uci_request().SerializeToString(), headers={"Content-Type": kind})
    assert r.status_code == 200 and r.headers["Content-Type"] == kind
    assert list(PB["Response"].FromString(r.content).outputs[0].tensor[0].float_data) == pytest.approx([PRICE], abs=1e-6)


def test_curl_with_its_default_type(url):
    done = subprocess.run(["curl", "-s", "-d", json.dumps(BODY), url + PATHS[0]], capture_output=True, check=True)
    assert price_of(json.loads(done.stdout)) == pytest.approx([PRICE], abs=1e-6)


def test_gzip_both_ways(url):
    body = dict(BODY, tensor=[dict(BODY["tensor"][0], float_data=ROW * 60, shape=[60, 13])])
    r = requests.post(url + PATHS[0], gzip.compress(json.dumps(body).encode()), headers={"Content-Encoding": "gzip"})
    assert r.headers["Content-Encoding"] == "gzip" and price_of(r.json()) == pytest.approx([PRICE] * 60, abs=1e-5)
    r = requests.post(url + PATHS[0], json=body, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in r.headers
    assert "Content-Encoding" not in requests.post(url + PATHS[0], json=BODY).headers  # too small to pay


def test_prediction(url):
    for name in ("uci", "house"):
        r = requests.post(f"{url}/{name}/prediction", json={"feed": [{"x": ROW}], "fetch": ["price"]})
        assert r.status_code == 200 and r.json() == {"result": {"price": [[18.901151657104492]]}}
    r = requests.post(f"{url}/uci/prediction", json={"feed": [{"x": ROW}] * 3, "fetch": ["price"]})
    assert np.shape(r.json()["result"]["price"]) == (3, 1)
    r = requests.post(f"{url}/nobody/prediction", json={"feed": [{"x": ROW}], "fetch": ["price"]})
    assert r.status_code == 404 and "'nobody'" in r.json()["error"] and "'uci'" in r.json()["error"]


def test_prediction_with_sequences():
    folder = ZOO / "imdb_bow" / "pdmodel26"
    given, want = np.load(folder / "case_0.in.npz"), np.load(folder / "case_0.out.npz")
    ids, lod = given["in0"], given["in0_lod0"]
    rows = [{"words": ids[a:b].tolist()} for a, b in zip(lod, lod[1:])]
    with Server("--model", f"bow={folder}") as s:
        r = requests.post(f"http://{s.address}/bow/prediction", json={"feed": rows, "fetch": ["prediction"]})
        assert r.status_code == 200, r.text
        np.testing.assert_allclose(r.json()["result"]["prediction"], want["out0"], atol=1e-5)


def test_health_and_index(url):
    assert requests.get(url + "/v2/health/live").status_code == 200
    assert requests.get(url + "/v2/health/ready").status_code == 200
    assert requests.head(url + "/v2/health/ready").status_code == 200
    assert "/uci/prediction" in requests.get(url + "/").text


def test_wrong_urls_and_methods(url):
    r = requests.get(url + "/nothing/here")
    assert r.status_code == 404 and r.headers["x-bd-error-code"] == "1002" and "/nothing/here" in r.text
    r = requests.get(url + PATHS[0])
    assert r.status_code == 405 and r.headers["Allow"] == "POST, OPTIONS" == requests.options(url + PATHS[0]).headers["Allow"]
    for method in ("FOO", "TRACE", "PROPFIND"):
        assert requests.request(method, url + PATHS[0]).status_code == 405
    assert requests.post(url + "/GeneralModelService/nothing", json=BODY).status_code == 404


BAD_BODIES = {
    "no JSON": (b"{", "json"),
    "an array": (b"[]", "object"),
    "empty": (b"", "'x'"),
    "no tensor": (b"{}", "'x'"),
    "a string for a list": (json.dumps(dict(BODY, tensor="x")).encode(), "expected an array"),
    "a number too many": (json.dumps(dict(BODY, tensor=[dict(BODY["tensor"][0], float_data=ROW + [1])])).encode(), "14"),
    "unknown fetch": (json.dumps(dict(BODY, fetch_var_names=["prise"])).encode(), "did you mean 'price'"),
    "depth": (b'{"tensor":' + b"[" * 100000, ""),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_bad_bodies_are_told_why(url, case):
    body, words = BAD_BODIES[case]
    r = requests.post(url + PATHS[0], body)
    assert r.status_code == 400 and r.headers["x-bd-error-code"] == "1003" and r.headers["Content-Type"] == "text/plain"
    assert words.lower() in r.text.lower()
    still_serves(url)


@pytest.mark.parametrize("body,words", [
    ({"fetch": ["price"]}, "feed"), ({"feed": [{"y": ROW}], "fetch": ["price"]}, "'y'"),
    ({"feed": [{"x": ROW[:5]}], "fetch": ["price"]}, "x"), ({"feed": [{"x": ["a"]}], "fetch": ["price"]}, "x"),
    ({"feed": [], "fetch": ["price"]}, "feed"), ({"feed": [{"x": ROW}], "fetch": ["prise"]}, "price"),
])
def test_bad_predictions_are_told_why(url, body, words):
    r = requests.post(url + "/uci/prediction", json=body)
    assert r.status_code == 400 and words in r.json()["error"]


def test_unknown_encoding(url):
    assert requests.post(url + PATHS[0], b"x", headers={"Content-Encoding": "br"}).status_code == 415
    assert requests.post(url + PATHS[0], b"no gzip", headers={"Content-Encoding": "gzip"}).status_code == 400
    still_serves(url)


def exchange(server, data, piece=None):
    """Sends bytes, whole or in pieces, and reads to the end."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), piece or len(data)):
            s.sendall(data[at:at + (piece or len(data))])
        answer = b""
        while more := s.recv(65536):
            answer += more
        return answer


def raw(body, headers=b"", version=b"1.1"):
    return b"POST /GeneralModelService/inference HTTP/" + version + b"\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n" + body


def test_byte_by_byte(server):
    body = json.dumps(BODY).encode()
    assert b"18.901151657104492" in exchange(server, raw(body, b"Content-Length: %d\r\n" % len(body)), piece=1)


def test_chunks(server):
    body = json.dumps(BODY).encode()
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 7]), body[i:i + 7]) for i in range(0, len(body), 7)) + b"0\r\nTrailer: x\r\n\r\n"
    for piece in (None, 1, 13):
        assert b"18.901151657104492" in exchange(server, raw(chunked, b"Transfer-Encoding: chunked\r\n"), piece)
    assert exchange(server, raw(b"zz\r\n", b"Transfer-Encoding: chunked\r\n")).startswith(b"HTTP/1.1 400 ")


def test_pipelined_requests_keep_their_order(server):
    def one(rows, close):
        body = json.dumps(dict(BODY, tensor=[dict(BODY["tensor"][0], float_data=ROW * rows, shape=[rows, 13])])).encode()
        head = b"POST /GeneralModelService/inference HTTP/1.1\r\nHost: x\r\n" + (b"Connection: close\r\n" if close else b"")
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    answer = exchange(server, b"".join(one(n, n == 20) for n in range(1, 21))).decode()
    shapes = [int(part.split(",")[0]) for part in answer.split('"shape":[')[1:]]
    assert shapes == list(range(1, 21))


def test_http_1_0(server):
    answer = exchange(server, b"GET /v2/health/ready HTTP/1.0\r\n\r\n")
    assert b" 200 " in answer.split(b"\r\n")[0]


def test_expect_100_continue(server):
    body = json.dumps(BODY).encode()
    with socket.create_connection(("127.0.0.1", server.port), 5) as s:
        s.sendall(raw(b"", b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(body)))
        assert s.recv(100).startswith(b"HTTP/1.1 100 ")
        s.sendall(body)
        assert b" 200 " in s.recv(1000).split(b"\r\n")[0]


def test_a_head_cut_anywhere_hurts_nobody(server, url):
    body = json.dumps(BODY).encode()
    whole = raw(body, b"Content-Length: %d\r\n" % len(body))
    for n in range(len(whole)):
        with socket.create_connection(("127.0.0.1", server.port), 5) as s:
            s.sendall(whole[:n])
    still_serves(url)


@pytest.mark.parametrize("head,words", [
    (b"GET / HTTP/1.1\r\nA b: c\r\n\r\n", "a header's name"), (b"GET / HTTP/9.9\r\n\r\n", "does not end in HTTP/1.0 or HTTP/1.1"),
    (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", "no colon"), (b"GET /\r\n\r\n", "METHOD PATH HTTP/1.1"),
    (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "two Content-Lengths differ"),
    (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Content-Length is no whole number"),
    (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "stand together"),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "is chunked"), (b"GET / HTTP/1.1\nHost: a\n\n", "without CR LF"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "two Host headers"), (b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", "a control character"),
    (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "begin with a slash"),
])
def test_malformed_heads_are_told_why(server, url, head, words):
    answer = exchange(server, head).decode()
    assert answer.startswith("HTTP/1.1 400 ") and "head is malformed: " in answer and words in answer
    still_serves(url)


def test_heads_over_the_limit(server, url):
    assert exchange(server, b"GET / HTTP/1.1\r\nA: " + b"x" * 70000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert b"more than 128 headers" in exchange(server, b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 200 + b"\r\n")
    still_serves(url)


def test_pages_are_packed_for_who_takes_that_the_way_he_likes_best(url):
    for accept, coding in (("gzip", "gzip"), ("zstd;q=0.1, gzip;q=0.9", "gzip"), ("gzip;q=0.5, deflate", "deflate"), ("gzip;q=0", None), ("br", None)):
        r = requests.get(url + "/metrics", headers={"Accept-Encoding": accept})
        assert r.headers.get("Content-Encoding") == coding and "pd_query_request_success_total" in r.text
    assert "Content-Encoding" not in requests.get(url + "/version", headers={"Accept-Encoding": "gzip"}).headers


def test_bodies_over_the_limit():
    with Server("--model", f"uci={MODEL}", "--max-body-size", "1000") as s:
        url = f"http://{s.address}"
        r = requests.post(url + PATHS[0], b"x" * 1001)
        assert r.status_code == 413 and "1001" in r.text and "1000" in r.text
        r = requests.post(url + PATHS[0], iter([b"x" * 600, b"x" * 600]))  # in chunks
        assert r.status_code == 413
        still_serves(url)


def test_large_bodies_and_replies(url):
    rows = 20000
    body = dict(BODY, tensor=[dict(BODY["tensor"][0], float_data=ROW * rows, shape=[rows, 13])])
    r = requests.post(url + PATHS[0], json=body, timeout=60)
    assert len(price_of(r.json())) == rows
