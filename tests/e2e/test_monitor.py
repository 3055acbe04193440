"""Models that come from elsewhere: a directory, HTTP with its index pages or a tar, WebHDFS, FTP, by the done file's rules."""
import functools
import http.server
import json
import os
import pathlib
import socket
import tarfile
import threading
import urllib.parse

import pytest

from conftest import ZOO, run_oar
from test_models import model_files, put

HOUSES = ZOO / "fit_a_line" / "pdmodel26"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Hdfs(Quiet):
    """WebHDFS's three calls over a directory."""

    def do_GET(self):
        path, _, query = self.path.partition("?")
        op = dict(p.split("=") for p in query.split("&"))["op"]
        file = pathlib.Path(self.directory) / urllib.parse.unquote(path).removeprefix("/webhdfs/v1/")
        if not file.exists():
            return self.send_error(404)

        def status(p, name):
            return {"pathSuffix": name, "type": "DIRECTORY" if p.is_dir() else "FILE", "length": p.stat().st_size,
                    "modificationTime": int(p.stat().st_mtime * 1000)}

        if op == "OPEN":
            data = file.read_bytes()
        elif op == "GETFILESTATUS":
            data = json.dumps({"FileStatus": status(file, "")}).encode()
        else:
            rows = [status(p, p.name) for p in file.iterdir()] if file.is_dir() else [status(file, "")]
            data = json.dumps({"FileStatuses": {"FileStatus": rows}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Ftp(threading.Thread):
    """As much of FTP as is asked: passive transfers of one directory, read only."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root = root
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(conn,), daemon=True).start()

    def talk(self, conn):
        with conn, conn.makefile("rw", newline="\r\n") as f:
            def say(text):
                f.write(text + "\r\n")
                f.flush()
            here, data = pathlib.PurePosixPath("/"), None
            say("220 hello")
            for line in f:
                verb, _, arg = line.strip().partition(" ")
                at = self.root / str(here / arg).lstrip("/")
                if verb in ("USER", "PASS", "TYPE"):
                    say("331 go on" if verb == "USER" else "230 fine" if verb == "PASS" else "200 fine")
                elif verb == "PWD":
                    say('257 "/"')
                elif verb == "CWD":
                    here = here / arg
                    say("250 fine" if (self.root / str(here).lstrip("/")).is_dir() else "550 no such directory")
                elif verb == "EPSV":
                    data = socket.create_server(("127.0.0.1", 0))
                    say(f"229 here (|||{data.getsockname()[1]}|)")
                elif verb in ("MDTM", "SIZE"):
                    import time as t
                    say(f"213 {t.strftime('%Y%m%d%H%M%S', t.gmtime(at.stat().st_mtime)) if verb == 'MDTM' else at.stat().st_size}"
                        if at.is_file() else "550 no such file")
                elif verb in ("LIST", "RETR"):
                    if verb == "RETR" and not at.is_file():
                        say("550 no such file")
                        continue
                    say("150 coming")
                    with data.accept()[0] as out:
                        if verb == "RETR":
                            out.sendall(at.read_bytes())
                        else:
                            for p in sorted((self.root / str(here).lstrip("/")).iterdir()):
                                kind = "d" if p.is_dir() else "-"
                                out.sendall(f"{kind}rw-r--r-- 1 a a {p.stat().st_size} Jan 1 00:00 {p.name}\r\n".encode())
                    say("226 done")
                elif verb == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("502 not here")


@pytest.fixture
def remote(tmp_path):
    folder = tmp_path / "remote" / "path"
    put(HOUSES, folder / "model")
    (folder / "model" / "more").mkdir()
    (folder / "model" / "more" / "read me first").write_text("x")
    return folder


@pytest.fixture(params=["dir", "http", "hdfs", "ftp"])
def source(request, remote):
    """The monitor's options for the directory above `path`."""
    if request.param == "dir":
        yield ["--general_host", remote.parent]
        return
    if request.param == "ftp":
        ftp = Ftp(remote.parent)
        ftp.start()
        yield ["--type", "ftp", "--ftp_host", "127.0.0.1", "--ftp_port", ftp.port]
        ftp.listener.close()
        return
    handler = functools.partial(Hdfs if request.param == "hdfs" else Quiet, directory=str(remote.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        yield ["--type", "hdfs", "--fs_name", at, "--fs_ugi", "me,word"] if request.param == "hdfs" else ["--general_host", at]
        server.shutdown()


def monitor(source, local, *more):
    return run_oar("monitor", *source, "--remote_path", "path", "--remote_model_name", "model", "--remote_donefile_name", "done",
                   "--local_path", local, "--local_model_name", "houses", "--once", *more)


def test_a_model_is_fetched_when_the_done_file_is_written(serve, source, remote, tmp_path):
    local = tmp_path / "local"
    assert monitor(source, local).returncode == 1  # no done file: it waits
    assert not (local / "houses").exists()
    (remote / "done").touch()
    fetched = monitor(source, local)
    assert fetched.returncode == 0, fetched.stderr
    for path in model_files(HOUSES):
        assert (local / "houses" / path.name).read_bytes() == path.read_bytes()
    assert (local / "houses" / "more" / "read me first").read_text() == "x"
    assert (local / "houses" / "fluid_time_file").exists()
    assert fetched.stdout == ""
    assert [p.name for p in local.iterdir()] == ["houses"]
    with serve("--model", local / "houses"):
        pass


def test_a_tar_is_unpacked_and_a_broken_one_changes_nothing(remote, tmp_path):
    local = tmp_path / "local"
    with tarfile.open(remote / "model.tar", "w") as tar:
        tar.add(remote / "model", "inside")
    (remote / "done").touch()
    options = ["--general_host", remote.parent, "--remote_model_name", "model.tar", "--unpacked_filename", "inside"]
    assert monitor(options, local, *options[2:]).returncode == 0
    before = sorted(p.name for p in (local / "houses").iterdir())
    os.truncate(remote / "model.tar", 1500)
    broken = monitor(options, local, *options[2:])
    assert broken.returncode == 1 and ("archive" in broken.stderr or "tar" in broken.stderr)
    assert sorted(p.name for p in (local / "houses").iterdir()) == before
