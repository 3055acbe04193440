"""Clients that nobody here wrote, as their users run them: grpcurl (which learns the services by reflection), h2spec, h2load, gRPC's libraries for Go and
Java with stubs made of proto/. tools/clients builds them; without Go, a JDK or a network these tests are skipped."""
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from conftest import BUILD, ROOT, Server
from test_access import make_certificates
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
CLIENTS = BUILD / "clients"
REQUEST = {"model_name": "uci", "id": "seven", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 13], "contents": {"fp32_contents": ROW}}]}


@pytest.fixture(scope="session")
def clients():
    done = subprocess.run([ROOT / "tools" / "clients", CLIENTS], env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=600)
    return done.stderr


def program(clients, name):
    path = CLIENTS / "bin" / name
    if not path.exists():
        pytest.skip(f"{name} is not here: {clients.strip()}")
    return path


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}") as s:
        yield s


# ---- grpcurl ----


@pytest.fixture(scope="module")
def grpcurl(clients, server):
    path = program(clients, "grpcurl")

    def run(*arguments, address=server.address, plain=True):
        done = subprocess.run([path, *(["-plaintext"] if plain else []), *map(str, arguments[:-1]), address, *arguments[-1]], capture_output=True,
                              text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr
    return run


def test_grpcurl_lists_and_describes(grpcurl):
    code, out, err = grpcurl(["list"])
    assert code == 0 and {"inference.GRPCInferenceService", "grpc.health.v1.Health", "baidu.paddle_serving.predictor.general_model.GeneralModelService"} \
        <= set(out.split()), err
    code, out, _ = grpcurl(["list", "inference.GRPCInferenceService"])
    assert len(out.split()) == 20 and "inference.GRPCInferenceService.TraceSetting" in out
    code, out, err = grpcurl(["describe", "inference.ModelInferRequest"])
    assert code == 0 and "raw_input_contents = 7" in out, err


def test_grpcurl_calls(grpcurl):
    code, out, err = grpcurl("-d", json.dumps(REQUEST), ["inference.GRPCInferenceService/ModelInfer"])
    assert code == 0, err
    reply = json.loads(out)
    assert (reply["modelName"], reply["id"], reply["outputs"][0]["name"]) == ("uci", "seven", "price")
    code, out, err = grpcurl("-d", '{"service": "uci"}', ["grpc.health.v1.Health/Check"])
    assert json.loads(out) == {"status": "SERVING"}, err
    general = {"tensor": [{"name": "x", "alias_name": "x", "elem_type": 1, "shape": [1, 13], "float_data": ROW}], "fetch_var_names": ["price"]}
    code, out, err = grpcurl("-d", json.dumps(general), ["baidu.paddle_serving.predictor.general_model.GeneralModelService/inference"])
    assert json.loads(out)["outputs"][0]["tensor"][0]["floatData"] == pytest.approx([PRICE], abs=1e-5), err
    code, out, err = grpcurl("-d", json.dumps({**REQUEST, "model_name": "sun"}), ["inference.GRPCInferenceService/ModelInfer"])
    assert code != 0 and "NotFound" in err and "sun" in err
    stream = "".join(json.dumps({**REQUEST, "id": str(i)}) for i in range(5))
    code, out, err = grpcurl("-d", stream, ["inference.GRPCInferenceService/ModelStreamInfer"])
    assert re.findall(r'"id": "(\d)"', out) == list("01234"), err


def test_grpcurl_over_tls(grpcurl, tmp_path):
    pki = make_certificates(tmp_path)
    with Server("--model", f"uci={MODEL}", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key", "--tls-client-ca", pki / "ca.pem") as s:
        code, out, err = grpcurl("-cacert", pki / "ca.pem", "-cert", pki / "client.pem", "-key", pki / "client.key",
                                 ["inference.GRPCInferenceService/ServerLive"], address=s.address, plain=False)
        assert code == 0 and json.loads(out) == {"live": True}, err
        code, out, err = grpcurl("-cacert", pki / "ca.pem", "-connect-timeout", "1", ["inference.GRPCInferenceService/ServerLive"], address=s.address,
                                 plain=False)
        assert code != 0 and "Failed to dial" in err


# ---- h2spec and h2load ----


@pytest.mark.parametrize("tls", [False, True])
def test_h2spec(clients, server, tls, tmp_path):
    """Every case that it has."""
    path = program(clients, "h2spec")
    if not tls:
        done = subprocess.run([path, "-h", "127.0.0.1", "-p", str(server.port), "-o", "3"], capture_output=True, text=True, timeout=300)
    else:
        pki = make_certificates(tmp_path)
        with Server("--model", f"uci={MODEL}", "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key") as s:
            done = subprocess.run([path, "-t", "-k", "-h", "127.0.0.1", "-p", str(s.port), "-o", "3"], capture_output=True, text=True, timeout=300)
    total, passed, skipped, failed = map(int, re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout).groups())
    assert failed == 0 and passed == total >= 145, done.stdout[done.stdout.find("Failures"):]


def test_h2load_of_grpc(server, tmp_path):
    if not shutil.which("h2load"):
        pytest.skip("h2load (Debian: nghttp2-client) is not here")
    message = b"\x0a\x03uci" + b"\x2a\x0d" + b"\x0a\x01x\x12\x04FP32\x1a\x02\x01\x0d" + b"\x3a\x34" + bytes(52)
    (tmp_path / "body").write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    out = subprocess.run(["h2load", "-n", "20000", "-c", "4", "-m", "16", "-d", tmp_path / "body", "-H", "content-type: application/grpc", "-H", "te: trailers",
                          f"http://{server.address}/inference.GRPCInferenceService/ModelInfer"], capture_output=True, text=True, timeout=120).stdout
    assert "20000 succeeded, 0 failed, 0 errored" in out and "20000 2xx" in out, out


# ---- Go and Java ----


def test_gos_client(clients, server):
    done = subprocess.run([program(clients, "goclient"), server.address], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["live true ready true inputs x [-1 13]", f"infer {PRICE:.4f}", "unknown true", "late true", "stream 100",
                                        "health SERVING"], done.stdout + done.stderr


def test_javas_client(clients, server):
    path = CLIENTS / "java" / "classpath"
    if not path.exists():
        pytest.skip(f"the Java client is not here: {clients.strip()}")
    done = subprocess.run(["java", "-cp", path.read_text().strip(), "Client", server.address], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["live true", "input x", f"infer {PRICE:.4f} seven", "gzip price", "unknown NOT_FOUND",
                                        "stream " + "".join(f"{i}," for i in range(20))], done.stdout + done.stderr
