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
            gone = requests.post(f"http://{server.address}/far/prediction", json={"feed": [{"words": [1, 2]}]}, timeout=20)
            assert gone.status_code == 502 and "node 'there'" in gone.text and other.address in gone.text, gone.text


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


def general(server, tensors, log_id=0):
    """GeneralModelService's own JSON, whose tensors say their types."""
    body = {"tensor": [{"elem_type": t, "name": n, "alias_name": n, "shape": s, "lod": lod, **data} for n, t, s, lod, data in tensors],
            "fetch_var_names": [], "log_id": log_id}
    return requests.post(f"http://{server.address}/GeneralModelService/inference", json=body, timeout=20)


WORDS = ("words", 0, [5, 1], [0, 2, 5], {"int64_data": [8, 233, 52, 7, 99]})


def outputs(answer):
    assert answer.status_code == 200, answer.text
    return {o["engine_name"]: np.array(o["tensor"][0]["float_data"]) for o in answer.json()["outputs"]}


def workdir(folder, mapping):
    node = """ nodes {{ name: "read" type: "GeneralReaderOp" }}
      nodes {{ name: "{0}" type: "GeneralInferOp" dependencies {{ name: "read" mode: "RO" }} }}
      nodes {{ name: "answer" type: "GeneralResponseOp" dependencies {{ name: "{0}" mode: "RO" }} }} """
    folder.mkdir()
    (folder / "infer_service.prototxt").write_text('services { name: "GeneralModelService" enable_map_request_to_workflow: true\n' + mapping + "}")
    (folder / "workflow.prototxt").write_text("".join(
        f'workflows {{ name: "{n}s" workflow_type: "Sequence" {node.format(n)} }}\n' for n in ("cnn", "bow")))
    (folder / "resource.prototxt").write_text('model_toolkit_path: "." model_toolkit_file: "toolkit.prototxt"\n')
    (folder / "toolkit.prototxt").write_text("".join(
        f'engines {{ name: "{n}" type: "PADDLE_INFER" reloadable_meta: "x" reloadable_type: "timestamp_ne" model_dir: "{m}" }}\n'
        for n, m in (("cnn", CNN), ("bow", BOW))))
    return folder


def test_a_field_of_the_request_chooses_the_workflow(serve, tmp_path):
    both = workdir(tmp_path / "both", """request_field_key: "kind"
        value_mapped_workflows { request_field_value: "1" workflow: "cnns" } value_mapped_workflows { request_field_value: "2" workflow: "bows" }
        value_mapped_workflows { request_field_value: "3" workflow: "cnns, bows" }""")
    with serve("--model", both) as server:
        def kind(n):
            return general(server, [WORDS, ("kind", 0, [1], [], {"int64_data": [n]})])
        cnn, bow = outputs(kind(1)), outputs(kind(2))
        assert list(cnn) == ["cnn"] and list(bow) == ["bow"]
        all_of_them = outputs(kind(3))
        assert np.allclose(all_of_them["cnn"], cnn["cnn"]) and np.allclose(all_of_them["bow"], bow["bow"])
        assert kind(4).status_code == 400 and "no condition" in kind(4).text
        assert general(server, [WORDS]).status_code == 400
    by_id = workdir(tmp_path / "by_id", 'request_field_key: "log_id" value_mapped_workflows { request_field_value: "7" workflow: "bows" }')
    with serve("--model", by_id) as server:
        assert np.allclose(outputs(general(server, [WORDS], log_id=7))["bow"], bow["bow"])
        assert general(server, [WORDS], log_id=8).status_code == 400
    lost = workdir(tmp_path / "lost", 'request_field_key: "kind" value_mapped_workflows { request_field_value: "1" workflow: "cnss" }')
    assert "no workflow of" in run_oar("serve", "--model", lost, "--port", "0").stderr


def test_a_text_or_a_field_decides(serve, tmp_path):
    file = tmp_path / "g.yml"
    file.write_text(f"""service: g
nodes:
  - {{name: cnn, model: {CNN}, when: {{input: request.kind, is: [cnn, both]}}}}
  - {{name: bow, model: {BOW}, when: {{field: log_id, above: 10}}}}
""")
    with serve("--model", file) as server:
        kind = lambda word: ("kind", 20, [1], [], {"data": [word]})  # noqa: E731
        assert set(outputs(general(server, [WORDS, kind("cnn")]))) == {"cnn"}
        assert set(outputs(general(server, [WORDS, kind("both")], log_id=11))) == {"cnn", "bow"}
        assert set(outputs(general(server, [WORDS, kind("other")], log_id=11))) == {"bow"}
        assert general(server, [WORDS, kind("other")]).status_code == 400


def infer(server, name, outputs=None):
    body = {"inputs": [{"name": "words", "shape": [5, 1], "datatype": "INT64", "data": TEXT["feed"][0]["words"]},
                       {"name": "words.lod", "shape": [3], "datatype": "INT64", "data": TEXT["feed"][0]["words.lod"]}]}
    if outputs:
        body["outputs"] = [{"name": n} for n in outputs]
    answer = requests.post(f"http://{server.address}/v2/models/{name}/infer", json=body, timeout=20)
    assert answer.status_code == 200, answer.text
    return {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer.json()["outputs"]}


def test_all_that_a_graph_answers_is_told_over_every_protocol(serve, tmp_path):
    """Outputs of several nodes, one renamed by the response, one by the branch that ran."""
    (tmp_path / "many.yml").write_text(
        f"service: many\nnodes:\n  - {{name: cnn, model: {CNN}}}\n  - {{name: bow, model: {BOW}}}\n"
        "  - {name: sum, op: weighted_sum, inputs: [cnn, bow], output: sum}\n"
        "  - {name: no, op: copy, inputs: [sum], when: {input: cnn.prediction, index: 0, above: 2}}\n"
        "  - {name: yes, op: copy, inputs: [bow], when: {input: cnn.prediction, index: 0, below: 2}}\n"
        "  - {name: pick, op: first, inputs: [no, yes]}\n"
        "  - {name: one, op: constant, value: 1}\n"
        "  - {op: response, inputs: [{left: cnn.prediction}, pick, one]}\n")
    with serve("--model", tmp_path / "many.yml", "--model", f"cnn={CNN}", "--model", f"bow={BOW}") as server:
        told = requests.get(f"http://{server.address}/v2/models/many").json()["outputs"]
        assert [o["name"] for o in told] == ["left", "sum", "one"]
        cnn, bow = ask(server, "cnn")["prediction"], ask(server, "bow")["prediction"]
        for answer in (ask(server, "many"), infer(server, "many"), infer(server, "many", ["one", "sum", "left"])):
            assert np.allclose(answer["left"], cnn) and np.allclose(answer["sum"], bow) and answer["one"] == [1]
        assert list(infer(server, "many", ["sum"])) == ["sum"]
        rows = requests.post(f"http://{server.address}/v1/models/many:predict", json={"inputs": {"words": [[1], [2]]}}).json()
        assert sorted(rows["outputs"]) == ["left", "one", "sum"], rows


def test_a_node_asks_one_of_another_server_s_models(serve, tmp_path):
    with serve("--model", f"bow={BOW}", "--model", f"cnn={CNN}") as other:
        node = f"  - {{name: there, op: remote, inputs: [request], address: '{other.address}', remote_model: cnn, protocol: %s}}\n"
        near = f"service: far\nnodes:\n  - {{name: near, model: {BOW}}}\n"
        sum_up = "  - {name: both, op: weighted_sum, inputs: [near.prediction, there.prediction], weights: [0, 1]}\n"
        (tmp_path / "far.yml").write_text(near + node % "kserve-http" + sum_up)
        with serve("--model", tmp_path / "far.yml") as server:
            assert np.allclose(ask(server, "far")["prediction"], ask(other, "cnn")["prediction"], atol=1e-6)
        (tmp_path / "far.yml").write_text("service: far\nnodes:\n" + node % "brpc")
        bad = run_oar("serve", "--model", tmp_path / "far.yml", "--port", "0")
        assert bad.returncode == 1 and "requests over 'brpc' name no model" in bad.stderr.splitlines()[-1]
