"""Detection: what stands before and after a detector that PaddleDetection exported, as its infer_cfg.yml says it."""
import functools
import json
import os

import numpy as np

from . import functional as F
from .image_reader import File2Image, PadStride, _draw


class Resize:
    """(image, scale): the shorter side becomes target_size unless the longer one would pass max_size; without max_size both become it."""

    def __init__(self, target_size, max_size=0, interp=F.INTER_LINEAR, use_cv2=True, image_shape=None):
        if not use_cv2 and max_size:
            raise TypeError("If you set max_size to cap the maximum size of image, please set use_cv2 to True to resize the image.")
        self.target_size, self.max_size, self.interp, self.image_shape = target_size, max_size, interp, image_shape

    def __call__(self, img):
        h, w = img.shape[:2]
        if self.max_size:
            scale = self.target_size / min(h, w)
            if np.round(scale * max(h, w)) > self.max_size:
                scale = self.max_size / max(h, w)
            scale_x = scale_y = scale
        else:
            scale_x, scale_y = self.target_size / w, self.target_size / h
        img = F.resize_by(img, scale_x, scale_y, self.interp)
        if self.max_size and self.image_shape is not None:
            padded = np.zeros((self.max_size, self.max_size, img.shape[2]), np.float32)
            padded[:img.shape[0], :img.shape[1]] = img
            img = padded
        return img, scale_x


class Normalize:
    """float32: in 0..1 where is_scale, less the mean, by the deviation."""

    def __init__(self, mean, std, is_scale=True, is_channel_first=False):
        shape = (3, 1, 1) if is_channel_first else (1, 1, 3)
        self.mean, self.std = np.float32(mean).reshape(shape), np.float32(std).reshape(shape)
        self.is_scale = is_scale

    def __call__(self, img):
        img = img.astype(np.float32)
        return ((img / np.float32(255) if self.is_scale else img) - self.mean) / self.std


class Permute:
    """Channels first, and blue first, as they are asked for."""

    def __init__(self, to_bgr=False, channel_first=True):
        self.to_bgr, self.channel_first = to_bgr, channel_first

    def __call__(self, img):
        if self.channel_first:
            img = img.transpose((2, 0, 1))
        if self.to_bgr:
            img = img[[2, 1, 0]] if self.channel_first else img[..., ::-1]
        return img.copy()


STEPS = {"Resize": Resize, "Normalize": Normalize, "Permute": Permute, "PadStride": PadStride}


def _yolo(img, shape, scale):
    return [np.array([shape], np.int32)]


def _retina(img, shape, scale):
    return [np.array([[*img.shape[2:], scale]], np.float32)]


def _rcnn(img, shape, scale):
    return _retina(img, shape, scale) + [np.array([[*shape, 1.0]], np.float32)]


# what a family of detectors is fed beside the image, the first name that occurs in `arch` counts
EXTRA = (("YOLO", _yolo), ("SSD", lambda img, shape, scale: []), ("RetinaNet", _retina), ("RCNN", _rcnn))


class Detection:
    """preprocess(feed names, image file) -> feed; postprocess(fetch_map, fetch names) -> boxes, which are also drawn and written into
    output_dir (if_visualize, if_dump_result)."""

    def __init__(self, config_path, output_dir):
        self.config_path, self.output_dir = config_path, output_dir
        self.if_visualize = self.if_dump_result = True
        self._shape = self._image = None

    @functools.cached_property
    def _conf(self):
        try:
            import yaml
        except ImportError:
            raise ImportError("the detector's configuration wants the package pyyaml: pip install pyyaml") from None
        with open(self.config_path) as f:
            conf = yaml.safe_load(f)
        missing = [k for k in ("arch", "Preprocess") if k not in (conf or {})]
        if missing:
            raise ValueError(f"{self.config_path}: {' and '.join(missing)} is missing; give the infer_cfg.yml of an exported detector")
        return conf

    def _extra(self, arch):
        for name, make in EXTRA:
            if name in arch:
                return make
        raise ValueError(f"Unsupported arch: {arch}, expect YOLO, SSD, RetinaNet and RCNN")

    def preprocess(self, feed_var_names, image_file):
        conf = self._conf
        img = File2Image()(image_file)
        if img is None:
            raise ValueError(f"{image_file} is no image")
        img, scale = img[:, :, ::-1], 1.0
        self._image, self._shape = image_file, img.shape[:2]
        for step in conf["Preprocess"]:
            step = dict(step)
            kind = step.pop("type", None)
            if kind not in STEPS:
                raise ValueError(f"{self.config_path}: no step {kind!r}; there are {', '.join(STEPS)}")
            made = STEPS[kind](**step)(img)
            img, scale = made if isinstance(made, tuple) else (made, scale)
        batch = img[np.newaxis]
        data = [batch] + self._extra(conf["arch"])(batch, self._shape, scale)
        if len(feed_var_names) != len(data):
            raise ValueError(f"the length of feed vars does not equals the length of preprocess of img data, please check your feed dict: "
                             f"{len(feed_var_names)} names for {len(data)} arrays of a {conf['arch']}")
        return {name: array[0] for name, array in zip(feed_var_names, data)}

    def _box(self, row, of_one):
        x1, y1, x2, y2 = (float(v) for v in row)
        if not of_one:
            return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]
        if self._shape is None:
            raise ValueError("boxes of an SSD are parts of the image: call preprocess first")
        h, w = self._shape
        x1, y1, x2, y2 = (min(max(v, 0.0), 1.0) for v in (x1, y1, x2, y2))
        return [x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h]

    def postprocess(self, fetch_map, fetch_var_names):
        conf = self._conf
        if "mask_resolution" in conf:
            raise NotImplementedError("masks are not read here; use RCNNPostprocess for the boxes")
        labels = list(conf["label_list"])
        if conf["with_background"] and labels[0] != "background":
            labels.insert(0, "background")
        elif not conf["with_background"] and labels[0] == "background":
            labels = labels[1:]
        rows = np.asarray(fetch_map[fetch_var_names[0]])
        lod = np.asarray(fetch_map.get(fetch_var_names[0] + ".lod", [0, len(rows)])).ravel()
        found = [] if rows.shape == (1, 1) else rows[int(lod[0]):int(lod[-1])]
        result = [{"category_id": int(row[0]), "bbox": self._box(row[2:6], "SSD" in conf["arch"]), "score": float(row[1])} for row in found]
        if self.if_visualize and self._image is not None:
            _draw(self._image, result, labels, self.output_dir)
        if self.if_dump_result:
            os.makedirs(self.output_dir, exist_ok=True)
            with open(os.path.join(self.output_dir, "bbox.json"), "w") as f:
                json.dump(result, f, indent=4)
        return result
