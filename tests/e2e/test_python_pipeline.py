"""Pipelines: graphs of Ops in threads and processes, batching, timeouts, retries, faults, both faces."""
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import requests

from python_site import SITE, script
from oar import _proto
from conftest import ROOT, free_port
from paddle_serving_server.pipeline import LocalServiceHandler, Op, PipelineClient, PipelineServer, RequestOp, ResponseOp
from paddle_serving_server.pipeline.operator import join, split
from paddle_serving_server.pipeline.pipeline_client import METHOD
from paddle_serving_server.pipeline.pipeline_server import op_conf
from test_python_server import UCI, running

TEXT = "0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332"

# The original's smallest example, character for character; config.yml is the test's.
SIMPLE_WEB_SERVICE = '''
from paddle_serving_server.web_service import WebService, Op
import numpy as np
import sys


class UciOp(Op):
    def init_op(self):
        self.separator = ","
        self.batch_separator = ";"

    def preprocess(self, input_dicts, data_id, log_id):
        (_, input_dict), = input_dicts.items()
        x_value = input_dict["x"].split(self.batch_separator)
        x_lst = []
        for x_val in x_value:
            x_lst.append(
                np.array([float(x.strip()) for x in x_val.split(self.separator)
                          ]).reshape(1, 13))
        input_dict["x"] = np.concatenate(x_lst, axis=0)
        proc_dict = {}
        return input_dict, False, None, ""

    def postprocess(self, input_dicts, fetch_dict, data_id, log_id):
        fetch_dict["price"] = str(fetch_dict["price"])
        return fetch_dict, None, ""


class UciService(WebService):
    def get_pipeline_response(self, read_op):
        uci_op = UciOp(name="uci", input_ops=[read_op])
        return uci_op


uci_service = UciService(name="uci")
uci_service.prepare_pipeline_config(sys.argv[1])
uci_service.run_service()
'''

# detect -> crop -> recognise in shape: lists of mini batches, process ops, two models side by side, joined at the end.
GRAPH = '''
import os, sys, time, json
import numpy as np
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer

class Detect(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, given), = input_dicts.items()
        if given.get("die"):
            os.kill(os.getpid(), 9)
        if given.get("raise"):
            raise KeyError("of the hook")
        if given.get("product"):
            return {}, True, 61, "a fault of the product's own"
        x = np.array([[float(v) for v in given["x"].split(",")]], "float32")
        self.seen = getattr(self, "seen", 0) + 1
        if given.get("slow"):
            time.sleep(float(given["slow"]))
        return {"x": x, "wrong": x} if given.get("wrong") else {"x": x}, False, None, ""
    def postprocess(self, input_dicts, fetch_dict, data_id, log_id):
        return {"price": fetch_dict["price"], "pid": str(os.getpid())}, None, ""

class Recognise(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, given), = input_dicts.items()
        return [{"x": np.full((n + 1, 13), n, "float32")} for n in range(3)], False, None, ""
    def postprocess(self, input_dicts, fetch_data, data_id, log_id):
        return {"rows": np.array([len(f["price"]) for f in fetch_data])}, None, ""

class Combine(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        return {"sum": input_dicts["detect"]["price"].sum() + input_dicts["recognise"]["rows"].sum(),
                "pid": input_dicts["detect"]["pid"]}, True, None, ""
    def postprocess(self, input_dicts, fetch_dict, data_id, log_id):
        return {"sum": "%.4f" % fetch_dict["sum"], "pid": fetch_dict["pid"]}, None, ""

read = RequestOp()
detect = Detect(name="detect", input_ops=[read])
recognise = Recognise(name="recognise", input_ops=[detect])
combine = Combine(name="combine", input_ops=[detect, recognise])
server = PipelineServer("ocr")
server.set_response_op(ResponseOp(input_ops=[combine]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''


def local(kind="local_predictor", **more):
    return {"local_service_conf": {"model_config": str(UCI), "client_type": kind, "fetch_list": ["price"]}, **more}


def graph_conf(rpc, http, threads, **more):
    return json.dumps({"rpc_port": rpc, "http_port": http, "dag": {"is_thread_op": threads, **more.pop("dag", {})},
                       "op": {"detect": local(**{"concurrency": 3, **more}), "recognise": local(concurrency=2), "combine": {}}})


def post(port, name="ocr", **data):
    body = {"key": list(data), "value": list(data.values())}
    return requests.post(f"http://127.0.0.1:{port}/{name}/prediction", json=body, timeout=30).json()


def assert_grpcs_own_client_is_answered(port):
    try:
        import grpc
    except ImportError:
        return
    m = _proto.pipeline()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_unary(METHOD, request_serializer=m["Request"].SerializeToString, response_deserializer=m["Response"].FromString)
        assert ask(m["Request"](name="uci", method="prediction", key=["x"], value=[TEXT]), timeout=20).value == ["[[18.901152]]"]


def test_pipeline_client_asks_grpcs_own_server():
    grpc = pytest.importorskip("grpc")
    m = _proto.pipeline()

    def answer(request, context):
        if request.key[0] == "refuse":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not that")
        return m["Response"](key=request.key, value=request.value)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 64 << 20)])
    handler = grpc.unary_unary_rpc_method_handler(answer, m["Request"].FromString, m["Response"].SerializeToString)
    service, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        client = PipelineClient()
        client.connect(["127.0.0.1:1", f"127.0.0.1:{port}"])  # nobody is at the first one
        large = "x" * (3 << 20)
        assert client.predict({"a": large}).value == [large]
        futures = [client.predict({"n": str(i)}, asyn=True) for i in range(100)]
        assert [f.result().value[0] for f in futures] == [str(i) for i in range(100)]
        refused = client.predict({"refuse": "1"})
        assert refused.err_no == 9000 and refused.err_msg.endswith("refused with code 3 (invalid argument): not that")
    finally:
        server.stop(0).wait()
    gone = client.predict({"a": "1"})
    assert gone.err_no == 9000 and "cannot connect" in gone.err_msg


@pytest.mark.parametrize("kind, threads", [("local_predictor", "false"), ("local_predictor", "true"), ("brpc", "true")])
def test_the_smallest_pipeline(tmp_path, kind, threads):
    """/uci/prediction over HTTP and PipelineClient, from a config.yml, each in one listener."""
    rpc, http = free_port(), free_port()
    (tmp_path / "config.yml").write_text(f"""
worker_num: 4
rpc_port: {rpc}
http_port: {http}
dag:
    is_thread_op: {threads}
    tracer:
        interval_s: 1
op:
    uci:
        concurrency: 2
        local_service_conf:
            model_config: {UCI}
            workdir: {tmp_path}/w
            client_type: {kind}
            device_type: 0
            fetch_list: ["price"]
""")
    (tmp_path / "web_service.py").write_text(SIMPLE_WEB_SERVICE)
    with running(["web_service.py", "config.yml"], [rpc, http], tmp_path):
        assert post(http, "uci", x=TEXT) == {"err_no": 0, "err_msg": "", "key": ["price"], "value": ["[[18.901152]]"], "tensors": []}
        client = PipelineClient()
        client.connect([f"127.0.0.1:{rpc}"])
        assert client.predict(feed_dict={"x": TEXT}, fetch=["price"]).value[0] == "[[18.901152]]"
        assert client.predict(feed_dict={"x": TEXT + ";" + TEXT}, fetch=["price"], asyn=True).result().value[0].count("18.9") == 2
        assert_grpcs_own_client_is_answered(rpc)
        for port in (rpc, http):
            listening = [line for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")
                         if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
            assert len(listening) == 1
        wrong = post(http, "other", x=TEXT)
        assert wrong["err_no"] == 3002 and wrong["err_msg"] == "Failed to inference: Service name error."
        bad = post(http, "uci", x="1,2")
        assert bad["err_no"] == 10000 and "Raise_msg: cannot reshape" in bad["err_msg"] and "FunctionName: preprocess" in bad["err_msg"]


def prepared(conf, **op):
    server = PipelineServer("x")
    server.set_response_op(ResponseOp(input_ops=[Op(name="uci", input_ops=[RequestOp()], **op)]))
    server.prepare_server(yml_dict={"rpc_port": free_port(), **conf})
    return server


@pytest.mark.parametrize("conf, words", [
    ({"op": [1]}, "[CONF] op must be a map, but get list"), ({"dag": 5}, "[CONF] dag must be a map, but get int"),
    ({"dag": {"tracer": 5}}, "[CONF] dag.tracer must be a map"), ({"dag": {"tracer": {"interval_s": "x"}}}, "dag.tracer.interval_s must be int"),
    ({"op": {"uci": {"client_type": "soap"}}}, "client_type is one of local_predictor, brpc"),
    ({"op": {"uci": {"local_service_conf": {"model_config": "/nowhere"}}}}, "op.uci: model_config '/nowhere' is not there"),
])
def test_configurations_that_cannot_be(conf, words):
    with pytest.raises(SystemExit) as e:
        prepared(conf)
    assert words in str(e.value)


def test_an_operator_that_the_graph_has_not_is_named(capsys):
    prepared({"op": {"ucy": {"concurrency": 2}}})
    assert "[CONF] op.ucy is of no operator of this graph, which has ['uci']" in capsys.readouterr().err


def test_what_a_local_service_is_told(capsys):
    conf = op_conf({"local_service_conf": {"model_config": str(UCI), "client_type": "local_predictor", "precision": "bf16", "thread_num": 3,
                                           "device_type": 1, "devices": "0,1"}}, "uci")
    assert "op.uci.local_service_conf: without effect here (Oar runs models on the CPU): devices device_type" in capsys.readouterr().err
    assert conf["predictor"]["precision"] == "bf16" and conf["predictor"]["thread_num"] == 3
    assert op_conf({"local_service_conf": {"model_config": str(UCI), "device_type": 0}}, "uci")["predictor"]["thread_num"] == 1
    conf = op_conf(None, "uci", LocalServiceHandler(str(UCI), fetch_names=["price"], thread_num=1))
    assert conf["model_config"] == str(UCI) and conf["fetch_list"] == ["price"] and conf["client_type"] == "local_predictor"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("threads", [True, False])
def test_a_graph(tmp_path, threads):
    rpc, http = free_port(), free_port()
    with running(["-c", GRAPH, graph_conf(rpc, http, threads)], [http], tmp_path):
        got = post(http, x=TEXT)
        assert got["err_no"] == 0 and got["value"][0] == f"{18.901152 + 6:.4f}"
        assert post(http, **{"raise": "1"})["err_msg"].startswith("Log_id: 0  Raise_msg: 'of the hook'  ClassName: Detect")
        assert post(http, product="1") == {"err_no": 61, "err_msg": "a fault of the product's own", "key": [], "value": [], "tensors": []}
        wrong = post(http, x=TEXT, wrong="1")
        assert wrong["err_no"] == 5000 and "invalid arg list: ['feed_batch']" in wrong["err_msg"] and "['x']" in wrong["err_msg"]
        mixed = requests.post(f"http://127.0.0.1:{http}/ocr/prediction", json={"key": ["x"], "value": []}, timeout=5).json()
        assert mixed["err_no"] == 8000 and "each key has one value" in mixed["err_msg"]
        assert requests.post(f"http://127.0.0.1:{http}/ocr/prediction", data="[", timeout=5).status_code == 400
        assert requests.post(f"http://127.0.0.1:{http}/ocr", data="{}", timeout=5).status_code == 404


def test_killed_workers_lose_no_request_without_an_error(tmp_path):
    """Process ops under load while their workers are killed: every request is answered, rightly or with words."""
    rpc, http = free_port(), free_port()
    stop, answers = threading.Event(), []

    def load():
        while not stop.is_set():
            answers.append(post(http, x=TEXT))

    with running(["-c", GRAPH, graph_conf(rpc, http, False)], [http], tmp_path):
        threads = [threading.Thread(target=load) for _ in range(6)]
        for t in threads:
            t.start()
        killed = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            time.sleep(0.15)
            pids = {a["value"][1] for a in answers[-20:] if a["err_no"] == 0}
            for pid in list(pids)[:1]:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
        stop.set()
        for t in threads:
            t.join()
        good = [a for a in answers if a["err_no"] == 0]
        bad = [a for a in answers if a["err_no"] != 0]
        assert killed >= 5 and len(good) > 50 and all(a["value"][0] == f"{18.901152 + 6:.4f}" for a in good)
        assert len(bad) <= killed * 2 and all("ended; send it again" in a["err_msg"] for a in bad), bad[:3]
        begin = time.monotonic()
        assert post(http, die="1")["err_no"] == 10000
        assert post(http, x=TEXT)["err_no"] == 0 and time.monotonic() - begin < 1


def test_timeouts_and_retries(tmp_path):
    """An op's timeout bounds its model call; a retry from the configuration happens."""
    rpc, http = free_port(), free_port()
    source = '''
import json, sys, time
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer
calls = []
class Slow(Op):
    def process(self, feed_batch, typical_logid=0):
        calls.append(1)
        time.sleep(0.05 if len(calls) % 2 == 0 and feed_batch.get("heal") else 0.5)
        return {"n": str(len(calls))}, 0, ""
server = PipelineServer("s")
server.set_response_op(ResponseOp(input_ops=[Slow(name="slow", input_ops=[RequestOp()])]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''
    conf = json.dumps({"rpc_port": rpc, "http_port": http, "op": {"slow": {"timeout": 200, "retry": 2}}})
    with running(["-c", source, conf], [http], tmp_path):
        got = post(http, "s", a="1")
        assert got["err_no"] == 6000 and "no result within 200 ms in 2 attempts" in got["err_msg"]
        assert post(http, "s", heal="1") == {"err_no": 0, "err_msg": "", "key": ["n"], "value": ["4"], "tensors": []}


def test_batches_are_joined_and_split(tmp_path):
    """Requests that wait together run the model once; a full batch is not waited for without end."""
    rpc, http = free_port(), free_port()
    source = '''
import json, sys
import numpy as np
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer
class Batch(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, given), = input_dicts.items()
        return {"x": np.full((int(given["rows"]), int(given["width"])), float(given["v"]), "float32")}, False, None, ""
    def process(self, feed_batch, typical_logid=0):
        n = len(feed_batch["x"])
        return {"y": feed_batch["x"] * 2, "size": np.full((n, 1), n)}, 0, ""
    def postprocess(self, input_dicts, fetch_dict, data_id, log_id):
        return {"y": str(fetch_dict["y"].shape) + str(fetch_dict["y"].max()), "size": str(fetch_dict["size"].max())}, None, ""
server = PipelineServer("s")
server.set_response_op(ResponseOp(input_ops=[Batch(name="b", input_ops=[RequestOp()])]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''
    conf = json.dumps({"rpc_port": rpc, "http_port": http, "op": {"b": {"batch_size": 8, "auto_batching_timeout": 100}}})
    with running(["-c", source, conf], [http], tmp_path):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [(i, 2 + i % 2, pool.submit(post, http, "s", rows=str(i + 1), width=str(2 + i % 2), v=str(i))) for i in range(8)]
            got = [(i, width, j.result()) for i, width, j in jobs]
        for i, width, g in got:
            assert g["err_no"] == 0 and g["value"][0] == f"({i + 1}, {width}){2.0 * i}"
        assert max(int(g["value"][1]) for _, _, g in got) > 8
    conf = json.dumps({"rpc_port": rpc, "http_port": http, "op": {"b": {"batch_size": 8}}})
    with running(["-c", source, conf], [http], tmp_path):
        begin = time.monotonic()
        assert post(http, "s", rows="1", width="2", v="1")["err_no"] == 0 and time.monotonic() - begin < 1


def until_there(path, seconds=5):
    end = time.monotonic() + seconds
    while not (path.exists() and path.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    return path.read_text()


def test_what_a_pipeline_tells(tmp_path):
    """Metrics on prometheus_port, the tracer's block, benchmark.log, PROFILE lines, logs; and the tools that read them."""
    rpc, http, metrics = free_port(), free_port(), free_port()
    conf = graph_conf(rpc, http, False, dag={"enable_prometheus": True, "prometheus_port": metrics, "use_profile": True,
                                             "tracer": {"interval_s": 1}})
    with running(["-c", GRAPH, conf], [http, metrics], tmp_path, FLAGS_profile_pipeline="1", SERVING_LOG_PATH=f"{tmp_path}/") as p:
        for _ in range(5):
            assert post(http, x=TEXT)["err_no"] == 0
        assert post(http, **{"raise": "1"})["err_no"] == 10000
        profile = post(http, x=TEXT, **{"pipeline.profile": "1"})
        line = dict(zip(profile["key"], profile["value"]))["pipeline.profile"]
        for mark in ("call_", "prepack_", "postpack_", "in#detect_0", "prep#recognise_1", "midp#detect_0", "postp#combine_1", "out#combine_1"):
            assert mark in line, line
        said = requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=5).text
        assert 'pd_query_request_success_total{model="ocr",version="0"} 6\n' in said
        assert 'pd_query_request_failure_total{model="ocr",version="0"} 1\n' in said
        assert 'oar_crew_operator_requests_total{operator="recognise"} 6\n' in said and "oar_crew_workers 6\n" in said
        logs = tmp_path / "PipelineServingLogs"
        tracer = until_there(logs / "pipeline.tracer")
        for words in ("TRACER", "Op(detect):", "\tprep[", "\tidle[", "Query count[7]", "Succ[0.857", "Error req[5]", "\t\t.99["):
            assert words in tracer, tracer
        assert "of the hook" in until_there(logs / "pipeline.log") and "of the hook" in until_there(logs / "pipeline.log.wf")
        benchmark = until_there(tmp_path / "benchmark.log")
        assert "query_count: 7" in benchmark and "detect:" in benchmark
        assert p.said().count("PROFILE\tpid:") >= 6
    from paddle_serving_server.pipeline import Analyst
    times = Analyst(str(logs / "pipeline.tracer")).get_op_analyst().times()
    assert set(times) == {"detect", "recognise", "combine"} and times["detect"]["prep"] > 0
    (tmp_path / "log").write_text(benchmark)
    (tmp_path / "cfg").write_text("model_name: ocr\nprecision: fp32\nbatch_size: 1\ninput_shape: 1,13\nnum_of_samples: 7\n")
    script("-m", "paddle_serving_server.parse_profile", "--benchmark_cfg", "cfg", "--benchmark_log", "log", "--output", "std.log", cwd=tmp_path)
    assert "model_name: ocr" in (tmp_path / "std.log").read_text() and "inference_time_99(ms): " in (tmp_path / "std.log").read_text()
    (tmp_path / "log").write_text("#--- one ---\nmedian: 12.5ms\n90_percent: 20ms\n99_percent: 30ms\nAVG_QPS: 80\nCPU_UTIL: 3\n")
    script("-m", "paddle_serving_server.parse_profile", "--benchmark_cfg", "cfg", "--benchmark_log", "log", cwd=tmp_path)
    assert "[one] inference_time(ms): 12.5\n" in (tmp_path / "std_benchmark.log").read_text()
    wrong = script("-m", "paddle_serving_server.parse_profile", "--benchmark_cfg", "log", "--benchmark_log", "log", cwd=tmp_path, check=False)
    assert wrong.returncode == 1 and "model_name" in wrong.stderr


def test_what_the_original_got_wrong(tmp_path):
    """spec/pitfalls.md, D: the graph's own retry; lists of mini batches under a timeout; state on self under concurrency; hooks of
    before 0.7; what pickle cannot carry between threads."""
    rpc, http = free_port(), free_port()
    source = '''
import json, sys, time
import numpy as np
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer
calls = []
class First(Op):
    def preprocess(self, input_dicts, log_id):
        (_, given), = input_dicts.items()
        self.mine = given["n"]
        time.sleep(0.02)
        return {"given": given, "keep": lambda: given["n"]}, True, None, ""
    def postprocess(self, input_dicts, fetch_dict, log_id):
        return {**fetch_dict, "mine": self.mine}, None, ""
class Lists(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, made), = input_dicts.items()
        return [{"x": np.ones((1, 13), "float32") * i, "made": made} for i in range(3)], False, None, ""
    def process(self, feed_batch, typical_logid=0):
        made = feed_batch["made"]
        calls.append(made["mine"])
        if made["given"].get("slow") and calls.count(made["mine"]) == 1:
            time.sleep(0.5)
        return {"sum": feed_batch["x"].sum(), "mine": made["mine"], "kept": made["keep"]()}, 0, ""
    def postprocess(self, input_dicts, fetch_data, data_id, log_id):
        assert len(fetch_data) == 3
        return {"mine": fetch_data[0]["mine"], "kept": fetch_data[2]["kept"], "sum": str(sum(f["sum"] for f in fetch_data))}, None, ""
server = PipelineServer("s")
server.set_response_op(ResponseOp(input_ops=[Lists(name="lists", input_ops=[First(name="first", input_ops=[RequestOp()])])]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''
    conf = json.dumps({"rpc_port": rpc, "http_port": http, "dag": {"retry": 2},
                       "op": {"first": {"concurrency": 8}, "lists": {"concurrency": 8, "timeout": 200}}})
    with running(["-c", source, conf], [http], tmp_path):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            got = list(pool.map(lambda n: post(http, "s", n=str(n)), range(64)))
        assert all(g["err_no"] == 0 and g["value"] == [str(n), str(n), "39.0"] for n, g in enumerate(got)), got[:2]
        assert post(http, "s", n="late", slow="1") == {"err_no": 0, "err_msg": "", "key": ["mine", "kept", "sum"],
                                                       "value": ["late", "late", "39.0"], "tensors": []}


@pytest.mark.parametrize("body, status, words", [("time.sleep(60)", 0, ""), ("raise ValueError('no such dictionary')", 1, "Op slow cannot start: no such dictionary"),
                                                ("os._exit(3)", 1, "ended while it began")])
def test_a_start_that_does_not_succeed(tmp_path, body, status, words):
    """An operator that takes its time to begin can be told to end; one that cannot begin says why."""
    rpc, http = free_port(), free_port()
    source = f'''
import json, os, sys, time
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer
class Slow(Op):
    def init_op(self):
        {body}
server = PipelineServer("s")
server.set_response_op(ResponseOp(input_ops=[Slow(name="slow", input_ops=[RequestOp()])]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''
    p = subprocess.Popen([sys.executable, "-c", source, json.dumps({"rpc_port": rpc, "http_port": http})], cwd=tmp_path, stderr=subprocess.PIPE,
                         text=True, env={**os.environ, "PYTHONPATH": str(SITE)})
    if status == 0:
        time.sleep(1.5)
        p.send_signal(signal.SIGTERM)
    said = p.communicate(timeout=20)[1]
    assert p.returncode == status and words in said, said


def test_a_pipeline_over_tls(tmp_path):
    rpc, http = free_port(), free_port()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "web_service.py").write_text(SIMPLE_WEB_SERVICE)
    (tmp_path / "config.yml").write_text(json.dumps({"rpc_port": rpc, "http_port": http, "tls_cert": str(tmp_path / "cert"),
                                                     "tls_key": str(tmp_path / "key"), "op": {"uci": local()}}))
    with running(["web_service.py", "config.yml"], [http], tmp_path):
        got = requests.post(f"https://127.0.0.1:{http}/uci/prediction", json={"key": ["x"], "value": [TEXT]}, verify=str(tmp_path / "cert"), timeout=10)
        assert got.json()["value"] == ["[[18.901152]]"]


def test_overload_is_told(tmp_path):
    """A request whose time runs out, over HTTP and gRPC, and a caller that goes."""
    rpc, http = free_port(), free_port()
    source = '''
import json, sys, time
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer
class Slow(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, given), = input_dicts.items()
        time.sleep(float(given["s"]))
        return {"s": given["s"]}, True, None, ""
server = PipelineServer("s")
server.set_response_op(ResponseOp(input_ops=[Slow(name="slow", input_ops=[RequestOp()])]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''
    with running(["-c", source, json.dumps({"rpc_port": rpc, "http_port": http})], [http], tmp_path):
        begin = time.monotonic()
        late = requests.post(f"http://127.0.0.1:{http}/s/prediction", json={"key": ["s"], "value": ["1"]}, timeout=10,
                             headers={"X-Request-Timeout-Ms": "200"}).json()
        assert late["err_no"] == 6000 and "within the time" in late["err_msg"] and time.monotonic() - begin < 0.9
        with pytest.raises(requests.Timeout):
            requests.post(f"http://127.0.0.1:{http}/s/prediction", json={"key": ["s"], "value": ["0.1"]}, timeout=0.05)
        assert post(http, "s", s="0")["err_no"] == 0


def test_ragged_requests_are_joined():
    feeds = [{"w": np.arange(n).reshape(-1, 1), "w.lod": np.array([0, 1, n])} for n in (3, 2)]
    feed, rows = join(feeds)
    assert feed["w.lod"].tolist() == [0, 1, 3, 4, 5] and feed["w"].ravel().tolist() == [0, 1, 2, 0, 1] and rows == [2, 2]
    part = split({"o": feed["w"], "o.lod": feed["w.lod"], "p": np.arange(4)}, rows, 1)
    assert part["o"].ravel().tolist() == [0, 1] and part["o.lod"].tolist() == [0, 1, 2] and part["p"].tolist() == [2, 3]


def test_tensors_instead_of_text(tmp_path):
    rpc, http = free_port(), free_port()
    source = '''
import json, sys
from paddle_serving_server.pipeline import Op, RequestOp, ResponseOp, PipelineServer
response = ResponseOp(input_ops=[Op(name="uci", input_ops=[RequestOp()])])
response.set_pack_format(True)
server = PipelineServer("s")
server.set_response_op(response)
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''
    conf = json.dumps({"rpc_port": rpc, "http_port": http, "op": {"uci": local()}})
    with running(["-c", source, conf], [rpc, http], tmp_path):
        client = PipelineClient()
        client.connect([f"127.0.0.1:{rpc}"])
        x = np.array([[float(v) for v in TEXT.split(",")]], "float32")
        for as_bytes in (False, True):
            got = client.predict({"x": x}, pack_tensor_format=True, use_tensor_bytes=as_bytes)
            assert got.tensors[0].name == "price" and abs(got.tensors[0].float_data[0] - 18.901152) < 1e-5
        body = {"tensors": [{"name": "x", "elem_type": 13, "byte_data": "gASVCgAAAAAAAAB9lIwBeJRLAXMu"}]}  # a pickle
        refused = requests.post(f"http://127.0.0.1:{http}/s/prediction", json=body, timeout=5).json()
        assert refused["err_no"] == 8000
        body = {"tensors": [{"name": "x", "elem_type": 1, "float_data": [1, 2], "shape": [3]}]}
        refused = requests.post(f"http://127.0.0.1:{http}/s/prediction", json=body, timeout=5).json()
        assert refused["err_no"] == 8000 and "2 values do not make the shape [3]" in refused["err_msg"]


@pytest.mark.parametrize("conf, words", [
    ({"rpc_port": "a"}, "rpc_port must be int type, but get str"),
    ({"rpc_port": 80}, "rpc_port must be >= 1024, but get 80"),
    ({}, "rpc_port or http_port must be given"),
    ({"http_port": 9999, "dag": {"retry": 0}}, "dag.retry must be >= 1, but get 0"),
    ({"http_port": 9999, "op": {"uci": {"concurrency": "2.5"}}}, "op.uci.concurrency must be int type"),
    ({"http_port": 9999, "op": {"uci": []}}, "op.uci must be a map"),
])
def test_configurations_that_are_wrong(conf, words):
    server = PipelineServer("s")
    server.set_response_op(ResponseOp(input_ops=[Op(name="uci", input_ops=[RequestOp()])]))
    with pytest.raises(SystemExit, match=words.replace("[", "\\[")):
        server.prepare_server(yml_dict=conf)


def test_graphs_that_are_wrong(capsys):
    def prepare(last):
        server = PipelineServer("s")
        server.set_response_op(ResponseOp(input_ops=[last]))
        server.prepare_server(yml_dict={"http_port": free_port()})

    read = RequestOp()
    a = Op(name="a", input_ops=[read])
    b = Op(name="a", input_ops=[a])
    loop = Op(name="loop", input_ops=[read])
    loop.add_input_op(loop)
    for last, words in ((b, "two operators are called 'a'"), (loop, "the graph has a cycle: loop -> loop"),
                        (Op(name="lonely"), "begins at one RequestOp"), (read, "at least one operator")):
        with pytest.raises(SystemExit):
            prepare(last)
        assert words in capsys.readouterr().out
    with pytest.raises(TypeError, match="inputs of Op 'x' are Ops"):
        Op(name="x", input_ops=["read"])
    with pytest.raises(Exception, match="exactly one input op"):
        ResponseOp(input_ops=[a, b])
    with pytest.raises(SystemExit, match="only one of yml_file or yml_dict"):
        server = PipelineServer("s")
        server.set_response_op(ResponseOp(input_ops=[a]))
        server.prepare_server(yml_file="a", yml_dict={})


def test_misuse_of_the_client():
    client = PipelineClient()
    with pytest.raises(ValueError, match="call connect before predict"):
        client.predict({"x": "1"})
    client.connect(["127.0.0.1:1"])
    with pytest.raises(TypeError, match="feed must be dict type"):
        client.predict(["x"])
    with pytest.raises(TypeError, match="only str and np.ndarray type is supported"):
        client.predict({"x": 3})
    with pytest.raises(TypeError, match="fetch must be list type"):
        client.predict({"x": "1"}, fetch="price")
    assert client.predict({"x": "1"}).err_no == 9000
