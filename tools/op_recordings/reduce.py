"""Reductions, running sums, normalisation, products and einsum."""
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
    for k in ("sum", "mean", "max", "min", "prod", "amax", "amin"):
        for n, at in (("all", dict(dim=[], keep_dim=False, reduce_all=True)), ("one", dict(dim=[1], keep_dim=False, reduce_all=False)), ("two", dict(dim=[-1, 0], keep_dim=True, reduce_all=False))):
            yield f"{k}_{n}", "reduce_" + k, {"X": x}, {"Out": "float32"}, at
    for k in ("sum", "max", "min", "prod"):
        yield f"{k}_i64", "reduce_" + k, {"X": i(5, 2, 3)}, {"Out": "int64"}, dict(dim=[1], keep_dim=False, reduce_all=False)
    yield "sum_i32", "reduce_sum", {"X": i(5, 2, 3).astype(np.int32)}, {"Out": "int64"}, dict(dim=[1], keep_dim=False, reduce_all=False, in_dtype=2, out_dtype=3)
    for k in ("all", "any"):
        yield k, "reduce_" + k, {"X": r.random((3, 4)) > .3}, {"Out": "bool"}, dict(dim=[1], keep_dim=True, reduce_all=False)
    yield "frobenius", "frobenius_norm", {"X": x}, {"Out": "float32"}, dict(dim=[1, 2], keep_dim=False, reduce_all=False)
    for p in (1.0, 2.0, 3.0, float("inf"), float("-inf")):
        yield f"p_norm_{p}", "p_norm", {"X": x}, {"Out": "float32"}, dict(porder=p, axis=1, keepdim=True, epsilon=1e-12, asvector=False)
    yield "p_norm_flat", "p_norm", {"X": x}, {"Out": "float32"}, dict(porder=2.0, axis=-1, keepdim=False, epsilon=1e-12, asvector=True)
    yield "p_norm_zero", "p_norm", {"X": np.array([[0, 1, 2], [0, 0, 3]], np.float32)}, {"Out": "float32"}, dict(porder=0.0, axis=1, keepdim=False, epsilon=1e-12, asvector=False)
    yield "logsumexp", "logsumexp", {"X": x}, {"Out": "float32"}, dict(axis=[0, 2], keepdim=False, reduce_all=False)
    yield "mean", "mean", {"X": x}, {"Out": "float32"}
    for n, at in (("plain", {}), ("reverse", dict(reverse=True)), ("exclusive", dict(exclusive=True)), ("both", dict(exclusive=True, reverse=True))):
        yield "cumsum_" + n, "cumsum", {"X": x}, {"Out": "float32"}, dict(dict(axis=1, flatten=False, exclusive=False, reverse=False), **at)
    yield "cumsum_flat", "cumsum", {"X": x}, {"Out": "float32"}, dict(axis=-1, flatten=True, exclusive=False, reverse=False)
    yield "cumsum_i64", "cumsum", {"X": i(5, 2, 3)}, {"Out": "int64"}, dict(axis=-1, flatten=False, exclusive=False, reverse=False)
    yield "cumprod", "cumprod", {"X": x}, {"Out": "float32"}, dict(dim=2)
    yield "logcumsumexp", "logcumsumexp", {"X": x}, {"Out": "float32"}, dict(axis=1, flatten=False, exclusive=False, reverse=False)
    yield "layer_norm", "layer_norm", {"X": x, "Scale": Param(f(12)), "Bias": Param(f(12))}, {"Y": "float32", "_Mean": "float32", "_Variance": "float32"}, dict(begin_norm_axis=1, epsilon=1e-5)
    yield "norm", "norm", {"X": x}, {"Out": "float32", "_Norm": "float32"}, dict(axis=1, epsilon=1e-10)
    for a in (-1, 1, 0):
        yield f"softmax_{a}", "softmax", {"X": x}, {"Out": "float32"}, dict(axis=a)
        yield f"log_softmax_{a}", "log_softmax", {"X": x}, {"Out": "float32"}, dict(axis=a)
    yield "matmul_v2", "matmul_v2", {"X": f(2, 1, 3, 4), "Y": f(5, 6, 4)}, {"Out": "float32"}, dict(trans_x=False, trans_y=True)
    yield "bmm", "bmm", {"X": f(2, 3, 4), "Y": f(2, 4, 5)}, {"Out": "float32"}
    yield "mv", "mv", {"X": f(3, 4), "Vec": f(4)}, {"Out": "float32"}
    yield "dot", "dot", {"X": f(4), "Y": f(4)}, {"Out": "float32"}
    yield "dot_rows", "dot", {"X": f(3, 4), "Y": f(3, 4)}, {"Out": "float32"}
    yield "addmm", "addmm", {"Input": f(3, 5), "X": f(3, 4), "Y": f(4, 5)}, {"Out": "float32"}, dict(Alpha=0.5, Beta=2.0)
    for n, q, *ops in (("matmul", "bij,bjk->bik", f(2, 3, 4), f(2, 4, 5)), ("linear", "bhwc,cd->bhwd", f(2, 3, 4, 5), f(5, 6)), ("attention", "blhd,bmhd->bhlm", f(2, 3, 4, 5), f(2, 6, 4, 5)),
                       ("two_sums", "bijk,bjkl->bil", f(2, 3, 4, 5), f(2, 4, 5, 6)), ("outer", "i,j->ij", f(3), f(4)), ("inner", "i,i->", f(3), f(3)), ("sum", "ijk->j", f(2, 3, 4)), ("turn", "ijk->kij", f(2, 3, 4)),
                       ("alone", "ij,kl->il", f(2, 3), f(4, 5)), ("times", "ij,ij->ij", f(2, 3), f(2, 3)), ("ellipsis", "...ij,jk->...ik", f(2, 5, 3, 4), f(4, 6)),
                       ("order", "bik,bkj->jib", f(2, 3, 4), f(2, 4, 5)), ("batch_mid", "ibj,jbk->bik", f(3, 2, 4), f(4, 2, 5))):
        yield "einsum_" + n, "einsum", {"Operands": list(ops)}, {"Out": "float32", "_InnerCache": ["float32"] * len(ops), "_XShape": ["float32"] * len(ops)}, dict(equation=q)


def cases():
    for row in rows(rng("reduce")):
        yield case(*row)
