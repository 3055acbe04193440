"""Ports, processes and the file that says which servers run."""
import json
import os
import signal
import socket
import time

PROCESS_FILE = "ProcessInfo.json"


def port_is_available(port):
    """Whether nobody answers on that port here."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        return s.connect_ex(("127.0.0.1", int(port))) != 0


def free_port(first=12000):
    """The first port from there on that can be listened on."""
    for port in range(first, 65536):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue
    raise SystemExit(f"no free port from {first} on")


class GetAvailablePortGenerator:
    """Free ports, each once."""

    def __init__(self, start_port=12000):
        self._next = start_port

    def next(self):
        port = free_port(self._next)
        self._next = port + 1
        return port


def process_file():
    return os.path.join(os.environ.get("SERVING_HOME") or os.getcwd(), PROCESS_FILE)


def _read():
    try:
        with open(process_file()) as f:
            return json.load(f)
    except (OSError, ValueError):
        return []


def _write(entries):
    if entries:
        temporary = f"{process_file()}.{os.getpid()}"
        with open(temporary, "w") as f:
            json.dump(entries, f)
        os.replace(temporary, process_file())
    elif os.path.exists(process_file()):
        os.remove(process_file())


def dump_pid_file(port_list, model):
    """Remembers this server; an older entry that shares a port is replaced. The pid is that of the process group where this
    process leads one (a shell's job), so that stop reaches all of it, and its own otherwise."""
    pid = os.getpid()
    entries = [e for e in _read() if not set(e.get("port", [])) & set(port_list)]
    entries.append({"pid": pid, "port": list(port_list), "model": str(model), "start_time": time.time()})
    try:
        _write(entries)
    except OSError as e:
        print(f"{process_file()}: {e.strerror}; `stop` and `kill` will not find this server")


def forget_pid_file(port_list):
    try:
        _write([e for e in _read() if not set(e.get("port", [])) & set(port_list)])
    except OSError:
        pass


def _signal(pid, number):
    """To the process's group where it leads one, so that what it has started hears it too."""
    if os.getpgid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)


def stop_servers(command, port=None):
    """`stop` (SIGINT) or `kill` (SIGKILL) of the servers that the file lists, or of the one on that port."""
    if not os.path.exists(process_file()):
        raise ValueError("ProcessInfo.json file is not exists, All processes of PaddleServing has been stopped.")
    entries = _read()
    chosen = [e for e in entries if port is None or port in e.get("port", [])]
    if port is not None and not chosen:
        raise ValueError("Please confirm the port [{}] you specified is correct.".format(port))
    for entry in chosen:
        try:
            _signal(int(entry["pid"]), signal.SIGINT if command == "stop" else signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            print("Process [{}]  has been stopped.".format(entry["pid"]))
    _write([e for e in entries if e not in chosen])
