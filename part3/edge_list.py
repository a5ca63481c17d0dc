"""Graphs as text: a file with two names per line, of any size, or a few edges typed as "A-B,A-E".

    python -m part3.gcn --edge_list graph.txt --source a --target b

White space separates the names in a file; empty lines and lines that start with `#` (as in the Stanford SNAP
collection) or `%` (KONECT) are skipped; a line with one name twice makes a node without adding an edge.
"""
import argparse
import re
from pathlib import Path

import numpy as np

from part1.cli import InputError
from part3.graph import compress

NOT_IN_A_NAME = re.compile('[,;<>|"→←\0]')


def in_order(names):
    """`names` as a sorted list: by value if all are whole numbers, else by letters."""
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def typed_edges(text):
    """An argparse `type`: the pairs of names in "A-B,A-E"; an en dash is as good as a hyphen."""
    edges = [[name.strip() for name in re.split("[-–]", edge)] for edge in text.split(",")]
    for number, edge in enumerate(edges, 1):
        if len(edge) != 2 or not all(edge) or NOT_IN_A_NAME.search("".join(edge)):
            raise argparse.ArgumentTypeError(f"edge {number} must be two names such as A-B, not {'-'.join(edge)!r}")
    return edges


def read_edge_list(path):
    """`Neighbours` of the edge list in the file `path`; names are `str`, in `in_order`.

    Raises `OSError` for an unreadable file and `InputError` for a malformed line, no edge at all or what is not UTF-8.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    words = []
    for number, line in enumerate(lines, 1):
        pair = line.split()
        if not pair or pair[0][0] in "#%":
            continue
        if len(pair) != 2 or NOT_IN_A_NAME.search(line):
            raise InputError(f"line {number} of {path}: expected two names separated by white space, not {line[:60]!r}")
        words += pair
    if not words:
        raise InputError(f"{path} holds no edge: the graph is empty")
    spellings, ends = np.unique(words, return_inverse=True)
    names = in_order(spellings.tolist())
    position = dict(zip(names, range(len(names))))
    return compress(np.array([position[name] for name in spellings.tolist()])[ends].reshape(-1, 2), names)
