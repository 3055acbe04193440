"""python -m paddle_serving_server.monitor: fetches new versions of a model as a done-file announces them. `oar monitor` does it."""
import os
import sys

from oar import _binary


def main():
    os.execv(_binary.path(), [_binary.path(), "monitor", *sys.argv[1:]])


if __name__ == "__main__":
    main()
