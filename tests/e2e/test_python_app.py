"""paddle_serving_app: transforms against OpenCV, OCR post-processing against OpenCV's geometry, text readers, predictors, tools."""
import base64
import importlib.util
import json

import numpy as np
import pytest

from python_site import SITE, script  # noqa: F401
from conftest import ROOT, ZOO, assert_close, cases
from paddle_serving_app.local_predict import LocalPredictor
from paddle_serving_app.reader import *  # noqa: F403
from paddle_serving_app.reader import functional as F
from paddle_serving_app.reader import (CenterCrop, ChineseBertReader, CriteoDataset, DBPostProcess, DetectionNormalize, DetectionPadStride,
                                       DetectionResize, DetectionSequential, DetectionTranspose, Div, File2Image, FilterBoxes,
                                       GetRotateCropImage, IMDBDataset, ImageReader, LACReader, Normalize, OCRReader, PadStride,
                                       RCNNPostprocess, Resize, ResizeByFactor, RGB2BGR, SentaReader, Sequential, SortedBoxes, Transpose)
from paddle_serving_app.reader.image_reader import BlazeFacePostprocess, String2Image, colour_map
from paddle_serving_app.reader.pptsn_reader import CenterCrop as VideoCrop
from paddle_serving_app.reader.pptsn_reader import Image2Array, Normalization, Sampler, Scale, TenCrop
from paddle_serving_app.trace import events_of

try:
    import cv2
except ImportError:
    cv2 = None
needs_cv2 = pytest.mark.skipif(cv2 is None, reason="opencv-python-headless is not installed")
UCI = ROOT / "tests" / "data" / "uci_housing"


def picture(h=200, w=311, seed=1):
    """Something with edges and slopes."""
    y, x = np.mgrid[:h, :w]
    noise = np.random.default_rng(seed).integers(0, 60, (h, w, 3))
    base = np.stack([x * 255 / w, y * 255 / h, ((x // 16 + y // 16) % 2) * 255], -1)
    return np.clip(base * 0.8 + noise, 0, 255).astype(np.uint8)


def grey_levels(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# ---- against OpenCV ----

@needs_cv2
@pytest.mark.parametrize("size", [(224, 224), (100, 77), (500, 320), (311, 100), (1, 1), (622, 400)])
@pytest.mark.parametrize("kind", ["INTER_LINEAR", "INTER_NEAREST", "INTER_CUBIC"])
def test_resize_is_opencvs(size, kind):
    img, flag = picture(), getattr(cv2, kind)
    assert grey_levels(F.resize(img, size, flag), cv2.resize(img, size, interpolation=flag)) <= 1
    if kind == "INTER_LINEAR":
        real = img.astype("float32") / 7
        assert np.abs(F.resize(real, size, flag) - cv2.resize(real, size, interpolation=flag)).max() < 1e-4
        assert grey_levels(F.resize(img[..., 0], size), cv2.resize(img[..., 0], size)) <= 1


@needs_cv2
def test_shrinking_by_area_is_opencvs():
    assert grey_levels(F.resize(picture(), (100, 50), F.INTER_AREA), cv2.resize(picture(), (100, 50), interpolation=cv2.INTER_AREA)) <= 1


@needs_cv2
def test_the_imagenet_chain_is_opencvs(tmp_path):
    cv2.imwrite(str(tmp_path / "daisy.jpg"), picture(333, 500))
    seq = Sequential([File2Image(), Resize(256), CenterCrop(224), RGB2BGR(), Transpose((2, 0, 1)), Div(255),
                      Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], True)])
    img = cv2.imread(str(tmp_path / "daisy.jpg"))
    img = cv2.resize(img, (int(round(500 * 256 / 333)), 256))
    top, left = (img.shape[0] - 224) // 2, (img.shape[1] - 224) // 2
    img = img[top:top + 224, left:left + 224, ::-1].transpose(2, 0, 1).astype("float32") / 255
    want = (img - np.array([0.485, 0.456, 0.406], "float32")[:, None, None]) / np.array([0.229, 0.224, 0.225], "float32")[:, None, None]
    got = seq(str(tmp_path / "daisy.jpg"))
    assert got.dtype == np.float32 and got.shape == (3, 224, 224)
    assert np.abs(got - want).max() <= 1 / 255 / 0.224 + 1e-6  # one grey level
    same = Sequential(seq.transforms[2:])(cv2.resize(cv2.imread(str(tmp_path / "daisy.jpg")), (384, 256)))
    assert np.abs(same - want).max() < 1e-6
    data = (tmp_path / "daisy.jpg").read_bytes()
    assert np.abs(ImageReader().process_image(data) - want).max() <= 1 / 255 / 0.224 + 1e-6
    assert grey_levels(Base64ToImage()(base64.b64encode(data)), String2Image()(data)) == 0  # noqa: F405
    assert String2Image()(b"no image") is None and ImageReader().process_image(b"no image") is None
    assert "Resize(size=256" in repr(seq)


@needs_cv2
@pytest.mark.parametrize("angle", [0, 7, -20, 90])
def test_cropping_a_turned_box_is_opencvs(angle):
    img = cv2.GaussianBlur(picture(300, 400), (0, 0), 1.5)
    box = cv2.boxPoints(((200, 150), (160, 40), angle)).astype("float32")
    box = DBPostProcess.get_mini_boxes(box)[0]
    left, right, top, bottom = int(box[:, 0].min()), int(box[:, 0].max()), int(box[:, 1].min()), int(box[:, 1].max())
    part, p = img[top:bottom, left:right], box - [left, top]
    w, h = int(np.linalg.norm(p[0] - p[1])), int(np.linalg.norm(p[0] - p[3]))
    m = cv2.getPerspectiveTransform(p.astype("float32"), np.array([[0, 0], [w, 0], [w, h], [0, h]], "float32"))
    want = cv2.warpPerspective(part, m, (w, h), borderMode=cv2.BORDER_REPLICATE)
    want = np.rot90(want) if h / w >= 1.5 else want
    got = GetRotateCropImage()(img, box)
    assert got.shape == want.shape and grey_levels(got, want) <= 1
    with pytest.raises(ValueError, match="holds no pixel"):
        GetRotateCropImage()(img, [[900, 900], [910, 900], [910, 905], [900, 905]])


def text_map(seed, n=6, h=160, w=240):
    """A detector's map: turned boxes, some with holes."""
    pred, rng = np.zeros((h, w), np.float32), np.random.default_rng(seed)
    for _ in range(n):
        rect = ((rng.uniform(20, w - 20), rng.uniform(20, h - 20)), (rng.uniform(10, 60), rng.uniform(6, 20)), rng.uniform(-45, 45))
        cv2.fillPoly(pred, [cv2.boxPoints(rect).astype(np.int32)], float(rng.uniform(0.5, 1)))
    return pred


def opencv_db(pred, thresh=0.3, box_thresh=0.5, unclip=1.5):
    """The same in OpenCV's functions, the offset by pyclipper's rule for a rectangle."""
    bitmap = (pred > thresh).astype(np.uint8)
    found, _ = cv2.findContours(bitmap * 255, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    boxes = []
    for contour in found:
        points, side = DBPostProcess.get_mini_boxes(cv2.boxPoints(cv2.minAreaRect(contour)))
        if min(cv2.minAreaRect(contour)[1]) < 3:
            continue
        x0, y0 = np.floor(points.min(0)).astype(int).clip(0)
        x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int), [pred.shape[1] - 1, pred.shape[0] - 1])
        mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
        cv2.fillPoly(mask, [(points - [x0, y0]).astype(np.int32)], 1)
        if cv2.mean(pred[y0:y1 + 1, x0:x1 + 1], mask)[0] < box_thresh:
            continue
        boxes.append(points)
    return boxes


@needs_cv2
@pytest.mark.parametrize("seed", range(6))
def test_boxes_of_text_are_opencvs(seed):
    """As many boxes in the same order, each that of OpenCV's contour grown by area * ratio / perimeter on every side."""
    pred = text_map(seed)
    post = DBPostProcess({"thresh": 0.3, "box_thresh": 0.5, "max_candidates": 1000, "unclip_ratio": 1.5, "min_size": 3})
    (got,) = post(pred[None, None], [(1.0, 1.0)])
    want = opencv_db(pred)
    assert len(got) == len(want) and len(want) > 0
    for g, p in zip(got, want):
        a, b = np.linalg.norm(p[0] - p[1]), np.linalg.norm(p[1] - p[2])
        d = a * b * 1.5 / (2 * (a + b))
        along, across = (p[1] - p[0]) / a, (p[3] - p[0]) / b
        grown = np.array([p[0] - d * along - d * across, p[1] + d * along - d * across, p[2] + d * along + d * across,
                          p[3] - d * along + d * across])
        grown = np.clip(grown, 0, [pred.shape[1], pred.shape[0]])
        assert np.abs(np.sort(g, 0) - np.sort(grown, 0)).max() <= 3, (g.tolist(), grown.tolist())
    (half,) = post(pred[None, None], [(0.5, 0.5)])
    assert np.abs(half.astype(int) - got.astype(int) * 2).max() == 0
    assert post(np.zeros((1, 1, 8, 8), "float32"), [(1, 1)]) == [[]]


@needs_cv2
def test_holes_are_found_as_opencv_finds_them():
    m = np.zeros((40, 60), np.uint8)
    m[5:30, 5:50] = 1
    m[10:20, 10:30] = 0
    found, _ = cv2.findContours(m, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    ours = F.contours(m)
    assert len(found) == len(ours) == 2
    for a, b in zip(found, ours):
        assert cv2.boundingRect(a) == cv2.boundingRect(b.astype(np.int32).reshape(-1, 1, 2))


# ---- shapes that app.md states ----

@pytest.mark.parametrize("make, words", [
    (lambda: Sequential([Resize(8), 5]), "transform 1 is int"),
    (lambda: Sequential([String2Image(), Resize(8)])(b"no image"), "gave no image for Resize"),
    (lambda: Normalize([1, 2], [1, 2])(picture()), "a value for each of 3 channels, not 2"),
    (lambda: DBPostProcess({"thresh": 0.3}), "lack box_thresh, max_candidates, unclip_ratio"),
    (lambda: CenterCrop(1000)(picture()), "is smaller than"),
])
def test_misuse_of_transforms(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


def test_resize_rules():
    img = np.zeros((333, 500, 3), np.uint8)
    assert Resize(256)(img).shape == (256, 384, 3) and Resize((100, 50))(img).shape == (50, 100, 3)
    assert Resize(256, 300)(img).shape == (200, 300, 3)
    assert ResizeByFactor(32, 960)(np.zeros((100, 65, 3), np.uint8)).shape == (64, 32, 3)
    assert ResizeByFactor(32, 960)(np.zeros((1920, 960, 3), np.uint8)).shape == (960, 480, 3)
    assert PadStride(32)(np.ones((3, 33, 64), "float32")).shape == (3, 64, 64)
    assert CenterCrop(3)(np.arange(75).reshape(5, 5, 3))[0, 0, 0] == 18
    with pytest.raises(ValueError, match="smaller than the 300 x 300 that CenterCrop cuts"):
        CenterCrop(300)(np.zeros((200, 400, 3)))
    with pytest.raises(ValueError, match="Resize takes an int or"):
        Resize("256")


def test_detection_chain():
    def load(_, info):
        return np.full((100, 200, 3), 255, np.uint8), info
    img, info = DetectionSequential([load, DetectionResize((64, 300)), DetectionNormalize([0.5] * 3, [0.5] * 3),
                                     DetectionTranspose((2, 0, 1)), DetectionPadStride(32)])("x")
    assert img.shape == (3, 64, 128) and img.max() == 1.0 and info["im_shape"].tolist() == [64, 128]
    assert info["scale_factor"].tolist() == pytest.approx([0.64, 0.64])
    assert DetectionPadStride(0)(img, info)[1] is info


@needs_cv2
@pytest.mark.parametrize("target, keep", [(64, True), ([48, 64], True), ([33, 57], False), (250, True), ([301, 199], False)])
@pytest.mark.parametrize("kind", ["INTER_LINEAR", "INTER_CUBIC", "INTER_NEAREST"])
def test_detection_resize_is_opencvs(target, keep, kind):
    """By factors, which do not come out even."""
    img, info = picture(97, 211), {}
    got, info = DetectionResize(target, keep, getattr(cv2, kind))(img, info)
    y, x = (float(v) for v in DetectionResize(target, keep)._scales(img.shape[:2]))
    want = cv2.resize(img, None, None, fx=x, fy=y, interpolation=getattr(cv2, kind))
    assert got.shape == want.shape and grey_levels(got, want) <= 1
    assert info["scale_factor"].tolist() == pytest.approx([y, x])


def test_boxes():
    filtered = FilterBoxes(10, 10)(np.array([[[0, 0], [50, 0], [50, 20], [0, 20]], [[0, 0], [5, 0], [5, 5], [0, 5]],
                                             [[80, 30], [20, 30], [20, 60], [80, 60]]]), (64, 100, 3))
    assert filtered.shape == (2, 4, 2) and filtered[1].tolist() == [[20, 30], [80, 30], [80, 60], [20, 60]]
    boxes = SortedBoxes()([np.array([[50, 12], [0, 0], [0, 0], [0, 0]]), np.array([[5, 14], [0, 0], [0, 0], [0, 0]])])
    assert [int(b[0][0]) for b in boxes] == [5, 50]


def test_detectors_results(tmp_path):
    (tmp_path / "label.txt").write_text("cat\ndog\n")
    post = RCNNPostprocess(str(tmp_path / "label.txt"), str(tmp_path / "out"))
    fetch = {"image": "a.jpg", "boxes": np.array([[1, 0.9, 10, 20, 29, 49], [0, 0.2, 0, 0, 1, 1]], "float32"), "boxes.lod": [0, 2]}
    assert post(fetch, visualize=False)[0] == {"category_id": 1, "bbox": [10, 20, 20, 30], "score": pytest.approx(0.9)}
    assert post({"image": "a", "b": np.zeros((1, 1))}, visualize=False) == []
    face = BlazeFacePostprocess(str(tmp_path / "label.txt"), str(tmp_path))
    got = face({"im_shape": [100, 200], "boxes": np.array([[0, 0.5, -1, 0.5, 0.5, 2]], "float32")}, visualize=False)
    assert got[0]["bbox"] == [0.0, 50.0, 100.0, 50.0]
    assert colour_map(3).tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]


def test_ocr_reader(tmp_path):
    (tmp_path / "keys.txt").write_text("a\nb\nc\n", encoding="utf-8")
    reader = OCRReader(char_dict_path=str(tmp_path / "keys.txt"))
    img = picture(20, 50)
    out = reader.resize_norm_img(img, 4.0)
    assert out.shape == (3, 32, 128) and out.dtype == np.float32 and (out[:, :, 80:] == 0).all() and -1 <= out.min() < out.max() <= 1
    assert reader.preprocess([img, picture(20, 100)]).shape == (3, 32, 160)
    probs = np.full((1, 7, 5), 0.01, "float32")
    for t, c in enumerate([1, 1, 0, 1, 3, 4, 0]):
        probs[0, t, c] = 0.9
    assert reader.postprocess_ocrv2({"save_infer_model/scale_0.tmp_1": probs}) == [("aac ", pytest.approx(0.9))]
    old = {"ctc_greedy_decoder_0.tmp_0": np.array([[0], [2]]), "ctc_greedy_decoder_0.tmp_0.lod": [0, 2],
           "softmax_0.tmp_0": np.array([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]]), "softmax_0.tmp_0.lod": [0, 2]}
    assert reader.postprocess(old) == ["ac"] and reader.postprocess(old, True)[0][1] == pytest.approx(0.9)


# ---- text ----

def test_imdb(tmp_path):
    (tmp_path / "imdb.vocab").write_text("i\nam\nvery\nsad\n.\n")
    data = IMDBDataset()
    data.load_resource(str(tmp_path / "imdb.vocab"))
    assert data.get_words_only("I am very sad.<br />Good") == [0, 1, 2, 3, 4, 5]
    assert data.get_words_and_label("i am | sad | 0") == ([0, 1, 5, 3], [0])
    (tmp_path / "part").write_text("i|1\nam|0\nvery|1\n")
    assert [len(b) for b in data.infer_reader([str(tmp_path / "part")], 2, 10)()] == [2, 1]


def test_lac_and_senta(tmp_path):
    (tmp_path / "word.dic").write_text("0\t我\n1\t爱\n2\tOOV\n", encoding="utf-8")
    (tmp_path / "tag.dic").write_text("0\tr-B\n1\tv-B\n2\tv-I\n3\tO\n", encoding="utf-8")
    (tmp_path / "q2b.dic").write_text("Ａ\t我\n", encoding="utf-8")
    lac = LACReader(str(tmp_path))
    assert lac.process("我爱x") == [0, 1, 2] and lac.process("Ａ") == [0]
    assert lac.parse_result("我爱中", [[0], [1], [2]]) == ["我", "爱中"]
    (tmp_path / "vocab").write_text("a\t0\nb\t5\n")
    senta = SentaReader(str(tmp_path / "vocab"))
    assert senta.process(["b", "a", "zz"]) == [5, 0, 2]
    for make, words in ((lambda: LACReader(str(tmp_path / "no")), "word.dic"), (lambda: SentaReader(), "vocabulary"),
                        (lambda: ChineseBertReader(), "vocab.txt")):
        with pytest.raises(FileNotFoundError, match=words):
            make()


def test_chinese_bert(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "我", "un", "##able", ",", "e"]), encoding="utf-8")
    got = ChineseBertReader({"vocab_file": str(tmp_path / "vocab.txt"), "max_seq_len": 8}).process("我 UNABLE,É")
    assert got["input_ids"] == [1, 4, 5, 6, 7, 8, 0, 0] and got["input_mask"] == [1.0] * 6 + [0.0] * 2
    assert got["position_ids"] == [0, 1, 2, 3, 4, 5, 0, 0] and got["segment_ids"] == [0] * 8


def test_criteo():
    data = CriteoDataset()
    data.setup(1000, hash_function=len)
    feed = data.process("1\t" + "\t".join(["2"] + [""] * 12 + ["ab"] * 26))
    assert feed["dense_input"].shape == (1, 13) and feed["dense_input"][0, 0] == pytest.approx(0.1) and feed["dense_input"][0, 1] == 0
    assert feed["embedding_25.tmp_0"].tolist() == [[4]] and feed["embedding_0.tmp_0.lod"] == [0, 1]
    with pytest.raises(ValueError, match="40 fields"):
        data.process("1\t2")


def test_video():
    frames = [np.full((40, 60, 3), i, np.uint8) for i in range(20)]
    r = Sampler(4, 1, select_left=True)({"frames": frames})
    assert [int(f[0, 0, 0]) for f in r["imgs"]] == [2, 7, 12, 17]
    r = Scale(24)(r)
    assert r["imgs"][0].shape == (24, 32, 3)
    r = VideoCrop(24)(r)
    r = TenCrop(16)(r)
    assert len(r["imgs"]) == 40
    r = Normalization([0.5] * 3, [0.5] * 3)(Image2Array()(r))
    assert r["imgs"].shape == (40, 3, 16, 16) and r["imgs"].dtype == np.float32
    with pytest.raises(TypeError, match="Mean must be list"):
        Normalization(0.5, [0.5])


# ---- predictors and tools ----

def test_local_predictor(capfd):
    p = LocalPredictor()
    with pytest.raises(ValueError, match="call load_model_config"):
        p.predict({"x": [0] * 13}, ["price"])
    p.load_model_config(str(UCI))
    row = [0.0137, -0.1136, 0.2553, -0.0692, 0.0582, -0.0727, -0.1583, -0.0584, 0.6283, 0.4919, 0.1856, 0.0795, -0.0332]
    for feed, fetch, batch, key in (({"x": row}, ["price"], False, "price"), ({"x": [row]}, ["fc_0.tmp_1"], True, "fc_0.tmp_1"),
                                    ({"x": np.array(row)}, None, False, "fc_0.tmp_1"), ([{"x": row}], ["mine"], False, "mine")):
        got = p.predict(feed=feed, fetch=fetch, batch=batch)
        assert list(got) == [key] and abs(got[key][0, 0] - 18.9011518) < 1e-5
    with pytest.raises(ValueError, match="Wrong feed name: y"):
        p.predict({"y": row}, ["price"])
    p.load_model_config(str(UCI), thread_num=2, precision="bf16", use_profile=True)
    assert abs(p.predict({"x": row}, ["price"])["price"][0, 0] - 18.9011518) < 0.2
    assert capfd.readouterr().err.startswith("PROFILE\tpid:")
    with pytest.raises(ValueError, match="fp23"):
        p.load_model_config(str(UCI), precision="fp23")
    folder = ZOO / "imdb_cnn" / "pdmodel26"
    if folder.exists():
        p.load_model_config(str(folder))
        given, want = (np.load(f) for f in cases(folder)[0])
        assert_close(next(iter(p.predict({"words": given["in0"], "words.lod": given["in0_lod0"]}, batch=True).values())), want["out0"])


def test_trace(tmp_path):
    line = "PROFILE\tpid:7\tprepro_0:100 prepro_1:140 in#op_0:150 \n"
    assert events_of(line)[0] == {"name": "prepro", "tid": 0, "pid": "7", "ts": 100, "ph": "B"} and events_of(line)[2]["tid"] == "op"
    (tmp_path / "p").write_text("noise\n" + line)
    script("-m", "paddle_serving_app.trace", "--profile_file", tmp_path / "p", "--trace_file", tmp_path / "t")
    assert [e["ph"] for e in json.loads((tmp_path / "t").read_text())] == ["B", "E", "B"]


def test_package(tmp_path):
    assert "OCR: ocr_rec | ocr_det" in script("-m", "paddle_serving_app.package", "--list_model").stdout
    assert "does not exist in current model list" in script("-m", "paddle_serving_app.package", "--get_model", "nothing").stdout
    done = script("-m", "paddle_serving_app.package", "--get_model", "lac", cwd=tmp_path, check=False)
    assert done.returncode == 1 and "nothing is downloaded" in done.stderr
    import tarfile
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "lac.tar.gz", "w:gz") as t:
        t.add(tmp_path / "x", "lac_model/x")
    script("-m", "paddle_serving_app.package", "--get_model", "lac", cwd=tmp_path)
    assert (tmp_path / "lac_model" / "x").read_text() == "x"
    with tarfile.open(tmp_path / "lac.tar.gz", "w:gz") as t:
        t.add(tmp_path / "x", "../escaped")
    assert script("-m", "paddle_serving_app.package", "--get_model", "lac", cwd=tmp_path, check=False).returncode == 1
    assert not (tmp_path.parent / "escaped").exists()


def test_a_detector_by_its_own_configuration(tmp_path):
    """pddet.Detection: the steps of infer_cfg.yml as OpenCV does them, what each family is fed beside the image, and the boxes."""
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("yaml")
    from paddle_serving_app.reader.pddet import Detection
    image = np.random.default_rng(3).integers(0, 255, (60, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "i.png"), image)
    steps = [{"type": "Resize", "target_size": 48, "max_size": 64}, {"type": "Normalize", "mean": [.5, .4, .3], "std": [.2, .3, .4]},
             {"type": "Permute", "to_bgr": False}, {"type": "PadStride", "stride": 32}]
    conf = {"arch": "RCNN", "Preprocess": steps, "with_background": True, "label_list": ["cat", "dog"]}

    def detection(**more):
        (tmp_path / "c.yml").write_text(json.dumps({**conf, **more}))
        made = Detection(str(tmp_path / "c.yml"), str(tmp_path / "out"))
        made.if_visualize = importlib.util.find_spec("PIL") is not None
        return made

    d = detection()
    feed = d.preprocess(["image", "im_info", "im_shape"], str(tmp_path / "i.png"))
    scale = 64 / 90
    want = cv2.resize(image[:, :, ::-1].copy(), None, None, fx=scale, fy=scale)
    want = ((want.astype("float32") / 255 - np.float32([.5, .4, .3])) / np.float32([.2, .3, .4])).transpose(2, 0, 1)
    assert feed["image"].shape == (3, 64, 64) and np.abs(feed["image"][:, :43, :64] - want).max() < 1 / 255 / .2 + 1e-6
    assert not feed["image"][:, 43:].any()
    assert feed["im_info"].tolist() == [64, 64, pytest.approx(scale)] and feed["im_shape"].tolist() == [60, 90, 1]
    got = d.postprocess({"o": np.float32([[1, .9, 1, 2, 10, 20], [2, .3, 0, 0, 5, 5]]), "o.lod": [0, 2]}, ["o"])
    assert got[0] == {"category_id": 1, "bbox": [1, 2, 10, 19], "score": pytest.approx(.9)}
    assert json.loads((tmp_path / "out" / "bbox.json").read_text()) == got and (tmp_path / "out" / "i.png").exists() == d.if_visualize
    yolo = detection(arch="YOLO")
    assert yolo.preprocess(["image", "im_size"], str(tmp_path / "i.png"))["im_size"].tolist() == [60, 90]
    ssd = detection(arch="SSD")
    ssd.preprocess(["image"], str(tmp_path / "i.png"))
    assert ssd.postprocess({"o": np.float32([[1, .9, .1, .2, .5, 2]])}, ["o"])[0]["bbox"] == pytest.approx([9, 12, 36, 48])
    for wrong, call, words in (({}, lambda d: d.preprocess(["image"], str(tmp_path / "i.png")), "1 names for 3 arrays"),
                               ({"arch": "DETR"}, lambda d: d.preprocess(["image"], str(tmp_path / "i.png")), "Unsupported arch: DETR"),
                               ({"Preprocess": [{"type": "os.system"}]}, lambda d: d.preprocess(["x"], str(tmp_path / "i.png")), "no step 'os.system'"),
                               ({}, lambda d: d.preprocess(["image"], str(tmp_path / "c.yml")), "is no image")):
        with pytest.raises(ValueError, match=words):
            call(detection(**wrong))
