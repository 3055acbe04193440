"""What can go wrong, as exceptions that say which thing failed, what was expected and what came.

Every one is an :class:`OarError`; most are also the built-in exception that Python's users expect
(:class:`InvalidArgument` is a ``ValueError``, :class:`Unavailable` a ``ConnectionError``, :class:`TimedOut` a
``TimeoutError``), so that ``except`` clauses need not know Oar.
"""
from __future__ import annotations

from typing import Dict, Type

__all__ = ["OarError", "InvalidArgument", "NotFound", "Busy", "Unsupported", "InternalError", "TooLarge", "TimedOut",
           "Unavailable", "DamagedFile"]


class OarError(Exception):
    """A call that failed.

    ``status`` is Oar's own number for the kind of failure (src/base/err.h), ``code`` the server's number as its protocol
    carries it (a baidu_std ``error_code``, an HTTP status), or 0 where no server has said anything.
    """

    status: int = -6
    code: int = 0
    #: Whether the same call may be sent again, to another server or later.
    retryable: bool = False


class InvalidArgument(OarError, ValueError):
    """The caller's fault: a wrong name, shape, dtype or option. Sending it again will fail again."""


class NotFound(OarError, LookupError):
    """No such model, file or method."""


class Busy(OarError):
    """The server is overloaded; try again later or elsewhere."""
    retryable = True


class Unsupported(OarError, NotImplementedError):
    """Well formed, but beyond what the server does."""


class InternalError(OarError, RuntimeError):
    """The server failed; its log says more."""


class TooLarge(OarError, ValueError):
    """Larger than a limit allows."""


class TimedOut(OarError, TimeoutError):
    """No answer before the deadline."""


class Unavailable(OarError, ConnectionError):
    """The server cannot be reached, has closed the connection, or is stopping."""
    retryable = True


class DamagedFile(OarError, ValueError):
    """A model's file holds bytes that cannot be right."""


_CLASSES: Dict[int, Type[OarError]] = {
    -1: InvalidArgument, -2: NotFound, -3: Busy, -4: TooLarge, -5: Unsupported, -6: InternalError, -7: TooLarge,
    -8: TimedOut, -9: Unavailable, -10: DamagedFile, -11: Unavailable, -12: InvalidArgument, -13: InvalidArgument,
}


def make(status: int, code: int, words: str) -> OarError:
    """The exception of a failed call; the extension module calls this."""
    e = _CLASSES.get(status, InternalError)(words)
    e.status, e.code = status, code
    return e
