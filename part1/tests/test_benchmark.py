"""The benchmark runs small, and its tables and figure hold what they say."""
import os

import pytest

from part1 import benchmark, files

SMALL = ["--num_hidden", "6", "--batch_size", "5", "--repeats", "2"]


def test_a_new_process_has_the_spin_count_and_ours_keeps_its_own():
    before = dict(os.environ)
    assert benchmark.in_new_processes(os.getenv, "GOMP_SPINCOUNT", [()], spins=300_000) == ["300000"]
    assert os.environ == before


def test_a_small_run_writes_tables_and_figure(tmp_path, call, benchmark_here):
    folder = tmp_path / "out"
    status, out, err = call(benchmark, *SMALL, "--model_type", "LSTM", "--palindrome_lengths", 5, "--threads", 2,
                            "--memory_lengths", "--output", folder)
    assert (status, err) == (0, "") and "bptt/torch" in out
    rows = files.read_csv(folder / "benchmark.csv")
    assert [(row["GOMP_SPINCOUNT"], row["threads"], row["T"]) for row in rows] == [
        (1000, 2, 5), (300000, 2, 5)]
    for row in rows:
        for name in ("bptt", "autograd", "torch", "floor"):
            assert 0 < row[f"{name}_q1"] <= row[f"{name}_ms"] <= row[f"{name}_q3"]
        for name in ("bptt/torch", "autograd/bptt", "bptt/floor"):
            assert 0 < row[f"{name}_q1"] <= row[name] <= row[f"{name}_q3"]
    for row in files.read_csv(folder / "data.csv"):
        assert 0 < row["batch/loader_q1"] <= row["batch/loader"] <= row["batch/loader_q3"]
    row = benchmark.measure_memory(benchmark.parse_args([]), "LSTM", 4, "bptt")
    assert 50 < row["before_MB"] <= row["peak_MB"] and not (folder / "memory.csv").exists()
    assert (folder / "benchmark.png").stat().st_size > 5000 and (folder / "benchmark.pdf").exists()


def test_other_networks_may_follow_in_the_same_folder(tmp_path, call, benchmark_here, no_rendering):
    flags = ["--palindrome_lengths", 4, "--threads", 1, "--memory_lengths", "--output", tmp_path]
    for model in ("GRU", "PeepLSTM"):  # one has no derivatives of ours, the other no namesake in torch
        assert call(benchmark, *SMALL, "--model_type", model, *flags)[::2] == (0, "")
        assert [row["model_type"] for row in files.read_csv(tmp_path / "benchmark.csv")] == [model]


@pytest.mark.parametrize("argv", [
    ["--palindrome_lengths", "1"], ["--model_type", "GPT"], ["--repeats", "0"], ["--threads", "0"]])
def test_wrong_flags_end_in_one_line(argv, refused):
    refused(benchmark, *argv)
