"""A run that was killed, at any moment and as often as you like, ends with the bits of one that was not."""
import random
import signal
import time

from part1 import run
import pytest
import torch

from part1 import train
from part1.tests.test_run import same

TINY = ["--num_hidden", 6, "--batch_size", 4, "--input_length", 3, "--eval_size", 20, "--seed", 3, "--device", "cpu"]
SHORT = [*TINY, "--train_steps", 7, "--eval_every", 3]  # evaluations at 3, 6 and, off the schedule, 7
LONG = [*TINY, "--train_steps", 150, "--eval_every", 7]
RUNS = {
    "RNN, RMSProp": [], "RNN, one-hot": ["--input_dim", 10, "--init", "orthogonal"],
    "LSTM, Adam": ["--model_type", "LSTM", "--optimizer", "adam", "--forget_bias", "chrono"],
    "peephole LSTM, SGD": ["--model_type", "PeepLSTM", "--optimizer", "sgd", "--init", "kaiming"],
    "binary": ["--dataset", "binary_palindrome", "--input_length", 2, "--input_dim", 3]}


def metrics(folder):
    """The lines of metrics.csv without the seconds, which come last."""
    return [line.rsplit(",", 1)[0] for line in (folder / "metrics.csv").read_text().splitlines()]


def assert_bit_identical(one, other):
    """The interface's promise: weights, optimizer, generator states, every column of the metrics but times."""
    first, second = (run.load_checkpoint(folder / "checkpoint.pt", "part1.train") for folder in (one, other))
    for name in set(run.CHECKPOINT_KEYS) - {"seconds"}:
        assert same(first[name], second[name]), name
    assert first["parts"].keys() == {"model", "optimizer", "training_data"}
    assert metrics(one) == metrics(other)
    assert run.read_json(one / "config.json") == run.read_json(other / "config.json")
    for folder in (one, other):
        seconds = [row["seconds"] for row in run.read_metrics(folder / "metrics.csv")]
        assert seconds == sorted(seconds)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """`reference(*flags)`: the folder of an uninterrupted run with these flags, made once."""
    made = {}

    def reference(*flags):
        if flags not in made:
            made[flags] = tmp_path_factory.mktemp("reference") / "run"
            config = train.parse_args([*map(str, flags), "--output", str(made[flags])])
            train.train(config, quiet=True)
        return made[flags]

    return reference


def test_the_same_flags_give_the_same_bits_and_another_seed_gives_others(reference, tmp_path, call):
    call(train, *SHORT, "--output", tmp_path / "again")
    assert_bit_identical(tmp_path / "again", reference(*SHORT))
    call(train, *SHORT, "--seed", 4, "--output", tmp_path / "other")
    assert metrics(tmp_path / "other") != metrics(tmp_path / "again")


def test_a_run_killed_at_random_moments_goes_on_to_the_same_bits(reference, tmp_path, start):
    folder, chance = tmp_path / "run", random.Random(0)
    kills, steps = 0, []
    while kills < 4:
        saved = (folder / "checkpoint.pt").exists()
        process = start(*(["--resume"] if saved else LONG), "--output", folder)
        process.until((folder / ".lock").exists)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        status, output = process.wait()
        if status == 0:
            break
        assert status == -signal.SIGKILL, output
        kills += 1
        if (folder / "checkpoint.pt").exists():
            steps.append(run.load_checkpoint(folder / "checkpoint.pt", "part1.train")["step"])
    assert kills and steps == sorted(steps)
    status, output = start("--resume", "--output", folder).wait()
    assert status == 0, output
    assert_bit_identical(folder, reference(*LONG))


def test_a_run_killed_before_any_file_operation_goes_on_to_the_same_bits(reference, tmp_path, start, call):
    operation, status, steps = 0, -signal.SIGKILL, set()
    while status == -signal.SIGKILL:
        operation += 1
        folder = tmp_path / str(operation)
        status, output = start(*SHORT, "--output", folder, patch=("kill at", operation)).wait()
        assert status in (0, -signal.SIGKILL), output
        if (folder / "checkpoint.pt").exists():
            steps.add(run.load_checkpoint(folder / "checkpoint.pt", "part1.train")["step"])
            flags = ["--resume"]
        else:
            assert "there is no checkpoint" in call(train, "--resume", "--output", folder)[2]
            flags = SHORT
        resumed, _, err = call(train, *flags, "--output", folder)
        assert (resumed, err) == (0, "")
        assert_bit_identical(folder, reference(*SHORT))
    # Three operations write a file; the checkpoint and config.json, then thrice a row, its fsync and a checkpoint.
    assert operation == 6 + 3 * 5 + 1 and steps == {0, 3, 6, 7}


@pytest.mark.parametrize("flags", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("first", [1, 3, 4, 6])
def test_a_run_that_grows_equals_a_straight_one(flags, first, reference, tmp_path, call):
    folder = tmp_path / "run"
    assert call(train, *SHORT, *flags, "--train_steps", first, "--output", folder)[0] == 0
    status, _, err = call(train, "--output", folder, "--resume", "--train_steps", 7)
    assert (status, err) == (0, "")
    assert_bit_identical(folder, reference(*SHORT, *flags))


def test_growing_in_many_steps_equals_a_straight_run_too(reference, tmp_path, call):
    folder = tmp_path / "run"
    call(train, *SHORT, "--train_steps", 1, "--output", folder)
    for steps in (2, 2, 4, 5, 7, 7):
        assert call(train, "--output", folder, "--resume", "--train_steps", steps)[0] == 0
        assert metrics(folder)[-1].startswith(f"{steps},")
    assert_bit_identical(folder, reference(*SHORT))


def test_a_finished_run_stays_what_it_is(reference, tmp_path, call):
    folder = tmp_path / "run"
    call(train, *SHORT, "--output", folder)
    before = {name: (folder / name).read_bytes() for name in ("checkpoint.pt", "metrics.csv", "config.json")}
    status, out, _ = call(train, "--output", folder, "--resume")
    assert status == 0 and "after 7 updates" in out
    assert before == {name: (folder / name).read_bytes() for name in before}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(signum, reference, tmp_path, start, call):
    folder = tmp_path / "run"
    status, output = start(*LONG, "--output", folder, patch=("signal at", 3, signum)).wait()
    assert status == 128 + signum, output
    assert run.load_checkpoint(folder / "checkpoint.pt", "part1.train")["step"] == 21
    assert call(train, "--output", folder, "--resume")[0] == 0
    assert_bit_identical(folder, reference(*LONG))


def test_seconds_count_the_time_before_the_interruption(tmp_path, call):
    folder = tmp_path / "run"
    call(train, *SHORT, "--output", folder)
    assert run.load_checkpoint(folder / "checkpoint.pt", "part1.train")["seconds"] < 100
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True) | {"seconds": 1000.0}
    torch.save(checkpoint, folder / "checkpoint.pt")
    call(train, "--output", folder, "--resume", "--train_steps", 9)
    last = run.read_metrics(folder / "metrics.csv")[-1]
    assert last["step"] == 9 and 1000 < last["seconds"] < 1100


def test_a_run_stopped_early_at_its_target_does_not_go_on(tmp_path, call):
    folder = tmp_path / "run"
    call(train, *SHORT, "--target_accuracy", 1e-9, "--output", folder)
    assert [row["step"] for row in run.read_metrics(folder / "metrics.csv")] == [3, 6]
    before = (folder / "checkpoint.pt").read_bytes()
    assert "after 6 updates" in call(train, "--output", folder, "--resume", "--train_steps", 50)[1]
    assert (folder / "checkpoint.pt").read_bytes() == before


def test_torchs_own_random_numbers_go_on_too(tmp_path, call, monkeypatch):
    """Dropout, say, would draw from them."""
    monkeypatch.setattr(train, "evaluate", lambda *args: (torch.rand(()).item(), 0.5))
    call(train, *SHORT, "--output", tmp_path / "straight")
    call(train, *SHORT, "--train_steps", 3, "--output", tmp_path / "grown")
    torch.manual_seed(99)
    call(train, "--output", tmp_path / "grown", "--resume", "--train_steps", 7)
    assert_bit_identical(tmp_path / "straight", tmp_path / "grown")
