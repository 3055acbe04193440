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
    spans = json.loads((tmp_path / "t.json").read_text())
    kinds = {s["cat"] for s in spans}
    assert {"node", "batch", "stage"} <= kinds
    assert {"score", "cnn", "bow"} <= {s["name"] for s in spans if s["cat"] == "node"}
    assert all(s["ph"] == "X" and s["dur"] >= 0 and s["tid"] > 0 for s in spans)


def test_what_is_no_time_is_refused(serve):
    with serve("--model", ROOT / "examples" / "graphs" / "blend.yml") as server:
        for seconds in ("0", "-1", "61", "x", "nan"):
            assert requests.get(f"http://{server.address}/debug/trace?seconds={seconds}").status_code == 400
