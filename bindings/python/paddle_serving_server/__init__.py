"""Paddle Serving's server side: scripts that import it run as they were, over Oar's server in C."""
from oar import __version__

from . import version
from .dag import OpGraphMaker, OpMaker, OpSeqMaker
from .server import Server

__all__ = ["OpMaker", "OpSeqMaker", "OpGraphMaker", "Server", "WebService", "Op", "version", "__version__"]


def __getattr__(name):
    """WebService and the pipeline come when they are asked for: a launcher needs neither."""
    if name in ("WebService", "Op"):
        from . import web_service
        return getattr(web_service, name)
    if name == "pipeline":
        import importlib
        return importlib.import_module(".pipeline", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
