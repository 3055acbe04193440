#!/usr/bin/env python3
"""tools/record_onnxruntime.py [OUT]: small models with the operators that ONNX Runtime's optimiser and quantiser write, and what
ONNX Runtime itself answers for them.

Writes OUT/NAME/model.onnx and case_0.in.npz, case_0.out.npz (in0, out0, ..), by default to tests/data/onnx. Needs onnx and
onnxruntime, and sympy for its optimiser; the tests that read the recordings need neither.
"""
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quant_pre_process, quantize_dynamic, quantize_static

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "tests" / "data" / "onnx")
R = np.random.default_rng(7)


def f(*shape):
    return R.normal(size=shape).astype(np.float32)


class Net:
    """A graph as it grows: arrays that are fed, arrays that are stored, nodes."""

    def __init__(self):
        self.fed, self.stored, self.nodes, self.outputs = {}, [], [], []

    def feed(self, array):
        name = f"x{len(self.fed)}"
        self.fed[name] = array
        return name

    def store(self, array):
        name = f"w{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, inputs, domain="com.microsoft", outputs=1, shown=(0,), **attributes):
        """Inputs are names, arrays that are stored, or None."""
        names = ["" if i is None else i if isinstance(i, str) else self.store(i) for i in inputs]
        made = [f"n{len(self.nodes)}_{i}" if i in shown or i == 0 else "" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, domain=domain, **attributes))
        self.outputs += [made[i] for i in shown]
        return made[0]

    def model(self):
        kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int32): TensorProto.INT32, np.dtype(np.int64): TensorProto.INT64,
                 np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}
        ins = [helper.make_tensor_value_info(n, kinds[a.dtype], a.shape) for n, a in self.fed.items()]
        outs = [helper.make_empty_tensor_value_info(n) for n in self.outputs]
        graph = helper.make_graph(self.nodes, "net", ins, outs, self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)


def session(path):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def record(name, model, arrays, answers=None):
    """answers None: ONNX Runtime's."""
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(model, path)
    if answers is None:
        s = session(path)
        answers = s.run(None, dict(zip((i.name for i in s.get_inputs()), arrays)))
    np.savez_compressed(folder / "case_0.in.npz", **{f"in{i}": a for i, a in enumerate(arrays)})
    np.savez_compressed(folder / "case_0.out.npz", **{f"out{i}": a for i, a in enumerate(answers)})
    print(f"{name}: {path.stat().st_size} bytes, {len(answers)} outputs")


def layers():
    n = Net()
    x, y = n.feed(f(2, 5, 12)), n.feed(f(2, 5, 12))
    n.add("FusedMatMul", [x, f(12, 3)], alpha=0.5)
    n.add("FusedMatMul", [x, y], transB=1)
    rows = n.feed(f(4, 6))
    n.add("FusedGemm", [rows, f(6, 3), f(3)], activation="Relu")
    n.add("FusedGemm", [rows, f(3, 6), f(3)], transB=1, alpha=0.5, beta=2.0, activation="LeakyRelu", activation_alpha=0.2)
    n.add("Gelu", [x])
    n.add("BiasGelu", [x, f(12)])
    n.add("FastGelu", [x, f(12)])
    n.add("FastGelu", [x])
    n.add("QuickGelu", [x])
    n.add("SkipLayerNormalization", [x, y, f(12), f(12), f(12)], outputs=4, shown=(0, 3), epsilon=1e-5)
    n.add("SkipLayerNormalization", [x, y, f(12), f(12)])
    n.add("SkipSimplifiedLayerNormalization", [x, y, f(12)], outputs=4, shown=(0, 3), epsilon=1e-5)
    n.add("SimplifiedLayerNormalization", [x, f(12)], domain="", epsilon=1e-5)
    ids, segments = n.feed(R.integers(0, 9, (2, 5)).astype(np.int32)), n.feed(R.integers(0, 2, (2, 5)).astype(np.int32))
    mask = n.feed(np.int32([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    n.add("EmbedLayerNormalization", [ids, segments, f(9, 12), f(7, 12), f(2, 12), f(12), f(12), mask], outputs=2, shown=(0, 1))
    n.add("EmbedLayerNormalization", [ids, None, f(9, 12), f(7, 12), None, f(12), f(12)], outputs=2, shown=(0, 1))
    for extra in ([], [mask], [n.feed(np.int32([5, 3]))]):
        n.add("Attention", [x, f(12, 36), f(36)] + extra, num_heads=3)
    n.add("Attention", [x, f(12, 36), f(36)], num_heads=3, unidirectional=1)
    n.add("MultiHeadAttention", [x, y, f(2, 5, 12)], num_heads=3)
    n.add("MultiHeadAttention", [x, y, y, f(36), mask], num_heads=3)
    return n


def byte(*shape):
    return R.integers(0, 256, shape).astype(np.uint8)


def quantised():
    n = Net()
    one, zero = np.float32(0.05), np.uint8(120)
    x, y = n.feed(byte(2, 4, 6, 6)), n.feed(byte(2, 4, 6, 6))
    to = [np.float32(0.0713), np.uint8(100)]
    n.add("QLinearAdd", [x, one, zero, y, np.float32(0.02), np.uint8(7)] + to)
    n.add("QLinearMul", [x, one, zero, y, np.float32(0.02), np.uint8(7)] + to)
    n.add("QLinearSigmoid", [x, one, zero, np.float32(1 / 256), np.uint8(0)])
    n.add("QLinearLeakyRelu", [x, one, zero] + to, alpha=0.1)
    n.add("QLinearGlobalAveragePool", [x, one, zero] + to, channels_last=0)
    n.add("QLinearConcat", to + [x, one, zero, y, np.float32(0.02), np.uint8(7)], axis=1)
    rows = n.feed(byte(3, 8))
    n.add("QGemm", [rows, one, zero, R.integers(-127, 128, (8, 5)).astype(np.int8), np.float32(0.01), np.int8(0),
                    R.integers(-900, 900, 5).astype(np.int32)] + [np.float32(0.2), np.uint8(128)])
    n.add("QGemm", [rows, one, zero, R.integers(-127, 128, (5, 8)).astype(np.int8), np.float32(0.01), np.int8(0)], transB=1)
    n.add("MatMulIntegerToFloat", [rows, R.integers(-127, 128, (8, 5)).astype(np.int8), one, R.random(5).astype(np.float32), zero,
                                   np.zeros(5, np.int8), f(5)])
    real = n.feed(f(3, 8))
    n.add("DynamicQuantizeMatMul", [real, R.integers(-127, 128, (8, 5)).astype(np.int8), np.float32(0.03), np.int8(0), f(5)])
    wide = n.feed(f(3, 40))
    n.add("MatMulNBits", [wide, byte(6, 2, 16), np.abs(f(12))], K=40, N=6, bits=4, block_size=32)
    n.add("MatMulNBits", [wide, byte(6, 2, 16), np.abs(f(12)), byte(6)], K=40, N=6, bits=4, block_size=32)
    return n


def windows():
    """A maximum of bytes with its places: a byte, too."""
    n = Net()
    x = n.feed(byte(1, 2, 5, 5))
    n.add("MaxPool", [x], domain="", outputs=2, shown=(0, 1), kernel_shape=[2, 2], strides=[1, 1])
    return n


class Images(CalibrationDataReader):
    def __init__(self, arrays):
        self.left = [{"x0": a} for a in arrays]

    def get_next(self):
        return self.left.pop() if self.left else None


def small_net():
    n = Net()
    x = n.feed(f(1, 3, 12, 12))
    n.outputs.clear()
    h = n.add("Conv", [x, f(8, 3, 3, 3) * 0.3, f(8)], domain="", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    a = n.add("Relu", [h], domain="")
    h = n.add("Conv", [a, f(8, 8, 3, 3) * 0.2, f(8)], domain="", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    h = n.add("Add", [h, a], domain="")
    h = n.add("Relu", [h], domain="")
    h = n.add("GlobalAveragePool", [h], domain="")
    h = n.add("Flatten", [h], domain="")
    h = n.add("Gemm", [h, f(5, 8), f(5)], domain="", transB=1)
    n.outputs = [h]
    return n


def record_quantised_nets():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        n = small_net()
        onnx.save(n.model(), folder / "net.onnx")
        quant_pre_process(folder / "net.onnx", folder / "shaped.onnx", skip_symbolic_shape=True)
        for form in (QuantFormat.QOperator, QuantFormat.QDQ):
            quantize_static(folder / "shaped.onnx", folder / "q.onnx", Images([f(1, 3, 12, 12) for _ in range(4)]), quant_format=form,
                            per_channel=True)
            record(f"runtime_{form.name.lower()}", onnx.load(folder / "q.onnx"), [n.fed["x0"]])
        bert = ROOT / "tests" / "data" / "onnx" / "torch_bert"
        arrays = np.load(bert / "case_0.in.npz")
        names = [i.name for i in session(bert / "model.onnx").get_inputs()]
        quantize_dynamic(bert / "model.onnx", folder / "d.onnx")
        record("runtime_dynamic", onnx.load(folder / "d.onnx"), [arrays[k] for k in names])


def record_optimised_bert():
    """What the optimiser makes of a network answers as the network did."""
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions
    bert = ROOT / "tests" / "data" / "onnx" / "torch_bert"
    made = optimizer.optimize_model(str(bert / "model.onnx"), "bert", num_heads=2, hidden_size=16, opt_level=0,
                                    optimization_options=FusionOptions("bert"))
    arrays = np.load(bert / "case_0.in.npz")
    names = [i.name for i in made.model.graph.input]
    print(sorted({node.op_type for node in made.model.graph.node if node.domain}))
    record("runtime_bert", made.model, [arrays[k] for k in names])


def main():
    for name, net in (("runtime_layers", layers()), ("runtime_bytes", quantised()), ("runtime_windows", windows())):
        record(name, net.model(), list(net.fed.values()))
    record_quantised_nets()
    record_optimised_bert()


if __name__ == "__main__":
    main()
