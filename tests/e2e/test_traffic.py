"""Traffic that is divided between versions, what the variants did, and a cache of answers."""
import collections
import json
import socket
import time

import pytest
import requests

from conftest import ZOO, run_oar
from test_models import put
from wire import PB, frame, read_frame

HOUSES = ZOO / "fit_a_line" / "pdmodel26"
BODY = {"feed": [{"x": [0.5] * 13}], "fetch": []}


def versions(folder, count=2):
    for version in range(1, count + 1):
        put(HOUSES, folder / "houses" / str(version))
    return "--model-repository", folder, "--version-policy", "all"


def divide(server, tmp_path, **what):
    what.setdefault("variants", [{"tag": "a", "version": 1, "weight": 3}, {"tag": "b", "version": 2, "weight": 1}])
    file = tmp_path / "traffic.json"
    file.write_text(json.dumps(what))
    return run_oar("ab", server.address, "houses", "--config", file)


def ask(session, server, **headers):
    answer = session.post(f"http://{server.address}/houses/prediction", json=BODY, headers=headers, timeout=20)
    assert answer.status_code == 200
    return answer.headers.get("x-oar-variant")


def test_weights_stickiness_and_outcomes(serve, tmp_path):
    with serve(*versions(tmp_path / "root")) as server, requests.Session() as session:
        assert ask(session, server) is None
        assert divide(server, tmp_path, sticky="header:x-user").returncode == 0
        users = {f"u{i}": ask(session, server, **{"x-user": f"u{i}"}) for i in range(200)}
        assert users == {u: ask(session, server, **{"x-user": u}) for u in users}
        shares = collections.Counter(users.values())
        assert set(shares) == {"a", "b"} and 110 < shares["a"] < 190
        for i in range(60):
            for tag, good in (("a", i % 4 == 0), ("b", i % 4 != 0)):
                r = session.post(f"http://{server.address}/v2/repository/models/houses/outcome",
                                 json={"variant": tag, "value": int(good)})
                assert r.status_code == 200
        text = run_oar("ab", server.address).stdout
        assert "outcome: different (p = 0.0000)" in text and "errors: no difference" in text
        assert session.post(f"http://{server.address}/v2/repository/models/houses/outcome", json={"variant": "c"}).status_code == 404
        assert run_oar("ab", server.address, "houses", "--off").returncode == 0
        assert ask(session, server) is None


def ask_rpc(connection, row, log_id=0):
    """(the variant's tag, the price) over baidu_std, by Google's protobuf."""
    request = PB["Request"](log_id=log_id)
    request.tensor.add(name="x", alias_name="x", elem_type=1, shape=[1, 13], float_data=row)
    connection.sendall(frame(request))
    meta, payload = read_frame(connection)
    assert meta.response.error_code == 0, meta.response.error_text
    tags = {f.key: f.value for f in meta.user_fields}
    return tags.get("x-oar-variant"), PB["Response"].FromString(payload).outputs[0].tensor[0].float_data[0]


def test_a_key_in_the_body_keeps_its_variant_over_every_protocol(serve, tmp_path):
    """Which version answers is known only when the body is decoded: all protocols come to the same one, and say which."""
    rows = [[float(i)] + [0.5] * 12 for i in range(120)]
    with serve(*versions(tmp_path / "root")) as server, requests.Session() as session:
        assert divide(server, tmp_path, sticky="feed:x").returncode == 0
        tags = []
        for row in rows:
            answer = session.post(f"http://{server.address}/houses/prediction", json={"feed": [{"x": row}], "fetch": []})
            tags.append(answer.headers["x-oar-variant"])
        assert 60 < collections.Counter(tags)["a"] < 115 and set(tags) == {"a", "b"}
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            assert [ask_rpc(s, row)[0] for row in rows] == tags
        for row, tag in zip(rows[:20], tags):
            body = {"inputs": [{"name": "x", "shape": [1, 13], "datatype": "FP32", "data": row}]}
            answer = session.post(f"http://{server.address}/v2/models/houses/infer", json=body)
            assert answer.headers["x-oar-variant"] == tag and answer.json()["model_version"] == {"a": "1", "b": "2"}[tag]
        assert divide(server, tmp_path, sticky="log_id").returncode == 0
        with socket.create_connection(("127.0.0.1", server.port)) as s:
            first = {i: ask_rpc(s, rows[0], log_id=i)[0] for i in range(1, 100)}
            assert set(first.values()) == {"a", "b"} and first == {i: ask_rpc(s, rows[1], log_id=i)[0] for i in first}


def test_answers_over_grpc_and_refusals_say_their_variant(serve, tmp_path):
    with serve(*versions(tmp_path / "root")) as server, requests.Session() as session:
        assert divide(server, tmp_path, variants=[{"tag": "only", "version": 2}]).returncode == 0
        bad = session.post(f"http://{server.address}/houses/prediction", json={"feed": [{"x": [0.5] * 12}], "fetch": []})
        assert bad.status_code == 400 and bad.headers["x-oar-variant"] == "only"
        grpc = pytest.importorskip("grpc")
        call = grpc.insecure_channel(server.address).unary_unary(
            "/baidu.paddle_serving.predictor.general_model.GeneralModelService/inference",
            request_serializer=lambda m: m.SerializeToString(), response_deserializer=PB["Response"].FromString)
        request = PB["Request"]()
        request.tensor.add(name="x", alias_name="x", elem_type=1, shape=[1, 13], float_data=[0.5] * 13)
        _, done = call.with_call(request, timeout=20)
        assert dict(done.initial_metadata())["x-oar-variant"] == "only"


def blend(tmp_path, name, weight, extra=""):
    """The model under another name, its answers made so many times larger."""
    file = tmp_path / f"{name}.yml"
    file.write_text(f"service: {name}\nnodes:\n  - {{name: m, model: {HOUSES}{extra}}}\n"
                    f"  - {{name: s, op: weighted_sum, inputs: [m], weights: [{weight}]}}\n")
    return file


def until_taken_back(server, why, session):
    for _ in range(200):
        ask_any(session, server)
        if why in run_oar("ab", server.address).stdout:
            return
        time.sleep(0.01)
    raise AssertionError(run_oar("ab", server.address).stdout + server.errors)


def ask_any(session, server):
    return session.post(f"http://{server.address}/houses/prediction", json=BODY, timeout=20).status_code


def test_a_variant_that_drifts_or_fails_is_taken_back(serve, tmp_path):
    drifting = blend(tmp_path, "drifting", 9)
    failing = tmp_path / "failing.yml"  # the server's own fault: its other half is not there
    failing.write_text(f"service: failing\nnodes:\n  - {{name: m, model: {HOUSES}}}\n"
                       "  - {name: far, op: remote, inputs: [request], address: '127.0.0.1:1', timeout_ms: 500}\n"
                       "  - {name: s, op: weighted_sum, inputs: [m, far.price]}\n")
    with serve(*versions(tmp_path / "root", 1), "--model", drifting, "--model", failing) as server, requests.Session() as session:
        assert divide(server, tmp_path, variants=[{"tag": "a", "version": 1}, {"tag": "b", "model": "drifting"}],
                      rollback={"min_requests": 20, "drift": 4}).returncode == 0
        until_taken_back(server, "taken back: mean score", session)
        assert divide(server, tmp_path, variants=[{"tag": "a", "version": 1}, {"tag": "b", "model": "failing"}],
                      rollback={"min_requests": 10, "error_rate": 0.5}).returncode == 0
        until_taken_back(server, "taken back: 100.00 % errors", session)
        assert all(ask_any(session, server) == 200 for _ in range(30))


def test_a_shadow_is_compared_and_never_returned(serve, tmp_path):
    with serve(*versions(tmp_path / "root")) as server, requests.Session() as session:
        assert divide(server, tmp_path, variants=[{"tag": "a", "version": 1}, {"tag": "b", "version": 2, "weight": 0}],
                      shadow={"tag": "b"}).returncode == 0
        assert {ask(session, server) for _ in range(50)} == {"a"}
        for _ in range(100):
            shadow = session.get(f"http://{server.address}/v2/repository/traffic").json()[0]["shadow"]
            if shadow["compared"] == 50:
                break
            time.sleep(0.02)
        assert shadow == {"compared": 50, "different": 0, "worst": 0.0}


def test_a_slow_variant_is_taken_back(serve, tmp_path):
    with serve(*versions(tmp_path / "root")) as server, requests.Session() as session:
        assert divide(server, tmp_path, rollback={"min_requests": 5, "p99_ms": 0.000001}).returncode == 0
        for _ in range(80):
            ask(session, server)
        for _ in range(200):
            if "taken back: p99 of" in run_oar("ab", server.address).stdout:
                break
            time.sleep(0.02)
        assert {ask(session, server) for _ in range(30)} == {"a"}, server.errors
        assert "variant 'b' is taken back" in server.errors


def test_mistakes_are_named(serve, tmp_path):
    with serve(*versions(tmp_path / "root")) as server:
        bad = divide(server, tmp_path, variants=[{"tag": "a", "version": 9}])
        assert bad.returncode == 1 and "has no version 9" in bad.stderr
        bad = divide(server, tmp_path, variants=[{"tga": "a"}])
        assert bad.returncode == 1 and "a variant has tag" in bad.stderr


def test_the_cache_answers_what_was_asked_before(serve, tmp_path):
    with serve("--model", f"houses={HOUSES}", "--request-cache-size", "1000000") as server, requests.Session() as session:
        url = f"http://{server.address}/houses/prediction"
        first = session.post(url, json=BODY).json()
        assert all(session.post(url, json=BODY).json() == first for _ in range(5))
        other = {"feed": [{"x": [0.25] * 13}], "fetch": []}
        assert session.post(url, json=other).json() != first
        assert session.post(url, json=BODY).json() == first
