"""A model's own configuration: padding between requests, Triton's config.pbtxt and config overrides."""
import concurrent.futures
import json

import numpy as np
import requests

from conftest import ZOO
from test_models import index, put, ready

HOUSES = ZOO / "fit_a_line" / "pdmodel26"


def load(server, name, **parameters):
    return requests.post(f"http://{server.address}/v2/repository/models/{name}/load", json={"parameters": parameters}, timeout=20)


def test_the_directory_says_which_versions(serve, tmp_path):
    for version in (1, 2, 3):
        put(HOUSES, tmp_path / "ours" / str(version))
        put(HOUSES, tmp_path / "triton" / str(version))
    (tmp_path / "ours" / "oar.yml").write_text("version_policy: latest:2\ncache_bytes: 100000\n")
    (tmp_path / "triton" / "config.pbtxt").write_text(
        'name: "triton"\nplatform: "x"\nmax_batch_size: 8\nversion_policy { specific { versions: [1, 3] } }\n'
        "dynamic_batching { preferred_batch_size: [4, 8] max_queue_delay_microseconds: 100 }\n")
    with serve("--model-repository", tmp_path) as server:
        assert ready(server, "ours") == ["2", "3"]
        assert ready(server, "triton") == ["1", "3"]
        for name in ("ours", "triton"):
            answer = requests.post(f"http://{server.address}/{name}/prediction", json={"feed": [{"x": [0.1] * 13}], "fetch": []})
            assert answer.status_code == 200


def test_a_load_may_bring_a_configuration(serve, tmp_path):
    for version in (1, 2):
        put(HOUSES, tmp_path / "houses" / str(version))
    with serve("--model-repository", tmp_path) as server:
        assert load(server, "houses", config=json.dumps({"version_policy": {"all": {}}})).status_code == 200
        assert ready(server, "houses") == ["1", "2"]
        bad = load(server, "houses", config=json.dumps({"version_polcy": {}}))
        assert bad.status_code == 400 and "did you mean 'version_policy'" in bad.json()["error"]
        assert ready(server, "houses") == ["1", "2"]
        assert load(server, "houses").status_code == 200  # the directory's own again
        assert ready(server, "houses") == ["2"]


def test_mistakes_leave_what_serves(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path) as server:
        (tmp_path / "houses" / "oar.yml").write_text("pad: [{inptu: x}]\n")
        bad = load(server, "houses")
        assert bad.status_code == 400 and "oar.yml:1: unknown key 'inptu'; did you mean 'input'?" in bad.json()["error"]
        (tmp_path / "houses" / "oar.yml").write_text("pad: [{input: x}]\n")
        put(HOUSES, tmp_path / "houses" / "2")
        bad = load(server, "houses")
        assert bad.status_code in (200, 400) and ready(server, "houses") == ["1"]
        assert "axis 1 of 'x' is not open" in index(server, "houses")["2"]["reason"]
