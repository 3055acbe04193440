"""Services that are graphs: our own files, the original's, the command line's chain, and a call to another server."""
import time

import numpy as np
import requests

from conftest import ROOT, ZOO, run_oar

BLEND = ROOT / "examples" / "graphs" / "blend.yml"
CNN = ZOO / "imdb_cnn" / "pdmodel26"
BOW = ZOO / "imdb_bow" / "pdmodel26"
TEXT = {"feed": [{"words": [8, 233, 52, 7, 99], "words.lod": [0, 2, 5]}], "fetch": []}


def ask(server, name, body=TEXT):
    answer = requests.post(f"http://{server.address}/{name}/prediction", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    return {k: np.array(v) for k, v in answer.json()["result"].items() if not k.endswith(".lod")}


def test_the_example_blends_two_models(serve):
    with serve("--model", BLEND, "--model", f"cnn={CNN}", "--model", f"bow={BOW}") as server:
        want = 0.6 * ask(server, "cnn")["prediction"] + 0.4 * ask(server, "bow")["prediction"]
        for _ in range(20):
            assert np.allclose(ask(server, "blend")["prediction"], want, atol=1e-6)


def test_a_chain_from_the_command_line(serve):
    with serve("--model", CNN, "--op", "GeneralInferOp", "GeneralCopyOp:0", "--name", "words") as server:
        assert ask(server, "words")["prediction"].shape == (2, 2)


def test_a_node_asks_another_server(serve, tmp_path):
    with serve("--model", f"cnn={CNN}") as other:
        (tmp_path / "far.yml").write_text(
            "service: far\nnodes:\n"
            f"  - {{name: near, model: {BOW}}}\n"
            f"  - {{name: there, op: remote, inputs: [request], address: '{other.address}', timeout_ms: 5000}}\n"
            "  - {name: both, op: weighted_sum, inputs: [near.prediction, there.prediction], weights: [0, 1]}\n")
        with serve("--model", tmp_path / "far.yml") as server:
            assert np.allclose(ask(server, "far")["prediction"], ask(other, "cnn")["prediction"], atol=1e-6)
        other.stop()


def test_a_graph_is_loaded_again_when_its_file_changes(serve, tmp_path):
    file = tmp_path / "one.yml"
    graph = "service: one\nnodes:\n  - {{name: cnn, model: {}}}\n  - {{name: s, op: weighted_sum, inputs: [cnn], weights: [{}]}}\n"
    file.write_text(graph.format(CNN, 1))
    with serve("--model", file, "--settle-ms", "100") as server:
        one = ask(server, "one")["prediction"]
        file.write_text(graph.format(CNN, 3).replace("weights", "wights"))  # refused: the old one serves on
        for _ in range(30):
            assert np.allclose(ask(server, "one")["prediction"], one)
        file.write_text(graph.format(CNN, 3))
        for _ in range(200):
            if not np.allclose(ask(server, "one")["prediction"], one):
                break
            time.sleep(0.02)
        assert np.allclose(ask(server, "one")["prediction"], 3 * one, atol=1e-5), server.errors


def test_inspect_draws_a_graph_and_names_its_faults(tmp_path):
    drawn = run_oar("inspect", BLEND, "--graph")
    assert drawn.returncode == 0 and "WeightedSumOp" in drawn.stdout and drawn.stdout.startswith("digraph")
    (tmp_path / "bad.yml").write_text("nodes:\n  - {name: a, op: copi}\n")
    bad = run_oar("serve", "--model", tmp_path / "bad.yml", "--port", "0")
    assert bad.returncode == 1 and "bad.yml:2: no operator is called 'copi'; did you mean 'copy'?" in bad.stderr
