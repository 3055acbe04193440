"""Video: decoding, sampling and the transforms of PP-TSN, on {"imgs": frames, ...} dicts."""
import numpy as np


class VideoDecoder:
    """The frames of results["filename"], RGB. Needs OpenCV."""

    def __init__(self, backend="cv2", mode="train", sampling_rate=32, num_seg=8, num_clips=1, target_fps=30):
        if backend != "cv2":
            raise ValueError(f"no backend {backend!r}: there is 'cv2'")
        self.backend = backend

    def __call__(self, results):
        try:
            import cv2
        except ImportError:
            raise ImportError("decoding video wants opencv-python-headless: pip install 'oar-serving[image]'") from None
        video = cv2.VideoCapture(results["filename"])
        frames = []
        while True:
            ok, frame = video.read()
            if not ok:
                break
            frames.append(np.ascontiguousarray(frame[:, :, ::-1]))
        if not frames:
            raise ValueError(f"{results['filename']}: no video that can be decoded")
        results.update(frames=frames, frames_len=len(frames), format="video", backend="cv2")
        return results


class Sampler:
    """num_seg times seg_len frames, evenly spread."""

    def __init__(self, num_seg, seg_len, frame_interval=None, valid_mode=False, select_left=False, dense_sample=False,
                 linspace_sample=False, use_pil=True):
        self.num_seg, self.seg_len, self.frame_interval = num_seg, seg_len, frame_interval
        self.valid_mode, self.select_left, self.linspace_sample = valid_mode, select_left, linspace_sample

    def _indices(self, count):
        if self.linspace_sample:
            return np.clip(np.linspace(0, count - 1, self.num_seg), 0, count - 1).astype(int).tolist()
        step = count / self.num_seg
        if self.select_left:
            first = [int(step / 2 + step * i) for i in range(self.num_seg)]
        elif self.valid_mode:
            first = [int((step - 1) / 2 + step * i) if step >= self.seg_len else int(step * i) for i in range(self.num_seg)]
        else:
            first = [int(step * i + np.random.randint(0, max(int(step), 1))) for i in range(self.num_seg)]
        return [min(f + k, count - 1) for f in first for k in range(self.seg_len)]

    def __call__(self, results):
        frames = results["frames"]
        results["imgs"] = [frames[i] for i in self._indices(len(frames))]
        return results


class Scale:
    """The short side becomes short_size; with fixed_ratio the other is 4/3 of it."""

    def __init__(self, short_size, fixed_ratio=True, keep_ratio=None, do_round=False, backend="pillow"):
        self.short_size, self.fixed_ratio, self.keep_ratio, self.do_round = short_size, fixed_ratio, keep_ratio, do_round

    def _size(self, w, h):
        short = self.short_size
        ratio = 4.0 / 3 if self.fixed_ratio and not self.keep_ratio else max(w, h) / min(w, h)
        long = short * ratio
        long = int(round(long)) if self.do_round else int(long)
        return (short, long) if w < h else (long, short)

    def __call__(self, results):
        out = []
        for img in results["imgs"]:
            h, w = img.shape[:2]
            if min(w, h) == self.short_size and not (self.fixed_ratio and not self.keep_ratio):
                out.append(img)
                continue
            out.append(_resize_antialiased(img, self._size(w, h)))
        results["imgs"] = out
        return results


def _resize_antialiased(img, size):
    """As Pillow's bilinear: a triangle as wide as the pixels it covers."""
    def matrix(n_out, n_in):
        scale = max(n_in / n_out, 1.0)
        centre = (np.arange(n_out) + 0.5) * (n_in / n_out)
        w = np.maximum(0, 1 - np.abs((np.arange(n_in)[None] + 0.5 - centre[:, None]) / scale))
        return (w / w.sum(1, keepdims=True)).astype(np.float32)

    data = np.tensordot(matrix(size[1], img.shape[0]), img.astype(np.float32), (1, 0))
    data = np.clip(np.rint(np.moveaxis(np.tensordot(matrix(size[0], img.shape[1]), data, (1, 1)), 0, 1)), 0, 255)
    return data.astype(img.dtype)


class CenterCrop:
    """A square out of the middle of each frame."""

    def __init__(self, target_size, do_round=True, backend="pillow"):
        self.target_size, self.do_round = target_size, do_round

    def __call__(self, results):
        t, out = self.target_size, []
        for img in results["imgs"]:
            h, w = img.shape[:2]
            if h < t or w < t:
                raise ValueError(f"a frame of {w} x {h} is smaller than the {t} that CenterCrop cuts")
            x, y = (w - t) / 2.0, (h - t) / 2.0
            x, y = (int(round(x)), int(round(y))) if self.do_round else (int(x), int(y))
            out.append(img[y:y + t, x:x + t])
        results["imgs"] = out
        return results


class TenCrop:
    """Corners and middle, each also mirrored."""

    def __init__(self, target_size, backend="pillow"):
        self.target_size = target_size

    def __call__(self, results):
        t = self.target_size
        h, w = results["imgs"][0].shape[:2]
        sw, sh = (w - t) // 4, (h - t) // 4
        out = []
        for x, y in ((0, 0), (4 * sw, 0), (0, 4 * sh), (4 * sw, 4 * sh), (2 * sw, 2 * sh)):
            part = [img[y:y + t, x:x + t] for img in results["imgs"]]
            out += part + [p[:, ::-1] for p in part]
        results["imgs"] = out
        return results


class Image2Array:
    """All frames as one float32 array, T C H W (or "cthw")."""

    def __init__(self, transpose=True, data_format="tchw"):
        if data_format not in ("tchw", "cthw"):
            raise ValueError(f"data_format is 'tchw' or 'cthw', not {data_format!r}")
        self.transpose, self.data_format = transpose, data_format

    def __call__(self, results):
        data = np.stack(results["imgs"]).astype("float32")
        if self.transpose:
            data = data.transpose((0, 3, 1, 2) if self.data_format == "tchw" else (3, 0, 1, 2))
        results["imgs"] = data
        return results


class Normalization:
    """(frames / 255 - mean) / std."""

    def __init__(self, mean, std, tensor_shape=[3, 1, 1], inplace=False):
        for name, value in (("Mean", mean), ("std", std)):
            if not isinstance(value, (list, tuple, np.ndarray)):
                raise TypeError(f"{name} must be list, tuple or np.ndarray, but got {type(value)}")
        self.mean = np.array(mean, np.float32).reshape(tensor_shape)
        self.std = np.array(std, np.float32).reshape(tensor_shape)

    def __call__(self, results):
        results["imgs"] = (results["imgs"] / np.float32(255.0) - self.mean) / self.std
        return results
