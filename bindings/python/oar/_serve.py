"""A server for the time of a block."""
from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any, Dict, IO, List, Mapping, Optional, Sequence, Type, Union

from . import _binary
from ._http import Access, connection_to
from .errors import InvalidArgument, OarError, Unavailable

_Path = Union[str, "os.PathLike[str]"]


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as s:
        try:
            s.bind((host, 0))
        except OSError as e:
            raise InvalidArgument(f"host {host!r} is no address of this machine: {e.strerror or e}") from None
        return int(s.getsockname()[1])


def _model_words(models: Union[_Path, Sequence[_Path], Mapping[str, _Path]]) -> List[str]:
    if isinstance(models, Mapping):
        return [w for name, path in models.items() for w in ("--model", f"{name}={os.fspath(path)}")]
    if isinstance(models, (str, os.PathLike)):
        return ["--model", os.fspath(models)]
    return [w for path in models for w in ("--model", os.fspath(path))]


def _option_words(options: Mapping[str, Any]) -> List[str]:
    """name=value as --name value; True is a flag, None and False are left out, lists repeat."""
    words: List[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        for v in value if isinstance(value, (list, tuple)) else [value]:
            if v is True:
                words.append(flag)
            elif v is not None and v is not False:
                words += [flag, str(v)]
    return words


class Server:
    """A running `oar serve`; :func:`serve` makes one.

    ``address`` ("127.0.0.1:41234") is what :class:`oar.Client` takes, ``url`` the same for HTTP. Every protocol is on
    that one port. :meth:`stop` lets the server answer what it has begun.
    """

    def __init__(self, command: Sequence[str], host: str, port: int, ready_s: float, tls: bool = False) -> None:
        self.host, self.port = host, port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.url = f"{'https' if tls else 'http'}://{self.address}"
        self._context = Access(tls=tls, insecure=True).context()
        self._log: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(list(command), stderr=self._log)
        try:
            self._wait_ready(ready_s)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise

    def _wait_ready(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.ready():
            if self._process.poll() is not None:
                raise OarError(f"the server ended with status {self._process.returncode}: {self.log().strip()}")
            if time.monotonic() > until:
                raise Unavailable(f"the server is not ready after {seconds:g} s: {self.log().strip()}")
            time.sleep(0.005)

    def ready(self) -> bool:
        """Whether it can be asked."""
        connection = connection_to(self.address, 2, self._context)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status in (200, 401, 403)  # who wants a key to tell is there, too
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def log(self) -> str:
        """What it has written so far: its ready line, and what it complains about."""
        position = self._log.tell()
        self._log.seek(0)
        text = self._log.read()
        self._log.seek(position)
        return text.decode(errors="replace")

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def wait(self) -> int:
        """Waits until it ends by itself; its exit status."""
        return self._process.wait()

    def stop(self, seconds: float = 30.0) -> int:
        """Ends it: what it has begun is answered first, for at most so long. Its exit status."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self._process.poll() is None else f"ended with {self._process.returncode}"
        return f"<oar.Server {self.address} {state}>"


def serve(models: Union[_Path, Sequence[_Path], Mapping[str, _Path]], *, port: int = 0, host: str = "127.0.0.1",
          threads: Optional[int] = None, name: Optional[str] = None, ready_s: float = 60.0, **options: Any) -> Server:
    """Starts a server of models and returns when it can be asked.

    ``models`` is a model's path, several of them, or ``{name: path}``; port 0 picks a free one. Further options are those
    of ``oar serve`` with underscores (``max_body_size=1 << 20``, ``quiet=True``); ``oar serve --help`` lists them.

    >>> with oar.serve("uci_housing_model") as server:
    ...     oar.Client(server.address).infer({"x": row})

    Without ``with``, call :meth:`Server.stop`. Raises :class:`oar.errors.OarError` with the server's own words when it
    cannot start.
    """
    chosen = port or _free_port(host)
    command = [_binary.path(), "serve", *_model_words(models), "--host", host, "--port", str(chosen)]
    given: Dict[str, Any] = {"thread": threads, "name": name, **options}
    return Server(command + _option_words(given), host, chosen, ready_s, tls="tls_cert" in options and "tls_client_ca" not in options)
