"""A book as training data: the text encoded once into one tensor, from which random windows are cut (Question 2.1)."""
import re
from pathlib import Path

import torch
from torch.utils.data import Dataset

from part1.cli import InputError

# A marker of Project Gutenberg ends at its closing asterisks, which may stand some lines below, or with its line.
# "START OF", as the licence may have a "*** START: FULL LICENSE ***" of its own.
START = re.compile(r"^\*\*\* ?START OF\b(?:(?:.*\n){0,5}?.*\*\*\*[ \t]*\n|.*\n)", re.MULTILINE)
END = re.compile(r"^\*\*\* ?END\b", re.MULTILINE)


class Vocabulary:
    """Characters and their numbers: the sorted distinct `characters` of a text, numbered from 0."""

    def __init__(self, characters):
        self.characters = "".join(sorted(set(characters)))
        self.vocab_size = len(self.characters)
        self.numbers = {character: number for number, character in enumerate(self.characters)}

    def encode(self, text):
        """The characters of `text` as int64 (len(text),). `InputError` names every character that is not known."""
        if unknown := sorted(set(text) - set(self.numbers)):
            raise InputError(f"the training text has no {' '.join(map(repr, unknown))}")
        return torch.tensor([self.numbers[character] for character in text], dtype=torch.int64)

    def convert_to_string(self, indices):
        """The text that the numbers `indices` (a tensor or sequence) stand for."""
        return "".join(self.characters[index] for index in torch.as_tensor(indices).tolist())


class TextDataset(Vocabulary, Dataset):
    """All windows of `seq_length` characters of a text file, each with the same window shifted by one as its target.

    Args:
        filename: a UTF-8 text. A byte-order mark at its beginning is not text; CRLF and CR line ends become LF.
        seq_length: T, characters in a window.
        strip_gutenberg: keep only what is between Project Gutenberg's *** START and *** END lines.

    `text` (a str) and `data` (int64, one number per character) hold the whole text. Raises `OSError` when the file
    cannot be read, `InputError` when it is too short, not UTF-8, binary, or does not have one pair of such lines.
    """

    def __init__(self, filename, seq_length, strip_gutenberg=False):
        text = read_text(filename)
        self.text = strip_licence(text, filename) if strip_gutenberg else text
        super().__init__(self.text)
        self.seq_length, self.name = seq_length, Path(filename).name
        self._set_data(self.encode(self.text))

    def _set_data(self, data):
        if len(data) < self.seq_length + 1:
            raise InputError(f"{self.name} has {len(data)} characters to train on; windows of {self.seq_length} and "
                             f"the character after need {self.seq_length + 1}")
        self.data = data
        self.windows = data.unfold(0, self.seq_length + 1, 1)  # a view (len, seq_length + 1), nothing is copied

    def hold_out(self, fraction):
        """Take the last `fraction` of the text out of the training data; returns it as int64 (characters,)."""
        size = round(len(self.data) * fraction)
        if size < 2:
            raise InputError(f"{fraction} of {len(self.data)} characters of {self.name} are nothing to evaluate on")
        held_out = self.data[-size:]
        self._set_data(self.data[:-size])
        return held_out

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        window = self.windows[index]
        return window[:-1], window[1:]

    def batch(self, batch_size, generator=None):
        """Draw random windows: inputs and targets, int64 (batch_size, seq_length) each, from a CPU `generator`."""
        windows = self.windows[torch.randint(len(self), (batch_size,), generator=generator)]
        return windows[:, :-1], windows[:, 1:]

    def updates_per_pass(self, batch_size):
        """How many batches of `next_windows` go through the text once; `InputError` where it is too short for that."""
        if len(self.data) < batch_size * self.seq_length:
            raise InputError(f"{self.name} has {len(self.data)} characters to train on; {batch_size} streams with "
                             f"windows of {self.seq_length} need {batch_size * self.seq_length}")
        return len(self.data) // (batch_size * self.seq_length)

    def next_windows(self, batch_size, k):
        """Batch k (0, 1, …) of `batch_size` streams that start at equal distances: inputs and targets as in `batch`.

        Each window begins where that of batch k - 1 ended; after the end of the text comes its beginning.
        """
        starts = torch.arange(batch_size) * (len(self.data) // batch_size) + k * self.seq_length
        windows = self.data[(starts.unsqueeze(1) + torch.arange(self.seq_length + 1)) % len(self.data)]
        return windows[:, :-1], windows[:, 1:]


def read_text(filename):
    """The text of a UTF-8 file without byte-order mark and with LF line ends; see `TextDataset` for the errors."""
    content = Path(filename).read_bytes()
    if b"\0" in content:
        raise InputError(f"{filename} is a binary file, not text (or text in UTF-16; UTF-8 is wanted)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{filename} is not UTF-8 (byte {error.start} is 0x{content[error.start]:02x}); convert it, "
                         "for example with iconv -f LATIN1 -t UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def strip_licence(text, filename):
    """The book between the lines that begin with *** START and *** END."""
    starts, end = list(START.finditer(text)), END.search(text)
    if len(starts) > 1:
        raise InputError(f"{filename} has {len(starts)} *** START OF lines, so it is more than one book")
    if not starts or not end or end.start() <= starts[0].end():
        raise InputError(f"{filename} has no *** START OF and *** END lines to strip at")
    return text[starts[0].end():end.start()].strip("\n") + "\n"
