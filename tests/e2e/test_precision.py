"""--precision: what it computes, what it says where it cannot, and where it can be asked for."""
import os
import shutil

import numpy as np
import pytest

from conftest import ROOT, ZOO, Server, assert_close, cases, run_oar

QUANT = ROOT / "tests" / "data" / "quant"
LENET = ZOO / "lenet_digits" / "pdmodel26"


def with_isa(isa):
    return dict(os.environ, ONEDNN_MAX_CPU_ISA=isa)


def run(folder, tmp_path, *arguments, case=0, **kw):
    given, recorded = cases(folder)[case]
    done = run_oar("run", folder, "--in", given, "--out", tmp_path / "out.npz", *arguments, **kw)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as got, np.load(recorded) as want:
        return got[got.files[0]], want[want.files[0]], done.stderr


@pytest.mark.parametrize("model", sorted(p.name for p in QUANT.iterdir()))
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_quantised_models_give_what_the_framework_recorded(model, precision, tmp_path):
    got, want, said = run(QUANT / model / "pdmodel26", tmp_path, "--precision", precision)
    assert_close(got, want, 1e-2)  # a step, where a sum falls on the other side of a half
    assert got.argmax() == want.argmax()
    assert ("against fp32: max" in said) == (precision == "int8")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_without_the_instructions_the_result_is_right_and_one_line_says_so(precision, tmp_path):
    got, want, said = run(QUANT / "quant_qat_mini" / "pdmodel26", tmp_path, "--precision", precision, env=with_isa("AVX2"))
    assert_close(got, want, 1e-2)
    assert said.count("which is slower") == 1


def test_int8_of_a_model_that_is_not_quantised_is_fp32_and_says_so(tmp_path):
    got, want, said = run(LENET, tmp_path, "--precision", "int8")
    assert_close(got, want)
    assert "nothing in it is quantised" in said


def test_bf16_tells_its_error(tmp_path):
    got, want, said = run(LENET, tmp_path, "--precision", "bf16")
    assert_close(got, want, 3e-2)
    for word in ("max", "mean", "cosine", "top-1"):
        assert word in said


def test_serve_takes_a_precision_for_all_and_for_one(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(QUANT / "quant_qat_mini" / "pdmodel26", own)
    (own / "oar.yml").write_text("precision: int8\n")
    given, recorded = cases(QUANT / "quant_qat_mini" / "pdmodel26")[0]
    for arguments in (["--model", f"m={own}"], ["--model", f"m={LENET}", f"q={own}", "--precision", "bf16"]):
        with Server(*arguments) as s:
            name = "m" if len(arguments) == 2 else "q"
            done = run_oar("call", s.address, "--protocol", "kserve-http", "--model", name, "--in", given, "--out", tmp_path / "out.npz")
            assert done.returncode == 0, done.stderr
            with np.load(tmp_path / "out.npz") as got, np.load(recorded) as want:
                assert_close(got[got.files[0]], want[want.files[0]], 1e-2)


def test_serve_warns_where_int8_has_nothing_to_do(tmp_path):
    with Server("--model", LENET, "--precision", "int8") as s:
        pass
    assert "nothing in it is quantised" in s.errors


@pytest.mark.parametrize("text, words", [("precision: fp8\n", "is not one of fp32|bf16|int8|fp16"), ("precison: bf16\n", "precision")])
def test_a_configuration_with_another_precision_is_refused(text, words, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(LENET, own)
    (own / "oar.yml").write_text(text)
    done = run_oar("serve", "--model", own, "--port", "0", "--quiet")
    assert done.returncode != 0 and words in done.stderr
