"""The study of a text model from training to figure, and the heat strip of one."""
import os
import re

import numpy as np
import pytest

from part1 import cli, files, run, style
from part2 import inspect_text, study, train_text
from part2.generate import beam_search, generate, load
from part2.inspect_text import probabilities
from part2.tests.conftest import BOOK, TINY

PROMPTS = ["The fox", "\"Why?\""]
SETTINGS = {flag.removeprefix("--"): value for flag, value in zip(TINY[::2], TINY[1::2])}


@pytest.fixture(scope="module")
def studied(book, tmp_path_factory):
    """The folder of a finished study; tests must not change it."""
    folder = tmp_path_factory.mktemp("studies") / "text"
    flags = "--output", folder, "--txt_file", book, *TINY, "--prompts", *PROMPTS
    study.main(study.parse_args([str(flag) for flag in flags]))
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt"}


def test_a_study_answers_every_question(studied):
    folder, content = studied, files.read_json(studied / "text.json")
    model, vocabulary = load(folder / "training" / "checkpoint.pt")
    assert content["characters"] == len(BOOK) and content["vocabulary_size"] == len(set(BOOK))
    assert content["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert content["settings"]["txt_file"] == "book.txt" and content["settings"]["lstm_num_hidden"] == 6
    last = files.read_csv(folder / "training" / "metrics.csv")[-1]
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
    for sample in content["stages"][-1]["samples"]:
        assert generate(model, vocabulary, 90, sample[0])[0] == sample
    mark = style.fingerprint([folder / "curves.csv"])  # the figure names its source
    assert mark.encode() in (folder / "curves.png").read_bytes()


def test_what_it_writes_is_by_the_best_weights(book, tmp_path):
    content = study.study(tmp_path, PROMPTS[:1], SETTINGS | {"txt_file": str(book), "learning_rate": 10}, quiet=True)
    best, last = (generate(*load(tmp_path / "training" / f"{name}.pt"), 125, PROMPTS[0])[0]
                  for name in ("best", "checkpoint"))
    assert content["best"]["step"] < content["result"]["steps"]
    assert content["sentences"][0]["greedy"][:125] == best[:125] != last[:125]


def test_a_second_call_trains_nothing_and_finds_the_same(studied, call, monkeypatch):
    before = contents(studied)
    monkeypatch.setattr(train_text, "cross_entropy", None)  # one update would fail
    status, out, err = call(study, "--output", studied, "--prompts", *PROMPTS)
    assert (status, err) == (0, "") and contents(studied) == before
    content = files.read_json(studied / "text.json")
    for text in (content["stages"][0]["samples"][1], content["sentences"][0]["greedy"], content["beams"][3]["text"]):
        assert text.replace("\n", "↵") in out


def test_a_study_goes_on_where_it_was_stopped_and_may_grow(book, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "write", lambda *_: {})
    log = run.Run.log

    def stop(self, step, **values):
        log(self, step, **values)
        if step == 10:
            raise cli.Interrupted("", 2)

    settings = SETTINGS | {"txt_file": str(book)}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(cli.Interrupted):
        patch.setattr(run.Run, "log", stop)
        study.study(tmp_path, PROMPTS, settings, quiet=True)
    assert not (tmp_path / "text.json").exists()
    for steps, stages in ((12, [4, 8, 12]), (14, [5, 10, 14])):
        content = study.study(tmp_path, PROMPTS, settings | {"train_steps": steps}, quiet=True)
        assert content["result"]["steps"] == steps and [stage["update"] for stage in content["stages"]] == stages


def test_the_best_of_a_study_that_has_grown_is_that_of_its_best_weights(book, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "write", lambda *_: {})
    settings = SETTINGS | {"txt_file": str(book), "sample_every": 4, "eval_fraction": 0.2, "train_steps": 7}
    before = study.study(tmp_path, PROMPTS, settings, quiet=True)["best"]
    monkeypatch.setattr(train_text, "keep_best", lambda current: None)  # as if no later evaluation were better
    after = study.study(tmp_path, PROMPTS, settings | {"train_steps": 9}, quiet=True)["best"]
    assert [row["step"] for row in files.read_csv(tmp_path / "training" / "metrics.csv")][-2:] == [8, 9]
    for name in ("step", "eval_loss", "eval_accuracy", "bits_per_character"):
        assert after[name] == pytest.approx(before[name], rel=1e-5)


@pytest.mark.parametrize("more, message", [
    (["--prompts", "The", "Zebra"], "has no 'Z'"), (["--prompts", "The", ""], "a prompt of --prompts is empty"),
    (["--resume"], "--resume is not for a study"), (["--train_steps", 0], "at least 1"),
    (["--txt_file", "nowhere"], "No such file")])
def test_a_wrong_study_is_one_line_before_anything_is_written(more, message, book, tmp_path, refused):
    assert message in refused(study, "--output", tmp_path / "text", "--txt_file", book, "--train_steps", 1, *more)
    assert not os.listdir(tmp_path)


def test_samples_are_read_whatever_characters_they_hold(tmp_path, monkeypatch):
    nasty = "abc \n\x0b\x0c\x1c\x85\u2028:"
    samples = {step: [(nasty[k:] + f"{step}, 15 characters: " + nasty * 9)[:90] for k in range(5)] for step in (4, 8)}
    config = train_text.parse_args(["--train_steps", "12"])
    with open(tmp_path / "samples.txt", "wb") as file:
        for step in samples:
            monkeypatch.setattr(train_text, "generate", lambda *_: samples[step])
            file.write(train_text.write_samples(None, None, config, step).encode())
    assert study.read_samples(tmp_path / "samples.txt") == samples


def test_curves_are_thinned_by_means():
    rows = [{"step": 5 * k, "loss": k, "accuracy": k / 10, "eval_loss": k if k == 3 else None,
             "eval_accuracy": k / 9 if k == 3 else None} for k in range(1, 8)]
    nothing = {"eval_loss": None, "eval_accuracy": None}
    assert study.thinned(rows, 3) == [{"step": 15, "loss": 2, "accuracy": 0.2, "eval_loss": 3,
                                       "eval_accuracy": 0.33333},
                                      {"step": 25, "loss": 4.5, "accuracy": 0.45, **nothing},
                                      {"step": 35, "loss": 6.5, "accuracy": 0.65, **nothing}]
    assert [row["loss"] for row in study.thinned(rows, 150)] == [1, 2, 3, 4, 5, 6, 7]


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
    p, _ = probabilities(*load(finished / "checkpoint.pt"), "The fox\nsat. " + "The dog ran. " * 5)
    assert out.startswith(f"{-np.log2(p[1:]).mean():.3f} bits per character")
    found = [float(value) for value in re.findall(r"p = (\S+),", out)]
    assert found == pytest.approx(sorted(p[1:])[:5], rel=0.06)


@pytest.mark.parametrize("more, message", [
    ([], "give either --text or --text_file"), (["--text", ""], "at least 2 characters"),
    (["--text", "Zebra"], "no 'Z'"), (["--text", "a" * 2001], "too long to draw"),
    (["--text_file", "missing.txt"], "No such file")])
def test_what_cannot_be_drawn_is_one_line(more, message, finished, tmp_path, refused):
    flags = ["--checkpoint", finished / "checkpoint.pt", "--output", tmp_path / "x", *more]
    assert message in refused(inspect_text, *flags)
    assert not os.listdir(tmp_path)
