"""`oar call` and `oar bench` over each protocol of HTTP, open and closed loops, and the report."""
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from conftest import ROOT, ZOO, Server, run_oar
from wire import ROW

MODEL = ROOT / "tests" / "data" / "uci_housing"


@pytest.fixture(scope="module")
def server():
    with Server("--model", f"uci={MODEL}", f"bow={ZOO / 'imdb_bow' / 'pdmodel26'}") as s:
        yield s


@pytest.fixture
def feeds(tmp_path):
    np.savez(tmp_path / "in.npz", x=np.array([ROW, ROW], "f4"))
    return tmp_path / "in.npz"


@pytest.mark.parametrize("how", [["brpc"], ["http"], ["http", "--encoding", "json"], ["kserve-http"], ["kserve-http", "--encoding", "json"], ["tfs"]])
def test_call_gives_one_answer_over_every_protocol(server, feeds, tmp_path, how):
    done = run_oar("call", server.address, "--model", "uci", "--in", feeds, "--out", tmp_path / "out.npz", "--protocol", *how)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(out[out.files[0]], np.full((2, 1), 18.901152), atol=1e-5)


@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_sequences_over_kserve(server, tmp_path, encoding):
    given, want = (np.load(ZOO / "imdb_bow" / "pdmodel26" / f"case_0.{side}.npz") for side in ("in", "out"))
    np.savez(tmp_path / "in.npz", **{"words": given["in0"], "words.lod": given["in0_lod0"]})
    done = run_oar("call", server.address, "--model", "bow", "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz",
                   "--protocol", "kserve-http", "--encoding", encoding)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_allclose(out["prediction"], want["out0"], atol=1e-5)


@pytest.mark.parametrize("protocol,model,words", [("kserve-http", "uc", "unknown model"), ("tfs", "uc", "Servable not found")])
def test_refusals_are_told(server, feeds, protocol, model, words):
    done = run_oar("call", server.address, "--model", model, "--in", feeds, "--protocol", protocol)
    assert done.returncode == 1 and words in done.stderr


def bench(server, feeds, *more):
    done = run_oar("bench", server.address, "--model", "uci", "--in", feeds, "--seconds", "0.4", "--warm-up", "0.1", "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("protocol", ["http", "kserve-http", "tfs"])
def test_closed_loop(server, feeds, protocol):
    r = bench(server, feeds, "--protocol", protocol, "--concurrency", "4")
    assert r["calls"] > 20 and r["errors"] == 0 and 0 < r["p50_ms"] <= r["p99_ms"] <= r["max_ms"]


def test_open_loop_keeps_its_rate_and_tells_what_was_late(server, feeds):
    r = bench(server, feeds, "--protocol", "kserve-http", "--concurrency", "8", "--rate", "200")
    assert r["errors"] == 0 and r["calls"] <= 100 and r["calls"] + r["late"] == pytest.approx(80, abs=20)
    r = bench(server, feeds, "--protocol", "kserve-http", "--concurrency", "1", "--rate", "2000000")
    assert r["late"] > 1000 and r["p50_ms"] > 50  # timed from when calls were due


def test_report_is_one_page_with_plots(server, feeds, tmp_path):
    bench(server, feeds, "--protocol", "kserve-http", "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    plots = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(plots) == 3 and not re.search(r'(src|href)="', page)
    for plot in plots:
        lines = ET.fromstring(plot).findall("polyline")
        assert lines and all(0 <= float(y) <= 260 for line in lines for _, y in (p.split(",") for p in line.get("points").split()))


def test_a_silent_connection_that_the_server_closes_is_no_error(serve, feeds):
    with serve("--model", f"uci={ZOO / 'fit_a_line' / 'pdmodel26'}", "--request-timeout", "1") as server:
        out = bench(server, feeds, "--protocol", "brpc", "--concurrency", "8", "--rate", "20", "--seconds", "2.5")
        assert out["errors"] == 0 and out["calls"] > 30, out
