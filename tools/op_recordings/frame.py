"""What the families of recordings share: a case, and writing cases as one program with its inputs and answers."""
import dataclasses
import pathlib

import numpy as np
import paddle
from paddle.base.layer_helper import LayerHelper
from paddle.base.proto import framework_pb2

paddle.enable_static()


class Lod:
    """An array whose rows are ragged: lengths of its sequences, outermost level first."""

    def __init__(self, array, *lengths):
        self.array, self.lengths = np.asarray(array), [list(x) for x in lengths]

    def offsets(self):
        return [np.concatenate([[0], np.cumsum(x)]).astype(np.int64) for x in self.lengths]


class Param:
    """An array that the model holds, as against one that is fed."""

    def __init__(self, array):
        self.array = np.asarray(array)


@dataclasses.dataclass
class Case:
    """One operator. ins: slot -> array, Lod, Param, or a list of them. outs: slot -> dtype, or a list of dtypes for a slot
    with several variables, or "=Slot" for what an input slot holds, which is then overwritten. keep: the slots whose answers are compared; None: all. open_dims: feeds declare -1 for their
    first dimensions, as many as this says."""

    type: str
    ins: dict
    attrs: dict = dataclasses.field(default_factory=dict)
    outs: dict = dataclasses.field(default_factory=lambda: {"Out": "float32"})
    keep: tuple = None
    open_dims: int = 1


@dataclasses.dataclass
class Several:
    """Operators that only make sense together: make(builder, case) adds them and returns the variables to compare."""

    type: str
    make: object
    attrs: dict = dataclasses.field(default_factory=dict)
    open_dims: int = 0


def rng(name):
    return np.random.default_rng(list(name.encode()))


def form():
    major, minor = paddle.__version__.split(".")[:2]
    return f"paddle{major}{minor}"


class Builder:
    """A program, and what goes into and comes out of it."""

    def __init__(self):
        self.main, self.startup = paddle.static.Program(), paddle.static.Program()
        self.feeds, self.fetches, self.params = {}, [], {}
        self.variables = []

    def variable(self, value, case):
        value = value if isinstance(value, (Lod, Param)) else np.asarray(value)
        array = value if isinstance(value, np.ndarray) else value.array
        name = f"v{len(self.variables)}"
        if isinstance(value, Param):
            var = self.main.global_block().create_parameter(name=name, shape=list(array.shape) or [1], dtype=str(array.dtype))
            self.params[name] = array
        else:
            shape = [-1 if i < case.open_dims else d for i, d in enumerate(array.shape)]
            var = paddle.static.data(name, shape, str(array.dtype), lod_level=len(value.lengths) if isinstance(value, Lod) else 0)
            self.feeds[name] = value
        self.variables.append(var)
        return var

    def add(self, case):
        if isinstance(case, Several):
            self.fetches += case.make(self, case)
            return
        helper = LayerHelper(case.type)
        ins = {slot: [self.variable(v, case) for v in (vs if isinstance(vs, list) else [vs])] for slot, vs in case.ins.items()}
        outs = {slot: ins[ds[1:]] if isinstance(ds, str) and ds[0] == "=" else
                [helper.create_variable_for_type_inference(d) for d in (ds if isinstance(ds, list) else [ds])]
                for slot, ds in case.outs.items()}
        helper.append_op(type=case.type, inputs=ins, outputs=outs, attrs=dict(case.attrs))
        for slot, variables in outs.items():
            if case.keep is None or slot in case.keep:
                self.fetches += variables


def to_tensor(value):
    t = paddle.base.LoDTensor() if not hasattr(paddle.base.core, "LoDTensor") else paddle.base.core.LoDTensor()
    t.set(value.array if isinstance(value, Lod) else value, paddle.CPUPlace())
    if isinstance(value, Lod):
        t.set_recursive_sequence_lengths(value.lengths)
    return t


def save_arrays(path, prefix, values):
    arrays = {}
    for i, (array, offsets) in enumerate(values):
        arrays[f"{prefix}{i}"] = array
        for level, v in enumerate(offsets):
            arrays[f"{prefix}{i}_lod{level}"] = np.asarray(v, np.int64)
    np.savez_compressed(path, **arrays)


def build(cases):
    b = Builder()
    with paddle.static.program_guard(b.main, b.startup):
        for case in cases:
            b.add(case)
    return b


def run(b, exe):
    for name, array in b.params.items():
        paddle.static.global_scope().var(name).get_tensor().set(array, paddle.CPUPlace())
    return exe.run(b.main, {k: to_tensor(v) for k, v in b.feeds.items()}, b.fetches, return_numpy=False)


def answered(case):
    """Whether this version of the framework takes the case; it says why not."""
    try:
        run(build([case]), paddle.static.Executor(paddle.CPUPlace()))
        return True
    except Exception as e:  # whatever it is, the case is of no use
        why = [line for line in str(e).splitlines() if "Error" in line or "InvalidArgument" in line] or [str(e)]
        print(f"not recorded: {case.type} {case.attrs}: {why[0].strip()[:160]}")
        return False


def record(cases, directory: pathlib.Path):
    b, exe = build(cases), paddle.static.Executor(paddle.CPUPlace())
    answers = run(b, exe)
    directory.mkdir(parents=True, exist_ok=True)
    feeds = [b.main.global_block().var(name) for name in b.feeds]
    paddle.static.save_inference_model(str(directory / "inference"), feeds, b.fetches, exe, program=b.main)
    leave_no_paths(directory / "inference.pdmodel")
    save_arrays(directory / "case_0.in.npz", "in",
                [(v.array, v.offsets()) if isinstance(v, Lod) else (v, []) for v in b.feeds.values()])
    save_arrays(directory / "case_0.out.npz", "out", [(np.array(t), t.lod()) for t in answers])


def leave_no_paths(path):
    """Operators hold the lines of Python that made them."""
    program = framework_pb2.ProgramDesc.FromString(path.read_bytes())
    for block in program.blocks:
        for op in block.ops:
            kept = [a for a in op.attrs if a.name not in ("op_callstack", "op_namescope", "op_device", "op_role", "op_role_var")]
            del op.attrs[:]
            op.attrs.extend(kept)
    path.write_bytes(program.SerializeToString())
