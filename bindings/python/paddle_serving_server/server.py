"""Server: writes the files that the original's launcher writes, and runs the server in C with its command line."""
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time

from google.protobuf import text_format

from oar import _binary, _proto
from paddle_serving_client.conf import Config

from .dag import parse_node
from .util import port_is_available

CONF = "serving_server_conf.prototxt"
LEAST_BODY = 64 * 1024 * 1024
# Setters whose value the server in C has no use for: said once, so that nobody thinks they are honoured.
GPU_NOTE = "Oar serves on the CPU: {} has no effect"


class Server:
    """A server of models. The setters are the original's; those for devices that are not here say so."""

    def __init__(self):
        self.general_model_config_fn = []
        self.model_toolkit_conf = []
        self.resource_conf = None
        self.infer_service_conf = None
        self.workflow_conf = None
        self.model_config_paths = {}  # node -> model folder
        self.default_engine_types = ["GeneralInferOp", "GeneralDistKVInferOp", "GeneralDistKVQuantInferOp", "GeneralDetectionOp"]
        self.num_threads = 2
        self.max_concurrency = 0
        self.max_body_size = LEAST_BODY
        self.port = 8080
        self.precision = "fp32"
        self.use_calib = False
        self.reload_interval_s = 10
        self.memory_optimization = self.ir_optimization = False
        self.device = "cpu"
        self.gpuid = []
        self.runtime_thread_num = [0]
        self.batch_infer_size = [32]
        self.use_trt = self.gpu_multi_stream = self.use_lite = self.use_xpu = self.use_ascend_cl = False
        self.enable_prometheus, self.prometheus_port = False, 19393
        self.request_cache_size = 0
        self.min_subgraph_size, self.trt_dynamic_shape_info = [], []
        self.gpu_memory_mb, self.cpu_math_thread_num, self.trt_workspace_size, self.trt_use_static = 50, 1, 33554432, False
        self.product_name = self.container_id = None
        self.dist_model = {}
        self.http_name = None
        self.bind_host = None
        self.unix_socket = None
        self.bin_path = None
        self.use_local_bin = False
        self.workdir = None
        self.cube_conf = None
        self.process = None

    # ---- setters ----

    def set_max_concurrency(self, concurrency):
        self.max_concurrency = concurrency

    def set_num_threads(self, threads):
        self.num_threads = threads

    def set_max_body_size(self, body_size):
        if body_size >= LEAST_BODY:
            self.max_body_size = body_size
        else:
            print("max_body_size is less than default value, will use default value in service.")

    def use_encryption_model(self, flag=False):
        self.encryption_model = flag

    def set_port(self, port):
        self.port = port

    def set_precision(self, precision="fp32"):
        if precision not in ("fp32", "fp16", "bf16", "int8"):
            raise ValueError(f"no precision {precision!r}: there are fp32, bf16, fp16 and int8")
        self.precision = precision

    def set_use_calib(self, use_calib=False):
        self.use_calib = use_calib

    def set_reload_interval(self, interval):
        self.reload_interval_s = interval

    def set_op_sequence(self, op_seq):
        self.workflow_conf = op_seq

    def set_op_graph(self, op_graph):
        self.workflow_conf = op_graph

    def set_memory_optimize(self, flag=False):
        self.memory_optimization = flag

    def set_ir_optimize(self, flag=False):
        self.ir_optimization = flag

    def set_product_name(self, product_name=None):
        if product_name is None:
            raise ValueError("product_name can't be None.")
        self.product_name = product_name

    def set_container_id(self, container_id):
        if container_id is None:
            raise ValueError("container_id can't be None.")
        self.container_id = container_id

    def check_local_bin(self):
        if "SERVING_BIN" in os.environ:
            self.use_local_bin = True
            self.bin_path = os.environ["SERVING_BIN"]

    def check_cuda(self):
        raise SystemExit("GPU not found, please check your environment or use cpu version by \"pip install paddle_serving_server\"")

    def set_device(self, device="cpu"):
        self.device = device
        if device != "cpu":
            print(GPU_NOTE.format(f"device {device!r}"))

    def set_gpuid(self, gpuid):
        if gpuid is None:
            self.gpuid = []
            return
        self.gpuid = gpuid if isinstance(gpuid, list) else [gpuid]
        if any(str(g) not in ("", "-1") for g in self.gpuid):
            print(GPU_NOTE.format(f"gpuid {gpuid}"))

    def set_runtime_thread_num(self, runtime_thread_num):
        self.runtime_thread_num = _int_list(runtime_thread_num, "runtime_thread_num")

    def set_batch_infer_size(self, batch_infer_size):
        self.batch_infer_size = _int_list(batch_infer_size, "batch_infer_size")

    def set_trt(self):
        self._gpu_switch("use_trt")

    def set_gpu_multi_stream(self):
        self._gpu_switch("gpu_multi_stream")

    def set_lite(self):
        self._gpu_switch("use_lite")

    def set_xpu(self):
        self._gpu_switch("use_xpu")

    def set_ascend_cl(self):
        self._gpu_switch("use_ascend_cl")

    def _gpu_switch(self, name):
        setattr(self, name, True)
        print(GPU_NOTE.format(name))

    def set_enable_prometheus(self, flag=False):
        self.enable_prometheus = flag

    def set_prometheus_port(self, prometheus_port):
        self.prometheus_port = prometheus_port

    def set_request_cache_size(self, request_cache_size):
        self.request_cache_size = request_cache_size

    def _set_dist(self, name, value, kind):
        if not isinstance(value, kind):
            raise ValueError(f"Type of {name} must be {kind.__name__}.")
        self.dist_model[name] = value

    def set_enable_dist_model(self, status):
        self._set_dist("enable_dist_model", status, bool)

    def set_dist_carrier_id(self, carrier_id):
        self._set_dist("dist_carrier_id", carrier_id, str)

    def set_dist_cfg_file(self, cfg_file):
        self._set_dist("dist_cfg_file", cfg_file, str)

    def set_dist_nranks(self, nranks):
        self._set_dist("dist_nranks", nranks, int)

    def set_dist_endpoints(self, endpoints):
        self._set_dist("dist_endpoints", endpoints, list)

    def set_dist_subgraph_index(self, subgraph_index):
        self._set_dist("dist_subgraph_index", subgraph_index, int)

    def set_dist_worker_serving_endpoint(self, serving_endpoints):
        self._set_dist("dist_worker_serving_endpoint", serving_endpoints, list)

    def set_dist_master_serving(self, is_master):
        self._set_dist("dist_master_serving", is_master, bool)

    def set_min_subgraph_size(self, min_subgraph_size):
        self.min_subgraph_size = [int(n) if str(n).isdigit() else 3 for n in min_subgraph_size]

    def set_trt_dynamic_shape_info(self, info):
        self.trt_dynamic_shape_info = info

    def set_gpu_memory_mb(self, gpu_memory_mb):
        self.gpu_memory_mb = gpu_memory_mb

    def set_cpu_math_thread_num(self, cpu_math_thread_num):
        self.cpu_math_thread_num = cpu_math_thread_num

    def set_trt_workspace_size(self, trt_workspace_size):
        self.trt_workspace_size = trt_workspace_size

    def set_trt_use_static(self, trt_use_static):
        self.trt_use_static = trt_use_static

    def set_http_name(self, name):
        """Also serve /NAME/prediction, as the old launcher's --name did. Ours."""
        self.http_name = name

    def set_host(self, host):
        """The address to listen on; all without it. Ours."""
        self.bind_host = host

    def listen_on_unix_socket(self):
        """Also listen on a socket of this machine's own, which those that ask from here find at `address`. It is a name and no
        file, so that nothing is left behind. Ours."""
        self.unix_socket = "unix:@oar-{}-{}".format(os.getpid(), secrets.token_hex(8))

    @property
    def address(self):
        """Where a client on this machine asks. Ours."""
        return self.unix_socket or f"127.0.0.1:{self.port}"

    def use_mkl(self, flag):
        """oneDNN is always used."""

    # ---- models ----

    def _engine_nodes(self):
        nodes = [] if self.workflow_conf is None else self.workflow_conf.workflows[0].nodes
        return [n for n in nodes if n.type in self.default_engine_types or n.name in self.default_engine_types]

    def load_model_config(self, model_config_paths_args):
        """Model folders in the graph's order: one, a list, or {operator: folder}."""
        nodes = self._engine_nodes()
        if self.workflow_conf is None:
            raise ValueError("no operators: call set_op_sequence or set_op_graph before load_model_config")
        if isinstance(model_config_paths_args, (str, os.PathLike)):
            model_config_paths_args = [model_config_paths_args]
        if isinstance(model_config_paths_args, dict):
            try:
                paths = {parse_node(op).name: os.fspath(path) for op, path in model_config_paths_args.items()}
            except text_format.ParseError:
                raise ValueError("the keys of load_model_config's dict are operators as OpMaker.create gave them, and not "
                                 f"{list(model_config_paths_args)}") from None
            unknown = set(paths) - {n.name for n in nodes}
            if unknown:
                raise ValueError(f"{sorted(unknown)} are no operators of the graph that run a model; those are "
                                 f"{[n.name for n in nodes]}")
        elif isinstance(model_config_paths_args, (list, tuple)):
            paths = {n.name: os.fspath(p) for n, p in zip(nodes, model_config_paths_args)}
            if len(model_config_paths_args) != len(nodes):
                raise ValueError(f"{len(model_config_paths_args)} models for {len(nodes)} operators that run one "
                                 f"({[n.name for n in nodes]})")
        else:
            raise ValueError("load_model_config takes a folder, a list of folders or a dict of operator to folder")
        for path in paths.values():
            if os.path.isfile(path):
                raise ValueError("The input of --model should be a dir not file.")
            if not os.path.exists(os.path.join(path, CONF)):
                raise ValueError(f"{path}: no {CONF} there: give the server's folder that save_model or convert wrote")
        self.model_config_paths = paths
        self._configs = {name: Config(os.path.join(path, CONF)) for name, path in paths.items()}

    def get_fetch_list(self, infer_node_idx=-1):
        return list(self._configs.values())[infer_node_idx].fetch_names

    # ---- files ----

    def _engine(self, node, path, index):
        engine = _proto.configure()["EngineDesc"](
            name=node.name, type="PADDLE_INFER", reloadable_meta=os.path.join(path, "fluid_time_file"),
            reloadable_type="timestamp_ne", model_dir=path, enable_memory_optimization=self.memory_optimization,
            enable_ir_optimization=self.ir_optimization, use_trt=False, use_lite=False, use_xpu=False, use_gpu=False,
            combined_model=os.path.exists(os.path.join(path, "__params__")),
            encrypted_model=getattr(self, "encryption_model", False), gpu_multi_stream=False, use_ascend_cl=False,
            runtime_thread_num=self.runtime_thread_num[index % len(self.runtime_thread_num)],
            batch_infer_size=self.batch_infer_size[index % len(self.batch_infer_size)], enable_overrun=False,
            allow_split_request=True)
        return _proto.configure()["ModelToolkitConf"](engines=[engine])

    def _prepare_files(self, workdir):
        m = _proto.configure()
        resource = m["ResourceConf"]()
        quantised = False
        nodes = {n.name: n for n in self._engine_nodes()}
        for index, (name, path) in enumerate(self.model_config_paths.items()):
            folder = os.path.join(workdir, name)
            os.makedirs(folder, exist_ok=True)
            _write(folder, "model_toolkit.prototxt", self._engine(nodes[name], path, index))
            shutil.copyfile(os.path.join(path, CONF), os.path.join(folder, "general_model.prototxt"))
            for where in (folder, path):
                _touch(os.path.join(where, "fluid_time_file"))
            resource.model_toolkit_path.append(folder)
            resource.model_toolkit_file.append("model_toolkit.prototxt")
            resource.general_model_path.append(folder)
            resource.general_model_file.append("general_model.prototxt")
            quantised |= "quant" in name.lower()
        if any("distkv" in n.name.lower() for n in self.workflow_conf.workflows[0].nodes):
            if not self.cube_conf:
                raise ValueError("Please set the path of cube.conf while use dist_kv op.")
            shutil.copyfile(self.cube_conf, os.path.join(workdir, "cube.conf"))
            resource.cube_config_path, resource.cube_config_file = workdir, "cube.conf"
            if quantised:
                resource.cube_quant_bits = 8
        if self.product_name:
            resource.auth_product_name = self.product_name
        if self.container_id:
            resource.auth_container_id = self.container_id
        self.resource_conf = resource
        self.infer_service_conf = m["InferServiceConf"](port=self.port)
        self.infer_service_conf.services.add(name="GeneralModelService", workflows=["workflow1"])
        _write(workdir, "infer_service.prototxt", self.infer_service_conf)
        _write(workdir, "workflow.prototxt", self.workflow_conf)
        _write(workdir, "resource.prototxt", resource)

    def prepare_server(self, workdir=None, port=9292, device=None, use_encryption_model=False, cube_conf=None):
        """Writes the configuration into the folder and checks that the port is free."""
        if device is not None:
            self.set_device(device)
        if self.workflow_conf is None:
            raise ValueError("no operators: call set_op_sequence or set_op_graph before prepare_server")
        if not self.model_config_paths and self._engine_nodes():
            raise ValueError("no model: call load_model_config before prepare_server")
        if not self.port_is_available(port):
            raise SystemExit("Port {} is already used".format(port))
        self.cube_conf = cube_conf
        self.workdir = workdir if workdir is not None else "./tmp"
        self.set_port(port)
        os.makedirs(self.workdir, exist_ok=True)
        self._prepare_files(self.workdir)

    def port_is_available(self, port):
        return port_is_available(port)

    # ---- running ----

    def command(self):
        """The command line of the server in C, as a list."""
        if self.workdir is None:
            raise ValueError("call prepare_server before run_server")
        self.check_local_bin()
        binary = self.bin_path or _binary.path()
        command = [
            binary, "-enable_model_toolkit", "-inferservice_path", self.workdir, "-inferservice_file", "infer_service.prototxt",
            "-max_concurrency", self.max_concurrency, "-num_threads", self.num_threads, "-port", self.port,
            "-precision", self.precision, f"-use_calib={self.use_calib}", "-reload_interval_s", self.reload_interval_s,
            "-resource_path", self.workdir, "-resource_file", "resource.prototxt", "-workflow_path", self.workdir,
            "-workflow_file", "workflow.prototxt", "-bthread_concurrency", self.num_threads, "-max_body_size", self.max_body_size,
        ]
        if self.enable_prometheus:
            command += ["-enable_prometheus=True", "-prometheus_port", self.prometheus_port]
        if self.request_cache_size:
            command += ["-request_cache_size", self.request_cache_size]
        if self.http_name:
            command += ["-http_name", self.http_name]
        if self.bind_host:
            command += ["-host", self.bind_host]
        if self.unix_socket:
            command += ["-listen", self.unix_socket]
        return [str(c) for c in command]

    def start(self, quiet_terminal=False):
        """Starts the server in C and returns at once; self.process is its Popen. quiet_terminal: an interrupt from the terminal
        is its caller's affair alone. Ours."""
        command = self.command()
        if self.use_local_bin:
            print("Use local bin : {}".format(self.bin_path))
        print("Going to Run Comand\n{}".format(" ".join(command)), flush=True)
        env = dict(os.environ)
        if threading.current_thread() is threading.main_thread():  # what the system calls a parent is the thread
            env["OAR_DIES_WITH_PARENT"] = "1"
        self.process = subprocess.Popen(command, env=env, preexec_fn=_own_group if quiet_terminal else None)
        return self.process

    def wait_ready(self, seconds=60):
        """After start(): returns when the server can be asked. Ours."""
        until = time.monotonic() + seconds
        while port_is_available(self.port):
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with status {self.process.returncode} before it was ready")
            if time.monotonic() > until:
                raise SystemExit(f"the server is not ready after {seconds} s")
            time.sleep(0.005)

    def run_server(self):
        """Runs the server until it ends. SIGINT and SIGTERM reach it and let it answer what it has begun."""
        process = self.start()
        restore = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                restore[number] = signal.signal(number, lambda n, _: process.poll() is None and process.send_signal(n))
        try:
            status = process.wait()
        finally:
            for number, handler in restore.items():
                signal.signal(number, handler)
        if status != 0:
            print(f"the server ended with status {status}", file=sys.stderr)
        return status


def _own_group():
    os.setpgid(0, 0)


def _int_list(values, name):
    values = [values] if isinstance(values, int) else list(values)
    try:
        return [int(v) for v in values] or [0]
    except (TypeError, ValueError):
        raise ValueError(f"{name} takes whole numbers, not {values}") from None


def _write(folder, name, message):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text_format.MessageToString(message))


def _touch(path):
    """Creates the reload trigger; a model folder that cannot be written to is served all the same."""
    try:
        with open(path, "a"):
            pass
    except OSError:
        pass
