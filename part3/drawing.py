"""Figures of information that spreads over a graph: one panel per update, the nodes coloured as it reaches them.

    python -m part3.gcn --edition 2020 --figure runs/gcn_2020

Q3.2 b at a glance. The exercise's six nodes have fixed places; any other graph is laid out by its distances.
"""
import numpy as np

from part3.graph import breadth_first
from report import style

# The information flows from C on the left to E on the right, and no edge of either edition crosses another.
POSITIONS = {"C": (0, 0.5), "B": (1, 1), "D": (1, 0), "A": (2, 1), "F": (2, 0), "E": (3, 0.5)}


def positions(graph):
    """Where to draw each node, (N, 2): the exercise's nodes in a fixed layout; others so that distances on paper follow
    distances in the graph, by stress majorization from a circle (Gansner, Koren & North, Graph Drawing 2004)."""
    if set(graph.names) <= set(POSITIONS):
        return np.array([POSITIONS[name] for name in graph.names], dtype=float)
    N = len(graph.names)
    d = np.array([breadth_first(graph, i)[0] for i in range(N)], dtype=float)
    d[d < 0] = d.max() / 2 + 1  # nodes without a path between them stand apart
    w = (1 - np.eye(N)) / (d + np.eye(N)) ** 2
    inverse = np.linalg.pinv(np.diag(w.sum(axis=1)) - w)
    angle = 2 * np.pi * np.arange(N) / N
    x = np.column_stack((np.cos(angle), np.sin(angle))) * d.max() / 2
    x += np.random.default_rng(0).normal(scale=0.01, size=x.shape)  # a perfect circle may be a saddle point
    for _ in range(300):
        B = -w * d / np.maximum(np.linalg.norm(x[:, None] - x, axis=2), 1e-9)
        x = inverse @ ((B - np.diag(B.sum(axis=1))) @ x)
    return x @ np.linalg.svd(x - x.mean(axis=0))[2].T  # the longer side lies flat


def shape_panels(count, graph, x):
    """A figure with `count` panels that all show the places `x`, and the diameter of a node in points."""
    columns = 2 if count in (1, 2, 4) else 3
    rows = -(-count // columns)
    width, span = style.WIDTH / columns - 0.15, np.maximum(np.ptp(x, axis=0), (1, 0.3))  # inches, and units of x
    lengths = np.linalg.norm(x[np.repeat(np.arange(len(x)), graph.degree)] - x[graph.indices], axis=1)
    size = np.clip(0.55 * 72 * width / span[0] * lengths.min(initial=1), 4, 15)
    span = span + 1.8 * size / 72 * span[0] / width  # room for the outermost nodes
    low, high = (x.min(axis=0) + x.max(axis=0)) / 2 + np.multiply.outer((-0.5, 0.5), span)
    figure, panels = style.plt.subplots(rows, columns, squeeze=False,
                                        figsize=(style.WIDTH, 0.3 + rows * (0.3 + width * span[1] / span[0])))
    for axes in panels.flat:
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axes.axis("off")
    return figure, panels.flat, size


def draw_update(axes, graph, x, size, distance, update, target):
    """One panel: nodes of `size` points, coloured when reached; the edges that this update reached them over strong."""
    i, j = np.repeat(np.arange(len(x)), graph.degree), graph.indices
    carries = (distance[i] == update - 1) & (distance[j] == update) & (update > 0)
    for edges, looks in ((i < j, {"color": style.GREY, "linewidth": 1, "zorder": 1}),
                         (carries, {"color": style.VERMILION, "linewidth": 1 + size / 12, "zorder": 2})):
        axes.plot(*x[np.stack((i[edges], j[edges]))].transpose(2, 0, 1), **looks)
    for node, (name, at) in enumerate(zip(graph.names, x)):
        fill = "white" if not 0 <= distance[node] <= update else style.ORANGE if distance[node] == update else style.SKY
        axes.plot(*at, "o", markersize=size, markerfacecolor=fill, markeredgecolor="black", zorder=3, clip_on=False,
                  markeredgewidth=size / 7 if node == target else size / 19)
        axes.text(*at, str(name)[:6], ha="center", va="center_baseline", zorder=4, parse_math=False,
                  fontsize=size * min(0.6, 1.1 / max(1, len(str(name)[:6]))))
    axes.set_title(f"update {update}")


def draw_updates(graph, distance, updates, target, path, sources=()):
    """Draw `Neighbours` after each of `updates`, given every node's `distance` (N,) from the source, as `path`.pdf and
    .png, with a ring around the node named `target`. Returns the PNG's path."""
    x = positions(graph)
    figure, panels, size = shape_panels(len(updates), graph, x)
    for axes, update in zip(panels, updates):
        draw_update(axes, graph, x, size, distance, update, graph.index(target))
    key = [("reached by this update", style.ORANGE, 0.8), ("reached before", style.SKY, 0.8),
           ("not reached", "white", 0.8), ("the target", "white", 2)]
    marks = [style.plt.Line2D([], [], linestyle="", marker="o", markersize=7, markerfacecolor=color, label=label,
                              markeredgecolor="black", markeredgewidth=width) for label, color, width in key]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, handletextpad=0.2, columnspacing=1.2)
    return style.save(figure, path, sources)
