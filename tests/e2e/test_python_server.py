"""paddle_serving_server: the one-line server, the Server API, WebService with hooks, as Paddle Serving's scripts use them."""
import concurrent.futures
import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import requests

from python_site import SITE, script
from conftest import BUILD, OAR, ROOT, ZOO, free_port
from paddle_serving_client import Client, HttpClient
from paddle_serving_server import OpGraphMaker, OpMaker, OpSeqMaker, Server
from paddle_serving_server.monitor import FTPMonitor, GeneralMonitor, HadoopMonitor
from paddle_serving_server.server import CONF
from paddle_serving_server.util import port_is_available

UCI = ROOT / "tests" / "data" / "uci_housing"
LSTM = ZOO / "imdb_lstm" / "pdmodel26"
ROW = [0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]
PRICE = 18.9011518


@contextlib.contextmanager
def running(arguments, ports, cwd, stop=signal.SIGTERM, want=0, **env):
    """A Python process that is to listen on the ports."""
    log = open(os.memfd_create("log"), "a+")
    fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)  # reading moves the place that the process writes at
    process = subprocess.Popen([sys.executable, *map(str, arguments)], cwd=cwd, stdout=log, stderr=log,
                               env={**os.environ, "PYTHONPATH": str(SITE), "PYTHONUNBUFFERED": "1", **env})

    def said():
        log.seek(0)
        return log.read()

    process.said = said
    try:
        until = time.monotonic() + 20
        while any(port_is_available(p) for p in ports):
            assert process.poll() is None, f"ended with {process.returncode}:\n{said()}"
            assert time.monotonic() < until, f"does not listen:\n{said()}"
            time.sleep(0.01)
        yield process
        if process.poll() is None:
            process.send_signal(stop)
        assert process.wait(20) == want, said()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def ask(port, path="/uci/prediction", feed=None, **kw):
    body = {"feed": [{"x": ROW}] if feed is None else feed, "fetch": ["price"], **kw}
    return requests.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=20)


def connected(port, config=UCI):
    c = Client()
    c.load_client_config(str(config))
    c.connect([f"127.0.0.1:{port}"])
    return c


# ---- python -m paddle_serving_server.serve ----

def test_the_one_line_server(tmp_path):
    """RPC and HTTP on one port; and the files that it writes are the original's."""
    port = free_port()
    with running(["-m", "paddle_serving_server.serve", "--model", UCI, "--thread", 10, "--port", port], [port], tmp_path) as p:
        got = connected(port).predict(feed={"x": np.array(ROW, "float32")}, fetch=["price"])
        assert abs(got["price"][0, 0] - PRICE) < 1e-5
        h = HttpClient()
        h.load_client_config(str(UCI))
        h.connect([f"127.0.0.1:{port}"])
        assert abs(h.predict(feed={"x": ROW}, fetch=["price"]).outputs[0].tensor[0].float_data[0] - PRICE) < 1e-5
        work = tmp_path / f"workdir_{port}"
        assert 'type: "GeneralReaderOp"' in (work / "workflow.prototxt").read_text()
        assert f"port: {port}" in (work / "infer_service.prototxt").read_text()
        assert (work / "GeneralInferOp_0" / "general_model.prototxt").exists() and (work / "GeneralInferOp_0" / "fluid_time_file").exists()
        assert json.loads((tmp_path / "ProcessInfo.json").read_text())[0]["port"] == [port]
        listeners = [line for line in open("/proc/net/tcp") if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"]
        assert len(listeners) == 1
    assert not (tmp_path / "ProcessInfo.json").exists() and "Process stopped" in p.said()


def test_name_starts_http(tmp_path):
    port = free_port()
    with running(["-m", "paddle_serving_server.serve", "--model", UCI, "--thread", 10, "--port", port, "--name", "uci"], [port], tmp_path):
        assert ask(port).json() == {"result": {"price": [[pytest.approx(PRICE)]]}}


def test_the_gpu_editions_name(tmp_path):
    port = free_port()
    with running(["-m", "paddle_serving_server_gpu.serve", "--model", UCI, "--thread", 10, "--port", port], [port], tmp_path):
        assert connected(port).predict(feed={"x": ROW}) is not None
    script("from paddle_serving_server_gpu.web_service import WebService; from paddle_serving_server_gpu import OpMaker, Server")


def test_stop_and_kill(tmp_path):
    port = free_port()
    for command, status in (("stop", 0), ("kill", -signal.SIGKILL)):
        with running(["-m", "paddle_serving_server.serve", "--model", UCI, "--port", port], [port], tmp_path, want=status) as p:
            wrong = script("-m", "paddle_serving_server.serve", command, "--port", 1, cwd=tmp_path, check=False)
            assert wrong.returncode != 0 and "Please confirm the port [1] you specified is correct." in wrong.stderr
            assert script("-m", "paddle_serving_server.serve", command, "--port", port, cwd=tmp_path).returncode == 0
            p.wait(10)
        until = time.monotonic() + 5
        while not port_is_available(port) and time.monotonic() < until:
            time.sleep(0.01)
        assert port_is_available(port), f"{command} leaves the server in C behind"
    gone = script("-m", "paddle_serving_server.serve", "stop", cwd=tmp_path, check=False)
    assert "All processes of PaddleServing has been stopped." in gone.stderr


@pytest.mark.parametrize("arguments, status, words", [
    ([], 255, "You must specify your serving model"),
    (["--model", UCI / "__model__"], 1, "The input of --model should be a dir not file."),
    (["--model", ROOT / "docs"], 1, "give the server's folder that save_model or convert wrote"),
    (["--model", UCI, "--gpu_id", "-2"], 1, "The input of gpuid error."),
    (["--model", UCI, "--precision", "fp23"], 1, "there are fp32, bf16, fp16 and int8"),
    (["--model", UCI, UCI, "--op", "GeneralInferOp"], 1, "2 models for 1 operators"),
    (["--dist_master_serving", "--model", UCI], 1, "Params Error!"),
])
def test_misuse_of_the_one_line_server(tmp_path, arguments, status, words):
    done = script("-m", "paddle_serving_server.serve", *arguments, "--port", free_port(), cwd=tmp_path, check=False)
    assert done.returncode == status and words in done.stdout + done.stderr


def test_a_busy_port_and_flags_of_old(tmp_path):
    port = free_port()
    flags = ["--use_multilang", "--op_num", 2, "--op_max_batch", 8, "--mem_optim", "--ir_optim", "--mem_optim_off", "--gpu_id", 0]
    with running(["-m", "paddle_serving_server.serve", "--model", UCI, "--port", port, *flags], [port], tmp_path) as p:
        assert "without effect here" in p.said() and all(f in p.said() for f in ("--gpu_ids", "--ir_optim", "--mem_optim_off"))
        done = script("-m", "paddle_serving_server.serve", "--model", UCI, "--port", port, cwd=tmp_path, check=False)
        assert done.returncode == 1 and f"Port {port} is already used" in done.stderr


def test_the_binary_takes_the_launchers_command_line(tmp_path):
    """What SERVING_BIN points to: gflags in every spelling, a flag file, the port of infer_service.prototxt."""
    port, maker, sequence, server = free_port(), OpMaker(), OpSeqMaker(), Server()
    for kind in ("general_reader", "general_infer", "general_response"):
        sequence.add_op(maker.create(kind))
    server.set_op_sequence(sequence.get_op_sequence())
    server.load_model_config(str(UCI))
    server.prepare_server(workdir=str(tmp_path / "w"), port=port, device="cpu")
    flags = server.command()[1:]
    (tmp_path / "proj.conf").write_text("# as the original reads it\n" + "\n".join(
        f"--{flags[i][1:]}={flags[i + 1]}" if not flags[i + 1].startswith("-") else flags[i] for i in range(0, len(flags) - 1)
        if flags[i].startswith("-")) + "\n")
    for command in ([OAR, *flags], [OAR, f"--flagfile={tmp_path / 'proj.conf'}", "-noenable_prometheus", "-logtostderr=false"]):
        p = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 10
            while port_is_available(port) and time.monotonic() < until:
                time.sleep(0.01)
            assert connected(port).predict(feed={"x": ROW}) is not None
        finally:
            p.send_signal(signal.SIGTERM)
            assert p.wait(10) == 0
    for wrong, words in ((["-prot", "1"], "did you mean -port"), (["-port"], "-port wants a value"), (["-flagfile", tmp_path / "no"], "no"),
                         (["-resource_path", tmp_path, *flags[:5]], "resource.prototxt")):
        done = subprocess.run([OAR, *map(str, wrong)], capture_output=True, text=True)
        assert done.returncode == 2 and words in done.stderr


def test_the_launcher_runs_what_serving_bin_names(tmp_path):
    port = free_port()
    with running(["-m", "paddle_serving_server.serve", "--model", UCI, "--port", port], [port], tmp_path, SERVING_BIN=str(OAR)) as p:
        assert f"Use local bin : {OAR}" in p.said()
        assert connected(port).predict(feed={"x": ROW}) is not None


def test_the_monitors_classes(tmp_path):
    """General from a directory: the model is fetched, and the time file touched."""
    remote, local = tmp_path / "remote", tmp_path / "local"
    (remote / "path" / "model").mkdir(parents=True)
    local.mkdir()
    for name in ("__model__", CONF):
        (remote / "path" / "model" / name).write_bytes((UCI / name).read_bytes())
    (remote / "path" / "done").touch()
    monitor = GeneralMonitor(str(remote), interval=1)
    for setter, value in (("remote_path", "path"), ("remote_model_name", "model"), ("remote_donefile_name", "done"), ("local_path", local),
                          ("local_model_name", "uci"), ("local_timestamp_file", "fluid_time_file"), ("local_tmp_path", "tmp")):
        getattr(monitor, f"set_{setter}")(value)
    monitor.set_unpacked_filename(None)
    done = subprocess.run([*monitor.command(), "--once"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and (local / "uci" / "fluid_time_file").exists() and (local / "uci" / CONF).exists(), done.stderr
    assert FTPMonitor("h", 21).command()[-4:] == ["--ftp_host", "h", "--ftp_port", "21"]
    with pytest.raises(RuntimeError, match="ended with status"):
        HadoopMonitor("hadoop", "http://127.0.0.1:1").run()


# ---- the Server API ----

SERVER_SCRIPT = """
from paddle_serving_server import OpMaker, OpSeqMaker, Server
import sys

op_maker = OpMaker()
read_op = op_maker.create('general_reader')
general_infer_op = op_maker.create('general_infer')
general_response_op = op_maker.create('general_response')
op_seq_maker = OpSeqMaker()
op_seq_maker.add_op(read_op)
op_seq_maker.add_op(general_infer_op)
op_seq_maker.add_op(general_response_op)
server = Server()
server.set_op_sequence(op_seq_maker.get_op_sequence())
server.set_num_threads(10)
server.load_model_config(sys.argv[1])
server.prepare_server(port=int(sys.argv[2]), device="cpu")
server.run_server()
"""


def test_the_design_documents_server(tmp_path):
    port = free_port()
    with running(["-c", SERVER_SCRIPT, UCI, port], [port], tmp_path):
        assert connected(port).predict(feed={"x": ROW}) is not None


def test_makers():
    maker, sequence = OpMaker(), OpSeqMaker()
    read, infer = maker.create("general_reader"), maker.create("GeneralInferOp", engine_name="bow")
    assert 'name: "GeneralReaderOp_0"' in read and 'name: "bow"' in infer
    sequence.add_op(read)
    sequence.add_op(infer)
    nodes = sequence.get_op_sequence().workflows[0].nodes
    assert nodes[1].dependencies[0].name == "GeneralReaderOp_0" and nodes[1].dependencies[0].mode == "RO"
    with pytest.raises(Exception, match="Op type nothing is not supported right now"):
        maker.create("nothing")
    with pytest.raises(Exception, match="more than one predecessor"):
        sequence.add_op(maker.create("general_response", inputs=[read, infer]))
    with pytest.raises(Exception, match="You must add op in order"):
        sequence.add_op(maker.create("general_response", inputs=[read]))
    graph = OpGraphMaker()
    graph.add_op(read)
    graph.add_op(maker.create("general_infer", engine_name="cnn", inputs=[read]))
    assert graph.get_op_graph().workflows[0].nodes[1].dependencies[0].name == "GeneralReaderOp_0"


def test_setters_that_are_misused(tmp_path):
    server = Server()
    for call, words in ((lambda: server.load_model_config("x"), "call set_op_sequence"), (lambda: server.prepare_server(), "call set_op_sequence"),
                        (lambda: server.set_product_name(None), "product_name"), (lambda: server.set_dist_nranks("3"), "must be int"),
                        (lambda: server.run_server(), "call prepare_server"), (lambda: server.set_runtime_thread_num(["a"]), "whole numbers")):
        with pytest.raises(ValueError, match=words):
            call()


# ---- WebService with hooks ----

IMDB_SCRIPT = """
from paddle_serving_server.web_service import WebService
from imdb_reader import IMDBDataset
import sys


class IMDBService(WebService):
    def prepare_dict(self, args={}):
        if len(args) == 0:
            exit(-1)
        self.dataset = IMDBDataset()
        self.dataset.load_resource(args["dict_file_path"])

    def preprocess(self, feed={}, fetch=[]):
        if "words" not in feed:
            exit(-1)
        res_feed = {}
        res_feed["words"] = self.dataset.get_words_only(feed["words"])[0]
        return res_feed, fetch


imdb_service = IMDBService(name="imdb")
imdb_service.load_model_config(sys.argv[1])
imdb_service.prepare_server(
    workdir=sys.argv[2], port=int(sys.argv[3]), device="cpu")
imdb_service.prepare_dict({"dict_file_path": sys.argv[4]})
imdb_service.run_server()
"""


def test_the_design_documents_imdb_service(tmp_path):
    """The script as it stands there. Its get_words_only gives a tuple of one list, as the module beside it did then."""
    port = free_port()
    (tmp_path / "imdb.vocab").write_text("\n".join(f"w{i}" for i in range(400)))
    (tmp_path / "imdb_reader.py").write_text(
        "from paddle_serving_app.reader import imdb_reader\n"
        "class IMDBDataset(imdb_reader.IMDBDataset):\n"
        "    def get_words_only(self, line):\n"
        "        return (super().get_words_only(line),)\n")
    (tmp_path / "service.py").write_text(IMDB_SCRIPT)
    url = f"http://127.0.0.1:{port}/imdb/prediction"
    with running(["service.py", LSTM, tmp_path / "w", port, tmp_path / "imdb.vocab"], [port], tmp_path):
        r = requests.post(url, json={"words": "w3 w17, w200 w5 | 0", "fetch": ["prediction"]}, timeout=20)
        again = requests.post(url, json={"feed": [{"words": "w3 w17, w200 w5 | 0"}], "fetch": ["prediction"]}, timeout=20)
        assert r.status_code == 200 and np.allclose(np.sum(r.json()["result"]["prediction"]), 1, atol=1e-5), r.text
        assert again.json() == r.json()
        gave_up = requests.post(url, json={"feed": [{"text": "w3"}], "fetch": ["prediction"]}, timeout=20)
        assert gave_up.status_code == 400 and "gave this request up (exit(-1) in a hook)" in gave_up.json()["error"]


UCI_SCRIPT = """
import os, sys, time
from paddle_serving_server.web_service import WebService

class Uci(WebService):
    def preprocess(self, feed=[], fetch=[]):
        if "die" in feed[0]:
            os.kill(os.getpid(), 9)
        if "raise" in feed[0]:
            raise KeyError("of the hook")
        if "refuse" in feed[0]:
            raise ValueError("no such house")
        if "sleep" in feed[0]:
            time.sleep(feed[0].pop("sleep"))
        return super().preprocess(feed, fetch)

service = Uci(name="uci")
service.load_model_config(sys.argv[1])
service.prepare_server(workdir=sys.argv[2], port=int(sys.argv[3]), device="cpu")
service.processes = 2
service.run_debugger_service() if len(sys.argv) > 4 else service.run_rpc_service()
service.run_web_service()
"""


@pytest.mark.parametrize("mode", [[], ["debugger"]])
def test_web_service(tmp_path, mode):
    port = free_port()
    with running(["-c", UCI_SCRIPT, UCI, tmp_path / "w", port, *mode], [port], tmp_path):
        assert ask(port).json() == {"result": {"price": [[pytest.approx(PRICE)]]}}
        assert len(ask(port, feed=[{"x": ROW}] * 3).json()["result"]["price"]) == 3
        assert ask(port, feed=[]).json() == {"result": "empty input"}
        assert ask(port, feed=[{"refuse": 1}]).json() == {"result": "no such house"}
        assert ask(port, feed=[{"y": 1}]).json() == {"result": "the model has no input 'y'; it has ['x']"}
        short = ask(port, feed=[{"x": ROW[:5]}])
        assert short.status_code == 400 and "expected float32 [-1, 13], got float32 [1, 5]" in short.json()["error"]
        assert ask(port, feed=[{"raise": 1}]).status_code == 500 and "of the hook" in ask(port, feed=[{"raise": 1}]).json()["error"]
        assert requests.post(f"http://127.0.0.1:{port}/uci/prediction", data="{", timeout=5).status_code == 400
        assert requests.post(f"http://127.0.0.1:{port}/uci/prediction", json={"feed": [{"x": ROW}]}, timeout=5).status_code == 400
        assert ask(port, path="/other/prediction").status_code == 404
        assert requests.get(f"http://127.0.0.1:{port}/uci/prediction", timeout=5).status_code == 405


def test_a_worker_that_dies_takes_its_request_alone(tmp_path):
    port = free_port()
    with running(["-c", UCI_SCRIPT, UCI, tmp_path / "w", port], [port], tmp_path) as p:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            slow = pool.submit(ask, port, feed=[{"x": ROW, "sleep": 1.0}])  # in the other process: each is given the idlest's work
            time.sleep(0.3)
            dead = ask(port, feed=[{"die": 1}])
            assert dead.status_code == 503 and "ended; send it again" in dead.json()["error"] and dead.headers["Retry-After"]
            begin = time.monotonic()
            assert [ask(port).status_code for _ in range(3)] == [200] * 3
            assert time.monotonic() - begin < 3  # a second where the machine is free
            assert slow.result().status_code == 200
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        assert "oar_crew_restarts_total 1\n" in metrics and "oar_crew_workers 2\n" in metrics
        assert 'pd_query_request_failure_total{model="uci",version="0"} 1\n' in metrics
        assert "ended; another one takes its place" in p.said()


def children(pid, word):
    """Its child processes whose command line has the word."""
    found = []
    for child in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if child.isdigit() and _parent(child) == pid and word in open(f"/proc/{child}/cmdline").read().split("\0"):
                found.append(int(child))
    return found


@pytest.mark.parametrize("word", ["-enable_model_toolkit", "--crew"])
def test_a_server_that_dies_comes_back(tmp_path, word):
    """The model's, and the one in front of the workers."""
    port = free_port()
    with running(["-c", UCI_SCRIPT, UCI, tmp_path / "w", port], [port], tmp_path) as p:
        assert ask(port).status_code == 200
        (child,) = children(p.pid, word)
        os.kill(child, signal.SIGKILL)
        until, good = time.monotonic() + 10, False
        while not good and time.monotonic() < until:
            time.sleep(0.05)
            with contextlib.suppress(requests.ConnectionError):
                good = children(p.pid, word) not in ([], [child]) and ask(port).status_code == 200
        assert good, p.said()


@pytest.mark.parametrize("whole_group", [False, True])
def test_what_a_service_has_begun_is_answered(tmp_path, whole_group):
    """SIGTERM, or a terminal's interrupt of everybody: no new connections, but an answer to who is waiting for one; and nothing is
    left of it."""
    port = free_port()
    source = "import os; os.setpgid(0, 0)\n" + UCI_SCRIPT
    with running(["-c", source, UCI, tmp_path / "w", port], [port], tmp_path) as p:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            slow = pool.submit(ask, port, feed=[{"x": ROW, "sleep": 1.0}])
            time.sleep(0.3)
            os.killpg(p.pid, signal.SIGINT) if whole_group else p.send_signal(signal.SIGTERM)
            assert slow.result().status_code == 200
        assert p.wait(10) == 0
        assert port_is_available(port)


def test_large_bodies_go_through_shared_memory(tmp_path):
    port = free_port()
    source = UCI_SCRIPT.replace("return super().preprocess(feed, fetch)", "n = len(feed[0].get('pad', '')); feed[0].pop('pad', 0); "
                                "self.n = n; return super().preprocess(feed, fetch)").replace(
        "service = Uci", "    def postprocess(self, feed=[], fetch=[], fetch_map=None):\n"
        "        return {'pad': 'y' * self.n, **super().postprocess(feed, fetch, fetch_map)}\n\nservice = Uci")
    with running(["-c", source, UCI, tmp_path / "w", port], [port], tmp_path):
        for n in (10, 16000, 17000, 3 << 20, 20, 30 << 20, 40000):
            got = ask(port, feed=[{"x": ROW, "pad": "x" * n}]).json()["result"]
            assert len(got["pad"]) == n and got["price"] == [[pytest.approx(PRICE)]]


def _stat(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read()
    except OSError:
        return "0 () X 0"


def _parent(pid):
    return int(_stat(pid).rsplit(")", 1)[1].split()[1])


def test_what_is_not_http(tmp_path):
    """The front of the services reads what comes from anybody."""
    import socket
    port = free_port()
    with running(["-c", UCI_SCRIPT, UCI, tmp_path / "w", port, "debugger"], [port], tmp_path):
        for data, status in ((b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"400"),
                             (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
                             (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
                             (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", b"400"),
                             (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
                             (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000, b"431"),
                             (b"POST /uci/prediction HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx", b"400")):
            with socket.create_connection(("127.0.0.1", port), 5) as s:
                with contextlib.suppress(ConnectionError):
                    s.sendall(data)
                    answer = s.recv(100)
                    assert answer.split(b" ")[1] == status, (data[:60], answer)
        with socket.create_connection(("127.0.0.1", port), 5) as s:  # byte by byte, in chunks, twice on one connection
            body = json.dumps({"feed": [{"x": ROW}], "fetch": ["price"]}).encode()
            head = b"POST /uci/prediction HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            request = head + b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
            for i in range(len(request)):
                s.sendall(request[i:i + 1])
            assert b"18.90" in s.recv(1000)
            s.sendall(request + request)
            time.sleep(0.3)
            assert s.recv(4000).count(b"18.90") == 2


# ---- several models ----

def test_the_documented_ensemble(tmp_path, monkeypatch):
    """One reader, two models side by side, a response of both: OpGraphMaker and load_model_config with a dict."""
    monkeypatch.chdir(tmp_path)
    maker, graph, server, port = OpMaker(), OpGraphMaker(), Server(), free_port()
    read = maker.create("GeneralReaderOp")
    cnn = maker.create("GeneralInferOp", engine_name="cnn", inputs=[read])
    bow = maker.create("GeneralInferOp", engine_name="bow", inputs=[read])
    for op in (read, cnn, bow, maker.create("GeneralResponseOp", inputs=[cnn, bow])):
        graph.add_op(op)
    server.set_op_graph(graph.get_op_graph())
    server.load_model_config({cnn: ZOO / "imdb_cnn" / "pdmodel26", bow: ZOO / "imdb_bow" / "pdmodel26"})
    server.prepare_server(workdir="work_dir1", port=port, device="cpu")
    process = server.start()
    try:
        server.wait_ready()
        both = connected(port, ZOO / "imdb_bow" / "pdmodel26").predict(feed={"words": [8, 233, 52, 401]}, fetch=["prediction"])
        import oar
        for name in ("cnn", "bow"):
            model = oar.load(ZOO / f"imdb_{name}" / "pdmodel26")
            alone = model.run({"words": np.array([[8], [233], [52], [401]]), "words.lod": [0, 4]})
            assert np.allclose(both[name]["prediction"], next(iter(alone.values())), atol=1e-6)
    finally:
        process.terminate()
        assert process.wait(10) == 0


IMAGE_SCRIPT = """
from paddle_serving_server.web_service import WebService
from paddle_serving_app.reader import Sequential, Base64ToImage, Resize, CenterCrop, RGB2BGR, Transpose, Div
import numpy as np
import sys


class ImageService(WebService):
    def init_image_setting(self):
        self.seq = Sequential([
            Base64ToImage(), Resize(28), CenterCrop(28), RGB2BGR(), Transpose((2, 0, 1)), Div(255)
        ])

    def preprocess(self, feed=[], fetch=[]):
        feed_batch = []
        for ins in feed:
            if "image" not in ins:
                raise ValueError("feed data error!")
            feed_batch.append(self.seq(ins["image"])[:1][np.newaxis, :])
        return {sys.argv[4]: np.concatenate(feed_batch, axis=0)}, fetch, True

    def postprocess(self, feed=[], fetch=[], fetch_map={}):
        score = next(iter(fetch_map.values()))
        return {"label": [int(s.argmax()) for s in score], "prob": [float(s.max()) for s in score]}


image_service = ImageService(name="image")
image_service.load_model_config(sys.argv[1])
image_service.init_image_setting()
image_service.prepare_server(workdir=sys.argv[2], port=int(sys.argv[3]), device="cpu")
image_service.run_rpc_service()
image_service.run_web_service()
"""


def test_image_classification_with_sequential(tmp_path):
    """The introduction's third example: what the client sends is base64, what it gets is a label."""
    cv2 = pytest.importorskip("cv2")
    import base64
    import oar
    folder, port = ZOO / "lenet_digits" / "pdmodel26", free_port()
    model = oar.load(folder)
    digit = np.zeros((56, 80, 3), np.uint8)
    cv2.putText(digit, "7", (24, 46), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (255, 255, 255), 4)
    png = cv2.imencode(".png", digit)[1].tobytes()
    small = cv2.resize(digit, (40, 28))[:, 6:34]
    want = next(iter(model.run((small[None, None, :, :, 0] / np.float32(255))).values()))
    with running(["-c", IMAGE_SCRIPT, folder, tmp_path / "w", port, model.inputs[0].name], [port], tmp_path):
        body = {"feed": [{"image": base64.b64encode(png).decode()}] * 2, "fetch": [model.outputs[0].name]}
        got = requests.post(f"http://127.0.0.1:{port}/image/prediction", json=body, timeout=20).json()["result"]
        assert got["label"] == [int(want.argmax())] * 2 and np.allclose(got["prob"], want.max(), atol=1e-2)
        wrong = requests.post(f"http://127.0.0.1:{port}/image/prediction", json={**body, "feed": [{"x": 1}]}, timeout=20).json()
        assert wrong == {"result": "feed data error!"}
