"""The graph of a pipeline and the requests on their way through it."""
import collections
import itertools
import threading
import time

from .channel import ChannelData, ChannelDataErrcode as Err
from .operator import LONGEST_S, RequestOp
from .workers import OpWorkers, Zygote


class Item:
    """One request in front of one operator."""
    __slots__ = ("request", "inputs", "op")

    def __init__(self, request, inputs, op):
        self.request, self.inputs, self.op = request, inputs, op

    @property
    def data_id(self):
        return self.request.data_id

    @property
    def log_id(self):
        return self.request.log_id

    def alive(self):
        return not self.request.done.is_set()

    def left_s(self):
        return max(self.request.deadline - time.monotonic(), 0.001)


class Request:
    """One request: what each operator has given so far, until the last one has, or something failed."""

    def __init__(self, data_id, log_id, deadline):
        self.data_id, self.log_id, self.deadline = data_id, log_id, deadline
        self.lock = threading.Lock()
        self.done = threading.Event()
        self.arrived = collections.defaultdict(dict)  # op name -> {input name: data}
        self.started = set()
        self.result = None

    def finish(self, data):
        with self.lock:
            if self.result is None:
                self.result = data
        self.done.set()


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
    """The running graph."""

    def __init__(self, response_op, conf):
        self.response_op, self.conf = response_op, conf
        self.request_op, self.ops = ops_of(response_op)
        self.last = response_op.get_input_ops()[0]
        self.next = collections.defaultdict(list)
        for op in self.ops:
            for source in op.get_input_ops():
                self.next[source.name].append(op)
        self.ids = itertools.count()
        self.closed = False
        self.stats = Stats()

    def fork_zygote(self):
        """Before any thread; None where operators are threads."""
        return None if self.conf["is_thread_op"] else Zygote(self.ops)

    def start(self, zygote):
        self.request_op.init_op()
        self.response_op.init_op()
        self.workers = {op.name: OpWorkers(op, i, self._deliver, zygote, self.conf["channel_size"]) for i, op in enumerate(self.ops)}
        for w in self.workers.values():
            w.start()

    def stop(self):
        self.closed = True
        for w in self.workers.values():
            w.stop()

    # ---- one request ----

    def call(self, message):
        """A request's message to a response's."""
        begin = time.monotonic()
        if self.closed:
            return self.response_op.pack_response_package(ChannelData.failed(Err.CLOSED_ERROR, "dag closed.", 0, 0))
        try:
            data, log_id, code, words = self.request_op.unpack_request_package(message)
        except Exception as e:
            return self._pack(ChannelData.failed(Err.RPC_PACKAGE_ERROR, f"rpc package error: {e}", 0, 0))
        if code:
            return self._pack(ChannelData.failed(code, words, 0, log_id))
        profile = data.get("pipeline.profile") == "1"
        for _ in range(max(self.conf["retry"], 1)):
            result = self._run(data, log_id)
            if result.error_code != Err.TIMEOUT.value:
                break
        self.stats.add(time.monotonic() - begin, result.error_code == 0, result.id)
        response = self._pack(result)
        if profile and not response.err_no:
            us = int(time.time() * 1e6)
            response.key.append("pipeline.profile")
            response.value.append(f"PROFILE\tpid:0\tcall_{result.id}#DAG_0:{us - int((time.monotonic() - begin) * 1e6)} "
                                  f"call_{result.id}#DAG_1:{us} ")
        return response

    def _pack(self, data):
        try:
            return self.response_op.pack_response_package(data)
        except Exception as e:
            from oar import _proto
            return _proto.pipeline()["Response"](err_no=Err.RPC_PACKAGE_ERROR.value, err_msg=f"rpc package error: {e}")

    def _run(self, data, log_id):
        request = Request(next(self.ids), log_id, time.monotonic() + LONGEST_S)
        start = ChannelData(dictdata=data, data_id=request.data_id, log_id=log_id)
        self._hand_on(request, self.request_op.name, start)
        if not request.done.wait(LONGEST_S):
            request.finish(ChannelData.failed(Err.TIMEOUT, f"no result within {LONGEST_S:g} s", request.data_id, log_id))
        return request.result

    def _deliver(self, item, data):
        request, op = item.request, item.op
        if data.error_code:
            request.finish(data)
        elif op is self.last:
            request.finish(data)
        elif op.jump_to_ops and op.check_jumping(data.parse()):
            for target in op.jump_to_ops:
                self._begin(request, target, {op.name: data})
        else:
            self._hand_on(request, op.name, data)

    def _hand_on(self, request, name, data):
        for op in self.next[name]:
            with request.lock:
                if op.name in request.started:
                    continue
                arrived = request.arrived[op.name]
                arrived[name] = data
                ready = self.conf["channel_recv_frist_arrive"] or len(arrived) == len(op.get_input_ops())
                if ready:
                    request.started.add(op.name)
            if ready:
                self._enqueue(request, op, dict(arrived))

    def _begin(self, request, op, arrived):
        with request.lock:
            if op.name in request.started:
                return
            request.started.add(op.name)
        self._enqueue(request, op, arrived)

    def _enqueue(self, request, op, arrived):
        item = Item(request, {name: data.parse() for name, data in arrived.items()}, op)
        if not self.workers[op.name].queue.put(item):
            request.finish(ChannelData.failed(Err.TIMEOUT, f"[{op.name}] its queue stayed full", request.data_id, request.log_id))


class Stats:
    """What the tracer tells of an interval."""

    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        self.times, self.good, self.bad = [], 0, []

    def add(self, seconds, good, data_id):
        with self.lock:
            if len(self.times) < 1000000:
                self.times.append(seconds * 1000)
            self.good += good
            if not good and len(self.bad) < 1000:
                self.bad.append(data_id)

    def take(self):
        with self.lock:
            taken = (self.times, self.good, self.bad)
            self.clear()
        return taken
