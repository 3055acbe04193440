"""Operators that are rarely met."""
import numpy as np
from frame import Case, Param, rng


def cases():
    r = rng("rare")

    def f(*s):
        return r.normal(size=s).astype(np.float32)

    def case(op, ins, attrs=None, outs=None):
        return Case(op, ins, attrs or {}, outs or {"Out": "float32"}, open_dims=0)
    truth = {"Out": "bool"}
    x = f(3, 4)
    near = x + np.float32(1e-3) * (r.random((3, 4)) > 0.5)
    odd = np.float32([np.nan, np.inf, -np.inf, 1])
    yield case("reverse", {"X": x}, {"axis": [0, 1]})
    for equal_nan in (False, True):
        tolerance = {"rtol": "1e-05", "atol": "0.0005", "equal_nan": equal_nan}
        yield case("isclose", {"Input": x, "Other": near}, tolerance, truth)
        yield case("isclose", {"Input": odd, "Other": odd}, tolerance, truth)
        yield case("allclose", {"Input": x, "Other": x}, tolerance, truth)
        yield case("allclose", {"Input": x, "Other": near}, tolerance, truth)
    yield case("equal_all", {"X": x, "Y": x}, {}, truth)
    yield case("equal_all", {"X": x, "Y": near}, {}, truth)
    yield case("l1_norm", {"X": x})
    yield case("squared_l2_norm", {"X": x})
    for most in (0.5, 100.0):
        yield case("clip_by_norm", {"X": x}, {"max_norm": most})
    both = {"Out": "float32", "Indices": "int64"}
    yield case("kthvalue", {"X": f(3, 5)}, {"k": 2, "axis": -1, "keepdim": False}, both)
    yield case("kthvalue", {"X": f(3, 5)}, {"k": 1, "axis": 0, "keepdim": True}, both)
    yield case("unique_with_counts", {"X": np.int64([3, 1, 3, 2, 1, 1])}, {"dtype": 2},
               {"Out": "int64", "Index": "int32", "Count": "int32"})
    for offset in (-1, 0, 2):
        yield case("diagonal", {"Input": f(3, 4, 5)}, {"offset": offset, "axis1": 0, "axis2": 2})
        yield case("trace", {"Input": f(3, 4, 5)}, {"offset": offset, "axis1": 1, "axis2": 2})
    yield Case("graph_send_recv", {"X": f(4, 3), "Src_index": np.int64([0, 1, 2, 0]), "Dst_index": np.int64([1, 2, 1, 0])},
               {"reduce_op": "SUM", "out_size": [0]}, {"Out": "float32", "Dst_count": "int32"}, ("Out",), 0)
    yield case("index_add", {"X": f(4, 3), "Index": np.int64([1, 3, 1]), "AddValue": f(3, 3)}, {"axis": 0})
    yield case("dequantize_abs_max", {"X": Param(r.integers(-127, 128, (3, 4)).astype(np.int8)), "Scale": Param(np.float32([2.5]))},
               {"max_range": 127.0})
    yield case("share_data", {"X": x})
