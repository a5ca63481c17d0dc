"""Sweeps on a cluster: job files, what submits them, tasks that are stopped; all of it in a Slurm where one runs."""
import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

from part1 import run
import pytest

from part1 import cli, slurm, sweep, train
from part1.tests.background import context
from part1.tests.test_sweep import table

SIZES = ["--num_hidden", 3, "--batch_size", 4, "--eval_size", 20, "--device", "cpu"]
GRID = ["--model_type", "RNN", "LSTM", "--palindrome_lengths", 4, "--seeds", 0, 1, *SIZES, "--train_steps", 1000,
        "--eval_every", 50]  # a second a cell: time to stop one
CELLS = ["RNN_T4_seed0", "RNN_T4_seed1", "LSTM_T4_seed0", "LSTM_T4_seed1"]
SHORT = [*GRID, "--train_steps", 4]
ENDLESS = [*GRID, "--train_steps", 2_000_000_000]
BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Output folder of `GRID`, run in this process, one cell after the other."""
    folder = tmp_path_factory.mktemp("local")
    for step in (["--cell", 0], ["--cell", 1], ["--cell", 2], ["--cell", 3], ["--collect"]):
        sweep.main(sweep.parse_args([str(flag) for flag in [*GRID, "--output", folder, *step]]))
    return folder


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """`programs(name=script)` puts bash scripts on the path; what they print to `$CALLS` is in the file it returns."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(calls))

    def programs(**scripts):
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
            (folder / name).chmod(0o755)
        return calls

    return programs


@pytest.fixture
def sbatch(programs):
    """The file to which a made-up sbatch writes its folder and its words; its jobs are numbers 1, 2 …"""
    return programs(sbatch='echo "$PWD: $*" >> "$CALLS"; wc -l < "$CALLS"')


@pytest.fixture
def without_sbatch(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def assert_same_tables(one, other, cells=CELLS):
    """The results and curves of `one` are those of these cells in `other`, but for the seconds."""
    for name in ("results.csv", "curves.csv"):
        assert table(one / name) == [row for row in table(other / name)
                                     if f"{row['model_type']}_T4_seed{row['seed']}" in cells]


# Job files

def test_the_job_file_is_plain_bash(tmp_path, call, without_sbatch):
    folder = tmp_path / "it's mine"
    status, out, err = call(sweep, *SHORT, "--output", folder, "--slurm", "--dry_run", "--array_limit", 2, "--time",
                            "2:00:00", "--cpus-per-task", 4, "--partition", "thin", "--gres", "gpu:1")
    assert (status, err, os.listdir(tmp_path)) == (0, "", [])
    place, cells, collect = re.split("^sbatch (?:--dependency=afterany:CELLS )?.*, which is:\n\n", out, flags=re.M)
    quoted = str(folder).replace("'", "'\"'\"'")
    assert place == f"cd '{quoted}/slurm'\n"
    words = " ".join(map(str, SHORT))
    for text in (cells, collect):
        assert subprocess.run([BASH, "-n"], input=text, text=True).returncode == 0
    assert cells.splitlines()[:14] == [
        "#!/usr/bin/env bash",
        "#SBATCH --array=0-3%2",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --time=2:00:00",
        "#SBATCH --partition=thin",
        "#SBATCH --output=cells-%A_%a.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@60",
        "",
        f"cd {cli.ROOT} || exit",
        "export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK",
        f"{sys.executable} -m part1.sweep {words} --output '{quoted}' --cell \"$SLURM_ARRAY_TASK_ID\" &"]
    assert 'scontrol requeue incomplete "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"' in cells
    assert f"-m part1.sweep {words} --output '{quoted}' --collect &" in collect
    assert 'scontrol requeue incomplete "$SLURM_JOB_ID"' in collect and "--array" not in collect


def test_what_is_not_asked_for_is_the_clusters_choice():
    text = slurm.job_file(sweep.parse_args(["--slurm"]), ["part1.sweep"], [0])
    assert "--array=0\n" in text and "--time=1:00:00\n" in text and "--cpus-per-task=1\n" in text
    assert "--partition" not in text and "--gres" not in text


@pytest.mark.parametrize("numbers, text", [
    ([], ""), ([4], "4"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7, 8, 9], "0,2-3,7-9")])
def test_numbers_are_written_as_ranges(numbers, text):
    assert slurm.ranges(numbers) == text


@pytest.mark.parametrize("text", ["3", "180", "3:00", "2:59:60", "0:03:00", "1:0:0", "1-0", "0-1:30", "0-0:2:60"])
def test_time_limits_are_those_of_slurm(text):
    assert slurm.time_limit(text) == text


def test_a_task_uses_its_own_cores_only(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert sweep.parse_args([]).workers == 3
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert sweep.parse_args([]).workers == os.cpu_count()


# Submitting

def test_only_missing_cells_are_submitted_and_then_only_the_collecting(tmp_path, call, sbatch):
    output = tmp_path / "my sweep"
    for cell in (1, 2):
        assert call(sweep, *SHORT, "--output", output, "--cell", cell)[0] == 0
    status, out, err = call(sweep, *SHORT, "--output", output, "--slurm")
    folder = output / "slurm"
    assert (status, err) == (0, "")
    assert out == f"job 1 runs 2 cells, then job 2 collects them (logs: {run.shorter(folder)})\n"
    assert sbatch.read_text().splitlines() == [f"{folder}: --parsable cells.sh",
                                               f"{folder}: --parsable --dependency=afterany:1 collect.sh"]
    assert "#SBATCH --array=0,3\n" in (folder / "cells.sh").read_text()
    assert sorted(os.listdir(folder)) == ["cells.sh", "collect.sh"]
    for cell in (0, 3):
        assert call(sweep, *SHORT, "--output", output, "--cell", cell)[0] == 0
    status, out, err = call(sweep, *SHORT, "--output", output, "--slurm")
    assert (status, err) == (0, "")
    assert out == f"every cell is done: job 3 collects them (logs: {run.shorter(folder)})\n"
    assert sbatch.read_text().splitlines()[2:] == [f"{folder}: --parsable collect.sh"]


def test_a_relative_output_is_the_same_folder_in_the_job(tmp_path, call, sbatch, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(sweep, *SHORT, "--output=here", "--slurm")[0] == 0
    assert f"--output {tmp_path / 'here'} --cell" in (tmp_path / "here" / "slurm" / "cells.sh").read_text()


def test_collecting_says_how_many_cells_are_missing(tmp_path, call, monkeypatch):
    monkeypatch.setattr(sweep, "draw", lambda *args: tmp_path / "figure")
    assert call(sweep, *SHORT, "--output", tmp_path, "--cell", 0)[0] == 0
    status, out, _ = call(sweep, *SHORT, "--output", tmp_path, "--collect")
    assert status == 0 and "3 of 4 cells are missing; the same command without --collect runs them\n" in out


def test_what_slurm_does_not_take_is_one_line(tmp_path, call, programs):
    programs(sbatch='echo "sbatch: error: no such" >&2; echo partition >&2; exit 1')
    assert call(sweep, *SHORT, "--output", tmp_path / "run", "--slurm") == (
        1, "", "error: sbatch: error: no such partition\n")
    programs(sbatch='[ "$2" = cells.sh ] && echo "5;cluster" || exit 3')
    assert call(sweep, *SHORT, "--output", tmp_path / "run", "--slurm") == (
        1, "", "error: sbatch ended with status 3 (job 5 with the cells is submitted)\n")


def test_without_slurm_there_is_one_line_and_no_file(tmp_path, refused, without_sbatch):
    assert "there is no sbatch here" in refused(sweep, *SHORT, "--output", tmp_path / "run", "--slurm")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("flags, hint", [
    ("--time yesterday", "not 'yesterday'"), ("--time 1:2:3:4", "1:2:3:4"), ("--time -5", "--time"),
    ("--time 2", "at least 3 minutes"), ("--time 0:02:59", "at least 3 minutes"), ("--time 5\n6", "must be minutes"),
    ("--array_limit 0", "at least 1"), ("--cpus_per_task 0", "at least 1"), ("--cpus-per-task many", "whole number"),
    ("--partition thin\n#SBATCH", "one word"), ("--partition=", "one word"), ("--gres gpu:1;ls", "one word"),
    ("--cell 0", "not allowed with"), ("--list_cells", "not allowed with"), ("--collect", "not allowed with"),
    ("--output 100%", "100%")])
def test_wrong_flags_are_one_line_and_nothing_is_submitted(flags, hint, tmp_path, refused, sbatch):
    before = os.listdir(tmp_path)
    line = refused(sweep, *SHORT, "--output", tmp_path / "run", "--slurm", *(
        str(tmp_path / word) if word == "100%" else word for word in flags.split(" ")))
    assert hint in line and os.listdir(tmp_path) == before


@pytest.mark.parametrize("flag", ["--time 5", "--partition x", "--gres gpu", "--cpus_per_task 2", "--array_limit 3",
                                  "--dry_run"])
def test_flags_for_slurm_do_not_start_a_sweep_here(flag, tmp_path, refused):
    assert "is for --slurm, which is missing" in refused(sweep, *SHORT, "--output", tmp_path / "x", *flag.split())
    assert os.listdir(tmp_path) == []


# A task that is stopped. The tests are the Slurm here, and its scontrol is made up.

SCRIPT = """
import os, signal, sys, time
def say(line):
    with open(os.environ["CALLS"], "a") as file:
        print(line, file=file)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
say(" ".join([os.environ["OMP_NUM_THREADS"], os.getcwd(), *sys.argv[1:]]))
while not stopped:
    time.sleep(0.01)
say("saved")
time.sleep({seconds})
sys.exit({status})
"""


@pytest.fixture
def task(tmp_path, programs, monkeypatch):
    """`task(status)` starts cell 3 of job 7, a script that takes some `seconds` from being told to stop to its end in
    `status`; returns its bash and the file of its calls."""
    started, python = [], shlex.quote(sys.executable)

    def task(status=143, seconds=0):
        (tmp_path / "script.py").write_text(SCRIPT.format(status=status, seconds=seconds))
        calls = programs(python=f'exec {python} -S {tmp_path}/script.py "$@"',
                         scontrol='echo "scontrol $*" >> "$CALLS"')
        monkeypatch.setattr(slurm.sys, "executable", str(tmp_path / "bin" / "python"))
        (tmp_path / "cells.sh").write_text(slurm.job_file(sweep.parse_args([]), ["part1.sweep"], [3]))
        environment = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "2"}
        started.append(subprocess.Popen([BASH, tmp_path / "cells.sh"], env=os.environ | environment,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        start_new_session=True))
        until(calls.exists)  # by then bash has set its traps: a python takes longer
        return started[-1], calls

    yield task
    for process in started:
        with pytest.raises(ProcessLookupError):  # nothing of the task is left
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


BEGUN = f"2 {cli.ROOT} -m part1.sweep --cell 3"
AGAIN = "scontrol requeue incomplete 7_3"


@pytest.mark.parametrize("signals, calls", [
    ([signal.SIGUSR1], [BEGUN, "saved", AGAIN]),  # the time limit is near
    ([signal.SIGTERM], [BEGUN, "saved"])])  # scancel, preemption, scontrol requeue: Slurm knows what comes next
def test_a_stopped_task_saves_and_queues_itself_again_at_its_time_limit_only(signals, calls, task):
    process, found = task()
    for signum in signals:
        process.send_signal(signum)
    assert process.wait(60) == 143
    assert found.read_text().splitlines() == calls


@pytest.mark.parametrize("first, second", [(signal.SIGUSR1, signal.SIGTERM), (signal.SIGTERM, signal.SIGUSR1)])
def test_a_task_that_is_cancelled_near_its_time_limit_stays_cancelled(first, second, task):
    process, found = task(seconds=0.3)
    process.send_signal(first)
    until(lambda: "saved" in found.read_text())
    process.send_signal(second)
    assert process.wait(60) == 143
    assert "scontrol" not in found.read_text()


def test_a_task_whose_processes_all_get_the_signal_saves_too(task):
    process, found = task()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert "saved" in found.read_text() and "scontrol" not in found.read_text()


@pytest.mark.parametrize("status", [0, 1])
def test_a_task_that_ends_near_its_time_limit_is_not_queued_again(status, task):
    process, found = task(status)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == status
    assert "scontrol" not in found.read_text()


def test_a_cell_stopped_at_its_time_limit_ends_with_the_same_bits(local, tmp_path, call, programs, monkeypatch):
    calls = programs(sbatch="echo 7", scontrol='echo "$*" >> "$CALLS"')
    output = tmp_path / "my sweep"
    call(sweep, *GRID, "--model_type", "LSTM", "--seeds", 1, "--output", output, "--slurm")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    jobs = [[BASH, output / "slurm" / name] for name in ("cells.sh", "cells.sh", "collect.sh")]
    process = subprocess.Popen(jobs[0], stderr=subprocess.PIPE, text=True)
    until(evaluated(output, "LSTM_T4_seed1"))
    process.send_signal(signal.SIGUSR1)
    assert "stopped: saved up to update" in process.communicate(timeout=60)[1] and process.returncode == 143
    assert calls.read_text() == "requeue incomplete 7_0\n"
    for job in jobs[1:]:
        assert subprocess.run(job, stdout=subprocess.PIPE).returncode == 0
    assert_same_tables(output, local, ["LSTM_T4_seed1"])


def evaluated(output, cell):
    """A condition: that a cell has evaluated, but is not done."""
    folder = output / "cells" / cell

    def condition():
        assert not (folder / "result.json").exists(), "too late"
        return (folder / "metrics.csv").exists() and run.read_metrics(folder / "metrics.csv")

    return condition


# The same numbers, wherever the cells run

def test_two_workers_give_the_same_tables(local, tmp_path, call):
    assert call(sweep, *GRID, "--output", tmp_path, "--workers", 2)[0] == 0
    assert_same_tables(tmp_path, local)


def slow_to_write_its_result(flags, trained, go):
    write_json = run.write_json

    def waiting(path, content):
        if path.name == "result.json":
            trained.set()
            assert go.wait(60)
        write_json(path, content)

    run.write_json = waiting
    sweep.main(sweep.parse_args(flags))


def test_a_cell_that_two_tasks_take_is_run_once(tmp_path, call, monkeypatch):
    flags = [str(flag) for flag in [*SHORT, "--output", tmp_path, "--cell", 0]]
    trained, go = context.Event(), context.Event()
    first = context.Process(target=slow_to_write_its_result, args=(flags, trained, go))
    first.start()
    monkeypatch.setattr(train, "train", None)  # the second process, this one, trains nothing
    folder = tmp_path / "cells" / "RNN_T4_seed0"
    try:
        assert trained.wait(60) and not (folder / "result.json").exists()
        status, out, err = call(sweep, *flags)
        assert (status, err) == (0, "")
        assert out == f"another process is at work in {folder}: leaving it to that one\n"
        go.set()
        first.join(60)
    finally:
        first.kill()
        first.join()
    assert first.exitcode == 0
    result = (folder / "result.json").read_bytes()
    assert call(sweep, *flags) == (0, "", "")
    assert (folder / "result.json").read_bytes() == result


# A real Slurm

def no_slurm():
    """Why the tests cannot submit jobs, if so."""
    if not shutil.which("sbatch"):
        return "there is no sbatch"
    nodes = subprocess.run(["sinfo", "--noheader", "--Node", "--format=%n"], capture_output=True, text=True)
    if nodes.returncode:
        return f"sinfo failed: {cli.one_line(nodes.stderr)[-80:]}"
    if set(nodes.stdout.split()) != {socket.gethostname().split(".")[0]}:
        return "a cluster of other machines is not for tests"
    return None


@pytest.fixture
def submit(call):
    """`submit(*flags)` sends a sweep to Slurm; returns the numbers of the array and of the job that collects."""
    if reason := no_slurm():
        pytest.skip(reason)
    submitted = []

    def submit(*flags):
        status, out, err = call(sweep, *flags, "--slurm")
        assert (status, err) == (0, "")
        submitted.extend(re.findall(r"job (\d+)", out))
        return submitted[-2:]

    yield submit
    slurm_says("scancel", *submitted)


def slurm_says(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def job(number):
    """What Slurm knows about a job or one task of an array, as a dict."""
    return dict(word.split("=", 1) for word in slurm_says("scontrol", "--oneliner", "show", "job", number).split()
                if "=" in word)


def ended(*numbers):
    """A condition: that none of the jobs is in the queue."""
    return lambda: not slurm_says("squeue", "--noheader", f"--jobs={','.join(numbers)}")


@contextlib.contextmanager
def in_the_middle(output, cell):
    """Hold the process of a cell in the middle of its run."""
    until(evaluated(output, cell))
    lock = f":{(output / 'cells' / cell / '.cell.lock').stat().st_ino}"
    process, = (int(fields[4]) for fields in map(str.split, open("/proc/locks")) if fields[5].endswith(lock))
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@pytest.mark.slurm
def test_a_sweep_through_slurm_gives_the_same_tables(local, tmp_path, submit):
    output = tmp_path / "my sweep"
    cells, collect = submit(*GRID, "--seeds", 0, "--output", output, "--array_limit", 2)
    until(ended(cells, collect), 180)
    assert_same_tables(output, local, ["RNN_T4_seed0", "LSTM_T4_seed0"])
    logs = {path.name: path.read_text() for path in (output / "slurm").glob("*.log")}
    assert set(logs) == {f"collect-{collect}.log", *(f"cells-{cells}_{k}.log" for k in range(2))}
    assert "missing" not in logs.pop(f"collect-{collect}.log") and set(logs.values()) == {""}


@pytest.mark.slurm
def test_tasks_that_were_queued_again_in_the_middle_give_the_same_tables(local, tmp_path, submit):
    cells, collect = submit(*GRID, "--model_type", "RNN", "--output", tmp_path, "--time", 5)
    with in_the_middle(tmp_path, "RNN_T4_seed0"):
        slurm_says("scontrol", "requeue", f"{cells}_0")
    with in_the_middle(tmp_path, "RNN_T4_seed1"):
        slurm_says("scontrol", "update", f"jobid={cells}_1", "timelimit=1")
        until(lambda: "the time limit is near" in (tmp_path / "slurm" / f"cells-{cells}_1.log").read_text(), 120)
    until(lambda: job(f"{cells}_1")["Restarts"] == "1")
    slurm_says("scontrol", "update", f"jobid={cells}_1", "timelimit=5")
    until(ended(cells, collect), 180)
    for k in range(2):
        assert (job(f"{cells}_{k}")["JobState"], job(f"{cells}_{k}")["Restarts"]) == ("COMPLETED", "1")
        log = (tmp_path / "slurm" / f"cells-{cells}_{k}.log").read_text()
        assert log.count("stopped: saved up to update") == 1
    assert_same_tables(tmp_path, local, CELLS[:2])


@pytest.mark.slurm
def test_cancelled_tasks_save_and_stay_cancelled(tmp_path, submit):
    cells, collect = submit(*ENDLESS, "--model_type", "RNN", "--output", tmp_path)
    for seed in (0, 1):
        until(evaluated(tmp_path, f"RNN_T4_seed{seed}"))
    slurm_says("scancel", "--batch", "--signal=USR1", f"{cells}_1")  # as near its time limit
    slurm_says("scancel", cells)
    until(ended(cells))
    for seed in (0, 1):
        assert (job(f"{cells}_{seed}")["JobState"], job(f"{cells}_{seed}")["Restarts"]) == ("CANCELLED", "0")
        checkpoint = run.load_checkpoint(tmp_path / "cells" / f"RNN_T4_seed{seed}" / "checkpoint.pt", "part1.train")
        assert checkpoint["step"] > 0
