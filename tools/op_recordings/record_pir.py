#!/usr/bin/env python3
"""Records what Paddle 3 answers for the functions that users call, as one PIR program (tests/data/ops/api/pir33).

    PYTHON tools/op_recordings/record_pir.py [--out tests/data/ops] [--only NAME,...] [--split]

PYTHON is an interpreter with paddlepaddle 3. Each case is a function of paddle's on arrays; what operators that makes is the
framework's choice, and what the answers are, that of its own predictor on the saved program. A case that it refuses
is told and left out. --split makes a model of each case: tools/zoo_check --zoo OUT says which fail.
"""
import argparse
import json
import pathlib

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.inference import Config, create_predictor

paddle.enable_static()
ROOT = pathlib.Path(__file__).resolve().parents[2]
R = np.random.default_rng(5)


def f(*shape):
    return R.normal(size=shape).astype(np.float32)


def ids(below, *shape):
    return R.integers(0, below, shape).astype(np.int64)


def one_hots(*shape):
    x = np.zeros(shape, np.float32)
    x[..., 1] = 1
    return x


def set_part(x, at, value):
    x = x * 1.0
    x[at] = value
    return x


def appended(x):
    """A loop that appends to an array, as code with list.append becomes."""
    array = paddle.tensor.create_array("float32")

    def go_on(i, h):
        return i < 3

    def step(i, h):
        h = paddle.tanh(h + x[:, 0])
        paddle.tensor.array_write(h, paddle.tensor.array_length(array), array)
        return i + 1, h
    paddle.static.nn.while_loop(go_on, step, [paddle.zeros([1], "int64"), x[:, 0] * 0])
    joined, _ = paddle.tensor.manipulation.tensor_array_to_tensor(array, axis=1, use_stack=True)
    return joined, paddle.tensor.array_length(array), paddle.tensor.array_read(array, paddle.ones([1], "int64"))


def cases():
    """name, function, arrays."""
    odd = np.float32([np.nan, np.inf, -np.inf, 1])
    x = f(3, 4)
    near = x + np.float32(1e-3) * (R.random((3, 4)) > 0.5)
    yield "isclose", lambda a, b: paddle.isclose(a, b, atol=5e-4), [x, near]
    yield "allclose", lambda a, b: paddle.allclose(a, b), [x, x]
    yield "trace", lambda a: paddle.trace(a, 1, 0, 1), [x]
    for p in (float("inf"), -float("inf"), 1.0, 0.0, 3.0):
        yield f"norm_{p}", lambda a, p=p: paddle.linalg.norm(a, p, 1), [x]
    yield "nan_to_num", lambda a: paddle.nan_to_num(a), [odd]
    yield "masked", lambda a: paddle.where(a > 0, a, paddle.full([1], -float("inf"), "float32")), [x]
    for s in (slice(None, None, -1), slice(3, 0, -2), slice(-1, -3, -1), slice(None, 1, -1)):
        yield f"strided_{s}", lambda a, s=s: a[:, s], [x]
    yield "strided_below", lambda a: paddle.strided_slice(a, [1], [-1], [-9], [-1]), [x]
    yield "bits_of_truths", lambda a: paddle.bitwise_not(a > 0) & (a < 1) | (a * a > 3), [x]
    yield "bits", lambda a: paddle.bitwise_left_shift(a, paddle.full([1], 2, "int64")), [ids(9, 3, 4)]
    yield "gammaln", lambda a: paddle.gammaln(a), [np.abs(x) + 0.5]
    yield "index_add", lambda a, i, v: paddle.index_add(a, i, 0, v), [f(4, 3), np.int64([1, 3, 1]), f(3, 3)]
    yield "index_put", lambda a, i, j, v: paddle.index_put(a, (i, j), v), [f(4, 3), np.int64([1, 3]), np.int64([0, 2]), f(2)]
    yield "index_put_add", lambda a, i, v: paddle.index_put(a, (i,), v, accumulate=True), [f(4, 3), np.int64([1, 1]), f(2, 3)]
    yield "index_put_wide", lambda a, i, j: paddle.index_put(a, (i, j), a[0, 0]), [f(4, 3), np.int64([[1], [3]]), np.int64([0, 2])]
    yield "index_put_truths", lambda a: paddle.index_put(a, (a > 0,), paddle.zeros([1])), [x]
    yield "masked_fill", lambda a: paddle.masked_fill(a, a > 0, -5.0), [x]
    for right in (False, True):
        yield f"searchsorted_{right}", lambda a, b, r=right: paddle.searchsorted(a, b, right=r), [np.sort(f(2, 7)), f(2, 4)]
        yield f"bucketize_{right}", lambda a, b, r=right: paddle.bucketize(b, a, right=r, out_int32=True), [np.sort(f(7)), f(3, 2)]
    yield "segment_sum", lambda a, i: paddle.geometric.segment_sum(a, i), [f(5, 3), np.int64([0, 0, 1, 3, 3])]
    yield "segment_mean", lambda a, i: paddle.geometric.segment_mean(a, i), [f(5, 3), np.int64([0, 0, 1, 3, 3])]
    yield "triangles", lambda a: (paddle.tril_indices(4, 5, -1) + a, paddle.triu_indices(3, 5, 1) + a), [np.int64([0])]
    yield "cross", lambda a, b: paddle.cross(a, b), [f(3, 4), f(3, 4)]
    yield "cross_axis", lambda a, b: paddle.cross(a, b, axis=1), [f(2, 3, 4), f(2, 3, 4)]
    yield "copysign", lambda a, b: paddle.copysign(a, b), [f(3, 4), f(3, 4)]
    yield "is_empty", lambda a: paddle.is_empty(a), [x]
    yield "inverse", lambda a: paddle.inverse(a), [f(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)]
    yield "det", lambda a: paddle.linalg.det(a), [f(2, 3, 3)]
    yield "swiglu", lambda a, b: paddle.incubate.nn.functional.swiglu(a, b), [f(2, 6), f(2, 6)]
    yield "swiglu_halves", lambda a: paddle.incubate.nn.functional.swiglu(a), [f(2, 6)]
    yield "rms_norm", lambda a, w: paddle.incubate.nn.functional.fused_rms_norm(a, w, None, 1e-6, 1)[0], [f(2, 6), f(6)]
    yield "layer_norm", lambda a, w, b: paddle.incubate.nn.functional.fused_layer_norm(a, w, b, 1e-6, begin_norm_axis=1)[0], \
        [f(2, 6), f(6), f(6)]
    yield "empty", lambda a: paddle.empty([2, 3]) * 0 + a.sum(), [x]
    yield "multiplex", lambda a, b, i: paddle.multiplex([a, b], i), [f(4, 3), f(4, 3), np.int32([[0], [1], [1], [0]])]
    yield "shard_index", lambda a: paddle.shard_index(a, 20, 2, 0), [ids(20, 5, 1)]
    yield "sequence_mask", lambda a: F.sequence_mask(a, 6), [np.int64([2, 4, 6])]
    yield "label_smooth", lambda a: F.label_smooth(a), [x]
    yield "bernoulli", lambda a: paddle.bernoulli(a), [np.float32([[0, 1, 1], [0, 0, 1]])]
    yield "multinomial", lambda a: paddle.multinomial(a, 1), [one_hots(3, 4)]
    yield "uniform", lambda a: (paddle.uniform([2, 3]) < 2).astype("float32").sum() + a, [x]
    yield "gaussian", lambda a: (paddle.randn([2, 3]) < 20).astype("float32").sum() + a, [x]
    yield "randint", lambda a: (paddle.randint(0, 5, [2, 3]) < 5).astype("float32").sum() + a, [x]
    yield "send_u_recv", lambda a, i, j: paddle.geometric.send_u_recv(a, i, j, "sum"), [f(4, 3), np.int64([0, 1, 2, 0]),
                                                                                       np.int64([1, 2, 1, 0])]
    yield "bilinear", lambda a, b, w, c: F.bilinear(a, b, w, c), [f(4, 3), f(4, 5), f(2, 3, 5), f(1, 2)]
    yield "appended", appended, [f(2, 4, 3)]


# ---- recording ----

def build(chosen):
    main, startup = paddle.static.Program(), paddle.static.Program()
    feeds, arrays, fetches = [], [], []
    with paddle.static.program_guard(main, startup):
        for _, make, ins in chosen:
            values = [paddle.static.data(f"x{len(arrays) + i}", list(a.shape), str(a.dtype)) for i, a in enumerate(ins)]
            arrays += ins
            feeds += values
            out = make(*values)
            fetches += list(out) if isinstance(out, (list, tuple)) else [out]
    return main, feeds, arrays, fetches


def answers(folder, arrays):
    config = Config(str(folder / "inference.json"), "")
    config.disable_gpu()
    config.switch_ir_optim(False)
    config.disable_mkldnn()
    config.disable_glog_info()
    predictor = create_predictor(config)
    for name in predictor.get_input_names():
        predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(arrays[int(name[1:])]))
    predictor.run()
    return [predictor.get_output_handle(n).copy_to_cpu() for n in predictor.get_output_names()]


def record(chosen, folder):
    main, feeds, arrays, fetches = build(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    exe = paddle.static.Executor(paddle.CPUPlace())
    paddle.static.save_inference_model(str(folder / "inference"), feeds, fetches, exe, program=main)
    (folder / "inference.pdiparams").unlink(missing_ok=True)  # there are none
    path = folder / "inference.json"
    out = answers(folder, arrays)
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")))
    np.savez_compressed(folder / "case_0.in.npz", **{f"in{i}": a for i, a in enumerate(arrays)})
    np.savez_compressed(folder / "case_0.out.npz", **{f"out{i}": a for i, a in enumerate(out)})


def answered(case, folder):
    try:
        record([case], folder)
        return True
    except Exception as e:  # whatever it is, the case is of no use
        print(f"not recorded: {case[0]}: {str(e).strip().splitlines()[-1][:160]}")
        return False


def main():
    import tempfile
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=ROOT / "tests" / "data" / "ops", type=pathlib.Path)
    p.add_argument("--only", default="", help="names, with commas between")
    p.add_argument("--split", action="store_true", help="one model for each case")
    args = p.parse_args()
    wanted = [w for w in args.only.split(",") if w]
    with tempfile.TemporaryDirectory() as scratch:
        place = args.out if args.split else pathlib.Path(scratch)
        chosen = [c for c in cases() if (not wanted or c[0] in wanted) and answered(c, place / c[0] / "pir33")]
    if not args.split:
        record(chosen, args.out / "api" / "pir33")
    print(f"{len(chosen)} cases")


if __name__ == "__main__":
    main()
