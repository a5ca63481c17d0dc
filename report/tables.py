"""Write the report's tables and numbers from the results: no result in the report is typed in by hand.

`report.build` runs this: one LaTeX file per table, and `numbers.tex`, which defines the numbers that `report.tex` takes
with `\\val{key}`. Every key stands here in quotes, beside its computation.
"""
import math
from pathlib import Path

import numpy as np

from part1 import cli, files
from part1.drawing import SOLVED, label_entropy
from part1.files import grouped
from part1.style import model_name
from part2.texts import distinct, period
from report.latex import escape, number, samples, spread, tabular
from report.results import WRITERS, making, read_result

# From the course's settings to latches; "frozen" trains the output alone.
SWEEPS = {"course's defaults": "official.csv", "naive": "naive.csv", "Adam": "adam.csv", "forget bias 1": "forget.csv",
          "tuned": "lengths.csv", "latch": "latch.csv", "latch, raw digits": "latch_raw.csv",
          "tuned, frozen": "frozen.csv", "latch, frozen": "frozen_latch.csv"}
LENGTHS = (5, 10, 15, 20, 30, 40, 50, 100, 200, 300, 500, 1000, 10_000, 100_000)  # columns of the table
GRADIENTS = {"untrained": "gradients.csv", "tuned": "gradients_tuned.csv", "trained": "gradients_trained.csv"}
TEXTS = {"Grimm": ("text", "text_seed43", "text_seed44"), "Grimm, best": ("text_best",), "Darwin": ("text_second",)}
SHARE = 0.8  # a length is solved when this share of the seeds reaches the accuracy SOLVED: 4 of 5
TASKS = {"binary": "binary palindromes", "ablations": "peephole LSTM", "baum_sweet": "Baum--Sweet",
         "combinations": "combinations"}  # of 2020: the titles of their sweeps
EARLY = 500  # updates of the tasks of 2020 in which networks are compared
MARK = "% Written by report/tables.py from the results; changes here are lost.\n"
LINE = 92  # characters of a sample that fit in a line


def setting(rows, column):
    """What `rows` have in a column, as text; several values with commas."""
    forms = {int: number, float: "{:g}".format}
    return ", ".join(forms.get(type(value), str)(value) for value in grouped(rows, column))


def listing(values):
    """Several values as text: "1, 2 and 3"."""
    *others, last = map(str, values)
    return f"{', '.join(others)} and {last}"


def share(truths):
    """How many of them are true: "4 of 5"."""
    truths = list(truths)
    return f"{sum(truths)} of {len(truths)}"


def spread_of(rows, column, digits=3):
    """Mean and standard deviation of a column."""
    return spread([row[column] for row in rows], digits)


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


def solving(rows):
    """How many of the seeds reach `SOLVED`: "4 of 5"."""
    return share(accuracy >= SOLVED for accuracy in accuracies(rows))


def longest(lengths):
    """The longest solved length of {T: rows}, or 0."""
    return max((T for T, rows in lengths.items() if solved(rows)), default=0)


def updates(rows):
    """Mean number of updates of the seeds that reach `SOLVED`."""
    return round(np.mean([row["steps"] for row in rows if row["accuracy"] >= SOLVED]))


def horizon_table(longer, longest_latch, *sweeps):
    """How many of the seeds solve each length, for each of the `SWEEPS` and each network."""
    bodies, more = [], {"tuned": longer, "latch": longest_latch}
    for name, rows in zip(SWEEPS, sweeps):
        networks = cells(rows + more.get(name, []))
        bodies.append(named(name, [
            [model_name(model), *(solving(lengths[T]).replace(" of ", "/") if T in lengths else "" for T in LENGTHS)]
            for model, lengths in networks.items()]))
    return tabular("ll" + "r" * len(LENGTHS), ["settings", "network", f"$T={LENGTHS[0]}$", *map(str, LENGTHS[1:-2]),
                                               "$10^4$", "$10^5$"], *bodies)


def length_numbers(longer, longest_latch, *sweeps):
    official, naive, adam, forget, tuned, latch, raw, frozen, _ = sweeps
    n, d = tuned[0]["num_hidden"], tuned[0]["input_dim"]

    def solved_by(rows, model):
        return longest(cells(rows)[model])

    def at(rows, model, T):
        return cells(rows)[model][T]

    RNN, LSTM = (at(tuned, model, solved_by(tuned, model)) for model in ("RNN", "LSTM"))
    return {
        "n": n, "d": d, "batch": tuned[0]["batch_size"], "clip": setting(tuned[:1], "max_norm"),
        "parameters/LSTM": 4 * (n * d + n * n + n), "parameters/PeepLSTM": 4 * n * d + 3 * n * n + 4 * n,
        "tuned/RNN/limit": setting(cells(tuned)["RNN"][50] + longer, "train_steps"),
        "latch/limit": setting(latch, "train_steps"), "naive/limit": setting(naive, "train_steps"),
        "official/limit": setting(official, "train_steps"), "official/test": setting(official, "eval_size"),
        "official/RNN/20": solving(at(official, "RNN", 20)), "official/LSTM/20": solving(at(official, "LSTM", 20)),
        "official/RNN/30": solving(at(official, "RNN", 30)), "official/LSTM/30": solving(at(official, "LSTM", 30)),
        "naive/LSTM/solved": solved_by(naive, "LSTM"), "forget/LSTM/solved": solved_by(forget, "LSTM"),
        "naive/PeepLSTM/30": solving(at(naive, "PeepLSTM", 30)),
        "naive/PeepLSTM/low": min(accuracies(at(naive, "PeepLSTM", 30))),
        "naive/PeepLSTM/high": max(accuracies(at(naive, "PeepLSTM", 30))),
        "adam/RNN/100": solving(at(adam, "RNN", 100)), "tuned/RNN/solved": solved_by(tuned, "RNN"),
        "tuned/RNN/others": solving([row for row in RNN if row["seed"] > 1]),
        "tuned/LSTM/solved": solved_by(tuned, "LSTM"), "tuned/PeepLSTM/solved": solved_by(tuned, "PeepLSTM"),
        "tuned/PeepLSTM/300": solving(at(tuned, "PeepLSTM", 300)), "tuned/LSTM/updates": updates(LSTM),
        "latch/RNN/solved": solved_by(latch, "RNN"), "latch/LSTM/solved": solved_by(latch, "LSTM"),
        "raw/solved": solved_by(raw, "RNN"), "raw/updates": max(row["steps"] for row in raw),
        "latch/longest": setting(longest_latch, "palindrome_length"), "latch/longest/seeds": len(longest_latch),
        "latch/updates": max(row["steps"] for row in latch), "latch/batch": setting(latch, "batch_size"),
        "frozen/RNN/solved": solved_by(frozen, "RNN"), "frozen/LSTM/solved": solved_by(frozen, "LSTM"),
        "frozen/rate": setting(frozen, "learning_rate"),
        "longer/T": setting(longer, "palindrome_length"), "longer/last": max(row["steps"] for row in longer),
    }


# Part 1: optimizers and binary palindromes

def updates_to_target(rows):
    """Updates to the target of the seeds that reach it."""
    return [row["steps_to_target"] for row in rows if row["steps_to_target"]]


def learning(runs):
    """How many of `runs` get to the target, and the median of their updates: "4/5 (300)"; nothing for no runs."""
    median = f" ({np.median(updates_to_target(runs)):.0f})" if updates_to_target(runs) else ""
    return f"{len(updates_to_target(runs))}/{len(runs)}{median}" if runs else ""


def optimizer_table(RNN):
    """For each length, optimizer and learning rate how many seeds learn, and how soon."""
    rates = sorted(grouped(RNN, "learning_rate"))
    bodies = [named(f"$T={T}$", [[method, *(learning(chosen(own, learning_rate=rate)) for rate in rates)]
                                 for method, own in grouped(rows, "method").items()])
              for T, rows in grouped(RNN, "palindrome_length").items()]
    return tabular("ll" + "r" * len(rates), ["RNN", "optimizer", *map(np.format_float_positional, rates)], *bodies)


def rates_table(zero, chrono):
    """The same for LSTMs with zero and with chrono biases."""
    columns = [(method, rate) for method in grouped(zero, "method") for rate in sorted(grouped(zero, "learning_rate"))]
    bodies = [named(biases, [[f"$T={T}$", *(learning(chosen(own, method=method, learning_rate=rate))
                                            for method, rate in columns)]
                             for T, own in grouped(rows, "palindrome_length").items()])
              for biases, rows in (("zero biases", zero), ("chrono", chrono))]
    return tabular("ll" + "r" * len(columns), ["LSTM", "", *(f"{method} {rate}" for method, rate in columns)], *bodies)


def settled(curve):
    """The first update from which the accuracy stays at least `SOLVED`, or None."""
    wrong = [k for k, row in enumerate(curve) if row["accuracy"] < SOLVED]
    after = curve[wrong[-1] + 1:] if wrong else curve
    return after[0]["step"] if after else None


def unsettled(curve):
    """How many of the first `EARLY` updates have an accuracy below `SOLVED`, as the evaluations say."""
    return curve[0]["step"] * sum(row["accuracy"] < SOLVED for row in curve if row["step"] <= EARLY)


def curves_table(*results):
    """For each network and L the accuracy at the end, how long it is below `SOLVED` early, and from where on it stays
    there. Takes the rows of the sweeps of `TASKS`, each followed by its curves."""
    bodies = []
    for task, rows, curves in zip(TASKS.values(), results[::2], results[1::2]):
        body = []
        for (model, L), runs in grouped(rows, "model_type", "palindrome_length").items():
            own = list(grouped(chosen(curves, model_type=model, palindrome_length=L), "seed").values())
            stays = [step for curve in own if (step := settled(curve))]
            body.append([model_name(model), str(L), spread_of(runs, "accuracy"),
                         spread(list(map(unsettled, own)), 0), spread(stays, 0) if stays else "--",
                         f"{len(stays)} of {len(runs)}"])
        bodies.append(named(task, body))
    return tabular("llrrrrr", ["task", "network", "$L$", "accuracy", "unsettled", "settled", "seeds"], *bodies)


def rises(curve):
    """The first update after which the accuracy is above 0.8: the plateau is left."""
    return next(row["step"] for row in curve if row["accuracy"] > 0.8)


def unsettled_numbers(*curves):
    """How the accuracies of the peephole LSTM, the LSTM and what lies between rise, and fall again."""
    def over_seeds(measure, model, L):
        rows = chosen(sum(curves, []), model_type=model, palindrome_length=L)
        return spread([measure(curve) for curve in grouped(rows, "seed").values()], 0)

    def early(model):
        return over_seeds(unsettled, model, 10)

    relapse = min((row for row in chosen(curves[0], model_type="PeepLSTM", palindrome_length=10) if row["step"] > 1500),
                  key=lambda row: row["accuracy"])
    return {"rises/LSTM": over_seeds(rises, "LSTM", 20), "rises/peephole": over_seeds(rises, "PeepLSTM", 20),
            "relapse/accuracy": relapse["accuracy"], "relapse/update": relapse["step"],
            "unsettled/LSTM": early("LSTM"), "unsettled/peephole": early("PeepLSTM"),
            "unsettled/tanh": early("TanhPeepLSTM"), "unsettled/recurrent": early("RecurrentPeepLSTM"),
            "unsettled/output": early("OutputPeepLSTM")}


def drops(curves):
    """Of the LSTM at L = 20, by how much the loss of each seed falls from the first evaluation to that after 800."""
    first, later = (chosen(curves, model_type="LSTM", palindrome_length=20, step=step)
                    for step in (curves[0]["step"], 800))
    return [before["eval_loss"] - after["eval_loss"] for before, after in zip(first, later, strict=True)]


def setting_numbers(optimizers, rates, chrono, ablations, baum_sweet, combinations, binary, curves):
    def windows(T):
        """How many rates let all seeds learn, for each optimizer."""
        counts = {method: sum(len(updates_to_target(runs)) == len(runs)
                              for runs in grouped(own, "learning_rate").values())
                  for method, own in grouped(chosen(optimizers, palindrome_length=T), "method").items()}
        return ", ".join(f"{method} {count}" for method, count in counts.items())

    return {"windows/20": windows(20), "windows/30": windows(30), "binary/drop": number(np.mean(drops(curves)), 3),
            "binary/entropy": number(label_entropy(0), 3), "binary/context": number(label_entropy(3), 3),
            "optimizers/limit": setting(optimizers, "train_steps"),
            "rates/limit": setting(rates, "train_steps"),
            "rates/diverged": sum(row["accuracy"] == 0 for row in optimizers + rates + chrono),
            "ablations/limit": setting(ablations, "train_steps"), "early": EARLY,
            "baum/limit": setting(baum_sweet, "train_steps"), "combinations/limit": setting(combinations, "train_steps"),
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


def inside_table(directions, *states):
    """How many directions survive `BACK` steps in untrained networks, and what all of them keep of the first digit."""
    bodies = []
    for rows in states:
        body = []
        for (model, start), own in grouped(rows, "model_type", "start").items():
            if (model, start) == ("LSTM", "orthogonal"):
                continue  # as the naive one
            state = "h" if model == "RNN" else "c"
            jacobians = chosen(directions, model_type=model, start=start, state=state, back=BACK)
            gates = [spread_of(own, name) if own[0][name] is not None else ""
                     for name in ("i_first", "i_later", "f_later")]
            body.append([
                model_name(model), start.replace("trained", "tuned, trained"),
                spread_of(jacobians, "above_0.01", 0) if jacobians else "",
                "--" if model == "PeepLSTM" else spread_of(own, "keep_sign", 2),  # its c is never negative
                spread_of(own, "readable", 2), *gates])
        bodies.append(body)
    return tabular("llrrrrrr", ["network", "weights", "directions", "keep sign", "readable",
                                r"$\vec i\step1$", r"later $\vec i$", r"later $\vec f$"], *bodies)


def beyond_table(tuned, latch):
    """Accuracy of networks trained at one length on longer palindromes."""
    lengths = sorted(grouped(tuned + latch, "T"))
    bodies = [[[model_name(model), name, *(spread_of(chosen(own, T=T), "accuracy", 2) for T in lengths)]
               for model, own in grouped(rows, "model_type").items()]
              for name, rows in (("tuned", tuned), ("latch", latch))]
    return tabular("ll" + "r" * len(lengths), ["network", "weights", *(f"$T={number(T)}$" for T in lengths)], *bodies)


def trained_numbers(states, trained, peephole, beyond):
    LSTM, RNN = (chosen(trained, model_type=model) for model in ("LSTM", "RNN"))
    orthogonal = chosen(states, model_type="RNN", start="orthogonal")
    longest = chosen(beyond, model_type="LSTM", T=max(row["T"] for row in beyond))
    return {"trained/LSTM/i/first": spread_of(LSTM, "i_first", 2),
            "trained/LSTM/i/later": spread_of(LSTM, "i_later", 2),
            "peephole/i/first": spread_of(peephole, "i_first", 2),
            "peephole/i/later": spread_of(peephole, "i_later", 2),
            "trained/RNN/sigma": spread_of(RNN, "sigma_1", 2),
            "trained/RNN/slope": spread_of(RNN, "slope", 2),
            "tuned/RNN/slope": spread_of(orthogonal, "slope", 2),
            "beyond/size": setting(beyond, "eval_size"),
            "beyond/LSTM": spread_of(longest, "accuracy", 2)}


def time_numbers(results):
    """The time of all trainings whose results say it."""
    hours = {}
    for name, content in results.items():
        rows = content if isinstance(content, list) else [content.get("result", {})]
        if {"steps", "seconds"} <= rows[0].keys():
            hours[Path(name).stem] = sum(row["seconds"] for row in rows) / 3600
    total = sum(hours.values())
    largest = sorted(hours, key=hours.get, reverse=True)[:6]
    return {"time/total": number(total, 0),
            "time/shares": ", ".join(rf"{escape(name)} {100 * hours[name] / total:.0f}\,\%" for name in largest)}


def inside_numbers(traces, directions, states, seeds, zero, chrono):
    def trace(column, step, optimizer="RMSProp", model="RNN"):
        rows = chosen(traces, model_type=model, optimizer=optimizer, start="naive", step=step)
        rate = (min if model == "RNN" else max)(row["learning_rate"] for row in rows)
        return spread_of(chosen(rows, learning_rate=rate), column, 2)

    def survive(start):
        return spread_of(chosen(directions, model_type="RNN", start=start, state="h", back=BACK), "above_0.01", 0)

    def learned(rows, method, **values):
        return share(bool(row["steps_to_target"]) for row in chosen(rows, method=method, **values))

    def at_high_rate(rows, method):
        """How many seeds learn at each length: "3 and 2"."""
        own = chosen(rows, method=method, learning_rate=high)
        return listing(len(updates_to_target(runs)) for runs in grouped(own, "palindrome_length").values())

    last, high = max(row["step"] for row in traces), max(row["learning_rate"] for row in traces)
    high_last = max(row["step"] for row in chosen(traces, learning_rate=high))
    return {
        "trace/sigma": trace("sigma_1", 0), "trace/slope": trace("slope", 0), "trace/readable": trace("readable", 0),
        "trace/RMSProp/moved": trace("moved", 10), "trace/RMSProp/slope": trace("slope", 10),
        "trace/corrected/moved": trace("moved", 10, "corrected RMSProp"),
        "trace/corrected/slope": trace("slope", 10, "corrected RMSProp"),
        "trace/last": last,
        "trace/corrected/readable": trace("readable", last, "corrected RMSProp"),
        "high/rate": high, "high/sigma/start": trace("sigma_1", 0, model="LSTM"),
        "high/sigma": trace("sigma_1", 1, model="LSTM"),
        "high/first": trace("readable", 1, model="LSTM"), "high/last": high_last,
        "high/corrected/first": trace("readable", 1, "corrected RMSProp", "LSTM"),
        "high/RMSProp/readable": trace("readable", high_last, model="LSTM"),
        "high/RMSProp": at_high_rate(zero, "RMSProp"), "high/corrected": at_high_rate(zero, "corrected RMSProp"),
        "high/Adam": at_high_rate(zero, "Adam"), "high/chrono": at_high_rate(chrono, "RMSProp"),
        "high/lower": min(row["learning_rate"] for row in zero),
        "inside/back": BACK, "inside/naive/directions": survive("naive"),
        "inside/orthogonal/directions": survive("orthogonal"),
        "inside/mean-field": average(chosen(states, model_type="RNN", start="naive"), "mean_field"),
        "seeds/RMSProp": learned(seeds, "RMSProp"),
        "seeds/corrected": learned(seeds, "corrected RMSProp"), "seeds/Adam": learned(seeds, "Adam")}


# Part 1: gradients. A curve is a dict from time steps to gradient norms.

def gradient_curves(rows):
    """{(model, input, state): curve} of the rows of a gradient study."""
    return {key: {row["t"]: row["norm"] for row in own}
            for key, own in grouped(rows, "model_type", "input", "state").items()}


def factor(curve):
    """The geometric mean of the norm's factor for a step back in time."""
    return (curve[min(curve)] / curve[max(curve)]) ** (1 / (max(curve) - min(curve)))


def gradient_numbers(results, *studies):
    untrained, tuned, trained = map(gradient_curves, studies)
    end, = chosen(studies[2], model_type="RNN", input="one-hot", state="h", t=1)
    spread = end["factor"] ** (1 / max(trained["RNN", "one-hot", "h"]))  # of the factor per step
    h, c, RNN = ("LSTM", "one-hot", "h"), ("LSTM", "one-hot", "c"), ("RNN", "one-hot", "h")
    return {
        "untrained/T": max(untrained[h]) + 1, "untrained/seeds": setting(studies[0], "seeds"),
        "trained/T": max(trained[h]) + 1, "trained/seeds": setting(studies[2], "seeds"),
        "trained/limit": setting(results, "train_steps"),
        "untrained/RNN/factor": factor(untrained[RNN]), "untrained/LSTM/factor": factor(untrained[h]),
        "trained/RNN/factor": factor(trained[RNN]), "trained/RNN/low": factor(trained[RNN]) / spread,
        "trained/RNN/high": factor(trained[RNN]) * spread,
        "trained/RNN/best": max(row["best_accuracy"] for row in chosen(results, model_type="RNN")),
        "untrained/LSTM/c/factor": factor(untrained[c]), "tuned/LSTM/c/factor": factor(tuned[c]),
    }


def speed_numbers(rows):
    """How much longer our LSTM takes than PyTorch's on two threads, as our scripts set them, at T = 100."""
    row, = chosen(rows, model_type="LSTM", threads=2, GOMP_SPINCOUNT=1000, T=100)
    return {"speed/two": number(row["bptt/torch"], 1)}


# Part 2: text

def books_table(*contents):
    """What the models of `TEXTS` were trained on, how, and how well they predict held-out text."""
    columns = "characters", "vocabulary_size", "lstm_num_hidden", "parameters", "train_steps"
    body, contents = [], iter(contents)
    for title, names in TEXTS.items():
        own = [next(contents) for _ in names]
        best = [content["best"] for content in own]
        about = [content | content["settings"] for content in own]
        body.append([title, *(setting(about, column) for column in columns),
                     setting(best, "step"), spread_of(best, "bits_per_character"),
                     spread_of(best, "eval_accuracy")])
    return tabular("l" + "r" * 8, ["book", "characters", "distinct", "units", "parameters", "updates", "lowest after",
                                   "bits", "accuracy"], body)


def settings_table(text, best, tried):
    """The settings of the text models of Grimm, and what they reach."""
    def yes(value):
        return "yes" if value else "no"

    def schedule(row):
        factor = f"{row['learning_rate_decay']:g} every {row['learning_rate_step']}"
        return row | {"schedule": factor if row["schedule"] == "step" else row["schedule"]}

    names = {"lstm_num_hidden": number, "seq_length": number, "batch_size": number, "learning_rate": "{:g}".format,
             "schedule": str, "carry_state": yes, "dropout_keep_prob": "{:g}".format,
             "recurrent_keep_prob": "{:g}".format, "weight_decay": "{:g}".format, "train_steps": number,
             "step": number, "bits_per_character": "{:.3f}".format}
    course, own = ({"setting": name, **content["best"], **content["settings"]}  # "best" has the last rate, too
                   for name, content in zip(WRITERS.values(), (text, best)))
    rows = map(schedule, [course, *tried, own])
    return tabular("l" + "r" * len(names), [
        "", "units", "$T$", "batch", "rate", "schedule", "carried", "keep", "recurrent", "decay", "updates",
        "lowest after", "bits"], [[row["setting"], *(form(row[name]) for name, form in names.items())] for row in rows])


def counting_table(ngram):
    """Bits per held-out character of n-grams and compressors."""
    return tabular("l" + "r" * len(ngram), ["", *(row["model"] for row in ngram)],
                   [["bits", *(number(row["held_out_bits"]) for row in ngram)]])


def with_error(rows, column, digits=2):
    """The mean with its standard error."""
    values = [row[column] for row in rows]
    error = np.std(values, ddof=1) / len(values) ** 0.5
    return rf"\ensuremath{{{np.mean(values):.{digits}f} \pm {error:.{digits}f}}}" if error else number(np.mean(values))


def beams_table(*studies):
    """What greedy search, beams and samples find, means over the prompts with their standard errors."""
    columns = {"log_probability": 3, "agree": 2, "equal": 3, "distinct": 3}  # digits
    bodies = [named(name, [[method, *(with_error(own, column, digits) for column, digits in columns.items())]
                           for method, own in grouped(rows, "method").items()])
              for name, rows in zip(WRITERS.values(), studies)]
    return tabular("llrrrr", ["model", "text", r"$\log p$", "agree", "equal", "distinct"], *bodies)


def temperature(row):
    return "greedy" if row["temperature"] is None else rf"$\tau = {row['temperature']:g}$"


def temperatures(content, number):
    """The first samples at each temperature, with their temperature."""
    return [(temperature(row), row["samples"][:number]) for row in content["temperatures"]]


def stages_table(text):
    """Two greedy samples at each of three stages of the training."""
    return samples(((number(stage["update"]), stage["samples"][:2]) for stage in text["stages"]),
                   bar_after=text["settings"]["seq_length"])


def temperatures_table(text):
    """A sample at each temperature; greedy ones are in the table of stages."""
    return samples((name, found) for name, found in temperatures(text, 1) if name != "greedy")


def samples_table(text):
    """All samples of the three stages and of each temperature."""
    stages = [(number(stage["update"]), [sample[:LINE] for sample in stage["samples"]]) for stage in text["stages"]]
    return samples(stages + temperatures(text, None))


def sentences_table(*models):
    """How prompts go on, greedily and at tau = 2."""
    return samples(("" if k else escape(name), [row["greedy"][:LINE], row["temperature 2"][:LINE]])
                   for name, model in zip(WRITERS.values(), models) for k, row in enumerate(model["sentences"]))


def best_table(best):
    """What the best model writes at each temperature, and what beams find."""
    return samples([*temperatures(best, 2), *(
        (rf"{row['beam_size']}: ${row['log_probability']:.1f}$", [row["text"][:LINE]]) for row in best["beams"])])


def stage_numbers(*models):
    """How many of the greedy samples of several seeds loop at each stage, and how many repeat a piece at once."""
    stages = [[sample for stage in same for sample in stage["samples"]]
              for same in zip(*(model["stages"] for model in models))]
    loops = [sum(math.isfinite(period(sample)) for sample in stage) for stage in stages]
    repeat = [sum(distinct(sample[:30], 7) < 1 for sample in stage) for stage in stages]
    return {"stages/number": len(stages[0]), "stages/loops": listing(loops), "stages/repeat": listing(repeat)}


def text_numbers(text, curve, best, best_curve, ngram):
    settings, result, sentences = text["settings"], text["result"], text["sentences"]
    bits = {row["model"]: row["held_out_bits"] for row in ngram}
    n_gram = min((name for name in bits if name.endswith("gram")), key=bits.get)

    def passes(content):
        own = content["settings"]
        read = own["train_steps"] * own["batch_size"] * own["seq_length"]
        return round(read / content["characters"] / (1 - own["eval_fraction"]))

    return {
        "text/clip": setting([settings], "max_norm"), "text/held_out": f"{100 * settings['eval_fraction']:g}",
        "text/vocabulary": text["vocabulary_size"], "text/passes": passes(text), "best/passes": passes(best),
        "best/minutes": round(best["result"]["seconds"] / 60),
        "best/gap": best_curve[-1]["eval_loss"] - average(best_curve[-15:], "loss"),
        "text/start": curve[0]["loss"], "text/uniform": math.log(text["vocabulary_size"]),
        "text/loss": curve[-1]["loss"], "text/accuracy": round(100 * curve[-1]["accuracy"]),
        "text/bits": result["bits_per_character"], "text/eval": result["eval_loss"], "text/eval/accuracy": round(100 * result["eval_accuracy"]),
        "text/beam/prompt": escape(sentences[0]["prompt"]),
        "ngram/best": n_gram, "ngram/bits": bits[n_gram], "ngram/bz2": bits["bz2"],
    }


def beam_numbers(course, best):
    def mean(rows, method, column, digits=2):
        return with_error(chosen(rows, method=method), column, digits)

    def distinct(rows):
        return ", ".join(mean(rows, method, "distinct") for method in ("greedy", "5 beams", "10 beams"))

    return {
        "beams/prompts": len(chosen(course, method="greedy")), "beams/length": setting(course, "length"),
        "beams/true": mean(best, "held-out text", "log_probability", 3),
        "beams/greedy": mean(best, "greedy", "log_probability", 3),
        "beams/10": mean(best, "10 beams", "log_probability", 3),
        "beams/10/agree": mean(best, "10 beams", "agree"), "beams/greedy/agree": mean(best, "greedy", "agree"),
        "beams/sample/agree": mean(best, "sample", "agree"),
        "beams/course/distinct": distinct(course), "beams/best/distinct": distinct(best),
    }


def measure_numbers(course, best, context, best_context):
    def interval(rows, measure, tau, source="samples", digits=2):
        """The mean and its 95 % interval."""
        row, = chosen(rows, measure=measure, temperature=tau, source=source)
        return f"{row['mean']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"

    def after(rows, characters):
        return chosen(rows, context=characters)[0]["bits"]

    def gain(characters):
        """On the shorter context in the row before."""
        row, = chosen(best_context, context=characters)
        return rf"\ensuremath{{{row['gain']:.3f} \pm {row['gain_error']:.3f}}}"

    return {
        "samples/number": chosen(course, temperature=1)[0]["texts"],
        "known/0.5": interval(course, "known words", 0.5), "known/1": interval(course, "known words", 1),
        "known/2": interval(course, "known words", 2), "known/greedy": interval(course, "known words", None, digits=3),
        "known/best": interval(best, "known words", 1),
        "known/book": interval(course, "known words", None, "held-out text"),
        "period/course": round(chosen(course, measure="period", temperature=None)[0]["mean"]),
        "period/best": round(chosen(best, measure="period", temperature=None)[0]["mean"]),
        "copy/1": interval(course, "longest copy", 1, digits=1),
        "copy/best": interval(best, "longest copy", 1, digits=1),
        "copy/best/2": interval(best, "longest copy", 2, digits=1),
        "copy/best/4": interval(best, "longest copy", 4, digits=1),
        "copy/best/greedy": interval(best, "longest copy", None, digits=1),
        "copy/book": interval(course, "longest copy", None, "held-out text", 1),
        "context/10": after(context, 10), "context/30": after(context, 30), "context/500": after(context, 500),
        "context/best/10": after(best_context, 10), "context/best/30": after(best_context, 30),
        "context/best/500": after(best_context, 500),
        "context/best/gain": gain(50), "context/best/hardly": gain(100),
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


# All of it: functions, and the results that each takes

NUMBERS = (
    (length_numbers, "longer.csv", "latch_longest.csv", *SWEEPS.values()),
    (setting_numbers, "optimizers.csv", "rates_lstm.csv", "rates_chrono.csv", "ablations.csv", "baum_sweet.csv",
     "combinations.csv", "binary.csv", "binary_curves.csv"),
    (inside_numbers, "traces.csv", "directions.csv", "states.csv", "optimizers_seeds.csv", "rates_lstm.csv",
     "rates_chrono.csv"),
    (unsettled_numbers, "binary_curves.csv", "ablations_curves.csv"),
    (trained_numbers, "states.csv", "states_trained.csv", "states_peephole.csv", "beyond.csv"),
    (gradient_numbers, "trained.csv", *GRADIENTS.values()), (speed_numbers, "benchmark_part1.csv"),
    (stage_numbers, *(f"{name}.json" for name in TEXTS["Grimm"])),
    (text_numbers, "text.json", "text_curves.csv", "text_best.json", "text_best_curves.csv", "ngram.csv"),
    (measure_numbers, "text_samples.csv", "text_best_samples.csv", "text_context.csv", "text_best_context.csv"),
    (beam_numbers, *(f"{name}_beams.csv" for name in WRITERS)),
    (graph_numbers, "graph_2019.json", "graph_2020.json"),
)
TABLES = {
    "horizon.tex": (horizon_table, "longer.csv", "latch_longest.csv", *SWEEPS.values()),
    "optimizers.tex": (optimizer_table, "optimizers.csv"),
    "rates.tex": (rates_table, "rates_lstm.csv", "rates_chrono.csv"),
    "inside.tex": (inside_table, "directions.csv", "states.csv", "states_trained.csv"),
    "beyond.tex": (beyond_table, "beyond.csv", "beyond_latch.csv"),
    "groups.tex": (curves_table, *(f"{name}{end}" for name in TASKS for end in (".csv", "_curves.csv"))),
    "text_books.tex": (books_table, *(f"{name}.json" for names in TEXTS.values() for name in names)),
    "text_settings.tex": (settings_table, "text.json", "text_best.json", "text_settings.csv"),
    "text_counting.tex": (counting_table, "ngram.csv"),
    "text_beams.tex": (beams_table, *(f"{name}_beams.csv" for name in WRITERS)),
    "text_stages.tex": (stages_table, "text.json"), "text_temperatures.tex": (temperatures_table, "text.json"),
    "text_samples.tex": (samples_table, "text.json"),
    "text_sentences.tex": (sentences_table, "text.json", "text_best.json"),
    "text_best.tex": (best_table, "text_best.json"),
    "graph_2019.tex": (matrix, "graph_2019.json"), "graph_2020.tex": (matrix, "graph_2020.json"),
}
REQUIRED = tuple(dict.fromkeys([  # those of the tables, and what claims, figures and the time take besides
    *(name for _, *names in (*NUMBERS, *TABLES.values()) for name in names),
    "corrected.csv", "states_short.csv", "trained_latch.csv", "text_settings_curves.csv"]))


def load(folder):
    """The results that the report shows, a dict from file names to rows or content; `InputError` if one is missing."""
    if missing := [name for name in REQUIRED if not (folder / name).exists()]:
        raise cli.InputError(f"{files.display(folder)} lacks {', '.join(missing)}, which the report needs; "
                             "python -m report.reproduce --preset full makes them")
    return {name: read_result(folder / name) for name in REQUIRED}


def made(results, function, *names):
    """What `function` makes of the results `names`."""
    with making("the report", names):
        return function(*(results[name] for name in names))


def definitions(numbers):
    """The LaTeX that defines `numbers`, a dict by key."""
    return "".join(f"\\setval{{{key}}}{{{value if isinstance(value, str) else number(value)}}}\n"
                   for key, value in numbers.items())


def generate(results):
    """All generated files from `load`ed results: a dict from file names to LaTeX."""
    contents = {"numbers.tex": "".join(definitions(made(results, *about)) for about in NUMBERS)
                + definitions(time_numbers(results)),
                **{name: made(results, *about) for name, about in TABLES.items()}}
    return {name: MARK + content for name, content in contents.items()}


def write_all(results, generated):
    """Write the generated files of the folder `results` into the folder `generated`; `InputError`, and nothing is
    written, where one of them is there that was not made here."""
    contents = generate(load(results))
    for path in (generated / name for name in contents):
        if path.exists() and not path.read_bytes().startswith(MARK.encode()):
            raise cli.InputError(f"{files.display(path)} exists but was not made here; remove it or rename it")
    generated.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        files.write_atomically(generated / name, content.encode())
