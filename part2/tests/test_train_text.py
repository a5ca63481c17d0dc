"""Training on a text: the course's flags mean what they say, samples come when due, a run goes on bit-identically."""
import contextlib
import math
import os
import re
import shutil
import signal
import sys
import types

import pytest
import torch
from torch.nn.functional import cross_entropy

from part1 import files, run
from part2 import model as networks
from part2 import train_text
from part2.dataset import TextDataset
from part2.generate import generate, load
from part2.model import TextGenerationModel
from part2.tests import background
from part2.tests.conftest import BOOK, TINY, checkpoint_of, identical, rows_of, same, weights_of


@pytest.fixture
def trained(book, tmp_path, call):
    """`trained(*flags)`: a finished tiny run with these flags too; returns its folder."""
    def trained(*flags):
        folder = tmp_path / f"run{len(os.listdir(tmp_path))}"
        status, out, err = call(train_text, "--txt_file", book, *TINY, *flags, "--output", folder)
        assert (status, err) == (0, "")
        return folder
    return trained


def metrics_of(folder):
    return files.read_csv(folder / "metrics.csv")


# Flags

def test_the_defaults_are_the_courses():
    config = vars(train_text.parse_args([]))
    official = dict(seq_length=30, lstm_num_hidden=128, lstm_num_layers=2, batch_size=64, learning_rate=2e-3,
                    learning_rate_decay=0.96, learning_rate_step=5000, dropout_keep_prob=1.0, train_steps=1_000_000,
                    max_norm=5.0, summary_path="./summaries/", print_every=5, sample_every=100)
    assert {name: config[name] for name in official} == official


@pytest.mark.parametrize("flags, message", [
    (["--txt_file", "missing.txt"], "No such file"), (["--txt_file", "."], "Is a directory"),
    (["--recurrent_keep_prob", 0], "above 0"), (["--seq_length", 0], "at least 1"),
    (["--seq_length", 10**6], "characters to train on"),
    (["--batch_size", 2**40], "too large"), (["--learning_rate", "nan"], "above 0"),
    (["--temperature", -0.5], "at least 0"), (["--eval_fraction", 1], "below 1"),
    (["--eval_fraction", 1e-9], "nothing to evaluate on"), (["--gen_input", "Zebra ü"], "has no 'Z' 'b' 'ü'"),
    (["--strip_gutenberg"], "no *** START"), (["--device", "tpu"], "--device is one of"),
    (["--resume"], "there is no checkpoint"), (["--lstm_num_hidden", 2**31 - 1], "memory"),
    (["--lstm_num_layers", 10**8], "at most 1000"), (["--lstm_num_layers", 1000, "--lstm_num_hidden", 10**5], "memory"),
    (["--batch_size", 2 * 10**9, "--seq_length", 100], "memory"), (["--summary_path", ""], "not be empty"),
    (["--carry_state", "--batch_size", 500], "500 streams with windows of 30 need 15000"),
    (["--txt_file", "a\nb"], "No such file"), (["--learning_rate=--"], "expected one argument")])
def test_wrong_flags_are_one_line_and_nothing_is_written(flags, message, book, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(train_text, "--txt_file", book, "--output", tmp_path / "run", *flags)
    assert not os.listdir(tmp_path)


# The loop

def test_best_weights_that_are_somebody_elses_stay(book, tmp_path, refused):
    (tmp_path / "best.pt").write_text("mine")
    assert "already holds a run's best.pt" in refused(train_text, "--txt_file", book, *TINY, "--output", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("best.pt", "mine")]


def test_the_loop_is_the_plain_one_on_the_text_that_is_not_held_out(trained, tmp_path):
    folder = trained("--dropout_keep_prob", 1, "--seed", 3, "--max_norm", 0.3)
    (tmp_path / "beginning.txt").write_text(BOOK[:-round(0.2 * len(BOOK))])  # all characters are there
    text = TextDataset(tmp_path / "beginning.txt", 5)
    torch.manual_seed(3)
    model = TextGenerationModel(4, 5, text.vocab_size, 6, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator, rows = run.generator(3, "training data"), {}
    for step in range(1, 13):
        inputs, targets = text.batch(4, generator)
        logits, _ = model(inputs)
        loss = cross_entropy(logits.transpose(1, 2), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.96 ** ((step - 1) // 3)
        optimizer.step()
        rows[step] = loss.item(), (logits.argmax(dim=2) == targets).double().mean().item()
    found = metrics_of(folder)
    assert [row["step"] for row in found] == [2, 4, 5, 6, 8, 10, 12]
    for row in found:
        assert (row["loss"], row["accuracy"]) == pytest.approx(rows[row["step"]], rel=1e-5)
        assert row["learning_rate"] == pytest.approx(2e-3 * 0.96 ** ((row["step"] - 1) // 3))
    for name, weight in weights_of(folder).items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_carried_streams_a_cosine_and_weight_decay_are_torchs_own(trained, book):
    flags = ["--carry_state", "--schedule", "cosine", "--weight_decay", 0.2, "--seq_length", 20]
    folder = trained("--dropout_keep_prob", 1, *flags)
    text = BOOK[:-round(0.2 * len(BOOK))]
    vocabulary, piece = TextDataset(book, 20), len(text) // 4
    torch.manual_seed(0)
    model = TextGenerationModel(4, 20, vocabulary.vocab_size, 6, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    rows, whole = {}, text + text
    for step in range(12):
        streams = [whole[k * piece + 20 * step:][:21] for k in range(4)]
        windows = torch.stack([vocabulary.encode(stream) for stream in streams])
        if step % (len(text) // 80) == 0:
            state = None
        logits, state = model(windows[:, :-1], state)
        loss, state = cross_entropy(logits.transpose(1, 2), windows[:, 1:]), tuple(part.detach() for part in state)
        rows[step + 1] = loss.item(), optimizer.param_groups[0]["lr"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    assert len(text) // 80 < 12  # the streams have come back to where they began
    for row in metrics_of(folder):
        assert (row["loss"], row["learning_rate"]) == pytest.approx(rows[row["step"]], rel=1e-5)
    for name, weight in weights_of(folder).items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_a_preset_sets_flags_that_are_not_given():
    best = vars(train_text.parse_args(["--preset", "best", "--lstm_num_hidden", "7"]))
    assert best["lstm_num_hidden"] == 7 and best["max_norm"] == 5.0
    assert all(best[name] == value for name, value in train_text.PRESETS["best"].items() if name != "lstm_num_hidden")
    assert train_text.parse_args(["--preset", "course"]) == train_text.parse_args([])


def test_dropout_and_weight_drop_are_in_the_training(trained):
    runs = [rows_of(trained("--dropout_keep_prob", keep, "--recurrent_keep_prob", recurrent))
            for keep, recurrent in ((1, 1), (0.8, 1), (1, 0.8))]
    assert all(one != other for one, other in zip(runs, runs[1:] + runs[:1]))


def test_the_seed_decides_everything(trained):
    first, again, other = trained("--seed", 5), trained("--seed", 5), trained("--seed", 6)
    assert identical(first, again)
    assert not same(weights_of(first), weights_of(other))
    assert (first / "samples.txt").read_text() != (other / "samples.txt").read_text()


def test_the_result_is_the_last_row(finished, tmp_path, call):
    folder = shutil.copytree(finished, tmp_path / "run")
    result = train_text.train(train_text.parse_args(["--output", str(folder), "--resume"]), quiet=True)
    last = metrics_of(folder)[-1]
    del last["learning_rate"]
    assert result == {"steps": last.pop("step"), "folder": str(folder), **last}
    status, out, _ = call(train_text, "--output", folder, "--resume")
    numbers = "loss {loss:.4f}, accuracy {accuracy:.4f}, held-out {bits_per_character:.3f} bits per character"
    assert status == 0 and numbers.format(**last) in out and out.endswith(f"run in {files.display(folder)}\n")


# Held-out text

def test_the_held_out_loss_is_that_of_reading_the_tail(finished, book):
    model, vocabulary = load(finished / "checkpoint.pt")
    tail = vocabulary.encode(BOOK[-round(0.2 * len(BOOK)):])
    assert len(tail) < 200  # one stream
    logits, _ = model(tail[:-1].unsqueeze(0))
    expected = cross_entropy(logits[0], tail[1:]).item()
    last = metrics_of(finished)[-1]
    assert last["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert last["bits_per_character"] == pytest.approx(expected / math.log(2), rel=1e-5)
    assert last["eval_accuracy"] == pytest.approx((logits[0].argmax(dim=1) == tail[1:]).double().mean().item())
    for row in metrics_of(finished):
        assert (row["eval_loss"] is not None) == (row["step"] in (5, 10, 12))


@pytest.mark.parametrize("length, streams", [(2, 1), (351, 3), (3300, 32)])
def test_a_long_tail_is_read_in_streams(length, streams, make):
    model, characters = make(keep=0.5), torch.randint(7, (length,), generator=torch.Generator().manual_seed(0))
    piece = (length - 1) // streams
    losses = []
    for k in range(streams):
        part = characters[k * piece:(k + 1) * piece + 1]
        losses.append(cross_entropy(model(part[:-1].unsqueeze(0))[0][0], part[1:]).item())
    model.train()
    assert train_text.evaluate(model, characters)[0] == pytest.approx(sum(losses) / streams)
    assert model.training


# Samples

def blocks(folder):
    """The samples: a dict from the update to lines (number of the sentence, length, sentence)."""
    found = {}
    for block in (folder / "samples.txt").read_text().split("\n\n")[:-1]:
        head, *lines = block.split("\n")
        update, total = map(int, re.fullmatch(r"update (\d+) of (\d+)", head).groups())
        assert update not in found
        found[update] = [(int(k), int(length), text) for k, length, text in
                         (re.fullmatch(r"  (\d), +(\d+) characters: (.*)", line).groups() for line in lines)]
    return found


@pytest.mark.parametrize("steps, every, expected", [
    (12, 5, [4, 5, 8, 10, 12]), (10, 1000, [4, 7, 10]), (1, 100, [1]), (3, 3, [1, 2, 3])])
def test_samples_come_at_each_third_and_when_due(steps, every, expected, trained):
    assert list(blocks(trained("--train_steps", steps, "--sample_every", every))) == expected


def test_five_greedy_sentences_of_three_lengths(finished):
    model, vocabulary = load(finished / "checkpoint.pt")
    last = blocks(finished)[12]
    assert [(k, length) for k, length, _ in last] == [(k, length) for k in range(5) for length in (15, 30, 90)]
    for k, length, text in last:
        assert len(text) == length and text == last[3 * k + 2][2][:length]
        text = text.replace("↵", "\n")
        assert generate(model, vocabulary, length, text[0])[0] == text
    assert len({text[0] for *_, text in last}) > 1


def test_temperature_and_beginning_apply_to_the_samples(trained):
    folder = trained("--temperature", 0, "--gen_input", "The fox", "--train_steps", 1)
    lines = blocks(folder)[1]
    assert [length for _, length, _ in lines[:3]] == [22, 37, 97]
    assert all(text.startswith("The fox") and len(text) == length for _, length, text in lines)
    assert len({text for *_, text in lines[2::3]}) == 5  # uniform draws; greedy ones would be all the same


def test_an_infinite_temperature_is_greedy_and_its_config_is_json(trained):
    folder = trained("--temperature", "inf", "--gen_input", "The", "--train_steps", 1)
    assert len({text for *_, text in blocks(folder)[1][2::3]}) == 1
    assert "Infinity" not in (folder / "config.json").read_text()


def test_the_best_weights_are_kept(trained, monkeypatch):
    losses, weights = iter([3.0, 1.5, 2.0]), []

    def evaluate(model, characters):
        weights.append({name: weight.clone() for name, weight in model.state_dict().items()})
        return next(losses), 0.5

    monkeypatch.setattr(train_text, "evaluate", evaluate)
    folder = trained()
    model, _ = load(folder / "best.pt")
    assert same(model.state_dict(), weights[1]) and same(weights_of(folder), weights[2])
    folder = trained("--eval_fraction", 0)
    assert not (folder / "best.pt").exists()
    assert all(row["eval_loss"] is row["bits_per_character"] is None for row in metrics_of(folder))


# Kill and resume

@pytest.mark.parametrize("patch", [("save", 3, True), ("append", 8, True), ("save", 6, True)])
def test_the_carried_state_and_the_best_weights_survive_a_kill(patch, book, tmp_path, call):
    flags = ["--txt_file", book, *TINY, "--seq_length", 20, "--carry_state", "--schedule", "cosine"]
    assert call(train_text, *flags, "--output", tmp_path / "whole")[0] == 0
    statuses, _ = background.launch(tmp_path, 0, *flags, "--output", tmp_path / "run", kill=patch)
    assert statuses == [-signal.SIGKILL]
    assert call(train_text, "--output", tmp_path / "run", "--resume")[0] == 0
    assert identical(tmp_path / "run", tmp_path / "whole")
    best, expected = (run.load_checkpoint(tmp_path / name / "best.pt", "part2.train_text") for name in ("run", "whole"))
    assert best["step"] == expected["step"] == 12 and same(best["parts"], expected["parts"])


@pytest.mark.parametrize("update", [1, 7])
def test_an_interrupted_run_says_how_to_go_on_and_does(update, book, finished, tmp_path, call, monkeypatch):
    folder = tmp_path / "run"
    statuses, [printed] = background.launch(tmp_path, 0, "--txt_file", book, *TINY, "--output", folder,
                                            moments=[(0, 0, update, "interrupt")])
    assert statuses == [130] and f"stopped: saved up to update {update}; go on with: " in printed
    monkeypatch.chdir(tmp_path)  # the book is found from any folder
    assert call(train_text, "--output", "run", "--resume")[0] == 0
    assert identical(folder, finished)


def test_a_finished_run_may_grow(trained, finished):
    whole = trained("--train_steps", 20)
    grown = shutil.copytree(finished, whole.parent / "grown")
    train_text.train(train_text.parse_args(["--output", str(grown), "--resume", "--train_steps", "20"]), quiet=True)
    assert same(weights_of(grown), weights_of(whole))
    pairs = zip(*(metrics_of(folder) for folder in (grown, whole)), strict=True)
    for row, expected in pairs:
        # Update 12 was the last one once.
        held_out = {"eval_loss", "eval_accuracy", "bits_per_character"} if row["step"] == 12 else set()
        assert all(row[name] == expected[name] for name in set(row) - held_out - {"seconds"})
    assert list(blocks(grown)) == [4, 5, 8, 10, 12, 14, 15, 20]


def test_the_updates_of_a_cosine_are_planned(trained, refused):
    folder = trained("--schedule", "cosine")
    assert "--train_steps stays 12" in refused(train_text, "--output", folder, "--resume", "--train_steps", 20)
    assert metrics_of(folder)[-1]["step"] == 12


def test_a_run_goes_on_with_the_same_book_elsewhere_and_with_no_other(finished, tmp_path, call, refused):
    moved, folder = tmp_path / "moved.txt", shutil.copytree(finished, tmp_path / "run")
    moved.write_text(BOOK)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for other in (BOOK[:-1] + "!", BOOK[1:] + BOOK[0]):  # another vocabulary, and the same one
        (tmp_path / "other.txt").write_text(other)
        assert "the training data is not what" in refused(train_text, "--output", folder, "--resume", "--train_steps",
                                                          20, "--txt_file", tmp_path / "other.txt")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert call(train_text, "--output", folder, "--resume", "--txt_file", moved)[0] == 0
    assert identical(folder, finished)


def test_a_run_on_the_built_in_book_goes_on_when_the_repository_has_moved(tmp_path, call, monkeypatch):
    flags = ["--lstm_num_hidden", 3, "--train_steps", 2, "--output", tmp_path / "run"]
    assert call(train_text, *flags)[0] == 0
    (tmp_path / "moved" / "assets").mkdir(parents=True)
    shutil.copy(files.ROOT / "assets" / "fables.txt", tmp_path / "moved" / "assets")
    monkeypatch.setattr(files, "ROOT", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert call(train_text, "--resume", "--train_steps", 3, "--output", "run")[0] == 0
    shutil.rmtree(tmp_path / "moved")
    assert "No such file" in call(train_text, "--resume", "--train_steps", 4, "--output", "run")[2]


@pytest.mark.parametrize("flags", [["--seq_length", 6], ["--precision", "bf16"], ["--temperature", 1.0],
                                   ["--gen_input", "The"], ["--strip_gutenberg"], ["--train_steps", 11]])
def test_changed_flags_are_refused(flags, finished, refused):
    assert f"{flags[0]} " in refused(train_text, "--output", finished, "--resume", *flags)


# TensorBoard and precision

@pytest.fixture
def summaries(monkeypatch):
    """Stands for TensorBoard: the writers that were opened, (folder, purge_step, rows)."""
    opened = []

    class SummaryWriter(contextlib.AbstractContextManager):
        def __init__(self, folder, purge_step):
            opened.append((folder, purge_step, []))

        def add_scalar(self, name, value, step):
            opened[-1][2].append((step, name, value))

        def __exit__(self, *exception):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    return opened


class Broken(types.ModuleType):
    def __getattr__(self, name):
        raise TypeError("Descriptors cannot be created directly.")


@pytest.mark.parametrize("module", [None, Broken("an old TensorBoard beside a new protobuf")])
def test_without_tensorboard_it_says_so_once(module, book, tmp_path, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.chdir(tmp_path)
    status, out, err = call(train_text, "--txt_file", book, *TINY, "--output", "run")
    assert (status, err) == (0, "") and out.count("TensorBoard is not installed") == 1
    assert os.listdir(tmp_path) == ["run"]


def test_with_tensorboard_every_number_goes_there(book, tmp_path, call, summaries):
    status, out, _ = call(train_text, "--txt_file", book, *TINY, "--output", tmp_path / "run", "--summary_path",
                          tmp_path / "summaries")
    assert status == 0 and "TensorBoard" not in out
    written = [(row["step"], name, value) for row in metrics_of(tmp_path / "run") for name, value in row.items()
               if name not in ("step", "seconds") and value is not None]
    assert summaries == [(tmp_path / "summaries" / "run", 1, written)]
    assert call(train_text, "--output", tmp_path / "run", "--resume", "--train_steps", 14, "--summary_path",
                tmp_path / "others")[0] == 0
    assert summaries[1][:2] == (tmp_path / "others" / "run", 13)


def test_a_summary_path_that_cannot_be_written_is_an_error_before_the_run(book, tmp_path, refused, summaries):
    (tmp_path / "file").write_text("")
    refused(train_text, "--txt_file", book, "--output", tmp_path / "run", "--summary_path", tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"] and not summaries


@pytest.mark.parametrize("kernels", [True, False])
def test_bf16_is_nearly_fp32(kernels, book, finished, tmp_path, call, monkeypatch):
    if kernels and not networks.bf16_kernels(torch.device("cpu")):
        pytest.skip("this CPU has no units for bf16")
    monkeypatch.setattr(train_text, "bf16_kernels", lambda device: kernels)
    before = torch.backends.mkldnn.enabled
    status, out, _ = call(train_text, "--txt_file", book, *TINY, "--precision", "bf16", "--output", tmp_path / "run")
    assert status == 0 and torch.backends.mkldnn.enabled == before
    assert out.count("this CPU has no units for bf16") == (not kernels)
    rows, exact = metrics_of(tmp_path / "run"), metrics_of(finished)
    assert all(weight.dtype == torch.float32 for weight in weights_of(tmp_path / "run").values())
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in exact], rel=0.02)
    assert [row["loss"] for row in rows] != [row["loss"] for row in exact]


def test_looking_for_bf16_changes_no_randomness():
    state = torch.get_rng_state()
    assert networks.bf16_kernels(torch.device("cpu")) in (True, False)
    assert torch.get_rng_state().equal(state)


# Failures

def test_a_loss_that_is_not_finite_is_one_line_and_the_checkpoint_stays(book, tmp_path, call, monkeypatch):
    monkeypatch.setattr(train_text, "evaluate", lambda model, characters: (math.nan, 0.0))
    status, _, err = call(train_text, "--txt_file", book, *TINY, "--output", tmp_path / "run")
    assert status == 1 and err.count("\n") == 1 and "held out loss became nan at update 5" in err
    assert checkpoint_of(tmp_path / "run")["step"] == 4


def test_a_book_is_named_from_the_current_folder(book, tmp_path, call, monkeypatch):
    monkeypatch.chdir(book.parent)
    assert call(train_text, "--txt_file", book.name, *TINY, "--output", tmp_path / "run")[::2] == (0, "")
    assert {"checkpoint.pt", "config.json", "metrics.csv", "samples.txt"} <= set(os.listdir(tmp_path / "run"))
    assert files.read_json(tmp_path / "run" / "config.json")["txt_file"] == str(book)
