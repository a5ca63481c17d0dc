"""The studies behind the report, most of them a single command line, and the two presets `QUICK` and `FULL` of them.

`report.reproduce` runs them. A study works in a folder of its own, where it goes on after an interruption; small files
are copied from there when it is done.
"""
import importlib
import shlex
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from assets import download
from part1 import evaluate, files, grads_over_time, look_inside, sweep
from part1.cli import InputError
from part2 import measure
from part2 import study as text_study
from part3 import gcn
from report.results import read_result


METHODS = {"SGD": {"optimizer": "sgd", "momentum": 0.0}, "SGD with momentum": {"optimizer": "sgd"}
              } | look_inside.METHODS  # flags of `part1.train`

# The flags in which the settings of text models differ.
SETTING = ("lstm_num_hidden", "seq_length", "batch_size", "learning_rate", "schedule", "learning_rate_step",
           "learning_rate_decay", "carry_state", "dropout_keep_prob", "recurrent_keep_prob", "weight_decay",
           "train_steps")


@dataclass(frozen=True)
class Study:
    """A script that runs with certain flags, and the results that are kept of it."""

    about: str  # what it is, in a few words
    results: dict  # from the names that results are kept under to those of the files that the script writes
    command: str  # the script and its flags except --output
    book: str | None = None  # short name of the course's book that it reads

    @property
    def name(self):
        return Path(next(iter(self.results))).stem

    @property
    def again(self):
        """The command line that repeats a quick study in another folder; the page shows it."""
        return f"python -m {self.command} --output runs/again/{self.name}"

    @property
    def script(self):
        return importlib.import_module(self.command.split()[0])

    def parse(self, *more):
        """What the script's `parse_args` makes of the study's flags and `more` of them."""
        return self.script.parse_args([*shlex.split(self.command)[1:], *map(str, more)])

    def check(self):
        """Raise `InputError` when the book is missing."""
        if self.book and not download.local(self.book):
            raise InputError(f"the book {self.book} is not here; get it with: python -m assets.download {self.book}")

    def done(self, folder):
        """Whether its results are in `folder`."""
        return all((folder / name).exists() for name in self.results)

    def seconds(self, work):
        """The wall time that it took in the folder `work` / its name, or None where that is not known."""
        path = work / self.name / "seconds.json"
        return read_result(path) if path.exists() else None

    def make(self, work):
        """Run the script, with its files in the folder `work`."""
        self.script.main(self.parse("--output", work))

    def run(self, work, folder):
        """Run the study, unless it is done, in the folder `work` / its name, and copy its results to `folder`.

        Raises `files.Busy` when another process is at it.
        """
        own = work / self.name
        own.mkdir(parents=True, exist_ok=True)
        with files.locked(own):
            if self.done(folder):
                return
            self.check()
            before, start = self.seconds(work) or 0, time.monotonic()
            try:
                self.make(own)
            finally:
                files.write_json(own / "seconds.json", round(before + time.monotonic() - start, 2))
            for name, made in self.results.items():
                files.write_atomically(folder / name, (own / made).read_bytes())

    def tasks(self, work, folder):
        """What can run side by side: triples of a name, whether that is done, and the function that runs it."""
        return [(self.name, self.done(folder), partial(self.run, work, folder))]


class SweepStudy(Study):
    """A sweep of Part 1, whose cells can run side by side."""

    def cells(self, work):
        return self.parse("--output", work).cells

    def tasks(self, work, folder):
        return [(str(cell.folder.relative_to(work)), self.done(folder) or cell.result() is not None,
                 partial(sweep.run_cell, cell)) for cell in self.cells(work / self.name)]


@dataclass(frozen=True)
class RatesStudy(SweepStudy):
    """A sweep for each learning rate of each optimizer, in one table with a column `method` (Question 1.4)."""

    rates: dict = field(default_factory=dict)  # by name of the optimizer, see METHODS

    def by_method(self, work):
        """Pairs of an optimizer's name and a cell."""
        return [(method, cell) for method, rates in self.rates.items() for rate in rates.split()
                for cell in self.parse(
                    *chain.from_iterable((f"--{name}", value) for name, value in METHODS[method].items()),
                    "--learning_rate", rate, "--output", work / f"{method}_{rate}".replace(" ", "_")).cells]

    def cells(self, work):
        return [cell for _, cell in self.by_method(work)]

    def make(self, work):
        rows, _ = sweep.study(self.cells(work), work)
        files.write_csv(work / "results.csv", [
            {"method": method, **row} for (method, _), row in zip(self.by_method(work), rows)])


@dataclass(frozen=True)
class TrainedStudy(SweepStudy):
    """What networks trained by a sweep have become, whether they have learned their task or not: the gradients through
    time, a look inside, and their accuracy on longer palindromes."""

    lengths: str = "100 1000 10000 100000"  # of those palindromes

    def make(self, work):
        super().make(work)
        checkpoints = [cell.folder / "checkpoint.pt" for cell in self.cells(work)]
        files.write_csv(work / "gradients.csv", grads_over_time.measure(grads_over_time.trained(checkpoints)))
        flags = ["--checkpoint", *map(str, checkpoints), "--output", str(work)]
        look_inside.main(look_inside.parse_args(flags))
        evaluate.main(evaluate.parse_args([*flags, "--eval_size", "300",
                                           "--palindrome_lengths", *self.lengths.split()]))


class TunedGradientStudy(Study):
    """The gradients at the weights that the tuned sweep starts from: orthogonal RNNs, chrono LSTMs."""

    def make(self, work):
        config = self.parse()
        sizes = config.palindrome_length, config.num_hidden, config.seeds
        networks = chain(
            grads_over_time.untrained(*sizes, init="orthogonal", models=["RNN"]),
            grads_over_time.untrained(*sizes, forget_bias="chrono", models=["LSTM", "PeepLSTM"]))
        files.write_csv(work / "gradients.csv", grads_over_time.measure(networks))


@dataclass(frozen=True)
class MeasuredTextStudy(Study):
    """A text model, and how good its samples are, how far back it looks and what beams find."""

    measuring: str = ""  # flags of `part2.measure`

    def make(self, work):
        super().make(work)
        measure.main(measure.parse_args(["--checkpoint", str(work / "training" / "best.pt"), "--output", str(work),
                                         *self.measuring.split()]))


@dataclass(frozen=True)
class SettingsStudy(Study):
    """Text models of one book with several settings: flags and lowest held-out loss of each, and the curves."""

    settings: dict = field(default_factory=dict)  # flags of `part2.train_text`, by a name

    def train(self, work, name):
        """The `text.json` of a setting; what is trained already is not trained again."""
        config = self.parse(*self.settings[name].split(), "--output", work / name)
        return text_study.study(config.output, config.prompts, config.settings, quiet=True)

    def make(self, work):
        rows, curves = [], []
        for name in self.settings:
            content = self.train(work, name)
            rows.append({"setting": name, **content["best"],  # which has a rate too: the last one
                         **{flag: content["settings"][flag] for flag in SETTING}})
            curves += [{"setting": name, **row} for row in files.read_csv(work / name / "curves.csv")]
        files.write_csv(work / "results.csv", rows)
        files.write_csv(work / "curves.csv", curves)

    def tasks(self, work, folder):
        own = work / self.name
        return [(f"{self.name}/{name}", self.done(folder) or (own / name / "text.json").exists(),
                 partial(self.train, own, name)) for name in self.settings]


class GraphStudy(Study):
    """The answers of Part 3 for one edition of the assignment, which the script only prints."""

    @property
    def again(self):
        return f"python -m {self.command}"

    def make(self, work):
        config = self.parse()
        gcn.main(config)
        answers = {name: np.asarray(answer).tolist() for name, answer in gcn.answers(config.edition).items()}
        files.write_json(work / "graph.json", {"edition": config.edition, **answers})


def sweep_study(name, about, flags, curves=False):
    """The study that makes `name`.csv, the table of a sweep, optionally its curves."""
    results = {f"{name}.csv": "results.csv"} | ({f"{name}_curves.csv": "curves.csv"} if curves else {})
    return SweepStudy(about, results, f"part1.sweep {flags}")


def reading(book):
    """The flags that read a book of the course."""
    return ["--txt_file", str(download.BOOKS / download.find(book).file), "--strip_gutenberg"]


def text(name, about, flags, prompts=(), book=None, seed=42, kind=Study):
    """The study that makes `name`.json: a text model of the built-in fables or a book of the course, and its texts."""
    words = ["part2.study", *flags.split()]
    if book:
        words += ["--seed", str(seed), *reading(book)]
    if prompts:
        words += ["--prompts", *prompts]
    results = {f"{name}.json": "text.json", f"{name}_curves.csv": "curves.csv"}
    if kind is MeasuredTextStudy:
        results |= {f"{name}_{table}.csv": f"{table}.csv" for table in ("samples", "context", "beams")}
    return kind(about, results, shlex.join(words), book)


GRAPHS = [GraphStudy(f"the example graph of {edition}", {f"graph_{edition}.json": "graph.json"},
                     f"part3.gcn --edition {edition}") for edition in ("2019", "2020")]
QUICK = [
    *GRAPHS,
    Study("gradients through time", {"gradients.csv": "gradients.csv"}, "part1.grads_over_time --seeds 0 1 2"),
    sweep_study("latch", "a vanilla RNN that remembers a thousand steps",
                "--preset latch --model_type RNN --palindrome_lengths 10 100 1000 --seeds 0 1 2 --eval_size 2000"),
    sweep_study("lengths", "accuracy against palindrome length",
                "--preset tuned --model_type RNN LSTM --palindrome_lengths 5 10 20 40 --seeds 0 1 2 "
                "--train_steps 500 --eval_size 2000"),
    sweep_study("binary", "binary palindromes at reduced size",
                "--preset 2020D --palindrome_lengths 10 --num_hidden 64 --learning_rate 1e-3 --train_steps 300 "
                "--eval_every 25 --eval_size 1000", curves=True),
    text("text", "a model of the built-in fables", "--train_steps 1000 --learning_rate 5e-3 --eval_fraction 0.05"),
    Study("n-grams and compressors on the fables", {"ngram.csv": "ngram.csv"}, "part2.ngram"),
]
COURSE = "--train_steps 8139 --sample_every 200 --eval_fraction 0.05"  # 520,868 characters / 64, the batch size
GRIMM = ["Sleeping beauty is", "Once upon a time", "The king said to his daughter", "The wolf"]
FULL = [  # what the report needs most comes first
    *GRAPHS,
    Study("gradients through time", {"gradients.csv": "gradients.csv"}, "part1.grads_over_time"),
    TunedGradientStudy("gradients at the tuned initial weights", {"gradients_tuned.csv": "gradients.csv"},
                       "part1.grads_over_time"),
    Study("a look inside the networks", {f"{name}.csv": f"{name}.csv" for name in ("traces", "directions", "states")},
          "part1.look_inside"),
    Study("what untrained networks keep of five digits", {"states_short.csv": "states.csv"},
          "part1.look_inside --palindrome_length 5 --updates 0 --high_rate_updates 0"),
    text("text", "Grimm at the course's settings", COURSE, GRIMM, "grimms", kind=MeasuredTextStudy),
    Study("n-grams and compressors on Grimm", {"ngram.csv": "ngram.csv"},
          shlex.join(["part2.ngram", *reading("grimms"), "--eval_fraction", "0.05"]), "grimms"),
    sweep_study("lengths", "accuracy against palindrome length", "--preset tuned"),
    text("text_best", "Grimm, the best writer that we found", "--preset best", GRIMM, "grimms", kind=MeasuredTextStudy),
    *(text(f"text_seed{seed}", f"Grimm at the course's settings, seed {seed}", COURSE, GRIMM, "grimms", seed)
      for seed in (43, 44)),
    SettingsStudy("Grimm with other settings", {"text_settings.csv": "results.csv",
                                                "text_settings_curves.csv": "curves.csv"},
                  shlex.join(["part2.study", "--seed", "42", *reading("grimms"), "--prompts", *GRIMM]), "grimms", {
        "A": "--eval_fraction 0.05 --sample_every 250 --lstm_num_hidden 256 --seq_length 50 --learning_rate 4e-3 "
             "--learning_rate_step 500 --learning_rate_decay 0.8 --dropout_keep_prob 0.8 --train_steps 5000",
        "B": "--preset best --lstm_num_hidden 512 --seq_length 100 --learning_rate 2e-3 --dropout_keep_prob 0.5 "
             "--recurrent_keep_prob 1 --train_steps 4000",
        "C": "--preset best --seq_length 100 --learning_rate 2e-3 --recurrent_keep_prob 0.7 --train_steps 4000",
        "D": "--preset best --lstm_num_hidden 256 --dropout_keep_prob 0.7 --recurrent_keep_prob 0.9 --train_steps 4000",
        "E": "--preset best --lstm_num_hidden 256 --dropout_keep_prob 0.7 --recurrent_keep_prob 1 --weight_decay 0 "
             "--train_steps 4000",
    }),
    text("text_second", "a second book, in Dutch", "--train_steps 1500 --sample_every 250 --eval_fraction 0.05",
         ["De eilanden zijn", "Wij zagen"], "darwin"),
    sweep_study("naive", "the same lengths at naive settings", "--preset naive"),
    sweep_study("official", "the same lengths at the course's settings", "--preset official"),
    sweep_study("latch", "a state that the first digit decides",
                "--preset latch --palindrome_lengths 10 100 1000 10000"),
    sweep_study("latch_longest", "the same for a hundred thousand digits",
                "--preset latch --model_type RNN --palindrome_lengths 100000 --seeds 0 1 2"),
    sweep_study("latch_raw", "the same with the course's own digits and batches",
                "--preset latch --model_type RNN --input_dim 1 --batch_size 128 --palindrome_lengths 1000 "
                "--eval_size 2000"),
    sweep_study("adam", "the naive RNN with Adam",
                "--preset naive --model_type RNN --palindrome_lengths 10 20 30 50 100 --optimizer adam"),
    sweep_study("corrected", "the naive LSTM with corrected RMSProp",
                "--preset naive --model_type LSTM --palindrome_lengths 30 --optimizer adam --beta1 0 --beta2 0.99"),
    sweep_study("forget", "the naive LSTM with a forget bias of 1",
                "--preset naive --model_type LSTM --palindrome_lengths 10 20 30 50 100 --forget_bias 1"),
    sweep_study("frozen", "the output alone trained, from orthogonal or chrono weights",
                "--preset tuned --freeze_recurrent --model_type RNN LSTM --palindrome_lengths 5 10 15 20 30 "
                "--train_steps 3000 --learning_rate 0.3"),
    sweep_study("frozen_latch", "the output alone trained, from latches",
                "--preset latch --freeze_recurrent --palindrome_lengths 10 100"),
    sweep_study("binary", "binary palindromes of the 2020 edition", "--preset 2020D", curves=True),
    sweep_study("ablations", "what slows the peephole LSTM",
                "--preset 2020D --model_type TanhPeepLSTM RecurrentPeepLSTM OutputPeepLSTM --palindrome_lengths 10 "
                "--train_steps 500", curves=True),
    sweep_study("baum_sweet", "Baum-Sweet sequences of the 2020 edition", "--preset 2020A", curves=True),
    sweep_study("combinations", "random combinations of the 2020 edition",
                "--preset 2020B --palindrome_lengths 5 6 10 15", curves=True),
    TrainedStudy("what trained networks are like",
                 {"trained.csv": "results.csv", "gradients_trained.csv": "gradients.csv",
                  "states_trained.csv": "states.csv", "beyond.csv": "beyond.csv"},
                 "part1.sweep --preset tuned --model_type RNN LSTM PeepLSTM --palindrome_lengths 100 "
                 "--seeds 0 1 2 --train_steps 6000"),
    TrainedStudy("what naive peephole LSTMs have learned", {"states_peephole.csv": "states.csv"},
                 "part1.sweep --preset naive --model_type PeepLSTM --palindrome_lengths 30", lengths="30"),
    TrainedStudy("what trained latches are like",
                 {"trained_latch.csv": "results.csv", "beyond_latch.csv": "beyond.csv"},
                 "part1.sweep --preset latch --palindrome_lengths 100 --seeds 0 1 2"),
    sweep_study("longer", "a longer palindrome, a smaller rate",
                "--preset tuned --model_type LSTM --palindrome_lengths 500 --learning_rate 1e-3 --train_steps 6000"),
    RatesStudy("optimizers and learning rates", {"optimizers.csv": "results.csv"},
               "part1.sweep --preset naive --model_type RNN --palindrome_lengths 20 30 50 100 --train_steps 1000 "
               "--eval_every 20 --eval_size 2000",
               rates={"SGD": "0.3 0.1 0.03 0.01 0.003", "SGD with momentum": "0.1 0.03 0.01 0.003 0.001",
                      "RMSProp": "0.003 0.001 0.0003 0.0001 0.00003",
                      "corrected RMSProp": "0.01 0.003 0.001 0.0003 0.0001", "Adam": "0.01 0.003 0.001 0.0003 0.0001"}),
    RatesStudy("three optimizers of the naive RNN, twenty seeds", {"optimizers_seeds.csv": "results.csv"},
               "part1.sweep --preset naive --model_type RNN --palindrome_lengths 30 --train_steps 1000 "
               f"--eval_every 20 --eval_size 2000 --seeds {' '.join(map(str, range(20)))}",
               rates=dict.fromkeys(("RMSProp", "corrected RMSProp", "Adam"), "0.001")),
    *(RatesStudy(f"learning rates of the LSTM with {biases} biases", {f"rates_{name}.csv": "results.csv"},
                 "part1.sweep --preset naive --model_type LSTM --palindrome_lengths 100 300 --seeds 0 1 2 "
                 f"--train_steps 500 --eval_every 20 --eval_size 1000{flags}",
                 rates=dict.fromkeys(("RMSProp", "corrected RMSProp", "Adam"), "0.05 0.01"))
      for name, biases, flags in (("lstm", "zero", ""), ("chrono", "chrono", " --forget_bias chrono"))),
    Study("speed of the networks from scratch", {
        "benchmark_part1.csv": "benchmark.csv", "benchmark_part1_memory.csv": "memory.csv",
        "benchmark_part1_data.csv": "data.csv"}, "part1.benchmark --repeats 16"),
]
