"""Every bound of `oar serve` as an option with its default, and what is answered beyond it over each protocol."""
import json
import re
import socket
import struct
import threading

import pytest
import requests

from conftest import ROOT, Server, run_oar
from wire import ROW, Connection, frame, read_frame, uci_request

MODEL = ROOT / "tests" / "data" / "uci_housing"
INFER = "/v2/models/uci/infer"
INFER_BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 13], "datatype": "FP32", "data": ROW}]})


@pytest.fixture(scope="module")
def bounded():
    with Server("--model", f"uci={MODEL}", "--max-json-depth", "20") as s:
        yield s


def test_each_has_an_option_with_a_default():
    text = re.sub(r"\n {20,}", " ", run_oar("serve", "--help").stdout)  # a line for each option
    for name in ("max-connections", "max-header-size", "max-body-size", "max-json-depth", "max-streams", "queue-size", "model-queue-size",
                 "max-bytes-in-flight", "max-arena", "idle-timeout", "request-timeout", "write-timeout", "batch-queue-size"):
        assert re.search(rf"--{name} .*\(default \d+\)", text), name


@pytest.mark.parametrize("path,body", [
    (INFER, json.loads(INFER_BODY)),
    ("/v1/models/uci:predict", {"instances": [ROW]}),
    ("/GeneralModelService/inference", {"tensor": [{"float_data": ROW, "elem_type": 1, "name": "x", "shape": [1, 13]}]}),
    ("/uci/prediction", {"feed": [{"x": ROW}], "fetch": []}),
])
def test_depth(bounded, path, body):
    url = f"http://{bounded.address}{path}"
    for depth, good in ((15, True), (25, False)):
        r = requests.post(url, json.dumps(body)[:-1] + ',"later":' + "[" * depth + "]" * depth + "}")
        assert (r.status_code == 200) == good and ("deep" in r.text) != good, r.text


def test_depth_may_be_more():
    deep = INFER_BODY[:-1] + ',"later":' + "[" * 90 + "]" * 90 + "}"
    with Server("--model", f"uci={MODEL}") as s:
        assert requests.post(f"http://{s.address}{INFER}", deep).status_code == 400
    with Server("--model", f"uci={MODEL}", "--max-json-depth", "100") as s:
        assert requests.post(f"http://{s.address}{INFER}", deep).status_code == 200


def test_streams():
    def h2(kind, flags=0, stream=0, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
    with Server("--model", f"uci={MODEL}", "--max-streams", "3") as s, socket.create_connection(("127.0.0.1", s.port), 20) as c:
        c.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + h2(4))
        for i in range(1, 11, 2):
            c.sendall(h2(1, 4, i, b"\x83\x86\x84\x01\x01x"))
        refused, data = 0, b""
        while refused < 2:
            data += c.recv(65536)
            refused = data.count(h2(3)[:4].replace(b"\0\0\0", b"\0\0\x04") + b"\0")
        assert b"\0\x03\0\0\0\x03" in data  # SETTINGS_MAX_CONCURRENT_STREAMS: 3


def test_bytes_in_flight_of_every_protocol():
    grpc = pytest.importorskip("grpc")
    large = uci_request(rows=1000)  # 52 KB
    message = b"\x0a\x03uci" + b"\x3a" + b"\xa0\x9c\x03" + bytes(52768)
    with Server("--model", f"uci={MODEL}", "--max-bytes-in-flight", "20000") as s:
        with Connection(s.port) as c:
            c.socket.sendall(frame(large))
            try:
                meta, _ = read_frame(c.socket)
                assert meta.response.error_code == 2004 and "--max-bytes-in-flight" in meta.response.error_text
            except EOFError:  # it came in pieces: the rest was not waited for
                pass
        with grpc.insecure_channel(s.address) as channel, pytest.raises(grpc.RpcError) as e:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message)
        assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "--max-bytes-in-flight" in e.value.details()
        with Connection(s.port) as c:  # nothing stays counted
            for _ in range(5):
                meta, reply = c.call(uci_request(rows=300))
                assert meta.response.error_code == 0 and len(reply.outputs[0].tensor[0].float_data) == 300
        text = requests.get(f"http://{s.address}/metrics").text
        assert float(re.search(r"^oar_bytes_in_flight (\S+)", text, re.M)[1]) == 0


def test_one_models_queue_is_not_anothers():
    rows = 20_000
    large = json.dumps({"inputs": [{"name": "x", "shape": [rows, 13], "datatype": "FP32", "data": ROW * rows}]}).encode()
    with Server("--model", f"uci={MODEL}", f"other={MODEL}", "--thread", "1", "--model-queue-size", "1") as s:
        answers, others = [], []

        def ask(model, to):
            r = requests.post(f"http://{s.address}/v2/models/{model}/infer", large, headers={"Connection": "close"}, timeout=60)
            to.append((r.status_code, r.json().get("error", "")))
        threads = [threading.Thread(target=ask, args=("uci", answers)) for _ in range(16)]
        threads.append(threading.Thread(target=ask, args=("other", others)))
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert {code for code, _ in answers} <= {200, 503} and (200, "") in answers and others == [(200, "")]
        assert all("queue of uci" in words for code, words in answers if code == 503)
