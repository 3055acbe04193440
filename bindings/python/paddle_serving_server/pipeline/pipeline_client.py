"""PipelineClient: calls a pipeline's rpc_port over gRPC (the package grpcio)."""
import concurrent.futures
import http.client
import socket
import sys

import numpy as np
from google.protobuf import json_format

from oar import _proto

from .channel import ChannelDataErrcode as Err
from .operator import array_to_tensor

METHOD = "/baidu.paddle_serving.pipeline_serving.PipelineService/inference"
BODY_BYTES = 512 << 20


def have_grpc():
    try:
        import grpc  # noqa: F401
        return True
    except ImportError:
        return False


class PipelinePredictFuture:
    """The response of an asynchronous call."""

    def __init__(self, future, callback=None):
        self._future, self._callback = future, callback

    def result(self):
        reply = self._future.result()
        return reply if self._callback is None else self._callback(reply)

    def add_done_callback(self, fn):
        self._future.add_done_callback(lambda f: fn(self.result()))


class _OverHttp:
    """Without grpcio: the server that has none either answers the same messages as JSON on the same port."""

    def __init__(self, endpoints):
        self.endpoints, self.turn = endpoints, 0
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=32)

    def call(self, request):
        host, _, port = self.endpoints[self.turn % len(self.endpoints)].rpartition(":")
        self.turn += 1
        connection = http.client.HTTPConnection(host, int(port), timeout=200)
        try:
            connection.request("POST", f"/{request.name or '-'}/{request.method or 'prediction'}", json_format.MessageToJson(request))
            body = connection.getresponse().read()
        except (OSError, http.client.HTTPException) as e:
            raise ConnectionError(f"{host}:{port}: {e}; for a server with gRPC install grpcio: pip install 'oar-serving[grpc]'") from e
        finally:
            connection.close()
        return json_format.Parse(body, _proto.pipeline()["Response"](), ignore_unknown_fields=True)

    def future(self, request):
        return self.pool.submit(self.call, request)


class _OverGrpc:
    def __init__(self, endpoints):
        import grpc
        options = [("grpc.max_receive_message_length", BODY_BYTES), ("grpc.max_send_message_length", BODY_BYTES),
                   ("grpc.lb_policy_name", "round_robin"), ("grpc.enable_http_proxy", 0)]
        resolved = []
        for endpoint in endpoints:
            host, _, port = endpoint.rpartition(":")
            resolved.append(f"{socket.gethostbyname(host)}:{port}")
        self.channel = grpc.insecure_channel("ipv4:{}".format(",".join(resolved)), options=options)
        m = _proto.pipeline()
        self.stub = self.channel.unary_unary(METHOD, request_serializer=m["Request"].SerializeToString,
                                             response_deserializer=m["Response"].FromString)

    def call(self, request):
        return self.stub(request, wait_for_ready=False)

    def future(self, request):
        return self.stub.future(request)


class PipelineClient:
    """connect, then predict. The response is the message: err_no, err_msg, key, value, tensors."""

    def __init__(self):
        self._wire = None
        try:
            self._client_ip = socket.gethostbyname(socket.gethostname())
        except OSError:
            self._client_ip = "127.0.0.1"

    def connect(self, endpoints):
        endpoints = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        if not endpoints:
            raise ValueError("no endpoint: give at least one 'host:port'")
        self._wire = _OverGrpc(endpoints) if have_grpc() else _OverHttp(endpoints)

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
        if self._wire is None:
            raise ValueError("not connected: call connect before predict")
        if fetch is not None and not isinstance(fetch, list):
            raise TypeError("fetch must be list type with format: [name].")
        request = self._request(feed_dict, pack_tensor_format, use_tensor_bytes, profile, log_id)
        if asyn:
            return PipelinePredictFuture(self._wire.future(request), self._seen)
        try:
            return self._seen(self._wire.call(request))
        except Exception as e:
            words = e.details() if hasattr(e, "details") else str(e)
            return _proto.pipeline()["Response"](err_no=Err.CLIENT_ERROR.value, err_msg=f"no answer: {words}")

    @staticmethod
    def _seen(reply):
        for key, value in zip(reply.key, reply.value):
            if key == "pipeline.profile":
                sys.stderr.write(value + "\n")
        return reply
