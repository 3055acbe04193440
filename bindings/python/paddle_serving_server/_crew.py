"""A service's worker processes, on the side of Python; the other side is the room src/crew of the server in C.

The server in C (`oar serve --crew FD`) owns the port, reads HTTP and gRPC, queues requests and makes batches of them. It tells a
*zygote*, forked from the script that started the service and so with everything that it had prepared, to fork workers. In a
worker every *slot* is a thread with a socket of its own, on which it waits for a batch of one operator, and answers it. What is
large lies in shared memory. crew/wire.h in the source describes every byte.
"""
import fcntl
import gc
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

from oar import _binary

from .util import port_is_available

READY, FAILED, WORK, ANSWER = 1, 2, 3, 4
NEXT, JUMP, FINAL = 0, 1, 2
HTTP, GRPC = 1, 2
FROM_REQUEST = 0xFFFFFFFF
HEAD = struct.Struct("<IIQQIIII")      # kind, count, number, bytes, shared, three times in us
ITEM = struct.Struct("<QIIQ")          # id, form, parts, us left
PART = struct.Struct("<IIQ")           # source, -, bytes
OUTCOME = struct.Struct("<IIIIQ")      # kind, code, fault, -, bytes
ASK = struct.Struct("<III")
INLINE, ALIGN = 16384, 64
SLOTS_MAX = 240                        # of one process
F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2
PAD = bytes(ALIGN)
END_S = 5.0                            # a worker that does not end with its service is killed after so long


class Item:
    """One request in front of an operator. `parts`: (number of the operator that made it, or FROM_REQUEST; its bytes), views that
    end with the answer."""
    __slots__ = ("id", "form", "parts")

    def request(self):
        """(path, body) of the part that is the request itself."""
        view = bytes(next(view for source, view in self.parts if source == FROM_REQUEST))
        end = view.index(b"\n")
        return view[:end].decode("utf-8", "replace"), view[end + 1:]


def final(body, code=200, fault=0):
    """An outcome that is the request's answer: bytes, HTTP's code, and the error number that it tells."""
    return FINAL, code, fault, [body]


def read_items(view, count):
    items, at = [], 0
    for _ in range(count):
        item = Item()
        item.id, item.form, parts, _ = ITEM.unpack_from(view, at)
        item.parts = []
        at += ITEM.size
        for _ in range(parts):
            source, _, n = PART.unpack_from(view, at)
            at = (at + PART.size + ALIGN - 1) & -ALIGN
            item.parts.append((source, view[at:at + n]))
            at += (n + ALIGN - 1) & -ALIGN
        items.append(item)
    return items


def outcome_pieces(outcomes):
    """(pieces, their length) of an answer's payload."""
    pieces, total = [], 0
    for kind, code, fault, parts in outcomes:
        n = sum(map(len, parts))
        pieces.append(OUTCOME.pack(kind, code, fault, 0, n))
        pieces.extend(parts)
        total += OUTCOME.size + n
        if total % ALIGN:
            pieces.append(PAD[:ALIGN - total % ALIGN])
            total += ALIGN - total % ALIGN
    return pieces, total


class Slot:
    """One thread's socket."""

    def __init__(self, fd, op):
        self.socket, self.op = socket.socket(fileno=fd), op
        self.room = memoryview(bytearray(HEAD.size + INLINE))
        self.come_fd, self.come = -1, None
        self.out_fd, self.out = -1, None

    def receive(self):
        """(number, items), or None when the server has gone."""
        try:
            n, ancillary, _, _ = self.socket.recvmsg_into([self.room], 24, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return None
        if n < HEAD.size:
            return None
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                (self.come_fd,) = struct.unpack("i", data[:4])
        _, count, number, size, shared = HEAD.unpack_from(self.room)[:5]
        if not shared:
            return number, read_items(self.room[HEAD.size:n], count)
        if self.come is None or len(self.come) < size:
            self.come = memoryview(mmap.mmap(self.come_fd, 0, prot=mmap.PROT_READ))
        return number, read_items(self.come[:size], count)

    def answer(self, number, outcomes, times=(0, 0, 0)):
        pieces, total = outcome_pieces(outcomes)
        head = (ANSWER, len(outcomes), number, total)
        if total <= INLINE:
            self.socket.send(b"".join([HEAD.pack(*head, 0, *times), *pieces]))
            return
        fds = self._room_for(total)
        at = 0
        for piece in pieces:
            self.out[at:at + len(piece)] = piece
            at += len(piece)
        self.socket.sendmsg([HEAD.pack(*head, 1, *times)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd)) for fd in fds])

    def _room_for(self, total):
        """Makes or grows the area; [its file] when the server has to be told of it."""
        if self.out is not None and len(self.out) >= total:
            return []
        new = self.out is None
        if new:
            self.out_fd = os.memfd_create("oar-crew", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(self.out_fd, F_ADD_SEALS, F_SEAL_SHRINK)
        size = 1 << max(total - 1, (1 << 20) - 1).bit_length()
        os.ftruncate(self.out_fd, size)
        self.out = mmap.mmap(self.out_fd, size)
        return [self.out_fd] if new else []

    def say(self, kind, words=b""):
        words = words[:INLINE]
        self.socket.send(HEAD.pack(kind, 0, 0, len(words), 0, 0, 0, 0) + words)

    def serve(self, work):
        """Until the server ends."""
        self.say(READY)
        while True:
            got = self.receive()
            if got is None:
                return
            number, items = got
            try:
                outcomes, times = work.run(self.op, items)
            except BaseException as e:
                traceback.print_exc()
                words = json.dumps({"error": f"{type(e).__name__}: {e}"}).encode()
                outcomes, times = [final(words, 500, 10000)] * len(items), (0, 0, 0)
            items = got = None  # views of what the next message overwrites
            try:
                self.answer(number, outcomes, times)
            except OSError:
                return


def _worker(work, ops, fds):
    """The life of a worker process; returns its exit status."""
    slots = [Slot(fd, op) for fd, op in zip(fds, ops)]
    try:
        work.start(sorted(set(ops)))
    except BaseException as e:
        if not isinstance(e, SystemExit):
            traceback.print_exc()
        words = str(e) or type(e).__name__
        slots[0].say(FAILED, words.encode())
        return 1

    def turn(slot):
        slot.serve(work)
        leave(0)

    for slot in slots[1:]:
        threading.Thread(target=turn, args=(slot,), daemon=True).start()
    slots[0].serve(work)
    return 0


def leave(status):
    """Ends a forked process: what the script left for its own end is not for its children."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _no_signals():
    """The service is told to end, and its workers hear it from their sockets, when they have answered. Handlers, since programs
    that hooks start would inherit SIG_IGN."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


class _Zygote:
    """Forks workers and buries them."""

    def __init__(self, control, lifeline, processes, work):
        self.control, self.lifeline, self.processes, self.work = control, lifeline, processes, work
        self.children = set()

    def run(self):
        _no_signals()
        gc.freeze()  # pages stay shared with the workers
        while True:
            ready = select.select([self.control, self.lifeline], [], [], 0.2)[0]
            self.bury()
            if self.lifeline in ready:  # the script has gone: so does the zygote, which tells the server to end
                return
            if self.control in ready and not self.listen():
                break
        until = time.monotonic() + END_S
        while self.children and time.monotonic() < until:
            time.sleep(0.01)
            self.bury()
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)

    def bury(self):
        for pid in list(self.children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.children.discard(pid)

    def listen(self):
        try:
            data, fds, _, _ = socket.recv_fds(self.control, 64, SLOTS_MAX + 8, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        if len(data) != ASK.size:
            return False
        kind, a, b = ASK.unpack(data)
        if kind == ord("S"):
            self.control.send(ASK.pack(ord("P"), a, self.fork(a, fds)))
        elif kind == ord("K") and a in self.children:
            os.kill(a, signal.SIGKILL)
        return True

    def fork(self, index, fds):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.control.close()
                os.close(self.lifeline)
                status = _worker(self.work, self.processes[index], fds)
            except BaseException:
                traceback.print_exc()
            finally:
                leave(status)
        self.children.add(pid)
        for fd in fds:
            os.close(fd)
        return pid


class Service:
    """The server in C with its zygote. conf: see crew/conf.h in the source; work: start(operators) once in each worker, and
    run(operator, items) -> (outcomes, three times in us)."""

    def __init__(self, conf, work, port, options=()):
        self.conf, self.work, self.port = conf, work, port
        self.options = [str(o) for o in options]
        self.process = None
        self.stopping = False

    def start(self):
        """Starts both. The zygote comes first, so that it holds nothing of the server's."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline, self.line = os.pipe()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.send(json.dumps(self.conf).encode())
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ours.close()
                os.close(self.line)
                _Zygote(theirs, lifeline, self.conf["processes"], self.work).run()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                leave(status)
        self.zygote = pid
        theirs.close()
        os.close(lifeline)
        command = [_binary.path(), "serve", "--crew", str(ours.fileno()), "--port", str(self.port), *self.options]
        # a terminal's interrupt reaches a whole group: the server ends when the script tells it to, and not at once
        self.process = subprocess.Popen(command, pass_fds=[ours.fileno()], preexec_fn=lambda: os.setpgid(0, 0))
        ours.close()

    def wait_ready(self):
        """Returns when the workers have begun and the port is open; SystemExit when that does not come to be."""
        while port_is_available(self.port):
            status = self.process.poll()
            if status is not None:
                self._bury_zygote()
                raise SystemExit(0 if self.stopping else 1)
            time.sleep(0.005)

    def _bury_zygote(self):
        os.close(self.line)
        os.waitpid(self.zygote, 0)

    def _stop(self, number, frame):
        self.stopping = True
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def run(self, ready=None, tick=None):
        """Serves until SIGTERM or SIGINT; what has been admitted is answered. ready() is called once, tick() some ten times a
        second."""
        restore = {n: signal.signal(n, self._stop) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.start()
            self.wait_ready()
            if ready is not None:
                ready()
            while not self._ended():
                if tick is not None:
                    tick()
        finally:
            for number, handler in restore.items():
                signal.signal(number, handler)

    def _ended(self):
        try:
            status = self.process.wait(0.1)
        except subprocess.TimeoutExpired:
            return False
        self._bury_zygote()
        if self.stopping:
            return True
        print(f"the server ended with status {status}; starting it again", file=sys.stderr, flush=True)
        time.sleep(0.5)
        self.start()
        return False
