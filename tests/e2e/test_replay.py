"""Requests that were recorded are asked again: as a test, as load, and through two models."""
import json
import os
import re
from xml.etree import ElementTree

import numpy as np
import requests

from conftest import ZOO, run_oar
from test_models import put

HOUSES = ZOO / "fit_a_line" / "pdmodel26"


def test_what_was_recorded_is_replayed(serve, tmp_path):
    tape, other = tmp_path / "tape", tmp_path / "other"
    put(HOUSES, other)
    params = next(other.glob("*.pdiparams"))
    data = bytearray(params.read_bytes())
    data[-4:] = np.float32(100).tobytes()
    params.write_bytes(data)
    with serve("--model", f"houses={HOUSES}", "--record", tape) as server:
        for i in range(50):
            body = {"feed": [{"x": [i / 10] * 13}], "fetch": []}
            assert requests.post(f"http://{server.address}/houses/prediction", json=body).status_code == 200
        same = run_oar("replay", tape, server.address, "--json")
        assert same.returncode == 0, same.stderr
        assert json.loads(same.stdout)["requests"] >= 50
        load = json.loads(run_oar("replay", tape, server.address, "--json", "--pace", "1000", "--concurrency", "4").stdout)
        assert load["failed"] == 0 and load["p99_ms"] > 0
    size = os.path.getsize(tape)
    with serve("--model", f"houses={other}") as server:
        different = run_oar("replay", tape, server.address)
        assert different.returncode == 1 and "answers differ" in different.stdout
    assert os.path.getsize(tape) == size
    assert run_oar("replay", tape, "--diff", HOUSES, HOUSES).returncode == 0
    far = run_oar("replay", tape, "--diff", HOUSES, other, "--report", tmp_path / "far.html")
    assert far.returncode == 1 and "#" in far.stdout
    plots = [ElementTree.fromstring(p) for p in re.findall("<svg.*?</svg>", (tmp_path / "far.html").read_text(), re.S)]
    assert len(plots) == 2 and len(plots[0].findall("rect")) == 12 and len(plots[1].findall("polyline")) == 2
    assert "no recorded requests of model nobody" in run_oar("replay", tape, "--diff", HOUSES, other, "--model", "nobody").stderr


def test_the_tape_is_bounded_and_sampled(serve, tmp_path):
    tape = tmp_path / "tape"
    with serve("--model", f"houses={HOUSES}", "--record", tape, "--record-share", "0.5", "--record-bytes", "5000") as server:
        for _ in range(60):
            requests.post(f"http://{server.address}/houses/prediction", json={"feed": [{"x": [0.5] * 13}], "fetch": []})
    assert 1000 < os.path.getsize(tape) <= 5008


def test_each_request_is_asked_of_the_model_that_it_was_asked_of(serve, tmp_path):
    """The server's first model is another one, and one of them is a graph that answers with the outputs of two."""
    tape, root = tmp_path / "tape", tmp_path / "root"
    put(HOUSES, root / "houses" / "1")
    put(ZOO / "imdb_bow" / "pdmodel26", root / "bow" / "1")
    (tmp_path / "two.yml").write_text("service: two\nnodes:\n" + "".join(
        f"  - {{name: {name}, model: {ZOO / name / 'pdmodel26'}}}\n" for name in ("imdb_bow", "imdb_cnn"))
        + "  - {name: cnn, op: select, inputs: [{other: imdb_cnn.prediction}]}\n")
    words = {"words": [3, 4, 5], "words.lod": [0, 1, 3]}
    with serve("--model-repository", root, "--model", tmp_path / "two.yml", "--record", tape) as server:
        for name, feed in (("houses", {"x": [0.5] * 13}), ("bow", words), ("two", words)):
            for _ in range(3):
                assert requests.post(f"http://{server.address}/{name}/prediction", json={"feed": [feed], "fetch": []}).status_code == 200
        for protocol in ("kserve-http", "kserve-grpc"):
            same = run_oar("replay", tape, server.address, "--protocol", protocol)
            assert same.returncode == 0, same.stdout + same.stderr
        one = run_oar("replay", tape, server.address, "--model", "houses", "--as", "nobody")
        assert one.returncode == 1 and "nobody" in one.stderr
