"""Image transforms: what Paddle Serving's classes of the same names compute, in NumPy. Images are HWC, BGR, uint8 unless a
class says otherwise."""
import base64
import os
import urllib.request

import numpy as np

from . import functional as F

LONGEST = 2147483647


def _repr(self, *fields):
    return "{}({})".format(type(self).__name__, ", ".join(f"{f}={getattr(self, f)!r}" for f in fields))


# ---- loading ----

class String2Image:
    """Bytes of an encoded image; None where they are none."""

    def __call__(self, img_buffer):
        return F.decode(img_buffer)

    def __repr__(self):
        return _repr(self)


class File2Image:
    """The image in a file."""

    def __call__(self, img_path):
        with open(img_path, "rb") as f:
            return F.decode(f.read())

    def __repr__(self):
        return _repr(self)


class URL2Image:
    """The image at a URL; larger than 256 MiB or slower than `timeout_s` is refused."""

    def __init__(self, timeout_s=60):
        self.timeout_s = timeout_s

    def __call__(self, img_url):
        with urllib.request.urlopen(img_url, timeout=self.timeout_s) as reply:
            data = reply.read((256 << 20) + 1)
        if len(data) > 256 << 20:
            raise ValueError(f"{img_url}: more than 256 MiB")
        return F.decode(data)

    def __repr__(self):
        return _repr(self)


class Base64ToImage:
    """The image in base64 text."""

    def __call__(self, img_base64):
        return F.decode(base64.b64decode(img_base64))

    def __repr__(self):
        return _repr(self)


# ---- composition ----

class Compose:
    """Transforms one after another."""

    def __init__(self, transforms):
        for i, t in enumerate(transforms):
            if not callable(t):
                raise TypeError(f"transform {i} is {type(t).__name__}, and something to call with an image was expected, such as Resize(256)")
        self.transforms = transforms

    def __call__(self, img):
        for i, t in enumerate(self.transforms):
            if img is None and i > 0:
                raise ValueError(f"{self.transforms[i - 1]!r} gave no image for {t!r}: what it was given cannot be decoded as one")
            img = t(img)
        return img


class Sequential(Compose):
    """Sequential([File2Image(), Resize(256), ...])(path)"""

    def __repr__(self):
        return "{}([{}])".format(type(self).__name__, ", ".join(map(repr, self.transforms)))


class DetectionSequential(Sequential):
    """The same for transforms of (image, im_info) pairs; the result is the pair."""

    def __call__(self, img):
        info = {"scale_factor": np.array([1.0, 1.0], dtype=np.float32), "im_shape": None}
        for t in self.transforms:
            img, info = t(img, info)
        return img, info


class Lambda:
    """A function as a transform."""

    def __init__(self, lambd):
        self.lambd = lambd

    def __call__(self, img):
        return self.lambd(img)

    def __repr__(self):
        return _repr(self)


# ---- pixels ----

class RGB2BGR:
    """The channels in the other order."""

    def __call__(self, img):
        return img[:, :, ::-1]

    def __repr__(self):
        return _repr(self)


class BGR2RGB(RGB2BGR):
    """The channels in the other order."""


class Div:
    """float32 of the image, divided."""

    def __init__(self, value):
        self.value = value

    def __call__(self, img):
        return np.asarray(img).astype("float32") / self.value

    def __repr__(self):
        return _repr(self, "value")


class Normalize:
    """(image - mean) / std in float32, by channel."""

    def __init__(self, mean, std, channel_first=False):
        self.mean, self.std, self.channel_first = mean, std, channel_first
        self._shape = (3, 1, 1) if channel_first else (1, 1, 3)

    def __call__(self, img):
        mean, std = (self._by_channel(v, what) for v, what in ((self.mean, "mean"), (self.std, "std")))
        return (np.asarray(img).astype("float32") - mean) / std

    def _by_channel(self, values, what):
        values = np.array(values, dtype="float32")
        if values.size != 3:
            raise ValueError(f"Normalize's {what} has a value for each of 3 channels, not {values.size}")
        return values.reshape(self._shape)

    def __repr__(self):
        return _repr(self, "mean", "std", "channel_first")


class Transpose:
    """The dimensions in another order, such as (2, 0, 1)."""

    def __init__(self, transpose_target):
        self.transpose_target = transpose_target

    def __call__(self, img):
        return np.asarray(img).transpose(self.transpose_target)

    def __repr__(self):
        return _repr(self, "transpose_target")


class CenterCrop:
    """A square out of the middle."""

    def __init__(self, size):
        self.size = size

    def __call__(self, img):
        h, w = img.shape[:2]
        th, tw = (self.size, self.size) if isinstance(self.size, int) else self.size
        if h < th or w < tw:
            raise ValueError(f"an image of {w} x {h} is smaller than the {tw} x {th} that CenterCrop cuts; resize it first")
        top, left = (h - th) // 2, (w - tw) // 2
        return img[top:top + th, left:left + tw, :]

    def __repr__(self):
        return _repr(self, "size")


class Resize:
    """An int: the short side becomes that long, the other in proportion, at most max_size. A (width, height): exactly so."""

    def __init__(self, size, max_size=LONGEST, interpolation=None):
        if not (isinstance(size, int) or (isinstance(size, (tuple, list)) and len(size) == 2)):
            raise ValueError(f"Resize takes an int or (width, height), not {size!r}")
        self.size, self.max_size, self.interpolation = size, max_size, interpolation

    def __call__(self, img):
        h, w = img.shape[:2]
        if isinstance(self.size, int):
            scale = float(self.size) / min(h, w)
            if np.round(scale * max(h, w)) > self.max_size:
                scale = float(self.max_size) / max(h, w)
            size = int(round(w * scale)), int(round(h * scale))
        else:
            size = tuple(int(min(s, self.max_size)) for s in self.size)
        return F.resize(img, size, self.interpolation or F.INTER_LINEAR)

    def __repr__(self):
        return _repr(self, "size", "max_size", "interpolation")


class ResizeByFactor:
    """Both sides become multiples of `factor`, the longest at most max_side_len, as OCR detectors want them."""

    def __init__(self, factor=32, max_side_len=2400):
        self.factor, self.max_side_len = factor, max_side_len

    def _side(self, n):
        if n % self.factor == 0:
            return n
        return self.factor if n // self.factor <= 1 else (n // self.factor - 1) * self.factor

    def __call__(self, img):
        h, w = img.shape[:2]
        ratio = float(self.max_side_len) / max(h, w) if max(h, w) > self.max_side_len else 1.0
        h, w = int(h * ratio), int(w * ratio)
        return F.resize(img, (self._side(w), self._side(h)))

    def __repr__(self):
        return _repr(self, "factor", "max_side_len")


class PadStride:
    """A CHW image with zeros to the right and below, up to multiples of the stride; 0 leaves it."""

    def __init__(self, stride):
        self.coarsest_stride = stride

    def __call__(self, img):
        stride = self.coarsest_stride
        if stride <= 0:
            return img
        c, h, w = img.shape
        out = np.zeros((c, -(-h // stride) * stride, -(-w // stride) * stride), dtype=np.float32)
        out[:, :h, :w] = img
        return out

    def __repr__(self):
        return _repr(self, "coarsest_stride")


# ---- detection: (image, im_info) pairs ----

class DetectionFile2Image:
    """The image of a file in RGB; im_info begins here."""

    def __call__(self, img_path, im_info=None):
        info = {} if im_info is None else im_info
        with open(img_path, "rb") as f:
            img = F.decode(f.read())
        if img is None:
            raise ValueError(f"{img_path}: not an image that can be decoded")
        img = np.ascontiguousarray(img[:, :, ::-1])
        info["im_shape"] = np.array(img.shape[:2], dtype=np.float32)
        info["scale_factor"] = np.array([1.0, 1.0], dtype=np.float32)
        return img, info

    def __repr__(self):
        return _repr(self)


class DetectionNormalize:
    """(image / 255 - mean) / std in float32, HWC."""

    def __init__(self, mean, std, is_scale=True):
        self.mean, self.std, self.is_scale = mean, std, is_scale

    def __call__(self, img, im_info=None):
        img = np.asarray(img).astype(np.float32)
        if self.is_scale:
            img = img / np.float32(255.0)
        mean, std = np.array(self.mean, np.float32)[None, None], np.array(self.std, np.float32)[None, None]
        return (img - mean) / std, im_info

    def __repr__(self):
        return _repr(self, "mean", "std", "is_scale")


class DetectionResize:
    """To target_size ([height, width] or one for both), keeping the ratio or not; im_info learns the scales (y, x)."""

    def __init__(self, target_size, keep_ratio=True, interpolation=F.INTER_LINEAR):
        self.target_size = [target_size, target_size] if isinstance(target_size, int) else list(target_size)
        self.keep_ratio, self.interpolation = keep_ratio, interpolation

    def _scales(self, shape):
        h, w = shape
        if not self.keep_ratio:
            return self.target_size[0] / float(h), self.target_size[1] / float(w)
        scale = float(min(self.target_size)) / min(h, w)
        if np.round(scale * max(h, w)) > max(self.target_size):
            scale = float(max(self.target_size)) / max(h, w)
        return scale, scale

    def __call__(self, img, im_info):
        y, x = self._scales(img.shape[:2])
        img = F.resize_by(img, x, y, self.interpolation)
        im_info["im_shape"] = np.array(img.shape[:2], dtype=np.float32)
        im_info["scale_factor"] = np.array([y, x], dtype=np.float32)
        return img, im_info

    def __repr__(self):
        return _repr(self, "target_size", "keep_ratio", "interpolation")


class DetectionTranspose(Transpose):
    def __call__(self, img, im_info=None):
        return super().__call__(img), im_info


class DetectionBGR2RGB(RGB2BGR):
    def __call__(self, img, im_info=None):
        return super().__call__(img), im_info


class DetectionDiv(Div):
    def __call__(self, img, im_info=None):
        return super().__call__(img), im_info


class DetectionPadStride(PadStride):
    def __init__(self, stride=0):
        super().__init__(stride)

    def __call__(self, img, im_info=None):
        return super().__call__(img), im_info


class ImageReader:
    """process_image(bytes): decoded, the short side resized, cropped, RGB, CHW, /255, normalised; None where it is no image."""

    def __init__(self, image_shape=[3, 224, 224], image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
                 resize_short_size=256, interpolation=None, crop_center=True):
        self.image_shape, self.image_mean, self.image_std = image_shape, image_mean, image_std
        self.resize_short_size, self.interpolation, self.crop_center = resize_short_size, interpolation, crop_center

    def process_image(self, sample):
        img = F.decode(sample)
        if img is None:
            return None
        size = self.image_shape[1]
        if size > 0:
            img = Resize(self.resize_short_size, interpolation=self.interpolation)(img)
            h, w = img.shape[:2]
            if self.crop_center:
                top, left = (h - size) // 2, (w - size) // 2
            else:
                top, left = np.random.randint(0, h - size + 1), np.random.randint(0, w - size + 1)
            img = img[top:top + size, left:left + size]
        img = img[:, :, ::-1].astype("float32").transpose((2, 0, 1)) / 255
        img -= np.array(self.image_mean, np.float32).reshape(3, 1, 1)
        img /= np.array(self.image_std, np.float32).reshape(3, 1, 1)
        return img


# ---- OCR ----

class DBPostProcess:
    """Boxes of text out of a DB detector's map: a call gives for each image an array [K, 4, 2] of int16 corners."""

    def __init__(self, params):
        missing = [k for k in ("thresh", "box_thresh", "max_candidates", "unclip_ratio") if k not in params]
        if missing:
            raise ValueError(f"DBPostProcess's parameters lack {', '.join(missing)}")
        self.thresh, self.box_thresh = params["thresh"], params["box_thresh"]
        self.max_candidates, self.unclip_ratio = params["max_candidates"], params["unclip_ratio"]
        self.min_size = 3

    @staticmethod
    def get_mini_boxes(points):
        """(corners from the top left one clockwise, the shorter side)"""
        corners, sides = F.min_area_rect(points)
        p = sorted(corners.tolist(), key=lambda q: q[0])
        left = sorted(p[:2], key=lambda q: q[1])
        right = sorted(p[2:], key=lambda q: q[1])
        return np.array([left[0], right[0], right[1], left[1]], dtype=np.float32), min(sides)

    @staticmethod
    def box_score_fast(bitmap, box):
        h, w = bitmap.shape
        x0, x1 = (int(np.clip(f(box[:, 0]), 0, w - 1)) for f in (lambda v: np.floor(v.min()), lambda v: np.ceil(v.max())))
        y0, y1 = (int(np.clip(f(box[:, 1]), 0, h - 1)) for f in (lambda v: np.floor(v.min()), lambda v: np.ceil(v.max())))
        corners = (box - np.array([x0, y0], np.float32)).astype(np.int32)
        mask = F.polygon_mask(corners, x1 - x0 + 1, y1 - y0 + 1)
        return float(bitmap[y0:y1 + 1, x0:x1 + 1][mask].mean()) if mask.any() else 0.0

    def unclip(self, box):
        x, y = box[:, 0].astype(np.float64), box[:, 1].astype(np.float64)
        area = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
        length = np.hypot(x - np.roll(x, -1), y - np.roll(y, -1)).sum()
        return F.offset_polygon(box, area * self.unclip_ratio / length)

    def boxes_from_bitmap(self, pred, mask):
        h, w = mask.shape
        boxes, scores = [], []
        for contour in F.contours(mask)[:self.max_candidates]:
            points, side = self.get_mini_boxes(contour)
            if side < self.min_size:
                continue
            score = self.box_score_fast(pred, points)
            if score < self.box_thresh:
                continue
            box, side = self.get_mini_boxes(self.unclip(points))
            if side < self.min_size + 2:
                continue
            box[:, 0] = np.clip(np.round(box[:, 0]), 0, w)
            box[:, 1] = np.clip(np.round(box[:, 1]), 0, h)
            boxes.append(box.astype(np.int16))
            scores.append(score)
        return np.array(boxes, dtype=np.int16).reshape(-1, 4, 2), scores

    def __call__(self, pred, ratio_list):
        pred = np.asarray(pred)[:, 0, :, :]
        result = []
        for image, (ratio_h, ratio_w) in zip(pred, ratio_list):
            boxes, scores = self.boxes_from_bitmap(image, image > self.thresh)
            kept = []
            for box, score in zip(boxes, scores):
                if score > self.box_thresh:
                    box = box.astype(np.float32)
                    box[:, 0] /= ratio_w
                    box[:, 1] /= ratio_h
                    kept.append(box.astype(np.int16))
            result.append(np.array(kept) if kept else [])
        return result

    def __repr__(self):
        return _repr(self, "thresh", "box_thresh", "max_candidates", "unclip_ratio", "min_size")


class FilterBoxes:
    """Boxes with ordered corners, inside the image, without those that are too small."""

    def __init__(self, width, height):
        self.filter_width, self.filter_height = width, height

    @staticmethod
    def order_points_clockwise(pts):
        by_x = pts[np.argsort(pts[:, 0], kind="stable")]
        left, right = by_x[:2], by_x[2:]
        tl, bl = left[np.argsort(left[:, 1], kind="stable")]
        tr, br = right[np.argsort(right[:, 1], kind="stable")]
        return np.array([tl, tr, br, bl], dtype="float32")

    def __call__(self, dt_boxes, image_shape):
        h, w = image_shape[:2]
        kept = []
        for box in dt_boxes:
            box = self.order_points_clockwise(np.asarray(box, dtype="float32"))
            box[:, 0] = np.clip(box[:, 0], 0, w - 1).astype(int)
            box[:, 1] = np.clip(box[:, 1], 0, h - 1).astype(int)
            if int(np.linalg.norm(box[0] - box[1])) > self.filter_width and int(np.linalg.norm(box[0] - box[3])) > self.filter_height:
                kept.append(box)
        return np.array(kept)

    def __repr__(self):
        return _repr(self, "filter_width", "filter_height")


class SortedBoxes:
    """Boxes from top to bottom, and from left to right where two are on one line."""

    def __call__(self, dt_boxes):
        boxes = sorted(dt_boxes, key=lambda b: (b[0][1], b[0][0]))
        for i in range(len(boxes) - 1):
            if abs(boxes[i + 1][0][1] - boxes[i][0][1]) < 10 and boxes[i + 1][0][0] < boxes[i][0][0]:
                boxes[i], boxes[i + 1] = boxes[i + 1], boxes[i]
        return boxes

    def __repr__(self):
        return _repr(self)


class GetRotateCropImage:
    """The content of a box, straightened; high ones are turned."""

    def __call__(self, img, points):
        points = np.array(points, dtype=np.float32)
        left, right = int(points[:, 0].min()), int(points[:, 0].max())
        top, bottom = int(points[:, 1].min()), int(points[:, 1].max())
        crop = img[top:bottom, left:right, :]
        if crop.size == 0:
            raise ValueError(f"the box {points.tolist()} holds no pixel of an image of {img.shape[1]} x {img.shape[0]}")
        points = points - np.array([left, top], np.float32)
        width, height = int(np.linalg.norm(points[0] - points[1])), int(np.linalg.norm(points[0] - points[3]))
        target = [[0, 0], [width, 0], [width, height], [0, height]]
        out = F.warp_perspective(crop, F.perspective_matrix(points.tolist(), target), (width, height))
        return np.rot90(out) if out.shape[0] * 1.0 / out.shape[1] >= 1.5 else out

    def __repr__(self):
        return _repr(self)


# ---- after detectors and segmenters ----

def _draw(image_path, results, names, output_dir, threshold=0.5, resize_shape=None):
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise ImportError("drawing boxes wants the package pillow (pip install 'oar-serving[image]'); visualize=False gives the results alone") from None
    image = Image.open(image_path).convert("RGB")
    draw = ImageDraw.Draw(image)
    sx, sy = (image.width / resize_shape[0], image.height / resize_shape[1]) if resize_shape else (1.0, 1.0)
    colours = colour_map(len(names) + 1).tolist() if names else []
    for r in results:
        if r["score"] < threshold:
            continue
        x, y, w, h = r["bbox"]
        x, y, w, h = x * sx, y * sy, w * sx, h * sy
        colour = tuple(colours[r["category_id"] % len(names) + 1]) if names else (255, 0, 0)
        draw.rectangle([x, y, x + w, y + h], outline=colour, width=2)
        draw.text((x + 1, y + 1), "{} {:.2f}".format(names[r["category_id"]] if names else "", r["score"]), fill=colour)
    os.makedirs(output_dir, exist_ok=True)
    image.save(os.path.join(output_dir, os.path.basename(image_path)), quality=95)


class RCNNPostprocess:
    """Rows (class, score, x1, y1, x2, y2) of a detector as a list of dicts; drawn into output_dir unless visualize=False."""

    def __init__(self, label_file, output_dir, resize_shape=None):
        self.label_file, self.output_dir, self.resize_shape = label_file, output_dir, resize_shape
        self.label_list = []
        if label_file:
            with open(label_file, encoding="utf-8") as f:
                self.label_list = [line.strip() for line in f]
        self.clsid2catid = {i: i for i in range(len(self.label_list))}

    def _box(self, row, im_shape):
        x1, y1, x2, y2 = (float(v) for v in row)
        return [x1, y1, x2 - x1 + 1, y2 - y1 + 1]

    def _rows(self, fetch_map):
        names = [k for k in fetch_map if k != "image" and not k.endswith(".lod") and "im_shape" not in k]
        if not names:
            raise ValueError("the results hold no array of boxes")
        value = np.asarray(fetch_map[names[-1]])
        lod = fetch_map.get(names[-1] + ".lod", [0, len(value)])
        return value, [int(n) for n in np.asarray(lod).ravel()]

    def __call__(self, fetch_map, visualize=True):
        value, lod = self._rows(fetch_map)
        im_shape = next((v for k, v in fetch_map.items() if "im_shape" in k), None)
        result = []
        if value.shape != (1, 1):
            for begin, end in zip(lod, lod[1:]):
                for row in value[begin:end]:
                    if row[0] >= 0:
                        result.append({"category_id": int(row[0]), "bbox": self._box(row[2:6], im_shape), "score": float(row[1])})
        if visualize:
            import json
            _draw(fetch_map["image"], result, self.label_list, self.output_dir, 0.5, self.resize_shape)
            with open(os.path.join(self.output_dir, "bbox.json"), "w") as f:
                json.dump(result, f, indent=4)
        return result

    def __repr__(self):
        return "label_file: {}, output_dir: {}".format(self.label_file, self.output_dir)


class BlazeFacePostprocess(RCNNPostprocess):
    """Boxes in parts of the image's sides; fetch_map holds im_shape [height, width, ...]."""

    def _box(self, row, im_shape):
        if im_shape is None:
            raise ValueError("BlazeFacePostprocess wants im_shape (height, width) beside the boxes")
        h, w = (float(v) for v in np.asarray(im_shape).ravel()[:2])
        x1, y1, x2, y2 = (float(v) for v in np.clip(row, 0, 1))
        return [x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h]


def colour_map(count):
    """A colour for each class: its bits, dealt round over the three channels from the top down."""
    colours = np.zeros((count, 3), np.uint8)
    for i in range(count):
        n, j = i, 0
        while n:
            for channel in range(3):
                colours[i, channel] |= ((n >> channel) & 1) << (7 - j)
            j += 1
            n >>= 3
    return colours


class SegPostprocess:
    """Writes the mask of a segmenter in colours, and the same over the image, beside fetch_map["filename"]."""

    def __init__(self, class_num):
        self.class_num = class_num

    def __call__(self, image_with_result):
        try:
            from PIL import Image
        except ImportError:
            raise ImportError("SegPostprocess writes images, which wants the package pillow: pip install 'oar-serving[image]'") from None
        path = image_with_result.get("filename")
        if not path:
            raise ValueError("the results hold no 'filename'")
        value = next(np.asarray(v) for k, v in image_with_result.items() if k != "filename" and not k.endswith(".lod"))
        mask = value.astype("uint8").reshape(512, 512)
        image = np.asarray(Image.open(path).convert("RGB"))
        size = (image.shape[1], image.shape[0])
        colour = colour_map(max(self.class_num, int(mask.max()) + 1))[mask]
        colour = F.resize(colour, size, F.INTER_CUBIC)
        stem, ext = os.path.splitext(path)
        name = f"{stem}_{ext.lstrip('.')}"
        Image.fromarray(colour).save(f"{name}_mask.png")
        Image.fromarray((image // 2 + colour // 2).astype("uint8")).save(f"{name}_result.png")
        return {"mask": mask, "mask_png": f"{name}_mask.png", "result_png": f"{name}_result.png"}

    def __repr__(self):
        return _repr(self, "class_num")
