"""What the server counts: Prometheus' own parser reads it, and the counts are those of the calls that were made."""
import time

import pytest
import requests

from conftest import ROOT, Server
from wire import ROW

parser = pytest.importorskip("prometheus_client.parser")

MODEL = ROOT / "tests" / "data" / "uci_housing"
BODY = {"inputs": [{"name": "x", "shape": [2, 13], "datatype": "FP32", "data": ROW * 2}]}


@pytest.fixture
def url():
    with Server("--model", f"uci={MODEL}", 'odd"na\\me=' + str(MODEL)) as s:
        yield f"http://{s.address}"


def read(url, path="/metrics"):
    """{name: {labels as a frozenset: value}}"""
    r = requests.get(url + path)
    assert r.status_code == 200 and r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = {}
    for family in parser.text_string_to_metric_families(r.text):
        assert family.documentation and family.type in ("counter", "gauge", "histogram")
        for s in family.samples:
            assert frozenset(s.labels.items()) not in samples.setdefault(s.name, {})
            samples[s.name][frozenset(s.labels.items())] = s.value
    return samples


def of(samples, name, **labels):
    found = samples.get(name) or samples[name + "_total"]  # the parser gives every counter that ending
    return sum(v for k, v in found.items() if set(labels.items()) <= k)


def test_counts_are_those_of_the_calls(url):
    before = read(url)
    assert of(before, "nv_inference_count", model='odd"na\\me') == 0  # known before it was asked
    for _ in range(5):
        assert requests.post(url + "/v2/models/uci/infer", json=BODY).status_code == 200
    for _ in range(3):
        assert requests.post(url + "/v2/models/uci/infer", json={"inputs": []}).status_code == 400
    assert requests.post(url + "/uci/prediction", json={"feed": [{"x": ROW}], "fetch": ["price"]}).status_code == 200
    after = read(url)
    assert of(after, "pd_query_request_success_total", model="uci") == 6 == of(after, "nv_inference_request_success", model="uci")
    assert of(after, "pd_query_request_failure_total", model="uci") == 3 == of(after, "nv_inference_request_failure", model="uci")
    assert of(after, "pd_inference_count_total", model="uci", version="1") == 11 == of(after, "nv_inference_count", model="uci")
    assert of(after, "pd_query_request_duration_us_total") > 0 and of(after, "pd_inference_duration_us_total") >= 0
    assert of(after, "oar_requests_total", form="oip", protocol="HTTP/1.1", result="ok") == 5
    assert of(after, "oar_requests_total", form="oip", result="invalid argument") == 3
    assert of(after, "oar_requests_total", form="prediction", result="ok") == 1
    for stage in ("parse", "queue", "batch", "compute", "encode"):
        assert of(after, "oar_stage_duration_seconds_count", form="oip", stage=stage) == 5
    assert of(after, "oar_request_duration_seconds_count", form="oip") == 5
    assert of(after, "oar_request_duration_seconds_bucket", form="oip", le="+Inf") == 5
    parts = sum(of(after, "oar_stage_duration_seconds_sum", form="oip", stage=s) for s in ("parse", "queue", "batch", "compute", "encode"))
    assert parts == pytest.approx(of(after, "oar_request_duration_seconds_sum", form="oip"), abs=1e-7)


def test_process_and_memory(url):
    samples = read(url, "/monitoring/prometheus/metrics")
    assert abs(of(samples, "process_start_time_seconds") - time.time()) < 60
    assert of(samples, "process_resident_memory_bytes") > 1 << 20 and of(samples, "process_open_fds") > 3
    assert of(samples, "oar_model_memory_bytes", model="uci", kind="weights") == 14 * 4
    assert of(samples, "oar_ready") == 1 and of(samples, "oar_connections") >= 1


def test_statistics(url):
    requests.post(url + "/v2/models/uci/infer", json=BODY)
    s = requests.get(url + "/v2/models/uci/versions/1/stats").json()["model_stats"]
    assert len(s) == 1 and s[0]["inference_count"] == 2 and s[0]["execution_count"] == 1
    assert s[0]["inference_stats"]["success"]["count"] == 1 and s[0]["batch_stats"][0]["batch_size"] == 2
    assert abs(s[0]["last_inference"] / 1000 - time.time()) < 60
    assert {m["name"] for m in requests.get(url + "/v2/models/stats").json()["model_stats"]} == {"uci", 'odd"na\\me'}
    assert requests.get(url + "/v2/models/nope/stats").status_code == 400


def test_tritonclient_statistics(url):
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(url[len("http://"):]) as c:
        assert c.get_inference_statistics("uci")["model_stats"][0]["name"] == "uci"
        assert len(c.get_inference_statistics()["model_stats"]) == 2
        assert [m["state"] for m in c.get_model_repository_index()] == ["READY"] * 2


def test_pages_of_brpc(url):
    requests.post(url + "/v2/models/uci/infer", json=BODY)
    assert requests.get(url + "/health").text == "OK\n" and requests.get(url + "/version").text.startswith("oar ")
    assert "count: 1" in requests.get(url + "/status").text
    assert 'nv_inference_count{model="uci",version="1"} : 2' in requests.get(url + "/vars").text
    assert "HTTP/1.1" in requests.get(url + "/connections").text
