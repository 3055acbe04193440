"""Requests that a version answers before it takes over: recorded ones, made-up ones, Triton's; and what happens when it cannot."""
import json
import shutil

import numpy as np
import pytest
import requests

from conftest import ROOT, ZOO, run_oar
from test_models import QUICK, index, post, put, ready, until

HOUSES = ZOO / "fit_a_line" / "pdmodel26"
DIABETES = ROOT / "examples" / "models" / "diabetes"
LSTM = ZOO / "imdb_lstm" / "pdmodel26"


def ask(server, name="houses", row=(0.5,) * 13):
    body = {"feed": [{"x": list(row)}], "fetch": []}
    return requests.post(f"http://{server.address}/{name}/prediction", json=body, timeout=20)


@pytest.fixture
def tape(serve, tmp_path):
    file = tmp_path / "tape"
    with serve("--model", f"houses={HOUSES}", "--record", file) as server:
        for i in range(12):
            assert ask(server, row=[i / 10] * 13).status_code == 200
    return file


def off_by_much(target):
    """The same model with another bias: it loads, and its answers are others."""
    put(HOUSES, target)
    params = next(target.glob("*.pdiparams"))
    data = bytearray(params.read_bytes())
    data[-4:] = np.float32(100).tobytes()
    params.write_bytes(data)


def test_recorded_requests_keep_a_wrong_version_out(serve, tmp_path, tape):
    root = tmp_path / "root"
    put(HOUSES, root / "houses" / "1")
    shutil.copy(tape, root / "houses" / "warmup.rec")
    with serve("--model-repository", root, *QUICK) as server:
        assert ready(server, "houses") == ["1"]
        put(DIABETES, root / "houses" / "2")  # takes 10 numbers, not 13
        assert until(lambda: index(server, "houses").get("2", {}).get("state") == "UNAVAILABLE"), server.errors
        reason = index(server, "houses")["2"]["reason"]
        assert "warming up: request 1 of" in reason and "warmup.rec" in reason
        assert ready(server, "houses") == ["1"] and ask(server).status_code == 200
        off_by_much(root / "houses" / "3")  # answers, and nobody asked to compare
        assert until(lambda: ready(server, "houses") == ["3"]), server.errors
        (root / "houses" / "oar.yml").write_text("warm_up: {records: warmup.rec, requests: 10, tolerance: 0.001}\n")
        off_by_much(root / "houses" / "4")
        assert until(lambda: index(server, "houses").get("4", {}).get("state") == "UNAVAILABLE"), server.errors
        assert "from the recorded one, at most 0.001" in index(server, "houses")["4"]["reason"]
        put(HOUSES, root / "houses" / "5")
        assert until(lambda: ready(server, "houses") == ["5"]), server.errors
        stats = requests.get(f"http://{server.address}/metrics").text
        assert 'oar_requests_total{model="houses",version="5"' not in stats  # what warmed up is not counted


@pytest.mark.parametrize("config, file", [
    ("warm_up:\n  - {inputs: {x: [4, 13]}, fill: random, times: 3}\n  - {inputs: {x: {shape: [1, 13], fill: 2.5}}}\n", "oar.yml"),
    ('model_warmup [{ name: "a" batch_size: 3 inputs { key: "x" value { data_type: TYPE_FP32 dims: [13] random_data: true } } }]', "config.pbtxt"),
])
def test_made_up_requests(serve, tmp_path, config, file):
    put(HOUSES, tmp_path / "houses" / "1")
    (tmp_path / "houses" / file).write_text(config)
    with serve("--model-repository", tmp_path, *QUICK) as server:
        assert ready(server, "houses") == ["1"]
        put(DIABETES, tmp_path / "houses" / "2")
        assert until(lambda: index(server, "houses").get("2", {}).get("state") == "UNAVAILABLE"), server.errors
        assert "warming up: a made-up request" in index(server, "houses")["2"]["reason"]
        code, _ = post(server, "/v2/repository/models/houses/load", {"parameters": {"config": json.dumps({"model_warmup": [
            {"name": "w", "batch_size": 1, "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [13], "zero_data": True}}}]})}})
        assert code == 200 and ready(server, "houses") == ["1"]


def test_a_graph_and_a_ragged_model_are_warmed_up(serve, tmp_path):
    file = tmp_path / "g.yml"
    text = f"service: g\nwarm_up: {{inputs: {{words: {{shape: [7, 1], lod: [0, 3, 7], fill: 5}}}}, times: 2}}\nnodes:\n  - {{name: m, model: {LSTM}}}\n"
    file.write_text(text)
    with serve("--model", file, *QUICK) as server:
        file.write_text(text.replace("words:", "wrods:"))
        assert until(lambda: "has no input 'wrods'" in server.errors), server.errors
        body = {"feed": [{"words": [8, 9], "words.lod": [0, 2]}], "fetch": []}
        assert requests.post(f"http://{server.address}/g/prediction", json=body).status_code == 200


@pytest.mark.parametrize("text, words", [
    ("warm_up: {records: ../tape}", "does not lie beside"), ("warm_up: {records: /etc/passwd}", "does not lie beside"),
    ("warm_up: {records: nothing}", "nothing"), ("warm_up: {record: x}", "has 'records' or 'inputs'"),
    ("warm_up: {inputs: {x: [1, 13]}, tmies: 2}", "did you mean 'times'"), ("warm_up: {inputs: {x: {fill: 1}}}", "has no shape"),
    ("warm_up: {records: oar.yml}", "no file of recorded requests"),
])
def test_mistakes_are_named(serve, tmp_path, text, words):
    put(HOUSES, tmp_path / "houses" / "1")
    (tmp_path / "houses" / "oar.yml").write_text(text)
    done = run_oar("serve", "--model", tmp_path / "houses", "--port", "0", timeout=20)
    assert done.returncode == 1 and words in done.stderr, done.stderr
