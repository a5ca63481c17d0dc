"""Write the report's tables and numbers from the results: no number in the report is typed in by hand.

    python -m report.tables                                                # report/results to report/generated
    python -m report.tables --results runs/quick/results --generated runs/quick/generated --quick

Everything in `generated/` is LaTeX: one file a table, and `numbers.tex`, which says which results there are
(`\\ifhasnaive` …) and defines the numbers and the result-dependent sentences that `report.tex` takes with `\\val{key}`.
The report also says things in words that numbers decide. Each of them is in `CLAIMS`, and a test checks them all.
"""
import math
import sys
import unicodedata
from pathlib import Path

if not __package__:  # run as a file: the repository's root takes this folder's place on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from part1 import cli, run  # before torch, see part1/run.py
import numpy as np

from part1.dataset import DATASETS
from report.plots import read_csv

REQUIRED = ("lengths.csv", "gradients.csv", "text.json", "text_curves.csv", "graph_2019.json", "graph_2020.json")
# From the settings found best to the course's; "small step" is the naive settings at a tenth of the learning rate.
SWEEPS = {"tuned": "lengths.csv", "RMSProp": "rmsprop.csv", "small step": "smallstep.csv", "naive": "naive.csv",
          "official": "official.csv"}
GRADIENTS = {"untrained": "gradients.csv", "tuned": "gradients_tuned.csv", "trained": "gradients_trained.csv"}
TEXTS = {"text": "text.json", "large": "text_tuned.json", "second": "text_second.json"}
OPTIMIZERS = {"rmsprop": "RMSProp", "adam": "Adam", "sgd": "SGD"}
NAMES = {"RNN": "RNN", "LSTM": "LSTM", "PeepLSTM": "peephole LSTM"}
TITLES = {"grimm": "Grimm's fairy tales", "democracy": "Tocqueville's \\emph{Democracy in America}",
          "darwin": "Darwin's voyage, in Dutch", "karenina": "\\emph{Anna Karenina}, in Dutch",
          "calculus": "\\emph{Calculus Made Easy}, in \\TeX", "fables": "the built-in fables"}
SOLVED, SHARE = 0.99, 0.8  # a length is solved when this share of the seeds reaches this accuracy: 4 of 5
LINE = 92  # characters of a sample that fit in a line
WORDS = "none one two three four five six seven eight nine ten".split()


def load(folder):
    """All results in `folder`: a dict from file names to rows or content. `ValueError` when the report lacks one."""
    missing = [name for name in REQUIRED if not (folder / name).exists()]
    if missing:
        raise ValueError(f"{run.shorter(folder)} lacks {', '.join(missing)}, which the report needs; "
                         "python -m report.reproduce makes them")
    return {path.name: read_csv(path) if path.suffix == ".csv" else run.read_json(path)
            for path in sorted(folder.iterdir()) if path.suffix in (".csv", ".json")}


# Text as LaTeX ------------------------------------------------------------------------------------------------------

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    '"': r"\textquotedbl{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "-": "-{}", ",": ",{}", "!": "!{}", "?": "?{}",  # no ligatures such as -- or ,,
    "‘": r"\textquoteleft{}", "’": r"\textquoteright{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "…": r"\dots{}", "£": r"\pounds{}", "§": r"\S{}", "\u00a0": r"\ ",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "å": r"\aa{}", "Å": r"\AA{}", "\n": r"\lineend{}",
}
ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c", "\u030c": "v"}


def latex(text):
    """`text` as LaTeX in plain ASCII that shows every character: line ends as a mark, repeated spaces as such, and one
    that the fonts may not have as its code point."""
    pieces, run_length = [], 0
    for k, character in enumerate(text):
        run_length = 0 if character in " \n-" else run_length + 1
        if character == " ":
            pieces.append(" " if 0 < k < len(text) - 1 and text[k - 1] not in " \n" else r"\ ")
        elif character in SPECIAL:
            pieces.append(SPECIAL[character])
        elif character.isascii() and character.isprintable():
            pieces.append(character)
        else:
            letter, *accents = unicodedata.normalize("NFD", character)
            known = letter.isascii() and letter.isalpha() and len(accents) == 1 and accents[0] in ACCENTS
            pieces.append(f"\\{ACCENTS[accents[0]]}{{{letter}}}" if known else f"\\codepoint{{{ord(character):04X}}}")
        if run_length and run_length % 12 == 0:
            pieces.append(r"\allowbreak{}")  # a word that never ends must not run over the margin
    return "".join(pieces)


def number(value, digits=3):
    """A number with so many digits after the point; a whole one with thin spaces between thousands."""
    if isinstance(value, (int, np.integer)):
        text = f"{value:,}".replace(",", r"\,") if abs(value) >= 10_000 else str(value)
    else:
        text = f"{value:.{digits}f}"
    return rf"\ensuremath{{{text}}}" if value < 0 else text


def power(value):
    """A number as a decimal fraction times a power of ten."""
    digits, exponent = f"{value:.1e}".split("e")
    return rf"\ensuremath{{{digits}\times 10^{{{int(exponent)}}}}}"


def spread(values, digits=3):
    """Mean and standard deviation (n - 1) of `values`; of a single one only itself."""
    mean = number(float(np.mean(values)), digits)
    return mean if len(values) < 2 else rf"\ensuremath{{{mean} \pm {np.std(values, ddof=1):.{digits}f}}}"


def word(count):
    return WORDS[count] if count < len(WORDS) else number(count)


def share(truths):
    """How many of them are true, in words."""
    truths = list(truths)
    return f"{word(sum(truths))} of {word(len(truths))}"


def listing(items):
    """Words in a row: a, b and c."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def tabular(columns, rows):
    """A LaTeX table; a row that is None becomes a rule between groups."""
    head, *body = rows
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [r"\midrule" if row is None else " & ".join(row) + r" \\" for row in body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


# Part 1: accuracy against palindrome length -------------------------------------------------------------------------

def groups(rows):
    """The rows of a sweep by network and length: {model: {T: rows}}, lengths in order."""
    found = {}
    for row in sorted(rows, key=lambda row: row["palindrome_length"]):
        found.setdefault(row["model_type"], {}).setdefault(row["palindrome_length"], []).append(row)
    return {model: found[model] for model in NAMES if model in found}


def solved(rows):
    """Whether enough of the seeds in `rows` reach `SOLVED`."""
    return sum(row["accuracy"] >= SOLVED for row in rows) >= SHARE * len(rows)


def longest(cells):
    """The longest solved length of {T: rows}, or 0."""
    return max((T for T, rows in cells.items() if solved(rows)), default=0)


def reach(cells):
    """A sentence's predicate: how far one network's memory reaches."""
    def result(T):
        return f"$T = {T}$ (accuracy {spread([row['accuracy'] for row in cells[T]], 2)})"

    best = longest(cells)
    failed = [T for T, rows in cells.items() if not solved(rows)]
    if not best:
        return f"solves none of the lengths tried, not even {result(min(cells))}"
    there = [row["steps"] for row in cells[best] if row["accuracy"] >= SOLVED]
    seeds = "" if len(there) == len(cells[best]) else f"{word(len(there))} of {word(len(cells[best]))} seeds, "
    text = f"solves palindromes up to $T = {best}$ ({seeds}after {number(round(np.mean(there)))} updates on average)"
    later = [T for T in failed if T > best]
    earlier = [T for T in failed if T < best]
    if later:
        limit = max(row["train_steps"] for row in cells[later[0]])
        text += f", and fails within its {number(limit)} updates at {result(later[0])}"
    elif not earlier:
        text += ", the longest in the table"
    if earlier:
        text += f"; on the way there it misses {listing(map(result, earlier))}"
    return text


def farther(models):
    """A sentence on which of the tuned networks reaches farther, as far as the lengths that were tried tell."""
    RNN, LSTM = models["RNN"], models["LSTM"]
    failed = [T for T in RNN if not solved(RNN[T]) and T > longest(RNN)]
    if failed and longest(LSTM) >= failed[0]:
        return f"That is farther than the RNN, which fails at $T = {failed[0]}$"
    both = max((T for T in RNN if T in LSTM and solved(RNN[T]) and solved(LSTM[T])), default=0)
    if not both or failed:
        return "The lengths that were tried do not show it to reach farther than the RNN"
    steps = [number(round(np.mean([row["steps"] for row in cells[both]]))) for cells in (RNN, LSTM)]
    return (f"The RNN was not tried beyond $T = {max(RNN)}$, so the table does not tell how much farther that is; at "
            f"$T = {both}$, which both solve, the RNN takes {steps[0]} updates and the LSTM {steps[1]}")


def common(rows, name):
    """The values of a setting in a sweep, as text."""
    values = sorted({row[name] for row in rows}, key=lambda value: (value is None, value))
    return listing("0" if value is None else f"{value:g}" if isinstance(value, float) else
                   number(value) if isinstance(value, int) else str(value) for value in values)


def accuracy_table(sweeps):
    """Mean accuracy for each sweep, network and length: bold where solved."""
    by_sweep = {name: groups(rows) for name, rows in sweeps.items()}
    lengths = sorted({T for models in by_sweep.values() for cells in models.values() for T in cells})
    rows = [["settings", "network", *(f"$T={T}$" if T == lengths[0] else str(T) for T in lengths), "solved to"]]
    for name, models in by_sweep.items():
        rows += [None] if len(rows) > 1 else []
        for k, (model, cells) in enumerate(models.items()):
            fields = []
            for T in lengths:
                value = number(float(np.mean([row["accuracy"] for row in cells[T]])), 2) if T in cells else "--"
                fields.append(rf"\textbf{{{value}}}" if T in cells and solved(cells[T]) else value)
            rows.append([name if not k else "", NAMES[model], *fields, str(longest(cells)) if longest(cells) else "--"])
    return tabular("ll" + "r" * (len(lengths) + 1), rows)


def settings_table(sweeps):
    """What each network was trained with in each sweep; networks with the same settings share a row."""
    rows = [["settings", "network", "input", r"$\mat{W}_{*h}$", r"$\vec{b}_f$", "optimizer", "rate", "updates", "seeds",
             "test set"]]
    for name, sweep in sweeps.items():
        rows += [None] if len(rows) > 1 else []
        found = {}
        for model in groups(sweep):
            mine = [row for row in sweep if row["model_type"] == model]
            limits = sorted({row["train_steps"] for row in mine})
            about = (listing("raw digit" if d == 1 else "one-hot" for d in sorted({row["input_dim"] for row in mine})),
                     common(mine, "init").replace("xavier", "Xavier"), common(mine, "forget_bias"),
                     OPTIMIZERS[common(mine, "optimizer")], common(mine, "learning_rate"),
                     number(limits[0]) if len(limits) == 1 else f"{number(limits[0])}--{number(limits[-1])}",
                     str(len({row["seed"] for row in mine})), common(mine, "eval_size"))
            found.setdefault(about, []).append(model)
        for k, (about, models) in enumerate(found.items()):
            fields = ["--" if field == 2 and models == ["RNN"] else value for field, value in enumerate(about)]
            rows.append([name if not k else "", listing(NAMES[model] for model in models), *fields])
    return tabular("llllllrrrr", rows)


def sweep_numbers(sweeps):
    found = {}
    for name, rows in sweeps.items():
        for model, cells in groups(rows).items():
            best, key = longest(cells), f"{name}/{model}"
            found |= {f"{key}/solved": str(best) if best else "none", f"{key}/reach": reach(cells),
                      f"{key}/hidden": common([row for T in cells.values() for row in T], "num_hidden"),
                      f"{key}/rate": common([row for T in cells.values() for row in T], "learning_rate")}
            for T, cell in cells.items():
                found[f"{key}/{T}"] = spread([row["accuracy"] for row in cell])
                found[f"{key}/{T}/updates"] = number(round(np.mean([row["steps"] for row in cell])))
                found[f"{key}/{T}/seeds"] = word(sum(row["accuracy"] >= SOLVED for row in cell))
        found[f"{name}/seeds"] = word(len({row["seed"] for row in rows}))
        found[f"{name}/test"] = common(rows, "eval_size")
    found["farther"] = farther(groups(sweeps["tuned"]))
    if {"naive", "small step"} <= sweeps.keys():
        found |= {"naive/updates": common(sweeps["naive"], "train_steps"), "small step/updates": common(
            sweeps["small step"], "train_steps"), "small step/within": str(longest_within(sweeps))}
    first = sweeps["tuned"][0]
    n, d = first["num_hidden"], first["input_dim"]
    found |= {"n": str(n), "d": str(d), "n/root": number(n ** -0.5, 2), "parameters/RNN": number(n * d + n * n + n),
              "parameters/LSTM": number(4 * (n * d + n * n + n)),
              "parameters/PeepLSTM": number(4 * n * d + 3 * n * n + 4 * n),
              "batch": common(sweeps["tuned"], "batch_size"),
              "clip": common(sweeps["tuned"], "max_norm")}
    return found | comparison(sweeps)


def longest_within(sweeps):
    """The longest T that the RNN with small steps solves within as many updates as the naive one has."""
    limit = max(row["train_steps"] for row in sweeps["naive"])
    cells = groups(sweeps["small step"])["RNN"]
    return longest({T: [row if row["steps"] <= limit else row | {"accuracy": 0} for row in rows]
                    for T, rows in cells.items()})


def comparison(sweeps):
    """A sentence about the networks under the naive settings, at every length that both have."""
    if "naive" not in sweeps:
        return {}
    models = groups(sweeps["naive"])
    mean = {model: {T: float(np.mean([row["accuracy"] for row in rows])) for T, rows in cells.items()}
            for model, cells in models.items()}
    both = [T for T in mean.get("RNN", {}) if T in mean.get("LSTM", {})]
    apart = [T for T in both if abs(mean["RNN"][T] - mean["LSTM"][T]) >= 0.02]
    if not apart:
        return {"naive/comparison": "RNN and LSTM are within 0.02 of each other at every length"}
    parts = [f"at $T = {T}$ the RNN has {mean['RNN'][T]:.2f} and the LSTM {mean['LSTM'][T]:.2f}" for T in apart]
    return {"naive/comparison": listing(parts)}


def best_rates(rows):
    """{optimizer: its rows at its best learning rate}: most seeds there, then fewest updates to `SOLVED`."""
    found = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        def rank(rate):
            steps = [row["steps_to_target"] for row in cell(rate) if row["steps_to_target"]]
            return -len(steps), np.mean(steps) if steps else -np.mean([row["accuracy"] for row in cell(rate)])

        def cell(rate):
            return [row for row in rows if row["method"] == method and row["learning_rate"] == rate]

        found[method] = cell(min(sorted({row["learning_rate"] for row in rows if row["method"] == method}), key=rank))
    return found


def optimizer_table(rows):
    """For each optimizer what its best learning rate achieves."""
    table = [["optimizer", "best rate", "updates", "seeds there", "accuracy"]]
    for method, best in best_rates(rows).items():
        steps = [row["steps_to_target"] for row in best if row["steps_to_target"]]
        table.append([method, f"{best[0]['learning_rate']:g}", spread(steps, 0) if steps else "--",
                      f"{len(steps)} of {len(best)}", spread([row["accuracy"] for row in best])])
    return tabular("lrrrr", table)


def optimizer_numbers(rows):
    row = rows[0]
    return {"optimizers/task": f"{NAMES[row['model_type']]}, $T = {row['palindrome_length']}$, "
                               f"{'one-hot' if row['input_dim'] > 1 else 'raw'} digits, {row['init'].capitalize()} "
                               f"weights, at most {number(row['train_steps'])} updates"}


# Part 1: binary palindromes and gradients ---------------------------------------------------------------------------

LEVEL = 0.95  # accuracy whose first crossing is compared between networks


def crossings(curves):
    """{(model, L): the update at which each seed's accuracy first reached `LEVEL`, or None}."""
    found = {}
    for row in curves:
        first = found.setdefault((row["model_type"], row["palindrome_length"]), {})
        first.setdefault(row["seed"], None)
        if first[row["seed"]] is None and row["accuracy"] >= LEVEL:
            first[row["seed"]] = row["step"]
    return {key: list(first.values()) for key, first in found.items()}


def binary_table(rows, curves):
    """Accuracy at the end and the first update at `LEVEL`, for each network and L."""
    table = [["network", "$L$", "symbols read", "accuracy at the end", f"updates to {LEVEL}", "seeds there"]]
    first = crossings(curves)
    for model, cells in groups(rows).items():
        for L, cell in cells.items():
            there = [step for step in first[model, L] if step is not None]
            table.append([NAMES[model], str(L), str(4 * L + 1), spread([row["accuracy"] for row in cell]),
                          spread(there, 0) if there else "--", f"{len(there)} of {len(cell)}"])
    return tabular("lrrrrr", table)


def settled(curves, model, L):
    """The update from which on each seed's accuracy stays at `SOLVED` or above, or None, and each seed's last loss."""
    found, loss = {}, {}
    for row in sorted(curves, key=lambda row: row["step"]):
        if (row["model_type"], row["palindrome_length"]) == (model, L):
            found[row["seed"]] = None if row["accuracy"] < SOLVED else found.get(row["seed"]) or row["step"]
            loss[row["seed"]] = row["eval_loss"]
    return list(found.values()), list(loss.values())


def binary_numbers(rows, curves):
    first = crossings(curves)
    found = {"binary/seeds": listing(sorted({row["seed"] for row in rows})),
             "binary/updates": common(rows, "train_steps"), "binary/rate": common(rows, "learning_rate"),
             "binary/hidden": common(rows, "num_hidden"), "binary/batch": common(rows, "batch_size"),
             "binary/init": common(rows, "init"), "binary/test": common(rows, "eval_size"),
             "binary/level": str(LEVEL)}
    for model, cells in groups(rows).items():
        for L, cell in cells.items():
            found[f"binary/{model}/{L}"] = spread([row["accuracy"] for row in cell])
            late = [row for row in cell if row["accuracy"] < LEVEL]
            found[f"binary/{model}/{L}/late"] = (
                f"{word(len(late))} of {word(len(cell))} seeds ended below {LEVEL} (at best "
                f"{listing(number(row['best_accuracy'], 2) for row in late)})" if late else "no seed was left behind")
    if ("LSTM", 10) in first and ("PeepLSTM", 10) in first:
        (ours, our_loss), (theirs, their_loss) = (settled(curves, model, 10) for model in ("LSTM", "PeepLSTM"))
        if None in ours + theirs:
            counts = [share(step is not None for step in steps) for steps in (theirs, ours)]
            text = f"{counts[0]} seeds end at {SOLVED} or above, {counts[1]} of the LSTM"
        else:
            text = (f"it stays above {SOLVED} from update {min(theirs)}--{max(theirs)} on, the LSTM from "
                    f"{min(ours)}--{max(ours)}")
        found["binary/comparison"] = text
        found["binary/losses"] = " and ".join(power(float(np.mean(loss))) for loss in (their_loss, our_loss))
    return found


def flow(rows):
    """{(model, input, state): (norm at the first step, at the last step, factor a step between them)}."""
    found = {}
    for row in rows:
        found.setdefault((row["model_type"], row["input"], row["state"]), []).append((row["t"], row["norm"]))
    result = {}
    for key, curve in found.items():
        (first_t, first), (last_t, last) = min(curve), max(curve)
        result[key] = first, last, (first / last) ** (1 / (last_t - first_t))
    return result


def remaining(study, key, T):
    """What is left of the gradient of the last step after the T - 2 steps back that a palindrome of length T has."""
    curve = {row["t"]: row["norm"] for row in study if (row["model_type"], row["input"], row["state"]) == key}
    last = max(curve)
    return curve[max(min(curve), last - (T - 2))] / curve[last]


def gradient_table(studies):
    """The gradient norm at the first step, and its factor a step, for every network, input and state in each study."""
    flows = {name: flow(study) for name, study in studies.items()}
    keys = list(dict.fromkeys(key for found in flows.values() for key in found))
    rows = [["network", "digits", "state", *(heading for name in flows for heading in (f"{name}, $t=1$", "factor"))]]
    for model, digits, state in keys:
        found = [flows[name].get((model, digits, state)) for name in flows]
        rows.append([NAMES[model], digits, rf"$\vec{{{state}}}$", *(field for values in found for field in (
            (power(values[0]), number(values[2], 2)) if values else ("--", "--")))])
    return tabular("lll" + "rr" * len(flows), rows)


def gradient_numbers(studies):
    found = {}
    for name, study in studies.items():
        found[f"gradient/{name}/seeds"] = word(study[0]["seeds"])
        found[f"gradient/{name}/T"] = str(max(row["t"] for row in study) + 1)
        for key, (first, last, factor) in flow(study).items():
            about = f"gradient/{name}/" + "/".join(key)
            found |= {f"{about}/first": power(first), f"{about}/last": power(last),
                      f"{about}/factor": number(factor, 2)}
            for T in (20, 30):
                value = remaining(study, key, T)
                found[f"{about}/over{T}"] = number(value, 2) if value >= 0.01 else power(value)
    return found


# Part 2: text --------------------------------------------------------------------------------------------------------

def distinct(text, n=5):
    """Share of distinct ones among the sequences of n characters in `text`: 1 if nothing repeats."""
    pieces = [text[k:k + n] for k in range(len(text) - n + 1)]
    return len(set(pieces)) / len(pieces)


def loops(text, tail=20):
    """Whether `text` has come back to where it was: its last `tail` characters stood in it before."""
    return len(text) > tail and text[-tail:] in text[:-1]


def title(study):
    """The book of a text study, in words."""
    name = study["settings"]["txt_file"]
    return next((title for part, title in TITLES.items() if part in name), latex(name))


def temperature(row):
    return "greedy" if row["temperature"] is None else rf"$\tau = {row['temperature']:g}$"


def samples_table(groups_, bar_after=None):
    """Samples in typewriter, grouped: pairs of a group's name and its texts, with a bar after so many characters."""
    def cut(text):
        return [text[:bar_after], text[bar_after:]] if bar_after else [text]

    bar = r"{\color{gray}\vrule}"
    lines = [r"\begin{samples}"]
    for k, (name, texts) in enumerate(groups_):
        lines += [r"\midrule"] if k else []
        lines += [f"{name if not j else ''} & {bar.join(map(latex, cut(text)))} \\\\" for j, text in enumerate(texts)]
    return "\n".join([*lines, r"\end{samples}"]) + "\n"


def text_tables(key, study):
    """The generated files of a text study: samples at three stages and at each temperature, endings, beams; of another
    than the main one only a few samples."""
    few = samples_table((temperature(row), row["samples"][:1]) for row in study["temperatures"][1:])
    return {f"{key}_few.tex": few} if key != "text" else {
        f"{key}_stages.tex": samples_table(((number(stage["update"]), stage["samples"]) for stage in study["stages"]),
                                           bar_after=study["settings"]["seq_length"]),
        f"{key}_temperatures.tex": samples_table(
            (temperature(row), row["samples"][:2 if row["temperature"] is None else 3])
            for row in study["temperatures"]),
        f"{key}_sentences.tex": samples_table(
            ("", [row[way][:LINE] for way in ("greedy", "temperature 2")]) for row in study["sentences"]),
        f"{key}_beams.tex": samples_table((rf"{row['beam_size']}: ${row['log_probability']:.1f}$", [row["text"][:LINE]])
                                          for row in study["beams"]),
        f"{key}_diversity.tex": diversity_table(study),
    }


def diversity_table(study):
    """How much the samples repeat themselves, for each temperature."""
    rows = [["", *map(temperature, study["temperatures"])],
            ["distinct 5-grams", *(number(float(np.mean([distinct(text) for text in row["samples"]])), 2)
                                   for row in study["temperatures"])],
            ["samples that end in a loop", *(f"{sum(map(loops, row['samples']))} of {len(row['samples'])}"
                                             for row in study["temperatures"])]]
    return tabular("l" + "r" * len(study["temperatures"]), rows)


def text_numbers(key, study, curves):
    settings, result = study["settings"], study["result"]
    found = {f"{key}/{name}": number(value) for name, value in (
        ("characters", study["characters"]), ("vocabulary", study["vocabulary_size"]),
        ("parameters", study["parameters"]), ("updates", settings["train_steps"]),
        ("hidden", settings["lstm_num_hidden"]),
        ("layers", settings["lstm_num_layers"]), ("window", settings["seq_length"]), ("batch", settings["batch_size"]),
        ("decay_step", settings["learning_rate_step"]))}
    found |= {f"{key}/book": title(study), f"{key}/rate": f"{settings['learning_rate']:g}",
              f"{key}/decay": f"{settings['learning_rate_decay']:g}", f"{key}/clip": f"{settings['max_norm']:g}",
              f"{key}/keep": f"{settings['dropout_keep_prob']:g}", f"{key}/seed": str(settings["seed"]),
              f"{key}/passes": number(settings["train_steps"] * settings["batch_size"] * settings["seq_length"]
                                      / study["characters"] / (1 - settings["eval_fraction"]), 0),
              f"{key}/held_out": f"{100 * settings['eval_fraction']:g}\\,\\%",
              f"{key}/minutes": number(result["seconds"] / 60, 0),
              f"{key}/loss": number(curves[-1]["loss"], 2), f"{key}/accuracy": number(100 * curves[-1]["accuracy"], 0),
              f"{key}/start": number(curves[0]["loss"], 2),
              f"{key}/uniform": number(math.log(study["vocabulary_size"]), 2)}
    evaluated = [row for row in curves if row["eval_loss"] is not None]
    if evaluated:
        best = min(evaluated, key=lambda row: row["eval_loss"])
        found |= {f"{key}/eval": number(evaluated[-1]["eval_loss"], 2), f"{key}/best": number(best["eval_loss"], 2),
                  f"{key}/best_update": number(best["step"]),
                  f"{key}/best_bits": number(best["eval_loss"] / math.log(2), 2),
                  f"{key}/bits": number(evaluated[-1]["eval_loss"] / math.log(2), 2),
                  f"{key}/overfits": "It is lowest at the end: the model is not overfitting yet"
                  if evaluated[-1]["eval_loss"] <= best["eval_loss"] + 0.005 else
                  f"It is lowest at update {number(best['step'])} ({best['eval_loss']:.2f}) and rises afterwards: from "
                  "there on the model learns its own book by heart"}
        for k, stage in enumerate(study["stages"], 1):
            near = min(evaluated, key=lambda row: abs(row["step"] - stage["update"]))
            found[f"{key}/stage{k}/eval"] = number(near["eval_loss"], 2)
    for k, stage in enumerate(study["stages"], 1):
        found |= {f"{key}/stage{k}/update": number(stage["update"]),
                  f"{key}/stage{k}/loops": share(map(loops, stage["samples"])),
                  f"{key}/stage{k}/distinct": number(float(np.mean([distinct(text) for text in stage["samples"]])), 2)}
    last = study["stages"][-1]["samples"]
    for length in (30, 90):
        found[f"{key}/distinct{length}"] = number(float(np.mean([distinct(text[:length]) for text in last])), 2)
    first, *_, widest = study["beams"]
    found |= {f"{key}/beam/prompt": latex(study["sentences"][0]["prompt"]),
              f"{key}/beam/greedy": number(first["log_probability"], 1), f"{key}/beam/best": number(
                  max(row["log_probability"] for row in study["beams"]), 1),
              f"{key}/beam/factor": power(math.exp(widest["log_probability"] - first["log_probability"])),
              f"{key}/beam/distinct": listing(number(distinct(row["text"]), 2) for row in study["beams"]),
              f"{key}/beam/sizes": listing(row["beam_size"] for row in study["beams"])}
    endings = study["sentences"]
    found |= {f"{key}/line": str(LINE), f"{key}/endings/loops": share(loops(row["greedy"]) for row in endings),
              f"{key}/endings/sampled_loops": share(loops(row["temperature 2"]) for row in endings)}
    return found


# Part 3: graphs ------------------------------------------------------------------------------------------------------

def matrix(graph):
    """Atilde with its rows and columns named."""
    names = [rf"\mathrm{{{name}}}" for name in graph["nodes"]]
    lines = [r"\begin{array}{c|" + "c" * len(names) + "}", " & " + " & ".join(names) + r" \\ \hline"]
    lines += [" & ".join([name, *(str(int(entry)) for entry in row)]) + r" \\"
              for name, row in zip(names, graph["Atilde"])]
    return "\n".join([*lines, r"\end{array}"]) + "\n"


def graph_numbers(key, graph):
    Atilde = np.array(graph["Atilde"], dtype=int)
    source, target = (graph["nodes"].index(graph["path"][end]) for end in (0, -1))
    paths = np.linalg.matrix_power(Atilde, graph["updates"])[source, target]
    sizes = np.sort(np.abs(np.linalg.eigvalsh(np.array(graph["Ahat"]))))
    return {f"{key}/updates": str(graph["updates"]), f"{key}/path": "--".join(graph["path"]),
            f"{key}/paths": word(paths), f"{key}/before": str(graph["updates"] - 1),
            f"{key}/second": number(float(sizes[-2]), 2),
            f"{key}/halving": number(math.log(0.01) / math.log(float(sizes[-2])), 0),
            f"{key}/degrees": ", ".join(map(str, graph["D"]))}


# All of it -----------------------------------------------------------------------------------------------------------

def benchmark_numbers(results):
    """Speeds, where there are any: `benchmark_part1.csv` is the `benchmark.csv` of `part1.benchmark`."""
    one = [row for row in results.get("benchmark_part1.csv", []) if row["threads"] == 1 and row["T"] == 100]
    if not one:
        return {}
    plain, torchs = (listing(f"{ratio(row):.1f} ({row['model_type']})" for row in one) for ratio in (
        lambda row: row["autograd/bptt"], lambda row: 1 / row["bptt/torch"]))
    return {"speed/sentence": f"on one thread, at $T = 100$, {plain} times as fast as the plain loop and {torchs} "
                              "times as fast as PyTorch's own"}


def longer_numbers(rows):
    """A sentence about the runs at a length beyond those of the table, `longer.csv`."""
    there = [row["steps"] for row in rows if row["accuracy"] >= SOLVED]
    return {"longer/sentence": f"At $T = {rows[0]['palindrome_length']}$, with a rate of "
                               f"{common(rows, 'learning_rate')}, {word(len(there))} of {word(len(rows))} seeds reach "
                               f"{SOLVED}" + (f", after {min(there)} to {max(there)} updates" if there else "")}


def chosen(results, files):
    """The files of a dict that are there: {key: content}."""
    return {key: results[file] for key, file in files.items() if file in results}


def binary_of(results):
    """The binary study's table and curves, or None."""
    return (results["binary.csv"], results["binary_curves.csv"]) if "binary_curves.csv" in results \
        and "binary.csv" in results else None


def texts_of(results):
    """The text studies that are there: {key: (content, curves)}."""
    return {key: (results[file], results[curves]) for key, file in TEXTS.items()
            if file in results and (curves := file.replace(".json", "_curves.csv")) in results}


def generate(results, quick=False):
    """All generated files from `load`ed results: a dict from file names to LaTeX. `quick` marks the reduced studies."""
    sweeps, gradients, texts = chosen(results, SWEEPS), chosen(results, GRADIENTS), texts_of(results)
    binary = binary_of(results)
    files = {"accuracy.tex": accuracy_table(sweeps), "settings.tex": settings_table(sweeps),
             "gradients.tex": gradient_table(gradients)}
    numbers = sweep_numbers(sweeps) | gradient_numbers(gradients) | benchmark_numbers(results)
    for model, cells in groups(results.get("trained.csv", [])).items():
        [rows] = cells.values()  # of one length
        numbers[f"trained/{model}"] = number(float(np.mean([row["accuracy"] for row in rows])), 2)
    if "longer.csv" in results:
        numbers |= longer_numbers(results["longer.csv"])
    if binary:
        files["binary.tex"] = binary_table(*binary)
        numbers |= binary_numbers(*binary)
    if "optimizers.csv" in results:
        files["optimizers.tex"] = optimizer_table(results["optimizers.csv"])
        numbers |= optimizer_numbers(results["optimizers.csv"])
    for key, (study, curves) in texts.items():
        files |= text_tables(key, study)
        numbers |= text_numbers(key, study, curves)
    for edition in ("2019", "2020"):
        files[f"graph_{edition}.tex"] = matrix(results[f"graph_{edition}.json"])
        numbers |= graph_numbers(edition, results[f"graph_{edition}.json"])
    there = {"quick": quick, "rmsprop": "RMSProp" in sweeps, "naive": "naive" in sweeps,
             "official": "official" in sweeps, "smallstep": "small step" in sweeps, "binary": bool(binary),
             "gradtuned": "tuned" in gradients,
             "trained": {"tuned", "trained"} <= gradients.keys() and "trained.csv" in results,
             "large": "large" in texts, "second": "second" in texts, "heldout": "text/eval" in numbers,
             "optimizers": "optimizers.csv" in results, "longer": "longer.csv" in results,
             "speed": "speed/sentence" in numbers}
    lines = ["% Written by report/tables.py from the results; changes here are lost."]
    lines += [rf"\newif\ifhas{name}\has{name}{str(yes).lower()}" for name, yes in there.items()]
    lines += [rf"\setval{{{key}}}{{{text}}}" for key, text in numbers.items()]
    return files | {"numbers.tex": "\n".join(lines) + "\n"}


def write_all(results, generated, quick=False):
    """Write the generated files of the folder `results` into the folder `generated`; old ones there are removed."""
    files = generate(load(results), quick)
    generated.mkdir(parents=True, exist_ok=True)
    for path in generated.glob("*.tex"):
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        if not (generated / name).exists() or (generated / name).read_text() != content:
            run.write_atomically(generated / name, content.encode())
    return sorted(files)


# What the report says in words ---------------------------------------------------------------------------------------

def _distinct(results, stage, length=90):
    return np.mean([distinct(text[:length]) for text in results["text.json"]["stages"][stage]["samples"]])


def _greedy_loops_most(results):
    rows = {row["temperature"]: np.mean([distinct(text) for text in row["samples"]])
            for row in results["text.json"]["temperatures"]}
    return rows[None] < rows[2.0] <= rows[1.0] + 0.02 and rows[2.0] < rows[0.5] + 0.02


def _longest(results, file, model):
    return longest(groups(results[file])[model])


def plateau(curves):
    """Whether the LSTM at the shortest L is still guessing after a tenth of its updates and right at the end."""
    L = min(row["palindrome_length"] for row in curves)
    mine = [row for row in curves if row["model_type"] == "LSTM" and row["palindrome_length"] == L]
    end = max(row["step"] for row in mine)
    early = np.mean([row["accuracy"] for row in mine if row["step"] <= end / 10])
    return early < 0.72 and np.mean([row["accuracy"] for row in mine if row["step"] == end]) > LEVEL


def _momentum_suffices(results):
    SGD, momentum, RMSProp, Adam = (np.mean([row["steps_to_target"] or math.inf for row in rows])
                                    for rows in best_rates(results["optimizers.csv"]).values())
    faster = [row["steps_to_target"] for row in results["optimizers.csv"]
              if row["method"] == "RMSProp" and row["learning_rate"] == 0.001]
    return (max(momentum, Adam) < 0.5 * min(SGD, RMSProp) and abs(momentum - Adam) < 0.25 * Adam
            and None in faster and all(steps < RMSProp for steps in faster if steps))


def _orthogonal_is_faster(results):
    """Whether it takes fewer updates at T = 30 and 40, which both solve with every seed, and reaches no farther."""
    orthogonal, xavier = (groups(results[file])["RNN"] for file in ("rmsprop.csv", "smallstep.csv"))
    both = [(orthogonal[T], xavier[T]) for T in (30, 40) if T in orthogonal and T in xavier]
    return longest(orthogonal) <= longest(xavier) and len(both) == 2 and all(
        all(row["accuracy"] >= SOLVED for row in ours + theirs)
        and np.mean([row["steps"] for row in ours]) < 0.7 * np.mean([row["steps"] for row in theirs])
        for ours, theirs in both)


def _flow(results, study, model, digits, state="h"):
    return flow(results[GRADIENTS[study]])[model, digits, state][2]


def _remaining(results, model, digits, T):
    return remaining(results["gradients.csv"], (model, digits, "h"), T)


CLAIMS = {  # the name in \claim{…}: the result files it needs, and whether the results support the report's words
    "rnn-remembers": ("lengths.csv", lambda r: _longest(r, "lengths.csv", "RNN") >= 30),
    "naive-lstm-no-better": ("naive.csv", lambda r: _longest(r, "naive.csv", "LSTM")
                             <= _longest(r, "naive.csv", "RNN")),
    "tuning-matters": ("naive.csv", lambda r: all(_longest(r, "lengths.csv", model) > _longest(r, "naive.csv", model)
                                                  for model in ("RNN", "LSTM"))),
    "rate-decides": ("naive.csv smallstep.csv", lambda r: _longest(r, "smallstep.csv", "RNN")
                     >= 1.5 * _longest(r, "naive.csv", "RNN")),
    "orthogonal-is-faster": ("rmsprop.csv smallstep.csv", _orthogonal_is_faster),
    "raw-is-harder": ("official.csv", lambda r: "naive.csv" not in r or all(
        _longest(r, "official.csv", model) <= _longest(r, "naive.csv", model) for model in ("RNN", "LSTM"))),
    "momentum-suffices": ("optimizers.csv", _momentum_suffices),
    "binary-plateau": ("binary_curves.csv", lambda r: plateau(r["binary_curves.csv"])),
    "lstm-vanishes-faster": ("gradients.csv", lambda r: _flow(r, "untrained", "LSTM", "one-hot")
                             < _flow(r, "untrained", "RNN", "one-hot")),
    "input-decides": ("gradients.csv", lambda r: _flow(r, "untrained", "RNN", "raw")
                      < _flow(r, "untrained", "LSTM", "raw") < _flow(r, "untrained", "RNN", "one-hot")),
    "chrono-flattens": ("gradients_tuned.csv", lambda r: _flow(r, "tuned", "LSTM", "one-hot", "c") > 0.97
                        > _flow(r, "untrained", "LSTM", "one-hot", "c")),
    "orthogonal-same-norm": ("gradients_tuned.csv", lambda r: abs(
        _flow(r, "tuned", "RNN", "one-hot") - _flow(r, "untrained", "RNN", "one-hot")) < 0.03),
    "rnn-gradient-arrives": ("gradients.csv", lambda r: _remaining(r, "RNN", "one-hot", 30) > 0.05),
    "raw-order": ("gradients.csv official.csv", lambda r: _remaining(r, "LSTM", "raw", 20)
                  < _remaining(r, "RNN", "raw", 20) and _flow(r, "untrained", "LSTM", "raw")
                  > _flow(r, "untrained", "RNN", "raw")),
    "trained-flow": ("gradients_trained.csv", lambda r: all(max(
        (row["norm"], row["t"]) for row in r["gradients_trained.csv"]
        if (row["model_type"], row["state"]) == (model, "c"))[1] == 1 for model in ("LSTM", "PeepLSTM"))),
    "failed-flow": ("gradients_tuned.csv gradients_trained.csv", lambda r: _flow(r, "trained", "RNN", "one-hot")
                    < _flow(r, "tuned", "RNN", "one-hot") - 0.1),
    "text-learns": ("text.json", lambda r: [row["loss"] for row in r["text_curves.csv"]][-1]
                    < r["text_curves.csv"][0]["loss"] - 1),
    "greedy-loops": ("text.json", _greedy_loops_most),
    "long-samples-repeat": ("text.json", lambda r: _distinct(r, -1) < _distinct(r, -1, 30) - 0.05),
    "beams-gain": ("text.json", lambda r: all(a["log_probability"] <= b["log_probability"] for a, b in zip(
        r["text.json"]["beams"], r["text.json"]["beams"][1:]))),
    "wider-is-not-richer": ("text.json", lambda r: distinct(r["text.json"]["beams"][-1]["text"])
                            <= distinct(r["text.json"]["beams"][1]["text"])),
    "phrases-grow": ("text.json", lambda r: _distinct(r, 0) < _distinct(r, -1)),
    "updates-differ": ("graph_2019.json", lambda r: (r["graph_2019.json"]["updates"], r["graph_2020.json"]["updates"])
                       == (3, 4)),
}


def broken_claims(results):
    """Names of the `CLAIMS` that the loaded results do not support; those whose results are missing are left out."""
    return [name for name, (files, holds) in CLAIMS.items()
            if results.keys() >= set(files.split()) and not holds(results)]


def parse_args(argv=None):
    """Parse the flags of `python -m report.tables`."""
    parser = cli.Parser("report.tables", "Write the report's tables and numbers as LaTeX, from result files.")
    parser.add_argument("--results", type=Path, default=cli.ROOT / "report" / "results", help="folder of the results")
    parser.add_argument("--generated", type=Path, default=cli.ROOT / "report" / "generated", help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="mark the results as those of the quick preset")
    return parser.parse(argv)


def main(config):
    names = write_all(config.results, config.generated, config.quick)
    print(f"{len(names)} files in {run.shorter(config.generated)}")
    for name in broken_claims(load(config.results)):
        print(f"these results do not support what the report says at \\claim{{{name}}}")


if __name__ == "__main__":
    sys.exit(cli.main(parse_args, main))
