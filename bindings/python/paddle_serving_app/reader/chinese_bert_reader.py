"""ChineseBertReader: a line as BERT's four inputs."""
from . import tokenization
from .bert_base_reader import BertBaseReader


class ChineseBertReader(BertBaseReader):
    """args: vocab_file (the model's vocab.txt), max_seq_len."""

    def __init__(self, args={}):
        super().__init__()
        if not args.get("vocab_file"):
            raise FileNotFoundError("ChineseBertReader({'vocab_file': ...}) takes the model's vocab.txt; nothing is downloaded")
        self.vocab_file = args["vocab_file"]
        self.max_seq_len = args.get("max_seq_len", 20)
        self.feed_keys = args.get("feed_keys", self.feed_keys)
        self.tokenizer = tokenization.FullTokenizer(self.vocab_file)
        self.vocab = self.tokenizer.vocab
        self.pad_id, self.cls_id = self.vocab["[PAD]"], self.vocab["[CLS]"]
        self.sep_id, self.mask_id = self.vocab.get("[SEP]"), self.vocab.get("[MASK]")
        self.feed_dict = {}

    def process(self, line):
        """Lists of max_seq_len: token, position and segment numbers, and 1.0 where there is a token."""
        tokens = ["[CLS]"] + self.tokenizer.tokenize(line)[:self.max_seq_len - 2]
        ids = self.tokenizer.convert_tokens_to_ids(tokens)
        blank = self.max_seq_len - len(ids)
        padded = (ids + [self.pad_id] * blank, list(range(len(ids))) + [self.pad_id] * blank, [0] * len(ids) + [self.pad_id] * blank,
                  [1.0] * len(ids) + [0.0] * blank)
        return dict(zip(self.feed_keys, padded))
