"""The benchmark at a small size, and the plain loop that it compares with."""
import math
import os
import types

import pytest
import torch
from torch.utils.data import DataLoader

from part1 import cli, files, run
from part2 import benchmark, train_text


def test_the_benchmark_measures_everything(tmp_path, call, monkeypatch):
    book = tmp_path / "book.txt"
    book.write_text("The fox ran and the dog sat. " * 9)

    def train_apart(command, env, **kwargs):
        """Stands for a training in other processes: 20 updates per second, 30 with two of them; one row is slow."""
        updates_per_second = 30 if "--nproc_per_node=2" in command else 20
        settings = train_text.parse_args(command[command.index("part2.train_text") + 1:])
        assert env["OMP_NUM_THREADS"] == "1" and settings.train_steps == 20 and settings.txt_file == str(book)
        seconds = [7, 7 + 5 / updates_per_second, 7 + 10 / updates_per_second, 9]
        files.write_csv(settings.output / "metrics.csv",
                        [{"step": step, "seconds": s} for step, s in zip((5, 10, 15, 18), seconds)])
        return types.SimpleNamespace(returncode=0)

    official = train_text.parse_args
    small = ["--lstm_num_hidden", "4", "--batch_size", "3", "--seq_length", "4"]
    monkeypatch.setattr(train_text, "parse_args", lambda argv: official([*argv, *small]))
    monkeypatch.setattr(benchmark.subprocess, "run", train_apart)
    monkeypatch.chdir(tmp_path)
    status, out, err = call(benchmark, "--txt_file", "book.txt", "--updates", 20, "--repeats", 2, "--length", 5,
                            "--processes", 2, "--output", tmp_path / "out")
    assert (status, err) == (0, "")
    rows = {row["comparison"]: row for row in files.read_csv(tmp_path / "out" / "benchmark.csv")}
    assert list(rows) == ["training / bare loop", "training / slow loader", "training, bf16 / fp32",
                          "loss, bf16 / fp32", "generation / one at a time", "training, 2 processes / 1"]
    for name, row in rows.items():
        assert 0 < row["quartile_1"] <= row["ratio"] <= row["quartile_3"] < math.inf and name in out
    assert 0.9 < rows["loss, bf16 / fp32"]["ratio"] < 1.1
    assert rows["training, 2 processes / 1"]["ratio"] == pytest.approx(1.5)
    assert sorted(os.listdir(tmp_path)) == ["book.txt", "out"]


def test_the_other_side_trains_the_same_network(tmp_path):
    settings = train_text.parse_args(["--seq_length", "5", "--lstm_num_hidden", "6", "--batch_size", "4", "--train_steps",
                                      "12", "--max_norm", "0.3", "--output", str(tmp_path / "run")])
    text = benchmark.SlowDataset(settings.txt_file, 5)
    inputs, targets = next(iter(DataLoader(text, 64)))
    assert inputs.equal(text.windows[:64, :-1]) and targets.equal(text.windows[:64, 1:])
    train_text.train(settings, quiet=True)
    ours = {row["step"]: row["loss"] for row in files.read_csv(tmp_path / "run" / "metrics.csv")}
    torch.manual_seed(0)
    generator = run.generator(0, "training data")
    batches = [text.batch(4, generator) for _ in range(12)]
    rows = benchmark.bare_training(batches, settings, text.vocab_size, torch.device("cpu"))
    assert [row["step"] for row in rows] == [5, 10]
    assert [row["loss"] for row in rows] == pytest.approx([ours[5], ours[10]], rel=1e-5)


def test_processes_that_cannot_train_are_an_error(monkeypatch):
    monkeypatch.setattr(benchmark.subprocess, "run", lambda *args, **kwargs: types.SimpleNamespace(
        returncode=1, stderr="error: no room\nE torchrun\n"))
    with pytest.raises(cli.RunFailed, match="^2 processes could not train: error: no room"):
        benchmark.our_training(benchmark.parse_args([]), 0, processes=2)


@pytest.mark.parametrize("flags, message", [
    (["--processes", 1], "at least 2"), (["--txt_file", "missing"], "No such file"), (["--updates", 3], "at least 10"),
    (["--device", "x"], "--device is one of")])
def test_a_wrong_benchmark_is_one_line(flags, message, tmp_path, refused):
    assert message in refused(benchmark, "--output", tmp_path / "out", *flags)
    assert not os.listdir(tmp_path)
