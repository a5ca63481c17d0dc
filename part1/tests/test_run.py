"""The run: device, seeds, threads, checkpoints that are ours or refused, used folders, signals, full disks."""
import errno
import io
import itertools
import math
import os
import pickle
import random
import re
import resource
import shlex
import signal
import subprocess
import sys
import zipfile

import pytest
import torch

from part1 import checkpoint, cli, files, run, train
from part1.tests import background

TINY = ["--num_hidden", 4, "--batch_size", 4, "--input_length", 3, "--eval_size", 20, "--train_steps", 6,
        "--eval_every", 2, "--device", "cpu"]
ENDLESS = [*TINY, "--train_steps", 10**9, "--eval_every", 50]


@pytest.fixture
def trained(tmp_path, call):
    """The folder of a finished tiny run."""
    assert call(train, *TINY, "--output", tmp_path / "trained")[0] == 0
    return tmp_path / "trained"


def same(one, other):
    """Whether two contents of checkpoints are bit-identical."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.equal(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def loads(folder):
    """The checkpoint and the metrics of a folder; they must agree."""
    checkpoint = run.load_checkpoint(folder / "checkpoint.pt", "part1.train")
    metrics = folder / "metrics.csv"
    rows = files.read_csv(metrics) if metrics.exists() and metrics.stat().st_size else []
    every = checkpoint["config"]["eval_every"]
    assert set(range(every, checkpoint["step"] + 1, every)) <= {row["step"] for row in rows}
    assert not list(folder.glob(".*.partial"))
    return checkpoint, rows


def change(folder, **values):
    """Replace some values of the checkpoint of a run."""
    torch.save(torch.load(folder / "checkpoint.pt", weights_only=True) | values, folder / "checkpoint.pt")


def python(program, environment):
    """A Python process that runs `program` under these OpenMP variables and no others."""
    inherited = {name: value for name, value in os.environ.items() if "OMP" not in name}
    return subprocess.Popen([sys.executable, "-c", program], cwd=files.ROOT, env=inherited | environment,
                            stdout=subprocess.PIPE, text=True)


# Device, seeds and threads

@pytest.mark.parametrize("cuda, mps, name, expected", [
    (0, False, "auto", "cpu"), (2, True, "auto", "cuda"), (0, True, "auto", "mps"), (2, False, "cuda:1", "cuda:1"),
    (2, True, "cpu", "cpu"), (2, False, "cuda:2", None), (0, False, "cuda", None), (0, False, "mps", None),
    (0, False, "cpu:1", None), (2, False, "cuda:99999999999999999999", None),
    *((2, True, name, None) for name in ("", "gpu", "CUDA", "cuda:", "cuda:-1", "cuda:01", "cpu\n", "cuda:1:2"))])
def test_the_device_is_the_one_that_was_named_or_an_error(cuda, mps, name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    if expected:
        assert run.choose_device(name) == torch.device(expected)
    else:
        with pytest.raises(cli.InputError) as refused:
            run.choose_device(name)
        assert f"no device {name} here" in str(refused.value) or f"cuda:N and mps, not {name!r}" in str(refused.value)


def test_each_purpose_and_seed_has_its_own_stream():
    def stream(*key):
        return tuple(torch.randint(2**60, (3,), generator=run.generator(*key)).tolist())

    keys = [(0, "data"), (1, "data"), (0, "test"), (11, "data"), (1, "1 data"), (2**63 - 1, "data")]
    assert len({stream(*key) for key in keys}) == len(keys)
    torch.manual_seed(9)
    assert stream(0, "data") == stream(0, "data") and torch.initial_seed() == 9


def test_torch_is_set_up_to_flush_denormal_numbers():
    torch.set_flush_denormal(False)
    assert (torch.tensor([1e-38]) * 1e-3).item() > 0
    run.set_up_torch()
    assert (torch.tensor([1e-38]) * 1e-3).item() == 0


@pytest.mark.parametrize("environment, expected", [
    ({}, ("1000", None)), ({"GOMP_SPINCOUNT": "5"}, ("5", None)), ({"OMP_WAIT_POLICY": "active"}, (None, "active"))])
def test_waiting_threads_go_to_sleep_unless_the_user_has_a_policy(environment, expected):
    program = "import os, part1; print((os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY')))"
    assert python(program, environment).communicate()[0] == f"{expected}\n"


# Checkpoints

class Malicious:
    """Pickles to a call of `os.system`."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def saved(content, **kwargs):
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def legacy(content):
    return saved(content, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("make", [
    pickle.dumps, legacy, lambda bad: saved(dict.fromkeys(checkpoint.CONTENT, bad) | {"script": "part1.train"})],
    ids=["pickle", "legacy format", "in a checkpoint"])
def test_a_malicious_checkpoint_runs_nothing(make, tmp_path, refused):
    made = tmp_path / "made"
    malicious = Malicious(f"touch {made}")
    (tmp_path / "checkpoint.pt").write_bytes(make(malicious))
    assert "is torn, damaged or not a checkpoint" in refused(train, "--output", tmp_path, "--resume")
    assert not made.exists()
    function, arguments = malicious.__reduce__()
    function(*arguments)
    assert made.exists()  # the charge was live


def test_a_checkpoint_torn_anywhere_is_refused(trained):
    path = trained / "checkpoint.pt"
    whole = path.read_bytes()
    for size in [0, 1, 100, *range(150, len(whole), len(whole) // 60), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(cli.InputError, match="torn"):
            run.load_checkpoint(path, "part1.train")


def test_a_flipped_bit_is_refused_or_changes_nothing(trained):
    path = trained / "checkpoint.pt"
    whole, original = path.read_bytes(), run.load_checkpoint(path, "part1.train")
    weights = original["parts"]["model"]["W_hh"].numpy().tobytes()
    inside = range(whole.index(weights), whole.index(weights) + len(weights), 5)
    # A sample of all bits, and the one that makes an entry of the archive a directory: torch reads it as random bytes.
    entries = [match.start() + 38 for match in re.finditer(re.escape(b"PK\x01\x02"), whole)]
    assert len(entries) > 10
    flips = [*((k, k % 8) for k in range(0, len(whole), 61)), *((k, 4) for k in entries), *((k, 2) for k in inside)]
    for position, bit in flips:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1:])
        try:
            assert same(run.load_checkpoint(path, "part1.train"), original) and position not in inside, position
        except cli.InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def foreign_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize("content, message", [
    *((content, "is torn, damaged or not a checkpoint") for content in (
        b"hello", foreign_zip(), pickle.dumps({"a": 1}), legacy({"a": 1}), b"\x80\x02.", b"PK\x03\x04")),
    *((saved(content), "is not a checkpoint of part1.train") for content in (
        [1, 2], torch.zeros(3), {}, {"model": {}}, dict.fromkeys(checkpoint.CONTENT.keys() - {"step"}),
        dict.fromkeys(checkpoint.CONTENT) | {"script": "part1.train", "more": 1}))],
    ids=["text", "zip", "pickle", "legacy", "empty pickle", "zip's first bytes", "list", "tensor", "empty", "model",
         "lacks a key", "has one too many"])
def test_a_foreign_file_is_refused(content, message, tmp_path, refused):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    assert refused(train, "--output", tmp_path, "--resume") == f"error: {tmp_path / 'checkpoint.pt'} {message}\n"


@pytest.mark.parametrize("values, message", [
    (dict(config={}), "other flags than this version"), (dict(config={"seed": 1}), "other flags than this version"),
    (dict(script="part2.train_text"), "is not a checkpoint of part1.train"), (dict(step="x"), "is not a checkpoint of"),
    (dict(files=3), "is not a checkpoint of"), (dict(extra={"vocabulary": "ab"}), "training data is not"),
    (dict(parts={}), "does not fit this run"), (dict(random={"cpu": 3}), "does not fit this run"),
    (dict(parts={"model": {"W_hh": torch.zeros(7, 7)}}), "does not fit this run"),
    (dict(seconds=math.nan), "does not fit this run"), (dict(step=0), "does not fit this run"),
    (dict(step=2), "is of update 2, its metrics end at 6"), (dict(step=-1), "its metrics end at 6"),
    (dict(step=10**30), "its metrics end at 6"), (dict(files={"thesis.tex": 0}), "does not fit this run"),
    (dict(files=dict.fromkeys(["metrics.csv", "../thesis.tex"], {"size": 0, "sha256": ""})), "does not fit this run")])
def test_a_checkpoint_that_does_not_fit_is_refused(values, message, trained, refused):
    change(trained, **values)
    (trained / "thesis.tex").write_text("mine")
    before = snapshot(trained)
    assert message in refused(train, "--output", trained, "--resume", "--train_steps", 8)
    assert snapshot(trained) == before


def places(content, *way):
    """The keys on the way to every dict and value inside the dict `content`."""
    for key, value in content.items():
        yield *way, key
        if isinstance(value, dict):
            yield from places(value, *way, key)


def test_no_wrong_value_in_a_checkpoint_does_harm(trained, call):
    path, chance = trained / "checkpoint.pt", random.Random(0)
    whole, before = path.read_bytes(), snapshot(trained)
    wrong = [None, -1, 10**30, "x", True, math.nan, [], {}, {"thesis.tex": 0}, torch.ones(2, 2), torch.tensor(math.nan)]
    ways, refusals = list(places(torch.load(path, weights_only=True))), 0
    for *way, last in ways:
        content = inside = torch.load(io.BytesIO(whole), weights_only=True)
        for key in way:
            inside = inside[key]
        inside[last] = chance.choice(wrong)
        torch.save(content, path)
        spoilt = snapshot(trained)
        status, _, err = call(train, "--output", trained, "--resume")
        assert (status, err.count("\n")) in ((2, 1), (0, 0)), (*way, last, err)
        refusals += status == 2
        if status == 2:
            assert snapshot(trained) == spoilt
        else:  # it was one of those that do not decide the result; only config.json repeats it
            assert way in (["config"], ["random"]) or last == "seconds"
        for name, old in before.items():
            (trained / name).write_bytes(old)
    assert refusals > 0.8 * len(ways)


def test_a_file_of_the_users_in_the_folder_of_a_run_stays(trained, call):
    (trained / "samples.txt").write_text("mine")  # a name that only Part 2 uses
    assert call(train, "--output", trained, "--resume", "--train_steps", 9)[0] == 0
    assert (trained / "samples.txt").read_text() == "mine"


# Resume

@pytest.mark.parametrize("flag, value", [
    ("learning_rate", 0.01), ("model_type", "LSTM"), ("seed", 1), ("input_dim", 10), ("num_classes", 11),
    ("eval_every", 3), ("target_accuracy", 0.9), ("train_steps", 5)])
def test_a_flag_that_contradicts_the_run_is_refused(flag, value, trained, refused):
    before = snapshot(trained)
    line = refused(train, "--output", trained, "--resume", f"--{flag}", value)
    assert f"--{flag}" in line and str(value) in line
    assert snapshot(trained) == before


def test_flags_that_agree_may_be_typed_again_and_defaults_do_not_contradict(tmp_path, call):
    binary = ["--dataset", "binary_palindrome", "--input_length", 2, "--input_dim", 3]
    assert call(train, *TINY, *binary, "--output", tmp_path)[0] == 0
    before = snapshot(tmp_path)
    for flags in ([], ["--input_dim", 3], ["--num_hidden", 4, "--seed", 0], binary, TINY[-2:]):
        status, out, err = call(train, "--output", tmp_path, "--resume", *flags)
        assert (status, err) == (0, "") and "after 6 updates" in out
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("damage", [
    lambda file: file.unlink(), lambda file: file.write_text(file.read_text().replace("\n4,", "\n3,"))])
def test_metrics_that_do_not_go_with_the_checkpoint_are_refused(damage, trained, refused):
    damage(trained / "metrics.csv")
    before = snapshot(trained)
    for more in ([], ["--train_steps", 8]):
        assert "metrics.csv does not begin with what" in refused(train, "--output", trained, "--resume", *more)
    assert snapshot(trained) == before


def test_rows_after_the_checkpoint_are_cut(trained, call):
    metrics = trained / "metrics.csv"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole + b"8,0.1,0.2,0.3,0.4\n10,0.1,0.")
    assert call(train, "--output", trained, "--resume")[0] == 0
    assert metrics.read_bytes() == whole


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json", "metrics.csv", "samples.txt"])
def test_a_new_run_takes_no_used_folder(name, tmp_path, refused):
    (tmp_path / name).write_text("mine")
    assert "choose another --output" in refused(train, *TINY, "--output", tmp_path)
    assert snapshot(tmp_path) == {(tmp_path / name).relative_to(tmp_path): b"mine"}


def test_a_second_process_in_the_folder_is_refused(tmp_path, start, refused):
    folder = tmp_path / "run"
    late, _ = run.begin("part1.train", train.parse_args([*map(str, TINY), "--output", str(folder)]))  # in time for this
    first = start(*ENDLESS, "--output", folder)
    first.until((folder / "metrics.csv").exists)
    assert "already holds a run" in refused(train, *TINY, "--output", folder)
    assert f"another process is at work in {folder}" in refused(train, "--output", folder, "--resume")
    first.send(signal.SIGTERM)
    assert first.wait()[0] == 143
    with pytest.raises(cli.InputError, match="already holds a run"), run.open_run("part1.train", late, {}, [2]):
        pass
    loads(folder)


# Signals

@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_saves_and_says_how_to_go_on(signum, tmp_path, start):
    folder = tmp_path / "my run"
    process = start(*ENDLESS, "--output", folder)
    process.until(lambda: (folder / "metrics.csv").exists())
    process.send(signum)
    status, output = process.wait()
    *progress, last = output.splitlines()
    assert status == 128 + signum and all(line.startswith("update ") for line in progress)
    assert last == (f"stopped: saved up to update {loads(folder)[0]['step']}; go on with: python -m part1.train "
                    f"--output '{files.display(folder)}' --resume")


def test_from_another_folder_it_goes_on_as_a_file(tmp_path, call, monkeypatch):
    monkeypatch.setattr(run.Run, "stop_signal", lambda current: signal.SIGINT)
    monkeypatch.chdir(tmp_path)
    status, _, err = call(train, *TINY, "--output", "run")
    assert (status, err.count("go on with: python ")) == (130, 1)
    command = shlex.split(err.partition("go on with: ")[2])
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0 and "after 6 updates" in done.stdout, done.stderr


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setattr(run.time, "strftime", lambda form: "now")
    names = [run.fresh_folder("part1.train").name for _ in range(3)]
    assert names == ["part1.train-now", "part1.train-now-2", "part1.train-now-3"] and all(
        (tmp_path / "runs" / name).is_dir() for name in names)


def test_a_second_sigterm_changes_nothing_and_a_second_ctrl_c_does_not_wait(tmp_path, start):
    status, output = start(*ENDLESS, "--output", tmp_path / "term",
                           patch=(background.signal_at, 1, signal.SIGTERM, signal.SIGTERM)).wait()
    assert status == 143 and "stopped: saved up to update 50;" in output
    status, output = start(*ENDLESS, "--output", tmp_path / "int",
                           patch=(background.signal_at, 2, signal.SIGINT, signal.SIGINT)).wait()
    assert status == 130 and output.endswith("stopped: interrupted\n")
    assert loads(tmp_path / "int")[0]["step"] == 50


# What goes wrong in the middle

def fill_disk_at(number, monkeypatch):
    """From the `number`-th fsync or rename on, the disk is full; returns the list of those."""
    done = []

    def patched(function):
        def call(*args):
            done.append(function)
            if len(done) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args)
        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, patched(getattr(os, name)))
    return done


def test_a_disk_that_fills_up_at_any_moment_loses_nothing_that_was_saved(trained, tmp_path, call, monkeypatch):
    whole, number, steps = loads(trained)[0], 0, set()
    while True:
        number, folder = number + 1, tmp_path / f"full at {number}"
        with monkeypatch.context() as patch:
            done = fill_disk_at(number, patch)
            status, _, err = call(train, *TINY, "--output", folder)
        if len(done) < number:
            break
        if status == 0:  # only the folder's own fsync failed, which some systems lack
            continue
        assert err.startswith("error: No space left on device") and err.count("\n") == 1
        assert status == 1 and "saved up to update " in err or status == 2
        if (folder / "checkpoint.pt").exists():
            steps.add(loads(folder)[0]["step"])
            assert call(train, "--output", folder, "--resume")[0] == 0
        else:
            assert status == 2 and call(train, *TINY, "--output", folder)[0] == 0
        assert same(loads(folder)[0]["parts"], whole["parts"])
    assert status == 0 and steps == {0, 2, 4}


def test_a_file_that_the_system_does_not_let_grow_is_reported_and_the_old_one_stays(trained, call):
    before, limit = (trained / "checkpoint.pt").read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limit[1]))  # as on a disk that fills up
    try:
        status, _, err = call(train, "--output", trained, "--resume", "--train_steps", 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert status == 1 and err.startswith("error: File too large; saved up to update 6; go on with: ")
    assert (trained / "checkpoint.pt").read_bytes() == before
    assert loads(trained)[1][-1]["step"] == 8


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(bad, tmp_path, call, monkeypatch):
    cross_entropy, updates = train.cross_entropy, itertools.count(1)

    def spoiled(*args, **kwargs):
        loss = cross_entropy(*args, **kwargs)
        return loss if kwargs or next(updates) != 5 else loss * bad  # `kwargs`: in evaluations

    monkeypatch.setattr(train, "cross_entropy", spoiled)
    folder = tmp_path / "run"
    status, _, err = call(train, *TINY, "--output", folder)
    assert status == 1 and err == (
        f"error: the loss became {bad} at update 5: start again with a lower --learning_rate, in another --output\n")
    checkpoint, rows = loads(folder)
    assert checkpoint["step"] == 4 and rows[-1]["step"] == 4
    monkeypatch.undo()
    assert call(train, "--output", folder, "--resume")[0] == 0


def test_weights_that_are_not_finite_are_not_saved(tmp_path, call, monkeypatch):
    def spoil(model, digits, labels):
        with torch.no_grad():
            model.W_hh[0, 0] = math.nan
        return 1.0, 0.5

    monkeypatch.setattr(train, "evaluate", spoil)
    status, _, err = call(train, *TINY, "--output", tmp_path / "run")
    assert status == 1 and "weights of the model are no longer finite after update" in err
    assert loads(tmp_path / "run")[0]["parts"]["model"]["W_hh"].isfinite().all()


def test_too_little_memory_in_the_middle_is_one_line(tmp_path, call, monkeypatch):
    monkeypatch.setattr(train, "evaluate", lambda *args: torch.empty(10**6, 10**7))
    status, _, err = call(train, *TINY, "--output", tmp_path / "run")
    assert status == 1 and err.startswith("error: this does not fit into memory; saved up to update 0;")


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), IndexError("a bug")])
def test_a_bug_in_the_middle_keeps_its_traceback(error, tmp_path, call, monkeypatch):
    def bug(*args):
        raise error

    monkeypatch.setattr(train, "evaluate", bug)
    with pytest.raises(type(error), match="a bug"):
        call(train, *TINY, "--output", tmp_path / "run")
    with files.locked(tmp_path / "run"):
        pass
