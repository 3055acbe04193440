"""Client configurations: serving_client_conf.prototxt, as text or as its binary form."""
import os

from google.protobuf import text_format

from oar import _oar, _proto

NAMES = ("serving_client_conf.prototxt", "serving_client_conf.stream.prototxt", "serving_server_conf.prototxt",
         "serving_server_conf.stream.prototxt")
BYTES = 20
# numpy's names of the element codes
NUMPY = {0: "int64", 1: "float32", 2: "int32", 3: "float64", 4: "int16", 5: "float16", 6: "uint16", 7: "uint8", 8: "int8",
         9: "bool", 10: "complex64", 11: "complex128"}


def find(path):
    """The file that a path means: itself, or the one that lies in the directory."""
    path = os.fspath(path)
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise FileNotFoundError(f"no client configuration at {path!r}: give the folder that save_model or convert wrote for "
                                    f"the client, or the file {NAMES[0]} in it")
        return path
    for name in NAMES:
        if os.path.exists(os.path.join(path, name)):
            return os.path.join(path, name)
    raise FileNotFoundError(f"{path!r} holds no {NAMES[0]}: give the folder that save_model or convert wrote for the client")


def read(path):
    """The GeneralModelConfig at a path."""
    path = find(path)
    config = _proto.configure()["GeneralModelConfig"]()
    with open(path, "rb") as f:
        data = f.read()
    try:
        if ".stream." in os.path.basename(path):
            config.ParseFromString(data)
        else:
            text_format.Merge(data.decode(), config)
    except Exception as e:
        raise ValueError(f"{path}: not a client configuration: {e}") from None
    return config


class Config:
    """Feeds of the first configuration and fetches of the last (models that feed one another)."""

    def __init__(self, paths):
        if isinstance(paths, (str, os.PathLike)):
            paths = [paths]
        if not isinstance(paths, (list, tuple)) or not paths:
            raise ValueError("load_client_config takes a path or a list of paths")
        configs = [read(p) for p in paths]
        self.feeds = list(configs[0].feed_var)
        self.fetches = list(configs[-1].fetch_var)
        self.feed_names = [v.alias_name or v.name for v in self.feeds]
        self.fetch_names = [v.alias_name or v.name for v in self.fetches]
        self.spec = _oar.Spec([self._row(v, v.feed_type) for v in self.feeds], [self._row(v, v.fetch_type) for v in self.fetches])
        self._known = frozenset(self.fetch_names)

    @staticmethod
    def _row(var, code):
        return (var.name, var.alias_name or var.name, code, var.is_lod_tensor, tuple(var.shape))

    def split_fetch(self, names):
        """(names that the model gives, names that it does not)"""
        return [n for n in names if n in self._known], [n for n in names if n not in self._known]
