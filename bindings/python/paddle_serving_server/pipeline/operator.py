"""Operators of a pipeline: Op with its hooks, and the two at the ends, RequestOp and ResponseOp.

Op.run_batch is the whole life of some requests in one operator; it runs in a thread of a worker process (dag.py).
"""
import concurrent.futures
import enum
import functools
import inspect
import io
import sys
import time

import numpy as np

from oar import _proto
from oar.errors import TimedOut

from .channel import ChannelData, ChannelDataErrcode as Err
from .log import LOGGER

# how a tensor of the pipeline's message holds each type: code -> (field, type of the field's values, type of the array)
TENSOR_FIELDS = {0: ("int64_data", "int64"), 1: ("float_data", "float32"), 2: ("int_data", "int32"), 3: ("float64_data", "float64"),
                 4: ("int_data", "int16"), 5: ("float_data", "float16"), 6: ("uint32_data", "uint16"), 7: ("uint32_data", "uint8"),
                 8: ("int_data", "int8"), 9: ("bool_data", "bool")}
CODES = {"int64": 0, "float32": 1, "int32": 2, "float64": 3, "int16": 4, "float16": 5, "uint16": 6, "uint8": 7, "int8": 8, "bool": 9}
STRING, NPY = 12, 13
LONGEST_S = 120.0  # of one request, where nothing shorter was set: a lost result may not hang its caller


def tensor_to_array(t):
    """The array of a message's tensor; a ValueError says what does not fit."""
    if t.elem_type == NPY:
        return np.load(io.BytesIO(t.byte_data), allow_pickle=False)
    if t.elem_type == STRING:
        return np.array(list(t.str_data))
    if t.elem_type not in TENSOR_FIELDS:
        raise ValueError(f"tensor '{t.name}': elem_type {t.elem_type} is not taken; 0 to 9, 12 (text) and 13 (.npy) are")
    field, dtype = TENSOR_FIELDS[t.elem_type]
    array = np.array(getattr(t, field)[:], dtype=dtype)
    shape = list(t.shape)
    if any(d < 0 for d in shape) or int(np.prod(shape)) != array.size:
        raise ValueError(f"tensor '{t.name}': {array.size} values do not make the shape {shape}")
    return array.reshape(shape)


def array_to_tensor(t, name, array, as_bytes=False):
    """Fills a message's tensor."""
    t.name = name
    t.shape.extend(array.shape)
    if as_bytes:
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        t.elem_type, t.byte_data = NPY, out.getvalue()
    elif array.dtype.kind in "US":
        t.elem_type = STRING
        t.str_data.extend(str(v) for v in array.ravel())
    elif array.dtype.name in CODES:
        t.elem_type = CODES[array.dtype.name]
        getattr(t, TENSOR_FIELDS[t.elem_type][0]).extend(array.ravel().tolist())
    else:
        raise ValueError(f"'{name}': arrays of {array.dtype} are not sent")


class Failure(Exception):
    """An error of one request: a code and its words."""

    def __init__(self, code, words):
        super().__init__(words)
        self.code, self.words = code, words


def _arity(method):
    return _count(getattr(method, "__func__", method)) - hasattr(method, "__func__")


@functools.lru_cache(maxsize=1024)
def _count(function):
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in inspect.signature(function).parameters.values())


class Op:
    """One operator. Subclasses override init_op, preprocess and postprocess; with server_endpoints or a local service it runs
    a model between the two. Arguments given here go before those of config.yml."""

    def __init__(self, name=None, input_ops=[], server_endpoints=None, fetch_list=None, client_config=None, client_type=None,
                 concurrency=None, timeout=None, retry=0, batch_size=None, auto_batching_timeout=None, local_service_handler=None,
                 jump_to_ops=[]):
        self.name = name if name is not None else type(self).__name__
        self.is_run = False
        self._inputs = []
        self._given = dict(server_endpoints=server_endpoints, fetch_list=fetch_list, client_config=client_config,
                           client_type=client_type, concurrency=concurrency, timeout=timeout, retry=retry or None,
                           batch_size=batch_size, auto_batching_timeout=auto_batching_timeout)
        self.local_service_handler = local_service_handler
        self.jump_to_ops = list(jump_to_ops)
        self.dynamic_shape_info, self.use_encryption_model, self.encryption_key = {}, False, ""
        self._pack_tensor_format = False
        self.conf = None
        self._call = None
        self._pool = None
        self.set_input_ops(input_ops)

    # ---- what users call and override ----

    def set_input_ops(self, ops):
        ops = list(ops) if isinstance(ops, (list, tuple)) else [ops]
        for op in ops:
            if not isinstance(op, Op):
                raise TypeError(f"the inputs of Op {self.name!r} are Ops, not {type(op).__name__}")
        self._inputs = ops

    def get_input_ops(self):
        return self._inputs

    def add_input_op(self, op):
        if not isinstance(op, Op):
            raise TypeError(f"the inputs of Op {self.name!r} are Ops, not {type(op).__name__}")
        self._inputs.append(op)

    def get_jump_to_ops(self):
        return self.jump_to_ops

    def set_jump_to_ops(self, ops):
        self.jump_to_ops = list(ops)

    def set_dynamic_shape_info(self):
        """Shapes of a device that is not here; scripts override it."""

    def set_feed_batch_dynamic_shape_info(self, feed_batch):
        """As set_dynamic_shape_info."""

    def set_pack_tensor_format(self, is_tensor_format=False):
        self._pack_tensor_format = is_tensor_format

    def get_concurrency(self):
        return self.conf["concurrency"]

    def init_op(self):
        """Once in each worker, before its first request."""

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        """(feed dict or list of them, skip the model, product error code or None, its words)"""
        if len(input_dicts) != 1:
            raise NotImplementedError(f"Op {self.name!r} has {len(input_dicts)} inputs, so it needs a preprocess of its own")
        (feed,) = input_dicts.values()
        return feed, False, None, ""

    def process(self, feed_batch, typical_logid=0):
        """(dict of arrays, code, words): runs the model on a batch."""
        if self._call is None:
            return feed_batch, Err.OK.value, ""
        for name, value in feed_batch.items():
            if not isinstance(value, np.ndarray) and not name.endswith(".lod"):
                return None, Err.TYPE_ERROR.value, f"feed_batch must be npdata: '{name}' is {type(value).__name__}"
        return self._call(feed_batch, typical_logid)

    def postprocess(self, input_data, fetch_data, data_id=0, log_id=0):
        """(dict, product error code or None, its words)"""
        return fetch_data, None, ""

    def check_jumping(self, input_data):
        """Whether this request goes on at jump_to_ops."""
        return False

    # ---- life ----

    def configure(self, conf):
        """Takes its part of config.yml (pipeline_server.py has checked it)."""
        self.conf = dict(conf)
        for name, value in self._given.items():
            if value is not None:
                self.conf[name] = value
        endpoints = self.conf.get("server_endpoints")
        self.with_model = bool(endpoints or self.conf.get("model_config"))

    def start(self):
        """In a worker, before its first request."""
        from .model_call import make_call
        self._call = make_call(self) if self.with_model else None
        self.init_op()

    # ---- requests ----

    def run_batch(self, batch, clock=None):
        """[(inputs by operator name, data_id, log_id)] -> [ChannelData], one for each. clock: three sums in us, of preprocess,
        process and postprocess."""
        outcome = [None] * len(batch)
        ready, finish = [], []  # (index, inputs, feed); (index, what the model gave, or the feed where there is none)
        begin = time.perf_counter()
        for i, (inputs, data_id, log_id) in enumerate(batch):
            try:
                feed, skip = self._preprocess(inputs, data_id, log_id)
                if skip or not self.with_model and type(self).process is Op.process:
                    finish.append((i, feed))
                else:
                    ready.append((i, inputs, feed))
            except Failure as e:
                outcome[i] = ChannelData.failed(e.code, e.words, data_id, log_id)
        prepared = time.perf_counter()
        finish += self._infer(ready, batch)
        computed = time.perf_counter()
        for i, fetch in finish:
            inputs, data_id, log_id = batch[i]
            try:
                if isinstance(fetch, Failure):
                    raise fetch
                outcome[i] = self._finish(inputs, fetch, data_id, log_id)
            except Failure as e:
                outcome[i] = ChannelData.failed(e.code, e.words, data_id, log_id)
        if clock is not None:
            for k, (from_s, to_s) in enumerate(((begin, prepared), (prepared, computed), (computed, time.perf_counter()))):
                clock[k] += int((to_s - from_s) * 1e6)
        return outcome

    def _hook(self, hook, arguments, log_id):
        """Runs a hook in the form that its class gave it: older ones take fewer arguments."""
        try:
            return hook(*arguments[:_arity(hook)])
        except Failure:
            raise
        except (Exception, SystemExit) as e:
            words = "Log_id: {}  Raise_msg: {}  ClassName: {}  FunctionName: {}".format(log_id, e, type(self).__name__, hook.__name__)
            LOGGER.error(words, exc_info=not isinstance(e, SystemExit))
            raise Failure(Err.UNKNOW, words) from e

    @staticmethod
    def _product(code, words):
        code = code.value if isinstance(code, enum.Enum) else code
        if code is not None and code != 0:
            raise Failure(code, words)

    def _preprocess(self, inputs, data_id, log_id):
        # before 0.7 hooks took (input_dicts, log_id) or (input_dicts)
        arguments = (inputs, log_id) if _arity(self.preprocess) == 2 else (inputs, data_id, log_id)
        made = self._hook(self.preprocess, arguments, log_id)
        if not isinstance(made, tuple) or len(made) != 4:
            raise Failure(Err.TYPE_ERROR, f"[{self.name}] preprocess should return (feed, is_skip_process, prod_errcode, prod_errinfo)")
        feed, skip, code, words = made
        self._product(code, words)
        return feed, skip

    def _finish(self, inputs, fetch, data_id, log_id):
        data = next(iter(inputs.values())) if len(inputs) == 1 else inputs
        count = _arity(self.postprocess)
        arguments = (data, fetch, log_id) if count == 3 else (data, fetch, data_id, log_id)
        made = self._hook(self.postprocess, arguments, log_id)
        if not isinstance(made, tuple) or len(made) != 3:
            raise Failure(Err.TYPE_ERROR, f"[{self.name}] postprocess should return (dict, prod_errcode, prod_errinfo)")
        result, code, words = made
        self._product(code, words)
        if not isinstance(result, dict):
            raise Failure(Err.TYPE_ERROR, f"[{self.name}] postprocess should return dict, not {type(result).__name__}")
        return ChannelData.of(result, data_id, log_id)

    # ---- the model ----

    def _infer(self, ready, batch):
        """(index, dict of arrays or a Failure) of each; requests whose feeds fit together share one run of the model."""
        groups = {}
        for i, inputs, feed in ready:
            if isinstance(feed, list):  # mini batches, one after another
                yield i, self._run_list(feed, batch[i][2])
            elif not isinstance(feed, dict):
                yield i, Failure(Err.TYPE_ERROR, f"[{self.name}] preprocess should return a dict or a list of dicts as feed, not "
                                                 f"{type(feed).__name__}")
            else:
                groups.setdefault(_fits(feed) if len(ready) > 1 else None, []).append((i, feed))
        for members in groups.values():
            yield from self._run_joined(members, batch)

    def _run_list(self, feeds, log_id):
        results = []
        for feed in feeds:
            result = self._attempts(feed, log_id)
            if isinstance(result, Failure):
                return result
            results.append(result)
        return results

    def _run_joined(self, members, batch):
        log_id = batch[members[0][0]][2]
        if len(members) == 1:
            i, feed = members[0]
            yield i, self._attempts(feed, log_id)
            return
        feed, rows = join([f for _, f in members])
        result = self._attempts(feed, log_id)
        if isinstance(result, Failure):  # one request's fault is not another's: each runs alone
            for i, feed in members:
                yield i, self._attempts(feed, batch[i][2])
            return
        for k, (i, _) in enumerate(members):
            yield i, split(result, rows, k)

    def _attempts(self, feed, log_id):
        timeout_s = self.conf["timeout"] / 1000 if self.conf["timeout"] > 0 else None
        for _ in range(max(self.conf["retry"], 1)):
            try:
                result, code, words = self._bounded(feed, log_id, timeout_s)
            except (concurrent.futures.TimeoutError, TimedOut):
                continue
            except Exception as e:
                return Failure(Err.UNKNOW, "Log_id: {}  Raise_msg: {}  ClassName: {}  FunctionName: process".format(
                    log_id, e, type(self).__name__))
            code = code.value if isinstance(code, enum.Enum) else code
            if code or result is None:
                return Failure(code or Err.CLIENT_ERROR, words or f"[{self.name}] failed to predict. Please check the input dict and "
                                                                  "checkout PipelineServingLogs/pipeline.log for more details.")
            return result
        return Failure(Err.TIMEOUT, f"[{self.name}] no result within {self.conf['timeout']} ms in {max(self.conf['retry'], 1)} attempts")

    def _bounded(self, feed, log_id, timeout_s):
        if timeout_s is None:
            return self.process(feed, log_id)
        if self._pool is None:
            self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=8)
        return self._pool.submit(self.process, feed, log_id).result(timeout_s)


def _fits(feed):
    """Feeds with equal keys can be joined: same names, types and shapes behind the first dimension; offsets beside rows."""
    key = []
    for name in sorted(feed):
        value = feed[name]
        if name.endswith(".lod"):
            key.append(name)
        elif isinstance(value, np.ndarray) and value.ndim:
            key.append((name, value.dtype.str, value.shape[1:]))
        else:
            return id(feed)
    return tuple(key)


def join(feeds):
    """(one feed, rows or sequences of each request): along the first dimension; offsets are shifted."""
    joined = {}
    lods = {n[:-4] for n in feeds[0] if n.endswith(".lod")}
    for name in feeds[0]:
        if name.endswith(".lod"):
            parts, end = [np.zeros(1, "int64")], 0
            for f in feeds:
                lod = np.asarray(f[name]).ravel()
                parts.append(lod[1:] + end)
                end += int(lod[-1])
            joined[name] = np.concatenate(parts)
        else:
            joined[name] = np.concatenate([f[name] for f in feeds])
    first = next(n for n in feeds[0] if not n.endswith(".lod"))
    rows = [len(np.asarray(f[first + ".lod"]).ravel()) - 1 if first in lods else len(f[first]) for f in feeds]
    return joined, rows


def split(result, rows, k):
    """The part of request k: its rows, or its sequences with their offsets from 0 on."""
    begin, end = sum(rows[:k]), sum(rows[:k + 1])
    part = {}
    for name, value in result.items():
        if name.endswith(".lod"):
            continue
        lod = result.get(name + ".lod")
        if lod is not None and len(lod) == sum(rows) + 1:
            part[name] = value[int(lod[begin]):int(lod[end])]
            part[name + ".lod"] = lod[begin:end + 1] - lod[begin]
        elif isinstance(value, np.ndarray) and value.ndim and value.shape[0] == sum(rows):
            part[name] = value[begin:end]
        else:
            part[name] = value
    return part


class VirtualOp(Op):
    """Hands its inputs on: for edges across levels. The graph needs none, since any operator may feed any later one."""

    def preprocess(self, input_dicts, data_id=0, log_id=0):
        return (next(iter(input_dicts.values())) if len(input_dicts) == 1 else dict(input_dicts)), True, None, ""


class RequestOp(Op):
    """The beginning: a request's message becomes the first operators' dict."""

    def __init__(self):
        super().__init__(name="@DAGExecutor", input_ops=[])

    def unpack_request_package(self, request):
        """(dict, log_id, product error code or None, its words); override it for another form of requests."""
        if len(request.key) != len(request.value):
            raise ValueError(f"{len(request.key)} keys and {len(request.value)} values: each key has one value")
        data = dict(zip(request.key, request.value))
        for t in request.tensors:
            data[t.name] = tensor_to_array(t)
            if t.lod:
                data[t.name + ".lod"] = np.array(t.lod, dtype="int32").reshape(2, -1) if len(t.lod) % 2 == 0 and len(t.lod) > 2 \
                    else np.array(t.lod, dtype="int32")
        return data, request.logid, None, ""


class ResponseOp(Op):
    """The end: the last operator's data become a response."""

    def __init__(self, input_ops):
        super().__init__(name="@DAGExecutor", input_ops=input_ops)
        if len(self._inputs) != 1:
            raise Exception(f"ResponseOp has exactly one input op, not {len(self._inputs)}")
        self._is_tensor = False

    def set_pack_format(self, isTensor=False):
        self._is_tensor = isTensor

    def pack_response_package(self, channeldata):
        """A Response message; override it for another form of responses."""
        response = _proto.pipeline()["Response"](err_no=channeldata.error_code, err_msg=channeldata.error_info or "")
        if channeldata.error_code:
            return response
        for name, value in (channeldata.parse() or {}).items():
            if isinstance(value, np.ndarray) and self._is_tensor:
                array_to_tensor(response.tensors.add(), name, value)
                continue
            if isinstance(value, np.ndarray):
                with np.printoptions(threshold=sys.maxsize):
                    value = repr(value)
            if not isinstance(value, str):
                response = _proto.pipeline()["Response"](
                    err_no=Err.TYPE_ERROR.value,
                    err_msg=f"fetch var type must be str or np.ndarray: '{name}' is {type(value).__name__}; turn it into one of them in "
                            "the last op's postprocess")
                return response
            response.key.append(name)
            response.value.append(value)
        return response
