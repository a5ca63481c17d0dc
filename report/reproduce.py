"""The main command: run the studies, write their results, draw the figures, build the report, print the answers.

    python -m report.reproduce                     # quick: small networks, minutes; everything under runs/quick/
    python -m report.reproduce --preset full       # the studies behind report/results/ and report/figures/; hours

A study that is interrupted goes on with the same command, and one whose results are there is not run again. Training
takes place under runs/; only small result files and figures leave it.
"""
import shlex
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, grads_over_time, run, sweep  # before torch, see part1/run.py

from assets.download import local
from part2 import study
from part3 import gcn
from report import build, plots


def sweep_study(flags, work, results):
    """A sweep of Part 1: its table goes to the first of `results`, its learning curves to a second one."""
    sweep.study(sweep.parse_args([*flags, "--output", str(work)]))
    for name, file in zip(("results.csv", "curves.csv"), results):
        shutil.copyfile(work / name, file)


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


OPTIMIZERS = {"SGD": ("--optimizer sgd --momentum 0", ("1", "0.1", "0.01")),
              "SGD with momentum 0.9": ("--optimizer sgd --momentum 0.9", ("0.1", "0.01", "0.001")),
              "RMSProp": ("--optimizer rmsprop", ("0.01", "0.001", "0.0001")),
              "Adam": ("--optimizer adam", ("0.01", "0.001", "0.0001"))}


def optimizer_study(flags, work, results):
    """One sweep for each optimizer and learning rate, in one table with a column `method` (Question 1.4)."""
    rows = []
    for method, (words, rates) in OPTIMIZERS.items():
        for rate in rates:
            folder = work / f"{method.replace(' ', '_')}_{rate}"
            config = sweep.parse_args([*flags, *words.split(), "--learning_rate", rate, "--output", str(folder)])
            rows += [{"method": method, **row} for row in sweep.study(config)[0]]
    run.write_csv(results[0], rows)


def book_file(name):
    """The path of a downloaded book of the course; `ValueError` that names the command when it is not here."""
    path = local(name)
    if path is None:
        raise ValueError(f"the book {name} is not here; get it with: python -m assets.download {name}")
    return path


def text_study(flags, work, results, book=None):
    """A text model of Part 2: what it wrote, and its curves."""
    source = ["--txt_file", str(book_file(book)), "--strip_gutenberg"] if book else []
    config = study.parse_args([*source, *flags, "--output", str(work)])
    study.study(config, quiet=not sys.stderr.isatty())
    for name, file in zip(("text.json", "curves.csv"), results):
        shutil.copyfile(work / name, file)


def graph_study(flags, work, results):
    """The answers of Part 3 for one edition of the assignment."""
    answers = gcn.answers(*flags)
    run.write_json(results[0], {"edition": flags[0], **{
        name: answer.tolist() if hasattr(answer, "tolist") else answer for name, answer in answers.items()}})


@dataclass
class Study:
    """One study of a preset: what it is, the function that runs it, the script's flags, and its result files."""

    about: str
    function: Callable
    flags: str
    results: list

    def run(self, work, folder):
        """Run the study, in `work` / its name, unless its results are in `folder`. Returns whether it ran."""
        files = [folder / name for name in self.results]
        if all(file.exists() for file in files):
            return False
        self.function(shlex.split(self.flags), work / files[0].stem, files)
        return True


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
    Study("Grimm at the course's settings", partial(text_study, book="grimms"),
          GRIMM + "--train_steps 8441 --sample_every 200 --eval_fraction 0.05", text_results("text")),
    Study("accuracy against palindrome length", sweep_study, "--preset tuned", ["lengths.csv"]),
    Study("Grimm, a larger model", partial(text_study, book="grimms"),
          GRIMM + "--train_steps 5000 --sample_every 250 --eval_fraction 0.05 --lstm_num_hidden 256 --seq_length 50 "
          "--learning_rate 4e-3 --learning_rate_step 500 --learning_rate_decay 0.8 --dropout_keep_prob 0.8",
          text_results("text_tuned")),
    Study("a second book, in Dutch", partial(text_study, book="darwin"),
          '--prompts "De eilanden zijn" "Wij zagen" --seed 42 --train_steps 1500 --sample_every 250 '
          "--eval_fraction 0.05",
          text_results("text_second")),
    Study("the same lengths at naive settings", sweep_study, "--preset naive", ["naive.csv"]),
    Study("the same lengths at the course's settings", sweep_study, "--preset official", ["official.csv"]),
    Study("binary palindromes of the 2020 edition", sweep_study, "--preset 2020", ["binary.csv", "binary_curves.csv"]),
    Study("optimizers and learning rates", optimizer_study,
          "--preset naive --model_type RNN --palindrome_lengths 10 --seeds 0 1 2 --train_steps 1000",
          ["optimizers.csv"]),
]
PRESETS = {"quick": QUICK, "full": FULL}


def parse_args(argv=None):
    """Parse the flags of `python -m report.reproduce`."""
    parser = cli.Parser("report.reproduce", "Run the studies, write their results and draw the figures.")
    parser.add_argument("--preset", choices=PRESETS, default="quick",
                        help="quick: small networks, minutes, results under runs/quick; full: the report's, hours")
    config = parser.parse(argv)
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


def main(config):
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
