"""What a Paddle model takes and gives, read from its program without the framework: feeds, fetches, their types and shapes.

The program's protobuf (framework.proto) is read as far as that needs, and so is Paddle 3's JSON.
"""
from __future__ import annotations

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import _proto

_proto.SCHEMAS["paddle.framework.proto"] = ("proto2", {
    "ProgramDesc": "1 repeated BlockDesc blocks",
    "BlockDesc": "1 int32 idx; 2 int32 parent_idx; 3 repeated VarDesc vars; 4 repeated OpDesc ops",
    "OpVar": "1 string parameter; 2 repeated string arguments",
    "OpAttr": "1 string name; 2 int32 type; 3 int32 i; 4 float f; 5 string s; 6 repeated int32 ints; 10 bool b",
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
    return str(next(s.arguments[0] for s in slots if s.parameter == parameter))


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


PIR_DTYPES = {"t_i64": 0, "t_f32": 1, "t_i32": 2, "t_f64": 3, "t_i16": 4, "t_f16": 5, "t_bf16": 6, "t_ui8": 7, "t_i8": 8, "t_bool": 9,
              "t_c64": 10, "t_c128": 11}


def _pir_var(op: Dict[str, Any]) -> Tuple[int, Var]:
    """(column, variable) of a data or fetch operation: its name is an attribute, its type that of its result."""
    attrs = {a["N"]: a["AT"].get("D") for a in op["A"]}
    tensor = op["O"][0]["TT"]["D"]
    return int(attrs.get("col") or 0), Var(attrs["name"], PIR_DTYPES.get(tensor[0]["#"].split(".")[-1], -1), tuple(tensor[1]), 0)


def _from_pir(path: str) -> Tuple[List[Var], List[Var]]:
    """Paddle 3's JSON: feeds are its data operations in their order, fetches its fetch operations by column."""
    with open(path, encoding="utf-8") as f:
        text = f.read()
    try:
        ops = json.loads(text)["program"]["regions"][0]["blocks"][0]["ops"]
        found: Dict[str, List[Tuple[int, Var]]] = {"data": [], "fetch": []}
        for op in ops:
            kind = op["#"].split(".")[-1]
            if kind in found:
                found[kind].append(_pir_var(op))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as e:
        raise ValueError(f"{path}: not a program of Paddle 3: {type(e).__name__}: {e}") from None
    if not found["fetch"]:
        raise ValueError(f"{path}: the program fetches nothing: was it saved for inference?")
    return [v for _, v in found["data"]], [v for _, v in sorted(found["fetch"], key=lambda f: f[0])]


def ports(path: str) -> Tuple[List[Var], List[Var]]:
    """(feeds, fetches) of a program file, in the order of its columns."""
    return _from_pir(path) if path.endswith(".json") else _from_protobuf(path)
