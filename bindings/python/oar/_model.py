"""Models in this process."""
from __future__ import annotations

import os
from typing import Any, Dict, NamedTuple, Sequence, Tuple, Union

import numpy as np

from . import _oar

DTYPES = ("int64", "float32", "int32", "float64", "int16", "float16", "bfloat16", "uint8", "int8", "bool", "complex64",
          "complex128", "uint16", "uint32", "uint64")


class Port(NamedTuple):
    """One input or output of a model.

    ``name`` is what clients call it (the alias), ``real_name`` what the model's file does. ``shape`` has the batch
    dimension, and -1 where a request decides. ``ragged``: it takes or gives offsets under ``name + ".lod"``.
    """
    name: str
    real_name: str
    dtype: str
    shape: Tuple[int, ...]
    ragged: bool


def _port(row: Tuple[str, str, int, bool, Tuple[int, ...]]) -> Port:
    name, alias, code, ragged, shape = row
    return Port(alias, name, DTYPES[code] if code < len(DTYPES) else "bytes", tuple(shape), ragged)


class Model(_oar.Model):
    """A model of the engine in this process; :func:`load` makes one.

    >>> model = oar.load("uci_housing_model")
    >>> model.run({"x": np.zeros((2, 13), "float32")})["price"].shape
    (2, 1)

    It may be used by any number of threads at once: each run takes a working memory of its own, and the GIL is free
    while it computes. Inputs that are dense arrays of the right dtype (NumPy arrays, and whatever offers NumPy's array
    interface) are read where they lie; others are converted by ``numpy.asarray``, which takes buffers, DLPack
    producers on the CPU, lists and scalars. A conversion that loses values (1.5 for an int64) is refused.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"], *, precision: str = "fp32", threads: int = 1) -> None:
        super().__init__(path, precision, threads)
        inputs, outputs = self._ports()
        self._inputs = tuple(_port(r) for r in inputs)
        self._outputs = tuple(_port(r) for r in outputs)
        self._path = os.fspath(path)

    @property
    def inputs(self) -> Tuple[Port, ...]:
        """What it takes, in the model's order."""
        return self._inputs

    @property
    def outputs(self) -> Tuple[Port, ...]:
        """What it gives."""
        return self._outputs

    def __call__(self, *args: Any, **feed: Any) -> Dict[str, "np.ndarray[Any, Any]"]:
        """``model(x=array)`` is ``model.run({"x": array})``."""
        if args:
            return self.run(*args)
        return self.run(feed)

    def __repr__(self) -> str:
        def show(ports: Sequence[Port]) -> str:
            return ", ".join(f"{p.name}: {p.dtype}{list(p.shape)}{' ragged' if p.ragged else ''}" for p in ports)
        return f"<oar.Model {self._path}: {show(self._inputs)} -> {show(self._outputs)}>"


def load(path: Union[str, "os.PathLike[str]"], *, precision: str = "fp32", threads: int = 1) -> Model:
    """Loads a model directory or file: whatever ``oar serve`` and ``oar run`` load.

    ``precision``: "fp32", "bf16", "fp16" or "int8" (a quantised model). ``threads``: of one run; any number of runs may go on at once.

    Weights are mapped, not read, so this takes milliseconds. Raises :class:`oar.errors.NotFound`,
    :class:`oar.errors.Unsupported` or :class:`oar.errors.DamagedFile` with the file that is at fault.
    """
    return Model(path, precision=precision, threads=threads)
