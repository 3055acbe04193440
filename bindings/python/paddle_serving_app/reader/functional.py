"""The image and geometry functions that the readers are made of, in NumPy: what OpenCV computes, without OpenCV.

resize and warp agree with OpenCV within one grey level on uint8 images; where cv2 is installed it decodes images, since it is
the reference for that too, otherwise Pillow does.
"""
import math

import numpy as np

INTER_NEAREST, INTER_LINEAR, INTER_CUBIC, INTER_AREA = 0, 1, 2, 3


# ---- decoding ----

def decode(data):
    """A BGR image of an encoded one (uint8, HWC, three channels, turned as its EXIF says); None where it is none."""
    try:
        import cv2
    except ImportError:
        return _decode_pillow(data)
    array = np.frombuffer(data, np.uint8)
    return cv2.imdecode(array, cv2.IMREAD_COLOR) if array.size else None


def _decode_pillow(data):
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError("decoding images wants opencv-python-headless (pip install 'oar-serving[image]') or pillow") from None
    import io
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.mode in ("RGBA", "LA", "P"):
            image = image.convert("RGBA").convert("RGB")
        return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    except Exception:
        return None


# ---- resize ----

def _linear_taps(n_out, n_in, step):
    """(first neighbour, second, weight of the second) of each output pixel, as OpenCV places them."""
    at = (np.arange(n_out) + 0.5) * step - 0.5
    first = np.floor(at).astype(np.int64)
    part = (at - first).astype(np.float32)
    part[first < 0] = 0
    part[first >= n_in - 1] = 0
    first = np.clip(first, 0, n_in - 1)
    return first, np.minimum(first + 1, n_in - 1), part


def _cubic_taps(n_out, n_in, step):
    at = (np.arange(n_out) + 0.5) * step - 0.5
    first = np.floor(at).astype(np.int64)
    x, a = (at - first).astype(np.float32), np.float32(-0.75)
    w = np.empty((n_out, 4), np.float32)
    w[:, 0] = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    w[:, 1] = ((a + 2) * x - (a + 3)) * x * x + 1
    w[:, 2] = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    w[:, 3] = 1 - w[:, 0] - w[:, 1] - w[:, 2]
    return np.clip(first[:, None] + np.arange(-1, 3), 0, n_in - 1), w


def _area_matrix(n_out, n_in):
    """Rows of weights: how much of each input pixel an output pixel covers."""
    scale = n_in / n_out
    m = np.zeros((n_out, n_in), np.float32)
    for i in range(n_out):
        begin, end = i * scale, min((i + 1) * scale, n_in)
        for k in range(int(begin), min(int(math.ceil(end)), n_in)):
            m[i, k] = (min(end, k + 1) - max(begin, k)) / (end - begin)
    return m


def _finish(value, dtype):
    if dtype == np.uint8:
        return np.clip(np.rint(value), 0, 255).astype(np.uint8)
    return value.astype(dtype)


def resize_by(img, fx, fy, interpolation=INTER_LINEAR):
    """cv2.resize(img, None, None, fx, fy): the sides are rounded, and pixels are taken 1/fx and 1/fy apart all the same."""
    h, w = np.asarray(img).shape[:2]
    return resize(img, (int(round(w * fx)), int(round(h * fy))), interpolation, (1 / fx, 1 / fy))


def resize(img, size, interpolation=INTER_LINEAR, step=None):
    """cv2.resize(img, (width, height)). size: (width, height); step: how far apart pixels are taken, where the sizes do not say it."""
    img = np.asarray(img)
    width, height = int(size[0]), int(size[1])
    if width < 1 or height < 1:
        raise ValueError(f"a size of {size} holds no pixel")
    if img.ndim < 2 or 0 in img.shape[:2]:
        raise ValueError(f"an image of shape {img.shape} cannot be resized")
    h, w = img.shape[:2]
    if (w, h) == (width, height):
        return img.copy()
    step = step or (1 / (width / w), 1 / (height / h))  # rounded as OpenCV rounds it
    if interpolation == INTER_NEAREST:
        y, x = np.arange(height) * step[1], np.arange(width) * step[0]
        return img[np.minimum(y.astype(int), h - 1)[:, None], np.minimum(x.astype(int), w - 1)[None, :]]
    if interpolation == INTER_AREA and width <= w and height <= h:
        rows = np.tensordot(_area_matrix(height, h), img.astype(np.float32), (1, 0))
        return _finish(np.moveaxis(np.tensordot(_area_matrix(width, w), rows, (1, 1)), 0, 1), img.dtype)
    if interpolation in (INTER_LINEAR, INTER_AREA):
        return _resize_linear(img, width, height, step)
    if interpolation == INTER_CUBIC:
        return _resize_cubic(img, width, height, step)
    raise ValueError(f"no interpolation {interpolation}: there are nearest (0), linear (1), cubic (2) and area (3)")


def _resize_linear(img, width, height, step):
    h, w = img.shape[:2]
    x0, x1, fx = _linear_taps(width, w, step[0])
    y0, y1, fy = _linear_taps(height, h, step[1])
    tail = (1,) * (img.ndim - 2)
    fx, fy = fx.reshape((1, -1) + tail), fy.reshape((-1, 1) + tail)
    used, place = np.unique(np.concatenate([y0, y1]), return_inverse=True)  # rows that no output needs are not touched
    rows = img[used].astype(np.float32)
    rows = rows[:, x0] * (1 - fx) + rows[:, x1] * fx
    return _finish(rows[place[:height]] * (1 - fy) + rows[place[height:]] * fy, img.dtype)


def _resize_cubic(img, width, height, step):
    h, w = img.shape[:2]
    xs, wx = _cubic_taps(width, w, step[0])
    ys, wy = _cubic_taps(height, h, step[1])
    tail = (1,) * (img.ndim - 2)
    data = img.astype(np.float32)
    rows = sum(data[:, xs[:, k]] * wx[:, k].reshape((1, -1) + tail) for k in range(4))
    return _finish(sum(rows[ys[:, k]] * wy[:, k].reshape((-1, 1) + tail) for k in range(4)), img.dtype)


# ---- perspective ----

def perspective_matrix(source, target):
    """The 3 x 3 matrix that takes four points to four others (cv2.getPerspectiveTransform)."""
    a, b = [], []
    for (x, y), (u, v) in zip(source, target):
        a += [[x, y, 1, 0, 0, 0, -x * u, -y * u], [0, 0, 0, x, y, 1, -x * v, -y * v]]
        b += [u, v]
    return np.append(np.linalg.solve(np.array(a, np.float64), np.array(b, np.float64)), 1).reshape(3, 3)


def warp_perspective(img, matrix, size):
    """cv2.warpPerspective, linear, the border continued. size: (width, height). Places are rounded to a 32nd of a pixel, as
    OpenCV does."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    u, v, w = np.tensordot(np.linalg.inv(matrix), np.stack([x, y, np.ones_like(x)]), 1)
    w = np.where(w == 0, np.inf, w)
    u, v = np.rint(u / w * 32).astype(np.int64), np.rint(v / w * 32).astype(np.int64)
    tail = (1,) * (img.ndim - 2)
    fx, fy = ((u & 31) / np.float32(32)).reshape(height, width, *tail), ((v & 31) / np.float32(32)).reshape(height, width, *tail)
    x0, y0 = u >> 5, v >> 5
    h, w = img.shape[:2]

    def at(yy, xx):
        return img[np.clip(yy, 0, h - 1), np.clip(xx, 0, w - 1)].astype(np.float32)

    top = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
    low = at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx
    return _finish(top * (1 - fy) + low * fy, img.dtype)


# ---- geometry ----

def convex_hull(points):
    """The hull's corners, in order (monotone chain)."""
    p = np.unique(np.asarray(points, np.float64).reshape(-1, 2), axis=0)
    if len(p) < 3:
        return p

    def half(ordered):
        chain = []
        for q in ordered:
            while len(chain) >= 2 and ((chain[-1][0] - chain[-2][0]) * (q[1] - chain[-2][1]) -
                                       (chain[-1][1] - chain[-2][1]) * (q[0] - chain[-2][0])) <= 0:
                chain.pop()
            chain.append(q)
        return chain[:-1]

    rows = p.tolist()
    return np.array(half(rows) + half(rows[::-1]))


def min_area_rect(points):
    """(four corners, (side, side)) of the smallest rectangle around the points: one of its sides lies on the hull."""
    hull = convex_hull(points)
    if len(hull) == 1:
        return np.repeat(hull, 4, 0), (0.0, 0.0)
    edges = np.roll(hull, -1, 0) - hull
    length = np.hypot(edges[:, 0], edges[:, 1])
    along = edges[length > 0] / length[length > 0][:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    a, b = hull @ along.T, hull @ across.T
    spans = (a.max(0) - a.min(0), b.max(0) - b.min(0))
    k = int(np.argmin(spans[0] * spans[1]))
    corners = [along[k] * s + across[k] * t for s, t in ((a[:, k].min(), b[:, k].min()), (a[:, k].max(), b[:, k].min()),
                                                         (a[:, k].max(), b[:, k].max()), (a[:, k].min(), b[:, k].max()))]
    return np.array(corners), (float(spans[0][k]), float(spans[1][k]))


def polygon_mask(points, width, height):
    """The pixels of a polygon with whole corners, its border among them (cv2.fillPoly)."""
    mask = np.zeros((height, width), bool)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    inside = np.zeros((height, width), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0)):
        if y0 != y1:
            cross = (y0 > y) != (y1 > y)
            inside ^= cross & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        steps = max(abs(int(x1) - int(x0)), abs(int(y1) - int(y0)), 1)
        t = np.arange(steps + 1) / steps
        px, py = np.rint(x0 + (x1 - x0) * t).astype(int), np.rint(y0 + (y1 - y0) * t).astype(int)
        fits = (px >= 0) & (px < width) & (py >= 0) & (py < height)
        mask[py[fits], px[fits]] = True
    return mask | inside


def _runs(row):
    """(begin, end) of each stretch of true pixels."""
    edge = np.flatnonzero(np.diff(np.concatenate(([0], row.view(np.int8), [0]))))
    return list(zip(edge[0::2].tolist(), edge[1::2].tolist()))


def components(bitmap, diagonal):
    """The connected parts of a bitmap, each a list of runs (y, begin, end) from top to bottom."""
    parent, runs, last = [], [], []

    def find(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    reach = 1 if diagonal else 0
    for y in range(bitmap.shape[0]):
        present, k = [], 0
        for begin, end in _runs(bitmap[y]):
            i = len(runs)
            runs.append((y, begin, end))
            parent.append(i)
            while k < len(last) and last[k][1] + reach <= begin:
                k += 1
            j = k
            while j < len(last) and last[j][0] < end + reach:
                a, b = find(last[j][2]), find(i)
                parent[max(a, b)] = min(a, b)
                j += 1
            present.append((begin, end, i))
        last = present
    groups = {}
    for i, run in enumerate(runs):
        groups.setdefault(find(i), []).append(run)
    return list(groups.values())


def contours(bitmap):
    """Points whose hulls are those of cv2.findContours(RETR_LIST): of the parts and of the holes in them, last found first."""
    bitmap = np.ascontiguousarray(bitmap, dtype=bool)
    height, width = bitmap.shape
    found = []
    for runs in components(bitmap, True):
        points = [(x, y) for y, begin, end in runs for x in (begin, end - 1)]
        found.append(((runs[0][0], runs[0][1]), np.array(points)))
    for runs in components(~bitmap, False):
        if any(y in (0, height - 1) or begin == 0 or end == width for y, begin, end in runs):
            continue  # the outside, or open to it
        points = [p for y, begin, end in runs for p in ((begin - 1, y), (end, y), (begin, y - 1), (end - 1, y - 1), (begin, y + 1),
                                                        (end - 1, y + 1))]
        points = [(x, y) for x, y in points if bitmap[y, x]]
        found.append(((runs[0][0], runs[0][1] - 1), np.array(points)))
    return [points for _, points in sorted(found, key=lambda f: f[0], reverse=True)]


def offset_polygon(points, distance):
    """A convex polygon moved outwards with round corners, in whole numbers (what pyclipper gives for one)."""
    p = np.trunc(np.asarray(points, np.float64))
    x, y = p[:, 0], p[:, 1]
    if np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0:
        p = p[::-1]
    steps = max(math.pi / math.acos(1 - min(0.25, abs(distance) * 0.25) / abs(distance)), 1)
    out = []
    n = len(p)
    for i in range(n):
        before, after = p[i] - p[i - 1], p[(i + 1) % n] - p[i]
        a0, a1 = math.atan2(-before[0], before[1]), math.atan2(-after[0], after[1])
        turn = (a1 - a0) % (2 * math.pi)
        count = max(int(round(steps * turn / (2 * math.pi) * 1)), 1)
        for k in range(count + 1):
            a = a0 + turn * k / count
            out.append(p[i] + distance * np.array([math.cos(a), math.sin(a)]))
    return np.floor(np.array(out) + 0.5)
