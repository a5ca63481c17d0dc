"""Write the report's tables and numbers from the results: no result in the report is typed in by hand.

`report.build` runs this: one LaTeX file per table, and `numbers.tex`, which defines the numbers that `report.tex` takes
with `\\val{key}`. Every key stands here in quotes, beside its computation.
"""
import math

import numpy as np

from part1 import cli, files
from part1.drawing import SOLVED
from part1.style import MODEL_NAMES
from report.latex import escape, number, power, samples, spread, tabular
from report.results import making, read_result

# From the course's settings to latches; "frozen" trains the output alone.
SWEEPS = {"official": "official.csv", "naive": "naive.csv", "Adam": "adam.csv", "forget bias 1": "forget.csv",
          "tuned": "lengths.csv", "latch": "latch.csv", "tuned, frozen": "frozen.csv",
          "latch, frozen": "frozen_latch.csv"}
LENGTHS = (5, 10, 15, 20, 30, 50, 100, 300, 1000, 10_000)  # columns of the table
GRADIENTS = {"untrained": "gradients.csv", "tuned": "gradients_tuned.csv", "trained": "gradients_trained.csv"}
TEXTS = {"Grimm": "text", "Grimm, larger": "text_tuned", "Darwin": "text_second"}
REQUIRED = (*SWEEPS.values(), *GRADIENTS.values(), *(f"{name}.json" for name in TEXTS.values()),
            *(f"{name}_curves.csv" for name in TEXTS.values()), "longer.csv", "trained.csv", "binary.csv",
            "binary_curves.csv", "optimizers.csv", "corrected.csv", "traces.csv",
            "directions.csv", "states.csv", "benchmark_part1.csv", "graph_2019.json", "graph_2020.json")
SHARE = 0.8  # a length is solved when this share of the seeds reaches the accuracy SOLVED: 4 of 5
LEVEL = 0.95  # accuracy on binary palindromes whose first crossing is compared between networks
MARK = "% Written by report/tables.py from the results; changes here are lost.\n"
LINE = 92  # characters of a sample that fit in a line


def load(folder):
    """The results that the report shows, a dict from file names to rows or content; `InputError` if one is missing."""
    if missing := [name for name in REQUIRED if not (folder / name).exists()]:
        raise cli.InputError(f"{files.display(folder)} lacks {', '.join(missing)}, which the report needs; "
                             "python -m report.reproduce --preset full makes them")
    return {name: read_result(folder / name) for name in REQUIRED}


def grouped(rows, column):
    """{value of the column: its rows}, in the order of the rows."""
    groups = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def setting(rows, column):
    """What `rows` have in a column, as text; several values with commas."""
    forms = {int: number, float: "{:g}".format}
    return ", ".join(forms.get(type(value), str)(value) for value in grouped(rows, column))


def share(truths):
    """How many of them are true: "4 of 5"."""
    truths = list(truths)
    return f"{sum(truths)} of {len(truths)}"


def named(name, rows):
    """The rows of a table with a column before them that names only the first."""
    return [["" if k else name, *row] for k, row in enumerate(rows)]


# Part 1: accuracy against palindrome length. A network's cells are a dict {length T: rows, one for each seed}.

def cells(rows):
    """The rows of a sweep by network and length: {model: {T: rows}}."""
    return {model: grouped(runs, "palindrome_length") for model, runs in grouped(rows, "model_type").items()}


def accuracies(rows):
    return [row["accuracy"] for row in rows]


def solved(rows):
    """Whether enough of the seeds in `rows` reach `SOLVED`."""
    return sum(accuracy >= SOLVED for accuracy in accuracies(rows)) >= SHARE * len(rows)


def longest(lengths):
    """The longest solved length of {T: rows}, or 0."""
    return max((T for T, rows in lengths.items() if solved(rows)), default=0)


def updates(rows):
    """Mean number of updates of the seeds that reach `SOLVED`."""
    return round(np.mean([row["steps"] for row in rows if row["accuracy"] >= SOLVED]))


def horizon_table(*sweeps):
    """How many of the seeds solve each length, for each of the `SWEEPS` and each network."""
    def field(rows):
        return f"{sum(accuracy >= SOLVED for accuracy in accuracies(rows))}/{len(rows)}" if rows else ""

    bodies = [named(name, [[MODEL_NAMES.get(model, model), *(field(lengths.get(T)) for T in LENGTHS)]
                           for model, lengths in cells(rows).items()]) for name, rows in zip(SWEEPS, sweeps)]
    return tabular("ll" + "r" * len(LENGTHS), ["settings", "network", f"$T={LENGTHS[0]}$", *map(str, LENGTHS[1:-1]),
                                               "$10^4$"], *bodies)


def length_numbers(longer, *sweeps):
    official, naive, _, forget, tuned, latch, frozen, _ = map(cells, sweeps)
    first = sweeps[4][0]
    n, d = first["num_hidden"], first["input_dim"]
    return {
        "n": n, "d": d, "batch": first["batch_size"], "clip": setting([first], "max_norm"),
        "parameters/LSTM": 4 * (n * d + n * n + n), "parameters/PeepLSTM": 4 * n * d + 3 * n * n + 4 * n,
        "official/RNN/solved": longest(official["RNN"]), "official/limit": setting(sweeps[0], "train_steps"),
        "naive/LSTM/solved": longest(naive["LSTM"]), "forget/LSTM/solved": longest(forget["LSTM"]),
        "tuned/RNN/solved": longest(tuned["RNN"]), "tuned/LSTM/solved": longest(tuned["LSTM"]),
        "tuned/LSTM/updates": updates(tuned["LSTM"][longest(tuned["LSTM"])]),
        "latch/RNN/solved": longest(latch["RNN"]), "latch/LSTM/solved": longest(latch["LSTM"]),
        "latch/updates": max(row["steps"] for row in sweeps[5]),
        "latch/batch": setting(sweeps[5], "batch_size"),
        "frozen/RNN/solved": longest(frozen["RNN"]), "frozen/LSTM/accuracy": np.mean(accuracies(frozen["LSTM"][5])),
        "longer/T": setting(longer, "palindrome_length"), "longer/last": max(row["steps"] for row in longer),
    }


# Part 1: optimizers and binary palindromes

def there(rows):
    """Updates to the target of the seeds that reach it."""
    return [row["steps_to_target"] for row in rows if row["steps_to_target"]]


def optimizer_table(rows):
    """For each optimizer and learning rate how many seeds get to the target, and the median of their updates."""
    def field(runs):
        return f"{len(there(runs))}/{len(runs)}" + (f" ({np.median(there(runs)):.0f})" if there(runs) else "")

    rates = sorted(grouped(rows, "learning_rate"))
    body = [[method, *(field(runs) if (runs := chosen(own, learning_rate=rate)) else "" for rate in rates)]
            for method, own in grouped(rows, "method").items()]
    return tabular("l" + "r" * len(rates), ["optimizer", *map(np.format_float_positional, rates)], body)


def binary_table(rows, curves):
    """Accuracy at the end and the first update at `LEVEL`, for each network and L."""
    body = []
    for model, lengths in cells(rows).items():
        for L, runs in lengths.items():
            steps = [step for curve in grouped(cells(curves)[model][L], "seed").values()
                     if (step := next((row["step"] for row in curve if row["accuracy"] >= LEVEL), None))]
            body.append([MODEL_NAMES.get(model, model), str(L), str(4 * L + 1), spread(accuracies(runs)),
                         spread(steps, 0) if steps else "--", f"{len(steps)} of {len(runs)}"])
    return tabular("lrrrrr", ["network", "$L$", "symbols read", "accuracy at the end", f"updates to {LEVEL}",
                              "seeds there"], body)


def setting_numbers(optimizers, binary, curves):
    plateau = [row["eval_loss"] for row in chosen(curves, model_type="LSTM", palindrome_length=20, step=800)]
    return {"binary/plateau": np.mean(plateau), "optimizers/limit": setting(optimizers, "train_steps"),
            "binary/seeds": setting(binary, "seed"), "binary/limit": setting(binary, "train_steps"),
            "binary/rate": setting(binary, "learning_rate"), "binary/hidden": setting(binary, "num_hidden"),
            "binary/batch": setting(binary, "batch_size"), "binary/test": setting(binary, "eval_size")}


# Part 1: what happens inside. BACK steps before the last the Jacobians are looked at.

BACK = 45


def chosen(rows, **values):
    """The rows with these values in these columns."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def average(rows, column):
    return np.mean([row[column] for row in rows])


def inside_table(directions, states):
    """How many directions survive `BACK` steps, and how many units keep their sign, for each network and start."""
    body = []
    for model, start in dict.fromkeys((row["model_type"], row["start"]) for row in states):
        about = {"model_type": model, "start": start}
        jacobians = chosen(directions, **about, state="h" if model == "RNN" else "c", back=BACK)
        kept = [row["keep_sign"] for row in chosen(states, **about)]
        largest = [row["largest"] for row in jacobians]
        body.append([MODEL_NAMES.get(model, model), start,
                     power(np.exp(np.mean(np.log(largest)))) if min(largest) else "0",
                     spread([row["above_0.01"] for row in jacobians], 0),
                     "--" if model == "PeepLSTM" else spread(kept, 2)])  # its c is never negative
    return tabular("llrrr", ["network", "initial weights", "largest", "directions", "units that keep their sign"], body)


def inside_numbers(traces, directions, states, optimizers):
    def trace(column, step, optimizer="RMSProp"):
        return average(chosen(traces, model_type="RNN", optimizer=optimizer, step=step), column)

    def survive(start):
        return number(average(chosen(directions, model_type="RNN", start=start, back=BACK), "above_0.01"), 0)

    numbers = {
        "trace/sigma": trace("sigma_1", 0), "trace/slope": trace("slope", 0),
        "trace/RMSProp/moved": trace("moved", 10), "trace/RMSProp/slope": trace("slope", 10),
        "trace/corrected/moved": trace("moved", 10, "corrected RMSProp"),
        "trace/corrected/slope": trace("slope", 10, "corrected RMSProp"),
        "inside/back": BACK, "inside/naive/directions": survive("naive"),
        "inside/orthogonal/directions": survive("orthogonal"),
        "inside/mean-field": average(chosen(states, model_type="RNN", start="naive"), "mean_field"),
    }
    rates = chosen(optimizers, palindrome_length=30, learning_rate=0.001)
    return numbers | {
        "rate/30/RMSProp": share(bool(row["steps_to_target"]) for row in chosen(rates, method="RMSProp")),
        "rate/30/corrected": share(bool(row["steps_to_target"]) for row in chosen(rates, method="corrected RMSProp")),
        "rate/30/Adam": share(bool(row["steps_to_target"]) for row in chosen(rates, method="Adam"))}


# Part 1: gradients. A curve is a dict from time steps to gradient norms.

def gradient_curves(rows):
    """{(model, input, state): curve} of the rows of a gradient study."""
    curves = {}
    for row in rows:
        curves.setdefault((row["model_type"], row["input"], row["state"]), {})[row["t"]] = row["norm"]
    return curves


def factor(curve):
    """The geometric mean of the norm's factor for a step back in time."""
    return (curve[min(curve)] / curve[max(curve)]) ** (1 / (max(curve) - min(curve)))


def gradient_numbers(*studies):
    untrained, tuned, trained = map(gradient_curves, studies)
    h, c, RNN = ("LSTM", "one-hot", "h"), ("LSTM", "one-hot", "c"), ("RNN", "one-hot", "h")
    return {
        "untrained/T": max(untrained[h]) + 1, "untrained/seeds": setting(studies[0], "seeds"),
        "trained/T": max(trained[h]) + 1, "trained/seeds": setting(studies[2], "seeds"),
        "untrained/RNN/factor": factor(untrained[RNN]), "untrained/LSTM/factor": factor(untrained[h]),
        "trained/RNN/factor": factor(trained[RNN]),
        "untrained/LSTM/c/factor": factor(untrained[c]), "tuned/LSTM/c/factor": factor(tuned[c]),
    }


# Part 2: text

def distinct(text, n=5):
    """Share of distinct ones among the sequences of n characters in `text`: 1 if nothing repeats."""
    pieces = [text[k:k + n] for k in range(len(text) - n + 1)]
    return len(set(pieces)) / len(pieces)


def diversity(texts, length=None):
    """Mean share of `distinct` sequences in the first characters of `texts`."""
    return np.mean([distinct(text[:length]) for text in texts])


def loops(text, tail=20):
    """Whether `text` has come back to where it was: its last `tail` characters stood in it before."""
    return len(text) > tail and text[-tail:] in text[:-1]


def books_table(*contents):
    """What each of the `TEXTS` was trained on, how, and its bits per held-out character. Curves follow all others."""
    columns = ("characters", "vocabulary_size", "lstm_num_hidden", "parameters", "seq_length", "batch_size",
               "learning_rate", "learning_rate_decay", "learning_rate_step", "dropout_keep_prob", "train_steps")
    body = []
    for title, study, curve in zip(TEXTS, contents, contents[len(TEXTS):]):
        best = min((row for row in curve if row["eval_loss"]), key=lambda row: row["eval_loss"])
        body.append([title, *(setting([study | study["settings"]], column) for column in columns),
                     number(study["result"]["bits_per_character"]),
                     f"{best['eval_loss'] / math.log(2):.2f} ({best['step']})"])
    return tabular("l" + "r" * 13, ["book", "characters", "distinct", "units", "parameters", "$T$", "batch", "rate",
                                    r"$\times$", "every", "keep", "updates", "bits", "best"], body)


def temperature(row):
    return "greedy" if row["temperature"] is None else rf"$\tau = {row['temperature']:g}$"


def text_tables(text):
    """Samples at three stages and at each temperature, endings, beams."""
    rows = text["temperatures"]
    return {
        "text_stages.tex": samples(((number(stage["update"]), stage["samples"]) for stage in text["stages"]),
                                   bar_after=text["settings"]["seq_length"]),
        "text_temperatures.tex": samples((temperature(row), row["samples"][:2 if row["temperature"] is None else 3])
                                         for row in rows),
        "text_diversity.tex": tabular(
            "l" + "r" * len(rows), ["", *map(temperature, rows)],
            [["distinct 5-grams", *(number(diversity(row["samples"])) for row in rows)],
             ["samples that end in a loop", *(share(map(loops, row["samples"])) for row in rows)]]),
        "text_sentences.tex": samples(("", [row["greedy"][:LINE], row["temperature 2"][:LINE]])
                                      for row in text["sentences"]),
        "text_beams.tex": samples((rf"{row['beam_size']}: ${row['log_probability']:.1f}$", [row["text"][:LINE]])
                                  for row in text["beams"])}


def text_numbers(text, curve):
    settings, result, sentences, beams = text["settings"], text["result"], text["sentences"], text["beams"]
    stages = [stage["samples"] for stage in text["stages"]]
    read = settings["train_steps"] * settings["batch_size"] * settings["seq_length"]
    return {
        "text/clip": setting([settings], "max_norm"), "text/held_out": f"{100 * settings['eval_fraction']:g}",
        "text/passes": round(read / text["characters"] / (1 - settings["eval_fraction"])),
        "text/start": curve[0]["loss"], "text/uniform": math.log(text["vocabulary_size"]), "text/loss": result["loss"],
        "text/accuracy": round(100 * result["accuracy"]), "text/eval": result["eval_loss"],
        "text/loops": ", ".join(share(map(loops, texts)) for texts in stages),
        "text/distinct": ", ".join(number(diversity(texts)) for texts in stages),
        "text/distinct/30": diversity(stages[-1], 30),
        "text/endings/loops": share(loops(row["greedy"]) for row in sentences),
        "text/endings/sampled": share(loops(row["temperature 2"]) for row in sentences),
        "text/beam/prompt": escape(sentences[0]["prompt"]),
        "text/beam/factor": power(math.exp(beams[-1]["log_probability"] - beams[0]["log_probability"])),
        "text/beam/distinct": ", ".join(number(distinct(row["text"])) for row in beams),
    }


# Part 3: graphs

def matrix(graph):
    """Atilde with its rows and columns named."""
    names = [rf"\mathrm{{{name}}}" for name in graph["nodes"]]
    lines = [r"\begin{array}{c|" + "c" * len(names) + "}", " & " + " & ".join(names) + r" \\ \hline"]
    lines += [" & ".join([name, *map(str, row)]) + r" \\" for name, row in zip(names, graph["Atilde"], strict=True)]
    return "\n".join([*lines, r"\end{array}"]) + "\n"


def graph_numbers(one, two):
    second, second_two = (np.sort(np.abs(np.linalg.eigvalsh(graph["Ahat"])))[-2] for graph in (one, two))
    return {
        "2019/updates": one["updates"], "2020/updates": two["updates"],
        "2019/path": "--".join(one["path"]), "2020/path": "--".join(two["path"]),
        "2019/second": second, "2020/second": second_two,
        "2019/layers": round(math.log(0.01, second)), "2020/layers": round(math.log(0.01, second_two)),
    }


# All of it

def generate(results):
    """All generated files from `load`ed results: a dict from file names to LaTeX."""
    def made(function, *names):
        with making("the report", names):
            return function(*(results[name] for name in names))

    sweeps, gradients = SWEEPS.values(), GRADIENTS.values()
    texts = [f"{name}{end}" for end in (".json", "_curves.csv") for name in TEXTS.values()]
    numbers = {**made(length_numbers, "longer.csv", *sweeps),
               **made(setting_numbers, "optimizers.csv", "binary.csv", "binary_curves.csv"),
               **made(inside_numbers, "traces.csv", "directions.csv", "states.csv", "optimizers.csv"),
               **made(gradient_numbers, *gradients), **made(text_numbers, "text.json", "text_curves.csv"),
               **made(graph_numbers, "graph_2019.json", "graph_2020.json")}
    contents = {
        "numbers.tex": "".join(f"\\setval{{{key}}}{{{value if isinstance(value, str) else number(value)}}}\n"
                               for key, value in numbers.items()), "horizon.tex": made(horizon_table, *sweeps),
        "optimizers.tex": made(optimizer_table, "optimizers.csv"),
        "inside.tex": made(inside_table, "directions.csv", "states.csv"),
        "binary.tex": made(binary_table, "binary.csv", "binary_curves.csv"),
        "text_books.tex": made(books_table, *texts),
        **made(text_tables, "text.json"),
        "graph_2019.tex": made(matrix, "graph_2019.json"), "graph_2020.tex": made(matrix, "graph_2020.json"),
    }
    return {name: MARK + content for name, content in contents.items()}


def write_all(results, generated):
    """Write the generated files of the folder `results` into the folder `generated`; `InputError`, and nothing is
    written, where one of them is there that was not made here."""
    contents = generate(load(results))
    for path in (generated / name for name in contents):
        if path.exists() and not path.read_bytes().startswith(MARK.encode()):
            raise cli.InputError(f"{files.display(path)} is there and was not made here; remove it or rename it")
    generated.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        files.write_atomically(generated / name, content.encode())
