"""Edge lists of any size: from a text file with two names a line to compressed neighbour lists.

    python -m part3.gcn --edge_list graph.txt --source a --target b

Names are separated by white space; empty lines and lines that start with `#` are skipped (as in the files of the
Stanford SNAP collection); a line with a name twice makes a node without adding an edge. No Python object is made per
line: names become 64-bit words, eight bytes each, which NumPy sorts and numbers.
"""
import re

import numpy as np

from part3.graph import compress

LONGEST = 255  # bytes in a name: every name takes the room of the longest
BLOCK = 1 << 22  # bytes; the temporary arrays of one block stay within a processor's cache


def in_order(names):
    """`names` as a sorted list: by value if all are whole numbers, else by letters."""
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def _words(block, path, lines_before):
    """The names in `block`, bytes that end in a newline, as big-endian words (names, W), short ones padded with zeros.
    `ValueError` with the line's number for a line that holds neither two names nor none."""
    if b"\0" in block:
        raise ValueError(f"{path} is not a text file")
    if b"#" in block:
        block = re.sub(rb"(?m)^[ \t]*#.*$", b"", block)
    text = np.frombuffer(block, dtype=np.uint8)
    space = text <= ord(" ")
    edges = np.flatnonzero(np.diff(space, prepend=True))  # a name's first byte and the one after its last, in turn
    start, length = edges[::2], edges[1::2] - edges[::2]
    line_ends = np.flatnonzero(text == ord("\n"))
    names_on_line = np.diff(np.searchsorted(start, line_ends), prepend=0)
    for wrong in np.flatnonzero((names_on_line != 2) & (names_on_line != 0))[:1]:
        line = block.split(b"\n", wrong + 1)[wrong].decode("utf-8", "replace").strip()
        raise ValueError(f"line {lines_before + wrong + 1} of {path}: expected two names, found {names_on_line[wrong]} "
                         f"in {line[:60]!r}")
    for wrong in np.flatnonzero(length > LONGEST)[:1]:
        raise ValueError(f"line {lines_before + np.searchsorted(line_ends, start[wrong]) + 1} of {path}: a name of "
                         f"{length[wrong]:,} bytes; at most {LONGEST} are allowed")
    letters = np.zeros((len(start), -(-int(length.max(initial=1)) // 8) * 8), dtype=np.uint8)
    for k in range(int(length.max(initial=0))):
        long = slice(None) if length.min() > k else np.flatnonzero(length > k)
        letters[long, k] = text[start[long] + k]
    return letters.view(">u8").astype(np.uint64), len(line_ends)


def _numbered(keys):
    """The rank (0, 1, …) of every key among the distinct keys, and where each distinct key occurs."""
    order = np.argsort(keys)
    ascending = keys[order]
    first = np.append(True, ascending[1:] != ascending[:-1])[:len(keys)]
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.cumsum(first) - 1
    return rank, order[first]


def read_edge_list(path):
    """`Neighbours` of the edge list in the file `path`; names are `str`, in `in_order`.

    Raises `OSError` for an unreadable file and `ValueError` for a malformed line (with its number) or a file that is
    not UTF-8 text.
    """
    blocks, lines = [np.empty((0, 1), dtype=np.uint64)], 0
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK) + stream.readline():
            if not lines:
                block = block.removeprefix(b"\xef\xbb\xbf")  # a byte-order mark is not text
            words, count = _words(block if block.endswith(b"\n") else block + b"\n", path, lines)
            blocks.append(words)
            lines += count
    W = max(words.shape[1] for words in blocks)
    words = np.concatenate([np.pad(words, ((0, 0), (0, W - words.shape[1]))) for words in blocks])
    rank, where = _numbered(words[:, 0])
    for column in words.T[1:]:  # rank by the first eight bytes, then ties by the next eight, …
        rank, where = _numbered(rank * len(words) + _numbered(column)[0])
    try:
        found = b"\n".join(words[where].astype(">u8").view(f"S{8 * W}").ravel().tolist()).decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    found = found if len(where) else []
    names = in_order(found)
    position = dict(zip(names, range(len(names))))
    ends = np.fromiter(map(position.__getitem__, found), np.int64, len(found))[rank]
    return compress(ends.reshape(-1, 2), names)
