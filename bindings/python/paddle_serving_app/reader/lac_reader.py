"""LACReader: Chinese text as characters' numbers, and tags back to words."""
import os

import numpy as np


def _read_pairs(path, swap):
    """A dictionary file of "number<TAB>text" lines; swap: text is the key."""
    table = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            parts = line.rstrip("\r\n").split("\t")
            if len(parts) == 2:
                table[parts[1] if swap else parts[0]] = parts[0] if swap else parts[1]
            elif len(parts) == 1 and parts[0]:
                table[parts[0]] = parts[0]
    return table


class LACReader:
    """dict_folder holds word.dic, tag.dic and q2b.dic."""

    def __init__(self, dict_folder=""):
        folder = dict_folder or "lac_dict"
        for name in ("word.dic", "tag.dic", "q2b.dic"):
            if not os.path.exists(os.path.join(folder, name)):
                raise FileNotFoundError(f"{folder!r} holds no {name}: LACReader(dict_folder) takes the folder of LAC's word.dic, tag.dic "
                                        "and q2b.dic; nothing is downloaded")
        self.word2id_dict = _read_pairs(os.path.join(folder, "word.dic"), True)
        self.id2word_dict = _read_pairs(os.path.join(folder, "word.dic"), False)
        self.label2id_dict = _read_pairs(os.path.join(folder, "tag.dic"), True)
        self.id2label_dict = _read_pairs(os.path.join(folder, "tag.dic"), False)
        self.q2b = _read_pairs(os.path.join(folder, "q2b.dic"), False)
        self.vocab_size = max(int(n) for n in self.word2id_dict.values()) + 1

    def word_to_ids(self, words):
        ids = []
        for word in words:
            word = self.q2b.get(word, word)
            if word not in self.word2id_dict:
                word = "OOV"
            ids.append(int(self.word2id_dict[word]))
        return ids

    def label_to_ids(self, labels):
        return [int(self.label2id_dict.get(label, self.label2id_dict["O"])) for label in labels]

    def process(self, sent):
        return self.word_to_ids(sent)

    def parse_result(self, words, crf_decode):
        """The words that the tags say: one begins with a tag that ends in -B or is O."""
        tags = [self.id2label_dict[str(int(t))] for t in np.asarray(crf_decode).ravel()]
        out = []
        for character, tag in zip(words, tags):
            if not out or tag.endswith("-B") or tag == "O":
                out.append(character)
            else:
                out[-1] += character
        return out
