"""What an operator does to `oar serve`, and what happens to it: signals, full disks, limits, systemd, exit statuses."""
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from conftest import DEMO, OAR, ROOT, Server, free_port, run_oar

VERBS = ["serve", "run", "call", "bench", "convert", "inspect", "trace", "monitor", "replay", "ab", "models", "version"]
BODY = json.dumps({"feed": [{"x": [0.0] * 10}]}).encode()


def ask(server):
    request = urllib.request.Request(f"http://{server.address}/diabetes/prediction", BODY, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["result"]


def wait_for(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# ---- logs ----


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_logs_that_were_renamed_are_begun_anew(tmp_path, number):
    access, traces = tmp_path / "access.log", tmp_path / "spans.json"
    with Server("--model", DEMO, "--access-log", access, "--trace-file", traces, "--trace-rate", 1) as s:
        ask(s)
        wait_for(lambda: traces.stat().st_size > 0)
        for log in (access, traces):
            log.rename(f"{log}.1")
        s.process.send_signal(number)
        wait_for(lambda: access.exists() and traces.exists())
        ask(s)
        wait_for(lambda: traces.stat().st_size > 0)
    for log in (access, traces):
        old, new = (tmp_path / f"{log.name}.1").read_text(), log.read_text()
        assert old.count("/diabetes/prediction") >= 1 and new.count("/diabetes/prediction") >= 1
    assert signal.Signals(number).name in s.errors


def test_a_log_that_cannot_be_opened_anew_stays(tmp_path):
    access = tmp_path / "access.log"
    with Server("--model", DEMO, "--access-log", access) as s:
        access.rename(tmp_path / "access.log.1")
        access.mkdir()
        s.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "stays" in s.errors)
        ask(s)
    assert str(access) in s.errors and "/diabetes/prediction" in (tmp_path / "access.log.1").read_text()


def test_a_full_disk_loses_lines_and_no_request():
    with Server("--model", DEMO, "--access-log", "/dev/full", "--trace-file", "/dev/full", "--trace-rate", 1) as s:
        for _ in range(20):
            assert ask(s)
        wait_for(lambda: s.errors.count("'/dev/full' cannot be written: No space left on device") == 2)


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path):
    limited = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    port = free_port()
    with open(tmp_path / "stderr", "w") as errors:
        server = subprocess.Popen([OAR, "serve", "--model", DEMO, "--host", "127.0.0.1", "--port", str(port), "--access-log",
                                   tmp_path / "access.log", "--record", tmp_path / "requests.rec"], stderr=errors, preexec_fn=limited)
    try:
        told = lambda: (tmp_path / "stderr").read_text()
        wait_for(lambda: "is ready" in told())
        for _ in range(60):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/diabetes/prediction", BODY, {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=10).close()
        assert "access.log' cannot be written: File too large" in told() and "requests.rec': File too large" in told()
        done = run_oar("replay", tmp_path / "requests.rec", f"127.0.0.1:{port}", "--protocol", "http")
        assert done.returncode == 0, done.stderr
    finally:
        server.terminate()
        assert server.wait(20) == 0


def test_keys_are_read_again_as_often_as_it_is_asked(tmp_path):
    """A log that is rotated every day by SIGHUP asks hundreds of times."""
    keys = tmp_path / "keys"
    keys.write_text("infer key0\n")
    with Server("--model", DEMO, "--api-keys", keys) as s:
        for i in range(1, 81):
            keys.write_text(f"infer key{i}\n")
            s.process.send_signal(signal.SIGHUP)
            wait_for(lambda: s.errors.count("SIGHUP") == i)
        request = urllib.request.Request(f"http://{s.address}/diabetes/prediction", BODY, {"Content-Type": "application/json", "X-API-Key": "key80"})
        wait_for(lambda: "stay" not in s.errors)
        assert urllib.request.urlopen(request, timeout=10).status == 200
    assert "too often" not in s.errors


# ---- systemd ----


class Manager:
    """The socket on which systemd hears of a service."""

    def __init__(self, name, monkeypatch):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        self.socket.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)

    def hears(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path, monkeypatch, abstract):
    manager = Manager(f"@oar-{os.getpid()}" if abstract else str(tmp_path / "notify"), monkeypatch)
    with Server("--model", DEMO) as s:
        told = manager.hears()
        assert told["READY"] == "1" and told["STATUS"] == f"port {s.port}, 1 model"
        s.process.send_signal(signal.SIGHUP)
        told = manager.hears()
        assert told["RELOADING"] == "1" and abs(int(told["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 10
        assert manager.hears()["READY"] == "1"
    assert manager.hears()["STOPPING"] == "1"


def test_the_watchdog_hears_of_a_server_that_lives(tmp_path, monkeypatch):
    manager = Manager(str(tmp_path / "notify"), monkeypatch)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with Server("--model", DEMO):
        assert manager.hears()["READY"] == "1"
        begin = time.monotonic()
        for _ in range(4):
            assert manager.hears() == {"WATCHDOG": "1"}
        assert 0.2 < time.monotonic() - begin < 2


# ---- ends ----


def test_exit_statuses(tmp_path):
    with Server("--model", DEMO) as s:
        taken = run_oar("serve", "--model", DEMO, "--host", "127.0.0.1", "--port", s.port)
        assert taken.returncode == 1 and f"127.0.0.1 port {s.port} is in use" in taken.stderr
    for wrong, status, told in [(["--model", tmp_path / "none"], 1, "none"), (["--model", DEMO, "--prot", 1], 2, "did you mean --port"), ([], 2, "no model"),
                                (["--model", DEMO, "--access-log", tmp_path / "no" / "log"], 1, "No such file"),
                                (["--model", DEMO, "--record", "/dev/full"], 1, "'/dev/full' cannot be written: No space left")]:
        done = run_oar("serve", "--host", "127.0.0.1", "--port", free_port(), *wrong)
        assert done.returncode == status and told in done.stderr, (wrong, done)


@pytest.mark.parametrize("words", [["--help"], ["run", DEMO, "--in", DEMO / "case_0.in.npz", "--json"], ["inspect", DEMO]])
def test_what_cannot_be_printed_is_a_failure(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([OAR, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
    assert done.returncode == 1 and "standard output cannot be written: No space left on device" in done.stderr


def test_a_device_is_written_into_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE)
    done = run_oar("run", DEMO, "--in", DEMO / "case_0.in.npz", "--out", pipe)
    assert done.returncode == 0 and reader.communicate(timeout=20)[0].startswith(b"PK") and pipe.is_fifo()


def test_a_second_signal_ends_at_once():
    with Server("--model", DEMO) as s, socket.create_connection(("127.0.0.1", s.port)) as half:
        half.sendall(b"POST /diabetes/prediction HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.2)
        s.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "SIGTERM" in s.errors)
        assert s.process.poll() is None
        s.process.send_signal(signal.SIGTERM)
        assert s.process.wait(5) == 1
        s.process.returncode = 0  # as expected


# ---- what is asked of a running server ----


def test_lists_without_anything_in_them_say_so_and_lines_end_with_words():
    with Server("--model", DEMO) as s:
        assert run_oar("ab", s.address).stdout == "no model's traffic is divided\n"
        listed = run_oar("models", s.address, "list").stdout
        assert re.fullmatch(r"diabetes +1  READY\n", listed)


# ---- limits, and what is told of mistakes ----


def test_the_limit_on_open_files_is_raised():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for most, limits, now in [(500, (64, hard), 756), (500, (64, 300), 300)]:
        port = free_port()
        server = subprocess.Popen([OAR, "serve", "--model", DEMO, "--host", "localhost", "--port", str(port), "--max-connections", str(most)],
                                  stderr=subprocess.PIPE, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))
        told = ""
        while "is ready" not in told:
            told += server.stderr.readline()
        assert resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0] == now
        assert ("ulimit -Hn) is 300: fewer than the 500 connections" in told) == (now < most)
        server.terminate()
        server.communicate()
        assert server.returncode == 0


@pytest.mark.parametrize("words,told", [
    (["--host", "nowhere.invalid"], ["'nowhere.invalid'", "no address"]), (["--tls-cert", "/no/cert", "--tls-key", "/no/key"], ["'/no/cert'", "No such file"]),
    (["--tls-cert", ROOT / "README.md", "--tls-key", "/no/key"], ["README.md'", "no start line"]), (["--api-keys", "/no/keys"], ["--api-keys", "/no/keys", "No such file"]),
    (["--listen", "unix:/no/such/socket"], ["'/no/such/socket'", "No such file"]), (["--listen", "9293"], ["--listen '9293'", "HOST:PORT"]),
])
def test_mistakes_at_the_start_are_told_by_name(words, told):
    done = run_oar("serve", "--model", DEMO, "--host", "127.0.0.1", "--port", free_port(), *words)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    for word in told:
        assert word in done.stderr, done.stderr
    assert "error:" not in done.stderr  # OpenSSL's numbers


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="for root alone")
def test_a_model_that_may_not_be_read_says_so(tmp_path):
    """And not that it waited for its files to settle, which a copy just made does too."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    (model / "inference.pdiparams").chmod(0)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    done = subprocess.run([*nobody, OAR, "serve", "--model", model, "--port", str(free_port())], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].endswith("inference.pdiparams: Permission denied"), done.stderr


# ---- help ----


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_and_its_examples_name_options_that_are(verb):
    done = run_oar(verb, "--help")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line for line in lines if len(line) > 100 or line.rstrip() != line] == []
    assert [line for line in lines if line.startswith(" " * 29) and line[29:30] == " " and line[30:31] == " "] == []
    text, examples = done.stdout.split("\nexamples:\n")
    known = set(re.findall(r"^  (--[\w-]+)", text, re.M)) | set(re.findall(r"\(also (--[\w-]+)\)", " ".join(text.split())))
    assert f"  oar {verb}" in examples
    assert set(re.findall(r"--[\w-]+", examples)) <= known


def test_every_verb_is_listed():
    listed = re.findall(r"^  (\w+) ", run_oar("--help").stdout, re.M)
    assert listed == VERBS
