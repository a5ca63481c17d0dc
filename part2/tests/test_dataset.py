"""The book as training data: what is text, what is a window, and what is refused."""
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from part1.cli import InputError
from part2.dataset import TextDataset, Vocabulary
from part2.tests.test_generate import chi_square


@pytest.fixture
def text(tmp_path):
    """`text(content, seq_length, …)`: a dataset of a file with this content, a str or bytes."""
    def text(content, seq_length=3, **flags):
        path = tmp_path / "some.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return TextDataset(path, seq_length, **flags)
    return text


@pytest.mark.parametrize("seq_length", [1, 3, 9])
def test_targets_are_the_window_shifted_by_one(seq_length, text):
    dataset = text("0123456789", seq_length)
    assert len(dataset) == len(list(dataset)) == len(list(DataLoader(dataset))) == 10 - seq_length
    for start in range(len(dataset)):
        inputs, targets = dataset[start]
        assert inputs.dtype == targets.dtype == torch.int64
        assert inputs.tolist() == list(range(start, start + seq_length))
        assert targets.tolist() == list(range(start + 1, start + seq_length + 1))


def test_a_batch_depends_on_its_generator_alone(text):
    dataset = text("the quick brown fox jumps over the lazy dog", 6)
    state = torch.get_rng_state()
    first, second, other = (torch.stack(dataset.batch(50, torch.Generator().manual_seed(seed))) for seed in (3, 3, 4))
    assert first.shape == (2, 50, 6) and first.equal(second) and not first.equal(other)
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


def test_streams_follow_the_text_and_begin_again(text):
    dataset = text("0123456789ABC", 3)
    batches = [[dataset.convert_to_string(row) for row in torch.cat(dataset.next_windows(2, k), dim=1)]
               for k in range(6)]
    assert batches == [["012123", "678789"], ["345456", "9ABABC"], ["678789", "C01012"], ["9ABABC", "234345"],
                       ["C01012", "567678"], ["234345", "89A9AB"]]
    assert dataset.updates_per_pass(2) == 2 and dataset.updates_per_pass(4) == 1


def test_the_vocabulary_is_sorted(text):
    dataset = text("zebra ärger Zebra\n😀")
    assert dataset.characters == "\n Zabegrzä😀" and dataset.vocab_size == 11
    assert dataset.encode("\n Z😀").tolist() == [0, 1, 2, 10]
    assert dataset.encode("").shape == (0,) and dataset.encode("").dtype == torch.int64


@given(st.text(st.characters(), min_size=1), st.text(st.characters()))
def test_a_text_is_encoded_exactly_if_it_is_known(known, text):
    vocabulary = Vocabulary(known)
    assert vocabulary.convert_to_string(vocabulary.encode(known).tolist()) == known
    try:
        assert vocabulary.convert_to_string(vocabulary.encode(text)) == text
        assert set(text) <= set(known)
    except InputError as error:
        unknown = sorted(set(text) - set(known))
        assert unknown and str(error) == "the training text has no " + " ".join(map(repr, unknown))


@pytest.mark.parametrize("content, expected", [
    (b"\xef\xbb\xbfone\r\ntwo\rthree\n", "one\ntwo\nthree\n"), (b"a\r\r\n\nb", "a\n\n\nb"),
    ("one\ufefftwo", "one\ufefftwo")])
def test_marks_and_line_ends_are_not_text(content, expected, text):
    assert text(content).text == expected


@pytest.mark.parametrize("content, message", [
    (b"\xef\xbb\xbf", "some.txt has 0 characters"), ("abc", "some.txt has 3 characters .* need 4$"),
    ("caf\xe9 au lait".encode("latin-1"), r"is not UTF-8 \(byte 3 is 0xe9\).* iconv"),
    ("plain text".encode("utf-16"), "binary file, not text .*UTF-16")])
def test_what_is_no_text_is_refused(content, message, text):
    with pytest.raises(InputError, match=message) as caught:
        text(content)
    assert "\n" not in str(caught.value) and "some.txt" in str(caught.value)


START, END = "*** START OF THIS PROJECT GUTENBERG EBOOK X ***", "*** END OF THIS PROJECT GUTENBERG EBOOK X ***"


@pytest.mark.parametrize("start, end", [
    (START, END), ("***START OF", "***END OF"), ("*** START OF A TITLE\r\nOF TWO LINES ***  ", "*** END"),
    ("*** START OF A TITLE\n\nOF\nFOUR ***", "*** END OF A TITLE\nOF TWO LINES ***\n*** START: FULL LICENSE ***")])
def test_only_the_book_is_kept(start, end, text):
    content = "\r\n".join(["Licence!", start, "", "Once *** START and", "*** ENDED", "*** later.", "", end, "More!"])
    assert text(content, strip_gutenberg=True).text == "Once *** START and\n*** ENDED\n*** later.\n"
    assert "Licence!" in text(content).text


@pytest.mark.parametrize("lines, message", [
    (["text", END], "no"), ([START, "text"], "no"), ([END, "text", START], "no"),
    (["***START**THE SMALL PRINT!**", "text", END], "no"), ([START, "text", END] * 2, "2")])
def test_a_text_that_is_not_one_book_is_refused(lines, message, text):
    with pytest.raises(InputError, match=rf"some.txt has {message} \*\*\* START OF"):
        text("\n".join(lines), strip_gutenberg=True)


@pytest.mark.parametrize("fraction, size", [(0.05, 2), (0.2, 10), (0.9, 45)])
def test_the_end_of_the_book_can_be_held_out(fraction, size, text):
    content = "".join(map(chr, range(65, 115)))
    dataset = text(content)
    assert dataset.convert_to_string(dataset.hold_out(fraction)) == content[-size:]
    assert dataset.convert_to_string(dataset.data) == content[:-size] and len(dataset) == 50 - size - 3
    assert dataset.vocab_size == 50
    inputs, targets = dataset.batch(2000)
    assert max(inputs.max(), targets.max()) == 50 - size - 1  # no window reaches into it, but the last touches it


@pytest.mark.parametrize("fraction, message", [
    (0.01, "0.01 of 50 characters of some.txt are nothing"), (0.97, "has 2 characters to train on")])
def test_both_parts_of_a_book_need_characters(fraction, message, text):
    with pytest.raises(InputError, match=re.escape(message)):
        text("a" * 49 + "b").hold_out(fraction)
