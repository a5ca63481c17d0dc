"""The main command: run the studies, write their results, draw the figures, build the report, print the answers.

    python -m report.reproduce                     # quick: small networks, minutes; everything under runs/quick/
    python -m report.reproduce --preset full       # the studies behind report/results/ and report/figures/; hours
    python -m report.reproduce --preset full --slurm                       # the same on a cluster, see part1/slurm.py

A study that is interrupted goes on with the same command, and one whose results are there is not run again. Training
takes place under runs/; only small result files and figures leave it.
"""
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, grads_over_time, run, slurm, sweep  # before torch, see part1/run.py

from assets.download import local
from part1 import benchmark as speed_of_networks
from part2 import benchmark as speed_of_text
from part2 import study
from part3 import gcn
from report import build, plots


def copy(work, names, results):
    """Copy the files `names` of the folder `work` to the paths `results`, each wholly or not at all."""
    for name, file in zip(names, results):
        run.write_atomically(file, (work / name).read_bytes())


def one_sweep(flags, work):
    """The sweep of a `sweep_study`, in a list."""
    return [sweep.parse_args([*flags, "--output", str(work)])]


def sweep_study(flags, work, results):
    """A sweep of Part 1: its table goes to the first of `results`, its learning curves to a second one."""
    for config in one_sweep(flags, work):
        sweep.study(config)
    copy(work, ("results.csv", "curves.csv"), results)


def gradient_study(flags, work, results):
    """The gradients through time of Question 1.7."""
    run.write_csv(results[0], grads_over_time.measure(grads_over_time.parse_args(flags)))


def tuned_gradient_study(flags, work, results):
    """The same for the initial weights that the tuned sweep starts from: orthogonal RNNs, chrono LSTMs."""
    chrono = ["--forget_bias", "chrono"]
    start = {"RNN": ["--init", "orthogonal"], "LSTM": chrono, "PeepLSTM": chrono}
    measured = {tuple(words): grads_over_time.measure(grads_over_time.parse_args([*flags, *words]))
                for words in start.values()}
    run.write_csv(results[0], [row for model_type, words in start.items() for row in measured[tuple(words)]
                               if row["model_type"] == model_type])


def trained_gradient_study(flags, work, results):
    """The same for networks trained by a sweep, whether they have learned their task or not."""
    [config] = one_sweep(flags, work)
    sweep.study(config)
    checkpoints = [str(cell.folder / "checkpoint.pt") for cell in config.cells]
    run.write_csv(results[0], grads_over_time.measure(grads_over_time.parse_args(["--checkpoint", *checkpoints])))
    copy(work, ("results.csv",), results[1:])


OPTIMIZERS = {"SGD": ("--optimizer sgd --momentum 0", ("1", "0.1", "0.01")),
              "SGD with momentum 0.9": ("--optimizer sgd --momentum 0.9", ("0.1", "0.01", "0.001")),
              "RMSProp": ("--optimizer rmsprop", ("0.01", "0.001", "0.0001")),
              "Adam": ("--optimizer adam", ("0.01", "0.001", "0.0001"))}


def optimizer_sweeps(flags, work):
    """The sweeps of an `optimizer_study`: `method` of each is the name of its optimizer."""
    sweeps = []
    for method, (words, rates) in OPTIMIZERS.items():
        for rate in rates:
            folder = work / f"{method.replace(' ', '_')}_{rate}"
            sweeps.append(sweep.parse_args([*flags, *words.split(), "--learning_rate", rate, "--output", str(folder)]))
            sweeps[-1].method = method
    return sweeps


def optimizer_study(flags, work, results):
    """One sweep for each optimizer and learning rate, in one table with a column `method` (Question 1.4)."""
    run.write_csv(results[0], [{"method": config.method, **row} for config in optimizer_sweeps(flags, work)
                               for row in sweep.study(config)[0]])


def book_file(name):
    """The path of a downloaded book of the course; `ValueError` that names the command when it is not here."""
    path = local(name)
    if path is None:
        raise ValueError(f"the book {name} is not here; get it with: python -m assets.download {name}")
    return path


def text_study(flags, work, results):
    """A text model of Part 2: what it wrote, and its curves."""
    config = study.parse_args([*flags, "--output", str(work)])
    study.study(config, quiet=not sys.stderr.isatty())
    copy(work, ("text.json", "curves.csv"), results)


def speed_study(flags, work, results, script):
    """A benchmark: its table of times, and others that it makes."""
    script.main(script.parse_args([*flags, "--output", str(work)]))
    copy(work, ("benchmark.csv", "memory.csv", "data.csv"), results)


def graph_study(flags, work, results):
    """The answers of Part 3 for one edition of the assignment."""
    answers = gcn.answers(*flags)
    run.write_json(results[0], {"edition": flags[0], **{
        name: answer.tolist() if hasattr(answer, "tolist") else answer for name, answer in answers.items()}})


SWEEPS = {sweep_study: one_sweep, trained_gradient_study: one_sweep, optimizer_study: optimizer_sweeps}


@dataclass
class Study:
    """One study of a preset: what it is, the function that runs it, the script's flags, and its result files.

    It is kept in the folder `work` / its name, and its results in `folder`.
    """

    about: str
    function: Callable
    flags: str
    results: list
    book: str = None  # that its text model learns from

    @property
    def name(self):
        return Path(self.results[0]).stem

    def done(self, folder):
        """Whether its results are there."""
        return all((folder / name).exists() for name in self.results)

    def argv(self):
        """The flags as a list; `ValueError` when its book is not here."""
        book = ["--txt_file", str(book_file(self.book)), "--strip_gutenberg"] if self.book else []
        return [*book, *shlex.split(self.flags)]

    def run(self, work, folder):
        """Run the study unless it is done; returns whether it ran. `run.Busy` when another process is at it."""
        if self.done(folder):
            return False
        (work / self.name).mkdir(parents=True, exist_ok=True)
        with run.locked(work / self.name):
            if self.done(folder):
                return False
            self.function(self.argv(), work / self.name, [folder / name for name in self.results])
        return True

    def cells(self, work, folder):
        """Its parts that can run side by side: triples of a name, whether it is done, and the function that runs it.

        They are the cells of its sweeps, or the study itself.
        """
        done = self.done(folder)
        if self.function not in SWEEPS:
            return [(self.name, done, partial(self.run, work, folder))]
        return [(str(cell.folder.relative_to(work)), done or cell.result() is not None, partial(sweep.run_cell, cell))
                for config in SWEEPS[self.function](self.argv(), work / self.name) for cell in config.cells]


def text_results(name):
    return [f"{name}.json", f"{name}_curves.csv"]


GRAPHS = [Study(f"the example graph of {edition}", graph_study, edition, [f"graph_{edition}.json"])
          for edition in ("2019", "2020")]
QUICK = [
    *GRAPHS,
    Study("gradients through time", gradient_study, "--seeds 0 1 2", ["gradients.csv"]),
    Study("accuracy against palindrome length", sweep_study,
          "--palindrome_lengths 5 10 20 40 --seeds 0 1 2 --train_steps 500 --eval_size 2000", ["lengths.csv"]),
    Study("binary palindromes at reduced size", sweep_study,
          "--preset 2020 --num_hidden 64 --learning_rate 1e-3 --train_steps 300 --eval_every 25 --eval_size 1000",
          ["binary.csv", "binary_curves.csv"]),
    Study("a model of the built-in fables", text_study,
          "--train_steps 1000 --learning_rate 5e-3 --eval_fraction 0.05", text_results("text")),
]
GRIMM = '--prompts "Sleeping beauty is" "Once upon a time" "The king said to his daughter" "The wolf" --seed 42 '
FULL = [  # what the report needs most comes first
    *GRAPHS,
    Study("gradients through time", gradient_study, "", ["gradients.csv"]),
    Study("gradients at the tuned initial weights", tuned_gradient_study, "", ["gradients_tuned.csv"]),
    Study("Grimm at the course's settings", text_study,
          GRIMM + "--train_steps 8441 --sample_every 200 --eval_fraction 0.05", text_results("text"), book="grimms"),
    Study("accuracy against palindrome length", sweep_study, "--preset tuned", ["lengths.csv"]),
    Study("Grimm, a larger model", text_study,
          GRIMM + "--train_steps 5000 --sample_every 250 --eval_fraction 0.05 --lstm_num_hidden 256 --seq_length 50 "
          "--learning_rate 4e-3 --learning_rate_step 500 --learning_rate_decay 0.8 --dropout_keep_prob 0.8",
          text_results("text_tuned"), book="grimms"),
    Study("a second book, in Dutch", text_study,
          '--prompts "De eilanden zijn" "Wij zagen" --seed 42 --train_steps 1500 --sample_every 250 '
          "--eval_fraction 0.05",
          text_results("text_second"), book="darwin"),
    Study("the same lengths with RMSProp", sweep_study, "--preset rmsprop", ["rmsprop.csv"]),
    Study("the same lengths at naive settings", sweep_study, "--preset naive", ["naive.csv"]),
    Study("the same lengths at the course's settings", sweep_study, "--preset official", ["official.csv"]),
    Study("binary palindromes of the 2020 edition", sweep_study, "--preset 2020 --train_steps 1600",
          ["binary.csv", "binary_curves.csv"]),
    Study("gradients of trained networks", trained_gradient_study,
          "--preset tuned --model_type RNN LSTM PeepLSTM --palindrome_lengths 100 --seeds 0 1 2 "
          "--train_steps 6000", ["gradients_trained.csv", "trained.csv"]),
    Study("a longer palindrome, a smaller rate", sweep_study,
          "--preset tuned --model_type LSTM --palindrome_lengths 500 --learning_rate 1e-3 --train_steps 6000",
          ["longer.csv"]),
    Study("the naive RNN with a small learning rate", sweep_study,
          "--preset naive --model_type RNN --palindrome_lengths 5 10 15 20 30 40 50 --learning_rate 1e-4 "
          "--train_steps 6000", ["smallstep.csv"]),
    Study("optimizers and learning rates", optimizer_study,
          "--preset naive --model_type RNN --palindrome_lengths 20 --seeds 0 1 2 --train_steps 1000 --eval_every 20 "
          "--eval_size 2000",
          ["optimizers.csv"]),
    Study("speed of the networks from scratch", partial(speed_study, script=speed_of_networks), "--repeats 16",
          ["benchmark_part1.csv", "benchmark_part1_memory.csv", "benchmark_part1_data.csv"]),
    Study("speed of the text model", partial(speed_study, script=speed_of_text),
          "--processes 2 --updates 100 --bf16_updates 50 --length 100", ["benchmark_part2.csv"]),
]
PRESETS = {"quick": QUICK, "full": FULL}


def parse_args(argv=None):
    """Parse the flags of `python -m report.reproduce`."""
    parser = cli.Parser("report.reproduce", "Run the studies, write their results and draw the figures.")
    parser.add_argument("--preset", choices=PRESETS, default="quick",
                        help="quick: small networks, minutes, results under runs/quick; full: the report's, hours")
    slurm.add_flags(parser)
    config = parser.parse(argv)
    slurm.check(parser, config)
    quick = cli.ROOT / "runs" / "quick"
    config.work = quick / "work" if config.preset == "quick" else cli.ROOT / "runs" / "full"
    config.folder = quick if config.preset == "quick" else cli.ROOT / "report"
    return config


def summary(results):
    """The results of a preset in a screenful of text."""
    lines = ["", "Accuracy on palindromes of length T (Q1.3, Q1.6 of 2019)",
             sweep.table(plots.read_csv(results / "lengths.csv"))]
    text = run.read_json(results / "text.json")
    bits = text["result"]["bits_per_character"]
    lines += ["", f"Text model after {text['result']['steps']} updates (Q2.1): accuracy "
              f"{text['result']['accuracy']:.3f}, {bits:.3f} bits a held-out character. It writes:",
              *(f"  {sample!r}" for sample in text["stages"][-1]["samples"]), ""]
    for edition in ("2019", "2020"):
        graph = run.read_json(results / f"graph_{edition}.json")
        lines.append(f"Graph of {edition} (Q3.2): {graph['updates']} updates from C to E, for example "
                     + " - ".join(graph["path"]))
    return "\n".join(lines)


def main_of_cells(config):
    """What `--list_cells`, `--cell` and `--slurm` ask for. A cell keeps its number when others are done."""
    studies, results = PRESETS[config.preset], config.folder / "results"
    cells = [cell for study_ in studies for cell in study_.cells(config.work, results)]
    if config.cell is not None:
        if config.cell >= len(cells):
            raise ValueError(f"--cell is one of 0 … {len(cells) - 1}, not {config.cell}")
        results.mkdir(parents=True, exist_ok=True)
        _, done, function = cells[config.cell]
        if not done:
            slurm.run_once(function)
        return
    missing = [k for k, (_, done, _) in enumerate(cells) if not done]
    if config.list_cells:
        for k in missing:
            print(f"{k:4} {cells[k][0]}")
        return
    for study_ in studies:
        if not study_.done(results):
            study_.argv()  # a missing book is an error now, not in a job
    slurm.submit(config, ["report.reproduce", "--preset", config.preset], missing, [], config.work / "slurm")


def main(config):
    if config.list_cells or config.cell is not None or config.slurm:
        main_of_cells(config)
        return
    studies, results = PRESETS[config.preset], config.folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    with run.locked(results):
        for k, study_ in enumerate(studies, 1):
            print(f"[{k}/{len(studies)}] {study_.about}", flush=True)
            if not study_.run(config.work, results):
                print("      its results are there already", flush=True)
        figures = plots.draw_all(results, config.folder / "figures")
        print(summary(results))
        print(f"\nresults: {run.shorter(results)}\nfigures: {', '.join(run.shorter(path) for path in figures)}")
        print("report:", build.update(config.folder, config.folder / "report.pdf", quick=config.preset == "quick"))


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
