"""WebService: a model behind HTTP with user code before and after it, in both forms that Paddle Serving has had.

The older form (preprocess and postprocess): the model is served by the server in C on a port of its own; worker processes
run the hooks on what the server in C in front hands them (_crew.py), and call it. The pipeline form: get_pipeline_response builds a graph of Ops.
"""
import inspect
import json
import os
import sys

import numpy as np

from oar.errors import OarError
from paddle_serving_client import Client

from . import _crew
from .dag import OpMaker, OpSeqMaker
from .pipeline.operator import Op  # noqa: F401 - scripts import it from here
from .server import CONF, Server
from .util import dump_pid_file, forget_pid_file, free_port, port_is_available

THREADS = 16  # of each worker: how many requests may wait in hooks at once
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Payload Too Large",
           500: "Internal Server Error", 503: "Service Unavailable", 504: "Gateway Timeout"}


HTTP_STATUS = {-1: 400, -2: 404, -3: 503, -7: 413, -8: 504, -9: 503, -11: 503, -13: 400}


class Instances(list):
    """The feed as hooks see it: a list of dicts. Hooks of the first releases took one dict; with one instance this is that
    too."""

    def _one(self):
        if len(self) != 1:
            raise ValueError(f"this service takes one instance a request, and {len(self)} came")
        return list.__getitem__(self, 0)

    def __getitem__(self, key):
        return self._one()[key] if isinstance(key, str) else list.__getitem__(self, key)

    def __setitem__(self, key, value):
        if isinstance(key, str):
            self._one()[key] = value
        else:
            list.__setitem__(self, key, value)

    def __contains__(self, key):
        return key in self._one() if isinstance(key, str) else list.__contains__(self, key)

    def get(self, key, default=None):
        return self._one().get(key, default)

    def keys(self):
        return self._one().keys()

    def items(self):
        return self._one().items()


def _plain(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} cannot be answered as JSON")


_ENCODER = json.JSONEncoder(default=_plain, ensure_ascii=False)


def to_json(value):
    return _ENCODER.encode(value).encode()


class WebService:
    """Subclass it, override preprocess and postprocess (or get_pipeline_response), and run it."""

    def __init__(self, name="default_service"):
        self.name = name
        self.port = None
        self.gpus = []
        self.server_config_dir_paths = []
        self.client_config_path = None
        self.client = None
        self.feed_vars, self.fetch_vars = {}, {}
        self.thread_num = 4
        self.processes = None  # of worker processes; None: one a processor
        self.timeout_ms = 120000  # of one request, its hooks and its wait included
        self._server = None
        self._server_options = {}
        self._local = None
        self._pipeline = None
        self._post_arity = None

    # ---- the pipeline form ----

    def get_pipeline_response(self, read_op):
        """The last Op of the graph that begins at read_op; override it."""
        return None

    def prepare_pipeline_config(self, yml_file=None, yml_dict=None):
        """Builds the graph and reads its configuration (config.yml)."""
        from .pipeline import PipelineServer, RequestOp, ResponseOp
        read_op = RequestOp()
        last_op = self.get_pipeline_response(read_op)
        if not isinstance(last_op, Op):
            raise ValueError("The return value type of `get_pipeline_response` function is not Op type, please check function "
                             "`get_pipeline_response`.")
        self._pipeline = PipelineServer(self.name)
        self._pipeline.set_response_op(ResponseOp(input_ops=[last_op]))
        self._pipeline.prepare_server(yml_file=yml_file, yml_dict=yml_dict)

    def run_service(self):
        """Runs the pipeline until SIGTERM or SIGINT."""
        if self._pipeline is None:
            raise ValueError("call prepare_pipeline_config before run_service")
        self._pipeline.run_server()

    # ---- the form with hooks ----

    def preprocess(self, feed=[], fetch=[]):
        """(feed, fetch, is_batch) for the model. This one stacks the instances in the shapes of the configuration."""
        feed_batch = {}
        for key in feed[0]:
            if key not in self.feed_vars:
                raise ValueError(f"the model has no input {key!r}; it has {sorted(self.feed_vars)}")
            shape, dtype = self.feed_vars[key]
            rows = [np.asarray(instance[key], dtype=dtype) for instance in feed]
            if all(d > 0 for d in shape) and all(r.size == int(np.prod(shape)) for r in rows):
                rows = [r.reshape(shape) for r in rows]
            feed_batch[key] = np.stack(rows)
        return feed_batch, fetch, True

    def postprocess(self, feed=[], fetch=[], fetch_map=None):
        """What is answered under "result"."""
        return {name: np.asarray(value).tolist() for name, value in fetch_map.items()}

    def load_model_config(self, server_config_dir_paths, client_config_path=None):
        """The model's folder, or a list of them in the graph's order."""
        from paddle_serving_client.conf import NUMPY, Config
        paths = [server_config_dir_paths] if isinstance(server_config_dir_paths, (str, os.PathLike)) else server_config_dir_paths
        self.server_config_dir_paths = [os.fspath(p) for p in paths]
        for path in self.server_config_dir_paths:
            if not os.path.isdir(path):
                raise SystemExit(f"{path!r} is no folder: give the server's folder that save_model or convert wrote")
        confs = [os.path.join(p, CONF) for p in self.server_config_dir_paths]
        self.client_config_path = client_config_path or (confs if len(confs) > 1 else confs[0])
        config = Config(self.client_config_path)
        self.feed_vars = {n: (list(v.shape), NUMPY.get(v.feed_type)) for n, v in zip(config.feed_names, config.feeds)}
        self.fetch_vars = {n: v.fetch_type for n, v in zip(config.fetch_names, config.fetches)}

    def set_gpus(self, gpus):
        self.gpus = gpus

    def prepare_server(self, workdir=None, port=9393, device="cpu", precision="fp32", use_calib=False, use_lite=False, use_xpu=False,
                       ir_optim=False, thread_num=4, mem_optim=True, use_trt=False, gpu_multi_stream=False, runtime_thread_num=None,
                       batch_infer_size=None, gpuid=None):
        """Where the service listens, and how the model runs."""
        if not port_is_available(port):
            raise SystemExit("Port {} is already used".format(port))
        self.workdir, self.port, self.device, self.thread_num = workdir or "workdir", port, device, thread_num
        self._server_options = dict(precision=precision, use_calib=use_calib, ir_optim=ir_optim, mem_optim=mem_optim,
                                    runtime_thread_num=runtime_thread_num or [0], batch_infer_size=batch_infer_size or [32])

    def _make_server(self):
        o, server, maker, sequence = self._server_options, Server(), OpMaker(), OpSeqMaker()
        sequence.add_op(maker.create("GeneralReaderOp"))
        for i in range(len(self.server_config_dir_paths)):
            detect = i == 0 and len(self.server_config_dir_paths) == 2
            sequence.add_op(maker.create("GeneralDetectionOp" if detect else "GeneralInferOp"))
        sequence.add_op(maker.create("GeneralResponseOp"))
        server.set_op_sequence(sequence.get_op_sequence())
        server.set_num_threads(self.thread_num)
        server.set_precision(o["precision"])
        server.set_memory_optimize(o["mem_optim"])
        server.set_ir_optimize(o["ir_optim"])
        server.set_runtime_thread_num(o["runtime_thread_num"])
        server.set_batch_infer_size(o["batch_infer_size"])
        server.set_max_body_size(512 << 20)
        server.set_host("127.0.0.1")
        server.listen_on_unix_socket()
        server.load_model_config(self.server_config_dir_paths)
        server.prepare_server(workdir=f"{self.workdir}_{self.rpc_port}", port=self.rpc_port, device="cpu")
        return server

    def _need_prepared(self):
        if not self.server_config_dir_paths:
            raise ValueError("no model: call load_model_config first")
        if self.port is None:
            raise ValueError("call prepare_server first")

    def run_rpc_service(self):
        """Starts the model's server in C on the first free port from 12000 on."""
        self._need_prepared()
        self.rpc_port = free_port(12000)
        self._server = self._make_server()
        self._server.start(quiet_terminal=True)

    def run_debugger_service(self, gpu=False):
        """The model runs in the workers themselves: no server to look after while hooks are tried out."""
        self._need_prepared()
        from oar import load
        self._local = load(self.server_config_dir_paths[0])

    def run_web_service(self):
        """Answers /NAME/prediction until SIGTERM or SIGINT."""
        self._need_prepared()
        if self._server is None and self._local is None:
            raise ValueError("call run_rpc_service or run_debugger_service before run_web_service")
        if self._server is not None:
            self._server.wait_ready()
        processes = self.processes or os.cpu_count() or 1
        conf = {"name": self.name, "pipeline": False, "timeout_ms": self.timeout_ms,
                "operators": [{"name": self.name, "inputs": [-1]}], "processes": [[0] * THREADS] * processes}
        options = ["--thread", 1, "--quiet"]  # one loop hands out more than any number of Pythons take
        service = _crew.Service(conf, _Work(self), self.port, options)
        try:
            service.run(ready=self._say_ready, tick=self._keep_server)
        finally:
            forget_pid_file([self.port])
            if self._server is not None:
                self._server.process.terminate()
                self._server.process.wait()

    def _say_ready(self):
        dump_pid_file([self.port], self.server_config_dir_paths)
        print("web service address:")
        print("http://{}:{}/{}/prediction".format("127.0.0.1", self.port, self.name), flush=True)

    def run_server(self):
        """The model's server and the web service in one call, as in the first releases."""
        self.run_rpc_service()
        self.run_web_service()

    def get_app_instance(self):
        """The service as a WSGI application, for a WSGI server of one's own."""
        if self.client is None and self._local is None:
            self._connect()
        return self._wsgi

    def _keep_server(self):
        if self._server is not None and self._server.process.poll() is not None:
            print(f"the model's server ended with {self._server.process.returncode}; starting it again", file=sys.stderr, flush=True)
            self._server.start(quiet_terminal=True)

    def _connect(self):
        """In a worker, before its first request."""
        if self._local is None:
            self.client = Client()
            self.client.load_client_config(self.client_config_path)
            self.client.connect([self._server.address])

    # ---- one request ----

    def _answer(self, data):
        """(HTTP's code, JSON) for the bytes of a request's body."""
        try:
            body = json.loads(data)
        except ValueError as e:
            return 400, to_json({"error": f"the body is not JSON: {e}"})
        try:
            status, result = self._predict(body)
            return status, to_json(result)
        except (Exception, SystemExit) as e:  # a hook's fault is its request's alone
            print(f"{type(e).__name__} while answering /{self.name}/prediction: {e}", file=sys.stderr, flush=True)
            return 500, to_json({"error": f"{type(e).__name__}: {e}"})

    def _wsgi(self, environ, start_response):
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path != f"/{self.name}/prediction":
            status, body = 404, to_json({"error": f"no {path} here; this service answers POST /{self.name}/prediction"})
        elif method != "POST":
            status, body = 405, to_json({"error": f"{method} is not answered; POST a JSON body"})
        else:
            status, body = self._answer(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response(f"{status} {REASONS.get(status, 'Unknown')}", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _predict(self, body):
        if not isinstance(body, dict) or "fetch" not in body:
            return 400, {"error": 'a JSON object with "feed" and "fetch" was expected, such as {"feed": [{"x": [...]}], "fetch": ["price"]}'}
        fetch = body["fetch"]
        if "feed" in body:
            feed = body["feed"]
            feed = Instances(feed) if isinstance(feed, list) else feed
        else:  # the first releases: the instance itself, with fetch in it
            feed = Instances([{k: v for k, v in body.items() if k != "fetch"}])
        if isinstance(feed, dict):
            feed.pop("fetch", None)
        if not feed or (isinstance(feed, Instances) and not all(isinstance(f, dict) and f for f in feed)):
            return 200, {"result": "empty input"}
        try:
            feed_batch, fetch, is_batch = self._preprocess(feed, fetch)
            fetch_map = self._ask(feed_batch, fetch, is_batch)
            return 200, {"result": self._postprocess(feed, fetch, fetch_map)}
        except OarError as e:
            return HTTP_STATUS.get(e.status, 500), {"error": str(e)}
        except ValueError as e:  # as the original answered them
            return 200, {"result": str(e)}
        except SystemExit as e:
            return 400, {"error": f"the service gave this request up (exit({e.code}) in a hook)"}

    def _preprocess(self, feed, fetch):
        made = self.preprocess(feed, fetch)
        if not isinstance(made, tuple) or len(made) not in (2, 3):
            raise TypeError("preprocess returns (feed, fetch, is_batch), or (feed, fetch) as in the first releases")
        if len(made) == 3:
            return made
        feed_batch, fetch = made
        if isinstance(feed_batch, list) and len(feed_batch) > 1:
            return self._join(feed_batch), fetch, True
        return (feed_batch[0] if isinstance(feed_batch, list) else feed_batch), fetch, False

    def _join(self, instances):
        """Several samples as one batch: ragged ones one after another with their offsets, dense ones stacked."""
        config = self.client._config if self.client is not None else None
        ragged = {n for n, v in zip(config.feed_names, config.feeds) if v.is_lod_tensor} if config is not None else set()
        batch = {}
        for key in instances[0]:
            rows = [np.asarray(instance[key]) for instance in instances]
            if key in ragged:
                rows = [r.reshape(-1, 1) if r.ndim < 2 else r for r in rows]
                batch[key + ".lod"] = np.cumsum([0] + [len(r) for r in rows])
                batch[key] = np.concatenate(rows)
            else:
                batch[key] = np.stack(rows)
        return batch

    def _ask(self, feed, fetch, is_batch):
        if self._local is not None:
            if not is_batch:
                feed = {k: v if k.endswith(".lod") else np.expand_dims(np.asarray(v), 0) for k, v in feed.items()}
            return self._local.run(feed, [fetch] if isinstance(fetch, str) else list(fetch) or None)
        return self.client.ask(feed, fetch, is_batch)

    def _postprocess(self, feed, fetch, fetch_map):
        if self._post_arity is None:
            self._post_arity = len(inspect.signature(self.postprocess).parameters)
        if self._post_arity >= 3:
            return self.postprocess(feed, fetch, fetch_map)
        return self.postprocess(fetch_map)


class _Work:
    """What a worker process does with requests."""

    def __init__(self, service):
        self.service = service

    def start(self, operators):
        self.service._connect()

    def run(self, operator, items):
        outcomes = []
        for item in items:
            code, body = self.service._answer(item.request()[1])
            outcomes.append(_crew.final(body, code, code if code != 200 else 0))
        return outcomes, (0, 0, 0)
