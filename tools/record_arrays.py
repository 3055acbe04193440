#!/usr/bin/env python3
"""Records tests/data/zoo/ops_arrays: tensor arrays in loops, and the rank tables by which 1.x programs walked over
sequences, as the real framework exports and runs them. Wants an interpreter with paddlepaddle 2.6.

    tools/record_arrays.py [tests/data/zoo]
"""
import os
import sys

import numpy as np
import paddle
from paddle.base.layer_helper import LayerHelper
from paddle.base.proto import framework_pb2


def op(kind, inputs, attrs=None, outs=("Out",), out=None, dtype="float32"):
    helper = LayerHelper(kind)
    made = {o: out if out is not None and o == outs[0] else helper.create_variable_for_type_inference(dtype) for o in outs}
    helper.append_op(type=kind, inputs={k: v if isinstance(v, list) else [v] for k, v in inputs.items()},
                     outputs={k: [v] for k, v in made.items()}, attrs=attrs or {})
    return made[outs[0]]


def weighed(x, width):
    """The framework does not load a model without parameters."""
    weight = LayerHelper("weight").create_parameter(
        paddle.ParamAttr(initializer=paddle.nn.initializer.Assign(np.linspace(0.5, 1.5, width, dtype=np.float32))), [width], "float32")
    return op("elementwise_mul", {"X": x, "Y": weight}, {"axis": -1})


def special(kind):
    block = paddle.static.default_main_program().current_block()
    return block.create_var(name=paddle.utils.unique_name.generate("special"), type=kind, **({} if kind == paddle.base.core.VarDesc.VarType.LOD_RANK_TABLE else {"dtype": "float32"}))


def squares(x, steps):
    """An array that a loop fills with x, x*x, ...; joined along rows, and stacked."""
    x = weighed(x, 3)
    array = paddle.tensor.create_array("float32")
    i = paddle.full([1], 0, "int64")
    paddle.tensor.array_write(x, i, array)

    def more(i, n, array):
        return paddle.less_than(i, n)

    def step(i, n, array):
        last = paddle.tensor.array_read(array, i)
        i = paddle.increment(i)
        paddle.tensor.array_write(last * x, i, array)
        return [i, n, array]

    paddle.static.nn.while_loop(more, step, [i, steps, array])
    rows = op("tensor_array_to_tensor", {"X": array}, {"axis": 0, "use_stack": False}, ("Out", "OutIndex"))
    stacked = op("tensor_array_to_tensor", {"X": array}, {"axis": 1, "use_stack": True}, ("Out", "OutIndex"))
    length = paddle.cast(paddle.tensor.array_length(array), "float32")
    last = paddle.tensor.array_read(array, steps)
    return [rows, stacked, length, last]


def running_sums(words):
    """DynamicRNN's way: for each step, the rows of all sequences that are long enough, added to what came before."""
    words = weighed(words, 4)
    types = paddle.base.core.VarDesc.VarType
    table = op("lod_rank_table", {"X": words}, {"level": 0}, out=special(types.LOD_RANK_TABLE))
    longest = op("max_sequence_len", {"RankTable": table}, dtype="int64")
    parts = op("lod_tensor_to_array", {"X": words, "RankTable": table}, out=special(types.LOD_TENSOR_ARRAY))
    sums = special(types.LOD_TENSOR_ARRAY)
    i = paddle.full([1], 0, "int64")
    paddle.tensor.array_write(paddle.tensor.array_read(parts, i), i, sums)
    i1 = paddle.full([1], 1, "int64")
    condition = paddle.less_than(i1, longest)
    loop = paddle.static.nn.control_flow.While(condition)
    with loop.block():
        before = op("read_from_array", {"X": sums, "I": i1 - 1})
        kept = op("shrink_rnn_memory", {"X": before, "I": i1, "RankTable": table})
        now = op("read_from_array", {"X": parts, "I": i1})
        op("write_to_array", {"X": kept + now, "I": i1}, out=sums)
        paddle.increment(i1)
        paddle.assign(paddle.less_than(i1, longest), condition)
    joined = op("array_to_lod_tensor", {"X": sums, "RankTable": table})
    ranked = op("reorder_lod_tensor_by_rank", {"X": words, "RankTable": table})
    return [joined, ranked]


def forget_places(path):
    """Takes out which line of which file made each operator."""
    program = framework_pb2.ProgramDesc()
    with open(path, "rb") as f:
        program.ParseFromString(f.read())
    for block in program.blocks:
        for made in block.ops:
            for index in reversed(range(len(made.attrs))):
                if made.attrs[index].name == "op_callstack":
                    del made.attrs[index]
    with open(path, "wb") as f:
        f.write(program.SerializeToString())


def export(build, feeds, cases, folder):
    os.makedirs(folder, exist_ok=True)
    paddle.enable_static()
    main, startup = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(main, startup), paddle.utils.unique_name.guard():
        inputs = [paddle.static.data(n, s, d, lod_level=l) for n, s, d, l in feeds]
        outputs = build(*inputs)
        exe = paddle.static.Executor(paddle.CPUPlace())
        exe.run(startup)
        paddle.static.save_inference_model(os.path.join(folder, "inference"), inputs, outputs, exe, program=main)
    forget_places(os.path.join(folder, "inference.pdmodel"))
    config = paddle.inference.Config(os.path.join(folder, "inference.pdmodel"), os.path.join(folder, "inference.pdiparams"))
    config.switch_ir_optim(False)
    predictor = paddle.inference.create_predictor(config)
    for number, case in enumerate(cases):
        record(predictor, feeds, case, os.path.join(folder, f"case_{number}"))


def record(predictor, feeds, case, path):
    arrays = {}
    for column, ((name, _, dtype, lod), value) in enumerate(zip(feeds, case)):
        array, offsets = value if lod else (value, None)
        handle = predictor.get_input_handle(name)
        handle.copy_from_cpu(np.ascontiguousarray(array, dtype))
        arrays[f"in{column}"] = np.asarray(array, dtype)
        if lod:
            handle.set_lod([list(offsets)])
            arrays[f"in{column}_lod0"] = np.asarray(offsets, np.int64)
    predictor.run()
    np.savez(path + ".in.npz", **arrays)
    results = {}
    for column, name in enumerate(predictor.get_output_names()):
        handle = predictor.get_output_handle(name)
        results[f"out{column}"] = handle.copy_to_cpu()
        for level, offsets in enumerate(handle.lod()):
            results[f"out{column}_lod{level}"] = np.asarray(offsets, np.int64)
    np.savez(path + ".out.npz", **results)


def main():
    zoo = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "zoo")
    rng = np.random.default_rng(7)
    rows = lambda *s: rng.standard_normal(s).astype(np.float32)
    export(squares, [("x", [-1, 3], "float32", 0), ("steps", [1], "int64", 0)],
           [[rows(2, 3), np.array([4])], [rows(1, 3), np.array([0])], [rows(5, 3), np.array([9])]],
           os.path.join(zoo, "ops_array_loop", "pdmodel26"))
    export(running_sums, [("words", [-1, 4], "float32", 1)],
           [[(rows(9, 4), [0, 2, 7, 9])], [(rows(3, 4), [0, 3])], [(rows(8, 4), [0, 1, 4, 7, 8])]],
           os.path.join(zoo, "ops_rank_table", "pdmodel26"))


if __name__ == "__main__":
    main()
