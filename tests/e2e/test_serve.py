"""Starting, stopping, and being told what is wrong."""
import json
import re
import signal
import socket
import struct
import threading
import time

import pytest
import requests

from conftest import DEMO, ROOT, ZOO, Server, free_port, run_oar
from wire import PB, Connection, frame, read_frame, uci_request

MODEL = ROOT / "tests" / "data" / "uci_housing"


def test_the_ready_line_says_what_is_served():
    with Server("--model", f"uci={MODEL}", "--model", f"bow={ZOO / 'imdb_bow' / 'pdmodel26'}") as s:
        words = s.errors
        assert re.search(rf"ready after [0-9.]+ ms: http://127.0.0.1:{s.port} .*baidu_std.*HTTP", words)
        assert re.search(r"model uci: .* 14 parameters, loaded in [0-9.]+ ms", words)
        assert "in  x (x) float32 [-1, 13]" in words and "out price (fc_0.tmp_1) float32 [-1, 1]" in words
        assert re.search(r"in  words \(words\) int64 \[-1, 1\] LoD", words)
        assert requests.get(f"http://{s.address}/v2/health/ready").status_code == 200


def test_a_model_is_called_like_its_directory():
    with Server("--model", str(MODEL) + "/") as s:
        r = requests.post(f"http://{s.address}/uci_housing/prediction", json={"feed": [{"x": [0] * 13}], "fetch": ["price"]})
        assert r.status_code == 200


def test_two_models_under_one_name():
    done = run_oar("serve", "--model", MODEL, "--model", MODEL, "--port", 0)
    assert done.returncode == 1 and "'uci_housing'" in done.stderr and "NAME=DIR" in done.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_well(stop):
    s = Server("--model", MODEL).wait_ready()
    s.process.send_signal(stop)
    assert s.process.wait(10) == 0


def test_idle_connections_do_not_hold_it_up():
    s = Server("--model", MODEL).wait_ready()
    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(20)]
    with Connection(s.port) as c:
        c.call(uci_request())
        begin = time.monotonic()
        assert s.stop() == 0 and time.monotonic() - begin < 5
        assert c.socket.recv(10) == b""
    for i in idle:
        i.close()


def test_no_admitted_request_is_lost_by_a_drain():
    """Callers that hammer the server while it ends: each call that was answered is right, and each that was not never
    came to be read (the connection just ends)."""
    s = Server("--model", MODEL).wait_ready()
    faults, answered = [], [0]

    def hammer():
        with Connection(s.port) as c:
            try:
                while True:
                    meta, r = c.call(uci_request())
                    if meta.response.error_code != 0 or abs(r.outputs[0].tensor[0].float_data[0] - 18.901152) > 1e-5:
                        faults.append(meta.response.error_text)
                    answered[0] += 1
            except EOFError as e:
                if "after 0 of" not in str(e):
                    faults.append(f"half an answer: {e}")
            except OSError:
                pass

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for t in threads:
        t.start()
    time.sleep(0.3)
    assert s.stop() == 0
    for t in threads:
        t.join(10)
    assert not faults and answered[0] > 100


def test_a_request_in_the_middle_is_waited_for():
    s = Server("--model", MODEL).wait_ready()
    data = frame(uci_request())
    with Connection(s.port) as c:
        c.socket.sendall(data[:50])
        time.sleep(0.2)
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        c.socket.sendall(data[50:])
        meta, payload = read_frame(c.socket)
        assert meta.response.error_code == 0 and PB["Response"].FromString(payload).outputs
    assert s.process.wait(10) == 0


def test_a_second_signal_ends_it_at_once():
    s = Server("--model", MODEL).wait_ready()
    with Connection(s.port) as c:
        c.socket.sendall(frame(uci_request())[:50])  # holds the drain up
        time.sleep(0.2)
        s.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert s.process.poll() is None
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(5) == 1


def test_a_port_in_use():
    with Server("--model", MODEL) as s:
        done = run_oar("serve", "--model", MODEL, "--host", "127.0.0.1", "--port", s.port)
        assert done.returncode == 1 and f"127.0.0.1 port {s.port} is in use" in done.stderr
        assert requests.get(f"http://{s.address}/v2/health/live").status_code == 200


@pytest.mark.parametrize("words,told", [
    (["--modle", "x"], ["--modle", "--model"]), ([], ["--model"]), (["--model", "/no/such/dir"], ["/no/such/dir"]),
    (["--model", MODEL, "--port", "70000"], ["--port", "65535"]), (["--model", MODEL, "--port", "many"], ["--port", "many"]),
    (["--model", MODEL, "--host", "no.such.host.invalid"], ["no.such.host.invalid"]),
    (["--model", MODEL, "--thread", "0"], ["--thread"]),
])
def test_misuse_is_told(words, told):
    done = run_oar("serve", *words)
    assert done.returncode not in (0, 139, 134)
    for word in told:
        assert word in done.stderr


def test_a_port_of_its_own_choice():
    with Server("--model", MODEL) as other:
        assert other.port != 0
    done = run_oar("serve", "--help")
    assert done.returncode == 0 and "--port" in done.stdout
