"""A book as training data: the text encoded once into one tensor, from which random windows are cut (Question 2.1)."""
import re
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset


class Vocabulary:
    """Characters and their numbers: the sorted distinct `characters` of a text, numbered from 0."""

    def __init__(self, characters):
        self.characters = "".join(sorted(set(characters)))
        self.vocab_size = len(self.characters)
        self._codes = _code_points(self.characters)

    def encode(self, text):
        """The characters of `text` as int64 (len(text),). `ValueError` names every character that is not known."""
        codes = _code_points(text)
        indices = np.searchsorted(self._codes, codes).clip(max=self.vocab_size - 1)
        unknown = codes != self._codes[indices]
        if unknown.any():
            names = " ".join(repr(chr(code)) for code in np.unique(codes[unknown]))
            raise ValueError(f"the training text has no {names}")
        return torch.from_numpy(indices.astype(np.int64))

    def convert_to_string(self, indices):
        """The text that the numbers `indices` (a tensor or sequence) stand for."""
        return "".join(self.characters[index] for index in torch.as_tensor(indices).tolist())


class TextDataset(Vocabulary, Dataset):
    """All windows of `seq_length` characters of a text file, each with the same window shifted by one as its target.

    Args:
        filename: a UTF-8 text. A byte-order mark at its beginning is not text; CRLF and CR line ends become LF.
        seq_length: T, characters in a window.
        strip_gutenberg: keep only what is between Project Gutenberg's *** START and *** END lines.

    `text` (a str) and `data` (int64, one number a character) hold the whole text. Raises `OSError` when the file cannot
    be read, `ValueError` when it is empty, too short, not UTF-8, binary, or has no such lines to strip.
    """

    def __init__(self, filename, seq_length, strip_gutenberg=False):
        if seq_length < 1:
            raise ValueError(f"seq_length must be at least 1, not {seq_length}")
        self.text = read_text(filename)
        if strip_gutenberg:
            self.text = strip_licence(self.text, filename)
        super().__init__(self.text)
        self.seq_length = seq_length
        self.name = Path(filename).name
        self._set_data(self.encode(self.text))

    def _set_data(self, data):
        if len(data) < self.seq_length + 1:
            raise ValueError(f"{self.name} has {len(data)} characters to train on; windows of {self.seq_length} and "
                             f"the character after need {self.seq_length + 1}")
        self.data = data
        self.windows = data.unfold(0, self.seq_length + 1, 1)  # a view (len, seq_length + 1), nothing is copied

    def hold_out(self, fraction):
        """Take the last `fraction` of the text out of the training data; returns it as int64 (characters,)."""
        size = round(len(self.data) * fraction)
        if size < 2:
            raise ValueError(f"{fraction} of the {len(self.data)} characters of {self.name} leave nothing to evaluate "
                             "on")
        held_out = self.data[-size:]
        self._set_data(self.data[:-size])
        return held_out

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        window = self.windows[index]
        return window[:-1], window[1:]

    def batch(self, batch_size, generator=None, part=0, parts=1):
        """Draw random windows: inputs and targets, int64 (batch_size, seq_length) each, from a CPU `generator`.

        Of `parts` nearly equal pieces of this batch, the piece number `part`.
        """
        starts = torch.randint(len(self), (batch_size,), generator=generator)
        windows = self.windows[starts.tensor_split(parts)[part]]
        return windows[:, :-1], windows[:, 1:]


def read_text(filename):
    """The text of a UTF-8 file without byte-order mark and with LF line ends; see `TextDataset` for the errors."""
    content = Path(filename).read_bytes()
    if not content:
        raise ValueError(f"{filename} is empty")
    if b"\0" in content:
        raise ValueError(f"{filename} is a binary file, not text (or text in UTF-16; UTF-8 is wanted)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{filename} is not UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); convert it, "
                         "for example with iconv -f LATIN1 -t UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def strip_licence(text, filename):
    """The book between the lines that begin with *** START and *** END."""
    start = re.search(r"^\*\*\* ?START\b.*\n", text, re.MULTILINE)
    end = re.search(r"^\*\*\* ?END\b", text, re.MULTILINE)
    if not start or not end or end.start() <= start.end():
        raise ValueError(f"{filename} has no *** START and *** END lines to strip at")
    return text[start.end():end.start()].strip("\n") + "\n"


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
