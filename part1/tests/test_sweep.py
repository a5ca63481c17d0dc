"""The sweep: its cells, alone or by many workers, once or again after an interruption, its tables and figures."""
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from pypdf import PdfReader

from part1 import cli, drawing, files, run, style, sweep, train
from part1.tests import background
from part1.tests.test_resume import assert_bit_identical

SIZES = ["--num_hidden", 3, "--batch_size", 4, "--eval_size", 20, "--train_steps", 4, "--eval_every", 2,
         "--device", "cpu"]
GRID = ["--model_type", "RNN", "LSTM", "--palindrome_lengths", 4, 5, "--seeds", 0, 1, *SIZES]
RNN = [*GRID, "--model_type", "RNN"]
ENDLESS = ["--model_type", "LSTM", "--palindrome_lengths", 30, "--seeds", 0, 1, 2, *SIZES,
           "--train_steps", 2_000_000_000, "--eval_every", 2_000_000_000]
CELLS = ["RNN_T4_seed0", "RNN_T4_seed1", "RNN_T5_seed0", "RNN_T5_seed1",
         "LSTM_T4_seed0", "LSTM_T4_seed1", "LSTM_T5_seed0", "LSTM_T5_seed1"]


def table(path):
    """The rows of a CSV file without the columns that tell times."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in files.read_csv(path)]


def cells_of(flags, output):
    return sweep.parse_args([str(flag) for flag in [*flags, "--output", output]]).cells


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Output folder of `GRID`, run in this process one cell after the other, then collected."""
    folder = tmp_path_factory.mktemp("swept")
    for cell in cells_of(GRID, folder):
        sweep.run_cell(cell)
    sweep.main(sweep.parse_args([str(flag) for flag in [*GRID, "--collect", "--output", folder]]))
    return folder


@pytest.fixture
def threads(monkeypatch):
    """Workers are threads, which start at once."""
    monkeypatch.setattr(sweep, "ProcessPoolExecutor", lambda workers, *_, initializer: ThreadPoolExecutor(workers))


@pytest.fixture
def forked(monkeypatch):
    """Workers are forked from a process that has torch loaded."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: background.context)


@pytest.fixture
def no_runs(monkeypatch):
    """Running cells is an error."""
    monkeypatch.setattr(sweep, "run_cells", None)


# What is written

def test_the_number_of_workers_changes_nothing_but_the_seconds(swept, tmp_path, call, forked, no_rendering):
    status, out, err = call(sweep, *GRID, "--workers", 2, "--output", tmp_path)
    assert (status, err) == (0, "") and "(8/8 cells)" in out
    for name in ("results.csv", "curves.csv"):
        assert table(tmp_path / name) == table(swept / name)
    for cell in CELLS:
        assert_bit_identical(swept / "cells" / cell, tmp_path / "cells" / cell)
        assert f"{cell}: accuracy" in out


def test_the_tables_hold_every_cell_with_every_setting(swept):
    rows, curves = table(swept / "results.csv"), table(swept / "curves.csv")
    assert [(row["model_type"], row["palindrome_length"], row["seed"]) for row in rows] == [
        (model, length, seed) for model in ("RNN", "LSTM") for length in (4, 5) for seed in (0, 1)]
    assert set(rows[0]) >= {"accuracy", "best_accuracy", "steps", "steps_to_target", "loss"} | set(
        vars(train.parse_args([]))) - run.NOT_TRAINED - {"device"}
    assert [row["input_length"] for row in rows] == [3, 3, 4, 4] * 2 and {row["num_hidden"] for row in rows} == {3}
    assert len({row["loss"] for row in rows}) == 8
    assert all(row["seconds"] > 0 for row in files.read_csv(swept / "results.csv"))
    assert [row["step"] for row in curves] == [2, 4] * 8
    for row, last in zip(rows, curves[1::2]):
        assert all(row[name] == last[name] for name in ("model_type", "palindrome_length", "seed", "accuracy", "loss"))


def test_a_listed_cell_is_one_run_of_the_train_script(swept, tmp_path, call, no_runs):
    status, out, err = call(sweep, *GRID, "--list_cells", "--output", tmp_path / "new")
    assert (status, err, os.listdir(tmp_path)) == (0, "", [])
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines] == [[str(k), name] for k, name in enumerate(CELLS)]
    assert call(train, *lines[7][2:], "--output", tmp_path / "run")[0] == 0
    assert_bit_identical(tmp_path / "run", swept / "cells" / CELLS[7])


def test_the_list_says_a_number_of_classes_that_only_another_dataset_has_by_default(tmp_path, call):
    flags = ["--preset", "2020D", "--num_classes", 10, "--seeds", 5, "--list_cells", "--output", tmp_path / "new"]
    for line in call(sweep, *flags)[1].splitlines():
        assert train.parse_args(line.split()[2:]).num_classes == 10


def test_one_cell_runs_as_in_a_job_array(swept, tmp_path, call, no_runs, no_rendering):
    assert call(sweep, *GRID, "--cell", 5, "--output", tmp_path) == (0, "", "")
    cell = tmp_path / "cells" / CELLS[5]
    assert os.listdir(tmp_path) == ["cells"] and os.listdir(tmp_path / "cells") == [CELLS[5]]
    assert_bit_identical(cell, swept / "cells" / CELLS[5])
    result = (cell / "result.json").read_bytes()
    assert call(sweep, *GRID, "--cell", 5, "--output", tmp_path) == (0, "", "")
    assert result == (cell / "result.json").read_bytes()  # it was done: nothing happened
    status, out, _ = call(sweep, *GRID, "--collect", "--output", tmp_path)
    assert status == 0 and "7 of 8 cells are missing; the same command without --collect runs them\n" in out
    assert table(tmp_path / "results.csv") == table(swept / "results.csv")[5:6]


def test_the_printed_table_counts_what_was_solved():
    results = [{"model_type": "RNN", "palindrome_length": 5, "accuracy": accuracy, "steps": steps}
               for accuracy, steps in [(1.0, 100), (0.99, 200), (0.5, 600)]]
    results.append({"model_type": "LSTM", "palindrome_length": 30, "accuracy": 0.25, "steps": 7})
    header, first, second = sweep.table(results).splitlines()
    assert first.split() == ["RNN", "5", "3", "0.8300", "±", "0.286", "2", "of", "3", "300"]
    assert second.split() == ["LSTM", "30", "1", "0.2500", "±", "0.000", "0", "of", "1", "7"]


# Figures

@pytest.mark.parametrize("preset, table, name, word", [
    ("tuned", "results.csv", "accuracy", "palindrome length"), ("2020D", "curves.csv", "curves", "update")])
def test_the_figure_carries_the_fingerprint_of_its_table(preset, table, name, word, tmp_path, call):
    flags = ["--preset", preset, *SIZES, "--model_type", "PeepLSTM", "--palindrome_lengths", 2, "--seeds", 1]
    assert call(sweep, *flags, "--cell", 0, "--output", tmp_path)[0] == 0
    status, out, err = call(sweep, *flags, "--collect", "--output", tmp_path)
    assert (status, err) == (0, "") and out.splitlines()[-1].endswith(f"{name}.png")
    mark, reader = f"sha256:{style.fingerprint([tmp_path / table])}", PdfReader(tmp_path / f"{name}.pdf")
    assert reader.metadata["/Keywords"] == mark == Image.open(tmp_path / f"{name}.png").text["Keywords"]
    assert word in reader.pages[0].extract_text()


def artists(monkeypatch, draw, *rows):
    """The axes of the figure that `draw` saves."""
    saved = []
    monkeypatch.setattr(style, "save", lambda figure, path, sources=(): saved.append(figure))
    draw(*rows, "figure")
    style.plt.close(saved[0])
    return saved[0].axes


def test_the_figure_shows_mean_band_seeds_and_chance(monkeypatch):
    results = [{"model_type": "LSTM", "palindrome_length": length, "accuracy": accuracy, "dataset": "palindrome"}
               for length, accuracy in [(10, 0.5), (10, 0.7), (5, 1.0), (5, 0.8)]]
    axes, = artists(monkeypatch, drawing.lengths, results, [0.1, 0.1])
    mean, five, ten, chance = axes.lines
    assert list(mean.get_xdata()) == [5, 10] and list(mean.get_ydata()) == pytest.approx([0.9, 0.6])
    assert sorted(five.get_ydata()) == [0.8, 1.0] and sorted(ten.get_ydata()) == [0.5, 0.7]
    assert set(chance.get_ydata()) == {0.1} and chance.get_label() == "chance"
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.9 + 0.02**0.5) and band[:, 1].min() == pytest.approx(0.6 - 0.02**0.5)


def test_the_curves_show_each_seed_and_the_mean(monkeypatch):
    curves = [{"model_type": "LSTM", "palindrome_length": 10, "seed": seed, "step": step, "accuracy": accuracy,
               "eval_loss": loss} for seed, step, accuracy, loss in [
                   (5, 50, 0.6, 1.0), (5, 100, 0.8, 0.5), (10, 50, 0.8, 0.8), (10, 100, 1.0, 0.1), (10, 150, 1.0, 0.0)]]
    accuracy, loss = artists(monkeypatch, drawing.learning_curves, curves, {10: 2 / 3})
    assert [list(line.get_ydata()) for line in accuracy.lines[:2]] == [[0.6, 0.8], [0.8, 1.0]]
    assert list(accuracy.lines[2].get_xdata()) == [50, 100]  # updates that all seeds have
    assert list(accuracy.lines[2].get_ydata()) == pytest.approx([0.7, 0.9])
    assert list(loss.lines[2].get_ydata()) == pytest.approx([0.9, 0.3])
    assert set(accuracy.lines[3].get_ydata()) == {2 / 3}


def test_each_length_has_its_own_chance(monkeypatch):
    config = sweep.parse_args(["--preset", "2020B"])
    rows = [{"model_type": "LSTM", "palindrome_length": L, "seed": seed, "step": 50, "accuracy": 0.5, "eval_loss": 1.0,
             "dataset": "random_combinations", "input_length": L} for L in (4, 6) for seed in (5, 10)]
    four, six, *_ = artists(monkeypatch, lambda rows, _: sweep.draw(config, rows, rows), rows)
    assert [set(axes.lines[-1].get_ydata()) for axes in (four, six)] == [{1 / 4}, {1 / 6}]


# Again

def test_a_second_invocation_runs_nothing_and_writes_the_same(swept, call, no_runs):
    before = {name: (swept / name).read_bytes() for name in ("results.csv", "curves.csv", "accuracy.pdf")}
    status, _, err = call(sweep, *GRID, "--output", swept)
    assert (status, err) == (0, "")
    assert before == {name: (swept / name).read_bytes() for name in before}


@pytest.mark.parametrize("flag, value", [("learning_rate", 0.5), ("train_steps", 6), ("input_dim", 1)])
@pytest.mark.parametrize("more", [[], ["--collect"], ["--cell", 0]])
def test_other_settings_in_the_same_folder_are_refused(flag, value, more, swept, refused, no_runs):
    line = refused(sweep, *GRID, f"--{flag}", value, *more, "--output", swept)
    assert f"RNN_T4_seed0 in {files.display(swept / 'cells')} was run with {flag} " in line
    assert line.endswith(f"not {value}: choose another --output\n")


def flip_digit(text):
    return text.replace("7", "8", 1) if "7" in text else text.replace("1", "2", 1)


@pytest.mark.parametrize("name, damage", [
    ("result.json", lambda text: "null"), ("result.json", lambda text: "[]"), ("result.json", lambda text: "{}"),
    ("result.json", lambda text: text.replace("accuracy", "akkuracy", 1)), ("result.json", flip_digit),
    ("result.json", lambda text: text[:40]), ("metrics.csv", flip_digit), ("metrics.csv", lambda text: ""),
    ("metrics.csv", lambda text: text.replace("accuracy", "akkuracy")), ("config.json", lambda text: "null"),
    ("config.json", lambda text: "[]"), ("config.json", lambda text: text.replace('"seed": 1', '"seed": 2'))])
def test_damage_of_a_cell_is_refused(name, damage, swept, tmp_path, refused):
    folder = shutil.copytree(swept, tmp_path / "sweep")
    path = folder / "cells" / CELLS[3] / name
    path.write_text(damage(path.read_text()))
    results = (folder / "results.csv").read_bytes()
    for more in ([], ["--collect"], ["--cell", 3]):
        assert CELLS[3] in refused(sweep, *GRID, *more, "--output", folder)
    assert (folder / "results.csv").read_bytes() == results


def test_a_cell_without_its_result_makes_it_again_from_its_checkpoint(swept, tmp_path, call):
    folder = shutil.copytree(swept, tmp_path / "sweep")
    result = folder / "cells" / CELLS[5] / "result.json"
    before = result.read_bytes()
    result.unlink()
    assert call(sweep, *GRID, "--cell", 5, "--output", folder) == (0, "", "")
    assert result.read_bytes() == before


def test_an_interrupted_cell_goes_on_where_it_was(swept, tmp_path, call, refused, no_runs, monkeypatch):
    cell, evaluate, calls = cells_of(GRID, tmp_path)[7], train.evaluate, []

    def killed_at_the_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*args)

    monkeypatch.setattr(train, "evaluate", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        train.train(Namespace(**cell.settings, output=cell.folder, resume=False), quiet=True)
    assert run.load_checkpoint(cell.folder / "checkpoint.pt", "part1.train")["step"] == 2
    assert "num_hidden 3, not 4" in refused(sweep, *GRID, "--num_hidden", 4, "--output", tmp_path)
    assert call(sweep, *GRID, "--cell", 7, "--output", tmp_path) == (0, "", "")
    assert_bit_identical(cell.folder, swept / "cells" / CELLS[7])


def test_a_failing_cell_is_named_and_only_that_one_runs_again(tmp_path, call, threads, no_rendering):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / "RNN_T5_seed0").write_text("in the way")
    status, out, err = call(sweep, *RNN, "--workers", 1, "--output", tmp_path)
    assert status == 1 and err.startswith("error: failed: RNN_T5_seed0; the same command") and err.count("\n") == 1
    assert f"RNN_T5_seed0: failed: File exists: {tmp_path / 'cells' / 'RNN_T5_seed0'} (" in out
    (tmp_path / "cells" / "RNN_T5_seed0").unlink()
    status, out, _ = call(sweep, *RNN, "--workers", 1, "--output", tmp_path)
    assert status == 0 and out.startswith("RNN_T5_seed0: accuracy") and out.count("cells)") == 1
    assert len(table(tmp_path / "results.csv")) == 4


@pytest.mark.parametrize("update, steps", [(1, 0), (3, 2)])
def test_a_training_that_diverges_is_a_result(update, steps, tmp_path, call, threads, monkeypatch, no_rendering):
    check, flags = run.Run.check_finite, [*RNN, "--seeds", 0, "--palindrome_lengths", 4, 5, "--output", tmp_path]

    def diverge(self, step, **values):
        check(self, step, **{name: float("inf") if step == update and "T5" in str(self.folder) else value
                             for name, value in values.items()})

    monkeypatch.setattr(run.Run, "check_finite", diverge)
    status, out, err = call(sweep, *flags, "--workers", 1)
    assert (status, err) == (0, "") and "RNN_T5_seed0: diverged (2/2 cells)" in out and "0 of 1" in out
    monkeypatch.setattr(sweep, "run_cells", None)  # it is done
    assert call(sweep, *flags)[0] == 0
    four, five = files.read_csv(tmp_path / "results.csv")
    assert (four["steps"], five["steps"], five["accuracy"], five["loss"]) == (4, steps, 0, None)
    assert [row["step"] for row in files.read_csv(tmp_path / "curves.csv")] == [2, 4, *range(2, steps + 1, 2)]


def test_a_sweep_of_which_all_diverges_has_no_curves(tmp_path, call, threads, monkeypatch, no_rendering):
    def diverge(*_, **values):
        raise run.Diverged("the loss became nan at update 1")

    monkeypatch.setattr(run.Run, "check_finite", diverge)
    flags = ["--preset", "2020D", "--palindrome_lengths", 2, "--workers", 1, "--output", tmp_path]
    assert call(sweep, *RNN, *flags)[::2] == (0, "")
    assert {row["accuracy"] for row in files.read_csv(tmp_path / "results.csv")} == {0}
    assert not (tmp_path / "curves.csv").exists()


def test_a_reader_that_goes_away_ends_no_sweep(tmp_path, threads, monkeypatch, no_rendering):
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setattr(sys, "stdout", open(write, "w"))
    argv = [str(word) for word in [*RNN, "--workers", 1, "--output", tmp_path]]
    assert cli.main(sweep.parse_args, sweep.main, argv) == 0
    assert len(table(tmp_path / "results.csv")) == 4 and (tmp_path / "accuracy.png").exists()


# Stopped

def wait_for(*cells):
    """Wait until the runs in these folders have begun. They save no more by themselves."""
    end = time.monotonic() + 120
    while not all((cell / "checkpoint.pt").exists() for cell in cells):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def saved(cell):
    return run.load_checkpoint(cell / "checkpoint.pt", "part1.train")["step"]


def test_when_a_worker_is_killed_the_others_save_and_what_is_done_stays(tmp_path, forked):
    done, *endless = cells = [*cells_of(RNN, tmp_path)[:1], *cells_of(ENDLESS, tmp_path)[:2]]

    def kill():
        wait_for(*(cell.folder for cell in endless))
        multiprocessing.active_children()[0].kill()

    threading.Thread(target=kill).start()
    with pytest.raises(cli.RunFailed, match="^a worker was killed; the same command goes on$"):
        sweep.run_cells(cells, 2)
    assert done.result()["steps"] == 4 and multiprocessing.active_children() == []
    killed, stopped = sorted(saved(cell.folder) for cell in endless)
    assert killed == 0 < stopped


def test_a_stopped_sweep_saves_and_leaves_no_process(tmp_path):
    stopped = "stopped: the cells at work have saved; the same command goes on\n"
    ways = {signal.SIGINT: (os.killpg, 130, stopped, 1), signal.SIGTERM: (os.killpg, 143, stopped, 1),  # Ctrl-C first
            signal.SIGKILL: (os.kill, -9, "", 2)}
    sweeps = {}
    try:
        for signum, (*_, workers) in ways.items():  # side by side: most of the time they import torch
            sweeps[signum] = subprocess.Popen(
                [sys.executable, "-m", "part1.sweep", *map(str, ENDLESS), "--workers", str(workers), "--output",
                 tmp_path / signum.name], cwd=files.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True)
        for signum, (kill, status, line, workers) in ways.items():
            *begun, not_begun = (tmp_path / signum.name / "cells" / f"LSTM_T30_seed{seed}" for seed in range(workers + 1))
            wait_for(*begun)
            kill(sweeps[signum].pid, signum)
            out, err = sweeps[signum].communicate(timeout=60)  # until the last process has closed them
            assert (sweeps[signum].returncode, out) == (status, "")
            assert err == line or signum == signal.SIGKILL and "Traceback" not in err
            assert all(map(saved, begun)) and not not_begun.exists()
    finally:
        for process in sweeps.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


# Flags

STOP = "--input_dim 10 --eval_every 100 --target_accuracy 0.99"
GROUPS = "--optimizer adam --init kaiming --eval_every 50 --eval_size 2000 --dataset"
BINARY = f"{GROUPS} binary_palindrome --input_dim 3 --num_hidden 256 --batch_size 256 --learning_rate 1e-4 --train_steps 3000"
COMBINATIONS = f"{GROUPS} random_combinations --learning_rate 1e-3 --train_steps 2000 --input_dim LENGTH"


@pytest.mark.parametrize("preset, model, lengths, flags", [  # test_reproduce.py compares the others with their results
    ("rmsprop", "RNN", [5, 10, 15, 20, 30, 40, 50], f"{STOP} --init orthogonal --learning_rate 1e-4 --train_steps 6000"),
    ("rmsprop", "LSTM", [5, 10, 15, 20, 30, 50, 100], f"{STOP} --forget_bias chrono --train_steps 3000"),
    ("2020B", "LSTM", [5, 10, 15], COMBINATIONS), ("2020B", "BiLSTM", [5, 10, 15], COMBINATIONS),
    ("2020D", "LSTM", [10, 20], BINARY), ("2020D", "PeepLSTM", [10, 20], BINARY)])
def test_a_preset_is_the_flags_that_it_stands_for(preset, model, lengths, flags):
    of_2020 = preset.startswith("2020")
    cells = [cell for cell in sweep.make_cells("folder", preset) if cell.settings["model_type"] == model]
    expected = [(length, train.parse_args(["--model_type", model, *flags.replace("LENGTH", str(length)).split(), "--seed",
                                           str(seed), "--input_length", str(length if of_2020 else length - 1)]))
                for length in lengths for seed in ([5, 10, 20] if of_2020 else range(5))]
    assert [(cell.length, cell.settings) for cell in cells] == [
        (length, {name: value for name, value in vars(config).items() if name not in run.NOT_TRAINED})
        for length, config in expected]


def test_a_preset_that_tunes_networks_takes_no_other(tmp_path, refused):
    assert "no settings for GRU, only for RNN, LSTM" in refused(sweep, "--model_type", "GRU", "--output", tmp_path / "run")


def test_typed_flags_win_over_the_presets_and_cells_asked_for_twice_run_once():
    cell, = sweep.parse_args("--preset 2020D --learning_rate 0.5 --batch_size=7 --model_type RNN RNN "
                             "--palindrome_lengths 4 4 --seeds 3 3".split()).cells
    assert cell.folder == files.ROOT / "runs" / "sweep-2020D" / "cells" / "RNN_L4_seed3"
    assert [cell.settings[name] for name in ("learning_rate", "batch_size", "num_hidden")] == [0.5, 7, 256]


@pytest.mark.parametrize("flags, hint", [
    ("--model_type GPT", "'GPT'"), ("--palindrome_lengths 1", "at least 2"), ("--palindrome_lengths", "expected at"),
    ("--preset best", "'best'"), ("--seeds -1", "not -1"), ("--seeds=--", "expected one argument"),
    ("--palindrome_lengths 2000000000", "memory"), ("--workers 0", "at least 1"), ("--cell 8", "0 … 7"),
    ("--cell -1", "not -1"), ("--cell 1 --collect", "not allowed with"), ("--learning_rate nan", "nan"),
    ("--input_dim 3", "1 or 10"), ("--device cuda:7", "cuda:7"), ("--cell 0 --device cuda:7", "cuda:7"),
    ("--seed=3", "--seed is not for a sweep"), ("--resume", "--resume is not"), ("--input_length 4", "--input_length"),
    ("--epochs 3", "--epochs 3"), ("stray", "stray"), ("--forget_bias 1", "no forget gate"),
    ("--dataset binary_palindrome --input_dim 3", "even number > 0, not 5"), ("--collect", "no cell is done"),
    ("--output /proc/sweep", "/proc/sweep"), ("--output /dev/null", "/dev/null")])
def test_wrong_flags_are_one_line_and_nothing_is_written(flags, hint, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hint in refused(sweep, *GRID, "--output", "run", *flags.split())
    assert os.listdir(tmp_path) == []
