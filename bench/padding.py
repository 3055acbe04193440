#!/usr/bin/env python3
"""Batches of unequal lengths: Oar's, which are joined without padding, against those of engines that have to pad.

    bench/padding.py [--batch 32] [--rounds 5]

The model is tests/data/zoo/imdb_lstm, for the others the same network as ONNX with the same weights (answers are compared).
Lengths are drawn from 5 to 400. All take the same requests in the same order, as many at once as the batch says: what a batcher in
front of each would give it. One thread each, pinned to one core, rounds alternate; what it takes to put a batch together counts.

Needs the wheel's files in build/site (any of tests/e2e/test_python_*.py makes them), numpy, onnx and onnxruntime; openvino where
it is there.
"""
import argparse
import json
import os
import pathlib
import struct
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build" / "site"))
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import oar  # noqa: E402

MODEL = ROOT / "tests" / "data" / "zoo" / "imdb_lstm" / "pdmodel26"
NAMES = ["fc_0.b_0", "fc_0.w_0", "fc_1.b_0", "fc_1.w_0", "fc_2.b_0", "fc_2.w_0", "w_0.w_0", "w_1.w_0", "w_2.b_0"]


def weights():
    """The file of parameters: one tensor behind the other, in the order of their names."""
    data, at, out = next(MODEL.glob("*.pdiparams")).read_bytes(), 0, {}
    for name in NAMES:
        at += 4 + 8 + 4  # version, no levels of LoD, the tensor's version
        n, = struct.unpack_from("<i", data, at)
        desc, at = data[at + 4:at + 4 + n], at + 4 + n
        dims, k = [], 2  # field 1: the type; field 2, again and again: a dimension
        while k < n:
            k, shift, v = k + 1, 0, 0
            while True:
                v |= (desc[k] & 127) << shift
                shift, k = shift + 7, k + 1
                if desc[k - 1] < 128:
                    break
            dims.append(v)
        count = int(np.prod(dims))
        out[name] = np.frombuffer(data, np.float32, count, at).reshape(dims)
        at += 4 * count
    assert at == len(data)
    return out


def onnx_model(peepholes=True):
    w, h = weights(), 64
    order = [1, 3, 2, 0]  # ours: candidate, input, forget, output; theirs: input, output, forget, candidate
    def gates(m): return np.concatenate([m[..., g * h:(g + 1) * h] for g in order], -1)
    bias = w["w_2.b_0"].ravel()
    peep = [bias[4 * h:5 * h], bias[6 * h:7 * h], bias[5 * h:6 * h]]
    c = {"emb": w["w_0.w_0"], "W": gates(w["fc_0.w_0"]).T[None], "R": gates(w["w_1.w_0"]).T[None],
         "B": np.concatenate([gates(w["fc_0.b_0"]), gates(bias[:4 * h])])[None], "P": np.concatenate(peep)[None],
         "w1": w["fc_1.w_0"], "b1": w["fc_1.b_0"], "w2": w["fc_2.w_0"], "b2": w["fc_2.b_0"], "low": np.float32(-1e30),
         "one": np.array([1], np.int64), "zero": np.int64(0), "step": np.int64(1)}
    n = helper.make_node
    nodes = [n("Transpose", ["words"], ["t"], perm=[1, 0]), n("Gather", ["emb", "t"], ["x"]),
             n("LSTM", ["x", "W", "R", "B", "lens", "", ""] + (["P"] if peepholes else []), ["y4"], hidden_size=h),
             n("Squeeze", ["y4", "one"], ["y"]),
             n("Shape", ["t"], ["s"]), n("Gather", ["s", "zero"], ["steps"]), n("Range", ["zero", "steps", "step"], ["r"]),
             n("Unsqueeze", ["r", "one"], ["r2"]), n("Cast", ["lens"], ["l"], to=TensorProto.INT64), n("Less", ["r2", "l"], ["m"]),
             n("Unsqueeze", ["m", "two"], ["m3"]), n("Where", ["m3", "y", "low"], ["ym"]),
             n("ReduceMax", ["ym"], ["p"], axes=[0], keepdims=0), n("Tanh", ["p"], ["pt"]),
             n("Gemm", ["pt", "w1", "b1"], ["f"]), n("Tanh", ["f"], ["ft"]), n("Gemm", ["ft", "w2", "b2"], ["g"]), n("Softmax", ["g"], ["out"], axis=1)]
    c["two"] = np.array([2], np.int64)
    graph = helper.make_graph(
        nodes, "lstm", [helper.make_tensor_value_info("words", TensorProto.INT64, ["n", "t"]),
                        helper.make_tensor_value_info("lens", TensorProto.INT32, ["n"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in c.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def padded(batch):
    lens = np.array([len(b) for b in batch], np.int32)
    out = np.zeros((len(batch), lens.max()), np.int64)
    for row, b in zip(out, batch):
        row[:len(b)] = b
    return out, lens


def with_oar():
    model = oar.load(str(MODEL))

    def run(batch):
        lod = np.concatenate([[0], np.cumsum([len(b) for b in batch])])
        return model.run({"words": np.concatenate(batch)[:, None], "words.lod": lod})["prediction"]
    return run


def with_onnxruntime():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(), options, providers=["CPUExecutionProvider"])

    def run(batch):
        words, lens = padded(batch)
        return session.run(None, {"words": words, "lens": lens})[0]
    return run


def with_openvino():
    """Knows no peepholes: without them it computes a little less than the others, and other answers."""
    import openvino
    core = openvino.Core()
    model = core.compile_model(core.read_model(onnx_model(peepholes=False)), "CPU",
                               {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"})
    request = model.create_infer_request()

    def run(batch):
        words, lens = padded(batch)
        return request.infer({"words": words, "lens": lens})[model.output(0)]
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=640)
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rng = np.random.default_rng(3)
    asked = [rng.integers(1, 500, rng.integers(5, 401)) for _ in range(args.requests)]
    batches = [asked[i:i + args.batch] for i in range(0, len(asked), args.batch)]
    engines = {"oar": with_oar(), "onnxruntime": with_onnxruntime()}
    try:
        engines["openvino"] = with_openvino()
    except Exception as e:
        print(f"openvino is left out: {str(e).splitlines()[0]}", file=sys.stderr)
    answers = {n: np.concatenate([run(b) for b in batches]) for n, run in engines.items()}
    took = {n: [] for n in engines}
    for _ in range(args.rounds):
        for name, run in engines.items():
            begin = time.perf_counter()
            for b in batches:
                run(b)
            took[name].append(time.perf_counter() - begin)
    ms = {n: float(np.median(t)) * 1e3 / len(asked) for n, t in took.items()}
    waste = 1 - sum(map(len, asked)) / sum(len(b) * max(map(len, b)) for b in batches)
    best = min(v for n, v in ms.items() if n != "oar")
    print(json.dumps({"batch": args.batch, "requests": len(asked), "padding_share": round(waste, 3),
                      "ms_a_request": {n: round(v, 4) for n, v in ms.items()}, "best_peer_over_oar": round(best / ms["oar"], 2),
                      "difference_from_onnxruntime": float(np.abs(answers["oar"] - answers["onnxruntime"]).max())}))
    return 0 if best >= 2 * ms["oar"] else 1


if __name__ == "__main__":
    sys.exit(main())
