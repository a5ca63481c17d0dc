"""The datasets: their shapes, and their distribution against a plain Python construction."""
import itertools
import math
import re
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, strategies
from torch.utils.data import DataLoader, Dataset

from part1.cli import InputError
from part1.dataset import (BaumSweetDataset, BinaryPalindromeDataset, PalindromeDataset, RandomCombinationsDataset,
                            make_dataset)
from part1.drawing import label_entropy

CODES = [f"{k:b}" for k in range(9)]
lengths = strategies.integers(2, 31)
seeds = strategies.integers(0, 2**40)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def chi_square_is_plausible(counts, expected):
    """Pearson's statistic within five standard deviations of its mean: one false alarm in a million."""
    counts, expected = np.asarray(counts, float).ravel(), np.asarray(expected, float).ravel()
    statistic, freedom = ((counts - expected)**2 / expected).sum(), len(counts) - 1
    return abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def binary_palindrome(integers, reverse, seq_length):
    """The 2020 edition's construction, symbol by symbol."""
    half = "".join(CODES[k] for k in integers)
    half = half[::-1] if reverse else half
    whole = half + half[::-1]
    return tuple([0] * (4 * seq_length + 2 - len(whole)) + [{"0": 1, "1": 2}[bit] for bit in whole])


def is_concatenation(text, number):
    """Whether `text` is made of exactly `number` codes."""
    ends = {0}
    for _ in range(number):
        ends = {end + len(code) for end in ends for code in CODES if text.startswith(code, end)}
    return len(text) in ends


@given(lengths, seeds)
def test_a_palindrome_mirrors_and_has_all_its_digits(length, seed):
    drawn = PalindromeDataset(length).palindromes(7, generator(seed))
    assert drawn.shape == (7, length) and drawn.dtype == torch.int64
    assert 0 <= drawn.min() and drawn.max() <= 9
    assert drawn.equal(drawn.flip(1))


@given(lengths, seeds)
def test_a_batch_is_the_palindromes_but_their_last_symbol(length, seed):
    for dataset, width, first_label in [(PalindromeDataset(length), length - 1, 0),
                                        (BinaryPalindromeDataset(2 * length), 8 * length + 1, 1)]:
        symbols, labels = dataset.batch(5, generator(seed))
        whole = dataset.palindromes(5, generator(seed))
        assert (symbols.shape, symbols.dtype) == ((5, width), torch.float32)
        assert (labels.shape, labels.dtype) == ((5,), torch.int64)
        assert symbols.equal(whole[:, :-1].float()) and labels.equal(whole[:, -1] - first_label)
        assert dataset.num_inputs == width


@pytest.mark.parametrize("length", [2, 7, 8])
def test_free_digits_are_uniform_and_independent(length):
    free = PalindromeDataset(length).palindromes(20_000, generator())[:, :(length + 1) // 2].numpy()
    for column in free.T:
        assert chi_square_is_plausible(np.bincount(column, minlength=10), [2000] * 10)
    for one, other in itertools.combinations(free.T, 2):
        assert chi_square_is_plausible(np.bincount(10 * one + other, minlength=100), [200] * 100)


@pytest.mark.parametrize("length", [2, 4])
def test_binary_distribution_is_that_of_the_construction(length):
    outcomes = Counter(binary_palindrome(integers, reverse, length)
                       for integers in itertools.product(range(9), repeat=length // 2) for reverse in (False, True))
    number = 300 * outcomes.total()
    rows, counts = BinaryPalindromeDataset(length).palindromes(number, generator()).unique(dim=0, return_counts=True)
    drawn = {tuple(row): count for row, count in zip(rows.tolist(), counts.tolist())}
    assert set(drawn) == set(outcomes)
    assert chi_square_is_plausible([drawn[row] for row in outcomes], [300 * outcomes[row] for row in outcomes])


@given(strategies.integers(1, 12), seeds)
def test_every_binary_row_is_padded_left_and_made_of_codes(half_length, seed):
    length = 2 * half_length
    for row in BinaryPalindromeDataset(length).palindromes(20, generator(seed)).tolist():
        text = "".join(map(str, row)).lstrip("0")
        assert len(row) == 4 * length + 2 and row == [0] * (len(row) - len(text)) + [int(symbol) for symbol in text]
        assert set(text) <= {"1", "2"} and text == text[::-1] and len(text) % 2 == 0
        half = text[:len(text) // 2].translate({ord("1"): "0", ord("2"): "1"})
        assert is_concatenation(half, length // 2) or is_concatenation(half[::-1], length // 2)


@pytest.mark.parametrize("dataset, width, classes", [
    (PalindromeDataset(11), 10, 10), (PalindromeDataset(2), 1, 10), (BinaryPalindromeDataset(4), 17, 2),
    (BaumSweetDataset(4), 16, 2), (RandomCombinationsDataset(5), 4, 5)])
def test_items_are_fresh_examples(dataset, width, classes):
    assert isinstance(dataset, Dataset) and len(dataset) == sys.maxsize
    torch.manual_seed(3)
    items = [dataset[0] for _ in range(60)]
    for digits, label in items:
        assert (digits.shape, digits.dtype, type(label)) == ((width,), torch.float32, int)
        assert 0 <= label < classes
    assert len({tuple(digits.tolist()) + (label,) for digits, label in items}) > 1


def test_generate_palindrome_gives_a_whole_one():
    whole = PalindromeDataset(9).generate_palindrome()
    assert whole.shape == (9,) and whole.equal(whole.flip(0))
    assert BinaryPalindromeDataset(2).generate_palindrome().shape == (10,)


@pytest.mark.parametrize("dataset", [PalindromeDataset(30), BinaryPalindromeDataset(10), BaumSweetDataset(6),
                                     RandomCombinationsDataset(15)])
def test_the_generator_alone_decides(dataset):
    before, same = torch.get_rng_state(), generator(5)
    first, again, other = (dataset.batch(8, source) for source in (same, generator(5), generator(6)))
    assert first[0].equal(again[0]) and first[1].equal(again[1]) and not first[0].equal(other[0])
    assert not first[0].equal(dataset.batch(8, same)[0])
    assert torch.get_rng_state().equal(before)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a machine with one core
def test_two_workers_of_a_dataloader_draw_different_examples():
    torch.manual_seed(0)
    batches = list(itertools.islice(DataLoader(PalindromeDataset(30), batch_size=4, num_workers=2), 4))
    assert all(digits.shape == (4, 29) and labels.dtype == torch.int64 for digits, labels in batches)
    assert len({tuple(row) for digits, _ in batches for row in digits.tolist()}) == 16


@pytest.mark.parametrize("dataset, length, hint", [
    (PalindromeDataset, 1, "at least 2"), (BinaryPalindromeDataset, 3, "even"), (BinaryPalindromeDataset, 0, "even"),
    (BaumSweetDataset, 1, "2 to 18"), (BaumSweetDataset, 19, "2 to 18"), (RandomCombinationsDataset, 1, "at least 2")])
def test_impossible_lengths_are_refused(dataset, length, hint):
    with pytest.raises(InputError, match=hint):
        dataset(length)


def test_input_length_means_what_the_courses_scripts_mean():
    assert make_dataset("palindrome", 10).seq_length == 11
    binary = make_dataset("binary_palindrome", 10)
    assert type(binary) is BinaryPalindromeDataset and binary.seq_length == 10
    assert make_dataset("baum_sweet", 6).num_inputs == 24 and make_dataset("random_combinations", 6).num_inputs == 5


def label_of(number):
    """Whether a number is a member of the Baum-Sweet sequence, from its text."""
    return all(len(block) % 2 == 0 for block in re.findall("0+", f"{number:b}"))


@given(strategies.one_of(
    strategies.integers(1, 10**18), strategies.lists(strategies.sampled_from(["1", "00", "11"]), max_size=28).map(
        lambda parts: int("1" + "".join(parts), 2))))
def test_a_baum_sweet_label_is_that_of_the_binary_text(number):
    assert BaumSweetDataset.labels(torch.tensor([number])).item() == label_of(number)


@pytest.mark.parametrize("limit", [0, 1, 9, 100, 12345])
def test_members_are_counted(limit):
    assert BaumSweetDataset.members(limit) == sum(map(label_of, range(1, limit + 1)))


def test_baum_sweet_distribution_is_that_of_drawing_again():
    dataset, size = BaumSweetDataset(2), 100_000
    symbols, labels = dataset.batch(size, generator())
    texts = ["".join(" 01"[int(symbol)] for symbol in row) for row in symbols.tolist()]
    assert all(len(text) == 8 and text == f"{text.strip():>8}" for text in texts)
    counts = Counter(int(text, 2) for text in texts)
    label = {number: label_of(number) for number in range(10, 101)}  # the last one included
    assert labels.tolist() == [label[int(text, 2)] for text in texts]
    weights = {number: 1 if label[number] else 0.016724 for number in label}
    scale = size / sum(weights.values())
    assert set(counts) <= set(weights)
    for number, weight in weights.items():
        expected = scale * weight
        assert abs(counts[number] - expected) < 5 * math.sqrt(expected), number
    dataset, size = BaumSweetDataset(6), 100_000
    share = dataset.batch(size, generator())[1].double().mean().item()
    ones = BaumSweetDataset.labels(torch.arange(10, 10**6 + 1)).sum().item()
    expected = ones / (ones + 0.016724 * (10**6 - 9 - ones))
    assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / size)


@pytest.mark.parametrize("length", [2, 4])
def test_random_combinations_are_uniform_permutations(length):
    outcomes = list(itertools.permutations(range(length)))
    symbols, labels = RandomCombinationsDataset(length).batch(1000 * len(outcomes), generator())
    assert symbols.dtype == torch.float32 and labels.dtype == torch.int64
    counts = Counter(tuple(row) for row in torch.cat([symbols, labels[:, None]], dim=1).long().tolist())
    assert set(counts) == set(outcomes)
    assert chi_square_is_plausible([counts[row] for row in outcomes], [1000] * len(outcomes))


@given(strategies.integers(2, 40), seeds)
def test_the_number_that_is_missing_is_the_label(length, seed):
    symbols, labels = RandomCombinationsDataset(length).batch(20, generator(seed))
    assert labels.equal(length * (length - 1) // 2 - symbols.sum(dim=1).long())


@pytest.mark.parametrize("dataset", [PalindromeDataset(5), BinaryPalindromeDataset(4), BaumSweetDataset(2),
                                     BaumSweetDataset(5), BaumSweetDataset(6), RandomCombinationsDataset(4)])
def test_alphabet_classes_and_chance_are_those_of_the_data(dataset):
    digits, labels = dataset.batch(20_000, generator())
    assert digits.unique().tolist() == list(range(dataset.alphabet))
    assert labels.unique().tolist() == list(range(dataset.num_classes))
    assert abs(labels.bincount().max() / 20_000 - dataset.chance) < 0.02


def test_the_labels_entropy_is_that_of_many_strings():
    """Those of few known bits, counted in a sample; `label_entropy` enumerates."""
    symbols, labels = BinaryPalindromeDataset(10).batch(100_000, generator())
    for bits in (0, 3):
        known = [tuple(row) for row in symbols[:, symbols.shape[1] - bits:].tolist()]
        both, context = Counter(zip(known, labels.tolist())), Counter(known)
        entropy = -sum(n * np.log(n / context[key]) for (key, _), n in both.items()) / len(labels)
        assert label_entropy(bits) == pytest.approx(entropy, abs=4e-3)
    assert round(label_entropy(0), 4) == 0.6365 and round(label_entropy(3), 3) == 0.611
