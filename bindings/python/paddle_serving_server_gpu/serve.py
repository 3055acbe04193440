"""python -m paddle_serving_server_gpu.serve: as paddle_serving_server.serve."""
import sys

from paddle_serving_server.serve import *  # noqa: F401,F403
from paddle_serving_server.serve import main

if __name__ == "__main__":
    sys.exit(main())
