"""PaddleSlim's quantised forms."""
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
    x = f(2, 4, 3, 3); x[0, 0, 0, :3] = [0.5 / 127 * 2, 1.5 / 127 * 2, -2.5 / 127 * 2]
    S = lambda v: Param(np.array([v], np.float32))
    for rt in (0, 1):
        t = dict(bit_length=8, round_type=rt)
        yield f"linear_{rt}", "quantize_linear", {"X": x, "Scale": S(2), "ZeroPoint": Param(np.array([0], np.int32))}, {"Y": "float32"}, dict(t, quant_axis=-1, is_test=True)
        yield f"linear_axis_{rt}", "quantize_linear", {"X": x, "Scale": Param(np.array([1, 2, 3, .5], np.float32)), "ZeroPoint": Param(np.zeros(4, np.int32))}, {"Y": "float32"}, dict(t, quant_axis=1, is_test=True)
        if rt == 0:  # these lose round_type when they are saved, and are read with 1
            continue
        yield f"abs_max_{rt}", "fake_quantize_abs_max", {"X": x}, {"Out": "float32", "OutScale": "float32"}, t
        yield f"dequantize_abs_max_{rt}", "fake_quantize_dequantize_abs_max", {"X": x}, {"Out": "float32", "OutScale": "float32"}, t
        yield f"range_{rt}", "fake_quantize_range_abs_max", {"X": x, "InScale": S(2)}, {"Out": "float32", "_OutScale": "float32"}, dict(t, is_test=True, window_size=100)
        yield f"moving_{rt}", "fake_quantize_moving_average_abs_max", {"X": x, "InScale": S(1.5)}, {"Out": "float32", "_OutScale": "float32"}, dict(t, is_test=True, moving_rate=0.9)
        yield f"moving_back_{rt}", "fake_quantize_dequantize_moving_average_abs_max", {"X": x, "InScale": S(1.5)}, {"Out": "float32", "_OutScale": "float32"}, dict(t, is_test=True, moving_rate=0.9)
        for a in (0, 1):
            yield f"channel_{rt}_{a}", "fake_channel_wise_quantize_abs_max", {"X": f(4, 3, 2, 2)}, {"Out": "float32", "OutScale": "float32"}, dict(t, quant_axis=a, is_test=False)
            yield f"channel_back_{rt}_{a}", "fake_channel_wise_quantize_dequantize_abs_max", {"X": f(4, 3, 2, 2)}, {"Out": "float32", "OutScale": "float32"}, dict(t, quant_axis=a)
    yield "bits4", "fake_quantize_abs_max", {"X": x}, {"Out": "float32", "OutScale": "float32"}, dict(bit_length=4, round_type=1)
    q = r.integers(-127, 128, (4, 3, 2, 2)).astype(np.int8)
    yield "dequantize_linear", "dequantize_linear", {"X": Param(q), "Scale": S(2), "ZeroPoint": Param(np.array([0], np.int32))}, {"Y": "float32"}, dict(bit_length=8, quant_axis=-1)
    for a in (0, 1):
        yield f"dequantize_linear_{a}", "dequantize_linear", {"X": Param(q), "Scale": Param(f(4 - a)), "ZeroPoint": Param(np.zeros(4 - a, np.int32))}, {"Y": "float32"}, dict(bit_length=8, quant_axis=a)
    yield "dequantize_max_abs", "fake_dequantize_max_abs", {"X": x, "Scale": S(3)}, {"Out": "float32"}, dict(max_range=127.0)
    for a in (0, 1):
        yield f"channel_dequantize_{a}", "fake_channel_wise_dequantize_max_abs", {"X": f(4, 3, 2), "Scales": [Param(np.abs(f(4 - a)))]}, {"Out": "float32"}, dict(quant_bits=[8], quant_axis=a)
    yield "channel_dequantize_two", "fake_channel_wise_dequantize_max_abs", {"X": f(2, 4, 3), "Scales": [Param(np.abs(f(4))), S(2)]}, {"Out": "float32"}, dict(quant_bits=[8, 8], quant_axis=0, x_num_col_dims=1)
    yield "channel_dequantize_three", "fake_channel_wise_dequantize_max_abs", {"X": f(2, 3, 4), "Scales": [Param(np.abs(f(4))), S(2)]}, {"Out": "float32"}, dict(quant_bits=[8, 8], quant_axis=1, x_num_col_dims=2)
    yield "observer", "moving_average_abs_max_scale", {"X": x}, {"Out": "float32", "_OutScale": "float32"}, dict(is_test=True, moving_rate=0.9)


def cases():
    for row in rows(rng("quant")):
        yield case(*row)
