"""Accuracy against palindrome length, over many seeds (Questions 1.3 and 1.6 of 2019; the curves of 1.3, 1.4 of 2020).

    python -m part1.sweep                                                  # all three networks at the best settings
    python -m part1.sweep --model_type LSTM --palindrome_lengths 50 100 200 --seeds 0 1 2 3 4
    python -m part1.sweep --preset 2020D                                   # the 2020 edition's learning curves
    sbatch --array=0-124 part1/sweep.sbatch --preset tuned                 # on a cluster, one task per cell

Every cell (network, length, seed) is one independent run of `part1.train` in a folder of its own. The same command goes
on where it was interrupted. The output folder gets `results.csv` (a row per cell with every setting), `curves.csv` (a
row per evaluation) and a figure. Flags that this script does not know go to `part1.train` for every cell.
"""
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from tqdm import tqdm

from part1 import cli, drawing, files, run, style, train
from part1.cli import InputError


@dataclass
class Preset:
    """A named study: its cells when the command line does not say, and the flags of `part1.train` by name."""

    about: str
    grid: dict  # lengths by network
    settings: dict
    by_model: dict = field(default_factory=dict)  # further settings by network
    by_length: dict = field(default_factory=dict)  # and from which length on
    seeds: tuple = (0, 1, 2, 3, 4)
    curves: bool = False  # draw learning curves instead of accuracy against length


STOP = {"eval_every": 100, "target_accuracy": 0.99, "train_steps": 3000}
# One-hot digits learn several times faster than raw ones. The RNN needs small steps (its orthogonal recurrent weights
# are what the literature advises; Xavier weights did as well). The LSTM needs to start with memories as long as the
# palindrome, which is what chrono biases are. Adam averages gradients over updates and so takes fewer of them.
ONE_HOT = STOP | {"input_dim": 10}
RNN_FLAGS = {"init": "orthogonal", "learning_rate": 1e-4, "train_steps": 6000}
LSTM_FLAGS = {"forget_bias": "chrono"}
LSTM_ADAM_FLAGS = LSTM_FLAGS | {"optimizer": "adam", "learning_rate": 3e-3}
GROUPS_2020 = {"input_dim": None, "num_hidden": 256, "batch_size": 256, "optimizer": "adam", "learning_rate": 1e-4,
               "init": "kaiming", "train_steps": 3000, "eval_every": 50, "eval_size": 2000}
PRESETS = {
    "tuned": Preset(
        "the settings found best",
        {"RNN": [5, 10, 15, 20, 30, 40, 50, 100], "LSTM": [5, 10, 15, 20, 30, 50, 100, 200, 300],
         "PeepLSTM": [5, 10, 15, 20, 30, 50, 100, 300]},
        ONE_HOT, {"RNN": RNN_FLAGS | {"optimizer": "adam"}, "LSTM": LSTM_ADAM_FLAGS,
                  "PeepLSTM": LSTM_ADAM_FLAGS}),
    "rmsprop": Preset(
        "the best found with the course's optimizer, RMSProp",
        {"RNN": [5, 10, 15, 20, 30, 40, 50], "LSTM": [5, 10, 15, 20, 30, 50, 100]},
        ONE_HOT, {"RNN": RNN_FLAGS, "LSTM": LSTM_FLAGS, "PeepLSTM": LSTM_FLAGS}),
    "latch": Preset(
        "the course's optimizer and rate, and a state that the first digit decides",
        {"RNN": [10, 100, 1000, 10_000, 100_000], "LSTM": [10, 100, 1000, 10_000],
         "PeepLSTM": [10, 100, 1000, 10_000]},
        ONE_HOT | {"init": "latch", "batch_size": 32, "eval_every": 10, "train_steps": 200},
        # An LSTM reads 10,000 palindromes of 10,000 digits in 8 minutes on one core, and 32 of them in 1.5 seconds.
        by_length={10_000: {"eval_size": 1000}}),
    "naive": Preset(
        "one-hot digits, but Xavier weights, zero biases and one learning rate",
        dict.fromkeys(("RNN", "LSTM", "PeepLSTM"), [5, 10, 15, 20, 30]), ONE_HOT),
    "official": Preset(
        "the course's defaults: raw digits, Xavier weights, zero biases, learning rate 1e-3",
        dict.fromkeys(("RNN", "LSTM"), [5, 10, 15, 20, 30]), STOP | {"train_steps": 10_000}),
    "2020A": Preset(
        "Baum-Sweet sequences with the 2020 edition's settings", dict.fromkeys(("LSTM", "GRU"), [4, 5, 6]),
        GROUPS_2020 | {"dataset": "baum_sweet"}, seeds=(5, 10, 20), curves=True),
    "2020B": Preset(
        "random combinations with the 2020 edition's settings", dict.fromkeys(("LSTM", "BiLSTM"), [5, 10, 15]),
        GROUPS_2020 | {"dataset": "random_combinations", "num_hidden": 128, "batch_size": 128, "learning_rate": 1e-3,
                       "train_steps": 2000}, seeds=(5, 10, 20), curves=True),
    "2020D": Preset(
        "binary palindromes with the 2020 edition's settings", dict.fromkeys(("LSTM", "PeepLSTM"), [10, 20]),
        GROUPS_2020 | {"dataset": "binary_palindrome"}, seeds=(5, 10, 20), curves=True),
}


@dataclass
class Cell:
    """One run of a sweep: the length of its palindromes, the flags of `part1.train` by name, and its folder."""

    length: int
    settings: dict
    folder: Path

    def recorded(self):
        """The settings that decide the result, a dict."""
        return {name: value for name, value in self.settings.items() if name != "device"}

    def result(self):
        """The `part1.train.summary` of this cell, or None.

        `InputError` where the cell was run with other settings, or its files are damaged.
        """
        begun, done = self.folder / "config.json", self.folder / "result.json"
        if not begun.exists():
            return None
        then = files.read_json(begun)
        for name, value in self.recorded().items():
            before = then.get(name) if isinstance(then, dict) else then
            if before != value:
                raise InputError(f"{self.folder.name} in {files.display(self.folder.parent)} was run with {name} "
                                 f"{before}, not {value}: choose another --output")
        if not done.exists():
            return None
        content = files.read_json(done)
        if not isinstance(content, dict) or content.get("metrics") != self.fingerprint() or (
                content != self.record(content.get("diverged"))):
            raise InputError(f"{files.display(done)} or the metrics.csv beside it is damaged: without their "
                             "folder, the cell runs again")
        return content["result"]

    def metrics(self):
        """The rows of its `metrics.csv`, which is not there when its training diverged before the first evaluation."""
        path = self.folder / "metrics.csv"
        return files.read_csv(path) if path.exists() else []

    def fingerprint(self):
        """The SHA-256 (hex) of its `metrics.csv`, or of nothing."""
        path = self.folder / "metrics.csv"
        return style.fingerprint([path] if path.exists() else [])

    def record(self, diverged=None):
        """The content of its `result.json`; `diverged` says why the training failed: its accuracy is then 0."""
        rows, content = self.metrics(), {"settings": self.recorded(), "metrics": self.fingerprint()}
        if not diverged:
            return content | {"result": train.summary(rows, self.settings["target_accuracy"])}
        last = rows[-1] if rows else {"step": 0, "seconds": 0.0}
        return content | {"diverged": diverged, "result": {
            "steps": last["step"], "loss": None, "eval_loss": None, "accuracy": 0.0, "best_accuracy": 0.0,
            "steps_to_target": None, "seconds": last["seconds"]}}


def make_cells(output, name, models=None, lengths=None, seeds=None, settings=None):
    """The cells of a sweep in the folder `output`, in order.

    Args:
        name: of a preset in `PRESETS`; networks (`models`), `lengths` and `seeds` that are not given are the preset's.
        settings: flags of `part1.train` by name, over those of the preset.

    Raises `InputError` for settings that do not fit together, and for a network that the preset does not tune.
    """
    preset, defaults = PRESETS[name], vars(train.make_parser().parse_args([]))
    cells = {}
    for model in models or preset.grid:
        if preset.by_model and model not in preset.by_model:
            raise InputError(f"--preset {name} has no settings for {model}, only for {', '.join(preset.by_model)}")
        own_lengths = preset.grid.get(model) or next(iter(preset.grid.values()))
        for length, seed in itertools.product(lengths or own_lengths, seeds or preset.seeds):
            by_length = [more for start, more in preset.by_length.items() if length >= start]
            config = Namespace(**defaults)
            for more in (preset.settings, preset.by_model.get(model, {}), *by_length, settings or {}):
                vars(config).update(more)
            data = train.DATASETS[config.dataset]
            config.model_type, config.input_length, config.seed = model, length - data.offset, seed
            train.complete(config)
            folder = Path(output) / "cells" / f"{model}_{data.letter}{length}_seed{seed}"
            flags = {name: value for name, value in vars(config).items() if name not in run.NOT_TRAINED}
            cells[folder] = Cell(length, flags, folder)
    return list(cells.values())


def run_cell(cell):
    """Run `cell` in this process unless it is done, on one thread, so that its bits do not depend on where it runs.

    Returns its result. Raises `files.Busy` when another process is running it.
    """
    torch.set_num_threads(1)
    if cell.result() is None:
        run.choose_device(cell.settings["device"])  # an error before the folder is made
        files.make_folder(cell.folder)
        with files.locked(cell.folder, ".cell.lock"):  # the run's own lock ends before the result is written
            if cell.result() is None:
                resume = (cell.folder / "checkpoint.pt").exists()
                diverged = None
                try:
                    train.train(Namespace(**cell.settings, output=cell.folder, resume=resume), quiet=True)
                except run.Diverged as error:  # as it would again: that is its result
                    diverged = str(error)
                files.write_json(cell.folder / "result.json", cell.record(diverged))
    return cell.result()


def set_up_worker():
    """Let a worker whose sweep was killed save and end too, and let no worker leave a semaphore behind."""
    def watch():
        multiprocessing.parent_process().join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is shared between processes, and stays when one is killed


def work(cell):
    """`run_cell` in a worker: at SIGTERM the training saves, then the worker dies of it."""
    try:
        return run_cell(cell)
    except cli.Interrupted as stop:
        signal.raise_signal(stop.signum)  # the run is over, and the handler is the system's again


def run_cells(cells, workers):
    """Run `cells`, `workers` at a time in processes of their own; raises `cli.RunFailed` when any of them failed."""
    failed, others = [], multiprocessing.active_children()
    workers = min(workers, len(cells), 61)  # Windows can wait for no more
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=set_up_worker) as pool, \
            tqdm(total=len(cells), unit=" cells", disable=None, dynamic_ncols=True) as bar:
        try:
            # Ctrl-C in a terminal reaches all processes; workers inherit that they ignore it.
            handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
            running = {pool.submit(work, cell): cell for cell in cells}
            signal.signal(signal.SIGINT, handler)
            for count, done in enumerate(as_completed(running), 1):
                try:
                    result = done.result()
                    outcome = "diverged" if result["loss"] is None else f"accuracy {result['accuracy']:.4f}"
                except Exception as error:
                    if not cli.foreseen(error):
                        raise
                    outcome = f"failed: {cli.one_line(error)}"
                    failed.append(running[done].folder.name)
                bar.update()
                tqdm.write(f"{running[done].folder.name}: {outcome} ({count}/{len(cells)} cells)")
                sys.stdout.flush()
        except BrokenProcessPool:
            raise cli.RunFailed("a worker was killed; the same command goes on") from None
        except (KeyboardInterrupt, cli.Interrupted) as stop:
            raise cli.Interrupted("the cells at work have saved; the same command goes on",
                                  getattr(stop, "signum", signal.SIGINT)) from None
        finally:
            for worker in set(multiprocessing.active_children()).difference(others):
                worker.terminate()
    if failed:
        raise cli.RunFailed(f"failed: {', '.join(failed)}; the same command tries them again, "
                            "--collect draws the others")


def collect(cells, output):
    """Write `results.csv` and `curves.csv` of the cells that are done into `output`; returns the rows of both."""
    results, curves = [], []
    for cell in cells:
        if result := cell.result():
            about = {"model_type": cell.settings["model_type"], "palindrome_length": cell.length,
                     "seed": cell.settings["seed"]}
            results.append({**about, **result, **cell.recorded()})
            curves += [{**about, **row} for row in cell.metrics()]
    if not results:
        raise InputError(f"no cell is done in {output}")
    files.write_csv(output / "results.csv", results)
    if curves:  # none where all have diverged at once
        files.write_csv(output / "curves.csv", curves)
    return results, curves


def study(cells, output, workers=None):
    """Run the `cells` that are not done yet, `workers` at a time; returns what `collect` returns."""
    missing = [cell for cell in cells if cell.result() is None]
    if missing:
        run.choose_device(missing[0].settings["device"])  # an error now, not in every cell
        output.mkdir(parents=True, exist_ok=True)
        run_cells(missing, workers or cli.cores())
    return collect(cells, output)


def table(results):
    """Mean accuracy and solved seeds for each network and length, as lines of text."""
    lines = [f"{'network':10}{'T':>5}{'seeds':>7}{'accuracy':>18}{'at least 0.99':>15}{'updates':>9}"]
    for (model, length), rows in files.grouped(results, "model_type", "palindrome_length").items():
        accuracy = [row["accuracy"] for row in rows]
        spread = np.std(accuracy, ddof=1) if len(rows) > 1 else 0
        solved = sum(value >= drawing.SOLVED for value in accuracy)
        lines.append(f"{model:10}{length:>5}{len(rows):>7}{np.mean(accuracy):>10.4f} ± {spread:.3f}"
                     f"{f'{solved} of {len(rows)}':>15}{np.mean([row['steps'] for row in rows]):>9.0f}")
    return "\n".join(lines)


def parse_args(argv=None):
    """Parse the flags of `python -m part1.sweep`; `cells` of the result is the list of its cells."""
    parser = cli.Parser("part1.sweep", "Train every combination of network, palindrome length and seed; the same "
                        "command goes on where it was interrupted. Other flags go to part1.train (see its --help), "
                        "over the preset's.")
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="tuned",
        help="settings and cells: " + "; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items()))
    add("--model_type", nargs="+", choices=train.MODELS, help="networks (default: the preset's)")
    add("--palindrome_lengths", nargs="+", type=cli.number(int, at_least=2), metavar="T",
        help="lengths T of the palindromes, T - 1 digits in; L of the 2020 edition's data (default: the preset's)")
    add("--seeds", nargs="+", type=cli.seed, metavar="SEED", help="seeds (default: the preset's)")
    add("--workers", type=cli.positive_int, default=cli.cores(), help="cells at a time, one thread each")
    add("--output", type=cli.path, help="folder of the sweep (default: runs/sweep-PRESET)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list_cells", action="store_true", help="print the cells, run nothing")
    what.add_argument("--cell", type=cli.number(int, at_least=0), metavar="K", help="run only cell K of --list_cells")
    what.add_argument("--collect", action="store_true",
                      help="write tables and figure from the cells that are done, run nothing")
    config, train_flags = parser.parse_known_args(argv)
    given = train.make_parser().parse_typed(train_flags)
    for name in given.typed & {"resume", "seed", "input_length"}:
        parser.error(f"--{name} is not for a sweep, see --help")
    config.output = config.output or files.ROOT / "runs" / f"sweep-{config.preset}"
    config.cells = make_cells(config.output, config.preset, config.model_type, config.palindrome_lengths, config.seeds,
                              {name: getattr(given, name) for name in given.typed})
    if config.cell is not None and config.cell >= len(config.cells):
        parser.error(f"--cell is one of 0 … {len(config.cells) - 1}, not {config.cell}")
    return config


def figure_of(config):
    """The path of the sweep's figure, without suffix."""
    return config.output / ("curves" if PRESETS[config.preset].curves else "accuracy")


def draw(config, results, curves):
    """Draw the sweep's figure from the rows that `collect` has written; returns its path."""
    chances = {row["palindrome_length"]: train.make_dataset(row["dataset"], row["input_length"]).chance
               for row in results}
    if PRESETS[config.preset].curves and curves:
        return drawing.learning_curves(curves, chances, figure_of(config), [config.output / "curves.csv"])
    return drawing.lengths(results, chances.values(), figure_of(config), [config.output / "results.csv"])


def main(config):
    if config.list_cells:
        defaults = vars(train.make_parser().parse_args([]))
        for k, cell in enumerate(config.cells):
            flags = " ".join(f"--{name}" if value is True else f"--{name} {value}"
                             for name, value in cell.settings.items() if value != defaults[name])
            print(f"{k:4} {cell.folder.name:22} {flags}")
        return
    for name in ("results.csv", "curves.csv"):
        files.refuse_foreign(config.output / name, ["model_type", "palindrome_length", "seed"])
    style.targets(figure_of(config))
    if config.cell is not None:
        try:
            run_cell(config.cells[config.cell])
        except files.Busy as busy:
            print(f"{busy}: leaving it to that one")
    else:
        results, curves = collect(config.cells, config.output) if config.collect else \
            study(config.cells, config.output, config.workers)
        print(table(results))
        if missing := len(config.cells) - len(results):
            print(f"{missing} of {len(config.cells)} cells are missing; the same command without --collect runs them")
        print(f"figure: {files.display(draw(config, results, curves))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
