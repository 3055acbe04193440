"""PipelineServer: config.yml, HTTP and gRPC in front of the graph, local model servers behind it."""
import json
import os
import signal
import sys
import threading
import time

from google.protobuf import json_format

from oar import _proto

from .. import _front
from ..util import GetAvailablePortGenerator, dump_pid_file, forget_pid_file, port_is_available
from .channel import ChannelDataErrcode as Err
from .dag import Dag
from .pipeline_client import METHOD, have_grpc

THREADS = 64  # requests that may be on their way at once in one process

# path in the file -> (type, default, least value); a value that does not fit ends the program as the original does
TOP = {"rpc_port": (int, None, 1024), "http_port": (int, None, 1024), "worker_num": (int, 1, 1), "build_dag_each_worker": (bool, False, None),
       "grpc_gateway_port": (int, None, 1024)}
DAG = {"retry": (int, 1, 1), "client_type": (str, "brpc", None), "use_profile": (bool, False, None), "channel_size": (int, 0, 0),
       "is_thread_op": (bool, True, None), "channel_recv_frist_arrive": (bool, False, None), "enable_prometheus": (bool, False, None),
       "prometheus_port": (int, 19393, 1)}
OP = {"concurrency": (int, 1, 1), "timeout": (int, -1, -1), "retry": (int, 1, 1), "batch_size": (int, 1, 1),
      "auto_batching_timeout": (int, -1, -1), "server_endpoints": (list, None, None), "fetch_list": (list, None, None),
      "client_config": (str, None, None), "client_type": (str, None, None), "use_encryption_model": (bool, False, None),
      "encryption_key": (str, "", None), "local_service_conf": (dict, None, None)}
LOCAL = {"client_type": (str, None, None), "model_config": (str, None, None), "fetch_list": (list, None, None), "workdir": (str, "", None),
         "thread_num": (int, 2, 1), "device_type": (int, -1, -1), "devices": (str, "", None), "mem_optim": (bool, True, None),
         "ir_optim": (bool, False, None), "precision": (str, "fp32", None), "use_calib": (bool, False, None),
         "use_mkldnn": (bool, False, None), "mkldnn_cache_capacity": (int, 0, 0), "mkldnn_op_list": (list, [], None),
         "mkldnn_bf16_op_list": (list, [], None), "min_subgraph_size": (int, 3, None)}
FULL_BATCH_WAIT_MS = 5  # a batch waits so long where the file gives a batch_size and no auto_batching_timeout


def checked(conf, rows, where=""):
    """The values of one part of the file, with defaults; unknown keys are left out."""
    if conf is None:
        conf = {}
    if not isinstance(conf, dict):
        raise SystemExit(f"[CONF] {where or 'the file'} must be a map, but get {type(conf).__name__}")
    out = {}
    for key, (kind, default, least) in rows.items():
        value = conf.get(key, default)
        if value is None:
            out[key] = default
            continue
        if kind is str and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if kind is not bool and isinstance(value, bool) or not isinstance(value, kind):
            raise SystemExit(f"[CONF] {where}{key} must be {kind.__name__} type, but get {type(value).__name__}")
        if least is not None and value < least:
            raise SystemExit(f"[CONF] {where}{key} must be >= {least}, but get {value}")
        if key.endswith("_port") and value > 65535:
            raise SystemExit(f"[CONF] {where}{key} must be <= 65535, but get {value}")
        out[key] = value
    return out


def read_yaml(path):
    try:
        import yaml
    except ImportError:
        raise ImportError("config.yml wants the package pyyaml: pip install pyyaml") from None
    with open(path) as f:
        return yaml.safe_load(f)


def read_conf(yml_file=None, yml_dict=None):
    if yml_file is not None and yml_dict is not None:
        raise SystemExit("Failed to prepare_server: only one of yml_file or yml_dict can be selected as the parameter.")
    if yml_file is None and yml_dict is None:
        raise SystemExit("Failed to prepare_server: give yml_file or yml_dict")
    raw = read_yaml(yml_file) if yml_file is not None else yml_dict
    conf = checked(raw, TOP)
    if conf["rpc_port"] is None and conf["http_port"] is None:
        raise SystemExit("[CONF] rpc_port or http_port must be given")
    if conf["rpc_port"] is None:
        conf["rpc_port"] = GetAvailablePortGenerator().next()
    conf["dag"] = checked(raw.get("dag"), DAG, "dag.")
    tracer = (raw.get("dag") or {}).get("tracer") or {}
    conf["dag"]["tracer_interval_s"] = tracer.get("interval_s", -1)
    conf["op"] = raw.get("op") or raw.get("ops") or {}
    return conf


def op_conf(raw, name):
    """One operator's part, with its local service's beside it."""
    conf = checked(raw, OP, f"op.{name}.")
    local = conf.pop("local_service_conf")
    conf["model_config"] = None
    if not conf["server_endpoints"] and local:
        service = checked(local, LOCAL, f"op.{name}.local_service_conf.")
        conf["local"] = service
        for key in ("model_config", "client_type", "fetch_list"):
            conf[key] = service[key] or conf.get(key)
    if conf["batch_size"] > 1 and conf["auto_batching_timeout"] <= 0:
        conf["auto_batching_timeout"] = FULL_BATCH_WAIT_MS
    return conf


class LocalService:
    """The server in C behind an operator whose client_type is brpc; started again when it ends."""

    def __init__(self, name, conf, port):
        from ..dag import OpMaker, OpSeqMaker
        from ..server import Server
        local, self.port, self.name = conf["local"], port, name
        maker, sequence = OpMaker(), OpSeqMaker()
        for kind in ("GeneralReaderOp", "GeneralInferOp", "GeneralResponseOp"):
            sequence.add_op(maker.create(kind))
        s = self.server = Server()
        s.set_op_sequence(sequence.get_op_sequence())
        s.set_num_threads(local["thread_num"])
        s.set_max_body_size(512 << 20)
        s.set_precision(local["precision"])
        s.set_host("127.0.0.1")
        s.load_model_config(conf["model_config"])
        s.prepare_server(workdir=f"{local['workdir'] or 'workdir'}_{port}", port=port)
        s.start()

    def keep(self):
        if self.server.process.poll() is not None:
            print(f"pipeline: the model server of Op {self.name} ended with {self.server.process.returncode}; starting it again",
                  file=sys.stderr, flush=True)
            self.server.start()

    def stop(self):
        self.server.process.terminate()
        self.server.process.wait()


class PipelineServer:
    """A pipeline as a service."""

    def __init__(self, name=None):
        self._name = name
        self._response_op = None
        self._conf = None
        self._dag = None

    def set_response_op(self, response_op):
        from .operator import ResponseOp
        if not isinstance(response_op, ResponseOp):
            raise Exception("Failed to set response_op: response_op must be ResponseOp type.")
        if len(response_op.get_input_ops()) != 1:
            raise Exception("Failed to set response_op: response_op can only have one previous op.")
        self._response_op = response_op

    def prepare_server(self, yml_file=None, yml_dict=None):
        """Reads the configuration and checks it, the graph and the ports."""
        if self._response_op is None:
            raise ValueError("no graph: call set_response_op before prepare_server")
        self._conf = read_conf(yml_file, yml_dict)
        self._dag = Dag(self._response_op, self._conf["dag"])
        for op in self._dag.ops:
            op.configure(op_conf(self._conf["op"].get(op.name), op.name))
        for port in (self._conf["rpc_port"], self._conf["http_port"]):
            if port is not None and not port_is_available(port):
                raise SystemExit("Port {} is already used".format(port))

    # ---- running ----

    def run_server(self):
        """Serves until SIGTERM or SIGINT."""
        if self._dag is None:
            raise ValueError("call prepare_server before run_server")
        conf = self._conf
        ports = [p for p in (conf["rpc_port"], conf["http_port"]) if p is not None]
        services = self._start_local_services()
        http = _front.listen("0.0.0.0", conf["http_port"]) if conf["http_port"] is not None else None
        self._grpc = have_grpc()
        rpc = None if self._grpc else _front.listen("0.0.0.0", conf["rpc_port"])
        dump_pid_file(ports, "pipeline")
        print(f"pipeline {self._name or ''}: rpc_port {conf['rpc_port']} ({'gRPC' if self._grpc else 'HTTP, since grpcio is not installed'})"
              f", http_port {conf['http_port']}", file=sys.stderr, flush=True)
        supervisor = _front.Supervisor(conf["worker_num"] if conf["build_dag_each_worker"] else 1,
                                       lambda index, pipe: self._work(index, pipe, http, rpc),
                                       tick=lambda: [s.keep() for s in services])
        try:
            supervisor.run()
        finally:
            forget_pid_file(ports)
            for s in services:
                s.stop()

    def _start_local_services(self):
        ports, services = GetAvailablePortGenerator(), []
        for op in self._dag.ops:
            if op.conf.get("local") and op.conf["client_type"] in ("brpc", "grpc"):
                service = LocalService(op.name, op.conf, ports.next())
                services.append(service)
                op.conf["server_endpoints"] = [f"127.0.0.1:{service.port}"]
        for s in services:
            s.server.wait_ready()
        return services

    def _work(self, index, pipe, http, rpc):
        """One process of the service."""
        stop = threading.Event()
        fronts = []
        signal.signal(signal.SIGTERM, lambda *_: (stop.set(), [f.stop() for f in fronts]))
        zygote = self._dag.fork_zygote()
        self._dag.start(zygote)
        grpc_server = self._serve_grpc() if self._grpc else None
        if self._conf["dag"]["tracer_interval_s"] > 0:
            threading.Thread(target=self._trace, args=(stop,), daemon=True).start()
        listeners = [s for s in (http, rpc) if s is not None]
        fronts += [_front.Worker(s, self._handle_http, THREADS) for s in listeners]
        for f in fronts[1:]:
            threading.Thread(target=f.run, args=(pipe,), daemon=True).start()
        if fronts:
            fronts[0].run(pipe)
        else:
            self._wait(pipe, stop)
        if grpc_server is not None:
            grpc_server.stop(5).wait()
        self._dag.stop()

    @staticmethod
    def _wait(pipe, stop):
        import select
        while not stop.is_set():
            if select.select([pipe], [], [], 0.5)[0]:
                return

    # ---- fronts ----

    def _call(self, message):
        if message.name and self._name and message.name != self._name and message.name != "-":
            return _proto.pipeline()["Response"](err_no=Err.NO_SERVICE.value, err_msg="Failed to inference: Service name error.")
        return self._dag.call(message)

    def _handle_http(self, request):
        parts = request.path.strip("/").split("/")
        if request.method != "POST" or len(parts) != 2:
            body = {"error": "Not Found", "message": f"POST /{self._name}/prediction is answered here", "code": 5}
            return 404, "application/json", json.dumps(body).encode()
        try:
            message = json_format.Parse(request.body or b"{}", _proto.pipeline()["Request"](), ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError) as e:
            return 400, "application/json", json.dumps({"error": str(e), "message": str(e), "code": 3}).encode()
        message.name, message.method = parts
        return 200, "application/json", to_json(self._call(message))

    def _serve_grpc(self):
        import concurrent.futures

        import grpc
        m = _proto.pipeline()
        handler = grpc.unary_unary_rpc_method_handler(lambda message, context: self._call(message),
                                                      request_deserializer=m["Request"].FromString,
                                                      response_serializer=m["Response"].SerializeToString)
        service, method = METHOD[1:].split("/")
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=THREADS), options=[
            ("grpc.max_send_message_length", 256 << 20), ("grpc.max_receive_message_length", 256 << 20),
            ("grpc.so_reuseport", 1 if self._conf["build_dag_each_worker"] else 0)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        if server.add_insecure_port(f"0.0.0.0:{self._conf['rpc_port']}") == 0:
            raise SystemExit(f"Port {self._conf['rpc_port']} is already used")
        server.start()
        return server

    # ---- tracer ----

    def _trace(self, stop):
        """A block of figures every interval, in PipelineServingLogs/pipeline.tracer."""
        folder = os.path.join(os.environ.get("SERVING_LOG_PATH", "."), "PipelineServingLogs")
        os.makedirs(folder, exist_ok=True)
        interval_s = self._conf["dag"]["tracer_interval_s"]
        while not stop.wait(interval_s):
            with open(os.path.join(folder, "pipeline.tracer"), "a") as f:
                f.write(self._tracer_block(interval_s))

    def _tracer_block(self, interval_s):
        times, good, bad = self._dag.stats.take()
        times.sort()
        lines = [f"{time.strftime('%Y-%m-%d %H:%M:%S')} ==================== TRACER ======================", "DAGExecutor:",
                 f"\tQuery count[{len(times)}]", f"\tQPS[{len(times) / interval_s} q/s]",
                 f"\tSucc[{good / len(times) if times else 0}]", f"\tError req[{', '.join(map(str, bad))}]", "\tLatency:",
                 f"\t\tave[{sum(times) / len(times) if times else 0} ms]"]
        lines += [f"\t\t.{q}[{times[min(int(len(times) * q / 100), len(times) - 1)]} ms]" for q in (50, 60, 70, 80, 90, 95, 99) if times]
        lines.append(f"Channel (server worker num[{self._conf['worker_num']}]):")
        for name, w in self._dag.workers.items():
            lines.append(f"\t{name} size[{w.queue.queue.qsize()}/{self._conf['dag']['channel_size']}] restarts[{w.restarts}]")
        return "\n".join(lines) + "\n"


def to_json(response):
    """All fields, also those that are empty, under their names in the .proto."""
    body = {"err_no": response.err_no, "err_msg": response.err_msg, "key": list(response.key), "value": list(response.value),
            "tensors": [json_format.MessageToDict(t, preserving_proto_field_name=True) for t in response.tensors]}
    return json.dumps(body, ensure_ascii=False).encode()
