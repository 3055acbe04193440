"""What the graph optimiser writes for processors."""
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
    L = [0, 2, 3, 7]
    yield "fc", "fc", {"Input": f(2, 3, 4), "W": Param(f(12, 5)), "Bias": Param(f(5))}, {"Out": "float32"}, dict(in_num_col_dims=1, activation_type="relu", padding_weights=False)
    yield "fc_two", "fc", {"Input": f(2, 3, 4), "W": Param(f(4, 5)), "Bias": Param(f(5))}, {"Out": "float32"}, dict(in_num_col_dims=2, activation_type="", padding_weights=False)
    yield "repeated_fc", "fusion_repeated_fc_relu", {"X": f(3, 4), "W": [Param(f(4, 6)), Param(f(6, 5)), Param(f(5, 2))], "Bias": [Param(f(6)), Param(f(5)), Param(f(2))]}, {"Out": "float32", "_ReluOut": ["float32"] * 2}
    yield "squared_mat_sub", "fusion_squared_mat_sub", {"X": f(3, 4), "Y": f(4, 5)}, {"Out": "float32", "_SquaredX": "float32", "_SquaredY": "float32", "_SquaredXY": "float32"}, dict(scalar=0.5)
    for rev in (False, True):
        yield f"gru_{rev}", "fusion_gru", {"X": Lod(f(7, 5), L), "WeightX": Param(f(5, 9)), "WeightH": Param(f(3, 9)), "Bias": Param(f(1, 9))}, {"Hidden": "float32", "_XX": "float32", "_ReorderedH0": "float32", "_BatchedInput": "float32", "_BatchedOut": "float32"}, dict(activation="tanh", gate_activation="sigmoid", is_reverse=rev, use_seq=True, origin_mode=False)
        yield f"lstm_{rev}", "fusion_lstm", {"X": Lod(f(7, 5), L), "WeightX": Param(f(5, 12)), "WeightH": Param(f(3, 12)), "Bias": Param(f(1, 21 if rev else 12))}, {"Hidden": "float32", "Cell": "float32", "_XX": "float32", "_BatchedInput": "float32", "_BatchedHidden": "float32", "_BatchedCell": "float32", "_ReorderedH0": "float32", "_ReorderedC0": "float32", "_CheckedCell": "float32"}, dict(use_peepholes=rev, is_reverse=rev, use_seq=True, gate_activation="sigmoid", cell_activation="tanh", candidate_activation="tanh")
    yield "seqconv", "fusion_seqconv_eltadd_relu", {"X": Lod(f(7, 4), L), "Filter": Param(f(12, 5)), "Bias": Param(f(1, 5))}, {"Out": "float32", "_ColMat": "float32"}, dict(contextLength=3, contextStart=-1, contextStride=1)


def cases():
    for row in rows(rng("fused")):
        yield case(*row)
