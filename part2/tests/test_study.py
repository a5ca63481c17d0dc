"""The study of a text model from training to figure, and the look inside a trained one."""
import os
import re

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np
import pytest
import torch
from pypdf import PdfReader

from part2 import inspect_text, study, train_text
from part2.dataset import TextDataset
from part2.generate import beam_search, generate
from part2.inspect_text import probabilities
from part2.model import load
from part2.tests.conftest import BOOK, TINY
from report import style

PROMPTS = ["The fox", "\"Why?\""]


@pytest.fixture(scope="module")
def studied(book, tmp_path_factory):
    """The folder of a finished study and what it printed; tests must not change it."""
    folder = tmp_path_factory.mktemp("studies") / "text"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("builtins.print", lambda *words, **rest: printed.append(" ".join(map(str, words))))
        study.main(study.parse_args(flags(book, folder)))
    return folder, "\n".join(printed)


def flags(book, folder, *more):
    given = [flag for flag in TINY if flag not in ("--print_every", 2)]
    return [str(flag) for flag in ("--output", folder, "--txt_file", book, *given, *more, "--prompts", *PROMPTS)]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_study_answers_every_question(studied):
    folder, printed = studied
    content = run.read_json(folder / "text.json")
    model, vocabulary = load(folder / "training" / "checkpoint.pt")
    assert content["characters"] == len(BOOK) and content["vocabulary_size"] == len(set(BOOK))
    assert content["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert content["settings"]["txt_file"] == "book.txt" and content["settings"]["lstm_num_hidden"] == 6
    last = run.read_metrics(folder / "training" / "metrics.csv")[-1]
    assert content["result"] == {"steps": last.pop("step"), **{k: v for k, v in last.items() if k != "learning_rate"}}
    assert [stage["update"] for stage in content["stages"]] == [4, 8, 12]
    for stage in content["stages"]:
        assert [len(sample) for sample in stage["samples"]] == [90] * 5
    assert [row["temperature"] for row in content["temperatures"]] == [0.5, 1.0, 2.0, None]
    generator = run.generator(0, "study")
    for row in content["temperatures"]:
        assert row["samples"] == generate(model, vocabulary, 90, "", row["temperature"], 5, generator)
    assert [row["prompt"] for row in content["sentences"]] == PROMPTS
    assert content["sentences"][1]["greedy"] == generate(model, vocabulary, 126, PROMPTS[1])[0]
    assert [row["beam_size"] for row in content["beams"]] == [1, 2, 5, 10]
    for row in content["beams"]:
        text, score = beam_search(model, vocabulary, 87, PROMPTS[0], row["beam_size"])[0]
        assert (row["text"], row["log_probability"]) == (text, pytest.approx(score, abs=1e-4))
        assert f"{row['beam_size']:3} beams, log-probability {score:.2f}: " in printed


def test_the_last_stage_is_what_the_network_writes_now(studied):
    folder, printed = studied
    model, vocabulary = load(folder / "training" / "checkpoint.pt")
    for sample in run.read_json(folder / "text.json")["stages"][-1]["samples"]:
        assert generate(model, vocabulary, 90, sample[0])[0] == sample
        assert sample.replace("\n", "↵") in printed


def test_the_figure_is_marked_with_its_results(studied):
    folder, _ = studied
    mark = style.fingerprint([folder / "curves.csv"])
    assert PdfReader(folder / "curves.pdf").metadata["/Keywords"] == f"sha256:{mark}"
    assert mark.encode() in (folder / "curves.png").read_bytes()


def test_a_second_call_trains_nothing_and_finds_the_same(studied, monkeypatch):
    folder, _ = studied
    before = files(folder)
    monkeypatch.setattr(torch.optim.Adam, "step", None)  # one update would fail
    again = study.study(study.parse_args(["--output", str(folder), "--prompts", *PROMPTS]), quiet=True)
    assert again == run.read_json(folder / "text.json") and again["characters"] == len(BOOK)
    assert {name: content for name, content in files(folder).items() if name.suffix != ".pt"} == {
        name: content for name, content in before.items() if name.suffix != ".pt"}


def test_a_study_goes_on_where_it_was_stopped_and_may_grow(book, tmp_path):
    log = run.Run.log

    def stop(self, **values):
        log(self, **values)
        if self.step == 10:
            raise cli.Interrupted("")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(cli.Interrupted):
        patch.setattr(run.Run, "log", stop)
        study.study(study.parse_args(flags(book, tmp_path / "text")), quiet=True)
    assert not (tmp_path / "text" / "text.json").exists()
    content = study.study(study.parse_args(flags(book, tmp_path / "text")), quiet=True)
    assert content["result"]["steps"] == 12 and [stage["update"] for stage in content["stages"]] == [4, 8, 12]
    content = study.study(study.parse_args(flags(book, tmp_path / "text", "--train_steps", 14)), quiet=True)
    assert content["result"]["steps"] == 14 and [stage["update"] for stage in content["stages"]] == [5, 10, 14]


@pytest.mark.parametrize("more, message", [
    (["--prompts", "The", "Zebra"], "has no 'Z'"), (["--prompts", "The", ""], "a prompt of --prompts is empty"),
    (["--resume"], "--resume is not for a study"), (["--print_every", 1], "--print_every is not for a study"),
    (["--print_every=1"], "--print_every is not"), (["--prompts"], "expected at least one"),
    (["--nonsense"], "--nonsense"),
    (["--train_steps", 0], "at least 1"), (["--txt_file", "nowhere"], "No such file"), (["--txt", "x"], "--txt")])
def test_a_wrong_study_is_one_line_before_anything_is_written(more, message, book, tmp_path, refused):
    assert message in refused(study, "--output", tmp_path / "text", "--txt_file", book, "--train_steps", 1, *more)
    assert not os.listdir(tmp_path)


def test_samples_are_read_whatever_characters_they_hold(tmp_path, make):
    vocabulary = "abc \n\x0b\x0c\x1c\x85\u2028↵:"
    (tmp_path / "book.txt").write_text(vocabulary.replace("↵", "") * 9, encoding="utf-8")
    text = TextDataset(tmp_path / "book.txt", 5)
    model = make(K=text.vocab_size)
    config = train_text.parse_args(["--temperature", "0", "--train_steps", "12"])
    written = {step: train_text.write_samples(model, text, config, step) for step in (4, 8)}
    (tmp_path / "samples.txt").write_bytes("".join(written.values()).encode())
    for step, samples in study.read_samples(tmp_path / "samples.txt").items():
        assert samples == generate(model, text, 90, "", 0, 5, run.generator(0, f"samples at update {step}"))
    assert set(study.read_samples(tmp_path / "samples.txt")) == {4, 8}


@pytest.mark.parametrize("number, most, pieces", [(1, 150, 1), (7, 3, 3), (150, 150, 150), (1000, 150, 150)])
def test_curves_are_thinned_by_means(number, most, pieces):
    rows = [{"step": 5 * k, "loss": k, "accuracy": k / 2000, "eval_loss": k if k % 3 == 0 else None}
            for k in range(1, number + 1)]
    thin = study.thinned(rows, most)
    assert len(thin) == pieces and thin[-1]["step"] == 5 * number
    steps = [0, *(row["step"] for row in thin)]
    for last, row in zip(steps, thin):
        group = [old for old in rows if last < old["step"] <= row["step"]]
        assert row["loss"] == pytest.approx(np.mean([old["loss"] for old in group]), abs=1e-5)
        assert row["accuracy"] == pytest.approx(np.mean([old["accuracy"] for old in group]), abs=1e-5)
        assert row["eval_loss"] == max((old["eval_loss"] for old in group if old["eval_loss"]), default=None)


# The look inside

def test_probabilities_are_those_of_reading_step_by_step(finished):
    model, vocabulary = load(finished / "checkpoint.pt")
    text = "The fox did know."
    p, favourites = probabilities(model, vocabulary, text)
    assert len(p) == len(favourites) == len(text) and np.isnan(p[0]) and favourites[0] == "T"
    state = None
    for k in range(len(text) - 1):
        logits, state = model(vocabulary.encode(text[k]).unsqueeze(0), state)
        expected = logits[0, 0].softmax(dim=0)
        assert p[k + 1] == pytest.approx(expected[vocabulary.encode(text[k + 1])].item(), rel=1e-4)
        assert favourites[k + 1] == vocabulary.characters[expected.argmax()]


def test_the_strip_is_drawn_and_the_worst_places_are_told(finished, tmp_path, call):
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbfThe fox\r\nsat. " + b"The dog ran. " * 5)
    flags = ["--checkpoint", finished / "checkpoint.pt", "--output", tmp_path / "strip"]
    status, out, err = call(inspect_text, *flags, "--text_file", tmp_path / "text.txt")
    assert (status, err) == (0, "") and {"strip.pdf", "strip.png"} <= set(os.listdir(tmp_path))
    model, vocabulary = load(finished / "checkpoint.pt")
    text = "The fox\nsat. " + "The dog ran. " * 5
    p, favourites = probabilities(model, vocabulary, text)
    hits = np.mean([a == b for a, b in zip(text[1:], favourites[1:])])
    assert out.startswith(f"{-np.log2(p[1:]).mean():.3f} bits a character, {hits:.1%} of")
    found = [float(value) for value in re.findall(r"p = (\S+),", out)]
    assert found == pytest.approx(sorted(p[1:])[:5], rel=0.06)
    drawn = "".join(PdfReader(tmp_path / "strip.pdf").pages[0].extract_text().split())
    assert "probability" in drawn


@pytest.mark.parametrize("more, message", [
    ([], "give either --text or --text_file"), (["--text", "a", "--text_file", "b"], "give either"),
    (["--text", "T"], "at least 2 characters"), (["--text", ""], "at least 2 characters"),
    (["--text", "Zebra"], "no 'Z'"),
    (["--text", "a" * 2001], "too long to draw"), (["--text_file", "missing.txt"], "No such file"),
    (["--text", "The", "--device", "x"], "--device is one of")])
def test_what_cannot_be_drawn_is_one_line(more, message, finished, tmp_path, refused):
    flags = ["--checkpoint", finished / "checkpoint.pt", "--output", tmp_path / "x", *more]
    assert message in refused(inspect_text, *flags)
    assert not os.listdir(tmp_path)
