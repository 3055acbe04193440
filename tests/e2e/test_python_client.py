"""paddle_serving_client as Paddle Serving's users call it: results, shapes, refusals, several servers, variants."""
import collections
import os
import socket
import threading
import time

import numpy as np
import pytest

from python_site import SITE, script  # noqa: F401
from conftest import ROOT, ZOO, Server, assert_close, cases, run_oar
from oar import errors
from paddle_serving_client import Client, HttpClient, MultiLangClient, SDKConfig, io, metric

UCI = ROOT / "tests" / "data" / "uci_housing"
LSTM = ZOO / "imdb_lstm" / "pdmodel26"
ROW = np.array([0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332], "float32")
PRICE = 18.9011518


@pytest.fixture(scope="module")
def uci():
    with Server("--model", UCI) as s:
        yield s


def connected(server, config=UCI, **kw):
    c = Client()
    c.load_client_config(str(config))
    c.connect([server.address])
    return c


# ---- what comes back ----

@pytest.mark.parametrize("feed, batch", [
    ({"x": ROW}, False), ({"x": ROW[None]}, True), ([{"x": ROW}], False), ({"x": ROW.tolist()}, False), (ROW, False),
    ({"x": ROW.astype("float64")}, False), (ROW.tolist(), False),
])
@pytest.mark.parametrize("fetch", [["price"], "price", None, []])
def test_one_row(uci, feed, batch, fetch):
    got = connected(uci).predict(feed=feed, fetch=fetch, batch=batch)
    assert list(got) == ["price"]
    assert got["price"].shape == (1, 1) and got["price"].dtype == np.float32 and abs(got["price"][0, 0] - PRICE) < 1e-5


def test_a_batch(uci):
    got = connected(uci).predict(feed={"x": np.stack([ROW] * 5)}, fetch=["price"], batch=True)
    assert got["price"].shape == (5, 1)


def test_the_callers_dict_stays_as_it_is(uci):
    feed = {"x": ROW}
    c = connected(uci)
    assert c.predict(feed=feed)["price"] == c.predict(feed=feed)["price"] and feed["x"] is ROW


def test_lists_do_not_spoil_a_client(uci):
    """The original refused every call after one with lists and batch=True."""
    c = connected(uci)
    assert c.predict(feed={"x": [ROW.tolist()]}, batch=True)["price"].shape == (1, 1)
    assert c.predict(feed={"x": ROW[None]}, batch=True)["price"].shape == (1, 1)


def test_tag_and_log_id(uci):
    got = connected(uci).predict(feed={"x": ROW}, fetch=["price"], need_variant_tag=True, log_id=7)
    assert isinstance(got, list) and abs(got[0]["price"][0, 0] - PRICE) < 1e-5 and got[1].startswith("default_tag_")


def test_the_tag_is_the_variant_that_the_server_chose(tmp_path):
    """Traffic that the server divides: the client's tag says who answered, unless the client divides by itself."""
    with Server("--model", f"uci={UCI}") as server:
        (tmp_path / "traffic.json").write_text('{"variants": [{"tag": "fresh"}]}')
        assert run_oar("ab", server.address, "uci", "--config", tmp_path / "traffic.json").returncode == 0
        assert connected(server).predict(feed={"x": ROW}, need_variant_tag=True)[1] == "fresh"
        own = Client()
        own.load_client_config(str(UCI))
        own.add_variant("mine", [server.address], 1)
        own.connect()
        assert own.predict(feed={"x": ROW}, need_variant_tag=True)[1] == "mine"


def test_ragged_rows():
    """words with words.lod, as recorded by the framework; and ids alone, which are one sequence."""
    with Server("--model", LSTM) as server:
        c = connected(server, LSTM)
        for case_in, case_out in cases(LSTM):
            given, want = np.load(case_in), np.load(case_out)
            got = c.predict(feed={"words": given["in0"], "words.lod": given["in0_lod0"]}, batch=True)
            assert_close(next(iter(got.values())), want["out0"])
        one = c.predict(feed={"words": [8, 233, 52, 401]})
        same = c.predict(feed={"words": np.array([[8], [233], [52], [401]]), "words.lod": [0, 4]}, batch=True)
        assert np.array_equal(next(iter(one.values())), next(iter(same.values())))


# ---- what is refused, and how ----

@pytest.mark.parametrize("call, words", [
    (lambda c: c.predict(), "You should specify feed for prediction"),
    (lambda c: c.predict(feed={"y": ROW}), "Wrong feed name: y. The client's configuration has \\['x'\\]"),
    (lambda c: c.predict(feed={"x": [1.0, 2.0]}), "The shape of feed tensor x not match. It has 2 values"),
    (lambda c: c.predict(feed=3), "Feed only accepts dict and list of dict"),
    (lambda c: c.predict(feed=[{"x": ROW}, {"x": ROW}]), "batch=True"),
    (lambda c: c.predict(feed={"x": ROW}, fetch=3), "Fetch only accepts string or list of string"),
    (lambda c: c.predict(feed={"x": ROW}, fetch=[3]), "Fetch only accepts string or list of string"),
    (lambda c: c.predict(feed={"x.lod": [0, 1]}), "gives offsets for 'x', which is not fed"),
    (lambda c: c.set_rpc_timeout_ms("1"), "rpc_timeout must be int type"),
])
def test_misuse_says_what_to_do(uci, call, words):
    with pytest.raises(ValueError, match=words):
        call(connected(uci))


def test_before_configuration_and_connection(uci, tmp_path):
    c = Client()
    with pytest.raises(ValueError, match="load_client_config"):
        c.predict(feed={"x": ROW})
    with pytest.raises(ValueError, match="You must set the endpoints parameter or use add_variant"):
        c.connect()
    c.load_client_config(str(UCI))
    with pytest.raises(ValueError, match="call connect before predict"):
        c.predict(feed={"x": ROW})
    with pytest.raises(FileNotFoundError, match="serving_client_conf.prototxt"):
        c.load_client_config(str(tmp_path))
    (tmp_path / "serving_client_conf.prototxt").write_text("feed_var { nme: 'x' }")
    with pytest.raises(ValueError, match="nme"):
        c.load_client_config(str(tmp_path))
    with pytest.raises(ValueError, match="port"):
        c.connect(["localhost"])


def test_an_unknown_fetch_name_is_left_out_and_told(uci):
    with pytest.warns(UserWarning, match="does not give \\['prise'\\].*it gives \\['price'\\]"):
        assert list(connected(uci).predict(feed={"x": ROW}, fetch=["price", "prise"])) == ["price"]


def test_none_and_the_reason(uci):
    """Where the original's predict returned None."""
    c = connected(uci)
    assert c.predict(feed={"x": ROW[:5]}) is None
    assert isinstance(c.last_error, errors.InvalidArgument) and "expected float32 [-1, 13], got float32 [1, 5]" in str(c.last_error)
    assert c.predict(feed={"x": ROW}) is not None and c.last_error is None
    dead = Client()
    dead.load_client_config(str(UCI))
    dead.connect(["127.0.0.1:1"])
    assert dead.predict(feed={"x": ROW}, need_variant_tag=True) is None
    assert isinstance(dead.last_error, errors.Unavailable) and "127.0.0.1:1: cannot connect" in str(dead.last_error)


@pytest.mark.parametrize("old, new, feed, words", [
    ("feed_type: 1", "feed_type: 0", {"x": ROW}, "expected float32"),         # a wrong type in the configuration
    ("is_lod_tensor: false", "is_lod_tensor: true", {"x": ROW}, "[-1, 13]"),  # or a ragged variable that is none
    ("shape: 13", "shape: 12", {"x": list(range(12))}, "[-1, 13]"),           # or another model's shape
])
def test_a_wrong_configuration_is_told_by_the_server(uci, tmp_path, old, new, feed, words):
    """The original gave garbage, or crashed."""
    text = (UCI / "serving_server_conf.prototxt").read_text()
    assert old in text
    (tmp_path / "serving_client_conf.prototxt").write_text(text.replace(old, new, 1))
    c = connected(uci, tmp_path)
    assert c.predict(feed=feed) is None
    assert isinstance(c.last_error, errors.InvalidArgument) and words in str(c.last_error), c.last_error
    assert connected(uci).predict(feed={"x": ROW}) is not None


def test_what_is_missing_is_named(uci):
    """Feeds go by name, and one that is not given is told; HttpClient takes host names."""
    c = connected(uci)
    assert c.predict(feed={}) is None and "x" in str(c.last_error)
    h = HttpClient()
    h.load_client_config(str(UCI))
    h.connect([f"localhost:{uci.port}"])
    assert abs(h.predict(feed={"x": ROW}).outputs[0].tensor[0].float_data[0] - PRICE) < 1e-5


def test_a_timeout_is_none():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        c = Client()
        c.load_client_config(str(UCI))
        c.set_rpc_timeout_ms(200)
        c.connect([f"127.0.0.1:{mute.getsockname()[1]}"])
        begin = time.monotonic()
        assert c.predict(feed={"x": ROW}) is None
        assert isinstance(c.last_error, errors.TimedOut) and time.monotonic() - begin < 2


# ---- several servers ----

def test_a_dead_server_loses_no_call(uci):
    """The original lost calls while its balancer found out."""
    c = Client()
    c.load_client_config(str(UCI))
    c.connect(["127.0.0.1:1", uci.address])
    assert all(c.predict(feed={"x": ROW}) is not None for _ in range(200))


def test_a_server_that_comes_back_is_used_again():
    s = Server("--model", UCI).wait_ready()
    c = connected(s)
    assert c.predict(feed={"x": ROW}) is not None
    s.stop()
    assert c.predict(feed={"x": ROW}) is None
    with Server("--model", UCI, port=s.port):
        assert c.predict(feed={"x": ROW}) is not None


def test_variants_by_weight(uci):
    c = Client()
    c.load_client_config(str(UCI))
    c.add_variant("a", [uci.address], 20)
    c.add_variant("b", [uci.address], "80")
    c.add_variant("never", ["127.0.0.1:1"], 0)
    c.connect()
    tags = collections.Counter(c.predict(feed={"x": ROW}, need_variant_tag=True)[1] for _ in range(500))
    assert set(tags) == {"a", "b"} and 50 < tags["a"] < 160


def test_a_variant_by_key_and_without_its_servers(uci):
    """The same key means the same variant, in shares by weight; a variant that nobody serves leaves its calls to another."""
    c = Client()
    c.load_client_config(str(UCI))
    c.add_variant("a", [uci.address], 30)
    c.add_variant("b", [uci.address], 70)
    c.connect()
    tags = collections.Counter()
    for key in range(200):
        c.set_variant_key(f"user {key}")
        (tag,) = {c.predict(feed={"x": ROW}, need_variant_tag=True)[1] for _ in range(3)}
        tags[tag] += 1
    assert 30 < tags["a"] < 90
    c = Client()
    c.load_client_config(str(UCI))
    c.add_variant("gone", ["127.0.0.1:1"], 90)
    c.add_variant("here", [uci.address], 10)
    c.connect()
    assert {c.predict(feed={"x": ROW}, need_variant_tag=True)[1] for _ in range(20)} == {"here"}


def test_nested_offsets_travel():
    """[[0, 2, 3], [0, 1, 4, 6]] and the same in one list, there and back; a server that wants one level says so."""
    import http.server
    import oar
    from paddle_serving_client.proto import general_model_service_pb2 as pb
    seen = []

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = pb.Request.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(list(request.tensor[0].lod))
            response = pb.Response()
            response.outputs.add().tensor.append(request.tensor[0])
            body = response.SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/proto")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    flat, words = [0, 2, 3, 0, 1, 4, 6], np.arange(6).reshape(6, 1)
    folder = ZOO / "imdb_lstm" / "pdmodel26"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo, Server("--model", folder) as server:
        threading.Thread(target=echo.serve_forever, daemon=True).start()
        client = oar.Client(f"127.0.0.1:{echo.server_address[1]}", protocol="http")
        for lod in ([[0, 2, 3], [0, 1, 4, 6]], flat, [np.array([0, 2, 3]), (0, 1, 4, 6)]):
            assert client.infer({"words": words, "words.lod": lod})["words.lod"].tolist() == flat
        assert seen == [flat] * 3
        echo.shutdown()
        c = connected(server, folder)
        assert c.predict({"words": words, "words.lod": [[0, 2, 3], [0, 1, 4, 6]]}, batch=True) is None
        assert "got 2" in str(c.last_error)
        with pytest.raises(errors.OarError, match="LoD level 0 must end at 3"):
            client.infer({"words": words, "words.lod": [[0, 2, 4], [0, 1, 4, 6]]})


@pytest.mark.parametrize("policy", ["la", "rr", "random", "least_loaded", "consistent_hash"])
def test_every_balancing_policy_uses_every_server(uci, policy):
    with Server("--model", UCI) as other:
        c = Client()
        c.load_client_config(str(UCI))
        c.set_load_balance_strategy(policy)
        c.connect([uci.address, other.address])
        group = c._groups[0][1]
        used = collections.Counter(group.choose().address for _ in range(300))
        assert len(used) == 2
        assert all(c.predict(feed={"x": ROW}) is not None for _ in range(20))
    with pytest.raises(errors.InvalidArgument, match="no load balancing 'best'"):
        c.set_load_balance_strategy("best")


def test_one_client_for_many_threads(uci):
    """Unsafe in the original."""
    c, faults = connected(uci), []

    def work(seed):
        rows = np.random.default_rng(seed).normal(size=(seed + 1, 13)).astype("float32")
        want = c.predict(feed={"x": rows}, batch=True)["price"]
        for _ in range(100):
            got = c.predict(feed={"x": rows}, batch=True)
            if got is None or not np.array_equal(got["price"], want):
                faults.append(c.last_error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults


def test_a_forked_child_has_its_own_connections(uci):
    c = connected(uci)
    c.predict(feed={"x": ROW})
    child = os.fork()
    if child == 0:
        ok = all(abs(c.predict(feed={"x": ROW})["price"][0, 0] - PRICE) < 1e-5 for _ in range(200))
        os._exit(0 if ok else 1)
    assert all(abs(c.predict(feed={"x": ROW})["price"][0, 0] - PRICE) < 1e-5 for _ in range(200))
    assert os.waitpid(child, 0)[1] == 0


# ---- HttpClient ----

def http(server, **settings):
    h = HttpClient()
    h.load_client_config(str(UCI))
    for name, value in settings.items():
        getattr(h, name)(value)
    h.connect([server.address.replace("127.0.0.1", "localhost")])
    return h


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("batch, value", [(True, ROW[None]), (False, ROW), (False, ROW.tolist()), (True, [ROW.tolist()])])
def test_http(uci, compress, batch, value):
    settings = dict(set_request_compress=compress, set_response_compress=compress, set_max_retries=2)
    r = http(uci, **settings).predict(feed={"x": value}, fetch=["price"], batch=batch, log_id=3)
    assert abs(r.outputs[0].tensor[0].float_data[0] - PRICE) < 1e-5 and r.outputs[0].tensor[0].alias_name == "price"
    r = http(uci, set_http_proto=False, **settings).predict(feed={"x": value}, fetch=["price"], batch=batch)
    assert abs(r["outputs"][0]["tensor"][0]["float_data"][0] - PRICE) < 1e-5


def test_http_compresses_large_bodies(uci):
    rows = np.stack([ROW] * 100)
    r = http(uci, set_request_compress=True, set_response_compress=True).predict(feed={"x": rows}, fetch="price", batch=True)
    assert list(r.outputs[0].tensor[0].shape) == [100, 1]


@pytest.mark.parametrize("call, words", [
    (lambda h: h.predict(), "You should specify feed"),
    (lambda h: h.predict(feed={"y": ROW}), "Wrong feed name: y"),
    (lambda h: h.predict(feed={"x": "text"}), "feed_type 20"),
    (lambda h: h.predict(feed={"x": ROW}, fetch={"price"}), "Fetch only accepts string/list/tuple of string"),
    (lambda h: h.predict(feed=3), "Feed only accepts dict/str/list/tuple"),
    (lambda h: h.connect("localhost"), "url not right"),
    (lambda h: h.connect(["a:1", "b:2"]), "HttpClient only support 1 endpoint"),
    (lambda h: h.set_timeout_ms(0.5), "timeout_ms must be int type"),
    (lambda h: h.set_max_retries(-1), "0 or more"),
])
def test_http_misuse(uci, call, words):
    with pytest.raises(ValueError, match=words):
        call(http(uci))


def test_http_none_and_the_reason(uci, capsys):
    h = http(uci)
    assert h.predict(feed={"x": ROW[:5]}) is None and "http post error" in capsys.readouterr().out
    assert h.last_error.code == 400 and "float32 [-1, 13]" in str(h.last_error)
    h.connect("127.0.0.1:1")
    assert h.predict(feed={"x": ROW}) is None and isinstance(h.last_error, errors.Unavailable)
    h.add_http_headers(["not a dict"])
    assert "headers must be a dict" in capsys.readouterr().out


def test_misuse_before_the_first_call():
    for make, words in ((lambda: Client().get_feed_names(), "call load_client_config first"),
                        (lambda: HttpClient().get_fetch_names(), "call load_client_config first"),
                        (lambda: Client().connect(9292), "endpoints is a list of 'host:port', not int"),
                        (lambda: Client().add_variant("a", ["127.0.0.1:1"], "much"), "variant 'a': a weight is a whole number")):
        with pytest.raises(ValueError, match=words):
            make()


def test_feeds_that_are_no_numbers_are_named(uci):
    c = connected(uci)
    for wrong in ("abc", ["a"] * 13, {}):
        with pytest.raises((TypeError, ValueError), match="feed 'x': "):
            c.predict(feed={"x": wrong})
    with pytest.raises(ValueError, match="feed 'x': "):
        http(uci).predict(feed={"x": {}})
    assert c.predict(feed={"x": ROW[:5]}) is None
    assert str(c.last_error) == (f"{uci.address}: the server refused with code 1003 (invalid argument): feed 'x': "
                                 "expected float32 [-1, 13], got float32 [1, 5]")


def test_messages_and_stubs_under_their_old_names(uci):
    from paddle_serving_client.proto import general_model_service_pb2
    from paddle_serving_server.pipeline.proto import pipeline_service_pb2, pipeline_service_pb2_grpc
    from paddle_serving_server.proto import general_model_config_pb2, general_model_service_pb2_grpc, server_configure_pb2
    assert pipeline_service_pb2.Request(name="uci").name == "uci" and pipeline_service_pb2_grpc.PipelineServiceStub
    assert server_configure_pb2.EngineDesc().batch_infer_size == 32 and general_model_config_pb2.GeneralModelConfig()
    grpc = pytest.importorskip("grpc")
    request = general_model_service_pb2.Request(fetch_var_names=["price"])
    request.tensor.add(name="x", alias_name="x", elem_type=1, shape=[1, 13], float_data=ROW.tolist())
    with grpc.insecure_channel(uci.address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        reply = general_model_service_pb2_grpc.GeneralModelServiceStub(channel).inference(request, timeout=20)
    assert abs(reply.outputs[0].tensor[0].float_data[0] - PRICE) < 1e-5


def test_http_client_over_grpc(uci):
    h = http(uci, set_use_grpc_client=True)
    r = h.predict(feed={"x": ROW}, fetch=["price"])
    assert abs(r.outputs[0].tensor[0].float_data[0] - PRICE) < 1e-5 and h.last_error is None
    assert h.predict(feed={"x": ROW[:5]}, fetch=["price"]) is None and isinstance(h.last_error, errors.InvalidArgument)
    h.set_request_compress(True)  # of what is worth it
    rows = np.tile(ROW, (100, 1))
    assert len(h.predict(feed={"x": rows}, batch=True).outputs[0].tensor[0].float_data) == 100
    h.set_max_body_size(1000)
    assert h.predict(feed={"x": rows}, batch=True) is None and "set_max_body_size allows 1000" in str(h.last_error)
    h.set_max_body_size(512 << 20)
    h.connect("127.0.0.1:1")
    assert h.predict(feed={"x": ROW}) is None and isinstance(h.last_error, errors.Unavailable)


# ---- the rest of the package ----

def test_multi_lang_client(uci):
    c = MultiLangClient()
    c.connect([uci.address])
    got = c.predict(feed={"x": ROW[None]}, fetch=["price"])
    assert got["serving_status_code"] == 0 and abs(got["price"][0, 0] - PRICE) < 1e-5
    done = []
    future = c.predict(feed={"x": ROW[None]}, fetch=["price"], asyn=True)
    future.add_done_callback(done.append)
    assert abs(future.result()["price"][0, 0] - PRICE) < 1e-5 and done
    assert c.predict(feed={"x": ROW[None, :3]}, fetch=["price"])["serving_status_code"] == 3
    with pytest.raises(Exception, match="cannot support ABtest yet"):
        c.add_variant("a", [], 1)


def test_sdk_config():
    sdk = SDKConfig()
    sdk.add_server_variant("a", ["h:1", "h:2"], 30)
    sdk.add_server_variant("b", ["h:3"], 70)
    d = sdk.gen_desc(5000)
    assert d.predictors[0].weighted_random_render_conf.variant_weight_list == "30|70"
    assert [v.naming_conf.cluster for v in d.predictors[0].variants] == ["list://h:1,h:2", "list://h:3"]
    assert d.default_variant_conf.connection_conf.rpc_timeout_ms == 5000


def test_metrics():
    assert metric.auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert metric.auc([1, 0], [0.5, 0.5]) == 0.5
    assert metric.acc([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("form", ["pdmodel26", "legacy_combined"])
def test_convert_without_the_framework(tmp_path, form):
    """A saved model, the command line, a server on what it wrote, a client on what it wrote."""
    source = ZOO / "fit_a_line" / form
    if not source.exists():
        pytest.skip(f"no {source}")
    done = script("-m", "paddle_serving_client.convert", "--dirname", source, "--feed_alias_names", "row", "--fetch_alias_names",
                  "price", "--serving_server", tmp_path / "s", "--serving_client", tmp_path / "c")
    assert done.stdout == ""
    assert (tmp_path / "c" / "serving_client_conf.prototxt").read_bytes() == (tmp_path / "s" / "serving_server_conf.prototxt").read_bytes()
    given, want = (np.load(p) for p in cases(source)[0])
    with Server("--model", tmp_path / "s") as server:
        got = connected(server, tmp_path / "c").predict(feed={"row": given["in0"]}, fetch=["price"], batch=True)
    assert_close(got["price"], want["out0"])


def test_convert_says_what_is_wrong(tmp_path):
    done = script("-m", "paddle_serving_client.convert", "--dirname", tmp_path, check=False)
    assert done.returncode == 1 and "holds no model" in done.stderr
    with pytest.raises(ValueError, match="should be same size with feed_vars and"):
        io.inference_model_to_serving(str(ZOO / "fit_a_line" / "pdmodel26"), feed_alias_names="a,b", show_proto=True)
    (tmp_path / "a.pdmodel").write_bytes(b"\xff\xff")
    (tmp_path / "b.pdmodel").write_bytes(b"")
    with pytest.raises(ValueError, match="holds 2 models .a.pdmodel, b.pdmodel.; say which"):
        io.inference_model_to_serving(str(tmp_path))
    with pytest.raises(ValueError, match="not a Paddle program"):
        io.inference_model_to_serving(str(tmp_path), model_filename="a.pdmodel")


def test_show_proto_writes_nothing(tmp_path):
    done = script("-m", "paddle_serving_client.convert", "--dirname", ZOO / "imdb_lstm" / "pdmodel26", "--show_proto", "True",
                  cwd=tmp_path)
    assert 'name: "words"' in done.stdout and "is_lod_tensor: true" in done.stdout and not list(tmp_path.iterdir())
