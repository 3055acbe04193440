"""Operators of detection. Boxes are random but never tie, so that every order is decided."""
import itertools

import numpy as np
from frame import Case, Lod, rng

R = rng("detect")


def normal(*shape):
    return R.normal(size=shape).astype(np.float32)


def uniform(low, high, *shape):
    return R.uniform(low, high, shape).astype(np.float32)


def boxes(*shape, size=20.0):
    """Left, top, right, bottom within 0 .. size."""
    corner, extent = uniform(0, size * 0.7, *shape, 2), uniform(size * 0.05, size * 0.4, *shape, 2)
    return np.concatenate([corner, corner + extent], -1)


def polygons(*shape, corners):
    """Corners round a middle, at angles that rise."""
    middle, turn = uniform(3, 8, *shape, 1, 2), np.sort(uniform(0, 0.9, *shape, corners), -1)
    angle = 2 * np.pi * (np.arange(corners) + turn) / corners
    reach = uniform(1.5, 4, *shape, corners)
    return (middle + np.stack([np.cos(angle) * reach, np.sin(angle) * reach], -1)).reshape(*shape, 2 * corners).astype(np.float32)


def places():
    outs = {"Boxes": "float32", "Variances": "float32"}
    feature, image = normal(1, 2, 3, 4), normal(1, 3, 24, 40)
    variances = [0.1, 0.1, 0.2, 0.2]
    for flip, clip, early, step in itertools.product((True, False), (True, False), (True, False), (0.0, 7.0)):
        yield Case("prior_box", {"Input": feature, "Image": image},
                   {"min_sizes": [4.0, 9.0], "max_sizes": [9.0, 15.0], "aspect_ratios": [1.0, 2.0, 3.0], "variances": variances,
                    "flip": flip, "clip": clip, "step_w": step, "step_h": step, "offset": 0.5,
                    "min_max_aspect_ratios_order": early}, outs)
    yield Case("prior_box", {"Input": feature, "Image": image},
               {"min_sizes": [4.0], "max_sizes": [], "aspect_ratios": [1.0], "variances": variances, "flip": False, "clip": False,
                "step_w": 0.0, "step_h": 0.0, "offset": 0.25, "min_max_aspect_ratios_order": False}, outs)
    for clip, flat, step in itertools.product((True, False), (True, False), (0.0, 8.0)):
        yield Case("density_prior_box", {"Input": feature, "Image": image},
                   {"fixed_sizes": [8.0, 12.0], "fixed_ratios": [1.0, 2.0], "densities": [2, 3], "variances": variances,
                    "clip": clip, "flatten_to_2d": flat, "step_w": step, "step_h": step, "offset": 0.5}, outs)
    yield Case("anchor_generator", {"Input": feature},
               {"anchor_sizes": [16.0, 32.0], "aspect_ratios": [0.5, 1.0, 2.0], "variances": variances, "stride": [16.0, 12.0],
                "offset": 0.5}, {"Anchors": "float32", "Variances": "float32"})


def coders():
    out = {"OutputBox": "float32"}
    for normalized in (True, False):
        prior, var = boxes(5), uniform(0.1, 0.3, 5, 4)
        for attrs, ins in (({"variance": []}, {"PriorBoxVar": var}), ({"variance": [0.1, 0.2, 0.3, 0.4]}, {}), ({"variance": []}, {})):
            common = {"box_normalized": normalized, **attrs}
            yield Case("box_coder", {"PriorBox": prior, "TargetBox": boxes(3), **ins}, {"code_type": "encode_center_size", "axis": 0, **common}, out)
            yield Case("box_coder", {"PriorBox": prior, "TargetBox": normal(3, 5, 4), **ins}, {"code_type": "decode_center_size", "axis": 0, **common}, out)
            yield Case("box_coder", {"PriorBox": prior, "TargetBox": normal(5, 3, 4), **ins}, {"code_type": "decode_center_size", "axis": 1, **common}, out, open_dims=0)
        yield Case("iou_similarity", {"X": boxes(4), "Y": boxes(6)}, {"box_normalized": normalized}, open_dims=0)
    yield Case("box_decoder_and_assign", {"PriorBox": boxes(5), "PriorBoxVar": uniform(0.1, 0.3, 4), "TargetBox": normal(5, 12) * np.float32(3),
                                          "BoxScore": uniform(0, 1, 5, 3)}, {"box_clip": 0.8}, {"DecodeBox": "float32", "OutputAssignBox": "float32"}, open_dims=0)
    yield Case("box_clip", {"Input": Lod(boxes(5, size=60.0) - 10, [2, 3]), "ImInfo": np.float32([[30, 40, 1], [60, 50, 2]])}, {}, {"Output": "float32"})
    yield Case("polygon_box_transform", {"Input": normal(2, 8, 3, 4)}, {}, {"Output": "float32"})
    match = {"ColToRowMatchIndices": "int32", "ColToRowMatchDist": "float32"}
    for kind in ("bipartite", "per_prediction"):
        yield Case("bipartite_match", {"DistMat": Lod(uniform(0, 1, 7, 5), [3, 4])}, {"match_type": kind, "dist_threshold": 0.4}, match)


def yolo():
    for clip, scale, aware in itertools.product((True, False), (1.0, 1.05), (True, False)):
        yield Case("yolo_box", {"X": normal(2, 3 * (10 if aware else 9), 3, 2), "ImgSize": np.int32([[90, 70], [64, 128]])},
                   {"anchors": [10, 13, 16, 30, 33, 23], "class_num": 4, "conf_thresh": 0.4, "downsample_ratio": 32, "clip_bbox": clip,
                    "scale_x_y": scale, "iou_aware": aware, "iou_aware_factor": 0.4}, {"Boxes": "float32", "Scores": "float32"})


def rois():
    x, num = normal(2, 4, 8, 9), np.int32([2, 3])
    roi = boxes(5, size=30.0)
    for (ratio, aligned), counted in itertools.product(((-1, False), (2, False), (-1, True), (3, True)), (True, False)):
        ins = {"X": x, "ROIs": roi if counted else Lod(roi, [2, 3])}
        if counted:
            ins["RoisNum"] = num
        yield Case("roi_align", ins, {"pooled_height": 3, "pooled_width": 2, "spatial_scale": 0.25, "sampling_ratio": ratio, "aligned": aligned})
    yield Case("roi_pool", {"X": x, "ROIs": roi, "RoisNum": num}, {"pooled_height": 3, "pooled_width": 2, "spatial_scale": 0.25},
               {"Out": "float32", "Argmax": "int64"}, ("Out",))
    yield Case("psroi_pool", {"X": normal(2, 12, 8, 9), "ROIs": roi, "RoisNum": num},
               {"pooled_height": 3, "pooled_width": 2, "output_channels": 2, "spatial_scale": 0.25})


def nms():
    base = {"background_label": -1, "score_threshold": 0.2, "nms_top_k": -1, "keep_top_k": -1, "nms_threshold": 0.3, "normalized": True, "nms_eta": 1.0}
    variants = [{}, {"nms_top_k": 4}, {"keep_top_k": 5}, {"background_label": 0, "keep_top_k": 3, "nms_top_k": 6}, {"normalized": False},
                {"nms_threshold": 0.8, "nms_eta": 0.7}, {"score_threshold": 0.99}]
    rows = {"Out": "float32", "Index": "int32", "NmsRoisNum": "int32"}
    for more in variants:
        ins = {"BBoxes": boxes(2, 9), "Scores": uniform(0, 0.98, 2, 3, 9)}
        yield Case("multiclass_nms", ins, {**base, **more}, {"Out": "float32"}, open_dims=0)
        yield Case("multiclass_nms2", ins, {**base, **more}, {"Out": "float32", "Index": "int32"}, open_dims=0)
        yield Case("multiclass_nms3", ins, {**base, **more}, rows, open_dims=0)
    for more in variants[:4]:
        ins = {"BBoxes": boxes(9, 3), "Scores": uniform(0, 0.98, 9, 3), "RoisNum": np.int32([4, 5])}
        yield Case("multiclass_nms3", ins, {**base, **more}, rows, open_dims=0)
        ins = {"BBoxes": Lod(boxes(9, 3), [5, 4]), "Scores": Lod(uniform(0, 0.98, 9, 3), [5, 4])}
        yield Case("multiclass_nms", ins, {**base, **more}, {"Out": "float32"})
    for more in variants[:6]:
        yield Case("locality_aware_nms", {"BBoxes": boxes(2, 9, size=9.0), "Scores": uniform(0, 0.98, 2, 2, 9)},
                   {**base, **more}, {"Out": "float32"}, open_dims=0)
    for corners, more in itertools.product((4, 8), variants[:6]):
        for type in ("multiclass_nms", "locality_aware_nms"):
            scores = uniform(0.05, 0.98, 2, 1 if type[0] == "l" else 3, 9)
            yield Case(type, {"BBoxes": polygons(2, 9, corners=corners), "Scores": scores}, {**base, "nms_threshold": 0.2, **more},
                       {"Out": "float32"}, open_dims=0)
    for more in ({}, {"nms_top_k": 5}, {"keep_top_k": 3}, {"nms_threshold": 0.8, "nms_eta": 0.7}, {"score_threshold": 2.0}):
        yield Case("retinanet_detection_output",
                   {"BBoxes": [normal(2, m, 4) * np.float32(0.2) for m in (6, 4)], "Scores": [uniform(0.01, 0.98, 2, m, 3) for m in (6, 4)],
                    "Anchors": [boxes(m) for m in (6, 4)], "ImInfo": np.float32([[18, 20, 1], [30, 36, 1.5]])},
                   {"score_threshold": 0.3, "nms_top_k": 100, "nms_threshold": 0.4, "keep_top_k": 50, "nms_eta": 1.0, **more},
                   {"Out": "float32"}, open_dims=0)
    yield Case("nms", {"Boxes": boxes(12, size=9.0)}, {"iou_threshold": 0.2}, {"KeepBoxesIdxs": "int64"})
    matrix = {k: v for k, v in base.items() if not k.startswith("nms_t") and k != "nms_eta"}
    for more in ({}, {"use_gaussian": True}, {"keep_top_k": 4, "background_label": 1}, {"nms_top_k": 5, "normalized": False}, {"score_threshold": 0.99}):
        yield Case("matrix_nms", {"BBoxes": boxes(2, 9), "Scores": uniform(0, 0.98, 2, 3, 9)},
                   {**matrix, "nms_top_k": -1, "post_threshold": 0.15, "use_gaussian": False, "gaussian_sigma": 2.0, **more},
                   {"Out": "float32", "Index": "int32", "RoisNum": "int32"}, open_dims=0)


def proposals():
    outs = {"RpnRois": "float32", "RpnRoiProbs": "float32", "RpnRoisNum": "int32"}
    anchors = boxes(4, 5, 3, size=40.0)
    common = {"Scores": uniform(0, 1, 2, 3, 4, 5), "BboxDeltas": normal(2, 12, 4, 5) * np.float32(0.3), "Anchors": anchors,
              "Variances": np.full_like(anchors, 0.5)}
    for more in ({}, {"pre_nms_topN": 20}, {"post_nms_topN": 4}, {"eta": 0.8, "nms_thresh": 0.8}, {"min_size": 12.0}, {"min_size": 500.0}):
        attrs = {"pre_nms_topN": 100, "post_nms_topN": 50, "nms_thresh": 0.5, "min_size": 1.0, "eta": 1.0, **more}
        for pixels in (True, False):
            yield Case("generate_proposals_v2", {**common, "ImShape": np.float32([[30, 35], [40, 28]])}, {**attrs, "pixel_offset": pixels}, outs, open_dims=0)
        yield Case("generate_proposals", {**common, "ImInfo": np.float32([[30, 35, 1.0], [40, 28, 1.5]])}, attrs, outs, open_dims=0)
    roi = np.concatenate([boxes(4, size=s) for s in (10.0, 40.0, 160.0)])[R.permutation(12)]
    levels = {"min_level": 2, "max_level": 4, "refer_level": 3, "refer_scale": 16}
    for pixels in (True, False):
        yield Case("distribute_fpn_proposals", {"FpnRois": roi, "RoisNum": np.int32([5, 7])}, {**levels, "pixel_offset": pixels},
                   {"MultiFpnRois": ["float32"] * 3, "MultiLevelRoIsNum": ["int32"] * 3, "RestoreIndex": "int32"})
        yield Case("distribute_fpn_proposals", {"FpnRois": Lod(roi, [5, 7])}, {**levels, "pixel_offset": pixels},
                   {"MultiFpnRois": ["float32"] * 3, "RestoreIndex": "int32"})
    for top in (6, 100):
        yield Case("collect_fpn_proposals", {"MultiLevelRois": [boxes(4), boxes(5)], "MultiLevelScores": [uniform(0, 1, 4, 1), uniform(0, 1, 5, 1)],
                                             "MultiLevelRoIsNum": [np.int32([1, 3]), np.int32([2, 3])]},
                   {"post_nms_topN": top}, {"FpnRois": "float32", "RoisNum": "int32"})
        yield Case("collect_fpn_proposals", {"MultiLevelRois": [Lod(boxes(4), [1, 3]), Lod(boxes(5), [2, 3])],
                                             "MultiLevelScores": [Lod(uniform(0, 1, 4, 1), [1, 3]), Lod(uniform(0, 1, 5, 1), [2, 3])]},
                   {"post_nms_topN": top}, {"FpnRois": "float32"})


def cases():
    yield from places()
    yield from coders()
    yield from yolo()
    yield from rois()
    yield from nms()
    yield from proposals()
