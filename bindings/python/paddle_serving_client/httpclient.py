"""HttpClient: GeneralModelService over HTTP (protobuf or JSON) and gRPC. It returns the message or the parsed JSON, and None
where a call failed (last_error says why), as the original does."""
import base64
import gzip
import http.client
import json
import threading
import time
import urllib.parse

import numpy as np
from google.protobuf import message as _message

from oar import _oar, _proto
from oar.errors import OarError, make as make_error

from .client import exchange_key, fetch_list
from .conf import BYTES, NUMPY, Config

SERVICE = "/baidu.paddle_serving.predictor.general_model.GeneralModelService/inference"
FIELDS = {0: "int64_data", 1: "float_data", 2: "int_data", 3: "float64_data", 9: "bool_data", BYTES: "data"}
COMPRESS_FROM = 512  # bytes of body below which gzip is not worth its time


class HttpClient:
    """One server over HTTP or gRPC. One object may be shared by any number of threads: each has its connection."""

    def __init__(self, ip="127.0.0.1", port="9393", service_name="/GeneralModelService/inference"):
        self.ip, self.port, self.server_port = ip, port, port
        self.service_name = service_name
        self.timeout_ms = 20000
        self.max_retries = 3
        self.max_body_size = 512 * 1024 * 1024
        self.headers = {}
        self.http_proto = True
        self.request_compress = self.response_compress = False
        self.use_grpc = False
        self.last_error = None
        self._scheme = "http"
        self._config = None
        self._key = None
        self._channel = None  # of gRPC
        self._local = threading.local()

    # ---- configuration ----

    def load_client_config(self, model_config_path_list):
        self._config = Config(model_config_path_list)
        self.feed_names_, self.fetch_names_ = self._config.feed_names, self._config.fetch_names

    def _configured(self):
        if self._config is None:
            raise ValueError("no client configuration: call load_client_config first")
        return self._config

    def get_feed_names(self):
        return self._configured().feed_names

    def get_fetch_names(self):
        return self._configured().fetch_names

    def set_timeout_ms(self, timeout_ms):
        if not isinstance(timeout_ms, int):
            raise ValueError("timeout_ms must be int type.")
        self.timeout_ms = timeout_ms

    def set_max_retries(self, retry_times=3):
        """How often a call is sent again when the server could not be reached."""
        if not isinstance(retry_times, int) or retry_times < 0:
            raise ValueError("retry_times must be an int of 0 or more.")
        self.max_retries = retry_times

    def set_max_body_size(self, max_body_size):
        self.max_body_size = max_body_size

    def set_service_name(self, service_name):
        self.service_name = service_name

    def set_ip(self, ip):
        self.ip = ip

    def set_port(self, port):
        self.port = self.server_port = str(port)

    def add_http_headers(self, headers):
        if isinstance(headers, dict):
            self.headers.update(headers)
        else:
            print("headers must be a dict")

    def set_request_compress(self, request_compress):
        self.request_compress = request_compress

    def set_response_compress(self, response_compress):
        self.response_compress = response_compress

    def set_http_proto(self, http_proto):
        self.http_proto = http_proto

    def set_use_grpc_client(self, use_grpc_client):
        self.use_grpc = use_grpc_client

    def use_key(self, key_filename):
        with open(key_filename, "rb") as f:
            self._key = f.read()

    def get_serving_port(self, endpoints):
        reply = exchange_key(endpoints[0], self._key)
        print(reply)
        if not reply.get("endpoint_list"):
            raise ValueError("server not ready")
        return str(int(reply["endpoint_list"][0]))

    def connect(self, url=None, encryption=False):
        """"host:port", "http://host:port" or "https://host:port", or a list of one of them."""
        if isinstance(url, (list, tuple)):
            if len(url) > 1:
                raise ValueError("HttpClient only support 1 endpoint")
            url = url[0] if url else ""
        wrong = ValueError("url not right, it should be like 127.0.0.1:9393 or http://127.0.0.1:9393")
        if not isinstance(url, str):
            raise wrong
        parts = urllib.parse.urlsplit(url if "://" in url else "http://" + url)
        try:
            port = parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not port:
            raise wrong
        self._scheme, self.ip, self.port = parts.scheme, parts.hostname, str(port)
        if encryption:
            self.port = self.get_serving_port([f"{self._scheme}://{self.ip}:{self.port}"])
        self.server_port = self.port
        if self.use_grpc:
            self.init_grpc_stub()

    def init_grpc_stub(self):
        """The channel to GeneralModelService at ip and port; connect makes it, or the first call over gRPC."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        self._channel = _oar.Channel(f"{host}:{self.port}", "grpc")

    # ---- the request ----

    def predict(self, feed=None, fetch=None, batch=False, need_variant_tag=False, log_id=0):
        if self.use_grpc:
            return self.grpc_client_predict(feed, fetch, batch, need_variant_tag, log_id)
        return self.http_client_predict(feed, fetch, batch, need_variant_tag, log_id)

    def http_client_predict(self, feed=None, fetch=None, batch=False, need_variant_tag=False, log_id=0):
        request = self._request(feed, fetch, batch, log_id)
        body = request.SerializeToString() if self.http_proto else json.dumps(self._as_json(request)).encode()
        try:
            self._check_size(body)
            return self._post(body)
        except OarError as e:
            self.last_error = e
            print("http post error")
            return None

    def grpc_client_predict(self, feed=None, fetch=None, batch=False, need_variant_tag=False, log_id=0):
        if self._channel is None:
            self.init_grpc_stub()
        message = self._request(feed, fetch, batch, log_id).SerializeToString()
        try:
            self._check_size(message)
            reply = self._channel.invoke(SERVICE, message, self.timeout_ms, self.request_compress and len(message) > COMPRESS_FROM)
        except OarError as e:
            self.last_error = e
            print(f"Grpc inference error occur: {e}")
            return None
        self.last_error = None
        return _proto.general_model()["Response"].FromString(reply)

    def _check_size(self, body):
        if len(body) > self.max_body_size:
            raise make_error(-7, 0, f"the request has {len(body)} bytes and set_max_body_size allows {self.max_body_size}")

    def _feed_dict(self, feed):
        names = self._config.feed_names
        if feed is None:
            raise ValueError("You should specify feed for prediction")
        if isinstance(feed, dict):
            return feed
        if not isinstance(feed, (list, tuple, str, np.ndarray)):
            raise ValueError("Feed only accepts dict/str/list/tuple")
        if isinstance(feed, (list, tuple)) and len(feed) == 1 and isinstance(feed[0], dict):
            return feed[0]
        if len(names) == 1:
            return {names[0]: feed}
        if isinstance(feed, str):
            raise ValueError("input is a str, but we got 2+ feed_var, don`t know how to divide the feed list")
        if len(feed) != len(names):
            raise ValueError("len(feed) ≠ len(feed_var), error")
        return dict(zip(names, feed))

    def _request(self, feed, fetch, batch, log_id):
        self._configured()
        feed = self._feed_dict(feed)
        names = fetch_list(fetch, (list, tuple), "Fetch only accepts string/list/tuple of string")
        request = _proto.general_model()["Request"](log_id=log_id)
        request.fetch_var_names.extend(self._config.split_fetch(names or [])[0])
        for key, value in feed.items():
            if not key.endswith(".lod"):
                self._add(request, key, value, feed.get(key + ".lod"), batch)
        for key in feed:
            if key.endswith(".lod") and key[:-4] not in feed:
                raise ValueError(f"Wrong feed name: {key}. It gives offsets for a variable that is not fed.")
        return request

    def _add(self, request, key, value, lod, batch):
        if key not in self._config.feed_names:
            raise ValueError(f"Wrong feed name: {key}. The client's configuration has {self._config.feed_names}.")
        var = self._config.feeds[self._config.feed_names.index(key)]
        t = request.tensor.add(name=var.name, alias_name=key, elem_type=var.feed_type)
        if lod is not None:
            t.lod.extend(int(n) for n in np.asarray(lod).ravel())
        if var.feed_type == BYTES:
            self._add_text(t, key, var, value)
            return
        if isinstance(value, (str, bytes)):
            raise ValueError(f"feed '{key}' is text, and the model takes {NUMPY.get(var.feed_type)}; a text variable has feed_type 20")
        if isinstance(value, np.ndarray):
            shape = ([] if batch or var.is_lod_tensor else [1]) + (list(value.shape) or [1])
        elif isinstance(value, (list, tuple)):
            shape = [len(value)] + list(var.shape) if batch else [1] + list(var.shape)
        else:
            shape = list(var.shape)
        try:
            array = np.ascontiguousarray(value, dtype=NUMPY[var.feed_type])
        except (TypeError, ValueError) as e:
            raise ValueError(f"feed '{key}': {e}") from None
        if any(d < 0 for d in shape) or int(np.prod(shape)) != array.size:
            shape = ([] if batch or var.is_lod_tensor else [1]) + list(array.shape)
        t.shape.extend(shape)
        field = FIELDS.get(var.feed_type)
        if field is None:
            t.tensor_content = array.tobytes()
        else:
            getattr(t, field).extend(array.ravel().tolist())

    @staticmethod
    def _add_text(t, key, var, value):
        texts = list(value) if isinstance(value, (list, tuple)) else [value]
        for text in texts:
            if isinstance(text, bytes):
                text = text.decode()
            if not isinstance(text, str):
                raise ValueError(f"feed '{key}' takes text, not {type(text).__name__}")
            t.data.append(text)
        t.shape.extend([len(texts)] if len(texts) != 1 else (list(var.shape) or [1]))

    @staticmethod
    def _as_json(request):
        """The message as the original's client writes it: the repeated fields that are not empty, and elem_type always."""
        tensors = []
        for t in request.tensor:
            d = {f.name: list(v) for f, v in t.ListFields() if f.name.endswith("_data") or f.name == "data"}
            if t.tensor_content:
                d["tensor_content"] = base64.b64encode(t.tensor_content).decode()
            d.update(shape=list(t.shape), elem_type=t.elem_type, name=t.name, alias_name=t.alias_name)
            if t.lod:
                d["lod"] = list(t.lod)
            tensors.append(d)
        return {"tensor": tensors, "fetch_var_names": list(request.fetch_var_names), "log_id": request.log_id}

    # ---- the wire ----

    def _connection(self):
        key = (self._scheme, self.ip, self.port)
        if getattr(self._local, "key", None) != key:
            make = http.client.HTTPSConnection if self._scheme == "https" else http.client.HTTPConnection
            self._local.connection = make(self.ip, int(self.port), timeout=self.timeout_ms / 1000)
            self._local.key = key
        self._local.connection.timeout = self.timeout_ms / 1000
        if self._local.connection.sock is not None:
            self._local.connection.sock.settimeout(self.timeout_ms / 1000)
        return self._local.connection

    def _post(self, body):
        headers = {"Content-Type": "application/proto" if self.http_proto else "application/json", **self.headers}
        if self.request_compress and len(body) > COMPRESS_FROM:
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        headers["Accept-Encoding"] = "gzip" if self.response_compress else "identity"
        deadline = time.monotonic() + self.timeout_ms / 1000
        for attempt in range(self.max_retries + 1):
            connection = self._connection()
            try:
                connection.request("POST", self.service_name, body, headers)
                reply = connection.getresponse()
                data = reply.read()
                break
            except (OSError, http.client.HTTPException) as e:
                connection.close()
                if isinstance(e, TimeoutError) or time.monotonic() >= deadline:
                    raise make_error(-8, 0, f"{self.ip}:{self.port}: no answer within {self.timeout_ms} ms") from e
                if attempt == self.max_retries:
                    raise make_error(-11, 0, f"{self.ip}:{self.port}: {e}") from e
        if reply.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        if reply.status // 100 != 2:
            status = {404: -2, 413: -7, 429: -3, 503: -3, 504: -8}.get(reply.status, -1 if reply.status < 500 else -6)
            raise make_error(status, reply.status, f"{self.ip}:{self.port}: HTTP {reply.status}: {data.decode(errors='replace').strip()}")
        try:
            if reply.headers.get("Content-Type", "").split(";")[0] == "application/proto":
                result = _proto.general_model()["Response"].FromString(data)
            else:
                result = json.loads(data)
        except (ValueError, _message.DecodeError) as e:
            raise make_error(-6, reply.status, f"{self.ip}:{self.port}: an answer that is not one: {e}") from e
        self.last_error = None
        return result
