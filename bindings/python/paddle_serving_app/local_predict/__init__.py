"""LocalPredictor: a model in this process, with the interface of Paddle Serving's."""
import os
import sys
import time

import numpy as np

from oar import load
from paddle_serving_client.conf import NUMPY, Config

__all__ = ["LocalPredictor"]


def _us():
    return int(time.time() * 1e6)


class LocalPredictor:
    """load_model_config, then predict. Any number of threads may predict at once."""

    def __init__(self):
        self.feed_names_, self.feed_types_, self.feed_names_to_idx_ = [], {}, {}
        self.fetch_names_, self.fetch_types_, self.fetch_names_to_idx_ = [], {}, {}
        self._model = None

    def load_model_config(self, model_path, use_gpu=False, gpu_id=0, use_profile=False, thread_num=1, mem_optim=True,
                          ir_optim=False, use_trt=False, use_lite=False, use_xpu=False, precision="fp32", use_mkldnn=False,
                          mkldnn_cache_capacity=0, mkldnn_op_list=None, mkldnn_bf16_op_list=None, use_feed_fetch_ops=False,
                          use_ascend_cl=False, min_subgraph_size=3, dynamic_shape_info={}, use_calib=False):
        """Loads the server's folder that save_model or convert wrote, to run with `thread_num` threads in `precision` (as the original has
        it, bf16 where use_mkldnn comes with mkldnn_bf16_op_list). What is said about devices has no effect."""
        config = Config(os.path.join(model_path, "serving_server_conf.prototxt"))
        self.feed_names_, self.fetch_names_ = config.feed_names, config.fetch_names
        self.feed_types_ = {n: v.feed_type for n, v in zip(config.feed_names, config.feeds)}
        self.fetch_types_ = {n: v.fetch_type for n, v in zip(config.fetch_names, config.fetches)}
        self.feed_names_to_idx_ = {n: i for i, n in enumerate(config.feed_names)}
        self.fetch_names_to_idx_ = {n: i for i, n in enumerate(config.fetch_names)}
        if mkldnn_bf16_op_list and use_mkldnn and precision == "fp32":
            precision = "bf16"
        self._profile = use_profile
        self._model = load(model_path, precision=precision or "fp32", threads=max(int(thread_num), 1))
        self._names = {}
        for port in self._model.outputs:
            self._names[port.name] = self._names[port.real_name] = port.name

    def predict(self, feed=None, fetch=None, batch=False, log_id=0):
        """dict of arrays by the fetch names that were asked for (and "name.lod"). batch=False adds the batch dimension."""
        if self._model is None:
            raise ValueError("no model: call load_model_config before predict")
        if feed is None or fetch is None and not isinstance(feed, (dict, list)):
            raise ValueError("You should specify feed and fetch for prediction. log_id:{}".format(log_id))
        if isinstance(feed, list):
            if len(feed) != 1 or not isinstance(feed[0], dict):
                raise ValueError("Feed only accepts dict and list of dict. log_id:{}".format(log_id))
            feed = feed[0]
        if not isinstance(feed, dict):
            raise ValueError("Feed only accepts dict and list of dict. log_id:{}".format(log_id))
        fetch = [fetch] if isinstance(fetch, str) else list(fetch or [])
        stamps = [_us()]
        inputs = self._inputs(feed, batch)
        stamps.append(_us())
        out = self._model.run(inputs)
        stamps.append(_us())
        result = self._outputs(out, fetch)
        if self._profile:
            stamps.append(_us())
            marks = " ".join(f"{name}_0:{a} {name}_1:{b}" for name, a, b in zip(("prepro", "client_infer", "postpro"), stamps, stamps[1:]))
            sys.stderr.write(f"PROFILE\tpid:{os.getpid()}\t{marks} \n")
        return result

    def _inputs(self, feed, batch):
        inputs = {}
        for name, value in feed.items():
            if name.endswith(".lod"):
                inputs[name] = np.asarray(value, dtype="int64").ravel()
                continue
            if name not in self.feed_names_:
                raise ValueError("Wrong feed name: {}. The model has {}.".format(name, self.feed_names_))
            value = np.asarray(value, dtype=NUMPY.get(self.feed_types_[name]))
            ragged = name + ".lod" in feed
            inputs[name] = value if batch or ragged else value[np.newaxis]
        return inputs

    def _outputs(self, out, fetch):
        known = [n for n in fetch if n in self._names]
        if not fetch:
            wanted = [(p.real_name, p.name) for p in self._model.outputs]
        elif known:
            wanted = [(n, self._names[n]) for n in known]
        else:  # names of the caller's own, by position
            wanted = list(zip(fetch, (p.name for p in self._model.outputs)))
        result = {}
        for name, source in wanted:
            result[name] = out[source]
            if source + ".lod" in out:
                result[name + ".lod"] = out[source + ".lod"].astype("int32")
        return result

    def release(self):
        self._model = None
