"""The data of Part 1: decimal palindromes (2019 edition), and the binary palindromes, Baum-Sweet sequences and random
combinations of the 2020 edition.

A network reads all symbols of a sequence and has to name its label; that of a palindrome is the digit that would come
next, which is the first one it read. All datasets give single examples (`ds[i]`, for a `DataLoader`) and whole batches
at once (`ds.batch(128, generator)`, which is what the train script uses: no Python loop over examples or digits).
"""
import functools
import math
import sys

import torch
from torch.utils.data import Dataset

from part1.cli import InputError


class SequenceDataset(Dataset):
    """Endless random sequences of symbols with a label each: `ds[i]` is a fresh example whatever `i` is.

    A subclass takes a length, `seq_length`; its `num_inputs` symbols are drawn, and the label made, by
    `batch(batch_size, generator)`.
    """

    alphabet = None  # distinct input symbols: the width of a one-hot symbol
    num_classes = None
    chance = None  # accuracy of the best guess that has not looked at the input
    letter = "L"  # what the assignment calls seq_length
    offset = 0  # seq_length minus the train script's --input_length
    label_is_first = False  # whether the label can be told from the first symbol

    def __len__(self):
        return sys.maxsize

    def __getitem__(self, index):
        symbols, labels = self.batch(1)
        return symbols[0], int(labels[0])


class PalindromeDataset(SequenceDataset):
    """Decimal palindromes of length T = `seq_length`: the first ceil(T/2) digits are uniform on 0–9, the rest mirrors.

    The label is the last digit. Raises `InputError` for T < 2, which leaves nothing to read.
    """

    alphabet = 10
    num_classes = 10
    chance = 1 / 10
    letter, offset = "T", 1
    label_is_first = True
    label_zero = 0  # the symbol whose label is 0

    def __init__(self, seq_length):
        if seq_length < 2:
            raise InputError(f"a palindrome has at least 2 digits, one to read and one to predict, not {seq_length}")
        self.seq_length = seq_length
        self.num_inputs = seq_length - 1
        free = (seq_length + 1) // 2
        self.mirror = torch.cat([torch.arange(free), torch.arange(seq_length // 2).flip(0)])

    def palindromes(self, batch_size, generator=None, dtype=torch.int64):
        """Draw palindromes, a tensor (batch_size, T) of `dtype`, from a CPU `generator` (None: torch's own)."""
        free = torch.randint(10, (batch_size, (self.seq_length + 1) // 2), generator=generator, dtype=dtype)
        return free.index_select(1, self.mirror)

    def generate_palindrome(self):
        """One whole palindrome, int64 of shape (T,)."""
        return self.palindromes(1)[0]

    def batch(self, batch_size, generator=None):
        """Draw a batch: symbols (batch_size, num_inputs) float32 and labels (batch_size,) int64."""
        palindromes = self.palindromes(batch_size, generator, torch.float32)
        return palindromes[:, :-1], palindromes[:, -1].long() - self.label_zero


class BinaryPalindromeDataset(PalindromeDataset):
    """Binary palindromes of the 2020 edition, from `seq_length` = L, an even number (else `InputError`).

    L/2 integers uniform on 0–8 are written in binary without leading zeros and concatenated; the string is reversed
    with probability 1/2, then mirrored, then padded on the left to 4L + 2 symbols: 0 is the pad, 1 stands for '0' and 2
    for '1'. The network reads the first 4L + 1 symbols; the label is the last bit. Two labels in three are 1: the first
    bit of a string is 1 unless its integer is 0 (8/9), of a reversed one if it is odd (4/9), and the mean is 2/3.
    """

    alphabet = 3
    num_classes = 2
    chance = 2 / 3
    letter, offset = "L", 0
    label_is_first = False  # padding comes first
    label_zero = 1
    CODES = torch.tensor([[" 01".index(bit) for bit in f"{k:4b}"] for k in range(9)])  # symbols of k; 0 for no bit

    def __init__(self, seq_length):
        if seq_length < 2 or seq_length % 2:
            raise InputError(f"the length L of a binary palindrome must be an even number > 0, not {seq_length}")
        self.seq_length = seq_length
        self.num_inputs = 4 * seq_length + 1

    def palindromes(self, batch_size, generator=None, dtype=torch.int64):
        """Draw padded palindromes, a tensor (batch_size, 4L + 2) of `dtype`, from a CPU `generator`."""
        integers = torch.randint(9, (batch_size, self.seq_length // 2), generator=generator)
        reverse = torch.randint(2, (batch_size, 1), generator=generator).bool()
        half = self.CODES[integers].flatten(1)
        half = torch.where(reverse, half.flip(1), half)
        whole = torch.cat([torch.zeros(batch_size, 2, dtype=torch.int64), half, half.flip(1)], dim=1)
        order = whole.bool().argsort(dim=1, stable=True)  # all zeros to the left; the bits stay in order
        return whole.gather(1, order).to(dtype)


class BaumSweetDataset(SequenceDataset):
    """Numbers and their Baum-Sweet label, from `seq_length` = L, 2 … 18 (else `InputError`).

    An integer uniform on 10 … 10^L, both included, is written in binary without leading zeros and padded on the left to
    4L symbols: 0 is the pad, 1 stands for '0' and 2 for '1'. Its label is 1 if no block of consecutive zeros has an odd
    length. Few have; so a number with label 0 is kept with probability `KEEP` only, else another is drawn, which
    balances the labels at L = 6 (share of label 1: 0.82 at L = 4, 0.67 at L = 5, 0.50 at L = 6).
    """

    alphabet = 3
    num_classes = 2
    KEEP = 0.016724

    def __init__(self, seq_length):
        if not 2 <= seq_length <= 18:
            raise InputError(f"the length L of a Baum-Sweet number is 2 to 18 digits, not {seq_length}")
        self.seq_length = seq_length
        self.num_inputs = 4 * seq_length
        ones = self.members(10**seq_length) - self.members(9)
        zeros = 10**seq_length - 9 - ones
        self.kept = (ones + self.KEEP * zeros) / (ones + zeros)  # the share of the numbers drawn that are kept
        self.chance = max(ones, self.KEEP * zeros) / (ones + self.KEEP * zeros)

    @classmethod
    @functools.cache
    def members(cls, limit):
        """How many of 1 … `limit` have label 1: 2n + 1 and 4n have the label of n, and 4n + 2 has label 0."""
        return 1 + cls.members((limit - 1) // 2) + cls.members(limit // 4) if limit else 0

    @staticmethod
    def labels(numbers):
        """Labels, bool of the shape of `numbers`, int64."""
        labels = even = torch.ones_like(numbers, dtype=torch.bool)  # even: so is the block of zeros so far
        for k in range(60):  # from the lowest bit; 10^18 < 2^60
            one = numbers >> k & 1 == 1
            labels = labels & (even | ~one)  # a one ends the block
            even = one | ~even
        return labels

    def batch(self, batch_size, generator=None):
        """Draw a batch: symbols (batch_size, 4L) float32 and labels (batch_size,) int64."""
        numbers = torch.empty(0, dtype=torch.int64)
        while len(numbers) < batch_size:
            draws = min(10**6, math.ceil(1.1 * (batch_size - len(numbers)) / self.kept) + 100)
            drawn = torch.randint(10, 10**self.seq_length + 1, (draws,), generator=generator)
            kept = self.labels(drawn) | (torch.rand(draws, generator=generator) < self.KEEP)
            numbers = torch.cat([numbers, drawn[kept]])
        numbers = numbers[:batch_size]
        shifted = numbers.unsqueeze(1) >> torch.arange(self.num_inputs - 1, -1, -1)
        symbols = torch.where(shifted > 0, (shifted & 1) + 1, 0)
        return symbols.float(), self.labels(numbers).long()


class RandomCombinationsDataset(SequenceDataset):
    """Random permutations of 0 … L-1, L = `seq_length` at least 2 (else `InputError`): the label is the last number.

    The network reads the L - 1 numbers before it, so the label is L(L-1)/2 minus their sum. There are L classes.
    """

    def __init__(self, seq_length):
        if seq_length < 2:
            raise InputError(f"a combination has at least 2 numbers, one to read and one to predict, not {seq_length}")
        self.seq_length = self.alphabet = self.num_classes = seq_length
        self.num_inputs = seq_length - 1
        self.chance = 1 / seq_length

    def batch(self, batch_size, generator=None):
        """Draw a batch: symbols (batch_size, L - 1) float32 and labels (batch_size,) int64."""
        permutations = torch.rand(batch_size, self.seq_length, generator=generator).argsort(dim=1)
        return permutations[:, :-1].float(), permutations[:, -1]


DATASETS = {"palindrome": PalindromeDataset, "binary_palindrome": BinaryPalindromeDataset,
            "baum_sweet": BaumSweetDataset, "random_combinations": RandomCombinationsDataset}


def make_dataset(name, input_length):
    """The dataset `name` for the train script's `--input_length`: T - 1 for decimal palindromes, L for the others."""
    dataset = DATASETS[name]
    return dataset(input_length + dataset.offset)
