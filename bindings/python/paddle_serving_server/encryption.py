"""Serving encrypted models: the launcher waits for a client's key, decrypts into memory, and starts the server.

A client POSTs {"key": base64}; the answer is {"endpoint_list": [port]} once the model is served there. The key is never written
anywhere; the plain model lies in a folder in memory that nobody else may read, for as long as the server runs. Every later client
must bring the same key.
"""
import base64
import hmac
import http.server
import json
import os
import shutil
import signal
import sys
import tempfile
import threading

from oar import _crypt

from .server import CONF
from .util import dump_pid_file, forget_pid_file, free_port

KEY_BODY_BYTES = 1 << 16
FAILED = {"message": "start serving failed"}


def _decrypted(path, key):
    if not os.path.exists(path):
        raise ValueError(f"{path} is not there: was the model saved with encryption=True?")
    with open(path, "rb") as f:
        return _crypt.decrypt(f.read(), key)


def decrypt_model(folder, key, to):
    """The plain model of an encrypted server's folder, under its own name in `to`."""
    target = os.path.join(to, os.path.basename(os.path.normpath(folder)))
    os.makedirs(target)
    program, params = (_decrypted(os.path.join(folder, name), key) for name in ("encrypt_model", "encrypt_params"))
    is_json = program.lstrip()[:1] == b"{"  # Paddle 3's form
    for name, data in (("model.json" if is_json else "model.pdmodel", program), ("model.pdiparams", params)):
        with open(os.path.join(target, name), "wb") as out:
            out.write(data)
    shutil.copyfile(os.path.join(folder, CONF), os.path.join(target, CONF))
    return target


class KeyServer:
    """Answers clients' keys; holds the server once a key has opened the model."""

    def __init__(self, args, make_server):
        self.args, self.make_server = args, make_server
        self.lock = threading.Lock()
        self.server = self.key = self.memory = None

    def answer(self, key):
        """What a client with this key is told."""
        with self.lock:
            if self.server is not None and self.server.process.poll() is None:
                same = hmac.compare_digest(key, self.key)
                return {"endpoint_list": [self.server.port]} if same else FAILED
            try:
                self._start(key)
            except (Exception, SystemExit) as e:
                print(f"encryption: {e}", file=sys.stderr, flush=True)
                return FAILED
            return {"endpoint_list": [self.server.port]}

    def _start(self, key):
        args = self.args
        self._forget()
        self.memory = tempfile.mkdtemp(prefix="oar-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        plain = type(args)(**vars(args))
        try:
            plain.model = [decrypt_model(m, key, self.memory) for m in args.model]
            plain.port = free_port(args.encryption_rpc_port)
            server = self.make_server(plain)
            server.start()
        except BaseException:
            self._forget()
            raise
        try:
            server.wait_ready()
        except SystemExit:
            server.process.kill()
            server.process.wait()
            self._forget()
            raise SystemExit("the model does not load: a wrong key, most likely") from None
        self.server, self.key = server, key

    def _forget(self):
        if self.memory is not None:
            shutil.rmtree(self.memory, ignore_errors=True)
        self.memory = None

    def stop(self):
        if self.server is not None and self.server.process.poll() is None:
            self.server.process.terminate()
            self.server.process.wait()
        self._forget()


def _handler(keys):
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 20

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            try:
                if not length.isdigit() or int(length) > KEY_BODY_BYTES:
                    raise ValueError("a JSON body with the key was expected")
                key = base64.b64decode(json.loads(self.rfile.read(int(length)))["key"], validate=True)
                reply = keys.answer(key)
            except (ValueError, KeyError, TypeError) as e:
                print(f"encryption: not a key: {e}", file=sys.stderr, flush=True)
                reply = FAILED
            body = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def run(args, make_server):
    """Serves until SIGTERM or SIGINT."""
    keys = KeyServer(args, make_server)
    front = http.server.ThreadingHTTPServer((args.host or "0.0.0.0", args.port), _handler(keys))
    front.daemon_threads = True
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=front.shutdown).start())
    dump_pid_file([args.port], args.model)
    print(f"waiting for a client's key at http://127.0.0.1:{args.port}", flush=True)
    try:
        front.serve_forever(poll_interval=0.1)
    finally:
        forget_pid_file([args.port])
        keys.stop()
        front.server_close()
    print("Process stopped")
    return 0
