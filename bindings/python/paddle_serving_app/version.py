"""The release of Paddle Serving whose interface this is."""
from oar import __version__ as oar_version

serving_app_version = version_tag = "0.9.0"
