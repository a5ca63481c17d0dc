"""Other machines, played on this one: the main jobs without what Windows lacks, disks without locks, foreign settings."""
import errno
import fcntl
import os
import re
import subprocess
import sys

import pytest

from part1 import benchmark, cli, files, train
from part1.tests.test_resume import SHORT, assert_bit_identical
from report import plots

WINDOWS = """
import multiprocessing, os, signal, sys, warnings
warnings.filterwarnings("ignore", "only soft file lock")  # of filelock, which has locks for the real Windows
for name in ("fcntl", "grp", "multiprocessing.forkserver", "pwd", "resource", "termios"):
    sys.modules[name] = None
multiprocessing.set_start_method("spawn")
for name in ("fork", "forkserver"):
    del multiprocessing.context._concrete_contexts[name]
del os.fork, os.forkpty, os.O_DIRECTORY, os.O_NOFOLLOW, os.sched_getaffinity, signal.SIGHUP, signal.SIGALRM
"""
PROGRAM = """
import sys
from pathlib import Path
from part1 import cli, train
from part2 import generate, train_text
from part3 import gcn
from report import reproduce, studies
tiny = "--num_hidden 6 --batch_size 4 --eval_size 20 --train_steps 7 --eval_every 3 --seed 3 --device cpu".split()
sweeping = "--model_type RNN --palindrome_lengths 4 --train_steps 2 --eval_every 2 --seeds 0".split()
reproduce.PRESETS["quick"] = reproduce.Preset(
    [studies.GRAPHS[0], studies.sweep_study("lengths", "a sweep", " ".join(sweeping))],
    Path("quick/work"), Path("quick/results"))
text = "--seq_length 5 --lstm_num_hidden 6 --train_steps 2 --output text".split()
if __name__ == "__main__":  # the workers of the sweep import this file too
    for script, flags in ((train, [*tiny, "--input_length", "3", "--output", "run"]), (train_text, text),
                          (generate, ["--checkpoint", "text/checkpoint.pt", "--temperature", "1"]), (gcn, []),
                          (reproduce, [])):
        assert cli.main(script.parse_args, script.main, flags) == 0, script
"""


def test_the_main_jobs_run_without_what_windows_lacks(tmp_path):
    """From sources with CRLF at the ends of their lines, and with a TMPDIR that is too long for a socket's name."""
    clone, long = tmp_path / "clone", tmp_path / ("long" * 50)
    long.mkdir()
    for source in (path for room in ("part1", "part2", "part3", "assets", "report") for kind in ("py", "txt", "css")
                   for path in (files.ROOT / room).glob(f"*.{kind}")):
        copy = clone / source.relative_to(files.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    (clone / "sitecustomize.py").write_text(WINDOWS)  # for the workers too
    (clone / "program.py").write_text(PROGRAM)
    done = subprocess.run([sys.executable, "program.py"], cwd=clone, capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": str(clone), "TMPDIR": str(long), "OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for line in ("RNN_T4_seed0: accuracy", "temperature 1, sample 0", "updates from C to E: 3", "page: "):
        assert line in done.stdout
    train.train(train.parse_args([*map(str, SHORT), "--output", str(tmp_path / "run")]), quiet=True)
    assert_bit_identical(clone / "run", tmp_path / "run")
    assert "All 2 studies are done" in (clone / "quick" / "index.html").read_text()


def test_the_peak_memory_is_left_out_where_python_cannot_tell_it(tmp_path, call, benchmark_here, monkeypatch):
    monkeypatch.setattr(benchmark, "resource", None)
    flags = "--model_type RNN --palindrome_lengths 4 --threads 1 --repeats 1 --num_hidden 3 --batch_size 4 --output"
    assert call(benchmark, *flags.split(), tmp_path)[::2] == (0, "")
    assert {path.stem for path in tmp_path.iterdir()} == {"benchmark", "data"}


def test_every_script_runs_as_a_file_from_another_folder(tmp_path):
    """One process for all of them, as importing torch takes seconds; it forgets our packages before each script."""
    program = """
import runpy, sys
from pathlib import Path
for script in sys.argv[1:]:
    for name in list(sys.modules):
        if name.split(".")[0] in ("part1", "part2", "part3", "assets", "report"):
            del sys.modules[name]
    sys.path[0], sys.argv = str(Path(script).parent), [script, "--nonsense"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        print(stop.code)
"""
    scripts = [path for path in sorted(files.ROOT.glob("*/*.py")) if "sys.exit(" in path.read_text()
               and path.stem != "cli"]
    assert {"train", "train_text", "gcn", "download", "reproduce"} <= {script.stem for script in scripts}
    ran = subprocess.run([sys.executable, "-c", program, *scripts], cwd=tmp_path, capture_output=True, text=True)
    assert ran.stdout.split() == ["2"] * len(scripts)
    lines = ran.stderr.splitlines()
    assert len(lines) == len(scripts) and all(re.match(r"python -m [\w.]+: error: ", line) for line in lines), lines


# Disks

def fails_with(code):
    def operation(*args):
        raise OSError(code, os.strerror(code))
    return operation


@pytest.mark.parametrize("module, name, code, status", [
    (fcntl, "flock", errno.ENOSYS, 0), (fcntl, "flock", errno.ENOLCK, 0), (fcntl, "flock", errno.EIO, 2),
    (os, "fsync", errno.EINVAL, 0), (os, "fsync", errno.ENOTSUP, 0), (os, "fsync", errno.EIO, 2)])
def test_a_disk_that_cannot_lock_or_sync_will_do_and_one_that_fails_will_not(
        module, name, code, status, tmp_path, call, monkeypatch):
    monkeypatch.setattr(module, name, fails_with(code))
    for attempt in ("one", "two"):  # what is said is said once
        if attempt == "one":
            files.note.cache_clear()
        done, _, err = call(train, *SHORT, "--output", tmp_path / attempt)
        assert done == status
        if status == 0:
            assert err.count("\n") == err.count("note: this disk") == (attempt == "one")
            assert call(train, *SHORT, "--resume", "--output", tmp_path / attempt)[::2] == (0, "")
        else:
            assert err.startswith(f"error: {os.strerror(code)}") and err.count("\n") == 1


def test_a_folder_that_cannot_be_synced_will_do(tmp_path, monkeypatch, capsys):
    files.note.cache_clear()
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: fsync(file) if os.path.isfile(f"/proc/self/fd/{file}")
                        else fails_with(errno.EINVAL)())
    files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new" and capsys.readouterr().err.startswith("note: this disk")


# Cores and settings

@pytest.mark.parametrize("quota, cores", [
    ("max 100000", 2), ("100000 100000", 1), ("50000 100000", 1), ("150000 100000", 2), ("9900000 100000", 2), ("", 2)])
def test_as_many_cores_as_this_process_may_use(quota, cores, tmp_path, monkeypatch):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cli, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 8})
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert cli.cores() == cores


@pytest.mark.parametrize("here", [True, False], ids=["of the current folder", "of the user"])
def test_neither_a_matplotlibrc_nor_a_notebooks_backend_changes_a_figure(here, tmp_path):
    settings = tmp_path / "matplotlibrc" if here else tmp_path / "matplotlib" / "matplotlibrc"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("text.usetex: True\nfont.size: 30\nfigure.dpi: 7\npdf.compression: 0\nsavefig.bbox: tight\n"
                        "axes.prop_cycle: cycler('color', ['r'])\n" + ("" if here else "no.such.key: 1\nno colon\n"))
    results = files.ROOT / "report" / "results"
    plots.FIGURES["text"][1](plots.sources_of("text", results), tmp_path / "ours" / "text")
    (tmp_path / "results").mkdir()
    for source in plots.FIGURES["text"][0]:
        (tmp_path / "results" / source).write_bytes((results / source).read_bytes())
    backend = "module://matplotlib_inline.backend_inline" if here else "no such backend"
    done = subprocess.run([sys.executable, files.ROOT / "report" / "plots.py", "--results", "results", "--figures", "."],
                          cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "MPLBACKEND": backend, "XDG_CONFIG_HOME": str(tmp_path)})
    assert (done.returncode, done.stderr) == (0, "")
    for figure in (tmp_path / "ours").iterdir():
        assert (tmp_path / figure.name).read_bytes() == figure.read_bytes()
