"""The `--help` of every script of Part 2, and its benchmark at a small size."""
import csv
import importlib
import math
import os
import re
import types

from part1 import cli, run  # before torch, see part1/run.py
import pytest
import torch

from part2 import benchmark, train_text
from part2.dataset import TextDataset
from part2.tests.test_generate import SEVEN

SCRIPTS = sorted(path.stem for path in (cli.ROOT / "part2").glob("*.py") if "cli.main(" in path.read_text())


def actions(script, monkeypatch):
    """The flags of a script, as argparse keeps them."""
    parsers, parse_known_args = [], cli.Parser.parse_known_args

    def note(self, *args):
        parsers.append(self)
        return parse_known_args(self, *args)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(cli.Parser, "parse_known_args", note)
        importlib.import_module(f"part2.{script}").parse_args(["--help"])
    return parsers[0]._actions


def test_all_scripts_are_looked_at():
    assert SCRIPTS == ["benchmark", "generate", "inspect_text", "study", "train_text"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_every_flag(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "5000")  # every flag on a line of its own
    flags = actions(script, monkeypatch)
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m part2.{script} ")
    for action in flags:
        line, = re.findall(rf"^  (?:-h, )?{action.option_strings[-1]}\b.*\n(?:   .*\n)*", text, re.MULTILINE)
        assert action.help and action.help.replace("%%", "%") in line
    assert "(default: None)" not in text and "(default: False)" not in text


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_flag_takes_a_number_without_bounds(script, monkeypatch):
    for action in actions(script, monkeypatch):  # a bare int or float would let negative sizes, NaN and infinity pass
        assert action.type not in (int, float), action.dest


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("flags", [["--nonsense"], ["--output"], ["stray"]])
def test_every_script_answers_a_wrong_flag_with_one_line(script, flags, refused):
    assert "part2." in refused(importlib.import_module(f"part2.{script}"), *flags)


# The benchmark

def test_the_benchmark_measures_everything(tmp_path, call):
    book, turns = tmp_path / "book.txt", []
    book.write_text("The fox ran and the dog sat. " * 9)

    def train_apart(command, env, **kwargs):
        """Stands for a training in other processes: 20 updates a second, 30 with two of them; some rows are slow."""
        at = command.index("part2.train_text")
        turns.append(command[2:at])
        settings, updates_per_second = train_text.parse_args(command[at + 1:]), 30 if turns[-1] else 20
        assert env["OMP_NUM_THREADS"] == "1" and settings.train_steps == 18 and settings.txt_file == str(book)
        settings.output.mkdir(exist_ok=True)
        seconds = [7, 7 + 5 / updates_per_second, 7 + 10 / updates_per_second, 9]
        run.write_csv(settings.output / "metrics.csv",
                      [{"step": step, "seconds": s} for step, s in zip((5, 10, 15, 18), seconds)])
        return types.SimpleNamespace(returncode=0)

    with pytest.MonkeyPatch.context() as patch:
        official = train_text.parse_args
        small = ["--lstm_num_hidden", "4", "--batch_size", "3", "--seq_length", "4"]
        patch.setattr(train_text, "parse_args", lambda argv: official([*argv, *small]))
        patch.setattr(benchmark.subprocess, "run", train_apart)
        status, out, err = call(benchmark, "--txt_file", book, "--updates", 18, "--bf16_updates", 60, "--repeats", 2,
                                "--length", 5, "--processes", 2, "--output", tmp_path / "out")
    assert (status, err) == (0, "")
    with open(tmp_path / "out" / "benchmark.csv", newline="") as file:
        rows = {row["comparison"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["training / bare loop", "training / slow loader", "training, bf16 / fp32",
                          "loss, bf16 / fp32", "generation / one at a time", "training, 2 processes / 1"]
    # Rows of metrics after 5, 10, 15 and 18 updates; samples after 6, 12 and 18.
    assert [int(row["turns"]) for row in rows.values()] == [1, 1, 2, 1, 2, 2]
    for name, row in rows.items():
        ours, other, ratio, low, high = (float(row[key]) for key in
                                         ("ours", "other", "ratio", "quartile_1", "quartile_3"))
        assert 0 < low <= ratio <= high < math.inf and name in out
        if row["turns"] == "1":
            assert ratio == pytest.approx(ours / other)
    assert 0.9 < float(rows["loss, bf16 / fp32"]["ratio"]) < 1.1
    assert float(rows["training, 2 processes / 1"]["ratio"]) == pytest.approx(1.5)
    assert turns == 2 * [["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"], []]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "out"]


def test_the_other_side_trains_the_same_network(tmp_path):
    config = benchmark.parse_args(["--updates", "20"])
    text = TextDataset(config.txt_file, 30)
    for batches in (benchmark.ready_batches, benchmark.slow_batches):
        torch.manual_seed(0)
        inputs, targets = next(iter(batches(config, text, 64)))
        assert inputs.shape == (64, 30, text.vocab_size) and inputs.dtype == torch.float32 and targets.shape == (64, 30)
        assert inputs.argmax(dim=2)[:, 1:].equal(targets[:, :-1]) and (inputs.sum(dim=2) == 1).all()
    losses = [loss.item() for loss in benchmark.plain_training(config, text, [(inputs, targets)] * 15)]
    assert losses[0] == pytest.approx(math.log(text.vocab_size), abs=0.2) and losses[-1] < losses[0] - 0.3


def test_processes_that_cannot_train_are_an_error(monkeypatch):
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *args, **kwargs: types.SimpleNamespace(
        returncode=1, stderr="W torchrun\nerror: no room\nE torchrun\n"))
    with pytest.raises(cli.RunFailed, match="^2 processes could not train: error: no room$"):
        benchmark.updates_per_second(benchmark.parse_args([]), 2)


def test_one_at_a_time_writes_the_length_it_is_asked_for(make):
    text = benchmark.one_at_a_time(make(), SEVEN, 12, torch.Generator().manual_seed(0))
    assert len(text) == 12 and set(text) <= set("abcdefg")


@pytest.mark.parametrize("flags, message", [
    (["--processes", 1], "at least 2"), (["--txt_file", "missing"], "No such file"), (["--updates", 3], "at least 15"),
    (["--bf16_updates", 1], "at least 50"), (["--repeats", 0], "at least 1"),
    (["--device", "x"], "--device is one of"), (["--length", 1], "at least 2")])
def test_a_wrong_benchmark_is_one_line(flags, message, tmp_path, refused):
    assert message in refused(benchmark, "--output", tmp_path / "out", *flags)
    assert not os.listdir(tmp_path)
