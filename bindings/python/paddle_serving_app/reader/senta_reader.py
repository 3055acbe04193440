"""SentaReader: words as numbers."""


class SentaReader:
    """vocab_path: a file of "word<TAB>number" lines."""

    def __init__(self, vocab_path="", max_seq_len=20):
        if not vocab_path:
            raise FileNotFoundError("SentaReader(vocab_path) takes the file of the model's vocabulary; nothing is downloaded")
        self.max_seq_len = max_seq_len
        self.word_dict = self.load_vocab(vocab_path)

    def load_vocab(self, vocab_path):
        vocab = {}
        with open(vocab_path, encoding="utf-8") as f:
            for line in f:
                line = line.rstrip("\r\n").strip()
                if line.split("\t")[0] not in vocab:
                    vocab[line.split("\t")[0]] = int(line.split("\t")[1]) if "\t" in line else len(vocab)
        vocab["<unk>"] = len(vocab)
        return vocab

    def process(self, words):
        unknown = self.word_dict["<unk>"]
        return [self.word_dict.get(w, unknown) for w in words]
