"""Counting: n-grams agree with a count by hand and are distributions, compressors are charged for what they add."""
import bz2
import math
import os
from collections import Counter, defaultdict

import numpy as np
import pytest

from part1 import files
from part2 import ngram
from part2.dataset import Vocabulary

TEXT = "the cat sat on the mat; that cat that sat on the hat ate the rat at the mat. " * 2 + "a cat, a hat and the end."


def by_dictionaries(train, text, K, longest):
    """Probabilities of the characters of `text` after `train`, for n = 1 … `longest`, counted one by one."""
    counts, D = {}, 0.75
    for n in range(1, longest + 1):
        counts[n] = defaultdict(Counter)
        for end in range(n, len(train) + 1):
            counts[n][train[end - n:end - 1]][train[end - 1]] += 1
    whole = train + text

    def p(n, at):
        if n == 0:
            return 1 / K
        followers = counts[n].get(whole[at - n + 1:at], {}) if at >= n - 1 else {}
        if not followers:
            return p(n - 1, at)
        taken = D * len(followers) * p(n - 1, at)
        return (max(followers.get(whole[at], 0) - D, 0) + taken) / sum(followers.values())

    return [[p(n, at) for at in range(len(train), len(whole))] for n in range(1, longest + 1)]


@pytest.mark.parametrize("size", [2, 3, 60, 150])
def test_n_grams_agree_with_a_count_by_hand(size):
    vocabulary = Vocabulary(TEXT)
    numbers = vocabulary.encode(TEXT).numpy()
    found = ngram.probabilities(numbers[:size], numbers[size:], vocabulary.vocab_size, 7)
    np.testing.assert_allclose(found, by_dictionaries(TEXT[:size], TEXT[size:], vocabulary.vocab_size, 7), rtol=1e-12)


def test_a_text_shorter_than_the_n_grams_costs_what_the_shorter_ones_say():
    vocabulary = Vocabulary("abba")
    found = ngram.probabilities(vocabulary.encode("ab").numpy(), vocabulary.encode("ba").numpy(), 2, 9)
    np.testing.assert_allclose(found, by_dictionaries("ab", "ba", 2, 9), rtol=1e-12)


@pytest.mark.parametrize("end", [" the", "zzz", "cat ", ""])
def test_the_probabilities_of_all_characters_sum_to_one(end):
    vocabulary = Vocabulary(TEXT + "z")
    train = vocabulary.encode(TEXT).numpy()
    p = [ngram.probabilities(train, vocabulary.encode(end + character).numpy(), vocabulary.vocab_size, 7)[:, -1]
         for character in vocabulary.characters]
    np.testing.assert_allclose(np.sum(p, axis=0), 1, rtol=1e-12)
    assert np.min(p) > 0


def test_characters_without_order_cost_their_entropy():
    random = np.random.default_rng(0).integers(0, 4, 30_000)
    bits = -np.log2(ngram.probabilities(random[:20_000], random[20_000:], 4, 3)).mean(axis=1)
    assert bits == pytest.approx([2, 2, 2], abs=0.01)


def test_a_compressor_is_charged_for_what_it_adds():
    train, held_out = "ä word. " * 40, "ä word. more "
    added, whole = ngram.compressed_bits(lambda text: text[::2], train, held_out)  # "compresses" to half the bytes
    assert added == pytest.approx(8 * 7 / 13) and whole == pytest.approx(4 * (9 * 41 + 5) / (8 * 41 + 5), rel=0.01)


def test_the_script_writes_a_row_for_each_model(tmp_path, call):
    (tmp_path / "book.txt").write_text(TEXT * 3)
    status, out, err = call(ngram, "--txt_file", tmp_path / "book.txt", "--eval_fraction", 0.1, "--output",
                            tmp_path / "out")
    assert (status, err) == (0, "")
    rows = files.read_csv(tmp_path / "out" / "ngram.csv")
    assert [row["model"] for row in rows] == [*(f"{n}-gram" for n in range(1, 8)), "bz2", "lzma", "zlib"]
    size = round(0.1 * len(TEXT * 3))
    p = by_dictionaries((TEXT * 3)[:-size], (TEXT * 3)[-size:], len(set(TEXT)), 7)
    assert [row["held_out_bits"] for row in rows[:7]] == pytest.approx([
        -sum(map(math.log2, row)) / size for row in p])
    assert rows[7]["whole_text_bits"] == pytest.approx(8 * len(bz2.compress((TEXT * 3).encode())) / len(TEXT * 3))
    assert all(f"{row['held_out_bits']:.3f}" in out for row in rows)


@pytest.mark.parametrize("flags, message", [
    (["--txt_file", "missing"], "No such file"), (["--eval_fraction", 0], "above 0"), (["--longest", 0], "at least 1"),
    (["--strip_gutenberg"], "no *** START"), (["--eval_fraction", 1e-9], "nothing to evaluate on")])
def test_a_wrong_flag_is_one_line_and_nothing_is_written(flags, message, tmp_path, refused):
    assert message in refused(ngram, "--output", tmp_path / "out", *flags)
    assert not os.listdir(tmp_path)
