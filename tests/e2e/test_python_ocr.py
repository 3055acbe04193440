"""A pipeline of OCR's shape with process ops: detect the digits of an image, crop them, recognise each; under load, while its worker
processes are killed. Every request is answered, rightly or with words."""
import base64
import io
import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import requests

from python_site import SITE  # noqa: F401
from conftest import ZOO, free_port
from test_python_server import running

DIGITS = ZOO / "lenet_digits" / "pdmodel26"

PIPELINE = '''
import base64, io, json, os, sys
import numpy as np
from paddle_serving_server.pipeline import Op, PipelineServer, RequestOp, ResponseOp

class Detect(Op):
    """Columns with ink between columns without."""
    def preprocess(self, input_dicts, data_id, log_id):
        (_, given), = input_dicts.items()
        image = np.load(io.BytesIO(base64.b64decode(given["image"])))
        ink = np.flatnonzero(np.diff(np.concatenate([[0], image.max(axis=0) > 0, [0]]).astype(int)))
        return {"image": image, "boxes": ink.reshape(-1, 2)}, True, None, ""
    def postprocess(self, input_dicts, fetch_dict, data_id, log_id):
        return {**fetch_dict, "pids": [os.getpid()]}, None, ""

class Crop(Op):
    def preprocess(self, input_dicts, data_id, log_id):
        (_, found), = input_dicts.items()
        crops = []
        for begin, end in found["boxes"]:
            square = np.zeros((28, 28), "float32")
            middle = (begin + end) // 2
            left = max(0, middle - 14)
            part = found["image"][:, left:middle + 14]
            square[:, :part.shape[1]] = part
            crops.append(square / 255)
        return {"crops": crops, "pids": found["pids"] + [os.getpid()]}, True, None, ""

class Recognise(Op):
    """Each crop is a mini batch of its own, as the original's example has it."""
    def preprocess(self, input_dicts, data_id, log_id):
        (_, cut), = input_dicts.items()
        return [{NAME: crop[None, None]} for crop in cut["crops"]], False, None, ""
    def postprocess(self, input_dicts, fetch_data, data_id, log_id):
        text = "".join(str(int(np.argmax(next(iter(f.values()))))) for f in fetch_data)
        return {"text": text, "pids": json.dumps(input_dicts["pids"] + [os.getpid()])}, None, ""

NAME = sys.argv[2]
read = RequestOp()
crop = Crop(name="crop", input_ops=[Detect(name="det", input_ops=[read])])
server = PipelineServer("ocr")
server.set_response_op(ResponseOp(input_ops=[Recognise(name="rec", input_ops=[crop])]))
server.prepare_server(yml_dict=json.loads(sys.argv[1]))
server.run_server()
'''


def picture(digits):
    """Digits beside one another, 40 columns each, and their image as base64."""
    cv2 = pytest.importorskip("cv2")
    image = np.zeros((28, 40 * len(digits)), np.uint8)
    for i, d in enumerate(digits):
        cv2.putText(image, d, (40 * i + 11, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    out = io.BytesIO()
    np.save(out, image)
    return image, base64.b64encode(out.getvalue()).decode()


def truth(image, count):
    """What the model says of each digit, run here."""
    import oar
    model, text = oar.load(DIGITS), ""
    for i in range(count):
        ink = np.flatnonzero(image[:, 40 * i:40 * i + 40].max(axis=0)) + 40 * i
        middle = (ink[0] + ink[-1] + 1) // 2
        square = np.zeros((28, 28), "float32")
        part = image[:, max(0, middle - 14):middle + 14]
        square[:, :part.shape[1]] = part
        text += str(int(next(iter(model.run(square[None, None] / np.float32(255)).values())).argmax()))
    return text


@pytest.mark.parametrize("kind", ["local_predictor", "brpc"])
def test_ocr_under_load_while_workers_are_killed(tmp_path, kind):
    import oar
    rpc, http = free_port(), free_port()
    service = {"model_config": str(DIGITS), "client_type": kind, "workdir": str(tmp_path / "w")}
    conf = {"rpc_port": rpc, "http_port": http, "dag": {"is_thread_op": False},
            "op": {"det": {"concurrency": 2}, "crop": {"concurrency": 2},
                   "rec": {"concurrency": 2, "batch_size": 4, "auto_batching_timeout": 5, "local_service_conf": service}}}
    pictures = [picture(digits) for digits in ("7", "305", "12345", "90210464")]
    wanted = [truth(image, image.shape[1] // 40) for image, _ in pictures]
    answers, stop, lock = [], threading.Event(), threading.Lock()

    def ask(i):
        body = {"key": ["image"], "value": [pictures[i][1]]}
        return requests.post(f"http://127.0.0.1:{http}/ocr/prediction", json=body, timeout=30).json()

    def load(i):
        while not stop.is_set():
            got = ask(i)
            with lock:
                answers.append((i, got))
            i = (i + 1) % len(pictures)

    with running(["-c", PIPELINE, json.dumps(conf), oar.load(DIGITS).inputs[0].name], [http], tmp_path) as p:
        assert [ask(i)["value"][0] for i in range(len(pictures))] == wanted
        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        killed, until = 0, time.monotonic() + 3
        while time.monotonic() < until:  # a worker of each operator in turn, while it has work
            time.sleep(0.1)
            good = [a for _, a in answers[-50:] if a["err_no"] == 0]
            for a in good[-1:]:
                try:
                    os.kill(json.loads(a["value"][1])[killed % 3], signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass
        stop.set()
        for t in threads:
            t.join()
        metrics = requests.get(f"http://127.0.0.1:{http}/metrics", timeout=5).text
        until = time.monotonic() + 1  # and all are back
        while "oar_crew_workers 6\n" not in metrics and time.monotonic() < until:
            metrics = requests.get(f"http://127.0.0.1:{http}/metrics", timeout=5).text
        assert "oar_crew_workers 6\n" in metrics, p.said()
        restarts = int(metrics.split("\noar_crew_restarts_total ")[1].split()[0])
    good = [(i, a) for i, a in answers if a["err_no"] == 0]
    bad = [a for _, a in answers if a["err_no"] != 0]
    assert killed >= 5 and 5 <= restarts <= killed, (killed, restarts)
    assert len(good) > 20 and all(a["value"][0] == wanted[i] for i, a in good)
    assert all("ended; send it again" in a["err_msg"] for a in bad), bad[:3]
    assert len(bad) <= killed * 4  # a batch of the recogniser is of four
