"""oar convert: what it writes answers as the original does, within what the precision takes, and is served unchanged."""
import shutil

import numpy as np
import pytest

from conftest import ROOT, ZOO, Server, assert_close, cases, run_oar

LENET = ZOO / "lenet_digits" / "pdmodel26"
QUANT = ROOT / "tests" / "data" / "quant" / "quant_qat_mini" / "pdmodel26"


def convert(model, out, *arguments):
    return run_oar("convert", model, "--out", out, *arguments)


def answer(model, given, tmp_path, *arguments):
    done = run_oar("run", model, "--in", given, "--out", tmp_path / "out.npz", *arguments)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as got:
        return got[got.files[0]]


def recorded(case):
    with np.load(case) as z:
        return z[z.files[0]]


@pytest.mark.parametrize("model, form", [(LENET, "ProgramDesc"), (LENET.parent / "pir33", "PIR")])
@pytest.mark.parametrize("precision, tolerance, share", [("int8", 2e-2, 0.3), ("fp16", 1e-3, 0.6), ("bf16", 1e-2, 0.6)])
def test_a_paddle_model_in_each_precision(model, form, precision, tolerance, share, tmp_path):
    given, want = cases(model)[1]
    done = convert(model, tmp_path / "small", "--precision", precision, "--calibrate", given)
    assert done.returncode == 0, done.stderr
    for word in (form, precision, "max", "mean", "cosine", "top-1 the same in 3 of 3"):
        assert word in done.stderr
    assert (tmp_path / "small" / "inference.pdiparams").stat().st_size < share * (model / "inference.pdiparams").stat().st_size
    arguments = ["--precision", "int8"] if precision == "int8" else []
    for case, out in cases(model):
        got = answer(tmp_path / "small", case, tmp_path, *arguments)
        assert_close(got, recorded(out), tolerance)
        assert (got.argmax(-1) == recorded(out).argmax(-1)).all()


@pytest.mark.parametrize("arguments", [["max"], ["percentile", "--percentile", "99.9"], ["kl"]])
def test_every_method_of_calibration(arguments, tmp_path):
    given, want = cases(LENET)[1]
    done = convert(LENET, tmp_path / "small", "--precision", "int8", "--calibrate", given, "--method", *arguments)
    assert done.returncode == 0, done.stderr
    got = answer(tmp_path / "small", given, tmp_path, "--precision", "int8")
    assert (got.argmax(-1) == recorded(want).argmax(-1)).all()


def test_an_int8_pir_model_is_computed_on_integers(tmp_path):
    given, _ = cases(LENET.parent / "pir33")[1]
    assert convert(LENET.parent / "pir33", tmp_path / "small", "--precision", "int8", "--calibrate", given).returncode == 0
    done = run_oar("bench", tmp_path / "small", "--in", given, "--precision", "int8", "--profile", "--seconds", "0.1")
    assert done.returncode == 0 and "conv2d int8" in done.stdout + done.stderr


def test_serve_takes_the_result_unchanged_and_computes_it_in_int8(tmp_path):
    given, _ = cases(LENET)[1]
    assert convert(LENET, tmp_path / "small", "--precision", "int8", "--calibrate", given).returncode == 0
    want = answer(tmp_path / "small", given, tmp_path, "--precision", "int8")
    with Server("--model", f"m={tmp_path / 'small'}") as s:
        done = run_oar("call", s.address, "--protocol", "kserve-http", "--model", "m", "--in", given, "--out", tmp_path / "out.npz")
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as got:
        assert np.array_equal(got[got.files[0]], want)


def test_what_the_original_says_of_itself_goes_along(tmp_path):
    given, _ = cases(LENET)[1]
    own = tmp_path / "own"
    shutil.copytree(LENET, own)
    (own / "oar.yml").write_text("cache_bytes: 1000\n")
    assert convert(own, tmp_path / "small", "--precision", "int8", "--calibrate", given).returncode == 0
    assert (tmp_path / "small" / "oar.yml").read_text() == "precision: int8\ncache_bytes: 1000\n"
    for name in ("serving_server_conf.prototxt", "serving_client_conf.prototxt"):
        assert (tmp_path / "small" / name).read_bytes() == (LENET / name).read_bytes()


def test_halves_need_no_samples(tmp_path):
    done = convert(LENET, tmp_path / "small", "--precision", "fp16")
    assert done.returncode == 0 and "against fp32: max" in done.stderr


@pytest.mark.parametrize("arguments, words", [
    (["--precision", "int8"], "--calibrate is missing"),
    (["--precision", "fp8"], "is not one of int8|fp16|bf16"),
    (["--precision", "int8", "--calibrate", "/nonexistent.npz"], "/nonexistent.npz"),
])
def test_misuse(arguments, words, tmp_path):
    done = convert(LENET, tmp_path / "small", *arguments)
    assert done.returncode != 0 and words in done.stderr
    assert not (tmp_path / "small").exists()


def test_a_model_is_not_written_over_itself(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(LENET, own)
    done = convert(own, own, "--precision", "fp16")
    assert done.returncode != 0 and "the model itself lies there" in done.stderr


def test_a_quantised_model_has_nothing_left_to_quantise(tmp_path):
    given, _ = cases(QUANT)[0]
    done = convert(ROOT / "tests" / "data" / "quant" / "quant_ptq_qdq_mini" / "pdmodel26", tmp_path / "small", "--precision", "int8", "--calibrate", given)
    assert done.returncode != 0 and "no convolution or product of a constant float32 weight" in done.stderr


# ---- ONNX, with the onnx package's own evaluator as the judge ----

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")


def small_net(folder, opset=17):
    """Two convolutions with a residual between them, a pool, a product; weights as initialisers and as a Constant."""
    from onnx import TensorProto, helper, numpy_helper
    rng = np.random.default_rng(5)
    w = {"w1": rng.standard_normal((8, 3, 3, 3)) / 5, "b1": rng.standard_normal(8) / 5, "w2": rng.standard_normal((8, 8, 3, 3)) / 8,
         "fc": rng.standard_normal((8, 4))}
    w = {n: numpy_helper.from_array(a.astype(np.float32), n) for n, a in w.items()}
    pads = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    nodes = [helper.make_node("Constant", [], ["w2"], value=w.pop("w2")), helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], **pads),
             helper.make_node("Relu", ["c1"], ["r1"]), helper.make_node("Conv", ["r1", "w2"], ["c2"], **pads),
             helper.make_node("Add", ["r1", "c2"], ["s"]), helper.make_node("Relu", ["s"], ["r2"]),
             helper.make_node("MaxPool", ["r2"], ["p"], kernel_shape=[2, 2], strides=[2, 2]), helper.make_node("GlobalAveragePool", ["p"], ["g"]),
             helper.make_node("Flatten", ["g"], ["f"]), helper.make_node("MatMul", ["f", "fc"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])], list(w.values()))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), folder / "model.onnx")
    np.savez(folder / "in.npz", x=rng.standard_normal((16, 3, 8, 8)).astype(np.float32))


@pytest.mark.parametrize("precision, opset, tolerance", [("int8", 21, 5e-2), ("fp16", 17, 2e-3), ("bf16", 17, 1e-2)])
def test_an_onnx_model_in_each_precision(precision, opset, tolerance, tmp_path):
    from onnx.reference import ReferenceEvaluator
    small_net(tmp_path, opset)
    given = tmp_path / "in.npz"
    done = convert(tmp_path, tmp_path / "small", "--precision", precision, "--calibrate", given)
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(onnx.load(tmp_path / "small" / "model.onnx"), full_check=True)
    x = np.load(given)["x"]
    judge, = ReferenceEvaluator(str(tmp_path / "small" / "model.onnx")).run(None, {"x": x})
    plain = answer(tmp_path, given, tmp_path)
    assert_close(answer(tmp_path / "small", given, tmp_path), judge, 1e-2)
    assert_close(answer(tmp_path / "small", given, tmp_path, "--precision", "int8" if precision == "int8" else "fp32"), judge, 2e-2)
    assert_close(judge, plain, tolerance)


def test_an_older_opset_has_one_scale_for_a_weight(tmp_path):
    small_net(tmp_path, 11)
    given = tmp_path / "in.npz"
    done = convert(tmp_path, tmp_path / "small", "--precision", "int8", "--calibrate", given)
    assert done.returncode == 0, done.stderr
    onnx.checker.check_model(onnx.load(tmp_path / "small" / "model.onnx"), full_check=True)
    plain = answer(tmp_path, given, tmp_path)
    for precision in ("fp32", "int8"):
        assert_close(answer(tmp_path / "small", given, tmp_path, "--precision", precision), plain, 5e-2)


def test_a_small_net_stays_in_integers(tmp_path):
    small_net(tmp_path)
    given = tmp_path / "in.npz"
    assert convert(tmp_path, tmp_path / "small", "--precision", "int8", "--calibrate", given).returncode == 0
    done = run_oar("bench", tmp_path / "small", "--in", given, "--precision", "int8", "--seconds", "0.05", "--profile")
    assert done.returncode == 0, done.stderr
    steps = done.stdout[done.stdout.index("operator"):done.stdout.index("node")]
    assert "conv2d (2)" in steps and "int8" in steps and "add (" not in steps and "relu (" not in steps


def test_an_opset_without_quantisers_is_named(tmp_path):
    small_net(tmp_path, 9)
    done = convert(tmp_path, tmp_path / "small", "--precision", "int8", "--calibrate", tmp_path / "in.npz")
    assert done.returncode != 0 and "opset 9" in done.stderr
