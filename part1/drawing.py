"""The figures of Part 1, drawn from result rows: nothing here needs torch.

A row is a dict as `files.read_csv` gives it, of a table that `part1.sweep`, `part1.grads_over_time`, `part1.evaluate`
or `part1.benchmark` writes.
"""
from collections import Counter
from itertools import product

import numpy as np

from part1 import files, style
from part1.style import plt

SOLVED = 0.99  # accuracy at which a network has solved its task


def chance_lines(axes, chances):
    """Draw the accuracies `chances` of guessing without a look at the input, a dashed line for each."""
    for k, chance in enumerate(sorted(set(chances))):
        axes.axhline(chance, color=style.GREY, linestyle="--", linewidth=1, label="_chance" if k else "chance")


def legend(figure, panels, where="outside lower center", *, ncols):
    """A legend of the lines in all `panels`, an array, each label once, in at most `ncols` columns of a row."""
    lines = {label: line for axes in panels.flat for line, label in zip(*axes.get_legend_handles_labels())}
    rows = -(-len(lines) // ncols)
    figure.legend(lines.values(), lines, loc=where, ncols=-(-len(lines) // rows), fontsize=7)


def lengths(results, chances, path, sources=()):
    """Draw accuracy against palindrome length: mean and standard deviation over seeds, each seed, chance."""
    figure, axes = plt.subplots()
    for model, color in style.model_colors(row["model_type"] for row in results).items():
        own = files.grouped([row for row in results if row["model_type"] == model], "palindrome_length")
        cells = {T: [row["accuracy"] for row in rows] for T, rows in own.items()}
        order = sorted(cells)
        mean = np.array([np.mean(cells[T]) for T in order])
        spread = np.array([np.std(cells[T], ddof=1) if len(cells[T]) > 1 else 0 for T in order])
        axes.plot(order, mean, color=color, label=model)
        axes.fill_between(order, mean - spread, mean + spread, color=color, alpha=0.2, linewidth=0)
        for T in order:
            axes.plot([T] * len(cells[T]), cells[T], ".", color=color, alpha=0.6, markersize=4)
    chance_lines(axes, chances)
    axes.set(xlabel="palindrome length $T$", ylabel="accuracy", ylim=(-0.02, 1.05))
    axes.legend()
    return style.save(figure, path, sources)


def wilson(successes, trials, z=1.96):
    """The 95 % interval of a probability from `successes` in `trials` (Wilson, JASA 1927): low, high."""
    middle, half = successes + z**2 / 2, z * np.sqrt(successes * (trials - successes) / trials + z**2 / 4)
    return (middle - half) / (trials + z**2), (middle + half) / (trials + z**2)


def beyond(rows, path, sources=()):
    """Draw `rows` of `part1.evaluate`, accuracy against the length that is read: means over seeds, and each seed."""
    figure, axes = plt.subplots(figsize=(style.WIDTH, 2.2))
    networks = {}  # by network, initial weights and length of the training
    for row in rows:
        key = row["model_type"], row["forget_bias"] or row["init"], row["trained_at"]
        networks.setdefault(key, {}).setdefault(row["T"], []).append(row["accuracy"])
    colors = style.model_colors(model for model, *_ in networks)
    for (model, start, trained_at), seeds in networks.items():
        color, line, order = colors[model], "-" if start == "latch" else "--", sorted(seeds)
        axes.plot(order, [np.mean(seeds[T]) for T in order], line, color=color,
                  label=f"{model}, {start}, trained at $T={trained_at}$")
        for T in order:
            axes.plot([T] * len(seeds[T]), seeds[T], ".", color=color, alpha=0.6, markersize=4)
    chance_lines(axes, [1 / 10])
    axes.set(xscale="log", xlabel="palindrome length $T$ that is read", ylabel="accuracy", ylim=(-0.02, 1.05))
    axes.legend(fontsize=7)
    return style.save(figure, path, sources)


def label_entropy(bits):
    """Entropy (nats) of a binary palindrome's label given the `bits` bits before it, by enumeration.

    Mirrored, the first bit of its half given the next ones: b_1 given b_2, …, b_(bits + 1).
    """
    counts, known = Counter(), Counter()
    for integers in product(range(9), repeat=bits + 1):  # each has a bit or more
        half = "".join(f"{k:b}" for k in integers)
        for string in half, half[::-1]:
            counts[string[:bits + 1]] += 1
            known[string[1:bits + 1]] += 1
    return -sum(n * np.log(n / known[string[1:]]) for string, n in counts.items()) / counts.total()


def seeds_and_mean(axes, rows, name, color, label):
    """Draw the column `name` of `rows` against `step`: a thin line for each seed, and their mean, as far as all go."""
    seeds = {}
    for row in rows:
        seeds.setdefault(row["seed"], {})[row["step"]] = row[name]
    steps = sorted(set.intersection(*map(set, seeds.values())))
    each = np.array([[seeds[seed][step] for step in steps] for seed in sorted(seeds)])
    axes.plot(steps, each.T, color=color, linewidth=0.6, alpha=0.6)
    axes.plot(steps, each.mean(axis=0), color=color, label=label)


def learning_curves(curves, chances, path, sources=(), entropies=(), height=3):
    """Draw accuracy and loss on the evaluation set against updates (logarithmic), a column per length: each seed, mean.

    With a single length the two are side by side. Drawn as lines across: `chances`, a dict from lengths to the accuracy
    of guessing (may be empty), and `entropies`, pairs (nats, label).
    """
    lengths = list(dict.fromkeys(row["palindrome_length"] for row in curves))
    colors = style.model_colors(row["model_type"] for row in curves)
    if len(lengths) == 1:
        figure, panels = plt.subplots(1, 2, figsize=(style.WIDTH, 2))
        panels = panels[:, np.newaxis]
    else:
        figure, panels = plt.subplots(2, len(lengths), sharex=True, sharey="row", figsize=(style.WIDTH, height))
    for (model, length), rows in files.grouped(curves, "model_type", "palindrome_length").items():
        for axes, name in zip(panels[:, lengths.index(length)], ("accuracy", "eval_loss")):
            seeds_and_mean(axes, rows, name, colors[model], style.model_name(model))
    for (upper, lower), length in zip(panels.T, lengths):
        chance_lines(upper, [chances[length]] if chances else [])
        for (nats, label), line in zip(entropies, ("-.", ":")):
            lower.axhline(nats, color=style.GREY, linestyle=line, linewidth=1, label=label)
        upper.set(title=f"$L={length}$", ylim=(None, 1.02))
        lower.set(xlabel="update", xscale="log", ylim=(0, None))
        if len(lengths) == 1:
            upper.set(xlabel="update", xscale="log")
    panels[0, 0].set(ylabel="accuracy")
    panels[1, 0].set(ylabel="loss (nats)")
    legend(figure, panels[:, :1], ncols=5 if len(colors) < 4 else 3)
    return style.save(figure, path, sources)


def gradients(studies, path, sources=(), height=2.25):
    """Draw the gradient norm against the time step, on one logarithmic axis: a panel for each study.

    `studies` is a dict from titles to rows of `gradients.csv`. Bands are geometric standard deviations.
    """
    figure, panels = plt.subplots(1, len(studies), sharey=True, squeeze=False, figsize=(style.WIDTH, height))
    colors = style.model_colors(row["model_type"] for rows in studies.values() for row in rows)
    for axes, (title, rows) in zip(panels[0], studies.items()):
        for (model, digits, state), curve in files.grouped(rows, "model_type", "input", "state").items():
            t, norm, factor = (np.array([row[name] for row in curve], dtype=float) for name in ("t", "norm", "factor"))
            color = colors[model]
            line = (":" if state == "h" else "-.") if digits == "raw" else "-" if state == "h" else "--"
            axes.plot(t, norm, color=color, linestyle=line, linewidth=0.9 if digits == "raw" else 1.4,
                      label=f"{style.model_name(model)}, $\\mathbf{{{state}}}^{{(t)}}$"
                      + (", raw digits" if digits == "raw" else ""))
            axes.fill_between(t, norm / factor, norm * factor, color=color, alpha=0.15, linewidth=0)
        axes.set(title=title, xlabel="time step $t$", yscale="log")
    lowest = max(1e-33, min(float(row["norm"]) for rows in studies.values() for row in rows) / 100)
    panels[0, 0].set(ylabel="gradient norm", ylim=(lowest, 10))
    if lowest < 1e-12:
        panels[0, 0].set_yticks([tick for tick in (1e-30, 1e-20, 1e-10, 1) if tick > lowest])
    legend(figure, panels, ncols=3)
    return style.save(figure, path, sources)


CONTESTANTS = {  # of part1.benchmark: color, line and label
    "bptt": (style.BLUE, "o-", "ours, bptt"), "autograd": (style.VERMILION, "o-", "ours, autograd (textbook)"),
    "compiled": (style.ORANGE, "o-", "textbook, compiled"), "torch": (style.GREEN, "o-", "torch.nn"),
    "floor": (style.GREY, "--", "matrix products alone")}


def speed(rows, path, sources=()):
    """Draw `rows` of `benchmark.csv`: time per update against T, with the fewest and with the most threads.

    Only the first GOMP_SPINCOUNT is drawn, the one that our scripts set.
    """
    rows = [row for row in rows if row["GOMP_SPINCOUNT"] == rows[0]["GOMP_SPINCOUNT"]]
    models = list(dict.fromkeys(row["model_type"] for row in rows))
    counts = sorted({choose(row["threads"] for row in rows) for choose in (min, max)})
    figure, panels = plt.subplots(len(counts), len(models), squeeze=False, sharex=True, sharey=True,
                                  figsize=(style.WIDTH, 0.6 + 1.8 * len(counts)))
    for axes, (count, model) in zip(panels.flat, product(counts, models)):
        curve = sorted((row for row in rows if (row["model_type"], row["threads"]) == (model, count)),
                       key=lambda row: row["T"])
        T = [row["T"] for row in curve]
        for name, (color, line, label) in CONTESTANTS.items():
            if curve[0].get(f"{name}_ms") is not None:  # compiled needs a compiler
                median, low, high = ([row[name + part] for row in curve] for part in ("_ms", "_q1", "_q3"))
                axes.plot(T, median, line, markersize=3, color=color, label=label)
                axes.fill_between(T, low, high, color=color, alpha=0.2, linewidth=0)
        axes.set(title=f"{model}, {count} {'thread' if count == 1 else 'threads'}", xscale="log", yscale="log",
                 xticks=T, xticklabels=T, xlabel="palindrome length $T$", ylabel="time per update (ms)")
        axes.minorticks_off()
        axes.label_outer()
    legend(figure, panels, "outside upper center", ncols=3)
    return style.save(figure, path, sources)
