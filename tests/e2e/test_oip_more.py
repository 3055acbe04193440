"""Triton's smaller extensions (generate, settings, shared memory), stage times, and the page at /."""
import html
import json
import re
import subprocess

import numpy as np
import pytest
import requests

from conftest import ROOT, ZOO, Server
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
INFER = "/v2/models/uci/infer"
BODY = {"inputs": [{"name": "x", "shape": [1, 13], "datatype": "FP32", "data": ROW}]}


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", f"bow={ZOO / 'imdb_bow' / 'pdmodel26'}", f"digits={ZOO / 'lenet_digits' / 'pdmodel26'}",
                "--allow-shared-memory") as s:
        yield s


def test_generate(url):
    for value in (ROW, [ROW]):
        r = requests.post(url + "/v2/models/uci/generate", json={"x": value, "id": "7", "temperature": 0.5, "parameters": {"a": 1}})
        assert r.status_code == 200 and list(r.json()) == ["id", "model_name", "model_version", "price"]
        assert r.json()["price"] == pytest.approx(PRICE, abs=1e-5)
    r = requests.post(url + "/v2/models/uci/versions/1/generate_stream", json={"x": ROW})
    assert r.headers["Content-Type"] == "text/event-stream; charset=utf-8" and r.text.endswith("\n\n")
    assert r.headers["Transfer-Encoding"] == "chunked" and "Content-Length" not in r.headers
    assert json.loads(r.text[len("data: "):])["price"] == pytest.approx(PRICE, abs=1e-5)
    for bad, words in (({}, "missing required input(s) ['x']"), ({"x": ["a"]}, "non-double"), ({"x": ROW[:3]}, "unexpected shape"),
                       ({"x": ROW, "y": [1]}, "parameter 'y' has invalid type")):
        r = requests.post(url + "/v2/models/uci/generate", json=bad)
        assert r.status_code == 400 and words in r.json()["error"], r.text


def test_stage_times_are_parameters_where_asked_for(url):
    p = requests.post(url + INFER, json=dict(BODY, parameters={"stage_times": True})).json()["parameters"]
    assert set(p) == {"parse_us", "queue_us", "batch_us", "compute_us", "encode_us"} and all(isinstance(v, int) for v in p.values())
    assert "parameters" not in requests.post(url + INFER, json=BODY).json()


def test_deadline_as_a_parameter(url):
    assert requests.post(url + INFER, json=dict(BODY, parameters={"timeout": 10_000_000})).status_code == 200
    r = requests.post(url + INFER, json=dict(BODY, parameters={"timeout": 1}))
    assert r.status_code == 504


def test_logging_settings():
    with Server("--model", f"uci={MODEL}") as s:
        url = f"http://{s.address}/v2/logging"
        assert requests.get(url).json()["log_info"] is True and requests.get(url).json()["log_verbose_level"] == 0
        assert requests.post(url, json={"log_verbose_level": 1}).json()["log_verbose_level"] == 1
        assert requests.post(url, json={"log_verbose_level": 0, "log_info": False}).json() == requests.get(url).json()
        assert requests.get(url).json()["log_info"] is False
        assert requests.post(url, json={"log_file": "x"}).status_code == 501
        assert requests.post(url, json={"log_format": "?"}).status_code == 503 and requests.post(url, json={"nothing": 1}).status_code == 400
        assert requests.post(url, b"{").status_code == 400


def test_trace_settings(tmp_path):
    with Server("--model", f"uci={MODEL}", "--trace-file", tmp_path / "t") as s:
        url = f"http://{s.address}"
        assert requests.get(url + "/v2/trace/setting").json()["trace_rate"] == "1000"
        assert requests.post(url + "/v2/models/uci/trace/setting", json={"trace_rate": "1", "trace_level": ["TIMESTAMPS"]}).json()["trace_rate"] == "1"
        assert "traceresponse" in requests.post(url + INFER, json=BODY).headers
        assert requests.post(url + "/v2/trace/setting", json={"trace_file": "x"}).status_code == 501
        assert requests.get(url + "/v2/models/nope/trace/setting").status_code == 404


def test_shared_memory_must_be_allowed():
    with Server("--model", f"uci={MODEL}") as s:
        url = f"http://{s.address}"
        r = requests.post(url + "/v2/systemsharedmemory/region/a/register", json={"key": "/x", "byte_size": 1})
        assert r.status_code == 501 and "--allow-shared-memory" in r.json()["error"]
        request = {"inputs": [{"name": "x", "shape": [1, 13], "datatype": "FP32", "parameters": {"shared_memory_region": "a", "shared_memory_byte_size": 52}}]}
        assert requests.post(url + INFER, json=request).status_code == 501


def test_tritonclient_shared_memory(server):
    http = pytest.importorskip("tritonclient.http")
    shm = pytest.importorskip("tritonclient.utils.shared_memory")
    x = np.array([ROW] * 3, "f4")
    given, got = shm.create_shared_memory_region("in", "/oar_test_in", x.nbytes), shm.create_shared_memory_region("out", "/oar_test_out", 12)
    try:
        shm.set_shared_memory_region(given, [x])
        with http.InferenceServerClient(server.address) as c:
            c.register_system_shared_memory("in", "/oar_test_in", x.nbytes)
            c.register_system_shared_memory("out", "/oar_test_out", 12)
            assert {r["name"] for r in c.get_system_shared_memory_status()} == {"in", "out"}
            i, o = http.InferInput("x", [3, 13], "FP32"), http.InferRequestedOutput("price")
            i.set_shared_memory("in", x.nbytes)
            o.set_shared_memory("out", 12)
            answer = c.infer("uci", [i], outputs=[o]).get_output("price")
            assert answer["parameters"]["shared_memory_region"] == "out"
            assert shm.get_contents_as_numpy(got, np.float32, [3]) == pytest.approx([PRICE] * 3, abs=1e-5)
            for change, words in (((lambda: i.set_shared_memory("in", 52 * 4)), "Invalid offset"), ((lambda: i.set_shared_memory("no", 156)), "Unable to find"),
                                  ((lambda: i.set_shared_memory("in", 152)), "byte size mismatch")):
                change()
                with pytest.raises(Exception, match=words):
                    c.infer("uci", [i])
            with pytest.raises(Exception, match="already in manager"):
                c.register_system_shared_memory("in", "/oar_test_in", 4)
            with pytest.raises(Exception, match="Unable to open"):
                c.register_system_shared_memory("a", "/no such", 4)
            with pytest.raises(Exception, match="do not lie within"):
                c.register_system_shared_memory("a", "/oar_test_in", 1 << 40)
            c.unregister_system_shared_memory("no")
            c.unregister_system_shared_memory()
            assert c.get_system_shared_memory_status() == []
    finally:
        shm.destroy_shared_memory_region(given)
        shm.destroy_shared_memory_region(got)


def test_tritonclient_settings(server):
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(server.address) as c:
        assert c.get_log_settings()["log_warning"] is True
        assert c.update_log_settings({"log_warning": True})["log_error"] is True
        assert c.get_trace_settings()["trace_level"] == ["OFF"]
        assert c.get_cuda_shared_memory_status() == []


def test_the_page_for_each_reader(url):
    page = requests.get(url + "/", headers={"Accept": "text/html,*/*"})
    assert page.headers["Content-Type"].startswith("text/html") and len(page.text) < 20_000
    assert not re.search(r'(src|href)="(https?:)?//', page.text)
    text, data = requests.get(url + "/").text, requests.get(url + "/", headers={"Accept": "application/json"}).json()
    assert "uci version 1" in text and "x " in text and {m["name"] for m in data["models"]} == {"uci", "bow", "digits"}
    lines = [html.unescape(m) for m in re.findall(r"<pre>(.*?)</pre>", page.text, re.S)]
    assert sorted(lines) == sorted(m["curl"] for m in data["models"]) and all(line in text for line in lines)
    for line in lines:  # ready to be used
        done = subprocess.run(["bash", "-c", line], capture_output=True)
        assert b'"outputs"' in done.stdout, (line, done.stdout)


def test_names_cannot_write_into_the_page():
    with Server("--model", "<script>x=" + str(MODEL)) as s:
        page = requests.get(f"http://{s.address}/", headers={"Accept": "text/html", "Host": "<b>"}).text
        assert page.count("<script>") == 1 and "&lt;script&gt;x" in page and "<b>" not in page
