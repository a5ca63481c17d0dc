"""Graphs as text: a file with two names per line, of any size, or a few edges typed as "A-B,A-E".

    python -m part3.gcn --edge_list graph.txt --source a --target b

White space separates the names in a file; empty lines and lines that start with `#` (as in the Stanford SNAP
collection) or `%` (KONECT) are skipped; a line with one name twice makes a node without adding an edge. Whatever could
be meant in another way, such as commas, arrows, brackets or a third column, is refused.
"""
import argparse
import re
import unicodedata
from pathlib import Path

import numpy as np

from part1.cli import InputError
from part3.graph import compress

# Signs of other formats, arrows and characters that nobody sees stand nowhere in a name; some signs not at its ends.
NOWHERE = r"\s,;<>|\"\0\u200b\u200e\u200f\u2060\ufeff←-⇿⟰-⟿"
NAME = rf"(?!//)(?:-(?=\d))?[^{NOWHERE}(\[{{:=#%!*‐-―−-][^{NOWHERE}]*(?<![:=‐-―−-])"
EDGE = re.compile(rf"\s*({NAME})\s+({NAME})\s*")
HEADER = re.compile(r"(source|src|from)(_?node)?(_?id)? (target|dst|to)(_?node)?(_?id)?", re.IGNORECASE)


def plain(name):
    """`name` as names are compared: accents as one character with their letter, single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def in_order(names):
    """`names` as a sorted list: by value if all are whole numbers, else by letters."""
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def typed_edges(text):
    """An argparse `type`: the pairs of names in "A-B,A-E"; an en dash is as good as a hyphen."""
    edges = [[plain(name) for name in re.split("[-–]", edge)] for edge in text.split(",")]
    for number, edge in enumerate(edges, 1):
        if len(edge) != 2 or not all(edge) or not all(re.fullmatch(NAME, word) for word in " ".join(edge).split()):
            raise argparse.ArgumentTypeError(f"edge {number} must be two names such as A-B, not {'-'.join(edge)!r}")
    return edges


def read_edge_list(path):
    """`Neighbours` of the edge list in the file `path`; names are `str`, in `in_order`.

    Raises `OSError` for an unreadable file and `InputError` for a malformed line, no names or text that is not UTF-8.
    """
    try:
        lines = unicodedata.normalize("NFC", Path(path).read_text(encoding="utf-8-sig")).splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    words = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip()[0] in "#%":
            continue
        edge = EDGE.fullmatch(line)
        if not edge or not words and HEADER.fullmatch(" ".join(edge.groups())):
            raise InputError(f"line {number} of {path}: expected two names separated by white space, not {line[:60]!r}")
        words += edge.groups()
    if not words:
        raise InputError(f"{path} holds no edge: the graph is empty")
    spellings, ends = np.unique(words, return_inverse=True)
    names = in_order(spellings.tolist())
    position = dict(zip(names, range(len(names))))
    return compress(np.array([position[name] for name in spellings.tolist()])[ends].reshape(-1, 2), names)
