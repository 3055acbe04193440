"""The graph of a pipeline: what the server in C is told of it (which queues, makes batches, and hands what one operator has made to
the next), and what its worker processes do with requests."""
import collections
import copy
import itertools
import json
import os
import pickle
import struct
import sys
import threading
import time

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from oar import _proto

from .. import _crew
from .channel import ChannelData, ChannelDataErrcode as Err
from .log import LOGGER
from .operator import LONGEST_S, Failure, RequestOp

HEAD = struct.Struct("<II")  # bytes of the pickle, number of buffers behind it
SIZE = struct.Struct("<Q")
IN_FLIGHT = 4096             # requests that may be on their way at once


def ops_of(response_op):
    """All operators behind the response, inputs first. A cycle, two of one name, none, or no RequestOp: SystemExit(-1)."""
    order, state = [], {}

    def visit(op, path):
        if state.get(id(op)) == "open":
            raise _wrong("the graph has a cycle: " + " -> ".join(o.name for o in path))
        if id(op) in state:
            return
        state[id(op)] = "open"
        for i in op.get_input_ops():
            visit(i, path + [i])
        state[id(op)] = "done"
        order.append(op)

    for op in response_op.get_input_ops():
        visit(op, [op])
    requests = [op for op in order if isinstance(op, RequestOp)]
    real = [op for op in order if not isinstance(op, RequestOp)]
    names = collections.Counter(op.name for op in real)
    twice = [n for n, count in names.items() if count > 1]
    if twice:
        raise _wrong(f"two operators are called {twice[0]!r}; names are unique")
    if len(requests) != 1:
        raise _wrong(f"a graph begins at one RequestOp, and this one has {len(requests)}")
    if not real:
        raise _wrong("a graph has at least one operator between RequestOp and ResponseOp")
    for op in real:
        if not op.get_input_ops():
            raise _wrong(f"operator {op.name!r} has no input_ops")
    return requests[0], real


def _wrong(words):
    print(f"pipeline: {words}")
    return SystemExit(-1)


class Dag:
    """A graph with its part of config.yml."""

    def __init__(self, response_op, conf):
        self.response_op, self.conf = response_op, conf
        self.request_op, self.ops = ops_of(response_op)
        self.last = len(self.ops) - 1  # the response's only input, so behind all others

    def crew_conf(self, name, copies):
        """What the server in C is told: crew/conf.h."""
        number = {id(op): i for i, op in enumerate(self.ops)}
        operators = [{"name": op.name, "inputs": [number.get(id(i), -1) for i in op.get_input_ops()],
                      "jump": [number[id(j)] for j in op.jump_to_ops if id(j) in number],
                      "batch_size": op.conf["batch_size"], "batch_wait_ms": max(op.conf["auto_batching_timeout"], 0),
                      "channel_size": self.conf["channel_size"]} for op in self.ops]
        return {"name": name or "", "pipeline": True, "retry": self.conf["retry"], "timeout_ms": int(LONGEST_S * 1000),
                "in_flight": IN_FLIGHT, "first_arrival": self.conf["channel_recv_frist_arrive"], "operators": operators,
                "processes": self._processes() * copies}

    def _processes(self):
        """The operators of each worker process: threads of one, or one process for each."""
        slots = [i for i, op in enumerate(self.ops) for _ in range(op.conf["concurrency"])]
        if not self.conf["is_thread_op"]:
            return [[i] for i in slots]
        if len(slots) > _crew.SLOTS_MAX:
            raise SystemExit(f"[CONF] the concurrency of all thread ops together is {len(slots)}; {_crew.SLOTS_MAX} are the most, or set "
                             "dag.is_thread_op to false")
        return [slots]


# ---- data between two operators ----

class _Kept:
    """What pickle cannot carry, for operators that are threads of one process: it stays there, and a number goes the way."""

    def __init__(self):
        self.values, self.ids, self.lock = collections.OrderedDict(), itertools.count(), threading.Lock()

    def keep(self, value):
        with self.lock:
            while self.values and next(iter(self.values.values()))[0] < time.monotonic() - LONGEST_S:
                self.values.popitem(last=False)  # of requests that ended elsewhere
            key = next(self.ids)
            self.values[key] = (time.monotonic(), value)
        return key

    def get(self, key):
        return self.values[key][1]


def dump(value):
    """The pieces of its bytes; arrays are pieces of their own, as they lie."""
    buffers = []
    data = pickle.dumps(value, protocol=5, buffer_callback=lambda b: buffers.append(b.raw()))
    head = HEAD.pack(len(data), len(buffers)) + b"".join(SIZE.pack(len(b)) for b in buffers) + data
    pieces = [head]
    for b in buffers:
        pieces += [_crew.PAD[:-len(pieces[-1]) % _crew.ALIGN], b]
    return pieces


def load(view):
    """The value again; its arrays are copies, which hooks may keep and write to."""
    n_data, count = HEAD.unpack_from(view)
    sizes = [SIZE.unpack_from(view, HEAD.size + SIZE.size * i)[0] for i in range(count)]
    begin = HEAD.size + SIZE.size * count
    at, buffers = begin + n_data, []
    for n in sizes:
        at = (at + _crew.ALIGN - 1) & -_crew.ALIGN
        buffers.append(bytearray(view[at:at + n]))
        at += n
    return pickle.loads(view[begin:begin + n_data], buffers=buffers)


class Refused(Exception):
    """A request that is no message: HTTP's 400."""


def _us():
    return int(time.time() * 1e6)


class Work:
    """What a worker process does with requests."""

    def __init__(self, dag, name, kept):
        self.dag, self.name = dag, name
        self.kept = _Kept() if kept else None  # all operators are threads of one process
        self.own = threading.local()

    def start(self, operators):
        self.dag.request_op.init_op()
        self.dag.response_op.init_op()
        for i in operators:
            op = self.dag.ops[i]
            try:
                op.start()
            except (Exception, SystemExit) as e:
                raise SystemExit(f"Op {op.name} cannot start: {e or type(e).__name__}") from e

    def _op(self, number):
        """The operator as this thread has it: what preprocess leaves on `self` for postprocess is not another request's. What
        init_op made is shared by all."""
        op = getattr(self.own, "op", None)
        if op is None:
            op = self.own.op = copy.copy(self.dag.ops[number])
        return op

    def run(self, number, items):
        op = self._op(number)
        came = _us()
        outcomes, ready = [None] * len(items), []
        for i, item in enumerate(items):
            try:
                ready.append((i, *self._inputs(item)))
            except Refused as e:
                body = json.dumps({"error": str(e), "message": str(e), "code": 3}).encode()
                outcomes[i] = _crew.final(body, 400, Err.RPC_PACKAGE_ERROR.value)
            except Failure as e:
                outcomes[i] = self._answer(item, ChannelData.failed(e.code, e.words, item.id, 0), None)
        clock = [0, 0, 0]
        results = op.run_batch([(inputs, items[i].id, log_id) for i, inputs, log_id, _ in ready], clock)
        for (i, _, log_id, stamps), data in zip(ready, results):
            if stamps is not None:
                self._stamp(stamps, op, came, clock)
            outcomes[i] = self._outcome(op, number, items[i], data, log_id, stamps)
        return outcomes, [min(t, 0xFFFFFFFF) for t in clock]

    # ---- what comes ----

    def _inputs(self, item):
        """({operator: data}, log id, stamps for a profile or None)"""
        inputs, log_id, stamps = {}, 0, None
        for source, view in item.parts:
            if source == _crew.FROM_REQUEST:
                name = self.dag.request_op.name
                data, log_id, marks = self._unpack(item)
            else:
                name = self.dag.ops[source].name
                data, log_id, marks = load(view)
                if data is None:
                    data = self.kept.get(marks[0])
                    marks = marks[1]
            inputs[name] = data
            if marks is not None:
                stamps = (stamps or []) + [m for m in marks if m not in (stamps or [])]
        return inputs, log_id, stamps

    def _message(self, item):
        path, body = item.request()
        Request = _proto.pipeline()["Request"]
        if item.form == _crew.GRPC:
            try:
                return Request.FromString(body)
            except DecodeError as e:
                raise Failure(Err.RPC_PACKAGE_ERROR, f"rpc package error: {e}") from None
        try:
            message = json_format.Parse(body or b"{}", Request(), ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError) as e:
            raise Refused(str(e)) from None
        message.name, message.method = path.strip("/").split("/")
        return message

    def _unpack(self, item):
        begin = _us()
        message = self._message(item)
        if message.name and self.name and message.name not in (self.name, "-"):
            raise Failure(Err.NO_SERVICE, "Failed to inference: Service name error.")
        try:
            data, log_id, code, words = self.dag.request_op.unpack_request_package(message)
        except Exception as e:
            raise Failure(Err.RPC_PACKAGE_ERROR, f"rpc package error: {e}") from None
        if code:
            raise Failure(code, words)
        if self.dag.conf["use_profile"] or data.get("pipeline.profile") == "1":
            return data, log_id, [f"call_{item.id}#DAG_0:{begin}", f"prepack_{item.id}#@DAGExecutor_0:{begin}",
                                  f"prepack_{item.id}#@DAGExecutor_1:{_us()}"]
        return data, log_id, None

    # ---- what goes ----

    @staticmethod
    def _stamp(stamps, op, came, clock):
        prep, midp, postp = came + clock[0], came + clock[0] + clock[1], came + sum(clock)
        for stage, begin, end in (("in", came, came), ("prep", came, prep), ("midp", prep, midp), ("postp", midp, postp),
                                  ("out", postp, postp)):
            stamps += [f"{stage}#{op.name}_0:{begin}", f"{stage}#{op.name}_1:{end}"]

    def _outcome(self, op, number, item, data, log_id, stamps):
        if data.error_code or number == self.dag.last:
            return self._answer(item, data, stamps)
        kind = _crew.JUMP if op.jump_to_ops and op.check_jumping(data.parse()) else _crew.NEXT
        try:
            return kind, 0, 0, dump((data.parse(), log_id, stamps))
        except Exception as e:  # what pickle does not know
            if self.kept is not None:
                return kind, 0, 0, dump((None, log_id, (self.kept.keep(data.parse()), stamps)))
            words = f"[{op.name}] {type(e).__name__}: {e}; a process op takes and gives what pickle can carry"
            return self._answer(item, ChannelData.failed(Err.TYPE_ERROR, words, item.id, log_id), stamps)

    def _answer(self, item, data, stamps):
        begin = _us()
        if data.error_code:
            LOGGER.warning("(data_id=%s log_id=%s) err_no %s: %s", item.id, data.log_id, data.error_code, data.error_info)
        try:
            response = self.dag.response_op.pack_response_package(data)
        except Exception as e:
            response = _proto.pipeline()["Response"](err_no=Err.RPC_PACKAGE_ERROR.value, err_msg=f"rpc package error: {e}")
        if stamps is not None:
            self._profile(item, response, stamps, begin)
        body = response.SerializeToString() if item.form == _crew.GRPC else to_json(response)
        return _crew.final(body, 200, max(response.err_no, 0))

    def _profile(self, item, response, stamps, begin):
        end = _us()
        marks = stamps + [f"postpack_{item.id}#@DAGExecutor_0:{begin}", f"postpack_{item.id}#@DAGExecutor_1:{end}",
                          f"call_{item.id}#DAG_1:{end}"]
        line = f"PROFILE\tpid:{os.getpid()}\t{' '.join(marks)} "
        if self.dag.conf["use_profile"]:
            sys.stderr.write(line + "\n")
        if not response.err_no:
            response.key.append("pipeline.profile")
            response.value.append(line)


def to_json(response):
    """All fields, also those that are empty, under their names in the .proto."""
    body = {"err_no": response.err_no, "err_msg": response.err_msg, "key": list(response.key), "value": list(response.value),
            "tensors": [json_format.MessageToDict(t, preserving_proto_field_name=True) for t in response.tensors]}
    return json.dumps(body, ensure_ascii=False).encode()
