"""TensorFlow Serving's REST interface."""
import base64
import json

import numpy as np
import pytest
import requests

from conftest import ROOT, ZOO, Server, cases
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152


@pytest.fixture(scope="module")
def url():
    with Server("--model", f"half plus={MODEL}", f"bow={ZOO / 'imdb_bow' / 'pdmodel26'}") as s:
        yield f"http://{s.address}/v1/models"


@pytest.mark.parametrize("place", ["", "/versions/1"])
def test_predict(url, place):
    ask = f"{url}/half%20plus{place}:predict"
    r = requests.post(ask, json={"instances": [ROW, ROW]})
    assert r.status_code == 200 and np.array(r.json()["predictions"]) == pytest.approx(np.full((2, 1), PRICE), abs=1e-5)
    r = requests.post(ask, json={"signature_name": "serving_default", "inputs": {"x": [ROW]}})
    assert np.array(r.json()["outputs"]) == pytest.approx(np.array([[PRICE]]), abs=1e-5)
    r = requests.post(f"{url}/half%20plus{place}:regress", json={"examples": [{"x": ROW}, {"x": ROW}]})
    assert r.json()["results"] == pytest.approx([PRICE] * 2, abs=1e-5)
    r = requests.post(f"{url}/half%20plus{place}:classify", json={"context": {"x": ROW}, "examples": [{}]})
    assert np.array(r.json()["results"][0][0][1]) == pytest.approx(PRICE, abs=1e-5)


def test_sequences(url):
    for given, want in cases(ZOO / "imdb_bow" / "pdmodel26"):
        given, want = np.load(given), np.load(want)
        rows = [given["in0"][a:b].tolist() for a, b in zip(given["in0_lod0"], given["in0_lod0"][1:])]
        r = requests.post(f"{url}/bow:predict", json={"instances": rows})
        np.testing.assert_allclose(r.json()["predictions"], want["out0"], atol=1e-5)


def test_states_and_metadata(url):
    s = requests.get(f"{url}/bow").json()["model_version_status"]
    assert s == [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    assert requests.get(f"{url}/bow/versions/1").json()["model_version_status"] == s
    m = requests.get(f"{url}/half%20plus/metadata").json()
    signature = m["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert m["model_spec"]["name"] == "half plus" and signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [d["size"] for d in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "13"]


@pytest.mark.parametrize("method,path,code,words", [
    ("GET", "/bow:predict", 400, "Malformed request: GET /v1/models/bow:predict"), ("GET", "/bow/what", 400, "Malformed request"),
    ("DELETE", "/bow", 400, "Malformed request: DELETE /v1/models/bow"),
    ("GET", "", 400, "Missing model name in request."), ("POST", "/bow", 400, "Malformed request: POST /v1/models/bow"),
    ("POST", "/bow:guess", 400, "Malformed request"), ("POST", "/bow/versions/x:predict", 400, "Malformed request"),
    ("GET", "/half", 404, "Servable not found for request: Latest(half)"),
    ("POST", "/half:predict", 404, "Servable not found for request: Latest(half)"),
    ("POST", "/bow/versions/7:predict", 404, "Servable not found for request: Specific(bow, 7)"),
    ("GET", "/bow/labels/best", 404, "Unrecognized servable version label: best"),
    ("POST", "/bow:predict", 400, "JSON Parse error: The document is empty"),
])
def test_faults_of_paths(url, method, path, code, words):
    r = requests.request(method, url + path)
    assert r.status_code == code and words in r.json()["error"], r.text


@pytest.mark.parametrize("body,words", [
    (b"{", "JSON Parse error: Invalid value"), (b"{}", "Missing 'inputs' or 'instances' key"),
    (json.dumps({"instances": [["a"] * 13]}).encode(), "is not of expected type: float"),
    (json.dumps({"instances": [ROW, ROW[:3]]}).encode(), "unexpected size"),
    (json.dumps({"instances": [ROW[:3]]}).encode(), "x"),
    (json.dumps({"instances": [{"b64": base64.b64encode(b"x").decode()}]}).encode(), "is not of expected type: float"),
])
def test_faults_of_bodies(url, body, words):
    r = requests.post(f"{url}/half%20plus:predict", body)
    assert r.status_code == 400 and words in r.json()["error"], r.text
