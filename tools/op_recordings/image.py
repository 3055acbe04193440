"""Convolution, pooling and normalisation of images and volumes."""
import numpy as np
from frame import Case, Param, rng

R = rng("image")


def normal(*shape):
    return R.normal(size=shape).astype(np.float32)


def conv(kind, x, w, strides, paddings, dilations, groups, algorithm="EXPLICIT", **more):
    return Case(kind, {"Input": normal(*x), "Filter": Param(normal(*w))},
                {"strides": strides, "paddings": paddings, "dilations": dilations, "groups": groups,
                 "padding_algorithm": algorithm, "data_format": "NCDHW" if "3d" in kind else "NCHW", **more},
                {"Output": "float32"})


def convolutions():
    x = (1, 4, 7, 9)
    yield conv("conv2d", x, (6, 4, 3, 3), [1, 1], [0, 0], [1, 1], 1)
    yield conv("conv2d", x, (6, 2, 3, 2), [2, 1], [1, 2], [1, 1], 2)
    yield conv("conv2d", x, (3, 4, 3, 3), [2, 2], [0, 1, 2, 1], [1, 2], 1)
    yield conv("conv2d", x, (3, 4, 3, 3), [2, 2], [0, 0], [1, 1], 1, "SAME")
    yield conv("conv2d", x, (3, 4, 2, 4), [3, 2], [1, 1], [2, 2], 1, "SAME")
    yield conv("conv2d", x, (3, 4, 3, 3), [1, 2], [1, 1], [1, 1], 1, "VALID")
    yield conv("depthwise_conv2d", x, (8, 1, 3, 3), [1, 1], [1, 1], [1, 1], 4)
    yield conv("depthwise_conv2d", x, (4, 1, 5, 5), [2, 2], [2, 2], [1, 1], 4)
    for groups in (1, 2):
        yield conv("conv2d_transpose", (1, 4, 3, 4), (4, 3, 3, 2), [2, 1], [1, 0], [1, 1], groups, output_padding=[])
        yield conv("conv2d_transpose", (2, 4, 3, 4), (4, 3, 3, 3), [2, 3], [0, 1, 1, 0], [2, 1], groups, output_padding=[])
    yield conv("conv2d_transpose", (1, 4, 3, 4), (4, 3, 3, 3), [2, 2], [1, 1], [1, 1], 1, output_padding=[1, 1])
    yield conv("conv2d_transpose", (1, 4, 3, 4), (4, 3, 2, 2), [2, 2], [0, 0], [1, 1], 1, output_padding=[])
    yield conv("conv2d_transpose", (1, 4, 3, 4), (4, 3, 3, 3), [2, 3], [1, 1], [1, 1], 1, output_size=[6, 12], output_padding=[])
    yield conv("conv2d_transpose", (1, 4, 4, 4), (4, 3, 3, 3), [2, 2], [0, 0], [1, 1], 1, "SAME", output_padding=[])
    yield conv("depthwise_conv2d_transpose", (1, 4, 3, 4), (4, 1, 4, 4), [2, 2], [1, 1], [1, 1], 4, output_padding=[])
    yield conv("conv2d", (1, 5, 6, 4), (6, 2, 3, 2), [2, 1], [1, 2], [1, 1], 2, data_format="NHWC")
    yield conv("depthwise_conv2d", (1, 5, 6, 4), (4, 1, 3, 3), [1, 1], [1, 1], [1, 1], 4, data_format="NHWC")
    yield conv("conv2d_transpose", (1, 3, 4, 4), (4, 3, 3, 3), [2, 2], [1, 1], [1, 1], 1, output_padding=[], data_format="NHWC")
    yield conv("conv3d", (1, 4, 5, 6, 2), (3, 2, 2, 3, 3), [1, 2, 1], [0, 1, 2], [1, 1, 1], 1, data_format="NDHWC")
    x = (1, 2, 4, 5, 6)
    yield conv("conv3d", x, (3, 2, 2, 3, 3), [1, 2, 1], [0, 1, 2], [1, 1, 1], 1)
    yield conv("conv3d", x, (4, 1, 2, 2, 2), [2, 2, 2], [1, 0, 0, 1, 1, 1], [1, 2, 1], 2)
    yield conv("conv3d", x, (3, 2, 3, 3, 3), [2, 1, 2], [0, 0, 0], [1, 1, 1], 1, "SAME")
    yield conv("conv3d_transpose", (1, 2, 2, 3, 2), (2, 3, 2, 3, 2), [2, 1, 2], [0, 1, 0], [1, 1, 1], 1, output_padding=[])
    yield conv("conv3d_transpose", (1, 4, 2, 2, 2), (4, 2, 3, 3, 3), [1, 2, 2], [1, 1, 1], [1, 1, 1], 2, output_padding=[0, 1, 1])


def deformable():
    for groups, deform, strides, dilations in ((1, 1, [1, 1], [1, 1]), (2, 2, [2, 1], [1, 2])):
        h = (6 + 2 - (dilations[0] * 2 + 1)) // strides[0] + 1
        w = (7 + 2 - (dilations[1] * 2 + 1)) // strides[1] + 1
        ins = {"Input": normal(2, 4, 6, 7), "Filter": Param(normal(4, 4 // groups, 3, 3)),
               "Offset": normal(2, deform * 18, h, w) * 2, "Mask": np.abs(normal(2, deform * 9, h, w))}
        attrs = {"strides": strides, "paddings": [1, 1], "dilations": dilations, "groups": groups,
                 "deformable_groups": deform, "im2col_step": 1}
        yield Case("deformable_conv", ins, attrs, {"Output": "float32"})
        yield Case("deformable_conv_v1", {k: v for k, v in ins.items() if k != "Mask"}, attrs, {"Output": "float32"})


def pool(kind, x, ksize, strides, paddings, outs=None, **more):
    attrs = {"ksize": ksize, "strides": strides, "paddings": paddings, "global_pooling": False, "adaptive": False, **more}
    if "index" not in kind:
        attrs = {"pooling_type": "max", "ceil_mode": False, "exclusive": True, "padding_algorithm": "EXPLICIT",
                 "data_format": "NCDHW" if "3d" in kind else "NCHW", **attrs}
    return Case(kind, {"X": normal(*x)}, attrs, outs or {"Out": "float32"})


def pools():
    x = (1, 2, 7, 8)
    for kind in ("max", "avg"):
        yield pool("pool2d", x, [3, 2], [2, 1], [1, 0], pooling_type=kind)
        yield pool("pool2d", x, [3, 3], [2, 2], [1, 0], pooling_type=kind, ceil_mode=True)
        yield pool("pool2d", x, [3, 3], [2, 2], [0, 1, 1, 0], pooling_type=kind)
        yield pool("pool2d", x, [3, 3], [2, 2], [0, 0], pooling_type=kind, padding_algorithm="SAME")
        yield pool("pool2d", x, [1, 1], [1, 1], [0, 0], pooling_type=kind, global_pooling=True)
        yield pool("pool3d", (1, 2, 4, 5, 6), [2, 3, 2], [1, 2, 2], [0, 1, 1], pooling_type=kind)
        yield pool("pool3d", (1, 2, 4, 5, 6), [3, 2, 2], [2, 2, 2], [1, 0, 1], pooling_type=kind, ceil_mode=True)
        yield pool("pool3d", (1, 2, 4, 5, 6), [2, 2, 2], [1, 1, 1], [0, 0, 0], pooling_type=kind, global_pooling=True)
        yield pool("pool2d", (1, 7, 8, 2), [3, 2], [2, 1], [1, 0], pooling_type=kind, data_format="NHWC")
        yield pool("pool3d", (1, 4, 5, 6, 2), [2, 3, 2], [1, 2, 2], [0, 1, 1], pooling_type=kind, data_format="NDHWC")
    # Of the largest elements only the kind with indices is adaptive; the other takes the sizes for a window.
    yield pool("pool2d", x, [3, 5], [1, 1], [0, 0], pooling_type="avg", adaptive=True)
    yield pool("pool3d", (1, 2, 4, 5, 6), [2, 3, 4], [1, 1, 1], [0, 0, 0], pooling_type="avg", adaptive=True)
    yield pool("pool2d", x, [3, 2], [2, 1], [1, 1], pooling_type="avg", exclusive=False)
    yield pool("pool2d", x, [3, 3], [2, 2], [1, 0], pooling_type="avg", exclusive=False, ceil_mode=True)
    yield pool("pool3d", (1, 2, 4, 5, 6), [2, 3, 2], [1, 2, 2], [1, 1, 1], pooling_type="avg", exclusive=False)
    outs = {"Out": "float32", "Mask": "int32"}
    yield pool("max_pool2d_with_index", x, [2, 3], [2, 2], [1, 1], outs)
    yield pool("max_pool2d_with_index", x, [3, 3], [1, 1], [0, 0], outs, adaptive=True)
    yield pool("max_pool2d_with_index", x, [3, 3], [1, 1], [0, 0], outs, global_pooling=True)
    yield pool("max_pool3d_with_index", (1, 2, 4, 5, 6), [2, 2, 3], [2, 1, 2], [0, 1, 1], outs)
    indices = np.int32([[[[0, 3], [10, 15]], [[5, 6], [8, 12]]]])
    yield Case("unpool", {"X": normal(1, 2, 2, 2), "Indices": indices},
               {"ksize": [2, 2], "strides": [2, 2], "paddings": [0, 0], "unpooling_type": "max", "output_size": [4, 4],
                "data_format": "NCHW"})


def norms():
    def vector(n, positive=False):
        v = normal(n)
        return Param(np.abs(v) + np.float32(0.1) if positive else v)

    for shape, layout in (((2, 3, 4, 5), "NCHW"), ((2, 4, 5, 3), "NHWC"), ((4, 3), "NCHW"), ((2, 3, 2, 4, 5), "NCHW"), ((2, 3, 7), "NCHW")):
        yield Case("batch_norm", {"X": normal(*shape), "Scale": vector(3), "Bias": vector(3), "Mean": vector(3), "Variance": vector(3, True)},
                   {"epsilon": 1e-3, "is_test": True, "use_global_stats": True, "data_layout": layout, "momentum": 0.9},
                   {"Y": "float32", "MeanOut": "=Mean", "VarianceOut": "=Variance", "SavedMean": "float32", "SavedVariance": "float32"}, ("Y",))
    saved = {"Y": "float32", "SavedMean": "float32", "SavedVariance": "float32"}
    for shape in ((2, 3, 4, 5), (2, 3, 7)):
        yield Case("instance_norm", {"X": normal(*shape), "Scale": vector(3), "Bias": vector(3)}, {"epsilon": 1e-4}, saved, ("Y",))
    outs = {"Y": "float32", "Mean": "float32", "Variance": "float32"}
    yield Case("group_norm", {"X": normal(2, 6, 3, 4), "Scale": vector(6), "Bias": vector(6)}, {"epsilon": 1e-4, "groups": 3, "data_layout": "NCHW"}, outs, ("Y",))
    yield Case("group_norm", {"X": normal(2, 3, 4, 6), "Scale": vector(6), "Bias": vector(6)}, {"epsilon": 1e-4, "groups": 2, "data_layout": "NHWC"}, outs, ("Y",))
    yield Case("group_norm", {"X": normal(2, 6, 3, 4)}, {"epsilon": 1e-4, "groups": 1, "data_layout": "NCHW"}, outs, ("Y",))
    for n in (3, 5):
        yield Case("lrn", {"X": normal(1, 7, 2, 3)}, {"n": n, "k": 1.5, "alpha": 0.1, "beta": 0.75, "data_format": "NCHW"},
                   {"Out": "float32", "MidOut": "float32"}, ("Out",))
    yield Case("affine_channel", {"X": normal(2, 3, 4, 5), "Scale": vector(3), "Bias": vector(3)}, {"data_layout": "NCHW"})
    yield Case("affine_channel", {"X": normal(2, 4, 5, 3), "Scale": vector(3), "Bias": vector(3)}, {"data_layout": "NHWC"})
    yield Case("data_norm", {"X": normal(4, 3), "BatchSize": vector(3, True), "BatchSum": vector(3), "BatchSquareSum": vector(3, True)},
               {"epsilon": 1e-4, "data_layout": "NCHW", "slot_dim": -1, "enable_scale_and_shift": False},
               {"Y": "float32", "Means": "float32", "Scales": "float32"}, ("Y",))


def cases():
    yield from convolutions()
    yield from deformable()
    yield from pools()
    yield from norms()
