"""The clients under the name of an older module."""
from .client import Client, MultiLangClient, SDKConfig
from .httpclient import HttpClient

__all__ = ["Client", "HttpClient", "MultiLangClient", "SDKConfig"]
