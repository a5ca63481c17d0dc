"""Fixtures of Part 1's tests: scripts called in this process, and scripts running in one of their own."""
import pickle
from multiprocessing import forkserver

import hypothesis
import pytest
import torch

from part1 import benchmark, cli, style
from part1.tests import background

hypothesis.settings.register_profile("ours", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ours")
torch.set_num_threads(1)  # the networks here are tiny: more threads only wait for each other


@pytest.fixture(scope="session", autouse=True)
def fork_server():
    """Let the fork server load torch beside the first tests."""
    forkserver.ensure_running()


@pytest.fixture
def call(capsys):
    """`call(script, *flags)` runs a script's main here and returns (exit status, standard output, standard error)."""
    def call(script, *flags):
        capsys.readouterr()
        try:
            status = cli.main(script.parse_args, script.main, [str(flag) for flag in flags])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()
    return call


@pytest.fixture
def refused(call):
    """`refused(script, *flags)` asserts that a script answers with one line and exit 2, and returns the line."""
    def refused(script, *flags):
        status, out, err = call(script, *flags)
        assert (status, out) == (2, "")
        assert err.endswith("\n") and err.count("\n") == 1
        assert "error: " in err and "Traceback" not in err
        return err
    return refused


@pytest.fixture
def benchmark_here(monkeypatch):
    """Makes `part1.benchmark` measure in this process, and hides the compiler, both to save time."""
    def here(function, config, jobs, spins=1000):
        monkeypatch.setenv("GOMP_SPINCOUNT", str(spins))
        return [function(*pickle.loads(pickle.dumps((config, *job)))) for job in jobs]

    monkeypatch.setattr(benchmark, "in_new_processes", here)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def start(tmp_path):
    """`start(*flags, patch=())` begins `part1.train` in a process of its own, killed at the end of the test."""
    started = []

    def start(*flags, patch=()):
        started.append(background.Train(tmp_path / f"log{len(started)}", flags, patch))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def save_marks(figure, file, metadata, **_):
    """`Figure.savefig` without rendering, which takes most of the time: the file holds the figure's marks alone."""
    file.write(repr(metadata).encode())


@pytest.fixture
def no_rendering(monkeypatch):
    """Figures hold their marks alone."""
    monkeypatch.setattr(style.plt.Figure, "savefig", save_marks)
