"""Client: calls to any number of servers that do the same work."""
from __future__ import annotations

import concurrent.futures
import json
import os
import threading
import time
from types import TracebackType
from collections.abc import Mapping as AnyMapping
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, Union
from urllib.parse import quote

import numpy as np

from . import _balance
from ._http import Access, Http
from .errors import InvalidArgument, OarError, make

Arrays = Dict[str, "np.ndarray[Any, Any]"]
_Path = Union[str, "os.PathLike[str]"]

# protocol -> its name in liboar_client
PROTOCOLS = {"auto": "brpc", "brpc": "brpc", "http": "http", "http-json": "http-json", "grpc": "grpc", "kserve": "kserve-http",
             "kserve-http": "kserve-http", "kserve-grpc": "kserve-grpc", "tfs": "tfs"}
OF_A_MODEL = ("kserve", "kserve-http", "kserve-grpc", "tfs")  # whose requests name it

# NumPy's names of the Open Inference Protocol's types
_NUMPY = {"INT64": "int64", "FP32": "float32", "INT32": "int32", "FP64": "float64", "INT16": "int16", "FP16": "float16", "UINT8": "uint8",
          "INT8": "int8", "BOOL": "bool", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64"}


class TensorInfo(NamedTuple):
    """One input or output as the server describes it; -1 in shape where a request decides."""
    name: str
    dtype: str
    shape: Tuple[int, ...]


class ModelInfo(NamedTuple):
    """A model as the server describes it."""
    name: str
    versions: Tuple[str, ...]
    platform: str
    inputs: Tuple[TensorInfo, ...]
    outputs: Tuple[TensorInfo, ...]


def _info(body: Mapping[str, Any]) -> ModelInfo:
    def tensors(rows: Sequence[Mapping[str, Any]]) -> Tuple[TensorInfo, ...]:
        return tuple(TensorInfo(r["name"], _NUMPY.get(r["datatype"], r["datatype"].lower()), tuple(int(d) for d in r["shape"])) for r in rows)
    return ModelInfo(body["name"], tuple(body.get("versions") or ()), body.get("platform", ""), tensors(body.get("inputs", ())),
                     tensors(body.get("outputs", ())))


def _check_seconds(what: str, seconds: float) -> float:
    if not isinstance(seconds, (int, float)) or not seconds > 0:
        raise InvalidArgument(f"{what} is more than 0 seconds, not {seconds!r}")
    return seconds


class Client:
    """A client of one server, or of several that do the same work.

    >>> client = oar.Client("127.0.0.1:9292")
    >>> client.infer({"x": np.zeros((1, 13), "float32")})
    {'price': array([[22.53]], dtype=float32)}

    One object may be shared by any number of threads; connections are kept and the GIL is free while a call waits. What
    goes wrong is raised as an :class:`oar.errors.OarError` whose class says what to do about it.

    ``address``
        "host:port", a unix socket ("unix:/run/oar.sock", "unix:@name"), or a list of them. Calls go to servers that are up, by
        the ``balance`` policy: "locality_aware" (by how much each gets done, the default), "least_loaded", "round_robin",
        "random", or "consistent_hash" (by the ``key`` of the call).
    ``protocol``
        "auto" (baidu_std; "kserve" where ``model`` is given), "brpc", "http" (protobuf), "http-json", "grpc"; and those whose
        requests name a ``model``: "kserve" and "kserve-grpc" (the Open Inference Protocol over HTTP and gRPC), "tfs"
        (TensorFlow Serving's REST).
    ``timeout``
        Seconds for one attempt of a call.
    ``retries``
        How often a call is sent again when that can do no harm: the server could not be reached, hung up, was stopping or
        overloaded. Retries come out of a budget (a fifth of the calls), so that they cannot make an overload worse.
    ``hedge_after``
        Seconds after which a call that has no answer yet is sent to a second server as well; the first answer counts.
    ``health_interval``
        Seconds between checks of GET /v2/health/ready of each server in the background; one that fails is left out until it
        answers again. Without it servers are left out when calls to them fail.
    ``tls``, ``ca``, ``cert``, ``key``, ``insecure``
        TLS: ``ca`` is a PEM file of the authorities to believe instead of the system's, ``cert`` and ``key`` are what to show to
        servers that ask for a certificate; ``insecure`` believes whoever answers. Each of them means ``tls=True``.
    ``api_key``
        Sent with every request, or "@FILE", whose first line it is.
    """

    def __init__(self, address: Union[str, Sequence[str]], *, protocol: str = "auto", model: Optional[str] = None, timeout: float = 20.0,
                 retries: int = 2, balance: str = "locality_aware", hedge_after: Optional[float] = None,
                 health_interval: Optional[float] = None, tls: bool = False, ca: Optional[_Path] = None, cert: Optional[_Path] = None,
                 key: Optional[_Path] = None, insecure: bool = False, api_key: Optional[str] = None) -> None:
        if protocol not in PROTOCOLS:
            raise InvalidArgument(f"no protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}")
        if not isinstance(address, (str, list, tuple)):
            raise InvalidArgument(f"an address is 'host:port', or a list of them, not {type(address).__name__}")
        for what, seconds in (("timeout", timeout), ("hedge_after", hedge_after), ("health_interval", health_interval)):
            if seconds is not None:
                _check_seconds(what, seconds)
        if not isinstance(retries, int) or retries < 0:
            raise InvalidArgument(f"retries is a whole number of 0 or more, not {retries!r}")
        addresses = [address] if isinstance(address, str) else list(address)
        self.model = model
        self.timeout = timeout
        self.protocol = "kserve" if protocol == "auto" and model is not None else protocol
        if self.protocol not in OF_A_MODEL and model is not None:
            raise InvalidArgument(f"protocol {protocol!r} asks the server's first model; to name one use protocol='kserve' or 'kserve-grpc'")
        if self.protocol in OF_A_MODEL and model is None:
            raise InvalidArgument(f"protocol {protocol!r} names its model: Client(address, protocol={protocol!r}, model='NAME')")
        files = [None if f is None else os.fspath(f) for f in (ca, cert, key)]
        access = Access(tls or insecure or any(files), files[0], files[1], files[2], insecure, api_key)
        self._budget = _balance.Budget()
        self._group = _balance.Group(addresses, PROTOCOLS[self.protocol], balance, retries, self._budget, model, access)
        self._http = Http(access)
        self._hedge_after = hedge_after
        self._pool: Optional[concurrent.futures.ThreadPoolExecutor] = None
        self._pool_lock = threading.Lock()
        self._closed = threading.Event()
        if health_interval is not None:
            threading.Thread(target=self._watch, args=(health_interval,), daemon=True, name="oar-health").start()

    # ---- calls ----

    def infer(self, feed: Mapping[str, Any], outputs: Optional[Sequence[str]] = None, *, timeout: Optional[float] = None,
              key: Any = None, log_id: int = 0) -> Arrays:
        """Runs the model on ``feed``, arrays by input name with their batch dimension; a ragged input gives its offsets under
        ``name + ".lod"``. ``outputs`` names what is wanted (everything without it). ``key`` decides the server under
        balance="consistent_hash"; ``log_id`` is for the server's log.

        Arrays of the right dtype are sent as they lie; nothing is converted silently, except for Python lists.
        """
        if self._closed.is_set():
            raise InvalidArgument("the client is closed")
        timeout_s = self.timeout if timeout is None else _check_seconds("timeout", timeout)
        if not isinstance(feed, AnyMapping):
            raise InvalidArgument(f"a feed is a dict of arrays by input name, not {type(feed).__name__}")
        names = [outputs] if isinstance(outputs, str) else (list(outputs) if outputs else None)
        if self._hedge_after is not None and len(self._group.servers) > 1:
            return self._hedged(feed, names, timeout_s, key, log_id)
        return self._call(feed, names, timeout_s, key, log_id, ())

    def _call(self, feed: Mapping[str, Any], names: Optional[List[str]], timeout_s: float, key: Any, log_id: int,
              without: Sequence[_balance.Server]) -> Arrays:
        whole = feed if type(feed) is dict else dict(feed)
        timeout_ms = max(int(timeout_s * 1000), 1)
        answer: Arrays = self._group.call(None, whole, names, True, True, log_id, timeout_ms, False, key, without=without)
        return answer

    def _hedged(self, feed: Mapping[str, Any], names: Optional[List[str]], timeout_s: float, key: Any, log_id: int) -> Arrays:
        """The first answer of a call and of its double; a double that fails leaves the other its time."""
        first_server = self._group.choose(key)
        others = [s for s in self._group.servers if s is not first_server]
        pool = self._workers()
        calls = {pool.submit(self._call, feed, names, timeout_s, key, log_id, others)}
        done, _ = concurrent.futures.wait(calls, timeout=self._hedge_after)
        if not done and self._budget.spend():
            calls.add(pool.submit(self._call, feed, names, timeout_s, key, log_id, [first_server]))
        error: Optional[BaseException] = None
        pending = calls
        while pending:
            done, pending = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
            for d in done:
                error = d.exception()
                if error is None:
                    return d.result()
        assert error is not None
        raise error

    async def infer_async(self, feed: Mapping[str, Any], outputs: Optional[Sequence[str]] = None, *, timeout: Optional[float] = None,
                          key: Any = None, log_id: int = 0) -> Arrays:
        """:meth:`infer` for asyncio: the call runs on a thread of the client's, so the loop goes on. A call that is cancelled
        is forgotten; its connection is free again when the server has answered or the timeout has passed."""
        import asyncio  # whoever awaits has it; for all others it would be much of what `import oar` takes
        call = lambda: Client.infer(self, feed, outputs, timeout=timeout, key=key, log_id=log_id)  # noqa: E731
        return await asyncio.get_running_loop().run_in_executor(self._workers(), call)

    def _workers(self) -> concurrent.futures.ThreadPoolExecutor:
        with self._pool_lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=64, thread_name_prefix="oar-client")
            return self._pool

    # ---- what the server says of itself ----

    def metadata(self, model: Optional[str] = None) -> ModelInfo:
        """What a model takes and gives, as the server describes it; the server's first model where none is named."""
        name = model or self.model or self._first_model()
        return _info(self._json("GET", f"/v2/models/{quote(name)}"))

    def models(self) -> List[str]:
        """Names of the models that the server has."""
        return [str(m["name"]) for m in self._json("POST", "/v2/repository/index", b"{}")]

    def ready(self) -> bool:
        """Whether a server can be asked."""
        try:
            self._group.retried(lambda s: self._http.ask(s.address, "GET", "/v2/health/ready", None, self.timeout))
            return True
        except OarError:
            return False

    def _first_model(self) -> str:
        names = self.models()
        if not names:
            raise make(-2, 404, "the server has no model")
        return names[0]

    def _json(self, method: str, path: str, body: Optional[bytes] = None) -> Any:
        ask = lambda s: self._http.ask(s.address, method, path, body, self.timeout)  # noqa: E731
        return json.loads(self._group.retried(ask))

    def _watch(self, interval_s: float) -> None:
        while not self._closed.wait(interval_s):
            for server in self._group.servers:
                try:
                    self._http.ask(server.address, "GET", "/v2/health/ready", None, min(interval_s, self.timeout))
                    server.worked()
                except OarError:
                    server.failures += 1
                    server.down_until = time.monotonic() + 2 * interval_s

    # ---- life ----

    def close(self) -> None:
        """Ends the connections and threads. Calls after it are refused."""
        self._closed.set()
        self._group.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<oar.Client {self.protocol} {', '.join(s.address for s in self._group.servers)}>"


class AsyncClient(Client):
    """The same with ``await``: ``await client.infer({...})``."""

    async def infer(self, feed: Mapping[str, Any], outputs: Optional[Sequence[str]] = None, *,  # type: ignore[override]
                    timeout: Optional[float] = None, key: Any = None, log_id: int = 0) -> Arrays:
        return await self.infer_async(feed, outputs, timeout=timeout, key=key, log_id=log_id)
