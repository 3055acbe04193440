"""PipelineServingLogs/pipeline.log, as the original writes it, and pipeline.log.wf with what went wrong, which stderr has too."""
import logging
import logging.handlers
import os
import sys

FORMAT = "%(levelname)s %(asctime)s [%(filename)s:%(lineno)d] %(message)s"
LOG_BYTES = 512 << 20


def folder():
    """Where the logs are; made when it is asked for."""
    path = os.path.join(os.environ.get("SERVING_LOG_PATH", "."), "PipelineServingLogs")
    os.makedirs(path, exist_ok=True)
    return path


LOGGER = logging.getLogger("pipeline")


def begin():
    """Opens the logs; every process of the service appends its lines to the same files."""
    if LOGGER.handlers:
        return
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        files = [(logging.handlers.RotatingFileHandler(os.path.join(folder(), name), maxBytes=LOG_BYTES, backupCount=count), level)
                 for name, count, level in (("pipeline.log", 20, logging.INFO), ("pipeline.log.wf", 10, logging.WARNING))]
    except OSError as e:
        print(f"pipeline: no log files: {e}", file=sys.stderr)
        files = []
    for handler, level in files + [(logging.StreamHandler(), logging.WARNING)]:
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter(FORMAT))
        LOGGER.addHandler(handler)
