"""oar run, inspect, call and bench on recorded models."""
import json
import os
import shutil

import numpy as np
import pytest

from conftest import ROOT, ZOO, Server, assert_close, cases, models, run_oar

MODEL = ROOT / "tests" / "data" / "uci_housing"
FIT = ZOO / "fit_a_line" / "pdmodel26"


def named(path):
    """The recorded inputs as the command line wants them: inN, inN.lod."""
    return {name.replace("_lod0", ".lod"): array for name, array in np.load(path).items()}


@pytest.mark.parametrize("model", models())
def test_every_form_and_case_of_the_zoo(model, tmp_path):
    folder = ZOO / model
    assert cases(folder)
    for given, recorded in cases(folder):
        np.savez(tmp_path / "in.npz", **named(given))
        done = run_oar("run", folder, "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
        assert done.returncode == 0, done.stderr
        want = np.load(recorded)
        got = np.load(tmp_path / "out.npz")
        outputs = [n for n in got.files if not n.endswith(".lod")]
        wanted = [n for n in want.files if "_lod" not in n]
        assert len(outputs) == len(wanted)
        for ours, theirs in zip(outputs, wanted):
            assert_close(got[ours], want[theirs])


@pytest.mark.parametrize("model", ["fit_a_line/pdmodel26", "imdb_lstm/legacy_combined", "wide_deep/pdmodel26"])
@pytest.mark.parametrize("protocol", [["brpc"], ["http"], ["http", "--encoding", "proto"]])
def test_call_gives_what_run_gives(model, protocol, tmp_path):
    folder = ZOO / model
    with Server("--model", folder) as s:
        for given, recorded in cases(folder):
            np.savez(tmp_path / "in.npz", **named(given))
            done = run_oar("call", s.address, "--protocol", *protocol, "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
            assert done.returncode == 0, done.stderr
            got, want = np.load(tmp_path / "out.npz"), np.load(recorded)
            for ours, theirs in zip([n for n in got.files if not n.endswith(".lod")], [n for n in want.files if "_lod" not in n]):
                assert_close(got[ours], want[theirs])


def test_arrays_by_name_alias_or_place(tmp_path):
    row = np.load(FIT / "case_0.in.npz")["in0"]
    conf = (FIT / "serving_server_conf.prototxt").read_text()
    model = tmp_path / "model"
    shutil.copytree(FIT, model)
    (model / "serving_server_conf.prototxt").write_text(conf.replace('alias_name: "x"', 'alias_name: "features"'))
    (model / "serving_server_conf.stream.prototxt").unlink()
    for name in ("x", "features", "in0"):
        np.savez(tmp_path / "in.npz", **{name: row})
        done = run_oar("run", model, "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz")
        assert done.returncode == 0, done.stderr
        assert np.load(tmp_path / "out.npz").files == ["price"]
    np.savez(tmp_path / "in.npz", nothing=row)
    done = run_oar("run", model, "--in", tmp_path / "in.npz")
    assert done.returncode == 1 and "nothing" in done.stderr and "features" in done.stderr


def test_the_stream_configuration_alone(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(FIT, model)
    (model / "serving_server_conf.prototxt").unlink()
    shown = json.loads(run_oar("inspect", model, "--json").stdout)
    assert shown["outputs"][0]["alias"] == "price"


def test_no_configuration(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(FIT, model)
    for file in model.glob("serving_*"):
        file.unlink()
    shown = json.loads(run_oar("inspect", model, "--json").stdout)
    assert shown["inputs"][0]["name"] == shown["inputs"][0]["alias"] == "x"
    assert shown["inputs"][0]["shape"] == [-1, 13]


def test_a_configuration_that_contradicts_the_program(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(FIT, model)
    conf = model / "serving_server_conf.prototxt"
    (model / "serving_server_conf.stream.prototxt").unlink()
    right = conf.read_text()
    for wrong, told in [(right.replace('name: "x"', 'name: "z"', 1), "'z'"), (right.replace("feed_type: 1", "feed_type: 0"), "int64"),
                        (right.replace("shape: 13", "shape: 14"), "14")]:
        assert wrong != right
        conf.write_text(wrong)
        done = run_oar("run", model, "--in", FIT / "case_0.in.npz")
        assert done.returncode == 1 and told in done.stderr and "serving_server_conf.prototxt" in done.stderr, done.stderr


def test_missing_files(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(FIT, model)
    (model / "inference.pdiparams").unlink()
    done = run_oar("inspect", model)
    assert done.returncode == 1 and str(model) in done.stderr
    (model / "inference.pdmodel").unlink()
    done = run_oar("inspect", model)
    assert done.returncode == 1 and str(model) in done.stderr


def test_an_unknown_operator_is_named(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(FIT, model)
    program = (FIT / "inference.pdmodel").read_bytes()
    known = next(n for n in (b"matmul_v2", b"mul", b"elementwise_add") if bytes([len(n)]) + n in program)
    (model / "inference.pdmodel").write_bytes(program.replace(bytes([len(known)]) + known, bytes([len(known)]) + b"q" * len(known)))
    done = run_oar("inspect", model)
    assert done.returncode == 1
    assert f"'{'q' * len(known)}' (1 time, first at operator" in done.stderr


def test_inspect_draws(tmp_path):
    done = run_oar("inspect", ZOO / "lenet_digits" / "pdmodel26", "--dot")
    assert done.returncode == 0 and done.stdout.startswith("digraph") and "conv2d" in done.stdout and done.stdout.rstrip().endswith("}")
    shown = json.loads(run_oar("inspect", ZOO / "lenet_digits" / "pdmodel26", "--json").stdout)
    assert shown["operators"]["conv2d"] >= 2 and shown["parameter_bytes"] == 4 * shown["parameter_count"]


def test_bench_a_model_and_a_server():
    shown = json.loads(run_oar("bench", FIT, "--in", FIT / "case_0.in.npz", "--seconds", 0.3, "--threads", 1, "--json").stdout)
    assert 0 < shown["min_ms"] <= shown["median_ms"] <= shown["p99_ms"] and shown["resident_bytes"] > 0 and shown["load_ms"] > 0
    with Server("--model", FIT) as s:
        for protocol in ("brpc", "http"):
            shown = json.loads(run_oar("bench", s.address, "--protocol", protocol, "--in", FIT / "case_0.in.npz", "--concurrency", 4,
                                       "--seconds", 0.3, "--json").stdout)
            assert shown["errors"] == 0 and shown["qps"] > 10 and shown["p50_ms"] <= shown["p90_ms"] <= shown["p99_ms"] <= shown["p999_ms"]


@pytest.mark.parametrize("words,told", [
    (["serv"], ["serv", "serve"]), (["run", FIT, "--input", "x"], ["--input", "--in"]), (["run", FIT], ["--in"]), (["run"], ["MODEL"]),
    (["run", FIT, "--in", "/no/such.npz"], ["/no/such.npz"]), (["call", "127.0.0.1:1", "--in", FIT / "case_0.in.npz"], ["127.0.0.1:1"]),
    (["call", "127.0.0.1:1", "--protocol", "pigeon", "--in", "x"], ["pigeon", "brpc"]), (["inspect", "/no/such/model"], ["/no/such/model"]),
])
def test_misuse_is_told(words, told):
    done = run_oar(*words)
    assert done.returncode in (1, 2), done
    for word in told:
        assert word in done.stderr, done.stderr


def test_nothing_is_coloured_in_a_pipe():
    for words in (["--help"], ["inspect", FIT], ["run", FIT, "--in", FIT / "case_0.in.npz"]):
        assert "\033" not in run_oar(*words).stdout


def test_outputs_are_printed_and_as_json():
    done = run_oar("run", FIT, "--in", FIT / "case_0.in.npz", "--json")
    out = json.loads(done.stdout)["outputs"][0]
    assert out["alias"] == "price" and out["shape"] == [1, 1] and len(out["data"]) == 1
