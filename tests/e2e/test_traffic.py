"""Traffic that is divided between versions, what the variants did, and a cache of answers."""
import collections
import json
import time

import requests

from conftest import ZOO, run_oar
from test_models import put

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
