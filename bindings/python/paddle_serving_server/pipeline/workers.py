"""Where operators run: threads of the service, or processes of their own.

A process worker is fed by one thread of the service over a socket; arrays cross in shared memory: one copy into it and one out of it.
Processes are forked by a zygote that was itself forked before the service had threads. When a worker dies, the thread sees
the end of its socket: the requests that it was working on fail with words, and another worker takes its place.
"""
import mmap
import os
import pickle
import queue
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback

from .channel import ChannelData, ChannelDataErrcode as Err

HEAD = struct.Struct("<QQ")  # bytes of the pickle, bytes of shared memory
INLINE = 2048                # smaller arrays go with the pickle


class Pipe:
    """Objects to and fro between two processes. `out` and `come` are memory files for the arrays of either direction."""

    def __init__(self, sock, out_fd, in_fd, copy):
        self.socket, self.out_fd, self.in_fd, self.copy = sock, out_fd, in_fd, copy
        self.out = self.come = None
        self.file = sock.makefile("rb", buffering=1 << 16)

    def send(self, value):
        buffers, size = [], 0

        def keep(b):
            nonlocal size
            raw = b.raw()
            if raw.nbytes < INLINE:
                return True
            buffers.append((size, raw))
            size += (raw.nbytes + 63) & ~63
            return False

        data = pickle.dumps(value, protocol=5, buffer_callback=keep)
        if size:
            if self.out is None or len(self.out) < size:
                room = max(size, 1 << 20)
                os.ftruncate(self.out_fd, room)
                self.out = mmap.mmap(self.out_fd, room)
            for at, raw in buffers:
                self.out[at:at + raw.nbytes] = raw
        places = pickle.dumps([(at, raw.nbytes) for at, raw in buffers])
        self.socket.sendall(HEAD.pack(len(places), len(data)) + places + data)

    def receive(self):
        head = self.file.read(HEAD.size)
        if len(head) < HEAD.size:
            raise EOFError("the other process has ended")
        n_places, n_data = HEAD.unpack(head)
        rest = self.file.read(n_places + n_data)
        if len(rest) < n_places + n_data:
            raise EOFError("the other process has ended")
        places = pickle.loads(rest[:n_places])
        need = max((at + n for at, n in places), default=0)
        if need and (self.come is None or len(self.come) < need):
            self.come = mmap.mmap(self.in_fd, os.fstat(self.in_fd).st_size)
        view = memoryview(self.come) if places else None
        buffers = [bytearray(view[at:at + n]) if self.copy else view[at:at + n] for at, n in places]
        return pickle.loads(rest[n_places:], buffers=buffers)

    def ended(self):
        """Whether the other process is gone. It says nothing unasked, so anything to read is the end."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        self.file.close()
        self.socket.close()
        for fd in (self.out_fd, self.in_fd):
            os.close(fd)


def _child(op, sock, out_fd, in_fd):
    """A worker process: batches of one operator until its service ends."""
    pipe = Pipe(sock, out_fd, in_fd, copy=True)  # copied: hooks may keep what they are given
    try:
        op.start()
        pipe.send("ready")
    except BaseException:
        pipe.send(traceback.format_exc())
        return
    while True:
        try:
            batch = pipe.receive()
        except EOFError:
            return
        pipe.send(op.run_batch(batch))


class Zygote:
    """Forks workers on demand. To be made before the first thread."""

    def __init__(self, ops):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.lock = threading.Lock()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.socket.close()
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                self._loop(ops, theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        self.pid = pid

    @staticmethod
    def _loop(ops, sock):
        while True:
            data, fds, _, _ = socket.recv_fds(sock, 64, 3)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    sock.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _child(ops[int(data)], socket.socket(fileno=fds[0]), fds[1], fds[2])
                    status = 0
                except BrokenPipeError:
                    status = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(status)
            for fd in fds:
                os.close(fd)
            sock.send(str(pid).encode())

    def spawn(self, index):
        """(pid, Pipe) of a new worker of ops[index]."""
        ours, theirs = socket.socketpair()
        there, back = os.memfd_create("oar-there"), os.memfd_create("oar-back")
        with self.lock:
            socket.send_fds(self.socket, [str(index).encode()], [theirs.fileno(), back, there])
            pid = int(self.socket.recv(64))
        theirs.close()
        return pid, Pipe(ours, there, back, copy=True)


class Queue:
    """Requests that wait for an operator; at most `bound` (0: no bound)."""

    def __init__(self, bound):
        self.queue = queue.Queue(bound)
        self.largest = 0

    def put(self, item):
        try:
            self.queue.put(item, timeout=item.left_s())
        except queue.Full:
            return False
        self.largest = max(self.largest, self.queue.qsize())
        return True

    def take(self, batch_size, wait_s):
        """A batch: the first as soon as there is one, then as many as come within wait_s, at most batch_size. None: the end."""
        batch = [self.queue.get()]
        until = time.monotonic() + wait_s
        while batch[0] is not None and len(batch) < batch_size:
            try:
                left = until - time.monotonic()
                batch.append(self.queue.get(timeout=left) if left > 0 else self.queue.get_nowait())
            except queue.Empty:
                break
            if batch[-1] is None:
                self.queue.put(None)
                batch.pop()
                break
        return batch if batch[0] is not None else None


class OpWorkers:
    """The workers of one operator. deliver(item, ChannelData) is told each outcome, on whatever thread."""

    def __init__(self, op, index, deliver, zygote, channel_size):
        self.op, self.index, self.deliver, self.zygote = op, index, deliver, zygote
        self.queue = Queue(channel_size)
        self.threads = []
        self.pids = {}
        self.restarts = 0
        self.stopping = False
        self.ready = threading.Semaphore(0)
        self.fault = None
        self.times = {}

    def start(self):
        count = self.op.conf["concurrency"]
        target = self._by_process if self.zygote is not None else self._by_thread
        self.once = threading.Lock()
        self.begun = False
        self.threads = [threading.Thread(target=target, args=(i,), daemon=True) for i in range(count)]
        for t in self.threads:
            t.start()
        for _ in self.threads:
            self.ready.acquire()
        if self.fault:
            raise SystemExit(f"Op {self.op.name} cannot start: {self.fault}")

    def stop(self):
        self.stopping = True
        for _ in self.threads:
            self.queue.queue.put(None)

    def _batches(self):
        conf = self.op.conf
        wait_s = conf["auto_batching_timeout"] / 1000 if conf["auto_batching_timeout"] > 0 else 0.0
        while True:
            batch = self.queue.take(conf["batch_size"], wait_s)
            if batch is None:
                return
            batch = [item for item in batch if item.alive()]
            if batch:
                yield batch

    def _hand_out(self, batch, outcome):
        for item, data in zip(batch, outcome):
            self.deliver(item, data)

    def _fail(self, batch, code, words):
        self._hand_out(batch, [ChannelData.failed(code, words, i.data_id, i.log_id) for i in batch])

    def _by_thread(self, number):
        try:
            with self.once:  # the object is shared by its threads, so it begins once
                if not self.begun and self.fault is None:
                    self.op.start()
                    self.begun = True
        except (Exception, SystemExit) as e:
            self.fault = str(e) or type(e).__name__
        self.ready.release()
        if self.fault:
            return
        for batch in self._batches():
            try:
                outcome = self.op.run_batch([(i.inputs, i.data_id, i.log_id) for i in batch])
            except BaseException as e:
                self._fail(batch, Err.UNKNOW, f"[{self.op.name}] {type(e).__name__}: {e}")
            else:
                self._hand_out(batch, outcome)

    def _spawn(self, number):
        pid, pipe = self.zygote.spawn(self.index)
        self.pids[number] = pid
        try:
            said = pipe.receive()
        except EOFError:
            said = "it ended while it began"
        if said != "ready":
            pipe.close()
            raise RuntimeError(said.strip().splitlines()[-1])
        return pipe

    def _by_process(self, number):
        pipe = None
        try:
            pipe = self._spawn(number)
        except Exception as e:
            self.fault = str(e)
        self.ready.release()
        if self.fault:
            return
        for batch in self._batches():
            if pipe is not None and pipe.ended():  # while it had nothing to do
                pipe.close()
                pipe = None
            if pipe is None:
                pipe = self._again(number)
            if pipe is None:
                self._fail(batch, Err.INIT_ERROR, f"[{self.op.name}] its worker does not start")
                continue
            try:
                pipe.send([(i.inputs, i.data_id, i.log_id) for i in batch])
                outcome = pipe.receive()
            except (EOFError, OSError):
                pipe.close()
                self._fail(batch, Err.UNKNOW, f"[{self.op.name}] the worker process that had this request (pid {self.pids[number]}) "
                                              "ended; send it again")
                pipe = self._again(number)
            except Exception as e:  # what cannot be pickled
                self._fail(batch, Err.TYPE_ERROR, f"[{self.op.name}] {type(e).__name__}: {e}; a process op takes and gives what pickle can "
                                                  "carry")
            else:
                self._hand_out(batch, outcome)
        if pipe is not None:
            pipe.close()

    def _again(self, number):
        self.restarts += 1
        try:
            return self._spawn(number)
        except Exception as e:
            print(f"pipeline: Op {self.op.name}: its worker does not start: {e}", file=sys.stderr, flush=True)
            time.sleep(0.2)
            return None
