"""TLS with clients' certificates, keys for groups of routes, unix sockets, further addresses and the PROXY protocol: with
curl, Python's ssl, and grpcio where it is here."""
import json
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time

import numpy
import pytest

from conftest import ROOT, Server, free_port, run_oar
from wire import PB, ROW, Connection, frame, read_frame, uci_request

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
BODY = json.dumps({"tensor": [{"float_data": ROW, "elem_type": 1, "name": "x", "shape": [1, 13]}], "fetch_var_names": ["price"]})
INFER = "/GeneralModelService/inference"


def curl(url, *arguments):
    """(HTTP version, status, body); the version is 0 where there was no answer."""
    command = ["curl", "-s", "-w", "\n%{http_version} %{http_code}", "--max-time", "20", url, *map(str, arguments)]
    body, _, tail = subprocess.run(command, capture_output=True, text=True).stdout.rpartition("\n")
    version, code = tail.split()
    return version, int(code), body


def make_certificates(folder):
    """An authority, a server's certificate for 127.0.0.1 and a client's, each with its key."""
    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=authority",
            "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("server", "client"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san",
                "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl's command is not here")
    return make_certificates(tmp_path_factory.mktemp("pki"))


def price_over(s):
    s.sendall(frame(uci_request()))
    meta, payload = read_frame(s)
    assert meta.response.error_code == 0, meta.response.error_text
    return PB["Response"].FromString(payload).outputs[0].tensor[0].float_data[0]


def tls_socket(server, pki, **kw):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    for key, value in kw.items():
        setattr(context, key, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), 20), server_hostname="127.0.0.1")


# ---- TLS ----


@pytest.fixture(scope="module")
def tls(pki):
    with Server("--model", f"uci={MODEL}", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key") as s:
        yield s


@pytest.mark.parametrize("how,version", [("--http1.1", "1.1"), ("--http2", "2")])
def test_https_by_alpn(tls, pki, how, version):
    got, code, body = curl(f"https://{tls.address}{INFER}", how, "--cacert", pki / "ca.pem", "-d", BODY)
    assert (got, code) == (version, 200)
    assert json.loads(body)["outputs"][0]["tensor"][0]["float_data"] == pytest.approx([PRICE], abs=1e-5)


def test_the_same_port_in_the_clear(tls):
    assert curl(f"http://{tls.address}/version")[1] == 200
    with Connection(tls.port) as c:
        assert price_over(c.socket) == pytest.approx(PRICE, abs=1e-5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_baidu_std_in_tls(tls, pki, version):
    with tls_socket(tls, pki, minimum_version=version, maximum_version=version) as s:
        for _ in range(3):
            assert price_over(s) == pytest.approx(PRICE, abs=1e-5)


def test_large_bodies_in_tls(tls, pki, tmp_path):
    rows = 20000
    (tmp_path / "body").write_text(json.dumps({"tensor": [{"float_data": ROW * rows, "elem_type": 1, "name": "x", "shape": [rows, 13]}]}))
    for how in ("--http1.1", "--http2"):
        _, code, body = curl(f"https://{tls.address}{INFER}", how, "--cacert", pki / "ca.pem", "--data-binary", f"@{tmp_path / 'body'}")
        assert code == 200 and len(json.loads(body)["outputs"][0]["tensor"][0]["float_data"]) == rows


def test_tls_that_comes_byte_by_byte(tls, pki):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", tls.port), 20) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def step(call):
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    for byte in outgoing.read():
                        s.send(bytes([byte]))
                    incoming.write(s.recv(65536))
        step(session.do_handshake)
        session.write(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        assert step(lambda: session.read(1000)).startswith(b"HTTP/1.1 200")


def test_rubbish_in_place_of_a_handshake(tls):
    for rubbish in (b"\x16\x03\x01\x00\x05hello", b"\x16" + b"\xff" * 300, b"\x16"):
        with socket.create_connection(("127.0.0.1", tls.port), 20) as s:
            s.sendall(rubbish)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
    assert curl(f"http://{tls.address}/version")[1] == 200


def test_grpc_over_tls(tls, pki):
    grpc = pytest.importorskip("grpc", reason="grpcio is not here")
    triton = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")
    credentials = grpc.ssl_channel_credentials((pki / "ca.pem").read_bytes())
    with triton.InferenceServerClient(tls.address, ssl=True, creds=credentials) as c:
        assert c.is_server_ready()


def test_certificates_are_read_again(pki, tmp_path):
    for name in ("server.pem", "server.key"):
        shutil.copy(pki / name, tmp_path / name)
    with Server("--model", f"uci={MODEL}", "--tls-cert", tmp_path / "server.pem", "--tls-key", tmp_path / "server.key") as s:
        with tls_socket(s, pki) as first:
            serial = first.getpeercert()["serialNumber"]
            (tmp_path / "server.pem").write_text("rubbish")
            s.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            with tls_socket(s, pki) as same:
                assert same.getpeercert()["serialNumber"] == serial
            for suffix in ("pem", "key"):
                shutil.copy(pki / f"client.{suffix}", tmp_path / f"server.{suffix}")
            s.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with tls_socket(s, pki) as other:
                    now = other.getpeercert()["serialNumber"]
                if now != serial:
                    break
                time.sleep(0.05)
            assert price_over(first) == pytest.approx(PRICE, abs=1e-5)  # an old connection goes on
            assert now != serial
        assert "the old certificate stays" in s.errors


def test_mutual_tls_and_nothing_in_the_clear(pki, tmp_path):
    path = tmp_path / "socket"
    server = Server("--model", f"uci={MODEL}", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key", "--tls-client-ca", pki / "ca.pem",
                    "--tls-required", "--listen", f"unix:{path}")
    url = f"https://{server.address}/version"
    client = ("--cert", pki / "client.pem", "--key", pki / "client.key")
    try:
        deadline = time.monotonic() + 20
        while curl(url, "--cacert", pki / "ca.pem", *client)[1] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert curl(url, "--cacert", pki / "ca.pem", *client)[1] == 200
        assert curl(url, "--cacert", pki / "ca.pem")[1] == 0
        assert curl(f"http://{server.address}/version")[1] == 0
        assert curl("http://x/version", "--unix-socket", path)[1] == 200
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("arguments,words", [
    (["--tls-cert", "x"], "one wants the other"),
    (["--tls-required"], "want a --tls-cert"),
    (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "/nowhere"),
    (["--api-keys", "/nowhere"], "/nowhere"),
    (["--listen", "somewhere"], "HOST:PORT or unix:PATH"),
    (["--listen", "unix:" + "x" * 200], "at most 107 bytes"),
    (["--listen", "unix:"], "expected a path"),
    (["--listen", "unix:@"], "expected a path"),
])
def test_options_that_cannot_be(arguments, words):
    done = run_oar("serve", "--model", MODEL, "--port", "0", *arguments)
    assert done.returncode != 0 and words in done.stderr


# ---- keys ----


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("# who may what\ninfer,metadata alpha\ninfer beta\n\nadmin gamma\n")
    with Server("--model", f"uci={MODEL}", "--api-keys", keys) as s:
        s.keys = keys
        yield s


@pytest.mark.parametrize("path,arguments,key,code", [
    ("/v2/health/ready", [], None, 200),
    ("/metrics", [], None, 200),
    (INFER, ["-d", BODY], None, 401),
    (INFER, ["-d", BODY], "gamma", 401),
    (INFER, ["-d", BODY], "alph", 401),
    (INFER, ["-d", BODY], "alphaa", 401),
    (INFER, ["-d", BODY], "alpha beta", 401),
    (INFER, ["-d", BODY], "alpha", 200),
    (INFER, ["-d", BODY], "beta", 200),
    ("/v2", [], "beta", 401),
    ("/v2", [], "alpha", 200),
    ("/v2", ["-X", "OPTIONS"], None, 204),
    ("/v2/nothing", [], None, 404),
    ("/v2/models/uci/stats", [], None, 200),
    ("/v2/models/statistics", [], None, 401),
    ("/v2/models/uci/trace/setting", [], "alpha", 200),
    ("/v2/models/uci/trace/setting", ["-d", "{}"], "alpha", 401),
    ("/v2/repository/models/uci/load", ["-X", "POST"], "alpha", 401),
    ("/v2/repository/models/uci/load", ["-X", "POST"], "gamma", 200),
])
def test_keys_for_groups(keyed, path, arguments, key, code):
    header = ["-H", f"Authorization: Bearer {key}"] if key is not None else []
    for how in ("--http1.1", "--http2-prior-knowledge"):
        assert curl(f"http://{keyed.address}{path}", how, *arguments, *header)[1] == code
    if code == 200 and key:
        assert curl(f"http://{keyed.address}{path}", *arguments, "-H", f"X-API-Key: {key}")[1] == 200


def test_authentication_data_of_baidu_std(keyed):
    with Connection(keyed.port) as c:
        meta, _ = c.call(uci_request())
        assert meta.response.error_code == 1004 and "key" in meta.response.error_text
        meta, _ = c.call(uci_request(), key=b"gamma")
        assert meta.response.error_code == 1004
        for key in (b"beta", None):  # the first one speaks for the connection
            meta, _ = c.call(uci_request(), key=key)
            assert meta.response.error_code == 0


def test_keys_of_grpc(keyed):
    grpc = pytest.importorskip("grpc", reason="grpcio is not here")
    with grpc.insecure_channel(keyed.address) as channel:
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        metadata = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        assert live(b"") == b"\x08\x01"
        with pytest.raises(grpc.RpcError) as e:
            metadata(b"")
        assert e.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert b"oar" in metadata(b"", metadata=[("authorization", "Bearer alpha")])


def test_keys_are_read_again(keyed):
    url = f"http://{keyed.address}{INFER}"
    keyed.keys.write_text("infer,metadata alpha\ninfer beta\nadmin gamma\ninfer delta\n")
    keyed.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and curl(url, "-d", BODY, "-H", "X-API-Key: delta")[1] != 200:
        time.sleep(0.05)
    assert curl(url, "-d", BODY, "-H", "X-API-Key: delta")[1] == 200


# ---- addresses ----


def test_unix_sockets_and_further_addresses(tmp_path):
    path, port = tmp_path / "oar.sock", free_port()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()  # as a server that was killed leaves it
    with Server("--model", f"uci={MODEL}", "--listen", f"unix:{path}", "--listen", f"[::1]:{port}") as s:
        assert curl("http://x/version", "--unix-socket", path)[1] == 200
        assert curl(f"http://[::1]:{port}/version")[1] == 200
        assert curl(f"http://{s.address}/version")[1] == 200
        with socket.socket(socket.AF_UNIX) as u:
            u.connect(str(path))
            assert price_over(u) == pytest.approx(PRICE, abs=1e-5)
        second = run_oar("serve", "--model", MODEL, "--port", "0", "--listen", f"unix:{path}")
        assert second.returncode != 0 and "another server" in second.stderr
    assert not path.exists()


@pytest.mark.parametrize("protocol", ["brpc", "http", "grpc", "kserve-http", "kserve-grpc"])
def test_clients_ask_over_unix_sockets(tmp_path, protocol):
    path, name = tmp_path / "oar.sock", f"@oar-test-{tmp_path.name}-{time.time_ns()}"
    numpy.savez(tmp_path / "in.npz", x=numpy.array([ROW], "float32"))
    with Server("--model", f"uci={MODEL}", "--listen", f"unix:{path}", "--listen", f"unix:{name}"):
        for at in (f"unix:{path}", f"unix://{path}", f"unix:{name}"):
            done = run_oar("call", at, "--in", tmp_path / "in.npz", "--protocol", protocol, "--model", "uci")
            assert done.returncode == 0 and float(done.stdout.split()[-1]) == pytest.approx(PRICE, abs=1e-4), done.stderr
        assert "READY" in run_oar("models", f"unix:{name}", "list").stdout
        done = run_oar("bench", f"unix:{path}", "--in", tmp_path / "in.npz", "--protocol", protocol, "--model", "uci", "--seconds", "0.1",
                       "--warm-up", "0", "--json")
        assert json.loads(done.stdout)["errors"] == 0
    done = run_oar("call", f"unix:{path}", "--in", tmp_path / "in.npz", "--protocol", protocol)
    assert done.returncode != 0 and f"unix:{path}: cannot connect: No such file" in done.stderr


SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxied(client=None):
    if client is None:
        return SIGNATURE + b"\x20\x00\x00\x00"
    body = socket.inet_aton(client) + socket.inet_aton("127.0.0.1") + struct.pack(">HH", 4711, 80)
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(body) + 3) + body + b"\x04\x00\x00"


def ask(port, head, path="/v2/repository/models/uci/load", method="POST"):
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(head + f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := s.recv(65536):
            data += piece
    return int(data.split()[1]) if data else None


def test_proxy_protocol_and_who_may_manage():
    port = free_port()
    server = Server("--model", f"uci={MODEL}", "--proxy-protocol", port=port)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if ask(port, proxied(), "/v2/health/ready", "GET") == 200:
                    break
            except OSError:
                time.sleep(0.05)
        assert ask(port, proxied()) == 200  # the proxy itself, from this machine
        assert ask(port, proxied("127.0.0.9")) == 200
        assert ask(port, proxied("198.51.100.7")) == 403  # a peer elsewhere
        assert ask(port, proxied("198.51.100.7"), "/version", "GET") == 200
        for head in (b"", SIGNATURE[:-1] + b"x\x21\x11\0\0", SIGNATURE + b"\x31\x11\0\0", SIGNATURE + b"\x21\x11\xff\xff"):
            assert ask(port, head) is None
    finally:
        assert server.stop() == 0
