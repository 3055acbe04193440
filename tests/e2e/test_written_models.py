"""Models written here by hand, as Paddle 3's JSON: shapes that depend on data, loops and branches that no recorded model
has, and models that ask for what cannot be. Each is run by the real binary."""
import json

import numpy as np
import pytest
from conftest import ROOT, Server, run_oar

ZOO = ROOT / "tests" / "data" / "zoo"


# ---- a program, operator by operator ----

def tensor(dtype, *dims):
    return {"#": "0.t_dtensor", "D": [{"#": f"0.t_{dtype}"}, list(dims), "NCHW", [], 0]}


def attribute(name, value):
    if isinstance(value, bool):
        kind = {"#": "0.a_bool", "D": value}
    elif isinstance(value, int):
        kind = {"#": "0.a_i64", "D": value}
    elif isinstance(value, float):
        kind = {"#": "0.a_f64", "D": value}
    elif isinstance(value, list):
        kind = {"#": "0.a_array", "D": [{"#": "0.a_i64", "D": v} for v in value]}
    elif name == "dtype":
        kind = {"#": "1.a_dtype", "D": value}
    else:
        kind = {"#": "0.a_str", "D": value}
    return {"N": name, "AT": kind}


def op(kind, operands, results, /, *, regions=None, **attributes):
    made = {"#": kind, "A": [attribute(k, v) for k, v in attributes.items()],
            "I": [{"%": i} for i in operands], "O": [{"%": i, "TT": t} for i, t in results], "OA": []}
    if regions:
        made["regions"] = [{"#": "region", "blocks": [block(*r)]} for r in regions]
    return made


def block(args, ops):
    return {"#": "block", "args": [{"#": i, "TT": t} for i, t in args], "ops": ops}


def data(number, name, kind):
    return op("1.data", [], [(number, kind)], name=name)


def fetch(number, col=0):
    return op("1.fetch", [number], [(1000 + col, tensor("f32", -1))], name=f"out{col}", col=col)


def full(number, value, dtype, shape=(1,)):
    short = {"float32": "f32", "int64": "i64", "bool": "bool"}[dtype]
    made = op("1.full", [], [(number, tensor(short, *shape))], value=float(value), dtype=dtype)
    made["A"].append({"N": "shape", "AT": {"#": "1.a_intarray", "D": list(shape)}})
    return made


def save(path, *ops):
    path.mkdir(exist_ok=True)
    program = {"base_code": {"magic": "pir", "version": 4, "trainable": True},
               "program": {"regions": [{"#": "region_0", "blocks": [block([], list(ops))]}]}}
    (path / "inference.json").write_text(json.dumps(program))
    return path


def run(model, tmp_path, *arguments, **arrays):
    np.savez(tmp_path / "in.npz", **arrays)
    done = run_oar("run", model, "--in", tmp_path / "in.npz", "--out", tmp_path / "out.npz", *arguments)
    return done, (dict(np.load(tmp_path / "out.npz")) if done.returncode == 0 else None)


# ---- shapes that depend on data ----

def test_a_shape_that_is_fed_decides_the_output(tmp_path):
    model = save(tmp_path / "m",
                 data(1, "n", tensor("i64", 2)), data(2, "x", tensor("f32", 1)),
                 op("1.full_with_tensor", [2, 1], [(3, tensor("f32", -1, -1))], dtype="float32"), fetch(3))
    for n in ([2, 3], [4, 1], [0, 5]):
        done, out = run(model, tmp_path, n=np.array(n, np.int64), x=np.array([1.5], np.float32))
        assert done.returncode == 0, done.stderr
        assert out["out0"].shape == tuple(n) and (out["out0"] == 1.5).all()


def test_what_follows_a_computed_shape_is_planned_too(tmp_path):
    model = save(tmp_path / "m",
                 data(1, "x", tensor("f32", -1)), full(2, 0, "float32"), full(3, 1, "int64"), full(4, 0, "int64"),
                 op("1.greater_than", [1, 2], [(5, tensor("bool", -1))]),
                 op("1.cast", [5], [(6, tensor("i64", -1))], dtype="int64"),
                 op("1.full_int_array", [], [(7, tensor("i64", 0))], value=[0], dtype="int64"),
                 op("1.sum", [6, 7], [(8, tensor("i64", 1))], keepdim=True),
                 op("1.arange", [4, 8, 3], [(9, tensor("i64", -1))], dtype="int64"),
                 op("1.add", [9, 9], [(10, tensor("i64", -1))]), fetch(10))
    for x in ([1, -1, 2, 3], [-1, -1], [5, 5, 5, 5, 5, 5]):
        done, out = run(model, tmp_path, x=np.array(x, np.float32))
        assert done.returncode == 0, done.stderr
        assert out["out0"].tolist() == [2 * i for i in range(sum(v > 0 for v in x))]


def test_a_negative_computed_shape_is_the_requests_fault(tmp_path):
    model = save(tmp_path / "m",
                 data(1, "n", tensor("i64", 1)), data(2, "x", tensor("f32", 1)),
                 op("1.full_with_tensor", [2, 1], [(3, tensor("f32", -1))], dtype="float32"), fetch(3))
    done, _ = run(model, tmp_path, n=np.array([-3], np.int64), x=np.zeros(1, np.float32))
    assert done.returncode == 1
    assert "[-3] is no shape to fill" in done.stderr and "fill_constant" in done.stderr


# ---- loops and branches ----

F = tensor("f32", -1)


def doubling(limit, *tail):
    """while sum(x) < limit: x = concat(x, x): its value grows in every step."""
    body = [op("0.combine", [-1, -1], [(20, {"#": "0.t_vec", "D": [F, F]})]), full(21, 0, "int64"),
            op("1.concat", [20, 21], [(22, F)]),
            op("1.full_int_array", [], [(23, tensor("i64", 1))], value=[0], dtype="int64"),
            op("1.sum", [22, 23], [(24, tensor("f32", 1))], keepdim=True), full(25, limit, "float32"),
            op("1.less_than", [24, 25], [(26, tensor("bool", 1))]), op("2.yield", [26, 22], [])]
    return [data(1, "x", F), full(2, 1, "bool"),
            op("1.while", [2, 1], [(3, F)], regions=[([(-1, F)], body)]), *(tail or [fetch(3)])]


def test_a_loops_value_may_grow(tmp_path):
    model = save(tmp_path / "m", *doubling(10))
    for x in ([1.0], [3.0, 1.0], [11.0]):
        done, out = run(model, tmp_path, x=np.array(x, np.float32))
        assert done.returncode == 0, done.stderr
        want = list(x) * 2
        while sum(want) < 10:
            want *= 2
        assert out["out0"].tolist() == want


def test_a_loop_without_end_is_ended(tmp_path):
    body = [op("1.relu", [-1], [(20, F)]), full(21, 1, "bool"), op("2.yield", [21, 20], [])]
    model = save(tmp_path / "m", data(1, "x", F), full(2, 1, "bool"),
                 op("1.while", [2, 1], [(3, F)], regions=[([(-1, F)], body)]), fetch(3))
    done, _ = run(model, tmp_path, x=np.ones(2, np.float32))
    assert done.returncode == 1
    assert "the loop did not end after" in done.stderr and "while" in done.stderr


def test_a_growing_loop_meets_the_limit_on_memory(tmp_path):
    model = save(tmp_path / "m", *doubling(1e30))
    done, _ = run(model, tmp_path, "--max-arena", 1 << 20, x=np.ones(2, np.float32))
    assert done.returncode == 1
    assert "--max-arena" in done.stderr and "while" in done.stderr


def test_branches_may_give_different_shapes(tmp_path):
    then = [op("0.combine", [1, 1], [(20, {"#": "0.t_vec", "D": [F, F]})]), full(21, 0, "int64"),
            op("1.concat", [20, 21], [(22, F)]), op("2.yield", [22], [])]
    other = [op("1.scale", [1, 3], [(23, F)], bias=0.0, bias_after_scale=True), op("2.yield", [23], [])]
    model = save(tmp_path / "m", data(1, "x", F), data(2, "c", tensor("bool", 1)), full(3, 5, "float32"),
                 op("1.if", [2], [(4, F)], regions=[([], then), ([], other)]),
                 op("1.add", [4, 4], [(5, F)]), fetch(5))
    for condition, want in ((True, [2, 4, 2, 4]), (False, [10, 20])):
        done, out = run(model, tmp_path, x=np.array([1, 2], np.float32), c=np.array([condition]))
        assert done.returncode == 0, done.stderr
        assert out["out0"].tolist() == want


def test_a_branch_inside_a_loop_sees_what_is_around_both(tmp_path):
    """x counts up to n: the branch adds y, fed outside, to it."""
    one = tensor("f32", 1)
    then = [op("1.add", [-1, 3], [(20, one)]), op("2.yield", [20], [])]
    other = [op("1.assign", [-1], [(21, one)]), op("2.yield", [21], [])]
    body = [full(22, 1, "bool"), op("1.if", [22], [(23, one)], regions=[([], then), ([], other)]),
            op("1.less_than", [23, 2], [(24, tensor("bool", 1))]), op("2.yield", [24, 23], [])]
    model = save(tmp_path / "m", data(1, "x", one), data(2, "n", one), data(3, "y", one), full(4, 1, "bool"),
                 op("1.while", [4, 1], [(5, one)], regions=[([(-1, one)], body)]), fetch(5))
    done, out = run(model, tmp_path, x=np.zeros(1, np.float32), n=np.array([7], np.float32), y=np.array([2], np.float32))
    assert done.returncode == 0, done.stderr
    assert out["out0"].tolist() == [8]


# ---- models that ask for what cannot be ----

def refused(model, *words):
    done = run_oar("inspect", "--check", model)
    assert done.returncode == 1, done.stdout
    for word in words:
        assert word in done.stderr, done.stderr


def test_four_gigabytes_asked_for_by_a_few_bytes(tmp_path):
    model = save(tmp_path / "m", data(1, "x", tensor("f32", -1)), full(2, 0, "float32", (1 << 30,)),
                 op("1.add", [1, 2], [(3, tensor("f32", 1 << 30))]), fetch(3))
    refused(model, "inference.json", "[1073741824]", "--max-arena", "(elementwise_add (operator 2))")


def test_a_size_that_overflows(tmp_path):
    model = save(tmp_path / "m", data(1, "x", tensor("f32", -1)), full(2, 0, "float32", (1 << 40, 1 << 40)),
                 op("1.add", [1, 2], [(3, F)]), fetch(3))
    refused(model, "inference.json", "fill_constant", "is no shape to fill")


def test_shapes_that_cannot_agree(tmp_path):
    model = save(tmp_path / "m", data(1, "x", tensor("f32", -1, 4)), full(2, 0, "float32", (3, 5)),
                 op("1.matmul", [1, 2], [(3, F)], transpose_x=False, transpose_y=False), fetch(3))
    refused(model, "inference.json", "matmul_v2")


def test_an_attribute_of_the_wrong_kind(tmp_path):
    model = save(tmp_path / "m", data(1, "x", F), op("1.softmax", [1], [(2, F)], axis="last"), fetch(2))
    refused(model, "inference.json", "softmax", "attribute 'axis'", "expected an integer")


def test_an_attribute_out_of_range(tmp_path):
    model = save(tmp_path / "m", data(1, "x", tensor("f32", -1, 4)), op("1.softmax", [1], [(2, F)], axis=7), fetch(2))
    refused(model, "inference.json", "softmax", "axis 7 does not fit 2 dimensions")


def test_a_value_that_is_made_after_it_is_used(tmp_path):
    model = save(tmp_path / "m", data(1, "x", F), op("1.relu", [3], [(2, F)]), op("1.relu", [2], [(3, F)]), fetch(3))
    refused(model, "inference.json", "1.relu", "operator 1", "made nowhere before it")


# ---- what inspect says before serving ----

def test_check_names_all_operators_that_are_not_supported(tmp_path):
    model = save(tmp_path / "m", data(1, "x", F), op("1.no_such_thing", [1], [(2, F)]),
                 op("1.no_such_thing", [2], [(3, F)]), op("1.nor_this", [3], [(4, F)]), fetch(4))
    done = run_oar("inspect", "--check", model)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert "1.no_such_thing" in lines[0] and "2 times, first at operator 1 of block 0" in lines[0]
    assert "1.nor_this" in lines[1] and "1 time, first at operator 3 of block 0" in lines[1]


def test_check_passes_a_model_that_can_be_served():
    done = run_oar("inspect", "--check", ZOO / "lenet_digits" / "pdmodel26")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("supported: ")


def memory_of(*arguments):
    done = run_oar("inspect", "--memory", *arguments)
    assert done.returncode == 0, done.stderr
    return {line[:20].strip(): int(line[20:].split()[0]) for line in done.stdout.splitlines()}


def test_memory_grows_with_the_shape_that_is_asked_about():
    model = ZOO / "lenet_digits" / "pdmodel26"
    one, many = memory_of(model), memory_of(model, "--shape", "x=64x1x28x28")
    assert one["parameters"] == many["parameters"] > 0
    assert many["working memory"] > 32 * one["working memory"] > 0


def test_a_shape_that_does_not_fit_is_refused():
    done = run_oar("inspect", "--memory", ZOO / "lenet_digits" / "pdmodel26", "--shape", "x=64x3")
    assert done.returncode == 1
    assert "x=64x3" in done.stderr


def test_a_run_beyond_the_limit_names_the_largest_value():
    model = ZOO / "lenet_digits" / "pdmodel26"
    done = run_oar("run", model, "--in", model / "case_0.in.npz", "--max-arena", 1000)
    assert done.returncode == 1
    assert "--max-arena" in done.stderr and "it makes float32" in done.stderr


def test_a_served_model_refuses_what_is_too_large_and_serves_on(tmp_path):
    model = ZOO / "lenet_digits" / "pdmodel26"
    small, large = tmp_path / "small.npz", tmp_path / "large.npz"
    np.savez(small, x=np.zeros((1, 1, 28, 28), np.float32))
    np.savez(large, x=np.zeros((256, 1, 28, 28), np.float32))
    with Server("--model", model, "--max-arena", 1 << 20) as server:
        server.wait_ready()
        refused_call = run_oar("call", server.address, "--in", large)
        assert refused_call.returncode == 1 and "--max-arena" in refused_call.stderr
        assert run_oar("call", server.address, "--in", small).returncode == 0
