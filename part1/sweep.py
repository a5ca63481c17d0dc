"""Accuracy against palindrome length, over many seeds (Questions 1.3 and 1.6 of 2019; the curves of 1.3, 1.4 of 2020).

    python -m part1.sweep                                                  # RNN and LSTM with the settings found best
    python -m part1.sweep --model_type LSTM --palindrome_lengths 50 100 200 --seeds 0 1 2 3 4
    python -m part1.sweep --preset 2020                                    # the 2020 edition's learning curves
    python -m part1.sweep --slurm                                          # the same on a cluster, see part1/slurm.py

Every cell (network, length, seed) is one independent run of `part1.train` in a folder of its own. The same command goes
on where it was interrupted. The output folder gets `results.csv` (a row a cell with every setting), `curves.csv` (a row
an evaluation) and a figure. Flags that this script does not know go to `part1.train` for every cell.
"""
import itertools
import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run, train  # before torch, see part1/run.py
import numpy as np
import torch
from tqdm import tqdm

from part1 import slurm
from part1.dataset import DATASETS
from report import style

SCRIPT = "part1.sweep"


@dataclass
class Preset:
    """A named study: which cells it has when the command line does not say, and the train flags of each network."""

    about: str
    grid: list  # pairs of a network and its lengths
    seeds: list
    flags: dict  # train flags by network
    curves: bool = False  # draw learning curves instead of accuracy against length


_2020 = ("--dataset binary_palindrome --input_dim 3 --num_hidden 256 --batch_size 256 --optimizer adam "
         "--learning_rate 1e-4 --init kaiming --train_steps 3000 --eval_every 50 --eval_size 2000")
_STOP = "--eval_every 100 --target_accuracy 0.99 --train_steps 3000"
# One-hot digits learn several times faster than raw ones. The RNN needs small steps (its orthogonal recurrent weights
# are what the literature advises; Xavier weights did as well). The LSTM needs to start with memories as long as the
# palindrome, which is what chrono biases are. Adam averages gradients over updates and so takes fewer of them.
_RNN = f"--input_dim 10 --init orthogonal --learning_rate 1e-4 {_STOP} --train_steps 6000"
_LSTM = f"--input_dim 10 --forget_bias chrono {_STOP}"
_ADAM = f"{_LSTM} --optimizer adam --learning_rate 3e-3"
PRESETS = {
    "tuned": Preset(
        "the settings found best",
        [("RNN", [5, 10, 15, 20, 30, 40, 50, 100]), ("LSTM", [5, 10, 15, 20, 30, 50, 100, 200, 300])], [0, 1, 2, 3, 4],
        {"RNN": f"{_RNN} --optimizer adam", "LSTM": _ADAM, "PeepLSTM": _ADAM}),
    "rmsprop": Preset(
        "the best found with the course's optimizer, RMSProp",
        [("RNN", [5, 10, 15, 20, 30, 40, 50]), ("LSTM", [5, 10, 15, 20, 30, 50, 100])], [0, 1, 2, 3, 4],
        {"RNN": _RNN, "LSTM": _LSTM, "PeepLSTM": _LSTM}),
    "naive": Preset(
        "one-hot digits, but Xavier weights, zero biases and one learning rate",
        [("RNN", [5, 10, 15, 20, 30]), ("LSTM", [5, 10, 15, 20, 30])], [0, 1, 2, 3, 4],
        dict.fromkeys(train.MODELS, f"--input_dim 10 {_STOP}")),
    "official": Preset(
        "the course's defaults: raw digits, Xavier weights, zero biases, learning rate 1e-3",
        [("RNN", [5, 10, 15, 20]), ("LSTM", [5, 10, 15, 20])], [0, 1, 2, 3, 4], dict.fromkeys(train.MODELS, _STOP)),
    "2020": Preset(
        "binary palindromes with the 2020 edition's settings", [("LSTM", [10, 20]), ("PeepLSTM", [10])], [5, 10, 20],
        dict.fromkeys(train.MODELS, _2020), curves=True),
}


@dataclass
class Cell:
    """One run of the sweep: its place in it, the flags of `part1.train`, and its folder."""

    model_type: str
    length: int
    seed: int
    argv: list
    folder: Path

    @property
    def name(self):
        return self.folder.name

    def config(self):
        """The cell's flags for `part1.train`, going on where an earlier attempt stopped."""
        resume = ["--resume"] if (self.folder / "checkpoint.pt").exists() else []
        return train.parse_args([*self.argv, "--output", str(self.folder), *resume])

    def settings(self):
        """Every setting that decides the result, as a dict."""
        config = vars(train.parse_args(self.argv))
        return {name: value for name, value in config.items() if name not in run.NOT_A_SETTING | {"device"}}

    def result(self):
        """What `part1.train.train` returned when the cell was run, or None. Begun with other settings: `ValueError`."""
        begun, done = self.folder / "config.json", self.folder / "result.json"
        if not begun.exists():
            return None
        then = run.read_json(begun)
        for name, value in self.settings().items():
            if then.get(name) != value:
                raise ValueError(f"{self.name} in {run.shorter(self.folder.parent)} was run with {name} "
                                 f"{then.get(name)}, not {value}: choose another --output")
        return run.read_json(done)["result"] if done.exists() else None


def parse_args(argv=None):
    """Parse the flags of `python -m part1.sweep`; `cells` of the result is the list of its cells."""
    parser = cli.Parser(SCRIPT, "Train every combination of network, palindrome length and seed. Other flags go to "
                        "part1.train (see its --help) for every cell, over the preset's.")
    add = parser.add_argument
    add("--preset", choices=PRESETS, default="tuned",
        help="settings and cells: " + "; ".join(f"{name}: {preset.about}" for name, preset in PRESETS.items()))
    add("--model_type", nargs="+", choices=list(train.MODELS), help="networks (default: the preset's)")
    add("--palindrome_lengths", nargs="+", type=cli.number(int, at_least=2), metavar="T",
        help="lengths T of the palindromes, T - 1 digits in; for binary ones L (default: the preset's)")
    add("--seeds", nargs="+", type=cli.seed, metavar="SEED", help="seeds (default: the preset's)")
    add("--workers", type=cli.positive_int, default=slurm.cpus(), help="cells at a time, one thread each")
    add("--output", type=cli.path, help="folder of the sweep (default: runs/sweep-PRESET)")
    what = slurm.add_flags(parser)
    what.add_argument("--collect", action="store_true",
                      help="write tables and figure from the cells that are done, run nothing")
    config, train_flags = parser.parse_known_args(argv)
    slurm.check(parser, config)
    for flag in ("--resume", "--seed", "--input_length"):
        if any(word.split("=")[0] == flag for word in train_flags):
            parser.error(f"{flag} is not for a sweep: "
                         + ("the same command goes on where it stopped" if flag == "--resume" else "see --help"))
    config.output = config.output or cli.ROOT / "runs" / f"sweep-{config.preset}"
    config.cells = make_cells(config, train_flags)
    if config.cell is not None and config.cell >= len(config.cells):
        parser.error(f"--cell is one of 0 … {len(config.cells) - 1}, not {config.cell}")
    config.words = [SCRIPT, *slurm.other_words(argv, "--output"), "--output", str(config.output.absolute())]
    return config


def make_cells(config, train_flags):
    """The sweep's cells in order; wrong flags for `part1.train` end the script here, before anything is written."""
    preset = PRESETS[config.preset]
    grid = preset.grid
    if config.model_type or config.palindrome_lengths:
        models = config.model_type or [model for model, _ in grid]
        grid = [(model, config.palindrome_lengths or dict(grid).get(model, grid[0][1])) for model in models]
    cells = []
    for model, lengths in grid:
        for length, seed in itertools.product(lengths, config.seeds or preset.seeds):
            argv = ["--model_type", model, *preset.flags[model].split(), *train_flags, "--seed", str(seed)]
            binary = train.parse_args([*argv, "--input_length", "2"]).dataset == "binary_palindrome"
            argv += ["--input_length", str(length if binary else length - 1)]
            train.parse_args(argv)
            folder = config.output / "cells" / f"{model}_{'L' if binary else 'T'}{length}_seed{seed}"
            cells.append(Cell(model, length, seed, argv, folder))
    return list({cell.name: cell for cell in cells}.values())


def run_cell(cell):
    """Run `cell` in this process, with one thread so that its bits do not depend on where it runs.

    A cell that is done is not run again; `run.Busy` when another process is running it.
    """
    torch.set_num_threads(1)
    if cell.result() is not None:
        return
    run.choose_device(train.parse_args(cell.argv).device)  # an error before the folder is made
    cell.folder.mkdir(parents=True, exist_ok=True)
    with run.locked(cell.folder, ".cell.lock"):  # the run's own lock ends before the result is written
        if cell.result() is None:
            result = train.train(cell.config(), quiet=True)
            del result["folder"]
            run.write_json(cell.folder / "result.json", {"settings": cell.settings(), "result": result})


def _worker(cell):
    def silently(cell):
        try:
            run_cell(cell)
        except cli.Interrupted as stop:  # how to go on is for the sweep to say
            sys.exit(128 + stop.signum)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one that comes this late would only cut the exit short

    # Before and after the training too, SIGTERM ends a worker in order, so that it leaves no semaphore behind.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    sys.exit(cli.main(lambda argv: cell, silently))


def run_cells(cells, workers):
    """Run `cells`, `workers` at a time in processes of their own; raises `cli.RunFailed` when any of them failed."""
    context = multiprocessing.get_context("forkserver")
    # What is not imported here is imported by every cell: seconds each. Optimizers import the last one.
    context.set_forkserver_preload(["part1.train", "report.style", "torch._dynamo"])
    waiting, running, failed = list(cells), {}, []
    quiet = not sys.stderr.isatty()

    # Ctrl-C in a terminal reaches every process; the fork server and, through it, the workers leave it to this one.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    multiprocessing.forkserver.ensure_running()
    stopped = []
    for signum in (signal.SIGINT, signal.SIGTERM):
        before.setdefault(signum, signal.signal(signum, lambda signum, frame: stopped.append(signum)))
    try:
        with tqdm(total=len(cells), unit=" cells", disable=quiet, dynamic_ncols=True) as bar:
            while waiting or running:
                while waiting and len(running) < workers and not stopped:
                    cell = waiting.pop(0)
                    process = context.Process(target=_worker, args=(cell,))
                    process.start()
                    running[process.sentinel] = process, cell
                ended = multiprocessing.connection.wait(list(running), timeout=0.2)
                if stopped:
                    raise cli.Interrupted("the cells at work have saved; the same command goes on", stopped[0])
                for sentinel in ended:
                    process, cell = running.pop(sentinel)
                    process.join()
                    if process.exitcode:
                        failed.append(cell.name)
                    bar.update()
                    done = "failed" if process.exitcode else f"accuracy {cell.result()['accuracy']:.4f}"
                    bar.set_postfix_str(f"{cell.name}: {done}")
                    if quiet:
                        print(f"{cell.name}: {done} ({len(cells) - len(waiting) - len(running)}/{len(cells)} cells)",
                              flush=True)
    finally:
        for process, _ in running.values():
            process.terminate()  # SIGTERM: the run saves its checkpoint
        for process, _ in running.values():
            process.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if failed:
        raise cli.RunFailed(f"failed: {', '.join(failed)}; the same command tries them again, "
                            "--collect draws the others")


def collect(cells, output):
    """Write `results.csv` and `curves.csv` of the cells that are done into `output`; returns the rows of both."""
    results, curves = [], []
    for cell in cells:
        result = cell.result()
        if result is not None:
            about = {"model_type": cell.model_type, "palindrome_length": cell.length, "seed": cell.seed}
            results.append({**about, **result, **cell.settings()})
            curves += [{**about, **row} for row in run.read_metrics(cell.folder / "metrics.csv")]
    if not results:
        raise ValueError(f"no cell is done in {output}")
    run.write_csv(output / "results.csv", results)
    run.write_csv(output / "curves.csv", curves)
    return results, curves


def draw_accuracy(axes, results):
    """Accuracy against palindrome length on `axes`: mean and standard deviation over seeds, each seed, chance."""
    for model in dict.fromkeys(row["model_type"] for row in results):
        cells = {}
        for row in results:
            if row["model_type"] == model:
                cells.setdefault(row["palindrome_length"], []).append(row["accuracy"])
        order, color = sorted(cells), style.MODEL_COLORS[model]
        mean = np.array([np.mean(cells[T]) for T in order])
        spread = np.array([np.std(cells[T], ddof=1) if len(cells[T]) > 1 else 0 for T in order])
        axes.plot(order, mean, color=color, label=model)
        axes.fill_between(order, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
        for T in order:
            axes.plot([T] * len(cells[T]), cells[T], ".", color=color, alpha=0.6, markersize=4)
    chance = DATASETS[results[0]["dataset"]].chance
    axes.axhline(chance, color=style.GREY, linestyle="--", linewidth=1, label="chance")
    axes.set(xlabel="palindrome length $T$", ylim=(-0.02, 1.05))


def draw_lengths(results, path, sources=()):
    """Draw `draw_accuracy` as a figure of its own."""
    figure, axes = style.plt.subplots()
    draw_accuracy(axes, results)
    axes.set(ylabel="accuracy")
    axes.legend()
    return style.save(figure, path, sources)


def draw_curves(curves, path, chance, sources=()):
    """Draw accuracy and loss on the evaluation set against updates: mean and standard deviation over the seeds."""
    figure, panels = style.plt.subplots(1, 2)
    for model, length in dict.fromkeys((row["model_type"], row["palindrome_length"]) for row in curves):
        rows = [row for row in curves if (row["model_type"], row["palindrome_length"]) == (model, length)]
        seeds = sorted({row["seed"] for row in rows})
        steps = sorted(set.intersection(*({row["step"] for row in rows if row["seed"] == seed} for seed in seeds)))
        for axes, name in zip(panels, ("accuracy", "eval_loss")):
            values = {(row["seed"], row["step"]): row[name] for row in rows}
            style.band(axes, steps, np.array([[values[seed, step] for step in steps] for seed in seeds]),
                       label=f"{model}, $L={length}$")
    panels[0].axhline(chance, color=style.GREY, linestyle="--", linewidth=1, label="chance")
    panels[0].set(xlabel="update", ylabel="accuracy", ylim=(None, 1.02))
    panels[1].set(xlabel="update", ylabel="cross-entropy (nats)", ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
    return style.save(figure, path, sources)


def draw(config, results, curves):
    """Draw the figure of the sweep's preset into its output folder."""
    if PRESETS[config.preset].curves:
        chance = DATASETS[results[0]["dataset"]].chance
        return draw_curves(curves, config.output / "curves", chance, [config.output / "curves.csv"])
    return draw_lengths(results, config.output / "accuracy", [config.output / "results.csv"])


def table(results):
    """Mean accuracy and solved seeds for each network and length, as lines of text."""
    lines = [f"{'network':10}{'T':>5}{'seeds':>7}{'accuracy':>18}{'at least 0.99':>15}{'updates':>9}"]
    for model, length in dict.fromkeys((row["model_type"], row["palindrome_length"]) for row in results):
        rows = [row for row in results if (row["model_type"], row["palindrome_length"]) == (model, length)]
        accuracy = [row["accuracy"] for row in rows]
        spread = np.std(accuracy, ddof=1) if len(rows) > 1 else 0
        solved = sum(value >= 0.99 for value in accuracy)
        lines.append(f"{model:10}{length:>5}{len(rows):>7}{np.mean(accuracy):>10.4f} ± {spread:.3f}"
                     f"{f'{solved} of {len(rows)}':>15}{np.mean([row['steps'] for row in rows]):>9.0f}")
    return "\n".join(lines)


def study(config):
    """Run the cells of `config` (from `parse_args`) that are not done yet; returns what `collect` returns."""
    waiting = [cell for cell in config.cells if cell.result() is None]
    run.choose_device(train.parse_args(config.cells[0].argv).device)  # an error now, not in every cell
    (config.output / "cells").mkdir(parents=True, exist_ok=True)
    run_cells(waiting, config.workers)
    return collect(config.cells, config.output)


def main(config):
    if config.list_cells:
        for k, cell in enumerate(config.cells):
            print(f"{k:4} {cell.name:24} {' '.join(cell.argv)}")
        return
    if config.cell is not None:
        slurm.run_once(run_cell, config.cells[config.cell])
        return
    if config.slurm:
        missing = [k for k, cell in enumerate(config.cells) if cell.result() is None]
        slurm.submit(config, config.words, missing, ["--collect"], config.output.absolute() / "slurm")
        return
    results, curves = collect(config.cells, config.output) if config.collect else study(config)
    print(table(results))
    if missing := len(config.cells) - len(results):
        print(f"{missing} of {len(config.cells)} cells are missing; the same command without --collect runs them")
    print(f"figure: {run.shorter(draw(config, results, curves))}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
