"""ONNX models: the tests that the onnx package brings, and a model with its weights beside it."""
import subprocess
import sys

import numpy as np
import pytest
from conftest import OAR, ROOT, run_oar

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")


def onnx_check(*arguments):
    done = subprocess.run([sys.executable, ROOT / "tools" / "onnx_check", "--oar", OAR, "--quiet", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_share_of_onnx_node_tests_that_pass():
    onnx_check("--kind", "node", "--atleast", "94.9")


def test_what_pytorch_converted_passes():
    out = onnx_check("--kind", "pytorch-operator,pytorch-converted")
    assert "pytorch-operator: 35 of 35" in out


def external_model(folder):
    """y = x w with w in a file beside the model."""
    from onnx import TensorProto, helper, numpy_helper
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return w


def test_weights_in_a_file_beside_the_model(tmp_path):
    w = external_model(tmp_path)
    x = np.random.default_rng(1).random((5, 4), dtype=np.float32)
    np.savez(tmp_path / "in.npz", x=x)
    done = run_oar("run", tmp_path, "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], x @ w, rtol=1e-5)


def test_a_missing_weights_file_is_named(tmp_path):
    external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()
    done = run_oar("inspect", tmp_path)
    assert done.returncode == 1
    assert "model.onnx: tensor 'w': " in done.stderr and "weights.bin: No such file" in done.stderr
