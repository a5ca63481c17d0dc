"""Several processes train as one: they agree with a single one, stop and go on together, and one of them speaks."""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys

from part1 import cli, processes, run  # before torch, see part1/run.py
import pytest
import torch

from part1.tests.test_run import same
from part2 import train_text
from part2.dataset import TextDataset
from part2.tests.background import Launch, _process, context
from part2.tests.conftest import TINY
from part2.tests.test_train_text import identical, rows_of, weights_of

LONG = ["--train_steps", 50, "--dropout_keep_prob", 1, "--max_norm", 0.3, "--learning_rate", 0.02]


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """`launch(N, *flags, **options)`: a `Launch` that has ended."""
    return lambda N, *flags, **options: Launch(tmp_path_factory.mktemp("logs"), N, flags, **options)


@pytest.fixture(scope="module")
def flags(book):
    return ["--txt_file", book, *TINY]


@pytest.fixture(scope="module")
def trained(launch, flags, tmp_path_factory):
    """`trained(N)`: the folder of a run of N processes that was never stopped, with dropout."""
    folders = {}

    def trained(N):
        if N not in folders:
            folders[N] = tmp_path_factory.mktemp("trained") / "run"
            assert launch(N, *flags, "--output", folders[N]).statuses == [0] * N
        return folders[N]
    return trained


def checkpoint_of(folder):
    return run.load_checkpoint(folder / "checkpoint.pt", train_text.SCRIPT)


# Agreement

def test_the_parts_are_the_batch(book):
    text = TextDataset(book, 5)
    for size, parts in [(4, 1), (4, 2), (4, 3), (7, 3), (5, 5)]:
        whole = text.batch(size, run.generator(0, "x"))
        pieces = [text.batch(size, run.generator(0, "x"), part, parts) for part in range(parts)]
        assert all(torch.cat(column).equal(expected) for column, expected in zip(zip(*pieces), whole, strict=True))
        assert {len(inputs) for inputs, _ in pieces} <= {size // parts, -(-size // parts)}


@pytest.fixture(scope="module")
def alone(flags, tmp_path_factory):
    """The folder of a run of a single process: float64, 50 updates, no dropout, clipping."""
    folder = tmp_path_factory.mktemp("alone")
    process = context.Process(target=_process, args=({}, folder / "log", [*flags, *LONG, "--output", folder / "run"],
                                                     {"double": True}))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return folder / "run"


def close(one, other):
    """Whether two runs agree to 1e-9 in their weights and in all columns of their metrics but the seconds."""
    weights, others = weights_of(one), weights_of(other)
    rows, other_rows = ([[value or 0 for name, value in row.items() if name != "seconds"]
                         for row in run.read_metrics(folder / "metrics.csv")] for folder in (one, other))
    return (all(weights[name].dtype == torch.float64 and weights[name].allclose(others[name], 1e-9, 1e-9)
                for name in others)
            and all(row == pytest.approx(wanted, 1e-9, 1e-9) for row, wanted in zip(rows, other_rows, strict=True)))


@pytest.mark.parametrize("N", [2, 3])  # a batch is 4 windows
def test_several_processes_learn_what_one_does(N, alone, flags, launch, tmp_path):
    folder = tmp_path / "run"
    done = launch(N, *flags, *LONG, "--output", folder, double=True)
    assert done.statuses == [0] * N and done.printed[1:] == [""] * (N - 1)
    assert close(folder, alone)
    assert (folder / "samples.txt").read_bytes() == (alone / "samples.txt").read_bytes()
    assert set(os.listdir(folder)) == set(os.listdir(alone))
    assert done.printed[0].count("update ") == len(rows_of(alone)) - 1 and "after 50 updates" in done.line()


def test_another_number_of_processes_may_go_on(alone, flags, launch, tmp_path):
    folder = tmp_path / "run"
    assert launch(2, *flags, *LONG, "--train_steps", 10, "--output", folder, double=True).statuses == [0] * 2
    assert launch(3, "--resume", "--train_steps", 30, "--output", folder, double=True).statuses == [0] * 3
    assert launch(1, "--resume", "--train_steps", 50, "--output", folder, double=True).statuses == [0]
    assert close(folder, alone)


def test_one_process_of_torchrun_is_one_process(trained, finished):
    assert identical(trained(1), finished)


def test_gpus_learn_what_a_cpu_does(alone, flags, launch, tmp_path):
    N = min(torch.cuda.device_count(), 3)
    if not N:
        pytest.skip("needs a GPU, and two to be worth it")
    done = launch(N, *flags, *LONG, "--device", "cuda", "--output", tmp_path / "run", double=True)
    assert done.statuses == [0] * N and done.printed[1:] == [""] * (N - 1)
    assert close(tmp_path / "run", alone)


@pytest.mark.parametrize("name, expected", [
    ("auto", "cuda:1"), ("cuda", "cuda:1"), ("cpu", "cpu"), ("cuda:0", "a GPU each"), ("mps", "a GPU each"),
    ("gpu", "is one of auto")])
def test_each_process_gets_a_gpu_of_its_own(name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(processes, "SIZE", 3)
    monkeypatch.setattr(processes, "LOCAL_RANK", 1)
    with pytest.raises(ValueError, match=expected) if " " in expected else contextlib.nullcontext():
        assert run.choose_device(name) == torch.device(expected)
    monkeypatch.setattr(processes, "LOCAL_RANK", 2)
    with pytest.raises(ValueError, match="no device cuda:2 here"):
        run.choose_device("cuda")


# Stopping and going on

def test_each_process_drops_out_on_its_own_and_goes_on_so(trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    assert launch(3, *flags, "--train_steps", 5, "--output", folder).statuses == [0] * 3
    random = checkpoint_of(folder)["random"]
    assert len({state["cpu"].numpy().tobytes() for state in [random, *random["others"]]}) == 3
    assert launch(3, "--resume", "--train_steps", 12, "--output", folder).statuses == [0] * 3
    assert rows_of(folder)[-1] == rows_of(trained(3))[-1]
    for key in ("parts", "random"):
        assert same(checkpoint_of(folder)[key], checkpoint_of(trained(3))[key])


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_process_ends_the_run_and_a_restart_goes_on(rank, trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    died = launch(3, *flags, "--output", folder, moments=[(0, rank, 7, "kill")])
    assert died.statuses[rank] == -signal.SIGKILL and sorted(died.statuses)[1:] == [1, 1]
    assert died.line() == ("error: another process of this run died; saved up to update 5; go on with: python -m "
                           f"part2.train_text --output {run.shorter(folder)} --resume")
    assert launch(3, *flags, "--output", folder, before=died).statuses == [0] * 3
    assert identical(folder, trained(3))


def test_a_restart_finds_a_folder_that_nobody_named(trained, flags, launch, tmp_path):
    died = launch(2, *flags, runs=tmp_path, moments=[(0, 0, 7, "kill")])
    folder, = (tmp_path / "runs").iterdir()
    assert died.statuses == [-signal.SIGKILL, 1]
    assert f"--output {run.shorter(folder)} --resume" in died.line()
    assert launch(2, *flags, runs=tmp_path, before=died).statuses == [0, 0]
    assert identical(folder, trained(2))


@pytest.mark.parametrize("action, status", [("interrupt", 130), ("terminate", 143)])
def test_a_signal_to_one_process_stops_all_after_the_same_update(action, status, trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    stopped = launch(2, *flags, "--output", folder, moments=[(0, 1, 7, action)])
    assert status in stopped.statuses and set(stopped.statuses) <= {status, -signal.SIGTERM}  # torchrun's, at the end
    assert stopped.line().startswith("stopped: saved up to update 7; go on with: python -m part2.train_text --output")
    assert launch(2, "--output", folder, "--resume").statuses == [0, 0]
    assert identical(folder, trained(2))


# One line

@pytest.mark.parametrize("more, message", [
    (["--nonsense"], "unrecognized arguments"), (["--batch_size", 1], "--batch_size 1 has no window for each of 2"),
    (["--device", "cuda:0"], "a GPU each"), (["--txt_file", "missing"], "No such file"),
    (["--resume"], "there is no checkpoint")])
def test_a_wrong_flag_is_one_line(more, message, flags, launch, tmp_path):
    refused = launch(2, *flags, "--output", tmp_path / "run", *more)
    assert 2 in refused.statuses and 0 not in refused.statuses and message in refused.line()
    assert not os.listdir(tmp_path)


def test_a_used_or_locked_folder_is_one_line_also_for_a_restart(trained, flags, launch):
    refused = launch(2, *flags, "--output", trained(2))
    assert refused.statuses[0] == 2 and 0 not in refused.statuses and "already holds a run" in refused.line()
    again = launch(2, *flags, "--output", trained(2), before=refused)
    assert again.statuses[0] == 2 and "already holds a run" in again.line()
    with run.locked(trained(2)):
        refused = launch(2, "--output", trained(2), "--resume")
    assert refused.statuses[0] == 2 and refused.statuses[1] and "another process is at work" in refused.line()


def test_a_failure_of_the_first_process_ends_all(flags, launch, tmp_path):
    failed = launch(2, *flags, "--output", tmp_path / "run", moments=[(0, 0, 3, "spoil evaluation")])
    assert failed.statuses == [1, 1] and "held_out_loss became nan at update 5" in failed.line()
    assert checkpoint_of(tmp_path / "run")["step"] == 4


def test_help_comes_once_and_other_scripts_want_one_process(launch):
    helped = launch(2, "--help")
    assert helped.statuses == [0, 0] and helped.printed[0].startswith("usage: ") and not helped.printed[1]
    refused = launch(2, name="study")
    assert 2 in refused.statuses and "torchrun is for part2.train_text alone" in refused.line()


# torchrun itself

def test_torchrun_starts_a_killed_run_again_and_a_stopped_one_saves(trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    moments = [(0, 1, 7, "kill"), (1, 1, 9, "terminate torchrun")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max_restarts=1", "-m",
         "part2.tests.background", json.dumps({"moments": moments}), *map(str, flags), "--output", folder],
        cwd=cli.ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    killed, stopped = re.findall("^(?:error|stopped): .*", done.stderr, re.MULTILINE)
    assert "another process of this run died; saved up to update 5; go on with" in killed
    assert stopped == ("stopped: saved up to update 9; go on with: python -m part2.train_text "
                       f"--output {run.shorter(folder)} --resume")
    assert launch(2, "--output", folder, "--resume").statuses == [0, 0]
    assert identical(folder, trained(2))
