"""Measures of a text model agree with what one finds by hand, and with a network whose probabilities are known."""
import os
import random

import numpy as np
import pytest
import torch

from part1 import files
from part1.cli import InputError
from part2 import drawing, measure
from part2.dataset import Vocabulary
from part2.generate import beam_search, generate, load
from part2.tests.conftest import BOOK
from part2.tests.test_generate import SEVEN, constant, log_probability


def test_words_are_letters_between_other_characters():
    assert measure.words("The old fox's Ärger, 3 x\nand th") == ["the", "old", "fox", "s", "ärger", "x", "and"]
    assert measure.known_words("A fox, a cog.", {"a", "fox"}) == 0.75 and np.isnan(measure.known_words("...", {"a"}))


def test_distinct_sequences_are_counted():
    assert measure.distinct("abcabcabc", 3) == 3 / 7 and measure.distinct("abcdefg", 5) == 1


@pytest.mark.parametrize("period", [1, 7, 100])
def test_a_loop_fills_the_last_third(period):
    text = ("Once upon a time " * 9)[:100] + ("".join(map(chr, range(200, 200 + period))) * 200)[:200]
    assert measure.period(text) == period
    assert np.isnan(measure.period(text[:-1] + "!")) and np.isnan(measure.period(text[:-50] + "?" + text[-49:]))


def test_a_loop_longer_than_a_third_is_none():
    assert np.isnan(measure.period(("".join(map(chr, range(200, 301))) * 3)[:300]))


def test_the_longest_copy_is_the_longest_common_piece():
    draw = random.Random(0)
    book = "".join(draw.choices("abc", k=300))
    texts = ["".join(draw.choices("abc", k=40)) for _ in range(6)]
    texts += ["xyz", book[-20:] + "a", "c" + book[:30], book, "ä"]
    by_hand = [max(end - start for start in range(len(text)) for end in range(start, len(text) + 1)
                   if text[start:end] in book) for text in texts if len(text) < 300]
    by_hand.insert(9, 300)
    assert measure.longest_copies(texts, book).tolist() == by_hand


def test_surprise_is_the_negative_logarithm_of_the_probability(make):
    model, texts = make(), ["abcdefgabcdefgab", "gggggggggggggggg", "badcafebadcafeba"] * 20
    bits = measure.nll_bits(model, SEVEN, texts, 4)
    assert bits.shape == (60, 12)
    for text, row in zip(texts[:3], bits):
        assert -row.sum() * np.log(2) == pytest.approx(log_probability(model, SEVEN, text, text[:4]))


def test_the_interval_holds_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(1)
    intervals = np.array([measure.bootstrap(draws.normal(3, 2, 60), seed, 400) for seed in range(200)])
    hits = ((intervals[:, 0] < 3) & (3 < intervals[:, 1])).mean()
    assert 0.88 <= hits <= 0.99


def test_context_is_exactly_as_long_as_it_says(make):
    model, held_out = make(), SEVEN.convert_to_string(np.random.default_rng(0).integers(0, 7, 300))
    rows = list(measure.context_rows(model, SEVEN, held_out, 5))
    assert [row["context"] for row in rows] == [1, 2, 3, 5, 10, 20, 30, 50, 100]
    places = [100, 149, 199, 249, 299]
    before = None
    for row in rows:
        k = row["context"]
        bits = np.array([-log_probability(model, SEVEN, held_out[place - k:place + 1], held_out[:k]) / np.log(2)
                         for place in places])
        assert row["bits"] == pytest.approx(np.mean(bits))
        assert row["standard_error"] == pytest.approx(np.std(bits, ddof=1) / 5**0.5)
        if before is None:
            assert row["gain"] is row["gain_error"] is None
        else:
            assert row["gain"] == pytest.approx(np.mean(before - bits))
            assert row["gain_error"] == pytest.approx(np.std(before - bits, ddof=1) / 5**0.5)
        before = bits


def test_agreement_counts_from_the_beginning():
    assert measure.agreement("abcd", "abxd") == (2, 0.75) and measure.agreement("ab", "ab") == (2, 1.0)
    assert measure.agreement("ab", "xb") == (0, 0.5)


def test_beams_are_compared_with_what_really_follows(make):
    model, held_out = make(), SEVEN.convert_to_string(np.random.default_rng(0).integers(0, 7, 200))
    rows = list(measure.beam_rows(model, SEVEN, held_out, 3, 20, seed=4))
    assert [row["method"] for row in rows] == ["held-out text", "greedy", "5 beams", "10 beams", "sample"] * 3
    for k, place in enumerate([0, 65, 130]):
        prompt, true = held_out[place:place + 50], held_out[place + 50:place + 70]
        own = {row["method"]: row for row in rows[5 * k:5 * k + 5]}
        assert all(row["prompt"] == prompt and row["length"] == 20 for row in own.values())
        assert own["held-out text"]["text"] == true
        assert (own["held-out text"]["agree"], own["held-out text"]["equal"]) == (20, 1)
        assert prompt + own["greedy"]["text"] == generate(model, SEVEN, 70, prompt)[0]
        text, score = beam_search(model, SEVEN, 70, prompt, 10)[0]
        assert prompt + own["10 beams"]["text"] == text
        assert own["10 beams"]["log_probability"] == pytest.approx(score / 20)


def test_samples_of_a_network_that_always_says_the_same(make):
    vocabulary = Vocabulary("ab .")
    logits = torch.log(torch.tensor([1.0, 1, 2, 4], dtype=torch.float64))  # of " ", ".", "a" and "b"
    rows = list(measure.sample_rows(constant(make, logits), vocabulary, "a b. bb", "a b. " * 50, 30, 200, 0))
    found = {(row["source"], row["temperature"], row["measure"]): row for row in rows}
    assert found["samples", None, "loops"]["mean"] == 1 and found["samples", 0.5, "loops"]["mean"] == 0
    assert found["samples", None, "period"]["largest"] == 1 and ("samples", 0.5, "period") not in found
    assert found["samples", None, "longest copy"]["largest"] == 3  # " bb"
    assert found["samples", None, "bits"]["mean"] == pytest.approx(1)  # b has probability 1 / 2
    assert found["samples", 1.0, "bits"]["low"] < 1.75 < found["samples", 1.0, "bits"]["high"]  # the entropy
    assert found["held-out text", None, "known words"] == {
        "source": "held-out text", "temperature": None, "measure": "known words", "texts": 1, "mean": 1, "low": 1,
        "high": 1, "largest": 1}


def test_samples_without_a_word_are_drawn(make, tmp_path):
    vocabulary = Vocabulary("".join(map(chr, range(0x2500, 0x2580))) + " a")  # a sample may begin with any of them
    logits = torch.where(vocabulary.encode("".join(vocabulary.characters)) == vocabulary.encode("a"), -99.0, 0.0)
    rows = list(measure.sample_rows(constant(make, logits), vocabulary, "a ── ", "a ─ " * 20, 3, 30, 0))
    assert {row["source"] for row in rows if row["measure"] == "known words"} == {"held-out text"}
    assert drawing.measures({"course's": rows}, {}, tmp_path / "figure").exists()


FLAGS = ["--num_samples", 3, "--length", 60, "--positions", 9, "--prompts", 2, "--continuation", 20]


def test_the_script_writes_tables_and_figures(finished, tmp_path, call):
    status, out, err = call(measure, "--checkpoint", finished / "best.pt", "--output", tmp_path / "out", *FLAGS)
    assert (status, err) == (0, "") and out.count("figure: ") == 1
    assert sorted(os.listdir(tmp_path / "out")) == [
        "beams.csv", "context.csv", "measures.pdf", "measures.png", "samples.csv"]
    model, vocabulary = load(finished / "best.pt")
    held_out = BOOK[-round(0.2 * len(BOOK)):]
    rows = files.read_csv(tmp_path / "out" / "context.csv")
    assert rows[0]["bits"] == pytest.approx(
        list(measure.context_rows(model, vocabulary, held_out, 9))[0]["bits"])
    beams = files.read_csv(tmp_path / "out" / "beams.csv")
    assert len(beams) == 10 and "text" not in beams[0]
    assert f"prompt {held_out[:50]!r}  method 'held-out text'" in out and f"text {held_out[50:70]!r}" in out


def test_what_cannot_be_measured_is_one_line(finished, tmp_path, refused):
    (tmp_path / "other.txt").write_text(BOOK[::-1])
    for flags, message in ((["--txt_file", tmp_path / "other.txt"], "is not the text that"),
                           (["--length", 49], "at least"), (["--continuation", 200], "fewer than a prompt")):
        assert message in refused(measure, "--checkpoint", finished / "best.pt", "--output", tmp_path / "out", *flags)
    assert os.listdir(tmp_path) == ["other.txt"]
    for name in ("samples.csv", "beams.csv", "measures.png"):
        (tmp_path / "mine" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text("mine\n")
        assert name in refused(measure, "--checkpoint", finished / "best.pt", "--output", tmp_path / "mine", *FLAGS)
        assert (tmp_path / "mine" / name).read_text() == "mine\n" and os.listdir(tmp_path / "mine") == [name]
        (tmp_path / "mine" / name).unlink()
    with pytest.raises(InputError, match="there is no checkpoint"):
        measure.read_run(tmp_path / "no.pt")
