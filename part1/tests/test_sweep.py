"""The sweep: its cells, alone or by many workers, once or again after an interruption, its tables and figures."""
import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

from part1 import run
import pytest
from PIL import Image
from pypdf import PdfReader

from part1 import cli, sweep, train
from part1.tests.test_resume import assert_bit_identical
from report import style

SIZES = ["--num_hidden", 3, "--batch_size", 4, "--eval_size", 20, "--train_steps", 4, "--eval_every", 2,
         "--device", "cpu"]
GRID = ["--model_type", "RNN", "LSTM", "--palindrome_lengths", 4, 5, "--seeds", 0, 1, *SIZES]
CELLS = ["RNN_T4_seed0", "RNN_T4_seed1", "RNN_T5_seed0", "RNN_T5_seed1",
         "LSTM_T4_seed0", "LSTM_T4_seed1", "LSTM_T5_seed0", "LSTM_T5_seed1"]


def table(path):
    """The rows of a CSV file without the columns that tell times."""
    with open(path, newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Output folder of `GRID`, run by one worker."""
    folder = tmp_path_factory.mktemp("swept")
    sweep.main(sweep.parse_args([str(flag) for flag in [*GRID, "--workers", 1, "--output", folder]]))
    return folder


@pytest.fixture
def no_runs(monkeypatch):
    """Running a cell is an error."""
    def run_cells(cells, workers):
        assert cells == []

    monkeypatch.setattr(sweep, "run_cells", run_cells)


# What is written

def test_the_number_of_workers_changes_nothing_but_the_seconds(swept, tmp_path, call):
    status, out, err = call(sweep, *GRID, "--workers", 2, "--output", tmp_path)
    assert (status, err) == (0, "")
    for name in ("results.csv", "curves.csv"):
        assert table(tmp_path / name) == table(swept / name)
    for cell in CELLS:
        assert_bit_identical(swept / "cells" / cell, tmp_path / "cells" / cell)
        assert f"{cell}: accuracy" in out
    assert "(8/8 cells)" in out


def test_the_tables_hold_every_cell_with_every_setting(swept):
    rows = table(swept / "results.csv")
    assert [(row["model_type"], row["palindrome_length"], row["seed"]) for row in rows] == [
        (model, length, seed) for model in ("RNN", "LSTM") for length in "45" for seed in "01"]
    flags = vars(train.parse_args([]))
    assert set(rows[0]) >= {"accuracy", "best_accuracy", "steps", "steps_to_target", "loss"} | set(flags) - {
        "given", "output", "resume", "device"}
    assert {row["input_length"] for row in rows} == {"3", "4"} and {row["num_hidden"] for row in rows} == {"3"}
    assert len({row["loss"] for row in rows}) == 8
    with open(swept / "results.csv", newline="") as file:
        assert all(float(row["seconds"]) > 0 for row in csv.DictReader(file))
    curves = table(swept / "curves.csv")
    assert [row["step"] for row in curves] == ["2", "4"] * 8
    for row, last in zip(rows, curves[1::2]):
        assert all(row[name] == last[name] for name in ("model_type", "palindrome_length", "seed", "accuracy", "loss"))


def test_a_cell_is_one_run_of_the_train_script(swept, tmp_path, call):
    argv = sweep.parse_args([str(flag) for flag in GRID]).cells[3].argv
    assert call(train, *argv, "--output", tmp_path / "run")[0] == 0
    assert_bit_identical(tmp_path / "run", swept / "cells" / CELLS[3])


def test_the_figure_carries_the_fingerprint_of_its_table(swept):
    mark = f"sha256:{style.fingerprint([swept / 'results.csv'])}"
    assert PdfReader(swept / "accuracy.pdf").metadata["/Keywords"] == mark
    assert Image.open(swept / "accuracy.png").text["Keywords"] == mark


def test_the_printed_table_counts_what_was_solved():
    results = [{"model_type": "RNN", "palindrome_length": 5, "accuracy": accuracy, "steps": steps}
               for accuracy, steps in [(1.0, 100), (0.99, 200), (0.5, 600)]]
    results.append({"model_type": "LSTM", "palindrome_length": 30, "accuracy": 0.25, "steps": 7})
    header, first, second = sweep.table(results).splitlines()
    assert first.split() == ["RNN", "5", "3", "0.8300", "±", "0.286", "2", "of", "3", "300"]
    assert second.split() == ["LSTM", "30", "1", "0.2500", "±", "0.000", "0", "of", "1", "7"]


def artists(monkeypatch, draw):
    """The axes of the figure that `draw` saves."""
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, path, sources=(): saved.append(figure))
    draw()
    style.plt.close(saved[0])
    return saved[0].axes


def test_the_figure_shows_mean_band_seeds_and_chance(monkeypatch):
    results = [{"model_type": "LSTM", "palindrome_length": length, "accuracy": accuracy, "dataset": "palindrome"}
               for length, accuracy in [(10, 0.5), (10, 0.7), (5, 1.0), (5, 0.8)]]
    axes, = artists(monkeypatch, lambda: sweep.draw_lengths(results, "figure"))
    mean, five, ten, chance = axes.lines
    assert list(mean.get_xdata()) == [5, 10] and list(mean.get_ydata()) == pytest.approx([0.9, 0.6])
    assert sorted(five.get_ydata()) == [0.8, 1.0] and sorted(ten.get_ydata()) == [0.5, 0.7]
    assert set(chance.get_ydata()) == {0.1} and chance.get_label() == "chance"
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.9 + 0.02**0.5) and band[:, 1].min() == pytest.approx(0.6 - 0.02**0.5)
    assert axes.get_xlabel() and axes.get_ylabel()


def test_the_curves_show_mean_and_band_over_seeds(monkeypatch):
    curves = [{"model_type": "LSTM", "palindrome_length": 10, "seed": seed, "step": step, "accuracy": accuracy,
               "eval_loss": loss} for seed, step, accuracy, loss in [
                   (5, 50, 0.6, 1.0), (5, 100, 0.8, 0.5), (10, 50, 0.8, 0.8), (10, 100, 1.0, 0.1), (10, 150, 1.0, 0.0)]]
    accuracy, loss = artists(monkeypatch, lambda: sweep.draw_curves(curves, "figure", 2 / 3))
    assert list(accuracy.lines[0].get_xdata()) == [50, 100]  # updates that all seeds have
    assert list(accuracy.lines[0].get_ydata()) == pytest.approx([0.7, 0.9])
    assert list(loss.lines[0].get_ydata()) == pytest.approx([0.9, 0.3])
    assert set(accuracy.lines[1].get_ydata()) == {2 / 3}
    band = accuracy.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.9 + 0.02**0.5)


def test_curves_of_a_preset_are_drawn_and_marked(tmp_path, call):
    status, out, err = call(sweep, "--preset", "2020", *SIZES, "--model_type", "PeepLSTM", "--palindrome_lengths", 2,
                            "--seeds", 1, "--workers", 1, "--output", tmp_path)
    assert (status, err) == (0, "") and out.splitlines()[-1].endswith("curves.png")
    mark = f"sha256:{style.fingerprint([tmp_path / 'curves.csv'])}"
    assert PdfReader(tmp_path / "curves.pdf").metadata["/Keywords"] == mark
    assert os.listdir(tmp_path / "cells") == ["PeepLSTM_L2_seed1"]
    assert table(tmp_path / "results.csv")[0]["dataset"] == "binary_palindrome"


# Again

def test_a_second_invocation_runs_nothing_and_writes_the_same(swept, call, no_runs):
    before = {name: (swept / name).read_bytes() for name in ("results.csv", "curves.csv", "accuracy.pdf")}
    status, _, err = call(sweep, *GRID, "--output", swept)
    assert (status, err) == (0, "")
    assert before == {name: (swept / name).read_bytes() for name in before}


@pytest.mark.parametrize("change", [["--num_hidden", 4], ["--learning_rate", 0.5], ["--train_steps", 6],
                                    ["--input_dim", 1], ["--target_accuracy", 0.5]])
@pytest.mark.parametrize("collect", [[], ["--collect"]])
def test_other_settings_in_the_same_folder_are_refused(change, collect, swept, refused, no_runs):
    line = refused(sweep, *GRID, *change, *collect, "--output", swept)
    assert change[0].removeprefix("--") in line and str(change[1]) in line and "choose another --output" in line


def test_other_settings_are_refused_before_any_cell_runs_also_when_none_is_done(tmp_path, refused, no_runs):
    cells = sweep.parse_args([str(flag) for flag in [*GRID, "--output", tmp_path]]).cells
    train.train(cells[-1].config(), quiet=True)  # the run is there, its result is not: killed in between
    assert "num_hidden" in refused(sweep, *GRID, "--num_hidden", 4, "--output", tmp_path)


def test_only_the_missing_cells_run(swept, tmp_path, call, monkeypatch):
    ran = []
    monkeypatch.setattr(sweep, "run_cells", lambda cells, workers: ran.extend(cell.name for cell in cells))
    call(sweep, *GRID, "--palindrome_lengths", 4, 5, 6, "--output", swept)
    assert ran == ["RNN_T6_seed0", "RNN_T6_seed1", "LSTM_T6_seed0", "LSTM_T6_seed1"]


def test_an_interrupted_cell_goes_on_where_it_was(swept, tmp_path, call, monkeypatch):
    cell = sweep.parse_args([str(flag) for flag in [*GRID, "--output", tmp_path]]).cells[0]
    evaluate, steps = train.evaluate, []

    def killed_at_the_second(*args):
        steps.append(args)
        if len(steps) == 2:
            raise KeyboardInterrupt
        return evaluate(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "evaluate", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            train.train(cell.config(), quiet=True)
    assert run.load_checkpoint(cell.folder / "checkpoint.pt", "part1.train")["step"] == 2
    assert call(sweep, *GRID, "--cell", 0, "--output", tmp_path) == (0, "", "")
    assert_bit_identical(cell.folder, swept / "cells" / cell.name)


def test_a_failing_cell_is_named_and_the_others_are_done(tmp_path, call, monkeypatch):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "RNN_T5_seed0").write_text("in the way")
    status, out, err = call(sweep, *GRID, "--model_type", "RNN", "--workers", 2, "--output", tmp_path)
    assert status == 1
    assert err.splitlines()[-1] == ("error: failed: RNN_T5_seed0; the same command tries them again, --collect draws "
                                    "the others")
    (tmp_path / "cells" / "RNN_T5_seed0").unlink()
    monkeypatch.setattr(sweep, "draw", lambda *args: tmp_path / "figure")  # drawn elsewhere, and slow
    assert call(sweep, *GRID, "--model_type", "RNN", "--collect", "--output", tmp_path)[0] == 0
    assert [row["palindrome_length"] + row["seed"] for row in table(tmp_path / "results.csv")] == ["40", "41", "51"]
    status, out, _ = call(sweep, *GRID, "--model_type", "RNN", "--workers", 2, "--output", tmp_path)
    assert status == 0 and "RNN_T5_seed0" in out and "RNN_T4" not in out
    assert len(table(tmp_path / "results.csv")) == 4


def test_a_worker_that_is_killed_counts_as_failed(tmp_path, monkeypatch):
    cell, = sweep.parse_args(["--model_type", "RNN", "--palindrome_lengths", "4", "--seeds", "0", "--num_hidden", "3",
                              "--train_steps", "2000000", "--output", str(tmp_path)]).cells
    def kill():
        worker, = multiprocessing.active_children()
        worker.kill()

    once(monkeypatch, (cell.folder / "config.json").exists, kill)
    with pytest.raises(cli.RunFailed, match="RNN_T4_seed0"):
        sweep.run_cells([cell], 1)
    assert cell.result() is None and multiprocessing.active_children() == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_lets_its_workers_save(signum, tmp_path, monkeypatch):
    cells = sweep.parse_args(["--model_type", "RNN", "--palindrome_lengths", "4", "--seeds", "0", "1", "2",
                              "--num_hidden", "3", "--train_steps", "2000000", "--output", str(tmp_path)]).cells
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    once(monkeypatch, lambda: all((cell.folder / "metrics.csv").exists() for cell in cells[:2]),
         lambda: os.kill(os.getpid(), signum))
    with pytest.raises(cli.Interrupted, match="the same command goes on") as caught:
        sweep.run_cells(cells, 2)
    assert caught.value.signum == signum and multiprocessing.active_children() == []
    assert [cell.folder.exists() for cell in cells] == [True, True, False]
    for cell in cells[:2]:
        assert run.load_checkpoint(cell.folder / "checkpoint.pt", "part1.train")["step"] > 0
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def once(monkeypatch, condition, action):
    """Do `action` the first time that the sweep, waiting for its workers, finds that `condition` holds."""
    wait, done = sweep.multiprocessing.connection.wait, []

    def watched(sentinels, timeout=None):
        if not done and condition():
            done.append(True)
            action()
        return wait(sentinels, timeout)

    monkeypatch.setattr(sweep.multiprocessing.connection, "wait", watched)


def test_ctrl_c_in_a_terminal_ends_in_one_line_and_no_process_stays(tmp_path):
    command = [sys.executable, "-m", "part1.sweep", "--model_type", "LSTM", "--palindrome_lengths", "30", "--seeds",
               "0", "1", "2", "--workers", "2", "--train_steps", "1000000", "--eval_every", "20", "--eval_size", "50",
               "--num_hidden", "4", "--output", tmp_path]
    process = subprocess.Popen(command, cwd=cli.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    metrics = [tmp_path / "cells" / f"LSTM_T30_seed{seed}" / "metrics.csv" for seed in (0, 1)]
    try:
        end = time.monotonic() + 120
        while not all(file.exists() and run.read_metrics(file) for file in metrics):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the whole group
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert (process.returncode, out) == (130, "")
    assert err == "stopped: the cells at work have saved; the same command goes on\n"
    for file in metrics:
        checkpoint = run.load_checkpoint(file.parent / "checkpoint.pt", "part1.train")
        assert checkpoint["step"] >= 20 and run.read_metrics(file)[-1]["step"] <= checkpoint["step"]
        with run.locked(file.parent):  # its process is gone
            pass
    assert not (tmp_path / "cells" / "LSTM_T30_seed2").exists()


# Flags

def test_cells_are_listed_and_nothing_is_run(tmp_path, call, no_runs):
    status, out, err = call(sweep, *GRID, "--list_cells", "--output", tmp_path / "new")
    assert (status, err) == (0, "") and not (tmp_path / "new").exists()
    lines = [line.split(maxsplit=2) for line in out.splitlines()]
    assert [(number, name) for number, name, _ in lines] == [(str(k), name) for k, name in enumerate(CELLS)]
    for (_, _, flags), cell in zip(lines, sweep.parse_args([str(flag) for flag in GRID]).cells):
        assert flags.split() == cell.argv


def test_one_cell_runs_as_in_a_job_array(swept, tmp_path, call, no_runs):
    assert call(sweep, *GRID, "--cell", 5, "--output", tmp_path) == (0, "", "")
    assert os.listdir(tmp_path) == ["cells"] and os.listdir(tmp_path / "cells") == [CELLS[5]]
    assert_bit_identical(tmp_path / "cells" / CELLS[5], swept / "cells" / CELLS[5])
    found, expected = (json.loads((folder / "cells" / CELLS[5] / "result.json").read_text())["result"]
                       for folder in (tmp_path, swept))
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert call(sweep, *GRID, "--cell", 5, "--output", tmp_path) == (0, "", "")  # done: nothing happens
    status, out, _ = call(sweep, *GRID, "--collect", "--output", tmp_path)
    assert status == 0 and len(table(tmp_path / "results.csv")) == 1


@pytest.mark.parametrize("preset", sweep.PRESETS)
def test_presets_are_valid_and_complete(preset):
    config = sweep.parse_args(["--preset", preset])
    plan = sweep.PRESETS[preset]
    assert len(config.cells) == sum(len(lengths) for _, lengths in plan.grid) * len(plan.seeds)
    assert len({cell.name for cell in config.cells}) == len(config.cells)
    assert config.output == cli.ROOT / "runs" / f"sweep-{preset}"
    for cell in config.cells:
        flags = train.parse_args(cell.argv)
        assert (flags.model_type, flags.seed) == (cell.model_type, cell.seed)
        assert flags.input_length == cell.length - (flags.dataset == "palindrome")
    assert set(plan.flags) == set(train.MODELS)


def test_the_2020_preset_has_the_editions_settings():
    cells = sweep.parse_args(["--preset", "2020"]).cells
    assert {(cell.model_type, cell.length) for cell in cells} == {("LSTM", 10), ("LSTM", 20), ("PeepLSTM", 10)}
    assert {cell.seed for cell in cells} == {5, 10, 20}
    for cell in cells:
        flags = vars(train.parse_args(cell.argv))
        expected = dict(dataset="binary_palindrome", optimizer="adam", learning_rate=1e-4, train_steps=3000,
                        batch_size=256, num_hidden=256, max_norm=10.0, init="kaiming", forget_bias=None)
        assert {name: flags[name] for name in expected} == expected


def test_typed_train_flags_win_over_the_presets():
    cell, *_ = sweep.parse_args(["--preset", "2020", "--learning_rate", "0.5", "--batch_size=7"]).cells
    flags = train.parse_args(cell.argv)
    assert (flags.learning_rate, flags.batch_size, flags.num_hidden) == (0.5, 7, 256)


def test_cells_that_are_asked_for_twice_run_once():
    cells = sweep.parse_args("--model_type RNN RNN --palindrome_lengths 5 5 --seeds 3 3".split()).cells
    assert [cell.name for cell in cells] == ["RNN_T5_seed3"]


@pytest.mark.parametrize("flags, hint", [
    ("--model_type GRU", "'GRU'"), ("--palindrome_lengths 1", "at least 2"), ("--palindrome_lengths -5", "not -5"),
    ("--palindrome_lengths", "at least one argument"), ("--preset best", "'best'"), ("--seeds -1", "not -1"),
    ("--seeds 9223372036854775808", "at most"), ("--workers 0", "at least 1"), ("--cell 8", "0 … 7"),
    ("--cell -1", "not -1"), ("--learning_rate nan", "nan"), ("--input_dim 3", "1 or 10"),
    ("--device cuda:7", "cuda:7"), ("--seed 3", "--seed is not for a sweep"), ("--seed=3", "--seed is not"),
    ("--input_length 4", "--input_length is not"),
    ("--resume", "the same command goes on"), ("--epochs 3", "--epochs 3"), ("stray", "stray"),
    ("--dataset binary_palindrome --input_dim 3", "even number, not 5"), ("--forget_bias 1", "no forget gate"),
    ("--collect", "no cell is done"), ("--output /proc/sweep", "/proc/sweep"), ("--output /dev/null", "/dev/null")])
def test_wrong_flags_are_one_line_and_nothing_is_written(flags, hint, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(sweep, *GRID, "--output", "run", *flags.split())
    assert all(part in line for part in hint.split(", ")), line
    assert os.listdir(tmp_path) == []
