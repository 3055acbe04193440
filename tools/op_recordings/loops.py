"""Blocks that run for each step of a sequence, and the sentences at the end of a beam search."""
import numpy as np
import paddle
from frame import Lod, Several, rng
from paddle.base.layer_helper import LayerHelper


def floats(name, *shape):
    return rng(name).standard_normal(shape).astype(np.float32)


def recurrent(name, reverse=False, states=1, sequences=1):
    """StaticRNN's operator: h = tanh(x w + h u), y = h * 2 + the other sequences; without states y = tanh(x w)."""
    def make(b, case):
        x = [b.variable(floats(f"{name}{i}", 4, 2, 3), case) for i in range(sequences)]
        w, first = b.variable(floats("w", 3, 3), case), [b.variable(floats(f"h{i}", 2, 3), case) for i in range(states)]
        inner = b.main._create_block()
        rows = [inner.create_var(name=v.name, shape=[2, 3], dtype="float32") for v in x]
        before = [inner.create_var(name=f"{name}_before{i}", shape=[2, 3], dtype="float32") for i in range(states)]
        h = paddle.matmul(rows[0], w)
        after = []
        for v in before:
            h = paddle.tanh(h + v)
            after.append(h)
        y = paddle.tanh(h)
        for v in rows[1:]:
            y = y + v
        b.main._rollback()
        block = b.main.current_block()
        out = block.create_var(name=y.name, shape=[4, 2, 3], dtype="float32")
        scopes = block.create_var(name=f"{name}_scopes", type=paddle.base.core.VarDesc.VarType.STEP_SCOPES)
        block.append_op(type="recurrent", inputs={"inputs": x, "initial_states": first, "parameters": [w]},
                        outputs={"outputs": [out], "step_scopes": [scopes]},
                        attrs={"has_states": states > 0, "ex_states": [v.name for v in before], "states": [v.name for v in after],
                               "sub_block": inner, "reverse": reverse, "is_train": False})
        return [paddle.scale(out, 1.0)]
    return Several("recurrent", make, {"reverse": reverse, "states": states, "sequences": sequences})


def step(ids, sources, beams):
    """What one step of a search chose: for each source its beams of the step before, for each of those what follows it."""
    ids = np.asarray(ids, np.int64).reshape(-1, 1)
    return Lod(ids, sources, beams)


SEARCHES = {
    "two": (2, 1, [([5, 6, 7, 8], [1, 1], [2, 2]), ([2, 3, 1, 4], [2, 2], [1, 1, 2, 0]), ([1, 9, 3, 1], [2, 2], [1, 1, 1, 1])]),
    "ended": (2, 1, [([4, 6], [1], [2]), ([1, 7], [2], [1, 1]), ([1, 8], [2], [1, 1])]),
    "one": (3, 0, [([3, 2, 5], [1], [3])]),
    "pruned": (2, 1, [([4, 6, 2, 3], [1, 1], [2, 2]), ([1, 1, 5, 6], [2, 2], [1, 1, 1, 1]), ([7, 8], [0, 2], [1, 1])]),
}


def beam_search_decode(name):
    beam_size, end_id, steps = SEARCHES[name]

    def make(b, case):
        helper = LayerHelper("beam_search_decode")
        arrays = []
        for kind in ("ids", "scores"):
            array = paddle.tensor.create_array("int64" if kind == "ids" else "float32")
            for i, (ids, sources, beams) in enumerate(steps):
                value = step(ids, sources, beams)
                if kind == "scores":
                    value = Lod(-rng(f"{name}{i}").random(value.array.shape).astype(np.float32), sources, beams)
                at = paddle.full([1], i, "int64")
                helper.append_op(type="write_to_array", inputs={"X": [b.variable(value, case)], "I": [at]}, outputs={"Out": [array]})
            arrays.append(array)
        out = [helper.create_variable_for_type_inference("int64"), helper.create_variable_for_type_inference("float32")]
        helper.append_op(type="beam_search_decode", inputs={"Ids": [arrays[0]], "Scores": [arrays[1]]},
                         outputs={"SentenceIds": [out[0]], "SentenceScores": [out[1]]},
                         attrs={"beam_size": beam_size, "end_id": end_id})
        return out
    return Several("beam_search_decode", make, {"search": name}, open_dims=1)


def cases():
    yield recurrent("plain")
    yield recurrent("back", reverse=True)
    yield recurrent("free", states=0)
    yield recurrent("pair", states=2, sequences=2)
    for name in SEARCHES:
        yield beam_search_decode(name)
