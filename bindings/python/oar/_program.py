"""What a Paddle model takes and gives, read from its program without the framework: feeds, fetches, their types and shapes.

The program's protobuf (framework.proto) is read as far as that needs; Paddle 3's JSON form through Oar's own importer.
"""
from __future__ import annotations

import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import _proto

_proto.SCHEMAS["paddle.framework.proto"] = ("proto2", {
    "ProgramDesc": "1 repeated BlockDesc blocks",
    "BlockDesc": "1 int32 idx; 2 int32 parent_idx; 3 repeated VarDesc vars; 4 repeated OpDesc ops",
    "OpVar": "1 string parameter; 2 repeated string arguments",
    "OpAttr": "1 string name; 2 int32 type; 3 int32 i",
    "OpDesc": "1 repeated OpVar inputs; 2 repeated OpVar outputs; 3 string type; 4 repeated OpAttr attrs",
    "TensorDesc": "1 int32 data_type; 2 repeated int64 dims",
    "LoDTensorDesc": "1 TensorDesc tensor; 2 int32 lod_level",
    "VarType": "1 int32 type; 3 LoDTensorDesc lod_tensor",
    "VarDesc": "1 string name; 2 VarType type; 3 bool persistable",
})

# the framework's numbers of types -> Paddle Serving's
DTYPES = {0: 9, 1: 4, 2: 2, 3: 0, 4: 5, 5: 1, 6: 3, 20: 7, 21: 8, 22: 6, 23: 10, 24: 11}
LOD_TENSOR = 7


class Var(NamedTuple):
    """One feed or fetch; shape as the program has it, -1 where it is open."""
    name: str
    dtype: int
    shape: Tuple[int, ...]
    lod_level: int


class Files(NamedTuple):
    """Where a model lies: its program, and its combined parameters (None: one file a variable beside the program)."""
    program: str
    params: Optional[str]


def find(dirname: str, model_filename: Optional[str] = None, params_filename: Optional[str] = None) -> Files:
    """The files of a model in a folder; names are looked for where none are given."""
    if not os.path.isdir(dirname):
        raise FileNotFoundError(f"{dirname!r} is no folder: give the one that holds the inference model")
    names = sorted(os.listdir(dirname))
    if model_filename is None:
        found = [n for n in names if n.endswith(".pdmodel")] or [n for n in names if n in ("__model__", "model")] or \
            [n for n in names if n.endswith(".json") and n[:-5] + ".pdiparams" in names]
        if not found:
            raise FileNotFoundError(f"{dirname!r} holds no model: *.pdmodel, __model__ or *.json with its *.pdiparams was expected")
        if len(found) > 1:
            raise ValueError(f"{dirname!r} holds {len(found)} models ({', '.join(found)}); say which with model_filename")
        model_filename = found[0]
    if model_filename not in names:
        raise FileNotFoundError(f"{dirname!r} holds no {model_filename!r}; there are {', '.join(names)}")
    stem = os.path.splitext(model_filename)[0]
    if params_filename is None:
        likely = [stem + ".pdiparams", "__params__", "params", "params.pdiparams"]
        params_filename = next((n for n in likely if n in names), None)
    elif params_filename not in names:
        raise FileNotFoundError(f"{dirname!r} holds no {params_filename!r}; there are {', '.join(names)}")
    return Files(os.path.join(dirname, model_filename), params_filename and os.path.join(dirname, params_filename))


def _var(block: Any, name: str) -> Var:
    for v in block.vars:
        if v.name == name:
            t = v.type.lod_tensor
            return Var(name, DTYPES.get(t.tensor.data_type, -1), tuple(t.tensor.dims), t.lod_level)
    raise ValueError(f"the program has no variable {name!r}, which it feeds or fetches")


def _column(op: Any) -> int:
    return next((a.i for a in op.attrs if a.name == "col"), 0)


def _argument(slots: Any, parameter: str) -> str:
    return next(s.arguments[0] for s in slots if s.parameter == parameter)


def _from_protobuf(path: str) -> Tuple[List[Var], List[Var]]:
    program = _proto.messages("paddle.framework.proto")["ProgramDesc"]()
    with open(path, "rb") as f:
        data = f.read()
    try:
        program.ParseFromString(data)
        block = program.blocks[0]
    except Exception as e:
        raise ValueError(f"{path}: not a Paddle program: {e}") from None
    feeds = sorted((op for op in block.ops if op.type == "feed"), key=_column)
    fetches = sorted((op for op in block.ops if op.type == "fetch"), key=_column)
    if not fetches:
        raise ValueError(f"{path}: the program fetches nothing: was it saved for inference?")
    return ([_var(block, _argument(op.outputs, "Out")) for op in feeds],
            [_var(block, _argument(op.inputs, "X")) for op in fetches])


def _from_importer(path: str) -> Tuple[List[Var], List[Var]]:
    from ._model import DTYPES as NAMES, load
    model = load(path)
    code: Dict[str, int] = {n: i for i, n in enumerate(NAMES)}
    return tuple([Var(p.real_name, code.get(p.dtype, -1), p.shape, int(p.ragged)) for p in ports]  # type: ignore[return-value]
                 for ports in (model.inputs, model.outputs))


def ports(path: str) -> Tuple[List[Var], List[Var]]:
    """(feeds, fetches) of a program file, in the order of its columns."""
    return _from_importer(path) if path.endswith(".json") else _from_protobuf(path)
