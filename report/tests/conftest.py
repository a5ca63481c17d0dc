"""Fixtures of the report's tests: scripts called in this process, and made-up results of every kind it knows."""
import re

from part1 import run  # before torch, see part1/run.py
import pytest

from part1.tests.conftest import call  # noqa: F401 (a fixture)
from part3 import gcn
from report import build, plots, tables

NASTY = ("\\ { } $ & # _ % ~ ^ ' ` \" < > | -- ,, !` ?` “curly” ‘quotes’ – — … é ñ ç ß æ Ø £ \u00a0[x]\n\n  * Ω\t"
         + "w" * 60)


def sweep_rows(accuracy, **settings):
    """Rows of a sweep's table: five seeds for every (network, T) in the dict `accuracy`."""
    return [{"model_type": model, "palindrome_length": T, "seed": seed, "steps": 100 * T,
             "accuracy": value - seed / 1e4, "best_accuracy": value,
             "steps_to_target": 100 * T if value > 0.99 else None, "dataset": "palindrome",
             "input_dim": 10, "num_hidden": 128, "init": "xavier", "forget_bias": None, "batch_size": 128,
             "optimizer": "rmsprop", "learning_rate": 0.001, "max_norm": 10.0, "eval_size": 10_000,
             "train_steps": 3000, **settings} for (model, T), value in accuracy.items() for seed in range(5)]


def gradient_rows(factors):
    """Rows of a gradient table: a geometric decay with the given factor for every (network, input, state)."""
    return [{"model_type": model, "input": digits, "state": state, "t": t, "seeds": 3, "norm": factor ** (20 - t),
             "factor": 1.5} for (model, digits, state), factor in factors.items() for t in range(1, 20)]


def text_study(book="fables.txt"):
    """The content of a `text.json` with characters of every kind, and its curves."""
    samples = [NASTY[:90], "the king said to " * 5, *"[&*"]
    texts = [(sample * 20)[:90] for sample in samples]
    content = {
        "settings": {"txt_file": book, "seq_length": 30, "lstm_num_hidden": 128, "lstm_num_layers": 2, "batch_size": 64,
                     "learning_rate": 2e-3, "learning_rate_decay": 0.96, "learning_rate_step": 5000, "max_norm": 5.0,
                     "dropout_keep_prob": 1.0, "train_steps": 900, "eval_fraction": 0.05, "seed": 42},
        "characters": 75062, "vocabulary_size": 61, "parameters": 237757, "result": {"seconds": 100.0},
        "stages": [{"update": update, "samples": texts} for update in (300, 600, 900)],
        "temperatures": [{"temperature": tau, "samples": texts} for tau in (0.5, 1.0, 2.0, None)],
        "sentences": [{"prompt": NASTY[:20], "greedy": NASTY, "temperature 2": NASTY}],
        "beams": [{"beam_size": size, "text": NASTY, "log_probability": -60.0 + size} for size in (1, 2, 5, 10)]}
    return content, [{"step": step, "loss": 3 - step / 500, "accuracy": step / 1500, "eval_loss": 3.1 - step / 500}
                     for step in range(100, 1000, 100)]


def make_results(folder, optional=True):
    """Fill `folder` with results; without `optional` only those that the report cannot do without."""
    folder.mkdir(parents=True)
    both = {("RNN", 5): 1.0, ("RNN", 30): 0.999, ("RNN", 40): 0.998, ("RNN", 50): 0.4, ("LSTM", 5): 1.0,
            ("LSTM", 100): 0.999}
    key = {("RNN", "raw", "h"): 0.5, ("RNN", "one-hot", "h"): 0.9, ("LSTM", "raw", "h"): 0.8,
           ("LSTM", "one-hot", "h"): 0.7, ("LSTM", "one-hot", "c"): 0.7, ("PeepLSTM", "one-hot", "c"): 0.8}
    tables_ = {"lengths.csv": sweep_rows(both), "gradients.csv": gradient_rows(key)}
    texts = {"text": text_study()}
    if optional:
        low = {("RNN", 5): 1.0, ("RNN", 10): 0.5, ("LSTM", 5): 0.95, ("LSTM", 10): 0.3}
        tables_ |= {"naive.csv": sweep_rows(low), "official.csv": sweep_rows(low, input_dim=1),
                    "smallstep.csv": sweep_rows(both, learning_rate=1e-4), "rmsprop.csv": sweep_rows(both),
                    "longer.csv": sweep_rows({("LSTM", 200): 0.999}),
                    "gradients_tuned.csv": gradient_rows({name: 0.99 for name in key}),
                    "gradients_trained.csv": gradient_rows({name: 1.01 for name in key}),
                    "trained.csv": sweep_rows({("RNN", 100): 0.1, ("LSTM", 100): 1.0, ("PeepLSTM", 100): 0.7})[::5],
                    "binary.csv": sweep_rows({("LSTM", 10): 1.0, ("LSTM", 20): 0.7, ("PeepLSTM", 10): 1.0}),
                    "binary_curves.csv": [
                        {"model_type": model, "palindrome_length": L, "seed": seed, "step": step, "loss": 0.5,
                         "eval_loss": 0.5, "accuracy": 0.66 if step < 50 else 0.99}
                        for model, L in (("LSTM", 10), ("LSTM", 20), ("PeepLSTM", 10)) for seed in range(5)
                        for step in range(1, 101)],
                    "optimizers.csv": [{"method": method, **row} for method in ("SGD", "momentum", "RMSProp", "Adam")
                                       for row in sweep_rows({("RNN", 10): 1.0})],
                    "benchmark_part1.csv": [{"model_type": model, "threads": 1, "T": 100, "autograd/bptt": 2.5,
                                             "bptt/torch": 1.1, "bptt_ms": 30.0} for model in ("RNN", "LSTM")]}
        texts |= {"text_tuned": text_study("book_EN_grimms_fairy_tails.txt"), "text_second": text_study("my_book.txt")}
    for name, rows in tables_.items():
        run.write_csv(folder / name, rows)
    for name, (content, curves) in texts.items():
        run.write_json(folder / f"{name}.json", content)
        run.write_csv(folder / f"{name}_curves.csv", curves)
    for edition in ("2019", "2020"):
        run.write_json(folder / f"graph_{edition}.json", {"edition": edition, **{
            name: answer.tolist() if hasattr(answer, "tolist") else answer
            for name, answer in gcn.answers(edition).items()}})
    return folder


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """A folder with made-up results of every kind, the report's figures of them and the generated tables."""
    folder = tmp_path_factory.mktemp("made_up")
    make_results(folder / "results")
    for name in re.findall(r"\\figurefile(?:\[[^]]*\])?\{([a-z_]+)\}", (build.REPORT / "report.tex").read_text()):
        plots.FIGURES[name][1](plots.sources_of(name, folder / "results"), folder / "figures" / name)
    tables.write_all(folder / "results", folder / "generated")
    return folder
