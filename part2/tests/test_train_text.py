"""Training on a text: the course's flags mean what they say, samples come when due, a run goes on to the same bits."""
import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import types

from part1 import cli, run  # before torch, see part1/run.py
import pytest
import torch
from torch.nn.functional import cross_entropy

from part1.tests.background import context
from part1.tests.test_run import same
from part2 import train_text
from part2.dataset import TextDataset
from part2.generate import generate
from part2.model import TextGenerationModel, load
from part2.tests.conftest import BOOK, TINY


@pytest.fixture
def trained(book, tmp_path, call):
    """`trained(*flags)`: a finished tiny run with these flags too; returns its folder."""
    def trained(*flags):
        folder = tmp_path / f"run{len(os.listdir(tmp_path))}"
        status, out, err = call(train_text, "--txt_file", book, *TINY, *flags, "--output", folder)
        assert (status, err) == (0, "")
        return folder
    return trained


def rows_of(folder, but=("seconds",)):
    """The lines of the metrics as they stand in the file, without the columns `but`."""
    header, *lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    return [[value for name, value in zip(header, line) if name not in but] for line in [header, *lines]]


def weights_of(folder):
    return run.load_checkpoint(folder / "checkpoint.pt", train_text.SCRIPT)["parts"]["model"]


def identical(one, other):
    """Whether two runs are equal to the bit: metrics but for the seconds, samples, weights and all other states."""
    one_checkpoint, other_checkpoint = (run.load_checkpoint(folder / "checkpoint.pt", train_text.SCRIPT)
                                        for folder in (one, other))
    return (rows_of(one) == rows_of(other)
            and (one / "samples.txt").read_bytes() == (other / "samples.txt").read_bytes()
            and all(same(one_checkpoint[key], other_checkpoint[key]) for key in ("parts", "random", "step", "extra")))


def copy(folder, target):
    shutil.copytree(folder, target)
    return target


# Flags

def test_the_defaults_are_the_courses():
    config = vars(train_text.parse_args([]))
    official = dict(seq_length=30, lstm_num_hidden=128, lstm_num_layers=2, batch_size=64, learning_rate=2e-3,
                    learning_rate_decay=0.96, learning_rate_step=5000, dropout_keep_prob=1.0, train_steps=1_000_000,
                    max_norm=5.0, summary_path="./summaries/", print_every=5, sample_every=100)
    assert {name: config[name] for name in official} == official
    ours = dict(device="auto", seed=0, output=None, resume=False, temperature=None, gen_input="", precision="fp32",
                eval_fraction=0.0, strip_gutenberg=False, given=[], txt_file=str(cli.ROOT / "assets" / "fables.txt"))
    assert config == official | ours


WRONG = [
    (["--txt_file", "missing.txt"], "No such file"), (["--txt_file", "."], "Is a directory"),
    (["--seq_length", 0], "at least 1"), (["--seq_length", 10**6], "characters to train on"),
    (["--batch_size", 0], "at least 1"), (["--batch_size", 2**40], "too large"),
    (["--lstm_num_layers", 0], "at least 1"),
    (["--lstm_num_hidden", "many"], "whole number"), (["--learning_rate", 0], "above 0"),
    (["--learning_rate", "nan"], "above 0"), (["--learning_rate", 1e38], "at most 1000000"),
    (["--learning_rate_decay", 1.5], "at most 1"),
    (["--learning_rate_step", 0], "at least 1"), (["--dropout_keep_prob", 0], "above 0"),
    (["--dropout_keep_prob", 1.1], "at most 1"), (["--max_norm", -1], "above 0"), (["--print_every", 0], "at least 1"),
    (["--sample_every", 1.5], "whole number"), (["--train_steps", 0], "at least 1"),
    (["--temperature", -0.5], "at least 0"), (["--temperature", "nan"], "at least 0"),
    (["--precision", "fp16"], "invalid choice"), (["--eval_fraction", 1], "below 1"),
    (["--eval_fraction", 1e-9], "nothing to evaluate on"), (["--eval_fraction", 0.999], "characters to train on"),
    (["--gen_input", "Zebra ü"], "has no 'Z' 'b' 'ü'"), (["--strip_gutenberg"], r"no \*\*\* START"),
    (["--device", "tpu"], "--device is one of"), (["--seed", -1], "at least 0"),
    (["--resume"], "there is no checkpoint"),
    (["--lstm_num_hidden", 2**31 - 1], "memory"), (["--model", "x"], "unrecognized")]


@pytest.mark.parametrize("flags, message", WRONG, ids=[" ".join(map(str, flags)) for flags, _ in WRONG])
def test_wrong_flags_are_one_line_and_nothing_is_written(flags, message, book, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(train_text, "--txt_file", book, "--output", tmp_path / "run", *flags)
    assert re.search(message, line) and not os.listdir(tmp_path)


def test_a_file_for_a_folder_is_refused(book, tmp_path, refused):
    (tmp_path / "file").write_text("mine")
    assert "is a file, not a folder" in refused(train_text, "--txt_file", book, "--output", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# The loop

def test_the_loop_is_the_plain_one(trained, book):
    folder = trained("--dropout_keep_prob", 1, "--eval_fraction", 0, "--seed", 3, "--max_norm", 0.3)
    text = TextDataset(book, 5)
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
    found = run.read_metrics(folder / "metrics.csv")
    assert [row["step"] for row in found] == [2, 4, 5, 6, 8, 10, 12]
    for row in found:
        assert (row["loss"], row["accuracy"]) == pytest.approx(rows[row["step"]], rel=1e-5)
        assert row["learning_rate"] == pytest.approx(2e-3 * 0.96 ** ((row["step"] - 1) // 3))
        assert row["eval_loss"] is row["bits_per_character"] is None
    for name, weight in weights_of(folder).items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_a_learning_rate_that_decays_to_nothing_stops_the_learning(trained):
    one, five = (weights_of(trained("--learning_rate_decay", 1e-30, "--learning_rate_step", 1, "--train_steps", steps))
                 for steps in (1, 5))
    assert same(one, five)
    assert not same(one, weights_of(trained("--learning_rate_decay", 1, "--train_steps", 5)))


def test_a_gradient_that_is_clipped_to_nothing_moves_nothing(trained):
    clipped, free = (weights_of(trained("--max_norm", norm)) for norm in (1e-30, 5))
    assert not same(clipped, free)
    torch.manual_seed(0)
    config = train_text.parse_args([*map(str, TINY)])
    assert same(clipped, train_text.make_model(config, len(set(BOOK)), "cpu").state_dict())


def test_dropout_is_in_the_training(trained):
    assert rows_of(trained("--dropout_keep_prob", 1)) != rows_of(trained("--dropout_keep_prob", 0.8))


def test_it_learns(trained):
    folder = trained("--train_steps", 200, "--learning_rate", 0.03, "--lstm_num_hidden", 24, "--print_every", 10,
                     "--sample_every", 1000, "--dropout_keep_prob", 1, "--batch_size", 16, "--learning_rate_step", 5000,
                     "--seq_length", 20)
    rows = run.read_metrics(folder / "metrics.csv")
    assert rows[0]["loss"] > 2.5 and rows[-1]["loss"] < 0.6 and rows[-1]["accuracy"] > 0.8
    assert rows[-1]["bits_per_character"] < 1.5


def test_the_seed_decides_everything(trained):
    first, again, other = trained("--seed", 5), trained("--seed", 5), trained("--seed", 6)
    assert identical(first, again)
    assert not same(weights_of(first), weights_of(other))
    assert (first / "samples.txt").read_text() != (other / "samples.txt").read_text()


def test_the_result_tells_the_last_row(book, tmp_path, call):
    flags = [str(flag) for flag in ("--txt_file", book, *TINY, "--output", tmp_path / "run")]
    result = train_text.train(train_text.parse_args(flags), quiet=True)
    last = run.read_metrics(tmp_path / "run" / "metrics.csv")[-1]
    assert result == {"steps": 12, "folder": str(tmp_path / "run"), **{name: last[name] for name in (
        "loss", "accuracy", "eval_loss", "bits_per_character", "seconds")}}
    status, out, _ = call(train_text, "--output", tmp_path / "run", "--resume")
    assert status == 0 and out.endswith(f"run in {run.shorter(tmp_path / 'run')}\n")
    numbers = "loss {loss:.4f}, accuracy {accuracy:.4f}, held-out {bits_per_character:.3f} bits a character"
    assert numbers.format(**last) in out


# Held-out text

def test_the_held_out_loss_is_that_of_reading_the_tail(finished, book):
    model, vocabulary = load(finished / "checkpoint.pt")
    tail = vocabulary.encode(BOOK[-round(0.2 * len(BOOK)):])
    assert len(tail) < 200  # one stream
    logits, _ = model(tail[:-1].unsqueeze(0))
    expected = cross_entropy(logits[0], tail[1:]).item()
    last = run.read_metrics(finished / "metrics.csv")[-1]
    assert last["eval_loss"] == pytest.approx(expected, rel=1e-5)
    assert last["bits_per_character"] == pytest.approx(expected / math.log(2), rel=1e-5)
    for row in run.read_metrics(finished / "metrics.csv"):
        assert (row["eval_loss"] is not None) == (row["step"] in (5, 10, 12))


@pytest.mark.parametrize("length, streams", [(2, 1), (101, 1), (351, 3), (3301, 32), (9000, 32)])
def test_a_long_tail_is_read_in_streams(length, streams, make):
    model, characters = make(keep=0.5), torch.randint(7, (length,), generator=torch.Generator().manual_seed(0))
    piece = (length - 1) // streams
    losses = []
    for k in range(streams):
        part = characters[k * piece:(k + 1) * piece + 1]
        losses.append(cross_entropy(model(part[:-1].unsqueeze(0))[0][0], part[1:]).item())
    model.train()
    assert train_text.evaluate(model, characters) == pytest.approx(sum(losses) / streams)
    assert model.training


def test_the_held_out_text_is_not_trained_on(tmp_path, call):
    (tmp_path / "book.txt").write_text("ab" * 200 + "c" * 100)
    status, *_ = call(train_text, "--txt_file", tmp_path / "book.txt", *TINY, "--train_steps", 200, "--sample_every",
                      1000, "--learning_rate", 0.05, "--print_every", 100, "--output", tmp_path / "run")
    last = run.read_metrics(tmp_path / "run" / "metrics.csv")[-1]
    assert status == 0 and last["loss"] < 0.5 and last["eval_loss"] > 3


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
    (12, 1000, [4, 8, 12]), (12, 5, [4, 5, 8, 10, 12]), (10, 1000, [4, 7, 10]), (1, 100, [1]), (2, 100, [1, 2]),
    (3, 3, [1, 2, 3])])
def test_samples_come_at_each_third_and_when_due(steps, every, expected, trained):
    assert list(blocks(trained("--train_steps", steps, "--sample_every", every))) == expected


def test_thirds_are_whole_updates():
    assert train_text.stages(8441) == [2814, 5628, 8441]
    assert train_text.stages(1_000_000) == [333334, 666667, 1_000_000]
    assert all(train_text.stages(n)[2] == n and 1 <= train_text.stages(n)[0] for n in range(1, 200))


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
    folder = trained("--temperature", 0, "--gen_input", "The\nfox".replace("\n", " "), "--train_steps", 1)
    lines = blocks(folder)[1]
    assert [length for _, length, _ in lines[:3]] == [22, 37, 97]
    assert all(text.startswith("The fox") and len(text) == length for _, length, text in lines)
    assert len({text for *_, text in lines[2::3]}) == 5  # uniform draws; greedy ones would be all the same


def test_an_infinite_temperature_is_greedy_and_its_config_is_json(trained):
    folder = trained("--temperature", "inf", "--gen_input", "The", "--train_steps", 1)
    assert len({text for *_, text in blocks(folder)[1][2::3]}) == 1
    assert "Infinity" not in (folder / "config.json").read_text()


# Kill and resume

def _train_and_die(flags, method, number, after):
    """Train in this process; SIGKILL it at call `number` of a method of `run.Run`, before the call or after it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    original, calls = getattr(run.Run, method), 0

    def watched(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *args, **kwargs)
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(run.Run, method, watched)
    cli.main(train_text.parse_args, train_text.main, flags)


MOMENTS = [("save", 2, True), ("save", 3, False), ("append", 3, True), ("log", 5, True), ("check_finite", 6, False),
           ("save", 2, False), ("append", 1, True)]


@pytest.mark.parametrize("method, number, after", MOMENTS)
def test_a_killed_run_goes_on_to_the_same_bits(method, number, after, book, finished, tmp_path, call):
    flags = [str(flag) for flag in ("--txt_file", book, *TINY, "--output", tmp_path / "run")]
    process = context.Process(target=_train_and_die, args=(flags, method, number, after))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert run.load_checkpoint(tmp_path / "run" / "checkpoint.pt", train_text.SCRIPT)["step"] < 12
    assert call(train_text, "--output", tmp_path / "run", "--resume")[0] == 0
    assert identical(tmp_path / "run", finished)


@pytest.mark.parametrize("update", [1, 4, 5, 7, 11])
def test_an_interrupted_run_says_how_to_go_on_and_does(update, book, finished, tmp_path, call, monkeypatch):
    check, folder = run.Run.check_finite, tmp_path / "run"

    def interrupt(self, **values):
        check(self, **values)
        if self.step == update and "loss" in values:  # once in an update: a second signal would end the run at once
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "check_finite", interrupt)
        status, _, err = call(train_text, "--txt_file", book, *TINY, "--output", folder)
    assert status == 130 and err.count("\n") == 1 and f"saved up to update {update}; go on with: " in err
    monkeypatch.chdir(tmp_path)  # the book is found from any folder
    assert call(train_text, "--output", "run", "--resume")[0] == 0
    assert identical(folder, finished)


def test_a_finished_run_may_grow(trained, finished):
    grown, whole = copy(finished, trained().parent / "grown"), trained("--train_steps", 20)
    train_text.train(train_text.parse_args(["--output", str(grown), "--resume", "--train_steps", "20"]), quiet=True)
    assert same(weights_of(grown), weights_of(whole))
    pairs = zip(*(run.read_metrics(folder / "metrics.csv") for folder in (grown, whole)), strict=True)
    for row, expected in pairs:
        held_out = {"eval_loss", "bits_per_character"} if row["step"] == 12 else set()  # it was the last update once
        assert all(row[name] == expected[name] for name in set(row) - held_out - {"seconds"})
    assert list(blocks(grown)) == [4, 5, 8, 10, 12, 14, 15, 20]


def test_a_run_does_not_go_on_with_another_book(book, tmp_path, call, refused):
    mine, folder = tmp_path / "mine.txt", tmp_path / "run"
    mine.write_text(BOOK)
    assert call(train_text, "--txt_file", mine, *TINY, "--output", folder)[0] == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for other in (BOOK[:-1] + "!", BOOK[1:] + BOOK[0]):  # another vocabulary, and the same one
        mine.write_text(other)
        line = refused(train_text, "--output", folder, "--resume", "--train_steps", 20)
        assert "the training data is not what" in line
    assert "--txt_file is" in refused(train_text, "--output", folder, "--resume", "--txt_file", book)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    mine.unlink()
    assert "No such file" in refused(train_text, "--output", folder, "--resume")


@pytest.mark.parametrize("name, value", [
    ("seq_length", 6), ("lstm_num_hidden", 7), ("batch_size", 5), ("learning_rate", 1e-3), ("learning_rate_decay", 0.5),
    ("learning_rate_step", 4), ("dropout_keep_prob", 1.0), ("max_norm", 1.0), ("print_every", 3), ("sample_every", 4),
    ("temperature", 1.0), ("gen_input", "The"), ("precision", "bf16"), ("eval_fraction", 0.3), ("seed", 9),
    ("train_steps", 11), ("strip_gutenberg", None)])
def test_changed_flags_are_refused(name, value, finished, refused):
    flags = [f"--{name}"] if value is None else [f"--{name}", value]
    assert f"--{name}" in refused(train_text, "--output", finished, "--resume", *flags)


def test_flags_may_be_typed_again(book, finished, call, tmp_path, monkeypatch):
    folder = copy(finished, tmp_path / "run")
    monkeypatch.chdir(book.parent)
    assert call(train_text, "--txt_file", book.name, *TINY, "--output", folder, "--resume")[0] == 0
    assert identical(folder, finished)


# TensorBoard and precision

def test_without_tensorboard_it_says_so_once(book, tmp_path, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.chdir(tmp_path)
    status, out, err = call(train_text, "--txt_file", book, *TINY, "--output", "run")
    assert (status, err) == (0, "") and out.count("TensorBoard is not installed") == 1
    assert os.listdir(tmp_path) == ["run"]


def test_with_tensorboard_every_number_goes_there(book, finished, tmp_path, call, monkeypatch):
    written, opened = [], []

    class SummaryWriter(contextlib.AbstractContextManager):
        def __init__(self, folder, purge_step):
            opened.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((step, name, value))

        def __exit__(self, *exception):
            opened.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    status, out, _ = call(train_text, "--txt_file", book, *TINY, "--output", tmp_path / "run", "--summary_path",
                          tmp_path / "summaries")
    assert status == 0 and "TensorBoard" not in out
    assert opened == [(tmp_path / "summaries" / "run", 1), "closed"]
    rows = run.read_metrics(tmp_path / "run" / "metrics.csv")
    assert written == [(row["step"], name, value) for row in rows for name, value in row.items()
                       if name not in ("step", "seconds") and value is not None]
    assert call(train_text, "--output", tmp_path / "run", "--resume", "--train_steps", 14)[0] == 0
    assert opened[2] == (tmp_path / "summaries" / "run", 13)


@pytest.mark.parametrize("fast", [None, False])
def test_bf16_is_nearly_fp32(fast, trained, finished, monkeypatch, capsys):
    if fast is not None:
        monkeypatch.setattr(train_text, "bf16_kernels", lambda device: fast)
    told = not train_text.bf16_kernels(torch.device("cpu"))
    before = torch.backends.mkldnn.is_available(), torch._C._get_mkldnn_enabled()
    folder = trained("--precision", "bf16")
    assert (torch.backends.mkldnn.is_available(), torch._C._get_mkldnn_enabled()) == before
    rows, exact = (run.read_metrics(path / "metrics.csv") for path in (folder, finished))
    assert all(weight.dtype == torch.float32 for weight in weights_of(folder).values())
    for row, exact_row in zip(rows, exact, strict=True):
        assert row["loss"] == pytest.approx(exact_row["loss"], rel=0.02)
    assert [row["loss"] for row in rows] != [row["loss"] for row in exact]


def test_a_processor_without_bf16_is_told(book, tmp_path, call, monkeypatch):
    for fast in (False, True):
        monkeypatch.setattr(train_text, "bf16_kernels", lambda device: fast)
        if fast and not run.torch.ops.mkldnn._is_mkldnn_bf16_supported():
            continue
        _, out, _ = call(train_text, "--txt_file", book, *TINY, "--precision", "bf16", "--output", tmp_path / str(fast))
        assert out.count("this CPU has no units for bf16") == (not fast)


def test_looking_for_bf16_changes_no_randomness():
    state = torch.get_rng_state()
    assert train_text.bf16_kernels(torch.device("cpu")) in (True, False)
    assert torch.get_rng_state().equal(state)


# Failures

def test_a_loss_that_is_not_finite_is_one_line_and_the_checkpoint_stays(book, tmp_path, call, monkeypatch):
    monkeypatch.setattr(train_text, "evaluate", lambda model, characters: math.nan)
    status, _, err = call(train_text, "--txt_file", book, *TINY, "--output", tmp_path / "run")
    assert status == 1 and err.count("\n") == 1 and "held_out_loss became nan at update 5" in err
    assert run.load_checkpoint(tmp_path / "run" / "checkpoint.pt", train_text.SCRIPT)["step"] == 4


def test_it_runs_as_a_file_from_any_folder(book, tmp_path):
    flags = ["--txt_file", book.name, *TINY, "--output", tmp_path / "run"]
    found = subprocess.run([sys.executable, cli.ROOT / "part2" / "train_text.py", *map(str, flags)], cwd=book.parent,
                           capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert (found.returncode, found.stderr) == (0, "")
    assert {"checkpoint.pt", "config.json", "metrics.csv", "samples.txt"} <= set(os.listdir(tmp_path / "run"))
    assert run.read_json(tmp_path / "run" / "config.json")["txt_file"] == str(book)
