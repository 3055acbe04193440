"""The Open Inference Protocol V2 over HTTP, by Triton's own client, requests and curl."""
import asyncio
import json
import subprocess

import numpy as np
import pytest
import requests

from conftest import ROOT, ZOO, Server, assert_close, cases
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
INFER = "/v2/models/uci/infer"


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", f"bow={ZOO / 'imdb_bow' / 'pdmodel26'}") as s:
        yield s


def body(rows=1, **more):
    return dict({"inputs": [{"name": "x", "shape": [rows, 13], "datatype": "FP32", "data": ROW * rows}]}, **more)


def test_health_and_metadata(url):
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/uci/ready", "/v2/models/uci/versions/1/ready"):
        assert requests.get(url + path).status_code == 200
    assert requests.get(url + "/v2/models/nope/ready").status_code == 400
    server = requests.get(url + "/v2").json()
    assert server["name"] == "oar" and "binary_tensor_data" in server["extensions"]
    model = requests.get(url + "/v2/models/uci").json()
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 13]}] and model["versions"] == ["1"]
    config = requests.get(url + "/v2/models/uci/versions/1/config").json()
    assert config["input"][0]["data_type"] == "TYPE_FP32" and config["input"][0]["dims"] == [13] and config["max_batch_size"] > 0
    r = requests.get(url + "/v2/models/ucj")
    assert r.status_code == 404 and "'ucj' is not found" in r.json()["error"] and "'uci'" in r.json()["error"]
    assert requests.get(url + "/v2/models/uci/versions/9").status_code == 404
    assert requests.get(url + "/v2/models/uc%69").json()["name"] == "uci"
    assert requests.get(url + INFER).status_code == 405


def test_infer_in_json(url):
    r = requests.post(url + INFER, json=body(2, id="seven"))
    assert r.status_code == 200 and r.headers["Content-Type"] == "application/json"
    assert list(r.json()) == ["id", "model_name", "model_version", "outputs"]
    assert (r.json()["id"], r.json()["model_name"], r.json()["model_version"]) == ("seven", "uci", "1")
    out = r.json()["outputs"][0]
    assert out["data"] == pytest.approx([PRICE] * 2, abs=1e-5) and out["shape"] == [2, 1] and out["datatype"] == "FP32"


def test_curl_with_its_default_type(url):
    done = subprocess.run(["curl", "-s", "-d", json.dumps(body()), url + INFER], capture_output=True, check=True)
    assert json.loads(done.stdout)["outputs"][0]["data"] == pytest.approx([PRICE], abs=1e-5)


def test_raw_body(url):
    r = requests.post(url + INFER, np.array(ROW * 2, "<f4").tobytes(), headers={"Inference-Header-Content-Length": "0"})
    assert r.status_code == 200 and r.headers["Content-Type"] == "application/octet-stream"
    n = int(r.headers["Inference-Header-Content-Length"])
    assert json.loads(r.content[:n])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(r.content[n:], "<f4") == pytest.approx([PRICE] * 2, abs=1e-5)


def test_a_raw_body_that_is_no_whole_number_of_rows(url):
    r = requests.post(url + INFER, b"abcd", headers={"Inference-Header-Content-Length": "0"})
    assert r.status_code == 400 and "has 4 bytes, which is no multiple of the 52 of one row" in r.json()["error"]


@pytest.mark.parametrize("method,path,code,words", [
    ("GET", "/v2/nothing", 404, "Not Found"), ("DELETE", "/v2", 405, "Method Not Allowed"), ("GET", INFER, 405, "Method Not Allowed"),
    ("POST", "/v2/repository/mine/index", 501, "'repository_name' specification is not supported"),
    ("POST", "/v2/repository/mine/models/uci/load", 501, "'repository_name'"),
    ("GET", "/v2/models/half", 404, "Request for unknown model: 'half' is not found"),
    ("GET", "/v2/models/ucy", 404, "did you mean 'uci'?"),
])
def test_faults_of_paths_are_json(url, method, path, code, words):
    r = requests.request(method, url + path)
    assert r.status_code == code and words in r.json()["error"], r.text


@pytest.mark.parametrize("change,code,words", [
    ({"data": ROW[:5]}, 400, "Shape does not match true shape of 'data' field"), ({"shape": [1, 12]}, 400, "Shape does not match"),
    ({"name": "y"}, 400, "unexpected inference input 'y'"), ({"datatype": "INT32"}, 400, "non-signed-integer"),
    ({"datatype": "FP64"}, 400, "data-type is 'FP64', but model 'uci' expects 'FP32'"), ({"datatype": "F"}, 400, "invalid datatype"),
    ({"shape": [-1, 13]}, 400, "non-unsigned-integer"), ({"shape": [2**60 + 2, 16]}, 400, "exceed maximum size"),
    ({"data": None}, 400, "data"), ({"parameters": {"shared_memory_region": "x"}}, 400, "multiple fields"),
])
def test_bad_inputs(url, change, code, words):
    request = body()
    request["inputs"][0].update(change)
    r = requests.post(url + INFER, json=request)
    assert r.status_code == code and words in r.json()["error"], r.text


def test_header_length_out_of_range(url):
    for value, words in (("99999", "should be in range (0, 16), got: 99999"), ("99999999999", "got: 99999999999"), ("x", "whole number"), ("-1", "whole")):
        r = requests.post(url + INFER, b'{"inputs":[]}   ', headers={"Inference-Header-Content-Length": value})
        assert r.status_code == 400 and words in r.json()["error"]


def test_compat_triton():
    with Server("--model", f"uci={MODEL}", "--compat", "triton", "--server-name", "triton") as s:
        url = f"http://{s.address}"
        assert requests.get(url + "/v2").json()["name"] == "triton"
        assert requests.post(url + INFER, b"{").status_code == 500
        assert requests.post(url + INFER, json={"inputs": []}).status_code == 400


# ---- tritonclient ----

http = pytest.importorskip("tritonclient.http")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tritonclient(server, binary_in, binary_out):
    with http.InferenceServerClient(server.address) as c:
        assert c.is_server_live() and c.is_server_ready() and c.is_model_ready("uci", "1") and not c.is_model_ready("nope")
        x = http.InferInput("x", [3, 13], "FP32")
        x.set_data_from_numpy(np.array([ROW] * 3, "f4"), binary_data=binary_in)
        wanted = [http.InferRequestedOutput("price", binary_data=binary_out)]
        r = c.infer("uci", [x], outputs=wanted, request_id="9", timeout=5_000_000)
        assert r.as_numpy("price").ravel() == pytest.approx([PRICE] * 3, abs=1e-5) and r.get_response()["id"] == "9"
        r = c.infer("uci", [x], request_compression_algorithm="deflate", response_compression_algorithm="gzip")
        assert r.as_numpy("price").shape == (3, 1)
        best = c.infer("uci", [x], outputs=[http.InferRequestedOutput("price", binary_data=binary_out, class_count=2)]).as_numpy("price")
        assert [bytes(b) if binary_out else b for b in best.ravel()][0] in (b"18.901152:0", "18.901152:0")


def test_tritonclient_and_sequences(server):
    folder = ZOO / "imdb_bow" / "pdmodel26"
    with http.InferenceServerClient(server.address) as c:
        for given, want in cases(folder):
            given, want = np.load(given), np.load(want)
            words = http.InferInput("words", list(given["in0"].shape), "INT64")
            words.set_data_from_numpy(given["in0"])
            lod = http.InferInput("words.lod", [len(given["in0_lod0"])], "INT64")
            lod.set_data_from_numpy(given["in0_lod0"].astype("i8"))
            assert_close(c.infer("bow", [words, lod]).as_numpy("prediction"), want["out0"])


def test_tritonclient_asyncio(server):
    aio = pytest.importorskip("tritonclient.http.aio")

    async def ask():
        async with aio.InferenceServerClient(server.address) as c:
            x = aio.InferInput("x", [1, 13], "FP32")
            x.set_data_from_numpy(np.array([ROW], "f4"))
            answers = await asyncio.gather(*(c.infer("uci", [x], request_id=str(i)) for i in range(20)))
            return [(a.get_response()["id"], float(a.as_numpy("price").item())) for a in answers]
    answers = asyncio.run(ask())
    assert [i for i, _ in answers] == [str(i) for i in range(20)] and all(abs(p - PRICE) < 1e-4 for _, p in answers)
