"""Sweeps on a cluster: `sweep.sbatch`, its tasks that are stopped, and all of it in a Slurm where one runs."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from part1 import cli, files, run, sweep
from part1.tests.test_sweep import cells_of, table

JOB = "part1/sweep.sbatch"
GRID = ["--model_type", "RNN", "--palindrome_lengths", 4, "--seeds", 0, 1, "--num_hidden", 3, "--batch_size", 4,
        "--eval_size", 20, "--device", "cpu", "--train_steps", 1000, "--eval_every", 50]  # a second: time to stop one


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_cell_that_another_task_has_at_work_is_left_to_that_one(tmp_path, call):
    folder = cells_of(GRID, tmp_path)[0].folder
    folder.mkdir(parents=True)
    with files.locked(folder, ".cell.lock"):
        assert call(sweep, *GRID, "--output", tmp_path, "--cell", 0) == (
            0, f"another process is at work in {folder}: leaving it to that one\n", "")


# A task that is stopped. The test is the Slurm here; scontrol and python are made up.

PYTHON = """#!/usr/bin/env bash
trap 'trap "" TERM; echo saved >> "$CALLS"; sleep 0.3; exit $STATUS' TERM
echo "$PWD $*" >> "$CALLS"
while :; do sleep 0.01; done
"""


@pytest.mark.parametrize("module, signals, status, array, requeued", [
    ("part1.sweep", "USR1", 143, True, ["scontrol requeue incomplete 7_3"]),  # the time limit is near
    ("part1.sweep", "USR1", 143, False, ["scontrol requeue incomplete 9"]),
    ("part1.sweep", "TERM", 143, True, []),  # scancel, preemption, scontrol requeue: Slurm knows what comes next
    ("part1.sweep", "USR1 TERM", 143, True, []), ("part1.sweep", "TERM USR1", 143, True, []),  # cancelled near the limit
    ("part1.sweep", "USR1", 0, True, []), ("part1.sweep", "USR1", 1, True, []),  # over before it was stopped
    ("report.reproduce", "USR1", 143, True, ["scontrol requeue incomplete 7_3"]),
    ("report.reproduce", "TERM", 143, True, [])])
def test_a_stopped_task_saves_and_only_at_its_time_limit_queues_itself_again(
        module, signals, status, array, requeued, tmp_path):
    calls = tmp_path / "calls"
    for name, script in [("python", PYTHON), ("scontrol", '#!/bin/sh\necho "scontrol $*" >> "$CALLS"\n')]:
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"} if array else {}
    job = files.ROOT / f"{module.replace('.', '/')}.sbatch"
    process = subprocess.Popen([shutil.which("bash"), job, "--seeds", "5"], cwd=files.ROOT, env=os.environ | slurm | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "python"), "CALLS": str(calls),
        "STATUS": str(status), "SLURM_SUBMIT_DIR": str(files.ROOT), "SLURM_JOB_ID": "9", "SLURM_CPUS_PER_TASK": "1"})
    until(calls.exists)
    time.sleep(0.1)  # by then bash has set its traps: the real python takes longer
    for signum in signals.split():
        process.send_signal(getattr(signal, f"SIG{signum}"))
        until(lambda: "saved" in calls.read_text())
    assert process.wait(60) == status
    assert calls.read_text().splitlines() == [f"{files.ROOT} -m {module} --seeds 5{' --cell 3' * array}", "saved",
                                             *requeued]


# A real Slurm

def slurm_says(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, cwd=files.ROOT,
                          env=os.environ | {"PYTHON": sys.executable}).stdout.strip()


@pytest.fixture
def submit(tmp_path):
    """`submit(*flags, options)` sends a sweep to a Slurm whose only node is this machine; returns the job's number."""
    if not shutil.which("sbatch"):
        pytest.skip("there is no sbatch")
    nodes = subprocess.run(["sinfo", "--noheader", "--Node", "--format=%n"], capture_output=True, text=True)
    if nodes.returncode:
        pytest.skip(f"sinfo failed: {cli.one_line(nodes.stderr)[-80:]}")
    if set(nodes.stdout.split()) != {socket.gethostname().split(".")[0]}:
        pytest.skip("a cluster of other machines is not for tests")
    jobs = []

    def submit(*flags, options):
        jobs.append(slurm_says("sbatch", "--parsable", *options, JOB, *flags, "--output", tmp_path / "my sweep"))
        return jobs[-1]

    yield submit
    slurm_says("scancel", *jobs)


def job(number):
    """What Slurm knows about a job or one task of an array, as a dict."""
    return dict(word.split("=", 1) for word in slurm_says("scontrol", "--oneliner", "show", "job", number).split()
                if "=" in word)


def wait_until_evaluated(cell):
    """Wait until a cell is in the middle of its run."""
    until(lambda: (cell / "metrics.csv").exists() and (cell / "metrics.csv").stat().st_size)
    assert not (cell / "result.json").exists(), "too late"


@contextlib.contextmanager
def in_the_middle(cell):
    """Hold the process of a cell in the middle of its run."""
    wait_until_evaluated(cell)
    lock = f":{(cell / '.cell.lock').stat().st_ino}"
    process, = (int(fields[4]) for fields in map(str.split, open("/proc/locks")) if fields[5].endswith(lock))
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@pytest.mark.slurm
def test_tasks_that_are_queued_again_in_the_middle_give_the_same_tables(tmp_path, submit):
    output = tmp_path / "my sweep"
    cells = submit(*GRID, options=["--array=0-1%1", "--output", tmp_path / "%A_%a"])  # one cell at a time
    collect = submit(*GRID, "--collect", options=[f"--dependency=afterany:{cells}", "--output", tmp_path / "%j"])
    with in_the_middle(output / "cells" / "RNN_T4_seed0"):
        slurm_says("scontrol", "requeue", f"{cells}_0")
    with in_the_middle(output / "cells" / "RNN_T4_seed1"):
        slurm_says("scontrol", "update", f"jobid={cells}_1", "timelimit=1")
        until(lambda: "the time limit is near" in (tmp_path / f"{cells}_1").read_text(), 120)
    until(lambda: job(f"{cells}_1")["Restarts"] == "1")
    slurm_says("scontrol", "update", f"jobid={cells}_1", "timelimit=5")
    until(lambda: not slurm_says("squeue", "--noheader", f"--jobs={cells},{collect}"), 180)
    for k in range(2):
        assert (job(f"{cells}_{k}")["JobState"], job(f"{cells}_{k}")["Restarts"]) == ("COMPLETED", "1")
        assert (tmp_path / f"{cells}_{k}").read_text().count("stopped: saved up to update") == 1
    assert "accuracy.png" in (log := (tmp_path / collect).read_text()) and "missing" not in log
    for cell in (here := cells_of(GRID, tmp_path / "here")):
        sweep.run_cell(cell)
    sweep.collect(here, tmp_path / "here")
    for name in ("results.csv", "curves.csv"):
        assert table(output / name) == table(tmp_path / "here" / name)


@pytest.mark.slurm
def test_cancelled_tasks_save_and_stay_cancelled(tmp_path, submit):
    cells = submit(*GRID, "--train_steps", 2_000_000_000, options=["--array=0-1", "--output", tmp_path / "%A_%a"])
    folders = [tmp_path / "my sweep" / "cells" / f"RNN_T4_seed{seed}" for seed in (0, 1)]
    for folder in folders:
        wait_until_evaluated(folder)
    slurm_says("scancel", "--batch", "--signal=USR1", f"{cells}_1")  # as near its time limit
    slurm_says("scancel", cells)
    until(lambda: not slurm_says("squeue", "--noheader", f"--jobs={cells}"))
    for k, folder in enumerate(folders):
        assert (job(f"{cells}_{k}")["JobState"], job(f"{cells}_{k}")["Restarts"]) == ("CANCELLED", "0")
        assert run.load_checkpoint(folder / "checkpoint.pt", "part1.train")["step"] > 50
