"""HTTP in front of Python handlers, in worker processes that a supervisor keeps.

The supervisor opens the port once and forks the workers, which all accept from it. In a worker several threads take turns:
each waits for a connection with something to read, reads it, runs the handler and writes the answer itself, so that a
request crosses no queue. A handler that blocks keeps one thread; a worker that dies takes only the requests that it was
working on, and its successor is there at once.

HTTP here is what a service needs: Content-Length and chunked bodies, gzip, keep-alive, Expect. Bounds are constants below.
"""
import errno
import gzip
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import zlib

HEAD_BYTES = 64 << 10
BODY_BYTES = 512 << 20
IDLE_S = 80
REST_S = 0.5       # between the starts of a worker that dies as soon as it is there
SEND_S = 20        # a peer that does not take its answer for so long is cut off

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
           413: "Payload Too Large", 415: "Unsupported Media Type", 431: "Request Header Fields Too Large",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable", 504: "Gateway Timeout"}


class Refused(Exception):
    """A request that cannot be read: an HTTP status and words."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status = status


class Request:
    """One request, read whole. `headers` has lower-case names, and may be shared with other requests: read only."""
    __slots__ = ("method", "path", "headers", "body", "keep_alive")


HEADS, HEAD_KEPT_BYTES = 256, 2048  # heads that are remembered: a caller sends the same one again and again
_heads = {}


def known_head(head):
    """parse_head, remembered."""
    found = _heads.get(head)
    if found is None:
        r, need = parse_head(head)
        found = (r.method, r.path, r.headers, r.keep_alive, need)
        if len(head) <= HEAD_KEPT_BYTES:
            if len(_heads) >= HEADS:
                _heads.clear()
            _heads[head] = found
    r = Request()
    r.method, r.path, r.headers, r.keep_alive, need = found
    return r, need


class Connection:
    __slots__ = ("socket", "data", "head", "need", "seen_at", "expect_answered")

    def __init__(self, sock):
        self.socket = sock
        self.data = b""
        self.head = None     # the Request whose body is still coming
        self.need = 0        # bytes of that body; -1: chunks
        self.seen_at = time.monotonic()
        self.expect_answered = False


def parse_head(head):
    """(Request without body, length of the body or -1 for chunks)"""
    lines = head.split(b"\r\n")
    first = lines[0].split(b" ")
    if len(first) != 3 or not first[2].startswith(b"HTTP/1."):
        raise Refused(400, "not HTTP/1.1: expected 'METHOD PATH HTTP/1.1'")
    r = Request()
    r.method = first[0].decode("latin-1")
    r.path = first[1].decode("latin-1").split("?", 1)[0]
    r.headers = headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name[-1:] in b" \t" or b"\n" in line or b"\r" in line:
            raise Refused(400, "a header line is not 'Name: value'")
        name = name.decode("latin-1").lower()
        if name == "content-length" and name in headers:
            raise Refused(400, "two Content-Length headers")
        headers[name] = value.strip().decode("latin-1")
    connection = headers.get("connection", "").lower()
    r.keep_alive = connection != "close" if first[2] == b"HTTP/1.1" else connection == "keep-alive"
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Refused(400, "Transfer-Encoding may be 'chunked' alone, and not beside a Content-Length")
        return r, -1
    if length is None:
        return r, 0
    if not length.isdigit() or len(length) > 18:
        raise Refused(400, f"Content-Length {length!r} is no number")
    if int(length) > BODY_BYTES:
        raise Refused(413, f"a body of {length} bytes is larger than {BODY_BYTES}")
    return r, int(length)


def take_chunks(data):
    """(body, bytes used) of a chunked body that is all there; (None, 0) while more must come."""
    parts, at, total = [], 0, 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            if len(data) - at > 1024:
                raise Refused(400, "a chunk's size line has no end")
            return None, 0
        try:
            size = int(data[at:end].split(b";")[0], 16)
        except ValueError:
            size = -1
        if size < 0 or size > BODY_BYTES:
            raise Refused(400, "a chunk's size is no hexadecimal number")
        at = end + 2
        if size == 0:
            end = data.find(b"\r\n", at) if data[at:at + 2] != b"\r\n" else at
            while end >= 0 and end != at:  # trailers
                at, end = end + 2, data.find(b"\r\n", end + 2)
            return (b"".join(parts), at + 2) if end >= 0 else (None, 0)
        total += size
        if total > BODY_BYTES:
            raise Refused(413, f"a body larger than {BODY_BYTES} bytes")
        if len(data) < at + size + 2:
            return None, 0
        if data[at + size:at + size + 2] != b"\r\n":
            raise Refused(400, "a chunk does not end where its size says")
        parts.append(data[at:at + size])
        at += size + 2


def inflate(body):
    d = zlib.decompressobj(31)
    try:
        out = d.decompress(body, BODY_BYTES)
    except zlib.error as e:
        raise Refused(400, f"the body is not gzip: {e}") from None
    if d.unconsumed_tail:
        raise Refused(413, f"the body is larger than {BODY_BYTES} bytes when it is unpacked")
    if not d.eof:
        raise Refused(400, "the gzip body is cut short")
    return out


def words(status, text):
    """An answer that refuses."""
    return status, "application/json", json.dumps({"error": text}).encode()


class Worker:
    """The requests of one process. handler(Request) -> (status, content type, bytes)."""

    def __init__(self, listener, handler, threads):
        self.listener, self.handler, self.threads = listener, handler, threads
        self.poll = select.epoll()
        self.connections = {}
        self.stopping = False
        self.stop_read, self.stop_write = os.pipe()

    def run(self, parent_pipe=None):
        """Serves until stop() or until the supervisor is gone."""
        self.listener.setblocking(False)
        self.poll.register(self.listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self.poll.register(self.stop_read, select.EPOLLIN)
        if parent_pipe is not None:
            self.poll.register(parent_pipe, select.EPOLLIN | select.EPOLLHUP)
        self.parent_pipe = parent_pipe
        extra = [threading.Thread(target=self._turns, daemon=True) for _ in range(self.threads - 1)]
        for t in extra:
            t.start()
        self._turns()
        for t in extra:
            t.join(5)

    def stop(self):
        self.stopping = True
        os.write(self.stop_write, b"x")

    def _turns(self):
        swept = time.monotonic()
        while not self.stopping:
            try:
                events = self.poll.poll(5, 1)
            except InterruptedError:
                continue
            for fd, _ in events:
                if fd == self.listener.fileno():
                    self._accept()
                elif fd == self.parent_pipe:
                    self.stopping = True
                elif fd != self.stop_read:
                    self._serve(fd)
            if time.monotonic() - swept > 10:
                swept = time.monotonic()
                self._sweep(swept)

    def _accept(self):
        try:
            sock, _ = self.listener.accept()
        except OSError as e:
            if e.errno in (errno.EMFILE, errno.ENFILE):
                time.sleep(0.05)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = sock.fileno()
        self.connections[fd] = Connection(sock)
        self.poll.register(fd, select.EPOLLIN | select.EPOLLONESHOT)

    def _sweep(self, now):
        for fd, c in list(self.connections.items()):
            if now - c.seen_at > IDLE_S:
                try:  # wakes the thread that owns it next, which sees the end
                    c.socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _close(self, fd):
        c = self.connections.pop(fd, None)
        if c is not None:
            c.socket.close()

    def _serve(self, fd):
        """The turn of the one thread that was told of this connection (EPOLLONESHOT)."""
        c = self.connections.get(fd)
        if c is None:
            return
        try:
            piece = c.socket.recv(1 << 18)
        except BlockingIOError:
            self.poll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
            return
        except OSError:
            piece = b""
        if not piece:
            self._close(fd)
            return
        c.seen_at = time.monotonic()
        c.data = c.data + piece if c.data else piece
        alive = True
        try:
            while alive and c.data:
                request = self._next(c)
                if request is None:
                    break
                alive = self._answer(c, request)
        except Refused as e:
            self._send(c, *words(e.status, str(e)), False)
            alive = False
        except OSError:
            alive = False
        c.seen_at = time.monotonic()
        if alive and not self.stopping:
            self.poll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
        else:
            self._close(fd)

    def _next(self, c):
        if c.head is None:
            end = c.data.find(b"\r\n\r\n")
            if end < 0:
                if len(c.data) > HEAD_BYTES:
                    raise Refused(431, f"a request head larger than {HEAD_BYTES} bytes")
                return None
            c.head, c.need = known_head(c.data[:end].lstrip(b"\r\n"))
            c.data = c.data[end + 4:]
        if c.need < 0:
            body, used = take_chunks(c.data)
            ready = body is not None
        else:
            ready, used = len(c.data) >= c.need, c.need
            body = c.data[:used] if ready else None
        if not ready:
            if "100-continue" in c.head.headers.get("expect", "").lower() and not c.expect_answered:
                c.expect_answered = True
                c.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if c.need > len(c.data) + (1 << 18):
                self._read_rest(c)
                return self._next(c)
            return None
        request, c.head, c.expect_answered = c.head, None, False
        c.data = c.data[used:]
        request.body = body
        return request

    def _read_rest(self, c):
        """A large body is read in place: joining its pieces one by one would cost its square."""
        parts, have = [c.data], len(c.data)
        c.socket.settimeout(SEND_S)
        try:
            while have < c.need:
                piece = c.socket.recv(min(c.need - have, 1 << 20))
                if not piece:
                    raise OSError("the peer has gone")
                parts.append(piece)
                have += len(piece)
        finally:
            c.socket.setblocking(False)
        c.data = b"".join(parts)

    def _answer(self, c, request):
        try:
            encoding = request.headers.get("content-encoding", "identity").lower()
            if encoding == "gzip":
                request.body = inflate(request.body)
            elif encoding != "identity":
                raise Refused(415, f"Content-Encoding {encoding!r}: gzip or none was expected")
            status, kind, body = self.handler(request)
        except Refused as e:
            status, kind, body = words(e.status, str(e))
        except (Exception, SystemExit) as e:  # a handler's fault is its request's alone
            print(f"{type(e).__name__} while answering {request.path}: {e}", file=sys.stderr, flush=True)
            status, kind, body = words(500, f"{type(e).__name__}: {e}")
        self._send(c, status, kind, body, request.keep_alive, "gzip" in request.headers.get("accept-encoding", ""))
        return request.keep_alive

    def _send(self, c, status, kind, body, keep_alive, packed=False):
        extra = ""
        if packed and len(body) >= 512:
            body, extra = gzip.compress(body, 1), "Content-Encoding: gzip\r\n"
        end = "\r\n" if keep_alive else "Connection: close\r\n\r\n"
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}{end}".encode()
        data = head + body
        try:
            sent = c.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            c.socket.settimeout(SEND_S)
            try:
                c.socket.sendall(memoryview(data)[sent:])
            finally:
                try:
                    c.socket.setblocking(False)
                except OSError:
                    pass


def listen(host, port):
    """The one listening socket of a service."""
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((host, port))
    except OSError as e:
        raise SystemExit(f"Port {port} is already used" if e.errno == errno.EADDRINUSE else f"{host}:{port}: {e.strerror}") from None
    s.listen(1024)
    return s


class Supervisor:
    """Forks `processes` workers that each run work(index, pipe), and replaces those that die. The pipe ends with the
    supervisor: a worker that sees its end stops. tick() runs twice a second (other children are looked after there)."""

    def __init__(self, processes, work, tick=None):
        self.count, self.work, self.tick = processes, work, tick
        self.children = {}  # pid -> (index, when it was started)
        self.stopping = False
        self.restarts = 0

    def _start(self, index):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(self.pipe[1])
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's, which the supervisor hears too
                self.work(index, self.pipe[0])
                status = 0
            except SystemExit as e:
                status = e.code if isinstance(e.code, int) else 1
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        self.children[pid] = (index, time.monotonic())

    def run(self):
        """Until SIGTERM or SIGINT; workers finish what they have begun."""
        self.pipe = os.pipe()
        for index in range(self.count):
            self._start(index)
        restore = {n: signal.signal(n, self._on_signal) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self.stopping:
                self._reap()
                if self.tick is not None:
                    self.tick()
                time.sleep(0.05)
        finally:
            for number, handler in restore.items():
                signal.signal(number, handler)
            self._end()

    def _on_signal(self, number, frame):
        self.stopping = True

    def _reap(self):
        for pid, (index, since) in list(self.children.items()):
            try:
                gone, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                gone, status = pid, 0
            if gone == 0:
                continue
            del self.children[pid]
            print(f"worker {index} (pid {pid}) ended with {os.waitstatus_to_exitcode(status)}; another one takes its place",
                  file=sys.stderr, flush=True)
            if time.monotonic() - since < REST_S:
                time.sleep(REST_S)
            self.restarts += 1
            self._start(index)

    def _end(self):
        os.close(self.pipe[1])
        deadline = time.monotonic() + 10
        for pid in list(self.children):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
        while self.children and time.monotonic() < deadline:
            for pid in list(self.children):
                try:
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        del self.children[pid]
                except ChildProcessError:
                    del self.children[pid]
            time.sleep(0.01)
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(self.pipe[0])


def serve(listener, handler, processes, threads, begin=None, tick=None):
    """Serves until SIGTERM or SIGINT. begin() runs in each worker before its first request."""

    def work(index, pipe):
        worker = Worker(listener, handler, threads)
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        if begin is not None:
            begin()
        worker.run(pipe)

    supervisor = Supervisor(processes, work, tick)
    supervisor.run()
    listener.close()
