"""fit_a_line behind mosec, speaking the Open Inference Protocol's JSON: bench/peers.py starts it with --address, --port and --timeout."""
import json

import numpy as np
from mosec import Runtime, Server, Worker

WEIGHT = np.array([-0.6, 0.3, -0.2, 0.8, -0.7, 1.6, -0.3, -0.9, 0.2, -0.3, -1.5, 0.6, -2.4], np.float32)


class FitALine(Worker):
    def deserialize(self, data):
        tensor = json.loads(data)["inputs"][0]
        return np.array(tensor["data"], np.float32).reshape(tensor["shape"])

    def forward(self, x):
        return x @ WEIGHT + 22.5

    def serialize(self, y):
        return json.dumps({"model_name": "uci", "model_version": "1",
                           "outputs": [{"name": "price", "datatype": "FP32", "shape": [len(y), 1], "data": y.tolist()}]}).encode()


if __name__ == "__main__":
    server = Server()
    server.register_runtime({"/v2/models/uci/infer": [Runtime(FitALine)]})
    server.run()
