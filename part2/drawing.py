"""The figures of Part 2, drawn from numbers and text: nothing here needs torch."""
import math

import numpy as np

from part1 import style
from part1.style import plt

COLUMNS = 48  # characters in a row of a heat strip


def learning_curves(curves, path, sources=()):
    """Draw loss, held-out loss and accuracy from the rows of a study's `curves.csv`; returns the PNG's path."""
    figure, (left, right) = plt.subplots(1, 2)
    step = [row["step"] for row in curves]
    left.plot(step, [row["loss"] for row in curves], label="training")
    held_out = [(row["step"], row["eval_loss"]) for row in curves if row["eval_loss"] is not None]
    if held_out:
        left.plot(*zip(*held_out), label="held-out text")
        left.legend()
    right.plot(step, [row["accuracy"] for row in curves])
    accuracies = [(row["step"], row["eval_accuracy"]) for row in curves if row.get("eval_accuracy") is not None]
    if accuracies:
        right.plot(*zip(*accuracies))
    left.set(xlabel="update", ylabel="cross-entropy (nats)")
    right.set(xlabel="update", ylabel="next-character accuracy")
    return style.save(figure, path, sources)


def samples_against_temperature(rows, path, sources=()):
    """Draw the rows of `part2.measure`'s `samples.csv`, a panel for each measure; returns the PNG's path.

    Bars are 95 % intervals of the mean; grey is the held-out text; crosses are the largest values.
    """
    names = list(dict.fromkeys(row["measure"] for row in rows))
    taus = [row["temperature"] for row in rows if row["measure"] == names[-1] and row["source"] == "samples"]
    places = dict(zip(taus, range(len(taus))))
    figure, axes = plt.subplots(2, math.ceil(len(names) / 2), figsize=(style.WIDTH * 1.3, 4.2))
    for panel, name in zip(axes.flat, names):
        own = [row for row in rows if row["measure"] == name]
        samples = [row for row in own if row["source"] == "samples"]
        x, mean, low, high, largest = np.array([[places[row["temperature"]], *(
            row[column] for column in ("mean", "low", "high", "largest"))] for row in samples]).T
        for row in own:
            if row["source"] != "samples":
                panel.axhline(row["mean"], color=style.GREY, linewidth=1)
                panel.axhspan(row["low"], row["high"], color=style.GREY, alpha=0.25, linewidth=0)
        panel.errorbar(x, mean, [mean - low, high - mean], marker="o", markersize=3, capsize=2)
        if name == "longest copy":
            panel.plot(x, largest, "x", color=style.VERMILION, markersize=4)
            panel.set_yscale("log")
        unit = {"longest copy": "characters", "bits": "bits per character"}.get(name, "share")
        panel.set(title=name, xlabel=r"$\tau$", ylabel=unit)
        panel.set_xticks(range(len(taus)), ["greedy" if tau is None else f"{tau:g}" for tau in taus], fontsize=6)
    for panel in axes.flat[len(names):]:
        panel.axis("off")
    return style.save(figure, path, sources)


def bits_against_context(rows, path, sources=()):
    """Draw the rows of `part2.measure`'s `context.csv`, one model or several; bars are standard errors."""
    figure, axes = plt.subplots()
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        context, bits, error = np.array([[row["context"], row["bits"], row["standard_error"]] for row in own]).T
        axes.errorbar(context, bits, error, marker="o", markersize=3, capsize=2, label=name)
    axes.set(xscale="log", xlabel="characters that the network has read", ylabel="bits per character")
    axes.legend()
    return style.save(figure, path, sources)


def visible(character):
    """`character`, or a sign for one that leaves no ink."""
    return {"\n": "↵", " ": "␣", "\t": "⇥"}.get(character, character)


def heat_strip(text, p, favourites, path):
    """Draw each character of `text` in a cell coloured by its probability `p`; returns the PNG's path.

    Where `favourites` (a str) has another character, that one stands small below. NaN: no colour.
    """
    rows = math.ceil(len(text) / COLUMNS)
    cells = np.full(rows * COLUMNS, np.nan)
    cells[:len(text)] = p
    figure, axes = plt.subplots(figsize=(style.WIDTH * 1.4, 0.5 + 0.34 * rows))
    image = axes.imshow(cells.reshape(rows, COLUMNS), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.axis("off")
    for k, (character, favourite, probability) in enumerate(zip(text, favourites, p)):
        row, column = divmod(k, COLUMNS)
        dark = probability < 0.55
        axes.text(column, row - 0.12, visible(character), ha="center", va="center", fontsize=8,
                  color="white" if dark else "black")
        if favourite != character:
            axes.text(column, row + 0.3, visible(favourite), ha="center", va="center", fontsize=5,
                      color="#d0d0d0" if dark else "#404040")
    figure.colorbar(image, ax=axes, label="probability", fraction=0.03, pad=0.01)
    return style.save(figure, path)
