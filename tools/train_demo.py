#!/usr/bin/env python3
"""Trains the demo's model and records what the real framework answers.

A small network (10 -> 32 relu -> 1) learns how far a patient's diabetes will have progressed after
a year from ten measurements in their usual units (scikit-learn's `load_diabetes(scaled=False)`).
Scaling the inputs is folded into the first layer after training, so that a request reads as a
doctor would write it: age, sex, body mass index, blood pressure, six blood values.

    python3 -m venv VENV && VENV/bin/pip install paddlepaddle==2.6.2 'numpy<2' scikit-learn setuptools
    VENV/bin/python tools/train_demo.py [DIR]        # DIR: examples/models/diabetes

Writes the model, its serving_*_conf files, and case_N.{in,out}.npz: columns in0.. and out0.. in the
order of the feeds and fetches, computed by paddle.inference on the CPU with every rewrite off.
Neither building nor testing Oar needs this script: what it writes is in the repository.
"""
import json
import os
import sys

import numpy as np
import paddle
import paddle.inference
import sklearn
from sklearn.datasets import load_diabetes

HERE = os.path.dirname(os.path.abspath(__file__))
HIDDEN, STEPS, BATCH, SEED = 32, 3000, 64, 7
FEED, ALIAS = "x", "progression"
CASES = (1, 3, 8)  # rows of each recorded request, taken from the patients held out of training


def split(rng):
    data = load_diabetes(scaled=False)
    order = rng.permutation(len(data.data))
    x, y = data.data[order].astype("float32"), data.target[order].astype("float32")[:, None]
    return x[:354], y[:354], x[354:], y[354:], list(data.feature_names)


def network(width):
    x = paddle.static.data(FEED, [None, width], "float32")
    hidden = paddle.static.nn.fc(x, HIDDEN, activation="relu", name="hidden")
    return x, paddle.static.nn.fc(hidden, 1, name="out")


def initialise(scope, program, rng):
    """Weights come from numpy: the framework's own generator differs between its builds."""
    for p in sorted(program.all_parameters(), key=lambda p: p.name):
        value = np.zeros(p.shape) if len(p.shape) == 1 else rng.normal(0, p.shape[0] ** -0.5, p.shape)
        scope.find_var(p.name).get_tensor().set(value.astype("float32"), paddle.CPUPlace())


def train(exe, program, loss, x, y, rng):
    for _ in range(STEPS):
        rows = rng.integers(0, len(x), BATCH)
        exe.run(program, feed={FEED: x[rows], "y": y[rows]}, fetch_list=[loss])


def fold_scaling(scope, mean, std, target_mean, target_std):
    """(x - mean) / std before the first layer and * target_std + target_mean after the last one."""
    def var(name):
        return scope.find_var(name).get_tensor()

    def put(name, value):
        var(name).set(value.astype("float32"), paddle.CPUPlace())

    w0, b0, w1, b1 = (np.array(var(n), "float64") for n in ("hidden.w_0", "hidden.b_0", "out.w_0", "out.b_0"))
    put("hidden.w_0", w0 / std[:, None])
    put("hidden.b_0", b0 - (mean / std) @ w0)
    put("out.w_0", w1 * target_std)
    put("out.b_0", b1 * target_std + target_mean)


def scrub_callstack(path):
    """The framework notes where each operator was made, with paths of the machine that trained it."""
    from paddle.base.proto import framework_pb2
    program = framework_pb2.ProgramDesc()
    with open(path, "rb") as f:
        program.ParseFromString(f.read())
    for block in program.blocks:
        for op in block.ops:
            kept = [a for a in op.attrs if a.name != "op_callstack"]
            del op.attrs[:]
            op.attrs.extend(kept)
    with open(path, "wb") as f:
        f.write(program.SerializeToString(deterministic=True))


def predictor(folder):
    config = paddle.inference.Config(f"{folder}/inference.pdmodel", f"{folder}/inference.pdiparams")
    config.disable_gpu()
    config.switch_ir_optim(False)
    config.set_cpu_math_library_num_threads(1)
    return paddle.inference.create_predictor(config)


def infer(pred, x):
    handle = pred.get_input_handle(FEED)
    handle.reshape(x.shape)
    handle.copy_from_cpu(x)
    pred.run()
    return pred.get_output_handle(pred.get_output_names()[0]).copy_to_cpu()


def serving_conf(folder, fetch):
    """serving_*_conf as Paddle Serving writes them: GeneralModelConfig as text and as bytes."""
    def text(kind, type_key, name, alias, width):
        return (f'{kind}_var {{\n  name: "{name}"\n  alias_name: "{alias}"\n  is_lod_tensor: false\n'
                f'  {type_key}: 1\n  shape: {width}\n}}\n')

    def binary(field, name, alias, width):
        body = (bytes([0x0A, len(name)]) + name.encode() + bytes([0x12, len(alias)]) + alias.encode() +
                bytes([0x18, 0, 0x20, 1, 0x28, width]))
        return bytes([field << 3 | 2, len(body)]) + body

    for side in ("server", "client"):
        with open(f"{folder}/serving_{side}_conf.prototxt", "w") as f:
            f.write(text("feed", "feed_type", FEED, FEED, 10) + text("fetch", "fetch_type", fetch, ALIAS, 1))
        with open(f"{folder}/serving_{side}_conf.stream.prototxt", "wb") as f:
            f.write(binary(1, FEED, FEED, 10) + binary(2, fetch, ALIAS, 1))


def r2(y, answer):
    return float(1 - ((y - answer) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def record(folder, x, y, xs, ys, names):
    pred = predictor(folder)
    start, rows = 0, []
    for n, count in enumerate(CASES):
        part = slice(start, start + count)
        answer = infer(pred, x[part])
        np.savez(f"{folder}/case_{n}.in.npz", in0=x[part])
        np.savez(f"{folder}/case_{n}.out.npz", out0=answer)
        rows.append({"in": f"case_{n}.in.npz", "out": f"case_{n}.out.npz",
                     "predicted": [round(float(v), 3) for v in answer[:, 0]],
                     "observed": [float(v) for v in y[part, 0]]})
        start += count
    facts = {
        "trained_by": "tools/train_demo.py",
        "data": "scikit-learn's diabetes data, scaled=False; 354 patients to train on, 88 held out",
        "versions": {"paddlepaddle": paddle.__version__, "numpy": np.__version__, "scikit-learn": sklearn.__version__},
        "features": names,
        "r2": {"train": round(r2(ys, infer(pred, xs)), 4), "held_out": round(r2(y, infer(pred, x)), 4)},
        "cases": rows,
    }
    with open(f"{folder}/recorded.json", "w") as f:
        f.write(json.dumps(facts, indent=2) + "\n")
    return facts


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "examples", "models", "diabetes")
    os.makedirs(folder, exist_ok=True)
    paddle.enable_static()
    rng = np.random.default_rng(SEED)
    xs, ys, x, y, names = split(rng)
    mean, std = xs.mean(0).astype("float64"), xs.std(0).astype("float64")
    target_mean, target_std = ys.mean(), ys.std()

    program, startup, scope = paddle.static.Program(), paddle.static.Program(), paddle.static.Scope()
    with paddle.static.program_guard(program, startup), paddle.static.scope_guard(scope):
        feed, out = network(xs.shape[1])
        target = paddle.static.data("y", [None, 1], "float32")
        loss = paddle.mean(paddle.nn.functional.square_error_cost(out, target))
        paddle.optimizer.Adam(0.0005, weight_decay=paddle.regularizer.L2Decay(0.05)).minimize(loss)
        exe = paddle.static.Executor(paddle.CPUPlace())
        exe.run(startup)
        initialise(scope, program, rng)
        train(exe, program, loss, ((xs - mean) / std).astype("float32"), (ys - target_mean) / target_std, rng)
        fold_scaling(scope, mean, std, target_mean, target_std)
        paddle.static.save_inference_model(f"{folder}/inference", [feed], [out], exe, program=program)

    scrub_callstack(f"{folder}/inference.pdmodel")
    serving_conf(folder, predictor(folder).get_output_names()[0])
    facts = record(folder, x, y, xs, ys, names)
    print(f"R2 {facts['r2']['train']} in training, {facts['r2']['held_out']} on patients held out")


if __name__ == "__main__":
    main()
