"""The module oar against running servers: serve, Client in every protocol, several servers, asyncio, errors, types."""
import asyncio
import shutil
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from python_site import SITE
from conftest import ROOT, ZOO, Server, assert_close, cases
import oar
from oar import errors
from test_access import make_certificates

UCI = ROOT / "tests" / "data" / "uci_housing"
X = np.array([[0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]], "float32")
PRICE = 18.9011518


@pytest.fixture(scope="module")
def server():
    with oar.serve(UCI, threads=2) as s:
        yield s


def right(result):
    return result["price"].shape == (1, 1) and abs(result["price"][0, 0] - PRICE) < 1e-5


def test_serve(server):
    assert server.ready() and server.url == f"http://{server.address}" and "model uci_housing" in server.log()
    assert "running" in repr(server) and server.pid > 0
    with oar.serve({"a": UCI, "b": UCI}, quiet=True) as two:
        assert sorted(oar.Client(two.address).models()) == ["a", "b"]
    assert two.stop() == 0 and "ended with 0" in repr(two)
    with pytest.raises(errors.OarError, match="no such file or directory"):
        oar.serve("nothing/here")
    with pytest.raises(errors.OarError, match="did you mean"):
        oar.serve(UCI, max_body_sise=1)


@pytest.mark.parametrize("protocol", ["auto", "brpc", "http", "http-json", "grpc"])
def test_every_protocol(server, protocol):
    with oar.Client(server.address, protocol=protocol) as client:
        assert right(client.infer({"x": X})) and right(client.infer({"x": X}, ["price"])) and right(client.infer({"x": X}, "price"))
        with pytest.raises(errors.InvalidArgument, match="expected float32 \\[-1, 13\\], got float32 \\[1, 3\\]") as e:
            client.infer({"x": X[:, :3]})
        assert e.value.code in (1003, 400, 3) and not e.value.retryable
        with pytest.raises(ValueError, match="did you mean 'x'"):
            client.infer({"y": X})
    with pytest.raises(errors.InvalidArgument, match="the client is closed"):
        client.infer({"x": X})


def test_a_named_model_over_the_open_inference_protocol():
    with oar.serve({"uci": UCI, "lenet": ZOO / "lenet_digits" / "pdmodel26"}) as s:
        grpc = oar.Client(s.address, protocol="kserve-grpc", model="uci")
        assert right(grpc.infer({"x": X})) and right(grpc.infer({"x": X}, ["price"]))
        with pytest.raises(errors.NotFound):
            oar.Client(s.address, protocol="kserve-grpc", model="nobody").infer({"x": X})
        with pytest.raises(errors.InvalidArgument, match="names its model"):
            oar.Client(s.address, protocol="kserve-grpc")
        client = oar.Client(s.address, model="uci")
        assert client.protocol == "kserve" and right(client.infer({"x": X})) and right(client.infer({"x": X}, ["price"]))
        info = client.metadata()
        assert info.name == "uci" and info.inputs == (oar.TensorInfo("x", "float32", (-1, 13)),) and info.platform == "paddle"
        assert client.metadata("lenet").inputs[0].shape == (-1, 1, 28, 28)
        with pytest.raises(errors.NotFound):
            oar.Client(s.address, model="nobody").infer({"x": X})
        with pytest.raises(errors.InvalidArgument):
            client.infer({"x": X[:, :2]})
        folder = ZOO / "lenet_digits" / "pdmodel26"
        given, want = (np.load(f) for f in cases(folder)[0])
        lenet = oar.Client(s.address, model="lenet")
        got = lenet.infer({lenet.metadata().inputs[0].name: given["in0"]})
        assert_close(next(iter(got.values())), want["out0"])


@pytest.mark.parametrize("protocol", ["brpc", "http", "grpc", "kserve", "kserve-grpc", "tfs"])
def test_unix_sockets(tmp_path, protocol):
    path = tmp_path / "oar.sock"
    model = "uci" if protocol in ("kserve", "kserve-grpc", "tfs") else None
    with oar.serve({"uci": UCI}, listen=[f"unix:{path}"]):
        with oar.Client(f"unix:{path}", protocol=protocol, model=model) as client:
            (price,) = client.infer({"x": X}).values()  # TensorFlow Serving's REST does not name a single output
            assert right({"price": price})
            assert client.ready() and client.metadata("uci").inputs[0].name == "x"
    with pytest.raises(errors.Unavailable, match=f"unix:{path}: cannot connect: No such file"):
        oar.Client(f"unix:{path}").infer({"x": X})
    with pytest.raises(errors.InvalidArgument, match="expected unix:PATH"):
        oar.Client("unix:")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl's command is not here")
def test_tls_and_keys(tmp_path):
    pki = make_certificates(tmp_path)
    (tmp_path / "keys").write_text("all secret\n")
    with oar.serve({"uci": UCI}, tls_cert=pki / "server.pem", tls_key=pki / "server.key", api_keys=tmp_path / "keys") as s:
        for protocol, model in (("brpc", None), ("grpc", None), ("http", None), ("kserve", "uci"), ("kserve-grpc", "uci")):
            with oar.Client(s.address, protocol=protocol, model=model, ca=pki / "ca.pem", api_key="secret") as client:
                assert right(client.infer({"x": X})) and client.models() == ["uci"]
        with oar.Client(s.address, insecure=True, api_key="secret") as client:
            assert right(client.infer({"x": X}))
        with pytest.raises(errors.OarError, match="certificate"):  # of nobody the system knows
            oar.Client(s.address, tls=True, api_key="secret").infer({"x": X})
        with pytest.raises(errors.OarError):
            oar.Client(s.address, ca=pki / "ca.pem", api_key="guessed").infer({"x": X})
    with pytest.raises(errors.InvalidArgument, match="wants its certificate too"):
        oar.Client(s.address, key=pki / "client.key")
    with pytest.raises(errors.OarError, match="nowhere.pem"):
        oar.Client(s.address, ca="/nowhere.pem")


def test_ragged_feeds():
    folder = ZOO / "imdb_lstm" / "pdmodel26"
    with Server("--model", folder) as s:
        given, want = (np.load(f) for f in cases(folder)[0])
        got = oar.Client(s.address).infer({"words.lod": given["in0_lod0"], "words": given["in0"]})
        assert_close(next(iter(got.values())), want["out0"])
        with pytest.raises(ValueError, match="'wrds.lod' has offsets for a feed that is not given"):
            oar.Client(s.address).infer({"wrds.lod": [0, 1], "words": given["in0"]})


@pytest.mark.parametrize("arguments, words", [
    (dict(protocol="soap"), "no protocol 'soap'; there are: auto, brpc, http"), (dict(balance="best"), "no load balancing 'best'"),
    (dict(timeout=0), "timeout is more than 0 seconds, not 0"), (dict(timeout="1"), "timeout is more than 0 seconds, not '1'"),
    (dict(hedge_after=-1), "hedge_after is more than 0 seconds"), (dict(retries=-1), "retries is a whole number of 0 or more"), (dict(protocol="brpc", model="m"), "use protocol='kserve'"),
])
def test_clients_that_are_misused(arguments, words):
    with pytest.raises(errors.InvalidArgument, match=words):
        oar.Client("127.0.0.1:1", **arguments)
    with pytest.raises(errors.InvalidArgument, match="port"):
        oar.Client("localhost")
    with pytest.raises(errors.InvalidArgument, match="at least one"):
        oar.Client([])
    with pytest.raises(errors.InvalidArgument, match="or a list of them, not int"):
        oar.Client(9292)
    with pytest.raises(errors.InvalidArgument, match="dict of arrays by input name, not list"):
        oar.Client("127.0.0.1:1").infer([X])
    with pytest.raises(errors.InvalidArgument, match="timeout is more than 0 seconds, not -1"):
        oar.Client("127.0.0.1:1").infer({"x": X}, timeout=-1)
    with pytest.raises(errors.InvalidArgument, match="host '300.1.1.1' is no address"):
        oar.serve(UCI, host="300.1.1.1")


def test_errors_are_pythons_own_too():
    with pytest.raises(ConnectionError) as e:
        oar.Client("127.0.0.1:1").infer({"x": X})
    assert isinstance(e.value, errors.Unavailable) and e.value.retryable
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = oar.Client(f"127.0.0.1:{mute.getsockname()[1]}", timeout=0.2)
        with pytest.raises(TimeoutError):
            client.infer({"x": X})
        with pytest.raises(TimeoutError):
            oar.Client(f"127.0.0.1:{mute.getsockname()[1]}", timeout=0.2, model="m").infer({"x": X})
        assert not client.ready()


@pytest.mark.parametrize("balance", ["locality_aware", "least_loaded", "round_robin", "random", "consistent_hash"])
def test_a_dead_server_among_others(server, balance):
    client = oar.Client(["127.0.0.1:1", server.address], balance=balance)
    assert all(right(client.infer({"x": X}, key=i)) for i in range(100))


def test_a_key_stays_with_its_server(server):
    with oar.serve(UCI, quiet=True) as other:
        client = oar.Client([server.address, other.address], balance="consistent_hash")
        where = {key: {client._group.choose(key).address for _ in range(5)} for key in range(200)}
        assert all(len(v) == 1 for v in where.values())
        share = sum(v == {server.address} for v in where.values())
        assert 40 < share < 160
        gone = client._group.servers[1]
        gone.failed()
        moved = {key: client._group.choose(key).address for key in where}
        assert all(moved[k] == server.address for k in where)


def test_retries_have_a_budget():
    client = oar.Client("127.0.0.1:1", retries=2)
    saved = client._budget.saved
    for _ in range(30):
        with pytest.raises(errors.Unavailable):
            client.infer({"x": X})
    assert saved == 20 and client._budget.saved < 1


def test_hedging(server):
    """A server that never answers costs hedge_after, not the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        client = oar.Client([f"127.0.0.1:{mute.getsockname()[1]}", server.address], balance="round_robin", hedge_after=0.05, timeout=5)
        begin = time.monotonic()
        assert all(right(client.infer({"x": X})) for _ in range(6)) and time.monotonic() - begin < 2


def test_health_checks_take_a_server_out_and_back(server):
    s = Server("--model", UCI).wait_ready()
    client = oar.Client([server.address, s.address], health_interval=0.05)
    s.stop()
    watched = client._group.servers[1]
    until = time.monotonic() + 5
    while watched.down_until <= time.monotonic() and time.monotonic() < until:
        time.sleep(0.01)
    assert watched.down_until > time.monotonic() and all(right(client.infer({"x": X})) for _ in range(20))
    with Server("--model", UCI, port=s.port):
        until = time.monotonic() + 5
        while watched.down_until > time.monotonic() and time.monotonic() < until:
            time.sleep(0.01)
        assert watched.failures == 0
    client.close()


def test_asyncio(server):
    async def work():
        async with oar.AsyncClient(server.address) as client:
            results = await asyncio.gather(*[client.infer({"x": X}) for _ in range(40)])
            assert all(right(r) for r in results)
            with pytest.raises(errors.InvalidArgument):
                await client.infer({"x": X[:, :2]})
        assert right(await oar.Client(server.address).infer_async({"x": X}))
    asyncio.run(work())


def test_large_feeds_are_sent_from_where_they_lie(server):
    """Many rows: more than a gap's worth of bytes, over every protocol that leaves gaps, with retries on a closed connection."""
    rows = np.repeat(X, 3000, 0)
    for protocol in ("brpc", "http", "http-json"):
        client = oar.Client(server.address, protocol=protocol)
        for _ in range(3):
            got = client.infer({"x": rows})["price"]
            assert got.shape == (3000, 1) and np.abs(got - PRICE).max() < 1e-5


def test_many_threads_one_client(server):
    client, faults = oar.Client(server.address), []

    def work(n):
        rows = np.repeat(X, n, 0)
        for _ in range(100):
            if client.infer({"x": rows})["price"].shape != (n, 1):
                faults.append(n)

    threads = [threading.Thread(target=work, args=(i + 1,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults


def test_types():
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", "-p", "oar"], cwd=SITE,
                          capture_output=True, text=True, env={"MYPYPATH": str(SITE), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stdout


def test_help_teaches():
    for thing in (oar, oar.load, oar.serve, oar.Client, oar.Client.infer, oar.Model, oar.Model.run, oar.AsyncClient, oar.Server, errors.Busy):
        assert thing.__doc__ and len(thing.__doc__) > 30
