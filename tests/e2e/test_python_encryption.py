"""Encrypted models: what Paddle's own cipher made, saving, serving with a client's key, and keys that are wrong."""
import base64
import json

import numpy as np
import pytest
import requests

from python_site import SITE  # noqa: F401
from conftest import ZOO, assert_close, cases, free_port
from oar import _crypt
from paddle_serving_client import Client, HttpClient, io
from test_python_server import running

FIT = ZOO / "fit_a_line" / "pdmodel26"


def test_paddles_own_cipher():
    """Recorded from the framework's CipherFactory (2.6.2)."""
    key = bytes.fromhex("6d8f3016b75d9dfc19545adca1ca3d6e")
    data = bytes.fromhex("4ba1a4dc7e5bc86c98f4bd469c7e647f60a275be4b7e743705b9cb30784258ffec65")
    assert _crypt.decrypt(data, key) == b"hello world, hello"
    assert _crypt.decrypt(_crypt.encrypt(b"", key), key) == b""
    with pytest.raises(ValueError, match="no encrypted file"):
        _crypt.decrypt(b"short", key)
    with pytest.raises(ValueError, match="a key of 16, 24 or 32 bytes"):
        _crypt.decrypt(data, b"short")


@pytest.fixture(params=[FIT, ZOO / "lenet_digits" / "pir33"], ids=["program", "json"])
def encrypted(request, tmp_path, monkeypatch):
    """(where it lies, the plain model): in both of the framework's forms of a program."""
    monkeypatch.chdir(tmp_path)
    io.inference_model_to_serving(str(request.param), "encrypt_server", "encrypt_client", encryption=True, feed_alias_names="x",
                                  fetch_alias_names="price")
    assert sorted(p.name for p in (tmp_path / "encrypt_server").iterdir()) == [
        "encrypt_model", "encrypt_params", "serving_server_conf.prototxt", "serving_server_conf.stream.prototxt"]
    assert len((tmp_path / "key").read_bytes()) == 16
    return tmp_path, request.param


def test_the_encryption_example(encrypted):
    """encrypt, serve --use_encryption_model, use_key and connect(encryption=True), over RPC and HTTP."""
    port, rpc = free_port(), free_port()
    folder, plain = encrypted
    given, want = (np.load(p) for p in cases(plain)[0])
    command = ["-m", "paddle_serving_server.serve", "--model", "encrypt_server/", "--port", port, "--use_encryption_model",
               "--encryption_rpc_port", rpc]
    with running(command, [port], folder):
        def post(body):
            return requests.post(f"http://127.0.0.1:{port}", data=body, timeout=20).json()

        assert post("{") == post("{}") == post(json.dumps({"key": 3})) == {"message": "start serving failed"}
        assert post(json.dumps({"key": base64.b64encode(b"x" * 16).decode()})) == {"message": "start serving failed"}
        client = Client()
        client.load_client_config("encrypt_client")
        client.use_key("./key")
        client.connect([f"127.0.0.1:{port}"], encryption=True)
        assert_close(client.predict(feed={"x": given["in0"]}, fetch=["price"], batch=True)["price"], want["out0"])
        web = HttpClient()
        web.load_client_config("encrypt_client")
        web.use_key("./key")
        web.connect([f"127.0.0.1:{port}"], encryption=True)
        got = web.predict(feed={"x": given["in0"]}, fetch=["price"], batch=True)
        assert np.allclose(got.outputs[0].tensor[0].float_data, want["out0"].ravel(), rtol=1e-4, atol=1e-6)
        (folder / "other").write_bytes(b"y" * 16)
        client.use_key("other")
        with pytest.raises(ValueError, match="server not ready"):
            client.connect([f"127.0.0.1:{port}"], encryption=True)


def test_what_cannot_be_encrypted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "__model__").write_bytes((FIT / next(p.name for p in FIT.glob("*.pdmodel"))).read_bytes())
    with pytest.raises(ValueError, match="its parameters in one file"):
        io.inference_model_to_serving(".", "s", "c", encryption=True)
