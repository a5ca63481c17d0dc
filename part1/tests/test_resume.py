"""A run that was killed, at any moment and as often as you like, ends bit-identical to one that was not."""
import os
import shutil
import signal

import pytest
import torch

from part1 import checkpoint, files, run, train
from part1.tests import background
from part1.tests.test_run import change, same

TINY = ["--num_hidden", 6, "--batch_size", 4, "--input_length", 3, "--eval_size", 20, "--seed", 3, "--device", "cpu"]
SHORT = [*TINY, "--train_steps", 7, "--eval_every", 3]  # evaluations at 3, 6 and, off the schedule, 7
LONG = [*TINY, "--train_steps", 150, "--eval_every", 7]
RUNS = {
    "RNN": ["--model_type", "RNN"],
    "LSTM, Adam": ["--model_type", "LSTM", "--optimizer", "adam", "--forget_bias", "chrono"],
    "peephole LSTM, SGD": ["--model_type", "PeepLSTM", "--optimizer", "sgd", "--init", "kaiming"],
    "binary": ["--dataset", "binary_palindrome", "--input_length", 2, "--input_dim", 3, "--init", "orthogonal"],
    "Baum-Sweet": ["--dataset", "baum_sweet", "--input_length", 6],
    "combinations": ["--dataset", "random_combinations", "--input_length", 5, "--input_dim", 5]}


def load(folder):
    return run.load_checkpoint(folder / "checkpoint.pt", "part1.train")


def metrics(folder):
    """The lines of metrics.csv without the seconds, which come last."""
    return [line.rsplit(",", 1)[0] for line in (folder / "metrics.csv").read_text().splitlines()]


def assert_bit_identical(one, other):
    """The interface's promise: weights, optimizer, generator states, every column of the metrics but times."""
    first, second = load(one), load(other)
    for name in checkpoint.CONTENT.keys() - {"seconds", "files"}:
        assert same(first[name], second[name]), name
    assert metrics(one) == metrics(other)
    assert files.read_json(one / "config.json") == files.read_json(other / "config.json")
    for folder in (one, other):
        seconds = [row["seconds"] for row in files.read_csv(folder / "metrics.csv")]
        assert seconds == sorted(seconds)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """`reference(*flags)`: the folder of an uninterrupted run with these flags, made once."""
    made = {}

    def reference(*flags):
        if flags not in made:
            made[flags] = tmp_path_factory.mktemp("reference") / "run"
            train.train(train.parse_args([*map(str, flags), "--output", str(made[flags])]), quiet=True)
        return made[flags]

    return reference


def test_the_same_flags_give_the_same_bits_and_another_seed_gives_others(reference, tmp_path, call):
    call(train, *SHORT, "--output", tmp_path / "again")
    assert_bit_identical(tmp_path / "again", reference(*SHORT))
    call(train, *SHORT, "--seed", 4, "--output", tmp_path / "other")
    assert metrics(tmp_path / "other") != metrics(tmp_path / "again")


@pytest.mark.parametrize("first, saved", [(None, {0, 3, 6, 7}), (4, {4, 6, 7}), (2, {2, 3, 6, 7})], ids=[
    "a new run", "a run that grows", "a run that grows and had one row"])
def test_a_run_killed_before_any_file_operation_goes_on_bit_identically(first, saved, reference, tmp_path, call,
                                                                        monkeypatch):
    """A copy of the folder is what a kill at that moment would leave: no write waits in a buffer."""
    folder, left, steps = tmp_path / "run", [], set()

    def watched(operation):
        def copy_first(*args):
            if folder.exists():
                left.append(shutil.copytree(folder, tmp_path / f"killed {len(left)}"))
            return operation(*args)
        return copy_first

    if first:  # the last row of this run is not a row of the longer one
        call(train, *SHORT, "--train_steps", first, "--output", folder)
    with monkeypatch.context() as patch:
        for owner, name in ((os, "fsync"), (os, "replace"), (files.Appended, "append")):
            patch.setattr(owner, name, watched(getattr(owner, name)))
        assert call(train, *(["--resume", "--train_steps", 7] if first else SHORT), "--output", folder)[0] == 0
    for folder in (*left, folder):
        begun = (folder / "checkpoint.pt").exists()
        steps |= {load(folder)["step"]} if begun else set()
        assert call(train, *(["--resume", "--train_steps", 7] if begun else SHORT), "--output", folder)[::2] == (0, "")
        assert_bit_identical(folder, reference(*SHORT))
    assert len(left) > 10 and steps == saved


@pytest.mark.parametrize("flags", RUNS.values(), ids=RUNS)
def test_a_run_that_grows_equals_a_straight_one(flags, reference, tmp_path, call):
    call(train, *SHORT, *flags, "--train_steps", 1, "--output", tmp_path)
    for steps in (2, 2, 3, 4, 6, 7, 7) if flags == RUNS["RNN"] else (4, 7):
        status, out, err = call(train, "--output", tmp_path, "--resume", "--train_steps", steps)
        assert (status, err) == (0, "") and f"after {steps} updates" in out
        assert metrics(tmp_path)[-1].startswith(f"{steps},")
    assert_bit_identical(tmp_path, reference(*SHORT, *flags))


def test_a_run_that_was_stopped_goes_on_bit_identically(reference, tmp_path, start, call):
    status, output = start(*LONG, "--output", tmp_path / "run", patch=(background.signal_at, 3, signal.SIGINT)).wait()
    assert status == 130, output
    assert load(tmp_path / "run")["step"] == 21
    assert call(train, "--output", tmp_path / "run", "--resume")[0] == 0
    assert_bit_identical(tmp_path / "run", reference(*LONG))


def test_seconds_count_the_time_before_the_interruption(tmp_path, call):
    call(train, *SHORT, "--output", tmp_path)
    assert load(tmp_path)["seconds"] < 100
    change(tmp_path, seconds=1000.0)
    call(train, "--output", tmp_path, "--resume", "--train_steps", 9)
    last = files.read_csv(tmp_path / "metrics.csv")[-1]
    assert last["step"] == 9 and 1000 < last["seconds"] < 1100


def test_a_run_stopped_early_at_its_target_does_not_go_on(tmp_path, call):
    call(train, *SHORT, "--target_accuracy", 1e-9, "--output", tmp_path)
    assert [row["step"] for row in files.read_csv(tmp_path / "metrics.csv")] == [3, 6]
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert "after 6 updates" in call(train, "--output", tmp_path, "--resume", "--train_steps", 50)[1]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_torchs_own_random_numbers_go_on_too(tmp_path, call, monkeypatch):
    """Dropout, say, would draw from them."""
    monkeypatch.setattr(train, "evaluate", lambda *args: (torch.rand(()).item(), 0.5))
    call(train, *SHORT, "--output", tmp_path / "straight")
    call(train, *SHORT, "--train_steps", 3, "--output", tmp_path / "grown")
    torch.manual_seed(99)
    call(train, "--output", tmp_path / "grown", "--resume", "--train_steps", 7)
    assert_bit_identical(tmp_path / "straight", tmp_path / "grown")
