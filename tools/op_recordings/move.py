"""Operators that move elements, choose them by number or by what they are."""
import numpy as np
from frame import Case, Param, rng
from frame import Lod as Ragged

def Lod(array, *offsets):
    return Ragged(array, *[np.diff(o).tolist() for o in offsets])


def case(name, op, ins, outs, attrs=None):
    """A slot whose name begins with "_" is there and not compared. The name is for people."""
    ragged = any(isinstance(v, Ragged) for vs in ins.values() for v in (vs if isinstance(vs, list) else [vs]))
    return Case(op, ins, attrs or {}, {k.lstrip("_"): v for k, v in outs.items()}, tuple(k for k in outs if k[0] != "_"), int(ragged))


def rows(r):
    f = lambda *s: r.normal(size=s).astype(np.float32)
    i = lambda hi, *s: r.integers(0, hi, s).astype(np.int64)
    x = f(2, 3, 4)
    xs = {"_XShape": "float32"}
    for n, p in (("201", [2, 0, 1]), ("021", [0, 2, 1])):
        yield "transpose2_" + n, "transpose2", {"X": x}, {"Out": "float32", **xs}, {"axis": p}
    yield "transpose_i64", "transpose2", {"X": i(9, 2, 3, 4, 5)}, {"Out": "int64", "_XShape": "int64"}, {"axis": [0, 3, 1, 2]}
    for n, a in (("all", []), ("one", [1]), ("not_one", [0]), ("negative", [-2])):
        yield "squeeze2_" + n, "squeeze2", {"X": f(2, 1, 4, 1, 3)}, {"Out": "float32", **xs}, {"axes": a}
    for n, a in (("two", [1, 3]), ("turn", [2, 0]), ("last", [-1])):
        yield "unsqueeze2_" + n, "unsqueeze2", {"X": x}, {"Out": "float32", **xs}, {"axes": a}
    yield "unsqueeze2_tensor", "unsqueeze2", {"X": x, "AxesTensor": Param(np.array([0, 2], np.int32))}, {"Out": "float32", **xs}, {"axes": []}
    y = f(4, 5, 6)
    for n, at in (("one", dict(axes=[1], starts=[1], ends=[3])), ("minus", dict(axes=[0, 2], starts=[-3, 1], ends=[-1, 100])),
                  ("empty", dict(axes=[1], starts=[3], ends=[3])), ("drop", dict(axes=[0, 1], starts=[1, 2], ends=[2, 3], decrease_axis=[0, 1])),
                  ("far", dict(axes=[1], starts=[-100], ends=[2]))):
        at = dict(dict(decrease_axis=[], infer_flags=[1] * len(at["axes"])), **at)
        yield "slice_" + n, "slice", {"Input": y}, {"Out": "float32"}, at
    yield "slice_tensors", "slice", {"Input": y, "StartsTensor": Param(np.array([1, 0], np.int64)), "EndsTensor": Param(np.array([3, 4], np.int64))}, {"Out": "float32"}, dict(axes=[0, 2], starts=[], ends=[], decrease_axis=[], infer_flags=[-1, -1])
    yield "slice_list", "slice", {"Input": y, "StartsTensorList": [Param(np.array([1], np.int32)), Param(np.array([0], np.int32))], "EndsTensorList": [Param(np.array([3], np.int32)), Param(np.array([4], np.int32))]}, {"Out": "float32"}, dict(axes=[0, 2], starts=[-1, -1], ends=[-1, -1], decrease_axis=[], infer_flags=[-1, -1])
    for n, at in (("step", dict(axes=[1, 2], starts=[0, 1], ends=[5, 6], strides=[2, 3])), ("back", dict(axes=[1], starts=[4], ends=[0], strides=[-2])),
                  ("back_all", dict(axes=[2], starts=[-1], ends=[-7], strides=[-1])), ("back_far", dict(axes=[2], starts=[100], ends=[-100], strides=[-2])),
                  ("drop", dict(axes=[0, 1], starts=[1, 4], ends=[2, 1], strides=[1, -1], decrease_axis=[0]))):
        at = dict(dict(decrease_axis=[], infer_flags=[1] * len(at["axes"])), **at)
        yield "strided_slice_" + n, "strided_slice", {"Input": y}, {"Out": "float32"}, at
    yield "split_num", "split", {"X": f(2, 6)}, {"Out": ["float32"] * 3}, dict(axis=1, num=3, sections=[])
    yield "split_sections", "split", {"X": f(2, 6)}, {"Out": ["float32"] * 3}, dict(axis=1, num=0, sections=[1, -1, 2])
    yield "unstack", "unstack", {"X": x}, {"Y": ["float32"] * 3}, dict(axis=1, num=3)
    yield "unbind", "unbind", {"X": x}, {"Out": ["float32"] * 2}, dict(axis=0)
    yield "stack", "stack", {"X": [f(2, 3), f(2, 3)]}, {"Y": "float32"}, dict(axis=-1)
    yield "concat", "concat", {"X": [f(2, 3), f(2, 1)]}, {"Out": "float32"}, dict(axis=-1)
    yield "expand", "expand", {"X": x}, {"Out": "float32"}, dict(expand_times=[2, 1, 3])
    yield "expand_v2", "expand_v2", {"X": f(3, 1)}, {"Out": "float32"}, dict(shape=[2, -1, 4])
    yield "expand_v2_tensor", "expand_v2", {"X": f(3, 1), "Shape": Param(np.array([2, 3, 4], np.int32))}, {"Out": "float32"}, dict(shape=[])
    yield "expand_as_v2", "expand_as_v2", {"X": f(3, 1)}, {"Out": "float32"}, dict(target_shape=[2, 3, 4])
    yield "tile", "tile", {"X": x}, {"Out": "float32"}, dict(repeat_times=[2, 1, 1, 3])
    yield "tile_short", "tile", {"X": x}, {"Out": "float32"}, dict(repeat_times=[2])
    yield "tile_tensor", "tile", {"X": x, "RepeatTimes": Param(np.array([1, 2, 1], np.int32))}, {"Out": "float32"}, dict(repeat_times=[])
    yield "meshgrid", "meshgrid", {"X": [f(3), f(2), f(4)]}, {"Out": ["float32"] * 3}
    yield "roll", "roll", {"X": x}, {"Out": "float32"}, dict(shifts=[1, -2], axis=[0, 2])
    yield "roll_flat", "roll", {"X": x}, {"Out": "float32"}, dict(shifts=[5], axis=[])
    yield "flip", "flip", {"X": x}, {"Out": "float32"}, dict(axis=[0, -1])
    for lower in (True, False):
        for d in (-1, 0, 2):
            yield f"tril_triu_{lower}_{d}", "tril_triu", {"X": f(2, 4, 5)}, {"Out": "float32"}, dict(lower=lower, diagonal=d)
    for n, shape in (("minus", [-1, 6]), ("zero", [0, -1]), ("keep", [4, 0, 2]) if False else ("flat", [-1])):
        yield "reshape2_" + n, "reshape2", {"X": x}, {"Out": "float32", **xs}, dict(shape=shape)
    yield "reshape2_tensor", "reshape2", {"X": x, "Shape": Param(np.array([3, -1], np.int32))}, {"Out": "float32", **xs}, dict(shape=[3, -1])
    for n, a in (("rows", 0), ("columns", 1)):
        yield "gather_" + n, "gather", {"X": f(5, 4), "Index": i(4, 3)}, {"Out": "float32"}, dict(axis=a)
    yield "gather_i32", "gather", {"X": f(5, 4), "Index": i(4, 3, 1).astype(np.int32)}, {"Out": "float32"}, dict(axis=0)
    yield "gather_nd", "gather_nd", {"X": x, "Index": np.array([[[0, 1], [1, 2]]], np.int64)}, {"Out": "float32"}
    yield "index_select", "index_select", {"X": x, "Index": np.array([2, 0, 0], np.int32)}, {"Out": "float32"}, dict(dim=1)
    yield "index_sample", "index_sample", {"X": f(3, 5), "Index": i(5, 3, 2)}, {"Out": "float32"}
    yield "take_along_axis", "take_along_axis", {"Input": x, "Index": i(3, 2, 5, 4)}, {"Result": "float32"}, dict(Axis=1)
    for n in ("assign", "add", "multiply"):
        yield "put_along_axis_" + n, "put_along_axis", {"Input": x, "Index": i(3, 2, 1, 4), "Value": f(2, 1, 4)}, {"Result": "float32"}, dict(Axis=1, Reduce=n)
    for o in (True, False):
        yield f"scatter_{o}", "scatter", {"X": f(5, 3), "Ids": np.array([1, 3, 1], np.int64), "Updates": f(3, 3)}, {"Out": "float32"}, dict(overwrite=o)
    yield "scatter_nd_add", "scatter_nd_add", {"X": x, "Index": np.array([[0, 1], [1, 2], [0, 1]], np.int64), "Updates": f(3, 4)}, {"Out": "float32"}
    yield "where", "where", {"Condition": r.random((2, 3)) > .5, "X": f(2, 3), "Y": f(2, 3)}, {"Out": "float32"}
    yield "one_hot_v2", "one_hot_v2", {"X": i(4, 2, 3)}, {"Out": "float32"}, dict(depth=5, dtype=5)
    for n, at in (("plain", dict(k=2, axis=-1, largest=True)), ("smallest", dict(k=3, axis=1, largest=False)), ("axis0", dict(k=1, axis=0, largest=True))):
        yield "top_k_v2_" + n, "top_k_v2", {"X": f(3, 5, 2)}, {"Out": "float32", "Indices": "int64"}, dict(dict(sorted=True), **at) if n != "plain" else dict(dict(sorted=True), **at)
    yield "top_k", "top_k", {"X": f(3, 5)}, {"Out": "float32", "Indices": "int64"}, dict(k=2)
    yield "top_k_i64", "top_k_v2", {"X": i(99, 3, 5)}, {"Out": "int64", "Indices": "int64"}, dict(k=2, axis=-1, largest=True, sorted=True)
    yield "top_k_tensor", "top_k_v2", {"X": f(3, 5), "K": Param(np.array([4], np.int32))}, {"Out": "float32", "Indices": "int64"}, dict(k=1, axis=-1, largest=True, sorted=True)
    for d in (True, False):
        yield f"argsort_{d}", "argsort", {"X": f(3, 5)}, {"Out": "float32", "Indices": "int64"}, dict(axis=1, descending=d)
    yield "argsort_0", "argsort", {"X": f(6, 2)}, {"Out": "float32", "Indices": "int64"}, dict(axis=0, descending=False)
    for op in ("arg_max", "arg_min"):
        for n, at in (("axis", dict(axis=1, keepdims=False, flatten=False)), ("keep", dict(axis=0, keepdims=True, flatten=False)), ("flat", dict(axis=0, keepdims=False, flatten=True))):
            yield f"{op}_{n}", op, {"X": f(3, 5)}, {"Out": "int64"}, dict(dtype=3, **at)
    yield "masked_select", "masked_select", {"X": f(3, 4), "Mask": r.random((3, 4)) > .5}, {"Y": "float32"}
    yield "where_index", "where_index", {"Condition": r.random((3, 4)) > .5}, {"Out": "int64"}
    yield "where_index_f32", "where_index", {"Condition": np.array([0, 2, 0, 3], np.float32)}, {"Out": "int64"}
    d = np.array([3, 1, 3, 2, 1, 1], np.int64)
    yield "unique_sorted", "unique", {"X": d}, {"Out": "int64", "Indices": "int64", "Index": "int64", "Counts": "int64"}, dict(dtype=3, return_index=True, return_inverse=True, return_counts=True, axis=[], is_sorted=True)
    yield "unique_old", "unique", {"X": d}, {"Out": "int64", "Index": "int32"}, dict(dtype=2, is_sorted=False)
    yield "unique_consecutive", "unique_consecutive", {"X": d}, {"Out": "int64", "Index": "int64", "Counts": "int64"}, dict(dtype=3, return_inverse=True, return_counts=True, axis=[])
    yield "linspace", "linspace", {"Start": Param(np.array([0.5], np.float32)), "Stop": Param(np.array([2], np.float32)), "Num": Param(np.array([7], np.int32))}, {"Out": "float32"}, dict(dtype=5)
    yield "eye", "eye", {}, {"Out": "float32"}, dict(num_rows=3, num_columns=4, dtype=5)
    yield "eye_i64", "eye", {}, {"Out": "int64"}, dict(num_rows=4, num_columns=-1, dtype=3)
    for o in (-1, 0, 2):
        yield f"diag_v2_make_{o}", "diag_v2", {"X": f(3)}, {"Out": "float32"}, dict(offset=o, padding_value=1.5)
        yield f"diag_v2_take_{o}", "diag_v2", {"X": f(3, 4)}, {"Out": "float32"}, dict(offset=o, padding_value=0.0)
    yield "set_value_tensor", "set_value", {"Input": x, "ValueTensor": f(2, 1, 4)}, {"Out": "float32"}, dict(axes=[1], starts=[1], ends=[2], steps=[1], decrease_axes=[], none_axes=[], dtype=5, shape=[])
    yield "set_value_drop", "set_value", {"Input": x, "ValueTensor": f(4)}, {"Out": "float32"}, dict(axes=[1], starts=[1], ends=[2], steps=[1], decrease_axes=[1], none_axes=[], dtype=5, shape=[])
    yield "set_value_step", "set_value", {"Input": y, "ValueTensor": f(1)}, {"Out": "float32"}, dict(axes=[0, 2], starts=[0, 5], ends=[4, 0], steps=[2, -2], decrease_axes=[], none_axes=[], dtype=5, shape=[])
    yield "repeat_interleave", "repeat_interleave", {"X": x}, {"Out": "float32"}, dict(Repeats=3, dim=1)
    yield "repeat_interleave_each", "repeat_interleave_with_tensor_index" if False else "repeat_interleave", {"X": x, "RepeatsTensor": Param(np.array([2, 0, 1], np.int32))}, {"Out": "float32"}, dict(Repeats=0, dim=1)
    yield "shard_index", "shard_index", {"X": i(20, 5, 1)}, {"Out": "int64"}, dict(index_num=20, nshards=3, shard_id=1, ignore_value=-1)
    yield "multiplex", "multiplex", {"Ids": np.array([[1], [0], [1]], np.int32), "X": [f(3, 2), f(3, 2)]}, {"Out": "float32"}
    yield "lookup_v2_pad", "lookup_table_v2", {"Ids": i(6, 2, 3), "W": Param(f(6, 4))}, {"Out": "float32"}, dict(padding_idx=2)
    yield "flatten_range", "flatten_contiguous_range", {"X": f(2, 3, 4, 5)}, {"Out": "float32", **xs}, dict(start_axis=1, stop_axis=-2)


def cases():
    for row in rows(rng("move")):
        yield case(*row)
