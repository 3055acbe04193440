"""The release of Paddle Serving whose interface this is, and Oar's own."""
from oar import __version__ as oar_version

serving_server_version = version_tag = "0.9.0"
