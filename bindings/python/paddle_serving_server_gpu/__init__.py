"""The server's package under the name of its GPU edition: scripts that import it run, on the CPU."""
import sys

import paddle_serving_server
from paddle_serving_server import *  # noqa: F401,F403
from paddle_serving_server import dag, pipeline, server, util, version, web_service  # noqa: F401

for _name in ("dag", "pipeline", "server", "util", "web_service"):
    sys.modules[f"{__name__}.{_name}"] = getattr(paddle_serving_server, _name)
