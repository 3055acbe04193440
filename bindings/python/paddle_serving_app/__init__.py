"""Paddle Serving's application library: readers and what belongs before and after a model, predictors in process, tools."""
from oar import __version__

from . import version

__all__ = ["reader", "local_predict", "version", "__version__"]


def __getattr__(name):
    if name in ("reader", "local_predict", "trace", "package", "utils"):
        import importlib
        return importlib.import_module(f".{name}", __name__)
    if name == "LocalPredictor":
        from .local_predict import LocalPredictor
        return LocalPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
