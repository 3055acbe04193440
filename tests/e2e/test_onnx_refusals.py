"""Bad ONNX models: each is refused in one line that names the file, the node, the attribute or value, and the reason."""
import numpy as np
import pytest
from conftest import run_oar

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

F = TensorProto.FLOAT
X, Y = ("x", F, ["n", 4]), ("y", F, ["n", 4])


def numbers(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def claimed(*dims):
    """An initialiser that says a shape and holds nothing."""
    return TensorProto(name="w", data_type=F, dims=dims)


def node(kind, *ins, out="y", name="bad", **attributes):
    return helper.make_node(kind, list(ins), [out], name=name, **attributes)


# name: nodes, initialisers, output, what the words must hold
CASES = {
    "cycle": ([node("Add", "x", "b", out="a"), node("Relu", "a", out="b", name="second")], [], ("b", F, ["n", 4]), ["Add 'bad'", "input 'b'", "circle"]),
    "missing value": ([node("Add", "x", "w")], [], Y, ["Add 'bad'", "input 'w'"]),
    "attribute of a wrong type": ([node("Softmax", "x", axis="last")], [], Y, ["Softmax 'bad'", "attribute 'axis'", "expected an integer"]),
    "attribute out of range": ([node("Softmax", "x", axis=7)], [], Y, ["Softmax 'bad'", "axis 7 does not fit 2 dimensions"]),
    "attribute that no int32 holds": ([node("Softmax", "x", axis=1 << 40)], [], Y, ["Softmax 'bad'", "attribute 'axis'", "out of range"]),
    "attribute of unknown text": ([node("Pad", "x", "p", mode="mirror")], [numbers("p", [0] * 4, np.int64)], Y,
                                  ["Pad 'bad'", "attribute 'mode'", "'mirror' is none of constant, reflect, edge, wrap"]),
    "stride of 0": ([node("Conv", "i", "w", strides=[0, 1])], [numbers("i", np.zeros((1, 1, 4, 4))), numbers("w", np.zeros((1, 1, 3, 3)))],
                    ("y", F, [1, 1, 2, 2]), ["Conv 'bad'", "strides 0, 1"]),
    "shapes that cannot agree": ([node("Add", "x", "w")], [numbers("w", np.zeros(3))], Y, ["Add 'bad'", "[3] do not broadcast"]),
    "no matrix product": ([node("MatMul", "x", "w")], [numbers("w", np.zeros((3, 5)))], Y, ["MatMul 'bad'", "[3, 5] do not make a matrix product"]),
    "sizes that overflow": ([node("Expand", "x", "s")], [numbers("s", [1 << 40, 1 << 40, 1, 4], np.int64)], ("y", F, [None] * 4), ["Expand 'bad'", "overflows"]),
    "4 GB asked for": ([node("ConstantOfShape", "s")], [numbers("s", [1 << 30], np.int64)], ("y", F, [None]), ["ConstantOfShape 'bad'", "4294967296 bytes", "--max-arena"]),
    "64 GB on the way": ([node("Tile", "x", "s", out="t"), node("ReduceSum", "t", name="sum", keepdims=0)], [numbers("s", [1 << 20, 1 << 12], np.int64)],
                         ("y", F, []), ["Tile 'bad'", "--max-arena"]),
    "weights that are not there": ([node("MatMul", "x", "w")], [claimed(1 << 15, 1 << 15)], Y, ["tensor 'w'", "more numbers than the file has"]),
    "weights whose size overflows": ([node("MatMul", "x", "w")], [claimed(1 << 32, 1 << 33)], Y, ["tensor 'w'", "shape"]),
    "a name made twice": ([node("Relu", "x", name="a"), node("Tanh", "x")], [], Y, ["Tanh 'bad'", "'y' is made twice"]),
    "an unknown operator": ([node("Foo", "x")], [], Y, ["operator 'Foo'", "'bad'"]),
    "an output that nobody makes": ([node("Relu", "x", out="a")], [], Y, ["output 'y'"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_bad_model_is_refused_with_its_place(name, tmp_path):
    nodes, stored, output, words = CASES[name]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*X)], [helper.make_tensor_value_info(*output)], stored)
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    np.savez(tmp_path / "in.npz", x=np.zeros((2, 4), np.float32))
    done = run_oar("run", path, "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
    assert done.returncode == 1, done.stderr
    for part in ["model.onnx", *words]:
        assert part in done.stderr, done.stderr
