"""The benchmark runs small, and its table, CSV files and figure hold what they say."""
import csv
import os

import pytest
import torch

from part1 import benchmark, cli

SMALL = ["--num_hidden", "6", "--batch_size", "5", "--repeats", "2"]


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_small_run_writes_tables_and_figure(tmp_path, capsys):
    argv = [*SMALL, "--lengths", "3", "5", "--threads", "1", "2", "--memory_lengths", "--output", str(tmp_path / "out")]
    before = os.environ.get("OMP_WAIT_POLICY")
    assert cli.main(benchmark.parse_args, benchmark.main, argv) == 0
    rows = read(tmp_path / "out" / "benchmark.csv")
    assert [(row["OMP_WAIT_POLICY"], row["threads"], row["model_type"], row["T"]) for row in rows] == [
        (*way, model_type, T) for way in (("passive", "1"), ("passive", "2"), ("active", "2"))
        for model_type in ("RNN", "LSTM") for T in "35"]
    for row in rows:
        for name in ("bptt", "autograd", "torch", "floor"):
            assert 0 < float(row[f"{name}_q1"]) <= float(row[f"{name}_ms"]) <= float(row[f"{name}_q3"])
        for name in ("bptt/torch", "autograd/bptt", "bptt/floor"):
            assert 0 < float(row[f"{name}_q1"]) <= float(row[name]) <= float(row[f"{name}_q3"])
    data = read(tmp_path / "out" / "data.csv")
    assert [row["T"] for row in data] == ["3", "5"]
    assert all(float(row["batch/ds[i]"]) > 1 for row in data)
    assert not (tmp_path / "out" / "memory.csv").exists()
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 5000
    assert (tmp_path / "out" / "benchmark.pdf").exists()
    output = capsys.readouterr()
    assert "passive" in output.out and "active" in output.out and "bptt/torch" in output.out
    assert output.err == ""  # no progress bar off a terminal
    assert os.environ.get("OMP_WAIT_POLICY") == before


def test_all_contestants_do_whole_updates_of_the_same_task():
    config = benchmark.parse_args(SMALL)
    for name in ("bptt", "autograd", "torch"):
        assert benchmark.make_update("LSTM", name, 6, config)() > 0
    network = benchmark.TorchNetwork(torch.nn.LSTM, lambda digits: torch.eye(10)[digits.long()], 6)
    assert network(torch.zeros(5, 7)).shape == (5, 10)
    assert benchmark.make_floor("LSTM", 6, config)() > 0


@pytest.mark.parametrize("one_by_one", [True, False])
def test_numpy_items_are_palindromes(one_by_one):
    digits, last = benchmark.NumpyPalindromes(7, one_by_one)[0]
    assert digits.shape == (6,) and digits.dtype == "float32"
    assert list(digits[3:]) == list(digits[3:0:-1]) and last == digits[0]
    digits, last = benchmark.NumpyPalindromes(6, one_by_one)[0]
    assert list(digits[3:]) == list(digits[2:0:-1]) and last == digits[0]


def test_memory_is_measured_in_a_new_process(monkeypatch):
    monkeypatch.setattr(benchmark, "CONTESTANTS", ("bptt", "floor"))
    config = benchmark.parse_args([*SMALL, "--models", "RNN", "--memory_lengths", "4"])
    row, = benchmark.measure_memory(config)
    assert (row["T"], row["network"]) == (4, "bptt") and 50 < row["before_MB"] <= row["peak_MB"]


@pytest.mark.parametrize("argv", [["--lengths", "1"], ["--models", "GRU"], ["--repeats", "0"], ["--threads", "0"],
                                  ["--wait_policies", "lazy"]])
def test_wrong_flags_end_in_one_line(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.parse_args(argv)
    assert capsys.readouterr().err.count("\n") == 1
