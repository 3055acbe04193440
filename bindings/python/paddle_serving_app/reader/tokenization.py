"""BERT's tokenisers: basic (spaces, punctuation, case, accents), word pieces, characters, and both together."""
import unicodedata


def load_vocab(vocab_file):
    """{token: number} of a file with one token a line (or "token<TAB>number")."""
    vocab = {}
    with open(vocab_file, encoding="utf-8") as f:
        for number, line in enumerate(f):
            items = line.rstrip("\r\n").split("\t")
            if len(items) > 2:
                break
            vocab[items[0].strip()] = int(items[1]) if len(items) == 2 else number
    return vocab


def convert_by_vocab(vocab, items):
    return [vocab[i] for i in items]


def convert_tokens_to_ids(vocab, tokens):
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab, ids):
    return convert_by_vocab(inv_vocab, ids)


def convert_to_unicode(text):
    return text.decode("utf-8", "ignore") if isinstance(text, bytes) else text


def whitespace_tokenize(text):
    return text.strip().split()


def _is_whitespace(c):
    return c in " \t\n\r" or unicodedata.category(c) == "Zs"


def _is_control(c):
    return c not in "\t\n\r" and unicodedata.category(c).startswith("C")


def _is_punctuation(c):
    n = ord(c)
    return 33 <= n <= 47 or 58 <= n <= 64 or 91 <= n <= 96 or 123 <= n <= 126 or unicodedata.category(c).startswith("P")


def _is_chinese(c):
    n = ord(c)
    return any(a <= n <= b for a, b in ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
                                        (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)))


class BasicTokenizer:
    """Text to words: Chinese characters and punctuation stand alone."""

    def __init__(self, do_lower_case=True):
        self.do_lower_case = do_lower_case

    @staticmethod
    def _clean(text):
        out = []
        for c in text:
            if ord(c) in (0, 0xFFFD) or _is_control(c):
                continue
            out.append(" " if _is_whitespace(c) else f" {c} " if _is_chinese(c) else c)
        return "".join(out)

    def tokenize(self, text):
        out = []
        for token in whitespace_tokenize(self._clean(convert_to_unicode(text))):
            if self.do_lower_case:
                token = "".join(c for c in unicodedata.normalize("NFD", token.lower()) if unicodedata.category(c) != "Mn")
            word = ""
            for c in token:
                if _is_punctuation(c):
                    out += [word, c] if word else [c]
                    word = ""
                else:
                    word += c
            if word:
                out.append(word)
        return out


class WordpieceTokenizer:
    """Words to the longest pieces that the vocabulary has; those that go on begin with ##."""

    def __init__(self, vocab, unk_token="[UNK]", max_input_chars_per_word=100, use_sentence_piece_vocab=False):
        self.vocab, self.unk_token, self.max_input_chars_per_word = vocab, unk_token, max_input_chars_per_word

    def tokenize(self, text):
        out = []
        for word in whitespace_tokenize(convert_to_unicode(text)):
            out += self._pieces(word)
        return out

    def _pieces(self, word):
        if len(word) > self.max_input_chars_per_word:
            return [self.unk_token]
        pieces, start = [], 0
        while start < len(word):
            end = len(word)
            while end > start and ("##" if start else "") + word[start:end] not in self.vocab:
                end -= 1
            if end == start:
                return [self.unk_token]
            pieces.append(("##" if start else "") + word[start:end])
            start = end
        return pieces


class FullTokenizer:
    """Basic, then word pieces."""

    def __init__(self, vocab_file, do_lower_case=True, use_sentence_piece_vocab=False):
        self.vocab = load_vocab(vocab_file)
        self.inv_vocab = {v: k for k, v in self.vocab.items()}
        self.basic_tokenizer = BasicTokenizer(do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(self.vocab)

    def tokenize(self, text):
        return [piece for word in self.basic_tokenizer.tokenize(text) for piece in self.wordpiece_tokenizer.tokenize(word)]

    def convert_tokens_to_ids(self, tokens):
        return convert_by_vocab(self.vocab, tokens)

    def convert_ids_to_tokens(self, ids):
        return convert_by_vocab(self.inv_vocab, ids)


class CharTokenizer(FullTokenizer):
    """Lower-case words, then word pieces."""

    def tokenize(self, text):
        return [piece for word in text.lower().split(" ") for piece in self.wordpiece_tokenizer.tokenize(word)]


class WSSPTokenizer(CharTokenizer):
    """As CharTokenizer: the sentence pieces of its name need a model that is not here."""
