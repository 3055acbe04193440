"""Small models that scikit-learn, PyTorch, torchvision and Hugging Face exported, with what they answer themselves:
tools/record_sklearn.py and tools/torch_check --record wrote them."""
import numpy as np
import pytest
from conftest import ROOT, run_oar

RECORDED = sorted(p.parent for p in (ROOT / "tests" / "data" / "onnx").glob("*/model.onnx"))


@pytest.mark.parametrize("model", RECORDED, ids=lambda p: p.name)
def test_models_answer_as_their_framework_does(model, tmp_path):
    done = run_oar("run", model, "--in", model / "case_0.in.npz", "--out", tmp_path / "out.npz")
    assert done.returncode == 0, done.stderr
    got, want = np.load(tmp_path / "out.npz"), np.load(model / "case_0.out.npz")
    for i, name in enumerate(got.files):
        if want[f"out{i}"].dtype.kind == "f":
            np.testing.assert_allclose(got[name], want[f"out{i}"], rtol=1e-5, atol=1e-5 * np.abs(want[f"out{i}"]).max())
        else:
            np.testing.assert_array_equal(got[name], want[f"out{i}"])
