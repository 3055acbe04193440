"""What these scripts share: a port, what a process has taken, messages and arrays as files. Python's standard library only."""
import os
import pathlib
import re
import socket
import struct
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODEL = ROOT / "tests" / "data" / "uci_housing"
ROW = [0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]
INFER = "/v2/models/uci/infer"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    """Processor time of a process so far."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid, what="VmRSS"):
    """Bytes, as /proc/PID/status names them."""
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(rf"^{what}:\s+(\d+)", f.read(), re.M)[1]) * 1024


def varint(v):
    out = b""
    while v > 127:
        out, v = out + bytes([v & 127 | 128]), v >> 7
    return out + bytes([v])


def field(number, value):
    """Of a protobuf message: a whole number, or bytes, text or another message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def save(path, arrays):
    """An .npz of name -> (dtype as NumPy writes it, shape, bytes); gives the path."""
    with zipfile.ZipFile(path, "w") as z:
        for name, (dtype, shape, data) in arrays.items():
            head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            z.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)
    return path
