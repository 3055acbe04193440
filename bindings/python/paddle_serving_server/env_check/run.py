"""Starts a server and a pipeline on a small model made for the occasion, asks them over RPC, HTTP and the pipeline's faces,
and says what works here."""
import cmd
import contextlib
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

from oar import _binary, _proto
from oar import _program  # noqa: F401 - declares the messages of a program

from ..util import free_port, port_is_available

WEIGHT, BIAS = np.linspace(-1, 1, 13, dtype="float32"), np.float32(22.5)

PIPELINE = """
import sys
import numpy as np
from paddle_serving_server.web_service import WebService, Op

class CheckOp(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, given), = input_dicts.items()
        return {"x": np.array([[float(v) for v in given["x"].split(",")]], "float32")}, False, None, ""
    def postprocess(self, input_dicts, fetch_dict, data_id, log_id):
        return {"price": str(fetch_dict["price"])}, None, ""

class Check(WebService):
    def get_pipeline_response(self, read_op):
        return CheckOp(name="check", input_ops=[read_op])

service = Check(name="check")
service.prepare_pipeline_config(yml_dict={"rpc_port": int(sys.argv[1]), "http_port": int(sys.argv[2]), "op": {"check": {
    "local_service_conf": {"model_config": sys.argv[3], "client_type": "local_predictor", "fetch_list": ["price"]}}}})
service.run_service()
"""


def _varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def _tensor_file(array):
    """A parameter as the framework saves one: version, no LoD, version, description, values."""
    desc = b"\x08\x05" + b"".join(b"\x10" + _varint(d) for d in array.shape)
    return struct.pack("<IQI", 0, 0, 0) + struct.pack("<i", len(desc)) + desc + array.tobytes()


def make_model(folder):
    """A linear model in the framework's own format: price = x . w + b."""
    m = _proto.messages("paddle.framework.proto")
    program = m["ProgramDesc"]()
    block = program.blocks.add(idx=0, parent_idx=-1)

    def var(name, shape, kind=7, persistable=False):
        v = block.vars.add(name=name, persistable=persistable)
        v.type.type = kind
        if kind == 7:
            v.type.lod_tensor.tensor.data_type = 5
            v.type.lod_tensor.tensor.dims.extend(shape)

    def op(kind, inputs, outputs, **attrs):
        o = block.ops.add(type=kind)
        for slots, given in ((o.inputs, inputs), (o.outputs, outputs)):
            for parameter, argument in given.items():
                slots.add(parameter=parameter, arguments=[argument])
        for name, value in attrs.items():
            o.attrs.add(name=name, type=0, i=value)

    for name, kind in (("feed", 9), ("fetch", 10)):
        var(name, [], kind, True)
    for name, shape, kept in (("x", [-1, 13], False), ("w", [13, 1], True), ("b", [1], True), ("xw", [-1, 1], False), ("y", [-1, 1], False)):
        var(name, shape, 7, kept)
    op("feed", {"X": "feed"}, {"Out": "x"}, col=0)
    op("mul", {"X": "x", "Y": "w"}, {"Out": "xw"}, x_num_col_dims=1, y_num_col_dims=1)
    op("elementwise_add", {"X": "xw", "Y": "b"}, {"Out": "y"}, axis=1)
    op("fetch", {"X": "y"}, {"Out": "fetch"}, col=0)
    os.makedirs(folder, exist_ok=True)
    files = {"__model__": program.SerializeToString(), "w": _tensor_file(WEIGHT.reshape(13, 1)), "b": _tensor_file(BIAS.reshape(1)),
             "serving_server_conf.prototxt": (
                 'feed_var { name: "x" alias_name: "x" is_lod_tensor: false feed_type: 1 shape: 13 }\n'
                 'fetch_var { name: "y" alias_name: "price" is_lod_tensor: false fetch_type: 1 shape: 1 }\n').encode()}
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


@contextlib.contextmanager
def running(command, ports, cwd):
    """A script of this interpreter, from when it listens on the ports until it has ended."""
    process = subprocess.Popen([sys.executable, *command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 30
    while any(port_is_available(p) for p in ports):
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            raise RuntimeError(f"it does not start (status {process.poll()})")
        time.sleep(0.02)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def check_inference(folder):
    """The engine in this process."""
    from oar import load
    x = np.arange(13, dtype="float32")[None]
    assert np.allclose(load(folder).run({"x": x})["price"], x @ WEIGHT[:, None] + BIAS, rtol=1e-5)


def check_cpp(folder):
    """The server in C over RPC and HTTP."""
    from paddle_serving_client import Client, HttpClient
    port, x = free_port(), np.arange(13, dtype="float32")[None]
    want = float((x @ WEIGHT[:, None] + BIAS)[0, 0])
    command = ["-m", "paddle_serving_server.serve", "--model", folder, "--port", str(port)]
    with running(command, [port], os.path.dirname(folder)):
        client = Client()
        client.load_client_config(folder)
        client.connect([f"127.0.0.1:{port}"])
        got = client.predict(feed={"x": x}, fetch=["price"], batch=True)
        assert got is not None and abs(got["price"][0, 0] - want) < 1e-3, client.last_error
        web = HttpClient()
        web.load_client_config(folder)
        web.connect([f"127.0.0.1:{port}"])
        got = web.predict(feed={"x": x}, fetch=["price"], batch=True)
        assert got is not None and abs(got.outputs[0].tensor[0].float_data[0] - want) < 1e-3, web.last_error


def check_pipeline(folder):
    """A pipeline over its rpc_port and its http_port."""
    import json
    import urllib.request

    from ..pipeline import PipelineClient
    rpc = free_port()
    http, x = free_port(rpc + 1), np.arange(13, dtype="float32")
    want, text = float(x @ WEIGHT + BIAS), ",".join(map(str, x))
    with running(["-c", PIPELINE, str(rpc), str(http), folder], [rpc, http], os.path.dirname(folder)):
        client = PipelineClient()
        client.connect([f"127.0.0.1:{rpc}"])
        reply = client.predict({"x": text}, fetch=["price"])
        assert reply.err_no == 0 and abs(float(reply.value[0].strip("[]")) - want) < 1e-3, reply.err_msg
        body = json.dumps({"key": ["x"], "value": [text]}).encode()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        reply = json.load(opener.open(f"http://127.0.0.1:{http}/check/prediction", body))
        assert reply["err_no"] == 0 and abs(float(reply["value"][0].strip("[]")) - want) < 1e-3, reply["err_msg"]


CHECKS = {"inference": check_inference, "cpp": check_cpp, "pipeline": check_pipeline}


def run_checks(names):
    """Prints a line for each; whether all passed."""
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model")
        make_model(model)
        for name in names:
            try:
                CHECKS[name](model)
                print(f"{name}: passed", flush=True)
            except Exception as e:
                fine = False
                print(f"{name}: failed: {type(e).__name__}: {e}", flush=True)
    return fine


class CheckShell(cmd.Cmd):
    """check_all, check_inference, check_cpp, check_pipeline, debug, exit."""
    intro = "Check whether Oar works here. Commands: check_all, check_inference, check_cpp, check_pipeline, debug, exit"
    prompt = "(Cmd) "
    fine = True

    def do_check_all(self, line):
        self.fine &= run_checks(list(CHECKS))

    def do_check_inference(self, line):
        self.fine &= run_checks(["inference"])

    def do_check_cpp(self, line):
        self.fine &= run_checks(["cpp"])

    def do_check_pipeline(self, line):
        self.fine &= run_checks(["pipeline"])

    def do_debug(self, line):
        subprocess.call([_binary.path(), "version"])
        print(sys.version, np.__version__)

    def do_exit(self, line):
        return True

    do_EOF = do_exit


def main():
    shell = CheckShell()
    shell.cmdloop()
    return 0 if shell.fine else 1


if __name__ == "__main__":
    sys.exit(main())
