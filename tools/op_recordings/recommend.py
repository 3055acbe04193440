"""Parts of tensors, products and distances of recommendation, and beams followed back."""
import numpy as np
from frame import Case, Param, rng


def cases():
    r = rng("recommend")

    def f(*s):
        return r.normal(size=s).astype(np.float32)

    def case(op, ins, attrs=None, outs=None):
        return Case(op, ins, attrs or {}, outs or {"Out": "float32"}, open_dims=0)
    yield case("crop_tensor", {"X": f(4, 5, 6)}, {"offsets": [1, 0, 2], "shape": [2, -1, 3]})
    yield case("crop", {"X": f(4, 5)}, {"offsets": [1, 2], "shape": [3, 2]})
    yield case("partial_concat", {"X": [f(3, 5), f(3, 5)]}, {"start_index": 1, "length": 3})
    yield case("partial_concat", {"X": [f(3, 5), f(3, 5)]}, {"start_index": -2, "length": 2})
    yield case("partial_concat", {"X": [f(3, 5), f(3, 5)]}, {"start_index": 2, "length": -1})
    yield case("partial_sum", {"X": [f(3, 5), f(3, 5), f(3, 5)]}, {"start_index": 1, "length": 3})
    yield case("broadcast_tensors", {"X": [f(3, 1), f(4)]}, outs={"Out": ["float32"] * 2})
    yield case("bilinear_tensor_product", {"X": f(3, 4), "Y": f(3, 5), "Weight": Param(f(6, 4, 5)), "Bias": Param(f(1, 6))})
    yield case("minus", {"X": f(3, 4), "Y": f(3, 4)})
    yield case("label_smooth", {"X": f(3, 4)}, {"epsilon": 0.1})
    yield case("label_smooth", {"X": f(3, 4), "PriorDist": f(1, 4)}, {"epsilon": 0.1})
    ids = r.integers(0, 9, (4, 2, 3))
    for dtype in (np.int64, np.int32):
        yield case("gather_tree", {"Ids": ids.astype(dtype), "Parents": r.integers(0, 3, (4, 2, 3)).astype(dtype)},
                   outs={"Out": np.dtype(dtype).name})
    yield case("sampling_id", {"X": np.eye(4, dtype=np.float32)}, outs={"Out": "int64"})
    yield case("multinomial", {"X": np.eye(4, dtype=np.float32)[[2, 0]]}, {"num_samples": 1}, {"Out": "int64"})
    yield case("bernoulli", {"X": np.float32([[0, 1, 1], [1, 0, 0]])})
    yield case("cos_sim", {"X": f(3, 4), "Y": f(3, 4)}, outs={"Out": "float32", "XNorm": "float32", "YNorm": "float32"})
    yield case("batch_fc", {"Input": f(2, 3, 4), "W": Param(f(2, 4, 5)), "Bias": Param(f(2, 5))})
