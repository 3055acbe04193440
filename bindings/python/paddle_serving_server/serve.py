"""python -m paddle_serving_server.serve: starts a server of models with one line; stop, kill and check.

Every flag of the original is here, with its abbreviations, and those of older releases that scripts still use.
"""
import argparse
import os
import sys

from .dag import OpMaker, OpSeqMaker
from .server import Server
from .util import dump_pid_file, forget_pid_file, port_is_available, stop_servers


NO_DEVICE = "no effect: the server runs on the CPU"
NOT_SPREAD = "refused: one process holds the whole model"


def serve_args(argv=None):
    p = argparse.ArgumentParser("serve")
    p.add_argument("server", type=str, default="start", nargs="?", choices=("start", "stop", "kill", "check"),
                   help="start a server; stop (SIGINT) or kill those of ProcessInfo.json; check the environment")
    p.add_argument("--thread", type=int, default=4, help="worker threads")
    p.add_argument("--port", type=int, default=9393, help="the port of every protocol")
    p.add_argument("--name", type=str, default="", help="serve HTTP at /NAME/prediction too")
    p.add_argument("--device", type=str, default="cpu", help="no effect: the server runs on the CPU")
    p.add_argument("--gpu_ids", type=str, default="", nargs="+", help="no effect: the server runs on the CPU")
    p.add_argument("--op_num", "--runtime_thread_num", dest="runtime_thread_num", type=int, default=0, nargs="+",
                   help="asynchronous threads of each model")
    p.add_argument("--op_max_batch", "--batch_infer_size", dest="batch_infer_size", type=int, default=32, nargs="+",
                   help="rows of a joined batch")
    p.add_argument("--model", type=str, default="", nargs="+", help="model folders, in the order of the operators")
    p.add_argument("--op", type=str, default="", nargs="+", help="operators in order; NAME:0 is one without a model")
    p.add_argument("--workdir", type=str, default="workdir", help="folder of the configuration that is written")
    p.add_argument("--use_mkl", default=False, action="store_true", help="no effect: oneDNN is always used")
    p.add_argument("--precision", type=str, default="fp32", help="fp32, bf16, fp16 or int8")
    p.add_argument("--use_calib", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--mem_optim_off", default=False, action="store_true", help="no effect: memory is always planned")
    p.add_argument("--mem_optim", default=False, action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--ir_optim", default=False, action="store_true", help="no effect: the graph is always optimised")
    p.add_argument("--max_body_size", type=int, default=512 * 1024 * 1024, help="bytes of the largest request")
    p.add_argument("--use_encryption_model", default=False, action="store_true",
                   help="the model is encrypted: wait for a client's key before serving it")
    p.add_argument("--encryption_rpc_port", type=int, default=12000, help="the first port tried for serving a decrypted model")
    p.add_argument("--use_trt", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--use_lite", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--use_xpu", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--use_ascend_cl", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--product_name", type=str, default=None, help="written to resource.prototxt; nothing asks for it")
    p.add_argument("--container_id", type=str, default=None, help="as --product_name")
    p.add_argument("--gpu_multi_stream", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--enable_prometheus", default=False, action="store_true", help="metrics on a port of their own")
    p.add_argument("--prometheus_port", type=int, default=19393, help="that port; /metrics of --port has them too")
    p.add_argument("--request_cache_size", type=int, default=0, help="bytes; 0: off")
    p.add_argument("--use_dist_model", default=False, action="store_true", help=NOT_SPREAD)
    p.add_argument("--dist_carrier_id", type=str, default="", help=NOT_SPREAD)
    p.add_argument("--dist_cfg_file", type=str, default="", help=NOT_SPREAD)
    p.add_argument("--dist_endpoints", type=str, default="", help=NOT_SPREAD)
    p.add_argument("--dist_nranks", type=int, default=0, help=NOT_SPREAD)
    p.add_argument("--dist_subgraph_index", type=int, default=-1, help=NOT_SPREAD)
    p.add_argument("--dist_worker_serving_endpoints", type=str, default=None, help=NOT_SPREAD)
    p.add_argument("--dist_master_serving", default=False, action="store_true", help=NOT_SPREAD)
    p.add_argument("--min_subgraph_size", type=str, default="", nargs="+", help=NO_DEVICE)
    p.add_argument("--gpu_memory_mb", type=int, default=50, help=NO_DEVICE)
    p.add_argument("--cpu_math_thread_num", type=int, default=1, help="no effect, as in Paddle Serving: --thread is what counts")
    p.add_argument("--trt_workspace_size", type=int, default=33554432, help=NO_DEVICE)
    p.add_argument("--trt_use_static", default=False, action="store_true", help=NO_DEVICE)
    p.add_argument("--use_multilang", default=False, action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--host", type=str, default=None, help="the address to listen on; all without it")
    return p.parse_args(argv)


# flags that are accepted and change nothing here: (attribute, its default)
WITHOUT_EFFECT = (("device", "cpu"), ("mem_optim_off", False), ("mem_optim", False), ("ir_optim", False), ("use_mkl", False), ("gpu_ids", ""), ("use_trt", False), ("use_lite", False), ("use_xpu", False), ("use_ascend_cl", False),
                  ("gpu_multi_stream", False), ("use_calib", False), ("gpu_memory_mb", 50), ("trt_workspace_size", 33554432),
                  ("trt_use_static", False), ("min_subgraph_size", ""), ("cpu_math_thread_num", 1), ("use_multilang", False))


def _say_what_does_nothing(args):
    ignored = ["--" + name for name, default in WITHOUT_EFFECT if getattr(args, name) != default]
    if ignored:
        print("without effect here (Oar serves on the CPU, plans memory and graph for every model, and speaks every protocol on one "
              f"port): {' '.join(ignored)}", flush=True)


def _check(args):
    for model in args.model or []:
        if os.path.isfile(model):
            raise ValueError("The input of --model should be a dir not file.")
    if isinstance(args.gpu_ids, list):
        for group in args.gpu_ids:
            if any(int(g) < -1 for g in group.split(",") if g.strip().lstrip("-").isdigit()):
                raise ValueError("The input of gpuid error.")
    if args.use_dist_model or args.dist_master_serving or args.dist_subgraph_index >= 0:
        if args.dist_master_serving and not args.dist_worker_serving_endpoints:
            raise ValueError("Params Error!. dist_worker_serving_endpoints is empty when dist_master_serving is set")
        raise ValueError("distributed models (--use_dist_model, --dist_*) are not served: one process holds the whole model")


def operators(args):
    """The sequence of operators that --model and --op mean."""
    maker, sequence = OpMaker(), OpSeqMaker()
    sequence.add_op(maker.create("GeneralReaderOp"))
    types = []
    names = args.op or []
    if not names:
        names = ["GeneralInferOp"] * len(args.model)
        if len(args.model) == 2 and os.path.basename(os.path.normpath(args.model[0])) == "ocr_det_model":
            names[0] = "GeneralDetectionOp"
    for name in names:
        kind, _, model = name.partition(":")
        if kind not in maker.op_list:
            maker.op_list.append(kind)
        if model != "0":
            types.append(kind)
        sequence.add_op(maker.create(kind))
    sequence.add_op(maker.create("GeneralResponseOp"))
    return sequence.get_op_sequence(), types


def make_server(args):
    """The Server that the flags mean, prepared."""
    server = Server()
    workflow, types = operators(args)
    server.default_engine_types += [t for t in types if t not in server.default_engine_types]
    server.set_op_sequence(workflow)
    server.set_num_threads(max(args.thread, 1))
    server.set_memory_optimize(not args.mem_optim_off)
    server.set_ir_optimize(args.ir_optim)
    server.set_precision(args.precision)
    server.set_use_calib(args.use_calib)
    server.set_runtime_thread_num(args.runtime_thread_num)
    server.set_batch_infer_size(args.batch_infer_size)
    server.set_max_body_size(args.max_body_size)
    server.set_enable_prometheus(args.enable_prometheus)
    server.set_prometheus_port(args.prometheus_port)
    server.set_request_cache_size(args.request_cache_size)
    server.use_encryption_model(args.use_encryption_model)
    if args.product_name is not None:
        server.set_product_name(args.product_name)
    if args.container_id is not None:
        server.set_container_id(args.container_id)
    if args.name:
        server.set_http_name(args.name)
    if args.host:
        server.set_host(args.host)
    server.load_model_config(args.model)
    server.prepare_server(workdir="{}_{}".format(args.workdir, args.port), port=args.port)
    return server


def start(args):
    if not args.model:
        print("You must specify your serving model")
        return 255
    _check(args)
    _say_what_does_nothing(args)
    if not port_is_available(args.port):
        raise SystemExit("Port {} is already used".format(args.port))
    if args.use_encryption_model:
        from . import encryption
        return encryption.run(args, make_server)
    server = make_server(args)
    dump_pid_file([args.port], args.model)
    if args.name:
        print("web service address:\nhttp://127.0.0.1:{}/{}/prediction".format(args.port, args.name), flush=True)
    try:
        status = server.run_server()
    finally:
        forget_pid_file([args.port])
    print("Process stopped")
    return status


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = serve_args(argv)
    if args.server in ("stop", "kill"):
        typed = any(a == "--port" or a.startswith("--port=") for a in argv)
        stop_servers(args.server, args.port if typed else None)
        return 0
    if args.server == "check":
        from .env_check import run
        return run.main()
    return start(args)


if __name__ == "__main__":
    sys.exit(main())
