"""Resizing, padding, sampling, and moving elements between channels and places."""
import itertools

import numpy as np
from frame import Case, Param, rng

R = rng("resize")


def normal(*shape):
    return R.normal(size=shape).astype(np.float32)


METHODS = {"linear": ("NCHW", (2, 2, 7)), "nearest": ("NCHW", (1, 2, 5, 7)), "bilinear": ("NCHW", (1, 2, 5, 7)),
           "bicubic": ("NCHW", (1, 2, 5, 7)), "trilinear": ("NCHW", (1, 2, 3, 4, 5))}


def interp(method, version, size=None, scale=None, corners=False, mode=1, layout=None, ins=None):
    x = METHODS[method][1]
    axes = len(x) - 2
    size = (size or [-1] * axes)[:axes]
    layout = layout or METHODS[method][0]
    if layout[-1] == "C":
        x = (x[0], *x[2:], x[1])
    out = dict(zip(("out_d", "out_h", "out_w"), [-1] * (3 - axes) + size))
    attrs = {**out, "interp_method": method, "align_corners": corners, "align_mode": mode, "data_layout": layout,
             "scale": scale if scale is not None else ([] if version == 2 else 0.0)}
    return Case(f"{method}_interp" + ("_v2" if version == 2 else ""), {"X": normal(*x), **(ins or {})}, attrs, open_dims=0 if layout[-1] == "C" else 1)


def interps():
    larger, smaller = {1: [11], 2: [9, 10], 3: [5, 7, 4]}, {1: [3], 2: [3, 4], 3: [2, 3, 3]}
    for method, version in itertools.product(METHODS, (1, 2)):
        axes = len(METHODS[method][1]) - 2
        for corners, mode in ((True, 1), (False, 0), (False, 1)):
            if (method in ("nearest", "bicubic") and not corners and mode == 0):
                continue
            yield interp(method, version, larger[axes], corners=corners, mode=mode)
            yield interp(method, version, smaller[axes], corners=corners, mode=mode)
            yield interp(method, version, scale=[1.5, 2.2, 0.7][:axes] if version == 2 else 1.7, corners=corners, mode=mode)
    for method in ("nearest", "bilinear", "bicubic"):
        yield interp(method, 2, [6, 3], layout="NHWC")
        yield interp(method, 2, ins={"OutSize": np.int32([4, 9])})
        yield interp(method, 2, scale=[2.5, 1.5], ins={"OutSize": np.int32([4, 9])})
        yield interp(method, 2, ins={"SizeTensor": [np.int32([4]), np.int32([9])]})
        yield interp(method, 2, ins={"Scale": np.float32([1.5, 2.5])})
        yield interp(method, 2, ins={"Scale": np.float32([1.5])})
        yield interp(method, 1, [4, 4], ins={"OutSize": np.int32([4, 9])})


def pads():
    yield Case("pad", {"X": normal(2, 3, 4)}, {"paddings": [0, 1, 2, 0, 1, 1], "pad_value": -1.5})
    yield Case("pad", {"X": R.integers(0, 9, (2, 3)).astype(np.int64)}, {"paddings": [0, 1, 2, 0], "pad_value": 3.0}, {"Out": "int64"})
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield Case("pad3d", {"X": normal(1, 2, 3, 4, 5)}, {"paddings": [1, 2, 2, 1, 0, 1], "mode": mode, "value": 0.5, "data_format": "NCDHW"})
        yield Case("pad3d", {"X": normal(1, 3, 4, 5, 2)}, {"paddings": [1, 2, 2, 1, 0, 1], "mode": mode, "value": 0.5, "data_format": "NDHWC"}, open_dims=0)


def crops():
    yield Case("crop", {"X": normal(3, 5, 6)}, {"shape": [3, 2, 4], "offsets": [0, 1, 2]}, open_dims=0)
    yield Case("crop_tensor", {"X": normal(3, 5, 6)}, {"shape": [-1, 2, 4], "offsets": [1, 1, 2]}, open_dims=0)


def samplers():
    for mode, padding, corners in itertools.product(("bilinear", "nearest"), ("zeros", "border", "reflection"), (True, False)):
        yield Case("grid_sampler", {"X": normal(2, 3, 5, 6), "Grid": normal(2, 4, 3, 2) * np.float32(0.9)},
                   {"mode": mode, "padding_mode": padding, "align_corners": corners}, {"Output": "float32"})
    for mode, padding in itertools.product(("bilinear", "nearest"), ("zeros", "border", "reflection")):
        yield Case("grid_sampler", {"X": normal(1, 2, 3, 4, 5), "Grid": normal(1, 2, 3, 3, 3)},
                   {"mode": mode, "padding_mode": padding, "align_corners": mode == "nearest"}, {"Output": "float32"})
    for corners in (True, False):
        yield Case("affine_grid", {"Theta": normal(2, 2, 3)}, {"output_shape": [2, 3, 4, 5], "align_corners": corners},
                   {"Output": "float32"}, open_dims=0)
        yield Case("affine_grid", {"Theta": normal(2, 2, 3), "OutputShape": np.int32([2, 3, 4, 5])},
                   {"output_shape": [], "align_corners": corners}, {"Output": "float32"}, open_dims=0)


def moves():
    for layout, shape in (("NCHW", (2, 8, 3, 4)), ("NHWC", (2, 3, 4, 8))):
        yield Case("pixel_shuffle", {"X": normal(*shape)}, {"upscale_factor": 2, "data_format": layout})
        yield Case("channel_shuffle", {"X": normal(*shape)}, {"groups": 4, "data_format": layout})
    for layout, shape in (("NCHW", (2, 3, 4, 6)), ("NHWC", (2, 4, 6, 3))):
        yield Case("pixel_unshuffle", {"X": normal(*shape)}, {"downscale_factor": 2, "data_format": layout})
    yield Case("shuffle_channel", {"X": normal(2, 6, 3, 4)}, {"group": 3})
    for axis in (1, 3):
        yield Case("maxout", {"X": normal(2, 6, 3, 6)}, {"groups": 3, "axis": axis}, open_dims=0)
    for kernel, strides, paddings, dilations in (([2, 3], [1, 2], [0, 0, 0, 0], [1, 1]), ([3, 2], [2, 1], [1, 0, 2, 1], [1, 2])):
        attrs = {"kernel_sizes": kernel, "strides": strides, "paddings": paddings, "dilations": dilations}
        yield Case("unfold", {"X": normal(2, 3, 6, 7)}, attrs, {"Y": "float32"})
        h, w = ((n + paddings[i] + paddings[2 + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1 for i, n in enumerate((6, 7)))
        yield Case("fold", {"X": normal(2, 3 * kernel[0] * kernel[1], h * w)}, {**attrs, "output_sizes": [6, 7]}, {"Y": "float32"})
    for layout, shape in (("NCHW", (6, 8, 2, 3)), ("NHWC", (6, 2, 3, 8))):
        yield Case("temporal_shift", {"X": normal(*shape)}, {"seg_num": 3, "shift_ratio": 0.25, "data_format": layout}, open_dims=0)
    for x, kernels, strides, paddings in (((2, 3, 5, 6), [2, 3], [1, 2], [0, 0, 0, 0]), ((1, 1, 4, 4), [3, 3], [2, 2], [1, 0, 2, 1])):
        yield Case("im2sequence", {"X": normal(*x)}, {"kernels": kernels, "strides": strides, "paddings": paddings, "out_stride": [1, 1]})


def cases():
    yield from interps()
    yield from pads()
    yield from crops()
    yield from samplers()
    yield from moves()
