"""The run: device, seeds, files that are whole or not there, checkpoints that are ours or refused, locks, signals."""
import errno
import io
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import zipfile

from part1 import run
import pytest
import torch

from part1 import cli, train
from part1.tests.background import context

TINY = ["--num_hidden", 4, "--batch_size", 4, "--input_length", 3, "--eval_size", 20, "--train_steps", 6,
        "--eval_every", 2, "--device", "cpu"]
ENDLESS = [*TINY, "--train_steps", 10**9, "--eval_every", 50]


@pytest.fixture
def trained(tmp_path, call):
    """The folder of a finished tiny run."""
    folder = tmp_path / "trained"
    assert call(train, *TINY, "--output", folder)[0] == 0
    return folder


def same(one, other):
    """Whether two contents of checkpoints are equal to the bit."""
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
    rows = run.read_metrics(folder / "metrics.csv")
    every = checkpoint["config"]["eval_every"]
    assert set(range(every, checkpoint["step"] + 1, every)) <= {row["step"] for row in rows}
    assert not list(folder.glob(".*.partial"))
    return checkpoint, rows


# Device and seeds

@pytest.mark.parametrize("name", ["cuda:7", "cuda:999", "cpu:1", "mps:3", "cuda:99999999999999999999"])
def test_a_device_that_is_not_here_is_an_error_and_never_a_fallback(name):
    with pytest.raises(ValueError, match=f"no device {name} here"):
        run.choose_device(name)


@pytest.mark.parametrize("name", [
    "", "gpu", "meta", "CUDA", "cuda:", "cuda:-1", "cuda:x", "cpu\n", "auto:0", "cuda:1:2"])
def test_a_word_that_is_no_device_is_an_error(name):
    with pytest.raises(ValueError, match="auto, cpu, cuda, cuda:N and mps"):
        run.choose_device(name)


@pytest.mark.parametrize("cuda, mps, name, expected", [
    (0, False, "auto", "cpu"), (2, False, "auto", "cuda"), (0, True, "auto", "mps"), (2, True, "auto", "cuda"),
    (2, False, "cuda", "cuda"), (2, False, "cuda:1", "cuda:1"), (2, False, "cuda:2", None), (2, True, "cpu", "cpu"),
    (0, False, "cuda", None), (0, False, "mps", None), (0, True, "mps", "mps")])
def test_the_device_is_the_one_that_was_named(cuda, mps, name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    if expected:
        assert run.choose_device(name) == torch.device(expected)
    else:
        with pytest.raises(ValueError, match="no device"):
            run.choose_device(name)


def test_each_purpose_and_seed_has_its_own_stream():
    def stream(*key):
        return tuple(torch.randint(2**60, (3,), generator=run.generator(*key)).tolist())

    keys = [(0, "data"), (1, "data"), (0, "test"), (11, "data"), (1, "1 data"), (2**63 - 1, "data")]
    assert len({stream(*key) for key in keys}) == len(keys)
    torch.manual_seed(9)
    assert stream(0, "data") == stream(0, "data")
    assert torch.initial_seed() == 9


def test_importing_run_keeps_the_processor_off_denormal_numbers():
    tiny = torch.tensor([1e-38]) * torch.tensor([1e-3])
    assert tiny.item() == 0
    assert os.environ["OMP_WAIT_POLICY"]


@pytest.mark.parametrize("users, expected", [(None, "passive"), ("active", "active")])
def test_torch_finds_openmps_policy_set_but_for_a_user_who_did(users, expected, tmp_path):
    (tmp_path / "torch.py").write_text("import os\nprint(os.environ.get('OMP_WAIT_POLICY'))\nraise SystemExit\n")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"PYTHONPATH": str(tmp_path)} | ({"OMP_WAIT_POLICY": users} if users else {})
    found = subprocess.run([sys.executable, "-c", "import part1.run"], cwd=cli.ROOT, env=environment,
                           capture_output=True, text=True)
    assert (found.stdout, found.stderr) == (f"{expected}\n", "")


# Files

def test_a_file_is_replaced_wholly(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"", b"second" * 1000):
        run.write_atomically(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_file_that_cannot_be_written_stays_what_it_was(call, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(run.os, call, fail)
    with pytest.raises(type(error)):
        run.write_atomically(path, b"new")
    assert snapshot(tmp_path) == {path.relative_to(tmp_path): b"old"}


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(run.os, "fsync", lambda fd: done.append(os.readlink(f"/proc/self/fd/{fd}")) or fsync(fd))
    monkeypatch.setattr(run.os, "replace", lambda *args: done.append("rename") or replace(*args))
    run.write_atomically(tmp_path / "file", b"new")
    assert done == [str(tmp_path / ".file.partial"), "rename", str(tmp_path)]


def test_csv_and_json_come_back(tmp_path):
    run.write_csv(tmp_path / "t.csv", [{"a": 1, "b": None}, {"a": 'x,"y"', "b": 0.1}])
    assert (tmp_path / "t.csv").read_bytes() == b'a,b\n1,\n"x,""y""",0.1\n'
    run.write_json(tmp_path / "j.json", {"a": [1, None, 0.1]})
    assert run.read_json(tmp_path / "j.json") == {"a": [1, None, 0.1]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_what_is_not_json_is_refused(content, tmp_path):
    (tmp_path / "j.json").write_bytes(content)
    with pytest.raises(ValueError, match="j.json is not JSON"):
        run.read_json(tmp_path / "j.json")


def test_metrics_come_back_but_for_a_torn_last_row(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [{"step": 2, "loss": 0.1, "eval_loss": None}, {"step": 4, "loss": 1 / 3, "eval_loss": 2.0}]
    whole = run.csv_bytes(rows)
    ends = [k + 1 for k in range(len(whole)) if whole[k:k + 1] == b"\n"]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert run.read_metrics(path) == rows[:max(0, sum(end <= size for end in ends) - 1)]


@pytest.mark.parametrize("content", [
    b"step,loss\n2,0.1\nx,0.2\n", b"step,loss\n2,zero\n", b"step,loss\n2\n", b"step,loss\n2,0.1,0.2\n", b"loss\n0.1\n",
    b"\xff\xfe\n\xff\n", b"step,loss\n2,0.1\n\x00\x00\x00\n"])
def test_damaged_metrics_are_refused(content, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(ValueError, match="metrics.csv is damaged or not a table of metrics"):
        run.read_metrics(tmp_path / "metrics.csv")


# Checkpoints

class Malicious:
    """Pickles to a call of `os.system`."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def checkpoint_bytes(**changes):
    content = dict.fromkeys(run.CHECKPOINT_KEYS) | {"script": "part1.train", "config": {}, "step": 0} | changes
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [
    lambda bad: pickle.dumps(bad), lambda bad: checkpoint_bytes(extra=bad), lambda bad: checkpoint_bytes(config=bad),
    lambda bad: legacy(bad)], ids=["pickle", "in the checkpoint", "as the config", "legacy format"])
def test_a_malicious_checkpoint_runs_nothing(make, tmp_path, refused):
    made = tmp_path / "made"
    (tmp_path / "checkpoint.pt").write_bytes(make(Malicious(f"touch {made}")))
    with pytest.raises(ValueError, match="checkpoint.pt is torn, damaged or not a checkpoint"):
        run.load_checkpoint(tmp_path / "checkpoint.pt", "part1.train")
    refused(train, "--output", tmp_path, "--resume")
    assert not made.exists()
    Malicious(f"touch {made}").__reduce__()[0](f"touch {made}")
    assert made.exists()  # the charge was live


def legacy(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def test_a_checkpoint_torn_anywhere_is_refused(trained):
    path = trained / "checkpoint.pt"
    whole = path.read_bytes()
    for size in [0, 1, 100, *range(150, len(whole), len(whole) // 60), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="torn"):
            run.load_checkpoint(path, "part1.train")


def test_a_flipped_bit_is_refused_or_changes_nothing(trained):
    path = trained / "checkpoint.pt"
    whole, original = path.read_bytes(), run.load_checkpoint(path, "part1.train")
    refusals = 0
    # A sample of all bits, and the one that makes an entry of the archive a directory: torch reads it as random bytes.
    entries = [match.start() + 38 for match in re.finditer(re.escape(b"PK\x01\x02"), whole)]
    assert len(entries) > 10
    for position, bit in [(k, k % 8) for k in range(0, len(whole), 37)] + [(k, 4) for k in entries]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1:])
        try:
            assert same(run.load_checkpoint(path, "part1.train"), original), position
        except ValueError as error:
            assert cli.one_line(error) == str(error)
            refusals += 1
    assert refusals > 0.4 * len(whole) / 37


def test_every_flipped_bit_of_the_weights_is_found(trained):
    path = trained / "checkpoint.pt"
    whole = path.read_bytes()
    weights = run.load_checkpoint(path, "part1.train")["parts"]["model"]["W_hh"].numpy().tobytes()
    at = whole.index(weights)
    for position in range(at, at + len(weights), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1:])
        with pytest.raises(ValueError, match="damaged"):
            run.load_checkpoint(path, "part1.train")


def foreign_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [
    b"hello", foreign_zip(), pickle.dumps({"a": 1}), legacy({"a": 1}), b"\x80\x02.", b"PK\x03\x04"],
    ids=["text", "zip", "pickle", "legacy", "empty pickle", "zip's first bytes"])
def test_a_foreign_file_is_refused(content, tmp_path, refused):
    (tmp_path / "checkpoint.pt").write_bytes(content)
    line = refused(train, "--output", tmp_path, "--resume")
    assert line == f"error: {tmp_path / 'checkpoint.pt'} is torn, damaged or not a checkpoint\n"


@pytest.mark.parametrize("content", [
    [1, 2], torch.zeros(3), {}, {"model": {}}, dict.fromkeys(run.CHECKPOINT_KEYS - {"step"}),
    dict.fromkeys(run.CHECKPOINT_KEYS) | {"script": "part1.train", "more": 1},
    dict.fromkeys(run.CHECKPOINT_KEYS) | {"script": "part1.train", "config": 5},
    dict.fromkeys(run.CHECKPOINT_KEYS) | {"script": "part1.train", "config": [1]}])
def test_another_projects_checkpoint_is_refused(content, tmp_path, refused):
    torch.save(content, tmp_path / "checkpoint.pt")
    assert "is not a checkpoint of this project" in refused(train, "--output", tmp_path, "--resume")


@pytest.mark.parametrize("change", [
    dict(config={}), dict(config={"learning_rate": 1}), dict(script="part2.train_text"), dict(script=None)])
def test_another_scripts_or_versions_checkpoint_is_refused(change, trained, refused):
    content = torch.load(trained / "checkpoint.pt", weights_only=True) | change
    torch.save(content, trained / "checkpoint.pt")
    before = snapshot(trained)
    line = refused(train, "--output", trained, "--resume", "--train_steps", 8)
    assert ("not of part1.train" if "script" in change else "other flags than this version") in line
    assert snapshot(trained) == before


@pytest.mark.parametrize("change", [
    dict(parts={}), dict(parts=None), dict(parts={"model": {}, "optimizer": {}, "training_data": 3}), dict(random={}),
    dict(random={"cpu": 3}), dict(step="x"), dict(step=None), dict(seconds="x"), dict(files=3)])
def test_a_checkpoint_whose_inside_does_not_fit_is_refused(change, trained, refused):
    content = torch.load(trained / "checkpoint.pt", weights_only=True) | change
    torch.save(content, trained / "checkpoint.pt")
    before = snapshot(trained)
    assert "does not fit this run" in refused(train, "--output", trained, "--resume", "--train_steps", 8)
    assert snapshot(trained) == before


def test_a_checkpoint_of_other_data_is_refused(trained, refused):
    torch.save(torch.load(trained / "checkpoint.pt", weights_only=True) | {"extra": {"vocabulary": "abc"}},
               trained / "checkpoint.pt")
    assert "training data is not what" in refused(train, "--output", trained, "--resume")


def test_weights_of_another_shape_are_refused(trained, refused):
    content = torch.load(trained / "checkpoint.pt", weights_only=True)
    content["parts"]["model"]["W_hh"] = torch.zeros(7, 7)
    torch.save(content, trained / "checkpoint.pt")
    assert "does not fit this run" in refused(train, "--output", trained, "--resume")
    with pytest.raises(ValueError, match="does not hold a network"):
        train.load(trained / "checkpoint.pt")


# Resume

def test_resume_needs_a_folder_with_a_checkpoint(tmp_path, refused):
    assert "--resume needs --output" in refused(train, "--resume")
    assert "there is no checkpoint" in refused(train, "--resume", "--output", tmp_path / "nothing")
    assert "there is no checkpoint" in refused(train, "--resume", "--output", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag, value", [
    ("learning_rate", 0.01), ("model_type", "LSTM"), ("seed", 1), ("num_hidden", 5), ("batch_size", 3),
    ("input_length", 4), ("eval_every", 3), ("optimizer", "adam"), ("init", "kaiming"), ("target_accuracy", 0.9),
    ("train_steps", 5)])
def test_a_flag_that_contradicts_the_run_is_refused(flag, value, trained, refused):
    before = snapshot(trained)
    line = refused(train, "--output", trained, "--resume", f"--{flag}", value)
    assert f"--{flag}" in line and str(value) in line
    assert snapshot(trained) == before


def test_flags_that_agree_may_be_typed_again_and_defaults_do_not_contradict(trained, call):
    status, out, err = call(train, "--output", trained, "--resume", "--num_hidden", 4, "--train_steps", 6, "--seed", 0,
                            "--device", "cpu")
    assert (status, err) == (0, "") and "after 6 updates" in out
    assert call(train, "--output", trained, "--resume")[0] == 0


def test_a_run_may_grow(trained, call):
    status, out, _ = call(train, "--output", trained, "--resume", "--train_steps", 9)
    assert status == 0 and "after 9 updates" in out
    assert run.read_json(trained / "config.json")["train_steps"] == 9
    assert [row["step"] for row in run.read_metrics(trained / "metrics.csv")] == [2, 4, 6, 8, 9]
    assert loads(trained)[0]["step"] == 9


def test_rows_after_the_checkpoint_are_cut(trained, call):
    metrics = trained / "metrics.csv"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole + b"8,0.1,0.2,0.3,0.4\n10,0.1,0.")
    assert call(train, "--output", trained, "--resume")[0] == 0
    assert metrics.read_bytes() == whole


@pytest.mark.parametrize("damage, message", [
    (lambda file: file.unlink(), "lacks rows"), (lambda file: file.write_text(""), "lacks rows"),
    (lambda file: file.write_text(file.read_text().replace("\n4,", "\n3,")), "lacks rows"),
    (lambda file: file.write_text("hello\nworld\n"), "is damaged"),
    (lambda file: file.write_text(file.read_text().replace("\n4,", "\nfour,")), "is damaged")])
@pytest.mark.parametrize("more", [[], ["--train_steps", 8]])
def test_metrics_that_do_not_go_with_the_checkpoint_are_refused(damage, message, more, trained, refused):
    damage(trained / "metrics.csv")
    before = snapshot(trained)
    assert message in refused(train, "--output", trained, "--resume", *more)
    assert snapshot(trained) == before


@pytest.mark.parametrize("name", ["checkpoint.pt", "config.json", "metrics.csv"])
def test_a_new_run_takes_no_used_folder(name, tmp_path, refused):
    (tmp_path / name).write_text("mine")
    assert "choose another --output" in refused(train, *TINY, "--output", tmp_path)
    assert snapshot(tmp_path) == {(tmp_path / name).relative_to(tmp_path): b"mine"}


def test_a_new_run_may_use_a_folder_with_other_files(tmp_path, call):
    (tmp_path / "notes.txt").write_text("mine")
    assert call(train, *TINY, "--output", tmp_path)[0] == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


# Lock

def hold(folder, ready):
    with run.locked(folder):
        ready.set()
        signal.pause()


def test_the_lock_dies_with_its_process(tmp_path):
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(ValueError, match="another process is at work"), run.locked(tmp_path):
            pass
    finally:
        process.kill()
        process.join()
    with run.locked(tmp_path), pytest.raises(ValueError, match="another process"), run.locked(tmp_path):
        pass
    with run.locked(tmp_path):
        pass


def test_a_second_process_in_the_folder_is_refused(tmp_path, start, refused):
    folder = tmp_path / "run"
    first = start(*ENDLESS, "--output", folder)
    first.until((folder / "metrics.csv").exists)
    assert "already holds a run" in refused(train, *TINY, "--output", folder)
    assert f"another process is at work in {folder}" in refused(train, "--output", folder, "--resume")
    first.send(signal.SIGTERM)
    assert first.wait()[0] == 143
    loads(folder)


# Signals

@pytest.mark.parametrize("signum, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_saves_and_says_how_to_go_on(signum, status, tmp_path, start, call):
    folder = tmp_path / "my run"
    process = start(*ENDLESS, "--output", folder)
    process.until(lambda: (folder / "metrics.csv").exists() and run.read_metrics(folder / "metrics.csv"))
    process.send(signum)
    found, output = process.wait()
    *progress, last = output.splitlines()
    assert found == status
    step = loads(folder)[0]["step"]
    assert last == (f"stopped: saved up to update {step}; go on with: python -m part1.train "
                    f"--output '{run.shorter(folder)}' --resume")
    assert step >= 50 and all(line.startswith("update ") for line in progress)
    assert "--train_steps may grow" in call(train, "--output", folder, "--resume", "--train_steps", step)[2]


def test_a_second_sigterm_changes_nothing(tmp_path, start):
    process = start(*ENDLESS, "--output", tmp_path / "run", patch=["signal at", 1, signal.SIGTERM, signal.SIGTERM])
    status, output = process.wait()
    assert status == 143
    assert f"stopped: saved up to update {loads(tmp_path / 'run')[0]['step']};" in output


def test_signals_are_the_callers_again_after_a_run(trained):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# What goes wrong in the middle

def count(monkeypatch, *names):
    """Count the calls of some functions of `os`; from call `fail_at` on, the disk is full."""
    class Disk:
        calls, fail_at = 0, math.inf

    def patched(function):
        def call(*args):
            Disk.calls += 1
            if Disk.calls >= Disk.fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*args)
        return call

    for name in names:
        monkeypatch.setattr(run.os, name, patched(getattr(os, name)))
    return Disk


def test_a_disk_that_fills_up_at_any_moment_loses_nothing_that_was_saved(tmp_path, call, monkeypatch):
    with monkeypatch.context() as patch:
        disk = count(patch, "fsync", "replace")
        assert call(train, *TINY, "--output", tmp_path / "whole")[0] == 0
    whole = loads(tmp_path / "whole")
    assert disk.calls >= 18
    for fail_at in range(7, disk.calls + 1):  # the first six are the first checkpoint and config.json
        folder = tmp_path / str(fail_at)
        with monkeypatch.context() as patch:
            count(patch, "fsync", "replace").fail_at = fail_at
            status, _, err = call(train, *TINY, "--output", folder)
        assert (status, err.count("\n")) == (1, 1)
        checkpoint, _ = loads(folder)
        # A rename that happened but was not made permanent may show either state.
        assert err.startswith("error: No space left on device; saved up to update ")
        assert checkpoint["step"] - int(err.split("saved up to update ")[1].split(";")[0]) in (0, 2)
        assert call(train, "--output", folder, "--resume")[0] == 0
        assert same(loads(folder)[0]["parts"], whole[0]["parts"])


@pytest.mark.parametrize("share", [0, 0.5])
def test_a_row_of_metrics_that_does_not_fit_is_not_there_at_all(share, tmp_path, call, monkeypatch):
    """The file system takes only a part of the second row, or nothing of it."""
    class File:
        def __init__(self, file):
            self.file, self.name = file, file.name

        def write(self, content):
            if share:
                return self.file.write(content[:int(share * len(content))])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def tell(self):
            return self.file.tell()

        def truncate(self, size):
            return self.file.truncate(size)

    append, calls = run._append, []

    def full(file, content):
        calls.append(content)
        append(File(file) if len(calls) == 2 else file, content)

    monkeypatch.setattr(run, "_append", full)
    folder = tmp_path / "run"
    status, _, err = call(train, *TINY, "--output", folder)
    assert status == 1 and err.startswith("error: No space left on device") and "saved up to update 2;" in err
    assert (folder / "metrics.csv").read_bytes() == calls[0]
    assert loads(folder)[0]["step"] == 2


def test_a_file_that_the_system_does_not_let_grow_is_reported_and_the_old_one_stays(trained, start):
    before = (trained / "checkpoint.pt").read_bytes()
    process = start("--output", trained, "--resume", "--train_steps", 20, patch=("file size", len(before) // 2))
    status, output = process.wait()
    assert status == 1
    assert output.splitlines()[-1].startswith("error: File too large; saved up to update 6; go on with: ")
    assert (trained / "checkpoint.pt").read_bytes() == before
    assert loads(trained)[1][-1]["step"] == 8


def test_a_small_disk_that_fills_up_keeps_the_first_checkpoint(tmp_path, trained, call):
    disk = tmp_path / "disk"
    disk.mkdir()
    # Room for one checkpoint, not for the next one beside it. Only an administrator may mount.
    size = (trained / "checkpoint.pt").stat().st_size // 1024 * 3 // 2 + 16
    mounted = shutil.which("mount") and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True).returncode
    if not mounted:
        pytest.skip("cannot mount a small disk here")
    try:
        status, _, err = call(train, *TINY, "--output", disk / "run")
        assert status == 1 and err.count("\n") == 1
        assert err.startswith("error: No space left on device") and "saved up to update 0;" in err
        checkpoint, rows = loads(disk / "run")
        assert checkpoint["step"] == 0 and [row["step"] for row in rows] == [2]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(bad, tmp_path, call, monkeypatch):
    cross_entropy, calls = train.cross_entropy, []

    def spoiled(*args, **kwargs):
        calls.append(kwargs)
        updates = sum(not kwargs for kwargs in calls)
        return cross_entropy(*args, **kwargs) * (bad if updates == 5 else 1)

    monkeypatch.setattr(train, "cross_entropy", spoiled)
    folder = tmp_path / "run"
    status, _, err = call(train, *TINY, "--output", folder)
    assert status == 1
    assert err == (f"error: the loss became {bad} at update 5 (a lower --learning_rate may help); "
                   f"saved up to update 4; go on with: python -m part1.train --output {run.shorter(folder)} --resume\n")
    checkpoint, rows = loads(folder)
    assert checkpoint["step"] == 4 and rows[-1]["step"] == 4
    assert all(parameter.isfinite().all() for parameter in checkpoint["parts"]["model"].values())
    monkeypatch.undo()
    assert call(train, "--output", folder, "--resume")[0] == 0


def test_weights_that_are_not_finite_are_not_saved(tmp_path, call, monkeypatch):
    def spoil(model, digits, labels):
        with torch.no_grad():
            model.W_hh[0, 0] = math.nan
        return 1.0, 0.5

    monkeypatch.setattr(train, "evaluate", spoil)
    status, _, err = call(train, *TINY, "--output", tmp_path / "run")
    assert status == 1 and "weights of the model are no longer finite; saved up to update 0;" in err
    assert loads(tmp_path / "run")[0]["parts"]["model"]["W_hh"].isfinite().all()


def test_too_little_memory_in_the_middle_is_one_line(tmp_path, call, monkeypatch):
    def too_much(*args):
        torch.empty(10**6, 10**7)

    monkeypatch.setattr(train, "evaluate", too_much)
    status, _, err = call(train, *TINY, "--output", tmp_path / "run")
    assert (status, err.count("\n")) == (1, 1) and err.startswith("error: out of memory on cpu; saved up to update 0;")


def test_a_bug_in_the_middle_is_not_hidden(tmp_path, call, monkeypatch):
    def bug(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(train, "evaluate", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        call(train, *TINY, "--output", tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with run.locked(tmp_path / "run"):
        pass
