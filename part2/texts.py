"""Measures of a text alone, without the network that wrote it: nothing here needs torch."""
import re

import numpy as np

WORD = re.compile(r"[^\W\d_]+(?=[\W\d_])")  # letters, and something else after them: a word that is cut off is none


def words(text):
    """The words of `text` in lower case."""
    return WORD.findall(text.lower())


def known_words(text, known):
    """Share of the words of `text` that are in the set `known`; NaN if it has no word."""
    found = words(text)
    return sum(word in known for word in found) / len(found) if found else np.nan


def distinct(text, n=5):
    """Distinct n-character sequences of `text` as a share of all of them: 1 if nothing repeats."""
    pieces = [text[k:k + n] for k in range(len(text) - n + 1)]
    return len(set(pieces)) / len(pieces)


def period(text):
    """Characters of the loop in which `text` ends: the least p such that its last third also occurs p earlier; NaN
    if none is at most a third."""
    third = len(text) // 3
    return next((p for p in range(1, third + 1) if text[-third:] == text[-third - p:-p]), np.nan)


def longest_copies(texts, book):
    """For each of `texts`, the length of its longest piece that stands word for word in `book`, int64 (texts,).

    All pieces of n characters that are in the book and in a text are numbered, for n = 1, 2, … until there are none.
    """
    parts = [np.array([*map(ord, part), -k]) for k, part in enumerate([book, *texts], 1)]  # -k: nothing goes on there
    joined = np.concatenate(parts)
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    starts, piece = np.arange(len(joined)), np.zeros(len(joined), dtype=np.int64)
    longest, n = np.zeros(len(parts), dtype=np.int64), 0
    while len(starts):
        _, piece = np.unique(piece * 2**32 + joined[starts + n], return_inverse=True)
        in_book = owner[starts] == 0
        both = (np.bincount(piece, in_book) > 0) & (np.bincount(piece, ~in_book) > 0)
        starts, piece, n = starts[both[piece]], piece[both[piece]], n + 1
        longest[owner[starts]] = n
    return longest[1:]
