"""The module oar: models in process."""
import threading

import numpy as np
import pytest

from python_site import SITE  # noqa: F401
import oar
from conftest import ROOT, ZOO, assert_close, cases, models

UCI = ROOT / "tests" / "data" / "uci_housing"
ROW = np.array([0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332], "float32")
PRICE = 18.9011518


@pytest.fixture(scope="module")
def model():
    return oar.load(UCI)


@pytest.mark.parametrize("name", models())
def test_recorded_answers(name):
    """Every recorded case of every model, as the framework answered it."""
    model = oar.load(ZOO / name)
    for case_in, case_out in cases(ZOO / name):
        given, want = np.load(case_in), np.load(case_out)
        feed = {}
        for i, port in enumerate(model.inputs):
            feed[port.real_name] = given[f"in{i}"]
            if f"in{i}_lod0" in given:
                feed[port.name + ".lod"] = given[f"in{i}_lod0"]
        got = model.run(feed)
        for i, port in enumerate(model.outputs):
            assert_close(got[port.name], want[f"out{i}"])


def test_what_it_says_of_itself(model):
    assert model.inputs == (oar.Port("x", "x", "float32", (-1, 13), False),)
    assert model.outputs[0].name == "price" and model.outputs[0].real_name == "fc_0.tmp_1"
    assert "x: float32[-1, 13] -> price" in repr(model)


@pytest.mark.parametrize("feed", [
    {"x": ROW[None]}, ROW[None], {"x": ROW[None].tolist()}, {"x": memoryview(ROW[None])}, {"x": ROW[None].astype("float64")},
    {"x": np.asfortranarray(np.stack([ROW, ROW]))[:1]}, {"x": np.stack([ROW, ROW])[::2]},
])
def test_feeds_of_every_form(model, feed):
    assert abs(model.run(feed)["price"][0, 0] - PRICE) < 1e-5


def test_run_takes_names_of_arguments_and_one_name_of_an_output(model):
    for got in (model.run(feed={"x": ROW[None]}), model.run({"x": ROW[None]}, "price"), model.run({"x": ROW[None]}, fetch=["fc_0.tmp_1"]),
                model.run(fetch="price", feed=ROW[None])):
        assert abs(got["price"][0, 0] - PRICE) < 1e-5
    for wrong, words in ((dict(), "wants a feed"), (dict(feed=ROW, fetsch=1), "has no argument 'fetsch'")):
        with pytest.raises(TypeError, match=words):
            model.run(**wrong)
    with pytest.raises(TypeError, match="is given 'feed' twice"):
        model.run(ROW, feed=ROW)
    with pytest.raises(ValueError, match="no output 'prize'; its outputs are \\['price'\\]"):
        model.run(ROW[None], "prize")


def test_what_only_speaks_dlpack(model):
    class Producer:
        def __dlpack__(self, **kw):
            return ROW[None].__dlpack__(**kw)

        def __dlpack_device__(self):
            return ROW[None].__dlpack_device__()

    assert abs(model.run({"x": Producer()})["price"][0, 0] - PRICE) < 1e-5


def test_results_belong_to_the_caller(model):
    first = model.run(ROW[None])["price"]
    kept = first.copy()
    model.run(np.zeros((1, 13), "float32"))
    assert np.array_equal(first, kept) and first.flags.writeable and first.flags.owndata
    assert model.run(ROW[None], ["fc_0.tmp_1"]).keys() == {"price"}


@pytest.mark.parametrize("feed, kind, words", [
    ({"y": ROW[None]}, ValueError, "no input 'y'; its inputs are \\['x'\\]"),
    ({}, ValueError, "no feed for the model's input 'x'"),
    ({"x": ROW[None, :5]}, oar.errors.InvalidArgument, "expected float32 \\[-1, 13\\], got float32 \\[1, 5\\]"),
    ({"x": [["a"] * 13]}, TypeError, "the model takes float32"),
    ({"x": ROW[None].astype("complex64")}, TypeError, "convert them with .astype"),
    ({"x": np.zeros((1,) * 9, "float32")}, TypeError, "at most 8 dimensions"),
    ({"x.lod": [0, 1]}, ValueError, "no feed for the model's input 'x'"),
])
def test_feeds_that_are_wrong(model, feed, kind, words):
    with pytest.raises(kind, match=words):
        model.run(feed)


def test_models_that_are_not(tmp_path):
    with pytest.raises(oar.errors.NotFound, match="no such file"):
        oar.load(tmp_path / "nothing")
    (tmp_path / "__model__").write_bytes(b"\xff" * 100)
    with pytest.raises(oar.errors.OarError, match="__model__"):
        oar.load(tmp_path)


def test_many_threads_one_model(model):
    faults = []

    def work(seed):
        rows = np.random.default_rng(seed).normal(size=(seed % 7 + 1, 13)).astype("float32")
        want = model.run(rows)["price"]
        for _ in range(300):
            if not np.array_equal(model.run(rows)["price"], want):
                faults.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults
