"""PipelineServer: config.yml, the server in C in front of the graph (HTTP and gRPC), local model servers behind it."""
import os
import sys

from .. import _crew
from ..util import GetAvailablePortGenerator, dump_pid_file, forget_pid_file, port_is_available
from . import log
from .dag import Dag, Work
from .model_call import CALLS
from .tracer import Tracer

# path in the file -> (type, default, least value); a value that does not fit ends the program as the original does
TOP = {"rpc_port": (int, None, 1024), "http_port": (int, None, 1024), "worker_num": (int, 1, 1), "build_dag_each_worker": (bool, False, None),
       "grpc_gateway_port": (int, None, 1024), "tls_cert": (str, None, None), "tls_key": (str, None, None)}
DAG = {"retry": (int, 1, 1), "client_type": (str, "brpc", None), "use_profile": (bool, False, None), "channel_size": (int, 0, 0),
       "is_thread_op": (bool, True, None), "channel_recv_frist_arrive": (bool, False, None), "enable_prometheus": (bool, False, None),
       "prometheus_port": (int, 19393, 1)}
TRACER = {"interval_s": (int, -1, -1)}
OP = {"concurrency": (int, 1, 1), "timeout": (int, -1, -1), "retry": (int, 1, 1), "batch_size": (int, 1, 1),
      "auto_batching_timeout": (int, -1, -1), "server_endpoints": (list, None, None), "fetch_list": (list, None, None),
      "client_config": (str, None, None), "client_type": (str, None, None), "use_encryption_model": (bool, False, None),
      "encryption_key": (str, "", None), "local_service_conf": (dict, None, None)}
LOCAL = {"client_type": (str, None, None), "model_config": (str, None, None), "fetch_list": (list, None, None), "workdir": (str, "", None),
         "thread_num": (int, 2, 1), "device_type": (int, -1, -1), "devices": (str, "", None), "mem_optim": (bool, True, None),
         "ir_optim": (bool, False, None), "precision": (str, "fp32", None), "use_calib": (bool, False, None),
         "use_mkldnn": (bool, False, None), "mkldnn_cache_capacity": (int, 0, 0), "mkldnn_op_list": (list, [], None),
         "mkldnn_bf16_op_list": (list, [], None), "min_subgraph_size": (int, 3, None)}
# keys of LOCAL that change nothing on a CPU, with the values that ask for nothing
WITHOUT_EFFECT = (("devices", ("",)), ("device_type", (0, -1)), ("use_calib", (False,)))
FULL_BATCH_WAIT_MS = 5  # a batch waits so long where the file gives a batch_size and no auto_batching_timeout


def as_map(conf, where):
    if conf is not None and not isinstance(conf, dict):
        raise SystemExit(f"[CONF] {where} must be a map, but get {type(conf).__name__}")
    return conf or {}


def checked(conf, rows, where=""):
    """The values of one part of the file, with defaults; unknown keys are left out."""
    conf = as_map(conf, where.rstrip(".") or "the file")
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
    tracer = checked(as_map(raw.get("dag"), "dag").get("tracer"), TRACER, "dag.tracer.")
    conf["dag"]["tracer_interval_s"] = tracer["interval_s"]
    conf["op"] = as_map(raw.get("op") or raw.get("ops"), "op")
    return conf


def _say_what_does_nothing(name, service):
    given = [key for key, usual in WITHOUT_EFFECT if service[key] not in usual]
    if given:
        print(f"[CONF] op.{name}.local_service_conf: without effect here (Oar runs models on the CPU): {' '.join(given)}",
              file=sys.stderr, flush=True)


def op_conf(raw, name, handler=None):
    """One operator's part, with its local service's beside it: the file's, or the handler's that the script gave it."""
    conf = checked(raw, OP, f"op.{name}.")
    local = conf.pop("local_service_conf") or (handler.conf if handler is not None else None)
    conf["model_config"] = None
    if not conf["server_endpoints"] and local:
        service = checked(local, LOCAL, f"op.{name}.local_service_conf.")
        conf["local"] = service
        # thread_num's default of 2 is the server's in C: in workers, of which there are many, a model has one thread unless told
        conf["predictor"] = {"precision": service["precision"], "use_mkldnn": service["use_mkldnn"],
                             "mkldnn_bf16_op_list": service["mkldnn_bf16_op_list"], "thread_num": local.get("thread_num") or 1}
        _say_what_does_nothing(name, service)
        for key in ("model_config", "client_type", "fetch_list"):
            conf[key] = service[key] or conf.get(key)
    if conf["client_type"] is not None and conf["client_type"] not in CALLS:
        raise SystemExit(f"[CONF] op.{name}: client_type is one of {', '.join(CALLS)}, and not {conf['client_type']!r}")
    if conf["model_config"] is not None and not os.path.exists(conf["model_config"]):
        raise SystemExit(f"[CONF] op.{name}: model_config {conf['model_config']!r} is not there: give the server's folder that save_model or "
                         "convert wrote")
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
        s.listen_on_unix_socket()
        s.load_model_config(conf["model_config"])
        s.prepare_server(workdir=f"{local['workdir'] or 'workdir'}_{port}", port=port)
        s.start(quiet_terminal=True)

    def keep(self):
        if self.server.process.poll() is not None:
            print(f"pipeline: the model server of Op {self.name} ended with {self.server.process.returncode}; starting it again",
                  file=sys.stderr, flush=True)
            self.server.start(quiet_terminal=True)

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
        names = [op.name for op in self._dag.ops]
        for stranger in set(self._conf["op"]) - set(names):
            print(f"[CONF] op.{stranger} is of no operator of this graph, which has {names}", file=sys.stderr, flush=True)
        for op in self._dag.ops:
            op.configure(op_conf(self._conf["op"].get(op.name), op.name, op.local_service_handler))
        for port in (self._conf["rpc_port"], self._conf["http_port"]):
            if port is not None and not port_is_available(port):
                raise SystemExit("Port {} is already used".format(port))

    # ---- running ----

    def run_server(self):
        """Serves until SIGTERM or SIGINT."""
        if self._dag is None:
            raise ValueError("call prepare_server before run_server")
        conf = self._conf
        ports = [p for p in (conf["http_port"], conf["rpc_port"]) if p is not None]
        services = self._start_local_services()
        copies = conf["worker_num"] if conf["build_dag_each_worker"] else 1
        crew_conf = self._dag.crew_conf(self._name, copies)
        work = Work(self._dag, self._name, kept=len(crew_conf["processes"]) == 1)
        log.begin()
        service = _crew.Service(crew_conf, work, ports[0], self._options(ports))
        tracer = Tracer(conf, ports[0])

        def say_ready():
            dump_pid_file(ports, "pipeline")
            log.LOGGER.info("pipeline %s is ready: rpc_port %s, http_port %s", self._name or "", conf["rpc_port"], conf["http_port"])
            print(f"pipeline {self._name or ''}: rpc_port {conf['rpc_port']}, http_port {conf['http_port']}", file=sys.stderr, flush=True)

        def tick():
            tracer.tick()
            for s in services:
                s.keep()

        try:
            service.run(say_ready, tick)
        finally:
            forget_pid_file(ports)
            for s in services:
                s.stop()

    def _options(self, ports):
        options = ["--quiet", "--thread", 1]  # one loop hands out more than any number of Pythons take
        for port in ports[1:]:
            options += ["--listen", f"0.0.0.0:{port}"]
        if self._conf["tls_cert"] or self._conf["tls_key"]:  # ours: HTTPS and gRPC over TLS on the same ports
            options += ["--tls-cert", self._conf["tls_cert"] or "", "--tls-key", self._conf["tls_key"] or ""]
        if self._conf["dag"]["enable_prometheus"]:
            options += ["--prometheus-port", self._conf["dag"]["prometheus_port"]]
        return options

    def _start_local_services(self):
        ports, services = GetAvailablePortGenerator(), []
        for op in self._dag.ops:
            if op.conf.get("local") and op.conf["client_type"] in ("brpc", "grpc"):
                service = LocalService(op.name, op.conf, ports.next())
                services.append(service)
                op.conf["server_endpoints"] = [service.server.address]
        for s in services:
            s.server.wait_ready()
        return services
