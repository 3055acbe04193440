"""Requests that are there at the same time are computed as one, and nobody gets another's answer."""
import concurrent.futures

import numpy as np
import requests

from conftest import ZOO

WORDS = ZOO / "imdb_bow" / "pdmodel26"
HOUSES = ZOO / "fit_a_line" / "pdmodel26"


def ask(server, name, body):
    return requests.post(f"http://{server.address}/{name}/prediction", json=body, timeout=20)


def house(i):
    return {"feed": [{"x": [i / 100, *[0.1] * 12]}], "fetch": []}


def price(server, i):
    return ask(server, "houses", house(i)).json()["result"]["price"]


def test_many_callers_get_their_own_answers(serve):
    with serve("--model", f"houses={HOUSES}") as server:
        alone = [price(server, i) for i in range(80)]
    with serve("--model", f"houses={HOUSES}", "--runtime-thread-num", "2", "--batch-infer-size", "16",
               "--batch-delay-us", "500") as server:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda i: price(server, i), range(80)))
    assert np.allclose(np.array(together).ravel(), np.array(alone).ravel(), atol=1e-4)
    assert len({round(float(np.ravel(p)[0]), 4) for p in together}) == 80


def test_a_fault_is_its_own_request_s(serve):
    def text(i):
        words = [10 ** 12] if i % 5 == 0 else [i, i + 1, i + 2]
        return {"feed": [{"words": words, "words.lod": [0, len(words)]}], "fetch": []}

    with serve("--model", f"words={WORDS}", "--runtime-thread-num", "1", "--batch-delay-us", "2000") as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda i: ask(server, "words", text(i)), range(60)))
    assert [a.status_code for a in answers] == [400 if i % 5 == 0 else 200 for i in range(60)]


def test_a_full_queue_is_said(serve):
    with serve("--model", f"houses={HOUSES}", "--runtime-thread-num", "1", "--batch-queue-size", "1",
               "--batch-delay-us", "300000") as server:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda i: ask(server, "houses", house(i)), range(4)))
    assert sorted({a.status_code for a in answers}) == [200, 503]
    assert any("queue size" in a.text for a in answers)
