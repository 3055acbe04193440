"""Operators of one element, and of two tensors with Paddle's broadcasting."""
import numpy as np
from frame import Case, rng

PLAIN = ("abs acos acosh asin asinh atan atanh ceil cos cosh digamma erf exp expm1 floor lgamma log log10 log1p log2 "
         "logsigmoid reciprocal relu round rsqrt sigmoid sign silu sin sinh softsign sqrt square tan tanh tanh_shrink trunc erfinv")
POSITIVE = {"log", "log10", "log2", "rsqrt", "sqrt", "digamma", "lgamma", "reciprocal"}
WITHIN_ONE = {"acos", "asin", "atanh", "erfinv", "log1p"}

CURVES = [
    ("brelu", {"t_min": -0.5, "t_max": 1.5}), ("celu", {"alpha": 0.7}), ("clip", {"min": -0.4, "max": 0.9}),
    ("elu", {"alpha": 0.6}), ("gelu", {"approximate": False}), ("gelu", {"approximate": True}),
    ("hard_shrink", {"threshold": 0.7}), ("hard_sigmoid", {"slope": 0.3, "offset": 0.4}), ("hard_sigmoid", {}),
    ("hard_swish", {}), ("leaky_relu", {"alpha": 0.3}),
    ("leaky_relu", {}), ("logit", {"eps": 0.2}), ("mish", {"threshold": 1.0}), ("mish", {}), ("pow", {"factor": 3.0}),
    ("relu6", {"threshold": 6.0}), ("selu", {}), ("selu", {"scale": 1.5, "alpha": 0.5}), ("soft_relu", {"threshold": 1.5}),
    ("softplus", {"beta": 2.0, "threshold": 3.0}), ("softplus", {}), ("softshrink", {"lambda": 0.3}), ("stanh", {}),
    ("stanh", {"scale_a": 0.5, "scale_b": 2.0}), ("swish", {"beta": 1.0}), ("swish", {"beta": 0.4}),
    ("thresholded_relu", {"threshold": 0.8}), ("scale", {"scale": 2.5, "bias": 1.0, "bias_after_scale": True}),
    ("scale", {"scale": 2.5, "bias": 1.0, "bias_after_scale": False}), ("increment", {"step": 2.0}),
]

BINARY = "add sub mul div max min pow mod floordiv fmax fmin".split()
COMPARE = "equal not_equal less_than less_equal greater_than greater_equal".split()
# x, y, axis
SHAPES = [((2, 3, 4), (2, 3, 4), -1), ((2, 3, 4), (4,), -1), ((2, 3, 4), (3,), 1), ((2, 3, 4), (2, 3), 0),
          ((2, 3, 4), (1,), -1), ((2, 3, 4), (2, 1, 4), -1), ((2, 3, 4), (3, 1), 1), ((2, 1, 4), (2, 3, 1), -1)]
WHOLE = [((3, 4), (3, 4), -1), ((3, 4), (4,), -1), ((2, 3, 4), (3,), 1)]


def unary(r):
    for op in PLAIN.split():
        x = r.normal(size=(3, 7)).astype(np.float32) * 2
        if op in POSITIVE:
            x = np.abs(x) + np.float32(0.1)
        if op in WITHIN_ONE:
            x = np.tanh(x)
        if op == "acosh":
            x = np.abs(x) + np.float32(1.05)
        yield Case(op, {"X": x})
    for op, attrs in CURVES:
        x = r.normal(size=(1,) if op == "increment" else (3, 7)).astype(np.float32) * 3
        yield Case(op, {"X": np.abs(x) / 9 if op == "logit" else x}, attrs, open_dims=0)
    x = r.normal(size=(3, 7)).astype(np.float32)
    yield Case("clip", {"X": x, "Min": np.float32([-0.5]), "Max": np.float32([0.25])}, {"min": 0.0, "max": 0.0})
    yield Case("pow", {"X": np.abs(x), "FactorTensor": np.float32([1.5])}, {"factor": 2.0})
    yield Case("scale", {"X": x, "ScaleTensor": np.float32([1.5])}, {"scale": 9.0, "bias": 0.5, "bias_after_scale": False})


def whole_unary(r):
    for dtype in (np.int32, np.int64):
        x = r.integers(-9, 9, (3, 5)).astype(dtype)
        name = np.dtype(dtype).name
        for op, attrs in (("abs", {}), ("square", {}), ("scale", {"scale": 3.0, "bias": 2.0, "bias_after_scale": True}),
                          ("clip", {"min": -4.0, "max": 3.0}), ("bitwise_not", {}), ("increment", {"step": 2.0})):
            yield Case(op, {"X": x[:1, 0] if op == "increment" else x}, attrs, {"Out": name}, open_dims=0)
        yield Case("logical_not", {"X": x}, {}, {"Out": "bool"})
    odd = np.float32([[0.0, np.nan, np.inf], [-np.inf, 1.0, -2.0]])
    for op in ("isnan_v2", "isinf_v2", "isfinite_v2", "logical_not"):
        yield Case(op, {"X": odd}, {}, {"Out": "bool"})
    yield Case("logical_not", {"X": np.array([True, False])}, {}, {"Out": "bool"})


def binary(r):
    for op in BINARY:
        for x_shape, y_shape, axis in SHAPES:
            if op in ("fmax", "fmin") and axis != -1:
                continue
            x, y = (r.normal(size=s).astype(np.float32) * 3 for s in (x_shape, y_shape))
            if op == "pow":
                x = np.abs(x)
            yield Case("elementwise_" + op, {"X": x, "Y": y}, {"axis": axis}, open_dims=0)
        for dtype in ("int32", "int64"):
            for x_shape, y_shape, axis in WHOLE:
                x, y = (r.integers(-7, 8, s).astype(dtype) for s in (x_shape, y_shape))
                y = np.where(y == 0, 3, y).astype(dtype)
                if op in ("fmax", "fmin", "pow") and axis == 1:
                    continue
                if op == "pow":
                    y = np.abs(y) % 4
                yield Case("elementwise_" + op, {"X": x, "Y": y.astype(dtype)}, {"axis": axis}, {"Out": dtype}, open_dims=0)


def truths(r):
    for op in COMPARE:
        for dtype in ("float32", "int32", "int64"):
            for x_shape, y_shape, axis in SHAPES[:2]:
                x, y = (r.integers(-2, 3, s).astype(dtype) for s in (x_shape, y_shape))
                yield Case(op, {"X": x, "Y": y}, {"axis": axis}, {"Out": "bool"}, open_dims=0)
    for op in ("logical_and", "logical_or", "logical_xor"):
        for dtype in ("bool", "int32", "float32"):
            x, y = (r.integers(0, 2, s).astype(dtype) for s in ((3, 4), (4,)))
            yield Case(op, {"X": x, "Y": y}, {}, {"Out": "bool"})
    for op in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        for dtype in ("bool", "int32", "int64", "uint8"):
            x, y = (r.integers(0, 2 if dtype == "bool" else 100, s).astype(dtype) for s in ((3, 4), (4,)))
            yield Case(op, {"X": x, "Y": y}, {}, {"Out": dtype})


def cases():
    r = rng("elementwise")
    yield from unary(r)
    yield from whole_unary(r)
    yield from binary(r)
    yield from truths(r)
    x = [r.normal(size=(2, 3)).astype(np.float32) for _ in range(3)]
    yield Case("sum", {"X": x})
    yield Case("sum", {"X": x[:1]})
    yield Case("lerp", {"X": x[0], "Y": x[1], "Weight": x[2]})
    yield Case("elementwise_heaviside", {"X": np.float32([[-1, 0, 2]]), "Y": x[0][:1]}, {"axis": -1})
    yield Case("rrelu", {"X": x[0]}, {"lower": 0.1, "upper": 0.4, "is_test": True}, {"Out": "float32", "Noise": "float32"}, ("Out",))
    yield Case("atan2", {"X1": x[0], "X2": x[1]})
    for mode, shape in (("all", (1,)), ("channel", (3,)), ("element", (1, 3, 4, 5))):
        yield Case("prelu", {"X": r.normal(size=(2, 3, 4, 5)).astype(np.float32), "Alpha": r.normal(size=shape).astype(np.float32)},
                   {"mode": mode, "data_format": "NCHW"}, open_dims=0)
