"""What live requests spend their time on, as a Chrome trace."""
import json
import threading

import requests

from conftest import ROOT, run_oar

TEXT = {"feed": [{"words": [8, 233, 52], "words.lod": [0, 3]}], "fetch": []}


def test_a_trace_has_stages_operators_and_threads(serve, tmp_path):
    with serve("--model", ROOT / "examples" / "graphs" / "blend.yml", "--runtime-thread-num", "1") as server:
        stop = threading.Event()

        def ask():
            with requests.Session() as session:
                while not stop.is_set():
                    assert session.post(f"http://{server.address}/blend/prediction", json=TEXT).status_code == 200

        asker = threading.Thread(target=ask)
        asker.start()
        done = run_oar("trace", server.address, "--seconds", "0.3", "--out", tmp_path / "t.json")
        busy = run_oar("trace", server.address, "--seconds", "0.05")
        stop.set()
        asker.join()
    assert done.returncode == 0, done.stderr
    assert busy.returncode == 0
    events = json.loads((tmp_path / "t.json").read_text())
    names = {e["args"]["name"] for e in events if e["ph"] == "M"}
    spans = [e for e in events if e["ph"] != "M"]
    kinds = {s["cat"] for s in spans}
    assert {"loop", "request", "stage", "node", "batch", "kernel"} <= kinds
    assert "parse" in {s["name"] for s in spans if s["cat"] == "stage"}
    assert any(s["args"]["kernel"] for s in spans if s["cat"] == "kernel" and s["name"] == "matmul")
    assert any(n.startswith("oar-loop") for n in names)
    assert {"score", "cnn", "bow"} <= {s["name"] for s in spans if s["cat"] == "node"}
    whole = [s for s in spans if s["ph"] == "X"]
    assert all(s["dur"] >= 0 and s["tid"] > 0 for s in whole)
    for kind in ("request", "stage"):
        assert len([s for s in spans if s["cat"] == kind and s["ph"] == "b"]) == len(
            [s for s in spans if s["cat"] == kind and s["ph"] == "e" and s["id"]])
    kernel = next(s for s in whole if s["cat"] == "kernel")  # lies within a batch of its thread
    assert any(b["tid"] == kernel["tid"] and b["ts"] <= kernel["ts"] and kernel["ts"] + kernel["dur"] <= b["ts"] + b["dur"] + 0.01
               for b in whole if b["cat"] in ("batch", "node"))


def test_what_is_no_time_is_refused(serve):
    with serve("--model", ROOT / "examples" / "graphs" / "blend.yml") as server:
        for seconds in ("0", "-1", "61", "x", "nan"):
            assert requests.get(f"http://{server.address}/debug/trace?seconds={seconds}").status_code == 400


def test_profile_lines_become_a_trace(tmp_path):
    """Lines as the original's clients write them to stderr, among other words."""
    (tmp_path / "lines").write_text(
        "a warning\nPROFILE\tpid:7\tprepro_0:100 prepro_1:150 client_infer_0:151 client_infer_1:900 op0_0:200 op0_1:220 \n"
        "PROFILE\tpid:8\tcall_3#DAG_0:5 call_3#DAG_1:9 nonsense x_2:1 y_0:z \nPROFILE\n")
    done = run_oar("trace", "--profile", tmp_path / "lines", "--out", tmp_path / "t.json")
    assert done.returncode == 0, done.stderr
    events = json.loads((tmp_path / "t.json").read_text())
    assert [(e["name"], e["pid"], e["tid"], e["ts"], e["ph"]) for e in events] == [
        ("prepro", "7", "0", 100, "B"), ("prepro", "7", "0", 150, "E"), ("client_infer", "7", "0", 151, "B"),
        ("client_infer", "7", "0", 900, "E"), ("op0", "7", "0", 200, "B"), ("op0", "7", "0", 220, "E"),
        ("call_3", "8", "DAG", 5, "B"), ("call_3", "8", "DAG", 9, "E")]
    assert run_oar("trace", "--profile", tmp_path / "lines", "127.0.0.1:1").returncode == 2
    assert run_oar("trace").returncode == 2
