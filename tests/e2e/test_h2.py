"""HTTP/2 on the one port, with clients that are not ours: curl and nghttp, by prior knowledge and by upgrade."""
import json
import shutil
import socket
import struct
import subprocess
import time

import pytest

from conftest import ROOT, Server
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
BODY = {"tensor": [{"float_data": ROW, "elem_type": 1, "name": "x", "alias_name": "x", "shape": [1, 13]}], "fetch_var_names": ["price"]}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# :method, :scheme http, :path / of HPACK's static table, and :authority x
GET, POST = b"\x82\x86\x84\x01\x01x", b"\x83\x86\x84\x01\x01x"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", "--max-body-size", "2000000") as s:
        yield s


def curl(server, path, *arguments, how="--http2-prior-knowledge"):
    command = ["curl", "-s", "-i", how, f"http://{server.address}{path}", *arguments]
    out = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    head, _, body = out.rpartition(b"\r\n\r\n")
    return head.decode().lower().split("\r\n"), body


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Raw:
    """A peer that writes its frames itself."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), 20)
        self.socket.sendall(PREFACE + frame(SETTINGS))
        self.data = b""

    def send(self, *arguments):
        self.socket.sendall(frame(*arguments))

    def frames(self):
        """(type, flags, stream, payload) until the server closes."""
        while True:
            while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
                try:
                    piece = self.socket.recv(65536)
                except ConnectionResetError:
                    return
                if not piece:
                    return
                self.data += piece
            n = int.from_bytes(self.data[:3], "big")
            yield self.data[3], self.data[4], int.from_bytes(self.data[5:9], "big"), self.data[9:9 + n]
            self.data = self.data[9 + n:]


@pytest.mark.parametrize("how", ["--http2-prior-knowledge", "--http2"])
def test_the_routes_of_http1(server, how):
    head, body = curl(server, "/version", how=how)
    assert "http/2 200" in head[-3 if how == "--http2-prior-knowledge" else 0] or any(line.startswith("http/2 200") for line in head)
    assert body.startswith(b"oar ")
    head, body = curl(server, "/GeneralModelService/inference", "-d", json.dumps(BODY), how=how)
    assert json.loads(body)["outputs"][0]["tensor"][0]["float_data"] == pytest.approx([PRICE], abs=1e-5)


def test_errors_keep_their_codes(server):
    head, body = curl(server, "/nope")
    assert head[0].startswith("http/2 404") and "x-bd-error-code: 1002" in head
    head, body = curl(server, "/GeneralModelService/inference", "-d", "{")
    assert head[0].startswith("http/2 400") and body
    head, body = curl(server, "/v2/health/live", "-X", "POST")
    assert head[0].startswith("http/2 405") and "allow: get, head, options" in head


def test_gzip_both_ways(server, tmp_path):
    import gzip
    rows = 200
    packed = tmp_path / "body.gz"
    packed.write_bytes(gzip.compress(json.dumps({**BODY, "tensor": [{**BODY["tensor"][0], "float_data": ROW * rows, "shape": [rows, 13]}]}).encode()))
    head, body = curl(server, "/GeneralModelService/inference", "--data-binary", f"@{packed}", "-H", "Content-Encoding: gzip",
                      "-H", "Accept-Encoding: gzip")
    assert "content-encoding: gzip" in head
    assert len(json.loads(gzip.decompress(body))["outputs"][0]["tensor"][0]["float_data"]) == rows


def test_a_body_over_the_limit(server, tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"x" * 2000001)
    head, body = curl(server, "/GeneralModelService/inference", "--data-binary", f"@{large}")
    assert head[0].startswith("http/2 413") and b"2000000" in body


def test_many_requests_at_once(server):
    if not shutil.which("h2load"):
        pytest.skip("h2load (Debian: nghttp2-client) is not here")
    out = subprocess.run(["h2load", "-n", "5000", "-c", "8", "-m", "32", f"http://{server.address}/version"],
                         capture_output=True, text=True, timeout=60).stdout
    assert "5000 succeeded, 0 failed" in out


def test_frames_that_are_none_end_their_connection_alone(server):
    for rubbish in [b"\xff" * 100, frame(DATA, 0, 1, b"x"), frame(SETTINGS, 0, 0, b"x"), frame(HEADERS, 4, 1, b"\xff" * 20),
                    frame(HEADERS, 4, 2, b"\x82"), frame(CONTINUATION, 4, 1, b"\x82")]:
        raw = Raw(server)
        raw.socket.sendall(rubbish)
        kinds = [kind for kind, *_ in raw.frames()]
        assert kinds[-1] == GOAWAY
    head, _ = curl(server, "/version")
    assert head[0].startswith("http/2 200")


@pytest.mark.parametrize("kind,flags,payload", [(PING, 0, b"12345678"), (SETTINGS, 0, b"")])
def test_a_flood_of_control_frames_ends_its_connection(server, kind, flags, payload):
    raw = Raw(server)
    raw.socket.settimeout(20)
    try:
        for _ in range(30):
            raw.socket.sendall(frame(kind, flags, 0, payload) * 1000)
    except (BrokenPipeError, ConnectionResetError):
        pass
    for got in raw.frames():
        if got[0] == GOAWAY:
            assert int.from_bytes(got[3][4:8], "big") == 11  # ENHANCE_YOUR_CALM
    head, _ = curl(server, "/version")
    assert head[0].startswith("http/2 200")



def test_a_flood_of_resets_ends_its_connection(server):
    raw = Raw(server)
    try:
        for i in range(1, 20001, 2):
            raw.socket.sendall(frame(HEADERS, 4, i, POST) + frame(RST_STREAM, 0, i, struct.pack(">I", 8)))
    except (BrokenPipeError, ConnectionResetError):
        pass
    list(raw.frames())  # it ends
    assert curl(server, "/version")[0][0].startswith("http/2 200")


def test_a_header_without_end_is_bounded(server):
    raw = Raw(server)
    try:
        raw.send(HEADERS, 0, 1, GET)
        for _ in range(2000):
            raw.send(CONTINUATION, 0, 1, b"\x00\x01a" + b"\x7f\x81\x07" + b"x" * 256)
    except (BrokenPipeError, ConnectionResetError):
        pass
    list(raw.frames())  # it ends
    assert curl(server, "/version")[0][0].startswith("http/2 200")


def test_more_streams_than_allowed_are_refused(server):
    raw = Raw(server)
    for i in range(1, 2 * 300, 2):  # never ended
        raw.send(HEADERS, 4, i, POST)
    raw.send(PING, 0, 0, b"12345678")
    refused, pings = 0, 0
    for kind, flags, stream, payload in raw.frames():
        refused += kind == RST_STREAM and int.from_bytes(payload, "big") == 7
        pings += kind == PING
        if pings == 2:
            break
        if kind == PING:  # whose answer overtakes all that waits; the second one's does not
            raw.send(PING, 0, 0, b"12345678")
    assert refused == 300 - 256


def test_a_peer_that_does_not_read_costs_itself_alone(server):
    raw = Raw(server)
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.socket.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))  # no window for any answer
    for i in range(1, 400, 2):
        raw.send(HEADERS, 5, i, GET)
    begin = time.monotonic()
    assert curl(server, "/version")[0][0].startswith("http/2 200")
    assert time.monotonic() - begin < 5
    raw.socket.close()


def test_a_peer_that_takes_nothing_is_let_go_though_it_speaks():
    with Server("--model", f"uci={MODEL}", "--write-timeout", "1") as s:
        raw = Raw(s)
        raw.socket.sendall(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)))  # no window for any answer
        raw.send(HEADERS, 5, 1, GET)
        begin = time.monotonic()
        try:
            while time.monotonic() - begin < 15:
                raw.send(PING, 0, 0, b"12345678")
                time.sleep(0.2)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert 0.8 < time.monotonic() - begin < 10


def test_drain_answers_what_is_open():
    with Server("--model", f"uci={MODEL}") as s:
        raw = Raw(s)
        raw.send(HEADERS, 4, 1, POST)  # POST /, whose body is still to come
        raw.send(PING, 0, 0, b"12345678")
        for kind, *_ in raw.frames():
            if kind == PING:
                break
        s.process.terminate()
        seen = []
        for kind, flags, stream, payload in raw.frames():
            seen.append(kind)
            if kind == GOAWAY:
                raw.send(DATA, 1, 1, b"")
        assert GOAWAY in seen and HEADERS in seen
        assert s.process.wait(20) == 0
