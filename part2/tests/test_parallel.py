"""Several processes train as one: they agree with a single one, stop and go on together, and one of them speaks."""
import json
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from unittest.mock import MagicMock

import pytest
import torch

from part1 import cli, files, run
from part2 import parallel
from part2.dataset import TextDataset
from part2.tests import background
from part2.tests.conftest import TINY, checkpoint_of, identical, rows_of, weights_of

LONG = ["--train_steps", 50, "--dropout_keep_prob", 1, "--max_norm", 0.3, "--learning_rate", 0.02]
DIED = "error: another process of this run died; saved up to update 5; go on with: python -m part2.train_text --output"


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """`launch(N, *flags, **options)`: the exit statuses of the processes, and what each has printed."""
    return lambda N, *flags, **options: background.launch(tmp_path_factory.mktemp("logs"), N, *flags, **options)


@pytest.fixture(scope="module")
def flags(book):
    return ["--txt_file", book, *TINY, "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(launch, flags, tmp_path_factory):
    """The folder of a run of two processes that was never stopped, with dropout."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert launch(2, *flags, "--output", folder)[0] == [0, 0]
    return folder


@pytest.fixture(scope="module")
def alone(launch, flags, tmp_path_factory):
    """The folder of a run of a single process: float64, 50 updates, no dropout, clipping."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert launch(0, *flags, *LONG, "--output", folder, double=True)[0] == [0]
    return folder


def close(one, other):
    """Whether two runs agree to 1e-9 in their weights and in all columns of their metrics but the seconds."""
    weights, others = weights_of(one), weights_of(other)
    rows, other_rows = ([[value or 0 for name, value in row.items() if name != "seconds"]
                         for row in files.read_csv(folder / "metrics.csv")] for folder in (one, other))
    return (all(weights[name].dtype == torch.float64 and weights[name].allclose(others[name], 1e-9, 1e-9)
                for name in others)
            and all(row == pytest.approx(wanted, 1e-9, 1e-9) for row, wanted in zip(rows, other_rows, strict=True)))


def last_line(printed):
    """The line that says why, which rank 0 alone prints."""
    assert not any(printed[1:])
    line, = re.findall("^(?:.*error|stopped): .*", printed[0], re.MULTILINE)
    return line


# Agreement

def test_several_processes_learn_what_one_does(alone, flags, launch, tmp_path):
    folder = tmp_path / "run"
    statuses, printed = launch(3, *flags, *LONG, "--output", folder, double=True)  # a batch is 4 windows
    assert statuses == [0, 0, 0] and printed[1:] == ["", ""]
    assert close(folder, alone)
    assert (folder / "samples.txt").read_bytes() == (alone / "samples.txt").read_bytes()
    assert set(os.listdir(folder)) == set(os.listdir(alone))
    assert printed[0].count("update ") == len(rows_of(alone)) - 1 and "after 50 updates" in printed[0]


def test_another_number_of_processes_may_go_on(alone, flags, launch, tmp_path):
    folder = tmp_path / "run"
    assert launch(2, *flags, *LONG, "--train_steps", 10, "--output", folder, double=True)[0] == [0] * 2
    assert launch(3, "--resume", "--train_steps", 30, "--output", folder, double=True)[0] == [0] * 3
    assert launch(0, "--resume", "--train_steps", 50, "--output", folder, double=True)[0] == [0]
    assert close(folder, alone)


def test_one_process_of_torchrun_is_one_process(flags, launch, finished, tmp_path):
    assert launch(1, *flags, "--output", tmp_path / "run")[0] == [0]
    assert identical(tmp_path / "run", finished)


def test_the_shares_are_the_batch(book, monkeypatch):
    text = TextDataset(book, 5)
    for rows, N in [(4, 1), (4, 2), (4, 3), (7, 3), (5, 5)]:
        whole = text.batch(rows, run.generator(0, "x"))
        monkeypatch.setattr(parallel, "SIZE", N)
        shares = []
        for rank in range(N):
            monkeypatch.setattr(parallel, "RANK", rank)
            shares.append(parallel.share(text.batch(rows, run.generator(0, "x"))))
        assert all(torch.cat(column).equal(expected) for column, expected in zip(zip(*shares), whole, strict=True))
        assert {len(inputs) for inputs, _ in shares} <= {rows // N, -(-rows // N)}


def test_each_process_has_dropout_of_its_own(launch, tmp_path):
    """Two that train on the same window would with the same dropout learn what one does."""
    (tmp_path / "book.txt").write_text("window")
    flags = ["--txt_file", tmp_path / "book.txt", *TINY, "--eval_fraction", 0, "--device", "cpu"]
    for keep in (0.5, 1):
        folders = [tmp_path / f"{keep} {N}" for N in (1, 2)]
        for N, folder in enumerate(folders, 1):
            assert launch(N, *flags, "--batch_size", N, "--dropout_keep_prob", keep, "--output", folder,
                          double=True)[0] == [0] * N
        assert close(*folders) == (keep == 1)


def test_gpus_learn_what_a_cpu_does(alone, flags, launch, tmp_path):
    N = min(torch.cuda.device_count(), 3)
    if not N:
        pytest.skip("needs a GPU, and two to be worth it")
    statuses, printed = launch(N, *flags, *LONG, "--device", "cuda", "--output", tmp_path / "run", double=True)
    assert statuses == [0] * N and printed[1:] == [""] * (N - 1)
    assert close(tmp_path / "run", alone)


@pytest.mark.parametrize("device, size, expected", [
    ("cuda", 2, "cuda:1"), ("cpu", 3, "cpu"), ("cuda", 3, None), ("cuda:0", 2, None), ("mps", 2, None)])
def test_each_process_gets_a_gpu_of_its_own(device, size, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    for name, value in [("LAUNCHED", True), ("SIZE", size), ("RANK", 1)]:
        monkeypatch.setattr(parallel, name, value)
    monkeypatch.setattr(parallel, "distributed", MagicMock(rendezvous=lambda url: iter([(None, 1, size)])))
    monkeypatch.setattr(run, "begin", lambda script, config: (config, torch.device(device)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    config = Namespace(output=tmp_path, resume=False, batch_size=4)
    if expected:
        assert parallel.begin("script", config) == (config, torch.device(expected))
    else:
        with pytest.raises(cli.InputError, match="each of . processes has a GPU"):
            parallel.begin("script", config)


# Stopping and going on

@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_run_and_a_restart_goes_on(rank, trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    statuses, printed = launch(2, *flags, "--output", folder, moments=[(0, rank, 7, "kill")])
    assert statuses == ([-signal.SIGKILL, 0] if rank == 0 else [1, -signal.SIGKILL])
    assert rank == 0 or last_line(printed) == f"{DIED} {files.display(folder)} --resume"
    assert launch(2, *flags, "--output", folder, restarts=1)[0] == [0, 0]
    assert identical(folder, trained)


def test_a_signal_to_one_process_stops_all_after_the_same_update(trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    statuses, printed = launch(2, *flags, "--output", folder, moments=[(0, 1, 7, "terminate")])
    assert statuses == [143, 0]
    assert last_line(printed).startswith("stopped: saved up to update 7; go on with: python -m part2.train_text")
    assert launch(2, "--output", folder, "--resume")[0] == [0, 0]
    assert identical(folder, trained)


def test_torchrun_starts_a_killed_run_again_and_a_stopped_one_saves(trained, flags, launch, tmp_path):
    folder = tmp_path / "run"
    moments = [(0, 1, 7, "kill"), (1, 1, 9, "terminate torchrun")]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max_restarts=1", "-m",
         "part2.tests.background", json.dumps({"moments": moments}), *map(str, flags), "--output", folder],
        cwd=files.ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    killed, stopped = re.findall("^(?:error|stopped): .*", done.stderr, re.MULTILINE)
    assert killed.startswith(DIED) and "Interrupted" not in done.stderr  # torchrun has a traceback of its own
    assert stopped.startswith("stopped: saved up to update 9; go on with: ")
    assert launch(2, "--output", folder, "--resume")[0] == [0, 0]
    assert identical(folder, trained)


# One line

@pytest.mark.parametrize("more, message", [
    (["--nonsense"], "unrecognized arguments"), (["--batch_size", 1], "--batch_size 1 has no window for each of 2"),
    (["--txt_file", "missing"], "No such file"), (["--carry_state"], "--carry_state is for a single process")])
def test_a_wrong_flag_is_one_line(more, message, flags, launch, tmp_path):
    statuses, printed = launch(2, *flags, "--output", tmp_path / "run", *more)
    assert statuses == [2, 0] and message in last_line(printed)
    assert not os.listdir(tmp_path)


def test_the_folder_must_be_named(flags, launch):
    statuses, printed = launch(2, *flags)
    assert statuses == [2, 0] and "torchrun needs --output" in last_line(printed)


def test_a_network_interface_that_is_not_there_is_named(flags, launch, tmp_path):
    statuses, printed = launch(2, *flags, "--output", tmp_path / "run", environment={"GLOO_SOCKET_IFNAME": "nosuch0"})
    assert statuses == [2, 0] and "the processes cannot connect: " in last_line(printed) and "nosuch0" in printed[0]
    assert not os.listdir(tmp_path)


def test_a_used_or_locked_folder_is_one_line(trained, flags, launch):
    statuses, printed = launch(2, *flags, "--output", trained)
    assert statuses == [2, 0] and "already holds a run" in last_line(printed)
    with files.locked(trained):
        statuses, printed = launch(2, "--output", trained, "--resume")
    assert statuses == [2, 0] and "another process is at work" in last_line(printed)


def test_a_failure_of_the_first_process_ends_all(flags, launch, tmp_path):
    statuses, printed = launch(2, *flags, "--output", tmp_path / "run", moments=[(0, 0, 3, "spoil evaluation")])
    assert statuses == [1, 0] and "the held out loss became nan at update 5" in last_line(printed)
    assert checkpoint_of(tmp_path / "run")["step"] == 4


def test_help_comes_once(launch):
    statuses, printed = launch(2, "--help")
    assert statuses == [0, 0] and printed[0].startswith("usage: ") and not printed[1]
