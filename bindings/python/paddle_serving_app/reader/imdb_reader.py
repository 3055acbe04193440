"""IMDBDataset: lines of reviews as numbers of words."""
import re

from ._batches import batches


class IMDBDataset:
    """load_resource, then get_words_only or get_words_and_label."""

    def __init__(self):
        self._pattern = re.compile(r"(;|,|\.|\?|!|\s|\(|\))")
        self._vocab = {}
        self._unk_id = 0

    def load_resource(self, dictfile):
        """One word a line; its number is the line's."""
        self._vocab = {}
        with open(dictfile, encoding="utf-8") as f:
            for number, line in enumerate(f):
                self._vocab[line.strip()] = number
        self._unk_id = len(self._vocab)
        self._return_unk_id = self._unk_id

    def _numbers(self, text):
        text = text.lower().replace("<br />", " ").strip()
        return [self._vocab.get(w, self._unk_id) for w in self._pattern.split(text) if w and w != " "]

    def get_words_only(self, line):
        """The numbers of a text's words."""
        return self._numbers(line)

    def get_words_and_label(self, line):
        """(numbers, [label]) of "text|label"."""
        text, _, label = line.rpartition("|")
        return self._numbers(text), [int(label)]

    def infer_reader(self, infer_filelist, batch, buf_size):
        """A reader of batches of (numbers, [label]) over files."""
        return lambda: batches(infer_filelist, batch, self.get_words_and_label, encoding="utf-8")

    def generate_sample(self, line):
        """A reader of one line, as the framework's data sets want it."""
        def memory_iter():
            numbers, label = self.get_words_and_label(line)
            yield [("words", numbers), ("label", label)]
        return memory_iter
