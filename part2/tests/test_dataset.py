"""The book as training data: what is text, what is a window, and what is refused."""
import re
import zlib

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from part2.dataset import TextDataset, Vocabulary, read_text
from part2.tests.test_generate import chi_square


@pytest.fixture
def text(tmp_path):
    """`text(content, seq_length, …)`: a dataset of a file with this content, a str or bytes."""
    def text(content, seq_length=3, **flags):
        path = tmp_path / "some.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return TextDataset(path, seq_length, **flags)
    return text


# Windows

@pytest.mark.parametrize("seq_length", [1, 3, 9])
def test_targets_are_the_window_shifted_by_one(seq_length, text):
    dataset = text("0123456789", seq_length)
    assert len(dataset) == 10 - seq_length
    for start in range(len(dataset)):
        inputs, targets = dataset[start]
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.tolist() == list(range(start, start + seq_length))
        assert targets.tolist() == list(range(start + 1, start + seq_length + 1))


def test_windows_are_a_sequence(text):
    dataset = text("abcdef")
    assert torch.equal(dataset[-1][0], dataset[2][0])
    assert len(list(dataset)) == len(dataset) == 3
    for index in (3, -4, 100):
        with pytest.raises(IndexError):
            dataset[index]


def test_a_data_loader_takes_it(text):
    dataset = text("abcdefghij", 4)
    rows = [torch.cat(batch, dim=1) for batch in DataLoader(dataset, batch_size=4, shuffle=True)]
    assert [len(row) for row in rows] == [4, 2]
    assert sorted(row[0] for row in torch.cat(rows).tolist()) == list(range(6))


@pytest.mark.parametrize("length, enough", [(1, False), (3, False), (4, True)])
def test_a_book_holds_at_least_one_window_and_its_target(length, enough, text):
    if enough:
        assert len(text("abcdefg"[:length])) == 1
    else:
        with pytest.raises(ValueError, match=f"some.txt has {length} characters .* need 4$"):
            text("abcdefg"[:length])


def test_a_window_has_a_length(text):
    with pytest.raises(ValueError, match="seq_length must be at least 1, not 0"):
        text("abc", 0)


# Batches

def test_a_batch_depends_on_its_generator_alone(text):
    dataset = text("the quick brown fox jumps over the lazy dog", 6)
    first, second = (torch.stack(dataset.batch(50, torch.Generator().manual_seed(3))) for _ in range(2))
    assert first.shape == (2, 50, 6) and first.equal(second)
    assert not first.equal(torch.stack(dataset.batch(50, torch.Generator().manual_seed(4))))
    torch.manual_seed(8)
    state = torch.get_rng_state()
    dataset.batch(5, torch.Generator().manual_seed(3))
    assert torch.get_rng_state().equal(state)
    dataset.batch(5)
    assert not torch.get_rng_state().equal(state)


def test_batches_draw_every_window_equally_often(text):
    dataset = text("".join(map(chr, range(65, 65 + 40))), 4)
    inputs, targets = dataset.batch(36_000, torch.Generator().manual_seed(0))
    assert inputs[:, 1:].equal(targets[:, :-1]) and (targets - inputs == 1).all()
    counts = torch.bincount(inputs[:, 0], minlength=36)
    assert len(counts) == len(dataset) == 36
    assert chi_square(counts, torch.full((36,), 1 / 36)) > 0.001


# Vocabulary

def test_the_vocabulary_is_sorted(text):
    dataset = text("zebra ärger Zebra\n😀")
    assert dataset.characters == "\n Zabegrzä😀" and dataset.vocab_size == 11
    assert dataset.encode("\n Z😀").tolist() == [0, 1, 2, 10]
    assert dataset.encode("").shape == (0,) and dataset.encode("a").dtype == torch.int64


@pytest.mark.parametrize("unknown", ["x", "xyz", "é", "\ud800", "\udcff😀", "\r", "\0", "\U0010ffff", "A", " "])
def test_every_unknown_character_is_named(unknown):
    with pytest.raises(ValueError) as caught:
        Vocabulary("abc").encode("a" + unknown + "b" + unknown)
    assert str(caught.value) == "the training text has no " + " ".join(repr(c) for c in sorted(set(unknown)))
    str(caught.value).encode()  # a lone surrogate could not be printed


@given(st.text(st.characters(), min_size=1))
def test_texts_come_back(text):
    vocabulary = Vocabulary(text)
    numbers = vocabulary.encode(text)
    assert vocabulary.convert_to_string(numbers) == vocabulary.convert_to_string(numbers.tolist()) == text
    assert numbers.min() == 0 and numbers.max() == vocabulary.vocab_size - 1 == len(set(text)) - 1
    assert list(vocabulary.characters) == sorted(vocabulary.characters)


@given(st.text(st.characters(), min_size=1), st.text(st.characters()))
def test_a_text_is_encoded_exactly_if_it_is_known(known, text):
    try:
        assert Vocabulary(known).convert_to_string(Vocabulary(known).encode(text)) == text
        assert set(text) <= set(known)
    except ValueError as error:
        unknown = sorted(set(text) - set(known))
        assert unknown and str(error).endswith("has no " + " ".join(map(repr, unknown)))


# Files

@pytest.mark.parametrize("content", [
    b"one\ntwo\nthree\n", b"\xef\xbb\xbfone\ntwo\nthree\n", b"one\r\ntwo\r\nthree\r\n", b"one\rtwo\rthree\r",
    b"\xef\xbb\xbfone\r\ntwo\rthree\n"])
def test_marks_and_line_ends_are_not_text(content, text):
    assert text(content).text == "one\ntwo\nthree\n"


def test_only_a_byte_order_mark_at_the_beginning_is_none(text):
    assert text("one\ufefftwo").text == "one\ufefftwo"
    assert text(b"a\r\r\n\nb").text == "a\n\n\nb"


@pytest.mark.parametrize("content, message", [
    (b"", "is empty"),
    (b"\xef\xbb\xbf", "some.txt has 0 characters"),
    ("caf\xe9 au lait".encode("latin-1"), r"is not UTF-8 \(byte 3 is 0xe9\).* iconv"),
    ("plain text".encode("utf-16"), "binary file, not text .*UTF-16"),
    (b"\xff\xfeabc", r"is not UTF-8 \(byte 0 is 0xff\)"),
    (zlib.compress(bytes(range(250))), "is not UTF-8|binary"),
    (b"text\0text", "binary")])
def test_what_is_no_text_is_refused(content, message, text):
    with pytest.raises(ValueError, match=message) as caught:
        text(content)
    assert "\n" not in str(caught.value) and "some.txt" in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        TextDataset(tmp_path / "missing.txt", 3)
    with pytest.raises(IsADirectoryError):
        TextDataset(tmp_path, 3)


def test_read_text_is_what_a_dataset_reads(text, tmp_path):
    assert text(b"\xef\xbb\xbfa\r\nbcd").text == read_text(tmp_path / "some.txt") == "a\nbcd"


# Project Gutenberg

START, END = "*** START OF THIS PROJECT GUTENBERG EBOOK X ***", "*** END OF THIS PROJECT GUTENBERG EBOOK X ***"


@pytest.mark.parametrize("start, end", [(START, END), ("***START OF", "***END OF"), ("*** START: FULL", "*** END")])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_only_the_book_is_kept(start, end, newline, text):
    content = newline.join(["Licence!", start, "", "", "Once *** START and", "*** ENDED", "*** later.", "", end,
                            "More!"])
    assert text(content, strip_gutenberg=True).text == "Once *** START and\n*** ENDED\n*** later.\n"
    dataset = text(content)
    assert "!" in dataset.characters and "Licence!" in dataset.text


@pytest.mark.parametrize("lines", [["text"], [START, "text"], ["text", END], [END, "text", START], [START + " " + END]])
def test_a_book_without_both_lines_is_refused(lines, text):
    with pytest.raises(ValueError, match=r"some.txt has no \*\*\* START and \*\*\* END lines"):
        text("\n".join(lines), strip_gutenberg=True)


# Held-out text

@pytest.mark.parametrize("fraction, size", [(0.2, 10), (0.5, 25), (0.05, 2), (0.9, 45)])
def test_the_end_of_the_book_can_be_held_out(fraction, size, text):
    content = "".join(map(chr, range(65, 115)))
    dataset = text(content)
    held_out = dataset.hold_out(fraction)
    assert dataset.convert_to_string(held_out) == content[-size:]
    assert dataset.convert_to_string(dataset.data) == content[:-size] and len(dataset) == 50 - size - 3
    assert dataset.vocab_size == 50
    inputs, targets = dataset.batch(2000)
    assert max(inputs.max(), targets.max()) == 50 - size - 1  # no window reaches into it, but the last touches it


@pytest.mark.parametrize("fraction, message", [
    (0.01, "0.01 of the 50 characters of some.txt leave nothing to evaluate on"),
    (0.97, "has 2 characters to train on"), (0.999, "has 0 characters to train on")])
def test_both_parts_of_a_book_need_characters(fraction, message, text):
    with pytest.raises(ValueError, match=re.escape(message)):
        text("a" * 49 + "b").hold_out(fraction)


def test_the_built_in_book_is_read_whole():
    path = cli.ROOT / "assets" / "fables.txt"
    dataset = TextDataset(path, 30)
    assert dataset.text == path.read_text(encoding="utf-8") and len(dataset) == len(dataset.text) - 30
    assert np.array_equal(dataset.data, dataset.encode(dataset.text))
