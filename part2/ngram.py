"""Counting against learning: how many bits n-grams and compressors need for a character of held-out text.

    python -m part2.ngram                                                            # the built-in fables
    python -m part2.ngram --txt_file grimm.txt --strip_gutenberg --eval_fraction 0.05

The split is that of `part2.train_text` with the same flags. An n-gram predicts a character from the n - 1 before it, by
interpolated absolute discounting (Ney, Essen and Kneser, 1994): 0.75 is taken off every count and given to the next
shorter context, with the uniform distribution at the end. Compressors of Python's standard library are charged with the
bytes that the held-out text adds to the compressed training text; bz2 looks at 900 kB at a time, which is all of a
short book. `ngram.csv` in `--output` has a row for each model.
"""
import bz2
import lzma
import sys
import zlib
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from part1 import cli, files
from part2.dataset import TextDataset

DISCOUNT = 0.75
COMPRESSORS = {"bz2": bz2.compress, "lzma": lambda text: lzma.compress(text, preset=9),
               "zlib": lambda text: zlib.compress(text, 9)}


def probabilities(train, held_out, vocabulary_size, longest):
    """The probability of each held-out character after those before it, by n-grams with n = 1 … `longest`.

    Args:
        train, held_out: int64 (characters,), the second right after the first in the text.

    Returns float64 (longest, len(held_out)), a row for each n.
    """
    text, seen = np.concatenate([train, held_out]), np.arange(len(train) + len(held_out)) < len(train)
    p, rows = np.full(len(held_out), 1 / vocabulary_size), []
    context = np.zeros(len(text), dtype=np.int64)  # number of the n - 1 characters before each position; -1: fewer
    for n in range(1, longest + 1):
        codes = np.where(context < 0, -1, context * vocabulary_size + text)
        distinct, first, gram = np.unique(codes, return_index=True, return_inverse=True)
        whole = seen & (context >= 0)
        count = np.bincount(gram[whole], minlength=len(distinct))
        size = max(context.max() + 1, 1)
        total = np.bincount(context[whole], minlength=size)  # of each context: how often it was seen,
        followers = np.bincount(context[first[count > 0]], minlength=size)  # and by how many different characters
        here = context[~seen]
        known = (here >= 0) & (total[here] > 0)  # another context says nothing, and the shorter one stays
        p = np.where(known, (np.maximum(count[gram[~seen]] - DISCOUNT, 0) + DISCOUNT * followers[here] * p)
                     / np.maximum(total[here], 1), p)
        rows.append(p)
        context = np.concatenate([[-1], np.where(distinct[0] < 0, gram - 1, gram)[:-1]])
    return np.array(rows)


def compressed_bits(compress, train, held_out):
    """Bits per held-out character that `held_out` adds to the compressed text, and bits per character of all of it."""
    before, after = (8 * len(compress(text.encode())) for text in (train, train + held_out))
    return (after - before) / len(held_out), after / (len(train) + len(held_out))


def parse_args(argv=None):
    """Parse the flags of `python -m part2.ngram`."""
    parser = cli.Parser("part2.ngram", "Measure n-grams and compressors in bits per character of held-out text.")
    add = parser.add_argument
    add("--txt_file", type=cli.path, default=files.ROOT / "assets" / "fables.txt", help="the text, UTF-8")
    add("--strip_gutenberg", action="store_true", help="leave out Project Gutenberg's header and licence")
    add("--eval_fraction", type=cli.number(float, above=0, below=1), default=0.05,
        help="share of the text, at its end, to hold out and measure on")
    add("--longest", type=cli.number(int, at_least=1, at_most=100), default=7, metavar="N", help="largest n")
    add("--output", type=cli.path, default=files.ROOT / "runs" / "ngram", help="folder of the results")
    return parser.parse_args(argv)


def main(config):
    files.refuse_foreign(config.output / "ngram.csv", ["model", "held_out_bits"])
    text = TextDataset(config.txt_file, 1, config.strip_gutenberg)
    held_out = text.hold_out(config.eval_fraction)
    p = probabilities(text.data.numpy(), held_out.numpy(), text.vocab_size, config.longest)
    rows = [{"model": f"{n}-gram", "held_out_bits": bits, "whole_text_bits": None}
            for n, bits in enumerate(-np.log2(p).mean(axis=1), 1)]
    for name, compress in COMPRESSORS.items():
        added, whole = compressed_bits(compress, text.text[:-len(held_out)], text.text[-len(held_out):])
        rows.append({"model": name, "held_out_bits": added, "whole_text_bits": whole})
    config.output.mkdir(parents=True, exist_ok=True)
    files.write_csv(config.output / "ngram.csv", rows)
    print(f"bits per character of {len(held_out)} held-out characters after {len(text.data)}; of the whole text")
    for row in rows:
        whole = f"{row['whole_text_bits']:9.3f}" if row["whole_text_bits"] else ""
        print(f"{row['model']:8}{row['held_out_bits']:8.3f}{whole}")
    print(f"results: {files.display(config.output / 'ngram.csv')}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
