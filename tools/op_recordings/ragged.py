"""Ragged rows: sequence operators, recurrent layers of 1.x, decoders."""
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
    x = Lod(f(7, 4), L)
    y = Lod(f(7, 4), L)
    ids = Lod(r.integers(0, 9, (7, 1)).astype(np.int64), L)
    idsz = Lod(np.array([[0],[0],[3],[3],[0],[3],[5]], np.int64), L)
    E = [0, 2, 2, 7]
    xe = Lod(f(7, 4), E)
    for k in ("SUM", "AVERAGE", "SQRT", "MAX", "FIRST", "LAST"):
        yield "pool_" + k, "sequence_pool", {"X": xe}, {"Out": "float32", "_MaxIndex": "int32"}, {"pooltype": k, "pad_value": 0.5, "is_test": True}
    yield "softmax", "sequence_softmax", {"X": Lod(f(7, 1), L)}, {"Out": "float32"}
    yield "expand_rows", "sequence_expand", {"X": f(3, 4), "Y": y}, {"Out": "float32"}, {"ref_level": 0}
    yield "expand_lod", "sequence_expand", {"X": Lod(f(4, 3), [0, 1, 3, 4]), "Y": y}, {"Out": "float32"}, {"ref_level": 0}
    yield "expand_lod_last", "sequence_expand", {"X": Lod(f(4, 3), [0, 1, 3, 4]), "Y": y}, {"Out": "float32"}, {"ref_level": -1}
    y2 = Lod(f(7, 4), [0, 2, 3], [0, 3, 5, 7])
    yield "expand_level0", "sequence_expand", {"X": f(2, 3), "Y": y2}, {"Out": "float32"}, {"ref_level": 0}
    yield "expand_level1", "sequence_expand", {"X": f(3, 3), "Y": y2}, {"Out": "float32"}, {"ref_level": 1}
    yield "expand_as", "sequence_expand_as", {"X": f(3, 4), "Y": y}, {"Out": "float32"}
    yield "concat", "sequence_concat", {"X": [x, Lod(f(5, 4), [0, 1, 4, 5])]}, {"Out": "float32"}
    yield "reverse", "sequence_reverse", {"X": x}, {"Y": "float32"}
    yield "reverse_i64", "sequence_reverse", {"X": ids}, {"Y": "int64"}
    for n, l in (("longest", -1), ("six", 6)):
        yield "pad_" + n, "sequence_pad", {"X": x, "PadValue": Param(np.array([-1], np.float32))}, {"Out": "float32", "Length": "int64"}, {"padded_length": l}
    yield "pad_row", "sequence_pad", {"X": x, "PadValue": Param(f(4))}, {"Out": "float32", "Length": "int64"}, {"padded_length": -1}
    yield "unpad", "sequence_unpad", {"X": f(3, 5, 2), "Length": np.array([2, 5, 1], np.int64)}, {"Out": "float32"}
    yield "unpad_flat", "sequence_unpad", {"X": f(3, 5), "Length": np.array([2, 5, 1], np.int64)}, {"Out": "float32"}
    yield "slice", "sequence_slice", {"X": x, "Offset": np.array([[1], [0], [1]], np.int64), "Length": np.array([[1], [1], [2]], np.int64)}, {"Out": "float32"}
    yield "reshape", "sequence_reshape", {"X": x}, {"Out": "float32"}, {"new_dim": 2}
    yield "enumerate", "sequence_enumerate", {"X": ids}, {"Out": "int64"}, {"win_size": 3, "pad_value": 7}
    yield "erase", "sequence_erase", {"X": idsz}, {"Out": "int64"}, {"tokens": [0, 5]}
    yield "mask", "sequence_mask", {"X": np.array([1, 0, 4], np.int64)}, {"Y": "int64"}, {"maxlen": 5, "out_dtype": 3}
    yield "mask_f32", "sequence_mask", {"X": np.array([[1], [4]], np.int64)}, {"Y": "float32"}, {"maxlen": 5, "out_dtype": 5}
    yield "mask_longest", "sequence_mask", {"X": np.array([1, 0, 4], np.int64)}, {"Y": "int32"}, {"maxlen": -1, "out_dtype": 2}
    yield "scatter", "sequence_scatter", {"X": f(3, 9), "Ids": ids, "Updates": Lod(f(7, 1), L)}, {"Out": "float32"}
    yield "conv", "sequence_conv", {"X": x, "Filter": Param(f(12, 5))}, {"Out": "float32"}, {"contextLength": 3, "contextStart": -1, "contextStride": 1}
    yield "conv_ahead", "sequence_conv", {"X": x, "Filter": Param(f(16, 5))}, {"Out": "float32"}, {"contextLength": 4, "contextStart": 0, "contextStride": 1}
    yield "row_conv", "row_conv", {"X": x, "Filter": Param(f(3, 4))}, {"Out": "float32"}
    yield "lod_reset_attr", "lod_reset", {"X": x}, {"Out": "float32"}, {"target_lod": [0, 4, 7]}
    yield "lod_reset_y", "lod_reset", {"X": x, "Y": Lod(f(7, 1), [0, 1, 7])}, {"Out": "float32"}
    yield "lod_reset_data", "lod_reset", {"X": x, "Y": np.array([0, 3, 7], np.int32)}, {"Out": "float32"}
    i32 = Lod(np.array([[0],[1],[1],[2],[2],[0],[4]], np.int32), L)
    yield "ctc_align", "ctc_align", {"Input": i32}, {"Output": "int32"}, {"blank": 0, "merge_repeated": True}
    yield "ctc_align_keep", "ctc_align", {"Input": i32}, {"Output": "int32"}, {"blank": 1, "merge_repeated": False}
    yield "ctc_align_none", "ctc_align", {"Input": Lod(np.zeros((3, 1), np.int32), [0, 3])}, {"Output": "int32"}, {"blank": 0, "merge_repeated": True}
    yield "ctc_align_padded", "ctc_align", {"Input": np.array([[0,1,1,0,4],[2,2,3,3,3]], np.int32), "InputLength": np.array([[4],[3]], np.int32)}, {"Output": "int32", "OutputLength": "int32"}, {"blank": 0, "merge_repeated": True, "padding_value": 9}
    h, q = Lod(np.array([[1],[2],[3],[4],[1]], np.int64), [0, 3, 5]), Lod(np.array([[1],[3],[3],[4]], np.int64), [0, 2, 4])
    for n in (False, True):
        yield f"edit_distance_{n}", "edit_distance", {"Hyps": h, "Refs": q}, {"Out": "float32", "SequenceNum": "int64"}, {"normalized": n}
    yield "edit_distance_padded", "edit_distance", {"Hyps": r.integers(0, 3, (2, 5)).astype(np.int64), "HypsLength": np.array([5, 3], np.int64), "Refs": r.integers(0, 3, (2, 4)).astype(np.int64), "RefsLength": np.array([4, 2], np.int64)}, {"Out": "float32", "SequenceNum": "int64"}, {"normalized": True}
    yield "hash", "hash", {"X": Lod(r.integers(0, 99, (7, 2)).astype(np.int32), L)}, {"Out": "int64"}, {"num_hash": 3, "mod_by": 1000}
    yield "hash_i64", "hash", {"X": Lod(r.integers(0, 99, (7, 4)).astype(np.int64), L)}, {"Out": "int64"}, {"num_hash": 2, "mod_by": 100000}
    two = [0, 1, 2], [0, 2, 4]
    for n, a in (("accumulated", True), ("probabilities", False)):
        yield f"beam_{n}", "beam_search", {"pre_ids": Lod(np.int64([[1], [2], [0], [4]]), *two), "pre_scores": Lod(f(4, 1), *two),
                                           "ids": Lod(r.integers(0, 9, (4, 3)).astype(np.int64), *two), "scores": Lod(np.abs(f(4, 3)), *two)}, {"selected_ids": "int64", "selected_scores": "float32", "parent_idx": "int32"}, {"level": 0, "beam_size": 2, "end_id": 0, "is_accumulated": a}
    yield "beam_ended", "beam_search", {"pre_ids": Lod(np.int64([[0], [0], [1], [4]]), *two), "pre_scores": Lod(f(4, 1), *two),
                                        "ids": Lod(r.integers(0, 9, (4, 3)).astype(np.int64), *two), "scores": Lod(np.abs(f(4, 3)), *two)}, {"selected_ids": "int64", "selected_scores": "float32", "parent_idx": "int32"}, {"level": 0, "beam_size": 3, "end_id": 0, "is_accumulated": True}
    yield "cvm", "cvm", {"X": np.abs(f(3, 6)), "CVM": np.ones((3, 2), np.float32)}, {"Y": "float32"}, {"use_cvm": True}
    yield "cvm_drop", "cvm", {"X": np.abs(f(3, 6)), "CVM": np.ones((3, 2), np.float32)}, {"Y": "float32"}, {"use_cvm": False}
    for n, a in (("plain", {}), ("reverse", {"is_reverse": True}), ("origin", {"origin_mode": True}), ("relu", {"activation": "relu", "gate_activation": "sigmoid"})):
        at = {"is_reverse": False, "origin_mode": False, "activation": "tanh", "gate_activation": "sigmoid"}; at.update(a)
        yield "gru_" + n, "gru", {"Input": Lod(f(7, 9), L), "Weight": Param(f(3, 9)), "Bias": Param(f(1, 9)), "H0": f(3, 3)}, {"Hidden": "float32", "_BatchGate": "float32", "_BatchResetHiddenPrev": "float32", "_BatchHidden": "float32"}, at
    yield "gru_unit", "gru_unit", {"Input": f(4, 9), "HiddenPrev": f(4, 3), "Weight": Param(f(3, 9)), "Bias": Param(f(1, 9))}, {"Hidden": "float32", "_Gate": "float32", "_ResetHiddenPrev": "float32"}, {"activation": 2, "gate_activation": 1, "origin_mode": False}
    yield "crf_decoding", "crf_decoding", {"Emission": Lod(f(7, 5), L), "Transition": Param(f(7, 5))}, {"ViterbiPath": "int64"}
    yield "crf_decoding_length", "crf_decoding", {"Emission": f(3, 6, 5), "Transition": Param(f(7, 5)), "Length": np.array([6, 2, 4], np.int64)}, {"ViterbiPath": "int64"}
    yield "crf_decoding_label", "crf_decoding", {"Emission": Lod(f(7, 5), L), "Transition": Param(f(7, 5)), "Label": Lod(r.integers(0, 5, (7, 1)).astype(np.int64), L)}, {"ViterbiPath": "int64"}
    for t in (True, False):
        yield f"viterbi_{t}", "viterbi_decode", {"Input": f(3, 6, 5), "Transition": f(5, 5), "Length": np.array([6, 2, 4], np.int64)}, {"Scores": "float32", "Path": "int64"}, {"include_bos_eos_tag": t}
    yield "fused_embedding_seq_pool", "fused_embedding_seq_pool", {"W": Param(f(9, 4)), "Ids": ids}, {"Out": "float32"}, {"combiner": "sum", "is_sparse": True}
    yield "data_norm", "data_norm", {"X": f(4, 6), "BatchSize": Param(np.full(6, 100, np.float32)), "BatchSum": Param(f(6) * 10), "BatchSquareSum": Param(np.abs(f(6)) * 100 + 50)}, {"Y": "float32", "_Means": "float32", "_Scales": "float32"}, {"epsilon": 1e-4, "slot_dim": -1}


def cases():
    for row in rows(rng("ragged")):
        yield case(*row)
