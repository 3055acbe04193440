"""`oar call`, `oar bench`, `oar models` and liboar_client over TLS, with certificates of their own, and with keys; against Oar, and against
servers that nobody here wrote."""
import http.server
import json
import shutil
import ssl
import subprocess
import threading

import numpy as np
import pytest

from conftest import BUILD, ROOT, Server, run_oar
from test_access import make_certificates
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
PROTOCOLS = ["brpc", "http", "grpc", "kserve-http", "kserve-grpc", "tfs"]


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl's command is not here")
    return make_certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    path = tmp_path_factory.mktemp("feeds") / "in.npz"
    np.savez(path, x=np.array([ROW], np.float32))
    return path


@pytest.fixture(scope="module")
def tls(pki):
    """TLS alone, clients with a certificate alone, and a key for each group."""
    keys = pki / "keys"
    keys.write_text("infer,metadata one\nadmin two\n")
    with Server("--model", f"uci={MODEL}", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key") as s:
        yield s


@pytest.fixture(scope="module")
def mutual(pki, tls):
    with Server("--model", f"uci={MODEL}", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key", "--tls-client-ca", pki / "ca.pem",
                "--api-keys", pki / "keys") as s:
        yield s


def call(server, feeds, protocol, *more, host="127.0.0.1"):
    return run_oar("call", f"{host}:{server.port}", "--protocol", protocol, "--model", "uci", "--in", feeds, "--json", *more)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_call(tls, pki, feeds, protocol):
    for more in (["--tls-ca", pki / "ca.pem"], ["--cacert", pki / "ca.pem", "--tls"], ["--insecure"]):
        done = call(tls, feeds, protocol, *more)
        assert done.returncode == 0, done.stderr
        assert "18.90" in done.stdout
    assert call(tls, feeds, protocol, "--tls-ca", pki / "ca.pem", host="localhost").returncode == 0
    done = call(tls, feeds, protocol, "--tls")
    assert done.returncode == 1 and "certificate is not believed" in done.stderr, done.stderr


def test_another_name_is_not_believed(pki, feeds):
    (pki / "san").write_text("subjectAltName=DNS:elsewhere\n")
    for arguments in (["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x", "-keyout", "x.key", "-out", "x.csr"],
                      ["x509", "-req", "-in", "x.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", "x.pem"]):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=pki)
    with Server("--model", f"uci={MODEL}", "--tls-cert", pki / "x.pem", "--tls-key", pki / "x.key") as s:
        done = call(s, feeds, "http", "--tls-ca", pki / "ca.pem")
        assert done.returncode == 1 and "mismatch" in done.stderr, done.stderr
        assert call(s, feeds, "http", "--insecure").returncode == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_call_with_a_certificate_and_a_key(mutual, pki, feeds, protocol, tmp_path):
    ca, cert = ["--tls-ca", pki / "ca.pem"], ["--tls-cert", pki / "client.pem", "--tls-key", pki / "client.key"]
    (tmp_path / "key").write_text("one\n")
    done = call(mutual, feeds, protocol, *ca, *cert, "--api-key", f"@{tmp_path / 'key'}")
    assert done.returncode == 0 and "18.90" in done.stdout, done.stderr
    done = call(mutual, feeds, protocol, *ca, "--api-key", "one")
    assert done.returncode == 1 and "certificate required" in done.stderr, done.stderr
    done = call(mutual, feeds, protocol, *ca, *cert, "--api-key", "three")
    assert done.returncode == 1 and "key" in done.stderr, done.stderr


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bench(mutual, pki, feeds, protocol):
    done = run_oar("bench", mutual.address, "--protocol", protocol, "--model", "uci", "--in", feeds, "--seconds", "0.2", "--warm-up", "0", "--concurrency", "4", "--json",
                   "--tls-ca", pki / "ca.pem", "--tls-cert", pki / "client.pem", "--tls-key", pki / "client.key", "--api-key", "one")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["errors"] == 0 and json.loads(done.stdout)["calls"] > 10


def test_large_bodies(tls, pki, tmp_path):
    rows = 200_000
    np.savez(tmp_path / "in.npz", x=np.repeat(np.array([ROW], np.float32), rows, 0))
    for protocol in ("brpc", "kserve-http", "kserve-grpc"):
        done = run_oar("call", tls.address, "--protocol", protocol, "--model", "uci", "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz",
                       "--tls-ca", pki / "ca.pem")
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(np.load(tmp_path / "out.npz")["price"], np.full((rows, 1), PRICE), rtol=1e-6)
        done = run_oar("bench", tls.address, "--protocol", protocol, "--model", "uci", "--in", tmp_path / "in.npz", "--seconds", "0.3", "--warm-up", "0", "--json",
                       "--tls-ca", pki / "ca.pem")
        assert done.returncode == 0 and json.loads(done.stdout)["errors"] == 0, done.stderr


def test_models_are_managed(mutual, pki):
    more = ["--tls-ca", pki / "ca.pem", "--tls-cert", pki / "client.pem", "--tls-key", pki / "client.key"]
    done = run_oar("models", mutual.address, "list", *more, "--api-key", "one")
    assert done.returncode == 0 and "uci" in done.stdout, done.stderr
    assert run_oar("models", mutual.address, "load", "uci", *more, "--api-key", "two").returncode == 0
    assert run_oar("models", mutual.address, "load", "uci", *more, "--api-key", "one").returncode == 1


def test_what_does_not_speak_tls(pki, feeds):
    with Server("--model", f"uci={MODEL}") as s:
        done = call(s, feeds, "http", "--insecure")
        assert done.returncode == 1 and "TLS" in done.stderr, done.stderr
    for more, words in ((["--tls-ca", pki / "no.pem"], "no.pem"), (["--tls-key", pki / "client.key"], "certificate"), (["--api-key", ""], "API key")):
        done = run_oar("call", "127.0.0.1:1", "--in", feeds, *more)
        assert done.returncode == 1 and words in done.stderr, done.stderr


def test_against_pythons_own_server(pki, feeds):
    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"outputs": [{"name": "price", "datatype": "FP32", "shape": [1], "data": [2.5]}],
                               "model_name": self.headers["Authorization"]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as s:
        s.socket = context.wrap_socket(s.socket, server_side=True)
        s.port = s.server_address[1]
        thread = threading.Thread(target=s.serve_forever)
        thread.start()
        done = call(s, feeds, "kserve-http", "--tls-ca", pki / "ca.pem", "--api-key", "k")
        s.shutdown()
        thread.join()
    assert done.returncode == 0 and "2.5" in done.stdout, done.stderr


PROGRAM = r"""
#include <oar/client.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    float x[13] = { 0.0137f, -0.1136f, 0.2553f, -0.0692f, 0.0582f, -0.0727f, -0.1583f, -0.0584f, 0.6283f, 0.4919f, 0.1856f, 0.0795f, -0.0332f };
    int64_t shape[] = { 1, 13 };
    oar_array feed = { .name = "x", .dtype = 1, .rank = 2, .shape = shape, .data = x };
    const oar_array *results = 0;
    oar_client *c;
    int n = 0, failed = oar_client_open(argv[1], argv[2], &c);
    oar_tls tls = { .ca = argv[3], .cert = argv[4], .key = argv[5] };
    failed = failed || oar_client_set_model(c, "uci") || oar_client_set_access(c, &tls, argv[6]) || oar_client_infer(c, &feed, 1, 0, 0, &results, &n);
    if (failed)
        printf("%s\n", oar_client_error(c));
    else
        printf("%.5f\n", *(const float *)results[0].data);
    oar_client_close(c);
    return failed != 0;
}
"""


def test_the_library(mutual, pki, tmp_path):
    (tmp_path / "program.c").write_text(PROGRAM)
    subprocess.run(["cc", "-o", tmp_path / "program", tmp_path / "program.c", f"-I{ROOT / 'include'}", f"-L{BUILD}", "-loar_client", f"-Wl,-rpath,{BUILD}"],
                   check=True)
    for protocol in ("brpc", "http", "kserve-http", "kserve-grpc"):
        command = [tmp_path / "program", mutual.address, protocol, pki / "ca.pem", pki / "client.pem", pki / "client.key"]
        done = subprocess.run([*command, "one"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and done.stdout.startswith("18.901"), done.stdout + done.stderr
        assert "key" in subprocess.run([*command, "no"], capture_output=True, text=True, timeout=30).stdout
