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
    left.set(xlabel="update", ylabel="cross-entropy (nats)")
    right.set(xlabel="update", ylabel="next-character accuracy")
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
