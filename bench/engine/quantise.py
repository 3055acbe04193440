#!/usr/bin/env python3
"""An int8 model (QDQ) of a float one, as onnxruntime's own users make it: quantize_static with a scale for each channel.

  quantise.py MODEL.onnx IN.npz OUT.onnx

Activations become uint8, weights int8. It is calibrated on the arrays in0, in1, ... of IN.npz: for speed any will do.
"""
import sys
import tempfile

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Arrays(CalibrationDataReader):
    def __init__(self, model, path):
        names = [i.name for i in onnx.load(model, load_external_data=False).graph.input]
        with np.load(path) as z:
            self.feeds = iter([{n: z[f"in{i}"] for i, n in enumerate(names)}])

    def get_next(self):
        return next(self.feeds, None)


def main():
    model, arrays, out = sys.argv[1:]
    with tempfile.NamedTemporaryFile(suffix=".onnx") as f:
        quant_pre_process(model, f.name, skip_symbolic_shape=True)
        quantize_static(f.name, out, Arrays(model, arrays), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


if __name__ == "__main__":
    main()
