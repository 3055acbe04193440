"""Oar: serve machine-learning models, call them, and run them in process.

Three things are enough to begin::

    import numpy as np
    import oar

    model = oar.load("uci_housing_model")                  # in this process
    model.run({"x": np.zeros((1, 13), "float32")})         # {"price": array([[...]], dtype=float32)}

    with oar.serve("uci_housing_model") as server:         # a server for the time of a block
        with oar.Client(server.address) as client:         # a client of any server that speaks baidu_std or HTTP
            client.infer({"x": np.zeros((1, 13), "float32")})

Scripts of Paddle Serving need none of this: ``paddle_serving_client``, ``paddle_serving_server`` and
``paddle_serving_app`` are here under their own names.
"""
from . import _oar, errors as errors
from ._oar import version as __version__

_oar.set_error_maker(errors.make)

from ._client import AsyncClient, Client, ModelInfo, TensorInfo  # noqa: E402
from ._model import Model, Port, load  # noqa: E402
from ._serve import Server, serve  # noqa: E402

__all__ = ["AsyncClient", "Client", "Model", "ModelInfo", "Port", "Server", "TensorInfo", "errors", "load", "serve", "__version__"]
