"""baidu_std against the running server, with frames that Google's protobuf wrote and reads."""
import gzip
import itertools
import socket
import struct
import threading
import zlib

import numpy as np
import pytest

from conftest import ROOT, ZOO
from wire import GZIP, LZ4, PB, ROW, ZLIB, Connection, frame, read_frame, uci_request

MODEL = ROOT / "tests" / "data" / "uci_housing"
CAPTURES = ROOT / "tests" / "data" / "captures"
PRICE = 18.901152


@pytest.fixture(scope="module")
def server():
    from conftest import Server
    with Server("--model", f"uci={MODEL}") as s:
        yield s


def price_of(response):
    return list(response.outputs[0].tensor[0].float_data)


def still_serves(server):
    with Connection(server.port) as c:
        meta, response = c.call(uci_request())
        assert meta.response.error_code == 0
        assert price_of(response) == pytest.approx([PRICE], abs=1e-6)


def test_the_originals_example(server):
    with Connection(server.port) as c:
        meta, r = c.call(uci_request(), correlation=8589934594)
    assert (meta.correlation_id, meta.response.error_code) == (8589934594, 0)
    t = r.outputs[0].tensor[0]
    assert price_of(r) == pytest.approx([PRICE], abs=1e-6)
    assert (t.name, t.alias_name, list(t.shape), t.elem_type) == ("fc_0.tmp_1", "price", [1, 1], 1)
    assert r.outputs[0].engine_name == "GeneralInferOp_0"
    assert len(r.profile_time) == 2 and r.profile_time[0] <= r.profile_time[1]


@pytest.mark.parametrize("name", ["01_single", "02_batch1", "03_batch3", "04_2d_nobatch", "05_1d_batch", "06_fetch_none", "07_log_id", "08_lod"])
def test_frames_of_the_genuine_client(server, name):
    """The recording server answered with the same model's prices; ours differs in engine name and stamps alone."""
    sent = (CAPTURES / f"{name}.brpc_req.bin").read_bytes()
    recorded = (CAPTURES / f"{name}.brpc_res.bin").read_bytes()
    with Connection(server.port) as c:
        c.socket.sendall(sent)
        meta, payload = read_frame(c.socket)
    body, head = struct.unpack(">II", recorded[4:12])
    want_meta, want = PB["Meta"].FromString(recorded[12:12 + head]), PB["Response"].FromString(recorded[12 + head:12 + body])
    got = PB["Response"].FromString(payload)
    assert meta.correlation_id == want_meta.correlation_id and meta.response.error_code == 0
    t, w = got.outputs[0].tensor[0], want.outputs[0].tensor[0]
    assert (t.name, t.alias_name, list(t.shape), t.elem_type) == (w.name, w.alias_name, list(w.shape), w.elem_type)
    np.testing.assert_allclose(t.float_data, w.float_data, rtol=1e-6)


def test_debug_and_the_short_name(server):
    with Connection(server.port) as c:
        for service, method in [("GeneralModelService", "inference"), ("GeneralModelService", "debug")]:
            meta, r = c.call(uci_request(), service=service, method=method)
            assert price_of(r) == pytest.approx([PRICE], abs=1e-6)


def test_profile_gives_a_pair_of_each_operator(server):
    request = uci_request()
    request.profile_server = True
    with Connection(server.port) as c:
        _, r = c.call(request)
    stamps = list(r.profile_time)
    assert len(stamps) == 8 and stamps[:6] == sorted(stamps[:6]) and stamps[6] <= stamps[0] and stamps[7] >= stamps[5]


@pytest.mark.parametrize("kind,pack,unpack", [(GZIP, gzip.compress, gzip.decompress), (ZLIB, zlib.compress, zlib.decompress)])
def test_compression_both_ways(server, kind, pack, unpack):
    request = uci_request(rows=40)
    with Connection(server.port) as c:
        meta, payload = c.call(pack(request.SerializeToString()), compress=kind)
    assert meta.compress_type == kind
    assert price_of(PB["Response"].FromString(unpack(payload))) == pytest.approx([PRICE] * 40, abs=1e-5)


def test_lz4_both_ways(server):
    lz4 = pytest.importorskip("lz4.frame", reason="the package lz4 is not here: make test installs it where there is a network")
    request = uci_request(rows=40)
    with Connection(server.port) as c:
        meta, payload = c.call(lz4.compress(request.SerializeToString()), compress=LZ4)
        assert meta.compress_type == LZ4
        assert price_of(PB["Response"].FromString(lz4.decompress(payload))) == pytest.approx([PRICE] * 40, abs=1e-5)
        meta, _ = c.call(lz4.compress(request.SerializeToString())[:-9], compress=LZ4)
        assert meta.response.error_code == 1003 and "lz4" in meta.response.error_text


def test_an_attachment_comes_back(server):
    attachment = bytes(range(256)) * 40
    with Connection(server.port) as c:
        c.socket.sendall(frame(uci_request(), attachment=attachment))
        meta, payload = read_frame(c.socket)
    assert meta.attachment_size == len(attachment) and payload[-len(attachment):] == attachment
    assert price_of(PB["Response"].FromString(payload[:-len(attachment)])) == pytest.approx([PRICE], abs=1e-6)


@pytest.mark.parametrize("rows,lod", [(1, []), (3, []), (3, [0, 1, 3])])
def test_the_form_of_before_0_7_is_answered_in_kind(server, rows, lod):
    request = PB["OldRequest"](fetch_var_names=["price"], profile_server=False, log_id=7)
    request.insts.add().tensor_array.add(float_data=ROW * rows, elem_type=1, shape=[rows, 13], lod=lod)
    with Connection(server.port) as c:
        c.socket.sendall(frame(request))
        meta, payload = read_frame(c.socket)
    assert meta.response.error_code == 0, meta.response.error_text
    reply = PB["OldResponse"].FromString(payload)
    t = reply.outputs[0].insts[0].tensor_array[0]
    assert list(t.float_data) == pytest.approx([PRICE] * rows, abs=1e-5)
    assert (list(t.shape), t.elem_type, reply.outputs[0].engine_name) == ([rows, 1], 1, "GeneralInferOp_0")
    assert len(reply.profile_time) == 2


def test_faults_of_the_old_form(server):
    for change, words in [(dict(shape=[1, 12]), "13"), (dict(elem_type=0), "int64"), (dict(shape=[-1]), "shape")]:
        request = PB["OldRequest"](fetch_var_names=["price"])
        request.insts.add().tensor_array.add(**{**dict(float_data=ROW, elem_type=1, shape=[1, 13]), **change})
        with Connection(server.port) as c:
            c.socket.sendall(frame(request))
            meta, _ = read_frame(c.socket)
        assert meta.response.error_code == 1003 and words in meta.response.error_text


def test_many_calls_on_one_connection(server):
    with Connection(server.port) as c:
        c.socket.sendall(b"".join(frame(uci_request(), correlation=i) for i in range(1, 201)))
        seen = set()
        for _ in range(200):
            meta, payload = read_frame(c.socket)
            assert meta.response.error_code == 0
            seen.add(meta.correlation_id)
    assert seen == set(range(1, 201))


def test_frames_that_come_byte_by_byte(server):
    with Connection(server.port) as c:
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(uci_request()):
            c.socket.send(bytes([byte]))
        meta, payload = read_frame(c.socket)
    assert price_of(PB["Response"].FromString(payload)) == pytest.approx([PRICE], abs=1e-6)


EVERY_TYPE = [  # elem_type, field, values of 13 elements
    (1, "float_data", ROW),
    (1, "tensor_content", np.float32(ROW).tobytes()),
]


@pytest.mark.parametrize("elem_type,field,values", EVERY_TYPE)
def test_where_elements_may_be(server, elem_type, field, values):
    request = PB["Request"](fetch_var_names=["price"])
    request.tensor.add(**{field: values}, elem_type=elem_type, shape=[1, 13], name="x")
    with Connection(server.port) as c:
        _, r = c.call(request)
    assert price_of(r) == pytest.approx([PRICE], abs=1e-6)


BAD = {
    "another feed name": (dict(name="y", alias_name="y"), ["price"], ["'y'", "no input"]),
    "a name that is nearly right": (dict(name="xx", alias_name="xx"), ["price"], ["did you mean 'x'"]),
    "another dtype": (dict(float_data=[], int64_data=list(range(13)), elem_type=0), ["price"], ["feed 'x'", "float32", "int64"]),
    "another rank": (dict(shape=[1, 1, 1, 13]), ["price"], ["feed 'x'", "[-1, 13]", "[1, 1, 1, 13]"]),
    "fewer elements than the shape says": (dict(float_data=ROW[:12]), ["price"], ["13", "12", "float_data"]),
    "another width": (dict(shape=[13, 1]), ["price"], ["feed 'x'", "[-1, 13]", "[13, 1]"]),
    "a negative dimension": (dict(shape=[-1, 13]), ["price"], ["shape"]),
    "an unknown elem_type": (dict(elem_type=77), ["price"], ["elem_type 77"]),
    "elements in another field": (dict(float_data=[], float64_data=ROW), ["price"], ["float_data", "float64_data"]),
    "LoD that falls": (dict(lod=[0, 3, 1]), ["price"], ["lod"]),
    "LoD that ends elsewhere": (dict(lod=[0, 9]), ["price"], ["lod"]),
    "an unknown fetch": ({}, ["prise"], ["'prise'", "did you mean 'price'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_told_why(server, case):
    fields, fetch, words = BAD[case]
    with Connection(server.port) as c:
        meta, _ = c.call(uci_request(fetch=fetch, **fields))
        assert meta.response.error_code == 1003
        for word in words:
            assert word.lower() in meta.response.error_text.lower()
        meta, r = c.call(uci_request())  # the same connection goes on
        assert price_of(r) == pytest.approx([PRICE], abs=1e-6)


def test_no_feed_and_no_body(server):
    with Connection(server.port) as c:
        for body in (b"", PB["Request"](fetch_var_names=["price"]).SerializeToString()):
            meta, _ = c.call(body)
            assert meta.response.error_code == 1003 and "'x'" in meta.response.error_text
    still_serves(server)


def test_a_payload_that_is_no_protobuf(server):
    with Connection(server.port) as c:
        meta, _ = c.call(b"\xff" * 50)
        assert meta.response.error_code == 1003
        meta, _ = c.call(b"not gzip", compress=GZIP)
        assert meta.response.error_code == 1003
        meta, _ = c.call(uci_request(), compress=9)
        assert meta.response.error_code == 1003 and "compress_type 9" in meta.response.error_text
    still_serves(server)


def test_unknown_service_and_method(server):
    with Connection(server.port) as c:
        for service, method in [("NoService", "inference"), ("GeneralModelService", "nothing")]:
            meta, _ = c.call(uci_request(), service=service, method=method)
            assert meta.response.error_code == 1002
            assert f"Fail to find method={service}/{method}" in meta.response.error_text
        assert c.call(uci_request())[0].response.error_code == 0


def closes(s):
    try:
        return s.recv(100) == b""
    except ConnectionResetError:
        return True


def test_frames_that_are_none_end_the_connection(server):
    good = frame(uci_request())
    for bad in (b"PRPX" + good[4:], b"PRPC" + b"\xff" * 8, b"PRPC" + struct.pack(">II", 10, 11) + b"x" * 20, b"PRPC\0\0\0\5\0\0\0\5\xff\xff\xff\xff\xff"):
        with Connection(server.port) as c:
            c.socket.sendall(bad)
            assert closes(c.socket)
    still_serves(server)


def test_a_frame_cut_anywhere_hurts_nobody(server):
    good = frame(uci_request())
    for n in range(len(good)):
        with Connection(server.port) as c:
            c.socket.sendall(good[:n])
    still_serves(server)


def test_bodies_over_the_limit():
    from conftest import Server
    with Server("--model", f"uci={MODEL}", "--max-body-size", "4096") as s:
        with Connection(s.port) as c:
            try:
                c.socket.sendall(frame(uci_request(rows=100)))
            except OSError:
                pass
            assert closes(c.socket)
        bomb = gzip.compress(b"\0" * (600 << 20), 1)
        still_serves(s)
    with Server("--model", f"uci={MODEL}") as s:
        with Connection(s.port) as c:
            meta, _ = c.call(bomb, compress=GZIP)
            assert meta.response.error_code == 1003
        still_serves(s)


def test_ragged_ids_over_the_wire():
    """imdb_cnn's recorded case, LoD included."""
    from conftest import Server
    folder = ZOO / "imdb_cnn" / "pdmodel26"
    given, want = np.load(folder / "case_0.in.npz"), np.load(folder / "case_0.out.npz")
    request = PB["Request"]()
    request.tensor.add(int64_data=given["in0"].ravel().tolist(), elem_type=0, shape=list(given["in0"].shape), lod=given["in0_lod0"].tolist(), name="words")
    with Server("--model", folder) as s, Connection(s.port) as c:
        meta, r = c.call(request)
        assert meta.response.error_code == 0, meta.response.error_text
        got = np.float32(r.outputs[0].tensor[0].float_data).reshape(want["out0"].shape)
        np.testing.assert_allclose(got, want["out0"], atol=1e-5)
        request.tensor[0].lod[:] = []
        meta, _ = c.call(request)
        assert meta.response.error_code == 1003 and "ragged" in meta.response.error_text
        request.tensor[0].lod[:] = [0, int(given["in0"].shape[0])]
        request.tensor[0].int64_data[0] = 10**9
        meta, _ = c.call(request)
        assert meta.response.error_code == 1003 and "1000000000" in meta.response.error_text


@pytest.mark.parametrize("rows", [1300, 30000])  # below and above what a loop computes itself
@pytest.mark.parametrize("pieces", [(7, 5, 83, 40), (11, 90, 13, 4096), (40000, 1, 30000), (33000,)])
def test_large_frames_that_come_in_pieces(server, rows, pieces):
    """They are placed in the server's memory while they come; neighbours in front of and behind them are answered too."""
    small, large = frame(uci_request(), correlation=1), frame(uci_request(rows=rows), correlation=2)
    stream = small + large + small + large + large + small
    with Connection(server.port) as c:
        def send():
            at = 0
            for i in itertools.count():
                n = pieces[i % len(pieces)] if at < 200_000 else 1 << 20
                if at >= len(stream):
                    return
                c.socket.sendall(stream[at:at + n])
                at += n
        sender = threading.Thread(target=send)
        sender.start()
        got = []
        for _ in range(6):
            meta, payload = read_frame(c.socket)
            assert meta.response.error_code == 0, meta.response.error_text
            values = PB["Response"].FromString(payload).outputs[0].tensor[0].float_data
            got.append((meta.correlation_id, len(values)))
            assert values[0] == values[-1] == pytest.approx(18.901152, abs=1e-5)
        sender.join()
    assert sorted(got) == [(1, 1)] * 3 + [(2, rows)] * 3
