"""Client, the RPC client: its calls, their checks and the shapes of what they return are those of Paddle Serving."""
import base64
import concurrent.futures
import json
import os
import random
import sys
import time
import urllib.request
import warnings
import zlib

import numpy as np

from oar import _balance, _proto
from oar.errors import OarError, Unavailable

from .conf import Config

DEFAULT_TIMEOUT_MS = 200000
RETRIES = 2  # after the first attempt, as the original's SDK has it


class SDKConfig:
    """The SDK's configuration as the original writes it: one predictor with weighted variants."""

    def __init__(self):
        self.sdk_desc = _proto.configure()["SDKConf"]()
        self.tag_list = []
        self.cluster_list = []
        self.variant_weight_list = []
        self.rpc_timeout_ms = DEFAULT_TIMEOUT_MS
        self.load_balance_strategy = "la"

    def add_server_variant(self, tag, cluster, variant_weight):
        self.tag_list.append(tag)
        self.cluster_list.append(cluster)
        self.variant_weight_list.append(variant_weight)

    def set_load_banlance_strategy(self, strategy):
        self.load_balance_strategy = strategy

    set_load_balance_strategy = set_load_banlance_strategy

    def gen_desc(self, rpc_timeout_ms):
        m = _proto.configure()
        predictor = m["Predictor"](
            name="general_model", service_name="baidu.paddle_serving.predictor.general_model.GeneralModelService",
            endpoint_router="WeightedRandomRender")
        predictor.weighted_random_render_conf.variant_weight_list = "|".join(str(w) for w in self.variant_weight_list)
        for tag, cluster in zip(self.tag_list, self.cluster_list):
            variant = predictor.variants.add(tag=tag)
            variant.naming_conf.cluster = "list://" + ",".join(cluster)
        self.sdk_desc.predictors.append(predictor)
        default = self.sdk_desc.default_variant_conf
        default.tag = "default"
        default.connection_conf.connect_timeout_ms = 2000
        default.connection_conf.rpc_timeout_ms = rpc_timeout_ms
        default.connection_conf.connect_retry_count = 2
        default.connection_conf.max_connection_per_host = 100
        default.connection_conf.hedge_request_timeout_ms = -1
        default.connection_conf.hedge_fetch_retry_count = 2
        default.connection_conf.connection_type = "pooled"
        default.naming_conf.cluster_filter_strategy = "Default"
        default.naming_conf.load_balance_strategy = self.load_balance_strategy
        default.rpc_parameter.compress_type = 0
        default.rpc_parameter.package_size = 20
        default.rpc_parameter.protocol = "baidu_std"
        default.rpc_parameter.max_channel_per_request = 3
        return self.sdk_desc


def exchange_key(endpoint, key_bytes, timeout_s=60):
    """Sends the key of an encrypted model to the server's launcher; the port where the model is then served."""
    body = json.dumps({"key": base64.b64encode(key_bytes).decode()} if key_bytes else {}).encode()
    url = endpoint if "://" in endpoint else "http://" + endpoint
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as reply:
        return json.loads(reply.read())


def fetch_list(fetch, accepted=(list, tuple), message="Fetch only accepts string or list of string"):
    """A list of names; None: every output."""
    if fetch is None:
        return None
    if isinstance(fetch, str):
        return [fetch]
    if not isinstance(fetch, accepted) or not all(isinstance(n, str) for n in fetch):
        raise ValueError(message)
    return list(fetch)


class Client:
    """Calls servers over baidu_std. One object may be shared by any number of threads.

    Where the original's predict returned None so does this one; `last_error` then says why (an exception of oar.errors).
    Everything that the original raised as ValueError is raised here too.
    """

    def __init__(self):
        self.last_error = None
        self.predict_sdk_ = None
        self.client_handle_ = None
        self.all_numpy_input = True
        self.has_numpy_input = False
        self.rpc_timeout_ms = DEFAULT_TIMEOUT_MS
        self.profile_client = os.environ.get("FLAGS_profile_client") == "1"
        self.profile_server = os.environ.get("FLAGS_profile_server") == "1"
        self._config = None
        self._variants = []  # (tag, addresses, weight)
        self._variant_key = None
        self._groups = []    # (tag, group), by variant
        self._weights = []
        self._key = None
        self._policy = "la"
        self._fetches = {}

    # ---- configuration ----

    def load_client_config(self, model_config_path_list):
        """A folder or file of the client's configuration, or a list of them for models that feed one another."""
        self._config = Config(model_config_path_list)
        self._fetches = {}
        self.feed_names_ = self._config.feed_names
        self.fetch_names_ = self._config.fetch_names
        self.feed_names_to_idx_ = {n: i for i, n in enumerate(self.feed_names_)}
        self.feed_types_ = {n: v.feed_type for n, v in zip(self.feed_names_, self._config.feeds)}
        self.fetch_names_to_type_ = {n: v.fetch_type for n, v in zip(self.fetch_names_, self._config.fetches)}
        self.fetch_names_to_idx_ = {n: i for i, n in enumerate(self.fetch_names_)}
        self.feed_shapes_ = {n: list(v.shape) for n, v in zip(self.feed_names_, self._config.feeds)}
        self.lod_tensor_set = {n for n, v in zip(self.feed_names_ + self.fetch_names_, self._config.feeds + self._config.fetches)
                               if v.is_lod_tensor}

    def add_variant(self, tag, cluster, variant_weight):
        """A variant of the service for A/B tests; each call goes to one, by the weights."""
        try:
            weight = int(variant_weight)
        except (TypeError, ValueError):
            weight = -1
        if weight < 0:
            raise ValueError(f"variant {tag!r}: a weight is a whole number of 0 or more, not {variant_weight!r}")
        self._variants.append((tag, list(cluster), weight))

    def use_key(self, key_filename):
        """The key of an encrypted model, for connect(encryption=True)."""
        with open(key_filename, "rb") as f:
            self._key = f.read()

    def get_serving_port(self, endpoints):
        reply = exchange_key(endpoints[0], self._key)
        print(reply)
        if not reply.get("endpoint_list"):
            raise ValueError("server not ready")
        return [endpoints[0].rsplit("/", 1)[-1].rsplit(":", 1)[0] + ":" + str(int(reply["endpoint_list"][0]))]

    def set_rpc_timeout_ms(self, rpc_timeout):
        """How long one predict may take, attempts after the first included in each attempt's own time."""
        if not isinstance(rpc_timeout, int):
            raise ValueError("rpc_timeout must be int type.")
        self.rpc_timeout_ms = rpc_timeout

    def set_load_balance_strategy(self, strategy):
        """la (the default), rr, random, least_loaded or consistent_hash; before connect."""
        _balance.policy_named(strategy)
        self._policy = strategy

    set_load_banlance_strategy = set_load_balance_strategy

    def connect(self, endpoints=None, encryption=False):
        """["host:port", ...], or nothing where add_variant has named the servers. Touches no network: a server that is not
        there is found by predict."""
        if isinstance(endpoints, str):
            endpoints = [endpoints]
        if endpoints is not None and not isinstance(endpoints, (list, tuple)):
            raise ValueError(f"endpoints is a list of 'host:port', not {type(endpoints).__name__}")
        if not self._variants:
            if not endpoints:
                raise ValueError("You must set the endpoints parameter or use add_variant function to create a variant.")
            if encryption:
                endpoints = self.get_serving_port(endpoints)
            variants = [(f"default_tag_{id(self)}", list(endpoints), 100)]
        else:
            if endpoints is not None:
                print("parameter endpoints({}) will not take effect, because you use the add_variant function.".format(endpoints))
            variants = self._variants
        self._groups = [(tag, _balance.Group(cluster, policy=self._policy, retries=RETRIES)) for tag, cluster, _ in variants]
        total, self._weights = 0, []
        for _, _, weight in variants:
            total += weight
            self._weights.append(total)
        if total == 0:
            raise ValueError("every variant has weight 0, so no call would go anywhere")

    def _configured(self):
        if self._config is None:
            raise ValueError("no client configuration: call load_client_config first")
        return self._config

    def get_feed_names(self):
        return self._configured().feed_names

    def get_fetch_names(self):
        return self._configured().fetch_names

    def release(self):
        """Ends the connections."""
        for _, group in self._groups:
            group.close()
        self._groups = []

    # ---- calls ----

    def predict(self, feed=None, fetch=None, batch=False, need_variant_tag=False, log_id=0):
        """dict of arrays by alias (and "alias.lod"); {engine: dict} where several answered; with need_variant_tag
        [result, tag]; None where the call failed, and last_error says why."""
        profile = self.profile_client
        begin = time.time() if profile else 0
        if type(feed) is not dict:
            feed = self._feed_dict(feed)
        config = self._config
        if config is None:
            self._configured()
        if not self._groups:
            raise ValueError("not connected: call connect before predict")
        names = self._names(fetch)
        tag, group = self._groups[0] if len(self._groups) == 1 else self._choose()
        call = (config.spec, feed, names, batch, False, log_id, self.rpc_timeout_ms, self.profile_server or profile)
        try:
            try:
                result = group.call(*call, tagged=need_variant_tag)
            except Unavailable:
                if len(self._groups) == 1:
                    raise
                tag, result = self._fail_over(tag, call, need_variant_tag)
        except OarError as e:
            self.last_error = e
            return None
        if self.last_error is not None:
            self.last_error = None
        if need_variant_tag:
            result, theirs = result
            if theirs and not self._variants:  # the server divides its traffic, and this client does not
                tag = theirs
        if profile or self.profile_server:
            result, stamps = result
            if profile:
                self._write_profile(begin, time.time(), stamps)
        return [result, tag] if need_variant_tag else result

    def ask(self, feed, fetch=None, batch=False, log_id=0):
        """What predict returns, of the first variant; a failure is raised, and last_error, which belongs to the object, left alone:
        for threads that want their own call's reason. Ours."""
        if type(feed) is not dict:
            feed = self._feed_dict(feed)
        return self._groups[0][1].call(self._configured().spec, feed, self._names(fetch), batch, False, log_id, self.rpc_timeout_ms, False)

    def _names(self, fetch):
        """The list that a call takes, kept for the next time."""
        try:
            return self._fetches[fetch if type(fetch) is str else tuple(fetch)]
        except (KeyError, TypeError):
            return self._fetch_names(fetch)

    def _feed_dict(self, feed):
        if feed is None:
            raise ValueError("You should specify feed for prediction")
        if isinstance(feed, dict):
            return dict(feed)
        if isinstance(feed, (list, np.ndarray)):
            if isinstance(feed, list) and len(feed) == 1 and isinstance(feed[0], dict):
                return feed[0]
            if isinstance(feed, list) and feed and all(isinstance(f, dict) for f in feed):
                raise ValueError("Feed only accepts dict and list of dict. A list holds one dict: stack {} samples along a first "
                                 "dimension and use batch=True".format(len(feed)))
            if self._config is None or len(self._config.feed_names) != 1:
                raise ValueError("input is a list, but we got 0 or 2+ feed_var, don`t know how to divide the feed list")
            return {self._config.feed_names[0]: feed}
        raise ValueError("Feed only accepts dict and list of dict")

    def _fetch_names(self, fetch):
        names = fetch_list(fetch)
        if not names:
            return None
        known, unknown = self._config.split_fetch(names)
        if unknown:
            warnings.warn(f"the model does not give {unknown}, which is left out; it gives {self._config.fetch_names}", stacklevel=4)
        known = known or None
        if not unknown:
            self._fetches[fetch if isinstance(fetch, str) else tuple(fetch)] = known
        return known

    def _choose(self):
        """A variant at random, by weight."""
        share = random.random() if self._variant_key is None else zlib.crc32(str(self._variant_key).encode()) / 2**32
        point = share * self._weights[-1]
        for i, upto in enumerate(self._weights):
            if point < upto:
                return self._groups[i]
        return self._groups[-1]

    def _fail_over(self, tag, call, tagged):
        """No server of a variant can be reached: the next one that can answers, and its tag is told."""
        error = None
        for other, group in self._groups:
            if other == tag:
                continue
            try:
                return other, group.call(*call, tagged=tagged)
            except Unavailable as e:
                error = e
        raise error

    def set_variant_key(self, key):
        """From now on the variant is chosen by this key (of a user, say) instead of by chance: the same one for the same key, in
        shares by weight. None: by chance again. Ours."""
        self._variant_key = key

    def _write_profile(self, begin, end, stamps):
        """The line that paddle_serving_app.trace reads."""
        def us(t):
            return int(round(t * 1e6))
        parts = [f"prepro_0:{us(begin)}", f"prepro_1:{us(begin)}", f"client_infer_0:{us(begin)}", f"client_infer_1:{us(end)}"]
        if self.profile_server:
            parts += [f"op{i // 2}_{i % 2}:{t}" for i, t in enumerate(stamps)]
        parts += [f"postpro_0:{us(end)}", f"postpro_1:{us(end)}"]
        parts += [f"py_{what}_{i}:{us(t)}" for what, pair in (("prepro", (begin, begin)), ("client_infer", (begin, end)),
                                                              ("postpro", (end, end))) for i, t in enumerate(pair)]
        sys.stderr.write(f"PROFILE\tpid:{os.getpid()}\t" + " ".join(parts) + " \n")


class MultiLangPredictFuture:
    """The result of an asynchronous call."""

    def __init__(self, future):
        self._future = future

    def result(self):
        return self._future.result()

    def add_done_callback(self, fn):
        self._future.add_done_callback(lambda f: fn(f.result()))


class MultiLangClient:
    """The surface of the old multi-language client. The server's own description replaces the client's configuration."""

    def __init__(self):
        self._client = Client()
        self._client.set_rpc_timeout_ms(2000)
        self._pool = None
        self._group = None
        self.last_error = None

    def add_variant(self, tag, cluster, variant_weight):
        raise Exception("cannot support ABtest yet")

    def set_rpc_timeout_ms(self, rpc_timeout):
        self._client.set_rpc_timeout_ms(rpc_timeout)

    def load_client_config(self, path):
        self._client.load_client_config(path)

    def connect(self, endpoints):
        self._client.connect(endpoints)
        self._group = self._client._groups[0][1]

    def predict(self, feed, fetch, batch=True, need_variant_tag=False, asyn=False, is_python=True, log_id=0):
        if need_variant_tag:
            raise Exception("cannot support ABtest yet")
        if asyn:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=32)
            return MultiLangPredictFuture(self._pool.submit(self._predict, feed, fetch, batch, log_id))
        return self._predict(feed, fetch, batch, log_id)

    def _predict(self, feed, fetch, batch, log_id):
        if isinstance(feed, list) and len(feed) == 1:
            feed = feed[0]
        if not isinstance(feed, dict):
            raise ValueError("Feed only accepts dict and list of dict")
        c = self._client
        spec = c._config.spec if c._config else None
        if spec is None and not batch:
            feed = {n: v if n.endswith(".lod") else np.expand_dims(np.asarray(v), 0) for n, v in feed.items()}
        try:
            result = dict(self._group.call(spec, feed, fetch_list(fetch), batch, False, log_id, c.rpc_timeout_ms, False))
        except OarError as e:
            self.last_error = e
            return {"serving_status_code": GRPC_CODES.get(e.status, 13)}
        result["serving_status_code"] = 0
        return result


GRPC_CODES = {-1: 3, -2: 5, -3: 8, -4: 8, -5: 12, -6: 13, -7: 8, -8: 4, -9: 14, -10: 15, -11: 14, -12: 12, -13: 9}
