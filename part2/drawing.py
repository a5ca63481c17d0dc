"""The figures of Part 2, drawn from numbers and text: nothing here needs torch."""
import math

import numpy as np

from part1 import style
from part1.style import plt

COLUMNS = 48  # characters in a row of a heat strip


def learning_curves(runs, path, sources=(), baselines=()):
    """Draw loss and accuracy of `runs`, pairs of a name and the rows of a `curves.csv`; returns the PNG's path.

    Runs of one name share a colour. Thin lines are the training's, the others those of held-out text. `baselines` are
    pairs of a name and bits per held-out character, drawn as lines.
    """
    figure, panels = plt.subplots(1, 2)
    colors = dict(zip(dict.fromkeys(name for name, _ in runs), (style.BLUE, style.VERMILION, style.GREEN)))
    for name, rows in runs:
        for axes, column in zip(panels, ("loss", "accuracy")):
            axes.plot(*zip(*((row["step"], row[column]) for row in rows)), color=colors[name], alpha=0.5, linewidth=0.6)
            held_out = [(row["step"], row[f"eval_{column}"]) for row in rows if row[f"eval_{column}"] is not None]
            if held_out:
                axes.plot(*zip(*held_out), color=colors[name])
    for (name, bits), side in zip(baselines, ("bottom", "top")):  # of the line
        panels[0].axhline(bits * math.log(2), color=style.GREY, linewidth=0.8, linestyle="--")
        panels[0].text(0.99, bits * math.log(2), name, fontsize=6, ha="right", va=side,
                       transform=panels[0].get_yaxis_transform())
    if baselines:  # room for their names beside the curves
        panels[0].set_xlim(right=1.3 * max(row["step"] for _, rows in runs for row in rows))
    panels[0].set(xlabel="update", ylabel="loss (nats)")
    panels[1].set(xlabel="update", ylabel="accuracy")
    panels[0].secondary_yaxis("right", functions=(lambda nats: nats / math.log(2), lambda bits: bits * math.log(2))
                              ).set_ylabel("bits")
    if len(colors) > 1:
        panels[1].legend([plt.Line2D([], [], color=color) for color in colors.values()], colors)
    return style.save(figure, path, sources)


def measures(samples, context, path, sources=()):
    """Draw the results of `part2.measure`, each a dict {model: rows}; returns the PNG's path.

    A panel for each measure of the samples against tau, bars for the 95 % interval of the mean, crosses for the longest
    copy of all, dashes for the held-out text; and a panel for the bits after a context, bars for standard errors.
    """
    names = [name for name in dict.fromkeys(row["measure"] for rows in samples.values() for row in rows)
             if name != "period"]  # of the loops, whose share is drawn
    taus = list(dict.fromkeys(row["temperature"] for rows in samples.values() for row in rows
                              if row["source"] == "samples"))
    figure, axes = plt.subplots(2, 3, figsize=(style.WIDTH, 2.2))
    for (model, rows), color in zip(samples.items(), (style.BLUE, style.VERMILION)):
        for panel, name in zip(axes.flat, names):
            own = [row for row in rows if row["measure"] == name]
            points = [[taus.index(row["temperature"]), *(row[column] for column in ("mean", "low", "high", "largest"))]
                      for row in own if row["source"] == "samples"]
            if not points:  # samples without a single word
                continue
            x, mean, low, high, largest = np.array(points).T
            panel.errorbar(x, mean, [mean - low, high - mean], marker="o", markersize=2.5, color=color, label=model)
            if name == "longest copy":
                panel.plot(x, largest, "x", color=color, markersize=3.5)
            for row in own:
                if row["source"] != "samples":  # only its bits differ between the models
                    shade = color if name == "bits" else style.GREY
                    panel.axhline(row["mean"], color=shade, linestyle="--", linewidth=0.9)
                    panel.axhspan(row["low"], row["high"], color=shade, alpha=0.2, linewidth=0)
            unit = {"longest copy": "characters", "bits": "bits"}.get(name, "share")
            panel.set(title=name, ylabel=unit)
            panel.set_xticks(range(len(taus)), ["∞" if tau is None else f"{tau:g}" for tau in taus], fontsize=6)
    for (model, rows), color in zip(context.items(), (style.BLUE, style.VERMILION)):
        x, bits, error = np.array([[row["context"], row["bits"], row["standard_error"]] for row in rows]).T
        axes[1, 2].errorbar(x, bits, error, marker="o", markersize=2.5, color=color)
    axes[1, 2].set(title="context", xscale="log", xlabel="characters read", ylabel="bits")
    for panel in axes[1, :2]:
        panel.set_xlabel(r"$\tau$")
    axes[0, 2].legend(loc="upper left", fontsize=7)  # few texts end in a loop: there is room
    return style.save(figure, path, sources)


def bits_against_reading(runs, path, sources=()):
    """Draw `runs`, {name: pairs of characters read and bits per held-out character}; returns the PNG's path."""
    figure, axes = plt.subplots(figsize=(style.WIDTH, 2.4))
    axes.set_prop_cycle(color=[style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PURPLE, style.SKY,
                               "black"])
    for name, pairs in runs.items():
        read, bits = zip(*pairs)
        axes.plot(np.array(read) / 1e6, bits, label=name)
    lowest = min(bits for pairs in runs.values() for _, bits in pairs)
    axes.set(xlabel="characters read (millions)", ylabel="bits per held-out character",
             ylim=(0.98 * lowest, 1.4 * lowest))
    axes.legend(ncols=2)
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
