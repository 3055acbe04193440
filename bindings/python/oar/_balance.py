"""Several servers as one: choosing, trying again, and leaving out those that fail.

A policy is a row of POLICIES: a function that picks among the servers that are up. A server that cannot be reached is left
out for a short time that doubles with each failure in a row; then one call tries it.
"""
from __future__ import annotations

import bisect
import hashlib
import random
import time
from typing import Any, Callable, Dict, Optional, Sequence, TypeVar

from . import _oar
from ._http import Access
from .errors import InvalidArgument, OarError, Unavailable

FIRST_REST_S, LONGEST_REST_S = 0.1, 3.0
POINTS = 64  # of each server on the ring of the consistent hash

_Spec = Optional[_oar.Spec]
_T = TypeVar("_T")


class Server:
    """One server: its connections, and whether it is up."""

    __slots__ = ("address", "channel", "down_until", "failures")

    def __init__(self, address: str, protocol: str, model: Optional[str] = None, access: Optional[Access] = None) -> None:
        self.address = address
        self.channel = _oar.Channel(address, protocol, model, access)
        self.down_until = 0.0
        self.failures = 0

    def failed(self) -> None:
        """It could not be reached, or has hung up: it rests, each time in a row twice as long."""
        rest = min(FIRST_REST_S * 2 ** self.failures, LONGEST_REST_S)
        self.failures = min(self.failures + 1, 16)
        self.down_until = time.monotonic() + rest

    def worked(self) -> None:
        """It answered."""
        self.failures = 0
        self.down_until = 0.0


def _round_robin(group: "Group", servers: Sequence[Server], key: Any) -> Server:
    group.turn += 1
    return servers[group.turn % len(servers)]


def _random(group: "Group", servers: Sequence[Server], key: Any) -> Server:
    return random.choice(servers)


def _least_loaded(group: "Group", servers: Sequence[Server], key: Any) -> Server:
    group.turn += 1  # equals take turns
    first = group.turn % len(servers)
    return min((servers[(first + i) % len(servers)] for i in range(len(servers))), key=lambda s: s.channel.load()[0])


def _locality_aware(group: "Group", servers: Sequence[Server], key: Any) -> Server:
    """Chances by how much a server gets done: the inverse of its smoothed time, shared by the calls that it has."""
    weights = []
    for s in servers:
        calls, quick_us = s.channel.load()
        weights.append(1.0 / (max(quick_us, 1.0) * (calls + 1)))
    quick = max(weights)
    # One that was never asked, or was slow once, still gets a look.
    return random.choices(servers, [max(w, quick / 100) for w in weights])[0]


def _consistent_hash(group: "Group", servers: Sequence[Server], key: Any) -> Server:
    """The same key goes to the same server while that is up, and only its keys move when it is not."""
    if key is None:
        return _round_robin(group, servers, key)
    up = set(map(id, servers))
    place = bisect.bisect(group.ring_points, _point(key))
    for i in range(len(group.ring)):
        server = group.ring[(place + i) % len(group.ring)]
        if id(server) in up:
            return server
    return servers[0]


def _point(key: Any) -> int:
    data = key if isinstance(key, bytes) else str(key).encode()
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


POLICIES: Dict[str, Callable[["Group", Sequence[Server], Any], Server]] = {
    "round_robin": _round_robin, "rr": _round_robin,
    "random": _random,
    "least_loaded": _least_loaded,
    "locality_aware": _locality_aware, "la": _locality_aware,
    "consistent_hash": _consistent_hash, "c_murmurhash": _consistent_hash, "c_md5": _consistent_hash,
}


def policy_named(name: str) -> Callable[["Group", Sequence[Server], Any], Server]:
    """The row of that name; an InvalidArgument that lists all otherwise."""
    if name not in POLICIES:
        raise InvalidArgument(f"no load balancing {name!r}; there are: {', '.join(sorted(POLICIES))}")
    return POLICIES[name]


class Budget:
    """How many calls may be sent again: a share of those that were asked, so that retries cannot make an overload worse.

    Each call earns `share` of a retry, at most `most` are saved up."""

    def __init__(self, share: float = 0.2, most: float = 20.0) -> None:
        self.share, self.most, self.saved = share, most, most

    def earn(self) -> None:
        self.saved = min(self.saved + self.share, self.most)

    def spend(self) -> bool:
        if self.saved < 1.0:
            return False
        self.saved -= 1.0
        return True


class Group:
    """Servers that do the same work. Any number of threads may call."""

    def __init__(self, addresses: Sequence[str], protocol: str = "brpc", policy: str = "la", retries: int = 2,
                 budget: Optional[Budget] = None, model: Optional[str] = None, access: Optional[Access] = None) -> None:
        if not addresses:
            raise InvalidArgument("no server to connect to; give at least one 'host:port' or 'unix:/path'")
        self.servers = [Server(a, protocol, model, access) for a in addresses]
        self.pick = policy_named(policy)
        self.retries = retries
        self.budget = budget
        self.turn = -1
        ring = sorted((_point(f"{s.address}#{i}"), n) for n, s in enumerate(self.servers) for i in range(POINTS))
        self.ring_points = [p for p, _ in ring]
        self.ring = [self.servers[n] for _, n in ring]

    def choose(self, key: Any = None, without: Sequence[Server] = ()) -> Server:
        """A server that is up, other than those of `without` where there is one. All down: the one that rests least long."""
        if len(self.servers) == 1:
            return self.servers[0]
        now = time.monotonic()
        up = [s for s in self.servers if s.down_until <= now and s not in without]
        if not up:
            rest = [s for s in self.servers if s not in without] or self.servers
            return min(rest, key=lambda s: s.down_until)
        if len(up) == 1:
            return up[0]
        return self.pick(self, up, key)

    def call(self, spec: _Spec, feed: Dict[str, Any], fetch: Optional[Sequence[str]], batch: bool, strict: bool, log_id: int,
             timeout_ms: int, profile: bool, key: Any = None, tagged: bool = False, without: Sequence[Server] = ()) -> Any:
        """One call, sent again to another server (or the same, where there is one only) when that cannot do harm: the server
        was not reached, hung up, was stopping or overloaded. Servers of `without` come last. tagged: (result, the tag of the
        server's variant or "")."""
        tried = [*without]
        while True:  # not by retried: a function made for each call would be a thirtieth of it
            server = self.choose(key, tried)
            try:
                result = server.channel.call(spec, feed, fetch, batch, strict, log_id, timeout_ms, profile, tagged)
            except OarError as e:
                self._note_failure(server, e, len(tried) - len(without))
                tried.append(server)
                continue
            self._note_success(server)
            return result

    def retried(self, ask: Callable[[Server], _T], key: Any = None, without: Sequence[Server] = ()) -> _T:
        """ask(server), again with others as `call` does it."""
        tried = [*without]
        while True:
            server = self.choose(key, tried)
            try:
                result = ask(server)
            except OarError as e:
                self._note_failure(server, e, len(tried) - len(without))
                tried.append(server)
                continue
            self._note_success(server)
            return result

    def _note_success(self, server: Server) -> None:
        if server.failures:
            server.worked()
        if self.budget:
            self.budget.earn()

    def _note_failure(self, server: Server, e: OarError, retries: int) -> None:
        """Raises the fault of a call that may not be sent again, or has been so often enough."""
        if isinstance(e, Unavailable):
            server.failed()
        if not e.retryable or retries >= self.retries or (self.budget and not self.budget.spend()):
            raise e

    def close(self) -> None:
        """Ends the idle connections; a later call opens new ones."""
        for s in self.servers:
            s.channel.close()
