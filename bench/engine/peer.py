#!/usr/bin/env python3
"""One engine, one model, in a process of its own; bench/engine/run.py starts it and talks to it over pipes.

  peer.py ENGINE MODEL IN.npz [--threads N] [--precision fp32|bf16]

ENGINE is ort (an .onnx file), openvino (an .onnx or .pdmodel file) or paddle (a directory with inference.pdmodel).
It prints one JSON line when it is ready (engine's version, time from before the model was opened to the first answer,
resident memory) and writes its outputs into --out, then reads lines "SECONDS" and answers each with the times of its runs in
that many seconds as one JSON line {"min_ms", "median_ms", "cpu_ms", "runs"}.
"""
import argparse
import json
import os
import sys
import time

import numpy as np


def feeds_of(path):
    with np.load(path) as z:
        names = sorted((n for n in z.files if "_lod" not in n), key=lambda n: int(n[2:]))
        return [z[n] for n in names], {n: z[n] for n in z.files if "_lod" in n}


def open_ort(args, feeds):
    import onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads = args.threads
    o.inter_op_num_threads = 1
    o.log_severity_level = 3
    start = time.perf_counter()
    s = ort.InferenceSession(args.model, o, providers=["CPUExecutionProvider"])
    named = {i.name: f for i, f in zip(order(s.get_inputs(), args, lambda i: i.name), feeds)}
    return ort.__version__, start, lambda: s.run(None, named)


def order(inputs, args, name_of):
    """The engine's inputs in the order of the model's feeds, by --names where it is given."""
    if not args.names:
        return list(inputs)
    by_name = {name_of(i): i for i in inputs}
    return [by_name[n] for n in args.names.split(",")]


def open_openvino(args, feeds):
    import openvino as ov
    core = ov.Core()
    start = time.perf_counter()
    model = core.read_model(args.model)
    config = {"INFERENCE_NUM_THREADS": args.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
              "INFERENCE_PRECISION_HINT": "bf16" if args.precision == "bf16" else "f32"}
    c = core.compile_model(model, "CPU", config)
    request = c.create_infer_request()
    ports = order(c.inputs, args, lambda p: p.get_any_name())
    tensors = [ov.Tensor(f) for f in feeds]

    def run():
        for p, t in zip(ports, tensors):
            request.set_tensor(p, t)
        request.infer()
        return [request.get_tensor(p).data for p in c.outputs]
    return ov.__version__.split("-")[0], start, run


def open_paddle(args, feeds):
    import paddle
    from paddle import inference
    start = time.perf_counter()
    c = inference.Config(os.path.join(args.model, "inference.pdmodel"), os.path.join(args.model, "inference.pdiparams"))
    c.disable_gpu()
    c.disable_glog_info()
    c.set_cpu_math_library_num_threads(args.threads)
    c.switch_ir_optim(True)
    c.enable_memory_optim()
    if not args.lod:
        c.enable_mkldnn()
        c.set_mkldnn_cache_capacity(10)
        if args.precision == "bf16":
            c.enable_mkldnn_bfloat16()
    p = inference.create_predictor(c)
    handles = [p.get_input_handle(n) for n in (args.names.split(",") if args.names else p.get_input_names())]
    outs = [p.get_output_handle(n) for n in p.get_output_names()]

    def run():
        for i, (h, f) in enumerate(zip(handles, feeds)):
            h.copy_from_cpu(f)
            levels = [args.lod[k].tolist() for k in sorted(args.lod) if k.startswith(f"in{i}_lod")]
            if levels:
                h.set_lod(levels)
        p.run()
        return [o.copy_to_cpu() for o in outs]
    return paddle.__version__, start, run


ENGINES = {"ort": open_ort, "openvino": open_openvino, "paddle": open_paddle}


def resident_bytes():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("engine", choices=ENGINES)
    ap.add_argument("model")
    ap.add_argument("feeds")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--precision", default="fp32")
    ap.add_argument("--names", default="", help="the engine's input names in the order of in0, in1, ...")
    ap.add_argument("--out", default="")
    args = ap.parse_args()
    feeds, args.lod = feeds_of(args.feeds)
    before = resident_bytes()
    version, start, run = ENGINES[args.engine](args, feeds)
    answer = run()
    first_ms = (time.perf_counter() - start) * 1e3
    ready = {"version": version, "first_ms": first_ms, "resident_bytes": resident_bytes(), "before_bytes": before}
    if args.out:
        np.savez(args.out, **{f"out{i}": np.asarray(a) for i, a in enumerate(answer)})
    for _ in range(3):
        run()
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        end = time.perf_counter() + float(line)
        times, cpu = [], time.process_time()
        while not times or time.perf_counter() < end:
            t = time.perf_counter()
            run()
            times.append((time.perf_counter() - t) * 1e3)
        cpu = (time.process_time() - cpu) * 1e3 / len(times)
        times.sort()
        print(json.dumps({"cpu_ms": cpu, "min_ms": times[0], "median_ms": times[len(times) // 2], "runs": len(times)}), flush=True)


if __name__ == "__main__":
    main()
