"""Triton's extensions over gRPC (settings, shared memory, statistics), what a reply's metadata says, and streams with several
calls on their way: by tritonclient and by grpcio with stubs of tritonclient's own proto."""
import queue
import threading
import time

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not here: make test installs it where there is a network")
triton = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here: make test installs it where there is a network")
from tritonclient.grpc import service_pb2 as pb, service_pb2_grpc  # noqa: E402

from conftest import ROOT, ZOO, Server  # noqa: E402
from wire import ROW  # noqa: E402

MODEL = ROOT / "tests" / "data" / "uci_housing"
SLOW = ZOO / "lenet_digits" / "pdmodel26"
PRICE = 18.901152
X = np.array([ROW], np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    with Server("--model", f"uci={MODEL}", "--model", f"digits={SLOW}", "--allow-shared-memory", "--trace-file", folder / "spans", "--trace-rate", "0",
                "--access-log", folder / "access", "--log-format", "json", "--max-body-size", "40000000") as s:
        s.access = folder / "access"
        yield s


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.address) as c:
        yield c


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)]) as c:
        yield service_pb2_grpc.GRPCInferenceServiceStub(c)


def request(rows=1, model="uci", **kw):
    r = pb.ModelInferRequest(model_name=model, **kw)
    r.inputs.add(name="x", datatype="FP32", shape=[rows, 13])
    r.raw_input_contents.append(np.repeat(X, rows, 0).tobytes())
    return r


def uci(rows=1):
    x = triton.InferInput("x", [rows, 13], "FP32")
    x.set_data_from_numpy(np.repeat(X, rows, 0))
    return [x]


def test_every_call_of_tritons_service_is_there(stub):
    missing = []
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        if method.client_streaming:
            continue
        try:
            getattr(stub, method.name)(getattr(pb, method.input_type.name)())
        except grpc.RpcError as e:
            if "no method" in e.details():
                missing.append(method.name)
    assert missing == []


def test_log_settings(client):
    before = client.get_log_settings()
    assert before.settings["log_info"].bool_param and before.settings["log_format"].string_param == "json"
    changed = client.update_log_settings({"log_verbose_level": 1, "log_warning": True})
    assert changed.settings["log_verbose_level"].uint32_param == 1
    client.update_log_settings({"log_verbose_level": 0})
    assert client.get_log_settings().settings["log_verbose_level"].uint32_param == 0
    for change, code in (({"log_file": "x"}, "UNIMPLEMENTED"), ({"log_format": "?"}, "UNAVAILABLE"), ({"log_inof": True}, "INVALID_ARGUMENT")):
        with pytest.raises(Exception, match=code):
            client.update_log_settings(change)
    assert client.get_log_settings(as_json=True)["settings"].keys() == {"log_file", "log_info", "log_warning", "log_error", "log_verbose_level",
                                                                       "log_format"}


def test_trace_settings(client, stub):
    def traced():
        return "traceresponse" in dict(stub.ModelInfer.with_call(request())[1].initial_metadata())
    assert client.get_trace_settings().settings["trace_level"].value == ["TIMESTAMPS"] and not traced()
    assert client.update_trace_settings(settings={"trace_rate": "1"}).settings["trace_rate"].value == ["1"]
    assert traced()
    client.update_trace_settings(model_name="uci", settings={"trace_level": ["OFF"]})
    assert not traced() and client.get_trace_settings("uci").settings["trace_level"].value == ["OFF"]
    client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"], "trace_count": "2"})
    assert [traced() for _ in range(3)] == [True, True, False]
    cleared = client.update_trace_settings(settings={"trace_rate": None, "trace_count": None}).settings
    assert cleared["trace_rate"].value == ["0"] and cleared["trace_count"].value == ["-1"]
    for change, code in (({"trace_file": "x"}, "UNIMPLEMENTED"), ({"trace_rate": "x"}, "INVALID_ARGUMENT"), ({"trace_level": ["TENSORS"]}, "INVALID"),
                         ({"trace_mode": "triton"}, "UNIMPLEMENTED"), ({"nothing": "1"}, "INVALID_ARGUMENT")):
        with pytest.raises(Exception, match=code):
            client.update_trace_settings(settings=change)
    with pytest.raises(Exception, match="NOT_FOUND"):
        client.get_trace_settings("nope")


def test_settings_are_changed_by_those_who_may(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("admin secret\n")
    with Server("--model", f"uci={MODEL}", "--api-keys", keys) as s, triton.InferenceServerClient(s.address) as c:
        assert c.get_log_settings().settings["log_info"].bool_param and c.get_trace_settings().settings["trace_level"].value == ["OFF"]
        for change in (lambda **kw: c.update_log_settings({"log_info": True}, **kw), lambda **kw: c.update_trace_settings(settings={"trace_level": ["OFF"]}, **kw),
                       lambda **kw: c.unregister_system_shared_memory(**kw)):
            with pytest.raises(Exception, match="UNAUTHENTICATED"):
                change()
            try:
                change(headers={"x-api-key": "secret"})
            except triton.InferenceServerException as e:
                assert "--allow-shared-memory" in str(e)


def test_system_shared_memory(client):
    shm = pytest.importorskip("tritonclient.utils.shared_memory")
    x = np.repeat(X, 3, 0)
    given, got = shm.create_shared_memory_region("gin", "/oar_grpc_in", x.nbytes), shm.create_shared_memory_region("gout", "/oar_grpc_out", 12)
    try:
        shm.set_shared_memory_region(given, [x])
        client.register_system_shared_memory("gin", "/oar_grpc_in", x.nbytes)
        client.register_system_shared_memory("gout", "/oar_grpc_out", 12)
        regions = client.get_system_shared_memory_status().regions
        assert {(n, r.name, r.key, r.byte_size) for n, r in regions.items()} == {("gin", "gin", "/oar_grpc_in", 156), ("gout", "gout", "/oar_grpc_out", 12)}
        assert list(client.get_system_shared_memory_status("gin").regions) == ["gin"]
        i, o = triton.InferInput("x", [3, 13], "FP32"), triton.InferRequestedOutput("price")
        i.set_shared_memory("gin", x.nbytes)
        o.set_shared_memory("gout", 12)
        client.infer("uci", [i], outputs=[o])
        assert shm.get_contents_as_numpy(got, np.float32, [3]) == pytest.approx([PRICE] * 3, abs=1e-5)
        with pytest.raises(Exception, match="INVALID_ARGUMENT.*already in manager"):
            client.register_system_shared_memory("gin", "/oar_grpc_in", 4)
        with pytest.raises(Exception, match="do not lie within"):
            client.register_system_shared_memory("a", "/oar_grpc_in", 2**63)
        with pytest.raises(Exception, match="NOT_FOUND"):
            client.get_system_shared_memory_status("nope")
        client.unregister_system_shared_memory("gin")
        client.unregister_system_shared_memory("gin")
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
    finally:
        shm.destroy_shared_memory_region(given)
        shm.destroy_shared_memory_region(got)


def test_cuda_shared_memory_is_answered_as_by_a_server_without_a_device(client, stub):
    assert not client.get_cuda_shared_memory_status().regions
    client.unregister_cuda_shared_memory()
    with pytest.raises(grpc.RpcError) as e:
        stub.CudaSharedMemoryRegister(pb.CudaSharedMemoryRegisterRequest(name="a", raw_handle=b"1", device_id=0, byte_size=1))
    assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED and "CUDA" in e.value.details()


def test_statistics_say_what_a_model_takes(client):
    client.infer("uci", uci())
    s = client.get_inference_statistics("uci").model_stats[0]
    assert [(m.type, m.byte_size >= 56) for m in s.memory_usage] == [("CPU", True)]


def test_stage_times_and_ids_come_back(client, stub, server):
    reply = client.infer("uci", uci(), parameters={"stage_times": True})
    assert set(reply.get_response().parameters) == {"parse_us", "queue_us", "batch_us", "compute_us", "encode_us"}
    reply, call = stub.ModelInfer.with_call(request(), metadata=(("x-request-id", "seven-11"), ("x-want-timing", "1")))
    told = dict(call.initial_metadata())
    assert told["x-request-id"] == "seven-11" and "compute;dur=" in told["server-timing"] and not reply.parameters
    with pytest.raises(grpc.RpcError) as e:
        stub.ModelInfer(request(outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="no")]), metadata=(("x-request-id", "seven-12"),))
    assert dict(e.value.initial_metadata()).get("x-request-id", dict(e.value.trailing_metadata()).get("x-request-id")) == "seven-12"
    stub.ModelMetadata(pb.ModelMetadataRequest(name="uci"), metadata=(("x-request-id", "seven-13"),))
    for _ in range(50):
        lines = server.access.read_text()
        if all(f"seven-{i}" in lines for i in (11, 12, 13)):
            break
        time.sleep(0.02)
    assert all(f"seven-{i}" in lines for i in (11, 12, 13))


# ---- streams ----


def test_calls_of_one_stream_are_computed_side_by_side(stub, server):
    """Slow ones and quick ones mixed: all are answered, in their order, and more than one was on its way at once."""
    first = stub.ModelMetadata(pb.ModelMetadataRequest(name="digits")).inputs[0]
    name, shape = first.name, [d if d > 0 else 64 for d in first.shape]
    slow = pb.ModelInferRequest(model_name="digits")
    slow.inputs.add(name=name, datatype="FP32", shape=shape)
    slow.raw_input_contents.append(bytes(int(np.prod(shape)) * 4))
    asked, most, stop = [], [0], threading.Event()

    def watch():
        import re
        import urllib.request
        while not stop.is_set():
            text = urllib.request.urlopen(f"http://{server.address}/metrics").read().decode()
            most[0] = max(most[0], int(float(re.search(r"^oar_calls_in_flight (\S+)", text, re.M)[1])))
    watcher = threading.Thread(target=watch)
    watcher.start()
    for i in range(60):
        r = pb.ModelInferRequest()
        r.CopyFrom(slow if i % 3 else request(1 + i % 5))
        r.id = str(i)
        asked.append(r)
    answers = list(stub.ModelStreamInfer(iter(asked)))
    stop.set()
    watcher.join()
    assert [a.infer_response.id for a in answers] == [str(i) for i in range(60)] and not any(a.error_message for a in answers)
    assert most[0] > 1


def test_a_message_larger_than_the_window_goes_through_a_stream(stub):
    rows = 300_000  # 15.6 MB; the stream's window has 4
    answers = list(stub.ModelStreamInfer(iter([request(rows), request(2)])))
    assert [len(a.infer_response.raw_output_contents[0]) for a in answers] == [4 * rows, 8]
    with pytest.raises(grpc.RpcError) as e:
        list(stub.ModelStreamInfer(iter([request(800_000)])))
    assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_who_asks_and_does_not_read_is_held_back(server):
    """Answers that nobody takes stop the questions; when they are taken all come."""
    done, sent = queue.Queue(), [0]
    options = [("grpc.max_receive_message_length", -1), ("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        def asks():
            for i in range(400):
                sent[0] += 1
                yield request(5000)
        replies = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(asks())
        time.sleep(1)
        assert sent[0] < 400
        for _ in replies:
            done.put(1)
    assert done.qsize() == 400
