"""gRPC with clients that are not ours: grpcio with stubs made here from proto/, tritonclient (plain and asyncio), gRPC's own
health and reflection clients. They come with tools/requirements-test.txt; without them these tests are skipped."""
import asyncio
import queue
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest

grpc = pytest.importorskip("grpc", reason="grpcio is not here: make test installs it where there is a network")
triton = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here: make test installs it where there is a network")
grpc_tools = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not here: make test installs it where there is a network")

from conftest import ROOT, ZOO, Server, assert_close, cases, run_oar  # noqa: E402
from wire import ROW  # noqa: E402

MODEL = ROOT / "tests" / "data" / "uci_housing"
PRICE = 18.901152
X = np.array([ROW], np.float32)


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", "--max-body-size", "20000000") as s:
        yield s


class Service:
    """What a generated stub is, made at run time of a .proto file, in a pool of its own: tritonclient brings messages of the
    same names."""

    def __init__(self, file, package, service, folder):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        out = folder / f"{file}.set"
        assert grpc_tools.main(["protoc", f"-I{ROOT / 'proto'}", f"--descriptor_set_out={out}", f"{file}.proto"]) == 0
        pool = descriptor_pool.DescriptorPool()
        for f in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
            pool.Add(f)
        self.of = message_factory.GetMessageClass
        self.service = pool.FindServiceByName(f"{package}.{service}")
        self.message = lambda name: self.of(pool.FindMessageTypeByName(f"{package}.{name}"))

    def __getattr__(self, name):
        return self.message(name)

    def stub(self, channel):
        class Stub:
            pass
        for m in self.service.methods:
            kind = channel.stream_stream if m.client_streaming else channel.unary_unary
            setattr(Stub, m.name, staticmethod(kind(f"/{self.service.full_name}/{m.name}", self.of(m.input_type).SerializeToString,
                                                    self.of(m.output_type).FromString)))
        return Stub


@pytest.fixture(scope="module")
def oip(tmp_path_factory):
    return Service("open_inference", "inference", "GRPCInferenceService", tmp_path_factory.mktemp("oip"))


@pytest.fixture(scope="module")
def general(tmp_path_factory):
    return Service("general_model_service", "baidu.paddle_serving.predictor.general_model", "GeneralModelService",
                   tmp_path_factory.mktemp("general"))


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)]) as c:
        yield c


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.address) as c:
        yield c


def uci(rows=1):
    x = triton.InferInput("x", [rows, 13], "FP32")
    x.set_data_from_numpy(np.repeat(X, rows, 0))
    return [x]


def fails(code, call, *arguments, **kw):
    with pytest.raises(grpc.RpcError) as e:
        call(*arguments, **kw)
    assert e.value.code() == code, e.value
    return e.value.details()


# ---- the Open Inference Protocol, by Triton's client ----


def test_live_ready_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("uci") and client.is_model_ready("uci", "1")
    assert not client.is_model_ready("nope") and not client.is_model_ready("uci", "7")
    assert client.get_server_metadata().name == "oar"
    m = client.get_model_metadata("uci")
    assert (m.name, list(m.versions), m.inputs[0].name, m.inputs[0].datatype, list(m.inputs[0].shape)) == ("uci", ["1"], "x", "FP32", [-1, 13])
    assert (m.outputs[0].name, list(m.outputs[0].shape)) == ("price", [-1, 1])
    config = client.get_model_config("uci").config
    assert (config.max_batch_size, config.input[0].name, list(config.input[0].dims)) == (4096, "x", [13])


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 300])
def test_infer(client, packing, rows):
    reply = client.infer("uci", uci(rows), request_id="seven", compression_algorithm=packing,
                         outputs=[triton.InferRequestedOutput("price")])
    assert reply.get_response().id == "seven" and reply.get_response().model_version == "1"
    np.testing.assert_allclose(reply.as_numpy("price"), np.full((rows, 1), PRICE), rtol=1e-6)


def test_several_calls_at_once(client):
    done = queue.Queue()
    for rows in range(1, 65):
        client.async_infer("uci", uci(rows), callback=lambda result, error: done.put((result, error)))
    seen = set()
    for _ in range(64):
        result, error = done.get(timeout=20)
        assert error is None
        seen.add(result.as_numpy("price").shape[0])
    assert seen == set(range(1, 65))


def test_a_stream_answers_in_order_and_outlives_faults(client):
    replies = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))
    for i in range(50):
        client.async_stream_infer("uci", uci(1 + i), request_id=str(i))
    for i in range(50):
        result, error = replies.get(timeout=20)
        assert error is None and result.get_response().id == str(i) and result.as_numpy("price").shape == (1 + i, 1)
    client.async_stream_infer("nope", uci())
    client.async_stream_infer("uci", uci(), request_id="after")
    result, error = replies.get(timeout=20)
    assert result is None and "nope" in str(error)
    assert replies.get(timeout=20)[0].get_response().id == "after"
    client.stop_stream()


def test_classification(client):
    reply = client.infer("uci", uci(2), outputs=[triton.InferRequestedOutput("price", class_count=1)])
    assert [t.decode().split(":")[1] for t in reply.as_numpy("price").ravel()] == ["0", "0"]


def test_statistics_and_index(client):
    client.infer("uci", uci())
    stats = client.get_inference_statistics("uci").model_stats[0]
    assert stats.name == "uci" and stats.inference_stats.success.count > 0
    assert [(m.name, m.version, m.state) for m in client.get_model_repository_index().models] == [("uci", "1", "READY")]


def test_asyncio(server):
    import tritonclient.grpc.aio as aio

    async def run():
        async with aio.InferenceServerClient(server.address) as c:
            replies = await asyncio.gather(*(c.infer("uci", uci(n)) for n in range(1, 20)))
            return [r.as_numpy("price").shape[0] for r in replies]
    assert asyncio.run(run()) == list(range(1, 20))


def tensor(name, array, datatype):
    t = triton.InferInput(name, list(array.shape), datatype)
    t.set_data_from_numpy(np.ascontiguousarray(array))
    return t


def test_recorded_models():
    """Every recorded model here, as its framework answered; offsets of ragged inputs go along as NAME.lod."""
    folders = sorted(meta.parent for meta in ZOO.glob("*/*/meta.json"))
    arguments = [a for f in folders for a in ("--model", f"{f.parent.name}_{f.name}={f}")]
    with Server(*arguments) as s, triton.InferenceServerClient(s.address) as c:
        for folder in folders:
            name = f"{folder.parent.name}_{folder.name}"
            ports = [p for p in c.get_model_metadata(name).inputs if not p.name.endswith(".lod")]
            for given, wanted in cases(folder):
                feed, want, inputs = np.load(given), np.load(wanted), []
                for i, port in enumerate(ports):
                    inputs.append(tensor(port.name, feed[f"in{i}"], port.datatype))
                    levels = [feed[k].astype(np.int64) for k in sorted(feed.files) if k.startswith(f"in{i}_lod")]
                    if levels:
                        inputs.append(tensor(port.name + ".lod", np.concatenate(levels), "INT64"))
                reply = c.infer(name, inputs)
                names = [o.name for o in reply.get_response().outputs if not o.name.endswith(".lod")]
                for i, output in enumerate(names):
                    assert_close(reply.as_numpy(output), want[f"out{i}"])


# ---- the same, by stubs made from proto/ ----


def request(oip, raw=True, **kw):
    r = oip.ModelInferRequest(model_name="uci", **kw)
    t = r.inputs.add(name="x", datatype="FP32", shape=[1, 13])
    if raw:
        r.raw_input_contents.append(X.tobytes())
    else:
        t.contents.fp32_contents.extend(ROW)
    return r


def test_explicit_contents(oip, channel):
    stub = oip.stub(channel)
    reply = stub.ModelInfer(request(oip, raw=False))
    assert np.frombuffer(reply.raw_output_contents[0], np.float32) == pytest.approx([PRICE], abs=1e-5)
    both = request(oip, raw=False)
    both.raw_input_contents.append(X.tobytes())
    assert "contents field must not be specified" in fails(grpc.StatusCode.INVALID_ARGUMENT, stub.ModelInfer, both)
    wrong = request(oip, raw=False)
    del wrong.inputs[0].contents.fp32_contents[:]
    wrong.inputs[0].contents.int_contents.extend(range(13))
    assert "unexpected explicit tensor data" in fails(grpc.StatusCode.INVALID_ARGUMENT, stub.ModelInfer, wrong)


@pytest.mark.parametrize("change,code,words", [
    (lambda r: r.ClearField("raw_input_contents"), "INVALID_ARGUMENT", "unable to find data for input tensor 'x'"),
    (lambda r: r.raw_input_contents.append(b"1234"), "INVALID_ARGUMENT", "2 raw_input_contents for 1 inputs"),
    (lambda r: setattr(r, "model_name", "sun"), "NOT_FOUND", "sun"),
    (lambda r: setattr(r, "model_version", "9"), "NOT_FOUND", "9"),
    (lambda r: setattr(r, "model_version", "x"), "INVALID_ARGUMENT", "version string 'x'"),
    (lambda r: setattr(r.inputs[0], "datatype", "FP31"), "INVALID_ARGUMENT", "datatype"),
    (lambda r: setattr(r.inputs[0], "datatype", "INT32"), "INVALID_ARGUMENT", "INT32"),
    (lambda r: r.inputs[0].shape.append(2), "INVALID_ARGUMENT", "x"),
    (lambda r: r.inputs[0].shape.__setitem__(0, -1), "INVALID_ARGUMENT", "negative"),
    (lambda r: r.inputs[0].shape.__setitem__(0, 2 ** 62), "INVALID_ARGUMENT", "x"),
    (lambda r: r.outputs.add(name="nope"), "INVALID_ARGUMENT", "nope"),
    (lambda r: r.parameters["triton_x"].MergeFrom(type(r.parameters["a"])(int64_param=1)), "INVALID_ARGUMENT", "triton_"),
])
def test_faults_of_a_request(oip, channel, change, code, words):
    stub = oip.stub(channel)
    r = request(oip)
    change(r)
    assert words in fails(grpc.StatusCode[code], stub.ModelInfer, r)


def test_general_model_service(general, channel):
    stub = general.stub(channel)
    r = general.Request(fetch_var_names=["price"])
    r.tensor.add(float_data=ROW, elem_type=1, shape=[1, 13], name="x", alias_name="x")
    for call in (stub.inference, stub.debug):
        t = call(r).outputs[0].tensor[0]
        assert list(t.float_data) == pytest.approx([PRICE], abs=1e-5) and t.alias_name == "price"
    packed = stub.inference(r, compression=grpc.Compression.Gzip)
    assert packed.outputs[0].engine_name == "GeneralInferOp_0"
    r.fetch_var_names[:] = ["prise"]
    assert "did you mean 'price'" in fails(grpc.StatusCode.INVALID_ARGUMENT, stub.inference, r)


def test_multi_lang(tmp_path, channel):
    """The service of before 0.7, with named feeds; is_python says that elements are raw bytes."""
    lang = Service("multi_lang_general_model_service", "baidu.paddle_serving.multi_lang", "MultiLangGeneralModelService", tmp_path)
    stub = lang.stub(channel)
    for python in (False, True):
        r = lang.InferenceRequest(feed_var_names=["x"], fetch_var_names=["price"], is_python=python, log_id=0)
        t = r.insts.add().tensor_array.add(elem_type=1, shape=[1, 13])
        if python:
            t.data = X.tobytes()
        else:
            t.float_data.extend(ROW)
        reply = stub.Inference(r)
        t = reply.outputs[0].insts[0].tensor_array[0]
        got = np.frombuffer(t.data, np.float32) if python else np.float32(t.float_data)
        assert got == pytest.approx([PRICE], abs=1e-5) and reply.err_code == 0 and list(t.shape) == [1, 1]
    assert stub.SetTimeout(lang.SetTimeoutRequest(timeout_ms=100)).err_code == 0
    config = stub.GetClientConfig(lang.GetClientConfigRequest()).client_config_str
    assert 'alias_name: "x"' in config and 'alias_name: "price"' in config and "shape: 13" in config


def test_bytes_that_are_no_message(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    fails(grpc.StatusCode.INVALID_ARGUMENT, call, b"\x0a\x03uci\x2a\xff\xff")
    fails(grpc.StatusCode.NOT_FOUND, call, b"\xff\xff\xff")
    nobody = channel.unary_unary("/inference.GRPCInferenceService/Nothing")
    assert "Nothing" in fails(grpc.StatusCode.UNIMPLEMENTED, nobody, b"")


@pytest.mark.parametrize("protocol", ["grpc", "kserve-grpc"])
def test_oar_call_and_bench(server, protocol, tmp_path):
    for rows in (1, 100000):
        np.savez(tmp_path / "in.npz", x=np.repeat(X, rows, 0))
        done = run_oar("call", server.address, "--protocol", protocol, "--model", "uci", "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
        assert done.returncode == 0, done.stderr
        np.testing.assert_allclose(np.load(tmp_path / "out.npz")["price"], np.full((rows, 1), PRICE), rtol=1e-6)
    np.savez(tmp_path / "in.npz", x=X)
    done = run_oar("bench", server.address, "--protocol", protocol, "--model", "uci", "--in", tmp_path / "in.npz", "--concurrency", 4, "--seconds", 0.3,
                   "--json")
    assert done.returncode == 0 and '"errors":0' in done.stdout.replace(" ", "")
    np.savez(tmp_path / "in.npz", y=X)
    done = run_oar("call", server.address, "--protocol", protocol, "--model", "uci", "--in", tmp_path / "in.npz")
    assert done.returncode != 0 and "code 3" in done.stderr and "y" in done.stderr


def test_words_in_utf8(oip, channel):
    stub = oip.stub(channel)
    r = request(oip)
    r.model_name = "für 100 %"
    assert "für 100 %" in fails(grpc.StatusCode.NOT_FOUND, stub.ModelInfer, r)


def test_large_messages_both_ways(client):
    rows = 300000  # 15.6 MB
    np.testing.assert_allclose(client.infer("uci", uci(rows)).as_numpy("price")[-1], [PRICE], rtol=1e-6)
    with pytest.raises(triton.InferenceServerException) if hasattr(triton, "InferenceServerException") else pytest.raises(Exception) as e:
        client.infer("uci", uci(400000))
    assert "RESOURCE_EXHAUSTED" in str(e.value) and "max-body-size" in str(e.value)
    assert client.infer("uci", uci()).as_numpy("price").shape == (1, 1)


def test_a_deadline_that_has_passed(oip, server, tmp_path):
    """By curl, since grpcio rounds up to a millisecond, in which the answer is there."""
    message = request(oip).SerializeToString()
    (tmp_path / "message").write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    command = ["curl", "-s", "-i", "--http2-prior-knowledge", "-H", "content-type: application/grpc", "--data-binary",
               f"@{tmp_path / 'message'}", f"http://{server.address}/inference.GRPCInferenceService/ModelInfer"]
    late = subprocess.run([*command, "-H", "grpc-timeout: 1n"], capture_output=True, timeout=20).stdout
    assert b"grpc-status: 4" in late and b"grpc-message: the request's time ran out" in late
    assert b"grpc-status: 4" not in subprocess.run([*command, "-H", "grpc-timeout: 10S"], capture_output=True, timeout=20).stdout


def test_load_and_unload(tmp_path, oip):
    (tmp_path / "uci").symlink_to(MODEL)
    with Server("--model", f"uci={MODEL}") as s, grpc.insecure_channel(s.address) as channel:
        stub = oip.stub(channel)
        with pytest.raises(grpc.RpcError) as e:
            stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="nope"))
        assert e.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        fails(grpc.StatusCode.UNIMPLEMENTED, stub.RepositoryModelLoad, oip.RepositoryModelLoadRequest(model_name="uci", repository_name="r"))
        stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name="uci"))
        stub.ModelInfer(request(oip))


# ---- health and reflection ----


def test_health(channel):
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    from grpc_health.v1 import health_pb2_grpc
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "uci", "inference.GRPCInferenceService", "grpc.health.v1.Health"):
        assert stub.Check(pb2.HealthCheckRequest(service=service)).status == pb2.HealthCheckResponse.SERVING
    for service in ("nope", "inference", "inference.GRPCInferenceServic"):
        fails(grpc.StatusCode.NOT_FOUND, stub.Check, pb2.HealthCheckRequest(service=service))
    unknown = stub.Watch(pb2.HealthCheckRequest(service="nope"))
    assert next(unknown).status == pb2.HealthCheckResponse.SERVICE_UNKNOWN
    unknown.cancel()


def test_a_watch_is_told_of_the_end():
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    from grpc_health.v1 import health_pb2_grpc
    with Server("--model", f"uci={MODEL}") as s, grpc.insecure_channel(s.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(pb2.HealthCheckRequest(service="uci"))
        assert next(watch).status == pb2.HealthCheckResponse.SERVING
        s.process.terminate()
        assert next(watch).status == pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as e:
            next(watch)
        assert e.value.code() == grpc.StatusCode.UNAVAILABLE
        assert s.process.wait(20) == 0


def test_reflection_is_what_proto_says(channel):
    pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
    database = ProtoReflectionDescriptorDatabase(channel)
    services = database.get_services()
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(services)
    pool = DescriptorPool(database)
    for service in services:
        assert len(pool.FindServiceByName(service).methods) > 0
    assert subprocess.run([sys.executable, ROOT / "tools" / "descriptors", "--check"]).returncode == 0


# ---- peers that do not behave ----


def test_cancelled_calls_and_streams_that_end_early(oip, server):
    with grpc.insecure_channel(server.address) as channel:
        stub = oip.stub(channel)
        for _ in range(20):
            stub.ModelInfer.future(request(oip)).cancel()
            stub.ModelStreamInfer(iter([request(oip)])).cancel()
        reply = stub.ModelInfer(request(oip))
        assert len(reply.raw_output_contents) == 1


def test_rubbish_behind_a_good_head(server):
    """What is no gRPC message is the call's fault, not the connection's."""
    def literal(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
    head = b"\x83\x86\x01\x01x" + literal(b":path", b"/inference.GRPCInferenceService/ModelInfer") + literal(b"content-type", b"application/grpc")
    s = socket.create_connection(("127.0.0.1", server.port), 10)
    s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
    for i, body in enumerate([b"", b"\x07\0\0\0\0", b"\0\0\0\0\x09abc", b"\x01\0\0\0\x03abc", b"\0\0\0\0\0\0\0\0\0\0", b"\0\xff\xff\xff\xff"]):
        stream = struct.pack(">I", 2 * i + 1)
        s.sendall(struct.pack(">I", len(head))[1:] + b"\x01\x04" + stream + head)
        s.sendall(struct.pack(">I", len(body))[1:] + b"\x00\x01" + stream + body)
    data, answers = b"", 0
    while answers < 6:
        while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3], "big"):
            piece = s.recv(65536)
            assert piece, "the connection has ended"
            data += piece
        answers += data[3] == 1 and data[4] & 1  # HEADERS with END_STREAM: trailers alone
        assert data[3] != 7, "GOAWAY"
        data = data[9 + int.from_bytes(data[:3], "big"):]
    s.close()
