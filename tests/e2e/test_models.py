"""Which models are served: directories of versions, file events, explicit load and unload, rollback, labels."""
import base64
import hashlib
import json
import os
import shutil
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import requests

from conftest import ZOO, run_oar

HOUSES = ZOO / "fit_a_line" / "pdmodel26"
DIABETES = ZOO / "diabetes" / "pdmodel26"


def model_files(folder):
    return [p for p in folder.iterdir() if not p.name.startswith(("case_", "meta"))]


def put(source, target):
    """A model's files, copied next door and moved into place at once."""
    staging = target.parent / f".{target.name}.part"
    staging.mkdir(parents=True)
    for path in model_files(source):
        shutil.copy(path, staging / path.name)
    staging.rename(target)


def post(server, path, body=None):
    data = json.dumps(body or {}).encode()
    request = urllib.request.Request(f"http://{server.address}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as e:
        text = e.read()
        return e.code, json.loads(text) if text.startswith(b"{") else text.decode()


def index(server, name):
    return {row["version"]: row for row in post(server, "/v2/repository/index")[1] if row["name"] == name}


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ready(server, name):
    return sorted(v for v, row in index(server, name).items() if row["state"] == "READY")


QUICK = ("--settle-ms", "150", "--reload-interval-s", "1")


def test_the_highest_version_is_served(serve, tmp_path):
    for version in (1, 2, 10):
        put(HOUSES, tmp_path / "houses" / str(version))
    with serve("--model-repository", tmp_path) as server:
        assert ready(server, "houses") == ["10"]
        assert index(server, "houses")["2"]["state"] == "UNAVAILABLE"


@pytest.mark.parametrize("policy, versions", [("latest:2", ["2", "3"]), ("all", ["1", "2", "3"]), ("specific:1,3", ["1", "3"])])
def test_the_policy_says_which_versions(serve, tmp_path, policy, versions):
    for version in (1, 2, 3):
        put(HOUSES, tmp_path / "houses" / str(version))
    with serve("--model-repository", tmp_path, "--version-policy", policy) as server:
        assert ready(server, "houses") == versions


def test_a_new_version_takes_over_and_the_old_one_goes(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path, *QUICK) as server:
        put(HOUSES, tmp_path / "houses" / "2")
        assert until(lambda: ready(server, "houses") == ["2"]), server.errors
        put(DIABETES, tmp_path / "sugar" / "7")  # and a model that is new altogether
        assert until(lambda: ready(server, "sugar") == ["7"]), server.errors


def test_a_version_that_is_still_copied_waits(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path, "--settle-ms", "600") as server:
        target = tmp_path / "houses" / "2"
        target.mkdir()
        for path in model_files(HOUSES):
            data = path.read_bytes()
            with open(target / path.name, "wb") as out:
                for at in range(0, len(data), max(1, len(data) // 5)):
                    out.write(data[at:at + max(1, len(data) // 5)])
                    out.flush()
                    time.sleep(0.1)
                    assert ready(server, "houses") == ["1"]
        assert index(server, "houses")["2"]["state"] == "LOADING"
        assert until(lambda: ready(server, "houses") == ["2"]), server.errors


def test_a_broken_version_never_replaces_a_good_one(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path, *QUICK) as server:
        broken = tmp_path / "houses" / "2"
        put(HOUSES, broken)
        params = max(model_files(broken), key=lambda p: p.stat().st_size)
        os.truncate(params, params.stat().st_size - 3)
        assert until(lambda: index(server, "houses").get("2", {}).get("state") == "UNAVAILABLE"), server.errors
        row = index(server, "houses")["2"]
        assert params.name in row["reason"]
        assert ready(server, "houses") == ["1"]
        code, answer = post(server, "/v2/repository/models/houses/load")
        assert code == 200 and ready(server, "houses") == ["1"]


def test_a_start_serves_the_last_good_version(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    (tmp_path / "houses" / "2").mkdir()
    some = model_files(HOUSES)[0]
    (tmp_path / "houses" / "2" / some.name).write_bytes(some.read_bytes()[:100])
    with serve("--model-repository", tmp_path) as server:
        assert ready(server, "houses") == ["1"]


def test_links_out_of_a_model_are_refused(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    put(HOUSES, tmp_path / "houses" / "2")
    victim = model_files(tmp_path / "houses" / "2")[0]
    victim.unlink()
    victim.symlink_to("/etc/passwd")
    (tmp_path / "houses" / "3").symlink_to("/etc")
    with serve("--model-repository", tmp_path) as server:
        assert ready(server, "houses") == ["1"]
        assert "link" in index(server, "houses")["2"]["reason"]
        assert "3" not in index(server, "houses")


def test_load_and_unload_by_request(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path, "--model-control", "explicit", "--load-model", "houses") as server:
        assert post(server, "/v2/repository/models/houses/unload") == (200, None)
        assert index(server, "houses")["1"] == {"name": "houses", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
        code, answer = post(server, "/houses/prediction", {"feed": [{"x": [0.0] * 13}], "fetch": []})
        assert code == 404 and "houses" in answer["error"]
        assert post(server, "/v2/repository/models/houses/load") == (200, None)
        assert ready(server, "houses") == ["1"]


@pytest.mark.parametrize("name", ["..", "../houses", "..%2Fhouses", "a%00b", ".hidden", "x" * 5000])
def test_names_that_lead_elsewhere_are_refused(serve, tmp_path, name):
    root = tmp_path / "root"
    put(HOUSES, tmp_path / "houses" / "1")
    put(HOUSES, root / "other" / "1")
    with serve("--model-repository", root) as server:
        assert 400 <= post(server, f"/v2/repository/models/{name}/load")[0] < 500
        assert ready(server, "other") == ["1"]


def inline(folder, prefix=""):
    return {f"file:{prefix}{p.name}": base64.b64encode(p.read_bytes()).decode() for p in model_files(folder)}


def test_a_model_may_come_with_the_request(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path) as server:
        files = inline(DIABETES, "3/")
        assert post(server, "/v2/repository/models/sent/load", {"parameters": files})[0] == 400  # it wants a config
        assert post(server, "/v2/repository/models/sent/load", {"parameters": {"config": "{}", **files}}) == (200, None)
        assert ready(server, "sent") == ["3"]
        for path in ("../x", "/etc/x", "a/../../x", ""):
            body = {"parameters": {"config": "{}", f"file:{path}": "AAAA"}}
            code, answer = post(server, "/v2/repository/models/bad/load", body)
            assert code == 400 and "path" in answer["error"]
        assert not index(server, "bad")


def test_the_command_lists_rolls_back_and_labels(serve, tmp_path):
    for version in (1, 2):
        put(HOUSES, tmp_path / "houses" / str(version))
    with serve("--model-repository", tmp_path) as server:
        def models(*words):
            return run_oar("models", server.address, *words)
        assert models("rollback", "houses").returncode == 0
        assert ready(server, "houses") == ["1"]
        assert "houses" in models("list").stdout
        assert models("load", "houses").returncode == 0
        assert ready(server, "houses") == ["2"]
        assert models("label", "houses", "stable", "2").returncode == 0
        at = f"http://{server.address}/v2/models/houses/versions"
        assert requests.get(f"{at}/stable").status_code == 200
        assert requests.get(f"{at}/stabel").status_code == 404
        elsewhere = models("load", "../x")  # one name, wherever it seems to lead
        assert elsewhere.returncode == 1 and "'../x'" in elsewhere.stderr
        missing = models("load", "nope")
        assert missing.returncode == 1 and "nope" in missing.stderr
        assert "did you mean 'list'" in models("lst").stderr


def test_a_directory_may_be_overwritten_while_it_serves(serve, tmp_path):
    flat = tmp_path / "flat"
    put(HOUSES, flat)
    (flat / "fluid_time_file").touch()
    with serve("--model", f"uci={flat}", *QUICK) as server:
        body = {"feed": [{"x": [0.5] * 13}], "fetch": []}
        before = post(server, "/uci/prediction", body)
        assert before[0] == 200
        params = next(flat.glob("*.pdiparams"))
        data = bytearray(params.read_bytes())
        os.truncate(params, 0)  # what a copy over the old file begins with
        assert post(server, "/uci/prediction", body) == before
        data[-4:] = np.float32(100).tobytes()
        params.write_bytes(data)
        assert post(server, "/uci/prediction", body) == before  # not before it is told
        os.utime(flat / "fluid_time_file")
        assert until(lambda: post(server, "/uci/prediction", body) != before), server.errors


def sums(folder):
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in model_files(folder))


def test_a_manifest_says_when_a_version_is_whole(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    with serve("--model-repository", tmp_path, "--settle-ms", "100") as server:
        late = tmp_path / "houses" / "2"
        late.mkdir()
        (late / "SHA256SUMS").write_text(sums(HOUSES))
        first, *others = model_files(HOUSES)
        for path in others:
            shutil.copy(path, late / path.name)
        assert until(lambda: index(server, "houses").get("2", {}).get("state") == "LOADING"), server.errors
        time.sleep(0.4)  # long settled, and still not whole
        row = index(server, "houses")["2"]
        assert row["state"] == "LOADING" and f"waiting for '{first.name}'" in row["reason"]
        shutil.copy(first, late / first.name)
        assert until(lambda: ready(server, "houses") == ["2"]), server.errors
        bad = tmp_path / "houses" / ".3"
        shutil.copytree(late, bad)
        params = next(bad.glob("*.pdiparams"))
        data = bytearray(params.read_bytes())
        data[-1] ^= 1
        params.write_bytes(data)
        bad.rename(tmp_path / "houses" / "3")
        assert until(lambda: index(server, "houses").get("3", {}).get("state") == "UNAVAILABLE"), server.errors
        assert "not what SHA256SUMS promises" in index(server, "houses")["3"]["reason"]
        assert ready(server, "houses") == ["2"]


def test_a_configuration_that_cannot_be_read_is_said(serve, tmp_path):
    put(HOUSES, tmp_path / "houses" / "1")
    config = tmp_path / "houses" / "config.pbtxt"
    config.write_text("dynamic_batching { prefered_batch_size: [ 4 ] }")
    with serve("--model-repository", tmp_path, *QUICK) as server:
        assert "did you mean 'preferred_batch_size'?" in server.errors and server.errors.count("config.pbtxt:1") == 2
        code, answer = post(server, "/v2/models/houses/infer", {"inputs": []})
        assert code == 404 and "config.pbtxt:1" in answer["error"]
        config.write_text("dynamic_batching { preferred_batch_size: [ 4, 8 ] priority_levels: 2 default_priority_level: 2\n"
                          " priority_queue_policy { key: 1 value { max_queue_size: 3 timeout_action: DELAY } } }\n"
                          "instance_group [ { count: 1 }, { count: 1 } ]\n")
        assert until(lambda: ready(server, "houses") == ["1"]), server.errors
