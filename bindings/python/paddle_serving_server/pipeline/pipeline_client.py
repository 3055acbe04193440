"""PipelineClient: calls a pipeline's rpc_port over gRPC."""
import concurrent.futures
import socket
import sys
import threading

import numpy as np

from oar import _balance, _proto
from oar.errors import OarError

from .channel import ChannelDataErrcode as Err
from .operator import array_to_tensor

METHOD = "/baidu.paddle_serving.pipeline_serving.PipelineService/inference"
TIMEOUT_MS = 200000  # longer than a pipeline keeps a request: it is the one to say that it gives up
ASYNC_CALLS = 128    # on their way at once; more wait for their turn


class PipelinePredictFuture:
    """The response of an asynchronous call."""

    def __init__(self, future, callback=None):
        self._future, self._callback = future, callback

    def result(self):
        reply = self._future.result()
        return reply if self._callback is None else self._callback(reply)

    def add_done_callback(self, fn):
        self._future.add_done_callback(lambda f: fn(self.result()))


class PipelineClient:
    """connect, then predict. The response is the message: err_no, err_msg, key, value, tensors."""

    def __init__(self):
        self._group = None
        self._pool, self._pool_lock = None, threading.Lock()
        try:
            self._client_ip = socket.gethostbyname(socket.gethostname())
        except OSError:
            self._client_ip = "127.0.0.1"

    def connect(self, endpoints):
        """["host:port", ...]: calls take turns through them. Touches no network: predict says when nobody is there."""
        self._group = _balance.Group([endpoints] if isinstance(endpoints, str) else list(endpoints), "grpc", "rr")

    def _request(self, feed_dict, pack_tensor_format, use_tensor_bytes, profile, log_id):
        if not isinstance(feed_dict, dict):
            raise TypeError("feed must be dict type with format: {name: value}.")
        request = _proto.pipeline()["Request"](logid=log_id, clientip=feed_dict.get("clientip") or self._client_ip)
        feed = {k: v for k, v in feed_dict.items() if k not in ("logid", "clientip")}
        if pack_tensor_format:
            self._tensors(request, feed, use_tensor_bytes)
            return request
        for name, value in feed.items():
            if isinstance(value, (np.ndarray, list)):
                with np.printoptions(threshold=sys.maxsize):
                    value = repr(np.array(value) if isinstance(value, list) else value)
            if not isinstance(value, str):
                raise TypeError("only str and np.ndarray type is supported: {}".format(type(value)))
            request.key.append(name)
            request.value.append(value)
        if profile:
            request.key.append("pipeline.profile")
            request.value.append("1")
        return request

    @staticmethod
    def _tensors(request, feed, use_tensor_bytes):
        for name, value in feed.items():
            if name.endswith(".lod"):
                continue
            t = request.tensors.add()
            if isinstance(value, str):
                t.name, t.elem_type = name, 12
                t.str_data.append(value)
                t.shape.append(1)
            else:
                array_to_tensor(t, name, np.asarray(value), use_tensor_bytes)
            if name + ".lod" in feed:
                t.lod.extend(int(n) for n in np.asarray(feed[name + ".lod"]).ravel())

    def predict(self, feed_dict, fetch=None, asyn=False, pack_tensor_format=False, use_tensor_bytes=False, profile=False, log_id=0):
        if self._group is None:
            raise ValueError("not connected: call connect before predict")
        if fetch is not None and not isinstance(fetch, list):
            raise TypeError("fetch must be list type with format: [name].")
        request = self._request(feed_dict, pack_tensor_format, use_tensor_bytes, profile, log_id)
        if asyn:
            return PipelinePredictFuture(self._workers().submit(self._call, request), self._seen)
        return self._seen(self._call(request))

    def _call(self, request):
        message = request.SerializeToString()
        Response = _proto.pipeline()["Response"]
        try:
            return Response.FromString(self._group.retried(lambda s: s.channel.invoke(METHOD, message, TIMEOUT_MS, False)))
        except OarError as e:
            return Response(err_no=Err.CLIENT_ERROR.value, err_msg=f"no answer: {e}")

    def _workers(self):
        with self._pool_lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=ASYNC_CALLS, thread_name_prefix="oar-pipeline")
            return self._pool

    @staticmethod
    def _seen(reply):
        for key, value in zip(reply.key, reply.value):
            if key == "pipeline.profile":
                sys.stderr.write(value + "\n")
        return reply
