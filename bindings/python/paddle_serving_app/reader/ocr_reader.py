"""OCRReader: images for a text recogniser, and its answers as text."""
import math
import string

import numpy as np

from . import functional as F


class CharacterOps:
    """Characters and their numbers. en: 0-9a-z; EN_symbol: the printable ones; other types read the dictionary file."""

    def __init__(self, character_type, character_dict_path):
        self.character_type = character_type
        if character_type == "en":
            characters = list("0123456789abcdefghijklmnopqrstuvwxyz")
        elif character_type == "EN_symbol":
            characters = list(string.printable[:-6])
        else:
            with open(character_dict_path, encoding="utf-8") as f:
                characters = [line.rstrip("\r\n") for line in f]
        self.character = characters
        self.dict = {c: i for i, c in enumerate(characters)}

    def decode(self, numbers):
        return "".join(self.character[int(n)] for n in numbers if 0 <= int(n) < len(self.character))


class OCRReader:
    """preprocess crops, postprocess what the recogniser answered."""

    def __init__(self, algorithm="CRNN", image_shape=[3, 32, 320], char_type="ch", batch_num=1, char_dict_path="./ppocr_keys_v1.txt"):
        self.rec_image_shape, self.character_type, self.rec_batch_num, self.algorithm = image_shape, char_type, batch_num, algorithm
        self.char_ops = CharacterOps(char_type, char_dict_path)
        # CTC: the blank is class 0, then the dictionary, then the space
        self.ctc_characters = ["blank"] + self.char_ops.character + ([" "] if char_type not in ("en", "EN_symbol") else [])

    def resize_norm_img(self, img, max_wh_ratio):
        """float32 [3, 32, W] from -1 to 1, zeros to the right."""
        channels, height, width = self.rec_image_shape
        if self.character_type == "ch":
            width = int(32 * max_wh_ratio)
        h, w = img.shape[:2]
        used = min(int(math.ceil(height * w / float(h))), width)
        data = F.resize(img, (max(used, 1), height)).astype("float32")
        data = (data.transpose((2, 0, 1)) / 255 - 0.5) / 0.5
        out = np.zeros((channels, height, width), dtype=np.float32)
        out[:, :, :data.shape[2]] = data
        return out

    def preprocess(self, img_list):
        """The first image of the list, padded to the widest of all."""
        ratio = max([img.shape[1] * 1.0 / img.shape[0] for img in img_list] + [0.0])
        return self.resize_norm_img(img_list[0], ratio)

    def postprocess(self, outputs, with_score=False):
        """Of a model that has decoded already: its numbers are characters, one after another."""
        key = "ctc_greedy_decoder_0.tmp_0"
        numbers, lod = np.asarray(outputs[key]).ravel(), np.asarray(outputs[key + ".lod"]).ravel()
        texts = [self.char_ops.decode(numbers[begin:end]) for begin, end in zip(lod, lod[1:])]
        if not with_score:
            return texts
        probs, plod = np.asarray(outputs["softmax_0.tmp_0"]), np.asarray(outputs["softmax_0.tmp_0.lod"]).ravel()
        result = []
        for text, begin, end in zip(texts, plod, plod[1:]):
            part = probs[begin:end]
            kept = part.argmax(1) != part.shape[1] - 1
            result.append([text, float(part.max(1)[kept].mean()) if kept.any() else float("nan")])
        return result

    def postprocess_ocrv2(self, outputs, with_score=False):
        """[(text, mean confidence)] of CTC probabilities [N, T, classes]: repeats collapse, class 0 is the blank."""
        preds = np.asarray(outputs["save_infer_model/scale_0.tmp_1"])
        result = []
        for best, prob in zip(preds.argmax(2), preds.max(2)):
            keep = (best != 0) & (np.concatenate(([True], best[1:] != best[:-1])))
            text = "".join(self.ctc_characters[i] if i < len(self.ctc_characters) else "" for i in best[keep])
            result.append((text, float(prob[keep].mean()) if keep.any() else float("nan")))
        return result
