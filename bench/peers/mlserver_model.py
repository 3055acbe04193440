"""fit_a_line as a model of MLServer's, which speaks the Open Inference Protocol itself: bench/peers.py writes its settings."""
import numpy as np
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

WEIGHT = np.array([-0.6, 0.3, -0.2, 0.8, -0.7, 1.6, -0.3, -0.9, 0.2, -0.3, -1.5, 0.6, -2.4], np.float32)


class FitALine(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        tensor = payload.inputs[0]
        y = np.array(tensor.data.root if hasattr(tensor.data, "root") else tensor.data, np.float32).reshape(tensor.shape) @ WEIGHT + 22.5
        return InferenceResponse(model_name=self.name, outputs=[ResponseOutput(name="price", datatype="FP32", shape=[len(y), 1], data=y.tolist())])
