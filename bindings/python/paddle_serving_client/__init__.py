"""Paddle Serving's client: scripts that import it run as they were, over Oar's client in C."""
from oar import __version__

from . import version
from .client import Client, MultiLangClient, SDKConfig
from .httpclient import HttpClient
from . import io, metric, utils

__all__ = ["Client", "HttpClient", "MultiLangClient", "SDKConfig", "io", "metric", "utils", "version", "__version__"]
