"""HTTP for questions that carry no tensors: to a host and port, or to a unix socket."""
from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from typing import Dict, NamedTuple, Optional, Tuple

from .errors import InternalError, make

UNIX = "unix:"
STATUS = {400: -1, 404: -2, 408: -8, 413: -7, 429: -3, 501: -5, 503: -3, 504: -8}  # HTTP's codes as those of errors.make


class Access(NamedTuple):
    """What servers are to be shown, and whom clients believe; as oar.Client's parameters say it."""
    tls: bool = False
    ca: Optional[str] = None
    cert: Optional[str] = None
    key: Optional[str] = None
    insecure: bool = False
    api_key: Optional[str] = None

    def context(self) -> Optional[ssl.SSLContext]:
        """For connections of http.client; None: in the clear."""
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=self.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def headers(self) -> Dict[str, str]:
        """Of every request."""
        key = self.api_key
        if key is not None and key.startswith("@"):
            with open(key[1:]) as f:
                key = f.readline().strip()
        return {"Authorization": f"Bearer {key}"} if key is not None else {}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float, context: Optional[ssl.SSLContext]) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._context = context

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname="localhost")


def connection_to(address: str, timeout_s: float, context: Optional[ssl.SSLContext] = None) -> http.client.HTTPConnection:
    """Of "host:port", "[::1]:port", "unix:/path" or "unix:@name". It asks no proxy, and connects with its first request."""
    if address.startswith(UNIX):
        path = address[len(UNIX):]
        return _UnixConnection(path[2:] if path.startswith("///") else path, timeout_s, context)
    host, _, port = address.rpartition(":")
    if context is not None:
        return http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=timeout_s, context=context)
    return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)


def words_of(data: bytes) -> str:
    """What an error's body says."""
    try:
        body = json.loads(data)
        return str(body.get("error", body)) if isinstance(body, dict) else str(body)
    except ValueError:
        return data.decode(errors="replace").strip()


class Http:
    """Requests over kept connections, one for each thread and server."""

    def __init__(self, access: Access) -> None:
        self._local = threading.local()
        self._context, self._headers = access.context(), access.headers()

    def ask(self, address: str, method: str, path: str, body: Optional[bytes], timeout_s: float) -> bytes:
        """The body of a good answer; an OarError otherwise."""
        kept: Dict[str, http.client.HTTPConnection] = self._local.__dict__.setdefault("kept", {})
        for attempt in (0, 1):
            fresh = address not in kept
            if fresh:
                kept[address] = connection_to(address, timeout_s, self._context)
            try:
                status, data = self._exchange(kept[address], method, path, body, timeout_s)
            except (OSError, http.client.HTTPException) as e:
                kept.pop(address).close()
                if isinstance(e, TimeoutError):
                    raise make(-8, 0, f"{address}: no answer within {timeout_s:g} s") from e
                if fresh or attempt:
                    raise make(-11, 0, f"{address}: cannot connect: {getattr(e, 'strerror', None) or e}") from e
                continue  # closed while it was idle
            if status // 100 != 2:
                raise make(STATUS.get(status, -1 if status < 500 else -6), status, f"{address}: HTTP {status}: {words_of(data)}")
            return data
        raise InternalError("unreachable")

    def _exchange(self, connection: http.client.HTTPConnection, method: str, path: str, body: Optional[bytes],
                  timeout_s: float) -> Tuple[int, bytes]:
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        headers = {"Content-Type": "application/json", **self._headers} if body is not None else self._headers
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
